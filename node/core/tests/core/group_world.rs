//! Several homes and a network between them that can be cut: what tests of groups share.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use homing_core::{Asked, Changed, Effect, NewGroup, Refusal, Repair, Sealer, SendCommand, Target};
use homing_wire::{
    ChainPos, Change, ChannelId, Epoch, HomeId, Letter, MessageId, OpId, Policy, Right, Role,
    Roster, SignedRoster, UserRef,
};
use uuid::Uuid;

use crate::node::{Node, Seal, accepting, local, text};
use crate::repair::{fetch_with, honest};
use crate::store::TestStore;

/// Homes in a network that can be cut.
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) cut: BTreeSet<(usize, usize)>,
    ops: u128,
}

/// What one client of a home sees of a group: (order, id, words) of what counts.
pub(crate) type Shown = Vec<(String, MessageId, String)>;

impl World {
    pub(crate) fn new(homes: usize, users: &[&str]) -> Self {
        let mut nodes: Vec<Node> =
            (1..=homes).map(|n| Node::new(n as u8, accepting(), users)).collect();
        let ids: Vec<HomeId> = nodes.iter().map(|node| node.id).collect();
        for node in &mut nodes {
            let own = node.id;
            ids.iter().filter(|id| **id != own).for_each(|id| node.meets(*id, false));
        }
        Self { nodes, cut: BTreeSet::new(), ops: 0 }
    }

    pub(crate) fn user(&self, home: usize, name: &str) -> UserRef {
        self.nodes[home].user(name)
    }

