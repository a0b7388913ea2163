//! A node's own key on the network. The home record makes the node that holds it speak for a home.

use bytes::Bytes;
use libp2p::identity::{Keypair, ed25519};
use zeroize::{Zeroize as _, Zeroizing};

/// A node's libp2p key (Ed25519). Its peer id stands in the home record. The secret is wiped from
/// memory when it is dropped, as far as the libraries below do so.
#[derive(Clone)]
pub struct NodeKey(Keypair);

/// Why bytes are no node key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a libp2p private key in its protobuf form.
    #[error("not a libp2p private key")]
    Malformed,
    /// A key of another kind.
    #[error("not an Ed25519 key")]
    NotEd25519,
}

impl KeyError {
    /// The stable word for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "key_malformed",
            Self::NotEd25519 => "key_not_ed25519",
        }
    }
}

impl NodeKey {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Self {
        Self(Keypair::generate_ed25519())
    }

    /// The key of a 32-byte seed (RFC 8032). Wipes `seed`.
    pub fn from_seed(seed: &mut [u8; 32]) -> Result<Self, KeyError> {
        let secret =
            ed25519::SecretKey::try_from_bytes(&mut seed[..]).map_err(|_| KeyError::Malformed)?;
        seed.zeroize();
        Ok(Self(ed25519::Keypair::from(secret).into()))
    }

    /// The 32-byte seed.
    pub fn to_seed(&self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let pair = self.0.clone().try_into_ed25519().map_err(|_| KeyError::NotEd25519)?;
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(pair.secret().as_ref());
        Ok(seed)
    }

    /// From the protobuf form of libp2p (`PrivateKey`, libp2p specs, peer-ids), as files of nodes hold it.
    pub fn from_protobuf(bytes: &[u8]) -> Result<Self, KeyError> {
        let pair = Keypair::from_protobuf_encoding(bytes).map_err(|_| KeyError::Malformed)?;
        pair.clone().try_into_ed25519().map_err(|_| KeyError::NotEd25519)?;
        Ok(Self(pair))
    }

    /// The protobuf form, 68 bytes.
    pub fn to_protobuf(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.0.to_protobuf_encoding().map(Zeroizing::new).map_err(|_| KeyError::Malformed)
    }

    /// The peer id as multihash bytes: what [`homing_wire::Node::peer_id`] holds.
    pub fn peer_id_bytes(&self) -> Bytes {
        self.0.public().to_peer_id().to_bytes().into()
    }

    /// The peer id as people write it (base58).
    pub fn peer_id_text(&self) -> String {
        self.0.public().to_peer_id().to_base58()
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.0
    }
}

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeKey({})", self.peer_id_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_both_of_its_forms() {
        let key = NodeKey::generate();
        let mut seed = *key.to_seed().unwrap();
        let again = NodeKey::from_seed(&mut seed).unwrap();
        assert_eq!(seed, [0; 32], "the seed is wiped");
        assert_eq!(again.peer_id_bytes(), key.peer_id_bytes());
        let stored = key.to_protobuf().unwrap();
        assert_eq!(NodeKey::from_protobuf(&stored).unwrap().peer_id_bytes(), key.peer_id_bytes());
        assert_eq!(NodeKey::from_protobuf(&stored[..60]).unwrap_err(), KeyError::Malformed);
        assert!(!format!("{key:?}").contains(&format!("{:?}", key.to_seed().unwrap())));
    }
}
