//! `homing check`: whether everything is right, and what to do about what is not.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use homing_media::Blobs;
use homing_store::Store as _;
use homing_wire::Hash;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::{ConfigArg, output};
use crate::config::{Config, MediaStore, PeerAddress, Pin};
use crate::control::{Control, ControlReply, PeerRow};
use crate::keys::{AdminToken, Keys};
use crate::node::{Displaced, check_folder, check_life};
use crate::operator::{Operator, now_ms};
use crate::search::life;
use crate::wiring;

/// How long anything on the network may take to answer.
const NETWORK: Duration = Duration::from_secs(5);
/// Flushes to measure: few enough not to be waited for, enough that one slow one does not decide.
const FLUSHES: usize = 9;
/// What is written for each, as a small commit does.
const FLUSH_BYTES: usize = 4_096;
/// A flush slower than this makes every message wait noticeably.
const SLOW_FLUSH: Duration = Duration::from_millis(50);
/// A clock before this (2025-01-01) has not been set.
const CLOCK_UNSET_MS: u64 = 1_735_689_600_000;
/// A clock further behind the last message than this is wrong (DESIGN, "Clocks").
const CLOCK_BEHIND_MS: u64 = 300_000;
/// Files that are open besides connections.
const OTHER_FILES: u64 = 512;

/// Check configuration, keys, name, ports, clock, disk, store and other homes.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok  ",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// A check's outcome.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), todo: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        let todo = Some(todo.into());
        Self { check, verdict: Verdict::Warn, found: found.into(), todo }
    }

    fn fail(check: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Self {
        let todo = Some(todo.into());
        Self { check, verdict: Verdict::Fail, found: found.into(), todo }
    }
}

pub(super) async fn run(args: CheckArgs) -> anyhow::Result<()> {
    let mut report = Report { json: args.json, failed: 0 };
    let config = match args.config.load() {
        Ok(config) => config,
        Err(error) => {
            report.put(Finding::fail(
                "configuration",
                format!("{error:#}"),
                "correct it, then check again",
            ))?;
            return report.end();
        }
    };
    report.put(Finding::ok("configuration", args.config.config.display().to_string()))?;
    let keys = match Keys::load(&config.keys_folder()) {
        Ok(keys) => keys,
        Err(error) => {
            report.put(Finding::fail(
                "keys",
                error.to_string(),
                "every other check needs the keys",
            ))?;
            return report.end();
        }
    };
    report.put(Finding::ok("keys", format!("home id {}", keys.home_id())))?;
    report.put(match AdminToken::load(&config) {
        Ok(_) => Finding::ok("admin token", "readable by its owner alone"),
        Err(error) => {
            Finding::fail("admin token", error.to_string(), "commands need it while the node runs")
        }
    })?;
    // The store first: it tells whether the node runs, on which the rest depends.
    let (finding, home) = store(&config, &keys).await;
    report.put(finding)?;
    let displaced = check_folder(&config.store_folder()).err().or(home.displaced);
    if let Some(why) = displaced {
        report.put(Finding::fail(
            "only one of its kind",
            why.to_string(),
            "the node is not started on this store",
        ))?;
    }
    report.put(search(&config, home.life.as_ref(), home.running))?;
    report.put(clock(home.last_stamp_ms))?;
    report.put(disk(&config))?;
    report.put(flushes(&config.home.data))?;
    report.put(media(&config).await)?;
    report.put(files(&config))?;
    for finding in ports(&config, home.running) {
        report.put(finding)?;
    }
    report.put(name(&config, &keys).await)?;
    report.put(tls(&config).await)?;
    for pin in &config.federation.pin {
        report.put(peer(pin, &home.peers).await)?;
    }
    report.end()
}

struct Report {
    json: bool,
    failed: usize,
}

impl Report {
    fn put(&mut self, finding: Finding) -> anyhow::Result<()> {
        self.failed += usize::from(finding.verdict == Verdict::Fail);
        if self.json {
            return output::line(&finding);
        }
        output::text(&format!("{} {}: {}", finding.verdict, finding.check, finding.found))?;
        match &finding.todo {
            Some(todo) => output::text(&format!("     → {todo}")),
            None => Ok(()),
        }
    }

    fn end(self) -> anyhow::Result<()> {
        match self.failed {
            0 => Ok(()),
            1 => anyhow::bail!("1 check failed"),
            n => anyhow::bail!("{n} checks failed"),
        }
    }
}

