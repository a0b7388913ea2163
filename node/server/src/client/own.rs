//! `homing client me|mute|archive|pin|unread|request|device|find|password`: what people do with their own.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use homing_client::{Avatar, Channel, Client, Device, UserUpdate, Uuid, ViewUpdate};
use serde::Serialize;

use super::show::{Screen, harmless, when};
use super::{Peer, Session, patiently, secrets};

/// Which conversation, and whether it is taken back.
#[derive(Debug, Args)]
pub(super) struct OfChannel {
    /// An address (a name alone is a user of your own home) or a channel's id.
    with: String,
    /// Take it back.
    #[arg(long)]
    off: bool,
}

/// For how long.
#[derive(Debug, Args)]
pub(super) struct Mute {
    #[command(flatten)]
    of: OfChannel,
    /// For so many seconds; for ever, unless it is said.
    #[arg(long, value_name = "SECONDS", conflicts_with = "off", value_parser = clap::value_parser!(u64).range(1..=3_153_600_000))]
    r#for: Option<u64>,
}

/// What people see of oneself.
#[derive(Debug, Args)]
pub(super) struct Me {
    /// How people shall see you.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// An image that stands for you: JPEG, PNG, GIF or WebP.
    #[arg(long, value_name = "FILE")]
    avatar: Option<PathBuf>,
    /// Have none any more.
    #[arg(long, conflicts_with = "avatar")]
    no_avatar: bool,
}

/// What is done to a first contact from another home.
#[derive(Debug, Subcommand)]
pub(super) enum RequestCommand {
    /// Accept it. Writing does the same.
    #[command(after_help = "Example:\n  homing client request accept carol@globex.example")]
    Accept {
        /// An address or a channel's id.
        with: String,
    },
    /// Decline it: what comes of it is hidden until you write. They are not told.
    #[command(after_help = "Example:\n  homing client request decline carol@globex.example")]
    Decline {
        /// An address or a channel's id.
        with: String,
    },
}

/// What is done to devices.
#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// List where you are signed in.
    #[command(after_help = "Example:\n  homing client device list --json")]
    List,
    /// Call one something else.
    #[command(after_help = "Example:\n  homing client device rename DEVICE 'my telephone'")]
    Rename {
        /// Its id: `homing client device list` shows it.
        device: Uuid,
        /// What it is to be called.
        name: String,
    },
    /// Sign one out, at once.
    #[command(after_help = "Example:\n  homing client device revoke DEVICE")]
    Revoke {
        /// Its id: `homing client device list` shows it.
        device: Uuid,
    },
}

/// The latest time that JSON can say: for ever.
const FOR_EVER_MS: u64 = (1 << 53) - 1;

pub(super) async fn me(session: &Session, screen: &Screen, me: Me) -> anyhow::Result<()> {
    let avatar = match (&me.avatar, me.no_avatar) {
        (Some(file), _) => Some(Some(super::file::avatar(session, file).await?)),
        (None, true) => Some(None),
        (None, false) => None,
    };
    let (client, _events) = session.connect().await?;
    let update = UserUpdate { display_name: me.display_name, avatar, ..UserUpdate::default() };
    let address = session.address()?;
    let seen = match update == UserUpdate::default() {
        true => patiently(async || client.user(address).await).await?,
        false => patiently(async || client.update_user(&update).await).await?,
    };
    client.close().await;
    screen.result(&seen, |screen| {
        screen.line(&format!("{}  {}", seen.address, harmless(&seen.display_name)))?;
        match &seen.avatar {
            Some(Avatar { home, id, size, .. }) => {
                screen.line(&format!("avatar {}/{id}, {size} bytes", harmless(home)))
            }
            None => screen.line("no avatar"),
        }
    })
}

