//! What comes from other homes: ranges of their chains, straight from them or fetched later, and of this
//! home's own from before its disk was lost.
//!
//! A range is applied whole or not at all, and only with the proof of its end ([`ProvenHead`]): so whatever
//! is held of a chain can be proven to anybody, for ever.

use homing_wire::limits::{BODY_BYTES, LIVES, STAMP_ACCEPT_MS};
use homing_wire::{
    ChainPos, ChannelId, Epoch, Event, Hash, Head, HeaderError, HomeId, Kind, Local, ProvenHead,
    Role, Seq, UserRef, body::Body,
};

use crate::fold::{Deleted, misdirected, right_of};
use crate::follow::REMOVED;
use crate::home::{Effect, Home};
use crate::log::Standing;
use crate::reader::{Fault, Reader};
use crate::relay::PeerFault;
use crate::state::{ChainEnd, ChainProof, Fork, MessageKey};

/// Consecutive events of one chain, as they came.
#[derive(Clone, Debug)]
pub struct RangeIn {
    /// The conversation.
    pub channel: ChannelId,
    /// Whose chat it is, as the peer says.
    pub parties: [UserRef; 2],
    /// Whose chain.
    pub origin: HomeId,
    /// The life of the origin's store.
    pub epoch: Epoch,
    /// The number of the first event.
    pub first: Seq,
    /// Each parsed, or why it is no event.
    pub events: Vec<Result<Event, HeaderError>>,
    /// The head of the last event, proven.
    pub end: Option<ProvenHead>,
    /// Of a group: the chain begins here for this home, which was not in the group before.
    pub begins: bool,
}

/// What to answer a range with, once its step is committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeReply {
    /// Everything up to here is held (or rejected).
    pub have: Seq,
    /// Events that used up their number and nothing else, and why.
    pub rejected: Vec<(Seq, &'static str)>,
    /// Nothing of this channel is taken, and why.
    pub refused: Option<&'static str>,
    /// How many events were new here.
    pub applied: usize,
    /// The range is to come again later, and why: `held_back`, a stamp is too far ahead of this home's clock;
    /// `requests_full`, too many first contacts of that home wait for an answer; `first_contact`, this one has had its few words.
    pub held_back: Option<&'static str>,
    /// The roster that an event names is not here, nor perhaps the group: the range is to come again after it.
    pub need_roster: bool,
}

impl RangeReply {
    fn from(have: Seq) -> Self {
        Self {
            have,
            rejected: Vec::new(),
            refused: None,
            applied: 0,
            held_back: None,
            need_roster: false,
        }
    }

    fn held_back(have: Seq, reason: &'static str) -> Self {
        Self { held_back: Some(reason), ..Self::from(have) }
    }

    fn refused(reason: &'static str) -> Self {
        Self { refused: Some(reason), ..Self::from(Seq(0)) }
    }
}

/// What comes of the first range of a chat.
enum Contact {
    /// The chat is here now.
    Made,
    /// Nothing of it is taken, and why.
    Refused(&'static str),
    /// There is no room for one more first contact of that home.
    Later,
}

/// How a range came here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its origin sent it.
    Relay,
    /// It was fetched, from its origin or another home.
    Repair,
    /// It is this home's own, from before its disk was lost.
    Adoption,
}

impl Home {
    /// Applies a range that `peer` sent of its own chain: the events and the new end of the chain are one
    /// step. What is held already is passed over, a gap is not applied; a poisonous event is rejected alone.
    pub fn receive_range(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        peer: HomeId,
        range: &RangeIn,
    ) -> Result<Result<RangeReply, PeerFault>, Fault> {
        if range.origin != peer {
            return Ok(Err(PeerFault("speaks_for_another_home")));
        }
        self.at(now_ms);
        self.take_range(reader, peer, range, Way::Relay)
    }

