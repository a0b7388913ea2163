//! A file on its way here.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use homing_wire::Hash;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{CacheError, CachedFile, PART, Shared, Source};
use crate::ByteStream;
use crate::files::{blocking, remove};

/// What is there at once is gathered to this, before it is handed to another thread.
const GATHER_BYTES: usize = 256 * 1024;

/// The end of a file that nobody gets before its hash is known to be right. One byte would do; more, so that what is nearly the
/// whole of a small picture is not shown either.
const HELD_BACK_BYTES: u64 = 64 * 1024;

/// How far a file is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// So many bytes may be read.
    Arriving { readable: u64 },
    /// All of it, verified.
    Whole { size: u64 },
    /// Nothing more comes.
    Failed(CacheError),
}

/// A fetch, as those who wait for it see it.
pub(super) struct Arriving {
    size: u64,
    /// Set before anything can be read.
    file: Arc<OnceLock<Arc<File>>>,
    progress: watch::Receiver<Progress>,
}

impl Arriving {
    /// The file, once its first bytes can be read.
    pub(super) async fn first_bytes(&self) -> Result<CachedFile, CacheError> {
        let mut progress = self.progress.clone();
        let is_told = |progress: &Progress| match progress {
            Progress::Arriving { readable } => *readable > 0,
            Progress::Whole { .. } | Progress::Failed(_) => true,
        };
        match progress.wait_for(is_told).await.as_deref() {
            Ok(Progress::Failed(error)) => return Err(error.clone()),
            Ok(Progress::Arriving { .. } | Progress::Whole { .. }) => {}
            Err(_) => return Err(CacheError::SourceLost),
        }
        let file = self.file.get().cloned().ok_or(CacheError::SourceLost)?;
        Ok(CachedFile::arriving(file, self.size, progress))
    }
}

/// A fetch, as its task has it. However it ends, its place is given back and those who wait are told.
pub(super) struct Fetch {
    shared: Arc<Shared>,
    key: String,
    size: u64,
    hash: Hash,
    source: Arc<dyn Source>,
    file: Arc<OnceLock<Arc<File>>>,
    progress: watch::Sender<Progress>,
    is_whole: bool,
    /// What those who wait are told where it is not.
    failure: CacheError,
}

/// What has come.
struct Reached {
    file: Arc<File>,
    offset: u64,
    hasher: blake3::Hasher,
}

impl Fetch {
    pub(super) fn new(
        shared: &Arc<Shared>,
        key: &str,
        size: u64,
        hash: Hash,
        source: Arc<dyn Source>,
    ) -> (Arc<Arriving>, Self) {
        let (progress, seen) = watch::channel(Progress::Arriving { readable: 0 });
        let file = Arc::<OnceLock<Arc<File>>>::default();
        let fetch = Self {
            shared: shared.clone(),
            key: key.to_owned(),
            size,
            hash,
            source,
            file: file.clone(),
            progress,
            is_whole: false,
            failure: CacheError::SourceLost,
        };
        (Arc::new(Arriving { size, file, progress: seen }), fetch)
    }

    /// Runs it on a task of its own, after room was made.
    pub(super) fn start(self, evicted: Vec<String>) {
        tokio::spawn(async move {
            let mut fetch = self;
            match Box::pin(fetch.run(evicted)).await {
                Ok(()) => fetch.is_whole = true,
                Err(error) => {
                    if error == CacheError::SourceLied {
                        fetch.shared.lies.fetch_add(1, Ordering::Relaxed);
                    }
                    tracing::debug!(key = fetch.key, reason = error.reason(), "a fetch failed");
                    fetch.failure = error;
                    let part = fetch.part();
                    if let Err(error) = blocking(move || remove(&part)).await {
                        tracing::warn!(%error, "what was fetched in vain stays until the next start");
                    }
                }
            }
            drop(fetch);
        });
    }

