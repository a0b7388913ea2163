//! Who listens to what is committed.

use std::sync::Arc;

use homing_core::Batch;
use parking_lot::Mutex;

/// Listens to what is committed.
pub trait Tap: Send + Sync {
    /// A batch is durable and can be read. The thread that commits calls it, batch after batch: it must not wait.
    fn committed(&self, batch: &Batch);
}

/// The taps of a store: a backup that is being made, and whoever follows the log.
#[derive(Default)]
pub(crate) struct Taps(Mutex<Vec<Arc<dyn Tap>>>);

impl Taps {
    pub(crate) fn add(&self, tap: Arc<dyn Tap>) {
        self.0.lock().push(tap);
    }

    pub(crate) fn remove(&self, tap: &Arc<dyn Tap>) {
        self.0.lock().retain(|one| !Arc::ptr_eq(one, tap));
    }

    pub(crate) fn tell(&self, batch: &Batch) {
        for tap in &*self.0.lock() {
            tap.committed(batch);
        }
    }
}
