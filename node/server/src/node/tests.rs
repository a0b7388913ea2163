//! The hub with a disk that can be held up: what a peer may be told, and when.

mod disk;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use homing_core::presence::PresenceLimits;
use homing_core::{
    CourierLimits, Effect, Home, Mark, NewAccount, PeerState, Policy, RangeIn, RangeReply,
    Reader as _, SendCommand, Target,
};
use homing_link::GroupPolicy;
use homing_net::{Direction, HelloInfo, NetConfig, NetEvent, NodeKey};
use homing_store::Store;
use homing_wire::proto::query::v1 as pb;
use homing_wire::{
    ChannelId, Checker, Epoch, Event, Head, HomeId, HomeRecord, Kind, Local, MessageId, Pos, Seq,
    SigningKeys, UserId, UserRef, prove,
};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::admission::Gatekeeper;
use super::directory::{Directory, Pin};
use super::faults::{FaultLimits, Faults};
use super::hub::{Hub, HubError, HubLimits, HubParts};
use super::input::{ConnectionNo, Input};
use super::metrics::NodeMetrics;
use super::passwords::{PasswordLimits, Passwords};
use super::peers::STRANGERS;
use super::retention::RetentionLimits;
use super::spread::GossipLimits;
use super::starts::SeenStarts;
use crate::config::FederationMode;
use disk::Disk;

const NOW_MS: u64 = 1_760_000_000_000;
const EPOCH: Epoch = Epoch(NOW_MS - 1_000);
const ACME: HomeId = HomeId([1; 32]);
const GLOBEX: HomeId = HomeId([2; 32]);

fn local(name: &str) -> Local {
    Local::canonical(name).unwrap()
}

/// A home and its disk, without a hub.
struct Node {
    home: Home,
    disk: Arc<Disk>,
    key: SigningKey,
}

impl Node {
    fn new(id: HomeId, user: &str) -> Self {
        let disk = Disk::new(id, EPOCH);
        let policy = Policy { first_contact_request: false, ..Policy::default() };
        let mut home =
            Home::new(id, EPOCH, policy, 0, homing_wire::Stamp(0), NOW_MS, &*disk).unwrap();
        let new = NewAccount {
            local: local(user),
            user_id: UserId(Uuid::from_u128(7)),
            display_name: user.to_owned(),
            password: String::new(),
            invite: None,
        };
        home.register(&*disk, NOW_MS, new).unwrap();
        let mut node = Self { home, disk, key: SigningKey::from_bytes(&id.0) };
        node.settle();
        node
    }

    fn settle(&mut self) {
        let step = self.home.take_step();
        self.disk.commit(&step.batch).unwrap();
        self.home.committed(step.number);
    }

    /// It knows `peer`, and has nothing to ask it.
    fn meets(&mut self, peer: HomeId) {
        self.home.put_peer(PeerState {
            home: peer,
            name: None,
            record: Vec::new(),
            epoch: EPOCH,
            boot: 1,
            seen_at: NOW_MS,
            blocked: false,
            reconcile: false,
            statements: Vec::new(),
            letters: 0,
            letters_done: (Epoch(0), 0),
            joining: Vec::new(),
        });
        self.settle();
    }

