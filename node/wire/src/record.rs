//! Home records: who a home is, signed by its identity key.

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use prost::Message as _;

use crate::address::HomeName;
use crate::id::{Epoch, HomeId};
use crate::limits;
use crate::proto::record::v1 as pb;

/// Separates these signatures from every other use of the key.
const CONTEXT: &[u8] = b"homing home record v1\0";

/// A running process of a home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// libp2p peer id, as multihash bytes.
    pub peer_id: Bytes,
    /// Multiaddresses, without the `/p2p` part.
    pub addresses: Vec<String>,
}

/// A home record whose signature has been checked, or one about to be signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HomeRecord {
    /// What the home calls itself: a claim until it is verified.
    pub name: HomeName,
    /// Ed25519 public key.
    pub identity: [u8; 32],
    /// Keys that sign heads, rosters and gossip for it.
    pub signing_keys: Vec<[u8; 32]>,
    /// Its processes.
    pub nodes: Vec<Node>,
    /// The life of its store.
    pub epoch: Epoch,
    /// Rises with each record of an epoch.
    pub number: u64,
    /// Protocols it speaks.
    pub protocols: Vec<String>,
    /// Unix milliseconds.
    pub issued_at: u64,
}

/// Why a record is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Over [`limits::RECORD_BYTES`].
    #[error("record too large")]
    TooLarge,
    /// Not Protocol Buffers.
    #[error("record does not parse")]
    Malformed,
    /// A field is missing or not what it must be.
    #[error("record field {0} is wrong")]
    Field(&'static str),
    /// Not signed by the identity in it.
    #[error("record is not signed by its identity")]
    Signature,
}

impl RecordError {
    /// The stable word for the API, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "record_too_large",
            Self::Malformed => "record_malformed",
            Self::Field(_) => "record_field",
            Self::Signature => "record_signature",
        }
    }
}

impl HomeRecord {
    /// The home's id.
    pub fn home_id(&self) -> HomeId {
        HomeId::of_identity(&self.identity)
    }

    /// Whether it is newer than `other` of the same home: records are numbered (epoch, number).
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.epoch, self.number) > (other.epoch, other.number)
    }

    /// Encodes and signs; the answer is a `homing.record.v1.SignedRecord`. Limits are not checked
    /// here: a home verifies its own record before it shows it to anybody.
    pub fn sign(&self, identity: &SigningKey) -> Bytes {
        let record: Bytes = pb::HomeRecord {
            name: self.name.to_string(),
            identity: Bytes::copy_from_slice(&self.identity),
            signing_keys: self.signing_keys.iter().map(|k| Bytes::copy_from_slice(k)).collect(),
            nodes: self
                .nodes
                .iter()
                .map(|n| pb::Node { peer_id: n.peer_id.clone(), addresses: n.addresses.clone() })
                .collect(),
            epoch: self.epoch.0,
            number: self.number,
            protocols: self.protocols.clone(),
            issued_at: self.issued_at,
        }
        .encode_to_vec()
        .into();
        let signature = identity.sign(&[CONTEXT, &record].concat());
        pb::SignedRecord { record, signature: Bytes::copy_from_slice(&signature.to_bytes()) }
            .encode_to_vec()
            .into()
    }

    /// Reads a `SignedRecord` and checks its signature and every field.
    pub fn verify(bytes: &[u8]) -> Result<Self, RecordError> {
        use RecordError::Field;
        if bytes.len() > limits::RECORD_BYTES {
            return Err(RecordError::TooLarge);
        }
        let signed = pb::SignedRecord::decode(bytes).map_err(|_| RecordError::Malformed)?;
        let raw = pb::HomeRecord::decode(&signed.record[..]).map_err(|_| RecordError::Malformed)?;
        let identity: [u8; 32] = raw.identity[..].try_into().map_err(|_| Field("identity"))?;
        let key = VerifyingKey::from_bytes(&identity).map_err(|_| Field("identity"))?;
        let signature =
            Signature::from_slice(&signed.signature).map_err(|_| RecordError::Signature)?;
        key.verify_strict(&[CONTEXT, &signed.record].concat(), &signature)
            .map_err(|_| RecordError::Signature)?;
        if raw.signing_keys.is_empty() || raw.signing_keys.len() > limits::RECORD_SIGNING_KEYS {
            return Err(Field("signing_keys"));
        }
        if raw.nodes.is_empty() || raw.nodes.len() > limits::RECORD_NODES {
            return Err(Field("nodes"));
        }
        if raw.epoch == 0 || raw.epoch >> 48 != 0 {
            return Err(Field("epoch"));
        }
        Ok(Self {
            name: HomeName::canonical(&raw.name).map_err(|_| Field("name"))?,
            identity,
            signing_keys: raw
                .signing_keys
                .iter()
                .map(|k| k[..].try_into().map_err(|_| Field("signing_keys")))
                .collect::<Result<_, _>>()?,
            nodes: raw
                .nodes
                .into_iter()
                .map(|n| {
                    if n.peer_id.is_empty() || n.addresses.len() > limits::NODE_ADDRESSES {
                        return Err(Field("nodes"));
                    }
                    Ok(Node { peer_id: n.peer_id, addresses: n.addresses })
                })
                .collect::<Result<_, _>>()?,
            epoch: Epoch(raw.epoch),
            number: raw.number,
            protocols: raw.protocols,
            issued_at: raw.issued_at,
        })
    }
}
