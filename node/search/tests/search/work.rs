//! A search does not do more than it may, whatever is asked, and gets to the end in turns.

use homing_search::{Query, Search};

use crate::{add, channel, key, new_in, pages};

#[test]
fn a_search_for_what_everybody_says_takes_its_steps_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = new_in(dir.path());
    // Two channels by turns, in several parts of the index.
    for pos in 1..=3_000 {
        add(&writer, key(pos, (pos % 2) as u8, pos), "the same again");
        if pos % 700 == 0 {
            writer.commit(pos).unwrap();
        }
    }
    // All at the same time.
    for pos in 3_001..=3_400 {
        add(&writer, key(9_000, 1, pos), "the same again");
    }
    writer.commit(4_000).unwrap();
    let query = Query::parse("the same").unwrap();
    let index = writer.index();
    let mine = [channel(1)];
    // None may be seen: work is bounded all the same, and it is said where it goes on.
    let (mut below, mut calls) = (None, 0);
    loop {
        let search = Search {
            query: &query,
            channels: &mine,
            sees: &mut |_, _| false,
            below,
            limit: 10,
            steps: 500,
        };
        let found = index.search(search).unwrap();
        assert!(found.keys.is_empty());
        assert!(found.steps <= 500, "{}", found.steps);
        calls += 1;
        match found.next {
            Some(next) => below = Some(next),
            None => break,
        }
    }
    assert!((4..20).contains(&calls), "{calls}");
    for (limit, steps) in [(1, 50), (7, 3), (50, 100_000), (4_000, 17)] {
        let found = pages(&index, &query, &mine, limit, steps);
        assert_eq!(found.len(), 1_500 + 400, "{limit} {steps}");
    }
}

#[test]
fn the_own_channels_lead_where_words_are_common() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = new_in(dir.path());
    for pos in 1..=5_000 {
        let number = if pos % 500 == 0 { 1 } else { 2 };
        add(&writer, key(pos, number, pos), "the same again");
    }
    writer.commit(1).unwrap();
    let query = Query::parse("again the same").unwrap();
    let search = Search {
        query: &query,
        channels: &[channel(1)],
        sees: &mut |_, _| true,
        below: None,
        limit: 100,
        steps: 1_000,
    };
    let found = writer.index().search(search).unwrap();
    assert_eq!((found.keys.len(), found.next), (10, None));
    assert!(found.steps < 20, "{}", found.steps);
}

#[test]
fn a_beginning_of_very_many_words_is_found_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = new_in(dir.path());
    for pos in 1..=600 {
        add(&writer, key(pos, 1, pos), &format!("order4{pos:04}"));
    }
    add(&writer, key(1_000, 1, 1_000), "ordinary");
    writer.commit(1).unwrap();
    let query = Query::parse("order4").unwrap();
    let found = pages(&writer.index(), &query, &[channel(1)], 50, 10_000);
    assert!((600..=601).contains(&found.len()), "{}", found.len());
}
