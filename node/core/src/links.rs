//! Links by which people come into groups: kept by the owner home, which knows the hash of each link's secret alone.
//!
//! A link is good until it expires, is used up or is dropped, whoever made it. Whoever was removed can come again by a
//! link that is still open: whoever removes people for good drops the links, too.

use homing_wire::{
    Change, ChannelId, Command, GroupLink, Hash, HomeId, Letter, Local, OpId, Role, Roster, UserRef,
};

use crate::groups::{Asked, Changed, Sealer, role_of};
use crate::home::Home;
use crate::reader::Reader;
use crate::refusal::{Class, DISABLED, Failure, NO_CHANNEL, Refusal};
use crate::state::{GroupState, Joining, OpenLink, PeerState};

/// So long it is remembered that a user has asked for a way into a group, in milliseconds: its home may be away for a
/// while. Whoever is let in later is asked once more.
const JOINING_MS: u64 = 30 * 24 * 3_600_000;

pub(crate) const NO_LINK: Refusal = Refusal::new(
    Class::NotFound,
    "link_not_found",
    "this link is unknown, used up, expired or withdrawn",
);
const UNKNOWN_HOME: Refusal =
    Refusal::new(Class::NotFound, "unknown_home", "this home does not know that one");
const PAST: Refusal = Refusal::new(Class::Invalid, "invalid_expires", "that time has passed");
const NO_USES: Refusal =
    Refusal::new(Class::Invalid, "invalid_uses", "a link has one use at least");
const MANY_LINKS: Refusal = Refusal::new(
    Class::Limit,
    "too_many_links",
    "withdraw links of this group that are not needed",
)
.with_limit(GroupState::LINKS as u64);
const MANY_JOINING: Refusal =
    Refusal::new(Class::Limit, "too_many_joins", "too many wait for that home's groups already");

impl OpenLink {
    fn is_open(&self, now_ms: u64) -> bool {
        self.expires.is_none_or(|expires| now_ms < expires)
    }
}

impl Home {
    /// A user of this home comes by a link: at once where the group is of this home, else its home is asked.
    pub fn join_by_link(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        sealer: &Sealer<'_>,
        user: &Local,
        link: &GroupLink,
        op: OpId,
    ) -> Result<Asked, Failure> {
        self.at(now_ms);
        if !self.is_active(reader, user)? {
            return Err(DISABLED.into());
        }
        let (group, me) = (link.group, self.user(user));
        let state = self.channel(reader, group)?;
        let owner = state.map(|state| state.group.as_ref().map(|of| of.owner));
        let member = state.and_then(|state| state.member(&me)).is_some_and(|m| !m.left);
        if owner.is_some_and(|owner| owner != Some(link.home)) {
            return Err(NO_LINK.into());
        }
        if member && self.roster(group).is_some_and(|r| r.roster().role(&me).is_some()) {
            let change = Change::Join { link: None };
            return self.ask_group(reader, now_ms, sealer, user, (group, op, change));
        }
        let change = Change::Join { link: Some(link.secret) };
        if link.home == self.id {
            if owner.is_none() {
                return Err(NO_LINK.into());
            }
            return Ok(Asked::Done(self.change_group(reader, sealer, group, &me, &change)?));
        }
        self.note_joining(
            link.home,
            Joining { group, user: user.clone(), op, until: now_ms.saturating_add(JOINING_MS) },
        )?;
        let command = Command { group, op, user: user.clone(), change };
        if let Err(refusal) = self.post(link.home, &Letter::Command(command)) {
            self.forget_joining(link.home, |j| j.group == group && j.user == *user);
            return Err(refusal.into());
        }
        self.hurry();
        Ok(Asked::Pending)
    }

    fn note_joining(&mut self, peer: HomeId, new: Joining) -> Result<(), Refusal> {
        let known = self.peers.get(&peer).filter(|known| !known.blocked).cloned();
        let Some(mut known) = known else { return Err(UNKNOWN_HOME) };
        let now_ms = self.now_ms;
        known.joining.retain(|j| now_ms < j.until && (j.group, &j.user) != (new.group, &new.user));
        let of_user = known.joining.iter().filter(|j| j.user == new.user).count();
        if of_user >= PeerState::JOINING_OF_USER {
            return Err(MANY_JOINING.with_limit(PeerState::JOINING_OF_USER as u64));
        }
        if known.joining.len() >= PeerState::JOINING {
            return Err(MANY_JOINING.with_limit(PeerState::JOINING as u64));
        }
        known.joining.push(new);
        self.put_peer(known);
        Ok(())
    }

