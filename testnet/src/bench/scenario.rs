//! The scenarios: homes, users, a load process, and what the kernel says about the homes meanwhile.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use homing_client::{Client, Options, Target, TextBody, Uuid};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use super::check::Verdict;
use super::line::Line;
use super::load::{Login, Report, Said, Spec, Until};
use super::{Bench, Scenario};
use crate::homes::{Home, Homes};
use crate::process;

/// Chats that are written in at once.
const PAIRS: usize = 50;
/// A body as compact JSON.
const BODY_BYTES: usize = 200;
/// Messages a second of `quiet`.
const QUIET_PER_S: u64 = 100;
/// Of `idle`.
const IDLE_USERS: usize = 50;
const IDLE_SOCKETS_EACH: usize = 200;
/// Files of a process beside its sockets.
const OTHER_FILES: u64 = 500;
/// Of `group`: as many as fit one.
const GROUP_MEMBERS: usize = 100;
/// Of them write.
const GROUP_SENDERS: usize = 10;
/// Messages of each that wait for their answer: with all in flight a few thousand deliveries wait, not all the load
/// could make.
const GROUP_IN_FLIGHT: [usize; 2] = [1, 8];
/// Users being made at once: each costs the home a password hash.
const USERS_AT_ONCE: usize = 4;
/// Of `relay-catchup`.
const CHANNELS_OWED: usize = 100;
/// Characters of text: with what is around them a body of 1 KiB.
const OWED_BODY_BYTES: usize = 999;
const SENDERS_AT_ONCE: usize = 20;
const OWED_IN_FLIGHT: usize = 64;
/// How often a home's counters are read while something is awaited: a hundredth of what is measured.
pub(super) const POLL: Duration = Duration::from_millis(20);
/// What has not moved for so long does not move any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// After which a home has put away what the sign-ins left behind.
const SETTLE: Duration = Duration::from_secs(2);

/// Results go out as they come.
pub(super) async fn run(
    bench: &Bench,
    scenario: Scenario,
    lines: &mpsc::Sender<Line>,
) -> anyhow::Result<()> {
    match scenario {
        Scenario::Local => {
            let mut homes = start(bench, "local", 1).await?;
            let pairs = make_pairs(&homes, 0, 0, PAIRS).await?;
            for in_flight in [1, 32] {
                let line = measure(bench, &homes, "local", &pairs, in_flight, None).await?;
                lines.send(line).await?;
            }
            homes.stop_all().await?;
        }
        Scenario::Federated => {
            let mut homes = start(bench, "federated", 2).await?;
            let pairs = make_pairs(&homes, 0, 1, PAIRS).await?;
            for in_flight in [1, 32] {
                let line = measure(bench, &homes, "federated", &pairs, in_flight, None).await?;
                lines.send(line).await?;
            }
            homes.stop_all().await?;
        }
        Scenario::Quiet => {
            let mut homes = start(bench, "quiet", 1).await?;
            let pairs = make_pairs(&homes, 0, 0, PAIRS / 5).await?;
            let line = measure(bench, &homes, "quiet", &pairs, 1, Some(QUIET_PER_S)).await?;
            lines.send(line).await?;
            homes.stop_all().await?;
        }
        Scenario::Idle => lines.send(Box::pin(idle(bench)).await?).await?,
        Scenario::Restart => lines.send(Box::pin(restart(bench)).await?).await?,
        Scenario::RelayCatchup => lines.send(Box::pin(relay_catchup(bench)).await?).await?,
        Scenario::Group => {
            let mut homes = start(bench, "group", 1).await?;
            let members = make_users(&homes[0], "member", GROUP_MEMBERS).await?;
            let channel = make_group(&members).await?;
            for in_flight in GROUP_IN_FLIGHT {
                lines.send(group(bench, &homes, &members, channel, in_flight).await?).await?;
            }
            homes.stop_all().await?;
        }
        Scenario::Resume => Box::pin(super::resume::run(bench, lines)).await?,
        Scenario::Search => Box::pin(super::search::run(bench, lines)).await?,
        Scenario::Media => Box::pin(super::media::run(bench, lines)).await?,
        Scenario::GroupWide => Box::pin(super::group_wide::run(bench.seconds, lines)).await?,
    }
    Ok(())
}

