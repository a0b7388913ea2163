//! The sending side of one stream: what is sent when, and what a peer may answer.

use bytes::Bytes;
use homing_core::{
    Courier, CourierLimits, Delivery, Effect, OwedChannel, PeerFault, PeerMark, RangeIn, Telling,
};
use homing_wire::{ChannelId, Epoch, Event, HomeId, Pos, Seq};

use crate::group_world::group_of;
use crate::node::{Node, accepting, local, proven};
use crate::store::TestStore;

const MINUTE_MS: u64 = 60_000;

fn limits() -> CourierLimits {
    CourierLimits { range_entries: 4, ..CourierLimits::default() }
}

/// Acme's courier for globex, and the two homes.
struct Stream {
    acme: Node,
    globex: Node,
    courier: Courier,
    now: u64,
}

impl Stream {
    fn new(limits: CourierLimits) -> Self {
        let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
        let globex = Node::new(2, accepting(), &["carol", "dave"]);
        acme.meets(globex.id, false);
        let courier = Courier::new(acme.id, limits);
        Self { acme, globex, courier, now: 0 }
    }

    /// A new stream, as after a broken connection.
    fn reopen(&mut self, limits: CourierLimits) {
        self.courier = Courier::new(self.acme.id, limits);
        self.acme.meets(self.globex.id, false);
        self.acme.home.resume(&self.acme.store, self.globex.id).unwrap();
        self.follow();
    }

    /// Alice writes to Carol, so many times.
    fn write(&mut self, count: usize) -> ChannelId {
        let carol = self.globex.user("carol");
        for n in 1..=count {
            self.acme.send("alice", &carol, &n.to_string());
        }
        self.follow();
        ChannelId::chat(&self.acme.user("alice"), &carol)
    }

    /// Commits, and gives the courier what follows.
    fn follow(&mut self) {
        for effect in self.acme.settle() {
            match effect {
                Effect::Owed { channel, parties, epoch, acked, upto, begins, roster, .. } => {
                    let owed = OwedChannel { parties, epoch, acked, upto, begins, roster };
                    self.courier.owe(channel, owed);
                }
                Effect::Marks { channel, telling, .. } => self.courier.mark(channel, telling),
                Effect::Pull { .. } => self.courier.pull(),
                Effect::Message { .. }
                | Effect::Rejected { .. }
                | Effect::Changed { .. }
                | Effect::Roster { .. }
                | Effect::Letter { .. }
                | Effect::Settled { .. }
                | Effect::Marked { .. }
                | Effect::Channel { .. }
                | Effect::ChannelOf { .. } => {}
            }
        }
    }

    fn burst(&mut self) -> Vec<Delivery> {
        self.courier.burst(&self.acme.store, self.now).unwrap()
    }

    /// Everything that may be sent is, and globex answers each. Tells (channel, first seq, have) of each.
    fn deliver(&mut self) -> Vec<(ChannelId, u64, u64)> {
        let mut answers = Vec::new();
        loop {
            let burst = self.burst();
            if burst.is_empty() {
                return answers;
            }
            for delivery in burst {
                let (channel, epoch, first) = name(&delivery);
                let have = self.arrives(delivery);
                self.courier.have(self.now, channel, epoch, have).unwrap();
                let (by, store) = (self.globex.id, &self.acme.store);
                self.acme.home.acknowledged(store, by, channel, epoch, have).unwrap().unwrap();
                self.follow();
                answers.push((channel, first.0, have.0));
            }
        }
    }

    /// What globex makes of a delivery: how far it is then.
    fn arrives(&mut self, delivery: Delivery) -> Seq {
        let (from, now) = (self.acme.id, self.globex.now);
        let head = delivery.head().unwrap();
        let end = proven(from, head.0, head.1);
        let reply = match delivery {
            Delivery::Range { channel, parties, epoch, events, begins } => {
                let first = events[0].event.header.seq;
                let parsed = |e: &Event| Event::from_bytes(e.header_bytes.clone(), e.body.clone());
                let events = events.iter().map(|e| parsed(&e.event)).collect();
                let end = Some(end);
                let range =
                    RangeIn { channel, parties, origin: from, epoch, first, events, end, begins };
                self.globex.receive_as_is(from, &range).unwrap()
            }
            Delivery::Pruned { parties, .. } => self
                .globex
                .home
                .receive_pruned(&self.globex.store, now, from, &parties, &end)
                .unwrap()
                .unwrap(),
            Delivery::Marks { .. }
            | Delivery::Roster(_)
            | Delivery::Letter { .. }
            | Delivery::Pull => unreachable!("they name no events"),
        };
        self.globex.settle();
        assert_eq!((reply.refused, reply.rejected.len()), (None, 0));
        reply.have
    }
}