    /// Applies a range that was fetched from `peer`: of its own chain, of another home's, or of this home's
    /// from an earlier life.
    pub fn repair_range(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        peer: HomeId,
        range: &RangeIn,
    ) -> Result<Result<RangeReply, PeerFault>, Fault> {
        self.at(now_ms);
        let way = if range.origin == self.id {
            // Nobody but this home writes in its present life.
            if range.epoch >= self.epoch {
                return Ok(Err(PeerFault("speaks_for_another_home")));
            }
            Way::Adoption
        } else {
            Way::Repair
        };
        self.take_range(reader, peer, range, way)
    }

    /// Everything of `peer`'s chain up to `end` is gone there: this home goes on behind it, and its users
    /// are shown a gap.
    pub fn receive_pruned(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        peer: HomeId,
        parties: &[UserRef; 2],
        end: &ProvenHead,
    ) -> Result<Result<RangeReply, PeerFault>, Fault> {
        self.at(now_ms);
        let head = end.head();
        if end.origin() != peer {
            return Ok(Err(PeerFault("speaks_for_another_home")));
        }
        match self.open_for(reader, peer, head.channel, parties, end.origin(), end.epoch())? {
            Ok(Opening::Open) => {}
            Ok(Opening::Refused(reason)) => return Ok(Ok(RangeReply::refused(reason))),
            Ok(Opening::NoRoster) => {
                return Ok(Ok(RangeReply { need_roster: true, ..RangeReply::from(Seq(0)) }));
            }
            Ok(Opening::Unknown) => {
                let [a, b] = parties;
                let (ours, theirs) = if a.home == self.id { (a, b) } else { (b, a) };
                if self.is_full_of_requests(reader, &ours.local, theirs)? {
                    return Ok(Ok(RangeReply::held_back(Seq(0), "requests_full")));
                }
                self.make_contact(reader, ours, theirs, theirs)?;
            }
            Err(fault) => return Ok(Err(fault)),
        }
        let mut end_here = self.end_of(head.channel, peer, end.epoch());
        if end_here.fork.is_some() {
            return Ok(Ok(RangeReply::refused("equivocation")));
        }
        if head.seq > end_here.seq {
            let missing = head.seq.0 - end_here.seq.0;
            (end_here.seq, end_here.hash) = (head.seq, head.hash);
            end_here.proof = end.proof().map(|proof| ChainProof {
                seq: head.seq,
                hash: head.hash,
                proof: proof.clone(),
            });
            self.move_chain(head.channel, end_here.clone());
            self.note_gap(head.channel, missing);
        }
        self.hurry();
        Ok(Ok(RangeReply::from(end_here.seq)))
    }

