//! What was on the screen: read marks, delivered marks, whose presence is watched, which pages are wanted next.

use homing_client::{Channel, ChannelKind, Uuid};

use super::channels::is_asking;
use super::{App, Overlay};
use crate::ask::{Ask, Page};
use crate::view::Shown;

/// Between two read marks of a conversation: the home gathers them for a second anyway.
const READ_MS: u64 = 1_000;

/// Delivered marks are gathered for so long: they are about what nobody looks at.
const DELIVERED_MS: u64 = 1_000;

/// Delivered marks said at once. At the start there may be one for each of thousands of channels.
const DELIVERED_AT_ONCE: usize = 32;

/// Whoever scrolls through the list passes people by: those are watched who stay on the screen for so long.
const WATCH_MS: u64 = 300;

/// How far the user was seen to read in a conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    said: u64,
    wanted: u64,
    not_before_ms: u64,
}

impl App {
    pub(super) fn was_shown(&mut self, shown: Shown) {
        if self.shown.people != shown.people || self.shown.channel != shown.channel {
            self.watch_due_ms.get_or_insert(self.now.ms + WATCH_MS);
        }
        self.shown = shown;
        self.want_pages();
        self.saw();
    }

    fn want_pages(&mut self) {
        let Some(channel) = self.shown.channel.filter(|channel| self.open == Some(*channel)) else {
            return;
        };
        let (near_top, near_end) = (self.shown.near_top, self.shown.near_end);
        let Some(window) = self.windows.get_mut(&channel).filter(|window| window.loaded) else {
            return;
        };
        let generation = window.generation;
        let mut pages = Vec::new();
        if near_top && window.more_before && !window.asked_before {
            window.asked_before = true;
            pages.push(Page::Before(window.low()));
        }
        if near_end && !window.reaches_end && !window.asked_after {
            window.asked_after = true;
            pages.push(Page::After(window.high()));
        }
        for page in pages {
            self.ask(Ask::Messages { channel, page, generation });
        }
    }

    /// What was really before the user's eyes is read: the conversation was drawn, nothing in front of it, and the terminal
    /// has the focus or cannot tell.
    fn saw(&mut self) {
        let Some(id) = self.shown.channel else { return };
        if self.focused == Some(false) || self.overlay != Overlay::None || self.open != Some(id) {
            return;
        }
        let Some(channel) = self.channels.get(id) else { return };
        let mut pos = self.shown.seen_pos;
        // Behind the last message there may be places of changes, of which there is nothing to see.
        if let Some(window) = self.window(id)
            && self.shown.at_end
            && window.loaded
            && window.reaches_end
        {
            // Before a page that is on its way there is nothing to see of what it brings.
            pos = pos.max(if window.asked_after { window.high() } else { channel.head });
        }
        let pos = pos.min(channel.head);
        let reading = self.reading.entry(id).or_default();
        if pos > channel.read.max(reading.said) {
            reading.wanted = reading.wanted.max(pos);
        }
        self.say_read();
    }

    pub(super) fn say_read(&mut self) {
        if !self.is_online() {
            return;
        }
        let now = self.now.ms;
        let due = |reading: &Reading| reading.wanted > reading.said && reading.not_before_ms <= now;
        let ready: Vec<Uuid> =
            self.reading.iter().filter(|(_, reading)| due(reading)).map(|(id, _)| *id).collect();
        for channel in ready {
            let Some(reading) = self.reading.get_mut(&channel) else { continue };
            reading.said = reading.wanted;
            reading.not_before_ms = now + READ_MS;
            let pos = reading.wanted;
            self.delivered.remove(&channel);
            self.ask(Ask::Read { channel, pos });
        }
    }

    pub(super) fn reading_deadline(&self) -> Option<u64> {
        let waits = |reading: &&Reading| reading.wanted > reading.said;
        let due = self.reading.values().filter(waits).map(|reading| reading.not_before_ms).min();
        due.filter(|_| self.is_online())
    }

    pub(super) fn not_read(&mut self, channel: Uuid, again_ms: Option<u64>) {
        let now = self.now.ms;
        if let (Some(reading), Some(wait_ms)) = (self.reading.get_mut(&channel), again_ms) {
            reading.said = 0;
            reading.not_before_ms = now.saturating_add(wait_ms);
        }
    }

    /// A message of somebody else has come.
    pub(super) fn came(&mut self, channel: Uuid, pos: u64) {
        let known = self.delivered.entry(channel).or_default();
        *known = (*known).max(pos);
        self.delivered_due_ms.get_or_insert(self.now.ms + DELIVERED_MS);
    }

    /// What was written before this client was there.
    pub(super) fn came_while_away(&mut self, channel: &Channel) {
        let mine = channel.marks.iter().find(|mark| mark.user == self.me);
        let delivered = mine.map_or(channel.read, |mark| mark.delivered);
        if channel.unread > 0 && channel.head > delivered && !is_asking(channel) {
            self.came(channel.channel, channel.head);
        }
    }

    pub(super) fn deliver(&mut self) {
        if self.delivered_due_ms.is_none_or(|due| due > self.now.ms) || !self.is_online() {
            return;
        }
        for _ in 0..DELIVERED_AT_ONCE {
            let Some((channel, pos)) = self.delivered.pop_first() else { break };
            self.ask(Ask::Delivered { channel, pos });
        }
        self.delivered_due_ms = (!self.delivered.is_empty()).then_some(self.now.ms + DELIVERED_MS);
    }

    /// Watches those who are on the screen, and nobody else.
    pub(super) fn watch(&mut self) {
        if self.watch_due_ms.is_none_or(|due| due > self.now.ms) || !self.is_online() {
            return;
        }
        self.watch_due_ms = None;
        let most = usize::try_from(self.limits.watched).unwrap_or(usize::MAX).max(1);
        let open = self.open_channel().and_then(|channel| channel.with.clone());
        let wanted = || open.iter().chain(&self.shown.people).take(most);
        let gone: Vec<String> = self
            .watched
            .iter()
            .filter(|user| !wanted().any(|wanted| wanted == *user))
            .cloned()
            .collect();
        let mut new: Vec<String> = wanted()
            .filter(|user| !self.watched.contains(*user) && !self.unwatchable.contains(*user))
            .cloned()
            .collect();
        new.sort_unstable();
        new.dedup();
        for user in &gone {
            self.watched.remove(user);
            self.presence.remove(user);
        }
        if !gone.is_empty() {
            self.ask(Ask::Unwatch(gone));
        }
        if !new.is_empty() {
            self.watched.extend(new.iter().cloned());
            self.ask(Ask::Watch(new));
        }
    }

    /// A refused call watches nobody of those it named: one of them may be whom it was refused for.
    pub(super) fn not_watched(&mut self, people: Vec<String>, again_ms: Option<u64>) {
        for user in &people {
            self.watched.remove(user);
        }
        if let Some(wait_ms) = again_ms {
            self.watch_due_ms = Some(self.now.ms.saturating_add(wait_ms));
            return;
        }
        match people.as_slice() {
            [one] => {
                self.unwatchable.insert(one.clone());
            }
            many => {
                for user in many {
                    self.watched.insert(user.clone());
                    self.ask(Ask::Watch(vec![user.clone()]));
                }
            }
        }
    }

    /// Whether the other of a chat is there.
    pub(crate) fn is_there(&self, channel: &Channel) -> bool {
        channel.kind == ChannelKind::Chat
            && channel
                .with
                .as_ref()
                .and_then(|with| self.presence.get(with))
                .is_some_and(|p| p.online)
    }
}
