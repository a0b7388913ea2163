//! Other homes' files, as far as there is room: fetched once for all who wait, read while they arrive.

mod fetch;
mod file;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use hashlink::LruCache;
use homing_wire::Hash;
use parking_lot::Mutex;

use crate::ByteStream;
use crate::files::{blocking, is_full, remove};
use fetch::{Arriving, Fetch};
pub use file::CachedFile;

/// What a file is called while it arrives. A crash leaves such files; they are removed at the next start.
const PART: &str = ".part";

/// What a key may measure.
const KEY_BYTES: usize = 128;

/// How much may be there and under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheLimits {
    /// Bytes of all files, those that arrive included.
    pub bytes: u64,
    /// Files that arrive at once: each is a stream from another home.
    pub fetches: usize,
    /// How often a source is asked for one file, the first time included.
    pub attempts: u32,
    /// The pause after the first failure, in milliseconds; after each further one it is longer by this.
    pub pause_ms: u64,
    /// A source that gives nothing for so long counts as broken.
    pub idle_ms: u64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            bytes: 10 * 1024 * 1024 * 1024,
            fetches: 64,
            attempts: 4,
            pause_ms: 500,
            idle_ms: 30_000,
        }
    }
}

/// Where a file comes from.
pub trait Source: Send + Sync + 'static {
    /// Its bytes from `offset` on, to the end. A stream that breaks off says so by an error; one that ends means that the file
    /// does.
    fn from(&self, offset: u64) -> BoxFuture<'_, Result<ByteStream, SourceError>>;
}

/// A source gives nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SourceError {
    /// The word for it, which those who wait are told.
    pub reason: &'static str,
    /// Whether asking again may help.
    pub is_transient: bool,
}

/// Why a file did not come.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CacheError {
    /// Too many files arrive at once.
    #[error("too many files arrive at once")]
    Busy,
    /// The file does not fit, whatever is removed for it.
    #[error("the cache has no room for it")]
    NoRoom,
    /// Not a key.
    #[error("not a key")]
    BadKey,
    /// What came is not what was said: its size or its hash differ. Nothing of it is kept.
    #[error("the source gave another file")]
    SourceLied,
    /// The source gives nothing, and says why.
    #[error("the source says {0}")]
    Source(#[from] SourceError),
    /// The source broke off too often.
    #[error("the source broke off")]
    SourceLost,
    /// There is no room on the disk.
    #[error("the disk is full")]
    DiskFull,
    /// The folder cannot be read or written.
    #[error("{0}")]
    Io(String),
}

impl CacheError {
    /// The word for it in answers, metrics and logs; the source's own where it gave one.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Busy => "media_busy",
            Self::NoRoom => "cache_full",
            Self::BadKey => "bad_key",
            Self::SourceLied => "source_lied",
            Self::Source(error) => error.reason,
            Self::SourceLost => "source_lost",
            Self::DiskFull => "disk_full",
            Self::Io(_) => "cache_failed",
        }
    }
}

impl From<io::Error> for CacheError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::DiskFull } else { Self::Io(error.to_string()) }
    }
}

/// The cache. Cheap to clone; one for a folder.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.state.lock();
        write!(f, "Cache({} files, {} fetches)", state.files.len(), state.fetches.len())
    }
}

struct Shared {
    /// Files that were not what was said of them.
    lies: AtomicU64,
    folder: PathBuf,
    limits: CacheLimits,
    state: Mutex<State>,
}

struct State {
    /// Whole files and their sizes, least recently used first.
    files: LruCache<String, u64>,
    fetches: HashMap<String, Arc<Arriving>>,
    /// Bytes of whole files, and those promised to fetches.
    bytes: u64,
    promised: u64,
}

impl Cache {
    /// Opens the folder; what had not arrived when the node ended is removed.
    pub async fn open(folder: PathBuf, limits: CacheLimits) -> io::Result<Self> {
        blocking(move || {
            fs::create_dir_all(&folder)?;
            let mut found = Vec::new();
            for file in fs::read_dir(&folder)? {
                let file = file?;
                let Ok(name) = file.file_name().into_string() else { continue };
                if name.ends_with(PART) {
                    remove(&file.path())?;
                } else if is_key(&name) {
                    let metadata = file.metadata()?;
                    found.push((metadata.modified()?, name, metadata.len()));
                }
            }
            // Files are touched when they are used.
            found.sort();
            let mut state = State {
                files: LruCache::new_unbounded(),
                fetches: HashMap::new(),
                bytes: 0,
                promised: 0,
            };
            for (_, name, size) in found {
                state.bytes += size;
                state.files.insert(name, size);
            }
            let shared =
                Shared { lies: AtomicU64::new(0), folder, limits, state: Mutex::new(state) };
            let evicted = shared.state.lock().evict(shared.limits.bytes);
            shared.remove_all(&evicted)?;
            Ok(Self { shared: Arc::new(shared) })
        })
        .await
    }

