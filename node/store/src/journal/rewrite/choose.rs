//! What is rewritten next: bodies that are to go first, then what was never rewritten, then what little lives of.

use std::collections::{HashMap, HashSet};

use homing_wire::{ChannelId, HomeId, Pos};

use super::judge::Judged;
use super::{Tidying, output, pruned};
use crate::StoreError;
use crate::Tidy;
use crate::journal::Shared;
use crate::journal::catalog::Known;
use crate::journal::files::free_bytes;
use crate::journal::scan::Scan;
use crate::journal::segment::{Rewritten, SegmentHeader};

/// Segments are rewritten together up to so many bytes: what is remembered of an entry meanwhile takes 64 bytes, and an
/// entry at least 250, so that memory stays below 70 MiB.
const RUN_BYTES: u64 = 256 << 20;
/// So many that were never rewritten are worth it: most of their values are dead by then.
const RAW_AT_LEAST: usize = 4;
/// So many small files in a row become one.
const SMALL_AT_LEAST: usize = 8;

/// Segments that follow each other, to be rewritten as one.
pub(super) struct Run {
    pub(super) sources: Vec<Known>,
    first_batch: u64,
    last_batch: u64,
    /// Whether older segments may still hold what was deleted in these.
    pub(super) keeps_deletes: bool,
}

impl Run {
    pub(super) fn header(
        &self,
        number: u32,
        salt: u64,
        home: HomeId,
        judged: &Judged,
    ) -> SegmentHeader {
        let numbers = self.sources.iter().map(Known::numbers);
        let rewritten = Rewritten {
            last_batch: self.last_batch,
            change: judged.change,
            stamp: judged.stamp,
            as_of: judged.as_of,
            end: 0,
            len: 0,
            first_number: numbers.clone().map(|(first, _)| first).min().unwrap_or(0),
            last_number: numbers.map(|(_, last)| last).max().unwrap_or(0),
            records: 0,
            entries: 0,
        };
        let first_batch = self.first_batch;
        SegmentHeader { number, salt, first_batch, home, rewritten: Some(rewritten) }
    }

    /// What was read of a source is all of it.
    pub(super) fn check_end(
        &self,
        source: &Known,
        last: u64,
        scan: &Scan,
    ) -> Result<(), StoreError> {
        let next = self.sources.iter().find(|known| known.numbers().0 == source.numbers().1 + 1);
        let expected = match (source.header.rewritten, next) {
            (Some(rewritten), _) => rewritten.records.into(),
            (None, Some(next)) => next.header.first_batch - 1,
            (None, None) => self.last_batch,
        };
        if last != expected {
            let what = format!("records end with {last}, and should with {expected}");
            return Err(scan.damaged(scan.at(), what));
        }
        Ok(())
    }

    fn of(list: &[Known], from: usize, to: usize) -> Self {
        let last_batch = list[to - 1].header.rewritten.map_or_else(
            || list.get(to).map_or(0, |next| next.header.first_batch - 1),
            |rewritten| rewritten.last_batch,
        );
        Self {
            sources: list[from..to].to_vec(),
            first_batch: list[from].header.first_batch,
            last_batch,
            keeps_deletes: list[..from].iter().any(|older| older.as_of() < last_batch),
        }
    }

    /// Bytes that the new segment takes, at most about.
    fn needs(&self) -> u64 {
        self.sources.iter().map(|known| known.live).sum()
    }
}

impl Shared {
    /// `None`: nothing is worth it, or there is no room.
    pub(super) fn choose(
        &self,
        tidying: &mut Tidying,
        wish: &Tidy,
        due: &HashMap<u32, HashSet<(ChannelId, Pos)>>,
    ) -> Result<Option<Run>, StoreError> {
        self.examine()?;
        let list = self.committed.segments.list();
        let open = self.open_number().unwrap_or(0);
        // The one that the index's position is in stays, and what follows it.
        let eligible = list.iter().take_while(|known| known.numbers().1 < open).count();
        let runs = |wanted: &dyn Fn(&Known) -> bool| runs(&list, eligible, wanted);
        let is_due = |known: &Known| due.contains_key(&known.number());
        let mut found = runs(&is_due);
        if let (Some(pass), true) = (tidying.pass, wish.everything) {
            found.extend(runs(&|known| known.as_of() < pass));
        }
        if found.is_empty() {
            let raw = list[..eligible].iter().filter(|known| !known.is_rewritten()).count();
            if raw >= RAW_AT_LEAST {
                found = runs(&|known| !known.is_rewritten());
            }
        }
        if found.is_empty() {
            found = runs(&|known| known.is_rewritten() && known.live < known.len / 2);
        }
        if found.is_empty() {
            let limit = RUN_BYTES / 4 / SMALL_AT_LEAST as u64;
            found = runs(&|known| known.is_rewritten() && known.len <= limit);
            found.retain(|(from, to)| to - from >= SMALL_AT_LEAST);
        }
        if found.is_empty() {
            return Ok(None);
        }
        self.that_fits(tidying, &list, &found)
    }

    /// The first run for which there is room, or, of the first, the segment that frees most.
    fn that_fits(
        &self,
        tidying: &mut Tidying,
        list: &[Known],
        found: &[(usize, usize)],
    ) -> Result<Option<Run>, StoreError> {
        // Nobody sends below `min_free_bytes`; what has to go on all the same keeps a quarter of it.
        let free = free_bytes(self.committed.segments.dir())?;
        let room = free.saturating_sub(self.disk.min_free_bytes() / 4);
        let alone = found.iter().flat_map(|(from, to)| (*from..*to).map(|at| (at, at + 1)));
        let mut alone: Vec<_> = alone.collect();
        alone.sort_by_key(|(at, _)| list[*at].live.saturating_sub(list[*at].len));
        let mut all = found.iter().copied().chain(alone);
        let run = all.find_map(|(from, to)| {
            let run = Run::of(list, from, to);
            (run.needs() <= room).then_some(run)
        });
        if run.is_none() && !tidying.no_room {
            tracing::warn!(
                free,
                "no room to rewrite segments of the journal: no space comes back until some is free"
            );
        }
        tidying.no_room = run.is_none();
        Ok(run)
    }

    /// Where retention has removed something since, finds out what is left: from the lists of channels that rewritten
    /// segments end with, one segment a step.
    fn examine(&self) -> Result<(), StoreError> {
        let now = self.committed.prunes.load(std::sync::atomic::Ordering::Acquire);
        let segments = &self.committed.segments;
        let outdated = |known: &Known| known.is_rewritten() && known.examined < now;
        let longest_ago = segments.list().into_iter().filter(outdated).min_by_key(|k| k.examined);
        let Some(known) = longest_ago else { return Ok(()) };
        let path = segments.path(known.number());
        let upto = |channel| pruned(&self.committed, channel);
        let live = output::live_bytes(&path, &known.header, known.len, upto)?;
        segments.examined(known.number(), live, now);
        Ok(())
    }
}

/// Segments beside each other that are wanted, as many together as are worth one run.
fn runs(list: &[Known], eligible: usize, wanted: &dyn Fn(&Known) -> bool) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut bytes = 0;
    for (at, known) in list.iter().enumerate().take(eligible) {
        if !wanted(known) {
            continue;
        }
        match found.last_mut() {
            Some((_, to)) if *to == at && bytes + known.len <= RUN_BYTES => {
                (*to, bytes) = (at + 1, bytes + known.len);
            }
            Some(_) | None => {
                found.push((at, at + 1));
                bytes = known.len;
            }
        }
    }
    found
}
