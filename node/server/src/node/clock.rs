//! This home's clock, held against those of other homes (docs/OPERATE.md, "Clocks").
//!
//! A message is stamped with this home's clock, and homes take no stamp from farther ahead than five minutes. So a
//! home whose clock is wrong must find out by itself, and stop stamping. It cannot know who is right: it asks
//! whether most of those that its operator knows (pinned homes) differ from it by as much, to the same side. One
//! home alone may be the one that is wrong: it counts only where this clock has been seen to jump.
//!
//! What another home's clock shows comes with its hello and goes on by the monotonic clock of this process; so a
//! jump of this home's clock shows at once, and so does its correction.

use std::collections::BTreeMap;

use homing_wire::HomeId;
use homing_wire::limits::STAMP_ACCEPT_MS;

/// Both clocks of this home, in milliseconds: the wall clock since 1970, and one that never jumps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall_ms: u64,
    pub(super) steady_ms: u64,
}

impl Moment {
    fn apart(self) -> i64 {
        difference(self.wall_ms, self.steady_ms)
    }
}

/// Clocks of connected homes.
pub(super) struct Clocks {
    /// The wall clock less the steady one, at the start.
    began: i64,
    /// At the start the clock stood far from what the disk knows of: it may be wrong.
    doubtful: bool,
    /// A home that is believed has shown the same time since.
    confirmed: bool,
    /// The same of other homes, as they said hello.
    others: BTreeMap<HomeId, i64>,
}

impl Clocks {
    /// Of a process that starts now. `newest_ms`: the time of the newest stamp on disk, Unix milliseconds.
    pub(super) fn new(now: Moment, newest_ms: u64) -> Self {
        // A clock that stands before what it has stamped has been set back meanwhile.
        let behind = newest_ms.saturating_sub(now.wall_ms);
        let began = now.apart().saturating_add_unsigned(behind);
        // A new store knows of nothing.
        let doubtful = newest_ms > 0 && now.wall_ms.abs_diff(newest_ms) > STAMP_ACCEPT_MS;
        Self { began, doubtful, confirmed: false, others: BTreeMap::new() }
    }

    /// Whether nothing should be stamped before other homes have been heard, of which `known` could be believed: after
    /// a start at which the clock stood far from the newest stamp on disk, within `wait_ms` of it. (Otherwise the clock
    /// has not moved by more than what other homes take.)
    pub(super) fn must_wait(
        &self,
        now: Moment,
        wait_ms: u64,
        known: usize,
        counts: impl Fn(&HomeId) -> bool,
    ) -> bool {
        let heard = self.others.keys().filter(|home| counts(home)).count();
        self.doubtful && now.steady_ms < wait_ms && heard < known.min(2)
    }

    /// Whether what cannot be undone may be done by this clock: it stood near the newest stamp on disk at the start, or
    /// one of those that count has shown the same time since. Unlike [`Clocks::must_wait`] it waits for as long as it takes.
    pub(super) fn is_confirmed(&mut self, now: Moment, counts: impl Fn(&HomeId) -> bool) -> bool {
        let near = |other: i64| now.apart().saturating_sub(other).unsigned_abs() <= STAMP_ACCEPT_MS;
        self.confirmed |= self.others.iter().any(|(home, other)| counts(home) && near(*other));
        !self.doubtful || self.confirmed
    }

    /// A home has said hello, with its clock.
    pub(super) fn heard(&mut self, home: HomeId, now: Moment, clock_ms: u64) {
        self.others.insert(home, difference(clock_ms, now.steady_ms));
    }

    /// A home is not connected any more.
    pub(super) fn gone(&mut self, home: &HomeId) {
        self.others.remove(home);
    }

    /// By how much this clock is wrong, in milliseconds (ahead: above 0), if it is. `counts` says of whom to believe it.
    pub(super) fn wrong_by(&self, now: Moment, counts: impl Fn(&HomeId) -> bool) -> Option<i64> {
        let own = now.apart();
        let counted = self.others.iter().filter(|(home, _)| counts(home));
        let mut offsets: Vec<i64> = counted.map(|(_, other)| own.saturating_sub(*other)).collect();
        offsets.sort_unstable();
        let limit = i64::try_from(STAMP_ACCEPT_MS).unwrap_or(i64::MAX);
        let jumped = own.saturating_sub(self.began).abs() > limit;
        let most = |side: fn(i64, i64) -> bool| {
            offsets.iter().filter(|offset| side(**offset, limit)).count() * 2 > offsets.len()
        };
        let agreed = most(|offset, limit| offset > limit) || most(|offset, limit| offset < -limit);
        let enough = offsets.len() >= 2 || (jumped && !offsets.is_empty());
        (agreed && enough).then(|| offsets[offsets.len() / 2])
    }
}

