//! Space comes back: what is read stays the same, but for bodies that are to go; a crash at any step is survived.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use homing_core::{Batch, ChainEnd, Reader, Write};
use homing_store::{Flush, JournalConfig, JournalStore, Store, Tidied, Tidy, inspect, verify};
use homing_wire::{Hash, Pos, Seq};

use crate::conformance::small;
use crate::sample::{self, EPOCH, HOME};

/// Steps until nothing is left to do.
pub(crate) fn tidy(store: &impl Store, erase_before_ms: u64, everything: bool) {
    while step(store, erase_before_ms, everything).more {}
}

fn step(store: &impl Store, erase_before_ms: u64, everything: bool) -> Tidied {
    store
        .tidy(&Tidy { erase_before_ms, seal_every_ms: 3_600_000, bytes_per_s: 0, everything })
        .unwrap()
}

fn config() -> JournalConfig {
    JournalConfig { segment_bytes: 64 << 10, min_free_bytes: 0, ..small() }
}

const CHANNELS: u64 = 3;

fn secret(pos: u64) -> String {
    format!("SECRET-{pos}-SECRET")
}

/// An entry in each channel; every seventh is to be erased, since its own number.
fn batch(n: u64) -> Batch {
    let mut writes = Vec::new();
    for channel in (0..CHANNELS).map(sample::channel) {
        let body = format!("{}{}", secret(n), "x".repeat(400));
        writes.push(Write::Entry(sample::entry_with(channel, n, body.into())));
        writes.push(Write::Channel(Box::new(sample::channel_at(channel, n))));
        if n.is_multiple_of(7) {
            writes.push(Write::Erase { channel, pos: Pos(n), since: Some(n) });
        }
    }
    let mut account = sample::account("alice");
    account.ids_ahead_ms = n;
    writes.push(Write::Account(Box::new(account)));
    Batch { change: n, writes, ..Batch::default() }
}

fn filled(batches: u64) -> (tempfile::TempDir, JournalStore) {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), config()).unwrap();
    for n in 1..=batches {
        store.commit(&batch(n)).unwrap();
    }
    (dir, store)
}

