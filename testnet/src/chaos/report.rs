//! What is said: a line of progress, a summary, the last line.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::board::{Board, State};
use super::check::{Broken, Chat, Finding};
use super::links::Links;

/// Findings that are named; all of them stand in `findings.jsonl` beside the logs.
const NAMED: usize = 10;

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Fixes the schedule.
    pub seed: u64,
    /// How long faults were made.
    #[serde(serialize_with = "whole_where_it_is")]
    pub minutes: f64,
    /// How many homes.
    pub homes: usize,
    /// `kill -9`.
    pub kills: u64,
    /// SIGSTOP.
    pub freezes: u64,
    /// Links on which nothing passed, or not everything.
    pub cuts: u64,
    /// Links that were slow.
    pub slowed: u64,
    /// Disks that were full.
    pub fills: u64,
    /// Clocks that were wrong.
    pub skews: u64,
    /// Backups made.
    pub backups: u64,
    /// Backups restored.
    pub restores: u64,
    /// Faults that were planned and came too late for their home.
    pub missed: u64,
    /// Faults that cannot be made here, and why.
    pub skipped: Vec<String>,
    /// Chats.
    pub channels: usize,
    /// Messages sent.
    pub sent: u64,
    /// Of these, answered.
    pub acknowledged: u64,
    /// Of these, shown to the other side.
    pub delivered: u64,
    /// Answers a second, while faults were made.
    pub acknowledged_per_s: f64,
    /// From sending to being shown to the other side, median.
    pub delivery_p50_ms: f64,
    /// And the slowest in a hundred.
    pub delivery_p99_ms: f64,
    /// And the slowest: what an outage and the catching up after it took together.
    pub slowest_delivery_s: f64,
    /// From the end of the faults until nobody owed anybody anything.
    pub settled_after_s: f64,
    /// From a start to being ready.
    pub slowest_start_s: f64,
    /// Receiving clients that were thrown away and went on from their stored place.
    pub clients_restarted: u64,
    /// Sends that were told to come again, or whose connection was given up, by reason.
    pub told_to_wait: BTreeMap<String, u64>,
    /// Entries of the nodes themselves.
    pub notices: BTreeMap<String, u64>,
    /// Promised, and not there.
    pub lost: u64,
    /// There twice.
    pub doubled: u64,
    /// Not in the order sent.
    pub disordered: u64,
    /// Not the same everywhere.
    pub diverged: u64,
    /// Homes that ended, refused or stood still where they must not.
    pub troubles: u64,
}

impl Report {
    /// Of the figures so far.
    pub(super) fn of(board: &Board) -> Self {
        let f = &board.figures;
        Self {
            kills: f.kills.read(),
            freezes: f.freezes.read(),
            cuts: f.cuts.read(),
            slowed: f.slowed.read(),
            fills: f.fills.read(),
            skews: f.skews.read(),
            backups: f.backups.read(),
            restores: f.restores.read(),
            missed: f.missed.read(),
            sent: f.sent.read(),
            clients_restarted: f.clients_restarted.read(),
            slowest_start_s: f.slowest_start_ms.load(Ordering::Relaxed) as f64 / 1e3,
            told_to_wait: board.refusals(),
            ..Self::default()
        }
    }

    /// Counts what was answered and shown.
    pub(super) fn count(&mut self, chats: &[Chat], lasting: Duration) {
        let mut times = Vec::new();
        self.channels = chats.len();
        let mut during = 0;
        for chat in chats {
            let mut at = [const { std::collections::BTreeMap::new() }; 2];
            for (party, at) in chat.parties.iter().zip(&mut at) {
                for shown in &party.shown {
                    // The first time counts.
                    at.entry(shown.id).or_insert(shown.at);
                }
            }
            for sent in &chat.sent {
                let Some(answer) = &sent.answer else { continue };
                self.acknowledged += 1;
                during += u64::from(answer.at <= lasting);
                if let Some(shown) = at[1 - sent.by].get(&sent.id) {
                    self.delivered += 1;
                    times.push(shown.saturating_sub(sent.sent_at));
                }
            }
        }
        self.acknowledged_per_s = during as f64 / lasting.as_secs_f64();
        times.sort_unstable();
        let quantile = |hundredths: usize| {
            let place = (times.len() * hundredths / 100).min(times.len().saturating_sub(1));
            times.get(place).copied().unwrap_or_default()
        };
        self.delivery_p50_ms = quantile(50).as_secs_f64() * 1e3;
        self.delivery_p99_ms = quantile(99).as_secs_f64() * 1e3;
        self.slowest_delivery_s = quantile(100).as_secs_f64();
    }

