//! The engine in memory, for the simulation and for tests. Keys and values as on disk.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use homing_core::{
    Account, Batch, ChannelState, Device, EntryRow, Fault, Fold, Invite, ListRow, LogEntry,
    MessageKey, OpDone, PeerState, Reader as _, TokenHash, UserList,
};
use homing_wire::{ChannelId, DeviceId, Epoch, HomeId, Local, OpId, Pos, Seq, Stamp, UserRef};
use parking_lot::RwLock;

use crate::batch::{self, Sink};
use crate::keys::Key;
use crate::tap::Taps;
use crate::values::{self, Stored};
use crate::view::{self, Pair, View};
use crate::{FORMAT, Meta, Store, StoreError, StoreStats, Tap, Tidied, Tidy};

/// A store that dies with its process.
pub struct MemoryStore {
    home: HomeId,
    epoch: Epoch,
    boot: u64,
    state: RwLock<State>,
    taps: Taps,
}

#[derive(Default)]
struct State {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    entries: BTreeMap<(ChannelId, Pos), Arc<LogEntry>>,
    messages: BTreeMap<MessageKey, (ChannelId, Pos)>,
    change: u64,
    stamp: Stamp,
    stats: StoreStats,
    closed: bool,
}

impl MemoryStore {
    /// An empty one.
    pub fn new(home: HomeId, epoch: Epoch) -> Self {
        Self { home, epoch, boot: 1, state: RwLock::default(), taps: Taps::default() }
    }

    /// What a restart after a crash finds: everything committed, one boot later.
    #[must_use]
    pub fn reopened(self) -> Self {
        self.state.write().closed = false;
        Self { boot: self.boot + 1, ..self }
    }

    fn view(&self) -> &Self {
        self
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        let lookup = |key: &Key| self.value(key);
        batch::translate(batch, lookup, &mut changes)
            .map_err(|fault| StoreError::Index { path: "memory".into(), what: fault.0 })?;
        let mut state = self.state.write();
        if state.closed {
            return Err(StoreError::Closed);
        }
        for (key, value) in changes.values {
            match value {
                Some(value) => state.values.insert(key, value),
                None => state.values.remove(&key),
            };
        }
        state.stats.commits += 1;
        state.stats.entries += changes.entries.len() as u64;
        for entry in changes.entries {
            let header = &entry.event.header;
            let (place, key) =
                ((entry.channel(), entry.pos), MessageKey::new(&header.user(), &header.id));
            state.stats.bytes += entry.event.size_bytes() as u64;
            state.messages.insert(key, place);
            state.entries.insert(place, entry);
        }
        (state.change, state.stamp) = (batch.change, batch.stamp);
        // While nobody can read it without the taps having been told, or added to, or taken from.
        self.taps.tell(batch);
        Ok(())
    }

    fn tap(&self, tap: Arc<dyn Tap>) {
        let _between_two_commits = self.state.write();
        self.taps.add(tap);
    }

    fn untap(&self, tap: &Arc<dyn Tap>) {
        let _between_two_commits = self.state.write();
        self.taps.remove(tap);
    }

    fn meta(&self) -> Meta {
        let state = self.state.read();
        Meta {
            format: FORMAT,
            home: self.home,
            epoch: self.epoch,
            boot: self.boot,
            change: state.change,
            stamp: state.stamp,
        }
    }

    fn stats(&self) -> StoreStats {
        self.state.read().stats
    }

    fn disk_low(&self) -> bool {
        false
    }

    fn tidy(&self, wish: &Tidy) -> Result<Tidied, StoreError> {
        let due = self
            .erasures(usize::MAX)
            .map_err(|fault| StoreError::Index { path: "memory".into(), what: fault.0 })?;
        let mut state = self.state.write();
        let mut tidied = Tidied::default();
        for (channel, pos, since) in due {
            if since >= wish.erase_before_ms {
                continue;
            }
            state.values.remove(&Key::erase(channel, pos).to_vec());
            if let Some(entry) = state.entries.get_mut(&(channel, pos)) {
                Arc::make_mut(entry).event.body = Bytes::new();
                tidied.erased += 1;
            }
        }
        Ok(tidied)
    }

    fn close(&self) -> Result<(), StoreError> {
        self.state.write().closed = true;
        Ok(())
    }
}

/// A batch, translated but not yet applied: all of it or nothing.
#[derive(Default)]
struct Changes {
    values: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    entries: Vec<Arc<LogEntry>>,
}

impl Sink for Changes {
    fn put<T: Stored>(&mut self, key: &Key, value: &T) {
        self.values.push((key.to_vec(), Some(values::encode(value))));
    }

    fn delete(&mut self, key: &Key) {
        self.values.push((key.to_vec(), None));
    }

    fn entry(&mut self, entry: &Arc<LogEntry>) {
        self.entries.push(entry.clone());
    }
}

impl View for MemoryStore {
    fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.state.read().values.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, Fault> {
        let range = (Bound::Included(from), Bound::Excluded(to));
        if from >= to {
            return Ok(Vec::new());
        }
        let state = self.state.read();
        let pairs = state.values.range::<[u8], _>(range).take(limit);
        Ok(pairs.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn place(&self, key: MessageKey) -> Result<Option<(ChannelId, Pos)>, Fault> {
        Ok(self.state.read().messages.get(&key).copied())
    }

    fn shared_entry(&self, channel: ChannelId, pos: Pos) -> Result<Option<Arc<LogEntry>>, Fault> {
        Ok(self.state.read().entries.get(&(channel, pos)).cloned())
    }

    fn shared_entries(
        &self,
        channel: ChannelId,
        first: Pos,
        last: Pos,
        max_bytes: usize,
    ) -> Result<Vec<Arc<LogEntry>>, Fault> {
        let mut found = Vec::new();
        if first > last {
            return Ok(found);
        }
        let mut bytes = 0;
        let state = self.state.read();
        for (_, entry) in state.entries.range((channel, first)..=(channel, last)) {
            bytes += entry.event.size_bytes();
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn row(&self, channel: ChannelId, pos: Pos) -> Result<Option<EntryRow>, Fault> {
        Ok(self.state.read().entries.get(&(channel, pos)).map(|entry| entry.row()))
    }

    fn last_row_of(
        &self,
        channel: ChannelId,
        origin: HomeId,
        pos: Pos,
    ) -> Result<Option<EntryRow>, Fault> {
        let state = self.state.read();
        let rows = state.entries.range((channel, Pos(0))..=(channel, pos)).rev();
        Ok(rows.map(|(_, entry)| entry.row()).find(|row| row.origin == origin))
    }

    fn row_of_seq(
        &self,
        channel: ChannelId,
        origin: HomeId,
        epoch: Epoch,
        seq: Seq,
    ) -> Result<Option<EntryRow>, Fault> {
        let state = self.state.read();
        let rows = state.entries.range((channel, Pos(0))..=(channel, Pos(u64::MAX)));
        Ok(rows
            .map(|(_, entry)| entry.row())
            .filter(|row| row.origin == origin && row.epoch == epoch && row.seq >= seq)
            .min_by_key(|row| row.seq))
    }
}

view::reader!(MemoryStore);
