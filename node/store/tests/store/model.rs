//! Random batches, committed to both engines alike; the journal is checkpointed and opened again in
//! between. Both must show the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use homing_core::{Batch, ListRow, LogEntry, MessageKey, Reader, UserList, Write};
use homing_store::{MemoryStore, Store};
use homing_wire::{Epoch, HomeId, Pos, Seq, Stamp, UserRef};
use proptest::prelude::*;

use crate::conformance::{Engine, Journal, Memory};
use crate::sample;
use crate::tidy::tidy;

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Do>),
    Checkpoint,
    Reopen,
    Close,
    Tidy(bool),
    /// The index is lost.
    Anew,
}

#[derive(Clone, Debug)]
enum Do {
    /// So many events of a chain into a channel, with bodies of that size.
    Say {
        channel: u64,
        chain: usize,
        count: u8,
        body: u16,
    },
    Erase {
        channel: u64,
        back: u64,
    },
    Account(u8),
    Device(u8),
    DeviceGone(u8),
    Invite(u8, bool),
    Owed(u8, u64, Option<u64>),
    Peer(u8),
    Op(u8),
    OpGone(u8),
    Listed(u8, u8, Option<u64>),
    OwnView(u8, u64, bool),
    Draft(u8, u64, Option<u16>),
    Seen(u8, Option<u64>),
}

const CHANNELS: u64 = 4;
const CHAINS: [(HomeId, Epoch); 4] = [
    (HomeId([1; 32]), Epoch(10)),
    (HomeId([1; 32]), Epoch(20)),
    (HomeId([2; 32]), Epoch(10)),
    (HomeId([3; 32]), Epoch(5)),
];
const USERS: [&str; 4] = ["a", "a.b", "ab", "b"];

fn user(n: u8) -> &'static str {
    USERS[usize::from(n) % USERS.len()]
}

fn list(n: u8) -> UserList {
    if n < 4 { UserList::Contacts } else { UserList::Blocks }
}

