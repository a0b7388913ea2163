//! What is older than the operator keeps is gone: for its own people, and for a home that was away too long.

use homing_client::{Client, Events, Message};

use crate::party::{Party, history, next, next_message, say, text};

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(text).collect()
}

/// Waits until a channel's history is that: each removal is told.
async fn until_history(client: &Client, events: &mut Events, channel: uuid::Uuid, wanted: &[&str]) {
    while texts(&history(client, channel).await) != wanted {
        next(events, |event| match event {
            homing_client::Event::Channel(_) | homing_client::Event::Message(_) => Some(()),
            _ => None,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_gone_and_who_missed_it_is_shown_a_gap() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let first = say(&alice, "bob@globex.test", "both have this").await;
    next_message(&mut bob_hears).await;
    say(&bob, "alice@acme.test", "and this").await;
    let (_listens, mut alice_hears) = party.client(0, "alice").await;
    while history(&alice, first.channel).await.len() < 2 {
        next_message(&mut alice_hears).await;
    }
    party.homes[1].stop().await.unwrap();
    for n in 0..5 {
        say(&alice, "bob@globex.test", &format!("missed {n}")).await;
    }
    let before = say(&alice, "bob@globex.test", "missed, the last").await;
    party.homes[0].stop().await.unwrap();

    // Acme's operator keeps two seconds for now.
    let config = party.homes[0].config();
    let settings = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{settings}\n[retention]\nmessages = \"2s\"\n")).unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    until_history(&alice, &mut alice_hears, first.channel, &[]).await;
    let channel = alice.all_channels().await.unwrap().remove(0);
    assert!(channel.last.is_none() && channel.unread == 0, "{channel:?}");
    assert_eq!(channel.head, before.pos, "nothing is numbered anew");
    let gone = alice.message(first.channel, first.id, None).await.unwrap_err();
    assert_eq!(gone.reason(), "message_not_found", "{gone}");

    // Globex comes back and is told where it goes on.
    party.homes[1].start().await.unwrap();
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let gap = |m: &Message| m.body.get().contains(r#""notice":"gap""#);
    while !history(&bob, first.channel).await.iter().any(gap) {
        next_message(&mut bob_hears).await;
    }
    let shown = history(&bob, first.channel).await;
    assert_eq!(texts(&shown)[..2], ["both have this", "and this"], "it keeps what it has");
    assert!(shown[2].body.get().contains(r#""missing":6"#), "{shown:?}");

    // What is gone is gone when nothing more is removed, too; and everybody goes on.
    party.homes[0].stop().await.unwrap();
    std::fs::write(&config, settings).unwrap();
    party.homes[0].command(&["verify"]).await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    let after = say(&alice, "bob@globex.test", "after the gap").await;
    while next_message(&mut bob_hears).await.id != after.id {}
    assert_eq!(texts(&history(&alice, first.channel).await), ["after the gap"]);
}
