//! The writer of one piece: a task that owns the file while the piece comes in, and outlives whoever brought it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::Digest;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::disk::as_hash;
use super::{Appended, Checksum, Entry, Meta, Shared, UploadError, status};
use crate::files::blocking;

/// Pieces between the socket and the disk: 2 MiB, so that both are busy, and no more.
const PIECES: usize = 8;

/// Bytes are on their way to the disk once there are so many, while more come in: the disk works all the while, the flush at
/// the end is short, and a commit's flush meanwhile does not wait behind a gigabyte.
const FLUSH_BYTES: u64 = 8 << 20;
/// So far a client may be ahead of the disk.
const AHEAD_BYTES: u64 = 8 * FLUSH_BYTES;

/// The expiry on disk may be behind by this part of the whole, so that not every piece writes it.
const EXPIRY_STEPS: u64 = 24;

/// What the writer is given.
pub(super) enum Fed {
    Bytes(Bytes),
    End(End),
}

/// How a piece ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As it should.
    Body,
    /// It broke off.
    Lost,
    /// Too little came.
    TooSlow,
    /// More came than was announced.
    TooLarge,
}

/// A piece that is coming in, as its feeder sees it.
pub(super) struct Piece {
    pub(super) pieces: mpsc::Sender<Fed>,
    pub(super) answer: oneshot::Receiver<Result<Appended, UploadError>>,
    /// What the upload still takes.
    pub(super) left: u64,
}

impl Piece {
    /// Starts the writer of a piece. `ended` closes with it.
    pub(super) fn start(
        shared: &Arc<Shared>,
        entry: &Entry,
        checksum: Option<Checksum>,
        ended: watch::Sender<()>,
    ) -> Self {
        let (pieces, taken) = mpsc::channel(PIECES);
        let (answered, answer) = oneshot::channel();
        let left = entry.meta.length - entry.offset;
        let release = Release { shared: shared.clone(), id: entry.meta.id, ended: Some(ended) };
        let (meta, offset) = (entry.meta.clone(), entry.offset);
        let shared = shared.clone();
        tokio::spawn(async move {
            let result = Box::pin(run(shared, meta, offset, checksum, taken)).await;
            // Released before the answer is: whoever has it may go on at once.
            drop(release);
            // Nobody may be there any more.
            let _ = answered.send(result);
        });
        Self { pieces, answer, left }
    }
}

/// Lets the upload go, also where the writer panics.
struct Release {
    shared: Arc<Shared>,
    id: Uuid,
    ended: Option<watch::Sender<()>>,
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(entry) = self.shared.state.lock().entries.get_mut(&self.id) {
            entry.running = None;
        }
        drop(self.ended.take());
    }
}

async fn run(
    shared: Arc<Shared>,
    meta: Meta,
    offset: u64,
    checksum: Option<Checksum>,
    mut taken: mpsc::Receiver<Fed>,
) -> Result<Appended, UploadError> {
    let disk = shared.clone();
    let mut writer = blocking(move || Writer::open(disk, meta, offset, checksum)).await?;
    let mut behind = Behind::new(&writer.file, offset)?;
    let mut batch = Vec::with_capacity(PIECES);
    let mut end = None;
    let mut failed = None;
    while end.is_none() && failed.is_none() {
        if taken.recv_many(&mut batch, PIECES).await == 0 {
            end = Some(End::Lost);
            break;
        }
        let mut pieces = Vec::with_capacity(PIECES);
        for fed in batch.drain(..) {
            match fed {
                Fed::Bytes(bytes) => pieces.push(bytes),
                Fed::End(how) => end = Some(how),
            }
        }
        // No thread is held while nothing comes: a thousand slow uploads are a thousand tasks.
        // The pieces come back to be freed where they were made: see `files::read_at`.
        (writer, failed, _) = blocking(move || {
            let failed = pieces.iter().try_for_each(|bytes| writer.write(bytes)).err();
            Ok((writer, failed, pieces))
        })
        .await?;
        if failed.is_none() {
            failed = behind.follow(writer.offset).await.err();
        }
    }
    // An error is told once: to whoever flushes first.
    failed = failed.or(behind.end().await.err());
    blocking(move || Ok(writer.finish(end.unwrap_or(End::Lost), failed))).await?
}

/// What flushes a file behind its writer.
struct Behind {
    file: Arc<File>,
    /// What a flush has begun with.
    begun: u64,
    running: Option<tokio::task::JoinHandle<io::Result<()>>>,
}

impl Behind {
    fn new(file: &File, offset: u64) -> io::Result<Self> {
        Ok(Self { file: Arc::new(file.try_clone()?), begun: offset, running: None })
    }

    /// The writer has come so far.
    async fn follow(&mut self, offset: u64) -> io::Result<()> {
        let ahead = offset.saturating_sub(self.begun);
        if ahead < FLUSH_BYTES {
            return Ok(());
        }
        if self.running.as_ref().is_some_and(|running| !running.is_finished())
            && ahead < AHEAD_BYTES
        {
            return Ok(());
        }
        self.end().await?;
        let file = self.file.clone();
        self.running = Some(tokio::task::spawn_blocking(move || file.sync_data()));
        self.begun = offset;
        Ok(())
    }

