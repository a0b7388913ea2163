//! What operators ask for that takes long: done beside the node, one at a time, and asked about until it is
//! done.

use std::sync::Arc;

use homing_store::Store;
use parking_lot::Mutex;
use tracing::{error, info};

use crate::backup::{self, Place};
use crate::control::{Control, ControlError, JobRow};
use crate::tidy::{self, Tidier};

/// The job that runs or has ended last.
#[derive(Clone)]
pub struct Jobs {
    place: Arc<Place>,
    store: Arc<dyn Store>,
    tidier: Arc<Tidier>,
    last: Arc<Mutex<Option<JobRow>>>,
}

impl Jobs {
    /// None has run.
    pub(crate) fn new(place: Place, store: Arc<dyn Store>, tidier: Arc<Tidier>) -> Self {
        Self { place: Arc::new(place), store, tidier, last: Arc::default() }
    }

    /// Whether a command is for here.
    pub fn takes(control: &Control) -> bool {
        let begins = matches!(control, Control::Backup { .. } | Control::Compact { .. });
        begins || matches!(control, Control::Verify | Control::Job)
    }

    /// Begins a job, or says how the last one stands.
    pub fn control(&self, control: Control) -> Result<JobRow, ControlError> {
        let mut last = self.last.lock();
        if matches!(control, Control::Job) {
            return last
                .clone()
                .ok_or_else(|| ControlError::refused("no_job", "nothing was begun"));
        }
        if let Some(JobRow::Running { what }) = &*last {
            let message = format!("`{what}` is under way: wait for its end");
            return Err(ControlError::refused("job_running", message));
        }
        let what = if matches!(control, Control::Verify) {
            "verify"
        } else if matches!(control, Control::Compact { .. }) {
            "compact"
        } else {
            "backup"
        };
        let running = JobRow::Running { what: what.to_owned() };
        *last = Some(running.clone());
        drop(last);
        let jobs = self.clone();
        // It reads the disk: on a thread that may block.
        let thread = std::thread::Builder::new().name(what.into()).spawn(move || {
            let done = run(&*jobs.store, &jobs.place, Some(&jobs.tidier), &control);
            match &done {
                JobRow::Failed { message } => error!(%message, "{what} failed"),
                JobRow::BackedUp(row) => info!(bytes = row.bytes, "backup made"),
                JobRow::Verified(row) => info!(entries = row.entries, "the store is whole"),
                JobRow::Compacted(row) => {
                    info!(freed = row.freed, erased = row.erased, "the store is compact");
                }
                JobRow::Running { .. } => {}
            }
            *jobs.last.lock() = Some(done);
        });
        if let Err(error) = thread {
            let failed = JobRow::Failed { message: format!("cannot start a thread: {error}") };
            *self.last.lock() = Some(failed.clone());
            return Ok(failed);
        }
        Ok(running)
    }
}

/// Does a job, to its end: a backup, giving back what need not be kept, or else a look through the whole store. `tidier`: whoever
/// tidies the store besides; none where the node is stopped.
pub(crate) fn run(
    store: &dyn Store,
    place: &Place,
    tidier: Option<&Tidier>,
    control: &Control,
) -> JobRow {
    let done = if let Control::Backup { to } = control {
        backup::make(store, place, to).map(JobRow::BackedUp)
    } else if let Control::Compact { erase_before_ms } = *control {
        let row = match tidier {
            Some(tidier) => tidier.compact(erase_before_ms),
            None => tidy::compacted(erase_before_ms, |wish| Ok(store.tidy(wish)?)),
        };
        row.map(JobRow::Compacted)
    } else {
        backup::verify_store(store).map(JobRow::Verified)
    };
    done.unwrap_or_else(|error| JobRow::Failed { message: format!("{error:#}") })
}
