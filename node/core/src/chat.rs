//! Chats: opening one, and sending into it.

use std::sync::Arc;

use bytes::Bytes;
use homing_wire::limits::{BODY_BYTES, MENTIONS};
use homing_wire::{
    ChannelId, Event, Hash, Header, Kind, Local, MediaReference, MessageId, OpId, Order, Pos, Seq,
    UserRef,
};

use crate::fold::NO_MESSAGE;
use crate::home::{Effect, Home};
use crate::ids;
use crate::log::Standing;
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, DISABLED, Failure, NO_CHANNEL, NO_USER, OP_REUSED, Refusal};
use crate::state::{
    AccountState, ChainEnd, ChannelState, Cursor, LogEntry, Member, MessageKey, OpWhat, Veil,
};
use crate::write::Write;

/// A user's wish to send a message.
#[derive(Clone, Debug)]
pub struct SendCommand {
    /// Who.
    pub sender: Local,
    /// Where to.
    pub target: Target,
    /// The client's id for it.
    pub id: Option<MessageId>,
    /// An id that has never been used, for a client that names none.
    pub fresh_id: MessageId,
    /// The client's name for the change.
    pub op: Option<OpId>,
    /// What the body is.
    pub kind: Kind,
    /// The body.
    pub body: Bytes,
    /// Whom it mentions.
    pub mentions: Vec<UserRef>,
    /// What it is about.
    pub about: Option<homing_wire::Target>,
    /// Files that it names.
    pub media: Vec<MediaReference>,
}

/// Where a message goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A channel the sender is in.
    Channel(ChannelId),
    /// The chat with that user, made if new. The caller has looked a user of another home up.
    To(UserRef),
}

/// A message that is stored, once its step is committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentReply {
    /// Its id.
    pub id: MessageId,
    /// Where it went.
    pub channel: ChannelId,
    /// Its place here.
    pub pos: Pos,
    /// Its place everywhere.
    pub order: Order,
    /// Unix milliseconds.
    pub sent_at: u64,
    /// It had been stored before; nothing was changed now.
    pub repeated: bool,
}

impl SentReply {
    fn of(entry: &LogEntry, repeated: bool) -> Self {
        let header = &entry.event.header;
        Self {
            id: header.id,
            channel: header.channel,
            pos: entry.pos,
            order: header.order(),
            sent_at: header.stamp.ms(),
            repeated,
        }
    }
}

const ID_REUSED: Refusal = Refusal::new(
    Class::Conflict,
    "id_reused",
    "this id names another message of yours: make a new one",
);

const STRANGER: Refusal = Refusal::new(
    Class::Invalid,
    "mention_of_stranger",
    "only people of this conversation can be mentioned",
);

impl Home {
    /// The chat of a local user with another user, made if new. A user of another home has been looked
    /// up by the caller. Returns the channel's id.
    pub fn open_chat(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        with: &UserRef,
    ) -> Result<ChannelId, Failure> {
        self.at(now_ms);
        let me = self.user(user);
        let id = self.chat_id(&me, with)?;
        if self.channel(reader, id)?.is_none() {
            self.check_local(reader, with)?;
            self.make_chat(reader, &me, with)?;
            let change = self.changed(id);
            self.follows(Effect::Channel { channel: id, change });
        } else {
            self.unveil_to(id, |member| member.user == me);
        }
        // Even where nothing is new, what is shown may still be on its way to disk.
        self.hurry();
        Ok(id)
    }

