//! The files of the home in memory: offsets, sums and owners are kept honestly; what a test wants to go wrong goes wrong.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use homing_link::*;
use homing_wire::Hash;
use sha1::Digest as _;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::home::{Home, refused};

pub(crate) const UPLOAD_BYTES: u64 = 64 << 20;
/// 1 January 2027, noon.
pub(crate) const EXPIRES_MS: u64 = 1_798_804_800_000;
/// Pieces in which files are read.
const PIECE: usize = 10_000;

#[derive(Default)]
pub(crate) struct Files {
    uploads: Mutex<HashMap<Uuid, Uploaded>>,
    files: Mutex<HashMap<Uuid, File>>,
    /// What goes wrong next, by the call it happens to.
    wrong: Mutex<HashMap<&'static str, VecDeque<Refused>>>,
    /// Bytes that came in, of all uploads.
    pub(crate) received: watch::Sender<u64>,
    /// Streams of files that have ended or were dropped.
    pub(crate) closed: watch::Sender<u64>,
    /// Appends that have ended or were dropped.
    pub(crate) appended: watch::Sender<u64>,
}

struct Uploaded {
    owner: String,
    length: u64,
    bytes: Vec<u8>,
    busy: bool,
    expired: bool,
    name: Option<String>,
    mime: Option<String>,
}

#[derive(Clone)]
pub(crate) struct File {
    pub(crate) size: u64,
    pub(crate) mime: &'static str,
    pub(crate) name: Option<String>,
    pub(crate) source: Source,
}

#[derive(Clone)]
pub(crate) enum Source {
    Here(Bytes),
    /// Breaks off after so many bytes.
    Breaks(Bytes, usize),
    /// As a test feeds it.
    Fed(Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>),
}

impl Files {
    pub(crate) fn goes_wrong(&self, call: &'static str, why: Refused) {
        self.wrong.lock().unwrap().entry(call).or_default().push_back(why);
    }

    fn check(&self, call: &'static str) -> Result<(), Refused> {
        let mut wrong = self.wrong.lock().unwrap();
        wrong.get_mut(call).and_then(VecDeque::pop_front).map_or(Ok(()), Err)
    }

    pub(crate) fn put(&self, file: File) -> Uuid {
        let id = Uuid::now_v7();
        self.files.lock().unwrap().insert(id, file);
        id
    }

    /// A file of these bytes.
    pub(crate) fn here(&self, mime: &'static str, name: &str, bytes: impl Into<Bytes>) -> Uuid {
        let bytes = bytes.into();
        let (size, name) = (bytes.len() as u64, Some(name.to_owned()));
        self.put(File { size, mime, name, source: Source::Here(bytes) })
    }

    pub(crate) fn expire(&self, id: Uuid) {
        self.uploads.lock().unwrap().get_mut(&id).unwrap().expired = true;
    }

    /// Name and type as they were claimed.
    pub(crate) fn claimed(&self, id: Uuid) -> (Option<String>, Option<String>) {
        let uploads = self.uploads.lock().unwrap();
        (uploads[&id].name.clone(), uploads[&id].mime.clone())
    }

    pub(crate) fn uploads(&self) -> usize {
        self.uploads.lock().unwrap().len()
    }

    fn of<T>(
        &self,
        owner: &str,
        id: Uuid,
        see: impl FnOnce(&mut Uploaded) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        match self.uploads.lock().unwrap().get_mut(&id) {
            Some(upload) if upload.owner == owner && upload.expired => {
                refused(Code::NotFound, "upload_expired")
            }
            Some(upload) if upload.owner == owner => see(upload),
            Some(_) | None => refused(Code::NotFound, "upload_not_found"),
        }
    }
}

impl Uploaded {
    fn status(&self, id: Uuid) -> UploadStatus {
        let whole = self.bytes.len() as u64 == self.length;
        UploadStatus {
            id,
            offset: self.bytes.len() as u64,
            length: self.length,
            expires_at: (!whole).then_some(EXPIRES_MS),
            hash: whole.then(|| Hash(*blake3::hash(&self.bytes).as_bytes())),
        }
    }
}

/// Ends an append, however it ends.
struct Busy<'a>(&'a Files, Uuid);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(upload) = self.0.uploads.lock().unwrap().get_mut(&self.1) {
            upload.busy = false;
        }
        self.0.appended.send_modify(|n| *n += 1);
    }
}

impl MediaLink for Home {
    fn upload_bytes(&self) -> u64 {
        UPLOAD_BYTES
    }

