//! The loop: everything that can wake the network is one of [`Wake`]. It never waits for anything else.
//!
//! Streams are worked by tasks of their own (`hello.rs`, `relay.rs`, `query.rs`) that send [`Report`]s. The loop
//! owns all state and decides; its parts are here (start, dispatch), in `connections.rs` (a
//! connection's life), `clones.rs` (two runs of one node), `rounds.rs` (dialling) `links.rs` (relay streams and questions),
//! `media.rs` (files) and `gossip.rs`.
//!
//! **Back-pressure.** While the server does not take events, swarm, reports and timers are not polled,
//! so peers wait; commands are still taken, so the server may give one before it takes an event.

mod clones;
mod connections;
mod gossip;
mod links;
mod media;
mod rounds;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use homing_wire::HomeId;
use homing_wire::proto::query::v1::{Answer, Query};
use libp2p::PeerId;
use libp2p::swarm::{ConnectionId, Swarm, SwarmEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::config::{AddressError, NetConfig, NetError, NetLimits, parse_address};
use crate::dial::{Announced, Target};
use crate::event::{NetEvent, RelayIn, RelayOut};
use crate::handle::{Command, NetHandle, PeerSnapshot};
use crate::hello::{Admission, Newcomer, Outcome};
use crate::homes::{Connection, Home};
use crate::key::NodeKey;
use crate::media::{MediaAsk, MediaReply};
use crate::relay::{End, Settings};
use crate::stats::Counters;
use crate::timers::{Timer, Timers};
use crate::transport::{self, Behaviour, BehaviourEvent, Medium};

/// Events that the loop holds back before it stops to make more. One wake makes a handful at most.
const OUTBOX: usize = 16;
/// Reports that wait for the loop; tasks wait beyond.
const REPORTS: usize = 256;
/// Where a node listens that has no sockets: wherever there is room.
const ANY_IN_MEMORY: &str = "/memory/0";
/// What a shutdown may take to tell peers.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(1);

/// What the system said, below the layers that libp2p wraps around it: those say nothing themselves.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Starts the network: listens, and runs until it is shut down. Needs a tokio runtime around it.
pub fn start(
    config: NetConfig,
    key: &NodeKey,
    admission: Arc<dyn Admission>,
) -> Result<(NetHandle, mpsc::Receiver<NetEvent>), NetError> {
    start_over(Medium::Sockets, config, key, admission)
}

/// As [`start`], over something else than sockets, where nothing is to be configured to be listened on.
pub(crate) fn start_over(
    medium: Medium,
    config: NetConfig,
    key: &NodeKey,
    admission: Arc<dyn Admission>,
) -> Result<(NetHandle, mpsc::Receiver<NetEvent>), NetError> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| NetError::NoRuntime)?;
    let NetConfig { mut listen, allow_private, limits } = config;
    limits.check()?;
    let counters = Arc::new(Counters::default());
    let parse = match medium {
        Medium::Sockets => parse_address,
        Medium::Memory(_) => {
            listen = vec![ANY_IN_MEMORY.to_owned()];
            |text: &str| text.parse().map_err(|_| AddressError::Syntax)
        }
    };
    let mut swarm = transport::swarm(medium, key, &limits, &counters)?;
    for address in listen {
        let parsed = parse(&address)
            .map_err(|source| NetError::Address { address: address.clone(), source })?;
        swarm
            .listen_on(parsed)
            .map_err(|error| NetError::Listen { address, message: innermost(&error) })?;
    }
    let (commands, command_queue) = mpsc::channel(limits.commands_queue);
    let (events, event_queue) = mpsc::channel(limits.events_queue);
    let (reports, report_queue) = mpsc::channel(REPORTS);
    let handle =
        NetHandle { commands, counters: counters.clone(), query_timeout: limits.query_timeout };
    let net = Net {
        swarm,
        allow_private,
        admission,
        events,
        outbox: VecDeque::new(),
        reports,
        relay: Settings::new(&limits, counters.clone()),
        counters,
        limits,
        timers: Timers::default(),
        homes: HashMap::new(),
        connections: HashMap::new(),
        dials: HashMap::new(),
        banned: HashMap::new(),
        numbers: 0,
    };
    runtime.spawn(net.run(command_queue, report_queue));
    Ok((handle, event_queue))
}

/// Everything that can wake the loop.
enum Wake {
    /// The server took an event.
    Delivered,
    /// The server has dropped the event receiver or every handle.
    Abandoned,
    Command(Command),
    Swarm(Box<SwarmEvent<BehaviourEvent>>),
    Report(Report),
    /// A timer may be due.
    Time,
}

