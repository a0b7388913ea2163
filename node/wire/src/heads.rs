//! Signed heads: what an origin says it has written, so that third homes can prove it.

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use prost::Message as _;

use crate::id::{ChannelId, Epoch, Hash, HomeId, Seq};
use crate::limits;
use crate::proto::event::v1 as pb;

/// Separates these signatures from every other use of the key.
const CONTEXT: &[u8] = b"homing heads v1\0";

/// The end of one chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The conversation.
    pub channel: ChannelId,
    /// The last event.
    pub seq: Seq,
    /// Hash of its header.
    pub hash: Hash,
}

/// The ends of many chains of one origin and epoch, under one signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heads {
    /// Who wrote them.
    pub origin: HomeId,
    /// In which life.
    pub epoch: Epoch,
    /// Unix milliseconds.
    pub at: u64,
    /// One entry a channel.
    pub heads: Vec<Head>,
}

/// Why signed heads are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadsError {
    /// Not Protocol Buffers, or a field is wrong.
    #[error("heads do not parse")]
    Malformed,
    /// Over [`limits::HEADS`].
    #[error("too many heads")]
    TooMany,
    /// The key is none of the origin's.
    #[error("heads are signed by a key that is not in the home's record")]
    Key,
    /// The signature does not hold.
    #[error("heads are not signed by the key they name")]
    Signature,
}

impl HeadsError {
    /// The stable word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "heads_malformed",
            Self::TooMany => "heads_too_many",
            Self::Key => "heads_key",
            Self::Signature => "heads_signature",
        }
    }
}

impl Heads {
    /// Encodes and signs.
    pub fn sign(&self, key: &SigningKey) -> pb::SignedHeads {
        let heads: Bytes = pb::Heads {
            origin: Bytes::copy_from_slice(&self.origin.0),
            epoch: self.epoch.0,
            at: self.at,
            heads: self
                .heads
                .iter()
                .map(|h| pb::Head {
                    channel: Bytes::copy_from_slice(h.channel.as_bytes()),
                    seq: h.seq.0,
                    hash: Bytes::copy_from_slice(&h.hash.0),
                })
                .collect(),
        }
        .encode_to_vec()
        .into();
        let signature = key.sign(&[CONTEXT, &heads].concat());
        pb::SignedHeads {
            heads,
            key: Bytes::copy_from_slice(key.verifying_key().as_bytes()),
            signature: Bytes::copy_from_slice(&signature.to_bytes()),
        }
    }

    /// Checks the signature against the signing keys of a home's record. Whether `origin` is that
    /// home is for the caller to compare.
    pub fn verify(signed: &pb::SignedHeads, keys: &[[u8; 32]]) -> Result<Self, HeadsError> {
        let named: [u8; 32] = signed.key[..].try_into().map_err(|_| HeadsError::Key)?;
        if !keys.contains(&named) {
            return Err(HeadsError::Key);
        }
        let key = VerifyingKey::from_bytes(&named).map_err(|_| HeadsError::Key)?;
        let signature =
            Signature::from_slice(&signed.signature).map_err(|_| HeadsError::Signature)?;
        key.verify_strict(&[CONTEXT, &signed.heads].concat(), &signature)
            .map_err(|_| HeadsError::Signature)?;
        let raw = pb::Heads::decode(&signed.heads[..]).map_err(|_| HeadsError::Malformed)?;
        if raw.heads.len() > limits::HEADS {
            return Err(HeadsError::TooMany);
        }
        // Both are 48 bits wide wherever they are kept or sorted.
        let counter = |n: u64| n != 0 && n >> 48 == 0;
        if !counter(raw.epoch) || !raw.heads.iter().all(|h| counter(h.seq)) {
            return Err(HeadsError::Malformed);
        }
        Ok(Self {
            origin: HomeId::from_slice(&raw.origin).map_err(|_| HeadsError::Malformed)?,
            epoch: Epoch(raw.epoch),
            at: raw.at,
            heads: raw
                .heads
                .iter()
                .map(|h| {
                    Ok(Head {
                        channel: ChannelId::from_slice(&h.channel)
                            .map_err(|_| HeadsError::Malformed)?,
                        seq: Seq(h.seq),
                        hash: Hash::from_slice(&h.hash).map_err(|_| HeadsError::Malformed)?,
                    })
                })
                .collect::<Result<_, _>>()?,
        })
    }
}
