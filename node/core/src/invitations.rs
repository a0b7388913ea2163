//! Invitations that another home's rosters bring: who has to be asked, who is answered for, and how many may be open. Other
//! homes make as many groups as they like, and each that asks somebody here is kept and shown until it is answered.

use std::collections::{BTreeMap, BTreeSet};

use homing_wire::{
    Change, ChannelId, Command, HomeId, Letter, Local, OpId, Role, Roster, Tenure, UserRef,
};

use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::state::{AccountState, GroupsFrom};
use crate::write::Write;

/// What becomes of an invitation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Nobody has to be asked: the user comes in.
    Yes,
    /// The user is asked.
    Ask,
    /// It is declined at once, and nothing is kept of it.
    No,
}

/// Invitations that users of this home have not answered, by the home whose group it is.
#[derive(Default)]
pub(crate) struct Invitations {
    open: BTreeMap<HomeId, OfHome>,
    /// Declined because too many are open, by this process.
    declined: u64,
}

#[derive(Default)]
struct OfHome {
    of_user: BTreeMap<Local, BTreeSet<ChannelId>>,
    count: usize,
}

impl Invitations {
    pub(crate) fn add(&mut self, owner: HomeId, user: &Local, group: ChannelId) -> bool {
        let of_home = self.open.entry(owner).or_default();
        let new = match of_home.of_user.get_mut(user) {
            Some(groups) => groups.insert(group),
            None => of_home.of_user.insert(user.clone(), BTreeSet::from([group])).is_none(),
        };
        of_home.count += usize::from(new);
        new
    }

    fn remove(&mut self, owner: HomeId, user: &Local, group: ChannelId) -> bool {
        let Some(of_home) = self.open.get_mut(&owner) else { return false };
        let Some(groups) = of_home.of_user.get_mut(user) else { return false };
        let known = groups.remove(&group);
        if groups.is_empty() {
            of_home.of_user.remove(user);
        }
        of_home.count -= usize::from(known);
        if of_home.count == 0 {
            self.open.remove(&owner);
        }
        known
    }

    /// Of one home's groups: how many of a user, and of all, leaving out that group's.
    fn others(&self, owner: &HomeId, user: &Local, group: ChannelId) -> (usize, usize) {
        let Some(of_home) = self.open.get(owner) else { return (0, 0) };
        let groups = of_home.of_user.get(user);
        let this = usize::from(groups.is_some_and(|groups| groups.contains(&group)));
        (groups.map_or(0, BTreeSet::len) - this, of_home.count - this)
    }
}

impl Home {
    /// How many invitations are open; and how many this process has declined because too many were.
    pub fn invitations(&self) -> (usize, u64) {
        (
            self.invitations.open.values().map(|of_home| of_home.count).sum(),
            self.invitations.declined,
        )
    }

    /// What becomes of a user of this home whom another home's roster newly names. `let_in`: the user has said yes before.
    pub(crate) fn naming(
        &mut self,
        reader: &dyn Reader,
        roster: &Roster,
        tenure: &Tenure,
        let_in: bool,
    ) -> Result<Answer, Fault> {
        let (user, by, group) = (&tenure.user.local, &tenure.by, roster.group);
        let account = self.account(reader, user)?;
        if account.is_none_or(|account| account.state != AccountState::Active) {
            return Ok(Answer::No);
        }
        if let_in {
            return Ok(Answer::Ask);
        }
        // Another home's word that somebody of this one has asked is not enough: that one has to be in the group here.
        let vouched = by.home != self.id
            || self.groups_from(reader, user)? == GroupsFrom::Everyone
            || self.state(group).and_then(|s| s.member(by)).is_some_and(|m| m.accepted);
        Ok(match self.answers(reader, user, by)? {
            Some(false) => Answer::No,
            Some(true) if vouched => Answer::Yes,
            Some(true) | None => {
                let (of_user, of_home) = self.invitations.others(&roster.owner, user, group);
                let room = of_user < self.policy.invitations_of_user
                    && of_home < self.policy.invitations_of_home;
                if room { Answer::Ask } else { Answer::No }
            }
        })
    }

    /// Of a group that is not here: declines for everybody whom its roster names if nobody comes in or is asked. True: they
    /// are, and nothing is to be kept of it.
    pub(crate) fn declines_whole(
        &mut self,
        reader: &dyn Reader,
        roster: &Roster,
        lost: &[UserRef],
    ) -> Result<bool, Fault> {
        let own = self.id;
        let named: Vec<&Tenure> = roster.present().filter(|t| t.user.home == own).collect();
        for tenure in &named {
            let let_in = lost.contains(&tenure.user) || self.joins(roster, tenure);
            if self.naming(reader, roster, tenure, let_in)? != Answer::No {
                return Ok(false);
            }
        }
        for tenure in named {
            self.decline(reader, roster, tenure)?;
        }
        Ok(true)
    }

    /// Whether a roster lets somebody in who has asked for it by a link.
    pub(crate) fn joins(&self, roster: &Roster, tenure: &Tenure) -> bool {
        tenure.role >= Role::Member && self.is_joining(roster, &tenure.user.local)
    }

    /// Says no for a user.
    pub(crate) fn decline(
        &mut self,
        reader: &dyn Reader,
        roster: &Roster,
        tenure: &Tenure,
    ) -> Result<(), Fault> {
        let user = &tenure.user.local;
        let account = self.account(reader, user)?;
        let active = account.is_some_and(|account| account.state == AccountState::Active);
        if active && self.answers(reader, user, &tenure.by)? != Some(false) {
            self.invitations.declined += 1;
        }
        let since = roster.named_since(&tenure.user).unwrap_or(tenure.from);
        let fence = Some(self.written(roster.group, &self.id));
        self.post_answer(roster, user, since, Change::Leave { from: since, fence });
        Ok(())
    }

    /// Says yes for a user who need not be asked.
    pub(crate) fn let_come(&mut self, roster: &Roster, user: &Local) {
        let me = self.user(user);
        let since = roster.named_since(&me).unwrap_or(0);
        let asked = roster.role(&me) == Some(Role::Invited);
        if asked && !self.post_answer(roster, user, since, Change::Join { link: None }) {
            return;
        }
        self.agree(roster.group, roster, &me);
    }

    /// Nobody waits for the outcome: the next roster shows it. False: too much waits for that home.
    fn post_answer(&mut self, roster: &Roster, user: &Local, since: u64, change: Change) -> bool {
        let group = roster.group;
        let name = [&group.as_bytes()[..], user.as_str().as_bytes(), &since.to_be_bytes()].concat();
        let op = OpId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &name));
        let command = Command { group, op, user: user.clone(), change };
        self.post(roster.owner, &Letter::Command(command)).is_ok()
    }

    /// Notes whether a user of this home has still to answer an invitation into a group, after anything of that changed.
    pub(crate) fn note_invitation(&mut self, group: ChannelId, user: &UserRef) {
        let own = self.id;
        let Some(state) = self.state(group) else { return };
        let Some(owner) = state.group.as_ref().map(|of| of.owner).filter(|owner| *owner != own)
        else {
            return;
        };
        let open = user.home == own && state.member(user).is_some_and(|m| m.is_asked());
        let changed = if open {
            self.invitations.add(owner, &user.local, group)
        } else {
            self.invitations.remove(owner, &user.local, group)
        };
        if changed {
            let user = user.local.clone();
            self.write(Write::OpenInvitation { owner, user, group, open });
        }
    }
}
