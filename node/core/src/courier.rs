//! What goes to one peer over one stream: places, not events, for the log is the outbox.
//!
//! The home says what is owed ([`Courier::owe`]); it merges by channel, so a slow peer costs an entry a
//! channel, not one a message. Ranges go channel by channel in turn, at most a window of bytes ahead of the
//! acknowledgements. Each is answered once: an answer behind what was sent, with nothing more under way, sends
//! the courier back. A peer that answers nothing for too long, or more often than it was sent something, is at fault;
//! whether it can hold what it says, the home judges.
//!
//! Times are milliseconds of a clock that never falls; which one is the caller's choice.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use homing_wire::{ChannelId, Epoch, Hash, Head, HomeId, Pos, Seq, SignedRoster, UserRef};

use crate::holdings::hole;
use crate::marks::{PeerMark, Telling};
use crate::reader::{Fault, Reader};
use crate::relay::PeerFault;
use crate::state::LogEntry;

/// What a courier keeps to.
#[derive(Clone, Copy, Debug)]
pub struct CourierLimits {
    /// Bytes of events ahead of the acknowledgements.
    pub window_bytes: usize,
    /// Bytes of events in one range: several share a frame at most, and a busy channel gives way to the next
    /// after this much.
    pub range_bytes: usize,
    /// Entries looked at for one range.
    pub range_entries: u64,
    /// Deliveries proven by one signature.
    pub burst: usize,
    /// A range that the peer held back is tried again after this long, in milliseconds.
    pub held_back_ms: u64,
    /// Where the peer lacks the roster that an event names, and cannot take the one that it was given, the range is tried
    /// again after `held_back_ms`, then after twice as long each time, up to this long, in milliseconds. What ends it is
    /// another roster here or there, which does not wait.
    pub roster_retry_most_ms: u64,
    /// The peer answers something within this, in milliseconds, while anything is under way.
    pub answer_ms: u64,
}

impl Default for CourierLimits {
    fn default() -> Self {
        Self {
            window_bytes: 4 << 20,
            range_bytes: 256 << 10,
            range_entries: 512,
            burst: 256,
            held_back_ms: 5_000,
            // An event each five minutes and group is nothing to either home, and what is waited for comes by itself.
            roster_retry_most_ms: 300_000,
            answer_ms: 60_000,
        }
    }
}

/// Marks under way: more wait, merged by channel.
const MARKS_UNDER_WAY: usize = 1_024;
/// Rosters under way: each may be a frame of its own. More wait, the newest of each group.
const ROSTERS_UNDER_WAY: usize = 16;
/// Letters under way.
const LETTERS_UNDER_WAY: u64 = 64;

/// What is owed of one channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwedChannel {
    /// Whose chat it is, the lesser first.
    pub parties: [UserRef; 2],
    /// Of which life of this home's store.
    pub epoch: Epoch,
    /// The peer has acknowledged up to here.
    pub acked: Seq,
    /// The last event on disk.
    pub upto: Seq,
    /// Of a group: the chain begins above this for the peer; 0: at its beginning.
    pub begins: Seq,
    /// Of a group: the version of the roster that is held here.
    pub roster: u64,
}

/// What is sent next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Consecutive events of this home's chain; never none.
    Range {
        /// The conversation.
        channel: ChannelId,
        /// Whose chat it is.
        parties: [UserRef; 2],
        /// Of which life of this home's store.
        epoch: Epoch,
        /// The events.
        events: Vec<Arc<LogEntry>>,
        /// The chain begins here for the peer, whatever is before.
        begins: bool,
    },
    /// Events up to `seq` are gone here, by retention.
    Pruned {
        /// The conversation.
        channel: ChannelId,
        /// Whose chat it is.
        parties: [UserRef; 2],
        /// Of which life of this home's store.
        epoch: Epoch,
        /// The last that is gone.
        seq: Seq,
        /// Hash of its header.
        hash: Hash,
    },
    /// Marks of this home's users.
    Marks {
        /// Counts 1, 2, 3 … on the stream.
        number: u64,
        /// The conversation.
        channel: ChannelId,
        /// The newest.
        marks: Vec<PeerMark>,
    },
    /// A group's roster.
    Roster(Arc<SignedRoster>),
    /// A letter.
    Letter {
        /// Its number.
        number: u64,
        /// [`homing_wire::Letter::encode`].
        letter: Bytes,
    },
    /// What is owed is too old to be pushed: the peer is to ask.
    Pull,
}

