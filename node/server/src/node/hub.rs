//! The hub: the one owner of the home's state, on a thread of its own.
//!
//! It gathers what has arrived, decides it, hands the step to the commit thread and decides the next one
//! while that flushes. Whatever follows from a step (answers, notices, frames) waits in `outputs` until
//! the step, and all before it, are on disk: nobody is told of what a power cut could still undo.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homing_core::{Effect, Failure, Fault, Home, PeerState};
use homing_link::{
    Answer, ClientInfo, CloseReason, Code, OutboxSender, Refused, Request, SessionNo, ToClient,
};
use homing_net::{NetEvent, NetHandle};
use homing_store::Store;
use homing_wire::proto::query::v1 as pb_query;
use homing_wire::{DeviceId, HomeId, Local, UserRef};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, error, info, warn};

use super::admission::Gatekeeper;
use super::bucket::Bucket;
use super::commit::Committer;
use super::courier::{Courier, OwedChannel, Satchel};
use super::directory::Directory;
use super::input::{Input, Lookup, Pending};
use super::metrics::NodeMetrics;
use super::receiver::Receiver;
use super::show::Shower;
use crate::control::{Control, ControlEffect, ControlError, ControlReply, PeerLive, PeersLive};

/// What the hub keeps to.
#[derive(Clone, Debug)]
pub(super) struct HubLimits {
    /// Calls decided in one step: what a flush carries, and what waits for one.
    pub step_calls: usize,
    /// Sessions open at once.
    pub sessions: usize,
    /// How often risen marks are given out.
    pub marks_gather: Duration,
    /// Bytes of events ahead of a peer's acknowledgements.
    pub relay_window_bytes: usize,
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
    /// Reading calls at the disk at once; more wait in their session's place.
    pub reads_at_once: usize,
    /// Messages a second of one user, in the long run.
    pub sends_per_s: u32,
    /// Messages of one user at once, after a pause.
    pub sends_burst: u32,
}

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
    pub(super) outputs: Vec<Output>,
    pub(super) buckets: HashMap<Local, Bucket>,
    pub(super) lookups: BTreeMap<UserRef, Vec<Pending>>,
    /// Steps given to the commit thread, with what follows from them.
    in_flight: Option<(u64, Vec<Output>)>,
    committer: Committer,
    next_session: u64,
    pub(super) input: mpsc::Sender<Input>,
    pub(super) runtime: tokio::runtime::Handle,
    satchels: HashMap<HomeId, Arc<Satchel>>,
    pub(super) live: PeersLive,
    /// Homes the network has been told to reach.
    wanted: BTreeSet<HomeId>,
    gatekeeper: Arc<Gatekeeper>,
    reads: Arc<Semaphore>,
    draining: Option<oneshot::Sender<()>>,
    pub(super) now: fn() -> u64,
}

