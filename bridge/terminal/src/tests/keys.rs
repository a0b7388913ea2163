//! What keys and time make the state wish for.

use crossterm::event::{KeyCode, KeyModifiers};
use homing_client::{Error, Event, Typing, Uuid, ViewUpdate};
use serde_json::json;

use crate::app::{App, Confirm, Focus, Happening, Overlay, Wish};
use crate::ask::{Answer, Ask, Page};
use crate::scene::{
    ME, NOON, answer, app, asks, channel, draw, message, message_of, open_with, press, tell,
    type_in,
};
use crate::time::Moment;

const NONE: KeyModifiers = KeyModifiers::NONE;
const CONTROL: KeyModifiers = KeyModifiers::CONTROL;

fn one() -> Uuid {
    Uuid::from_u128(1)
}

fn chat(more: serde_json::Value) -> App {
    app((80, 24), vec![channel(1, more)])
}

fn wait(app: &mut App, ms: u64) {
    let now = Moment { ms: app.now.ms + ms, unix_ms: app.now.unix_ms + ms };
    app.happen(Happening::Tick, now);
}

fn sends(app: &mut App) -> Vec<serde_json::Value> {
    let asks = asks(app).into_iter();
    asks.filter_map(|ask| if let Ask::Send { body, .. } = ask { Some(body) } else { None })
        .collect()
}

#[test]
fn what_was_on_the_screen_is_read_and_nothing_else() {
    let mut app = chat(json!({"head": 60, "unread": 60}));
    assert!(
        !asks(&mut app).iter().any(|ask| matches!(ask, Ask::Read { .. })),
        "nothing was opened"
    );
    open_with(&mut app, (1..=60).map(message).collect());
    // It begins where the new ones do: a screen of them is read.
    draw(&mut app);
    let reads = |app: &mut App| -> Vec<u64> {
        let asks = asks(app).into_iter();
        asks.filter_map(|ask| if let Ask::Read { pos, .. } = ask { Some(pos) } else { None })
            .collect()
    };
    let first = reads(&mut app);
    assert!(matches!(first[..], [pos] if pos > 10 && pos < 30), "{first:?}");
    draw(&mut app);
    assert_eq!(reads(&mut app), [0; 0], "once is enough");
    // Where the terminal is not looked at, nothing is read.
    app.happen(Happening::Focus(false), app.now);
    press(&mut app, KeyCode::End, CONTROL);
    draw(&mut app);
    wait(&mut app, 2_000);
    assert_eq!(reads(&mut app), [0; 0]);
    app.happen(Happening::Focus(true), app.now);
    press(&mut app, KeyCode::F(1), NONE);
    draw(&mut app);
    assert_eq!(reads(&mut app), [0; 0], "the help is in front of it");
    press(&mut app, KeyCode::Esc, NONE);
    draw(&mut app);
    assert_eq!(reads(&mut app), [60]);
    // The next second's are gathered.
    tell(&mut app, Event::Message(Box::new(message(61))));
    draw(&mut app);
    tell(&mut app, Event::Message(Box::new(message(62))));
    draw(&mut app);
    assert_eq!(reads(&mut app), [0; 0]);
    wait(&mut app, 1_000);
    assert_eq!(reads(&mut app), [62]);
}

