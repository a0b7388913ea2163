//! Whole screens as text.

use crossterm::event::{KeyCode, KeyModifiers};
use homing_client::{Event, Presence};
use serde_json::json;

use crate::app::Happening;
use crate::scene::{
    ME, NOON, app, channel, draw, message, message_of, open_with, press, tell, with_body,
};

#[test]
fn everything_that_can_be_said_of_a_message_is_readable_without_colour() {
    let marks = json!([{"user": ME, "delivered": 9, "read": 9}, {"user": "bob@globex.test", "delivered": 3, "read": 2}]);
    let mut app = app((60, 18), vec![channel(1, json!({"head": 12, "marks": marks, "read": 12}))]);
    let mine = |pos| message_of(1, ME, pos);
    let mut late = message(5);
    late.late = true;
    late.edited_at = Some(NOON);
    let reply_to = json!({"id": mine(2).id, "sender": ME});
    let answer = with_body(
        1,
        "bob@globex.test",
        6,
        json!({"type": "text", "text": "yes", "reply_to": reply_to}),
    );
    let media = json!({"type": "media", "caption": "us", "media": {"home": "h", "id": "i", "hash": "x", "size": 1_400_000,
        "mime": "video/mp4", "name": "beach\u{1b}.mp4", "duration_ms": 83_000}});
    let mut rejected = with_body(1, ME, 10, json!({"type": "deleted"}));
    (rejected.status, rejected.reason) = (Some("rejected".into()), Some("no_right".into()));
    open_with(
        &mut app,
        vec![
            message(1),
            mine(2),
            mine(3),
            mine(4),
            late,
            answer,
            with_body(1, "bob@globex.test", 7, media),
            with_body(1, "bob@globex.test", 8, json!({"type": "deleted"})),
            with_body(1, "acme.test", 9, json!({"type": "notice", "notice": "gap", "missing": 5})),
            rejected,
            with_body(1, "bob@globex.test", 11, json!({"type": "x.poll"})),
        ],
    );
    let presence = Presence {
        user: "bob@globex.test".into(),
        online: false,
        last_seen: Some(NOON - 60_000),
        sync: None,
    };
    app.happen(Happening::Tick, crate::time::Moment { ms: 400, unix_ms: NOON });
    draw(&mut app);
    app.happen(Happening::Tick, crate::time::Moment { ms: 800, unix_ms: NOON });
    tell(&mut app, Event::Presence(presence));
    assert_eq!(
        format!("\n{}", draw(&mut app)),
        "
 bob@globex.test                            last seen 11:59
── Wed 25 Nov 2026 ─────────────────────────────────────────
11:00 bob: number 1
11:00 you: number 2 ✓✓ read
11:00 you: number 3 ✓✓
11:00 you: number 4 ✓
11:00 bob: number 5 (edited) (late)
11:00 bob: ↪ you: number 2
      yes
11:00 bob: [beach␛.mp4 · video/mp4 · 1.4 MB · 1:23]
      us
11:00 bob: deleted
            5 of another home are gone for good
11:00 you: ✗ not taken by the other home: no_right
11:00 bob: (x.poll: this client does not know it)
────────────────────────────────────────────────────────────
›
Enter send · Alt+Enter new line · Tab messages · Ctrl+K fi…
"
    );
}

#[test]
fn colours_are_only_beside_what_words_say() {
    let marks = json!([{"user": "bob@globex.test", "delivered": 3, "read": 2}]);
    let mut app = app((80, 24), vec![channel(1, json!({"head": 2, "marks": marks, "unread": 1}))]);
    open_with(&mut app, vec![message(1), message_of(1, ME, 2)]);
    let without = draw(&mut app);
    app.colour = true;
    assert_eq!(draw(&mut app), without);
}

#[test]
fn a_small_terminal_has_one_pane_and_one_too_small_says_so() {
    let mut app =
        app((40, 12), vec![channel(1, json!({"head": 1, "unread": 1, "last": message(1)}))]);
    let list = draw(&mut app);
    assert!(list.contains(" bob@globex.test") && list.contains("number 1"), "{list}");
    press(&mut app, KeyCode::Enter, KeyModifiers::NONE);
    let conversation = draw(&mut app);
    assert!(
        conversation.contains('›') && !conversation.contains(" alice@acme.test"),
        "{conversation}"
    );
    press(&mut app, KeyCode::Esc, KeyModifiers::NONE);
    assert_eq!(draw(&mut app).lines().next(), list.lines().next());
    app.happen(Happening::Resize { columns: 39, rows: 12 }, app.now);
    assert!(draw(&mut app).starts_with("at least 40×12: this is 39×12\n"));
}

#[test]
fn what_a_stranger_is_called_commands_nothing() {
    let evil = "\u{1b}]52;c;ZXZpbA==\u{7}\u{202e}x\n\r\u{9b}2J";
    let mut app = app(
        (80, 24),
        vec![channel(
            1,
            json!({
                "kind": "group", "name": evil, "head": 1, "member_count": 2, "draft": evil, "last": with_body(1, evil, 1, json!({"type": "text", "text": evil})),
            }),
        )],
    );
    // `draw` looks for control characters itself.
    draw(&mut app);
    open_with(&mut app, vec![with_body(1, evil, 1, json!({"type": "text", "text": evil}))]);
    let screen = draw(&mut app);
    assert!(screen.contains("␛]52;c;ZXZpbA==␇\u{fffd}x"), "{screen}");
    assert!(!screen.contains('\u{202e}'));
}

#[test]
fn two_thousand_conversations_and_a_long_one_are_drawn_at_once() {
    let channels = (1..=2_000).map(|n| {
        channel(n, json!({"with": format!("user{n}@globex.test"), "head": 1, "last": message_of(n, "bob@globex.test", 1)}))
    });
    let mut app = app((120, 40), channels.collect());
    let long = "word ".repeat(13_000);
    let messages = (1..=100)
        .map(|n| with_body(1, "bob@globex.test", n, json!({"type": "text", "text": long})));
    open_with(&mut app, messages.collect());
    let begin = std::time::Instant::now();
    for n in 0..50 {
        press(
            &mut app,
            if n % 2 == 0 { KeyCode::PageUp } else { KeyCode::PageDown },
            KeyModifiers::NONE,
        );
        tell(&mut app, Event::Message(Box::new(message_of(5, "bob@globex.test", n + 2))));
        draw(&mut app);
    }
    // Half a second for fifty frames would be felt; a debug build on a busy machine has twenty times that.
    let took = begin.elapsed();
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    println!("fifty frames: {took:?}");
}
