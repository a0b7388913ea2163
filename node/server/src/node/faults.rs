//! What other homes have done that no honest home does, and how long each stays out for it.
//!
//! Kept by home, not by stream or connection: a peer may replace those as it likes. One fault may be an old bug, so a
//! few are only noted; whoever goes on, or lies about what it holds, is cut and refused at hello (`misbehaved`) for a
//! while that doubles with each cut. All of it is forgotten in time, and at once by `homing peer retry`.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use homing_wire::HomeId;
use parking_lot::Mutex;
use tracing::{debug, warn};

/// Homes remembered. A home that comes under a new identity is a new one whatever is remembered; so many keep the
/// memory small, and the one that was quiet the longest goes first.
const HOMES: usize = 4_096;

/// What is kept to.
#[derive(Clone, Copy, Debug)]
pub(super) struct FaultLimits {
    /// Faults within `window` at which a home is cut.
    pub(super) strikes: usize,
    /// How long a fault is held against a home.
    pub(super) window: Duration,
    /// How long a home stays out after its first cut.
    pub(super) backoff_min: Duration,
    /// The longest that a home stays out. After so long without a cut it begins anew.
    pub(super) backoff_max: Duration,
}

/// See the module.
pub(super) struct Faults {
    limits: FaultLimits,
    homes: Mutex<BTreeMap<HomeId, Record>>,
}

struct Record {
    /// When it was at fault, oldest first.
    strikes: VecDeque<Instant>,
    /// How long it was kept out the last time; zero: never.
    backoff: Duration,
    /// It is refused until then.
    until: Instant,
    /// When it was last at fault.
    last: Instant,
    /// The operator was told, and it has done nothing good since.
    told: bool,
}

/// What a fault leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is held against the home; so many are.
    Noted {
        strikes: usize,
        /// The operator knows of this home.
        told: bool,
    },
    /// The home is to be disconnected, and stays out so long.
    Cut { stays_out: Duration, told: bool },
}

impl Verdict {
    /// Once a home to the operator, until it does something good: a home at fault could fill the log.
    pub(super) fn log(self, peer: &str, reason: &str) {
        match self {
            Self::Noted { strikes, told: false } => {
                warn!(peer, reason, strikes, "a home does what no honest home does");
            }
            Self::Cut { stays_out, told: false } => warn!(
                peer,
                reason,
                stays_out_s = stays_out.as_secs(),
                "a home does what no honest home does: cut, and refused for a while (`homing peer retry` takes it back)"
            ),
            Self::Noted { told: true, .. } | Self::Cut { told: true, .. } => {
                debug!(peer, reason, verdict = ?self, "a home goes on doing what no honest home does");
            }
        }
    }
}

impl Faults {
    /// Nobody has done anything.
    pub(super) fn new(limits: FaultLimits) -> Self {
        Self { limits, homes: Mutex::default() }
    }

    /// A fault that may be an old bug.
    pub(super) fn strike(&self, home: HomeId, now: Instant) -> Verdict {
        self.at_fault(home, now, false)
    }

    /// A lie: the home is cut for the first.
    pub(super) fn lie(&self, home: HomeId, now: Instant) -> Verdict {
        self.at_fault(home, now, true)
    }

    fn at_fault(&self, home: HomeId, now: Instant, lies: bool) -> Verdict {
        let limits = self.limits;
        let mut homes = self.homes.lock();
        homes.retain(|_, record| !record.is_over(&limits, now));
        if homes.len() >= HOMES && !homes.contains_key(&home) {
            let quiet = homes.iter().min_by_key(|(_, record)| record.last).map(|(home, _)| *home);
            quiet.map(|quiet| homes.remove(&quiet));
        }
        let record = homes.entry(home).or_insert_with(|| Record {
            strikes: VecDeque::new(),
            backoff: Duration::ZERO,
            until: now,
            last: now,
            told: false,
        });
        record.last = now;
        if record.until > now {
            // Of the connection that is being cut: it is one deed.
            return Verdict::Cut { stays_out: record.until - now, told: true };
        }
        record.strikes.retain(|at| now.duration_since(*at) < limits.window);
        record.strikes.push_back(now);
        let (strikes, told) = (record.strikes.len(), record.told);
        if !lies && strikes < limits.strikes {
            return Verdict::Noted { strikes, told };
        }
        record.strikes.clear();
        let longer = record.backoff.saturating_mul(2).max(limits.backoff_min);
        record.backoff = longer.min(limits.backoff_max);
        record.until = now + record.backoff;
        record.told = true;
        Verdict::Cut { stays_out: record.backoff, told }
    }

