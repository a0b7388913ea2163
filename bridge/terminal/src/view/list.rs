//! The list of conversations.

use homing_client::{Channel, ChannelKind, ChannelState};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::style::Look;
use super::{message, put, put_in, put_right};
use crate::app::channels::is_muted;
use crate::app::{App, Focus};
use crate::text::harmless_line;
use crate::time;

/// A conversation takes two rows: its name, and its last words.
const ROWS: u16 = 2;

/// How many conversations fit.
pub(super) fn fitting(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(1) / ROWS)
}

/// Draws it; whose chats are in sight.
pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) -> Vec<String> {
    title(app, buffer, Rect { height: 1, ..area });
    let rows: Vec<&Channel> = app.list().collect();
    let fits = fitting(area).max(1);
    let at = app
        .cursor
        .and_then(|cursor| rows.iter().position(|row| row.channel == cursor))
        .unwrap_or(0);
    // A page at a time: the list stands still while the cursor goes through it.
    let first = at / fits * fits;
    let mut people = Vec::new();
    for (channel, y) in
        rows.iter().skip(first).take(fits).zip((area.y + 1..).step_by(usize::from(ROWS)))
    {
        let row = Rect { y, height: ROWS, ..area };
        if row.bottom() <= area.bottom() {
            one(app, buffer, row, channel);
            people.extend(channel.with.clone());
        }
    }
    if rows.is_empty() && area.height > 2 {
        let text = match (app.show_archive, app.listed) {
            (true, _) => "nothing is archived",
            (false, true) => "no conversations: Ctrl+K, then an address",
            (false, false) => "…",
        };
        put_in(
            buffer,
            (area.x + 1, area.y + 1),
            usize::from(area.width).saturating_sub(1),
            text,
            Look::Quiet,
            app.colour,
        );
    }
    people
}

fn title(app: &App, buffer: &mut Buffer, area: Rect) {
    buffer.set_style(area, Look::Bar.style(app.colour));
    let unread: u64 =
        app.channels.sorted().filter(|c| c.archived != app.show_archive).map(|c| c.unread).sum();
    let elsewhere = match (app.show_archive, unread) {
        (_, 0) => String::new(),
        (true, unread) => format!("{unread} new outside "),
        (false, unread) => format!("{unread} archived "),
    };
    let x = put_right(buffer, area, &elsewhere, Look::Bar, app.colour);
    let name =
        if app.show_archive { "Archive".to_owned() } else { harmless_line(&app.me).into_owned() };
    let cells = usize::from(x.saturating_sub(area.x + 1));
    put_in(buffer, (area.x + 1, area.y), cells, &name, Look::Bar, app.colour);
}

fn one(app: &App, buffer: &mut Buffer, area: Rect, channel: &Channel) {
    let colour = app.colour;
    let here = Rect { height: 1, ..area };
    let below = Rect { y: area.y + 1, height: 1, ..area };
    let muted = is_muted(channel, app.server_ms());
    let new = channel.unread > 0 || channel.marked_unread;

    let when = channel
        .last
        .as_ref()
        .map_or(String::new(), |last| time::short(last.sent_at, app.now.unix_ms));
    let end = put_right(buffer, here, &format!("{when} "), Look::Quiet, colour);
    let open = app.open == Some(channel.channel);
    put(buffer, here.x, here.y, if open { "▌" } else { " " }, Look::Plain, colour);
    let mut x = here.x + 1;
    if app.is_there(channel) {
        x += put(buffer, x, here.y, "●", Look::There, colour);
    }
    for (is, sign) in [(channel.pinned, "▲"), (muted, "⊘")] {
        if is {
            x += put(buffer, x, here.y, sign, Look::Quiet, colour);
        }
    }
    if channel.kind == ChannelKind::Group {
        x += put(buffer, x, here.y, "#", Look::Quiet, colour);
    }
    let look = if new && !muted { Look::Loud } else { Look::Plain };
    let cells = usize::from(end.saturating_sub(x + 1));
    put_in(buffer, (x, here.y), cells, &harmless_line(&channel.title()), look, colour);

    let count = count(channel);
    let end = if count.is_empty() {
        below.right()
    } else {
        let look = if muted { Look::Quiet } else { Look::New };
        put_right(buffer, below, &format!("{count} "), look, colour)
    };
    let at = (below.x + 2, below.y);
    let cells = usize::from(end.saturating_sub(at.0 + 1));
    let (text, look) = preview(app, channel);
    put_in(buffer, at, cells, &text, look, colour);

    if app.focus == Focus::List && app.cursor == Some(channel.channel) {
        buffer.set_style(area, Look::Chosen.style(colour));
    }
}

/// `@2 5`: five new ones, two of them to the user; a dot: marked as unread.
fn count(channel: &Channel) -> String {
    match (channel.mentions, channel.unread, channel.marked_unread) {
        (0, 0, false) => String::new(),
        (0, 0, true) => "•".to_owned(),
        (0, unread, _) => unread.to_string(),
        (mentions, unread, _) => format!("@{mentions} {unread}"),
    }
}

/// What is said of a conversation in a line: what is most urgent.
fn preview(app: &App, channel: &Channel) -> (String, Look) {
    match channel.state {
        ChannelState::Request => return ("wants to write to you: y, n".to_owned(), Look::New),
        ChannelState::Invited => return ("you are invited: y, n".to_owned(), Look::New),
        ChannelState::Left => return ("you have left".to_owned(), Look::Quiet),
        ChannelState::Active | ChannelState::Unknown => {}
    }
    if app.typing_in(channel.channel).next().is_some() {
        return ("writes …".to_owned(), Look::There);
    }
    let written = app.compose.get(&channel.channel).map(|compose| compose.editor.text());
    let draft = written.or(channel.draft.as_deref()).filter(|draft| !draft.is_empty());
    if let Some(draft) = draft.filter(|_| app.open != Some(channel.channel)) {
        return (format!("draft: {}", harmless_line(draft)), Look::Bad);
    }
    let Some(last) = &channel.last else { return (String::new(), Look::Quiet) };
    let words = message::words_of(&last.body(), last.body.get(), last.status.is_some());
    let sender = if last.sender == app.me {
        "you: ".to_owned()
    } else if channel.kind == ChannelKind::Group {
        format!("{}: ", harmless_line(last.sender.split('@').next().unwrap_or_default()))
    } else {
        String::new()
    };
    (format!("{sender}{words}"), Look::Quiet)
}
