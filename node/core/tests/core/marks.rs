//! Delivered, read, unread.

use homing_core::{Effect, PeerMark, Policy};
use homing_wire::Seq;

use crate::node::{Node, accepting};

fn homes() -> (Node, Node) {
    (Node::new(1, accepting(), &["alice", "bob"]), Node::new(2, accepting(), &["carol"]))
}

#[test]
fn bob_reads_what_alice_wrote() {
    let (mut acme, _) = homes();
    let bob = acme.user("bob");
    let channel = acme.send("alice", &bob, "1").channel;
    acme.send("alice", &bob, "2");
    acme.send("alice", &bob, "3");
    acme.settle();
    acme.mark("bob", channel, 2, 1).unwrap();
    assert_eq!(acme.mark_of(&bob, channel), (2, 1));
    assert_eq!(acme.unread("bob", channel), 2, "seen at once");
    let effects = acme.tick();
    let [Effect::Marked { user, mark, change, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((user, mark.delivered.0, mark.read.0), (&bob, 2, 1));
    assert_eq!(*change, acme.store.channels[&channel].changed);
    // Never back, read implies delivered, and nothing beyond what there is.
    acme.mark("bob", channel, 1, 0).unwrap();
    assert!(acme.tick().is_empty());
    acme.mark("bob", channel, 0, 3).unwrap();
    assert_eq!(acme.mark_of(&bob, channel), (3, 3));
    let refusal = acme.mark("bob", channel, 4, 0).unwrap_err();
    assert_eq!((refusal.reason, refusal.limit), ("pos_beyond_head", Some(3)));
    acme.tick();
    assert_eq!(acme.store.channels[&channel].member(&bob).unwrap().times.len(), 2);
}

#[test]
fn marks_are_gathered() {
    let (mut acme, _) = homes();
    let bob = acme.user("bob");
    let mut channel = None;
    for n in 1..=50 {
        let sent = acme.send("alice", &bob, "x");
        channel = Some(sent.channel);
        acme.mark("bob", sent.channel, n, n).unwrap();
        let effects = acme.settle();
        assert!(effects.iter().all(|e| !matches!(e, Effect::Marked { .. })));
    }
    assert_eq!(acme.tick().len(), 1);
    let member = acme.store.channels[&channel.unwrap()].member(&bob).unwrap();
    assert_eq!((member.mark.read.0, member.times.len()), (50, 1));
}

/// A mark on disk that was not given out would never be told: raising it again changes nothing.
#[test]
fn a_mark_is_on_disk_when_it_is_given_out_and_not_before() {
    let (mut acme, mut globex) = homes();
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let channel = acme.send("alice", &carol, "1").channel;
    acme.deliver(&mut globex);
    globex.mark("carol", channel, 1, 1).unwrap();
    // A message commits the channel before the tick comes.
    acme.send("alice", &carol, "2");
    acme.deliver(&mut globex);
    assert_eq!(globex.store.channels[&channel].member(&carol).unwrap().mark.read.0, 0);
    assert_eq!(globex.mark_of(&carol, channel), (1, 1));
    globex.crash();
    globex.mark("carol", channel, 1, 1).unwrap();
    globex.deliver_marks(&mut acme);
    assert_eq!(acme.mark_of(&carol, channel), (1, 1));
    assert_eq!(globex.store.channels[&channel].member(&carol).unwrap().mark.read.0, 1);
    assert!(globex.home.owed().is_empty());
    assert_eq!(acme.mark_of(&alice, channel), (2, 2));
}

#[test]
fn whoever_answers_has_read_even_over_a_crash() {
    let (mut acme, mut globex) = homes();
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let channel = acme.send("alice", &carol, "1").channel;
    acme.send("alice", &carol, "2");
    acme.deliver(&mut globex);
    globex.send("carol", &alice, "yes");
    globex.settle();
    globex.crash();
    assert_eq!(globex.unread("carol", channel), 0);
    globex.home.resume(&globex.store, acme.id).unwrap();
    let marks = globex.settle().into_iter().find_map(|e| match e {
        Effect::Marks { telling, .. } => Some(telling.marks),
        Effect::Message { .. }
        | Effect::Marked { .. }
        | Effect::Channel { .. }
        | Effect::ChannelOf { .. }
        | Effect::Rejected { .. }
        | Effect::Changed { .. }
        | Effect::Roster { .. }
        | Effect::Letter { .. }
        | Effect::Settled { .. }
        | Effect::Pull { .. }
        | Effect::Owed { .. } => None,
    });
    acme.receive_marks(globex.id, channel, &marks.unwrap()).unwrap();
    assert_eq!(acme.mark_of(&carol, channel), (2, 2));
}

#[test]
fn marks_are_owed_until_the_newest_are_taken() {
    let (mut acme, mut globex) = homes();
    let carol = globex.user("carol");
    let channel = acme.send("alice", &carol, "1").channel;
    acme.send("alice", &carol, "2");
    acme.deliver(&mut globex);
    let marks = |globex: &mut Node, pos| {
        globex.mark("carol", channel, pos, 0).unwrap();
        let effects = globex.tick();
        let [Effect::Marked { .. }, Effect::Marks { telling, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        telling.clone()
    };
    let old = marks(&mut globex, 1);
    let new = marks(&mut globex, 2);
    globex.home.marks_taken(&globex.store, acme.id, channel, &old).unwrap();
    globex.settle();
    assert!(!globex.store.owed.is_empty());
    globex.home.marks_taken(&globex.store, acme.id, channel, &new).unwrap();
    globex.settle();
    assert!(globex.store.owed.is_empty());
    // They may come in any order.
    acme.receive_marks(globex.id, channel, &new.marks).unwrap();
    acme.receive_marks(globex.id, channel, &old.marks).unwrap();
    assert_eq!(acme.mark_of(&carol, channel), (2, 0));
}

#[test]
fn marks_are_taken_once_they_are_on_disk() {
    let (mut acme, mut globex) = homes();
    let carol = globex.user("carol");
    let channel = acme.send("alice", &carol, "1").channel;
    acme.deliver(&mut globex);
    globex.mark("carol", channel, 1, 1).unwrap();
    let effects = globex.tick();
    let [_, Effect::Marks { telling, .. }] = &effects[..] else { panic!("{effects:?}") };
    let marks = &telling.marks;
    acme.receive_marks(globex.id, channel, marks).unwrap();
    assert!(acme.home.is_urgent());
    let _under_way = acme.home.take_step();
    acme.receive_marks(globex.id, channel, marks).unwrap();
    assert!(acme.home.is_urgent(), "the first may still be lost");
}

#[test]
fn marks_come_with_their_times() {
    let (mut acme, mut globex) = homes();
    let carol = globex.user("carol");
    let channel = acme.send("alice", &carol, "1").channel;
    acme.send("alice", &carol, "2");
    acme.deliver(&mut globex);
    globex.now += 1_000;
    globex.mark("carol", channel, 1, 1).unwrap();
    let read_at = globex.now;
    acme.now += 500_000; // a while on the way
    globex.deliver_marks(&mut acme);
    let times = |acme: &Node| -> Vec<u64> {
        acme.store.channels[&channel].member(&carol).unwrap().times.iter().map(|t| t.at).collect()
    };
    assert_eq!(times(&acme), [read_at]);
    globex.now += 900_000; // now its clock is ahead of acme's
    globex.mark("carol", channel, 2, 2).unwrap();
    globex.deliver_marks(&mut acme);
    assert_eq!(times(&acme), [read_at, acme.now]);
}

#[test]
fn mentions_count_until_they_are_read() {
    let (mut acme, _) = homes();
    let bob = acme.user("bob");
    let mut command = acme.command("alice", &bob, "@bob");
    command.mentions = vec![bob.clone()];
    let channel = acme.run(&command).unwrap().channel;
    acme.settle();
    let mentions = |acme: &mut Node| acme.state(channel).member(&bob).unwrap().mentions.len();
    assert_eq!(mentions(&mut acme), 1);
    acme.mark("bob", channel, 1, 1).unwrap();
    command.fresh_id = acme.fresh_id();
    acme.run(&command).unwrap();
    assert_eq!(mentions(&mut acme), 1);
    acme.settle(); // the store checks what is held back
    acme.tick();
    assert_eq!(mentions(&mut acme), 1);
}

/// The second mark reads a mention that came after the first; neither is given out when the power goes.
#[test]
fn a_mention_between_two_marks_survives_a_crash() {
    let (mut acme, _) = homes();
    let bob = acme.user("bob");
    let channel = acme.send("alice", &bob, "1").channel;
    acme.settle();
    acme.mark("bob", channel, 1, 1).unwrap();
    let mut command = acme.command("alice", &bob, "@bob");
    command.mentions = vec![bob.clone()];
    acme.run(&command).unwrap();
    acme.settle();
    acme.mark("bob", channel, 2, 2).unwrap();
    acme.send("alice", &bob, "3");
    acme.settle();
    acme.crash();
    let member = acme.state(channel).member(&bob).unwrap().clone();
    assert_eq!((member.mark.read.0, member.mentions.len()), (0, 1), "nothing was given out");
    assert_eq!(acme.unread("bob", channel), 3);
    // The same two marks again, and no crash.
    acme.mark("bob", channel, 2, 2).unwrap();
    assert_eq!(acme.tick().len(), 1);
    let member = acme.store.channels[&channel].member(&bob).unwrap();
    assert_eq!((member.mark.read.0, member.mentions.len()), (2, 0));
}

/// A message takes its sender's mark to disk; the mark that rises after it waits to be given out all the same.
#[test]
fn a_mark_after_a_message_of_ones_own_is_not_on_disk_untold() {
    let (mut acme, _) = homes();
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let channel = acme.send("alice", &bob, "1").channel;
    acme.settle();
    acme.mark("bob", channel, 1, 1).unwrap();
    acme.send("bob", &alice, "2");
    acme.send("alice", &bob, "3");
    acme.mark("bob", channel, 3, 3).unwrap();
    acme.send("alice", &bob, "4");
    acme.settle();
    assert_eq!(acme.store.channels[&channel].member(&bob).unwrap().mark.read.0, 2);
    acme.crash();
    acme.mark("bob", channel, 3, 3).unwrap();
    let told = acme.tick();
    let [Effect::Marked { user, mark, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((user, mark.read.0), (&bob, 3), "it is told once it is on disk");
}

#[test]
fn a_mark_survives_a_crowded_memory() {
    let policy = Policy { channels_cached: 1, lists_cached: 1, accounts_cached: 1, ..accepting() };
    let mut acme = Node::new(1, policy, &["alice", "bob", "eve"]);
    let (bob, eve) = (acme.user("bob"), acme.user("eve"));
    let one = acme.send("alice", &bob, "1").channel;
    let two = acme.send("alice", &eve, "2").channel;
    acme.settle();
    acme.mark("bob", one, 1, 1).unwrap();
    acme.send("alice", &eve, "3");
    acme.settle();
    acme.state(two);
    assert_eq!(acme.mark_of(&bob, one), (1, 1));
    assert_eq!(acme.tick().len(), 1);
    acme.state(two);
    assert_eq!(acme.home.cached().0, 1, "then it may go");
    assert_eq!(acme.mark_of(&bob, one), (1, 1));
}

/// Whatever order they come in, however often, and over a crash.
#[test]
fn read_ten_then_three_stays_ten() {
    let (mut acme, mut globex) = homes();
    let carol = globex.user("carol");
    let channel = acme.send("alice", &carol, "1").channel;
    for n in 2..=12 {
        acme.send("alice", &carol, &n.to_string());
    }
    acme.deliver(&mut globex);
    globex.mark("carol", channel, 10, 10).unwrap();
    globex.mark("carol", channel, 3, 3).unwrap();
    let told = globex.tick().into_iter().find_map(|effect| {
        let Effect::Marks { telling, .. } = effect else { return None };
        Some(telling.marks)
    });
    let ten = told.unwrap();
    assert_eq!((ten.len(), ten[0].delivered.0, ten[0].read.0), (1, 10, 10));
    globex.mark("carol", channel, 3, 3).unwrap();
    assert_eq!(globex.tick().len(), 0, "nothing has risen");
    assert_eq!(globex.unread("carol", channel), 2);

    let three = vec![PeerMark { delivered: Seq(3), read: Seq(3), ..ten[0].clone() }];
    let five = vec![PeerMark { delivered: Seq(12), read: Seq(5), ..ten[0].clone() }];
    let mut most = (0, 0);
    for (n, marks) in [&three, &five, &ten, &three, &ten, &five, &three].into_iter().enumerate() {
        acme.receive_marks(globex.id, channel, marks).unwrap();
        most = (most.0.max(marks[0].delivered.0), most.1.max(marks[0].read.0));
        assert_eq!(acme.mark_of(&carol, channel), most, "after the {n}th");
        acme.settle();
        acme.crash();
        assert_eq!(acme.mark_of(&carol, channel), most);
    }
    assert_eq!(most, (12, 10));
    let state = acme.state(channel);
    let rose = state.member(&carol).unwrap().times.len();
    assert_eq!(rose, 3, "what has not risen has no time");
}
