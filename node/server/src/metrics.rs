//! What is counted, as text for Prometheus. Counters live where the things happen; here they get names.

use std::collections::BTreeMap;
use std::sync::Arc;

use homing_store::Timing;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The type of the answer, for `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a number only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does; the text adds `_total` to its name.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How often something was how large; only ever added to.
    Histogram,
}

/// How often something was how large.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// All of it together.
    pub sum: f64,
    /// How often.
    pub count: u64,
    /// Upper bounds, and how often it was at most so large but above the bound before. The last bound
    /// is [`f64::MAX`]: everything larger.
    pub buckets: Vec<(f64, u64)>,
}

/// Numbers of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// After `homing_`, with its unit last.
    pub name: &'static str,
    /// For people, without a full stop.
    pub help: &'static str,
    /// Whether it only rises.
    pub kind: Kind,
    /// The label's name, where there is one number per word.
    pub label: Option<&'static str>,
    /// The numbers, with the label's value.
    pub values: Vec<(String, f64)>,
    /// Of a [`Kind::Histogram`].
    pub distribution: Option<Distribution>,
}

impl Family {
    /// A number that only rises.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::single(name, help, Kind::Counter, value as f64)
    }

    /// A number as it is now.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self::single(name, help, Kind::Gauge, value)
    }

    /// Numbers that only rise, one per word. Words are ours: their number is bounded where they are counted.
    pub fn counters<K: ToString>(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &BTreeMap<K, u64>,
    ) -> Self {
        let values = values.iter().map(|(word, n)| (word.to_string(), *n as f64)).collect();
        Self { name, help, kind: Kind::Counter, label: Some(label), values, distribution: None }
    }

    /// How often something was how large.
    pub fn histogram(name: &'static str, help: &'static str, distribution: Distribution) -> Self {
        let distribution = Some(distribution);
        Self { name, help, kind: Kind::Histogram, label: None, values: Vec::new(), distribution }
    }

    fn single(name: &'static str, help: &'static str, kind: Kind, value: f64) -> Self {
        let values = vec![(String::new(), value)];
        Self { name, help, kind, label: None, values, distribution: None }
    }
}

/// Gathers numbers when somebody asks for them.
pub type Source = Box<dyn Fn() -> Vec<Family> + Send + Sync>;

/// All numbers of a node.
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// With the sources that are asked at each scrape.
    pub fn new(sources: Vec<Source>) -> Arc<Self> {
        let mut registry = Registry::with_prefix("homing");
        registry.register(
            "build",
            "What runs",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(Sources(sources)));
        Arc::new(Self { registry })
    }

    /// The text, as OpenMetrics has it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String does not fail");
        text
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

struct Sources(Vec<Source>);

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sources({})", self.0.len())
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in self.0.iter().flat_map(|source| source()).chain(process()) {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            if let Some(Distribution { sum, count, buckets }) = &family.distribution {
                let none: Option<&NoExemplars> = None;
                metric.encode_histogram(*sum, *count, buckets, none)?;
                continue;
            }
            let Some(label) = family.label else {
                if let [(_, value)] = family.values[..] {
                    number(family.kind, value, metric)?;
                }
                continue;
            };
            for (word, value) in &family.values {
                let labels = [(label, word.as_str())];
                number(family.kind, *value, metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

type NoExemplars =
    std::collections::HashMap<usize, Exemplar<[(&'static str, &'static str); 0], f64>>;

fn number(
    kind: Kind,
    value: f64,
    into: prometheus_client::encoding::MetricEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(into),
        Kind::Gauge | Kind::Histogram => ConstGauge::new(value).encode(into),
    }
}

/// What the operating system says of this process. Linux alone says it; elsewhere nothing is shown.
fn process() -> Vec<Family> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|word| word.parse::<f64>().ok())
    };
    let kib = |name| field(name).map(|n| n * 1024.0);
    let files = std::fs::read_dir("/proc/self/fd").map(|entries| entries.count() as f64).ok();
    [
        kib("VmRSS:").map(|n| Family::gauge("resident_bytes", "Memory of this process", n)),
        kib("VmHWM:").map(|n| Family::gauge("resident_peak_bytes", "The most it has had", n)),
        field("Threads:").map(|n| Family::gauge("threads", "Threads of this process", n)),
        files.map(|n| Family::gauge("open_files", "Open files and sockets of this process", n)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The numbers of a bridge.
pub fn of_bridge(bridge: &homing_bridge::MetricsSnapshot) -> Vec<Family> {
    vec![
        Family::gauge(
            "connections",
            "Clients' connections open now",
            bridge.connections_open as f64,
        ),
        Family::counter("connections_taken", "Clients' connections taken", bridge.connections),
        Family::counters(
            "connections_refused",
            "Clients' connections refused by a limit",
            "limit",
            &bridge.connections_refused,
        ),
        Family::gauge("sockets", "WebSockets open now", bridge.sockets_open as f64),
        Family::counter("sockets_opened", "WebSockets opened", bridge.sockets),
        Family::counters("sockets_closed", "WebSockets ended", "code", &bridge.closes),
        Family::counters("http_answers", "HTTP answers", "status", &bridge.http_answers),
        Family::counters("calls", "Calls of clients", "method", &bridge.calls),
        Family::counters("refusals", "Calls and requests refused", "reason", &bridge.refusals),
        Family::counter("notices", "Notifications written", bridge.notices),
        Family::counter("frames_in", "WebSocket messages read", bridge.frames_in),
        Family::counter("frames_out", "WebSocket messages written", bridge.frames_out),
        Family::counter("client_in_bytes", "Bytes read from WebSockets", bridge.bytes_in),
        Family::counter("client_out_bytes", "Bytes written to WebSockets", bridge.bytes_out),
        Family::gauge(
            "media_transfers",
            "Files on their way to and from clients now",
            bridge.transfers_open as f64,
        ),
        Family::counter("media_in_bytes", "Bytes of files from clients", bridge.media_bytes_in),
        Family::counter("media_out_bytes", "Bytes of files to clients", bridge.media_bytes_out),
    ]
}

/// The numbers of the network between homes.
pub fn of_net(net: &homing_net::NetStats) -> Vec<Family> {
    vec![
        Family::counter("relay_frames_in", "Frames from other homes", net.frames_in),
        Family::counter("relay_frames_out", "Frames to other homes", net.frames_out),
        Family::counter("relay_in_bytes", "Bytes of frames from other homes", net.bytes_in),
        Family::counter("relay_out_bytes", "Bytes of frames to other homes", net.bytes_out),
        Family::counter(
            "relay_frames_unknown",
            "Frames of a kind that this version does not know",
            net.frames_unknown,
        ),
        Family::counter(
            "media_peers_in_bytes",
            "Bytes of files from other homes",
            net.media.bytes_in,
        ),
        Family::counter(
            "media_peers_out_bytes",
            "Bytes of files to other homes",
            net.media.bytes_out,
        ),
        Family::counter("lookups_out", "Look-ups asked of other homes", net.queries_out),
        Family::counter("lookups_in", "Look-ups of other homes", net.queries_in),
        Family::counter("hellos_admitted", "Hellos that ended in admission", net.admitted),
        Family::counters("hellos_refused", "Hellos refused by this home", "reason", &net.refused),
        Family::counter(
            "hellos_refused_by_peer",
            "Hellos refused by the other home",
            net.refused_by_peer,
        ),
        Family::counters(
            "dials_failed",
            "Rounds of dialling that failed",
            "reason",
            &net.dial_failed,
        ),
        Family::counters(
            "peer_connections_dropped",
            "Connections and streams ended by decision or fault",
            "reason",
            &net.dropped,
        ),
        Family::gauge("gossip_topics", "Gossip topics joined", net.gossip.topics as f64),
        Family::gauge("gossip_peers", "Nodes that take part in gossip", net.gossip.peers as f64),
        Family::gauge(
            "gossip_mesh_peers",
            "Nodes in the mesh of at least one topic",
            net.gossip.mesh_peers as f64,
        ),
        Family::counter("gossip_published", "Gossip messages of this home", net.gossip.published),
        Family::counter(
            "gossip_messages_in",
            "Gossip messages from other homes, repetitions included",
            net.gossip.messages_in,
        ),
        Family::counter("gossip_new", "Those that were new", net.gossip.new),
        Family::counter("gossip_duplicates", "Those that were not", net.gossip.duplicates),
        Family::counters(
            "gossip_judged",
            "What was said of new gossip messages",
            "verdict",
            &net.gossip.judged,
        ),
        Family::counters(
            "gossip_dropped",
            "Gossip messages of other homes that were not taken",
            "reason",
            &net.gossip.dropped,
        ),
        Family::counter(
            "gossip_slow",
            "Gossip not sent because a home was too slow",
            net.gossip.slow,
        ),
        Family::counter("gossip_in_bytes", "Bytes of gossip from other homes", net.gossip.bytes_in),
        Family::counter("gossip_out_bytes", "Bytes of gossip to other homes", net.gossip.bytes_out),
    ]
}

/// The numbers of a store.
pub fn of_store(store: &homing_store::StoreStats) -> Vec<Family> {
    vec![
        Family::counter("store_commits", "Batches committed", store.commits),
        Family::counter("store_entries", "Events stored", store.entries),
        Family::counter("store_journal_bytes", "Bytes written to the journal", store.bytes),
        Family::histogram(
            "store_fsync_seconds",
            "Flushes of the journal to disk",
            distribution(&store.fsync),
        ),
        Family::gauge(
            "store_fsync_max_seconds",
            "The longest flush of the journal",
            store.fsync.max.as_secs_f64(),
        ),
        Family::histogram(
            "store_checkpoint_seconds",
            "Checkpoints of the index",
            distribution(&store.checkpoints),
        ),
        Family::histogram(
            "store_stall_seconds",
            "Commits slowed because the index had fallen behind",
            distribution(&store.stalls),
        ),
        Family::gauge(
            "store_memtable_bytes",
            "Memory of what is not in the index yet",
            store.memtable_bytes as f64,
        ),
        Family::gauge(
            "store_backlog_bytes",
            "Journal that an opening would read again",
            store.backlog_bytes as f64,
        ),
        Family::gauge("store_segments", "Files of the journal in use", store.segments as f64),
        Family::counter("store_entry_hits", "Events handed out without the disk", store.entry_hits),
        Family::counter("store_entry_misses", "Events read from the journal", store.entry_misses),
    ]
}

pub(crate) fn distribution(timing: &Timing) -> Distribution {
    let last = timing.buckets.len() - 1;
    let limit = |i| if i == last { f64::MAX } else { Timing::bucket_limit(i).as_secs_f64() };
    Distribution {
        sum: timing.sum.as_secs_f64(),
        count: timing.count,
        buckets: timing.buckets.iter().enumerate().map(|(i, n)| (limit(i), *n)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_names_helps_and_labels() {
        let reasons = BTreeMap::from([("bad_invite", 2), ("user_exists", 1)]);
        let metrics = Metrics::new(vec![Box::new(move || {
            vec![
                Family::counter("sends", "Messages sent", 7),
                Family::gauge("sessions", "Sessions", 3.0),
                Family::counters("refusals", "Calls refused", "reason", &reasons),
                Family::histogram(
                    "fsync_seconds",
                    "Flushes",
                    Distribution {
                        sum: 3.5,
                        count: 3,
                        buckets: vec![(1.0, 1), (2.0, 2), (f64::MAX, 0)],
                    },
                ),
            ]
        })]);
        let text = metrics.text();
        for line in [
            "# HELP homing_sends Messages sent",
            "# TYPE homing_sends counter",
            "homing_sends_total 7.0",
            "# TYPE homing_sessions gauge",
            "homing_sessions 3.0",
            "homing_refusals_total{reason=\"bad_invite\"} 2.0",
            "homing_refusals_total{reason=\"user_exists\"} 1.0",
            "homing_fsync_seconds_sum 3.5",
            "homing_fsync_seconds_bucket{le=\"1.0\"} 1",
            "homing_fsync_seconds_bucket{le=\"2.0\"} 3",
            "homing_fsync_seconds_bucket{le=\"+Inf\"} 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.contains("homing_build_info{version=\""), "{text}");
        if cfg!(target_os = "linux") {
            assert!(text.contains("homing_resident_bytes"), "{text}");
        }
        assert!(
            text.lines().all(|l| l.starts_with('#') || l.starts_with("homing_")),
            "every name begins alike"
        );
    }

    #[test]
    fn every_family_of_bridge_and_net_has_its_own_name() {
        let families = [
            of_bridge(&homing_bridge::MetricsSnapshot::default()),
            of_net(&homing_net::NetStats::default()),
            of_store(&homing_store::StoreStats::default()),
            crate::node::NodeMetrics::default().families(),
            process(),
        ]
        .concat();
        let mut names: Vec<&str> = families.iter().map(|f| f.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(families.iter().all(|f| !f.help.ends_with('.')), "helps are no sentences");
    }
}
