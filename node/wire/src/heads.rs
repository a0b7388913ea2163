//! Heads: the ends of chains, which their origin signs, so that whoever holds a chain can prove it to
//! anybody else: to third homes, and to the origin itself after its disk was lost.
//!
//! A signature takes twenty microseconds and its check fifty, an event two: so one signature covers the
//! root of a Merkle tree (RFC 6962, section 2.1, over BLAKE3) of all ends that one burst moves, and each
//! end takes its path along. Events need no signature of their own: a header names the hash of the one
//! before it, so an end proves everything below it ([`ProvenHead::before`]).

use bytes::Bytes;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use prost::Message as _;

use crate::event::Header;
use crate::id::{ChannelId, Epoch, Hash, HomeId, Seq};
use crate::limits;
use crate::proto::event::v1 as pb;

/// Separates these signatures from every other use of the key.
const CONTEXT: &[u8] = b"homing heads v2\0";
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// The end of one chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The conversation.
    pub channel: ChannelId,
    /// The last event.
    pub seq: Seq,
    /// Hash of its header.
    pub hash: Hash,
}

/// Signs a message with a home's signing key.
pub trait Signs {
    /// The public half.
    fn public(&self) -> [u8; 32];
    /// Ed25519 over `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

impl Signs for SigningKey {
    fn public(&self) -> [u8; 32] {
        self.verifying_key().to_bytes()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        ed25519_dalek::Signer::sign(self, message).to_bytes()
    }
}

/// Checks signatures.
pub trait Verifies {
    /// Whether `signature` is `key`'s over `message`, and `key` is one of those that may sign.
    fn verify(
        &self,
        key: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), ProofError>;
}

/// The signing keys of a home's record.
#[derive(Clone, Debug, Default)]
pub struct SigningKeys(pub Vec<[u8; 32]>);

impl Verifies for SigningKeys {
    fn verify(
        &self,
        key: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), ProofError> {
        if !self.0.contains(key) {
            return Err(ProofError::Key);
        }
        VerifyingKey::from_bytes(key)
            .map_err(|_| ProofError::Key)?
            .verify_strict(message, &Signature::from_bytes(signature))
            .map_err(|_| ProofError::Signature)
    }
}

/// Why a head is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A field is missing or not what it must be.
    #[error("proof does not parse")]
    Malformed,
    /// Over [`limits::HEADS`] heads under one signature.
    #[error("too many heads under one signature")]
    TooMany,
    /// The key is none of the origin's.
    #[error("proof is signed by a key that is not in the home's record")]
    Key,
    /// The signature does not hold.
    #[error("proof is not signed by the key it names, or not of this head")]
    Signature,
}

impl ProofError {
    /// The stable word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "proof_malformed",
            Self::TooMany => "proof_too_many",
            Self::Key => "proof_key",
            Self::Signature => "proof_signature",
        }
    }
}

/// The head of a chain, proven by its origin's signature. Made by [`Checker::check`] alone, or from another
/// by [`ProvenHead::before`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenHead {
    origin: HomeId,
    epoch: Epoch,
    head: Head,
    proof: Option<Bytes>,
}

impl ProvenHead {
    /// Whose chain.
    pub fn origin(&self) -> HomeId {
        self.origin
    }

    /// In which life.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The end itself.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The encoded [`pb::Proof`], to be kept and shown to others; `None` where this head was proven by a
    /// later one.
    pub fn proof(&self) -> Option<&Bytes> {
        self.proof.as_ref()
    }

    /// The head before this one: `header` must be this head's event. `None` where it is not, or where
    /// nothing is before it.
    pub fn before(&self, header: &[u8]) -> Option<Self> {
        if Hash::of(header) != self.head.hash {
            return None;
        }
        let header = Header::decode(header).ok()?;
        // Its origin may have signed the hash of what belongs elsewhere.
        let is_it = header.channel == self.head.channel
            && header.seq == self.head.seq
            && header.origin == self.origin
            && header.epoch == self.epoch;
        if !is_it || header.seq == Seq(1) {
            return None;
        }
        let head =
            Head { channel: self.head.channel, seq: Seq(header.seq.0 - 1), hash: header.prev };
        Some(Self { origin: self.origin, epoch: self.epoch, head, proof: None })
    }
}

/// Proves heads of one origin and epoch, in the order given: one signature for all. At most
/// [`limits::HEADS`] of them.
pub fn prove(
    origin: HomeId,
    epoch: Epoch,
    at: u64,
    heads: &[Head],
    key: &dyn Signs,
) -> Vec<pb::Proof> {
    if heads.is_empty() {
        return Vec::new();
    }
    let mut paths = vec![Vec::new(); heads.len()];
    let leaves: Vec<Hash> = heads.iter().map(leaf).collect();
    let root = root(&leaves, &mut paths);
    let count = heads.len() as u64;
    let signature = key.sign(&signed(&origin, epoch, at, count, &root));
    let (key, signature) =
        (Bytes::copy_from_slice(&key.public()), Bytes::copy_from_slice(&signature));
    paths
        .into_iter()
        .zip(0..)
        .map(|(path, index)| pb::Proof {
            at,
            leaves: count,
            index,
            path: path.iter().map(|h: &Hash| Bytes::copy_from_slice(&h.0)).collect(),
            key: key.clone(),
            signature: signature.clone(),
        })
        .collect()
}

