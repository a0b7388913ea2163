//! The index beside a store in memory: what it is not told of, and who searches too much.

use bytes::Bytes;
use homing_core::{Home, NewAccount, Policy, SendCommand, Target};
use homing_store::MemoryStore;
use homing_wire::{Epoch, Kind, MessageId, Stamp, UserId};
use uuid::Uuid;

use super::*;

const NOW_MS: u64 = 1_760_000_000_000;
const HOME: HomeId = HomeId([1; 32]);
const EPOCH: Epoch = Epoch(NOW_MS);

fn limits(folder: &std::path::Path) -> SearchLimits {
    SearchLimits {
        folder: folder.join("search"),
        memory_bytes: 16 << 20,
        commit_every: Duration::ZERO,
        of_user: 2,
        erase_after: Duration::ZERO,
    }
}

fn local(name: &str) -> Local {
    Local::canonical(name).unwrap()
}

/// A home of alice's on that store, who writes to bob.
fn home(store: &MemoryStore) -> Home {
    home_in(store, EPOCH)
}

fn home_in(store: &MemoryStore, epoch: Epoch) -> Home {
    let stamp = Stamp(0);
    let mut home = Home::new(HOME, epoch, Policy::default(), 0, stamp, NOW_MS, store).unwrap();
    for (name, id) in [("alice", 7), ("bob", 8)] {
        let new = NewAccount {
            local: local(name),
            user_id: UserId(Uuid::from_u128(id)),
            display_name: name.to_owned(),
            password: String::new(),
            invite: None,
        };
        home.register(store, NOW_MS, new).unwrap();
    }
    let step = home.take_step();
    store.commit(&step.batch).unwrap();
    home.committed(step.number);
    home
}

/// What alice has said to bob, not committed yet, and where.
fn said(home: &mut Home, store: &MemoryStore, number: u128) -> (Batch, ChannelId) {
    worded(home, store, number, "needle")
}

fn worded(home: &mut Home, store: &MemoryStore, number: u128, word: &str) -> (Batch, ChannelId) {
    let command = SendCommand {
        sender: local("alice"),
        target: Target::To(homing_wire::UserRef::new(HOME, local("bob"))),
        id: None,
        fresh_id: MessageId(Uuid::from_u128(number)),
        op: None,
        kind: Kind::Text,
        body: Bytes::from(format!(r#"{{"type":"text","text":"{word} {number}"}}"#)),
        mentions: Vec::new(),
        about: None,
        media: Vec::new(),
    };
    let sent = home.send(store, NOW_MS, command).unwrap();
    let step = home.take_step();
    home.committed(step.number);
    (step.batch, sent.channel)
}

/// The places that are found, once there are so many.
fn until_found(search: &Search, channel: ChannelId, many: usize) -> Vec<u64> {
    let query = homing_search::Query::parse("needle").unwrap();
    let begun = Instant::now();
    loop {
        let found = search.find(homing_search::Search {
            query: &query,
            channels: &[*channel.as_bytes()],
            sees: &mut |_, _| true,
            below: None,
            limit: 100,
            steps: 1_000,
        });
        let places: Vec<u64> =
            found.iter().flat_map(|found| &found.keys).map(|key| key.pos).collect();
        if places.len() == many && !search.is_indexing() {
            return places;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "found {places:?}, wanted {many}");
        std::thread::yield_now();
    }
}

#[test]
fn news_of_more_channels_than_are_remembered_is_looked_for_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new(HOME, EPOCH));
    let mut home = home(&store);
    // Before the index: it is made from what is there.
    let (batch, channel) = said(&mut home, &store, 1);
    store.commit(&batch).unwrap();
    let (search, indexer) = Search::start(limits(dir.path()), store.clone()).unwrap();
    assert_eq!(until_found(&search, channel, 1), [1]);
    // In one step with so much of others that nobody knows any more where something was new.
    let (mut batch, _) = said(&mut home, &store, 2);
    let others = (0..=NEWS as u128).map(|n| {
        let channel = ChannelId(Uuid::from_u128(n));
        Write::Pruned { channel, upto: homing_wire::Pos(0) }
    });
    batch.writes.extend(others);
    store.commit(&batch).unwrap();
    assert_eq!(until_found(&search, channel, 2), [2, 1]);
    let (batch, _) = said(&mut home, &store, 3);
    store.commit(&batch).unwrap();
    assert_eq!(until_found(&search, channel, 3), [3, 2, 1]);
    indexer.stop();
    // What comes behind the end is nobody's news, and is there at the next start.
    let (batch, _) = said(&mut home, &store, 4);
    store.commit(&batch).unwrap();
    let (search, indexer) = Search::start(limits(dir.path()), store).unwrap();
    assert_eq!(until_found(&search, channel, 4), [4, 3, 2, 1]);
    indexer.stop();
}

