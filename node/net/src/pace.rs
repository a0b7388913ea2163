//! How often a home may ask what the network answers by itself.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// One answer in so many milliseconds in the long run: an honest home asks when a node has restarted, and about
/// the clock once in seconds; a signature takes 20 µs.
const INTERVAL_MS: u64 = 100;
/// So many at once after a pause: all nodes of a large home restart together.
const BURST: u64 = 64;

/// A bucket that fills by time (the generic cell rate algorithm): one number, no lock.
#[derive(Debug)]
pub(crate) struct Pace {
    begin: Instant,
    /// When the bucket would be full again, in milliseconds since `begin`.
    full_at_ms: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { begin: Instant::now(), full_at_ms: AtomicU64::new(0) }
    }
}

impl Pace {
    /// Takes one; `false`: it was too soon.
    pub(crate) fn take(&self) -> bool {
        self.take_at(u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn take_at(&self, now_ms: u64) -> bool {
        let next = |full_at: u64| {
            let from = full_at.max(now_ms);
            (from.saturating_add(INTERVAL_MS) - now_ms <= BURST * INTERVAL_MS)
                .then_some(from.saturating_add(INTERVAL_MS))
        };
        self.full_at_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_pace() {
        let pace = Pace::default();
        let taken = |now_ms: u64| (0..1_000).filter(|_| pace.take_at(now_ms)).count() as u64;
        assert_eq!(taken(5), BURST);
        assert_eq!(taken(5 + INTERVAL_MS - 1), 0);
        assert_eq!(taken(5 + INTERVAL_MS), 1);
        assert_eq!(taken(3_600_000), BURST);
    }
}
