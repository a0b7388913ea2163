//! An owner home that signs two histories of a group: homes that hold different ones do not wear each other out, and what
//! all can follow heals it at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use homing_core::{
    Courier, CourierLimits, Delivery, Effect, OwedChannel, PeerFault, RangeIn, Sealer,
};
use homing_wire::{ChannelId, Epoch, Event, HomeId, Letter, Roster, SignedRoster, UserRef};

use crate::group_world::{World, group_of};
use crate::node::{Seal, proven};

const HOUR_MS: u64 = 3_600_000;

/// The homes of a world with the streams between them, and a clock that is turned by hand.
struct Streams {
    world: World,
    couriers: BTreeMap<(usize, usize), Courier>,
    now: u64,
    /// Ranges of groups and rosters that went, by who sent them to whom.
    sent: BTreeMap<(usize, usize), Sent>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sent {
    ranges: usize,
    rosters: usize,
}

impl Streams {
    fn new(world: World) -> Self {
        let homes = world.nodes.len();
        let mut streams = Self { world, couriers: BTreeMap::new(), now: 0, sent: BTreeMap::new() };
        for (a, b) in (0..homes).flat_map(|a| (0..homes).map(move |b| (a, b))) {
            if a != b {
                streams.open(a, b);
            }
        }
        streams.run();
        streams
    }

    /// A stream has just opened.
    fn open(&mut self, from: usize, to: usize) {
        let peer = self.world.nodes[to].id;
        let node = &mut self.world.nodes[from];
        self.couriers.insert((from, to), Courier::new(node.id, CourierLimits::default()));
        node.home.resume(&node.store, peer).unwrap();
    }

    /// Everything goes that may go without time passing.
    fn run(&mut self) {
        for _ in 0..1_000 {
            self.collect();
            let mut bursts = Vec::new();
            for ((from, to), courier) in &mut self.couriers {
                let store = &self.world.nodes[*from].store;
                let burst = courier.burst(store, self.now).unwrap();
                bursts.extend(burst.into_iter().map(|delivery| (*from, *to, delivery)));
            }
            if bursts.is_empty() {
                return;
            }
            bursts.into_iter().for_each(|(from, to, delivery)| self.deliver(from, to, delivery));
        }
        panic!("it does not come to rest");
    }

    /// Commits what was decided, and gives the couriers what follows.
    fn collect(&mut self) {
        for from in 0..self.world.nodes.len() {
            for effect in self.world.nodes[from].settle() {
                let peer = match &effect {
                    Effect::Owed { peer, .. }
                    | Effect::Roster { peer, .. }
                    | Effect::Letter { peer, .. } => *peer,
                    Effect::Message { .. }
                    | Effect::Rejected { .. }
                    | Effect::Changed { .. }
                    | Effect::Marked { .. }
                    | Effect::Channel { .. }
                    | Effect::ChannelOf { .. }
                    | Effect::Pull { .. }
                    | Effect::Marks { .. }
                    | Effect::Settled { .. } => continue,
                };
                let to = self.world.at(peer);
                let Some(courier) = self.couriers.get_mut(&(from, to)) else { continue };
                if let Effect::Owed {
                    channel, parties, epoch, acked, upto, begins, roster, ..
                } = effect
                {
                    let owed = OwedChannel { parties, epoch, acked, upto, begins, roster };
                    courier.owe(channel, owed);
                } else if let Effect::Roster { signed, .. } = effect {
                    courier.roster(signed);
                } else if let Effect::Letter { number, after, letter, .. } = effect {
                    courier.letter(number, after, letter);
                }
            }
        }
    }

    /// So much time passes.
    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        self.run();
        while let Some(at) = self.couriers.values().filter_map(Courier::wake_at).min()
            && at <= end
        {
            self.now = at.max(self.now);
            for courier in self.couriers.values_mut() {
                courier.wake(self.now).unwrap();
            }
            self.run();
        }
        self.now = end;
    }

