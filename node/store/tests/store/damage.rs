//! Torn ends are cut, damage is named, and nothing wrong is ever shown.

use std::fs;
use std::path::{Path, PathBuf};

use homing_core::{Batch, Reader, Write};
use homing_store::{JournalConfig, JournalStore, Store, StoreError};
use homing_wire::Pos;

use crate::conformance::small;
use crate::sample::{self, EPOCH, HOME};

/// No checkpoint but those asked for.
fn lazy() -> JournalConfig {
    JournalConfig {
        checkpoint_bytes: 1 << 30,
        checkpoint_every: std::time::Duration::from_secs(3_600),
        segment_bytes: 64 << 10,
        ..small()
    }
}

const CHANNEL: u64 = 1;

/// A batch that is easily seen to be there in whole: an entry, its channel, an account.
fn batch(n: u64) -> Batch {
    let channel = sample::channel(CHANNEL);
    let mut account = sample::account("alice");
    account.ids_ahead_ms = n;
    Batch {
        change: n,
        writes: vec![
            Write::Entry(sample::entry(channel, n)),
            Write::Channel(Box::new(sample::channel_at(channel, n))),
            Write::Account(Box::new(account)),
        ],
        ..Batch::default()
    }
}

/// Everything up to batch `n`, and nothing else.
fn holds(store: &JournalStore, n: u64) {
    let channel = sample::channel(CHANNEL);
    assert_eq!(store.meta().change, n);
    let entries = store.entries(channel, Pos(1), Pos(u64::MAX), usize::MAX).unwrap();
    assert!(entries.iter().map(|entry| entry.pos.0).eq(1..=n));
    for entry in &entries {
        assert_eq!(*entry, *sample::entry(channel, entry.pos.0));
    }
    let head = store.channel(channel).unwrap().map_or(Pos(0), |state| state.head);
    assert_eq!(head, Pos(n));
    let account = store.account(&sample::local("alice")).unwrap();
    assert_eq!(account.map_or(0, |account| account.ids_ahead_ms), n);
}

struct Fixture {
    dir: tempfile::TempDir,
    /// Of segment 1, as after the last commit.
    segment: Vec<u8>,
    /// Where each batch's record begins and, last, where the next one would.
    records: Vec<usize>,
}

impl Fixture {
    /// A store with so many batches in its first segment, none of them in the index.
    fn new(batches: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
        let store = JournalStore::open(dir.path(), lazy()).unwrap();
        let mut records = vec![4_096];
        for n in 1..=batches {
            store.commit(&batch(n)).unwrap();
            records.push(4_096 + store.stats().bytes as usize);
        }
        drop(store);
        let segment = fs::read(dir.path().join("journal/00000001.hj")).unwrap();
        Self { dir, segment, records }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal/00000001.hj")
    }

    fn open_with(&self, segment: &[u8]) -> Result<JournalStore, StoreError> {
        fs::write(self.path(), segment).unwrap();
        JournalStore::open(self.dir.path(), lazy())
    }
}

