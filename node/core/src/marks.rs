//! Marks: how far users have got. They rise only.
//!
//! Those of this home's users are gathered: [`Home::tick`], about once a second, gives them out and writes
//! them. Until then they are in memory alone; a crash loses them, which is harmless, since the client
//! has not been told of them by a change number and marks again. A mark that were on disk already would
//! be lost worse: raising it again changes nothing, so nobody would ever be told.
//! Marks of other homes' users have been gathered there; they are given out as they come.

use std::collections::HashMap;
use std::sync::Arc;

use homing_wire::{ChannelId, Epoch, HomeId, Local, Pos, Seq, UserRef};

use crate::home::{Effect, Home};
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, Failure, NO_CHANNEL, Refusal};
use crate::relay::PeerFault;
use crate::state::{ChannelState, LogEntry, Mark, MarkTime, Member};

/// A mark between homes: in the numbers of the chain it covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerMark {
    /// A user of the home that sends it.
    pub user: Local,
    /// The life of the covered chain.
    pub epoch: Epoch,
    /// Everything at or below has reached a device; 0: nothing yet.
    pub delivered: Seq,
    /// Everything at or below was read; 0: nothing yet.
    pub read: Seq,
    /// When, in Unix milliseconds.
    pub at: u64,
}

/// What a peer is told of a channel's marks at once. Its answer brings it back ([`Home::marks_taken`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Telling {
    /// Tellings are counted as they are made, over all peers, since this home started.
    pub number: u64,
    /// Where the users of this home have got.
    pub marks: Vec<PeerMark>,
}

/// Which tellings have been made, and which answers count.
#[derive(Default)]
pub(crate) struct Tellings {
    made: u64,
    /// A peer was told anew what it had lost: answers to what it was told before that prove nothing, for it may have taken
    /// that when it had lost the messages, and thrown it away. For as long as the newer one is owed, on one connection.
    anew: HashMap<(ChannelId, HomeId), u64>,
}

impl Tellings {
    /// No answer to what that peer was told so far can come any more: its connection is new.
    pub(crate) fn forget(&mut self, peer: &HomeId) {
        self.anew.retain(|(_, of), _| of != peer);
    }
}

/// A mark that has risen and is not given out yet.
pub(crate) struct Risen {
    user: UserRef,
    /// What the disk has meanwhile; `None` where it has the mark already, with a message of the user.
    held: Option<Held>,
}

/// What depends on a member's mark.
struct Held {
    mark: Mark,
    read_counted: u64,
    mentions: Vec<Pos>,
}

impl Risen {
    /// Everything at or below `upto`, the entry of that count, is gone: it counts for nobody any more.
    pub(crate) fn pruned(&mut self, upto: Pos, counted: u64) {
        if let Some(held) = &mut self.held {
            held.read_counted = held.read_counted.max(counted);
            held.mentions.retain(|pos| *pos > upto);
        }
    }

    /// The message at `pos` mentions the user, or does not any more.
    fn mention(&mut self, pos: Pos, is_named: bool) {
        if let Some(held) = &mut self.held {
            set_mention(&mut held.mentions, pos, is_named && pos > held.mark.read);
        }
    }

    /// Puts back into what goes to disk what is not given out yet.
    pub(crate) fn hold_back(&self, state: &mut ChannelState) {
        let Some(held) = &self.held else { return };
        let Some(member) = state.member_mut(&self.user) else { return };
        member.mentions = merged(&held.mentions, &member.mentions);
        member.mark = held.mark;
        member.read_counted = held.read_counted;
    }
}

impl Held {
    /// Mentions that came after the first mark and are read by a later one: not read, as the disk has it.
    fn keep_mentions(&mut self, before: &[Pos]) {
        self.mentions = merged(&self.mentions, before);
    }
}

/// Puts a place into a list of mentions, or takes it out.
fn set_mention(mentions: &mut Vec<Pos>, pos: Pos, is_named: bool) {
    match mentions.binary_search(&pos) {
        Ok(at) if !is_named => {
            mentions.remove(at);
        }
        Err(at) if is_named && mentions.len() < Member::MENTIONS => mentions.insert(at, pos),
        Ok(_) | Err(_) => {}
    }
}