/// The channel, the epoch and the first event of what names events.
fn name(delivery: &Delivery) -> (ChannelId, Epoch, Seq) {
    match delivery {
        Delivery::Range { channel, epoch, events, .. } => {
            (*channel, *epoch, events[0].event.header.seq)
        }
        Delivery::Pruned { channel, epoch, seq, .. } => (*channel, *epoch, *seq),
        Delivery::Marks { .. } | Delivery::Roster(_) | Delivery::Letter { .. } | Delivery::Pull => {
            panic!("{delivery:?}")
        }
    }
}

fn mark(user: &str, read: u64) -> PeerMark {
    let (delivered, read) = (Seq(read), Seq(read));
    PeerMark { user: local(user), epoch: Epoch(1), delivered, read, at: 0 }
}

fn told(user: &str, read: u64) -> Telling {
    Telling { number: read, marks: vec![mark(user, read)] }
}

#[test]
fn ranges_go_ahead_of_their_answers_and_each_is_answered_once() {
    let mut s = Stream::new(limits());
    let channel = s.write(10);
    let firsts: Vec<u64> = s.burst().iter().map(|d| name(d).2.0).collect();
    assert_eq!(firsts, [1, 5, 9]);
    assert!(s.burst().is_empty() && !s.courier.is_idle());
    for have in [4, 8, 10] {
        s.courier.have(0, channel, s.acme.epoch, Seq(have)).unwrap();
    }
    assert!(s.courier.is_idle());
    assert_eq!(s.courier.wake_at(), None);
}

#[test]
fn a_window_of_bytes_is_ahead_of_the_answers_at_most() {
    let mut s = Stream::new(CourierLimits { window_bytes: 1_500, ..limits() });
    let channel = s.write(40);
    let mut sent = 0;
    let mut have = Vec::new();
    for delivery in s.burst() {
        let Delivery::Range { events, .. } = &delivery else { panic!("{delivery:?}") };
        sent += events.iter().map(|e| e.event.size_bytes()).sum::<usize>();
        have.push(events.last().unwrap().event.header.seq);
    }
    assert!((1_500..4_000).contains(&sent), "{sent}");
    assert!(s.burst().is_empty(), "the window is full");
    s.courier.have(0, channel, s.acme.epoch, have[0]).unwrap();
    assert!(!s.burst().is_empty(), "an answer opens it");
}

#[test]
fn a_busy_channel_gives_way_to_the_next() {
    let mut s = Stream::new(limits());
    let busy = s.write(100);
    let dave = s.globex.user("dave");
    let quiet = s.acme.send("alice", &dave, "hi").channel;
    s.follow();
    let order: Vec<ChannelId> = s.burst().iter().map(|d| name(d).0).collect();
    assert_eq!(order.len(), 26);
    assert_eq!(order.iter().position(|c| *c == quiet), Some(1));
    assert!(order.iter().filter(|c| **c == busy).count() == 25);
}

#[test]
fn it_goes_back_to_where_the_peer_is() {
    let mut s = Stream::new(limits());
    let channel = s.write(8);
    s.burst();
    // The peer has lost all but the first two, says it with both answers, and gets the rest again.
    s.courier.have(0, channel, s.acme.epoch, Seq(2)).unwrap();
    assert!(s.burst().is_empty(), "more answers are on their way");
    s.courier.have(0, channel, s.acme.epoch, Seq(2)).unwrap();
    let firsts: Vec<u64> = s.burst().iter().map(|d| name(d).2.0).collect();
    assert_eq!(firsts, [3, 7]);
    // And it may have more than was known here.
    s.courier.have(0, channel, s.acme.epoch, Seq(8)).unwrap();
    s.courier.have(0, channel, s.acme.epoch, Seq(8)).unwrap();
    assert!(s.courier.is_idle());
}

/// A courier for the other home of a group in which this one has written ten messages.
struct GroupStream {
    acme: Node,
    globex: Node,
    courier: Courier,
    group: ChannelId,
    epoch: Epoch,
}