impl Delivery {
    /// The epoch and the head that have to be proven, where events are named.
    pub fn head(&self) -> Option<(Epoch, Head)> {
        match self {
            Self::Range { channel, epoch, events, .. } => {
                let last = &events.last()?.event;
                let (channel, seq) = (*channel, last.header.seq);
                Some((*epoch, Head { channel, seq, hash: last.hash() }))
            }
            Self::Pruned { channel, epoch, seq, hash, .. } => {
                Some((*epoch, Head { channel: *channel, seq: *seq, hash: *hash }))
            }
            Self::Marks { .. } | Self::Roster(_) | Self::Letter { .. } | Self::Pull => None,
        }
    }
}

/// One stream's worth of a courier's work.
pub struct Courier {
    home: HomeId,
    limits: CourierLimits,
    /// Asked by channel, never walked through: in no order that could be seen outside.
    parcels: HashMap<ChannelId, Parcel>,
    turn: VecDeque<ChannelId>,
    /// Ranges under way of channels whose turn was given up meanwhile, in the order in which they went, with the life
    /// and the bytes of each: their answers come before those of anything that is sent of the same channel later.
    orphans: BTreeMap<ChannelId, VecDeque<(Epoch, usize)>>,
    /// When which channel is to be tried again.
    held: BTreeSet<(u64, ChannelId)>,
    in_flight: usize,
    /// Ranges that are not answered.
    unanswered: usize,
    pull: bool,
    marks: BTreeMap<ChannelId, Telling>,
    marks_sent: u64,
    marks_under_way: BTreeMap<u64, (ChannelId, Telling)>,
    /// The newest roster of a group that the peer is to have.
    rosters: BTreeMap<ChannelId, Arc<SignedRoster>>,
    /// Versions of rosters that are sent and not answered.
    rosters_under_way: BTreeMap<ChannelId, u64>,
    /// Letters to be sent.
    letters: BTreeMap<u64, Bytes>,
    /// Letters that are sent and not answered.
    letters_under_way: BTreeMap<u64, Bytes>,
    /// No letter is sent before then: the peer has held some back.
    letters_held_until: Option<u64>,
    /// The last letter that was sent, and the last that was answered.
    letters_sent: u64,
    letters_taken: u64,
    /// The last that was ever sent on this stream: some that were held back may have to go again.
    letters_most: u64,
    /// When the peer last answered, or was first sent something after it had answered everything.
    heard_at: u64,
}

/// A channel on its way.
struct Parcel {
    owed: OwedChannel,
    /// The last event handed out.
    sent: Seq,
    /// From where it was started, or last went back to.
    from: Seq,
    /// The place after it, where known.
    next_pos: Option<Pos>,
    /// Ranges under way: the bytes of each.
    under_way: VecDeque<usize>,
    /// Events in the next range: one after the peer held a range back, for a later one of it may be why.
    most: u64,
    /// Not before then: the peer holds back.
    held_until: Option<u64>,
    /// The version of the roster that the peer was last given.
    roster: Option<u64>,
    /// One of the ranges since the last start has been answered so: the peer lacks the roster.
    lacks_roster: bool,
    /// How often in succession that held the channel back.
    rosterless: u32,
    /// The peer held back, and has taken nothing since: one range at a time tries whether it still does.
    probing: bool,
    queued: bool,
}

impl Courier {
    /// A courier of `home` for a stream that has just opened.
    pub fn new(home: HomeId, limits: CourierLimits) -> Self {
        Self {
            home,
            limits,
            parcels: HashMap::new(),
            turn: VecDeque::new(),
            orphans: BTreeMap::new(),
            held: BTreeSet::new(),
            in_flight: 0,
            unanswered: 0,
            pull: false,
            marks: BTreeMap::new(),
            marks_sent: 0,
            marks_under_way: BTreeMap::new(),
            rosters: BTreeMap::new(),
            rosters_under_way: BTreeMap::new(),
            letters: BTreeMap::new(),
            letters_under_way: BTreeMap::new(),
            letters_held_until: None,
            letters_sent: 0,
            letters_taken: 0,
            letters_most: 0,
            heard_at: 0,
        }
    }

