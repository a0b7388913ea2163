//! A connection's life: established, hello, admitted or refused, closed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_wire::{HomeId, HomeRecord};
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionError, ConnectionId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Net, Report, chance};
use crate::event::{Direction, NetEvent};
use crate::hello::{Greeter, HelloInfo, Outcome, Told};
use crate::homes::{Connection, Home, Stage};
use crate::streams::{Inbound, OpenError, Opened, Protocol};
use crate::timers::Timer;

/// Streams that are held for a peer whose hello we have not seen the end of: its relay stream and a few
/// questions. It cannot have more to say in that moment.
const HELD_STREAMS: usize = 4;
/// How long a refused peer may take to read why, before the connection goes.
const REFUSED_LINGER: Duration = Duration::from_secs(1);
/// A home that was up for this long starts its back-off over when it is lost; one that goes down at once
/// every time is dialled less and less.
const STABLE_AFTER: Duration = Duration::from_secs(10);

impl Net {
    pub(super) fn on_established(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let dialled = self.dials.remove(&id);
        let connection = Connection {
            peer,
            remote: endpoint.get_remote_address().clone(),
            dialled,
            stage: Stage::Greeting { started: endpoint.is_dialer() },
            run: None,
            cancel: CancellationToken::new(),
            held: Vec::new(),
        };
        let is_spare = endpoint.is_dialer() && !self.is_needed(dialled);
        let cancel = connection.cancel.clone();
        self.connections.insert(id, connection);
        let round = dialled.and_then(|(home, round)| self.round_of(home, round));
        if let Some(round) = round {
            round.dialling = round.dialling.saturating_sub(1);
            if !is_spare {
                round.greeting = Some(id);
            }
        }
        if is_spare {
            // Another of our dials to that home was faster, or nobody wants it any more.
            return self.close(id, "spare");
        }
        self.timers.after(self.limits.hello_deadline, Timer::HelloDeadline(id));
        if let Some((home, _)) = dialled {
            let opened = self.swarm.behaviour_mut().streams.open(peer, id, Protocol::Hello);
            let greeter = self.greeter(id, peer, Some(home));
            self.spawn_hello(id, cancel, ask(greeter, opened));
        }
    }

    /// Whether a dial that came through is of use: its home is wanted, and no other dial of ours is at
    /// hello with it or past it. Connections that *they* opened do not count, or two homes that dial each
    /// other would both close their own.
    fn is_needed(&self, dialled: Option<(HomeId, u64)>) -> bool {
        let Some((home, _)) = dialled else {
            return false;
        };
        self.homes.get(&home).is_some_and(|h| h.wanted.is_some())
            && !self.connections.values().any(|other| {
                other.dialled.is_some_and(|(id, _)| id == home)
                    && matches!(other.stage, Stage::Greeting { .. } | Stage::Admitted(..))
            })
    }

    /// A stream that the peer opened.
    pub(super) fn on_stream(&mut self, inbound: Inbound) {
        let id = inbound.connection;
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match (connection.stage, inbound.protocol) {
            (Stage::Greeting { started: false }, Protocol::Hello) => {
                connection.stage = Stage::Greeting { started: true };
                let (peer, cancel) = (connection.peer, connection.cancel.clone());
                let greeter = self.greeter(id, peer, None);
                self.spawn_hello(id, cancel, greeter.answer(inbound.stream));
            }
            (Stage::Greeting { .. }, Protocol::Relay | Protocol::Query | Protocol::Media) => {
                if connection.held.len() < HELD_STREAMS {
                    connection.held.push(inbound);
                } else {
                    self.counters.dropped("stream_before_hello");
                }
            }
            (Stage::Admitted(home, _), Protocol::Relay) => {
                self.serve_relay(home, id, inbound.stream);
            }
            (Stage::Admitted(home, _), Protocol::Query) => {
                self.serve_query(home, id, inbound.stream);
            }
            (Stage::Admitted(home, _), Protocol::Media) => {
                self.serve_media(home, id, inbound.stream);
            }
            (Stage::Greeting { started: true } | Stage::Admitted(..), Protocol::Hello) => {
                self.counters.dropped("hello_repeated");
            }
            (Stage::Refused | Stage::Closing, _) => {}
        }
    }

