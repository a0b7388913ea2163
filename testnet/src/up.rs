//! `homing-testnet up`: homes ready to chat, until Ctrl-C.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use serde::Serialize;

use crate::homes::{Home, Homes, PASSWORD, Ports, Program};

/// The users of every home.
const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// The first port where none is asked for: beside what developers usually have on 8080.
const PORT_BASE: u16 = 18080;

/// Makes and runs homes that know each other, until Ctrl-C.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  homing-testnet up --homes 2 --dir /tmp/two\n\nThe same --dir again continues with the same data. Each home is a process of its own,\nwhich `homing serve --config DIR/NAME/homing.toml` starts again."
)]
pub struct UpArgs {
    /// How many homes: acme.test, globex.test, initech.test, home4.test …
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    homes: u16,
    /// Where their data lies.
    #[arg(long, value_name = "DIR", default_value = ".testnet")]
    dir: PathBuf,
    /// The first port: home i has P+10i (clients), +1 (homes), +2 (operator). A directory keeps its ports.
    #[arg(long, value_name = "P")]
    port_base: Option<u16>,
    /// Fixes what is random here: the order in which the homes are started.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// The homing program; else the one beside this one.
    #[arg(long, value_name = "PATH")]
    homing: Option<PathBuf>,
}

/// The names of the first homes; further ones are numbered.
pub fn home_name(index: u16) -> String {
    match index {
        0 => "acme.test".to_owned(),
        1 => "globex.test".to_owned(),
        2 => "initech.test".to_owned(),
        n => format!("home{}.test", n + 1),
    }
}

#[derive(Serialize)]
struct HomeLine<'a> {
    home: &'a str,
    http: String,
    ws: String,
    admin: String,
    dir: String,
    config: String,
    pid: u32,
    home_id: &'a str,
    p2p: &'a [String],
}

/// Runs it.
pub async fn run(args: UpArgs) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let guard = std::env::current_exe().context("this program does not know where it is")?;
    let program = Program::find(args.homing.as_deref())?.guarded_by(guard, true);
    let names: Vec<String> = (0..args.homes).map(home_name).collect();
    // Known before anything is made.
    let fresh = !args.dir.join(&names[0]).join("homing.toml").is_file();
    let base = match args.port_base {
        Some(base) => Some(base),
        None if fresh => Some(PORT_BASE),
        None => continued_base(&args.dir, &names[0]),
    };
    if let Some(base) = base {
        for index in 0..args.homes {
            Ports::from_base(base, index)
                .with_context(|| {
                    format!("--port-base {base} is too high for {} homes", args.homes)
                })?
                .check()?;
        }
    }
    let mut homes = Homes::make(program, &args.dir, &names, base).await?;
    let mut order: Vec<usize> = (0..homes.len()).collect();
    if let Some(seed) = args.seed {
        order.shuffle(&mut rand::rngs::StdRng::seed_from_u64(seed));
    }
    let starting = async {
        for index in order {
            homes[index].start().await?;
        }
        for home in homes.iter() {
            for user in USERS {
                home.register(user).await?;
            }
        }
        anyhow::Ok(())
    };
    let started = tokio::select! {
        started = starting => started.map(|()| true),
        () = stop.asked() => Ok(false),
    };
    match started {
        Ok(true) => {
            show(&homes, args.json)?;
            // Whatever becomes of a home: this goes on, and leaves it to whoever watches.
            stop.asked().await;
        }
        Ok(false) => {}
        Err(error) => {
            // The first error is the one to tell.
            let _told_instead = homes.stop_all().await;
            return Err(error);
        }
    }
    if !args.json {
        say("stopping …")?;
    }
    for home in homes.iter_mut() {
        if let Some(status) = home.ended() {
            tracing::warn!(home = home.name(), %status, "had ended already");
        }
    }
    homes.stop_all().await?;
    Ok(())
}

/// The base that a directory was made with, for homes to be added.
fn continued_base(dir: &std::path::Path, first: &str) -> Option<u16> {
    crate::homes::ports_of(&dir.join(first).join("homing.toml")).map(|ports| ports.http)
}

fn http(home: &Home) -> String {
    format!("http://127.0.0.1:{}", home.ports().http)
}

fn show(homes: &Homes, json: bool) -> anyhow::Result<()> {
    for home in homes.iter() {
        let ready = home.ready().with_context(|| format!("{} is not running", home.name()))?;
        if json {
            let line = HomeLine {
                home: home.name(),
                http: http(home),
                ws: format!("ws://127.0.0.1:{}/v1/ws", home.ports().http),
                admin: format!("http://127.0.0.1:{}", home.ports().admin),
                dir: home.dir().to_string_lossy().into_owned(),
                config: home.config().to_string_lossy().into_owned(),
                pid: home.pid().unwrap_or_default(),
                home_id: &ready.home_id,
                p2p: &ready.p2p,
            };
            say(&serde_json::to_string(&line)?)?;
        } else {
            let pid = home.pid().unwrap_or_default();
            say(&format!(
                "{:<14} {}   (process {pid}, log {})",
                home.name(),
                http(home),
                home.log().display()
            ))?;
        }
    }
    if json {
        return say(r#"{"ready":true}"#);
    }
    let (first, last) = match (homes.first(), homes.get(1).or(homes.first())) {
        (Some(first), Some(last)) => (first, last),
        _ => return Ok(()),
    };
    let homing = first.program().path().display();
    say(&format!(
        "\nUsers in each: {}; password: {PASSWORD}\n\nChat, in two terminals:\n\
         \x20 echo {PASSWORD} | {homing} client --profile bob login bob --server {} && {homing} client --profile bob tail\n\
         \x20 echo {PASSWORD} | {homing} client --profile alice login alice --server {} && {homing} client --profile alice send bob@{} 'hello'\n\n\
         Ready. Ctrl-C stops all.",
        USERS.join(", "),
        http(last),
        http(first),
        last.name(),
    ))
}

fn say(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

/// Ctrl-C or SIGTERM.
pub struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    /// From here on the signals no longer end the process by themselves.
    pub fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Until one comes. Cancel safe.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