    /// Events of a channel up to `owed.upto` are on disk and owed.
    pub fn owe(&mut self, channel: ChannelId, owed: OwedChannel) {
        let known = self.parcels.get(&channel).map(|parcel| parcel.owed.epoch);
        if known.is_some_and(|epoch| epoch != owed.epoch) {
            self.drop_parcel(channel);
        }
        let most = self.limits.range_entries;
        let parcel = self.parcels.entry(channel).or_insert_with(|| Parcel {
            sent: owed.acked,
            from: owed.acked,
            owed: owed.clone(),
            next_pos: None,
            under_way: VecDeque::new(),
            most,
            held_until: None,
            roster: None,
            lacks_roster: false,
            rosterless: 0,
            probing: false,
            queued: false,
        });
        parcel.owed.upto = parcel.owed.upto.max(owed.upto);
        if parcel.owed.roster < owed.roster {
            // What the peer could not take under the roster before, it may take under this one.
            parcel.owed.roster = owed.roster;
            parcel.release(channel, &mut self.held);
        }
        queue(parcel, channel, &mut self.turn);
    }

    /// The newest marks of a channel.
    pub fn mark(&mut self, channel: ChannelId, telling: Telling) {
        self.marks.insert(channel, telling);
    }

    /// The peer is to have a roster. The one that it was given on this stream, and asks for all the same, does not go again:
    /// it cannot take it.
    pub fn roster(&mut self, signed: Arc<SignedRoster>) {
        let (group, version) = (signed.roster().group, signed.roster().version);
        let given = self.parcels.get(&group).and_then(|parcel| parcel.roster);
        if given.is_some_and(|given| given >= version) {
            return;
        }
        let known = self.rosters.get(&group).map(|known| known.roster().version);
        if known.is_none_or(|known| known < version)
            && self.rosters_under_way.get(&group) != Some(&version)
        {
            self.rosters.insert(group, signed);
        }
    }

    /// A letter for the peer, and the number of the one that waited before it. One whose forerunner was never given to
    /// this stream is left out: it was posted before the stream was open, and comes again with all that wait. Sent
    /// now, it would tell the peer that those before it are void.
    pub fn letter(&mut self, number: u64, after: u64, letter: Bytes) {
        let follows = after <= self.letters_sent || self.letters.contains_key(&after);
        if follows && number > self.letters_sent {
            self.letters.insert(number, letter);
        }
    }

    /// The peer is to ask for what it missed.
    pub fn pull(&mut self) {
        self.pull = true;
    }

    /// What may be sent now, in this order; empty: nothing before an answer, more that is owed, or
    /// [`Courier::wake_at`].
    pub fn burst(&mut self, reader: &dyn Reader, now_ms: u64) -> Result<Vec<Delivery>, Fault> {
        let idle = self.is_answered();
        let mut burst = Vec::new();
        if std::mem::take(&mut self.pull) {
            burst.push(Delivery::Pull);
        }
        // Marks are few and gathered: they go first.
        while burst.len() < self.limits.burst && self.marks_under_way.len() < MARKS_UNDER_WAY {
            let Some((channel, telling)) = self.marks.pop_first() else { break };
            self.marks_sent += 1;
            let marks = telling.marks.clone();
            self.marks_under_way.insert(self.marks_sent, (channel, telling));
            burst.push(Delivery::Marks { number: self.marks_sent, channel, marks });
        }
        // Before the events that name them.
        while burst.len() < self.limits.burst && self.rosters_under_way.len() < ROSTERS_UNDER_WAY {
            // One of a group at a time: the answer to an older one would be to nothing that is remembered.
            let free = |group: &&ChannelId| !self.rosters_under_way.contains_key(*group);
            let Some(group) = self.rosters.keys().find(free).copied() else { break };
            let Some(signed) = self.rosters.remove(&group) else { break };
            self.rosters_under_way.insert(group, signed.roster().version);
            burst.push(Delivery::Roster(signed));
        }
        while burst.len() < self.limits.burst
            && self.letters_held_until.is_none()
            && self.letters_sent.saturating_sub(self.letters_taken) < LETTERS_UNDER_WAY
        {
            let Some((number, letter)) = self.letters.pop_first() else { break };
            if self.letters_sent == 0 {
                self.letters_taken = number - 1;
            }
            self.letters_sent = number;
            self.letters_most = self.letters_most.max(number);
            self.letters_under_way.insert(number, letter.clone());
            burst.push(Delivery::Letter { number, letter });
        }
        while burst.len() < self.limits.burst && self.in_flight < self.limits.window_bytes {
            let Some(channel) = self.turn.pop_front() else { break };
            burst.extend(self.next_of(reader, channel)?);
        }
        if idle && !burst.is_empty() {
            self.heard_at = now_ms;
        }
        Ok(burst)
    }

