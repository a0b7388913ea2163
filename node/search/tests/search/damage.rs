//! An index that is not what was written is made anew, and one that was not closed is whole.

use std::fs;
use std::path::Path;

use homing_search::{Opened, Options, Query, Writer, inspect, open};

use crate::{add, channel, key, options, pages};

fn opened(folder: &Path) -> (Writer, Opened) {
    open(folder, &options()).unwrap()
}

fn filled(folder: &Path) {
    let (mut writer, _) = opened(folder);
    for pos in 1..=50 {
        add(&writer, key(pos, 1, pos), "some words here");
    }
    writer.commit(77).unwrap();
}

fn found(writer: &Writer) -> usize {
    pages(&writer.index(), &Query::parse("words").unwrap(), &[channel(1)], 100, 1_000).len()
}

#[test]
fn what_was_committed_is_there_and_what_was_not_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("search");
    assert_eq!(opened(&folder).1, Opened::Missing);
    assert_eq!(opened(&folder).1, Opened::Upto(0));
    filled(&folder);
    let (writer, how) = opened(&folder);
    assert_eq!((how, found(&writer)), (Opened::Upto(77), 50));
    add(&writer, key(51, 1, 51), "some words here");
    drop(writer); // as a crash does
    let (writer, how) = opened(&folder);
    assert_eq!((how, found(&writer)), (Opened::Upto(77), 50));
    let state = inspect(&folder, "home.1").unwrap().unwrap();
    assert_eq!((state.upto, state.documents), (77, 50));
    assert!(state.bytes > 500);
    assert!(inspect(&folder, "home.2").unwrap().is_none());
    assert!(inspect(&dir.path().join("none"), "home.1").unwrap().is_none());
}

#[test]
fn an_index_of_something_else_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("search");
    filled(&folder);
    let other = Options { life: "home.2".into(), ..options() };
    let (writer, how) = open(&folder, &other).unwrap();
    assert_eq!((how, found(&writer)), (Opened::Foreign, 0));
}

/// Every file in turn is overwritten, cut off, or removed.
#[test]
fn a_damaged_index_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("search");
    filled(&folder);
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".lock"))
        .collect();
    assert!(names.len() > 4, "{names:?}");
    for name in names {
        for harm in 0..3 {
            let _ = fs::remove_dir_all(&folder);
            filled(&folder);
            // The parts of an index are called otherwise each time.
            let kind = Path::new(&name).extension().map(|kind| kind.to_owned());
            let path =
                fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).find(|path| {
                    path.extension().map(|kind| kind.to_owned()) == kind
                        && (kind.as_deref() != Some("json".as_ref()) || path.ends_with(&name))
                });
            let Some(path) = path else { continue };
            let len = fs::metadata(&path).unwrap().len();
            match harm {
                0 => fs::write(&path, vec![0xa5; len as usize]).unwrap(),
                1 => fs::write(&path, &fs::read(&path).unwrap()[..len as usize / 2]).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
            let (writer, how) = opened(&folder);
            let whole = how == Opened::Upto(77) && found(&writer) == 50;
            let anew = matches!(how, Opened::Damaged(_) | Opened::Foreign) && found(&writer) == 0;
            assert!(whole || anew, "{}: {how:?}", path.display());
            // What is known beside the index may be missed, but not what searches read.
            let beside = path.ends_with(".managed.json");
            assert!(anew || beside, "{}: {how:?}", path.display());
            drop(writer);
            assert!(matches!(opened(&folder).1, Opened::Upto(_)), "and then it is whole");
        }
    }
}