    fn take_range(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        range: &RangeIn,
        way: Way,
    ) -> Result<Result<RangeReply, PeerFault>, Fault> {
        let (id, origin, epoch) = (range.channel, range.origin, range.epoch);
        let opening = self.open_for(reader, peer, id, &range.parties, origin, epoch)?;
        let known = match opening {
            Ok(Opening::Open) => true,
            Ok(Opening::Unknown) => false,
            Ok(Opening::NoRoster) => {
                return Ok(Ok(RangeReply { need_roster: true, ..RangeReply::from(Seq(0)) }));
            }
            Ok(Opening::Refused(reason)) => {
                // By a newer roster somebody of this home may be in the group: it may still be on its way.
                let held = self.roster(id).map(|signed| signed.roster().version);
                let mut named = range.events.iter().flatten().map(|event| event.header.roster);
                let need_roster = held.is_some_and(|held| named.any(|version| version > held));
                return Ok(Ok(match need_roster {
                    true => RangeReply { need_roster, ..RangeReply::from(Seq(0)) },
                    false => RangeReply::refused(reason),
                }));
            }
            Err(fault) => return Ok(Err(fault)),
        };
        let mut end = self.end_of(id, origin, epoch);
        if end.fork.is_some() {
            return Ok(Ok(RangeReply::refused("equivocation")));
        }
        let begins = self.begins_here(peer, range, &end);
        let missing = begins.map_or(0, |(seq, _)| seq.0 - end.seq.0);
        if let Some((seq, hash)) = begins {
            (end.seq, end.hash, end.proof) = (seq, hash, None);
        }
        if range.events.is_empty() || range.first > end.seq.next() {
            return Ok(Ok(RangeReply::from(end.seq))); // a gap: the answer says from where to go on
        }
        let events = match proven_events(range) {
            Ok(events) => events,
            Err(fault) => return Ok(Err(fault)),
        };
        if self.is_fork(reader, id, &end, &events)? {
            self.keep_fork(id, end, range);
            return Ok(Err(PeerFault("equivocation")));
        }
        let new: Vec<&Event> = events.iter().copied().filter(|e| e.header.seq > end.seq).collect();
        let held = self.roster(id).map(|signed| signed.roster().version);
        if held.is_some_and(|held| new.iter().any(|event| event.header.roster > held)) {
            return Ok(Ok(RangeReply { need_roster: true, ..RangeReply::from(end.seq) }));
        }
        let too_early = |event: &&Event| event.header.stamp.ms() > self.now_ms + STAMP_ACCEPT_MS;
        if way != Way::Adoption && new.iter().any(too_early) {
            return Ok(Ok(RangeReply::held_back(end.seq, "held_back")));
        }
        // A stranger's words beyond the few wait at that home until one is accepted: rejected, they would be lost. Not part of
        // a range is taken: what proves it is at its end.
        if self.words_left(id, peer, origin, way).is_some_and(|left| new.len() as u64 > left) {
            return Ok(Ok(RangeReply::held_back(end.seq, "first_contact")));
        }
        if !known {
            match self.first_contact(reader, range, way)? {
                Ok(Contact::Made) => {}
                Ok(Contact::Refused(reason)) => return Ok(Ok(RangeReply::refused(reason))),
                Ok(Contact::Later) => {
                    return Ok(Ok(RangeReply::held_back(end.seq, "requests_full")));
                }
                Err(fault) => return Ok(Err(fault)),
            }
        }
        let mut reply = RangeReply::from(end.seq);
        if begins.is_some() {
            self.move_chain(id, end);
            if way == Way::Adoption {
                self.note_gap(id, missing);
            }
        }
        for event in new {
            match self.take_event(reader, id, event, way)? {
                Some(reason) => reply.rejected.push((event.header.seq, reason)),
                None => reply.applied += 1,
            }
            reply.have = event.header.seq;
        }
        self.prove_end(id, range);
        match way {
            Way::Relay if reply.applied > 0 => self.taken_again(reader, id, peer)?,
            // Of a group, others than who gave it may lack it.
            Way::Adoption if reply.applied > 0 => self.owe_events(id),
            Way::Relay | Way::Repair | Way::Adoption => {}
        }
        self.hurry();
        Ok(Ok(reply))
    }

    /// Where a chain begins for this home, if this range is its first part: of a group that this home was not in before.
    fn begins_here(&self, peer: HomeId, range: &RangeIn, end: &ChainEnd) -> Option<(Seq, Hash)> {
        let first = &range.events.first()?.as_ref().ok()?.header;
        let signed = self.roster(range.channel)?;
        let since = |home: &HomeId| signed.roster().home_in_at(home, first.roster);
        let mine = since(&self.id)?;
        if !range.begins || first.seq != range.first || first.seq <= end.seq.next() {
            return None;
        }
        let begins = if range.origin == self.id {
            // What is before was lost with the disk, and nobody who is left to be asked can have it.
            self.is_last_to_ask(range.channel, peer)
        } else {
            // Within one time of this home's in the group nothing is left out; and whoever is not the origin has
            // what is to be had only if it was there as long.
            let knows = range.origin == peer || since(&peer).is_some_and(|theirs| theirs <= mine);
            knows && end.roster < mine
        };
        begins.then(|| (Seq(first.seq.0 - 1), first.prev))
    }

    /// Whether, of the homes that are or were in a group, `peer` alone has still to be asked what it holds.
    fn is_last_to_ask(&self, group: ChannelId, peer: HomeId) -> bool {
        let Some(signed) = self.roster(group) else { return false };
        let mut others =
            signed.roster().tenures.iter().map(|t| t.user.home).filter(|home| *home != peer);
        others.all(|home| home == self.id || !self.asked_first(&home))
    }

