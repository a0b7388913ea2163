//! Groups: clients' calls, and what other homes' letters need of the hub.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use homing_core::{AccountState, Asked, Changed, Departure, Failure, NewGroup, PeerFault, Sealer};
use homing_link::{
    Answer, Code, GroupChanged, GroupPolicy, HistoryShown, LinkMade, MemberRow, MembersPage,
    Refused, RoleView, SessionNo, UserResult, Whoever,
};
use homing_wire::{
    Address, Change, ChannelId, GroupLink, Hash, HomeId, Local, OpId, Outcome as Settled, Policy,
    Role, RosterHistory, SignedRoster, UserRef, Who,
};
use tracing::{debug, error};
use uuid::Uuid;

use super::calls::{Outcome, Stop, no_channel};
use super::courier::Signer;
use super::hub::{Hub, HubError, Output};
use super::show::role_view;

/// What a client wants of a group, in addresses.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Invite(Vec<Address>),
    Remove(Vec<Address>),
    Join,
    Leave,
    Update {
        name: Option<String>,
        avatar: Option<Option<Uuid>>,
        policy: Option<GroupPolicy>,
        roles: Vec<(Address, RoleView)>,
    },
    Link {
        link: GroupLink,
        expires: Option<u64>,
        uses: Option<u32>,
    },
    Unlink(Hash),
}

/// How a call is answered once it is settled.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Shape {
    /// One row a user.
    Results,
    /// The group.
    Group,
    /// The group, once its roster is here.
    NewGroup,
    /// That link.
    Link(String),
    /// Nothing.
    Nothing,
}

/// A call that waits for a group's home.
pub(super) struct GroupWait {
    session: SessionNo,
    number: u64,
    user: Local,
    channel: ChannelId,
    shape: Shape,
    /// Users that were not asked about, and why.
    left_out: Vec<UserResult>,
    since: Instant,
}

/// How long a call waits for a group's home before it is answered `pending` (API, "Methods").
const WAIT: Duration = Duration::from_secs(10);

/// Users taken out of groups in one step, some dozens of groups each at most.
const DEPARTING: usize = 16;

/// Accounts looked at in one step after a start.
const ACCOUNTS_SEEN: usize = 256;

impl Hub {
    /// What signs this home's rosters, and the record that goes with them.
    pub(super) fn seal(&self) -> (Signer, Bytes) {
        (self.signer.clone(), self.gatekeeper.record.read().clone())
    }

    pub(super) fn create_group(
        &mut self,
        user: &Local,
        name: String,
        members: &[Address],
        id: Option<ChannelId>,
        policy: GroupPolicy,
    ) -> Result<Outcome, Stop> {
        let members =
            members.iter().map(|who| self.resolve_named(who)).collect::<Result<_, _>>()?;
        let new = NewGroup {
            creator: user.clone(),
            id: id.unwrap_or_else(|| ChannelId(Uuid::now_v7())),
            name,
            members,
            policy: policy_of(Policy::default(), policy),
        };
        let (now, store) = (self.now_ms(), self.store.clone());
        let (signer, record) = self.seal();
        let sealer = Sealer { key: &*signer, record };
        let made = self.home.create_group(&*store, now, &sealer, new);
        let channel = made.map_err(|failure| self.naming(failure))?;
        self.group_view(user, channel)
    }

    /// Where several are named, people are told which of them is meant.
    fn naming(&self, failure: Failure) -> Stop {
        let user = match &failure {
            Failure::Refused(refusal) => refusal.user.clone(),
            Failure::Fault(_) => None,
        };
        match (Stop::from(failure), user) {
            (Stop::Refused(refused), Some(user)) => {
                about(&self.shower.address(&user), refused).into()
            }
            (stop, _) => stop,
        }
    }

    fn resolve_named(&self, address: &Address) -> Result<UserRef, Refused> {
        self.resolve(address).map_err(|refused| about(&address.to_string(), refused))
    }

    /// Goes on with a group whose home is gone.
    pub(super) fn fork_group(&mut self, user: &Local, channel: ChannelId) -> Result<Outcome, Stop> {
        let (now, store) = (self.now_ms(), self.store.clone());
        let owner = self.home.roster_of(&*store, channel)?.map(|signed| signed.roster().owner);
        let is_connected = owner.is_some_and(|owner| self.connected(&owner).is_some());
        let fresh = ChannelId(Uuid::now_v7());
        let (signer, record) = self.seal();
        let sealer = Sealer { key: &*signer, record };
        let which = (channel, fresh);
        let made = self.home.fork_group(&*store, now, &sealer, user, which, is_connected)?;
        self.group_view(user, made)
    }

