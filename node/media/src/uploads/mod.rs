//! What is coming in from clients: uploads as tus 1.0 has them (<https://tus.io/protocols/resumable-upload>).
//!
//! An upload is two files: `<id>.part`, whose length is how far it is, and `<id>.json`, which says whose it is. While a piece
//! with a checksum comes in there is a third, `<id>.piece`: where that piece began, so that a crash keeps nothing of it.

mod disk;
mod feed;
mod write;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashlink::LruCache;
use homing_wire::Hash;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::ByteStream;
use crate::files::{blocking, is_full};
use disk::{Disk, Meta};

/// How much may be under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadLimits {
    /// What one file may measure.
    pub upload_bytes: u64,
    /// Uploads of one owner that are not done: each costs two files, and a client that forgets its uploads is stopped here.
    pub open_of_user: usize,
    /// Uploads of all: what is kept in memory of each is some hundred bytes.
    pub open_in_all: usize,
    /// What nothing came for is forgotten after so long, in milliseconds.
    pub expiry_ms: u64,
    /// A connection without a byte for so long is given up, so that one that died does not hold its upload.
    pub idle_ms: u64,
    /// How long [`Self::rate_bytes`] may take. Time in which the disk is waited for does not count.
    pub rate_window_ms: u64,
    /// The least that has to come in a window: a trickle costs a connection and a lock for hours.
    pub rate_bytes: u64,
    /// BLAKE3 states kept in memory, of some 2 KiB each; an upload without one is read again before it goes on.
    pub hashers: usize,
    /// Bytes of a name that are kept; what is longer is cut between characters.
    pub name_bytes: usize,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            upload_bytes: 2 * 1024 * 1024 * 1024,
            open_of_user: 100,
            open_in_all: 100_000,
            expiry_ms: 24 * 60 * 60 * 1000,
            idle_ms: 30_000,
            rate_window_ms: 60_000,
            rate_bytes: 16 * 1024,
            hashers: 1000,
            name_bytes: 1024,
        }
    }
}

/// What a client says of a file before it uploads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewUpload {
    /// Bytes in all.
    pub length: u64,
    /// What it is called, as the client has it.
    pub name: Option<String>,
    /// A media type, a claim.
    pub mime: Option<String>,
}

/// A piece's checksum (tus extension `checksum`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// SHA-1: against accidents, not against anybody.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// How far an upload is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadStatus {
    /// Which.
    pub id: Uuid,
    /// Bytes here, and on disk.
    pub offset: u64,
    /// Bytes in all.
    pub length: u64,
    /// What is not whole then is forgotten, in Unix milliseconds; `None`: it is whole.
    pub expires_at_ms: Option<u64>,
    /// Once it is whole: its BLAKE3.
    pub hash: Option<Hash>,
}

/// An upload with all its bytes, until [`Uploads::done`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WholeUpload {
    /// Which.
    pub id: Uuid,
    /// Whose.
    pub owner: String,
    /// What it is called, as its client has it.
    pub name: Option<String>,
    /// A media type, a claim.
    pub mime: Option<String>,
    /// Bytes.
    pub size: u64,
    /// The BLAKE3 of its bytes.
    pub hash: Hash,
    /// Where they are, unless [`crate::Blobs::put`] has moved them already.
    pub path: PathBuf,
}

/// What [`Uploads::begin`] made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Begun {
    /// An upload that waits for bytes.
    Open(UploadStatus),
    /// One of no bytes.
    Whole(WholeUpload),
}

/// What an upload is after a piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Appended {
    /// Waiting for more.
    Open(UploadStatus),
    /// Whole. Its hash is on disk.
    Whole(WholeUpload),
}