    /// One range (or what stands for it) is answered: the peer holds everything up to `have`.
    pub fn have(
        &mut self,
        now_ms: u64,
        channel: ChannelId,
        epoch: Epoch,
        have: Seq,
    ) -> Result<(), PeerFault> {
        self.answered(now_ms, channel, epoch, have, false)
    }

    /// The same, where the peer has taken nothing of the range, for it lacks the roster that an event names.
    pub fn needs_roster(
        &mut self,
        now_ms: u64,
        channel: ChannelId,
        epoch: Epoch,
        have: Seq,
    ) -> Result<(), PeerFault> {
        self.answered(now_ms, channel, epoch, have, true)
    }

    fn answered(
        &mut self,
        now_ms: u64,
        channel: ChannelId,
        epoch: Epoch,
        have: Seq,
        needs_roster: bool,
    ) -> Result<(), PeerFault> {
        let limits = self.limits;
        if self.answers_orphan(now_ms, channel, Some(epoch)) {
            return Ok(());
        }
        // A parcel goes when all of it is acknowledged, or leaves orphans: without either, nothing was asked.
        let parcel = self.parcels.get_mut(&channel).filter(|parcel| parcel.owed.epoch == epoch);
        let asked = parcel.and_then(|p| p.under_way.pop_front().map(|bytes| (p, bytes)));
        let Some((parcel, bytes)) = asked else { return Err(PeerFault("ack_unasked")) };
        // Of what was never for the peer it need hold nothing.
        let have = have.max(parcel.owed.begins);
        parcel.lacks_roster |= needs_roster;
        self.heard_at = now_ms;
        self.in_flight -= bytes;
        self.unanswered -= 1;
        if have > parcel.sent {
            // It had more than was known here: what was owed is noted before the last answers are in, and it may have
            // fetched what is on disk and not noted here yet. Whether so much was ever written, the home judges
            // ([`crate::Home::acknowledged`]).
            parcel.sent = have;
            parcel.owed.upto = parcel.owed.upto.max(have);
            parcel.next_pos = None;
        }
        if parcel.under_way.is_empty() && have < parcel.sent {
            // Everything is answered and the peer is behind: go on from where it is. Where it got no further
            // than it was, it holds back.
            let stuck = have == parcel.from;
            parcel.sent = have;
            parcel.from = have;
            parcel.next_pos = None;
            if stuck {
                parcel.most = 1;
                parcel.probing = true;
                let wait_ms = parcel.hold_ms(&limits);
                let until = now_ms.saturating_add(wait_ms);
                parcel.held_until = Some(until);
                self.held.insert((until, channel));
            }
            parcel.lacks_roster = false;
        } else if have > parcel.from {
            parcel.most = (parcel.most * 2).min(limits.range_entries);
            (parcel.rosterless, parcel.probing) = (0, false);
        }
        queue(parcel, channel, &mut self.turn);
        if parcel.under_way.is_empty() && parcel.sent == parcel.owed.upto && have == parcel.sent {
            self.drop_parcel(channel);
        }
        Ok(())
    }