#[test]
fn a_message_is_sent_after_the_one_before_it() {
    let mut app = chat(json!({}));
    open_with(&mut app, vec![]);
    for text in ["one", "two", "//three"] {
        type_in(&mut app, text);
        press(&mut app, KeyCode::Enter, NONE);
    }
    let asked = asks(&mut app);
    let sent: Vec<_> = asked.into_iter().filter(|ask| matches!(ask, Ask::Send { .. })).collect();
    let [Ask::Send { id, body, channel }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(body["text"], "one");
    let stored = homing_client::Sent {
        id: *id,
        channel: *channel,
        pos: 1,
        order: "1".into(),
        sent_at: NOON,
    };
    let screen = draw(&mut app);
    assert_eq!(screen.matches("… not sent yet").count(), 3, "{screen}");
    answer(&mut app, sent[0].clone(), Answer::Sent(stored));
    assert_eq!(sends(&mut app)[0]["text"], "two");
    let screen = draw(&mut app);
    assert!(screen.contains("you: one ✓") && screen.contains("you: /three …"), "{screen}");
}

#[test]
fn what_is_refused_stays_and_says_why() {
    let mut app = chat(json!({}));
    open_with(&mut app, vec![]);
    type_in(&mut app, "hello");
    press(&mut app, KeyCode::Enter, NONE);
    let ask = asks(&mut app).into_iter().find(|ask| matches!(ask, Ask::Send { .. })).unwrap();
    let error = Error::Unsendable("it is too long".into());
    app.happen(Happening::Answered(ask, Box::new(Err(error))), app.now);
    let screen = draw(&mut app);
    assert!(
        screen.contains("hello") && screen.contains("✗ not sent: this cannot be sent: it is too"),
        "{screen}"
    );
    type_in(&mut app, "/retry");
    press(&mut app, KeyCode::Enter, NONE);
    assert_eq!(sends(&mut app)[0]["text"], "hello");
}

#[test]
fn typing_is_told_as_long_as_it_lasts_and_not_more_often() {
    let mut app = chat(json!({}));
    open_with(&mut app, vec![]);
    let typing = |app: &mut App| -> Vec<bool> {
        let asks = asks(app).into_iter();
        asks.filter_map(
            |ask| if let Ask::Typing { typing, .. } = ask { Some(typing) } else { None },
        )
        .collect()
    };
    type_in(&mut app, "/mu");
    assert_eq!(typing(&mut app), [false; 0], "a command is for nobody else");
    press(&mut app, KeyCode::Char('u'), CONTROL);
    type_in(&mut app, "he");
    wait(&mut app, 3_900);
    type_in(&mut app, "l");
    assert_eq!(typing(&mut app), [true]);
    wait(&mut app, 200);
    type_in(&mut app, "l");
    assert_eq!(typing(&mut app), [true], "every four seconds");
    wait(&mut app, 5_000);
    assert_eq!(typing(&mut app), [false], "idle");
    type_in(&mut app, "o");
    press(&mut app, KeyCode::Enter, NONE);
    assert_eq!(typing(&mut app), [true, false]);
    // Of others it is forgotten when nothing more is said.
    let told = Typing { channel: one(), user: "bob@globex.test".into(), typing: true, sync: None };
    tell(&mut app, Event::Typing(told.clone()));
    assert!(draw(&mut app).contains("writes …"));
    wait(&mut app, 8_000);
    assert!(!draw(&mut app).contains("writes …"));
    tell(&mut app, Event::Typing(told));
    tell(&mut app, Event::Message(Box::new(message(1))));
    assert!(!draw(&mut app).contains("writes …"), "a message ends it");
}

#[test]
fn a_draft_is_kept_when_the_keys_rest_and_goes_with_the_message() {
    let mut app = chat(json!({"draft": "as it was"}));
    open_with(&mut app, vec![]);
    assert!(draw(&mut app).contains("› as it was"));
    let drafts = |app: &mut App| -> Vec<Option<String>> {
        let asks = asks(app).into_iter();
        asks.filter_map(
            |ask| if let Ask::View { update, .. } = ask { Some(update.draft) } else { None },
        )
        .collect()
    };
    type_in(&mut app, "!");
    assert_eq!(drafts(&mut app), [None; 0]);
    wait(&mut app, 3_000);
    assert_eq!(drafts(&mut app), [Some("as it was!".into())]);
    // What the home said before it had that is old.
    tell(&mut app, Event::Channel(Box::new(channel(1, json!({"draft": "as it was"})))));
    assert!(draw(&mut app).contains("› as it was!"));
    let update = ViewUpdate { draft: Some("as it was!".into()), ..ViewUpdate::default() };
    let kept = channel(1, json!({"draft": "as it was!"}));
    answer(
        &mut app,
        Ask::View { channel: one(), update, done: None },
        Answer::Channel(Box::new(kept)),
    );
    // Another device goes on writing.
    tell(&mut app, Event::Channel(Box::new(channel(1, json!({"draft": "from elsewhere"})))));
    assert!(draw(&mut app).contains("› from elsewhere"));
    press(&mut app, KeyCode::Enter, NONE);
    assert_eq!(drafts(&mut app), [Some(String::new())]);
    // It was told before the home heard that the draft is gone: what was sent does not come back to be sent again.
    let mut app = chat(json!({}));
    open_with(&mut app, vec![]);
    type_in(&mut app, "hello");
    wait(&mut app, 3_000);
    press(&mut app, KeyCode::Enter, NONE);
    assert_eq!(drafts(&mut app), [Some("hello".into()), Some(String::new())]);
    tell(&mut app, Event::Channel(Box::new(channel(1, json!({"draft": "hello"})))));
    assert!(!draw(&mut app).contains("› hello"));
}

#[test]
fn messages_are_edited_answered_reacted_to_and_deleted() {
    let mut app = chat(json!({"head": 3}));
    let mine = message_of(1, ME, 2);
    open_with(&mut app, vec![message(1), mine.clone(), message(3)]);
    draw(&mut app);
    asks(&mut app);
    // Up with nothing written: the last of one's own.
    press(&mut app, KeyCode::Up, NONE);
    let screen = draw(&mut app);
    assert!(screen.contains("editing") && screen.contains("› number 2"), "{screen}");
    press(&mut app, KeyCode::Backspace, NONE);
    type_in(&mut app, "two");
    press(&mut app, KeyCode::Enter, NONE);
    let of = json!({"id": mine.id, "sender": ME});
    let edit = json!({"type": "edit", "of": of, "body": {"type": "text", "text": "number two"}});
    let sent = asks(&mut app).into_iter().find(|ask| matches!(ask, Ask::Send { .. })).unwrap();
    let Ask::Send { id, body, channel } = &sent else { panic!() };
    assert_eq!(*body, edit);
    // The home tells this client nothing of it: it asks.
    let stored = homing_client::Sent {
        id: *id,
        channel: *channel,
        pos: 4,
        order: "4".into(),
        sent_at: NOON,
    };
    answer(&mut app, sent.clone(), Answer::Sent(stored));
    let asked =
        asks(&mut app).into_iter().find(|ask| matches!(ask, Ask::Message { at: 4, .. })).unwrap();
    let mut changed = mine.clone();
    changed.edited_at = Some(NOON);
    answer(&mut app, asked, Answer::Message(Box::new(changed)));
    assert!(draw(&mut app).contains("number 2 (edited) ✓"));
    assert_eq!(app.open_window().unwrap().high(), 4);

    // The last one is selected first, then the one above.
    press(&mut app, KeyCode::Up, CONTROL);
    assert_eq!(app.focus, Focus::Messages);
    press(&mut app, KeyCode::Char('r'), NONE);
    type_in(&mut app, "yes");
    assert!(draw(&mut app).contains("↪ bob: number 3"));
    press(&mut app, KeyCode::Enter, NONE);
    let reply = &sends(&mut app)[0];
    assert_eq!((&reply["reply_to"]["id"], &reply["text"]), (&json!(message(3).id), &json!("yes")));

    type_in(&mut app, "/delete");
    press(&mut app, KeyCode::Enter, NONE);
    assert!(matches!(app.overlay, Overlay::Confirm(Confirm::Delete { .. })));
    assert!(draw(&mut app).contains("Delete it for everybody? y/n"));
    press(&mut app, KeyCode::Char('n'), NONE);
    assert_eq!(app.overlay, Overlay::None);
}

#[test]
fn a_reaction_is_given_and_taken_back() {
    let mut app = chat(json!({"head": 1}));
    let mut liked = message(1);
    liked.reactions = vec![homing_client::Reaction { emoji: "👍".into(), count: 2, mine: true }];
    open_with(&mut app, vec![liked]);
    assert!(draw(&mut app).contains("number 1 👍2*"));
    for (keys, emoji, on) in [("/react 👍", "👍", false), ("/react 🎉", "🎉", true)] {
        type_in(&mut app, keys);
        press(&mut app, KeyCode::Enter, NONE);
        let sent = asks(&mut app).into_iter().find(|ask| matches!(ask, Ask::Send { .. })).unwrap();
        let Ask::Send { body, id, channel } = &sent else { panic!() };
        assert_eq!((&body["emoji"], &body["on"]), (&json!(emoji), &json!(on)));
        let stored = homing_client::Sent {
            id: *id,
            channel: *channel,
            pos: 2,
            order: "2".into(),
            sent_at: 1,
        };
        answer(&mut app, sent.clone(), Answer::Sent(stored));
        asks(&mut app);
    }
}

#[test]
fn requests_and_invitations_are_answered() {
    let mut app = app(
        (80, 24),
        vec![
            channel(1, json!({"state": "request", "head": 1, "unread": 1})),
            channel(
                2,
                json!({"state": "invited", "kind": "group", "name": "friends", "member_count": 3}),
            ),
        ],
    );
    let screen = draw(&mut app);
    assert!(screen.contains("wants to write") && screen.contains("you are invited"), "{screen}");
    for (channel, yes, no) in [(1, "accept", "decline"), (2, "join", "leave")] {
        app.cursor = Some(Uuid::from_u128(channel));
        app.focus = Focus::List;
        press(&mut app, KeyCode::Char('y'), NONE);
        press(&mut app, KeyCode::Char('n'), NONE);
        press(&mut app, KeyCode::Char('y'), NONE);
        let asked: Vec<&str> = asks(&mut app)
            .iter()
            .filter_map(|ask| match ask {
                Ask::Accept(_) => Some("accept"),
                Ask::Decline(_) => Some("decline"),
                Ask::Join(_) => Some("join"),
                Ask::Leave(_) => Some("leave"),
                _ => None,
            })
            .collect();
        assert_eq!(asked, [yes, no]);
    }
}

#[test]
fn who_is_on_the_screen_is_watched_and_nobody_else() {
    let channels = (1..40).map(|n| channel(n, json!({"with": format!("user{n}@globex.test")})));
    let mut app = app((80, 24), channels.collect());
    draw(&mut app);
    wait(&mut app, 300);
    let watched = |app: &mut App| -> Vec<(bool, usize)> {
        asks(app)
            .iter()
            .filter_map(|ask| match ask {
                Ask::Watch(users) => Some((true, users.len())),
                Ask::Unwatch(users) => Some((false, users.len())),
                _ => None,
            })
            .collect()
    };
    assert_eq!(watched(&mut app), [(true, 11)]);
    press(&mut app, KeyCode::PageDown, NONE);
    draw(&mut app);
    assert_eq!(watched(&mut app), [(true, 0); 0], "whoever is passed by is not");
    wait(&mut app, 300);
    assert_eq!(watched(&mut app), [(false, 11), (true, 11)]);
    // A refused call names nobody: each is asked for alone.
    let people = vec!["user1@globex.test".to_owned(), "user2@nowhere.test".to_owned()];
    let refused = Error::Refused(homing_client::Refusal {
        code: -32004,
        reason: "unknown_home".into(),
        message: String::new(),
        retry_after: None,
        limit: None,
    });
    app.happen(Happening::Answered(Ask::Watch(people), Box::new(Err(refused))), app.now);
    assert_eq!(watched(&mut app), [(true, 1), (true, 1)]);
}

#[test]
fn one_jumps_by_a_part_of_the_name_or_to_an_address() {
    let channels = (1..40).map(|n| channel(n, json!({"with": format!("user{n}@globex.test")})));
    let mut app = app((80, 24), channels.collect());
    press(&mut app, KeyCode::Char('k'), CONTROL);
    type_in(&mut app, "ER17");
    assert!(draw(&mut app).contains("user17@globex.test"));
    press(&mut app, KeyCode::Enter, NONE);
    assert_eq!(app.open, Some(Uuid::from_u128(17)));
    press(&mut app, KeyCode::Char('k'), CONTROL);
    type_in(&mut app, "new@initech.test");
    press(&mut app, KeyCode::Enter, NONE);
    let with = "new@initech.test".to_owned();
    assert!(asks(&mut app).contains(&Ask::Open { with: with.clone() }));
    answer(
        &mut app,
        Ask::Open { with },
        Answer::Channel(Box::new(channel(99, json!({"with": "new@initech.test"})))),
    );
    assert_eq!(app.open, Some(Uuid::from_u128(99)));
}

#[test]
fn older_pages_come_as_one_scrolls_and_while_one_is_asked_for_no_other_is() {
    let mut app = chat(json!({"head": 300}));
    app.look_at(one());
    let asked = asks(&mut app).into_iter().find(|ask| matches!(ask, Ask::Messages { .. })).unwrap();
    answer(&mut app, asked, Answer::Messages(crate::scene::page(201..=300, true, 201)));
    draw(&mut app);
    let pages = |app: &mut App| -> Vec<Page> {
        let asks = asks(app).into_iter();
        asks.filter_map(|ask| if let Ask::Messages { page, .. } = ask { Some(page) } else { None })
            .collect()
    };
    assert_eq!(pages(&mut app), []);
    for _ in 0..3 {
        press(&mut app, KeyCode::PageUp, NONE);
        draw(&mut app);
    }
    assert_eq!(pages(&mut app), [Page::Before(201)]);
    let generation = app.open_window().unwrap().generation;
    let ask = Ask::Messages { channel: one(), page: Page::Before(201), generation };
    let before = draw(&mut app);
    answer(&mut app, ask, Answer::Messages(crate::scene::page(101..=200, true, 101)));
    let rows = |screen: &str| {
        screen
            .lines()
            .skip(1)
            .take(10)
            .map(|row| row.chars().skip(25).collect())
            .collect::<Vec<String>>()
    };
    assert_eq!(rows(&draw(&mut app)), rows(&before), "what is looked at stays where it is");
    // Whoever is faster than the pages goes on when the next one is here.
    for _ in 0..8 {
        press(&mut app, KeyCode::PageUp, NONE);
        draw(&mut app);
    }
    let screen = draw(&mut app);
    assert!(screen.contains("number 101\n"), "{screen}");
    assert!(!screen.contains("Nov 2026"), "whether a day begins there is not known: {screen}");
    assert_eq!(pages(&mut app), [Page::Before(101)]);
    let ask = Ask::Messages { channel: one(), page: Page::Before(101), generation };
    answer(&mut app, ask, Answer::Messages(crate::scene::page(1..=100, false, 1)));
    let screen = draw(&mut app);
    assert!(screen.contains("number 90\n") && !screen.contains("number 102\n"), "{screen}");
    // New ones come below, out of sight.
    tell(&mut app, Event::Message(Box::new(message(301))));
    let screen = draw(&mut app);
    assert!(screen.contains("↓ 1 new") && !screen.contains("number 301\n"), "{screen}");
    press(&mut app, KeyCode::End, CONTROL);
    assert!(draw(&mut app).contains("number 301"));
}

#[test]
fn after_an_outage_what_was_missed_is_asked_for_and_a_new_life_begins_anew() {
    let mut app = chat(json!({"head": 3}));
    open_with(&mut app, (1..=3).map(message).collect());
    draw(&mut app);
    asks(&mut app);
    tell(&mut app, Event::Message(Box::new(message(4))));
    assert!(app.deadline().is_some());
    tell(&mut app, Event::Lost(Error::Stopped));
    assert!(draw(&mut app).contains("reconnecting …"));
    // What is due waits for the connection, and wakes nobody until then.
    wait(&mut app, 60_000);
    assert!(app.deadline().is_none_or(|at| at > app.now.ms), "{:?}", app.deadline());
    type_in(&mut app, "while away");
    press(&mut app, KeyCode::Enter, NONE);
    let mut opened = crate::scene::opened();
    opened.channels = vec![channel(1, json!({"head": 5, "unread": 2}))];
    tell(&mut app, Event::Opened(Box::new(opened.clone())));
    let asked = asks(&mut app);
    assert!(
        asked.iter().any(|ask| matches!(ask, Ask::Messages { page: Page::After(4), .. })),
        "{asked:?}"
    );
    assert!(asked.iter().any(|ask| matches!(ask, Ask::Send { .. })), "{asked:?}");
    assert!(!draw(&mut app).contains("reconnecting"));
    opened.life = "2".into();
    tell(&mut app, Event::Opened(Box::new(opened)));
    let asked = asks(&mut app);
    assert!(asked.contains(&Ask::Channels { cursor: None }));
    assert!(
        asked.iter().any(|ask| matches!(ask, Ask::Messages { page: Page::Latest, .. })),
        "{asked:?}"
    );
    assert!(draw(&mut app).contains("loading …"));
}

#[test]
fn who_quits_is_asked_where_something_would_be_lost() {
    let mut app = chat(json!({}));
    open_with(&mut app, vec![]);
    tell(&mut app, Event::Lost(Error::Stopped));
    type_in(&mut app, "hello");
    press(&mut app, KeyCode::Enter, NONE);
    press(&mut app, KeyCode::Char('q'), CONTROL);
    assert!(draw(&mut app).contains("1 not sent yet, and lost if you go. Quit? y/n"));
    assert!(!app.wishes().contains(&Wish::Quit));
    press(&mut app, KeyCode::Char('y'), NONE);
    assert!(app.wishes().contains(&Wish::Quit));
}

#[test]
fn a_paste_is_one_text_of_several_lines() {
    let mut app = chat(json!({}));
    open_with(&mut app, vec![]);
    app.happen(Happening::Paste("one\r\ntwo\u{1b}[31m\rthree".into()), app.now);
    press(&mut app, KeyCode::Enter, KeyModifiers::ALT);
    type_in(&mut app, "four");
    let screen = draw(&mut app);
    assert!(screen.contains("› one\n") && screen.contains("  two[31m\n"), "{screen}");
    assert_eq!(sends(&mut app), [json!(null); 0]);
    press(&mut app, KeyCode::Enter, NONE);
    assert_eq!(sends(&mut app)[0]["text"], "one\ntwo[31m\nthree\nfour");
}

#[test]
fn whoever_is_named_is_mentioned() {
    let mut app = app(
        (80, 24),
        vec![channel(1, json!({"kind": "group", "name": "friends", "member_count": 3}))],
    );
    open_with(&mut app, vec![]);
    type_in(&mut app, "@carol, @bob@globex.test: see x@y.z and @ and @alice");
    press(&mut app, KeyCode::Enter, NONE);
    assert_eq!(sends(&mut app)[0]["mentions"], json!(["carol@acme.test", "bob@globex.test"]));
}

#[test]
fn the_archive_is_behind_a_key() {
    let mut app = app(
        (80, 24),
        vec![
            channel(1, json!({})),
            channel(2, json!({"archived": true, "with": "old@globex.test", "unread": 2})),
        ],
    );
    let screen = draw(&mut app);
    assert!(!screen.contains("old@globex.test") && screen.contains("2 archived"), "{screen}");
    press(&mut app, KeyCode::F(2), NONE);
    let screen = draw(&mut app);
    assert!(screen.contains("old@globex.test") && !screen.contains("bob@globex.test"), "{screen}");
    press(&mut app, KeyCode::Char('a'), NONE);
    let update = ViewUpdate { archived: Some(false), ..ViewUpdate::default() };
    assert!(
        asks(&mut app).iter().any(|ask| matches!(ask, Ask::View { update: u, .. } if *u == update))
    );
}

#[test]
fn whoever_hides_the_last_message_on_the_screen_stays_where_they_are() {
    let mut app = chat(json!({"head": 100}));
    open_with(&mut app, (1..=100).map(message).collect());
    draw(&mut app);
    press(&mut app, KeyCode::PageUp, NONE);
    press(&mut app, KeyCode::PageUp, NONE);
    let screen = draw(&mut app);
    let numbers = screen.split("number ").skip(1);
    let last: u64 =
        numbers.filter_map(|rest| rest.split_whitespace().next()?.parse().ok()).max().unwrap();
    assert!(last < 80, "{screen}");
    let gone = message(last);
    let of = homing_client::MessageRef { id: gone.id, sender: gone.sender };
    answer(&mut app, Ask::Hide { channel: one(), of }, Answer::Done);
    let screen = draw(&mut app);
    let shows = |n: u64| screen.lines().any(|row| row.ends_with(&format!("number {n}")));
    assert!(shows(last - 1) && !shows(last) && !shows(100), "{screen}");
}

/// What is asked for of the open conversation.
fn pages(app: &mut App) -> Vec<Ask> {
    asks(app).into_iter().filter(|ask| matches!(ask, Ask::Messages { .. })).collect()
}

#[test]
fn whoever_comes_back_begins_where_it_is_new_though_it_is_not_held_any_more() {
    let mut app = app(
        (80, 24),
        vec![
            channel(1, json!({"head": 1_400, "read": 1_400})),
            channel(2, json!({"with": "carol@acme.test"})),
        ],
    );
    app.look_at(one());
    let asked = pages(&mut app).remove(0);
    answer(&mut app, asked, Answer::Messages(crate::scene::page(1_301..=1_400, true, 1_301)));
    // So far up that the newest are held no more.
    for low in (1..1_301).rev().step_by(100).map(|to| to - 99) {
        let window = app.open_window().unwrap();
        let (generation, page) = (window.generation, Page::Before(window.low()));
        let ask = Ask::Messages { channel: one(), page, generation };
        answer(&mut app, ask, Answer::Messages(crate::scene::page(low..low + 100, low > 1, low)));
    }
    assert!(!app.open_window().unwrap().reaches_end);
    app.look_at(Uuid::from_u128(2));
    for pos in 1_401..=1_600 {
        tell(&mut app, Event::Message(Box::new(message(pos))));
    }
    asks(&mut app);
    app.look_at(one());
    let asked = pages(&mut app);
    let [Ask::Messages { page: Page::After(1_400), .. }] = asked[..] else { panic!("{asked:?}") };
    draw(&mut app);
    assert!(!asks(&mut app).iter().any(|ask| matches!(ask, Ask::Read { .. })));
    let page = crate::scene::page(1_401..=1_500, true, 1_500);
    answer(&mut app, asked[0].clone(), Answer::Messages(page));
    let screen = draw(&mut app);
    assert!(screen.contains("── unread") && screen.contains("number 1401"), "{screen}");
    let read = asks(&mut app).into_iter().find_map(|ask| match ask {
        Ask::Read { pos, .. } => Some(pos),
        _ => None,
    });
    assert!(matches!(read, Some(1_401..1_430)), "{read:?}");

    // Left before its page has come, and come back to when there is more than that page holds.
    let mut app = chat(json!({"head": 10, "read": 10}));
    app.look_at(one());
    assert!(matches!(pages(&mut app)[..], [Ask::Messages { page: Page::Latest, .. }]));
    app.look_at(one());
    assert!(pages(&mut app).is_empty(), "once is enough");
    tell(
        &mut app,
        Event::Channel(Box::new(channel(1, json!({"head": 300, "read": 10, "unread": 290})))),
    );
    app.look_at(one());
    assert!(matches!(pages(&mut app)[..], [Ask::Messages { page: Page::After(10), .. }]));
    app.look_at(one());
    assert!(pages(&mut app).is_empty(), "once is enough");
}

#[test]
fn what_was_missed_is_read_when_it_was_on_the_screen() {
    let reads = |app: &mut App| -> Vec<u64> {
        let asks = asks(app).into_iter();
        asks.filter_map(|ask| if let Ask::Read { pos, .. } = ask { Some(pos) } else { None })
            .collect()
    };
    let mut app = chat(json!({"head": 3, "read": 3}));
    open_with(&mut app, (1..=3).map(message).collect());
    draw(&mut app);
    assert_eq!(reads(&mut app), [0; 0]);
    // Something before it is not here yet, and it is not shown until then.
    tell(&mut app, Event::Message(Box::new(message(5))));
    let asked = asks(&mut app);
    draw(&mut app);
    assert_eq!(reads(&mut app), [0; 0]);
    let asked = asked.into_iter().find(|ask| matches!(ask, Ask::Messages { .. })).unwrap();
    answer(&mut app, asked, Answer::Messages(crate::scene::page(4..=5, false, 5)));
    let screen = draw(&mut app);
    assert!(screen.contains("number 5") && !screen.contains("── unread"), "{screen}");
    assert_eq!(reads(&mut app), [5]);
    // More than a screen came during an outage: it begins where that does.
    let mut opened = crate::scene::opened();
    opened.channels = vec![channel(1, json!({"head": 60, "read": 5, "unread": 55}))];
    tell(&mut app, Event::Lost(Error::Stopped));
    tell(&mut app, Event::Opened(Box::new(opened.clone())));
    let asked = pages(&mut app).remove(0);
    draw(&mut app);
    assert_eq!(reads(&mut app), [0; 0]);
    answer(&mut app, asked, Answer::Messages(crate::scene::page(6..=60, false, 60)));
    let screen = draw(&mut app);
    assert!(screen.contains("── unread") && screen.contains("number 6\n"), "{screen}");
    let read = reads(&mut app);
    assert!(matches!(read[..], [10..=30]), "{read:?}");
    wait(&mut app, 2_000);
    press(&mut app, KeyCode::End, CONTROL);
    draw(&mut app);
    assert_eq!(reads(&mut app), [60], "whoever goes to the end passes over the rest");
    // So much that it is not caught up with.
    opened.channels = vec![channel(1, json!({"head": 1_060, "read": 60, "unread": 1_000}))];
    tell(&mut app, Event::Opened(Box::new(opened)));
    let asked = pages(&mut app);
    assert!(matches!(asked[..], [Ask::Messages { page: Page::After(60), .. }]), "{asked:?}");
}
