//! Between homes: what is owed to peers, and what comes from them.

use homing_wire::limits::{BODY_BYTES, STAMP_ACCEPT_MS, STAMP_FOLLOW_MS};
use homing_wire::{
    ChannelId, Epoch, Event, Hash, HeaderError, HomeId, Kind, Local, Seq, Stamp, UserRef,
    body::Body,
};

use crate::home::{Effect, Home};
use crate::reader::{Fault, Reader};
use crate::state::{ChainEnd, ChannelState, Cursor};
use crate::write::Write;

/// A peer did what no honest home does; the stable word says what. Nothing was changed by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PeerFault(pub &'static str);

/// Consecutive events of one chain of a peer, as they came.
#[derive(Clone, Debug)]
pub struct RangeIn {
    /// The conversation.
    pub channel: ChannelId,
    /// Whose chat it is, as the peer says.
    pub parties: [UserRef; 2],
    /// The life of the peer's store.
    pub epoch: Epoch,
    /// The number of the first event.
    pub first: Seq,
    /// Each parsed, or why it is no event.
    pub events: Vec<Result<Event, HeaderError>>,
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
}

/// Lives of a peer's store in one channel: each is a disaster that an honest home has survived. Bounds
/// what a dishonest one makes us keep.
const LIVES: usize = 16;

impl RangeReply {
    fn from(have: Seq) -> Self {
        Self { have, rejected: Vec::new(), refused: None, applied: 0 }
    }

    fn refused(reason: &'static str) -> Self {
        Self { have: Seq(0), rejected: Vec::new(), refused: Some(reason), applied: 0 }
    }
}

