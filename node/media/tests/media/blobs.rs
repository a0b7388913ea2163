//! Blobs in a folder.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use futures::TryStreamExt;
use homing_media::{Blobs, BlobsConfig, thumbnail_key, thumbnail_prefix};
use homing_wire::Hash;
use tempfile::TempDir;

use crate::{all, drain, names, noise};

fn open(folder: &TempDir) -> Blobs {
    Blobs::open(BlobsConfig::Folder(folder.path().into())).unwrap()
}

fn staged(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("staged");
    fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test]
async fn the_same_content_is_kept_once() {
    let folder = TempDir::new().unwrap();
    let blobs = open(&folder);
    let bytes = noise(1, 2_000_000);
    let (hash, size) = (Hash::of(&bytes), bytes.len() as u64);
    assert_eq!(blobs.size(hash).await.unwrap(), None);
    for was_there in [false, true] {
        let path = staged(&folder, &bytes);
        assert_eq!(blobs.put(&path, hash, size).await.unwrap().was_there, was_there);
        assert!(!path.exists());
    }
    assert_eq!(blobs.size(hash).await.unwrap(), Some(size));
    let hex = hash.to_string();
    assert_eq!(fs::read(folder.path().join("blobs").join(&hex[..2]).join(&hex)).unwrap(), bytes);
    let listed: Vec<_> = blobs.list().try_collect().await.unwrap();
    assert_eq!(
        listed.iter().map(|found| (found.hash, found.size)).collect::<Vec<_>>(),
        [(hash, size)]
    );
    assert!(listed[0].modified_ms > 1_000_000_000_000);
    blobs.remove(hash).await.unwrap();
    blobs.remove(hash).await.unwrap();
    assert_eq!(blobs.size(hash).await.unwrap(), None);
}

#[tokio::test]
async fn every_range_reads_its_bytes_and_no_end_is_a_lie() {
    let folder = TempDir::new().unwrap();
    let blobs = open(&folder);
    let bytes = noise(2, 1_500_000);
    let hash = Hash::of(&bytes);
    blobs.put(&staged(&folder, &bytes), hash, bytes.len() as u64).await.unwrap();
    for range in [0..0, 0..1, 5..5, 1_499_999..1_500_000, 0..1_500_000, 524_287..1_048_577] {
        let wanted = &bytes[range.start..range.end];
        assert_eq!(all(blobs.read(hash, range.start as u64..range.end as u64)).await, wanted);
    }
    assert!(drain(blobs.read(hash, 1_000_000..1_500_001)).await.1.is_err());
    assert!(drain(blobs.read(Hash::of(b"none"), 0..1)).await.1.is_err());
}

#[tokio::test]
async fn what_is_not_as_said_is_not_stored() {
    let folder = TempDir::new().unwrap();
    let blobs = open(&folder);
    let hash = Hash::of(b"hello");
    let path = staged(&folder, b"hell");
    assert_eq!(blobs.put(&path, hash, 5).await.unwrap_err().reason(), "staged_differs");
    fs::remove_file(&path).unwrap();
    assert_eq!(blobs.put(&path, hash, 5).await.unwrap_err().reason(), "staged_missing");
    // A damaged blob is healed by whoever brings it again.
    let hex = hash.to_string();
    fs::create_dir_all(folder.path().join("blobs").join(&hex[..2])).unwrap();
    fs::write(folder.path().join("blobs").join(&hex[..2]).join(&hex), "hel").unwrap();
    assert!(!blobs.put(&staged(&folder, b"hello"), hash, 5).await.unwrap().was_there);
    assert_eq!(all(blobs.read(hash, 0..5)).await, b"hello");
}

#[tokio::test]
async fn small_objects_come_and_go() {
    let folder = TempDir::new().unwrap();
    let blobs = open(&folder);
    let (one, two) = (Hash::of(b"one"), Hash::of(b"two"));
    for hash in [one, two] {
        for edge in [160, 320] {
            blobs
                .put_small(&thumbnail_key(hash, edge, "jpg"), Bytes::from_static(b"jpeg"))
                .await
                .unwrap();
        }
    }
    let key = thumbnail_key(one, 160, "jpg");
    assert_eq!(blobs.get_small(&key).await.unwrap(), Some(Bytes::from_static(b"jpeg")));
    for _ in 0..2 {
        blobs.remove_small_prefix(&thumbnail_prefix(one)).await.unwrap();
    }
    assert_eq!(blobs.get_small(&key).await.unwrap(), None);
    assert!(blobs.get_small(&thumbnail_key(two, 160, "jpg")).await.unwrap().is_some());
    assert_eq!(names(&folder.path().join("thumbs")), [two.to_string()]);
    for bad in ["", "blobs", "blobs/ab", "../etc/passwd", "a//b"] {
        assert_eq!(
            blobs.remove_small_prefix(bad).await.unwrap_err().reason(),
            "not_small",
            "{bad}"
        );
    }
}
