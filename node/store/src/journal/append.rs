//! The writing end of the journal.

use std::fmt;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use homing_wire::HomeId;

use crate::StoreError;
use crate::journal::catalog::{Known, Segments};
use crate::journal::fill::Filler;
use crate::journal::position::Position;
use crate::journal::record::Encoder;
use crate::journal::segment::{HEADER_BYTES, SegmentHeader};
use crate::stats::Clocked;

/// The end of the journal. Used by one thread at a time.
pub(crate) struct Journal {
    pub(crate) home: HomeId,
    /// The segment that is written; none in a new store.
    pub(crate) active: Option<Active>,
    /// The last record.
    pub(crate) position: Position,
    pub(crate) encoder: Encoder,
    /// A record must fit into a segment of this size.
    pub(crate) segment_bytes: u64,
    pub(crate) flush: Flush,
}

/// How the journal is flushed: `fdatasync`. Tests put a flush in its place that fails, or does nothing, and see
/// that the one is survived and the other found out by a power cut.
#[derive(Clone, Default)]
pub struct Flush(Option<Instead>);

type Instead = Arc<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

impl Flush {
    /// Another flush. What it lets pass is answered as if it were on the disk.
    pub fn instead(flush: impl Fn(&File) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(flush)))
    }

    pub(crate) fn run(&self, file: &File) -> io::Result<()> {
        match &self.0 {
            None => file.sync_data(),
            Some(instead) => instead(file),
        }
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_none() { "fdatasync" } else { "another" })
    }
}

/// An open segment.
pub(crate) struct Active {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) number: u32,
    pub(crate) salt: u64,
    pub(crate) len: u64,
    /// Where the next record goes.
    pub(crate) end: u64,
}

impl Journal {
    /// Whether what is in the encoder fits into a segment at all.
    pub(crate) fn check_size(&self) -> Result<(), StoreError> {
        let (size_bytes, limit_bytes) = (self.encoder.size(), self.segment_bytes - HEADER_BYTES);
        if size_bytes > limit_bytes {
            return Err(StoreError::TooLarge { size_bytes, limit_bytes });
        }
        Ok(())
    }

    /// Writes what is in the encoder as the next record and flushes it: one write, one flush. Tells
    /// where it is.
    pub(crate) fn append(
        &mut self,
        change: u64,
        stamp: u64,
        filler: &Filler,
        segments: &Segments,
        fsync: &Clocked,
    ) -> Result<Position, StoreError> {
        let (size, batch) = (self.encoder.size(), self.position.batch + 1);
        let mut active = match self.active.take() {
            Some(active) if active.end + size <= active.len => active,
            Some(_) | None => self.next_segment(batch, filler, segments)?,
        };
        let record = active.end;
        let bytes = self.encoder.finish(batch, active.salt);
        active.file.write_all_at(bytes, record).map_err(StoreError::io("write", &active.path))?;
        let started = Instant::now();
        self.flush.run(&active.file).map_err(StoreError::io("flush", &active.path))?;
        fsync.add(started.elapsed());
        active.end = record + size;
        let (home, segment, end) = (self.home, active.number, active.end);
        self.position = Position { home, batch, segment, record, end, change, stamp };
        self.active = Some(active);
        Ok(self.position)
    }

    /// Ends the segment that is written: an empty batch begins the next one. Tells where it is.
    pub(crate) fn seal(
        &mut self,
        filler: &Filler,
        segments: &Segments,
        fsync: &Clocked,
    ) -> Result<Position, StoreError> {
        let Position { change, stamp, .. } = self.position;
        self.encoder.begin(change, stamp);
        self.active = None;
        self.append(change, stamp, filler, segments, fsync)
    }

    /// Takes the next segment into use. Its header is durable before any record is written, so that a
    /// broken header never costs a record.
    fn next_segment(
        &mut self,
        first_batch: u64,
        filler: &Filler,
        segments: &Segments,
    ) -> Result<Active, StoreError> {
        let blank = filler.take()?;
        let (number, path) = (blank.number, blank.path);
        // Seeded by the operating system: nobody outside can guess it.
        let salt = RandomState::new().hash_one((number, first_batch));
        let header = SegmentHeader { number, salt, first_batch, home: self.home, rewritten: None };
        blank
            .file
            .write_all_at(&header.encode(), 0)
            .and_then(|()| blank.file.sync_data())
            .map_err(StoreError::io("begin", &path))?;
        segments.add(Known { header, len: blank.len, live: blank.len, examined: 0 });
        Ok(Active { file: blank.file, path, number, salt, len: blank.len, end: HEADER_BYTES })
    }
}
