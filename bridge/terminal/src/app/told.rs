//! What the home tells of its own accord.

use homing_client::{Channel, Event, Opened, Typing, Uuid};

use super::channels::is_asking;
use super::window::{Scroll, Told};
use super::{App, Connection, Focus, Overlay, TYPING_FORGOTTEN_MS, TYPING_HELD};
use crate::ask::{Ask, PAGE, Page};

/// Places that a conversation may have gone on by while the connection was lost, for what is held of it to be made longer:
/// beyond, it is read anew from where the user is.
const CAUGHT_UP: u64 = 5 * PAGE;

impl App {
    pub(super) fn told(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.told_message(*message),
            Event::Receipt(receipt) => self.channels.mark(&receipt),
            Event::Channel(channel) => self.told_channel(*channel),
            Event::Presence(presence) => {
                if self.watched.contains(&presence.user) {
                    self.presence.insert(presence.user.clone(), presence);
                }
            }
            Event::Typing(typing) => self.told_typing(typing),
            Event::Lost(_) => {
                self.connection = Connection::Lost;
                self.typing.clear();
                self.said_typing = None;
            }
            Event::Opened(opened) => self.back(*opened),
            Event::Ended(error) => self.connection = Connection::Ended(error.to_string()),
            // Whoever asked gets it as an answer; a notification that is not known here is none.
            Event::Answered { .. } | Event::Other { .. } => {}
        }
    }

    fn told_message(&mut self, message: homing_client::Message) {
        let (channel, body) = (message.channel, message.body());
        let foreign = message.sender != self.me;
        if foreign {
            self.typing.remove(&(channel, message.sender.clone()));
        }
        if !self.channels.told(&message, &body, &self.me) {
            self.refresh(channel);
        }
        if foreign
            && message.at.is_none()
            && self.channels.get(channel).is_some_and(|c| !is_asking(c))
        {
            self.came(channel, message.pos);
        }
        self.put_message(channel, message);
    }

    /// A message takes its place in what is held of its conversation.
    pub(super) fn put_message(&mut self, channel: Uuid, message: homing_client::Message) {
        let unread = message.sender != self.me && message.at.is_none();
        let is_seen = self.open == Some(channel) && self.focused != Some(false);
        let read = self.channels.get(channel).map_or(0, |channel| channel.read);
        let Some(window) = self.windows.get_mut(&channel) else { return };
        if unread && !is_seen && window.unread_from.is_none() {
            window.unread_from = Some(read);
        }
        if window.told(message) == Told::Gap {
            self.catch_up(channel);
        }
    }

    /// Asks for what comes after what is held of a conversation.
    pub(super) fn catch_up(&mut self, channel: Uuid) {
        let Some(window) = self.windows.get_mut(&channel) else { return };
        if window.loaded && window.reaches_end && !window.asked_after {
            window.asked_after = true;
            let (page, generation) = (Page::After(window.high()), window.generation);
            self.ask(Ask::Messages { channel, page, generation });
        }
    }

    fn told_channel(&mut self, channel: Channel) {
        self.take_draft(&channel);
        self.put_channel(channel);
    }

    /// A channel as the home has it, told or answered.
    pub(super) fn put_channel(&mut self, channel: Channel) {
        let id = channel.channel;
        self.channels.put(channel);
        if self.channels.get(id).is_none() {
            self.forget(id);
        }
    }

    /// A conversation that is there no more.
    pub(super) fn forget(&mut self, channel: Uuid) {
        self.channels.remove(channel);
        self.windows.remove(&channel);
        self.window_order.retain(|held| *held != channel);
        self.compose.remove(&channel);
        self.reading.remove(&channel);
        self.delivered.remove(&channel);
        if self.cursor == Some(channel) {
            self.cursor = None;
        }
        if self.open == Some(channel) {
            self.open = None;
            self.focus = Focus::List;
            self.overlay = Overlay::None;
        }
    }

    fn told_typing(&mut self, typing: Typing) {
        let Typing { channel, user, typing, .. } = typing;
        if user == self.me {
            return;
        }
        if !typing {
            self.typing.remove(&(channel, user));
        } else if self.typing.len() < TYPING_HELD
            || self.typing.contains_key(&(channel, user.clone()))
        {
            self.typing.insert((channel, user), self.now.ms + TYPING_FORGOTTEN_MS);
        }
    }

    /// Connected again. What changed meanwhile comes with it, but for messages.
    fn back(&mut self, opened: Opened) {
        self.connection = Connection::Online;
        self.set_clock(opened.server_time);
        self.limits = opened.limits;
        // The home forgot whom this connection watched, and may have lost the last second of marks.
        self.watched.clear();
        self.presence.clear();
        self.unwatchable.clear();
        self.watch_due_ms = Some(self.now.ms);
        self.reading.clear();
        self.typing.clear();
        self.said_typing = None;
        let new_life = self.life != opened.life;
        self.life = opened.life;
        if opened.resync || new_life {
            return self.begin_anew();
        }
        for channel in opened.channels {
            let (id, head) = (channel.channel, channel.head);
            self.came_while_away(&channel);
            self.told_channel(channel);
            let Some(window) = self.windows.get_mut(&id) else { continue };
            if self.open != Some(id) {
                self.windows.remove(&id);
                self.window_order.retain(|held| *held != id);
            } else if head > window.high() && window.loaded && window.reaches_end {
                if head - window.high() > CAUGHT_UP {
                    // From its end, or from where it is new.
                    self.windows.remove(&id);
                    self.begin(id);
                } else {
                    self.catch_up(id);
                }
            }
        }
    }

    /// No place of before means anything: everything is asked for again. What is being written stays, as does what waits
    /// to be sent: the ids see to it that nothing is sent twice.
    fn begin_anew(&mut self) {
        self.channels.clear();
        self.refreshing.clear();
        self.listed = false;
        self.windows.clear();
        self.window_order.clear();
        self.delivered.clear();
        self.ask(Ask::Channels { cursor: None });
        if let Some(open) = self.open {
            self.refresh(open);
            self.read_anew(open);
        }
    }

    /// Asks for a channel as it is now. Once at a time: what changes meanwhile is asked for afterwards.
    pub(super) fn refresh(&mut self, channel: Uuid) {
        match self.refreshing.get_mut(&channel) {
            Some(again) => *again = true,
            None => {
                self.refreshing.insert(channel, false);
                self.ask(Ask::Channel(channel));
            }
        }
    }

    /// Lets go of what is held of a conversation and reads it from its end.
    pub(super) fn read_anew(&mut self, channel: Uuid) {
        let window = self.new_window(channel, None);
        window.scroll = Scroll::Latest;
    }
}
