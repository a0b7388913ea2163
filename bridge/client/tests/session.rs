//! The client against a home that does what each test tells it.

mod fake;

use std::time::{Duration, Instant};

use fake::{FakeHome, channel, message, opened, sent, told};
use homing_client::{
    Client, Error, Event, Follower, From, Target, TextBody, Update, new_message_id,
};
use serde_json::json;

/// More than [`homing_client`] queues of events.
const MANY: u64 = 1500;

#[tokio::test]
async fn a_hundred_calls_are_in_flight_and_each_gets_its_own_answer() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, _events) = connected.unwrap();
    assert_eq!(socket.authorization, "Bearer secret");
    assert_eq!(socket.subprotocol, "homing.v1.json");
    assert_eq!(client.opened().user.address, "alice@acme.test");

    let asking = async {
        let mut answers = Vec::new();
        for _ in 0..100 {
            let id = new_message_id();
            let answer = client
                .submit_message(Target::To("bob@globex.test"), id, &TextBody::new("x"))
                .await
                .unwrap();
            answers.push((id, answer));
        }
        for (at, (id, answer)) in answers.into_iter().enumerate() {
            let sent = answer.await.unwrap();
            assert_eq!((sent.id, sent.pos), (id, at as u64 + 1));
        }
    };
    let answering = async {
        let mut calls = Vec::new();
        for _ in 0..100 {
            calls.push(socket.call("messages.send").await);
        }
        for (at, call) in calls.iter().enumerate().rev() {
            socket.answer(call, sent(call, at as u64 + 1)).await;
        }
    };
    tokio::join!(asking, answering);
}

#[tokio::test]
async fn what_was_not_answered_is_sent_again_in_order_and_with_the_same_bytes() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, mut events) = connected.unwrap();

    let asking = async {
        let mut answers = Vec::new();
        for text in ["one", "two", "three"] {
            let target = Target::To("bob@globex.test");
            answers.push(
                client
                    .submit_message(target, new_message_id(), &TextBody::new(text))
                    .await
                    .unwrap(),
            );
        }
        for (at, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap().pos, at as u64 + 1);
        }
    };
    let answering = async {
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(socket.call("messages.send").await);
        }
        socket.answer(&calls[1], sent(&calls[1], 2)).await;
        socket.notify("message", told(9, "hello", "a.9")).await;
        drop(socket);
        let (mut socket, open) = home.accept_open("a.12", json!([channel(11)])).await;
        assert_eq!(open.params["since"], "a.9", "the place of the last event");
        for (call, pos) in [(&calls[0], 1), (&calls[2], 3)] {
            let again = socket.call("messages.send").await;
            assert_eq!(again.text, call.text);
            socket.answer(&again, sent(&again, pos)).await;
        }
        socket
    };
    let ((), _socket) = tokio::join!(asking, answering);
    assert!(matches!(events.next().await, Some(Event::Message(m)) if m.pos == 9));
    assert!(matches!(events.next().await, Some(Event::Lost(_))));
    let Some(Event::Opened(back)) = events.next().await else { panic!("not opened again") };
    assert_eq!((back.channels.len(), back.resync), (1, false));
}

#[tokio::test]
async fn a_void_place_is_given_up_and_said_so() {
    let (home, mut options) = FakeHome::new().await;
    options.since = Some("old.1".into());
    let answering = async {
        let mut socket = home.accept().await;
        let open = socket.call("session.open").await;
        assert_eq!(open.params["since"], "old.1");
        socket.refuse(&open, -32008, json!({"reason": "resync"})).await;
        let open = socket.call("session.open").await;
        assert_eq!(open.params.get("since"), None);
        socket.answer(&open, opened("a.1", json!([]))).await;
        socket
    };
    let (connected, _socket) = tokio::join!(Client::connect(options), answering);
    assert!(connected.unwrap().0.opened().resync);
}