impl GroupStream {
    fn new() -> Self {
        let (mut world, group, anns) = group_of(2);
        (1..=10).for_each(|n| drop(world.say(&anns[0], group, &n.to_string())));
        let globex = world.nodes.pop().unwrap();
        let mut acme = world.nodes.pop().unwrap();
        acme.settle();
        let (courier, epoch) = (Courier::new(acme.id, limits()), acme.epoch);
        Self { acme, globex, courier, group, epoch }
    }

    fn owe(&mut self, acked: u64, upto: u64) {
        let parties = [self.acme.user("ann"), self.globex.user("ann")];
        let (acked, upto) = (Seq(acked), Seq(upto));
        let owed =
            OwedChannel { parties, epoch: self.epoch, acked, upto, begins: Seq(0), roster: 0 };
        self.courier.owe(self.group, owed);
    }

    /// The first events of the ranges that are sent now.
    fn firsts(&mut self) -> Vec<u64> {
        let burst = self.courier.burst(&self.acme.store, 0).unwrap();
        burst.iter().map(|delivery| name(delivery).2.0).collect()
    }
}

/// What came to the peer by gossip: it says so, and was asked nothing.
#[test]
fn what_a_peer_has_by_gossip_is_not_sent() {
    let mut s = GroupStream::new();
    let (group, epoch) = (s.group, s.epoch);
    // With nothing owed here it is taken, too.
    s.courier.heard(group, epoch, Seq(3)).unwrap();
    assert!(s.courier.is_idle());

    s.owe(0, 6);
    s.courier.heard(group, epoch, Seq(2)).unwrap();
    assert_eq!(s.firsts(), [3], "four at once: 3 to 6");
    // One answer is on its way; what is new comes by gossip before it.
    s.owe(0, 9);
    s.courier.heard(group, epoch, Seq(8)).unwrap();
    assert_eq!(s.firsts(), [9]);
    s.courier.have(0, group, epoch, Seq(8)).unwrap();
    s.courier.have(0, group, epoch, Seq(9)).unwrap();
    assert!(s.courier.is_idle());

    // All of it.
    s.owe(9, 10);
    s.courier.heard(group, epoch, Seq(10)).unwrap();
    assert!(s.courier.is_idle() && s.firsts().is_empty());
}

#[test]
fn what_is_said_of_gossip_answers_nothing() {
    let mut s = GroupStream::new();
    let (group, epoch) = (s.group, s.epoch);
    s.owe(0, 4);
    assert_eq!(s.firsts(), [1]);
    s.courier.heard(group, epoch, Seq(4)).unwrap();
    assert!(!s.courier.is_idle(), "the range is still to be answered");
    let late = s.courier.wake_at().unwrap();
    assert_eq!(s.courier.wake(late).unwrap_err().0, "no_acknowledgement");

    // Less than before, or of another life, moves nothing back.
    s.courier.heard(group, epoch, Seq(1)).unwrap();
    s.courier.heard(group, Epoch(epoch.0 - 1), Seq(9)).unwrap();
    assert!(s.firsts().is_empty());
    // The answer does: it is the later word.
    s.courier.have(0, group, epoch, Seq(2)).unwrap();
    assert_eq!(s.firsts(), [3]);

    // Chats are not told by gossip.
    let chat = ChannelId::chat(&s.acme.user("ann"), &s.globex.user("ann"));
    assert_eq!(s.courier.heard(chat, epoch, Seq(1)).unwrap_err().0, "ack_unasked");
}

