//! `homing-testnet chaos`: real homes under load that are killed, frozen, cut off, filled up, set to wrong times and
//! restored from backups, and a judge over what their clients were answered and shown.
//!
//! - [`mod@plan`] is the schedule, by a seed; `actor` carries it out on a home, `links` on the network between them.
//! - `people` are the clients. They behave as real ones: ids of their own, the same again until answered, `since` and
//!   `messages.list {after}` on coming back, a new log-in where the token is dead.
//! - When the time is over everything heals; `settle` waits until nothing is owed and reads what each home holds.
//! - [`check`] is the judge.
//!
//! The same seed is the same schedule, not the same run: processes and disks have their own time.

mod actor;
mod board;
pub mod check;
mod disks;
pub mod links;
mod people;
pub mod plan;
mod report;
mod settle;

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::homes::{Abilities, Home, Homes, Ports, Program};
use crate::process::raise_open_files;
use crate::up::{Stop, home_name};

pub use disks::own_mounts;
pub use report::Report;

use actor::{Actor, FAULTS_QUEUED, PROBERS};
use board::Board;
use check::{Broken, Chat, Finding, Party, examine};
use disks::Disk;
use links::Links;
use people::{Goal, Heard, Lane, LaneLog, Person, Session, Until, listen, send};
use plan::{Course, Fault, HomeFault, LinkFault, Planned, plan};
use settle::PATIENCE;

/// Users of each home who chat.
const PEOPLE: usize = 4;

/// Chats between each two homes, and inside each home. The first begins at once, the others in the middle of it.
const CHATS_PER_PAIR: usize = 3;

/// Free space below which homes refuse sends: small, as their disks are.
const MIN_FREE_BYTES: u64 = 32 << 20;

/// A home's disk: its reserve, a few journal files, and what it writes.
const DISK_BYTES: u64 = 256 << 20;

/// What a home writes in a minute at most, index included.
const DISK_BYTES_PER_MINUTE: u64 = 32 << 20;

/// Small files for small disks; and a home that comes back is to be found while the run lasts.
const HOME_ENVIRONMENT: [(&str, &str); 4] = [
    ("HOMING_LIMITS__MIN_FREE_DISK_BYTES", "33554432"),
    ("HOMING_LIMITS__BACKOFF_MAX_MS", "10000"),
    ("HOMING_STORE__SEGMENT_BYTES", "8388608"),
    ("HOMING_STORE__RESERVE_BYTES", "8388608"),
];

/// Does harm to homes on this machine, and holds them to their promises.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  homing-testnet chaos\n  homing-testnet chaos --minutes 2 --seed 7 --json\n\nExit code 1 where a promise was broken: a message lost, doubled, out of order or not the same at both homes,\nor a home that ended or stood still by itself. Data and logs are kept then.\nDisks are filled where this program may mount (as root, or in a user namespace)."
)]
pub struct ChaosArgs {
    /// How long harm is done; everything heals after that.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// How many homes: acme.test, globex.test, initech.test, home4.test …
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    homes: u16,
    /// Fixes the schedule of faults and what is said; else another one every time.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Messages a second, all clients together.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Print JSON: one line for each broken promise, and the last line.
    #[arg(long)]
    json: bool,
    /// A directory below which the homes' data lies while it runs.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the homes' data and logs there in any case.
    #[arg(long)]
    keep: bool,
    /// The homing program; else the one beside this one.
    #[arg(long, value_name = "PATH")]
    homing: Option<PathBuf>,
    /// Instead of minutes, for tests.
    #[arg(long, value_name = "N", hide = true)]
    seconds: Option<u64>,
}

/// Runs it; `Ok(false)` where a promise was broken.
pub async fn run(args: ChaosArgs) -> anyhow::Result<bool> {
    let mut stop = Stop::new()?;
    let this_program = std::env::current_exe().context("this program does not know where it is")?;
    let parent = match &args.dir {
        Some(dir) => dir.clone(),
        // The disk that the programs are built on; the system's temporary directory may be memory.
        None => {
            this_program.parent().map(PathBuf::from).context("this program has no directory")?
        }
    };
    std::fs::create_dir_all(&parent).with_context(|| format!("--dir {}", parent.display()))?;
    let mut ground = tempfile::Builder::new()
        .prefix("homing-chaos-")
        .tempdir_in(&parent)
        .with_context(|| format!("--dir {}", parent.display()))?;
    let ran = tokio::select! {
        ran = Box::pin(harm(&args, this_program, ground.path())) => Some(ran),
        // Dropping it kills the homes and takes their disks away.
        () = stop.asked() => None,
    };
    let keep = args.keep || matches!(ran, Some(Ok(false) | Err(_)));
    if keep {
        ground.disable_cleanup(true);
        note(&format!("data and logs: {}", ground.path().display()));
    } else {
        remove(ground).await?;
    }
    match ran {
        Some(ran) => ran,
        None => bail!("stopped before the end"),
    }
}

