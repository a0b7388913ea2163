//! sled behind the journal: one tree, written at checkpoints only.
//!
//! - `sled::Db::flush` is not durable on Linux (it calls `sync_file_range`), so every flush is followed by
//!   an `fdatasync` of our own on the `db` file.
//! - No `apply_batch`: it writes sled's buffer out twice, however small the batch, and shuts readers out
//!   for the whole process. A checkpoint needs no batches: what is there in part after a crash is written
//!   again by the replay, since the position in the journal comes last.
//! - The values of one of sled's leaves must stay well below 64 KiB together, or it puts them into files
//!   of their own that it never syncs: long values are split.
//!
//! A value is `crc u32 | 0 | value`, or `crc u32 | 1 | size u32` with the value in parts under keys of their
//! own, which contain the CRC: a changed value has other parts, and shows when its head is replaced. The
//! CRC-32 covers key and value.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
/// sled's page cleaner runs with its flusher; seldom, and its memory grows.
const FLUSHER_MS: u64 = 100;

/// An index that is being made holds one value.
const CREATE_CACHE_BYTES: u64 = 1 << 20;

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
    /// Damage that is met is noted on the disk.
    notes: bool,
}

impl Index {
    /// Makes an empty index, durable.
    pub(crate) fn create(dir: &Path, start: &Position) -> Result<(), StoreError> {
        create_dir(dir)?;
        let index = Self::open(dir, CREATE_CACHE_BYTES)?;
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

    /// `cache_bytes`: what sled keeps of its leaves, as it counts them: by their size on disk, of which memory
    /// holds about one and a half times as much.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
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
        Ok(Self { db, dir: dir.to_owned(), file, notes: true })
    }

    /// Damage that is met is told, and nothing else.
    pub(crate) fn for_looking(self) -> Self {
        Self { notes: false, ..self }
    }

    pub(crate) fn position(&self) -> Result<Position, StoreError> {
        let bytes = self.value(&Key::position())?;
        let bytes = bytes.ok_or_else(|| self.damaged("its position in the journal is missing"))?;
        values::decode(&bytes).map_err(|error| self.damaged(format!("its position: {error}")))
    }

    /// Notes how far the index has got. Everything up to there must be flushed already.
    pub(crate) fn put_position(&self, position: &Position) -> Result<(), StoreError> {
        self.put(&Key::position(), &values::encode(position))
    }

    /// Puts a value. Not durable, and in order with other changes, only after [`Self::flush`].
    pub(crate) fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let crc = checksum(key, value).to_le_bytes();
        let mut stored = Vec::with_capacity(5 + value.len().min(PART_BYTES));
        stored.extend_from_slice(&crc);
        if value.len() <= PART_BYTES {
            stored.push(WHOLE);
            stored.extend_from_slice(value);
        } else {
            for (number, part) in value.chunks(PART_BYTES).enumerate() {
                self.sled(self.db.insert(part_key(key, crc, number), part))?;
            }
            stored.push(PARTS);
            stored.extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
        match self.sled(self.db.insert(key, stored))? {
            // The same value: its parts have just been written again.
            Some(old) if old.starts_with(&crc) && value.len() > PART_BYTES => Ok(()),
            Some(old) => self.remove_parts(key, &old),
            None => Ok(()),
        }
    }

    pub(crate) fn delete(&self, key: &[u8]) -> Result<(), StoreError> {
        match self.sled(self.db.remove(key))? {
            Some(old) => self.remove_parts(key, &old),
            None => Ok(()),
        }
    }

    fn remove_parts(&self, key: &[u8], head: &[u8]) -> Result<(), StoreError> {
        if let Some((crc, [PARTS, size @ ..])) = head.split_first_chunk::<4>()
            && size.len() == 4
        {
            for number in 0..(u32_at(size, 0) as usize).div_ceil(PART_BYTES) {
                self.sled(self.db.remove(part_key(key, *crc, number)))?;
            }
        }
        Ok(())
    }

    fn sled<T>(&self, done: sled::Result<T>) -> Result<T, StoreError> {
        done.map_err(|error| self.noted(fault(&self.dir, &error)))
    }

