//! Three homes, a network that delays, cuts and repeats, crashes, restored backups and lies, against what everybody
//! may expect: every answered message at both homes exactly once, in its origin's order and listed alike; marks
//! that arrive and never fall; nothing owed when all is well again. What a disk took along that was restored from a
//! backup comes back as far as the other home had it. The store checks every commit besides.

// Named, so that the fuzz target finds them as well.
#[path = "model/check.rs"]
mod check;
#[path = "model/net.rs"]
mod net;
#[path = "model/restore.rs"]
mod restore;

use std::collections::{BTreeMap, BTreeSet};

use homing_core::{Courier, Effect, Mark, PeerFault, PeerMark, Policy, RangeIn, RangeReply};
use homing_core::{Question, SendCommand, SentReply};
use homing_wire::{ChannelId, HomeId, MessageId, OpId, Seq, UserRef};
use proptest::prelude::*;
use uuid::Uuid;

use crate::folding;
use crate::node::{Node, accepting, local, v7};
use crate::store::TestStore;
use net::{Frame, Lane, Net, RepairRun};

const HOMES: usize = 3;
const USERS: [&str; 2] = ["ann", "bea"];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Deed {
    /// A user writes to a user. `id`: none, or a UUIDv7 made so many ms off the true time, or no UUIDv7.
    Send {
        from: usize,
        to: usize,
        id: Option<i64>,
        op: bool,
    },
    /// A client sends something once more.
    Again {
        which: usize,
    },
    Open {
        from: usize,
        to: usize,
    },
    /// A user has got so far in one of the channels, in hundredths.
    Mark {
        who: usize,
        channel: usize,
        part: u64,
        read: bool,
    },
    /// A user blocks another, or does so no longer.
    Block {
        by: usize,
        whom: usize,
        add: bool,
    },
    /// A user edits, deletes, hides or reacts to a message that the user's home holds; or tries to.
    Change {
        who: usize,
        channel: usize,
        place: usize,
        what: u8,
    },
    Tick {
        home: usize,
    },
    /// The step under way is on disk.
    Commit {
        home: usize,
    },
    /// The next frame of a lane arrives; of questions and answers any.
    Deliver {
        from: usize,
        to: usize,
        lane: Lane,
        place: usize,
    },
    /// For a while all goes as it should.
    Flow {
        frames: usize,
    },
    /// A range or marks arrive that had arrived on an older stream already: nobody is answered.
    Double {
        from: usize,
        to: usize,
        place: usize,
    },
    /// The connection breaks, and all that is on it is lost.
    Cut {
        a: usize,
        b: usize,
    },
    /// `kept`: the step under way was on disk already, and nobody was told.
    Crash {
        home: usize,
        kept: bool,
    },
    /// Time passes; one home's clock is set as well.
    Time {
        ms: u64,
        home: usize,
        skew: i64,
    },
    /// A home gives another what it has of a third, as its own or as the third's.
    Forge {
        by: usize,
        to: usize,
        of: usize,
        place: usize,
        own: bool,
    },
    /// A home's disk is copied.
    Backup {
        home: usize,
    },
    /// A home's disk is lost: it goes on from the copy, in a new life.
    Restore {
        home: usize,
    },
    /// A home changes what it gives back next to a home that has lost it.
    Lie {
        home: usize,
        how: u8,
    },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let home = 0..HOMES;
    // Two of them write most of what is written.
    let user = prop_oneof![1 => 0..HOMES * USERS.len(), 1 => Just(0), 1 => Just(2)];
    let (user_again, any_user) = (user.clone(), user.clone());
    let id = prop_oneof![
        2 => Just(None),
        4 => (-100_000_i64..100_000).prop_map(Some),
        1 => Just(Some(i64::MIN)),
    ];
    let lanes = prop_oneof![Just(Lane::Relay), Just(Lane::Replies), Just(Lane::Queries)];
    let deed = prop_oneof![
        20 => (user.clone(), user.clone(), id, prop::bool::weighted(0.2))
            .prop_map(|(from, to, id, op)| Deed::Send { from, to, id, op }),
        8 => (0_usize..1_000).prop_map(|which| Deed::Again { which }),
        1 => (user.clone(), user.clone()).prop_map(|(from, to)| Deed::Open { from, to }),
        10 => (user, 0_usize..100, 0_u64..=100, any::<bool>())
            .prop_map(|(who, channel, part, read)| Deed::Mark { who, channel, part, read }),
        2 => (user_again, any_user, any::<bool>())
            .prop_map(|(by, whom, add)| Deed::Block { by, whom, add }),
        12 => (0..HOMES * USERS.len(), 0_usize..100, 0_usize..12, any::<u8>())
            .prop_map(|(who, channel, place, what)| Deed::Change { who, channel, place, what }),
        6 => home.clone().prop_map(|home| Deed::Tick { home }),
        20 => home.clone().prop_map(|home| Deed::Commit { home }),
        50 => (home.clone(), home.clone(), lanes, 0_usize..3)
            .prop_map(|(from, to, lane, place)| Deed::Deliver { from, to, lane, place }),
        6 => (1_usize..40).prop_map(|frames| Deed::Flow { frames }),
        3 => (home.clone(), home.clone(), 0_usize..3)
            .prop_map(|(from, to, place)| Deed::Double { from, to, place }),
        2 => (home.clone(), home.clone()).prop_map(|(a, b)| Deed::Cut { a, b }),
        3 => (home.clone(), any::<bool>()).prop_map(|(home, kept)| Deed::Crash { home, kept }),
        4 => (0_u64..5_000, home.clone(), -20_000_i64..20_000)
            .prop_map(|(ms, home, skew)| Deed::Time { ms, home, skew }),
        2 => (home.clone(), home.clone(), home.clone(), 0_usize..4, any::<bool>())
            .prop_map(|(by, to, of, place, own)| Deed::Forge { by, to, of, place, own }),
        2 => home.clone().prop_map(|home| Deed::Backup { home }),
        2 => home.clone().prop_map(|home| Deed::Restore { home }),
        4 => (home, 0_u8..4).prop_map(|(home, how)| Deed::Lie { home, how }),
    ];
    prop::collection::vec(deed, 1..250)
}

