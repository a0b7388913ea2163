//! Between homes: what is owed to peers, and how far they have got.

use homing_wire::{ChannelId, Epoch, HomeId, Seq, UserRef};

use crate::home::{Effect, Home};
use crate::reader::{Fault, Reader};
use crate::state::{ChainEnd, ChannelState, Cursor};
use crate::write::Write;

/// A peer that is to ask for what it missed and has asked nothing for so long, in milliseconds, has all that it
/// could fetch: a repair asks something every few seconds.
const PULL_QUIET_MS: u64 = 60_000;

/// A peer did what no honest home does; the stable word says what. Nothing was changed by it, but that the
/// proof of a fork is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PeerFault(pub &'static str);

impl Home {
    /// `peer` holds this home's events of a channel up to `have`. A lower number than before is honoured.
    pub fn acknowledged(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        channel: ChannelId,
        epoch: Epoch,
        have: Seq,
    ) -> Result<Result<(), PeerFault>, Fault> {
        let (home, life) = (self.id, self.epoch);
        let Some(state) = self.channel(reader, channel)? else { return Ok(Ok(())) };
        let Some(cursor) = state.cursor(&peer) else {
            // Its answer was on its way when a roster took it out of the group.
            let was_in = state.group.is_some();
            return Ok(if was_in { Ok(()) } else { Err(PeerFault("not_a_member")) });
        };
        // Of what was never for it, it need hold nothing.
        let have = if epoch == cursor.begins.0 { have.max(cursor.begins.1) } else { have };
        if epoch < cursor.begins.0 {
            return Ok(Ok(()));
        }
        let Some(written) = state.chain(&home, epoch).map(|c| c.seq) else {
            // Of an earlier life nothing may be left here; in this one nothing was written.
            let ahead = epoch == life && have > Seq(0);
            return Ok(if ahead { Err(PeerFault("ack_ahead")) } else { Ok(()) });
        };
        if have > written && epoch == life {
            return Ok(Err(PeerFault("ack_ahead")));
        }
        // Of an earlier life it may hold what was lost with this home's disk, and could not be brought back.
        let have = have.min(written);
        let lives = |c: &&ChainEnd| c.origin == home && c.epoch > cursor.epoch && c.epoch < epoch;
        let done = cursor.acked >= written_in(&state.chains, &home, cursor.epoch);
        // It is behind in an earlier life, or further in this one, or it has begun the next: what came back
        // of a life after a restore is where it came from.
        let behind = epoch < cursor.epoch && have < written;
        let moved = epoch == cursor.epoch && have != cursor.acked;
        let lost = behind || (moved && have < cursor.acked);
        let ahead = epoch > cursor.epoch && done && !state.chains.iter().any(|c| lives(&c));
        self.heard_from(peer);
        if behind || moved || ahead {
            self.owe(channel, peer, |cursor| (cursor.epoch, cursor.acked) = (epoch, have));
            let cursor = self.state(channel).and_then(|s| s.cursor(&peer));
            let next = cursor.is_some_and(|c| c.acked == Seq(0) && c.epoch > epoch);
            // The courier has let go of what was acknowledged: nobody but this step tells it.
            if lost {
                self.hurry(); // who says so may be told in the same step, and not say it again
            }
            if lost || next {
                self.push(channel, peer);
            }
        }
        Ok(Ok(()))
    }

    /// `peer` takes nothing of a channel: what is owed there is cleared. False: nothing changed by it.
    pub fn refused_by(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        channel: ChannelId,
        reason: &str,
    ) -> Result<bool, Fault> {
        let cursor = self.channel(reader, channel)?.and_then(|s| s.cursor(&peer));
        let is_new = cursor.is_some_and(|c| c.refused.is_none());
        if is_new {
            // A peer's word is shown to operators: bounded, whatever was sent.
            let reason: String = reason.chars().take(64).collect();
            self.owe(channel, peer, |cursor| cursor.refused = Some(reason));
            self.show_roster(channel, peer);
            let change = self.changed(channel);
            self.follows(Effect::Channel { channel, change });
        }
        Ok(is_new)
    }

    /// Everything that is owed to `peer`, as effects of this step: it can be reached again. What has been
    /// owed for too long is not pushed: the peer is told to ask for it at its own pace.
    pub fn resume(&mut self, reader: &dyn Reader, peer: HomeId) -> Result<(), Fault> {
        self.tellings.forget(&peer);
        self.go_on(reader, peer)
    }

