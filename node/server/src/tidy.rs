//! What nobody is shown any more leaves the disk: a thread that has the store take it away bit by bit, and what an operator
//! asks for beside it.
//!
//! The clock is believed as it is, other than by retention: what is erased is deleted for good already. One that has jumped ahead
//! erases sooner, one that was set back later.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use homing_store::{Store, StoreError, Tidied, Tidy};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use tracing::{debug, error, info};

use crate::metrics::Family;

/// How often it is looked for what may go; more often where bodies are to go sooner.
const EVERY: Duration = Duration::from_secs(60);
/// After a failure: what is wrong, a full disk mostly, is so for minutes, and each trial reads files.
const RETRY: Duration = Duration::from_secs(60);
/// Bodies that wait are counted up to here: a look of a few milliseconds, and as many as a year of one person's words.
const COUNTED: usize = 10_000;

/// What the operator wants of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TidyLimits {
    /// Bodies of deleted messages go within that.
    pub erase_after: Duration,
    /// Bytes a second that are read and written at most; 0: as fast as the disk.
    pub bytes_per_s: u64,
}

/// What was freed at an operator's wish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactRow {
    /// Bodies of deleted messages that were taken away.
    pub erased: u64,
    /// Files of the journal that were looked through.
    pub looked_at: u64,
    /// Those of them that are gone.
    pub freed: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Bytes that were written in their place.
    pub bytes_after: u64,
}

/// Has a store give back what it need not keep.
pub(crate) struct Tidier {
    store: Arc<dyn Store>,
    limits: TidyLimits,
    now: fn() -> u64,
    counts: Counts,
    /// A store is tidied by one thread at a time.
    working: Mutex<()>,
    stopping: Mutex<bool>,
    /// It shall stop.
    moved: Condvar,
    /// Why the last step failed, as far as that was said.
    failing: Mutex<Option<&'static str>>,
}

/// Counters since the start, and what waits.
#[derive(Default)]
struct Counts {
    steps: AtomicU64,
    erased: AtomicU64,
    freed: AtomicU64,
    bytes_before: AtomicU64,
    bytes_after: AtomicU64,
    failures: AtomicU64,
    waiting: AtomicU64,
    /// Since when the oldest waits, in Unix milliseconds; 0: none does.
    oldest_ms: AtomicU64,
}

/// The thread.
pub(crate) struct TidyThread {
    tidier: Arc<Tidier>,
    thread: std::thread::JoinHandle<()>,
}

impl Tidier {
    pub(crate) fn new(store: Arc<dyn Store>, limits: TidyLimits, now: fn() -> u64) -> Arc<Self> {
        Arc::new(Self {
            store,
            limits,
            now,
            counts: Counts::default(),
            working: Mutex::default(),
            stopping: Mutex::default(),
            moved: Condvar::new(),
            failing: Mutex::default(),
        })
    }

