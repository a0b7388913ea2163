//! The default engine: an append-only journal with sled behind it. The format: `docs/STORAGE.md`.
//!
//! A commit is one record, one write, one flush; then it is shown from tables in memory. A checkpoint
//! moves these to the index every few seconds, behind the commits. Events stay in the journal, whose
//! segments are rewritten with what lives (`rewrite`). Opening applies again what it holds beyond the index.

mod append;
mod cache;
mod catalog;
mod checkpoint;
mod chunk;
mod committed;
mod files;
mod fill;
mod index;
mod inspect;
mod memtable;
mod position;
mod record;
mod replay;
mod rewrite;
mod scan;
mod segment;
mod survey;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use homing_core::{
    Account, Batch, ChannelState, Device, EntryRow, Fault, Fold, Invite, ListRow, LogEntry,
    MessageKey, OpDone, PeerState, TokenHash, UserList, Write,
};
use homing_wire::{ChannelId, DeviceId, Epoch, HomeId, Local, OpId, Pos, Seq, Stamp, UserRef};
use parking_lot::{Mutex, RwLock};

pub use crate::journal::append::Flush;
use crate::journal::append::Journal;
use crate::journal::cache::{Chunks, Recent};
use crate::journal::catalog::{Known, Segments};
use crate::journal::checkpoint::Signal;
use crate::journal::committed::{Committed, Figures, Place};
pub use crate::journal::files::Lock;
use crate::journal::files::{Disk, Identity, create_dir, sync_dir};
use crate::journal::fill::{Blank, Filler};
use crate::journal::index::Index;
pub use crate::journal::inspect::{Inspection, SegmentRow, inspect};
use crate::journal::memtable::{Memtable, Noted, Tables};
use crate::journal::position::Position;
use crate::journal::record::Encoder;
use crate::journal::rewrite::Tidying;
use crate::journal::survey::Survey;
pub use crate::journal::verify::{Problem, Verification, verify};
use crate::keys::{self, Key, kind};
use crate::tap::Taps;
use crate::view::{self, View};
use crate::{FORMAT, Meta, Store, StoreError, StoreStats, Tap, Tidied, Tidy, batch};

/// Settings of a [`JournalStore`].
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Whose store it must be; `None`: anybody's.
    pub home: Option<HomeId>,
    /// Bytes of a journal file. Also the limit of one batch, which with events of 80 KiB and commits of a
    /// few hundred stays far below the default. A multiple of 4 KiB, 64 KiB to 1 GiB.
    pub segment_bytes: u64,
    /// A checkpoint at least this often: what an opening after a crash reads again.
    pub checkpoint_every: Duration,
    /// A checkpoint at least after so many bytes. Memory may hold up to three times as much, while the
    /// index cannot keep up; commits are slowed from two times on.
    pub checkpoint_bytes: u64,
    /// Memory for entries committed lately.
    pub entry_cache_bytes: usize,
    /// Memory for chunks of the index.
    pub chunk_cache_bytes: usize,
    /// Memory for the index itself: what sled keeps of it, by its size on disk (memory holds about half as
    /// much again).
    pub index_cache_bytes: u64,
    /// Journal files kept open for reading.
    pub open_segments: usize,
    /// With less room on the disk than this, [`Store::disk_low`] says so: enough for the journal's next
    /// files and the index to go on for a while.
    pub min_free_bytes: u64,
    /// Held back on the disk, to be given up when it is full: the index does not open otherwise.
    pub reserve_bytes: u64,
    /// How the journal is flushed; something else in tests alone.
    pub flush: Flush,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            home: None,
            segment_bytes: 64 << 20,
            checkpoint_every: Duration::from_secs(5),
            checkpoint_bytes: 128 << 20,
            entry_cache_bytes: 32 << 20,
            chunk_cache_bytes: 32 << 20,
            index_cache_bytes: 64 << 20,
            open_segments: 64,
            min_free_bytes: 512 << 20,
            reserve_bytes: 64 << 20,
            flush: Flush::default(),
        }
    }
}

/// The default engine.
pub struct JournalStore {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Last: let go when everything else is.
    _lock: Lock,
}

