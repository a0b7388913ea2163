//! Uploads: pieces, refusals, and crashes at every point.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, stream};
use homing_media::{
    Appended, Begun, Blobs, BlobsConfig, Checksum, NewUpload, UploadError, UploadLimits,
    UploadStatus, Uploads, WholeUpload,
};
use homing_wire::Hash;
use sha1::Digest;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{all, body, broken, names, noise, stuck};

const NOW: u64 = 1_700_000_000_000;

fn limits() -> UploadLimits {
    UploadLimits { upload_bytes: 10_000_000, open_of_user: 3, ..UploadLimits::default() }
}

async fn open(folder: &Path) -> Uploads {
    Uploads::open(folder.to_path_buf(), limits(), || NOW).await.unwrap()
}

fn new(length: usize) -> NewUpload {
    NewUpload { length: length as u64, name: Some("a.txt".into()), mime: Some("text/plain".into()) }
}

async fn begin(uploads: &Uploads, length: usize) -> UploadStatus {
    match uploads.begin("alice", new(length)).await.unwrap() {
        Begun::Open(status) => status,
        Begun::Whole(whole) => panic!("{whole:?}"),
    }
}

fn whole(appended: Appended) -> WholeUpload {
    match appended {
        Appended::Whole(whole) => whole,
        Appended::Open(status) => panic!("{status:?}"),
    }
}

fn offset(appended: Appended) -> u64 {
    match appended {
        Appended::Open(status) => status.offset,
        Appended::Whole(whole) => panic!("{whole:?}"),
    }
}

fn reason<T: std::fmt::Debug>(result: Result<T, UploadError>) -> &'static str {
    result.unwrap_err().reason()
}

async fn at(uploads: &Uploads, id: Uuid) -> u64 {
    uploads.status("alice", id).await.unwrap().offset
}

#[tokio::test]
async fn pieces_of_any_size_through_breaks_and_restarts_give_the_same_file() {
    let folder = TempDir::new().unwrap();
    let bytes = noise(1, 3_000_000);
    let mut uploads = open(folder.path()).await;
    let id = begin(&uploads, bytes.len()).await.id;
    let mut sizes = noise(2, 1000).into_iter();
    let last = loop {
        let start = usize::try_from(at(&uploads, id).await).unwrap();
        let kind = sizes.next().unwrap();
        let length = (usize::from(sizes.next().unwrap()) * 977 + 1).min(bytes.len() - start);
        let piece = &bytes[start..start + length];
        let step = usize::from(sizes.next().unwrap()) * 41 + 7;
        match kind % 4 {
            0 => {
                let end =
                    uploads.append("alice", id, start as u64, None, broken(piece, step)).await;
                assert_eq!(reason(end), "body_lost");
                assert_eq!(at(&uploads, id).await, (start + length) as u64);
            }
            1 => uploads = open(folder.path()).await,
            _ => {
                let sum = Checksum::Sha1(sha1::Sha1::digest(piece).into());
                let sum = (kind % 4 == 2).then_some(sum);
                let done = uploads.append("alice", id, start as u64, sum, body(piece, step)).await;
                if let Appended::Whole(whole) = done.unwrap() {
                    break whole;
                }
            }
        }
        if at(&uploads, id).await == bytes.len() as u64 {
            let done = uploads.append("alice", id, bytes.len() as u64, None, body(&[], 1)).await;
            break whole(done.unwrap());
        }
    };
    assert_eq!(last.hash, Hash::of(&bytes));
    assert_eq!(fs::read(&last.path).unwrap(), bytes);
    assert_eq!(uploads.whole(), [last]);
}

