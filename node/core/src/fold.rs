//! What later events make of a message: edits, its deletion, reactions; and who has hidden it.
//!
//! Such an event names the message by sender and id. What comes of all of them is kept beside the message's place
//! ([`Fold`]), so that a page of a log is shown without a search. It is a function of the events that count, never of the
//! order in which they came: of edits the latest stands, a deletion is final, and of what one user says with one emoji
//! the last holds. Where it cannot be brought up to date by the newest event alone (an event of an earlier life came
//! back, a roster turned one, an event was here before its message), it is made again from all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use homing_wire::limits::BODY_BYTES;
use homing_wire::{
    Body, ChainPos, ChannelId, Epoch, Header, HomeId, Kind, Local, MessageId, OpId, Pos, Right,
    Seq, Stamp, Target, UserRef, is_emoji,
};
use serde::{Deserialize, Serialize};

use crate::chat::SendCommand;
use crate::home::{Effect, Home};
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, Failure, NO_CHANNEL, Refusal};
use crate::state::{ChannelState, LogEntry, MessageKey};
use crate::write::Write;

/// What later events make of a message.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Fold {
    /// The latest edit.
    pub edit: Option<Edit>,
    /// The latest of those that are hidden from everybody but their sender, who is the message's: it was blocked by then.
    pub hidden_edit: Option<Edit>,
    /// Whether the message is deleted.
    pub deleted: Deleted,
    /// Reactions, in the order in which they came.
    pub reactions: Vec<Reacted>,
    /// Users of this home who have hidden the message from themselves.
    pub hidden_from: Vec<Local>,
}

/// An edit that stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Edit {
    /// Its place.
    pub pos: Pos,
    /// When it was written, and its place in its chain: of one sender's edits the greatest stands.
    pub order: (Stamp, Epoch, Seq),
}

/// For whom a message is deleted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum Deleted {
    /// For nobody.
    #[default]
    No,
    /// For its sender alone, who was blocked when it deleted it.
    ForSender,
    /// For everybody.
    ForAll,
}

/// A reaction that stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reacted {
    /// Whose.
    pub user: UserRef,
    /// Which emoji.
    pub emoji: String,
    /// When it was written.
    pub stamp: Stamp,
    /// By whom it is seen.
    pub shown_to: ShownTo,
}

/// By whom a reaction is seen: what a blocked user gives, or takes back, is hidden from everybody else. Stored as the `bool` that said
/// whether it was hidden was: whoever took one back had taken it from everybody then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ShownTo {
    /// By everybody.
    All,
    /// By its sender alone, who was blocked when giving it.
    Sender,
    /// By everybody else: its sender was blocked when taking it back.
    Others,
}

/// How many have reacted with an emoji.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Which.
    pub emoji: String,
    /// How many users.
    pub count: u64,
    /// Whether the reader is one of them.
    pub mine: bool,
}

impl Fold {
    /// Emoji of one user on one message, at most: nobody means more, and a page of a log stays small.
    pub const REACTIONS_OF_USER: usize = 16;
    /// Events read where a fold is made again. More are a flood; what is beyond does not count.
    pub(crate) const EVENTS: usize = 10_000;

    /// Whether the message is deleted for `user`; `sender` is the message's.
    pub fn is_deleted_for(&self, user: &UserRef, sender: &UserRef) -> bool {
        match self.deleted {
            Deleted::No => false,
            Deleted::ForSender => user == sender,
            Deleted::ForAll => true,
        }
    }

    /// The edit that `user` is shown.
    pub fn edit_for(&self, user: &UserRef, sender: &UserRef) -> Option<Edit> {
        let hidden = self.hidden_edit.filter(|_| user == sender);
        [self.edit, hidden].into_iter().flatten().max_by_key(|edit| edit.order)
    }

