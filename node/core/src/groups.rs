//! Groups as their people change them: rosters made, by the owner home alone, and changes asked for, of it by everybody
//! else. How rosters are followed: [`crate::follow`].
//!
//! What an event may do is decided by the newest roster that is held and by nothing that differs between homes
//! ([`homing_wire::Roster::may`]), so that homes with the same roster show the same messages, whatever came first.

use bytes::Bytes;
use homing_wire::limits::{GROUP_NAME_BYTES, ROSTER_BYTES, ROSTER_MEMBERS};
use homing_wire::{
    ChainPos, Change, ChannelId, Command, Fence, HomeId, Letter, Local, OpId, Policy, Pos, Role,
    Roster, RosterError, Seq, SignedRoster, Signs, UserRef,
};

use crate::home::{Effect, Home};
use crate::media::NO_MEDIA;
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, DISABLED, Failure, NO_CHANNEL, NO_USER, Refusal};
use crate::roster::{Edit, WornOut, amend, first};
use crate::state::{AccountState, ChannelState, GroupState, GroupsFrom, Member};

/// What signs this home's rosters.
pub struct Sealer<'a> {
    /// The key.
    pub key: &'a dyn Signs,
    /// This home's record, signed: it goes along, so that whoever gets the roster can check it.
    pub record: Bytes,
}

/// A user's wish for a new group.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// Who makes it, and owns it.
    pub creator: Local,
    /// Its id, a UUIDv7: the client's, so that a repeat is known, or a fresh one.
    pub id: ChannelId,
    /// How it is called.
    pub name: String,
    /// Who is to be in it.
    pub members: Vec<UserRef>,
    /// What members may do.
    pub policy: Policy,
}

/// What came of a change: of each user that it named, why not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// Users and why nothing came of them; `None`: done.
    pub users: Vec<(UserRef, Option<&'static str>)>,
    /// The version of the roster that shows it.
    pub version: u64,
}

/// What came of asking for a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// It is done.
    Done(Changed),
    /// The owner home is asked: [`Effect::Settled`] follows.
    Pending,
}

/// Events that whoever leaves may have written and the owner home not have received yet. A home that claims more
/// could let its user write on for ever.
const LEAVE_AHEAD: u64 = 10_000;

/// For so long after a restore groups do not change while a home that may know newer rosters was not asked, in
/// milliseconds: homes that are up are asked within seconds, and what one that is away may know is not waited for.
const ROSTERS_AWAITED_MS: u64 = 600_000;

const RECONCILING: Refusal = Refusal::new(
    Class::Later,
    "reconciling",
    "this home was restored and asks the other homes of the group what it lost: try again in a minute; where one of \
     them is away, in ten minutes",
);
const OWN_GROUP: Refusal =
    Refusal::new(Class::Conflict, "own_group", "this home is the group's own: change it as it is");
const CONTINUED: Refusal = Refusal::new(
    Class::Conflict,
    "already_continued",
    "somebody has gone on with this group already, without you: ask them to invite you",
);
const OWNER_ANSWERS: Refusal = Refusal::new(
    Class::NotAllowed,
    "owner_home_answers",
    "the group's home was heard not long ago: ask its people for changes",
);
pub(crate) const NOT_ALLOWED: Refusal =
    Refusal::new(Class::NotAllowed, "not_allowed", "your role in this group does not let you");
pub(crate) const LEFT: Refusal =
    Refusal::new(Class::NotAllowed, "left", "you are not in this group any more");
const BAD_NAME: Refusal = Refusal::new(
    Class::Invalid,
    "invalid_name",
    "a group's name has 1 to 256 bytes and no control characters",
);
const NAMED_TWICE: Refusal = Refusal::new(Class::Invalid, "member_twice", "named twice");
const NOT_A_MEMBER: Refusal =
    Refusal::new(Class::NotFound, "not_a_member", "whoever is not in the group has no role in it");
const NO_ROLE: Refusal =
    Refusal::new(Class::Invalid, "invalid_role", "a role is member, admin or owner");
