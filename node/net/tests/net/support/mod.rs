//! Homes with real sockets on loopback, and peers that misbehave.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use homing_net::{
    Admission, Direction, HelloInfo, NetConfig, NetEvent, NetHandle, NetLimits, NodeKey, Refusal,
    RelayIn, RelayOut, start,
};
use homing_wire::proto::event::v1::Event;
use homing_wire::proto::hello::v1::Hello;
use homing_wire::proto::relay::v1::{Ack, Frame, Marks, Pruned, Pull, Range, frame};
use homing_wire::{Epoch, HomeId, HomeRecord, Instance, Node, Statement};
use tokio::sync::mpsc;

pub(crate) mod mesh;
pub(crate) mod proxy;
pub(crate) mod raw;

/// Nothing on loopback takes this long; what does has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// What a home shows and whom it admits; tests change it as they like.
pub(crate) struct Policy {
    state: Mutex<State>,
    signing: SigningKey,
    peer_id: Bytes,
}

pub(crate) struct State {
    pub(crate) record: Bytes,
    pub(crate) verdict: Result<(), Refusal>,
    pub(crate) seen: Vec<HelloInfo>,
    /// Which run it says it is.
    pub(crate) epoch: u64,
    pub(crate) boot: u64,
    pub(crate) instance: Instance,
    /// Shown in place of the true statement.
    pub(crate) forged: Option<Bytes>,
}

impl Policy {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What it says of its run.
    pub(crate) fn said(&self, answering: Option<Instance>) -> Statement {
        let state = self.lock();
        Statement {
            epoch: Epoch(state.epoch),
            boot: state.boot,
            instance: state.instance,
            peer_id: self.peer_id.clone(),
            answering,
        }
    }

    fn signed(&self, answering: Option<Instance>) -> Bytes {
        let forged = self.lock().forged.clone();
        forged.unwrap_or_else(|| self.said(answering).sign(&self.signing))
    }
}

impl Admission for Policy {
    fn admit(&self, _: &HomeRecord, hello: &HelloInfo) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.seen.push(hello.clone());
        state.verdict.clone()
    }

    fn own_hello(&self) -> Hello {
        // Each under a lock of its own: within one expression they would wait for each other.
        let (said, statement) = (self.said(None), self.signed(None));
        let record = self.lock().record.clone();
        Hello {
            record,
            epoch: said.epoch.0,
            boot: said.boot,
            instance: said.instance.to_vec().into(),
            software: "homing-test/1".into(),
            clock: 1_000,
            statement,
        }
    }

    fn statement(&self, answering: Instance) -> Bytes {
        self.signed(Some(answering))
    }
}

/// Who a home is, apart from its running network.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) signing: SigningKey,
    pub(crate) key: NodeKey,
    pub(crate) policy: Arc<Policy>,
    pub(crate) id: HomeId,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Self {
        let seed = NodeKey::generate().to_seed().unwrap();
        let signing = SigningKey::from_bytes(&seed);
        let key = NodeKey::generate();
        Self::of(name, signing, key)
    }

    fn of(name: &str, signing: SigningKey, key: NodeKey) -> Self {
        let record = record(name, &signing, &key);
        let state = State {
            record: record.sign(&signing),
            verdict: Ok(()),
            seen: Vec::new(),
            epoch: 7,
            boot: 3,
            instance: [9; 16],
            forged: None,
        };
        let policy = Policy {
            state: Mutex::new(state),
            signing: signing.clone(),
            peer_id: key.peer_id_bytes(),
        };
        Self { id: record.home_id(), signing, key, policy: Arc::new(policy) }
    }

    /// Another run of the same node.
    pub(crate) fn run(&self, name: &str, epoch: u64, boot: u64, instance: u8) -> Self {
        let run = Self::of(name, self.signing.clone(), self.key.clone());
        {
            let mut state = run.policy.lock();
            (state.epoch, state.boot, state.instance) = (epoch, boot, [instance; 16]);
        }
        run
    }
}

pub(crate) fn record(name: &str, signing: &SigningKey, key: &NodeKey) -> HomeRecord {
    HomeRecord {
        name: format!("{name}.example").parse().unwrap(),
        identity: signing.verifying_key().to_bytes(),
        signing_keys: vec![signing.verifying_key().to_bytes()],
        nodes: vec![Node { peer_id: key.peer_id_bytes(), addresses: Vec::new() }],
        epoch: Epoch(7),
        number: 1,
        protocols: Vec::new(),
        issued_at: 1,
    }
}

/// Quick enough for tests, and still well above what a busy machine needs.
pub(crate) fn limits() -> NetLimits {
    NetLimits {
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_millis(400),
        // How long QUIC knocks where nobody is.
        handshake_timeout: Duration::from_secs(2),
        ..NetLimits::default()
    }
}

/// A running home.
pub(crate) struct Home {
    pub(crate) identity: Identity,
    pub(crate) net: NetHandle,
    pub(crate) events: mpsc::Receiver<NetEvent>,
    /// Where it listens, in the order of its configuration.
    pub(crate) addresses: Vec<String>,
}

impl Home {
    pub(crate) async fn start(name: &str, listen: &[&str]) -> Self {
        Self::run(Identity::new(name), listen, limits()).await
    }

    pub(crate) async fn run(identity: Identity, listen: &[&str], limits: NetLimits) -> Self {
        let config = NetConfig {
            listen: listen.iter().map(|&a| a.to_owned()).collect(),
            allow_private: true,
            limits,
        };
        let (net, events) = start(config, &identity.key, identity.policy.clone()).unwrap();
        let mut home = Self { identity, net, events, addresses: Vec::new() };
        for _ in listen {
            let address = home
                .next(|event| match event {
                    NetEvent::Listening { address } => Ok(address),
                    other => Err(other),
                })
                .await;
            home.addresses.push(address);
        }
        home
    }

