//! What comes out of the network.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_wire::proto::query::v1::{Answer, Query};
use homing_wire::proto::relay::v1::Frame;
use homing_wire::{HomeId, HomeRecord};
use tokio::sync::{mpsc, oneshot};

use crate::gossip::{GossipId, TopicName};
use crate::hello::HelloInfo;
use crate::media::{MediaAsk, MediaReply};
use crate::relay::Frames;

/// What the server is told. Per home the order is: `PeerUp`, any number of `RelayOut`, `RelayIn`,
/// `Query`, `Media` and `Gossip`, `PeerDown`. The channels of a link simply close when its stream ends; while the peer is up a
/// new link follows. A home whose process was started anew is down first, even if its old connection still
/// looks alive.
#[derive(Debug)]
pub enum NetEvent {
    /// We listen here. The port is the real one.
    Listening {
        /// A multiaddress.
        address: String,
    },
    /// A home has its first admitted connection.
    PeerUp {
        /// Whom it is.
        home: HomeId,
        /// As it showed it.
        record: Arc<HomeRecord>,
        /// What it said beside.
        hello: HelloInfo,
    },
    /// A home has no admitted connection any more. If it is wanted, it is being dialled again.
    PeerDown {
        /// Whom it was.
        home: HomeId,
        /// A stable word.
        reason: &'static str,
    },
    /// No address of a wanted home led to it in this round.
    DialFailed {
        /// Who is wanted.
        home: HomeId,
        /// Why the last attempt of the round failed: a stable word.
        reason: &'static str,
        /// What the attempt said, for operators; may hold addresses of nodes.
        message: String,
        /// Failed rounds since the last contact.
        attempts: u32,
        /// When the next begins.
        retry_in: Duration,
    },
    /// A hello ended in a refusal.
    Refused {
        /// Whom it concerns, as far as known: who was dialled, or who showed a record.
        home: Option<HomeId>,
        /// Who refused.
        direction: Direction,
        /// A stable word; the peer's own where it refused.
        reason: String,
        /// For people.
        message: String,
        /// What a refusing peer shows as signed by our own home, unchecked; else empty.
        evidence: Bytes,
    },
    /// Our stream to a home is open and answered.
    RelayOut {
        /// To whom.
        home: HomeId,
        /// Its ends.
        link: RelayOut,
    },
    /// A home's stream to us is open. It replaces the one before.
    RelayIn {
        /// From whom.
        home: HomeId,
        /// Its ends.
        link: RelayIn,
    },
    /// A home asks. A dropped `reply` is answered `unanswered`.
    Query {
        /// Who asks.
        home: HomeId,
        /// What.
        query: Query,
        /// For the answer, within `query_timeout`.
        reply: oneshot::Sender<Answer>,
    },
    /// A home asks for a file. A dropped `reply` is answered `unanswered`. Whether the home may have it is the
    /// server's to say; that it is who it is has been proven.
    Media {
        /// Who asks.
        home: HomeId,
        /// For what.
        ask: MediaAsk,
        /// For the answer, within `query_timeout`; the bytes may take longer.
        reply: MediaReply,
    },
    /// A message came by gossip, for the first time. It goes no further before [`crate::NetHandle::judge`] has said
    /// so, within about three seconds; later it is forgotten.
    Gossip {
        /// Who passed it on, which says nothing of whose it is.
        from: HomeId,
        /// Where.
        topic: TopicName,
        /// What: not a byte of it has been checked.
        payload: Bytes,
        /// For the judgement.
        message: GossipId,
    },
}

/// Who refused whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We refused the peer.
    ByUs,
    /// The peer refused us.
    ByPeer,
}

/// Our stream to a home. Dropping it closes the stream; a new one follows while the peer is up.
#[derive(Debug)]
pub struct RelayOut {
    /// What an opener sends, in order. Bounded: waiting here is the peer's back-pressure.
    pub frames: mpsc::Sender<Frame>,
    /// Ack and Refuse.
    pub replies: Frames,
}

/// A home's stream to us. Dropping it closes the stream; the peer opens another.
#[derive(Debug)]
pub struct RelayIn {
    /// What an opener sends, in order. Not reading stalls this peer and nobody else.
    pub frames: Frames,
    /// Ack and Refuse.
    pub replies: mpsc::Sender<Frame>,
}
