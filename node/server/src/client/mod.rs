//! `homing client`: a client for people and scripts.

mod advice;
mod change;
mod chat;
mod file;
mod group;
mod own;
mod search;
mod show;
mod tail;

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use homing_client::{
    Channel, Client, Error, Events, Follower, From, Message, Options, Profile, ProfileStore,
    Server, Target, TextBody, UserList, Uuid,
};
use serde::Serialize;

pub use chat::is_without_terminal;
use show::Screen;

/// How long a command that does one thing tries to reach its server again after losing it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most a home puts on a page of messages.
const PAGE: u32 = 200;

/// A client for people and scripts.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  homing client register alice --server http://127.0.0.1:8080\n  \
                  homing client login alice\n  homing client send bob@globex.example 'hello'\n  \
                  homing client tail"
)]
pub struct ClientArgs {
    /// The server's address; remembered in the profile.
    #[arg(long, global = true, value_name = "URL", value_parser = server_address)]
    server: Option<Server>,
    /// Whose sign-in to use; each profile has its own server, user and place.
    #[arg(long, global = true, value_name = "NAME", default_value = "default", value_parser = profile_name)]
    profile: String,
    /// Print one JSON object per line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an account (password from standard input, or asked for at a terminal).
    #[command(
        after_help = "Example:\n  echo 'correct horse' | homing client register alice --server http://127.0.0.1:8080"
    )]
    Register {
        /// The name before the @.
        name: String,
        /// An invite, where the home asks for one.
        #[arg(long, value_name = "CODE")]
        invite: Option<String>,
        /// How people see you.
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
    },
    /// Sign in (password from standard input, or asked for at a terminal).
    #[command(
        after_help = "Example:\n  echo 'correct horse' | homing client login alice --server http://127.0.0.1:8080"
    )]
    Login {
        /// The name, or the whole address.
        name: String,
        /// How this device is called in the list of devices.
        #[arg(long, value_name = "TEXT", default_value = "homing client")]
        device_name: String,
    },
    /// Sign out: the token is dead at once.
    #[command(after_help = "Example:\n  homing client logout")]
    Logout,
    /// Send a text.
    #[command(
        after_help = "Example:\n  homing client send bob@globex.example 'hello'\n  date | homing client send bob@globex.example -"
    )]
    Send {
        /// An address (a name alone is a user of your own home) or a channel's id.
        to: String,
        /// The text; `-` reads standard input, without its last newline.
        text: String,
        /// The message's id: the same id and text again is the same message.
        #[arg(long, value_name = "UUID")]
        id: Option<Uuid>,
    },
    /// Give one of your own messages other words.
    #[command(
        after_help = "Example:\n  homing client edit bob@globex.example 019ab1c2-7d3e-7f45-8a6b-9c0d1e2f3a4b 'hello there'"
    )]
    Edit(change::Edit),
    /// Delete a message for everybody, for good: one of your own, or, for admins, any of a group.
    #[command(
        after_help = "Example:\n  homing client delete bob@globex.example 019ab1c2-7d3e-7f45-8a6b-9c0d1e2f3a4b"
    )]
    Delete(change::OfMessage),
    /// React to a message with an emoji.
    #[command(
        after_help = "Example:\n  homing client react bob@globex.example 019ab1c2-7d3e-7f45-8a6b-9c0d1e2f3a4b 👍"
    )]
    React(change::React),
    /// Chat, on the whole screen: for people, at a terminal.
    #[command(
        after_help = "Example:\n  homing client chat\n  homing client chat bob@globex.example\n\nF1 shows the keys, Ctrl+Q ends it."
    )]
    Chat {
        /// Begin with this address (a name alone is a user of your own home) or channel's id.
        with: Option<String>,
    },
    /// Print messages as they come, beginning with what was missed since the last time.
    #[command(
        after_help = "Example:\n  homing client tail --json --count 1\n\nWith --json each line has a \"type\": message, receipt or channel."
    )]
    Tail {
        /// Only the conversation with this address or channel.
        with: Option<String>,
        /// End after so many messages.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
        /// Print everything first, from the first message on.
        #[arg(long, conflicts_with = "from_now")]
        since_start: bool,
        /// Leave out what was missed.
        #[arg(long)]
        from_now: bool,
    },
    /// Print the latest messages of a conversation, with ticks: ✓ stored, ✓✓ delivered, read.
    #[command(after_help = "Example:\n  homing client history bob@globex.example --limit 20")]
    History {
        /// An address or a channel's id.
        with: String,
        /// How many messages.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// List all conversations, the latest first.
    #[command(after_help = "Example:\n  homing client channels --json")]
    Channels,
    /// Groups: their people, and the links by which people come.
    #[command(
        after_help = "Example:\n  homing client group create friends bob carol@globex.example\n  homing client channels"
    )]
    Group {
        #[command(subcommand)]
        what: group::GroupCommand,
    },
    /// Your contacts: whom you know, at any home.
    #[command(after_help = "Example:\n  homing client contact add bob@globex.example")]
    Contact {
        #[command(subcommand)]
        what: ListCommand,
    },
    /// Whom you have blocked: what they write is not shown to you, and they are not told.
    #[command(after_help = "Example:\n  homing client block add bob@globex.example")]
    Block {
        #[command(subcommand)]
        what: ListCommand,
    },
    /// What people see of you; without an option it is printed.
    #[command(
        after_help = "Example:\n  homing client me --display-name 'Alice A.' --avatar alice.jpg\n  homing client me --no-avatar"
    )]
    Me(own::Me),
    /// First contacts from other homes: `homing client channels` shows which wait.
    #[command(after_help = "Example:\n  homing client request accept carol@globex.example")]
    Request {
        #[command(subcommand)]
        what: own::RequestCommand,
    },
    /// Hear nothing of a conversation, for some time or for ever.
    #[command(
        after_help = "Example:\n  homing client mute bob@globex.example --for 28800\n  homing client mute bob@globex.example --off"
    )]
    Mute(own::Mute),
    /// Put a conversation out of sight; it stays there when something is written.
    #[command(after_help = "Example:\n  homing client archive bob@globex.example")]
    Archive(own::OfChannel),
    /// Have a conversation before the others.
    #[command(after_help = "Example:\n  homing client pin bob@globex.example")]
    Pin(own::OfChannel),
    /// Mark a conversation as unread, until you read or write there.
    #[command(after_help = "Example:\n  homing client unread bob@globex.example")]
    Unread(own::OfChannel),
    /// Where you are signed in.
    #[command(
        after_help = "Example:\n  homing client device list\n  homing client device revoke DEVICE"
    )]
    Device {
        #[command(subcommand)]
        what: own::DeviceCommand,
    },
    /// Send a file. The same command again goes on where it was ended.
    #[command(
        after_help = "Example:\n  homing client upload bob@globex.example report.pdf --caption 'the numbers'\n  homing client upload bob@globex.example film.mkv --no-send --json"
    )]
    Upload(file::UploadArgs),
    /// Fetch the file of a message, and check that it is the one that was sent. The same command again goes on where it was
    /// ended.
    #[command(
        after_help = "Example:\n  homing client history bob@globex.example\n  homing client download bob@globex.example 019ab1c2-7d3e-7f45-8a6b-9c0d1e2f3a4b --to ~/Downloads"
    )]
    Download(file::DownloadArgs),
    /// Find messages by their words, or by the names of their files, the newest first.
    #[command(
        after_help = "Example:\n  homing client search 'quarterly rep'\n  homing client search budget --in bob@globex.example --json"
    )]
    Search(search::SearchArgs),
    /// Find people of your own home by the beginnings of their names.
    #[command(after_help = "Example:\n  homing client find smi --json")]
    Find {
        /// Beginnings of words, in any order.
        query: String,
    },
    /// Change your password: the old one and the new one from standard input, a line each, or asked for at a terminal. All
    /// other devices are signed out.
    #[command(
        after_help = "Example:\n  printf 'correct horse\\nbattery staple\\n' | homing client password"
    )]
    Password,
    /// Mark a conversation as read.
    #[command(after_help = "Example:\n  homing client read bob@globex.example")]
    Read {
        /// An address or a channel's id.
        with: String,
        /// Up to this place; else everything.
        #[arg(long, value_name = "N")]
        pos: Option<u64>,
    },
}

