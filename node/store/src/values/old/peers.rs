//! Other homes, as older programs noted them.

use homing_core::PeerState;
use homing_wire::{Epoch, HomeId, HomeName};
use serde::{Deserialize, Serialize};

/// Before statements were kept.
#[derive(Serialize, Deserialize)]
pub(in crate::values) struct PeerStateV1 {
    home: HomeId,
    name: Option<HomeName>,
    record: Vec<u8>,
    epoch: Epoch,
    boot: u64,
    seen_at: u64,
    blocked: bool,
    reconcile: bool,
}

impl From<PeerStateV1> for PeerStateV2 {
    fn from(old: PeerStateV1) -> Self {
        let PeerStateV1 { home, name, record, epoch, boot, seen_at, blocked, reconcile } = old;
        let statements = Vec::new();
        Self { home, name, record, epoch, boot, seen_at, blocked, reconcile, statements }
    }
}

/// Before letters.
#[derive(Serialize, Deserialize)]
pub(in crate::values) struct PeerStateV2 {
    home: HomeId,
    name: Option<HomeName>,
    record: Vec<u8>,
    epoch: Epoch,
    boot: u64,
    seen_at: u64,
    blocked: bool,
    reconcile: bool,
    statements: Vec<Vec<u8>>,
}

impl From<PeerStateV2> for PeerStateV3 {
    fn from(old: PeerStateV2) -> Self {
        Self {
            home: old.home,
            name: old.name,
            record: old.record,
            epoch: old.epoch,
            boot: old.boot,
            seen_at: old.seen_at,
            blocked: old.blocked,
            reconcile: old.reconcile,
            statements: old.statements,
            letters: 0,
            letters_done: (Epoch(0), 0),
        }
    }
}

/// Before links to groups.
#[derive(Serialize, Deserialize)]
pub(in crate::values) struct PeerStateV3 {
    home: HomeId,
    name: Option<HomeName>,
    record: Vec<u8>,
    epoch: Epoch,
    boot: u64,
    seen_at: u64,
    blocked: bool,
    reconcile: bool,
    statements: Vec<Vec<u8>>,
    letters: u64,
    letters_done: (Epoch, u64),
}

impl From<PeerStateV3> for PeerState {
    fn from(old: PeerStateV3) -> Self {
        Self {
            home: old.home,
            name: old.name,
            record: old.record,
            epoch: old.epoch,
            boot: old.boot,
            seen_at: old.seen_at,
            blocked: old.blocked,
            reconcile: old.reconcile,
            statements: old.statements,
            letters: old.letters,
            letters_done: old.letters_done,
            joining: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::values::{decode, encode};

    fn hash(bytes: &[u8]) -> String {
        blake3::hash(bytes).to_hex()[..16].to_owned()
    }

    #[test]
    fn what_was_noted_of_a_home_before_statements_is_read() {
        let PeerState { home, name, record, epoch, boot, seen_at, blocked, reconcile, .. } =
            sample::peer(1);
        let old = PeerStateV1 { home, name, record, epoch, boot, seen_at, blocked, reconcile };
        let (letters, letters_done) = (0, (Epoch(0), 0));
        let (statements, joining) = (Vec::new(), Vec::new());
        let new = PeerState { statements, letters, letters_done, joining, ..sample::peer(1) };
        assert_eq!(decode::<PeerState>(&encode(&old)), Ok(new));
    }

    #[test]
    fn what_was_noted_of_a_home_before_links_to_groups_is_read() {
        let new = PeerState { joining: Vec::new(), ..sample::peer(1) };
        let peer = new.clone();
        let old = PeerStateV3 {
            home: peer.home,
            name: peer.name,
            record: peer.record,
            epoch: peer.epoch,
            boot: peer.boot,
            seen_at: peer.seen_at,
            blocked: peer.blocked,
            reconcile: peer.reconcile,
            statements: peer.statements,
            letters: peer.letters,
            letters_done: peer.letters_done,
        };
        assert_eq!(hash(&encode(&old)), "970c49fdc9bf3180", "as it was written then");
        assert_eq!(decode::<PeerState>(&encode(&old)), Ok(new));
    }
}
