//! Rows of the index that point to segments which are no more are made to point to the one that stands for them.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use homing_wire::{ChannelId, Pos};

use super::choose::Run;
use super::judge::Judged;
use super::pruned;
use crate::StoreError;
use crate::entry;
use crate::journal::catalog::Known;
use crate::journal::chunk::{Chunk, Frame, number_of};
use crate::journal::committed::Committed;
use crate::journal::files::sync_dir;
use crate::journal::position::Position;
use crate::journal::record::Item;
use crate::journal::scan::Scan;
use crate::journal::segment::Segment;
use crate::journal::survey::Survey;
use crate::keys::Key;
use crate::values;

/// Chunks whose rows move at once: a checkpoint waits no longer for them than for a few milliseconds.
const CHUNKS_AT_ONCE: usize = 64;

impl Committed {
    /// All of what a rewritten segment holds is read from there, durably, when this returns.
    pub(super) fn move_rows(
        &self,
        judged: &Judged,
        run: &Run,
        number: u32,
    ) -> Result<(), StoreError> {
        let of_one_chunk = |a: &super::Moved, b: &super::Moved| {
            (a.channel, number_of(a.pos)) == (b.channel, number_of(b.pos))
        };
        let chunks: Vec<&[super::Moved]> = judged.moved.chunk_by(of_one_chunk).collect();
        for some in chunks.chunks(CHUNKS_AT_ONCE) {
            self.move_some(some, number)?;
        }
        let sources: HashSet<u32> = run.sources.iter().map(Known::number).collect();
        let left: Vec<_> = judged.left.iter().copied().collect();
        for some in left.chunks(CHUNKS_AT_ONCE) {
            self.remove_some(some, &sources)?;
        }
        self.index.flush()
    }

    fn move_some(&self, chunks: &[&[super::Moved]], number: u32) -> Result<(), StoreError> {
        let _no_checkpoint = self.turn.lock();
        let mut changed: Vec<(ChannelId, u64, Option<Arc<Chunk>>)> = Vec::new();
        let place = |one: &super::Moved| (one.channel, number_of(one.pos));
        for moved in chunks {
            let Some((channel, at)) = moved.first().map(place) else { continue };
            let Some(mut chunk) = self.index.chunk(channel, at)? else { continue };
            if move_frames(&mut chunk, moved, number) {
                self.index.put(&Key::chunk(channel, at), &values::encode(&chunk))?;
                changed.push((channel, at, Some(Arc::new(chunk))));
            }
        }
        // Before the tables say that it was: who looks up bases after that must not find the old ones here.
        self.chunks.moved(&changed);
        let mut tables = self.tables.write();
        if tables.frozen.is_some() {
            return Err(self.index.damaged("a checkpoint was not ended"));
        }
        for moved in chunks {
            let Some((channel, at)) = moved.first().map(place) else { continue };
            if let Some(chunk) = tables.growing.chunk_mut(channel, at) {
                move_frames(chunk, moved, number);
            }
        }
        // Chunks that a commit has looked up before are looked up again.
        tables.round += 1;
        drop(tables);
        for one in chunks.iter().copied().flatten().filter(|one| one.erased) {
            self.recent.erased(one.channel, one.pos);
        }
        Ok(())
    }

    /// Chunks of which nothing can be read any more.
    fn remove_some(
        &self,
        chunks: &[(ChannelId, u64)],
        sources: &HashSet<u32>,
    ) -> Result<(), StoreError> {
        let _no_checkpoint = self.turn.lock();
        let mut removed = Vec::new();
        for (channel, number) in chunks {
            let Some(chunk) = self.index.chunk(*channel, *number)? else { continue };
            let bottom = pruned(self, *channel)?;
            let is_gone = |(pos, frame): (Pos, Frame)| {
                pos <= bottom
                    && (sources.contains(&frame.segment) || !self.segments.knows(frame.segment))
            };
            let grows = self.tables.read().growing.chunk(*channel, *number).is_some();
            if !grows && chunk.frames_from(Pos(0)).all(is_gone) {
                self.index.delete(&Key::chunk(*channel, *number))?;
                removed.push((*channel, *number, None));
            }
        }
        self.chunks.moved(&removed);
        self.tables.write().round += 1;
        Ok(())
    }
}

