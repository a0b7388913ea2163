//! `homing store`: what lies on the disk, for the home's operator.

use clap::{Args, Subcommand};

use super::backup::job;
use super::{ConfigArg, output, reach, user::wrong};
use crate::backup::Place;
use crate::control::{Control, JobRow};
use crate::operator::now_ms;

/// The store: giving back what need not be kept.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  homing store compact --config acme/homing.toml\n\n\
    `homing verify` reads everything that is stored and says whether it is whole.")]
pub(super) struct StoreArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give back at once, and as fast as the disk, all that nobody can read any more: what was deleted longer ago than
    /// retention.erase_after, and what retention has removed.
    #[command(after_help = "Examples:\n  homing store compact\n  homing store compact --json\n\n\
        The node may be running: it goes on meanwhile, and by itself does the same a little at a time. Files are written anew \
        before the old ones go, so it needs room for one of them.")]
    Compact {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: StoreArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Compact { json } => compact(&args.config, json).await,
    }
}

async fn compact(of: &ConfigArg, json: bool) -> anyhow::Result<()> {
    let (config, mut operator) = reach(of).await?;
    operator.set_place(Place::of(&config, &of.config));
    let erase_before_ms = now_ms().saturating_sub(config.retention.erase_after.ms());
    let done = job(&mut operator, Control::Compact { erase_before_ms }).await;
    operator.close()?;
    let JobRow::Compacted(row) = done? else { return Err(wrong()) };
    if json {
        return output::line(&row);
    }
    output::text(&format!(
        "{} of {} files of the journal are gone: {} bytes, and {} bytes were written in their place; the bodies of {} deleted \
         messages are among what went",
        row.freed, row.looked_at, row.bytes_before, row.bytes_after, row.erased
    ))
}
