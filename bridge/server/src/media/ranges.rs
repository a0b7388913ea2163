//! Which parts of a file are asked for (RFC 9110, section 14).

use std::ops::Range;

/// Parts of one answer. Whoever asks for more gets the file: reading one byte here and one there costs more than it is worth.
pub(crate) const PARTS: usize = 16;

/// Parts that are nearer to each other than this come as one: what stands between two of them in an answer is as long.
const GAP_BYTES: u64 = 128;

/// What of a file is to be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// All of it: nothing else was asked, or nothing that can be read.
    Whole,
    /// One part.
    One(Range<u64>),
    /// Several, ascending, apart from each other: never more bytes than the file has.
    Several(Vec<Range<u64>>),
    /// What was asked lies beyond its end.
    None,
}

/// What the header `Range` asks of a file of this size.
pub(crate) fn wanted(header: &str, size: u64) -> Wanted {
    let Some(specs) = specs(header) else {
        return Wanted::Whole;
    };
    let mut parts: Vec<Range<u64>> =
        specs.into_iter().filter_map(|spec| spec.within(size)).collect();
    parts.sort_by_key(|part| (part.start, part.end));
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(parts.len());
    for part in parts {
        match merged.last_mut() {
            Some(last) if part.start <= last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(part.end);
            }
            Some(_) | None => merged.push(part),
        }
    }
    match merged.len() {
        0 => Wanted::None,
        1 => Wanted::One(merged.swap_remove(0)),
        2.. => Wanted::Several(merged),
    }
}

#[derive(Clone, Copy)]
enum Spec {
    /// From here, to there or the end.
    From(u64, Option<u64>),
    /// So many at the end.
    Last(u64),
}

impl Spec {
    fn within(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, last) => {
                first..last.map_or(size, |last| last.saturating_add(1).min(size))
            }
            Self::Last(bytes) => size.saturating_sub(bytes)..size,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// `None`: not to be understood, which is as if it were not there.
fn specs(header: &str) -> Option<Vec<Spec>> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for text in set.split(',').map(|text| text.trim_matches([' ', '\t'])) {
        // A list may have empty places.
        if text.is_empty() {
            continue;
        }
        if specs.len() == PARTS {
            return None;
        }
        let (first, last) = text.split_once('-')?;
        specs.push(match (first, last) {
            ("", last) => Spec::Last(number(last)?),
            (first, "") => Spec::From(number(first)?, None),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return None;
                }
                Spec::From(first, Some(last))
            }
        });
    }
    (!specs.is_empty()).then_some(specs)
}

/// Digits alone; more than a file can have is as much as a file can have.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_rfc() {
        let of = |header| wanted(header, 10_000);
        assert_eq!(of("bytes=0-499"), Wanted::One(0..500));
        assert_eq!(of("bytes=500-999"), Wanted::One(500..1_000));
        assert_eq!(of("bytes=-500"), Wanted::One(9_500..10_000));
        assert_eq!(of("bytes=9500-"), Wanted::One(9_500..10_000));
        assert_eq!(of("bytes=0-0,-1"), Wanted::Several(vec![0..1, 9_999..10_000]));
        assert_eq!(of("bytes=500-600,601-999"), Wanted::One(500..1_000));
        assert_eq!(of("bytes=500-700,601-999"), Wanted::One(500..1_000));
        assert_eq!(of("Bytes= 0-999, 4500-5499, -1000"), {
            Wanted::Several(vec![0..1_000, 4_500..5_500, 9_000..10_000])
        });
    }

    #[test]
    fn what_is_no_range_is_not_there() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=0-1;2-3",
            "lines=0-1",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=--1",
            "bytes=0x1-",
            "0-1",
        ] {
            assert_eq!(wanted(header, 100), Wanted::Whole, "{header}");
        }
        let many = |n: usize| format!("bytes={}", vec!["0-0"; n].join(","));
        assert_eq!(wanted(&many(PARTS), 100), Wanted::One(0..1));
        assert_eq!(wanted(&many(PARTS + 1), 100), Wanted::Whole);
    }

    #[test]
    fn beyond_the_end() {
        assert_eq!(wanted("bytes=100-", 100), Wanted::None);
        assert_eq!(wanted("bytes=-0", 100), Wanted::None);
        assert_eq!(wanted("bytes=0-", 0), Wanted::None);
        assert_eq!(wanted("bytes=-5", 0), Wanted::None);
        assert_eq!(wanted("bytes=99999999999999999999999-", 100), Wanted::None);
        assert_eq!(wanted("bytes=0-99999999999999999999999", 100), Wanted::One(0..100));
        assert_eq!(wanted("bytes=-99999999999999999999999", 100), Wanted::One(0..100));
        assert_eq!(wanted("bytes=200-300,5-6", 100), Wanted::One(5..7), "one of them is enough");
    }

    /// Every byte that was asked for is answered, and none twice.
    #[test]
    fn as_a_simple_model_says() {
        let mut seed = 11_u64;
        let mut next = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..20_000 {
            let size = next(3_000);
            let mut asked = vec![false; size as usize];
            let mut texts = Vec::new();
            for _ in 0..1 + next(PARTS as u64) {
                let (text, first, last) = match next(3) {
                    0 => {
                        let bytes = next(3_500);
                        (format!("-{bytes}"), size.saturating_sub(bytes), size)
                    }
                    1 => {
                        let first = next(3_500);
                        (format!("{first}-"), first, size)
                    }
                    _ => {
                        let first = next(3_500);
                        let last = first + next(400);
                        (format!("{first}-{last}"), first, last + 1)
                    }
                };
                for byte in first..last.min(size) {
                    asked[byte as usize] = true;
                }
                texts.push(text);
            }
            let header = format!("bytes={}", texts.join(", "));
            let parts = match wanted(&header, size) {
                Wanted::Whole => panic!("{header}"),
                Wanted::None => vec![],
                Wanted::One(part) => vec![part],
                Wanted::Several(parts) => {
                    assert!(parts.len() > 1);
                    parts
                }
            };
            assert_eq!(parts.is_empty(), !asked.contains(&true), "{header} of {size}");
            assert!(parts.windows(2).all(|two| two[0].end + GAP_BYTES < two[1].start), "{header}");
            let mut answered = vec![false; size as usize];
            for part in &parts {
                assert!(part.start < part.end && part.end <= size, "{header} of {size}");
                assert!(asked[part.start as usize] && asked[part.end as usize - 1]);
                answered[part.start as usize..part.end as usize].fill(true);
            }
            assert!(asked.iter().zip(&answered).all(|(asked, there)| !asked || *there), "{header}");
        }
    }
}
