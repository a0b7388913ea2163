//! What the home answers.

use homing_client::{
    ChannelsPage, Error, GroupAnswer, Message, MessageRef, MessagesPage, Presence, Refusal, Sent,
    Uuid,
};
use serde::Deserialize as _;
use serde_json::Value;

use super::outbox::{Outgoing, Refused};
use super::window::{Item, Scroll};
use super::{App, Connection};
use crate::ask::{Answer, Ask, Page};
use crate::view::Rows;

/// When a page is asked for again that did not come: the connection was lost under it.
const AGAIN_MS: u64 = 1_000;

impl App {
    pub(super) fn answered(&mut self, ask: Ask, answer: Result<Answer, Error>) {
        match answer {
            Ok(answer) => self.answered_well(ask, answer),
            Err(error) => self.refused(ask, &error),
        }
    }

    fn answered_well(&mut self, ask: Ask, answer: Answer) {
        match (ask, answer) {
            (_, Answer::Channels(page)) => self.listed(page),
            (Ask::Messages { channel, page, generation }, Answer::Messages(messages)) => {
                self.paged(channel, page, generation, messages);
            }
            (Ask::Send { channel, id, .. }, Answer::Sent(sent)) => self.stored(channel, id, &sent),
            (ask, Answer::Channel(channel)) => {
                let id = channel.channel;
                self.put_channel(*channel);
                match ask {
                    Ask::Channel(_) => {
                        self.refreshed(id);
                        if self.open_first == Some(id) {
                            self.open_first = None;
                            self.look_at(id);
                        }
                    }
                    Ask::Open { with } if self.opening.remove(&with.to_ascii_lowercase()) => {
                        self.look_at(id);
                    }
                    Ask::View { update, done, .. } => {
                        if update.draft.is_some() {
                            self.draft_answered(id, true);
                        }
                        if let Some(done) = done {
                            self.say(done);
                        }
                    }
                    Ask::Accept(_) => self.say("accepted"),
                    // The others are not answered with a channel.
                    Ask::Open { .. }
                    | Ask::Channels { .. }
                    | Ask::Messages { .. }
                    | Ask::Message { .. }
                    | Ask::Send { .. }
                    | Ask::Read { .. }
                    | Ask::Delivered { .. }
                    | Ask::Typing { .. }
                    | Ask::Decline(_)
                    | Ask::Join(_)
                    | Ask::Leave(_)
                    | Ask::Hide { .. }
                    | Ask::Block { .. }
                    | Ask::Watch(_)
                    | Ask::Unwatch(_) => {}
                }
            }
            (Ask::Watch(_), Answer::Presence(people)) => self.seen(people),
            (Ask::Join(_), Answer::Group(GroupAnswer::Channel(channel))) => {
                let id = channel.channel;
                self.put_channel(*channel);
                self.say("you are in");
                if self.open == Some(id) {
                    self.read_anew(id);
                }
            }
            (Ask::Join(_), Answer::Group(GroupAnswer::Pending { .. })) => {
                self.say("the group's home has not answered yet: you are in as soon as it has");
            }
            (Ask::Decline(channel), Answer::Done) => {
                self.forget(channel);
                self.say("declined");
            }
            (Ask::Leave(channel), Answer::Done) => {
                self.refresh(channel);
                self.say("you have left");
            }
            (Ask::Block { user, on }, Answer::Done) => {
                self.say(format!(
                    "{} is {}blocked",
                    self.name_of(&user),
                    if on { "" } else { "no longer " }
                ));
                if let Some(channel) = self.channels.with(&user).map(|channel| channel.channel) {
                    self.refresh(channel);
                }
            }
            (Ask::Message { at, .. }, Answer::Message(message)) => self.changed(at, *message),
            (Ask::Hide { channel, of }, Answer::Done) => {
                if let Some(window) = self.windows.get_mut(&channel) {
                    window.hide(&of);
                }
                self.refresh(channel);
            }
            // Nothing is left to be done about the others.
            (
                _,
                Answer::Messages(_)
                | Answer::Message(_)
                | Answer::Sent(_)
                | Answer::Presence(_)
                | Answer::Group(_)
                | Answer::Done,
            ) => {}
        }
    }

