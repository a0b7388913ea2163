//! The commit thread: one flush for whatever was decided during the last one.

use std::sync::Arc;
use std::thread;

use homing_core::Batch;
use homing_store::Store;
use tokio::sync::mpsc;

/// Hands batches to the store, one after the other, on a thread of its own: a flush blocks.
pub(super) struct Committer {
    batches: std::sync::mpsc::SyncSender<(u64, Batch)>,
    done: mpsc::UnboundedReceiver<(u64, Result<(), String>)>,
}

impl Committer {
    /// Starts the thread. It ends when the committer is dropped.
    pub(super) fn start(store: Arc<dyn Store>) -> std::io::Result<Self> {
        // One batch is under way at a time: the next is decided meanwhile.
        let (batches, work) = std::sync::mpsc::sync_channel::<(u64, Batch)>(1);
        let (report, done) = mpsc::unbounded_channel();
        thread::Builder::new().name("commit".into()).spawn(move || {
            while let Ok((step, batch)) = work.recv() {
                let result = store.commit(&batch).map_err(|error| error.to_string());
                let failed = result.is_err();
                if report.send((step, result)).is_err() || failed {
                    break;
                }
            }
        })?;
        Ok(Self { batches, done })
    }

    /// Gives a batch to the thread. Only when the one before is done.
    pub(super) fn submit(&self, step: u64, batch: Batch) -> bool {
        self.batches.try_send((step, batch)).is_ok()
    }

    /// The number of the next step that is on disk, or what went wrong. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<(u64, Result<(), String>)> {
        self.done.recv().await
    }
}
