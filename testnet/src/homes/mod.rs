//! Homes as processes: made, joined, started, stopped, killed, started again.

mod error;
mod ports;
mod program;
mod settings;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use homing_client::{Client, Error, Events, LoggedIn, Options, Server};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};

pub use error::HomesError;
pub use ports::{Ports, ports_of};
pub use program::{Abilities, Program};

use ports::ports_in;
use settings::{Pin, with_settings};

/// The password of every user that this crate makes.
pub const PASSWORD: &str = "homing-testnet";

/// How long a home may take to be ready: replaying a large journal after a kill takes seconds, not minutes.
pub const READY_DEADLINE: Duration = Duration::from_secs(120);

/// How long a home may take to end in order; it gives its clients ten seconds.
pub const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Who a home is.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Identity {
    /// Its name.
    pub home: String,
    /// The hash of its key.
    pub home_id: String,
    /// The key, base64.
    pub identity: String,
}

/// The line that a home prints when it is ready.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Ready {
    /// Where clients connect.
    pub http: String,
    /// Where other homes connect.
    #[serde(default)]
    pub p2p: Vec<String>,
    /// Where the operator connects.
    #[serde(default)]
    pub admin: String,
    /// The home's id.
    pub home_id: String,
}

/// One home: its directory and, while it runs, its process. Dropping it kills the process.
#[derive(Debug)]
pub struct Home {
    program: Program,
    name: String,
    dir: PathBuf,
    log: PathBuf,
    ports: Ports,
    identity: Identity,
    running: Option<Running>,
    tokens: HashMap<String, LoggedInUser>,
    clock_offset_ms: Option<i64>,
}

/// A process that has been started and has not said that it is ready.
struct Launched {
    child: Child,
    pid: u32,
    stdout: ChildStdout,
    begin: Instant,
    log_from: u64,
}

#[derive(Debug)]
struct Running {
    child: Child,
    pid: u32,
    ready: Ready,
    ready_after: Duration,
}

#[derive(Clone)]
struct LoggedInUser(LoggedIn);

impl std::fmt::Debug for LoggedInUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.address)
    }
}

