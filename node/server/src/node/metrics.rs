//! What the node counts. Plain atomics: the admin listener turns them into text when asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use homing_core::RangeReply;
use parking_lot::Mutex;

use super::people_metrics::PeopleMetrics;
use crate::metrics::Family;

/// Counters of the node's own.
#[derive(Default)]
pub struct NodeMetrics {
    /// Messages stored for this home's users.
    pub sends: AtomicU64,
    /// Events of peers stored.
    pub received: AtomicU64,
    /// Events handed to peers' streams, repeats included.
    pub relay_events_out: AtomicU64,
    /// Events that came over peers' streams, repeats included.
    pub relay_events_in: AtomicU64,
    /// Events of this home that peers rejected.
    pub rejected_by_peers: AtomicU64,
    /// Rosters of peers that were not followed.
    pub rosters_not_followed: AtomicU64,
    /// Events published by gossip, once each.
    pub gossip_events_out: AtomicU64,
    /// Events of peers stored that came by gossip first.
    pub gossip_events_in: AtomicU64,
    /// Homes that acknowledged in time what they were told by gossip.
    pub gossip_delivered: AtomicU64,
    /// Homes that did not, and were owed it by their streams.
    pub gossip_missed: AtomicU64,
    /// What was to be told by gossip and went by the streams, by reason.
    pub gossip_not_told: Mutex<BTreeMap<String, u64>>,
    /// Gossip of which nothing was made, by reason.
    pub gossip_ignored: Mutex<BTreeMap<String, u64>>,
    /// Who is there, who watches and who types.
    pub people: PeopleMetrics,
    /// Invitations into groups of other homes that nobody has answered.
    pub invitations_open: AtomicU64,
    /// Those that were declined because too many are open.
    pub invitations_declined: AtomicU64,
    /// First contacts from other homes that nobody has answered.
    pub requests_open: AtomicU64,
    /// Events fetched from peers by repair.
    pub repaired: AtomicU64,
    /// Entries removed by retention.
    pub pruned: AtomicU64,
    /// Repairs under way.
    pub repairs: AtomicU64,
    /// By how much this home's clock is wrong, in milliseconds; 0: it is not, as far as is known.
    pub clock_wrong_ms: AtomicI64,
    /// Steps committed.
    pub steps: AtomicU64,
    /// Writes in them.
    pub step_writes: AtomicU64,
    /// Sessions open now.
    pub sessions: AtomicU64,
    /// Log-ins that succeeded.
    pub logins: AtomicU64,
    /// Log-ins that failed.
    pub login_failures: AtomicU64,
    /// Peers connected now.
    pub peers: AtomicU64,
    /// Calls refused, by reason.
    pub refusals: Mutex<BTreeMap<String, u64>>,
    /// Events of peers that this home rejected, and ranges of which it took nothing, by reason.
    pub rejections: Mutex<BTreeMap<String, u64>>,
    /// Faults of peers, by reason.
    pub peer_faults: Mutex<BTreeMap<String, u64>>,
}

/// Reasons counted apart; a reason is a word of ours, never a peer's, so this is not met.
const REASONS: usize = 1_000;