    fn refused(&mut self, ask: Ask, error: &Error) {
        let wait_ms =
            error.retry_after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(AGAIN_MS));
        let again = wait_ms.or(is_lost(error).then_some(AGAIN_MS));
        match ask {
            Ask::Send { channel, id, .. } => {
                match self.outbox.failed(channel, id, error, self.now.ms) {
                    Refused::Later => {}
                    Refused::Shown => self.say(format!("not sent: {error}")),
                    Refused::Dropped => self.say(error.to_string()),
                }
            }
            Ask::Channel(channel) => match again {
                Some(wait_ms) => self.ask_later(wait_ms, Ask::Channel(channel)),
                None => {
                    self.refreshing.remove(&channel);
                    if error.code() == Some(Refusal::NOT_FOUND) {
                        self.forget(channel);
                    }
                    if self.open_first.take_if(|first| *first == channel).is_some() {
                        self.say(error.to_string());
                    }
                }
            },
            Ask::Channels { .. } | Ask::Messages { .. } => match again {
                Some(wait_ms) => self.ask_later(wait_ms, ask),
                None => {
                    if let Ask::Messages { channel, generation, .. } = &ask
                        && let Some(window) = self.windows.get_mut(channel)
                        && window.generation == *generation
                    {
                        (window.asked_before, window.asked_after) = (false, false);
                        (window.more_before, window.reaches_end) = (false, true);
                        window.loaded = true;
                    }
                    self.say(error.to_string());
                }
            },
            // It is not there for this user any more; what is listed says so.
            Ask::Message { channel, .. } => match again {
                Some(wait_ms) => self.ask_later(wait_ms, ask),
                None => self.catch_up(channel),
            },
            Ask::Watch(people) => self.not_watched(people, again),
            Ask::Read { channel, .. } => self.not_read(channel, again),
            Ask::View { channel, update, done } => {
                if update.draft.is_some() {
                    self.draft_answered(channel, false);
                }
                if done.is_some() {
                    self.say(error.to_string());
                }
            }
            // Busy is not no.
            Ask::Open { .. } if error.retry_after().is_some() => {
                self.ask_later(again.unwrap_or_default(), ask);
            }
            Ask::Open { with } => {
                self.opening.remove(&with.to_ascii_lowercase());
                self.say(format!("{with}: {error}"));
            }
            // They will be said again, or matter no more.
            Ask::Delivered { .. } | Ask::Typing { .. } | Ask::Unwatch(_) => {}
            Ask::Accept(_)
            | Ask::Decline(_)
            | Ask::Join(_)
            | Ask::Leave(_)
            | Ask::Hide { .. }
            | Ask::Block { .. } => {
                self.say(error.to_string());
            }
        }
        if matches!(error, Error::SignedOut { .. }) {
            self.connection = Connection::Ended(error.to_string());
        }
    }

    fn listed(&mut self, page: ChannelsPage) {
        for channel in page.channels {
            self.came_while_away(&channel);
            self.take_draft(&channel);
            self.put_channel(channel);
        }
        match page.cursor {
            Some(cursor) => self.ask(Ask::Channels { cursor: Some(cursor) }),
            None => self.listed = true,
        }
    }

    fn refreshed(&mut self, channel: Uuid) {
        if self.refreshing.remove(&channel) == Some(true) {
            self.refresh(channel);
        }
    }

    fn paged(&mut self, channel: Uuid, page: Page, generation: u64, messages: MessagesPage) {
        let head = self.channels.get(channel).map_or(0, |channel| channel.head);
        let me = self.me.clone();
        let Some(window) = self.windows.get_mut(&channel) else { return };
        if window.generation != generation {
            return;
        }
        let first = !window.loaded;
        let followed = window.reaches_end && window.scroll == Scroll::Latest;
        match page {
            Page::Latest => window.take_latest(messages, head),
            Page::Before(_) => {
                window.take_before(messages);
                if self.open == Some(channel) {
                    self.scroll_what_is_owed();
                }
                return;
            }
            Page::After(after) => {
                window.take_after(messages);
                if !first && followed {
                    return self.begin_with_missed(channel, after);
                }
            }
        }
        // Whoever comes to something new begins with it.
        if first && let Some(order) = window.first_unread(&me) {
            window.scroll = Scroll::Top { item: Item::Stored(order.to_owned()) };
        }
    }

    /// What was missed at the end of the open conversation is read from its beginning, where it is more than a screen:
    /// what would run past was not seen.
    fn begin_with_missed(&mut self, channel: Uuid, after: u64) {
        if self.open != Some(channel) {
            return;
        }
        let read = self.channels.get(channel).map_or(0, |channel| channel.read);
        let me = self.me.clone();
        let Some(window) = self.windows.get_mut(&channel) else { return };
        let before = window.unread_from.replace(read.max(after));
        let first = window.first_unread(&me).map(|order| Item::Stored(order.to_owned()));
        let Some(first) = first else {
            window.unread_from = before;
            return;
        };
        let is_above = Rows::of(self).and_then(|rows| rows.scrolled_to(&first)).is_some();
        let Some(window) = self.windows.get_mut(&channel) else { return };
        if is_above {
            window.scroll = Scroll::Top { item: first };
        } else {
            window.unread_from = before;
        }
    }

    /// A message of the user's is on the home's disk.
    fn stored(&mut self, channel: Uuid, id: Uuid, sent: &Sent) {
        let Some(outgoing) = self.outbox.stored(channel, id) else { return };
        let Outgoing { body, text, .. } = outgoing;
        if text.is_none() {
            return self.changed_by_me(channel, &body, sent);
        }
        let Ok(body) = serde_json::value::to_raw_value(&body) else { return };
        let message = Message {
            channel,
            pos: sent.pos,
            order: sent.order.clone(),
            id,
            sender: self.me.clone(),
            sent_at: sent.sent_at,
            body,
            edited_at: None,
            reactions: Vec::new(),
            late: false,
            status: None,
            reason: None,
            at: None,
            sync: None,
        };
        if !self.channels.sent(&message) {
            self.refresh(channel);
        }
        self.put_message(channel, message);
    }

    /// What the user's own edit, deletion or reaction has made of a message: the home tells it to all sockets but this one.
    fn changed_by_me(&mut self, channel: Uuid, body: &Value, sent: &Sent) {
        if let Ok(of) = MessageRef::deserialize(&body["of"]) {
            self.ask(Ask::Message { channel, of, at: sent.pos });
        }
    }

    /// The message after a change at that place.
    fn changed(&mut self, at: u64, mut message: Message) {
        message.at = Some(at);
        let (channel, body) = (message.channel, message.body());
        if !self.channels.told(&message, &body, &self.me) {
            self.refresh(channel);
        }
        self.put_message(channel, message);
    }

    fn seen(&mut self, people: Vec<Presence>) {
        for presence in people {
            if self.watched.contains(&presence.user) {
                self.presence.insert(presence.user.clone(), presence);
            }
        }
    }
}

/// Nothing was said against it: the connection went away.
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Closed { .. } | Error::Unreachable { .. } | Error::Unsendable(_))
}