/// What follows from a step once it is on disk.
enum Output {
    Effect(Effect),
    /// A client is answered about a command.
    Answer(usize, SentReply),
    /// A frame for a peer, on the connection on which it was caused.
    Frame(usize, u64, Frame),
    /// A peer's question, to be answered from disk: once all is there that was taken of the peer before.
    Question(usize, u64, Question),
}

/// A home in the world, driven like the node's hub drives one.
struct Member {
    node: Node,
    outputs: Vec<Output>,
    under_way: Option<(homing_core::Step, Vec<Output>)>,
    couriers: BTreeMap<usize, Courier>,
    repairs: BTreeMap<usize, RepairRun>,
    backup: TestStore,
    /// It goes on from a backup: what its users had read since is not known to it.
    restored: bool,
    /// What it gives back next is changed like that.
    lie: Option<u8>,
    /// Marks given out, which never fall.
    told: BTreeMap<(ChannelId, UserRef), Mark>,
    skew: i64,
}

struct World {
    members: Vec<Member>,
    net: Net,
    commands: Vec<(usize, SendCommand)>,
    answers: BTreeMap<usize, SentReply>,
    /// Commands of an earlier life of their home: clients do not repeat those.
    past: BTreeSet<usize>,
    channels: Vec<ChannelId>,
    now: u64,
    /// All is well: from now on nobody is at fault.
    well: bool,
}

