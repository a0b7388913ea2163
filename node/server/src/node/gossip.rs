//! Gossip among the homes of a wide group: topics, keys and envelopes. Pure; who tells what when is in `spread.rs`,
//! what is made of what comes in `hearing.rs`.
//!
//! **Gossip tells, streams prove.** All of this is in memory and may be lost: whoever has not said that it holds an
//! event gets it by its stream.
//!
//! **A topic** is a group's for a day. It follows from the group's id, so those who do not know that learn
//! nothing from it; whoever was a member once may listen. What it hears there is sealed.
//!
//! **A key** is one home's for one group, and lives until the homes in the group are others, the day ends or the
//! home starts anew. It is dealt over the relay streams to the homes that are in the group then: who has left gets none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use homing_net::TopicName;
use homing_wire::proto::relay::v1 as pb;
use homing_wire::{ChannelId, HomeId};
use prost::Message as _;
use zeroize::Zeroizing;

/// What topics are derived with: nothing else is derived with this.
const TOPIC_CONTEXT: &str = "homing 2026-11 gossip topic of a group for a day";
/// A day, as Unix has it.
const DAY_MS: u64 = 86_400_000;
/// Around midnight two topics are joined: clocks of homes may differ by five minutes, and meshes need some time to form.
const AROUND_MIDNIGHT_MS: u64 = 600_000;
/// Keys kept of one home and group: what is on its way when a new one comes was sealed with the one before.
const KEYS: usize = 2;
/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of a nonce: drawn at random they never meet.
pub(super) const NONCE_BYTES: usize = 24;
/// What an envelope adds to a range: origin, number, nonce, tag and their fields.
pub(super) const ENVELOPE_BYTES: usize = 128;

/// A key, gone from memory when nobody has it any more.
#[derive(Clone)]
pub(super) struct Secret(Arc<Zeroizing<[u8; KEY_BYTES]>>);

impl Secret {
    pub(super) fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// As it goes to another home.
    pub(super) fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0[..])
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&**self.0).into())
    }
}

/// Unix days.
pub(super) fn day_of(now_ms: u64) -> u64 {
    now_ms / DAY_MS
}

/// The days whose topics are joined now: today, and beside it the nearest one around midnight.
pub(super) fn days_joined(now_ms: u64) -> impl Iterator<Item = u64> {
    let today = day_of(now_ms);
    let other = if now_ms % DAY_MS < AROUND_MIDNIGHT_MS {
        today.checked_sub(1)
    } else {
        (now_ms % DAY_MS >= DAY_MS - AROUND_MIDNIGHT_MS).then_some(today + 1)
    };
    std::iter::once(today).chain(other)
}

/// A group's topic for a day.
pub(super) fn topic(group: ChannelId, day: u64) -> TopicName {
    let mut hasher = blake3::Hasher::new_derive_key(TOPIC_CONTEXT);
    hasher.update(group.as_bytes()).update(&day.to_be_bytes());
    TopicName(*hasher.finalize().as_bytes())
}

fn bound_to(origin: &HomeId, topic: TopicName) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(origin.as_bytes());
    bytes[32..].copy_from_slice(&topic.0);
    bytes
}

/// The payload of a gossip message. `None`: the cipher refuses, which it does for nothing that is not absurdly long.
pub(super) fn seal(
    origin: &HomeId,
    topic: TopicName,
    (number, secret): (u64, &Secret),
    nonce: [u8; NONCE_BYTES],
    range: &pb::Range,
) -> Option<Bytes> {
    let (msg, aad) = (range.encode_to_vec(), bound_to(origin, topic));
    let payload = Payload { msg: &msg, aad: &aad };
    let sealed = secret.cipher().encrypt(XNonce::from_slice(&nonce), payload).ok()?;
    let message = pb::GossipMessage {
        origin: Bytes::copy_from_slice(origin.as_bytes()),
        key: number,
        nonce: Bytes::copy_from_slice(&nonce),
        sealed: sealed.into(),
    };
    Some(message.encode_to_vec().into())
}

/// A gossip message that is still shut.
pub(super) struct Envelope {
    /// Whose key shuts it.
    pub(super) origin: HomeId,
    /// Which.
    pub(super) key: u64,
    nonce: [u8; NONCE_BYTES],
    sealed: Bytes,
}

impl Envelope {
    /// Reads what is written on it; `None`: no honest home passes that on.
    pub(super) fn read(payload: Bytes) -> Option<Self> {
        let message = pb::GossipMessage::decode(payload).ok()?;
        let origin = HomeId::from_slice(&message.origin).ok()?;
        let nonce = message.nonce[..].try_into().ok()?;
        Some(Self { origin, key: message.key, nonce, sealed: message.sealed })
    }