pub(super) async fn start(bench: &Bench, scenario: &str, count: u16) -> anyhow::Result<Homes> {
    bench.note(&format!("{scenario}: starting homes and making users …"));
    let names: Vec<_> = (0..count).map(crate::up::home_name).collect();
    let dir = bench.dir.join(scenario);
    let mut program = bench.program.clone();
    if scenario == "idle" {
        // The allocator shall give back at once what is free, or it would hide what sockets take.
        program = program.with_env("MIMALLOC_PURGE_DELAY", "0").with_env("MIMALLOC_ALLOW_THP", "0");
    }
    let mut homes = Homes::make(program, &dir, &names, None).await?;
    homes.start_all().await?;
    Ok(homes)
}

pub(super) async fn make_user(home: &Home, name: String) -> anyhow::Result<Login> {
    home.register(&name).await?;
    let signed_in = home.login(&name).await?;
    Ok(Login {
        server: home.server()?.to_string(),
        token: signed_in.token,
        address: signed_in.address,
    })
}

pub(super) async fn make_users(
    home: &Home,
    prefix: &str,
    count: usize,
) -> anyhow::Result<Vec<Login>> {
    let making = futures::stream::iter(0..count)
        .map(|index| make_user(home, format!("{prefix}{index}")))
        .buffered(USERS_AT_ONCE);
    futures::pin_mut!(making);
    let mut users = Vec::with_capacity(count);
    while let Some(user) = making.next().await {
        users.push(user?);
    }
    Ok(users)
}

async fn make_pairs(
    homes: &Homes,
    from: usize,
    to: usize,
    count: usize,
) -> anyhow::Result<Vec<(Login, Login)>> {
    let senders = make_users(&homes[from], "sender", count).await?;
    let receivers = make_users(&homes[to], "receiver", count).await?;
    Ok(senders.into_iter().zip(receivers).collect())
}

async fn measure(
    bench: &Bench,
    homes: &Homes,
    scenario: &'static str,
    pairs: &[(Login, Login)],
    in_flight: usize,
    rate_per_s: Option<u64>,
) -> anyhow::Result<Line> {
    let variant = match rate_per_s {
        Some(rate) => format!("{rate}/s"),
        None => format!("in_flight={in_flight}"),
    };
    bench.note(&format!("{scenario} {variant}: {} s …", bench.seconds));
    let spec = Spec::Pairs {
        pairs: pairs.to_vec(),
        in_flight,
        until: Until::Seconds(bench.seconds),
        rate_per_s,
        body_bytes: BODY_BYTES,
    };
    let mut load = Load::start(bench, &spec).await?;
    let before = Usage::of(homes)?;
    load.go().await?;
    let report = load.report().await?;
    let used = Usage::of(homes)?.since(&before);
    let load_cpu = load.cpu_s;
    load.end().await?;
    if report.answered == 0 {
        bail!("nothing was sent; refused: {:?}", report.refused);
    }
    // Between homes a message counts when it is there; at one home when it is safe.
    let federated = scenario == "federated";
    let (count, seconds, times) = if federated {
        (report.delivered, report.delivering_s, report.delivery)
    } else {
        (report.answered, report.answering_s, report.answer)
    };
    let per_1000 = |seconds: f64| seconds * 1000.0 / report.answered as f64;
    Ok(Line {
        scenario,
        variant,
        unit: "messages",
        count,
        per_s: count as f64 / seconds.max(f64::EPSILON),
        p50_ms: times.p50_ms,
        p99_ms: times.p99_ms,
        p999_ms: times.p999_ms,
        cpu_s_per_1000: per_1000(used.cpu_s),
        rss_peak_bytes: used.peak_bytes,
        disk_bytes_per_message: Some(used.disk_bytes as f64 / report.answered as f64),
        delivery_p50_ms: (!federated).then_some(report.delivery.p50_ms),
        delivery_p99_ms: (!federated).then_some(report.delivery.p99_ms),
        load_cpu_s_per_1000: Some(per_1000(load_cpu)),
        refused: report.refused.values().sum(),
        verdict: report.verdict,
        ..Line::default()
    })
}