    fn group_view(&mut self, user: &Local, channel: ChannelId) -> Result<Outcome, Stop> {
        let store = self.store.clone();
        let view = self.shower.channel(&mut self.home, &*store, user, channel)?;
        Ok(Outcome::Answer(Answer::Channel(Box::new(view.ok_or_else(no_channel)?))))
    }

    /// Carries a wish out, or asks the group's home and lets the call wait.
    pub(super) fn change_group(
        &mut self,
        session: SessionNo,
        number: u64,
        user: &Local,
        channel: ChannelId,
        wish: Wish,
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        let shape = match &wish {
            Wish::Invite(_) | Wish::Remove(_) => Shape::Results,
            Wish::Join | Wish::Update { .. } => Shape::Group,
            Wish::Leave | Wish::Unlink(_) => Shape::Nothing,
            Wish::Link { link, .. } => Shape::Link(link.to_string()),
        };
        let (change, left_out) = self.change_of(user, channel, wish)?;
        let Some(change) = change else {
            let version = self.version(channel)?;
            return Ok(self.changed_answer(left_out, Changed { users: Vec::new(), version }));
        };
        let op = op.unwrap_or_else(|| OpId(Uuid::now_v7()));
        let (now, store) = (self.now_ms(), self.store.clone());
        let (signer, record) = self.seal();
        let sealer = Sealer { key: &*signer, record };
        let asked = self.home.ask_group(&*store, now, &sealer, user, (channel, op, change));
        match (asked.map_err(|failure| self.naming(failure))?, shape) {
            (Asked::Done(changed), Shape::Results) => Ok(self.changed_answer(left_out, changed)),
            // A role that is refused refuses the whole: no row is left to be told.
            (Asked::Done(_), Shape::Group | Shape::NewGroup) => self.group_view(user, channel),
            (Asked::Done(_), Shape::Nothing) => Ok(Outcome::Answer(Answer::Done)),
            (Asked::Done(_), Shape::Link(link)) => {
                Ok(Outcome::Answer(Answer::Link(LinkMade { state: None, link })))
            }
            (Asked::Pending, shape) => {
                let (user, since) = (user.clone(), Instant::now());
                let wait = GroupWait { session, number, user, channel, shape, left_out, since };
                Ok(self.wait_for(op, wait))
            }
        }
    }

    fn wait_for(&mut self, op: OpId, wait: GroupWait) -> Outcome {
        // The same `op` again waits in the place of the first try.
        if let Some(before) = self.group_waits.insert(op, wait) {
            self.pending(before);
        }
        Outcome::Waits
    }

    /// Makes a link with a secret of its own, or asks the group's home to.
    pub(super) fn make_link(
        &mut self,
        session: SessionNo,
        number: u64,
        user: &Local,
        channel: ChannelId,
        (expires, uses): (Option<u64>, Option<u32>),
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        let store = self.store.clone();
        let owner = self.home.channel(&*store, channel)?.and_then(|state| state.group.as_ref());
        let home = owner.map(|of| of.owner).ok_or_else(no_channel)?;
        let secret = crate::token::random()
            .map_err(|error| Refused::new(Code::Internal, error.reason(), error.to_string()))?;
        let link = GroupLink { home, group: channel, secret };
        let wish = Wish::Link { link, expires, uses };
        self.change_group(session, number, user, channel, wish, op)
    }

    /// Lets a user come by a link, or asks the group's home to.
    pub(super) fn join_by_link(
        &mut self,
        session: SessionNo,
        number: u64,
        user: &Local,
        link: &GroupLink,
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        let op = op.unwrap_or_else(|| OpId(Uuid::now_v7()));
        let (now, store) = (self.now_ms(), self.store.clone());
        let (signer, record) = self.seal();
        let sealer = Sealer { key: &*signer, record };
        match self.home.join_by_link(&*store, now, &sealer, user, link, op)? {
            Asked::Done(_) => self.group_view(user, link.group),
            Asked::Pending => {
                let (user, channel, since) = (user.clone(), link.group, Instant::now());
                let (shape, left_out) = (Shape::NewGroup, Vec::new());
                let wait = GroupWait { session, number, user, channel, shape, left_out, since };
                Ok(self.wait_for(op, wait))
            }
        }
    }