    /// Stores a message in the sender's name. A repeated `id` or `op` returns the first answer.
    pub fn send(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        command: SendCommand,
    ) -> Result<SentReply, Failure> {
        self.at(now_ms);
        if !self.is_active(reader, &command.sender)? {
            return Err(DISABLED.into());
        }
        if let Some(done) = self.repeated(reader, &command)? {
            self.hurry();
            return Ok(SentReply::of(&done, true));
        }
        if command.body.len() > BODY_BYTES || command.mentions.len() > MENTIONS {
            // The link has checked both; other homes could not read the event.
            return Err(Refusal::new(Class::Invalid, "body_too_large", "this body is too large")
                .with_limit(BODY_BYTES as u64)
                .into());
        }
        let is_change = matches!(command.kind, Kind::Edit | Kind::Delete | Kind::Reaction);
        if !is_change && !matches!(command.kind, Kind::Text | Kind::Media | Kind::Custom) {
            return Err(Refusal::new(
                Class::Invalid,
                "unsupported_body",
                "this home does not take this type of message yet",
            )
            .into());
        }
        let me = self.user(&command.sender);
        let id = match &command.target {
            Target::Channel(id) => *id,
            Target::To(with) => self.chat_id(&me, with)?,
        };
        self.check_mentions(reader, id, &me, &command)?;
        self.check_media(reader, &command)?;
        match self.channel(reader, id)? {
            Some(state) => {
                let is_group = state.group.is_some();
                let other = state.other(&me).filter(|_| !is_group).map(|m| m.user.clone());
                if state.member(&me).is_none() {
                    return Err(NO_CHANNEL.into());
                }
                if let Some(other) = other {
                    self.check_local(reader, &other)?;
                }
                if is_group {
                    self.check_writer(id, &me)?;
                } else {
                    self.check_first_contact(id, &me)?;
                }
                if is_change {
                    self.check_change(reader, id, &me, &command)?;
                }
                if !is_group {
                    self.undo_decline(reader, id, &me)?;
                    self.unveil(id, &me);
                }
            }
            None => match &command.target {
                Target::Channel(_) | Target::To(_) if is_change => {
                    return Err(NO_MESSAGE.into());
                }
                Target::Channel(_) => return Err(NO_CHANNEL.into()),
                Target::To(with) => {
                    self.check_local(reader, with)?;
                    self.make_chat(reader, &me, with)?;
                    let change = self.changed(id);
                    self.follows(Effect::Channel { channel: id, change });
                }
            },
        }
        let entry = self.store_own(reader, id, &me, &command)?;
        self.unmark_unread(reader, id, &me, entry.pos)?;
        self.remember(reader, &command, &entry)?;
        self.hurry();
        Ok(SentReply::of(&entry, false))
    }

    /// Whoever is mentioned is in the channel.
    fn check_mentions(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        me: &UserRef,
        command: &SendCommand,
    ) -> Result<(), Failure> {
        let state = self.channel(reader, id)?;
        let is_in = |who: &UserRef| match (state, &command.target) {
            (Some(state), _) => state.member(who).is_some_and(|member| !member.left),
            (None, Target::To(with)) => who == me || who == with,
            (None, Target::Channel(_)) => true, // which is not there
        };
        match command.mentions.iter().find(|who| !is_in(who)) {
            Some(stranger) => Err(STRANGER.about(stranger).into()),
            None => Ok(()),
        }
    }

    /// The entry that this command has stored before, if it has.
    fn repeated(
        &mut self,
        reader: &dyn Reader,
        command: &SendCommand,
    ) -> Result<Option<Arc<LogEntry>>, Failure> {
        if let Some(op) = command.op {
            let done = self.op_done(reader, &command.sender, op)?;
            match done.map(|done| done.what) {
                Some(OpWhat::Sent { channel, pos }) => {
                    if let Some(entry) = self.entry_at(reader, channel, pos)? {
                        return Ok(Some(entry));
                    }
                }
                Some(OpWhat::Own) => return Err(OP_REUSED.into()),
                None => {}
            }
        }
        let Some(id) = command.id else { return Ok(None) };
        let me = self.user(&command.sender);
        let key = MessageKey::new(&me, &id);
        let found = match self.ids.find(&key) {
            Some(entry) => Some(entry.clone()),
            None => {
                let ahead = self
                    .account(reader, &command.sender)?
                    .map_or(0, |account| account.ids_ahead_ms);
                if self.ids.is_certainly_new(&id, ahead) {
                    None
                } else if let Some((channel, pos)) = reader.place(key)? {
                    reader.entry(channel, pos)?.map(Arc::new)
                } else {
                    None
                }
            }
        };
        let Some(entry) = found else { return Ok(None) };
        let same_channel = match &command.target {
            Target::Channel(channel) => *channel == entry.channel(),
            Target::To(with) => ChannelId::chat(&me, with) == entry.channel(),
        };
        let header = &entry.event.header;
        if !same_channel
            || header.kind != command.kind
            || header.body_hash != Hash::of(&command.body)
        {
            return Err(ID_REUSED.into());
        }
        Ok(Some(entry))
    }

