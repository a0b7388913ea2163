//! Two runs of one node: a restart, or two processes on copies of one directory. The one that is connected
//! is asked: if it lives, it says so, signed by its home, and the newcomer is shown that. If it does not
//! answer it was killed, and makes room.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use homing_wire::proto::query::v1::{Query, StatementQuery, answer};
use homing_wire::{SigningKeys, Statement};
use libp2p::swarm::ConnectionId;
use tokio::time::timeout;

use super::{Net, Report};
use crate::hello::{Newcomer, Run};
use crate::homes::Stage;
use crate::query::{self, Question};
use crate::streams::{Opened, Protocol};

impl Net {
    /// Looks whether another run of the newcomer's node is connected, and asks it.
    pub(super) fn on_newcomer(&mut self, newcomer: Newcomer) {
        let others = self.other_runs(newcomer.connection, newcomer.run);
        // Whoever was restored from a backup has begun a new life: it does not ask the old one.
        let (older, same): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, run)| run.epoch < newcomer.run.epoch);
        for (id, _) in older {
            self.close(id, "replaced");
        }
        if same.is_empty() {
            // A hello that was given up needs no answer.
            let _ = newcomer.reply.send(None);
            return;
        }
        let streams = &mut self.swarm.behaviour_mut().streams;
        let asked: Vec<_> = same
            .into_iter()
            .map(|(id, run)| (id, run, streams.open(newcomer.peer, id, Protocol::Query)))
            .collect();
        let (reports, within) = (self.reports.clone(), self.limits.clone_probe);
        tokio::spawn(async move {
            let silent = asked.iter().map(|(id, ..)| *id).collect();
            if let Some(evidence) = probe(&newcomer, asked, within).await {
                let _ = newcomer.reply.send(Some(evidence));
            } else {
                // The loop has stopped if nobody takes it.
                let _ = reports.send(Report::Silent(newcomer, silent)).await;
            }
        });
    }

    /// The old run is down for the server before the new one comes up.
    pub(super) fn on_silent(&mut self, newcomer: Newcomer, silent: Vec<ConnectionId>) {
        for id in silent {
            self.close(id, "replaced");
        }
        let _ = newcomer.reply.send(None);
    }

    /// Whether `run` may be admitted on `id`; then earlier ones are closed. Two runs whose hellos crossed have
    /// both been let through: the later start stays, and the other is told when it comes again.
    pub(super) fn is_latest(&mut self, id: ConnectionId, run: Run) -> bool {
        let others = self.other_runs(id, run);
        let start = |run: &Run| (run.epoch, run.boot);
        if others.iter().any(|(_, other)| start(other) >= start(&run)) {
            return false;
        }
        for (other, _) in others {
            self.close(other, "replaced");
        }
        true
    }

    /// Admitted connections of other runs of the node at the other end of `id`.
    fn other_runs(&self, id: ConnectionId, run: Run) -> Vec<(ConnectionId, Run)> {
        let Some(peer) = self.connections.get(&id).map(|connection| connection.peer) else {
            return Vec::new();
        };
        self.connections
            .iter()
            .filter(|(_, c)| c.peer == peer && matches!(c.stage, Stage::Admitted(..)))
            .filter_map(|(id, c)| Some((*id, c.run?)))
            .filter(|(_, other)| other.instance != run.instance)
            .collect()
    }
}

/// The first good answer of a living run.
async fn probe(
    newcomer: &Newcomer,
    asked: Vec<(ConnectionId, Run, Opened)>,
    within: Duration,
) -> Option<Bytes> {
    let answering = newcomer.run.instance;
    let mut answers: FuturesUnordered<_> = asked
        .into_iter()
        .map(|(_, run, opened)| async move {
            let asked = StatementQuery { answering: Bytes::copy_from_slice(&answering) };
            let query = Query { query: Some(Question::Statement(asked)) };
            match query::ask(opened, query).await.ok()?.answer? {
                answer::Answer::Statement(said) => is_alive(newcomer, run, said.statement),
                answer::Answer::User(_)
                | answer::Answer::Refusal(_)
                | answer::Answer::Holdings(_)
                | answer::Answer::Range(_)
                | answer::Answer::Clock(_)
                | answer::Answer::Roster(_) => None,
            }
        })
        .collect();
    let first = async {
        while let Some(answer) = answers.next().await {
            if answer.is_some() {
                return answer;
            }
        }
        None
    };
    timeout(within, first).await.ok().flatten()
}

/// The answer, where it is what the newcomer will have to believe.
fn is_alive(newcomer: &Newcomer, run: Run, signed: Bytes) -> Option<Bytes> {
    let keys = SigningKeys(newcomer.record.signing_keys.clone());
    let expected = Statement {
        epoch: run.epoch,
        boot: run.boot,
        instance: run.instance,
        peer_id: newcomer.peer.to_bytes().into(),
        answering: Some(newcomer.run.instance),
    };
    (Statement::verify(&signed, &keys).ok()? == expected).then_some(signed)
}