/// The mentions of `older`, and those of `later` that came after them.
fn merged(older: &[Pos], later: &[Pos]) -> Vec<Pos> {
    let newer = later.iter().filter(|pos| older.last().is_none_or(|last| *pos > last));
    older.iter().chain(newer).take(Member::MENTIONS).copied().collect()
}

impl Home {
    /// A user of this home has received (or read) everything up to `pos`.
    pub fn mark(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        channel: ChannelId,
        wished: Mark,
    ) -> Result<(), Failure> {
        self.at(now_ms);
        let me = self.user(user);
        let Some(state) = self.channel(reader, channel)? else { return Err(NO_CHANNEL.into()) };
        if state.member(&me).is_none_or(|m| m.left || (state.group.is_some() && !m.accepted)) {
            return Err(NO_CHANNEL.into());
        }
        if wished.delivered.max(wished.read) > state.head {
            return Err(Refusal::new(
                Class::Invalid,
                "pos_beyond_head",
                "nothing stands at this pos yet",
            )
            .with_limit(state.head.0)
            .into());
        }
        self.unmark_unread(reader, channel, &me, wished.read)?;
        if let Some(held) = self.raise(reader, channel, &me, wished)? {
            let risen = self.risen.entry(channel).or_default();
            match risen.iter_mut().find(|r| r.user == me) {
                // What the disk has is what the first of them found, and mentions that came since.
                Some(Risen { held: Some(first), .. }) => first.keep_mentions(&held.mentions),
                // A message of the user took the last mark to disk.
                Some(risen) => risen.held = Some(held),
                None => risen.push(Risen { user: me, held: Some(held) }),
            }
        }
        Ok(())
    }

    /// Users of another home have got further with this home's events. Marks of an earlier life that go beyond
    /// what is left of it are left out. Every other mark that makes no sense is the peer's fault, and then
    /// none counts.
    pub fn receive_marks(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        peer: HomeId,
        channel: ChannelId,
        marks: &[PeerMark],
    ) -> Result<Result<(), PeerFault>, Fault> {
        self.at(now_ms);
        let (home, epoch) = (self.id, self.epoch);
        let Some(state) = self.channel(reader, channel)? else { return Ok(Ok(())) };
        let written = |epoch| state.chain(&home, epoch).map_or(Seq(0), |c| c.seq);
        let mut sound = Vec::new();
        for mark in marks {
            if state.member(&UserRef::new(peer, mark.user.clone())).is_none() {
                if state.group.is_some() {
                    continue; // its home does not know yet that the user is out
                }
                return Ok(Err(PeerFault("mark_of_stranger")));
            }
            if mark.delivered.max(mark.read) <= written(mark.epoch) {
                sound.push(mark);
            } else if mark.epoch == epoch {
                return Ok(Err(PeerFault("mark_ahead")));
            }
        }
        for mark in sound {
            let user = UserRef::new(peer, mark.user.clone());
            let mut wished = Mark::default();
            for (seq, pos) in
                [(mark.delivered, &mut wished.delivered), (mark.read, &mut wished.read)]
            {
                if seq > Seq(0)
                    && let Some(row) = self.row_of_seq(reader, channel, home, mark.epoch, seq)?
                    && row.seq == seq
                // or it is gone, and what is left was not meant
                {
                    *pos = row.pos;
                }
            }
            if self.raise(reader, channel, &user, wished)?.is_some() {
                self.give_out(channel, &user, mark.at);
            }
        }
        // Even where nothing is new: the same marks may still be on their way to disk.
        self.hurry();
        Ok(Ok(()))
    }

    /// Gives out what has risen since the last call: writes, notices, marks for other homes.
    pub fn tick(&mut self, reader: &dyn Reader, now_ms: u64) -> Result<(), Fault> {
        self.at(now_ms);
        for (channel, risen) in std::mem::take(&mut self.risen) {
            // In memory already: channels with risen marks are not let go.
            if self.slot(reader, channel)?.is_none() {
                continue;
            }
            for Risen { user, .. } in &risen {
                self.give_out(channel, user, self.now_ms);
            }
            self.owe_marks(reader, channel)?;
        }
        self.resume_pulled(reader)
    }