    /// The same, on the connection that there is.
    pub(crate) fn go_on(&mut self, reader: &dyn Reader, peer: HomeId) -> Result<(), Fault> {
        if self.reconciling.contains(&peer) {
            return Ok(());
        }
        if self.owed_too_long(&peer) {
            self.pulling.insert(peer, self.now_ms);
            self.follows(Effect::Pull { peer });
        } else {
            self.pulling.remove(&peer);
        }
        self.push_owed(reader, peer)
    }

    /// Everything that is owed to `peer`, as effects of this step; marks alone where it has to ask first.
    pub(crate) fn push_owed(&mut self, reader: &dyn Reader, peer: HomeId) -> Result<(), Fault> {
        let channels: Vec<ChannelId> =
            self.owed.get(&peer).map(|c| c.keys().copied().collect()).unwrap_or_default();
        for channel in channels {
            let Some(state) = self.channel(reader, channel)? else { continue };
            let Some(cursor) = state.cursor(&peer) else { continue };
            let cursor_roster = cursor.roster;
            let marks_owed = cursor.marks_owed;
            let roster = self.roster(channel).filter(|signed| {
                let roster = signed.roster();
                roster.owner == self.id && roster.version > cursor_roster
            });
            if let Some(signed) = roster {
                self.follows(Effect::Roster { peer, signed });
            }
            self.push(channel, peer);
            if marks_owed {
                self.tell_marks(reader, channel, peer)?;
            }
        }
        let letters = self.letters.get(&peer).cloned().unwrap_or_default();
        let mut after = 0;
        for (number, letter) in letters {
            self.follows(Effect::Letter { peer, number, after, letter });
            after = number;
        }
        self.hurry();
        Ok(())
    }

    /// Peers that had to ask for what they missed, and have, or ask no more: what is new is pushed again, and
    /// what they did not take by themselves, which they then answer channel by channel.
    pub(crate) fn resume_pulled(&mut self, reader: &dyn Reader) -> Result<(), Fault> {
        for since in self.pulling.values_mut() {
            // Noted while the clock ran ahead: it is not waited for until then.
            *since = (*since).min(self.now_ms);
        }
        let quiet = |since: &u64| since.saturating_add(PULL_QUIET_MS) <= self.now_ms;
        let done: Vec<HomeId> = self
            .pulling
            .iter()
            .filter(|(peer, since)| quiet(since) || !self.owed_too_long(peer))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in done {
            self.pulling.remove(&peer);
            self.push_owed(reader, peer)?;
        }
        Ok(())
    }

    /// `peer` has asked, or said how far it is.
    pub(crate) fn heard_from(&mut self, peer: HomeId) {
        let now_ms = self.now_ms;
        if let Some(since) = self.pulling.get_mut(&peer) {
            *since = now_ms;
        }
    }

    fn owed_too_long(&self, peer: &HomeId) -> bool {
        let since = self.owed.get(peer).and_then(|channels| channels.values().min());
        since.is_some_and(|since| since.saturating_add(self.policy.pull_after_ms) < self.now_ms)
    }

    /// The newest own events of a channel are owed to the other homes in it.
    pub(crate) fn owe_events(&mut self, channel: ChannelId) {
        for peer in self.takers(channel) {
            self.owe(channel, peer, |_| {});
            self.push(channel, peer);
        }
    }

    /// Tells the courier of `peer` what is owed of a channel, unless the peer has to ask or be asked first. Whoever
    /// was never met is asked first, for it may know this home from before a restore.
    pub(crate) fn push(&mut self, channel: ChannelId, peer: HomeId) {
        if self.asked_first(&peer) || self.pulling.contains_key(&peer) {
            return;
        }
        if let Some(effect) = owed_effect(self.id, self.state(channel), peer) {
            self.follows(effect);
        }
    }

    /// Whether a peer has to be asked what it holds before it is sent anything.
    pub(crate) fn asked_first(&self, peer: &HomeId) -> bool {
        self.reconciling.contains(peer) || !self.peers.contains_key(peer)
    }

