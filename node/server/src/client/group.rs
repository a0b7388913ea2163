//! `homing client group`: groups, their people and the links by which people come.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::bail;
use clap::Subcommand;
use homing_client::{Client, Error, GroupAnswer, GroupMember, UserResult, Uuid};
use serde::Serialize;

use super::show::{Screen, harmless};
use super::{Session, advice, patiently};

/// What is done to a group.
#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Make a group. Strangers are asked first.
    #[command(
        after_help = "Example:\n  homing client group create friends bob carol@globex.example"
    )]
    Create {
        /// How it is called.
        name: String,
        /// Who is to be in it (a name alone is a user of your own home).
        users: Vec<String>,
    },
    /// Ask people in.
    #[command(after_help = "Example:\n  homing client group invite GROUP bob carol@globex.example")]
    Invite {
        /// The group's id: `homing client channels` shows it.
        #[arg(value_parser = group_id)]
        group: Uuid,
        /// Whom.
        #[arg(required = true)]
        users: Vec<String>,
    },
    /// Accept an invitation, or come by a link.
    #[command(after_help = "Example:\n  homing client group join homing:join/…")]
    Join {
        /// The group's id, or a link.
        group: Way,
    },
    /// Leave, or decline an invitation.
    #[command(after_help = "Example:\n  homing client group leave GROUP")]
    Leave {
        /// The group's id: `homing client channels` shows it.
        #[arg(value_parser = group_id)]
        group: Uuid,
    },
    /// Take people out. By an open link they can come again: see unlink.
    #[command(after_help = "Example:\n  homing client group remove GROUP bob")]
    Remove {
        /// The group's id: `homing client channels` shows it.
        #[arg(value_parser = group_id)]
        group: Uuid,
        /// Whom.
        #[arg(required = true)]
        users: Vec<String>,
    },
    /// List who is in it, and who is asked.
    #[command(after_help = "Example:\n  homing client group members GROUP --json")]
    Members {
        /// The group's id: `homing client channels` shows it.
        #[arg(value_parser = group_id)]
        group: Uuid,
    },
    /// Call it something else.
    #[command(after_help = "Example:\n  homing client group rename GROUP 'best friends'")]
    Rename {
        /// The group's id: `homing client channels` shows it.
        #[arg(value_parser = group_id)]
        group: Uuid,
        /// How it is to be called.
        name: String,
    },
    /// Give it an image that stands for it, or take it away.
    #[command(
        after_help = "Example:\n  homing client group avatar GROUP friends.jpg\n  homing client group avatar GROUP --none"
    )]
    Avatar {
        /// The group's id: `homing client channels` shows it.
        #[arg(value_parser = group_id)]
        group: Uuid,
        /// An image: JPEG, PNG, GIF or WebP.
        #[arg(required_unless_present = "none")]
        file: Option<PathBuf>,
        /// Have none any more.
        #[arg(long, conflicts_with = "file")]
        none: bool,
    },
    /// Make somebody a member, an admin or an owner.
    #[command(after_help = "Example:\n  homing client group role GROUP bob admin")]
    Role {
        /// The group's id: `homing client channels` shows it.
        #[arg(value_parser = group_id)]
        group: Uuid,
        /// Who.
        user: String,
        /// What.
        #[arg(value_parser = ["member", "admin", "owner"])]
        role: String,
    },
    /// Go on with a group whose home is gone: a new one of your home, whose people are asked.
    #[command(after_help = "Example:\n  homing client group fork GROUP")]
    Fork {
        /// The group's id: `homing client channels` shows it.
        #[arg(value_parser = group_id)]
        group: Uuid,
    },
    /// Open a link by which people can come. Whoever has it can: it is shown once.
    #[command(after_help = "Example:\n  homing client group link GROUP --uses 5 --expires 86400")]
    Link {
        /// The group's id: `homing client channels` shows it.
        #[arg(value_parser = group_id)]
        group: Uuid,
        /// Void in so many seconds; never, unless it is said.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_153_600_000))]
        expires: Option<u64>,
        /// So many may come; any number, unless it is said.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
    },
    /// Withdraw a link, or all links of a group.
    #[command(after_help = "Example:\n  homing client group unlink GROUP")]
    Unlink {
        /// A link, or the group's id for all of its links.
        link: Way,
    },
}

/// What names a group.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Group(Uuid),
    Link(String),
}

impl FromStr for Way {
    type Err = &'static str;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        if let Ok(group) = typed.parse() {
            return Ok(Self::Group(group));
        }
        // Whether it is a good one its home says.
        if typed.starts_with("homing:join/") {
            return Ok(Self::Link(typed.to_owned()));
        }
        Err(
            "that is neither a link (homing:join/…) nor a group's id, which `homing client channels` shows",
        )
    }
}

fn group_id(typed: &str) -> Result<Uuid, &'static str> {
    typed.parse().map_err(|_| "a group is named by its id, which `homing client channels` shows")
}

