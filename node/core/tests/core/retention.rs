//! What is removed when it is old, what others may reject, and what is shown of both.

use homing_core::{ChannelState, Effect, PeerMark, RangeQuestion, range_of};
use homing_wire::{ChannelId, HomeId, Seq};

use crate::node::{Node, accepting, local, v7};
use crate::repair::{fetch, homes, honest};

/// Alice has written to Bob, at one home, so many times; a second passes after each.
fn written(count: usize) -> (Node, ChannelId) {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    for n in 1..=count {
        acme.send("alice", &bob, &n.to_string());
        acme.now += 1_000;
    }
    acme.settle();
    (acme, ChannelId::chat(&alice, &bob))
}

/// Removes what is older than the last `kept` seconds.
fn prune(node: &mut Node, channel: ChannelId, kept: u64) -> bool {
    let before = node.now - kept * 1_000;
    let pruned = node.home.prune(&node.store, node.now, channel, before).unwrap();
    node.settle();
    pruned.more
}

#[test]
fn what_is_old_goes_and_what_is_new_stays() {
    let (mut acme, channel) = written(10);
    assert!(!prune(&mut acme, channel, 4));
    assert_eq!(acme.words(channel), ["7", "8", "9", "10"]);
    // Nothing more is old; and nothing is numbered anew.
    assert!(!prune(&mut acme, channel, 4));
    assert!(!acme.home.has_step());
    let bob = acme.user("bob");
    assert_eq!(acme.send("alice", &bob, "11").pos.0, 11);
    acme.settle();
    acme.crash();
    assert!(!prune(&mut acme, channel, 0));
    assert_eq!(acme.words(channel), ["11"], "written just now");
    let (mut quiet, channel) = written(2);
    assert!(!prune(&mut quiet, channel, 0));
    assert!(quiet.words(channel).is_empty());
    let bob = quiet.user("bob");
    assert_eq!(quiet.send("alice", &bob, "goes on").pos.0, 3);
    quiet.settle();
}

/// A list of channels shows no message that is gone, and fewer unread; people are told once.
#[test]
fn a_list_shows_what_is_left() {
    let (mut acme, channel) = written(3);
    let before = acme.state(channel).changed;
    let gone = acme.home.prune(&acme.store, acme.now, channel, acme.now - 1_500).unwrap();
    assert_eq!((gone.removed, gone.more), (2, false));
    let told = acme.settle();
    assert!(matches!(told[..], [Effect::Channel { .. }]), "two unread are gone: {told:?}");
    assert!(acme.state(channel).changed > before);
    let last = acme.home.last_message(&acme.store, channel, &acme.user("alice")).unwrap().unwrap();
    assert_eq!(last.entry.pos.0, 3);
    acme.home.prune(&acme.store, acme.now, channel, acme.now).unwrap();
    acme.settle();
    assert!(acme.home.last_message(&acme.store, channel, &acme.user("alice")).unwrap().is_none());
    acme.crash();
    assert!(acme.home.last_message(&acme.store, channel, &acme.user("alice")).unwrap().is_none());
    let gone = acme.home.prune(&acme.store, acme.now, channel, acme.now).unwrap();
    assert_eq!((gone.removed, acme.home.has_step()), (0, false));
}

#[test]
fn so_much_at_once_and_no_more() {
    let (mut acme, channel) = written(600);
    let (mut steps, mut left) = (0, 600);
    loop {
        let more = prune(&mut acme, channel, 10);
        steps += 1;
        let now = acme.words(channel).len();
        assert!(left - now <= 256, "{}", left - now);
        left = now;
        if !more {
            break;
        }
    }
    assert_eq!((steps, left), (3, 10));
}