const ABOVE: Refusal = Refusal::new(
    Class::NotAllowed,
    "not_allowed",
    "nobody gives a role above their own, nor changes that of whoever is above",
);
const OWNER_ELSEWHERE: Refusal = Refusal::new(
    Class::NotAllowed,
    "owner_elsewhere",
    "owners are people of the group's home: make them an admin",
);
const LAST_OWNER: Refusal = Refusal::new(
    Class::NotAllowed,
    "last_owner",
    "the group would be without an owner: name another first",
);
const NO_OWNER: Refusal = Refusal::new(
    Class::NotAllowed,
    "last_owner",
    "people of the group's home would be in it without an owner: name one of them first",
);
const WORN_OUT: Refusal = Refusal::new(
    Class::Limit,
    "group_worn_out",
    "so many people have come and gone that this group can take no more changes: make a new one",
);

impl Home {
    /// Makes a group. The same id again by the same user is the same group.
    pub fn create_group(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        sealer: &Sealer<'_>,
        new: NewGroup,
    ) -> Result<ChannelId, Failure> {
        self.at(now_ms);
        if !self.is_active(reader, &new.creator)? {
            return Err(DISABLED.into());
        }
        let me = self.user(&new.creator);
        if !new.id.is_group() {
            return Err(
                Refusal::new(Class::Invalid, "invalid_id", "a group's id is a UUIDv7").into()
            );
        }
        if let Some(state) = self.channel(reader, new.id)? {
            let mine = state.group.as_ref().is_some_and(|g| g.owner == me.home)
                && self.roster(new.id).is_some_and(|r| r.roster().role(&me) == Some(Role::Owner));
            self.hurry();
            return if mine {
                Ok(new.id)
            } else {
                Err(Refusal::new(Class::Conflict, "id_reused", "this id names something else")
                    .into())
            };
        }
        check_name(&new.name)?;
        let mut edits = vec![Edit::Role { user: me.clone(), role: Some(Role::Owner), fence: None }];
        for (place, user) in new.members.iter().enumerate() {
            if *user == me {
                return Err(
                    Refusal::new(Class::Invalid, "with_self", "you are in it anyway").into()
                );
            }
            if new.members[..place].contains(user) {
                return Err(NAMED_TWICE.about(user).into());
            }
            let role = self.entering(reader, user, &me)?.map_err(|refusal| refusal.about(user))?;
            edits.push(Edit::Role { user: user.clone(), role: Some(role), fence: None });
        }
        self.check_size(edits.len())?;
        let (id, name, policy) = (new.id, new.name, new.policy);
        self.found(reader, sealer, id, (name, policy, None), &edits)?;
        Ok(id)
    }

    /// The first version of a roster is the one with the first members in it.
    fn found(
        &mut self,
        reader: &dyn Reader,
        sealer: &Sealer<'_>,
        id: ChannelId,
        (name, policy, continues): (String, Policy, Option<ChannelId>),
        edits: &[Edit],
    ) -> Result<(), Failure> {
        let (home, epoch, now_ms) = (self.id, self.epoch, self.now_ms);
        let Some(Edit::Role { user: maker, .. }) = edits.first() else { return Ok(()) };
        let empty = first(id, home, epoch, now_ms, name, policy, continues);
        let mut roster = amend(&empty, epoch, now_ms, maker, edits, |_| Fence::NOTHING)
            .map_err(|WornOut| WORN_OUT)?;
        roster.prev = homing_wire::Hash::NONE;
        self.add_channel(ChannelState::group(id, home, now_ms));
        self.follow(reader, roster.sign(sealer.key, sealer.record.clone()))?;
        self.hurry();
        Ok(())
    }

