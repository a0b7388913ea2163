//! The folder of uploads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::PathBuf;

use homing_wire::Hash;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::WholeUpload;
use crate::files::{remove, sync_folder, write_atomically};

/// Of [`Meta`] as it is written.
pub(super) const VERSION: u32 = 1;

/// What is read at once where an upload is hashed again.
const HASH_BYTES: usize = 1024 * 1024;

/// What `<id>.json` says.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) version: u32,
    pub(super) id: Uuid,
    pub(super) owner: String,
    pub(super) length: u64,
    pub(super) name: Option<String>,
    pub(super) mime: Option<String>,
    pub(super) created_ms: u64,
    pub(super) expires_ms: u64,
    /// Written before anybody is told that the upload is whole, so before its bytes are moved.
    pub(super) whole: Option<Hash>,
}

pub(super) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Opens the folder; what a crash left half done is finished or removed. With the uploads there, and how far each is.
    pub(super) fn open(folder: PathBuf) -> io::Result<(Self, Vec<(Meta, u64)>)> {
        fs::create_dir_all(&folder)?;
        let disk = Self { folder };
        let mut found = Vec::new();
        let mut parts = Vec::new();
        for file in fs::read_dir(&disk.folder)? {
            let file = file?;
            let name = file.file_name();
            let Some((id, kind)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Ok(id) = id.parse::<Uuid>() else { continue };
            match kind {
                "json" => found.extend(disk.recover(id)?),
                "part" | "piece" => parts.push((id, file.path())),
                // Half-written metadata.
                "new" => remove(&file.path())?,
                _ => {}
            }
        }
        for (id, path) in parts {
            if !fs::exists(disk.json(id))? {
                tracing::info!(%id, "bytes of an upload that nobody began are removed");
                remove(&path)?;
            }
        }
        sync_folder(&disk.folder)?;
        Ok((disk, found))
    }

    /// One upload after a crash; `None`: it cannot go on, and is removed.
    fn recover(&self, id: Uuid) -> io::Result<Option<(Meta, u64)>> {
        let meta = serde_json::from_slice::<Meta>(&fs::read(self.json(id))?)
            .ok()
            .filter(|meta| meta.id == id && meta.version == VERSION);
        let Some(mut meta) = meta else {
            tracing::warn!(%id, "an upload whose description is damaged is removed");
            self.remove(id)?;
            return Ok(None);
        };
        self.cut_unfinished_piece(id)?;
        let here = match fs::metadata(self.part(id)) {
            Ok(part) => Some(part.len()),
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match (meta.whole, here) {
            // Its bytes were moved, and the caller was not done.
            (Some(_), None) => Ok(Some((meta.clone(), meta.length))),
            (Some(_), Some(length)) if length == meta.length => Ok(Some((meta, length))),
            // Its last byte came, and nobody was told.
            (None, Some(length)) if length == meta.length => {
                meta.whole = Some(as_hash(&self.hash(id, length)?));
                self.write(&meta)?;
                Ok(Some((meta, length)))
            }
            (None, Some(length)) if length < meta.length => Ok(Some((meta, length))),
            (Some(_) | None, Some(_)) | (None, None) => {
                tracing::warn!(%id, "an upload without its bytes is removed");
                self.remove(id)?;
                Ok(None)
            }
        }
    }

    /// A piece with a checksum that was coming in: all of it or nothing, so nothing.
    fn cut_unfinished_piece(&self, id: Uuid) -> io::Result<()> {
        let Ok(mark) = fs::read(self.piece(id)) else { return Ok(()) };
        // A mark that is not eight bytes was not whole when the crash came, so no byte of its piece was written.
        if let Ok(offset) = <[u8; 8]>::try_from(mark.as_slice()) {
            match OpenOptions::new().write(true).open(self.part(id)) {
                Ok(part) => {
                    let offset = u64::from_le_bytes(offset);
                    if offset < part.metadata()?.len() {
                        part.set_len(offset)?;
                        part.sync_all()?;
                    }
                }
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        remove(&self.piece(id))
    }

    /// The files of a new upload: the bytes first, so that a description without bytes is never there.
    pub(super) fn create(&self, meta: &Meta) -> io::Result<()> {
        let made = File::create_new(self.part(meta.id)).and_then(|_| self.write(meta));
        if made.is_err() {
            // Whatever is left is removed at the next start.
            let _ = self.remove(meta.id);
        }
        made
    }

    pub(super) fn write(&self, meta: &Meta) -> io::Result<()> {
        let text = serde_json::to_vec(meta).map_err(io::Error::other)?;
        write_atomically(&self.json(meta.id), &self.folder.join(format!("{}.new", meta.id)), &text)
    }

    pub(super) fn open_part(&self, id: Uuid) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.part(id))
    }

    /// Marks that a piece with a checksum begins.
    pub(super) fn mark(&self, id: Uuid, offset: u64) -> io::Result<()> {
        let path = self.piece(id);
        fs::write(&path, offset.to_le_bytes())?;
        File::open(&path)?.sync_all()?;
        sync_folder(&self.folder)
    }

    /// Takes the mark away, once its piece is whole on disk or cut away.
    pub(super) fn unmark(&self, id: Uuid) -> io::Result<()> {
        remove(&self.piece(id))?;
        sync_folder(&self.folder)
    }

    /// The state of BLAKE3 after the first bytes of an upload.
    pub(super) fn hash(&self, id: Uuid, length: u64) -> io::Result<blake3::Hasher> {
        let mut part = File::open(self.part(id))?.take(length);
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; HASH_BYTES];
        let mut left = length;
        while left > 0 {
            let read = part.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hasher.update(&buffer[..read]);
            left -= read as u64;
        }
        Ok(hasher)
    }

    /// Removes an upload: its description last, so that what is left after a crash is found.
    pub(super) fn remove(&self, id: Uuid) -> io::Result<()> {
        remove(&self.piece(id))?;
        remove(&self.part(id))?;
        remove(&self.json(id))
    }

    /// An upload as its taker sees it, if it is whole.
    pub(super) fn whole(&self, meta: &Meta) -> Option<WholeUpload> {
        Some(WholeUpload {
            id: meta.id,
            owner: meta.owner.clone(),
            name: meta.name.clone(),
            mime: meta.mime.clone(),
            size: meta.length,
            hash: meta.whole?,
            path: self.part(meta.id),
        })
    }

    fn json(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn part(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.part"))
    }

    fn piece(&self, id: Uuid) -> PathBuf {
        self.folder.join(format!("{id}.piece"))
    }
}

pub(super) fn as_hash(hasher: &blake3::Hasher) -> Hash {
    Hash(*hasher.finalize().as_bytes())
}
