//! Space comes back: segments are rewritten with what lives, bodies that are to go stay out, and whole files are freed.
//!
//! Always in this order: the new segment is written and durable, gets its name, which is durable; the rows of the index
//! point to it, durably; only then the old files go. A crash in between leaves a rewritten segment beside what it stands
//! for, and the next opening ends the move.

mod choose;
mod judge;
mod moving;
mod output;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use homing_wire::{ChannelId, Pos};

use self::choose::Run;
use self::judge::{Judge, Judged};
pub(crate) use self::moving::{finish_moves, fits, remove_covered};
use self::output::Output;
pub(crate) use self::output::{channels_of, live_bytes};
use crate::journal::catalog::Known;
use crate::journal::chunk::{Frame, number_of};
use crate::journal::files::sync_dir;
use crate::journal::scan::Scan;
use crate::journal::segment::REWRITTEN;
use crate::journal::{Place, Shared};
use crate::keys::{self, Key, kind};
use crate::values::{self, EraseSince};
use crate::view::{self, View as _};
use crate::{StoreError, Tidied, Tidy, entry};

/// What is remembered from one step to the next.
#[derive(Default)]
pub(crate) struct Tidying {
    /// Everything is to be rewritten that was judged before this batch.
    pass: Option<u64>,
    /// When a segment was ended for the bodies in it.
    sealed_at: Option<Instant>,
    /// The batch that ended it.
    sealed: u64,
    /// It was said that there is no room.
    no_room: bool,
}

/// Bodies looked for at once; more are the next step's.
const DUE_AT_ONCE: usize = 65_536;
/// Longer than that nobody waits for a rewriting to see that it has to end.
const NAP: Duration = Duration::from_millis(20);

/// Bodies that are to go.
#[derive(Default)]
struct Due {
    /// By the segment they are in.
    bodies: HashMap<u32, HashSet<(ChannelId, Pos)>>,
    /// They have left the disk already.
    gone: Vec<(ChannelId, Pos)>,
    more: bool,
}

/// An entry that a rewritten segment holds.
pub(super) struct Moved {
    pub(super) channel: ChannelId,
    pub(super) pos: Pos,
    pub(super) from: Frame,
    /// Offset and length in the new segment.
    pub(super) to: (u32, u32),
    /// `from` is where it is read; else a later one has taken its place.
    pub(super) lives: bool,
    pub(super) erased: bool,
}

impl Shared {
    /// See [`crate::Store::tidy`].
    pub(super) fn tidy(&self, wish: &Tidy) -> Result<Tidied, StoreError> {
        let mut tidying = self.tidying.lock();
        let mut done = Tidied::default();
        match self.step(&mut tidying, wish, &mut done) {
            Err(StoreError::Closed) => {}
            result => result?,
        }
        Ok(done)
    }

    fn step(
        &self,
        tidying: &mut Tidying,
        wish: &Tidy,
        done: &mut Tidied,
    ) -> Result<(), StoreError> {
        self.go_on()?;
        self.committed.checkpoint().map_err(|error| self.fail(error))?;
        if wish.everything && tidying.pass.is_none() {
            self.seal(tidying)?;
            tidying.pass = Some(self.committed.durable.lock().batch);
        }
        let mut due = self.due(wish)?;
        let waits = self.open_number().is_some_and(|open| due.bodies.contains_key(&open));
        let seal_every = Duration::from_millis(wish.seal_every_ms);
        let long_ago = tidying.sealed_at.is_none_or(|at| at.elapsed() >= seal_every);
        if waits && (wish.everything || long_ago) {
            self.seal(tidying)?;
        }
        self.forget(&due.gone, wish)?;
        done.more = due.more && !due.gone.is_empty();
        let Some(run) = self.choose(tidying, wish, &due.bodies)? else {
            if wish.everything {
                tidying.pass = None;
            }
            return Ok(());
        };
        done.more = true;
        due.bodies.retain(|number, _| run.sources.iter().any(|known| known.number() == *number));
        let bodies: HashSet<_> = due.bodies.into_values().flatten().collect();
        self.rewrite(&run, &bodies, wish, done)
    }

    /// `Err`: the store has failed, or closes.
    fn go_on(&self) -> Result<(), StoreError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// The segment that the index's durable position is in. What lies before it may be rewritten.
    fn open_number(&self) -> Option<u32> {
        let number = self.committed.durable.lock().segment;
        (number != 0 && number & REWRITTEN == 0).then_some(number)
    }

