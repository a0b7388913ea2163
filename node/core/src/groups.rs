//! Groups: their rosters made (by the owner home alone) and followed (by everybody), and what that changes here: who
//! is in, what each may see, which homes take this home's events, and which messages do not count any more.
//!
//! What an event may do is decided by the newest roster that is held and by nothing that differs between homes
//! ([`homing_wire::Roster::may`]), so that homes with the same roster show the same messages, whatever came first.

use std::sync::Arc;

use bytes::Bytes;
use homing_wire::limits::{GROUP_NAME_BYTES, LETTER_BYTES, ROSTER_BYTES, ROSTER_MEMBERS};
use homing_wire::{
    ChainPos, Change, ChannelId, Command, Epoch, Fence, HomeId, Letter, Local, OpId, Outcome,
    Policy, Pos, Right, Role, Roster, RosterError, RosterHistory, Seq, SignedRoster, Signs, Target,
    Tenure, UserRef,
};

use crate::home::{Effect, Home};
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, DISABLED, Failure, NO_CHANNEL, NO_USER, Refusal};
use crate::relay::PeerFault;
use crate::roster::{Edit, WornOut, amend, first};
use crate::state::{AccountState, ChannelState, Cursor, GroupState, GroupsFrom, Member, PeerState};
use crate::write::Write;

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

/// Letters that may wait for one home: a person makes a few, a script is told to wait.
const LETTERS: usize = 1_000;

/// Events of one chain looked at when a roster turns some of them: beyond them nobody is told, and unread counts are
/// not put right.
const TURNED_EVENTS: u64 = 4_096;

/// Events that whoever leaves may have written and the owner home not have received yet. A home that claims more
/// could let its user write on for ever.
const LEAVE_AHEAD: u64 = 10_000;

const NOT_ALLOWED: Refusal =
    Refusal::new(Class::NotAllowed, "not_allowed", "your role in this group does not let you");