/// Why an upload did not go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is no such upload of this owner.
    #[error("there is no such upload")]
    NotFound,
    /// Nothing came for too long.
    #[error("the upload has expired")]
    Expired,
    /// More than a file may measure, or than was announced. Nothing of the piece is kept.
    #[error("more than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// Too many uploads are open, of this owner or of all.
    #[error("more than {limit} uploads")]
    TooMany {
        /// What is allowed.
        limit: usize,
    },
    /// The piece begins elsewhere than where the upload ends.
    #[error("the upload is at {offset}")]
    OffsetConflict {
        /// Where it ends.
        offset: u64,
    },
    /// Another piece is coming in.
    #[error("another piece is coming in")]
    Busy,
    /// All its bytes are here.
    #[error("the upload is whole")]
    Finished,
    /// The piece does not sum up to its checksum. Nothing of it is kept.
    #[error("the piece does not sum up to its checksum")]
    ChecksumMismatch,
    /// Too little came for too long. What came is kept, unless there was a checksum.
    #[error("the piece came too slowly")]
    TooSlow,
    /// The piece broke off. What came is kept, unless there was a checksum.
    #[error("the piece broke off")]
    BodyLost,
    /// There is no room. Nothing of the piece is kept.
    #[error("the disk is full")]
    DiskFull,
    /// The folder cannot be read or written. Nothing of the piece is kept.
    #[error("{0}")]
    Io(io::Error),
}

impl UploadError {
    /// The word for it in answers, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound => "upload_not_found",
            Self::Expired => "upload_expired",
            Self::TooLarge { .. } => "upload_too_large",
            Self::TooMany { .. } => "too_many_uploads",
            Self::OffsetConflict { .. } => "offset_conflict",
            Self::Busy => "upload_busy",
            Self::Finished => "upload_finished",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::TooSlow => "too_slow",
            Self::BodyLost => "body_lost",
            Self::DiskFull => "disk_full",
            Self::Io(_) => "upload_failed",
        }
    }
}

impl From<io::Error> for UploadError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::DiskFull } else { Self::Io(error) }
    }
}

/// The uploads that are under way. Cheap to clone; one for a folder.
#[derive(Clone)]
pub struct Uploads {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Uploads({})", self.shared.state.lock().entries.len())
    }
}

struct Shared {
    disk: Disk,
    limits: UploadLimits,
    now: fn() -> u64,
    state: Mutex<State>,
}

struct State {
    entries: HashMap<Uuid, Entry>,
    owners: HashMap<String, Owned>,
    /// How far each has hashed, and the state there.
    hashers: LruCache<Uuid, (u64, blake3::Hasher)>,
    bytes: u64,
}

/// What an owner has under way.
#[derive(Default)]
struct Owned {
    uploads: usize,
    bytes: u64,
}

struct Entry {
    meta: Meta,
    offset: u64,
    running: Option<Running>,
}

/// A piece that is coming in.
#[derive(Clone)]
struct Running {
    /// Whoever brought it has left: what remains is to put down what came, which the next one waits for.
    left: Arc<AtomicBool>,
    /// Closes when it is over.
    over: watch::Receiver<()>,
}

impl Uploads {
    /// Opens the folder and puts right what a crash left in it. Uploads whose last byte came just before are hashed here.
    /// `now`: Unix milliseconds.
    pub async fn open(folder: PathBuf, limits: UploadLimits, now: fn() -> u64) -> io::Result<Self> {
        blocking(move || {
            let (disk, found) = Disk::open(folder)?;
            let mut state = State {
                entries: HashMap::new(),
                owners: HashMap::new(),
                hashers: LruCache::new(limits.hashers.max(1)),
                bytes: 0,
            };
            for (meta, offset) in found {
                state.count(&meta.owner, meta.length);
                state.entries.insert(meta.id, Entry { meta, offset, running: None });
            }
            Ok(Self { shared: Arc::new(Shared { disk, limits, now, state: Mutex::new(state) }) })
        })
        .await
    }