    fn begin(&self, token: String, new: NewUpload) -> BoxFuture<'_, Result<UploadStatus, Refused>> {
        Box::pin(async move {
            let owner = self.user_of(&token)?;
            self.files.check("begin")?;
            let NewUpload { length, name, mime } = new;
            let id = Uuid::now_v7();
            let (bytes, busy, expired) = (vec![], false, false);
            let upload = Uploaded { owner, length, bytes, busy, expired, name, mime };
            let status = upload.status(id);
            self.files.uploads.lock().unwrap().insert(id, upload);
            Ok(status)
        })
    }

    fn status(&self, token: String, id: Uuid) -> BoxFuture<'_, Result<UploadStatus, Refused>> {
        Box::pin(async move {
            let owner = self.user_of(&token)?;
            self.files.check("status")?;
            self.files.of(&owner, id, |upload| Ok(upload.status(id)))
        })
    }

    fn append(
        &self,
        token: String,
        id: Uuid,
        piece: Piece,
    ) -> BoxFuture<'_, Result<UploadStatus, Refused>> {
        Box::pin(async move {
            let Piece { offset, checksum, mut bytes } = piece;
            let owner = self.user_of(&token)?;
            self.files.check("append")?;
            self.files.of(&owner, id, |upload| {
                if upload.busy {
                    return refused(Code::Busy, "upload_busy");
                }
                if upload.bytes.len() as u64 != offset {
                    return refused(Code::Conflict, "offset_conflict");
                }
                upload.busy = true;
                Ok(())
            })?;
            let _busy = Busy(&self.files, id);
            let mut all = vec![];
            let mut lost = false;
            while let Some(piece) = bytes.next().await {
                let Ok(piece) = piece else {
                    lost = true;
                    break;
                };
                all.extend_from_slice(&piece);
                if checksum.is_none() {
                    self.files.of(&owner, id, |upload| {
                        if (upload.bytes.len() + piece.len()) as u64 > upload.length {
                            upload.bytes.truncate(offset as usize);
                            return refused(Code::TooLarge, "upload_too_large");
                        }
                        upload.bytes.extend_from_slice(&piece);
                        Ok(())
                    })?;
                }
                self.files.received.send_modify(|n| *n += piece.len() as u64);
            }
            if lost {
                return refused(Code::InvalidRequest, "body_lost");
            }
            if let Some(sum) = checksum {
                let fits = match sum {
                    Checksum::Sha1(sum) => sha1::Sha1::digest(&all)[..] == sum,
                    Checksum::Sha256(sum) => sha2::Sha256::digest(&all)[..] == sum,
                };
                if !fits {
                    return refused(Code::InvalidParams, "checksum_mismatch");
                }
                self.files.of(&owner, id, |upload| {
                    upload.bytes.extend_from_slice(&all);
                    Ok(())
                })?;
            }
            self.files.of(&owner, id, |upload| {
                let status = upload.status(id);
                if status.hash.is_some() {
                    let (size, bytes) = (upload.length, Bytes::from(upload.bytes.clone()));
                    let (mime, name) = ("application/octet-stream", upload.name.clone());
                    let file = File { size, mime, name, source: Source::Here(bytes) };
                    self.files.files.lock().unwrap().insert(id, file);
                }
                Ok(status)
            })
        })
    }

    fn abandon(&self, token: String, id: Uuid) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async move {
            let owner = self.user_of(&token)?;
            self.files.of(&owner, id, |upload| {
                if upload.bytes.len() as u64 == upload.length {
                    return refused(Code::Conflict, "upload_finished");
                }
                Ok(())
            })?;
            self.files.uploads.lock().unwrap().remove(&id);
            Ok(())
        })
    }

    fn open(&self, open: OpenMedia) -> BoxFuture<'_, Result<MediaFile, Refused>> {
        Box::pin(async move {
            let OpenMedia { by, home, id, thumbnail } = open;
            match by {
                Reading::Token(token) => drop(self.user_of(&token)?),
                Reading::Link { expires: 7, signature } if signature == "signed==" => {}
                Reading::Link { .. } => return refused(Code::NotSignedIn, "bad_token"),
            }
            self.files.check("open")?;
            let file = self.files.files.lock().unwrap().get(&id).cloned();
            let Some(file) = file.filter(|_| home == "acme.example") else {
                return refused(Code::NotFound, "media_not_found");
            };
            let closed = self.files.closed.clone();
            let file = match thumbnail {
                Some(pixels) if file.mime.starts_with("image/") => {
                    let small = Bytes::from(format!("small: {pixels}"));
                    let size = small.len() as u64;
                    File { size, mime: "image/webp", source: Source::Here(small), ..file }
                }
                Some(_) => return refused(Code::NotFound, "no_thumbnail"),
                None => file,
            };
            Ok(MediaFile {
                size: file.size,
                tag: format!("tag-{}", file.size),
                mime: file.mime.to_owned(),
                name: file.name,
                bytes: Arc::new(Stored { source: file.source, closed }),
            })
        })
    }
}

struct Stored {
    source: Source,
    closed: watch::Sender<u64>,
}

struct Closes(watch::Sender<u64>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n += 1);
    }
}

impl MediaBytes for Stored {
    fn read(&self, range: Range<u64>) -> ByteStream {
        let range = range.start as usize..range.end as usize;
        let pieces = |bytes: Bytes| -> Vec<io::Result<Bytes>> {
            bytes.chunks(PIECE).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
        };
        let stream = match &self.source {
            Source::Here(bytes) => futures::stream::iter(pieces(bytes.slice(range))).boxed(),
            Source::Breaks(bytes, after) => {
                let mut pieces = pieces(bytes.slice(range.start..*after));
                pieces.push(Err(io::ErrorKind::ConnectionReset.into()));
                futures::stream::iter(pieces).boxed()
            }
            Source::Fed(fed) => {
                let fed = fed.lock().unwrap().take().expect("read once");
                futures::stream::unfold(fed, async |mut fed| Some((Ok(fed.recv().await?), fed)))
                    .boxed()
            }
        };
        let closes = Closes(self.closed.clone());
        stream
            .map(move |item| {
                let _until_the_end = &closes;
                item
            })
            .boxed()
    }
}
