//! A home with its store, driven like the node's hub drives it: one step under way at a time, and nothing
//! told before it is on disk.

use bytes::Bytes;
use homing_core::{
    ChannelState, Effect, Failure, Home, ListChange, ListCommand, Mark, NewAccount, PeerFault,
    PeerMark, PeerState, Policy, RangeIn, RangeReply, Refusal, SendCommand, SentReply, Target,
    UserList,
};
use homing_wire::{
    ChannelId, Checker, Epoch, Event, Hash, Head, Header, HeaderError, HomeId, Kind, Local,
    MessageId, Pos, ProofError, ProvenHead, Seq, Signs, Stamp, UserId, UserRef, Verifies, prove,
};
use uuid::Uuid;

use crate::folding::What;
use crate::store::TestStore;

/// A Monday in 2025, in Unix milliseconds.
pub(crate) const MONDAY_MS: u64 = 1_760_000_000_000;

pub(crate) struct Node {
    pub(crate) id: HomeId,
    pub(crate) epoch: Epoch,
    pub(crate) policy: Policy,
    pub(crate) home: Home,
    pub(crate) store: TestStore,
    /// This home's clock.
    pub(crate) now: u64,
    fresh: u64,
}

/// Accepts first contacts, as the testnet does.
pub(crate) fn accepting() -> Policy {
    Policy { first_contact_request: false, ..Policy::default() }
}

pub(crate) fn local(name: &str) -> Local {
    Local::canonical(name).unwrap()
}

pub(crate) fn text(text: &str) -> Bytes {
    format!(r#"{{"type":"text","text":"{text}"}}"#).into()
}

/// A UUIDv7 made at `ms`.
pub(crate) fn v7(ms: u64, n: u64) -> MessageId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    MessageId(Uuid::from_bytes(bytes))
}

impl Node {
    pub(crate) fn new(number: u8, policy: Policy, users: &[&str]) -> Self {
        let (id, epoch) = (HomeId([number; 32]), Epoch(MONDAY_MS - 1_000));
        let store = TestStore::default();
        let home = Home::new(id, epoch, policy.clone(), 0, Stamp(0), MONDAY_MS, &store).unwrap();
        let mut node = Self { id, epoch, policy, home, store, now: MONDAY_MS, fresh: 0 };
        for user in users {
            node.register(user);
        }
        node.settle();
        node
    }

    pub(crate) fn register(&mut self, name: &str) {
        let new = NewAccount {
            local: local(name),
            user_id: UserId(Uuid::from_u128(7)),
            display_name: name.to_owned(),
            password: String::new(),
            invite: None,
        };
        self.home.register(&self.store, self.now, new).unwrap();
    }

    pub(crate) fn user(&self, name: &str) -> UserRef {
        UserRef::new(self.id, local(name))
    }

    /// Loses whatever is not committed, as `kill -9` does.
    pub(crate) fn crash(&mut self) {
        let (change, stamp) = (self.store.change, self.store.stamp);
        self.home = Home::new(
            self.id,
            self.epoch,
            self.policy.clone(),
            change,
            stamp,
            self.now,
            &self.store,
        )
        .unwrap();
    }

    /// What `homing restore` makes of a backup: a new life, no tokens, and all homes to be asked first what
    /// they hold.
    pub(crate) fn restore(&mut self, backup: TestStore) {
        self.epoch = Epoch(self.epoch.0 + 1_000);
        self.store = backup;
        for peer in self.store.peers.values_mut() {
            peer.reconcile = true;
        }
        self.crash();
    }

    /// Another home is known.
    pub(crate) fn meets(&mut self, home: HomeId, reconcile: bool) {
        self.home.meets(peer(home, reconcile));
        self.settle();
    }

    /// Commits everything decided, as one step; answers with what follows.
    pub(crate) fn settle(&mut self) -> Vec<Effect> {
        let step = self.home.take_step();
        self.store.commit(self.id, self.epoch, &step.batch);
        self.home.committed(step.number);
        step.effects
    }

    /// What the second's tick gives out, committed.
    pub(crate) fn tick(&mut self) -> Vec<Effect> {
        self.home.tick(&self.store, self.now).unwrap();
        self.settle()
    }

    pub(crate) fn fresh_id(&mut self) -> MessageId {
        self.fresh += 1;
        v7(self.now, self.fresh << 8 | u64::from(self.id.0[0]))
    }

