//! Figures of a store, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of a [`Timing`]: bucket `i` counts what took at most `64 µs << i` (the last: everything
/// longer), from well below a good disk's flush to over a second.
pub const TIMING_BUCKETS: usize = 16;

/// How long something took, since the store was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// How often it happened.
    pub count: u64,
    /// All of it together.
    pub sum: Duration,
    /// The longest.
    pub max: Duration,
    /// How many fell into each bucket (not cumulative); see [`Timing::bucket_limit`].
    pub buckets: [u64; TIMING_BUCKETS],
}

impl Timing {
    /// The longest duration that bucket `i` counts; the last counts everything longer as well.
    pub fn bucket_limit(i: usize) -> Duration {
        Duration::from_micros(64u64 << i.min(TIMING_BUCKETS - 1))
    }
}

/// Figures since the store was opened, unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStats {
    /// Batches committed.
    pub commits: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes they took in the journal.
    pub bytes: u64,
    /// Flushes of the journal.
    pub fsync: Timing,
    /// Checkpoints of the index.
    pub checkpoints: Timing,
    /// Commits that were slowed because the index had fallen behind.
    pub stalls: Timing,
    /// Now: memory held by what is not in the index yet.
    pub memtable_bytes: u64,
    /// Now: journal bytes that an opening would have to read again.
    pub backlog_bytes: u64,
    /// Now: files of the journal that hold something.
    pub segments: u64,
    /// Entries handed out without the disk.
    pub entry_hits: u64,
    /// Entries read from the journal.
    pub entry_misses: u64,
    /// Index chunks handed out without the index.
    pub chunk_hits: u64,
    /// Index chunks read from the index.
    pub chunk_misses: u64,
    /// Files of the journal that were rewritten and are gone.
    pub tidied_segments: u64,
    /// Bytes read for that.
    pub tidied_read_bytes: u64,
    /// Bytes written for that.
    pub tidied_written_bytes: u64,
    /// Bytes of the files that are gone.
    pub tidied_freed_bytes: u64,
    /// Bodies that were taken off the disk.
    pub tidied_bodies: u64,
}

/// A [`Timing`] that several threads add to.
#[derive(Debug, Default)]
pub struct Clocked {
    count: AtomicU64,
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
    buckets: [AtomicU64; TIMING_BUCKETS],
}

impl Clocked {
    /// It happened once more, and took so long.
    pub fn add(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        self.max_ns.fetch_max(ns, Ordering::Relaxed);
        let bucket = (0..TIMING_BUCKETS - 1).find(|i| took <= Timing::bucket_limit(*i));
        self.buckets[bucket.unwrap_or(TIMING_BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// All of it so far.
    pub fn read(&self) -> Timing {
        let mut buckets = [0; TIMING_BUCKETS];
        for (into, from) in buckets.iter_mut().zip(&self.buckets) {
            *into = from.load(Ordering::Relaxed);
        }
        Timing {
            count: self.count.load(Ordering::Relaxed),
            sum: Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)),
            max: Duration::from_nanos(self.max_ns.load(Ordering::Relaxed)),
            buckets,
        }
    }
}

/// A number that several threads add to.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timing_counts_each_duration_in_one_bucket() {
        let clocked = Clocked::default();
        for micros in [1, 64, 65, 1_000_000, 100_000_000] {
            clocked.add(Duration::from_micros(micros));
        }
        let timing = clocked.read();
        assert_eq!(timing.count, 5);
        assert_eq!(timing.max, Duration::from_secs(100));
        assert_eq!(timing.buckets.iter().sum::<u64>(), 5);
        assert_eq!((timing.buckets[0], timing.buckets[1]), (2, 1));
        assert_eq!(timing.buckets[TIMING_BUCKETS - 1], 1);
    }
}