/// What tasks tell the loop.
pub(crate) enum Report {
    Hello(ConnectionId, Outcome),
    /// Somebody would be admitted.
    Newcomer(Newcomer),
    /// What was connected of the newcomer's node did not answer.
    Silent(Newcomer, Vec<ConnectionId>),
    Resolved {
        home: HomeId,
        round: u64,
        targets: Vec<(Target, Announced)>,
    },
    RelayOutOpen {
        home: HomeId,
        number: u64,
        link: RelayOut,
    },
    RelayInOpen {
        home: HomeId,
        number: u64,
        link: RelayIn,
    },
    RelayEnded {
        home: HomeId,
        number: u64,
        connection: ConnectionId,
        end: End,
    },
    Query {
        home: HomeId,
        query: Query,
        reply: oneshot::Sender<Answer>,
    },
    Media {
        home: HomeId,
        ask: MediaAsk,
        reply: MediaReply,
    },
}

/// The state of the loop.
struct Net {
    swarm: Swarm<Behaviour>,
    allow_private: bool,
    limits: NetLimits,
    admission: Arc<dyn Admission>,
    counters: Arc<Counters>,
    relay: Settings,
    events: mpsc::Sender<NetEvent>,
    /// Events for which the queue had no room yet, oldest first.
    outbox: VecDeque<NetEvent>,
    /// Handed to every task.
    reports: mpsc::Sender<Report>,
    timers: Timers,
    homes: HashMap<HomeId, Home>,
    connections: HashMap<ConnectionId, Connection>,
    /// Dials without a result: for whom, and in which round.
    dials: HashMap<ConnectionId, (HomeId, u64)>,
    banned: HashMap<HomeId, Vec<PeerId>>,
    /// The last number given to a round or a relay stream.
    numbers: u64,
}

