//! The hub: the one owner of the home's state, on a thread of its own.
//!
//! It gathers what has arrived, decides it, hands the step to the commit thread and decides the next one
//! while that flushes. Whatever follows from a step (answers, notices, frames) waits in `outputs` until
//! the step, and all before it, are on disk: nobody is told of what a power cut could still undo.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use homing_core::presence::PresenceLimits;
use homing_core::{CourierLimits, Effect, Failure, Fault, Home, PeerFault, RangeIn, RangeReply};
use homing_link::{
    Answer, ChannelView, ClientInfo, CloseReason, Code, OutboxSender, PresenceView, Refused,
    Request, SessionNo,
};
use homing_net::NetHandle;
use homing_store::Store;
use homing_wire::{ChannelId, DeviceId, Epoch, HomeId, Local, OpId, SigningKeys, UserRef};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{error, info, warn};

use super::admission::Gatekeeper;
use super::bucket::Bucket;
use super::clock::{Clocks, Moment};
use super::commit::Committer;
use super::courier::{Satchel, Signer};
use super::devices::DeviceRound;
use super::directory::Directory;
use super::groups::GroupWait;
use super::hearing::{HEARINGS, hear};
use super::input::{ConnectionNo, Input, Pending};
use super::metrics::NodeMetrics;
use super::passwords::Passwords;
use super::peers::LinePace;
use super::presence::People;
use super::repair::RepairRun;
use super::retention::{Retention, RetentionLimits};
use super::show::Shower;
use super::spread::{Gossip, GossipLimits, TELLINGS, Teller};
use crate::control::PeersLive;
use crate::media::Media;
use crate::search::Search;

/// What the hub keeps to.
#[derive(Clone, Debug)]
pub(super) struct HubLimits {
    /// Calls decided in one step: what a flush carries, and what waits for one.
    pub step_calls: usize,
    /// Sessions open at once.
    pub sessions: usize,
    /// How often risen marks are given out.
    pub marks_gather: Duration,
    /// What couriers keep to.
    pub courier: CourierLimits,
    /// How long after a start with a doubtful clock sends wait for other homes' clocks.
    pub clock_wait: Duration,
    /// How long sends wait for a home that has to be asked first what it holds, after a restore.
    pub reconcile_hold: Duration,
    /// How long another home may take to say whether it has a user.
    pub lookup: Duration,
    /// Calls that wait for look-ups at other homes.
    pub lookups_waiting: usize,
    /// A page of messages ends at this many bytes of bodies.
    pub page_bytes: usize,
    /// A page of messages has at most so many rows.
    pub page: u32,
    /// The largest body, in bytes of compact JSON.
    pub body: usize,
    /// A file that is uploaded, in bytes.
    pub upload_bytes: u64,
    /// An avatar, in bytes.
    pub avatar_bytes: u64,
    /// How clients reach this home from outside, where that is known.
    pub public_url: Option<String>,
    /// Bytes of a draft, as the core has it.
    pub draft_bytes: usize,
    /// People found by one search.
    pub users_found: usize,
    /// Reading calls at the disk at once; more wait in their session's place.
    pub reads_at_once: usize,
    /// Searches at once, likewise.
    pub searches_at_once: usize,
    /// Bytes of what is searched for.
    pub search_query_bytes: usize,
    /// Messages a second of one user, in the long run.
    pub sends_per_s: u32,
    /// Messages of one user at once, after a pause.
    pub sends_burst: u32,
    /// What gossip keeps to.
    pub gossip: GossipLimits,
    /// A token that nobody used for so long is dead, in milliseconds.
    pub token_idle_ms: u64,
    /// What is removed when it is old; `None`: nothing.
    pub retention: Option<RetentionLimits>,
    /// What presence keeps to.
    pub presence: PresenceLimits,
}

/// Other homes' questions that read the disk at once: they are for emergencies, and wait for each other.
const PEER_READS: usize = 2;

/// What follows from a message: an answer, a notice, something owed.
const OUTPUTS_A_CALL: usize = 3;

