//! WebM and Matroska (RFC 9559).

use std::io::{self, Read, Seek, SeekFrom};

use matroska_demuxer::{DisplayUnit, MatroskaFile, TrackEntry, Video};

use super::bounded::Bounded;
use super::{FilmError, FilmInfo};

/// What the parser is given. It lists elements, of which each two bytes may become 40 in memory, and remembers where in a film one can
/// go: of ten hours those are some hundred KiB.
const PARSED_BYTES: u64 = 1024 * 1024;

pub(super) fn look<R: Read + Seek>(file: &mut Bounded<R>) -> Result<FilmInfo, FilmError> {
    file.give_at_most(PARSED_BYTES);
    let parsed =
        MatroskaFile::open(Near(file)).map_err(|error| FilmError::Damaged(error.to_string()))?;
    let info = parsed.info();
    let ticks = info.duration().filter(|ticks| ticks.is_finite());
    // Of what is too much for an integer, the largest is taken, and refused.
    let ms = ticks.map(|ticks| (ticks * info.timestamp_scale().get() as f64 / 1e6) as u64);
    let video = parsed.tracks().iter().find_map(TrackEntry::video);
    FilmInfo::said(ms, video.map(shown))
}

/// How large it is shown, where that is said in pixels; else how large its pictures are.
fn shown(video: &Video) -> (u64, u64) {
    let display = video.display_width().zip(video.display_height());
    let in_pixels = match video.display_unit() {
        None | Some(DisplayUnit::Pixels) => display,
        Some(
            DisplayUnit::Centimeters
            | DisplayUnit::Inches
            | DisplayUnit::DisplayAspectRatio
            | DisplayUnit::Unknown,
        ) => None,
    };
    let (width, height) = in_pixels.unwrap_or((video.pixel_width(), video.pixel_height()));
    (width.get(), height.get())
}

/// A file that ends no farther than what may still be read of it: for what an element says it measures, the parser takes memory, where
/// the file is long enough to have it.
struct Near<'a, R>(&'a mut Bounded<R>);

impl<R: Read + Seek> Read for Near<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl<R: Read + Seek> Seek for Near<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::End(by) => {
                let at = self.0.near_end().checked_add_signed(by);
                SeekFrom::Start(at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?)
            }
            SeekFrom::Start(_) | SeekFrom::Current(_) => to,
        };
        self.0.seek(to)
    }
}
