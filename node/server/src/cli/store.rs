//! `homing store`: what lies on the disk, for the home's operator.

use std::path::Path;

use clap::{Args, Subcommand};
use homing_store::{SegmentRow, StoreError};

use super::backup::job;
use super::{ConfigArg, output, reach, user::wrong};
use crate::backup::Place;
use crate::control::{Control, JobRow};
use crate::operator::now_ms;

/// The store: what lies there, whether it is whole, and giving back what need not be kept.
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
    /// Say which files the journal has and how much of them lives. The node must be stopped; nothing is changed.
    #[command(after_help = "Examples:\n  homing store inspect\n  homing store inspect --json")]
    Inspect {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Read every file of the journal and every row of the index, and say what is wrong, where, and what to do. The node must
    /// be stopped; nothing is changed.
    #[command(after_help = "Examples:\n  homing store verify\n  homing store verify --json\n\n\
        Exits with 1 where something is wrong. `homing verify` does less of the files and more of the messages, also while the \
        node runs.")]
    Verify {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Give back at once, and as fast as the disk, all that nobody can read any more: what was deleted, and what
    /// retention has removed.
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
        Command::Inspect { json } => inspect(&args.config, json).await,
        Command::Verify { json } => verify(&args.config, json).await,
        Command::Compact { json } => compact(&args.config, json).await,
    }
}

/// A command that reads a store which nobody has open.
async fn look<T: Send + 'static>(
    of: &ConfigArg,
    look: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
) -> anyhow::Result<T> {
    let dir = of.load()?.store_folder();
    Ok(tokio::task::spawn_blocking(move || look(&dir)).await??)
}

async fn inspect(of: &ConfigArg, json: bool) -> anyhow::Result<()> {
    let found = look(of, homing_store::inspect).await?;
    if json {
        return output::line(&found);
    }
    let rows: Vec<Vec<String>> = found.segments.iter().map(segment_row).collect();
    output::table(&["file", "kind", "batches", "bytes", "lives", "entries"], &rows, "no files")?;
    for file in &found.leftovers {
        output::text(&format!("{file}: left by a crash; the next start removes it"))?;
    }
    output::text(&format!(
        "home {}, life {}, start {}; {} bytes in {} files; the index goes up to batch {}; {} bodies are to leave the disk",
        found.home,
        found.epoch,
        found.boot,
        found.bytes,
        found.segments.len(),
        found.index_batch,
        found.erasures
    ))
}

fn segment_row(row: &SegmentRow) -> Vec<String> {
    let last = row.last_batch.map(|last| last.to_string()).unwrap_or_default();
    let kind = if row.rewritten { "rewritten" } else { "as committed" };
    vec![
        row.file.clone(),
        kind.to_owned(),
        format!("{}..{last}", row.first_batch),
        row.bytes.to_string(),
        row.live_bytes.to_string(),
        row.entries.map(|entries| entries.to_string()).unwrap_or_default(),
    ]
}

async fn verify(of: &ConfigArg, json: bool) -> anyhow::Result<()> {
    let found = look(of, |dir| homing_store::verify(dir, &mut |_bytes| {})).await?;
    if json {
        output::line(&found)?;
    } else {
        for problem in &found.problems {
            output::text(&format!("{}: {}", problem.what, problem.advice))?;
        }
        output::text(&format!(
            "{} files, {} records and {} entries were read",
            found.segments, found.records, found.entries
        ))?;
    }
    let problems = found.problems.len();
    anyhow::ensure!(problems == 0, "{problems} things are wrong with this store");
    Ok(())
}

async fn compact(of: &ConfigArg, json: bool) -> anyhow::Result<()> {
    let (config, mut operator) = reach(of).await?;
    operator.set_place(Place::of(&config, &of.config));
    let erase_before_ms = now_ms();
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
