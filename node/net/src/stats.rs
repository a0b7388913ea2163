//! What the network counts. Cheap enough for every frame; read as one snapshot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// A snapshot of the counters since the start. The reasons are the words of the events and log lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Relay frames received, heartbeats included.
    pub frames_in: u64,
    /// Their bytes, with prefixes.
    pub bytes_in: u64,
    /// Relay frames sent, heartbeats included.
    pub frames_out: u64,
    /// Their bytes, with prefixes.
    pub bytes_out: u64,
    /// Relay frames of a kind that this version does not know, skipped.
    pub frames_unknown: u64,
    /// Queries asked.
    pub queries_out: u64,
    /// Queries received.
    pub queries_in: u64,
    /// Hellos that ended in admission.
    pub admitted: u64,
    /// Hellos refused by us, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Hellos in which the other side refused us. Its reason is its own word and not kept as a key.
    pub refused_by_peer: u64,
    /// Rounds of dialling that failed, by the reason of the last attempt.
    pub dial_failed: BTreeMap<&'static str, u64>,
    /// Connections and streams that ended by our decision or by a fault, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// The living counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    frames_unknown: AtomicU64,
    queries_out: AtomicU64,
    queries_in: AtomicU64,
    admitted: AtomicU64,
    refused_by_peer: AtomicU64,
    /// Rare events only. Keys are words in this program, so the maps are bounded.
    reasons: Mutex<Reasons>,
}

#[derive(Debug, Default)]
struct Reasons {
    refused: BTreeMap<&'static str, u64>,
    dial_failed: BTreeMap<&'static str, u64>,
    dropped: BTreeMap<&'static str, u64>,
}

impl Counters {
    pub(crate) fn frame_in(&self, bytes: usize) {
        self.frames_in.fetch_add(1, Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn frame_out(&self, bytes: usize) {
        self.frames_out.fetch_add(1, Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn frame_unknown(&self) {
        self.frames_unknown.fetch_add(1, Relaxed);
    }

    pub(crate) fn query_out(&self) {
        self.queries_out.fetch_add(1, Relaxed);
    }

    pub(crate) fn query_in(&self) {
        self.queries_in.fetch_add(1, Relaxed);
    }

    pub(crate) fn admitted(&self) {
        self.admitted.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused_by_peer(&self) {
        self.refused_by_peer.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        *self.reasons().refused.entry(reason).or_default() += 1;
    }

    pub(crate) fn dial_failed(&self, reason: &'static str) {
        *self.reasons().dial_failed.entry(reason).or_default() += 1;
    }

    pub(crate) fn dropped(&self, reason: &'static str) {
        *self.reasons().dropped.entry(reason).or_default() += 1;
    }

    pub(crate) fn snapshot(&self) -> NetStats {
        let reasons = self.reasons();
        NetStats {
            frames_in: self.frames_in.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            frames_out: self.frames_out.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            frames_unknown: self.frames_unknown.load(Relaxed),
            queries_out: self.queries_out.load(Relaxed),
            queries_in: self.queries_in.load(Relaxed),
            admitted: self.admitted.load(Relaxed),
            refused: reasons.refused.clone(),
            refused_by_peer: self.refused_by_peer.load(Relaxed),
            dial_failed: reasons.dial_failed.clone(),
            dropped: reasons.dropped.clone(),
        }
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, Reasons> {
        // Counting cannot leave the maps half-changed, so a poisoned lock is as good as another.
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