    /// Whether a user of this home has asked the owner home for a way into a group.
    pub(crate) fn is_joining(&self, roster: &Roster, user: &Local) -> bool {
        let known = self.peers.get(&roster.owner);
        let mut joining = known.into_iter().flat_map(|known| &known.joining);
        joining.any(|j| j.group == roster.group && j.user == *user && self.now_ms < j.until)
    }

    /// Nobody waits for that any more.
    pub(crate) fn forget_joining(&mut self, peer: HomeId, which: impl Fn(&Joining) -> bool) {
        let known = self.peers.get(&peer).filter(|known| known.joining.iter().any(&which));
        let Some(mut known) = known.cloned() else { return };
        known.joining.retain(|j| !which(j));
        self.put_peer(known);
    }

    /// Somebody who is not in a group of this home comes by a link.
    pub(crate) fn let_in(
        &mut self,
        reader: &dyn Reader,
        sealer: &Sealer<'_>,
        old: &Roster,
        who: &UserRef,
        secret: &[u8; 32],
    ) -> Result<Changed, Failure> {
        let (group, secret, now_ms) = (old.group, Hash::of(secret), self.now_ms);
        let links = self.state(group).and_then(|state| state.group.as_ref()).map(|of| &of.links);
        if !links.is_some_and(|links| {
            links.iter().any(|link| link.secret == secret && link.is_open(now_ms))
        }) {
            return Err(NO_LINK.into());
        }
        self.check_size(old.present().count() + 1)?;
        self.amend_group(reader, sealer, group, who, &[role_of(who, Some(Role::Member))])?;
        if let Some(of) = self.state_mut(group).and_then(|state| state.group.as_mut()) {
            for link in of.links.iter_mut().filter(|link| link.secret == secret) {
                link.uses_left = link.uses_left.map(|left| left.saturating_sub(1));
            }
            of.links.retain(|link| link.uses_left != Some(0));
        }
        let version = self.roster(group).map_or(0, |roster| roster.roster().version);
        self.hurry();
        Ok(Changed { users: Vec::new(), version })
    }

    /// Opens a link; the same again is the same link.
    pub(crate) fn make_link(
        &mut self,
        group: ChannelId,
        by: &UserRef,
        secret: Hash,
        (expires, uses): (Option<u64>, Option<u32>),
    ) -> Result<(), Refusal> {
        let now_ms = self.now_ms;
        if expires.is_some_and(|expires| expires <= now_ms) {
            return Err(PAST);
        }
        if uses == Some(0) {
            return Err(NO_USES);
        }
        let Some(of) = self.state(group).and_then(|state| state.group.as_ref()) else {
            return Err(NO_CHANNEL);
        };
        let open = of.links.iter().filter(|link| link.is_open(now_ms));
        if open.clone().any(|link| link.secret == secret) {
            return Ok(());
        }
        if open.count() >= GroupState::LINKS {
            return Err(MANY_LINKS);
        }
        if let Some(of) = self.state_mut(group).and_then(|state| state.group.as_mut()) {
            of.links.retain(|link| link.is_open(now_ms));
            of.links.push(OpenLink { secret, expires, uses_left: uses, by: by.clone() });
        }
        Ok(())
    }

    /// Makes a link void, or all of them ([`Hash::NONE`]).
    pub(crate) fn drop_link(&mut self, group: ChannelId, secret: &Hash) -> Result<(), Refusal> {
        let now_ms = self.now_ms;
        let Some(of) = self.state(group).and_then(|state| state.group.as_ref()) else {
            return Err(NO_CHANNEL);
        };
        let all = *secret == Hash::NONE;
        if !all && !of.links.iter().any(|link| link.secret == *secret && link.is_open(now_ms)) {
            return Err(NO_LINK);
        }
        if let Some(of) = self.state_mut(group).and_then(|state| state.group.as_mut()) {
            of.links.retain(|link| !all && link.secret != *secret);
        }
        Ok(())
    }
}
