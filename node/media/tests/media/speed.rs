//! How fast uploads are, beside copying and hashing: `cargo test --release -p homing-media -- --ignored --nocapture speed`.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, stream};
use homing_media::{Appended, Begun, Blobs, BlobsConfig, NewUpload, UploadLimits, Uploads};
use tempfile::TempDir;

use crate::noise;

const BYTES: usize = 1 << 30;
const BLOCK: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of some seconds, of 2 GiB"]
async fn speed() {
    let folder =
        TempDir::new_in(std::env::var("HOMING_TEST_SPEED").unwrap_or_else(|_| ".".into())).unwrap();
    let block = Bytes::from(noise(1, BLOCK));
    let source = folder.path().join("source");
    let mut file = File::create(&source).unwrap();
    for _ in 0..BYTES / BLOCK {
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();

    let mebibytes = |began: Instant| (BYTES >> 20) as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let copied = tokio::task::spawn_blocking({
        let (from, to) = (source.clone(), folder.path().join("copy"));
        move || {
            let (mut from, mut to) = (File::open(from).unwrap(), File::create(to).unwrap());
            let mut hasher = blake3::Hasher::new();
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let read = from.read(&mut buffer).unwrap();
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                to.write_all(&buffer[..read]).unwrap();
            }
            to.sync_data().unwrap();
            hasher.finalize()
        }
    })
    .await
    .unwrap();
    let copy = mebibytes(began);
    std::fs::remove_file(folder.path().join("copy")).unwrap();

    let uploads =
        Uploads::open(folder.path().join("uploads"), UploadLimits::default(), || 0).await.unwrap();
    let new = NewUpload { length: BYTES as u64, name: None, mime: None };
    let Begun::Open(status) = uploads.begin("alice", new).await.unwrap() else { panic!() };
    let began = Instant::now();
    let bytes = stream::iter((0..BYTES / BLOCK).map(move |_| Ok(block.clone()))).boxed();
    let done = uploads.append("alice", status.id, 0, None, bytes).await.unwrap();
    let upload = mebibytes(began);
    let Appended::Whole(whole) = done else { panic!() };
    assert_eq!(whole.hash.0, *copied.as_bytes());

    let blobs = Blobs::open(BlobsConfig::Folder(folder.path().into())).unwrap();
    blobs.put(&whole.path, whole.hash, whole.size).await.unwrap();
    let began = Instant::now();
    let mut read = blobs.read(whole.hash, 0..whole.size);
    while let Some(piece) = read.next().await {
        piece.unwrap();
    }
    let read = mebibytes(began);
    println!(
        "copy + BLAKE3 {copy:.0} MiB/s, upload {upload:.0} MiB/s ({:.0} %), read {read:.0} MiB/s",
        upload * 100.0 / copy
    );
}
