//! Relay streams and questions of admitted homes.

use std::sync::Arc;

use homing_wire::proto::query::v1::{
    Answer, ClockAnswer, ClockQuery, Query, StatementAnswer, answer,
};
use homing_wire::{HomeId, Instance};
use libp2p::Stream;
use libp2p::swarm::ConnectionId;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;
use tokio_util::sync::CancellationToken;

use super::{Net, Report, chance, decline};
use crate::event::{NetEvent, RelayIn, RelayOut};
use crate::handle::QueryError;
use crate::hello::Admission;
use crate::homes::RelayStream;
use crate::pace::Pace;
use crate::query;
use crate::relay::{End, Relay};
use crate::streams::{OpenError, Protocol};
use crate::timers::Timer;

impl Net {
    /// Opens our stream to a home that is up and has none. The newest connection is the likeliest to live.
    pub(super) fn open_relay(&mut self, home_id: HomeId) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        if home.relay_out.is_some() || home.relay_at.is_some() {
            return;
        }
        let Some(id) = home.connections.last().copied() else {
            return;
        };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        self.numbers += 1;
        let number = self.numbers;
        let cancel = connection.cancel.child_token();
        home.relay_out = Some(RelayStream { number, cancel: cancel.clone(), is_open: false });
        let opened = self.swarm.behaviour_mut().streams.open(connection.peer, id, Protocol::Relay);
        let (settings, reports) = (self.relay.clone(), self.reports.clone());
        let work = async move {
            let relay = match Relay::open(opened, settings).await {
                Ok(relay) => relay,
                Err(end) => return end,
            };
            let (link, work) = relay.outgoing();
            let report = Report::RelayOutOpen { home: home_id, number, link };
            // The loop has stopped if nobody takes it; then the link is dropped and the work ends.
            let _ = reports.send(report).await;
            work.await
        };
        self.spawn_relay(home_id, number, id, cancel, work);
    }

    /// Works a stream that a home opened.
    pub(super) fn serve_relay(&mut self, home_id: HomeId, id: ConnectionId, stream: Stream) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        self.numbers += 1;
        let number = self.numbers;
        let cancel = connection.cancel.child_token();
        let next = RelayStream { number, cancel: cancel.clone(), is_open: false };
        if let Some(overtaken) = home.relay_in_next.replace(next) {
            overtaken.cancel.cancel();
        }
        let (settings, reports) = (self.relay.clone(), self.reports.clone());
        let work = async move {
            let relay = match Relay::accept(stream, settings).await {
                Ok(relay) => relay,
                Err(end) => return end,
            };
            let (link, work) = relay.incoming();
            let _ = reports.send(Report::RelayInOpen { home: home_id, number, link }).await;
            work.await
        };
        self.spawn_relay(home_id, number, id, cancel, work);
    }

    fn spawn_relay(
        &self,
        home: HomeId,
        number: u64,
        connection: ConnectionId,
        cancel: CancellationToken,
        work: impl Future<Output = End> + Send + 'static,
    ) {
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let end = cancel.run_until_cancelled(Box::pin(work)).await.unwrap_or(End::Cancelled);
            let _ = reports.send(Report::RelayEnded { home, number, connection, end }).await;
        });
    }

    pub(super) fn on_relay_out(&mut self, home_id: HomeId, number: u64, link: RelayOut) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        // A link of an earlier stream is dropped here, and its stream with it.
        let Some(stream) = home.relay_out.as_mut().filter(|s| s.number == number) else {
            return;
        };
        stream.is_open = true;
        home.relay_backoff.reset();
        self.emit(NetEvent::RelayOut { home: home_id, link });
    }

    pub(super) fn on_relay_in(&mut self, home_id: HomeId, number: u64, link: RelayIn) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        if home.relay_in_next.as_ref().is_none_or(|s| s.number != number) {
            return;
        }
        let newer = home.relay_in_next.take().map(|s| RelayStream { is_open: true, ..s });
        if let Some(older) = std::mem::replace(&mut home.relay_in, newer) {
            older.cancel.cancel();
        }
        self.emit(NetEvent::RelayIn { home: home_id, link });
    }

    pub(super) fn on_relay_ended(
        &mut self,
        home_id: HomeId,
        number: u64,
        connection: ConnectionId,
        end: End,
    ) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        let is = |stream: &Option<RelayStream>| stream.as_ref().is_some_and(|s| s.number == number);
        let was_out = is(&home.relay_out);
        if was_out {
            home.relay_out = None;
        } else if is(&home.relay_in) {
            home.relay_in = None;
        } else if is(&home.relay_in_next) {
            home.relay_in_next = None;
        }
        let reason = end.reason();
        match end {
            End::Malformed | End::TooLarge | End::Unexpected => {
                self.counters.dropped(reason);
                tracing::warn!(home = %home_id, reason, "a peer breaks the relay protocol");
                return self.close_home(home_id, reason);
            }
            End::Dead | End::NotOpened(OpenError::Timeout) => {
                self.counters.dropped(reason);
                tracing::info!(home = %home_id, reason, "a path has gone silent");
                // A connection that was admitted during the silence is a path that works.
                let silent_since = Instant::now()
                    .checked_sub(self.limits.relay_deadline)
                    .unwrap_or_else(Instant::now);
                self.close(connection, reason);
                self.close_older(home_id, silent_since, reason);
            }
            End::NotOpened(_) | End::Closed | End::Broken => {
                self.counters.dropped(reason);
                tracing::debug!(home = %home_id, reason, "a relay stream ended");
            }
            End::Released | End::Cancelled => {}
        }
        if was_out {
            self.relay_again(home_id);
        }
    }

    /// Has our stream opened again after a moment, if the home is still up.
    fn relay_again(&mut self, home_id: HomeId) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        if home.is_up() {
            let wait = home.relay_backoff.failed(chance());
            home.relay_at = Some(Instant::now() + wait);
            self.timers.after(wait, Timer::RelayDue(home_id));
        }
    }

    pub(super) fn on_relay_due(&mut self, home_id: HomeId) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        if home.relay_at.is_some_and(|at| at <= Instant::now()) {
            home.relay_at = None;
            self.open_relay(home_id);
        }
    }

    /// A question of the server.
    pub(super) fn ask(
        &mut self,
        home_id: HomeId,
        query: Query,
        reply: oneshot::Sender<Result<Answer, QueryError>>,
    ) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return decline(reply, QueryError::NotConnected);
        };
        if !home.is_up() {
            if home.wanted.is_none() {
                return decline(reply, QueryError::NotConnected);
            }
            home.waiting.retain(|(_, reply)| !reply.is_closed());
            if home.waiting.len() >= self.limits.queries_per_peer {
                return decline(reply, QueryError::Busy);
            }
            home.waiting.push_back((query, reply));
            return self.retry_now(home_id);
        }
        let Ok(permit) = home.queries_out.clone().try_acquire_owned() else {
            return decline(reply, QueryError::Busy);
        };
        let newest = home.connections.last().copied();
        let Some((id, connection)) =
            newest.and_then(|id| self.connections.get(&id).map(|connection| (id, connection)))
        else {
            return decline(reply, QueryError::NotConnected);
        };
        let cancel = connection.cancel.clone();
        let opened = self.swarm.behaviour_mut().streams.open(connection.peer, id, Protocol::Query);
        let within = self.limits.query_timeout;
        tokio::spawn(async move {
            let asked = timeout(within, query::ask(opened, query));
            let answer = match cancel.run_until_cancelled(asked).await {
                Some(Ok(answer)) => answer,
                Some(Err(_)) => Err(QueryError::Timeout),
                None => Err(QueryError::Lost),
            };
            // Whoever asked may have stopped waiting.
            let _ = reply.send(answer);
            drop(permit);
        });
    }

    /// Asks what waited for a connection.
    pub(super) fn ask_waiting(&mut self, home_id: HomeId) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        for (query, reply) in std::mem::take(&mut home.waiting) {
            if !reply.is_closed() {
                self.ask(home_id, query, reply);
            }
        }
    }

    /// A question of a home.
    pub(super) fn serve_query(&mut self, home_id: HomeId, id: ConnectionId, stream: Stream) {
        let Some(home) = self.homes.get(&home_id) else {
            return;
        };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        self.counters.query_in();
        let permit = home.queries_in.clone().try_acquire_owned().ok();
        if permit.is_none() {
            self.counters.dropped("query_busy");
        }
        let cancel = connection.cancel.clone();
        let (reports, counters) = (self.reports.clone(), self.counters.clone());
        let within = self.limits.query_timeout;
        let ours = Ours { admission: self.admission.clone(), pace: home.pace.clone() };
        let work = async move {
            let serve = serve(home_id, stream, permit, ours, reports, within);
            match timeout(within.saturating_mul(2), serve).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => counters.dropped(reason),
                Err(_) => counters.dropped("query_timeout"),
            }
        };
        tokio::spawn(async move { cancel.run_until_cancelled(Box::pin(work)).await });
    }
}