    /// A new upload, on disk when this returns.
    pub async fn begin(&self, owner: &str, new: NewUpload) -> Result<Begun, UploadError> {
        let shared = self.shared.clone();
        let limits = &shared.limits;
        if new.length > limits.upload_bytes {
            return Err(UploadError::TooLarge { limit: limits.upload_bytes });
        }
        let now = (shared.now)();
        let meta = Meta {
            version: disk::VERSION,
            id: Uuid::new_v4(),
            owner: owner.to_owned(),
            length: new.length,
            name: new.name.map(|name| cut(name, limits.name_bytes)),
            mime: new.mime.map(|mime| cut(mime, limits.name_bytes)),
            created_ms: now,
            expires_ms: now.saturating_add(limits.expiry_ms),
            whole: (new.length == 0).then(|| Hash::of(&[])),
        };
        {
            let mut state = shared.state.lock();
            let of_owner = state.owners.get(owner).map_or(0, |owned| owned.uploads);
            let in_all: usize = state.entries.len();
            if of_owner >= limits.open_of_user {
                return Err(UploadError::TooMany { limit: limits.open_of_user });
            }
            if in_all >= limits.open_in_all {
                return Err(UploadError::TooMany { limit: limits.open_in_all });
            }
            state.count(owner, new.length);
        }
        // To its end, whether or not somebody waits for it: the count above is then right.
        blocking(move || {
            if let Err(error) = shared.disk.create(&meta) {
                shared.state.lock().discount(&meta.owner, meta.length);
                return Err(error);
            }
            let begun = match shared.disk.whole(&meta) {
                Some(whole) => Begun::Whole(whole),
                None => Begun::Open(status(&meta, 0)),
            };
            let mut state = shared.state.lock();
            state.hashers.insert(meta.id, (0, blake3::Hasher::new()));
            state.entries.insert(meta.id, Entry { meta, offset: 0, running: None });
            Ok(begun)
        })
        .await
        .map_err(UploadError::from)
    }

    /// How far an upload is. Where whoever brought a piece has just left, this waits until what came is on disk.
    pub async fn status(&self, owner: &str, id: Uuid) -> Result<UploadStatus, UploadError> {
        self.settled(id).await;
        let state = self.shared.state.lock();
        let entry = self.find(&state, owner, id)?;
        Ok(status(&entry.meta, entry.offset))
    }

    /// More bytes, from `offset` on. What is answered is on disk. Dropping this call is as if the stream broke off: what came is
    /// kept, unless there is a checksum, and the next call waits for that.
    ///
    /// For an upload that is whole already, at its end: it is whole, and no byte is taken.
    pub async fn append(
        &self,
        owner: &str,
        id: Uuid,
        offset: u64,
        checksum: Option<Checksum>,
        bytes: ByteStream,
    ) -> Result<Appended, UploadError> {
        self.settled(id).await;
        let (running, ended) = {
            let mut state = self.shared.state.lock();
            let entry = self.find(&state, owner, id)?;
            if entry.running.is_some() {
                return Err(UploadError::Busy);
            }
            if entry.offset != offset {
                return Err(UploadError::OffsetConflict { offset: entry.offset });
            }
            if let Some(whole) = self.shared.disk.whole(&entry.meta) {
                return Ok(Appended::Whole(whole));
            }
            let (ended, over) = watch::channel(());
            let running = Running { left: Arc::default(), over };
            let entry = state.entries.get_mut(&id).ok_or(UploadError::NotFound)?;
            entry.running = Some(running.clone());
            (running, write::Piece::start(&self.shared, entry, checksum, ended))
        };
        Box::pin(feed::feed(&self.shared.limits, running, ended, bytes)).await
    }

    /// Ends an upload before its time. Not while a piece comes in, and not when it is whole.
    pub async fn abandon(&self, owner: &str, id: Uuid) -> Result<(), UploadError> {
        self.settled(id).await;
        {
            let mut state = self.shared.state.lock();
            let entry = self.find(&state, owner, id)?;
            if entry.running.is_some() {
                return Err(UploadError::Busy);
            }
            if entry.meta.whole.is_some() {
                return Err(UploadError::Finished);
            }
            state.forget(id);
        }
        let shared = self.shared.clone();
        blocking(move || shared.disk.remove(id)).await.map_err(UploadError::from)
    }

    /// The uploads that are whole and not done, oldest first.
    pub fn whole(&self) -> Vec<WholeUpload> {
        let state = self.shared.state.lock();
        let mut found: Vec<_> = state
            .entries
            .values()
            .filter_map(|entry| Some((entry.meta.created_ms, self.shared.disk.whole(&entry.meta)?)))
            .collect();
        found.sort_by_key(|(created_ms, whole)| (*created_ms, whole.id));
        found.into_iter().map(|(_, whole)| whole).collect()
    }