/// A disk that was set back: places of the index would be of messages that are not there.
#[test]
fn an_index_that_is_ahead_of_its_store_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) =
        (Arc::new(MemoryStore::new(HOME, EPOCH)), Arc::new(MemoryStore::new(HOME, EPOCH)));
    let mut channel = None;
    for (store, many) in [(&new, 5), (&old, 2)] {
        let mut home = home(store);
        for number in 1..=many {
            let (batch, at) = said(&mut home, store, number);
            store.commit(&batch).unwrap();
            channel = Some(at);
        }
        let (search, indexer) = Search::start(limits(dir.path()), store.clone()).unwrap();
        let found = until_found(&search, channel.unwrap(), many as usize);
        assert_eq!(found, (1..=many as u64).rev().collect::<Vec<_>>());
        indexer.stop();
    }
}

/// A restored home has other messages at the same places.
#[test]
fn an_index_of_another_life_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let later = Epoch(EPOCH.0 + 1);
    for (epoch, words, found) in
        [(EPOCH, &["needle"][..], &[1][..]), (later, &["other", "other", "needle"], &[3])]
    {
        let store = Arc::new(MemoryStore::new(HOME, epoch));
        let mut home = home_in(&store, epoch);
        let mut channel = None;
        for (number, word) in (1..).zip(words) {
            let (batch, at) = worded(&mut home, &store, number, word);
            store.commit(&batch).unwrap();
            channel = Some(at);
        }
        let (search, indexer) = Search::start(limits(dir.path()), store).unwrap();
        assert_eq!(until_found(&search, channel.unwrap(), found.len()), found);
        indexer.stop();
    }
}

/// The words of what is deleted leave the files.
#[test]
fn what_is_deleted_leaves_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new(HOME, EPOCH));
    let mut home = home(&store);
    let mut channel = None;
    // All in one part of the index, of which so little goes that no merge begins by itself.
    for number in 1..=10 {
        let (batch, at) = said(&mut home, &store, number);
        store.commit(&batch).unwrap();
        channel = Some(at);
    }
    let channel = channel.unwrap();
    let (search, indexer) = Search::start(limits(dir.path()), store.clone()).unwrap();
    until_found(&search, channel, 10);
    let of = MessageId(Uuid::from_u128(2));
    let command = SendCommand {
        sender: local("alice"),
        target: Target::Channel(channel),
        id: None,
        fresh_id: MessageId(Uuid::from_u128(9)),
        op: None,
        kind: Kind::Delete,
        body: Bytes::from_static(br#"{"type":"delete"}"#),
        mentions: Vec::new(),
        about: Some(homing_wire::Target {
            sender: homing_wire::UserRef::new(HOME, local("alice")),
            id: of,
        }),
        media: Vec::new(),
    };
    home.send(&*store, NOW_MS, command).unwrap();
    let step = home.take_step();
    store.commit(&step.batch).unwrap();
    let there = [10, 9, 8, 7, 6, 5, 4, 3, 1];
    assert_eq!(until_found(&search, channel, 9), there);
    let begun = Instant::now();
    let value = |name: &str| {
        let families = search.families();
        families.iter().find(|family| family.name == name).unwrap().values[0].1
    };
    while value("search_removed_documents") > 0.0 || value("search_rewritten") < 1.0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "its words stay");
        std::thread::yield_now();
    }
    assert_eq!(until_found(&search, channel, 9), there);
    indexer.stop();
}

#[test]
fn a_user_has_so_many_searches_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new(HOME, EPOCH));
    let (search, indexer) = Search::start(limits(dir.path()), store).unwrap();
    let one = search.turn(&local("alice"));
    let two = search.turn(&local("alice"));
    assert!(one.is_some() && two.is_some());
    assert!(search.turn(&local("alice")).is_none());
    assert!(search.turn(&local("bob")).is_some(), "another's are another's");
    drop(one);
    assert!(search.turn(&local("alice")).is_some());
    drop(two);
    assert!(search.searching.lock().is_empty(), "nobody is remembered");
    indexer.stop();
}