    /// The reactions that `user` is shown: the first that was given first.
    pub fn reactions_for(&self, user: &UserRef) -> Vec<Tally> {
        let mut tallies: BTreeMap<&str, (Stamp, Tally)> = BTreeMap::new();
        let sees = |reacted: &&Reacted| match reacted.shown_to {
            ShownTo::All => true,
            ShownTo::Sender => reacted.user == *user,
            ShownTo::Others => reacted.user != *user,
        };
        for reacted in self.reactions.iter().filter(sees) {
            let emoji = &reacted.emoji;
            let (first, tally) = tallies.entry(emoji).or_insert_with(|| {
                (reacted.stamp, Tally { emoji: emoji.clone(), count: 0, mine: false })
            });
            *first = (*first).min(reacted.stamp);
            tally.count += 1;
            tally.mine |= reacted.user == *user;
        }
        let mut tallies: Vec<(Stamp, Tally)> = tallies.into_values().collect();
        tallies.sort_by_key(|(first, _)| *first);
        tallies.into_iter().map(|(_, tally)| tally).collect()
    }

    /// Whether a user of this home has hidden the message from itself.
    pub fn is_hidden_from(&self, user: &Local) -> bool {
        self.hidden_from.contains(user)
    }

    /// Where the edits are that somebody is shown.
    pub fn edits(&self) -> impl Iterator<Item = Pos> {
        [self.edit, self.hidden_edit].into_iter().flatten().map(|edit| edit.pos)
    }

    /// Takes the next event of its sender that counts.
    fn apply(&mut self, event: &LogEntry) {
        let header = &event.event.header;
        if header.origin == HomeId::LOCAL {
            if !self.is_hidden_from(&header.sender) {
                self.hidden_from.push(header.sender.clone());
            }
            return;
        }
        if self.deleted == Deleted::ForAll {
            return;
        }
        match header.kind {
            Kind::Edit => {
                let order = (header.stamp, header.epoch, header.seq);
                let held = if event.hidden { &mut self.hidden_edit } else { &mut self.edit };
                if held.is_none_or(|held| held.order < order) {
                    *held = Some(Edit { pos: event.pos, order });
                }
            }
            Kind::Delete if event.hidden => self.deleted = Deleted::ForSender,
            Kind::Delete => {
                let hidden_from = std::mem::take(&mut self.hidden_from);
                *self = Self { deleted: Deleted::ForAll, hidden_from, ..Self::default() };
            }
            Kind::Reaction => self.react(event),
            Kind::Text | Kind::Media | Kind::Custom | Kind::Notice | Kind::Unknown(_) => {}
        }
    }

    fn react(&mut self, event: &LogEntry) {
        let header = &event.event.header;
        let Ok(body) = Body::is_canonical(&event.event.body, BODY_BYTES) else { return };
        let (Some(said), user) = (body.reaction, header.user()) else { return };
        let same = |held: &Reacted| held.user == user && held.emoji == said.emoji;
        let held = self.reactions.iter().position(same);
        let was = held.map(|at| self.reactions[at].shown_to);
        let (own, others) = match was {
            None => (false, false),
            Some(ShownTo::All) => (true, true),
            Some(ShownTo::Sender) => (true, false),
            Some(ShownTo::Others) => (false, true),
        };
        let others = if event.hidden { others } else { said.on };
        let now = match (said.on, others) {
            (true, true) => ShownTo::All,
            (true, false) => ShownTo::Sender,
            (false, true) => ShownTo::Others,
            (false, false) => {
                self.reactions.retain(|held| !same(held));
                return;
            }
        };
        let of_user = |held: &&Reacted| held.user == user && held.shown_to != ShownTo::Others;
        if !own
            && said.on
            && self.reactions.iter().filter(of_user).count() >= Self::REACTIONS_OF_USER
        {
            return;
        }
        match held {
            Some(at) => self.reactions[at].shown_to = now,
            None => {
                let (emoji, stamp) = (said.emoji, header.stamp);
                self.reactions.push(Reacted { user, emoji, stamp, shown_to: now });
            }
        }
    }
}

/// A message with what later events make of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folded {
    /// The message as it was written.
    pub entry: Arc<LogEntry>,
    /// What came of it; `None`: nothing.
    pub fold: Option<Arc<Fold>>,
    /// The edits that somebody is shown.
    pub edits: Vec<Arc<LogEntry>>,
}