    /// A whole upload is the caller's now, and is forgotten here, with its bytes where nobody moved them. May be repeated.
    pub async fn done(&self, id: Uuid) -> io::Result<()> {
        {
            let mut state = self.shared.state.lock();
            match state.entries.get(&id) {
                Some(entry) if entry.meta.whole.is_some() => state.forget(id),
                Some(_) | None => return Ok(()),
            }
        }
        let shared = self.shared.clone();
        blocking(move || shared.disk.remove(id)).await
    }

    /// Forgets the uploads that have expired, and says how many. Whole ones, and those with a piece coming in, stay.
    pub async fn sweep(&self) -> io::Result<usize> {
        let now = (self.shared.now)();
        let expired: Vec<_> = {
            let mut state = self.shared.state.lock();
            let is_expired = |entry: &Entry| {
                entry.running.is_none()
                    && entry.meta.whole.is_none()
                    && entry.meta.expires_ms <= now
            };
            let ids: Vec<_> = state
                .entries
                .iter()
                .filter(|(_, entry)| is_expired(entry))
                .map(|(id, _)| *id)
                .collect();
            for id in &ids {
                state.forget(*id);
            }
            ids
        };
        let shared = self.shared.clone();
        blocking(move || {
            for id in &expired {
                shared.disk.remove(*id)?;
            }
            Ok(expired.len())
        })
        .await
    }

    /// What an owner's uploads that are not done will measure.
    pub fn bytes_of(&self, owner: &str) -> u64 {
        self.shared.state.lock().owners.get(owner).map_or(0, |owned| owned.bytes)
    }

    /// What all uploads that are not done will measure.
    pub fn bytes(&self) -> u64 {
        self.shared.state.lock().bytes
    }

    /// Waits for the end of a piece whose bringer has left.
    async fn settled(&self, id: Uuid) {
        loop {
            let running = {
                let state = self.shared.state.lock();
                state.entries.get(&id).and_then(|entry| entry.running.clone())
            };
            match running {
                Some(mut running) if running.left.load(Ordering::Acquire) => {
                    // Nothing is ever sent: an error is the end of it.
                    while running.over.changed().await.is_ok() {}
                }
                Some(_) | None => return,
            }
        }
    }

    fn find<'a>(&self, state: &'a State, owner: &str, id: Uuid) -> Result<&'a Entry, UploadError> {
        let entry = state.entries.get(&id).filter(|entry| entry.meta.owner == owner);
        let entry = entry.ok_or(UploadError::NotFound)?;
        let is_open = entry.meta.whole.is_none() && entry.running.is_none();
        if is_open && entry.meta.expires_ms <= (self.shared.now)() {
            return Err(UploadError::Expired);
        }
        Ok(entry)
    }
}

impl State {
    fn count(&mut self, owner: &str, length: u64) {
        let owned = self.owners.entry(owner.to_owned()).or_default();
        owned.uploads += 1;
        owned.bytes = owned.bytes.saturating_add(length);
        self.bytes = self.bytes.saturating_add(length);
    }

    fn discount(&mut self, owner: &str, length: u64) {
        self.bytes = self.bytes.saturating_sub(length);
        if let Some(owned) = self.owners.get_mut(owner) {
            owned.uploads = owned.uploads.saturating_sub(1);
            owned.bytes = owned.bytes.saturating_sub(length);
            if owned.uploads == 0 {
                self.owners.remove(owner);
            }
        }
    }

    fn forget(&mut self, id: Uuid) {
        self.hashers.remove(&id);
        if let Some(entry) = self.entries.remove(&id) {
            self.discount(&entry.meta.owner, entry.meta.length);
        }
    }
}

fn status(meta: &Meta, offset: u64) -> UploadStatus {
    UploadStatus {
        id: meta.id,
        offset: if meta.whole.is_some() { meta.length } else { offset },
        length: meta.length,
        expires_at_ms: meta.whole.is_none().then_some(meta.expires_ms),
        hash: meta.whole,
    }
}

/// At most so many bytes of a text, whole characters.
fn cut(mut text: String, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}
