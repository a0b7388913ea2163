//! The part of the gate that lives in a connection.

use std::task::{Context, Poll};

use either::Either;
use libp2p::core::upgrade::DeniedUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, FullyNegotiatedInbound, InboundUpgradeSend, ProtocolsChange,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, NetworkBehaviour, SubstreamProtocol,
};

use crate::gossip::Gossipsub;

/// What every version of gossipsub is called.
pub(super) const MESHSUB: &str = "/meshsub/";

pub(super) type Inner = <Gossipsub as NetworkBehaviour>::ConnectionHandler;
pub(super) type InnerOut = <Inner as ConnectionHandler>::ToBehaviour;
/// What an open door accepts.
pub(crate) type Accept = <Inner as ConnectionHandler>::InboundProtocol;
type InnerIn = <Inner as ConnectionHandler>::FromBehaviour;
type Ask = <Inner as ConnectionHandler>::OutboundProtocol;
type Accepted = <Accept as InboundUpgradeSend>::Output;

/// To a connection.
pub(crate) enum In {
    /// It may take part.
    Admit,
    /// gossipsub knows it, and this is its handler.
    Open(Box<Inner>),
    /// It may not take part any more.
    Shut,
    Inner(InnerIn),
}

impl std::fmt::Debug for In {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Admit => "Admit",
            Self::Open(_) => "Open",
            Self::Shut => "Shut",
            Self::Inner(_) => "Inner",
        })
    }
}

/// From a connection.
#[allow(clippy::large_enum_variant, reason = "the small one comes once in a connection's life")]
#[derive(Debug)]
pub(crate) enum Out {
    /// It may take part, and so may we at the other side.
    Speaks,
    Inner(InnerOut),
}

/// Shut, until it is told to open.
pub(crate) struct Handler {
    accept: Accept,
    /// The other side has shown that it speaks gossip.
    speaks: bool,
    state: State,
}

enum State {
    /// Not admitted, or not any more.
    Shut,
    /// Admitted. A stream that the peer has opened waits for gossipsub.
    Admitted { told: bool, early: Option<Box<Accepted>> },
    /// gossipsub is at work.
    Open(Box<Inner>),
}

impl Handler {
    pub(super) fn new(accept: Accept) -> Self {
        Self { accept, speaks: false, state: State::Shut }
    }

    #[cfg(test)]
    pub(super) fn seeing(self, speaks: bool) -> Self {
        Self { speaks: self.speaks || speaks, ..self }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = In;
    type ToBehaviour = Out;
    type InboundProtocol = Accept;
    type OutboundProtocol = Ask;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        match &self.state {
            State::Shut => SubstreamProtocol::new(Either::Right(DeniedUpgrade), ()),
            State::Admitted { .. } => SubstreamProtocol::new(self.accept.clone(), ()),
            State::Open(inner) => inner.listen_protocol(),
        }
    }

    fn connection_keep_alive(&self) -> bool {
        matches!(&self.state, State::Open(inner) if inner.connection_keep_alive())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Ask, (), Out>> {
        match &mut self.state {
            State::Shut => Poll::Pending,
            State::Admitted { told, .. } => {
                if self.speaks && !std::mem::replace(told, true) {
                    return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Out::Speaks));
                }
                Poll::Pending
            }
            State::Open(inner) => inner.poll(cx).map(|event| event.map_custom(Out::Inner)),
        }
        // All that changes this comes by calls after which the connection polls again.
    }

    fn on_behaviour_event(&mut self, event: In) {
        match (event, &mut self.state) {
            (In::Admit, State::Shut) => self.state = State::Admitted { told: false, early: None },
            (In::Open(mut inner), State::Admitted { early, .. }) => {
                if let Some(protocol) = early.take() {
                    inner.on_connection_event(ConnectionEvent::FullyNegotiatedInbound(
                        FullyNegotiatedInbound { protocol: *protocol, info: () },
                    ));
                }
                self.state = State::Open(inner);
            }
            // Its streams go with it.
            (In::Shut, _) => self.state = State::Shut,
            (In::Inner(event), State::Open(inner)) => inner.on_behaviour_event(event),
            // Sent before the door was shut.
            (In::Admit | In::Open(_) | In::Inner(_), _) => {}
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is open; the rest is not ours")]
    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Accept, Ask>) {
        if let ConnectionEvent::RemoteProtocolsChange(ProtocolsChange::Added(added)) = &event {
            self.speaks |= added.clone().any(|protocol| protocol.as_ref().starts_with(MESHSUB));
        }
        match (event, &mut self.state) {
            (event, State::Open(inner)) => inner.on_connection_event(event),
            (ConnectionEvent::FullyNegotiatedInbound(opened), State::Admitted { early, .. }) => {
                self.speaks = true;
                *early = Some(Box::new(opened.protocol));
            }
            _ => {}
        }
    }
}
