//! Rosters followed, by whatever home signed them: who is in, what each may see, which homes take this home's events,
//! and which messages do not count any more.

use std::sync::Arc;

use homing_wire::limits::ROSTER_MEMBERS;
use homing_wire::{
    ChainPos, ChannelId, Epoch, Fence, HomeId, Local, Pos, Right, Role, Roster, RosterHistory, Seq,
    SignedRoster, Target, Tenure, UserRef,
};

use crate::fold::right_of;
use crate::groups::{LEFT, NOT_ALLOWED};
use crate::holdings::first_from;
use crate::home::{Effect, Home};
use crate::invitations::Answer;
use crate::reader::{Fault, Reader};
use crate::refusal::{NO_CHANNEL, Refusal};
use crate::relay::PeerFault;
use crate::state::{ChannelState, Cursor, LogEntry, Member, MessageKey};
use crate::write::Write;

/// Events of one chain looked at when a roster turns some of them: beyond them nobody is told, and unread counts are
/// not put right.
const TURNED_EVENTS: u64 = 4_096;

/// Why a message is rejected whose sender had lost the right to write it.
pub(crate) const REMOVED: &str = "no_right";

impl Home {
    /// A roster that came from another home. Whoever sent it: the owner home has signed it.
    pub fn receive_roster(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        peer: HomeId,
        signed: SignedRoster,
    ) -> Result<Result<(), PeerFault>, Fault> {
        self.at(now_ms);
        self.hurry();
        if signed.roster().owner == self.id {
            // Nobody but this home makes them. Its own come back after a restore, by repair.
            return Ok(Ok(()));
        }
        self.take_roster(reader, peer, signed, &[])
    }

    /// A roster that was asked for in a repair. This home's own come back that way, from before its disk was lost: as
    /// long as it has signed none of the group in its present life, which would take back what they say.
    pub fn repair_roster(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        peer: HomeId,
        signed: SignedRoster,
    ) -> Result<Result<(), PeerFault>, Fault> {
        self.at(now_ms);
        self.hurry();
        let (own, epoch) = (self.id, self.epoch);
        let (id, version) = (signed.roster().group, signed.roster().version);
        if signed.roster().owner != own {
            let lost = self.lost_members(reader, peer, signed.roster())?;
            let taken = self.take_roster(reader, peer, signed, &lost)?;
            for user in lost {
                self.agreed_before(id, &user);
            }
            return Ok(taken);
        }
        if self.channel(reader, id)?.is_none() {
            self.add_channel(ChannelState::group(id, own, self.now_ms));
        }
        let held = self.roster(id);
        let held = held.as_ref().map(|held| held.roster());
        let later = held.is_none_or(|held| held.epoch < epoch && held.version < version);
        if !later || signed.roster().epoch >= epoch {
            return Ok(Ok(()));
        }
        let here: Vec<Local> = signed
            .roster()
            .present()
            .filter(|t| t.user.home == own)
            .map(|t| t.user.local.clone())
            .collect();
        for local in here {
            self.hold_lost_name(reader, now_ms, &local)?;
        }
        self.follow(reader, signed)?;
        Ok(Ok(()))
    }

    /// Users of this home whom a roster from before this life of its store makes members, and whom the store does not
    /// know as that: their word was lost with the disk. Only while this home asks what it lost, and only of accounts
    /// that are older than the roster: so no other home puts anybody into a group by a roster of its own making that
    /// this home would have had to be asked for.
    fn lost_members(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        roster: &Roster,
    ) -> Result<Vec<UserRef>, Fault> {
        let (own, epoch) = (self.id, self.epoch);
        if !self.reconciling.contains(&peer) || roster.at >= epoch.0 {
            return Ok(Vec::new());
        }
        self.channel(reader, roster.group)?;
        let mut lost = Vec::new();
        for tenure in roster.present().filter(|t| t.user.home == own && t.role >= Role::Member) {
            let known = self.state(roster.group).and_then(|s| s.member(&tenure.user));
            if known.is_some_and(|member| member.since >= tenure.from) {
                continue;
            }
            let account = self.account(reader, &tenure.user.local)?;
            if account.is_some_and(|account| account.created_at < roster.at) {
                lost.push(tenure.user.clone());
            }
        }
        Ok(lost)
    }