    pub(crate) fn command(&mut self, sender: &str, to: &UserRef, words: &str) -> SendCommand {
        SendCommand {
            sender: local(sender),
            target: Target::To(to.clone()),
            id: None,
            fresh_id: self.fresh_id(),
            op: None,
            kind: Kind::Text,
            body: text(words),
            mentions: Vec::new(),
            about: None,
            media: Vec::new(),
        }
    }

    /// A wish to change a message.
    pub(crate) fn change(
        &mut self,
        sender: &str,
        channel: ChannelId,
        target: &homing_wire::Target,
        what: What,
    ) -> SendCommand {
        SendCommand {
            sender: local(sender),
            target: Target::Channel(channel),
            id: None,
            fresh_id: self.fresh_id(),
            op: None,
            kind: what.kind(),
            body: what.body(target),
            mentions: Vec::new(),
            about: Some(target.clone()),
            media: Vec::new(),
        }
    }

    pub(crate) fn hide(
        &mut self,
        user: &str,
        channel: ChannelId,
        target: &homing_wire::Target,
    ) -> Result<(), Refusal> {
        match self.home.hide(&self.store, self.now, &local(user), channel, target, None) {
            Ok(()) => Ok(()),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Fault(fault)) => panic!("{fault}"),
        }
    }

    pub(crate) fn run(&mut self, command: &SendCommand) -> Result<SentReply, Refusal> {
        match self.home.send(&self.store, self.now, command.clone()) {
            Ok(reply) => Ok(reply),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Fault(fault)) => panic!("{fault}"),
        }
    }

    /// A message that must be taken; not committed yet.
    pub(crate) fn send(&mut self, sender: &str, to: &UserRef, words: &str) -> SentReply {
        let command = self.command(sender, to, words);
        self.run(&command).unwrap()
    }

    pub(crate) fn open(&mut self, user: &str, with: &UserRef) -> ChannelId {
        self.home.open_chat(&self.store, self.now, &local(user), with).unwrap()
    }

    pub(crate) fn mark(
        &mut self,
        user: &str,
        channel: ChannelId,
        delivered: u64,
        read: u64,
    ) -> Result<(), Refusal> {
        let mark = Mark { delivered: Pos(delivered), read: Pos(read) };
        match self.home.mark(&self.store, self.now, &local(user), channel, mark) {
            Ok(()) => Ok(()),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Fault(fault)) => panic!("{fault}"),
        }
    }

    /// Changes a list of a user's; not committed yet.
    pub(crate) fn list(
        &mut self,
        owner: &str,
        list: UserList,
        change: ListChange,
        other: &UserRef,
    ) -> Result<(), Refusal> {
        let (owner, other) = (local(owner), other.clone());
        self.change_list(&ListCommand { owner, list, other, change, op: None })
    }

    pub(crate) fn change_list(&mut self, command: &ListCommand) -> Result<(), Refusal> {
        match self.home.change_list(&self.store, self.now, command) {
            Ok(()) => Ok(()),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Fault(fault)) => panic!("{fault}"),
        }
    }

    pub(crate) fn block(&mut self, owner: &str, other: &UserRef) {
        self.list(owner, UserList::Blocks, ListChange::Add, other).unwrap();
    }

    pub(crate) fn unblock(&mut self, owner: &str, other: &UserRef) {
        self.list(owner, UserList::Blocks, ListChange::Remove, other).unwrap();
    }

    pub(crate) fn state(&mut self, channel: ChannelId) -> ChannelState {
        self.home.channel(&self.store, channel).unwrap().unwrap().clone()
    }

    pub(crate) fn unread(&mut self, user: &str, channel: ChannelId) -> u64 {
        let user = self.user(user);
        let state = self.state(channel);
        state.unread(state.member(&user).unwrap())
    }

    pub(crate) fn mark_of(&mut self, user: &UserRef, channel: ChannelId) -> (u64, u64) {
        let mark = self.state(channel).member(user).unwrap().mark;
        (mark.delivered.0, mark.read.0)
    }

    /// The committed text of a channel, by place.
    pub(crate) fn words(&self, channel: ChannelId) -> Vec<String> {
        let log = self.store.logs.get(&channel);
        log.into_iter()
            .flat_map(|log| log.values())
            .map(|e| String::from_utf8(e.event.body.to_vec()).unwrap())
            .map(|body| body[r#"{"type":"text","text":""#.len()..body.len() - 2].to_owned())
            .collect()
    }

    /// A range that comes from `from`, as its receiver takes it: whatever it holds, it is of the sender's
    /// chain, and the sender can sign anything.
    pub(crate) fn receive(
        &mut self,
        from: HomeId,
        range: &RangeIn,
    ) -> Result<RangeReply, PeerFault> {
        let mut range = RangeIn { origin: from, ..range.clone() };
        prove_end(&mut range);
        self.receive_as_is(from, &range)
    }

    /// The same with the proof that it has.
    pub(crate) fn receive_as_is(
        &mut self,
        from: HomeId,
        range: &RangeIn,
    ) -> Result<RangeReply, PeerFault> {
        self.home.receive_range(&self.store, self.now, from, range).unwrap()
    }

    pub(crate) fn receive_marks(
        &mut self,
        from: HomeId,
        channel: ChannelId,
        marks: &[PeerMark],
    ) -> Result<(), PeerFault> {
        self.home.receive_marks(&self.store, self.now, from, channel, marks).unwrap()
    }

    pub(crate) fn acknowledged(
        &mut self,
        by: HomeId,
        channel: ChannelId,
        have: u64,
    ) -> Result<(), PeerFault> {
        self.home.acknowledged(&self.store, by, channel, self.epoch, Seq(have)).unwrap()
    }

    /// This home's committed events of a channel, from `first` on, as they go over the wire.
    pub(crate) fn range(&self, channel: ChannelId, first: u64, most: usize) -> RangeIn {
        self.range_of_life(channel, self.epoch, first, most)
    }

    pub(crate) fn range_of_life(
        &self,
        channel: ChannelId,
        epoch: Epoch,
        first: u64,
        most: usize,
    ) -> RangeIn {
        let state = &self.store.channels[&channel];
        let events = self.store.logs[&channel]
            .values()
            .filter(|e| {
                let h = &e.event.header;
                h.origin == self.id && h.epoch == epoch && h.seq >= Seq(first)
            })
            .take(most)
            .map(|e| Event::from_bytes(e.event.header_bytes.clone(), e.event.body.clone()))
            .collect();
        let parties = [state.members[0].user.clone(), state.members[1].user.clone()];
        range_of(channel, parties, self.id, epoch, Seq(first), events)
    }

    /// A peer says that it rejected messages of this life.
    pub(crate) fn rejected_by(
        &mut self,
        peer: HomeId,
        channel: ChannelId,
        rejected: &[(Seq, String)],
    ) -> Result<usize, PeerFault> {
        let (store, now, epoch) = (&self.store, self.now, self.epoch);
        self.home.rejected_by(store, now, peer, channel, epoch, rejected).unwrap()
    }

    /// Brings everything owed to `other` there and back, on a good day.
    pub(crate) fn deliver(&mut self, other: &mut Node) {
        self.settle();
        let channels: Vec<ChannelId> =
            self.home.owed().get(&other.id).into_iter().flat_map(|c| c.keys()).copied().collect();
        for channel in channels {
            // An earlier life of this home's store first, then the next one.
            while let Some(cursor) = self.state(channel).cursor(&other.id).cloned()
                && cursor.refused.is_none()
                && self
                    .state(channel)
                    .chain(&self.id, cursor.epoch)
                    .is_some_and(|c| c.seq > cursor.acked)
            {
                let range =
                    self.range_of_life(channel, cursor.epoch, cursor.acked.0 + 1, usize::MAX);
                let reply = other.receive(self.id, &range).unwrap();
                other.settle();
                match reply.refused {
                    Some(reason) => {
                        self.home.refused_by(&self.store, other.id, channel, reason).unwrap();
                    }
                    None => self
                        .home
                        .acknowledged(&self.store, other.id, channel, cursor.epoch, reply.have)
                        .unwrap()
                        .unwrap(),
                }
                if reply.have <= cursor.acked {
                    break; // it holds back
                }
            }
        }
        self.settle();
    }

    /// Gives out what has risen and brings it to `other`.
    pub(crate) fn deliver_marks(&mut self, other: &mut Node) {
        for effect in self.tick() {
            if let Effect::Marks { peer, channel, telling } = effect
                && peer == other.id
            {
                other.receive_marks(self.id, channel, &telling.marks).unwrap();
                other.settle();
                self.home.marks_taken(&self.store, peer, channel, &telling).unwrap();
            }
        }
        self.settle();
    }
}

/// What is noted of another home.
pub(crate) fn peer(home: HomeId, reconcile: bool) -> PeerState {
    PeerState {
        home,
        name: None,
        record: Vec::new(),
        epoch: Epoch(MONDAY_MS),
        boot: 1,
        seen_at: MONDAY_MS,
        blocked: false,
        reconcile,
        statements: Vec::new(),
        letters: 0,
        letters_done: (Epoch(0), 0),
        joining: Vec::new(),
    }
}

/// Signs for a home, with a keyed hash: as good as a signature among tests, and a hundred times faster.
#[derive(Clone, Copy)]
pub(crate) struct Seal(pub(crate) HomeId);

impl Seal {
    fn over(&self, message: &[u8]) -> [u8; 64] {
        let mut seal = [0; 64];
        seal[..32].copy_from_slice(blake3::keyed_hash(&self.0.0, message).as_bytes());
        seal
    }
}

impl Signs for Seal {
    fn public(&self) -> [u8; 32] {
        self.0.0
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.over(message)
    }
}

impl Verifies for Seal {
    fn verify(
        &self,
        key: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), ProofError> {
        if *key != self.0.0 {
            return Err(ProofError::Key);
        }
        if *signature == self.over(message) { Ok(()) } else { Err(ProofError::Signature) }
    }
}

/// A head that its origin has signed, and the signature checked.
pub(crate) fn proven(origin: HomeId, epoch: Epoch, head: Head) -> ProvenHead {
    let proof = prove(origin, epoch, MONDAY_MS, &[head], &Seal(origin)).remove(0);
    Checker::default().check(origin, epoch, head, &proof, &Seal(origin)).unwrap()
}

/// A range, its end signed by its origin.
pub(crate) fn range_of(
    channel: ChannelId,
    parties: [UserRef; 2],
    origin: HomeId,
    epoch: Epoch,
    first: Seq,
    events: Vec<Result<Event, HeaderError>>,
) -> RangeIn {
    let mut range =
        RangeIn { channel, parties, origin, epoch, first, events, end: None, begins: false };
    prove_end(&mut range);
    range
}

/// Signs the end of a range anew, as its origin would.
pub(crate) fn prove_end(range: &mut RangeIn) {
    range.end = range.events.last().and_then(|last| {
        let last = last.as_ref().ok()?;
        let (channel, seq) = (range.channel, last.header.seq);
        Some(proven(range.origin, range.epoch, Head { channel, seq, hash: last.hash() }))
    });
}

/// Events made by hand, for homes that make them wrongly.
pub(crate) struct Forge {
    pub(crate) header: Header,
    pub(crate) body: Bytes,
}

impl Forge {
    /// A sound event, the first of its chain.
    pub(crate) fn new(from: &UserRef, to: &UserRef, now: u64) -> Self {
        let body = text("hello");
        let header = Header {
            channel: ChannelId::chat(from, to),
            origin: from.home,
            epoch: Epoch(MONDAY_MS - 1_000),
            seq: Seq(1),
            prev: Hash::NONE,
            stamp: Stamp::from_ms(now),
            sender: from.local.clone(),
            id: v7(now, 1),
            kind: Kind::Text,
            target: None,
            mentions: Vec::new(),
            media: Vec::new(),
            roster: 0,
            body_size: 0,
            body_hash: Hash::NONE,
        };
        Self { header, body }
    }

    pub(crate) fn event(&self) -> Event {
        let header = Header {
            body_size: u32::try_from(self.body.len()).unwrap(),
            body_hash: Hash::of(&self.body),
            ..self.header.clone()
        };
        Event::new(header, self.body.clone())
    }

    /// The next event of the chain.
    pub(crate) fn next(&self) -> Self {
        let header = Header {
            seq: self.header.seq.next(),
            prev: self.event().hash(),
            stamp: Stamp(self.header.stamp.0 + 1),
            id: MessageId(Uuid::from_u128(self.header.id.0.as_u128() + 1)),
            ..self.header.clone()
        };
        Self { header, body: self.body.clone() }
    }

    /// A range of this chain, `count` events from this one on.
    pub(crate) fn chain(&self, parties: [UserRef; 2], count: usize) -> RangeIn {
        let mut events = Vec::new();
        let mut at = Self { header: self.header.clone(), body: self.body.clone() };
        for _ in 0..count {
            events.push(Ok(at.event()));
            at = at.next();
        }
        let Header { channel, origin, epoch, seq, .. } = self.header;
        range_of(channel, parties, origin, epoch, seq, events)
    }
}
