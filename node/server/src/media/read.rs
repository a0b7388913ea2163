//! Reading: who may, and from where the bytes come.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use homing_core::{AVATAR, MediaId, MediaState, Naming, avatar_of_group, naming_shown};
use homing_link::{ByteStream, Code, MediaBytes, MediaFile, OpenMedia, Reading, Refused};
use homing_media::{
    Blobs, CacheError, CachedFile, ImageError, SourceError, edge_for, thumbnail_key,
};
use homing_net::{MediaAsk, MediaError, NetHandle};
use homing_wire::{ChannelId, Hash, HomeId, HomeRef, MediaReference};
use subtle::ConstantTimeEq as _;
use tracing::{error, warn};
use uuid::Uuid;

use super::copies::write_all;
use super::metrics::count;
use super::upload::store_failed;
use super::{Media, media_not_found};
use crate::node::stopping;

/// Whoever asks for a file of a home that is away asks again after this.
const AWAY_RETRY_MS: u64 = 30_000;
/// Bytes by which a file's type is told.
pub(super) const SNIFFED: usize = 8_192;
/// A home says of a file that it is none that may be read.
const GONE: &str = "media_not_found";
/// It says of a file what its message does not.
const LIED: &str = "source_lied";
/// A smaller image of another home's that is kept in memory.
pub(super) const SMALLER_BYTES: usize = 64 << 10;
/// A thumbnail that another home made is at most so large.
const THUMBNAIL_BYTES: u64 = 1 << 20;

/// A file that somebody may read.
struct Readable {
    media: MediaId,
    /// What is known of a file of this home.
    state: Option<MediaState>,
    /// What permits reading it: an event, or an avatar; whoever has uploaded it needs none.
    naming: Option<Naming>,
}

/// Places looked at for one that whoever has a link was shown.
const LINKED: usize = 64;

impl Media {
    pub(super) async fn open_for(&self, open: OpenMedia) -> Result<MediaFile, Refused> {
        let OpenMedia { by, home, id, thumbnail } = open;
        let readable = self.readable(&by, &home, id, thumbnail)?;
        match (readable.media.home == self.own, thumbnail) {
            (true, None) => {
                let state = readable.state.ok_or_else(media_not_found)?;
                Ok(self.own_file(state))
            }
            (true, Some(edge)) => {
                self.own_thumbnail(readable.state.ok_or_else(media_not_found)?, edge).await
            }
            (false, thumbnail) => {
                let naming = match (readable.naming, by) {
                    (Some(naming), _) => naming,
                    (None, Reading::Token(_)) => self.avatar_elsewhere(readable.media).await?,
                    (None, Reading::Link { .. }) => return Err(media_not_found()),
                };
                match thumbnail {
                    None => self.foreign_file(naming).await,
                    Some(edge) => self.foreign_thumbnail(naming, edge).await,
                }
            }
        }
    }

    /// A file of another home that nothing here names: it may be the avatar of a user of it, which that home alone can say. It is
    /// asked each time, so that what is no avatar any more is not shown.
    async fn avatar_elsewhere(&self, media: MediaId) -> Result<Naming, Refused> {
        let known = self.directory.name(&media.home).is_some()
            || self.store.peers().map_err(|_| stopping())?.iter().any(|p| p.home == media.home);
        if !known {
            return Err(media_not_found());
        }
        self.hub.want(media.home).await;
        let _asking = self.avatars_asked.try_acquire().map_err(|_| busy())?;
        let (channel, id) = (ChannelId::NONE, media.id);
        let ask = MediaAsk { channel, id, offset: 0, thumbnail: None };
        // The head is all that is wanted: what follows it is ended by not being read.
        let head = self.net.media(media.home, ask).await.map_err(of_peer)?;
        let hash = head.hash.ok_or_else(media_not_found)?;
        let most = self.limits.avatar_bytes;
        if head.size > most {
            let message = "this image is too large for an avatar";
            return Err(Refused::new(Code::TooLarge, "avatar_too_large", message).with_limit(most));
        }
        let media = MediaReference { home: media.home, id, hash, size: head.size };
        Ok(Naming { media, channel, pos: AVATAR })
    }

