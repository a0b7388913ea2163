//! The cache: read while it arrives, shared, and never a wrong file.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use homing_media::{ByteStream, Cache, CacheError, CacheLimits, Source, SourceError};
use homing_wire::Hash;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::{all, body, broken, drain, names, noise};

fn limits() -> CacheLimits {
    CacheLimits { bytes: 3_000_000, fetches: 2, pause_ms: 0, ..CacheLimits::default() }
}

async fn open(folder: &Path) -> Cache {
    Cache::open(folder.to_path_buf(), limits()).await.unwrap()
}

/// Gives a file, as far as it is let.
struct Script {
    bytes: Vec<u8>,
    /// Where each attempt breaks off; after these, none does.
    cuts: Mutex<VecDeque<usize>>,
    asked: AtomicUsize,
    /// Permits to give the second half.
    gate: Option<Semaphore>,
}

impl Script {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), cuts: Mutex::default(), asked: AtomicUsize::new(0), gate: None }
    }

    fn cut(self, cuts: &[usize]) -> Self {
        self.cuts.lock().extend(cuts);
        self
    }

    fn gated(self) -> Self {
        Self { gate: Some(Semaphore::new(0)), ..self }
    }
}

/// A source of what the script gives: a stream outlives the call, so it holds the script.
struct Play(Arc<Script>);

impl Source for Play {
    fn from(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, SourceError>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let script = self.0.clone();
        async move {
            let offset = usize::try_from(offset).unwrap();
            let cut = script.cuts.lock().pop_front();
            if cut == Some(usize::MAX) {
                return Err(SourceError { reason: "home_unreachable", is_transient: false });
            }
            if let Some(cut) = cut {
                return Ok(broken(&script.bytes[offset..cut.max(offset)], 10_000));
            }
            let half = if script.gate.is_some() { script.bytes.len() / 2 } else { offset };
            let first = body(&script.bytes[offset..half.max(offset)], 10_000);
            let rest = async move {
                if let Some(gate) = &script.gate {
                    gate.acquire().await.unwrap().forget();
                }
                body(&script.bytes[half.max(offset)..], 10_000)
            };
            Ok(first.chain(stream::once(rest).flatten()).boxed())
        }
        .boxed()
    }
}

fn play(script: &Arc<Script>) -> Arc<dyn Source> {
    Arc::new(Play(script.clone()))
}

fn failure(error: std::io::Error) -> CacheError {
    *error.into_inner().unwrap().downcast().unwrap()
}

#[tokio::test]
async fn the_first_byte_is_read_before_the_last_has_come() {
    let folder = TempDir::new().unwrap();
    let cache = open(folder.path()).await;
    let bytes = noise(1, 1_000_000);
    let script = Arc::new(Script::new(&bytes).gated());
    let file = cache.fetch("a", 1_000_000, Hash::of(&bytes), play(&script)).await.unwrap();
    let mut reader = file.read(0..1_000_000);
    let mut read = Vec::new();
    while read.len() < 500_000 {
        read.extend_from_slice(&reader.try_next().await.unwrap().unwrap());
    }
    assert!(reader.next().now_or_never().is_none());
    let later = file.read(999_990..1_000_000);
    script.gate.as_ref().unwrap().add_permits(1);
    read.extend(all(reader).await);
    assert_eq!(read, bytes);
    assert_eq!(all(later).await, &bytes[999_990..]);
    assert_eq!((names(folder.path()), cache.bytes()), (vec!["a".to_owned()], 1_000_000));
    // And from then on it is here, also after a restart.
    let again = open(folder.path()).await;
    let here = again.get("a").await.unwrap().unwrap();
    assert_eq!(all(here.read(0..here.size())).await, bytes);
}

