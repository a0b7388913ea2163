//! `/homing/hello/1`: who is at the other end of a connection, and whether we talk.
//!
//! Three messages on one stream, which the dialling side opens:
//! 1. dialler → listener: `Hello`
//! 2. listener → dialler: `HelloReply`, with its own `hello`, or with a `refusal` and nothing else
//! 3. dialler → listener: `HelloReply` without `hello`: the dialler's verdict, a `refusal` or nothing
//!
//! After the third, and only if nobody refused, the connection serves the other protocols. The third
//! message is what lets a listener know why it was left, and when it may begin.

use std::sync::Arc;

use bytes::Bytes;
use homing_wire::proto::hello::v1 as pb;
use homing_wire::{Epoch, HomeId, HomeRecord, limits};
use libp2p::{PeerId, Stream};
use tokio::io::AsyncWriteExt as _;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use crate::codec::{FrameError, read_one, write_one};

/// Length of a software's name, in bytes: it is shown to people.
const SOFTWARE_BYTES: usize = 128;

/// Length of a reason word that a peer sends, in bytes.
const REASON_BYTES: usize = 40;

/// Length of a message that a peer sends with a refusal, in characters.
const MESSAGE_CHARS: usize = 200;

/// Judges hellos. Policy (allow and deny lists, pins, epochs, cloned directories) lives in the server.
///
/// Both methods are called on network tasks, for several connections at once: they must be quick and
/// must not block.
pub trait Admission: Send + Sync + 'static {
    /// Whether to talk to a home. `record` is signed by its identity and names the libp2p peer at the
    /// other end; nothing else about it has been checked, its name least of all.
    fn admit(&self, record: &HomeRecord, hello: &HelloInfo) -> Result<(), Refusal>;

    /// What we say of ourselves: our current signed record, epoch, boot, instance, clock.
    fn own_hello(&self) -> pb::Hello;
}

/// What a peer says of itself beside its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloInfo {
    /// The life of its store.
    pub epoch: Epoch,
    /// Starts of that store.
    pub boot: u64,
    /// Random, new with every start.
    pub instance: [u8; 16],
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
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What one side brings to a hello.
pub(crate) struct Greeter {
    pub(crate) admission: Arc<dyn Admission>,
    /// Who is at the other end, as the transport proved.
    pub(crate) peer: PeerId,
    /// The home that was dialled.
    pub(crate) expected: Option<HomeId>,
}

/// How a hello ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Both sides said yes.
    Admitted(Arc<HomeRecord>, HelloInfo),
    /// We said no, and have told the peer.
    RefusedByUs(Option<HomeId>, Refusal),
    /// The peer said no.
    RefusedByPeer(Option<HomeId>, String, String),
    /// No hello came about.
    Failed(&'static str),
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
            return Outcome::RefusedByPeer(
                self.expected,
                word(&refusal.reason),
                sentence(&refusal.message),
            );
        }
        let judged = self.judge(reply.hello.as_ref());
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
        let (record, info) = match self.judge(Some(&hello)) {
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
            Ok(pb::HelloReply { refusal: Some(refusal), .. }) => Outcome::RefusedByPeer(
                Some(record.home_id()),
                word(&refusal.reason),
                sentence(&refusal.message),
            ),
            Err(error) => Outcome::Failed(failure(&error)),
        }
    }

    fn judge(
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
        if hello.software.len() > SOFTWARE_BYTES || hello.software.chars().any(char::is_control) {
            return Err(refuse(malformed("software is not a short line")));
        }
        if self.expected.is_some_and(|expected| expected != home) {
            let message = "another home was expected at this address";
            return Err(refuse(Refusal::new("wrong_home", message)));
        }
        let info = HelloInfo {
            epoch: Epoch(hello.epoch),
            boot: hello.boot,
            instance,
            software: hello.software.clone(),
            clock_ms: hello.clock,
            signed_record: hello.record.clone(),
        };
        self.admission.admit(&record, &info).map_err(refuse)?;
        Ok((Arc::new(record), info))
    }
}

fn malformed(message: &str) -> Refusal {
    Refusal::new("hello_malformed", message)
}

fn told(refusal: &Refusal) -> pb::Refusal {
    pb::Refusal { reason: refusal.reason.to_owned(), message: refusal.message.clone() }
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
