//! Emoji in texts: each with its modifiers, joined ones as one.

use unicode_properties::UnicodeEmoji as _;

const JOINER: char = '\u{200d}';
const AS_EMOJI: char = '\u{fe0f}';
const KEYCAP: char = '\u{20e3}';

/// How many characters the emoji takes with which `chars` begins, by the grammar of Unicode Technical Standard 51, section
/// 1.4.9; `None`: it begins with none. A digit is one only where it is a key cap.
pub(crate) fn length(chars: &[char]) -> Option<usize> {
    let mut taken = element(chars)?;
    while chars.get(taken) == Some(&JOINER) {
        let Some(more) = element(&chars[taken + 1..]) else { break };
        taken += 1 + more;
    }
    Some(taken)
}

/// An emoji as it is looked for: whether it shall look like one is no difference.
pub(crate) fn plain(chars: &[char]) -> String {
    chars.iter().filter(|c| **c != AS_EMOJI).collect()
}

/// The same without skin colours: 👍 is found where somebody has written 👍🏽.
pub(crate) fn colourless(plain: &str) -> String {
    let first = plain.chars().next();
    let rest = plain.chars().skip(1).filter(|c| !is_skin(*c));
    first.into_iter().chain(rest).collect()
}

/// How many characters the first element of a joined emoji takes.
fn element(chars: &[char]) -> Option<usize> {
    match chars {
        [a, b, ..] if is_region(*a) && is_region(*b) => Some(2),
        [key, AS_EMOJI, KEYCAP, ..] if is_key(*key) => Some(3),
        [key, KEYCAP, ..] if is_key(*key) => Some(2),
        [base, tail @ ..] if !base.is_ascii() && !is_region(*base) && base.is_emoji_char() => {
            let of_base = |c: &&char| {
                is_skin(**c) || **c == AS_EMOJI || matches!(**c, '\u{e0020}'..='\u{e007f}')
            };
            Some(1 + tail.iter().take_while(of_base).count())
        }
        _ => None,
    }
}

fn is_skin(c: char) -> bool {
    matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
}

fn is_region(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

fn is_key(c: char) -> bool {
    matches!(c, '0'..='9' | '#' | '*')
}
