//! What a node writes into a log by itself, for its own users alone: gaps, and what became of messages. Such
//! entries are events of the null home ([`HomeId::LOCAL`]); they have a `pos`, so syncing misses none, and never
//! leave the home.

use std::sync::Arc;

use bytes::Bytes;
use homing_wire::{
    ChannelId, Epoch, Event, Hash, Header, HomeId, Kind, Local, MessageId, Pos, Seq, Target,
    UserRef,
};
use uuid::Uuid;

use crate::home::{Effect, Home};
use crate::log::Standing;
use crate::reader::{Fault, Reader};
use crate::relay::PeerFault;
use crate::state::{ChainEnd, ChannelState, LogEntry};
use crate::write::Write;

/// Entries that retention removes of a channel in one step: bounds what one step reads and writes.
const PRUNED_AT_ONCE: u64 = 256;
/// And bytes of their events: they are read for what their headers say.
const PRUNED_BYTES: usize = 1 << 20;

/// What came of removing a part of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Entries removed.
    pub removed: u64,
    /// There may be more.
    pub more: bool,
}

/// A notice's sender, where an event needs one; users are shown the home instead.
const NODE: &str = "node";

/// Whether a channel has entries that arrived before `before_ms`, by what is committed: one is read at most.
pub fn has_older(reader: &dyn Reader, state: &ChannelState, before_ms: u64) -> Result<bool, Fault> {
    let first = state.pruned.next();
    if first > state.head {
        return Ok(false);
    }
    let oldest = reader.log(state.id, first, first, PRUNED_BYTES)?;
    Ok(oldest.first().is_some_and(|entry| entry.arrived_at < before_ms))
}

impl Home {
    /// `peer` rejected messages of ours: the sender is shown why. (Everybody's list is the same but for that; `pos`
    /// stays.) Tells how many are shown now that were not. Call it after [`Home::acknowledged`] with what came beside.
    ///
    /// Of a channel that the peer is not in, or of what was never written, it is at fault. Of what it was never sent
    /// nothing is shown, and nothing once it is out: its answer may have been on its way when that changed here.
    pub fn rejected_by(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        peer: HomeId,
        channel: ChannelId,
        epoch: Epoch,
        rejected: &[(Seq, String)],
    ) -> Result<Result<usize, PeerFault>, Fault> {
        self.at(now_ms);
        let (home, life) = (self.id, self.epoch);
        let state = self.channel(reader, channel)?;
        if state.is_some_and(|state| state.group.is_some()) {
            // Whether a message of a group counts is what its roster says, and no home's word.
            return Ok(Ok(0));
        }
        let Some((state, cursor)) = state.and_then(|s| s.cursor(&peer).map(|c| (s, c))) else {
            return Ok(Err(PeerFault("not_a_member")));
        };
        let written = state.chain(&home, epoch).map_or(Seq(0), |chain| chain.seq);
        // Of an earlier life it may hold what was lost with this home's disk.
        if epoch > life || (epoch == life && rejected.iter().any(|(seq, _)| *seq > written)) {
            return Ok(Err(PeerFault("rejected_ahead")));
        }
        if cursor.outside {
            return Ok(Ok(0));
        }
        let begins = cursor.begins;
        let was_sent = |seq: Seq| (epoch, seq) > begins;
        let mut shown = 0;
        let rejected = rejected.iter().filter(|(seq, _)| was_sent(*seq));
        for (seq, reason) in rejected.take(ChannelState::REJECTED) {
            let row = self.row_of_seq(reader, channel, home, epoch, *seq)?;
            let Some(row) = row.filter(|row| row.seq == *seq) else { continue };
            let Some(state) = self.state(channel) else { continue };
            if row.pos <= state.pruned {
                continue; // gone, and the disk does not know it yet
            }
            // Below what is remembered it may have been shown already: a peer makes at most one notice of
            // each message, however often it rejects.
            let full = state.rejected.len() == ChannelState::REJECTED;
            let forgotten = full && state.rejected.first().is_some_and(|(pos, _)| row.pos < *pos);
            if forgotten || state.rejection(row.pos).is_some() {
                continue;
            }
            let Some(entry) = self.entry_at(reader, channel, row.pos)? else { continue };
            if entry.changes().is_some() {
                continue; // what it changes stays what it is here
            }
            // A peer's word is shown to people: bounded, whatever was sent.
            let reason: String = reason.chars().take(64).collect();
            if let Some(state) = self.state_mut(channel) {
                state.rejected.push((row.pos, reason.clone()));
                state.rejected.sort_unstable_by_key(|(pos, _)| *pos);
                if state.rejected.len() > ChannelState::REJECTED {
                    state.rejected.remove(0);
                }
            }
            let header = &entry.event.header;
            let about = Target { sender: header.user(), id: header.id };
            self.note_rejected(channel, about);
            let change = self.changed(channel);
            self.follows(Effect::Rejected { entry, reason, change });
            shown += 1;
        }
        Ok(Ok(shown))
    }

    /// Clients that sync learn that a message is rejected.
    pub(crate) fn note_rejected(&mut self, channel: ChannelId, about: Target) {
        self.note_of(channel, about, "rejected");
    }

    /// Clients that sync learn that a message is not what it was, though no event says so.
    pub(crate) fn note_changed(&mut self, channel: ChannelId, about: Target) {
        self.note_of(channel, about, "changed");
    }

