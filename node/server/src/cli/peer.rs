//! `homing peer`: other homes, their connections, and what is owed to them.

use clap::{Args, Subcommand};
use homing_wire::HomeRef;
use serde::Serialize;

use super::{ConfigArg, output, reach, user::wrong};
use crate::control::{Control, ControlReply, PeerRow, QueueRow};
use crate::operator::Operator;

/// Other homes: connections, and what is owed to them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  homing peer queue --config acme/homing.toml\n\n\
    The home may be running or stopped.")]
pub(super) struct PeerArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all homes that are pinned, were ever met, or are owed something.
    #[command(after_help = "Example:\n  homing peer list --json")]
    List {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Say for each home what is owed to it, since when and why. Homes owed nothing have no row.
    #[command(after_help = "Example:\n  homing peer queue --json")]
    Queue {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Dial a home now instead of at the end of the wait; all to which something is owed where none is named.
    #[command(after_help = "Example:\n  homing peer retry globex.example")]
    Retry {
        /// Its name or id.
        home: Option<HomeRef>,
    },
}

pub(super) async fn run(args: PeerArgs) -> anyhow::Result<()> {
    let (_, mut operator) = reach(&args.config).await?;
    let result = carry_out(args.command, &mut operator).await;
    operator.close()?;
    result
}

async fn carry_out(command: Command, to: &mut Operator) -> anyhow::Result<()> {
    match command {
        Command::List { json } => {
            let peers = peers(to).await?;
            if json {
                return peers.iter().try_for_each(|row| output::line(&PeerLine::of(row)));
            }
            let rows: Vec<Vec<String>> = peers.iter().map(columns).collect();
            output::table(
                &[
                    "home",
                    "state",
                    "since (UTC)",
                    "last contact (UTC)",
                    "channels owed",
                    "last error",
                ],
                &rows,
                "no other homes yet",
            )
        }
        Command::Queue { json } => {
            let reply = to.control(Control::PeerQueue).await?;
            let ControlReply::Queue { homes } = reply else { return Err(wrong()) };
            if json {
                return homes.iter().try_for_each(|row| output::line(&QueueLine::of(row)));
            }
            let rows: Vec<Vec<String>> = homes
                .iter()
                .map(|row| {
                    let more = if row.more { "+" } else { "" };
                    vec![
                        name(row.home.as_ref(), &row.home_id),
                        format!("{}{more}", row.events),
                        format!("{}{more}", row.marks),
                        row.channels.to_string(),
                        output::time(row.since),
                        row.why.clone(),
                    ]
                })
                .collect();
            output::table(
                &["home", "messages", "marks", "channels", "since (UTC)", "why"],
                &rows,
                "nothing is owed to anybody",
            )
        }
        Command::Retry { home } => {
            let what = home.as_ref().map_or_else(|| "all homes".to_owned(), ToString::to_string);
            let ControlReply::Done = to.control(Control::PeerRetry { home }).await? else {
                return Err(wrong());
            };
            output::text(&format!("dialling {what} now"))
        }
    }
}

async fn peers(to: &mut Operator) -> anyhow::Result<Vec<PeerRow>> {
    let ControlReply::Peers { peers } = to.control(Control::PeerList).await? else {
        return Err(wrong());
    };
    Ok(peers)
}

/// A home's name where it is believed, else its id.
pub(super) fn name(home: Option<&homing_wire::HomeName>, id: &homing_wire::HomeId) -> String {
    home.map_or_else(|| id.to_string(), ToString::to_string)
}

fn columns(row: &PeerRow) -> Vec<String> {
    vec![
        name(row.home.as_ref(), &row.home_id),
        state(row).to_owned(),
        output::maybe_time(row.since),
        output::maybe_time(row.seen_at),
        row.channels_owed.to_string(),
        row.last_error.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

fn state(row: &PeerRow) -> &'static str {
    match (row.blocked, row.connected) {
        (true, _) => "blocked",
        (false, true) => "connected",
        (false, false) => "away",
    }
}

/// A home as JSON; `home` is its name, or its id where no name is believed.
#[derive(Serialize)]
pub(super) struct PeerLine<'a> {
    home: String,
    home_id: String,
    state: &'static str,
    connected: bool,
    blocked: bool,
    since: Option<u64>,
    seen_at: Option<u64>,
    channels_owed: u64,
    last_error: Option<&'a str>,
    attempts: u32,
    retry_at: Option<u64>,
}

impl<'a> PeerLine<'a> {
    pub(super) fn of(row: &'a PeerRow) -> Self {
        Self {
            home: name(row.home.as_ref(), &row.home_id),
            home_id: row.home_id.to_string(),
            state: state(row),
            connected: row.connected,
            blocked: row.blocked,
            since: row.since,
            seen_at: row.seen_at,
            channels_owed: row.channels_owed,
            last_error: row.last_error.as_deref(),
            attempts: row.attempts,
            retry_at: row.retry_at,
        }
    }

    /// For people.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let none = || "-".to_owned();
        output::text(&format!(
            "home           {}\nhome id        {}\nstate          {}\nsince          {}\n\
             last contact   {}\nchannels owed  {}\nlast error     {}\nattempts       {}\n\
             next attempt   {}",
            self.home,
            self.home_id,
            self.state,
            output::maybe_time(self.since),
            output::maybe_time(self.seen_at),
            self.channels_owed,
            self.last_error.map_or_else(none, output::shown),
            self.attempts,
            output::maybe_time(self.retry_at),
        ))
    }
}

/// What is owed as JSON; `home` as above.
#[derive(Serialize)]
struct QueueLine<'a> {
    home: String,
    home_id: String,
    events: u64,
    marks: u64,
    channels: u64,
    more: bool,
    since: u64,
    why: &'a str,
}

impl<'a> QueueLine<'a> {
    fn of(row: &'a QueueRow) -> Self {
        Self {
            home: name(row.home.as_ref(), &row.home_id),
            home_id: row.home_id.to_string(),
            events: row.events,
            marks: row.marks,
            channels: row.channels,
            more: row.more,
            since: row.since,
            why: &row.why,
        }
    }
}
