//! Clients' calls.

use std::sync::atomic::Ordering;

use homing_core::{Mark, SendCommand, Target};
use homing_link::{
    Answer, Call, Code, Limits, Opened, Refused, Request, Secret, SendTarget, Sent, SessionNo,
    SyncPoint, Unlinked, Whoami,
};
use homing_wire::{Address, ChannelId, DeviceId, Hash, Local, MessageId, Pos, UserRef};
use uuid::Uuid;

use super::channels::ChangedPage;
use super::groups::Wish;
use super::hub::{Hub, HubError, Output, bad_token, refused};
use super::input::{Lookup, Pending};
use super::people::privacy;
use super::read::{Known, ReadJob};
use super::weight::Weight;
use crate::token::token_hash;

/// What becomes of a call.
pub(super) enum Outcome {
    Answer(Answer),
    /// It is done; the sockets of these devices are closed behind the answer.
    SignsOut(Local, Vec<DeviceId>),
    Read(ReadJob),
    /// It waits (for a look-up, or for a password to be checked) and comes back.
    Waits,
}

/// Why a call has no answer: the caller's fault, or the end of the hub.
pub(super) enum Stop {
    Refused(Refused),
    End(HubError),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        Self::End(error)
    }
}

impl From<homing_core::Fault> for Stop {
    fn from(fault: homing_core::Fault) -> Self {
        Self::End(fault.into())
    }
}

impl From<homing_core::Failure> for Stop {
    fn from(failure: homing_core::Failure) -> Self {
        match refused(failure) {
            Ok(refused) => Self::Refused(refused),
            Err(error) => Self::End(error),
        }
    }
}

impl Hub {
    /// A request of a session.
    pub(super) fn request(&mut self, request: Request) -> Result<(), HubError> {
        match request {
            Request::Gone { session, in_order } => self.forget(session, in_order),
            Request::Alive { session } => self.sign_of_life(session),
            Request::Call { session, number, call } => {
                self.sign_of_life(session);
                self.call(Pending { session, number, call: *call, user: None }, None)?;
            }
        }
        Ok(())
    }

    /// A user of another home was looked up: what waited for it goes on.
    pub(super) fn looked_up(&mut self, user: UserRef, found: Lookup) -> Result<(), HubError> {
        for pending in self.lookups.remove(&user).unwrap_or_default() {
            self.call(pending, Some(&found))?;
        }
        Ok(())
    }

    /// Carries a call out, or parks it until `looked_up` comes back with what another home said.
    fn call(&mut self, pending: Pending, looked_up: Option<&Lookup>) -> Result<(), HubError> {
        let Pending { session, number, call, user } = pending;
        let mut signs_out = None;
        let output = match self
            .same_user(session, user)
            .and_then(|()| self.carry_out(session, number, call, looked_up))
        {
            Ok(Outcome::Answer(answer)) => {
                Output::Answer { session, number, result: Box::new(Ok(answer)) }
            }
            Ok(Outcome::SignsOut(user, devices)) => {
                signs_out = Some((user, devices));
                Output::Answer { session, number, result: Box::new(Ok(Answer::Done)) }
            }
            Ok(Outcome::Read(job)) => Output::Read { session, number, job: Box::new(job) },
            // Another home may have been asked: that is an effect.
            Ok(Outcome::Waits) => return self.collect_effects(Some(session)),
            Err(Stop::Refused(refused)) => {
                Output::Answer { session, number, result: Box::new(Err(refused)) }
            }
            Err(Stop::End(error)) => return Err(error),
        };
        // The answer first, then what others are told.
        let cap = if let Output::Answer { result, .. } = &output
            && let Ok(Answer::Opened(opened)) = result.as_ref()
        {
            Some(opened.more.then_some(opened.sync.change))
        } else {
            None
        };
        self.outputs.push(output);
        if let Some((user, devices)) = signs_out {
            self.sign_out(&user, devices);
        }
        if let Some(cap) = cap {
            self.outputs.push(Output::SyncCap { session, cap });
        }
        self.collect_effects(Some(session))
    }

