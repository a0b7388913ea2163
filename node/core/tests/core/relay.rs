//! What is owed, and ranges as an honest network may mangle them.

use homing_core::{Effect, Policy};
use homing_wire::{ChannelId, Epoch, Seq};

use crate::node::{Forge, MONDAY_MS, Node, accepting};

fn homes() -> (Node, Node) {
    (Node::new(1, accepting(), &["alice", "bob"]), Node::new(2, accepting(), &["carol"]))
}

/// Alice has written so many messages to Carol, none of them delivered.
fn written(count: usize) -> (Node, Node, ChannelId) {
    let (mut acme, globex) = homes();
    let carol = globex.user("carol");
    for n in 1..=count {
        acme.send("alice", &carol, &n.to_string());
    }
    acme.settle();
    let channel = ChannelId::chat(&acme.user("alice"), &carol);
    (acme, globex, channel)
}

#[test]
fn every_message_says_what_is_owed_with_it() {
    let (mut acme, globex) = homes();
    let carol = globex.user("carol");
    // Whoever was never met is asked first, for it may know this home from before a restore.
    acme.send("alice", &carol, "0");
    let effects = acme.settle();
    assert!(!effects.iter().any(|e| matches!(e, Effect::Owed { .. })), "{effects:?}");
    acme.meets(globex.id, true);
    acme.home.reconciled(&acme.store, globex.id, 0).unwrap();
    let effects = acme.settle();
    let pushed = |e: &Effect| matches!(e, Effect::Owed { acked: Seq(0), upto: Seq(1), .. });
    assert!(effects.iter().any(pushed), "{effects:?}");
    acme.send("alice", &carol, "1");
    acme.send("alice", &carol, "2");
    let effects = acme.settle();
    let owed: Vec<u64> = effects
        .iter()
        .filter_map(|e| match e {
            Effect::Owed { acked: Seq(0), upto, parties, .. } => {
                assert!(parties[0].to_string() < parties[1].to_string());
                Some(upto.0)
            }
            Effect::Owed { .. }
            | Effect::Message { .. }
            | Effect::Marked { .. }
            | Effect::Channel { .. }
            | Effect::ChannelOf { .. }
            | Effect::Rejected { .. }
            | Effect::Changed { .. }
            | Effect::Roster { .. }
            | Effect::Letter { .. }
            | Effect::Settled { .. }
            | Effect::Pull { .. }
            | Effect::Marks { .. } => None,
        })
        .collect();
    assert_eq!(owed, [2, 3]);
    assert_eq!(acme.store.owed.len(), 1);
}

