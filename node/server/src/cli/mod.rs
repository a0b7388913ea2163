//! The command line. Exit codes: 0; 1 for a failure, with one clear line on standard error; 2 for wrong
//! usage.

mod backup;
mod check;
mod group;
mod home;
mod invite;
mod media;
mod output;
mod peer;
mod secret;
mod store;
mod user;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use homing_wire::HomeName;
use serde_json::json;

use crate::client::ClientArgs;
use crate::config::{ADMIN_ADDRESS, Config, FILE_NAME, HTTP_ADDRESS, P2P_PORT};
use crate::init::{NewHome, init};
use crate::node::{ServeOptions, serve};
use crate::operator::{Operator, now_ms};
use crate::{client, logs};

/// A messaging home: a server for an organisation's own people that talks to every other home.
#[derive(Debug, Parser)]
#[command(
    name = "homing",
    version,
    after_help = "Example, a home on this machine:\n  \
        homing init --home acme.example --dir acme\n  \
        homing serve --config acme/homing.toml\n  \
        echo 'correct horse' | homing user add alice --config acme/homing.toml"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new home: keys, store and a commented configuration.
    #[command(after_help = "Example:\n  homing init --home acme.example --dir /var/lib/homing\n\n\
        Nothing is overwritten: the directory must be new, or empty.")]
    Init(InitArgs),
    /// Run a home: node and bridge.
    #[command(after_help = "Example:\n  homing serve --config /var/lib/homing/homing.toml\n\n\
        SIGTERM tells clients, finishes what is under way and exits 0; SIGHUP reads the configuration again.")]
    Serve(ServeArgs),
    /// Check configuration, keys, name, ports, clock, disk, store and other homes, and say what to do.
    #[command(after_help = "Example:\n  homing check --config /var/lib/homing/homing.toml\n\n\
        Exits 1 where something fails. The home may be running or stopped.")]
    Check(check::CheckArgs),
    /// The people of this home.
    User(user::UserArgs),
    /// Codes with which people make their own account.
    Invite(invite::InviteArgs),
    /// The store on the disk: giving back what need not be kept.
    Store(store::StoreArgs),
    /// Files: what is kept, and removing what is old.
    Media(media::MediaArgs),
    /// This home, and which others are believed.
    Home(home::HomeArgs),
    /// Other homes: connections, and what is owed to them.
    Peer(peer::PeerArgs),
    /// Groups: whose they are, who is in them, and what is owed to their homes.
    Group(group::GroupArgs),
    /// Write the whole home into one file: store, keys, configuration. The node may be running.
    #[command(
        after_help = "Example:\n  homing backup /backups/acme-monday.homing --config acme/homing.toml\n\n\
        The file holds the home's keys, is readable by its owner alone, and is never overwritten.\n\
        The path is one where the node runs."
    )]
    Backup(backup::BackupArgs),
    /// Make a home from a backup, in a new life: other homes give back what they hold since.
    #[command(
        after_help = "Example:\n  homing restore /backups/acme-monday.homing --config acme/homing.toml\n\n\
        Nothing is overwritten: with --force, what stands there is set aside. All tokens are dead.\n\
        Where there is no configuration, the one in the backup is written."
    )]
    Restore(backup::RestoreArgs),
    /// Check a backup, or everything that is stored: every byte is read.
    #[command(
        after_help = "Examples:\n  homing verify /backups/acme-monday.homing\n  homing verify --config acme/homing.toml\n\n\
        Names what is damaged and where, and exits 1."
    )]
    Verify(backup::VerifyArgs),
    /// A client for people and scripts.
    Client(ClientArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// The home's name: a DNS name that is yours.
    #[arg(long, value_name = "NAME")]
    home: HomeName,
    /// The directory of everything: new, or empty.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Address and port for clients.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = HTTP_ADDRESS)]
    http: SocketAddr,
    /// Port for other homes, UDP (QUIC) and TCP.
    #[arg(long, value_name = "PORT", default_value_t = P2P_PORT)]
    p2p: u16,
    /// Address and port for the operator's commands.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = ADMIN_ADDRESS)]
    admin: SocketAddr,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print one JSON line when ready, instead of a line per listener.
    #[arg(long)]
    json: bool,
    /// Honour the section [testing] of the configuration: for tests alone.
    #[arg(long)]
    testing: bool,
}

