//! Other homes, and what operators ask of this one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use homing_core::presence::Seen;
use homing_core::{PeerFault, PeerState};
use homing_net::{Direction, NetEvent};
use homing_wire::proto::query::v1 as pb_query;
use homing_wire::{Epoch, HomeId, Local, SigningKeys, UserRef};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::avatars::avatar_told;
use super::courier::{Courier, Satchel};
use super::hearing::Heard;
use super::hub::{Hub, HubError, Output};
use super::input::{ConnectionNo, Input, Lookup};
use super::receiver::Receiver;
use super::starts::{Superseded, superseded};
use crate::control::{Control, ControlEffect, ControlError, ControlReply, PeerLive};

/// Refused homes of which nothing else is known are listed up to so many: an identity costs nothing, and a list that an
/// operator reads is no longer.
pub(super) const STRANGERS: usize = 64;
/// Lines of the log about those, a minute: enough to see who it is, and that there are more.
const STRANGER_LINES: u32 = 10;

/// Lines about strangers in the running minute.
#[derive(Default)]
pub(super) struct LinePace {
    minute: u64,
    lines: u32,
    left_out: u64,
}

impl LinePace {
    /// Whether a line may be written; and how many were left out before, once a new minute has begun.
    fn take(&mut self, now_ms: u64) -> (bool, u64) {
        let minute = now_ms / 60_000;
        let mut left_out = 0;
        if minute != self.minute {
            left_out = self.left_out;
            *self = Self { minute, ..Self::default() };
        }
        self.lines = self.lines.saturating_add(1);
        let may = self.lines <= STRANGER_LINES;
        self.left_out += u64::from(!may);
        (may, left_out)
    }
}

