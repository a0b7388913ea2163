//! Counters of who is there, who watches and who types.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::metrics::count_many;
use crate::metrics::Family;

/// See the module.
#[derive(Default)]
pub struct PeopleMetrics {
    /// Users online now.
    pub online: AtomicU64,
    /// Watches of all sessions.
    pub watches: AtomicU64,
    /// Watches of users of other homes.
    pub watches_of_homes: AtomicU64,
    /// Users of whom other homes were told, once for each home.
    pub updates_out: AtomicU64,
    /// Users of whom other homes told.
    pub updates_in: AtomicU64,
    /// What other homes said of presence and nothing was made of, by reason.
    pub updates_ignored: Mutex<BTreeMap<String, u64>>,
    /// Times that another home was told who types.
    pub typing_out: AtomicU64,
    /// Times that another home told who types.
    pub typing_in: AtomicU64,
    /// Times that somebody types and a home, or nobody, was told, by reason.
    pub typing_dropped: Mutex<BTreeMap<String, u64>>,
}

impl PeopleMetrics {
    /// Nothing was made of what a home said of so many users.
    pub(super) fn ignored(&self, reason: &str, many: usize) {
        if many > 0 {
            count_many(&self.updates_ignored, reason, many as u64);
        }
    }

    /// Somebody types, and it is not told.
    pub(super) fn typing_dropped(&self, reason: &str) {
        count_many(&self.typing_dropped, reason, 1);
    }

    /// As names, helps and numbers.
    pub(super) fn families(&self) -> Vec<Family> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            Family::gauge(
                "users_online",
                "Users of this home of whom a device lives",
                read(&self.online) as f64,
            ),
            Family::gauge(
                "presence_watches",
                "Users whom sockets of this home watch, counted for each socket",
                read(&self.watches) as f64,
            ),
            Family::gauge(
                "presence_watches_of_homes",
                "Users of this home whom users of other homes watch, counted for each of those",
                read(&self.watches_of_homes) as f64,
            ),
            Family::counter(
                "presence_updates_out",
                "Users of whom other homes were told how they are, counted for each home",
                read(&self.updates_out),
            ),
            Family::counter(
                "presence_updates_in",
                "Users of whom other homes told how they are",
                read(&self.updates_in),
            ),
            Family::counters(
                "presence_ignored",
                "Users of whom another home said something that was passed over, by reason",
                "reason",
                &self.updates_ignored.lock(),
            ),
            Family::counter(
                "typing_out",
                "Times that another home was told that somebody types, or has stopped",
                read(&self.typing_out),
            ),
            Family::counter(
                "typing_in",
                "Times that another home told that somebody types, or has stopped",
                read(&self.typing_in),
            ),
            Family::counters(
                "typing_dropped",
                "Times that somebody typed, or stopped, and it was not told, by reason (away: a home was; gathered: told with \
                 the next; too_fast, not_a_member: of another home)",
                "reason",
                &self.typing_dropped.lock(),
            ),
        ]
    }
}