    fn readable(
        &self,
        by: &Reading,
        home: &str,
        id: Uuid,
        thumbnail: Option<u32>,
    ) -> Result<Readable, Refused> {
        let user = match by {
            Reading::Token(token) => Some(self.user(token)?),
            Reading::Link { .. } => None,
        };
        let home = match home.parse() {
            Ok(HomeRef::Id(id)) => Some(id),
            Ok(HomeRef::Name(name)) => self.directory.id(&name),
            Err(_) => None,
        };
        let media = MediaId { home: home.ok_or_else(media_not_found)?, id };
        if let Reading::Link { expires, signature } = by {
            let right = self.sign_link(media, thumbnail, *expires);
            if !bool::from(right.as_bytes().ct_eq(signature.as_bytes())) {
                return Err(media_not_found());
            }
            if *expires <= (self.now)() {
                let message = "this link is too old: ask for another";
                return Err(Refused::new(Code::NotAllowed, "link_expired", message));
            }
        }
        let state = match media.home == self.own {
            true => Some(self.own_state(id)?),
            false => None,
        };
        let owns = state.as_ref().is_some_and(|state| user.as_ref() == Some(&state.owner));
        if owns {
            return Ok(Readable { media, state, naming: None });
        }
        let naming = match &user {
            Some(user) => naming_shown(&*self.store, &self.me(user), media),
            None => self.any_naming(media),
        };
        let naming = naming.map_err(|_| stopping())?;
        if naming.is_none() && user.is_some() && state.is_some() {
            return Err(media_not_found());
        }
        Ok(Readable { media, state, naming })
    }

    fn own_state(&self, id: Uuid) -> Result<MediaState, Refused> {
        let state = self.store.media(id).map_err(|_| stopping())?;
        state.filter(|state| !state.going).ok_or_else(media_not_found)
    }

    /// What names a file, whoever is shown it: whoever has a link has been shown it.
    fn any_naming(&self, media: MediaId) -> Result<Option<Naming>, homing_core::Fault> {
        for (channel, pos) in self.store.named(media, None, LINKED)? {
            if pos == AVATAR {
                match avatar_of_group(&*self.store, channel, media)? {
                    Some(naming) => return Ok(Some(naming)),
                    None => continue,
                }
            }
            let Some(entry) = self.store.entry(channel, pos)? else { continue };
            let named = homing_core::named_by(&entry).find(|named| MediaId::from(*named) == media);
            if let Some(media) = named.cloned() {
                return Ok(Some(Naming { media, channel, pos }));
            }
        }
        Ok(None)
    }

    fn own_file(&self, state: MediaState) -> MediaFile {
        MediaFile {
            size: state.size,
            tag: state.hash.to_string(),
            mime: state.mime,
            name: Some(state.name).filter(|name| !name.is_empty()),
            bytes: Arc::new(BlobBytes { blobs: self.blobs.clone(), hash: state.hash }),
        }
    }

    pub(super) async fn own_thumbnail(
        &self,
        state: MediaState,
        edge: u32,
    ) -> Result<MediaFile, Refused> {
        if !state.mime.starts_with("image/") || state.size > self.limits.image_bytes {
            return Err(no_thumbnail());
        }
        let edge = edge_for(edge);
        let tag = format!("{}-{edge}", state.hash);
        let key = thumbnail_key(state.hash, edge, "img");
        let kept = self.blobs.get_small(&key).await.map_err(store_failed)?;
        if let Some(bytes) = kept {
            return Ok(small(tag, homing_media::sniff(&bytes).to_owned(), bytes));
        }
        let made = match self.blobs.local_path(state.hash) {
            Some(path) => self.images.thumbnail(&path, edge).await,
            None => {
                // Decoders read to and fro.
                let copy = self.copies.join(format!("image-{}", super::fresh_id()));
                write_all(self.blobs.read(state.hash, 0..state.size), &copy)
                    .await
                    .map_err(|_| stopping())?;
                let made = self.images.thumbnail(&copy, edge).await;
                let _thrown_away_at_the_next_start = tokio::fs::remove_file(&copy).await;
                made
            }
        };
        let made = made.map_err(|error| match error {
            ImageError::Busy => busy(),
            ImageError::NotImage
            | ImageError::Damaged(_)
            | ImageError::TooLarge
            | ImageError::TooSlow => no_thumbnail(),
            ImageError::Io(error) => {
                error!(%error, "an image cannot be read: look at the disk of the media folder");
                stopping()
            }
        })?;
        let bytes = Bytes::from(made.bytes);
        if let Err(error) = self.blobs.put_small(&key, bytes.clone()).await {
            warn!(%error, "a thumbnail is not kept");
        }
        Ok(small(tag, made.mime.to_owned(), bytes))
    }