#[test]
fn what_is_gone_is_not_unread() {
    let (mut acme, channel) = written(9);
    let bob = acme.user("bob");
    acme.mark("bob", channel, 2, 2).unwrap();
    acme.tick();
    assert_eq!(acme.unread("bob", channel), 7);
    // A mark that is not given out yet is on its way while what it covers goes.
    acme.mark("bob", channel, 3, 3).unwrap();
    prune(&mut acme, channel, 4);
    assert_eq!(acme.unread("bob", channel), 4);
    acme.mark("bob", channel, 4, 4).unwrap();
    assert_eq!(acme.unread("bob", channel), 4, "that one is gone");
    acme.tick();
    acme.crash();
    assert_eq!(acme.unread("bob", channel), 4);
    acme.mark("bob", channel, 7, 7).unwrap();
    assert_eq!((acme.unread("bob", channel), acme.mark_of(&bob, channel)), (2, (7, 7)));
    acme.tick();
}

#[test]
fn a_mention_that_is_gone_is_not_shown() {
    let (mut acme, channel) = written(1);
    let bob = acme.user("bob");
    let mut command = acme.command("alice", &bob, "@bob");
    command.mentions = vec![bob.clone()];
    acme.run(&command).unwrap();
    acme.now += 1_000;
    acme.send("alice", &bob, "later");
    acme.settle();
    let mentions = |acme: &mut Node| acme.state(channel).member(&bob).unwrap().mentions.len();
    assert_eq!(mentions(&mut acme), 1);
    prune(&mut acme, channel, 0);
    assert_eq!(mentions(&mut acme), 0);
}

#[test]
fn a_mark_of_what_is_gone_is_not_one_of_what_is_left() {
    let (mut acme, mut globex, channel) = homes();
    let carol = globex.user("carol");
    acme.now += 5_000;
    globex.now = acme.now;
    acme.send("alice", &carol, "new");
    acme.deliver(&mut globex);
    prune(&mut acme, channel, 1);
    acme.crash();
    assert_eq!(acme.words(channel), ["new"]);
    let mark = |seq| PeerMark {
        user: local("carol"),
        epoch: acme.epoch,
        delivered: Seq(seq),
        read: Seq(seq),
        at: 0,
    };
    let (old, new) = (mark(1), mark(2));
    let before = acme.mark_of(&carol, channel);
    acme.receive_marks(globex.id, channel, &[old]).unwrap();
    assert_eq!(acme.mark_of(&carol, channel), before, "she has not seen the new one");
    acme.receive_marks(globex.id, channel, &[new]).unwrap();
    assert_eq!(acme.mark_of(&carol, channel), (3, 3));
    acme.settle();
}

#[test]
fn the_id_of_a_message_that_is_gone_is_free_once_it_is_forgotten() {
    let policy = homing_core::Policy { ids_bytes: 1, ..accepting() };
    let mut acme = Node::new(1, policy, &["alice", "bob"]);
    let bob = acme.user("bob");
    let mut command = acme.command("alice", &bob, "once");
    command.id = Some(v7(acme.now, 1));
    let first = acme.run(&command).unwrap();
    acme.settle();
    acme.now += 1_000;
    prune(&mut acme, first.channel, 0);
    acme.crash();
    // It is not on disk any more: as far as anybody can tell, it was never sent.
    let again = acme.run(&command).unwrap();
    assert_eq!((again.repeated, again.pos.0), (false, 2));
    acme.settle();
}

