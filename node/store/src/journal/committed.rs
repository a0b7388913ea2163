//! What is committed, for reading: tables in memory over the index, entries in the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use homing_core::{ChannelState, EntryRow, Fault, LogEntry, MessageKey};
use homing_wire::{ChannelId, Epoch, HomeId, Pos, Seq};
use parking_lot::{Mutex, RwLock};

use crate::StoreError;
use crate::entry;
use crate::journal::cache::{Chunks, Recent};
use crate::journal::catalog::Segments;
use crate::journal::chunk::{Chunk, Frame, PLACES, number_of};
use crate::journal::index::Index;
use crate::journal::memtable::{Bases, Noted, Tables, Value};
use crate::journal::position::Position;
use crate::journal::record::{self, HEADER};
use crate::keys::Key;
use crate::stats::{Clocked, Count};
use crate::values::{self, MessagePlace};
use crate::view::{self, Pair, View};

/// See the page's head. One thread applies, any number read.
pub(crate) struct Committed {
    pub(crate) index: Index,
    pub(crate) segments: Segments,
    pub(crate) tables: RwLock<Tables>,
    pub(crate) recent: Recent,
    pub(crate) chunks: Chunks,
    /// What the growing table weighs: the greater of its memory and the journal bytes behind it.
    pub(crate) load: AtomicU64,
    /// One checkpoint at a time.
    pub(crate) turn: Mutex<()>,
    pub(crate) figures: Figures,
    /// How far the index has got on the disk.
    pub(crate) durable: Mutex<Position>,
    /// How often retention has removed something here; 0: never.
    pub(crate) prunes: AtomicU64,
}

/// Where the payload of a record stands.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) payload_at: u32,
}

impl Place {
    /// Of the record at a position. Segments are at most 1 GiB.
    pub(crate) fn of(position: &Position) -> Self {
        Self { segment: position.segment, payload_at: position.record as u32 + HEADER as u32 }
    }
}

/// An entry is looked up again so often where its segment has been rewritten meanwhile. Each time another rewriting must have
/// come in between.
const LOOK_AGAIN: usize = 8;

/// Counted on the way.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) commits: Count,
    pub(crate) entries: Count,
    pub(crate) bytes: Count,
    pub(crate) fsync: Clocked,
    pub(crate) checkpoints: Clocked,
    pub(crate) stalls: Clocked,
    pub(crate) entry_hits: Count,
    pub(crate) entry_misses: Count,
    pub(crate) chunk_hits: Count,
    pub(crate) chunk_misses: Count,
    pub(crate) tidied_segments: Count,
    pub(crate) tidied_read_bytes: Count,
    pub(crate) tidied_written_bytes: Count,
    pub(crate) tidied_freed_bytes: Count,
    pub(crate) tidied_bodies: Count,
}

impl Committed {
    /// The chunks that noting these entries needs and the growing table lacks. Looked up before a batch
    /// is written: nothing of the index is waited for while readers are shut out.
    pub(crate) fn bases(&self, noted: &[Noted]) -> Result<Bases, StoreError> {
        let mut lacking: Vec<(ChannelId, u64)> = Vec::new();
        let mut bases = Bases::default();
        {
            let tables = self.tables.read();
            bases.round = tables.round;
            for entry in noted {
                let chunk = (entry.channel, number_of(entry.row.pos));
                if tables.growing.lacks(entry.channel, entry.row.pos)
                    && lacking.last() != Some(&chunk)
                {
                    lacking.push(chunk);
                }
            }
        }
        lacking.sort_unstable();
        lacking.dedup();
        for (channel, number) in lacking {
            let mut base = self.chunk(channel, number)?;
            if base.is_none() && number > 0 {
                base = self.chunk_at_or_below(channel, number - 1)?;
            }
            if let Some(base) = base {
                bases.chunks.entry(channel).or_default().push(base);
            }
        }
        Ok(bases)
    }

