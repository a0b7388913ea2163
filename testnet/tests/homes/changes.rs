//! Messages that are edited, deleted, reacted to and hidden, between two homes and over their absences.

use homing_client::{Body, Client, Event, Events, Message, MessageRef, Sent};

use crate::party::{Party, history, next, say, text};

/// The next message that is told, of that id.
async fn told(events: &mut Events, id: uuid::Uuid) -> Message {
    let message = next(events, |event| match event {
        Event::Message(message) if message.id == id => Some(message.clone()),
        _ => None,
    });
    *message.await
}

fn by(sender: &str, sent: &Sent) -> MessageRef {
    MessageRef { id: sent.id, sender: sender.to_owned() }
}

/// What a message says and how others take it, as a client lists it.
async fn seen(
    client: &Client,
    of: &MessageRef,
    channel: uuid::Uuid,
) -> (String, bool, Vec<String>) {
    let message = client.message(channel, of.id, Some(&of.sender)).await.unwrap();
    let reactions = message.reactions.iter().map(|r| format!("{}{}", r.emoji, r.count)).collect();
    let words = if message.body() == Body::Deleted { "(deleted)".into() } else { text(&message) };
    (words, message.edited_at.is_some(), reactions)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_while_the_other_home_was_away_is_seen_there() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let one = say(&alice, "bob@globex.test", "helo").await;
    let two = say(&alice, "bob@globex.test", "never mind").await;
    let first = told(&mut bob_hears, one.id).await;
    let last = told(&mut bob_hears, two.id).await;
    let channel = one.channel;
    let (one, two) = (by("alice@acme.test", &one), by("alice@acme.test", &two));
    bob.react(channel, &two, "🎉", true).await.unwrap();
    assert_eq!(bob.channel(channel).await.unwrap().unread, 2, "who reacts has not read all");
    bob.close().await;
    party.homes[1].kill().await.unwrap();

    alice.edit(channel, &one, "hello").await.unwrap();
    alice.react(channel, &one, "👍", true).await.unwrap();
    alice.delete(channel, &two).await.unwrap();
    let refused = alice.edit(channel, &two, "still here").await.unwrap_err();
    assert_eq!(refused.reason(), "message_deleted", "{refused}");
    // What is answered is on disk.
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    party.homes[1].start().await.unwrap();

    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let mut page = bob.messages_after(channel, last.pos, 50).await.unwrap();
    while page.changed.len() < 2 || seen(&bob, &two, channel).await.0 != "(deleted)" {
        told(&mut bob_hears, two.id).await;
        page = bob.messages_after(channel, last.pos, 50).await.unwrap();
    }
    assert!(page.messages.is_empty(), "changes stand in no list");
    let (alice, _) = party.client(0, "alice").await;
    for client in [&alice, &bob] {
        let thumb = vec!["👍1".to_owned()];
        assert_eq!(seen(client, &one, channel).await, ("hello".into(), true, thumb));
        assert_eq!(seen(client, &two, channel).await, ("(deleted)".into(), false, Vec::new()));
        let all = history(client, channel).await;
        assert_eq!(all.iter().map(|m| m.id).collect::<Vec<_>>(), [one.id, two.id]);
    }
    assert_eq!(bob.channel(channel).await.unwrap().unread, 1, "what is deleted is not unread");
    bob.mark_read(channel, first.pos).await.unwrap();

    // Hidden from bob, on all of his devices, and from nobody else.
    let (phone, mut phone_hears) = party.client(1, "bob").await;
    bob.hide(channel, &one).await.unwrap();
    let hidden = told(&mut phone_hears, one.id).await;
    assert_eq!(hidden.status.as_deref(), Some("hidden"));
    for client in [&bob, &phone] {
        let all = history(client, channel).await;
        assert_eq!(all.iter().map(|m| m.id).collect::<Vec<_>>(), [two.id]);
    }
    assert_eq!(history(&alice, channel).await.len(), 2);
    // Who was told of the message, and comes from before it, hears that it is hidden, though it stands on the same page.
    let page = bob.messages_after(channel, 0, 50).await.unwrap();
    let of_one = page.changed.iter().find(|message| message.id == one.id).unwrap();
    assert_eq!(of_one.status.as_deref(), Some("hidden"));
    party.homes.stop_all().await.unwrap();
}