    async fn foreign_file(&self, naming: Naming) -> Result<MediaFile, Refused> {
        let name = self.name_in(&naming);
        let cached = self.fetched(&naming).await?;
        let size = naming.media.size;
        let mut first = Vec::new();
        let mut beginning = cached.read(0..size.min(SNIFFED as u64));
        while let Some(piece) = beginning.next().await {
            first.extend_from_slice(&piece.map_err(|_| away())?);
        }
        Ok(MediaFile {
            size,
            tag: naming.media.hash.to_string(),
            mime: homing_media::sniff(&first).to_owned(),
            name,
            bytes: Arc::new(CachedBytes(cached)),
        })
    }

    /// A file of another home, here or on its way.
    pub(super) async fn fetched(&self, naming: &Naming) -> Result<CachedFile, Refused> {
        let media = &naming.media;
        let key = key_of(media.home, media.id, media.hash);
        if let Some(cached) = self.cache.get(&key).await.map_err(|_| stopping())? {
            return Ok(cached);
        }
        let source = PeerSource {
            net: self.net.clone(),
            home: media.home,
            channel: naming.channel,
            id: media.id,
            size: media.size,
            hash: media.hash,
        };
        count(&self.metrics.fetches, 1);
        let fetched = self.cache.fetch(&key, media.size, media.hash, Arc::new(source)).await;
        fetched.map_err(|error| {
            count(&self.metrics.fetches_failed, 1);
            match &error {
                CacheError::Busy => busy(),
                CacheError::SourceLied => {
                    warn!(home = %self.directory.show(&media.home), id = %media.id, "a home gave another file than its message says");
                    media_not_found()
                }
                CacheError::Source(source) if source.reason == LIED => {
                    count(&self.metrics.liars, 1);
                    media_not_found()
                }
                CacheError::Source(source) if source.reason == GONE => media_not_found(),
                CacheError::Source(_) | CacheError::SourceLost => away(),
                CacheError::NoRoom => {
                    let message = "this home keeps no file of that size for others: media.cache_bytes";
                    Refused::new(Code::TooLarge, "cache_full", message)
                }
                CacheError::DiskFull => {
                    let message = "the home's disk is full: its operator must make room";
                    Refused::new(Code::Busy, "disk_full", message).with_retry_after_ms(10_000)
                }
                CacheError::BadKey | CacheError::Io(_) => {
                    error!(%error, "another home's file cannot be written: look at the disk of the media folder");
                    stopping()
                }
            }
        })
    }

    async fn foreign_thumbnail(&self, naming: Naming, edge: u32) -> Result<MediaFile, Refused> {
        let edge = edge_for(edge);
        let media = &naming.media;
        let key = format!("{}-{edge}", key_of(media.home, media.id, media.hash));
        if let Some((mime, bytes)) = self.smaller.lock().get(&key).cloned() {
            return Ok(small(key, mime.to_owned(), bytes));
        }
        let (channel, id) = (naming.channel, media.id);
        let ask = MediaAsk { channel, id, offset: 0, thumbnail: NonZeroU32::new(edge) };
        let answer = self.net.media(media.home, ask).await.map_err(of_peer)?;
        if answer.size > THUMBNAIL_BYTES {
            count(&self.metrics.liars, 1);
            return Err(no_thumbnail());
        }
        let (mut bytes, mut pieces) = (Vec::new(), answer.bytes);
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece.map_err(|_| away())?);
        }
        let mime = homing_media::sniff(&bytes);
        if !mime.starts_with("image/") || !homing_media::is_safe_inline(mime) {
            count(&self.metrics.liars, 1);
            return Err(no_thumbnail());
        }
        let bytes = Bytes::from(bytes);
        if bytes.len() <= SMALLER_BYTES {
            self.smaller.lock().insert(key.clone(), (mime, bytes.clone()));
        }
        Ok(small(key, mime.to_owned(), bytes))
    }

    /// What the message calls its file.
    pub(super) fn name_in(&self, naming: &Naming) -> Option<String> {
        let entry = self.store.entry(naming.channel, naming.pos).ok()??;
        let body: serde_json::Value = serde_json::from_slice(&entry.event.body).ok()?;
        Some(body["media"]["name"].as_str()?.to_owned())
    }
}