impl Home {
    /// Makes a home below `dir`, or takes the one that was made there.
    pub async fn make(
        program: Program,
        dir: &Path,
        name: &str,
        ports: Option<Ports>,
    ) -> Result<Self, HomesError> {
        fs::create_dir_all(dir).map_err(|e| HomesError::Io(dir.to_owned(), e))?;
        let dir = fs::canonicalize(dir).map_err(|e| HomesError::Io(dir.to_owned(), e))?;
        let (home_dir, log) = (dir.join(name), dir.join(format!("{name}.log")));
        let config = home_dir.join("homing.toml");
        let ports = if config.is_file() {
            let made_with = ports_in(&config)?;
            match ports {
                Some(asked) if asked != made_with => {
                    let why = format!("was made with port {}, not {}", made_with.http, asked.http);
                    return Err(HomesError::Directory(home_dir, why));
                }
                Some(_) | None => made_with,
            }
        } else {
            let ports = match ports {
                Some(ports) => ports,
                None => Ports::free()?,
            };
            let on = |port: u16| format!("127.0.0.1:{port}");
            let dir_text = home_dir.to_string_lossy();
            program
                .run(&[
                    "init",
                    "--home",
                    name,
                    "--dir",
                    &dir_text,
                    "--http",
                    &on(ports.http),
                    "--p2p",
                    &ports.p2p.to_string(),
                    "--admin",
                    &on(ports.admin),
                ])
                .await?;
            ports
        };
        let said =
            program.run(&["home", "id", "--config", &config.to_string_lossy(), "--json"]).await?;
        let identity: Identity = serde_json::from_str(said.trim()).map_err(|e| {
            HomesError::Failed { what: "home id --json".to_owned(), said: e.to_string() }
        })?;
        let name = name.to_owned();
        Ok(Self {
            program,
            name,
            dir: home_dir,
            log,
            ports,
            identity,
            running: None,
            tokens: HashMap::new(),
            clock_offset_ms: None,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("homing.toml")
    }

    /// What it wrote to standard error, of all its runs.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its ports.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The program it runs, for other commands such as `peer queue`.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// A command about this home: `arguments` and `--config` of this one.
    pub async fn command(&self, arguments: &[&str]) -> Result<String, HomesError> {
        let config = self.config();
        let config = config.to_string_lossy();
        let mut all = arguments.to_vec();
        all.extend(["--config", &config]);
        self.program.run(&all).await
    }

    /// For clients.
    pub fn server(&self) -> Result<Server, HomesError> {
        let text = format!("http://127.0.0.1:{}", self.ports.http);
        text.parse().map_err(|e| HomesError::User(self.name.clone(), e))
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// What it said when it was ready.
    pub fn ready(&self) -> Option<&Ready> {
        self.running.as_ref().map(|running| &running.ready)
    }

    /// From its start to that line.
    pub fn ready_after(&self) -> Option<Duration> {
        self.running.as_ref().map(|running| running.ready_after)
    }

    /// Writes who the others are, open registration and `first_contact = "accept"`.
    pub fn write_testnet_settings<'a>(
        &self,
        others: impl Iterator<Item = &'a Home>,
    ) -> Result<(), HomesError> {
        let direct = others.filter(|other| other.name != self.name);
        self.write_settings_through(direct.map(|other| (other, other.ports.p2p)))
    }

    /// The same, with a port of this machine for each of the others, behind which it is reached: a proxy's.
    pub fn write_settings_through<'a>(
        &self,
        others: impl Iterator<Item = (&'a Home, u16)>,
    ) -> Result<(), HomesError> {
        let path = self.config();
        let io = |e| HomesError::Io(path.clone(), e);
        let text = fs::read_to_string(&path).map_err(io)?;
        let pins: Vec<_> = others.map(|(other, port)| Pin::of(other, port)).collect();
        let text = with_settings(&text, &pins);
        // As a whole or not at all: a home may read it at any time.
        let new = path.with_extension("toml.new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(io)
    }

    /// Starts it and waits until it is ready. Does nothing where it runs already.
    pub async fn start(&mut self) -> Result<&Ready, HomesError> {
        if self.running.is_none() {
            let Launched { mut child, pid, stdout, begin, log_from } = self.launch()?;
            let waited = tokio::time::timeout(READY_DEADLINE, ready_line(stdout)).await;
            let ready_after = begin.elapsed();
            let Ok(Some(ready)) = waited else {
                let status = match waited {
                    Ok(_) => child.wait().await.ok(),
                    Err(_) => None,
                };
                let said = end_of_log(&self.log, log_from);
                return Err(HomesError::NotReady { home: self.name.clone(), status, said });
            };
            self.running = Some(Running { child, pid, ready, ready_after });
        }
        match &self.running {
            Some(running) => Ok(&running.ready),
            None => Err(HomesError::NotRunning(self.name.clone())),
        }
    }

    /// Starts it and kills it (`kill -9`) that much later, wherever it is then: in the middle of opening its store,
    /// as a rule. Does nothing where it runs already. Fails where it ended by itself before.
    pub async fn start_and_kill(&mut self, after: Duration) -> Result<(), HomesError> {
        if self.running.is_some() {
            return Ok(());
        }
        let Launched { mut child, stdout, log_from, .. } = self.launch()?;
        let ended = tokio::time::timeout(after, child.wait()).await;
        drop(stdout);
        match ended {
            Err(_) => {
                child.kill().await.map_err(|e| HomesError::BadEnd(self.name.clone(), e.to_string()))
            }
            Ok(status) => Err(HomesError::NotReady {
                home: self.name.clone(),
                status: status.ok(),
                said: end_of_log(&self.log, log_from),
            }),
        }
    }

    fn launch(&self) -> Result<Launched, HomesError> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|e| HomesError::Io(self.log.clone(), e))?;
        let log_from = log.metadata().map_or(0, |meta| meta.len());
        let mut command = self.program.serve(&self.config(), self.clock_offset_ms);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let begin = Instant::now();
        let not_started = |e: &dyn std::fmt::Display| HomesError::Failed {
            what: "serve".to_owned(),
            said: e.to_string(),
        };
        let mut child = command.spawn().map_err(|e| not_started(&e))?;
        let pid = child.id().ok_or_else(|| not_started(&"it has no process id"))?;
        let stdout = child.stdout.take().ok_or_else(|| not_started(&"it has no output"))?;
        Ok(Launched { child, pid, stdout, begin, log_from })
    }

    /// From its next start on its clock is wrong by so much; needs [`Abilities::testing`]. `None`: right.
    pub fn set_clock_offset(&mut self, offset_ms: Option<i64>) {
        self.clock_offset_ms = offset_ms;
    }

    /// The tokens that were given out are dead (a restored backup has no devices): users sign in again.
    pub fn forget_logins(&mut self) {
        self.tokens.clear();
    }

    /// Asks it to end (SIGTERM) without waiting for it.
    pub fn ask_to_stop(&self) {
        if let Some(pid) = self.pid() {
            // It may have ended by itself.
            let _gone = signal(pid, Signal::TERM);
        }
    }

    /// SIGTERM, and waits for the end, which must be in order.
    pub async fn stop(&mut self) -> Result<(), HomesError> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        let _gone = signal(running.pid, Signal::TERM);
        let bad = |how: String| HomesError::BadEnd(self.name.clone(), how);
        match tokio::time::timeout(STOP_DEADLINE, running.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(bad(status.to_string())),
            Ok(Err(error)) => Err(bad(error.to_string())),
            Err(_) => {
                let _killed_on_drop = running.child.start_kill();
                Err(bad(format!("still running {} s after SIGTERM", STOP_DEADLINE.as_secs())))
            }
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) -> Result<(), HomesError> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        running.child.kill().await.map_err(|e| HomesError::BadEnd(self.name.clone(), e.to_string()))
    }

