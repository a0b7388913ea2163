//! Gossip: what is told to many homes at once. It tells; the relay streams prove (design, section 7): a message may
//! be lost, come late or come in another order, and nothing may depend on it.
//!
//! This file has the words that the server uses, and how gossipsub (libp2p) is set. Who may take part is decided in
//! `gate.rs`.
//!
//! **Anonymous.** A message carries neither sender, number nor signature of libp2p: what is inside proves itself, a
//! signature for each message would cost 70 µs at every home, and the origin's key would be shown to homes that
//! only pass it on. **The id is a function of the content**, never of what a payload says of itself: whoever could
//! take an id with other bytes could make every home drop the true message as one that it had already.

use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER;
use libp2p::gossipsub::{
    Behaviour, Config, ConfigBuilder, MaxCountSubscriptionFilter, Message, MessageAuthenticity,
    MessageId, PeerScoreParams, PeerScoreThresholds, TopicHash, TopicSubscriptionFilter,
    ValidationMode, score_parameter_decay,
};
use libp2p::{PeerId, gossipsub};

use crate::config::{GOSSIP_TOPICS_MAX, NetError, NetLimits};

/// Bytes of a message's id: 160 bits cannot be hit by accident, nor found within a message's life.
const ID_BYTES: usize = 20;
/// What a frame may have around a payload: field tags and the topic, and 8 KiB that libp2p reads ahead and counts as
/// part of the frame.
const FRAME_SLACK_BYTES: usize = 16 * 1_024;
/// Subscriptions and lists of ids in one frame. A home that greets another names all its topics at once, 76 bytes
/// each; libp2p's 16 KiB would cut off whoever has more than 215.
const CONTROL_BYTES: usize = 64 * 1_024;
const _: () = assert!(GOSSIP_TOPICS_MAX * 76 < CONTROL_BYTES);
/// Ids in one list, 22 bytes each: below `CONTROL_BYTES`, too.
const IDS_AT_ONCE: usize = 2_000;
/// Homes to which a message goes at once. libp2p has 6, 5 and 12 for networks in which gossip is all there is; here a
/// stream repairs what gossip loses, so half as many copies are enough.
const MESH: usize = 4;
/// Fewer are filled up …
const MESH_LEAST: usize = 3;
/// … more are thinned out: the most copies of a message that a home sends.
const MESH_MOST: usize = 6;
/// Of these by our own will, so that those who dial us cannot be all we have.
const MESH_DIALLED: usize = 1;
/// Messages in one frame. We put one in each; others may gather some.
const MESSAGES_A_FRAME: usize = 64;
/// Heartbeats for which a message is kept for whoever asks, and waits for its judgement …
const KEPT_HEARTBEATS: usize = 4;
/// … and during which it is advertised.
const ADVERTISED_HEARTBEATS: usize = 3;
/// A message that has waited so long for a slow peer is dropped: the origin's own stream has long begun.
const QUEUED_FOR: Duration = Duration::from_secs(1);
/// Meshes are looked after from here on; the first one forms at once.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(1);

/// Below this score a peer gets no lists of ids and none are taken from it …
const GOSSIP_THRESHOLD: f64 = -40.0;
/// … below this it gets no messages …
const PUBLISH_THRESHOLD: f64 = -80.0;
/// … and below this nothing is taken from it.
pub(crate) const GRAYLIST_THRESHOLD: f64 = -160.0;
/// What one message costs its bringer that the server rejects, or that has no valid form. The first takes it out of
/// the meshes, eight of them silence it.
pub(crate) const FAULT: f64 = 20.0;

/// gossipsub as we use it.
pub(crate) type Gossipsub =
    Behaviour<gossipsub::IdentityTransform, MaxCountSubscriptionFilter<TopicFilter>>;

/// A topic: 32 bytes that say nothing to whoever was not told, since they are derived from a secret of those who
/// share it, and change daily. On the wire and for people it is lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(pub [u8; 32]);

impl TopicName {
    pub(crate) fn hash(self) -> TopicHash {
        TopicHash::from_raw(self.to_string())
    }

