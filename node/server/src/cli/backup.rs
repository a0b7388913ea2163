//! `homing backup`, `homing restore`, `homing verify`: the home in one file, and back.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::{ConfigArg, output, reach, user::wrong};
use crate::backup::{self, BackupRow, Place};
use crate::control::{Control, ControlReply, JobRow};
use crate::restore;

/// How often the running node is asked whether it is done.
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The file to make. It holds the home's keys: keep it as you keep those.
    to: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The backup.
    from: PathBuf,
    /// Set aside what stands in its place.
    #[arg(long)]
    force: bool,
    /// Begin a life above this one, as the node says when another home knows a later life than this store.
    #[arg(long, value_name = "EPOCH")]
    epoch_above: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// A backup; else the home's own store.
    from: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn make(args: BackupArgs) -> anyhow::Result<()> {
    let to = std::path::absolute(&args.to).with_context(|| format!("{}", args.to.display()))?;
    let (config, mut operator) = reach(&args.config).await?;
    operator.set_place(Place::of(&config, &args.config.config));
    let done = job(&mut operator, Control::Backup { to }).await;
    operator.close()?;
    let JobRow::BackedUp(row) = done? else { return Err(wrong()) };
    if args.json {
        return output::line(&row);
    }
    output::text(&format!("{}: {}", args.to.display(), told(&row)))
}

pub(super) async fn verify(args: VerifyArgs) -> anyhow::Result<()> {
    if let Some(from) = args.from {
        let path = from.clone();
        let row = tokio::task::spawn_blocking(move || backup::verify_file(&path)).await??;
        if args.json {
            return output::line(&row);
        }
        return output::text(&format!("{} is whole: {}", from.display(), told(&row)));
    }
    let (config, mut operator) = reach(&args.config).await?;
    operator.set_place(Place::of(&config, &args.config.config));
    let done = job(&mut operator, Control::Verify).await;
    operator.close()?;
    let JobRow::Verified(row) = done? else { return Err(wrong()) };
    if args.json {
        return output::line(&row);
    }
    output::text(&format!(
        "the store is whole: {} messages in {} channels, {} accounts",
        row.entries, row.channels, row.accounts
    ))
}

pub(super) async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let (from, config, force) = (args.from, args.config.config, args.force);
    let above = args.epoch_above;
    let restored =
        tokio::task::spawn_blocking(move || restore::restore(&from, &config, force, above)).await?;
    let row = restored?;
    if args.json {
        return output::line(&row);
    }
    for path in &row.set_aside {
        output::text(&format!("set aside: {}", path.display()))?;
    }
    output::text(&format!(
        "{} is restored to what it was: {}.\n\
         All its people must log in again. When it is started it asks the other homes for what they\n\
         hold of it since; `homing peer list` shows them.",
        row.backup.home,
        told(&row.backup)
    ))
}

/// Has something done that may take long.
pub(super) async fn job(
    operator: &mut crate::operator::Operator,
    control: Control,
) -> anyhow::Result<JobRow> {
    let mut reply = operator.control(control).await?;
    loop {
        let ControlReply::Job { job } = reply else { return Err(wrong()) };
        match job {
            JobRow::Running { .. } => tokio::time::sleep(POLL).await,
            JobRow::Failed { message } => anyhow::bail!(message),
            JobRow::BackedUp(_) | JobRow::Verified(_) | JobRow::Compacted(_) => return Ok(job),
        }
        reply = operator.control(Control::Job).await?;
    }
}

fn told(row: &BackupRow) -> String {
    format!(
        "{} messages, {} accounts, {} bytes, made {} (UTC)",
        row.entries,
        row.accounts,
        row.bytes,
        output::time(row.created_at)
    )
}
