//! Opening: what the journal holds beyond the index is applied again, and its end is put in order.
//!
//! A broken record with nothing whole behind it is a batch that was being written when the power went:
//! nobody was answered, it is cut off. A broken record with something behind it was answered once:
//! that is damage, which is named, and nothing is changed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::StoreError;
use crate::entry;
use crate::journal::append::Active;
use crate::journal::committed::{Committed, Place};
use crate::journal::memtable::Noted;
use crate::journal::position::Position;
use crate::journal::record::{self, Found, HEADER, Item};
use crate::journal::scan::Scan;
use crate::journal::segment::{HEADER_BYTES, Rewritten, Segment, SegmentHeader, path_of};

/// Replays the segments in use, from the index's position on. Tells the open end of the journal.
pub(crate) fn replay(
    committed: &Committed,
    dir: &Path,
    segments: &[Segment],
    checkpoint_bytes: u64,
) -> Result<Option<Active>, StoreError> {
    let start = committed.tables.read().position;
    let first = if start.segment == 0 {
        0
    } else {
        let at = segments.iter().position(|segment| segment.number() == start.segment);
        let Some(at) = at else {
            return Err(StoreError::SegmentMissing { path: path_of(dir, start.segment) });
        };
        // A rewritten segment is applied whole or not at all.
        at + usize::from(segments[at].header.rewritten.is_some())
    };
    let mut end = None;
    for (i, segment) in segments.iter().enumerate().skip(first) {
        if let Some(rewritten) = segment.header.rewritten {
            apply_rewritten(committed, segment, &rewritten, checkpoint_bytes)?;
            continue;
        }
        let next = segments.get(i + 1).map(|segment| &segment.header);
        let position = committed.tables.read().position;
        let from =
            if position.segment == segment.number() { position.record } else { HEADER_BYTES };
        let bytes = read(segment, from)?;
        let header = segment.header;
        let pass = Pass { committed, segment, header, from, bytes, checkpoint_bytes };
        let at = pass.check_start(&position)?;
        let (at, found) = pass.apply_records(at)?;
        match next {
            Some(next) => pass.check_sealed(at, &found, next)?,
            None => end = Some(pass.open_end(at, &found)?),
        }
    }
    Ok(end)
}

/// Applies all that a rewritten segment holds; only then the index may be said to go up to its end.
fn apply_rewritten(
    committed: &Committed,
    segment: &Segment,
    rewritten: &Rewritten,
    checkpoint_bytes: u64,
) -> Result<(), StoreError> {
    let before = committed.tables.read().position;
    let mut scan = Scan::open(segment.path.clone(), &segment.header, segment.len)?;
    if segment.header.first_batch != before.batch + 1 {
        let what = format!("batches from {} on are missing before it", before.batch + 1);
        return Err(scan.damaged(32, what));
    }
    let position = Position {
        home: segment.header.home,
        batch: rewritten.last_batch,
        segment: segment.number(),
        record: HEADER_BYTES,
        end: rewritten.end,
        change: rewritten.change,
        stamp: rewritten.stamp,
    };
    for number in 1..=u64::from(rewritten.records) {
        let record = scan.next()?.filter(|record| record.batch == number);
        let Some(record) = record else {
            return Err(scan.damaged(scan.at(), format!("record {number} is missing")));
        };
        let noted = noted_of(&record.payload, |what| scan.damaged(record.at, what))?;
        let place = Place { segment: segment.number(), payload_at: record.payload_at() };
        let last = number == u64::from(rewritten.records);
        let bases = committed.bases(&noted)?;
        committed.apply(&record.payload, &noted, bases, place, last.then_some(position))?;
        if committed.load.load(Ordering::Relaxed) >= checkpoint_bytes {
            committed.checkpoint()?;
        }
    }
    if scan.at() != rewritten.end {
        return Err(scan.damaged(scan.at(), "records end before the header says"));
    }
    committed.tables.write().position = position;
    Ok(())
}

/// What the index notes of a payload's entries. The record's checksum has covered them.
fn noted_of(
    bytes: &Bytes,
    damaged: impl Fn(String) -> StoreError,
) -> Result<Vec<Noted>, StoreError> {
    let payload = record::parse(bytes).map_err(|error| damaged(error.to_string()))?;
    let mut noted = Vec::new();
    for item in payload.items {
        match item.map_err(|error| damaged(error.to_string()))? {
            Item::Put { .. } | Item::Delete { .. } => {}
            Item::Entry { at, len } => {
                let entry = entry::decode(&bytes.slice(at..at + len), None)
                    .map_err(|error| damaged(error.to_string()))?;
                noted.push(Noted::of(&entry));
            }
        }
    }
    Ok(noted)
}

fn read(segment: &Segment, from: u64) -> Result<Bytes, StoreError> {
    let len = segment.len.saturating_sub(from);
    let file = File::open(&segment.path).map_err(StoreError::io("open", &segment.path))?;
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, from).map_err(StoreError::io("read", &segment.path))?;
    Ok(bytes.into())
}

/// One segment being replayed.
struct Pass<'a> {
    committed: &'a Committed,
    segment: &'a Segment,
    header: SegmentHeader,
    /// Where `bytes` begin in the file.
    from: u64,
    bytes: Bytes,
    checkpoint_bytes: u64,
}

