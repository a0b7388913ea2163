//! Groups: what their people do, and who has agreed to what.

use homing_core::{
    Asked, Failure, ListChange, ListCommand, NewGroup, Sealer, SendCommand, Target, UserList,
};
use homing_wire::{
    Change, ChannelId, Kind, MessageId, OpId, Policy, Pos, Role, RosterHistory, SignedRoster,
    UserRef, Who,
};
use uuid::Uuid;

use super::Broken;
use super::ledger::{Ledger, Wish, v7};
use super::member::{Made, Output};
use super::plan::{PEOPLE, Person, What};
use super::seal::Seal;
use super::world::{MONDAY_MS, World};

impl World {
    /// One of the people who can be in groups.
    pub(super) fn person(&self, person: usize) -> UserRef {
        let member = &self.members[person / PEOPLE % self.plan.homes];
        UserRef::new(member.id, member.names[person % PEOPLE].clone())
    }

    /// That group, once one is made.
    fn group(&self, group: usize) -> Option<(ChannelId, usize)> {
        let groups = &self.ledger.groups;
        group.checked_rem(groups.len()).map(|n| groups[n])
    }

    /// Whom the plan means. Of those of whom there is none now, nobody.
    fn who(&self, person: Person, group: ChannelId) -> Result<Option<UserRef>, Broken> {
        let (n, found) = match person {
            Person::User(n) => return Ok(Some(self.person(n))),
            Person::Member(n) => (n, self.those_in(group, true)?),
            Person::Invited(n) => (n, self.those_in(group, false)?),
            Person::Admin(n) => {
                let Some(owner) = self.ledger.owner(group) else { return Ok(None) };
                let Some(signed) = self.members[owner].roster(group)? else { return Ok(None) };
                let admins = signed.roster().present().filter(|t| t.role >= Role::Admin);
                (n, admins.map(|tenure| tenure.user.clone()).collect())
            }
        };
        Ok(n.checked_rem(found.len()).map(|n| found[n].clone()))
    }

    fn those_in(&self, group: ChannelId, accepted: bool) -> Result<Vec<UserRef>, Broken> {
        let mut found = Vec::new();
        for member in &self.members {
            let Some(state) = member.state(group)? else { continue };
            let here = state.members.into_iter().filter(|m| m.user.home == member.id);
            found.extend(here.filter(|m| !m.left && m.accepted == accepted).map(|m| m.user));
        }
        Ok(found)
    }

    /// Whether somebody of a home may be in groups.
    fn may_be_in_groups(&self, home: usize) -> bool {
        self.plan.lost_in_groups || self.members[home].restores == 0
    }

    /// Whether a home must keep its disk: of those that are in groups one loses it in a run, if any. Where a second one goes
    /// before the first has everything back, both may have lost what the other would have given it.
    pub(super) fn keeps_its_disk(&self, home: usize) -> Result<bool, Broken> {
        let spent = self.lost_in_groups || !self.plan.lost_in_groups;
        Ok(spent && self.is_in_groups(home)?)
    }