fn damaged_at(result: Result<JournalStore, StoreError>) -> (PathBuf, u64) {
    match result {
        Err(StoreError::Damaged { path, offset, .. }) => (path, offset),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn a_torn_last_record_is_cut_wherever_it_was_torn() {
    let fixture = Fixture::new(3);
    let (start, end) = (fixture.records[2], fixture.records[3]);
    for at in start..end {
        // Not written from here on; wrong here.
        let mut unwritten = fixture.segment.clone();
        unwritten[at..end].fill(0);
        let mut garbled = fixture.segment.clone();
        garbled[at] ^= 0x5a;
        let mut torn = vec![unwritten, garbled];
        if at % 8 == 1 {
            // Written from here on only; the file itself is shorter.
            let mut late = fixture.segment.clone();
            late[start..at].fill(0);
            torn.extend([late, fixture.segment[..at].to_vec()]);
        }
        for torn in torn {
            // The very end is padding: without it the record is whole.
            let whole = torn[start..torn.len().min(end)]
                == fixture.segment[start..torn.len().min(end)]
                && fixture.segment[torn.len().min(end)..end].iter().all(|byte| *byte == 0);
            let store = fixture.open_with(&torn).unwrap();
            holds(&store, if whole { 3 } else { 2 });
        }
    }
}

#[test]
fn after_a_cut_the_journal_goes_on_as_if_nothing_had_been() {
    let fixture = Fixture::new(3);
    let mut torn = fixture.segment.clone();
    torn[fixture.records[2] + 50] ^= 1;
    let store = fixture.open_with(&torn).unwrap();
    drop(store);
    let cut = fs::read(fixture.path()).unwrap();
    assert!(cut[fixture.records[2]..].iter().all(|byte| *byte == 0));
    let store = JournalStore::open(fixture.dir.path(), lazy()).unwrap();
    for n in 3..=200 {
        store.commit(&batch(n)).unwrap();
    }
    assert!(store.stats().segments > 1);
    drop(store);
    holds(&JournalStore::open(fixture.dir.path(), lazy()).unwrap(), 200);
}

#[test]
fn a_flipped_byte_in_an_earlier_record_is_named_and_nothing_is_cut() {
    let fixture = Fixture::new(3);
    for record in 0..2 {
        for at in fixture.records[record]..fixture.records[record + 1] {
            let mut flipped = fixture.segment.clone();
            flipped[at] ^= 1;
            let (path, offset) = damaged_at(fixture.open_with(&flipped));
            assert_eq!((path, offset), (fixture.path(), fixture.records[record] as u64), "{at}");
            assert_eq!(fs::read(fixture.path()).unwrap(), flipped, "{at}");
        }
    }
    holds(&fixture.open_with(&fixture.segment).unwrap(), 3);
}

#[test]
fn a_broken_record_with_a_torn_one_behind_it_is_damage() {
    let fixture = Fixture::new(3);
    let mut broken = fixture.segment.clone();
    broken[fixture.records[1] + 60] ^= 1;
    // What is left of the third has no header.
    broken[fixture.records[2]..fixture.records[2] + 30].fill(0);
    let (_, offset) = damaged_at(fixture.open_with(&broken));
    assert_eq!(offset, fixture.records[1] as u64);
}

#[test]
fn a_missing_record_is_damage() {
    let fixture = Fixture::new(3);
    let mut gap = fixture.segment.clone();
    gap[fixture.records[1]..fixture.records[2]].fill(0);
    assert_eq!(damaged_at(fixture.open_with(&gap)).1, fixture.records[1] as u64);
    // The third in the second's place.
    let mut moved = fixture.segment.clone();
    let third = moved[fixture.records[2]..fixture.records[3]].to_vec();
    moved[fixture.records[1]..].fill(0);
    moved[fixture.records[1]..fixture.records[1] + third.len()].copy_from_slice(&third);
    assert_eq!(damaged_at(fixture.open_with(&moved)).1, fixture.records[1] as u64);
}

#[test]
fn every_flipped_byte_of_a_header_is_named() {
    let fixture = Fixture::new(1);
    for at in (0..200).chain([4_095]) {
        let mut flipped = fixture.segment.clone();
        flipped[at] ^= 0x10;
        let (path, offset) = damaged_at(fixture.open_with(&flipped));
        assert_eq!(path, fixture.path());
        assert!(offset < 4_096, "{at}: {offset}");
    }
    let mut erased = fixture.segment.clone();
    erased[..4_096].fill(0);
    assert_eq!(damaged_at(fixture.open_with(&erased)).1, 0);
}

/// A store of several segments.
fn segments(batches: u64) -> (tempfile::TempDir, JournalStore) {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), lazy()).unwrap();
    for n in 1..=batches {
        store.commit(&batch(n)).unwrap();
    }
    assert!(store.stats().segments >= 3);
    (dir, store)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_missing_segment_is_named() {
    for missing in ["00000001.hj", "00000002.hj"] {
        let (dir, store) = segments(300);
        drop(store);
        let path = dir.path().join("journal").join(missing);
        fs::remove_file(&path).unwrap();
        match JournalStore::open(dir.path(), lazy()) {
            Err(StoreError::SegmentMissing { path: named }) => assert_eq!(named, path),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it opened"),
        }
    }
}

#[test]
fn the_broken_end_of_a_sealed_segment_is_damage() {
    let (dir, store) = segments(300);
    drop(store);
    let path = dir.path().join("journal/00000001.hj");
    let bytes = fs::read(&path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    flip(&path, last);
    assert_eq!(damaged_at(JournalStore::open(dir.path(), lazy())).0, path);
}

#[test]
fn an_entry_that_the_index_knows_is_checked_when_it_is_read() {
    let (dir, store) = segments(300);
    store.checkpoint().unwrap();
    drop(store);
    let path = dir.path().join("journal/00000001.hj");
    let bytes = fs::read(&path).unwrap();
    let text = b"message 7\"";
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    flip(&path, at);
    let store = JournalStore::open(dir.path(), lazy()).unwrap();
    let channel = sample::channel(CHANNEL);
    let fault = store.entry(channel, Pos(7)).unwrap_err().0;
    assert!(fault.contains("00000001.hj") && fault.contains("damaged at byte"), "{fault}");
    assert!(store.entries(channel, Pos(1), Pos(20), usize::MAX).is_err());
    assert_eq!(store.entry(channel, Pos(8)).unwrap().unwrap(), *sample::entry(channel, 8));
}

#[test]
fn an_index_ahead_of_its_journal_is_refused() {
    let (dir, store) = segments(300);
    store.close().unwrap();
    drop(store);
    // The journal as it was one record ago, as a disk that lies about flushes would leave it.
    let journal = dir.path().join("journal");
    let mut used: Vec<_> = fs::read_dir(&journal).unwrap().map(|f| f.unwrap().path()).collect();
    used.sort();
    used.retain(|path| fs::read(path).unwrap()[0] != 0);
    let path = used.last().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last - 20..].fill(0);
    fs::write(path, bytes).unwrap();
    let (named, _) = damaged_at(JournalStore::open(dir.path(), lazy()));
    assert_eq!(named, *path);
    fs::remove_file(path).unwrap();
    let error = JournalStore::open(dir.path(), lazy()).err().unwrap();
    assert!(matches!(error.reason(), "segment_missing" | "store_damaged"), "{error}");
}

#[test]
fn an_index_that_was_lost_is_made_anew() {
    let (dir, store) = segments(300);
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    holds(&JournalStore::open(dir.path(), lazy()).unwrap(), 300);
    // Without the journal's beginning it cannot be.
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    fs::remove_file(dir.path().join("journal/00000001.hj")).unwrap();
    let error = JournalStore::open(dir.path(), lazy()).err().unwrap();
    assert_eq!(error.reason(), "segment_missing");
}

/// A byte is flipped anywhere in any file: it is found and named, or mended from the journal; a message is never
/// skipped and never a wrong one. `HOMING_STORE_FLIPS` says how often, `HOMING_STORE_SEED` repeats a run.
#[test]
fn a_byte_flipped_anywhere_is_found_or_mended() {
    const BATCHES: u64 = 300;
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let flips = number("HOMING_STORE_FLIPS").unwrap_or(150);
    let mut random =
        number("HOMING_STORE_SEED").unwrap_or_else(|| u64::from(std::process::id())) | 1;
    println!("HOMING_STORE_SEED={random}");
    let (dir, store) = segments(BATCHES);
    store.close().unwrap();
    drop(store);
    let files: Vec<(PathBuf, Vec<u8>)> = ["", "journal", "index"]
        .iter()
        .flat_map(|folder| fs::read_dir(dir.path().join(folder)).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "lock"))
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    let (mut named, mut mended, mut harmless) = (0, 0, 0);
    for _ in 0..flips {
        let copy = tempfile::tempdir().unwrap();
        for folder in ["journal", "index"] {
            fs::create_dir(copy.path().join(folder)).unwrap();
        }
        let place = |path: &Path| copy.path().join(path.strip_prefix(dir.path()).unwrap());
        for (path, bytes) in &files {
            fs::write(place(path), bytes).unwrap();
        }
        let (path, bytes) = &files[next() % files.len()];
        // Mostly where something is: most of a new segment is nothing.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
        let (at, bit) = (next() % used, next() % 8);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        fs::write(place(path), &flipped).unwrap();
        let what = format!("{} at {at}, bit {bit}", path.display());
        match read_everything(copy.path(), BATCHES) {
            Ok(()) if mended_there(copy.path()) => mended += 1,
            Ok(()) => harmless += 1,
            Err(first) => {
                assert!(first.contains(copy.path().to_str().unwrap()), "{what}: {first}");
                // What the index lost is mended when it is opened again; what the journal lost is not.
                match read_everything(copy.path(), BATCHES) {
                    Ok(()) => mended += 1,
                    Err(again) => {
                        assert!(!again.contains("/index"), "{what}: {first}, then {again}");
                        named += 1;
                    }
                }
            }
        }
    }
    println!("{flips} flips: {named} named, {mended} mended, {harmless} without harm");
    assert!(named > 0 && mended > 0);
}

fn mended_there(dir: &Path) -> bool {
    dir.join("index.damaged-0").exists()
}

/// Opens and reads it all; a wrong or missing message panics.
fn read_everything(dir: &Path, batches: u64) -> Result<(), String> {
    let store = JournalStore::open(dir, lazy()).map_err(|error| error.to_string())?;
    let fault = |fault: homing_core::Fault| fault.0;
    let channel = sample::channel(CHANNEL);
    let state = store.channel(channel).map_err(fault)?;
    assert_eq!(state.map_or(0, |state| state.head.0), batches, "the end of the channel");
    for pos in 1..=batches {
        let expected = sample::entry(channel, pos);
        let entry = store.entry(channel, Pos(pos)).map_err(fault)?;
        assert_eq!(entry.as_ref(), Some(&*expected), "message {pos}");
        let header = &expected.event.header;
        let key = homing_core::MessageKey::new(&header.user(), &header.id);
        assert_eq!(store.place(key).map_err(fault)?, Some((channel, Pos(pos))));
    }
    Ok(())
}