    /// Ends the segment that is written, so that it can be rewritten; nothing where no next one is there.
    fn seal(&self, tidying: &mut Tidying) -> Result<(), StoreError> {
        loop {
            self.go_on()?;
            match self.filler.is_ready() {
                Some(true) => break,
                Some(false) => std::thread::sleep(NAP),
                None => return Ok(()),
            }
        }
        {
            let mut journal = self.journal.lock();
            self.go_on()?;
            if journal.position.batch == tidying.sealed || self.filler.is_ready() != Some(true) {
                return Ok(());
            }
            let (segments, fsync) = (&self.committed.segments, &self.committed.figures.fsync);
            let position = journal
                .seal(&self.filler, segments, fsync)
                .and_then(|position| {
                    let bases = self.committed.bases(&[])?;
                    let (payload, place) = (journal.encoder.payload(), Place::of(&position));
                    self.committed.apply(payload, &[], bases, place, Some(position))?;
                    Ok(position)
                })
                .map_err(|error| self.fail(error))?;
            (tidying.sealed, tidying.sealed_at) = (position.batch, Some(Instant::now()));
        }
        self.committed.checkpoint().map_err(|error| self.fail(error))
    }

    /// Whose bodies are to go by now, of what the index holds.
    fn due(&self, wish: &Tidy) -> Result<Due, StoreError> {
        let mut due = Due::default();
        let all = Key::all(kind::ERASE);
        for pair in self.committed.index.range(&all, &keys::end_of(&all)) {
            let (key, value) = pair?;
            let (Some((channel, pos)), Ok(EraseSince(since))) =
                (keys::parse_erase(&key), values::decode(&value))
            else {
                return Err(self.committed.index.damaged("an erasure does not parse"));
            };
            if since >= wish.erase_before_ms {
                continue;
            }
            if due.gone.len() + due.bodies.values().map(HashSet::len).sum::<usize>() >= DUE_AT_ONCE
            {
                due.more = true;
                break;
            }
            match self.body_of(channel, pos)? {
                Some(segment) => {
                    due.bodies.entry(segment).or_default().insert((channel, pos));
                }
                None => due.gone.push((channel, pos)),
            }
        }
        Ok(due)
    }

    /// Whether a body is to go still, by what is committed: it may have been said meanwhile that it stays.
    fn is_due(&self, channel: ChannelId, pos: Pos, wish: &Tidy) -> Result<bool, StoreError> {
        let since = value_of(&self.committed, &Key::erase(channel, pos))?;
        let since = since.and_then(|bytes| values::decode::<EraseSince>(&bytes).ok());
        Ok(since.is_some_and(|since| since.0 < wish.erase_before_ms))
    }

    /// The segment that holds the body of an entry; `None`: none does.
    fn body_of(&self, channel: ChannelId, pos: Pos) -> Result<Option<u32>, StoreError> {
        let chunk = self.committed.chunk(channel, number_of(pos))?;
        let Some((_, frame)) = chunk.and_then(|chunk| chunk.row(pos)) else { return Ok(None) };
        let (segment, offset, len) = (frame.segment, frame.offset, entry::HEAD as u32);
        let head = self.committed.segments.read(segment, offset, len)?;
        let has_body = head.is_some_and(|(head, _)| entry::body_size(&head) != Some(0));
        Ok(has_body.then_some(frame.segment))
    }

    /// Bodies have left the disk: nobody needs to know that they should. What is not in the index yet says something newer.
    fn forget(&self, gone: &[(ChannelId, Pos)], wish: &Tidy) -> Result<(), StoreError> {
        let _no_checkpoint = self.committed.turn.lock();
        for (channel, pos) in gone {
            let key = Key::erase(*channel, *pos);
            let newer = {
                let tables = self.committed.tables.read();
                tables.newest_first().any(|table| table.value(&key).is_some())
            };
            let since = self.committed.index.value(&key)?;
            let since = since.and_then(|bytes| values::decode::<EraseSince>(&bytes).ok());
            if !newer && since.is_some_and(|since| since.0 < wish.erase_before_ms) {
                self.committed.index.delete(&key).map_err(|error| self.fail(error))?;
            }
        }
        Ok(())
    }

