//! Starting a node, and stopping it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use homing_bridge::Bridge;
use homing_core::Home;
use homing_link::{BoxFuture, Link};
use homing_net::{NetEvent, NetHandle};
use homing_store::{JournalStore, Store};
use homing_wire::{HomeId, HomeRef};
use parking_lot::RwLock;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::admission::Gatekeeper;
use super::directory::{Directory, Pin};
use super::displaced;
use super::faults::{FaultLimits, Faults};
use super::files::FilesDoor;
use super::hub::{Hub, HubError, HubLimits, HubParts};
use super::input::Input;
use super::link::{NodeLink, Registration, well_known};
use super::metrics::NodeMetrics;
use super::passwords::{PasswordLimits, Passwords};
use super::retention::RetentionLimits;
use super::spread::GossipLimits;
use super::starts::SeenStarts;
use crate::admin::{self, Admin, Operate};
use crate::backup::Place;
use crate::config::{Config, RegistrationMode, Testing};
use crate::control::{Control, ControlError, ControlReply};
use crate::jobs::Jobs;
use crate::keys::{AdminToken, Keys};
use crate::logs::LogLevel;
use crate::media::Media;
use crate::metrics::Metrics;
use crate::search::{IndexerThread, Search};
use crate::tidy::{Tidier, TidyThread};
use crate::wiring;

/// How a node is started.
#[derive(Debug, Default)]
pub struct ServeOptions {
    /// Where the configuration came from, for SIGHUP.
    pub config_file: PathBuf,
    /// One JSON line when ready, instead of a line per listener.
    pub json: bool,
    /// Changes the level of the log, where it can be.
    pub log: Option<LogLevel>,
    /// Honour `[testing]`.
    pub testing: bool,
}

/// How long the network may take to say on which ports it listens.
const LISTENING_WITHIN: Duration = Duration::from_secs(5);
/// What clients are told to wait when the node stops: spread, so that they do not all come back at once.
const RETRY_AFTER_MS: std::ops::RangeInclusive<u64> = 500..=5_000;

/// Where operators' commands reach the hub.
#[derive(Clone)]
pub struct ControlDoor(mpsc::Sender<Input>);

impl Operate for ControlDoor {
    fn control(&self, control: Control) -> BoxFuture<'_, Result<ControlReply, ControlError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let input = Input::Control { control, reply };
            self.0.send(input).await.map_err(|_| ControlError::Stopping)?;
            answer.await.map_err(|_| ControlError::Stopping)?
        })
    }
}

/// `[testing] clock_offset_ms`, set once at the start: so much is this node's clock wrong.
static CLOCK_OFFSET_MS: AtomicI64 = AtomicI64::new(0);

/// Unix milliseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    now.saturating_add_signed(CLOCK_OFFSET_MS.load(Ordering::Relaxed))
}

