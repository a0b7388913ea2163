//! Opening and refusing to open: locks, formats, homes, directories.

use std::fs;
use std::path::Path;

use homing_core::{Batch, Reader, Write};
use homing_store::{FORMAT, JournalConfig, JournalStore, Store, StoreError};
use homing_wire::HomeId;

use crate::conformance::small;
use crate::sample::{self, EPOCH, HOME};

fn account_batch(name: &str) -> Batch {
    let writes = vec![Write::Account(Box::new(sample::account(name)))];
    Batch { change: 1, writes, ..Batch::default() }
}

fn refused(dir: &Path, config: JournalConfig) -> StoreError {
    match JournalStore::open(dir, config) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[test]
fn a_store_in_use_is_refused_until_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), small()).unwrap();
    let error = refused(dir.path(), small());
    assert_eq!(error.reason(), "store_locked");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(store);
    JournalStore::open(dir.path(), small()).unwrap();
}

#[test]
fn a_store_is_made_in_an_empty_directory_only() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(refused(dir.path(), small()).reason(), "not_a_store");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was left behind");
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let again = JournalStore::create(dir.path(), HOME, EPOCH).unwrap_err();
    assert_eq!(again.reason(), "store_not_empty");
}

#[test]
fn another_homes_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let other = HomeId([8; 32]);
    let error = refused(dir.path(), JournalConfig { home: Some(other), ..small() });
    assert_eq!(error.reason(), "wrong_home");
    let text = error.to_string();
    assert!(text.contains(&HOME.to_string()) && text.contains(&other.to_string()), "{text}");
}

#[test]
fn a_segment_of_another_home_or_a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), small()).unwrap();
    store.commit(&account_batch("alice")).unwrap();
    drop(store);
    let path = dir.path().join("journal/00000001.hj");
    let original = fs::read(&path).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut segment = original.clone();
        segment[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32fast::hash(&segment[..72]);
        segment[72..76].copy_from_slice(&crc.to_le_bytes());
        fs::write(&path, segment).unwrap();
        refused(dir.path(), small())
    };
    assert!(matches!(
        with(8, &[9, 0, 0, 0]),
        StoreError::NewerFormat { found: 9, known: FORMAT, .. }
    ));
    assert_eq!(with(40, &[8; 32]).reason(), "wrong_home");
    assert_eq!(with(16, &[2]).reason(), "store_damaged");
    fs::write(&path, &original).unwrap();
    JournalStore::open(dir.path(), small()).unwrap();
}

#[test]
fn a_store_of_another_format_is_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let modified = || fs::metadata(dir.path().join("index/db")).unwrap().modified().unwrap();
    for (found, reason) in [(FORMAT + 1, "newer_format"), (1, "older_format")] {
        let content = format!("homing store\nformat {found}\nhome {HOME}\nepoch 1\nboot 1\n");
        let check = crc32fast::hash(content.as_bytes());
        fs::write(dir.path().join("store"), format!("{content}check {check:08x}\n")).unwrap();
        let before = modified();
        let error = refused(dir.path(), small());
        assert_eq!(error.reason(), reason, "{error}");
        assert!(error.to_string().contains(&format!("format {found}")), "{error}");
        assert_eq!(modified(), before);
    }
}

/// Stores without rewritten segments go on as they are.
#[test]
fn a_store_of_format_2_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), small()).unwrap();
    store.commit(&account_batch("alice")).unwrap();
    drop(store);
    let content = format!("homing store\nformat 2\nhome {HOME}\nepoch 1\nboot 1\n");
    let check = crc32fast::hash(content.as_bytes());
    fs::write(dir.path().join("store"), format!("{content}check {check:08x}\n")).unwrap();
    let path = dir.path().join("journal/00000001.hj");
    let mut segment = fs::read(&path).unwrap();
    segment[8] = 2;
    let crc = crc32fast::hash(&segment[..72]);
    segment[72..76].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, segment).unwrap();
    let store = JournalStore::open(dir.path(), small()).unwrap();
    assert!(store.account(&sample::local("alice")).unwrap().is_some());
    let text = fs::read_to_string(dir.path().join("store")).unwrap();
    assert!(text.contains(&format!("format {FORMAT}")), "{text}");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    for segment_bytes in [0, 4_096, (64 << 10) + 1, 2 << 30] {
        let error = refused(dir.path(), JournalConfig { segment_bytes, ..small() });
        assert!(error.to_string().contains("segment_bytes"), "{error}");
    }
}

