//! What the user writes: drafts, typing, sending.

use homing_client::{Body, Channel, MessageRef, Uuid, ViewUpdate, new_message_id};
use serde_json::{Value, json};

use super::channels::is_asking;
use super::editor::Editor;
use super::outbox::{Outgoing, Sending};
use super::window::Scroll;
use super::{App, Compose};
use crate::ask::Ask;

/// Between two words that the user goes on typing, as the contract has it.
const TYPING_MS: u64 = 4_000;

/// Whoever pressed no key for so long does not type any more.
const IDLE_MS: u64 = 5_000;

/// A draft is kept at the home when nothing was typed for so long: not with every key.
const DRAFT_MS: u64 = 3_000;

impl App {
    pub(super) fn compose_mut(&mut self) -> Option<&mut Compose> {
        Some(self.compose.entry(self.open?).or_default())
    }

    /// A key has changed what is being written.
    pub(super) fn input_changed(&mut self) {
        let now = self.now.ms;
        self.last_key_ms = now;
        let Some(channel) = self.open else { return };
        let Some(compose) = self.compose_mut() else { return };
        compose.changed_ms = Some(now);
        let writes = !compose.editor.is_empty() && !is_command(compose.editor.text());
        if !writes {
            return self.stop_typing();
        }
        let may = self.channels.get(channel).is_some_and(|channel| !is_asking(channel));
        let said = self.said_typing.is_some_and(|(of, at)| of == channel && at + TYPING_MS > now);
        if may && !said && self.is_online() {
            self.said_typing = Some((channel, now));
            self.ask(Ask::Typing { channel, typing: true });
        }
    }

    pub(super) fn stop_typing(&mut self) {
        if let Some((channel, _)) = self.said_typing.take()
            && self.is_online()
        {
            self.ask(Ask::Typing { channel, typing: false });
        }
    }

    pub(super) fn stop_typing_when_idle(&mut self) {
        if self.typing_deadline().is_some_and(|at| at <= self.now.ms) {
            self.stop_typing();
        }
    }

    pub(super) fn typing_deadline(&self) -> Option<u64> {
        self.said_typing.map(|_| self.last_key_ms + IDLE_MS)
    }

    pub(super) fn draft_deadline(&self) -> Option<u64> {
        if !self.is_online() {
            return None;
        }
        self.compose.values().filter_map(|compose| compose.changed_ms).min().map(|at| at + DRAFT_MS)
    }

    pub(super) fn keep_drafts(&mut self) {
        let now = self.now.ms;
        if self.draft_deadline().is_none_or(|at| at > now) {
            return;
        }
        let due = |compose: &Compose| compose.changed_ms.is_some_and(|at| at + DRAFT_MS <= now);
        let due: Vec<Uuid> =
            self.compose.iter().filter(|(_, compose)| due(compose)).map(|(id, _)| *id).collect();
        for channel in due {
            self.keep_draft(channel);
        }
    }

    /// Keeps what is being written at the home, where that is something new. What replaces a message, and a command, is no
    /// draft; what is too long for a home is kept here alone.
    pub(super) fn keep_draft(&mut self, channel: Uuid) {
        let at_home = self.channels.get(channel).and_then(|channel| channel.draft.clone());
        let most = usize::try_from(self.limits.draft).unwrap_or(usize::MAX);
        let Some(compose) = self.compose.get_mut(&channel) else { return };
        compose.changed_ms = None;
        let text = compose.editor.text();
        let draft = if compose.editing.is_some() || is_command(text) { "" } else { text };
        let known = compose.kept.clone().or(at_home).unwrap_or_default();
        if draft == known || draft.len() > most {
            return;
        }
        let draft = draft.to_owned();
        compose.kept = Some(draft.clone());
        compose.drafts_asked += 1;
        let update = ViewUpdate { draft: Some(draft), ..ViewUpdate::default() };
        self.ask(Ask::View { channel, update, done: None });
    }

    pub(super) fn draft_answered(&mut self, channel: Uuid, well: bool) {
        let Some(compose) = self.compose.get_mut(&channel) else { return };
        compose.drafts_asked = compose.drafts_asked.saturating_sub(1);
        if compose.drafts_asked == 0 {
            compose.kept = None;
            if well && compose.editor.is_empty() && self.open != Some(channel) {
                self.compose.remove(&channel);
            }
        }
    }

    /// Another device has written a draft: it is taken, unless something is being written here.
    pub(super) fn take_draft(&mut self, channel: &Channel) {
        let known = self.channels.get(channel.channel).and_then(|known| known.draft.clone());
        let Some(compose) = self.compose.get_mut(&channel.channel) else { return };
        let draft = channel.draft.as_deref().unwrap_or_default();
        let untouched = compose.changed_ms.is_none()
            && compose.drafts_asked == 0
            && compose.editing.is_none()
            && compose.editor.text() == known.as_deref().unwrap_or_default();
        if untouched && compose.editor.text() != draft {
            compose.editor = Editor::with(draft);
        }
    }

