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
    /// Files.
    pub media: MediaStats,
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
    /// Gossip.
    pub gossip: GossipStats,
}

/// What went by `/homing/media/1`. Why streams of it ended early is in [`NetStats::dropped`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaStats {
    /// Files that we asked for.
    pub asked: u64,
    /// Files that homes asked us for.
    pub asked_by_peers: u64,
    /// Bytes of files received.
    pub bytes_in: u64,
    /// Bytes of files sent.
    pub bytes_out: u64,
    /// Files that came whole, from the offset asked for on.
    pub whole_in: u64,
    /// Files that went out whole, from the offset asked for on.
    pub whole_out: u64,
}

/// What gossip did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GossipStats {
    /// Topics joined, now.
    pub topics: u64,
    /// Nodes that take part in gossip with us, now.
    pub peers: u64,
    /// Those of them in a mesh of at least one topic, now.
    pub mesh_peers: u64,
    /// Messages of our own that went to at least one peer.
    pub published: u64,
    /// Messages taken from peers, repetitions included.
    pub messages_in: u64,
    /// Those of them that were given to the server.
    pub new: u64,
    /// Those that we had already.
    pub duplicates: u64,
    /// What the server said of them, by word; `late` came after a message was forgotten.
    pub judged: BTreeMap<&'static str, u64>,
    /// Messages of peers that were not taken, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Messages and lists that were not sent because a peer was too slow.
    pub slow: u64,
    /// Bytes read from gossip streams, below encryption.
    pub bytes_in: u64,
    /// Bytes written to them.
    pub bytes_out: u64,
}

/// What is now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GossipGauges {
    pub(crate) topics: u64,
    pub(crate) peers: u64,
    pub(crate) mesh_peers: u64,
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
    media: MediaCounters,
    admitted: AtomicU64,
    refused_by_peer: AtomicU64,
    gossip: GossipCounters,
    /// Rare events only. Keys are words in this program, so the maps are bounded.
    reasons: Mutex<Reasons>,
}

#[derive(Debug, Default)]
struct MediaCounters {
    asked: AtomicU64,
    asked_by_peers: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    whole_in: AtomicU64,
    whole_out: AtomicU64,
}

#[derive(Debug, Default)]
struct GossipCounters {
    topics: AtomicU64,
    peers: AtomicU64,
    mesh_peers: AtomicU64,
    published: AtomicU64,
    messages_in: AtomicU64,
    new: AtomicU64,
    duplicates: AtomicU64,
    slow: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Reasons {
    refused: BTreeMap<&'static str, u64>,
    dial_failed: BTreeMap<&'static str, u64>,
    dropped: BTreeMap<&'static str, u64>,
    gossip_judged: BTreeMap<&'static str, u64>,
    gossip_dropped: BTreeMap<&'static str, u64>,
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

    pub(crate) fn media_asked(&self) {
        self.media.asked.fetch_add(1, Relaxed);
    }

    pub(crate) fn media_asked_by_peer(&self) {
        self.media.asked_by_peers.fetch_add(1, Relaxed);
    }

    pub(crate) fn media_read(&self, bytes: usize) {
        self.media.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn media_written(&self, bytes: usize) {
        self.media.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn media_whole_in(&self) {
        self.media.whole_in.fetch_add(1, Relaxed);
    }

    pub(crate) fn media_whole_out(&self) {
        self.media.whole_out.fetch_add(1, Relaxed);
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

    pub(crate) fn gossip_gauges(&self, now: GossipGauges) {
        self.gossip.topics.store(now.topics, Relaxed);
        self.gossip.peers.store(now.peers, Relaxed);
        self.gossip.mesh_peers.store(now.mesh_peers, Relaxed);
    }

    pub(crate) fn gossip_published(&self) {
        self.gossip.published.fetch_add(1, Relaxed);
    }

    pub(crate) fn gossip_in(&self, messages: u64, duplicates: u64) {
        self.gossip.messages_in.fetch_add(messages, Relaxed);
        self.gossip.duplicates.fetch_add(duplicates, Relaxed);
    }

    pub(crate) fn gossip_new(&self) {
        self.gossip.new.fetch_add(1, Relaxed);
    }

    pub(crate) fn gossip_slow(&self, count: usize) {
        self.gossip.slow.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn gossip_read(&self, bytes: usize) {
        self.gossip.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn gossip_written(&self, bytes: usize) {
        self.gossip.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn gossip_judged(&self, word: &'static str) {
        *self.reasons().gossip_judged.entry(word).or_default() += 1;
    }

    pub(crate) fn gossip_dropped(&self, reason: &'static str) {
        *self.reasons().gossip_dropped.entry(reason).or_default() += 1;
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
            media: MediaStats {
                asked: self.media.asked.load(Relaxed),
                asked_by_peers: self.media.asked_by_peers.load(Relaxed),
                bytes_in: self.media.bytes_in.load(Relaxed),
                bytes_out: self.media.bytes_out.load(Relaxed),
                whole_in: self.media.whole_in.load(Relaxed),
                whole_out: self.media.whole_out.load(Relaxed),
            },
            admitted: self.admitted.load(Relaxed),
            refused: reasons.refused.clone(),
            refused_by_peer: self.refused_by_peer.load(Relaxed),
            dial_failed: reasons.dial_failed.clone(),
            dropped: reasons.dropped.clone(),
            gossip: GossipStats {
                topics: self.gossip.topics.load(Relaxed),
                peers: self.gossip.peers.load(Relaxed),
                mesh_peers: self.gossip.mesh_peers.load(Relaxed),
                published: self.gossip.published.load(Relaxed),
                messages_in: self.gossip.messages_in.load(Relaxed),
                new: self.gossip.new.load(Relaxed),
                duplicates: self.gossip.duplicates.load(Relaxed),
                judged: reasons.gossip_judged.clone(),
                dropped: reasons.gossip_dropped.clone(),
                slow: self.gossip.slow.load(Relaxed),
                bytes_in: self.gossip.bytes_in.load(Relaxed),
                bytes_out: self.gossip.bytes_out.load(Relaxed),
            },
        }
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, Reasons> {
        // Counting cannot leave the maps half-changed, so a poisoned lock is as good as another.
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