    fn send(&mut self, from: &str, to: &UserRef, number: u128) -> ChannelId {
        let command = SendCommand {
            sender: local(from),
            target: Target::To(to.clone()),
            id: None,
            fresh_id: MessageId(Uuid::from_u128(number)),
            op: None,
            kind: Kind::Text,
            body: Bytes::from(format!(r#"{{"type":"text","text":"{number}"}}"#)),
            mentions: Vec::new(),
            about: None,
            media: Vec::new(),
        };
        let sent = self.home.send(&*self.disk, NOW_MS, command).unwrap();
        self.settle();
        sent.channel
    }

    /// What it wrote, signed, as it comes over the wire.
    fn range(&self, channel: ChannelId, count: u64) -> RangeIn {
        let origin = self.home.id();
        let state = self.disk.channel(channel).unwrap().unwrap();
        let entries = self.disk.entries(channel, Pos(1), Pos(count), usize::MAX).unwrap();
        let last = &entries.last().unwrap().event;
        let head = Head { channel, seq: last.header.seq, hash: last.hash() };
        let proof = prove(origin, EPOCH, NOW_MS, &[head], &self.key).remove(0);
        let keys = SigningKeys(vec![self.key.verifying_key().to_bytes()]);
        let end = Checker::default().check(origin, EPOCH, head, &proof, &keys).unwrap();
        let parsed = |e: &Event| Event::from_bytes(e.header_bytes.clone(), e.body.clone());
        RangeIn {
            channel,
            parties: [state.members[0].user.clone(), state.members[1].user.clone()],
            origin,
            epoch: EPOCH,
            first: Seq(1),
            events: entries.iter().map(|e| parsed(&e.event)).collect(),
            end: Some(end),
            begins: false,
        }
    }
}

/// A running hub.
struct Running {
    input: mpsc::Sender<Input>,
    disk: Arc<Disk>,
    metrics: Arc<NodeMetrics>,
    ended: oneshot::Receiver<Result<(), HubError>>,
    _requests: mpsc::Sender<homing_link::Request>,
}

/// A hub that does not run, and where its inputs come in and out.
fn hub_of(node: Node, limits: HubLimits) -> (Hub, mpsc::Sender<Input>, mpsc::Receiver<Input>) {
    hub_at(node, limits, &[], || NOW_MS)
}

/// The same, of a home that has pinned others, with that clock.
fn hub_at(
    node: Node,
    limits: HubLimits,
    pins: &[Pin],
    now: fn() -> u64,
) -> (Hub, mpsc::Sender<Input>, mpsc::Receiver<Input>) {
    let Node { home, disk, key } = node;
    let own_name: homing_wire::HomeName = "acme.test".parse().unwrap();
    let directory = Directory::new(home.id(), own_name.clone(), pins);
    let gatekeeper = Arc::new(Gatekeeper {
        directory: directory.clone(),
        own_name,
        mode: FederationMode::Open,
        denied_ids: HashSet::new(),
        denied_names: HashSet::new(),
        blocked: RwLock::default(),
        record: RwLock::default(),
        epoch: EPOCH,
        boot: 1,
        instance: [0; 16],
        peer_id: bytes::Bytes::from_static(b"node"),
        signer: Arc::new(SigningKey::from_bytes(&[1; 32])),
        starts: SeenStarts::default(),
        faults: Arc::new(Faults::new(FaultLimits {
            strikes: 3,
            window: Duration::from_secs(600),
            backoff_min: Duration::from_secs(60),
            backoff_max: Duration::from_secs(3_600),
        })),
        now: || NOW_MS,
    });
    // Nobody is reached by it: what would come by it the tests put in themselves.
    let (net, _) =
        homing_net::start(NetConfig::default(), &NodeKey::generate(), gatekeeper.clone()).unwrap();
    let (input, inputs) = mpsc::channel(16);
    let hub = Hub::new(HubParts {
        media: None,
        home,
        store: disk,
        directory,
        limits,
        metrics: Arc::new(NodeMetrics::default()),
        net,
        gatekeeper,
        signer: Arc::new(key),
        passwords: Arc::new(Passwords::new(PasswordLimits {
            workers: 1,
            waiting: 8,
            failures_per_account: 10,
            failures_per_address: 50,
            failures_kept: 100,
        })),
        search: None,
        runtime: tokio::runtime::Handle::current(),
        input: input.clone(),
        now,
    })
    .unwrap();
    (hub, input, inputs)
}

impl Running {
    fn start(node: Node) -> Self {
        let disk = node.disk.clone();
        let (hub, input, inputs) = hub_of(node, limits());
        let metrics = hub.metrics.clone();
        let (requests, request_queue) = mpsc::channel(16);
        let (done, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _test_is_over = done.send(runtime.block_on(hub.run(request_queue, inputs)));
        });
        Self { input, disk, metrics, ended, _requests: requests }
    }

    async fn put(&self, input: Input) {
        assert!(self.input.send(input).await.is_ok(), "the hub has ended");
    }

    async fn up(&self) {
        let record = HomeRecord {
            name: "globex.test".parse().unwrap(),
            identity: [3; 32],
            signing_keys: Vec::new(),
            nodes: Vec::new(),
            epoch: EPOCH,
            number: 1,
            protocols: Vec::new(),
            issued_at: NOW_MS,
        };
        let hello = HelloInfo {
            epoch: EPOCH,
            boot: 1,
            instance: [9; 16],
            peer_id: Bytes::from_static(b"peer"),
            statement: Bytes::from_static(b"said"),
            software: "test".to_owned(),
            clock_ms: NOW_MS,
            signed_record: Bytes::new(),
        };
        let record = Arc::new(record);
        self.put(Input::Net(NetEvent::PeerUp { home: GLOBEX, record, hello })).await;
    }

    async fn down(&self) {
        self.put(Input::Net(NetEvent::PeerDown { home: GLOBEX, reason: "closed" })).await;
    }

    async fn range(&self, connection: u64, range: RangeIn) -> oneshot::Receiver<RangeResult> {
        let (reply, answer) = oneshot::channel();
        let (range, connection) = (Box::new(range), ConnectionNo(connection));
        self.put(Input::Range { peer: GLOBEX, connection, range, reply }).await;
        answer
    }

    async fn holdings(&self) -> oneshot::Receiver<pb::Answer> {
        let (reply, answer) = oneshot::channel();
        let asked = pb::query::Query::Holdings(pb::HoldingsQuery { after: Bytes::new() });
        let query = pb::Query { query: Some(asked) };
        self.put(Input::Net(NetEvent::Query { home: GLOBEX, query, reply })).await;
        answer
    }

    /// Returns when everything that was put in has been decided: a new session waits for no disk.
    async fn decided(&self) {
        let (outbox, _) = homing_link::outbox(1_000);
        let from = std::net::IpAddr::from([127, 0, 0, 1]);
        let (reply, number) = oneshot::channel();
        let client = homing_link::ClientInfo { from };
        self.put(Input::Connect { client, outbox, reply }).await;
        number.await.unwrap();
    }
}

type RangeResult = Result<RangeReply, homing_core::PeerFault>;

fn limits() -> HubLimits {
    HubLimits {
        upload_bytes: 1 << 20,
        avatar_bytes: 1 << 20,
        public_url: None,
        step_calls: 64,
        sessions: 8,
        // No test waits for a tick.
        marks_gather: Duration::from_secs(3_600),
        courier: CourierLimits::default(),
        clock_wait: Duration::ZERO,
        reconcile_hold: Duration::from_secs(60),
        lookup: Duration::from_secs(10),
        lookups_waiting: 8,
        page_bytes: 1 << 20,
        page: 200,
        body: 64 << 10,
        reads_at_once: 2,
        searches_at_once: 2,
        search_query_bytes: 1_024,
        sends_per_s: 100,
        sends_burst: 100,
        draft_bytes: 16 << 10,
        users_found: 50,
        token_idle_ms: 90 * 86_400_000,
        gossip: GossipLimits {
            from: None,
            wait: Duration::from_millis(300),
            message_bytes: 131_072,
            topics: 512,
            keys_per_peer: 1_024,
        },
        retention: None,
        presence: PresenceLimits::default(),
    }
}

/// What an answer says is held of a chain.
fn held_of(answer: pb::Answer, origin: HomeId) -> u64 {
    let Some(pb::answer::Answer::Holdings(page)) = answer.answer else { panic!("{answer:?}") };
    let chains = page.holdings.iter().flat_map(|holding| &holding.chains);
    chains.filter(|chain| chain.origin[..] == origin.0).map(|chain| chain.seq).sum()
}

/// Alice of acme, and Carol of globex who has written to her ten times; acme has none of it yet.
fn homes() -> (Node, RangeIn) {
    let (mut acme, mut globex) = (Node::new(ACME, "alice"), Node::new(GLOBEX, "carol"));
    acme.meets(GLOBEX);
    let alice = UserRef::new(ACME, local("alice"));
    let channels: Vec<ChannelId> = (1..=10).map(|n| globex.send("carol", &alice, n)).collect();
    let range = globex.range(channels[0], 10);
    (acme, range)
}

/// A home that was restored asks what is held, while what it sent before it was lost is on its way to disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_behind_what_was_taken_before_it() {
    let (acme, range) = homes();
    let hub = Running::start(acme);
    hub.up().await;
    hub.decided().await;
    hub.disk.shut();
    let taken = hub.range(1, range).await;
    let disk = hub.disk.clone();
    tokio::task::spawn_blocking(move || disk.until_it_waits()).await.unwrap();
    let mut answer = hub.holdings().await;
    hub.decided().await;
    // Nothing can come; where it does, it is of the disk as it is now.
    let early = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
    assert!(early.is_err(), "answered past a step on its way: {early:?}");
    hub.disk.open();
    assert_eq!(taken.await.unwrap().unwrap().have, Seq(10));
    assert_eq!(held_of(answer.await.unwrap(), GLOBEX), 10);
}

