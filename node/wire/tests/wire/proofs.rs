//! Proofs of heads: all of a burst are believed under one signature, and nothing that was changed is.

use std::cell::RefCell;

use bytes::Bytes;
use ed25519_dalek::{SigningKey, VerifyingKey};
use homing_wire::proto::event::v1::Proof;
use homing_wire::{
    ChannelId, Checker, Epoch, Event, Hash, Head, Header, HomeId, Kind, MessageId, ProofError,
    ProvenHead, Seq, SigningKeys, Signs, Stamp, Verifies, limits, prove,
};
use proptest::prelude::*;
use prost::Message as _;
use uuid::Uuid;

use crate::signed::{damaged, key, public, record};

const ORIGIN: HomeId = HomeId([9; 32]);
const EPOCH: Epoch = Epoch(5);
const AT: u64 = 1_767_225_600_000;
/// 48 bits, the most that a counter may have.
const COUNTER_MAX: u64 = (1 << 48) - 1;

fn head(n: u64) -> Head {
    Head {
        channel: ChannelId(Uuid::from_u128(u128::from(n) + 1)),
        seq: Seq(n * n + 1),
        hash: Hash::of(&n.to_be_bytes()),
    }
}

fn heads(count: u64) -> Vec<Head> {
    (0..count).map(head).collect()
}

fn burst(count: u64, key: &SigningKey) -> (Vec<Head>, Vec<Proof>) {
    let heads = heads(count);
    let proofs = prove(ORIGIN, EPOCH, AT, &heads, key);
    (heads, proofs)
}

fn fixed_key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

/// By a checker that has seen nothing before.
fn check(head: Head, proof: &Proof, keys: &dyn Verifies) -> Result<ProvenHead, ProofError> {
    Checker::default().check(ORIGIN, EPOCH, head, proof, keys)
}

fn reason(head: Head, proof: &Proof, keys: &dyn Verifies) -> &'static str {
    check(head, proof, keys).expect_err("it is not to be believed").reason()
}

/// Counts the signatures that are checked, and keeps what was signed.
struct Counted<'a> {
    keys: &'a SigningKeys,
    messages: RefCell<Vec<Vec<u8>>>,
}

impl<'a> Counted<'a> {
    fn new(keys: &'a SigningKeys) -> Self {
        Self { keys, messages: RefCell::default() }
    }

    fn checks(&self) -> usize {
        self.messages.borrow().len()
    }

    fn last_root(&self) -> [u8; 32] {
        let messages = self.messages.borrow();
        messages.last().expect("a signature was checked")[72..].try_into().unwrap()
    }
}

impl Verifies for Counted<'_> {
    fn verify(
        &self,
        key: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), ProofError> {
        self.messages.borrow_mut().push(message.to_vec());
        self.keys.verify(key, message, signature)
    }
}

/// The tree as RFC 6962, section 2.1 defines it, word for word.
mod rfc6962 {
    use homing_wire::Head;

    type Hash = [u8; 32];

    pub(super) fn leaf(head: &Head) -> Hash {
        let seq = head.seq.0.to_be_bytes();
        hash(&[&[0], &head.channel.as_bytes()[..], &seq, &head.hash.0])
    }

    pub(super) fn node(left: &Hash, right: &Hash) -> Hash {
        hash(&[&[1], left, right])
    }

    /// MTH(D[n]).
    pub(super) fn root(heads: &[Head]) -> Hash {
        if let [only] = heads {
            return leaf(only);
        }
        let (left, right) = heads.split_at(split(heads.len()));
        node(&root(left), &root(right))
    }

    /// PATH(m, D[n]).
    pub(super) fn path(m: usize, heads: &[Head]) -> Vec<Hash> {
        if heads.len() == 1 {
            return Vec::new();
        }
        let k = split(heads.len());
        let (left, right) = heads.split_at(k);
        let (mut path, sibling) =
            if m < k { (path(m, left), root(right)) } else { (path(m - k, right), root(left)) };
        path.push(sibling);
        path
    }

    /// How long the path of leaf `m` of `n` is.
    pub(super) fn depth(m: u64, n: u64) -> usize {
        if n == 1 {
            return 0;
        }
        let k = split(n as usize) as u64;
        1 + if m < k { depth(m, k) } else { depth(m - k, n - k) }
    }

    /// "the largest power of two smaller than n"
    fn split(n: usize) -> usize {
        let mut k = 1;
        while 2 * k < n {
            k *= 2;
        }
        k
    }

