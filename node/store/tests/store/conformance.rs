//! The suite that every engine passes. An engine is a way to make an empty store, and a way to have it
//! opened again.

use std::sync::Arc;

use bytes::Bytes;
use homing_core::{
    Batch, ChainEnd, Fold, ListRow, LogEntry, MediaId, MediaState, MessageKey, Reader, Write,
};
use homing_store::{JournalConfig, JournalStore, MemoryStore, Store, Tap};
use homing_wire::{Epoch, Hash, HomeId, Pos, Seq, Stamp, UserRef};
use parking_lot::Mutex;

use crate::sample::{self, EPOCH, HOME};
use crate::tidy::tidy;

/// An engine under test.
pub(crate) trait Engine {
    type Store: Store;
    fn create() -> Self;
    fn store(&self) -> &Self::Store;
    /// As after a crash.
    fn reopen(&mut self);
}

pub(crate) struct Memory(Option<MemoryStore>);

impl Engine for Memory {
    type Store = MemoryStore;
    fn create() -> Self {
        Self(Some(MemoryStore::new(HOME, EPOCH)))
    }
    fn store(&self) -> &MemoryStore {
        self.0.as_ref().unwrap()
    }
    fn reopen(&mut self) {
        self.0 = self.0.take().map(MemoryStore::reopened);
    }
}

/// A journal of small segments, with checkpoints after a few batches.
pub(crate) struct Journal {
    store: Option<JournalStore>,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn small() -> JournalConfig {
    JournalConfig {
        home: Some(HOME),
        segment_bytes: 256 << 10,
        checkpoint_bytes: 64 << 10,
        entry_cache_bytes: 8 << 10,
        chunk_cache_bytes: 8 << 10,
        index_cache_bytes: 1 << 20,
        open_segments: 2,
        reserve_bytes: 0,
        ..JournalConfig::default()
    }
}

impl Engine for Journal {
    type Store = JournalStore;
    fn create() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("store");
        JournalStore::create(&at, HOME, EPOCH).unwrap();
        Self { store: Some(JournalStore::open(&at, small()).unwrap()), dir }
    }
    fn store(&self) -> &JournalStore {
        self.store.as_ref().unwrap()
    }
    fn reopen(&mut self) {
        drop(self.store.take());
        let at = self.dir.path().join("store");
        self.store = Some(JournalStore::open(&at, small()).unwrap());
    }
}

impl Journal {
    /// As after a crash that has cost the index.
    pub(crate) fn anew(&mut self) {
        drop(self.store.take());
        std::fs::remove_dir_all(self.dir.path().join("store/index")).unwrap();
        self.reopen();
    }
}

/// The same, written to the index after every batch, so that all reads come from there.
pub(crate) struct Checkpointed(Journal);

impl Engine for Checkpointed {
    type Store = JournalStore;
    fn create() -> Self {
        Self(Journal::create())
    }
    fn store(&self) -> &JournalStore {
        self.0.store().checkpoint().unwrap();
        self.0.store()
    }
    fn reopen(&mut self) {
        self.0.reopen();
    }
}

macro_rules! suite {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $case() { super::$case::<super::Memory>(); })*
        }
        mod journal {
            $(#[test] fn $case() { super::$case::<super::Journal>(); })*
        }
        mod checkpointed {
            $(#[test] fn $case() { super::$case::<super::Checkpointed>(); })*
        }
    };
}

suite!(
    an_empty_store_has_nothing,
    people_come_back,
    what_became_of_messages_comes_back,
    lists_of_users_come_back,
    when_users_were_seen_comes_back,
    a_device_answers_to_its_present_token_only,
    lists_are_ranges,
    later_writes_win,
    a_batch_twice_is_harmless,
    ops_are_found_by_age,
    what_is_owed_goes_when_nothing_is,
    what_is_asked_stays_until_it_is_answered,
    files_are_found_by_id_by_hash_and_where_they_are_named,
    own_views_are_a_users_own,
    people_are_found_by_beginnings_of_words,
    entries_come_back_byte_for_byte,
    ranges_end_before_their_bytes,
    rows_are_found_across_lives,
    what_retention_removed_is_not_read,
    an_erased_body_replaces_its_entry,
    change_and_stamp_are_of_the_newest_batch,
    a_closed_store_reads_but_commits_nothing,
    every_tap_is_told_of_every_batch_while_it_is_there,
);

fn batch(writes: Vec<Write>) -> Batch {
    Batch { change: 1, stamp: Stamp(1), writes }
}

fn commit<E: Engine>(engine: &E, writes: Vec<Write>) {
    engine.store().commit(&batch(writes)).unwrap();
}

/// Checks as committed, as rewritten, and as opened again.
fn both<E: Engine>(engine: &mut E, check: impl Fn(&E::Store)) {
    check(engine.store());
    tidy(engine.store(), 0, true);
    check(engine.store());
    engine.reopen();
    check(engine.store());
}