/// One event of a range has a stamp that the peer does not take yet: those before it arrive.
/// Its disk was set back: it asks for what it lost. Nobody writes anything new, and the stream stays.
#[test]
fn what_a_peer_lost_after_acknowledging_it_is_sent_at_once() {
    let mut stream = Stream::new(limits());
    let channel = stream.write(10);
    let backup = (stream.globex.home.epoch(), stream.globex.store.clone());
    stream.deliver();
    assert!(stream.acme.home.owed().is_empty() && stream.courier.is_idle());

    // Globex asks for 5 and on: so it holds 4.
    stream.acme.acknowledged(stream.globex.id, channel, 4).unwrap();
    let effects = stream.acme.settle();
    let mut owed = Vec::new();
    for effect in effects {
        if let Effect::Owed { channel, parties, epoch, acked, upto, begins, roster, .. } = effect {
            owed.push((channel, OwedChannel { parties, epoch, acked, upto, begins, roster }));
        }
    }
    assert_eq!(owed.len(), 1);
    assert_eq!((owed[0].0, owed[0].1.acked, owed[0].1.upto), (channel, Seq(4), Seq(10)));
    assert!(stream.acme.store.owed.contains_key(&(stream.globex.id, channel)), "over a crash, too");
    for (channel, owed) in owed {
        stream.courier.owe(channel, owed);
    }
    let burst = stream.burst();
    let sent: Vec<u64> = burst.iter().map(|delivery| name(delivery).2.0).collect();
    assert_eq!(sent, [5, 9], "four at once: 5 to 10");
    for delivery in burst {
        let have = stream.arrives(delivery);
        assert_eq!(have, Seq(10), "it passes over what it holds");
        stream.courier.have(stream.now, channel, stream.acme.epoch, have).unwrap();
        stream.acme.acknowledged(stream.globex.id, channel, have.0).unwrap();
        stream.follow();
    }
    assert!(stream.acme.home.owed().is_empty() && stream.courier.is_idle());

    // The same by an answer to something newer: the courier goes back by itself, and once.
    (stream.globex.epoch, stream.globex.store) = backup;
    stream.globex.crash();
    stream.write(1);
    let answers = stream.deliver();
    assert_eq!(answers, [(channel, 11, 0), (channel, 1, 4), (channel, 5, 8), (channel, 9, 11)]);
    assert!(stream.acme.home.owed().is_empty() && stream.courier.is_idle());
}

#[test]
fn what_is_sound_arrives_before_a_stamp_that_is_too_far_ahead() {
    let mut s = Stream::new(limits());
    let carol = s.globex.user("carol");
    s.acme.send("alice", &carol, "one");
    s.acme.send("alice", &carol, "two");
    s.acme.now += 10 * MINUTE_MS; // a clock that jumps
    s.acme.send("alice", &carol, "three");
    let channel = s.acme.send("alice", &carol, "four").channel;
    s.follow();
    assert_eq!(s.deliver(), [(channel, 1, 0)], "it is held back whole");
    assert!(s.globex.store.channels.is_empty());
    let mut waits = 0;
    while s.globex.words(channel).len() < 2 {
        waits += 1;
        assert!(waits < 5, "{:?}", s.globex.words(channel));
        s.now = s.courier.wake_at().expect("it is tried again");
        s.courier.wake(s.now).unwrap();
        s.deliver();
    }
    assert_eq!(s.globex.words(channel), ["one", "two"]);
    // It is not asked without end, and nobody is at fault meanwhile.
    for _ in 0..20 {
        s.now = s.courier.wake_at().unwrap();
        s.courier.wake(s.now).unwrap();
        assert!(s.deliver().len() <= 2);
    }
    assert!(s.now >= 20 * limits().held_back_ms);
    s.globex.now += 10 * MINUTE_MS;
    s.now = s.courier.wake_at().unwrap();
    s.courier.wake(s.now).unwrap();
    s.deliver();
    assert_eq!(s.globex.words(channel), ["one", "two", "three", "four"]);
    assert!(s.courier.is_idle() && s.acme.home.owed().is_empty());
}

#[test]
fn a_channel_that_is_held_back_holds_no_other_back() {
    let mut s = Stream::new(limits());
    let channel = s.write(1);
    s.burst();
    s.courier.have(0, channel, s.acme.epoch, Seq(0)).unwrap();
    assert!(s.burst().is_empty());
    let dave = s.globex.user("dave");
    s.acme.send("alice", &dave, "hi");
    s.follow();
    assert_eq!(s.burst().len(), 1);
    // More of the same channel waits as well.
    s.write(1);
    assert!(s.burst().is_empty());
}

#[test]
fn a_peer_that_answers_nothing_is_at_fault() {
    let mut s = Stream::new(limits());
    let channel = s.write(8);
    s.now = 5_000;
    assert_eq!(s.courier.wake_at(), None, "nothing was sent yet");
    s.burst();
    let at = s.courier.wake_at().unwrap();
    assert_eq!(at, 5_000 + limits().answer_ms);
    s.courier.wake(at - 1).unwrap();
    // An answer gives it as long again.
    s.courier.have(at - 1, channel, s.acme.epoch, Seq(4)).unwrap();
    s.courier.wake(at).unwrap();
    // What is no answer to anything does not.
    let elsewhere = ChannelId(uuid::Uuid::from_u128(9));
    s.courier.have(at + 5, elsewhere, s.acme.epoch, Seq(1)).unwrap_err();
    s.courier.have(at + 5, channel, Epoch(1), Seq(1)).unwrap_err();
    s.courier.marks_taken(at + 5, 0).unwrap();
    let late = at - 1 + limits().answer_ms;
    assert_eq!(s.courier.wake_at(), Some(late));
    assert_eq!(s.courier.wake(late).unwrap_err().0, "no_acknowledgement");
}