#[tokio::test]
async fn pages_of_the_opening_become_one() {
    let (home, mut options) = FakeHome::new().await;
    options.since = Some("a.1".into());
    let answering = async {
        let mut socket = home.accept().await;
        let open = socket.call("session.open").await;
        let mut first = opened("a.1", json!([channel(1)]));
        first["more"] = json!(true);
        first["cursor"] = json!("here");
        socket.answer(&open, first).await;
        let open = socket.call("session.open").await;
        assert_eq!(
            (&open.params["since"], &open.params["cursor"]),
            (&json!("a.1"), &json!("here"))
        );
        socket.answer(&open, opened("a.7", json!([channel(2)]))).await;
        socket
    };
    let (connected, _socket) = tokio::join!(Client::connect(options), answering);
    let (client, _events) = connected.unwrap();
    assert_eq!((client.opened().channels.len(), client.opened().sync.as_ref()), (2, "a.7"));
    assert!(!client.opened().more);
}

#[tokio::test]
async fn a_closing_home_is_left_alone_for_as_long_as_it_asks() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (_client, _events) = connected.unwrap();
    socket.notify("closing", json!({"reason": "restarting", "retry_after_ms": 400})).await;
    let since = Instant::now();
    socket.close(1012).await;
    let (_socket, _) = home.accept_open("a.1", json!([])).await;
    assert!(since.elapsed() >= Duration::from_millis(400), "came back after {:?}", since.elapsed());
}

#[tokio::test]
async fn a_dead_token_ends_the_client_and_every_call() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, mut events) = connected.unwrap();
    let asking = client.channels(None);
    let closing = async {
        let _never_answered = socket.call("channels.list").await;
        socket.close(4403).await;
    };
    let (asked, ()) = tokio::join!(asking, closing);
    assert!(matches!(asked, Err(Error::SignedOut { .. })));
    assert!(matches!(events.next().await, Some(Event::Ended(Error::SignedOut { .. }))));
    assert!(events.next().await.is_none());
    assert!(matches!(client.channels(None).await, Err(Error::SignedOut { .. })));
}

#[tokio::test]
async fn a_refused_token_is_told_at_once() {
    let (home, options) = FakeHome::new().await;
    let answering = async {
        let mut socket = home.accept().await;
        let open = socket.call("session.open").await;
        socket.refuse(&open, -32001, json!({"reason": "bad_token"})).await;
        socket
    };
    let (connected, _socket) = tokio::join!(Client::connect(options), answering);
    assert!(matches!(connected.map(|_| ()), Err(Error::SignedOut { .. })));
}

#[tokio::test]
async fn without_reconnecting_a_loss_is_the_end() {
    let (home, mut options) = FakeHome::new().await;
    options.reconnect = false;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, _events) = connected.unwrap();
    let losing = async {
        let _never_answered = socket.call("channels.list").await;
        drop(socket);
    };
    let (asked, ()) = tokio::join!(client.channels(None), losing);
    assert_eq!(asked.map(|_| ()).unwrap_err().reason(), "closed");
}

#[tokio::test]
async fn a_home_that_stays_away_is_given_up_in_time() {
    let (home, mut options) = FakeHome::new().await;
    options.give_up_after = Some(Duration::from_millis(300));
    let (connected, (socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, _events) = connected.unwrap();
    drop((socket, home));
    assert!(client.channels(None).await.is_err());
}

#[tokio::test]
async fn a_call_that_ends_every_socket_fails_at_last() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, _events) = connected.unwrap();
    let mut asking = tokio::spawn(async move { client.user("bob@globex.test").await });
    let mut sendings = 0;
    let error = loop {
        let killing = async {
            while socket.any_call().await.is_some_and(|call| call.method != "users.get") {}
            drop(socket);
            home.accept_open("a.1", json!([])).await.0
        };
        tokio::select! {
            asked = &mut asking => break asked.unwrap().unwrap_err(),
            next = killing => socket = next,
        }
        sendings += 1;
        assert!(sendings < 100, "sent for ever");
    };
    assert_eq!(error.reason(), "closed");
}

