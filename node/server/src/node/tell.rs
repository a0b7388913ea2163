//! Who is told what, and when: nothing before the step it follows from is on disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use homing_core::{ChannelState, Effect, Fault, Folded, LogEntry, Mark, Member, OwedChannel};
use homing_link::{CloseReason, MessageView, Overflow, SessionNo, ToClient};
use homing_wire::{DeviceId, Local, Pos};
use tokio::sync::oneshot;
use tracing::debug;

use super::hub::{Hub, HubError, Output};
use super::read::ReadJob;
use super::show::shows;

impl Hub {
    /// Moves the effects of what was just decided into the outputs, with the sessions they are for:
    /// those open now. `except`: the session that caused them.
    pub(super) fn collect_effects(&mut self, except: Option<SessionNo>) -> Result<(), HubError> {
        let effects: Vec<Effect> = self.home.drain_effects().collect();
        for effect in effects {
            match effect {
                Effect::Message { ref entry, .. } | Effect::Rejected { ref entry, .. } => {
                    let to = self.readers(entry, except)?;
                    self.outputs.push(Output::Effect { effect, to });
                }
                Effect::Changed { ref message, ref by, .. } => {
                    let to = self.readers(&message.entry, except)?;
                    let told = |session: &SessionNo| {
                        let user = self.user_of(*session).map(|user| self.home.user(&user));
                        let sees = |user| by.as_ref().is_none_or(|by| by.is_shown_to(user));
                        user.as_ref().is_some_and(sees)
                    };
                    let to = to.into_iter().filter(told).collect();
                    self.outputs.push(Output::Effect { effect, to });
                }
                Effect::Marked { channel, ref user, mark, at, quiet, only_read, change } => {
                    // The user's own devices see the channel change; the others, how far the user has got, and of what
                    // was read nothing where they let nobody see that of themselves.
                    let own = user.home == self.home.id();
                    let (mine, others): (Vec<_>, Vec<_>) = self
                        .insiders(channel)?
                        .into_iter()
                        .partition(|no| own && self.user_of(*no).is_some_and(|u| u == user.local));
                    if !quiet {
                        let (others, unseeing) = self.by_sight(others)?;
                        if !only_read && !unseeing.is_empty() {
                            let mark = Mark { read: Pos(0), ..mark };
                            let user = user.clone();
                            let effect = Effect::Marked {
                                channel,
                                user,
                                mark,
                                at,
                                quiet,
                                only_read,
                                change,
                            };
                            self.outputs.push(Output::Effect { effect, to: unseeing });
                        }
                        self.outputs.push(Output::Effect { effect, to: others });
                    }
                    self.show_channel(channel, change, mine)?;
                }
                Effect::Channel { channel, change } => {
                    let to = self.listeners(channel, None)?;
                    self.show_channel(channel, change, to)?;
                }
                Effect::ChannelOf { channel, ref user, answered, change } => {
                    let mut to = self.users.get(user).cloned().unwrap_or_default();
                    to.retain(|no| !answered || Some(*no) != except);
                    self.show_channel(channel, change, to)?;
                }
                Effect::Owed { .. }
                | Effect::Marks { .. }
                | Effect::Pull { .. }
                | Effect::Roster { .. }
                | Effect::Letter { .. }
                | Effect::Settled { .. } => {
                    self.outputs.push(Output::Effect { effect, to: Vec::new() });
                }
            }
        }
        Ok(())
    }

    /// Shows a channel as it is now, once this step is on disk: not as later steps will have it by then.
    pub(super) fn show_channel(
        &mut self,
        channel: homing_wire::ChannelId,
        change: u64,
        to: Vec<SessionNo>,
    ) -> Result<(), HubError> {
        let store = self.store.clone();
        for session in to {
            let Some(user) = self.user_of(session) else { continue };
            let view = self.shower.channel(&mut self.home, &*store, &user, channel)?;
            if let Some(view) = view {
                self.outputs.push(Output::Channel { session, change, view: Box::new(view) });
            }
        }
        Ok(())
    }

    /// Sessions of this home's people in a channel, but for one.
    pub(super) fn listeners(
        &mut self,
        channel: homing_wire::ChannelId,
        except: Option<SessionNo>,
    ) -> Result<Vec<SessionNo>, Fault> {
        self.sessions_of(channel, except, |_, _| true)
    }

    /// The same, but nobody who is only asked into a group.
    fn insiders(&mut self, channel: homing_wire::ChannelId) -> Result<Vec<SessionNo>, Fault> {
        self.sessions_of(channel, None, |state, member| state.group.is_none() || member.accepted)
    }

