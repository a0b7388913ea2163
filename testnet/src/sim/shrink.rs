//! Makes a failing plan shorter: fewer things that happen, and fewer homes, as long as the same promise is broken.
//! (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002, without its complements.)

use std::time::{Duration, Instant};

use super::{Broken, Canary, Plan, run_plan};

/// The shortest plan that was found in the time, and what it breaks.
pub fn shrink(
    plan: &Plan,
    broken: &Broken,
    canary: Option<Canary>,
    within: Duration,
) -> (Plan, Broken) {
    let until = Instant::now() + within;
    let mut best = (plan.clone(), broken.clone());
    let tries = |candidate: Plan, best: &mut (Plan, Broken)| {
        let same =
            run_plan(&candidate, canary, false).err().filter(|b| b.promise == broken.promise);
        same.map(|broken| *best = (candidate, broken)).is_some()
    };
    // What comes after the last that matters goes first: a part of the tail at a time.
    let mut part = plan.deeds.len().div_ceil(2);
    while part > 0 && Instant::now() < until {
        let mut at = best.0.deeds.len();
        let mut removed = false;
        while at > 0 && Instant::now() < until {
            let from = at.saturating_sub(part);
            let mut candidate = best.0.clone();
            candidate.deeds.drain(from..at);
            removed |= tries(candidate, &mut best);
            at = from;
        }
        if !removed || part > 1 {
            part /= 2;
        }
    }
    while best.0.homes > 2 && Instant::now() < until {
        let candidate = Plan { homes: best.0.homes - 1, ..best.0.clone() };
        if !tries(candidate, &mut best) {
            break;
        }
    }
    best
}