    /// A wish in the words of homes. `None`: nobody is left to ask about.
    fn change_of(
        &mut self,
        user: &Local,
        channel: ChannelId,
        wish: Wish,
    ) -> Result<(Option<Change>, Vec<UserResult>), Stop> {
        let mut left_out = Vec::new();
        let mut known = |hub: &Self, users: Vec<Address>| -> Vec<UserRef> {
            users
                .into_iter()
                .filter_map(|address| match hub.resolve(&address) {
                    Ok(user) => Some(user),
                    Err(refused) => {
                        let (user, reason) =
                            (address.to_string(), Some(refused.reason.to_string()));
                        left_out.push(UserResult { user, ok: false, reason });
                        None
                    }
                })
                .collect()
        };
        let some = |users: &Vec<UserRef>| !users.is_empty();
        let change = match wish {
            Wish::Invite(users) => Some(known(self, users)).filter(some).map(Change::Invite),
            Wish::Remove(users) => Some(known(self, users)).filter(some).map(Change::Remove),
            Wish::Join => Some(Change::Join { link: None }),
            Wish::Leave => Some(Change::Leave { from: 0, fence: None }),
            Wish::Link { link, expires, uses } => {
                Some(Change::MakeLink { expires, uses, secret: link.hash() })
            }
            Wish::Unlink(secret) => Some(Change::DropLink { secret }),
            Wish::Update { name, avatar, policy, roles } => {
                let store = self.store.clone();
                let old = self.home.roster_of(&*store, channel)?.ok_or_else(no_channel)?;
                let policy = policy.map(|new| policy_of(old.roster().policy(), new));
                let roles = roles
                    .into_iter()
                    .map(|(who, role)| Ok((self.resolve_named(&who)?, role_of(role))))
                    .collect::<Result<_, Stop>>()?;
                let avatar = match avatar {
                    Some(Some(id)) => Some(Some(self.home.avatar_file(&*store, user, id)?)),
                    Some(None) => Some(None),
                    None => None,
                };
                Some(Change::Update { name, avatar, policy, roles })
            }
        };
        Ok((change, left_out))
    }

    fn version(&mut self, channel: ChannelId) -> Result<u64, Stop> {
        let store = self.store.clone();
        Ok(self.home.roster_of(&*store, channel)?.map_or(0, |signed| signed.roster().version))
    }

    fn changed_answer(&self, left_out: Vec<UserResult>, changed: Changed) -> Outcome {
        let row = |(user, refused): (UserRef, Option<&'static str>)| UserResult {
            user: self.shower.address(&user).to_string(),
            ok: refused.is_none(),
            reason: refused.map(str::to_owned),
        };
        let results = changed.users.into_iter().map(row).chain(left_out).collect();
        let roster = changed.version;
        Outcome::Answer(Answer::GroupChanged(GroupChanged { state: None, results, roster }))
    }

    /// Follows a roster that another home brought, if it is one to follow.
    pub(super) fn roster_came(
        &mut self,
        peer: HomeId,
        signed: SignedRoster,
    ) -> Result<Result<(), PeerFault>, HubError> {
        let (now, store) = (self.now_ms(), self.store.clone());
        let (group, hash) = (signed.roster().group, signed.hash());
        let result = self.home.receive_roster(&*store, now, peer, signed)?;
        if let Err(PeerFault("roster_fork")) = &result {
            error!(
                peer = %self.directory.show(&peer), %group,
                "a group's home has signed two rosters of one version, or takes back what it said: nothing \
                 more of that life is followed; its operator has to begin a new one (`homing restore`)"
            );
        }
        // Most are nobody's fault: an older one comes late, or from a home that knows no newer.
        if self.home.roster_of(&*store, group)?.is_some_and(|held| held.hash() != hash) {
            self.metrics.rosters_not_followed.fetch_add(1, Ordering::Relaxed);
            debug!(peer = %self.directory.show(&peer), %group, "a roster is not followed");
        }
        self.collect_effects(None)?;
        Ok(result)
    }