    /// Opens it; why not, if not.
    pub(super) fn open(
        &self,
        topic: TopicName,
        secret: &Secret,
    ) -> Result<pb::Range, &'static str> {
        let aad = bound_to(&self.origin, topic);
        let payload = Payload { msg: &self.sealed, aad: &aad };
        let range = secret.cipher().decrypt(XNonce::from_slice(&self.nonce), payload);
        let range = range.map_err(|_| "undecryptable")?;
        pb::Range::decode(Bytes::from(range)).map_err(|_| "no_range")
    }
}

/// A key of another home.
struct Dealt {
    number: u64,
    /// On which day it came: the next day its origin has another.
    day: u64,
    secret: Secret,
}

/// Keys of other homes, by home and group.
pub(super) struct Keyring {
    keys: BTreeMap<HomeId, BTreeMap<ChannelId, VecDeque<Dealt>>>,
    groups_per_peer: usize,
}

impl Keyring {
    /// Keeps keys of so many groups of each home.
    pub(super) fn new(groups_per_peer: usize) -> Self {
        Self { keys: BTreeMap::new(), groups_per_peer }
    }

    /// Keeps a key, and the one before it. False: the home has dealt keys of too many groups.
    pub(super) fn put(
        &mut self,
        origin: HomeId,
        group: ChannelId,
        number: u64,
        secret: Secret,
        day: u64,
    ) -> bool {
        let groups = self.keys.entry(origin).or_default();
        if groups.len() >= self.groups_per_peer && !groups.contains_key(&group) {
            return false;
        }
        let keys = groups.entry(group).or_default();
        keys.retain(|dealt| dealt.number != number);
        keys.push_back(Dealt { number, day, secret });
        if keys.len() > KEYS {
            keys.pop_front();
        }
        true
    }

    pub(super) fn find(&self, origin: &HomeId, group: ChannelId, number: u64) -> Option<&Secret> {
        let keys = self.keys.get(origin)?.get(&group)?;
        keys.iter().find(|dealt| dealt.number == number).map(|dealt| &dealt.secret)
    }

    /// Whether any home has dealt a key of the group.
    pub(super) fn knows(&self, group: ChannelId) -> bool {
        self.keys.values().any(|groups| groups.contains_key(&group))
    }