    fn deliver(&mut self, from: usize, to: usize, delivery: Delivery) {
        let (sender, receiver) = (self.world.nodes[from].id, self.world.nodes[to].id);
        let head = delivery.head();
        let sent = self.sent.entry((from, to)).or_default();
        let now = self.now;
        match delivery {
            Delivery::Range { channel, parties, epoch, events, begins } => {
                sent.ranges += usize::from(channel.is_group());
                let parsed = |e: &Event| Event::from_bytes(e.header_bytes.clone(), e.body.clone());
                let range = RangeIn {
                    channel,
                    parties,
                    origin: sender,
                    epoch,
                    first: events[0].event.header.seq,
                    events: events.iter().map(|e| parsed(&e.event)).collect(),
                    end: head.map(|(epoch, head)| proven(sender, epoch, head)),
                    begins,
                };
                let reply = self.world.nodes[to].receive_as_is(sender, &range).unwrap();
                self.collect();
                let node = &mut self.world.nodes[from];
                let courier = self.couriers.get_mut(&(from, to)).unwrap();
                assert_eq!(reply.refused, None);
                if reply.need_roster {
                    courier.needs_roster(now, channel, epoch, reply.have).unwrap();
                    node.home.roster_wanted(&node.store, receiver, channel).unwrap();
                    return;
                }
                courier.have(now, channel, epoch, reply.have).unwrap();
                let (home, store) = (&mut node.home, &node.store);
                home.acknowledged(store, receiver, channel, epoch, reply.have).unwrap().unwrap();
            }
            Delivery::Roster(signed) => {
                sent.rosters += 1;
                let (group, version) = (signed.roster().group, signed.roster().version);
                self.bring(to, sender, signed.bytes().clone(), signed.roster().owner).unwrap();
                self.collect();
                let courier = self.couriers.get_mut(&(from, to)).unwrap();
                courier.roster_taken(now, group, version).unwrap();
                let node = &mut self.world.nodes[from];
                node.home.roster_taken(&node.store, receiver, group, version).unwrap().unwrap();
            }
            Delivery::Letter { number, letter } => {
                let letter = Letter::decode(&letter).unwrap();
                let name = (self.world.nodes[from].epoch, number);
                let seal = Seal(receiver);
                let sealer = Sealer { key: &seal, record: Bytes::new() };
                let node = &mut self.world.nodes[to];
                let (home, store) = (&mut node.home, &node.store);
                let reply =
                    home.receive_letter(store, node.now, &sealer, sender, name, Some(&letter));
                let upto = reply.unwrap().unwrap().upto;
                self.collect();
                self.couriers.get_mut(&(from, to)).unwrap().letters_taken(now, upto).unwrap();
                self.world.nodes[from].home.letters_taken(receiver, upto).unwrap();
            }
            Delivery::Pruned { .. } | Delivery::Marks { .. } | Delivery::Pull => {
                panic!("{delivery:?}")
            }
        }
    }

    /// A roster comes to a home.
    fn bring(
        &mut self,
        to: usize,
        by: HomeId,
        bytes: Bytes,
        owner: HomeId,
    ) -> Result<(), PeerFault> {
        let signed = SignedRoster::verify_with(bytes, owner, &Seal(owner)).unwrap();
        let node = &mut self.world.nodes[to];
        node.home.receive_roster(&node.store, node.now, by, signed).unwrap()
    }

    /// The owner home gives one home a roster that it has signed.
    fn signs(&mut self, to: usize, roster: &Roster) {
        let owner = roster.owner;
        let bytes = roster.clone().sign(&Seal(owner), Bytes::new()).bytes().clone();
        self.bring(to, owner, bytes, owner).unwrap();
    }

    fn sent(&mut self, from: usize, to: usize) -> Sent {
        std::mem::take(self.sent.entry((from, to)).or_default())
    }
}

