//! The screens of docs/TERMINAL.md are drawn by the view itself.

use std::fmt::Write as _;
use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyModifiers};
use homing_client::{Event, Presence, Typing, Uuid};
use serde_json::json;

use crate::app::{App, COMMANDS, Happening, KEYS};
use crate::scene::{ME, NOON, app, channel, draw, open_with, press, tell, type_in, with_body};
use crate::time::Moment;

/// A weekday noon.
fn scene(size: (u16, u16)) -> App {
    let bob = "bob@globex.test";
    let text = |sender: &str, pos, text: &str| {
        with_body(1, sender, pos, json!({"type": "text", "text": text}))
    };
    let last = |n: u128, sender: &str, at: u64, text: &str| {
        let mut message = with_body(n, sender, 1, json!({"type": "text", "text": text}));
        message.sent_at = at;
        message
    };
    let marks =
        json!([{"user": ME, "delivered": 9, "read": 9}, {"user": bob, "delivered": 11, "read": 9}]);
    let hour = 3_600_000;
    let mut app = app(
        size,
        vec![
            channel(
                1,
                json!({"head": 11, "read": 8, "unread": 1, "marks": marks, "last": text(bob, 10, "")}),
            ),
            channel(
                2,
                json!({"kind": "group", "name": "lunch", "member_count": 7, "unread": 12, "mentions": 1, "head": 1,
            "last": last(2, "carol@initech.test", NOON - hour, "who is in today? @alice?")}),
            ),
            channel(
                3,
                json!({"with": "carol@initech.test", "pinned": true, "head": 1,
            "last": last(3, ME, NOON - 26 * hour, "see you on Friday")}),
            ),
            channel(
                4,
                json!({"with": "dave@hooli.test", "state": "request", "head": 1, "unread": 1,
            "last": last(4, "dave@hooli.test", NOON - 2 * hour, "hi")}),
            ),
            channel(
                5,
                json!({"kind": "group", "name": "alerts", "member_count": 3, "muted_until": NOON + hour, "unread": 340,
            "head": 1, "last": last(5, "bot@acme.test", NOON - 3 * hour, "disk of db2 is 81 % full")}),
            ),
            channel(
                6,
                json!({"with": "erin@acme.test", "draft": "Could you look at", "head": 1,
            "last": last(6, "erin@acme.test", NOON - 50 * hour, "merged")}),
            ),
        ],
    );
    let mut old = text(ME, 1, "Shall we meet about the move on Thursday?");
    old.sent_at = NOON - 20 * hour;
    let mut yes = text(
        bob,
        2,
        "Yes. I have booked the small room, and will bring the plans that we got from the landlord; the stairs are on page two.",
    );
    yes.sent_at = NOON - 19 * hour;
    yes.reactions = vec![homing_client::Reaction { emoji: "👍".into(), count: 1, mine: true }];
    let plan = with_body(
        1,
        bob,
        3,
        json!({"type": "media", "caption": "with the stairs", "media": {"home": "h", "id": "i",
        "hash": "x", "size": 482_133, "mime": "application/pdf", "name": "plans.pdf"}}),
    );
    let reply_to = json!({"id": plan.id, "sender": bob});
    let mut edited = with_body(
        1,
        ME,
        4,
        json!({"type": "text", "text": "Thanks! 日本語の図面も？", "reply_to": reply_to}),
    );
    edited.edited_at = Some(NOON);
    let messages = vec![
        old,
        yes,
        plan,
        edited,
        text(bob, 10, "On its way."),
        text(ME, 11, "Great, see you then"),
    ];
    open_with(&mut app, messages);
    app.happen(Happening::Tick, Moment { ms: 400, unix_ms: NOON });
    draw(&mut app);
    app.happen(Happening::Tick, Moment { ms: 900, unix_ms: NOON });
    for (user, online) in [(bob, true), ("carol@initech.test", true)] {
        tell(
            &mut app,
            Event::Presence(Presence { user: user.into(), online, last_seen: None, sync: None }),
        );
    }
    tell(
        &mut app,
        Event::Typing(Typing {
            channel: Uuid::from_u128(1),
            user: bob.into(),
            typing: true,
            sync: None,
        }),
    );
    type_in(&mut app, "And the keys:");
    press(&mut app, KeyCode::Enter, KeyModifiers::ALT);
    type_in(&mut app, "I have them");
    app
}

fn table(title: &str, rows: &[(&str, &str)]) -> String {
    let mut table = format!("| {title} | |\n|---|---|\n");
    for (key, what) in rows {
        let _a_string_takes_it = writeln!(table, "| `{key}` | {} |", what.replace('|', "\\|"));
    }
    table
}

/// Puts what is generated between its two marks.
fn with_part(text: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}{part}{end}{after}")
}

#[test]
fn the_screens_of_the_document_are_generated() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/TERMINAL.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut new = text.clone();
    for (name, size) in [("80x24", (80, 24)), ("200x50", (200, 50))] {
        let screen = draw(&mut scene(size));
        new = with_part(&new, name, &format!("```text\n{screen}```\n"));
    }
    new = with_part(&new, "keys", &table("key", KEYS));
    new = with_part(&new, "commands", &table("command", COMMANDS));
    if std::env::var_os("HOMING_REGENERATE").is_some() {
        std::fs::write(&path, new).unwrap();
        return;
    }
    assert!(
        new == text,
        "docs/TERMINAL.md is out of date: HOMING_REGENERATE=1 cargo test -p homing-terminal -- generated"
    );
}
