//! The line one writes in: several rows, a cursor between graphemes.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation as _};

use crate::text::{width, wrap};

/// What is written, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Editor {
    text: String,
    /// A byte offset, always between two graphemes.
    cursor: usize,
}

/// Bytes that can be written at once: a home takes bodies of 64 KiB, and a paste of a gigabyte is a slip.
pub(crate) const TEXT_BYTES: usize = 64 << 10;

impl Editor {
    pub(crate) fn with(text: &str) -> Self {
        let mut editor = Self::default();
        let _what_is_too_much_is_cut = editor.insert(text);
        editor
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Puts text in at the cursor, without control characters. `false`: not all of it had room.
    pub(crate) fn insert(&mut self, text: &str) -> bool {
        let mut room = TEXT_BYTES.saturating_sub(self.text.len());
        let mut clean = String::with_capacity(text.len().min(room));
        let mut all = true;
        let mut last = '\0';
        for c in text.chars() {
            let put = match c {
                // Terminals paste lines with either.
                '\n' if last == '\r' => None,
                '\r' | '\n' => Some('\n'),
                '\t' => Some('\t'),
                c if c.is_control() => None,
                c => Some(c),
            };
            last = c;
            let Some(put) = put else { continue };
            if put.len_utf8() > room {
                all = false;
                break;
            }
            room -= put.len_utf8();
            clean.push(put);
        }
        self.text.insert_str(self.cursor, &clean);
        self.cursor += clean.len();
        // What was put in may have joined with what follows.
        self.settle();
        all
    }

    pub(crate) fn backspace(&mut self) {
        let from = self.before(self.cursor);
        self.cut(from, self.cursor);
    }

    pub(crate) fn delete(&mut self) {
        self.cut(self.cursor, self.after(self.cursor));
    }

    pub(crate) fn delete_word(&mut self) {
        self.cut(self.word_before(), self.cursor);
    }

    /// Up to the beginning of the line.
    pub(crate) fn delete_line(&mut self) {
        self.cut(self.line_start(), self.cursor);
    }

    /// Up to the end of the line.
    pub(crate) fn delete_rest(&mut self) {
        self.cut(self.cursor, self.line_end());
    }

    pub(crate) fn left(&mut self) {
        self.cursor = self.before(self.cursor);
    }

    pub(crate) fn right(&mut self) {
        self.cursor = self.after(self.cursor);
    }

    pub(crate) fn word_left(&mut self) {
        self.cursor = self.word_before();
    }

    pub(crate) fn word_right(&mut self) {
        let rest = &self.text[self.cursor..];
        let mut words = rest.unicode_word_indices();
        self.cursor =
            words.next().map_or(self.text.len(), |(at, word)| self.cursor + at + word.len());
        self.settle();
    }

    pub(crate) fn home(&mut self) {
        self.cursor = self.line_start();
    }

    pub(crate) fn end(&mut self) {
        self.cursor = self.line_end();
    }

    /// A row up, as the text is wrapped. `false`: it was in the first.
    pub(crate) fn up(&mut self, cells: usize) -> bool {
        let (row, column) = self.place(cells);
        row > 0 && self.go_to(cells, row - 1, column)
    }

    /// A row down. `false`: it was in the last.
    pub(crate) fn down(&mut self, cells: usize) -> bool {
        let (row, column) = self.place(cells);
        self.go_to(cells, row + 1, column)
    }

    /// Row and column of the cursor, as the text is wrapped.
    pub(crate) fn place(&self, cells: usize) -> (usize, usize) {
        let rows = wrap(&self.text, cells);
        let at = rows.iter().rposition(|row| row.start <= self.cursor).unwrap_or(0);
        let start = rows.get(at).map_or(0, |row| row.start);
        let column = width(self.text.get(start..self.cursor).unwrap_or_default());
        // Spaces may stick out of a row; the cursor does not.
        (at, column.min(cells.saturating_sub(1)))
    }

    fn go_to(&mut self, cells: usize, row: usize, column: usize) -> bool {
        let rows = wrap(&self.text, cells);
        let Some(range) = rows.get(row).cloned() else { return false };
        let mut at = range.start;
        let mut taken = 0;
        for grapheme in self.text[range.clone()].graphemes(true) {
            let wide = width(grapheme);
            let last_of_row = at + grapheme.len() == range.end && row + 1 < rows.len();
            // Behind the last letter of a row that goes on, the cursor would stand in the next one.
            if taken + wide > column || (last_of_row && rows[row + 1].start == range.end) {
                break;
            }
            taken += wide;
            at += grapheme.len();
        }
        self.cursor = at;
        self.settle();
        true
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
        self.settle();
    }

    fn before(&self, at: usize) -> usize {
        let mut cursor = GraphemeCursor::new(at, self.text.len(), true);
        cursor.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    fn after(&self, at: usize) -> usize {
        let mut cursor = GraphemeCursor::new(at, self.text.len(), true);
        cursor.next_boundary(&self.text, 0).ok().flatten().unwrap_or(self.text.len())
    }

    fn word_before(&self) -> usize {
        let before = &self.text[..self.cursor];
        before.unicode_word_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn line_start(&self) -> usize {
        self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at)
    }

    /// Back between two graphemes.
    fn settle(&mut self) {
        let mut cursor = GraphemeCursor::new(self.cursor, self.text.len(), true);
        if !cursor.is_boundary(&self.text, 0).unwrap_or(true) {
            self.cursor = self.after(self.cursor);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_writes_and_mends() {
        let mut editor = Editor::with("hello wrld");
        for _ in 0..3 {
            editor.left();
        }
        editor.insert("o");
        assert_eq!(editor.text(), "hello world");
        editor.end();
        editor.delete_word();
        assert_eq!(editor.text(), "hello ");
        editor.insert("👩‍👩‍👧e\u{301}");
        editor.backspace();
        editor.backspace();
        assert_eq!(editor.text(), "hello ");
        editor.home();
        editor.delete();
        editor.word_right();
        editor.delete_line();
        assert_eq!(editor.text(), " ");
    }

    #[test]
    fn a_paste_has_lines_and_no_commands() {
        let mut editor = Editor::default();
        assert!(editor.insert("a\r\nb\rc\u{1b}[31md\n\n"));
        assert_eq!(editor.text(), "a\nb\nc[31md\n\n");
        assert!(!editor.insert(&"x".repeat(TEXT_BYTES)));
        assert_eq!(editor.text().len(), TEXT_BYTES);
    }

    #[test]
    fn the_cursor_goes_from_row_to_row() {
        let mut editor = Editor::with("one two\nthree");
        assert_eq!(editor.place(4), (3, 1));
        assert!(editor.up(4) && editor.up(4));
        assert_eq!(editor.place(4), (1, 1));
        assert!(editor.up(4));
        assert!(!editor.up(4));
        assert!(editor.down(20));
        assert!(!editor.down(20));
    }

    proptest! {
        #[test]
        fn whatever_is_done_the_cursor_stays_between_graphemes(
            deeds in proptest::collection::vec((0_u8..14, "[a \u{301}👩\u{200d}\n日🇩]{0,4}"), 0..40),
            cells in 1_usize..9,
        ) {
            let mut editor = Editor::default();
            for (deed, text) in deeds {
                match deed {
                    0..=2 => { editor.insert(&text); }
                    3 => editor.left(),
                    4 => editor.right(),
                    5 => editor.backspace(),
                    6 => editor.delete(),
                    7 => editor.delete_word(),
                    8 => { editor.up(cells); }
                    9 => { editor.down(cells); }
                    10 => editor.word_left(),
                    11 => editor.word_right(),
                    12 => editor.delete_line(),
                    _ => editor.delete_rest(),
                }
                let ends: Vec<usize> = editor.text.grapheme_indices(true).map(|(at, _)| at)
                    .chain([editor.text.len()]).collect();
                prop_assert!(ends.contains(&editor.cursor), "{:?}", editor);
                let (row, column) = editor.place(cells);
                prop_assert!(column < cells.max(1) && row < wrap(&editor.text, cells).len());
            }
        }
    }
}