/// A group of these, made by the first: users of one home are in it at once.
pub(super) async fn make_group(members: &[Login]) -> anyhow::Result<Uuid> {
    #[derive(Deserialize)]
    struct Group {
        channel: Uuid,
        member_count: usize,
    }
    let (creator, others) = members.split_first().context("nobody")?;
    let (client, _events) =
        Client::connect(Options::new(creator.server.parse()?, &creator.token)).await?;
    let others: Vec<&str> = others.iter().map(|login| login.address.as_str()).collect();
    let wish = serde_json::json!({ "name": "everybody", "members": others });
    let group: Group = client.call("groups.create", &wish).await?;
    client.close().await;
    if group.member_count != members.len() {
        bail!("{} of {} are in the group", group.member_count, members.len());
    }
    Ok(group.channel)
}

/// One home tells all members of a group of its own.
async fn group(
    bench: &Bench,
    homes: &Homes,
    members: &[Login],
    channel: Uuid,
    in_flight: usize,
) -> anyhow::Result<Line> {
    let variant = format!("in_flight={in_flight}");
    bench.note(&format!("group {variant}: {} s …", bench.seconds));
    let spec = Spec::Group {
        members: members.to_vec(),
        senders: GROUP_SENDERS,
        channel,
        in_flight,
        until: Until::Seconds(bench.seconds),
        body_bytes: BODY_BYTES,
    };
    let mut load = Load::start(bench, &spec).await?;
    let counters = Counters::of(&homes[0])?;
    let journal = "homing_store_journal_bytes_total";
    let journal_before = counters.read(journal).await?;
    let before = Usage::of(homes)?;
    load.go().await?;
    let report = load.report().await?;
    let used = Usage::of(homes)?.since(&before);
    let journal_bytes = counters.read(journal).await? - journal_before;
    let load_cpu = load.cpu_s;
    load.end().await?;
    if report.answered == 0 {
        bail!("nothing was sent; refused: {:?}", report.refused);
    }
    let seconds = report.delivering_s.max(f64::EPSILON);
    let per_1000 = |seconds: f64| seconds * 1000.0 / report.delivered.max(1) as f64;
    Ok(Line {
        scenario: "group",
        variant,
        unit: "deliveries",
        count: report.delivered,
        per_s: report.delivered as f64 / seconds,
        p50_ms: report.delivery.p50_ms,
        p99_ms: report.delivery.p99_ms,
        p999_ms: report.delivery.p999_ms,
        cpu_s_per_1000: per_1000(used.cpu_s),
        rss_peak_bytes: used.peak_bytes,
        disk_bytes_per_message: Some(used.disk_bytes as f64 / report.answered as f64),
        journal_bytes_per_message: Some(journal_bytes as f64 / report.answered as f64),
        load_cpu_s_per_1000: Some(per_1000(load_cpu)),
        messages_per_s: Some(report.answered as f64 / seconds),
        home_cores: Some(used.cpu_s / seconds),
        load_cores: Some(load_cpu / seconds),
        reconnects: Some(report.reconnects),
        refused: report.refused.values().sum(),
        verdict: report.verdict,
        ..Line::default()
    })
}