/// Who asks has lost marks; once it has an answer it asks no more. So they are owed before that, over a power cut too.
#[tokio::test(flavor = "multi_thread")]
async fn marks_that_an_asker_lost_are_owed_before_it_is_answered() {
    let read = || {
        let (mut acme, range) = homes();
        let taken = acme.home.receive_range(&*acme.disk, NOW_MS, GLOBEX, &range).unwrap();
        assert_eq!(taken.unwrap().have, Seq(10));
        acme.settle();
        let mark = Mark { delivered: Pos(10), read: Pos(10) };
        let alice = local("alice");
        acme.home.mark(&*acme.disk, NOW_MS, &alice, range.channel, mark).unwrap();
        acme.home.tick(&*acme.disk, NOW_MS).unwrap();
        let mut given_out = Vec::new();
        for effect in acme.home.drain_effects() {
            if let Effect::Marks { channel, telling, .. } = effect {
                given_out.push((channel, telling));
            }
        }
        acme.settle();
        for (channel, telling) in given_out {
            acme.home.marks_taken(&*acme.disk, GLOBEX, channel, &telling).unwrap();
        }
        acme.settle();
        assert!(acme.disk.owed().unwrap().is_empty());
        acme
    };

    let hub = Running::start(read());
    hub.up().await;
    hub.decided().await;
    let answer = hub.holdings().await;
    assert_eq!(held_of(answer.await.unwrap(), GLOBEX), 10);
    assert_eq!(hub.disk.owed().unwrap().len(), 1, "noted by the time it is answered");

    let hub = Running::start(read());
    hub.up().await;
    hub.decided().await;
    hub.disk.fail();
    let answer = hub.holdings().await;
    assert!(answer.await.is_err(), "answered, and the marks are lost");
    assert!(hub.ended.await.unwrap().is_err());
}

