//! Streams of our protocols, opened on one named connection and accepted with the connection they came on.
//!
//! Contract: [`Behaviour::open`] answers through its channel exactly once, or drops it when the
//! connection is gone. Every inbound stream comes out as an [`Inbound`]; whoever drops it resets it.
//! Whether the peer may have it yet is decided there, not here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use homing_wire::frame;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, Stream, StreamProtocol};
use tokio::sync::oneshot;

/// What we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Hello,
    Relay,
    Query,
    Media,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Hello, Self::Relay, Self::Query, Self::Media];

    fn name(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Self::Hello => frame::HELLO,
            Self::Relay => frame::RELAY,
            Self::Query => frame::QUERY,
            Self::Media => frame::MEDIA,
        })
    }
}

/// Why a stream was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// The other side does not speak the protocol.
    #[error("the peer does not speak the protocol")]
    Unsupported,
    /// No answer in time.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection is gone")]
    Gone,
}

impl OpenError {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Unsupported => "protocol_unsupported",
            Self::Timeout => "stream_timeout",
            Self::Gone => "connection_lost",
        }
    }
}

/// Where an opened stream arrives.
pub(crate) type Opened = oneshot::Receiver<Result<Stream, OpenError>>;

/// A stream that the peer opened.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) connection: ConnectionId,
    pub(crate) protocol: Protocol,
    pub(crate) stream: Stream,
}

/// Opens and accepts streams. See the module for the contract.
pub(crate) struct Behaviour {
    open_timeout: Duration,
    /// Drained by every poll of the swarm; each entry was asked for by a bounded caller or is a stream
    /// that the connection's stream limit counts.
    pending: VecDeque<ToSwarm<Inbound, Open>>,
    waker: Option<Waker>,
}

impl Behaviour {
    pub(crate) fn new(open_timeout: Duration) -> Self {
        Self { open_timeout, pending: VecDeque::new(), waker: None }
    }

    /// Opens a stream on this very connection.
    pub(crate) fn open(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        protocol: Protocol,
    ) -> Opened {
        let (reply, opened) = oneshot::channel();
        self.pending.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event: Open { protocol, reply },
        });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        opened
    }
}

/// A wish for a stream, on its way to the connection.
#[derive(Debug)]
pub(crate) struct Open {
    protocol: Protocol,
    reply: oneshot::Sender<Result<Stream, OpenError>>,
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Inbound;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.open_timeout))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.open_timeout))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        (protocol, stream): THandlerOutEvent<Self>,
    ) {
        self.pending.push_back(ToSwarm::GenerateEvent(Inbound { connection, protocol, stream }));
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.pending.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The part of it that lives in a connection.
pub(crate) struct Handler {
    open_timeout: Duration,
    wanted: VecDeque<Open>,
    accepted: VecDeque<(Protocol, Stream)>,
}

impl Handler {
    fn new(open_timeout: Duration) -> Self {
        Self { open_timeout, wanted: VecDeque::new(), accepted: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = (Protocol, Stream);
    type InboundProtocol = Accept;
    type OutboundProtocol = Ask;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Result<Stream, OpenError>>;

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        SubstreamProtocol::new(Accept, ()).with_timeout(self.open_timeout)
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Ask, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(accepted) = self.accepted.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(accepted));
        }
        if let Some(Open { protocol, reply }) = self.wanted.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Ask(protocol), reply)
                    .with_timeout(self.open_timeout),
            });
        }
        // Both queues are filled by calls after which the connection polls again.
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, open: Open) {
        self.wanted.push_back(open);
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is open; the rest is not ours")]
    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Accept, Ask, (), Self::OutboundOpenInfo>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => self.accepted.push_back(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: reply,
            }) => {
                // Nobody waits any more: the stream is dropped and so reset.
                let _ = reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(failed) => {
                let error = match failed.error {
                    StreamUpgradeError::Timeout => OpenError::Timeout,
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Io(_) => OpenError::Gone,
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = failed.info.send(Err(error));
            }
            _ => {}
        }
    }
}

/// Takes a stream of any of our protocols.
pub(crate) struct Accept;

impl UpgradeInfo for Accept {
    type Info = Named;
    type InfoIter = std::array::IntoIter<Named, 4>;

    fn protocol_info(&self) -> Self::InfoIter {
        Protocol::ALL.map(Named::new).into_iter()
    }
}

impl InboundUpgrade<Stream> for Accept {
    type Output = (Protocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, named: Named) -> Self::Future {
        ready(Ok((named.protocol, stream)))
    }
}

/// Asks for a stream of one protocol.
pub(crate) struct Ask(Protocol);

impl UpgradeInfo for Ask {
    type Info = Named;
    type InfoIter = std::iter::Once<Named>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(Named::new(self.0))
    }
}

impl OutboundUpgrade<Stream> for Ask {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: Named) -> Self::Future {
        ready(Ok(stream))
    }
}

/// A protocol with its name on the wire.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    protocol: Protocol,
    name: StreamProtocol,
}

impl Named {
    fn new(protocol: Protocol) -> Self {
        Self { protocol, name: protocol.name() }
    }
}

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        self.name.as_ref()
    }
}