impl World {
    fn new() -> Self {
        // Small memories, so that everything that can be forgotten is.
        let policy = Policy {
            channels_cached: 2,
            accounts_cached: 1,
            lists_cached: 1,
            ids_bytes: 2_000,
            pull_after_ms: 20_000,
            ..accepting()
        };
        let members: Vec<Member> = (0..HOMES)
            .map(|n| {
                let node = Node::new(u8::try_from(n).unwrap() + 1, policy.clone(), &USERS);
                Member {
                    outputs: Vec::new(),
                    under_way: None,
                    couriers: BTreeMap::new(),
                    repairs: BTreeMap::new(),
                    // Of a time when it knew nobody.
                    backup: node.store.clone(),
                    restored: false,
                    lie: None,
                    told: BTreeMap::new(),
                    skew: 0,
                    node,
                }
            })
            .collect();
        let now = members[0].node.now;
        let mut world = Self {
            members,
            net: Net::default(),
            commands: Vec::new(),
            answers: BTreeMap::new(),
            past: BTreeSet::new(),
            channels: Vec::new(),
            now,
            well: false,
        };
        world.connect_all();
        world.rest();
        world
    }

    fn user(&self, user: usize) -> UserRef {
        self.members[user / USERS.len()].node.user(USERS[user % USERS.len()])
    }

    fn at(&self, home: HomeId) -> usize {
        usize::from(home.0[0]) - 1
    }

    fn does(&mut self, deed: Deed) {
        match deed {
            Deed::Send { from, to, id, op } => self.write(from, to, id, op),
            Deed::Again { which } => {
                let which = which.checked_rem(self.commands.len());
                if let Some(which) = which.filter(|which| self.repeatable(*which)) {
                    self.send(which);
                }
            }
            Deed::Open { from, to } => {
                if from != to {
                    let with = self.user(to);
                    let home = from / USERS.len();
                    self.members[home].node.open(USERS[from % USERS.len()], &with);
                    self.channel(from, to);
                    self.go_on(home);
                }
            }
            Deed::Mark { who, channel, part, read } => self.marks(who, channel, part, read),
            Deed::Block { by, whom, add } => {
                if by != whom {
                    let other = self.user(whom);
                    let home = by / USERS.len();
                    let list = if add { Node::block } else { Node::unblock };
                    list(&mut self.members[home].node, USERS[by % USERS.len()], &other);
                    self.go_on(home);
                }
            }
            Deed::Change { who, channel, place, what } => self.changes(who, channel, place, what),
            Deed::Tick { home } => self.tick(home),
            Deed::Commit { home } => self.commit(home),
            Deed::Deliver { from, to, lane, place } => self.deliver(from, to, lane, place),
            Deed::Flow { frames } => {
                self.flows(frames);
            }
            Deed::Double { from, to, place } => self.double(from, to, place),
            Deed::Cut { a, b } => self.connect(a, b),
            Deed::Crash { home, kept } => self.crash(home, kept),
            Deed::Time { ms, home, skew } => {
                self.now += ms;
                self.members[home].skew = skew;
                for member in &mut self.members {
                    member.node.now = self.now.checked_add_signed(member.skew).unwrap();
                }
            }
            Deed::Forge { by, to, of, place, own } => self.forge(by, to, of, place, own),
            Deed::Backup { home } => {
                self.members[home].backup = self.members[home].node.store.clone();
            }
            Deed::Restore { home } => self.restore(home),
            Deed::Lie { home, how } => self.members[home].lie = Some(how),
        }
    }

    fn channel(&mut self, from: usize, to: usize) {
        let id = ChannelId::chat(&self.user(from), &self.user(to));
        if !self.channels.contains(&id) {
            self.channels.push(id);
        }
    }