fn an_empty_store_has_nothing<E: Engine>() {
    both(&mut E::create(), |store| {
        assert_eq!(store.channel(sample::channel(1)).unwrap(), None);
        assert_eq!(store.account(&sample::local("alice")).unwrap(), None);
        assert_eq!(store.accounts(None, 10).unwrap(), []);
        assert_eq!(store.place(MessageKey([1; 16])).unwrap(), None);
        assert_eq!(store.entry(sample::channel(1), Pos(1)).unwrap(), None);
        assert_eq!(store.entries(sample::channel(1), Pos(0), Pos(u64::MAX), 99).unwrap(), []);
        assert_eq!(store.row(sample::channel(1), Pos(1)).unwrap(), None);
        assert_eq!(store.last_row_of(sample::channel(1), HOME, Pos(u64::MAX)).unwrap(), None);
        assert_eq!(store.row_of_seq(sample::channel(1), HOME, EPOCH, Seq(0)).unwrap(), None);
        assert_eq!(store.listing(&sample::local("alice")).unwrap(), []);
        assert_eq!(store.device(sample::token(1)).unwrap(), None);
        assert_eq!(store.devices(&sample::local("alice")).unwrap(), []);
        let list = homing_core::UserList::Contacts;
        assert_eq!(store.listed(list, &sample::local("alice"), None, 9).unwrap(), []);
        assert_eq!(store.device_by_id(&sample::local("a"), sample::device_id(1)).unwrap(), None);
        assert_eq!(store.last_seen(&sample::local("alice")).unwrap(), None);
        assert_eq!(store.invite(sample::token(1)).unwrap(), None);
        assert_eq!(store.invites().unwrap(), []);
        assert_eq!(store.owed().unwrap(), []);
        assert_eq!(store.unanswered().unwrap(), []);
        assert_eq!(store.peers().unwrap(), []);
        assert_eq!(store.op(&sample::local("alice"), sample::op(1)).unwrap(), None);
        assert_eq!(store.ops_before(u64::MAX, 10).unwrap(), []);
        let meta = store.meta();
        assert_eq!((meta.home, meta.epoch, meta.change), (HOME, EPOCH, 0));
    });
}

fn lists_of_users_come_back<E: Engine>() {
    use homing_core::UserList::{Blocks, Contacts};
    let mut engine = E::create();
    let other = |n: u8, name: &str| UserRef::new(HomeId([n; 32]), sample::local(name));
    let write = |list, owner: &str, other: UserRef, since| Write::Listed {
        list,
        owner: sample::local(owner),
        other,
        since,
    };
    let longest = "x".repeat(64);
    commit(
        &engine,
        vec![
            write(Contacts, "alice", other(2, "bob"), Some(7)),
            write(Contacts, "alice", other(0xff, &longest), Some(8)),
            write(Contacts, "alice", other(1, "zoe"), Some(9)),
            write(Contacts, "alice", other(2, "bo"), Some(10)),
            write(Contacts, "al", other(2, "carol"), Some(11)),
            write(Contacts, "alice-b", other(2, "carol"), Some(12)),
            write(Blocks, "alice", other(2, "eve"), Some(13)),
            write(Blocks, &longest, other(0xff, &longest), Some(14)),
        ],
    );
    commit(
        &engine,
        vec![
            write(Contacts, "alice", other(1, "zoe"), None),
            write(Contacts, "alice", other(1, "nobody"), None),
        ],
    );
    both(&mut engine, |store| {
        let alice = sample::local("alice");
        let (bo, bob) = ((other(2, "bo"), 10), (other(2, "bob"), 7));
        let far = (other(0xff, &longest), 8);
        let all = store.listed(Contacts, &alice, None, usize::MAX).unwrap();
        assert_eq!(all, [bo.clone(), bob.clone(), far.clone()]);
        assert_eq!(store.listed(Contacts, &alice, None, 2).unwrap(), [bo.clone(), bob.clone()]);
        assert_eq!(store.listed(Contacts, &alice, Some(&bo.0), 1).unwrap(), [bob]);
        assert_eq!(store.listed(Contacts, &alice, Some(&far.0), 9).unwrap(), []);
        assert_eq!(store.listed(Blocks, &alice, None, 9).unwrap(), [(other(2, "eve"), 13)]);
        let long = sample::local(&longest);
        assert_eq!(store.listed(Blocks, &long, None, 9).unwrap(), [(other(0xff, &longest), 14)]);
        assert!(store.is_listed(Contacts, &alice, &bo.0).unwrap());
        assert!(!store.is_listed(Blocks, &alice, &bo.0).unwrap());
        assert!(!store.is_listed(Contacts, &alice, &other(1, "zoe")).unwrap());
    });
}