    /// Sessions of those who see what others have read, and of those who do not.
    fn by_sight(
        &mut self,
        sessions: Vec<SessionNo>,
    ) -> Result<(Vec<SessionNo>, Vec<SessionNo>), Fault> {
        let store = self.store.clone();
        let (mut seeing, mut unseeing) = (Vec::with_capacity(sessions.len()), Vec::new());
        for session in sessions {
            let Some(user) = self.user_of(session) else { continue };
            if self.home.shows_reads(&*store, &user)? {
                seeing.push(session);
            } else {
                unseeing.push(session);
            }
        }
        Ok((seeing, unseeing))
    }

    /// Sessions of those who may read a message. In groups, members see only what was written while they were in.
    fn readers(
        &mut self,
        entry: &LogEntry,
        except: Option<SessionNo>,
    ) -> Result<Vec<SessionNo>, Fault> {
        self.sessions_of(entry.channel(), except, |state, member| {
            entry.is_shown_to(&member.user) && (state.group.is_none() || member.sees(entry.pos))
        })
    }

    /// Sessions of a channel's members of this home, as `wanted` says of each: one look at each member.
    fn sessions_of(
        &mut self,
        channel: homing_wire::ChannelId,
        except: Option<SessionNo>,
        wanted: impl Fn(&ChannelState, &Member) -> bool,
    ) -> Result<Vec<SessionNo>, Fault> {
        let own = self.home.id();
        let store = self.store.clone();
        let Some(state) = self.home.channel(&*store, channel)? else { return Ok(Vec::new()) };
        let listening = state
            .members
            .iter()
            .filter(|m| m.user.home == own && !m.left && m.is_listed() && wanted(state, m))
            .filter_map(|m| self.users.get(&m.user.local))
            .flatten()
            .copied()
            .filter(|no| Some(*no) != except)
            .collect();
        Ok(listening)
    }