#[test]
fn what_is_acknowledged_is_not_owed_and_may_be_owed_again() {
    let (mut acme, globex, channel) = written(5);
    acme.meets(globex.id, false);
    acme.acknowledged(globex.id, channel, 3).unwrap();
    acme.settle();
    assert_eq!(acme.store.owed.len(), 1);
    acme.acknowledged(globex.id, channel, 5).unwrap();
    acme.settle();
    assert!(acme.store.owed.is_empty() && acme.home.owed().is_empty());
    // The peer was restored from a backup.
    acme.acknowledged(globex.id, channel, 2).unwrap();
    acme.settle();
    acme.crash();
    acme.home.resume(&acme.store, globex.id).unwrap();
    let effects = acme.settle();
    let [Effect::Owed { acked, upto, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((acked.0, upto.0), (2, 5));
    // An answer of another life means nothing.
    let old = Epoch(acme.epoch.0 - 1);
    acme.home.acknowledged(&acme.store, globex.id, channel, old, Seq(9)).unwrap().unwrap();
    assert!(!acme.home.has_step());
    assert_eq!(acme.acknowledged(globex.id, channel, 6).unwrap_err().0, "ack_ahead");
    let stranger = homing_wire::HomeId([9; 32]);
    assert_eq!(acme.acknowledged(stranger, channel, 1).unwrap_err().0, "not_a_member");
    assert!(!acme.home.has_step());
}

#[test]
fn duplicates_and_gaps_do_no_harm() {
    let (acme, mut globex, channel) = written(6);
    let have = |globex: &mut Node, first, most| {
        let reply = globex.receive(acme.id, &acme.range(channel, first, most)).unwrap();
        (reply.have.0, reply.applied)
    };
    assert_eq!(have(&mut globex, 1, 2), (2, 2));
    assert_eq!(have(&mut globex, 1, 2), (2, 0), "again, in the same step");
    assert!(globex.home.is_urgent());
    globex.settle();
    assert_eq!(have(&mut globex, 5, 2), (2, 0), "a gap");
    assert_eq!(have(&mut globex, 2, 3), (4, 2), "an overlap");
    globex.settle();
    globex.crash();
    assert_eq!(have(&mut globex, 1, 6), (6, 2), "all of it, after a crash");
    assert_eq!(have(&mut globex, 7, 0), (6, 0), "an empty range asks how far");
    globex.settle();
    assert_eq!(globex.words(channel), ["1", "2", "3", "4", "5", "6"]);
    // Of a range with a hole nothing is taken.
    let (acme, mut globex, channel) = written(4);
    let mut range = acme.range(channel, 1, 4);
    drop(range.events.remove(1));
    assert_eq!(globex.receive(acme.id, &range).unwrap_err().0, "event_out_of_place");
    globex.settle();
    assert!(globex.words(channel).is_empty());
}

#[test]
fn a_home_that_lost_its_store_is_told_everything_again() {
    let (mut acme, mut globex, channel) = written(3);
    acme.deliver(&mut globex);
    let carol = globex.user("carol");
    let mut empty = Node::new(2, accepting(), &["carol"]);
    acme.send("alice", &carol, "4");
    acme.deliver(&mut empty);
    assert!(empty.store.channels.is_empty(), "nothing is made of the middle of a chain");
    assert!(acme.state(channel).cursors[0].refused.is_none());
    acme.deliver(&mut empty);
    assert_eq!(empty.words(channel), ["1", "2", "3", "4"]);
    assert!(acme.home.owed().is_empty());
}

#[test]
fn a_stamp_far_ahead_waits_and_a_near_one_is_followed() {
    let (acme, mut globex) = homes();
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let parties = [alice.clone(), carol.clone()];
    let ahead = Forge::new(&alice, &carol, globex.now + 300_001).chain(parties.clone(), 2);
    let reply = globex.receive(acme.id, &ahead).unwrap();
    assert_eq!((reply.have.0, reply.refused, reply.rejected.len()), (0, None, 0));
    globex.settle();
    assert!(globex.store.channels.is_empty(), "not even a channel is made of it");
    globex.now += 2;
    assert_eq!(globex.receive(acme.id, &ahead).unwrap().have.0, 2);
    globex.settle();
    // Its stamp is not followed: the home's own messages stay with its clock.
    let own = globex.send("carol", &alice, "x");
    assert_eq!(own.sent_at, globex.now);
    globex.settle();

    let mut globex = Node::new(2, accepting(), &["carol"]);
    let near = Forge::new(&alice, &carol, globex.now + 60_000);
    globex.receive(acme.id, &near.chain(parties, 1)).unwrap();
    let own = globex.send("carol", &alice, "x");
    assert!(own.order > near.header.order(), "an answer comes after what it answers");
    // A restart does not move the clock that foreign stamps are measured by.
    globex.settle();
    globex.crash();
    let late = Forge::new(&alice, &carol, globex.now + 300_001);
    let mut next = near.next();
    next.header.stamp = late.header.stamp;
    let reply = globex.receive(acme.id, &next.chain([alice, carol], 1)).unwrap();
    assert_eq!((reply.have.0, reply.applied), (1, 0));
}

#[test]
fn poison_is_rejected_alone() {
    let (acme, mut globex) = homes();
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let channel = ChannelId::chat(&alice, &carol);
    type Poison = fn(&mut Forge);
    let poisons: [(&str, Poison); 6] = [
        ("body_invalid", |f| f.body = r#"{ "type":"text","text":"spaces" }"#.into()),
        ("body_invalid", |f| f.body = "not json".into()),
        ("kind_mismatch", |f| f.body = r#"{"type":"x.y"}"#.into()),
        ("body_invalid", |f| f.header.kind = homing_wire::Kind::Edit),
        ("stamp_falls", |f| f.header.stamp.0 -= 100),
        ("not_a_member", |f| f.header.sender = crate::node::local("bob")),
    ];
    // Of these, an edit's body must be an edit's.
    let mut at = Forge::new(&alice, &carol, globex.now);
    let parties = [alice.clone(), carol.clone()];
    globex.receive(acme.id, &at.chain(parties.clone(), 1)).unwrap();
    for (n, (reason, poison)) in poisons.into_iter().enumerate() {
        let sound = at.next();
        let mut bad = at.next();
        poison(&mut bad);
        let mut after = bad.next();
        (after.body, after.header.kind) = (sound.body.clone(), sound.header.kind);
        (after.header.stamp, after.header.sender) =
            (sound.header.next_stamp(), sound.header.sender.clone());
        let mut range = bad.chain(parties.clone(), 1);
        range.events.push(Ok(after.event()));
        let reply = globex.receive(acme.id, &range).unwrap();
        let expected = if n == 3 { "kind_mismatch" } else { reason };
        assert_eq!(reply.rejected, [(bad.header.seq, expected)], "{n}");
        assert_eq!((reply.have, reply.applied), (after.header.seq, 1));
        globex.settle();
        at = after;
    }
    assert_eq!(globex.words(channel), ["hello"; 7]);
    assert_eq!(globex.state(channel).head.0, 7, "a rejected event uses up no pos");
    assert_eq!(globex.unread("carol", channel), 7);
}

trait NextStamp {
    fn next_stamp(&self) -> homing_wire::Stamp;
}

impl NextStamp for homing_wire::Header {
    fn next_stamp(&self) -> homing_wire::Stamp {
        homing_wire::Stamp(self.stamp.0 + 1)
    }
}

#[test]
fn kinds_of_later_versions_are_kept_and_count_for_nothing() {
    let (acme, mut globex) = homes();
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let channel = ChannelId::chat(&alice, &carol);
    let mut new = Forge::new(&alice, &carol, globex.now);
    new.header.kind = homing_wire::Kind::Unknown(77);
    new.body = b"\xff whatever".as_slice().into();
    let mut after = new.next();
    after.header.kind = homing_wire::Kind::Text;
    after.body = crate::node::text("known");
    let mut range = new.chain([alice, carol], 1);
    range.events.push(Ok(after.event()));
    let reply = globex.receive(acme.id, &range).unwrap();
    assert_eq!((reply.have.0, reply.applied, reply.rejected.len()), (2, 2, 0));
    globex.settle();
    assert_eq!((globex.state(channel).head.0, globex.unread("carol", channel)), (2, 1));
    globex.mark("carol", channel, 1, 1).unwrap();
    assert_eq!(globex.unread("carol", channel), 1);
    globex.mark("carol", channel, 2, 2).unwrap();
    assert_eq!(globex.unread("carol", channel), 0);
    globex.tick();
}

#[test]
fn a_new_life_numbers_from_one_and_owes_what_it_writes() {
    let (mut acme, mut globex, channel) = written(3);
    acme.deliver(&mut globex);
    let carol = globex.user("carol");
    acme.epoch = Epoch(MONDAY_MS + 1);
    acme.now += 10;
    acme.crash();
    acme.send("alice", &carol, "reborn");
    acme.deliver(&mut globex);
    assert_eq!(globex.words(channel), ["1", "2", "3", "reborn"]);
    assert!(acme.home.owed().is_empty());
    globex.mark("carol", channel, 4, 4).unwrap();
    globex.deliver_marks(&mut acme);
    assert_eq!(acme.mark_of(&carol, channel), (4, 4));
}

#[test]
fn what_is_read_in_passing_does_not_fill_the_memory() {
    let policy = Policy { channels_cached: 3, accounts_cached: 2, lists_cached: 2, ..accepting() };
    let names: Vec<String> = (0..20).map(|n| format!("user{n}")).collect();
    let users: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut acme = Node::new(1, policy, &users);
    let mut channels = Vec::new();
    for pair in users.windows(2) {
        let with = acme.user(pair[1]);
        channels.push(acme.send(pair[0], &with, "x").channel);
        acme.settle();
    }
    acme.crash();
    for (channel, user) in channels.iter().zip(&users) {
        acme.state(*channel);
        acme.home.listing(&acme.store, &crate::node::local(user)).unwrap();
    }
    let (channels, accounts, lists) = acme.home.cached();
    assert!(channels <= 3 && accounts <= 2 && lists <= 2, "{:?}", acme.home.cached());
}

/// A clock that jumped an hour ahead and was put right: what is written then is stamped with the right time, but above
/// what this home has written in the same channel, whose stamps never fall.
#[test]
fn a_clock_that_was_put_right_stamps_right() {
    const HOUR_MS: u64 = 3_600_000;
    let mut acme = Node::new(1, accepting(), &["alice", "bob", "eve"]);
    let (alice, bob, eve) = (acme.user("alice"), acme.user("bob"), acme.user("eve"));
    let before = acme.send("alice", &eve, "before");
    acme.settle();
    acme.now += HOUR_MS;
    acme.home.tick(&acme.store, acme.now).unwrap();
    let ahead = acme.send("alice", &bob, "ahead");
    assert_eq!(ahead.sent_at, acme.now);
    acme.settle();
    acme.now -= HOUR_MS;
    for _ in 0..2 {
        acme.now += 1_000;
        let right = acme.send("alice", &eve, "right");
        assert_eq!(right.sent_at, acme.now);
        assert!(right.order > before.order);
        let above = acme.send("bob", &alice, "in the channel of the hour ahead");
        assert!(above.order > ahead.order, "a chain's stamps never fall");
        acme.settle();
        assert!(acme.store.stamp.ms() >= ahead.sent_at, "the greatest ever given is kept");
        acme.crash();
    }
}