const LEFT: Refusal = Refusal::new(Class::NotAllowed, "left", "you are not in this group any more");
const BAD_NAME: Refusal = Refusal::new(
    Class::Invalid,
    "invalid_name",
    "a group's name has 1 to 256 bytes and no control characters",
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
        if new.id.0.get_version() != Some(uuid::Version::SortRand) {
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
                return Err(Refusal::new(
                    Class::Invalid,
                    "member_twice",
                    "somebody is named twice",
                )
                .into());
            }
            let role = self.entering(reader, user, &me)?.map_err(Failure::Refused)?;
            edits.push(Edit::Role { user: user.clone(), role: Some(role), fence: None });
        }
        self.check_size(edits.len())?;
        let (home, epoch) = (self.id, self.epoch);
        let empty = first(new.id, home, epoch, now_ms, new.name, new.policy, None);
        // The first version is the one with its first members in it.
        let mut roster = amend(&empty, epoch, now_ms, &me, &edits, |_| Fence::NOTHING)
            .map_err(|WornOut| WORN_OUT)?;
        roster.prev = homing_wire::Hash::NONE;
        self.add_channel(ChannelState::group(new.id, home, self.now_ms));
        self.follow(reader, roster.sign(sealer.key, sealer.record.clone()))?;
        self.hurry();
        Ok(new.id)
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
        if of.owner == self.id {
            return Ok(Asked::Done(self.change_group(reader, sealer, group, &me, &change)?));
        }
        // What the roster that is held forbids need not be asked.
        let roster = self.roster(group).ok_or(NO_CHANNEL)?;
        may_change(roster.roster(), &me, &change)?;
        if let Change::Update { name: Some(name), .. } = &change {
            check_name(name)?;
        }
        self.post(of.owner, &Letter::Command(Command { group, op, user: user.clone(), change }))?;
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
    fn agree(&mut self, group: ChannelId, roster: &Roster, user: &UserRef) {
        let Some(state) = self.state_mut(group) else { return };
        let head = state.head;
        let Some(member) = state.member_mut(user) else { return };
        if !member.agrees() {
            member.agree(head);
        }
        self.enter(group, roster, user);
    }

    /// Leaving takes effect at once, whatever the owner home does.
    fn leave(
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
    fn end_membership(&mut self, group: ChannelId, user: &UserRef) {
        // Before it is marked: the list of whoever leaves shows it, too.
        self.looks_different(group, user.clone());
        let Some(state) = self.state_mut(group) else { return };
        let head = state.head;
        let Some(member) = state.member_mut(user) else { return };
        member.left = true;
        member.shut(head);
    }

    /// Makes a change in a group of this home.
    fn change_group(
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
            Change::Update { name, policy, roles } => {
                if let Some(name) = name {
                    check_name(name)?;
                    edits.push(Edit::Name(name.clone()));
                }
                edits.extend(policy.map(Edit::Policy));
                for (user, role) in roles {
                    let refused = set_role(old, by, user, *role, &mut edits);
                    users.push((user.clone(), refused));
                }
            }
            Change::Join { link: None } => {
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
                    edits.extend(successor(old, by));
                }
            }
            Change::Join { link: Some(_) } | Change::MakeLink { .. } | Change::DropLink { .. } => {
                return Err(Refusal::new(
                    Class::NotFound,
                    "link_not_found",
                    "this link is unknown, used up or expired",
                )
                .into());
            }
        }
        if !edits.is_empty() {
            self.amend_group(reader, sealer, group, by, &edits)?;
        }
        let version = self.roster(group).map_or(0, |roster| roster.roster().version);
        self.hurry();
        Ok(Changed { users, version })
    }

    /// The next roster of a group of this home.
    fn amend_group(
        &mut self,
        reader: &dyn Reader,
        sealer: &Sealer<'_>,
        group: ChannelId,
        by: &UserRef,
        edits: &[Edit],
    ) -> Result<(), Failure> {
        let Some(old) = self.roster(group) else { return Err(NO_CHANNEL.into()) };
        let (epoch, now_ms) = (self.epoch, self.now_ms);
        let written = |home: &HomeId| self.written(group, home);
        let next =
            amend(old.roster(), epoch, now_ms, by, edits, written).map_err(|WornOut| WORN_OUT)?;
        if next.version > now_ms.max(epoch.0) {
            // A later life must be able to begin above it.
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

    /// What a home has written in a group, as far as it is held.
    fn written(&self, group: ChannelId, home: &HomeId) -> Fence {
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
    fn answers(
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

    fn check_size(&self, members: usize) -> Result<(), Refusal> {
        let most = self.policy.group_members.min(ROSTER_MEMBERS as u64);
        if members as u64 <= most {
            return Ok(());
        }
        Err(Refusal::new(Class::Limit, "group_full", "a group has no room for so many people")
            .with_limit(most))
    }

    /// A letter of another home; `None`: one that this version cannot read. Each is taken once, in order.
    pub fn receive_letter(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        sealer: &Sealer<'_>,
        peer: HomeId,
        name: (Epoch, u64),
        letter: Option<&Letter>,
    ) -> Result<Result<(), PeerFault>, Fault> {
        self.at(now_ms);
        let Some(known) = self.peers.get(&peer).cloned() else {
            return Ok(Err(PeerFault("letter_of_stranger")));
        };
        self.hurry();
        if name <= known.letters_done {
            return Ok(Ok(()));
        }
        self.put_peer(PeerState { letters_done: name, ..known });
        match letter {
            Some(Letter::Command(command)) => self.carry_out(reader, sealer, peer, command)?,
            Some(Letter::Outcome(outcome)) => {
                self.follows(Effect::Settled { peer, outcome: outcome.clone() });
            }
            None => {}
        }
        Ok(Ok(()))
    }

    /// A home asks for a change of a group of this home, and is told what came of it.
    fn carry_out(
        &mut self,
        reader: &dyn Reader,
        sealer: &Sealer<'_>,
        peer: HomeId,
        command: &Command,
    ) -> Result<(), Fault> {
        let Command { group, op, ref user, ref change } = *command;
        let by = UserRef::new(peer, user.clone());
        let own = self.id;
        let mine = self
            .channel(reader, group)?
            .and_then(|state| state.group.as_ref())
            .is_some_and(|of| of.owner == own);
        let result = if mine {
            self.change_group(reader, sealer, group, &by, change)
        } else {
            Err(NO_CHANNEL.into())
        };
        let word = |reason: &'static str| reason.to_owned();
        let outcome = match result {
            Ok(changed) => Outcome {
                group,
                op,
                refused: None,
                users: changed.users.into_iter().map(|(u, r)| (u, r.map(word))).collect(),
                version: changed.version,
            },
            Err(Failure::Refused(refusal)) => {
                let refused = Some(word(refusal.reason));
                Outcome { group, op, refused, users: Vec::new(), version: 0 }
            }
            Err(Failure::Fault(fault)) => return Err(fault),
        };
        // Where too much waits for it already, it has stopped listening.
        let _not_told = self.post(peer, &Letter::Outcome(outcome));
        Ok(())
    }

    /// Another home has all letters up to that number.
    pub fn letters_taken(&mut self, peer: HomeId, upto: u64) -> Result<(), PeerFault> {
        let Some(waiting) = self.letters.get_mut(&peer) else { return Ok(()) };
        let rest = waiting.split_off(&(upto + 1));
        let taken = std::mem::replace(waiting, rest);
        if waiting.is_empty() {
            self.letters.remove(&peer);
        }
        for number in taken.into_keys() {
            self.write(Write::LetterGone { peer, number });
        }
        Ok(())
    }

    /// Notes a letter, to go when the peer can be reached.
    fn post(&mut self, peer: HomeId, letter: &Letter) -> Result<(), Refusal> {
        let encoded = letter.encode();
        if encoded.len() > LETTER_BYTES {
            return Err(Refusal::new(Class::Limit, "too_much", "ask for less at once")
                .with_limit(LETTER_BYTES as u64));
        }
        let waiting = self.letters.entry(peer).or_default();
        if waiting.len() >= LETTERS {
            return Err(Refusal::new(
                Class::Limit,
                "home_unreachable",
                "too much waits for that group's home already: try again when it is back",
            )
            .with_limit(LETTERS as u64));
        }
        let last = waiting.keys().next_back().copied().unwrap_or(0);
        let number = self.peers.get(&peer).map_or(0, |known| known.letters).max(last) + 1;
        let letter = encoded;
        waiting.insert(number, letter.clone());
        if let Some(known) = self.peers.get(&peer).cloned() {
            // Kept beside the letters: the last may be taken, and its number must not come again.
            self.put_peer(PeerState { letters: number, ..known });
        }
        self.write(Write::Letter { peer, number, letter: letter.clone() });
        if !self.asked_first(&peer) {
            self.follows(Effect::Letter { peer, number, letter });
        }
        Ok(())
    }

    /// A roster that came from another home. Whoever sent it: the owner home has signed it.
    pub fn receive_roster(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        signed: SignedRoster,
    ) -> Result<Result<(), PeerFault>, Fault> {
        self.at(now_ms);
        self.hurry();
        let own = self.id;
        let new = signed.roster();
        if new.owner == own {
            // Nobody but this home makes them. Its own come back after a restore, by repair.
            return Ok(Ok(()));
        }
        let id = new.group;
        let Some(state) = self.channel(reader, id)? else {
            let ours = new.present().any(|tenure| tenure.user.home == own);
            if ours {
                self.add_channel(ChannelState::group(id, new.owner, self.now_ms));
                self.follow(reader, signed)?;
            }
            return Ok(Ok(()));
        };
        let Some(of) = state.group.clone() else { return Ok(Err(PeerFault("roster_of_a_chat"))) };
        let Some(held) = self.roster(id) else { return Ok(Ok(())) };
        if of.forked.is_some_and(|life| new.epoch <= life) || new.version < held.roster().version {
            return Ok(Ok(()));
        }
        if signed.hash() == held.hash() {
            return Ok(Ok(()));
        }
        if new.owner != of.owner || !new.follows(held.roster()) {
            if new.owner == of.owner
                && let Some(group) = self.state_mut(id).and_then(|s| s.group.as_mut())
            {
                // Both are signed by it.
                group.forked = Some(new.epoch);
            }
            return Ok(Err(PeerFault("roster_fork")));
        }
        self.follow(reader, signed)?;
        Ok(Ok(()))
    }

    /// Another home lacks the roster that an event of this home names, or has never had one.
    pub fn roster_wanted(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        group: ChannelId,
    ) -> Result<(), Fault> {
        if self.channel(reader, group)?.is_none() {
            return Ok(());
        }
        if let Some(signed) = self.roster(group)
            && signed.roster().tenures.iter().any(|tenure| tenure.user.home == peer)
        {
            self.follows(roster_effect(peer, &signed));
        }
        Ok(())
    }

    /// Another home has a roster.
    pub fn roster_taken(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        group: ChannelId,
        version: u64,
    ) -> Result<Result<(), PeerFault>, Fault> {
        let Some(state) = self.channel(reader, group)? else { return Ok(Ok(())) };
        let held = state.group.as_ref().map_or(0, |of| of.version);
        let Some(cursor) = state.cursor(&peer) else { return Ok(Ok(())) };
        if version > held {
            return Ok(Err(PeerFault("ack_ahead")));
        }
        if version > cursor.roster {
            self.owe(group, peer, |cursor| cursor.roster = version);
            let gone = version == held
                && self.state(group).and_then(|s| s.cursor(&peer)).is_some_and(|c| c.outside)
                && !self
                    .roster(group)
                    .is_some_and(|r| r.roster().present().any(|t| t.user.home == peer));
            if gone && let Some(state) = self.state_mut(group) {
                // It knows that it is out.
                state.cursors.retain(|cursor| cursor.home != peer);
            }
        }
        Ok(Ok(()))
    }

    /// The roster of a channel that has been loaded.
    pub(crate) fn roster(&self, group: ChannelId) -> Option<Arc<SignedRoster>> {
        self.peek_slot(group)?.roster.clone()
    }

    /// A group's roster, where `id` is a group that is here.
    pub fn roster_of(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
    ) -> Result<Option<Arc<SignedRoster>>, Fault> {
        self.channel(reader, id)?;
        Ok(self.roster(id))
    }

    /// From now on a roster is the one that is held.
    fn follow(&mut self, reader: &dyn Reader, signed: SignedRoster) -> Result<(), Fault> {
        let signed = Arc::new(signed);
        let (new, id) = (signed.roster(), signed.roster().group);
        let old = self.roster(id);
        let Some(slot) = self.change_channel(id) else { return Ok(()) };
        slot.roster = Some(signed.clone());
        if let Some(group) = &mut slot.state.group {
            group.version = new.version;
            group.forked = None;
        }
        self.write(Write::Roster { channel: id, signed: signed.bytes().clone() });
        let before = old.as_ref().map(|signed| signed.roster());
        let asked = self.follow_members(reader, id, before, new)?;
        self.follow_homes(id, before, &signed);
        if let Some(old) = old {
            self.turn(reader, id, old.roster(), new)?;
        }
        let change = self.changed(id);
        self.follows(Effect::Channel { channel: id, change });
        for (user, by) in asked {
            self.answer_invitation(reader, id, new, &user, &by)?;
        }
        Ok(())
    }

    /// Members as a roster has them. Answers with users of this home whom another home has newly named, and by whom.
    fn follow_members(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        old: Option<&Roster>,
        new: &Roster,
    ) -> Result<Vec<(Local, UserRef)>, Fault> {
        let own = self.id;
        let gone: Vec<UserRef> = self
            .state(id)
            .into_iter()
            .flat_map(|state| &state.members)
            .filter(|m| m.user.home == own && !m.left && new.tenure(&m.user).is_none())
            .map(|m| m.user.clone())
            .collect();
        for user in gone {
            self.end_membership(id, &user);
        }
        let Some(state) = self.state_mut(id) else { return Ok(Vec::new()) };
        let in_it = |user: &UserRef| new.role(user).is_some_and(|role| role >= Role::Member);
        state.members.retain(|m| m.user.home == own || in_it(&m.user));
        for tenure in new.present().filter(|t| t.user.home != own && t.role >= Role::Member) {
            let since = new.named_since(&tenure.user).unwrap_or(tenure.from);
            match state.member_mut(&tenure.user) {
                Some(member) => member.since = since,
                None => {
                    let member = Member { since, ..Member::new(tenure.user.clone(), true) };
                    state.members.push(member);
                }
            }
        }
        let mut asked = Vec::new();
        for tenure in new.present().filter(|t| t.user.home == own) {
            if self.name(reader, id, (old, new), tenure)? {
                asked.push((tenure.user.local.clone(), tenure.by.clone()));
            }
        }
        Ok(asked)
    }

    /// A roster names a user of this home. True: newly, and another home has signed it, so that there is something to
    /// answer. Whatever role a roster gives, nobody is in a group of another home who has not agreed here.
    fn name(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        (old, new): (Option<&Roster>, &Roster),
        tenure: &Tenure,
    ) -> Result<bool, Fault> {
        let user = &tenure.user;
        let since = new.named_since(user).unwrap_or(tenure.from);
        let mine = new.owner == self.id;
        let known = self.state(id).is_some_and(|state| state.member(user).is_some());
        let account = self.account(reader, &user.local)?;
        if !known && !mine && account.is_none_or(|a| a.state != AccountState::Active) {
            // Nobody of that name can be in it; that is said once.
            return Ok(old.is_none_or(|old| since > old.version));
        }
        let Some(state) = self.state_mut(id) else { return Ok(false) };
        let head = state.head;
        if !known {
            state.members.push(Member::new(user.clone(), false));
        }
        let Some(member) = state.member_mut(user) else { return Ok(false) };
        let is_new = member.since != since;
        if !is_new && member.left {
            return Ok(false); // left here; the owner home has not heard of it yet
        }
        if is_new {
            member.shut(head);
            (member.since, member.left, member.accepted) = (since, false, false);
        } else if tenure.role < Role::Member && member.accepted {
            member.shut(head);
            member.accepted = false;
        }
        if mine && tenure.role >= Role::Member && !member.agrees() {
            member.agree(head); // it was asked before the roster was made
        }
        self.enter(id, new, user);
        Ok(is_new && !mine)
    }

    /// Whoever agrees and is in it by the roster sees what comes from now on, and before as the group has it.
    fn enter(&mut self, id: ChannelId, roster: &Roster, user: &UserRef) {
        let Some(state) = self.state_mut(id) else { return };
        let (head, counted) = (state.head, state.counted);
        let Some(member) = state.member_mut(user) else { return };
        let in_it = roster.role(user).is_some_and(|role| role >= Role::Member);
        if member.accepted || !in_it || !member.agrees() {
            return;
        }
        member.accepted = true;
        if let Some(span) = member.spans.last_mut() {
            let all = roster.policy().history == RosterHistory::All;
            span.above = if all { Pos(0) } else { head };
        }
        // What was there before is not unread.
        member.mark.delivered = member.mark.delivered.max(head);
        member.mark.read = member.mark.read.max(head);
        member.read_counted = counted;
    }

    /// Which homes take this home's events, and which have still to hear of the roster.
    fn follow_homes(&mut self, id: ChannelId, old: Option<&Roster>, signed: &Arc<SignedRoster>) {
        let new = signed.roster();
        let (own, epoch) = (self.id, self.epoch);
        let Some(state) = self.state(id) else { return };
        let end = state.chain(&own, epoch).map_or(Seq(0), |chain| chain.seq);
        let mine = new.owner == own;
        let here = new.home_since(&own).is_some();
        let mut homes: Vec<HomeId> = new.present().map(|t| t.user.home).collect();
        homes.extend(state.cursors.iter().map(|cursor| cursor.home));
        homes.sort_unstable();
        homes.dedup();
        homes.retain(|home| *home != own);
        for home in homes {
            let since = new.home_since(&home).filter(|_| here);
            let inside = since.is_some();
            // It was out for a while between two rosters that are held.
            let came_back = old.is_some_and(|old| since.is_some_and(|since| since > old.version));
            if !inside && !mine {
                self.drop_cursor(id, home);
                continue;
            }
            if let Some(state) = self.state_mut(id)
                && state.cursor(&home).is_none()
            {
                state.cursors.push(Cursor { outside: true, ..Cursor::new(home, epoch) });
            }
            self.owe(id, home, |cursor| {
                if inside && (cursor.outside || came_back) {
                    // What was written before is not for it.
                    (cursor.epoch, cursor.acked, cursor.begins) = (epoch, end, (epoch, end));
                }
                // Whoever took nothing may have people in it again.
                cursor.refused = None;
                cursor.outside = !inside;
                cursor.marks_owed &= inside;
            });
            self.push(id, home);
            if mine {
                self.follows(roster_effect(home, signed));
            }
        }
    }

    /// A home takes nothing of a channel any more, and nothing is owed to it.
    fn drop_cursor(&mut self, id: ChannelId, home: HomeId) {
        self.owe(id, home, |cursor| (cursor.outside, cursor.marks_owed) = (true, false));
        if let Some(state) = self.state_mut(id) {
            state.cursors.retain(|cursor| cursor.home != home);
        }
    }

    /// Messages that counted under the old roster and do not under the new one.
    fn turn(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        old: &Roster,
        new: &Roster,
    ) -> Result<(), Fault> {
        // From each fence that is new, whatever its home has written beyond.
        let ended = new.tenures.iter().filter(|t| t.until.is_some_and(|until| until > old.version));
        let ended = ended.filter_map(|t| Some((t.user.home, t.fence.as_ref()?)));
        let shut = new.policies.iter().filter(|span| span.from > old.version);
        let shut = shut.flat_map(|span| span.fences.iter().map(|(home, fence)| (*home, fence)));
        let fences: Vec<(HomeId, &Fence)> = ended.chain(shut).collect();
        let chains = self.state(id).map(|s| s.chains.clone()).unwrap_or_default();
        for chain in chains {
            let of_home = fences.iter().filter(|(home, _)| *home == chain.origin);
            let Some(counts) = of_home.map(|(_, fence)| fence.end_of(chain.epoch)).min() else {
                continue;
            };
            // What lies far back is judged where it is shown, like everything; this step has an end.
            let first = counts.0.max(chain.seq.0.saturating_sub(TURNED_EVENTS)) + 1;
            let part = (Seq(first), chain.seq);
            self.turn_chain(reader, id, (old, new), (chain.origin, chain.epoch), part)?;
        }
        Ok(())
    }

    fn turn_chain(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        (old, new): (&Roster, &Roster),
        (origin, epoch): (HomeId, Epoch),
        (from, upto): (Seq, Seq),
    ) -> Result<(), Fault> {
        let mut seq = from;
        while seq <= upto {
            let Some(row) = self.row_of_seq(reader, id, origin, epoch, seq)? else { break };
            seq = row.seq.next();
            let Some(entry) = self.entry_at(reader, id, row.pos)? else { continue };
            let header = &entry.event.header;
            let (user, at) = (header.user(), ChainPos { epoch, seq: row.seq });
            let may = |roster: &Roster| roster.may(&user, Right::Write, header.roster, at);
            if may(old).is_err() || may(new).is_ok() {
                continue;
            }
            if header.kind.is_message()
                && let Some(group) = self.state_mut(id).and_then(|s| s.group.as_mut())
            {
                group.turned.push(row.pos);
                let more = group.turned.len().saturating_sub(GroupState::TURNED);
                group.turned.drain(..more);
            }
            let about = Target { sender: user.clone(), id: header.id };
            self.note_rejected(id, about);
            let change = self.changed(id);
            let reason = REMOVED.to_owned();
            self.follows(Effect::Rejected { entry, reason, change });
        }
        Ok(())
    }

    /// Answers for a user who need not be asked.
    fn answer_invitation(
        &mut self,
        reader: &dyn Reader,
        group: ChannelId,
        roster: &Roster,
        user: &Local,
        by: &UserRef,
    ) -> Result<(), Fault> {
        if roster.owner == self.id {
            return Ok(()); // decided when it was made
        }
        let me = self.user(user);
        let since = roster.named_since(&me).unwrap_or(0);
        let yes = match self.answers(reader, user, by)? {
            Some(yes) => yes,
            None => return Ok(()),
        };
        let change = if yes {
            Change::Join { link: None }
        } else {
            Change::Leave { from: since, fence: Some(self.written(group, &self.id)) }
        };
        if !yes || roster.role(&me) == Some(Role::Invited) {
            // Nobody waits for the outcome: the next roster shows it.
            let name =
                [&group.as_bytes()[..], user.as_str().as_bytes(), &since.to_be_bytes()].concat();
            let op = OpId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &name));
            let command = Command { group, op, user: user.clone(), change };
            if self.post(roster.owner, &Letter::Command(command)).is_err() {
                return Ok(());
            }
        }
        if yes {
            self.agree(group, roster, &me);
        } else {
            self.end_membership(group, &me);
        }
        Ok(())
    }

    /// Whether a user of this home may write into a group.
    pub(crate) fn check_writer(&self, id: ChannelId, me: &UserRef) -> Result<(), Refusal> {
        let Some(state) = self.state(id) else { return Err(NO_CHANNEL) };
        if state.group.is_none() {
            return Ok(());
        }
        let (Some(member), Some(signed)) = (state.member(me), self.roster(id)) else {
            return Err(NO_CHANNEL);
        };
        if member.left {
            return Err(LEFT);
        }
        if !member.accepted {
            return Err(NO_CHANNEL);
        }
        let roster = signed.roster();
        roster
            .may(me, Right::Write, roster.version, ChainPos { epoch: Epoch(0), seq: Seq(0) })
            .map_err(|_| NOT_ALLOWED)
    }
}

/// Why a message is rejected whose sender had lost the right to write it.
pub(crate) const REMOVED: &str = "no_right";

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
            group: Some(GroupState { owner, version: 0, forked: None, turned: Vec::new() }),
        }
    }
}