    /// The peer holds everything of a group up to `have`, of which some came by gossip: it answers no range. What it
    /// holds is not sent.
    pub fn heard(&mut self, channel: ChannelId, epoch: Epoch, have: Seq) -> Result<(), PeerFault> {
        if !channel.is_group() {
            return Err(PeerFault("ack_unasked"));
        }
        let parcel = self.parcels.get_mut(&channel).filter(|parcel| parcel.owed.epoch == epoch);
        let Some(parcel) = parcel.filter(|parcel| have > parcel.sent) else { return Ok(()) };
        parcel.sent = have;
        // As with what is answered, the home judges whether so much was ever written.
        parcel.owed.upto = parcel.owed.upto.max(have);
        parcel.next_pos = None;
        if parcel.under_way.is_empty() {
            parcel.from = have;
            if parcel.sent == parcel.owed.upto {
                self.drop_parcel(channel);
            }
        }
        Ok(())
    }

    /// The peer has applied marks up to that number: which tellings.
    pub fn marks_taken(
        &mut self,
        now_ms: u64,
        upto: u64,
    ) -> Result<Vec<(ChannelId, Telling)>, PeerFault> {
        if upto > self.marks_sent {
            return Err(PeerFault("ack_ahead"));
        }
        let rest = self.marks_under_way.split_off(&(upto + 1));
        let taken = std::mem::replace(&mut self.marks_under_way, rest);
        if !taken.is_empty() {
            self.heard_at = now_ms; // what is acknowledged twice is no answer
        }
        Ok(taken.into_values().collect())
    }

    /// The peer has a roster, or will not have it. What it held back of the group may
    /// be tried again.
    pub fn roster_taken(
        &mut self,
        now_ms: u64,
        group: ChannelId,
        version: u64,
    ) -> Result<(), PeerFault> {
        if self.rosters_under_way.get(&group) != Some(&version) {
            return Err(PeerFault("ack_unasked"));
        }
        self.rosters_under_way.remove(&group);
        self.heard_at = now_ms;
        // The same one again is no reason: what else holds the peer back takes its time.
        if let Some(parcel) = self.parcels.get_mut(&group)
            && parcel.roster.replace(version) != Some(version)
        {
            parcel.release(group, &mut self.held);
            queue(parcel, group, &mut self.turn);
        }
        Ok(())
    }

    /// The peer has taken letters up to that number.
    pub fn letters_taken(&mut self, now_ms: u64, upto: u64) -> Result<(), PeerFault> {
        if upto > self.letters_most {
            return Err(PeerFault("ack_ahead"));
        }
        if upto > self.letters_taken {
            self.letters_taken = upto;
            self.heard_at = now_ms;
        }
        if upto > self.letters_sent {
            // What was sent again has met an older answer, by which they were held back.
            self.letters_sent = upto;
            self.letters = self.letters.split_off(&(upto + 1));
        }
        self.letters_under_way = self.letters_under_way.split_off(&(upto + 1));
        Ok(())
    }

    /// The peer cannot take letters above that number yet: they come again in a while.
    pub fn letters_held(&mut self, now_ms: u64, upto: u64) -> Result<(), PeerFault> {
        if upto > self.letters_most {
            return Err(PeerFault("ack_ahead"));
        }
        if upto < self.letters_taken {
            return Ok(()); // an answer to one that has gone again since
        }
        self.letters_taken = upto;
        let mut again = std::mem::take(&mut self.letters_under_way).split_off(&(upto + 1));
        self.letters.append(&mut again);
        self.letters_sent = upto;
        self.heard_at = now_ms;
        self.letters_held_until = Some(now_ms.saturating_add(self.limits.held_back_ms));
        Ok(())
    }

    /// The peer takes nothing of a channel: an answer to a range of it, or to marks that it cannot make anything of.
    pub fn refused(&mut self, now_ms: u64, channel: ChannelId) -> Result<(), PeerFault> {
        // It names no life: the oldest range is the one that it answers.
        if !self.answers_orphan(now_ms, channel, None) {
            let parcel = self.parcels.get_mut(&channel);
            if let Some(bytes) = parcel.and_then(|parcel| parcel.under_way.pop_front()) {
                self.in_flight -= bytes;
                self.unanswered -= 1;
            } else {
                let mut marks = self.marks_under_way.iter();
                let number = marks.find(|(_, (of, _))| *of == channel).map(|(number, _)| *number);
                let Some(number) = number else { return Err(PeerFault("ack_unasked")) };
                self.marks_under_way.remove(&number);
            }
            self.heard_at = now_ms;
        }
        self.marks.remove(&channel);
        self.drop_parcel(channel);
        Ok(())
    }

