//! Films and sound: how long they are, and how large. Nothing is decoded.
//!
//! What strangers send is read by parsers, so: a file gives them no more bytes than is allowed, and none once the time is over,
//! wherever they seek; none of them goes deeper for a file that does; one that panics has found nothing.
//!
//! | files | read by |
//! |---|---|
//! | MP4, M4A, QuickTime | [`iso`] |
//! | WebM, Matroska | `matroska-demuxer`: [`matroska`] |
//! | MP3, AAC, FLAC, WAV, AIFF, Ogg with Vorbis, Opus or Speex | `lofty`: [`sound`] |

mod bounded;
mod iso;
mod matroska;
mod sound;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::bounded::{Bounded, Stopped};
use crate::images::Images;
use crate::workers::{Undone, Workers};

/// More milliseconds, a year of them, no recording has: its file is mistaken, or lies.
const LONGEST_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// More pixels to a side cannot be said in an MP4.
const LONGEST_EDGE: u64 = u16::MAX as u64;

/// What looking into a film may cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilmLimits {
    /// Bytes that are read of it, wherever they are. What is looked for measures some KiB; more is in the way in Ogg, which has the
    /// picture of an album before its sound.
    pub read_bytes: u64,
    /// How long it may take, in milliseconds.
    pub time_ms: u64,
}

impl Default for FilmLimits {
    fn default() -> Self {
        Self { read_bytes: 8 * 1024 * 1024, time_ms: 5_000 }
    }
}

/// What is known of a film or of sound. Something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilmInfo {
    /// How long it is, in milliseconds. What a browser has just recorded often does not say.
    pub duration_ms: Option<u64>,
    /// Pixels across, as it is shown. Sound has none.
    pub width: Option<u32>,
    /// Pixels down, as it is shown.
    pub height: Option<u32>,
}

impl FilmInfo {
    /// Of what a file says, what can be.
    fn said(duration_ms: Option<u64>, size: Option<(u64, u64)>) -> Result<Self, FilmError> {
        let duration_ms = duration_ms.filter(|ms| (1..=LONGEST_MS).contains(ms));
        let edge = |pixels| match pixels {
            1..=LONGEST_EDGE => u32::try_from(pixels).ok(),
            _ => None,
        };
        let size = size.and_then(|(width, height)| edge(width).zip(edge(height)));
        let (width, height) = size.unzip();
        match (duration_ms, width) {
            (None, None) => Err(FilmError::Unsaid),
            (Some(_), _) | (_, Some(_)) => Ok(Self { duration_ms, width, height }),
        }
    }
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum FilmError {
    /// Not one of the types that are looked into.
    #[error("not a film or sound that is looked into here")]
    NotFilm,
    /// It is damaged.
    #[error("the film is damaged: {0}")]
    Damaged(String),
    /// Nowhere in it is said how long or how large it is.
    #[error("the film does not say how long or how large it is")]
    Unsaid,
    /// More of it would have to be read.
    #[error("too much of the film would have to be read")]
    TooLarge,
    /// It took too long.
    #[error("the film takes too long")]
    TooSlow,
    /// Too many wait.
    #[error("too many films wait")]
    Busy,
    /// The file cannot be read.
    #[error("{0}")]
    Io(io::Error),
}

impl FilmError {
    /// The word for it in logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFilm => "not_film",
            Self::Damaged(_) => "film_damaged",
            Self::Unsaid => "film_unsaid",
            Self::TooLarge => "film_too_large",
            Self::TooSlow => "film_too_slow",
            Self::Busy => "films_busy",
            Self::Io(_) => "film_unreadable",
        }
    }
}

impl From<Undone> for FilmError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Busy => Self::Busy,
            Undone::TooSlow => Self::TooSlow,
            Undone::Panicked(panicked) => Self::Damaged(panicked),
        }
    }
}

/// Those who look into films: the same as decode pictures. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Films {
    limits: Arc<FilmLimits>,
    workers: Workers,
}

impl Films {
    /// With these limits, and the workers of `images`.
    pub fn new(limits: FilmLimits, images: &Images) -> Self {
        Self { limits: Arc::new(limits), workers: images.workers() }
    }

    /// What is known of a file of that type.
    pub async fn probe(&self, path: &Path, mime: &str) -> Result<FilmInfo, FilmError> {
        let container = Container::of(mime).ok_or(FilmError::NotFilm)?;
        let limits = self.limits.clone();
        let time = Duration::from_millis(limits.time_ms);
        let looked = self.workers.run(path, time, move |path, until| {
            let file = File::open(path).map_err(FilmError::Io)?;
            container.look(file, &limits, until)
        });
        looked.await.unwrap_or_else(|undone| Err(undone.into()))
    }
}

/// What is known of a file of that type, on this thread.
pub fn read_film(
    file: impl Read + Seek,
    mime: &str,
    limits: &FilmLimits,
) -> Result<FilmInfo, FilmError> {
    let container = Container::of(mime).ok_or(FilmError::NotFilm)?;
    container.look(file, limits, Instant::now() + Duration::from_millis(limits.time_ms))
}

/// What files are alike.
#[derive(Clone, Copy, Debug)]
enum Container {
    Iso,
    Matroska,
    Sound,
}

impl Container {
    /// By the words of [`crate::sniff`].
    fn of(mime: &str) -> Option<Self> {
        Some(match mime {
            "video/mp4" | "video/quicktime" | "audio/mp4" => Self::Iso,
            "video/webm" | "video/x-matroska" => Self::Matroska,
            "audio/mpeg" | "audio/aac" | "audio/flac" | "audio/wav" | "audio/x-aiff"
            | "audio/ogg" | "audio/opus" => Self::Sound,
            _ => return None,
        })
    }

    fn look(
        self,
        file: impl Read + Seek,
        limits: &FilmLimits,
        until: Instant,
    ) -> Result<FilmInfo, FilmError> {
        let mut file = Bounded::new(file, limits.read_bytes, until).map_err(FilmError::Io)?;
        let found = match self {
            Self::Iso => iso::look(&mut file),
            Self::Matroska => matroska::look(&mut file),
            Self::Sound => sound::look(&mut file),
        };
        // Why it went no further is known here, whatever the parser made of it.
        found.map_err(|error| match file.into_stopped() {
            Some(Stopped::TooMuch) => FilmError::TooLarge,
            Some(Stopped::TooSlow) => FilmError::TooSlow,
            Some(Stopped::Failed(error)) => FilmError::Io(error),
            None => error,
        })
    }
}