/// The key under which another home's file is kept: whoever names it otherwise gets another one.
pub(super) fn key_of(home: HomeId, id: Uuid, hash: Hash) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&home.0);
    hasher.update(id.as_bytes());
    hasher.update(&hash.0);
    hasher.finalize().to_hex().to_string()
}

fn small(tag: String, mime: String, bytes: Bytes) -> MediaFile {
    MediaFile { size: bytes.len() as u64, tag, mime, name: None, bytes: Arc::new(Small(bytes)) }
}

pub(super) fn away() -> Refused {
    let message = "the home that holds this file is away";
    Refused::new(Code::Unreachable, "home_unreachable", message).with_retry_after_ms(AWAY_RETRY_MS)
}

fn busy() -> Refused {
    Refused::new(Code::Busy, "media_busy", "too many files at once").with_retry_after_ms(1_000)
}

fn no_thumbnail() -> Refused {
    Refused::new(Code::NotFound, "no_thumbnail", "there is no smaller image of this file")
}

fn of_peer(error: MediaError) -> Refused {
    match error {
        MediaError::Refused { reason, .. } if reason == GONE => media_not_found(),
        MediaError::Refused { reason, .. } if reason == "no_thumbnail" => no_thumbnail(),
        MediaError::Busy => busy(),
        MediaError::Refused { .. }
        | MediaError::NotConnected
        | MediaError::Timeout
        | MediaError::Unsupported
        | MediaError::Malformed
        | MediaError::Long
        | MediaError::Short { .. }
        | MediaError::Stalled
        | MediaError::Lost
        | MediaError::ShutDown => away(),
    }
}

/// The bytes of a file of this home.
struct BlobBytes {
    blobs: Blobs,
    hash: Hash,
}

impl MediaBytes for BlobBytes {
    fn read(&self, range: Range<u64>) -> ByteStream {
        self.blobs.read(self.hash, range)
    }
}

/// Those of another home's.
struct CachedBytes(CachedFile);

impl MediaBytes for CachedBytes {
    fn read(&self, range: Range<u64>) -> ByteStream {
        self.0.read(range)
    }
}

struct Small(Bytes);

impl MediaBytes for Small {
    fn read(&self, range: Range<u64>) -> ByteStream {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let bytes = self.0.slice(at(range.start)..at(range.end).max(at(range.start)));
        Box::pin(futures::stream::once(std::future::ready(Ok(bytes))))
    }
}

/// A file as its home gives it.
struct PeerSource {
    net: NetHandle,
    home: HomeId,
    channel: ChannelId,
    id: Uuid,
    size: u64,
    hash: Hash,
}

impl homing_media::Source for PeerSource {
    fn from(&self, offset: u64) -> futures::future::BoxFuture<'_, Result<ByteStream, SourceError>> {
        Box::pin(async move {
            let (channel, id) = (self.channel, self.id);
            let ask = MediaAsk { channel, id, offset, thumbnail: None };
            let answer = self.net.media(self.home, ask).await.map_err(|error| {
                let gone = matches!(&error, MediaError::Refused { reason, .. } if reason == GONE);
                match (gone, error.is_lie()) {
                    (true, _) => SourceError { reason: GONE, is_transient: false },
                    (false, true) => SourceError { reason: LIED, is_transient: false },
                    // Who waits is told to come again: a home that is away is so for longer than anybody waits.
                    (false, false) => {
                        SourceError { reason: error.reason(), is_transient: offset > 0 }
                    }
                }
            })?;
            if answer.size != self.size || answer.hash.is_none_or(|hash| hash != self.hash) {
                return Err(SourceError { reason: LIED, is_transient: false });
            }
            Ok(answer.bytes)
        })
    }
}
