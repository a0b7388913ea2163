//! Where a home keeps what it must not lose.
//!
//! [`Store`] speaks the domain's words: it commits a [`Batch`] of typed writes, all of it or nothing,
//! and answers what [`Reader`] asks. Two engines: [`MemoryStore`] for simulations and tests, and
//! [`JournalStore`], the default, an append-only journal with sled behind it (`docs/STORAGE.md`).
//! `tests/store` holds what every engine must do.
//!
//! # Order of calls
//! One thread commits; any number read. [`Store::commit`] returns when the batch is durable, and
//! every read that starts afterwards shows it. A commit that fails is final: every later one fails with
//! the same error, and the process should end. [`Store::close`] ends a life cleanly; without it (a
//! crash) the next opening reads the journal's end again.
//!
//! # What a batch must keep
//! Entries of a channel come with rising `pos`. An entry that is written again at its `pos` must be the
//! same event: same origin, epoch, seq and id; only its body may be gone. Along a chain (channel,
//! origin, epoch) `seq` rises with `pos`. [`homing_core::ChannelState::head`] never names a place that
//! has no entry.

mod backup;
mod batch;
mod entry;
mod error;
mod journal;
mod keys;
mod memory;
#[cfg(test)]
#[path = "../tests/store/sample.rs"]
mod sample;
mod stats;
mod tap;
mod tidy;
mod values;
mod view;

use std::sync::Arc;

use homing_core::{Batch, Reader};
use homing_wire::{Epoch, HomeId, Stamp};

pub use backup::{
    BackupCounts, BackupError, BackupFile, BackupHeader, RestoreTime, read_backup, restore_batch,
    write_backup,
};
pub use error::StoreError;
pub use journal::{
    Flush, Inspection, JournalConfig, JournalStore, Lock, Problem, SegmentRow, Verification,
    inspect, verify,
};
pub use memory::MemoryStore;
pub use stats::{Clocked, StoreStats, TIMING_BUCKETS, Timing};
pub use tap::Tap;
pub use tidy::{Tidied, Tidy};

/// The format that this program writes, and the newest it reads.
pub const FORMAT: u32 = 3;

/// The oldest format that it reads: without rewritten segments.
pub(crate) const OLDEST_FORMAT: u32 = 2;

/// An engine. See the crate's page for the order of calls and what a batch must keep.
pub trait Store: Reader + Send + Sync + 'static {
    /// Makes a batch durable, whole. When it returns, every reader shows it.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// From now on `tap` is told of every batch, once it is durable. Whatever it is not told of was there to be read
    /// before this call returned.
    fn tap(&self, tap: Arc<dyn Tap>);

    /// From now on it is told of nothing more; of every batch that could be read before, it has been.
    fn untap(&self, tap: &Arc<dyn Tap>);

    /// What the store is and how far it has got.
    fn meta(&self) -> Meta;

    /// Figures for metrics.
    fn stats(&self) -> StoreStats;

    /// The disk is nearly full: refuse what would write more. Asked at most every second.
    fn disk_low(&self) -> bool;

    /// One bounded step of giving space back: bodies that are to go leave the disk, and what nobody can read any more goes
    /// with the files that held it. Called by one thread at a time, beside commits and reads, which it does not hold up. It
    /// ends early where the store closes. A failure leaves everything as it was, but for what was done before it; whether the
    /// store goes on after it is what the next commit says.
    fn tidy(&self, wish: &Tidy) -> Result<Tidied, StoreError>;

    /// A clean stop: what is behind the journal catches up, so that the next opening is quick. Reads
    /// still work; commits answer [`StoreError::Closed`].
    fn close(&self) -> Result<(), StoreError>;
}

/// What a store is, and how far it has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// The format it is written in.
    pub format: u32,
    /// Whose store.
    pub home: HomeId,
    /// Its life: Unix milliseconds of its start.
    pub epoch: Epoch,
    /// Starts of this life, this one included. Rises durably at each opening.
    pub boot: u64,
    /// `change` of the newest batch; 0 before the first.
    pub change: u64,
    /// `stamp` of the newest batch; 0 before the first.
    pub stamp: Stamp,
}
