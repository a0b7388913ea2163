//! What everybody writes to while it goes on: figures, how each home is, and what was found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::check::{Finding, Window};

/// Findings kept; beyond, the count is enough.
const FINDINGS_KEPT: usize = 1_000;

/// One number.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a home is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Down,
    Starting,
    Up,
    Frozen,
    Full,
    Skewed,
    Restoring,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Down,
        Self::Starting,
        Self::Up,
        Self::Frozen,
        Self::Full,
        Self::Skewed,
        Self::Restoring,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Frozen => "frozen",
            Self::Full => "full",
            Self::Skewed => "skewed",
            Self::Restoring => "restoring",
        }
    }
}

/// The figures of a run.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) kills: Count,
    pub(super) freezes: Count,
    pub(super) cuts: Count,
    pub(super) slowed: Count,
    pub(super) fills: Count,
    pub(super) skews: Count,
    pub(super) backups: Count,
    pub(super) restores: Count,
    /// Faults that could not be done in time because the home was still busy with others.
    pub(super) missed: Count,
    pub(super) sent: Count,
    pub(super) answered: Count,
    pub(super) shown: Count,
    /// Receiving clients that were thrown away and went on from where they had stored to be.
    pub(super) clients_restarted: Count,
    /// The longest time from starting a home to its being ready, in milliseconds.
    pub(super) slowest_start_ms: AtomicU64,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) begin: Instant,
    pub(super) figures: Figures,
    names: Vec<String>,
    states: Vec<AtomicU8>,
    refused: Mutex<BTreeMap<String, u64>>,
    findings: Mutex<Vec<Finding>>,
    windows: Mutex<Vec<Window>>,
}

impl Board {
    pub(super) fn of(names: &[String]) -> Self {
        Self {
            begin: Instant::now(),
            figures: Figures::default(),
            names: names.to_vec(),
            states: names.iter().map(|_| AtomicU8::new(State::Down as u8)).collect(),
            refused: Mutex::default(),
            findings: Mutex::default(),
            windows: Mutex::default(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    pub(super) fn set_state(&self, home: usize, state: State) {
        if let Some(slot) = self.states.get(home) {
            slot.store(state as u8, Ordering::Relaxed);
        }
    }

    /// Each home's name and how it is.
    pub(super) fn states(&self) -> impl Iterator<Item = (&str, State)> {
        self.names.iter().zip(&self.states).map(|(name, state)| {
            let number = usize::from(state.load(Ordering::Relaxed));
            (name.as_str(), State::ALL.get(number).copied().unwrap_or(State::Down))
        })
    }

    pub(super) fn started_within(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.figures.slowest_start_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// A call was refused, with this word.
    pub(super) fn refused(&self, reason: &str) {
        *lock(&self.refused).entry(reason.to_owned()).or_default() += 1;
    }

    pub(super) fn refusals(&self) -> BTreeMap<String, u64> {
        lock(&self.refused).clone()
    }

    pub(super) fn found(&self, finding: Finding) {
        let mut findings = lock(&self.findings);
        // What is said again and again is known.
        if findings.len() < FINDINGS_KEPT && !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        lock(&self.findings).clone()
    }

    pub(super) fn restored(&self, window: Window) {
        lock(&self.windows).push(window);
    }

    pub(super) fn windows(&self) -> Vec<Window> {
        lock(&self.windows).clone()
    }
}

/// A lock whose holder panicked holds what it held.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
