//! Backups: whole while commits go on, found out where a byte is wrong, and restored into any engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use homing_core::{Batch, Deleted, Fold, MediaId, Reader, UserList, Write};
use homing_store::{
    BackupError, BackupFile, BackupHeader, JournalStore, MemoryStore, RestoreTime, Store,
    read_backup, restore_batch, write_backup,
};
use homing_wire::{Pos, Stamp, UserRef};

use crate::conformance::small;
use crate::sample::{self, EPOCH, HOME};

fn header() -> BackupHeader {
    BackupHeader {
        home: HOME,
        name: "acme.test".into(),
        epoch: EPOCH,
        created_at: 7,
        software: "homing/test".into(),
    }
}

fn files() -> Vec<BackupFile> {
    vec![BackupFile { name: "keys/signing.key".into(), content: vec![9; 32] }]
}

fn back_up(store: &dyn Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    let spill = tempfile::tempfile().unwrap();
    let counts = write_backup(store, &header(), &files(), &mut bytes, spill).unwrap();
    assert_eq!(counts.bytes, bytes.len() as u64);
    bytes
}

/// Later than all that is stamped in what is backed up here.
const LATER: RestoreTime = RestoreTime { now_ms: u64::MAX >> 16, newest: Stamp(0) };

fn restore(bytes: &[u8], to: &dyn Store) -> Result<(), BackupError> {
    restore_at(bytes, to, LATER)
}

fn restore_at(bytes: &[u8], to: &dyn Store, time: RestoreTime) -> Result<(), BackupError> {
    let mut found = Vec::new();
    let (read, counts) = read_backup(
        &mut &bytes[..],
        &mut |_, file| {
            found.push(file);
            Ok(())
        },
        &mut |_, batch| restore_batch(to, batch, time),
    )?;
    assert_eq!((read, counts.bytes, found), (header(), bytes.len() as u64, files()));
    Ok(())
}

/// The n-th message of a channel, with the state that names it.
fn message(channel: u64, pos: u64) -> Vec<Write> {
    let id = sample::channel(channel);
    vec![
        Write::Entry(sample::entry(id, pos)),
        Write::Channel(Box::new(sample::channel_at(id, pos))),
    ]
}

fn commit(store: &dyn Store, change: u64, writes: Vec<Write>) {
    store.commit(&Batch { change, writes, ..Batch::default() }).unwrap();
}

/// Everything but tokens is the same; homes are to be asked what they hold.
fn same(a: &dyn Store, b: &dyn Store) {
    let channels = a.channels(None, 10_000).unwrap();
    assert_eq!(channels, b.channels(None, 10_000).unwrap());
    for state in &channels {
        let log =
            |store: &dyn Store| store.entries(state.id, Pos(1), state.head, usize::MAX).unwrap();
        assert_eq!(log(a).len() as u64, state.head.0 - state.pruned.0);
        assert_eq!(log(a), log(b));
        let folds = |store: &dyn Store| store.folds(state.id, Pos(1), state.head).unwrap();
        assert_eq!(folds(a), folds(b));
        for entry in log(a) {
            let header = &entry.event.header;
            let key = homing_core::MessageKey::new(&header.user(), &header.id);
            assert_eq!(b.place(key).unwrap(), Some((state.id, entry.pos)));
        }
    }
    let accounts = a.accounts(None, 10_000).unwrap();
    assert_eq!(accounts, b.accounts(None, 10_000).unwrap());
    for account in &accounts {
        let rows = |store: &dyn Store| {
            let mut rows = store.listing(&account.local).unwrap();
            rows.sort_by_key(|row| row.channel);
            rows
        };
        assert_eq!(rows(a), rows(b));
        let seen = |store: &dyn Store| store.last_seen(&account.local).unwrap();
        assert_eq!(seen(a), seen(b));
        assert!(b.devices(&account.local).unwrap().is_empty(), "tokens are dead");
        for word in homing_core::words_of(account) {
            assert!(b.has_word(&word, &account.local).unwrap(), "{word}");
        }
        assert_eq!(a.own_views(&account.local).unwrap(), b.own_views(&account.local).unwrap());
        for channel in (1..=5).map(sample::channel) {
            let draft = |store: &dyn Store| store.draft(&account.local, channel).unwrap();
            assert_eq!(draft(a), draft(b));
        }
        for list in [UserList::Contacts, UserList::Blocks] {
            let rows = |store: &dyn Store| store.listed(list, &account.local, None, 99).unwrap();
            assert_eq!(rows(a), rows(b));
        }
    }
    assert_eq!(a.invites().unwrap(), b.invites().unwrap());
    assert_eq!(a.owed().unwrap(), b.owed().unwrap());
    assert_eq!(a.unanswered().unwrap(), b.unanswered().unwrap());
    let files = a.medias(None, 100).unwrap();
    assert_eq!(files, b.medias(None, 100).unwrap());
    for file in files {
        let media = MediaId { home: HOME, id: file.id };
        let named = a.named(media, None, 100).unwrap();
        assert_eq!(named, b.named(media, None, 100).unwrap());
        assert_eq!(named.len(), 3 * 3, "67, 69 and 70 of each channel");
    }
    let ops = a.ops_before(u64::MAX >> 16, 10_000).unwrap();
    assert_eq!(ops, b.ops_before(u64::MAX >> 16, 10_000).unwrap());
    for (user, op) in ops {
        assert_eq!(a.op(&user, op).unwrap(), b.op(&user, op).unwrap());
    }
    let peers = a.peers().unwrap();
    assert_eq!(peers.len(), b.peers().unwrap().len());
    assert!(b.peers().unwrap().iter().all(|peer| peer.reconcile));
}