fn one() -> impl Strategy<Value = Do> {
    let channel = 0..CHANNELS;
    prop_oneof![
        8 => (channel.clone(), 0..CHAINS.len(), 1..40u8, 0..400u16)
            .prop_map(|(channel, chain, count, body)| Do::Say { channel, chain, count, body }),
        1 => (channel.clone(), 0..CHAINS.len(), Just(1u8), 20_000..60_000u16)
            .prop_map(|(channel, chain, count, body)| Do::Say { channel, chain, count, body }),
        1 => (channel.clone(), 0..200u64).prop_map(|(channel, back)| Do::Erase { channel, back }),
        1 => any::<u8>().prop_map(Do::Account),
        1 => (0..8u8).prop_map(Do::Device),
        1 => (0..8u8).prop_map(Do::DeviceGone),
        1 => (0..4u8, any::<bool>()).prop_map(|(n, there)| Do::Invite(n, there)),
        1 => (0..3u8, channel, proptest::option::of(0..9u64)).prop_map(|(p, c, s)| Do::Owed(p, c, s)),
        1 => (0..3u8).prop_map(Do::Peer),
        1 => (0..20u8).prop_map(Do::Op),
        1 => (0..20u8).prop_map(Do::OpGone),
        1 => (0..8u8, 0..8u8, proptest::option::of(0..9u64))
            .prop_map(|(owner, other, since)| Do::Listed(owner, other, since)),
        1 => (0..4u8, 0..CHANNELS, any::<bool>()).prop_map(|(n, c, there)| Do::OwnView(n, c, there)),
        1 => (0..4u8, 0..CHANNELS, proptest::option::of(0..9_000u16))
            .prop_map(|(n, c, size)| Do::Draft(n, c, size)),
        1 => (0..4u8, proptest::option::of(any::<u64>())).prop_map(|(who, at)| Do::Seen(who, at)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => proptest::collection::vec(one(), 1..8).prop_map(Step::Commit),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => Just(Step::Close),
        3 => any::<bool>().prop_map(Step::Tidy),
        1 => Just(Step::Anew),
    ]
}

/// Makes what the core would: places and seqs without holes, heads that name what is there.
#[derive(Default)]
struct Writer {
    change: u64,
    heads: BTreeMap<u64, u64>,
    seqs: BTreeMap<(u64, usize), u64>,
    logs: BTreeMap<(u64, u64), Arc<LogEntry>>,
}

impl Writer {
    fn batch(&mut self, what: &[Do]) -> Batch {
        let mut writes = Vec::new();
        for what in what {
            self.change += 1;
            self.put(what, &mut writes);
        }
        Batch { change: self.change, stamp: Stamp(self.change << 16), writes }
    }

    fn put(&mut self, what: &Do, writes: &mut Vec<Write>) {
        match *what {
            Do::Say { channel, chain, count, body } => {
                for _ in 0..count {
                    let head = self.heads.entry(channel).or_default();
                    let seq = self.seqs.entry((channel, chain)).or_default();
                    (*head, *seq) = (*head + 1, *seq + 1 + *head % 5 / 4);
                    let (origin, epoch) = CHAINS[chain];
                    let body = Bytes::from(vec![*head as u8; body.into()]);
                    let event = sample::event(sample::channel(channel), origin, epoch, *seq, body);
                    let entry = LogEntry {
                        pos: Pos(*head),
                        counted: *head / 2,
                        arrived_at: 1,
                        hidden: head.is_multiple_of(3),
                        event,
                    };
                    let entry = Arc::new(entry);
                    self.logs.insert((channel, *head), entry.clone());
                    writes.push(Write::Entry(entry));
                }
                let head = self.heads[&channel];
                let id = sample::channel(channel);
                writes.push(Write::Channel(Box::new(sample::channel_at(id, head))));
                let row = ListRow { channel: id, changed: self.change, active_at: head };
                writes.push(Write::Listing { user: sample::local(user(head as u8)), row });
            }
            Do::Erase { channel, back } => {
                let Some(head) = self.heads.get(&channel) else { return };
                let pos = head.saturating_sub(back).max(1);
                let mut entry = LogEntry::clone(&self.logs[&(channel, pos)]);
                entry.event.body = Bytes::new();
                writes.push(Write::Entry(Arc::new(entry)));
            }
            Do::Account(n) => {
                let mut account = sample::account(user(n));
                account.display_name = "x".repeat(usize::from(n) * 40);
                writes.push(Write::Account(Box::new(account)));
            }
            Do::Device(n) => {
                writes.push(Write::Device(Box::new(sample::device(user(n), n.into()))))
            }
            Do::DeviceGone(n) => writes.push(Write::DeviceGone {
                user: sample::local(user(n)),
                device: sample::device_id(n.into()),
                token: sample::token(n.into()),
            }),
            Do::Invite(n, true) => writes.push(Write::Invite(Box::new(sample::invite(n.into())))),
            Do::Invite(n, false) => writes.push(Write::InviteGone(sample::token(n.into()))),
            Do::Owed(peer, channel, since) => writes.push(Write::Owed {
                peer: HomeId([peer; 32]),
                channel: sample::channel(channel),
                since,
            }),
            Do::Peer(n) => {
                let mut peer = sample::peer(n);
                peer.record = vec![n; self.change as usize * 700 % 30_000];
                writes.push(Write::Peer(Box::new(peer)));
            }
            Do::Op(n) => writes.push(Write::Op {
                user: sample::local(user(n)),
                op: sample::op(n.into()),
                done: sample::op_done(n.into()),
            }),
            Do::Listed(owner, other, since) => writes.push(Write::Listed {
                list: list(owner),
                owner: sample::local(user(owner)),
                other: UserRef::new(HomeId([other / 4; 32]), sample::local(user(other))),
                since,
            }),
            Do::OwnView(n, channel, there) => writes.push(Write::OwnView {
                user: sample::local(user(n)),
                channel: sample::channel(channel),
                view: there.then(|| sample::own_view(self.change)),
            }),
            Do::Draft(n, channel, size) => writes.push(Write::Draft {
                user: sample::local(user(n)),
                channel: sample::channel(channel),
                text: size.map(|size| "x".repeat(size.into()).into()),
            }),
            Do::Seen(n, at) => writes.push(Write::Seen { user: sample::local(user(n)), at }),
            Do::OpGone(n) => writes
                .push(Write::OpGone { user: sample::local(user(n)), op: sample::op(n.into()) }),
        }
    }

    fn compare(&self, memory: &MemoryStore, journal: &impl Store) {
        macro_rules! same {
            ($store:ident => $call:expr) => {{
                let ask = |$store: &dyn Reader| $call.unwrap();
                let (ours, theirs) = (ask(journal), ask(memory));
                // Not assert_eq: logs are long.
                assert!(
                    ours == theirs,
                    "{}: {}",
                    stringify!($call),
                    first_difference(&ours, &theirs)
                );
            }};
        }
        same!(s => s.accounts(None, 99));
        same!(s => s.accounts(Some(&sample::local("a")), 2));
        same!(s => s.invites());
        same!(s => s.owed());
        same!(s => s.peers());
        same!(s => s.ops_before(15, 7));
        for name in USERS.map(sample::local) {
            same!(s => s.account(&name));
            same!(s => s.last_seen(&name));
            same!(s => s.listing(&name));
            same!(s => s.devices(&name));
            same!(s => s.own_views(&name));
            for channel in (0..CHANNELS).map(sample::channel) {
                same!(s => s.draft(&name, channel));
            }
            for list in [list(0), list(4)] {
                same!(s => s.listed(list, &name, None, 99));
                let after = UserRef::new(HomeId([0; 32]), name.clone());
                same!(s => s.listed(list, &name, Some(&after), 2));
                same!(s => s.is_listed(list, &name, &after));
            }
        }
        for n in 0..20 {
            same!(s => s.device(sample::token(n)));
            same!(s => s.op(&sample::local(user(n as u8)), sample::op(n)));
        }
        for channel in 0..CHANNELS {
            let head = self.heads.get(&channel).copied().unwrap_or_default();
            let id = sample::channel(channel);
            same!(s => s.channel(id));
            same!(s => s.entries(id, Pos(0), Pos(u64::MAX), usize::MAX));
            same!(s => s.entries(id, Pos(head / 3), Pos(head / 2), 5_000));
            same!(s => s.entry(id, Pos(head / 2)));
            same!(s => s.row(id, Pos(head + 1)));
            for (chain, (origin, epoch)) in CHAINS.iter().enumerate() {
                let last = self.seqs.get(&(channel, chain)).copied().unwrap_or_default();
                for part in [0, 1, 3, 7, 8, 9] {
                    same!(s => s.last_row_of(id, *origin, Pos(head * part / 8)));
                    same!(s => s.row_of_seq(id, *origin, *epoch, Seq(last * part / 8)));
                }
            }
        }
        for entry in self.logs.values().step_by(7) {
            let header = &entry.event.header;
            same!(s => s.place(MessageKey::new(&header.user(), &header.id)));
        }
        let (ours, theirs) = (journal.meta(), memory.meta());
        assert_eq!((ours.change, ours.stamp), (theirs.change, theirs.stamp));
    }
}

fn first_difference(ours: &impl std::fmt::Debug, theirs: &impl std::fmt::Debug) -> String {
    let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
    let at = ours.chars().zip(theirs.chars()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.chars().skip(at.saturating_sub(40)).take(120).collect::<String>();
    format!("ours has …{}…, memory has …{}…", part(&ours), part(&theirs))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("HOMING_STORE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_engines_show_the_same(steps in proptest::collection::vec(step(), 1..40)) {
        let (memory, mut journal) = (Memory::create(), Journal::create());
        let mut writer = Writer::default();
        for step in steps {
            match step {
                Step::Commit(what) => {
                    let batch = writer.batch(&what);
                    memory.store().commit(&batch).unwrap();
                    journal.store().commit(&batch).unwrap();
                }
                Step::Checkpoint => journal.store().checkpoint().unwrap(),
                Step::Reopen => journal.reopen(),
                Step::Close => {
                    journal.store().close().unwrap();
                    journal.reopen();
                }
                Step::Tidy(everything) => tidy(journal.store(), 0, everything),
                Step::Anew => journal.anew(),
            }
        }
        writer.compare(memory.store(), journal.store());
        journal.reopen();
        writer.compare(memory.store(), journal.store());
        tidy(journal.store(), 0, true);
        writer.compare(memory.store(), journal.store());
        journal.anew();
        writer.compare(memory.store(), journal.store());
    }
}
