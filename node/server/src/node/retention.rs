//! Retention: what is older than the operator keeps is removed, a bounded part in each tick, channel by channel.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use homing_core::has_older;
use homing_wire::ChannelId;
use homing_wire::limits::STAMP_ACCEPT_MS;
use tracing::{error, info, warn};

use super::hub::{Hub, HubError};

/// Parts of channels removed in one tick, of 256 messages at most each: a moment of the hub's time, and 88 million
/// messages a day.
const PARTS: u32 = 4;
/// Everything has been looked at: the next time comes after this part of the age.
const REST: u64 = 100;
/// But after an hour, and not before a second, in milliseconds.
const REST_MS: (u64, u64) = (1_000, 3_600_000);
/// The clock may run ahead of itself by so much before it is not believed: it is set now and then. What is removed does
/// not come back.
const CLOCK_JUMP: Duration = Duration::from_secs(3_600);

/// What the operator keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetentionLimits {
    /// Messages that arrived longer ago are removed, in milliseconds.
    pub age_ms: u64,
    /// Channels looked at in one tick.
    pub channels: usize,
}

/// How far the round through all channels is.
pub(super) struct Retention {
    limits: RetentionLimits,
    after: Option<ChannelId>,
    /// The next round begins then.
    next_at: u64,
    /// Removed in this round.
    removed: u64,
    /// When it was started, by a clock that nobody sets and by the one that people set.
    started: (Instant, u64),
    /// By the clock of the start everything in the store is too old: the clock is wrong, or nobody has written for long.
    everything: bool,
    /// It was said that nothing is removed for now.
    said: bool,
    stopped: bool,
}

impl Retention {
    /// `newest_ms`: the time of the newest stamp on disk, Unix milliseconds.
    pub(super) fn new(limits: RetentionLimits, now_ms: u64, newest_ms: u64) -> Self {
        let started = (Instant::now(), now_ms);
        // A clock that is wrong by less is right.
        let most = limits.age_ms.max(STAMP_ACCEPT_MS);
        let everything = newest_ms > 0 && now_ms.saturating_sub(newest_ms) > most;
        Self {
            limits,
            after: None,
            next_at: 0,
            removed: 0,
            started,
            everything,
            said: false,
            stopped: false,
        }
    }

    /// Whether the clock says what a clock can say after so long.
    fn believes(&self, now_ms: u64, elapsed: Duration) -> bool {
        let most = elapsed.saturating_add(CLOCK_JUMP).as_millis();
        u128::from(now_ms.saturating_sub(self.started.1)) <= most
    }

    /// Every channel has been looked at.
    fn rest(&mut self, now_ms: u64) {
        if self.removed > 0 {
            info!(removed = self.removed, "messages past their retention were removed");
        }
        let wait = (self.limits.age_ms / REST).clamp(REST_MS.0, REST_MS.1);
        (self.after, self.removed, self.next_at) = (None, 0, now_ms.saturating_add(wait));
    }
}

impl Hub {
    /// Looks at the next channels, and removes what is too old there.
    pub(super) fn sweep(&mut self, now_ms: u64) -> Result<(), HubError> {
        let (store, moment) = (self.store.clone(), self.moment());
        let Some(retention) = &mut self.retention else { return Ok(()) };
        if retention.stopped || now_ms < retention.next_at {
            return Ok(());
        }
        // What is removed does not come back: not by a clock that is wrong, or may be.
        if self.clock_wrong_by.is_some() {
            return Ok(());
        }
        let directory = &self.directory;
        let pinned = |home: &homing_wire::HomeId| directory.name(home).is_some();
        if self.pinned > 0 && !self.clocks.is_confirmed(moment, pinned) {
            if !std::mem::replace(&mut retention.said, true) {
                warn!(
                    "the clock stands far from the newest message: retention removes nothing before a pinned home has \
                     been reached and shows the same time"
                );
            }
            return Ok(());
        }
        if self.pinned == 0 && retention.everything {
            if !std::mem::replace(&mut retention.said, true) {
                error!(
                    age_ms = retention.limits.age_ms,
                    "by this clock every message is past its retention, and no home is pinned that could confirm the \
                     clock: nothing is removed. Check the clock (`timedatectl`, `chronyc tracking`). If it is right: \
                     restart once somebody has written a message, or pin a home"
                );
            }
            return Ok(());
        }
        if !retention.believes(now_ms, retention.started.0.elapsed()) {
            retention.stopped = true;
            error!(
                "the clock has jumped ahead: retention removes nothing more before a restart; check the clock"
            );
            return Ok(());
        }
        let before_ms = now_ms.saturating_sub(retention.limits.age_ms);
        let channels = store.channels(retention.after, retention.limits.channels)?;
        if channels.is_empty() {
            retention.rest(now_ms);
            return Ok(());
        }
        let mut parts = 0;
        for state in channels {
            // Not by the home: a round through all channels would push those in use out of its memory.
            let mut more = has_older(&*store, &state, before_ms)?;
            while more && parts < PARTS {
                let pruned = self.home.prune(&*store, now_ms, state.id, before_ms)?;
                (more, parts) = (pruned.more, parts + 1);
                retention.removed += pruned.removed;
                self.metrics.pruned.fetch_add(pruned.removed, Ordering::Relaxed);
            }
            if more {
                break;
            }
            retention.after = Some(state.id);
        }
        self.collect_effects(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_not_believed() {
        let limits = RetentionLimits { age_ms: 1, channels: 1 };
        let retention = Retention::new(limits, 1_000_000, 0);
        let minute = Duration::from_secs(60);
        assert!(retention.believes(1_000_000 + 60_000, minute));
        assert!(retention.believes(1_000_000 + 60_000 + 3_600_000, minute));
        assert!(!retention.believes(1_000_000 + 60_001 + 3_600_000, minute));
        assert!(retention.believes(0, minute), "set back it removes less");
    }

    #[test]
    fn a_round_is_followed_by_a_rest() {
        for (age_ms, rest) in [(2_000, 1_000), (86_400_000, 864_000), (31_536_000_000, 3_600_000)] {
            let mut retention = Retention::new(RetentionLimits { age_ms, channels: 1 }, 0, 0);
            retention.rest(10);
            assert_eq!(retention.next_at, 10 + rest);
        }
    }
}
