//! `homing group`: the groups that a home holds.

use clap::{Args, Subcommand};
use homing_wire::{ChannelId, HomeName};
use serde::Serialize;

use super::{ConfigArg, output, peer::name, reach, user::wrong};
use crate::control::{Control, ControlReply, GroupHomeRow, GroupPersonRow, GroupRow};
use crate::operator::Operator;

/// Groups: whose they are, who is in them, and what is owed to their homes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  homing group list --config acme/homing.toml\n\n\
    The home may be running or stopped.")]
pub(super) struct GroupArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all groups in which somebody of this home is, was, or is asked.
    #[command(after_help = "Example:\n  homing group list --json")]
    List {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Say who is in a group, and how far each of its homes has got.
    #[command(after_help = "Example:\n  homing group show 0190a5c8-0000-7000-8000-000000000001")]
    Show {
        /// Its id, as `list` shows it.
        group: ChannelId,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(args: GroupArgs) -> anyhow::Result<()> {
    let (config, mut operator) = reach(&args.config).await?;
    let own = &config.home.name;
    let result = match args.command {
        Command::List { json } => list(&mut operator, own, json).await,
        Command::Show { group, json } => show(&mut operator, own, group, json).await,
    };
    operator.close()?;
    result
}

async fn list(to: &mut Operator, own: &HomeName, json: bool) -> anyhow::Result<()> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let reply = to.control(Control::GroupList { after }).await?;
        let ControlReply::Groups { groups, next } = reply else { return Err(wrong()) };
        if json {
            groups.iter().try_for_each(|row| output::line(&GroupLine::of(row, own)))?;
        } else {
            all.extend(groups);
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if json {
        return Ok(());
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|row| {
            vec![
                row.group.to_string(),
                row.name.clone(),
                owner(row, own),
                format!("{} ({} here)", row.members, row.here),
                row.invited.to_string(),
                row.homes.to_string(),
                row.homes_owed.to_string(),
                state(row).to_owned(),
            ]
        })
        .collect();
    output::table(
        &["group", "name", "owner home", "members", "invited", "homes", "owed to", "state"],
        &rows,
        "no groups yet",
    )
}

async fn show(
    to: &mut Operator,
    own: &HomeName,
    group: ChannelId,
    json: bool,
) -> anyhow::Result<()> {
    let reply = to.control(Control::GroupShow { group }).await?;
    let ControlReply::Group { group, people, homes } = reply else { return Err(wrong()) };
    let line = GroupLine::of(&group, own);
    if json {
        let people = people.iter().map(|row| PersonLine::of(row, own)).collect();
        return output::line(&Shown {
            group: line,
            people,
            other_homes: homes.iter().map(HomeLine::of).collect(),
        });
    }
    let maybe = |id: Option<ChannelId>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    output::text(&format!(
        "group         {}\nname          {}\nowner home    {}\nroster        {}\nmembers       {} ({} here)\n\
         invited       {}\nentries       {}\nopen links    {}\ncontinues     {}\ncontinued by  {}\nstate         {}\n",
        line.group,
        output::shown(line.name),
        line.owner,
        group.version,
        group.members,
        group.here,
        group.invited,
        group.head.0,
        group.links,
        maybe(group.continues),
        maybe(group.continued_by),
        state(&group),
    ))?;
    let rows: Vec<Vec<String>> = people
        .iter()
        .map(|row| {
            let line = PersonLine::of(row, own);
            vec![line.user, line.role.to_owned(), line.state.to_owned()]
        })
        .collect();
    output::table(&["user", "role", "state"], &rows, "nobody is in it")?;
    output::text("")?;
    let rows: Vec<Vec<String>> = homes
        .iter()
        .map(|row| {
            vec![
                name(row.home.as_ref(), &row.home_id),
                if row.connected { "connected" } else { "away" }.to_owned(),
                row.events_owed.to_string(),
                output::maybe_time(row.since),
                row.roster.to_string(),
                row.refused.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    output::table(
        &["home", "state", "messages owed", "since (UTC)", "has roster", "takes nothing"],
        &rows,
        "no other home is in it",
    )
}

fn owner(row: &GroupRow, own: &HomeName) -> String {
    if row.own { own.to_string() } else { name(row.owner.as_ref(), &row.owner_id) }
}

fn state(row: &GroupRow) -> &'static str {
    match (row.forked, row.continued_by.is_some()) {
        (true, _) => "its home has signed two truths",
        (false, true) => "continued by another",
        (false, false) => "whole",
    }
}

/// A group as JSON; `owner` is its home's name, or its id where no name is believed.
#[derive(Serialize)]
struct GroupLine<'a> {
    group: String,
    name: &'a str,
    owner: String,
    owner_id: String,
    version: u64,
    members: u64,
    here: u64,
    invited: u64,
    homes: u64,
    head: u64,
    homes_owed: u64,
    links: u64,
    forked: bool,
    continues: Option<String>,
    continued_by: Option<String>,
}

impl<'a> GroupLine<'a> {
    fn of(row: &'a GroupRow, own: &HomeName) -> Self {
        Self {
            group: row.group.to_string(),
            name: &row.name,
            owner: owner(row, own),
            owner_id: row.owner_id.to_string(),
            version: row.version,
            members: row.members,
            here: row.here,
            invited: row.invited,
            homes: row.homes,
            head: row.head.0,
            homes_owed: row.homes_owed,
            links: row.links,
            forked: row.forked,
            continues: row.continues.map(|id| id.to_string()),
            continued_by: row.continued_by.map(|id| id.to_string()),
        }
    }
}

/// Somebody in a group, as JSON.
#[derive(Serialize)]
struct PersonLine<'a> {
    user: String,
    role: &'a str,
    /// Of people of this home, whether they have agreed; `-` elsewhere.
    state: &'static str,
}

impl<'a> PersonLine<'a> {
    fn of(row: &'a GroupPersonRow, own: &HomeName) -> Self {
        let home = match (&row.home, row.agreed) {
            (Some(home), _) => home.to_string(),
            (None, Some(_)) => own.to_string(),
            (None, None) => row.user.home.to_string(),
        };
        let state = match row.agreed {
            Some(true) => "agreed",
            Some(false) => "not agreed",
            None => "-",
        };
        Self { user: format!("{}@{home}", row.user.local), role: &row.role, state }
    }
}

/// Another home of a group, as JSON.
#[derive(Serialize)]
struct HomeLine<'a> {
    home: String,
    home_id: String,
    connected: bool,
    takes_part: bool,
    roster: u64,
    events_owed: u64,
    since: Option<u64>,
    refused: Option<&'a str>,
}

impl<'a> HomeLine<'a> {
    fn of(row: &'a GroupHomeRow) -> Self {
        Self {
            home: name(row.home.as_ref(), &row.home_id),
            home_id: row.home_id.to_string(),
            connected: row.connected,
            takes_part: row.takes_part,
            roster: row.roster,
            events_owed: row.events_owed,
            since: row.since,
            refused: row.refused.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    group: GroupLine<'a>,
    people: Vec<PersonLine<'a>>,
    other_homes: Vec<HomeLine<'a>>,
}
