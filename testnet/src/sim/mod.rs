//! `homing-testnet sim`: the pure core of many homes in one thread, under one seed.
//!
//! Time, clocks, disks, connections and clients are the simulation's own; what a command, a frame or an answer does
//! is decided by the very code that the node runs (`homing-core` on `homing-store`'s memory engine), driven as the
//! node drives it. Everything that happens follows from the seed, so that a failing one repeats exactly and can be
//! made shorter. What must hold is in `check.rs`, by the numbers of the promises in the design.

mod changes;
mod check;
mod driver;
mod groups;
mod ledger;
mod member;
mod net;
mod plan;
mod repairs;
mod seal;
mod shrink;
mod trace;
mod villain;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use homing_core::Fault;
use homing_store::{BackupError, StoreError};
use homing_wire::Hash;
use rand::Rng as _;
use serde::Serialize;

pub use plan::{Deed, Harm, Person, Plan, What};
use world::World;

/// Many homes in one thread under one seed, with everything that can go wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  homing-testnet sim --seed 7\n  homing-testnet sim --seed 7 --trace 2>run.txt\n  \
                  homing-testnet sim --seeds 300\n\nExit status: 1 if a promise was broken."
)]
pub struct SimArgs {
    /// The first seed [default: a random one].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many seeds, one after the other.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How many homes.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=100))]
    homes: u8,
    /// How many things happen.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    /// What kind of run; but for the mixed ones, homes and steps follow from the seed.
    #[arg(long, value_name = "KIND", default_value = "mixed")]
    plan: Kind,
    /// A fault that must be found out.
    #[arg(long, value_name = "FAULT")]
    canary: Option<Canary>,
    /// Print everything that happens in the run of the first seed, on standard error.
    #[arg(long)]
    trace: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Known faults, to see that they are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Canary {
    /// A client is answered before its message is on disk.
    EarlyAnswer,
    /// A peer is told that its range is held before it is on disk.
    EarlyAck,
    /// A batch goes to disk without what is owed.
    LostFlush,
    /// On a new connection nothing is said of what is owed.
    NoResume,
    /// A restored home asks nobody.
    DeafRestore,
    /// Whatever proof is shown is believed.
    UncheckedProof,
    /// Of rosters that come from other homes the fences are not looked at.
    FenceIgnored,
}

/// What kind of run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Serialize)]
#[value(rename_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Everything that can go wrong.
    #[default]
    Mixed,
    /// The same without groups.
    Chats,
    /// The same as mixed, and one of the homes that are in groups loses its disk.
    LostInGroups,
    /// A member of a group is removed while their home is cut off.
    RemovedBehindACut,
    /// An automatic decline meets the next invitation.
    DeclinedInARace,
}

impl Kind {
    fn plan(self, seed: u64, homes: usize, steps: usize) -> Plan {
        match self {
            Self::Mixed => Plan::new(seed, homes, steps),
            Self::Chats => Plan::of_chats(seed, homes, steps),
            Self::LostInGroups => Plan::lost_in_groups(seed, homes, steps),
            Self::RemovedBehindACut => Plan::removed_behind_a_cut(seed),
            Self::DeclinedInARace => Plan::declined_in_a_race(seed),
        }
    }
}

/// A broken promise, with the evidence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{promise}: {what}")]
pub struct Broken {
    /// Its number in the design, or a word.
    pub promise: &'static str,
    /// What was seen.
    pub what: String,
}

impl Broken {
    fn new(promise: &'static str, what: String) -> Self {
        Self { promise, what }
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::new("store", fault.0)
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::new("store", error.to_string())
    }
}

impl From<BackupError> for Broken {
    fn from(error: BackupError) -> Self {
        Self::new("backup", error.to_string())
    }
}

/// What a run was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// A number that only the same run has.
    pub hash: Hash,
    /// Things that happened.
    pub happenings: u64,
    /// Messages that were answered.
    pub answered: u64,
    /// Lives that ended with a lost disk.
    pub restores: u64,
    /// Groups that were made.
    pub groups: u64,
    /// Rosters of them that were signed.
    pub rosters: u64,
    /// Messages in groups that were answered.
    pub said: u64,
    /// Those of them that do not count in the end: their senders had lost the right.
    pub rejected: u64,
}

/// Runs a plan.
pub fn run_plan(plan: &Plan, canary: Option<Canary>, verbose: bool) -> Result<Ran, Broken> {
    let run = || {
        let mut world = World::new(plan.clone(), canary, verbose)?;
        world.run()?;
        Ok(Ran {
            hash: world.digest()?,
            happenings: world.trace.count,
            answered: world.ledger.wishes.iter().filter(|w| w.answer.is_some()).count() as u64,
            groups: world.ledger.groups.len() as u64,
            rosters: world.ledger.rosters.len() as u64,
            said: world.said().count() as u64,
            rejected: world.rejected()?,
            restores: world.members.iter().map(|member| member.restores as u64).sum(),
        })
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Broken::new("panic", words.unwrap_or("a panic without words").to_owned()))
    })
}

