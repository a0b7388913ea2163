//! Checkpoints: the table in memory goes to the index, behind the commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::StoreError;
use crate::journal::committed::Committed;
use crate::journal::index::Index;
use crate::journal::memtable::Memtable;
use crate::keys::Key;
use crate::stats::Clocked;
use crate::values::{self, MessagePlace};

impl Committed {
    /// Writes to the index what it lacks, durably, and lets go of it in memory. Readers see everything
    /// all the while. The position goes last, after a flush of its own: an index that is ahead of its
    /// position is caught up by replay, a position ahead of its index would lose.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock();
        let started = Instant::now();
        let (frozen, position) = {
            let mut tables = self.tables.write();
            // A table that could not be written stays; the store has failed then.
            if tables.growing.journal_bytes == 0 || tables.frozen.is_some() {
                return Ok(());
            }
            let frozen = Arc::new(std::mem::take(&mut tables.growing));
            tables.frozen = Some(frozen.clone());
            tables.round += 1;
            self.load.store(0, Ordering::Relaxed);
            (frozen, tables.position)
        };
        write(&self.index, &frozen)?;
        self.index.flush()?;
        self.index.put_position(&position)?;
        self.index.flush()?;
        *self.durable.lock() = position;
        self.chunks.written(frozen.chunks());
        let done = self.tables.write().frozen.take();
        // Freed here, not while the tables are locked: it may be a million allocations.
        drop(done);
        drop(frozen);
        let took = started.elapsed();
        self.figures.checkpoints.add(took);
        tracing::debug!(batch = position.batch, ms = took.as_millis() as u64, "checkpoint");
        Ok(())
    }
}

/// Each kind in the order of its keys, which lets sled's leaves be written once.
fn write(index: &Index, table: &Memtable) -> Result<(), StoreError> {
    let mut values: Vec<_> = table.values().collect();
    values.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in values {
        match value {
            Some(value) => index.put(key, value)?,
            None => index.delete(key)?,
        }
    }
    let mut chunks: Vec<_> = table.chunks().collect();
    chunks.sort_unstable_by_key(|(channel, chunk)| (*channel, chunk.number));
    for (channel, chunk) in chunks {
        index.put(&Key::chunk(channel, chunk.number), &values::encode(chunk.as_ref()))?;
    }
    let mut messages: Vec<_> = table.messages().collect();
    messages.sort_unstable();
    let mut value = Vec::new();
    for (message, (channel, pos)) in messages {
        value.clear();
        values::encode_into(&MessagePlace { channel, pos }, &mut value);
        index.put(&Key::message(message), &value)?;
    }
    Ok(())
}

/// Between commits and the thread that writes checkpoints.
pub(crate) struct Signal {
    state: Mutex<State>,
    /// Something is wanted of the thread.
    wanted: Condvar,
    /// The thread has frozen or finished something, or the store has failed.
    eased: Condvar,
    /// A checkpoint begins at this load.
    checkpoint_bytes: u64,
}

#[derive(Default)]
struct State {
    checkpoint: bool,
    running: bool,
    stop: bool,
}

/// What a checkpoint in progress costs a commit at most, just below the limit.
const SLOWEST: Duration = Duration::from_millis(50);

impl Signal {
    pub(crate) fn new(checkpoint_bytes: u64) -> Self {
        Self {
            state: Mutex::default(),
            wanted: Condvar::new(),
            eased: Condvar::new(),
            checkpoint_bytes,
        }
    }

    /// The load at which a checkpoint begins.
    pub(crate) fn threshold(&self) -> u64 {
        self.checkpoint_bytes
    }

    /// A checkpoint is wanted soon.
    pub(crate) fn request(&self) {
        self.state.lock().checkpoint = true;
        self.wanted.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.wanted.notify_all();
        self.eased.notify_all();
    }

    /// Before a commit: bounds what is not in the index yet. While a checkpoint runs and the next one is
    /// due already, commits are slowed, the more the further they are; at one and a half times the size
    /// of a checkpoint they wait for it.
    pub(crate) fn make_room(&self, load: &AtomicU64, failed: impl Fn() -> bool, stalls: &Clocked) {
        let limit = self.checkpoint_bytes + self.checkpoint_bytes / 2;
        if load.load(Ordering::Relaxed) < self.checkpoint_bytes {
            return;
        }
        let started = Instant::now();
        let mut state = self.state.lock();
        loop {
            let load = load.load(Ordering::Relaxed);
            if load < self.checkpoint_bytes || state.stop || failed() {
                break;
            }
            state.checkpoint = true;
            self.wanted.notify_one();
            if load >= limit {
                self.eased.wait(&mut state);
                continue;
            }
            if state.running {
                let over =
                    (load - self.checkpoint_bytes) as f64 / (limit - self.checkpoint_bytes) as f64;
                self.eased.wait_for(&mut state, SLOWEST.mul_f64(over));
            }
            break;
        }
        drop(state);
        stalls.add(started.elapsed());
    }

    /// The work of the thread, until [`Signal::stop`]: a checkpoint every `interval`, and when one is
    /// wanted. `checkpoint` tells whether to go on.
    pub(crate) fn run(&self, interval: Duration, load: &AtomicU64, checkpoint: impl Fn() -> bool) {
        loop {
            {
                let mut state = self.state.lock();
                let due = Instant::now() + interval;
                while !state.checkpoint && !state.stop {
                    if self.wanted.wait_until(&mut state, due).timed_out() {
                        break;
                    }
                }
                if state.stop {
                    return;
                }
                state.checkpoint = false;
                if load.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                state.running = true;
            }
            let go_on = checkpoint();
            self.state.lock().running = false;
            self.eased.notify_all();
            if !go_on {
                return;
            }
        }
    }
}
