//! How a command reaches its home: through the admin listener of the running node or, with the node
//! stopped, through the store.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use homing_core::Home;
use homing_store::{JournalStore, Store, StoreError};
use homing_wire::{HomeId, HomeName, UserRef};

use crate::admin::{CONTROL_PATH, HOME_HEADER};
use crate::backup::Place;
use crate::config::Config;
use crate::control::{Applied, Control, ControlError, ControlReply, PeerLive, PeersLive, apply};
use crate::jobs::{self, Jobs};
use crate::keys::{AdminToken, Keys};
use crate::node::{Displaced, check_folder, check_life};
use crate::wiring;

/// How long connecting to the admin listener may take: it is on this machine, or near.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take: a commit on a disk in trouble.
const ANSWER: Duration = Duration::from_secs(30);

/// A way to a home.
pub enum Operator {
    /// Its node runs.
    Running(Running),
    /// Its node is stopped; nobody else can start it while this lives.
    Stopped(Box<Stopped>),
}

/// A running node.
pub struct Running {
    http: reqwest::Client,
    base: String,
    token: AdminToken,
    home: HomeId,
}

/// A home whose node does not run.
pub struct Stopped {
    store: Arc<JournalStore>,
    home: Home,
    peers: PeersLive,
    place: Option<Place>,
    /// Why no node may be started on the store: then nothing is changed there either.
    displaced: Option<Displaced>,
}

/// What came of asking the admin listener.
enum Asked {
    Answer(ControlReply),
    /// Nobody listens there.
    Nobody,
}

impl Operator {
    /// The running node if it answers, else the store.
    pub async fn reach(config: &Config) -> anyhow::Result<Self> {
        let keys = Keys::load(&config.keys_folder())?;
        let running = Running::new(config, keys.home_id())?;
        match running.ask(&Control::Status).await? {
            Asked::Answer(_) => return Ok(Self::Running(running)),
            Asked::Nobody => {}
        }
        match Stopped::open(config, &keys) {
            Ok(stopped) => Ok(Self::Stopped(Box::new(stopped))),
            Err(error) => match error.downcast_ref::<StoreError>() {
                Some(StoreError::Locked { .. }) => Err(error.context(format!(
                    "a node of this home runs, but does not answer at {} (admin.listen)",
                    config.admin.listen
                ))),
                Some(_) | None => Err(error),
            },
        }
    }

    /// Carries a command out.
    pub async fn control(&mut self, control: Control) -> anyhow::Result<ControlReply> {
        match self {
            Self::Running(running) => match running.ask(&control).await? {
                Asked::Answer(answer) => Ok(answer),
                Asked::Nobody => bail!("the node has stopped meanwhile"),
            },
            Self::Stopped(stopped) => stopped.control(control),
        }
    }

    /// Says where the home's files are, for a backup of a home whose node is stopped.
    pub fn set_place(&mut self, place: Place) {
        if let Self::Stopped(stopped) = self {
            stopped.place = Some(place);
        }
    }

    /// Whether the node runs.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// Ends it in order.
    pub fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Running(_) => Ok(()),
            Self::Stopped(stopped) => Ok(stopped.store.close()?),
        }
    }
}

impl Running {
    fn new(config: &Config, home: HomeId) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            // What is on this machine is not asked for through somebody else's.
            .no_proxy()
            .connect_timeout(CONNECT)
            .read_timeout(ANSWER)
            .build()?;
        let mut address = config.admin.listen;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let token = AdminToken::load(config)?;
        Ok(Self { http, base: format!("http://{address}"), token, home })
    }

    async fn ask(&self, control: &Control) -> anyhow::Result<Asked> {
        let sent = self
            .http
            .post(format!("{}{CONTROL_PATH}", self.base))
            .bearer_auth(self.token.expose())
            .json(control)
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Ok(Asked::Nobody),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("no answer from the node at {}", self.base));
            }
        };
        let response = self.checked(response).await?;
        let answer = response.json().await.context("the node's answer does not parse")?;
        Ok(Asked::Answer(answer))
    }

    /// Sees that it is this home that answers, and turns a refusal into an error.
    async fn checked(&self, response: reqwest::Response) -> anyhow::Result<reqwest::Response> {
        let home = response.headers().get(HOME_HEADER).and_then(|value| value.to_str().ok());
        if home != Some(self.home.to_string().as_str()) {
            bail!(
                "at {} (admin.listen) answers {}, not this home ({}): set admin.listen to the address of its node",
                self.base,
                home.map_or_else(|| "something else".to_owned(), |home| format!("home {home}")),
                self.home,
            );
        }
        if response.status().is_success() {
            return Ok(response);
        }
        #[derive(serde::Deserialize)]
        struct Refusal {
            error: Inside,
        }
        #[derive(serde::Deserialize)]
        struct Inside {
            code: String,
            message: String,
        }
        let status = response.status();
        match response.json::<Refusal>().await {
            Ok(refusal) => Err(anyhow!("{} ({})", refusal.error.message, refusal.error.code)),
            Err(_) => Err(anyhow!("the node answered {status}")),
        }
    }
}