#[test]
fn a_peer_that_takes_no_marks_is_at_fault() {
    let mut s = Stream::new(limits());
    s.courier.mark(ChannelId(uuid::Uuid::from_u128(9)), told("alice", 1));
    s.burst();
    s.courier.mark(ChannelId(uuid::Uuid::from_u128(8)), told("alice", 1));
    s.burst();
    s.courier.marks_taken(30_000, 1).unwrap();
    // Those it took already are no answer.
    s.courier.marks_taken(80_000, 1).unwrap();
    assert_eq!(s.courier.wake(90_000).unwrap_err().0, "no_acknowledgement");
}

#[test]
fn a_peer_that_acknowledges_what_was_not_sent_is_at_fault() {
    let mut s = Stream::new(limits());
    let channel = s.write(1);
    let epoch = s.acme.epoch;
    // Before anything was sent.
    assert_eq!(s.courier.have(0, channel, epoch, Seq(0)).unwrap_err().0, "ack_unasked");
    s.burst();
    // More than was ever written: only the home knows, for what is on disk may have been fetched before the
    // courier has heard of it.
    s.courier.have(0, channel, epoch, Seq(2)).unwrap();
    assert_eq!(s.acme.acknowledged(s.globex.id, channel, 2).unwrap_err().0, "ack_ahead");
    assert!(s.courier.is_idle());
    let mut s = Stream::new(limits());
    s.write(1);
    s.burst();
    s.courier.have(0, channel, epoch, Seq(0)).unwrap();
    // Twice.
    assert_eq!(s.courier.have(0, channel, epoch, Seq(0)).unwrap_err().0, "ack_unasked");
    assert_eq!(s.courier.marks_taken(0, 1).unwrap_err().0, "ack_ahead");
    s.courier.mark(channel, told("alice", 1));
    s.burst();
    assert_eq!(s.courier.marks_taken(0, 2).unwrap_err().0, "ack_ahead");
}

#[test]
fn marks_are_numbered_and_the_newest_go() {
    let mut s = Stream::new(limits());
    let (one, two) = (ChannelId(uuid::Uuid::from_u128(1)), ChannelId(uuid::Uuid::from_u128(2)));
    s.courier.mark(one, told("alice", 1));
    s.courier.mark(two, told("alice", 5));
    s.courier.mark(one, told("alice", 2));
    let sent: Vec<(u64, ChannelId, u64)> = s
        .burst()
        .into_iter()
        .map(|delivery| match delivery {
            Delivery::Marks { number, channel, marks } => (number, channel, marks[0].read.0),
            Delivery::Range { .. }
            | Delivery::Pruned { .. }
            | Delivery::Roster(_)
            | Delivery::Letter { .. }
            | Delivery::Pull => {
                panic!("{delivery:?}")
            }
        })
        .collect();
    assert_eq!(sent, [(1, one, 2), (2, two, 5)]);
    // One number acknowledges all below it.
    let taken = s.courier.marks_taken(0, 2).unwrap();
    assert_eq!(taken, [(one, told("alice", 2)), (two, told("alice", 5))]);
    assert!(s.courier.marks_taken(0, 2).unwrap().is_empty() && s.courier.is_idle());
}

#[test]
fn marks_under_way_are_bounded() {
    let mut s = Stream::new(limits());
    for n in 0..3_000 {
        s.courier.mark(ChannelId(uuid::Uuid::from_u128(n)), told("alice", 1));
    }
    let mut sent = 0;
    loop {
        let burst = s.burst().len();
        assert!(burst <= limits().burst);
        if burst == 0 {
            break;
        }
        sent += burst;
    }
    assert_eq!(sent, 1_024);
    s.courier.marks_taken(0, 24).unwrap();
    assert_eq!(s.burst().len(), 24);
}