impl Home {
    /// Applies a range of `peer`'s events: they and the new end of the chain are one step. What is held
    /// already is passed over, a gap is not applied. A poisonous event is rejected alone.
    pub fn receive_range(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        peer: HomeId,
        range: &RangeIn,
    ) -> Result<Result<RangeReply, PeerFault>, Fault> {
        self.at(now_ms);
        let id = range.channel;
        if let Some(state) = self.channel(reader, id)? {
            if !state.has_home(&peer) {
                return Ok(Err(PeerFault("not_a_member")));
            }
            let lives = state.chains.iter().filter(|c| c.origin == peer).count();
            if lives >= LIVES && state.chain(&peer, range.epoch).is_none() {
                return Ok(Err(PeerFault("too_many_lives")));
            }
            if self.all_gone(reader, id)? {
                return Ok(Ok(RangeReply::refused("user_gone")));
            }
        } else {
            match self.first_contact(reader, peer, range)? {
                Ok(Contact::Made) => {}
                Ok(Contact::NotYet) => return Ok(Ok(RangeReply::from(Seq(0)))),
                Ok(Contact::Refused(reason)) => return Ok(Ok(RangeReply::refused(reason))),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        let mut reply = RangeReply::from(self.end_of(id, peer, range.epoch).seq);
        let mut seq = range.first;
        for event in &range.events {
            if seq == reply.have.next() {
                match self.receive_event(id, peer, range.epoch, seq, event) {
                    Ok(Verdict::Applied) => reply.applied += 1,
                    Ok(Verdict::Rejected(reason)) => reply.rejected.push((seq, reason)),
                    Ok(Verdict::NotYet) => break,
                    // What was applied before it is sound and stays; the peer is not told how far that is.
                    Err(fault) => return Ok(Err(fault)),
                }
                reply.have = seq;
            } else if seq > reply.have {
                break; // a gap: the answer says from where to go on
            }
            seq = seq.next();
        }
        self.hurry();
        Ok(Ok(reply))
    }

    /// `peer` holds this home's events of a channel up to `have`. A lower number than before is honoured.
    pub fn acknowledged(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        channel: ChannelId,
        epoch: Epoch,
        have: Seq,
    ) -> Result<Result<(), PeerFault>, Fault> {
        if epoch != self.epoch {
            return Ok(Ok(()));
        }
        let home = self.id;
        let Some(state) = self.channel(reader, channel)? else { return Ok(Ok(())) };
        let Some(cursor) = state.cursor(&peer) else { return Ok(Err(PeerFault("not_a_member"))) };
        let written = state.chain(&home, epoch).map_or(Seq(0), |c| c.seq);
        if have > written {
            return Ok(Err(PeerFault("ack_ahead")));
        }
        if cursor.acked != have {
            self.owe(channel, peer, |cursor| cursor.acked = have);
        }
        Ok(Ok(()))
    }

    /// `peer` takes nothing of a channel: what is owed there is cleared.
    pub fn refused_by(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        channel: ChannelId,
        reason: &str,
    ) -> Result<(), Fault> {
        let cursor = self.channel(reader, channel)?.and_then(|s| s.cursor(&peer));
        if cursor.is_some_and(|c| c.refused.is_none()) {
            // A peer's word is shown to operators: bounded, whatever was sent.
            let reason: String = reason.chars().take(64).collect();
            self.owe(channel, peer, |cursor| cursor.refused = Some(reason));
            let change = self.changed(channel);
            self.follows(Effect::Channel { channel, change });
        }
        Ok(())
    }

    /// Everything that is owed to `peer`, as effects of this step: it can be reached again.
    pub fn resume(&mut self, reader: &dyn Reader, peer: HomeId) -> Result<(), Fault> {
        let channels: Vec<ChannelId> =
            self.owed.get(&peer).map(|c| c.keys().copied().collect()).unwrap_or_default();
        for channel in channels {
            let Some(state) = self.channel(reader, channel)? else { continue };
            let Some(cursor) = state.cursor(&peer) else { continue };
            let marks_owed = cursor.marks_owed;
            if let Some(effect) = owed_effect(self.id, self.epoch, self.state(channel), peer) {
                self.follows(effect);
            }
            if marks_owed {
                self.owe_marks_to(reader, channel, peer)?;
            }
        }
        self.hurry();
        Ok(())
    }

    /// The newest own events of a channel are owed to the other homes in it.
    pub(crate) fn owe_events(&mut self, channel: ChannelId) {
        for peer in self.takers(channel) {
            self.owe(channel, peer, |_| {});
            if let Some(effect) = owed_effect(self.id, self.epoch, self.state(channel), peer) {
                self.follows(effect);
            }
        }
    }

    /// Changes a cursor, and the set of what is owed with it.
    pub(crate) fn owe(
        &mut self,
        channel: ChannelId,
        peer: HomeId,
        change: impl FnOnce(&mut Cursor),
    ) {
        let (home, epoch, now_ms) = (self.id, self.epoch, self.now_ms);
        let Some(slot) = self.change_channel(channel) else { return };
        let written = slot.state.chain(&home, epoch).map_or(Seq(0), |c| c.seq);
        let Some(cursor) = slot.state.cursors.iter_mut().find(|c| c.home == peer) else { return };
        change(cursor);
        let owed = cursor.refused.is_none() && (cursor.acked < written || cursor.marks_owed);
        let before = cursor.owed_since;
        cursor.owed_since = if owed { Some(before.unwrap_or(now_ms)) } else { None };
        let since = cursor.owed_since;
        if since == before {
            return;
        }
        let channels = self.owed.entry(peer).or_default();
        match since {
            Some(since) => {
                channels.insert(channel, since);
            }
            None => {
                channels.remove(&channel);
            }
        }
        if channels.is_empty() {
            self.owed.remove(&peer);
        }
        self.write(Write::Owed { peer, channel, since });
    }

    pub(crate) fn state(&self, channel: ChannelId) -> Option<&ChannelState> {
        self.peek_slot(channel).map(|slot| &slot.state)
    }

    pub(crate) fn state_mut(&mut self, channel: ChannelId) -> Option<&mut ChannelState> {
        self.change_channel(channel).map(|slot| &mut slot.state)
    }

    pub(crate) fn move_chain(&mut self, channel: ChannelId, end: ChainEnd) {
        let Some(state) = self.state_mut(channel) else { return };
        match state.chains.iter_mut().find(|c| c.origin == end.origin && c.epoch == end.epoch) {
            Some(chain) => *chain = end,
            None => state.chains.push(end),
        }
    }

    /// Makes the chat that a peer's user opens with one of ours, if there is a first event to put into it.
    fn first_contact(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        range: &RangeIn,
    ) -> Result<Result<Contact, PeerFault>, Fault> {
        let [a, b] = &range.parties;
        if a == b || ChannelId::chat(a, b) != range.channel {
            return Ok(Err(PeerFault("wrong_channel")));
        }
        let (ours, theirs) = match (a.home == self.id, b.home == self.id) {
            (true, false) => (a, b),
            (false, true) => (b, a),
            (true, true) | (false, false) => return Ok(Err(PeerFault("not_a_member"))),
        };
        if theirs.home != peer {
            return Ok(Err(PeerFault("not_a_member")));
        }
        // "No such user" and "takes no strangers" answer alike (DESIGN, section 15).
        if !self.takes_messages(reader, &ours.local)? {
            return Ok(Ok(Contact::Refused("unknown_channel")));
        }
        // The peer may have sent more once, to a store that was lost since: it is told where to begin.
        let Some(first) = range.events.first().filter(|_| range.first == Seq(1)) else {
            return Ok(Ok(Contact::NotYet));
        };
        let end = self.end_of(range.channel, peer, range.epoch);
        let event = match in_place(range.channel, &end, Seq(1), first) {
            Ok(event) => event,
            Err(fault) => return Ok(Err(fault)),
        };
        if event.header.user() != *theirs {
            return Ok(Err(PeerFault("not_a_member")));
        }
        if event.header.stamp.ms() > self.now_ms + STAMP_ACCEPT_MS {
            return Ok(Ok(Contact::NotYet));
        }
        self.make_chat(ours.clone(), theirs.clone());
        let accepted = !self.policy.first_contact_request;
        if let Some(member) = self.state_mut(range.channel).and_then(|s| s.member_mut(ours)) {
            member.accepted = accepted;
        }
        let change = self.changed(range.channel);
        self.follows(Effect::Channel { channel: range.channel, change });
        Ok(Ok(Contact::Made))
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

    fn end_of(&self, channel: ChannelId, origin: HomeId, epoch: Epoch) -> ChainEnd {
        self.state(channel).and_then(|s| s.chain(&origin, epoch)).cloned().unwrap_or(ChainEnd {
            origin,
            epoch,
            seq: Seq(0),
            hash: Hash::NONE,
            stamp: Stamp(0),
            pos: homing_wire::Pos(0),
        })
    }

    /// One event, the next of its chain.
    fn receive_event(
        &mut self,
        id: ChannelId,
        peer: HomeId,
        epoch: Epoch,
        seq: Seq,
        event: &Result<Event, HeaderError>,
    ) -> Result<Verdict, PeerFault> {
        let mut end = self.end_of(id, peer, epoch);
        let event = in_place(id, &end, seq, event)?;
        let header = &event.header;
        if header.stamp.ms() > self.now_ms + STAMP_ACCEPT_MS {
            return Ok(Verdict::NotYet);
        }
        let verdict = self.judge(id, event, &end);
        let stamp = header.stamp;
        end = ChainEnd {
            origin: peer,
            epoch,
            seq,
            hash: event.hash(),
            stamp: stamp.max(end.stamp),
            pos: end.pos,
        };
        if let Some(reason) = verdict {
            self.move_chain(id, end);
            return Ok(Verdict::Rejected(reason));
        }
        if stamp.ms() <= self.now_ms + STAMP_FOLLOW_MS {
            self.stamp = self.stamp.max(stamp);
        }
        if let Some(entry) = self.append(id, event.clone()) {
            end.pos = entry.pos;
            self.move_chain(id, end);
            let change = self.changed(id);
            self.follows(Effect::Message { entry, change });
        }
        self.taken_again(id, peer);
        Ok(Verdict::Applied)
    }

    /// Whoever writes in a channel takes something of it again: what was refused once is owed anew.
    fn taken_again(&mut self, id: ChannelId, peer: HomeId) {
        let cursor = self.state(id).and_then(|s| s.cursor(&peer));
        if cursor.is_some_and(|c| c.refused.is_some()) {
            self.owe(id, peer, |cursor| cursor.refused = None);
            if let Some(effect) = owed_effect(self.id, self.epoch, self.state(id), peer) {
                self.follows(effect);
            }
        }
    }

    /// Why an event of a sound chain is rejected, if it is.
    fn judge(&self, id: ChannelId, event: &Event, end: &ChainEnd) -> Option<&'static str> {
        let header = &event.header;
        let state = self.state(id)?;
        let sender = header.user();
        if state.member(&sender).is_none() {
            return Some("not_a_member");
        }
        if header.stamp < end.stamp {
            return Some("stamp_falls");
        }
        let waiting = state.members.iter().any(|m| m.user.home == self.id && !m.accepted);
        // Of all lives: a new one does not give a stranger more words.
        if waiting && state.written_by(&end.origin) >= self.policy.first_contact_messages {
            return Some("first_contact");
        }
        match header.kind {
            Kind::Text
            | Kind::Media
            | Kind::Custom
            | Kind::Edit
            | Kind::Delete
            | Kind::Reaction => match Body::is_canonical(&event.body, BODY_BYTES) {
                Ok(body) if body.kind == header.kind => None,
                Ok(_) => Some("kind_mismatch"),
                Err(_) => Some("body_invalid"),
            },
            // Kept as they came; versions that know them will show them.
            Kind::Unknown(_) => None,
        }
    }
}

/// What became of a first contact.
enum Contact {
    Made,
    /// Nothing was made; the peer is to begin with its first event, perhaps later.
    NotYet,
    Refused(&'static str),
}

/// What became of an event.
enum Verdict {
    Applied,
    Rejected(&'static str),
    /// Its stamp is too far ahead of our clock: it is left unacknowledged and comes again.
    NotYet,
}

/// Whether an event is the next of the chain that ends at `end`. What is not is the peer's fault: without a
/// header that can be read, or with one of somebody else, the chain cannot go on.
fn in_place<'a>(
    id: ChannelId,
    end: &ChainEnd,
    seq: Seq,
    event: &'a Result<Event, HeaderError>,
) -> Result<&'a Event, PeerFault> {
    let event = event.as_ref().map_err(|e| PeerFault(e.reason()))?;
    let header = &event.header;
    if header.origin != end.origin {
        return Err(PeerFault("speaks_for_another_home"));
    }
    if header.channel != id || header.epoch != end.epoch || header.seq != seq {
        return Err(PeerFault("event_out_of_place"));
    }
    if header.prev != end.hash {
        return Err(PeerFault("broken_chain"));
    }
    Ok(event)
}

fn owed_effect(
    home: HomeId,
    epoch: Epoch,
    state: Option<&ChannelState>,
    peer: HomeId,
) -> Option<Effect> {
    let state = state?;
    let cursor = state.cursor(&peer)?;
    let upto = state.chain(&home, epoch)?.seq;
    let [a, b] = state.members.get(..2)? else { return None };
    (cursor.refused.is_none() && cursor.acked < upto).then(|| Effect::Owed {
        peer,
        channel: state.id,
        parties: [a.user.clone(), b.user.clone()],
        acked: cursor.acked,
        upto,
    })
}