    fn chat_id(&self, me: &UserRef, with: &UserRef) -> Result<ChannelId, Refusal> {
        if me == with {
            return Err(Refusal::new(Class::Invalid, "with_self", "a chat is with somebody else"));
        }
        Ok(ChannelId::chat(me, with))
    }

    /// A user of this home who is written to must be there.
    pub(crate) fn check_local(
        &mut self,
        reader: &dyn Reader,
        user: &UserRef,
    ) -> Result<(), Failure> {
        if user.home == self.id && !self.takes_messages(reader, &user.local)? {
            return Err(NO_USER.into());
        }
        Ok(())
    }

    /// What another home has refused is refused here at once; a first contact has few words.
    fn check_first_contact(&mut self, id: ChannelId, me: &UserRef) -> Result<(), Refusal> {
        let (request, most) =
            (self.policy.first_contact_request, self.policy.first_contact_messages);
        let home = self.id;
        let Some(state) = self.state(id) else { return Err(NO_CHANNEL) };
        if state.cursors.iter().any(|c| c.refused.is_some()) {
            return Err(Refusal::new(
                Class::NotFound,
                "user_gone",
                "the other home has no such user any more",
            ));
        }
        let Some(other) = state.other(me) else { return Ok(()) };
        let sent = state.written_by(&home);
        let heard = other.mark.delivered > Pos(0)
            || state.chains.iter().any(|c| c.origin == other.user.home);
        if request && other.user.home != home && !heard && sent >= most {
            return Err(Refusal::new(
                Class::Limit,
                "first_contact",
                "they have not answered yet: wait until they accept",
            )
            .with_limit(most));
        }
        Ok(())
    }

    /// Makes the chat that `by` begins. From somebody who has blocked them it is hidden whole.
    pub(crate) fn make_chat(
        &mut self,
        reader: &dyn Reader,
        by: &UserRef,
        with: &UserRef,
    ) -> Result<(), Fault> {
        let mut state = ChannelState::chat(by.clone(), with.clone(), self.now_ms);
        for (one, other) in [(by, with), (with, by)] {
            if one.home == self.id
                && self.has_blocked(reader, &one.local, other)?
                && let Some(member) = state.member_mut(one)
            {
                member.blocking = true;
                member.veil = (one != by).then_some(Veil {
                    from: Pos(1),
                    last: Pos(0),
                    active_at: self.now_ms,
                    unlisted: true,
                    lifted: None,
                });
            }
        }
        state.cursors = state
            .members
            .iter()
            .filter(|m| m.user.home != self.id)
            .map(|m| Cursor::new(m.user.home, self.epoch))
            .collect();
        self.add_channel(state);
        Ok(())
    }

    /// `sender` is about to write: a chat that was hidden whole comes into the lists of those who will see it.
    pub(crate) fn unveil(&mut self, id: ChannelId, sender: &UserRef) {
        self.unveil_to(id, |member| member.user == *sender || !member.blocking);
    }

    fn unveil_to(&mut self, id: ChannelId, to: impl Fn(&Member) -> bool) {
        let hidden = |member: &&Member| !member.is_listed() && to(member);
        let users = self.state(id).map(|s| s.members.iter().filter(hidden));
        let users: Vec<UserRef> = users.into_iter().flatten().map(|m| m.user.clone()).collect();
        for user in users {
            if let Some(Some(veil)) =
                self.state_mut(id).and_then(|s| s.member_mut(&user)).map(|m| &mut m.veil)
            {
                veil.unlisted = false;
            }
            self.note_unanswered(id, &user);
            self.looks_different(id, user);
        }
    }

    /// A channel looks different to one user of this home, and to nobody else.
    pub(crate) fn looks_different(&mut self, channel: ChannelId, user: UserRef) {
        let change = self.changed_for(channel, |member| member.user == user);
        let answered = false;
        self.follows(Effect::ChannelOf { channel, user: user.local, answered, change });
    }