/// Runs a home until it is told to stop. Needs a multi-threaded tokio runtime around it.
pub async fn serve(config: Config, options: ServeOptions) -> anyhow::Result<()> {
    if config.testing != Testing::default() {
        anyhow::ensure!(
            options.testing,
            "[testing] is set: it is for tests alone; remove it, or start with `homing serve --testing`"
        );
        warn!(
            clock_offset_ms = config.testing.clock_offset_ms,
            "started for tests: its clock is wrong on purpose"
        );
        CLOCK_OFFSET_MS.store(config.testing.clock_offset_ms, Ordering::Relaxed);
    }
    let mut signals = Signals::new()?;
    let folder = config.store_folder();
    displaced::check_folder(&folder)?;
    let keys = Keys::load(&config.keys_folder())?;
    let token = AdminToken::load(&config)?;
    let store: Arc<dyn Store> = open_store(&config, keys.home_id()).await?;
    let meta = store.meta();
    displaced::check_life(&folder, meta.epoch)?;
    displaced::clear(&folder);
    let home = Home::new(
        keys.home_id(),
        meta.epoch,
        wiring::policy(&config),
        meta.change,
        meta.stamp,
        now(),
        &*store,
    )?;

    // Ports first: a taken one must be said before anything else is started.
    let directory = Directory::new(keys.home_id(), config.home.name.clone(), &pins(&config));
    let gatekeeper = Arc::new(gatekeeper(&config, &keys, &directory, &store)?);
    let admin_listener = admin::bind(config.admin.listen).await?;
    let (net, mut events) =
        homing_net::start(wiring::net(&config), &keys.node, gatekeeper.clone())?;
    let listening = listening(&mut events, &config).await?;
    // The boot number rises with each start, and so does the record's number.
    let record = crate::record::sign(&config, &keys, meta.epoch, meta.boot, now(), &listening)?;
    *gatekeeper.record.write() = record.bytes.clone();

    let metrics = Arc::new(NodeMetrics::default());
    let (requests, request_queue) = mpsc::channel(config.limits.requests_queue);
    let (input, input_queue) = mpsc::channel(config.limits.requests_queue);
    let passwords = Arc::new(Passwords::new(password_limits(&config)));
    let (search, indexer) = match config.search.enabled {
        true => Search::start(wiring::search(&config), store.clone())
            .map(|(s, i)| (Some(s), Some(i)))?,
        false => (None, None),
    };
    let tidier = Tidier::new(store.clone(), wiring::tidy(&config), now);
    let tidying = tidier.start()?;
    let door = FilesDoor::new(input.clone());
    let media = wiring::media(&config, &keys, &directory, &store, door, &net, now)
        .await
        .context("files cannot be kept ([media])")?;
    let hub = Hub::new(HubParts {
        home,
        store: store.clone(),
        directory: directory.clone(),
        limits: hub_limits(&config),
        metrics: metrics.clone(),
        net: net.clone(),
        gatekeeper: gatekeeper.clone(),
        signer: Arc::new(keys.signing.clone()),
        passwords: passwords.clone(),
        search: search.clone(),
        media: Some(media.clone()),
        runtime: tokio::runtime::Handle::current(),
        input: input.clone(),
        now,
    })?;
    let (ended, mut hub_ended) = oneshot::channel();
    let (life, boot) = (meta.epoch, meta.boot);
    std::thread::Builder::new().name("hub".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(hub.run(request_queue, input_queue)),
            Err(error) => Err(HubError::Store(error.to_string())),
        };
        Hub::log_end(&result);
        if let Err(error) = &result {
            // Here: who waits for the end may be told to stop at this very moment, and ask no more.
            displaced::note(&folder, life, boot, error);
        }
        let _serve_is_gone = ended.send(result);
    })?;
    tokio::spawn(forward(events, input.clone(), media.clone()));
    let stop_media = CancellationToken::new();
    tokio::spawn(media.clone().run(stop_media.clone()));

    let link = Arc::new(NodeLink::new(
        requests,
        input.clone(),
        store.clone(),
        directory.clone(),
        registration(&config),
        config.limits.outbox_bytes,
        passwords,
        metrics.clone(),
        well_known(config.home.name.as_str(), &keys.identity().0, &record.bytes),
        Some(media.clone()),
    ));
    let bridge = Arc::new(Bridge::start(wiring::bridge(&config), link.clone() as Arc<dyn Link>)?);
    let operator = Arc::new(Admin {
        token,
        home: keys.home_id(),
        node: Arc::new(ControlDoor(input.clone())),
        store: store.clone(),
        jobs: Jobs::new(Place::of(&config, &options.config_file), store.clone(), tidier.clone()),
        metrics: Metrics::new(sources(&metrics, &store, &net, &bridge, search, &media, tidier)),
        media: Some(media),
    });
    let stop_admin = CancellationToken::new();
    let admin_address = admin_listener.local_addr()?;
    tokio::spawn(admin::serve(admin_listener, operator, stop_admin.clone()));
    link.ready.store(true, Ordering::Relaxed);
    announce(&options, &keys, &bridge, &listening, admin_address);

    let result = loop {
        tokio::select! {
            ended = &mut hub_ended => break match ended {
                Ok(result) => result.map_err(anyhow::Error::from),
                Err(_) => Err(anyhow::anyhow!("the node's thread ended")),
            },
            wish = signals.next() => match wish {
                Wish::Stop => {
                    info!("stopping");
                    break Ok(());
                }
                Wish::Reload => reload(&config, &options),
            },
        }
    };
    link.ready.store(false, Ordering::Relaxed);
    stop_admin.cancel();
    stop_media.cancel();
    tidying.stop();
    let within = Duration::from_millis(config.limits.drain_ms);
    let failed = result.is_err();
    let stopped =
        tokio::time::timeout(within, stop(bridge, input, net, store, (indexer, tidying), failed))
            .await;
    if stopped.is_err() {
        warn!("stopped before everybody was told: drain_ms is over; nothing answered is lost");
    }
    result
}