/// What is done to a list of users.
#[derive(Debug, Subcommand)]
enum ListCommand {
    /// Add somebody.
    #[command(after_help = "Example:\n  homing client contact add bob@globex.example")]
    Add {
        /// An address (a name alone is a user of your own home).
        user: String,
    },
    /// Print everybody in it.
    #[command(after_help = "Example:\n  homing client contact list --json")]
    List,
    /// Remove somebody.
    #[command(after_help = "Example:\n  homing client contact remove bob@globex.example")]
    Remove {
        /// An address (a name alone is a user of your own home).
        user: String,
    },
}

/// Runs a `homing client` command. Errors are for one line on standard error and exit code 1.
pub async fn run(args: ClientArgs) -> anyhow::Result<()> {
    match Box::pin(run_command(args)).await {
        Err(error) if reader_gone(&error) => Ok(()),
        Err(error) => Err(advised(error)),
        Ok(()) => Ok(()),
    }
}

/// A refusal, with what to do next behind it.
fn advised(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Error>().and_then(|error| advice::on(error.reason())) {
        Some(advice) => anyhow!("{error}: {advice}"),
        None => error,
    }
}

/// `… | head -1` is no failure.
fn reader_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

async fn run_command(args: ClientArgs) -> anyhow::Result<()> {
    let store = ProfileStore::of_user(&args.profile)?;
    let session =
        Session { profile: store.load()?.unwrap_or_default(), store, server: args.server };
    let screen = Screen::new(args.json);
    match args.command {
        Command::Register { name, invite, display_name } => {
            register(session, &screen, &name, invite.as_deref(), display_name.as_deref()).await
        }
        Command::Login { name, device_name } => {
            Box::pin(login(session, &screen, &name, &device_name)).await
        }
        Command::Logout => logout(session).await,
        Command::Send { to, text, id } => send(&session, &screen, &to, text, id).await,
        Command::Edit(edit) => change::edit(&session, &screen, edit).await,
        Command::Delete(of) => change::delete(&session, &screen, of).await,
        Command::React(react) => change::react(&session, &screen, react).await,
        Command::Chat { with } => chat::run(&session, with.as_deref()).await,
        Command::Tail { with, count, since_start, from_now } => {
            let begin = match (since_start, from_now) {
                (true, _) => tail::Begin::Start,
                (false, true) => tail::Begin::Now,
                (false, false) => tail::Begin::Missed,
            };
            Box::pin(tail::run(&session, &screen, with.as_deref(), count, begin)).await
        }
        Command::History { with, limit } => history(&session, &screen, &with, limit).await,
        Command::Channels => channels(&session, &screen).await,
        Command::Group { what } => group::run(&session, &screen, what).await,
        Command::Contact { what } => list(&session, &screen, UserList::Contacts, what).await,
        Command::Block { what } => list(&session, &screen, UserList::Blocks, what).await,
        Command::Request { what } => own::request(&session, &screen, what).await,
        Command::Me(me) => Box::pin(own::me(&session, &screen, me)).await,
        Command::Mute(mute) => own::mute(&session, &screen, mute).await,
        Command::Archive(of) => own::archive(&session, &screen, of).await,
        Command::Pin(of) => own::pin(&session, &screen, of).await,
        Command::Unread(of) => own::unread(&session, &screen, of).await,
        Command::Device { what } => own::device(&session, &screen, what).await,
        Command::Upload(args) => Box::pin(file::upload(&session, &screen, args)).await,
        Command::Download(args) => Box::pin(file::download(&session, &screen, args)).await,
        Command::Search(args) => search::run(&session, &screen, args).await,
        Command::Find { query } => own::find(&session, &screen, &query).await,
        Command::Password => own::password(&session, &screen).await,
        Command::Read { with, pos } => read(&session, &screen, &with, pos).await,
    }
}

