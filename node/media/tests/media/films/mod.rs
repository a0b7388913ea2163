//! Films and sound, as they ought to be.

mod evil;
mod files;

use std::io::{self, Read, Seek, SeekFrom};

use homing_media::{FilmError, FilmInfo, FilmLimits, Films, ImageLimits, Images, read_film, sniff};
use image::ImageFormat;
use tempfile::TempDir;

use files::{Track, element, flac, info, mp3, mp4, opus, part, tracks, wav, webm};

/// A file of which not all is there: a pattern, and what stands in it. Counts what is read.
struct Sparse {
    length: u64,
    pattern: Vec<u8>,
    pieces: Vec<(u64, Vec<u8>)>,
    at: u64,
    read: u64,
}

impl Sparse {
    fn new(length: u64, pattern: &[u8]) -> Self {
        Self { length, pattern: pattern.to_vec(), pieces: Vec::new(), at: 0, read: 0 }
    }

    fn of(bytes: &[u8]) -> Self {
        Self::new(bytes.len() as u64, &[0]).with(0, bytes)
    }

    fn with(mut self, at: u64, bytes: &[u8]) -> Self {
        self.pieces.push((at, bytes.to_vec()));
        self
    }

    fn byte(&self, at: u64) -> u8 {
        let inside = |(from, bytes): &(u64, Vec<u8>)| {
            bytes.get(usize::try_from(at.checked_sub(*from)?).ok()?).copied()
        };
        let pattern = || self.pattern[(at % self.pattern.len() as u64) as usize];
        self.pieces.iter().find_map(inside).unwrap_or_else(pattern)
    }
}

impl Read for Sparse {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.length.saturating_sub(self.at).min(into.len() as u64) as usize;
        for byte in &mut into[..there] {
            *byte = self.byte(self.at);
            self.at += 1;
        }
        self.read += there as u64;
        Ok(there)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.length.checked_add_signed(by).unwrap(),
            SeekFrom::Current(by) => self.at.checked_add_signed(by).unwrap(),
        };
        Ok(self.at)
    }
}

/// What is known of a file, told by its bytes as the node does.
fn look(bytes: &[u8]) -> Result<FilmInfo, FilmError> {
    let mut file = Sparse::of(bytes);
    let found = read_film(&mut file, sniff(bytes), &FilmLimits::default());
    assert!(file.read <= FilmLimits::default().read_bytes, "{} bytes are read", file.read);
    found
}

fn known(duration_ms: u64, size: Option<(u32, u32)>) -> FilmInfo {
    let (width, height) = size.unzip();
    FilmInfo { duration_ms: Some(duration_ms), width, height }
}

#[test]
fn a_film_says_how_long_and_how_large_it_is() {
    let film = known(83_120, Some((1280, 720)));
    let track = Track::video(1280, 720);
    assert_eq!(look(&mp4(0, 83_120, &[track])).unwrap(), film);
    assert_eq!(look(&mp4(1, 83_120, &[track])).unwrap(), film, "64 bits for times");
    assert_eq!(look(&webm(&[info(Some(83_120.0)), tracks(1280, 720, None)])).unwrap(), film);
    // Turned by a quarter, to either side, as telephones do; by half, it is as large as ever.
    for (matrix, size) in [
        ([0, 1, -1, 0], (720, 1280)),
        ([0, -1, 1, 0], (720, 1280)),
        ([-1, 0, 0, -1], (1280, 720)),
        ([0, 0, 0, 0], (1280, 720)),
    ] {
        let film = look(&mp4(0, 1_000, &[Track { matrix, ..track }])).unwrap();
        assert_eq!(film, known(1_000, Some(size)), "{matrix:?}");
    }
    // Pixels that are not square.
    let wide = tracks(720, 576, Some((1024, 576, 0)));
    assert_eq!(look(&webm(&[info(Some(5.0)), wide])).unwrap(), known(5, Some((1024, 576))));
    let ratio = tracks(720, 576, Some((16, 9, 3)));
    assert_eq!(look(&webm(&[info(Some(5.0)), ratio])).unwrap(), known(5, Some((720, 576))));
}

#[test]
fn what_stands_beside_the_pictures_is_no_size() {
    let [sound, words] = [*b"soun", *b"text"].map(|kind| Track { kind, ..Track::video(300, 40) });
    let all = [sound, words, Track::video(640, 360), Track::video(320, 180)];
    assert_eq!(look(&mp4(0, 1_000, &all)).unwrap(), known(1_000, Some((640, 360))));
    assert_eq!(look(&mp4(0, 1_000, &[sound, words])).unwrap(), known(1_000, None));
}