/// Entries from `first` to `last` and nothing else; without their bodies those that are due before `erased`.
fn holds(store: &impl Store, first: u64, last: u64, erased: u64) {
    for channel in (0..CHANNELS).map(sample::channel) {
        let log = store.log(channel, Pos(1), Pos(u64::MAX), usize::MAX).unwrap();
        assert!(log.iter().map(|entry| entry.pos.0).eq(first..=last));
        for entry in log {
            let pos = entry.pos.0;
            let gone = pos.is_multiple_of(7) && pos < erased;
            assert_eq!(entry.event.body.is_empty(), gone, "{pos}");
            assert!(gone || entry.event.body.starts_with(secret(pos).as_bytes()), "{pos}");
            let header = &entry.event.header;
            let key = homing_core::MessageKey::new(&header.user(), &header.id);
            assert_eq!(store.place(key).unwrap(), Some((channel, entry.pos)));
            let row = store.row_of_seq(channel, HOME, EPOCH, Seq(pos)).unwrap().unwrap();
            assert_eq!(row.pos, entry.pos);
            assert_eq!(store.last_row_of(channel, HOME, entry.pos).unwrap(), Some(row));
        }
        let head = store.channel(channel).unwrap().map_or(Pos(0), |state| state.head);
        assert_eq!(head, Pos(last));
    }
    let account = store.account(&sample::local("alice")).unwrap();
    assert_eq!(account.map_or(0, |account| account.ids_ahead_ms), last);
    assert_eq!(store.meta().change, last);
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn is_anywhere(dir: &Path, text: &str) -> Option<PathBuf> {
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    files(dir).into_iter().find(holds)
}

fn journal_bytes(dir: &Path) -> u64 {
    files(&dir.join("journal")).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

fn rewritten(dir: &Path) -> Vec<PathBuf> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with('r');
    let mut found: Vec<_> = files(&dir.join("journal")).into_iter().filter(name).collect();
    found.sort();
    found
}

fn without_index(dir: &Path) -> JournalStore {
    fs::remove_dir_all(dir.join("index")).unwrap();
    JournalStore::open(dir, config()).unwrap()
}

#[test]
fn an_erased_body_is_in_no_file() {
    let (dir, store) = filled(300);
    tidy(&store, 200, false);
    holds(&store, 1, 300, 200);
    assert!(store.erasures(usize::MAX).unwrap().iter().all(|(.., since)| *since >= 200));
    assert!(store.stats().tidied_bodies >= 28 * CHANNELS, "{:?}", store.stats());
    for pos in (7..200).step_by(7) {
        assert_eq!(is_anywhere(dir.path(), &secret(pos)), None, "{pos}");
    }
    assert!(is_anywhere(dir.path(), &secret(203)).is_some());
    drop(store);
    holds(&JournalStore::open(dir.path(), config()).unwrap(), 1, 300, 200);
    let store = without_index(dir.path());
    holds(&store, 1, 300, 200);
    // The rows that say so are back; nothing is there any more to erase.
    tidy(&store, 200, false);
    holds(&store, 1, 300, 200);
    assert!(store.erasures(usize::MAX).unwrap().iter().all(|(.., since)| *since >= 200));
}

/// What was written last is in the segment that is written: it does not wait until that is full.
#[test]
fn a_body_of_a_quiet_home_leaves_as_well() {
    let (dir, store) = filled(7);
    tidy(&store, 100, false);
    holds(&store, 1, 7, 100);
    assert_eq!(is_anywhere(dir.path(), &secret(7)), None);
    assert!(is_anywhere(dir.path(), &secret(6)).is_some());
    drop(store);
    holds(&without_index(dir.path()), 1, 7, 100);
}

#[test]
fn everything_is_rewritten_once_and_again() {
    let (dir, store) = filled(400);
    let before = journal_bytes(dir.path());
    for _ in 0..3 {
        tidy(&store, 0, true);
        holds(&store, 1, 400, 0);
    }
    assert_eq!(rewritten(dir.path()).len(), 1);
    assert!(journal_bytes(dir.path()) < before);
    let stats = store.stats();
    assert!(stats.tidied_segments > 5 && stats.tidied_freed_bytes > stats.tidied_written_bytes);
    for n in 401..=500 {
        store.commit(&batch(n)).unwrap();
    }
    tidy(&store, 0, false);
    holds(&store, 1, 500, 0);
    drop(store);
    holds(&JournalStore::open(dir.path(), config()).unwrap(), 1, 500, 0);
    holds(&without_index(dir.path()), 1, 500, 0);
}

fn prune(store: &JournalStore, upto: u64, head: u64) {
    for channel in (0..CHANNELS).map(sample::channel) {
        let mut state = sample::channel_at(channel, head);
        let pruned = Some((Seq(upto), Hash([7; 32])));
        state.chains = vec![ChainEnd { seq: Seq(head), pruned, ..ChainEnd::none(HOME, EPOCH) }];
        state.pruned = Pos(upto);
        let writes =
            vec![Write::Channel(Box::new(state)), Write::Pruned { channel, upto: Pos(upto) }];
        store.commit(&Batch { change: head, writes, ..Batch::default() }).unwrap();
    }
}

#[test]
fn the_disk_is_bounded_where_retention_prunes() {
    let (dir, store) = filled(1);
    let mut most = 0;
    for round in 1..=20u64 {
        for n in round * 100 - 98..=round * 100 + 1 {
            store.commit(&batch(n)).unwrap();
        }
        let head = round * 100 + 1;
        if round > 1 {
            prune(&store, head - 200, head);
        }
        tidy(&store, 0, false);
        holds(&store, head.saturating_sub(199).max(1), head, 0);
        if round > 3 {
            most = most.max(journal_bytes(dir.path()));
        }
    }
    // 200 entries a channel of half a kilobyte and what was not rewritten yet.
    assert!(most < 1_800_000, "{most}");
    drop(store);
    holds(&JournalStore::open(dir.path(), config()).unwrap(), 1_802, 2_001, 0);
    holds(&without_index(dir.path()), 1_802, 2_001, 0);
}

/// The files of a directory as they are now.
fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let place = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        // sled may take its own away meanwhile.
        let _ = fs::copy(&path, place);
    }
}

