//! What comes by gossip: who may have said it, and what is made of it.
//!
//! Opened, hashed and proven beside the hub, as what comes by streams is; the hub applies it as if the origin's stream
//! had brought it. Where anything is missing nothing is changed, and the stream follows. The verdict, upon which it
//! goes on to other homes, does not wait for the disk; the origin is told after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use homing_core::{PeerFault, RangeIn, RangeReply};
use homing_net::{GossipId, NetHandle, TopicName, Verdict};
use homing_wire::proto::relay::v1 as pb;
use homing_wire::{ChannelId, Checker, Epoch, HomeId, Role, Seq, SigningKeys};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::gossip::{self, Envelope, KEY_BYTES, Secret};
use super::hub::{Hub, HubError};
use super::input::{ConnectionNo, Input};
use super::metrics::NodeMetrics;
use super::receiver::{range_in, rejected_out};

/// How long what was heard is gathered before its origin is told: one frame for a burst, and well within the time for
/// which the origin waits.
pub(super) const GATHERED: Duration = Duration::from_millis(100);
/// Gossip that waits to be opened; what comes beyond is ignored, and comes by the streams. Opening 256 takes about 20 ms.
pub(super) const HEARINGS: usize = 256;

/// What a peer is told that was heard of its chains. One a stream of the peer; merged by chain.
#[derive(Default)]
pub(super) struct Heard {
    chains: Mutex<BTreeMap<(ChannelId, Epoch), Holds>>,
    pub(super) more: Notify,
}

#[derive(Default)]
struct Holds {
    upto: Seq,
    rejected: Vec<(Seq, &'static str)>,
}

impl Heard {
    /// Everything of a chain up to there is on disk.
    fn put(&self, channel: ChannelId, epoch: Epoch, reply: &RangeReply) {
        let mut chains = self.chains.lock();
        let holds = chains.entry((channel, epoch)).or_default();
        holds.upto = holds.upto.max(reply.have);
        holds.rejected.extend(reply.rejected.iter().copied());
        self.more.notify_one();
    }

    /// The peer is told by an answer to its stream: nothing less may follow, for that would ask it to go back.
    pub(super) fn answered(&self, channel: ChannelId, epoch: Epoch, have: Seq) {
        if let Some(holds) = self.chains.lock().get_mut(&(channel, epoch)) {
            holds.upto = holds.upto.max(have);
        }
    }

    /// What there is to tell.
    pub(super) fn take(&self) -> Vec<pb::Have> {
        let chains = std::mem::take(&mut *self.chains.lock());
        let have = |((channel, epoch), holds): ((ChannelId, Epoch), Holds)| pb::Have {
            channel: Bytes::copy_from_slice(channel.as_bytes()),
            epoch: epoch.0,
            seq: holds.upto.0,
            rejected: rejected_out(holds.rejected),
            need_roster: false,
        };
        chains.into_iter().map(have).collect()
    }
}

/// A message that is to be opened.
pub(super) struct Hearing {
    envelope: Envelope,
    secret: Secret,
    group: ChannelId,
    topic: TopicName,
    connection: ConnectionNo,
    keys: SigningKeys,
    message: GossipId,
}

/// Opens messages, one after the other.
pub(super) async fn hear(
    mut hearings: mpsc::Receiver<Hearing>,
    hub: mpsc::Sender<Input>,
    net: NetHandle,
    metrics: Arc<NodeMetrics>,
) {
    while let Some(hearing) = hearings.recv().await {
        let origin = hearing.envelope.origin;
        let Hearing { envelope, secret, group, topic, keys, .. } = &hearing;
        match open(envelope, *topic, secret, *group, keys) {
            Ok(range) => {
                let Hearing { connection, message, .. } = hearing;
                let input = Input::Heard { origin, connection, range: Box::new(range), message };
                if hub.send(input).await.is_err() {
                    return;
                }
            }
            Err(reason) => {
                metrics.gossip_ignored(reason);
                // A record may be newer elsewhere. All else whoever passed it on could have seen.
                let unsure = reason == "proof_key";
                let verdict = if unsure { Verdict::Ignore } else { Verdict::Reject };
                net.judge(hearing.message, verdict).await;
            }
        }
    }
}

/// The range that is in an envelope, of that group and proven by its origin; why there is none, if not.
fn open(
    envelope: &Envelope,
    topic: TopicName,
    secret: &Secret,
    group: ChannelId,
    keys: &SigningKeys,
) -> Result<RangeIn, &'static str> {
    let range = envelope.open(topic, secret)?;
    if ChannelId::from_slice(&range.channel).ok() != Some(group) {
        return Err("another_group");
    }
    let range = range_in(envelope.origin, keys, &mut Checker::default(), group, range)?;
    if range.end.is_none() { Err("unproven") } else { Ok(range) }
}