async fn idle(bench: &Bench) -> anyhow::Result<Line> {
    let mut homes = start(bench, "idle", 1).await?;
    let logins = make_users(&homes[0], "user", IDLE_USERS).await?;
    // A fresh process: memory that hashing passwords once took would hide what sockets take.
    homes[0].stop().await?;
    homes[0].start().await?;
    // Home and load need a file for each socket.
    let allowed =
        usize::try_from(bench.open_files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    let sockets_each = IDLE_SOCKETS_EACH.min(allowed / IDLE_USERS);
    if sockets_each < IDLE_SOCKETS_EACH {
        bench.note(&format!(
            "only {} open files are allowed: {sockets_each} sockets each",
            bench.open_files
        ));
    }
    // What the first connections cost once is not what each costs.
    let warm = Load::start(bench, &Spec::Idle { logins: logins.clone(), sockets_each: 1 }).await?;
    warm.finish().await?;
    tokio::time::sleep(SETTLE).await;
    let pid = homes[0].pid().context("the home has ended")?;
    let before = process::memory(pid)?.resident_bytes;
    let usage = Usage::of(&homes)?;
    bench.note(&format!("idle: {} sockets …", sockets_each * IDLE_USERS));
    let load = Load::start(bench, &Spec::Idle { logins, sockets_each }).await?;
    tokio::time::sleep(SETTLE.max(Duration::from_secs(bench.seconds))).await;
    let after = process::memory(pid)?.resident_bytes;
    let used = Usage::of(&homes)?.since(&usage);
    let report = load.finish().await?;
    homes.stop_all().await?;
    Ok(Line {
        scenario: "idle",
        variant: format!("sockets={}", report.answered),
        unit: "connections",
        count: report.answered,
        per_s: report.answered as f64 / report.answering_s.max(f64::EPSILON),
        cpu_s_per_1000: used.cpu_s * 1000.0 / report.answered.max(1) as f64,
        rss_peak_bytes: used.peak_bytes,
        bytes_per_connection: Some(
            after.saturating_sub(before) as f64 / report.answered.max(1) as f64,
        ),
        ..Line::default()
    })
}

async fn restart(bench: &Bench) -> anyhow::Result<Line> {
    let mut homes = start(bench, "restart", 1).await?;
    let pairs = make_pairs(&homes, 0, 0, PAIRS).await?;
    let each = bench.messages.div_ceil(PAIRS as u64);
    bench.note(&format!("restart: sending {} messages …", each * PAIRS as u64));
    let disk_before = process::disk_bytes(homes[0].dir())?;
    let spec = Spec::Pairs {
        pairs: pairs.clone(),
        in_flight: 32,
        until: Until::Messages(each),
        rate_per_s: None,
        body_bytes: BODY_BYTES,
    };
    let mut load = Load::start(bench, &spec).await?;
    load.go().await?;
    let report = load.report().await?;
    load.end().await?;
    homes[0].kill().await?;
    let disk = process::disk_bytes(homes[0].dir())?.saturating_sub(disk_before);
    homes[0].start().await?;
    let ready = homes[0].ready_after().context("the home is not running")?;
    let usage = Usage::of(&homes)?;
    let mut there = 0;
    for (sender, _) in &pairs {
        let (client, _events) =
            Client::connect(Options::new(sender.server.parse()?, &sender.token)).await?;
        there += client.all_channels().await?.iter().map(|channel| channel.head).sum::<u64>();
        client.close().await;
    }
    homes.stop_all().await?;
    let answered = report.answered;
    let gone = Verdict { lost: answered.saturating_sub(there), ..Verdict::default() };
    let ready_ms = ready.as_secs_f64() * 1e3;
    Ok(Line {
        scenario: "restart",
        variant: format!("messages={answered}"),
        unit: "messages",
        count: answered,
        per_s: answered as f64 / ready.as_secs_f64().max(f64::EPSILON),
        p50_ms: ready_ms,
        p99_ms: ready_ms,
        p999_ms: ready_ms,
        cpu_s_per_1000: usage.cpu_s * 1000.0 / answered.max(1) as f64,
        rss_peak_bytes: usage.peak_bytes,
        disk_bytes_per_message: Some(disk as f64 / answered.max(1) as f64),
        refused: report.refused.values().sum(),
        verdict: report.verdict.and(gone),
        ..Line::default()
    })
}

/// What one home owes another when that returns.
async fn relay_catchup(bench: &Bench) -> anyhow::Result<Line> {
    let mut homes = start(bench, "relay-catchup", 2).await?;
    let pairs = make_pairs(&homes, 0, 1, CHANNELS_OWED).await?;
    // The chats are there, and both homes know each other.
    send_all(&pairs, 1).await?;
    arrived(&homes[1], CHANNELS_OWED as u64).await?;
    homes[1].stop().await?;
    let each = bench.owed.div_ceil(CHANNELS_OWED as u64);
    let owed = each * CHANNELS_OWED as u64;
    bench.note(&format!("relay-catchup: sending {owed} messages to a home that is away …"));
    send_all(&pairs, each).await?;
    homes[1].start().await?;
    let started = Instant::now();
    let before = Usage::of(&homes)?;
    // Both homes' counters began with the process: what arrives now is what was owed.
    arrived(&homes[1], owed).await?;
    let seconds = started.elapsed().as_secs_f64();
    let used = Usage::of(&homes)?.since(&before);
    let mut there = 0;
    for (_, receiver) in &pairs {
        let (client, _events) =
            Client::connect(Options::new(receiver.server.parse()?, &receiver.token)).await?;
        there += client.all_channels().await?.iter().map(|channel| channel.head).sum::<u64>();
        client.close().await;
    }
    homes.stop_all().await?;
    let sent = owed + CHANNELS_OWED as u64;
    Ok(Line {
        scenario: "relay-catchup",
        variant: format!("messages={owed}"),
        unit: "messages",
        count: owed,
        per_s: owed as f64 / seconds.max(f64::EPSILON),
        p50_ms: seconds * 1e3,
        p99_ms: seconds * 1e3,
        p999_ms: seconds * 1e3,
        cpu_s_per_1000: used.cpu_s * 1000.0 / owed as f64,
        rss_peak_bytes: used.peak_bytes,
        disk_bytes_per_message: Some(used.disk_bytes as f64 / owed as f64),
        verdict: Verdict {
            lost: sent.saturating_sub(there),
            doubled: there.saturating_sub(sent),
            ..Verdict::default()
        },
        ..Line::default()
    })
}

/// Every sender sends so many to its receiver, some at a time; all are answered.
async fn send_all(pairs: &[(Login, Login)], each: u64) -> anyhow::Result<()> {
    let words = "x".repeat(OWED_BODY_BYTES);
    let senders = futures::stream::iter(pairs.iter().map(|(sender, receiver)| {
        let words = &words;
        async move {
            let server = sender.server.parse()?;
            let (client, _events) = Client::connect(Options::new(server, &sender.token)).await?;
            let sends = futures::stream::iter(0..each).map(|_| {
                let (client, body) = (&client, TextBody::new(words));
                async move {
                    let id = homing_client::new_message_id();
                    client.send(Target::To(&receiver.address), id, &body).await
                }
            });
            {
                let sends = sends.buffered(OWED_IN_FLIGHT);
                futures::pin_mut!(sends);
                while let Some(sent) = sends.next().await {
                    sent?;
                }
            }
            client.close().await;
            anyhow::Ok(())
        }
    }))
    .buffer_unordered(SENDERS_AT_ONCE);
    futures::pin_mut!(senders);
    while let Some(done) = senders.next().await {
        done?;
    }
    Ok(())
}

/// Waits until a home has stored so many messages of other homes since it started.
async fn arrived(home: &Home, count: u64) -> anyhow::Result<()> {
    let counters = Counters::of(home)?;
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let received = counters.read("homing_messages_received_total").await?;
        if received >= count {
            return Ok(());
        }
        if received > last {
            (last, moved) = (received, Instant::now());
        } else if moved.elapsed() > PATIENCE {
            bail!("{received} of {count} messages arrived, and no more come");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What a home counts, since its process began.
pub(super) struct Counters {
    url: String,
    http: reqwest::Client,
}

impl Counters {
    pub(super) fn of(home: &Home) -> anyhow::Result<Self> {
        let url = format!("{}/metrics", home.ready().context("the home is not running")?.admin);
        Ok(Self { url, http: reqwest::Client::new() })
    }

    pub(super) async fn read(&self, name: &str) -> anyhow::Result<u64> {
        let text = self.http.get(&self.url).send().await?.text().await?;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let line = text.lines().find_map(value);
        let line = line.with_context(|| format!("the home does not count {name}"))?;
        Ok(line.trim().parse::<f64>()? as u64)
    }
}

/// What homes have used so far, together.
pub(super) struct Usage {
    pub(super) cpu_s: f64,
    pub(super) peak_bytes: u64,
    disk_bytes: u64,
}

impl Usage {
    /// The peak of memory begins anew here.
    pub(super) fn of(homes: &Homes) -> anyhow::Result<Self> {
        let mut usage = Self { cpu_s: 0.0, peak_bytes: 0, disk_bytes: 0 };
        for home in homes.iter() {
            let pid = home.pid().context("the home has ended")?;
            usage.cpu_s += process::cpu_time(pid)?.as_secs_f64();
            usage.peak_bytes += process::memory(pid)?.peak_bytes;
            usage.disk_bytes += process::disk_bytes(home.dir())?;
            process::forget_peak(pid)?;
        }
        Ok(usage)
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            cpu_s: self.cpu_s - before.cpu_s,
            peak_bytes: self.peak_bytes,
            disk_bytes: self.disk_bytes.saturating_sub(before.disk_bytes),
        }
    }
}

/// The load process.
struct Load {
    child: Child,
    pid: u32,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    cpu_before: Duration,
    /// Processor seconds between `go` and the report.
    cpu_s: f64,
}

impl Load {
    /// Started, and all its sockets there.
    async fn start(bench: &Bench, spec: &Spec) -> anyhow::Result<Self> {
        let mut child = Command::new(&bench.this_program)
            .args(["guard", "--parent", &std::process::id().to_string(), "--"])
            .arg(&bench.this_program)
            .arg("load")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("the load process")?;
        let (Some(pid), Some(mut stdin), Some(stdout)) =
            (child.id(), child.stdin.take(), child.stdout.take())
        else {
            bail!("the load process has no pipes");
        };
        stdin.write_all(format!("{}\n", serde_json::to_string(spec)?).as_bytes()).await?;
        let lines = BufReader::new(stdout).lines();
        let mut load = Self { child, pid, stdin, lines, cpu_before: Duration::ZERO, cpu_s: 0.0 };
        match read_said(&mut load.lines).await? {
            Said::Connected(_) => Ok(load),
            Said::Report(_) => bail!("the load process has not waited"),
        }
    }

    async fn go(&mut self) -> anyhow::Result<()> {
        self.cpu_before = process::cpu_time(self.pid)?;
        Ok(self.stdin.write_all(b"go\n").await?)
    }

    async fn report(&mut self) -> anyhow::Result<Report> {
        let report = read_said(&mut self.lines).await?.into_report()?;
        // It waits for its input to end: its time can still be read.
        let cpu = process::cpu_time(self.pid).unwrap_or(self.cpu_before);
        self.cpu_s = cpu.saturating_sub(self.cpu_before).as_secs_f64();
        Ok(report)
    }

    async fn end(self) -> anyhow::Result<()> {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        let status = child.wait().await?;
        if !status.success() {
            bail!("the load process ended badly: {status}");
        }
        Ok(())
    }

    /// Closes its input, which ends idle sockets.
    async fn finish(self) -> anyhow::Result<Report> {
        let Self { mut child, stdin, mut lines, .. } = self;
        drop(stdin);
        let report = read_said(&mut lines).await?.into_report()?;
        child.wait().await?;
        Ok(report)
    }
}

async fn read_said(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<Said> {
    let line = lines
        .next_line()
        .await?
        .context("the load process ended too early; its words are above")?;
    Ok(serde_json::from_str(&line)?)
}