fn move_frames(chunk: &mut Chunk, moved: &[super::Moved], segment: u32) -> bool {
    let mut any = false;
    for one in moved.iter().filter(|one| one.lives) {
        let (offset, len) = one.to;
        any |= chunk.move_frame(one.pos, |is| is == one.from, Frame { segment, offset, len });
    }
    any
}

/// Whether an index goes with the segments there. One that has got less far than what was rewritten may hold what was
/// deleted since, and nothing says so any more.
pub(crate) fn fits(position: &Position, used: &[Segment]) -> Result<(), &'static str> {
    let behind = used.iter().filter_map(|segment| segment.header.rewritten);
    if position.batch > 0 && behind.map(|more| more.last_batch).any(|last| last > position.batch) {
        return Err("it is older than what was rewritten in the journal");
    }
    Ok(())
}

/// Ends the moves that a crash has cut short. Nothing else uses the index yet.
pub(crate) fn finish_moves(committed: &Committed, survey: &Survey) -> Result<(), StoreError> {
    if survey.covered.is_empty() {
        return Ok(());
    }
    if let Some(dir) = survey.covered[0].path.parent() {
        // Its name must be durable before anything points to it.
        sync_dir(dir)?;
    }
    let batch = committed.tables.read().position.batch;
    for segment in &survey.used {
        let Some(rewritten) = segment.header.rewritten else { continue };
        let within = |source: &&Segment| {
            rewritten.first_number <= source.numbers().0
                && source.numbers().1 <= rewritten.last_number
        };
        let sources: HashSet<u32> =
            survey.covered.iter().filter(within).map(Segment::number).collect();
        if !sources.is_empty() && rewritten.last_batch <= batch {
            finish_move(committed, segment, &sources)?;
        }
    }
    committed.index.flush()
}

fn finish_move(
    committed: &Committed,
    segment: &Segment,
    sources: &HashSet<u32>,
) -> Result<(), StoreError> {
    let mut scan = Scan::open(segment.path.clone(), &segment.header, segment.len)?;
    let mut open: Option<(ChannelId, Chunk, bool)> = None;
    let put = |open: Option<(ChannelId, Chunk, bool)>| match open {
        Some((channel, chunk, true)) => {
            committed.index.put(&Key::chunk(channel, chunk.number), &values::encode(&chunk))
        }
        Some((.., false)) | None => Ok(()),
    };
    while let Some(record) = scan.next()? {
        for item in record.items(&scan)? {
            let Item::Entry { at, len } = item? else { continue };
            let place = entry::place(&record.payload[at..at + len]);
            let (channel, pos) =
                place.ok_or_else(|| scan.damaged(record.at, "an entry does not parse"))?;
            let number = number_of(pos);
            if !open.as_ref().is_some_and(|(of, chunk, _)| *of == channel && chunk.number == number)
            {
                put(open.take())?;
                let chunk = committed.index.chunk(channel, number)?;
                open = chunk.map(|chunk| (channel, chunk, false));
            }
            if let Some((_, chunk, changed)) = &mut open {
                let offset = record.payload_at() + at as u32;
                let to = Frame { segment: segment.number(), offset, len: len as u32 };
                *changed |= chunk.move_frame(pos, |is| sources.contains(&is.segment), to);
            }
        }
    }
    put(open)
}

/// Removes what rewritten segments stand for. Nothing points there any more.
pub(crate) fn remove_covered(dir: &Path, survey: &Survey) -> Result<(), StoreError> {
    for source in &survey.covered {
        fs::remove_file(&source.path).map_err(StoreError::io("remove", &source.path))?;
    }
    if survey.covered.is_empty() { Ok(()) } else { sync_dir(dir) }
}