    /// A user of this home was in a group before this home's disk was lost: the group's home says so, or what the user
    /// wrote there.
    pub(crate) fn agreed_before(&mut self, group: ChannelId, user: &UserRef) {
        let Some(signed) = self.roster(group) else { return };
        let known = self.state(group).and_then(|state| state.member(user));
        if known.is_some_and(|member| !member.accepted && !member.left) {
            self.agree(group, signed.roster(), user);
        }
    }

    /// What this home wrote in an earlier life has come back: whoever was in the group then may lack it.
    pub(crate) fn owe_adopted(&mut self, group: ChannelId, entry: &LogEntry) {
        let Some(signed) = self.roster(group) else { return };
        let header = &entry.event.header;
        let before = (header.epoch, Seq(header.seq.0 - 1));
        for home in self.takers(group) {
            let cursor = self.state(group).and_then(|state| state.cursor(&home));
            let was_in = signed.roster().home_in_at(&home, header.roster).is_some();
            if was_in && cursor.is_some_and(|cursor| cursor.begins.0 > header.epoch) {
                self.owe(group, home, |cursor| {
                    (cursor.epoch, cursor.acked) = before;
                    cursor.begins = before;
                });
                self.push(group, home);
            }
        }
    }

    fn take_roster(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        signed: SignedRoster,
        lost: &[UserRef],
    ) -> Result<Result<(), PeerFault>, Fault> {
        let own = self.id;
        let new = signed.roster();
        let id = new.group;
        let Some(state) = self.channel(reader, id)? else {
            let ours = new.present().any(|tenure| tenure.user.home == own);
            if ours && !self.declines_whole(reader, new, lost)? {
                self.add_channel(ChannelState::group(id, new.owner, self.now_ms));
                self.follow_with(reader, signed, lost)?;
            }
            return Ok(Ok(()));
        };
        let Some(of) = state.group.clone() else { return Ok(Err(PeerFault("roster_of_a_chat"))) };
        let Some(held) = self.roster(id) else { return Ok(Ok(())) };
        if signed.hash() == held.hash() {
            return Ok(Ok(()));
        }
        if of.forked.is_some_and(|life| new.epoch <= life) {
            self.note_other(id, peer);
            return Ok(Ok(()));
        }
        if new.version < held.roster().version {
            return Ok(Ok(()));
        }
        if new.owner != of.owner || !new.follows(held.roster()) {
            if new.owner == of.owner
                && let Some(group) = self.state_mut(id).and_then(|s| s.group.as_mut())
            {
                // Both are signed by it.
                group.forked = Some(new.epoch);
                self.note_other(id, peer);
            }
            // Whoever passes one on need not know what else its home has signed. And where two homes have made a group of
            // one id, nobody can tell which was first.
            let to_blame = new.owner == peer && new.owner == of.owner;
            return Ok(if to_blame { Err(PeerFault("roster_fork")) } else { Ok(()) });
        }
        self.follow_with(reader, signed, lost)?;
        Ok(Ok(()))
    }