/// Everything between the rename and the last file that is freed: the sources are put back beside what was rewritten, with
/// the index from before, from after, and without any.
#[test]
fn a_crash_between_any_two_steps_is_survived() {
    let (dir, store) = filled(300);
    store.checkpoint().unwrap();
    store.close().unwrap();
    drop(store);
    let before = tempfile::tempdir().unwrap();
    copy(dir.path(), before.path());
    let store = JournalStore::open(dir.path(), config()).unwrap();
    assert!(step(&store, 200, false).freed > 0);
    let new = rewritten(dir.path());
    store.close().unwrap();
    drop(store);
    for index in ["before", "after", "none"] {
        for keep in [0, 1, 99] {
            let at = tempfile::tempdir().unwrap();
            copy(dir.path(), at.path());
            let freed = files(&before.path().join("journal"));
            for path in freed
                .iter()
                .filter(|path| !dir.path().join("journal").join(path.file_name().unwrap()).exists())
                .take(if index == "before" { 99 } else { keep })
            {
                let place = at.path().join("journal").join(path.file_name().unwrap());
                fs::copy(path, place).unwrap();
            }
            if index != "after" {
                fs::remove_dir_all(at.path().join("index")).unwrap();
            }
            if index == "before" {
                copy(&before.path().join("index"), &at.path().join("index"));
            }
            fs::write(at.path().join("journal/r0000099.tmp"), "half").unwrap();
            let store = JournalStore::open(at.path(), config()).unwrap();
            let log = store.log(sample::channel(0), Pos(1), Pos(999), usize::MAX).unwrap();
            assert!(log.iter().map(|entry| entry.pos.0).eq(1..=300), "{index} {keep}");
            assert_eq!(rewritten(at.path()).len(), new.len());
            tidy(&store, 200, false);
            holds(&store, 1, 300, 200);
            drop(store);
            let found = verify(at.path(), &mut |_| {}).unwrap();
            assert!(found.problems.is_empty(), "{index} {keep}: {:?}", found.problems);
            holds(&without_index(at.path()), 1, 300, 200);
        }
    }
}

/// What was rewritten is rewritten again, and all that ever stood for the same is put back beside it.
#[test]
fn what_was_rewritten_last_counts() {
    let (dir, store) = filled(150);
    let kept = tempfile::tempdir().unwrap();
    for n in 151..=300 {
        copy(&dir.path().join("journal"), kept.path());
        store.commit(&batch(n)).unwrap();
        if n % 50 == 0 {
            tidy(&store, 100, true);
        }
    }
    store.close().unwrap();
    drop(store);
    let now = rewritten(dir.path());
    assert_eq!(now.len(), 1);
    for path in files(kept.path()) {
        let place = dir.path().join("journal").join(path.file_name().unwrap());
        if !place.exists() {
            fs::copy(path, place).unwrap();
        }
    }
    assert!(rewritten(dir.path()).len() > 1);
    let store = JournalStore::open(dir.path(), config()).unwrap();
    assert_eq!(rewritten(dir.path()), now);
    holds(&store, 1, 300, 100);
    drop(store);
    holds(&without_index(dir.path()), 1, 300, 100);
}

#[test]
fn a_rewritten_segment_that_is_not_as_it_was_is_refused_or_named() {
    let (dir, store) = filled(300);
    tidy(&store, 0, false);
    store.close().unwrap();
    drop(store);
    let path = rewritten(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let refused = || match JournalStore::open(dir.path(), config()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    };
    fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
    assert_eq!(refused().reason(), "store_damaged");
    fs::write(&path, &bytes[..100]).unwrap();
    assert_eq!(refused().reason(), "store_damaged");
    for at in (0..160).chain([4_095]) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, flipped).unwrap();
        assert_eq!(refused().reason(), "store_damaged", "{at}");
    }
    fs::remove_file(&path).unwrap();
    let error = refused();
    assert_eq!(error.reason(), "segment_missing");
    assert!(error.to_string().contains("00000001.hj"), "{error}");
    // Records are checked when they are read, and when the index is made anew.
    for at in (4_096..bytes.len()).step_by(bytes.len() / 40) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, flipped).unwrap();
        let found = verify(dir.path(), &mut |_| {}).unwrap();
        assert!(!found.problems.is_empty(), "{at}");
        assert!(found.problems[0].what.contains("r0000001.hj"), "{:?}", found.problems);
    }
    fs::write(&path, &bytes).unwrap();
    holds(&JournalStore::open(dir.path(), config()).unwrap(), 1, 300, 0);
}

