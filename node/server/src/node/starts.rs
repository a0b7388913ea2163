//! Which start of which life other homes' nodes were seen in, and what this one is shown of its own: against
//! directories that were copied, and against disks that were set back.
//!
//! Nobody is believed but a node's own home: a start is stated and signed by it ([`Statement`]), kept by
//! whoever saw it, and shown to a node that comes with an earlier one. So no other home can make a node stop.

use std::collections::BTreeMap;

use bytes::Bytes;
use homing_core::PeerState;
use homing_net::{HelloInfo, Refusal};
use homing_wire::{Epoch, HomeId, HomeRecord, Instance, SigningKeys, Statement};
use parking_lot::RwLock;

/// The latest start that was seen of each node of each home.
#[derive(Default)]
pub(super) struct SeenStarts(RwLock<BTreeMap<(HomeId, Bytes), Seen>>);

struct Seen {
    start: (Epoch, u64),
    instance: Instance,
    signed: Bytes,
}

impl SeenStarts {
    /// As the disk has them.
    pub(super) fn load(peers: &[PeerState]) -> Self {
        let mut seen = BTreeMap::new();
        for peer in peers {
            let Ok(record) = HomeRecord::verify(&peer.record) else { continue };
            let keys = SigningKeys(record.signing_keys);
            for signed in &peer.statements {
                // One whose key was replaced since proves nothing any more.
                let Ok(said) = Statement::verify(signed, &keys) else { continue };
                let (start, instance) = (said.start(), said.instance);
                let signed = Bytes::copy_from_slice(signed);
                seen.insert((peer.home, said.peer_id), Seen { start, instance, signed });
            }
        }
        Self(RwLock::new(seen))
    }

    /// Whether a node comes with its latest start; if not, what its own home has signed shows it.
    pub(super) fn judge(&self, home: HomeId, hello: &HelloInfo) -> Result<(), Refusal> {
        let seen = self.0.read();
        let Some(kept) = seen.get(&(home, hello.peer_id.clone())) else { return Ok(()) };
        let start = (hello.epoch, hello.boot);
        if start > kept.start || (start == kept.start && hello.instance == kept.instance) {
            return Ok(());
        }
        let message = format!(
            "this home has seen start {} of life {} of this node; this is start {} of life {}",
            kept.start.1, kept.start.0, hello.boot, hello.epoch
        );
        Err(Refusal::new("rolled_back", message).with_evidence(kept.signed.clone()))
    }

    /// Notes a start. Answers with all that are kept of the home's nodes, for the disk: of those alone that are in its
    /// record.
    pub(super) fn note(
        &self,
        home: HomeId,
        record: &HomeRecord,
        hello: &HelloInfo,
    ) -> Vec<Vec<u8>> {
        let mut seen = self.0.write();
        let start = (hello.epoch, hello.boot);
        let (instance, signed) = (hello.instance, hello.statement.clone());
        seen.insert((home, hello.peer_id.clone()), Seen { start, instance, signed });
        let is_node = |peer: &Bytes| record.nodes.iter().any(|node| node.peer_id == *peer);
        seen.retain(|(of, peer), _| *of != home || is_node(peer));
        let of_home = seen.iter().filter(|((of, _), _)| *of == home);
        of_home.map(|(_, kept)| kept.signed.to_vec()).collect()
    }
}

/// What this node's own home has signed, and this node cannot have been.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Superseded {
    /// Another run answered while this one said hello: both are on copies of one directory.
    Cloned,
    /// There was a later start, or another of the same number, than this one.
    RolledBack(Epoch, u64),
}

/// Whether a refusal shows this node that it must stop; `Err`: it shows nothing, whoever sent it lies or is mistaken.
pub(super) fn superseded(
    own: &Statement,
    keys: &SigningKeys,
    evidence: &[u8],
) -> Result<Superseded, &'static str> {
    let said = Statement::verify(evidence, keys).map_err(|error| error.reason())?;
    if said.peer_id != own.peer_id {
        return Err("statement_of_another_node");
    }
    if said.instance == own.instance {
        return Err("statement_of_this_run");
    }
    if said.answering == Some(own.instance) && said.epoch == own.epoch {
        return Ok(Superseded::Cloned);
    }
    if said.start() >= own.start() {
        return Ok(Superseded::RolledBack(said.epoch, said.boot));
    }
    // It states an earlier start: a peer that takes that for news is behind itself.
    Err("statement_of_an_earlier_start")
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use homing_wire::Signs as _;

    use super::*;

    fn said(boot: u64, instance: u8, answering: Option<u8>) -> Statement {
        Statement {
            epoch: Epoch(7),
            boot,
            instance: [instance; 16],
            peer_id: Bytes::from_static(b"node"),
            answering: answering.map(|n| [n; 16]),
        }
    }

    #[test]
    fn only_a_later_start_that_the_home_signed_makes_a_node_stop() {
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let keys = SigningKeys(vec![key.public()]);
        let own = said(4, 1, None);
        let shown = |statement: &Statement| superseded(&own, &keys, &statement.sign(&key));
        assert_eq!(shown(&said(5, 2, None)), Ok(Superseded::RolledBack(Epoch(7), 5)));
        assert_eq!(shown(&said(4, 2, None)), Ok(Superseded::RolledBack(Epoch(7), 4)));
        assert_eq!(
            shown(&Statement { epoch: Epoch(8), ..said(1, 2, None) }),
            Ok(Superseded::RolledBack(Epoch(8), 1))
        );
        // The original has an earlier number, and lives.
        assert_eq!(shown(&said(3, 2, Some(1))), Ok(Superseded::Cloned));
        assert_eq!(shown(&said(3, 2, None)), Err("statement_of_an_earlier_start"));
        assert_eq!(shown(&said(3, 2, Some(9))), Err("statement_of_an_earlier_start"));
        assert_eq!(shown(&own), Err("statement_of_this_run"));
        let elsewhere = Statement { peer_id: Bytes::from_static(b"other"), ..said(9, 2, None) };
        assert_eq!(shown(&elsewhere), Err("statement_of_another_node"));
        let forged = said(9, 2, None).sign(&other);
        assert_eq!(superseded(&own, &keys, &forged), Err("statement_key"));
        assert_eq!(superseded(&own, &keys, b"?"), Err("statement_malformed"));
        assert!(superseded(&own, &keys, &[]).is_err());
    }
}
