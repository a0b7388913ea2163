//! Uploads: what `homing-media` does with the bytes, and what becomes of a file that is whole.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use homing_core::{FilmState, ImageState, MediaState};
use homing_link::{
    BoxFuture, Checksum, Code, MediaFile, MediaLink, NewUpload, OpenMedia, Piece, Refused,
    UploadStatus,
};
use homing_media::{Appended, Begun, FilmError, SNIFF_BYTES, UploadError, WholeUpload};
use homing_wire::{Hash, Local};
use tokio::io::AsyncReadExt as _;
use tracing::{debug, error};
use uuid::Uuid;

use super::metrics::count;
use super::{Media, media_not_found};
use crate::node::stopping;

/// So long an upload's answer waits until somebody has looked into the file, behind others: then nothing is known of it.
const LOOKED_WITHIN: Duration = Duration::from_secs(10);

/// Room that somebody has been given; given back, unless it is kept.
pub(super) struct Reserved<'a> {
    media: &'a Media,
    user: Local,
    bytes: u64,
    kept: bool,
}

impl Reserved<'_> {
    /// The file is there.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.media.used.lock().take(&self.user, self.bytes);
        }
    }
}

impl Media {
    async fn begin_for(&self, token: &str, new: NewUpload) -> Result<UploadStatus, Refused> {
        let user = self.user(token)?;
        // Once it is begun, the uploads count it.
        let _reserved = self.reserve(&user, new.length)?;
        let NewUpload { length, name, mime } = new;
        let new = homing_media::NewUpload { length, name, mime };
        match self.uploads.begin(user.as_str(), new).await.map_err(refused)? {
            Begun::Open(status) => Ok(of_status(&status)),
            Begun::Whole(whole) => self.finish(whole).await,
        }
    }