    /// Reads from sled, which panics on some damage.
    fn read<T>(&self, read: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(done) => self.sled(done),
            Err(_) => Err(self.noted(self.damaged("sled cannot read it"))),
        }
    }

    /// Damage is noted on the disk, so that the next opening makes the index anew from the journal.
    fn noted(&self, error: StoreError) -> StoreError {
        if self.notes
            && matches!(error, StoreError::Index { .. })
            && let Err(why) = std::fs::write(damage_mark(&self.dir), error.to_string())
        {
            tracing::error!(%why, "cannot note that the index is damaged: remove {}", self.dir.display());
        }
        error
    }

    /// Opens the index, or makes it anew where it is damaged or missing, or does not fit the journal: it holds nothing
    /// that the journal does not. What was damaged is set aside.
    pub(crate) fn open_or_rebuild(
        dir: &Path,
        start: &Position,
        cache_bytes: u64,
        fits: impl Fn(&Position) -> Result<(), &'static str>,
    ) -> Result<Self, StoreError> {
        let mark = damage_mark(dir);
        let what = match std::fs::read_to_string(&mark) {
            Ok(noted) => noted,
            Err(_) => match Self::open_sound(dir, cache_bytes, fits) {
                Ok(index) => return Ok(index),
                Err(error @ StoreError::Index { .. }) => error.to_string(),
                Err(error) => return Err(error),
            },
        };
        let aside = (0..)
            .map(|n| dir.with_file_name(format!("index.damaged-{n}")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| dir.with_file_name("index.damaged"));
        tracing::error!(
            damage = %what, set_aside = %aside.display(),
            "the index is damaged: it is made anew from the journal, which holds everything; check the disk"
        );
        match std::fs::rename(dir, &aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("set aside", dir)(error));
            }
            Ok(()) | Err(_) => {}
        }
        Self::create(dir, start)?;
        match std::fs::remove_file(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &mark)(error));
            }
            Ok(()) | Err(_) => {}
        }
        Self::open(dir, cache_bytes)
    }

    fn open_sound(
        dir: &Path,
        cache_bytes: u64,
        fits: impl Fn(&Position) -> Result<(), &'static str>,
    ) -> Result<Self, StoreError> {
        let broken =
            || StoreError::Index { path: dir.to_owned(), what: "sled cannot open it".into() };
        let index = catch_unwind(|| Self::open(dir, cache_bytes)).map_err(|_| broken())??;
        fits(&index.position()?).map_err(|what| index.damaged(what))?;
        Ok(index)
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.sled(self.db.flush())?;
        self.file.sync_data().map_err(StoreError::io("flush", &self.dir.join("db")))
    }

    pub(crate) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut stored = self.read(|| self.db.get(key))?;
        loop {
            let Some(head) = stored else { return Ok(None) };
            let broken = match self.unpack(key, &head) {
                Ok(value) => return Ok(Some(value)),
                Err(broken) => broken,
            };
            // A value in parts may have been replaced while it was read.
            stored = self.read(|| self.db.get(key))?;
            if stored.as_ref() == Some(&head) {
                return Err(self.noted(broken));
            }
        }
    }

    /// Keys from `from` up to `to`, not included, ascending.
    pub(crate) fn range(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + '_ {
        let mut pairs = self.db.range(from..to);
        let next = move || self.read(|| pairs.next().transpose()).transpose();
        std::iter::from_fn(next).filter_map(|pair| {
            let read = || {
                let (key, stored) = pair?;
                let value = match self.unpack(&key, &stored) {
                    Ok(value) => Some(value),
                    Err(_) => self.value(&key)?,
                };
                Ok(value.map(|value| (key.to_vec(), value)))
            };
            read().transpose()
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
        let last = || self.db.range(from.to_vec()..=to.to_vec()).next_back().transpose();
        self.chunk_number(self.read(last)?)
    }

    /// The number of the first chunk at or above `number`.
    pub(crate) fn chunk_at_or_above(
        &self,
        channel: ChannelId,
        number: u64,
    ) -> Result<Option<u64>, StoreError> {
        let (from, to) = (Key::chunk(channel, number), Key::chunk(channel, u64::MAX));
        let first = || self.db.range(from.to_vec()..=to.to_vec()).next().transpose();
        self.chunk_number(self.read(first)?)
    }

    fn chunk_number(
        &self,
        found: Option<(sled::IVec, sled::IVec)>,
    ) -> Result<Option<u64>, StoreError> {
        let Some((key, _)) = found else { return Ok(None) };
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
                    let bytes = self.read(|| self.db.get(part_key(key, *crc, part)))?;
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

/// Beside the index, where it is damaged: what was found.
fn damage_mark(dir: &Path) -> PathBuf {
    dir.with_file_name("index.damage")
}

fn part_key(key: &[u8], crc: [u8; 4], number: usize) -> Vec<u8> {
    let mut part = Vec::with_capacity(key.len() + 7);
    part.push(kind::PART);
    part.extend_from_slice(key);
    part.extend_from_slice(&crc);
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
        let index = Index::open(&path, CREATE_CACHE_BYTES).unwrap();
        (dir, index)
    }

    #[test]
    fn long_values_are_split_and_joined() {
        let (_dir, index) = index();
        let long: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        for len in [0, 1, PART_BYTES, PART_BYTES + 1, 10 * PART_BYTES, 100_000, 20] {
            index.put(b"a-key", &long[..len]).unwrap();
            assert_eq!(index.value(b"a-key").unwrap().unwrap(), &long[..len], "{len}");
        }
        let all: Vec<_> = index.range(b"a", &keys::end_of(b"a")).collect::<Result<_, _>>().unwrap();
        assert_eq!(all.len(), 1, "parts are in no list");
        index.put(b"a-key", &long).unwrap();
        index.put(b"a-key", &long).unwrap();
        assert_eq!(index.value(b"a-key").unwrap().unwrap(), long);
        index.delete(b"a-key").unwrap();
        assert_eq!(index.value(b"a-key").unwrap(), None);
        assert_eq!(index.db.len(), 1, "the position alone: no parts are left over");
    }

    #[test]
    fn a_changed_or_misplaced_value_is_named() {
        let (_dir, index) = index();
        index.put(b"key", b"value").unwrap();
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