/// What a peer sent before it lost its disk is on its way here when it asks, on a new connection, what is held.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_an_earlier_connection_is_dropped() {
    let (acme, range) = homes();
    let channel = range.channel;
    let hub = Running::start(acme);
    hub.up().await;
    hub.down().await;
    hub.up().await;
    let answer = hub.holdings().await;
    assert_eq!(held_of(answer.await.unwrap(), GLOBEX), 0);
    let late = hub.range(1, range.clone()).await;
    assert!(late.await.is_err(), "nobody is answered");
    assert!(
        hub.disk.channel(channel).unwrap().is_none(),
        "the peer was told that none of it is here"
    );
    let new = hub.range(2, range).await;
    assert_eq!(new.await.unwrap().unwrap().have, Seq(10));
}

/// A frame answers thousands of ranges: the first lie in it is one, and what is behind it is not looked at.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_home_at_fault_has_sent_besides_is_dropped() {
    let (acme, range) = homes();
    let hub = Running::start(acme);
    hub.up().await;
    let channel = range.channel;
    assert_eq!(hub.range(1, range.clone()).await.await.unwrap().unwrap().have, Seq(10));
    for _ in 0..100 {
        let (peer, connection, have) = (GLOBEX, ConnectionNo(1), Seq(99));
        hub.put(Input::Acknowledged { peer, connection, channel, epoch: EPOCH, have }).await;
    }
    assert!(hub.range(1, range.clone()).await.await.is_err(), "it was cut");
    hub.decided().await;
    let counted = hub.metrics.peer_faults.lock().clone();
    assert_eq!(counted, [("ack_ahead".to_owned(), 1)].into());
    // What its hello said before that counts for nothing either, while it is to stay out.
    hub.down().await;
    hub.up().await;
    assert!(hub.range(2, range).await.await.is_err(), "it was let in");
}

