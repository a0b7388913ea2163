//! What goes wrong, when and where: a schedule that depends on nothing but the seed and what can be done here.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// One home is killed about this often: with three homes 85 kills in ten minutes.
const KILL_EVERY: Duration = Duration::from_secs(21);

/// One home is frozen about this often.
const FREEZE_EVERY: Duration = Duration::from_secs(45);

/// One link is disturbed about this often.
const LINK_EVERY: Duration = Duration::from_secs(36);

/// Some disk is filled about this often.
const FILL_EVERY: Duration = Duration::from_secs(60);

/// Some clock is wrong about this often.
const SKEW_EVERY: Duration = Duration::from_secs(55);

/// Some backup is made, and restored, about this often.
const RESTORE_EVERY: Duration = Duration::from_secs(70);

/// The clients shall have begun.
const QUIET_START: Duration = Duration::from_secs(2);

/// A receiver takes no event from farther ahead than this (DESIGN.md section 5): beyond, a home's own clock check
/// has to refuse its sends.
const AHEAD_TAKEN: i64 = 300_000;

/// What can be done, to whom, for how long.
#[derive(Clone, Debug)]
pub struct Course {
    /// Fixes everything that is random.
    pub seed: u64,
    /// How long.
    pub lasting: Duration,
    /// For each home, whether its disk can be filled.
    pub disks: Vec<bool>,
    /// Clocks can be set wrong.
    pub clocks: bool,
    /// Backups can be made and restored.
    pub backups: bool,
}

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// After the beginning.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

/// To whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// To a home.
    Home(usize, HomeFault),
    /// To the link between two homes.
    Link {
        /// The lower number.
        a: usize,
        /// The higher number.
        b: usize,
        /// What.
        what: LinkFault,
        /// How long.
        lasting: Duration,
    },
}

/// What happens to a home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HomeFault {
    /// `kill -9` and started again.
    Kill {
        /// And killed once more so long after that start.
        again_after: Option<Duration>,
    },
    /// Stopped in time (SIGSTOP).
    Freeze {
        /// How long.
        lasting: Duration,
        /// Killed then instead of going on.
        then_killed: bool,
    },
    /// Its disk is filled.
    Fill {
        /// How long.
        lasting: Duration,
        /// To the last byte, with a kill meanwhile; else to below the limit at which sends are refused.
        full: bool,
    },
    /// Killed and started with a wrong clock.
    Skew {
        /// How wrong.
        offset_ms: i64,
        /// Killed and started with a right one after.
        lasting: Duration,
    },
    /// A backup of it is made while it runs.
    Backup,
    /// It is killed and gets that backup back.
    Restore,
}

/// What happens to a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkFault {
    /// Nothing passes, and nobody is told.
    Silent,
    /// Nothing passes from the first (`true`) or the second home to the other.
    OneWay(bool),
    /// All connections are closed, and new ones as soon as they are made.
    Refused,
    /// Everything takes longer, and some datagrams are lost.
    Slow {
        /// At least so long.
        delay_ms: u64,
        /// And up to so much longer.
        jitter_ms: u64,
        /// Of a thousand datagrams.
        lost: u32,
    },
    /// No UDP, as some firewalls have it: TCP alone.
    NoUdp,
}

impl LinkFault {
    /// It counts as cut; else as slowed.
    pub fn is_cut(self) -> bool {
        match self {
            Self::Silent | Self::OneWay(_) | Self::Refused | Self::NoUdp => true,
            Self::Slow { .. } => false,
        }
    }
}

/// The whole schedule, in the order of time.
pub fn plan(course: &Course) -> Vec<Planned> {
    let mut planner =
        Planner { course, taken: vec![Vec::new(); course.disks.len()], planned: Vec::new() };
    // The rare and long first: kills find their place between them.
    planner.restores();
    planner.fills();
    planner.skews();
    planner.freezes();
    planner.kills();
    planner.links();
    let mut planned = planner.planned;
    planned.sort_by_key(|planned| planned.at);
    planned
}

struct Planner<'a> {
    course: &'a Course,
    /// For each home, when something is done to it.
    taken: Vec<Vec<(Duration, Duration)>>,
    planned: Vec<Planned>,
}