    /// A group's home has answered: whoever waits for it is told.
    pub(super) fn settled(&mut self, peer: HomeId, outcome: Settled) {
        debug!(
            peer = %self.directory.show(&peer), group = %outcome.group, refused = ?outcome.refused,
            "a change of a group is settled"
        );
        let Some(wait) = self.group_waits.get(&outcome.op) else { return };
        if wait.channel != outcome.group {
            return; // it answers what it was not asked
        }
        let Some(wait) = self.group_waits.remove(&outcome.op) else { return };
        let result = self.settled_answer(&wait, outcome);
        self.answer_waiting(&wait, result);
    }

    fn settled_answer(&mut self, wait: &GroupWait, outcome: Settled) -> Result<Answer, Refused> {
        if let Some(word) = outcome.refused {
            return Err(refused_there(&word));
        }
        match &wait.shape {
            Shape::Nothing => Ok(Answer::Done),
            Shape::Link(link) => Ok(Answer::Link(LinkMade { state: None, link: link.clone() })),
            Shape::Results => {
                let row = |(user, refused): (UserRef, Option<String>)| UserResult {
                    user: self.shower.address(&user).to_string(),
                    ok: refused.is_none(),
                    reason: refused,
                };
                let left_out = wait.left_out.iter().cloned();
                let results = outcome.users.into_iter().map(row).chain(left_out).collect();
                let (state, roster) = (None, outcome.version);
                Ok(Answer::GroupChanged(GroupChanged { state, results, roster }))
            }
            Shape::Group | Shape::NewGroup => {
                // A home may refuse single roles: the first of them says why.
                if let Some(word) = outcome.users.iter().find_map(|(_, refused)| refused.clone()) {
                    return Err(refused_there(&word));
                }
                let store = self.store.clone();
                match self.shower.channel(&mut self.home, &*store, &wait.user, wait.channel) {
                    Ok(Some(view)) => Ok(Answer::Channel(Box::new(view))),
                    // The roster comes by another way: a notification follows it.
                    Ok(None) if wait.shape == Shape::NewGroup => Ok(Answer::Pending),
                    Ok(None) | Err(_) => Err(no_channel()),
                }
            }
        }
    }

    /// Calls that have waited long enough for a group's home.
    pub(super) fn give_up_waiting(&mut self) {
        let late: Vec<OpId> = self
            .group_waits
            .iter()
            .filter(|(_, wait)| wait.since.elapsed() >= WAIT)
            .map(|(op, _)| *op)
            .collect();
        for op in late {
            if let Some(wait) = self.group_waits.remove(&op) {
                self.pending(wait);
            }
        }
    }

    fn pending(&mut self, mut wait: GroupWait) {
        let answer = match wait.shape.clone() {
            Shape::Results => {
                let (state, roster) = (Some("pending"), 0);
                let results = std::mem::take(&mut wait.left_out);
                Answer::GroupChanged(GroupChanged { state, results, roster })
            }
            Shape::Link(link) => Answer::Link(LinkMade { state: Some("pending"), link }),
            Shape::Group | Shape::NewGroup | Shape::Nothing => Answer::Pending,
        };
        self.answer_waiting(&wait, Ok(answer));
    }

    fn answer_waiting(&mut self, wait: &GroupWait, result: Result<Answer, Refused>) {
        let here = self.user_of(wait.session).as_ref() == Some(&wait.user);
        if here {
            let (session, number, result) = (wait.session, wait.number, Box::new(result));
            self.outputs.push(Output::Answer { session, number, result });
        }
    }

    pub(super) fn group_members(
        &mut self,
        user: &Local,
        channel: ChannelId,
        cursor: Option<&str>,
    ) -> Result<Outcome, Stop> {
        let store = self.store.clone();
        let me = self.home.user(user);
        let signed = self.home.roster_of(&*store, channel)?.ok_or_else(no_channel)?;
        let state = self.home.channel(&*store, channel)?;
        if state.and_then(|state| state.member(&me)).is_none_or(|member| member.left) {
            return Err(no_channel().into());
        }
        // A hundred at most: one page.
        let all = signed.roster().present().filter(|_| cursor.is_none());
        let members = all
            .map(|tenure| MemberRow {
                user: self.shower.address(&tenure.user).to_string(),
                role: role_view(tenure.role),
                state: if tenure.role == Role::Invited {
                    homing_link::ChannelState::Invited
                } else {
                    homing_link::ChannelState::Active
                },
            })
            .collect();
        Ok(Outcome::Answer(Answer::Members(MembersPage { members, cursor: None })))
    }

