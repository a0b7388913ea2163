//! Random documents, removals, commits, openings and queries against a list that is gone through.

use std::collections::BTreeMap;

use homing_search::{Key, Opened, Query, open};
use proptest::prelude::*;

use crate::{add, channel, key, new_in, options, pages};

/// Parts of texts: alike at their beginnings, of several scripts.
const PARTS: &[&str] = &[
    "con",
    "conf",
    "confer",
    "conference",
    "Café",
    "cafe",
    "a",
    "b",
    "ab",
    "straße",
    "STRASSE",
    "東",
    "東京",
    "京都",
    "東京都",
    "タワー",
    "สวัสดี",
    "สวัส",
    "ดี",
    "👍",
    "👍🏽",
    "👩‍💻",
    "שלום",
    "v2",
    "2",
];

fn text() -> impl Strategy<Value = String> {
    let part = (prop::sample::select(PARTS), prop::sample::select(&[" ", "", "-", ", "][..]));
    prop::collection::vec(part, 1..6)
        .prop_map(|parts| parts.iter().flat_map(|(part, gap)| [*part, *gap]).collect())
}

#[derive(Clone, Debug)]
enum Deed {
    Write { channel: u8, stamp: u64, text: String },
    Edit { which: usize, text: String },
    Remove { which: usize },
    Commit,
    Reopen,
    Look { text: String, channels: Vec<u8>, limit: usize, steps: usize },
}

fn deed() -> impl Strategy<Value = Deed> {
    let look = (text(), prop::collection::vec(0..4u8, 1..4), 1..5usize, 1..12usize);
    prop_oneof![
        // Few stamps: many documents have the same.
        10 => (0..4u8, 0..12u64, text())
            .prop_map(|(channel, stamp, text)| Deed::Write { channel, stamp, text }),
        2 => (any::<usize>(), text()).prop_map(|(which, text)| Deed::Edit { which, text }),
        2 => any::<usize>().prop_map(|which| Deed::Remove { which }),
        2 => Just(Deed::Commit),
        1 => Just(Deed::Reopen),
        6 => look.prop_map(|(text, channels, limit, steps)| {
            Deed::Look { text, channels, limit, steps }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_is_what_going_through_everything_finds(
        deeds in prop::collection::vec(deed(), 1..60)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = new_in(dir.path());
        let mut texts: BTreeMap<Key, String> = BTreeMap::new();
        let mut places = [0; 4];
        let (mut commits, mut fresh) = (0, false);
        for deed in deeds {
            fresh |= matches!(deed, Deed::Write { .. } | Deed::Edit { .. } | Deed::Remove { .. });
            let nth = |which: usize| texts.keys().nth(which % texts.len().max(1)).copied();
            match deed {
                Deed::Write { channel, stamp, text } => {
                    let pos = &mut places[usize::from(channel)];
                    *pos += 1;
                    let key = key(stamp, channel, *pos);
                    add(&writer, key, &text);
                    texts.insert(key, text);
                }
                Deed::Edit { which, text } => {
                    let Some(key) = nth(which) else { continue };
                    writer.remove(&key.channel, key.pos);
                    add(&writer, key, &text);
                    texts.insert(key, text);
                }
                Deed::Remove { which } => {
                    let Some(key) = nth(which) else { continue };
                    writer.remove(&key.channel, key.pos);
                    texts.remove(&key);
                }
                Deed::Commit => {
                    commits += 1;
                    writer.commit(commits).unwrap();
                }
                Deed::Reopen => {
                    commits += 1;
                    writer.commit(commits).unwrap();
                    drop(writer);
                    let (again, opened) = open(&dir.path().join("search"), &options()).unwrap();
                    prop_assert_eq!(opened, Opened::Upto(commits));
                    writer = again;
                }
                Deed::Look { text, channels, limit, steps } => {
                    let Ok(query) = Query::parse(&text) else { continue };
                    if std::mem::take(&mut fresh) {
                        commits += 1;
                        writer.commit(commits).unwrap();
                    }
                    let mut channels: Vec<_> = channels.into_iter().map(channel).collect();
                    channels.sort_unstable();
                    channels.dedup();
                    let expected: Vec<Key> = texts
                        .iter()
                        .rev()
                        .filter(|(key, _)| channels.contains(&key.channel))
                        .filter(|(_, text)| has_all(&query, text))
                        .map(|(key, _)| *key)
                        .collect();
                    let found = pages(&writer.index(), &query, &channels, limit, steps);
                    prop_assert!(found.windows(2).all(|two| two[0] > two[1]), "in order, once");
                    let found: Vec<Key> =
                        found.into_iter().filter(|key| has_all(&query, &texts[key])).collect();
                    prop_assert_eq!(found, expected, "{}", text);
                }
            }
        }
        writer.commit(commits + 1).unwrap();
        prop_assert_eq!(writer.index().documents(), texts.len() as u64);
        for (number, pos) in (0..).zip(places) {
            let here = |key: &&Key| key.channel == channel(number);
            let greatest = texts.keys().filter(here).map(|key| key.pos).max();
            prop_assert_eq!(writer.index().reached(&channel(number)).unwrap(), greatest);
            let mut all = writer.index().places(&channel(number), pos, 1_000).unwrap();
            all.sort_unstable();
            let mut expected: Vec<u64> = texts.keys().filter(here).map(|key| key.pos).collect();
            expected.sort_unstable();
            prop_assert_eq!(all, expected);
        }
    }
}

fn has_all(query: &Query, text: &str) -> bool {
    query.matches([text])
}
