//! Answers among the events: [`Client::ask`].

// A test that meets what it did not expect shall panic there.
#![allow(clippy::wildcard_enum_match_arm)]

mod fake;

use fake::{FakeHome, channel, told};
use homing_client::{Client, Error, Event};
use serde_json::json;

/// More than the client queues of events.
const MANY: u64 = 1500;

#[tokio::test]
async fn an_answer_comes_between_what_was_told_before_it_and_after_it() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, mut events) = connected.unwrap();
    let first = client.ask("channels.get", &json!({"channel": fake::CHAT})).unwrap();
    let second = client.ask("channels.get", &json!({"channel": fake::CHAT})).unwrap();
    assert_ne!(first, second);
    let one = socket.call("channels.get").await;
    let two = socket.call("channels.get").await;
    socket.notify("message", told(1, "x", "a.2")).await;
    socket.answer(&two, channel(1)).await;
    socket.notify("message", told(2, "x", "a.3")).await;
    socket.refuse(&one, -32004, json!({"reason": "channel_not_found"})).await;
    socket.notify("message", told(3, "x", "a.4")).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(match events.next().await.unwrap() {
            Event::Message(message) => message.pos.to_string(),
            Event::Answered { ticket, answer: Ok(reply) } if ticket == second => {
                let head = reply.read::<homing_client::Channel>().unwrap().head;
                assert!(matches!(reply.read::<u64>(), Err(Error::Garbled(_))));
                format!("head {head}")
            }
            Event::Answered { ticket, answer: Err(error) } if ticket == first => {
                error.reason().to_owned()
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["1", "head 1", "2", "channel_not_found", "3"]);
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_room_is_asked_for_again() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.0", json!([])));
    let (client, mut events) = connected.unwrap();
    let asked = client.ask("channels.get", &json!({"channel": fake::CHAT})).unwrap();
    let call = socket.call("channels.get").await;
    for pos in 1..=MANY {
        socket.notify("message", told(pos, "x", &format!("a.{pos}"))).await;
    }
    socket.answer(&call, channel(MANY)).await;
    // A call of somebody who waits for it is answered all the same; then everything above was read.
    let answering = async {
        let call = socket.call("users.get").await;
        let user = json!({"address": "b@c.test", "user_id": fake::CHAT, "display_name": ""});
        socket.answer(&call, user).await;
    };
    let (user, ()) = tokio::join!(client.user("b@c.test"), answering);
    user.unwrap();
    let taking = async {
        let mut opened = false;
        loop {
            match events.next().await.unwrap() {
                Event::Opened(_) => opened = true,
                Event::Answered { ticket, answer } => {
                    assert!(opened, "it overtook what was thrown away");
                    assert_eq!(ticket, asked);
                    return answer.unwrap().read::<homing_client::Channel>().unwrap().head;
                }
                _ => {}
            }
        }
    };
    let serving = async {
        let (mut socket, _) = home.accept_open("a.2000", json!([channel(MANY)])).await;
        let again = socket.call("channels.get").await;
        assert_eq!(again.text, call.text);
        socket.answer(&again, channel(MANY + 1)).await;
        socket
    };
    let both = Box::pin(async { tokio::join!(taking, serving) });
    let within = std::time::Duration::from_secs(60);
    let (head, _socket) =
        tokio::time::timeout(within, both).await.expect("it is not asked for again");
    assert_eq!(head, MANY + 1);
}

#[tokio::test]
async fn asking_never_waits_and_after_the_end_there_is_no_asking() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, mut events) = connected.unwrap();
    // Nothing runs between two of these: at some point the queue is full.
    let full = loop {
        if let Err(error) = client.ask("users.get", &json!({"address": "b@c.test"})) {
            break error;
        }
    };
    assert!(matches!(full, Error::Unsendable(_)), "{full}");
    let long = "x".repeat(300_000);
    assert!(matches!(
        client.ask("users.get", &json!({"address": long})),
        Err(Error::Unsendable(_))
    ));
    socket.call("users.get").await;
    socket.close(4403).await;
    assert!(matches!(events.next().await, Some(Event::Ended(Error::SignedOut { .. }))));
    let over = client.ask("users.get", &json!({"address": "b@c.test"})).unwrap_err();
    assert!(matches!(over, Error::SignedOut { .. }), "{over}");
}