    /// Shows what a record holds that is durable. `position`: how far that brings the journal; `None`: a part of what its
    /// segment stands for, and more is to come.
    pub(crate) fn apply(
        &self,
        payload: &[u8],
        noted: &[Noted],
        mut bases: Bases,
        place: Place,
        position: Option<Position>,
    ) -> Result<(), StoreError> {
        let mut tables = self.tables.write();
        // A checkpoint began meanwhile: the growing table is new and lacks more than was looked up.
        while tables.round != bases.round {
            drop(tables);
            bases = self.bases(noted)?;
            tables = self.tables.write();
        }
        let Place { segment, payload_at } = place;
        record::parse(payload)
            .and_then(|payload| tables.growing.apply(payload, noted, &bases, segment, payload_at))
            .map_err(|error| {
                let path = self.segments.path(segment);
                StoreError::damaged(&path, payload_at.into(), error.to_string())
            })?;
        tables.growing.journal_bytes += record::size_of(payload.len());
        tables.position = position.unwrap_or(tables.position);
        let load = tables.growing.journal_bytes.max(tables.growing.bytes() as u64);
        self.load.store(load, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn chunk(
        &self,
        channel: ChannelId,
        number: u64,
    ) -> Result<Option<Arc<Chunk>>, StoreError> {
        let round = self.chunks.round();
        let in_tables = {
            let tables = self.tables.read();
            tables.newest_first().find_map(|table| table.chunk(channel, number).cloned())
        };
        if let Some(chunk) = in_tables.or_else(|| self.chunks.chunk(channel, number)) {
            self.figures.chunk_hits.add(1);
            return Ok(Some(chunk));
        }
        self.figures.chunk_misses.add(1);
        let Some(chunk) = self.index.chunk(channel, number)?.map(Arc::new) else { return Ok(None) };
        self.chunks.add(channel, chunk.clone(), round);
        Ok(Some(chunk))
    }

    /// The last chunk at or below `number`.
    pub(crate) fn chunk_at_or_below(
        &self,
        channel: ChannelId,
        number: u64,
    ) -> Result<Option<Arc<Chunk>>, StoreError> {
        if number != u64::MAX
            && let Some(chunk) = self.chunk(channel, number)?
        {
            return Ok(Some(chunk));
        }
        let in_tables = {
            let tables = self.tables.read();
            tables.newest_first().filter_map(|t| t.chunk_at_or_below(channel, number)).max()
        };
        let found = in_tables.max(self.index.chunk_at_or_below(channel, number)?);
        found.map_or(Ok(None), |number| self.chunk(channel, number))
    }

    /// The first chunk at or above `number`.
    fn chunk_at_or_above(
        &self,
        channel: ChannelId,
        number: u64,
    ) -> Result<Option<Arc<Chunk>>, StoreError> {
        if let Some(chunk) = self.chunk(channel, number)? {
            return Ok(Some(chunk));
        }
        let in_tables = {
            let tables = self.tables.read();
            tables.newest_first().filter_map(|t| t.chunk_at_or_above(channel, number)).min()
        };
        let in_index = self.index.chunk_at_or_above(channel, number)?;
        let found = in_tables.into_iter().chain(in_index).min();
        found.map_or(Ok(None), |number| self.chunk(channel, number))
    }

    /// `None`: it is gone by retention, and its segment with it.
    fn read_entry(
        &self,
        channel: ChannelId,
        pos: Pos,
        mut frame: Frame,
    ) -> Result<Option<Arc<LogEntry>>, Fault> {
        if let Some(entry) = self.recent.entry(channel, pos) {
            self.figures.entry_hits.add(1);
            return Ok(Some(entry));
        }
        self.figures.entry_misses.add(1);
        for _ in 0..LOOK_AGAIN {
            if let Some((bytes, salt)) =
                self.segments.read(frame.segment, frame.offset, frame.len)?
            {
                return self.decode(channel, pos, frame, &bytes, salt).map(Some);
            }
            // Its segment was rewritten since the frame was looked up: it is elsewhere now.
            if pos <= view::pruned(self, channel)? {
                return Ok(None);
            }
            let Some((_, moved)) = self.find_row(channel, pos)? else { return Ok(None) };
            frame = moved;
        }
        Err(StoreError::SegmentMissing { path: self.segments.path(frame.segment) }.into())
    }

    fn decode(
        &self,
        channel: ChannelId,
        pos: Pos,
        frame: Frame,
        bytes: &Bytes,
        salt: u64,
    ) -> Result<Arc<LogEntry>, Fault> {
        let damaged = |what: String| {
            let path = self.segments.path(frame.segment);
            Fault::from(StoreError::damaged(&path, u64::from(frame.offset), what))
        };
        let entry = entry::decode(bytes, Some(salt)).map_err(|error| damaged(error.to_string()))?;
        if entry.channel() != channel || entry.pos != pos {
            return Err(damaged("another entry stands where the index says".to_owned()));
        }
        Ok(Arc::new(entry))
    }

    fn find_row(&self, channel: ChannelId, pos: Pos) -> Result<Option<(EntryRow, Frame)>, Fault> {
        let look = || Ok::<_, Fault>(self.chunk(channel, number_of(pos))?.and_then(|c| c.row(pos)));
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if self.head(channel)? < pos || pos == Pos(0) {
            return Ok(None);
        }
        // It may have been committed just now; if it still is not there, and retention has not removed it, the index has
        // lost it.
        match look()? {
            Some(found) => Ok(Some(found)),
            None if pos <= view::pruned(self, channel)? => Ok(None),
            None => Err(self.lost(channel, pos)),
        }
    }

    /// The latest place of a channel, by its state.
    fn head(&self, channel: ChannelId) -> Result<Pos, Fault> {
        let state: Option<ChannelState> = self.one("channel", &Key::channel(channel))?;
        Ok(state.map_or(Pos(0), |state| state.head))
    }

    fn lost(&self, channel: ChannelId, pos: Pos) -> Fault {
        self.index.damaged(format!("entry {pos} of channel {channel} is missing")).into()
    }
}

impl View for Committed {
    fn prunes(&self) -> bool {
        self.prunes.load(Ordering::Acquire) > 0
    }

    fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let in_tables = {
            let tables = self.tables.read();
            tables
                .newest_first()
                .find_map(|t| t.value(key).map(|v| v.as_deref().map(<[u8]>::to_vec)))
        };
        match in_tables {
            Some(value) => Ok(value),
            None => Ok(self.index.value(key)?),
        }
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, Fault> {
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        let mut newer: BTreeMap<Vec<u8>, Value> = BTreeMap::new();
        {
            let tables = self.tables.read();
            let oldest_first = tables.frozen.as_deref().into_iter().chain([&tables.growing]);
            for (key, value) in oldest_first.flat_map(|table| table.range(from, to, limit)) {
                newer.insert(key.to_vec(), value.clone());
            }
        }
        // What moves from the tables to the index meanwhile is seen twice, the same.
        let mut newer = newer.into_iter().peekable();
        let mut found = Vec::new();
        for pair in self.index.range(from, to) {
            let (key, value) = pair?;
            while let Some((key, value)) = newer.next_if(|(newer, _)| *newer < key) {
                found.extend(value.map(|value| (key, value.into_vec())));
            }
            match newer.next_if(|(newer, _)| *newer == key) {
                Some((_, newer)) => found.extend(newer.map(|value| (key, value.into_vec()))),
                None => found.push((key, value)),
            }
            if found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
        found.extend(newer.filter_map(|(key, value)| Some((key, value?.into_vec()))));
        found.truncate(limit);
        Ok(found)
    }

    fn place(&self, key: MessageKey) -> Result<Option<(ChannelId, Pos)>, Fault> {
        let in_tables = {
            let tables = self.tables.read();
            tables.newest_first().find_map(|table| table.place(key))
        };
        if in_tables.is_some() {
            return Ok(in_tables);
        }
        let Some(bytes) = self.index.value(&Key::message(key))? else { return Ok(None) };
        let place: MessagePlace = values::decode_named("place of a message", &bytes)?;
        Ok(Some((place.channel, place.pos)))
    }

    fn shared_entry(&self, channel: ChannelId, pos: Pos) -> Result<Option<Arc<LogEntry>>, Fault> {
        if let Some(entry) = self.recent.entry(channel, pos) {
            self.figures.entry_hits.add(1);
            return Ok(Some(entry));
        }
        let Some((_, frame)) = self.find_row(channel, pos)? else { return Ok(None) };
        self.read_entry(channel, pos, frame)
    }

    fn shared_entries(
        &self,
        channel: ChannelId,
        first: Pos,
        last: Pos,
        max_bytes: usize,
    ) -> Result<Vec<Arc<LogEntry>>, Fault> {
        let mut taken = Taken { entries: Vec::new(), bytes: 0, max_bytes, full: false };
        let mut next = first.max(Pos(1));
        while next <= last && !taken.full {
            let before = taken.entries.len();
            self.recent.run(channel, next, |entry| {
                let wanted = entry.pos <= last && taken.add(entry.clone());
                if wanted {
                    next = entry.pos.next();
                }
                wanted
            });
            self.figures.entry_hits.add((taken.entries.len() - before) as u64);
            if next > last || taken.full {
                break;
            }
            let Some(chunk) = self.chunk_at_or_above(channel, number_of(next))? else {
                if self.head(channel)? < next || view::pruned(self, channel)? >= next {
                    break;
                }
                if self.chunk_at_or_above(channel, number_of(next))?.is_none() {
                    return Err(self.lost(channel, next));
                }
                continue;
            };
            for (pos, frame) in chunk.frames_from(next).take_while(|(pos, _)| *pos <= last) {
                let Some(entry) = self.read_entry(channel, pos, frame)? else { continue };
                if !taken.add(entry) {
                    break;
                }
            }
            next = Pos((chunk.number + 1) * PLACES + 1);
        }
        Ok(taken.entries)
    }

    fn row(&self, channel: ChannelId, pos: Pos) -> Result<Option<EntryRow>, Fault> {
        if let Some(entry) = self.recent.entry(channel, pos) {
            return Ok(Some(entry.row()));
        }
        Ok(self.find_row(channel, pos)?.map(|(row, _)| row))
    }

    fn last_row_of(
        &self,
        channel: ChannelId,
        origin: HomeId,
        pos: Pos,
    ) -> Result<Option<EntryRow>, Fault> {
        let Some(chunk) = self.chunk_at_or_below(channel, number_of(pos))? else { return Ok(None) };
        if let Some(row) = chunk.last_row_of(origin, pos) {
            return Ok(Some(row));
        }
        // Not here, or here but above `pos`: then the chunk before knows.
        let before = match chunk.last_pos_of(origin) {
            Some(last) if number_of(last) < chunk.number => Some(last),
            Some(_) if chunk.number > 0 => self
                .chunk_at_or_below(channel, chunk.number - 1)?
                .and_then(|chunk| chunk.last_pos_of(origin)),
            Some(_) | None => None,
        };
        match before {
            Some(pos) => Ok(self.find_row(channel, pos)?.map(|(row, _)| row)),
            None => Ok(None),
        }
    }

    fn row_of_seq(
        &self,
        channel: ChannelId,
        origin: HomeId,
        epoch: Epoch,
        seq: Seq,
    ) -> Result<Option<EntryRow>, Fault> {
        let reaches =
            |chunk: &Chunk| chunk.last_seq_of(origin, epoch).is_some_and(|last| last >= seq);
        let Some(last) = self.chunk_at_or_below(channel, u64::MAX)? else { return Ok(None) };
        if !reaches(&last) {
            return Ok(None);
        }
        // The first chunk that reaches `seq`: seqs rise along a chain, so the chunks can be halved.
        let (mut low, mut high) = (0, last.number);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.chunk_at_or_below(channel, middle)? {
                Some(chunk) if reaches(&chunk) => high = middle,
                Some(_) | None => low = middle + 1,
            }
        }
        let Some(chunk) = self.chunk_at_or_below(channel, low)? else { return Ok(None) };
        if let Some(row) = chunk.row_of_seq(origin, epoch, seq) {
            return Ok(Some(row));
        }
        // It stood in a chunk that is gone by retention: the least that is left lies behind all of those.
        match chunk.last_seq_of(origin, epoch) {
            Some(last) if last >= seq => self.row_of_seq(channel, origin, epoch, last.next()),
            Some(_) | None => Ok(None),
        }
    }
}

/// Entries up to a number of bytes, but at least one.
struct Taken {
    entries: Vec<Arc<LogEntry>>,
    bytes: usize,
    max_bytes: usize,
    full: bool,
}

impl Taken {
    /// Whether it was taken.
    fn add(&mut self, entry: Arc<LogEntry>) -> bool {
        self.bytes += entry.event.size_bytes();
        if self.bytes > self.max_bytes && !self.entries.is_empty() {
            self.full = true;
            return false;
        }
        self.entries.push(entry);
        true
    }
}