#[tokio::test]
async fn closing_waits_for_the_answers_and_closes_in_order() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, _events) = connected.unwrap();
    let answer = client
        .submit_message(Target::To("bob@globex.test"), new_message_id(), &TextBody::new("x"))
        .await
        .unwrap();
    let answering = async {
        let call = socket.call("messages.send").await;
        socket.answer(&call, sent(&call, 1)).await;
        assert!(socket.any_call().await.is_none());
    };
    tokio::join!(client.close(), answering);
    assert_eq!(answer.await.unwrap().pos, 1);
}

#[tokio::test]
async fn events_not_taken_hold_up_no_answer_and_are_fetched_later() {
    let (home, options) = FakeHome::new().await;
    let (connected, (mut socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.0", json!([])));
    let (client, mut events) = connected.unwrap();
    let flooding = async {
        for pos in 1..=MANY {
            socket.notify("message", told(pos, "x", &format!("a.{pos}"))).await;
        }
        let call = socket.call("users.get").await;
        let user = json!({"address": "b@c.test", "user_id": fake::CHAT, "display_name": ""});
        socket.answer(&call, user).await;
    };
    let (user, ()) = tokio::join!(client.user("b@c.test"), flooding);
    user.unwrap();
    let taking = async {
        let mut last = 0;
        loop {
            let event = events.next().await.unwrap();
            if matches!(event, Event::Opened(_)) {
                return last;
            }
            let Event::Message(m) = event else { panic!("{event:?}") };
            assert_eq!(m.pos, last + 1, "nothing between is missing");
            last = m.pos;
        }
    };
    let (last, (_socket, open)) =
        tokio::join!(taking, home.accept_open("a.2000", json!([channel(MANY)])));
    assert!((1..MANY).contains(&last), "{last}");
    assert_eq!(open.params["since"], format!("a.{last}"));
}

#[tokio::test]
async fn a_follower_shows_each_message_once_across_a_loss() {
    let (home, options) = FakeHome::new().await;
    let serving = async {
        let (mut socket, _) = home.accept_open("a.1", json!([])).await;
        let list = socket.call("channels.list").await;
        socket.answer(&list, json!({"channels": [channel(2)], "sync": "a.1"})).await;
        socket.notify("message", told(3, "three", "a.3")).await;
        drop(socket);
        let (mut socket, open) = home.accept_open("a.7", json!([channel(6)])).await;
        assert_eq!(open.params["since"], "a.3");
        // Told while the follower still pulls, and in its page as well.
        socket.notify("message", told(6, "six", "a.8")).await;
        let list = socket.call("messages.list").await;
        assert_eq!(
            (&list.params["channel"], &list.params["after"]),
            (&json!(fake::CHAT), &json!(3))
        );
        let page = json!({"messages": [message(4, "four")], "more": true, "next": 5,
            "changed": [message(1, "one, edited")]});
        socket.answer(&list, page).await;
        let list = socket.call("messages.list").await;
        assert_eq!(list.params["after"], 5);
        socket
            .answer(&list, json!({"messages": [message(6, "six")], "more": false, "next": 6}))
            .await;
        socket.notify("message", told(7, "seven", "a.9")).await;
        socket
    };
    let following = async {
        let mut follower = Follower::start(options, From::Now).await.unwrap();
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        while new.last() != Some(&7) {
            match follower.next().await.unwrap() {
                Update::New(m) => new.push(m.pos),
                Update::Changed(m) => changed.push(m.pos),
                Update::Back { new_life } => assert!(!new_life),
                Update::Again(m) => panic!("there is no earlier life: {m:?}"),
                Update::Receipt(_) | Update::Channel(_) | Update::Lost(_) | Update::Other(_) => {}
            }
            if new.last() == Some(&4) {
                assert_eq!(
                    follower.place().sync.as_ref(),
                    "a.3",
                    "not ahead of what is still to be pulled"
                );
            }
        }
        assert_eq!((new, changed), (vec![3, 4, 6, 7], vec![1, 6]));
        assert_eq!(follower.place().sync.as_ref(), "a.9");
    };
    tokio::join!(serving, following);
}

#[tokio::test]
async fn a_follower_goes_on_where_another_stopped() {
    let (home, options) = FakeHome::new().await;
    let place: homing_client::Place = serde_json::from_value(json!({
        "life": "a", "sync": "a.4", "channels": {fake::CHAT: {"pos": 4, "order": "00000004"}},
    }))
    .unwrap();
    let serving = async {
        let (mut socket, open) = home.accept_open("a.5", json!([channel(5)])).await;
        assert_eq!(open.params["since"], "a.4");
        let list = socket.call("messages.list").await;
        assert_eq!(list.params["after"], 4);
        socket
            .answer(&list, json!({"messages": [message(5, "five")], "more": false, "next": 5}))
            .await;
        socket
    };
    let following = async {
        let mut follower = Follower::start(options, From::Place(place)).await.unwrap();
        assert!(matches!(follower.next().await.unwrap(), Update::New(m) if m.pos == 5));
        follower
    };
    tokio::join!(serving, following);
}

/// Whoever stops in the middle of a page goes on there, and hears again of nothing but what changed.
#[tokio::test]
async fn a_place_is_that_of_what_was_handed_out() {
    let (home, options) = FakeHome::new().await;
    let place: homing_client::Place = serde_json::from_value(json!({
        "life": "a", "sync": "a.4", "channels": {fake::CHAT: {"pos": 4, "order": "00000004"}},
    }))
    .unwrap();
    let page = || {
        json!({"messages": [message(5, "five"), message(7, "seven")], "more": false, "next": 9,
            "changed": [message(1, "one, edited")]})
    };
    let serving = async {
        let (mut socket, _) = home.accept_open("a.9", json!([channel(9)])).await;
        let list = socket.call("messages.list").await;
        socket.answer(&list, page()).await;
        // The program ends here, and comes again.
        let (mut again, open) = home.accept_open("a.9", json!([channel(9)])).await;
        assert_eq!(open.params["since"], "a.4");
        let list = again.call("messages.list").await;
        assert_eq!(list.params["after"], 5);
        let page = json!({"messages": [message(7, "seven")], "more": false, "next": 9,
            "changed": [message(1, "one, edited")]});
        again.answer(&list, page).await;
        (socket, again)
    };
    let following = async {
        let pos = |follower: &Follower| follower.place().channels.values().next().unwrap().pos;
        let mut follower =
            Follower::start(options.clone(), From::Place(place.clone())).await.unwrap();
        assert!(matches!(follower.next().await.unwrap(), Update::Changed(m) if m.pos == 1));
        assert_eq!(*follower.place(), place);
        assert!(matches!(follower.next().await.unwrap(), Update::New(m) if m.pos == 5));
        assert_eq!((pos(&follower), follower.place().sync.as_ref()), (5, "a.4"));
        let stored = follower.place().clone();
        drop(follower);

        let mut follower = Follower::start(options, From::Place(stored)).await.unwrap();
        assert!(matches!(follower.next().await.unwrap(), Update::Changed(m) if m.pos == 1));
        assert!(matches!(follower.next().await.unwrap(), Update::New(m) if m.pos == 7));
        assert_eq!(pos(&follower), 9, "the last one of a page takes what is behind it along");
        follower
    };
    tokio::join!(serving, following);
}

#[tokio::test]
async fn what_comes_while_a_follower_begins_is_not_passed_over_by_its_place() {
    let (home, options) = FakeHome::new().await;
    let serving = async {
        let (mut socket, _) = home.accept_open("a.1", json!([])).await;
        let list = socket.call("channels.list").await;
        for pos in 3..=5 {
            socket.notify("message", told(pos, "early", &format!("a.{pos}"))).await;
        }
        socket.answer(&list, json!({"channels": [channel(5)], "sync": "a.5"})).await;
        socket
    };
    let following = async {
        let mut follower = Follower::start(options, From::Now).await.unwrap();
        let at = |follower: &Follower| {
            let place = follower.place();
            (place.channels.values().next().unwrap().pos, place.sync.to_string())
        };
        assert_eq!(at(&follower), (2, "a.1".to_owned()));
        for pos in 3..=5 {
            assert!(matches!(follower.next().await.unwrap(), Update::New(m) if m.pos == pos));
            assert_eq!(at(&follower), (pos, format!("a.{pos}")));
        }
    };
    tokio::join!(serving, following);
}

/// Else a program that ends before it has gone through the new life takes its old positions for those of the new one.
#[tokio::test]
async fn a_place_of_a_new_life_has_no_position_of_the_old_one() {
    let (home, options) = FakeHome::new().await;
    let place: homing_client::Place = serde_json::from_value(json!({
        "life": "before", "sync": "before.4", "channels": {fake::CHAT: {"pos": 40, "order": "00000004"}},
    }))
    .unwrap();
    let (started, _socket) = tokio::join!(
        Follower::start(options, From::Place(place.clone())),
        home.accept_open("a.9", json!([]))
    );
    let mut follower = started.unwrap();
    assert_eq!(*follower.place(), place);
    assert!(matches!(follower.next().await.unwrap(), Update::Back { new_life: true }));
    let seen = follower.place().channels.values().next().unwrap();
    assert_eq!((follower.place().life.as_str(), seen.pos), ("a", 0));
    assert_eq!(seen.earlier.as_deref(), Some("00000004"));
}

/// A message came late and stands below what was seen; it is not passed over, and nothing seen is told as new.
#[tokio::test]
async fn after_a_new_life_every_channel_is_gone_through_from_its_first_message() {
    let (home, options) = FakeHome::new().await;
    let place: homing_client::Place = serde_json::from_value(json!({
        "life": "before", "sync": "before.4", "channels": {fake::CHAT: {"pos": 40, "order": "00000004"}},
    }))
    .unwrap();
    let late = |pos: u64| {
        let mut late = message(pos, "late");
        late["order"] = json!("00000003.5");
        late
    };
    let serving = async {
        let mut socket = home.accept().await;
        let open = socket.call("session.open").await;
        socket.refuse(&open, -32008, json!({"reason": "resync"})).await;
        let open = socket.call("session.open").await;
        socket.answer(&open, opened("a.9", json!([]))).await;
        let list = socket.call("channels.list").await;
        socket.answer(&list, json!({"channels": [channel(6)], "sync": "a.9"})).await;
        let list = socket.call("messages.list").await;
        assert_eq!(list.params["after"], 0);
        let page = json!({"messages": [message(4, "four"), late(5)], "more": true, "next": 5});
        socket.answer(&list, page).await;
        let list = socket.call("messages.list").await;
        assert_eq!(list.params["after"], 5);
        let page = json!({"messages": [message(6, "six")], "more": false, "next": 6});
        socket.answer(&list, page).await;
        // And one comes back from another home when everything is listed.
        let mut last = late(7);
        last["sync"] = json!("a.10");
        socket.notify("message", last).await;
        socket
    };
    let following = async {
        let mut follower = Follower::start(options, From::Place(place)).await.unwrap();
        assert!(matches!(follower.next().await.unwrap(), Update::Back { new_life: true }));
        assert!(matches!(follower.next().await.unwrap(), Update::Again(m) if m.pos == 4));
        assert!(matches!(follower.next().await.unwrap(), Update::Again(m) if m.pos == 5));
        assert!(matches!(follower.next().await.unwrap(), Update::New(m) if m.pos == 6));
        assert!(matches!(follower.next().await.unwrap(), Update::Again(m) if m.pos == 7));
        let place = follower.place();
        assert_eq!(place.life, "a");
        let channel = place.channels.values().next().unwrap();
        assert_eq!((channel.pos, channel.order.as_deref()), (7, Some("00000006")));
    };
    tokio::join!(serving, following);
}

#[tokio::test]
async fn a_call_larger_than_a_frame_is_not_sent() {
    let (home, options) = FakeHome::new().await;
    let (connected, (_socket, _)) =
        tokio::join!(Client::connect(options), home.accept_open("a.1", json!([])));
    let (client, _events) = connected.unwrap();
    let long = "x".repeat(256 << 10);
    let error = client.send_to("bob@globex.test", &TextBody::new(&long)).await.unwrap_err();
    assert_eq!(error.reason(), "unsendable");
}
