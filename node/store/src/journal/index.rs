//! sled behind the journal: one tree, written at checkpoints only.
//!
//! `sled::Db::flush` is not durable on Linux (it calls `sync_file_range`), so every flush is followed by
//! an `fdatasync` of our own on the `db` file. Values of sled's leaves together must stay well below its
//! 64 KiB, or it puts them into blob files that it never syncs: long values are split.
//!
//! A value is `crc | 0 | value`, or `crc | 1 | size u32` with the value in parts under keys of their own.
//! The CRC-32 covers key and value. Parts left over from a longer value are never read.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::StoreError;
use crate::entry::u32_at;
use crate::journal::chunk::Chunk;
use crate::journal::files::{create_dir, sync_dir};
use crate::journal::position::Position;
use crate::keys::{Key, kind};
use crate::values;
use crate::view::Pair;
use homing_wire::ChannelId;

/// A leaf of sled holds up to 17 values or so, and is written as one: 17 × 3 KiB stay below 64 KiB.
const PART_BYTES: usize = 3 * 1_024;
/// Puts in one batch: more hold up sled's readers for long.
pub(crate) const BATCH_PUTS: usize = 32;
/// sled's page cleaner runs with its flusher; seldom, and its memory grows.
const FLUSHER_MS: u64 = 100;

/// sled lets go of its file within milliseconds of being dropped.
const LET_GO: Duration = Duration::from_secs(5);

const WHOLE: u8 = 0;
const PARTS: u8 = 1;

/// The index.
pub(crate) struct Index {
    db: sled::Db,
    dir: PathBuf,
    /// Ours, to sync what sled has written.
    file: File,
}

/// Puts and deletions on their way; the order of keys matters for speed only.
pub(crate) struct Writer<'a> {
    index: &'a Index,
    batch: sled::Batch,
    puts: usize,
}

impl Index {
    /// Makes an empty index, durable.
    pub(crate) fn create(dir: &Path, start: &Position) -> Result<(), StoreError> {
        create_dir(dir)?;
        let index = Self::open(dir)?;
        index.put_position(start)?;
        index.flush()?;
        // sled never syncs `conf`, nor its directory.
        for name in ["conf", "db"] {
            let path = dir.join(name);
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(StoreError::io("flush", &path))?;
        }
        sync_dir(dir)
    }

    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(dir)
            .mode(sled::Mode::HighThroughput)
            .flush_every_ms(Some(FLUSHER_MS))
            .use_compression(false);
        let deadline = Instant::now() + LET_GO;
        let db = loop {
            match config.open() {
                Ok(db) => break db,
                // The store's own lock is held, so this is an earlier life in this very process, whose
                // last threads have not let go of the file yet.
                Err(sled::Error::Io(error))
                    if error.to_string().contains("acquire lock") && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(fault(dir, &error)),
            }
        };
        let path = dir.join("db");
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        Ok(Self { db, dir: dir.to_owned(), file })
    }

    pub(crate) fn position(&self) -> Result<Position, StoreError> {
        let bytes = self.value(&Key::position())?;
        let bytes = bytes.ok_or_else(|| self.damaged("its position in the journal is missing"))?;
        values::decode(&bytes).map_err(|error| self.damaged(format!("its position: {error}")))
    }

    /// Notes how far the index has got. Everything up to there must be flushed already.
    pub(crate) fn put_position(&self, position: &Position) -> Result<(), StoreError> {
        let mut writer = self.writer();
        writer.put(&Key::position(), &values::encode(position))?;
        writer.finish()
    }

    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer { index: self, batch: sled::Batch::default(), puts: 0 }
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| fault(&self.dir, &error))?;
        self.file.sync_data().map_err(StoreError::io("flush", &self.dir.join("db")))
    }

    pub(crate) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let stored = self.db.get(key).map_err(|error| fault(&self.dir, &error))?;
        stored.map(|stored| self.unpack(key, &stored)).transpose()
    }

    /// Keys from `from` up to `to`, not included, ascending.
    pub(crate) fn range(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + '_ {
        self.db.range(from..to).map(|pair| {
            let (key, stored) = pair.map_err(|error| fault(&self.dir, &error))?;
            let value = self.unpack(&key, &stored)?;
            Ok((key.to_vec(), value))
        })
    }

    pub(crate) fn chunk(
        &self,
        channel: ChannelId,
        number: u64,
    ) -> Result<Option<Chunk>, StoreError> {
        let Some(bytes) = self.value(&Key::chunk(channel, number))? else { return Ok(None) };
        let chunk: Chunk = values::decode(&bytes)
            .map_err(|error| self.damaged(format!("chunk {number} of {channel}: {error}")))?;
        Ok(Some(chunk))
    }

    /// The number of the last chunk at or below `number`.
    pub(crate) fn chunk_at_or_below(
        &self,
        channel: ChannelId,
        number: u64,
    ) -> Result<Option<u64>, StoreError> {
        let (from, to) = (Key::chunk(channel, 0), Key::chunk(channel, number));
        self.chunk_number(self.db.range(from.to_vec()..=to.to_vec()).next_back())
    }

    /// The number of the first chunk at or above `number`.
    pub(crate) fn chunk_at_or_above(
        &self,
        channel: ChannelId,
        number: u64,
    ) -> Result<Option<u64>, StoreError> {
        let (from, to) = (Key::chunk(channel, number), Key::chunk(channel, u64::MAX));
        self.chunk_number(self.db.range(from.to_vec()..=to.to_vec()).next())
    }

    fn chunk_number(
        &self,
        found: Option<sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> Result<Option<u64>, StoreError> {
        let Some(pair) = found else { return Ok(None) };
        let (key, _) = pair.map_err(|error| fault(&self.dir, &error))?;
        let number =
            key.last_chunk::<8>().ok_or_else(|| self.damaged("a chunk's key is too short"))?;
        Ok(Some(u64::from_be_bytes(*number)))
    }

    /// Checks a stored value and joins its parts.
    fn unpack(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        let broken =
            || self.damaged(format!("the value of key {} is not what was written", hex(key)));
        let (crc, rest) = stored.split_first_chunk::<4>().ok_or_else(broken)?;
        let (form, rest) = rest.split_first().ok_or_else(broken)?;
        let value = match *form {
            WHOLE => rest.to_vec(),
            PARTS if rest.len() == 4 => {
                let size = u32_at(rest, 0) as usize;
                let mut value = Vec::with_capacity(size);
                for part in 0..size.div_ceil(PART_BYTES) {
                    let bytes = self.db.get(part_key(key, part));
                    let bytes = bytes.map_err(|error| fault(&self.dir, &error))?;
                    value.extend_from_slice(&bytes.ok_or_else(broken)?);
                }
                value
            }
            _ => return Err(broken()),
        };
        if u32::from_le_bytes(*crc) == checksum(key, &value) { Ok(value) } else { Err(broken()) }
    }

    pub(crate) fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Index { path: self.dir.clone(), what: what.into() }
    }
}