fn difference(a: u64, b: u64) -> i64 {
    let ms = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    ms(a).saturating_sub(ms(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_760_000_000_000;
    const MINUTE: i64 = 60_000;

    fn at(steady_ms: u64, wrong_ms: i64) -> Moment {
        Moment { wall_ms: (NOW + steady_ms).checked_add_signed(wrong_ms).unwrap(), steady_ms }
    }

    fn home(n: u8) -> HomeId {
        HomeId([n; 32])
    }

    /// A clock that is wrong by so much from the start, among others that are wrong by so much.
    fn verdict(own: i64, others: &[i64]) -> Option<i64> {
        let mut clocks = Clocks::new(at(0, own), 0);
        for (n, other) in (1..).zip(others) {
            clocks.heard(home(n), at(100, own), at(100, *other).wall_ms);
        }
        clocks.wrong_by(at(5_000, own), |_| true)
    }

    #[test]
    fn most_of_the_others_decide() {
        assert_eq!(verdict(0, &[0, 0]), None);
        assert_eq!(verdict(10 * MINUTE, &[0, 0]), Some(10 * MINUTE));
        assert_eq!(verdict(-10 * MINUTE, &[0, MINUTE, 0]), Some(-10 * MINUTE));
        assert_eq!(verdict(4 * MINUTE, &[0, 0, 0]), None, "within what others take");
        assert_eq!(verdict(0, &[10 * MINUTE, 0, 0]), None, "one of them is wrong");
        assert_eq!(verdict(0, &[10 * MINUTE, 0]), None, "half are no majority");
        assert_eq!(verdict(0, &[10 * MINUTE, -10 * MINUTE]), None, "they do not agree");
        assert_eq!(verdict(10 * MINUTE, &[]), None);
    }

    #[test]
    fn one_alone_is_believed_where_this_clock_has_jumped() {
        assert_eq!(verdict(10 * MINUTE, &[0]), None);
        let mut clocks = Clocks::new(at(0, 0), 0);
        clocks.heard(home(1), at(100, 0), at(100, 0).wall_ms);
        assert_eq!(clocks.wrong_by(at(1_000, 0), |_| true), None);
        assert_eq!(clocks.wrong_by(at(2_000, -6 * MINUTE), |_| true), Some(-6 * MINUTE));
        assert_eq!(clocks.wrong_by(at(3_000, 0), |_| true), None, "it was put right");
        // It was set back while the process did not run.
        let mut clocks = Clocks::new(at(0, -6 * MINUTE), NOW);
        clocks.heard(home(1), at(100, -6 * MINUTE), at(100, 0).wall_ms);
        assert_eq!(clocks.wrong_by(at(200, -6 * MINUTE), |_| true), Some(-6 * MINUTE));
    }

    #[test]
    fn a_clock_that_stands_far_from_the_newest_stamp_waits_for_others() {
        let newest = |minutes: i64| NOW.checked_add_signed(minutes * MINUTE).unwrap();
        let waits = |minutes, heard: u8, known, steady_ms| {
            let mut clocks = Clocks::new(at(0, 0), newest(minutes));
            (1..=heard).for_each(|n| clocks.heard(home(n), at(1, 0), NOW));
            clocks.must_wait(at(steady_ms, 0), 3_000, known, |_| true)
        };
        assert!(waits(-6, 0, 2, 10) && waits(6, 0, 2, 10) && waits(-6, 1, 2, 10));
        assert!(!waits(-4, 0, 2, 10), "it was seen a moment ago");
        assert!(!waits(-6, 2, 5, 10) && !waits(-6, 1, 1, 10), "enough are heard");
        assert!(!waits(-6, 0, 0, 10), "nobody could be heard");
        assert!(!waits(-6, 0, 2, 3_000), "they are away");
        assert!(!Clocks::new(at(0, 0), 0).must_wait(at(1, 0), 3_000, 2, |_| true), "a new store");
    }

    #[test]
    fn a_doubtful_clock_is_confirmed_by_a_home_that_shows_the_same_time() {
        let late = NOW - 3_600_000;
        assert!(Clocks::new(at(0, 0), NOW).is_confirmed(at(9_000, 0), |_| true), "no doubt");
        let mut clocks = Clocks::new(at(0, 0), late);
        assert!(!clocks.is_confirmed(at(9_000, 0), |_| true), "nobody was heard");
        clocks.heard(home(1), at(1, 0), at(1, -6 * MINUTE).wall_ms);
        assert!(!clocks.is_confirmed(at(9_000, 0), |_| true), "it shows another");
        clocks.heard(home(2), at(1, 0), at(1, MINUTE).wall_ms);
        assert!(!clocks.is_confirmed(at(9_000, 0), |other| *other == home(1)), "a stranger");
        assert!(clocks.is_confirmed(at(9_000, 0), |_| true));
        clocks.gone(&home(2));
        assert!(clocks.is_confirmed(at(9_000, 0), |_| true), "it need not stay");
    }

    #[test]
    fn strangers_and_homes_that_are_gone_do_not_count() {
        let mut clocks = Clocks::new(at(0, 0), 0);
        for n in 1..=4 {
            clocks.heard(home(n), at(1, 0), at(1, 20 * MINUTE).wall_ms);
        }
        assert_eq!(clocks.wrong_by(at(2, 0), |_| true), Some(-20 * MINUTE));
        assert_eq!(clocks.wrong_by(at(2, 0), |_| false), None);
        assert_eq!(clocks.wrong_by(at(2, 0), |other| *other == home(1)), None);
        (1..=4).for_each(|n| clocks.gone(&home(n)));
        assert_eq!(clocks.wrong_by(at(2, 0), |_| true), None);
        clocks.heard(home(1), at(3, 0), u64::MAX);
        clocks.heard(home(2), at(3, 0), 0);
        assert_eq!(clocks.wrong_by(at(4, 0), |_| true), None);
    }
}