fn what_became_of_messages_comes_back<E: Engine>() {
    let mut engine = E::create();
    let (one, other) = (sample::channel(1), sample::channel(2));
    let message = |n: u64| {
        let header = &sample::entry(one, n).event.header;
        homing_wire::Target { sender: header.user(), id: header.id }
    };
    let key = |n: u64| {
        let target = message(n);
        MessageKey::new(&target.sender, &target.id)
    };
    let fold = |channel, pos, hidden_from: &str| Write::Fold {
        channel,
        pos: Pos(pos),
        fold: Arc::new(Fold { hidden_from: vec![sample::local(hidden_from)], ..sample::fold() }),
    };
    let mut writes: Vec<Write> = (1..=3).map(|n| Write::Entry(sample::entry(one, n))).collect();
    for (pos, of) in [(4, 2), (5, 1), (6, 2)] {
        writes.push(Write::Entry(sample::change(one, pos, message(of))));
    }
    writes.extend([fold(one, 2, "a"), fold(one, 255, "b"), fold(one, 256, "c")]);
    writes.push(fold(other, 3, "d"));
    commit(&engine, writes);
    commit(&engine, vec![fold(one, 2, "z")]);
    both(&mut engine, |store| {
        let folds = |channel, first, last| -> Vec<(u64, String)> {
            let found = store.folds(channel, Pos(first), Pos(last)).unwrap();
            found.into_iter().map(|(pos, f)| (pos.0, f.hidden_from[0].to_string())).collect()
        };
        let row = |pos, who: &str| (pos, who.to_owned());
        assert_eq!(folds(one, 1, 1_000), [row(2, "z"), row(255, "b"), row(256, "c")]);
        assert_eq!(folds(one, 3, 255), [row(255, "b")]);
        assert_eq!(folds(one, 256, 255), []);
        assert_eq!(folds(other, 1, 9), [row(3, "d")]);
        let last = store.fold(one, Pos(256)).unwrap().unwrap();
        assert_eq!(last, Fold { hidden_from: vec![sample::local("c")], ..sample::fold() });
        assert_eq!(store.fold(one, Pos(1)).unwrap(), None);
        assert_eq!(store.changes_of(one, key(2), 9).unwrap(), [Pos(4), Pos(6)]);
        assert_eq!(store.changes_of(one, key(2), 1).unwrap(), [Pos(4)]);
        assert_eq!(store.changes_of(one, key(3), 9).unwrap(), []);
        assert_eq!(store.changes_of(other, key(2), 9).unwrap(), []);
    });
    // What retention removes is gone with all that came of it.
    commit(&engine, vec![Write::Pruned { channel: one, upto: Pos(4) }]);
    both(&mut engine, |store| {
        assert_eq!(store.fold(one, Pos(2)).unwrap(), None);
        let left = store.folds(one, Pos(1), Pos(1_000)).unwrap();
        assert_eq!(left.iter().map(|(pos, _)| pos.0).collect::<Vec<_>>(), [255, 256]);
        assert_eq!(store.changes_of(one, key(2), 9).unwrap(), [Pos(6)]);
    });
}

fn when_users_were_seen_comes_back<E: Engine>() {
    let mut engine = E::create();
    let seen = |user: &str, at| Write::Seen { user: sample::local(user), at };
    let longest = "x".repeat(64);
    let first = vec![
        seen("al", Some(1)),
        seen("alice", Some(2)),
        seen("alice", Some(3)),
        seen("bob", Some(4)),
        seen(&longest, Some(u64::MAX)),
    ];
    commit(&engine, first);
    // A clock may have been put back.
    commit(&engine, vec![seen("al", Some(0)), seen("bob", None), seen("nobody", None)]);
    both(&mut engine, |store| {
        let at = |user: &str| store.last_seen(&sample::local(user)).unwrap();
        assert_eq!([at("al"), at("alice"), at("bob")], [Some(0), Some(3), None]);
        assert_eq!([at("ali"), at(&longest)], [None, Some(u64::MAX)]);
    });
}

fn people_come_back<E: Engine>() {
    let mut engine = E::create();
    commit(
        &engine,
        vec![
            Write::Account(Box::new(sample::account("alice"))),
            Write::Account(Box::new(sample::account("al"))),
            Write::Channel(Box::new(sample::channel_at(sample::channel(9), 0))),
            Write::Device(Box::new(sample::device("alice", 1))),
            Write::Device(Box::new(sample::device("alice", 2))),
            Write::Device(Box::new(sample::device("al", 3))),
            Write::Invite(Box::new(sample::invite(1))),
            Write::Invite(Box::new(sample::invite(2))),
            Write::Peer(Box::new(sample::peer(1))),
        ],
    );
    commit(
        &engine,
        vec![
            Write::DeviceGone {
                user: sample::local("alice"),
                device: sample::device_id(1),
                token: sample::token(1),
            },
            Write::InviteGone(sample::token(1)),
        ],
    );
    both(&mut engine, |store| {
        let alice = sample::local("alice");
        assert_eq!(store.account(&alice).unwrap(), Some(sample::account("alice")));
        let state = sample::channel_at(sample::channel(9), 0);
        assert_eq!(store.channel(sample::channel(9)).unwrap(), Some(state));
        assert_eq!(store.device(sample::token(1)).unwrap(), None);
        assert_eq!(store.device(sample::token(2)).unwrap(), Some(sample::device("alice", 2)));
        assert_eq!(store.devices(&alice).unwrap(), [sample::device("alice", 2)]);
        assert_eq!(store.devices(&sample::local("al")).unwrap(), [sample::device("al", 3)]);
        assert_eq!(store.device_by_id(&alice, sample::device_id(1)).unwrap(), None);
        assert_eq!(store.invites().unwrap(), [sample::invite(2)]);
        assert_eq!(store.invite(sample::token(2)).unwrap(), Some(sample::invite(2)));
        assert_eq!(store.peers().unwrap(), [sample::peer(1)]);
    });
}

