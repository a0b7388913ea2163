//! `/homing/hello/1`: who is at the other end of a connection, and whether we talk.
//!
//! Three messages on one stream, which the dialling side opens:
//! 1. dialler → listener: `Hello`
//! 2. listener → dialler: `HelloReply`, with its own `hello`, or with a `refusal` and nothing else
//! 3. dialler → listener: `HelloReply` without `hello`: the dialler's verdict, a `refusal` or nothing
//!
//! Before a side says yes it asks, where the same node is connected already under another instance, that one
//! whether it still lives ([`Newcomer`]): if so, the newcomer runs on a copy of its directory.
//!
//! After the third, and only if nobody refused, the connection serves the other protocols. The third
//! message is what lets a listener know why it was left, and when it may begin.

use std::sync::Arc;

use bytes::Bytes;
use homing_wire::proto::hello::v1 as pb;
use homing_wire::{Epoch, HomeId, HomeRecord, Instance, SigningKeys, Statement, limits};
use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, Stream};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use crate::codec::{FrameError, read_one, write_one};
use crate::swarm::Report;

/// Length of a software's name, in bytes: it is shown to people.
const SOFTWARE_BYTES: usize = 128;

/// Length of a reason word that a peer sends, in bytes.
const REASON_BYTES: usize = 40;

/// Length of a message that a peer sends with a refusal, in characters.
const MESSAGE_CHARS: usize = 200;

/// Judges hellos. Policy (allow and deny lists, pins, starts seen before) lives in the server.
///
/// All methods are called on network tasks, for several connections at once: they must be quick and
/// must not block.
pub trait Admission: Send + Sync + 'static {
    /// Whether to talk to a home. `record` is signed by its identity and names the libp2p peer at the
    /// other end, and `hello` is as its statement says; nothing else has been checked, its name least of all.
    fn admit(&self, record: &HomeRecord, hello: &HelloInfo) -> Result<(), Refusal>;

    /// What we say of ourselves: our current signed record, epoch, boot, instance, clock, statement.
    fn own_hello(&self) -> pb::Hello;

    /// Our own statement, signed, that we live although `answering` has shown itself as this node.
    fn statement(&self, answering: Instance) -> Bytes;
}

/// What a peer says of itself beside its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloInfo {
    /// The life of its store.
    pub epoch: Epoch,
    /// Starts of that store.
    pub boot: u64,
    /// Random, new with every start.
    pub instance: Instance,
    /// The node at the other end, as multihash bytes.
    pub peer_id: Bytes,
    /// Its statement of epoch, boot and instance as it came, signed: to be kept and shown to it.
    pub statement: Bytes,
    /// Name and version, for people; at most 128 bytes.
    pub software: String,
    /// Its clock, Unix milliseconds.
    pub clock_ms: u64,
    /// Its record as it came, signed: to be kept and shown to others.
    pub signed_record: Bytes,
}

/// Why a peer is not talked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refusal {
    /// A stable snake_case word, the same for API, metrics and logs, told to the peer.
    pub reason: &'static str,
    /// For people, told to the peer: nothing confidential.
    pub message: String,
    /// A statement of the peer's own home, signed, from which the peer sees that it must stop; else empty.
    pub evidence: Bytes,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), evidence: Bytes::new() }
    }

    /// With what the peer's own home has signed.
    #[must_use]
    pub fn with_evidence(self, evidence: Bytes) -> Self {
        Self { evidence, ..self }
    }
}

/// A peer that we would admit. The loop answers with the statement of another living run of the same node, or
/// with nothing, once no other has a connection here.
pub(crate) struct Newcomer {
    pub(crate) connection: ConnectionId,
    pub(crate) peer: PeerId,
    pub(crate) record: Arc<HomeRecord>,
    pub(crate) run: Run,
    pub(crate) reply: oneshot::Sender<Option<Bytes>>,
}

/// Which run of a node is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) epoch: Epoch,
    pub(crate) boot: u64,
    pub(crate) instance: Instance,
}

impl HelloInfo {
    pub(crate) fn run(&self) -> Run {
        Run { epoch: self.epoch, boot: self.boot, instance: self.instance }
    }
}

