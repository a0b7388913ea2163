//! What is told, and what is hidden, after somebody or something was gone for a moment: a session, a stream, a permission.

use std::slice::from_ref;

use homing_core::presence::{PresenceLimits, Seen, Update};
use homing_wire::UserRef;

use crate::node::{MONDAY_MS, local};
use crate::presence::{ACME, GLOBEX, HIDDEN, Home, ONLINE, Pair, at, device};

const WAS: Seen = Seen { online: false, last_ms: Some(MONDAY_MS - 9_000) };

/// Alice of acme, in session 1, is shown that bob is online, that carol is too, and when dave was.
fn alice_sees() -> (Pair, [UserRef; 3]) {
    let mut pair = Pair::new();
    let others = ["bob", "carol", "dave"].map(|name| pair.globex.user(name));
    for (n, who) in others[..2].iter().enumerate() {
        pair.globex.presence.opened(at(0), &who.local, device(n as u128));
    }
    pair.globex.world.stored.insert(local("dave"), MONDAY_MS - 9_000);
    pair.acme.watch(1, "alice", &others).unwrap();
    let told = pair.tick(at(0));
    let expected = [("bob", ONLINE), ("carol", ONLINE), ("dave", WAS)];
    assert_eq!(told, expected.map(|(name, seen)| (1, name.to_owned(), seen)));
    (pair, others)
}

/// Who of globex hides from alice from now on.
fn hide(pair: &mut Pair, names: &[&str]) {
    let alice = pair.acme.user("alice");
    for name in names {
        pair.globex.world.hides_from.insert((local(name), alice.clone()));
        pair.globex.reconsider(name, None);
    }
}

/// So many seconds in which bob and carol are there; what alice is told, and in which second.
fn seconds(pair: &mut Pair, from: u64, to: u64) -> Vec<(u64, String, Seen)> {
    let mut told = Vec::new();
    for s in from..to {
        for (name, n) in [("bob", 0), ("carol", 1)] {
            pair.globex.presence.sign(at(s * 1_000), &local(name), device(n));
        }
        let tick = pair.tick_once(at(s * 1_000)).into_iter();
        told.extend(tick.map(|(_, name, seen)| (s, name, seen)));
    }
    told
}

#[test]
fn whoever_comes_back_at_once_is_told_again() {
    let (mut pair, [bob, ..]) = alice_sees();
    pair.acme.presence.session_gone(1);
    assert_eq!(pair.acme.watch(2, "alice", from_ref(&bob)).unwrap(), [HIDDEN]);
    // Globex takes it for what alice knows, who may see bob.
    let late = Update { user: bob.local, online: true, last_ms: None, seers: None };
    pair.acme.presence.updates_came(at(1_500), GLOBEX, &[late]);
    assert_eq!(pair.tick(at(3_000)), [(2, "bob".into(), ONLINE)]);
    let frames = pair.frames;
    pair.acme.watch(3, "alice", &[pair.globex.user("bob")]).unwrap();
    assert_eq!(pair.tick(at(6_000)), []);
    assert_eq!(pair.frames, frames, "what is known is not asked for again");
}

#[test]
fn what_was_let_go_on_a_slow_stream_is_told_again() {
    let (mut pair, [bob, ..]) = alice_sees();
    pair.acme.presence.unwatch(1, from_ref(&bob));
    // That waits for its turn, and what comes then takes its place.
    assert_eq!(pair.acme.tick(at(3_000)).watches.len(), 1);
    pair.acme.watch(1, "alice", from_ref(&bob)).unwrap();
    assert_eq!(pair.tick(at(5_000)), [(1, "bob".into(), ONLINE)]);
}

#[test]
fn whoever_hides_no_longer_and_watches_again_at_once_is_told() {
    let mut pair = Pair::new();
    let bob = pair.globex.user("bob");
    pair.globex.presence.opened(at(0), &bob.local, device(1));
    pair.acme.world.blind.insert(local("alice"));
    pair.acme.watch(1, "alice", from_ref(&bob)).unwrap();
    assert_eq!(pair.tick(at(0)), []);
    assert_eq!(pair.frames, 0, "nothing is asked for whoever hides");
    pair.acme.world.blind.clear();
    pair.acme.reconsider("alice", None);
    assert_eq!(pair.acme.watch(1, "alice", from_ref(&bob)).unwrap(), [HIDDEN]);
    assert_eq!(pair.tick(at(2_000)), [(1, "bob".into(), ONLINE)]);
    // And the other way: who hides asks no more.
    pair.acme.world.blind.insert(local("alice"));
    assert_eq!(pair.acme.watch(1, "alice", from_ref(&bob)).unwrap(), [HIDDEN]);
    assert_eq!(pair.tick(at(4_000)), []);
    assert_eq!(pair.globex.presence.watches_of_homes(), 0);
}

