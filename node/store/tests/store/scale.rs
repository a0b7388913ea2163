//! Many channels, many segments, readers beside the writer, bounds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use homing_core::{Batch, Reader, Write};
use homing_store::{JournalConfig, JournalStore, Store};
use homing_wire::Pos;

use crate::conformance::small;
use crate::sample::{self, EPOCH, HOME};

fn batch(round: u64, channels: std::ops::Range<u64>) -> Batch {
    let writes = channels.flat_map(|n| {
        let channel = sample::channel(n);
        [
            Write::Entry(sample::entry(channel, round)),
            Write::Channel(Box::new(sample::channel_at(channel, round))),
        ]
    });
    Batch { change: round, writes: writes.collect(), ..Batch::default() }
}

#[test]
fn many_channels_through_many_checkpoints() {
    const CHANNELS: u64 = 2_000;
    const ROUNDS: u64 = 10;
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let config = JournalConfig { segment_bytes: 1 << 20, checkpoint_bytes: 1 << 20, ..small() };
    let store = JournalStore::open(dir.path(), config.clone()).unwrap();
    for round in 1..=ROUNDS {
        for start in (0..CHANNELS).step_by(250) {
            store.commit(&batch(round, start..start + 250)).unwrap();
        }
    }
    let stats = store.stats();
    assert_eq!(stats.entries, CHANNELS * ROUNDS);
    assert_eq!(stats.commits, stats.fsync.count);
    assert!(stats.segments > 3 && stats.checkpoints.count > 1, "{stats:?}");
    assert!(stats.backlog_bytes <= 5 << 20, "{stats:?}");
    drop(store);
    let store = JournalStore::open(dir.path(), config).unwrap();
    for n in (0..CHANNELS).step_by(17) {
        let channel = sample::channel(n);
        let entries = store.entries(channel, Pos(1), Pos(99), usize::MAX).unwrap();
        assert!(entries.iter().map(|entry| entry.pos.0).eq(1..=ROUNDS), "{n}");
        assert_eq!(store.channel(channel).unwrap().unwrap().head, Pos(ROUNDS));
    }
}

/// Readers see each batch whole and never step back, through checkpoints and new segments.
#[test]
fn readers_see_whole_batches_while_they_come() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), small()).unwrap();
    let (committed, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for reader in 0..2u64 {
            let (store, committed, done) = (&store, &committed, &done);
            scope.spawn(move || {
                let channel = sample::channel(reader);
                let mut seen = 0;
                while !done.load(Ordering::Acquire) {
                    let least = committed.load(Ordering::Acquire);
                    let head = store.channel(channel).unwrap().map_or(0, |state| state.head.0);
                    assert!(head >= least && head >= seen);
                    seen = head;
                    if head > 0 {
                        assert_eq!(store.row(channel, Pos(head)).unwrap().unwrap().pos, Pos(head));
                        let first = head.saturating_sub(100).max(1);
                        let entries =
                            store.log(channel, Pos(first), Pos(head), usize::MAX).unwrap();
                        assert!(entries.iter().map(|entry| entry.pos.0).eq(first..=head));
                        let row = store.last_row_of(channel, HOME, Pos(head / 2)).unwrap();
                        assert_eq!(row.map_or(0, |row| row.pos.0), head / 2);
                    }
                }
            });
        }
        for round in 1..=600 {
            store.commit(&batch(round, 0..5)).unwrap();
            committed.store(round, Ordering::Release);
        }
        done.store(true, Ordering::Release);
    });
    assert!(store.stats().checkpoints.count > 1);
}

#[test]
fn recent_entries_come_without_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let config = JournalConfig { entry_cache_bytes: 1 << 20, ..small() };
    let store = JournalStore::open(dir.path(), config).unwrap();
    for round in 1..=50 {
        store.commit(&batch(round, 0..1)).unwrap();
    }
    let channel = sample::channel(0);
    assert_eq!(store.log(channel, Pos(1), Pos(50), usize::MAX).unwrap().len(), 50);
    assert!(store.entry(channel, Pos(25)).unwrap().is_some());
    let stats = store.stats();
    assert_eq!((stats.entry_hits, stats.entry_misses), (51, 0));
}