    /// Starts the thread.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<TidyThread> {
        let tidier = self.clone();
        let thread = std::thread::Builder::new().name("tidy".into()).spawn(move || tidier.run())?;
        Ok(TidyThread { tidier: self.clone(), thread })
    }

    fn run(&self) {
        let every = EVERY.min(self.limits.erase_after / 4);
        loop {
            let wait = match self.round() {
                Ok(Tidied { more: true, .. }) => Duration::ZERO,
                Ok(_) => every,
                Err(StoreError::Closed) => return,
                Err(_) => RETRY,
            };
            let mut stopping = self.stopping.lock();
            if !*stopping && !wait.is_zero() {
                self.moved.wait_for(&mut stopping, wait);
            }
            if *stopping {
                return;
            }
        }
    }

    /// One step, and what is to be said of it.
    fn round(&self) -> Result<Tidied, StoreError> {
        let after_ms = u64::try_from(self.limits.erase_after.as_millis()).unwrap_or(u64::MAX);
        // Half of the time gathers deletions for one writing, a quarter is for a file that is being written, the rest for the
        // writing itself.
        let wish = Tidy {
            erase_before_ms: (self.now)().saturating_sub(after_ms / 2),
            seal_every_ms: after_ms / 4,
            bytes_per_s: self.limits.bytes_per_s,
            everything: false,
        };
        let done = self.step(&wish);
        match &done {
            Ok(_) if self.failing.lock().take().is_some() => {
                info!("what was deleted leaves the disk again")
            }
            Ok(_) | Err(StoreError::Closed) => {}
            Err(error) => {
                // Once: it is tried each minute.
                if self.failing.lock().replace(error.reason()) != Some(error.reason()) {
                    let todo = todo(error);
                    error!(%error, "what was deleted stays on the disk, and it is tried again each minute: {todo}");
                }
            }
        }
        done
    }

    fn step(&self, wish: &Tidy) -> Result<Tidied, StoreError> {
        let _alone = self.working.lock();
        let counts = &self.counts;
        let add = |counter: &AtomicU64, more: u64| counter.fetch_add(more, Ordering::Relaxed);
        add(&counts.steps, 1);
        let done = match self.store.tidy(wish) {
            Err(StoreError::Closed) => return Err(StoreError::Closed),
            Err(error) => {
                add(&counts.failures, 1);
                return Err(error);
            }
            Ok(done) => done,
        };
        add(&counts.erased, done.erased);
        add(&counts.freed, done.freed);
        add(&counts.bytes_before, done.bytes_before);
        add(&counts.bytes_after, done.bytes_after);
        if done.erased + done.freed > 0 {
            let Tidied { erased, freed, bytes_before, bytes_after, .. } = done;
            debug!(erased, freed, bytes_before, bytes_after, "the store was tidied");
        }
        // Where it cannot be read, what needs it says so.
        if let Ok(waiting) = self.store.erasures(COUNTED) {
            let oldest = waiting.iter().map(|(.., since)| *since).min().unwrap_or_default();
            counts.waiting.store(waiting.len() as u64, Ordering::Relaxed);
            counts.oldest_ms.store(oldest, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// Gives back all that can be given back, at once.
    pub(crate) fn compact(&self, erase_before_ms: u64) -> anyhow::Result<CompactRow> {
        compacted(erase_before_ms, |wish| {
            anyhow::ensure!(!*self.stopping.lock(), "the node is stopping");
            Ok(self.step(wish)?)
        })
    }

    /// As names, helps and numbers.
    pub(crate) fn families(&self) -> Vec<Family> {
        let counts = &self.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let oldest = match read(&counts.oldest_ms) {
            0 => 0,
            since => (self.now)().saturating_sub(since),
        };
        vec![
            Family::counter(
                "store_tidy_steps",
                "Times that it was looked for what may leave the disk",
                read(&counts.steps),
            ),
            Family::counter(
                "store_tidy_erased",
                "Bodies of deleted messages that were taken from the disk",
                read(&counts.erased),
            ),
            Family::counter(
                "store_tidy_files_freed",
                "Files of the journal that were given back",
                read(&counts.freed),
            ),
            Family::counter("store_tidy_bytes_before", "Their bytes", read(&counts.bytes_before)),
            Family::counter(
                "store_tidy_bytes_after",
                "Bytes written in their place",
                read(&counts.bytes_after),
            ),
            Family::counter(
                "store_tidy_failures",
                "Times that nothing could be taken from the disk",
                read(&counts.failures),
            ),
            Family::gauge(
                "store_tidy_waiting",
                "Bodies of deleted messages that are still on the disk, counted up to 10,000 at the last look",
                read(&counts.waiting) as f64,
            ),
            Family::gauge(
                "store_tidy_oldest_seconds",
                "How long the first of them has been deleted",
                oldest as f64 / 1e3,
            ),
        ]
    }
}

impl TidyThread {
    /// Takes up nothing more. What is under way ends when the store closes.
    pub(crate) fn stop(&self) {
        *self.tidier.stopping.lock() = true;
        self.tidier.moved.notify_all();
    }

    /// Waits for its end, once the store is closed. Blocks.
    pub(crate) fn join(self) {
        let _panicked_says_so_itself = self.thread.join();
    }
}

/// Has `step` called until nothing is left to do.
pub(crate) fn compacted(
    erase_before_ms: u64,
    step: impl Fn(&Tidy) -> anyhow::Result<Tidied>,
) -> anyhow::Result<CompactRow> {
    let wish = Tidy { erase_before_ms, seal_every_ms: 0, bytes_per_s: 0, everything: true };
    let mut row = CompactRow::default();
    loop {
        let done = step(&wish)?;
        row.erased += done.erased;
        row.looked_at += done.looked_at;
        row.freed += done.freed;
        row.bytes_before += done.bytes_before;
        row.bytes_after += done.bytes_after;
        if !done.more {
            return Ok(row);
        }
    }
}

/// What an operator does about it.
fn todo(error: &StoreError) -> &'static str {
    match error {
        StoreError::Io { error, .. } if error.kind() == ErrorKind::StorageFull => {
            "the disk is full: make room"
        }
        StoreError::Io { .. } => "look after the disk (`dmesg`, SMART)",
        StoreError::Damaged { .. }
        | StoreError::SegmentMissing { .. }
        | StoreError::Index { .. } => {
            "run `homing verify`, and restore a backup where that names damage"
        }
        StoreError::NotEmpty { .. }
        | StoreError::NotAStore { .. }
        | StoreError::Locked { .. }
        | StoreError::NewerFormat { .. }
        | StoreError::OlderFormat { .. }
        | StoreError::WrongHome { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Config(_)
        | StoreError::Closed => "restart the node, and run `homing check`",
    }
}

#[cfg(test)]
mod tests;