/// A step of so few writes (two messages, about) is flushed by the hub itself: handing it to the commit
/// thread and back costs two wake-ups, a fifth of what a lonely message takes. Larger ones come under load,
/// when deciding the next step meanwhile is worth more.
const WRITES_AT_ONCE: usize = 12;

/// A client at the node.
pub(super) struct SessionEntry {
    pub(super) outbox: OutboxSender,
    pub(super) client: ClientInfo,
    /// Who signed in, and with which device.
    pub(super) user: Option<(Local, DeviceId)>,
    /// Notices carry no `sync` above this: pages before it have not been asked for yet.
    pub(super) sync_cap: Option<u64>,
}

/// What follows from a step once it is on disk, in this order.
pub(super) enum Output {
    /// To one session.
    Answer { session: SessionNo, number: u64, result: Box<Result<Answer, Refused>> },
    /// An answer that is read from disk first.
    Read { session: SessionNo, number: u64, job: Box<super::read::ReadJob> },
    /// To the sessions that were open when it was decided.
    Effect { effect: Effect, to: Vec<SessionNo> },
    /// A channel, as it was when it was decided.
    Channel { session: SessionNo, change: u64, view: Box<ChannelView> },
    /// A watched user, as it was when it was decided.
    Presence { session: SessionNo, change: u64, view: Box<PresenceView> },
    /// Somebody types.
    Typing { to: Vec<SessionNo>, change: u64, channel: ChannelId, user: Arc<str>, typing: bool },
    /// From here on, behind the answer that lifts it, notices carry a `sync` up to this.
    SyncCap { session: SessionNo, cap: Option<u64> },
    /// To whoever waits for it.
    Reply(Box<dyn FnOnce() + Send>),
    /// A token is dead.
    Revoke { user: Local, device: DeviceId },
}

/// See the module.
pub(super) struct Hub {
    pub(super) home: Home,
    pub(super) store: Arc<dyn Store>,
    pub(super) directory: Directory,
    pub(super) limits: HubLimits,
    pub(super) metrics: Arc<NodeMetrics>,
    pub(super) net: NetHandle,
    pub(super) shower: Shower,
    pub(super) sessions: HashMap<SessionNo, SessionEntry>,
    pub(super) users: HashMap<Local, Vec<SessionNo>>,
    pub(super) people: People,
    pub(super) outputs: Vec<Output>,
    pub(super) buckets: HashMap<Local, Bucket>,
    pub(super) lookups: BTreeMap<UserRef, Vec<Pending>>,
    /// Calls that wait for a group's home.
    pub(super) group_waits: HashMap<OpId, GroupWait>,
    /// Steps given to the commit thread, with what follows from them.
    in_flight: Option<(u64, Vec<Output>)>,
    committer: Committer,
    next_session: u64,
    pub(super) input: mpsc::Sender<Input>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) satchels: HashMap<HomeId, Arc<Satchel>>,
    pub(super) live: PeersLive,
    /// Homes in `live` that were refused and are nothing to this one otherwise, the one that came last at the end.
    pub(super) strangers: VecDeque<HomeId>,
    pub(super) stranger_lines: LinePace,
    /// Homes the network has been told to reach.
    pub(super) wanted: BTreeSet<HomeId>,
    pub(super) gatekeeper: Arc<Gatekeeper>,
    pub(super) reads: Arc<Semaphore>,
    /// Searches are apart: they take processor time, and nobody shall wait for a page of a chat because of them.
    pub(super) searches: Arc<Semaphore>,
    /// Finds messages by their words, where the home does.
    pub(super) search: Option<Arc<Search>>,
    /// Keeps the files.
    pub(super) media: Option<Arc<Media>>,
    pub(super) signer: Signer,
    pub(super) passwords: Arc<Passwords>,
    /// Signing keys of the homes that have said hello.
    pub(super) peer_keys: HashMap<HomeId, SigningKeys>,
    pub(super) repairs: HashMap<HomeId, RepairRun>,
    /// The newest connection of each home that was met.
    pub(super) connections: HashMap<HomeId, ConnectionNo>,
    /// Connections and repairs are numbered from one counter.
    pub(super) last_number: u64,
    /// Homes that had to be asked what they hold when this process started.
    pub(super) restored: BTreeSet<HomeId>,
    /// Other homes' questions at the disk at once.
    pub(super) peer_reads: Arc<Semaphore>,
    pub(super) retention: Option<Retention>,
    pub(super) device_round: DeviceRound,
    /// Users whose account was shut, and above which channel they have still to be taken out of groups.
    pub(super) departing: VecDeque<(Local, Option<homing_wire::ChannelId>)>,
    /// Above which name accounts have still to be looked at for shut ones: a process before may not have been done.
    pub(super) unseen: Option<Option<Local>>,
    pub(super) gossip: Gossip,
    draining: Option<oneshot::Sender<()>>,
    pub(super) now: fn() -> u64,
    pub(super) clocks: Clocks,
    /// How many homes are pinned.
    pub(super) pinned: usize,
    began: Instant,
    /// This clock is wrong by so much, in milliseconds: nothing is stamped.
    pub(super) clock_wrong_by: Option<i64>,
}