    /// A whole file that is here; it counts as used. It can be read to its end, whatever is removed in the meantime.
    pub async fn get(&self, key: &str) -> io::Result<Option<CachedFile>> {
        if self.shared.state.lock().files.get(key).is_none() {
            return Ok(None);
        }
        let (shared, key) = (self.shared.clone(), key.to_owned());
        blocking(move || {
            let file = match File::open(shared.folder.join(&key)) {
                Ok(file) => file,
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
                    shared.state.lock().forget(&key);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let size = file.metadata()?.len();
            // Only the order after a restart hangs on it.
            if let Err(error) = file.set_modified(SystemTime::now()) {
                tracing::debug!(%error, "a cached file's time of use is not kept");
            }
            Ok(Some(CachedFile::whole(Arc::new(file), size)))
        })
        .await
    }

    /// A file that is here, arrives, or is fetched from `source` now. Answered when its first bytes can be read (small files:
    /// when they are whole), or when it is sure that none come. The fetch goes on to its end whether or not anybody reads.
    ///
    /// What comes must have this size and this BLAKE3. No reader gets the last bytes of a file before it is known to be the right
    /// one: readers of a wrong one get an error instead.
    pub async fn fetch(
        &self,
        key: &str,
        size: u64,
        hash: Hash,
        source: Arc<dyn Source>,
    ) -> Result<CachedFile, CacheError> {
        if !is_key(key) {
            return Err(CacheError::BadKey);
        }
        loop {
            if let Some(here) = self.get(key).await? {
                return Ok(here);
            }
            if let Some(arriving) = self.arriving(key, size, hash, &source)? {
                return arriving.first_bytes().await;
            }
        }
    }

    /// Files that were not what was said of them, since the cache was opened.
    pub fn lies(&self) -> u64 {
        self.shared.lies.load(Ordering::Relaxed)
    }

    /// Bytes of the files that are here.
    pub fn bytes(&self) -> u64 {
        self.shared.state.lock().bytes
    }

    /// Removes what was used last before then, in Unix milliseconds, or only counts it. Answers with the bytes.
    pub async fn purge(&self, before_ms: u64, dry_run: bool) -> io::Result<u64> {
        let shared = self.shared.clone();
        blocking(move || {
            let before = SystemTime::UNIX_EPOCH + Duration::from_millis(before_ms);
            let here: Vec<(String, u64)> =
                shared.state.lock().files.iter().map(|(key, size)| (key.clone(), *size)).collect();
            let mut bytes = 0;
            for (key, size) in here {
                let path = shared.folder.join(&key);
                let used = match fs::metadata(&path) {
                    Ok(metadata) => metadata.modified()?,
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                if used >= before {
                    continue;
                }
                bytes += size;
                if !dry_run && shared.state.lock().forget(&key) {
                    remove(&path)?;
                }
            }
            Ok(bytes)
        })
        .await
    }

    /// Removes a file; one that arrives is not stopped.
    pub async fn remove(&self, key: &str) -> io::Result<()> {
        if !self.shared.state.lock().forget(key) {
            return Ok(());
        }
        let path = self.shared.folder.join(key);
        blocking(move || remove(&path)).await
    }

    /// Joins the fetch of a key, or begins it; `None`: one has just ended well.
    fn arriving(
        &self,
        key: &str,
        size: u64,
        hash: Hash,
        source: &Arc<dyn Source>,
    ) -> Result<Option<Arc<Arriving>>, CacheError> {
        let mut state = self.shared.state.lock();
        if state.files.contains_key(key) {
            return Ok(None);
        }
        if let Some(arriving) = state.fetches.get(key) {
            return Ok(Some(arriving.clone()));
        }
        let limits = &self.shared.limits;
        if state.fetches.len() >= limits.fetches {
            return Err(CacheError::Busy);
        }
        let others = state.promised.saturating_add(size);
        let room = limits.bytes.checked_sub(others).ok_or(CacheError::NoRoom)?;
        let evicted = state.evict(room);
        state.promised = others;
        let (arriving, fetch) = Fetch::new(&self.shared, key, size, hash, source.clone());
        state.fetches.insert(key.to_owned(), arriving.clone());
        drop(state);
        fetch.start(evicted);
        Ok(Some(arriving))
    }
}

impl State {
    /// Forgets the least recently used until what is here fits; the caller removes the files.
    fn evict(&mut self, room: u64) -> Vec<String> {
        let mut evicted = Vec::new();
        while self.bytes > room
            && let Some((key, size)) = self.files.remove_lru()
        {
            self.bytes = self.bytes.saturating_sub(size);
            evicted.push(key);
        }
        evicted
    }

    fn forget(&mut self, key: &str) -> bool {
        let size = self.files.remove(key);
        self.bytes = self.bytes.saturating_sub(size.unwrap_or(0));
        size.is_some()
    }
}

impl Shared {
    fn remove_all(&self, keys: &[String]) -> io::Result<()> {
        keys.iter().try_for_each(|key| remove(&self.folder.join(key)))
    }
}

/// Whether a key can name a file here, and only here.
fn is_key(key: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !key.is_empty() && key.len() <= KEY_BYTES && key.bytes().all(is_plain)
}