/// Tells clients, finishes what is under way, lets the index catch up.
async fn stop(
    bridge: Arc<Bridge>,
    input: mpsc::Sender<Input>,
    net: NetHandle,
    store: Arc<dyn Store>,
    (indexer, tidying): (Option<IndexerThread>, TidyThread),
    failed: bool,
) {
    if let Some(bridge) = Arc::into_inner(bridge) {
        bridge.shutdown(RETRY_AFTER_MS).await;
    }
    if failed {
        return; // memory is ahead of the disk: nothing more may be written
    }
    let (done, drained) = oneshot::channel();
    if input.send(Input::Drain { done }).await.is_ok() {
        let _hub_is_gone = drained.await;
    }
    net.shutdown().await;
    let closed = tokio::task::spawn_blocking(move || {
        // It reads the store to its end.
        if let Some(indexer) = indexer {
            indexer.stop();
        }
        let closed = store.close();
        tidying.join();
        closed
    })
    .await;
    match closed {
        Ok(Ok(())) => info!("stopped"),
        Ok(Err(error)) => {
            error!(%error, "the store did not close cleanly; it catches up when opened")
        }
        Err(error) => error!(%error, "the store did not close cleanly; it catches up when opened"),
    }
}

async fn open_store(config: &Config, home: HomeId) -> anyhow::Result<Arc<dyn Store>> {
    let folder = config.store_folder();
    let settings = wiring::journal(config);
    // Replaying a journal can take seconds: not on a thread that others need.
    let store =
        tokio::task::spawn_blocking(move || JournalStore::open(&folder, settings)).await??;
    let meta = store.meta();
    anyhow::ensure!(
        meta.home == home,
        "the store belongs to home {}, the keys to {home}: one of both was copied from elsewhere",
        meta.home
    );
    anyhow::ensure!(
        meta.stamp.ms() < now() + 86_400_000,
        "the clock is more than a day behind the last message. If it is wrong: set it, then start again. If it is right, \
         and was wrong when that was written: homing backup FILE; homing restore FILE --force, which begins a new life"
    );
    Ok(Arc::new(store))
}

/// Waits until the network listens by each transport it was asked to, and says where. (A wildcard address
/// is reported once for each interface; those that come later are not waited for.)
async fn listening(
    events: &mut mpsc::Receiver<NetEvent>,
    config: &Config,
) -> anyhow::Result<Vec<String>> {
    let mut addresses: Vec<String> = Vec::new();
    let transports = ["/udp/", "/tcp/"];
    let asked = |t: &&&str| config.p2p.listen.iter().any(|l| l.as_str().contains(**t));
    let wanted: Vec<&&str> = transports.iter().filter(asked).collect();
    while !wanted.iter().all(|t| addresses.iter().any(|a| a.contains(**t))) {
        match tokio::time::timeout(LISTENING_WITHIN, events.recv()).await {
            Ok(Some(NetEvent::Listening { address })) => addresses.push(address),
            Ok(Some(other)) => warn!(?other, "a home came before this one was ready"),
            Ok(None) => anyhow::bail!("the network stopped while starting: is the p2p port taken?"),
            Err(_) => anyhow::bail!("the network does not listen: is the p2p port taken?"),
        }
    }
    Ok(addresses)
}