    /// Whether a home has a group, or is or was named in one.
    pub(super) fn is_in_groups(&self, home: usize) -> Result<bool, Broken> {
        let id = self.members[home].id;
        for (group, owner) in &self.ledger.groups {
            let signed = self.members[*owner].roster(*group)?;
            let named =
                |signed: SignedRoster| signed.roster().tenures.iter().any(|t| t.user.home == id);
            if home == *owner || signed.is_some_and(named) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a home runs whose user wants something.
    pub(super) fn is_at_work(&self, home: usize) -> bool {
        let member = &self.members[home];
        self.may_be_in_groups(home) && member.is_up() && member.frozen_until <= self.now
    }

    pub(super) fn creates(
        &mut self,
        who: usize,
        with: &[usize],
        policy: usize,
    ) -> Result<(), Broken> {
        let me = self.person(who);
        let home = self.number_of(&me.home);
        if !self.is_at_work(home) {
            return Ok(());
        }
        let mut members: Vec<UserRef> = with.iter().map(|n| self.person(*n)).collect();
        members.sort();
        members.dedup();
        members.retain(|user| *user != me && self.may_be_in_groups(self.number_of(&user.home)));
        self.fresh += 1;
        let id = ChannelId(v7(MONDAY_MS + self.now, self.fresh << 1 | 1).0);
        let (clock, seal) = (self.clock(home), Seal(me.home));
        let sealer = Sealer { key: &seal, record: bytes::Bytes::new() };
        let new = NewGroup {
            creator: me.local.clone(),
            id,
            name: "friends".to_owned(),
            members,
            policy: policy_of(policy),
        };
        let (process, store) = self.members[home].process()?;
        match process.create_group(store, clock, &sealer, new) {
            Ok(_) => {
                self.ledger.groups.push((id, home));
                self.ledger.knows(id);
                self.wants(&me, id);
                self.is_made(home, Made { group: id, version: 1, left: None })
            }
            // Whoever was asked may have blocked whoever asks.
            Err(Failure::Refused(_)) => self.goes_on(home),
            Err(Failure::Fault(fault)) => Err(fault.into()),
        }
    }

    pub(super) fn changes(&mut self, group: usize, by: Person, what: What) -> Result<(), Broken> {
        let Some((group, _)) = self.group(group) else { return Ok(()) };
        let Some(me) = self.who(by, group)? else { return Ok(()) };
        let home = self.number_of(&me.home);
        if !self.is_at_work(home) {
            return Ok(());
        }
        let whom = |person| self.who(person, group);
        let update = |name, policy, roles| Change::Update { name, avatar: None, policy, roles };
        let change = match what {
            What::Invite(person) => {
                let user = whom(person)?;
                let user = user.filter(|user| self.may_be_in_groups(self.number_of(&user.home)));
                user.map(|user| Change::Invite(vec![user]))
            }
            What::Remove(person) => whom(person)?.map(|user| Change::Remove(vec![user])),
            What::Role(person, role) => {
                // Few owners, and more who are something less than who is something more.
                let role = [
                    Role::Member,
                    Role::Member,
                    Role::Admin,
                    Role::Admin,
                    Role::Admin,
                    Role::Owner,
                ][role % 6];
                whom(person)?.map(|user| update(None, None, vec![(user, role)]))
            }
            What::Rename(n) => Some(update(Some(format!("friends {n}")), None, Vec::new())),
            What::Policy(n) => Some(update(None, Some(policy_of(n)), Vec::new())),
            What::Join => Some(Change::Join { link: None }),
            What::Leave => Some(Change::Leave { from: 0, fence: None }),
        };
        let Some(change) = change else { return Ok(()) };
        self.fresh += 1;
        let op = OpId(Uuid::from_u128(u128::from(self.fresh) | 1 << 100));
        let (clock, seal) = (self.clock(home), Seal(me.home));
        let sealer = Sealer { key: &seal, record: bytes::Bytes::new() };
        let (process, store) = self.members[home].process()?;
        let asked = process.ask_group(store, clock, &sealer, &me.local, (group, op, change));
        match asked {
            Ok(asked) => {
                if what == What::Join {
                    self.wants(&me, group);
                }
                match asked {
                    Asked::Done(changed) => {
                        let left = (what == What::Leave).then_some((me.clone(), self.fresh));
                        self.is_made(home, Made { group, version: changed.version, left })
                    }
                    Asked::Pending => self.goes_on(home),
                }
            }
            Err(Failure::Refused(_)) => self.goes_on(home),
            Err(Failure::Fault(fault)) => Err(fault.into()),
        }
    }

    fn wants(&mut self, user: &UserRef, group: ChannelId) {
        let key = (user.clone(), group);
        self.ledger.wanted.insert(key, self.fresh);
    }

    fn is_made(&mut self, home: usize, made: Made) -> Result<(), Broken> {
        self.collects(home);
        self.members[home].outputs.push(Output::Made(made));
        self.goes_on(home)
    }

    /// A client is told that its change is made: it is on disk.
    pub(super) fn tells_made(&mut self, home: usize, made: Made) -> Result<(), Broken> {
        let Made { group, version, left } = made;
        let member = &self.members[home];
        let state = member.state(group)?;
        let held = state.as_ref().and_then(|s| s.group.as_ref()).map_or(0, |of| of.version);
        if held < version {
            let what = format!("home {home} tells of version {version} of {group} and has {held}");
            return Err(Broken::new("P1", what));
        }
        if self.ledger.owner(group) == Some(home) {
            let told = self.ledger.told.entry(group).or_default();
            *told = version.max(*told);
        }
        let Some((user, asked)) = left else { return Ok(()) };
        let member = state.as_ref().and_then(|s| s.member(&user));
        let Some(member) = member.filter(|member| member.left) else { return Ok(()) };
        let key = (user.clone(), group);
        if self.ledger.wanted.get(&key).is_some_and(|wanted| *wanted < asked) {
            self.ledger.wanted.remove(&key);
            self.ledger.unwanted.insert(key.clone());
        }
        let head = state.as_ref().map_or(Pos(0), |state| state.head);
        self.ledger.left.insert(key, (member.since, head));
        Ok(())
    }

    /// Whether a user may be in a group by what the user wished, or by whom the user knows.
    pub(super) fn has_agreed(
        &self,
        home: usize,
        user: &UserRef,
        group: ChannelId,
    ) -> Result<bool, Broken> {
        let key = (user.clone(), group);
        if self.ledger.wanted.contains_key(&key) {
            return Ok(true);
        }
        let here = &self.members[home];
        // A leave may be lost with the disk.
        let restored = here.restores > 0;
        if restored && self.ledger.unwanted.contains(&key) {
            return Ok(true);
        }
        // Nobody can tell whom a dishonest home had named before from whom had agreed.
        if restored && self.is_villains_group(group) {
            return Ok(true);
        }
        let (Some(signed), Some(member)) = (here.roster(group)?, here.in_group(user, group)?)
        else {
            return Ok(false);
        };
        let left = self.ledger.left.get(&key).filter(|_| !restored);
        if left.is_some_and(|(since, _)| *since >= member.since) {
            return Ok(false);
        }
        let mut stay = signed.roster().tenures.iter().filter(|t| t.user == *user);
        Ok(stay.any(|tenure| {
            let known = self.ledger.contacts.contains(&(user.clone(), tenure.by.clone()));
            (restored || tenure.from >= member.since) && (known || tenure.by.home == user.home)
        }))
    }

    pub(super) fn says(
        &mut self,
        group: usize,
        who: Person,
        id: Option<i64>,
        op: bool,
    ) -> Result<(), Broken> {
        let Some((group, _)) = self.group(group) else { return Ok(()) };
        let Some(sender) = self.who(who, group)? else { return Ok(()) };
        let home = self.number_of(&sender.home);
        if !self.is_at_work(home) {
            return Ok(());
        }
        let which = self.ledger.wishes.len();
        let (number, truth) = (which as u64, MONDAY_MS + self.now);
        let command = SendCommand {
            sender: sender.local.clone(),
            target: Target::Channel(group),
            id: id.map(|off| v7(truth.saturating_add_signed(off), number << 1)),
            fresh_id: MessageId(Uuid::nil()),
            op: op.then(|| OpId(Uuid::from_u128(u128::from(number) + 1))),
            kind: Kind::Text,
            body: Ledger::body(which),
            mentions: Vec::new(),
            about: None,
            media: Vec::new(),
        };
        self.ledger.wishes.push(Wish {
            home,
            sender,
            to: None,
            channel: group,
            command,
            asked_at: None,
            answer: None,
            past: false,
        });
        self.asks(which)
    }

    pub(super) fn lists(
        &mut self,
        who: usize,
        whom: usize,
        blocks: bool,
        add: bool,
    ) -> Result<(), Broken> {
        // Whoever chats blocks nobody.
        let who = if blocks { who / PEOPLE * PEOPLE + PEOPLE - 1 } else { who };
        let (me, other) = (self.person(who), self.person(whom));
        let home = self.number_of(&me.home);
        if me == other || !self.is_at_work(home) {
            return Ok(());
        }
        let command = ListCommand {
            owner: me.local.clone(),
            list: if blocks { UserList::Blocks } else { UserList::Contacts },
            other: other.clone(),
            change: if add { ListChange::Add } else { ListChange::Remove },
            op: None,
        };
        if add && !blocks {
            self.ledger.contacts.insert((me, other));
        }
        let clock = self.clock(home);
        let (process, store) = self.members[home].process()?;
        process
            .change_list(store, clock, &command)
            .map_err(|failure| Broken::new("P5", format!("a list is not changed: {failure:?}")))?;
        self.goes_on(home)
    }
}

/// One of all policies there are.
fn policy_of(n: usize) -> Policy {
    let who = |admins| if admins { Who::Admins } else { Who::Everybody };
    Policy {
        // Where admins alone write, few do.
        write: who(n % 6 == 5),
        invite: who(n.is_multiple_of(2)),
        change: who(n % 4 < 2),
        history: match n % 3 {
            0 => RosterHistory::Joined,
            1 => RosterHistory::Nothing,
            _ => RosterHistory::All,
        },
    }
}
