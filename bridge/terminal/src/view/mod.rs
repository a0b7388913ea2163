//! The screen: the state drawn, and nothing else. What was drawn is told back, for what was seen is read.

mod list;
mod message;
mod overlay;
mod pane;
mod rows;
mod style;

use homing_client::Uuid;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

use crate::app::{App, Focus};
use crate::text::{clip, width, wrap};
pub(crate) use rows::Rows;
use style::Look;

/// The smallest terminal that is drawn on: below it there is no room for a conversation.
const SMALLEST: (u16, u16) = (40, 12);

/// From this width on the list stands beside the conversation.
const TWO_PANES: u16 = 72;

/// Rows that what is being written takes at most.
const INPUT_ROWS: u16 = 6;

/// What was on the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The conversation whose messages were drawn.
    pub(crate) channel: Option<Uuid>,
    /// Its greatest place that was drawn.
    pub(crate) seen_pos: u64,
    /// Its last message was drawn.
    pub(crate) at_end: bool,
    /// A page before what is held will be wanted soon.
    pub(crate) near_top: bool,
    /// A page after.
    pub(crate) near_end: bool,
    /// Whose chats stand in the list.
    pub(crate) people: Vec<String>,
}

/// Where everything is. What is not drawn is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Areas {
    pub(crate) list: Rect,
    /// Between the two.
    line: Rect,
    header: Rect,
    pub(crate) conversation: Rect,
    /// What a reply answers, or an edit.
    about: Rect,
    input: Rect,
    status: Rect,
}

/// Draws everything.
pub(crate) fn draw(app: &App, frame: &mut Frame<'_>) -> Shown {
    let screen = frame.area();
    let buffer = frame.buffer_mut();
    if too_small(screen) {
        let (columns, rows) = SMALLEST;
        let text = format!("at least {columns}×{rows}: this is {}×{}", screen.width, screen.height);
        for (y, row) in (screen.y..screen.bottom()).zip(wrap(&text, usize::from(screen.width))) {
            put(buffer, screen.x, y, text.get(row).unwrap_or_default(), Look::Plain, app.colour);
        }
        return Shown::default();
    }
    let areas = areas(app);
    // Between a resize and its event the terminal is another size than is known: what is drawn stays inside.
    let fits = |area: Rect| area.intersection(screen);
    let mut shown = Shown::default();
    if !fits(areas.list).is_empty() {
        shown.people = list::draw(app, buffer, fits(areas.list));
    }
    for y in fits(areas.line).top()..fits(areas.line).bottom() {
        put(buffer, areas.line.x, y, "│", Look::Quiet, app.colour);
    }
    let mut cursor = None;
    if areas.header.width > 0 {
        pane::header(app, buffer, fits(areas.header));
        pane::conversation(app, buffer, fits(areas.conversation), &mut shown);
        pane::about(app, buffer, fits(areas.about));
        cursor = pane::input(app, buffer, fits(areas.input));
    }
    pane::status(app, buffer, fits(areas.status));
    cursor = overlay::draw(app, buffer, screen).unwrap_or(cursor);
    if let Some((x, y)) = cursor.filter(|(x, y)| screen.contains((*x, *y).into())) {
        frame.set_cursor_position((x, y));
    }
    shown
}

/// Where everything is on a terminal of the state's size.
pub(crate) fn areas(app: &App) -> Areas {
    let (columns, rows) = app.size;
    let screen = Rect::new(0, 0, columns, rows);
    if too_small(screen) {
        return Areas::default();
    }
    let status = Rect::new(0, rows - 1, columns, 1);
    let above = rows - 1;
    let two = columns >= TWO_PANES;
    let list_alone = !two && (app.focus == Focus::List || app.open.is_none());
    if list_alone {
        return Areas { list: Rect::new(0, 0, columns, above), status, ..Areas::default() };
    }
    let mut areas = Areas { status, ..Areas::default() };
    let mut left = 0;
    if two {
        let wide = (columns * 3 / 10).clamp(24, 44);
        areas.list = Rect::new(0, 0, wide, above);
        areas.line = Rect::new(wide, 0, 1, above);
        left = wide + 1;
    }
    let wide = columns - left;
    areas.header = Rect::new(left, 0, wide, 1);
    let text = app.open_compose().map_or("", |compose| compose.editor.text());
    let needed = u16::try_from(wrap(text, cells_of(wide)).len()).unwrap_or(u16::MAX);
    // A terminal of few rows is for reading, too.
    let input_rows = needed.clamp(1, INPUT_ROWS.min(rows / 3));
    let is_about = app.open_compose().is_some_and(|c| c.reply.is_some() || c.editing.is_some());
    let about_rows = u16::from(is_about);
    areas.input = Rect::new(left, above - input_rows, wide, input_rows);
    areas.about = Rect::new(left, above - input_rows - about_rows, wide, about_rows);
    let top = 1;
    // The row above what is written is a rule, drawn with the conversation.
    areas.conversation = Rect::new(left, top, wide, areas.about.y - top - 1);
    areas
}

fn too_small(screen: Rect) -> bool {
    screen.width < SMALLEST.0 || screen.height < SMALLEST.1
}

/// Left of what is written stands a sign.
fn cells_of(input: u16) -> usize {
    usize::from(input.saturating_sub(pane::PROMPT_CELLS)).max(1)
}

/// Cells that what is written has in a row.
pub(crate) fn input_cells(app: &App) -> usize {
    cells_of(areas(app).input.width)
}

/// Conversations that the list shows at once.
pub(crate) fn list_rows(app: &App) -> usize {
    list::fitting(areas(app).list)
}

/// Rows of the help.
pub(crate) fn help_rows() -> usize {
    overlay::help_rows()
}

/// Puts a text into a row, cut where it ends; how many cells it took.
fn put(buffer: &mut Buffer, x: u16, y: u16, text: &str, look: Look, colour: bool) -> u16 {
    let area = buffer.area;
    if y < area.top() || y >= area.bottom() || x >= area.right() {
        return 0;
    }
    let room = usize::from(area.right() - x);
    let (end, _) = buffer.set_span(
        x,
        y,
        &Span::styled(text, look.style(colour)),
        u16::try_from(room).unwrap_or(0),
    );
    end.saturating_sub(x)
}

/// Puts a text into so many cells of a row, with an ellipsis where it does not fit; how many cells it took.
fn put_in(
    buffer: &mut Buffer,
    at: (u16, u16),
    cells: usize,
    text: &str,
    look: Look,
    colour: bool,
) -> u16 {
    put(buffer, at.0, at.1, &clip(text, cells), look, colour)
}

/// Puts a text at the right end of a row; where it begins.
fn put_right(buffer: &mut Buffer, area: Rect, text: &str, look: Look, colour: bool) -> u16 {
    let text = clip(text, usize::from(area.width));
    let wide = u16::try_from(width(&text)).unwrap_or(u16::MAX).min(area.width);
    let x = area.right() - wide;
    put(buffer, x, area.y, &text, look, colour);
    x
}