fn asked(user: &str, n: u64, open: bool) -> Write {
    let (home, user) = (sample::peer(2).home, sample::local(user));
    Write::Unanswered { home, user, channel: sample::channel(n), open }
}

/// One of every kind of write.
fn everything() -> Vec<Write> {
    let alice = sample::local("alice");
    let mut writes = vec![
        Write::Account(Box::new(sample::account("alice"))),
        Write::Account(Box::new(sample::account("bob"))),
        Write::Device(Box::new(sample::device("alice", 1))),
        Write::Invite(Box::new(sample::invite(1))),
        Write::Invite(Box::new(sample::invite(2))),
        Write::InviteGone(sample::invite(2).code),
        Write::Peer(Box::new(sample::peer(2))),
        Write::Peer(Box::new(sample::peer(3))),
        Write::Owed { peer: sample::peer(2).home, channel: sample::channel(1), since: Some(8) },
        Write::Owed { peer: sample::peer(3).home, channel: sample::channel(1), since: Some(9) },
        Write::Owed { peer: sample::peer(3).home, channel: sample::channel(1), since: None },
        asked("alice", 1, true),
        asked("alice", 2, true),
        asked("alice", 2, false),
        Write::Op { user: alice.clone(), op: sample::op(1), done: sample::op_done(5) },
        Write::Op { user: alice.clone(), op: sample::op(2), done: sample::op_done(6) },
        Write::Media(Box::new(sample::media(1))),
        Write::Media(Box::new(sample::media(2))),
        Write::MediaGone { id: sample::media(2).id, hash: sample::media(2).hash },
    ];
    for n in 1..=5 {
        // Some of them go again. Whoever has a draft says so in the view.
        let (user, channel, kept) = (alice.clone(), sample::channel(n), n != 4);
        let text = Some("wörds".repeat(2_000).into()).filter(|_| n == 5);
        writes.push(Write::Draft { user: user.clone(), channel, text });
        let mut views = vec![Some(sample::own_view(n))];
        views.extend((!kept).then_some(None));
        writes.extend(views.into_iter().map(|view| {
            let user = user.clone();
            Write::OwnView { user, channel, view }
        }));
    }
    let seen = |user, at| Write::Seen { user: sample::local(user), at };
    writes.extend([seen("alice", Some(7)), seen("bob", Some(8)), seen("bob", None)]);
    for (n, list) in [(1, UserList::Contacts), (2, UserList::Contacts), (3, UserList::Blocks)] {
        let other = UserRef::new(sample::peer(n).home, sample::local("carol"));
        let (owner, gone) = (alice.clone(), n == 2);
        let write =
            |since| Write::Listed { list, owner: owner.clone(), other: other.clone(), since };
        writes.push(write(Some(n.into())));
        writes.extend(gone.then(|| write(None)));
    }
    for channel in 1..=3 {
        for pos in 1..=70 {
            writes.extend(message(channel, pos));
        }
        let fold = Arc::new(sample::fold());
        writes.push(Write::Fold { channel: sample::channel(channel), pos: Pos(69), fold });
        // Whose deletion takes its file's name away.
        let fold = Arc::new(Fold { deleted: Deleted::ForAll, ..sample::fold() });
        writes.push(Write::Fold { channel: sample::channel(channel), pos: Pos(68), fold });
        writes.push(sample::named(1, channel, 68, false));
        writes.push(Write::Listing {
            user: alice.clone(),
            row: homing_core::ListRow {
                channel: sample::channel(channel),
                changed: 5,
                active_at: 6,
            },
        });
    }
    writes
}