    /// A home holds another roster than this one, and neither follows on the other.
    fn note_other(&mut self, id: ChannelId, peer: HomeId) {
        if let Some(slot) = self.channels.peek_mut(&id)
            && slot.state.group.as_ref().is_some_and(|group| group.owner != peer)
            && slot.others.len() < ROSTER_MEMBERS
        {
            slot.others.insert(peer);
        }
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
            // What it did not take by an older one it may take by this.
            self.owe(group, peer, |cursor| (cursor.roster, cursor.refused) = (version, None));
            self.push_all(reader, group, peer)?;
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

    /// A home takes nothing of a group that it is in, as this home knows: it has not heard of that yet, perhaps.
    pub(crate) fn show_roster(&mut self, group: ChannelId, peer: HomeId) {
        let Some(signed) = self.roster(group) else { return };
        let roster = signed.roster();
        let known = self.state(group).and_then(|s| s.cursor(&peer)).map(|cursor| cursor.roster);
        if roster.home_since(&peer).is_some() && known.is_some_and(|v| v < roster.version) {
            self.follows(roster_effect(peer, &signed));
        }
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
    pub(crate) fn follow(
        &mut self,
        reader: &dyn Reader,
        signed: SignedRoster,
    ) -> Result<(), Fault> {
        self.follow_with(reader, signed, &[])
    }

    /// The same. `lost`: users of this home who were members before its disk was lost.
    fn follow_with(
        &mut self,
        reader: &dyn Reader,
        signed: SignedRoster,
        lost: &[UserRef],
    ) -> Result<(), Fault> {
        let signed = Arc::new(signed);
        let own = self.id;
        let (new, id) = (signed.roster(), signed.roster().group);
        let old = self.roster(id);
        let Some(slot) = self.change_channel(id) else { return Ok(()) };
        slot.roster = Some(signed.clone());
        let others = std::mem::take(&mut slot.others);
        if let Some(group) = &mut slot.state.group {
            group.version = new.version;
            group.since = new.home_since(&own).unwrap_or(0);
            group.forked = None;
        }
        self.write(Write::Roster { channel: id, signed: signed.bytes().clone() });
        if old.is_none()
            && let Some(given_up) = new.continues
        {
            self.note_continued(reader, given_up, new)?;
        }
        // The owner home may reach them later than this one does, and until then they send what cannot be taken here.
        let knows = |home: &HomeId| new.tenures.iter().any(|tenure| tenure.user.home == *home);
        for home in others.into_iter().filter(knows) {
            self.follows(roster_effect(home, &signed));
        }
        let before = old.as_ref().map(|signed| signed.roster());
        self.follow_avatar(before, new);
        let answers = self.follow_members(reader, id, (before, new), lost)?;
        self.follow_homes(reader, id, before, &signed)?;
        if let Some(old) = old {
            self.turn(reader, id, old.roster(), new)?;
        }
        let change = self.changed(id);
        self.follows(Effect::Channel { channel: id, change });
        for (tenure, answer) in answers {
            match answer {
                Answer::Yes => self.let_come(new, &tenure.user.local),
                Answer::No => self.decline(reader, new, tenure)?,
                Answer::Ask => {}
            }
        }
        Ok(())
    }

    /// A group that goes on with another is shown as that where an admin of the other made it: anybody can claim it.
    fn note_continued(
        &mut self,
        reader: &dyn Reader,
        given_up: ChannelId,
        new: &Roster,
    ) -> Result<(), Fault> {
        self.channel(reader, given_up)?;
        let Some(signed) = self.roster(given_up) else { return Ok(()) };
        let maker = new.tenures.iter().find(|t| t.role == Role::Owner).map(|t| &t.user);
        let maker = maker.filter(|maker| maker.home == new.owner);
        let may = maker.and_then(|maker| signed.roster().role(maker));
        if may.is_none_or(|role| role < Role::Admin) {
            return Ok(());
        }
        if let Some(group) = self.state_mut(new.group).and_then(|s| s.group.as_mut()) {
            group.continues = Some(given_up);
        }
        let Some(group) = self.state_mut(given_up).and_then(|s| s.group.as_mut()) else {
            return Ok(());
        };
        group.continued_by.get_or_insert(new.group);
        let change = self.changed(given_up);
        self.follows(Effect::Channel { channel: given_up, change });
        Ok(())
    }

    /// Members as a roster has them. Answers with users of this home whom another home has newly named, and what becomes of
    /// that.
    fn follow_members<'a>(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        (old, new): (Option<&Roster>, &'a Roster),
        lost: &[UserRef],
    ) -> Result<Vec<(&'a Tenure, Answer)>, Fault> {
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
        let mut answers = Vec::new();
        for tenure in new.present().filter(|t| t.user.home == own) {
            let lost = lost.contains(&tenure.user);
            let answer = self.name(reader, id, (old, new), tenure, lost)?;
            answers.extend(answer.map(|answer| (tenure, answer)));
        }
        Ok(answers)
    }

