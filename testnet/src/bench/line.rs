//! One measurement: a line of JSON, or of a table.

use std::fmt;

use serde::Serialize;

use super::check::Verdict;
use super::limits::Limits;
use super::machine::Machine;

/// One result.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
    /// What was done.
    pub scenario: &'static str,
    /// In which variant.
    pub variant: String,
    /// What `count` counts.
    pub unit: &'static str,
    /// How many.
    pub count: u64,
    /// Of these a second.
    pub per_s: f64,
    /// From sending to the answer (`federated`, `group`: to the receiver; `restart`: from start to ready), median.
    pub p50_ms: f64,
    /// The slowest in a hundred.
    pub p99_ms: f64,
    /// The slowest in a thousand.
    pub p999_ms: f64,
    /// Processor seconds of the homes.
    pub cpu_s_per_1000: f64,
    /// The most resident memory of the homes, together.
    pub rss_peak_bytes: u64,
    /// What the homes' directories grew by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes_per_message: Option<f64>,
    /// What was written to the journal: messages, and what changed because of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_bytes_per_message: Option<f64>,
    /// What the home's resident memory grew by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_connection: Option<f64>,
    /// To the receiver, median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_p50_ms: Option<f64>,
    /// To the receiver, the slowest in a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_p99_ms: Option<f64>,
    /// Processor seconds of the load process, which takes them from the same cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_cpu_s_per_1000: Option<f64>,
    /// Of `group`, whose count is deliveries, and whose other figures by the thousand are by a thousand deliveries:
    /// messages that were answered, in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_s: Option<f64>,
    /// Processors that the home kept busy, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_cores: Option<f64>,
    /// Processors that the load kept busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_cores: Option<f64>,
    /// Sockets that were lost and renewed: members who were too slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconnects: Option<u64>,
    /// Deliveries a second by echoes a second of bare WebSockets, each of which is two frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_echo: Option<f64>,
    /// Homes of the group of `group-wide`. There the times are from sending until all have the message, `cpu_s_per_1000`
    /// is the origin's, and the bytes are those below TCP, all protocols together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homes: Option<usize>,
    /// What the origin sent for one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_bytes_out_per_message: Option<f64>,
    /// What it received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_bytes_in_per_message: Option<f64>,
    /// What all homes sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_bytes_out_per_message: Option<f64>,
    /// Processor seconds of all homes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all_cpu_s_per_1000: Option<f64>,
    /// Deliveries that gossip left to the streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// `per_s` of `media` by what it is held against: an upload by the copy, a download by nginx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_limit: Option<f64>,
    /// Calls the home refused; they do not count as sent.
    pub refused: u64,
    /// What was wrong.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// `p50_ms` in flushes of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_in_fsyncs: Option<f64>,
    /// `p99_ms` in the slowest of a hundred flushes of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_in_fsyncs: Option<f64>,
    /// What it is held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) machine: Option<Machine>,
}

impl Line {
    /// Nothing was lost, doubled or out of order.
    pub fn is_good(&self) -> bool {
        self.verdict.is_good()
    }

    pub(super) fn measured_on(&mut self, machine: &Machine) {
        self.machine = Some(machine.clone());
    }

    pub(super) fn held_against(&mut self, limits: &Limits, machine: &Machine) {
        if self.scenario == "quiet" {
            self.p50_in_fsyncs = Some(self.p50_ms / limits.fsync_p50_ms);
            self.p99_in_fsyncs = Some(self.p99_ms / limits.fsync_p99_ms);
        }
        if self.scenario == "group" {
            self.per_echo = Some(self.per_s / limits.ws_echo_per_s);
        }
        self.limits = Some(limits.clone());
        self.machine = Some(machine.clone());
    }
}

/// The table's first line.
pub(super) fn heading() -> String {
    format!(
        "\n{:<10} {:<13} {:>10} {:>11} {:>8} {:>8} {:>8} {:>10} {:>9} {:>8} {:>8}",
        "scenario",
        "variant",
        "count",
        "per s",
        "p50 ms",
        "p99 ms",
        "p99.9",
        "CPU s/1000",
        "RSS MB",
        "disk B",
        "conn B"
    )
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.0}"));
        write!(
            f,
            "{:<10} {:<13} {:>10} {:>11.0} {:>8.2} {:>8.2} {:>8.2} {:>10.4} {:>9.1} {:>8} {:>8}",
            self.scenario,
            self.variant,
            self.count,
            self.per_s,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.cpu_s_per_1000,
            self.rss_peak_bytes as f64 / 1e6,
            optional(self.disk_bytes_per_message),
            optional(self.bytes_per_connection),
        )?;
        if let (Some(p50), Some(p99)) = (self.p50_in_fsyncs, self.p99_in_fsyncs) {
            write!(f, "  ({p50:.1} × fsync p50, {p99:.1} × p99)")?;
        }
        if let (Some(messages), Some(home), Some(load)) =
            (self.messages_per_s, self.home_cores, self.load_cores)
        {
            write!(f, "  {messages:.0} messages/s; busy cores: home {home:.2}, load {load:.2}")?;
        }
        if let Some(journal) = self.journal_bytes_per_message {
            write!(f, "; {journal:.0} B of journal a message")?;
        }
        if let Some(per_echo) = self.per_echo {
            write!(f, "; {per_echo:.3} × bare echo")?;
        }
        if let Some(of_limit) = self.of_limit {
            write!(f, "; {of_limit:.2} × limit")?;
        }
        if let Some(reconnects) = self.reconnects.filter(|reconnects| *reconnects > 0) {
            write!(f, "; {reconnects} reconnected")?;
        }
        if let Some(delivery) = self.delivery_p50_ms {
            write!(f, "  delivered p50 {delivery:.2} ms")?;
        }
        if let (Some(origin), Some(all)) =
            (self.origin_bytes_out_per_message, self.all_bytes_out_per_message)
        {
            write!(f, "  {origin:.0} B out of the origin, {all:.0} of all")?;
        }
        if let Some(missed) = self.missed.filter(|missed| *missed > 0) {
            write!(f, "  {missed} left to the streams")?;
        }
        if self.refused > 0 {
            write!(f, "  {} refused", self.refused)?;
        }
        let Verdict { lost, doubled, disordered } = self.verdict;
        if !self.is_good() {
            write!(f, "  WRONG: {lost} lost, {doubled} doubled, {disordered} out of order")?;
        }
        Ok(())
    }
}
