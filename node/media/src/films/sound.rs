//! Sound, by its frames and headers. Titles and pictures are passed over.

use std::io::{Read, Seek};

use lofty::config::ParseOptions;
use lofty::file::AudioFile as _;
use lofty::probe::Probe;

use super::bounded::Bounded;
use super::{FilmError, FilmInfo};

pub(super) fn look<R: Read + Seek>(file: &mut Bounded<R>) -> Result<FilmInfo, FilmError> {
    let damaged = |error: &dyn std::error::Error| FilmError::Damaged(error.to_string());
    let options = ParseOptions::new().read_tags(false).read_cover_art(false);
    // It goes by the bytes: what is called MP3 by its first ones may be FLAC with a title before it.
    let probe = Probe::new(file).options(options);
    let probe = probe.guess_file_type().map_err(|error| damaged(&error))?;
    let sound = probe.read().map_err(|error| damaged(&error))?;
    let ms = sound.properties().duration().as_millis();
    FilmInfo::said(u64::try_from(ms).ok(), None)
}