    /// Changes a cursor, and the set of what is owed with it.
    pub(crate) fn owe(
        &mut self,
        channel: ChannelId,
        peer: HomeId,
        change: impl FnOnce(&mut Cursor),
    ) {
        let (home, now_ms) = (self.id, self.now_ms);
        let Some(slot) = self.change_channel(channel) else { return };
        let chains = &slot.state.chains;
        let Some(cursor) = slot.state.cursors.iter_mut().find(|c| c.home == peer) else { return };
        let behind = cursor.acked < written_in(chains, &home, cursor.epoch);
        change(cursor);
        // An earlier life is brought to its end, then the next one is.
        let mut written = written_in(chains, &home, cursor.epoch);
        while cursor.acked >= written {
            let later = chains.iter().filter(|c| c.origin == home && c.epoch > cursor.epoch);
            let Some(next) = later.map(|c| c.epoch).min() else { break };
            (cursor.epoch, cursor.acked) = (next, Seq(0));
            written = written_in(chains, &home, next);
        }
        let events = cursor.acked < written && !cursor.outside;
        let told = slot
            .state
            .group
            .as_ref()
            .is_none_or(|group| group.owner != home || cursor.roster >= group.version);
        let due = !cursor.outside && cursor.refused.is_none() && (events || cursor.marks_owed);
        let owed = due || !told;
        let before = cursor.owed_since;
        // Where only marks are left, what was owed for long is not owed any more.
        let since = before.filter(|_| events || !behind).unwrap_or(now_ms);
        cursor.owed_since = owed.then_some(since);
        let since = cursor.owed_since;
        if since == before {
            return;
        }
        let channels = self.owed.entry(peer).or_default();
        match since {
            Some(since) => {
                channels.insert(channel, since);
            }
            None => {
                channels.remove(&channel);
            }
        }
        if channels.is_empty() {
            self.owed.remove(&peer);
        }
        self.write(Write::Owed { peer, channel, since });
    }

    /// Whoever writes in a channel takes something of it again: what was refused once is owed anew.
    pub(crate) fn taken_again(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        peer: HomeId,
    ) -> Result<(), Fault> {
        let cursor = self.state(id).and_then(|s| s.cursor(&peer));
        if cursor.is_some_and(|c| c.refused.is_some()) {
            self.owe(id, peer, |cursor| cursor.refused = None);
            self.push_all(reader, id, peer)?;
        }
        Ok(())
    }

    /// What waits of a channel for a home, marks included: those that it refused with the events nothing else brings.
    pub(crate) fn push_all(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        home: HomeId,
    ) -> Result<(), Fault> {
        self.push(id, home);
        let cursor = self.state(id).and_then(|state| state.cursor(&home));
        if cursor.is_some_and(|cursor| cursor.marks_owed) && !self.asked_first(&home) {
            self.tell_marks(reader, id, home)?;
        }
        Ok(())
    }

    pub(crate) fn state(&self, channel: ChannelId) -> Option<&ChannelState> {
        self.peek_slot(channel).map(|slot| &slot.state)
    }

    pub(crate) fn state_mut(&mut self, channel: ChannelId) -> Option<&mut ChannelState> {
        self.change_channel(channel).map(|slot| &mut slot.state)
    }

    pub(crate) fn move_chain(&mut self, channel: ChannelId, end: ChainEnd) {
        let Some(state) = self.state_mut(channel) else { return };
        match state.chains.iter_mut().find(|c| c.origin == end.origin && c.epoch == end.epoch) {
            Some(chain) => *chain = end,
            None => state.chains.push(end),
        }
    }
}

fn written_in(chains: &[ChainEnd], home: &HomeId, epoch: Epoch) -> Seq {
    chains.iter().find(|c| c.origin == *home && c.epoch == epoch).map_or(Seq(0), |c| c.seq)
}

fn owed_effect(home: HomeId, state: Option<&ChannelState>, peer: HomeId) -> Option<Effect> {
    let state = state?;
    let cursor = state.cursor(&peer)?;
    let upto = state.chain(&home, cursor.epoch)?.seq;
    // Of a group they say nothing.
    let a = state.members.first()?;
    let b = state.members.get(1).unwrap_or(a);
    let parties: [UserRef; 2] = [a.user.clone(), b.user.clone()];
    let takes = cursor.refused.is_none() && !cursor.outside;
    let begins = cursor.begins;
    (takes && cursor.acked < upto).then(|| Effect::Owed {
        peer,
        channel: state.id,
        parties,
        epoch: cursor.epoch,
        acked: cursor.acked,
        upto,
        begins: if begins.0 == cursor.epoch { begins.1 } else { Seq(0) },
        roster: state.group.as_ref().map_or(0, |group| group.version),
    })
}
