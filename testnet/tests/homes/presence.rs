//! Who is there and who types, within a home and between homes.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use homing_client::{
    Client, Error, Event, Events, Options, Presence, Privacy, Refusal, Typing, UserList, UserUpdate,
};
use homing_testnet::homes::{Home, PASSWORD};
use homing_wire::proto::relay::v1 as pb;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::hostile::{Liar, counted};
use crate::party::{Party, WITHIN, next, next_message, say, text};

const ALICE: &str = "alice@acme.test";
const BOB: &str = "bob@globex.test";

/// Short enough to be waited for.
const QUICK: [(&str, &str); 2] =
    [("HOMING_LIMITS__ONLINE_MS", "2000"), ("HOMING_LIMITS__PING_MS", "400")];

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (i64, String, Option<u64>) {
    match result {
        Err(Error::Refused(Refusal { code, reason, limit, .. })) => (code, reason, limit),
        other => panic!("not refused: {other:?}"),
    }
}

/// The next that is told of a user.
async fn told(events: &mut Events, user: &str) -> Presence {
    next(events, |event| match event {
        Event::Presence(presence) if presence.user == user => {
            assert!(presence.sync.is_some(), "every notification has its place");
            Some(presence.clone())
        }
        _ => None,
    })
    .await
}

/// Until that is told of a user; what was told last.
async fn until(events: &mut Events, user: &str, wanted: impl Fn(&Presence) -> bool) -> Presence {
    loop {
        let presence = told(events, user).await;
        if wanted(&presence) {
            return presence;
        }
    }
}

async fn typing(events: &mut Events) -> Typing {
    next(events, |event| match event {
        Event::Typing(typing) => Some(typing.clone()),
        _ => None,
    })
    .await
}

fn is_hidden(presence: &Presence) -> bool {
    !presence.online && presence.last_seen.is_none()
}

async fn set_last_seen(client: &Client, to: &str) {
    let privacy = Privacy { last_seen: Some(to.to_owned()), ..Privacy::default() };
    let update = UserUpdate { privacy: Some(privacy), ..UserUpdate::default() };
    let said = client.update_user(&update).await.unwrap();
    assert_eq!(said.privacy.unwrap().last_seen.as_deref(), Some(to));
}

/// Closes in order, and waits until the home has noticed.
async fn close(home: &Home, client: Client, events: Events) {
    let before = counted(home, "homing_sessions").await;
    drop((client, events));
    wait_for(home, "homing_sessions", |sessions| sessions < before).await;
}