/// A channel with more than one tick's worth is gone on with; the rest of the round follows, and then there is a rest.
#[tokio::test(flavor = "multi_thread")]
async fn retention_goes_round_in_parts() {
    let mut acme = Node::new(ACME, "alice");
    let with = |n: u32| UserRef::new(GLOBEX, local(&format!("user{n}")));
    let channels: Vec<ChannelId> = (0..3).map(|n| acme.send("alice", &with(n), n.into())).collect();
    // The second in the order of the round is the long one.
    let mut order = channels.clone();
    order.sort_unstable();
    let long = channels.iter().position(|id| *id == order[1]).unwrap();
    let with_long = with(u32::try_from(long).unwrap());
    for n in 10..1_509 {
        acme.send("alice", &with_long, n);
    }
    let retention = Some(RetentionLimits { age_ms: 1_000, channels: 2 });
    let disk = acme.disk.clone();
    let (mut hub, ..) = hub_of(acme, HubLimits { retention, ..limits() });
    let left = || -> Vec<usize> {
        let log = |id: &ChannelId| disk.entries(*id, Pos(1), Pos(9_999), usize::MAX).unwrap().len();
        order.iter().map(log).collect()
    };
    let mut tick = |now_ms| {
        hub.sweep(now_ms).unwrap();
        let step = hub.home.take_step();
        disk.commit(&step.batch).unwrap();
        hub.home.committed(step.number);
    };
    // Two channels a tick: one more for the third, one to see that there is none, and a rest of a second.
    for at in [1_000, 1_000, 1_000, 1_999] {
        tick(NOW_MS + at);
        assert_eq!(left(), [1, 1_500, 1], "nothing is older than a second, or it rests");
    }
    tick(NOW_MS + 2_000);
    assert_eq!(left(), [0, 1_500 - 3 * 256, 1], "four parts, one of them for the first channel");
    tick(NOW_MS + 2_001);
    assert_eq!(left(), [0, 0, 0]);
}