/// Homes that were killed a moment ago may still write.
async fn remove(ground: tempfile::TempDir) -> anyhow::Result<()> {
    let path = ground.keep();
    let mut tries = 0;
    loop {
        match std::fs::remove_dir_all(&path) {
            Ok(()) => return Ok(()),
            Err(error) if tries == 10 => {
                return Err(error).with_context(|| path.display().to_string());
            }
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn harm(args: &ChaosArgs, this_program: PathBuf, ground: &Path) -> anyhow::Result<bool> {
    raise_open_files();
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::rng().random::<u32>()));
    let lasting = Duration::from_secs(args.seconds.unwrap_or(args.minutes * 60));
    let mut program = Program::find(args.homing.as_deref())?.guarded_by(this_program, false);
    for (name, value) in HOME_ENVIRONMENT {
        program = program.with_env(name, value);
    }
    let Abilities { testing, backups } = program.abilities().await?;
    let mut stage = Stage::set(program, ground, args.homes, lasting).await?;
    if !testing {
        stage.skipped.push("wrong clocks: this homing has no `serve --testing`".to_owned());
    }
    if !backups {
        stage.skipped.push("restores: this homing has no `backup` and `restore`".to_owned());
    }
    // Always said: whoever finds something wants to see it again.
    note(&format!("seed {seed}"));
    for skipped in &stage.skipped {
        note(&format!("skipped: {skipped}"));
    }
    let disks = stage.disks.iter().map(Option::is_some).collect();
    let course = Course { seed, lasting, disks, clocks: testing, backups };
    let shows_progress = !args.json && std::io::stderr().is_terminal();
    let outcome = play(stage, &course, args.rate, shows_progress).await?;
    let Outcome { mut report, findings, disks } = outcome;
    report.seed = seed;
    let minutes = lasting.as_secs_f64() / 60.0;
    report.minutes = minutes;
    let mut evidence = String::new();
    for finding in &findings {
        evidence.push_str(&serde_json::to_string(finding)?);
        evidence.push('\n');
    }
    if args.json {
        for finding in report::named(&findings) {
            say(&serde_json::to_string(finding)?)?;
        }
        say(&serde_json::to_string(&report)?)?;
    } else {
        for finding in report::named(&findings) {
            say(&finding.to_string())?;
        }
        say(&report.summary())?;
    }
    if !report.is_good() || args.keep {
        std::fs::write(ground.join("findings.jsonl"), evidence)?;
        std::fs::write(ground.join("report.json"), serde_json::to_string(&report)?)?;
        for disk in disks.into_iter().flatten() {
            disk.rescue().context("moving the evidence off a home's own disk")?;
        }
    }
    Ok(report.is_good())
}

/// Homes that know each other through proxies, on disks that can be filled, running.
struct Stage {
    homes: Vec<Home>,
    disks: Vec<Option<Disk>>,
    links: Links,
    people: Vec<Person>,
    backups: PathBuf,
    skipped: Vec<String>,
}

impl Stage {
    async fn set(
        program: Program,
        ground: &Path,
        count: u16,
        lasting: Duration,
    ) -> anyhow::Result<Self> {
        let names: Vec<String> = (0..count).map(home_name).collect();
        let mut skipped = Vec::new();
        let disks = disks_for(ground, &names, lasting, &mut skipped);
        // With seeds of their own: two runs of one seed may share the machine.
        let base = Ports::base_for(count, &mut rand::rng())?;
        let made = Homes::make(program, ground, &names, Some(base)).await?;
        let mut homes = made.into_vec();
        let p2p: Vec<u16> = homes.iter().map(|home| home.ports().p2p).collect();
        let links = Links::between(&p2p).await.context("proxies")?;
        for (from, home) in homes.iter().enumerate() {
            let others = homes
                .iter()
                .enumerate()
                .filter_map(|(to, other)| Some((other, links.port(from, to)?)));
            home.write_settings_through(others)?;
        }
        let mut people = Vec::new();
        for (number, home) in homes.iter_mut().enumerate() {
            home.start().await?;
            for who in 0..PEOPLE {
                let user = format!("p{who}");
                home.register(&user).await?;
                let (home_name, server) = (home.name().to_owned(), home.server()?);
                people.push(Person { home: number, home_name, user, server });
            }
            home.register(PROBERS[1]).await?;
            home.user(PROBERS[0]).await?;
        }
        let backups = ground.join("backups");
        std::fs::create_dir_all(&backups)?;
        Ok(Self { homes, disks, links, people, backups, skipped })
    }
}

/// All homes but the first have a small disk of their own; the first is on the real one, whose flushes take time.
fn disks_for(
    ground: &Path,
    names: &[String],
    lasting: Duration,
    skipped: &mut Vec<String>,
) -> Vec<Option<Disk>> {
    let bytes = DISK_BYTES + DISK_BYTES_PER_MINUTE * lasting.as_secs().div_ceil(60);
    let why = if !disks::can_mount() {
        "this program may not mount (run as root, or allow user namespaces)".to_owned()
    } else {
        let mut disks = Vec::new();
        for (number, name) in names.iter().enumerate() {
            match (number > 0 || names.len() == 1).then(|| Disk::mount(&ground.join(name), bytes)) {
                None => disks.push(None),
                Some(Ok(disk)) => disks.push(Some(disk)),
                Some(Err(error)) => {
                    skipped.push(format!("full disks: {error}"));
                    return names.iter().map(|_| None).collect();
                }
            }
        }
        return disks;
    };
    skipped.push(format!("full disks: {why}"));
    names.iter().map(|_| None).collect()
}

struct Outcome {
    report: Report,
    findings: Vec<Finding>,
    disks: Vec<Option<Disk>>,
}

/// One chat as it is planned: two people and a lane each way.
struct Pair {
    people: [usize; 2],
    lanes: [Lane; 2],
}

async fn play(
    stage: Stage,
    course: &Course,
    rate: u32,
    shows_progress: bool,
) -> anyhow::Result<Outcome> {
    let Stage { homes, disks, links, people, backups, skipped } = stage;
    let names: Vec<String> = homes.iter().map(|home| home.name().to_owned()).collect();
    let pairs = pairs(&people, homes.len(), course, rate);
    let board = Arc::new(Board::of(&names));
    let (until, senders_until) = watch::channel(Until::Told);
    let mut senders = spawn_senders(&board, &people, &pairs, course.seed, &senders_until);
    let (goals, mut listeners) = spawn_listeners(&board, &people, course.seed);

    let (orders, acting): (Vec<_>, Vec<_>) = homes
        .into_iter()
        .zip(disks)
        .enumerate()
        .map(|(number, (home, disk))| {
            let board = Arc::clone(&board);
            let actor = Actor::of(number, home, disk, board, backups.clone(), MIN_FREE_BYTES);
            let (order, orders) = mpsc::channel(FAULTS_QUEUED);
            (order, actor.act(orders))
        })
        .unzip();
    let doing = async {
        direct(&board, &links, course, orders).await;
        until.send_replace(Until::Answered);
    };
    let acted = async {
        let (actors, ()) = tokio::join!(futures::future::join_all(acting), doing);
        let healed = Instant::now();
        let (homes, disks): (Vec<_>, Vec<_>) =
            actors.into_iter().map(|Actor { home, disk, .. }| (home, disk)).unzip();
        let logs = all_answered(&board, &mut senders, &until).await?;
        let is_settled = settle::nothing_owed(&board, &homes).await?;
        let settled_after_s = healed.elapsed().as_secs_f64();
        tracing::info!(is_settled, settled_after_s, "settled");
        let (heard, lists) = read_everything(&board, &people, &goals, &mut listeners).await?;
        for home in &homes {
            for line in settle::panics(home) {
                board.found(Finding::trouble(home.name(), line));
            }
        }
        let homes = stop_all(&board, homes).await;
        drop(homes);
        anyhow::Ok((disks, logs, heard, lists, settled_after_s))
    };
    let progress = async {
        if !shows_progress {
            std::future::pending::<()>().await;
        }
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            let line = report::progress(&board, &links, course.lasting);
            // Who closed standard error does not want it.
            let _unwanted = write!(std::io::stderr(), "\r\x1b[2K{line}");
        }
    };
    let (disks, logs, heard, mut lists, settled_after_s) = tokio::select! {
        acted = Box::pin(acted) => acted?,
        never = progress => never,
    };
    if shows_progress {
        let _unwanted = writeln!(std::io::stderr(), "\r\x1b[2K");
    }

    let chats = chats(&people, &pairs, logs, heard, &mut lists);
    let windows = board.windows();
    for (person, lists) in people.iter().zip(&lists) {
        for (channel, entries) in lists.histories.iter().filter(|(_, e)| !e.is_empty()) {
            let what = format!(
                "{} has {} messages in it that nobody sent",
                person.address(),
                entries.len()
            );
            board.found(Finding {
                broken: Broken::Diverged,
                channel: Some(*channel),
                id: None,
                homes: vec![person.home_name.clone()],
                what,
            });
        }
    }
    let mut findings = board.findings();
    findings.extend(chats.iter().flat_map(|chat| examine(chat, &windows)));
    let mut report = Report::of(&board);
    report.homes = names.len();
    report.skipped = skipped;
    report.settled_after_s = settled_after_s;
    for lists in &lists {
        for (kind, count) in &lists.notices {
            *report.notices.entry(kind.clone()).or_default() += count;
        }
    }
    report.count(&chats, course.lasting);
    report.judge(&findings);
    Ok(Outcome { report, findings, disks })
}

