//! What of a segment lives.
//!
//! # Why the index can still be made anew
//! Let the last change of a key, of all that were ever committed up to some time, be `c`. Whatever was rewritten up to then,
//! applying what is left in order gives what `c` gave:
//! - `c` stands in a segment that was not rewritten: nothing behind it changes the key.
//! - `c` is a put in one that was: the key had that value when it was judged, for nothing came after `c`, so it was kept.
//! - `c` is a delete: it was kept, or every older segment had been judged as of `c` or later. When they were, the key had no
//!   value, so they keep no put of it.
//!
//! Puts of other values than the present one, and deletes of what is there, are not the last change: they may go. For
//! entries the last frame of a place, to which the index points, is kept; one that was taken the place of by a frame outside
//! of the run stays without its body, for chunks of an index that is made anew need the first of a chain in its turn.

use std::collections::{HashMap, HashSet};

use hashlink::LruCache;
use homing_core::MessageKey;
use homing_wire::{ChannelId, Pos};
use std::sync::Arc;

use super::choose::Run;
use super::output::Output;
use super::{Moved, pruned, value_of};
use crate::StoreError;
use crate::entry;
use crate::journal::catalog::Known;
use crate::journal::chunk::{Chunk, Frame, number_of};
use crate::journal::committed::Committed;
use crate::journal::record::{self, Item};
use crate::journal::scan::{Record, Scan};
use crate::keys::{self, Key, kind};
use crate::values::{self, MessagePlace};

/// Chunks that are kept at hand.
const CHUNKS: usize = 256;
/// Rows of the index that go at once.
const ROWS_AT_ONCE: usize = 512;

/// What is left of a run.
pub(super) struct Judged {
    pub(super) moved: Vec<Moved>,
    /// Chunks that entries have left which are gone by retention.
    pub(super) left: HashSet<(ChannelId, u64)>,
    pub(super) change: u64,
    pub(super) stamp: u64,
    pub(super) as_of: u64,
}