    /// A roster names a user of this home. Answers with what becomes of that where another home has signed it, and the user
    /// is new in it and has not asked for it. Whatever role a roster gives, nobody is in a group of another home who has not agreed here.
    fn name(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        (old, new): (Option<&Roster>, &Roster),
        tenure: &Tenure,
        lost: bool,
    ) -> Result<Option<Answer>, Fault> {
        let user = &tenure.user;
        let since = new.named_since(user).unwrap_or(tenure.from);
        let mine = new.owner == self.id;
        let known = self.state(id).and_then(|state| state.member(user));
        let is_new = known.is_none_or(|member| member.since != since);
        if known.is_some_and(|member| !is_new && member.left) {
            return Ok(None); // left here; the owner home has not heard of it yet
        }
        let (known, was_in) = (known.is_some(), known.is_some_and(|member| !member.left));
        let joins = self.joins(new, tenure);
        let answer = match is_new && !mine {
            true => Some(self.naming(reader, new, tenure, joins || lost)?),
            false => None,
        };
        if answer == Some(Answer::No) {
            if was_in {
                self.end_membership(id, user);
            }
            // That is said once.
            return Ok(answer.filter(|_| old.is_none_or(|old| since > old.version)));
        }
        let Some(state) = self.state_mut(id) else { return Ok(None) };
        let head = state.head;
        if !known {
            state.members.push(Member::new(user.clone(), false));
        }
        let Some(member) = state.member_mut(user) else { return Ok(None) };
        if is_new {
            member.shut(head);
            (member.since, member.left, member.accepted) = (since, false, false);
        } else if tenure.role < Role::Member && member.accepted {
            member.shut(head);
            member.accepted = false;
        }
        if (mine || joins) && tenure.role >= Role::Member && !member.agrees() {
            member.agree(head); // it was asked before the roster was made
        }
        self.note_unanswered(id, user);
        self.enter(id, new, user);
        if joins {
            self.forget_joining(new.owner, |j| j.group == id && j.user == user.local);
        }
        Ok(answer.filter(|_| !joins))
    }

    /// Whoever agrees and is in it by the roster sees what comes from now on, and before as the group has it.
    pub(crate) fn enter(&mut self, id: ChannelId, roster: &Roster, user: &UserRef) {
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
    fn follow_homes(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        old: Option<&Roster>,
        signed: &Arc<SignedRoster>,
    ) -> Result<(), Fault> {
        let new = signed.roster();
        let (own, epoch) = (self.id, self.epoch);
        let Some(state) = self.state(id) else { return Ok(()) };
        let mine = new.owner == own;
        let here = new.home_since(&own).is_some();
        let mut homes: Vec<HomeId> = new.present().map(|t| t.user.home).collect();
        homes.extend(state.cursors.iter().map(|cursor| cursor.home));
        homes.sort_unstable();
        homes.dedup();
        homes.retain(|home| *home != own);
        for home in homes {
            // What counts of what was written here is still brought to whoever stays, by whoever goes.
            let since =
                new.home_since(&home).filter(|_| here || self.owes_what_counts(id, &home, new));
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
            let is_new = self.state(id).and_then(|s| s.cursor(&home)).is_some_and(|c| c.outside);
            let begins = match since.filter(|_| is_new || came_back) {
                Some(since) => Some(self.begins_for(reader, id, new, since)?),
                None => None,
            };
            self.owe(id, home, |cursor| {
                if let Some(begins) = begins {
                    (cursor.epoch, cursor.acked) = begins;
                    cursor.begins = begins;
                }
                // Whoever took nothing may have people in it again.
                cursor.refused = None;
                cursor.outside = !inside;
                cursor.marks_owed &= inside && here;
            });
            if mine {
                // Before the events: by an older one, they are not for it.
                self.follows(roster_effect(home, signed));
            }
            self.push_all(reader, id, home)?;
        }
        Ok(())
    }

    /// Behind which event of this home those begin that are for a home that is in the group since that version. What was
    /// written before is not for it, unless the group shows all of it. Much may have been written since, where it is this
    /// home that was out for a while, and the other has stayed.
    fn begins_for(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        roster: &Roster,
        since: u64,
    ) -> Result<(Epoch, Seq), Fault> {
        let own = self.id;
        let Some(state) = self.state(id) else { return Ok((self.epoch, Seq(0))) };
        if roster.policy().history == RosterHistory::All {
            return Ok((state.first_life(&own).unwrap_or(self.epoch), Seq(0)));
        }
        let lives = state.chains.iter().filter(|chain| chain.origin == own);
        let mut lives: Vec<(Epoch, Seq)> = lives.map(|chain| (chain.epoch, chain.seq)).collect();
        lives.sort_unstable();
        let Some(newest) = lives.last().copied() else { return Ok((self.epoch, Seq(0))) };
        for (epoch, end) in lives {
            let version_at = |seq| {
                let Some(row) = self.row_of_seq(reader, id, own, epoch, seq)? else {
                    return Ok(None);
                };
                let entry = self.entry_at(reader, id, row.pos)?;
                Ok(entry.map(|entry| entry.event.header.roster))
            };
            let first = first_from(since, (Seq(0), end), version_at)?;
            if first <= end {
                return Ok((epoch, Seq(first.0 - 1)));
            }
        }
        Ok(if newest.0 == self.epoch { newest } else { (self.epoch, Seq(0)) })
    }

    /// Whether a home that gets this home's events lacks some that count, by the fences of this home's people.
    fn owes_what_counts(&self, id: ChannelId, home: &HomeId, roster: &Roster) -> bool {
        let own = self.id;
        let Some(cursor) = self.state(id).and_then(|state| state.cursor(home)) else {
            return false;
        };
        let ended = roster.tenures.iter().filter(|t| t.user.home == own);
        let ended = ended.filter_map(|t| t.fence.as_ref());
        // Whoever goes and could not write any more has lost the right before, by the policy.
        let shut = roster.policies.iter().flat_map(|span| &span.fences);
        let shut = shut.filter(|(home, _)| *home == own).map(|(_, fence)| fence);
        let counts = ended.chain(shut).map(|fence| fence.end_of(cursor.epoch)).max();
        !cursor.outside && counts.is_some_and(|counts| cursor.acked < counts)
    }

    /// A home takes nothing of a channel any more, and nothing is owed to it.
    fn drop_cursor(&mut self, id: ChannelId, home: HomeId) {
        self.owe(id, home, |cursor| (cursor.outside, cursor.marks_owed) = (true, false));
        if let Some(state) = self.state_mut(id) {
            state.cursors.retain(|cursor| cursor.home != home);
        }
    }

    /// Messages that counted under the old roster and do not under the new one, and those that others changed which do
    /// not.
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
        let mut changed = Vec::new();
        for chain in chains {
            let of_home = fences.iter().filter(|(home, _)| *home == chain.origin);
            let Some(counts) = of_home.map(|(_, fence)| fence.end_of(chain.epoch)).min() else {
                continue;
            };
            // What lies far back is judged where it is shown, like everything; this step has an end.
            let first = counts.0.max(chain.seq.0.saturating_sub(TURNED_EVENTS)) + 1;
            let part = (Seq(first), chain.seq);
            let origin = (chain.origin, chain.epoch);
            changed.extend(self.turn_chain(reader, id, (old, new), origin, part)?);
        }
        changed.sort_unstable_by_key(|target| MessageKey::new(&target.sender, &target.id));
        changed.dedup();
        for target in changed {
            self.fold_again(reader, id, &target)?;
        }
        Ok(())
    }