    /// Stops it in time without letting it know (SIGSTOP), or lets it go on (SIGCONT).
    pub fn freeze(&self, frozen: bool) -> Result<(), HomesError> {
        let pid = self.pid().ok_or_else(|| HomesError::NotRunning(self.name.clone()))?;
        signal(pid, if frozen { Signal::STOP } else { Signal::CONT })
            .map_err(|e| HomesError::BadEnd(self.name.clone(), e.to_string()))
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        end_of_log(&self.log, 0)
    }

    /// Waits until it ends by itself; `None`: it does not run, or has ended before.
    pub async fn until_ended(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.child.wait().await.ok()?;
        self.running = None;
        Some(status)
    }

    /// How it ended, where it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.child.try_wait().ok()??;
        self.running = None;
        Some(status)
    }

    /// Registers a user (where there is none of that name) with [`PASSWORD`].
    pub async fn register(&self, user: &str) -> Result<(), HomesError> {
        let server = self.server()?;
        loop {
            match server.register(user, PASSWORD, None, None).await {
                Ok(_) => return Ok(()),
                Err(Error::Http { status: 409, .. }) => return Ok(()),
                Err(error) => match error.retry_after() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(HomesError::User(user.to_owned(), error)),
                },
            }
        }
    }

    /// A token of a new device of a user.
    pub async fn login(&self, user: &str) -> Result<LoggedIn, HomesError> {
        let server = self.server()?;
        loop {
            match server.login(user, PASSWORD, Some("testnet")).await {
                Ok(signed_in) => return Ok(signed_in),
                Err(error) => match error.retry_after() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(HomesError::User(user.to_owned(), error)),
                },
            }
        }
    }

    /// Registers a user where needed and signs in once for all calls of this; the token outlives restarts.
    pub async fn user(&mut self, user: &str) -> Result<LoggedIn, HomesError> {
        if let Some(known) = self.tokens.get(user) {
            return Ok(known.0.clone());
        }
        self.register(user).await?;
        let signed_in = self.login(user).await?;
        self.tokens.insert(user.to_owned(), LoggedInUser(signed_in.clone()));
        Ok(signed_in)
    }

    /// A client of a user, signed in.
    pub async fn client(&mut self, user: &str) -> Result<(Client, Events), HomesError> {
        let signed_in = self.user(user).await?;
        let options = Options::new(self.server()?, signed_in.token);
        Client::connect(options).await.map_err(|e| HomesError::User(user.to_owned(), e))
    }
}

/// Several homes that know each other.
#[derive(Debug)]
pub struct Homes(Vec<Home>);

impl Homes {
    /// Makes homes below `dir` (or takes those made there) that know each other. With `port_base`, home `i` has the
    /// ports from `port_base + 10 i` on; else free ones.
    pub async fn make(
        program: Program,
        dir: &Path,
        names: &[impl AsRef<str>],
        port_base: Option<u16>,
    ) -> Result<Self, HomesError> {
        let mut homes = Vec::with_capacity(names.len());
        for (index, name) in (0_u16..).zip(names) {
            let ports = match port_base {
                None => None,
                Some(base) => Some(Ports::from_base(base, index).ok_or_else(|| {
                    HomesError::PortTaken(base, io::Error::other("the last port is 65535"))
                })?),
            };
            homes.push(Home::make(program.clone(), dir, name.as_ref(), ports).await?);
        }
        for home in &homes {
            home.write_testnet_settings(homes.iter())?;
        }
        Ok(Self(homes))
    }

    /// Each for itself.
    pub fn into_vec(self) -> Vec<Home> {
        self.0
    }

    /// Starts all of them.
    pub async fn start_all(&mut self) -> Result<(), HomesError> {
        for home in &mut self.0 {
            home.start().await?;
        }
        Ok(())
    }

    /// Stops all of them, together; the first failure is told after all have ended.
    pub async fn stop_all(&mut self) -> Result<(), HomesError> {
        for home in &self.0 {
            home.ask_to_stop();
        }
        let mut result = Ok(());
        for home in &mut self.0 {
            let stopped = home.stop().await;
            result = result.and(stopped);
        }
        result
    }
}

impl Deref for Homes {
    type Target = [Home];

    fn deref(&self) -> &[Home] {
        &self.0
    }
}

impl DerefMut for Homes {
    fn deref_mut(&mut self) -> &mut [Home] {
        &mut self.0
    }
}

fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("not a process id"))?;
    Ok(kill_process(pid, signal)?)
}

/// Reads up to the ready line; afterwards the output is drained, so that the home never waits for us.
async fn ready_line(stdout: ChildStdout) -> Option<Ready> {
    #[derive(Deserialize)]
    struct Line {
        ready: bool,
        #[serde(flatten)]
        rest: Ready,
    }
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(line) = serde_json::from_str::<Line>(&line)
            && line.ready
        {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(line.rest);
        }
    }
    None
}

/// The last lines that a run wrote.
fn end_of_log(log: &Path, from: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(0).min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
    let lines: Vec<_> = text.lines().collect();
    match lines.as_slice() {
        [] => format!("it said nothing (log: {})", log.display()),
        lines => lines[lines.len().saturating_sub(3)..].join(" | "),
    }
}
