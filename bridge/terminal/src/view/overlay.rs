//! What is in front of everything else.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget as _};

use super::style::Look;
use super::{put, put_in, put_right};
use crate::app::{App, COMMANDS, Editor, KEYS, Overlay, QUICK};
use crate::text::{harmless_line, width};

/// Cells that keys and commands take in the help.
const KEY_CELLS: usize = 24;

/// Signs that need a word.
const SIGNS: &[(&str, &str)] = &[
    ("✓  ✓✓  ✓✓ read", "stored; has come; was read (in a group: by all)"),
    ("5  @2  •", "new ones; those that name you; marked as unread"),
    ("●  ▲  ⊘  #", "online; pinned; muted; a group"),
];

/// Draws it. `Some`: where the cursor is instead of in what is written, or that there is none.
pub(super) fn draw(app: &App, buffer: &mut Buffer, screen: Rect) -> Option<Option<(u16, u16)>> {
    match &app.overlay {
        Overlay::None => None,
        Overlay::Confirm(_) => Some(None),
        Overlay::Help { scroll } => {
            help(app, buffer, screen, *scroll);
            Some(None)
        }
        Overlay::Jump { query, at } => Some(jump(app, buffer, screen, query, *at)),
        Overlay::React { emoji } => Some(react(app, buffer, screen, emoji)),
    }
}

/// Keys, commands and signs, with a title each and an empty row between.
pub(super) fn help_rows() -> usize {
    KEYS.len() + COMMANDS.len() + SIGNS.len() + 5
}

fn help(app: &App, buffer: &mut Buffer, screen: Rect, scroll: usize) {
    let area =
        frame(app, buffer, screen, "Help (Esc; ↓ for more)", (screen.width.min(84), screen.height));
    let mut rows: Vec<(&str, &str)> = vec![("Keys", "")];
    rows.extend(KEYS);
    rows.extend([("", ""), ("Commands", "")]);
    rows.extend(COMMANDS);
    rows.extend([("", ""), ("Signs", "")]);
    rows.extend(SIGNS);
    let scroll = scroll.min(rows.len().saturating_sub(usize::from(area.height)));
    let left = KEY_CELLS.min(usize::from(area.width) / 2);
    for ((key, what), y) in rows.iter().skip(scroll).zip(area.y..area.bottom()) {
        let key_cells = if what.is_empty() { usize::from(area.width) } else { left - 1 };
        put_in(buffer, (area.x, y), key_cells, key, Look::Loud, app.colour);
        let x = area.x + u16::try_from(left).unwrap_or(0);
        put_in(
            buffer,
            (x, y),
            usize::from(area.right().saturating_sub(x)),
            what,
            Look::Plain,
            app.colour,
        );
    }
}

fn jump(
    app: &App,
    buffer: &mut Buffer,
    screen: Rect,
    query: &Editor,
    at: usize,
) -> Option<(u16, u16)> {
    let area = frame(app, buffer, screen, "Jump to", (screen.width.min(64), screen.height.min(16)));
    let cursor = field(app, buffer, area, query);
    let found = app.jumps(query.text());
    let fits = usize::from(area.height.saturating_sub(1)).max(1);
    let first = at / fits * fits;
    for ((n, channel), y) in found.iter().enumerate().skip(first).zip(area.y + 1..area.bottom()) {
        let row = Rect { y, height: 1, ..area };
        let new = if channel.unread > 0 { channel.unread.to_string() } else { String::new() };
        let end = put_right(buffer, row, &new, Look::New, app.colour);
        let cells = usize::from(end.saturating_sub(row.x + 1));
        put_in(
            buffer,
            (row.x, y),
            cells,
            &harmless_line(&channel.title()),
            Look::Plain,
            app.colour,
        );
        if n == at {
            buffer.set_style(row, Look::Chosen.style(app.colour));
        }
    }
    if found.is_empty() && area.height > 1 {
        let text = if query.text().contains('@') {
            "Enter opens a chat with that address"
        } else {
            "none is called so"
        };
        put_in(
            buffer,
            (area.x, area.y + 1),
            usize::from(area.width),
            text,
            Look::Quiet,
            app.colour,
        );
    }
    cursor
}

fn react(app: &App, buffer: &mut Buffer, screen: Rect, emoji: &Editor) -> Option<(u16, u16)> {
    let area = frame(app, buffer, screen, "React with", (screen.width.min(40), 4));
    let cursor = field(app, buffer, area, emoji);
    let mut x = area.x;
    for (n, quick) in (1_u8..).zip(QUICK) {
        x += put(buffer, x, area.y + 1, &format!("{n} {quick} "), Look::Quiet, app.colour);
    }
    cursor
}

/// One line to write in.
fn field(app: &App, buffer: &mut Buffer, area: Rect, editor: &Editor) -> Option<(u16, u16)> {
    let room = usize::from(area.width.saturating_sub(3)).max(1);
    let (row, column) = editor.place(room);
    let text = crate::text::wrap(editor.text(), room).get(row).cloned();
    let text = text.and_then(|row| editor.text().get(row)).unwrap_or_default();
    let x = area.x + put(buffer, area.x, area.y, "› ", Look::Loud, app.colour);
    put_in(buffer, (x, area.y), room, &harmless_line(text), Look::Plain, app.colour);
    Some((x + u16::try_from(column).unwrap_or(0), area.y))
}

/// An empty place with a border in the middle of the screen; what is inside.
fn frame(app: &App, buffer: &mut Buffer, screen: Rect, title: &str, size: (u16, u16)) -> Rect {
    let (wide, high) = (size.0.min(screen.width), size.1.min(screen.height));
    let area = Rect::new(
        screen.x + (screen.width - wide) / 2,
        screen.y + (screen.height - high) / 3,
        wide,
        high,
    );
    Clear.render(area, buffer);
    // A wide letter that is half behind is no letter.
    for y in area.top()..area.bottom() {
        if let Some(cell) = area.x.checked_sub(1).and_then(|x| buffer.cell_mut((x, y)))
            && width(cell.symbol()) > 1
        {
            cell.set_symbol(" ");
        }
    }
    let line = "─".repeat(usize::from(wide.saturating_sub(2)));
    put(buffer, area.x, area.y, &format!("┌{line}┐"), Look::Quiet, app.colour);
    for y in area.y + 1..area.bottom().saturating_sub(1) {
        put(buffer, area.x, y, "│", Look::Quiet, app.colour);
        put(buffer, area.right() - 1, y, "│", Look::Quiet, app.colour);
    }
    put(buffer, area.x, area.bottom() - 1, &format!("└{line}┘"), Look::Quiet, app.colour);
    put_in(
        buffer,
        (area.x + 2, area.y),
        usize::from(wide.saturating_sub(4)),
        &format!(" {title} "),
        Look::Loud,
        app.colour,
    );
    Rect::new(area.x + 2, area.y + 1, wide.saturating_sub(4), high.saturating_sub(2))
}