/// A clock ran ahead when the backup was made: the restored home is not as far ahead, but knows up to when ids may have
/// been used.
#[test]
fn a_stamp_of_the_future_is_not_restored() {
    let memory = MemoryStore::new(HOME, EPOCH);
    let mut far = sample::account("bob");
    far.ids_ahead_ms = 9_000;
    let writes =
        vec![Write::Account(Box::new(sample::account("alice"))), Write::Account(Box::new(far))];
    memory.commit(&Batch { change: 3, stamp: Stamp::from_ms(5_000), writes }).unwrap();
    let bytes = back_up(&memory);
    for (now_ms, stamp_ms, ahead) in [(1_000, 1_000, [5_000, 9_000]), (6_000, 5_000, [0, 9_000])] {
        let again = MemoryStore::new(HOME, EPOCH);
        restore_at(&bytes, &again, RestoreTime { now_ms, newest: Stamp::from_ms(5_000) }).unwrap();
        assert_eq!(again.meta().stamp.ms(), stamp_ms);
        let accounts = again.accounts(None, 9).unwrap();
        let before = sample::account("alice").ids_ahead_ms;
        assert_eq!(accounts[0].ids_ahead_ms, ahead[0].max(before));
        assert_eq!(accounts[1].ids_ahead_ms, ahead[1]);
    }
}

#[test]
fn everything_survives_between_engines() {
    let (memory, dir) = (MemoryStore::new(HOME, EPOCH), tempfile::tempdir().unwrap());
    commit(&memory, 9, everything());
    let bytes = back_up(&memory);
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let journal = JournalStore::open(dir.path(), small()).unwrap();
    restore(&bytes, &journal).unwrap();
    same(&memory, &journal);
    assert_eq!(journal.meta().change, 9);
    let again = MemoryStore::new(HOME, EPOCH);
    restore(&back_up(&journal), &again).unwrap();
    same(&journal, &again);
    // And after the journal was closed and opened.
    journal.close().unwrap();
    drop(journal);
    same(&memory, &JournalStore::open(dir.path(), small()).unwrap());
}

/// Channels grow and new ones appear while the backup goes through the store.
#[test]
fn what_is_committed_meanwhile_is_whole_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let store = JournalStore::open(dir.path(), small()).unwrap();
    commit(&store, 1, everything());
    let stop = AtomicBool::new(false);
    let (bytes, last) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut change = 1;
            let mut heads = [70, 70, 70, 0, 0];
            while !stop.load(Ordering::Relaxed) || change < 50 {
                change += 1;
                let mut writes = Vec::new();
                for (head, channel) in heads.iter_mut().zip(1..) {
                    *head += 1;
                    writes.extend(message(channel, *head));
                }
                commit(&store, change, writes);
            }
            change
        });
        let bytes = back_up(&store);
        stop.store(true, Ordering::Relaxed);
        (bytes, writing.join().unwrap())
    });
    assert!(last >= 50);
    let restored = MemoryStore::new(HOME, EPOCH);
    restore(&bytes, &restored).unwrap();
    // Every batch wrote one message into each of five channels: all of it is there, or none.
    let heads: Vec<u64> = (1..=5)
        .map(|n| restored.channel(sample::channel(n)).unwrap().map_or(0, |s| s.head.0))
        .collect();
    assert!(
        heads.iter().zip([70, 70, 70, 0, 0]).all(|(head, first)| head - first == heads[4]),
        "{heads:?}"
    );
    for (channel, head) in (1..=5).zip(&heads) {
        let log =
            restored.entries(sample::channel(channel), Pos(1), Pos(*head), usize::MAX).unwrap();
        assert_eq!(log.len() as u64, *head);
    }
}

