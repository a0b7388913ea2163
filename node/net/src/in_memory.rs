//! Networks without sockets, many in one process, with every byte counted: for benches. A node uses none of this.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use homing_wire::HomeId;
use libp2p::Multiaddr;
use tokio::sync::mpsc;

use crate::config::{AddressError, NetConfig, NetError, NetLimits};
use crate::event::NetEvent;
use crate::handle::{Command, NetHandle};
use crate::hello::Admission;
use crate::key::NodeKey;
use crate::swarm::start_over;
use crate::transport::Medium;

/// Bytes of one network's connections as they would lie on a wire: encrypted, with all that is around them except
/// TCP and IP.
#[derive(Debug, Default)]
pub struct Wire {
    read: AtomicU64,
    written: AtomicU64,
}

impl Wire {
    /// Received since the start.
    pub fn bytes_in(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Sent since the start.
    pub fn bytes_out(&self) -> u64 {
        self.written.load(Relaxed)
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
    }
}

/// As [`crate::start`]. [`NetEvent::Listening`] tells where it is.
pub fn start(
    limits: NetLimits,
    key: &NodeKey,
    admission: Arc<dyn Admission>,
) -> Result<(NetHandle, mpsc::Receiver<NetEvent>, Arc<Wire>), NetError> {
    let wire = Arc::<Wire>::default();
    let config = NetConfig { listen: Vec::new(), allow_private: false, limits };
    let (net, events) = start_over(Medium::Memory(wire.clone()), config, key, admission)?;
    Ok((net, events, wire))
}

/// As [`NetHandle::want`], with an address that [`NetEvent::Listening`] told.
pub async fn want(net: &NetHandle, home: HomeId, address: &str) -> Result<(), AddressError> {
    let address: Multiaddr = address.parse().map_err(|_| AddressError::Syntax)?;
    net.send(Command::Want(home, vec![address])).await;
    Ok(())
}