/// A profile and what the command line says beside it.
struct Session {
    store: ProfileStore,
    profile: Profile,
    server: Option<Server>,
}

impl Session {
    fn server(&self) -> anyhow::Result<Server> {
        match &self.server {
            Some(server) => Ok(server.clone()),
            None if self.profile.server.is_empty() => {
                bail!("no server is known yet: say --server http://HOST:PORT")
            }
            None => Ok(self.profile.server.parse()?),
        }
    }

    fn address(&self) -> anyhow::Result<&str> {
        self.profile.address.as_deref().context("not signed in: run `homing client login NAME`")
    }

    fn options(&self) -> anyhow::Result<Options> {
        let token = self
            .profile
            .token
            .as_deref()
            .context("not signed in: run `homing client login NAME`")?;
        let server = self.server()?;
        // A token is shown to the server that gave it, to no other.
        if server.to_string() != self.profile.server {
            bail!(
                "signed in at {}, not at {server}: run `homing client login NAME --server {server}`",
                self.profile.server
            );
        }
        Ok(Options::new(server, token))
    }

    async fn connect(&self) -> anyhow::Result<(Client, Events)> {
        let mut options = self.options()?;
        options.give_up_after = Some(PATIENCE);
        Ok(Client::connect(options).await?)
    }

    /// What a person typed as the other side.
    fn peer(&self, typed: &str) -> anyhow::Result<Peer> {
        match typed.parse() {
            Ok(channel) => Ok(Peer::Channel(channel)),
            Err(_) => Ok(Peer::Address(self.user(typed)?)),
        }
    }