struct Shared {
    identity: Identity,
    committed: Committed,
    journal: Mutex<Journal>,
    filler: Filler,
    signal: Signal,
    disk: Disk,
    /// The first error; every commit answers it from then on.
    failed: OnceLock<StoreError>,
    /// Who wants every batch, too.
    taps: Taps,
    /// Of rewritten segments.
    flush: Flush,
    /// One rewriting at a time, and what it remembers.
    tidying: Mutex<Tidying>,
}

impl JournalStore {
    /// Makes an empty store of `home` in a directory that is empty or does not exist. It is durable when
    /// this returns. `epoch`: its life, in Unix milliseconds.
    pub fn create(dir: &Path, home: HomeId, epoch: Epoch) -> Result<(), StoreError> {
        create_dir(dir)?;
        let mut files = fs::read_dir(dir).map_err(StoreError::io("list", dir))?;
        if files.next().is_some() {
            return Err(StoreError::NotEmpty { path: dir.to_owned() });
        }
        let _lock = Lock::take(dir)?;
        create_dir(&dir.join("journal"))?;
        Index::create(&dir.join("index"), &Position::start(home))?;
        // Last: without it, it is no store.
        Identity { home, epoch, boot: 0 }.write(dir)
    }

    /// Opens a store, locks it, replays its journal's end and begins its next boot.
    pub fn open(dir: &Path, config: JournalConfig) -> Result<Self, StoreError> {
        config.check()?;
        // Before the lock, which would leave a file in a directory that is no store.
        Identity::read(dir)?;
        let lock = Lock::take(dir)?;
        let mut identity = Identity::read(dir)?;
        let home = identity.home;
        if let Some(expected) = config.home
            && expected != home
        {
            let path = Identity::path(dir);
            return Err(StoreError::WrongHome { path, found: home, expected });
        }
        let disk = Disk::new(dir.to_owned(), config.min_free_bytes);
        disk.prepare_reserve(config.reserve_bytes)?;

        let journal_dir = dir.join("journal");
        let survey = survey::survey(&journal_dir, home)?;
        let blank = clear(&journal_dir, &survey, config.segment_bytes)?;
        let used = &survey.used;
        let index = Index::open_or_rebuild(
            &dir.join("index"),
            &Position::start(home),
            config.index_cache_bytes,
            |position| rewrite::fits(position, used),
        )?;
        let position = index.position()?;
        if position.home != home {
            let (path, found) = (dir.join("index"), position.home);
            return Err(StoreError::WrongHome { path, found, expected: home });
        }
        let committed = Committed {
            index,
            segments: Segments::new(journal_dir.clone(), config.open_segments),
            tables: RwLock::new(Tables {
                growing: Memtable::default(),
                frozen: None,
                round: 0,
                position,
            }),
            recent: Recent::new(config.entry_cache_bytes),
            chunks: Chunks::new(config.chunk_cache_bytes),
            load: AtomicU64::new(0),
            turn: Mutex::new(()),
            figures: Figures::default(),
            durable: Mutex::new(position),
            prunes: AtomicU64::new(0),
        };
        for segment in used {
            committed.segments.add(Known::of(segment));
        }
        rewrite::finish_moves(&committed, &survey)?;
        let active = replay::replay(&committed, &journal_dir, used, config.checkpoint_bytes)?;
        rewrite::remove_covered(&journal_dir, &survey)?;
        let pruned = Key::all(kind::PRUNED);
        let any = committed.scan(&pruned, &keys::end_of(&pruned), 1);
        let any =
            any.map_err(|fault| StoreError::Index { path: dir.join("index"), what: fault.0 })?;
        committed.prunes.store(any.len() as u64, Ordering::Release);
        let found = committed.tables.read().position;
        identity.boot += 1;
        identity.write(dir)?;
        tracing::info!(
            %home, boot = identity.boot, batch = found.batch,
            replayed = found.batch - position.batch, segments = used.len(), "store open"
        );

        let last = used.last().map_or(0, |segment| segment.number());
        let next = last + 1 + u32::from(blank.is_some());
        let segment_bytes = config.segment_bytes;
        let shared = Arc::new(Shared {
            identity,
            committed,
            journal: Mutex::new(Journal {
                home,
                active,
                position: found,
                encoder: Encoder::default(),
                segment_bytes,
                flush: config.flush.clone(),
            }),
            filler: Filler::new(journal_dir, segment_bytes, blank, next),
            signal: Signal::new(config.checkpoint_bytes),
            disk,
            failed: OnceLock::new(),
            taps: Taps::default(),
            flush: config.flush,
            tidying: Mutex::default(),
        });
        let store = Self { shared, threads: Mutex::default(), _lock: lock };
        store.spawn("store-fill", |shared| shared.filler.run())?;
        store.spawn("store-checkpoint", move |shared| {
            let load = &shared.committed.load;
            shared.signal.run(config.checkpoint_every, load, || {
                shared.committed.checkpoint().map_err(|error| shared.fail(error)).is_ok()
            });
        })?;
        Ok(store)
    }

