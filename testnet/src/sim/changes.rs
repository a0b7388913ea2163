//! Messages that are changed later: edits, deletions, reactions, and what must come of them everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use homing_core::{Deleted, Fold, LogEntry, Reader as _, SendCommand, ShownTo, Target};
use homing_wire::limits::BODY_BYTES;
use homing_wire::{
    Body, ChainPos, ChannelId, HomeId, Kind, MessageId, OpId, Pos, Right, Roster, UserRef,
};
use uuid::Uuid;

use super::Broken;
use super::ledger::{Wish, v7};
use super::world::{MONDAY_MS, World};

/// Refusals of changes that are no fault: the message is gone, another's, or was lost with a disk.
const REFUSALS: [&str; 3] = ["message_not_found", "message_deleted", "not_yours"];

impl World {
    /// A user changes one of the latest messages that the user's home holds, or tries to.
    pub(super) fn amends(
        &mut self,
        who: usize,
        channel: usize,
        place: usize,
        what: usize,
    ) -> Result<(), Broken> {
        let Some(n) = channel.checked_rem(self.ledger.channels.len()) else { return Ok(()) };
        let channel = self.ledger.channels[n];
        let sender = if channel.is_group() { self.person(who) } else { self.user(who) };
        let home = self.number_of(&sender.home);
        if self.is_villain(home) || (channel.is_group() && !self.is_at_work(home)) {
            return Ok(());
        }
        let Some(state) = self.members[home].state(channel)? else { return Ok(()) };
        if state.member(&sender).is_none() {
            return Ok(());
        }
        let log = self.members[home].log(channel)?;
        let mut messages = log.iter().rev().map(|entry| &entry.event.header);
        let Some(header) = messages.by_ref().filter(|h| h.kind.is_message()).nth(place) else {
            return Ok(());
        };
        let about = homing_wire::Target { sender: header.user(), id: header.id };
        let which = self.ledger.wishes.len();
        let (kind, body) = body(which, what, &about);
        let (number, truth) = (which as u64, MONDAY_MS + self.now);
        let to = state.other(&sender).map(|other| other.user.clone());
        let command = SendCommand {
            sender: sender.local.clone(),
            target: Target::Channel(channel),
            id: (!what.is_multiple_of(3)).then(|| v7(truth, number << 1)),
            fresh_id: MessageId(Uuid::nil()),
            op: what.is_multiple_of(3).then(|| OpId(Uuid::from_u128(u128::from(number) + 1))),
            kind,
            body,
            mentions: Vec::new(),
            about: Some(about),
            media: Vec::new(),
        };
        self.ledger.wishes.push(Wish {
            home,
            sender,
            to: to.filter(|_| !channel.is_group()),
            channel,
            command,
            asked_at: None,
            answer: None,
            past: false,
        });
        self.asks(which)
    }

    /// Whether a change may be refused so.
    pub(super) fn is_in_vain(&self, which: usize, reason: &str) -> bool {
        let command = &self.ledger.wishes[which].command;
        command.about.is_some() && REFUSALS.contains(&reason)
    }

    /// A changed message is shown to a home's people: it is on disk, and so is what changed it.
    pub(super) fn shows_changed(
        &mut self,
        home: usize,
        message: &Arc<LogEntry>,
        by: Option<&LogEntry>,
        change: u64,
    ) -> Result<(), Broken> {
        let (channel, store) = (message.channel(), &self.members[home].store);
        for entry in [Some(&**message), by].into_iter().flatten() {
            if store.entry(channel, entry.pos)?.as_ref() != Some(entry) {
                let what = format!("home {home} shows what is not on disk: {entry:?}");
                return Err(Broken::new("P1", what));
            }
        }
        if store.fold(channel, message.pos)?.is_none() {
            let what = format!("home {home} shows changes of {message:?} that are not on disk");
            return Err(Broken::new("P1", what));
        }
        // A message that came after what changes it is shown for the first time.
        let upto = by.map_or(message.pos, |by| by.pos.max(message.pos));
        self.passes(home, channel, upto)?;
        if by.is_none() && !channel.is_group() {
            for client in self.members[home].clients_in(channel)? {
                let shown = client.shown.entry(channel).or_default();
                if shown.len() as u64 + 1 == message.pos.0 {
                    shown.push(message.event.header.id);
                }
            }
        }
        self.seen_by_clients(home, channel, change)
    }

    /// Clients that follow a chat pass over what stands in no list, up to that place.
    pub(super) fn passes(
        &mut self,
        home: usize,
        channel: ChannelId,
        upto: Pos,
    ) -> Result<(), Broken> {
        if channel.is_group() {
            return Ok(());
        }
        let log = self.members[home].log(channel)?;
        for client in self.members[home].clients_in(channel)? {
            let shown = client.shown.entry(channel).or_default();
            let news = log.iter().skip(shown.len()).take_while(|entry| entry.pos <= upto);
            let passed = news.take_while(|entry| is_passed(entry));
            let passed: Vec<MessageId> = passed.map(|entry| entry.event.header.id).collect();
            shown.extend(passed);
        }
        Ok(())
    }