    pub(crate) fn id(&self) -> HomeId {
        self.identity.id
    }

    pub(crate) async fn want(&self, other: &Home) {
        self.net.want(other.id(), other.addresses.clone()).await.unwrap();
    }

    /// The next event that `pick` takes; others are skipped.
    pub(crate) async fn next<T>(&mut self, pick: impl Fn(NetEvent) -> Result<T, NetEvent>) -> T {
        let mut skipped = Vec::new();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                match pick(self.events.recv().await.expect("the network runs")) {
                    Ok(found) => return found,
                    Err(other) => skipped.push(format!("{other:?}")),
                }
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("the event did not come; instead: {skipped:#?}"))
    }

    pub(crate) async fn up(&mut self, other: HomeId) -> HelloInfo {
        self.next(|event| match event {
            NetEvent::PeerUp { home, hello, record } if home == other => {
                assert_eq!(record.home_id(), other);
                Ok(hello)
            }
            event => Err(event),
        })
        .await
    }

    pub(crate) async fn down(&mut self, other: HomeId) -> &'static str {
        self.next(|event| match event {
            NetEvent::PeerDown { home, reason } if home == other => Ok(reason),
            event => Err(event),
        })
        .await
    }

    pub(crate) async fn relay_out(&mut self, other: HomeId) -> RelayOut {
        self.next(|event| match event {
            NetEvent::RelayOut { home, link } if home == other => Ok(link),
            event => Err(event),
        })
        .await
    }

    pub(crate) async fn relay_in(&mut self, other: HomeId) -> RelayIn {
        self.next(|event| match event {
            NetEvent::RelayIn { home, link } if home == other => Ok(link),
            event => Err(event),
        })
        .await
    }

    /// Both links with another home, in whichever order they come.
    pub(crate) async fn links(&mut self, other: HomeId) -> (RelayOut, RelayIn) {
        let (mut out, mut inward) = (None, None);
        while out.is_none() || inward.is_none() {
            let event = self
                .next(|event| match event {
                    NetEvent::RelayOut { home, .. } | NetEvent::RelayIn { home, .. }
                        if home == other =>
                    {
                        Ok(event)
                    }
                    event => Err(event),
                })
                .await;
            match event {
                NetEvent::RelayOut { link, .. } => out = Some(link),
                NetEvent::RelayIn { link, .. } => inward = Some(link),
                _ => unreachable!("picked above"),
            }
        }
        (out.unwrap(), inward.unwrap())
    }

    pub(crate) async fn refused(
        &mut self,
    ) -> (Option<HomeId>, homing_net::Direction, String, String) {
        self.next(|event| match event {
            NetEvent::Refused { home, direction, reason, message, .. } => {
                Ok((home, direction, reason, message))
            }
            event => Err(event),
        })
        .await
    }

    /// What it was shown by a peer that refuses it.
    pub(crate) async fn shown(&mut self) -> (String, Bytes) {
        self.next(|event| match event {
            NetEvent::Refused { direction: Direction::ByPeer, reason, evidence, .. } => {
                Ok((reason, evidence))
            }
            event => Err(event),
        })
        .await
    }

    pub(crate) async fn dial_failed(&mut self) -> (HomeId, &'static str, String) {
        self.next(|event| match event {
            NetEvent::DialFailed { home, reason, message, attempts, retry_in } => {
                assert!(attempts > 0 && retry_in > Duration::ZERO);
                Ok((home, reason, message))
            }
            event => Err(event),
        })
        .await
    }
}

pub(crate) fn marks(number: u64) -> Frame {
    let marks = Marks { number, channel: vec![1; 16].into(), marks: Vec::new() };
    Frame { frame: Some(frame::Frame::Marks(marks)) }
}

pub(crate) fn number_of(frame: &Frame) -> u64 {
    match &frame.frame {
        Some(frame::Frame::Marks(marks)) => marks.number,
        Some(frame::Frame::Ack(ack)) => ack.marks,
        other => panic!("neither Marks nor Ack: {other:?}"),
    }
}

pub(crate) fn ack(number: u64) -> Frame {
    Frame { frame: Some(frame::Frame::Ack(Ack { marks: number, ..Ack::default() })) }
}

/// A frame of about `bytes` bytes that says `number`.
pub(crate) fn bulky(number: u64, bytes: usize) -> Frame {
    let marks = Marks { number, channel: vec![1; bytes].into(), marks: Vec::new() };
    Frame { frame: Some(frame::Frame::Marks(marks)) }
}

/// A frame whose one event has a body of `bytes` bytes.
pub(crate) fn range(bytes: usize) -> Frame {
    let event = Event { header: Bytes::new(), body: vec![0; bytes].into() };
    let range = Range { channel: vec![1; 16].into(), events: vec![event], ..Range::default() };
    Frame { frame: Some(frame::Frame::Range(range)) }
}

pub(crate) fn pruned(seq: u64) -> Frame {
    let pruned =
        Pruned { channel: vec![1; 16].into(), seq, hash: vec![2; 32].into(), ..Pruned::default() };
    Frame { frame: Some(frame::Frame::Pruned(pruned)) }
}

pub(crate) fn pull() -> Frame {
    Frame { frame: Some(frame::Frame::Pull(Pull {})) }
}

/// Fails instead of hanging.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}
