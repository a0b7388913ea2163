//! What people see: times, ticks, names; nothing that a sender could make a terminal do.

use std::io::{self, IsTerminal as _, Write as _};

use homing_client::{Body, Channel, ChannelState, Message, Receipt};
use homing_terminal::civil;
pub(super) use homing_terminal::harmless_line as harmless;
use serde::Serialize;

/// A last message is shown this long in a list.
const PREVIEW_CHARS: usize = 60;

/// Standard output, for people or for scripts.
pub(super) struct Screen {
    /// One object a line.
    pub(super) json: bool,
    colour: bool,
}

/// How far a message of one's own has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tick {
    Sent,
    Delivered,
    Read,
    Rejected,
}

/// Says the date when it changes.
#[derive(Default)]
pub(super) struct Days {
    last: Option<u64>,
}

impl Tick {
    pub(super) fn of(message: &Message, channel: &Channel, me: &str) -> Self {
        if message.status.as_deref() == Some("rejected") {
            return Self::Rejected;
        }
        let others = || channel.marks.iter().filter(|mark| mark.user != me);
        if others().next().is_none() {
            return Self::Sent;
        }
        if others().all(|mark| mark.read >= message.pos) {
            Self::Read
        } else if others().all(|mark| mark.delivered >= message.pos) {
            Self::Delivered
        } else {
            Self::Sent
        }
    }
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { json, colour }
    }

    /// One line. The reader may be gone, which is an error of kind `BrokenPipe`.
    pub(super) fn line(&self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    /// One JSON object.
    pub(super) fn object(&self, object: &impl Serialize) -> anyhow::Result<()> {
        self.line(&serde_json::to_string(object)?)
    }

    /// One JSON object, or whatever people get.
    pub(super) fn result(
        &self,
        object: &impl Serialize,
        people: impl FnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.json { self.object(object) } else { people(self) }
    }

    pub(super) fn message(
        &self,
        days: &mut Days,
        message: &Message,
        tick: Option<Tick>,
    ) -> anyhow::Result<()> {
        let (day, time) = split_time(message.sent_at);
        if days.last != Some(day) {
            days.last = Some(day);
            self.line(&self.dim(&format!("── {} (UTC)", date(day))))?;
        }
        let mut line = format!(
            "{} {}  {}",
            self.dim(&time),
            self.bold(&harmless(&message.sender)),
            say_body(message, "\n         ")
        );
        // What `download` is to be told.
        if matches!(message.body(), Body::Media { .. }) {
            line.push_str(&self.dim(&format!(" {}", message.id)));
        }
        if message.edited_at.is_some() {
            line.push_str(&self.dim(" (edited)"));
        }
        if message.late {
            line.push_str(&self.dim(" (late)"));
        }
        for reaction in &message.reactions {
            line.push_str(&format!(" {}{}", harmless(&reaction.emoji), reaction.count));
        }
        match tick {
            None => {}
            Some(Tick::Sent) => line.push_str(&self.dim("  ✓")),
            Some(Tick::Delivered) => line.push_str(&self.dim("  ✓✓")),
            Some(Tick::Read) => line.push_str(&self.blue("  ✓✓ read")),
            Some(Tick::Rejected) => {
                let why = message.reason.as_deref().unwrap_or("rejected");
                line.push_str(&format!("  ✗ {}", harmless(why)));
            }
        }
        self.line(&line)
    }

    pub(super) fn receipt(&self, receipt: &Receipt) -> anyhow::Result<()> {
        let (_, time) = split_time(receipt.at);
        let user = harmless(&receipt.user);
        let line = if receipt.read > 0 && receipt.read >= receipt.delivered {
            format!("✓✓ read by {user} up to {}", receipt.read)
        } else if receipt.read > 0 {
            format!(
                "✓✓ delivered to {user} up to {}, read up to {}",
                receipt.delivered, receipt.read
            )
        } else {
            format!("✓✓ delivered to {user} up to {}", receipt.delivered)
        };
        self.line(&self.dim(&format!("{time} {line}")))
    }

    pub(super) fn channel(&self, channel: &Channel) -> anyhow::Result<()> {
        let unread = match channel.unread {
            0 => format!("{:>5}", ""),
            n => self.bold(&format!("{n:>5}")),
        };
        let mut line = format!("{unread}  {:<32}", harmless(&channel.title()));
        // A chat is named by whom it is with, a group by nothing but its id.
        if channel.with.is_none() {
            line.push_str(&format!("{}  ", self.dim(&channel.channel.to_string())));
        }
        match channel.state {
            ChannelState::Active | ChannelState::Unknown => {}
            ChannelState::Request => line.push_str("(request) "),
            ChannelState::Invited => line.push_str("(invited) "),
            ChannelState::Left => line.push_str("(left) "),
        }
        let own = [
            (channel.pinned, "pinned"),
            (channel.archived, "archived"),
            (channel.muted_until.is_some_and(|until| until > now_ms()), "muted"),
            (channel.marked_unread, "unread"),
            (channel.draft.is_some(), "draft"),
        ];
        for (_, word) in own.iter().filter(|(is, _)| *is) {
            line.push_str(&format!("({word}) "));
        }
        if let Some(last) = &channel.last {
            let (day, time) = split_time(last.sent_at);
            let text: String = say_body(last, " ").chars().take(PREVIEW_CHARS).collect();
            line.push_str(&format!("{}  {text}", self.dim(&format!("{} {time}", date(day)))));
        }
        self.line(line.trim_end())
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn blue(&self, text: &str) -> String {
        self.paint("34", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn say_body(message: &Message, newline: &str) -> String {
    match message.body() {
        Body::Text { text, .. } => {
            let lines: Vec<_> = text.split('\n').map(harmless).collect();
            lines.join(newline)
        }
        Body::Media { media, caption } => {
            let mut said = format!(
                "[{} {}, {} bytes",
                harmless(&media.mime),
                harmless(&media.name),
                media.size
            );
            if let Some(length) = media.length() {
                said.push_str(", ");
                said.push_str(&length);
            }
            said.push(']');
            if let Some(caption) = caption {
                said.push(' ');
                said.push_str(&harmless(&caption));
            }
            said
        }
        Body::Deleted => "(deleted)".to_owned(),
        Body::Notice => format!("* {}", harmless(message.body.get())),
        Body::Other => harmless(message.body.get()).into_owned(),
    }
}

/// A time for people, to the minute.
pub(super) fn when(unix_ms: u64) -> String {
    let (day, time) = split_time(unix_ms);
    format!("{} {}", date(day), &time[..5])
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Days since 1970 and the time of day, UTC.
fn split_time(unix_ms: u64) -> (u64, String) {
    let seconds = unix_ms / 1000;
    let of_day = seconds % 86_400;
    let time = format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    (seconds / 86_400, time)
}

/// A day since 1970, as it is sorted.
fn date(day: u64) -> String {
    let (year, month, of_month) = civil(day);
    format!("{year:04}-{month:02}-{of_month:02}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (day, shown) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_782, "2026-11-25")]
        {
            assert_eq!(date(day), shown);
        }
        assert_eq!(split_time(86_400_000 + 3_723_000), (1, "01:02:03".to_owned()));
    }

    #[test]
    fn ticks_rise_with_the_other_sides_marks() {
        let id = homing_client::new_message_id();
        let message = |pos: u64| -> Message {
            serde_json::from_value(json!({"channel": id, "pos": pos, "order": "1", "id": id,
                "sender": "a@a.test", "sent_at": 1, "body": {"type": "text", "text": "x"}}))
            .unwrap()
        };
        let mut channel: Channel = serde_json::from_value(json!({"channel": id, "kind": "chat",
            "with": "b@b.test", "state": "active", "head": 3, "marks": [
                {"user": "a@a.test", "delivered": 3, "read": 3},
                {"user": "b@b.test", "delivered": 2, "read": 1}]}))
        .unwrap();
        let tick = |channel: &Channel, pos| Tick::of(&message(pos), channel, "a@a.test");
        assert_eq!(tick(&channel, 1), Tick::Read);
        assert_eq!(tick(&channel, 2), Tick::Delivered);
        assert_eq!(tick(&channel, 3), Tick::Sent);
        channel.marks.clear();
        assert_eq!(tick(&channel, 1), Tick::Sent);
        let mut rejected = message(1);
        rejected.status = Some("rejected".into());
        assert_eq!(Tick::of(&rejected, &channel, "a@a.test"), Tick::Rejected);
    }
}
