//! `homing user`: the people of this home.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use homing_wire::{HomeRef, Local, UserId, UserRef};
use serde::Serialize;
use uuid::Uuid;

use super::{ConfigArg, output, reach, secret};
use crate::config::Config;
use crate::control::{AccountWord, Control, ControlReply, UserRow};
use crate::keys::Keys;
use crate::operator::{Names, Operator};
use crate::password;

/// The people of this home.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  echo 'correct horse' | homing user add alice --config acme/homing.toml\n\n\
    The home may be running or stopped."
)]
pub(super) struct UserArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an account. The password is read from standard input, or asked for at a terminal.
    #[command(
        after_help = "Example:\n  echo 'correct horse' | homing user add alice --display-name 'Alice A.'"
    )]
    Add {
        /// The name before the @.
        user: Name,
        /// How people see the user; else the name.
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// List all accounts.
    #[command(after_help = "Example:\n  homing user list --json")]
    List {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Shut an account: its devices are signed out, nobody gets in. Messages to it are kept.
    #[command(after_help = "Example:\n  homing user disable alice")]
    Disable {
        /// Whose.
        user: Name,
    },
    /// Open an account that was shut.
    #[command(after_help = "Example:\n  homing user enable alice")]
    Enable {
        /// Whose.
        user: Name,
    },
    /// Give an account a new password. Its devices are signed out.
    #[command(after_help = "Example:\n  echo 'battery staple' | homing user password alice")]
    Password {
        /// Whose.
        user: Name,
    },
    /// Delete an account for good. Its name is never given again.
    #[command(after_help = "Example:\n  homing user delete alice")]
    Delete {
        /// Whose.
        user: Name,
        /// Do not ask at a terminal.
        #[arg(long)]
        yes: bool,
    },
    /// Write all that this home holds of a user to standard output, as JSON lines.
    #[command(after_help = "Example:\n  homing user export alice > alice.jsonl")]
    Export {
        /// Whose.
        user: Name,
    },
}

/// A user as typed: `alice`, or `alice@` and this home.
#[derive(Clone, Debug)]
struct Name {
    local: Local,
    home: Option<HomeRef>,
}

impl std::str::FromStr for Name {
    type Err = homing_wire::AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') {
            let address: homing_wire::Address = text.parse()?;
            return Ok(Self { local: address.local, home: Some(address.home) });
        }
        Ok(Self { local: text.parse()?, home: None })
    }
}

impl Name {
    /// The name, if it is one of this home.
    fn here(self, config: &Config) -> anyhow::Result<Local> {
        match self.home {
            None => Ok(self.local),
            Some(HomeRef::Name(name)) if name == config.home.name => Ok(self.local),
            Some(other) => bail!("{other} is not this home ({})", config.home.name),
        }
    }
}

pub(super) async fn run(args: UserArgs) -> anyhow::Result<()> {
    let (config, mut operator) = reach(&args.config).await?;
    let result = Box::pin(carry_out(args.command, &config, &mut operator)).await;
    operator.close()?;
    result
}

async fn carry_out(command: Command, config: &Config, to: &mut Operator) -> anyhow::Result<()> {
    match command {
        Command::Add { user, display_name, json } => {
            let user = user.here(config)?;
            let password = hashed(&user)?;
            let user_id = UserId(Uuid::now_v7());
            let control = Control::UserAdd { user, user_id, display_name, password };
            let row = changed(to, control).await?;
            if json { output::line(&shown(config, &row)) } else { said(config, &row, "added") }
        }
        Command::List { json } => list(config, to, json).await,
        Command::Disable { user } => {
            let control = Control::UserState { user: user.here(config)?, active: false };
            said(config, &changed(to, control).await?, "disabled: all devices are signed out")
        }
        Command::Enable { user } => {
            let control = Control::UserState { user: user.here(config)?, active: true };
            said(config, &changed(to, control).await?, "enabled")
        }
        Command::Password { user } => {
            let user = user.here(config)?;
            let password = hashed(&user)?;
            let row = changed(to, Control::UserPassword { user, password }).await?;
            said(config, &row, "has a new password: all devices are signed out")
        }
        Command::Delete { user, yes } => {
            let user = user.here(config)?;
            if !yes && !confirmed(&user)? {
                bail!("nothing was deleted");
            }
            said(config, &changed(to, Control::UserDelete { user }).await?, "deleted")
        }
        Command::Export { user } => export(user.here(config)?, config, to).await,
    }
}

async fn list(config: &Config, to: &mut Operator, json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let reply = to.control(Control::UserList { after: after.take() }).await?;
        let ControlReply::Users { users, more } = reply else { return Err(wrong()) };
        after = users.last().map(|row| row.user.clone());
        if json {
            users.iter().try_for_each(|row| output::line(&shown(config, row)))?;
        } else {
            rows.extend(users);
        }
        if !more || after.is_none() {
            break;
        }
    }
    if json {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.user.to_string(),
                row.state.word().to_owned(),
                output::time(row.created_at),
                row.display_name.clone(),
            ]
        })
        .collect();
    output::table(&["user", "state", "created (UTC)", "display name"], &rows, "no users yet")
}

async fn export(user: Local, config: &Config, to: &mut Operator) -> anyhow::Result<()> {
    let names = Names::new(config, Keys::load(&config.keys_folder())?.home_id());
    let address = |user: &UserRef| names.address(user);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut place = None;
    loop {
        let reply = to.control(Control::UserExport { user: user.clone(), place }).await?;
        let ControlReply::Export { rows, next } = reply else { return Err(wrong()) };
        for row in &rows {
            writeln!(out, "{}", row.line(address)?)?;
        }
        place = next;
        if place.is_none() {
            return Ok(out.flush()?);
        }
    }
}

/// A command that changes one account.
async fn changed(to: &mut Operator, control: Control) -> anyhow::Result<UserRow> {
    let ControlReply::User(row) = to.control(control).await? else { return Err(wrong()) };
    Ok(row)
}

/// A user as JSON.
#[derive(Serialize)]
struct UserLine<'a> {
    user: &'a Local,
    address: String,
    user_id: UserId,
    display_name: &'a str,
    state: AccountWord,
    created_at: u64,
}

fn shown<'a>(config: &Config, row: &'a UserRow) -> UserLine<'a> {
    UserLine {
        user: &row.user,
        address: format!("{}@{}", row.user, config.home.name),
        user_id: row.user_id,
        display_name: &row.display_name,
        state: row.state,
        created_at: row.created_at,
    }
}

fn said(config: &Config, row: &UserRow, what: &str) -> anyhow::Result<()> {
    output::text(&format!("{}@{} {what}", row.user, config.home.name))
}

fn hashed(user: &Local) -> anyhow::Result<String> {
    let secret = secret::new_password(user.as_str())?;
    Ok(password::hash(&secret)?)
}

fn confirmed(user: &Local) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    eprint!("Delete {user} for good? The name is never given again. [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The node answered something else than was asked.
pub(super) fn wrong() -> anyhow::Error {
    anyhow!("the node answered something else than was asked: is it of another version?")
}