    /// Whether a chain of `origin` may be brought by `peer` into a channel.
    fn open_for(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        id: ChannelId,
        parties: &[UserRef; 2],
        origin: HomeId,
        epoch: Epoch,
    ) -> Result<Result<Opening, PeerFault>, Fault> {
        let own = self.id;
        let Some(state) = self.channel(reader, id)? else {
            if id.is_group() {
                return Ok(Ok(Opening::NoRoster));
            }
            let [a, b] = parties;
            if a == b || ChannelId::chat(a, b) != id {
                return Ok(Err(PeerFault("wrong_channel")));
            }
            let (ours, theirs) = match (a.home == own, b.home == own) {
                (true, false) => (a, b),
                (false, true) => (b, a),
                (true, true) | (false, false) => return Ok(Err(PeerFault("not_a_member"))),
            };
            if theirs.home != peer || (origin != peer && origin != own) {
                return Ok(Err(PeerFault("not_a_member")));
            }
            // "No such user" and "takes no strangers" answer alike (DESIGN, section 15).
            if !self.takes_messages(reader, &ours.local)? {
                return Ok(Ok(Opening::Refused("unknown_channel")));
            }
            return Ok(Ok(Opening::Unknown));
        };
        if state.group.is_some() {
            // Whoever was in it may still bring what it wrote then.
            let roster = self.roster(id);
            let was_in = |home: &HomeId| {
                let mut of_home = roster
                    .iter()
                    .flat_map(|signed| &signed.roster().tenures)
                    .filter(|t| t.user.home == *home);
                of_home.any(|t| t.role >= Role::Member)
            };
            if !was_in(&peer) || !was_in(&origin) {
                return Ok(Ok(Opening::NoRoster)); // it knows a newer one, perhaps
            }
            // What this home wrote itself may come back whoever is left.
            let nobody = origin != own && self.state(id).is_none_or(|s| s.nobody_of(&own));
            if !was_in(&own) || nobody {
                return Ok(Ok(Opening::Refused("left")));
            }
        } else if !state.has_home(&peer) || !state.has_home(&origin) {
            return Ok(Err(PeerFault("not_a_member")));
        }
        let Some(state) = self.state(id) else { return Ok(Ok(Opening::Unknown)) };
        let lives = state.chains.iter().filter(|c| c.origin == origin).count();
        if lives >= LIVES && state.chain(&origin, epoch).is_none() {
            return Ok(Err(PeerFault("too_many_lives")));
        }
        if self.all_gone(reader, id)? {
            return Ok(Ok(Opening::Refused("user_gone")));
        }
        Ok(Ok(Opening::Open))
    }

    /// Makes the chat that a peer's user opens with one of ours, or that ours opened in an earlier life.
    fn first_contact(
        &mut self,
        reader: &dyn Reader,
        range: &RangeIn,
        way: Way,
    ) -> Result<Result<Contact, PeerFault>, Fault> {
        let [a, b] = &range.parties;
        let (ours, theirs) = if a.home == self.id { (a, b) } else { (b, a) };
        let Some(Ok(first)) = range.events.first() else { return Ok(Ok(Contact::Made)) };
        let writer = if way == Way::Adoption { ours } else { theirs };
        if first.header.user() != *writer {
            return Ok(Err(PeerFault("not_a_member")));
        }
        if !self.takes_messages(reader, &ours.local)? {
            return Ok(Ok(Contact::Refused("unknown_channel")));
        }
        if writer == theirs && self.is_full_of_requests(reader, &ours.local, theirs)? {
            return Ok(Ok(Contact::Later));
        }
        self.make_contact(reader, ours, theirs, writer)?;
        Ok(Ok(Contact::Made))
    }