impl NodeMetrics {
    /// As names, helps and numbers.
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.own_families();
        families.extend(self.people.families());
        families
    }

    fn own_families(&self) -> Vec<Family> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            Family::gauge(
                "sessions",
                "Signed-in and new sockets at the node",
                read(&self.sessions) as f64,
            ),
            Family::gauge("peers_connected", "Homes connected", read(&self.peers) as f64),
            Family::gauge(
                "clock_offset_ms",
                "By how much this home's clock is wrong (ahead: above 0), as most pinned homes have it; 0: it is right",
                self.clock_wrong_ms.load(Ordering::Relaxed) as f64,
            ),
            Family::counter(
                "messages_sent",
                "Messages stored for users of this home",
                read(&self.sends),
            ),
            Family::counter(
                "messages_received",
                "Messages of other homes stored",
                read(&self.received),
            ),
            Family::counter(
                "relay_events_out",
                "Events handed to other homes' streams, repeats included",
                read(&self.relay_events_out),
            ),
            Family::counter(
                "relay_events_in",
                "Events that came from other homes, repeats included",
                read(&self.relay_events_in),
            ),
            Family::counter(
                "relay_events_rejected_by_peers",
                "Messages of this home that other homes rejected: compare versions",
                read(&self.rejected_by_peers),
            ),
            Family::counters(
                "relay_events_rejected",
                "Events of other homes that this home rejected, and ranges that it refused or holds back, by reason",
                "reason",
                &self.rejections.lock(),
            ),
            Family::counter(
                "rosters_not_followed",
                "Rosters that other homes brought and that do not follow on the one held: older ones that came again, \
                 and others than the group's home has signed",
                read(&self.rosters_not_followed),
            ),
            Family::counter(
                "gossip_events_out",
                "Events told to wide groups by gossip, once for all homes",
                read(&self.gossip_events_out),
            ),
            Family::counter(
                "gossip_events_in",
                "Events of other homes that came by gossip before their streams",
                read(&self.gossip_events_in),
            ),
            Family::counter(
                "gossip_delivered",
                "Homes that said in time that they have what was told by gossip",
                read(&self.gossip_delivered),
            ),
            Family::counter(
                "gossip_missed",
                "Homes that did not, and got it by their streams after groups.gossip_wait_ms",
                read(&self.gossip_missed),
            ),
            Family::counters(
                "gossip_not_told",
                "Times that a wide group was told by the streams after all, by reason",
                "reason",
                &self.gossip_not_told.lock(),
            ),
            Family::counters(
                "gossip_ignored",
                "Gossip messages of which nothing was made, by reason",
                "reason",
                &self.gossip_ignored.lock(),
            ),
            Family::gauge(
                "group_invitations_open",
                "Invitations into groups of other homes that users have not answered",
                read(&self.invitations_open) as f64,
            ),
            Family::counter(
                "group_invitations_declined",
                "Invitations declined because groups.invitations_of_user or invitations_of_home are open",
                read(&self.invitations_declined),
            ),
            Family::gauge(
                "requests_open",
                "First contacts from other homes that users have not answered",
                read(&self.requests_open) as f64,
            ),
            Family::counter(
                "repair_events",
                "Events fetched from other homes after a restore or a long absence",
                read(&self.repaired),
            ),
            Family::counter(
                "messages_pruned",
                "Messages removed because they were older than [retention] messages",
                read(&self.pruned),
            ),
            Family::gauge(
                "repairs_running",
                "Homes that this home is fetching from",
                read(&self.repairs) as f64,
            ),
            Family::counter("steps", "Steps committed", read(&self.steps)),
            Family::counter("step_writes", "Writes in committed steps", read(&self.step_writes)),
            Family::counter("logins", "Log-ins that succeeded", read(&self.logins)),
            Family::counter("login_failures", "Log-ins that failed", read(&self.login_failures)),
            Family::counters(
                "calls_refused",
                "Calls refused by the node, by reason",
                "reason",
                &self.refusals.lock(),
            ),
            Family::counters(
                "peer_faults",
                "What other homes did wrong, by reason",
                "reason",
                &self.peer_faults.lock(),
            ),
        ]
    }

    /// A call was refused.
    pub fn refusal(&self, reason: &str) {
        count(&self.refusals, reason);
    }

    /// What a peer brought and this home did not take: single events, or the whole range.
    pub(super) fn not_taken(&self, reply: &RangeReply) {
        let whole = [reply.refused, reply.held_back, reply.need_roster.then_some("need_roster")];
        let events = reply.rejected.iter().map(|(_, reason)| *reason);
        for reason in events.chain(whole.into_iter().flatten()) {
            count(&self.rejections, reason);
        }
    }

    /// A letter of a peer was not understood.
    pub(super) fn not_read(&self, reason: &str) {
        count(&self.rejections, reason);
    }

    /// A wide group was told by the streams after all.
    pub(super) fn gossip_not_told(&self, reason: &str) {
        count(&self.gossip_not_told, reason);
    }

    /// Nothing was made of a gossip message.
    pub(super) fn gossip_ignored(&self, reason: &str) {
        count(&self.gossip_ignored, reason);
    }

    /// A peer was at fault: in our words, for it could fill the table with its own.
    pub fn peer_fault(&self, reason: &str) {
        count(&self.peer_faults, reason);
    }
}

fn count(counts: &Mutex<BTreeMap<String, u64>>, reason: &str) {
    count_many(counts, reason, 1);
}

/// Counts so many of a reason.
pub(super) fn count_many(counts: &Mutex<BTreeMap<String, u64>>, reason: &str, many: u64) {
    let mut counts = counts.lock();
    if let Some(count) = counts.get_mut(reason) {
        *count += many;
    } else if counts.len() < REASONS {
        counts.insert(reason.to_owned(), many);
    }
}
