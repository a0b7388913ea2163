//! How the server talks to the network.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_wire::proto::query::v1::{Answer, Query};
use homing_wire::{HomeId, HomeName};
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::config::{AddressError, parse_address};
use crate::gossip::{
    GossipId, JoinError, PublishError, PublishOutcome, TopicName, TopicPeers, Verdict,
};
use crate::media::{MediaAnswer, MediaAsk, MediaError};
use crate::stats::{Counters, NetStats};

/// The network, for the server. Clones are the same network; it stops when [`NetHandle::shutdown`] is
/// called, when the last clone is dropped or when the event receiver is.
///
/// Commands wait while too many are queued, never while events are: the server may call from the loop
/// that takes the events.
#[derive(Debug, Clone)]
pub struct NetHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) query_timeout: Duration,
}

/// Why a question got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The home is not connected and nobody wants it to be.
    #[error("the home is not connected")]
    NotConnected,
    /// No answer, or no connection, in time.
    #[error("no answer in time")]
    Timeout,
    /// Too many questions to this home are under way.
    #[error("too many questions to this home")]
    Busy,
    /// The home answered that it will not answer.
    #[error("refused: {reason}")]
    Refused {
        /// The home's word.
        reason: String,
        /// For people.
        message: String,
    },
    /// The question is over the limit.
    #[error("the question is too large")]
    TooLarge,
    /// The home's answer does not parse or is over the limit: the home's fault.
    #[error("the answer does not parse")]
    Malformed,
    /// The home does not speak the protocol.
    #[error("the home does not take questions")]
    Unsupported,
    /// The connection broke before the answer.
    #[error("the connection broke")]
    Lost,
    /// The network has been shut down.
    #[error("the network is shut down")]
    ShutDown,
}

impl QueryError {
    /// The stable word for API, metrics and logs. A refusal's own word is in the error.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Refused { .. } => "refused",
            Self::TooLarge => "query_too_large",
            Self::Malformed => "answer_malformed",
            Self::Unsupported => "protocol_unsupported",
            Self::Lost => "connection_lost",
            Self::ShutDown => "shut_down",
        }
    }
}

/// How things stand with one home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// Whom it is.
    pub home: HomeId,
    /// What it calls itself, a claim, once it has said hello since the start.
    pub name: Option<HomeName>,
    /// Its software, as it says.
    pub software: Option<String>,
    /// Whether the server wants a connection.
    pub wanted: bool,
    /// How long it has been up without a break; `None` while it is down.
    pub up_for: Option<Duration>,
    /// The other ends of its admitted connections, as multiaddresses, oldest first.
    pub connections: Vec<String>,
    /// Whether our relay stream to it is open.
    pub relay_out: bool,
    /// Whether its relay stream to us is open.
    pub relay_in: bool,
    /// Failed rounds of dialling since the last contact.
    pub attempts: u32,
    /// Why the last round failed, or why the last connection ended.
    pub last_reason: Option<&'static str>,
    /// When the next round begins, if one is due.
    pub retry_in: Option<Duration>,
}

/// What the loop is told.
#[derive(Debug)]
pub(crate) enum Command {
    Want(HomeId, Vec<Multiaddr>),
    Unwant(HomeId),
    RetryNow(HomeId),
    Query(HomeId, Query, oneshot::Sender<Result<Answer, QueryError>>),
    Media(HomeId, MediaAsk, oneshot::Sender<Result<MediaAnswer, MediaError>>),
    Disconnect(HomeId, &'static str),
    Ban(HomeId),
    Unban(HomeId),
    Peers(oneshot::Sender<Vec<PeerSnapshot>>),
    Join(TopicName, oneshot::Sender<Result<(), JoinError>>),
    Leave(TopicName),
    Publish(TopicName, Bytes, oneshot::Sender<Result<PublishOutcome, PublishError>>),
    Judge(GossipId, Verdict),
    TopicPeers(TopicName, oneshot::Sender<TopicPeers>),
    TopicHomes(TopicName, oneshot::Sender<BTreeSet<HomeId>>),
    Shutdown(oneshot::Sender<()>),
}

impl NetHandle {
    /// Keeps a connection to `home` from now on, until [`Self::unwant`]: dials `addresses` (with or without
    /// a `/p2p` part) and what the home's record announces, with back-off, and again whenever it is
    /// lost. Called again it replaces the addresses. An error changes nothing.
    pub async fn want(&self, home: HomeId, addresses: Vec<String>) -> Result<(), AddressError> {
        let addresses = addresses.iter().map(|a| parse_address(a)).collect::<Result<_, _>>()?;
        self.send(Command::Want(home, addresses)).await;
        Ok(())
    }

    /// Stops dialling `home`. A living connection stays until one side ends it.
    pub async fn unwant(&self, home: HomeId) {
        self.send(Command::Unwant(home)).await;
    }

