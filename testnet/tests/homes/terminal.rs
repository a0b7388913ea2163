//! `homing client chat`, as people use it: real homes, a real terminal line, keys in and a screen out.

use homing_client::TextBody;
use homing_testnet::homes::PASSWORD;
use rustix::process::Signal;

use crate::party::{Party, history, say, text};
use crate::pty::Terminal;

const ENTER: &str = "\r";
const ESC: &str = "\u{1b}";
const PAGE_UP: &str = "\u{1b}[5~";
const CTRL_END: &str = "\u{1b}[1;5F";
const CLEAR: &str = "\u{15}";
const QUIT: &str = "\u{11}";
const SIZE: (u16, u16) = (100, 30);

/// Enough for a race between the two to be lost, and not more than a row holds.
const KEYS_AND_SIZES: usize = 50;

async fn signed_in(names: &[&str], people: &[(usize, &str)]) -> Party {
    let party = Party::of(names).await;
    for (home, user) in people {
        party.homes[*home].register(user).await.unwrap();
        let typed = party.typed(*home, user, &["login", user], PASSWORD).await;
        assert_eq!(typed.code, 0, "{typed:?}");
    }
    party
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_at_two_homes_chat_on_their_screens() {
    let party = signed_in(&["acme.test", "globex.test"], &[(0, "alice"), (1, "bob")]).await;
    let mut alice = Terminal::chat(&party, 0, "alice", &["bob@globex.test"], SIZE);
    alice.shows("nothing has been written here").await;
    assert!(alice.is_taken());
    alice.press(&format!("hello over there{ENTER}"));
    alice.shows("you: hello over there ✓").await;

    // bob sees one new one, opens it, and it is new no more; alice sees that he has read it.
    let mut bob = Terminal::chat(&party, 1, "bob", &[], SIZE);
    bob.until("one unread", |screen| {
        let row = screen.lines().find(|row| row.contains("hello over there"))?;
        row.split('│').next()?.trim_end().ends_with(" 1").then_some(())
    })
    .await;
    bob.press(ENTER);
    bob.shows("alice: hello over there").await;
    alice.shows("hello over there ✓✓ read").await;
    bob.until("nothing unread", |screen| {
        let row =
            screen.lines().find(|row| row.contains("hello over there") && row.contains('│'))?;
        (!row.split('│').next()?.trim_end().ends_with(" 1")).then_some(())
    })
    .await;

    // bob types; alice sees it, until the message is there.
    bob.press("hello your");
    alice.shows("writes …").await;
    bob.press(&format!("self 👋{ENTER}"));
    alice.shows("bob: hello yourself 👋").await;
    alice.hides("writes …").await;
    bob.shows("you: hello yourself 👋 ✓✓ read").await;

    // An answer of two lines, pasted; changed; liked; taken away.
    bob.press("\u{1b}[200~first line\rsecond line\u{1b}[201~");
    bob.press(ENTER);
    alice.shows("second line").await;
    bob.shows("second line ✓").await;
    bob.press("\u{1b}[A");
    bob.shows("editing").await;
    bob.press(&format!(", mended{ENTER}"));
    alice.shows("second line, mended (edited)").await;
    bob.shows("second line, mended (edited)").await;
    alice.press(&format!("/react 👍{ENTER}"));
    bob.shows("(edited) 👍1 ✓✓ read").await;
    alice.shows("👍1*").await;
    bob.press(&format!("/delete{ENTER}"));
    bob.shows("Delete it for everybody? y/n").await;
    bob.press("y");
    alice.shows("bob: deleted").await;
    bob.shows("you: deleted").await;

    // What one writes and leaves is a draft, on all devices.
    alice.press("not yet");
    alice.press(QUIT);
    let (status, _) = alice.end().await;
    assert!(status.success(), "{status}");
    let mut alice = Terminal::chat(&party, 0, "alice", &[], SIZE);
    alice.shows("draft: not yet").await;
    bob.press(QUIT);
    assert!(bob.end().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_conversation_begins_where_it_is_new_and_goes_back_to_its_beginning() {
    let mut party = signed_in(&["acme.test"], &[(0, "alice"), (0, "bob")]).await;
    let (bob, _) = party.client(0, "bob").await;
    let first = say(&bob, "alice@acme.test", "number 1.").await;
    let mut answers = Vec::new();
    for n in 2..=350 {
        let (id, body) = (homing_client::new_message_id(), format!("number {n}."));
        let to = homing_client::Target::Channel(first.channel);
        answers.push(bob.submit_message(to, id, &TextBody::new(&body)).await.unwrap());
    }
    for answer in answers {
        answer.await.unwrap();
    }
    let mut alice = Terminal::chat(&party, 0, "alice", &[], SIZE);
    alice.shows(" 350 ").await;
    alice.press(ENTER);
    alice.shows("bob: number 1.").await;
    alice.shows("── unread").await;
    // What was on the screen is read; the rest is not.
    let unread = alice
        .until("fewer unread", |screen| {
            let row = screen.lines().find(|row| row.contains("number 350."))?;
            let count: u32 = row.split('│').next()?.split_whitespace().last()?.parse().ok()?;
            (count < 350).then_some(count)
        })
        .await;
    assert!((320..345).contains(&unread), "{unread} of 350, with a screen of 26 rows");
    alice.press(CTRL_END);
    alice.shows("bob: number 350.").await;
    alice
        .until("nothing unread", |screen| {
            let row =
                screen.lines().find(|row| row.contains("number 350.") && row.contains('│'))?;
            row.split('│').next()?.trim_end().ends_with("number 350.").then_some(())
        })
        .await;
    let mut top = 350;
    while top > 1 {
        alice.press(PAGE_UP);
        top = alice
            .until("older ones", |screen| {
                let rows = screen.lines().filter_map(|row| row.split("bob: number ").nth(1));
                let first =
                    rows.filter_map(|row| row.split('.').next()?.parse::<u32>().ok()).min()?;
                (first < top).then_some(first)
            })
            .await;
    }
    // New ones come while one is far up, and are shown when one is back.
    say(&bob, "alice@acme.test", "number 351.").await;
    alice.shows("↓ 1 new").await;
    alice.press(CTRL_END);
    alice.shows("bob: number 351.").await;
    alice.press(QUIT);
    assert!(alice.end().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_goes_away_costs_nothing_and_doubles_nothing() {
    let mut party = signed_in(&["acme.test", "globex.test"], &[(0, "alice"), (1, "bob")]).await;
    let mut alice = Terminal::chat(&party, 0, "alice", &["bob@globex.test"], SIZE);
    alice.shows("nothing has been written here").await;
    alice.press(&format!("before{ENTER}"));
    alice.shows("you: before ✓").await;
    party.homes[0].kill().await.unwrap();
    alice.shows("reconnecting …").await;
    for n in 1..=5 {
        alice.press(&format!("while away {n}{ENTER}"));
    }
    alice
        .until("five that are not sent", |screen| {
            (screen.matches("… not sent yet").count() == 5).then_some(())
        })
        .await;
    // Whoever goes now is asked, and may stay.
    alice.press(QUIT);
    alice.shows("5 not sent yet, and lost if you go. Quit? y/n").await;
    alice.press("n");
    party.homes[0].start().await.unwrap();
    alice.hides("reconnecting …").await;
    alice.hides("not sent yet").await;
    alice.press(&format!("after{ENTER}"));
    alice.shows("you: after ✓").await;
    // Killed in the middle of things, too.
    for n in 1..=10 {
        alice.press(&format!("quick {n}{ENTER}"));
    }
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    alice.shows("you: quick 10 ✓").await;

    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let wanted: Vec<String> = ["before".to_owned()]
        .into_iter()
        .chain((1..=5).map(|n| format!("while away {n}")))
        .chain(["after".to_owned()])
        .chain((1..=10).map(|n| format!("quick {n}")))
        .collect();
    let channel = bob.open_chat("alice@acme.test").await.unwrap().channel;
    let mut got = history(&bob, channel).await;
    while got.len() < wanted.len() {
        crate::party::next_message(&mut bob_hears).await;
        got = history(&bob, channel).await;
    }
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), wanted);
    alice.press(QUIT);
    assert!(alice.end().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_given_back_whatever_ends_it() {
    let mut party = signed_in(&["acme.test"], &[(0, "alice"), (0, "bob")]).await;
    let (bob, _) = party.client(0, "bob").await;
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[?1049l\u{9b}31mred";
    say(&bob, "alice@acme.test", evil).await;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut alice = Terminal::chat(&party, 0, "alice", &["bob"], SIZE);
        // What others write commands nothing, and is shown.
        alice.shows("bob: ␛]0;owned␇␛[2J␛[?1049l").await;
        assert!(alice.is_taken());
        alice.signal(signal);
        let (status, _) = alice.end().await;
        assert!(status.success(), "{signal:?}: {status}");
    }

    // Any size at any time; too small a one says so.
    let mut alice = Terminal::chat(&party, 0, "alice", &["bob"], SIZE);
    alice.shows("│").await;
    alice.resize(50, 14);
    alice.hides("│").await;
    alice.shows("bob: ␛]0;owned␇").await;
    for n in 1..=KEYS_AND_SIZES {
        // A key that comes together with a new size is a key.
        let (columns, rows) = (60 + u16::try_from(n % 2).unwrap(), 14);
        if n % 3 == 0 {
            alice.press("x");
            alice.resize(columns, rows);
        } else {
            alice.resize(columns, rows);
            alice.press("x");
        }
        alice.shows(&format!("› {}", "x".repeat(n))).await;
    }
    alice.press(CLEAR);
    alice.hides("xx").await;
    alice.resize(20, 5);
    alice.shows("at least 40×12").await;
    alice.resize(160, 50);
    alice.shows("│").await;
    alice.press(ESC);
    alice.shows("Enter open").await;
    alice.press("?");
    alice.shows("Ctrl+Q, Ctrl+C").await;
    alice.press(ESC);
    // Signed out from elsewhere: it says so, and ends with that.
    let devices = party.client(0, "alice").await.0;
    for device in devices.devices().await.unwrap().into_iter().filter(|device| !device.current) {
        devices.revoke_device(device.device).await.unwrap();
    }
    alice.shows("not signed in").await;
    alice.press(QUIT);
    let (status, _) = alice.end().await;
    assert!(status.success(), "{status}");

    // Without a terminal: wrong usage, in a line.
    let typed = party.typed(0, "bob", &["login", "bob"], PASSWORD).await;
    assert_eq!(typed.code, 0, "{typed:?}");
    let typed = party.typed(0, "bob", &["chat"], "").await;
    assert_eq!((typed.code, typed.out.as_str()), (2, ""), "{typed:?}");
    assert!(
        typed.err.contains("chat needs a terminal") && typed.err.lines().count() == 1,
        "{typed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_has_said_what_was_typed() {
    let mut party = signed_in(&["acme.test"], &[(0, "alice"), (0, "bob")]).await;
    let mut alice = Terminal::chat(&party, 0, "alice", &["bob"], SIZE);
    alice.shows("nothing has been written here").await;
    let typed: Vec<String> = (1..=5).map(|n| format!("line {n}")).collect();
    for line in &typed {
        alice.press(&format!("{line}{ENTER}"));
    }
    // All are taken, and at most the first is at the home.
    alice.shows("you: line 5").await;
    alice.signal(Signal::HUP);
    let (status, _) = alice.end().await;
    assert!(status.success(), "{status}");
    let (bob, _) = party.client(0, "bob").await;
    let channel = bob.open_chat("alice@acme.test").await.unwrap().channel;
    let got = history(&bob, channel).await;
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), typed);

    // Where the home is not there it is told.
    let mut alice = Terminal::chat(&party, 0, "alice", &["bob"], SIZE);
    alice.shows("you: line 5 ✓").await;
    party.homes[0].kill().await.unwrap();
    alice.shows("reconnecting …").await;
    alice.press(&format!("in vain{ENTER}"));
    alice.shows("in vain … not sent yet").await;
    alice.signal(Signal::HUP);
    let (status, screen) = alice.end().await;
    assert_eq!(status.code(), Some(1));
    assert!(screen.contains("1 messages were not sent"), "{screen}");
}

/// Otherwise each such failure takes its full patience and is taken for another.
#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "no bob and has ended: exit status: 1")]
async fn a_chat_that_ends_is_noticed_by_whoever_waits_for_its_screen() {
    let party = Party::of(&["acme.test"]).await;
    Terminal::chat(&party, 0, "nobody", &[], SIZE).shows("bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_invitations_are_answered_on_the_screen() {
    let environment = [("HOMING_FEDERATION__FIRST_CONTACT", "request")];
    let mut party = Party::with(&["acme.test", "globex.test"], &environment).await;
    party.homes[0].register("alice").await.unwrap();
    assert_eq!(party.typed(0, "alice", &["login", "alice"], PASSWORD).await.code, 0);
    let mut alice = Terminal::chat(&party, 0, "alice", &[], SIZE);
    alice.shows("no conversations").await;
    let (bob, _) = party.client(1, "bob").await;
    say(&bob, "alice@acme.test", "may I?").await;
    alice.shows("wants to write to you").await;
    alice.press("\u{1b}[B");
    alice.press("y");
    alice.hides("wants to write to you").await;
    alice.press(ENTER);
    alice.shows("bob: may I?").await;
    let group = bob
        .create_group(homing_client::new_message_id(), "friends", &["alice@acme.test".to_owned()])
        .await
        .unwrap();
    alice.shows("you are invited").await;
    // Jumped to by a part of its name.
    alice.press("\u{b}end");
    alice.press(ENTER);
    alice.shows("You are invited to “friends”").await;
    alice.press("y");
    alice.shows("nothing has been written here").await;
    alice.press(ESC);
    // An escape that letters follow at once would be another key.
    alice.shows("Enter send").await;
    alice.press(&format!("hello, all{ENTER}"));
    alice.shows("you: hello, all ✓").await;
    let mut got = history(&bob, group.channel).await;
    let (_bob, mut bob_hears) = party.client(1, "bob").await;
    while got.is_empty() {
        got = history(&bob, group.channel).await;
        if got.is_empty() {
            crate::party::next_message(&mut bob_hears).await;
        }
    }
    assert_eq!(got.iter().map(text).collect::<Vec<_>>(), ["hello, all"]);
    alice.press(QUIT);
    assert!(alice.end().await.0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_edit_delete_and_react() {
    let party = signed_in(&["acme.test"], &[(0, "alice"), (0, "bob")]).await;
    let typed = async |user: &str, words: &[&str]| {
        let typed = party.typed(0, user, &[&["--json"], words].concat(), "").await;
        let row = typed
            .out
            .lines()
            .next()
            .and_then(|row| serde_json::from_str::<serde_json::Value>(row).ok());
        (typed.code, row.unwrap_or_default(), typed.err)
    };
    let (_, sent, _) = typed("alice", &["send", "bob", "helo"]).await;
    let id = sent["id"].as_str().unwrap();
    let (code, edited, _) = typed("alice", &["edit", "bob", id, "hello"]).await;
    assert_eq!((code, &edited["body"]["text"]), (0, &"hello".into()), "{edited}");
    assert!(edited["edited_at"].is_u64());
    let (code, liked, _) = typed("bob", &["react", "alice", id, "👍"]).await;
    assert_eq!((code, &liked["reactions"][0]["mine"]), (0, &true.into()), "{liked}");
    let (code, plain, _) = typed("bob", &["react", "alice", id, "👍", "--off"]).await;
    assert_eq!((code, &plain["reactions"]), (0, &serde_json::Value::Null), "{plain}");
    let (code, _, err) = typed("bob", &["edit", "alice", id, "not mine"]).await;
    assert!(code == 1 && err.contains("not_yours"), "{err}");
    let (code, _, err) = typed("bob", &["react", "alice", id, "thumb"]).await;
    assert!(code == 1 && err.contains("not_emoji"), "{err}");
    let (code, gone, _) = typed("alice", &["delete", "bob", id]).await;
    assert_eq!((code, &gone["body"]["type"]), (0, &"deleted".into()), "{gone}");
    let (code, _, err) = typed("alice", &["edit", "bob", id, "again"]).await;
    assert!(code == 1 && err.contains("message_deleted"), "{err}");
}
