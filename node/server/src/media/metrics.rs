//! What is counted of files.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::Family;

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct MediaMetrics {
    pub(crate) uploads: AtomicU64,
    pub(crate) uploaded_bytes: AtomicU64,
    pub(crate) same_again: AtomicU64,
    pub(crate) fetches: AtomicU64,
    pub(crate) fetches_failed: AtomicU64,
    pub(crate) liars: AtomicU64,
    pub(crate) served: AtomicU64,
    pub(crate) served_refused: AtomicU64,
    pub(crate) removed: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl MediaMetrics {
    /// As names, helps and numbers. `kept`: bytes of the files of this home; `cached`: of others; `lies`: what the cache has found.
    pub(crate) fn families(&self, kept: u64, cached: u64, lies: u64) -> Vec<Family> {
        let counter = |name, help, value: &AtomicU64| {
            Family::counter(name, help, value.load(Ordering::Relaxed))
        };
        vec![
            counter("media_uploads", "Files that came whole", &self.uploads),
            counter("media_uploaded_bytes", "Their bytes", &self.uploaded_bytes),
            counter(
                "media_uploads_known",
                "Files of which the bytes were here already",
                &self.same_again,
            ),
            counter("media_fetches", "Files fetched from other homes", &self.fetches),
            counter(
                "media_fetches_failed",
                "Files that other homes did not give to their end",
                &self.fetches_failed,
            ),
            Family::counter(
                "media_liars",
                "Files that were not what their message or their home says: size, hash or kind",
                self.liars.load(Ordering::Relaxed) + lies,
            ),
            counter("media_served", "Files given to other homes", &self.served),
            counter(
                "media_served_refused",
                "Files that other homes asked for in vain",
                &self.served_refused,
            ),
            counter("media_removed", "Files removed", &self.removed),
            Family::gauge("media_bytes", "Bytes of the files of this home's users", kept as f64),
            Family::gauge("media_cache_bytes", "Bytes of other homes' files", cached as f64),
        ]
    }
}
