//! What is counted of the search index.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use homing_store::Clocked;

use crate::metrics::{Family, distribution};

/// See the module.
#[derive(Default)]
pub(crate) struct SearchMetrics {
    /// The index is known to lack more than what came a moment ago.
    indexing: AtomicBool,
    /// How long the last making of the index took, in milliseconds.
    rebuild_ms: AtomicU64,
    /// How often it was made from the logs.
    rebuilds: AtomicU64,
    /// Documents added.
    added: AtomicU64,
    /// Parts of the index written anew without what was removed.
    rewritten: AtomicU64,
    /// How long searches took, reading from the store included.
    pub(crate) searches: Clocked,
    /// How long commits of the index took.
    pub(super) commits: Clocked,
}

impl SearchMetrics {
    pub(super) fn indexing(&self, indexing: bool) {
        self.indexing.store(indexing, Ordering::Relaxed);
    }

    pub(super) fn is_indexing(&self) -> bool {
        self.indexing.load(Ordering::Relaxed)
    }

    pub(super) fn rebuilt(&self, took: Duration) {
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.rebuild_ms.store(took_ms, Ordering::Relaxed);
    }

    pub(super) fn added(&self) {
        self.added.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rewritten(&self) {
        self.rewritten.fetch_add(1, Ordering::Relaxed);
    }

    /// As names, helps and numbers.
    pub(super) fn families(
        &self,
        documents: u64,
        removed: u64,
        bytes: u64,
        behind: Duration,
    ) -> Vec<Family> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            Family::gauge("search_documents", "Messages in the search index", documents as f64),
            Family::gauge(
                "search_removed_documents",
                "Messages that are out of the search index, and whose words are still in its files",
                removed as f64,
            ),
            Family::counter(
                "search_rewritten",
                "Parts of the search index that were written anew without what was removed",
                read(&self.rewritten),
            ),
            Family::gauge("search_bytes", "Bytes of the search index on disk", bytes as f64),
            Family::gauge(
                "search_behind_seconds",
                "How long the oldest change has waited that the search index does not have",
                behind.as_secs_f64(),
            ),
            Family::gauge(
                "search_indexing",
                "1 while the search index is made or catches up, and searches miss what is older than a moment",
                f64::from(u8::from(self.is_indexing())),
            ),
            Family::counter(
                "search_rebuilds",
                "Times that the search index was made from the logs",
                read(&self.rebuilds),
            ),
            Family::gauge(
                "search_rebuild_seconds",
                "How long the last making of the search index took",
                read(&self.rebuild_ms) as f64 / 1e3,
            ),
            Family::counter(
                "search_added",
                "Messages put into the search index",
                read(&self.added),
            ),
            Family::histogram(
                "search_commit_seconds",
                "How long it took to put what is new before those who search",
                distribution(&self.commits.read()),
            ),
            Family::histogram(
                "search_seconds",
                "How long searches took, without waiting for their turn",
                distribution(&self.searches.read()),
            ),
        ]
    }
}