/// A message as one user sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sight {
    /// As it is.
    Shown {
        /// What it says now.
        body: Bytes,
        /// When that was written, where it is not what it said first; Unix milliseconds.
        edited_at: Option<u64>,
        /// What others say to it.
        reactions: Vec<Tally>,
    },
    /// It was deleted.
    Deleted,
    /// The user has hidden it.
    Hidden,
}

impl Folded {
    /// A message of which nothing has come.
    pub fn plain(entry: Arc<LogEntry>) -> Self {
        Self { entry, fold: None, edits: Vec::new() }
    }

    /// A committed message with its fold. An edit that retention has removed is not shown.
    pub fn read(
        reader: &dyn Reader,
        entry: Arc<LogEntry>,
        fold: Option<Fold>,
    ) -> Result<Self, Fault> {
        let mut edits = Vec::new();
        for pos in fold.iter().flat_map(Fold::edits) {
            edits.extend(reader.entry(entry.channel(), pos)?.map(Arc::new));
        }
        Ok(Self { entry, fold: fold.map(Arc::new), edits })
    }

    /// As that user sees it, who may see the message. One whose body is gone is deleted, whatever has come of it here.
    pub fn seen_by(&self, user: &UserRef) -> Sight {
        let shown = |body, edited_at, reactions| Sight::Shown { body, edited_at, reactions };
        let written = || self.entry.event.body.clone();
        let erased = self.entry.event.is_erased();
        let Some(fold) = &self.fold else {
            return if erased { Sight::Deleted } else { shown(written(), None, Vec::new()) };
        };
        let sender = self.entry.event.header.user();
        if fold.is_hidden_from(&user.local) {
            return Sight::Hidden;
        }
        if erased || fold.is_deleted_for(user, &sender) {
            return Sight::Deleted;
        }
        let edit = fold.edit_for(user, &sender);
        let edit = edit.and_then(|edit| self.edits.iter().find(|entry| entry.pos == edit.pos));
        let edited = edit.and_then(|entry| {
            let body = homing_wire::body::replacement(&entry.event.body)?;
            Some((body, entry.event.header.stamp.ms()))
        });
        let (body, edited_at) = match edited {
            Some((body, at)) => (body, Some(at)),
            None => (written(), None),
        };
        shown(body, edited_at, fold.reactions_for(user))
    }
}

impl LogEntry {
    /// The message that this entry changes, if it is of that sort.
    pub fn changes(&self) -> Option<&Target> {
        let header = &self.event.header;
        let changes = match header.kind {
            Kind::Edit | Kind::Delete | Kind::Reaction => true,
            // A user's note to its own home that a message is hidden.
            Kind::Notice => self.hidden,
            Kind::Text | Kind::Media | Kind::Custom | Kind::Unknown(_) => false,
        };
        header.target.as_ref().filter(|_| changes)
    }
}

/// The right that an event of a group uses.
pub(crate) fn right_of(header: &Header) -> Right {
    let sender = header.user();
    let other = header.target.as_ref().is_some_and(|target| target.sender != sender);
    if header.kind == Kind::Delete && other { Right::Moderate } else { Right::Write }
}

/// Why an event that changes a message is none, whatever the message is.
pub(crate) fn misdirected(state: &ChannelState, header: &Header) -> Option<&'static str> {
    let Some(target) = &header.target else { return Some("target_missing") };
    let own = target.sender == header.user();
    match header.kind {
        Kind::Edit if !own => Some(NOT_YOURS.reason),
        // In groups, admins may: that is a question of rosters.
        Kind::Delete if !own && state.group.is_none() => Some(NOT_YOURS.reason),
        Kind::Text
        | Kind::Media
        | Kind::Custom
        | Kind::Edit
        | Kind::Delete
        | Kind::Reaction
        | Kind::Notice
        | Kind::Unknown(_) => None,
    }
}

pub(crate) const NO_MESSAGE: Refusal =
    Refusal::new(Class::NotFound, "message_not_found", "there is no such message");
const IS_DELETED: Refusal =
    Refusal::new(Class::NotFound, "message_deleted", "this message was deleted");
const NOT_YOURS: Refusal =
    Refusal::new(Class::NotAllowed, "not_yours", "this message is somebody else's");
const NOT_EMOJI: Refusal =
    Refusal::new(Class::Invalid, "not_emoji", "a reaction is one emoji, nothing else");