/// The hub cannot go on; the process ends.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The store failed: what is in memory may be ahead of the disk.
    #[error(
        "the store failed, the node stops so that nothing is answered that is not on disk: {0}"
    )]
    Store(String),
    /// Two processes run on copies of one directory.
    #[error(
        "another node runs on a copy of this directory: it answered {peer} while this one was starting. This one stops, \
         for both would sign different histories in one name. Keep one of the two; a second home needs `homing init`"
    )]
    Cloned {
        /// Who asked the other.
        peer: String,
    },
    /// The directory is older than what others have seen.
    #[error(
        "this directory was set back, or another node has run on a copy of it: {peer} has seen start {boot} of life \
         {epoch} of this node, and this is start {own_boot} of life {own_epoch}. It stops, for it would sign a second \
         history. If the disk was set back (a snapshot, an image): homing backup FILE; homing restore FILE --force, \
         which begins a new life. If a copy runs elsewhere: keep that one alone"
    )]
    RolledBack {
        /// Who has seen it.
        peer: String,
        /// The life that it has seen.
        epoch: Epoch,
        /// The start of it.
        boot: u64,
        /// This node's life.
        own_epoch: Epoch,
        /// Its start.
        own_boot: u64,
    },
    /// The store is older than what this home has said: writing on would be a second history.
    #[error(
        "{peer} holds what this home signed in a life of its store ({epoch}) that this store is behind of: it is an \
         old copy, or was restored while the clock was wrong. Nothing more is written. Set the clock, then: homing \
         backup FILE; homing restore FILE --force --epoch-above {epoch}"
    )]
    LaterLife {
        /// Who showed it.
        peer: String,
        /// The life.
        epoch: u64,
    },
}

impl From<Fault> for HubError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.0)
    }
}

/// What a hub is made of.
pub(super) struct HubParts {
    /// The home's state.
    pub home: Home,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// Names of homes.
    pub directory: Directory,
    /// What it keeps to.
    pub limits: HubLimits,
    /// What it counts.
    pub metrics: Arc<NodeMetrics>,
    /// The network.
    pub net: NetHandle,
    /// Whom it lets in.
    pub(super) gatekeeper: Arc<Gatekeeper>,
    /// What signs heads.
    pub(super) signer: Signer,
    /// What checks passwords.
    pub(super) passwords: Arc<Passwords>,
    /// Finds messages by their words, where the home does.
    pub(super) search: Option<Arc<Search>>,
    /// Keeps the files.
    pub(super) media: Option<Arc<Media>>,
    /// Where couriers and readers run.
    pub runtime: tokio::runtime::Handle,
    /// Where everything but calls comes in.
    pub(super) input: mpsc::Sender<Input>,
    /// Unix milliseconds.
    pub now: fn() -> u64,
}