    /// Waits for the flush that is under way.
    async fn end(&mut self) -> io::Result<()> {
        match self.running.take() {
            Some(running) => running.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    meta: Meta,
    file: File,
    /// Where the piece began, and the hash there.
    began: (u64, blake3::Hasher),
    offset: u64,
    hasher: blake3::Hasher,
    check: Option<(Checksum, Sum)>,
}

enum Sum {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl Writer {
    fn open(
        shared: Arc<Shared>,
        meta: Meta,
        offset: u64,
        checksum: Option<Checksum>,
    ) -> io::Result<Box<Self>> {
        let file = shared.disk.open_part(meta.id)?;
        if file.metadata()?.len() != offset {
            // A piece before this one could not be cut away.
            file.set_len(offset)?;
        }
        let kept = shared.state.lock().hashers.remove(&meta.id);
        let hasher = match kept {
            Some((hashed, hasher)) if hashed == offset => hasher,
            Some(_) | None => shared.disk.hash(meta.id, offset)?,
        };
        let check = checksum.map(|checksum| match checksum {
            Checksum::Sha1(_) => (checksum, Sum::Sha1(sha1::Sha1::new())),
            Checksum::Sha256(_) => (checksum, Sum::Sha256(sha2::Sha256::new())),
        });
        if check.is_some() {
            shared.disk.mark(meta.id, offset)?;
        }
        // It goes to and fro between threads, with two states of BLAKE3 in it.
        let began = (offset, hasher.clone());
        Ok(Box::new(Self { shared, meta, file, began, offset, hasher, check }))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.offset)?;
        self.hasher.update(bytes);
        match &mut self.check {
            Some((_, Sum::Sha1(sum))) => sum.update(bytes),
            Some((_, Sum::Sha256(sum))) => sum.update(bytes),
            None => {}
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Keeps what is to be kept, and says what the upload is then.
    fn finish(mut self, end: End, failed: Option<io::Error>) -> Result<Appended, UploadError> {
        let error = self.verdict(end, failed);
        let keeps = match &error {
            None => true,
            Some(UploadError::BodyLost | UploadError::TooSlow) => self.check.is_none(),
            Some(_) => false,
        };
        let marked = self.check.is_some();
        let kept = if keeps { self.keep() } else { self.cut() };
        let kept = match kept {
            // What is not surely on disk is not told to be.
            Err(error) if keeps => self.cut().and(Err(error)),
            other => other,
        };
        if marked && (!keeps || kept.is_err()) {
            self.shared.disk.unmark(self.meta.id)?;
        }
        kept?;
        match error {
            Some(error) => Err(error),
            None => Ok(match self.shared.disk.whole(&self.meta) {
                Some(whole) => Appended::Whole(whole),
                None => Appended::Open(status(&self.meta, self.offset)),
            }),
        }
    }

    fn verdict(&mut self, end: End, failed: Option<io::Error>) -> Option<UploadError> {
        if let Some(failed) = failed {
            return Some(failed.into());
        }
        match end {
            End::Lost => Some(UploadError::BodyLost),
            End::TooSlow => Some(UploadError::TooSlow),
            End::TooLarge => Some(UploadError::TooLarge { limit: self.meta.length }),
            End::Body => {
                let fits = match &self.check {
                    Some((Checksum::Sha1(said), Sum::Sha1(sum))) => {
                        sum.clone().finalize().as_slice() == said
                    }
                    Some((Checksum::Sha256(said), Sum::Sha256(sum))) => {
                        sum.clone().finalize().as_slice() == said
                    }
                    Some((Checksum::Sha1(_), Sum::Sha256(_)))
                    | Some((Checksum::Sha256(_), Sum::Sha1(_))) => false,
                    None => true,
                };
                (!fits).then_some(UploadError::ChecksumMismatch)
            }
        }
    }

    /// What came is on disk, and so is the hash when it was the last.
    fn keep(&mut self) -> io::Result<()> {
        let mut is_changed = false;
        if self.offset > self.began.0 || self.check.is_some() {
            self.file.sync_data()?;
            if self.check.is_some() {
                // Before the description may call the upload whole: with the mark, a crash would cut it again.
                self.shared.disk.unmark(self.meta.id)?;
            }
            let limit = self.shared.limits.expiry_ms;
            let expires_ms = (self.shared.now)().saturating_add(limit);
            is_changed = expires_ms > self.meta.expires_ms.saturating_add(limit / EXPIRY_STEPS);
            if is_changed {
                self.meta.expires_ms = expires_ms;
            }
        }
        if self.offset == self.meta.length {
            self.meta.whole = Some(as_hash(&self.hasher));
            is_changed = true;
        }
        if is_changed && let Err(error) = self.shared.disk.write(&self.meta) {
            self.meta.whole = None;
            return Err(error);
        }
        let mut state = self.shared.state.lock();
        if self.meta.whole.is_none() {
            state.hashers.insert(self.meta.id, (self.offset, self.hasher.clone()));
        }
        if let Some(entry) = state.entries.get_mut(&self.meta.id) {
            entry.meta = self.meta.clone();
            entry.offset = self.offset;
        }
        Ok(())
    }

    /// Nothing of the piece is here any more.
    fn cut(&mut self) -> io::Result<()> {
        let (offset, hasher) = &self.began;
        self.offset = *offset;
        self.shared.state.lock().hashers.insert(self.meta.id, (*offset, hasher.clone()));
        self.file.set_len(*offset)?;
        self.file.sync_data()
    }
}
