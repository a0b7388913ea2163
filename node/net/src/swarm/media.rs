//! Files of and for admitted homes.

use homing_wire::HomeId;
use libp2p::Stream;
use libp2p::swarm::ConnectionId;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use super::{Net, Report, decline};
use crate::media::{self, BUSY_FOR, MediaAnswer, MediaAsk, MediaError, MediaReply, Reply, Terms};
use crate::streams::Protocol;

impl Net {
    /// The server wants a file of a home.
    pub(super) fn take_media(
        &mut self,
        home_id: HomeId,
        ask: MediaAsk,
        reply: oneshot::Sender<Result<MediaAnswer, MediaError>>,
    ) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return decline(reply, MediaError::NotConnected);
        };
        if !home.is_up() {
            if home.wanted.is_none() {
                return decline(reply, MediaError::NotConnected);
            }
            home.media_waiting.retain(|(_, reply)| !reply.is_closed());
            if home.media_waiting.len() >= self.limits.media_out_per_peer {
                return decline(reply, MediaError::Busy);
            }
            home.media_waiting.push_back((ask, reply));
            return self.retry_now(home_id);
        }
        let Ok(permit) = home.media_out.clone().try_acquire_owned() else {
            return decline(reply, MediaError::Busy);
        };
        let newest = home.connections.last().copied();
        let Some((id, connection)) =
            newest.and_then(|id| self.connections.get(&id).map(|connection| (id, connection)))
        else {
            return decline(reply, MediaError::NotConnected);
        };
        let cancel = connection.cancel.clone();
        let opened = self.swarm.behaviour_mut().streams.open(connection.peer, id, Protocol::Media);
        let within = self.limits.query_timeout;
        let terms = Terms {
            idle: self.limits.media_idle,
            cancel: cancel.clone(),
            counters: self.counters.clone(),
            _permit: permit,
        };
        tokio::spawn(async move {
            let asked = timeout(within, media::ask(opened, ask, terms));
            let answer = match cancel.run_until_cancelled(asked).await {
                Some(Ok(answer)) => answer,
                Some(Err(_)) => Err(MediaError::Timeout),
                None => Err(MediaError::Lost),
            };
            // Whoever asked may have stopped waiting: the stream ends with the answer.
            let _ = reply.send(answer);
        });
    }

    /// Asks for what waited for a connection.
    pub(super) fn take_waiting_media(&mut self, home_id: HomeId) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        for (ask, reply) in std::mem::take(&mut home.media_waiting) {
            if !reply.is_closed() {
                self.take_media(home_id, ask, reply);
            }
        }
    }

    /// A home wants a file.
    pub(super) fn serve_media(&mut self, home_id: HomeId, id: ConnectionId, stream: Stream) {
        let Some(home) = self.homes.get(&home_id) else {
            return;
        };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        self.counters.media_asked_by_peer();
        let cancel = connection.cancel.clone();
        let counters = self.counters.clone();
        let within = self.limits.query_timeout;
        let Ok(permit) = home.media_in.clone().try_acquire_owned() else {
            self.counters.dropped("media_busy");
            let refusal = media::refusal("busy", "too many files at once", Some(BUSY_FOR));
            let work =
                async move { timeout(within, media::refuse(stream.compat(), refusal)).await };
            tokio::spawn(async move { cancel.run_until_cancelled(Box::pin(work)).await });
            return;
        };
        let idle = self.limits.media_idle;
        let terms =
            Terms { idle, cancel: cancel.clone(), counters: counters.clone(), _permit: permit };
        let serve = Serve { home: home_id, reports: self.reports.clone(), within, terms };
        let work = async move {
            if let Err(reason) = serve.run(stream).await {
                counters.dropped(reason);
                tracing::debug!(home = %home_id, reason, "a file was not sent whole");
            }
        };
        tokio::spawn(async move { cancel.run_until_cancelled(Box::pin(work)).await });
    }
}

/// One file for one home.
struct Serve {
    home: HomeId,
    reports: tokio::sync::mpsc::Sender<Report>,
    within: std::time::Duration,
    terms: Terms,
}

impl Serve {
    /// Reads an ask, has the server answer it, sends what it gives.
    async fn run(self, stream: Stream) -> Result<(), &'static str> {
        let mut stream = stream.compat();
        let within = self.within;
        let ask = match timeout(within, media::read(&mut stream)).await {
            Ok(Ok(ask)) => ask,
            Ok(Err(reason)) => {
                let refusal = media::refusal(reason, "the ask does not parse", None);
                let _ = timeout(within, media::refuse(stream, refusal)).await;
                return Err(reason);
            }
            Err(_) => return Err("media_ask_slow"),
        };
        let (reply, said) = MediaReply::new();
        let asked = async {
            let report = Report::Media { home: self.home, ask: ask.clone(), reply };
            // The loop has stopped if nobody takes it; then `said` fails too.
            let _ = self.reports.send(report).await;
            said.await
        };
        let (refusal, failure) = match timeout(within, asked).await {
            Ok(Ok(Reply::Send(head, bytes))) => {
                return media::send(stream, &ask, head, bytes, &self.terms).await;
            }
            Ok(Ok(Reply::Refuse(refusal))) => (refusal, None),
            Ok(Err(_)) => {
                let refusal = media::refusal("unanswered", "the home did not answer", None);
                (refusal, Some("media_unanswered"))
            }
            Err(_) => {
                let refusal = media::refusal("timeout", "the home was too slow", Some(BUSY_FOR));
                (refusal, Some("media_timeout"))
            }
        };
        let _ = timeout(within, media::refuse(stream, refusal)).await;
        failure.map_or(Ok(()), Err)
    }
}
