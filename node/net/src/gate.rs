//! Who takes part in gossip: connections that were admitted by hello, and nobody else.
//!
//! **Contract.** The loop calls [`Gate::admit`] when hello has ended well and [`Gate::shut`] when it gives a
//! connection up, whatever for. In between, and only if the peer speaks gossip, gossipsub knows the connection;
//! before and after it does not, and the peer sees a node that does not speak `/meshsub/`. So gossipsub keeps
//! nothing for strangers, and nothing for homes without gossip, whose queues would never be emptied.
//!
//! **The race.** Both sides admit, one a moment before the other. If the first opened `/meshsub/` at once, the other
//! would deny it, and gossipsub would hold it for unsupported as long as the connection lives. So a side opens only
//! when it has seen that the other speaks it: identify tells each side of the other's new protocol, and a stream
//! that the other opens says as much.
//!
//! What peers bring is counted and limited here, before gossipsub keeps any of it.

mod allowance;
mod handler;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use homing_wire::HomeId;
use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint, Multiaddr};
use libp2p::gossipsub::{Event, MessageAcceptance, TopicHash, ValidationError};
use libp2p::swarm::behaviour::{AddressChange, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler as _, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use tokio::time::{Instant, Sleep};

use self::allowance::Allowance;
use self::handler::{Accept, Handler, In, InnerOut, Out};
use crate::config::{NetError, NetLimits, PEERS_SHARE};
use crate::gossip::{
    self, FAULT, GRAYLIST_THRESHOLD, GossipId, Gossipsub, JoinError, PublishError, PublishOutcome,
    TopicName, TopicPeers, Verdict,
};
use crate::stats::{Counters, GossipGauges};

/// Faults are forgiven, and gauges read, this often.
const TICK: Duration = Duration::from_secs(1);
/// What is left of a fault after a tick: half of it after a minute.
const FORGIVEN: f64 = 0.988_5;
/// A fault below this is none.
const NO_FAULT: f64 = 1.0;

/// gossipsub behind hello. See the module for the contract.
pub(crate) struct Gate {
    inner: Gossipsub,
    /// What an open door accepts.
    accept: Accept,
    /// Every established connection.
    doors: HashMap<ConnectionId, Door>,
    /// Every node with an admitted connection.
    guests: HashMap<PeerId, Guest>,
    /// What nodes have done wrong lately; outlives their connections. Empties itself.
    faults: HashMap<PeerId, f64>,
    joined: HashSet<TopicHash>,
    limits: Limits,
    /// What may still be taken now, from all together.
    total: Allowance,
    /// Handed to gossipsub, and given out again as new, since it was last idle: the difference are repetitions.
    handed: u64,
    given: u64,
    counters: Arc<Counters>,
    /// Drained by every poll; each admission and each end of a connection adds one.
    pending: VecDeque<ToSwarm<Event, In>>,
    waker: Option<Waker>,
    tick: Option<Pin<Box<Sleep>>>,
    /// Opens without having seen that the other side speaks: what the race does to whoever does so is tested, too.
    #[cfg(test)]
    eager: bool,
}

#[derive(Clone, Copy)]
struct Limits {
    topics: usize,
    message_bytes: usize,
    messages_per_s: u32,
    bytes_per_s: u32,
}

/// An established connection.
struct Door {
    peer: PeerId,
    endpoint: ConnectedPoint,
    admitted: bool,
    /// gossipsub knows it.
    known: bool,
}

/// A node that speaks for an admitted home.
struct Guest {
    home: HomeId,
    /// Its admitted connections.
    admitted: usize,
    /// Those of them that gossipsub knows.
    known: usize,
    /// Messages.
    allowance: Allowance,
    /// Frames, most of which carry none but are work all the same: four times as many.
    frames: Allowance,
}

impl Gate {
    pub(crate) fn new(limits: &NetLimits, counters: Arc<Counters>) -> Result<Self, NetError> {
        let shares = Limits {
            topics: limits.gossip_topics,
            message_bytes: limits.gossip_message_bytes,
            messages_per_s: limits.gossip_messages_per_s,
            bytes_per_s: limits.gossip_bytes_per_s,
        };
        Ok(Self {
            inner: gossip::gossipsub(limits)?,
            accept: accept(gossip::gossipsub(limits)?)?,
            doors: HashMap::new(),
            guests: HashMap::new(),
            faults: HashMap::new(),
            joined: HashSet::new(),
            total: Allowance::new(shares.messages_per_s, shares.bytes_per_s),
            limits: shares,
            handed: 0,
            given: 0,
            counters,
            pending: VecDeque::new(),
            waker: None,
            tick: None,
            #[cfg(test)]
            eager: false,
        })
    }

    /// From now on this connection may take part.
    pub(crate) fn admit(&mut self, connection: ConnectionId, home: HomeId) {
        let Some(door) = self.doors.get_mut(&connection).filter(|door| !door.admitted) else {
            return;
        };
        door.admitted = true;
        let (peer, limits) = (door.peer, self.limits);
        let guest = self.guests.entry(peer).or_insert_with(|| Guest {
            home,
            admitted: 0,
            known: 0,
            allowance: Allowance::new(
                limits.messages_per_s / PEERS_SHARE,
                limits.bytes_per_s / PEERS_SHARE,
            ),
            frames: Allowance::new(limits.messages_per_s, limits.bytes_per_s),
        });
        guest.home = home;
        guest.admitted += 1;
        self.notify(peer, connection, In::Admit);
    }

    /// From now on this connection may not. Does nothing the second time.
    pub(crate) fn shut(&mut self, connection: ConnectionId) {
        let Some(door) = self.doors.get_mut(&connection) else { return };
        if !std::mem::take(&mut door.admitted) {
            return;
        }
        let peer = door.peer;
        let was_known = std::mem::take(&mut door.known);
        let mut left = 0;
        if let Some(guest) = self.guests.get_mut(&peer) {
            guest.admitted -= 1;
            guest.known -= usize::from(was_known);
            left = guest.known;
            if guest.admitted == 0 {
                self.guests.remove(&peer);
            }
        }
        if was_known {
            self.inner.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id: peer,
                connection_id: connection,
                endpoint: &door.endpoint,
                cause: None,
                remaining_established: left,
            }));
        }
        self.notify(peer, connection, In::Shut);
    }

    /// Which admitted home a node speaks for.
    pub(crate) fn home(&self, peer: &PeerId) -> Option<HomeId> {
        self.guests.get(peer).map(|guest| guest.home)
    }

    pub(crate) fn join(&mut self, topic: TopicName) -> Result<(), JoinError> {
        let hash = topic.hash();
        let limit = self.limits.topics;
        if !self.joined.contains(&hash) && self.joined.len() >= limit {
            return Err(JoinError::TooManyTopics { limit });
        }
        // Our names pass our own filter, the only thing that can refuse them.
        if self.inner.subscribe(&topic.topic()).is_ok() {
            self.joined.insert(hash);
        }
        self.wake();
        Ok(())
    }

    pub(crate) fn leave(&mut self, topic: TopicName) {
        self.joined.remove(&topic.hash());
        self.inner.unsubscribe(&topic.topic());
        self.wake();
    }

    pub(crate) fn publish(
        &mut self,
        topic: TopicName,
        payload: Vec<u8>,
    ) -> Result<PublishOutcome, PublishError> {
        use libp2p::gossipsub::PublishError as Failed;
        let hash = topic.hash();
        if !self.joined.contains(&hash) {
            return Err(PublishError::NotJoined);
        }
        let (size, limit) = (payload.len(), self.limits.message_bytes);
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        let published = self.inner.publish(hash, payload);
        self.wake();
        Ok(match published {
            Ok(_) => {
                self.counters.gossip_published();
                PublishOutcome::Sent
            }
            Err(Failed::Duplicate) => PublishOutcome::Duplicate,
            Err(Failed::AllQueuesFull(_)) => PublishOutcome::Congested,
            Err(Failed::NoPeersSubscribedToTopic) => PublishOutcome::NoPeers,
            Err(Failed::MessageTooLarge) => return Err(PublishError::TooLarge { size, limit }),
            Err(error @ (Failed::SigningError(_) | Failed::TransformFailed(_))) => {
                tracing::error!(%error, "gossip is neither signed nor transformed: a bug");
                PublishOutcome::NoPeers
            }
        })
    }

    pub(crate) fn judge(&mut self, message: &GossipId, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let GossipId { id, from } = message;
        if self.inner.report_message_validation_result(id, from, acceptance) {
            self.counters.gossip_judged(verdict.word());
        } else {
            self.counters.gossip_judged("late");
        }
        if verdict == Verdict::Reject {
            self.fault(*from);
        }
        self.wake();
    }

    pub(crate) fn topic_peers(&self, topic: TopicName) -> TopicPeers {
        let hash = topic.hash();
        TopicPeers {
            joined: self.inner.all_peers().filter(|(_, topics)| topics.contains(&&hash)).count(),
            mesh: self.inner.mesh_peers(&hash).count(),
        }
    }

    /// Homes that are admitted and have joined a topic.
    pub(crate) fn topic_homes(&self, topic: TopicName) -> BTreeSet<HomeId> {
        let hash = topic.hash();
        self.inner
            .all_peers()
            .filter(|(_, topics)| topics.contains(&&hash))
            .filter_map(|(peer, _)| self.home(peer))
            .collect()
    }

    fn handler(&self) -> Handler {
        let handler = Handler::new(self.accept.clone());
        #[cfg(test)]
        return handler.seeing(self.eager);
        #[cfg(not(test))]
        handler
    }

    /// gossipsub gets to know a connection, now that both sides may speak.
    fn introduce(&mut self, connection: ConnectionId) {
        let Some(door) = self.doors.get_mut(&connection) else { return };
        let Some(guest) = self.guests.get_mut(&door.peer) else { return };
        if !door.admitted || door.known {
            return;
        }
        let peer = door.peer;
        let made = match &door.endpoint {
            ConnectedPoint::Dialer { address, role_override, port_use } => {
                self.inner.handle_established_outbound_connection(
                    connection,
                    peer,
                    address,
                    *role_override,
                    *port_use,
                )
            }
            ConnectedPoint::Listener { local_addr, send_back_addr } => {
                self.inner.handle_established_inbound_connection(
                    connection,
                    peer,
                    local_addr,
                    send_back_addr,
                )
            }
        };
        // gossipsub refuses none.
        let Ok(handler) = made else { return };
        self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: connection,
            endpoint: &door.endpoint,
            failed_addresses: &[],
            other_established: guest.known,
        }));
        door.known = true;
        guest.known += 1;
        if let Some(fault) = self.faults.get(&peer) {
            self.inner.set_application_score(&peer, -fault);
        }
        self.notify(peer, connection, In::Open(Box::new(handler)));
    }

    /// What a peer has brought, as far as it may.
    fn take(&mut self, peer: PeerId, connection: ConnectionId, event: InnerOut) {
        let InnerOut::Message { mut rpc, mut invalid_messages } = event else {
            return self.inner.on_connection_handler_event(peer, connection, event);
        };
        let now = Instant::now();
        if !self.guests.get_mut(&peer).is_some_and(|guest| guest.frames.take(now, 0)) {
            for _ in 0..rpc.messages.len().max(1) {
                self.counters.gossip_dropped("peer_too_fast");
            }
            return;
        }
        let gray = self.inner.peer_score(&peer).is_some_and(|score| score < GRAYLIST_THRESHOLD);
        let mut faults = 0;
        for (_, error) in invalid_messages.drain(..) {
            faults += 1;
            self.counters.gossip_dropped(reason(&error));
        }
        rpc.messages.retain(|message| {
            let bytes = message.data.len();
            let dropped = if gray {
                Some("peer_silenced")
            } else if bytes > self.limits.message_bytes {
                faults += 1;
                Some("gossip_too_large")
            } else if !self.joined.contains(&message.topic) {
                Some("topic_not_joined")
            } else if !self
                .guests
                .get_mut(&peer)
                .is_some_and(|guest| guest.allowance.take(now, bytes))
            {
                Some("peer_too_fast")
            } else if !self.total.has_room(now) {
                Some("too_much_gossip")
            } else {
                None
            };
            if let Some(reason) = dropped {
                self.counters.gossip_dropped(reason);
            }
            dropped.is_none()
        });
        self.handed += rpc.messages.len() as u64;
        for _ in 0..faults {
            self.fault(peer);
        }
        let taken = InnerOut::Message { rpc, invalid_messages };
        self.inner.on_connection_handler_event(peer, connection, taken);
    }

    fn fault(&mut self, peer: PeerId) {
        // Beyond silence there is nothing to lose, and it shall end some day.
        let fault = self.faults.entry(peer).or_default();
        *fault = (*fault + FAULT).min(-2.0 * GRAYLIST_THRESHOLD);
        self.inner.set_application_score(&peer, -*fault);
    }

    fn on_tick(&mut self) {
        let inner = &mut self.inner;
        self.faults.retain(|peer, fault| {
            *fault *= FORGIVEN;
            let stays = *fault >= NO_FAULT;
            inner.set_application_score(peer, if stays { -*fault } else { 0.0 });
            stays
        });
        self.counters.gossip_gauges(GossipGauges {
            topics: self.joined.len() as u64,
            peers: self.guests.values().filter(|guest| guest.known > 0).count() as u64,
            mesh_peers: self.inner.all_mesh_peers().count() as u64,
        });
    }

    /// gossipsub gives a message out for the first time.
    fn give(&mut self, bytes: usize) {
        self.given += 1;
        self.total.spend(bytes);
        self.counters.gossip_new();
    }

    /// gossipsub has nothing more to give out.
    fn settle(&mut self) {
        let (handed, given) = (std::mem::take(&mut self.handed), std::mem::take(&mut self.given));
        self.counters.gossip_in(handed, handed.saturating_sub(given));
    }

    fn notify(&mut self, peer_id: PeerId, connection: ConnectionId, event: In) {
        let handler = NotifyHandler::One(connection);
        self.pending.push_back(ToSwarm::NotifyHandler { peer_id, handler, event });
        self.wake();
    }

    /// For what was done between two polls.
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What gossipsub accepts, seen on a connection that does not exist.
fn accept(mut gossip: Gossipsub) -> Result<Accept, NetError> {
    let nowhere = Multiaddr::empty();
    let nobody = PeerId::random();
    let connection = ConnectionId::new_unchecked(0);
    let handler = gossip
        .handle_established_inbound_connection(connection, nobody, &nowhere, &nowhere)
        .map_err(|error| NetError::Transport(error.to_string()))?;
    Ok(handler.listen_protocol().into_upgrade().0)
}