fn a_device_answers_to_its_present_token_only<E: Engine>() {
    let mut engine = E::create();
    commit(&engine, vec![Write::Device(Box::new(sample::device("alice", 1)))]);
    let mut renewed = sample::device("alice", 1);
    renewed.token = sample::token(99);
    commit(&engine, vec![Write::Device(Box::new(renewed.clone()))]);
    both(&mut engine, |store| {
        assert_eq!(store.device(sample::token(1)).unwrap(), None);
        assert_eq!(store.device(sample::token(99)).unwrap(), Some(renewed.clone()));
    });
}

fn lists_are_ranges<E: Engine>() {
    let mut engine = E::create();
    for name in ["bob", "bob.b", "bo", "alice", "zoe", "0"] {
        commit(&engine, vec![Write::Account(Box::new(sample::account(name)))]);
        let rows = (1..=3).map(|n| {
            let row = ListRow { channel: sample::channel(n), changed: n, active_at: n + 1 };
            Write::Listing { user: sample::local(name), row }
        });
        commit(&engine, rows.collect());
    }
    let channels = (1..=40).rev();
    let write = |n| Write::Channel(Box::new(sample::channel_at(sample::channel(n), 0)));
    commit(&engine, channels.map(write).collect());
    both(&mut engine, |store| {
        let names = |after: Option<&str>, limit| {
            let accounts = store.accounts(after.map(sample::local).as_ref(), limit).unwrap();
            accounts.into_iter().map(|a| a.local.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(None, 99), ["0", "alice", "bo", "bob", "bob.b", "zoe"]);
        assert_eq!(names(Some("bo"), 2), ["bob", "bob.b"]);
        assert_eq!(names(Some("zoe"), 2), [""; 0]);
        assert_eq!(names(None, 0), [""; 0]);
        // Channels by id, whatever order they were written in, page by page.
        let mut ids: Vec<_> = (1..=40).map(sample::channel).collect();
        ids.sort_unstable();
        let mut found = Vec::new();
        while let Some(page) = Some(store.channels(found.last().copied(), 7).unwrap())
            && !page.is_empty()
        {
            assert!(page.len() <= 7);
            found.extend(page.iter().map(|state| state.id));
        }
        assert_eq!(found, ids);
        assert_eq!(store.channels(None, 0).unwrap(), []);
        for name in ["bob", "bo", "0"] {
            let rows = store.listing(&sample::local(name)).unwrap();
            let mut changed: Vec<_> = rows.iter().map(|row| row.changed).collect();
            changed.sort_unstable();
            assert_eq!(changed, [1, 2, 3], "{name}");
            assert!(rows.iter().all(|row| row.channel == sample::channel(row.changed)));
        }
    });
}

fn later_writes_win<E: Engine>() {
    let mut engine = E::create();
    let account = |name: &str| {
        let mut account = sample::account("alice");
        account.display_name = name.into();
        Write::Account(Box::new(account))
    };
    let row = |changed| Write::Listing {
        user: sample::local("alice"),
        row: ListRow { channel: sample::channel(1), changed, active_at: changed },
    };
    commit(&engine, vec![account("a"), row(1), account("b"), row(2)]);
    commit(&engine, vec![row(4), account("d"), row(3), account("c")]);
    commit(
        &engine,
        vec![Write::Invite(Box::new(sample::invite(1))), Write::InviteGone(sample::token(1))],
    );
    commit(
        &engine,
        vec![Write::InviteGone(sample::token(2)), Write::Invite(Box::new(sample::invite(2)))],
    );
    both(&mut engine, |store| {
        let alice = sample::local("alice");
        assert_eq!(store.account(&alice).unwrap().unwrap().display_name, "c");
        assert_eq!(store.listing(&alice).unwrap()[0].changed, 3);
        assert_eq!(store.invites().unwrap(), [sample::invite(2)]);
    });
}

fn a_batch_twice_is_harmless<E: Engine>() {
    let mut engine = E::create();
    let channel = sample::channel(1);
    let mut writes: Vec<_> =
        (1..=70).map(|pos| Write::Entry(sample::entry(channel, pos))).collect();
    writes.push(Write::Channel(Box::new(sample::channel_at(channel, 70))));
    commit(&engine, writes.clone());
    commit(&engine, writes);
    both(&mut engine, |store| {
        let entries = store.entries(channel, Pos(1), Pos(1_000), usize::MAX).unwrap();
        assert!(entries.iter().map(|entry| entry.pos.0).eq(1..=70));
        let last = store.last_row_of(channel, HOME, Pos(1_000)).unwrap().unwrap();
        assert_eq!((last.pos, last.seq), (Pos(70), Seq(70)));
    });
}

fn ops_are_found_by_age<E: Engine>() {
    let mut engine = E::create();
    let user = sample::local("alice");
    let op = |n| Write::Op { user: user.clone(), op: sample::op(n), done: sample::op_done(n) };
    let gone = |n| Write::OpGone { user: user.clone(), op: sample::op(n) };
    commit(&engine, (1..=5).map(op).collect());
    commit(&engine, vec![gone(2), op(9), gone(9), gone(77)]);
    both(&mut engine, |store| {
        assert_eq!(store.op(&user, sample::op(1)).unwrap(), Some(sample::op_done(1)));
        assert_eq!(store.op(&user, sample::op(2)).unwrap(), None);
        let before = |ms, limit| store.ops_before(ms, limit).unwrap();
        let ids =
            |ns: &[u64]| ns.iter().map(|n| (user.clone(), sample::op(*n))).collect::<Vec<_>>();
        assert_eq!(before(4, 10), ids(&[1, 3]));
        assert_eq!(before(u64::MAX, 10), ids(&[1, 3, 4, 5]));
        assert_eq!(before(u64::MAX, 2), ids(&[1, 3]));
        assert_eq!(before(0, 2), []);
    });
    commit(&engine, vec![gone(1), gone(3), gone(4), gone(5)]);
    both(&mut engine, |store| assert_eq!(store.ops_before(u64::MAX, 10).unwrap(), []));
}

fn what_is_owed_goes_when_nothing_is<E: Engine>() {
    let mut engine = E::create();
    let owed = |peer, n, since| Write::Owed {
        peer: HomeId([peer; 32]),
        channel: sample::channel(n),
        since,
    };
    commit(&engine, vec![owed(1, 1, Some(5)), owed(1, 2, Some(6)), owed(2, 1, Some(7))]);
    commit(&engine, vec![owed(1, 1, None), owed(1, 2, Some(8)), owed(3, 3, None)]);
    both(&mut engine, |store| {
        let expected =
            [(HomeId([1; 32]), sample::channel(2), 8), (HomeId([2; 32]), sample::channel(1), 7)];
        assert_eq!(store.owed().unwrap(), expected);
    });
}

fn own_views_are_a_users_own<E: Engine>() {
    let mut engine = E::create();
    let (al, alice) = (sample::local("al"), sample::local("alice"));
    let view = |user: &homing_wire::Local, n, view| Write::OwnView {
        user: user.clone(),
        channel: sample::channel(n),
        view,
    };
    let draft = |user: &homing_wire::Local, n, text: Option<&str>| Write::Draft {
        user: user.clone(),
        channel: sample::channel(n),
        text: text.map(Into::into),
    };
    // Larger than what one entry of an index takes.
    let long = "wörd ".repeat(4_000);
    commit(&engine, vec![view(&al, 1, Some(sample::own_view(1))), draft(&al, 1, Some("a"))]);
    commit(
        &engine,
        vec![view(&alice, 2, Some(sample::own_view(2))), draft(&alice, 1, Some(&long))],
    );
    commit(&engine, vec![view(&al, 2, Some(sample::own_view(2))), draft(&alice, 2, Some("b"))]);
    commit(&engine, vec![view(&al, 1, None), view(&al, 3, None), draft(&alice, 2, None)]);
    both(&mut engine, |store| {
        let found = store.own_views(&al).unwrap();
        assert_eq!(found, [(sample::channel(2), sample::own_view(2))]);
        assert_eq!(store.own_views(&alice).unwrap(), found);
        assert_eq!(store.draft(&al, sample::channel(1)).unwrap().as_deref(), Some("a"));
        assert_eq!(store.draft(&alice, sample::channel(1)).unwrap().as_ref(), Some(&long));
        assert_eq!(store.draft(&alice, sample::channel(2)).unwrap(), None);
    });
}

fn people_are_found_by_beginnings_of_words<E: Engine>() {
    let mut engine = E::create();
    let word = |word: &str, user: &str, there| Write::Word {
        word: word.to_owned(),
        user: sample::local(user),
        there,
    };
    let names = ["al", "alice", "bob"].map(sample::local);
    commit(&engine, vec![word("al", "bob", true), word("alice", "alice", true)]);
    commit(&engine, vec![word("älteste", "al", true), word("ali", "al", true)]);
    commit(&engine, vec![word("al", "alice", true), word("al", "al", true)]);
    commit(&engine, vec![word("al", "al", false), word("zoe", "al", false)]);
    both(&mut engine, |store| {
        let [al, alice, bob] = &names;
        let found = |beginning, limit| store.found_by(beginning, limit).unwrap();
        let all = [alice, bob, al, alice].map(Clone::clone);
        assert_eq!(found("al", 9), all, "by word, then by name");
        assert_eq!(found("al", 2), all[..2]);
        assert_eq!(found("ali", 9), all[2..]);
        assert_eq!(found("ä", 9), std::slice::from_ref(al));
        assert_eq!(found("b", 9), []);
        assert!(store.has_word("al", bob).unwrap() && !store.has_word("al", al).unwrap());
    });
}

fn what_is_asked_stays_until_it_is_answered<E: Engine>() {
    let mut engine = E::create();
    let asked = |home, user, n, open| {
        let (home, user, channel) = (HomeId([home; 32]), sample::local(user), sample::channel(n));
        Write::Unanswered { home, user, channel, open }
    };
    let both_of = |user, n| vec![asked(1, user, n, true), asked(2, user, n, true)];
    commit(&engine, [both_of("alice", 1), both_of("al", 1), both_of("alice", 2)].concat());
    commit(&engine, vec![asked(1, "alice", 1, false), asked(2, "al", 1, false)]);
    both(&mut engine, |store| {
        let found = store.unanswered().unwrap().into_iter();
        let found: Vec<_> = found.map(|(home, user, channel)| (home.0[0], user, channel)).collect();
        let row = |home, user, n| (home, sample::local(user), sample::channel(n));
        let expected =
            [row(1, "al", 1), row(1, "alice", 2), row(2, "alice", 1), row(2, "alice", 2)];
        assert_eq!(found, expected);
    });
}

fn files_are_found_by_id_by_hash_and_where_they_are_named<E: Engine>() {
    let mut engine = E::create();
    let same = MediaState { hash: Hash([1; 32]), ..sample::media(3) };
    let kept = [sample::media(1), sample::media(2), same.clone(), sample::media(4)];
    commit(&engine, kept.iter().map(|media| Write::Media(Box::new(media.clone()))).collect());
    let gone = Write::MediaGone { id: kept[3].id, hash: kept[3].hash };
    let places = [(1, 1, 2), (1, 1, 1), (1, 2, 7), (2, 1, 1), (2, 2, 1)];
    let mut writes = vec![gone];
    writes.extend(places.map(|(file, channel, pos)| sample::named(file, channel, pos, true)));
    commit(&engine, writes);
    commit(&engine, vec![sample::named(2, 1, 1, false), sample::named(2, 2, 9, false)]);
    both(&mut engine, |store| {
        assert_eq!(store.media(kept[0].id).unwrap().as_ref(), Some(&kept[0]));
        assert_eq!(store.media(kept[3].id).unwrap(), None);
        assert_eq!(store.medias(None, 9).unwrap(), kept[..3]);
        assert_eq!(store.medias(Some(kept[0].id), 1).unwrap(), kept[1..2]);
        assert_eq!(store.media_of_hash(Hash([1; 32]), 9).unwrap(), [kept[0].id, same.id]);
        assert_eq!(store.media_of_hash(Hash([4; 32]), 9).unwrap(), [] as [uuid::Uuid; 0]);
        let named = |file, channel: Option<u64>, limit| {
            let media = MediaId { home: HOME, id: sample::media(file).id };
            let places = store.named(media, channel.map(sample::channel), limit).unwrap();
            places.into_iter().map(|(at, pos)| (at, pos.0)).collect::<Vec<_>>()
        };
        let mut all =
            vec![(sample::channel(1), 1), (sample::channel(1), 2), (sample::channel(2), 7)];
        all.sort_unstable();
        assert_eq!(named(1, None, 9), all);
        assert_eq!(named(1, None, 2), all[..2]);
        assert_eq!(named(1, Some(1), 9), [(sample::channel(1), 1), (sample::channel(1), 2)]);
        assert_eq!(named(2, None, 9), [(sample::channel(2), 1)]);
        assert_eq!(named(3, None, 9), []);
    });
}

fn entries_come_back_byte_for_byte<E: Engine>() {
    let mut engine = E::create();
    let channel = sample::channel(1);
    let bodies: Vec<Bytes> = vec![
        Bytes::from_static("{\"text\":\"👩‍👩‍👧 ‏שלום‎ e\u{301}\"}".as_bytes()),
        Bytes::from(vec![b'x'; 65_536]),
        Bytes::from((0..=255).collect::<Vec<u8>>()),
        Bytes::new(),
    ];
    let entries: Vec<_> =
        (1..).zip(bodies).map(|(pos, body)| sample::entry_with(channel, pos, body)).collect();
    for entry in &entries {
        commit(&engine, vec![Write::Entry(entry.clone())]);
    }
    commit(&engine, vec![Write::Channel(Box::new(sample::channel_at(channel, 4)))]);
    both(&mut engine, |store| {
        for entry in &entries {
            assert_eq!(store.entry(channel, entry.pos).unwrap().as_ref(), Some(&**entry));
            assert_eq!(store.row(channel, entry.pos).unwrap(), Some(entry.row()));
            let header = &entry.event.header;
            let key = MessageKey::new(&header.user(), &header.id);
            assert_eq!(store.place(key).unwrap(), Some((channel, entry.pos)));
        }
        assert_eq!(store.entry(channel, Pos(5)).unwrap(), None);
        assert_eq!(store.entry(sample::channel(2), Pos(1)).unwrap(), None);
    });
}

fn ranges_end_before_their_bytes<E: Engine>() {
    let mut engine = E::create();
    let channel = sample::channel(1);
    let size = sample::entry(channel, 20).event.size_bytes();
    for pos in 1..=200 {
        commit(&engine, vec![Write::Entry(sample::entry(channel, pos))]);
    }
    both(&mut engine, |store| {
        let range = |first, last, max_bytes| -> Vec<u64> {
            let shared = store.log(channel, Pos(first), Pos(last), max_bytes).unwrap();
            let copied = store.entries(channel, Pos(first), Pos(last), max_bytes).unwrap();
            assert!(shared.iter().map(Arc::as_ref).eq(copied.iter()));
            copied.iter().map(|entry: &LogEntry| entry.pos.0).collect()
        };
        assert_eq!(range(1, 200, usize::MAX), (1..=200).collect::<Vec<_>>());
        assert_eq!(range(60, 70, usize::MAX), (60..=70).collect::<Vec<_>>());
        assert_eq!(range(20, 200, 3 * size), [20, 21, 22]);
        assert_eq!(range(20, 200, 4 * size - 1), [20, 21, 22]);
        assert_eq!(range(20, 200, 0), [20]);
        assert_eq!(range(199, u64::MAX, usize::MAX), [199, 200]);
        assert_eq!(range(201, u64::MAX, usize::MAX), [0; 0]);
        assert_eq!(range(10, 9, usize::MAX), [0; 0]);
    });
}

fn rows_are_found_across_lives<E: Engine>() {
    let mut engine = E::create();
    let (channel, other) = (sample::channel(1), HomeId([200; 32]));
    let mut log: Vec<Arc<LogEntry>> = Vec::new();
    let (mut seqs, mut place) = ([0u64; 4], 0u64);
    // Two homes; the second lives three times, and its first life's end arrives after its second began.
    for step in 0..400u64 {
        let chain = match step {
            0..100 => (step % 2) as usize,
            100..200 => 1 + (step % 2) as usize,
            200..390 => 0,
            _ => 3,
        };
        let (origin, epoch) = [(HOME, 5), (other, 10), (other, 20), (other, 30)][chain];
        // Numbers that were rejected have no place.
        seqs[chain] += 1 + u64::from(step % 7 == 3);
        place += 1;
        let event = sample::event(channel, origin, Epoch(epoch), seqs[chain], Bytes::new());
        log.push(Arc::new(LogEntry {
            pos: Pos(place),
            counted: place / 2,
            arrived_at: 1,
            hidden: false,
            event,
        }));
    }
    for part in log.chunks(37) {
        commit(&engine, part.iter().cloned().map(Write::Entry).collect());
    }
    both(&mut engine, |store| {
        for pos in (0..=log.len() as u64 + 3).step_by(5) {
            for origin in [HOME, other, HomeId([3; 32])] {
                let wanted = log.iter().rev().map(|entry| entry.row());
                let wanted =
                    wanted.into_iter().find(|row| row.pos.0 <= pos && row.origin == origin);
                assert_eq!(store.last_row_of(channel, origin, Pos(pos)).unwrap(), wanted, "{pos}");
            }
        }
        for (origin, epoch) in [(HOME, 5), (HOME, 6), (other, 10), (other, 20), (other, 30)] {
            for seq in (0..300).step_by(3) {
                let wanted = log
                    .iter()
                    .map(|entry| entry.row())
                    .find(|row| row.origin == origin && row.epoch.0 == epoch && row.seq.0 >= seq);
                let found = store.row_of_seq(channel, origin, Epoch(epoch), Seq(seq)).unwrap();
                assert_eq!(found, wanted, "epoch {epoch}, seq {seq}");
            }
        }
    });
}

/// Files may hold it for long; nobody is shown it.
fn what_retention_removed_is_not_read<E: Engine>() {
    let mut engine = E::create();
    let (gone, kept) = (sample::channel(1), sample::channel(2));
    let key = |channel, pos| {
        let entry = sample::entry(channel, pos);
        MessageKey::new(&entry.event.header.user(), &entry.event.header.id)
    };
    for channel in [gone, kept] {
        commit(&engine, (1..=100).map(|n| Write::Entry(sample::entry(channel, n))).collect());
        commit(&engine, vec![Write::Channel(Box::new(sample::channel_at(channel, 100)))]);
    }
    for upto in [30, 70] {
        let mut state = sample::channel_at(gone, 100);
        let pruned = Some((Seq(upto), Hash([7; 32])));
        state.chains = vec![ChainEnd { seq: Seq(100), pruned, ..ChainEnd::none(HOME, EPOCH) }];
        state.pruned = Pos(upto);
        let writes =
            vec![Write::Channel(Box::new(state)), Write::Pruned { channel: gone, upto: Pos(upto) }];
        commit(&engine, writes);
        both(&mut engine, |store| {
            let log = store.log(gone, Pos(1), Pos(100), usize::MAX).unwrap();
            assert_eq!((log.len() as u64, log[0].pos), (100 - upto, Pos(upto + 1)));
            assert!(store.entries(gone, Pos(1), Pos(upto), usize::MAX).unwrap().is_empty());
            for pos in [1, upto] {
                assert!(store.entry(gone, Pos(pos)).unwrap().is_none());
                assert!(store.row(gone, Pos(pos)).unwrap().is_none());
                assert!(store.last_row_of(gone, HOME, Pos(pos)).unwrap().is_none());
                assert!(store.place(key(gone, pos)).unwrap().is_none());
                let row = store.row_of_seq(gone, HOME, EPOCH, Seq(pos)).unwrap().unwrap();
                assert_eq!(row.seq, Seq(upto + 1), "the least that is left");
            }
            assert_eq!(store.entry(gone, Pos(upto + 1)).unwrap().unwrap().pos, Pos(upto + 1));
            assert_eq!(store.place(key(gone, upto + 1)).unwrap(), Some((gone, Pos(upto + 1))));
            assert_eq!(store.last_row_of(gone, HOME, Pos(100)).unwrap().unwrap().pos, Pos(100));
            assert_eq!(store.row_of_seq(gone, HOME, EPOCH, Seq(90)).unwrap().unwrap().seq, Seq(90));
            assert_eq!(store.log(kept, Pos(1), Pos(100), usize::MAX).unwrap().len(), 100);
            assert!(store.place(key(kept, 1)).unwrap().is_some());
        });
    }
}

fn an_erased_body_replaces_its_entry<E: Engine>() {
    let mut engine = E::create();
    let channel = sample::channel(1);
    commit(&engine, (1..=70).map(|pos| Write::Entry(sample::entry(channel, pos))).collect());
    let mut erased = LogEntry::clone(&sample::entry(channel, 3));
    erased.event.body = Bytes::new();
    let erased = Arc::new(erased);
    commit(&engine, vec![Write::Entry(erased.clone())]);
    both(&mut engine, |store| {
        assert_eq!(store.entry(channel, Pos(3)).unwrap().as_ref(), Some(&*erased));
        let all = store.entries(channel, Pos(1), Pos(99), usize::MAX).unwrap();
        assert_eq!((all.len(), all[2].event.body.len()), (70, 0));
        assert_eq!(all[1], *sample::entry(channel, 2));
        let last = store.last_row_of(channel, HOME, Pos(99)).unwrap().unwrap();
        assert_eq!(last.pos, Pos(70));
    });
}

fn change_and_stamp_are_of_the_newest_batch<E: Engine>() {
    let mut engine = E::create();
    let first = engine.store().meta();
    assert!(first.boot >= 1);
    engine.store().commit(&Batch { change: 7, stamp: Stamp(9), writes: Vec::new() }).unwrap();
    engine.store().commit(&Batch { change: 8, stamp: Stamp(10), writes: Vec::new() }).unwrap();
    assert_eq!(engine.store().meta().boot, first.boot);
    engine.reopen();
    let meta = engine.store().meta();
    assert_eq!((meta.change, meta.stamp, meta.boot), (8, Stamp(10), first.boot + 1));
    assert_eq!((meta.home, meta.epoch, meta.format), (HOME, EPOCH, homing_store::FORMAT));
}

fn a_closed_store_reads_but_commits_nothing<E: Engine>() {
    let mut engine = E::create();
    commit(&engine, vec![Write::Account(Box::new(sample::account("alice")))]);
    engine.store().close().unwrap();
    engine.store().close().unwrap();
    let refused = engine.store().commit(&batch(Vec::new())).unwrap_err();
    assert_eq!(refused.reason(), "store_closed");
    both(&mut engine, |store| {
        assert!(store.account(&sample::local("alice")).unwrap().is_some());
    });
    commit(&engine, vec![Write::Account(Box::new(sample::account("bob")))]);
}

/// Notes the batches' change numbers.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl Tap for Told {
    fn committed(&self, batch: &Batch) {
        self.0.lock().push(batch.change);
    }
}

fn every_tap_is_told_of_every_batch_while_it_is_there<E: Engine>() {
    let engine = E::create();
    let commit = |change| {
        let batch = Batch { change, stamp: Stamp(change), writes: Vec::new() };
        engine.store().commit(&batch).unwrap();
    };
    let (first, second) = (Arc::new(Told::default()), Arc::new(Told::default()));
    let (one, two): (Arc<dyn Tap>, Arc<dyn Tap>) = (first.clone(), second.clone());
    commit(1);
    engine.store().tap(one.clone());
    commit(2);
    engine.store().tap(two.clone());
    commit(3);
    engine.store().untap(&one);
    commit(4);
    engine.store().untap(&two);
    commit(5);
    assert_eq!(*first.0.lock(), [2, 3]);
    assert_eq!(*second.0.lock(), [3, 4]);
}