    pub(crate) fn topic(self) -> gossipsub::IdentTopic {
        gossipsub::IdentTopic::new(self.to_string())
    }

    /// Only the one form that we write: a topic must not have two names.
    pub(crate) fn parse(hash: &TopicHash) -> Option<Self> {
        let bytes = HEXLOWER.decode(hash.as_str().as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicName({self})")
    }
}

/// A message that waits for its judgement. Given back once, through [`crate::NetHandle::judge`]; one that is dropped
/// is never forwarded.
#[derive(PartialEq, Eq)]
pub struct GossipId {
    pub(crate) id: MessageId,
    /// Who brought it.
    pub(crate) from: PeerId,
}

impl fmt::Display for GossipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.id.0))
    }
}

impl fmt::Debug for GossipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GossipId({self})")
    }
}

/// What the server says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is valid: pass it on.
    Accept,
    /// It cannot be told, or is of no use: do not pass it on, blame nobody.
    Ignore,
    /// No honest home passes this on: whoever brought it is trusted less, and soon not heard at all.
    Reject,
}

impl Verdict {
    /// The stable word for metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accept => "accepted",
            Self::Ignore => "ignored",
            Self::Reject => "rejected",
        }
    }
}

/// What became of a message of ours. None of these is a failure: whoever has not got it gets it by the relay stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// On its way to at least one home.
    Sent,
    /// Nobody who is connected has joined the topic.
    NoPeers,
    /// Every home that would get it is too slow.
    Congested,
    /// These very bytes were sent or received on this topic within the last minute.
    Duplicate,
}

/// Why a topic was not joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The node takes part in as many topics as it may.
    #[error("{limit} topics are joined already")]
    TooManyTopics {
        /// `gossip_topics`.
        limit: usize,
    },
    /// The network has been shut down.
    #[error("the network is shut down")]
    ShutDown,
}

impl JoinError {
    /// The stable word for API, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooManyTopics { .. } => "too_many_topics",
            Self::ShutDown => "shut_down",
        }
    }
}

/// Why a message was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The topic was not joined.
    #[error("the topic is not joined")]
    NotJoined,
    /// The payload is over the limit.
    #[error("{size} bytes, {limit} allowed")]
    TooLarge {
        /// Of the payload.
        size: usize,
        /// `gossip_message_bytes`.
        limit: usize,
    },
    /// The network has been shut down.
    #[error("the network is shut down")]
    ShutDown,
}

impl PublishError {
    /// The stable word for API, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotJoined => "topic_not_joined",
            Self::TooLarge { .. } => "gossip_too_large",
            Self::ShutDown => "shut_down",
        }
    }
}

/// Who takes part in a topic, as far as this node sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicPeers {
    /// Connected nodes that have joined it.
    pub joined: usize,
    /// Those of them with which messages are exchanged at once.
    pub mesh: usize,
}

/// gossipsub, with the settings of the design, section 7.
pub(crate) fn gossipsub(limits: &NetLimits) -> Result<Gossipsub, NetError> {
    let failed = |message: String| NetError::Transport(format!("gossip: {message}"));
    let mut gossip = Gossipsub::new_with_subscription_filter(
        MessageAuthenticity::Anonymous,
        config(limits).map_err(|error| failed(error.to_string()))?,
        MaxCountSubscriptionFilter {
            filter: TopicFilter,
            // No home may have more, so none may say more.
            max_subscribed_topics: GOSSIP_TOPICS_MAX,
            max_subscriptions_per_request: GOSSIP_TOPICS_MAX,
        },
    )
    .map_err(|error| failed(error.to_owned()))?;
    gossip.with_peer_score(score(), thresholds()).map_err(failed)?;
    Ok(gossip)
}

