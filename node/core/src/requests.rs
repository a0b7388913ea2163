//! First contacts from other homes: a request that waits for a yes, by word or by writing, or that is declined.
//!
//! What is declined is hidden as from somebody who is blocked, without a row in the list of blocks: a member who blocks, has
//! not accepted, and stands with the other in no such list. Whoever lifts a block of the same user lifts this with it.

use homing_wire::{ChannelId, Local, OpId, Pos, UserRef};

use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, DISABLED, Failure, NO_CHANNEL, Refusal};
use crate::state::{Member, Veil};

impl Member {
    /// Whether the member has declined this first contact, and neither opened nor written to it since: of a chat that was
    /// never shown, the first entry is hidden.
    pub fn has_declined(&self) -> bool {
        self.veil.is_some_and(|veil| veil.unlisted && veil.from > Pos(1))
    }
}

const NOT_A_REQUEST: Refusal = Refusal::new(
    Class::Conflict,
    "not_a_request",
    "this is no first contact that waits for you: leave a group, or block the user",
);

impl Home {
    /// A user accepts a first contact; whoever wrote learns it by what is told as delivered. Accepted already is accepted.
    /// Refused are channels that are not the user's (`channel_not_found`), and groups (`not_a_request`).
    pub fn accept_request(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        channel: ChannelId,
        op: Option<OpId>,
    ) -> Result<(), Failure> {
        self.at(now_ms);
        let me = self.user(user);
        if self.request(reader, channel, &me, op)?.is_none_or(|accepted| accepted) {
            return Ok(());
        }
        self.undo_decline(reader, channel, &me)?;
        if let Some(state) = self.state_mut(channel) {
            let head = state.head;
            if let Some(member) = state.member_mut(&me) {
                member.accepted = true;
                member.mark.delivered = head;
                // Where all is hidden, the yes could not be told: it is by the first message.
                if let Some(veil) = &mut member.veil {
                    veil.from = veil.from.max(Pos(2));
                }
            }
        }
        self.note_unanswered(channel, &me);
        self.tell_own_mark(channel, &me);
        self.looks_different_to_oneself(reader, channel, me, true)?;
        self.note_own_op(user, op);
        Ok(())
    }

    /// A user declines a first contact: it leaves the list, and what comes of it is hidden until the user writes there. The
    /// other side sees no difference. Refused are channels that are not the user's (`channel_not_found`), groups, and chats
    /// that are accepted (`not_a_request`).
    pub fn decline_request(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        channel: ChannelId,
        op: Option<OpId>,
    ) -> Result<(), Failure> {
        self.at(now_ms);
        let me = self.user(user);
        match self.request(reader, channel, &me, op)? {
            None => return Ok(()),
            Some(true) => return Err(NOT_A_REQUEST.into()),
            Some(false) => {}
        }
        if let Some(state) = self.state_mut(channel) {
            let seen = state.member(&me).map(|m| (state.last_for(m), state.active_for(m), m.veil));
            let next = state.head.next();
            if let (Some((last, active_at, before)), Some(member)) = (seen, state.member_mut(&me)) {
                // Of what is hidden already, others are told as little as before.
                let from =
                    before.filter(|veil| veil.lifted.is_none()).map_or(next, |veil| veil.from);
                let from = from.max(Pos(2));
                member.blocking = true;
                member.veil = Some(Veil { from, last, active_at, unlisted: true, lifted: None });
            }
        }
        self.note_unanswered(channel, &me);
        self.clear_own_view(reader, user, channel)?;
        self.looks_different_to_oneself(reader, channel, me, true)?;
        self.note_own_op(user, op);
        Ok(())
    }

    /// Nobody answers a first contact any more: it is no request.
    pub(crate) fn end_request(&mut self, channel: ChannelId, me: &UserRef) {
        if !self.state(channel).and_then(|s| s.member(me)).is_some_and(Member::is_request) {
            return;
        }
        if let Some(member) = self.state_mut(channel).and_then(|s| s.member_mut(me)) {
            member.blocking = true;
        }
        self.note_unanswered(channel, me);
    }

    /// A user who writes to somebody, or accepts, has declined no longer.
    pub(crate) fn undo_decline(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        me: &UserRef,
    ) -> Result<(), Fault> {
        let Some(state) = self.state(channel) else { return Ok(()) };
        let member = state.member(me).filter(|m| m.blocking && !m.accepted);
        let other = state.other(me).filter(|_| member.is_some()).map(|other| other.user.clone());
        let Some(other) = other else { return Ok(()) };
        if !self.has_blocked(reader, &me.local, &other)?
            && let Some(member) = self.state_mut(channel).and_then(|s| s.member_mut(me))
        {
            member.blocking = false;
        }
        Ok(())
    }

    /// How many first contacts are not answered.
    pub fn requests(&self) -> usize {
        self.unanswered.requests.len()
    }

    /// Whether so many first contacts of that home wait already that no more is taken of it: another may be as soon as one is
    /// answered. Whoever is blocked asks nothing, and must not learn it by this.
    pub(crate) fn is_full_of_requests(
        &mut self,
        reader: &dyn Reader,
        ours: &Local,
        theirs: &UserRef,
    ) -> Result<bool, Fault> {
        let chat = ChannelId::chat(&self.user(ours), theirs);
        let (of_user, of_home) = self.unanswered.requests.others(&theirs.home, ours, chat);
        let policy = &self.policy;
        let full = of_user >= policy.requests_of_user || of_home >= policy.requests_of_home;
        Ok(full && policy.first_contact_request && !self.has_blocked(reader, ours, theirs)?)
    }

    /// Whether a chat of a user is accepted; `None`: a repeated `op` has decided it.
    fn request(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        me: &UserRef,
        op: Option<OpId>,
    ) -> Result<Option<bool>, Failure> {
        // Even where nothing is new, what is shown may still be on its way to disk.
        self.hurry();
        if !self.is_active(reader, &me.local)? {
            return Err(DISABLED.into());
        }
        if self.is_repeated(reader, &me.local, op)? {
            return Ok(None);
        }
        let state = self.channel(reader, channel)?.ok_or(NO_CHANNEL)?;
        let member = state.member(me).filter(|m| m.is_listed()).ok_or(NO_CHANNEL)?;
        if state.group.is_some() {
            return Err(NOT_A_REQUEST.into());
        }
        Ok(Some(member.accepted))
    }
}
