//! Statements: which start of which life of its store a node is in, signed by its home.
//!
//! Every hello carries one. What a home has seen of a node it keeps, so that a node that was started on a copy
//! of a directory, or on one that was set back, can be shown its own home's signature over a later start: no
//! home has to believe another's word, and nobody but a node's own home can make it stop.

use bytes::Bytes;
use prost::Message as _;

use crate::heads::{ProofError, Signs, Verifies};
use crate::id::Epoch;
use crate::limits;
use crate::proto::hello::v1 as pb;

/// Separates these signatures from every other use of the key.
const CONTEXT: &[u8] = b"homing statement v1\0";

/// One run of a node's process: random, new with every start.
pub type Instance = [u8; 16];

/// What a node says of itself, its signature checked, or about to be signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The life of its store.
    pub epoch: Epoch,
    /// Starts of that store.
    pub boot: u64,
    /// This run.
    pub instance: Instance,
    /// The node's libp2p peer id, as multihash bytes.
    pub peer_id: Bytes,
    /// The other run that it was asked about while it lived; `None` in a hello.
    pub answering: Option<Instance>,
}

/// Why a statement is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Over [`limits::STATEMENT_BYTES`].
    #[error("statement too large")]
    TooLarge,
    /// It does not parse, or a field is missing or not what it must be.
    #[error("statement does not parse")]
    Malformed,
    /// The key is none of the home's.
    #[error("statement is signed by a key that is not in the home's record")]
    Key,
    /// The signature does not hold.
    #[error("statement is not signed by the key it names")]
    Signature,
}

impl StatementError {
    /// The stable word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "statement_too_large",
            Self::Malformed => "statement_malformed",
            Self::Key => "statement_key",
            Self::Signature => "statement_signature",
        }
    }
}

impl Statement {
    /// Where in a store's lives it stands: starts are numbered (epoch, boot).
    pub fn start(&self) -> (Epoch, u64) {
        (self.epoch, self.boot)
    }

    /// Encodes and signs; the answer is a `homing.hello.v1.SignedStatement`.
    pub fn sign(&self, key: &dyn Signs) -> Bytes {
        let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let statement: Bytes = pb::Statement {
            epoch: self.epoch.0,
            boot: self.boot,
            instance: copy(&self.instance),
            peer_id: self.peer_id.clone(),
            answering: self.answering.as_ref().map_or_else(Bytes::new, |i| copy(i)),
        }
        .encode_to_vec()
        .into();
        let signature = key.sign(&[CONTEXT, &statement].concat());
        pb::SignedStatement { statement, key: copy(&key.public()), signature: copy(&signature) }
            .encode_to_vec()
            .into()
    }

    /// Reads a `SignedStatement`: signed by a key that `keys` lets sign, every field as it must be.
    pub fn verify(bytes: &[u8], keys: &dyn Verifies) -> Result<Self, StatementError> {
        use StatementError::Malformed;
        if bytes.len() > limits::STATEMENT_BYTES {
            return Err(StatementError::TooLarge);
        }
        let signed = pb::SignedStatement::decode(bytes).map_err(|_| Malformed)?;
        let raw = pb::Statement::decode(&signed.statement[..]).map_err(|_| Malformed)?;
        let key: [u8; 32] = signed.key[..].try_into().map_err(|_| Malformed)?;
        let signature: [u8; 64] = signed.signature[..].try_into().map_err(|_| Malformed)?;
        // Both are 48 bits wide wherever they are kept or sorted.
        let counter = |n: u64| n != 0 && n >> 48 == 0;
        if !counter(raw.epoch) || !counter(raw.boot) {
            return Err(Malformed);
        }
        if raw.peer_id.is_empty() || raw.peer_id.len() > limits::PEER_ID_BYTES {
            return Err(Malformed);
        }
        let instance = |bytes: &[u8]| Instance::try_from(bytes).map_err(|_| Malformed);
        let answering = match &raw.answering[..] {
            [] => None,
            bytes => Some(instance(bytes)?),
        };
        let statement = Self {
            epoch: Epoch(raw.epoch),
            boot: raw.boot,
            instance: instance(&raw.instance)?,
            peer_id: raw.peer_id,
            answering,
        };
        keys.verify(&key, &[CONTEXT, &signed.statement].concat(), &signature).map_err(|error| {
            match error {
                ProofError::Key => StatementError::Key,
                ProofError::Signature | ProofError::Malformed | ProofError::TooMany => {
                    StatementError::Signature
                }
            }
        })?;
        Ok(statement)
    }
}
