//! MP4, M4A and QuickTime: boxes in boxes (ISO/IEC 14496-12).
//!
//! Two of them say all, and have a hundred bytes each: `moov/mvhd` how long the film is, `moov/trak/tkhd` how large and how it is
//! turned. They are looked for on these ways only, without memory: most libraries for this hold the tables of
//! all frames in memory before they say anything.

use std::io::{self, Read, Seek, SeekFrom};

use super::bounded::Bounded;
use super::{FilmError, FilmInfo};

/// `moov`, wherever it is: cameras write it last, behind gigabytes.
pub(super) fn look<R: Read + Seek>(file: &mut Bounded<R>) -> Result<FilmInfo, FilmError> {
    let mut film = Film::default();
    let all = Part { kind: *b"file", body: 0, end: file.length() };
    let found = each(file, all, &mut |file, part| {
        if &part.kind == b"moov" {
            film.read(file, part)?;
        }
        Ok(&part.kind == b"moov")
    });
    match found {
        Ok(true) => FilmInfo::said(film.duration_ms(), film.size),
        Ok(false) => Err(FilmError::Unsaid),
        Err(error) => Err(FilmError::Damaged(error.to_string())),
    }
}

/// A box: its type, and where in the file is what it has.
#[derive(Clone, Copy, Debug)]
struct Part {
    kind: [u8; 4],
    body: u64,
    end: u64,
}

/// Goes through the boxes of a box, until one is what is looked for: then `true`.
fn each<R: Read + Seek>(
    file: &mut R,
    of: Part,
    look: &mut dyn FnMut(&mut R, Part) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut at = of.body;
    // What is left at the end may be no box: QuickTime ends some lists with zeros.
    while of.end.saturating_sub(at) >= 8 {
        file.seek(SeekFrom::Start(at))?;
        let part = header(file, at, of.end)?;
        if look(file, part)? {
            return Ok(true);
        }
        at = part.end;
    }
    Ok(false)
}

fn header(file: &mut impl Read, at: u64, end: u64) -> io::Result<Part> {
    let [size, kind] = [array(file)?, array(file)?];
    let (size, head) = match u32::from_be_bytes(size) {
        0 => (end - at, 8),
        1 => (u64::from_be_bytes(array(file)?), 16),
        size => (u64::from(size), 8),
    };
    match at.checked_add(size) {
        Some(ends) if size >= head && ends <= end => Ok(Part { kind, body: at + head, end: ends }),
        Some(_) | None => Err(io::Error::other("a box ends beyond what it is in")),
    }
}

/// What is known of it so far.
#[derive(Default, Debug)]
struct Film {
    /// Ticks in a second.
    timescale: u32,
    /// In ticks; 0 where nobody knows.
    duration: u64,
    /// The same, of one that was written while it was recorded, in fragments.
    fragments: u64,
    size: Option<(u64, u64)>,
}

impl Film {
    fn duration_ms(&self) -> Option<u64> {
        let ticks = if self.duration == 0 { self.fragments } else { self.duration };
        let ms = u128::from(ticks) * 1_000;
        u64::try_from(ms.checked_div(u128::from(self.timescale))?).ok()
    }

    fn read<R: Read + Seek>(&mut self, file: &mut R, movie: Part) -> io::Result<()> {
        each(file, movie, &mut |file, part| {
            match &part.kind {
                b"mvhd" => self.movie_header(file)?,
                b"trak" if self.size.is_none() => self.size = track(file, part)?,
                b"mvex" => self.extends(file, part)?,
                _ => {}
            }
            Ok(false)
        })?;
        Ok(())
    }

    fn movie_header(&mut self, file: &mut impl Read) -> io::Result<()> {
        let [version, ..] = array::<4>(file)?;
        // When it was made, and changed.
        if version == 1 { array::<16>(file).map(drop) } else { array::<8>(file).map(drop) }?;
        self.timescale = u32::from_be_bytes(array(file)?);
        self.duration = duration(file, version)?;
        Ok(())
    }

    fn extends<R: Read + Seek>(&mut self, file: &mut R, part: Part) -> io::Result<()> {
        each(file, part, &mut |file, part| {
            let found = &part.kind == b"mehd";
            if found {
                let [version, ..] = array::<4>(file)?;
                self.fragments = duration(file, version)?;
            }
            Ok(found)
        })?;
        Ok(())
    }
}

/// All ones say that nobody knows.
fn duration(file: &mut impl Read, version: u8) -> io::Result<u64> {
    let ticks = if version == 1 {
        Some(u64::from_be_bytes(array(file)?)).filter(|ticks| *ticks != u64::MAX)
    } else {
        Some(u32::from_be_bytes(array(file)?)).filter(|ticks| *ticks != u32::MAX).map(u64::from)
    };
    Ok(ticks.unwrap_or_default())
}

/// How large a track is shown, if it has pictures. Subtitles have a size, too.
fn track<R: Read + Seek>(file: &mut R, track: Part) -> io::Result<Option<(u64, u64)>> {
    let (mut size, mut is_video) = (None, false);
    each(file, track, &mut |file, part| {
        match &part.kind {
            b"tkhd" => size = track_header(file)?,
            b"mdia" => is_video = handler(file, part)? == Some(*b"vide"),
            _ => {}
        }
        Ok(false)
    })?;
    Ok(size.filter(|_| is_video))
}

fn handler<R: Read + Seek>(file: &mut R, media: Part) -> io::Result<Option<[u8; 4]>> {
    let mut kind = None;
    each(file, media, &mut |file, part| {
        if &part.kind == b"hdlr" {
            let [_flags, _component, handler] = [array(file)?, array(file)?, array(file)?];
            kind = Some(handler);
        }
        Ok(kind.is_some())
    })?;
    Ok(kind)
}

fn track_header(file: &mut impl Read) -> io::Result<Option<(u64, u64)>> {
    let [version, ..] = array::<4>(file)?;
    // Times, the track's number, its length, its layer and volume.
    if version == 1 { array::<48>(file).map(drop) } else { array::<36>(file).map(drop) }?;
    let mut matrix = [0_u32; 9];
    for value in &mut matrix {
        *value = u32::from_be_bytes(array(file)?);
    }
    // The upper half is before the point.
    let [width, height] =
        [array(file)?, array(file)?].map(|bytes| u64::from(u32::from_be_bytes(bytes) >> 16));
    let [a, b, _, c, d, ..] = matrix;
    let is_turned = (a, d) == (0, 0) && b != 0 && c != 0;
    let size = if is_turned { (height, width) } else { (width, height) };
    Ok(Some(size).filter(|size| size.0 != 0 && size.1 != 0))
}

fn array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