    /// Writes a checkpoint now: what is committed is in the index when this returns.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.shared.committed.checkpoint().map_err(|error| self.shared.fail(error))
    }

    fn view(&self) -> &Committed {
        &self.shared.committed
    }

    fn spawn(
        &self,
        name: &str,
        work: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&shared))
            .map_err(StoreError::io("start a thread for", Path::new(name)))?;
        self.threads.lock().push(thread);
        Ok(())
    }

    fn stop_threads(&self) {
        self.shared.signal.stop();
        self.shared.filler.stop();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
    }
}

impl Store for JournalStore {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let mut journal = shared.journal.lock();
        if batch.writes.iter().any(|write| matches!(write, Write::Pruned { .. })) {
            // Before anybody can read what the batch changes.
            shared.committed.prunes.fetch_add(1, Ordering::AcqRel);
        }
        let (load, stalls) = (&shared.committed.load, &shared.committed.figures.stalls);
        shared.signal.make_room(load, || shared.failed.get().is_some(), stalls);
        if let Some(error) = shared.failed.get() {
            return Err(error.clone());
        }
        shared.encode(&mut journal, batch).map_err(|error| shared.fail(error))?;
        // Nothing is written yet, and nothing has failed.
        journal.check_size()?;
        shared.write(&mut journal, batch).map_err(|error| shared.fail(error))?;
        shared.taps.tell(batch);
        Ok(())
    }

    fn tap(&self, tap: Arc<dyn Tap>) {
        let _between_two_commits = self.shared.journal.lock();
        self.shared.taps.add(tap);
    }

    fn untap(&self, tap: &Arc<dyn Tap>) {
        let _between_two_commits = self.shared.journal.lock();
        self.shared.taps.remove(tap);
    }

    fn meta(&self) -> Meta {
        let Identity { home, epoch, boot } = self.shared.identity;
        let Position { change, stamp, .. } = self.shared.committed.tables.read().position;
        Meta { format: FORMAT, home, epoch, boot, change, stamp: Stamp(stamp) }
    }

    fn stats(&self) -> StoreStats {
        let figures = &self.shared.committed.figures;
        let (memtable_bytes, backlog_bytes) = {
            let tables = self.shared.committed.tables.read();
            tables.newest_first().fold((0, 0), |(memory, journal), table| {
                (memory + table.bytes() as u64, journal + table.journal_bytes)
            })
        };
        StoreStats {
            commits: figures.commits.read(),
            entries: figures.entries.read(),
            bytes: figures.bytes.read(),
            fsync: figures.fsync.read(),
            checkpoints: figures.checkpoints.read(),
            stalls: figures.stalls.read(),
            memtable_bytes,
            backlog_bytes,
            segments: self.shared.committed.segments.count(),
            entry_hits: figures.entry_hits.read(),
            entry_misses: figures.entry_misses.read(),
            chunk_hits: figures.chunk_hits.read(),
            chunk_misses: figures.chunk_misses.read(),
            tidied_segments: figures.tidied_segments.read(),
            tidied_read_bytes: figures.tidied_read_bytes.read(),
            tidied_written_bytes: figures.tidied_written_bytes.read(),
            tidied_freed_bytes: figures.tidied_freed_bytes.read(),
            tidied_bodies: figures.tidied_bodies.read(),
        }
    }

    fn disk_low(&self) -> bool {
        self.shared.disk.is_low()
    }

    fn tidy(&self, wish: &Tidy) -> Result<Tidied, StoreError> {
        self.shared.tidy(wish)
    }

    fn close(&self) -> Result<(), StoreError> {
        {
            // Waits for the commit that is on its way.
            let _journal = self.shared.journal.lock();
            if let Err(StoreError::Closed) = self.shared.failed.set(StoreError::Closed)
                && let Some(error) = self.shared.failed.get()
            {
                let error = error.clone();
                return if matches!(error, StoreError::Closed) { Ok(()) } else { Err(error) };
            }
        }
        self.stop_threads();
        // A rewriting ends early.
        let _tidying = self.shared.tidying.lock();
        self.shared.committed.checkpoint()?;
        tracing::info!(home = %self.shared.identity.home, "store closed");
        Ok(())
    }
}

