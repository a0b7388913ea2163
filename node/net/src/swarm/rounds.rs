//! Dialling: rounds through a wanted home's addresses, until one is admitted.

use std::collections::VecDeque;

use homing_wire::HomeId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, connection_limits};
use libp2p_memory_connection_limits::MemoryUsageLimitExceeded;
use tokio::time::Instant;

use super::{Net, Report, chance, decline};
use crate::dial::{self, Announced, Target};
use crate::event::NetEvent;
use crate::handle::QueryError;
use crate::homes::{Home, Round};
use crate::media::MediaError;
use crate::resolve;
use crate::timers::Timer;

impl Net {
    pub(super) fn want(&mut self, home_id: HomeId, addresses: Vec<Multiaddr>) {
        let home = self.homes.entry(home_id).or_insert_with(|| Home::new(&self.limits));
        let is_new = home.wanted.as_ref() != Some(&addresses);
        home.wanted = Some(addresses);
        if is_new {
            self.retry_now(home_id);
        }
    }

    pub(super) fn unwant(&mut self, home_id: HomeId) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        home.wanted = None;
        home.round = None;
        home.dial_at = None;
        for (_, reply) in home.waiting.drain(..) {
            decline(reply, QueryError::NotConnected);
        }
        for (_, reply) in home.media_waiting.drain(..) {
            decline(reply, MediaError::NotConnected);
        }
        if !home.is_up() {
            self.homes.remove(&home_id);
        }
    }

    /// Starts a round as soon as may be, with a fresh back-off.
    pub(super) fn retry_now(&mut self, home_id: HomeId) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        if home.wanted.is_none() || home.is_up() || home.round.is_some() {
            return;
        }
        home.backoff.reset();
        let now = Instant::now();
        let at = home.dialled_at.map_or(now, |last| (last + self.limits.backoff_min).max(now));
        if home.dial_at.is_none_or(|due| due > at) {
            home.dial_at = Some(at);
            self.timers.set(at, Timer::DialDue(home_id));
        }
    }

    pub(super) fn on_dial_due(&mut self, home_id: HomeId) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        let now = Instant::now();
        if home.dial_at.is_none_or(|at| at > now) || home.is_up() || home.round.is_some() {
            return;
        }
        let Some(pinned) = &home.wanted else { return };
        home.dial_at = None;
        home.dialled_at = Some(now);
        let limit = self.limits.dial_addresses;
        let targets = dial::targets(pinned, home.record(), self.allow_private, limit);
        let resolving = resolve::is_needed(&targets);
        self.numbers += 1;
        let number = self.numbers;
        home.round = Some(Round {
            number,
            targets: VecDeque::new(),
            dialling: 0,
            greeting: None,
            resolving,
            reason: "no_addresses",
            message: "there is no address to dial".to_owned(),
        });
        if resolving {
            let (reports, allow_private) = (self.reports.clone(), self.allow_private);
            tokio::spawn(async move {
                let targets = resolve::resolve(targets, allow_private).await;
                let report = Report::Resolved { home: home_id, round: number, targets };
                // The loop has stopped if nobody takes it.
                let _ = reports.send(report).await;
            });
        } else {
            self.on_resolved(home_id, number, targets);
        }
    }

    pub(super) fn on_resolved(
        &mut self,
        home: HomeId,
        number: u64,
        targets: Vec<(Target, Announced)>,
    ) {
        let limit = self.limits.dial_addresses;
        let Some(round) = self.round_of(home, number) else {
            return;
        };
        if round.resolving && targets.is_empty() {
            round.reason = "name_unresolved";
            round.message = "no host name led to an address that may be dialled".to_owned();
        }
        round.resolving = false;
        round.targets = targets.into_iter().take(limit).collect();
        self.dial_next(home, number);
    }

    pub(super) fn on_stagger(&mut self, home: HomeId, number: u64) {
        if self.round_of(home, number).is_some_and(|round| round.greeting.is_none()) {
            self.dial_next(home, number);
        }
    }

    pub(super) fn on_dial_error(&mut self, id: ConnectionId, error: &DialError) {
        let Some((home, number)) = self.dials.remove(&id) else {
            return;
        };
        if let Some(round) = self.round_of(home, number) {
            round.dialling = round.dialling.saturating_sub(1);
            (round.reason, round.message) = (dial_reason(error), error.to_string());
            self.dial_next(home, number);
        }
    }

    /// A connection that we dialled has ended before it was admitted.
    pub(super) fn attempt_failed(
        &mut self,
        dialled: Option<(HomeId, u64)>,
        reason: &'static str,
        message: String,
    ) {
        let Some((home, number)) = dialled else {
            return;
        };
        if reason == "spare" {
            return;
        }
        if let Some(round) = self.round_of(home, number) {
            round.greeting = None;
            (round.reason, round.message) = (reason, message);
            self.dial_next(home, number);
        }
    }

    pub(super) fn round_of(&mut self, home: HomeId, number: u64) -> Option<&mut Round> {
        self.homes.get_mut(&home)?.round.as_mut().filter(|round| round.number == number)
    }

    /// Dials the next target of a round, or ends it when nothing is left to hope for.
    fn dial_next(&mut self, home: HomeId, number: u64) {
        loop {
            let Some(round) = self.round_of(home, number) else {
                return;
            };
            if round.greeting.is_some() {
                return;
            }
            let Some((target, _)) = round.targets.pop_front() else {
                if round.dialling == 0 {
                    self.round_failed(home);
                }
                return;
            };
            let options = dial_options(target);
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => {
                    self.dials.insert(id, (home, number));
                    if let Some(round) = self.round_of(home, number) {
                        round.dialling += 1;
                    }
                    self.timers.after(self.limits.dial_stagger, Timer::DialStagger(home, number));
                    return;
                }
                Err(error) => {
                    if let Some(round) = self.round_of(home, number) {
                        (round.reason, round.message) = (dial_reason(&error), error.to_string());
                    }
                }
            }
        }
    }

    fn round_failed(&mut self, home_id: HomeId) {
        let Some(home) = self.homes.get_mut(&home_id) else {
            return;
        };
        let Some(Round { reason, message, .. }) = home.round.take() else {
            return;
        };
        let retry_in = home.backoff.failed(chance());
        let attempts = home.backoff.attempts();
        home.dial_at = Some(Instant::now() + retry_in);
        let is_news = home.last_reason.replace(reason) != Some(reason);
        home.waiting.retain(|(_, reply)| !reply.is_closed());
        home.media_waiting.retain(|(_, reply)| !reply.is_closed());
        self.timers.after(retry_in, Timer::DialDue(home_id));
        self.counters.dial_failed(reason);
        // Worth a line once; a home that stays away would fill the log.
        if is_news {
            tracing::warn!(home = %home_id, reason, "a wanted home cannot be reached");
        } else {
            tracing::debug!(home = %home_id, reason, attempts, ?retry_in, "still not reached");
        }
        self.emit(NetEvent::DialFailed { home: home_id, reason, message, attempts, retry_in });
    }
}

fn dial_options(target: Target) -> DialOpts {
    // A fresh port every time: with the listener's port a new dial could meet the remains of a dead
    // connection between the same two ports. And whatever libp2p thinks is still connected may be dead.
    match target {
        Target::Peer(peer, addresses) => DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses)
            .allocate_new_port()
            .build(),
        Target::Address(address) => {
            DialOpts::unknown_peer_id().address(address).allocate_new_port().build()
        }
    }
}

fn dial_reason(error: &DialError) -> &'static str {
    match error {
        DialError::LocalPeerId { .. } => "own_address",
        DialError::NoAddresses => "no_addresses",
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => "dial_aborted",
        DialError::WrongPeerId { .. } => "wrong_peer",
        DialError::Denied { cause } => {
            if cause.downcast_ref::<connection_limits::Exceeded>().is_some() {
                "connection_limit"
            } else if cause.downcast_ref::<MemoryUsageLimitExceeded>().is_some() {
                "memory_limit"
            } else {
                "banned"
            }
        }
        // What exactly is in the message; libp2p wraps it too deep to tell kinds apart.
        DialError::Transport(_) => "unreachable",
    }
}