    /// Notes when a mark rose, and tells of it. `at_ms` is the word of the user's home.
    fn give_out(&mut self, channel: ChannelId, user: &UserRef, at_ms: u64) {
        let now_ms = self.now_ms;
        let Some(member) = self.state_mut(channel).and_then(|s| s.member_mut(user)) else { return };
        let mark = member.told(member.mark);
        let (last_mark, last) =
            member.times.back().map_or((Mark::default(), 0), |t| (t.mark, t.at));
        // Not before the last time, and not in the future, whatever another home's clock shows.
        let at = at_ms.max(last).min(now_ms.max(last));
        // Of what is hidden from a user, or read by one who lets nobody see that, others are not told that it was read.
        let quiet = mark == last_mark && (member.veil.is_some() || member.discreet.is_some());
        let only_read = mark.delivered == last_mark.delivered;
        if member.veil.and_then(|veil| veil.lifted).is_some_and(|pos| member.mark.read >= pos) {
            member.veil = None;
        }
        if !quiet {
            member.times.push_back(MarkTime { at, mark });
            if member.times.len() > Member::TIMES {
                member.times.pop_front();
            }
        }
        let change = self.changed_for(channel, |m| !quiet || m.user == *user);
        self.follows(Effect::Marked {
            channel,
            user: user.clone(),
            mark,
            at,
            quiet,
            only_read,
            change,
        });
    }

    /// `peer` has taken these marks. Where they are not the newest any more, the newer are still owed.
    pub fn marks_taken(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        channel: ChannelId,
        telling: &Telling,
    ) -> Result<(), Fault> {
        let Telling { number, marks } = telling;
        if self.tellings.anew.get(&(channel, peer)).is_some_and(|anew| number < anew) {
            return Ok(());
        }
        let cursor = self.channel(reader, channel)?.and_then(|s| s.cursor(&peer));
        // Marks of somebody who has left a group meanwhile are not owed any more.
        let newest = |now: &[PeerMark]| now.iter().all(|mark| marks.contains(mark));
        if !cursor.is_some_and(|c| c.marks_owed) {
            return Ok(());
        }
        let now = self.marks_for(reader, channel, peer)?;
        if newest(&now) {
            self.tellings.anew.remove(&(channel, peer));
            self.owe(channel, peer, |cursor| cursor.marks_owed = false);
        } else if now.iter().any(|mark| !marks.iter().any(|told| told.user == mark.user)) {
            // Somebody has come into a group meanwhile, whose marks nothing else brings.
            self.tell(peer, channel, now);
        }
        Ok(())
    }

    /// Marks of this home's users in that channel, in the numbers of `peer`: as far as they are given out.
    fn marks_for(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        peer: HomeId,
    ) -> Result<Vec<PeerMark>, Fault> {
        let home = self.id;
        if self.channel(reader, channel)?.is_none() {
            return Ok(Vec::new());
        }
        let risen = self.risen.get(&channel).map_or(&[][..], Vec::as_slice);
        let Some(state) = self.state(channel) else { return Ok(Vec::new()) };
        let mine: Vec<(UserRef, Mark, u64)> = state
            .members
            .iter()
            .filter(|m| m.user.home == home && m.accepted && !m.left)
            .map(|m| {
                let held = risen.iter().find(|r| r.user == m.user).and_then(|r| r.held.as_ref());
                let mark = m.told(held.map_or(m.mark, |held| held.mark));
                (m.user.clone(), mark, m.times.back().map_or(0, |t| t.at))
            })
            .collect();
        let mut marks = Vec::new();
        for (user, mark, at) in mine {
            let Some(got) = self.last_row_of(reader, channel, peer, mark.delivered)? else {
                continue;
            };
            // Of two lives of the peer's store, the one that `delivered` names is the later.
            let read = self.last_row_of(reader, channel, peer, mark.read)?;
            let read = read.filter(|row| row.epoch == got.epoch).map_or(Seq(0), |row| row.seq);
            let user = user.local;
            marks.push(PeerMark { user, epoch: got.epoch, delivered: got.seq, read, at });
        }
        Ok(marks)
    }