/// The stable word for a message that has no valid form.
fn reason(error: &ValidationError) -> &'static str {
    match error {
        ValidationError::SignaturePresent
        | ValidationError::SequenceNumberPresent
        | ValidationError::MessageSourcePresent => "gossip_not_anonymous",
        ValidationError::MessageSizeTooLargeForTopic => "gossip_too_large",
        ValidationError::InvalidSignature
        | ValidationError::EmptySequenceNumber
        | ValidationError::InvalidSequenceNumber
        | ValidationError::InvalidPeerId
        | ValidationError::TransformFailed => "gossip_malformed",
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is open; the rest is not ours")]
    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(made) => {
                let door = Door {
                    peer: made.peer_id,
                    endpoint: made.endpoint.clone(),
                    admitted: false,
                    known: false,
                };
                self.doors.insert(made.connection_id, door);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.shut(connection_id);
                self.doors.remove(&connection_id);
            }
            FromSwarm::AddressChange(change @ AddressChange { connection_id, new, .. }) => {
                if let Some(door) = self.doors.get_mut(&connection_id) {
                    door.endpoint = new.clone();
                    if door.known {
                        self.inner.on_swarm_event(FromSwarm::AddressChange(change));
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {
            Out::Speaks => self.introduce(connection),
            // What was on its way when the door was shut is lost.
            Out::Inner(event) => {
                if self.doors.get(&connection).is_some_and(|door| door.known) {
                    self.take(peer, connection, event);
                }
            }
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.pending.pop_front() {
            return Poll::Ready(event);
        }
        if let Poll::Ready(event) = self.inner.poll(cx) {
            if let ToSwarm::GenerateEvent(Event::Message { message, .. }) = &event {
                self.give(message.data.len());
            }
            return Poll::Ready(event.map_in(In::Inner));
        }
        self.settle();
        loop {
            let tick = self.tick.get_or_insert_with(|| Box::pin(tokio::time::sleep(TICK)));
            if tick.as_mut().poll(cx).is_pending() {
                break;
            }
            tick.as_mut().reset(Instant::now() + TICK);
            self.on_tick();
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
#[allow(clippy::large_futures, reason = "a test holds two whole nodes")]
mod tests {
    use futures::StreamExt as _;
    use libp2p::identify;
    use libp2p::swarm::{Swarm, SwarmEvent};

    use super::handler::MESHSUB;
    use super::*;
    use crate::key::NodeKey;
    use crate::transport::{Behaviour, BehaviourEvent, Medium, swarm};

    const TOPIC: TopicName = TopicName([3; 32]);

    /// A node without a loop around it: the test says when a connection is admitted.
    struct Side {
        swarm: Swarm<Behaviour>,
        connection: Option<ConnectionId>,
        address: Option<Multiaddr>,
        /// Identify has said that the other side speaks gossip.
        was_told: bool,
        /// gossipsub holds the other side for one that never will.
        gave_up: bool,
        got: Vec<Vec<u8>>,
    }

    impl Side {
        fn new() -> Self {
            let key = NodeKey::generate();
            let medium = Medium::Memory(Arc::default());
            let mut swarm = swarm(medium, &key, &NetLimits::default(), &Arc::default()).unwrap();
            swarm.listen_on("/memory/0".parse().unwrap()).unwrap();
            swarm.behaviour_mut().gossip.join(TOPIC).unwrap();
            Self {
                swarm,
                connection: None,
                address: None,
                was_told: false,
                gave_up: false,
                got: Vec::new(),
            }
        }

        fn gate(&mut self) -> &mut Gate {
            &mut self.swarm.behaviour_mut().gossip
        }

        fn admit(&mut self) {
            let connection = self.connection.expect("connected");
            self.gate().admit(connection, HomeId([1; 32]));
        }

        #[allow(clippy::wildcard_enum_match_arm, reason = "it picks what it looks for")]
        fn on(&mut self, event: SwarmEvent<BehaviourEvent>) {
            match event {
                SwarmEvent::NewListenAddr { address, .. } => self.address = Some(address),
                SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                    self.connection = Some(connection_id);
                }
                SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                    info,
                    ..
                })) => {
                    let spoken = |p: &libp2p::StreamProtocol| p.as_ref().starts_with(MESHSUB);
                    self.was_told |= info.protocols.iter().any(spoken);
                }
                SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => match event {
                    Event::Message { message, .. } => self.got.push(message.data),
                    Event::GossipsubNotSupported { .. } => self.gave_up = true,
                    _ => {}
                },
                _ => {}
            }
        }
    }

    /// Both run until it is true.
    async fn until(sides: &mut [Side; 2], is_true: impl Fn(&mut [Side; 2]) -> bool) {
        let running = async {
            while !is_true(sides) {
                let [one, other] = sides;
                tokio::select! {
                    event = one.swarm.select_next_some() => one.on(event),
                    event = other.swarm.select_next_some() => other.on(event),
                    // What is awaited may change without an event.
                    () = tokio::time::sleep(Duration::from_millis(1)) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), running).await.expect("it happens in time");
    }

    async fn connected(eager: bool) -> [Side; 2] {
        let mut sides = [Side::new(), Side::new()];
        for side in &mut sides {
            side.gate().eager = eager;
        }
        until(&mut sides, |sides| sides[1].address.is_some()).await;
        let address = sides[1].address.clone().expect("it listens");
        sides[0].swarm.dial(address).unwrap();
        until(&mut sides, |sides| sides.iter().all(|side| side.connection.is_some())).await;
        sides
    }

    async fn exchange(sides: &mut [Side; 2]) {
        until(sides, |sides| sides.iter_mut().all(|side| side.gate().topic_peers(TOPIC).mesh == 1))
            .await;
        for (number, side) in (0..).zip(sides.iter_mut()) {
            let sent = side.gate().publish(TOPIC, vec![number]);
            assert_eq!(sent, Ok(PublishOutcome::Sent));
        }
        until(sides, |sides| sides.iter().all(|side| !side.got.is_empty())).await;
        assert_eq!((&sides[0].got, &sides[1].got), (&vec![vec![1]], &vec![vec![0]]));
        assert!(sides.iter().all(|side| !side.gave_up));
    }

    #[tokio::test]
    async fn whoever_admits_first_waits_for_the_other() {
        for round in 0..50 {
            let mut sides = connected(false).await;
            let (first, second) = (round % 2, (round + 1) % 2);
            sides[first].admit();
            // A moment later, or when the first has long offered its gossip, or anything between.
            if round % 4 < 2 {
                until(&mut sides, |sides| sides[second].was_told).await;
            }
            for _ in 0..round {
                let passed = std::cell::Cell::new(false);
                until(&mut sides, |_| passed.replace(true)).await;
            }
            sides[second].admit();
            exchange(&mut sides).await;
        }
    }

    /// The race is real: if this fails, the test above proves nothing any more.
    #[tokio::test]
    async fn whoever_opens_at_once_loses_the_race_for_good() {
        let mut sides = connected(true).await;
        sides[0].admit();
        until(&mut sides, |sides| sides[0].gave_up).await;
    }

    #[tokio::test]
    async fn a_door_that_is_shut_lets_nothing_through_although_the_connection_lives() {
        let mut sides = connected(false).await;
        for side in &mut sides {
            side.admit();
        }
        exchange(&mut sides).await;
        let connection = sides[1].connection.expect("connected");
        assert_eq!(sides[0].gate().publish(TOPIC, vec![7]), Ok(PublishOutcome::Sent));
        sides[1].gate().shut(connection);
        assert_eq!(sides[1].gate().publish(TOPIC, vec![8]), Ok(PublishOutcome::NoPeers));
        assert_eq!(sides[1].gate().topic_peers(TOPIC), TopicPeers::default());
        // The other side finds its stream ended and none to be had any more.
        let number = std::cell::Cell::new(0u32);
        until(&mut sides, |sides| {
            number.set(number.get() + 1);
            // What becomes of it is for later.
            let _ = sides[0].gate().publish(TOPIC, number.get().to_be_bytes().to_vec());
            sides[0].gave_up
        })
        .await;
        assert_eq!((sides[0].got.len(), sides[1].got.len()), (1, 1));
        assert!(sides.iter().all(|side| side.swarm.network_info().num_peers() == 1));
    }
}
