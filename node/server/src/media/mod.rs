//! Files: the room where uploads, what is kept, other homes' files and those who may read them meet.
//!
//! The bytes are `homing-media`'s; what is known of a file, and where it is named, is in the store and decided by the hub. So a
//! file is there for somebody only once both are on disk: its bytes first, then its row.

mod copies;
mod metrics;
mod read;
mod serve;
mod sweep;
mod upload;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hashlink::LruCache;
use homing_core::{AccountState, MediaId};
use homing_link::{Code, Refused};
use homing_media::{Blobs, Cache, Films, Images, Uploads};
use homing_net::NetHandle;
use homing_store::Store;
use homing_wire::{Hash, HomeId, Local, OpId, UserRef};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, RwLock, Semaphore};
use uuid::Uuid;

use crate::node::{Directory, FilesDoor, stopping};
use crate::token::token_hash;

pub(crate) use metrics::MediaMetrics;

/// What files are kept to; see `[media]` in the sample configuration.
#[derive(Clone, Debug)]
pub(crate) struct MediaLimits {
    /// A file that is uploaded.
    pub upload_bytes: u64,
    /// What one user may keep.
    pub user_bytes: u64,
    /// What all may keep.
    pub home_bytes: u64,
    /// Nothing is taken when less would be free on the disk of the folder.
    pub min_free_bytes: u64,
    /// An avatar, of a user of another home.
    pub avatar_bytes: u64,
    /// An image of which a smaller one is made.
    pub image_bytes: u64,
    /// A file that no message names is kept for so long.
    pub unnamed_ms: u64,
    /// How often it is looked for what may go.
    pub sweep_ms: u64,
    /// How long a link lasts.
    pub link_ms: u64,
}

/// What the room is made of.
pub(crate) struct MediaParts {
    pub limits: MediaLimits,
    pub directory: Directory,
    pub store: Arc<dyn Store>,
    pub hub: FilesDoor,
    pub net: NetHandle,
    pub blobs: Blobs,
    pub uploads: Uploads,
    pub cache: Cache,
    pub images: Images,
    pub films: Films,
    /// Where copies are made, on the disk of the blobs; what is there at a start is thrown away.
    pub copies: PathBuf,
    /// What links are signed with.
    pub link_key: [u8; 32],
    /// Unix milliseconds.
    pub now: fn() -> u64,
}

/// See the module.
pub(crate) struct Media {
    pub(crate) limits: MediaLimits,
    pub(crate) metrics: MediaMetrics,
    own: HomeId,
    directory: Directory,
    store: Arc<dyn Store>,
    hub: FilesDoor,
    net: NetHandle,
    blobs: Blobs,
    uploads: Uploads,
    cache: Cache,
    images: Images,
    films: Films,
    copies: PathBuf,
    /// Smaller images that other homes have made, the least recently shown forgotten first.
    smaller: Mutex<LruCache<String, (&'static str, Bytes)>>,
    /// Other homes that are just asked whether a file is a user's avatar.
    avatars_asked: Semaphore,
    link_key: [u8; 32],
    now: fn() -> u64,
    /// Held to read while a file's bytes and its row are put, to write while bytes that no row names are removed: in between, the
    /// same bytes could come again. By the first byte of the hash, so that one large file does not hold up all others.
    keeping: Vec<RwLock<()>>,
    /// Uploads that are just being finished: each is so once.
    finishing: Mutex<HashMap<Uuid, Arc<AsyncMutex<()>>>>,
    used: Mutex<Used>,
    /// For work that goes on when whoever asked for it has gone.
    this: Weak<Self>,
}

/// Bytes of the files that are kept.
#[derive(Default)]
struct Used {
    of_user: HashMap<Local, u64>,
    all: u64,
}

impl Used {
    fn add(&mut self, user: &Local, bytes: u64) {
        *self.of_user.entry(user.clone()).or_default() += bytes;
        self.all += bytes;
    }