/// Identities cost nothing: whoever knocks with a new one each time fills neither the list of homes nor the metrics.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_are_refused_take_no_memory_and_name_no_metric() {
    let (acme, _) = homes();
    let (mut hub, _, _) = hub_of(acme, limits());
    let refused = |id: u64, direction, reason: &str| {
        let mut home = [77; 32];
        home[..8].copy_from_slice(&id.to_be_bytes());
        NetEvent::Refused {
            home: Some(HomeId(home)),
            direction,
            reason: reason.to_owned(),
            message: "no".to_owned(),
            evidence: Bytes::new(),
        }
    };
    for id in 0..500 {
        hub.net_event(refused(id, Direction::ByUs, "not_pinned")).unwrap();
        hub.net_event(refused(1_000 + id, Direction::ByPeer, &format!("word_{id}"))).unwrap();
    }
    assert_eq!(hub.live.homes.len(), STRANGERS);
    let faults = hub.metrics.peer_faults.lock().clone();
    let counted = [("not_pinned", 500), ("refused_by_peer", 500)];
    assert_eq!(faults, counted.map(|(reason, count)| (reason.to_owned(), count)).into());
    // One that was met is no stranger, however many knock.
    let globex = NetEvent::Refused {
        home: Some(GLOBEX),
        direction: Direction::ByPeer,
        reason: "stopping".to_owned(),
        message: "soon".to_owned(),
        evidence: Bytes::new(),
    };
    hub.net_event(globex).unwrap();
    (0..100).for_each(|id| hub.net_event(refused(id, Direction::ByUs, "closed")).unwrap());
    assert_eq!(hub.live.homes.len(), STRANGERS + 1);
    assert_eq!(hub.live.homes[&GLOBEX].last_error.as_deref(), Some("stopping: soon"));
}

/// What is removed does not come back: by a clock that is wrong, or may be, nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn retention_waits_for_a_clock_that_is_believed() {
    const MINUTE_MS: u64 = 60_000;
    fn later() -> u64 {
        NOW_MS + 60 * MINUTE_MS
    }
    let written = || {
        let mut acme = Node::new(ACME, "alice");
        let channel = acme.send("alice", &UserRef::new(GLOBEX, local("bob")), 1);
        (acme.disk.clone(), acme, channel)
    };
    let retention = Some(RetentionLimits { age_ms: 30 * MINUTE_MS, channels: 10 });
    let limits = HubLimits { retention, ..limits() };
    let sweep = |hub: &mut Hub, disk: &Disk, channel| {
        hub.sweep(hub.now_ms()).unwrap();
        let step = hub.home.take_step();
        disk.commit(&step.batch).unwrap();
        hub.home.committed(step.number);
        disk.entries(channel, Pos(1), Pos(9), usize::MAX).unwrap().len()
    };

    // Nobody could confirm the clock, and everything would go.
    let (disk, acme, channel) = written();
    let (mut hub, ..) = hub_at(acme, limits.clone(), &[], later);
    assert_eq!(sweep(&mut hub, &disk, channel), 1);

    // A pinned home could: it is waited for, and then believed.
    let (disk, acme, channel) = written();
    let globex = Pin { name: "globex.test".parse().unwrap(), home: GLOBEX, addresses: Vec::new() };
    let (mut hub, ..) = hub_at(acme, limits.clone(), std::slice::from_ref(&globex), later);
    assert_eq!(sweep(&mut hub, &disk, channel), 1, "it was not heard");
    hub.clocks.heard(GLOBEX, hub.moment(), NOW_MS);
    assert_eq!(sweep(&mut hub, &disk, channel), 1, "it shows another time");
    hub.clock_wrong_by = Some(3_600_000);
    assert_eq!(hub.now_ms(), NOW_MS);
    hub.clocks.heard(GLOBEX, hub.moment(), later());
    assert_eq!(sweep(&mut hub, &disk, channel), 1, "this clock is known to be wrong");
    hub.clock_wrong_by = None;
    assert_eq!(sweep(&mut hub, &disk, channel), 0);
}

/// A roster's time is the one that messages get, where this home's clock is known to be wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_dated_by_the_clock_that_is_put_right() {
    fn later() -> u64 {
        NOW_MS + 3_600_000
    }
    let (mut hub, ..) = hub_at(Node::new(ACME, "alice"), limits(), &[], later);
    hub.clock_wrong_by = Some(3_600_000);
    let group = ChannelId(Uuid::now_v7());
    let alice = local("alice");
    let made = hub.create_group(&alice, "friends".into(), &[], Some(group), GroupPolicy::default());
    assert!(made.is_ok());
    let signed = hub.home.roster_of(&*hub.store.clone(), group).unwrap().unwrap();
    assert_eq!(signed.roster().at, NOW_MS);
}