/// A proof that was kept, encoded as [`ProvenHead::proof`] has it.
pub fn read_proof(bytes: &[u8]) -> Option<pb::Proof> {
    pb::Proof::decode(bytes).ok()
}

/// Checks proofs of one home. The proofs of a burst share one signature, which is checked once.
#[derive(Debug, Default)]
pub struct Checker {
    /// Hash of what was signed, of key and signature, of the last one found good.
    last: Option<blake3::Hash>,
}

impl Checker {
    /// Whether `proof` is of `head`, by a key that `keys` lets sign.
    pub fn check(
        &mut self,
        origin: HomeId,
        epoch: Epoch,
        head: Head,
        proof: &pb::Proof,
        keys: &dyn Verifies,
    ) -> Result<ProvenHead, ProofError> {
        let key: [u8; 32] = proof.key[..].try_into().map_err(|_| ProofError::Malformed)?;
        let signature: [u8; 64] =
            proof.signature[..].try_into().map_err(|_| ProofError::Malformed)?;
        if proof.leaves > limits::HEADS as u64 {
            return Err(ProofError::TooMany);
        }
        // Both are 48 bits wide wherever they are kept or sorted.
        let counter = |n: u64| n != 0 && n >> 48 == 0;
        if !counter(epoch.0) || !counter(head.seq.0) {
            return Err(ProofError::Malformed);
        }
        let root = climb(proof, leaf(&head))?;
        let message = signed(&origin, epoch, proof.at, proof.leaves, &root);
        let named =
            blake3::Hasher::new().update(&message).update(&key).update(&signature).finalize();
        if self.last != Some(named) {
            keys.verify(&key, &message, &signature)?;
            self.last = Some(named);
        }
        Ok(ProvenHead { origin, epoch, head, proof: Some(proof.encode_to_vec().into()) })
    }
}

fn leaf(head: &Head) -> Hash {
    let mut bytes = [LEAF; 1 + 16 + 8 + 32];
    bytes[1..17].copy_from_slice(head.channel.as_bytes());
    bytes[17..25].copy_from_slice(&head.seq.0.to_be_bytes());
    bytes[25..].copy_from_slice(&head.hash.0);
    Hash::of(&bytes)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [NODE; 1 + 32 + 32];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Hash::of(&bytes)
}

/// The root over `leaves` (RFC 6962, section 2.1); each leaf's siblings go to its path.
fn root(leaves: &[Hash], paths: &mut [Vec<Hash>]) -> Hash {
    match leaves {
        [] => Hash::NONE,
        [only] => *only,
        more => {
            // The greatest power of two below the number of leaves.
            let half = more.len().next_power_of_two() / 2;
            let (left, right) = more.split_at(half);
            let (left_paths, right_paths) = paths.split_at_mut(half);
            let (left, right) = (root(left, left_paths), root(right, right_paths));
            left_paths.iter_mut().for_each(|path| path.push(right));
            right_paths.iter_mut().for_each(|path| path.push(left));
            node(&left, &right)
        }
    }
}

/// From a leaf to the root (RFC 9162, section 2.1.3.2).
fn climb(proof: &pb::Proof, leaf: Hash) -> Result<Hash, ProofError> {
    if proof.index >= proof.leaves {
        return Err(ProofError::Malformed);
    }
    let (mut at, mut end, mut hash) = (proof.index, proof.leaves - 1, leaf);
    for sibling in &proof.path {
        let sibling = Hash::from_slice(sibling).map_err(|_| ProofError::Malformed)?;
        if end == 0 {
            return Err(ProofError::Malformed);
        }
        if at % 2 == 1 || at == end {
            hash = node(&sibling, &hash);
            while at % 2 == 0 && at != 0 {
                at >>= 1;
                end >>= 1;
            }
        } else {
            hash = node(&hash, &sibling);
        }
        at >>= 1;
        end >>= 1;
    }
    if end == 0 { Ok(hash) } else { Err(ProofError::Malformed) }
}

fn signed(origin: &HomeId, epoch: Epoch, at: u64, leaves: u64, root: &Hash) -> Vec<u8> {
    let mut message = Vec::with_capacity(CONTEXT.len() + 32 + 24 + 32);
    message.extend_from_slice(CONTEXT);
    message.extend_from_slice(&origin.0);
    for number in [epoch.0, at, leaves] {
        message.extend_from_slice(&number.to_be_bytes());
    }
    message.extend_from_slice(&root.0);
    message
}
