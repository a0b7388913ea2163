//! A channel's log as the core sees it: what is committed, and the end that is not yet.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use homing_wire::{ChannelId, Epoch, Event, HomeId, Pos, Seq, SignedRoster, Stamp, UserRef};

use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::state::{ChannelState, EntryRow, LogEntry, Member, MessageKey};
use crate::write::Write;

/// A channel in memory.
pub(crate) struct ChannelSlot {
    pub(crate) state: ChannelState,
    /// A group's newest roster.
    pub(crate) roster: Option<Arc<SignedRoster>>,
    /// The greatest stamp followed here since the channel was loaded: behind a chain's end that is too far ahead to be
    /// followed there may be one that was.
    pub(crate) followed: Stamp,
    /// Homes that hold another roster of the group, as they have shown, since it was forked: who of them follows a later one
    /// first tells the others.
    pub(crate) others: BTreeSet<HomeId>,
    /// The last message, where it has been seen.
    last: Option<Arc<LogEntry>>,
    /// What members are shown instead, from whom it is hidden ([`Member::veil`]), where that has been seen.
    veiled: Vec<Arc<LogEntry>>,
    /// The latest rows with their steps and messages, without gaps up to the head; at least those not yet committed.
    rows: VecDeque<(u64, EntryRow, MessageKey)>,
}

/// Rows of a channel kept in memory beyond the uncommitted: marks mostly name recent messages.
const ROWS_KEPT: usize = 32;

impl ChannelSlot {
    pub(crate) fn new(state: ChannelState) -> Self {
        Self {
            state,
            roster: None,
            followed: Stamp(0),
            others: BTreeSet::new(),
            last: None,
            veiled: Vec::new(),
            rows: VecDeque::new(),
        }
    }

    /// The last message is gone, and all before it.
    pub(crate) fn forget_last(&mut self) {
        self.state.last = Pos(0);
        self.last = None;
    }

    /// The message at `pos`, if it is one of those that are shown as the last.
    fn seen(&self, pos: Pos) -> Option<&Arc<LogEntry>> {
        self.last.iter().chain(&self.veiled).find(|entry| entry.pos == pos)
    }

    /// Keeps an entry that some member is shown as the last, though it is not; forgets those that none is.
    fn keep(&mut self, entry: Option<Arc<LogEntry>>) {
        self.veiled.extend(entry);
        let members = &self.state.members;
        self.veiled.retain(|entry| {
            members.iter().any(|m| m.hiding().is_some_and(|v| v.last == entry.pos))
        });
    }
}

impl Home {
    /// The last message of a channel that `user` is shown, uncommitted ones included.
    pub fn last_message(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        user: &UserRef,
    ) -> Result<Option<Arc<LogEntry>>, Fault> {
        let Some(slot) = self.slot(reader, id)? else { return Ok(None) };
        let Some(member) = slot.state.member(user) else { return Ok(None) };
        let pos = slot.state.last_for(member);
        if pos == Pos(0) {
            return Ok(None);
        }
        if let Some(entry) = slot.seen(pos) {
            return Ok(Some(entry.clone()));
        }
        let entry = reader.entry(id, pos)?.map(Arc::new);
        // Seen, not changed: the step stays what it was. The entry is committed, or it would be here.
        if let Some(slot) = self.channels.peek_mut(&id) {
            if pos == slot.state.last {
                slot.last.clone_from(&entry);
            } else {
                slot.keep(entry.clone());
            }
        }
        Ok(entry)
    }

    /// The row of an entry, uncommitted ones included.
    pub(crate) fn row(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        pos: Pos,
    ) -> Result<Option<EntryRow>, Fault> {
        if let Some(slot) = self.slot(reader, id)?
            && let Some((_, row, _)) = slot.rows.iter().rev().find(|(_, row, _)| row.pos == pos)
        {
            return Ok(Some(*row));
        }
        reader.row(id, pos)
    }

