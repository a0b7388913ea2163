//! The command line of the testnet.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use homing_testnet::{bench, chaos, guard, sim, up};
use tracing_subscriber::EnvFilter;

/// Real homes on this machine: to chat with, to measure, and to do harm to.
#[derive(Debug, Parser)]
#[command(
    name = "homing-testnet",
    version,
    after_help = "Example:\n  homing-testnet up\n  homing-testnet bench local --seconds 10\n  homing-testnet chaos --minutes 2\n  homing-testnet sim --seeds 100"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::UpArgs),
    Bench(bench::BenchArgs),
    Chaos(chaos::ChaosArgs),
    Sim(sim::SimArgs),
    /// The load process of `bench`.
    #[command(hide = true)]
    Load,
    /// Becomes another program that ends with its parent.
    #[command(hide = true)]
    Guard(guard::GuardArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What gossip drops is counted.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,libp2p_gossipsub=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("homing-testnet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<bool> {
    match cli.command {
        Command::Guard(args) => guard::run(&args).map(|()| true),
        Command::Load => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(bench::load::run()).map(|()| true)
        }
        Command::Up(args) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(up::run(args)).map(|()| true)
        }
        Command::Bench(args) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(bench::run(args))
        }
        Command::Sim(args) => sim::run(&args),
        Command::Chaos(args) => {
            // Before there are threads.
            chaos::own_mounts();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(chaos::run(args))
        }
    }
}
