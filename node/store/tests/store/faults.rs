//! Disks that fail: a flush that does not, and a file system without room. The store says so, for good; nothing
//! that was answered is lost, and it opens again.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homing_core::{Batch, Reader, Write};
use homing_store::{Flush, JournalConfig, JournalStore, Store, StoreError, Tidied, Tidy};
use homing_wire::Pos;

use crate::conformance::small;
use crate::sample::{self, EPOCH, HOME};

fn batch(n: u64) -> Batch {
    let channel = sample::channel(1);
    let entry = sample::entry_with(channel, n, vec![n as u8; 3_000].into());
    let writes =
        vec![Write::Entry(entry), Write::Channel(Box::new(sample::channel_at(channel, n)))];
    Batch { change: n, writes, ..Batch::default() }
}

/// Commits from `first` on until it fails: the last that was answered, and the error.
fn commit_until_it_fails(store: &JournalStore, first: u64) -> (u64, StoreError) {
    for n in first.. {
        if let Err(error) = store.commit(&batch(n)) {
            return (n - 1, error);
        }
    }
    unreachable!("it never fails")
}

/// The last message, after reading all of them.
fn read_all(store: &JournalStore) -> u64 {
    let channel = sample::channel(1);
    let head = store.channel(channel).unwrap().map_or(0, |state| state.head.0);
    let log = store.log(channel, Pos(1), Pos(head.max(1)), usize::MAX).unwrap();
    assert!(log.iter().map(|e| e.pos.0).eq(1..=head), "a gap");
    assert!(log.iter().all(|e| e.event.body.iter().all(|byte| *byte == e.pos.0 as u8)));
    head
}

#[test]
fn a_flush_that_fails_ends_the_store_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let mut answered = 0;
    for fails_at in [1, 2, 7, 40] {
        let flushes = Arc::new(AtomicU64::new(0));
        let counted = flushes.clone();
        let flush = Flush::instead(move |file| {
            if counted.fetch_add(1, Ordering::Relaxed) + 1 == fails_at {
                return Err(io::Error::from_raw_os_error(5)); // EIO
            }
            file.sync_data()
        });
        let store = JournalStore::open(dir.path(), JournalConfig { flush, ..small() }).unwrap();
        let before = read_all(&store);
        assert!(before >= answered, "{before} of {answered}");
        let (last, error) = commit_until_it_fails(&store, before + 1);
        assert_eq!(last - before, fails_at - 1);
        let text = error.to_string();
        assert!(text.contains("journal/") && text.contains("os error 5"), "{text}");
        // The next flush would succeed; but nobody knows what the failed one has lost.
        let again = store.commit(&batch(last + 1)).unwrap_err();
        assert_eq!(again.to_string(), text);
        assert_eq!(store.commit(&batch(last + 2)).unwrap_err().to_string(), text);
        assert_eq!(read_all(&store), last, "what was not answered is not shown");
        assert!(store.close().is_err() || read_all(&store) == last);
        answered = last;
    }
    let store = JournalStore::open(dir.path(), small()).unwrap();
    let last = read_all(&store);
    assert!(last >= answered && last <= answered + 1, "{last}, answered {answered}");
    store.commit(&batch(last + 1)).unwrap();
}

/// A small file system of its own, while it lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, with the reason, where it cannot be made.
    fn new(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "homing-test"])
            .arg(dir.path())
            .output();
        match made {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                println!("skipped: cannot mount a tmpfs (it takes root): {}", why.trim());
                None
            }
            Err(error) => {
                println!("skipped: cannot run mount: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(done.is_ok_and(|status| status.success()), "umount");
    }
}

#[test]
fn a_full_disk_ends_the_store_and_loses_nothing() {
    let Some(disk) = SmallDisk::new(6 << 20) else { return };
    let dir = disk.path().join("store");
    JournalStore::create(&dir, HOME, EPOCH).unwrap();
    let config = || JournalConfig { reserve_bytes: 1 << 20, min_free_bytes: 2 << 20, ..small() };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let store = JournalStore::open(&dir, config()).unwrap();
    let (answered, error) = commit_until_it_fails(&store, 1);
    assert!(answered > 10, "{answered}");
    assert!(error.to_string().contains("os error 28"), "{error}"); // ENOSPC
    assert!(store.disk_low(), "said long before");
    assert_eq!(store.commit(&batch(answered + 1)).unwrap_err().to_string(), error.to_string());
    assert_eq!(read_all(&store), answered);
    drop(store);
    // The operator makes room: everything that was answered is there, and it goes on.
    std::fs::remove_file(&ballast).unwrap();
    let store = JournalStore::open(&dir, config()).unwrap();
    let last = read_all(&store);
    assert!(last >= answered && last <= answered + 1, "{last}, answered {answered}");
    store.commit(&batch(last + 1)).unwrap();
}

/// Where there is no room to write anew, nothing is begun; commits go on, and space comes back as soon as there is some.
#[test]
fn a_full_disk_is_tidied_when_there_is_room() {
    let Some(disk) = SmallDisk::new(12 << 20) else { return };
    let dir = disk.path().join("store");
    JournalStore::create(&dir, HOME, EPOCH).unwrap();
    // A quarter of that is left alone.
    let config = JournalConfig { segment_bytes: 128 << 10, min_free_bytes: 24 << 20, ..small() };
    let store = JournalStore::open(&dir, config).unwrap();
    for n in 1..=200 {
        store.commit(&batch(n)).unwrap();
    }
    store.checkpoint().unwrap();
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 5 << 20]).unwrap();
    let wish =
        Tidy { erase_before_ms: 0, seal_every_ms: 3_600_000, bytes_per_s: 0, everything: false };
    assert_eq!(store.tidy(&wish).unwrap(), Tidied::default());
    store.commit(&batch(201)).unwrap();
    std::fs::remove_file(&ballast).unwrap();
    assert!(store.tidy(&wish).unwrap().freed > 0);
    assert_eq!(read_all(&store), 201);
}

/// A slow rewriting does not hold up the end.
#[test]
fn a_rewriting_ends_early_where_the_store_closes() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let config = || JournalConfig { segment_bytes: 128 << 10, min_free_bytes: 0, ..small() };
    let store = JournalStore::open(dir.path(), config()).unwrap();
    for n in 1..=200 {
        store.commit(&batch(n)).unwrap();
    }
    let started = std::time::Instant::now();
    let slow = Tidy {
        erase_before_ms: 0,
        seal_every_ms: 3_600_000,
        bytes_per_s: 10_000,
        everything: true,
    };
    std::thread::scope(|scope| {
        let tidying = scope.spawn(|| store.tidy(&slow));
        std::thread::sleep(std::time::Duration::from_millis(200));
        store.commit(&batch(201)).unwrap();
        store.close().unwrap();
        assert_eq!(tidying.join().unwrap().unwrap().freed, 0);
    });
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    drop(store);
    assert_eq!(read_all(&JournalStore::open(dir.path(), config()).unwrap()), 201);
}
