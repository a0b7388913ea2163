//! Which homes are talked to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use homing_net::{Admission, HelloInfo, Refusal};
use homing_wire::proto::hello::v1 as pb;
use homing_wire::{Epoch, HomeId, HomeName, HomeRecord, Instance, Statement};
use parking_lot::RwLock;

use super::courier::Signer;
use super::directory::Directory;
use super::faults::Faults;
use super::starts::SeenStarts;
use crate::config::FederationMode;

/// The policy of the operator, and what this node says of itself.
pub(super) struct Gatekeeper {
    pub(super) directory: Directory,
    pub(super) own_name: HomeName,
    pub(super) mode: FederationMode,
    pub(super) denied_ids: HashSet<HomeId>,
    pub(super) denied_names: HashSet<HomeName>,
    /// Homes that the operator has blocked while running.
    pub(super) blocked: RwLock<HashSet<HomeId>>,
    /// Our signed record.
    pub(super) record: RwLock<Bytes>,
    pub(super) epoch: Epoch,
    pub(super) boot: u64,
    pub(super) instance: Instance,
    /// This node's libp2p peer id, as multihash bytes.
    pub(super) peer_id: Bytes,
    pub(super) signer: Signer,
    pub(super) starts: SeenStarts,
    pub(super) faults: Arc<Faults>,
    pub(super) now: fn() -> u64,
}

impl Gatekeeper {
    /// What this node says of itself.
    pub(super) fn said(&self, answering: Option<Instance>) -> Statement {
        Statement {
            epoch: self.epoch,
            boot: self.boot,
            instance: self.instance,
            peer_id: self.peer_id.clone(),
            answering,
        }
    }
}

impl Admission for Gatekeeper {
    fn admit(&self, record: &HomeRecord, hello: &HelloInfo) -> Result<(), Refusal> {
        let id = record.home_id();
        if id == self.directory.own() {
            return Err(if hello.instance == self.instance {
                Refusal::new("own_node", "this is the node itself")
            } else {
                Refusal::new(
                    "same_home",
                    "another node of this home runs: a copied directory must not be started beside its original",
                )
            });
        }
        if self.denied_ids.contains(&id)
            || self.denied_names.contains(&record.name)
            || self.blocked.read().contains(&id)
        {
            return Err(Refusal::new("denied", "this home does not talk to yours"));
        }
        let pinned = self.directory.name(&id);
        match self.mode {
            FederationMode::Closed => {
                return Err(Refusal::new("closed", "this home talks to no other"));
            }
            FederationMode::Allow if pinned.is_none() => {
                return Err(Refusal::new("not_pinned", "this home talks to homes it knows alone"));
            }
            FederationMode::Allow | FederationMode::Open => {}
        }
        // A name is a claim. One that somebody else holds is a lie, or a key that was changed without
        // its old one signing the new: either way the operator has to look.
        let holder = self.directory.id(&record.name);
        if record.name == self.own_name || holder.is_some_and(|holder| holder != id) {
            return Err(Refusal::new(
                "name_taken",
                format!(
                    "{} is another identity here: its operator must accept a new one",
                    record.name
                ),
            ));
        }
        if let Some(left) = self.faults.refused_for(&id, Instant::now()) {
            let after_s = left.as_secs() + 1;
            return Err(Refusal::new(
                "misbehaved",
                format!("yours did what no honest home does: come again in {after_s} s"),
            ));
        }
        self.starts.judge(id, hello)
    }

    fn own_hello(&self) -> pb::Hello {
        pb::Hello {
            record: self.record.read().clone(),
            epoch: self.epoch.0,
            boot: self.boot,
            instance: Bytes::copy_from_slice(&self.instance),
            software: concat!("homing/", env!("CARGO_PKG_VERSION")).to_owned(),
            clock: (self.now)(),
            statement: self.said(None).sign(&*self.signer),
        }
    }

    fn statement(&self, answering: Instance) -> Bytes {
        self.said(Some(answering)).sign(&*self.signer)
    }
}
