//! Whether a closed store hangs together: every checksum of the journal, and every row of the index.

use std::path::Path;

use homing_wire::ChannelId;
use serde::Serialize;

use crate::StoreError;
use crate::entry;
use crate::journal::chunk::Chunk;
use crate::journal::files::Identity;
use crate::journal::index::Index;
use crate::journal::inspect::{look_at, pruned_in};
use crate::journal::rewrite::channels_of;
use crate::journal::scan::Scan;
use crate::journal::segment::Segment;
use crate::journal::survey::Survey;
use crate::keys::{self, Key, kind};
use crate::values;

/// What [`verify`] has found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verification {
    /// Segments that were read.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// Entries that the index finds, and that are whole.
    pub entries: u64,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// What was found, and where.
    pub what: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// So many problems are enough to know.
const PROBLEMS: usize = 100;

const RESTORE: &str = "restore a backup, or put back the file as it was; never edit it";
const REBUILD: &str =
    "move the folder `index` away: the next start makes it anew from the journal; check the disk";

/// Reads all of a store that nobody has open. `progress` is told the bytes read so far.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(u64)) -> Result<Verification, StoreError> {
    let (_lock, Identity { .. }, survey, index) = look_at(dir)?;
    let mut found = Verification::default();
    let mut bytes = 0;
    let open = index.position()?.segment;
    for (i, segment) in survey.used.iter().enumerate() {
        let next = survey.used.get(i + 1);
        if let Err(error) = read(segment, next, open, &mut found, bytes, progress) {
            found.note(&error, RESTORE);
        }
        found.segments += 1;
        bytes += segment.len;
        progress(bytes);
    }
    rows(&index, &survey, &mut found)?;
    Ok(found)
}

impl Verification {
    fn note(&mut self, what: &dyn std::fmt::Display, advice: &'static str) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(Problem { what: what.to_string(), advice });
        }
    }
}

fn read(
    segment: &Segment,
    next: Option<&Segment>,
    open: u32,
    found: &mut Verification,
    before: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    let header = &segment.header;
    let mut scan = Scan::open(segment.path.clone(), header, segment.len)?;
    let first = if header.rewritten.is_some() { 1 } else { header.first_batch };
    let mut expected = first;
    loop {
        let record = match scan.next() {
            Ok(record) => record,
            // What was not answered may be torn; the next start cuts it off.
            Err(_) if next.is_none() && segment.number() >= open => None,
            Err(error) => return Err(error),
        };
        let Some(record) = record else { break };
        if record.batch != expected {
            let what = format!("record {} stands where {expected} should", record.batch);
            return Err(scan.damaged(record.at, what));
        }
        for item in record.items(&scan)? {
            item?;
        }
        expected += 1;
        found.records += 1;
        progress(before + scan.at());
    }
    let end = match (header.rewritten, next) {
        (Some(rewritten), _) => {
            channels_of(&segment.path, header, rewritten.end, rewritten.len)?;
            Some(u64::from(rewritten.records) + 1)
        }
        (None, next) => next.map(|next| next.header.first_batch),
    };
    if end.is_some_and(|end| end != expected) {
        return Err(scan.damaged(scan.at(), "records are missing at its end"));
    }
    Ok(())
}

/// Every row of a chunk points to its entry.
fn rows(index: &Index, survey: &Survey, found: &mut Verification) -> Result<(), StoreError> {
    let dir = survey.used.first().and_then(|segment| segment.path.parent());
    let Some(dir) = dir else { return Ok(()) };
    let segments = crate::journal::catalog::Segments::new(dir.to_owned(), 16);
    for segment in survey.used.iter().chain(&survey.covered) {
        segments.add(crate::journal::catalog::Known::of(segment));
    }
    let all = Key::all(kind::CHUNK);
    for pair in index.range(&all, &keys::end_of(&all)) {
        let (key, value) = match pair {
            Ok(pair) => pair,
            Err(error) => {
                found.note(&error, REBUILD);
                continue;
            }
        };
        let channel = key.get(1..17).and_then(|id| ChannelId::from_slice(id).ok());
        let (Some(channel), Ok(chunk)) = (channel, values::decode::<Chunk>(&value)) else {
            found.note(&"a chunk of the index does not parse", REBUILD);
            continue;
        };
        let bottom = pruned_in(index, channel)?;
        for (pos, frame) in chunk.frames_from(bottom.next()) {
            let read = match segments.read(frame.segment, frame.offset, frame.len) {
                Ok(read) => read,
                Err(error) => {
                    found.note(&error, RESTORE);
                    continue;
                }
            };
            let whole = read.is_some_and(|(bytes, salt)| {
                entry::is_whole(&bytes, salt) && entry::place(&bytes) == Some((channel, pos))
            });
            if whole {
                found.entries += 1;
            } else {
                let path = segments.path(frame.segment);
                let (file, at) = (path.display(), frame.offset);
                let what = format!("{file} at byte {at}: entry {pos} of {channel} is not there");
                found.note(&what, REBUILD);
            }
        }
    }
    Ok(())
}
