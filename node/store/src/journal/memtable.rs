//! What the journal holds and the index does not hold yet: the latest value of every key, the chunks
//! that have grown, the new message ids.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use homing_core::{EntryRow, LogEntry, MessageKey};
use homing_wire::{ChannelId, Pos};

use crate::journal::chunk::{Chunk, Frame, number_of};
use crate::journal::position::Position;
use crate::journal::record::{Item, Malformed, Payload};
use crate::keys;

/// A key's latest value; `None`: deleted.
pub(crate) type Value = Option<Box<[u8]>>;

/// See the page's head.
#[derive(Default)]
pub(crate) struct Memtable {
    /// Keys that are only asked for one by one.
    points: HashMap<Box<[u8]>, Value>,
    /// Keys that are also listed.
    ranges: BTreeMap<Box<[u8]>, Value>,
    /// Changed chunks, ascending by number.
    chunks: HashMap<ChannelId, Vec<Arc<Chunk>>>,
    messages: HashMap<MessageKey, (ChannelId, Pos)>,
    /// Memory, about.
    bytes: usize,
    /// Bytes of the journal that it stands for.
    pub(crate) journal_bytes: u64,
}

/// What a key or an id costs beside its bytes, about: allocations, buckets, nodes.
const KEY_OVERHEAD: usize = 96;
/// A message id with its place.
const MESSAGE_BYTES: usize = 64;
/// A row more in a chunk.
const ROW_BYTES: usize = 64;
/// A chunk that was not here: its own and its share of the map.
const CHUNK_OVERHEAD: usize = 128;

/// Chunks as they were, of the channels that a batch adds to.
#[derive(Default)]
pub(crate) struct Bases {
    pub(crate) chunks: HashMap<ChannelId, Vec<Arc<Chunk>>>,
    /// [`Tables::round`] when they were looked up: they are what that growing table lacked.
    pub(crate) round: u64,
}

/// What the index notes of an entry.
pub(crate) struct Noted {
    pub(crate) channel: ChannelId,
    pub(crate) row: EntryRow,
    pub(crate) message: MessageKey,
}

impl Noted {
    pub(crate) fn of(entry: &LogEntry) -> Self {
        let header = &entry.event.header;
        let message = MessageKey::new(&header.user(), &header.id);
        Self { channel: header.channel, row: entry.row(), message }
    }
}

impl Memtable {
    /// Applies a batch whose payload begins there. `noted` holds its entries in order, `bases` the
    /// chunks that [`Self::lacks`] told to look up.
    pub(crate) fn apply(
        &mut self,
        payload: Payload<'_>,
        noted: &[Noted],
        bases: &Bases,
        segment: u32,
        payload_offset: u32,
    ) -> Result<(), Malformed> {
        let mut noted = noted.iter();
        for item in payload.items {
            match item? {
                Item::Put { key, value } => self.set(key, Some(value.into())),
                Item::Delete { key } => self.set(key, None),
                Item::Entry { at, len } => {
                    let entry = noted.next().ok_or(Malformed)?;
                    let (offset, len) = (payload_offset + at as u32, len as u32);
                    self.note(entry, Frame { segment, offset, len }, bases);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: Value) {
        let size = value.as_ref().map_or(0, |value| value.len());
        let old = if keys::is_point(key) {
            replace(self.points.get_mut(key), value).map_err(|value| {
                self.points.insert(key.into(), value);
            })
        } else {
            replace(self.ranges.get_mut(key), value).map_err(|value| {
                self.ranges.insert(key.into(), value);
            })
        };
        self.bytes += size;
        match old {
            Ok(old) => self.bytes -= old.map_or(0, |old| old.len()),
            Err(()) => self.bytes += key.len() + KEY_OVERHEAD,
        }
    }

    fn note(&mut self, entry: &Noted, frame: Frame, bases: &Bases) {
        if self.messages.insert(entry.message, (entry.channel, entry.row.pos)).is_none() {
            self.bytes += MESSAGE_BYTES;
        }
        let number = number_of(entry.row.pos);
        let chunks = self.chunks.entry(entry.channel).or_default();
        let at = match chunks.binary_search_by_key(&number, |chunk| chunk.number) {
            Ok(at) => at,
            Err(at) => {
                let bases = bases.chunks.get(&entry.channel).map_or(&[][..], Vec::as_slice);
                let chunk = bases.iter().find(|base| base.number == number).cloned();
                let chunk = chunk.unwrap_or_else(|| {
                    let before = |chunk: &&Arc<Chunk>| chunk.number < number;
                    // What stands here is newer than a base of the same number.
                    let previous = bases
                        .iter()
                        .filter(before)
                        .chain(chunks[..at].last())
                        .max_by_key(|chunk| chunk.number);
                    Arc::new(Chunk::after(previous.map(Arc::as_ref), number))
                });
                self.bytes += chunk.weight() + CHUNK_OVERHEAD;
                chunks.insert(at, chunk);
                at
            }
        };
        // Copies the chunk where a reader or the table before this one holds it.
        Arc::make_mut(&mut chunks[at]).set(&entry.row, frame);
        self.bytes += ROW_BYTES;
    }

    /// Whether a chunk has to be looked up elsewhere before an entry at `pos` can be noted.
    pub(crate) fn lacks(&self, channel: ChannelId, pos: Pos) -> bool {
        self.chunk(channel, number_of(pos)).is_none()
    }

    pub(crate) fn value(&self, key: &[u8]) -> Option<&Value> {
        if keys::is_point(key) { self.points.get(key) } else { self.ranges.get(key) }
    }

    /// Keys from `from` up to `to`, not included. Of keys that are mostly asked for one by one, and never
    /// deleted, the least `limit`: those are gone through, in no order, and most of them are not wanted.
    pub(crate) fn range<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> impl Iterator<Item = (&'a [u8], &'a Value)> {
        let mut points: Vec<(&[u8], &Value)> = Vec::new();
        if keys::is_point(from) {
            let within = |key: &[u8]| from <= key && key < to;
            points =
                self.points.iter().map(|(k, v)| (&**k, v)).filter(|(k, _)| within(k)).collect();
            if points.len() > limit {
                points.select_nth_unstable_by_key(limit, |(key, _)| *key);
                points.truncate(limit);
            }
        }
        let ranges = self
            .ranges
            .range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)))
            .map(|(key, value)| (&**key, value));
        points.into_iter().chain(ranges)
    }