    /// Keeps what `keeps` says of a group and a home, and nothing from before yesterday.
    pub(super) fn retain(&mut self, today: u64, mut keeps: impl FnMut(ChannelId, &HomeId) -> bool) {
        self.keys.retain(|origin, groups| {
            groups.retain(|group, keys| {
                keys.retain(|dealt| dealt.day + 1 >= today);
                !keys.is_empty() && keeps(*group, origin)
            });
            !groups.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ACME: HomeId = HomeId([1; 32]);
    const GLOBEX: HomeId = HomeId([2; 32]);

    fn group(n: u128) -> ChannelId {
        ChannelId(Uuid::from_u128(n))
    }

    fn range() -> pb::Range {
        pb::Range { channel: Bytes::from_static(&[7; 16]), first_seq: 3, ..pb::Range::default() }
    }

    #[test]
    fn a_topic_is_of_one_group_and_one_day() {
        let name = topic(group(1), 20_000);
        assert_eq!(name, topic(group(1), 20_000));
        assert!(name != topic(group(2), 20_000) && name != topic(group(1), 20_001));
        // Homes of other versions have to come to the same: this one is written down.
        assert_eq!(
            topic(group(1), 20_000).to_string(),
            "487ebb838aec62b356f9aed742366bdb6026033f01141dcc474209234b1007e8"
        );
    }

    #[test]
    fn two_topics_are_joined_around_midnight() {
        let joined = |ms: u64| days_joined(20_000 * DAY_MS + ms).collect::<Vec<_>>();
        assert_eq!(joined(0), [20_000, 19_999]);
        assert_eq!(joined(AROUND_MIDNIGHT_MS - 1), [20_000, 19_999]);
        assert_eq!(joined(AROUND_MIDNIGHT_MS), [20_000]);
        assert_eq!(joined(DAY_MS / 2), [20_000]);
        assert_eq!(joined(DAY_MS - AROUND_MIDNIGHT_MS - 1), [20_000]);
        assert_eq!(joined(DAY_MS - AROUND_MIDNIGHT_MS), [20_000, 20_001]);
        assert_eq!(days_joined(0).collect::<Vec<_>>(), [0], "there is no day before the first");
    }

    #[test]
    fn an_envelope_opens_with_its_key_on_its_topic_in_its_origins_name_alone() {
        let (here, secret) = (topic(group(1), 1), Secret::new([9; KEY_BYTES]));
        let sealed = seal(&ACME, here, (5, &secret), [3; NONCE_BYTES], &range()).unwrap();
        let envelope = Envelope::read(sealed.clone()).unwrap();
        assert_eq!((envelope.origin, envelope.key), (ACME, 5));
        assert_eq!(envelope.open(here, &secret), Ok(range()));

        let shut = Err("undecryptable");
        assert_eq!(envelope.open(topic(group(1), 2), &secret), shut, "another topic");
        assert_eq!(envelope.open(here, &Secret::new([8; KEY_BYTES])), shut, "another key");
        let stolen = Envelope { origin: GLOBEX, ..Envelope::read(sealed.clone()).unwrap() };
        assert_eq!(stolen.open(here, &secret), shut, "another home's name");
        let mut bent = Envelope::read(sealed).unwrap();
        bent.nonce[0] ^= 1;
        assert_eq!(bent.open(here, &secret), shut);
    }

    #[test]
    fn an_envelope_is_as_small_as_is_promised() {
        let mut range = range();
        range.proof = Some(Default::default());
        let secret = Secret::new([9; KEY_BYTES]);
        let sealed =
            seal(&ACME, topic(group(1), 1), (u64::MAX, &secret), [3; NONCE_BYTES], &range).unwrap();
        assert!(sealed.len() <= range.encoded_len() + ENVELOPE_BYTES, "{}", sealed.len());
    }

    #[test]
    fn what_is_no_envelope_is_not_read() {
        for payload in [&b""[..], b"rubbish", &[0x0a, 0x01, 0x07]] {
            assert!(Envelope::read(Bytes::copy_from_slice(payload)).is_none(), "{payload:?}");
        }
        let secret = Secret::new([9; KEY_BYTES]);
        let here = topic(group(1), 1);
        let aad = bound_to(&ACME, here);
        let payload = Payload { msg: b"\xff\xff", aad: &aad };
        let nonce = [3; NONCE_BYTES];
        let sealed = secret.cipher().encrypt(XNonce::from_slice(&nonce), payload).unwrap().into();
        let envelope = Envelope { origin: ACME, key: 1, nonce, sealed };
        assert_eq!(envelope.open(here, &secret), Err("no_range"));
    }

    #[test]
    fn the_last_two_keys_of_a_home_and_group_are_kept() {
        let mut ring = Keyring::new(2);
        for number in 1..=3 {
            assert!(ring.put(ACME, group(1), number, Secret::new([0; KEY_BYTES]), 10));
        }
        let found: Vec<bool> =
            (1..=3).map(|number| ring.find(&ACME, group(1), number).is_some()).collect();
        assert_eq!(found, [false, true, true]);
        assert!(
            ring.find(&GLOBEX, group(1), 3).is_none() && ring.find(&ACME, group(2), 3).is_none()
        );
        // The same one again, as after a new connection, takes nobody's place.
        assert!(ring.put(ACME, group(1), 3, Secret::new([0; KEY_BYTES]), 10));
        assert!(ring.find(&ACME, group(1), 2).is_some());
    }

    #[test]
    fn keys_of_so_many_groups_of_a_home_are_kept() {
        let mut ring = Keyring::new(2);
        let mut put = |of, number| ring.put(of, group(number), 1, Secret::new([0; KEY_BYTES]), 10);
        assert!(put(ACME, 1) && put(ACME, 2));
        assert!(!put(ACME, 3));
        assert!(put(ACME, 2) && put(GLOBEX, 3), "neither what is there nor others are concerned");
    }

    #[test]
    fn keys_go_with_their_day_and_with_whom_they_are_of() {
        let mut ring = Keyring::new(8);
        for (of, n, day) in [(ACME, 1, 10), (ACME, 2, 11), (GLOBEX, 2, 11)] {
            ring.put(of, group(n), 1, Secret::new([0; KEY_BYTES]), day);
        }
        ring.retain(11, |_, _| true);
        assert!(ring.knows(group(1)), "what was sealed before midnight may still be on its way");
        ring.retain(12, |_, origin| *origin != GLOBEX);
        assert!(!ring.knows(group(1)));
        assert!(
            ring.find(&ACME, group(2), 1).is_some() && ring.find(&GLOBEX, group(2), 1).is_none()
        );
    }
}