#[tokio::test]
async fn fifty_readers_are_one_fetch() {
    let folder = TempDir::new().unwrap();
    let cache = open(folder.path()).await;
    let bytes = noise(2, 700_000);
    let script = Arc::new(Script::new(&bytes).gated());
    let readers = (0..50).map(|_| async {
        let file = cache.fetch("a", 700_000, Hash::of(&bytes), play(&script)).await.unwrap();
        script.gate.as_ref().unwrap().add_permits(1);
        assert!(all(file.read(0..700_000)).await == bytes);
    });
    futures::future::join_all(readers).await;
    assert_eq!(script.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_source_that_breaks_off_is_asked_for_the_rest() {
    let folder = TempDir::new().unwrap();
    let cache = open(folder.path()).await;
    let bytes = noise(3, 900_000);
    let hash = Hash::of(&bytes);
    let script = Arc::new(Script::new(&bytes).cut(&[300_001, 300_001, 850_000]));
    let file = cache.fetch("a", 900_000, hash, play(&script)).await.unwrap();
    assert!(all(file.read(0..900_000)).await == bytes);
    assert_eq!(script.asked.load(Ordering::SeqCst), 4);

    // Too often: an error, and nothing is kept.
    let script = Arc::new(Script::new(&bytes).cut(&[300_000; 9]));
    let file = cache.fetch("b", 900_000, hash, play(&script)).await.unwrap();
    let (read, end) = drain(file.read(0..900_000)).await;
    assert!(read.len() <= 300_000);
    assert_eq!(failure(end.unwrap_err()).reason(), "source_lost");
    assert_eq!(script.asked.load(Ordering::SeqCst), 4);
    // One that says why, and that asking again is of no use.
    let script = Arc::new(Script::new(&bytes).cut(&[usize::MAX]));
    let refused = cache.fetch("c", 900_000, hash, play(&script)).await.unwrap_err();
    assert_eq!(refused.reason(), "home_unreachable");
    assert_eq!((names(folder.path()), cache.bytes()), (vec!["a".to_owned()], 900_000));
}

#[tokio::test]
async fn a_liar_is_never_believed() {
    let folder = TempDir::new().unwrap();
    let cache = open(folder.path()).await;
    let bytes = noise(4, 600_000);
    let mut other = bytes.clone();
    other[599_999] ^= 1;
    let longer = noise(4, 600_008);
    let lies = [other.as_slice(), &bytes[..599_999], &bytes[..1], &longer];
    for lie in lies {
        let script = Arc::new(Script::new(lie));
        match cache.fetch("a", 600_000, Hash::of(&bytes), play(&script)).await {
            Ok(file) => {
                let (read, end) = drain(file.read(0..600_000)).await;
                assert!(read.len() < 600_000);
                assert_eq!(failure(end.unwrap_err()), CacheError::SourceLied);
            }
            Err(error) => assert_eq!(error, CacheError::SourceLied),
        }
        assert_eq!((names(folder.path()), cache.bytes()), (vec![], 0));
        assert!(cache.get("a").await.unwrap().is_none());
    }
    // A small one is not read at all before it is known.
    let script = Arc::new(Script::new(b"evil"));
    let small = cache.fetch("b", 4, Hash::of(b"good"), play(&script)).await;
    assert_eq!(small.unwrap_err().reason(), "source_lied");
    let script = Arc::new(Script::new(b"good"));
    let small = cache.fetch("b", 4, Hash::of(b"good"), play(&script)).await.unwrap();
    assert_eq!(all(small.read(0..4)).await, b"good");
    let script = Arc::new(Script::new(b""));
    let empty = cache.fetch("c", 0, Hash::of(b""), play(&script)).await.unwrap();
    assert_eq!(all(empty.read(0..0)).await, b"");
}

#[tokio::test]
async fn the_least_recently_used_makes_room_and_readers_read_on() {
    let folder = TempDir::new().unwrap();
    let cache = open(folder.path()).await;
    let bytes = noise(5, 1_000_000);
    let get = |key: &'static str| {
        let script = Arc::new(Script::new(&bytes));
        let source = play(&script);
        let cache = cache.clone();
        let hash = Hash::of(&bytes);
        async move {
            let file = cache.fetch(key, 1_000_000, hash, source).await.unwrap();
            assert_eq!(all(file.read(0..1_000_000)).await.len(), 1_000_000);
        }
    };
    get("a").await;
    get("b").await;
    get("c").await;
    cache.get("a").await.unwrap().unwrap();
    let open_b = cache.get("b").await.unwrap().unwrap();
    cache.get("c").await.unwrap().unwrap();
    get("d").await;
    assert_eq!(names(folder.path()), ["b", "c", "d"]);
    get("e").await;
    assert_eq!(names(folder.path()), ["c", "d", "e"]);
    assert!(all(open_b.read(0..1_000_000)).await == bytes);
    assert_eq!(cache.bytes(), 3_000_000);
    let script = Arc::new(Script::new(&bytes));
    let huge = cache.fetch("f", 3_000_001, Hash::of(&bytes), play(&script)).await;
    assert_eq!(huge.unwrap_err().reason(), "cache_full");

    // A smaller cache finds less, and what a crash left is gone.
    std::fs::write(folder.path().join("x.part"), "half").unwrap();
    let less = CacheLimits { bytes: 1_500_000, ..limits() };
    let again = Cache::open(folder.path().into(), less).await.unwrap();
    assert_eq!((names(folder.path()).len(), again.bytes()), (1, 1_000_000));
}

#[tokio::test]
async fn fetches_have_a_limit_and_go_on_without_readers() {
    let folder = TempDir::new().unwrap();
    let cache = open(folder.path()).await;
    let bytes = noise(6, 400_000);
    let hash = Hash::of(&bytes);
    let script = Arc::new(Script::new(&bytes).gated());
    drop(cache.fetch("a", 400_000, hash, play(&script)).await.unwrap());
    let seen = cache.fetch("b", 400_000, hash, play(&script)).await.unwrap();
    let third = cache.fetch("c", 400_000, hash, play(&script)).await;
    assert_eq!(third.unwrap_err().reason(), "media_busy");
    let bad = cache.fetch("../c", 400_000, hash, play(&script)).await;
    assert_eq!(bad.unwrap_err().reason(), "bad_key");
    script.gate.as_ref().unwrap().add_permits(2);
    assert!(all(seen.read(0..400_000)).await == bytes);
    let first = cache.fetch("a", 400_000, hash, play(&script)).await.unwrap();
    assert!(all(first.read(0..400_000)).await == bytes);
    assert_eq!(script.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_silent_source_is_a_broken_one() {
    struct Silent;
    impl Source for Silent {
        fn from(&self, _: u64) -> BoxFuture<'_, Result<ByteStream, SourceError>> {
            let some = stream::iter([Ok(Bytes::from_static(b"some"))]);
            async move { Ok(some.chain(stream::pending()).boxed()) }.boxed()
        }
    }
    let folder = TempDir::new().unwrap();
    let patience = CacheLimits { idle_ms: 10, ..limits() };
    let cache = Cache::open(folder.path().into(), patience).await.unwrap();
    let silent = cache.fetch("a", 100, Hash::of(b""), Arc::new(Silent)).await;
    assert_eq!(silent.unwrap_err().reason(), "source_lost");
    assert_eq!(names(folder.path()), [""; 0]);
}
