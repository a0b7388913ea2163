//! What the loop has to look at later. A timer is a hint: whoever handles it checks what is true by then.

use std::collections::BTreeMap;
use std::time::Duration;

use homing_wire::HomeId;
use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

/// Named by when they fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Hello has had its time.
    HelloDeadline(ConnectionId),
    /// A refused peer has had time to read why.
    RefusedLinger(ConnectionId),
    /// The back-off of a home is over.
    DialDue(HomeId),
    /// The next address of a round is due although the one before has not failed.
    DialStagger(HomeId, u64),
    /// The relay stream to a home may be opened again.
    RelayDue(HomeId),
}

/// Timers in the order of their time. Every entry leaves when its time comes, and each cause sets one, so
/// their number follows that of connections and homes.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: BTreeMap<(Instant, u64), Timer>,
    number: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.number += 1;
        self.entries.insert((at, self.number), timer);
    }

    pub(crate) fn after(&mut self, wait: Duration, timer: Timer) {
        self.set(Instant::now() + wait, timer);
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes one timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let entry = self.entries.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_not_before_their_time() {
        let start = Instant::now();
        let home = |n: u8| HomeId([n; 32]);
        let mut timers = Timers::default();
        timers.set(start + Duration::from_secs(2), Timer::DialDue(home(2)));
        timers.set(start + Duration::from_secs(1), Timer::DialDue(home(1)));
        assert_eq!(timers.next_at(), Some(start + Duration::from_secs(1)));
        assert_eq!(timers.pop_due(start), None);
        let late = start + Duration::from_secs(5);
        assert_eq!(timers.pop_due(late), Some(Timer::DialDue(home(1))));
        assert_eq!(timers.pop_due(late), Some(Timer::DialDue(home(2))));
        assert_eq!(timers.next_at(), None);
    }
}