/// Who chats with whom: across all pairs of homes, and inside each.
fn pairs(people: &[Person], homes: usize, course: &Course, rate: u32) -> Vec<Pair> {
    let mut rng = StdRng::seed_from_u64(course.seed ^ 0x00C0_FFEE);
    let mut pairs = Vec::new();
    let count = (homes * (homes + 1) / 2 * CHATS_PER_PAIR) as f64;
    // A batch has three and a half messages on average, a chat two lanes.
    let pause = Duration::from_secs_f64(count * 2.0 * 3.5 / f64::from(rate));
    for b in 0..homes {
        for a in 0..=b {
            for chat in 0..CHATS_PER_PAIR {
                let other = if a == b { chat + 1 } else { chat + a + b };
                let who = [a * PEOPLE + chat % PEOPLE, b * PEOPLE + other % PEOPLE];
                let latest = course.lasting.mul_f64(0.3 * chat as f64);
                let first = rng.random_range(0.0..1.0);
                let lane = |by: usize| Lane {
                    number: (pairs.len() * 2 + by) as u64,
                    by,
                    to: people[who[1 - by]].address(),
                    // Both may write first.
                    begins_at: latest.mul_f64(first) + pause.mul_f64(0.3 * by as f64),
                    pause,
                };
                let lanes = [lane(0), lane(1)];
                pairs.push(Pair { people: who, lanes });
            }
        }
    }
    pairs
}