/// What the network answers by itself: it must be said in time however busy the server is.
struct Ours {
    admission: Arc<dyn Admission>,
    pace: Arc<Pace>,
}

impl Ours {
    fn answer(&self, query: &Query) -> Option<Answer> {
        let is_ours =
            matches!(query.query, Some(query::Question::Statement(_) | query::Question::Clock(_)));
        if is_ours && !self.pace.take() {
            return Some(query::refusal("busy", "you ask too often"));
        }
        let answer = match query.query.as_ref()? {
            query::Question::Statement(asked) => {
                let Ok(answering) = Instance::try_from(&asked.answering[..]) else {
                    return Some(query::refusal("query_malformed", "`answering` is no instance"));
                };
                let statement = self.admission.statement(answering);
                answer::Answer::Statement(StatementAnswer { statement })
            }
            query::Question::Clock(ClockQuery {}) => {
                answer::Answer::Clock(ClockAnswer { clock: self.admission.own_hello().clock })
            }
            query::Question::User(_)
            | query::Question::Holdings(_)
            | query::Question::Range(_)
            | query::Question::Roster(_) => return None,
        };
        Some(Answer { answer: Some(answer) })
    }
}

/// Reads a question, has the server answer it, writes the answer. Without a permit the peer has too many
/// questions here already and is told so.
async fn serve(
    home: HomeId,
    stream: Stream,
    permit: Option<OwnedSemaphorePermit>,
    ours: Ours,
    reports: tokio::sync::mpsc::Sender<Report>,
    within: std::time::Duration,
) -> Result<(), &'static str> {
    let mut stream = stream.compat();
    if permit.is_none() {
        query::answer(stream, query::refusal("busy", "too many questions")).await;
        return Ok(());
    }
    let query = match query::read(&mut stream).await {
        Ok(query) => query,
        Err(reason) => {
            query::answer(stream, query::refusal(reason, "the question does not parse")).await;
            return Err(reason);
        }
    };
    if query.query.is_none() {
        query::answer(stream, query::refusal("query_unknown", "no such question here")).await;
        return Ok(());
    }
    if let Some(answer) = ours.answer(&query) {
        query::answer(stream, answer).await;
        return Ok(());
    }
    let (reply, answer) = oneshot::channel();
    let asked = async {
        // The loop has stopped if nobody takes it; then `answer` fails too.
        let _ = reports.send(Report::Query { home, query, reply }).await;
        answer.await
    };
    let (answer, failure) = match timeout(within, asked).await {
        Ok(Ok(answer)) => (answer, None),
        Ok(Err(_)) => {
            (query::refusal("unanswered", "the home did not answer"), Some("query_unanswered"))
        }
        Err(_) => (query::refusal("timeout", "the home was too slow"), Some("query_timeout")),
    };
    query::answer(stream, answer).await;
    failure.map_or(Ok(()), Err)
}