    /// When [`Courier::wake`] has something to do.
    pub fn wake_at(&self) -> Option<u64> {
        let held = self.held.first().map(|(at, _)| *at);
        let late =
            (!self.is_answered()).then(|| self.heard_at.saturating_add(self.limits.answer_ms));
        held.into_iter().chain(self.letters_held_until).chain(late).min()
    }

    /// Time has passed: what was held back may be tried again; a peer that answers nothing is at fault.
    pub fn wake(&mut self, now_ms: u64) -> Result<(), PeerFault> {
        while let Some((at, channel)) = self.held.first().copied().filter(|(at, _)| *at <= now_ms) {
            self.held.remove(&(at, channel));
            if let Some(parcel) = self.parcels.get_mut(&channel) {
                parcel.held_until = None;
                queue(parcel, channel, &mut self.turn);
            }
        }
        self.letters_held_until = self.letters_held_until.filter(|until| *until > now_ms);
        let late = self.heard_at.saturating_add(self.limits.answer_ms) <= now_ms;
        if late && !self.is_answered() { Err(PeerFault("no_acknowledgement")) } else { Ok(()) }
    }

    /// Whether nothing waits: neither for an answer nor to be sent.
    pub fn is_idle(&self) -> bool {
        let waiting = self.marks.is_empty() && self.rosters.is_empty() && self.letters.is_empty();
        self.parcels.is_empty() && waiting && self.is_answered() && !self.pull
    }

    /// Whether events of a channel wait, or are under way.
    pub fn carries(&self, channel: ChannelId) -> bool {
        self.parcels.contains_key(&channel)
    }

    fn is_answered(&self) -> bool {
        self.marks_under_way.is_empty()
            && self.rosters_under_way.is_empty()
            && self.letters_sent == self.letters_taken
            && self.unanswered == 0
    }

    fn drop_parcel(&mut self, channel: ChannelId) {
        let Some(parcel) = self.parcels.remove(&channel) else { return };
        if !parcel.under_way.is_empty() {
            let epoch = parcel.owed.epoch;
            let left = parcel.under_way.into_iter().map(|bytes| (epoch, bytes));
            self.orphans.entry(channel).or_default().extend(left);
        }
        if parcel.queued {
            self.turn.retain(|queued| *queued != channel);
        }
        if let Some(until) = parcel.held_until {
            self.held.remove(&(until, channel));
        }
    }

    /// Whether an answer is to a range that was sent before its channel was given up: the oldest, of that life where
    /// the answer names one.
    fn answers_orphan(&mut self, now_ms: u64, channel: ChannelId, epoch: Option<Epoch>) -> bool {
        let Some(orphans) = self.orphans.get_mut(&channel) else { return false };
        let mut lives = orphans.iter().map(|(of, _)| *of);
        let Some(oldest) = lives.position(|of| epoch.is_none_or(|epoch| epoch == of)) else {
            return false;
        };
        let Some((_, bytes)) = orphans.remove(oldest) else { return false };
        if orphans.is_empty() {
            self.orphans.remove(&channel);
        }
        self.in_flight -= bytes;
        self.unanswered -= 1;
        self.heard_at = now_ms;
        true
    }

