//! The open conversation: who it is with, what was said, what is being written; and the line below everything.

use homing_client::{Channel, ChannelKind, ChannelState};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::style::Look;
use super::{Rows, Shown, put, put_in, put_right};
use crate::app::channels::is_muted;
use crate::app::window::Item;
use crate::app::{App, Confirm, Connection, Focus};
use crate::text::{clip, harmless, harmless_line, width, wrap};
use crate::time;

/// The sign left of what is written.
pub(super) const PROMPT_CELLS: u16 = 2;

pub(super) fn header(app: &App, buffer: &mut Buffer, area: Rect) {
    buffer.set_style(area, Look::Bar.style(app.colour));
    let Some(channel) = app.open_channel() else { return };
    let mut words = Vec::new();
    if channel.kind == ChannelKind::Group {
        words.push(format!("{} people", channel.member_count));
    }
    words.extend(presence(app, channel));
    if is_muted(channel, app.server_ms()) {
        words.push("muted".to_owned());
    }
    if channel.archived {
        words.push("archived".to_owned());
    }
    let said = format!(" {} ", words.join(" · "));
    let most = Rect { x: area.x + area.width / 3, width: area.width - area.width / 3, ..area };
    let end = if words.is_empty() {
        area.right()
    } else {
        put_right(buffer, most, &said, Look::Bar, app.colour)
    };
    let sign = if channel.kind == ChannelKind::Group { "# " } else { "" };
    let title = format!("{sign}{}", harmless_line(&channel.title()));
    let cells = usize::from(end.saturating_sub(area.x + 1));
    put_in(buffer, (area.x + 1, area.y), cells, &title, Look::Bar, app.colour);
}

/// Who writes, else who is there.
fn presence(app: &App, channel: &Channel) -> Option<String> {
    let typing: Vec<String> =
        app.typing_in(channel.channel).take(3).map(|user| app.name_of(user)).collect();
    match typing.as_slice() {
        [] => {}
        [_] if channel.kind == ChannelKind::Chat => return Some("writes …".to_owned()),
        [one] => return Some(format!("{one} writes …")),
        several => return Some(format!("{} write …", several.join(", "))),
    }
    // What was known before the connection was lost says nothing of now.
    let presence = app.presence.get(channel.with.as_ref()?).filter(|_| app.is_online())?;
    match (presence.online, presence.last_seen) {
        (true, _) => Some("online".to_owned()),
        (false, Some(at)) => Some(time::last_seen(at, app.now.unix_ms)),
        (false, None) => None,
    }
}

pub(super) fn conversation(app: &App, buffer: &mut Buffer, area: Rect, shown: &mut Shown) {
    rule(app, buffer, area);
    let Some(channel) = app.open_channel() else {
        return hint(app, buffer, area, "Enter opens a conversation · Ctrl+K finds one · F1 helps");
    };
    if channel.state == ChannelState::Invited {
        let text = format!(
            "You are invited to “{}”, a group of {}. What is written there is shown once you are in. y: join, n: decline (or /accept, /decline)",
            harmless_line(&channel.title()),
            channel.member_count
        );
        return hint(app, buffer, area, &text);
    }
    let (Some(rows), Some(window)) = (Rows::of(app), app.open_window()) else { return };
    if window.len() == 0 && app.outbox.of(channel.channel).next().is_none() {
        let text = if window.loaded { "nothing has been written here" } else { "…" };
        hint(app, buffer, area, text);
    }
    let viewport = rows.viewport();
    // A short conversation stands at its end, where it goes on.
    let height = usize::from(area.height);
    let free = height.saturating_sub(viewport.rows.len());
    let first = area.y + u16::try_from(free).unwrap_or(0);
    for (row, y) in viewport.rows.iter().zip(first..area.bottom()) {
        buffer.set_line(area.x, y, &row.line, area.width);
        if matches!(&row.item, Item::Stored(order) if window.selected.as_ref() == Some(order)) {
            let row = Rect { y, height: 1, ..area };
            buffer.set_style(row, Look::Chosen.style(app.colour));
        }
    }
    if free > 0 && window.more_before {
        put_in(
            buffer,
            (area.x + 1, area.y),
            usize::from(area.width),
            "… older ones are on their way",
            Look::Quiet,
            app.colour,
        );
    }
    if channel.state == ChannelState::Request {
        let text = format!(
            "{} wants to write to you. y: accept, n: decline (Tab first; or /accept, /decline, /block). Writing accepts.",
            harmless_line(&channel.title())
        );
        hint(app, buffer, Rect { height: area.height.min(3), ..area }, &text);
    }
    shown.channel = Some(channel.channel);
    shown.near_top = viewport.near_top;
    shown.near_end = viewport.near_end;
    shown.at_end = viewport.at_end && window.loaded;
    shown.seen_pos = rows.seen_pos(&viewport);
}

/// The line between what was said and what is being written: what is below the screen stands in it.
fn rule(app: &App, buffer: &mut Buffer, area: Rect) {
    let y = area.bottom();
    put(buffer, area.x, y, &"─".repeat(usize::from(area.width)), Look::Quiet, app.colour);
    let Some(channel) = app.open_channel() else { return };
    let at_end = app.shown.at_end || app.shown.channel != app.open;
    if !at_end {
        let new = channel.unread;
        let text = if new > 0 { format!(" ↓ {new} new ") } else { " ↓ ".to_owned() };
        let row = Rect { y, height: 1, x: area.x, width: area.width.saturating_sub(2) };
        put_right(buffer, row, &text, if new > 0 { Look::New } else { Look::Quiet }, app.colour);
    }
}

