//! Words that begin with a slash, and what keys do in their place.

use homing_client::{Body, ChannelKind, ChannelState, MessageRef, Uuid, ViewUpdate};
use serde_json::json;

use super::window::Entry;
use super::{App, Confirm, Overlay, Wish};
use crate::ask::Ask;

/// The latest time that JSON can say: for ever.
const FOR_EVER_MS: u64 = (1 << 53) - 1;

/// Every command with what it does: the help screen shows this.
pub(crate) const COMMANDS: &[(&str, &str)] = &[
    ("/open ADDRESS", "open the chat with somebody, at any home"),
    ("/reply TEXT", "answer the selected message, else the last of somebody else"),
    ("/edit", "change the selected message, else your last"),
    ("/delete", "delete the selected message, else your last, for everybody"),
    ("/react EMOJI", "react to the selected message, else the last; again takes it back"),
    ("/hide", "hide the selected message from yourself"),
    ("/mute [30m|8h|7d]", "hear nothing of it; /unmute"),
    ("/pin", "have it before the others; /unpin"),
    ("/archive", "put it out of sight; /unarchive"),
    ("/unread", "mark it as unread"),
    ("/accept, /decline", "answer a first contact or an invitation"),
    ("/block", "hear nothing of whom the chat is with; /unblock"),
    ("/leave", "leave the group"),
    ("/retry, /discard", "what was not sent"),
    ("/help, /quit", ""),
];