    /// Writes a run anew, and lets go of its files.
    fn rewrite(
        &self,
        run: &Run,
        bodies: &HashSet<(ChannelId, Pos)>,
        wish: &Tidy,
        done: &mut Tidied,
    ) -> Result<(), StoreError> {
        let segments = &self.committed.segments;
        let number = segments.next_rewritten();
        let path = segments.path(number);
        let mut pace = Pace::new(self, wish.bytes_per_s);
        let mut output = Output::create(&path, number)?;
        let judged = self.fill(&mut output, run, bodies, wish, &mut pace).and_then(|judged| {
            let header = run.header(number, output.salt(), self.identity.home, &judged);
            let known = output.finish(header, &judged, &self.flush, &path)?;
            Ok((judged, known))
        });
        let (judged, known) = match judged {
            Ok(judged) => judged,
            Err(error) => {
                output.discard(&path).map_err(|error| self.fail(error))?;
                return Err(error);
            }
        };
        // From here on the new segment counts: what fails now is ended by the next opening.
        segments.add(known);
        self.committed.move_rows(&judged, run, number).map_err(|error| self.fail(error))?;
        let freed: Vec<_> = run.sources.iter().map(Known::number).collect();
        segments.remove(&freed);
        for number in &freed {
            let path = segments.path(*number);
            let removed = fs::remove_file(&path).map_err(StoreError::io("remove", &path));
            removed.map_err(|error| self.fail(error))?;
        }
        sync_dir(segments.dir()).map_err(|error| self.fail(error))?;
        let erased: Vec<_> = judged
            .moved
            .iter()
            .filter(|one| one.erased)
            .map(|one| (one.channel, one.pos))
            .collect();
        self.forget(&erased, wish)?;
        let before: u64 = run.sources.iter().map(|known| known.len).sum();
        done.erased += erased.len() as u64;
        done.looked_at += freed.len() as u64;
        done.freed += freed.len() as u64;
        done.bytes_before += before;
        done.bytes_after += known.len;
        let figures = &self.committed.figures;
        figures.tidied_segments.add(freed.len() as u64);
        figures.tidied_written_bytes.add(known.len);
        figures.tidied_freed_bytes.add(before);
        figures.tidied_bodies.add(erased.len() as u64);
        tracing::debug!(
            file = %path.display(), files = freed.len(), before, after = known.len,
            bodies = erased.len(), "segments rewritten"
        );
        Ok(())
    }

    /// Writes what lives: values as they are met, entries afterwards, channel by channel.
    fn fill(
        &self,
        output: &mut Output,
        run: &Run,
        bodies: &HashSet<(ChannelId, Pos)>,
        wish: &Tidy,
        pace: &mut Pace<'_>,
    ) -> Result<Judged, StoreError> {
        let as_of = self.committed.tables.read().position.batch;
        let mut judge = Judge::new(&self.committed, run, as_of);
        for source in &run.sources {
            let path = self.committed.segments.path(source.number());
            let mut scan = Scan::open(path, &source.header, source.len)?;
            let mut expected = if source.is_rewritten() { 1 } else { source.header.first_batch };
            while let Some(record) = scan.next()? {
                if record.batch != expected {
                    let what = format!("record {} stands where {expected} should", record.batch);
                    return Err(scan.damaged(record.at, what));
                }
                expected += 1;
                judge.record(&record, &scan, source, output)?;
                pace.read(record.end - record.at)?;
            }
            run.check_end(source, expected - 1, &scan)?;
        }
        let mut judged = judge.done()?;
        judged.moved.sort_unstable_by_key(|one| (one.channel, one.pos));
        for one in &mut judged.moved {
            one.erased = one.lives
                && bodies.contains(&(one.channel, one.pos))
                && self.is_due(one.channel, one.pos, wish)?;
            let Frame { segment, offset, len } = one.from;
            let read = self.committed.segments.read(segment, offset, len)?;
            let (frame, salt) = read.ok_or_else(|| StoreError::SegmentMissing {
                path: self.committed.segments.path(segment),
            })?;
            if !entry::is_whole(&frame, salt) {
                let path = self.committed.segments.path(segment);
                let what = "the entry's checksum does not match";
                return Err(StoreError::damaged(&path, offset.into(), what));
            }
            let mut frame = frame.to_vec();
            if one.erased || !one.lives {
                entry::erase_body(&mut frame);
            }
            one.to = output.entry(one.channel, one.pos, &frame)?;
            pace.wrote(frame.len() as u64)?;
        }
        Ok(judged)
    }
}

/// Reading and writing no faster than wished.
struct Pace<'a> {
    shared: &'a Shared,
    per_s: u64,
    bytes: u64,
    began: Instant,
}

impl<'a> Pace<'a> {
    fn new(shared: &'a Shared, per_s: u64) -> Self {
        Self { shared, per_s, bytes: 0, began: Instant::now() }
    }

    fn read(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.shared.committed.figures.tidied_read_bytes.add(bytes);
        self.wrote(bytes)
    }

    fn wrote(&mut self, bytes: u64) -> Result<(), StoreError> {
        self.bytes += bytes;
        loop {
            self.shared.go_on()?;
            let due = self.bytes.saturating_mul(1_000).checked_div(self.per_s).unwrap_or(0);
            let left = Duration::from_millis(due).saturating_sub(self.began.elapsed());
            if left < NAP {
                return Ok(());
            }
            std::thread::sleep(NAP);
        }
    }
}

/// Up to where a channel is pruned.
fn pruned(committed: &super::Committed, channel: ChannelId) -> Result<Pos, StoreError> {
    view::pruned(committed, channel).map_err(|fault| committed.index.damaged(fault.0))
}

/// What is committed under a key.
fn value_of(committed: &super::Committed, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    committed.value(key).map_err(|fault| committed.index.damaged(fault.0))
}
