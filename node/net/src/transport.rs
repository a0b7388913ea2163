//! QUIC, and TCP with Noise and Yamux; and the swarm around them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::Transport;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::transport::{Boxed, MemoryTransport};
use libp2p::core::upgrade::Version;
use libp2p::swarm::{NetworkBehaviour, Swarm};
use libp2p::{
    PeerId, allow_block_list, connection_limits, identify, noise, quic, swarm, tcp, yamux,
};
use libp2p_memory_connection_limits as memory_limits;
use tokio::time::Sleep;

use crate::config::{NetError, NetLimits};
use crate::gate::Gate;
use crate::in_memory::Wire;
use crate::key::NodeKey;
use crate::meter::Metered;
use crate::stats::Counters;
use crate::streams;

/// QUIC gives a silent peer up after this time …
const QUIC_IDLE_TIMEOUT_MS: u32 = 10_000;
/// … and asks it this often when there is nothing else to say.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// What a receiver that does not read holds of one QUIC stream. libp2p's 10 MB bring no speed.
const QUIC_STREAM_BYTES: u32 = 256 * 1_024;
/// How long a closed connection may take to say so to the other side. On a path that is cut with writes
/// pending it would take for ever, and count against the peer's connections all that time.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Everything that takes part in a connection. The fields' order is the order in which they may refuse one.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    limits: connection_limits::Behaviour,
    memory: memory_limits::Behaviour,
    /// For other programs that speak libp2p; nothing here depends on what it says.
    identify: identify::Behaviour,
    pub(crate) streams: streams::Behaviour,
    pub(crate) gossip: Gate,
}

/// What carries the connections.
pub(crate) enum Medium {
    /// TCP and QUIC.
    Sockets,
    /// This process's memory, with the bytes counted: for benches.
    Memory(Arc<Wire>),
}

/// The swarm, not yet listening.
pub(crate) fn swarm(
    medium: Medium,
    key: &NodeKey,
    limits: &NetLimits,
    counters: &Arc<Counters>,
) -> Result<Swarm<Behaviour>, NetError> {
    let public = key.keypair().public();
    let identify = identify::Config::new("homing/1".to_owned(), public.clone())
        .with_agent_version(concat!("homing/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_hide_listen_addrs(true)
        .with_push_listen_addr_updates(false)
        .with_cache_size(0);
    let behaviour = Behaviour {
        blocked: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(
            connection_limits::ConnectionLimits::default()
                .with_max_established(Some(limits.connections))
                .with_max_established_incoming(Some(limits.connections.div_ceil(4) * 3))
                .with_max_established_per_peer(Some(limits.connections_per_peer))
                .with_max_pending_incoming(Some(limits.pending_connections))
                .with_max_pending_outgoing(Some(limits.pending_connections)),
        ),
        memory: memory_limits::Behaviour::with_max_percentage(limits.memory_share),
        identify: identify::Behaviour::new(identify),
        streams: streams::Behaviour::new(limits.hello_deadline),
        gossip: Gate::new(limits, counters.clone())?,
    };
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(limits.idle_connection_timeout);
    let transport = match medium {
        Medium::Sockets => sockets(key, limits, counters)?,
        Medium::Memory(wire) => {
            let memory = MemoryTransport::new().map(move |io, _| Metered::all(io, wire.clone()));
            secured(memory, key, limits, counters)?
        }
    };
    Ok(Swarm::new(transport, behaviour, public.to_peer_id(), config))
}

/// A byte transport with Noise and Yamux.
fn secured<T>(
    transport: T,
    key: &NodeKey,
    limits: &NetLimits,
    counters: &Arc<Counters>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError>
where
    T: Transport<Error: Send + Sync, ListenerUpgrade: Send, Dial: Send> + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let noise =
        noise::Config::new(key.keypair()).map_err(|e| NetError::Transport(e.to_string()))?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(limits.streams_per_connection as usize);
    let counters = counters.clone();
    let secured = transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(limits.handshake_timeout)
        .map(move |(peer, muxer), _| {
            (peer, StreamMuxerBox::new(ClosesInTime::new(muxer, counters.clone())))
        });
    Ok(secured.boxed())
}

fn sockets(
    key: &NodeKey,
    limits: &NetLimits,
    counters: &Arc<Counters>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    // TCP_NODELAY is set by default here.
    let tcp = tcp::tokio::Transport::new(tcp::Config::new());
    let tcp = secured(tcp, key, limits, counters)?;
    let mut config = quic::Config::new(key.keypair());
    config.handshake_timeout = limits.handshake_timeout;
    config.max_idle_timeout = QUIC_IDLE_TIMEOUT_MS;
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    config.max_stream_data = QUIC_STREAM_BYTES;
    config.max_concurrent_stream_limit = limits.streams_per_connection;
    let counters = counters.clone();
    let quic = quic::tokio::Transport::new(config).map(move |(peer, muxer), _| {
        (peer, StreamMuxerBox::new(ClosesInTime::new(muxer, counters.clone())))
    });
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

/// A connection whose closing ends by itself after a while; dropping the rest resets it. And whose gossip is counted.
struct ClosesInTime<M> {
    inner: M,
    counters: Arc<Counters>,
    within: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<M> ClosesInTime<M> {
    fn new(inner: M, counters: Arc<Counters>) -> Self {
        Self { inner, counters, within: CLOSE_WITHIN, deadline: None }
    }
}

impl<M> StreamMuxer for ClosesInTime<M>
where
    M: StreamMuxer<Substream: Unpin> + Unpin,
    M::Error: std::error::Error + Send + Sync + 'static,
{
    type Substream = Metered<M::Substream>;
    type Error = io::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, io::Error>> {
        let opened = Pin::new(&mut self.inner).poll_inbound(cx).map_err(io::Error::other);
        opened.map_ok(|stream| Metered::gossip(stream, self.counters.clone()))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, io::Error>> {
        let opened = Pin::new(&mut self.inner).poll_outbound(cx).map_err(io::Error::other);
        opened.map_ok(|stream| Metered::gossip(stream, self.counters.clone()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        let within = self.within;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_close(cx).map_err(io::Error::other)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, io::Error>> {
        Pin::new(&mut self.inner).poll(cx).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::muxing::StreamMuxerExt as _;

    use super::*;

    /// A connection that can do nothing any more, as on a path that is cut with full buffers.
    struct Stuck;

    impl StreamMuxer for Stuck {
        type Substream = futures::io::Cursor<Vec<u8>>;
        type Error = io::Error;

        fn poll_inbound(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<io::Result<Self::Substream>> {
            Poll::Pending
        }

        fn poll_outbound(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<io::Result<Self::Substream>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn closing_ends_although_the_connection_is_stuck() {
        let stuck = ClosesInTime {
            within: Duration::from_millis(20),
            ..ClosesInTime::new(Stuck, Arc::default())
        };
        let closed = tokio::time::timeout(Duration::from_secs(20), stuck.close()).await;
        assert!(closed.is_ok_and(|result| result.is_ok()));
    }
}