    fn write(&mut self, from: usize, to: usize, id: Option<i64>, op: bool) {
        if from == to {
            return;
        }
        let (with, number) = (self.user(to), self.commands.len() as u64);
        self.channel(from, to);
        let home = from / USERS.len();
        let words = format!("{number}");
        let mut command = self.members[home].node.command(USERS[from % USERS.len()], &with, &words);
        command.id = id.map(|off| match self.now.checked_add_signed(off) {
            Some(ms) => v7(ms, number),
            None => MessageId(Uuid::from_u128(u128::from(number))),
        });
        command.op = op.then(|| OpId(Uuid::from_u128(u128::from(number))));
        if number % 5 == 0 {
            command.mentions.push(with);
        }
        self.commands.push((home, command));
        self.send(self.commands.len() - 1);
    }

    /// A client sends, or sends once more because it has seen no answer, or for no reason.
    fn send(&mut self, which: usize) {
        let (home, mut command) = self.commands[which].clone();
        let node = &mut self.members[home].node;
        command.fresh_id = node.fresh_id();
        if command.id.is_none() && command.op.is_none() {
            command.id = self.answers.get(&which).map(|answer| answer.id);
        }
        let reply = node.run(&command).unwrap();
        if let Some(first) = self.answers.get(&which) {
            let first = SentReply { repeated: true, ..first.clone() };
            assert_eq!(reply, first, "a repeat answers as the first did");
        }
        self.collect(home);
        self.members[home].outputs.push(Output::Answer(which, reply));
        self.go_on(home);
    }

    fn changes(&mut self, who: usize, channel: usize, place: usize, what: u8) {
        if self.channels.is_empty() {
            return;
        }
        let (home, user) = (who / USERS.len(), self.user(who));
        let id = self.channels[channel % self.channels.len()];
        let node = &mut self.members[home].node;
        let log = node.store.logs.get(&id).into_iter().flat_map(|log| log.values().rev());
        let mut messages = log.map(|e| &e.event.header).filter(|h| h.kind.is_message());
        let Some(header) = messages.nth(place) else { return };
        let (target, mentions) = (folding::named(header), header.mentions.clone());
        let name = user.local.as_str();
        let result = if what % 8 == 7 {
            node.hide(name, id, &target)
        } else {
            let mut command = node.change(name, id, &target, folding::What::of(what));
            if what & 64 != 0 {
                command.mentions = mentions;
            }
            node.run(&command).map(drop)
        };
        if let Err(refusal) = result {
            let fine = ["not_yours", "message_not_found", "message_deleted", "channel_not_found"];
            assert!(fine.contains(&refusal.reason), "{refusal}");
        }
        self.go_on(home);
    }

    fn marks(&mut self, who: usize, channel: usize, part: u64, read: bool) {
        if self.channels.is_empty() {
            return;
        }
        let (home, user) = (who / USERS.len(), self.user(who));
        let id = self.channels[channel % self.channels.len()];
        let node = &mut self.members[home].node;
        let state = node.home.channel(&node.store, id).unwrap();
        let Some(state) = state.filter(|s| s.member(&user).is_some()) else { return };
        let pos = state.head.0 * part / 100;
        node.mark(user.local.as_str(), id, pos, if read { pos } else { 0 }).unwrap();
        self.go_on(home);
    }

    fn tick(&mut self, home: usize) {
        let node = &mut self.members[home].node;
        node.home.tick(&node.store, node.now).unwrap();
        self.collect(home);
        if self.members[home].under_way.is_none() && self.members[home].node.home.has_step() {
            self.submit(home);
        }
        self.go_on(home);
        self.wake(home);
    }

    fn collect(&mut self, home: usize) {
        let member = &mut self.members[home];
        member.outputs.extend(member.node.home.drain_effects().map(Output::Effect));
    }

    /// What the hub does after every input.
    fn go_on(&mut self, home: usize) {
        self.collect(home);
        let member = &mut self.members[home];
        if member.under_way.is_some() {
            return;
        }
        if member.node.home.is_urgent() {
            self.submit(home);
        } else {
            let outputs = std::mem::take(&mut member.outputs);
            self.publish(home, outputs);
        }
    }