impl Drop for JournalStore {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

impl Shared {
    /// Puts a batch into the journal's encoder.
    fn encode(&self, journal: &mut Journal, batch: &Batch) -> Result<(), StoreError> {
        journal.encoder.begin(batch.change, batch.stamp.0);
        let lookup = |key: &Key| self.committed.value(key);
        batch::translate(batch, lookup, &mut journal.encoder)
            .map_err(|fault| self.committed.index.damaged(fault.0))
    }

    /// Writes, flushes and shows what is in the encoder.
    fn write(&self, journal: &mut Journal, batch: &Batch) -> Result<(), StoreError> {
        let entries = || {
            batch.writes.iter().filter_map(|write| {
                if let Write::Entry(entry) = write { Some(entry) } else { None }
            })
        };
        let noted: Vec<Noted> = entries().map(|entry| Noted::of(entry)).collect();
        let bases = self.committed.bases(&noted)?;
        let figures = &self.committed.figures;
        let (change, stamp, segments) = (batch.change, batch.stamp.0, &self.committed.segments);
        let position = journal.append(change, stamp, &self.filler, segments, &figures.fsync)?;
        let (payload, place) = (journal.encoder.payload(), Place::of(&position));
        self.committed.apply(payload, &noted, bases, place, Some(position))?;
        self.committed.recent.add(entries().cloned());
        figures.commits.add(1);
        figures.entries.add(noted.len() as u64);
        figures.bytes.add(position.end - position.record);
        if self.committed.load.load(Ordering::Relaxed) >= self.signal.threshold() {
            self.signal.request();
        }
        Ok(())
    }

    /// Notes the first error: the store is out of service from then on.
    fn fail(&self, error: StoreError) -> StoreError {
        if self.failed.set(error.clone()).is_ok() {
            tracing::error!(reason = error.reason(), %error, "the store has failed; nothing more is committed");
        }
        error
    }
}

impl JournalConfig {
    fn check(&self) -> Result<(), StoreError> {
        if !(64 << 10..=1 << 30).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(4_096)
        {
            return Err(StoreError::Config(
                "segment_bytes must be a multiple of 4 KiB, 64 KiB to 1 GiB",
            ));
        }
        if self.checkpoint_bytes == 0 || self.checkpoint_every.is_zero() {
            return Err(StoreError::Config(
                "checkpoint_bytes and checkpoint_every must not be zero",
            ));
        }
        Ok(())
    }
}

/// Removes what was not finished, and segments made ahead for another size; tells the one made ahead.
fn clear(dir: &Path, survey: &Survey, segment_bytes: u64) -> Result<Option<Blank>, StoreError> {
    let mut blank = None;
    for path in &survey.unfinished {
        fs::remove_file(path).map_err(StoreError::io("remove", path))?;
    }
    for (number, path, len) in &survey.blank {
        if blank.is_none() && *len == segment_bytes {
            blank = Some(open_blank(*number, path.clone(), *len)?);
        } else {
            fs::remove_file(path).map_err(StoreError::io("remove", path))?;
            sync_dir(dir)?;
        }
    }
    Ok(blank)
}

fn open_blank(number: u32, path: PathBuf, len: u64) -> Result<Blank, StoreError> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(StoreError::io("open", &path))?;
    Ok(Blank { number, path, file, len })
}

view::reader!(JournalStore);