    /// The same where the change is of the user's own, who may have left the channel. `answered`: the device that causes
    /// it is answered with the channel.
    pub(crate) fn looks_different_to_oneself(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        user: UserRef,
        answered: bool,
    ) -> Result<(), Fault> {
        let change = self.changed_for_oneself(reader, channel, &user.local)?;
        self.follows(Effect::ChannelOf { channel, user: user.local, answered, change });
        Ok(())
    }

    /// Appends an event of this home, and owes it to the other homes.
    fn store_own(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        me: &UserRef,
        command: &SendCommand,
    ) -> Result<Arc<LogEntry>, Failure> {
        let (home, epoch, now_ms) = (self.id, self.epoch, self.now_ms);
        let stamp = self.next_stamp(id);
        let Some(slot) = self.change_channel(id) else { return Err(NO_CHANNEL.into()) };
        let roster = slot.state.group.as_ref().map_or(0, |group| group.version);
        let end = slot.state.chain(&home, epoch);
        let (seq, prev) = end.map_or((Seq(1), Hash::NONE), |c| (c.seq.next(), c.hash));
        let header = Header {
            channel: id,
            origin: home,
            epoch,
            seq,
            prev,
            stamp,
            sender: command.sender.clone(),
            id: command.id.unwrap_or(command.fresh_id),
            kind: command.kind,
            target: command.about.clone(),
            mentions: command.mentions.clone(),
            media: command.media.clone(),
            roster,
            // A body is at most 64 KiB: checked where it came in.
            body_size: u32::try_from(command.body.len()).unwrap_or(u32::MAX),
            body_hash: Hash::of(&command.body),
        };
        let event = Event::new(header, command.body.clone());
        let hash = event.hash();
        let Some(entry) = self.append(id, event, now_ms, Standing::Plain) else {
            return Err(NO_CHANNEL.into());
        };
        let end = self.end_of(id, home, epoch);
        self.move_chain(id, ChainEnd { seq, hash, stamp, pos: entry.pos, roster, ..end });
        if entry.changes().is_some() {
            self.accept_by_writing(id, me);
            self.fold_in(reader, id, &entry)?;
        } else {
            self.move_own_mark(reader, id, me, &entry)?;
            let change = self.changed_for(id, |member| entry.is_shown_to(&member.user));
            self.follows(Effect::Message { entry: entry.clone(), change });
        }
        self.owe_events(id);
        Ok(entry)
    }

    /// Remembers id and `op`, so that a repeat is known.
    fn remember(
        &mut self,
        reader: &dyn Reader,
        command: &SendCommand,
        entry: &Arc<LogEntry>,
    ) -> Result<(), Failure> {
        // An id that this home chose is remembered alike: the client has been told it and may use it.
        self.remember_id(reader, entry)?;
        if let Some(op) = command.op {
            let what = OpWhat::Sent { channel: entry.channel(), pos: entry.pos };
            self.note_op(&command.sender, op, what);
        }
        Ok(())
    }

    /// Remembers the id of a message of this home, so that a repeat is known.
    pub(crate) fn remember_id(
        &mut self,
        reader: &dyn Reader,
        entry: &Arc<LogEntry>,
    ) -> Result<(), Fault> {
        let header = &entry.event.header;
        if let Some(ms) = ids::time_ms(&header.id).filter(|ms| *ms > self.now_ms)
            && self.account(reader, &header.sender)?.is_some_and(|a| a.ids_ahead_ms < ms)
        {
            let step = self.current_step();
            if let Some(account) = self.accounts.change(&header.sender, step) {
                account.ids_ahead_ms = ms;
                let write = Write::Account(Box::new(account.clone()));
                self.write(write);
            }
        }
        self.ids.remember(MessageKey::new(&header.user(), &header.id), entry.clone());
        Ok(())
    }

    /// Whether `user` may see what is in the account at all: active accounts only.
    pub fn is_active(&mut self, reader: &dyn Reader, user: &Local) -> Result<bool, Failure> {
        Ok(self.account(reader, user)?.is_some_and(|a| a.state == AccountState::Active))
    }
}