    /// Goes on with a group whose home has not been heard for long: a new one of this home, of the same name, whose
    /// people are asked. Again by this home: the same one. `fresh` is its id if it is new; `is_connected`: the
    /// group's home can be reached at this moment.
    pub fn fork_group(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        sealer: &Sealer<'_>,
        user: &Local,
        (group, fresh): (ChannelId, ChannelId),
        is_connected: bool,
    ) -> Result<ChannelId, Failure> {
        self.at(now_ms);
        if !self.is_active(reader, user)? {
            return Err(DISABLED.into());
        }
        let me = self.user(user);
        let Some(state) = self.channel(reader, group)? else { return Err(NO_CHANNEL.into()) };
        let (Some(of), Some(member)) = (state.group.clone(), state.member(&me)) else {
            return Err(NO_CHANNEL.into());
        };
        if member.left {
            return Err(LEFT.into());
        }
        let signed = self.roster(group).ok_or(NO_CHANNEL)?;
        let old = signed.roster();
        if old.role(&me).is_none_or(|role| role < Role::Admin) {
            return Err(NOT_ALLOWED.into());
        }
        if of.owner == self.id {
            return Err(OWN_GROUP.into());
        }
        if let Some(by) = of.continued_by {
            let state = self.channel(reader, by)?;
            let is_in = state.and_then(|state| state.member(&me)).is_some_and(|m| !m.left);
            self.hurry();
            return if is_in { Ok(by) } else { Err(CONTINUED.into()) };
        }
        let heard_at = self.peer(&of.owner).map_or(0, |peer| peer.seen_at);
        let silent_ms = self.now_ms.saturating_sub(heard_at);
        if is_connected || silent_ms < self.policy.fork_after_ms {
            return Err(OWNER_ANSWERS.with_limit(self.policy.fork_after_ms).into());
        }
        let mut edits = vec![Edit::Role { user: me.clone(), role: Some(Role::Owner), fence: None }];
        for tenure in old.present().filter(|t| t.role >= Role::Member && t.user != me) {
            // Whoever does not want it, or is not there any more, is left out.
            if let Ok(role) = self.entering(reader, &tenure.user, &me)? {
                let role = if role == Role::Member && tenure.role >= Role::Admin {
                    Role::Admin
                } else {
                    role
                };
                edits.push(role_of(&tenure.user, Some(role)));
            }
        }
        self.check_size(edits.len())?;
        self.found(reader, sealer, fresh, (old.name.clone(), old.policy(), Some(group)), &edits)?;
        Ok(fresh)
    }

    /// Homes for which something waits: events, marks, rosters, letters.
    pub fn waited_for(&self) -> std::collections::BTreeSet<HomeId> {
        self.owed.keys().chain(self.letters.keys()).copied().collect()
    }

    /// A user of this home wants a change. This home makes it, or asks the owner home.
    pub fn ask_group(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        sealer: &Sealer<'_>,
        user: &Local,
        command: (ChannelId, OpId, Change),
    ) -> Result<Asked, Failure> {
        self.at(now_ms);
        let (group, op, change) = command;
        let me = self.user(user);
        if !self.is_active(reader, user)? {
            return Err(DISABLED.into());
        }
        let Some(state) = self.channel(reader, group)? else { return Err(NO_CHANNEL.into()) };
        let (Some(of), Some(member)) = (state.group.clone(), state.member(&me).cloned()) else {
            return Err(NO_CHANNEL.into());
        };
        if member.left {
            return Err(LEFT.into());
        }
        if let Change::Leave { .. } = change {
            return self.leave(reader, sealer, group, &of, &member, op);
        }
        if change == (Change::Join { link: None }) && of.owner != self.id {
            return self.accept(group, &of, &member, op);
        }
        let avatar = match &change {
            Change::Update { avatar: Some(Some(file)), .. } => Some(file.clone()),
            Change::Update { .. }
            | Change::Invite(_)
            | Change::Remove(_)
            | Change::Join { .. }
            | Change::Leave { .. }
            | Change::MakeLink { .. }
            | Change::DropLink { .. } => None,
        };
        if let Some(file) = &avatar {
            self.check_avatar(reader, user, file)?;
        }
        if of.owner == self.id {
            return Ok(Asked::Done(self.change_group(reader, sealer, group, &me, &change)?));
        }
        // What the roster that is held forbids need not be asked.
        let roster = self.roster(group).ok_or(NO_CHANNEL)?;
        may_change(roster.roster(), &me, &change)?;
        if let Change::Update { name: Some(name), .. } = &change {
            check_name(name)?;
        }
        if avatar.is_some() {
            self.check_avatars_asked(group, op)?;
        }
        self.post(of.owner, &Letter::Command(Command { group, op, user: user.clone(), change }))?;
        if let Some(file) = avatar {
            self.ask_avatar(group, op, file.id);
        }
        self.hurry();
        Ok(Asked::Pending)
    }