/// The hub cannot go on; the process ends.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The store failed: what is in memory may be ahead of the disk.
    #[error(
        "the store failed, the node stops so that nothing is answered that is not on disk: {0}"
    )]
    Store(String),
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
        Ok(Self {
            shower: Shower::new(parts.directory.clone()),
            home: parts.home,
            store: parts.store,
            directory: parts.directory,
            metrics: parts.metrics,
            net: parts.net,
            sessions: HashMap::new(),
            users: HashMap::new(),
            outputs: Vec::new(),
            buckets: HashMap::new(),
            lookups: BTreeMap::new(),
            in_flight: None,
            committer,
            next_session: 1,
            input: parts.input,
            runtime: parts.runtime,
            satchels: HashMap::new(),
            live: PeersLive { running: true, homes: BTreeMap::new() },
            wanted: BTreeSet::new(),
            gatekeeper: parts.gatekeeper,
            reads: Arc::new(Semaphore::new(parts.limits.reads_at_once)),
            limits: parts.limits,
            draining: None,
            now: parts.now,
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
        let mut tick = tokio::time::interval(self.limits.marks_gather);
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
                count = inputs.recv_many(&mut others, room.max(1)), if room > 0 => {
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

    /// About once a second: marks, sessions that are gone, what is owed to homes out of reach.
    fn tick(&mut self) -> Result<(), HubError> {
        let now = (self.now)();
        self.home.tick(&*self.store.clone(), now)?;
        self.collect_effects(None);
        let gone: Vec<SessionNo> =
            self.sessions.iter().filter(|(_, s)| s.outbox.is_gone()).map(|(no, _)| *no).collect();
        for session in gone {
            self.forget(session);
        }
        let (per_s, burst) = (self.limits.sends_per_s, self.limits.sends_burst);
        self.buckets.retain(|_, bucket| !bucket.is_full(per_s, burst, now));
        if self.in_flight.is_none() && self.home.has_step() {
            self.submit()?;
        }
        Ok(())
    }

    /// Moves the effects of what was just decided into the outputs, with the sessions they are for:
    /// those open now. `except`: the session that caused them.
    pub(super) fn collect_effects(&mut self, except: Option<SessionNo>) {
        let effects: Vec<Effect> = self.home.drain_effects().collect();
        for effect in effects {
            let to = match &effect {
                Effect::Message { entry, .. } => self.listeners(entry.channel(), except),
                Effect::Marked { channel, .. } | Effect::Channel { channel, .. } => {
                    self.listeners(*channel, None)
                }
                Effect::Owed { .. } | Effect::Marks { .. } => Vec::new(),
            };
            self.outputs.push(Output::Effect { effect, to });
        }
    }

    fn listeners(
        &mut self,
        channel: homing_wire::ChannelId,
        except: Option<SessionNo>,
    ) -> Vec<SessionNo> {
        let own = self.home.id();
        let store = self.store.clone();
        // A channel that an effect names is in memory.
        let Ok(Some(state)) = self.home.channel(&*store, channel) else { return Vec::new() };
        state
            .members
            .iter()
            .filter(|m| m.user.home == own)
            .filter_map(|m| self.users.get(&m.user.local))
            .flatten()
            .copied()
            .filter(|no| Some(*no) != except)
            .collect()
    }

    /// Tells what is on disk.
    fn publish(&mut self, outputs: Vec<Output>) -> Result<(), HubError> {
        for output in outputs {
            match output {
                Output::Answer { session, number, result } => {
                    if let Err(refused) = result.as_ref() {
                        self.metrics.refusal(&refused.reason);
                    }
                    self.put(session, ToClient::Answer { call: number, result });
                }
                Output::Read { session, number, job } => {
                    let (reply, result) = oneshot::channel();
                    self.put(session, ToClient::Later { call: number, result });
                    let (store, shower) = (self.store.clone(), self.shower.clone());
                    let places = self.reads.clone();
                    self.runtime.spawn(async move {
                        let Ok(_place) = places.acquire_owned().await else { return };
                        let read = tokio::task::spawn_blocking(move || {
                            let _client_gone = reply.send(job.run(&*store, &shower));
                        });
                        let _panicked_reads_answer_internal = read.await;
                    });
                }
                Output::Effect { effect, to } => self.publish_effect(effect, &to)?,
                Output::Reply(reply) => reply(),
                Output::Revoke { user, device } => self.revoke(&user, device),
            }
        }
        Ok(())
    }

    fn publish_effect(&mut self, effect: Effect, to: &[SessionNo]) -> Result<(), HubError> {
        match effect {
            Effect::Message { entry, change } => {
                if to.is_empty() || !entry.event.header.kind.is_message() {
                    return Ok(());
                }
                let message = Arc::new(self.shower.message(&entry));
                for session in to {
                    self.notify(*session, change, |sync| homing_link::Notice::Message {
                        message: message.clone(),
                        sync,
                    });
                }
            }
            Effect::Marked { channel, user, mark, at, change } => {
                let address = self.shower.address(&user);
                let own = user.home == self.home.id();
                for session in to {
                    let mine = own && self.user_of(*session).is_some_and(|u| u == user.local);
                    if mine {
                        self.notify_channel(*session, channel, change)?;
                    } else {
                        self.notify(*session, change, |sync| homing_link::Notice::Receipt {
                            channel,
                            user: address.clone(),
                            delivered: mark.delivered.0,
                            read: mark.read.0,
                            at,
                            sync,
                        });
                    }
                }
            }
            Effect::Channel { channel, change } => {
                for session in to {
                    self.notify_channel(*session, channel, change)?;
                }
            }
            Effect::Owed { peer, channel, parties, acked, upto } => {
                if let Some(satchel) = self.connected(&peer) {
                    satchel.owe(channel, OwedChannel { parties, acked, upto });
                } else {
                    self.want(peer);
                }
            }
            Effect::Marks { peer, channel, marks } => {
                if let Some(satchel) = self.connected(&peer) {
                    satchel.mark(channel, marks);
                } else {
                    self.want(peer);
                }
            }
        }
        Ok(())
    }

    fn connected(&self, peer: &HomeId) -> Option<&Arc<Satchel>> {
        self.live.homes.get(peer).filter(|l| l.connected)?;
        self.satchels.get(peer)
    }

    fn notify_channel(
        &mut self,
        session: SessionNo,
        channel: homing_wire::ChannelId,
        change: u64,
    ) -> Result<(), HubError> {
        let Some(user) = self.user_of(session) else { return Ok(()) };
        let store = self.store.clone();
        let Some(view) = self.shower.channel(&mut self.home, &*store, &user, channel)? else {
            return Ok(());
        };
        self.notify(session, change, |sync| homing_link::Notice::Channel {
            channel: Box::new(view),
            sync,
        });
        Ok(())
    }

    fn notify(
        &mut self,
        session: SessionNo,
        change: u64,
        notice: impl FnOnce(homing_link::SyncPoint) -> homing_link::Notice,
    ) {
        let Some(entry) = self.sessions.get(&session) else { return };
        let change = entry.sync_cap.map_or(change, |cap| cap.min(change));
        let sync = homing_link::SyncPoint { life: self.home.epoch().0, change };
        self.put(session, ToClient::Notice(Box::new(notice(sync))));
    }

    fn user_of(&self, session: SessionNo) -> Option<Local> {
        self.sessions.get(&session)?.user.as_ref().map(|(user, _)| user.clone())
    }

    /// Puts something before a client; one that does not read is let go.
    pub(super) fn put(&mut self, session: SessionNo, item: ToClient) {
        if let Some(entry) = self.sessions.get(&session)
            && let Err(overflow) = entry.outbox.put(item)
        {
            debug!(?session, from = %entry.client.from, %overflow, "session ends");
            self.forget(session);
        }
    }

    pub(super) fn forget(&mut self, session: SessionNo) {
        let Some(entry) = self.sessions.remove(&session) else { return };
        self.metrics.sessions.store(self.sessions.len() as u64, Ordering::Relaxed);
        if let Some((user, _)) = entry.user
            && let Some(list) = self.users.get_mut(&user)
        {
            list.retain(|no| *no != session);
            if list.is_empty() {
                self.users.remove(&user);
            }
        }
    }

    fn revoke(&mut self, user: &Local, device: DeviceId) {
        for session in self.users.get(user).cloned().unwrap_or_default() {
            let Some(entry) = self.sessions.get(&session) else { continue };
            if entry.user.as_ref().is_some_and(|(_, d)| *d == device) {
                entry.outbox.close(CloseReason::Revoked);
                self.forget(session);
            }
        }
    }

    /// An input that is no call.
    fn take(&mut self, input: Input) -> Result<(), HubError> {
        let now = (self.now)();
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
            Input::Logout { token, reply } => {
                let result = match homing_core::Reader::device(&*store, token)? {
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
            Input::Range { peer, range, reply } => {
                let result = self.home.receive_range(&*store, now, peer, &range)?;
                if let Ok(done) = &result {
                    self.metrics.received.fetch_add(done.applied as u64, Ordering::Relaxed);
                }
                self.collect_effects(None);
                self.reply(move || drop(reply.send(result)));
            }
            Input::Marks { peer, channel, marks, reply } => {
                let result = self.home.receive_marks(&*store, now, peer, channel, &marks)?;
                self.collect_effects(None);
                self.reply(move || drop(reply.send(result)));
            }
            Input::Acknowledged { peer, channel, epoch, have } => {
                if let Err(fault) = self.home.acknowledged(&*store, peer, channel, epoch, have)? {
                    self.metrics.peer_fault(fault.0);
                    warn!(%peer, %channel, reason = fault.0, "a peer's acknowledgement makes no sense");
                }
            }
            Input::MarksAcknowledged { peer, channel } => {
                self.home.marks_acknowledged(&*store, peer, channel)?;
            }
            Input::RefusedBy { peer, channel, reason } => {
                info!(peer = %self.directory.show(&peer), %channel, reason, "a home takes nothing of a channel");
                self.home.refused_by(&*store, peer, channel, &reason)?;
                self.collect_effects(None);
            }
            Input::LookedUp { user, found } => self.looked_up(user, found)?,
            Input::Control { control, reply } => self.control(control, reply)?,
            Input::Drain { done } => {
                self.draining = Some(done);
                for session in self.sessions.values() {
                    session.outbox.close(CloseReason::Restarting);
                }
                self.home.tick(&*store, now)?;
                self.collect_effects(None);
                if self.in_flight.is_none() && self.home.has_step() {
                    self.submit()?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn reply(&mut self, reply: impl FnOnce() + Send + 'static) {
        self.outputs.push(Output::Reply(Box::new(reply)));
    }

    fn control(
        &mut self,
        control: Control,
        reply: oneshot::Sender<Result<ControlReply, ControlError>>,
    ) -> Result<(), HubError> {
        let now = (self.now)();
        let store = self.store.clone();
        let result = match crate::control::apply(&mut self.home, &*store, now, &self.live, control)
        {
            Ok(applied) => {
                for effect in applied.effects {
                    self.control_effect(effect);
                }
                Ok(applied.reply)
            }
            Err(ControlError::Fault(fault)) => return Err(fault.into()),
            Err(error) => Err(error),
        };
        self.collect_effects(None);
        self.reply(move || drop(reply.send(result)));
        Ok(())
    }

    fn control_effect(&mut self, effect: ControlEffect) {
        let net = self.net.clone();
        match effect {
            ControlEffect::SignOut { user, devices } => {
                for device in devices {
                    self.outputs.push(Output::Revoke { user: user.clone(), device });
                }
            }
            ControlEffect::Retry(peer) => {
                let peers = match peer {
                    Some(peer) => vec![peer],
                    None => self.wanted.iter().copied().collect(),
                };
                for peer in &peers {
                    self.want(*peer);
                }
                self.runtime.spawn(async move {
                    for peer in peers {
                        net.retry_now(peer).await;
                    }
                });
            }
            ControlEffect::Blocked(peer) => {
                self.gatekeeper.blocked.write().insert(peer);
                self.wanted.remove(&peer);
                self.runtime.spawn(async move {
                    net.unwant(peer).await;
                    net.disconnect(peer, "blocked").await;
                });
            }
            ControlEffect::Unblocked(peer) => {
                self.gatekeeper.blocked.write().remove(&peer);
            }
        }
    }

    /// Another home is to be reached, for something is owed to it or is asked of it.
    pub(super) fn want(&mut self, peer: HomeId) {
        if self.gatekeeper.blocked.read().contains(&peer) || !self.wanted.insert(peer) {
            return;
        }
        let addresses = match self.directory.addresses(&peer) {
            [] => self.recorded_addresses(&peer),
            pinned => pinned.to_vec(),
        };
        let net = self.net.clone();
        let name = self.directory.show(&peer);
        self.runtime.spawn(async move {
            if let Err(error) = net.want(peer, addresses).await {
                warn!(peer = %name, %error, "an address of a home cannot be dialled: correct its pin");
            }
        });
    }

    fn recorded_addresses(&self, peer: &HomeId) -> Vec<String> {
        let Ok(peers) = homing_core::Reader::peers(&*self.store) else { return Vec::new() };
        peers
            .into_iter()
            .filter(|p| p.home == *peer)
            .filter_map(|p| homing_wire::HomeRecord::verify(&p.record).ok())
            .flat_map(|record| record.nodes.into_iter().flat_map(|n| n.addresses))
            .collect()
    }

    fn want_owed(&mut self) {
        let owed: Vec<HomeId> = self.home.owed().keys().copied().collect();
        for peer in owed {
            self.want(peer);
        }
    }

    fn net_event(&mut self, event: NetEvent) -> Result<(), HubError> {
        let now = (self.now)();
        match event {
            NetEvent::Listening { address } => debug!(address, "listening for homes"),
            NetEvent::PeerUp { home, hello, .. } => {
                info!(peer = %self.directory.show(&home), software = %hello.software, "home connected");
                let live = self.live(home);
                live.connected = true;
                live.since = Some(now);
                live.last_error = None;
                live.attempts = 0;
                live.retry_at = None;
                self.count_peers();
                let name = self.directory.name(&home).cloned();
                let blocked = self.gatekeeper.blocked.read().contains(&home);
                self.home.put_peer(PeerState {
                    home,
                    name,
                    record: hello.signed_record.to_vec(),
                    epoch: hello.epoch,
                    boot: hello.boot,
                    seen_at: now,
                    blocked,
                });
            }
            NetEvent::PeerDown { home, reason } => {
                info!(peer = %self.directory.show(&home), reason = %reason, "home disconnected");
                // Who is wanted is dialled again by the network itself.
                let live = self.live(home);
                live.connected = false;
                live.since = Some(now);
                live.last_error = Some(reason.to_owned());
                self.count_peers();
            }
            NetEvent::DialFailed { home, reason, message, attempts, retry_in } => {
                let name = self.directory.show(&home);
                let live = self.live(home);
                if attempts == 1 {
                    warn!(peer = %name, reason, message, "cannot reach a home; trying on");
                }
                live.last_error = Some(format!("{reason}: {message}"));
                live.attempts = attempts;
                live.retry_at =
                    Some(now + u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX >> 1));
            }
            NetEvent::Refused { home, direction, reason, message } => {
                self.metrics.peer_fault(&reason);
                warn!(peer = ?home, ?direction, reason, message, "hello refused");
                if let Some(home) = home {
                    self.live(home).last_error = Some(format!("{reason}: {message}"));
                }
            }
            NetEvent::RelayOut { home, link } => {
                let satchel = self.satchel(home);
                satchel.open(link);
                let store = self.store.clone();
                self.home.resume(&*store, home)?;
                self.collect_effects(None);
            }
            NetEvent::RelayIn { home, link } => {
                let receiver = Receiver {
                    peer: home,
                    hub: self.input.clone(),
                    net: self.net.clone(),
                    metrics: self.metrics.clone(),
                };
                self.runtime.spawn(receiver.run(link));
            }
            NetEvent::Query { home, query, reply } => {
                let answer = self.answer_query(home, query)?;
                self.reply(move || drop(reply.send(answer)));
            }
        }
        Ok(())
    }

    fn live(&mut self, home: HomeId) -> &mut PeerLive {
        let name = self.directory.name(&home);
        self.live
            .homes
            .entry(home)
            .or_insert_with(|| PeerLive { name: name.cloned(), ..PeerLive::default() })
    }

    fn count_peers(&self) {
        let count = self.live.homes.values().filter(|l| l.connected).count();
        self.metrics.peers.store(count as u64, Ordering::Relaxed);
    }

    fn satchel(&mut self, peer: HomeId) -> Arc<Satchel> {
        if let Some(satchel) = self.satchels.get(&peer) {
            return satchel.clone();
        }
        let satchel = Arc::new(Satchel::default());
        self.satchels.insert(peer, satchel.clone());
        let courier = Courier {
            peer,
            home: self.home.id(),
            epoch: self.home.epoch(),
            store: self.store.clone(),
            satchel: satchel.clone(),
            hub: self.input.clone(),
            window_bytes: self.limits.relay_window_bytes,
            metrics: self.metrics.clone(),
        };
        self.runtime.spawn(courier.run());
        satchel
    }

    fn answer_query(
        &mut self,
        home: HomeId,
        query: pb_query::Query,
    ) -> Result<pb_query::Answer, HubError> {
        let store = self.store.clone();
        let refusal = |reason: &str, message: &str| pb_query::Answer {
            answer: Some(pb_query::answer::Answer::Refusal(pb_query::Refusal {
                reason: reason.to_owned(),
                message: message.to_owned(),
            })),
        };
        let Some(pb_query::query::Query::User(user)) = query.query else {
            return Ok(refusal("unknown_query", "this home does not know that question"));
        };
        debug!(peer = %home, "look-up of a user");
        let account = match Local::canonical(&user.local) {
            Ok(local) => self.home.account(&*store, &local)?.cloned(),
            Err(_) => None,
        };
        Ok(match account.filter(|a| a.state != homing_core::AccountState::Deleted) {
            Some(account) => pb_query::Answer {
                answer: Some(pb_query::answer::Answer::User(pb_query::UserAnswer {
                    local: account.local.to_string(),
                    user_id: account.user_id.as_bytes().to_vec().into(),
                    display_name: account.display_name,
                })),
            },
            None => refusal("user_not_found", "there is no such user, or it takes no strangers"),
        })
    }

    /// Asks another home whether it has a user; the answer comes as an input.
    pub(super) fn look_up(&mut self, user: UserRef) {
        self.want(user.home);
        let (net, input, within) = (self.net.clone(), self.input.clone(), self.limits.lookup);
        self.runtime.spawn(async move {
            let query = pb_query::Query {
                query: Some(pb_query::query::Query::User(pb_query::UserQuery {
                    local: user.local.to_string(),
                })),
            };
            let found = match tokio::time::timeout(within, net.query(user.home, query)).await {
                Ok(Ok(pb_query::Answer {
                    answer: Some(pb_query::answer::Answer::User(found)),
                })) => match homing_wire::UserId::from_slice(&found.user_id) {
                    Ok(id) => Lookup::Found {
                        user_id: id.to_string(),
                        display_name: found.display_name.chars().take(256).collect(),
                    },
                    Err(_) => Lookup::Missing,
                },
                Ok(Ok(pb_query::Answer { answer: Some(pb_query::answer::Answer::Refusal(_)) })) => {
                    Lookup::Missing
                }
                Ok(Ok(pb_query::Answer { answer: None })) | Ok(Err(_)) | Err(_) => Lookup::Away,
            };
            let _stopping = input.send(Input::LookedUp { user, found }).await;
        });
    }

    /// Logs what ended the hub, in words an operator can act on.
    pub(super) fn log_end(result: &Result<(), HubError>) {
        if let Err(error) = result {
            error!(%error, "node stopped; check the disk, then start it again: nothing answered is lost");
        }
    }
}

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
            };
            let mut refused = Refused::new(code, refusal.reason, refusal.message);
            refused.limit = refusal.limit;
            Ok(refused)
        }
    }
}

pub(super) fn bad_token() -> Refused {
    Refused::new(Code::NotSignedIn, "bad_token", "this token is unknown or revoked: log in again")
}