const NOT_YET: Refusal = Refusal::new(
    Class::Invalid,
    "unsupported_body",
    "this home does not take this type of message yet",
);

impl Home {
    /// What later events make of the message at a place, uncommitted ones included.
    pub(crate) fn fold(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        pos: Pos,
    ) -> Result<Option<Arc<Fold>>, Fault> {
        let committed = self.committed;
        let Some(slot) = self.slot(reader, id)? else { return Ok(None) };
        if let Some(known) = slot.known_fold(pos) {
            return Ok(known.clone());
        }
        let fold = reader.fold(id, pos)?.map(Arc::new);
        if let Some(slot) = self.channels.peek_mut(&id) {
            slot.know_fold(0, committed, pos, fold.clone());
        }
        Ok(fold)
    }

    /// A message with what has come of it, uncommitted events included.
    pub(crate) fn folded(
        &mut self,
        reader: &dyn Reader,
        entry: Arc<LogEntry>,
    ) -> Result<Folded, Fault> {
        let id = entry.channel();
        let fold = self.fold(reader, id, entry.pos)?;
        let mut edits = Vec::new();
        for pos in fold.iter().flat_map(|fold| fold.edits()) {
            edits.extend(self.entry_at(reader, id, pos)?);
        }
        Ok(Folded { entry, fold, edits })
    }

    /// Whether a user may change a message so. Nothing is decided yet.
    pub(crate) fn check_change(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        me: &UserRef,
        command: &SendCommand,
    ) -> Result<(), Failure> {
        let Some(target) = &command.about else { return Err(NO_MESSAGE.into()) };
        let entry = self.seen_message(reader, id, me, target)?;
        let fold = self.fold(reader, id, entry.pos)?;
        let deleted = fold.as_ref().is_some_and(|fold| fold.is_deleted_for(me, &target.sender));
        if deleted || entry.event.is_erased() {
            return Err(IS_DELETED.into());
        }
        let body = Body::is_canonical(&command.body, BODY_BYTES);
        let own = target.sender == *me;
        let group = self.state(id).is_some_and(|state| state.group.is_some());
        match command.kind {
            Kind::Edit if !own => Err(NOT_YOURS.into()),
            Kind::Edit => match body.ok().and_then(|body| body.replacement) {
                Some(Kind::Text | Kind::Custom) => Ok(()),
                Some(
                    Kind::Media
                    | Kind::Edit
                    | Kind::Delete
                    | Kind::Reaction
                    | Kind::Notice
                    | Kind::Unknown(_),
                )
                | None => Err(NOT_YET.into()),
            },
            Kind::Delete if own => Ok(()),
            Kind::Delete if group => {
                let now = ChainPos { epoch: Epoch(0), seq: Seq(0) };
                let may = self.roster(id).is_some_and(|signed| {
                    let roster = signed.roster();
                    roster.may(me, Right::Moderate, roster.version, now).is_ok()
                });
                if may { Ok(()) } else { Err(NOT_YOURS.into()) }
            }
            Kind::Delete => Err(NOT_YOURS.into()),
            Kind::Reaction => {
                let said = body.ok().and_then(|body| body.reaction);
                let Some(said) = said.filter(|said| is_emoji(&said.emoji)) else {
                    return Err(NOT_EMOJI.into());
                };
                let mine = fold.iter().flat_map(|fold| &fold.reactions);
                let mine: Vec<&str> =
                    mine.filter(|r| r.user == *me).map(|r| r.emoji.as_str()).collect();
                let most = Fold::REACTIONS_OF_USER;
                if said.on && mine.len() >= most && !mine.contains(&said.emoji.as_str()) {
                    let message = "these are all the reactions that you can give to one message";
                    return Err(Refusal::new(Class::Limit, "too_many_reactions", message)
                        .with_limit(most as u64)
                        .into());
                }
                Ok(())
            }
            Kind::Text | Kind::Media | Kind::Custom | Kind::Notice | Kind::Unknown(_) => {
                Err(NOT_YET.into())
            }
        }
    }