    /// A user of this home agrees to be in a group of another.
    fn accept(
        &mut self,
        group: ChannelId,
        of: &GroupState,
        member: &Member,
        op: OpId,
    ) -> Result<Asked, Failure> {
        let Some(signed) = self.roster(group) else { return Err(NO_CHANNEL.into()) };
        let roster = signed.roster();
        let me = &member.user;
        let in_it = roster.role(me).is_some_and(|role| role >= Role::Member);
        if member.accepted {
            return Ok(Asked::Done(Changed { users: Vec::new(), version: of.version }));
        }
        if !in_it {
            let change = Change::Join { link: None };
            let command = Command { group, op, user: me.local.clone(), change };
            self.post(of.owner, &Letter::Command(command))?;
        }
        self.agree(group, roster, me);
        if !in_it {
            self.hurry();
            return Ok(Asked::Pending);
        }
        let change = self.changed(group);
        self.follows(Effect::Channel { channel: group, change });
        self.hurry();
        Ok(Asked::Done(Changed { users: Vec::new(), version: of.version }))
    }

    /// Notes that a user of this home wants to be in a group: in effect as soon as the roster says so, too.
    pub(crate) fn agree(&mut self, group: ChannelId, roster: &Roster, user: &UserRef) {
        let Some(state) = self.state_mut(group) else { return };
        let head = state.head;
        let Some(member) = state.member_mut(user) else { return };
        if !member.agrees() {
            member.agree(head);
        }
        self.note_unanswered(group, user);
        self.enter(group, roster, user);
    }

    /// Leaving takes effect at once, whatever the owner home does.
    pub(crate) fn leave(
        &mut self,
        reader: &dyn Reader,
        sealer: &Sealer<'_>,
        group: ChannelId,
        of: &GroupState,
        member: &Member,
        op: OpId,
    ) -> Result<Asked, Failure> {
        let me = member.user.clone();
        let fence = Some(self.written(group, &self.id));
        let change = Change::Leave { from: member.since, fence };
        if of.owner == self.id {
            return Ok(Asked::Done(self.change_group(reader, sealer, group, &me, &change)?));
        }
        let command = Command { group, op, user: me.local.clone(), change };
        self.post(of.owner, &Letter::Command(command))?;
        self.end_membership(group, &me);
        self.hurry();
        Ok(Asked::Done(Changed { users: Vec::new(), version: of.version }))
    }

    /// A user of this home is not in a group any more: nothing that comes later is shown.
    pub(crate) fn end_membership(&mut self, group: ChannelId, user: &UserRef) {
        // Before it is marked: the list of whoever leaves shows it, too.
        self.looks_different(group, user.clone());
        let Some(state) = self.state_mut(group) else { return };
        let head = state.head;
        let Some(member) = state.member_mut(user) else { return };
        member.left = true;
        member.shut(head);
        self.note_unanswered(group, user);
    }

    /// Makes a change in a group of this home.
    pub(crate) fn change_group(
        &mut self,
        reader: &dyn Reader,
        sealer: &Sealer<'_>,
        group: ChannelId,
        by: &UserRef,
        change: &Change,
    ) -> Result<Changed, Failure> {
        if self.channel(reader, group)?.is_none() {
            return Err(NO_CHANNEL.into());
        }
        let old = self.roster(group).ok_or(NO_CHANNEL)?;
        let old = old.roster();
        if let Change::Join { link: Some(secret) } = change
            && old.role(by).is_none()
        {
            return self.let_in(reader, sealer, old, by, secret);
        }
        may_change(old, by, change)?;
        let mut users = Vec::new();
        let mut edits = Vec::new();
        match change {
            Change::Invite(who) => {
                for user in who {
                    let refused = self.ask_in(reader, old, by, user, &mut edits)?;
                    users.push((user.clone(), refused.map(|refusal| refusal.reason)));
                }
                self.check_size(old.present().count() + edits.len())?;
            }
            Change::Remove(who) => {
                for user in who {
                    let refused = remove(old, by, user, &mut edits);
                    users.push((user.clone(), refused));
                }
            }
            Change::Update { name, avatar, policy, roles } => {
                if let Some(name) = name {
                    check_name(name)?;
                    edits.push(Edit::Name(name.clone()));
                }
                if let Some(avatar) = avatar {
                    if let Some(file) = avatar {
                        // Of one's own home alone: it has looked whose it is.
                        if file.home != by.home {
                            return Err(NO_MEDIA.into());
                        }
                        self.check_avatar_size(file.size)?;
                    }
                    edits.push(Edit::Avatar(avatar.clone()));
                }
                edits.extend(policy.map(Edit::Policy));
                // The answer has no row for each of them: all or none.
                for (user, role) in roles {
                    let edit = set_role(old, by, user, *role);
                    edits.push(edit.map_err(|refusal| refusal.about(user))?);
                }
                // Whoever hands the group over may name both at once.
                if let Some(user) = last_owner(old, roles) {
                    return Err(LAST_OWNER.about(user).into());
                }
            }
            // Whoever is asked or in it anyway uses nothing of a link up.
            Change::Join { .. } => {
                if old.role(by) == Some(Role::Invited) {
                    edits.push(role_of(by, Some(Role::Member)));
                }
            }
            Change::Leave { from, fence } => {
                // One that left long ago and has come back meanwhile is not meant.
                if old.named_since(by) == Some(*from) {
                    let held = self.written(group, &by.home);
                    let fence = fence.as_ref().map(|claimed| within_reach(claimed, &held));
                    edits.push(Edit::Role { user: by.clone(), role: None, fence });
                    let idle = self.idle_members(reader, old)?;
                    edits.extend(successor(old, by, &idle));
                }
            }
            Change::MakeLink { expires, uses, secret } => {
                self.make_link(group, by, *secret, (*expires, *uses))?;
            }
            Change::DropLink { secret } => self.drop_link(group, secret)?,
        }
        if !edits.is_empty() {
            self.amend_group(reader, sealer, group, by, &edits)?;
        }
        let version = self.roster(group).map_or(0, |roster| roster.roster().version);
        self.hurry();
        Ok(Changed { users, version })
    }