    /// Sending moves one's own mark: who writes has read. Written with the message.
    pub(crate) fn move_own_mark(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        me: &UserRef,
        entry: &Arc<LogEntry>,
    ) -> Result<(), Fault> {
        let home = self.id;
        let shown = self.shows_reads(reader, &me.local)?;
        let Some(state) = self.state_mut(channel) else { return Ok(()) };
        let Some(member) = state.member_mut(me) else { return Ok(()) };
        member.reads_on(shown);
        // Only what others wrote since makes the move worth telling, or that nothing was told before.
        let was_in = member.accepted;
        let news = entry.pos.0 - member.mark.read.0 > 1 || !was_in;
        member.mark = Mark { delivered: entry.pos, read: entry.pos };
        member.read_counted = entry.counted;
        member.mentions.clear();
        member.accepted = true;
        debug_assert_eq!(me.home, home, "a home stores in its own users' names");
        if !was_in {
            self.note_unanswered(channel, me);
        }
        // The mark goes to disk with the message, whose notice says as much.
        self.mark_is_held(channel, me, news);
        Ok(())
    }

    /// A user's mark goes to disk with what is decided now, and is told with the next tick.
    pub(crate) fn tell_own_mark(&mut self, channel: ChannelId, me: &UserRef) {
        self.mark_is_held(channel, me, true);
    }

    fn mark_is_held(&mut self, channel: ChannelId, me: &UserRef, news: bool) {
        let risen = self.risen.entry(channel).or_default();
        match risen.iter_mut().find(|r| r.user == *me) {
            Some(risen) => risen.held = None,
            None if news => risen.push(Risen { user: me.clone(), held: None }),
            None => {}
        }
        if risen.is_empty() {
            self.risen.remove(&channel);
        } else {
            self.owe_marks_later(channel);
        }
    }

    /// A message that counts was changed: whom it mentions now of those whom it mentioned when it came.
    pub(crate) fn mention_again(
        &mut self,
        id: ChannelId,
        pos: Pos,
        mentioned: &[UserRef],
        is_named: impl Fn(&UserRef) -> bool,
    ) {
        for risen in self.risen.get_mut(&id).into_iter().flatten() {
            if mentioned.contains(&risen.user) {
                risen.mention(pos, is_named(&risen.user));
            }
        }
        let Some(state) = self.state_mut(id) else { return };
        let is_group = state.group.is_some();
        for member in state.members.iter_mut().filter(|m| mentioned.contains(&m.user)) {
            let is_in = !member.left && (member.accepted || !is_group);
            let unread = pos > member.mark.read;
            set_mention(&mut member.mentions, pos, is_in && unread && is_named(&member.user));
        }
    }

    /// How far a user of this home has read, as the disk has it.
    pub(crate) fn read_on_disk(&self, id: ChannelId, user: &UserRef) -> Pos {
        let risen = self.risen.get(&id).into_iter().flatten().find(|risen| risen.user == *user);
        let held = risen.and_then(|risen| risen.held.as_ref()).map(|held| held.mark.read);
        let member = self.state(id).and_then(|state| state.member(user));
        held.or(member.map(|member| member.mark.read)).unwrap_or_default()
    }

    /// Up to where everybody of this home has read who is in a channel, as the disk has it.
    pub(crate) fn read_by_all(&self, id: ChannelId) -> Pos {
        let Some(state) = self.state(id) else { return Pos(0) };
        let is_group = state.group.is_some();
        let is_in = |m: &&Member| m.user.home == self.id && !m.left && (m.accepted || !is_group);
        let here = state.members.iter().filter(is_in);
        here.map(|m| self.read_on_disk(id, &m.user)).min().unwrap_or(state.head)
    }

