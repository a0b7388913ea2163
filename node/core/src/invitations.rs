//! Invitations that another home's rosters bring: who has to be asked, who is answered for, and how many may be open. Other
//! homes make as many groups as they like, and each that asks somebody here is kept and shown until it is answered.

use homing_wire::{Change, Command, Letter, Local, OpId, Role, Roster, Tenure, UserRef};

use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::state::{AccountState, GroupsFrom};

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

impl Home {
    /// How many invitations are open; and how many this process has declined because too many were.
    pub fn invitations(&self) -> (usize, u64) {
        (self.unanswered.invitations.len(), self.unanswered.declined)
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
                let (of_user, of_home) =
                    self.unanswered.invitations.others(&roster.owner, user, group);
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
            self.unanswered.declined += 1;
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
}
