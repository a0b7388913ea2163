//! This home's own record: who it is, signed by its identity.

use bytes::Bytes;
use homing_wire::{Epoch, HomeRecord, Node, RecordError, frame};

use crate::config::{Config, PeerAddress};
use crate::keys::Keys;

/// A record of this home, signed and checked.
#[derive(Clone, Debug)]
pub struct SignedRecord {
    /// What it says.
    pub record: HomeRecord,
    /// As other homes get it.
    pub bytes: Bytes,
}

/// Builds and signs the record. `listening` is what the network listens on; it is announced where the
/// configuration announces nothing. `number` must rise with each record of an epoch.
///
/// The answer has been verified as another home would: what this home shows can be believed.
pub fn sign(
    config: &Config,
    keys: &Keys,
    epoch: Epoch,
    number: u64,
    issued_at_ms: u64,
    listening: &[String],
) -> Result<SignedRecord, RecordError> {
    let record = HomeRecord {
        name: config.home.name.clone(),
        identity: keys.identity().0,
        signing_keys: vec![keys.signing.verifying_key().to_bytes()],
        nodes: vec![Node {
            peer_id: keys.node.peer_id_bytes(),
            addresses: announced(&config.p2p.announce, listening),
        }],
        epoch,
        number,
        protocols: [frame::HELLO, frame::RELAY, frame::QUERY].map(str::to_owned).to_vec(),
        issued_at: issued_at_ms,
    };
    let bytes = record.sign(&keys.identity);
    let record = HomeRecord::verify(&bytes)?;
    Ok(SignedRecord { record, bytes })
}

/// What other homes may dial: what the operator announces, else whatever is listened on and names one
/// machine.
fn announced(announce: &[PeerAddress], listening: &[String]) -> Vec<String> {
    if !announce.is_empty() {
        return announce.iter().map(|a| a.as_str().to_owned()).collect();
    }
    let everywhere = |a: &&String| {
        !a.starts_with("/ip4/0.0.0.0/")
            && !a.starts_with("/ip6/::/")
            && !a.contains("/tcp/0")
            && !a.contains("/udp/0/")
    };
    listening
        .iter()
        .filter(everywhere)
        // The part that names the node is not an address; the record has it apart.
        .map(|a| a.split_once("/p2p/").map_or(a.as_str(), |(address, _)| address).to_owned())
        .take(homing_wire::limits::NODE_ADDRESSES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_this_homes_own() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::create(folder.path()).unwrap();
        let mut config = Config::default();
        let listening: Vec<String> = [
            "/ip4/0.0.0.0/tcp/7400",
            "/ip4/192.0.2.7/tcp/7400/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
            "/ip6/::/udp/7400/quic-v1",
            "/ip4/192.0.2.7/udp/0/quic-v1",
        ]
        .map(str::to_owned)
        .to_vec();
        let signed = sign(&config, &keys, Epoch(7), 3, 1_000, &listening).unwrap();
        assert_eq!(signed.record.home_id(), keys.home_id());
        assert_eq!(signed.record.nodes[0].addresses, ["/ip4/192.0.2.7/tcp/7400"]);
        assert_eq!(signed.record.nodes[0].peer_id, keys.node.peer_id_bytes());
        assert_eq!(HomeRecord::verify(&signed.bytes).unwrap(), signed.record);

        config.p2p.announce = vec!["/dns/acme.example/tcp/7400".parse().unwrap()];
        let next = sign(&config, &keys, Epoch(7), 4, 1_000, &listening).unwrap();
        assert_eq!(next.record.nodes[0].addresses, ["/dns/acme.example/tcp/7400"]);
        assert!(next.record.is_newer_than(&signed.record));
    }

    #[test]
    fn a_record_that_others_would_refuse_is_refused_here() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::create(folder.path()).unwrap();
        let error = sign(&Config::default(), &keys, Epoch(0), 1, 1, &[]).unwrap_err();
        assert_eq!(error, RecordError::Field("epoch"));
    }
}