/// Words in the middle of an empty place.
fn hint(app: &App, buffer: &mut Buffer, area: Rect, text: &str) {
    let cells = usize::from(area.width.saturating_sub(4)).max(1);
    let rows = wrap(text, cells);
    let free = usize::from(area.height).saturating_sub(rows.len()) / 2;
    let first = area.y + u16::try_from(free).unwrap_or(0);
    for (row, y) in rows.into_iter().zip(first..area.bottom()) {
        let row = text.get(row).unwrap_or_default().trim_end();
        let margin = (usize::from(area.width).saturating_sub(width(row))) / 2;
        let x = area.x + u16::try_from(margin).unwrap_or(0);
        put(buffer, x, y, row, Look::Quiet, app.colour);
    }
}

/// What is answered, or changed.
pub(super) fn about(app: &App, buffer: &mut Buffer, area: Rect) {
    let Some(compose) = app.open_compose().filter(|_| !area.is_empty()) else { return };
    let found =
        |of| app.open_window().and_then(|window| window.find(of)).map(super::message::words);
    let text = match (&compose.editing, &compose.reply) {
        (Some(_), _) => "editing (Esc: leave it as it was)".to_owned(),
        (None, Some(of)) => {
            let words = found(of).unwrap_or_default();
            format!("↪ {}: {words}", app.name_of(&of.sender))
        }
        (None, None) => return,
    };
    put_in(buffer, (area.x, area.y), usize::from(area.width), &text, Look::Quiet, app.colour);
}

/// What is being written; where the cursor is.
pub(super) fn input(app: &App, buffer: &mut Buffer, area: Rect) -> Option<(u16, u16)> {
    let channel = app.open_channel()?;
    if area.is_empty() {
        return None;
    }
    if channel.state == ChannelState::Left {
        put_in(
            buffer,
            (area.x, area.y),
            usize::from(area.width),
            "you have left this group",
            Look::Quiet,
            app.colour,
        );
        return None;
    }
    let look = if app.focus == Focus::Input { Look::Loud } else { Look::Quiet };
    put(buffer, area.x, area.y, "›", look, app.colour);
    let compose = app.open_compose()?;
    let text = compose.editor.text();
    let cells = super::cells_of(area.width);
    let rows = wrap(text, cells);
    let (row, column) = compose.editor.place(cells);
    let height = usize::from(area.height);
    // The cursor is in sight.
    let first = (row + 1).saturating_sub(height);
    for (range, y) in rows.into_iter().skip(first).take(height).zip(area.y..) {
        let row = harmless(text.get(range).unwrap_or_default());
        put(buffer, area.x + PROMPT_CELLS, y, &clip_exactly(&row, cells), Look::Plain, app.colour);
    }
    let x = area.x + PROMPT_CELLS + u16::try_from(column).unwrap_or(0);
    let y = area.y + u16::try_from(row - first).unwrap_or(0);
    (app.focus == Focus::Input).then_some((x, y))
}

/// Without an ellipsis: only spaces stick out.
fn clip_exactly(row: &str, cells: usize) -> String {
    if width(row) > cells { clip(row.trim_end(), cells).into_owned() } else { row.to_owned() }
}

/// The last line: a question, what has just happened, how it stands with the home.
pub(super) fn status(app: &App, buffer: &mut Buffer, area: Rect) {
    let (state, look) = match &app.connection {
        Connection::Online if !app.listed => ("loading … ".to_owned(), Look::Quiet),
        Connection::Online if app.outbox.unsent() > 0 => ("sending … ".to_owned(), Look::Quiet),
        Connection::Online => (String::new(), Look::Quiet),
        Connection::Lost => ("reconnecting … ".to_owned(), Look::Bad),
        Connection::Ended(why) => (format!("{} ", harmless_line(why)), Look::Bad),
    };
    let end = put_right(buffer, area, &state, look, app.colour);
    let cells = usize::from(end.saturating_sub(area.x + 1));
    let (text, look) = match (app.asked(), &app.notice) {
        (Some(what), _) => (question(app, what), Look::New),
        (None, Some((notice, _))) => (harmless_line(notice).into_owned(), Look::Plain),
        (None, None) => (keys(app).to_owned(), Look::Quiet),
    };
    put_in(buffer, (area.x, area.y), cells, &text, look, app.colour);
    if app.asked().is_some() {
        let row = Rect { width: u16::try_from(width(&text)).unwrap_or(0).min(area.width), ..area };
        buffer.set_style(row, ratatui::style::Style::new().add_modifier(Modifier::BOLD));
    }
}

fn question(app: &App, what: &Confirm) -> String {
    match what {
        Confirm::Delete { .. } => "Delete it for everybody? y/n".to_owned(),
        Confirm::Block { user } => format!("Block {}? y/n", app.name_of(user)),
        Confirm::Decline { .. } => "Decline? y/n".to_owned(),
        Confirm::Leave { .. } => "Leave the group? y/n".to_owned(),
        Confirm::QuitUnsent { count } => {
            format!("{count} not sent yet, and lost if you go. Quit? y/n")
        }
    }
}

/// The keys that are useful now.
fn keys(app: &App) -> &'static str {
    match app.focus {
        Focus::List => {
            "Enter open · / find · m mute · p pin · a archive · F2 archive · F1 help · Ctrl+Q quit"
        }
        Focus::Input => "Enter send · Alt+Enter new line · Tab messages · Ctrl+K find · F1 help",
        Focus::Messages => "↑↓ select · r reply · e edit · d delete · + react · h hide · Esc back",
    }
}
