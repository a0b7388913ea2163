//! What is one emoji: for the clients of one's own home. What another home sends may be an emoji of a later Unicode, and
//! is kept as it came.

use unicode_properties::UnicodeEmoji as _;

const JOINER: char = '\u{200d}';
const AS_EMOJI: char = '\u{fe0f}';
const KEYCAP: char = '\u{20e3}';
const TAGS_END: char = '\u{e007f}';

/// Whether a text is one possible emoji, after the grammar of Unicode Technical Standard 51, section 1.4.9: flags, key
/// caps, and any emoji with its modifiers and tags, or several joined. Digits alone are none.
pub fn is_emoji(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let mut rest = &chars[..];
    loop {
        let Some(taken) = element(rest) else { return false };
        rest = &rest[taken..];
        match rest {
            [] => return true,
            [JOINER, tail @ ..] => rest = tail,
            [_, ..] => return false,
        }
    }
}

/// How many characters the first element of a joined emoji takes.
fn element(chars: &[char]) -> Option<usize> {
    match chars {
        [a, b, ..] if is_region(*a) && is_region(*b) => Some(2),
        [key, AS_EMOJI, KEYCAP, ..] | [key, KEYCAP, ..] if is_key(*key) => {
            Some(if chars[1] == AS_EMOJI { 3 } else { 2 })
        }
        [base, tail @ ..] if is_base(*base) => Some(1 + modifiers(tail)),
        _ => None,
    }
}

/// How many characters behind the base of an emoji belong to it.
fn modifiers(tail: &[char]) -> usize {
    let first = match tail.first() {
        Some('\u{1f3fb}'..='\u{1f3ff}' | &AS_EMOJI) => 1,
        Some(_) | None => 0,
    };
    let tags = tail[first..].iter().take_while(|c| matches!(c, '\u{e0020}'..='\u{e007e}')).count();
    let closed = tags > 0 && tail.get(first + tags) == Some(&TAGS_END);
    if closed { first + tags + 1 } else { first }
}

fn is_region(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

fn is_key(c: char) -> bool {
    matches!(c, '0'..='9' | '#' | '*')
}

fn is_base(c: char) -> bool {
    c.is_emoji_char() && !c.is_ascii() && !is_region(c)
}

#[cfg(test)]
mod tests {
    use super::is_emoji;

    #[test]
    fn emoji_are_told_from_text() {
        let emoji = [
            "👍",
            "👍🏽",
            "❤️",
            "❤",
            "👩‍💻",
            "👨‍👩‍👧‍👦",
            "🇩🇪",
            "1️⃣",
            "#⃣",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "🏳️‍🌈",
            "🫠",
            "☺️",
            "✌🏿",
            "🧑‍🦰",
        ];
        for text in emoji {
            assert!(is_emoji(text), "{text}");
        }
        let others = [
            "",
            "a",
            "1",
            "#",
            "👍👍",
            "👍a",
            "a👍",
            "ok",
            "🇩",
            "🇩🇪🇫",
            "\u{200d}",
            "👍\u{200d}",
            "\u{fe0f}",
            "é",
            "漢",
            " 👍",
            "👍 ",
            "\u{1f3fb}\u{1f3fb}\u{1f3fb}x",
            "🏴\u{e0067}",
        ];
        for text in others {
            assert!(!is_emoji(text), "{text:?}");
        }
    }
}