/// Carries the network's events to the hub; while the hub is busy, peers wait.
async fn forward(
    mut events: mpsc::Receiver<NetEvent>,
    input: mpsc::Sender<Input>,
    media: Arc<Media>,
) {
    while let Some(event) = events.recv().await {
        // Files are none of the hub's business.
        if let NetEvent::Media { home, ask, reply } = event {
            tokio::spawn(media.clone().serve(home, ask, reply));
            continue;
        }
        if input.send(Input::Net(event)).await.is_err() {
            return;
        }
    }
}

fn gatekeeper(
    config: &Config,
    keys: &Keys,
    directory: &Directory,
    store: &Arc<dyn Store>,
) -> anyhow::Result<Gatekeeper> {
    let meta = store.meta();
    let mut denied_ids = HashSet::new();
    let mut denied_names = HashSet::new();
    for home in &config.federation.deny {
        match home {
            HomeRef::Id(id) => drop(denied_ids.insert(*id)),
            HomeRef::Name(name) => drop(denied_names.insert(name.clone())),
        }
    }
    let peers = store.peers()?;
    let blocked = peers.iter().filter(|p| p.blocked).map(|p| p.home).collect();
    let record = crate::record::sign(config, keys, meta.epoch, meta.boot, now(), &[])?;
    Ok(Gatekeeper {
        directory: directory.clone(),
        own_name: config.home.name.clone(),
        mode: config.federation.mode,
        denied_ids,
        denied_names,
        blocked: RwLock::new(blocked),
        record: RwLock::new(record.bytes),
        epoch: meta.epoch,
        boot: meta.boot,
        instance: crate::token::random()?,
        peer_id: keys.node.peer_id_bytes(),
        signer: Arc::new(keys.signing.clone()),
        starts: SeenStarts::load(&peers),
        faults: Arc::new(Faults::new(fault_limits(config))),
        now,
    })
}

fn pins(config: &Config) -> Vec<Pin> {
    let pin = |p: &crate::config::Pin| Pin {
        name: p.home.clone(),
        home: p.identity.home_id(),
        addresses: p.addresses.iter().map(|a| a.as_str().to_owned()).collect(),
    };
    config.federation.pin.iter().map(pin).collect()
}

fn registration(config: &Config) -> Registration {
    match config.registration.mode {
        RegistrationMode::Open => Registration::Open,
        RegistrationMode::Invite => Registration::Invite,
        RegistrationMode::Closed => Registration::Closed,
    }
}

fn hub_limits(config: &Config) -> HubLimits {
    let limits = &config.limits;
    HubLimits {
        step_calls: limits.commit_batch,
        sessions: limits.sessions,
        marks_gather: Duration::from_millis(limits.marks_gather_ms),
        courier: wiring::courier(config),
        clock_wait: Duration::from_millis(limits.clock_wait_ms),
        reconcile_hold: Duration::from_millis(limits.reconcile_hold_ms),
        lookup: Duration::from_millis(limits.query_timeout_ms),
        lookups_waiting: limits.lookups,
        // A page must fit a frame with its envelope and its fields.
        page_bytes: limits.server_frame_bytes * 3 / 4,
        page: u32::try_from(limits.page_messages).unwrap_or(u32::MAX),
        body: limits.body_bytes,
        upload_bytes: config.media.upload_bytes,
        avatar_bytes: config.media.avatar_bytes,
        public_url: config.bridge.public_url.as_ref().map(|url| url.as_str().to_owned()),
        draft_bytes: limits.draft_bytes,
        users_found: limits.users_found,
        reads_at_once: limits.reads_at_once,
        searches_at_once: config.search.at_once,
        search_query_bytes: limits.search_query_bytes,
        sends_per_s: limits.sends_per_s,
        sends_burst: limits.sends_burst,
        token_idle_ms: limits.token_idle_days * 24 * 3_600_000,
        gossip: GossipLimits {
            from: match config.groups.gossip_from {
                0 => None,
                from => Some(from),
            },
            wait: Duration::from_millis(config.groups.gossip_wait_ms),
            message_bytes: limits.gossip_message_bytes,
            topics: limits.gossip_topics,
            keys_per_peer: limits.gossip_keys_per_peer,
        },
        retention: config
            .retention
            .messages
            .map(|age| RetentionLimits { age_ms: age.ms(), channels: limits.retention_channels }),
        presence: wiring::presence(config),
    }
}