    fn make_contact(
        &mut self,
        reader: &dyn Reader,
        ours: &UserRef,
        theirs: &UserRef,
        by: &UserRef,
    ) -> Result<(), Fault> {
        let id = ChannelId::chat(ours, theirs);
        self.make_chat(reader, by, if by == ours { theirs } else { ours })?;
        let accepted = !self.policy.first_contact_request;
        if let Some(member) = self.state_mut(id).and_then(|s| s.member_mut(ours)) {
            member.accepted = accepted;
        }
        self.note_unanswered(id, ours);
        let change = self.changed(id);
        self.follows(Effect::Channel { channel: id, change });
        Ok(())
    }

    /// Whether nobody of this home who is in the channel is left.
    fn all_gone(&mut self, reader: &dyn Reader, id: ChannelId) -> Result<bool, Fault> {
        let home = self.id;
        let members = self.state(id).map(|s| s.members.iter());
        let locals: Vec<Local> = members
            .into_iter()
            .flatten()
            .filter(|m| m.user.home == home)
            .map(|m| m.user.local.clone())
            .collect();
        for local in locals {
            if self.takes_messages(reader, &local)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn end_of(&self, channel: ChannelId, origin: HomeId, epoch: Epoch) -> ChainEnd {
        let end = self.state(channel).and_then(|s| s.chain(&origin, epoch)).cloned();
        end.unwrap_or_else(|| ChainEnd::none(origin, epoch))
    }

    /// Whether this home's own chain goes through that head.
    pub(crate) fn has_written(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        epoch: Epoch,
        head: Head,
    ) -> Result<bool, Fault> {
        let own = self.id;
        let end = self.end_of(channel, own, epoch);
        if head.seq >= end.seq {
            return Ok(head.seq == end.seq && head.hash == end.hash);
        }
        let row = self.row_of_seq(reader, channel, own, epoch, head.seq)?;
        // What has no entry any more (retention) was written here: nothing else makes the chain longer.
        let Some(row) = row.filter(|row| row.seq == head.seq) else { return Ok(true) };
        let held = self.entry_at(reader, channel, row.pos)?;
        Ok(held.is_none_or(|entry| entry.event.hash() == head.hash))
    }

    /// Whether a proven range and what is held cannot both be of one chain.
    fn is_fork(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        end: &ChainEnd,
        events: &[&Event],
    ) -> Result<bool, Fault> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(false) };
        if end.seq == Seq(0) {
            return Ok(false);
        }
        if first.header.seq == end.seq.next() {
            return Ok(first.header.prev != end.hash);
        }
        if let Some(same) = events.iter().find(|e| e.header.seq == end.seq) {
            return Ok(same.hash() != end.hash);
        }
        // All of it is old. What was rejected has no entry and is not looked at again.
        let seq = last.header.seq;
        let row = self.row_of_seq(reader, id, end.origin, end.epoch, seq)?;
        let Some(row) = row.filter(|row| row.seq == seq) else { return Ok(false) };
        let held = self.entry_at(reader, id, row.pos)?;
        Ok(held.is_some_and(|entry| entry.event.hash() != last.hash()))
    }

    /// Keeps the proof of a fork; nothing more is taken of the chain.
    fn keep_fork(&mut self, id: ChannelId, mut end: ChainEnd, range: &RangeIn) {
        let shown = range.end.as_ref().and_then(|proven| {
            let (head, proof) = (proven.head(), proven.proof()?.clone());
            Some(ChainProof { seq: head.seq, hash: head.hash, proof })
        });
        // Of what was fetched in parts, the part with the signature shows it.
        let (Some(held), Some(shown)) = (end.proof.clone(), shown) else { return };
        let mut room = Fork::BYTES;
        let headers = range
            .events
            .iter()
            .flatten()
            .filter(|event| event.header.seq >= end.seq.min(shown.seq))
            .map(|event| event.header_bytes.clone())
            .take_while(|bytes| {
                let fits = bytes.len() <= room;
                room = room.saturating_sub(bytes.len());
                fits
            })
            .collect();
        end.fork = Some(Box::new(Fork { held, shown, headers }));
        self.move_chain(id, end);
        self.hurry();
    }

