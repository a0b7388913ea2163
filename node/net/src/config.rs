//! What the operator and the server decide about the network, with the reason for each default.

use std::time::Duration;

use homing_wire::limits;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Topics that any node may join, and be told of by any other: homes of different settings must understand each
/// other, so this is part of the protocol. A group large enough for gossip has one, two around midnight.
pub(crate) const GOSSIP_TOPICS_MAX: usize = 512;

/// One peer may take a part in so many of the gossip that this node takes in a second.
pub(crate) const PEERS_SHARE: u32 = 4;

/// How this node takes part in the network.
#[derive(Debug, Clone, Default)]
pub struct NetConfig {
    /// Multiaddresses to listen on, such as `/ip4/0.0.0.0/udp/7400/quic-v1` and `/ip4/0.0.0.0/tcp/7400`.
    /// Port 0 takes a free one; [`crate::NetEvent::Listening`] tells which. Empty: dial only.
    pub listen: Vec<String>,
    /// Whether addresses that *other homes* announce may be loopback, private or link-local. Off, or any
    /// home could make this node knock on doors of its own network; testnets switch it on. Addresses
    /// given through [`crate::NetHandle::want`] are the operator's and are dialled whatever they are.
    pub allow_private: bool,
    /// What peers may cost.
    pub limits: NetLimits,
}

/// Bounds of everything that grows with peers, and the times that decide what is alive.
#[derive(Debug, Clone)]
pub struct NetLimits {
    /// Established connections, all peers together. At most three quarters may come from outside, so that
    /// a flood of strangers does not keep us from dialling whom we want.
    pub connections: u32,
    /// Established connections of one libp2p peer. At least 2, or a dead connection would block the one
    /// that replaces it; 4 leave room for both sides dialling at once.
    pub connections_per_peer: u32,
    /// Connections whose handshake is under way, in and out each: what a flood of half-open ones costs.
    pub pending_connections: u32,
    /// Streams of one connection. Two relay streams and the queries need far fewer.
    pub streams_per_connection: u32,
    /// Events that wait for the server. When it is full the network is not polled: peers are slowed.
    pub events_queue: usize,
    /// Commands that wait for the network. Callers wait beyond.
    pub commands_queue: usize,
    /// Frames between the server and one relay stream, each direction. Enough for a batch of the
    /// commit loop.
    pub relay_queue_frames: usize,
    /// Bytes of received frames that wait for the server, for each relay stream and direction: this is
    /// what a peer can make us hold. At least one frame of the largest size.
    pub relay_queue_bytes: u32,
    /// The largest relay frame, in bytes, at most [`limits::RELAY_FRAME_BYTES`].
    pub relay_frame_bytes: usize,
    /// From an established connection to the end of hello. Longer: closed with `hello_timeout`.
    pub hello_deadline: Duration,
    /// How long a connected node may take to say that it lives, when another shows itself as the same node. Longer:
    /// it is gone, as after a kill, and the newcomer is admitted, so a restart waits this long where the network
    /// does not tell of the end. Two round trips over the slowest line; below `hello_deadline`, within which it falls.
    pub clone_probe: Duration,
    /// From a query to its answer, waiting for a connection included; also how long an asking peer waits.
    pub query_timeout: Duration,
    /// Queries to one home that are under way or wait for a connection, and queries of one home that
    /// wait for our answer. More are answered `busy`.
    pub queries_per_peer: usize,
    /// Files that one home may take from us at once. More are refused `busy`. A file fills a line alone; eight let
    /// small ones pass by a large one.
    pub media_in_per_peer: usize,
    /// Files that we take from one home at once, those that wait for a connection included; likewise.
    pub media_out_per_peer: usize,
    /// So long a file may not move before its stream is ended, on either side. Longer than a line is lost for when a
    /// mobile one changes its cell; nobody's place is kept for ever.
    pub media_idle: Duration,
    /// A relay stream is pinged this often.
    pub heartbeat: Duration,
    /// A relay stream on which nothing came for this long is dead. Three heartbeats: one may be lost to
    /// a full queue and one to a slow network.
    pub relay_deadline: Duration,
    /// First wait after a failed dial. The waits double; each is drawn from its upper half, so that homes
    /// do not knock in step.
    pub backoff_min: Duration,
    /// Longest wait between dials. A home away for a month is found again within this time.
    pub backoff_max: Duration,
    /// Within one round of dialling the next address is tried after this time, even if the one before has
    /// not failed yet (RFC 8305 in spirit): a black hole costs a moment, not the transport's timeout.
    pub dial_stagger: Duration,
    /// Connecting and the security handshake of one dial, or of one connection coming in. QUIC knocks this
    /// long where nobody is.
    pub handshake_timeout: Duration,
    /// Addresses tried in one round, per home: a record may hold a thousand.
    pub dial_addresses: usize,
    /// A connection without streams is closed after this time.
    pub idle_connection_timeout: Duration,
    /// No new connections while the process uses more than this share of physical memory (0 to 1).
    pub memory_share: f64,
    /// Gossip topics that this node joins, at most 512. Each costs a mesh of about four homes.
    pub gossip_topics: usize,
    /// The largest payload of one gossip message: an event of the largest size, its proof and room to spare. What is
    /// larger goes by the relay streams alone. A queue holds a copy for each peer, so it is not a relay frame's size.
    pub gossip_message_bytes: usize,
    /// Gossip messages that wait for one peer; what comes beyond is dropped for that peer alone. A burst of a busy
    /// group passes.
    pub gossip_queue_messages: usize,
    /// New gossip messages that are taken in a second, from all peers together. Ids are remembered for two minutes,
    /// about 400 bytes each, so this bounds memory: at the very worst 100 MiB. One peer may bring a quarter, repetitions included; more is
    /// dropped, and comes by the relay streams.
    pub gossip_messages_per_s: u32,
    /// Their payloads, in bytes. They are kept for four seconds for whoever missed them, so this bounds memory, too.
    pub gossip_bytes_per_s: u32,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_peer: 4,
            pending_connections: 256,
            streams_per_connection: 256,
            events_queue: 256,
            commands_queue: 256,
            relay_queue_frames: 64,
            relay_queue_bytes: 2 * 1_024 * 1_024,
            relay_frame_bytes: limits::RELAY_FRAME_BYTES,
            hello_deadline: Duration::from_secs(5),
            clone_probe: Duration::from_secs(3),
            query_timeout: Duration::from_secs(10),
            queries_per_peer: 64,
            media_in_per_peer: 8,
            media_out_per_peer: 8,
            media_idle: Duration::from_secs(30),
            heartbeat: Duration::from_secs(5),
            relay_deadline: Duration::from_secs(15),
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            dial_stagger: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(5),
            dial_addresses: 16,
            idle_connection_timeout: Duration::from_secs(60),
            memory_share: 0.8,
            gossip_topics: GOSSIP_TOPICS_MAX,
            gossip_message_bytes: 128 * 1_024,
            gossip_queue_messages: 256,
            gossip_messages_per_s: 2_000,
            gossip_bytes_per_s: 16 * 1_024 * 1_024,
        }
    }
}