fn spawn_senders(
    board: &Arc<Board>,
    people: &[Person],
    pairs: &[Pair],
    seed: u64,
    until: &watch::Receiver<Until>,
) -> JoinSet<(u64, LaneLog)> {
    let sessions: Vec<_> =
        people.iter().map(|person| Arc::new(Session::of(person.clone()))).collect();
    let mut senders = JoinSet::new();
    for pair in pairs {
        for (lane, who) in pair.lanes.iter().zip(pair.people) {
            let session = Arc::clone(&sessions[who]);
            let number = lane.number;
            let sending = send(Arc::clone(board), session, lane.clone(), seed, until.clone());
            senders.spawn(async move { (number, sending.await) });
        }
    }
    senders
}

type Goals = Vec<watch::Sender<Option<Goal>>>;

fn spawn_listeners(
    board: &Arc<Board>,
    people: &[Person],
    seed: u64,
) -> (Goals, JoinSet<(usize, Heard)>) {
    let mut listeners = JoinSet::new();
    let mut goals = Vec::new();
    for (who, person) in people.iter().enumerate() {
        let (set, goal) = watch::channel(None);
        goals.push(set);
        let seed = seed.wrapping_add(who as u64);
        let listening = listen(Arc::clone(board), person.clone(), seed, goal, PATIENCE);
        listeners.spawn(async move { (who, Box::pin(listening).await) });
    }
    (goals, listeners)
}