    /// Answers which messages events changed that do not count any more.
    fn turn_chain(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        (old, new): (&Roster, &Roster),
        (origin, epoch): (HomeId, Epoch),
        (from, upto): (Seq, Seq),
    ) -> Result<Vec<Target>, Fault> {
        let mut changed = Vec::new();
        let mut seq = from;
        while seq <= upto {
            let Some(row) = self.row_of_seq(reader, id, origin, epoch, seq)? else { break };
            seq = row.seq.next();
            let Some(entry) = self.entry_at(reader, id, row.pos)? else { continue };
            let header = &entry.event.header;
            let (user, at) = (header.user(), ChainPos { epoch, seq: row.seq });
            let may = |roster: &Roster| roster.may(&user, right_of(header), header.roster, at);
            if may(old).is_err() || may(new).is_ok() {
                continue;
            }
            if let Some(target) = entry.changes() {
                changed.push(target.clone());
                continue;
            }
            if header.kind.is_message() {
                let group = self.state(id).and_then(|s| s.group.as_ref());
                if group.is_some_and(|group| header.roster >= group.since) {
                    self.uncount(id, row.pos);
                }
            }
            let about = Target { sender: user.clone(), id: header.id };
            self.note_rejected(id, about);
            let change = self.changed(id);
            let reason = REMOVED.to_owned();
            self.follows(Effect::Rejected { entry, reason, change });
        }
        Ok(changed)
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

fn roster_effect(peer: HomeId, signed: &Arc<SignedRoster>) -> Effect {
    Effect::Roster { peer, signed: signed.clone() }
}