#[test]
fn a_damaged_backup_is_found_out_wherever_it_is_damaged() {
    let memory = MemoryStore::new(HOME, EPOCH);
    commit(&memory, 9, everything());
    let bytes = back_up(&memory);
    let read = |bytes: &[u8]| restore(bytes, &MemoryStore::new(HOME, EPOCH));
    read(&bytes).unwrap();
    for at in (0..bytes.len()).step_by(97).chain(bytes.len() - 40..bytes.len()) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match read(&flipped).unwrap_err() {
            BackupError::Damaged { at: place, .. } | BackupError::CutOff { at: place } => {
                assert!(place <= bytes.len() as u64, "{place}");
            }
            BackupError::NotABackup => assert!(at < 16),
            other @ (BackupError::Io(_)
            | BackupError::Trailing { .. }
            | BackupError::Store(_)
            | BackupError::Fault(_)) => panic!("{at}: {other}"),
        }
        let error = read(&bytes[..at]).unwrap_err();
        assert!(["backup_cut_off", "not_a_backup"].contains(&error.reason()), "{at}: {error}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(read(&longer).unwrap_err().reason(), "backup_trailing");
    assert_eq!(read(b"something else altogether").unwrap_err().reason(), "not_a_backup");
}

/// Retention removes what the backup was about to read: of a channel that it had not come to, and of the one that it was
/// reading.
#[test]
fn what_is_pruned_meanwhile_is_not_missed() {
    /// Commits something once so much has been written.
    struct Meanwhile<'a> {
        bytes: Vec<u8>,
        at: usize,
        then: Option<&'a dyn Fn()>,
    }
    impl std::io::Write for Meanwhile<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.bytes.extend_from_slice(bytes);
            if self.bytes.len() > self.at
                && let Some(then) = self.then.take()
            {
                then();
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    JournalStore::create(dir.path(), HOME, EPOCH).unwrap();
    let journal = JournalStore::open(dir.path(), small()).unwrap();
    let memory = MemoryStore::new(HOME, EPOCH);
    for store in [&memory as &dyn Store, &journal] {
        commit(store, 1, everything());
        // The first channel is read in parts: it is larger than one.
        let mut ids: Vec<_> = (1..=3).map(sample::channel).collect();
        ids.sort_unstable();
        for pos in 71..=270 {
            let body = vec![b'x'; 40_000].into();
            let entry = Write::Entry(sample::entry_with(ids[0], pos, body));
            commit(
                store,
                1,
                vec![entry, Write::Channel(Box::new(sample::channel_at(ids[0], pos)))],
            );
        }
        let prune = || {
            for (id, upto, head) in [(ids[0], 250, 270), (ids[1], 50, 70), (ids[2], 70, 70)] {
                let mut state = sample::channel_at(id, head);
                state.pruned = Pos(upto);
                let pruned = Write::Pruned { channel: id, upto: Pos(upto) };
                commit(store, 2, vec![Write::Channel(Box::new(state)), pruned]);
            }
        };
        // The first record with entries: the part that it is of has been read, the next has not.
        let mut to = Meanwhile { bytes: Vec::new(), at: 1 << 20, then: Some(&prune) };
        let spill = tempfile::tempfile().unwrap();
        write_backup(store, &header(), &files(), &mut to, spill).unwrap();
        assert!(to.then.is_none());
        let restored = MemoryStore::new(HOME, EPOCH);
        restore(&to.bytes, &restored).unwrap();
        for id in ids {
            assert_eq!(restored.channel(id).unwrap(), store.channel(id).unwrap());
            let log = |store: &dyn Store| store.entries(id, Pos(1), Pos(999), usize::MAX).unwrap();
            assert_eq!(log(&restored), log(store));
        }
    }
}
