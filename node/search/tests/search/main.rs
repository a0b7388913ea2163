//! What is found, held against looking at everything.

// Helpers beside the test functions may unwrap as well.
#![allow(clippy::unwrap_used)]

mod damage;
mod erase;
mod model;
mod queries;
mod work;

use homing_search::{Channel, Document, Found, Index, Key, Options, Query, Search, Writer, open};

pub(crate) fn options() -> Options {
    Options { life: "home.1".into(), memory_bytes: 15_000_000 }
}

pub(crate) fn channel(number: u8) -> Channel {
    let mut id = [7; 16];
    // The halves of several are alike.
    id[usize::from(number % 2) * 15] = number;
    id
}

pub(crate) fn key(stamp: u64, number: u8, pos: u64) -> Key {
    Key { stamp, channel: channel(number), pos }
}

pub(crate) fn new_in(folder: &std::path::Path) -> Writer {
    open(&folder.join("search"), &options()).unwrap().0
}

pub(crate) fn add(writer: &Writer, key: Key, text: &str) {
    writer.add(&Document { key, texts: &[text] }).unwrap();
}

/// All that may match in channels, in pages.
pub(crate) fn pages(
    index: &Index,
    query: &Query,
    channels: &[Channel],
    limit: usize,
    steps: usize,
) -> Vec<Key> {
    let (mut all, mut below) = (Vec::new(), None);
    loop {
        let search = Search { query, channels, sees: &mut |_, _| true, below, limit, steps };
        let Found { keys, next, .. } = index.search(search).unwrap();
        assert!(keys.len() <= limit);
        all.extend(keys);
        match next {
            Some(next) => assert!(below.is_none_or(|below| next < below), "it goes on"),
            None => return all,
        }
        below = next;
    }
}