fn config(limits: &NetLimits) -> Result<Config, gossipsub::ConfigBuilderError> {
    ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        // Nothing is passed on before the server has said so.
        .validate_messages()
        .message_id_fn(message_id)
        // To the mesh, not to everybody: that is what gossip is for.
        .flood_publish(false)
        .mesh_n(MESH)
        .mesh_n_low(MESH_LEAST)
        .mesh_n_high(MESH_MOST)
        .mesh_outbound_min(MESH_DIALLED)
        .gossip_lazy(MESH)
        .max_transmit_size(limits.gossip_message_bytes + FRAME_SLACK_BYTES)
        .max_control_message_size(CONTROL_BYTES)
        .max_control_messages_sent(IDS_AT_ONCE)
        .max_publish_messages(MESSAGES_A_FRAME)
        .connection_handler_queue_len(limits.gossip_queue_messages)
        .publish_queue_duration(QUEUED_FOR)
        .forward_queue_duration(QUEUED_FOR)
        .history_length(KEPT_HEARTBEATS)
        .history_gossip(ADVERTISED_HEARTBEATS)
        .heartbeat_initial_delay(FIRST_HEARTBEAT)
        .build()
}

/// No topic has parameters of its own: libp2p never forgets those, nor each peer's counters of each topic, and our
/// topics change daily. What they would tell, [`FAULT`]s do. Addresses do not count: many homes may live at one
/// hoster's, and each was admitted by name.
fn score() -> PeerScoreParams {
    PeerScoreParams {
        app_specific_weight: 1.0,
        ip_colocation_factor_weight: 0.0,
        // Grafting during a back-off and advertising what is then not given. An honest peer does the latter now and
        // then, under load; squared above six.
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: score_parameter_decay(Duration::from_secs(600)),
        // Whoever does not take what it is sent leaves the meshes until it does.
        slow_peer_threshold: 10.0,
        retain_score: Duration::from_secs(600),
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: GOSSIP_THRESHOLD,
        publish_threshold: PUBLISH_THRESHOLD,
        graylist_threshold: GRAYLIST_THRESHOLD,
        // Addresses of peers come from home records, never from gossip.
        accept_px_threshold: f64::MAX,
        // Nobody has a score above nought, so there is none to look for.
        opportunistic_graft_threshold: 0.0,
    }
}

/// BLAKE3 over the topic as it is on the wire (always 64 bytes) and the payload, cut.
fn message_id(message: &Message) -> MessageId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(message.topic.as_str().as_bytes());
    hasher.update(&message.data);
    MessageId::new(&hasher.finalize().as_bytes()[..ID_BYTES])
}

/// Subscriptions of peers: only what can be a topic of ours. What we have not joined ourselves is remembered: a peer
/// says it once, and we may join later.
pub(crate) struct TopicFilter;

impl TopicSubscriptionFilter for TopicFilter {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        TopicName::parse(topic).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: u8, data: &[u8]) -> Message {
        let topic = TopicName([topic; 32]).hash();
        Message { source: None, data: data.to_vec(), sequence_number: None, topic }
    }

    #[test]
    fn a_topic_has_one_name() {
        let name = TopicName([0xab; 32]);
        assert_eq!(name.to_string(), "ab".repeat(32));
        assert_eq!(TopicName::parse(&name.hash()), Some(name));
        for other in ["AB".repeat(32), "ab".repeat(31), "ab".repeat(33), "xy".repeat(32)] {
            assert_eq!(TopicName::parse(&TopicHash::from_raw(other)), None);
        }
    }

    #[test]
    fn an_id_is_of_topic_and_payload() {
        let id = message_id(&message(1, b"a"));
        assert_eq!(id.0.len(), ID_BYTES);
        assert_eq!(id, message_id(&message(1, b"a")));
        assert_ne!(id, message_id(&message(2, b"a")));
        assert_ne!(id, message_id(&message(1, b"b")));
    }

    #[test]
    fn the_settings_are_taken() {
        let limits = NetLimits::default();
        let config = config(&limits).unwrap();
        assert!(config.validate_messages() && !config.flood_publish() && !config.do_px());
        assert!(matches!(config.validation_mode(), ValidationMode::Anonymous));
        assert_eq!(config.max_transmit_size(), limits.gossip_message_bytes + FRAME_SLACK_BYTES);
        score().validate().unwrap();
        thresholds().validate().unwrap();
        gossipsub(&limits).unwrap();
    }
}