#[test]
fn what_is_not_said_is_not_known() {
    let size = FilmInfo { duration_ms: None, width: Some(64), height: Some(48) };
    let track = Track::video(64, 48);
    for ticks in [0, u32::MAX] {
        assert_eq!(look(&mp4(0, ticks, &[track])).unwrap(), size);
    }
    // As browsers record: no length, and a cluster that ends when it ends.
    let mut recorded = webm(&[info(None), tracks(64, 48, None)]);
    recorded.extend([0x1f, 0x43, 0xb6, 0x75, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    recorded.extend(element(&[0xe7], &[0]));
    for _ in 0..1_000 {
        recorded.extend(element(&[0xa3], &[0x81, 0, 0, 0x80, 1, 2, 3]));
    }
    assert_eq!(look(&recorded).unwrap(), size);
    // More than a year, and what is no number.
    for ticks in [1e12, f64::INFINITY, f64::NAN] {
        assert_eq!(look(&webm(&[info(Some(ticks)), tracks(64, 48, None)])).unwrap(), size);
    }
    let nothing = mp4(0, 0, &[Track::video(0, 48)]);
    assert_eq!(look(&nothing).unwrap_err().reason(), "film_unsaid");
    for bytes in [&b""[..], b"hello", b"GIF89a", b"%PDF-1.4"] {
        assert_eq!(look(bytes).unwrap_err().reason(), "not_film");
    }
}

#[test]
fn a_film_in_fragments_says_its_length_elsewhere() {
    let mut movie = mp4(0, 0, &[Track::video(64, 48)]);
    let mehd = part(b"mehd", &[&[0; 4][..], &7_000_u32.to_be_bytes()].concat());
    let mvex = part(b"mvex", &mehd);
    let moov = movie.len()
        - usize::try_from(u32::from_be_bytes(*movie[16..].first_chunk().unwrap())).unwrap();
    let size = u32::try_from(movie.len() - moov + mvex.len()).unwrap();
    movie[moov..moov + 4].copy_from_slice(&size.to_be_bytes());
    movie.extend(mvex);
    movie.extend(part(b"moof", &[0; 500]));
    assert_eq!(look(&movie).unwrap(), known(7_000, Some((64, 48))));
}

/// Cameras do not know what to write before they have written all.
#[test]
fn what_says_it_all_may_stand_behind_gigabytes() {
    const FILM: u64 = 50 << 30;
    let track = Track::video(3840, 2160);
    let whole = mp4(1, 7_200_000, &[track]);
    let (ftyp, moov) = whole.split_at(16);
    let mdat = [&[0, 0, 0, 1][..], b"mdat", &FILM.to_be_bytes()].concat();
    let length = 16 + FILM + moov.len() as u64;
    let mut file =
        Sparse::new(length, b"frame").with(0, ftyp).with(16, &mdat).with(16 + FILM, moov);
    let found = read_film(&mut file, "video/mp4", &FilmLimits::default()).unwrap();
    assert_eq!(found, known(7_200_000, Some((3840, 2160))));
    assert!(file.read < 8 * 1024, "{} bytes are read", file.read);
}

#[test]
fn sound_says_how_long_it_is() {
    assert_eq!(look(&wav(8_000, 12_000)).unwrap(), known(1_500, None));
    assert_eq!(look(&flac(44_100, 441_000)).unwrap(), known(10_000, None));
    assert_eq!(look(&opus(96_312)).unwrap(), known(2_000, None), "without what is passed over");
    let voice = look(&mp3(100)).unwrap();
    // 100 frames of 1152 samples, told by the rate of bits.
    let off = voice.duration_ms.unwrap().abs_diff(2_612);
    assert!(off < 20 && voice.width.is_none(), "{voice:?}");
    assert_eq!(look(&mp4(0, 2_500, &[])).unwrap(), known(2_500, None));
    // A title with a picture of 3 MB before it costs nothing.
    let mut titled = b"ID3\x03\0\0\x01\x40\0\0".to_vec();
    titled.resize(10 + (1 << 21) + (0x40 << 14), b'p');
    titled.extend(mp3(100));
    let mut file = Sparse::of(&titled);
    let found = read_film(&mut file, sniff(&titled), &FilmLimits::default()).unwrap();
    assert_eq!(found.duration_ms, voice.duration_ms);
    assert!(file.read < 64 * 1024, "{} bytes are read", file.read);
}

#[tokio::test]
async fn limits_hold_and_a_panic_takes_nothing_with_it() {
    let folder = TempDir::new().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let images = Images::new(ImageLimits::default());
    let with = |limits| Films::new(limits, &images);
    let films = with(FilmLimits::default());
    let film = put("film", &mp4(0, 1_000, &[Track::video(64, 48)]));
    let found = films.probe(&film, "video/mp4").await.unwrap();
    assert_eq!(found, known(1_000, Some((64, 48))));
    assert_eq!(films.probe(&film, "text/plain").await.unwrap_err().reason(), "not_film");
    let gone = folder.path().join("gone");
    assert_eq!(films.probe(&gone, "video/mp4").await.unwrap_err().reason(), "film_unreadable");
    let nothing = with(FilmLimits { read_bytes: 0, ..FilmLimits::default() });
    assert_eq!(nothing.probe(&film, "video/mp4").await.unwrap_err().reason(), "film_too_large");
    let quick = with(FilmLimits { time_ms: 0, ..FilmLimits::default() });
    assert_eq!(quick.probe(&film, "video/mp4").await.unwrap_err().reason(), "film_too_slow");
    // The library for sound divides by a length below a millisecond.
    let short = put("short", &opus(320));
    assert_eq!(films.probe(&short, "audio/opus").await.unwrap_err().reason(), "film_damaged");
    films.probe(&film, "video/mp4").await.unwrap();
    // The workers are those of the images: while one is busy with a picture, so many films wait.
    let few = Images::new(ImageLimits { waiting: 2, ..ImageLimits::default() });
    let films = Films::new(FilmLimits::default(), &few);
    let picture = folder.path().join("picture");
    image::RgbImage::new(2000, 2000).save_with_format(&picture, ImageFormat::Png).unwrap();
    let waiting = futures::future::join_all((0..4).map(|_| films.probe(&film, "video/mp4")));
    let (_, all) = futures::join!(few.probe(&picture), waiting);
    let busy = |done: &&Result<_, FilmError>| matches!(done, Err(FilmError::Busy));
    assert_eq!(all.iter().filter(busy).count(), 2);
}