impl NetLimits {
    /// Refuses values under which the network could not work or would not be bounded.
    pub(crate) fn check(&self) -> Result<(), NetError> {
        let at_least_one = [
            ("connections", self.connections as usize),
            ("pending_connections", self.pending_connections as usize),
            ("events_queue", self.events_queue),
            ("commands_queue", self.commands_queue),
            ("relay_queue_frames", self.relay_queue_frames),
            ("queries_per_peer", self.queries_per_peer),
            ("media_in_per_peer", self.media_in_per_peer),
            ("media_out_per_peer", self.media_out_per_peer),
            ("dial_addresses", self.dial_addresses),
            ("gossip_topics", self.gossip_topics),
            ("gossip_message_bytes", self.gossip_message_bytes),
            ("gossip_queue_messages", self.gossip_queue_messages),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(NetError::Limit(name));
        }
        let times = [
            ("hello_deadline", self.hello_deadline),
            ("clone_probe", self.clone_probe),
            ("query_timeout", self.query_timeout),
            ("media_idle", self.media_idle),
            ("heartbeat", self.heartbeat),
            ("backoff_min", self.backoff_min),
            ("dial_stagger", self.dial_stagger),
            ("handshake_timeout", self.handshake_timeout),
        ];
        if let Some((name, _)) = times.iter().find(|(_, value)| value.is_zero()) {
            return Err(NetError::Limit(name));
        }
        // Hello, identify and the two relay streams need eight at their worst.
        if self.streams_per_connection < 8 {
            return Err(NetError::Limit("streams_per_connection"));
        }
        if self.connections_per_peer < 2 {
            return Err(NetError::Limit("connections_per_peer"));
        }
        if self.clone_probe >= self.hello_deadline {
            return Err(NetError::Limit("clone_probe"));
        }
        if self.relay_deadline <= self.heartbeat {
            return Err(NetError::Limit("relay_deadline"));
        }
        if self.backoff_max < self.backoff_min {
            return Err(NetError::Limit("backoff_max"));
        }
        if self.relay_frame_bytes == 0 || self.relay_frame_bytes > limits::RELAY_FRAME_BYTES {
            return Err(NetError::Limit("relay_frame_bytes"));
        }
        if (self.relay_queue_bytes as usize) < self.relay_frame_bytes {
            return Err(NetError::Limit("relay_queue_bytes"));
        }
        if self.gossip_topics > GOSSIP_TOPICS_MAX {
            return Err(NetError::Limit("gossip_topics"));
        }
        if self.gossip_message_bytes > limits::RELAY_FRAME_BYTES {
            return Err(NetError::Limit("gossip_message_bytes"));
        }
        // A peer's quarter must hold one message.
        if self.gossip_messages_per_s < PEERS_SHARE {
            return Err(NetError::Limit("gossip_messages_per_s"));
        }
        if ((self.gossip_bytes_per_s / PEERS_SHARE) as usize) < self.gossip_message_bytes {
            return Err(NetError::Limit("gossip_bytes_per_s"));
        }
        if !(self.memory_share > 0.0 && self.memory_share <= 1.0) {
            return Err(NetError::Limit("memory_share"));
        }
        Ok(())
    }
}

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A limit is out of its range.
    #[error("limit {0} is out of range")]
    Limit(&'static str),
    /// An address to listen on is not one.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// As configured.
        address: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// The operating system did not let us listen.
    #[error("cannot listen on {address}: {message}")]
    Listen {
        /// As configured.
        address: String,
        /// What the system or the transport said.
        message: String,
    },
    /// The encryption of the transports could not be set up.
    #[error("cannot set up the transports: {0}")]
    Transport(String),
    /// `start` was called outside a tokio runtime.
    #[error("the network needs a tokio runtime")]
    NoRuntime,
}