impl Stopped {
    fn open(config: &Config, keys: &Keys) -> anyhow::Result<Self> {
        let store = Arc::new(wiring::open_store(config, keys.home_id())?);
        let (folder, meta) = (config.store_folder(), store.meta());
        let displaced = check_folder(&folder).and_then(|()| check_life(&folder, meta.epoch)).err();
        let home = Home::new(
            meta.home,
            meta.epoch,
            wiring::policy(config),
            meta.change,
            meta.stamp,
            now_ms(),
            &*store,
        )?;
        let peers = Names::new(config, keys.home_id()).peers();
        Ok(Self { store, home, peers, place: None, displaced })
    }

    fn control(&mut self, control: Control) -> anyhow::Result<ControlReply> {
        if matches!(control, Control::PeerRetry { .. }) {
            bail!("the node is stopped: it dials when it is started");
        }
        if matches!(control, Control::MediaList { .. } | Control::MediaPurge { .. }) {
            bail!("the node is stopped: it looks after its files while it runs; start it");
        }
        // What `homing check` asks reads alone; so do jobs, but for one.
        let reads = Jobs::takes(&control) || matches!(control, Control::Status | Control::PeerList);
        let reads = reads && !matches!(control, Control::Compact { .. });
        if let (Some(why), false) = (&self.displaced, reads) {
            bail!("nothing was changed: {why}");
        }
        if let (true, Some(place)) = (Jobs::takes(&control), &self.place) {
            return Ok(ControlReply::Job { job: jobs::run(&*self.store, place, None, &control) });
        }
        let done = decide(&mut self.home, &*self.store, &self.peers, now_ms(), control);
        // Nobody is connected: there is nothing to do besides.
        done.map(|applied| applied.reply).map_err(|error| anyhow!("{error} ({})", error.reason()))
    }
}

/// Decides a command and commits what came of it: for a home that nobody else drives meanwhile.
pub fn decide(
    home: &mut Home,
    store: &dyn Store,
    peers: &PeersLive,
    now_ms: u64,
    control: Control,
) -> Result<Applied, ControlError> {
    let applied = apply(home, store, now_ms, peers, control)?;
    if home.has_step() {
        let step = home.take_step();
        if !step.batch.writes.is_empty() {
            store.commit(&step.batch).map_err(homing_core::Fault::from)?;
        }
        home.committed(step.number);
    }
    Ok(applied)
}

/// What homes are called: this one, and those the operator has pinned.
#[derive(Clone, Debug)]
pub struct Names(Vec<(HomeId, HomeName)>);

impl Names {
    /// As configured.
    pub fn new(config: &Config, own: HomeId) -> Self {
        let pins =
            config.federation.pin.iter().map(|pin| (pin.identity.home_id(), pin.home.clone()));
        Self([(own, config.home.name.clone())].into_iter().chain(pins).collect())
    }

    /// `alice@acme.example`, or with the home's id where no name is believed.
    pub fn address(&self, user: &UserRef) -> String {
        match self.0.iter().find(|(id, _)| *id == user.home) {
            Some((_, name)) => format!("{}@{name}", user.local),
            None => user.to_string(),
        }
    }

    /// The pinned homes, of which nothing more is known yet.
    pub fn peers(&self) -> PeersLive {
        let live = |name: &HomeName| PeerLive { name: Some(name.clone()), ..PeerLive::default() };
        let homes = self.0.iter().skip(1).map(|(id, name)| (*id, live(name))).collect();
        PeersLive { running: false, homes }
    }
}

/// Unix milliseconds by this machine's clock; 0 before 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
