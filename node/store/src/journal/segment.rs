//! Files of the journal: their headers, and reading from them.
//!
//! ```text
//! 0   magic         "HOMINGJL"
//! 8   format        u32    all numbers little-endian
//! 12  kind          u8     0: records in the order of their commits
//! 16  number        u32    the one in the file's name
//! 24  salt          u64    random; part of every checksum in the file
//! 32  first_batch   u64    the number of the first record's batch
//! 40  home          32     whose journal
//! 72  crc           u32    CRC-32 of bytes 0..72
//! ```
//! The header has 4,096 bytes to itself, so that no disk's sector holds header and records. It is written
//! and flushed when the segment is taken into use; until then the file is all zeros. Later formats keep
//! magic, format and CRC where they are.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hashlink::LruCache;
use homing_wire::HomeId;
use parking_lot::{Mutex, RwLock};

use crate::entry::{u32_at, u64_at};
use crate::{FORMAT, StoreError};

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: u64 = 4_096;
/// Bytes of the header that say something.
const USED: usize = 76;
const MAGIC: &[u8; 8] = b"HOMINGJL";
/// Records in the order of their commits. Other kinds (segments rewritten to free space) are of later formats.
const KIND_RECORDS: u8 = 0;

/// What a segment's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) salt: u64,
    pub(crate) first_batch: u64,
    pub(crate) home: HomeId,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; USED] {
        let mut bytes = [0; USED];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12] = KIND_RECORDS;
        bytes[16..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_batch.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.home.0);
        let crc = crc32fast::hash(&bytes[..72]);
        bytes[72..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None`: all zeros, a segment that was not taken into use.
    fn decode(path: &Path, bytes: &[u8], home: HomeId) -> Result<Option<Self>, StoreError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if u32_at(bytes, 72) != crc32fast::hash(&bytes[..72]) || &bytes[..8] != MAGIC {
            return Err(StoreError::damaged(
                path,
                0,
                "the segment's header is not what was written",
            ));
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT || bytes[12] != KIND_RECORDS {
            let path = path.to_owned();
            return Err(StoreError::NewerFormat { path, found: format, known: FORMAT });
        }
        let mut found = [0; 32];
        found.copy_from_slice(&bytes[40..72]);
        if found != home.0 {
            let (path, found) = (path.to_owned(), HomeId(found));
            return Err(StoreError::WrongHome { path, found, expected: home });
        }
        Ok(Some(Self {
            number: u32_at(bytes, 16),
            salt: u64_at(bytes, 24),
            first_batch: u64_at(bytes, 32),
            home,
        }))
    }
}

/// A segment as found when opening.
pub(crate) struct FoundSegment {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    /// `None`: made ahead, not yet in use.
    pub(crate) header: Option<SegmentHeader>,
}

/// Suffix of a segment that is still being filled with zeros.
pub(crate) const UNFINISHED: &str = "tmp";

pub(crate) fn path_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.hj"))
}

/// Finds all segments, checks their headers and that none is missing. Files that were still being
/// filled when the process ended are removed.
pub(crate) fn find(dir: &Path, home: HomeId) -> Result<Vec<FoundSegment>, StoreError> {
    let mut numbers = Vec::new();
    let list = |what| StoreError::io(what, dir);
    for file in fs::read_dir(dir).map_err(list("list"))? {
        let path = file.map_err(list("list"))?.path();
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u32>().ok());
        match (path.extension().and_then(|e| e.to_str()), number) {
            (Some("hj"), Some(number)) => numbers.push(number),
            (Some(UNFINISHED), Some(_)) => {
                fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            }
            _ => tracing::warn!(file = %path.display(), "not a file of the journal; left alone"),
        }
    }
    numbers.sort_unstable();
    let mut found: Vec<FoundSegment> = Vec::with_capacity(numbers.len());
    for (number, expected) in numbers.into_iter().zip(1..) {
        if number != expected {
            return Err(StoreError::SegmentMissing { path: path_of(dir, expected) });
        }
        let segment = look_at(path_of(dir, number), number, home)?;
        if let (Some(_), Some(before)) = (segment.header, found.last())
            && before.header.is_none()
        {
            return Err(StoreError::damaged(&before.path, 0, "the segment's header was erased"));
        }
        found.push(segment);
    }
    Ok(found)
}

fn look_at(path: PathBuf, number: u32, home: HomeId) -> Result<FoundSegment, StoreError> {
    let file = File::open(&path).map_err(StoreError::io("open", &path))?;
    let len = file.metadata().map_err(StoreError::io("look at", &path))?.len();
    // A first record would begin right behind the header.
    let mut bytes =
        vec![0; (HEADER_BYTES as usize + 64).min(usize::try_from(len).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut bytes, 0).map_err(StoreError::io("read", &path))?;
    if bytes.len() < HEADER_BYTES as usize {
        return Err(StoreError::damaged(&path, len, "the file ends within its header"));
    }
    let (head, records) = bytes.split_at(HEADER_BYTES as usize);
    let header = SegmentHeader::decode(&path, &head[..USED], home)?;
    let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if !zeros(&head[USED..]) {
        let at = USED + head[USED..].iter().position(|byte| *byte != 0).unwrap_or(0);
        return Err(StoreError::damaged(&path, at as u64, "bytes where the header has none"));
    }
    match header {
        None if !zeros(records) => {
            Err(StoreError::damaged(&path, 0, "the segment's header was erased"))
        }
        Some(header) if header.number != number => {
            let what = format!("this is segment {}, under another's name", header.number);
            Err(StoreError::damaged(&path, 16, what))
        }
        None | Some(_) => Ok(FoundSegment { number, path, len, header }),
    }
}

/// The segments in use, for reading entries.
pub(crate) struct Segments {
    dir: PathBuf,
    /// Salt of segment `i + 1`.
    salts: RwLock<Vec<u64>>,
    files: Mutex<LruCache<u32, Arc<File>>>,
}

impl Segments {
    /// `open_files`: how many are kept open for reading.
    pub(crate) fn new(dir: PathBuf, open_files: usize) -> Self {
        let files = Mutex::new(LruCache::new(open_files.max(1)));
        Self { dir, salts: RwLock::default(), files }
    }

    /// The next segment is in use. They come in the order of their numbers.
    pub(crate) fn add(&self, salt: u64) {
        self.salts.write().push(salt);
    }

    pub(crate) fn count(&self) -> u64 {
        self.salts.read().len() as u64
    }

    pub(crate) fn path(&self, number: u32) -> PathBuf {
        path_of(&self.dir, number)
    }

    /// Reads bytes of a segment, and tells its salt.
    pub(crate) fn read(
        &self,
        number: u32,
        offset: u32,
        len: u32,
    ) -> Result<(Bytes, u64), StoreError> {
        let salt = number.checked_sub(1).and_then(|i| self.salts.read().get(i as usize).copied());
        let Some(salt) = salt else {
            return Err(StoreError::SegmentMissing { path: self.path(number) });
        };
        let mut bytes = vec![0; len as usize];
        self.file(number)?
            .read_exact_at(&mut bytes, u64::from(offset))
            .map_err(StoreError::io("read", &self.path(number)))?;
        Ok((bytes.into(), salt))
    }

    fn file(&self, number: u32) -> Result<Arc<File>, StoreError> {
        if let Some(file) = self.files.lock().get(&number) {
            return Ok(file.clone());
        }
        let path = self.path(number);
        let file = Arc::new(File::open(&path).map_err(StoreError::io("open", &path))?);
        self.files.lock().insert(number, file.clone());
        Ok(file)
    }
}
