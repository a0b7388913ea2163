//! A wrapper that ties a process to its parent: `homing-testnet guard --parent PID -- PROGRAM …` becomes PROGRAM,
//! which the kernel signals when the parent dies, however it dies. So nothing is left running after `kill -9`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Becomes another program that ends with its parent.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The process whose end is waited for.
    #[arg(long)]
    parent: i32,
    /// End it in order (SIGTERM) instead of at once (SIGKILL).
    #[arg(long)]
    gently: bool,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<OsString>,
}

/// Does not return where it succeeds.
pub fn run(args: &GuardArgs) -> anyhow::Result<()> {
    let signal = if args.gently { Signal::TERM } else { Signal::KILL };
    set_parent_process_death_signal(Some(signal))?;
    // The parent may have died before the line above: then its signal has been missed.
    if getppid().is_none_or(|parent| parent.as_raw_nonzero().get() != args.parent) {
        anyhow::bail!("the parent {} is gone", args.parent);
    }
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| anyhow::anyhow!("no program is named"))?;
    let error = Command::new(program).args(arguments).exec();
    Err(anyhow::anyhow!("{}: {error}", program.to_string_lossy()))
}