/// What one side brings to a hello.
pub(crate) struct Greeter {
    pub(crate) admission: Arc<dyn Admission>,
    /// Who is at the other end, as the transport proved.
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    /// The home that was dialled.
    pub(crate) expected: Option<HomeId>,
    /// To the loop, which knows who else is connected.
    pub(crate) reports: mpsc::Sender<Report>,
}

/// How a hello ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Both sides said yes.
    Admitted(Arc<HomeRecord>, HelloInfo),
    /// We said no, and have told the peer.
    RefusedByUs(Option<HomeId>, Refusal),
    /// The peer said no.
    RefusedByPeer(Option<HomeId>, Told),
    /// No hello came about.
    Failed(&'static str),
}

/// A refusal as a peer told it, made fit to be shown.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) evidence: Bytes,
}

impl From<pb::Refusal> for Told {
    fn from(refusal: pb::Refusal) -> Self {
        let mut evidence = refusal.evidence;
        if evidence.len() > limits::STATEMENT_BYTES {
            evidence.clear(); // no statement is as large
        }
        Self { reason: word(&refusal.reason), message: sentence(&refusal.message), evidence }
    }
}

impl Greeter {
    /// The dialling side.
    pub(crate) async fn ask(self, stream: Stream) -> Outcome {
        let mut stream = stream.compat();
        let own = self.admission.own_hello();
        if let Err(error) = write_one(&mut stream, limits::HELLO_BYTES, own).await {
            return Outcome::Failed(failure(&error));
        }
        let reply: pb::HelloReply = match read_one(&mut stream, limits::HELLO_BYTES).await {
            Ok(reply) => reply,
            Err(error) => return Outcome::Failed(failure(&error)),
        };
        if let Some(refusal) = reply.refusal {
            return Outcome::RefusedByPeer(self.expected, refusal.into());
        }
        let judged = self.judge(reply.hello.as_ref()).await;
        let refusal = judged.as_ref().err().map(|(_, refusal)| told(refusal));
        let verdict = pb::HelloReply { hello: None, refusal };
        let written = write_one(&mut stream, limits::HELLO_BYTES, verdict).await;
        // Ended in order, so that the verdict is not lost to a reset.
        let _ = stream.shutdown().await;
        match (judged, written) {
            (Ok((record, info)), Ok(())) => Outcome::Admitted(record, info),
            (Ok(_), Err(error)) => Outcome::Failed(failure(&error)),
            (Err((home, refusal)), _) => Outcome::RefusedByUs(home, refusal),
        }
    }

    /// The listening side.
    pub(crate) async fn answer(self, stream: Stream) -> Outcome {
        let mut stream = stream.compat();
        let hello: pb::Hello = match read_one(&mut stream, limits::HELLO_BYTES).await {
            Ok(hello) => hello,
            Err(error) => return Outcome::Failed(failure(&error)),
        };
        let (record, info) = match self.judge(Some(&hello)).await {
            Ok(believed) => believed,
            Err((home, refusal)) => {
                let reply = pb::HelloReply { hello: None, refusal: Some(told(&refusal)) };
                // If this fails the peer has gone already; our verdict stands.
                let _ = write_one(&mut stream, limits::HELLO_BYTES, reply).await;
                let _ = stream.shutdown().await;
                return Outcome::RefusedByUs(home, refusal);
            }
        };
        let reply = pb::HelloReply { hello: Some(self.admission.own_hello()), refusal: None };
        if let Err(error) = write_one(&mut stream, limits::HELLO_BYTES, reply).await {
            return Outcome::Failed(failure(&error));
        }
        match read_one::<pb::HelloReply>(&mut stream, limits::HELLO_BYTES).await {
            Ok(pb::HelloReply { refusal: None, .. }) => Outcome::Admitted(record, info),
            Ok(pb::HelloReply { refusal: Some(refusal), .. }) => {
                Outcome::RefusedByPeer(Some(record.home_id()), refusal.into())
            }
            Err(error) => Outcome::Failed(failure(&error)),
        }
    }