    pub(crate) fn place(&self, key: MessageKey) -> Option<(ChannelId, Pos)> {
        self.messages.get(&key).copied()
    }

    pub(crate) fn chunk(&self, channel: ChannelId, number: u64) -> Option<&Arc<Chunk>> {
        let chunks = self.chunks.get(&channel)?;
        // Nearly always the last.
        if let Some(last) = chunks.last()
            && last.number == number
        {
            return Some(last);
        }
        let at = chunks.binary_search_by_key(&number, |chunk| chunk.number).ok()?;
        chunks.get(at)
    }

    /// Changes a chunk that is here; copied where a reader holds it.
    pub(crate) fn chunk_mut(&mut self, channel: ChannelId, number: u64) -> Option<&mut Chunk> {
        let chunks = self.chunks.get_mut(&channel)?;
        let at = chunks.binary_search_by_key(&number, |chunk| chunk.number).ok()?;
        chunks.get_mut(at).map(Arc::make_mut)
    }

    /// The number of the last chunk at or below `number`.
    pub(crate) fn chunk_at_or_below(&self, channel: ChannelId, number: u64) -> Option<u64> {
        let chunks = self.chunks.get(&channel)?;
        let end = chunks.partition_point(|chunk| chunk.number <= number);
        chunks[..end].last().map(|chunk| chunk.number)
    }

    /// The number of the first chunk at or above `number`.
    pub(crate) fn chunk_at_or_above(&self, channel: ChannelId, number: u64) -> Option<u64> {
        let chunks = self.chunks.get(&channel)?;
        let start = chunks.partition_point(|chunk| chunk.number < number);
        chunks[start..].first().map(|chunk| chunk.number)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        self.points.iter().chain(&self.ranges).map(|(key, value)| (&**key, value))
    }

    /// All changed chunks, in no order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (ChannelId, &Arc<Chunk>)> {
        self.chunks
            .iter()
            .flat_map(|(channel, chunks)| chunks.iter().map(|chunk| (*channel, chunk)))
    }

    /// All new message ids, in no order.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (MessageKey, (ChannelId, Pos))> + '_ {
        self.messages.iter().map(|(key, place)| (*key, *place))
    }
}

/// The old value, or the new one back where there was no key.
fn replace(slot: Option<&mut Value>, value: Value) -> Result<Value, Value> {
    match slot {
        Some(slot) => Ok(std::mem::replace(slot, value)),
        None => Err(value),
    }
}

/// What is committed: the table that grows, the one being written to the index, and how far they go.
pub(crate) struct Tables {
    pub(crate) growing: Memtable,
    pub(crate) frozen: Option<Arc<Memtable>>,
    /// How often the growing table was frozen and begun anew.
    pub(crate) round: u64,
    /// Where the journal ends.
    pub(crate) position: Position,
}

impl Tables {
    /// Both tables, the newer first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Memtable> {
        std::iter::once(&self.growing).chain(self.frozen.as_deref())
    }
}