    /// Takes the next event of its chain; answers why it is rejected, if it is.
    fn take_event(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        event: &Event,
        way: Way,
    ) -> Result<Option<&'static str>, Fault> {
        let header = &event.header;
        let mut end = self.end_of(id, header.origin, header.epoch);
        let named = end.roster;
        let verdict = match self.judge(id, event, &end) {
            None => self.repeats_an_id(reader, id, event)?,
            reason => reason,
        };
        end.seq = header.seq;
        end.hash = event.hash();
        end.stamp = end.stamp.max(header.stamp);
        end.roster = named.max(header.roster);
        if verdict.is_some() {
            self.move_chain(id, end);
            return Ok(verdict);
        }
        self.follow_stamp(id, header.stamp);
        let arrived_at = match way {
            // It came back: it was here before.
            Way::Adoption => self.now_ms.min(header.stamp.ms()),
            Way::Relay | Way::Repair => self.now_ms,
        };
        self.unveil(id, &header.user());
        if way == Way::Adoption {
            self.agreed_before(id, &header.user());
        }
        let fold = self.came_before(reader, id, header)?;
        // Of one that was erased, the deletion may still be on its way.
        let deleted =
            event.is_erased() || fold.as_ref().is_some_and(|fold| fold.deleted == Deleted::ForAll);
        let standing = if deleted { Standing::Deleted } else { Standing::Plain };
        if let Some(entry) = self.append(id, event.clone(), arrived_at, standing) {
            end.pos = entry.pos;
            self.move_chain(id, end);
            let changes = entry.changes().is_some();
            if way == Way::Adoption {
                if !changes {
                    self.move_own_mark(reader, id, &header.user(), &entry)?;
                } else if !id.is_group() {
                    self.accept_by_writing(id, &header.user());
                }
                self.remember_id(reader, &entry)?;
                self.owe_adopted(id, &entry);
            }
            if changes {
                self.fold_in(reader, id, &entry)?;
                return Ok(None);
            }
            if deleted {
                self.name_media(&entry, false);
            }
            let change = self.changed_for(id, |member| entry.is_shown_to(&member.user));
            let Some(fold) = fold else {
                self.follows(Effect::Message { entry, change });
                return Ok(None);
            };
            if fold.deleted == Deleted::ForAll {
                let header = &entry.event.header;
                let key = MessageKey::new(&header.user(), &header.id);
                self.erase(reader, id, key, true)?;
            }
            self.keep_fold(id, entry.pos, fold);
            let message = self.folded(reader, entry)?;
            self.follows(Effect::Changed { message, by: None, change });
        }
        Ok(None)
    }

    /// Whether a message with that id of that sender is held from another life of the origin. Within one
    /// life it is the origin's care.
    fn repeats_an_id(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        event: &Event,
    ) -> Result<Option<&'static str>, Fault> {
        let header = &event.header;
        let lives = self.state(id).map_or(0, |s| {
            s.chains.iter().filter(|c| c.origin == header.origin && c.epoch != header.epoch).count()
        });
        if lives == 0 {
            return Ok(None);
        }
        let key = MessageKey::new(&header.user(), &header.id);
        let known = self.ids.find(&key).is_some_and(|entry| entry.channel() == id);
        Ok((known || self.place_in(reader, id, key)?.is_some()).then_some("id_reused"))
    }

    /// How many more events of a first contact are taken while it waits for a yes; `None`: as many as there are.
    fn words_left(&self, id: ChannelId, peer: HomeId, origin: HomeId, way: Way) -> Option<u64> {
        let (waits, written) = match self.state(id) {
            Some(state) => {
                let mut ours = state.members.iter().filter(|m| m.user.home == self.id);
                (ours.any(|m| !m.accepted), state.written_by(&origin))
            }
            None => (self.policy.first_contact_request, 0),
        };
        // What a restored home has lost may be the yes, by word: it fetches what it had.
        if !waits || id.is_group() || way == Way::Adoption || self.reconciling.contains(&peer) {
            return None;
        }
        // Of all lives: a new one does not give a stranger more words.
        Some(self.policy.first_contact_messages.saturating_sub(written))
    }

    /// Why an event of a sound chain is rejected, if it is.
    fn judge(&self, id: ChannelId, event: &Event, end: &ChainEnd) -> Option<&'static str> {
        let header = &event.header;
        let state = self.state(id)?;
        let sender = header.user();
        if header.stamp < end.stamp {
            return Some("stamp_falls");
        }
        if state.group.is_some() {
            if header.roster < end.roster {
                return Some("roster_falls");
            }
            let at = ChainPos { epoch: header.epoch, seq: header.seq };
            let roster = self.roster(id)?;
            if roster.roster().may(&sender, right_of(header), header.roster, at).is_err() {
                return Some(REMOVED);
            }
        } else if state.member(&sender).is_none() {
            return Some("not_a_member");
        }
        let changes = matches!(header.kind, Kind::Edit | Kind::Delete | Kind::Reaction);
        match header.kind {
            // What it said is known to nobody any more.
            kind if event.is_erased() && kind.may_be_erased() => {
                misdirected(state, header).filter(|_| changes)
            }
            Kind::Text
            | Kind::Media
            | Kind::Custom
            | Kind::Edit
            | Kind::Delete
            | Kind::Reaction => match Body::is_canonical(&event.body, BODY_BYTES) {
                Ok(body) if body.kind == header.kind => {
                    misdirected(state, header).filter(|_| changes)
                }
                Ok(_) => Some("kind_mismatch"),
                Err(_) => Some("body_invalid"),
            },
            Kind::Notice => Some("kind_mismatch"),
            // Kept as they came; versions that know them will show them.
            Kind::Unknown(_) => None,
        }
    }

    /// Notes what proves the end that a range has reached.
    fn prove_end(&mut self, id: ChannelId, range: &RangeIn) {
        let Some(proven) = &range.end else { return };
        let Some(proof) = proven.proof() else { return };
        let head = proven.head();
        let mut end = self.end_of(id, range.origin, range.epoch);
        if range.origin != self.id && end.seq == head.seq && end.hash == head.hash {
            end.proof = Some(ChainProof { seq: head.seq, hash: head.hash, proof: proof.clone() });
            self.move_chain(id, end);
        }
    }
}