impl Planner<'_> {
    /// A stream of its own for each kind: what one kind does leaves the others as they are.
    fn rng(&self, kind: u64) -> StdRng {
        StdRng::seed_from_u64(self.course.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ kind)
    }

    /// Moments about `mean` apart.
    fn moments(&self, rng: &mut StdRng, mean: Duration) -> Vec<Duration> {
        let until = self.course.lasting;
        // Short runs shall have one of each kind too.
        let mean = mean.min(until.mul_f64(0.45));
        let mut moments = Vec::new();
        let mut at = QUIET_START + mean.mul_f64(rng.random_range(0.2..0.8));
        while at < until {
            moments.push(at);
            at += mean.mul_f64(rng.random_range(0.5..1.5)).max(Duration::from_millis(100));
        }
        moments
    }

    fn homes(&self) -> u32 {
        u32::try_from(self.taken.len()).unwrap_or(u32::MAX).max(1)
    }

    /// A home among `among` that is left alone then; taken from then on.
    fn take(
        &mut self,
        rng: &mut StdRng,
        at: Duration,
        lasting: Duration,
        among: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let end = at + lasting;
        let is_free = |spans: &Vec<(Duration, Duration)>| {
            spans.iter().all(|(from, to)| end < *from || *to < at)
        };
        let free: Vec<usize> = (0..self.taken.len())
            .filter(|home| among(*home) && self.taken.get(*home).is_some_and(is_free))
            .collect();
        if free.is_empty() {
            return None;
        }
        let home = free[rng.random_range(0..free.len())];
        self.taken[home].push((at, end));
        Some(home)
    }

    fn put(&mut self, at: Duration, home: usize, fault: HomeFault) {
        self.planned.push(Planned { at, fault: Fault::Home(home, fault) });
    }

    /// One home at a time is a life behind; the next backup is made when that is over.
    fn restores(&mut self) {
        if !self.course.backups {
            return;
        }
        let mut rng = self.rng(1);
        let gap = RESTORE_EVERY.min(self.course.lasting.mul_f64(0.45)).mul_f64(0.4);
        for at in self.moments(&mut rng, RESTORE_EVERY) {
            let restored_at = at + gap.mul_f64(rng.random_range(0.3..1.0));
            if restored_at >= self.course.lasting {
                break;
            }
            // Only around both ends: in between the home is as exposed as ever.
            let short = Duration::from_secs(3);
            let Some(home) = self.take(&mut rng, at, short, |_| true) else { continue };
            self.taken[home].push((restored_at, restored_at + short));
            self.put(at, home, HomeFault::Backup);
            self.put(restored_at, home, HomeFault::Restore);
        }
    }

    fn fills(&mut self) {
        let mut rng = self.rng(2);
        let disks = self.course.disks.clone();
        for (number, at) in self.moments(&mut rng, FILL_EVERY).into_iter().enumerate() {
            let lasting = Duration::from_millis(rng.random_range(3_000..8_000));
            let has_disk = |home: usize| disks.get(home).is_some_and(|has| *has);
            let Some(home) = self.take(&mut rng, at, lasting, has_disk) else { continue };
            self.put(at, home, HomeFault::Fill { lasting, full: number % 3 == 1 });
        }
    }

    fn skews(&mut self) {
        if !self.course.clocks {
            return;
        }
        let mut rng = self.rng(3);
        for at in self.moments(&mut rng, SKEW_EVERY) {
            let lasting = Duration::from_millis(rng.random_range(5_000..20_000));
            let Some(home) = self.take(&mut rng, at, lasting, |_| true) else { continue };
            let offset_ms = match rng.random_range(0..5) {
                // Not noticed.
                0 | 1 => rng.random_range(-AHEAD_TAKEN + 30_000..AHEAD_TAKEN - 30_000),
                // A little too far ahead: what it should stamp in spite of it is taken a minute later.
                2 => AHEAD_TAKEN + rng.random_range(10_000..60_000),
                _ => -AHEAD_TAKEN - rng.random_range(10_000..600_000),
            };
            self.put(at, home, HomeFault::Skew { offset_ms, lasting });
        }
    }

    fn freezes(&mut self) {
        let mut rng = self.rng(4);
        let longest = Duration::from_secs(15).min(self.course.lasting.mul_f64(0.25));
        for at in self.moments(&mut rng, FREEZE_EVERY / self.homes()) {
            let lasting = Duration::from_secs(1) + longest.mul_f64(rng.random_range(0.0..0.93));
            let then_killed = rng.random_bool(0.25);
            let Some(home) = self.take(&mut rng, at, lasting, |_| true) else { continue };
            self.put(at, home, HomeFault::Freeze { lasting, then_killed });
        }
    }

    fn kills(&mut self) {
        let mut rng = self.rng(5);
        for at in self.moments(&mut rng, KILL_EVERY / self.homes()) {
            let again_after =
                rng.random_bool(0.15).then(|| Duration::from_millis(rng.random_range(1..600)));
            // Where all are busy one is killed when it is through with the other.
            let home = self
                .take(&mut rng, at, Duration::from_secs(1), |_| true)
                .unwrap_or_else(|| rng.random_range(0..self.taken.len().max(1)));
            self.put(at, home, HomeFault::Kill { again_after });
        }
    }

    fn links(&mut self) {
        let mut rng = self.rng(6);
        let homes = self.taken.len();
        let pairs: Vec<_> = (0..homes).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        let Ok(count @ 1..) = u32::try_from(pairs.len()) else { return };
        let mut taken_until = vec![Duration::ZERO; pairs.len()];
        for at in self.moments(&mut rng, LINK_EVERY / count) {
            let free: Vec<_> = (0..pairs.len()).filter(|pair| taken_until[*pair] < at).collect();
            // Mostly short, sometimes longer than what declares a connection dead.
            let lasting = Duration::from_millis(match rng.random_range(0..3) {
                0 => rng.random_range(500..3_000),
                1 => rng.random_range(3_000..12_000),
                _ => rng.random_range(12_000..25_000),
            });
            let what = match rng.random_range(0..20) {
                0..=5 => LinkFault::Silent,
                6..=7 => LinkFault::OneWay(rng.random()),
                8..=11 => LinkFault::Refused,
                12..=17 => LinkFault::Slow {
                    delay_ms: rng.random_range(10..300),
                    jitter_ms: rng.random_range(1..150),
                    lost: rng.random_range(0..60),
                },
                _ => LinkFault::NoUdp,
            };
            if free.is_empty() {
                continue;
            }
            let pair = free[rng.random_range(0..free.len())];
            let lasting = lasting.min(self.course.lasting.mul_f64(0.4));
            taken_until[pair] = at + lasting;
            let (a, b) = pairs[pair];
            self.planned.push(Planned { at, fault: Fault::Link { a, b, what, lasting } });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(seed: u64, minutes: u64, homes: usize) -> Course {
        let lasting = Duration::from_secs(minutes * 60);
        Course { seed, lasting, disks: vec![true; homes], clocks: true, backups: true }
    }

    fn count(planned: &[Planned], is: impl Fn(&HomeFault) -> bool) -> usize {
        let of_homes = planned.iter().filter(|p| matches!(&p.fault, Fault::Home(_, f) if is(f)));
        of_homes.count()
    }

    #[test]
    fn a_seed_is_a_schedule() {
        assert_eq!(plan(&course(7, 10, 3)), plan(&course(7, 10, 3)));
        assert_ne!(plan(&course(7, 10, 3)), plan(&course(8, 10, 3)));
    }

    #[test]
    fn ten_minutes_have_at_least_sixty_kills_and_something_of_everything() {
        for seed in 0..200 {
            let planned = plan(&course(seed, 10, 3));
            let kills = count(&planned, |f| matches!(f, HomeFault::Kill { .. }));
            assert!((65..140).contains(&kills), "seed {seed}: {kills}");
            assert!(count(&planned, |f| matches!(f, HomeFault::Freeze { .. })) > 10);
            assert!(count(&planned, |f| matches!(f, HomeFault::Fill { full: true, .. })) > 0);
            assert!(count(&planned, |f| matches!(f, HomeFault::Fill { full: false, .. })) > 0);
            assert!(count(&planned, |f| matches!(f, HomeFault::Skew { .. })) > 3);
            assert!(count(&planned, |f| matches!(f, HomeFault::Restore)) > 3);
            let links = planned.iter().filter(|p| matches!(p.fault, Fault::Link { .. }));
            assert!(links.count() > 30);
            assert!(planned.is_sorted_by_key(|p| p.at));
        }
    }

    #[test]
    fn two_minutes_have_a_restore_too_and_one_home_has_no_links() {
        for seed in 0..200 {
            let planned = plan(&course(seed, 2, 3));
            assert!(count(&planned, |f| *f == HomeFault::Restore) > 0, "seed {seed}");
            let alone = plan(&course(seed, 2, 1));
            assert!(alone.iter().all(|p| matches!(p.fault, Fault::Home(0, _))));
        }
    }

    #[test]
    fn one_home_at_a_time_is_between_backup_and_restore() {
        for seed in 0..200 {
            let mut between = None;
            for Planned { fault, .. } in plan(&course(seed, 30, 5)) {
                if let Fault::Home(home, HomeFault::Backup) = fault {
                    assert_eq!(between.replace(home), None, "seed {seed}");
                } else if let Fault::Home(home, HomeFault::Restore) = fault {
                    assert_eq!(between.take(), Some(home), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_done_is_not_planned() {
        let disks = vec![false; 3];
        let course = Course { disks, clocks: false, backups: false, ..course(1, 10, 3) };
        let planned = plan(&course);
        assert!(!planned.is_empty());
        let impossible = |f: &HomeFault| match f {
            HomeFault::Fill { .. }
            | HomeFault::Skew { .. }
            | HomeFault::Backup
            | HomeFault::Restore => true,
            HomeFault::Kill { .. } | HomeFault::Freeze { .. } => false,
        };
        assert_eq!(count(&planned, impossible), 0);
    }
}
