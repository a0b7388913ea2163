//! What was removed leaves the files.

use std::collections::BTreeSet;
use std::path::Path;

use homing_search::{Query, Search};

use crate::{add, channel, key, new_in, options, pages};

/// The files that hold words.
fn files(folder: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder.join("search")).unwrap();
    let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".term") || name.ends_with(".idx")).collect()
}

#[test]
fn a_part_is_written_anew_without_what_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = new_in(dir.path());
    // So few of them go that no merge begins by itself.
    for pos in 1..=10 {
        add(&writer, key(pos, 1, pos), &format!("needle number{pos}"));
    }
    writer.commit(10).unwrap();
    add(&writer, key(11, 1, 11), "needle beside");
    writer.commit(11).unwrap();
    let before = files(dir.path());
    assert_eq!(writer.parts_with_removed().unwrap(), []);
    writer.remove(&channel(1), 2);
    writer.commit(12).unwrap();
    let index = writer.index();
    assert_eq!((index.documents(), index.removed()), (10, 1));
    let parts = writer.parts_with_removed().unwrap();
    assert_eq!(parts.len(), 1, "the other part is as it was");
    assert!(writer.rewrite(parts[0]).unwrap());
    assert_eq!((index.documents(), index.removed()), (10, 0));
    let after = files(dir.path());
    assert_eq!(before.intersection(&after).count(), 2, "of the other part: {before:?} {after:?}");
    assert_eq!(after.len(), before.len(), "the old files are gone");
    // What it is up to stays, and what is there is found.
    assert!(!writer.rewrite(parts[0]).unwrap(), "it is there no more");
    let found = |words: &str| {
        let query = Query::parse(words).unwrap();
        pages(&index, &query, &[channel(1)], 10, 1_000)
    };
    let there: Vec<u64> = found("needle").iter().map(|key| key.pos).collect();
    assert_eq!(there, [11, 10, 9, 8, 7, 6, 5, 4, 3, 1]);
    assert_eq!(found("number2"), []);
    drop(writer);
    let opened = homing_search::open(&dir.path().join("search"), &options()).unwrap().1;
    assert_eq!(opened, homing_search::Opened::Upto(12));
}

#[test]
fn a_part_of_which_nothing_is_left_goes_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = new_in(dir.path());
    add(&writer, key(1, 1, 1), "needle");
    writer.commit(1).unwrap();
    writer.remove(&channel(1), 1);
    writer.commit(2).unwrap();
    for part in writer.parts_with_removed().unwrap() {
        writer.rewrite(part).unwrap();
    }
    writer.collect().unwrap();
    assert_eq!(files(dir.path()), BTreeSet::new());
}

/// Whoever is in the middle of a search goes on in the files that it began with.
#[test]
fn a_search_goes_on_while_its_part_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = new_in(dir.path());
    for pos in 1..=100 {
        add(&writer, key(pos, 1, pos), "needle");
    }
    writer.commit(100).unwrap();
    writer.remove(&channel(1), 50);
    writer.commit(101).unwrap();
    let (index, query) = (writer.index(), Query::parse("needle").unwrap());
    let mut seen = 0;
    let search = Search {
        query: &query,
        channels: &[channel(1)],
        sees: &mut |_, _| {
            seen += 1;
            if seen == 10 {
                let part = writer.parts_with_removed().unwrap()[0];
                assert!(writer.rewrite(part).unwrap());
            }
            true
        },
        below: None,
        limit: 200,
        steps: 10_000,
    };
    assert_eq!(index.search(search).unwrap().keys.len(), 99);
    writer.collect().unwrap();
    assert_eq!(files(dir.path()).len(), 2, "the old ones go once nobody reads them");
}
