//! Bounded caches: entries committed lately, and chunks of the index.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashlink::LruCache;
use homing_core::LogEntry;
use homing_wire::{ChannelId, Pos};
use parking_lot::{Mutex, RwLock};

use crate::journal::chunk::Chunk;

/// An entry costs this beside its bytes, about: the parsed header, its place here.
const ENTRY_OVERHEAD: usize = 700;

/// Entries that were committed lately, the oldest leaving first. What is read from disk does not come
/// in: reading old histories must not drive out what everybody is about to ask for.
pub(crate) struct Recent {
    state: RwLock<RecentState>,
    capacity_bytes: usize,
}

#[derive(Default)]
struct RecentState {
    entries: HashMap<(ChannelId, Pos), Arc<LogEntry>>,
    /// In the order of their coming. A place that was written again stands here twice.
    order: VecDeque<((ChannelId, Pos), usize)>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        Self { state: RwLock::default(), capacity_bytes }
    }

    pub(crate) fn add(&self, entries: impl Iterator<Item = Arc<LogEntry>>) {
        let mut state = self.state.write();
        for entry in entries {
            let (key, weight) =
                ((entry.channel(), entry.pos), entry.event.size_bytes() + ENTRY_OVERHEAD);
            state.entries.insert(key, entry);
            state.order.push_back((key, weight));
            state.bytes += weight;
        }
        while state.bytes > self.capacity_bytes {
            let Some((key, weight)) = state.order.pop_front() else { break };
            state.entries.remove(&key);
            state.bytes -= weight;
        }
    }

    /// Its body has left the disk.
    pub(crate) fn erased(&self, channel: ChannelId, pos: Pos) {
        if let Some(entry) = self.state.write().entries.get_mut(&(channel, pos)) {
            Arc::make_mut(entry).event.body = Bytes::new();
        }
    }

    pub(crate) fn entry(&self, channel: ChannelId, pos: Pos) -> Option<Arc<LogEntry>> {
        self.state.read().entries.get(&(channel, pos)).cloned()
    }

    /// Entries from `first` on without a gap, as long as `more` says so.
    pub(crate) fn run(
        &self,
        channel: ChannelId,
        first: Pos,
        mut more: impl FnMut(&Arc<LogEntry>) -> bool,
    ) {
        let state = self.state.read();
        let mut pos = first;
        while let Some(entry) = state.entries.get(&(channel, pos)) {
            if !more(entry) {
                break;
            }
            pos = pos.next();
        }
    }
}

/// Chunks that the tables in memory do not hold, least recently used leaving first.
pub(crate) struct Chunks {
    state: Mutex<ChunksState>,
    capacity_bytes: usize,
}

struct ChunksState {
    chunks: LruCache<(ChannelId, u64), Arc<Chunk>>,
    bytes: usize,
    /// How often the index has changed.
    round: u64,
}

impl Chunks {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let state = ChunksState { chunks: LruCache::new_unbounded(), bytes: 0, round: 0 };
        Self { state: Mutex::new(state), capacity_bytes }
    }

    /// To be asked before the tables are looked at, and handed to [`Self::add`].
    pub(crate) fn round(&self) -> u64 {
        self.state.lock().round
    }

    pub(crate) fn chunk(&self, channel: ChannelId, number: u64) -> Option<Arc<Chunk>> {
        self.state.lock().chunks.get(&(channel, number)).cloned()
    }

    /// Keeps what was read from the index, unless a checkpoint has ended since `round`: it may then be
    /// older than what the index holds now.
    pub(crate) fn add(&self, channel: ChannelId, chunk: Arc<Chunk>, round: u64) {
        let mut state = self.state.lock();
        if state.round == round {
            state.insert(channel, chunk);
            state.shrink(self.capacity_bytes);
        }
    }

    /// They have changed in the index, outside of a checkpoint: the new ones stand in for those that are kept. `None`: gone.
    pub(crate) fn moved(&self, chunks: &[(ChannelId, u64, Option<Arc<Chunk>>)]) {
        let mut state = self.state.lock();
        state.round += 1;
        for (channel, number, chunk) in chunks {
            let Some(old) = state.chunks.remove(&(*channel, *number)) else { continue };
            state.bytes -= old.weight() + CHUNK_OVERHEAD;
            if let Some(chunk) = chunk {
                state.insert(*channel, chunk.clone());
            }
        }
    }

    /// A checkpoint has ended, and these are in the index now. Called before the tables let go of them.
    pub(crate) fn written<'a>(&self, chunks: impl Iterator<Item = (ChannelId, &'a Arc<Chunk>)>) {
        let mut state = self.state.lock();
        state.round += 1;
        for (channel, chunk) in chunks {
            state.insert(channel, chunk.clone());
            state.shrink(self.capacity_bytes);
        }
    }
}

/// A chunk's place here.
const CHUNK_OVERHEAD: usize = 96;

impl ChunksState {
    fn insert(&mut self, channel: ChannelId, chunk: Arc<Chunk>) {
        self.bytes += chunk.weight() + CHUNK_OVERHEAD;
        if let Some(old) = self.chunks.insert((channel, chunk.number), chunk) {
            self.bytes -= old.weight() + CHUNK_OVERHEAD;
        }
    }

    fn shrink(&mut self, capacity_bytes: usize) {
        while self.bytes > capacity_bytes {
            let Some((_, chunk)) = self.chunks.remove_lru() else { break };
            self.bytes -= chunk.weight() + CHUNK_OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn recent_entries_leave_in_the_order_of_their_coming() {
        let channel = sample::channel(1);
        let weight = sample::entry(channel, 1).event.size_bytes() + ENTRY_OVERHEAD;
        let recent = Recent::new(3 * weight);
        recent.add((1..=5).map(|pos| sample::entry(channel, pos)));
        assert!(recent.entry(channel, Pos(2)).is_none());
        let mut run = Vec::new();
        recent.run(channel, Pos(3), |entry| {
            run.push(entry.pos.0);
            true
        });
        assert_eq!(run, [3, 4, 5]);
    }

    #[test]
    fn a_chunk_that_was_read_before_a_checkpoint_is_not_kept() {
        let (chunks, channel) = (Chunks::new(1 << 20), sample::channel(1));
        let round = chunks.round();
        let newer = Arc::new(Chunk::after(None, 0));
        chunks.written([(channel, &newer)].into_iter());
        chunks.add(channel, Arc::new(Chunk::after(None, 0)), round);
        assert!(Arc::ptr_eq(&chunks.chunk(channel, 0).unwrap(), &newer));
        chunks.add(channel, Arc::new(Chunk::after(None, 1)), chunks.round());
        assert!(chunks.chunk(channel, 1).is_some());
    }

    #[test]
    fn chunks_stay_within_their_bytes() {
        let (chunks, channel) = (Chunks::new(10_000), sample::channel(1));
        for number in 0..1_000 {
            chunks.add(channel, Arc::new(Chunk::after(None, number)), 0);
        }
        let state = chunks.state.lock();
        assert!(state.bytes <= 10_000 && state.chunks.contains_key(&(channel, 999)));
    }
}