#[test]
fn who_asks_for_what_is_gone_is_told_where_it_goes_on() {
    let (mut acme, mut globex, channel) = homes();
    let carol = globex.user("carol");
    for n in 0..5 {
        acme.send("alice", &carol, &n.to_string());
    }
    acme.settle();
    acme.now += 5_000;
    globex.now = acme.now;
    acme.send("alice", &carol, "new");
    acme.settle();
    prune(&mut acme, channel, 1);
    let asked = RangeQuestion {
        channel,
        origin: acme.id,
        epoch: acme.epoch,
        first: Seq(2),
        last: None,
        headers: false,
    };
    let told = range_of(&acme.store, acme.id, globex.id, &asked).unwrap().unwrap();
    assert!(told.events.is_empty());
    let (end, pruned) = (told.end.unwrap(), told.pruned.unwrap());
    assert_eq!((end.seq, end.hash, end.seq), (pruned.0, pruned.1, Seq(6)));
    let (repair, _) = fetch(&mut globex, &mut acme, &mut honest).unwrap();
    assert_eq!((repair.fetched(), repair.incomplete()), (1, 0));
    let log: Vec<String> = globex.store.logs[&channel]
        .values()
        .map(|e| String::from_utf8(e.event.body.to_vec()).unwrap())
        .collect();
    assert_eq!(log[2], r#"{"type":"notice","notice":"gap","missing":5}"#);
    assert!(log[3].contains("new"));
    // Globex holds acme's first event, and cannot say where it goes on.
    let asked = RangeQuestion { origin: globex.id, epoch: globex.epoch, first: Seq(1), ..asked };
    let told = range_of(&acme.store, acme.id, globex.id, &asked).unwrap().unwrap();
    assert!(told.events.is_empty() && told.end.is_none() && told.pruned.is_some());
}

#[test]
fn a_peer_that_rejects_everything_makes_one_notice_of_each_message() {
    const MESSAGES: u64 = 200;
    let (mut acme, globex, channel) = homes();
    let carol = globex.user("carol");
    for n in 2..=MESSAGES {
        acme.send("alice", &carol, &n.to_string());
    }
    acme.settle();
    let notices = |acme: &Node| {
        let log = acme.store.logs[&channel].values();
        log.filter(|e| e.event.header.origin == HomeId::LOCAL).count()
    };
    let mut shown = 0;
    // Again and again, forwards and backwards, in every order it likes.
    for round in 0..6_u64 {
        for part in 0..20_u64 {
            let part = if round % 2 == 0 { part } else { 19 - part };
            let rejected: Vec<(Seq, String)> = (part * 10 + 1..=part * 10 + 10)
                .map(|seq| (Seq(seq), "no_reason".to_owned()))
                .collect();
            acme.rejected_by(globex.id, channel, &rejected).unwrap();
            let effects = acme.settle();
            shown += effects.iter().filter(|e| matches!(e, Effect::Rejected { .. })).count();
        }
        assert_eq!((notices(&acme), shown), (MESSAGES as usize, MESSAGES as usize), "{round}");
    }
    let state = acme.state(channel);
    assert_eq!(state.rejected.len(), ChannelState::REJECTED);
    let newest = acme.store.logs[&channel]
        .values()
        .rfind(|e| e.event.header.origin == acme.id)
        .map(|e| e.pos);
    assert_eq!(state.rejection(newest.unwrap()), Some("no_reason"));
    // What is gone is not remembered, and a notice is old one day as well.
    acme.now += 1_000;
    while prune(&mut acme, channel, 0) {}
    assert!(acme.state(channel).rejected.is_empty());
    assert_eq!(notices(&acme), 0);
    // Notices are nobody else's business.
    let page = homing_core::holdings(&acme.store, acme.id, globex.id, None).unwrap();
    assert!(page.holdings[0].chains.iter().all(|(origin, ..)| *origin != HomeId::LOCAL));
    let asked = RangeQuestion {
        channel,
        origin: HomeId::LOCAL,
        epoch: acme.epoch,
        first: Seq(1),
        last: None,
        headers: false,
    };
    let told = range_of(&acme.store, acme.id, globex.id, &asked).unwrap();
    assert_eq!(told.unwrap_err().0, "not_a_member");
}

#[test]
fn what_is_gone_is_not_rejected() {
    let (mut acme, globex, channel) = homes();
    acme.now += 5_000;
    let rejects = |acme: &mut Node| {
        assert_eq!(acme.rejected_by(globex.id, channel, &[(Seq(1), "why".to_owned())]), Ok(0));
        assert_eq!(acme.state(channel).rejected, []);
    };
    // Neither before the disk has heard of it, nor then.
    acme.home.prune(&acme.store, acme.now, channel, acme.now).unwrap();
    rejects(&mut acme);
    acme.settle();
    rejects(&mut acme);
    assert!(!acme.home.has_step() && acme.state(channel).has_home(&globex.id));
}
