//! What commands print: tables for people, one JSON object a line for programs.

use std::io::{self, Write as _};

use homing_terminal::civil;
use serde::Serialize;

/// Prints one JSON object on a line.
pub(super) fn line(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    Ok(writeln!(out)?)
}

/// Prints a text, and a line feed.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Prints rows in columns under their heads; a line that says so where there are none.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>], none: &str) -> anyhow::Result<()> {
    if rows.is_empty() {
        return text(none);
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain([heads[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let print = |cells: &[String]| {
        let line: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| {
                format!("{}{}", shown(cell), " ".repeat(width - cell.chars().count()))
            })
            .collect();
        text(line.join("  ").trim_end())
    };
    print(&heads.iter().map(|h| h.to_uppercase()).collect::<Vec<_>>())?;
    rows.iter().try_for_each(|row| print(row))
}

/// What others wrote does not steer the operator's terminal.
pub(super) fn shown(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A time in UTC, such as `2026-01-31 23:59:59`.
pub(super) fn time(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// A time that may not be.
pub(super) fn maybe_time(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_000, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (1_767_225_599_999, "2025-12-31 23:59:59"),
            (1_767_225_600_000, "2026-01-01 00:00:00"),
            (4_107_542_400_000, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(time(ms), text);
        }
    }

    #[test]
    fn control_characters_are_not_printed() {
        assert_eq!(shown("a\u{1b}[31mb"), "a\u{fffd}[31mb");
    }
}