/// See the page's head.
pub(super) struct Judge<'a> {
    committed: &'a Committed,
    run: &'a Run,
    judged: Judged,
    pruned: HashMap<ChannelId, Pos>,
    chunks: LruCache<(ChannelId, u64), Arc<Chunk>>,
    /// Rows of the index whose entries are gone by retention.
    dead: Vec<Vec<u8>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(committed: &'a Committed, run: &'a Run, as_of: u64) -> Self {
        let (moved, left) = (Vec::new(), HashSet::new());
        Self {
            committed,
            run,
            judged: Judged { moved, left, change: 0, stamp: 0, as_of },
            pruned: HashMap::new(),
            chunks: LruCache::new(CHUNKS),
            dead: Vec::new(),
        }
    }

    /// Judges what a record holds; values that live are written at once.
    pub(super) fn record(
        &mut self,
        record: &Record,
        scan: &Scan,
        source: &Known,
        output: &mut Output,
    ) -> Result<(), StoreError> {
        if let Some(rewritten) = source.header.rewritten {
            (self.judged.change, self.judged.stamp) = (rewritten.change, rewritten.stamp);
        } else if let Ok(payload) = record::parse(&record.payload) {
            (self.judged.change, self.judged.stamp) = (payload.change, payload.stamp);
        }
        for item in record.items(scan)? {
            match item? {
                Item::Put { key, value } => {
                    if self.is_pruned(key)? {
                        self.remove(key.to_vec())?;
                    } else if value_of(self.committed, key)?.as_deref() == Some(value) {
                        output.put(key, value)?;
                    }
                }
                Item::Delete { key } => {
                    if self.run.keeps_deletes && value_of(self.committed, key)?.is_none() {
                        output.delete(key)?;
                    }
                }
                Item::Entry { at, len } => {
                    let frame = Frame {
                        segment: source.number(),
                        offset: record.payload_at() + at as u32,
                        len: len as u32,
                    };
                    let place = entry::place(&record.payload[at..at + len]);
                    let damaged = || scan.damaged(record.at, "an entry does not parse");
                    let (channel, pos) = place.ok_or_else(damaged)?;
                    if pos <= self.pruned(channel)? {
                        let bytes = record.payload.slice(at..at + len);
                        let entry = entry::decode(&bytes, None).map_err(|_| damaged())?;
                        let header = &entry.event.header;
                        self.judged.left.insert((channel, number_of(pos)));
                        self.forget_message(
                            MessageKey::new(&header.user(), &header.id),
                            MessagePlace { channel, pos },
                        )?;
                    } else {
                        self.entry(channel, pos, frame)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn done(mut self) -> Result<Judged, StoreError> {
        self.remove_dead()?;
        Ok(self.judged)
    }

    fn entry(&mut self, channel: ChannelId, pos: Pos, from: Frame) -> Result<(), StoreError> {
        let Some(row) = self.frame(channel, pos)? else {
            // Nothing is dropped because the index has lost it.
            let what = format!("entry {pos} of channel {channel} is missing");
            return Err(self.committed.index.damaged(what));
        };
        let lives = row == from;
        let later_here = |known: &Known| known.number() == row.segment;
        if lives || !self.run.sources.iter().any(later_here) {
            let (to, erased) = ((0, 0), false);
            self.judged.moved.push(Moved { channel, pos, from, to, lives, erased });
        }
        Ok(())
    }

    /// Where an entry is read now. Not through the cache, which is for readers.
    fn frame(&mut self, channel: ChannelId, pos: Pos) -> Result<Option<Frame>, StoreError> {
        let number = number_of(pos);
        let in_tables = {
            let tables = self.committed.tables.read();
            tables.newest_first().find_map(|table| table.chunk(channel, number).cloned())
        };
        if let Some(chunk) = in_tables {
            return Ok(chunk.row(pos).map(|(_, frame)| frame));
        }
        let key = (channel, number);
        if !self.chunks.contains_key(&key) {
            let Some(chunk) = self.committed.index.chunk(channel, number)? else { return Ok(None) };
            self.chunks.insert(key, Arc::new(chunk));
        }
        Ok(self.chunks.get(&key).and_then(|chunk| chunk.row(pos)).map(|(_, frame)| frame))
    }

    fn pruned(&mut self, channel: ChannelId) -> Result<Pos, StoreError> {
        if let Some(pos) = self.pruned.get(&channel) {
            return Ok(*pos);
        }
        let pos = pruned(self.committed, channel)?;
        self.pruned.insert(channel, pos);
        Ok(pos)
    }

    /// Whether a key belongs to an entry that is gone by retention. Where files are named is taken away by the core itself.
    fn is_pruned(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        if !matches!(key.first(), Some(&(kind::CHANGE | kind::FOLD))) {
            return Ok(false);
        }
        let channel = key.get(1..17).and_then(|id| ChannelId::from_slice(id).ok());
        let (Some(channel), Some(pos)) = (channel, keys::parse_pos(key)) else { return Ok(false) };
        Ok(pos <= self.pruned(channel)?)
    }

    /// The way from a message's id to where it was.
    fn forget_message(&mut self, key: MessageKey, was: MessagePlace) -> Result<(), StoreError> {
        let key = Key::message(key);
        let found = self.committed.index.value(&key)?;
        // The same id may stand elsewhere by now.
        if found.is_some_and(|bytes| values::decode::<MessagePlace>(&bytes) == Ok(was)) {
            self.remove(key.to_vec())?;
        }
        Ok(())
    }

    fn remove(&mut self, key: Vec<u8>) -> Result<(), StoreError> {
        self.dead.push(key);
        if self.dead.len() < ROWS_AT_ONCE { Ok(()) } else { self.remove_dead() }
    }

    /// Readers leave them out already, so it does not matter when they go.
    fn remove_dead(&mut self) -> Result<(), StoreError> {
        let _no_checkpoint = self.committed.turn.lock();
        for key in self.dead.drain(..) {
            self.committed.index.delete(&key)?;
        }
        Ok(())
    }
}