    /// Whoever changes a message has written, though nothing more is read by it.
    pub(crate) fn accept_by_writing(&mut self, channel: ChannelId, me: &UserRef) {
        let waits = |member: &Member| !member.accepted;
        if self.state(channel).and_then(|state| state.member(me)).is_some_and(waits)
            && let Some(state) = self.state_mut(channel)
        {
            let head = state.head;
            if let Some(member) = state.member_mut(me) {
                member.accepted = true;
                member.mark.delivered = head;
            }
            self.note_unanswered(channel, me);
            self.tell_own_mark(channel, me);
            self.looks_different(channel, me.clone());
        }
    }

    /// Raises a mark in memory; answers with what it was before, if it has risen.
    fn raise(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        user: &UserRef,
        wished: Mark,
    ) -> Result<Option<Held>, Fault> {
        let Some(member) = self.state(channel).and_then(|s| s.member(user)) else {
            return Ok(None);
        };
        let old = member.mark;
        let read = old.read.max(wished.read);
        let new = Mark { read, delivered: old.delivered.max(wished.delivered).max(read) };
        if new == old {
            return Ok(None);
        }
        // Of other homes' users only the marks matter here.
        let reads_on = new.read > old.read && user.home == self.id;
        let (counted, shown) = if reads_on {
            let row = self.row(reader, channel, new.read)?;
            (row.map(|row| row.counted), self.shows_reads(reader, &user.local)?)
        } else {
            (None, true)
        };
        let slot = self.channels.peek_mut(&channel);
        let Some(member) = slot.and_then(|slot| slot.state.member_mut(user)) else {
            return Ok(None);
        };
        let held = Held {
            mark: old,
            read_counted: member.read_counted,
            mentions: member.mentions.clone(),
        };
        if reads_on {
            member.reads_on(shown);
        }
        member.mark = new;
        if let Some(counted) = counted {
            member.read_counted = member.read_counted.max(counted);
        }
        member.mentions.retain(|pos| *pos > new.read);
        Ok(Some(held))
    }

    /// The next tick has marks for the other homes: noted on disk, so that a crash before it loses none.
    fn owe_marks_later(&mut self, channel: ChannelId) {
        for peer in self.takers(channel) {
            self.owe(channel, peer, |cursor| cursor.marks_owed = true);
        }
    }

    /// The homes that take something of a channel.
    pub(crate) fn takers(&self, channel: ChannelId) -> Vec<HomeId> {
        let cursors = self.state(channel).map(|s| s.cursors.iter());
        cursors
            .into_iter()
            .flatten()
            .filter(|c| c.refused.is_none() && !c.outside)
            .map(|c| c.home)
            .collect()
    }

    /// Owes the marks of this home's users to every other home whose events they cover.
    fn owe_marks(&mut self, reader: &dyn Reader, channel: ChannelId) -> Result<(), Fault> {
        for peer in self.takers(channel) {
            self.tell_marks(reader, channel, peer)?;
        }
        Ok(())
    }

    /// The marks of this home's users are owed to `peer` anew: it has asked what is held, so it has lost some.
    pub fn owe_marks_to(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        peer: HomeId,
    ) -> Result<(), Fault> {
        self.heard_from(peer);
        self.tellings.anew.insert((channel, peer), self.tellings.made + 1);
        self.tell_marks(reader, channel, peer)
    }

    /// The newest marks of this home's users are for `peer`.
    pub(crate) fn tell_marks(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        peer: HomeId,
    ) -> Result<(), Fault> {
        let marks = self.marks_for(reader, channel, peer)?;
        let any = !marks.is_empty();
        self.owe(channel, peer, |cursor| cursor.marks_owed = any);
        if any {
            self.tell(peer, channel, marks);
        }
        Ok(())
    }

    fn tell(&mut self, peer: HomeId, channel: ChannelId, marks: Vec<PeerMark>) {
        self.tellings.made += 1;
        let telling = Telling { number: self.tellings.made, marks };
        self.follows(Effect::Marks { peer, channel, telling });
    }
}
