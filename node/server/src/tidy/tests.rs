//! The thread beside a store in memory, and what an operator is told.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use homing_core::{Home, NewAccount, Policy, Reader as _, SendCommand, Target};
use homing_store::MemoryStore;
use homing_wire::{Epoch, HomeId, Kind, Local, MessageId, Pos, Stamp, UserId, UserRef};
use uuid::Uuid;

use super::*;

const NOW_MS: u64 = 1_760_000_000_000;
const HOME: HomeId = HomeId([1; 32]);

fn local(name: &str) -> Local {
    Local::canonical(name).unwrap()
}

/// A store in which alice has said something to bob, and deleted it.
fn store() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new(HOME, Epoch(NOW_MS)));
    let mut home =
        Home::new(HOME, Epoch(NOW_MS), Policy::default(), 0, Stamp(0), NOW_MS, &*store).unwrap();
    for (name, id) in [("alice", 7), ("bob", 8)] {
        let new = NewAccount {
            local: local(name),
            user_id: UserId(Uuid::from_u128(id)),
            display_name: name.to_owned(),
            password: String::new(),
            invite: None,
        };
        home.register(&*store, NOW_MS, new).unwrap();
    }
    let alice = UserRef::new(HOME, local("alice"));
    let said = MessageId(Uuid::from_u128(1));
    for (kind, id, body) in [
        (Kind::Text, said, r#"{"type":"text","text":"secret"}"#),
        (Kind::Delete, MessageId(Uuid::from_u128(2)), r#"{"type":"delete"}"#),
    ] {
        let command = SendCommand {
            sender: local("alice"),
            target: Target::To(UserRef::new(HOME, local("bob"))),
            id: None,
            fresh_id: id,
            op: None,
            kind,
            body: Bytes::from(body),
            mentions: Vec::new(),
            about: (kind == Kind::Delete)
                .then(|| homing_wire::Target { sender: alice.clone(), id: said }),
            media: Vec::new(),
        };
        home.send(&*store, NOW_MS, command).unwrap();
    }
    let step = home.take_step();
    store.commit(&step.batch).unwrap();
    store
}

fn body(store: &MemoryStore) -> Bytes {
    let channel = store.channels(None, 1).unwrap()[0].id;
    store.entry(channel, Pos(1)).unwrap().unwrap().event.body
}

fn value(tidier: &Tidier, name: &str) -> f64 {
    let families = tidier.families();
    families.iter().find(|family| family.name == name).unwrap().values[0].1
}

fn limits(erase_after: Duration) -> TidyLimits {
    TidyLimits { erase_after, bytes_per_s: 0 }
}

#[test]
fn what_was_deleted_long_enough_ago_goes_by_itself() {
    let store = store();
    let tidier = Tidier::new(store.clone(), limits(Duration::from_secs(1)), || NOW_MS + 1_001);
    let thread = tidier.start().unwrap();
    let begun = Instant::now();
    while value(&tidier, "store_tidy_erased") < 1.0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing went");
        std::thread::yield_now();
    }
    assert_eq!(body(&store), Bytes::new());
    thread.stop();
    store.close().unwrap();
    thread.join();
    assert_eq!(value(&tidier, "store_tidy_waiting"), 0.0);
}

#[test]
fn what_was_deleted_just_now_stays_for_its_time() {
    let store = store();
    let hour = Duration::from_secs(3_600);
    let tidier = Tidier::new(store.clone(), limits(hour), || NOW_MS + 5_000);
    tidier.round().unwrap();
    assert_ne!(body(&store), Bytes::new());
    assert_eq!(value(&tidier, "store_tidy_waiting"), 1.0);
    assert_eq!(value(&tidier, "store_tidy_oldest_seconds"), 5.0);
    // Where an operator wants it, all that is due by then.
    assert_eq!(tidier.compact(NOW_MS).unwrap(), CompactRow::default());
    assert_eq!(tidier.compact(NOW_MS + 1).unwrap().erased, 1);
    assert_eq!(body(&store), Bytes::new());
    assert_eq!(value(&tidier, "store_tidy_waiting"), 0.0);
}

#[test]
fn a_step_that_is_to_go_on_is_followed_by_another() {
    let steps = std::cell::Cell::new(0);
    let row = compacted(7, |wish| {
        assert_eq!(
            *wish,
            Tidy { erase_before_ms: 7, seal_every_ms: 0, bytes_per_s: 0, everything: true }
        );
        steps.set(steps.get() + 1);
        Ok(Tidied { more: steps.get() < 3, freed: 2, bytes_before: 10, ..Tidied::default() })
    });
    assert_eq!(row.unwrap(), CompactRow { freed: 6, bytes_before: 30, ..CompactRow::default() });
}

#[test]
fn a_failure_says_what_to_do() {
    let io = |kind: ErrorKind| StoreError::Io {
        what: "write",
        path: PathBuf::from("journal"),
        error: Arc::new(kind.into()),
    };
    for (error, word) in [
        (io(ErrorKind::StorageFull), "make room"),
        (io(ErrorKind::Other), "SMART"),
        (StoreError::SegmentMissing { path: "journal".into() }, "homing verify"),
    ] {
        assert!(todo(&error).contains(word), "{error}");
    }
}