impl NetError {
    /// The stable word for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Limit(_) => "limit_out_of_range",
            Self::Address { .. } => "address_malformed",
            Self::Listen { .. } => "listen_failed",
            Self::Transport(_) => "transport_failed",
            Self::NoRuntime => "no_runtime",
        }
    }
}

/// Why a text is no address that this network can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a multiaddress.
    #[error("not a multiaddress")]
    Syntax,
    /// A multiaddress, but not `/ip…|dns…/…/tcp/PORT` or `…/udp/PORT/quic-v1`.
    #[error("neither TCP nor QUIC")]
    Transport,
}

/// Whether a text is an address that can be dialled or listened on: `/ip4|ip6|dns|dns4|dns6/HOST`, then
/// `/tcp/PORT` or `/udp/PORT/quic-v1`, then nothing or `/p2p/PEER`. For checking configuration early.
pub fn check_address(text: &str) -> Result<(), AddressError> {
    parse_address(text).map(drop)
}

/// As [`check_address`], with the address.
pub(crate) fn parse_address(text: &str) -> Result<Multiaddr, AddressError> {
    let address: Multiaddr = text.parse().map_err(|_| AddressError::Syntax)?;
    let mut parts = address.iter();
    let host = matches!(
        parts.next(),
        Some(
            Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_)
        )
    );
    let mut end = parts.next();
    let transport = if matches!(end, Some(Protocol::Tcp(_))) {
        true
    } else if matches!(end, Some(Protocol::Udp(_))) {
        end = parts.next();
        matches!(end, Some(Protocol::QuicV1))
    } else {
        false
    };
    let peer = parts.next();
    if host
        && transport
        && (peer.is_none() || matches!(peer, Some(Protocol::P2p(_))))
        && parts.next().is_none()
    {
        Ok(address)
    } else {
        Err(AddressError::Transport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_can_be_dialled_are_taken() {
        for good in [
            "/ip4/127.0.0.1/tcp/0",
            "/ip6/::1/udp/1/quic-v1",
            "/dns/acme.example/udp/7400/quic-v1",
            "/dns4/acme.example/tcp/7400/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        assert_eq!(check_address("127.0.0.1:80"), Err(AddressError::Syntax));
        for bad in ["/ip4/127.0.0.1", "/ip4/1.2.3.4/udp/1", "/ip4/1.2.3.4/tcp/1/ws", "/tcp/1", ""] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_defaults_are_in_range_and_bad_limits_are_named() {
        NetLimits::default().check().unwrap();
        let one = NetLimits { connections_per_peer: 1, ..NetLimits::default() };
        assert!(matches!(one.check(), Err(NetError::Limit("connections_per_peer"))));
        let late = NetLimits { relay_deadline: Duration::from_secs(1), ..NetLimits::default() };
        assert!(matches!(late.check(), Err(NetError::Limit("relay_deadline"))));
    }
}