    /// Room for a file of that length, if it may come.
    pub(super) fn reserve(&self, user: &Local, length: u64) -> Result<Reserved<'_>, Refused> {
        let too_large = |reason: &'static str, message: &'static str, limit| {
            Refused::new(Code::TooLarge, reason, message).with_limit(limit)
        };
        let limits = &self.limits;
        if length > limits.upload_bytes {
            let message = "a file may not be so large here";
            return Err(too_large("upload_too_large", message, limits.upload_bytes));
        }
        self.check_disk(length)?;
        let mut used = self.used.lock();
        let of_user = used.of_user.get(user).copied().unwrap_or_default();
        let of_user = of_user.saturating_add(self.uploads.bytes_of(user.as_str()));
        if of_user.saturating_add(length) > limits.user_bytes {
            let message = "your files would be more than this home keeps for one user: delete some";
            return Err(too_large("user_quota", message, limits.user_bytes));
        }
        let all = used.all.saturating_add(self.uploads.bytes());
        if all.saturating_add(length) > limits.home_bytes {
            let message = "the files of all would be more than this home keeps: ask its operator";
            return Err(too_large("home_quota", message, limits.home_bytes));
        }
        used.add(user, length);
        drop(used);
        Ok(Reserved { media: self, user: user.clone(), bytes: length, kept: false })
    }

    /// Nothing is taken while there is little room, on either disk.
    fn check_disk(&self, length: u64) -> Result<(), Refused> {
        let free = rustix::fs::statvfs(&self.copies)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if !self.store.disk_low() && free >= length.saturating_add(self.limits.min_free_bytes) {
            return Ok(());
        }
        let message = "the home's disk is nearly full: its operator must make room";
        Err(Refused::new(Code::Busy, "disk_full", message).with_retry_after_ms(10_000))
    }

    async fn status_for(&self, token: &str, id: Uuid) -> Result<UploadStatus, Refused> {
        let user = self.user(token)?;
        if let Some(whole) = self.known(&user, id)? {
            return Ok(whole);
        }
        // What is whole and could not be kept is tried again.
        let mut whole = self.uploads.whole().into_iter();
        match whole.find(|whole| whole.id == id && whole.owner == user.as_str()) {
            Some(whole) => self.finish(whole).await,
            None => {
                let status = self.uploads.status(user.as_str(), id).await.map_err(refused)?;
                Ok(of_status(&status))
            }
        }
    }

    /// A file of that user that is whole.
    fn known(&self, user: &Local, id: Uuid) -> Result<Option<UploadStatus>, Refused> {
        let state = self.store.media(id).map_err(|_| stopping())?;
        Ok(state.filter(|state| state.owner == *user && !state.going).map(|state| whole(&state)))
    }

    async fn append_for(
        &self,
        token: &str,
        id: Uuid,
        piece: Piece,
    ) -> Result<UploadStatus, Refused> {
        let user = self.user(token)?;
        if let Some(known) = self.known(&user, id)? {
            if piece.offset == known.offset {
                return Ok(known); // a repeat of the last piece's end
            }
            return Err(refused(UploadError::OffsetConflict { offset: known.offset }));
        }
        if self.store.disk_low() {
            let message = "the home's disk is nearly full: its operator must make room";
            return Err(Refused::new(Code::Busy, "disk_full", message).with_retry_after_ms(10_000));
        }
        let checksum = piece.checksum.map(|checksum| match checksum {
            Checksum::Sha1(sum) => homing_media::Checksum::Sha1(sum),
            Checksum::Sha256(sum) => homing_media::Checksum::Sha256(sum),
        });
        let appended =
            self.uploads.append(user.as_str(), id, piece.offset, checksum, piece.bytes).await;
        match appended.map_err(refused)? {
            Appended::Open(status) => Ok(of_status(&status)),
            Appended::Whole(whole) => self.finish(whole).await,
        }
    }

    async fn abandon_for(&self, token: &str, id: Uuid) -> Result<(), Refused> {
        let user = self.user(token)?;
        if self.known(&user, id)?.is_some() {
            let message = "it is whole: it goes when no message names it any more";
            return Err(Refused::new(Code::NotAllowed, "upload_finished", message));
        }
        self.uploads.abandon(user.as_str(), id).await.map_err(refused)
    }

    /// Keeps a file that is whole: its bytes, then its row. Done twice it is done once; begun it goes on, though whoever asked for
    /// it has gone.
    pub(super) async fn finish(&self, upload: WholeUpload) -> Result<UploadStatus, Refused> {
        let Some(this) = self.this.upgrade() else { return Err(stopping()) };
        let finished = tokio::spawn(async move { this.finish_once(upload).await }).await;
        finished.unwrap_or_else(|_| Err(stopping()))
    }

    async fn finish_once(&self, upload: WholeUpload) -> Result<UploadStatus, Refused> {
        let id = upload.id;
        let turn = self.finishing.lock().entry(id).or_default().clone();
        let one = turn.lock().await;
        let finished = self.finish_now(upload).await;
        drop(one);
        let mut finishing = self.finishing.lock();
        // This one's, and the table's: nobody else waits for it.
        if Arc::strong_count(&turn) == 2 {
            finishing.remove(&id);
        }
        finished
    }

    async fn finish_now(&self, upload: WholeUpload) -> Result<UploadStatus, Refused> {
        let id = upload.id;
        let owner: Local = upload.owner.parse().map_err(|_| media_not_found())?;
        let known = self.store.media(id).map_err(|_| stopping())?;
        let state = match known {
            Some(known) => known,
            None => {
                let kept = self.keep_upload(upload, &owner).await;
                kept.inspect_err(|refused| {
                    error!(reason = %refused.reason, "an upload is whole and could not be kept: it is tried again");
                })?
            }
        };
        self.uploads.done(id).await.map_err(|error| refused(error.into()))?;
        Ok(whole(&state))
    }

    async fn keep_upload(&self, upload: WholeUpload, owner: &Local) -> Result<MediaState, Refused> {
        let WholeUpload { id, name, size, hash, path, .. } = upload;
        let (mime, seen) = self.look_at(&path, hash).await?;
        let keeping = self.keeping(&hash).read().await;
        let stored = self.blobs.put(&path, hash, size).await.map_err(store_failed)?;
        let state = MediaState {
            id,
            owner: owner.clone(),
            hash,
            size,
            mime,
            name: name.unwrap_or_default(),
            created_at: (self.now)(),
            image: seen.image,
            film: seen.film,
            unnamed_since: None,
            going: false,
        };
        self.hub.keep(state.clone()).await?;
        drop(keeping);
        self.used.lock().add(owner, size);
        count(&self.metrics.uploads, 1);
        count(&self.metrics.uploaded_bytes, size);
        count(&self.metrics.same_again, u64::from(stored.was_there));
        Ok(state)
    }

    /// What the bytes of a file say of it.
    async fn look_at(&self, path: &Path, hash: Hash) -> Result<(String, Seen), Refused> {
        // The bytes may have been moved before a crash.
        let path = if path.exists() {
            path.to_owned()
        } else {
            match self.blobs.local_path(hash) {
                Some(path) => path,
                None => return Ok(("application/octet-stream".to_owned(), Seen::default())),
            }
        };
        let mime = sniffed(&path).await.map_err(|error| {
            error!(%error, "an upload cannot be read: look at the disk of the media folder");
            stopping()
        })?;
        let seen = self.probe(mime, &path).await;
        Ok((mime.to_owned(), seen))
    }

    /// What is known of an image, a film or sound: nothing of what is none, or cannot be looked into.
    pub(super) async fn probe(&self, mime: &str, path: &Path) -> Seen {
        // Nobody waits long for it.
        let looked = tokio::time::timeout(LOOKED_WITHIN, self.probe_as_long(mime, path)).await;
        looked.unwrap_or_default()
    }

    async fn probe_as_long(&self, mime: &str, path: &Path) -> Seen {
        if mime.starts_with("image/") {
            let image = self.images.probe(path).await.ok();
            let image = image.map(|image| ImageState {
                width: image.width,
                height: image.height,
                preview: image.preview,
            });
            return Seen { image, film: None };
        }
        let film = match self.films.probe(path, mime).await {
            Ok(film) => Some(FilmState {
                duration_ms: film.duration_ms,
                width: film.width,
                height: film.height,
            }),
            Err(FilmError::NotFilm) => None,
            Err(error) => {
                debug!(reason = error.reason(), %error, "nothing is known of a film");
                None
            }
        };
        Seen { image: None, film }
    }
}