impl Pass<'_> {
    fn damaged(&self, at: usize, what: impl Into<String>) -> StoreError {
        StoreError::damaged(&self.segment.path, self.from + at as u64, what)
    }

    /// The record that the index goes up to must be there: an index ahead of its journal would show
    /// what is lost. Tells where replaying begins.
    fn check_start(&self, position: &Position) -> Result<usize, StoreError> {
        if position.segment != self.segment.number() {
            return Ok(0);
        }
        match record::look(&self.bytes, 0, self.header.salt) {
            Found::Record { batch, next, .. }
                if batch == position.batch && self.from + next as u64 == position.end =>
            {
                Ok(next)
            }
            Found::Record { .. } | Found::Nothing | Found::BadPayload { .. } | Found::BadHeader => {
                let what =
                    format!("the index goes up to batch {}, which is not here", position.batch);
                Err(self.damaged(0, what))
            }
        }
    }

    /// Applies whole records; tells where the first that is none stands, and what it is.
    fn apply_records(&self, mut at: usize) -> Result<(usize, Found), StoreError> {
        loop {
            let expected = self.committed.tables.read().position.batch + 1;
            match record::look(&self.bytes, at, self.header.salt) {
                Found::Record { batch, payload, next } => {
                    if batch != expected {
                        let what = format!("batch {batch} stands where {expected} should");
                        return Err(self.damaged(at, what));
                    }
                    self.apply(batch, at, payload, next)?;
                    at = next;
                }
                Found::BadPayload { batch, .. } if batch != expected => {
                    let what = format!("a broken batch {batch} stands where {expected} should");
                    return Err(self.damaged(at, what));
                }
                found @ (Found::Nothing | Found::BadPayload { .. } | Found::BadHeader) => {
                    return Ok((at, found));
                }
            }
        }
    }

    fn apply(
        &self,
        batch: u64,
        at: usize,
        range: std::ops::Range<usize>,
        next: usize,
    ) -> Result<(), StoreError> {
        let malformed = |what: String| self.damaged(at, what);
        let bytes = self.bytes.slice(range);
        let payload = record::parse(&bytes).map_err(|error| malformed(error.to_string()))?;
        let (change, stamp) = (payload.change, payload.stamp);
        let noted = noted_of(&bytes, malformed)?;
        let position = Position {
            home: self.header.home,
            batch,
            segment: self.segment.number(),
            record: self.from + at as u64,
            end: self.from + next as u64,
            change,
            stamp,
        };
        let bases = self.committed.bases(&noted)?;
        let place = Place::of(&position);
        self.committed.apply(&bytes, &noted, bases, place, Some(position))?;
        if self.committed.load.load(Ordering::Relaxed) >= self.checkpoint_bytes {
            self.committed.checkpoint()?;
        }
        Ok(())
    }

    /// A segment with a successor ends in zeros, and the successor goes on where it ended.
    fn check_sealed(
        &self,
        at: usize,
        found: &Found,
        next: &SegmentHeader,
    ) -> Result<(), StoreError> {
        let expected = self.committed.tables.read().position.batch + 1;
        if *found != Found::Nothing
            || record::last_written(&self.bytes[at.min(self.bytes.len())..]).is_some()
        {
            let what = format!(
                "a record is broken, and another segment follows, with batch {}",
                next.first_batch
            );
            return Err(self.damaged(at, what));
        }
        if next.first_batch != expected {
            let what =
                format!("batches {expected} to {} are missing", next.first_batch.saturating_sub(1));
            return Err(self.damaged(at, what));
        }
        Ok(())
    }

    /// The last segment, ready to be written on. Cuts a torn record off.
    fn open_end(&self, at: usize, found: &Found) -> Result<Active, StoreError> {
        let salt = self.header.salt;
        let behind = match found {
            Found::BadPayload { next, .. } => {
                let behind = self.bytes.get(*next..).unwrap_or_default();
                if record::last_written(behind).is_some() {
                    return Err(
                        self.damaged(at, "a record is broken, and more was written behind it")
                    );
                }
                at + HEADER
            }
            Found::Nothing | Found::BadHeader | Found::Record { .. } => at + 1,
        };
        if let Some(later) = record::find_header(&self.bytes, behind, salt) {
            let later = self.from + later as u64;
            let what = format!("a record is broken, and a later one stands at byte {later}");
            return Err(self.damaged(at, what));
        }
        let path = &self.segment.path;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(StoreError::io("open", path))?;
        let end = self.from + at as u64;
        if let Some(last) = record::last_written(&self.bytes[at.min(self.bytes.len())..]) {
            let batch = self.committed.tables.read().position.batch + 1;
            tracing::warn!(file = %path.display(), offset = end, batch, bytes = last + 1, "cut off a batch that was only half written; it was never answered");
            // Zeros, and durable, before anything new is written over it.
            file.write_all_at(&vec![0; last + 1], end)
                .and_then(|()| file.sync_data())
                .map_err(StoreError::io("cut", path))?;
        }
        let (path, len) = (path.clone(), self.segment.len);
        Ok(Active { file, path, number: self.segment.number(), salt, len, end })
    }
}
