//! A node that was shown that it must not go on leaves a mark in its store's folder, and is not started on it again:
//! each start has a higher number, so that a supervisor that starts a stopped copy over and over would at last have
//! it pass for the original, which is stopped then.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tracing::error;

use super::hub::HubError;

fn mark(store: &Path) -> PathBuf {
    store.join("displaced")
}

/// Why no node may be started on a store, if none may. Also where no store is, yet.
pub(crate) fn displaced(store: &Path) -> Option<String> {
    let mark = mark(store);
    if !mark.exists() {
        return None;
    }
    let why = fs::read_to_string(&mark).unwrap_or_default();
    Some(format!(
        "a node on this store was stopped for good: {} — When that is settled and this store is the one to keep, delete {} and start again",
        why.trim(),
        mark.display()
    ))
}

/// Leaves the mark where a node has ended for that.
pub(super) fn note(store: &Path, ended: &HubError) {
    match ended {
        HubError::Store(_) => {}
        HubError::Cloned { .. } | HubError::RolledBack { .. } | HubError::LaterLife { .. } => {
            let mark = mark(store);
            let written = File::create(&mark).and_then(|mut file| {
                writeln!(file, "{ended}")?;
                file.sync_all()?;
                File::open(store)?.sync_all()
            });
            if let Err(error) = written {
                error!(%error, mark = %mark.display(), "cannot note that this store must not be used: do not start it again");
            }
        }
    }
}
