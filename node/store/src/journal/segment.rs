//! Files of the journal: their headers.
//!
//! ```text
//! 0   magic         "HOMINGJL"
//! 8   format        u32    all numbers little-endian
//! 12  kind          u8     0: records in the order of their commits; 1: rewritten, what still lives of others
//! 16  number        u32    the one in the file's name; of kind 1 with the highest bit set
//! 24  salt          u64    random; part of every checksum in the file
//! 32  first_batch   u64    kind 0: the number of the first record's batch; 1: the first that it stands for
//! 40  home          32     whose journal
//! 72  crc           u32    CRC-32 of bytes 0..72
//! ```
//! and in kind 1 alone
//! ```text
//! 80  last_batch    u64    the last that it stands for
//! 88  change        u64    as that batch has it
//! 96  stamp         u64    likewise
//! 104 as_of         u64    the last batch that was known when what lives was told from what does not
//! 112 end           u64    where its records end and the list of its channels begins
//! 120 len           u64    bytes of the file
//! 128 first_number  u32    the first segment of kind 0 that it stands for
//! 132 last_number   u32    the last
//! 136 records       u32    how many
//! 140 entries       u32    how many of them are in these
//! 144 crc           u32    CRC-32 of bytes 0..144
//! ```
//! The header has 4,096 bytes to itself, so that no disk's sector holds header and records. Of kind 0 it is written
//! and flushed when the segment is taken into use; until then the file is all zeros. A segment of kind 1 gets its name
//! when all of it is durable. Later formats keep magic, format and CRC where they are.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use homing_wire::HomeId;

use crate::entry::{u32_at, u64_at};
use crate::{FORMAT, OLDEST_FORMAT, StoreError};

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: u64 = 4_096;
/// Bytes of the header that say something.
const USED: usize = 76;
/// The same of a rewritten segment.
const USED_REWRITTEN: usize = 148;
const MAGIC: &[u8; 8] = b"HOMINGJL";
/// Records in the order of their commits.
const KIND_RECORDS: u8 = 0;
/// What still lives of other segments.
const KIND_REWRITTEN: u8 = 1;
/// Set in the number of a rewritten segment, so that a number names a file.
pub(crate) const REWRITTEN: u32 = 1 << 31;

/// What a segment's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) salt: u64,
    pub(crate) first_batch: u64,
    pub(crate) home: HomeId,
    /// In kind 1 alone.
    pub(crate) rewritten: Option<Rewritten>,
}

/// What the header of a rewritten segment says besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rewritten {
    pub(crate) last_batch: u64,
    pub(crate) change: u64,
    pub(crate) stamp: u64,
    pub(crate) as_of: u64,
    pub(crate) end: u64,
    pub(crate) len: u64,
    pub(crate) first_number: u32,
    pub(crate) last_number: u32,
    pub(crate) records: u32,
    pub(crate) entries: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; USED];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12] = if self.rewritten.is_some() { KIND_REWRITTEN } else { KIND_RECORDS };
        bytes[16..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_batch.to_le_bytes());
        bytes[40..72].copy_from_slice(&self.home.0);
        let crc = crc32fast::hash(&bytes[..72]);
        bytes[72..].copy_from_slice(&crc.to_le_bytes());
        if let Some(more) = &self.rewritten {
            more.encode_into(&mut bytes);
        }
        bytes
    }

    /// `None`: all zeros, a segment that was not taken into use. `bytes`: the whole of the header's place.
    fn decode(path: &Path, bytes: &[u8], home: HomeId) -> Result<Option<Self>, StoreError> {
        let damaged = |at: usize, what: &str| StoreError::damaged(path, at as u64, what);
        if is_zero(&bytes[..USED]) {
            return match bytes.iter().position(|byte| *byte != 0) {
                Some(at) => Err(damaged(at, "bytes where the header has none")),
                None => Ok(None),
            };
        }
        if u32_at(bytes, 72) != crc32fast::hash(&bytes[..72]) || &bytes[..8] != MAGIC {
            return Err(damaged(0, "the segment's header is not what was written"));
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT || bytes[12] > KIND_REWRITTEN {
            let path = path.to_owned();
            return Err(StoreError::NewerFormat { path, found: format, known: FORMAT });
        }
        if format < OLDEST_FORMAT {
            return Err(StoreError::OlderFormat { path: path.to_owned(), found: format });
        }
        let mut found = [0; 32];
        found.copy_from_slice(&bytes[40..72]);
        if found != home.0 {
            let (path, found) = (path.to_owned(), HomeId(found));
            return Err(StoreError::WrongHome { path, found, expected: home });
        }
        let (used, rewritten) = if bytes[12] == KIND_REWRITTEN {
            if u32_at(bytes, 144) != crc32fast::hash(&bytes[..144]) {
                return Err(damaged(76, "the segment's header is not what was written"));
            }
            (USED_REWRITTEN, Some(Rewritten::decode(bytes)))
        } else {
            (USED, None)
        };
        if let Some(at) = bytes[used..].iter().position(|byte| *byte != 0) {
            return Err(damaged(used + at, "bytes where the header has none"));
        }
        Ok(Some(Self {
            number: u32_at(bytes, 16),
            salt: u64_at(bytes, 24),
            first_batch: u64_at(bytes, 32),
            home,
            rewritten,
        }))
    }
}