#[test]
fn whoever_hides_while_the_connection_is_lost_is_hidden_soon_after_it_is_back() {
    let (mut pair, _) = alice_sees();
    pair.acme.presence.peer_gone(&GLOBEX);
    pair.globex.presence.peer_gone(&ACME);
    hide(&mut pair, &["bob", "dave"]);
    assert_eq!(seconds(&mut pair, 2, 10), []);
    pair.acme.presence.stream_open(GLOBEX);
    pair.globex.presence.stream_open(ACME);
    // Carol is shown all the time.
    let told = seconds(&mut pair, 10, 200);
    assert_eq!(told, [(40, "bob".to_owned(), HIDDEN), (40, "dave".to_owned(), HIDDEN)]);
}

#[test]
fn what_was_seen_last_stays_where_nobody_is_there_to_confirm_it() {
    let (mut pair, [_, _, dave]) = alice_sees();
    pair.acme.presence.stream_open(GLOBEX);
    assert_eq!(pair.acme.tick(at(2_000)).watches.len(), 1);
    pair.acme.presence.peer_gone(&GLOBEX);
    let told: Vec<_> = (3..200).flat_map(|s| pair.acme.notices(at(s * 1_000))).collect();
    assert!(told.iter().all(|(_, name, _)| name != "dave"), "{told:?}");
    assert_eq!(pair.acme.watch(1, "alice", from_ref(&dave)).unwrap(), [WAS]);
}

#[test]
fn whoever_hides_while_one_stream_is_lost_is_hidden_with_the_next() {
    let (mut pair, _) = alice_sees();
    hide(&mut pair, &["bob"]);
    pair.globex.presence.stream_open(ACME);
    assert_eq!(pair.tick(at(3_000)), [(1, "bob".into(), HIDDEN)]);
}

#[test]
fn whoever_hid_while_nobody_asked_is_not_shown_as_before() {
    let (mut pair, _) = alice_sees();
    pair.acme.world.blind.insert(local("alice"));
    pair.acme.reconsider("alice", None);
    assert_eq!(pair.tick(at(2_000)).len(), 3);
    hide(&mut pair, &["dave"]);
    pair.acme.world.blind.clear();
    pair.acme.reconsider("alice", None);
    let told = pair.tick(at(5_000));
    assert_eq!(told, [(1, "bob".into(), ONLINE), (1, "carol".into(), ONLINE)]);
}

#[test]
fn no_home_is_asked_faster_than_it_looks() {
    let mut pair = Pair::new();
    let (bob, zoe) = (pair.globex.user("bob"), pair.globex.user("zoe"));
    for session in 0..6_000 {
        pair.acme.watch(session, &format!("a{session}"), from_ref(&bob)).unwrap();
    }
    pair.acme.watch(6_000, "alice", &[bob.clone(), zoe]).unwrap();
    let mut named = Vec::new();
    // Another comes or goes each second.
    for s in 0..60 {
        match s % 2 {
            0 => pair.acme.presence.unwatch(0, from_ref(&bob)),
            _ => drop(pair.acme.watch(0, "a0", from_ref(&bob)).unwrap()),
        }
        for watches in pair.acme.tick(at(s * 1_000)).watches.values() {
            let globex = &mut pair.globex;
            let came =
                globex.presence.watches_came(at(s * 1_000), ACME, watches, &mut globex.world);
            assert_eq!(came.unwrap().ignored, 0, "in second {s}");
            named.extend(watches.users.iter().map(|one| one.user.to_string()));
        }
    }
    assert!((6..20).contains(&named.len()), "{}", named.len());
    assert_eq!(named.iter().filter(|name| *name == "zoe").count(), 1, "zoe has her turn");
    // What came last is asked for, too.
    for s in 60..80 {
        pair.tick_once(at(s * 1_000));
    }
    assert_eq!(pair.globex.presence.watches_of_homes(), 6_000 + 2);
}

#[test]
fn whoever_is_named_often_is_looked_up_once() {
    let limits = PresenceLimits { watched_by_session: 3, ..PresenceLimits::default() };
    let mut acme = Home::with(ACME, limits);
    let bob = acme.user("bob");
    let many = vec![bob; 17_000];
    assert_eq!(acme.refused(1, &many), ("too_many_watched", Some(3)));
    assert_eq!((acme.world.asked, acme.presence.watches()), (0, 0));
    assert_eq!(acme.watch(1, "alice", &many[..3]).unwrap(), [HIDDEN; 3]);
    assert_eq!((acme.world.asked, acme.presence.watches()), (1, 1));
}