    /// What a person typed as somebody: an address, or the name of a user of the own home.
    fn user(&self, typed: &str) -> anyhow::Result<String> {
        if typed.contains('@') {
            return Ok(typed.to_owned());
        }
        let home = self.address()?.split_once('@').map(|(_, home)| home);
        Ok(format!("{typed}@{}", home.context("the profile's own address is damaged")?))
    }
}

enum Peer {
    Channel(Uuid),
    Address(String),
}

impl Peer {
    fn target(&self) -> Target<'_> {
        match self {
            Self::Channel(channel) => Target::Channel(*channel),
            Self::Address(address) => Target::To(address),
        }
    }

    async fn channel(&self, client: &Client) -> Result<Channel, Error> {
        patiently(async || match self {
            Self::Channel(channel) => client.channel(*channel).await,
            Self::Address(address) => client.open_chat(address).await,
        })
        .await
    }
}

/// Waits where a busy home asks to, within [`PATIENCE`].
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match error.retry_after() {
            Some(wait) if tokio::time::Instant::now() + wait < until => {
                tokio::time::sleep(wait).await
            }
            Some(_) | None => return Err(error),
        }
    }
}

async fn register(
    mut session: Session,
    screen: &Screen,
    name: &str,
    invite: Option<&str>,
    display_name: Option<&str>,
) -> anyhow::Result<()> {
    let server = session.server()?;
    let password = password(true)?;
    let registered = server.register(name, &password, invite, display_name).await?;
    if session.profile.token.is_none() {
        session.profile.server = server.to_string();
        session.store.save(&session.profile)?;
    }
    screen.result(&registered, |screen| {
        screen.line(&format!("registered {}; next: homing client login {name}", registered.address))
    })
}

async fn login(
    session: Session,
    screen: &Screen,
    name: &str,
    device_name: &str,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        address: &'a str,
        device: &'a str,
        user_id: Uuid,
        server: String,
    }
    let server = session.server()?;
    let (user, whole) = match name.split_once('@') {
        Some((user, _)) => (user, true),
        None => (name, false),
    };
    let password = password(false)?;
    let signed_in = server.login(user, &password, Some(device_name)).await?;
    if whole && !signed_in.address.eq_ignore_ascii_case(name) {
        server.logout(&signed_in.token).await?;
        bail!("{server} is the home of {}, not of {name}", signed_in.address);
    }
    let same = session.profile.address.as_deref() == Some(signed_in.address.as_str())
        && session.profile.server == server.to_string();
    if !same {
        session.store.forget_place()?;
    }
    session.store.save(&Profile {
        server: server.to_string(),
        address: Some(signed_in.address.clone()),
        token: Some(signed_in.token.clone()),
        device: Some(signed_in.device.clone()),
    })?;
    // From here on `tail` misses nothing. Where this fails it will begin with what comes then.
    if session.store.load_place()?.is_none() {
        let mut options = Options::new(server.clone(), &signed_in.token);
        options.reconnect = false;
        if let Ok(follower) = Follower::start(options, From::Now).await {
            session.store.save_place(follower.place())?;
            follower.close().await;
        }
    }
    let line = Line {
        address: &signed_in.address,
        device: &signed_in.device,
        user_id: signed_in.user_id,
        server: server.to_string(),
    };
    screen.result(&line, |screen| screen.line(&format!("signed in as {}", signed_in.address)))
}