pub(super) async fn mute(session: &Session, screen: &Screen, mute: Mute) -> anyhow::Result<()> {
    let Mute { of, r#for } = mute;
    let (client, _events) = session.connect().await?;
    // By the home's clock, which is the one that counts.
    let now = client.opened().server_time;
    let until = r#for.map_or(FOR_EVER_MS, |seconds| now.saturating_add(seconds * 1_000));
    let muted_until = Some((!of.off).then_some(until));
    let update = ViewUpdate { muted_until, ..ViewUpdate::default() };
    view(session, screen, &client, &of, &update, "muted").await
}

pub(super) async fn archive(
    session: &Session,
    screen: &Screen,
    of: OfChannel,
) -> anyhow::Result<()> {
    let (client, _events) = session.connect().await?;
    let update = ViewUpdate { archived: Some(!of.off), ..ViewUpdate::default() };
    view(session, screen, &client, &of, &update, "archived").await
}

pub(super) async fn pin(session: &Session, screen: &Screen, of: OfChannel) -> anyhow::Result<()> {
    let (client, _events) = session.connect().await?;
    let update = ViewUpdate { pinned: Some(!of.off), ..ViewUpdate::default() };
    view(session, screen, &client, &of, &update, "pinned").await
}

pub(super) async fn unread(
    session: &Session,
    screen: &Screen,
    of: OfChannel,
) -> anyhow::Result<()> {
    let (client, _events) = session.connect().await?;
    let update = ViewUpdate { marked_unread: Some(!of.off), ..ViewUpdate::default() };
    view(session, screen, &client, &of, &update, "marked as unread").await
}

async fn view(
    session: &Session,
    screen: &Screen,
    client: &Client,
    of: &OfChannel,
    update: &ViewUpdate,
    done: &str,
) -> anyhow::Result<()> {
    let channel = existing(session, client, &of.with).await?.channel;
    let seen = patiently(async || client.update_channel(channel, update).await).await?;
    let not = if of.off { "not " } else { "" };
    screen
        .result(&seen, |screen| screen.line(&format!("{} is {not}{done}", harmless(&seen.title()))))
}

/// A conversation that is there. One that is not shall not begin because it was to be muted.
pub(super) async fn existing(
    session: &Session,
    client: &Client,
    with: &str,
) -> anyhow::Result<Channel> {
    match session.peer(with)? {
        Peer::Channel(channel) => Ok(patiently(async || client.channel(channel).await).await?),
        Peer::Address(address) => {
            let all = patiently(async || client.all_channels().await).await?;
            let is = |channel: &Channel| {
                channel.with.as_deref().is_some_and(|other| other.eq_ignore_ascii_case(&address))
            };
            let found = all.into_iter().find(is);
            found.with_context(|| {
                format!("no conversation with {address}: `homing client channels` lists them")
            })
        }
    }
}

pub(super) async fn request(
    session: &Session,
    screen: &Screen,
    what: RequestCommand,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line {
        channel: Uuid,
        declined: bool,
    }
    let (client, _events) = session.connect().await?;
    match what {
        RequestCommand::Accept { with } => {
            let channel = existing(session, &client, &with).await?.channel;
            let seen = patiently(async || client.accept_request(channel).await).await?;
            screen.result(&seen, |screen| {
                screen.line(&format!("accepted {}", harmless(&seen.title())))
            })
        }
        RequestCommand::Decline { with } => {
            let channel = existing(session, &client, &with).await?;
            let id = channel.channel;
            patiently(async || client.decline_request(id).await).await?;
            screen.result(&Line { channel: id, declined: true }, |screen| {
                screen.line(&format!("declined {}", harmless(&channel.title())))
            })
        }
    }
}

pub(super) async fn device(
    session: &Session,
    screen: &Screen,
    what: DeviceCommand,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line {
        device: Uuid,
    }
    let (client, _events) = session.connect().await?;
    let (device, done) = match what {
        DeviceCommand::List => {
            let devices = patiently(async || client.devices().await).await?;
            for device in &devices {
                screen.result(device, |screen| screen.line(&row(device)))?;
            }
            return Ok(());
        }
        DeviceCommand::Rename { device, name } => {
            patiently(async || client.rename_device(device, &name).await).await?;
            (device, "renamed")
        }
        DeviceCommand::Revoke { device } => {
            patiently(async || client.revoke_device(device).await).await?;
            (device, "signed out")
        }
    };
    screen.result(&Line { device }, |screen| screen.line(&format!("{device} {done}")))
}

fn row(device: &Device) -> String {
    let seen = device.last_seen.map_or_else(|| "not known".to_owned(), when);
    let current = if device.current { "  (this one)" } else { "" };
    let Device { device: id, name, created_at, .. } = device;
    format!("{id}  {:<24}  since {}  seen {seen}{current}", harmless(name), when(*created_at))
}

pub(super) async fn find(session: &Session, screen: &Screen, query: &str) -> anyhow::Result<()> {
    let (client, _events) = session.connect().await?;
    let found = patiently(async || client.search_users(query).await).await?;
    for user in &found.users {
        screen.result(user, |screen| {
            screen.line(&format!("{:<32}  {}", user.address, harmless(&user.display_name)))
        })?;
    }
    if found.more {
        super::note("there are more: say another word, or another letter");
    }
    Ok(())
}

pub(super) async fn password(session: &Session, screen: &Screen) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        user: &'a str,
    }
    let (old, new) = secrets()?;
    if new.is_empty() {
        bail!("no new password on standard input: the old one and the new one, a line each");
    }
    let (client, _events) = session.connect().await?;
    patiently(async || client.change_password(&old, &new).await).await?;
    let user = session.address()?;
    screen.result(&Line { user }, |screen| screen.line("changed; all other devices are signed out"))
}