impl Net {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut reports: mpsc::Receiver<Report>,
    ) {
        loop {
            match self.wake(&mut commands, &mut reports).await {
                Wake::Delivered => {}
                Wake::Abandoned => return Box::pin(self.stop(None)).await,
                Wake::Command(Command::Shutdown(done)) => {
                    return Box::pin(self.stop(Some(done))).await;
                }
                Wake::Command(command) => self.on_command(command),
                Wake::Swarm(event) => self.on_swarm(*event),
                Wake::Report(report) => self.on_report(report),
                Wake::Time => {
                    let now = Instant::now();
                    while let Some(timer) = self.timers.pop_due(now) {
                        self.on_timer(timer);
                    }
                }
            }
        }
    }

    async fn wake(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        reports: &mut mpsc::Receiver<Report>,
    ) -> Wake {
        let has_room = self.outbox.len() < OUTBOX;
        let next = self.timers.next_at();
        tokio::select! {
            permit = self.events.reserve() , if !self.outbox.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(event) = self.outbox.pop_front() {
                        permit.send(event);
                    }
                    Wake::Delivered
                }
                Err(_) => Wake::Abandoned,
            },
            () = self.events.closed() => Wake::Abandoned,
            command = commands.recv() => command.map_or(Wake::Abandoned, Wake::Command),
            Some(report) = reports.recv(), if has_room => Wake::Report(report),
            Some(event) = self.swarm.next(), if has_room => Wake::Swarm(Box::new(event)),
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)),
                if has_room && next.is_some() => Wake::Time,
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Want(home, addresses) => self.want(home, addresses),
            Command::Unwant(home) => self.unwant(home),
            Command::RetryNow(home) => self.retry_now(home),
            Command::Query(home, query, reply) => self.ask(home, query, reply),
            Command::Media(home, ask, reply) => self.take_media(home, ask, reply),
            Command::Disconnect(home, reason) => self.close_home(home, reason),
            Command::Ban(home) => self.ban(home),
            Command::Unban(home) => {
                for peer in self.banned.remove(&home).unwrap_or_default() {
                    self.swarm.behaviour_mut().blocked.unblock_peer(peer);
                }
            }
            // An asker that has gone needs no answer.
            Command::Peers(reply) => drop(reply.send(self.snapshot())),
            Command::Join(topic, reply) => drop(reply.send(self.gate().join(topic))),
            Command::Leave(topic) => self.gate().leave(topic),
            Command::Publish(topic, payload, reply) => {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(self.gate().publish(topic, payload.into()));
            }
            Command::Judge(message, verdict) => self.judge(&message, verdict),
            Command::TopicPeers(topic, reply) => drop(reply.send(self.gate().topic_peers(topic))),
            Command::TopicHomes(topic, reply) => drop(reply.send(self.gate().topic_homes(topic))),
            // Taken by `run`.
            Command::Shutdown(_) => {}
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Hello(connection, outcome) => self.on_hello(connection, outcome),
            Report::Newcomer(newcomer) => self.on_newcomer(newcomer),
            Report::Silent(newcomer, silent) => self.on_silent(newcomer, silent),
            Report::Resolved { home, round, targets } => self.on_resolved(home, round, targets),
            Report::RelayOutOpen { home, number, link } => self.on_relay_out(home, number, link),
            Report::RelayInOpen { home, number, link } => self.on_relay_in(home, number, link),
            Report::RelayEnded { home, number, connection, end } => {
                self.on_relay_ended(home, number, connection, end);
            }
            Report::Media { home, ask, reply } => {
                if self.homes.get(&home).is_some_and(Home::is_up) {
                    self.emit(NetEvent::Media { home, ask, reply });
                }
            }
            Report::Query { home, query, reply } => {
                // Of a home that has gone since, nobody waits for the answer.
                if self.homes.get(&home).is_some_and(Home::is_up) {
                    self.emit(NetEvent::Query { home, query, reply });
                }
            }
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::HelloDeadline(connection) => self.on_hello_deadline(connection),
            Timer::RefusedLinger(connection) => self.close(connection, "refused"),
            Timer::DialDue(home) => self.on_dial_due(home),
            Timer::DialStagger(home, round) => self.on_stagger(home, round),
            Timer::RelayDue(home) => self.on_relay_due(home),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is open; the rest is not ours")]
    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(inbound)) => self.on_stream(inbound),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                self.on_closed(connection_id, cause.as_ref());
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_error(connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                self.counters.dropped("incoming_failed");
                tracing::debug!(%error, "an incoming connection failed");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening");
                self.emit(NetEvent::Listening { address: address.to_string() });
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener had an error");
            }
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::error!(%error, ?addresses, "a listener has closed: nobody can reach us there");
            }
            _ => {}
        }
    }

    fn emit(&mut self, event: NetEvent) {
        self.outbox.push_back(event);
    }

    fn ban(&mut self, home: HomeId) {
        self.unwant(home);
        let known = self.homes.get(&home).and_then(Home::record);
        let mut peers: Vec<_> = known
            .iter()
            .flat_map(|record| &record.nodes)
            .filter_map(|node| PeerId::from_bytes(&node.peer_id).ok())
            .collect();
        self.close_home(home, "banned");
        for peer in &peers {
            self.swarm.behaviour_mut().blocked.block_peer(*peer);
        }
        self.banned.entry(home).or_default().append(&mut peers);
    }

    fn snapshot(&self) -> Vec<PeerSnapshot> {
        let now = Instant::now();
        let one = |(id, home): (&HomeId, &Home)| PeerSnapshot {
            home: *id,
            name: home.record().map(|record| record.name.clone()),
            software: home.shown.as_ref().map(|(_, hello)| hello.software.clone()),
            wanted: home.wanted.is_some(),
            up_for: home.up_since.map(|since| now - since),
            connections: home
                .connections
                .iter()
                .filter_map(|c| self.connections.get(c))
                .map(|c| c.remote.to_string())
                .collect(),
            relay_out: home.relay_out.as_ref().is_some_and(|stream| stream.is_open),
            relay_in: home.relay_in.is_some(),
            attempts: home.backoff.attempts(),
            last_reason: home.last_reason,
            retry_in: home.dial_at.map(|at| at.saturating_duration_since(now)),
        };
        self.homes.iter().map(one).collect()
    }

    async fn stop(mut self, done: Option<oneshot::Sender<()>>) {
        for (id, connection) in &self.connections {
            connection.cancel.cancel();
            self.swarm.close_connection(*id);
        }
        let _ = tokio::time::timeout(SHUTDOWN_WITHIN, async {
            while !self.connections.is_empty() {
                let event = self.swarm.select_next_some().await;
                if let SwarmEvent::ConnectionClosed { connection_id, .. } = event {
                    self.connections.remove(&connection_id);
                }
            }
        })
        .await;
        drop(self);
        if let Some(done) = done {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
    }
}

/// A number in 0 to 1 for the jitter of waits.
fn chance() -> f64 {
    rand::random()
}

/// An answer to a question that will not be asked.
fn decline<T, E>(reply: oneshot::Sender<Result<T, E>>, error: E) {
    // Whoever asked may have stopped waiting.
    let _ = reply.send(Err(error));
}