#[test]
fn an_index_older_than_what_was_rewritten_is_made_anew() {
    let (dir, store) = filled(30);
    store.close().unwrap();
    drop(store);
    let old = tempfile::tempdir().unwrap();
    copy(&dir.path().join("index"), old.path());
    let store = JournalStore::open(dir.path(), config()).unwrap();
    for n in 31..=300 {
        store.commit(&batch(n)).unwrap();
    }
    tidy(&store, 0, true);
    store.close().unwrap();
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    copy(old.path(), &dir.path().join("index"));
    holds(&JournalStore::open(dir.path(), config()).unwrap(), 1, 300, 0);
    assert!(dir.path().join("index.damaged-0").exists());
}

#[test]
fn a_rewriting_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let fails = Arc::new(AtomicBool::new(true));
    let now = fails.clone();
    let flush = Flush::instead(move |file| {
        let name =
            fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))?;
        if now.load(Ordering::Relaxed) && name.to_string_lossy().ends_with(".tmp") {
            return Err(std::io::Error::from_raw_os_error(28)); // ENOSPC
        }
        file.sync_data()
    });
    let store = JournalStore::open(dir.path(), JournalConfig { flush, ..config() }).unwrap();
    for n in 1..=200 {
        store.commit(&batch(n)).unwrap();
    }
    let wish =
        Tidy { erase_before_ms: 100, seal_every_ms: 3_600_000, bytes_per_s: 0, everything: false };
    let error = store.tidy(&wish).unwrap_err();
    assert!(error.to_string().contains("os error 28"), "{error}");
    assert!(rewritten(dir.path()).is_empty());
    holds(&store, 1, 200, 0);
    store.commit(&batch(201)).unwrap();
    fails.store(false, Ordering::Relaxed);
    tidy(&store, 100, false);
    holds(&store, 1, 201, 100);
}

/// Readers and commits go on, and never meet a file that is gone.
#[test]
fn reading_and_committing_go_on_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), config()).unwrap();
    let (head, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for n in 0..2 {
            let (store, head, done) = (&store, &head, &done);
            scope.spawn(move || {
                let channel = sample::channel(n);
                while !done.load(Ordering::Acquire) {
                    let last = head.load(Ordering::Acquire);
                    let log = store.log(channel, Pos(1), Pos(last), usize::MAX).unwrap();
                    assert!(log.iter().map(|entry| entry.pos.0).eq(1..=last));
                    for pos in (1..=last).step_by(13) {
                        assert_eq!(store.entry(channel, Pos(pos)).unwrap().unwrap().pos, Pos(pos));
                    }
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                step(&store, 0, true);
            }
        });
        for n in 1..=400 {
            store.commit(&batch(n)).unwrap();
            head.store(n, Ordering::Release);
        }
        done.store(true, Ordering::Release);
    });
    assert!(store.stats().tidied_segments > 0);
    holds(&store, 1, 400, 0);
    drop(store);
    holds(&without_index(dir.path()), 1, 400, 0);
}

#[test]
fn a_closed_store_can_be_looked_at() {
    let (dir, store) = filled(300);
    assert_eq!(inspect(dir.path()).unwrap_err().reason(), "store_locked");
    tidy(&store, 100, false);
    store.close().unwrap();
    drop(store);
    let journal = || {
        let mut all: Vec<_> = files(&dir.path().join("journal"));
        all.sort();
        all.iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    let before = journal();
    let found = inspect(dir.path()).unwrap();
    assert_eq!((found.home, found.epoch, found.boot), (HOME, EPOCH, 1));
    assert!(found.segments.iter().any(|row| row.rewritten) && found.leftovers.is_empty());
    assert_eq!(found.erasures, (300 / 7 - 98 / 7) * CHANNELS);
    let mut told = 0;
    let found = verify(dir.path(), &mut |bytes| told = bytes).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(found.entries, 300 * CHANNELS);
    assert!(told > 0 && journal() == before, "nothing of the journal has changed");
}