#[test]
fn the_segments_size_may_change_between_openings() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let channel = sample::channel(1);
    let mut pos = 0;
    for segment_bytes in [64 << 10, 256 << 10, 128 << 10] {
        let config = JournalConfig { segment_bytes, ..small() };
        let store = JournalStore::open(dir.path(), config).unwrap();
        for _ in 0..40 {
            pos += 1;
            let entry = sample::entry_with(channel, pos, vec![b'x'; 20_000].into());
            store.commit(&Batch { writes: vec![Write::Entry(entry)], ..Batch::default() }).unwrap();
        }
        let found =
            store.log(channel, homing_wire::Pos(1), homing_wire::Pos(999), usize::MAX).unwrap();
        assert_eq!(found.len() as u64, pos);
    }
}

#[test]
fn a_batch_that_no_segment_holds_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let config = JournalConfig { segment_bytes: 64 << 10, ..small() };
    let store = JournalStore::open(dir.path(), config.clone()).unwrap();
    let channel = sample::channel(1);
    let entry = sample::entry_with(channel, 1, vec![b'x'; 65_536].into());
    let large = Batch { change: 5, writes: vec![Write::Entry(entry)], ..Batch::default() };
    let error = store.commit(&large).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit_bytes: 61_440, .. }), "{error}");
    assert_eq!(store.entry(channel, homing_wire::Pos(1)).unwrap(), None);
    store.commit(&account_batch("alice")).unwrap();
    drop(store);
    let store = JournalStore::open(dir.path(), config).unwrap();
    assert_eq!(store.meta().change, 1);
}

#[test]
fn a_failed_commit_is_final() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), small()).unwrap();
    store.commit(&account_batch("alice")).unwrap();
    // The next segments cannot be made any more.
    fs::rename(dir.path().join("journal"), dir.path().join("gone")).unwrap();
    let channel = sample::channel(1);
    let entry = |pos| {
        let entry = sample::entry_with(channel, pos, vec![b'x'; 60_000].into());
        Batch { writes: vec![Write::Entry(entry)], ..Batch::default() }
    };
    let (answered, error) = (1..1_000)
        .find_map(|pos| store.commit(&entry(pos)).err().map(|error| (pos - 1, error)))
        .expect("the journal has nowhere to go on");
    assert_eq!(error.reason(), "store_io");
    let again = store.commit(&account_batch("bob")).unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
    assert_eq!(store.close().unwrap_err().to_string(), error.to_string());
    drop(store);
    fs::rename(dir.path().join("gone"), dir.path().join("journal")).unwrap();
    let store = JournalStore::open(dir.path(), small()).unwrap();
    let found = store.log(channel, homing_wire::Pos(1), homing_wire::Pos(999), usize::MAX).unwrap();
    assert_eq!(found.len() as u64, answered);
    assert_eq!(store.account(&sample::local("bob")).unwrap(), None);
}

#[test]
fn a_full_disk_is_told_in_time() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), small()).unwrap();
    drop(store);
    let config = JournalConfig { min_free_bytes: u64::MAX, reserve_bytes: 1 << 20, ..small() };
    let store = JournalStore::open(dir.path(), config).unwrap();
    assert!(store.disk_low());
    assert!(!dir.path().join("reserve").exists(), "no reserve where there is no room");
    drop(store);
    let config = JournalConfig { min_free_bytes: 0, reserve_bytes: 1 << 20, ..small() };
    let store = JournalStore::open(dir.path(), config).unwrap();
    assert!(!store.disk_low());
    assert_eq!(fs::metadata(dir.path().join("reserve")).unwrap().len(), 1 << 20);
}