    /// Takes users whose account was shut out of groups: some groups of one of them at a time, so that a step has an end.
    pub(super) fn depart(&mut self) -> Result<(), HubError> {
        let store = self.store.clone();
        if let Some(after) = self.unseen.take() {
            let page = homing_core::Reader::accounts(&*store, after.as_ref(), ACCOUNTS_SEEN)?;
            if page.len() == ACCOUNTS_SEEN {
                self.unseen = page.last().map(|account| Some(account.local.clone()));
            }
            for account in &page {
                self.home.index_again(&*store, account)?;
            }
            let shut = page.into_iter().filter(|account| account.state != AccountState::Active);
            self.departing.extend(shut.map(|account| (account.local, None)));
        }
        if self.clock_wrong_by.is_some() {
            return Ok(()); // nothing is signed meanwhile
        }
        let now = self.now_ms();
        let (signer, record) = self.seal();
        let sealer = Sealer { key: &*signer, record };
        for _ in 0..DEPARTING.min(self.departing.len()) {
            let Some((user, after)) = self.departing.pop_front() else { break };
            match self.home.depart(&*store, now, &sealer, &user, after)? {
                Departure::Done => {}
                Departure::Upto(group) => {
                    self.departing.push_front((user, Some(group)));
                    break;
                }
                // Others first.
                Departure::Later(group) => self.departing.push_back((user, group)),
            }
        }
        self.collect_effects(None)
    }

    /// A letter of a peer.
    pub(super) fn take_letter(
        &mut self,
        peer: HomeId,
        name: (homing_wire::Epoch, u64),
        letter: Result<Box<homing_wire::Letter>, homing_wire::LetterError>,
    ) -> Result<Result<homing_core::LetterReply, homing_core::PeerFault>, HubError> {
        let (now, store) = (self.now_ms(), self.store.clone());
        let (signer, record) = self.seal();
        let sealer = Sealer { key: &*signer, record };
        if let Err(error) = &letter {
            // It is acknowledged all the same: it would come again for ever, and whatever follows it with it.
            let reason = error.reason();
            self.metrics.not_read(reason);
            debug!(peer = %self.directory.show(&peer), reason, "a home asks for something that this version cannot read");
        }
        let letter = letter.as_deref().ok();
        Ok(self.home.receive_letter(&*store, now, &sealer, peer, name, letter)?)
    }
}

fn about(user: &str, mut refused: Refused) -> Refused {
    refused.message = format!("{user}: {}", refused.message).into();
    refused
}

/// Why a group's home refused. It speaks this home's words, or newer ones.
fn refused_there(word: &str) -> Refused {
    let code = match word {
        "not_allowed" | "owner_elsewhere" | "last_owner" | "declined" | "left" => Code::NotAllowed,
        "channel_not_found" | "user_not_found" | "not_a_member" | "link_not_found"
        | "media_not_found" => Code::NotFound,
        "group_full" | "group_worn_out" | "too_fast" | "too_many_links" | "avatar_too_large" => {
            Code::LimitReached
        }
        "invalid_name" | "invalid_role" | "with_self" | "member_twice" | "invalid_expires"
        | "invalid_uses" => Code::InvalidParams,
        _ => Code::Conflict,
    };
    let refused = Refused::new(code, word.to_owned(), "the group's home has refused it");
    if word == "group_full" {
        return refused.with_limit(homing_wire::limits::ROSTER_MEMBERS as u64);
    }
    if word == "too_many_links" {
        return refused.with_limit(homing_core::GroupState::LINKS as u64);
    }
    refused
}

fn policy_of(old: Policy, new: GroupPolicy) -> Policy {
    let who = |wish: Option<Whoever>, old: Who| match wish {
        Some(Whoever::Everybody) => Who::Everybody,
        Some(Whoever::Admins) => Who::Admins,
        None => old,
    };
    Policy {
        invite: who(new.invite, old.invite),
        write: who(new.write, old.write),
        change: who(new.change, old.change),
        history: match new.history {
            Some(HistoryShown::None) => RosterHistory::Nothing,
            Some(HistoryShown::Joined) => RosterHistory::Joined,
            Some(HistoryShown::All) => RosterHistory::All,
            None => old.history,
        },
    }
}

fn role_of(role: RoleView) -> Role {
    match role {
        RoleView::Invited => Role::Invited,
        RoleView::Member => Role::Member,
        RoleView::Admin => Role::Admin,
        RoleView::Owner => Role::Owner,
    }
}