    fn submit(&mut self, home: usize) {
        let member = &mut self.members[home];
        let step = member.node.home.take_step();
        let outputs = std::mem::take(&mut member.outputs);
        assert!(step.effects.is_empty());
        if step.batch.writes.is_empty() {
            member.node.home.committed(step.number);
            return self.publish(home, outputs);
        }
        member.under_way = Some((step, outputs));
    }

    fn commit(&mut self, home: usize) {
        let member = &mut self.members[home];
        let Some((step, outputs)) = member.under_way.take() else { return };
        let node = &mut member.node;
        node.store.commit(node.id, node.epoch, &step.batch);
        node.home.committed(step.number);
        self.publish(home, outputs);
        self.go_on(home);
    }

    fn publish(&mut self, home: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Answer(which, reply) => {
                    let log = &self.members[home].node.store.logs[&reply.channel];
                    assert_eq!(log[&reply.pos].event.header.id, reply.id, "sent means safe");
                    self.answers.entry(which).or_insert(reply);
                }
                Output::Frame(to, connection, frame) => {
                    self.net.put(home, to, connection, frame);
                }
                Output::Question(from, number, question) => {
                    self.answers(from, home, number, &question);
                }
                Output::Effect(effect) => self.follows(home, effect),
            }
        }
        for peer in 0..HOMES {
            self.burst(home, peer);
        }
        if !self.members[home].outputs.is_empty() {
            self.go_on(home);
        }
    }

    fn follows(&mut self, home: usize, effect: Effect) {
        let durable = self.members[home].node.store.change;
        match effect {
            Effect::Message { entry, change } => {
                assert!(change <= durable);
                let log = &self.members[home].node.store.logs[&entry.channel()];
                assert_eq!(log[&entry.pos], *entry, "shown before it was on disk");
            }
            Effect::Marked { channel, user, mark, change, .. } => {
                assert!(change <= durable);
                let member = &mut self.members[home];
                let kept = member.node.store.channels[&channel].member(&user).unwrap().mark;
                assert!(kept.read >= mark.read && kept.delivered >= mark.delivered);
                let told = member.told.entry((channel, user)).or_default();
                assert!(told.read <= mark.read && told.delivered <= mark.delivered, "a mark fell");
                *told = mark;
            }
            Effect::Channel { channel, change } | Effect::ChannelOf { channel, change, .. } => {
                assert!(change <= durable);
                assert!(self.members[home].node.store.channels.contains_key(&channel));
            }
            Effect::Owed { peer, channel, parties, epoch, acked, upto, begins, roster } => {
                assert!(!self.members[home].node.home.is_reconciling(&peer), "not asked yet");
                let owed = homing_core::OwedChannel { parties, epoch, acked, upto, begins, roster };
                self.courier(home, peer, |courier| courier.owe(channel, owed));
            }
            Effect::Marks { peer, channel, telling } => {
                self.courier(home, peer, |courier| courier.mark(channel, telling));
            }
            Effect::Pull { peer } => self.courier(home, peer, Courier::pull),
            Effect::Changed { message, change, .. } => {
                assert!(change <= durable);
                let (store, entry) = (&self.members[home].node.store, &message.entry);
                assert_eq!(store.logs[&entry.channel()][&entry.pos], **entry, "told too early");
            }
            Effect::Rejected { .. }
            | Effect::Roster { .. }
            | Effect::Letter { .. }
            | Effect::Settled { .. } => panic!("among honest homes, and in chats: {effect:?}"),
        }
    }

    fn courier(&mut self, home: usize, peer: HomeId, does: impl FnOnce(&mut Courier)) {
        let peer = self.at(peer);
        if let Some(courier) = self.members[home].couriers.get_mut(&peer) {
            does(courier);
        }
    }

    fn crash(&mut self, home: usize, kept: bool) {
        let member = &mut self.members[home];
        if let Some((step, _)) = member.under_way.take()
            && kept
        {
            member.node.store.commit(member.node.id, member.node.epoch, &step.batch);
        }
        member.node.crash();
        self.starts(home);
    }

    /// A process begins: it has no streams, and whoever waited for the last one waits no more.
    fn starts(&mut self, home: usize) {
        let member = &mut self.members[home];
        member.outputs.clear();
        member.under_way = None;
        member.couriers.clear();
        member.repairs.clear();
        for peer in 0..HOMES {
            self.connect(home, peer);
        }
    }

    /// What another home wrote to `to`, or `to` itself, comes from `by`. Nothing may come of it.
    fn forge(&mut self, by: usize, to: usize, of: usize, place: usize, own: bool) {
        let Some(&channel) = self.members[of].node.store.logs.keys().nth(place) else { return };
        if by == to || by == of || self.members[of].node.store.channels[&channel].chains.is_empty()
        {
            return;
        }
        let range = self.members[of].node.range(channel, 1, 5);
        let (thief, victim) =
            (self.members[by].node.user("ann"), self.members[to].node.user("bea"));
        if range.events.is_empty() {
            return;
        }
        // As what it is, under the thief's name, and as words in a chat of the thief's.
        let thiefs = RangeIn { origin: self.members[by].node.id, ..range.clone() };
        let range = match (own, place % 2) {
            (false, 0) => range,
            (false, _) => thiefs,
            (true, _) => RangeIn {
                channel: ChannelId::chat(&thief, &victim),
                parties: [thief, victim],
                ..thiefs
            },
        };
        let before = self.members[to].node.home.change();
        let faults = |result: Result<RangeReply, PeerFault>| match result {
            Err(_) => true,
            // It may be held already, or be out of reach of what is held; or it is nobody's here.
            Ok(reply) => reply.applied == 0 && reply.rejected.is_empty(),
        };
        let peer = self.members[by].node.id;
        let node = &mut self.members[to].node;
        assert!(faults(node.receive_as_is(peer, &range)), "{range:?}");
        let marks = [PeerMark {
            user: local("nobody"),
            epoch: node.epoch,
            delivered: Seq(1),
            read: Seq(1),
            at: 0,
        }];
        if node.home.channel(&node.store, channel).unwrap().is_some() {
            node.receive_marks(peer, channel, &marks).unwrap_err();
        }
        let ahead = node.home.acknowledged(&node.store, peer, channel, node.epoch, Seq(1 << 40));
        let known = node.home.channel(&node.store, channel).unwrap().is_some();
        assert_eq!(ahead.unwrap().is_err(), known);
        assert_eq!(node.home.change(), before);
        self.go_on(to);
    }

    /// All is well again: connections hold (those that are there, or new ones), nobody crashes, and clients
    /// repeat what was not answered.
    fn heals(&mut self, anew: bool) {
        if !anew {
            // What is on its way arrives in time.
            self.rest();
        }
        self.does(Deed::Time { ms: 60_000, home: 0, skew: 0 });
        for member in &mut self.members {
            (member.skew, member.lie, member.node.now) = (0, None, self.now);
        }
        if anew {
            self.connect_all();
        }
        self.well = true;
        for which in 0..self.commands.len() {
            if !self.answers.contains_key(&which) && self.repeatable(which) {
                self.send(which);
            }
        }
        self.rest();
        // Who was to ask for what it missed and did not get all of it has it pushed after a while.
        self.does(Deed::Time { ms: 61_000, home: 0, skew: 0 });
        self.rest();
    }

    /// So many frames arrive, and what follows from them is committed. Answers how many there were.
    fn flows(&mut self, most: usize) -> usize {
        for home in 0..HOMES {
            self.commit(home);
        }
        for done in 0..most {
            let Some((from, to, connection, frame)) = self.net.next() else { return done };
            self.arrives(from, to, connection, frame);
            self.commit(to);
        }
        most
    }

    /// Until nothing is on its way and nothing follows any more.
    fn rest(&mut self) {
        for round in 0.. {
            assert!(round < 1_000, "the homes do not come to rest");
            for home in 0..HOMES {
                self.commit(home);
                self.tick(home);
                self.commit(home);
            }
            let idle = self.flows(usize::MAX) == 0;
            let rest = |m: &Member| m.under_way.is_none() && !m.node.home.has_step();
            if idle && self.members.iter().all(rest) {
                break;
            }
        }
    }

    /// Whoever has named no id and was told none cannot say which message he means.
    fn repeatable(&self, which: usize) -> bool {
        if self.past.contains(&which) {
            return false;
        }
        let command = &self.commands[which].1;
        command.id.is_some() || command.op.is_some() || self.answers.contains_key(&which)
    }
}