    async fn judge(
        &self,
        hello: Option<&pb::Hello>,
    ) -> Result<(Arc<HomeRecord>, HelloInfo), (Option<HomeId>, Refusal)> {
        let (record, info) = self.believe(hello)?;
        let home = record.home_id();
        let refuse = |refusal| (Some(home), refusal);
        self.admission.admit(&record, &info).map_err(refuse)?;
        let (reply, answer) = oneshot::channel();
        let newcomer = Newcomer {
            connection: self.connection,
            peer: self.peer,
            record: record.clone(),
            run: info.run(),
            reply,
        };
        // Where the loop has stopped there is nobody left to be admitted by.
        let _ = self.reports.send(Report::Newcomer(newcomer)).await;
        match answer.await {
            Ok(None) => Ok((record, info)),
            Ok(Some(evidence)) => {
                let message =
                    "this node runs already, as its answer shows: two run on one directory";
                Err(refuse(Refusal::new("cloned", message).with_evidence(evidence)))
            }
            Err(_) => Err(refuse(Refusal::new("stopping", "this home is going down"))),
        }
    }

    /// Reads a hello and checks everything that needs no policy.
    fn believe(
        &self,
        hello: Option<&pb::Hello>,
    ) -> Result<(Arc<HomeRecord>, HelloInfo), (Option<HomeId>, Refusal)> {
        let hello = hello.ok_or_else(|| (None, malformed("hello is missing")))?;
        let record = HomeRecord::verify(&hello.record)
            .map_err(|e| (None, Refusal::new(e.reason(), e.to_string())))?;
        let home = record.home_id();
        let refuse = |refusal| (Some(home), refusal);
        let peer = self.peer.to_bytes();
        if !record.nodes.iter().any(|node| node.peer_id[..] == peer[..]) {
            let message = "the record does not name this node";
            return Err(refuse(Refusal::new("node_unknown", message)));
        }
        let instance = hello.instance[..]
            .try_into()
            .map_err(|_| refuse(malformed("instance is not 16 bytes")))?;
        let keys = SigningKeys(record.signing_keys.clone());
        let statement = Statement::verify(&hello.statement, &keys)
            .map_err(|error| refuse(malformed(&error.to_string())))?;
        let said = Statement {
            epoch: Epoch(hello.epoch),
            boot: hello.boot,
            instance,
            peer_id: peer.into(),
            answering: None,
        };
        if statement != said {
            return Err(refuse(malformed("the statement is not of this hello")));
        }
        if hello.software.len() > SOFTWARE_BYTES || hello.software.chars().any(char::is_control) {
            return Err(refuse(malformed("software is not a short line")));
        }
        if self.expected.is_some_and(|expected| expected != home) {
            let message = "another home was expected at this address";
            return Err(refuse(Refusal::new("wrong_home", message)));
        }
        let info = HelloInfo {
            epoch: said.epoch,
            boot: said.boot,
            instance,
            peer_id: said.peer_id,
            statement: hello.statement.clone(),
            software: hello.software.clone(),
            clock_ms: hello.clock,
            signed_record: hello.record.clone(),
        };
        Ok((Arc::new(record), info))
    }
}

fn malformed(message: &str) -> Refusal {
    Refusal::new("hello_malformed", message)
}

fn told(refusal: &Refusal) -> pb::Refusal {
    pb::Refusal {
        reason: refusal.reason.to_owned(),
        message: refusal.message.clone(),
        evidence: refusal.evidence.clone(),
    }
}

fn failure(error: &FrameError) -> &'static str {
    match error {
        FrameError::Malformed => "hello_malformed",
        FrameError::TooLarge { .. } => "hello_too_large",
        FrameError::Io(_) => "hello_failed",
    }
}

/// A peer's reason word, or `unknown` if it is none: it goes to logs and screens.
pub(crate) fn word(reason: &str) -> String {
    let is_word = (1..=REASON_BYTES).contains(&reason.len())
        && reason.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if is_word { reason.to_owned() } else { "unknown".to_owned() }
}

/// A peer's message for people, shortened, without control characters.
pub(crate) fn sentence(message: &str) -> String {
    message.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_made_fit_to_be_shown() {
        assert_eq!(word("home_denied"), "home_denied");
        assert_eq!(word("Home denied\n"), "unknown");
        assert_eq!(word(""), "unknown");
        assert_eq!(word(&"a".repeat(41)), "unknown");
        assert_eq!(sentence("a\u{1b}[31mb\n"), "a[31mb");
        assert_eq!(sentence(&"x".repeat(1_000)).len(), MESSAGE_CHARS);
    }
}