fn fault_limits(config: &Config) -> FaultLimits {
    let limits = &config.limits;
    FaultLimits {
        strikes: limits.peer_faults,
        window: Duration::from_millis(limits.peer_faults_window_ms),
        backoff_min: Duration::from_millis(limits.peer_fault_backoff_min_ms),
        backoff_max: Duration::from_millis(limits.peer_fault_backoff_max_ms),
    }
}

fn password_limits(config: &Config) -> PasswordLimits {
    let limits = &config.limits;
    PasswordLimits {
        workers: limits.password_workers,
        waiting: limits.password_queue,
        failures_per_account: limits.login_failures_per_account,
        failures_per_address: limits.login_failures_per_address,
        failures_kept: limits.login_failures_kept,
    }
}

fn sources(
    node: &Arc<NodeMetrics>,
    store: &Arc<dyn Store>,
    net: &NetHandle,
    bridge: &Arc<Bridge>,
    search: Option<Arc<Search>>,
    media: &Arc<Media>,
    tidier: Arc<Tidier>,
) -> Vec<crate::metrics::Source> {
    let media = media.clone();
    let (node, store, net) = (node.clone(), store.clone(), net.clone());
    let bridge = Arc::downgrade(bridge);
    vec![
        Box::new(move || node.families()),
        Box::new(move || media.families()),
        Box::new(move || search.as_ref().map_or_else(Vec::new, |search| search.families())),
        Box::new(move || crate::metrics::of_store(&store.stats())),
        Box::new(move || tidier.families()),
        Box::new(move || crate::metrics::of_net(&net.stats())),
        Box::new(move || {
            bridge.upgrade().map_or_else(Vec::new, |b| crate::metrics::of_bridge(&b.metrics()))
        }),
    ]
}

/// Says that the node is ready, and where.
#[allow(clippy::print_stdout)]
fn announce(
    options: &ServeOptions,
    keys: &Keys,
    bridge: &Bridge,
    listening: &[String],
    admin: std::net::SocketAddr,
) {
    let http = format!("http://{}", bridge.local_addr());
    let operator = format!("http://{admin}");
    if options.json {
        let line = json!({
            "ready": true,
            "http": http,
            "p2p": listening,
            "admin": operator,
            "home_id": keys.home_id().to_string(),
        });
        println!("{line}");
    } else {
        println!("clients    {http}");
        for address in listening {
            println!("homes      {address}");
        }
        println!("operators  {operator}");
        println!("ready");
    }
}

/// What can change while running does: the level of the log.
fn reload(running: &Config, options: &ServeOptions) {
    match Config::load(Path::new(&options.config_file)) {
        Ok(new) => {
            if let Some(log) = &options.log {
                log.set(new.log.level);
            }
            let keys: Vec<String> =
                running.changed_keys(&new).into_iter().filter(|k| k != "log.level").collect();
            if keys.is_empty() {
                info!("configuration read again");
            } else {
                warn!(?keys, "configuration read again; these keys need a restart");
            }
        }
        Err(error) => error!(%error, "configuration not taken; the node goes on with the old one"),
    }
}

struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            term: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.term.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            Some(()) = self.hangup.recv() => Wish::Reload,
        }
    }
}

/// What the operator wants of the process.
enum Wish {
    Stop,
    Reload,
}