    fn hash(parts: &[&[u8]]) -> Hash {
        *blake3::hash(&parts.concat()).as_bytes()
    }
}

fn bytes(hashes: &[[u8; 32]]) -> Vec<Bytes> {
    hashes.iter().map(|h| Bytes::copy_from_slice(h)).collect()
}

#[test]
fn every_head_of_a_burst_is_believed_and_the_tree_is_that_of_the_rfc() {
    let key = fixed_key();
    let keys = SigningKeys(vec![[1; 32], public(&key)]);
    for count in 1..=70 {
        let (heads, proofs) = burst(count, &key);
        let counted = Counted::new(&keys);
        let mut checker = Checker::default();
        assert_eq!(proofs.len(), heads.len());
        for (index, (head, proof)) in heads.iter().zip(&proofs).enumerate() {
            assert_eq!((proof.index, proof.leaves, proof.at), (index as u64, count, AT));
            assert_eq!(proof.path, bytes(&rfc6962::path(index, &heads)));
            let proven = checker.check(ORIGIN, EPOCH, *head, proof, &counted).unwrap();
            assert_eq!((proven.origin(), proven.epoch(), proven.head()), (ORIGIN, EPOCH, *head));
            assert_eq!(proven.proof().unwrap()[..], proof.encode_to_vec());
        }
        assert_eq!(counted.checks(), 1, "one signature check for {count}");
        let root = rfc6962::root(&heads);
        let mut message = b"homing heads v2\0".to_vec();
        message.extend([9; 32]);
        message.extend([EPOCH.0, AT, count].map(u64::to_be_bytes).concat());
        message.extend(root);
        assert_eq!(counted.messages.borrow()[0], message);
    }
    assert_eq!(prove(ORIGIN, EPOCH, AT, &[], &key), []);
}