    async fn run(&self, evicted: Vec<String>) -> Result<(), CacheError> {
        let (shared, part) = (self.shared.clone(), self.part());
        let file = blocking(move || {
            shared.remove_all(&evicted)?;
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(part)
        })
        .await?;
        let file = Arc::new(file);
        let _ = self.file.set(file.clone());
        let mut reached = Reached { file, offset: 0, hasher: blake3::Hasher::new() };
        let mut attempt = 1;
        while let Err(error) = self.attempt(&mut reached).await {
            let is_transient = match &error {
                CacheError::SourceLost => true,
                CacheError::Source(error) => error.is_transient,
                CacheError::Busy
                | CacheError::NoRoom
                | CacheError::BadKey
                | CacheError::SourceLied
                | CacheError::DiskFull
                | CacheError::Io(_) => false,
            };
            if !is_transient || attempt >= self.shared.limits.attempts {
                return Err(error);
            }
            let pause_ms = self.shared.limits.pause_ms.saturating_mul(attempt.into());
            sleep(Duration::from_millis(pause_ms)).await;
            attempt += 1;
        }
        if Hash(*reached.hasher.finalize().as_bytes()) != self.hash {
            return Err(CacheError::SourceLied);
        }
        let (file, part, whole) = (reached.file, self.part(), self.shared.folder.join(&self.key));
        blocking(move || {
            // A name that stands for a whole file must not outlive its bytes.
            file.sync_data()?;
            fs::rename(part, whole)
        })
        .await?;
        Ok(())
    }

    /// Asks the source once, for all that is missing.
    async fn attempt(&self, reached: &mut Reached) -> Result<(), CacheError> {
        let idle = Duration::from_millis(self.shared.limits.idle_ms);
        let lost = |_| CacheError::SourceLost;
        let bytes = timeout(idle, self.source.from(reached.offset)).await.map_err(lost)??;
        // Gathering may meet the end, which is then asked for again.
        let mut bytes = bytes.fuse().boxed();
        while let Some(first) = timeout(idle, bytes.next()).await.map_err(lost)? {
            let (pieces, broken) = gather(first, &mut bytes);
            let length: usize = pieces.iter().map(Bytes::len).sum();
            if length as u64 > self.size - reached.offset {
                return Err(CacheError::SourceLied);
            }
            let (file, start) = (reached.file.clone(), reached.offset);
            let mut hasher = reached.hasher.clone();
            // The pieces come back to be freed where they were made: see `read_at`.
            (reached.hasher, _) = blocking(move || {
                let mut offset = start;
                for piece in &pieces {
                    file.write_all_at(piece, offset)?;
                    hasher.update(piece);
                    offset += piece.len() as u64;
                }
                Ok((hasher, pieces))
            })
            .await?;
            reached.offset += length as u64;
            let readable = reached.offset.min(self.size.saturating_sub(HELD_BACK_BYTES));
            self.progress.send_replace(Progress::Arriving { readable });
            if broken.is_some() {
                return Err(CacheError::SourceLost);
            }
        }
        if reached.offset < self.size { Err(CacheError::SourceLied) } else { Ok(()) }
    }

    fn part(&self) -> PathBuf {
        self.shared.folder.join(format!("{}{PART}", self.key))
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.fetches.remove(&self.key);
        state.promised = state.promised.saturating_sub(self.size);
        let end = if self.is_whole {
            state.bytes = state.bytes.saturating_add(self.size);
            state.files.insert(self.key.clone(), self.size);
            Progress::Whole { size: self.size }
        } else {
            Progress::Failed(self.failure.clone())
        };
        drop(state);
        self.progress.send_replace(end);
    }
}

/// What a stream has at once, the first piece included, and the error that came after it.
fn gather(first: io::Result<Bytes>, bytes: &mut ByteStream) -> (Vec<Bytes>, Option<io::Error>) {
    let mut pieces = Vec::new();
    let mut length = 0;
    let mut next = first;
    loop {
        match next {
            Ok(piece) => {
                length += piece.len();
                pieces.push(piece);
            }
            Err(error) => return (pieces, Some(error)),
        }
        if length >= GATHER_BYTES {
            return (pieces, None);
        }
        match bytes.next().now_or_never() {
            Some(Some(more)) => next = more,
            // The end is seen again: the stream is fused.
            Some(None) | None => return (pieces, None),
        }
    }
}