impl Hub {
    /// A message has come, from whomever.
    pub(super) fn gossip_came(&mut self, topic: TopicName, payload: Bytes, message: GossipId) {
        let Some((reason, verdict, message)) = self.opened_beside(topic, payload, message) else {
            return;
        };
        self.metrics.gossip_ignored(reason);
        self.judge(message, verdict);
    }

    /// Gives a message to be opened, or says why not.
    fn opened_beside(
        &mut self,
        topic: TopicName,
        payload: Bytes,
        message: GossipId,
    ) -> Option<(&'static str, Verdict, GossipId)> {
        let ignore = Verdict::Ignore;
        let Some(group) = self.gossip.topics.get(&topic).copied() else {
            return Some(("topic_left", ignore, message));
        };
        let Some(envelope) = Envelope::read(payload) else {
            return Some(("no_envelope", Verdict::Reject, message));
        };
        let origin = envelope.origin;
        if origin == self.home.id() {
            return Some(("own", ignore, message));
        }
        let connected = self.connected(&origin).is_some();
        let (Some(connection), Some(keys), true) =
            (self.connections.get(&origin), self.peer_keys.get(&origin), connected)
        else {
            return Some(("origin_away", ignore, message));
        };
        if self.gatekeeper.blocked.read().contains(&origin) {
            return Some(("origin_blocked", ignore, message));
        }
        let Some(secret) = self.gossip.keyring.find(&origin, group, envelope.key) else {
            return Some(("unknown_key", ignore, message));
        };
        let (connection, keys, secret) = (*connection, keys.clone(), secret.clone());
        let hearing = Hearing { envelope, secret, group, topic, connection, keys, message };
        match self.gossip.hearings.try_send(hearing) {
            Ok(()) => None,
            Err(full) => Some(("busy", ignore, full.into_inner().message)),
        }
    }

    /// A message was opened and its end is proven.
    pub(super) fn heard(
        &mut self,
        origin: HomeId,
        range: &RangeIn,
        message: GossipId,
    ) -> Result<(), HubError> {
        let last = range.events.last().and_then(|event| event.as_ref().ok());
        let last = last.map_or(Seq(0), |event| event.header.seq);
        let verdict = match self.range_came(origin, range)? {
            Ok(reply) => {
                let need_roster = reply.need_roster.then_some("need_roster");
                let gap = (reply.have < last).then_some("gap");
                let not_taken = reply.refused.or(need_roster).or(reply.held_back).or(gap);
                if let Some(reason) = not_taken {
                    self.metrics.gossip_ignored(reason);
                }
                if !reply.rejected.is_empty() {
                    self.metrics.not_taken(&reply);
                }
                self.metrics.gossip_events_in.fetch_add(reply.applied as u64, Ordering::Relaxed);
                if (reply.applied > 0 || !reply.rejected.is_empty())
                    && let Some(heard) = self.gossip.heard.get(&origin).cloned()
                {
                    let (channel, epoch) = (range.channel, range.epoch);
                    self.reply(move || heard.put(channel, epoch, &reply));
                }
                if not_taken.is_some() { Verdict::Ignore } else { Verdict::Accept }
            }
            Err(PeerFault(reason)) => {
                self.metrics.gossip_ignored(reason);
                // Those depend on what is held here, which whoever passed it on does not know.
                match reason {
                    "equivocation" | "not_a_member" | "too_many_lives" => Verdict::Ignore,
                    _ => Verdict::Reject,
                }
            }
        };
        self.judge(message, verdict);
        Ok(())
    }

    fn judge(&self, message: GossipId, verdict: Verdict) {
        let net = self.net.clone();
        self.runtime.spawn(async move { net.judge(message, verdict).await });
    }

    /// A peer has dealt a key. Of a group that is not wide here, or in which either home is not, it is of no use.
    pub(super) fn key_dealt(
        &mut self,
        peer: HomeId,
        group: ChannelId,
        number: u64,
        key: [u8; KEY_BYTES],
    ) -> Result<(), HubError> {
        if !self.is_wide(group)? || !self.gossip.has_home(group, &peer) {
            return Ok(());
        }
        let day = gossip::day_of(self.now_ms());
        if self.gossip.keyring.put(peer, group, number, Secret::new(key), day) {
            self.tune();
        }
        Ok(())
    }
}