    /// A call that waited is its caller's: not of whoever has signed in on that socket since.
    pub(super) fn same_user(&self, session: SessionNo, user: Option<Local>) -> Result<(), Stop> {
        match user {
            Some(user) if self.user_of(session).as_ref() != Some(&user) => {
                Err(not_signed_in().into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn carry_out(
        &mut self,
        session: SessionNo,
        number: u64,
        call: Call,
        looked_up: Option<&Lookup>,
    ) -> Result<Outcome, Stop> {
        let now = self.now_ms();
        let store = self.store.clone();
        let reader = &*store;
        if let Call::Open { token, since, cursor } = &call {
            return self.open(session, token, since.as_deref(), cursor.as_deref());
        }
        let (user, device) = self.signed_in(session)?;
        if looked_up.is_none() {
            self.admit(&user, Weight::of(&call), now)?;
        }
        match call {
            Call::Open { .. } => Err(bad_token().into()),
            Call::ChannelsList { cursor, limit, archived } => {
                self.channels_list(&user, cursor.as_deref(), limit, archived)
            }
            Call::ChannelsGet { channel } => self.channel_view(&user, channel),
            Call::ChannelsOpen { ref with } => {
                let with = self.resolve(with)?;
                if self.must_look_up(&user, &with)? {
                    match looked_up {
                        None => return self.park(with, session, number, call),
                        Some(Lookup::Found { .. }) => {}
                        Some(Lookup::Missing) => return Err(no_user().into()),
                        Some(Lookup::Away) => {
                            if !self.has_met(&with)? {
                                return Err(unreachable_home().into());
                            }
                        }
                    }
                }
                let id = self.home.open_chat(reader, now, &user, &with)?;
                let view = self.shower.channel(&mut self.home, reader, &user, id)?;
                Ok(Outcome::Answer(Answer::Channel(Box::new(view.ok_or_else(no_channel)?))))
            }
            Call::ChannelsUpdate { channel, change, op } => {
                self.update_view(&user, channel, change, op)
            }
            Call::RequestsAccept { channel, op } => {
                self.home.accept_request(reader, now, &user, channel, op)?;
                self.reconsider_chat(&user, channel)?;
                self.channel_view(&user, channel)
            }
            Call::RequestsDecline { channel, op } => {
                self.home.decline_request(reader, now, &user, channel, op)?;
                Ok(Outcome::Answer(Answer::Done))
            }
            Call::MessagesList { channel, place, limit } => {
                let head = self.head_for_member(&user, channel)?;
                let known = self.known_to(&user, channel)?;
                let chains = match self.home.channel(reader, channel)? {
                    Some(state) => state.chains.clone(),
                    None => return Err(no_channel().into()),
                };
                Ok(Outcome::Read(ReadJob::Messages {
                    channel,
                    head,
                    chains,
                    known,
                    place,
                    limit: limit.clamp(1, self.limits.page),
                    max_bytes: self.limits.page_bytes,
                    user: self.home.user(&user),
                }))
            }
            Call::MessagesGet { channel, id, sender } => {
                self.head_for_member(&user, channel)?;
                let senders = match sender {
                    Some(address) => vec![self.directory.resolve(&address).ok_or_else(no_message)?],
                    None => self.members_of(channel, &user)?,
                };
                let known = self.known_to(&user, channel)?;
                let user = self.home.user(&user);
                Ok(Outcome::Read(ReadJob::Message { channel, id, senders, user, known }))
            }
            Call::MessagesSearch { query, channel, cursor, limit } => {
                self.messages_search(&user, &query, channel, cursor.as_deref(), limit)
            }
            Call::MessagesHide { channel, id, ref sender, op } => {
                self.head_for_member(&user, channel)?;
                let senders = match sender {
                    Some(address) => vec![self.directory.resolve(address).ok_or_else(no_message)?],
                    None => self.members_of(channel, &user)?,
                };
                let target = self.home.which_message(reader, channel, id, &senders)?;
                let target = target.ok_or_else(no_message)?;
                self.home.hide(reader, now, &user, channel, &target, op)?;
                Ok(Outcome::Answer(Answer::Done))
            }
            Call::MessagesSend { .. } => self.send(session, number, &user, call, looked_up),
            Call::ReceiptsDelivered { channel, pos } => {
                let mark = Mark { delivered: Pos(pos), read: Pos(0) };
                self.home.mark(reader, now, &user, channel, mark)?;
                Ok(Outcome::Answer(Answer::Done))
            }
            Call::ReceiptsRead { channel, pos } => {
                let mark = Mark { delivered: Pos(pos), read: Pos(pos) };
                self.home.mark(reader, now, &user, channel, mark)?;
                Ok(Outcome::Answer(Answer::Done))
            }
            Call::ReceiptsGet { channel, id } => {
                self.head_for_member(&user, channel)?;
                let senders: Vec<UserRef> = self
                    .members_of(channel, &user)?
                    .into_iter()
                    .filter(|m| m.home == self.home.id())
                    .collect();
                let members = match self.home.channel(reader, channel)? {
                    Some(state) => state.members.clone(),
                    None => return Err(no_channel().into()),
                };
                let known = self.known_to(&user, channel)?;
                let sees_reads = self.home.shows_reads(reader, &user)?;
                let user = self.home.user(&user);
                Ok(Outcome::Read(ReadJob::Receipts {
                    channel,
                    id,
                    senders,
                    user,
                    members,
                    known,
                    sees_reads,
                }))
            }
            Call::UsersSearch { query } => self.users_search(&query),
            Call::UsersUpdate { display_name, avatar, privacy, op } => {
                self.users_update(&user, display_name, avatar, privacy, op)
            }
            Call::PresenceWatch { users } => self.presence_watch(session, &user, &users),
            Call::PresenceUnwatch { users } => self.presence_unwatch(session, &users),
            Call::TypingSet { channel, typing } => self.typing_set(&user, channel, typing),
            Call::Listed { list, cursor, limit } => {
                self.listed(&user, list, cursor.as_deref(), limit)
            }
            Call::ListChange { list, user: ref other, add, op } => {
                self.change_list(&user, list, other, add, op)
            }
            Call::GroupsCreate { name, members, id, policy } => {
                self.create_group(&user, name, &members, id, policy)
            }
            Call::GroupsInvite { channel, users, op } => {
                let change = Wish::Invite(users);
                self.change_group(session, number, &user, channel, change, op)
            }
            Call::GroupsRemove { channel, users, op } => {
                let change = Wish::Remove(users);
                self.change_group(session, number, &user, channel, change, op)
            }
            Call::GroupsJoin { channel, op } => {
                self.change_group(session, number, &user, channel, Wish::Join, op)
            }
            Call::GroupsJoinLink { link, op } => {
                self.join_by_link(session, number, &user, &link, op)
            }
            Call::GroupsLink { channel, expires, uses, op } => {
                self.make_link(session, number, &user, channel, (expires, uses), op)
            }
            Call::GroupsUnlink { which, op } => {
                let (channel, secret) = match which {
                    Unlinked::One(link) => (link.group, link.hash()),
                    Unlinked::All(channel) => (channel, Hash::NONE),
                };
                let wish = Wish::Unlink(secret);
                self.change_group(session, number, &user, channel, wish, op)
            }
            Call::GroupsLeave { channel, op } => {
                self.change_group(session, number, &user, channel, Wish::Leave, op)
            }
            Call::GroupsFork { channel } => self.fork_group(&user, channel),
            Call::GroupsUpdate { channel, name, avatar, policy, roles, op } => {
                let change = Wish::Update { name, avatar, policy, roles };
                self.change_group(session, number, &user, channel, change, op)
            }
            Call::GroupsMembers { channel, cursor } => {
                self.group_members(&user, channel, cursor.as_deref())
            }
            Call::MediaGet { id } => self.media_get(&user, id),
            Call::MediaCopy { channel, id, sender, op } => {
                self.media_copy(session, number, &user, (channel, id, sender.as_ref()), op)
            }
            Call::MediaUrl { channel, id, sender, thumbnail } => {
                self.media_url(&user, (channel, id, sender.as_ref()), thumbnail)
            }
            Call::DevicesList => self.devices_list(&user, device),
            Call::DevicesRename { device, name, op } => {
                self.rename_device(&user, device, &name, op)
            }
            Call::DevicesRevoke { device, op } => self.revoke_device(&user, device, op),
            Call::AccountPassword { old, new, op } => {
                self.ask_for_password(session, number, &user, old, new, op)
            }
            Call::AccountDelete { password } => {
                let call = Call::AccountDelete { password: Secret::default() };
                self.check_password(session, number, &user, call, password, None)
            }
            Call::UsersGet { ref address } => {
                let who = self.resolve(address)?;
                if who.home == self.home.id() {
                    return self.own_user(&user, &who);
                }
                match looked_up {
                    None => self.park(who, session, number, call),
                    Some(found) => self.found_user(&user, &who, found),
                }
            }
        }
    }

    fn send(
        &mut self,
        session: SessionNo,
        number: u64,
        user: &Local,
        call: Call,
        looked_up: Option<&Lookup>,
    ) -> Result<Outcome, Stop> {
        let now = self.now_ms();
        let store = self.store.clone();
        let Call::MessagesSend { target, id, op, body } = call else {
            return Err(bad_token().into());
        };
        let target = match target {
            SendTarget::Channel(channel) => Target::Channel(channel),
            SendTarget::To(address) => {
                let with = self.resolve(&address)?;
                if self.must_look_up(user, &with)? {
                    match looked_up {
                        None => {
                            let target = SendTarget::To(address);
                            let call = Call::MessagesSend { target, id, op, body };
                            return self.park(with, session, number, call);
                        }
                        Some(Lookup::Missing) => return Err(no_user().into()),
                        // A home that is away gets it when it returns; it says then whether it has the user.
                        Some(Lookup::Found { .. } | Lookup::Away) => {}
                    }
                }
                Target::To(with)
            }
        };
        let mut mentions = Vec::with_capacity(body.mentions.len());
        for address in &body.mentions {
            let who = self.directory.resolve(address).ok_or_else(|| stranger(address))?;
            mentions.push(who);
        }
        let about = body.target.as_ref().and_then(|(address, id)| {
            let sender = self.directory.resolve(address)?;
            Some(homing_wire::Target { sender, id: *id })
        });
        let media = self.named_media(&body)?;
        self.check_clock()?;
        self.check_reconciled(user, &target, now)?;
        let sent = self.home.send(
            &*store,
            now,
            SendCommand {
                sender: user.clone(),
                target,
                id,
                fresh_id: MessageId(Uuid::now_v7()),
                op,
                kind: body.kind,
                body: body.json,
                mentions,
                about,
                media,
            },
        )?;
        if !sent.repeated {
            self.metrics.sends.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Outcome::Answer(Answer::Sent(Sent {
            id: sent.id,
            channel: sent.channel,
            pos: sent.pos.0,
            order: sent.order,
            sent_at: sent.sent_at,
        })))
    }

    /// What a wrong clock stamps, other homes do not take, or show in a wrong place.
    fn check_clock(&self) -> Result<(), Stop> {
        let Some(wrong_ms) = self.clock_wrong_by else {
            let wait_ms = u64::try_from(self.limits.clock_wait.as_millis()).unwrap_or(u64::MAX);
            let (known, directory) = (self.pinned, &self.directory);
            let pinned = |home: &homing_wire::HomeId| directory.name(home).is_some();
            if !self.clocks.must_wait(self.moment(), wait_ms, known, pinned) {
                return Ok(());
            }
            return Err(Refused::new(
                Code::Busy,
                "clock_skew",
                "the home has just started and compares its clock with other homes': try again",
            )
            .with_retry_after_ms(200)
            .into());
        };
        Err(Refused::new(
            Code::Busy,
            "clock_skew",
            format!(
                "the home's clock is wrong by {} s: its operator has been told",
                wrong_ms / 1_000
            ),
        )
        .with_retry_after_ms(2_000)
        .into())
    }

    /// After a restore, what a home within reach still holds of ours comes back first: a message that is sent
    /// once more would be there twice.
    fn check_reconciled(&mut self, user: &Local, target: &Target, now: u64) -> Result<(), Stop> {
        if self.restored.is_empty() {
            return Ok(());
        }
        let peer = match target {
            Target::To(with) => Some(with.home),
            Target::Channel(channel) => {
                let (store, me) = (self.store.clone(), self.home.user(user));
                let state = self.home.channel(&*store, *channel)?;
                state.and_then(|s| s.other(&me)).map(|other| other.user.home)
            }
        };
        let hold = u64::try_from(self.limits.reconcile_hold.as_millis()).unwrap_or(u64::MAX);
        let waits = peer.filter(|peer| self.restored.contains(peer)).is_some_and(|peer| {
            self.home.is_reconciling(&peer)
                && self.live.homes.get(&peer).is_some_and(|live| {
                    live.connected && live.since.is_some_and(|since| now < since + hold)
                })
        });
        if waits {
            return Err(Refused::new(
                Code::Busy,
                "reconciling",
                "the home was restored and is fetching what the other home holds: try again",
            )
            .with_retry_after_ms(500)
            .into());
        }
        Ok(())
    }

    fn open(
        &mut self,
        session: SessionNo,
        token: &str,
        since: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<Outcome, Stop> {
        let store = self.store.clone();
        let reader = &*store;
        let device = self.home.device_of(reader, token_hash(token))?.ok_or_else(bad_token)?;
        let user = device.user.clone();
        let now = self.now_ms();
        if self.home.is_idle(now, &device) && self.may_expire(now) {
            return Err(bad_token().into()); // its row goes with the next round
        }
        let account = self.home.account(reader, &user)?.cloned().ok_or_else(bad_token)?;
        if account.state != homing_core::AccountState::Active {
            return Err(Refused::new(
                Code::NotSignedIn,
                "user_disabled",
                "this account is shut: ask its home's operator",
            )
            .into());
        }
        let life = self.home.epoch().0;
        let change = self.home.change();
        let since = match since {
            None => None,
            Some(text) => {
                let point = SyncPoint::parse(text).ok_or_else(bad_since)?;
                if point.life != life || point.change > change {
                    return Err(Refused::new(
                        Code::Conflict,
                        "resync",
                        "this home has started a new life: open without since, then list channels",
                    )
                    .into());
                }
                Some(point.change)
            }
        };
        let from = match cursor {
            None => since,
            Some(text) => Some(
                SyncPoint::parse(text)
                    .filter(|p| p.life == life && since.is_some_and(|s| p.change >= s))
                    .ok_or_else(bad_cursor)?
                    .change,
            ),
        };
        let changed = match from {
            Some(from) => self.channels_changed(&user, from)?,
            None => ChangedPage { channels: Vec::new(), upto: None },
        };
        let (channels, more) = (changed.channels, changed.upto.is_some());
        let last = changed.upto.unwrap_or(change);
        let sync = SyncPoint { life, change: last };
        self.home.device_is_seen(reader, now, &user, device.id)?;
        self.sign_in(session, &user, device.id, more.then_some(last));
        Ok(Outcome::Answer(Answer::Opened(Box::new(Opened {
            user: Whoami {
                address: self.shower.address(&self.home.user(&user)).to_string(),
                user_id: account.user_id.to_string(),
                avatar: self.shower.user_avatar(reader, &account)?,
                privacy: privacy(&account),
                display_name: account.display_name,
            },
            device: device.id.to_string(),
            life: format!("{life:x}"),
            sync,
            channels,
            more,
            cursor: more.then(|| sync.to_string()),
            server_time: (self.now)(),
            limits: Limits {
                body: self.limits.body as u64,
                frame: 0,
                batch: 0,
                calls_waiting: 0,
                group_members: 100,
                draft: self.limits.draft_bytes as u64,
                watched: self.limits.presence.watched_by_session as u64,
                page: u64::from(self.limits.page),
                upload: self.limits.upload_bytes,
                avatar: self.limits.avatar_bytes,
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))))
    }

    fn sign_in(&mut self, session: SessionNo, user: &Local, device: DeviceId, cap: Option<u64>) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        // Tightened at once, loosened behind the answer.
        entry.sync_cap = match (entry.sync_cap, cap) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
        let before = entry.user.replace((user.clone(), device));
        match before {
            Some((old, old_device)) if old == *user && old_device == device => return,
            Some((old, old_device)) => {
                self.leave(session, &old);
                self.goes(session, &old, old_device, true);
            }
            None => {}
        }
        self.users.entry(user.clone()).or_default().push(session);
        self.comes(session);
    }

    pub(super) fn signed_in(&self, session: SessionNo) -> Result<(Local, DeviceId), Refused> {
        self.sessions.get(&session).and_then(|s| s.user.clone()).ok_or_else(not_signed_in)
    }

    /// A place in the queue of calls that wait for a look-up, in the order they came.
    fn park(
        &mut self,
        user: UserRef,
        session: SessionNo,
        number: u64,
        call: Call,
    ) -> Result<Outcome, Stop> {
        // A home that nobody vouches for and that never came cannot be asked: made-up ids shall not
        // make the network look for them.
        if self.directory.name(&user.home).is_none() && !self.has_met(&user)? {
            return Err(unknown_home().into());
        }
        let waiting: usize = self.lookups.values().map(Vec::len).sum();
        if waiting >= self.limits.lookups_waiting {
            return Err(Refused::new(
                Code::Busy,
                "lookups_busy",
                "too many questions to other homes are open",
            )
            .with_retry_after_ms(1_000)
            .into());
        }
        let new = !self.lookups.contains_key(&user);
        let caller = self.user_of(session);
        self.lookups.entry(user.clone()).or_default().push(Pending {
            session,
            number,
            call,
            user: caller,
        });
        if new {
            let asker = self.user_of(session);
            let asker = match asker {
                Some(asker) if self.may_look(&asker, &user)? => Some(asker),
                Some(_) | None => None,
            };
            self.look_up(user, asker);
        }
        Ok(Outcome::Waits)
    }

    pub(super) fn resolve(&self, address: &Address) -> Result<UserRef, Refused> {
        self.directory.resolve(address).ok_or_else(unknown_home)
    }

    /// A user of another home is looked up before the first message only.
    fn must_look_up(&mut self, user: &Local, with: &UserRef) -> Result<bool, Stop> {
        if with.home == self.home.id() {
            return Ok(false);
        }
        // Where earlier calls wait for it, later ones queue behind: sends keep their order.
        if self.lookups.contains_key(with) {
            return Ok(true);
        }
        let id = ChannelId::chat(&self.home.user(user), with);
        let store = self.store.clone();
        Ok(self.home.channel(&*store, id)?.is_none())
    }

    /// Whether a home has ever been met.
    pub(super) fn has_met(&self, user: &UserRef) -> Result<bool, Stop> {
        Ok(self.store.peers()?.iter().any(|p| p.home == user.home))
    }

    pub(super) fn head_for_member(
        &mut self,
        user: &Local,
        channel: ChannelId,
    ) -> Result<Pos, Stop> {
        let me = self.home.user(user);
        let store = self.store.clone();
        match self.home.channel(&*store, channel)? {
            Some(state) if state.member(&me).is_some() => Ok(state.head),
            Some(_) | None => Err(no_channel().into()),
        }
    }

    /// What a member may see of a channel.
    fn known_to(&mut self, user: &Local, channel: ChannelId) -> Result<Known, Stop> {
        let me = self.home.user(user);
        let store = self.store.clone();
        let roster = self.home.roster_of(&*store, channel)?;
        let state = self.home.channel(&*store, channel)?;
        let member = state.and_then(|state| Some((state, state.member(&me)?)));
        let Some((state, member)) = member else { return Err(no_channel().into()) };
        Ok(Known::of(state, member, roster))
    }

    /// The members of a channel, the asking user first.
    pub(super) fn members_of(
        &mut self,
        channel: ChannelId,
        user: &Local,
    ) -> Result<Vec<UserRef>, Stop> {
        let me = self.home.user(user);
        let store = self.store.clone();
        let Some(state) = self.home.channel(&*store, channel)? else {
            return Err(no_channel().into());
        };
        let others = state.members.iter().map(|m| m.user.clone()).filter(|m| *m != me);
        Ok(std::iter::once(me.clone()).chain(others).collect())
    }
}

fn not_signed_in() -> Refused {
    Refused::new(Code::NotSignedIn, "not_signed_in", "call session.open first")
}

pub(super) fn no_channel() -> Refused {
    Refused::new(Code::NotFound, "channel_not_found", "there is no such channel of yours")
}

/// Somebody is mentioned of a home that this one has never met: nobody of it is in any conversation here.
fn stranger(address: &homing_wire::Address) -> Refused {
    let message = format!("{address}: only people of this conversation can be mentioned");
    Refused::new(Code::InvalidParams, "mention_of_stranger", message)
}

pub(super) fn no_message() -> Refused {
    Refused::new(Code::NotFound, "message_not_found", "there is no such message")
}

pub(super) fn no_user() -> Refused {
    Refused::new(Code::NotFound, "user_not_found", "there is no such user")
}

pub(super) fn unknown_home() -> Refused {
    Refused::new(Code::NotFound, "unknown_home", "this home does not know that one")
}

pub(super) fn unreachable_home() -> Refused {
    Refused::new(
        Code::Unreachable,
        "home_unreachable",
        "their home does not answer; nothing was changed",
    )
}

fn bad_since() -> Refused {
    Refused::new(Code::InvalidParams, "bad_since", "since is not a sync of this home")
}

pub(super) fn bad_cursor() -> Refused {
    Refused::new(Code::InvalidParams, "bad_cursor", "cursor is not one that this home gave")
}