impl Hub {
    /// A hub that has not started.
    pub(super) fn new(parts: HubParts) -> std::io::Result<Self> {
        let committer = Committer::start(parts.store.clone())?;
        let pinned = parts.directory.pinned().len();
        let moment = Moment { wall_ms: (parts.now)(), steady_ms: 0 };
        let newest_ms = parts.store.meta().stamp.ms();
        let clocks = Clocks::new(moment, newest_ms);
        let reconciling = |peer: homing_core::PeerState| peer.reconcile.then_some(peer.home);
        let restored = homing_core::Reader::peers(&*parts.store)
            .map_err(std::io::Error::other)?
            .into_iter()
            .filter_map(reconciling)
            .collect();
        let (telling, tellings) = mpsc::channel(TELLINGS);
        let (hearing, hearings) = mpsc::channel(HEARINGS);
        let teller = Teller {
            home: parts.home.id(),
            signer: parts.signer.clone(),
            store: parts.store.clone(),
            net: parts.net.clone(),
            hub: parts.input.clone(),
            message_bytes: parts.limits.gossip.message_bytes,
            now: parts.now,
        };
        parts.runtime.spawn(teller.run(tellings));
        let (input, net, metrics) = (parts.input.clone(), parts.net.clone(), parts.metrics.clone());
        parts.runtime.spawn(hear(hearings, input, net, metrics));
        let own = parts.directory.own();
        Ok(Self {
            gossip: Gossip::new(parts.limits.gossip, telling, hearing),
            signer: parts.signer,
            passwords: parts.passwords,
            peer_keys: HashMap::new(),
            repairs: HashMap::new(),
            connections: HashMap::new(),
            last_number: 0,
            restored,
            peer_reads: Arc::new(Semaphore::new(PEER_READS)),
            shower: Shower::new(parts.directory.clone()),
            home: parts.home,
            store: parts.store,
            directory: parts.directory,
            metrics: parts.metrics,
            net: parts.net,
            sessions: HashMap::new(),
            users: HashMap::new(),
            people: People::new(own, parts.limits.presence),
            outputs: Vec::new(),
            buckets: HashMap::new(),
            lookups: BTreeMap::new(),
            group_waits: HashMap::new(),
            in_flight: None,
            committer,
            next_session: 1,
            input: parts.input,
            runtime: parts.runtime,
            satchels: HashMap::new(),
            live: PeersLive { running: true, homes: BTreeMap::new() },
            strangers: VecDeque::new(),
            stranger_lines: LinePace::default(),
            wanted: BTreeSet::new(),
            gatekeeper: parts.gatekeeper,
            reads: Arc::new(Semaphore::new(parts.limits.reads_at_once)),
            searches: Arc::new(Semaphore::new(parts.limits.searches_at_once)),
            search: parts.search,
            media: parts.media,
            retention: parts.limits.retention.map(|l| Retention::new(l, (parts.now)(), newest_ms)),
            device_round: DeviceRound::new((parts.now)(), newest_ms, parts.limits.token_idle_ms),
            limits: parts.limits,
            departing: VecDeque::new(),
            unseen: Some(None),
            draining: None,
            now: parts.now,
            clocks,
            pinned,
            began: Instant::now(),
            clock_wrong_by: None,
        })
    }