impl Rewritten {
    fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&[0; 4]);
        let Self { last_batch, change, stamp, as_of, end, len, .. } = self;
        for number in [last_batch, change, stamp, as_of, end, len] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.first_number, self.last_number, self.records, self.entries] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            last_batch: u64_at(bytes, 80),
            change: u64_at(bytes, 88),
            stamp: u64_at(bytes, 96),
            as_of: u64_at(bytes, 104),
            end: u64_at(bytes, 112),
            len: u64_at(bytes, 120),
            first_number: u32_at(bytes, 128),
            last_number: u32_at(bytes, 132),
            records: u32_at(bytes, 136),
            entries: u32_at(bytes, 140),
        }
    }
}

/// Suffix of a segment that is still being made.
pub(crate) const UNFINISHED: &str = "tmp";

pub(crate) fn path_of(dir: &Path, number: u32) -> PathBuf {
    if number & REWRITTEN == 0 {
        dir.join(format!("{number:08}.hj"))
    } else {
        dir.join(format!("r{:07}.hj", number & !REWRITTEN))
    }
}

/// The number that a file's name says, without its extension.
pub(crate) fn number_of(stem: &str) -> Option<u32> {
    match stem.strip_prefix('r') {
        None => stem.parse::<u32>().ok().filter(|number| number & REWRITTEN == 0),
        Some(rest) => {
            rest.parse::<u32>().ok().filter(|k| k & REWRITTEN == 0).map(|k| k | REWRITTEN)
        }
    }
}

/// A segment that holds something.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    pub(crate) header: SegmentHeader,
}

impl Segment {
    pub(crate) fn number(&self) -> u32 {
        self.header.number
    }

    /// The numbers of the segments of kind 0 that it is or stands for.
    pub(crate) fn numbers(&self) -> (u32, u32) {
        let number = self.header.number;
        self.header.rewritten.map_or((number, number), |more| (more.first_number, more.last_number))
    }
}

/// Reads a segment's header; `None`: made ahead, not yet in use.
pub(crate) fn look_at(
    path: PathBuf,
    number: u32,
    home: HomeId,
) -> Result<(u64, Option<Segment>), StoreError> {
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
    let Some(header) = SegmentHeader::decode(&path, head, home)? else {
        if !is_zero(records) || number & REWRITTEN != 0 {
            return Err(StoreError::damaged(&path, 0, "the segment's header was erased"));
        }
        return Ok((len, None));
    };
    if header.number != number || header.rewritten.is_some() != (number & REWRITTEN != 0) {
        let name = path_of(Path::new(""), header.number);
        let what = format!("this is {}, under another's name", name.display());
        return Err(StoreError::damaged(&path, 16, what));
    }
    if let Some(more) = header.rewritten
        && more.len != len
    {
        let what = format!("it has {len} bytes where {} were written", more.len);
        return Err(StoreError::damaged(&path, len.min(more.len), what));
    }
    Ok((len, Some(Segment { path, len, header })))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
