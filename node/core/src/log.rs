//! A channel's log as the core sees it: what is committed, and the end that is not yet.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use homing_wire::{ChannelId, Epoch, Event, HomeId, Pos, Seq, SignedRoster, Stamp, UserRef};

use crate::fold::{Fold, Folded};
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
    /// What has come of messages, as far as it has been seen, with the steps: at least what is not yet committed. Of one
    /// message, the last of them.
    folds: VecDeque<(u64, Pos, Option<Arc<Fold>>)>,
}

/// Folds of a channel kept in memory beyond the uncommitted: mostly of its last message.
const FOLDS_KEPT: usize = 8;

/// What is special about an entry that is appended.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    /// Nothing.
    #[default]
    Plain,
    /// A message that was deleted before it came: it counts for nobody.
    Deleted,
    /// It is for its sender alone.
    Hidden,
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
            folds: VecDeque::new(),
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

    /// What is known to have come of the message at `pos`.
    pub(crate) fn known_fold(&self, pos: Pos) -> Option<&Option<Arc<Fold>>> {
        self.folds.iter().rev().find(|(_, at, _)| *at == pos).map(|(_, _, fold)| fold)
    }

    /// Remembers what has come of a message; `step`: where that was decided, 0 where it was read.
    pub(crate) fn know_fold(
        &mut self,
        step: u64,
        committed: u64,
        pos: Pos,
        fold: Option<Arc<Fold>>,
    ) {
        self.folds.push_back((step, pos, fold));
        while self.folds.len() > FOLDS_KEPT
            && self.folds.front().is_some_and(|(step, ..)| *step <= committed)
        {
            self.folds.pop_front();
        }
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
    /// The last message of a channel that `user` is shown, with what has come of it, uncommitted entries included.
    pub fn last_message(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        user: &UserRef,
    ) -> Result<Option<Folded>, Fault> {
        let Some(slot) = self.slot(reader, id)? else { return Ok(None) };
        let Some(member) = slot.state.member(user) else { return Ok(None) };
        let pos = slot.state.last_for(member);
        if pos == Pos(0) {
            return Ok(None);
        }
        let entry = match slot.seen(pos) {
            Some(entry) => Some(entry.clone()),
            None => {
                let entry = reader.entry(id, pos)?.map(Arc::new);
                // Seen, not changed: the step stays what it was. The entry is committed, or it would be here.
                if let Some(slot) = self.channels.peek_mut(&id) {
                    if pos == slot.state.last {
                        slot.last.clone_from(&entry);
                    } else {
                        slot.keep(entry.clone());
                    }
                }
                entry
            }
        };
        entry.map(|entry| self.folded(reader, entry)).transpose()
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

    /// Where the entry of that sender and id is in the channel, uncommitted ones included.
    pub(crate) fn place_in(
        &self,
        reader: &dyn Reader,
        id: ChannelId,
        key: MessageKey,
    ) -> Result<Option<Pos>, Fault> {
        let rows = self.peek_slot(id).map(|slot| slot.rows.iter());
        let here = rows.into_iter().flatten().find(|(_, _, message)| *message == key);
        if let Some((_, row, _)) = here {
            return Ok(Some(row.pos));
        }
        Ok(reader.place(key)?.filter(|(channel, _)| *channel == id).map(|(_, pos)| pos))
    }

    /// Where uncommitted entries are that change a message.
    pub(crate) fn fresh_changes_of(&self, id: ChannelId, key: MessageKey) -> Vec<Pos> {
        let changes = |entry: &&Arc<LogEntry>| {
            let target = entry.changes();
            entry.channel() == id
                && target.is_some_and(|t| MessageKey::new(&t.sender, &t.id) == key)
        };
        self.fresh.iter().map(|(_, entry)| entry).filter(changes).map(|entry| entry.pos).collect()
    }

    /// An entry, uncommitted ones included.
    pub(crate) fn entry_at(
        &self,
        reader: &dyn Reader,
        channel: ChannelId,
        pos: Pos,
    ) -> Result<Option<Arc<LogEntry>>, Fault> {
        if let Some(entry) = reader.entry(channel, pos)? {
            return Ok(Some(Arc::new(entry)));
        }
        let here = |entry: &&Arc<LogEntry>| entry.channel() == channel && entry.pos == pos;
        Ok(self.fresh.iter().map(|(_, entry)| entry).rev().find(here).cloned())
    }

    /// Adds an entry to the end of a channel's log. The caller moves the chain's end.
    pub(crate) fn append(
        &mut self,
        id: ChannelId,
        event: Event,
        arrived_at: u64,
        standing: Standing,
    ) -> Option<Arc<LogEntry>> {
        let (step, committed, now_ms) = (self.current_step(), self.committed, self.now_ms);
        let slot = self.change_channel(id)?;
        let state = &mut slot.state;
        let is_message = event.header.kind.is_message();
        let sender = event.header.user();
        let blocked = event.header.origin != HomeId::LOCAL && state.hides(&sender);
        let hidden = blocked || standing == Standing::Hidden;
        state.head = state.head.next();
        // What a home that is new in a group is given of what was before is news to nobody.
        let is_new = state.group.as_ref().is_none_or(|group| event.header.roster >= group.since);
        // Who has blocked the sender has nothing unread of it; the sender counts no own messages.
        let counts = is_message && is_new && !hidden && standing != Standing::Deleted;
        state.counted += u64::from(counts);
        if standing != Standing::Hidden {
            state.move_veils(&sender, hidden, is_message, now_ms);
        }
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
                    && counts
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
        if is_message {
            slot.know_fold(step, committed, pos, None);
        }
        self.fresh.push_back((step, entry.clone()));
        self.write(Write::Entry(entry.clone()));
        Some(entry)
    }
}
