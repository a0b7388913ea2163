//! Whatever happens, in whatever order: nothing panics, and nothing raw reaches the terminal.

use crossterm::event::{KeyCode, KeyModifiers};
use homing_client::{Error, Event, Presence, Receipt, Typing, Uuid};
use proptest::prelude::*;
use serde_json::json;

use crate::app::{App, Happening};
use crate::ask::{Answer, Ask, Page};
use crate::scene::{self, ME, app, channel, draw_at, opened, press, tell, with_body};

/// Texts of strangers: escape sequences, what has no width, what has two cells, what turns the line.
const TEXTS: [&str; 8] = [
    "hello over there, how are you today? It has been a while since we spoke.",
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\r\u{8}\u{0}x",
    "日本語のテキスト、長いもの、とても長いもの",
    "שלום עולם \u{202e}abc\u{2066}",
    "👩‍👩‍👧‍👦👍🏽🇩🇪 e\u{301}\u{301}\u{301}\u{200d}\u{200b}",
    "",
    "a\n\nb\tc\u{2028}d\n\n\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

#[derive(Clone, Debug)]
enum Deed {
    Key(u8, u8),
    Paste(u8),
    Resize(u16, u16),
    Focus(bool),
    Message {
        channel: u8,
        pos: u64,
        text: u8,
        kind: u8,
    },
    Channel {
        channel: u8,
        state: u8,
        head: u64,
        text: u8,
    },
    Other(u8, u64),
    /// Whatever was asked for is answered, well or not.
    Answer(u8, u64),
    Wait(u16),
}

fn deed() -> impl Strategy<Value = Deed> {
    let small = 0_u64..40;
    prop_oneof![
        4 => (0_u8..KEYS.len() as u8, 0_u8..4).prop_map(|(key, modifiers)| Deed::Key(key, modifiers)),
        1 => (0_u8..8).prop_map(Deed::Paste),
        1 => (1_u16..200, 1_u16..60).prop_map(|(columns, rows)| Deed::Resize(columns, rows)),
        1 => any::<bool>().prop_map(Deed::Focus),
        4 => (0_u8..4, small.clone(), 0_u8..8, 0_u8..8)
            .prop_map(|(channel, pos, text, kind)| Deed::Message { channel, pos, text, kind }),
        2 => (0_u8..4, 0_u8..5, small.clone(), 0_u8..8)
            .prop_map(|(channel, state, head, text)| Deed::Channel { channel, state, head, text }),
        2 => (0_u8..7, small.clone()).prop_map(|(what, n)| Deed::Other(what, n)),
        3 => (0_u8..6, small).prop_map(|(how, n)| Deed::Answer(how, n)),
        1 => (0_u16..9_000).prop_map(Deed::Wait),
    ]
}

const KEYS: [KeyCode; 30] = [
    KeyCode::Enter,
    KeyCode::Esc,
    KeyCode::Tab,
    KeyCode::BackTab,
    KeyCode::Up,
    KeyCode::Down,
    KeyCode::Left,
    KeyCode::Right,
    KeyCode::PageUp,
    KeyCode::PageDown,
    KeyCode::Home,
    KeyCode::End,
    KeyCode::Backspace,
    KeyCode::Delete,
    KeyCode::F(1),
    KeyCode::F(2),
    KeyCode::Char('k'),
    KeyCode::Char('n'),
    KeyCode::Char('p'),
    KeyCode::Char('g'),
    KeyCode::Char('d'),
    KeyCode::Char('e'),
    KeyCode::Char('r'),
    KeyCode::Char('y'),
    KeyCode::Char('+'),
    KeyCode::Char('b'),
    KeyCode::Char('/'),
    KeyCode::Char('?'),
    KeyCode::Char('日'),
    KeyCode::Char('1'),
];

fn happen(app: &mut App, deed: Deed, asked: &mut Vec<Ask>) {
    let text = |n: u8| TEXTS[usize::from(n) % TEXTS.len()];
    let id = |n: u64| Uuid::from_u128(u128::from(n % 4));
    let now = app.now;
    match deed {
        Deed::Key(key, modifiers) => {
            let modifiers = match modifiers {
                0 | 1 => KeyModifiers::NONE,
                2 => KeyModifiers::CONTROL,
                _ => KeyModifiers::ALT,
            };
            press(app, KEYS[usize::from(key)], modifiers);
        }
        Deed::Paste(n) => app.happen(Happening::Paste(text(n).to_owned()), now),
        Deed::Resize(columns, rows) => app.happen(Happening::Resize { columns, rows }, now),
        Deed::Focus(focused) => app.happen(Happening::Focus(focused), now),
        Deed::Wait(ms) => {
            let later = crate::time::Moment { ms: now.ms + u64::from(ms), ..now };
            app.happen(Happening::Tick, later);
        }
        Deed::Message { channel, pos, text: n, kind } => {
            let of = json!({"id": Uuid::from_u128(u128::from(pos / 2) << 64 | u128::from(channel)), "sender": ME});
            let body = match kind {
                0 | 1 => json!({"type": "text", "text": text(n), "mentions": [ME]}),
                2 => json!({"type": "text", "text": text(n), "reply_to": of}),
                3 => {
                    json!({"type": "media", "caption": text(n), "media": {"home": "h", "id": "i", "hash": "x",
                    "size": pos * 999_999, "mime": text(n), "name": text(n)}})
                }
                4 => json!({"type": "deleted"}),
                5 => json!({"type": "notice", "notice": text(n), "missing": pos}),
                6 => json!({"type": text(n)}),
                _ => json!([text(n)]),
            };
            let sender = if kind % 2 == 0 { ME } else { text(n) };
            let mut message = with_body(channel.into(), sender, pos, body);
            message.at = (kind > 3).then_some(pos + 3);
            message.status =
                (n == 3).then(|| ["hidden", "rejected"][usize::from(kind % 2)].to_owned());
            message.reason = message.status.clone().map(|_| text(n).to_owned());
            message.late = n == 4;
            message.reactions = vec![homing_client::Reaction {
                emoji: text(n).to_owned(),
                count: pos,
                mine: kind == 0,
            }];
            tell(app, Event::Message(Box::new(message)));
        }
        Deed::Channel { channel: n, state, head, text: t } => {
            let state = ["active", "request", "invited", "left", "new"][usize::from(state)];
            let kind = if n == 2 { "group" } else { "chat" };
            let told = channel(
                n.into(),
                json!({
                    "kind": kind, "state": state, "head": head, "unread": head / 2, "read": head / 3, "name": text(t),
                    "with": text(t), "draft": text(t), "pinned": head % 2 == 0, "archived": head % 5 == 0,
                    "member_count": head, "muted_until": scene::NOON + head - 20,
                    "last": with_body(n.into(), text(t), head, json!({"type": "text", "text": text(t)})),
                }),
            );
            tell(app, Event::Channel(Box::new(told)));
        }
        Deed::Other(what, n) => {
            let user = text(u8::try_from(n % 8).unwrap()).to_owned();
            tell(
                app,
                match what {
                    0 => Event::Receipt(Receipt {
                        channel: id(n),
                        user,
                        delivered: n,
                        read: n / 2,
                        at: 0,
                        sync: None,
                    }),
                    1 => Event::Typing(Typing {
                        channel: id(n),
                        user,
                        typing: n % 3 > 0,
                        sync: None,
                    }),
                    2 => Event::Presence(Presence {
                        user,
                        online: n % 2 == 0,
                        last_seen: Some(n),
                        sync: None,
                    }),
                    3 => Event::Lost(Error::Stopped),
                    4 | 5 => {
                        let mut opened = opened();
                        opened.resync = n % 5 == 0;
                        opened.channels = vec![channel(n.into(), json!({"head": n}))];
                        Event::Opened(Box::new(opened))
                    }
                    _ => Event::Ended(Error::SignedOut { why: user }),
                },
            );
        }
        Deed::Answer(how, n) => {
            let Some(ask) = asked.pop() else { return };
            let refusal = |code, reason: &str| {
                let (reason, message) = (reason.to_owned(), TEXTS[1].to_owned());
                Err(Error::Refused(homing_client::Refusal {
                    code,
                    reason,
                    message,
                    retry_after: None,
                    limit: None,
                }))
            };
            let answer = match (how, &ask) {
                (0, _) => refusal(-32005, "too_fast"),
                (1, _) => refusal(-32004, "channel_not_found"),
                (2, _) => Err(Error::Closed { code: None, why: String::new() }),
                (_, Ask::Messages { page, .. }) => Ok(Answer::Messages(match page {
                    Page::Latest => scene::page(n..n + 5, n > 1, n),
                    Page::Before(pos) => {
                        scene::page(pos.saturating_sub(5)..*pos, n % 2 == 0, pos.saturating_sub(n))
                    }
                    Page::After(pos) => scene::page(pos + 1..pos + 6, n % 2 == 0, pos + n),
                })),
                (_, Ask::Send { channel, id, .. }) => Ok(Answer::Sent(homing_client::Sent {
                    id: *id,
                    channel: *channel,
                    pos: n,
                    order: scene::order(n),
                    sent_at: scene::NOON,
                })),
                (_, Ask::Channel(of) | Ask::View { channel: of, .. } | Ask::Accept(of)) => {
                    Ok(Answer::Channel(Box::new(channel(of.as_u128(), json!({"head": n})))))
                }
                (_, Ask::Open { with }) => {
                    Ok(Answer::Channel(Box::new(channel(3, json!({"head": n, "with": with})))))
                }
                _ => Ok(Answer::Done),
            };
            app.happen(Happening::Answered(ask, Box::new(answer)), now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics_and_nothing_raw_is_drawn(
        deeds in proptest::collection::vec(deed(), 1..60),
        other in (1_u16..200, 1_u16..60),
        colour in any::<bool>(),
    ) {
        let mut app = app((80, 24), vec![channel(1, json!({"head": 9})), channel(2, json!({"kind": "group", "name": TEXTS[1]}))]);
        app.colour = colour;
        let mut asked = Vec::new();
        press(&mut app, KeyCode::Enter, KeyModifiers::NONE);
        for deed in deeds {
            happen(&mut app, deed, &mut asked);
            asked.extend(scene::asks(&mut app));
            scene::draw(&mut app);
            app.deadline();
        }
        // Between a resize and its event.
        draw_at(&mut app, other);
        // What waits for an answer is bounded by what there is to ask about.
        prop_assert!(asked.len() < 400, "{}", asked.len());
    }
}