    /// The last entry of `origin` at or below `pos`, uncommitted ones included.
    pub(crate) fn last_row_of(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        origin: HomeId,
        pos: Pos,
    ) -> Result<Option<EntryRow>, Fault> {
        let Some(slot) = self.slot(reader, id)? else { return Ok(None) };
        let here = slot.rows.iter().rev().find(|(_, r, _)| r.pos <= pos && r.origin == origin);
        match here {
            Some((_, row, _)) => Ok(Some(*row)),
            None => reader.last_row_of(id, origin, pos),
        }
    }

    /// The first entry of a chain at or above `seq`, uncommitted ones included.
    pub(crate) fn row_of_seq(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        origin: HomeId,
        epoch: Epoch,
        seq: Seq,
    ) -> Result<Option<EntryRow>, Fault> {
        let Some(slot) = self.slot(reader, id)? else { return Ok(None) };
        let here = slot
            .rows
            .iter()
            .find(|(_, r, _)| r.origin == origin && r.epoch == epoch && r.seq == seq)
            .map(|(_, row, _)| *row);
        match here {
            Some(row) => Ok(Some(row)),
            None => reader.row_of_seq(id, origin, epoch, seq),
        }
    }

    /// Whether a message of that sender and id is in the channel, uncommitted ones included.
    pub(crate) fn holds_message(
        &self,
        reader: &dyn Reader,
        id: ChannelId,
        key: MessageKey,
    ) -> Result<bool, Fault> {
        let rows = self.peek_slot(id).map(|slot| slot.rows.iter());
        if rows.into_iter().flatten().any(|(_, _, message)| *message == key) {
            return Ok(true);
        }
        Ok(reader.place(key)?.is_some_and(|(channel, _)| channel == id))
    }

    /// Adds an entry to the end of a channel's log. The caller moves the chain's end.
    pub(crate) fn append(
        &mut self,
        id: ChannelId,
        event: Event,
        arrived_at: u64,
    ) -> Option<Arc<LogEntry>> {
        let (step, committed, now_ms) = (self.current_step(), self.committed, self.now_ms);
        let slot = self.change_channel(id)?;
        let state = &mut slot.state;
        let is_message = event.header.kind.is_message();
        let sender = event.header.user();
        let hidden = event.header.origin != HomeId::LOCAL && state.hides(&sender);
        state.head = state.head.next();
        // What a home that is new in a group is given of what was before is news to nobody.
        let is_new = state.group.as_ref().is_none_or(|group| event.header.roster >= group.since);
        // Who has blocked the sender has nothing unread of it; the sender counts no own messages.
        state.counted += u64::from(is_message && is_new && !hidden);
        state.move_veils(&sender, hidden, is_message, now_ms);
        if is_message {
            state.last = state.head;
        }
        if is_message && is_new {
            state.active_at = now_ms;
            let is_group = state.group.is_some();
            for member in &mut state.members {
                // Whoever is only asked into a group is shown nothing of it.
                if !member.left
                    && (member.accepted || !is_group)
                    && event.header.mentions.contains(&member.user)
                    && member.mentions.len() < Member::MENTIONS
                    && !hidden
                {
                    member.mentions.push(state.head);
                }
            }
        }
        let (pos, counted) = (state.head, state.counted);
        let entry = Arc::new(LogEntry { pos, counted, arrived_at, hidden, event });
        if is_message {
            let before = slot.last.replace(entry.clone());
            slot.keep(before);
        }
        let header = &entry.event.header;
        let key = MessageKey::new(&header.user(), &header.id);
        slot.rows.push_back((step, entry.row(), key));
        while slot.rows.len() > ROWS_KEPT
            && slot.rows.front().is_some_and(|(s, _, _)| *s <= committed)
        {
            slot.rows.pop_front();
        }
        self.write(Write::Entry(entry.clone()));
        Some(entry)
    }
}