impl Hub {
    /// Another home is to be reached, for something is owed to it or is asked of it.
    pub(super) fn want(&mut self, peer: HomeId) {
        if self.gatekeeper.blocked.read().contains(&peer) || !self.wanted.insert(peer) {
            return;
        }
        self.strangers.retain(|stranger| *stranger != peer);
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

    pub(super) fn recorded_addresses(&self, peer: &HomeId) -> Vec<String> {
        let Ok(peers) = homing_core::Reader::peers(&*self.store) else { return Vec::new() };
        peers
            .into_iter()
            .filter(|p| p.home == *peer)
            .filter_map(|p| homing_wire::HomeRecord::verify(&p.record).ok())
            .flat_map(|record| record.nodes.into_iter().flat_map(|n| n.addresses))
            .collect()
    }

    pub(super) fn want_owed(&mut self) {
        for peer in self.home.waited_for() {
            self.want(peer);
        }
    }

    pub(super) fn net_event(&mut self, event: NetEvent) -> Result<(), HubError> {
        let now = self.now_ms();
        match event {
            // They go another way: the hub would only be in theirs.
            NetEvent::Media { reply, .. } => reply.refuse("not_here", "ask again", None),
            NetEvent::Listening { address } => debug!(address, "listening for homes"),
            NetEvent::PeerUp { home, record, hello } => {
                info!(peer = %self.directory.show(&home), software = %hello.software, "home connected");
                self.strangers.retain(|stranger| *stranger != home);
                let live = self.live(home);
                live.connected = true;
                live.since = Some(now);
                live.last_error = None;
                live.attempts = 0;
                live.retry_at = None;
                self.count_peers();
                self.clocks.heard(home, self.moment(), hello.clock_ms);
                self.compare_clocks();
                // Its hello may have been heard just before it was cut.
                if self.gatekeeper.faults.refused_for(&home, Instant::now()).is_some() {
                    self.connections.remove(&home);
                    let net = self.net.clone();
                    self.runtime.spawn(async move { net.disconnect(home, "misbehaved").await });
                    return Ok(());
                }
                let connection = ConnectionNo(self.number());
                self.connections.insert(home, connection);
                let name = self.directory.name(&home).cloned();
                let blocked = self.gatekeeper.blocked.read().contains(&home);
                self.peer_keys.insert(home, SigningKeys(record.signing_keys.clone()));
                // Whoever is new is asked what it holds: it may know this home from before a restore.
                let known = self.home.peer(&home);
                let reconcile = known.is_none_or(|known| known.reconcile);
                let (letters, letters_done) =
                    known.map_or((0, (Epoch(0), 0)), |known| (known.letters, known.letters_done));
                let joining = known.map(|known| known.joining.clone()).unwrap_or_default();
                let statements = self.gatekeeper.starts.note(home, &record, &hello);
                self.home.meets(PeerState {
                    statements,
                    letters,
                    letters_done,
                    joining,
                    reconcile,
                    home,
                    name,
                    record: hello.signed_record.to_vec(),
                    epoch: hello.epoch,
                    boot: hello.boot,
                    seen_at: now,
                    blocked,
                });
                if reconcile {
                    self.start_repair(home)?;
                }
            }
            NetEvent::PeerDown { home, reason } => {
                info!(peer = %self.directory.show(&home), reason = %reason, "home disconnected");
                if let Some(known) = self.home.peer(&home).cloned() {
                    self.home.put_peer(PeerState { seen_at: now, ..known });
                }
                // Who is wanted is dialled again by the network itself.
                self.stop_repair(&home);
                self.people_gone(&home);
                self.clocks.gone(&home);
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
            NetEvent::Refused { home, direction, reason, message, evidence } => {
                let ours = matches!(direction, Direction::ByUs);
                // What a peer says of us is its word, of which there are as many as it likes.
                self.metrics.peer_fault(if ours { &reason } else { "refused_by_peer" });
                let is_news = self.refused_hello(home, format!("{reason}: {message}"));
                // That was said when it was cut.
                let is_news = is_news && !(ours && reason == "misbehaved");
                if is_news {
                    warn!(peer = ?home, ?direction, reason, message, "hello refused");
                } else {
                    debug!(peer = ?home, ?direction, reason, message, "hello refused");
                }
                if !evidence.is_empty() {
                    self.shown_of_itself(home, &evidence, is_news)?;
                }
            }
            NetEvent::RelayOut { home, link } => {
                let Some(connection) = self.connections.get(&home).copied() else { return Ok(()) };
                let satchel = self.satchel(home);
                satchel.open(connection, link);
                self.gossip_resume(home)?;
                self.people_resume(home)?;
                let store = self.store.clone();
                self.home.resume(&*store, home)?;
                self.collect_effects(None)?;
            }
            NetEvent::RelayIn { home, link } => {
                let Some(connection) = self.connections.get(&home).copied() else { return Ok(()) };
                let heard = Arc::new(Heard::default());
                self.gossip.heard.insert(home, heard.clone());
                let receiver = Receiver {
                    heard,
                    peer: home,
                    name: self.directory.show(&home),
                    connection,
                    keys: self.peer_keys.get(&home).cloned().unwrap_or_default(),
                    hub: self.input.clone(),
                    net: self.net.clone(),
                    metrics: self.metrics.clone(),
                    faults: self.gatekeeper.faults.clone(),
                };
                self.runtime.spawn(receiver.run(link));
            }
            NetEvent::Query { home, query, reply } => match query.query {
                Some(pb_query::query::Query::Holdings(asked)) => {
                    self.answer_holdings(home, &asked, reply);
                }
                Some(pb_query::query::Query::Range(asked)) => {
                    self.answer_range(home, &asked, reply);
                }
                Some(pb_query::query::Query::Roster(asked)) => {
                    self.answer_roster(home, &asked, reply);
                }
                Some(pb_query::query::Query::User(asked)) => {
                    let answer = self.answer_user(home, &asked)?;
                    self.reply(move || drop(reply.send(answer)));
                }
                // The network answers those by itself.
                Some(pb_query::query::Query::Statement(_) | pb_query::query::Query::Clock(_))
                | None => {
                    let answer = refusal("unknown_query", "this home does not know that question");
                    drop(reply.send(answer));
                }
            },
            // Who passed it on says nothing of whose it is.
            NetEvent::Gossip { from: _, topic, payload, message } => {
                self.gossip_came(topic, payload, message);
            }
        }
        Ok(())
    }

    /// Notes that a hello ended in a refusal. Whether the operator is to be told: of a home that matters here once for
    /// each new reason, of strangers a few a minute.
    fn refused_hello(&mut self, home: Option<HomeId>, why: String) -> bool {
        let known = home.filter(|home| self.matters(home));
        if let Some(home) = known {
            let before = self.live(home).last_error.replace(why);
            return before != self.live(home).last_error;
        }
        if let Some(home) = home {
            self.strangers.retain(|stranger| *stranger != home);
            self.strangers.push_back(home);
            if self.strangers.len() > STRANGERS
                && let Some(longest_ago) = self.strangers.pop_front()
            {
                self.live.homes.remove(&longest_ago);
            }
            self.live(home).last_error = Some(why);
        }
        let (may, left_out) = self.stranger_lines.take((self.now)());
        if left_out > 0 {
            warn!(left_out, "more hellos of unknown homes were refused than are told");
        }
        may
    }

    /// Whether a home is more than somebody who knocks: it was let in once, is pinned, or something is owed to it.
    fn matters(&self, home: &HomeId) -> bool {
        self.wanted.contains(home)
            || self.directory.name(home).is_some()
            || self.home.peer(home).is_some()
            || self.home.owed().contains_key(home)
    }

    /// A number that was not given before.
    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// A home refuses this one and shows what is signed by this home itself. If it is, this node stops.
    fn shown_of_itself(
        &self,
        home: Option<HomeId>,
        evidence: &[u8],
        is_news: bool,
    ) -> Result<(), HubError> {
        let own = self.gatekeeper.said(None);
        let peer = home.map_or_else(|| "a home".to_owned(), |home| self.directory.show(&home));
        match superseded(&own, &SigningKeys(vec![self.signer.public()]), evidence) {
            Ok(Superseded::Cloned) => Err(HubError::Cloned { peer }),
            // In a later life: what begins another has to begin after that one.
            Ok(Superseded::RolledBack(epoch, _)) if epoch > own.epoch => {
                Err(HubError::LaterLife { peer, epoch: epoch.0 })
            }
            Ok(Superseded::RolledBack(epoch, boot)) => {
                let (own_epoch, own_boot) = own.start();
                Err(HubError::RolledBack { peer, epoch, boot, own_epoch, own_boot })
            }
            Err(why) => {
                self.metrics.peer_fault(why);
                if is_news {
                    warn!(
                        peer,
                        reason = why,
                        "a home refuses this one for what it says this one was: it proves nothing, and is ignored"
                    );
                }
                Ok(())
            }
        }
    }

    pub(super) fn live(&mut self, home: HomeId) -> &mut PeerLive {
        let name = self.directory.name(&home);
        self.live
            .homes
            .entry(home)
            .or_insert_with(|| PeerLive { name: name.cloned(), ..PeerLive::default() })
    }

    pub(super) fn count_peers(&self) {
        let count = self.live.homes.values().filter(|l| l.connected).count();
        self.metrics.peers.store(count as u64, Ordering::Relaxed);
    }

    pub(super) fn satchel(&mut self, peer: HomeId) -> Arc<Satchel> {
        if let Some(satchel) = self.satchels.get(&peer) {
            return satchel.clone();
        }
        let satchel = Arc::new(Satchel::default());
        self.satchels.insert(peer, satchel.clone());
        let courier = Courier {
            peer,
            name: self.directory.show(&peer),
            home: self.home.id(),
            epoch: self.home.epoch(),
            signer: self.signer.clone(),
            store: self.store.clone(),
            satchel: satchel.clone(),
            hub: self.input.clone(),
            net: self.net.clone(),
            limits: self.limits.courier,
            metrics: self.metrics.clone(),
            faults: self.gatekeeper.faults.clone(),
            now: self.now,
        };
        self.runtime.spawn(courier.run());
        satchel
    }

    pub(super) fn connected(&self, peer: &HomeId) -> Option<&Arc<Satchel>> {
        self.live.homes.get(peer).filter(|l| l.connected)?;
        self.satchels.get(peer)
    }

    /// A peer did what no honest home does, and is let go: it may come back after a while. What it has sent besides is
    /// ignored: a frame names thousands of channels, and each may be as wrong.
    pub(super) fn at_fault(&mut self, peer: HomeId, fault: PeerFault) {
        self.connections.remove(&peer);
        self.metrics.peer_fault(fault.0);
        let verdict = self.gatekeeper.faults.lie(peer, Instant::now());
        verdict.log(&self.directory.show(&peer), fault.0);
        let net = self.net.clone();
        self.runtime.spawn(async move { net.disconnect(peer, fault.0).await });
    }

    fn answer_user(
        &mut self,
        home: HomeId,
        user: &pb_query::UserQuery,
    ) -> Result<pb_query::Answer, HubError> {
        let store = self.store.clone();
        debug!(peer = %home, "look-up of a user");
        let account = match Local::canonical(&user.local) {
            Ok(local) => self.home.account(&*store, &local)?.cloned(),
            Err(_) => None,
        };
        Ok(match account.filter(|a| a.state != homing_core::AccountState::Deleted) {
            Some(account) => {
                let seen = match Local::canonical(&user.asker) {
                    Ok(asker) => {
                        let who = self.home.user(&account.local);
                        self.seen_by(&UserRef::new(home, asker), &who)?
                    }
                    Err(_) => None,
                };
                let avatar = avatar_told(&*store, &account)?;
                let seen = seen.map(|seen| pb_query::Seen {
                    online: seen.online,
                    last_seen: seen.last_ms.unwrap_or(0),
                });
                pb_query::Answer {
                    answer: Some(pb_query::answer::Answer::User(pb_query::UserAnswer {
                        local: account.local.to_string(),
                        user_id: account.user_id.as_bytes().to_vec().into(),
                        display_name: account.display_name,
                        seen,
                        avatar,
                    })),
                }
            }
            None => refusal("user_not_found", "there is no such user, or it takes no strangers"),
        })
    }

    /// Asks another home whether it has a user, and how the user is, as `asker` may see it; the answer comes as an input.
    pub(super) fn look_up(&mut self, user: UserRef, asker: Option<Local>) {
        self.want(user.home);
        let now_ms = self.now_ms();
        let (net, input, within) = (self.net.clone(), self.input.clone(), self.limits.lookup);
        let (shower, avatar_bytes) = (self.shower.clone(), self.limits.avatar_bytes);
        self.runtime.spawn(async move {
            let query = pb_query::Query {
                query: Some(pb_query::query::Query::User(pb_query::UserQuery {
                    local: user.local.to_string(),
                    asker: asker.as_ref().map_or_else(String::new, ToString::to_string),
                })),
            };
            let found = match tokio::time::timeout(within, net.query(user.home, query)).await {
                Ok(Ok(pb_query::Answer {
                    answer: Some(pb_query::answer::Answer::User(found)),
                })) => match homing_wire::UserId::from_slice(&found.user_id) {
                    Ok(id) => Lookup::Found {
                        user_id: id.to_string(),
                        display_name: found.display_name.chars().take(256).collect(),
                        avatar: found
                            .avatar
                            .and_then(|told| shower.told_avatar(&user.home, &told, avatar_bytes))
                            .map(Box::new),
                        seen: asker.zip(found.seen).map(|(asker, seen)| {
                            let last_ms = (seen.last_seen > 0).then_some(seen.last_seen);
                            let last_ms = last_ms.filter(|_| !seen.online);
                            let last_ms = last_ms.map(|ms| ms.min(now_ms));
                            (asker, Seen { online: seen.online, last_ms })
                        }),
                    },
                    Err(_) => Lookup::Missing,
                },
                Ok(Ok(pb_query::Answer { answer: Some(pb_query::answer::Answer::Refusal(_)) })) => {
                    Lookup::Missing
                }
                Ok(Ok(pb_query::Answer { answer: _ })) | Ok(Err(_)) | Err(_) => Lookup::Away,
            };
            let _stopping = input.send(Input::LookedUp { user, found }).await;
        });
    }

    pub(super) fn control(
        &mut self,
        control: Control,
        reply: oneshot::Sender<Result<ControlReply, ControlError>>,
    ) -> Result<(), HubError> {
        let now = self.now_ms();
        let store = self.store.clone();
        let mut opened = None;
        if let Control::UserState { user, active: true } = &control {
            opened = Some(user.clone());
        }
        let result = match crate::control::apply(&mut self.home, &*store, now, &self.live, control)
        {
            Ok(applied) => {
                for effect in applied.effects {
                    self.control_effect(effect);
                }
                if let Some(user) = opened {
                    self.reconsider(&user, None);
                }
                Ok(applied.reply)
            }
            Err(ControlError::Fault(fault)) => return Err(fault.into()),
            Err(error) => Err(error),
        };
        self.collect_effects(None)?;
        self.reply(move || drop(reply.send(result)));
        Ok(())
    }

    pub(super) fn control_effect(&mut self, effect: ControlEffect) {
        let net = self.net.clone();
        match effect {
            ControlEffect::SignOut { user, devices } => {
                for device in devices {
                    self.outputs.push(Output::Revoke { user: user.clone(), device });
                }
                self.reconsider(&user, None);
                self.departing.push_back((user, None));
            }
            ControlEffect::Retry(peer) => {
                self.gatekeeper.faults.pardon(peer.as_ref());
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
                // What is owed is seen to by the tick.
                if self.directory.name(&peer).is_some() {
                    self.want(peer);
                }
            }
        }
    }
}

/// An answer that is none.
pub(super) fn refusal(reason: &str, message: &str) -> pb_query::Answer {
    pb_query::Answer {
        answer: Some(pb_query::answer::Answer::Refusal(pb_query::Refusal {
            reason: reason.to_owned(),
            message: message.to_owned(),
        })),
    }
}