    /// P3: what is kept beside each message is what all events say together that count there.
    pub(super) fn check_folds(&self, home: usize, channel: ChannelId) -> Result<(), Broken> {
        let member = &self.members[home];
        let log = member.log(channel)?;
        let roster = member.roster(channel)?;
        let roster = roster.as_ref().map(|signed| signed.roster());
        let mut changes: BTreeMap<(UserRef, MessageId), Vec<&LogEntry>> = BTreeMap::new();
        for entry in log.iter().filter(|entry| counts(entry, roster)) {
            let Some(target) = entry.changes() else { continue };
            changes.entry((target.sender.clone(), target.id)).or_default().push(entry);
        }
        for entry in log.iter().filter(|entry| entry.event.header.kind.is_message()) {
            let header = &entry.event.header;
            let mut of = changes.remove(&(header.user(), header.id)).unwrap_or_default();
            of.sort_by_key(|change| change.event.header.order());
            let kept = member.store.fold(channel, entry.pos)?.unwrap_or_default();
            if !says(&kept, &of) {
                let what =
                    format!("home {home} in {channel}: {kept:?} came of {entry:?} by {of:?}");
                return Err(Broken::new("P3", what));
            }
        }
        Ok(())
    }
}

/// Whether an entry stands in no list of messages.
pub(super) fn is_passed(entry: &LogEntry) -> bool {
    let header = &entry.event.header;
    header.origin == HomeId::LOCAL || !header.kind.is_message()
}

/// Whether an event counts by a roster: as what it does.
pub(super) fn counts(entry: &LogEntry, roster: Option<&Roster>) -> bool {
    let header = &entry.event.header;
    let Some(roster) = roster.filter(|_| header.origin != HomeId::LOCAL) else { return true };
    let others = header.target.as_ref().is_some_and(|target| target.sender != header.user());
    let moderates = header.kind == Kind::Delete && others;
    let right = if moderates { Right::Moderate } else { Right::Write };
    let at = ChainPos { epoch: header.epoch, seq: header.seq };
    roster.may(&header.user(), right, header.roster, at).is_ok()
}

/// Whether a fold is what these events say, each user's in the order of writing.
fn says(kept: &Fold, changes: &[&LogEntry]) -> bool {
    let of = |kind: Kind| changes.iter().filter(move |e| e.event.header.kind == kind);
    let hidden = of(Kind::Delete).any(|e| e.hidden);
    let gone = match (of(Kind::Delete).any(|e| !e.hidden), hidden) {
        (true, _) => Deleted::ForAll,
        (false, true) => Deleted::ForSender,
        (false, false) => Deleted::No,
    };
    if kept.deleted != gone {
        return false;
    }
    if gone == Deleted::ForAll {
        return kept.edit.is_none() && kept.hidden_edit.is_none() && kept.reactions.is_empty();
    }
    let last = |hidden| of(Kind::Edit).rfind(|e| e.hidden == hidden).map(|e| e.pos);
    let edits = [kept.edit, kept.hidden_edit].map(|edit| edit.map(|edit| edit.pos));
    let mut said = BTreeMap::new();
    for entry in of(Kind::Reaction) {
        let body = Body::is_canonical(&entry.event.body, BODY_BYTES).ok();
        let Some(reaction) = body.and_then(|body| body.reaction) else { return false };
        said.insert((entry.event.header.user(), reaction.emoji), reaction.on);
    }
    said.retain(|_, on| *on);
    let own = kept.reactions.iter().filter(|r| r.shown_to != ShownTo::Others);
    let reactions = own.map(|r| (r.user.clone(), r.emoji.clone()));
    edits == [last(false), last(true)]
        && reactions.collect::<BTreeSet<_>>() == said.into_keys().collect()
}

/// What a change says. The number tells wishes apart.
fn body(which: usize, what: usize, about: &homing_wire::Target) -> (Kind, bytes::Bytes) {
    // Homes read whom it is about in the header: the address is for people.
    let of =
        format!(r#""of":{{"id":"{}","sender":"{}@example.org"}}"#, about.id, about.sender.local);
    let end = format!(r#""n":{which}}}"#);
    match what % 8 {
        0 | 1 => {
            let words = format!(r#""body":{{"type":"text","text":"edit {which}"}}"#);
            (Kind::Edit, format!(r#"{{"type":"edit",{of},{words},{end}"#).into())
        }
        2 => (Kind::Delete, format!(r#"{{"type":"delete",{of},{end}"#).into()),
        n => {
            let (emoji, on) = (["👍", "🎉"][n % 2], what % 16 < 8);
            let said = format!(r#""emoji":"{emoji}","on":{on}"#);
            (Kind::Reaction, format!(r#"{{"type":"reaction",{of},{said},{end}"#).into())
        }
    }
}
