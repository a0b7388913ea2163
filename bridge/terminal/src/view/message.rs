//! One message as rows.

use homing_client::{Body, Channel, Media, MessageRef};
use ratatui::text::{Line, Span};
use serde_json::Value;

use super::style::Look;
use crate::app::App;
use crate::app::channels::Tick;
use crate::app::outbox::{Outgoing, Sending};
use crate::app::window::{Entry, Window};
use crate::text::{clip, harmless, harmless_line, width, wrap};
use crate::time;

/// The time and a space: what is written stands right of it.
const INDENT: usize = 6;

/// A name before the words takes so much of a row at most: an address can be 320 letters long.
const NAME_CELLS: usize = 32;

/// Words of the answered message that stand above an answer.
const QUOTE_CELLS: usize = 60;

/// Something with a look.
struct Part {
    text: String,
    look: Look,
}

impl Part {
    fn new(text: impl Into<String>, look: Look) -> Self {
        Self { text: text.into(), look }
    }
}

/// A message that the home has.
pub(super) fn stored(
    app: &App,
    channel: &Channel,
    window: &Window,
    entry: &Entry,
    cells: usize,
) -> Vec<Line<'static>> {
    let message = &entry.message;
    let mine = message.sender == app.me;
    if entry.body == Body::Notice {
        return vec![centred(app, &notice(message.body.get()), Look::Quiet, cells)];
    }
    let name_look = if mine { Look::Me } else { Look::name(&message.sender) };
    let mut head =
        vec![Part::new(clip(&app.name_of(&message.sender), name_cells(cells)), name_look)];
    head.push(Part::new(": ", Look::Quiet));
    let mut body = Vec::new();
    let rejected = message.status.as_deref() == Some("rejected");
    match &entry.body {
        _ if rejected => {
            let why = message.reason.as_deref().unwrap_or("no reason given");
            body.push(Part::new(
                format!("✗ not taken by the other home: {}", harmless_line(why)),
                Look::Bad,
            ));
        }
        Body::Text { text, mentions, reply_to } => {
            if let Some(of) = reply_to {
                let taken = head.iter().map(|part| width(&part.text)).sum::<usize>() + INDENT;
                head.push(quote(app, window, of, cells.saturating_sub(taken)));
                head.push(Part::new("\n", Look::Plain));
            }
            let named = mentions.iter().any(|user| user.eq_ignore_ascii_case(&app.me));
            body.push(Part::new(harmless(text), if named { Look::Loud } else { Look::Plain }));
        }
        Body::Media { media, caption } => {
            body.push(Part::new(file(media), Look::Loud));
            if let Some(caption) = caption {
                body.push(Part::new(format!("\n{}", harmless(caption)), Look::Plain));
            }
        }
        Body::Deleted => body.push(Part::new("deleted", Look::Quiet)),
        Body::Notice => {}
        Body::Other => {
            let kind = kind_of(message.body.get());
            body.push(Part::new(format!("({kind}: this client does not know it)"), Look::Quiet));
        }
    }
    let mut tail = Vec::new();
    if message.edited_at.is_some() {
        tail.push(Part::new("(edited)", Look::Quiet));
    }
    if message.late {
        tail.push(Part::new("(late)", Look::Quiet));
    }
    for reaction in &message.reactions {
        let look = if reaction.mine { Look::Loud } else { Look::Plain };
        let mark = if reaction.mine { "*" } else { "" };
        tail.push(Part::new(
            format!("{}{}{mark}", harmless_line(&reaction.emoji), reaction.count),
            look,
        ));
    }
    if mine && !rejected && entry.body != Body::Deleted {
        tail.push(tick(Tick::of(channel, message.pos, &app.me)));
    }
    laid_out(app, &time::clock(message.sent_at), &head, &body, &tail, cells)
}

/// A message on its way.
pub(super) fn outgoing(app: &App, outgoing: &Outgoing, cells: usize) -> Vec<Line<'static>> {
    let head = [Part::new("you", Look::Me), Part::new(": ", Look::Quiet)];
    let text = outgoing.text.as_deref().unwrap_or_default();
    let body = [Part::new(harmless(text), Look::Plain)];
    let tail = match &outgoing.state {
        Sending::Waiting | Sending::Asked | Sending::Again { .. } => {
            vec![Part::new("… not sent yet", Look::Quiet)]
        }
        Sending::Refused { why } => {
            vec![Part::new(
                format!("✗ not sent: {} (/retry, /discard)", harmless_line(why)),
                Look::Bad,
            )]
        }
    };
    laid_out(app, &time::clock(outgoing.written_at), &head, &body, &tail, cells)
}

/// `── Wed 25 Nov 2026 ──────`
pub(super) fn day_line(app: &App, unix_ms: u64, cells: usize) -> Line<'static> {
    ruled(app, &time::date(unix_ms), Look::Quiet, cells)
}

/// What is below is new.
pub(super) fn new_line(app: &App, cells: usize) -> Line<'static> {
    ruled(app, "unread", Look::New, cells)
}

/// How far a message of one's own has got; readable without colour, too.
fn tick(tick: Tick) -> Part {
    match tick {
        Tick::Sent => Part::new("✓", Look::Quiet),
        Tick::Delivered => Part::new("✓✓", Look::Quiet),
        Tick::Read => Part::new("✓✓ read", Look::Read),
    }
}

