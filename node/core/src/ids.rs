//! Whether a message id has been used: exactly, and mostly without asking the disk.
//!
//! The ids of all messages since some moment are remembered (`since_ms`, this home's clock). An id that is
//! not among them can only be on disk if it was decided before that moment. A UUIDv7 carries the time of
//! its making; where that time is later than `since_ms`, the id was made after everything forgotten,
//! *unless* the client's clock ran ahead of ours when it was committed. Such ids leave the greatest time
//! seen in the sender's account (`ids_ahead_ms`), and ids up to there are looked up. So the rule holds
//! whatever clients' clocks show, and costs only those whose clocks are wrong, or who use other UUIDs.
//!
//! A restart begins with the greatest stamp on disk, for nothing was decided later. A restore does not take over one from
//! the future: it leaves it in every account's `ids_ahead_ms` instead.

use std::sync::Arc;

use hashlink::LinkedHashMap;
use homing_wire::MessageId;
use uuid::Version;

use crate::state::{LogEntry, MessageKey};

/// Two generations of remembered ids.
pub(crate) struct RecentIds {
    young: LinkedHashMap<MessageKey, Arc<LogEntry>>,
    old: LinkedHashMap<MessageKey, Arc<LogEntry>>,
    young_bytes: usize,
    young_since_ms: u64,
    /// The last step that may have put something into the older generation.
    old_step: u64,
    /// Everything decided after this moment is remembered. Rises only.
    since_ms: u64,
    /// A generation ends at so many bytes of events.
    generation_bytes: usize,
}

/// An entry is remembered with at least this weight.
const ENTRY_BYTES: usize = 512;

impl RecentIds {
    /// Remembers from `since_ms` on: nothing that is on disk was decided later.
    pub(crate) fn new(generation_bytes: usize, since_ms: u64) -> Self {
        Self {
            young: LinkedHashMap::new(),
            old: LinkedHashMap::new(),
            young_bytes: 0,
            young_since_ms: since_ms,
            old_step: 0,
            since_ms,
            generation_bytes,
        }
    }

    pub(crate) fn find(&self, key: &MessageKey) -> Option<&Arc<LogEntry>> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(crate) fn remember(&mut self, key: MessageKey, entry: Arc<LogEntry>) {
        self.young_bytes += entry.event.size_bytes() + ENTRY_BYTES;
        self.young.insert(key, entry);
    }

    /// Lets the older generation go when the younger is full, if all of it is on disk: what is
    /// forgotten must be found by the reader. `step` is the one being decided.
    pub(crate) fn turn(&mut self, committed: u64, step: u64, latest_ms: u64) {
        if self.young_bytes > self.generation_bytes && self.old_step <= committed {
            self.old = std::mem::take(&mut self.young);
            self.old_step = step;
            self.since_ms = self.young_since_ms;
            // The clock may have been set back, in this life or since the last: what counts is the latest moment.
            self.young_since_ms = self.young_since_ms.max(latest_ms);
            self.young_bytes = 0;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether an id that is not remembered cannot be on disk either.
    pub(crate) fn is_certainly_new(&self, id: &MessageId, ids_ahead_ms: u64) -> bool {
        time_ms(id).is_some_and(|ms| ms > self.since_ms && ms > ids_ahead_ms)
    }
}

/// The time in a UUIDv7 (RFC 9562, section 5.7), in Unix milliseconds.
pub(crate) fn time_ms(id: &MessageId) -> Option<u64> {
    if id.0.get_version() != Some(Version::SortRand) {
        return None;
    }
    let bytes = id.as_bytes();
    let mut ms = [0; 8];
    ms[2..].copy_from_slice(&bytes[..6]);
    Some(u64::from_be_bytes(ms))
}