/// Asks for a number until it is as it should be: a home tells nobody by itself that it has changed.
async fn wait_for(home: &Home, name: &str, wanted: impl Fn(f64) -> bool) -> f64 {
    let began = Instant::now();
    loop {
        let number = counted(home, name).await;
        if wanted(number) {
            return number;
        }
        assert!(began.elapsed() < WITHIN, "{name} stays at {number}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watched_user_decides_who_sees_and_who_hides_sees_nobody() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut hears) = party.client(0, "alice").await;
    let (dave, mut dave_hears) = party.client(0, "dave").await;
    party.homes[1].register("bob").await.unwrap();
    let (bob, bob_hears) = party.client(1, "bob").await;
    for (who, name) in [(&alice, BOB), (&dave, BOB)] {
        assert!(who.watch(&[name]).await.unwrap().iter().all(is_hidden), "strangers see nothing");
    }
    // Whom bob knows sees him, and nobody else.
    bob.add_to(UserList::Contacts, ALICE).await.unwrap();
    assert!(told(&mut hears, BOB).await.online);
    assert!(alice.watch(&[BOB]).await.unwrap()[0].online, "and at once when asked again");
    assert!(alice.user(BOB).await.unwrap().presence.unwrap().online);
    assert_eq!(dave.user(BOB).await.unwrap().presence, None);
    // He closes in order: gone at once, and seen until then.
    let before = now();
    close(&party.homes[1], bob, bob_hears).await;
    let gone = told(&mut hears, BOB).await;
    assert!(!gone.online);
    assert!((before..=now()).contains(&gone.last_seen.unwrap()), "{gone:?}");
    assert_eq!(alice.user(BOB).await.unwrap().presence.unwrap().last_seen, gone.last_seen);

    // Who hides is hidden, at once; everybody means everybody; and who is blocked sees nothing.
    let (bob, _bob_hears) = party.client(1, "bob").await;
    assert!(told(&mut hears, BOB).await.online);
    set_last_seen(&bob, "nobody").await;
    assert!(is_hidden(&told(&mut hears, BOB).await));
    assert_eq!(alice.user(BOB).await.unwrap().presence, None);
    set_last_seen(&bob, "everyone").await;
    assert!(told(&mut hears, BOB).await.online);
    assert!(told(&mut dave_hears, BOB).await.online);
    bob.add_to(UserList::Blocks, "dave@acme.test").await.unwrap();
    assert!(is_hidden(&told(&mut dave_hears, BOB).await));
    assert!(alice.user(BOB).await.unwrap().presence.unwrap().online);

    // Alice hides: nobody is shown to her, wherever they are, nor does she see herself.
    let own = "dave@acme.test";
    set_last_seen(&dave, "everyone").await;
    let seen = alice.watch(&[own, BOB, ALICE]).await.unwrap();
    assert!(seen.iter().all(|presence| presence.online), "{seen:?}");
    set_last_seen(&alice, "nobody").await;
    for _ in 0..3 {
        let hidden = next(&mut hears, |event| match event {
            Event::Presence(presence) => Some(presence.clone()),
            _ => None,
        })
        .await;
        assert!(is_hidden(&hidden), "{hidden:?}");
    }
    assert!(alice.watch(&[own, BOB]).await.unwrap().iter().all(is_hidden));
    assert_eq!(alice.user(own).await.unwrap().presence, None);
    assert_eq!(alice.user(BOB).await.unwrap().presence, None);
    // Her watches are not even asked for any more.
    let watches = "homing_presence_watches_of_homes";
    assert_eq!(wait_for(&party.homes[1], watches, |n| n < 2.0).await, 1.0, "dave's is left");
    set_last_seen(&alice, "contacts").await;
    assert!(told(&mut hears, own).await.online);
    assert!(told(&mut hears, BOB).await.online);
    // Nobody is told of whom nobody watches.
    alice.unwatch(&[own, BOB, ALICE]).await.unwrap();
    dave.unwatch(&[BOB]).await.unwrap();
    wait_for(&party.homes[1], watches, |n| n == 0.0).await;
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_contact_learns_nothing_until_it_is_accepted() {
    let requests = [("HOMING_FEDERATION__FIRST_CONTACT", "request")];
    let mut party = Party::with(&["acme.test", "globex.test"], &requests).await;
    let (alice, mut hears) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    set_last_seen(&bob, "everyone").await;
    let chat = say(&alice, BOB, "hello").await.channel;
    next_message(&mut bob_hears).await;
    assert!(is_hidden(&alice.watch(&[BOB]).await.unwrap()[0]));
    assert_eq!(alice.user(BOB).await.unwrap().presence, None);
    // Nor does bob, who looks at it, see her type; what she says behind it comes.
    alice.set_typing(chat, true).await.unwrap();
    bob.set_typing(chat, true).await.unwrap();
    assert_eq!(counted(&party.homes[0], "homing_typing_out_total").await, 0.0);
    assert_eq!(counted(&party.homes[1], "homing_typing_out_total").await, 0.0);
    let began = Instant::now();
    let _accepted: Value = bob.call("requests.accept", &json!({ "channel": chat })).await.unwrap();
    assert!(told(&mut hears, BOB).await.online);
    assert!(began.elapsed() < Duration::from_secs(20), "that is not left to the next renewal");
    assert!(alice.user(BOB).await.unwrap().presence.unwrap().online);
    bob.set_typing(chat, false).await.unwrap();
    let seen = typing(&mut hears).await;
    assert_eq!((seen.user.as_str(), seen.typing), (BOB, false));
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_may_watch_and_where_nobody_types() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut hears) = party.client(0, "alice").await;
    let (bob, _) = party.client(1, "bob").await;
    let many: Vec<String> = (0..501).map(|n| format!("u{n}@globex.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = refusal(alice.watch(&many).await);
    assert_eq!(refused, (-32009, "too_many_watched".to_owned(), Some(500)));
    let made_up = format!("x@{}", homing_wire::HomeId([9; 32]));
    for (users, code, reason) in [
        (json!(["bob@globex.test", "ghost@acme.test"]), -32004, "user_not_found"),
        (json!(["x@nowhere.test"]), -32004, "unknown_home"),
        (json!([made_up]), -32004, "unknown_home"),
        (json!(["bob"]), -32602, "invalid_user"),
        (json!(["Bób@acme.test"]), -32602, "invalid_user"),
        (json!("bob@globex.test"), -32602, "invalid_params"),
    ] {
        let result: Result<Value, _> =
            alice.call("presence.watch", &json!({ "users": users })).await;
        let (found, word, _) = refusal(result);
        assert_eq!((found, word.as_str()), (code, reason), "{users}");
    }
    // As many copies of one as a frame holds, and to watch them no longer.
    let copies = vec!["bob@globex.test"; 10_000];
    for refused in [alice.watch(&copies).await.map(drop), alice.unwatch(&copies).await] {
        assert_eq!(refusal(refused), (-32009, "too_many_watched".to_owned(), Some(500)));
    }
    assert_eq!(counted(&party.homes[0], "homing_presence_watches ").await, 0.0);
    // A refusal has changed nothing: there is room for all of it.
    assert_eq!(alice.watch(&many[..500]).await.unwrap().len(), 500);
    let refused = refusal(alice.watch(&["bob@globex.test"]).await);
    assert_eq!(refused.1, "too_many_watched");
    assert_eq!(alice.watch(&many[..1]).await.unwrap().len(), 1, "that one is watched already");
    assert_eq!(alice.opened().limits.watched, 500);

    // Whoever asks again and again is told to wait: each of them is looked up.
    let paced = async {
        loop {
            if let Err(Error::Refused(refusal)) = alice.watch(&many[..500]).await {
                break refusal;
            }
        }
    };
    let paced = tokio::time::timeout(WITHIN, paced).await.unwrap();
    assert_eq!((paced.code, paced.reason.as_str()), (-32005, "watching_too_fast"));
    assert!(paced.retry_after.is_some());

    let nowhere = Uuid::from_u128(7);
    assert_eq!(refusal(alice.set_typing(nowhere, true).await).1, "channel_not_found");
    let sent = say(&alice, BOB, "hello").await;
    party.homes[0].register("carol").await.unwrap();
    let (carol, _) = party.client(0, "carol").await;
    assert_eq!(refusal(carol.set_typing(sent.channel, true).await).1, "channel_not_found");

    // A client that types faster than anybody can is told of once a second, and its last word counts.
    say(&bob, ALICE, "hello").await;
    next_message(&mut hears).await;
    for n in 0..200 {
        bob.set_typing(sent.channel, n % 2 == 0).await.unwrap();
    }
    bob.set_typing(sent.channel, true).await.unwrap();
    bob.set_typing(sent.channel, false).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let typing = typing(&mut hears).await;
        assert_eq!((typing.channel, typing.user.as_str()), (sent.channel, BOB));
        assert!(typing.sync.is_some());
        seen.push(typing.typing);
        if !typing.typing && counted(&party.homes[1], "homing_typing_out_total").await > 1.0 {
            break;
        }
    }
    assert!(seen[0] && seen.len() < 20, "{seen:?}");
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_types_is_seen_by_those_who_are_there_and_have_not_blocked() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut hears) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let (carol, mut carol_hears) = party.client(0, "carol").await;
    let group: homing_client::Channel = alice
        .call("groups.create", &json!({"name": "g", "members": ["carol@acme.test", BOB]}))
        .await
        .unwrap();
    let group = group.channel;
    next(&mut bob_hears, |event| match event {
        Event::Channel(channel) if channel.channel == group => Some(()),
        _ => None,
    })
    .await;
    let _joined: Value = bob.call("groups.join", &json!({ "channel": group })).await.unwrap();
    let body = json!({"type": "text", "text": "here"});
    let send = json!({"channel": group, "body": body});
    let _sent: Value = bob.call("messages.send", &send).await.unwrap();
    next_message(&mut hears).await;
    bob.set_typing(group, true).await.unwrap();
    for events in [&mut hears, &mut carol_hears] {
        let seen = typing(events).await;
        assert_eq!((seen.channel, seen.user.as_str(), seen.typing), (group, BOB, true));
    }
    // Carol has blocked bob: she sees of alice alone that she types.
    carol.add_to(UserList::Blocks, BOB).await.unwrap();
    bob.set_typing(group, false).await.unwrap();
    assert!(!typing(&mut hears).await.typing);
    alice.set_typing(group, true).await.unwrap();
    let seen = typing(&mut carol_hears).await;
    assert_eq!((seen.user.as_str(), seen.typing), (ALICE, true));
    assert_eq!(typing(&mut bob_hears).await.user, ALICE);
    party.homes.stop_all().await.unwrap();
}

/// DESIGN, 9: gathered for a second and sent once.
#[tokio::test(flavor = "multi_thread")]
async fn two_devices_that_toggle_every_fifty_milliseconds_are_told_of_once_a_second() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut hears) = party.client(0, "alice").await;
    let (bob, bob_hears) = party.client(1, "bob").await;
    bob.add_to(UserList::Contacts, ALICE).await.unwrap();
    alice.watch(&[BOB]).await.unwrap();
    assert!(told(&mut hears, BOB).await.online);
    let tokens = [
        party.homes[1].login("bob").await.unwrap().token,
        party.homes[1].login("bob").await.unwrap().token,
    ];
    close(&party.homes[1], bob, bob_hears).await;
    assert!(!told(&mut hears, BOB).await.online);

    let name = "homing_presence_updates_out_total";
    let before = counted(&party.homes[1], name).await;
    let (began, mut toggles) = (Instant::now(), 0);
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    while began.elapsed() < Duration::from_secs(10) {
        tick.tick().await;
        // One comes, the other goes; each says good-bye.
        let server = party.homes[1].server().unwrap();
        let options = Options::new(server, tokens[toggles % 2].clone());
        drop(Client::connect(options).await.unwrap());
        toggles += 1;
    }
    let updates = counted(&party.homes[1], name).await - before;
    assert!(toggles >= 100, "{toggles}");
    assert!((1.0..=12.0).contains(&updates), "{updates} updates for {toggles} toggles");
    // What is told in the end is how it is.
    let last = now() - 11_000;
    until(&mut hears, BOB, |p| !p.online && p.last_seen.is_some_and(|at| at > last)).await;
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn last_seen_is_right_after_a_client_or_a_home_was_killed() {
    let mut party = Party::with(&["acme.test", "globex.test"], &QUICK).await;
    let (alice, mut hears) = party.client(0, "alice").await;
    let (bob, bob_hears) = party.client(1, "bob").await;
    bob.add_to(UserList::Contacts, ALICE).await.unwrap();
    close(&party.homes[1], bob, bob_hears).await;
    alice.watch(&[BOB]).await.unwrap();
    until(&mut hears, BOB, |presence| presence.last_seen.is_some()).await;

    // A client that is a process of its own.
    let typed = party.typed(1, "bob", &["login", "bob"], PASSWORD).await;
    assert_eq!(typed.code, 0, "{typed:?}");
    let home = &party.homes[1];
    let mut child = tokio::process::Command::new(home.program().path())
        .args(["client", "--server", &home.ready().unwrap().http, "--profile", "bob", "tail"])
        .env("HOMING_PROFILE_DIR", home.dir().join("profiles"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let came = now();
    assert!(told(&mut hears, BOB).await.online);
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    let killed = now();
    let gone = told(&mut hears, BOB).await;
    assert!(!gone.online);
    // Not at once: it might have come back.
    assert!(now() >= killed + 1_000, "{}", now() - killed);
    assert!((came..=killed + 100).contains(&gone.last_seen.unwrap()), "{gone:?}, {killed}");

    // And the home under a client that lives.
    let steps = counted(&party.homes[1], "homing_steps_total").await;
    let (bob, bob_hears) = party.client(1, "bob").await;
    assert!(told(&mut hears, BOB).await.online);
    // That bob came is on the disk within a second.
    wait_for(&party.homes[1], "homing_steps_total", |now| now > steps).await;
    let before = now();
    party.homes[1].kill().await.unwrap();
    drop((bob, bob_hears));
    party.homes[1].start().await.unwrap();
    let gone = until(&mut hears, BOB, |presence| !presence.online).await;
    let last = gone.last_seen.unwrap();
    assert!((before - 60_000..=before).contains(&last), "{last}, killed at {before}");

    // A home that stops in order knows to the second.
    let (bob, bob_hears) = party.client(1, "bob").await;
    assert!(told(&mut hears, BOB).await.online);
    // He came some seconds ago, which is stored; that he answers pings is not.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let before = now();
    party.homes[1].stop().await.unwrap();
    drop((bob, bob_hears));
    party.homes[1].start().await.unwrap();
    let gone = until(&mut hears, BOB, |presence| !presence.online).await;
    let last = gone.last_seen.unwrap();
    assert!((before - 2_000..=now()).contains(&last), "{last}, stopped at {before}");
    party.homes.stop_all().await.unwrap();
}

/// Nothing of it is kept for whoever is away, on the disk or in memory; and what is kept comes.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_words_towards_a_home_that_is_away_are_kept_nowhere() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut hears) = party.client(0, "alice").await;
    let (bob, _bob_hears) = party.client(1, "bob").await;
    let chat = say(&alice, BOB, "hello").await.channel;
    say(&bob, ALICE, "hello").await;
    next_message(&mut hears).await;
    alice.watch(&[BOB]).await.unwrap();
    party.homes[1].kill().await.unwrap();
    wait_for(&party.homes[0], "homing_peers_connected", |peers| peers == 0.0).await;
    let rows = |queue: &str| -> usize {
        let queue: Value = serde_json::from_str(queue).unwrap_or_default();
        queue.as_array().map_or(0, Vec::len)
    };
    let queue = party.homes[0].command(&["peer", "queue", "--json"]).await.unwrap();
    assert_eq!(rows(&queue), 0, "{queue}");
    let out = counted(&party.homes[0], "homing_typing_out_total").await;
    let writes = counted(&party.homes[0], "homing_step_writes_total").await;
    let began = Instant::now();
    for n in 0..10_000 {
        alice.set_typing(chat, n % 2 == 0).await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    let queue = party.homes[0].command(&["peer", "queue", "--json"]).await.unwrap();
    assert_eq!(rows(&queue), 0, "{queue}");
    assert_eq!(counted(&party.homes[0], "homing_typing_out_total").await, out);
    let dropped = async |reason: &str| {
        let name = format!("homing_typing_dropped_total{{reason=\"{reason}\"}}");
        counted(&party.homes[0], &name).await
    };
    let (away, gathered) = (dropped("away").await, dropped("gathered").await);
    assert!(away >= 1.0 && away <= 2.0 + seconds, "{away} in {seconds} s");
    assert!(gathered >= 9_900.0 - seconds, "{gathered}");
    // Alice is online, and seen: that is all that was written meanwhile.
    let written = counted(&party.homes[0], "homing_step_writes_total").await - writes;
    assert!(written <= 5.0 + seconds / 50.0, "{written} writes");

    // The last of them may be told with the second's end, which must not be when the home is back: once Carol, who is here, has
    // heard what was set later, it is over.
    let (_carol, mut carol_hears) = party.client(0, "carol").await;
    let beside = say(&alice, "carol@acme.test", "hello").await.channel;
    for typing in [true, false] {
        alice.set_typing(beside, typing).await.unwrap();
    }
    assert!(typing(&mut carol_hears).await.typing);
    assert!(!typing(&mut carol_hears).await.typing);

    say(&alice, BOB, "and one message").await;
    party.homes[1].start().await.unwrap();
    let (bob, _) = party.client(1, "bob").await;
    let began = Instant::now();
    let last = loop {
        let page = bob.messages_before(chat, None, 1).await.unwrap();
        let last = page.messages.last().map(text).unwrap_or_default();
        if last == "and one message" || began.elapsed() > WITHIN {
            break last;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(last, "and one message");
    assert_eq!(counted(&party.homes[0], "homing_typing_out_total").await, out);
    assert_eq!(counted(&party.homes[1], "homing_typing_in_total").await, 0.0);
    party.homes.stop_all().await.unwrap();
}

fn frame(frame: pb::frame::Frame) -> pb::Frame {
    pb::Frame { frame: Some(frame) }
}

fn presence_of(users: impl IntoIterator<Item = String>) -> pb::Frame {
    let of = |user| pb::PresenceOf {
        user,
        online: true,
        last_seen: u64::MAX,
        seers: Some(pb::Seers { users: vec!["alice".to_owned()] }),
    };
    let users = users.into_iter().map(of).collect();
    frame(pb::frame::Frame::Presence(pb::Presence { users }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_watches_a_million_and_tells_of_strangers_is_bounded() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, mut hears) = party.client(0, "alice").await;
    let (bob, bob_hears) = party.client(1, "bob").await;
    bob.add_to(UserList::Contacts, ALICE).await.unwrap();
    alice.watch(&[BOB]).await.unwrap();
    assert!(told(&mut hears, BOB).await.online);
    let acme = party.homes[0].ready().unwrap().clone();
    let mut liar = Liar::claiming("liar.test");
    liar.approach(&acme.home_id, &acme.p2p).await;
    let link = liar.relay().await;

    for part in 0..125 {
        let watched = (0..4_000).map(|n| pb::Watched {
            user: format!("u{part}-{n}"),
            watchers: vec!["eve".to_owned(), "mallory".to_owned()],
        });
        let watch = pb::Watch { anew: part == 0, watched: watched.collect() };
        link.frames.send(frame(pb::frame::Frame::Watch(watch))).await.unwrap();
    }
    // Bob is not its own, nor has anybody asked for him here.
    link.frames.send(presence_of(["bob".to_owned(), "alice".to_owned()])).await.unwrap();
    let typing = pb::TypingIn {
        channel: bytes::Bytes::from_static(&[7; 16]),
        user: "eve".into(),
        typing: true,
    };
    let typing = frame(pb::frame::Frame::Typing(pb::Typing { typing: vec![typing; 1_000] }));
    link.frames.send(typing).await.unwrap();
    let strangers = r#"homing_typing_dropped_total{reason="not_a_member"}"#;
    wait_for(&party.homes[0], strangers, |n| n >= 1_000.0).await;
    let not_watched = r#"homing_presence_ignored_total{reason="not_watched"}"#;
    assert_eq!(counted(&party.homes[0], not_watched).await, 2.0);
    let watches = counted(&party.homes[0], "homing_presence_watches_of_homes").await;
    assert!(watches <= 10_000.0, "{watches}");
    let ignored = r#"homing_presence_ignored_total{reason="watches_of_home"}"#;
    assert!(counted(&party.homes[0], ignored).await >= 490_000.0);
    // Alice has seen nothing of it, and goes on to see what is so.
    close(&party.homes[1], bob, bob_hears).await;
    let gone = told(&mut hears, BOB).await;
    assert!(!gone.online && gone.last_seen.unwrap() <= now(), "{gone:?}");

    // What cannot be read is a fault; the third cuts.
    for _ in 0..3 {
        let _cut_meanwhile = link.frames.send(presence_of(["No Name".to_owned()])).await;
    }
    liar.next(|event| matches!(event, homing_net::NetEvent::PeerDown { .. }).then_some(())).await;
    let faults = r#"homing_peer_faults_total{reason="presence_malformed"}"#;
    assert_eq!(counted(&party.homes[0], faults).await, 3.0);
    wait_for(&party.homes[0], "homing_presence_watches_of_homes", |n| n == 0.0).await;
    liar.net.shutdown().await;
    party.homes.stop_all().await.unwrap();
}