    /// How long a home is still refused, if it is.
    pub(super) fn refused_for(&self, home: &HomeId, now: Instant) -> Option<Duration> {
        let until = self.homes.lock().get(home)?.until;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// A home did what honest homes do: what it does wrong next is news. How long it stays out for that is not: a
    /// liar does a good deed between two lies for nothing.
    pub(super) fn behaves(&self, home: &HomeId) {
        if let Some(record) = self.homes.lock().get_mut(home) {
            record.told = false;
        }
    }

    /// The operator wants a home back, or all.
    pub(super) fn pardon(&self, home: Option<&HomeId>) {
        let mut homes = self.homes.lock();
        homes.retain(|id, _| home.is_some_and(|home| home != id));
    }
}

impl Record {
    fn is_over(&self, limits: &FaultLimits, now: Instant) -> bool {
        let struck = self.strikes.back().is_some_and(|at| now.duration_since(*at) < limits.window);
        let cut = !self.backoff.is_zero()
            && now.saturating_duration_since(self.until) < limits.backoff_max;
        !struck && !cut && self.until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIAR: HomeId = HomeId([66; 32]);
    const MINUTE: Duration = Duration::from_secs(60);

    fn faults() -> Faults {
        Faults::new(FaultLimits {
            strikes: 3,
            window: MINUTE * 10,
            backoff_min: MINUTE,
            backoff_max: MINUTE * 60,
        })
    }

    #[test]
    fn three_in_a_while_are_too_many_and_old_ones_are_forgotten() {
        let (faults, start) = (faults(), Instant::now());
        for n in 0..20 {
            let verdict = faults.strike(LIAR, start + MINUTE * 5 * n);
            assert_eq!(verdict, Verdict::Noted { strikes: n.min(1) as usize + 1, told: false });
        }
        let again = start + MINUTE * 5 * 19 + MINUTE;
        let cut = Verdict::Cut { stays_out: MINUTE, told: false };
        assert_eq!(faults.strike(LIAR, again), cut);
        assert_eq!(faults.refused_for(&LIAR, again), Some(MINUTE));
        assert_eq!(faults.refused_for(&HomeId([1; 32]), again), None);
        assert_eq!(faults.refused_for(&LIAR, again + MINUTE), None);
    }

    #[test]
    fn it_stays_out_longer_each_time_and_is_warned_of_once() {
        let (faults, mut now) = (faults(), Instant::now());
        let mut out = Vec::new();
        for n in 0..8 {
            let Verdict::Cut { stays_out, told } = faults.lie(LIAR, now) else { panic!("{n}") };
            assert_eq!(told, n > 0);
            out.push(stays_out.as_secs() / 60);
            // What else comes of that connection is the same deed.
            let same = Verdict::Cut { stays_out, told: true };
            assert_eq!((faults.lie(LIAR, now), faults.strike(LIAR, now)), (same, same));
            now += stays_out;
        }
        assert_eq!(out, [1, 2, 4, 8, 16, 32, 60, 60]);
        // A good deed makes the next fault news, and no shorter.
        faults.behaves(&LIAR);
        let cut = Verdict::Cut { stays_out: MINUTE * 60, told: false };
        assert_eq!(faults.lie(LIAR, now), cut);
        // The operator takes it back; or it was good for long.
        faults.pardon(Some(&HomeId([1; 32])));
        assert!(faults.refused_for(&LIAR, now).is_some());
        faults.pardon(Some(&LIAR));
        assert_eq!(faults.refused_for(&LIAR, now), None);
        let cut = Verdict::Cut { stays_out: MINUTE, told: false };
        assert_eq!(faults.lie(LIAR, now), cut);
        assert_eq!(faults.lie(LIAR, now + MINUTE * 61), cut);
    }

    #[test]
    fn fresh_identities_take_no_memory_without_end() {
        let (faults, now) = (faults(), Instant::now());
        for n in 0..5_000_u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            faults.lie(HomeId(id), now + Duration::from_millis(n));
        }
        assert_eq!(faults.homes.lock().len(), HOMES);
        assert!(!faults.homes.lock().contains_key(&HomeId([0; 32])), "the oldest goes first");
    }
}