/// What the store or the running node says of the home.
#[derive(Default)]
struct Found {
    running: bool,
    /// Of what life a search index must be, and up to where it should go: of a stopped node.
    life: Option<(String, u64)>,
    last_stamp_ms: Option<u64>,
    peers: Vec<PeerRow>,
    displaced: Option<Displaced>,
}

async fn store(config: &Config, keys: &Keys) -> (Finding, Found) {
    let mut found = Found::default();
    let finding = match Operator::reach(config).await {
        Ok(mut operator) => {
            found.running = operator.is_running();
            if let Ok(ControlReply::Peers { peers }) = operator.control(Control::PeerList).await {
                found.peers = peers;
            }
            match operator.close() {
                Err(error) => Finding::fail("store", format!("{error:#}"), "see docs/OPERATE.md"),
                Ok(()) if found.running => Finding::ok(
                    "store",
                    "open in the running node, which answers its admin listener",
                ),
                Ok(()) => stopped_store(config, keys, &mut found),
            }
        }
        Err(error) => Finding::fail(
            "store",
            format!("{error:#}"),
            "the node will not start, or does not answer; nothing was changed",
        ),
    };
    (finding, found)
}

/// The node is stopped, and the store opened and closed without complaint.
fn stopped_store(config: &Config, keys: &Keys, found: &mut Found) -> Finding {
    match wiring::open_store(config, keys.home_id()) {
        Ok(store) => {
            let meta = store.meta();
            found.life = Some((life(meta.home, meta.epoch), meta.change));
            found.last_stamp_ms = Some(meta.stamp.ms()).filter(|ms| *ms > 0);
            found.displaced = check_life(&config.store_folder(), meta.epoch).err();
            Finding::ok(
                "store",
                format!(
                    "format {}, its life began {} UTC; the node is stopped",
                    meta.format,
                    output::time(meta.epoch.0)
                ),
            )
        }
        Err(error) => Finding::fail(
            "store",
            error.to_string(),
            "it opened a moment ago: does the node start?",
        ),
    }
}

/// The index of messages' words. Nothing about it is a failure: it is made again from the messages.
fn search(config: &Config, life: Option<&(String, u64)>, running: bool) -> Finding {
    if !config.search.enabled {
        return Finding::ok("search", "switched off (search.enabled)");
    }
    let Some((life, change)) = life else {
        return match running {
            true => {
                Finding::ok("search", "kept by the running node; see homing_search_… of /metrics")
            }
            false => Finding::warn("search", "not looked at", "see the store, above"),
        };
    };
    let folder = config.search_folder();
    match homing_search::inspect(&folder, life) {
        Ok(None) => Finding::ok("search", "no index yet: it is made when the node starts"),
        Ok(Some(state)) => {
            let behind = if state.upto == *change {
                "up to date"
            } else {
                "it catches up when the node starts"
            };
            let (documents, kib) = (state.documents, state.bytes >> 10);
            Finding::ok("search", format!("{documents} messages in the index, {kib} KiB; {behind}"))
        }
        Err(error) => Finding::warn(
            "search",
            format!("the index in {} is damaged: {error}", folder.display()),
            "it is made anew from the messages when the node starts",
        ),
    }
}

fn clock(last_stamp_ms: Option<u64>) -> Finding {
    let now = now_ms();
    if now < CLOCK_UNSET_MS {
        return Finding::fail("clock", format!("{} UTC", output::time(now)), "set the clock (NTP)");
    }
    match last_stamp_ms {
        Some(last) if last > now + CLOCK_BEHIND_MS => Finding::fail(
            "clock",
            format!("{} UTC, but the last message is of {}", output::time(now), output::time(last)),
            "set the clock (NTP); if it is right, and was wrong then: homing backup, homing restore --force",
        ),
        Some(_) | None => Finding::ok("clock", format!("{} UTC", output::time(now))),
    }
}

