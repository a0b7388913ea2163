//! `homing media`: files that the home keeps, for its operator.

use clap::{Args, Subcommand};
use serde_json::json;

use super::invite::duration_ms;
use super::{ConfigArg, output, reach, user::wrong};
use crate::control::{Control, ControlReply, MediaRow, MediaTotals};
use crate::operator::{Operator, now_ms};

/// Files: what is kept, and removing what is old.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  homing media purge --older-than 365d --dry-run --config acme/homing.toml\n\n\
    The home must be running. What no message names goes by itself, after media.unnamed_ms."
)]
pub(super) struct MediaArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the files of this home's users.
    #[command(after_help = "Example:\n  homing media list --json")]
    List {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Remove files that are old, though messages name them: those stay, and their files are not found.
    #[command(after_help = "Examples:\n  homing media purge --older-than 365d --dry-run\n  \
        homing media purge --older-than 7d --cached")]
    Purge {
        /// Older than this, such as 12h or 365d. Of other homes' files it counts when they were last read.
        #[arg(long, value_name = "TIME", value_parser = duration_ms)]
        older_than: u64,
        /// Other homes' files alone: they are fetched again when somebody opens them.
        #[arg(long)]
        cached: bool,
        /// Say what would be removed.
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: MediaArgs) -> anyhow::Result<()> {
    let (_, mut operator) = reach(&args.config).await?;
    let result = carry_out(args.command, &mut operator).await;
    operator.close()?;
    result
}

async fn carry_out(command: Command, to: &mut Operator) -> anyhow::Result<()> {
    match command {
        Command::List { json } => list(to, json).await,
        Command::Purge { older_than, cached, dry_run, json } => {
            let before_ms = now_ms().saturating_sub(older_than);
            let reply = to.control(Control::MediaPurge { before_ms, cached, dry_run }).await?;
            let ControlReply::Media { totals, .. } = reply else { return Err(wrong()) };
            let MediaTotals { files, bytes, cache_bytes, .. } = totals;
            if json {
                return output::line(&json!({
                    "files": files, "bytes": bytes, "cache_bytes": cache_bytes, "dry_run": dry_run,
                }));
            }
            let would = if dry_run { "would be removed" } else { "removed" };
            output::text(&format!(
                "{files} files of this home, {bytes} bytes, and {cache_bytes} bytes of other homes' files: {would}"
            ))
        }
    }
}

async fn list(to: &mut Operator, json: bool) -> anyhow::Result<()> {
    let (mut after, mut rows) = (None, Vec::new());
    let totals = loop {
        let reply = to.control(Control::MediaList { after }).await?;
        let ControlReply::Media { files, totals, more } = reply else { return Err(wrong()) };
        after = files.last().map(|row| row.id);
        if json {
            files.iter().try_for_each(output::line)?;
        } else {
            rows.extend(files.iter().map(cells));
        }
        if !more {
            break totals;
        }
    };
    if json {
        return Ok(());
    }
    let heads = ["file", "owner", "bytes", "type", "named", "came (UTC)", "name"];
    output::table(&heads, &rows, "there are no files")?;
    let MediaTotals { bytes, users, cache_bytes, upload_bytes, .. } = totals;
    output::text(&format!(
        "{bytes} bytes of {users} users; {upload_bytes} bytes under way; {cache_bytes} bytes of other homes' files"
    ))
}

fn cells(row: &MediaRow) -> Vec<String> {
    vec![
        row.id.to_string(),
        row.owner.clone(),
        row.size.to_string(),
        row.mime.clone(),
        if row.named { "yes" } else { "no" }.to_owned(),
        output::time(row.created_at),
        row.name.clone(),
    ]
}