/// Which home is meant.
#[derive(Debug, Args)]
struct ConfigArg {
    /// The home's configuration file.
    #[arg(long, global = true, value_name = "FILE", env = "HOMING_CONFIG", default_value = FILE_NAME)]
    config: PathBuf,
}

impl ConfigArg {
    fn load(&self) -> anyhow::Result<Config> {
        Config::load(&self.config).map_err(|error| match &error {
            crate::config::ConfigError::Read { source, .. }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                anyhow::Error::from(error).context("no configuration; name it with --config FILE")
            }
            crate::config::ConfigError::Read { .. }
            | crate::config::ConfigError::Syntax { .. }
            | crate::config::ConfigError::UnknownSection { .. }
            | crate::config::ConfigError::UnknownKey { .. }
            | crate::config::ConfigError::Wrong { .. }
            | crate::config::ConfigError::Missing { .. }
            | crate::config::ConfigError::Contradiction { .. } => error.into(),
        })
    }
}

/// Runs the program of the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime
        .context("cannot start threads")
        .and_then(|runtime| runtime.block_on(Box::pin(run(cli))));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if reader_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("homing: {}", one_line(&error));
            if client::is_without_terminal(&error) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Init(args) => make(args),
        Command::Serve(args) => {
            let config = args.config.load()?;
            let log = logs::start(&config.log);
            let (config_file, json, testing) = (args.config.config, args.json, args.testing);
            let options = ServeOptions { config_file, json, log, testing };
            Box::pin(serve(config, options)).await
        }
        Command::Check(args) => Box::pin(check::run(args)).await,
        Command::User(args) => user::run(args).await,
        Command::Invite(args) => invite::run(args).await,
        Command::Store(args) => Box::pin(store::run(args)).await,
        Command::Media(args) => media::run(args).await,
        Command::Home(args) => home::run(args).await,
        Command::Peer(args) => peer::run(args).await,
        Command::Group(args) => Box::pin(group::run(args)).await,
        Command::Backup(args) => Box::pin(backup::make(args)).await,
        Command::Restore(args) => backup::restore(args).await,
        Command::Verify(args) => backup::verify(args).await,
        Command::Client(args) => Box::pin(client::run(args)).await,
    }
}

fn make(args: InitArgs) -> anyhow::Result<()> {
    let new = NewHome {
        name: args.home,
        folder: args.dir,
        http: args.http,
        p2p_port: args.p2p,
        admin: args.admin,
        now_ms: now_ms(),
    };
    let made = init(&new)?;
    if args.json {
        return output::line(&json!({
            "home": new.name,
            "home_id": made.home_id,
            "dir": new.folder,
            "config": made.config,
        }));
    }
    output::text(&format!(
        "{} is ready in {}: home id {}\n\
         Keep keys/identity.key safe: whoever has it is this home, and without it nobody is.\n\
         Look through {}, then: homing serve --config {}",
        new.name,
        new.folder.display(),
        made.home_id,
        made.config.display(),
        made.config.display(),
    ))
}

/// Quiet commands say only what an operator must know.
fn start_quiet_log(config: &Config) {
    let level = match config.log.level {
        crate::config::Level::Info => crate::config::Level::Warn,
        crate::config::Level::Error
        | crate::config::Level::Warn
        | crate::config::Level::Debug
        | crate::config::Level::Trace => config.log.level,
    };
    // Started before in this process: then it stays as it is.
    let _started = logs::start(&crate::config::Log { level, ..config.log.clone() });
}

/// Reads the configuration and reaches the home.
async fn reach(config: &ConfigArg) -> anyhow::Result<(Config, Operator)> {
    let config = config.load()?;
    start_quiet_log(&config);
    let operator = Operator::reach(&config).await?;
    Ok((config, operator))
}

/// The whole chain in one line; a cause that the text before it has told already is not told twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', " ");
        if !line.contains(text.as_str()) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
    }
    line
}

/// Whether the reader of our output has had enough (`| head`): no failure of ours.
fn reader_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}