    pub(crate) fn at(&self, id: HomeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).unwrap()
    }

    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    pub(crate) fn cut_off(&mut self, home: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != home) {
            self.cut.insert((home.min(other), home.max(other)));
        }
    }

    /// All links are whole again, and homes say what they owe.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        let ids: Vec<HomeId> = self.nodes.iter().map(|node| node.id).collect();
        for node in &mut self.nodes {
            for id in ids.iter().filter(|id| **id != node.id) {
                node.home.resume(&node.store, *id).unwrap();
            }
        }
        self.flow();
    }

    /// A home comes back from a backup, in a life that begins now.
    pub(crate) fn restore(&mut self, at: usize, backup: TestStore) {
        self.nodes.iter_mut().for_each(|node| node.now += 5_000);
        let node = &mut self.nodes[at];
        node.epoch = Epoch(node.now - 1_000);
        node.restore(backup);
    }

    /// A home can reach another, and says what it owes.
    pub(crate) fn resume(&mut self, from: usize, to: usize) {
        let peer = self.nodes[to].id;
        let node = &mut self.nodes[from];
        node.home.resume(&node.store, peer).unwrap();
        self.flow();
    }

    /// A home whose disk was lost asks all others what they hold.
    pub(crate) fn asks_all(&mut self, at: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.asks(at, other);
        }
        // What the answers tell of the asker is owed anew.
        self.heal();
    }

    /// One home asks another what it holds.
    pub(crate) fn asks(&mut self, at: usize, other: usize) -> Repair {
        let (asker, holder) = pair(&mut self.nodes, at, other);
        let mut follows = Vec::new();
        let repair = fetch_with(asker, holder, &mut honest, &mut follows).unwrap().0;
        let mut held = Vec::new();
        follows.into_iter().for_each(|effect| self.carry(at, effect, &mut held));
        repair
    }

    pub(crate) fn tick(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.now += 10);
    }

    /// Everything that was decided goes its way, until nothing more follows.
    pub(crate) fn flow(&mut self) {
        let mut held: Vec<(usize, Effect)> = Vec::new();
        for _ in 0..10_000 {
            let mut queue: VecDeque<(usize, Effect)> = VecDeque::new();
            for at in 0..self.nodes.len() {
                queue.extend(self.nodes[at].settle().into_iter().map(|effect| (at, effect)));
            }
            if queue.is_empty() {
                // Marks are gathered for a second.
                for (at, node) in self.nodes.iter_mut().enumerate() {
                    queue.extend(node.tick().into_iter().map(|effect| (at, effect)));
                }
                if queue.is_empty() {
                    return;
                }
            }
            while let Some((from, effect)) = queue.pop_front() {
                self.carry(from, effect, &mut held);
            }
        }
        panic!("it does not come to rest");
    }

    pub(crate) fn carry(&mut self, from: usize, effect: Effect, held: &mut Vec<(usize, Effect)>) {
        match effect {
            Effect::Roster { peer, ref signed } => {
                let to = self.at(peer);
                if self.is_cut(from, to) {
                    return;
                }
                let seal = Seal(signed.roster().owner);
                let bytes = signed.bytes().clone();
                let arrived = SignedRoster::verify_with(bytes, seal.0, &seal).unwrap();
                let (group, version) = (signed.roster().group, signed.roster().version);
                let sender = self.nodes[from].id;
                let node = &mut self.nodes[to];
                node.home.receive_roster(&node.store, node.now, sender, arrived).unwrap().unwrap();
                let node = &mut self.nodes[from];
                node.home.roster_taken(&node.store, peer, group, version).unwrap().unwrap();
                let again: Vec<(usize, Effect)> = std::mem::take(held);
                again.into_iter().for_each(|(from, effect)| self.carry(from, effect, held));
            }
            Effect::Letter { peer, number, letter, .. } => {
                let to = self.at(peer);
                if self.is_cut(from, to) {
                    return;
                }
                let letter = Letter::decode(&letter).unwrap();
                let name = (self.nodes[from].epoch, number);
                let sender = self.nodes[from].id;
                let node = &mut self.nodes[to];
                let seal = Seal(node.id);
                let sealer = Sealer { key: &seal, record: Bytes::new() };
                let (store, now) = (&node.store, node.now);
                let reply =
                    node.home.receive_letter(store, now, &sealer, sender, name, Some(&letter));
                let reply = reply.unwrap().unwrap();
                self.nodes[from].home.letters_taken(peer, reply.upto).unwrap();
            }
            Effect::Owed { peer, channel, epoch, .. } => {
                let to = self.at(peer);
                if self.is_cut(from, to) {
                    return;
                }
                // As far as is acknowledged by now.
                let Some(cursor) = self.nodes[from].state(channel).cursor(&peer).cloned() else {
                    return;
                };
                if cursor.outside || cursor.epoch != epoch {
                    return;
                }
                let first = cursor.acked.0 + 1;
                let mut range = self.nodes[from].range_of_life(channel, epoch, first, 1_000);
                range.begins = (epoch, cursor.acked) == cursor.begins && cursor.acked.0 > 0;
                if range.events.is_empty() {
                    return;
                }
                let sender = self.nodes[from].id;
                let reply = self.nodes[to].receive_as_is(sender, &range).unwrap();
                let node = &mut self.nodes[from];
                if reply.need_roster {
                    node.home.roster_wanted(&node.store, peer, channel).unwrap();
                    held.push((from, effect));
                } else if let Some(reason) = reply.refused {
                    node.home.refused_by(&node.store, peer, channel, reason).unwrap();
                } else {
                    let rejected: Vec<_> =
                        reply.rejected.iter().map(|(seq, why)| (*seq, (*why).to_owned())).collect();
                    let have = reply.have;
                    node.home
                        .acknowledged(&node.store, peer, channel, epoch, have)
                        .unwrap()
                        .unwrap();
                    let (store, now) = (&node.store, node.now);
                    node.home
                        .rejected_by(store, now, peer, channel, epoch, &rejected)
                        .unwrap()
                        .unwrap();
                }
            }
            Effect::Marks { peer, channel, telling } => {
                let to = self.at(peer);
                if self.is_cut(from, to) {
                    return;
                }
                let sender = self.nodes[from].id;
                self.nodes[to].receive_marks(sender, channel, &telling.marks).unwrap();
                let node = &mut self.nodes[from];
                node.home.marks_taken(&node.store, peer, channel, &telling).unwrap();
            }
            Effect::Message { .. }
            | Effect::Rejected { .. }
            | Effect::Changed { .. }
            | Effect::Marked { .. }
            | Effect::Channel { .. }
            | Effect::ChannelOf { .. }
            | Effect::Pull { .. }
            | Effect::Settled { .. } => {}
        }
    }

    /// Nobody owes anybody anything any more.
    pub(crate) fn settled(&mut self, group: ChannelId, seed: u64) {
        for node in &mut self.nodes {
            let cursors = node.state(group).cursors;
            assert!(node.home.owed().is_empty(), "seed {seed}, {:?}: {cursors:?}", node.id);
        }
    }

    pub(crate) fn try_create(
        &mut self,
        home: usize,
        creator: &str,
        members: Vec<UserRef>,
        policy: Policy,
    ) -> Result<ChannelId, Refusal> {
        self.tick();
        let node = &mut self.nodes[home];
        let seal = Seal(node.id);
        let sealer = Sealer { key: &seal, record: Bytes::new() };
        let id = ChannelId(node.fresh_id().0);
        let new = NewGroup { creator: local(creator), id, name: "friends".into(), members, policy };
        let made = node.home.create_group(&node.store, node.now, &sealer, new);
        made.map_err(|failure| match failure {
            homing_core::Failure::Refused(refusal) => refusal,
            homing_core::Failure::Fault(fault) => panic!("{fault}"),
        })
    }

    pub(crate) fn create(&mut self, home: usize, members: Vec<UserRef>) -> ChannelId {
        let group = self.try_create(home, "ann", members, Policy::default()).unwrap();
        self.flow();
        group
    }

    pub(crate) fn ask(
        &mut self,
        who: &UserRef,
        group: ChannelId,
        change: Change,
    ) -> Result<Asked, Refusal> {
        self.tick();
        self.ops += 1;
        let op = OpId(Uuid::from_u128(self.ops));
        let at = self.at(who.home);
        let node = &mut self.nodes[at];
        let seal = Seal(node.id);
        let sealer = Sealer { key: &seal, record: Bytes::new() };
        let command = (group, op, change);
        let asked = node.home.ask_group(&node.store, node.now, &sealer, &who.local, command);
        asked.map_err(|failure| match failure {
            homing_core::Failure::Refused(refusal) => refusal,
            homing_core::Failure::Fault(fault) => panic!("{fault}"),
        })
    }

    pub(crate) fn done(&mut self, who: &UserRef, group: ChannelId, change: Change) -> Changed {
        match self.ask(who, group, change).unwrap() {
            Asked::Done(changed) => changed,
            Asked::Pending => panic!("at the owner home it is done at once"),
        }
    }

    pub(crate) fn join(&mut self, who: &UserRef, group: ChannelId) {
        self.ask(who, group, Change::Join { link: None }).unwrap();
        self.flow();
    }

    pub(crate) fn leave(&mut self, who: &UserRef, group: ChannelId) {
        self.ask(who, group, Change::Leave { from: 0, fence: None }).unwrap();
    }

    pub(crate) fn say(
        &mut self,
        who: &UserRef,
        group: ChannelId,
        words: &str,
    ) -> Result<(), Refusal> {
        self.tick();
        let at = self.at(who.home);
        let node = &mut self.nodes[at];
        let fresh = node.fresh_id();
        let command = SendCommand {
            sender: who.local.clone(),
            target: Target::Channel(group),
            id: None,
            fresh_id: fresh,
            op: None,
            kind: homing_wire::Kind::Text,
            body: text(words),
            mentions: Vec::new(),
            about: None,
            media: Vec::new(),
        };
        node.run(&command).map(drop)
    }

    pub(crate) fn roster(&mut self, home: usize, group: ChannelId) -> Roster {
        let node = &mut self.nodes[home];
        let signed = node.home.roster_of(&node.store, group).unwrap().unwrap();
        signed.roster().clone()
    }

    /// What counts and what `who` may see.
    pub(crate) fn shown(&mut self, who: &UserRef, group: ChannelId) -> Shown {
        let at = self.at(who.home);
        let roster = self.roster(at, group);
        let state = self.nodes[at].state(group);
        let member = state.member(who).unwrap();
        let mut shown: Shown = Vec::new();
        for entry in self.nodes[at].store.logs.get(&group).into_iter().flat_map(|log| log.values())
        {
            let header = &entry.event.header;
            if !header.kind.is_message() || !member.sees(entry.pos) {
                continue;
            }
            let place = ChainPos { epoch: header.epoch, seq: header.seq };
            if roster.may(&header.user(), Right::Write, header.roster, place).is_ok() {
                let body = String::from_utf8(entry.event.body.to_vec()).unwrap();
                shown.push((header.order().to_string(), header.id, body));
            }
        }
        shown.sort();
        shown
    }

    pub(crate) fn words(&mut self, who: &UserRef, group: ChannelId) -> Vec<String> {
        let words =
            |body: String| body[r#"{"type":"text","text":""#.len()..body.len() - 2].to_owned();
        self.shown(who, group).into_iter().map(|(_, _, body)| words(body)).collect()
    }

    pub(crate) fn role(&mut self, home: usize, group: ChannelId, who: &UserRef) -> Option<Role> {
        self.roster(home, group).role(who)
    }
}

fn pair(nodes: &mut [Node], a: usize, b: usize) -> (&mut Node, &mut Node) {
    let (low, high) = nodes.split_at_mut(a.max(b));
    let (x, y) = (&mut low[a.min(b)], &mut high[0]);
    if a < b { (x, y) } else { (y, x) }
}

/// Ann of the first home makes it; her own home's bea and the anns of the others are in it.
pub(crate) fn group_of(homes: usize) -> (World, ChannelId, Vec<UserRef>) {
    let mut world = World::new(homes, &["ann", "bea", "cat"]);
    let anns: Vec<UserRef> = (0..homes).map(|home| world.user(home, "ann")).collect();
    let mut members = anns[1..].to_vec();
    members.push(world.user(0, "bea"));
    let group = world.create(0, members);
    for ann in &anns[1..] {
        assert_eq!(world.role(0, group, ann), Some(Role::Invited));
        world.join(ann, group);
    }
    (world, group, anns)
}
