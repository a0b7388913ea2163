//! What a closed store's directory holds, for people who look at it. Nothing is changed, but that sled puts its own files in
//! order, as at each opening.

use std::path::Path;

use homing_wire::{ChannelId, Epoch, HomeId, Pos};
use serde::Serialize;

use crate::StoreError;
use crate::journal::files::{Identity, Lock};
use crate::journal::index::Index;
use crate::journal::rewrite::live_bytes;
use crate::journal::survey::{Survey, survey};
use crate::keys::{self, Key, kind};
use crate::values::{self, PrunedTo};

/// What [`inspect`] has found.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Whose store.
    pub home: HomeId,
    /// Its life: Unix milliseconds of its start.
    pub epoch: Epoch,
    /// Starts of this life.
    pub boot: u64,
    /// The segments of the journal, in the order of their batches.
    pub segments: Vec<SegmentRow>,
    /// Files that a crash has left, which the next opening removes.
    pub leftovers: Vec<String>,
    /// Up to which batch the index goes; what follows is read from the journal at the next opening.
    pub index_batch: u64,
    /// The file that this batch is in.
    pub index_segment: u32,
    /// Bodies that are to leave the disk.
    pub erasures: u64,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// A segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentRow {
    /// Its file's name.
    pub file: String,
    /// It was rewritten, and stands for others.
    pub rewritten: bool,
    /// The first batch that it holds or stands for.
    pub first_batch: u64,
    /// The last; `None`: the end of the journal.
    pub last_batch: Option<u64>,
    /// Its size.
    pub bytes: u64,
    /// Of these, what is not gone by retention, about; all of it where it was never rewritten.
    pub live_bytes: u64,
    /// Records in it, where its header says so.
    pub records: Option<u64>,
    /// Entries in it, where its header says so.
    pub entries: Option<u64>,
}

/// Enough to look at an index.
pub(super) const INDEX_CACHE_BYTES: u64 = 16 << 20;

/// Looks at a store that nobody has open.
pub fn inspect(dir: &Path) -> Result<Inspection, StoreError> {
    let (_lock, identity, survey, index) = look_at(dir)?;
    let Identity { home, epoch, boot } = identity;
    let position = index.position()?;
    let all = Key::all(kind::ERASE);
    let mut erasures = 0;
    for pair in index.range(&all, &keys::end_of(&all)) {
        pair?;
        erasures += 1;
    }
    let segments = rows(&survey, &index)?;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let covered = survey.covered.iter().map(|segment| &segment.path);
    Ok(Inspection {
        home,
        epoch,
        boot,
        bytes: segments.iter().map(|row| row.bytes).sum(),
        leftovers: covered.chain(&survey.unfinished).map(|path| name(path)).collect(),
        segments,
        index_batch: position.batch,
        index_segment: position.segment,
        erasures,
    })
}

/// The lock, so that nobody opens it meanwhile, and what is there.
pub(super) fn look_at(dir: &Path) -> Result<(Lock, Identity, Survey, Index), StoreError> {
    Identity::read(dir)?;
    let lock = Lock::take(dir)?;
    let identity = Identity::read(dir)?;
    let survey = survey(&dir.join("journal"), identity.home)?;
    let path = dir.join("index");
    if !path.join("db").exists() {
        let what = "it is missing; the next start makes it anew from the journal".to_owned();
        return Err(StoreError::Index { path, what });
    }
    let index = Index::open(&path, INDEX_CACHE_BYTES)?.for_looking();
    Ok((lock, identity, survey, index))
}

fn rows(survey: &Survey, index: &Index) -> Result<Vec<SegmentRow>, StoreError> {
    let pruned = |channel| pruned_in(index, channel);
    let used = &survey.used;
    used.iter()
        .enumerate()
        .map(|(i, segment)| {
            let rewritten = segment.header.rewritten;
            let next = used.get(i + 1).map(|next| next.header.first_batch - 1);
            let file = segment.path.file_name().unwrap_or_default();
            let live_bytes = live_bytes(&segment.path, &segment.header, segment.len, pruned)?;
            Ok(SegmentRow {
                file: file.to_string_lossy().into_owned(),
                rewritten: rewritten.is_some(),
                first_batch: segment.header.first_batch,
                last_batch: rewritten.map(|more| more.last_batch).or(next),
                bytes: segment.len,
                live_bytes,
                records: rewritten.map(|more| more.records.into()),
                entries: rewritten.map(|more| more.entries.into()),
            })
        })
        .collect()
}

/// Up to where a channel is pruned, as the index knows.
pub(super) fn pruned_in(index: &Index, channel: ChannelId) -> Result<Pos, StoreError> {
    let Some(bytes) = index.value(&Key::pruned(channel))? else { return Ok(Pos(0)) };
    let upto: PrunedTo = values::decode(&bytes)
        .map_err(|error| index.damaged(format!("the place of retention of {channel}: {error}")))?;
    Ok(upto.0)
}
