//! What the tests are made of.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use homing_client::{Channel, ChannelsPage, Event, Message, MessagesPage, Opened, Uuid};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use serde_json::{Value, json};

use crate::app::{App, Happening, Wish};
use crate::ask::{Answer, Ask};
use crate::text::width;
use crate::time::Moment;
use crate::view::{self, Shown};

/// The user.
pub(crate) const ME: &str = "alice@acme.test";

/// Wed 25 Nov 2026, 12:00.
pub(crate) const NOON: u64 = 20_782 * 86_400_000 + 43_200_000;

/// How an order is written for a place: any text that sorts alike does.
pub(crate) fn order(pos: u64) -> String {
    format!("{pos:012}")
}

pub(crate) fn opened() -> Opened {
    serde_json::from_value(json!({
        "user": {"address": ME, "user_id": Uuid::from_u128(1), "display_name": "Alice"},
        "device": "d", "life": "1", "sync": "1.0", "server_time": NOON,
        "limits": {"body": 65_536, "draft": 16_384, "watched": 500, "page": 200},
    }))
    .unwrap()
}

/// A message of bob's in channel 1.
pub(crate) fn message(pos: u64) -> Message {
    message_of(1, "bob@globex.test", pos)
}

pub(crate) fn message_of(channel: u128, sender: &str, pos: u64) -> Message {
    with_body(channel, sender, pos, json!({"type": "text", "text": format!("number {pos}")}))
}

pub(crate) fn with_body(channel: u128, sender: &str, pos: u64, body: Value) -> Message {
    serde_json::from_value(json!({
        "channel": Uuid::from_u128(channel), "pos": pos, "order": order(pos),
        "id": Uuid::from_u128(u128::from(pos) << 64 | channel), "sender": sender,
        "sent_at": NOON - 3_600_000 + pos * 1_000, "body": body,
    }))
    .unwrap()
}

pub(crate) fn page(places: impl IntoIterator<Item = u64>, more: bool, next: u64) -> MessagesPage {
    let messages = places.into_iter().map(message).collect();
    MessagesPage { messages, more, next, changed: Vec::new() }
}

/// The chat with bob, or whatever `more` says otherwise.
pub(crate) fn channel(n: u128, more: Value) -> Channel {
    let mut channel = json!({
        "channel": Uuid::from_u128(n), "kind": "chat", "state": "active", "member_count": 2, "head": 0,
    });
    if more["kind"] != "group" && more["with"].is_null() {
        channel["with"] = json!("bob@globex.test");
    }
    for (key, value) in more.as_object().unwrap() {
        channel[key] = value.clone();
    }
    serde_json::from_value(channel).unwrap()
}

/// A state with a size, signed in, with these conversations listed.
pub(crate) fn app(size: (u16, u16), channels: Vec<Channel>) -> App {
    let now = Moment { ms: 0, unix_ms: NOON };
    let mut app = App::new(&opened(), now, size, false);
    app.wishes();
    let page = ChannelsPage { channels, cursor: None, sync: None };
    answer(&mut app, Ask::Channels { cursor: None }, Answer::Channels(page));
    app
}

pub(crate) fn answer(app: &mut App, ask: Ask, answer: Answer) {
    let now = app.now;
    app.happen(Happening::Answered(ask, Box::new(Ok(answer))), now);
}

pub(crate) fn tell(app: &mut App, event: Event) {
    let now = app.now;
    app.happen(Happening::Home(Box::new(event)), now);
}

pub(crate) fn press(app: &mut App, code: KeyCode, modifiers: KeyModifiers) {
    let now = app.now;
    app.happen(Happening::Key(KeyEvent::new(code, modifiers)), now);
}

pub(crate) fn type_in(app: &mut App, text: &str) {
    for c in text.chars() {
        press(app, KeyCode::Char(c), KeyModifiers::NONE);
    }
}

/// What is asked for, without what is of no interest here.
pub(crate) fn asks(app: &mut App) -> Vec<Ask> {
    let wishes = app.wishes().into_iter();
    wishes.filter_map(|wish| if let Wish::Ask(ask) = wish { Some(ask) } else { None }).collect()
}

/// Opens channel 1 with these messages in it.
pub(crate) fn open_with(app: &mut App, messages: Vec<Message>) {
    let id = Uuid::from_u128(1);
    app.look_at(id);
    let asked = asks(app).into_iter().find(|ask| matches!(ask, Ask::Messages { .. })).unwrap();
    let (more, next, changed) = (false, 1, Vec::new());
    answer(app, asked, Answer::Messages(MessagesPage { messages, more, next, changed }));
}

/// Draws, tells what was drawn, and returns the screen as text.
pub(crate) fn draw(app: &mut App) -> String {
    let size = app.size;
    let text = draw_at(app, size);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    text
}

/// The same on a terminal of another size than is known.
pub(crate) fn draw_at(app: &mut App, (columns, rows): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    let mut shown = Shown::default();
    terminal.draw(|frame| shown = view::draw(app, frame)).unwrap();
    let now = app.now;
    app.happen(Happening::Shown(Box::new(shown)), now);
    text_of(terminal.backend().buffer())
}

fn text_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        let mut row = String::new();
        let mut x = buffer.area.left();
        while x < buffer.area.right() {
            let symbol = buffer[(x, y)].symbol();
            row.push_str(symbol);
            x += u16::try_from(width(symbol).max(1)).unwrap();
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}