    /// The next range of a channel whose turn it is.
    fn next_of(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
    ) -> Result<Option<Delivery>, Fault> {
        let (home, limits) = (self.home, self.limits);
        let Some(parcel) = self.parcels.get_mut(&channel) else { return Ok(None) };
        parcel.queued = false;
        if parcel.sent >= parcel.owed.upto || parcel.held_until.is_some() {
            return Ok(None);
        }
        let events = read(reader, home, &limits, channel, parcel)?;
        let next = parcel.sent.next();
        let (epoch, parties) = (parcel.owed.epoch, parcel.owed.parties.clone());
        let (delivery, bytes) = match events.last() {
            Some(last) if events.first().is_some_and(|e| e.event.header.seq == next) => {
                let begins = parcel.owed.begins > Seq(0) && parcel.sent == parcel.owed.begins;
                parcel.sent = last.event.header.seq;
                parcel.next_pos = Some(last.pos.next());
                let bytes = events.iter().map(|e| e.event.size_bytes()).sum();
                (Delivery::Range { channel, parties, epoch, events, begins }, bytes)
            }
            Some(_) | None => {
                // What is owed and not there was removed by retention, or never taken back after a restore.
                let state = reader.channel(channel)?;
                let chain = state.as_ref().and_then(|s| s.chain(&home, epoch));
                let gone = match chain.and_then(|c| c.pruned).filter(|(seq, _)| *seq >= next) {
                    Some(pruned) => Some(pruned),
                    None => chain.map_or(Ok(None), |c| hole(reader, channel, c, next))?,
                };
                let Some((seq, hash)) = gone else {
                    return Err(Fault(format!(
                        "{channel}: event {} of our own is not there",
                        next.0
                    )));
                };
                parcel.sent = seq;
                // The disk may be ahead of what was heard of it.
                parcel.owed.upto = parcel.owed.upto.max(seq);
                parcel.next_pos = None;
                (Delivery::Pruned { channel, parties, epoch, seq, hash }, 0)
            }
        };
        parcel.under_way.push_back(bytes);
        self.in_flight += bytes;
        self.unanswered += 1;
        queue(parcel, channel, &mut self.turn);
        Ok(Some(delivery))
    }
}

impl Parcel {
    /// How long a range waits that the peer did not take.
    fn hold_ms(&mut self, limits: &CourierLimits) -> u64 {
        if !self.lacks_roster {
            return limits.held_back_ms;
        }
        let factor = 1_u64.checked_shl(self.rosterless).unwrap_or(u64::MAX);
        self.rosterless = self.rosterless.saturating_add(1);
        let most = limits.roster_retry_most_ms.max(limits.held_back_ms);
        limits.held_back_ms.saturating_mul(factor).min(most)
    }

    /// What held the peer back may be over.
    fn release(&mut self, channel: ChannelId, held: &mut BTreeSet<(u64, ChannelId)>) {
        self.rosterless = 0;
        if let Some(until) = self.held_until.take() {
            held.remove(&(until, channel));
        }
    }
}

fn queue(parcel: &mut Parcel, channel: ChannelId, turn: &mut VecDeque<ChannelId>) {
    let waits = parcel.held_until.is_some() || (parcel.probing && !parcel.under_way.is_empty());
    if !parcel.queued && !waits && parcel.sent < parcel.owed.upto {
        parcel.queued = true;
        turn.push_back(channel);
    }
}

/// Own events of a channel above `parcel.sent`, without a hole, up to what is owed and the bounds of a range.
fn read(
    reader: &dyn Reader,
    home: HomeId,
    limits: &CourierLimits,
    channel: ChannelId,
    parcel: &mut Parcel,
) -> Result<Vec<Arc<LogEntry>>, Fault> {
    let epoch = parcel.owed.epoch;
    let mut pos = match parcel.next_pos {
        Some(pos) => pos,
        None => match reader.row_of_seq(channel, home, epoch, parcel.sent.next())? {
            Some(row) => row.pos,
            None => return Ok(Vec::new()),
        },
    };
    // Others' events between are passed over; a stretch of nothing but those is walked through.
    loop {
        let last = Pos(pos.0 + limits.range_entries - 1);
        let entries = reader.log(channel, pos, last, limits.range_bytes)?;
        let Some(end) = entries.last().map(|e| e.pos) else { return Ok(Vec::new()) };
        let own: Vec<Arc<LogEntry>> = entries
            .into_iter()
            .filter(|entry| {
                let header = &entry.event.header;
                header.origin == home
                    && header.epoch == epoch
                    && header.seq > parcel.sent
                    && header.seq <= parcel.owed.upto
            })
            .take(usize::try_from(parcel.most).unwrap_or(usize::MAX))
            .collect();
        let first = own.first().map_or(0, |entry| entry.event.header.seq.0);
        let follows = |(n, entry): &(u64, Arc<LogEntry>)| entry.event.header.seq.0 == first + n;
        let own: Vec<Arc<LogEntry>> =
            (0..).zip(own).take_while(follows).map(|(_, entry)| entry).collect();
        if !own.is_empty() {
            return Ok(own);
        }
        pos = end.next();
        parcel.next_pos = Some(pos);
    }
}