/// Whether a role makes its home one of the group's: who is only invited gets nothing yet.
pub(super) fn takes_part(role: Role) -> bool {
    role >= Role::Member
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use homing_wire::{
        Event, Hash, Head, Header, Kind, Local, MessageId, Signs as _, Stamp, UserRef, prove,
    };
    use uuid::Uuid;

    const ACME: HomeId = HomeId([1; 32]);
    const EPOCH: Epoch = Epoch(1_000);
    const NONCE: [u8; gossip::NONCE_BYTES] = [3; gossip::NONCE_BYTES];

    fn group(n: u128) -> ChannelId {
        ChannelId(Uuid::from_u128(n))
    }

    /// A range of one event of acme, proven with that key.
    fn range(group: ChannelId, key: &SigningKey) -> pb::Range {
        let ann = UserRef::new(ACME, Local::canonical("ann").unwrap());
        let body = Bytes::from_static(br#"{"type":"text","text":"x"}"#);
        let header = Header {
            channel: group,
            origin: ACME,
            epoch: EPOCH,
            seq: Seq(1),
            prev: Hash::NONE,
            stamp: Stamp::from_ms(2_000),
            sender: ann.local.clone(),
            id: MessageId(Uuid::from_u128(5)),
            kind: Kind::Text,
            target: None,
            mentions: Vec::new(),
            media: Vec::new(),
            roster: 7,
            body_size: u32::try_from(body.len()).unwrap(),
            body_hash: Hash::of(&body),
        };
        let event = Event::new(header, body);
        let head = Head { channel: group, seq: Seq(1), hash: event.hash() };
        pb::Range {
            channel: Bytes::copy_from_slice(group.as_bytes()),
            chat: Some(pb::Chat { a: ann.to_string(), b: ann.to_string() }),
            epoch: EPOCH.0,
            first_seq: 1,
            events: vec![homing_wire::proto::event::v1::Event {
                header: event.header_bytes.clone(),
                body: event.body.clone(),
            }],
            proof: prove(ACME, EPOCH, 2_000, &[head], key).pop(),
            begins: false,
        }
    }

    /// What is made of a range that is sealed as it should be.
    fn opened(range: &pb::Range, keys: &SigningKeys) -> Result<RangeIn, &'static str> {
        let (here, secret) = (gossip::topic(group(1), 1), Secret::new([9; KEY_BYTES]));
        let sealed = gossip::seal(&ACME, here, (5, &secret), NONCE, range).unwrap();
        open(&Envelope::read(sealed).unwrap(), here, &secret, group(1), keys)
    }

    #[test]
    fn what_a_member_forges_in_anothers_name_is_seen() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let keys = SigningKeys(vec![key.public()]);
        let sound = range(group(1), &key);
        let taken = opened(&sound, &keys).unwrap();
        assert_eq!((taken.origin, taken.first, taken.events.len()), (ACME, Seq(1), 1));

        // Whoever is in the group has the key of the envelope, and can put into it what it likes.
        let forged = range(group(1), &SigningKey::from_bytes(&[2; 32]));
        assert_eq!(opened(&forged, &keys).unwrap_err(), "proof_key");
        let mut bent = sound.clone();
        bent.events[0].body = Bytes::from_static(br#"{"type":"text","text":"y"}"#);
        assert!(opened(&bent, &keys).is_err_and(|reason| reason != "proof_key"));
        let mut unproven = sound.clone();
        unproven.proof = None;
        assert_eq!(opened(&unproven, &keys).unwrap_err(), "unproven");
        assert_eq!(opened(&range(group(2), &key), &keys).unwrap_err(), "another_group");
        let empty = pb::Range { events: Vec::new(), ..sound };
        assert_eq!(opened(&empty, &keys).unwrap_err(), "unproven");
    }

    #[test]
    fn what_was_heard_is_gathered_and_never_less_than_an_answer() {
        let (heard, epoch) = (Heard::default(), Epoch(1));
        let reply = |have, rejected: &[(Seq, &'static str)]| RangeReply {
            have: Seq(have),
            rejected: rejected.to_vec(),
            refused: None,
            applied: 1,
            held_back: None,
            need_roster: false,
        };
        heard.put(group(1), epoch, &reply(3, &[]));
        heard.put(group(1), epoch, &reply(5, &[(Seq(4), "removed")]));
        heard.answered(group(1), epoch, Seq(9));
        heard.answered(group(2), epoch, Seq(9));
        let told = heard.take();
        assert_eq!(told.len(), 1, "what a stream brought is answered there");
        let rejected: Vec<u64> = told[0].rejected.iter().map(|r| r.seq).collect();
        assert_eq!((told[0].seq, rejected), (9, vec![4]));
        assert!(heard.take().is_empty());
    }
}