/// Carries one out.
pub(super) async fn run(
    session: &Session,
    screen: &Screen,
    what: GroupCommand,
) -> anyhow::Result<()> {
    let users = |typed: &[String]| -> anyhow::Result<Vec<String>> {
        typed.iter().map(|user| session.user(user)).collect()
    };
    let (client, _events) = session.connect().await?;
    let op = Uuid::now_v7();
    match what {
        GroupCommand::Create { name, users: typed } => {
            let users = users(&typed)?;
            let group = patiently(async || client.create_group(op, &name, &users).await).await?;
            screen.result(&group, |screen| {
                screen.line(&format!("{} {}", group.channel, harmless(&group.title())))
            })?;
        }
        GroupCommand::Invite { group, users: typed } => {
            let users = users(&typed)?;
            let told = patiently(async || client.invite_to_group(group, &users, op).await).await?;
            results(screen, "invited", told.state.is_some(), &told.results)?;
        }
        GroupCommand::Remove { group, users: typed } => {
            let users = users(&typed)?;
            let told =
                patiently(async || client.remove_from_group(group, &users, op).await).await?;
            results(screen, "removed", told.state.is_some(), &told.results)?;
        }
        GroupCommand::Join { group } => {
            let answer = patiently(async || match &group {
                Way::Group(group) => client.join_group(*group, op).await,
                Way::Link(link) => client.join_by_link(link, op).await,
            });
            changed(screen, answer.await?)?;
        }
        GroupCommand::Leave { group } => {
            patiently(async || client.leave_group(group, op).await).await?;
            done(screen, "left", false)?;
        }
        GroupCommand::Members { group } => {
            let members = members(&client, group).await?;
            for member in &members {
                screen.result(member, |screen| {
                    screen.line(&format!("{:8} {}", member.role, harmless(&member.user)))
                })?;
            }
        }
        GroupCommand::Rename { group, name } => {
            let ask = async || client.rename_group(group, &name, op).await;
            changed(screen, patiently(ask).await?)?;
        }
        GroupCommand::Avatar { group, file, none: _ } => {
            let avatar = match file {
                Some(file) => Some(super::file::avatar(session, &file).await?),
                None => None,
            };
            let ask = async || client.set_group_avatar(group, avatar, op).await;
            changed(screen, patiently(ask).await?)?;
        }
        GroupCommand::Role { group, user, role } => {
            let user = session.user(&user)?;
            let ask = async || client.set_group_role(group, &user, &role, op).await;
            changed(screen, patiently(ask).await?)?;
        }
        GroupCommand::Fork { group } => {
            let made = patiently(async || client.fork_group(group).await).await?;
            screen.result(&made, |screen| {
                screen.line(&format!("{} {}", made.channel, harmless(&made.title())))
            })?;
        }
        GroupCommand::Link { group, expires, uses } => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            let expires = expires.map(|seconds| now_ms.saturating_add(seconds * 1_000));
            let ask = async || client.open_group_link(group, expires, uses, op).await;
            let link = patiently(ask).await?;
            screen.result(&link, |screen| screen.line(&link.link))?;
        }
        GroupCommand::Unlink { link } => {
            let answer = patiently(async || match &link {
                Way::Group(group) => client.drop_group_links(*group, op).await,
                Way::Link(link) => client.drop_group_link(link, op).await,
            });
            done(screen, "withdrawn", answer.await?)?;
        }
    }
    client.close().await;
    Ok(())
}

async fn members(client: &Client, group: Uuid) -> Result<Vec<GroupMember>, Error> {
    patiently(async || client.group_members(group).await).await
}

fn changed(screen: &Screen, answer: GroupAnswer) -> anyhow::Result<()> {
    match answer {
        GroupAnswer::Channel(group) => screen.result(&group, |screen| screen.channel(&group)),
        GroupAnswer::Pending { .. } => done(screen, "", true),
    }
}

fn done(screen: &Screen, what: &'static str, pending: bool) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line {
        state: &'static str,
    }
    let state = if pending { "pending" } else { what };
    screen.result(&Line { state }, |screen| match pending {
        true => screen.line("the group's home has not answered yet: it is done when it does"),
        false => screen.line(what),
    })
}

/// A row for each user. Where somebody was refused, the whole has failed.
fn results(
    screen: &Screen,
    done_to: &str,
    pending: bool,
    results: &[UserResult],
) -> anyhow::Result<()> {
    let mut refused = Vec::new();
    for row in results {
        let said = match (row.ok, row.reason.as_deref().unwrap_or("refused")) {
            (true, _) => "done".to_owned(),
            (false, reason) => {
                refused.push(format!("{} ({})", harmless(&row.user), harmless(reason)));
                match advice::on_user(reason) {
                    Some(advice) => format!("refused: {advice} ({reason})"),
                    None => format!("refused ({})", harmless(reason)),
                }
            }
        };
        screen.result(row, |screen| screen.line(&format!("{} {said}", harmless(&row.user))))?;
    }
    if pending {
        done(screen, "", true)?;
    }
    if !refused.is_empty() {
        bail!("not {done_to}: {}", refused.join(", "));
    }
    Ok(())
}