fn disk(config: &Config) -> Finding {
    let least = config.limits.min_free_disk_bytes;
    let stat = match rustix::fs::statvfs(&config.home.data) {
        Ok(stat) => stat,
        Err(error) => {
            let path = config.home.data.display();
            return Finding::fail("disk", format!("{path}: {error}"), "is home.data right?");
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    if free < least {
        return Finding::fail(
            "disk",
            format!("{} free, less than limits.min_free_disk_bytes ({})", mib(free), mib(least)),
            "make room: sends are refused until then",
        );
    }
    if free < least.saturating_mul(4) {
        return Finding::warn(
            "disk",
            format!("{} free", mib(free)),
            "make room before it is needed",
        );
    }
    Finding::ok("disk", format!("{} free", mib(free)))
}

/// Where files are kept: the room there, or whether the S3 server answers.
async fn media(config: &Config) -> Finding {
    let folder = config.media_folder();
    if config.media.store == MediaStore::S3 {
        let asked = match Blobs::open(wiring::blobs(config)) {
            Ok(blobs) => blobs.size(Hash::of(&[])).await.map(drop),
            Err(error) => Err(error),
        };
        return match asked {
            Ok(()) => Finding::ok("media", "the S3 server answers"),
            Err(error) => Finding::fail(
                "media",
                format!("the S3 server: {error}"),
                "check media.s3_endpoint, s3_bucket and the key: files cannot be kept",
            ),
        };
    }
    // It is made at the first start.
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(&folder);
    let (least, path) = (config.limits.min_free_disk_bytes, folder.display());
    match rustix::fs::statvfs(there) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let found = format!("{path}: {} MiB free", free >> 20);
            if free < least.saturating_add(config.media.upload_bytes) {
                let what = "make room, or set media.folder: not every file that may come has room";
                Finding::warn("media", found, what)
            } else {
                Finding::ok("media", found)
            }
        }
        Err(error) => Finding::fail("media", format!("{path}: {error}"), "is media.folder right?"),
    }
}

/// Writes and flushes as a commit does, and says how long it takes: every message waits for one.
fn flushes(folder: &Path) -> Finding {
    match measure_flush(folder) {
        Ok(median) if median > SLOW_FLUSH => Finding::warn(
            "flush",
            format!("{:.1} ms to have a write on disk", median.as_secs_f64() * 1e3),
            "every message waits for it: use a local SSD, not a network share",
        ),
        Ok(median) => Finding::ok(
            "flush",
            format!("{:.1} ms to have a write on disk", median.as_secs_f64() * 1e3),
        ),
        Err(error) => Finding::fail(
            "flush",
            format!("cannot write in {}: {error}", folder.display()),
            "run homing as the owner of the directory",
        ),
    }
}

fn measure_flush(folder: &Path) -> io::Result<Duration> {
    let path = folder.join(format!(".check-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let measured = (|| {
        let mut took = Vec::with_capacity(FLUSHES);
        for _ in 0..FLUSHES {
            let begun = Instant::now();
            file.write_all(&[0; FLUSH_BYTES])?;
            file.sync_data()?;
            took.push(begun.elapsed());
        }
        took.sort();
        Ok(took[FLUSHES / 2])
    })();
    fs::remove_file(&path)?;
    measured
}

fn files(config: &Config) -> Finding {
    let limits = &config.limits;
    let wanted = limits.connections as u64 + u64::from(limits.peer_connections) + OTHER_FILES;
    match getrlimit(Resource::Nofile).current {
        Some(most) if most < wanted => Finding::warn(
            "open files",
            format!("this shell allows {most}; the limits of the configuration need {wanted}"),
            format!(
                "raise it for the service (LimitNOFILE={wanted}, ulimit -n {wanted}), or lower limits.connections"
            ),
        ),
        Some(most) => Finding::ok("open files", format!("{most} allowed, {wanted} needed")),
        None => Finding::ok("open files", "not limited"),
    }
}

fn ports(config: &Config, running: bool) -> Vec<Finding> {
    let tcp = |address: SocketAddr| TcpListener::bind(address).map(drop);
    let udp = |address: SocketAddr| UdpSocket::bind(address).map(drop);
    let mut wanted: Vec<(String, io::Result<()>)> = Vec::new();
    if !running {
        wanted.push((format!("bridge.listen {}", config.bridge.listen), tcp(config.bridge.listen)));
        wanted.push((format!("admin.listen {}", config.admin.listen), tcp(config.admin.listen)));
        for address in &config.p2p.listen {
            let Some(socket) = socket_address(address) else { continue };
            let bound = if address.is_tcp() { tcp(socket) } else { udp(socket) };
            wanted.push((format!("p2p.listen {}", address.as_str()), bound));
        }
    }
    if running {
        return vec![Finding::ok("ports", "held by the running node")];
    }
    wanted
        .into_iter()
        .map(|(what, bound)| match bound {
            Ok(()) => Finding::ok("port", format!("{what} is free")),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::fail(
                "port",
                format!("{what} is taken by another program"),
                "stop that, or listen on another port",
            ),
            Err(error) => Finding::fail(
                "port",
                format!("{what}: {error}"),
                "use an address of this machine, and a port above 1023 where not root",
            ),
        })
        .collect()
}

/// The address to listen on, where it is a number.
fn socket_address(address: &PeerAddress) -> Option<SocketAddr> {
    let (host, port) = address.host_and_port()?;
    Some(SocketAddr::new(host.parse().ok()?, port))
}