fn roster_effect(peer: HomeId, signed: &Arc<SignedRoster>) -> Effect {
    Effect::Roster { peer, signed: signed.clone() }
}

/// What a leaver's home says it has written, as far as it can be true where so much of it is held.
fn within_reach(claimed: &Fence, held: &Fence) -> Fence {
    let most = |end: &ChainPos| Seq(held.end_of(end.epoch).0.saturating_add(LEAVE_AHEAD));
    Fence::new(claimed.ends().iter().map(|end| ChainPos { seq: end.seq.min(most(end)), ..*end }))
}

fn role_of(user: &UserRef, role: Option<Role>) -> Edit {
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
        Change::Update { name, policy: new, roles } => {
            let name = name.is_none() || policy.change.includes(role);
            name && (new.is_none() || admin) && (roles.is_empty() || admin)
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

/// Gives a user a role; answers why not.
fn set_role(
    roster: &Roster,
    by: &UserRef,
    user: &UserRef,
    role: Role,
    edits: &mut Vec<Edit>,
) -> Option<&'static str> {
    let mine = roster.role(by).unwrap_or(Role::Invited);
    let Some(now) = roster.role(user).filter(|role| *role >= Role::Member) else {
        return Some("not_a_member");
    };
    if role < Role::Member {
        return Some("invalid_role");
    }
    if now.max(role) > mine {
        return Some("not_allowed");
    }
    if role == Role::Owner && user.home != roster.owner {
        return Some("owner_elsewhere"); // its home could not change the roster
    }
    let owners = roster.present().filter(|t| t.role == Role::Owner).count();
    if now == Role::Owner && role != Role::Owner && owners == 1 {
        return Some("last_owner");
    }
    edits.push(role_of(user, Some(role)));
    None
}

/// Where the last owner leaves and others stay: the longest-serving admin of the owner home, else member, owns it. Where
/// nobody of that home is left, it has no owner; admins elsewhere can still ask its home for changes.
fn successor(roster: &Roster, leaver: &UserRef) -> Option<Edit> {
    let is_owner = roster.role(leaver) == Some(Role::Owner);
    let others = || roster.present().filter(|t| t.user != *leaver);
    if !is_owner || others().any(|t| t.role == Role::Owner) {
        return None;
    }
    let here = others().filter(|t| t.user.home == roster.owner && t.role >= Role::Member);
    let since = |user: &UserRef| roster.member_since(user).unwrap_or(u64::MAX);
    let heir = here.min_by_key(|t| (std::cmp::Reverse(t.role), since(&t.user)));
    heir.map(|heir| role_of(&heir.user, Some(Role::Owner)))
}