/// Gives everybody their faults in time, then heals the links. The homes heal when `orders` are gone.
async fn direct(
    board: &Board,
    links: &Links,
    course: &Course,
    orders: Vec<mpsc::Sender<HomeFault>>,
) {
    enum Step {
        Home(usize, HomeFault),
        Link(usize, usize, Option<LinkFault>),
    }
    let mut steps = Vec::new();
    for Planned { at, fault } in plan(course) {
        match fault {
            Fault::Home(home, fault) => steps.push((at, Step::Home(home, fault))),
            Fault::Link { a, b, what, lasting } => {
                steps.push((at, Step::Link(a, b, Some(what))));
                steps.push((at + lasting, Step::Link(a, b, None)));
            }
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    let begin = tokio::time::Instant::from_std(board.begin);
    for (at, step) in steps.into_iter().filter(|(at, _)| *at < course.lasting) {
        tokio::time::sleep_until(begin + at).await;
        match step {
            Step::Home(home, fault) => {
                if orders.get(home).is_none_or(|order| order.try_send(fault).is_err()) {
                    board.figures.missed.add(1);
                }
            }
            Step::Link(a, b, fault) => {
                tracing::info!(a, b, ?fault, "link");
                links.set(a, b, fault);
                match fault {
                    Some(fault) if fault.is_cut() => board.figures.cuts.add(1),
                    Some(_) => board.figures.slowed.add(1),
                    None => {}
                }
            }
        }
    }
    tokio::time::sleep_until(begin + course.lasting).await;
    links.heal();
}

/// Until every send is answered, or for [`PATIENCE`] none was.
async fn all_answered(
    board: &Board,
    senders: &mut JoinSet<(u64, LaneLog)>,
    until: &watch::Sender<Until>,
) -> anyhow::Result<HashMap<u64, LaneLog>> {
    let mut logs = HashMap::new();
    let mut before = board.figures.answered.read();
    while !senders.is_empty() {
        match tokio::time::timeout(PATIENCE, senders.join_next()).await {
            Ok(None) => break,
            Ok(Some(log)) => {
                let (number, log) = log.context("a sender")?;
                logs.insert(number, log);
            }
            Err(_) => {
                let now = board.figures.answered.read();
                if now == before {
                    until.send_replace(Until::Now);
                }
                before = now;
            }
        }
    }
    Ok(logs)
}

/// What the homes hold; then the listeners get as far, and tell what they were shown.
async fn read_everything(
    board: &Board,
    people: &[Person],
    goals: &Goals,
    listeners: &mut JoinSet<(usize, Heard)>,
) -> anyhow::Result<(Vec<Heard>, Vec<settle::Lists>)> {
    let mut lists = Vec::with_capacity(people.len());
    for person in people {
        lists.push(settle::lists(board, person).await?);
    }
    for (goal, lists) in goals.iter().zip(&lists) {
        goal.send_replace(Some(lists.goal()));
    }
    let mut heard: Vec<Heard> = people.iter().map(|_| Heard::default()).collect();
    while let Some(done) = listeners.join_next().await {
        let (who, what) = done.context("a listener")?;
        for behind in &what.behind {
            let what = format!("{} does not catch up: {behind}", people[who].address());
            board.found(Finding::trouble(&people[who].home_name, what));
        }
        heard[who] = what;
    }
    Ok((heard, lists))
}

/// In order: a home that cannot end by itself has not healed.
async fn stop_all(board: &Board, mut homes: Vec<Home>) -> Vec<Home> {
    for home in &homes {
        home.ask_to_stop();
    }
    for home in &mut homes {
        if let Err(error) = home.stop().await {
            board.found(Finding::trouble(home.name(), error.to_string()));
        }
    }
    homes
}

/// Puts together what belongs to each chat.
fn chats(
    people: &[Person],
    pairs: &[Pair],
    mut logs: HashMap<u64, LaneLog>,
    mut heard: Vec<Heard>,
    lists: &mut [settle::Lists],
) -> Vec<Chat> {
    let mut chats = Vec::new();
    for pair in pairs {
        let logs = pair.lanes.each_ref().map(|l| logs.remove(&l.number).unwrap_or_default());
        let Some(channel) = logs.iter().find_map(|log| log.channel) else { continue };
        let parties = pair.people.map(|who| Party {
            home: people[who].home,
            home_name: people[who].home_name.clone(),
            address: people[who].address(),
            history: lists[who].histories.remove(&channel).unwrap_or_default(),
            shown: heard[who].shown.remove(&channel).unwrap_or_default(),
        });
        let sent = logs.into_iter().flat_map(|log| log.sent).collect();
        chats.push(Chat { channel, parties, sent });
    }
    chats
}

fn note(text: &str) {
    // Who closed standard error does not want it.
    let _unwanted = writeln!(std::io::stderr(), "{text}");
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}
