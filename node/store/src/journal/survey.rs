//! What lies in the journal's folder when it is opened: which segments are in use, which a rewritten one stands for, and
//! that none is missing. Nothing is changed here.

use std::fs;
use std::path::{Path, PathBuf};

use homing_wire::HomeId;

use crate::StoreError;
use crate::journal::segment::{self, REWRITTEN, Segment, UNFINISHED, path_of};

/// See the page's head.
#[derive(Default)]
pub(crate) struct Survey {
    /// What the journal consists of, in the order of its batches.
    pub(crate) used: Vec<Segment>,
    /// Still there, though a rewritten segment stands for it: what a crash has left.
    pub(crate) covered: Vec<Segment>,
    /// Made ahead and not in use: number, path, length.
    pub(crate) blank: Vec<(u32, PathBuf, u64)>,
    /// Of which the making was not finished.
    pub(crate) unfinished: Vec<PathBuf>,
    /// The greatest number of a rewritten segment.
    pub(crate) last_rewritten: u32,
}

/// Finds all segments, checks their headers and that none is missing.
pub(crate) fn survey(dir: &Path, home: HomeId) -> Result<Survey, StoreError> {
    let mut survey = Survey::default();
    let (mut raw, mut rewritten) = (Vec::new(), Vec::new());
    for (number, path) in list(dir, &mut survey.unfinished)? {
        let (len, found) = segment::look_at(path.clone(), number, home)?;
        match found {
            Some(segment) if segment.header.rewritten.is_some() => rewritten.push(segment),
            Some(segment) => raw.push(segment),
            None => survey.blank.push((number, path, len)),
        }
    }
    // What was rewritten later stands for what was rewritten before.
    rewritten.sort_unstable_by_key(|segment| std::cmp::Reverse(segment.number()));
    survey.last_rewritten = rewritten.first().map_or(REWRITTEN, Segment::number);
    for segment in rewritten.into_iter().chain(raw) {
        let (first, last) = segment.numbers();
        let over = survey.used.iter().find(|by| {
            let (from, to) = by.numbers();
            first <= to && from <= last
        });
        match over {
            None => survey.used.push(segment),
            Some(by) if by.numbers().0 <= first && last <= by.numbers().1 => {
                survey.covered.push(segment);
            }
            Some(by) => {
                let what = format!("it stands for a part of what {} stands for", by.path.display());
                return Err(StoreError::damaged(&segment.path, 128, what));
            }
        }
    }
    survey.used.sort_unstable_by_key(Segment::numbers);
    survey.blank.sort_unstable();
    check_none_missing(dir, &survey)?;
    Ok(survey)
}

/// Numbers with their paths.
fn list(dir: &Path, unfinished: &mut Vec<PathBuf>) -> Result<Vec<(u32, PathBuf)>, StoreError> {
    let failed = || StoreError::io("list", dir);
    let mut found = Vec::new();
    for file in fs::read_dir(dir).map_err(failed())? {
        let path = file.map_err(failed())?.path();
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(segment::number_of);
        match (path.extension().and_then(|e| e.to_str()), number) {
            (Some("hj"), Some(number)) => found.push((number, path_of(dir, number))),
            (Some(UNFINISHED), Some(_)) => unfinished.push(path),
            _ => tracing::warn!(file = %path.display(), "not a file of the journal; left alone"),
        }
    }
    Ok(found)
}

/// Segments follow each other without a gap, those made ahead last.
fn check_none_missing(dir: &Path, survey: &Survey) -> Result<(), StoreError> {
    let missing = |number| Err(StoreError::SegmentMissing { path: path_of(dir, number) });
    let mut expected = 1;
    let mut before: Option<&Segment> = None;
    for segment in &survey.used {
        let (first, last) = segment.numbers();
        if let Some((_, path, _)) = survey.blank.iter().find(|(number, ..)| *number < first) {
            return Err(StoreError::damaged(path, 0, "the segment's header was erased"));
        }
        if first != expected {
            return missing(expected);
        }
        let begins = segment.header.first_batch;
        let follows = before.map_or(begins == 1, |before| match before.header.rewritten {
            Some(more) => begins == more.last_batch + 1,
            None => begins > before.header.first_batch,
        });
        if !follows {
            let what = format!(
                "it begins with batch {begins}, and does not go on where the one before it ends"
            );
            return Err(StoreError::damaged(&segment.path, 32, what));
        }
        expected = last + 1;
        before = Some(segment);
    }
    if before.is_some_and(|last| last.header.rewritten.is_some()) {
        // What is rewritten is older than the record that the index goes up to.
        return missing(expected);
    }
    for (number, ..) in &survey.blank {
        if *number != expected {
            return missing(expected);
        }
        expected += 1;
    }
    Ok(())
}