impl Writer<'_> {
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut stored = Vec::with_capacity(5 + value.len().min(PART_BYTES));
        stored.extend_from_slice(&checksum(key, value).to_le_bytes());
        if value.len() <= PART_BYTES {
            stored.push(WHOLE);
            stored.extend_from_slice(value);
            return self.add(1, |batch| batch.insert(key, stored));
        }
        stored.push(PARTS);
        stored.extend_from_slice(&(value.len() as u32).to_le_bytes());
        let parts = value.len().div_ceil(PART_BYTES);
        // All of a value in one batch: sled applies it whole.
        self.add(parts + 1, |batch| {
            for (number, part) in value.chunks(PART_BYTES).enumerate() {
                batch.insert(part_key(key, number), part);
            }
            batch.insert(key, stored);
        })
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.add(1, |batch| batch.remove(key))
    }

    fn add(
        &mut self,
        puts: usize,
        change: impl FnOnce(&mut sled::Batch),
    ) -> Result<(), StoreError> {
        if self.puts > 0 && self.puts + puts > BATCH_PUTS {
            self.apply()?;
        }
        change(&mut self.batch);
        self.puts += puts;
        Ok(())
    }

    fn apply(&mut self) -> Result<(), StoreError> {
        self.puts = 0;
        let batch = std::mem::take(&mut self.batch);
        self.index.db.apply_batch(batch).map_err(|error| fault(&self.index.dir, &error))
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        self.apply()
    }
}

fn part_key(key: &[u8], number: usize) -> Vec<u8> {
    let mut part = Vec::with_capacity(key.len() + 3);
    part.push(kind::PART);
    part.extend_from_slice(key);
    part.extend_from_slice(&(number as u16).to_be_bytes());
    part
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    crc.finalize()
}

fn hex(key: &[u8]) -> String {
    use std::fmt::Write as _;
    key.iter().fold(String::new(), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn fault(dir: &Path, error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => {
            let error = std::io::Error::new(error.kind(), error.to_string());
            StoreError::io("use the index in", dir)(error)
        }
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. } => {
            StoreError::Index { path: dir.to_owned(), what: error.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;
    use homing_wire::HomeId;

    fn index() -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        Index::create(&path, &Position::start(HomeId([1; 32]))).unwrap();
        let index = Index::open(&path).unwrap();
        (dir, index)
    }

    #[test]
    fn long_values_are_split_and_joined() {
        let (_dir, index) = index();
        let long: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        for len in [0, 1, PART_BYTES, PART_BYTES + 1, 10 * PART_BYTES, 100_000, 20] {
            let mut writer = index.writer();
            writer.put(b"a-key", &long[..len]).unwrap();
            writer.finish().unwrap();
            assert_eq!(index.value(b"a-key").unwrap().unwrap(), &long[..len], "{len}");
        }
        let all: Vec<_> = index.range(b"a", &keys::end_of(b"a")).collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), 1, "parts are in no list");
    }

    #[test]
    fn a_changed_or_misplaced_value_is_named() {
        let (_dir, index) = index();
        let mut writer = index.writer();
        writer.put(b"key", b"value").unwrap();
        writer.finish().unwrap();
        let stored = index.db.get(b"key").unwrap().unwrap();
        index.db.insert(b"kez", stored.clone()).unwrap();
        for at in 0..stored.len() {
            let mut broken = stored.to_vec();
            broken[at] ^= 4;
            index.db.insert(b"key", broken).unwrap();
            assert!(matches!(index.value(b"key"), Err(StoreError::Index { .. })), "{at}");
        }
        let error = index.value(b"kez").unwrap_err().to_string();
        assert!(error.contains("6b657a"), "{error}");
    }
}