#[test]
fn what_is_refused_is_let_go_and_its_answers_mean_nothing() {
    let mut s = Stream::new(CourierLimits { window_bytes: 600, ..limits() });
    let channel = s.write(20);
    s.courier.mark(channel, told("alice", 1));
    assert_eq!(s.burst().len(), 2);
    s.courier.marks_taken(0, 1).unwrap();
    s.courier.refused(0, channel).unwrap();
    assert!(s.courier.is_idle() && s.burst().is_empty());
    s.courier.have(0, channel, s.acme.epoch, Seq(3)).unwrap_err();
    // The window is open again.
    let dave = s.globex.user("dave");
    s.acme.send("alice", &dave, "hi");
    s.follow();
    assert_eq!(s.deliver().len(), 1);
}

/// Who answers what it was not asked is no slow home: it is neither heard nor waited for.
#[test]
fn answers_that_nobody_asked_for_are_a_fault_and_no_sign_of_life() {
    let unasked = |answered: Result<(), homing_core::PeerFault>| {
        assert_eq!(answered.unwrap_err().0, "ack_unasked");
    };
    let mut s = Stream::new(limits());
    let channel = s.write(4);
    let (epoch, other) = (s.acme.epoch, ChannelId(uuid::Uuid::from_bytes([9; 16])));
    // Owed, and not sent yet.
    unasked(s.courier.refused(0, channel));
    assert_eq!(s.burst().len(), 1);
    s.now = MINUTE_MS - 1;
    for _ in 0..3 {
        unasked(s.courier.refused(s.now, other));
        unasked(s.courier.have(s.now, other, epoch, Seq(4)));
        unasked(s.courier.have(s.now, channel, Epoch(epoch.0 + 1), Seq(4)));
    }
    assert_eq!(s.courier.wake_at(), Some(MINUTE_MS), "nothing was answered");
    assert_eq!(s.courier.wake(MINUTE_MS).unwrap_err().0, "no_acknowledgement");
    s.courier.have(s.now, channel, epoch, Seq(4)).unwrap();
    assert!(s.courier.is_idle());
    unasked(s.courier.have(s.now, channel, epoch, Seq(4)));
    unasked(s.courier.refused(s.now, channel));
    // Marks may be refused as well, once.
    s.courier.mark(channel, told("alice", 1));
    assert_eq!(s.burst().len(), 1);
    s.courier.refused(s.now, channel).unwrap();
    assert!(s.courier.is_idle());
    unasked(s.courier.refused(s.now, channel));
}

#[test]
fn answers_to_what_was_sent_before_a_chain_was_left_are_not_taken_for_others() {
    let mut s = Stream::new(limits());
    let channel = s.write(8);
    assert_eq!(s.burst().len(), 2);
    // The peer turns out to be in another life, then in this one after all, further back: both ranges are still on
    // their way.
    let old = s.acme.epoch;
    let state = s.acme.state(channel);
    let parties = [state.members[0].user.clone(), state.members[1].user.clone()];
    let owed = |epoch| OwedChannel {
        parties: parties.clone(),
        epoch,
        acked: Seq(0),
        upto: Seq(8),
        begins: Seq(0),
        roster: 0,
    };
    s.courier.owe(channel, owed(Epoch(old.0 + 1)));
    s.courier.owe(channel, owed(old));
    let again = s.burst();
    assert_eq!(again.iter().map(|d| name(d).2).collect::<Vec<_>>(), [Seq(1), Seq(5)]);
    for have in [4, 8, 8, 8] {
        assert!(!s.courier.is_idle());
        s.courier.have(0, channel, old, Seq(have)).unwrap();
    }
    assert!(s.courier.is_idle() && s.burst().is_empty());
}

