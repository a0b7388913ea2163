//! Which home is called what. A name is believed only where the operator has pinned it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use homing_wire::{Address, HomeId, HomeName, HomeRef, UserRef};

/// A home that the operator vouches for.
#[derive(Clone, Debug)]
pub struct Pin {
    /// Its name.
    pub name: HomeName,
    /// Its identity's id.
    pub home: HomeId,
    /// Multiaddresses to reach it at.
    pub addresses: Vec<String>,
}

/// Names of homes, both ways. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    own: HomeId,
    names: Arc<HashMap<HomeId, HomeName>>,
    ids: Arc<HashMap<HomeName, HomeId>>,
    addresses: Arc<BTreeMap<HomeId, Vec<String>>>,
}

impl Directory {
    /// This home and the pinned ones.
    pub fn new(own: HomeId, own_name: HomeName, pins: &[Pin]) -> Self {
        let pairs =
            || pins.iter().map(|p| (p.home, p.name.clone())).chain([(own, own_name.clone())]);
        Self {
            own,
            names: Arc::new(pairs().collect()),
            ids: Arc::new(pairs().map(|(id, name)| (name, id)).collect()),
            addresses: Arc::new(pins.iter().map(|p| (p.home, p.addresses.clone())).collect()),
        }
    }

    /// This home.
    pub fn own(&self) -> HomeId {
        self.own
    }

    /// The homes that the operator vouches for.
    pub fn pinned(&self) -> Vec<HomeId> {
        self.addresses.keys().copied().collect()
    }

    /// Where the operator says a home is.
    pub fn addresses(&self, home: &HomeId) -> &[String] {
        self.addresses.get(home).map_or(&[], Vec::as_slice)
    }

    /// The verified name of a home.
    pub fn name(&self, home: &HomeId) -> Option<&HomeName> {
        self.names.get(home)
    }

    /// The home of a verified name.
    pub fn id(&self, name: &HomeName) -> Option<HomeId> {
        self.ids.get(name).copied()
    }

    /// The home that an address names; `None` where a name is not known here.
    pub fn resolve(&self, address: &Address) -> Option<UserRef> {
        let home = match &address.home {
            HomeRef::Id(id) => *id,
            HomeRef::Name(name) => self.id(name)?,
        };
        Some(UserRef::new(home, address.local.clone()))
    }

    /// What people are shown: the name where it is verified, the id elsewhere.
    pub fn address(&self, user: &UserRef) -> String {
        match self.name(&user.home) {
            Some(name) => format!("{}@{name}", user.local),
            None => user.to_string(),
        }
    }

    /// A home for logs and lists: its name, or its id.
    pub fn show(&self, home: &HomeId) -> String {
        self.name(home).map_or_else(|| home.to_string(), ToString::to_string)
    }
}