    /// Counts what is broken: a message once in each way.
    pub(super) fn judge(&mut self, findings: &[Finding]) {
        let count = |broken: Broken| {
            let of_it = findings.iter().filter(|finding| finding.broken == broken);
            let mut messages = HashSet::new();
            let distinct = of_it.filter(|f| f.id.is_none() || messages.insert((f.channel, f.id)));
            distinct.count() as u64
        };
        self.lost = count(Broken::Lost);
        self.doubled = count(Broken::Doubled);
        self.disordered = count(Broken::Disordered);
        self.diverged = count(Broken::Diverged);
        self.troubles = count(Broken::Trouble);
    }

    /// No promise was broken.
    pub fn is_good(&self) -> bool {
        self.lost + self.doubled + self.disordered + self.diverged + self.troubles == 0
    }

    /// For people.
    pub(super) fn summary(&self) -> String {
        let mut text = format!(
            "\nfaults      {} kills, {} freezes, {} cuts, {} slow links, {} full disks, {} wrong clocks, \
             {} backups, {} restores ({} missed)\n\
             messages    {} sent in {} channels, {} acknowledged ({:.0} a second), {} delivered\n\
             delivery    p50 {:.0} ms, p99 {:.0} ms, slowest {:.1} s\n\
             recovery    slowest start {:.1} s, nothing owed {:.1} s after the last fault\n\
             clients     {} thrown away and begun again",
            self.kills,
            self.freezes,
            self.cuts,
            self.slowed,
            self.fills,
            self.skews,
            self.backups,
            self.restores,
            self.missed,
            self.sent,
            self.channels,
            self.acknowledged,
            self.acknowledged_per_s,
            self.delivered,
            self.delivery_p50_ms,
            self.delivery_p99_ms,
            self.slowest_delivery_s,
            self.slowest_start_s,
            self.settled_after_s,
            self.clients_restarted,
        );
        for (what, counts) in [("waited", &self.told_to_wait), ("notices", &self.notices)] {
            if !counts.is_empty() {
                let counts: Vec<_> = counts.iter().map(|(why, n)| format!("{n} {why}")).collect();
                // A string takes it.
                let _taken = write!(text, "\n{what:<12}{}", counts.join(", "));
            }
        }
        let _taken = write!(
            text,
            "\n\n{} lost, {} doubled, {} disordered, {} diverged, {} troubles (seed {})",
            self.lost, self.doubled, self.disordered, self.diverged, self.troubles, self.seed
        );
        text
    }
}

/// Two minutes are 2, not 2.0; only tests have parts of one.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn whole_where_it_is<S: Serializer>(minutes: &f64, to: S) -> Result<S::Ok, S::Error> {
    if minutes.fract() == 0.0 {
        to.serialize_u64(*minutes as u64)
    } else {
        to.serialize_f64(*minutes)
    }
}

/// The first of each kind.
pub(super) fn named(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    Broken::ALL
        .into_iter()
        .flat_map(move |broken| findings.iter().filter(move |f| f.broken == broken).take(NAMED))
}

/// How it goes, in a line.
pub(super) fn progress(board: &Board, links: &Links, lasting: Duration) -> String {
    let clock = |time: Duration| format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60);
    let states: Vec<_> = board
        .states()
        .map(|(name, state)| {
            let short = name.split('.').next().unwrap_or(name);
            if state == State::Up { short.to_owned() } else { format!("{short} {}", state.word()) }
        })
        .collect();
    let (cut, slow) = links.disturbed();
    let f = &board.figures;
    let elapsed = board.elapsed();
    let when = if elapsed < lasting { clock(elapsed) } else { "settling".to_owned() };
    format!(
        "{when}/{}  {}  links {cut} cut {slow} slow  {} kills  {} sent {} answered {} shown{}",
        clock(lasting),
        states.join(", "),
        f.kills.read(),
        f.sent.read(),
        f.answered.read(),
        f.shown.read(),
        match board.findings().len() {
            0 => String::new(),
            n => format!("  {n} FINDINGS"),
        }
    )
}

#[cfg(test)]
mod tests {
    use homing_client::Uuid;

    use super::*;

    #[test]
    fn a_broken_message_counts_once_and_ten_of_each_kind_are_named() {
        let finding = |broken, id| Finding {
            broken,
            channel: Some(Uuid::from_u128(1)),
            id: Some(Uuid::from_u128(id)),
            homes: vec!["acme.test".to_owned()],
            what: String::new(),
        };
        let mut findings: Vec<_> = (0..30).map(|id| finding(Broken::Lost, id)).collect();
        findings.extend((0..30).map(|id| finding(Broken::Lost, id)));
        findings.push(finding(Broken::Diverged, 7));
        findings.push(Finding::trouble("acme.test", "ended"));
        findings.push(Finding::trouble("acme.test", "ended"));
        let mut report = Report::default();
        assert!(report.is_good());
        report.judge(&findings);
        assert_eq!((report.lost, report.doubled, report.diverged, report.troubles), (30, 0, 1, 2));
        assert!(!report.is_good());
        assert_eq!(named(&findings).count(), 10 + 1 + 2);
    }
}
