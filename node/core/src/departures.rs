//! Users whose account is deleted or disabled, and what becomes of them in groups: a deleted one leaves all of them. A
//! disabled one may be enabled again and stays, but leaves no group without an owner, and declines what is asked.

use homing_wire::{ChannelId, Local, OpId, Role, Roster, UserRef};

use crate::groups::{Sealer, heir_of};
use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, Failure};
use crate::state::AccountState;

/// Channels looked at in one call of [`Home::depart`]: each may be a roster to sign and a letter.
const DEPARTED_AT_ONCE: usize = 64;

/// How far a user who is not active has been taken out of groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Departure {
    /// All that can be done is done.
    Done,
    /// Go on above this channel.
    Upto(ChannelId),
    /// Too much waits: go on later, above this channel, or from the first.
    Later(Option<ChannelId>),
}

impl Home {
    /// Takes a user who is deleted or disabled out of groups, some at a time, by rising id. What is done already is not
    /// done again, so it may be begun anew at any time.
    pub fn depart(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        sealer: &Sealer<'_>,
        user: &Local,
        after: Option<ChannelId>,
    ) -> Result<Departure, Fault> {
        self.at(now_ms);
        let state = self.account(reader, user)?.map(|account| account.state);
        let deleted = match state {
            Some(AccountState::Deleted) => true,
            Some(AccountState::Disabled) => false,
            Some(AccountState::Active) | None => return Ok(Departure::Done),
        };
        let mut groups: Vec<ChannelId> =
            self.listing(reader, user)?.into_iter().map(|row| row.channel).collect();
        groups.retain(|group| after.is_none_or(|after| *group > after));
        groups.sort_unstable();
        let more = groups.len() > DEPARTED_AT_ONCE;
        let mut done = after;
        for group in groups.into_iter().take(DEPARTED_AT_ONCE) {
            match self.depart_from(reader, sealer, user, group, deleted) {
                Ok(()) => done = Some(group),
                Err(Failure::Refused(refusal))
                    if refusal.class == Class::Later
                        || (refusal.class == Class::Limit
                            && refusal.reason != "group_worn_out") =>
                {
                    return Ok(Departure::Later(done));
                }
                // A group that can take no change keeps whom it has; nobody speaks for the account any more.
                Err(Failure::Refused(_)) => done = Some(group),
                Err(Failure::Fault(fault)) => return Err(fault),
            }
        }
        Ok(match done {
            Some(done) if more => Departure::Upto(done),
            Some(_) | None => Departure::Done,
        })
    }

    fn depart_from(
        &mut self,
        reader: &dyn Reader,
        sealer: &Sealer<'_>,
        user: &Local,
        group: ChannelId,
        deleted: bool,
    ) -> Result<(), Failure> {
        let me = self.user(user);
        let Some(state) = self.channel(reader, group)? else { return Ok(()) };
        let (of, member) = (state.group.clone(), state.member(&me).cloned());
        let (Some(of), Some(member)) = (of, member) else {
            if deleted {
                self.end_request(group, &me);
            }
            return Ok(());
        };
        let Some(roster) = self.roster(group) else { return Ok(()) };
        let roster = roster.roster();
        if member.left {
            return Ok(());
        }
        let asked = roster.role(&me) == Some(Role::Invited) && !member.agrees();
        if deleted || asked {
            let op = departure_op(group, &me, member.since);
            self.leave(reader, sealer, group, &of, &member, op)?;
            return Ok(());
        }
        if of.owner == self.id {
            let idle = self.idle_members(reader, roster)?;
            if !idle_owners(roster, &idle) {
                return Ok(());
            }
            if let Some(heir) = heir_of(roster, &me, &idle).filter(|heir| !idle.contains(heir)) {
                let edit = crate::groups::role_of(&heir, Some(Role::Owner));
                self.amend_group(reader, sealer, group, &me, &[edit])?;
                self.hurry();
            }
        }
        Ok(())
    }

    /// Members of this home whose account is not in use.
    pub(crate) fn idle_members(
        &mut self,
        reader: &dyn Reader,
        roster: &Roster,
    ) -> Result<Vec<UserRef>, Fault> {
        let own = self.id;
        let mut idle = Vec::new();
        for tenure in roster.present().filter(|t| t.user.home == own) {
            let account = self.account(reader, &tenure.user.local)?;
            if account.is_none_or(|account| account.state != AccountState::Active) {
                idle.push(tenure.user.clone());
            }
        }
        Ok(idle)
    }
}

/// Whether a group has owners, none of whom is there.
fn idle_owners(roster: &Roster, idle: &[UserRef]) -> bool {
    let mut owners = roster.present().filter(|t| t.role == Role::Owner).peekable();
    owners.peek().is_some() && owners.all(|t| idle.contains(&t.user))
}

/// The same departure has the same name, however often it is begun.
fn departure_op(group: ChannelId, user: &UserRef, since: u64) -> OpId {
    let local = user.local.as_str().as_bytes();
    let name = [&b"departure"[..], group.as_bytes(), local, &since.to_be_bytes()].concat();
    OpId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &name))
}
