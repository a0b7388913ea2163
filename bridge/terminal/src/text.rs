//! Words on a terminal: made harmless, measured, cut and wrapped.

use std::borrow::Cow;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// Code points of one grapheme that are drawn: the longest emoji sequences have ten. Without a bound one letter with a
/// thousand accents would be written out with every frame, over its neighbours.
const GRAPHEME_CHARS: usize = 16;

/// A tab is so many spaces: no terminal's own stops, for they depend on where the text begins.
const TAB: &str = "    ";

/// What a stranger wrote, such that it can neither command the terminal nor turn the rest of its line: control
/// characters as pictures, directional overrides and isolates replaced, line and paragraph separators as new lines.
/// New lines stay.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) && !has_towers(text) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for grapheme in text.graphemes(true) {
        if grapheme == "\r\n" {
            clean.push('\n');
            continue;
        }
        for c in grapheme.chars().take(GRAPHEME_CHARS) {
            match c {
                '\t' => clean.push_str(TAB),
                '\u{2028}' | '\u{2029}' => clean.push('\n'),
                c if is_harmful(c) => clean.push(picture(c)),
                c => clean.push(c),
            }
        }
    }
    Cow::Owned(clean)
}

/// What a stranger wrote, in one line, such that it commands no terminal: control characters as pictures, what turns the
/// rest of the line replaced, new lines as spaces.
pub fn harmless_line(text: &str) -> Cow<'_, str> {
    let clean = harmless(text);
    if clean.contains('\n') { Cow::Owned(clean.replace('\n', " ")) } else { clean }
}

fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn has_towers(text: &str) -> bool {
    text.len() > GRAPHEME_CHARS
        && !text.is_ascii()
        && text.graphemes(true).any(|g| g.chars().nth(GRAPHEME_CHARS).is_some())
}

fn picture(c: char) -> char {
    match u32::from(c) {
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        _ => '\u{fffd}',
    }
}

/// Cells that a text takes, as it is drawn: grapheme by grapheme.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() {
        return text.bytes().filter(|b| !b.is_ascii_control()).count();
    }
    text.graphemes(true).map(width_of).sum()
}

fn width_of(grapheme: &str) -> usize {
    if grapheme.chars().any(char::is_control) { 0 } else { grapheme.width() }
}

/// As much of a text as fits, with an ellipsis where something is left out.
pub(crate) fn clip(text: &str, cells: usize) -> Cow<'_, str> {
    // A text of many bytes cannot be narrow, so that no more of it than a line is measured.
    let mut taken = 0;
    let mut cut = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        let wide = width_of(grapheme);
        if taken + wide > cells {
            let short = text.get(..cut).unwrap_or_default();
            return Cow::Owned(if cells == 0 { String::new() } else { format!("{short}…") });
        }
        taken += wide;
        if taken < cells {
            cut = at + grapheme.len();
        }
    }
    Cow::Borrowed(text)
}

/// A text in rows of so many cells, as ranges of bytes that together are the whole text without its new lines. Rows end
/// between words where they can; the spaces there stay at the end of their row, and may stick out. No cells: no rows.
pub(crate) fn wrap(text: &str, cells: usize) -> Vec<Range<usize>> {
    let mut rows = Vec::new();
    if cells == 0 {
        return rows;
    }
    let mut from = 0;
    for line in text.split('\n') {
        wrap_line(line, from, cells, &mut rows);
        from += line.len() + 1;
    }
    rows
}

fn wrap_line(line: &str, from: usize, cells: usize, rows: &mut Vec<Range<usize>>) {
    // Most of what is long is plain, and every frame lays it out anew: letters are bytes then.
    if line.is_ascii() {
        let letters = line.bytes().enumerate();
        let letters = letters.map(|(at, b)| (at, usize::from(!b.is_ascii_control()), b == b' '));
        wrap_letters(letters, from, line.len(), cells, rows);
    } else {
        let letters = line.grapheme_indices(true);
        let letters = letters.map(|(at, grapheme)| (at, width_of(grapheme), grapheme == " "));
        wrap_letters(letters, from, line.len(), cells, rows);
    }
}

/// `letters`: where each begins, how wide it is, and whether it is a space.
fn wrap_letters(
    letters: impl Iterator<Item = (usize, usize, bool)>,
    from: usize,
    len: usize,
    cells: usize,
    rows: &mut Vec<Range<usize>>,
) {
    let (mut begin, mut taken) = (0, 0);
    // Behind the last space of the row, and how wide the row is up to there.
    let mut gap: Option<(usize, usize)> = None;
    for (at, wide, is_space) in letters {
        if is_space {
            taken += wide;
            gap = Some((at + 1, taken));
            continue;
        }
        // What sticks out are spaces alone, or something wider than a whole row.
        if taken + wide > cells && at > begin {
            let (end, gone) = gap.take().filter(|(end, _)| *end > begin).unwrap_or((at, taken));
            rows.push(from + begin..from + end);
            begin = end;
            taken -= gone;
            // The word that moved down may be too long for a row by itself.
            if taken + wide > cells && at > begin {
                rows.push(from + begin..from + at);
                (begin, taken) = (at, 0);
            }
        }
        taken += wide;
    }
    rows.push(from + begin..from + len);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str, cells: usize) -> Vec<&str> {
        wrap(text, cells).into_iter().map(|row| &text[row]).collect()
    }

    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{202e}c\u{9b}\u{7f}"), "a␛[2Jb\u{fffd}c\u{fffd}␡");
        assert_eq!(harmless("a\r\nb\u{2028}c\td\rx"), "a\nb\nc    d␍x");
        assert_eq!(harmless("שלום 👩‍👩‍👧 e\u{301}"), "שלום 👩‍👩‍👧 e\u{301}");
        assert_eq!(harmless_line("a\nb"), "a b");
        let tower = format!("a{}b", "\u{301}".repeat(500));
        assert_eq!(harmless(&tower).chars().count(), GRAPHEME_CHARS + 1);
    }

    #[test]
    fn rows_end_between_words() {
        assert_eq!(rows("hello over there", 10), ["hello over ", "there"]);
        assert_eq!(rows("hello\n\nyou", 10), ["hello", "", "you"]);
        assert_eq!(rows("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(rows("a abcdefghij", 4), ["a ", "abcd", "efgh", "ij"]);
        assert_eq!(rows("日本語の文", 4), ["日本", "語の", "文"]);
        assert_eq!(rows("日", 1), ["日"]);
        assert_eq!(rows("", 4), [""]);
        assert_eq!(rows("ab    cd", 3), ["ab    ", "cd"]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        assert_eq!(clip("hello", 5), "hello");
        assert_eq!(clip("hello!", 5), "hell…");
        assert_eq!(clip("日本語", 5), "日本…");
        assert_eq!(clip("日本語", 4), "日…");
        assert_eq!(clip("x", 0), "");
    }

    proptest! {
        #[test]
        fn rows_are_the_whole_text_and_fit(text in "[a-c \u{5d0}日👩‍👧\n\u{301}\u{1b}]{0,60}", cells in 1_usize..20) {
            let ranges = wrap(&text, cells);
            let joined: String = ranges.iter().map(|row| &text[row.clone()]).collect();
            prop_assert_eq!(joined, text.replace('\n', ""));
            for row in ranges {
                let row = text[row].trim_end_matches(' ');
                prop_assert!(width(row) <= cells || row.graphemes(true).count() == 1, "{:?}", row);
            }
        }

        #[test]
        fn clipped_fits(text in "\\PC{0,40}", cells in 0_usize..20) {
            prop_assert!(width(&clip(&text, cells)) <= cells);
        }
    }
}