/// What all runs were.
#[derive(Debug, Default, Serialize)]
struct Summary {
    first_seed: u64,
    seeds: u64,
    homes: u8,
    steps: u32,
    plan: Kind,
    canary: Option<Canary>,
    happenings: u64,
    answered: u64,
    restores: u64,
    groups: u64,
    rosters: u64,
    said: u64,
    rejected: u64,
    broken: u64,
    /// Of the first seed.
    hash: String,
    elapsed_ms: u64,
}

/// Runs seeds on all cores; false: a promise was broken.
pub fn run(args: &SimArgs) -> anyhow::Result<bool> {
    // A panic of the core is a broken promise like others, told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let first = args.seed.unwrap_or_else(|| u64::from(rand::rng().random::<u32>()));
    let (homes, steps) = (usize::from(args.homes), args.steps as usize);
    let began = Instant::now();
    let mut summary = Summary {
        first_seed: first,
        seeds: args.seeds,
        homes: args.homes,
        steps: args.steps,
        plan: args.plan,
        canary: args.canary,
        ..Summary::default()
    };
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= args.seeds {
                break;
            }
            let seed = first.wrapping_add(n);
            let plan = args.plan.plan(seed, homes, steps);
            let result = run_plan(&plan, args.canary, args.trace && n == 0);
            if result.is_err() && args.canary.is_some() {
                stop.store(true, Ordering::Relaxed);
            }
            done.push((n, plan, result));
            if let Some((_, plan, Ok(_))) = done.last_mut() {
                plan.deeds = Vec::new();
            }
        }
        done
    };
    let mut results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    results.sort_by_key(|(n, _, _)| *n);
    for (n, plan, result) in &results {
        match result {
            Ok(ran) => {
                summary.happenings += ran.happenings;
                summary.answered += ran.answered;
                summary.restores += ran.restores;
                summary.groups += ran.groups;
                summary.rosters += ran.rosters;
                summary.said += ran.said;
                summary.rejected += ran.rejected;
                if *n == 0 {
                    summary.hash = ran.hash.to_string();
                }
            }
            Err(broken) => {
                summary.broken += 1;
                tell(plan, broken, args, summary.broken == 1);
            }
        }
    }
    summary.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!(
            "sim: seeds {first}..{} of {} homes x {} steps: {} broken; {} happenings, {} messages, {} restores; {} groups, {} \
             roster changes, {} group messages ({} rejected); {:.1} s, hash of the first {}",
            first.wrapping_add(results.len() as u64),
            args.homes,
            args.steps,
            summary.broken,
            summary.happenings,
            summary.answered,
            summary.restores,
            summary.groups,
            summary.rosters,
            summary.said,
            summary.rejected,
            began.elapsed().as_secs_f64(),
            summary.hash,
        );
    }
    Ok(summary.broken == 0)
}

/// How long a failing plan is made shorter.
const SHRINKS_FOR: Duration = Duration::from_secs(60);

/// Deeds printed of a failing plan: a longer one is better read in its trace.
const TOLD: usize = 60;

/// Says what was broken, and how to see it again; the first time with a shorter way there.
fn tell(plan: &Plan, broken: &Broken, args: &SimArgs, shrinks: bool) {
    let Plan { seed, homes, deeds, .. } = plan;
    eprintln!("sim: seed {seed}: broken promise {broken}");
    let canary = args.canary.and_then(|c| c.to_possible_value());
    let canary = canary.map(|c| format!(" --canary {}", c.get_name())).unwrap_or_default();
    let steps = args.steps;
    let kind = args.plan.to_possible_value().filter(|_| args.plan != Kind::Mixed);
    let kind = kind.map_or_else(
        || format!("--homes {homes} --steps {steps}"),
        |kind| format!("--plan {}", kind.get_name()),
    );
    eprintln!("  again: homing-testnet sim --seed {seed} {kind}{canary} --trace");
    if !shrinks {
        return;
    }
    let (shorter, broken) = shrink::shrink(plan, broken, args.canary, SHRINKS_FOR);
    eprintln!(
        "  shortened from {} to {} steps and from {homes} to {} homes: {broken}",
        deeds.len(),
        shorter.deeds.len(),
        shorter.homes
    );
    for (at, deed) in shorter.deeds.iter().take(TOLD) {
        eprintln!("  {at:>7} ms  {deed:?}");
    }
    if shorter.deeds.len() > TOLD {
        eprintln!("  … and {} more", shorter.deeds.len() - TOLD);
    }
    if args.trace {
        eprintln!("  what happens in it:");
        let _told = run_plan(&shorter, args.canary, true);
    }
}

pub use shrink::shrink;