    /// The next roster of a group of this home.
    pub(crate) fn amend_group(
        &mut self,
        reader: &dyn Reader,
        sealer: &Sealer<'_>,
        group: ChannelId,
        by: &UserRef,
        edits: &[Edit],
    ) -> Result<(), Failure> {
        let Some(old) = self.roster(group) else { return Err(NO_CHANNEL.into()) };
        if self.awaits_rosters(old.roster()) {
            return Err(RECONCILING.into());
        }
        let (epoch, now_ms) = (self.epoch, self.now_ms);
        let written = |home: &HomeId| self.written(group, home);
        let next =
            amend(old.roster(), epoch, now_ms, by, edits, written).map_err(|WornOut| WORN_OUT)?;
        if self.is_too_fast(old.roster()) {
            return Err(Refusal::new(Class::Limit, "too_fast", "too many changes at once").into());
        }
        // What nobody could read is not signed: this home least of all, which keeps it.
        let signed = next.sign(sealer.key, sealer.record.clone());
        let sound = SignedRoster::stored(signed.bytes().clone());
        if sound.is_err() || signed.bytes().len() > ROSTER_BYTES {
            return Err(match sound {
                Err(RosterError::Field("owner")) => NO_OWNER.into(),
                Ok(_) | Err(_) => WORN_OUT.into(),
            });
        }
        Ok(self.follow(reader, signed)?)
    }

    /// Whether the next version would overtake the clock: a later life must be able to begin above it.
    pub(crate) fn is_too_fast(&self, held: &Roster) -> bool {
        (held.version + 1).max(self.epoch.0) > self.now_ms.max(self.epoch.0)
    }

    /// Whether newer rosters of a group of this home may come back: it was restored, has signed none of the group since,
    /// and has still to ask a home that is in it. A change now would take back what they say.
    pub(crate) fn awaits_rosters(&self, held: &Roster) -> bool {
        held.owner == self.id
            && held.epoch < self.epoch
            && self.is_young()
            && held.present().any(|tenure| self.reconciling.contains(&tenure.user.home))
    }

    /// Whether groups of this home may come back that were made after its backup.
    pub(crate) fn awaits_groups(&self) -> bool {
        self.is_young() && !self.reconciling.is_empty()
    }

    /// Whether homes that are up may still have to be asked what this one lost.
    fn is_young(&self) -> bool {
        self.now_ms < self.epoch.0.saturating_add(ROSTERS_AWAITED_MS)
    }

    /// What a home has written in a group, as far as it is held.
    pub(crate) fn written(&self, group: ChannelId, home: &HomeId) -> Fence {
        let chains = self.state(group).map(|state| state.chains.iter());
        let of_home = chains.into_iter().flatten().filter(|chain| chain.origin == *home);
        Fence::new(of_home.map(|chain| ChainPos { epoch: chain.epoch, seq: chain.seq }))
    }