    /// Hides a message from one user of this home. Hidden twice is hidden once.
    pub fn hide(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        channel: ChannelId,
        target: &Target,
        op: Option<OpId>,
    ) -> Result<(), Failure> {
        self.at(now_ms);
        self.hurry();
        if self.is_repeated(reader, user, op)? {
            return Ok(());
        }
        let me = self.user(user);
        if self.channel(reader, channel)?.is_none_or(|state| state.member(&me).is_none()) {
            return Err(NO_CHANNEL.into());
        }
        match self.seen_message(reader, channel, &me, target) {
            Ok(entry) => {
                if let Some(note) = self.note_hidden(channel, user, target.clone()) {
                    self.fold_in(reader, channel, &note)?;
                }
                let counted = self.was_counted(reader, &entry)?;
                self.not_unread(channel, &me, entry.pos, counted);
            }
            Err(Failure::Refused(refusal)) if refusal == NO_MESSAGE => {
                // Hidden before, perhaps.
                let key = MessageKey::new(&target.sender, &target.id);
                let Some(entry) = self.message_of(reader, channel, key)? else {
                    return Err(refusal.into());
                };
                let fold = self.fold(reader, channel, entry.pos)?;
                if !fold.is_some_and(|fold| fold.is_hidden_from(user)) {
                    return Err(refusal.into());
                }
            }
            Err(failure) => return Err(failure),
        }
        self.note_own_op(user, op);
        Ok(())
    }

    /// Which message of a channel has that id: of the first of `senders` who has sent one.
    pub fn which_message(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        id: MessageId,
        senders: &[UserRef],
    ) -> Result<Option<Target>, Fault> {
        if self.channel(reader, channel)?.is_none() {
            return Ok(None);
        }
        for sender in senders {
            if self.place_in(reader, channel, MessageKey::new(sender, &id))?.is_some() {
                return Ok(Some(Target { sender: sender.clone(), id }));
            }
        }
        Ok(None)
    }

    /// A message that a member of a channel is shown.
    pub(crate) fn seen_message(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        me: &UserRef,
        target: &Target,
    ) -> Result<Arc<LogEntry>, Failure> {
        let key = MessageKey::new(&target.sender, &target.id);
        let Some(entry) = self.message_of(reader, id, key)? else { return Err(NO_MESSAGE.into()) };
        let fold = self.fold(reader, id, entry.pos)?;
        let Some(state) = self.state(id) else { return Err(NO_CHANNEL.into()) };
        let sees = state.member(me).is_some_and(|member| member.sees(entry.pos));
        let hidden = fold.is_some_and(|fold| fold.is_hidden_from(&me.local));
        let rejected = state.rejection(entry.pos).is_some() || !self.counts(id, &entry);
        if !sees || hidden || rejected || !entry.is_shown_to(me) {
            return Err(NO_MESSAGE.into());
        }
        Ok(entry)
    }

    /// The message of that sender and id in a channel, uncommitted ones included.
    pub(crate) fn message_of(
        &self,
        reader: &dyn Reader,
        id: ChannelId,
        key: MessageKey,
    ) -> Result<Option<Arc<LogEntry>>, Fault> {
        let Some(pos) = self.place_in(reader, id, key)? else { return Ok(None) };
        if self.state(id).is_none_or(|state| pos <= state.pruned) {
            return Ok(None);
        }
        let entry = self.entry_at(reader, id, pos)?;
        Ok(entry.filter(|entry| entry.event.header.kind.is_message()))
    }

    /// Whether an entry counts under the roster that is held.
    pub(crate) fn counts(&self, id: ChannelId, entry: &LogEntry) -> bool {
        let header = &entry.event.header;
        if header.origin == HomeId::LOCAL {
            return true;
        }
        let Some(state) = self.state(id) else { return false };
        if entry.changes().is_some() && misdirected(state, header).is_some() {
            return false;
        }
        if state.group.is_none() {
            return true;
        }
        let at = ChainPos { epoch: header.epoch, seq: header.seq };
        self.roster(id).is_some_and(|signed| {
            signed.roster().may(&header.user(), right_of(header), header.roster, at).is_ok()
        })
    }