/// Whether a channel may be written to.
enum Opening {
    Open,
    /// It is not here yet, and may be made.
    Unknown,
    /// A group whose roster, or the one that says so, is not here.
    NoRoster,
    Refused(&'static str),
}

/// The events of a range, each in its place, if the last is the one that is proven. What is not is the peer's
/// fault: without a header that can be read, or with one of somebody else, a chain cannot go on.
pub(crate) fn proven_events(range: &RangeIn) -> Result<Vec<&Event>, PeerFault> {
    let mut events = Vec::with_capacity(range.events.len());
    let mut prev: Option<Hash> = None;
    let mut seq = range.first;
    for event in &range.events {
        let event = event.as_ref().map_err(|e| PeerFault(e.reason()))?;
        let header = &event.header;
        if header.origin != range.origin {
            return Err(PeerFault("speaks_for_another_home"));
        }
        if header.channel != range.channel || header.epoch != range.epoch || header.seq != seq {
            return Err(PeerFault("event_out_of_place"));
        }
        if prev.is_some_and(|prev| prev != header.prev) {
            return Err(PeerFault("broken_chain"));
        }
        prev = Some(event.hash());
        seq = seq.next();
        events.push(event);
    }
    let (Some(end), Some(last)) = (&range.end, events.last()) else {
        return Err(PeerFault("unproven"));
    };
    let head = end.head();
    let is_end = end.origin() == range.origin
        && end.epoch() == range.epoch
        && head.channel == range.channel
        && head.seq == last.header.seq
        && Some(head.hash) == prev;
    if is_end { Ok(events) } else { Err(PeerFault("unproven")) }
}