proptest! {
    // Each case checks some thousands of damaged proofs.
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn a_damaged_proof_is_never_believed(key in key(), retired in key(), count in 1..8_u64) {
        let keys = SigningKeys(vec![public(&retired), public(&key)]);
        let (heads, proofs) = burst(count, &key);
        // One that has just seen the true one must not be easier to persuade.
        let mut knows = Checker::default();
        for (head, proof) in heads.iter().zip(&proofs) {
            prop_assert!(knows.check(ORIGIN, EPOCH, *head, proof, &keys).is_ok());
            for bytes in damaged(&proof.encode_to_vec()) {
                let Ok(proof) = Proof::decode(&bytes[..]) else { continue };
                prop_assert!(check(*head, &proof, &keys).is_err());
                prop_assert!(knows.check(ORIGIN, EPOCH, *head, &proof, &keys).is_err());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn heads_are_believed_from_the_records_keys_alone(key in key(), other in key()) {
        prop_assume!(public(&key) != public(&other));
        let (heads, mut proofs) = burst(3, &other);
        let keys = SigningKeys(vec![public(&key)]);
        prop_assert_eq!(reason(heads[0], &proofs[0], &keys), "proof_key");
        proofs[0].key = Bytes::copy_from_slice(&public(&key));
        prop_assert_eq!(reason(heads[0], &proofs[0], &keys), "proof_signature");
        // Both keys are the record's, and yet it was the other that signed.
        let both = SigningKeys(vec![public(&key), public(&other)]);
        prop_assert_eq!(reason(heads[0], &proofs[0], &both), "proof_signature");
        let (heads, proofs) = burst(3, &key);
        prop_assert!(check(heads[0], &proofs[0], &both).is_ok());
        prop_assert_eq!(reason(heads[0], &proofs[0], &SigningKeys::default()), "proof_key");
    }

    #[test]
    fn a_signature_for_one_thing_is_none_for_another(key in key()) {
        use homing_wire::proto::record::v1::SignedRecord;
        let keys = SigningKeys(vec![public(&key)]);
        let (heads, proofs) = burst(1, &key);
        let mut proof = proofs[0].clone();
        proof.signature = SignedRecord::decode(record(public(&key)).sign(&key)).unwrap().signature;
        prop_assert_eq!(reason(heads[0], &proof, &keys), "proof_signature");
        let counted = Counted::new(&keys);
        prop_assert!(check(heads[0], &proofs[0], &counted).is_ok());
        let message = counted.messages.borrow()[0].clone();
        for context in [&b"homing heads v1\0"[..], b"homing home record v1\0", b""] {
            let other = [context, &message[16..]].concat();
            proof.signature = Bytes::copy_from_slice(&Signs::sign(&key, &other));
            prop_assert_eq!(reason(heads[0], &proof, &keys), "proof_signature");
        }
    }

    #[test]
    fn no_proof_panics(
        (at, leaves, index) in any::<(u64, u64, u64)>(),
        (near_leaves, near_index) in (0..20_000_u64, 0..20_000_u64),
        path in prop::collection::vec(prop::collection::vec(any::<u8>(), 30..34), 0..70),
        bytes in prop::collection::vec(any::<u8>(), 0..256),
    ) {
        let keys = SigningKeys::default();
        let path: Vec<Bytes> = path.into_iter().map(Bytes::from).collect();
        for (leaves, index) in [(leaves, index), (near_leaves, near_index), (near_leaves, index)] {
            let (key, signature) = (vec![0; 32].into(), vec![0; 64].into());
            let proof = Proof { at, leaves, index, path: path.clone(), key, signature };
            prop_assert!(check(head(1), &proof, &keys).is_err());
        }
        if let Ok(proof) = Proof::decode(&bytes[..]) {
            prop_assert!(check(head(1), &proof, &keys).is_err());
        }
    }
}

/// What is not of this head under that signature; the tree alone can never say that it is.
#[test]
fn a_proof_of_something_else_is_not_believed() {
    let key = fixed_key();
    let keys = SigningKeys(vec![public(&key)]);
    for count in 1..=17 {
        let (heads, proofs) = burst(count, &key);
        for (index, (head, proof)) in heads.iter().zip(&proofs).enumerate() {
            for (other, stranger) in heads.iter().enumerate().filter(|(other, _)| *other != index) {
                // Its path may be shorter or longer, and yet it is judged by what the proof says.
                assert_eq!(reason(*stranger, proof, &keys), "proof_signature", "{other} {index}");
            }
            let channel = ChannelId(Uuid::from_u128(77));
            for changed in [
                Head { channel, ..*head },
                Head { seq: head.seq.next(), ..*head },
                Head { hash: Hash::of(b"another"), ..*head },
                Head { hash: Hash::NONE, ..*head },
            ] {
                assert_eq!(reason(changed, proof, &keys), "proof_signature");
            }
            let elsewhere = |origin, epoch| {
                let answer = Checker::default().check(origin, epoch, *head, proof, &keys);
                answer.expect_err("it is not to be believed").reason()
            };
            assert_eq!(elsewhere(HomeId([8; 32]), EPOCH), "proof_signature");
            assert_eq!(elsewhere(HomeId::LOCAL, EPOCH), "proof_signature");
            assert_eq!(elsewhere(ORIGIN, EPOCH.next()), "proof_signature");
            let later = Proof { at: proof.at + 1, ..proof.clone() };
            assert_eq!(reason(*head, &later, &keys), "proof_signature");
        }
    }
}

#[test]
fn a_proof_of_another_place_in_the_tree_is_not_believed() {
    let key = fixed_key();
    let keys = SigningKeys(vec![public(&key)]);
    for count in 1..=17 {
        let (heads, proofs) = burst(count, &key);
        for (head, proof) in heads.iter().zip(&proofs) {
            for index in (0..40).filter(|index| *index != proof.index) {
                let moved = Proof { index, ..proof.clone() };
                let fits = index < count && rfc6962::depth(index, count) == proof.path.len();
                let expected = if fits { "proof_signature" } else { "proof_malformed" };
                assert_eq!(reason(*head, &moved, &keys), expected, "{index} {proof:?}");
            }
            for leaves in (0..40).filter(|leaves| *leaves != count) {
                let resized = Proof { leaves, ..proof.clone() };
                let fits =
                    proof.index < leaves && rfc6962::depth(proof.index, leaves) == proof.path.len();
                let expected = if fits { "proof_signature" } else { "proof_malformed" };
                assert_eq!(reason(*head, &resized, &keys), expected, "{leaves} {proof:?}");
            }
            for (index, leaves, expected) in [
                (u64::MAX, count, "proof_malformed"),
                (proof.index, limits::HEADS as u64 + 1, "proof_too_many"),
                (proof.index, u64::MAX, "proof_too_many"),
                (u64::MAX, u64::MAX, "proof_too_many"),
            ] {
                let far = Proof { index, leaves, ..proof.clone() };
                assert_eq!(reason(*head, &far, &keys), expected);
            }
        }
    }
}

#[test]
fn a_path_is_neither_too_long_nor_too_short() {
    let key = fixed_key();
    let keys = SigningKeys(vec![public(&key)]);
    let sibling = Bytes::copy_from_slice(&[7; 32]);
    for count in 1..=17 {
        let (heads, proofs) = burst(count, &key);
        for (head, proof) in heads.iter().zip(&proofs) {
            let with = |change: &dyn Fn(&mut Vec<Bytes>)| {
                let mut changed = proof.clone();
                change(&mut changed.path);
                reason(*head, &changed, &keys)
            };
            assert_eq!(with(&|path| path.push(sibling.clone())), "proof_malformed");
            assert_eq!(with(&|path| path.insert(0, sibling.clone())), "proof_malformed");
            assert_eq!(with(&|path| path.resize(64, sibling.clone())), "proof_malformed");
            for place in 0..proof.path.len() {
                assert_eq!(with(&|path| drop(path.remove(place))), "proof_malformed");
                assert_eq!(with(&|path| path.truncate(place)), "proof_malformed");
                assert_eq!(with(&|path| path[place] = sibling.clone()), "proof_signature");
                for size in [0, 31, 33, 64] {
                    let odd = Bytes::from(vec![7; size]);
                    assert_eq!(with(&|path| path[place] = odd.clone()), "proof_malformed");
                }
            }
            if proof.path.len() > 1 {
                assert_eq!(with(&|path| path.reverse()), "proof_signature");
            }
        }
    }
}

#[test]
fn keys_and_signatures_of_another_size_and_counters_out_of_range_are_malformed() {
    let key = fixed_key();
    let keys = SigningKeys(vec![public(&key)]);
    let (heads, proofs) = burst(2, &key);
    for size in [0, 31, 33] {
        let proof = Proof { key: vec![1; size].into(), ..proofs[0].clone() };
        assert_eq!(reason(heads[0], &proof, &keys), "proof_malformed");
    }
    for size in [0, 63, 65] {
        let proof = Proof { signature: vec![1; size].into(), ..proofs[0].clone() };
        assert_eq!(reason(heads[0], &proof, &keys), "proof_malformed");
    }
    // Both are 48 bits wide wherever they are kept or sorted, whoever has signed more.
    for (epoch, seq, sound) in [
        (1, 1, true),
        (COUNTER_MAX, COUNTER_MAX, true),
        (0, 1, false),
        (1, 0, false),
        (COUNTER_MAX + 1, 1, false),
        (1, COUNTER_MAX + 1, false),
        (u64::MAX, u64::MAX, false),
    ] {
        let (head, epoch) = (Head { seq: Seq(seq), ..head(1) }, Epoch(epoch));
        let proof = prove(ORIGIN, epoch, AT, &[head], &key).remove(0);
        let answer = Checker::default().check(ORIGIN, epoch, head, &proof, &keys);
        let expected = if sound { Ok(head) } else { Err("proof_malformed") };
        assert_eq!(answer.map(|p| p.head()).map_err(|e| e.reason()), expected, "{epoch} {seq}");
    }
}

/// A record may name what is no key, or one under which anybody can sign anything.
#[test]
fn a_key_that_is_none_proves_nothing() {
    let (heads, proofs) = burst(2, &fixed_key());
    let no_point = (0..=255)
        .map(|n| [n; 32])
        .find(|bytes| VerifyingKey::from_bytes(bytes).is_err())
        .expect("half of all texts are no points");
    let proof = Proof { key: Bytes::copy_from_slice(&no_point), ..proofs[0].clone() };
    assert_eq!(reason(heads[0], &proof, &SigningKeys(vec![no_point])), "proof_key");
    // The neutral point, under which R neutral and S zero hold over every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let signature = [&neutral[..], &[0; 32]].concat().into();
    let proof = Proof { key: Bytes::copy_from_slice(&neutral), signature, ..proofs[0].clone() };
    assert_eq!(reason(heads[0], &proof, &SigningKeys(vec![neutral])), "proof_signature");
}

#[test]
fn the_number_of_heads_under_one_signature_is_bounded() {
    let key = fixed_key();
    let keys = SigningKeys(vec![public(&key)]);
    let (heads, proofs) = burst(limits::HEADS as u64, &key);
    let counted = Counted::new(&keys);
    let mut checker = Checker::default();
    for (head, proof) in heads.iter().zip(&proofs) {
        assert_eq!(proof.path.len(), 13);
        assert!(checker.check(ORIGIN, EPOCH, *head, proof, &counted).is_ok());
    }
    assert_eq!(counted.checks(), 1);
    let (heads, proofs) = burst(limits::HEADS as u64 + 1, &key);
    for place in [0, limits::HEADS] {
        assert_eq!(reason(heads[place], &proofs[place], &keys), "proof_too_many");
    }
}

#[test]
fn the_signature_of_a_burst_is_checked_once() {
    let key = fixed_key();
    let keys = SigningKeys(vec![public(&key)]);
    let counted = Counted::new(&keys);
    let mut checker = Checker::default();
    let (heads, proofs) = burst(9, &key);
    let mut check = |head: Head, proof: &Proof| {
        checker.check(ORIGIN, EPOCH, head, proof, &counted).map(|_| counted.checks())
    };
    assert_eq!(check(heads[4], &proofs[4]), Ok(1));
    assert_eq!(check(heads[0], &proofs[0]), Ok(1));
    // What does not come to the same root is asked about, each time anew, and forgets nothing.
    assert_eq!(check(heads[1], &proofs[2]), Err(ProofError::Signature));
    assert_eq!(check(heads[1], &proofs[2]), Err(ProofError::Signature));
    assert_eq!(check(heads[8], &proofs[8]), Ok(3));
    // The same root under another signature, key or time is another thing.
    let mut other = proofs[3].clone();
    other.signature = proofs[3].signature.iter().rev().copied().collect();
    assert_eq!(check(heads[3], &other), Err(ProofError::Signature));
    let unknown = Proof { key: Bytes::copy_from_slice(&[5; 32]), ..proofs[3].clone() };
    assert_eq!(check(heads[3], &unknown), Err(ProofError::Key));
    assert_eq!(check(heads[3], &proofs[3]), Ok(5));
    let next = prove(ORIGIN, EPOCH, AT + 1, &heads, &key);
    assert_eq!(check(heads[0], &next[0]), Ok(6));
    assert_eq!(check(heads[7], &next[7]), Ok(6));
}

/// A signature that is always good shows what the path comes to: never to the root by another way.
#[test]
fn an_inner_node_is_never_a_leaf() {
    struct Anything;
    impl Verifies for Anything {
        fn verify(&self, _: &[u8; 32], _: &[u8], _: &[u8; 64]) -> Result<(), ProofError> {
            Ok(())
        }
    }
    let key = fixed_key();
    let keys = SigningKeys(vec![public(&key)]);
    let (heads, proofs) = burst(8, &key);
    let root = rfc6962::root(&heads);
    for (index, proof) in proofs.iter().enumerate() {
        // The node above this leaf, shown as a leaf of a tree that is one level lower.
        let pair = index & !1;
        let (left, right) = (rfc6962::leaf(&heads[pair]), rfc6962::leaf(&heads[pair + 1]));
        let lower = Proof {
            leaves: 4,
            index: proof.index / 2,
            path: proof.path[1..].to_vec(),
            ..proof.clone()
        };
        let channel = ChannelId(Uuid::from_slice(&left[..16]).unwrap());
        let seq = Seq(u64::from_be_bytes(left[16..24].try_into().unwrap()) & COUNTER_MAX);
        for hash in [left, right, rfc6962::node(&left, &right)].map(Hash) {
            let posing = Head { channel, seq, hash };
            assert!(check(posing, &lower, &Anything).is_ok(), "the shape itself is sound");
            let counted = Counted::new(&keys);
            assert_eq!(reason(posing, &lower, &counted), "proof_signature");
            assert_ne!(counted.last_root(), root);
        }
        // And the other way round: a leaf is not hashed as a node is.
        assert_ne!(rfc6962::leaf(&heads[index]), unprefixed(&heads[index]));
        let counted = Counted::new(&keys);
        assert!(check(heads[index], proof, &counted).is_ok());
        assert_eq!(counted.last_root(), root);
    }
}

/// A leaf without the byte that tells it from a node.
fn unprefixed(head: &Head) -> [u8; 32] {
    let parts = [&head.channel.as_bytes()[..], &head.seq.0.to_be_bytes(), &head.hash.0];
    Hash::of(&parts.concat()).0
}

/// The events of a chain, all in one channel.
fn chain(length: u64, channel: ChannelId, origin: HomeId, epoch: Epoch) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for seq in 1..=length {
        let body = Bytes::from(format!(r#"{{"type":"text","text":"{seq}"}}"#));
        let header = Header {
            channel,
            origin,
            epoch,
            seq: Seq(seq),
            prev: events.last().map_or(Hash::NONE, Event::hash),
            stamp: Stamp::from_ms(AT + seq),
            sender: "alice".parse().unwrap(),
            id: MessageId(Uuid::from_u128(u128::from(seq))),
            kind: Kind::Text,
            target: None,
            mentions: Vec::new(),
            media: Vec::new(),
            roster: 0,
            body_size: body.len() as u32,
            body_hash: Hash::of(&body),
        };
        events.push(Event::new(header, body));
    }
    events
}

fn head_of(event: &Event) -> Head {
    let header = &event.header;
    Head { channel: header.channel, seq: header.seq, hash: event.hash() }
}

fn proven(head: Head, key: &SigningKey) -> ProvenHead {
    let proof = prove(ORIGIN, EPOCH, AT, &[head], key).remove(0);
    check(head, &proof, &SigningKeys(vec![public(key)])).unwrap()
}

#[test]
fn an_end_proves_all_that_is_below_it() {
    let channel = head(1).channel;
    let events = chain(40, channel, ORIGIN, EPOCH);
    let mut at = proven(head_of(&events[39]), &fixed_key());
    for (event, below) in events.iter().skip(1).zip(&events).rev() {
        assert_eq!(at.head(), head_of(event));
        at = at.before(&event.header_bytes).expect("this is its event");
        assert_eq!((at.origin(), at.epoch(), at.head()), (ORIGIN, EPOCH, head_of(below)));
        assert_eq!(at.proof(), None, "a later one proves it");
    }
    assert_eq!(at.head().seq, Seq(1));
    assert_eq!(at.before(&events[0].header_bytes), None, "nothing is before the first");
}

#[test]
fn a_header_that_is_not_the_heads_leads_nowhere() {
    let key = fixed_key();
    let channel = head(1).channel;
    let events = chain(6, channel, ORIGIN, EPOCH);
    let end = proven(head_of(&events[4]), &key);
    for (place, event) in events.iter().enumerate() {
        assert_eq!(end.before(&event.header_bytes).is_some(), place == 4);
    }
    assert_eq!(end.before(&[]), None);
    assert_eq!(end.before(&events[4].body), None);
    for bytes in damaged(&events[4].header_bytes) {
        assert_eq!(end.before(&bytes), None);
    }
    // A field of a later version is part of what was hashed.
    let mut longer = events[4].header_bytes.to_vec();
    prost::encoding::bytes::encode(100, &vec![1], &mut longer);
    assert_eq!(end.before(&longer), None);
    let signed = Head { hash: Hash::of(&longer), ..end.head() };
    assert_eq!(proven(signed, &key).before(&longer).unwrap().head(), head_of(&events[3]));
    // An origin that signs what is no header of the chain cannot be followed below it.
    let nonsense = b"no header";
    let signed = Head { hash: Hash::of(nonsense), ..end.head() };
    assert_eq!(proven(signed, &key).before(nonsense), None);
    for strange in [
        chain(5, head(2).channel, ORIGIN, EPOCH).remove(4),
        chain(5, channel, HomeId([8; 32]), EPOCH).remove(4),
        chain(5, channel, ORIGIN, EPOCH.next()).remove(4),
        chain(6, channel, ORIGIN, EPOCH).remove(5),
        chain(4, channel, ORIGIN, EPOCH).remove(3),
    ] {
        let signed = Head { hash: strange.hash(), ..end.head() };
        assert_eq!(proven(signed, &key).before(&strange.header_bytes), None, "{strange:?}");
    }
}

/// Signs nothing: what is asked of a signer is told apart from what it answers.
struct Deaf(RefCell<usize>);

impl Signs for Deaf {
    fn public(&self) -> [u8; 32] {
        [1; 32]
    }

    fn sign(&self, _: &[u8]) -> [u8; 64] {
        *self.0.borrow_mut() += 1;
        [2; 64]
    }
}

#[test]
fn a_burst_is_signed_once() {
    let deaf = Deaf(RefCell::new(0));
    let proofs = prove(ORIGIN, EPOCH, AT, &heads(100), &deaf);
    assert_eq!(*deaf.0.borrow(), 1);
    assert!(proofs.iter().all(|p| p.key[..] == [1; 32] && p.signature[..] == [2; 64]));
    prove(ORIGIN, EPOCH, AT, &[], &deaf);
    assert_eq!(*deaf.0.borrow(), 1, "nothing to sign");
}