    /// An event that changes a message has been appended.
    pub(crate) fn fold_in(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        event: &Arc<LogEntry>,
    ) -> Result<(), Fault> {
        let Some(target) = event.changes() else { return Ok(()) };
        let key = MessageKey::new(&target.sender, &target.id);
        let Some(entry) = self.message_of(reader, id, key)? else {
            // The message may come later: then it is looked for.
            if let Some(state) = self.state_mut(id) {
                state.strays = true;
            }
            return self.erase_strays(reader, id, key, event);
        };
        let before = self.fold(reader, id, entry.pos)?;
        let header = &event.event.header;
        let later = |state: &ChannelState| {
            state.chains.iter().any(|c| c.origin == header.origin && c.epoch > header.epoch)
        };
        let after = if self.state(id).is_some_and(later) {
            self.made_again(reader, id, key)?
        } else {
            let mut fold = before.as_deref().cloned().unwrap_or_default();
            fold.apply(event);
            fold
        };
        let was_deleted = before.as_ref().is_some_and(|fold| fold.deleted == Deleted::ForAll);
        if was_deleted && after.deleted == Deleted::ForAll && header.kind == Kind::Edit {
            self.erase_entry(event, true);
        }
        self.refold(reader, entry, before.as_deref(), after, Some(event))
    }

    /// Events that changed messages count no more, or count again: what comes of them is made anew.
    pub(crate) fn fold_again(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        target: &Target,
    ) -> Result<(), Fault> {
        let key = MessageKey::new(&target.sender, &target.id);
        let Some(entry) = self.message_of(reader, id, key)? else {
            let gone = self.made_again(reader, id, key)?.deleted == Deleted::ForAll;
            return self.erase(reader, id, key, gone);
        };
        let before = self.fold(reader, id, entry.pos)?;
        let after = self.made_again(reader, id, key)?;
        if before.as_deref().is_some_and(|before| *before == after) {
            return Ok(());
        }
        self.note_changed(id, target.clone());
        self.refold(reader, entry, before.as_deref(), after, None)
    }

    /// What came before a message that is about to be appended.
    pub(crate) fn came_before(
        &self,
        reader: &dyn Reader,
        id: ChannelId,
        header: &Header,
    ) -> Result<Option<Fold>, Fault> {
        if !header.kind.is_message() || self.state(id).is_none_or(|state| !state.strays) {
            return Ok(None);
        }
        let fold = self.made_again(reader, id, MessageKey::new(&header.user(), &header.id))?;
        Ok((fold != Fold::default()).then_some(fold))
    }

    /// A fold from all events that count.
    fn made_again(
        &self,
        reader: &dyn Reader,
        id: ChannelId,
        key: MessageKey,
    ) -> Result<Fold, Fault> {
        let mut events = self.changes_of(reader, id, key, Fold::EVENTS)?;
        events.retain(|entry| self.counts(id, entry));
        // Each user's in the order of writing.
        events.sort_by_key(|entry| entry.event.header.order());
        let mut fold = Fold::default();
        events.iter().for_each(|event| fold.apply(event));
        Ok(fold)
    }

    /// The entries that change a message, in the order of the log, whether they count or not, uncommitted ones included.
    pub(crate) fn changes_of(
        &self,
        reader: &dyn Reader,
        id: ChannelId,
        key: MessageKey,
        limit: usize,
    ) -> Result<Vec<Arc<LogEntry>>, Fault> {
        let mut places = reader.changes_of(id, key, limit)?;
        places.extend(self.fresh_changes_of(id, key));
        places.sort_unstable();
        places.dedup();
        let mut entries = Vec::new();
        for pos in places {
            entries.extend(self.entry_at(reader, id, pos)?);
        }
        Ok(entries)
    }