fn after(held: &Roster, name: &str) -> Roster {
    Roster { version: held.version + 1, prev: held.hash(), name: name.into(), ..held.clone() }
}

/// What all homes follow, whatever they hold: the first roster of the owner home's next life.
fn anew(held: &Roster) -> Roster {
    let epoch = Epoch(held.epoch.0 + 10_000);
    Roster { epoch, version: epoch.0, ..after(held, "friends again") }
}

/// The second home and the third hold different rosters of one version, and the second one more that follows on its own:
/// what it writes names that. Their owner home has gone away.
fn forked() -> (Streams, ChannelId, Vec<UserRef>, Roster) {
    let (world, group, anns) = group_of(3);
    let mut streams = Streams::new(world);
    let held = streams.world.roster(0, group);
    let one = after(&held, "one");
    streams.signs(1, &one);
    streams.signs(1, &after(&one, "one more"));
    streams.signs(2, &after(&held, "another"));
    for other in [1, 2] {
        streams.couriers.remove(&(0, other));
        streams.couriers.remove(&(other, 0));
    }
    streams.run();
    streams.sent.clear();
    streams.world.say(&anns[1], group, "hello").unwrap();
    streams.run();
    (streams, group, anns, held)
}

#[test]
fn homes_of_a_forked_group_do_not_wear_each_other_out() {
    let (mut streams, group, anns, _) = forked();
    streams.pass(HOUR_MS);
    assert!(streams.world.words(&anns[2], group).is_empty(), "it cannot be judged there");
    let first = streams.sent(1, 2);
    assert_eq!(first.rosters, 1, "it is no better the second time");
    assert!(first.ranges <= 20, "{first:?} in an hour");
    // One event at a time, and no more often with every message that comes to it.
    for n in 0..50 {
        streams.world.say(&anns[1], group, &format!("{n}")).unwrap();
        streams.run();
    }
    assert_eq!(streams.sent(1, 2), Sent::default());
    streams.pass(HOUR_MS);
    let later = streams.sent(1, 2);
    assert_eq!((later.ranges, later.rosters), (12, 0), "every five minutes");
    // What the third writes the second can judge; and between the two everything else goes on.
    streams.world.say(&anns[2], group, "me, too").unwrap();
    let (bea, cat) = (streams.world.user(1, "bea"), streams.world.user(2, "cat"));
    streams.world.nodes[1].send("bea", &cat, "what is it with the group?");
    streams.run();
    assert!(streams.world.words(&anns[1], group).contains(&"me, too".to_owned()));
    let chat = ChannelId::chat(&bea, &cat);
    assert_eq!(streams.world.nodes[2].words(chat), ["what is it with the group?"]);
}

#[test]
fn a_new_stream_of_a_forked_group_begins_anew() {
    let (mut streams, _, _, _) = forked();
    streams.pass(HOUR_MS);
    streams.sent.clear();
    streams.open(1, 2);
    streams.pass(30_000);
    let sent = streams.sent(1, 2);
    assert_eq!((sent.ranges, sent.rosters), (4, 1), "at once, with the roster, after 5 s and 10 s");
}

/// Whoever is told first, the others have not to wait for it.
#[test]
fn what_all_can_follow_heals_a_forked_group_at_once() {
    for told in [&[1, 2][..], &[2, 1], &[1], &[2]] {
        let (mut streams, group, anns, held) = forked();
        streams.pass(HOUR_MS);
        for home in told {
            streams.signs(*home, &anew(&held));
            streams.run();
        }
        for home in [1, 2] {
            assert_eq!(streams.world.roster(home, group), anew(&held), "{told:?}: home {home}");
            assert_eq!(streams.world.words(&anns[home], group), ["hello"], "{told:?}: home {home}");
        }
        streams.world.say(&anns[1], group, "again").unwrap();
        streams.run();
        assert_eq!(streams.world.words(&anns[2], group), ["hello", "again"], "{told:?}");
    }
}