async fn logout(mut session: Session) -> anyhow::Result<()> {
    let options = session.options()?;
    match options.server.logout(&options.token).await {
        // Dead already: all the same.
        Ok(()) | Err(Error::Http { status: 401 | 403, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    session.profile.token = None;
    session.profile.device = None;
    Ok(session.store.save(&session.profile)?)
}

async fn send(
    session: &Session,
    screen: &Screen,
    to: &str,
    text: String,
    id: Option<Uuid>,
) -> anyhow::Result<()> {
    let peer = session.peer(to)?;
    let text = if text == "-" { all_of_stdin()? } else { text };
    let (client, _events) = session.connect().await?;
    let id = id.unwrap_or_else(homing_client::new_message_id);
    let body = TextBody::new(&text);
    let sent = patiently(async || client.send(peer.target(), id, &body).await).await?;
    client.close().await;
    screen.result(&sent, |screen| screen.line(&format!("{} stored at {}", sent.id, sent.pos)))
}

async fn history(session: &Session, screen: &Screen, with: &str, limit: u32) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        message: &'a Message,
        #[serde(skip_serializing_if = "Option::is_none")]
        tick: Option<show::Tick>,
    }
    let peer = session.peer(with)?;
    let (client, _events) = session.connect().await?;
    let channel = peer.channel(&client).await?;
    let mut messages: Vec<Message> = Vec::new();
    let mut before = None;
    loop {
        let left = limit - u32::try_from(messages.len()).unwrap_or(limit).min(limit);
        if left == 0 {
            break;
        }
        let ask = async || client.messages_before(channel.channel, before, left.min(PAGE)).await;
        let page = patiently(ask).await?;
        messages.extend(page.messages);
        if !page.more || before.is_some_and(|before| page.next >= before) {
            break;
        }
        before = Some(page.next);
    }
    client.close().await;
    // The place of arrival serves paging; people read by `order`.
    messages.sort_by(|a, b| a.order.cmp(&b.order));
    let me = session.address()?;
    let mut days = show::Days::default();
    for message in &messages {
        let tick = (message.sender == me).then(|| show::Tick::of(message, &channel, me));
        if screen.json {
            screen.object(&Line { message, tick })?;
        } else {
            screen.message(&mut days, message, tick)?;
        }
    }
    Ok(())
}

async fn channels(session: &Session, screen: &Screen) -> anyhow::Result<()> {
    let (client, _events) = session.connect().await?;
    let channels = patiently(async || client.all_channels().await).await?;
    client.close().await;
    for channel in &channels {
        screen.result(channel, |screen| screen.channel(channel))?;
    }
    Ok(())
}

async fn list(
    session: &Session,
    screen: &Screen,
    list: UserList,
    what: ListCommand,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        user: &'a str,
    }
    let (user, add) = match &what {
        ListCommand::Add { user } => (Some(session.user(user)?), true),
        ListCommand::Remove { user } => (Some(session.user(user)?), false),
        ListCommand::List => (None, false),
    };
    let (client, _events) = session.connect().await?;
    let Some(user) = user else {
        let users = patiently(async || client.all_users_in(list).await).await?;
        client.close().await;
        for user in &users {
            screen.result(&Line { user }, |screen| screen.line(user))?;
        }
        return Ok(());
    };
    let change = async || match add {
        true => client.add_to(list, &user).await,
        false => client.remove_from(list, &user).await,
    };
    patiently(change).await?;
    client.close().await;
    let done = if add { "added" } else { "removed" };
    screen.result(&Line { user: &user }, |screen| screen.line(&format!("{done} {user}")))
}

async fn read(
    session: &Session,
    screen: &Screen,
    with: &str,
    pos: Option<u64>,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line {
        channel: Uuid,
        pos: u64,
    }
    let peer = session.peer(with)?;
    let (client, _events) = session.connect().await?;
    let channel = peer.channel(&client).await?;
    let pos = pos.unwrap_or(channel.head);
    patiently(async || client.mark_read(channel.channel, pos).await).await?;
    client.close().await;
    screen.result(&Line { channel: channel.channel, pos }, |screen| {
        screen.line(&format!("{} read up to {pos}", channel.title()))
    })
}