    /// Keeps a new fold of a message, and tells whoever sees it.
    fn refold(
        &mut self,
        reader: &dyn Reader,
        entry: Arc<LogEntry>,
        before: Option<&Fold>,
        after: Fold,
        by: Option<&Arc<LogEntry>>,
    ) -> Result<(), Fault> {
        let nothing = Fold::default();
        let before = before.unwrap_or(&nothing);
        if *before == after {
            return Ok(());
        }
        let (id, pos) = (entry.channel(), entry.pos);
        let gone = |fold: &Fold| fold.deleted == Deleted::ForAll;
        let recount = gone(before) != gone(&after);
        if recount {
            let header = &entry.event.header;
            let key = MessageKey::new(&header.user(), &header.id);
            self.erase(reader, id, key, gone(&after))?;
            self.recount(reader, &entry, gone(&after))?;
            self.name_media(&entry, !gone(&after));
        }
        let mentioned = &entry.event.header.mentions;
        if !mentioned.is_empty() && self.was_counted(reader, &entry)? {
            let edit = match after.edit {
                Some(edit) => self.entry_at(reader, id, edit.pos)?,
                None => None,
            };
            // An edit takes mentions away, it adds none: nobody is called by what was read before.
            let edit = edit.as_ref().map(|edit| &edit.event.header.mentions);
            self.mention_again(id, pos, mentioned, |user| {
                let named = edit.is_none_or(|named| named.contains(user));
                named && !gone(&after) && !after.is_hidden_from(&user.local)
            });
        }
        self.keep_fold(id, pos, after);
        let change = self.changed_for(id, |member| {
            entry.is_shown_to(&member.user)
                && member.sees(pos)
                && by.is_none_or(|by| by.is_shown_to(&member.user))
        });
        let message = self.folded(reader, entry)?;
        self.follows(Effect::Changed { message, by: by.cloned(), change });
        if recount {
            self.follows(Effect::Channel { channel: id, change });
        }
        Ok(())
    }

    /// Keeps the fold of a message.
    pub(crate) fn keep_fold(&mut self, id: ChannelId, pos: Pos, fold: Fold) {
        let (step, committed) = (self.current_step(), self.committed);
        let fold = Arc::new(fold);
        if let Some(slot) = self.change_channel(id) {
            slot.know_fold(step, committed, pos, Some(fold.clone()));
        }
        self.write(Write::Fold { channel: id, pos, fold });
    }

    /// A counted message counts no more, or counts again.
    fn recount(&mut self, reader: &dyn Reader, entry: &LogEntry, gone: bool) -> Result<(), Fault> {
        let (id, pos) = (entry.channel(), entry.pos);
        if !self.was_counted(reader, entry)? {
            return Ok(());
        }
        if gone {
            self.uncount(id, pos);
        } else if self.counts(id, entry)
            && let Some(state) = self.state_mut(id)
        {
            state.uncounted.retain(|uncounted| *uncounted != pos);
        }
        Ok(())
    }

    /// Whether a message counted as unread when it came.
    fn was_counted(&mut self, reader: &dyn Reader, entry: &LogEntry) -> Result<bool, Fault> {
        let before = match entry.pos.0 {
            1 => Some(0),
            pos => self.row(reader, entry.channel(), Pos(pos - 1))?.map(|row| row.counted),
        };
        // Where the one before is gone by retention, this was counted if it was shown.
        Ok(before.map_or(!entry.hidden, |before| before < entry.counted))
    }

    /// A counted message is unread for nobody any more.
    pub(crate) fn uncount(&mut self, id: ChannelId, pos: Pos) {
        let floor = self.read_by_all(id);
        let Some(state) = self.state_mut(id) else { return };
        state.uncounted.retain(|uncounted| *uncounted > floor && *uncounted != pos);
        if pos > floor {
            state.uncounted.push(pos);
            state.uncounted.sort_unstable();
        }
        let more = state.uncounted.len().saturating_sub(ChannelState::UNCOUNTED);
        state.uncounted.drain(..more);
    }

    /// A message is hidden from one user: it is not unread for that one, if it ever was.
    fn not_unread(&mut self, id: ChannelId, user: &UserRef, pos: Pos, counted: bool) {
        let read = self.read_on_disk(id, user);
        let Some(member) = self.state_mut(id).and_then(|state| state.member_mut(user)) else {
            return;
        };
        member.hidden.retain(|hidden| *hidden > read && *hidden != pos);
        if counted && pos > read {
            member.hidden.push(pos);
            member.hidden.sort_unstable();
        }
        let more = member.hidden.len().saturating_sub(crate::state::Member::HIDDEN);
        member.hidden.drain(..more);
        self.looks_different(id, user.clone());
    }
}
