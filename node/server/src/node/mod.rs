//! The running node: store, hub, network, bridge and admin listener brought together.

mod admission;
mod bucket;
mod calls;
mod channels;
mod clock;
mod commit;
mod courier;
mod devices;
mod directory;
mod displaced;
mod faults;
mod files;
mod find;
mod fleeting;
mod gossip;
mod groups;
mod hearing;
mod hub;
mod input;
mod link;
mod metrics;
mod passwords;
mod peers;
mod people;
mod people_metrics;
mod presence;
mod read;
mod receiver;
mod repair;
mod retention;
mod search;
mod serve;
mod show;
mod spread;
mod starts;
mod tell;
#[cfg(test)]
mod tests;
mod weight;

pub use directory::{Directory, Pin};
pub(crate) use displaced::{Displaced, behind_of, check_folder, check_life};
pub(crate) use files::FilesDoor;
pub use hub::HubError;
pub(crate) use link::stopping;
pub use metrics::NodeMetrics;
pub use serve::{ControlDoor, ServeOptions, serve};
