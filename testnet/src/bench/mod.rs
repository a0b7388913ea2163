//! `homing-testnet bench`: how fast, held against what this very machine's disk and sockets can do, with a checker that
//! fails loudly where a message is lost, doubled or out of order.
//!
//! Homes are processes of their own (`homing serve`), the load is another ([`load`]), so that the homes' processor
//! time and memory are theirs alone. Every number of one run comes from the same disk and the same minutes.

pub mod check;
mod crowd;
mod group_wide;
mod limits;
mod line;
pub mod load;
mod machine;
mod media;
mod resume;
mod scenario;
mod search;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::homes::Program;
use crate::process::raise_open_files;
use crate::up::Stop;

pub use limits::Limits;
pub use line::Line;

/// The protections against a flooding client that a load generator runs into; everything else is as delivered.
const HOME_ENVIRONMENT: [(&str, &str); 5] = [
    ("HOMING_LIMITS__CALLS_PER_S", "1000000"),
    ("HOMING_LIMITS__CALLS_BURST", "1000000"),
    ("HOMING_LIMITS__SENDS_PER_S", "1000000"),
    ("HOMING_LIMITS__SENDS_BURST", "1000000"),
    ("HOMING_LOG__LEVEL", "warn"),
];

/// Measures homes on this machine.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  homing-testnet bench\n  homing-testnet bench local quiet --seconds 20 --json\n\nExit code 1 where a message was lost, doubled or out of order.\nBuild with --release: a debug build measures nothing worth knowing."
)]
pub struct BenchArgs {
    /// What to measure; everything but group-wide, media and search where nothing is named.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// How long each measurement sends.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Messages of `restart`.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// Messages of `relay-catchup`.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    owed: u64,
    /// Messages of `search`.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=9_999_999))]
    searched: u64,
    /// The disk to measure: a directory below which the homes' data lies while it runs.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the homes' data and logs there.
    #[arg(long)]
    keep: bool,
    /// The homing program; else the one beside this one.
    #[arg(long, value_name = "PATH")]
    homing: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Scenario {
    /// 50 pairs at one home, 200-byte bodies, 1 and 32 in flight: answers a second.
    Local,
    /// The same between two homes: deliveries a second.
    Federated,
    /// 100 messages a second: how long an answer takes.
    Quiet,
    /// 50 users with 200 signed-in sockets each: memory of a connection.
    Idle,
    /// From starting the program to ready, with a million messages, after kill -9.
    Restart,
    /// A home was away while 200,000 messages of 1 KiB in 100 chats were sent to it: how fast it has them.
    RelayCatchup,
    /// One home, one group of 100 members who are all online; ten of them write as fast as they are answered: deliveries
    /// a second, which is messages times 99.
    Group,
    /// A user with 2,000 channels, of which three have changed, comes back; and all of them are listed.
    Resume,
    /// One home with 100,000 messages: how long it takes to find some of them, by words of several kinds, and to make the
    /// index anew. Only where it is named.
    Search,
    /// Files of 1 GiB up and down, here and from another home, beside a copy with BLAKE3 and beside nginx. Only where it is named:
    /// it takes 8 GiB of disk.
    Media,
    /// A home tells groups of 3, 8, 16, 30 and 100 homes, by gossip and by streams: what it costs, and when all have it. In one process,
    /// without disks. Only where it is named: it takes minutes.
    GroupWide,
}

impl Scenario {
    const ALL: [Self; 8] = [
        Self::Local,
        Self::Federated,
        Self::Quiet,
        Self::Idle,
        Self::Restart,
        Self::RelayCatchup,
        Self::Group,
        Self::Resume,
    ];
}

/// What every scenario needs.
pub(crate) struct Bench {
    program: Program,
    this_program: PathBuf,
    dir: PathBuf,
    seconds: u64,
    messages: u64,
    owed: u64,
    searched: u64,
    open_files: u64,
    /// Progress for people.
    quiet: bool,
}

impl Bench {
    fn note(&self, text: &str) {
        use std::io::Write as _;
        if !self.quiet {
            // Progress: who closed standard error does not want it.
            let _unwanted = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// Runs it; `Ok(false)` where a message was lost, doubled or out of order.
pub async fn run(args: BenchArgs) -> anyhow::Result<bool> {
    let mut stop = Stop::new()?;
    tokio::select! {
        measured = Box::pin(measure(args)) => measured,
        // Dropping the measurement kills what it has started and removes its data.
        () = stop.asked() => bail!("stopped before the end"),
    }
}

async fn measure(args: BenchArgs) -> anyhow::Result<bool> {
    if !args.scenarios.is_empty() && args.scenarios.iter().all(|s| *s == Scenario::GroupWide) {
        return measure_in_memory(&args).await;
    }
    let this_program = std::env::current_exe().context("this program does not know where it is")?;
    let mut program =
        Program::find(args.homing.as_deref())?.guarded_by(this_program.clone(), false);
    for (name, value) in HOME_ENVIRONMENT {
        program = program.with_env(name, value);
    }
    let parent = match args.dir {
        Some(dir) => dir,
        // The disk that the programs are built on; the system's temporary directory may be memory.
        None => {
            this_program.parent().map(PathBuf::from).context("this program has no directory")?
        }
    };
    std::fs::create_dir_all(&parent).with_context(|| format!("--dir {}", parent.display()))?;
    let data = tempfile::Builder::new()
        .prefix("homing-bench-")
        .disable_cleanup(args.keep)
        .tempdir_in(&parent)
        .with_context(|| format!("--dir {}", parent.display()))?;
    let bench = Bench {
        program,
        this_program,
        dir: data.path().to_owned(),
        seconds: args.seconds,
        messages: args.messages,
        owed: args.owed,
        searched: args.searched,
        open_files: raise_open_files(),
        quiet: args.json,
    };
    let machine = machine::Machine::look(bench.program.path());
    if !args.json {
        say(&machine.to_string())?;
    }
    bench.note("measuring the limits: disk and sockets …");
    let limits = limits::measure(&bench.dir).await.context("measuring the limits")?;
    if !args.json {
        say(&limits.to_string())?;
        say(&line::heading())?;
    }
    let wanted = if args.scenarios.is_empty() { Scenario::ALL.to_vec() } else { args.scenarios };
    let mut good = true;
    for scenario in wanted {
        let (sender, mut lines) = tokio::sync::mpsc::channel(8);
        let context = || format!("{scenario:?}").to_lowercase();
        let running = async {
            let ran = Box::pin(scenario::run(&bench, scenario, &sender)).await;
            drop(sender);
            ran
        };
        let printing = async {
            while let Some(mut line) = lines.recv().await {
                good &= line.is_good();
                line.held_against(&limits, &machine);
                say(&if args.json { serde_json::to_string(&line)? } else { line.to_string() })?;
            }
            anyhow::Ok(())
        };
        let (ran, printed) = tokio::join!(running, printing);
        ran.with_context(context)?;
        printed?;
    }
    if args.keep {
        bench.note(&format!("data and logs: {}", bench.dir.display()));
    }
    if !good && !args.json {
        say("FAILED: messages were lost, doubled or out of order")?;
    }
    Ok(good)
}

/// Without homes as processes, and without a disk.
async fn measure_in_memory(args: &BenchArgs) -> anyhow::Result<bool> {
    let this_program = std::env::current_exe().context("this program does not know where it is")?;
    let machine = machine::Machine::look(&this_program);
    if !args.json {
        say(&machine.to_string())?;
        say(&line::heading())?;
    }
    let (sender, mut lines) = tokio::sync::mpsc::channel(8);
    let running = async {
        let ran = Box::pin(group_wide::run(args.seconds, &sender)).await;
        drop(sender);
        ran
    };
    let mut good = true;
    let printing = async {
        while let Some(mut line) = lines.recv().await {
            good &= line.is_good();
            line.measured_on(&machine);
            say(&if args.json { serde_json::to_string(&line)? } else { line.to_string() })?;
        }
        anyhow::Ok(())
    };
    let (ran, printed) = tokio::join!(running, printing);
    ran.context("group-wide")?;
    printed?;
    Ok(good)
}

fn say(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}