    /// Runs until drained. Calls come by `requests`, everything else by `inputs`.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut inputs: mpsc::Receiver<Input>,
    ) -> Result<(), HubError> {
        self.want_owed();
        for home in self.directory.pinned() {
            self.want(home);
        }
        // Not at once: whoever has just come finds a hub that does nothing by itself yet.
        let gather = self.limits.marks_gather;
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + gather, gather);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut calls = Vec::with_capacity(self.limits.step_calls);
        let mut others = Vec::with_capacity(self.limits.step_calls);
        loop {
            // While a step is under way the next one takes only so much: what waits is bounded.
            // (A message has an answer, a notice, and something owed.)
            let room = self.limits.step_calls.saturating_sub(self.outputs.len() / OUTPUTS_A_CALL);
            // In no order of ours: neither peers nor clients can starve the other.
            tokio::select! {
                done = self.committer.next() => match done {
                    Some((number, Ok(()))) => self.committed(number)?,
                    Some((_, Err(error))) => return Err(HubError::Store(error)),
                    None => return Err(HubError::Store("the commit thread ended".into())),
                },
                // Draining, what peers bring would make new steps for ever: they bring it again.
                count = inputs.recv_many(&mut others, room.max(1)),
                    if room > 0 && self.draining.is_none() =>
                {
                    if count == 0 {
                        return Ok(());
                    }
                    for input in others.drain(..) {
                        self.take(input)?;
                    }
                }
                _ = tick.tick() => self.tick()?,
                count = requests.recv_many(&mut calls, room.max(1)),
                    if room > 0 && self.draining.is_none() =>
                {
                    if count == 0 {
                        return Ok(());
                    }
                    for request in calls.drain(..) {
                        self.request(request)?;
                    }
                }
            }
            self.advance()?;
            if self.draining.is_some() && self.in_flight.is_none() && !self.home.has_step() {
                if let Some(done) = self.draining.take() {
                    let _nobody_waits = done.send(());
                }
                return Ok(());
            }
        }
    }

    /// Gives the step on, if there is one to give and the one before is done.
    fn advance(&mut self) -> Result<(), HubError> {
        if self.in_flight.is_some() {
            return Ok(());
        }
        if !self.home.is_urgent() {
            // Nothing that was decided is waited for: what was read shows committed state.
            let outputs = std::mem::take(&mut self.outputs);
            return self.publish(outputs);
        }
        self.submit()
    }

    fn submit(&mut self) -> Result<(), HubError> {
        let step = self.home.take_step();
        let outputs = std::mem::take(&mut self.outputs);
        if step.batch.writes.is_empty() {
            self.home.committed(step.number);
            return self.publish(outputs);
        }
        self.metrics.steps.fetch_add(1, Ordering::Relaxed);
        self.metrics.step_writes.fetch_add(step.batch.writes.len() as u64, Ordering::Relaxed);
        if step.batch.writes.len() <= WRITES_AT_ONCE {
            self.store.commit(&step.batch).map_err(|error| HubError::Store(error.to_string()))?;
            self.home.committed(step.number);
            return self.publish(outputs);
        }
        self.in_flight = Some((step.number, outputs));
        if self.committer.submit(step.number, step.batch) {
            Ok(())
        } else {
            Err(HubError::Store("the commit thread ended".into()))
        }
    }

    fn committed(&mut self, number: u64) -> Result<(), HubError> {
        self.home.committed(number);
        match self.in_flight.take() {
            Some((_, outputs)) => self.publish(outputs),
            None => Ok(()),
        }
    }

    /// About once a second: marks, sessions that are gone, what is owed to homes out of reach, what is too old.
    fn tick(&mut self) -> Result<(), HubError> {
        self.want_owed();
        self.compare_clocks();
        let now = self.now_ms();
        self.home.tick(&*self.store.clone(), now)?;
        let (open, declined) = self.home.invitations();
        self.metrics.invitations_open.store(open as u64, Ordering::Relaxed);
        self.metrics.invitations_declined.store(declined, Ordering::Relaxed);
        self.metrics.requests_open.store(self.home.requests() as u64, Ordering::Relaxed);
        self.collect_effects(None)?;
        self.retry_repairs()?;
        self.give_up_waiting();
        self.depart()?;
        self.sweep(now)?;
        self.expire_devices(now)?;
        self.forget_ops(now)?;
        self.tend_people()?;
        self.tend_gossip()?;
        let gone: Vec<SessionNo> =
            self.sessions.iter().filter(|(_, s)| s.outbox.is_gone()).map(|(no, _)| *no).collect();
        for session in gone {
            self.forget(session, false);
        }
        let (per_s, burst) = (self.limits.sends_per_s, self.limits.sends_burst);
        self.buckets.retain(|_, bucket| !bucket.is_full(per_s, burst, now));
        if self.in_flight.is_none() && self.home.has_step() {
            self.submit()?;
        }
        Ok(())
    }

    /// Both clocks of this home.
    pub(super) fn moment(&self) -> Moment {
        let steady_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment { wall_ms: (self.now)(), steady_ms }
    }

    /// Unix milliseconds for what is decided: where this clock is known to be wrong, what it should show. Stamps of
    /// others are measured by it, and when a thing came.
    pub(super) fn now_ms(&self) -> u64 {
        let shown = (self.now)();
        match self.clock_wrong_by {
            Some(wrong_ms) => shown.saturating_add_signed(wrong_ms.saturating_neg()),
            None => shown,
        }
    }

    /// Looks whether this home's clock can be believed.
    pub(super) fn compare_clocks(&mut self) {
        let directory = &self.directory;
        let pinned = |home: &HomeId| directory.name(home).is_some();
        let wrong_by = self.clocks.wrong_by(self.moment(), pinned);
        match (self.clock_wrong_by, wrong_by) {
            (None, Some(wrong_ms)) => error!(
                wrong_ms,
                "this home's clock is wrong: most homes it knows differ from it by so much (ahead: above 0); nothing can \
                 be sent until it is set (check NTP: `timedatectl`, `chronyc tracking`)"
            ),
            (Some(_), None) => info!("this home's clock is right again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        self.clock_wrong_by = wrong_by;
        self.metrics.clock_wrong_ms.store(wrong_by.unwrap_or(0), Ordering::Relaxed);
    }

    /// An input that is no call.
    fn take(&mut self, input: Input) -> Result<(), HubError> {
        if input.origin().is_some_and(|(peer, from)| self.connections.get(peer) != Some(&from)) {
            return Ok(()); // the dropped reply ends the old stream
        }
        let now = self.now_ms();
        let store = self.store.clone();
        match input {
            Input::Connect { client, outbox, reply } => {
                let number = SessionNo(self.next_session);
                if self.sessions.len() >= self.limits.sessions || self.draining.is_some() {
                    return Ok(()); // the dropped reply says so
                }
                self.next_session += 1;
                self.sessions
                    .insert(number, SessionEntry { outbox, client, user: None, sync_cap: None });
                self.metrics.sessions.store(self.sessions.len() as u64, Ordering::Relaxed);
                let _client_gone = reply.send(number);
            }
            Input::Register { new, reply } => {
                let result = match self.home.register(&*store, now, *new) {
                    Ok(account) => Ok(homing_link::Registered {
                        address: self.shower.address(&self.home.user(&account.local)).to_string(),
                        user_id: account.user_id.to_string(),
                    }),
                    Err(failure) => Err(refused(failure)?),
                };
                self.reply(move || drop(reply.send(result)));
            }
            Input::Login { new, token, reply } => {
                let local = new.user.clone();
                let result = match self.home.add_device(&*store, now, *new) {
                    Ok(device) => {
                        let user_id = self
                            .home
                            .account(&*store, &local)?
                            .map_or_else(String::new, |a| a.user_id.to_string());
                        Ok(homing_link::LoggedIn {
                            token,
                            device: device.id.to_string(),
                            address: self.shower.address(&self.home.user(&local)).to_string(),
                            user_id,
                        })
                    }
                    Err(failure) => Err(refused(failure)?),
                };
                self.reply(move || drop(reply.send(result)));
            }
            Input::MediaWhole { state, reply } => {
                self.home.keep_media(now, *state);
                self.reply(move || {
                    let _gone_anyway = reply.send(());
                });
            }
            Input::MediaForgotten { id, named_or_not, reply } => {
                let gone = self.home.forget_media(&*store, now, id, named_or_not)?;
                self.reply(move || {
                    let _gone_anyway = reply.send(gone);
                });
            }
            Input::MediaWanted(home) => self.want(home),
            Input::MediaCopied { pending, copied } => self.media_copied(pending, copied)?,
            Input::Logout { token, reply } => {
                let result = match self.home.device_of(&*store, token)? {
                    Some(device) => {
                        self.home.remove_device(&device);
                        self.outputs.push(Output::Revoke { user: device.user, device: device.id });
                        Ok(())
                    }
                    None => Err(bad_token()),
                };
                self.reply(move || drop(reply.send(result)));
            }
            Input::Net(event) => self.net_event(event)?,
            Input::Range { peer, range, reply, .. } => {
                let result = self.range_came(peer, &range)?;
                if let Ok(done) = &result {
                    self.metrics.not_taken(done);
                    if done.applied > 0 {
                        self.gatekeeper.faults.behaves(&peer);
                    }
                }
                self.reply(move || drop(reply.send(result)));
            }
            Input::Pruned { peer, parties, end, reply, .. } => {
                let result = self.home.receive_pruned(&*store, now, peer, &parties, &end)?;
                if let Ok(done) = &result {
                    self.metrics.not_taken(done);
                }
                self.collect_effects(None)?;
                self.reply(move || drop(reply.send(result)));
            }
            Input::Pull { peer, .. } => self.start_repair(peer)?,
            Input::Repaired { peer, run, answer } => self.repaired(peer, run, *answer)?,
            Input::Asked { peer, told, answer, reply, .. } => {
                self.asked(peer, told)?;
                self.reply(move || drop(reply.send(*answer)));
            }
            Input::RejectedBy { peer, channel, epoch, rejected, .. } => {
                let done = self.home.rejected_by(&*store, now, peer, channel, epoch, &rejected)?;
                self.collect_effects(None)?;
                match done {
                    Ok(0) => {}
                    Ok(count) => {
                        self.metrics.rejected_by_peers.fetch_add(count as u64, Ordering::Relaxed);
                        warn!(
                            peer = %self.directory.show(&peer), %channel, count,
                            reason = rejected.first().map_or("", |(_, reason)| reason),
                            "a home rejected messages of ours; their senders are shown it"
                        );
                    }
                    Err(fault) => self.at_fault(peer, fault),
                }
            }
            Input::Marks { peer, channel, marks, reply, .. } => {
                let result = self.home.receive_marks(&*store, now, peer, channel, &marks)?;
                self.collect_effects(None)?;
                self.reply(move || {
                    let _receiver_gone = reply.send(result);
                });
            }
            Input::Acknowledged { peer, channel, epoch, have, .. } => {
                let done = self.home.acknowledged(&*store, peer, channel, epoch, have)?;
                self.collect_effects(None)?;
                match done {
                    Ok(()) => {
                        self.gossip_acked(&peer, channel, epoch, have);
                        self.gatekeeper.faults.behaves(&peer);
                    }
                    Err(fault) => self.at_fault(peer, fault),
                }
            }
            Input::GossipKey { peer, group, number, key, .. } => {
                self.key_dealt(peer, group, number, *key)?;
            }
            Input::Fleeting { peer, came, reply, .. } => {
                self.people_came(peer, *came)?;
                let _receiver_gone = reply.send(());
            }
            Input::Heard { origin, range, message, .. } => self.heard(origin, &range, message)?,
            Input::Told { group, outcome } => self.told(group, outcome)?,
            Input::GossipWaited { group } => self.gossip_waited(group)?,
            Input::MarksTaken { peer, channel, telling, .. } => {
                self.home.marks_taken(&*store, peer, channel, &telling)?;
            }
            Input::Roster { peer, signed, reply, .. } => {
                let result = self.roster_came(peer, *signed)?;
                self.reply(move || {
                    let _receiver_gone = reply.send(result);
                });
            }
            Input::Letter { peer, name, letter, reply, .. } => {
                let result = self.take_letter(peer, name, letter)?;
                self.collect_effects(None)?;
                self.reply(move || {
                    let _receiver_gone = reply.send(result);
                });
            }
            Input::RosterTaken { peer, group, version, .. } => {
                let done = self.home.roster_taken(&*store, peer, group, version)?;
                if let Err(fault) = done {
                    self.at_fault(peer, fault);
                }
            }
            Input::RosterWanted { peer, group, .. } => {
                self.home.roster_wanted(&*store, peer, group)?;
                self.collect_effects(None)?;
            }
            Input::LettersTaken { peer, upto, .. } => {
                if let Err(fault) = self.home.letters_taken(peer, upto) {
                    self.at_fault(peer, fault);
                }
            }
            Input::RefusedBy { peer, channel, reason, .. } => {
                if self.home.refused_by(&*store, peer, channel, &reason)? {
                    info!(peer = %self.directory.show(&peer), %channel, reason, "a home takes nothing of a channel");
                }
                self.collect_effects(None)?;
            }
            Input::LookedUp { user, found } => self.looked_up(user, found)?,
            Input::PasswordChecked { pending, checked } => {
                self.password_checked(pending, checked)?;
            }
            Input::Control { control, reply } => self.control(control, reply)?,
            Input::Drain { done } => {
                self.draining = Some(done);
                for session in self.sessions.values() {
                    session.outbox.close(CloseReason::Restarting);
                }
                self.home.tick(&*store, now)?;
                self.note_all_seen()?;
                self.collect_effects(None)?;
                if self.in_flight.is_none() && self.home.has_step() {
                    self.submit()?;
                }
            }
        }
        Ok(())
    }

    /// Applies a range that a home wrote, whoever brought it.
    pub(super) fn range_came(
        &mut self,
        origin: HomeId,
        range: &RangeIn,
    ) -> Result<Result<RangeReply, PeerFault>, HubError> {
        let (store, now) = (self.store.clone(), self.now_ms());
        let result = self.home.receive_range(&*store, now, origin, range)?;
        if let Ok(done) = &result {
            self.metrics.received.fetch_add(done.applied as u64, Ordering::Relaxed);
        }
        if let Err(PeerFault("equivocation")) = &result {
            error!(
                peer = %self.directory.show(&origin), channel = %range.channel,
                "a home has signed two histories of one channel: it lies, or was set back without \
                 `homing restore`; nothing more of that life is taken, both proofs are kept"
            );
        }
        self.collect_effects(None)?;
        Ok(result)
    }

    pub(super) fn reply(&mut self, reply: impl FnOnce() + Send + 'static) {
        self.outputs.push(Output::Reply(Box::new(reply)));
    }

    /// Logs what ended the hub, in words an operator can act on.
    pub(super) fn log_end(result: &Result<(), HubError>) {
        match result {
            Ok(()) => {}
            Err(error @ HubError::Store(_)) => {
                error!(%error, "node stopped; check the disk, then start it again: nothing answered is lost");
            }
            Err(
                error @ (HubError::LaterLife { .. }
                | HubError::Cloned { .. }
                | HubError::RolledBack { .. }),
            ) => {
                error!(%error, "node stopped; it must not go on with this store");
            }
        }
    }
}

/// What cannot be done yet may be tried again after this long, in milliseconds.
const LATER_MS: u64 = 5_000;

/// A refusal of the core as the link has it; a fault of the store ends the hub.
pub(super) fn refused(failure: Failure) -> Result<Refused, HubError> {
    use homing_core::Class;
    match failure {
        Failure::Fault(fault) => Err(fault.into()),
        Failure::Refused(refusal) => {
            let code = match refusal.class {
                Class::Invalid => Code::InvalidParams,
                Class::NotAllowed => Code::NotAllowed,
                Class::NotFound => Code::NotFound,
                Class::Conflict => Code::Conflict,
                Class::Limit => Code::LimitReached,
                Class::Later => Code::Busy,
            };
            let mut refused = Refused::new(code, refusal.reason, refusal.message);
            if refusal.class == Class::Later {
                refused = refused.with_retry_after_ms(LATER_MS);
            }
            refused.limit = refusal.limit;
            Ok(refused)
        }
    }
}

pub(super) fn bad_token() -> Refused {
    Refused::new(Code::NotSignedIn, "bad_token", "this token is unknown or revoked: log in again")
}