    /// Sends what is written, or does what it commands.
    pub(super) fn submit(&mut self) {
        let Some(channel) = self.open else { return };
        let Some(compose) = self.compose_mut() else { return };
        let text = compose.editor.text().to_owned();
        if text.trim().is_empty() {
            return;
        }
        if is_command(&text) {
            compose.editor.clear();
            return self.command(text.trim());
        }
        // `//` begins a text that begins with `/`.
        let text = if text.starts_with("//") { text[1..].to_owned() } else { text };
        let (reply, editing) = (compose.reply.clone(), compose.editing.clone());
        let put = match &editing {
            Some(of) => self.send_edit(channel, of, &text),
            None => self.send_text(channel, &text, reply.as_ref()),
        };
        if !put {
            return self.say("too much waits to be sent already");
        }
        if let Some(compose) = self.compose_mut() {
            compose.editor.clear();
            (compose.reply, compose.editing) = (None, None);
        }
        self.stop_typing();
        self.keep_draft(channel);
        if let Some(window) = self.open_window_mut() {
            window.unread_from = None;
            window.selected = None;
            window.scroll = Scroll::Latest;
            if !window.reaches_end && window.loaded {
                self.read_anew(channel);
            }
        }
    }

    fn send_text(&mut self, channel: Uuid, text: &str, reply: Option<&MessageRef>) -> bool {
        let mut body = json!({ "type": "text", "text": text });
        self.mention(&mut body, text);
        if let Some(of) = reply {
            body["reply_to"] = json!(of);
        }
        self.post(channel, body, Some(text.to_owned()))
    }

    /// Only the words change: what the message answers stays.
    fn send_edit(&mut self, channel: Uuid, of: &MessageRef, text: &str) -> bool {
        let mut body = json!({ "type": "text", "text": text });
        self.mention(&mut body, text);
        let old = self.window(channel).and_then(|window| window.find(of)).map(|entry| &entry.body);
        if let Some(Body::Text { reply_to: Some(reply), .. }) = old {
            body["reply_to"] = json!(reply);
        }
        self.post(channel, json!({ "type": "edit", "of": of, "body": body }), None)
    }

    /// Whoever is named with `@` is mentioned: `@bob` of the own home, `@bob@globex.example` of another.
    fn mention(&self, body: &mut Value, text: &str) {
        let home = self.me.split_once('@').map_or("", |(_, home)| home);
        let mut mentions: Vec<String> = Vec::new();
        for word in text.split_whitespace().filter_map(|word| word.strip_prefix('@')) {
            let word = word.trim_end_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
            let address = if word.contains('@') { word } else { format!("{word}@{home}") };
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
            let is_one = !address.starts_with('@') && address.chars().all(plain);
            if is_one && address != self.me && !mentions.contains(&address) {
                mentions.push(address);
            }
        }
        if !mentions.is_empty() {
            body["mentions"] = json!(mentions);
        }
    }

    /// Puts a message among those that are to be sent. `text`: what is shown of it meanwhile.
    pub(super) fn post(&mut self, channel: Uuid, body: Value, text: Option<String>) -> bool {
        self.outbox.put(Outgoing {
            channel,
            id: new_message_id(),
            body,
            text,
            state: Sending::Waiting,
            written_at: self.now.unix_ms,
        })
    }

    /// Begins to replace the words of a message.
    pub(super) fn edit(&mut self, order: &str) {
        let me = self.me.clone();
        let entry = self.open_window().and_then(|window| window.entry(order));
        let Some(entry) = entry.filter(|entry| entry.message.sender == me && entry.is_whole())
        else {
            return self.say("only your own messages can be edited");
        };
        let Body::Text { text, .. } = &entry.body else {
            return self.say("only words can be edited");
        };
        let (of, text) = (entry.of(), text.clone());
        if let Some(compose) = self.compose_mut() {
            compose.editor = Editor::with(&text);
            compose.editing = Some(of);
            compose.reply = None;
        }
    }

    /// Begins an answer.
    pub(super) fn reply(&mut self, order: &str) {
        let entry = self.open_window().and_then(|window| window.entry(order));
        let Some(of) = entry.filter(|entry| entry.is_whole()).map(|entry| entry.of()) else {
            return self.say("that cannot be answered");
        };
        if let Some(compose) = self.compose_mut() {
            compose.reply = Some(of);
            compose.editing = None;
        }
    }
}

/// It is for this client. `//` begins a text.
fn is_command(text: &str) -> bool {
    text.starts_with('/') && !text.starts_with("//")
}