    /// As what a user comes in who is asked by another: directly, or invited. Users of other homes are always
    /// invited; their own home answers for them where they know who asks.
    fn entering(
        &mut self,
        reader: &dyn Reader,
        user: &UserRef,
        by: &UserRef,
    ) -> Result<Result<Role, Refusal>, Fault> {
        if user.home != self.id {
            return Ok(Ok(Role::Invited));
        }
        if !self.takes_messages(reader, &user.local)? {
            return Ok(Err(NO_USER));
        }
        Ok(match self.answers(reader, &user.local, by)? {
            Some(true) => Ok(Role::Member),
            Some(false) => Err(Refusal::new(Class::NotAllowed, "declined", "they do not wish to")),
            None => Ok(Role::Invited),
        })
    }

    /// What this home answers an invitation for its user, without asking: yes to people of one's own home and to contacts
    /// (or to everybody, where the user says so), no to whom the user has blocked, and for whoever is not there any more.
    pub(crate) fn answers(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        by: &UserRef,
    ) -> Result<Option<bool>, Fault> {
        let account = self.account(reader, user)?;
        let active = account.is_some_and(|account| account.state == AccountState::Active);
        if !active || self.has_blocked(reader, user, by)? {
            return Ok(Some(false));
        }
        let known = by.home == self.id
            || self.groups_from(reader, user)? == GroupsFrom::Everyone
            || self.is_contact(reader, user, by)?;
        Ok(known.then_some(true))
    }

    fn ask_in(
        &mut self,
        reader: &dyn Reader,
        old: &Roster,
        by: &UserRef,
        user: &UserRef,
        edits: &mut Vec<Edit>,
    ) -> Result<Option<Refusal>, Fault> {
        let named =
            edits.iter().any(|edit| matches!(edit, Edit::Role { user: u, .. } if u == user));
        if named || old.role(user).is_some() {
            return Ok(None); // in it, asked already, or named twice
        }
        Ok(match self.entering(reader, user, by)? {
            Ok(role) => {
                edits.push(role_of(user, Some(role)));
                None
            }
            Err(refusal) => Some(refusal),
        })
    }

    pub(crate) fn check_size(&self, members: usize) -> Result<(), Refusal> {
        let most = self.policy.group_members.min(ROSTER_MEMBERS as u64);
        if members as u64 <= most {
            return Ok(());
        }
        Err(Refusal::new(Class::Limit, "group_full", "a group has no room for so many people")
            .with_limit(most))
    }
}

impl ChannelState {
    /// A new group, with nobody in it yet.
    pub(crate) fn group(id: ChannelId, owner: HomeId, now_ms: u64) -> Self {
        Self {
            id,
            created_at: now_ms,
            head: Pos(0),
            last: Pos(0),
            counted: 0,
            changed: 0,
            active_at: now_ms,
            members: Vec::new(),
            chains: Vec::new(),
            cursors: Vec::new(),
            pruned: Pos(0),
            rejected: Vec::new(),
            uncounted: Vec::new(),
            strays: false,
            group: Some(GroupState {
                owner,
                version: 0,
                since: 0,
                continues: None,
                continued_by: None,
                forked: None,
                links: Vec::new(),
                avatars_asked: Vec::new(),
            }),
        }
    }
}

/// What a leaver's home says it has written, as far as it can be true where so much of it is held.
fn within_reach(claimed: &Fence, held: &Fence) -> Fence {
    let most = |end: &ChainPos| Seq(held.end_of(end.epoch).0.saturating_add(LEAVE_AHEAD));
    Fence::new(claimed.ends().iter().map(|end| ChainPos { seq: end.seq.min(most(end)), ..*end }))
}

pub(crate) fn role_of(user: &UserRef, role: Option<Role>) -> Edit {
    Edit::Role { user: user.clone(), role, fence: None }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let sound = !name.trim().is_empty()
        && name.len() <= GROUP_NAME_BYTES
        && !name.chars().any(char::is_control);
    if sound { Ok(()) } else { Err(BAD_NAME) }
}