    fn note_of(&mut self, channel: ChannelId, about: Target, what: &str) {
        let Ok(node) = Local::canonical(NODE) else { return };
        let body = format!(r#"{{"type":"notice","notice":"{what}"}}"#);
        self.note(channel, (node, Standing::Plain), Some(about), body);
    }

    /// A user hides a message.
    pub(crate) fn note_hidden(
        &mut self,
        channel: ChannelId,
        user: &Local,
        about: Target,
    ) -> Option<Arc<LogEntry>> {
        let body = r#"{"type":"notice","notice":"hidden"}"#.to_owned();
        self.note(channel, (user.clone(), Standing::Hidden), Some(about), body)
    }

    /// Users are shown that `missing` events are not there any more.
    pub(crate) fn note_gap(&mut self, channel: ChannelId, missing: u64) {
        let body = format!(r#"{{"type":"notice","notice":"gap","missing":{missing}}}"#);
        let sender = Local::canonical(NODE).ok().map(|node| (node, Standing::Plain));
        let entry = sender.and_then(|sender| self.note(channel, sender, None, body));
        let change = self.changed(channel);
        if let Some(entry) = entry {
            self.follows(Effect::Message { entry, change });
        }
    }

    /// Removes what arrived before `before_ms`, oldest first, a bounded part at a time.
    pub fn prune(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        channel: ChannelId,
        before_ms: u64,
    ) -> Result<Pruned, Fault> {
        self.at(now_ms);
        let Some(state) = self.channel(reader, channel)? else { return Ok(Pruned::default()) };
        let (first, head) = (state.pruned.next(), state.head);
        if first > head {
            return Ok(Pruned::default());
        }
        let last = Pos(head.0.min(first.0 + PRUNED_AT_ONCE - 1));
        let entries = reader.log(channel, first, last, PRUNED_BYTES)?;
        let old: Vec<_> = entries.iter().take_while(|e| e.arrived_at < before_ms).collect();
        let Some(last) = old.last() else { return Ok(Pruned::default()) };
        let (upto, counted) = (last.pos, last.counted);
        for risen in self.risen.get_mut(&channel).into_iter().flatten() {
            risen.pruned(upto, counted);
        }
        let home = self.id;
        let Some(state) = self.state_mut(channel) else { return Ok(Pruned::default()) };
        state.pruned = upto;
        let mut shown = false;
        for member in state.members.iter_mut().filter(|m| m.user.home == home) {
            let unread = member.read_counted < counted;
            shown |= unread || member.mentions.first().is_some_and(|pos| *pos <= upto);
            // What is gone is not unread.
            member.read_counted = member.read_counted.max(counted);
            member.mentions.retain(|pos| *pos > upto);
            member.hidden.retain(|pos| *pos > upto);
            if let Some(veil) = &mut member.veil
                && veil.last > Pos(0)
                && veil.last <= upto
            {
                veil.last = Pos(0);
                shown = true;
            }
        }
        state.rejected.retain(|(pos, _)| *pos > upto);
        state.uncounted.retain(|pos| *pos > upto);
        for entry in &old {
            let header = &entry.event.header;
            let chain = state
                .chains
                .iter_mut()
                .find(|c| c.origin == header.origin && c.epoch == header.epoch);
            if let Some(chain) = chain {
                chain.pruned = Some((header.seq, entry.event.hash()));
            }
        }
        let all_gone = state.last > Pos(0) && state.last <= upto;
        if let Some(slot) = self.change_channel(channel).filter(|_| all_gone) {
            slot.forget_last();
        }
        for entry in &old {
            self.name_media(entry, false);
        }
        self.write(Write::Pruned { channel, upto });
        if shown || all_gone {
            // Lists of channels show fewer unread, or another last message.
            let change = self.changed(channel);
            self.follows(Effect::Channel { channel, change });
        }
        let more = old.len() == entries.len() && upto < head;
        Ok(Pruned { removed: old.len() as u64, more })
    }

    /// Appends an entry of the node's own.
    fn note(
        &mut self,
        channel: ChannelId,
        (sender, standing): (Local, Standing),
        about: Option<Target>,
        body: String,
    ) -> Option<Arc<LogEntry>> {
        let (epoch, now_ms) = (self.epoch, self.now_ms);
        let stamp = self.next_stamp(channel);
        let end = self.end_of(channel, HomeId::LOCAL, epoch);
        let seq = end.seq.next();
        let body = Bytes::from(body);
        let name = [&channel.as_bytes()[..], &epoch.0.to_be_bytes(), &seq.0.to_be_bytes()].concat();
        let header = Header {
            channel,
            origin: HomeId::LOCAL,
            epoch,
            seq,
            prev: end.hash,
            stamp,
            sender,
            id: MessageId(Uuid::new_v5(&Uuid::NAMESPACE_OID, &name)),
            kind: Kind::Notice,
            target: about,
            mentions: Vec::<UserRef>::new(),
            media: Vec::new(),
            roster: 0,
            body_size: u32::try_from(body.len()).unwrap_or(u32::MAX),
            body_hash: Hash::of(&body),
        };
        let event = Event::new(header, body);
        let hash = event.hash();
        let entry = self.append(channel, event, now_ms, standing)?;
        self.move_chain(channel, ChainEnd { seq, hash, stamp, pos: entry.pos, ..end });
        Some(entry)
    }
}
