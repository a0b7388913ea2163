//! What the loop knows of homes and connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use homing_wire::proto::query::v1::{Answer, Query};
use homing_wire::{HomeId, HomeRecord};
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::NetLimits;
use crate::dial::{Announced, Backoff, Target};
use crate::handle::QueryError;
use crate::hello::{HelloInfo, Run};
use crate::media::{MediaAnswer, MediaAsk, MediaError};
use crate::pace::Pace;
use crate::streams::Inbound;

/// First and longest wait before a relay stream is opened again on a connection that lives.
const RELAY_RETRY_MIN: Duration = Duration::from_millis(100);
const RELAY_RETRY_MAX: Duration = Duration::from_secs(5);

/// A home that is up or wanted.
pub(crate) struct Home {
    /// The operator's addresses, while the server wants a connection.
    pub(crate) wanted: Option<Vec<Multiaddr>>,
    /// The newest record it showed, and what it said beside.
    pub(crate) shown: Option<(Arc<HomeRecord>, HelloInfo)>,
    /// Admitted connections that are not being closed, oldest first.
    pub(crate) connections: Vec<ConnectionId>,
    /// Since when there is at least one.
    pub(crate) up_since: Option<Instant>,
    /// Of rounds of dialling.
    pub(crate) backoff: Backoff,
    /// The round under way.
    pub(crate) round: Option<Round>,
    /// When the next round begins.
    pub(crate) dial_at: Option<Instant>,
    /// When the last round began: rounds never follow each other faster than the shortest back-off.
    pub(crate) dialled_at: Option<Instant>,
    pub(crate) last_reason: Option<&'static str>,
    /// Our stream to it.
    pub(crate) relay_out: Option<RelayStream>,
    pub(crate) relay_backoff: Backoff,
    /// When our stream may be opened again.
    pub(crate) relay_at: Option<Instant>,
    /// Its stream to us, and one that is to replace it once its first Ping has come.
    pub(crate) relay_in: Option<RelayStream>,
    pub(crate) relay_in_next: Option<RelayStream>,
    /// Questions under way, ours and its.
    pub(crate) queries_out: Arc<Semaphore>,
    pub(crate) queries_in: Arc<Semaphore>,
    /// Files under way, taken from it and by it.
    pub(crate) media_out: Arc<Semaphore>,
    pub(crate) media_in: Arc<Semaphore>,
    /// How often it may ask what the network answers by itself.
    pub(crate) pace: Arc<Pace>,
    /// Questions that wait for a connection.
    pub(crate) waiting: VecDeque<(Query, oneshot::Sender<Result<Answer, QueryError>>)>,
    /// Files that wait for one.
    pub(crate) media_waiting:
        VecDeque<(MediaAsk, oneshot::Sender<Result<MediaAnswer, MediaError>>)>,
}

impl Home {
    pub(crate) fn new(limits: &NetLimits) -> Self {
        Self {
            wanted: None,
            shown: None,
            connections: Vec::new(),
            up_since: None,
            backoff: Backoff::new(limits.backoff_min, limits.backoff_max),
            round: None,
            dial_at: None,
            dialled_at: None,
            last_reason: None,
            relay_out: None,
            relay_backoff: Backoff::new(RELAY_RETRY_MIN, RELAY_RETRY_MAX),
            relay_at: None,
            relay_in: None,
            relay_in_next: None,
            queries_out: Arc::new(Semaphore::new(limits.queries_per_peer)),
            queries_in: Arc::new(Semaphore::new(limits.queries_per_peer)),
            media_out: Arc::new(Semaphore::new(limits.media_out_per_peer)),
            media_in: Arc::new(Semaphore::new(limits.media_in_per_peer)),
            pace: Arc::default(),
            waiting: VecDeque::new(),
            media_waiting: VecDeque::new(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.connections.is_empty()
    }

    pub(crate) fn record(&self) -> Option<&HomeRecord> {
        self.shown.as_ref().map(|(record, _)| &**record)
    }
}

/// One go through a home's addresses.
pub(crate) struct Round {
    /// Tells reports of this round from those of an earlier one.
    pub(crate) number: u64,
    /// Not tried yet.
    pub(crate) targets: VecDeque<(Target, Announced)>,
    /// Dials without a result.
    pub(crate) dialling: usize,
    /// The connection that came about and says hello.
    pub(crate) greeting: Option<ConnectionId>,
    /// Names are being looked up.
    pub(crate) resolving: bool,
    /// Why the last attempt failed.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// A relay stream and the task that works it.
pub(crate) struct RelayStream {
    /// Tells reports of this stream from those of an earlier one.
    pub(crate) number: u64,
    pub(crate) cancel: CancellationToken,
    /// Whether the server has its link.
    pub(crate) is_open: bool,
}

/// An established connection, until libp2p says that it is closed.
pub(crate) struct Connection {
    pub(crate) peer: PeerId,
    /// The other end.
    pub(crate) remote: Multiaddr,
    /// For which home and in which round we dialled; `None`: the peer did.
    pub(crate) dialled: Option<(HomeId, u64)>,
    pub(crate) stage: Stage,
    /// Which run of the node it is, once admitted.
    pub(crate) run: Option<Run>,
    /// Ends every task that works on a stream of it.
    pub(crate) cancel: CancellationToken,
    /// Streams that came before hello was over here. The peer may be a moment ahead of us.
    pub(crate) held: Vec<Inbound>,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Hello is expected, or under way.
    Greeting {
        /// A stream for it exists.
        started: bool,
    },
    /// Both sides said yes.
    Admitted(HomeId, Instant),
    /// We said no and leave the peer a moment to read it.
    Refused,
    /// Given up; libp2p closes it.
    Closing,
}