fn quote(app: &App, window: &Window, of: &MessageRef, cells: usize) -> Part {
    let name = clip(&app.name_of(&of.sender), NAME_CELLS).into_owned();
    let words = match window.find(of) {
        Some(entry) => words(entry),
        None => "an older message".to_owned(),
    };
    let quote = format!("↪ {name}: {words}");
    // Where there is no room at all, what is left of it is wrapped like everything else.
    Part::new(clip(&quote, cells.clamp(8, QUOTE_CELLS)), Look::Quiet)
}

/// A message in a line, for quotes and lists.
pub(super) fn words(entry: &Entry) -> String {
    words_of(&entry.body, entry.message.body.get(), entry.message.status.is_some())
}

pub(super) fn words_of(body: &Body, json: &str, gone: bool) -> String {
    match body {
        _ if gone => "…".to_owned(),
        // No list and no quote is wider than this: a long text is not gone through to its end.
        Body::Text { text, .. } => harmless_line(start_of(text)).into_owned(),
        Body::Media { media, .. } => file(media),
        Body::Deleted => "deleted".to_owned(),
        Body::Notice => notice(json),
        Body::Other => format!("({})", kind_of(json)),
    }
}

/// The beginning of a text, at least as long as a row.
fn start_of(text: &str) -> &str {
    const BYTES: usize = 1_000;
    let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= BYTES);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

fn file(media: &Media) -> String {
    let (name, mime) = (harmless_line(&media.name), harmless_line(&media.mime));
    let length = media.length().map(|length| format!(" · {length}")).unwrap_or_default();
    format!("[{} · {} · {}{length}]", clip(&name, 60), clip(&mime, 40), size(media.size))
}

/// `1.4 MB`.
fn size(bytes: u64) -> String {
    let mut unit = "B";
    let mut value = bytes as f64;
    for next in ["KB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// What a home says in a conversation.
fn notice(json: &str) -> String {
    let body: Value = serde_json::from_str(json).unwrap_or_default();
    match (body["notice"].as_str(), body["missing"].as_u64()) {
        (Some("gap"), Some(missing)) => format!("{missing} of another home are gone for good"),
        (Some(what), _) => harmless_line(what).into_owned(),
        (None, _) => "the home says something that this client does not know".to_owned(),
    }
}

fn kind_of(json: &str) -> String {
    let body: Value = serde_json::from_str(json).unwrap_or_default();
    let kind = body["type"].as_str().unwrap_or("something");
    clip(&harmless_line(kind), 40).into_owned()
}

fn name_cells(cells: usize) -> usize {
    NAME_CELLS.min((cells / 2).max(4))
}

/// Time, name and words in rows; what is said of it stands behind the last one, or below where that is full.
fn laid_out(
    app: &App,
    clock: &str,
    head: &[Part],
    body: &[Part],
    tail: &[Part],
    cells: usize,
) -> Vec<Line<'static>> {
    let indent = if cells > INDENT * 3 { INDENT } else { 0 };
    let room = cells.saturating_sub(indent).max(1);
    // Looks go by bytes of the whole, so that words are wrapped over all parts together.
    let mut text = String::new();
    let mut looks = Vec::new();
    for part in head.iter().chain(body) {
        text.push_str(&part.text);
        looks.push((text.len(), part.look));
    }
    let mut rows: Vec<Vec<Span<'static>>> = Vec::new();
    let mut last_width = 0;
    let mut part = 0;
    for row in wrap(&text, room) {
        let mut spans = Vec::new();
        let mut from = row.start;
        while from < row.end {
            let Some((end, look)) = looks.get(part).copied() else { break };
            if end <= from {
                part += 1;
                continue;
            }
            let to = end.min(row.end);
            let piece = text.get(from..to).unwrap_or_default();
            spans.push(Span::styled(piece.to_owned(), look.style(app.colour)));
            from = to;
        }
        last_width = width(text.get(row).unwrap_or_default());
        rows.push(spans);
    }
    let mut needs_row = false;
    for Part { text, look } in tail {
        let wide = width(text) + 1;
        if last_width + wide > room {
            needs_row = true;
        }
        if needs_row {
            // Whole words of it, in as many rows as it takes.
            for row in wrap(text, room) {
                let piece = text.get(row).unwrap_or_default().to_owned();
                last_width = width(&piece);
                rows.push(vec![Span::styled(piece, look.style(app.colour))]);
            }
            needs_row = false;
            continue;
        }
        last_width += wide;
        if let Some(row) = rows.last_mut() {
            row.push(Span::raw(" "));
            row.push(Span::styled(text.clone(), look.style(app.colour)));
        }
    }
    let quiet = Look::Quiet.style(app.colour);
    let rows = rows.into_iter().enumerate().map(|(at, spans)| {
        let margin = match (at, indent) {
            (_, 0) => String::new(),
            (0, _) => format!("{clock:<indent$}"),
            _ => " ".repeat(indent),
        };
        let mut line = vec![Span::styled(margin, quiet)];
        line.extend(spans);
        Line::from(line)
    });
    rows.collect()
}

fn ruled(app: &App, text: &str, look: Look, cells: usize) -> Line<'static> {
    let text = clip(text, cells.saturating_sub(6)).into_owned();
    let rest = cells.saturating_sub(width(&text) + 4);
    let line = format!("── {text} {}", "─".repeat(rest));
    Line::from(Span::styled(line, look.style(app.colour)))
}

fn centred(app: &App, text: &str, look: Look, cells: usize) -> Line<'static> {
    let text = clip(text, cells).into_owned();
    let margin = cells.saturating_sub(width(&text)) / 2;
    Line::from(Span::styled(format!("{}{text}", " ".repeat(margin)), look.style(app.colour)))
}