/// Whether other homes can verify the name.
async fn name(config: &Config, keys: &Keys) -> Finding {
    let name = config.home.name.as_str();
    // RFC 2606 and RFC 6761: nobody will ever find these.
    let reserved = ["test", "example", "invalid", "localhost"];
    if name.rsplit('.').next().is_some_and(|last| reserved.contains(&last)) {
        return Finding::warn(
            "name",
            format!("{name} is reserved for tests and documentation"),
            "fine among homes that pin each other; others cannot verify it",
        );
    }
    let url = format!("https://{name}/.well-known/homing");
    let identity = keys.identity().to_string();
    match well_known(&url).await {
        Ok(found) if found == identity => Finding::ok("name", format!("{url} names this identity")),
        Ok(found) => Finding::fail(
            "name",
            format!("{url} names another identity ({found})"),
            "let it lead to this home's bridge, or use a name that is yours",
        ),
        Err(error) => Finding::warn(
            "name",
            format!("{url}: {error:#}"),
            "let it lead to the bridge; until then other homes must pin this one",
        ),
    }
}

async fn well_known(url: &str) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct WellKnown {
        identity: String,
    }
    let response = outside()?.get(url).send().await?.error_for_status()?;
    Ok(response.json::<WellKnown>().await?.identity)
}

async fn tls(config: &Config) -> Finding {
    let Some(url) = config.bridge.public_url.as_ref().map(|url| url.as_str()) else {
        return if config.bridge.listen.ip().is_loopback() {
            Finding::ok(
                "TLS",
                "clients come from this machine alone (bridge.listen), or through a proxy",
            )
        } else {
            Finding::warn(
                "TLS",
                "bridge.listen can be reached from outside, and passwords travel unencrypted",
                "listen on 127.0.0.1 behind a proxy that ends TLS, and set bridge.public_url",
            )
        };
    };
    if !url.starts_with("https://") {
        return Finding::warn("TLS", format!("{url} is not encrypted"), "use https://");
    }
    let asked = match outside() {
        Ok(http) => http.get(format!("{url}/healthz")).send().await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(response) if response.status().is_success() => {
            Finding::ok("TLS", format!("{url} answers"))
        }
        Ok(response) => Finding::warn(
            "TLS",
            format!("{url}/healthz answers {}", response.status()),
            "is the node running, and does the proxy lead to bridge.listen?",
        ),
        Err(error) => Finding::warn(
            "TLS",
            format!("{:#}", anyhow::Error::from(error)),
            "is the certificate right, and does the proxy lead to bridge.listen?",
        ),
    }
}

/// For what stands outside: no redirects, no long waits.
fn outside() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(NETWORK).build()
}

/// Whether a pinned home can be reached: the running node knows, else its TCP addresses are tried.
async fn peer(pin: &Pin, peers: &[PeerRow]) -> Finding {
    let known = peers.iter().find(|row| row.home_id == pin.identity.home_id());
    if known.is_some_and(|row| row.connected) {
        return Finding::ok("peer", format!("{} is connected", pin.home));
    }
    let said = known.and_then(|row| row.last_error.as_deref());
    if pin.addresses.is_empty() {
        return Finding::warn(
            "peer",
            format!("{} is pinned without an address", pin.home),
            "add addresses; until then it must come to this home",
        );
    }
    let mut errors = Vec::new();
    for address in pin.addresses.iter().filter(|a| a.is_tcp()) {
        let Some((host, port)) = address.host_and_port() else { continue };
        let dial = tokio::net::TcpStream::connect((host.as_str(), port));
        match tokio::time::timeout(NETWORK, dial).await {
            Ok(Ok(_)) => {
                let why = said.map(|e| format!(", but hello fails: {e}")).unwrap_or_default();
                let found = format!("{} answers at {}{why}", pin.home, address.as_str());
                return if why.is_empty() {
                    Finding::ok("peer", found)
                } else {
                    Finding::warn("peer", found, "compare the identities on both sides")
                };
            }
            Ok(Err(error)) => errors.push(format!("{}: {error}", address.as_str())),
            Err(_) => errors.push(format!("{}: no answer within {NETWORK:?}", address.as_str())),
        }
    }
    if errors.is_empty() {
        return Finding::warn(
            "peer",
            format!("{} has QUIC addresses alone, which are not tried here", pin.home),
            "see `homing peer list` of the running node",
        );
    }
    Finding::warn(
        "peer",
        format!("{} cannot be reached: {}", pin.home, errors.join("; ")),
        "it may be down: what it is owed is kept; else correct its addresses",
    )
}