    /// Dials a wanted home at once and starts its back-off over.
    pub async fn retry_now(&self, home: HomeId) {
        self.send(Command::RetryNow(home)).await;
    }

    /// Asks `home`. If it is wanted but not connected, it is dialled at once and the question waits for it.
    /// Takes at most `query_timeout` altogether. An `Ok` never holds a refusal.
    pub async fn query(&self, home: HomeId, query: Query) -> Result<Answer, QueryError> {
        self.counters.query_out();
        let asked = async {
            let (reply, answer) = oneshot::channel();
            self.send(Command::Query(home, query, reply)).await;
            answer.await.unwrap_or(Err(QueryError::ShutDown))
        };
        timeout(self.query_timeout, asked).await.unwrap_or(Err(QueryError::Timeout))
    }

    /// Asks `home` for a file, from an offset on. If it is wanted but not connected, it is dialled at once and the ask
    /// waits for it. Takes at most `query_timeout` until the holder has said what comes; its bytes come while
    /// [`MediaAnswer::bytes`] is read, and dropping that ends the stream.
    pub async fn media(&self, home: HomeId, ask: MediaAsk) -> Result<MediaAnswer, MediaError> {
        self.counters.media_asked();
        let asked = async {
            let (reply, answer) = oneshot::channel();
            self.send(Command::Media(home, ask, reply)).await;
            answer.await.unwrap_or(Err(MediaError::ShutDown))
        };
        timeout(self.query_timeout, asked).await.unwrap_or(Err(MediaError::Timeout))
    }

    /// Closes all connections of `home`. If it is wanted, it is dialled again after its back-off.
    pub async fn disconnect(&self, home: HomeId, reason: &'static str) {
        self.send(Command::Disconnect(home, reason)).await;
    }

    /// Disconnects `home`, forgets that it is wanted, and from now on closes connections of the nodes
    /// that its record names before hello. [`crate::Admission`] must refuse it too: a record may change.
    pub async fn ban(&self, home: HomeId) {
        self.send(Command::Ban(home)).await;
    }

    /// Takes a ban back.
    pub async fn unban(&self, home: HomeId) {
        self.send(Command::Unban(home)).await;
    }

    /// All homes that are up or wanted, in no particular order. Empty once the network is shut down.
    pub async fn peers(&self) -> Vec<PeerSnapshot> {
        let (reply, peers) = oneshot::channel();
        self.send(Command::Peers(reply)).await;
        peers.await.unwrap_or_default()
    }

    /// Takes part in a topic from now on: what others publish there comes as [`crate::NetEvent::Gossip`]. Joining again
    /// changes nothing.
    pub async fn join_topic(&self, topic: TopicName) -> Result<(), JoinError> {
        self.ask(|reply| Command::Join(topic, reply)).await.unwrap_or(Err(JoinError::ShutDown))
    }

    /// Takes part in a topic no more. What has come and was not judged is not passed on.
    pub async fn leave_topic(&self, topic: TopicName) {
        self.send(Command::Leave(topic)).await;
    }

    /// Tells `payload` to whoever has joined a topic that we have joined, too. Nobody says who got it.
    pub async fn publish(
        &self,
        topic: TopicName,
        payload: Bytes,
    ) -> Result<PublishOutcome, PublishError> {
        let published = self.ask(|reply| Command::Publish(topic, payload, reply)).await;
        published.unwrap_or(Err(PublishError::ShutDown))
    }

    /// Says whether a message may go on to other homes. Whoever never says so keeps it to itself.
    pub async fn judge(&self, message: GossipId, verdict: Verdict) {
        self.send(Command::Judge(message, verdict)).await;
    }

    /// Who takes part in a topic. Nobody, once the network is shut down.
    pub async fn topic_peers(&self, topic: TopicName) -> TopicPeers {
        self.ask(|reply| Command::TopicPeers(topic, reply)).await.unwrap_or_default()
    }

    /// Homes that have joined a topic, of those that are up. None, once the network is shut down.
    pub async fn topic_homes(&self, topic: TopicName) -> BTreeSet<HomeId> {
        self.ask(|reply| Command::TopicHomes(topic, reply)).await.unwrap_or_default()
    }

    /// The counters since the start.
    pub fn stats(&self) -> NetStats {
        self.counters.snapshot()
    }

    /// Closes every connection and all listeners, telling the peers where that is quick (within a second),
    /// and returns when the network has stopped. The event channel then ends.
    pub async fn shutdown(&self) {
        let (done, stopped) = oneshot::channel();
        self.send(Command::Shutdown(done)).await;
        // An error means that it had stopped before.
        let _ = stopped.await;
    }

    /// A command with an answer; none comes from a network that has stopped.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await;
        answer.await.ok()
    }

    /// A command to a network that has stopped has nothing to change.
    pub(crate) async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}