/// What looking into a file has shown.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) image: Option<ImageState>,
    pub(super) film: Option<FilmState>,
}

/// What the first bytes of a file say of it.
async fn sniffed(path: &Path) -> std::io::Result<&'static str> {
    let mut first = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(SNIFF_BYTES as u64).read_to_end(&mut first).await?;
    Ok(homing_media::sniff(&first))
}

fn of_status(status: &homing_media::UploadStatus) -> UploadStatus {
    UploadStatus {
        id: status.id,
        offset: status.offset,
        length: status.length,
        expires_at: status.expires_at_ms,
        hash: None,
    }
}

fn whole(state: &MediaState) -> UploadStatus {
    UploadStatus {
        id: state.id,
        offset: state.size,
        length: state.size,
        expires_at: None,
        hash: Some(state.hash),
    }
}

fn refused(error: UploadError) -> Refused {
    let (code, limit) = match &error {
        UploadError::NotFound | UploadError::Expired => (Code::NotFound, None),
        UploadError::OffsetConflict { .. } | UploadError::ChecksumMismatch => {
            (Code::Conflict, None)
        }
        UploadError::TooLarge { limit } => (Code::TooLarge, Some(*limit)),
        UploadError::TooMany { limit } => (Code::LimitReached, Some(*limit as u64)),
        UploadError::Busy => (Code::Busy, None),
        UploadError::Finished => (Code::NotAllowed, None),
        UploadError::TooSlow | UploadError::BodyLost => (Code::InvalidParams, None),
        UploadError::DiskFull => (Code::Busy, None),
        UploadError::Io(_) => (Code::Internal, None),
    };
    let refused = Refused::new(code, error.reason(), error.to_string());
    if let UploadError::Io(cause) = &error {
        error!(%cause, "an upload cannot be written: look at the disk of the media folder");
    }
    match limit {
        Some(limit) => refused.with_limit(limit),
        None => refused,
    }
}

pub(super) fn store_failed(error: homing_media::BlobError) -> Refused {
    error!(%error, "files cannot be kept: look at the media folder, or at the S3 server");
    let message = "the file is whole, and cannot be kept at the moment: ask again";
    Refused::new(Code::Busy, "media_store", message).with_retry_after_ms(5_000)
}

impl MediaLink for Media {
    fn upload_bytes(&self) -> u64 {
        self.limits.upload_bytes
    }

    fn begin(&self, token: String, new: NewUpload) -> BoxFuture<'_, Result<UploadStatus, Refused>> {
        Box::pin(async move { self.begin_for(&token, new).await })
    }

    fn status(&self, token: String, id: Uuid) -> BoxFuture<'_, Result<UploadStatus, Refused>> {
        Box::pin(async move { self.status_for(&token, id).await })
    }

    fn append(
        &self,
        token: String,
        id: Uuid,
        piece: Piece,
    ) -> BoxFuture<'_, Result<UploadStatus, Refused>> {
        Box::pin(async move { self.append_for(&token, id, piece).await })
    }

    fn abandon(&self, token: String, id: Uuid) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async move { self.abandon_for(&token, id).await })
    }

    fn open(&self, open: OpenMedia) -> BoxFuture<'_, Result<MediaFile, Refused>> {
        Box::pin(async move { self.open_for(open).await })
    }
}