    fn greeter(&self, connection: ConnectionId, peer: PeerId, expected: Option<HomeId>) -> Greeter {
        let (admission, reports) = (self.admission.clone(), self.reports.clone());
        Greeter { admission, peer, connection, expected, reports }
    }

    fn spawn_hello(
        &self,
        id: ConnectionId,
        cancel: CancellationToken,
        hello: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let hello = Box::pin(hello);
            if let Some(outcome) = cancel.run_until_cancelled(hello).await {
                // The loop has stopped if nobody takes it.
                let _ = reports.send(Report::Hello(id, outcome)).await;
            }
        });
    }

    pub(super) fn on_hello(&mut self, id: ConnectionId, outcome: Outcome) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if !matches!(connection.stage, Stage::Greeting { .. }) {
            return;
        }
        let dialled = connection.dialled;
        match outcome {
            Outcome::Admitted(record, info) => self.admitted(id, record, info),
            Outcome::RefusedByUs(shown, refusal) => {
                connection.stage = Stage::Refused;
                connection.held.clear();
                self.counters.refused(refusal.reason);
                self.timers.after(REFUSED_LINGER, Timer::RefusedLinger(id));
                let home = shown.or(dialled.map(|(home, _)| home));
                // The server tells the operator, at its pace: anybody may knock as often as he likes.
                tracing::debug!(?home, reason = refusal.reason, "a peer was refused");
                let (reason, message) = (refusal.reason, refusal.message);
                self.emit(NetEvent::Refused {
                    home,
                    direction: Direction::ByUs,
                    reason: reason.to_owned(),
                    message: message.clone(),
                    evidence: Bytes::new(),
                });
                self.attempt_failed(dialled, reason, message);
            }
            Outcome::RefusedByPeer(home, Told { reason, message, evidence }) => {
                self.counters.refused_by_peer();
                tracing::debug!(?home, reason, "a peer refused us");
                let told = format!("{reason}: {message}");
                self.emit(NetEvent::Refused {
                    home,
                    direction: Direction::ByPeer,
                    reason,
                    message,
                    evidence,
                });
                self.give_up(id, "refused_by_peer", told);
            }
            Outcome::Failed(reason) => {
                self.counters.dropped(reason);
                self.give_up(id, reason, "hello did not come about".to_owned());
            }
        }
    }

    pub(super) fn on_hello_deadline(&mut self, id: ConnectionId) {
        let stage = self.connections.get(&id).map(|connection| connection.stage);
        if matches!(stage, Some(Stage::Greeting { .. })) {
            self.counters.dropped("hello_timeout");
            self.give_up(id, "hello_timeout", "no hello in time".to_owned());
        }
    }

    fn admitted(&mut self, id: ConnectionId, record: Arc<HomeRecord>, info: HelloInfo) {
        if !self.is_latest(id, info.run()) {
            return self.give_up(id, "other_run", "a later run of this node is connected".into());
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let home_id = record.home_id();
        let now = Instant::now();
        connection.stage = Stage::Admitted(home_id, now);
        connection.run = Some(info.run());
        let held = std::mem::take(&mut connection.held);
        let they_dialled = connection.dialled.is_none();
        self.counters.admitted();
        self.gate().admit(id, home_id);
        let home = self.homes.entry(home_id).or_insert_with(|| Home::new(&self.limits));
        let is_first = !home.is_up();
        home.connections.push(id);
        home.round = None;
        home.dial_at = None;
        if they_dialled {
            home.backoff.reset();
        }
        if !home.record().is_some_and(|known| known.is_newer_than(&record)) {
            home.shown = Some((record.clone(), info.clone()));
        }
        if is_first {
            home.up_since = Some(now);
            tracing::info!(home = %home_id, "peer up");
            self.emit(NetEvent::PeerUp { home: home_id, record, hello: info });
        }
        self.open_relay(home_id);
        self.ask_waiting(home_id);
        self.take_waiting_media(home_id);
        for inbound in held {
            self.on_stream(inbound);
        }
    }

    pub(super) fn on_closed(&mut self, id: ConnectionId, cause: Option<&ConnectionError>) {
        let reason = match cause {
            None => "closed",
            Some(ConnectionError::IO(error)) => {
                tracing::debug!(%error, "a connection broke");
                "connection_lost"
            }
            Some(ConnectionError::KeepAliveTimeout) => "idle",
        };
        self.give_up(id, reason, "the connection was closed".to_owned());
        self.connections.remove(&id);
    }

    /// Closes a connection for a reason of ours.
    pub(super) fn close(&mut self, id: ConnectionId, reason: &'static str) {
        self.give_up(id, reason, String::new());
    }

    /// Ends what a connection was for: its home may be down, or its dial have failed. Does nothing the
    /// second time. libp2p's `ConnectionClosed` may come much later.
    fn give_up(&mut self, id: ConnectionId, reason: &'static str, message: String) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let was = std::mem::replace(&mut connection.stage, Stage::Closing);
        if was == Stage::Closing {
            return;
        }
        connection.cancel.cancel();
        connection.held.clear();
        let dialled = connection.dialled;
        self.gate().shut(id);
        self.swarm.close_connection(id);
        match was {
            Stage::Admitted(home, _) => self.lost(home, id, reason),
            Stage::Greeting { .. } => self.attempt_failed(dialled, reason, message),
            Stage::Refused | Stage::Closing => {}
        }
    }

    /// Closes every admitted connection of a home.
    pub(super) fn close_home(&mut self, home: HomeId, reason: &'static str) {
        let open = self.homes.get(&home).map(|h| h.connections.clone()).unwrap_or_default();
        for id in open {
            self.close(id, reason);
        }
    }

    /// Closes the connections of a home on which nothing can have come since `since`.
    pub(super) fn close_older(&mut self, home: HomeId, since: Instant, reason: &'static str) {
        let open = self.homes.get(&home).map(|h| h.connections.clone()).unwrap_or_default();
        for id in open {
            let stage = self.connections.get(&id).map(|connection| connection.stage);
            if matches!(stage, Some(Stage::Admitted(_, at)) if at <= since) {
                self.close(id, reason);
            }
        }
    }

    /// A home has one admitted connection less.
    fn lost(&mut self, home_id: HomeId, id: ConnectionId, reason: &'static str) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        home.connections.retain(|other| *other != id);
        if home.is_up() {
            return;
        }
        let lived = home.up_since.take().map(|since| since.elapsed()).unwrap_or_default();
        home.last_reason = Some(reason);
        home.relay_out = None;
        home.relay_in = None;
        home.relay_in_next = None;
        home.relay_at = None;
        home.relay_backoff.reset();
        if lived >= STABLE_AFTER {
            home.backoff.reset();
        }
        if home.wanted.is_some() {
            let wait = home.backoff.failed(chance());
            home.dial_at = Some(Instant::now() + wait);
            self.timers.after(wait, Timer::DialDue(home_id));
        } else {
            self.homes.remove(&home_id);
        }
        tracing::info!(home = %home_id, reason, "peer down");
        self.emit(NetEvent::PeerDown { home: home_id, reason });
    }
}

async fn ask(greeter: Greeter, opened: Opened) -> Outcome {
    match opened.await.unwrap_or(Err(OpenError::Gone)) {
        Ok(stream) => greeter.ask(stream).await,
        Err(OpenError::Unsupported) => Outcome::Failed("hello_unsupported"),
        Err(OpenError::Timeout) => Outcome::Failed("hello_timeout"),
        Err(OpenError::Gone) => Outcome::Failed("hello_failed"),
    }
}