/// From standard input where it is no terminal: one line, nothing asked.
fn password(new: bool) -> anyhow::Result<String> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        let first = rpassword::prompt_password("Password: ")?;
        if new && first != rpassword::prompt_password("The same again: ")? {
            bail!("the two passwords differ");
        }
        first
    } else {
        let mut line = String::new();
        stdin.read_line(&mut line).context("the password on standard input is no text")?;
        line.trim_end_matches(['\n', '\r']).to_owned()
    };
    if password.is_empty() {
        bail!("no password on standard input");
    }
    Ok(password)
}

/// The password there is and the one that is to be: from standard input where it is no terminal, a line each.
fn secrets() -> anyhow::Result<(String, String)> {
    if io::stdin().is_terminal() {
        let old = rpassword::prompt_password("Password: ")?;
        let new = rpassword::prompt_password("New password: ")?;
        if new != rpassword::prompt_password("The same again: ")? {
            bail!("the two passwords differ");
        }
        return Ok((old, new));
    }
    // What is read ahead of the second line must not be lost with the first.
    let mut lines = io::stdin().lines();
    let mut line = || lines.next().transpose().context("the passwords are no text");
    let (old, new) = (line()?.unwrap_or_default(), line()?.unwrap_or_default());
    Ok((old, new))
}

fn all_of_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("standard input is no UTF-8 text")?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

fn server_address(text: &str) -> Result<Server, Error> {
    text.parse()
}

fn profile_name(text: &str) -> Result<String, homing_client::ProfileError> {
    ProfileStore::new("", text).map(|_| text.to_owned())
}

/// A line for people beside what the command prints.
fn note(text: &str) {
    // Who closed standard error does not want it.
    let _unwanted = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ClientArgs,
    }

    #[test]
    fn wrong_usage_is_refused_by_the_parser() {
        for line in [
            "c",
            "c send bob@b.test",
            "c send bob@b.test hi --server ftp://x",
            "c send bob@b.test hi --id 7",
            "c tail --count 0",
            "c tail --since-start --from-now",
            "c history bob@b.test --limit 0",
            "c channels --profile ../x",
            "c contact",
            "c block add",
            "c group invite bob",
            "c group role 0190a5c8-0000-7000-8000-000000000001 bob king",
            "c group link 0190a5c8-0000-7000-8000-000000000001 --uses 0",
            "c group leave friends",
            "c edit bob@b.test 7 hi",
            "c delete bob@b.test",
            "c react bob@b.test 0190a5c8-0000-7000-8000-000000000001",
            "c chat a b",
            "c group join friends",
            "c group unlink friends",
            "c request",
            "c request accept",
            "c mute bob --for 0",
            "c mute bob --for 5 --off",
            "c device revoke phone",
            "c find",
            "c upload bob",
            "c download bob@b.test",
            "c download bob@b.test 7",
            "c upload bob a.txt --no-send --caption x",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        for line in
            ["c --json tail bob@b.test", "c tail --json", "c send --profile a b@c.test -- -x"]
        {
            Cli::try_parse_from(line.split(' ')).unwrap();
        }
    }

    #[test]
    fn every_command_has_an_example() {
        use clap::CommandFactory as _;
        let mut command = Cli::command();
        for sub in command.get_subcommands_mut() {
            let help = sub.render_long_help().to_string();
            assert!(help.contains("Example:"), "{help}");
        }
    }

    fn signed_in() -> Session {
        Session {
            store: ProfileStore::new("/nowhere", "p").unwrap(),
            profile: Profile {
                server: "http://127.0.0.1:1".into(),
                address: Some("alice@acme.test".into()),
                token: Some("t".into()),
                device: None,
            },
            server: None,
        }
    }

    #[test]
    fn the_other_side_is_an_address_a_name_or_a_channel() {
        let session = signed_in();
        for (typed, to) in [("bob@b.test", "bob@b.test"), ("bob", "bob@acme.test")] {
            assert!(matches!(session.peer(typed).unwrap(), Peer::Address(a) if a == to));
        }
        let id = homing_client::new_message_id();
        assert!(matches!(session.peer(&id.to_string()).unwrap(), Peer::Channel(c) if c == id));
    }

    #[test]
    fn a_token_is_not_shown_to_another_server() {
        let mut session = signed_in();
        session.options().unwrap();
        session.server = Some("http://127.0.0.1:2".parse().unwrap());
        let Err(error) = session.options() else { panic!("the token would be shown") };
        assert!(error.to_string().contains("login"), "{error}");
    }
}