/// A run whose deeds are told by bytes, six for each: for fuzzers, which find runs by what they reach.
pub(crate) fn runs(data: &[u8]) {
    let mut world = World::new();
    for bytes in data.as_chunks::<6>().0.iter().take(250) {
        world.does(told(*bytes));
    }
    world.heals(data.first().is_some_and(|byte| byte & 128 == 0));
    world.check();
}

fn told([kind, a, b, c, d, e]: [u8; 6]) -> Deed {
    let home = |byte: u8| usize::from(byte) % HOMES;
    let user = |byte: u8| usize::from(byte) % (HOMES * USERS.len());
    let wide = i64::from(i16::from_be_bytes([d, e]));
    match kind % 21 {
        0..=3 => {
            let id = match c % 4 {
                0 => None,
                1 => Some(i64::MIN),
                _ => Some(wide * 3),
            };
            Deed::Send { from: user(a), to: user(b), id, op: c & 16 != 0 }
        }
        4 => Deed::Again { which: usize::from(a) },
        5 if c & 128 != 0 => Deed::Change {
            who: user(a),
            channel: usize::from(b),
            place: usize::from(d) % 12,
            what: e,
        },
        5 => Deed::Open { from: user(a), to: user(b) },
        6 | 7 => Deed::Mark {
            who: user(a),
            channel: usize::from(b),
            part: u64::from(c) % 101,
            read: d & 1 == 1,
        },
        8 => Deed::Tick { home: home(a) },
        9 | 10 => Deed::Commit { home: home(a) },
        11 | 12 => {
            let lane = [Lane::Relay, Lane::Replies, Lane::Queries][usize::from(c) % 3];
            Deed::Deliver { from: home(a), to: home(b), lane, place: usize::from(d) % 3 }
        }
        13 => match a % 2 {
            0 => Deed::Flow { frames: usize::from(b) % 40 + 1 },
            _ => Deed::Double { from: home(b), to: home(c), place: usize::from(d) % 3 },
        },
        14 => Deed::Cut { a: home(a), b: home(b) },
        15 => Deed::Crash { home: home(a), kept: b & 1 == 1 },
        16 => Deed::Time { ms: u64::from(a) * 20, home: home(b), skew: wide % 20_000 },
        17 => Deed::Forge {
            by: home(a),
            to: home(b),
            of: home(c),
            place: usize::from(d) % 4,
            own: e & 1 == 1,
        },
        18 => match a % 2 {
            0 => Deed::Backup { home: home(b) },
            _ => Deed::Restore { home: home(b) },
        },
        19 => Deed::Block { by: user(a), whom: user(b), add: c % 3 > 0 },
        _ => Deed::Lie { home: home(a), how: b % 4 },
    }
}

proptest! {
    // Twice as many as usual; `PROPTEST_CASES` sets how many that is.
    #![proptest_config(ProptestConfig {
        cases: 2 * ProptestConfig::default().cases,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_homes_agree_whatever_happens(deeds in deeds(), anew in any::<bool>()) {
        let mut world = World::new();
        for deed in deeds {
            world.does(deed);
        }
        world.heals(anew);
        world.check();
    }
}