    /// Tells what is on disk.
    pub(super) fn publish(&mut self, outputs: Vec<Output>) -> Result<(), HubError> {
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
                    let places = match *job {
                        ReadJob::Search(_) => self.searches.clone(),
                        ReadJob::Messages { .. }
                        | ReadJob::Message { .. }
                        | ReadJob::Users { .. }
                        | ReadJob::Found { .. }
                        | ReadJob::Receipts { .. } => self.reads.clone(),
                    };
                    self.runtime.spawn(async move {
                        let Ok(_place) = places.acquire_owned().await else { return };
                        let read = tokio::task::spawn_blocking(move || {
                            let _client_gone = reply.send(job.run(&*store, &shower));
                        });
                        let _panicked_reads_answer_internal = read.await;
                    });
                }
                Output::Effect { effect, to } => self.publish_effect(effect, &to),
                Output::Channel { session, change, view } => {
                    self.notify(session, change, |sync| homing_link::Notice::Channel {
                        channel: view,
                        sync,
                    });
                }
                Output::Presence { session, change, view } => {
                    self.notify(session, change, |sync| homing_link::Notice::Presence {
                        presence: *view,
                        sync,
                    });
                }
                Output::Typing { to, change, channel, user, typing } => {
                    for session in to {
                        self.notify(session, change, |sync| homing_link::Notice::Typing {
                            channel,
                            user: user.clone(),
                            typing,
                            sync,
                        });
                    }
                }
                Output::SyncCap { session, cap } => {
                    if let Some(entry) = self.sessions.get_mut(&session) {
                        entry.sync_cap = cap;
                    }
                }
                Output::Reply(reply) => reply(),
                Output::Revoke { user, device } => self.revoke(&user, device),
            }
        }
        self.spread()
    }

    pub(super) fn publish_effect(&mut self, effect: Effect, to: &[SessionNo]) {
        match effect {
            Effect::Message { entry, change } => {
                if shows(&entry) {
                    self.tell_message(&entry, None, change, to);
                }
            }
            Effect::Changed { message, by, change } => {
                let at = by.map(|by| by.pos.0);
                self.tell_changed(&message, at, change, to);
            }
            Effect::Rejected { entry, reason, change } => {
                self.tell_message(&entry, Some(&reason), change, to);
            }
            Effect::Marked { channel, user, mark, at, quiet: _, only_read: _, change } => {
                let address = self.shower.address(&user);
                for session in to {
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
            // Became `Output::Channel` when it was decided.
            Effect::Channel { .. } | Effect::ChannelOf { .. } => {}
            Effect::Pull { peer } => {
                if let Some(satchel) = self.connected(&peer) {
                    satchel.pull();
                }
            }
            Effect::Owed { peer, channel, parties, epoch, acked, upto, begins, roster } => {
                let owed = OwedChannel { parties, epoch, acked, upto, begins, roster };
                self.owed(peer, channel, owed);
            }
            Effect::Marks { peer, channel, telling } => {
                if let Some(satchel) = self.connected(&peer) {
                    satchel.mark(channel, telling);
                } else {
                    self.want(peer);
                }
            }
            Effect::Roster { peer, signed } => {
                if let Some(satchel) = self.connected(&peer) {
                    satchel.roster(signed);
                } else {
                    self.want(peer);
                }
            }
            Effect::Letter { peer, number, after, letter } => {
                if let Some(satchel) = self.connected(&peer) {
                    satchel.letter(number, after, letter);
                } else {
                    self.want(peer);
                }
            }
            Effect::Settled { peer, outcome } => self.settled(peer, outcome),
        }
    }

    fn tell_message(
        &mut self,
        entry: &LogEntry,
        rejection: Option<&str>,
        change: u64,
        to: &[SessionNo],
    ) {
        if to.is_empty() {
            return;
        }
        let message = Arc::new(self.shower.plain(entry, rejection));
        for session in to {
            let message = message.clone();
            self.notify(*session, change, |sync| homing_link::Notice::Message {
                message,
                at: None,
                sync,
            });
        }
    }

    /// A message that was changed: each user sees it in another way.
    fn tell_changed(&mut self, message: &Folded, at: Option<u64>, change: u64, to: &[SessionNo]) {
        let mut views: Vec<(Local, Arc<MessageView>)> = Vec::new();
        for session in to {
            let Some(user) = self.user_of(*session) else { continue };
            let view = match views.iter().find(|(of, _)| *of == user) {
                Some((_, view)) => view.clone(),
                None => {
                    let me = self.home.user(&user);
                    let view = Arc::new(self.shower.message(message, &me, None));
                    views.push((user, view.clone()));
                    view
                }
            };
            self.notify(*session, change, |sync| homing_link::Notice::Message {
                message: view,
                at,
                sync,
            });
        }
    }

    pub(super) fn notify(
        &mut self,
        session: SessionNo,
        change: u64,
        notice: impl FnOnce(homing_link::SyncPoint) -> homing_link::Notice,
    ) {
        let Some(entry) = self.sessions.get(&session) else { return };
        let change = entry.sync_cap.map_or(change, |cap| cap.min(change));
        let sync = homing_link::SyncPoint { life: self.home.epoch().0, change };
        let item = ToClient::Notice(Box::new(notice(sync)));
        if let Err(overflow) = entry.outbox.put(item) {
            self.let_go(session, overflow);
        }
    }

    pub(super) fn user_of(&self, session: SessionNo) -> Option<Local> {
        self.sessions.get(&session)?.user.as_ref().map(|(user, _)| user.clone())
    }

    /// Puts something before a client; one that does not read is let go.
    pub(super) fn put(&mut self, session: SessionNo, item: ToClient) {
        if let Some(entry) = self.sessions.get(&session)
            && let Err(overflow) = entry.outbox.put(item)
        {
            self.let_go(session, overflow);
        }
    }

    fn let_go(&mut self, session: SessionNo, overflow: Overflow) {
        if let Some(entry) = self.sessions.get(&session) {
            debug!(?session, from = %entry.client.from, %overflow, "session ends");
        }
        self.forget(session, false);
    }

    /// `in_order`: nobody is to be expected back in a moment.
    pub(super) fn forget(&mut self, session: SessionNo, in_order: bool) {
        let Some(entry) = self.sessions.remove(&session) else { return };
        self.metrics.sessions.store(self.sessions.len() as u64, Ordering::Relaxed);
        if let Some((user, device)) = entry.user {
            let (now, store) = (self.now_ms(), self.store.clone());
            // What cannot be read here ends the hub where it is needed.
            let _seen_next_time = self.home.device_is_seen(&*store, now, &user, device);
            self.leave(session, &user);
            self.goes(session, &user, device, in_order);
        }
    }

    /// A session is not among those of a user any more.
    pub(super) fn leave(&mut self, session: SessionNo, user: &Local) {
        let Some(list) = self.users.get_mut(user) else { return };
        list.retain(|no| *no != session);
        if list.is_empty() {
            self.users.remove(user);
        }
    }

    pub(super) fn revoke(&mut self, user: &Local, device: DeviceId) {
        for session in self.users.get(user).cloned().unwrap_or_default() {
            let Some(entry) = self.sessions.get(&session) else { continue };
            if entry.user.as_ref().is_some_and(|(_, d)| *d == device) {
                entry.outbox.close(CloseReason::Revoked);
                self.forget(session, true);
            }
        }
    }
}