#[tokio::test]
async fn an_upload_of_nothing_is_whole_at_once() {
    let folder = TempDir::new().unwrap();
    let uploads = open(folder.path()).await;
    let Begun::Whole(whole) = uploads.begin("alice", new(0)).await.unwrap() else { panic!() };
    assert_eq!(whole.hash, Hash::of(&[]));
    assert_eq!(open(folder.path()).await.whole(), std::slice::from_ref(&whole));
    uploads.done(whole.id).await.unwrap();
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn what_is_not_yours_is_not_there() {
    let folder = TempDir::new().unwrap();
    let uploads = open(folder.path()).await;
    let id = begin(&uploads, 10).await.id;
    assert_eq!(reason(uploads.status("bob", id).await), "upload_not_found");
    assert_eq!(reason(uploads.append("bob", id, 0, None, body(b"x", 1)).await), "upload_not_found");
    assert_eq!(reason(uploads.abandon("bob", id).await), "upload_not_found");
    assert_eq!(reason(uploads.status("alice", Uuid::nil()).await), "upload_not_found");
    uploads.abandon("alice", id).await.unwrap();
    assert_eq!(reason(uploads.status("alice", id).await), "upload_not_found");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn limits_are_kept_and_promises_counted() {
    let folder = TempDir::new().unwrap();
    let uploads = open(folder.path()).await;
    assert_eq!(reason(uploads.begin("alice", new(10_000_001)).await), "upload_too_large");
    let first = begin(&uploads, 10).await.id;
    begin(&uploads, 20).await;
    begin(&uploads, 30).await;
    assert_eq!(reason(uploads.begin("alice", new(1)).await), "too_many_uploads");
    uploads.begin("bob", new(5)).await.unwrap();
    assert_eq!(
        (uploads.bytes_of("alice"), uploads.bytes_of("carol"), uploads.bytes()),
        (60, 0, 65)
    );
    uploads.abandon("alice", first).await.unwrap();
    assert_eq!(uploads.bytes_of("alice"), 50);
    let again = open(folder.path()).await;
    assert_eq!((again.bytes_of("alice"), again.bytes()), (50, 55));
}

#[tokio::test]
async fn pieces_that_do_not_fit_leave_nothing() {
    let folder = TempDir::new().unwrap();
    let uploads = open(folder.path()).await;
    let bytes = noise(3, 1_000_000);
    let id = begin(&uploads, bytes.len()).await.id;
    let append = |offset, sum, body| uploads.append("alice", id, offset, sum, body);
    assert_eq!(offset(append(0, None, body(&bytes[..400_000], 999)).await.unwrap()), 400_000);
    assert_eq!(reason(append(0, None, body(&bytes, 999)).await), "offset_conflict");
    assert_eq!(reason(append(400_001, None, body(&bytes, 999)).await), "offset_conflict");
    let right = |piece: &[u8]| Some(Checksum::Sha256(sha2::Sha256::digest(piece).into()));
    let piece = &bytes[400_000..900_000];
    let refusals = [
        (None, body(&bytes, 100_000), "upload_too_large"),
        (Some(Checksum::Sha256([0; 32])), body(piece, 70_000), "checksum_mismatch"),
        (Some(Checksum::Sha1([0; 20])), body(piece, 70_000), "checksum_mismatch"),
        (right(piece), broken(piece, 70_000), "body_lost"),
        (right(piece), broken(&piece[..400_000], 70_000), "body_lost"),
    ];
    for (sum, bytes, word) in refusals {
        assert_eq!(reason(append(400_000, sum, bytes).await), word);
        assert_eq!(at(&uploads, id).await, 400_000);
        assert_eq!(names(folder.path()), [format!("{id}.json"), format!("{id}.part")]);
    }
    assert_eq!(offset(append(400_000, right(piece), body(piece, 7_000)).await.unwrap()), 900_000);
    let last = append(900_000, None, body(&bytes[900_000..], 50_000)).await.unwrap();
    assert_eq!(whole(last).hash, Hash::of(&bytes));
    assert_eq!(reason(uploads.abandon("alice", id).await), "upload_finished");
    assert_eq!(uploads.status("alice", id).await.unwrap().hash, Some(Hash::of(&bytes)));
}

#[tokio::test]
async fn of_two_pieces_at_once_the_first_goes_on() {
    let folder = TempDir::new().unwrap();
    let uploads = open(folder.path()).await;
    let id = begin(&uploads, 8).await.id;
    let (more, rest) = futures::channel::mpsc::unbounded();
    let first = uploads.append("alice", id, 0, None, rest.boxed());
    let others = async {
        for _ in 0..5 {
            assert_eq!(
                reason(uploads.append("alice", id, 0, None, body(b"xx", 1)).await),
                "upload_busy"
            );
            assert_eq!(reason(uploads.abandon("alice", id).await), "upload_busy");
        }
        more.unbounded_send(Ok(b"first"[..].into())).unwrap();
        drop(more);
    };
    let (first, ()) = futures::join!(first, others);
    assert_eq!(offset(first.unwrap()), 5);
    assert_eq!(whole(uploads.append("alice", id, 5, None, body(b"end", 1)).await.unwrap()).size, 8);
}

#[tokio::test]
async fn whoever_leaves_lets_go_and_what_came_is_kept() {
    let folder = TempDir::new().unwrap();
    let uploads = open(folder.path()).await;
    let bytes = noise(4, 700_000);
    let id = begin(&uploads, bytes.len()).await.id;
    let append = |sum, from: usize, to: usize| {
        let (taken, seen) = futures::channel::oneshot::channel::<()>();
        let mark = stream::once(async move {
            taken.send(()).unwrap();
            std::future::pending().await
        });
        let stuck = body(&bytes[from..to], 1000).chain(mark).boxed();
        (Box::pin(uploads.append("alice", id, from as u64, sum, stuck)), seen)
    };
    let (left, seen) = append(None, 0, 600_000);
    futures::future::select(left, seen).await;
    assert_eq!(at(&uploads, id).await, 600_000);
    let (left, seen) = append(Some(Checksum::Sha1([1; 20])), 600_000, 650_000);
    futures::future::select(left, seen).await;
    assert_eq!(at(&uploads, id).await, 600_000);
    let last = uploads.append("alice", id, 600_000, None, body(&bytes[600_000..], 3000)).await;
    assert_eq!(whole(last.unwrap()).hash, Hash::of(&bytes));
}

#[tokio::test]
async fn dead_and_trickling_connections_are_given_up() {
    let folder = TempDir::new().unwrap();
    let slow = UploadLimits { idle_ms: 20, ..limits() };
    let uploads = Uploads::open(folder.path().into(), slow, || NOW).await.unwrap();
    let id = begin(&uploads, 100).await.id;
    assert_eq!(reason(uploads.append("alice", id, 0, None, stuck(b"some")).await), "too_slow");
    assert_eq!(at(&uploads, id).await, 4);
    let sum = Some(Checksum::Sha1([0; 20]));
    assert_eq!(reason(uploads.append("alice", id, 4, sum, stuck(b"more")).await), "too_slow");
    assert_eq!(at(&uploads, id).await, 4);

    let slow =
        UploadLimits { idle_ms: 1000, rate_window_ms: 30, rate_bytes: 1_000_000, ..limits() };
    let uploads = Uploads::open(folder.path().into(), slow, || NOW).await.unwrap();
    let trickle = stream::unfold((), |()| async {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        Some((Ok(b"."[..].into()), ()))
    });
    assert_eq!(reason(uploads.append("alice", id, 4, None, trickle.boxed()).await), "too_slow");
    assert!(at(&uploads, id).await > 4);
}

#[tokio::test]
async fn what_nothing_comes_for_is_forgotten() {
    static CLOCK: AtomicU64 = AtomicU64::new(NOW);
    let folder = TempDir::new().unwrap();
    let uploads = Uploads::open(folder.path().into(), limits(), || CLOCK.load(Ordering::Relaxed))
        .await
        .unwrap();
    let day = limits().expiry_ms;
    let old = begin(&uploads, 10).await.id;
    let kept = begin(&uploads, 10).await.id;
    CLOCK.store(NOW + day / 2, Ordering::Relaxed);
    uploads.append("alice", kept, 0, None, body(b"x", 1)).await.unwrap();
    CLOCK.store(NOW + day, Ordering::Relaxed);
    assert_eq!(
        reason(uploads.append("alice", old, 0, None, body(b"x", 1)).await),
        "upload_expired"
    );
    assert_eq!(uploads.sweep().await.unwrap(), 1);
    assert_eq!(reason(uploads.status("alice", old).await), "upload_not_found");
    // The piece has put it off, on disk too.
    let again = Uploads::open(folder.path().into(), limits(), || CLOCK.load(Ordering::Relaxed))
        .await
        .unwrap();
    let status = again.status("alice", kept).await.unwrap();
    assert_eq!((status.offset, status.expires_at_ms), (1, Some(NOW + day / 2 + day)));
    assert_eq!(names(folder.path()), [format!("{kept}.json"), format!("{kept}.part")]);
}

#[tokio::test]
async fn a_crash_leaves_nothing_that_is_half() {
    let folder = TempDir::new().unwrap();
    let path = |id: Uuid, kind: &str| folder.path().join(format!("{id}.{kind}"));
    let uploads = open(folder.path()).await;

    // A description without bytes, bytes without a description, a description half written, and one that is not ours to read.
    let headless = begin(&uploads, 10).await.id;
    fs::remove_file(path(headless, "part")).unwrap();
    let stray = Uuid::from_u128(1);
    fs::write(path(stray, "part"), "bytes").unwrap();
    fs::write(path(stray, "new"), "{").unwrap();
    let damaged = begin(&uploads, 10).await.id;
    fs::write(path(damaged, "json"), "{").unwrap();
    // The last byte came, and the node fell before it was told.
    let last = begin(&uploads, 10).await.id;
    fs::write(path(last, "part"), "0123456789").unwrap();
    let again = open(folder.path()).await;
    assert_eq!(names(folder.path()), [format!("{last}.json"), format!("{last}.part")]);
    assert_eq!(again.whole().len(), 1);
    assert_eq!(again.whole()[0].hash, Hash::of(b"0123456789"));
    let end = again.append("alice", last, 10, None, body(&[], 1)).await.unwrap();
    assert_eq!(whole(end), again.whole()[0]);

    // In the midst of a piece with a checksum.
    let piece = begin(&again, 10).await.id;
    again.append("alice", piece, 0, None, body(b"012", 1)).await.unwrap();
    fs::write(path(piece, "part"), "012garbage").unwrap();
    fs::write(path(piece, "piece"), 3_u64.to_le_bytes()).unwrap();
    let again = open(folder.path()).await;
    assert_eq!(at(&again, piece).await, 3);
    let end = again.append("alice", piece, 3, None, body(b"3456789", 2)).await.unwrap();
    assert_eq!(whole(end).hash, Hash::of(b"0123456789"));
}

#[tokio::test]
async fn a_whole_upload_is_offered_until_it_is_done() {
    let folder = TempDir::new().unwrap();
    let blobs = Blobs::open(BlobsConfig::Folder(folder.path().join("media"))).unwrap();
    let uploads = open(&folder.path().join("uploads")).await;
    let id = begin(&uploads, 5).await.id;
    let found = whole(uploads.append("alice", id, 0, None, body(b"hello", 2)).await.unwrap());
    assert_eq!((found.owner.as_str(), found.name.as_deref()), ("alice", Some("a.txt")));

    // A crash before it was stored, one after, and one after it was stored twice.
    for was_there in [false, true, true] {
        let again = open(&folder.path().join("uploads")).await;
        assert_eq!(again.whole(), std::slice::from_ref(&found));
        assert_eq!(
            blobs.put(&found.path, found.hash, found.size).await.unwrap().was_there,
            was_there
        );
    }
    let again = open(&folder.path().join("uploads")).await;
    assert_eq!(again.bytes(), 5);
    again.done(id).await.unwrap();
    again.done(id).await.unwrap();
    assert_eq!((again.whole(), again.bytes()), (vec![], 0));
    assert_eq!(names(&folder.path().join("uploads")), [""; 0]);
    assert_eq!(all(blobs.read(found.hash, 0..5)).await, b"hello");
}