    fn take(&mut self, user: &Local, bytes: u64) {
        if let Some(used) = self.of_user.get_mut(user) {
            *used = used.saturating_sub(bytes);
            if *used == 0 {
                self.of_user.remove(user);
            }
        }
        self.all = self.all.saturating_sub(bytes);
    }
}

/// Smaller images of other homes that are kept in memory, of [`read::SMALLER_BYTES`] each at most.
const SMALLER: usize = 256;
/// Avatars of other homes' users asked for at once: a few people's screens. Each costs a stream to that home until it answers, and
/// one user's are bounded by `limits.transfers_per_user`.
const AVATARS_ASKED: usize = 64;
/// Rows read at once.
const PAGE: usize = 1_000;

impl Media {
    /// Reads how much is kept. Blocks.
    pub(crate) fn new(parts: MediaParts) -> Result<Arc<Self>, homing_core::Fault> {
        let mut used = Used::default();
        let mut after = None;
        loop {
            let page = parts.store.medias(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            page.iter().for_each(|state| used.add(&state.owner, state.size));
        }
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            limits: parts.limits,
            metrics: MediaMetrics::default(),
            own: parts.directory.own(),
            directory: parts.directory,
            store: parts.store,
            hub: parts.hub,
            net: parts.net,
            blobs: parts.blobs,
            uploads: parts.uploads,
            cache: parts.cache,
            images: parts.images,
            films: parts.films,
            copies: parts.copies,
            smaller: Mutex::new(LruCache::new(SMALLER)),
            avatars_asked: Semaphore::new(AVATARS_ASKED),
            link_key: parts.link_key,
            now: parts.now,
            keeping: (0..=u8::MAX).map(|_| RwLock::new(())).collect(),
            finishing: Mutex::default(),
            used: Mutex::new(used),
        }))
    }

    /// Who has that token.
    fn user(&self, token: &str) -> Result<Local, Refused> {
        let bad = || Refused::new(Code::NotSignedIn, "bad_token", "this token is unknown, or dead");
        let device = self.store.device(token_hash(token)).map_err(|_| stopping())?;
        let user = device.ok_or_else(bad)?.user;
        let account = self.store.account(&user).map_err(|_| stopping())?;
        account.filter(|account| account.state == AccountState::Active).ok_or_else(bad)?;
        Ok(user)
    }

    /// What guards the bytes of that hash.
    fn keeping(&self, hash: &Hash) -> &RwLock<()> {
        &self.keeping[usize::from(hash.0[0])]
    }

    fn me(&self, user: &Local) -> UserRef {
        UserRef::new(self.own, user.clone())
    }

    /// As names, helps and numbers.
    pub(crate) fn families(&self) -> Vec<crate::metrics::Family> {
        let kept = self.used.lock().all;
        self.metrics.families(kept, self.cache.bytes(), self.cache.lies())
    }

    /// The signature of a link.
    pub(crate) fn sign_link(&self, media: MediaId, thumbnail: Option<u32>, expires: u64) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.link_key);
        hasher.update(b"link");
        hasher.update(&media.home.0);
        hasher.update(media.id.as_bytes());
        hasher.update(&thumbnail.unwrap_or_default().to_be_bytes());
        hasher.update(&expires.to_be_bytes());
        data_encoding::BASE64URL_NOPAD.encode(&hasher.finalize().as_bytes()[..24])
    }

    /// The id of a user's copy: the same for the same `op`, and nobody's guess.
    pub(crate) fn copy_id(&self, user: &Local, op: Option<OpId>) -> Uuid {
        let Some(op) = op else { return fresh_id() };
        let mut hasher = blake3::Hasher::new_keyed(&self.link_key);
        hasher.update(b"copy");
        hasher.update(op.as_bytes());
        hasher.update(user.as_str().as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Uuid::from_bytes(bytes)
    }
}

/// 128 random bits: whoever does not know it does not find it.
fn fresh_id() -> Uuid {
    Uuid::from_bytes(crate::token::random().unwrap_or_else(|_| *Uuid::now_v7().as_bytes()))
}

/// There is no such file, or none that may be read: nobody learns which.
pub(crate) fn media_not_found() -> Refused {
    Refused::new(Code::NotFound, "media_not_found", "there is no such file")
}
