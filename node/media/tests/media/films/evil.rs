//! Films and sound that want something else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use homing_media::{FilmError, FilmInfo, FilmLimits, read_film};
use proptest::prelude::*;

use super::Sparse;
use super::files::{
    INFO, SEGMENT, TRACKS, Track, claims, element, flac, head, info, mp3, mp4, opus, part, sought,
    tracks, wav, webm,
};

/// One file of each kind that is looked into.
fn good() -> [(&'static str, Vec<u8>); 6] {
    [
        ("video/mp4", mp4(0, 1_000, &[Track::video(64, 48)])),
        ("video/webm", webm(&[info(Some(1_000.0)), tracks(64, 48, None)])),
        ("audio/wav", wav(8_000, 80)),
        ("audio/flac", flac(44_100, 44_100)),
        ("audio/opus", opus(48_312)),
        ("audio/mpeg", mp3(3)),
    ]
}

/// Whatever it finds, it reads no more than it may, and soon ends. A library's panic is an error, as for the workers.
fn survives(mut file: Sparse, mime: &str) -> Result<FilmInfo, FilmError> {
    let limits = FilmLimits { read_bytes: 1 << 20, time_ms: 20_000 };
    let began = Instant::now();
    let looked = catch_unwind(AssertUnwindSafe(|| read_film(&mut file, mime, &limits)));
    assert!(file.read <= limits.read_bytes, "{mime}: {} bytes are read", file.read);
    assert!(began.elapsed() < Duration::from_secs(10), "{mime}: {:?}", began.elapsed());
    looked.unwrap_or_else(|_| Err(FilmError::Damaged("a panic".to_owned())))
}

#[test]
fn sizes_that_cannot_be_are_not_believed() {
    for size in [1 << 60, 1 << 63, u64::MAX, 0, 15] {
        let large = |kind: &[u8; 4]| [&[0, 0, 0, 1][..], kind, &size.to_be_bytes()].concat();
        for bytes in [
            [part(b"ftyp", b"isom\0\0\0\0"), large(b"mdat")].concat(),
            [part(b"ftyp", b"isom\0\0\0\0"), large(b"moov"), vec![0; 200]].concat(),
            part(b"moov", &[large(b"trak"), vec![0; 200]].concat()),
            part(b"moov", &part(b"trak", &[large(b"tkhd"), vec![0; 200]].concat())),
        ] {
            assert!(survives(Sparse::of(&bytes), "video/mp4").is_err(), "{size}");
        }
    }
    let (said, pictures) = (info(Some(9.0)), tracks(64, 48, None));
    let file = Sparse::new(1 << 57, &[0]).with(0, &sought(&said, &pictures));
    assert!(survives(file, "video/webm").is_ok(), "what is far behind does not matter");
    let title = |size| element(&INFO, &claims(&[0x7b, 0xa9], size, b"a title"));
    let track = |size| element(&TRACKS, &claims(&[0xae], size, &[0xd7, 0x81, 1]));
    let private = |size| claims(&[0x63, 0xa2], size, b"private");
    for size in [1 << 21, 1 << 32, 1 << 50, (1 << 56) - 2] {
        for bytes in [
            sought(&claims(&INFO, size, &[0; 50]), &pictures),
            sought(&title(size), &pictures),
            sought(&said, &track(size)),
            sought(&said, &element(&TRACKS, &element(&[0xae], &private(size)))),
        ] {
            // In a file that would have so much: what it says it measures is not taken.
            let file = Sparse::new(1 << 57, &[0]).with(0, &bytes);
            assert!(survives(file, "video/webm").is_err(), "{size}");
        }
    }
    let claimed = [b"RIFF\xff\xff\xff\xffWAVEfmt ", &u32::MAX.to_le_bytes()[..]].concat();
    let file = Sparse::new(1 << 40, &[0]).with(0, &claimed);
    assert!(survives(file, "audio/wav").is_err());
}

#[test]
fn what_is_nested_is_not_followed() {
    const DEPTH: u32 = 30_000;
    let kinds = [b"moov", b"trak", b"mdia"];
    let header = |level: u32| {
        let size = (DEPTH - level) * 8;
        [size.to_be_bytes(), *kinds[level as usize % kinds.len()]].concat()
    };
    let boxes: Vec<u8> = (0..DEPTH).flat_map(header).collect();
    assert_eq!(survives(Sparse::of(&boxes), "video/mp4").unwrap_err().reason(), "film_unsaid");
    let header = |level: u32| claims(&[0xb6], u64::from(DEPTH - level - 1) * 9, &[]);
    let elements: Vec<u8> = (0..DEPTH).flat_map(header).collect();
    for id in [&SEGMENT, &TRACKS, &INFO, &[0x10, 0x43, 0xa7, 0x70]] {
        let file = webm(&[info(Some(9.0)), element(id, &element(&[0xae], &elements))]);
        let _ = survives(Sparse::of(&file), "video/webm");
    }
}

/// Each would keep somebody busy for a while, or fill memory.
#[test]
fn what_has_no_end_is_left() {
    const LENGTH: u64 = 100_000_000;
    let boxes = |size: u64, kind: &[u8; 4]| {
        [&u32::try_from(size).unwrap().to_be_bytes()[..], kind].concat()
    };
    let empty = boxes(8, b"free");
    let segment = [head(), claims(&SEGMENT, LENGTH - 100, &[])].concat();
    let said = info(Some(9.0));
    let mut described = flac(44_100, 44_100)[..42].to_vec();
    described[4] = 0;
    for (mime, begins, pattern) in [
        ("video/mp4", vec![], &empty[..]),
        ("video/mp4", boxes(LENGTH, b"moov"), &empty),
        ("video/mp4", [boxes(LENGTH, b"moov"), boxes(LENGTH - 8, b"trak")].concat(), &empty),
        ("video/webm", head(), &[0]),
        ("video/webm", segment.clone(), &[0xec, 0x80]),
        // Its first element is a checksum, which the library looks at again and again.
        ("video/webm", segment, &[0xbf, 0x80]),
        ("video/webm", sought(&said, &claims(&TRACKS, 700_000, &[])), &[0xae, 0x80]),
        ("audio/mpeg", vec![], &[0]),
        ("audio/mpeg", vec![], &[0xff, 0xfb]),
        ("audio/mpeg", vec![], b"ID3\x03\0\0\0\0\0\0"),
        ("audio/aac", vec![], &[0xff, 0xf1, 0x50]),
        ("audio/flac", described, &[0, 0, 1, 0]),
        ("audio/opus", vec![], b"OggS"),
        ("audio/ogg", opus(48_312), &[0xff]),
        ("audio/wav", b"RIFF\0\0\0\0WAVE".to_vec(), b"\0\0\0\0junk"),
        ("audio/x-aiff", b"FORM\0\0\0\0AIFF".to_vec(), b"\0\0\0\0junk"),
    ] {
        let pattern = match begins.len() % 2 {
            1 if mime == "video/webm" => [pattern[1], pattern[0]].to_vec(),
            _ => pattern.to_vec(),
        };
        let file = Sparse::new(LENGTH, &pattern).with(0, &begins);
        let found = survives(file, mime);
        assert!(found.is_err(), "{mime} {pattern:?}: {found:?}");
    }
}

#[test]
fn what_is_cut_anywhere_is_survived() {
    for (mime, bytes) in good() {
        let whole = survives(Sparse::of(&bytes), mime).unwrap();
        for end in 0..bytes.len() {
            if let Ok(found) = survives(Sparse::of(&bytes[..end]), mime) {
                assert!(found.width.is_none() || found.width == whole.width, "{mime} {end}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn damage_is_survived(
        which in 0..6_usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let (mime, mut bytes) = good()[which].clone();
        for (at, to) in flips {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let _ = survives(Sparse::of(&bytes), mime);
    }

    #[test]
    fn anything_behind_a_right_beginning_is_survived(
        which in 0..6_usize,
        kept in 4..60_usize,
        rest in proptest::collection::vec(any::<u8>(), 0..3_000),
    ) {
        let (mime, bytes) = &good()[which];
        let bytes = [&bytes[..kept.min(bytes.len())], &rest].concat();
        let _ = survives(Sparse::of(&bytes), mime);
    }
}
