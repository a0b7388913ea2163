//! `kill -9` in the middle of sends: what was answered is there once, in order, at both homes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use homing_client::{Sent, Target, TextBody};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::party::{Party, facts, history, next_message};

const CLIENTS: usize = 20;
const MESSAGES: usize = 500;
const KILLS: usize = 20;

/// 10,000 sends from 20 clients at one home to 20 people at another, while each home is killed ten times. The
/// clients come back by themselves and repeat what was not answered, under the same ids.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_lose_nothing_double_nothing() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let progress = Arc::new(Notify::new());
    let mut senders = JoinSet::new();
    for n in 0..CLIENTS {
        party.homes[1].user(&format!("to{n}")).await.unwrap();
        let (client, _) = party.client(0, &format!("from{n}")).await;
        let (answered, progress) = (answered.clone(), progress.clone());
        let to = format!("to{n}@globex.test");
        // The chats are there before the first kill: opening one asks the other home, which is for another test.
        client.open_chat(&to).await.unwrap();
        senders.spawn(async move {
            let mut sent: Vec<Sent> = Vec::new();
            for m in 0..MESSAGES {
                let text = format!("{n} says {m}");
                let id = homing_client::new_message_id();
                let body = TextBody::new(&text);
                sent.push(client.send(Target::To(&to), id, &body).await.unwrap());
                answered.fetch_add(1, Ordering::Relaxed);
                progress.notify_one();
            }
            (n, client, sent)
        });
    }
    // A kill each 1/21 of the way, wherever the sends are then.
    let mut done = Vec::new();
    for kill in 0..KILLS {
        let due = (kill + 1) * CLIENTS * MESSAGES / (KILLS + 1);
        while answered.load(Ordering::Relaxed) < due {
            tokio::select! {
                () = progress.notified() => {}
                Some(sender) = senders.join_next() => done.push(sender.unwrap()),
            }
        }
        let home = &mut party.homes[kill % 2];
        home.kill().await.unwrap();
        home.start().await.unwrap();
    }
    while let Some(sender) = senders.join_next().await {
        done.push(sender.unwrap());
    }
    assert_eq!(done.len(), CLIENTS);
    for (n, client, sent) in done {
        assert_eq!(sent.len(), MESSAGES);
        let (receiver, mut hears) = party.client(1, &format!("to{n}")).await;
        let channel = sent[0].channel;
        let mut there = history(&receiver, channel).await;
        while there.len() < MESSAGES {
            next_message(&mut hears).await;
            there = history(&receiver, channel).await;
        }
        let here = history(&client, channel).await;
        // Once, in the order in which they were answered, with the answer's order.
        let answers: Vec<_> = sent.iter().map(|s| (s.id, s.order.as_str(), s.pos)).collect();
        let stored: Vec<_> = here.iter().map(|m| (m.id, m.order.as_str(), m.pos)).collect();
        assert_eq!(stored, answers, "from{n}, at its home");
        assert_eq!(facts(&here), facts(&there), "from{n}, at the other home");
        let orders: Vec<_> = there.iter().map(|m| m.order.as_str()).collect();
        assert!(orders.is_sorted(), "from{n}: arrived out of order");
    }
    party.homes.stop_all().await.unwrap();
}