#[test]
fn an_earlier_life_is_brought_to_its_end_before_the_next_begins() {
    let mut s = Stream::new(limits());
    let channel = s.write(6);
    let old = s.acme.epoch;
    let backup = s.acme.store.clone();
    s.acme.restore(backup);
    s.reopen(limits());
    s.write(3);
    let answers = s.deliver();
    assert_eq!(answers, [(channel, 1, 4), (channel, 5, 6), (channel, 1, 3)]);
    assert_eq!(s.globex.words(channel), ["1", "2", "3", "4", "5", "6", "1", "2", "3"]);
    assert!(s.acme.home.owed().is_empty());
    let state = s.acme.state(channel);
    let cursor = state.cursor(&s.globex.id).unwrap();
    assert_eq!((cursor.epoch, cursor.acked), (s.acme.epoch, Seq(3)));
    // The peer is behind in the earlier one: it lost its disk. It gets all of both again.
    let (store, by) = (&s.acme.store, s.globex.id);
    s.acme.home.acknowledged(store, by, channel, old, Seq(4)).unwrap().unwrap();
    s.acme.settle();
    let mut lost = Node::new(2, accepting(), &["carol", "dave"]);
    std::mem::swap(&mut lost, &mut s.globex);
    s.reopen(limits());
    let firsts: Vec<(Epoch, u64)> = s.burst().iter().map(|d| (name(d).1, name(d).2.0)).collect();
    assert_eq!(firsts, [(old, 5)]);
    s.courier.have(0, channel, old, Seq(0)).unwrap();
    s.acme.home.acknowledged(&s.acme.store, by, channel, old, Seq(0)).unwrap().unwrap();
    s.follow();
    s.deliver();
    assert_eq!(s.globex.words(channel).len(), 9);
    assert!(s.acme.home.owed().is_empty());
    // Of the present life nobody is behind because of an earlier one that he has whole; and he may have more of the
    // earlier one than came back.
    s.acme.home.acknowledged(&s.acme.store, by, channel, old, Seq(6)).unwrap().unwrap();
    s.acme.home.acknowledged(&s.acme.store, by, channel, old, Seq(60)).unwrap().unwrap();
    assert!(s.acme.home.owed().is_empty());
}

