//! Groups: what their calls and other homes' letters need of the hub.

use bytes::Bytes;
use homing_wire::{HomeId, Outcome};
use tracing::debug;

use super::courier::Signer;
use super::hub::Hub;

impl Hub {
    /// What signs this home's rosters, and the record that goes with them.
    pub(super) fn seal(&self) -> (Signer, Bytes) {
        (self.signer.clone(), self.gatekeeper.record.read().clone())
    }

    /// A group's owner home has answered.
    pub(super) fn settled(&self, peer: HomeId, outcome: Outcome) {
        debug!(
            peer = %self.directory.show(&peer), group = %outcome.group, refused = ?outcome.refused,
            "a change of a group is settled"
        );
    }
}