impl App {
    pub(super) fn command(&mut self, line: &str) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "/open" => self.open_address(rest),
            "/reply" => match self.target(|entry| self.is_foreign(entry)) {
                Some((order, _)) => {
                    self.reply(&order);
                    if !rest.is_empty() {
                        if let Some(compose) = self.compose_mut() {
                            compose.editor.insert(rest);
                        }
                        self.submit();
                    }
                }
                None => self.say("there is nothing to answer"),
            },
            "/edit" => self.edit_target(),
            "/delete" => self.delete_target(),
            "/react" => self.react_to_target(rest),
            "/hide" => self.hide_target(),
            "/mute" => match muting(rest) {
                Some(for_ms) => self.mute(for_ms),
                None => self.say("/mute, or /mute 30m, /mute 8h, /mute 7d"),
            },
            "/unmute" => self.view(|update| update.muted_until = Some(None), "no longer muted"),
            "/pin" => self.view(|update| update.pinned = Some(true), "pinned"),
            "/unpin" => self.view(|update| update.pinned = Some(false), "no longer pinned"),
            "/archive" => {
                self.view(|update| update.archived = Some(true), "archived: F2 shows the archive")
            }
            "/unarchive" => self.view(|update| update.archived = Some(false), "back in the list"),
            "/unread" => self.view(|update| update.marked_unread = Some(true), "marked as unread"),
            "/accept" => self.accept(),
            "/decline" => self.decline(),
            "/block" => self.block(),
            "/unblock" => {
                let user = self.open_channel().and_then(|channel| channel.with.clone());
                match user {
                    Some(user) => self.ask(Ask::Block { user, on: false }),
                    None => self.say("only people can be blocked"),
                }
            }
            "/leave" => match self.open_channel() {
                Some(channel) if channel.kind == ChannelKind::Group => {
                    self.overlay = Overlay::Confirm(Confirm::Leave { channel: channel.channel });
                }
                Some(_) | None => self.say("only groups can be left: /block, or /archive"),
            },
            "/retry" => {
                let count = self.open.map_or(0, |open| self.outbox.retry(open));
                self.say(format!("{count} sent again"));
            }
            "/discard" => {
                let count = self.open.map_or(0, |open| self.outbox.discard(open));
                self.say(format!("{count} forgotten"));
            }
            "/help" | "/?" => self.overlay = Overlay::Help { scroll: 0 },
            "/quit" | "/exit" => self.quit(),
            _ => self.say(format!(
                "{word} is no command: /help (a text that begins with / is written //)"
            )),
        }
    }

    /// Opens the chat with an address, which is made if it is new. A name alone is of the own home.
    pub(crate) fn open_address(&mut self, address: &str) {
        if address.is_empty() || address.contains(char::is_whitespace) {
            return self.say("/open ADDRESS, such as /open bob@globex.example");
        }
        let home = self.me.split_once('@').map_or("", |(_, home)| home);
        let with =
            if address.contains('@') { address.to_owned() } else { format!("{address}@{home}") };
        if let Some(channel) = self.channels.with(&with) {
            return self.look_at(channel.channel);
        }
        self.opening.insert(with.to_ascii_lowercase());
        if !self.is_online() {
            self.say(format!("{with} is opened as soon as the home is back"));
        }
        self.ask(Ask::Open { with });
    }

    /// Changes how the user sees the open conversation.
    pub(super) fn view(&mut self, change: impl FnOnce(&mut ViewUpdate), done: &'static str) {
        if let Some(channel) = self.about() {
            let mut update = ViewUpdate::default();
            change(&mut update);
            self.ask(Ask::View { channel, update, done: Some(done) });
        }
    }

    pub(super) fn mute(&mut self, for_ms: Option<u64>) {
        // By the home's clock, which is the one that counts.
        let until = for_ms.map_or(FOR_EVER_MS, |for_ms| self.server_ms().saturating_add(for_ms));
        self.view(|update| update.muted_until = Some(Some(until.min(FOR_EVER_MS))), "muted");
    }

    pub(super) fn accept(&mut self) {
        let Some(channel) = self.about().and_then(|about| self.channels.get(about)) else { return };
        let id = channel.channel;
        match channel.state {
            ChannelState::Request => self.ask(Ask::Accept(id)),
            ChannelState::Invited => self.ask(Ask::Join(id)),
            ChannelState::Active | ChannelState::Left | ChannelState::Unknown => {
                self.say("there is nothing to accept");
            }
        }
    }

    pub(super) fn decline(&mut self) {
        let Some(channel) = self.about().and_then(|about| self.channels.get(about)) else { return };
        let id = channel.channel;
        match channel.state {
            ChannelState::Request | ChannelState::Invited => {
                self.overlay = Overlay::Confirm(Confirm::Decline { channel: id });
            }
            ChannelState::Active | ChannelState::Left | ChannelState::Unknown => {
                self.say("there is nothing to decline");
            }
        }
    }

    pub(super) fn block(&mut self) {
        let with = self.about().and_then(|about| self.channels.get(about)?.with.clone());
        match with {
            Some(user) => self.overlay = Overlay::Confirm(Confirm::Block { user }),
            None => self.say("only people can be blocked"),
        }
    }

    pub(super) fn edit_target(&mut self) {
        let is_selected = self.open_window().is_some_and(|window| window.selected.is_some());
        let waits = |open| self.outbox.of(open).any(|outgoing| outgoing.text.is_some());
        if !is_selected && self.open.is_some_and(waits) {
            return self.say("your last message is not sent yet");
        }
        let mine = |entry: &Entry| {
            !self.is_foreign(entry) && entry.is_whole() && matches!(entry.body, Body::Text { .. })
        };
        match self.target(mine) {
            Some((order, _)) => self.edit(&order),
            None => self.say("there is nothing of yours to edit here"),
        }
    }

    pub(super) fn delete_target(&mut self) {
        let Some(channel) = self.open else { return };
        match self.target(|entry| !self.is_foreign(entry) && entry.is_whole()) {
            Some((_, of)) => self.overlay = Overlay::Confirm(Confirm::Delete { channel, of }),
            None => self.say("there is nothing of yours to delete here"),
        }
    }

    pub(super) fn react_to_target(&mut self, emoji: &str) {
        let Some((order, of)) = self.target(Entry::is_whole) else {
            return self.say("there is nothing to react to");
        };
        if emoji.is_empty() {
            return self.say("/react EMOJI, such as /react 👍");
        }
        let Some(channel) = self.open else { return };
        let entry = self.open_window().and_then(|window| window.entry(&order));
        let mine = entry.is_some_and(|entry| {
            entry.message.reactions.iter().any(|reaction| reaction.mine && reaction.emoji == emoji)
        });
        let body = json!({ "type": "reaction", "of": of, "emoji": emoji, "on": !mine });
        self.post_quietly(channel, body);
    }

    pub(super) fn hide_target(&mut self) {
        let Some(channel) = self.open else { return };
        match self.open_window().and_then(|window| window.entry(window.selected.as_deref()?)) {
            Some(entry) => {
                let of = entry.of();
                self.ask(Ask::Hide { channel, of });
            }
            None => self.say("select a message first: Tab, or Ctrl+↑"),
        }
    }

    /// Somebody has said yes.
    pub(super) fn confirmed(&mut self, what: Confirm) {
        match what {
            Confirm::Delete { channel, of } => self.delete(channel, &of),
            Confirm::Block { user } => self.ask(Ask::Block { user, on: true }),
            Confirm::Decline { channel } => {
                let invited =
                    self.channels.get(channel).is_some_and(|c| c.state == ChannelState::Invited);
                self.ask(if invited { Ask::Leave(channel) } else { Ask::Decline(channel) });
            }
            Confirm::Leave { channel } => self.ask(Ask::Leave(channel)),
            Confirm::QuitUnsent { .. } => self.end(),
        }
    }

    /// Ends, unless something would be lost by it.
    pub(crate) fn quit(&mut self) {
        let count = self.outbox.unsent();
        if count > 0 && self.overlay != Overlay::Confirm(Confirm::QuitUnsent { count }) {
            self.overlay = Overlay::Confirm(Confirm::QuitUnsent { count });
            return;
        }
        self.end();
    }

    /// Ends, whatever is under way.
    pub(crate) fn end(&mut self) {
        if self.is_online() {
            self.leave();
        }
        self.wishes.push(Wish::Quit);
    }

    fn delete(&mut self, channel: Uuid, of: &MessageRef) {
        self.post_quietly(channel, json!({ "type": "delete", "of": of }));
    }

    fn post_quietly(&mut self, channel: Uuid, body: serde_json::Value) {
        if !self.post(channel, body, None) {
            self.say("too much waits to be sent already");
        }
    }

    pub(super) fn is_foreign(&self, entry: &Entry) -> bool {
        entry.message.sender != self.me
    }

    /// What keys of the list are about, and commands: the row under the cursor, the open conversation.
    fn about(&self) -> Option<Uuid> {
        match self.focus {
            super::Focus::List => self.cursor,
            super::Focus::Input | super::Focus::Messages => self.open,
        }
    }
}

/// Nothing is for ever: `Some(None)`. `None`: not understood.
fn muting(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    let unit = text.chars().last()?;
    let count: u64 = text.strip_suffix(unit)?.parse().ok().filter(|count| *count > 0)?;
    let unit_ms: u64 = match unit {
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    count.checked_mul(unit_ms).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_one_mutes() {
        assert_eq!(muting(""), Some(None));
        assert_eq!(muting("8h"), Some(Some(28_800_000)));
        for wrong in ["8", "h", "0h", "-1h", "8x", "8 h", "99999999999999999d", "é"] {
            assert_eq!(muting(wrong), None, "{wrong}");
        }
    }
}
