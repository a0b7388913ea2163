//! Two people at two homes.

use homing_client::{Event, TextBody};

use crate::party::{Party, facts, history, next, next_message, say, text};

#[tokio::test(flavor = "multi_thread")]
async fn two_people_at_two_homes_talk_and_see_their_ticks() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;

    let sent = say(&alice, "bob@globex.test", "hello over there").await;
    let heard = next_message(&mut bob_hears).await;
    assert_eq!((heard.id, heard.order.as_str()), (sent.id, sent.order.as_str()));
    assert_eq!(heard.sender, "alice@acme.test");
    assert_eq!(heard.channel, sent.channel, "both homes derive the chat's id alone");

    // Delivered, then read: each is told to alice, in her home's numbers.
    bob.mark_delivered(heard.channel, heard.pos).await.unwrap();
    let receipt = next(&mut alice_hears, |event| match event {
        Event::Receipt(receipt) => Some(receipt.clone()),
        _ => None,
    })
    .await;
    assert_eq!(
        (receipt.user.as_str(), receipt.delivered, receipt.read),
        ("bob@globex.test", sent.pos, 0)
    );
    bob.mark_read(heard.channel, heard.pos).await.unwrap();
    next(&mut alice_hears, |event| match event {
        Event::Receipt(receipt) if receipt.read == sent.pos => Some(()),
        _ => None,
    })
    .await;
    let receipts = alice.receipts(sent.channel, sent.id).await.unwrap().receipts;
    assert_eq!(receipts.len(), 1);
    assert!(receipts[0].delivered && receipts[0].read && receipts[0].read_at.is_some());

    // And back.
    let answer = say(&bob, "alice@acme.test", "hello yourself").await;
    let back = next_message(&mut alice_hears).await;
    assert_eq!(back.order, answer.order);
    let (here, there) = (history(&alice, sent.channel).await, history(&bob, sent.channel).await);
    assert_eq!(facts(&here), facts(&there));
    assert_eq!(here.iter().map(text).collect::<Vec<_>>(), ["hello over there", "hello yourself"]);

    // By `order`, the same list.
    let by_order = alice.messages_after_order(sent.channel, &sent.order, 50).await.unwrap();
    assert_eq!(by_order.messages.iter().map(|m| m.id).collect::<Vec<_>>(), [answer.id]);
    let channel = bob.open_chat("alice@acme.test").await.unwrap();
    assert_eq!((channel.channel, channel.unread, channel.head), (sent.channel, 0, 2));
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_away_gets_what_it_missed_without_being_asked() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let first = say(&alice, "bob@globex.test", "are you there?").await;
    next_message(&mut bob_hears).await;
    bob.close().await;
    party.homes[1].stop().await.unwrap();

    let mut sent = vec![first];
    for n in 0..20 {
        sent.push(say(&alice, "bob@globex.test", &format!("message {n}")).await);
    }
    let queue = party.homes[0].command(&["peer", "queue", "--json"]).await.unwrap();
    let row: serde_json::Value = serde_json::from_str(queue.trim()).unwrap();
    assert_eq!(row["home"], "globex.test", "{queue}");
    assert_eq!(row["events"], 20, "{queue}");
    assert!(row["since"].as_u64().is_some_and(|since| since >= sent[1].sent_at), "{queue}");
    assert!(row["why"].as_str().is_some_and(|why| !why.is_empty()), "{queue}");

    party.homes[1].start().await.unwrap();
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let mut got = history(&bob, sent[0].channel).await;
    while got.len() < sent.len() {
        next_message(&mut bob_hears).await;
        got = history(&bob, sent[0].channel).await;
    }
    let orders = |sent: &[homing_client::Sent]| -> Vec<String> {
        sent.iter().map(|s| s.order.clone()).collect()
    };
    assert_eq!(got.iter().map(|m| m.order.clone()).collect::<Vec<_>>(), orders(&sent));

    // Nothing is owed any more once the acknowledgement is in: the row goes.
    let (_alice, mut alice_hears) = party.client(0, "alice").await;
    bob.mark_read(sent[0].channel, got.last().unwrap().pos).await.unwrap();
    next(&mut alice_hears, |event| match event {
        Event::Receipt(receipt) if receipt.read == sent.last().unwrap().pos => Some(()),
        _ => None,
    })
    .await;
    let queue = party.homes[0].command(&["peer", "queue", "--json"]).await.unwrap();
    assert_eq!(queue.trim(), "", "a row for a home that is owed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_over_a_hundred_chats_come_without_being_asked() {
    const CHATS: usize = 100;
    const EACH: usize = 100;
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let mut pairs = Vec::new();
    for n in 0..CHATS {
        let (sender, _) = party.client(0, &format!("a{n}")).await;
        let (receiver, mut hears) = party.client(1, &format!("b{n}")).await;
        let first = say(&sender, &format!("b{n}@globex.test"), "before").await;
        next_message(&mut hears).await;
        receiver.close().await;
        pairs.push((sender, first.channel, vec![(first.id, first.order)]));
    }
    party.homes[1].stop().await.unwrap();
    for (sender, channel, sent) in &mut pairs {
        let mut answers = Vec::new();
        for n in 0..EACH {
            let (id, body) = (homing_client::new_message_id(), format!("while you were away {n}"));
            let to = homing_client::Target::Channel(*channel);
            answers.push(sender.submit_message(to, id, &TextBody::new(&body)).await.unwrap());
        }
        for answer in answers {
            let answer = answer.await.unwrap();
            sent.push((answer.id, answer.order));
        }
    }
    // Nobody sends anything more: what waits goes by itself.
    party.homes[1].start().await.unwrap();
    for (n, (_, channel, sent)) in pairs.iter().enumerate() {
        let (receiver, mut hears) = party.client(1, &format!("b{n}")).await;
        let mut got = history(&receiver, *channel).await;
        while got.len() < sent.len() {
            next_message(&mut hears).await;
            got = history(&receiver, *channel).await;
        }
        let got: Vec<_> = got.iter().map(|m| (m.id, m.order.clone())).collect();
        assert_eq!(got, *sent, "chat {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_id_is_the_same_message_across_a_restart() {
    let mut party = Party::of(&["acme.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    party.homes[0].register("bob").await.unwrap();
    let id = homing_client::new_message_id();
    let to = homing_client::Target::To("bob@acme.test");
    let first = alice.send(to, id, &TextBody::new("once")).await.unwrap();
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    let again = alice.send(to, id, &TextBody::new("once")).await.unwrap();
    assert_eq!((again.pos, &again.order, again.sent_at), (first.pos, &first.order, first.sent_at));
    let other = alice.send(to, id, &TextBody::new("twice")).await.unwrap_err();
    assert_eq!(other.reason(), "id_reused", "{other}");
    assert_eq!(history(&alice, first.channel).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_away_comes_with_since() {
    let mut party = Party::of(&["acme.test"]).await;
    party.homes[0].register("carol").await.unwrap();
    let (bob, _) = party.client(0, "bob").await;
    let (alice, _) = party.client(0, "alice").await;
    let place = bob.opened().clone();
    bob.close().await;
    say(&alice, "bob@acme.test", "one").await;
    say(&alice, "carol@acme.test", "not for bob").await;

    let signed_in = party.homes[0].user("bob").await.unwrap();
    let server = party.homes[0].server().unwrap();
    let mut options = homing_client::Options::new(server.clone(), signed_in.token.clone());
    options.since = Some(place.sync.clone());
    options.life = Some(place.life.clone());
    let (bob, _) = homing_client::Client::connect(options).await.unwrap();
    let changed = &bob.opened().channels;
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].with.as_deref(), Some("alice@acme.test"));
    assert_eq!((changed[0].unread, changed[0].head), (1, 1));

    // From there on, nothing has changed.
    let mut options = homing_client::Options::new(server, signed_in.token);
    options.since = Some(bob.opened().sync.clone());
    options.life = Some(bob.opened().life.clone());
    let (bob, _) = homing_client::Client::connect(options).await.unwrap();
    assert!(bob.opened().channels.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_catching_up_is_gone_on_from() {
    // Many ranges, so that the acknowledgements that the kill takes along are several ranges old.
    const MESSAGES: usize = 3_000;
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (_bob, mut bob_hears) = party.client(1, "bob").await;
    let first = say(&alice, "bob@globex.test", "before").await;
    next_message(&mut bob_hears).await;
    party.homes[1].stop().await.unwrap();

    let target = homing_client::Target::Channel(first.channel);
    let mut answers = Vec::new();
    for n in 0..MESSAGES {
        let text = n.to_string();
        let id = homing_client::new_message_id();
        answers.push(alice.submit_message(target, id, &TextBody::new(&text)).await.unwrap());
    }
    let mut orders = vec![first.order];
    for answer in answers {
        orders.push(answer.await.unwrap().order);
    }

    party.homes[1].start().await.unwrap();
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    if bob.channel(first.channel).await.unwrap().head <= MESSAGES as u64 {
        next_message(&mut bob_hears).await;
    }
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    while bob.channel(first.channel).await.unwrap().head <= MESSAGES as u64 {
        next(&mut bob_hears, |_| Some(())).await;
    }
    let there = history(&bob, first.channel).await;
    assert_eq!(there.iter().map(|m| m.order.clone()).collect::<Vec<_>>(), orders);

    // And on, over the same stream. (A new session: the old one has more waiting than a client keeps.)
    let (_bob, mut bob_hears) = party.client(1, "bob").await;
    let (alice, _) = party.client(0, "alice").await;
    let last = say(&alice, "bob@globex.test", "after").await;
    let heard = next(&mut bob_hears, |event| match event {
        Event::Message(message) if message.id == last.id => Some(message.order.clone()),
        _ => None,
    })
    .await;
    assert_eq!(heard, last.order);
}