/// Whether somebody may ask for that at all; each user that it names is looked at for itself.
fn may_change(roster: &Roster, by: &UserRef, change: &Change) -> Result<(), Refusal> {
    let Some(role) = roster.role(by) else { return Err(NO_CHANNEL) };
    let policy = roster.policy();
    let admin = role >= Role::Admin;
    let allowed = match change {
        Change::Invite(_) => policy.invite.includes(role),
        Change::Remove(_) | Change::MakeLink { .. } | Change::DropLink { .. } => admin,
        Change::Update { name, avatar, policy: new, roles } => {
            let looks = (name.is_none() && avatar.is_none()) || policy.change.includes(role);
            looks && (new.is_none() || admin) && (roles.is_empty() || admin)
        }
        Change::Join { .. } | Change::Leave { .. } => true,
    };
    if allowed { Ok(()) } else { Err(NOT_ALLOWED) }
}

/// Takes a user out; answers why not.
fn remove(
    roster: &Roster,
    by: &UserRef,
    user: &UserRef,
    edits: &mut Vec<Edit>,
) -> Option<&'static str> {
    let Some(role) = roster.role(user) else { return Some("not_a_member") };
    if user == by {
        return Some("with_self"); // that is leaving
    }
    // Nobody removes whoever is above, nor an equal but for owners.
    let mine = roster.role(by).unwrap_or(Role::Invited);
    if role >= mine && mine != Role::Owner {
        return Some("not_allowed");
    }
    edits.push(role_of(user, None));
    None
}

/// Gives a user a role.
fn set_role(roster: &Roster, by: &UserRef, user: &UserRef, role: Role) -> Result<Edit, Refusal> {
    let mine = roster.role(by).unwrap_or(Role::Invited);
    let Some(now) = roster.role(user).filter(|role| *role >= Role::Member) else {
        return Err(NOT_A_MEMBER);
    };
    if role < Role::Member {
        return Err(NO_ROLE);
    }
    if now.max(role) > mine {
        return Err(ABOVE);
    }
    if role == Role::Owner && user.home != roster.owner {
        return Err(OWNER_ELSEWHERE); // its home could not change the roster
    }
    Ok(role_of(user, Some(role)))
}

/// Who would be the last owner to be one, if nobody were left.
fn last_owner<'a>(roster: &Roster, roles: &'a [(UserRef, Role)]) -> Option<&'a UserRef> {
    let owners = || roster.present().filter(|tenure| tenure.role == Role::Owner);
    let role =
        |user: &UserRef| roles.iter().rev().find(|(of, _)| of == user).map(|(_, role)| *role);
    let stays = |user: &UserRef| role(user).is_none_or(|role| role == Role::Owner);
    let named = roles.iter().any(|(_, role)| *role == Role::Owner);
    if named || owners().any(|tenure| stays(&tenure.user)) {
        return None;
    }
    roles.iter().map(|(user, _)| user).rfind(|user| owners().any(|tenure| tenure.user == **user))
}

/// Where the last owner leaves and others stay, somebody of the owner home owns it. Where nobody of that home is left, it
/// has no owner; admins elsewhere can still ask its home for changes.
fn successor(roster: &Roster, leaver: &UserRef, idle: &[UserRef]) -> Option<Edit> {
    let is_owner = roster.role(leaver) == Some(Role::Owner);
    let mut others = roster.present().filter(|t| t.user != *leaver);
    if !is_owner || others.any(|t| t.role == Role::Owner && !idle.contains(&t.user)) {
        return None;
    }
    heir_of(roster, leaver, idle).map(|heir| role_of(&heir, Some(Role::Owner)))
}

/// Who is to own a group in the place of somebody: the longest-serving owner or admin of the owner home, else member. Whoever
/// of them is not there (`idle`: their accounts are shut) comes last.
pub(crate) fn heir_of(roster: &Roster, of: &UserRef, idle: &[UserRef]) -> Option<UserRef> {
    let here = roster
        .present()
        .filter(|t| t.user != *of && t.user.home == roster.owner && t.role >= Role::Member);
    let since = |user: &UserRef| roster.member_since(user).unwrap_or(u64::MAX);
    let rank = |t: &&homing_wire::Tenure| {
        (idle.contains(&t.user), std::cmp::Reverse(t.role), since(&t.user))
    };
    here.min_by_key(rank).map(|heir| heir.user.clone())
}