#[test]
fn what_retention_removed_is_told_and_the_rest_follows() {
    let mut s = Stream::new(limits());
    let channel = s.write(6);
    s.acme.now += 1_000;
    s.globex.now = s.acme.now;
    assert!(!s.acme.home.prune(&s.acme.store, s.acme.now, channel, s.acme.now).unwrap().more);
    s.write(2);
    s.reopen(limits());
    let burst = s.burst();
    let [Delivery::Pruned { seq: Seq(6), hash, .. }, Delivery::Range { events, .. }] = &burst[..]
    else {
        panic!("{burst:?}")
    };
    assert_eq!((*hash, events.len()), (events[0].event.header.prev, 2));
    s.reopen(limits());
    assert_eq!(s.deliver(), [(channel, 6, 6), (channel, 7, 8)]);
    assert!(s.courier.is_idle() && s.acme.home.owed().is_empty());
    let log: Vec<String> = s.globex.store.logs[&channel]
        .values()
        .map(|e| String::from_utf8(e.event.body.to_vec()).unwrap())
        .collect();
    assert_eq!(log[0], r#"{"type":"notice","notice":"gap","missing":6}"#);
    assert_eq!(log.len(), 3);
    assert_eq!(s.acme.store.by_order(channel), s.globex.store.by_order(channel));
    // The chain goes on, and is proven behind the gap.
    s.write(1);
    assert_eq!(s.deliver(), [(channel, 9, 9)]);
}

#[test]
fn all_of_it_may_be_gone_before_it_was_sent() {
    let mut s = Stream::new(limits());
    let channel = s.write(3);
    s.acme.now += 1_000;
    s.acme.home.prune(&s.acme.store, s.acme.now, channel, s.acme.now).unwrap();
    s.follow();
    assert_eq!(s.deliver(), [(channel, 3, 3)]);
    assert!(s.courier.is_idle() && s.acme.home.owed().is_empty());
}

#[test]
fn an_unreachable_peers_many_channels_stay_cheap() {
    const CHANNELS: u64 = 5_000;
    let mut s = Stream::new(CourierLimits::default());
    let mut acme = Node::new(1, accepting(), &["alice"]);
    acme.meets(s.globex.id, false);
    for n in 0..CHANNELS {
        let with = homing_wire::UserRef::new(s.globex.id, local(&format!("u{n}")));
        s.globex.register(&format!("u{n}"));
        acme.send("alice", &with, "hi");
    }
    s.globex.settle();
    s.acme = acme;
    s.follow();
    // Written to again and again it is an entry a channel still.
    for n in 0..CHANNELS {
        let with = homing_wire::UserRef::new(s.globex.id, local(&format!("u{n}")));
        s.acme.send("alice", &with, "hi");
    }
    s.follow();
    let burst = s.burst();
    assert_eq!(burst.len(), CourierLimits::default().burst, "one signature proves so many");
    // The peer has them all already, though that is not known here.
    let epoch = s.acme.epoch;
    let mut open: Vec<ChannelId> = burst.iter().map(|d| name(d).0).collect();
    let mut done = 0;
    while !open.is_empty() {
        for channel in std::mem::take(&mut open) {
            s.courier.have(0, channel, epoch, Seq(2)).unwrap();
            done += 1;
        }
        open = s.burst().iter().map(|d| name(d).0).collect();
    }
    assert_eq!(done, CHANNELS);
    assert!(s.courier.is_idle());
    // And refused, each.
    s.reopen(CourierLimits::default());
    let all: Vec<ChannelId> = s.acme.home.owed()[&s.globex.id].keys().copied().collect();
    assert_eq!(all.len() as u64, CHANNELS);
    let mut refused = 0;
    loop {
        let burst = s.burst();
        if burst.is_empty() {
            break;
        }
        for channel in burst.iter().map(|d| name(d).0) {
            s.courier.refused(0, channel).unwrap();
            refused += 1;
        }
    }
    assert_eq!(refused, CHANNELS);
    assert!(s.courier.is_idle());
}

/// Others write between: what is read of the log for nothing does not end a range wrongly.
#[test]
fn a_long_answer_of_others_between_is_passed_over() {
    let mut s = Stream::new(limits());
    let (alice, carol) = (s.acme.user("alice"), s.globex.user("carol"));
    let channel = s.write(1);
    s.deliver();
    for n in 0..20 {
        s.globex.send("carol", &alice, &n.to_string());
    }
    s.globex.deliver(&mut s.acme);
    s.acme.send("alice", &carol, "after all that");
    s.follow();
    assert_eq!(s.deliver(), [(channel, 2, 2)]);
    assert_eq!(s.acme.state(channel).head, Pos(22));
}

/// Letters that cannot be taken yet come again, all of them, in order.
#[test]
fn letters_that_are_held_come_again_in_order() {
    let limits = CourierLimits::default();
    let store = TestStore::default();
    let numbers = |burst: Vec<Delivery>| -> Vec<u64> {
        let number = |delivery: &Delivery| match delivery {
            Delivery::Letter { number, .. } => Some(*number),
            Delivery::Range { .. }
            | Delivery::Pruned { .. }
            | Delivery::Marks { .. }
            | Delivery::Roster(_)
            | Delivery::Pull => None,
        };
        burst.iter().filter_map(number).collect()
    };
    // Whether these are the first ever, or others were taken on an earlier stream.
    for first in [1, 7] {
        let mut courier = Courier::new(HomeId([1; 32]), limits);
        let all: Vec<u64> = (first..first + 3).collect();
        // One was posted before the stream was open, and is given to it before those that wait.
        courier.letter(first + 2, first + 1, Bytes::from_static(b"letter"));
        assert!(
            courier.burst(&store, 10).unwrap().is_empty(),
            "the two before it are still to come"
        );
        for (after, number) in [0].iter().chain(&all).zip(&all) {
            courier.letter(*number, *after, Bytes::from_static(b"letter"));
        }
        assert_eq!(numbers(courier.burst(&store, 10).unwrap()), all);
        // Each is answered, and each answer names the first that could not be taken.
        (0..3).for_each(|_| courier.letters_held(20, first - 1).unwrap());
        courier.letter(first + 3, first + 2, Bytes::from_static(b"letter"));
        assert!(courier.burst(&store, 20).unwrap().is_empty(), "not at once");
        let at = courier.wake_at().unwrap();
        assert_eq!(at, 20 + limits.held_back_ms);
        courier.wake(at).unwrap();
        let again: Vec<u64> = (first..first + 4).collect();
        assert_eq!(numbers(courier.burst(&store, at).unwrap()), again);
        // An answer to what was sent at first meets what is sent again, and which is taken.
        courier.letters_held(at, first - 1).unwrap();
        assert_eq!(courier.letters_taken(at, first + 4), Err(PeerFault("ack_ahead")));
        courier.letters_taken(at, first + 1).unwrap();
        courier.letters_held(at, first + 1).unwrap();
        courier.letters_held(at, first).unwrap();
        let at = courier.wake_at().unwrap();
        courier.wake(at).unwrap();
        assert_eq!(numbers(courier.burst(&store, at).unwrap()), again[2..]);
        courier.letters_taken(at, first + 3).unwrap();
        assert!(courier.is_idle());
        assert_eq!(courier.letters_held(at, first + 4), Err(PeerFault("ack_ahead")));
    }
}
