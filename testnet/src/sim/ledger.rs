//! The small model that the homes are held against: who was promised what.

use std::collections::BTreeMap;

use bytes::Bytes;
use homing_core::{SendCommand, SentReply};
use homing_wire::{ChannelId, MessageId, UserRef};
use uuid::Uuid;

use super::Broken;

/// A message that somebody wanted to send.
pub(super) struct Wish {
    /// The sender's home.
    pub(super) home: usize,
    pub(super) sender: UserRef,
    pub(super) to: UserRef,
    pub(super) channel: ChannelId,
    pub(super) command: SendCommand,
    /// When it was last given to the home, in milliseconds of the run; `None`: the home's process has ended since.
    pub(super) asked_at: Option<u64>,
    pub(super) answer: Option<SentReply>,
    /// Nobody repeats it, and nothing was promised: it is of a life of its home that was lost.
    pub(super) past: bool,
}

/// Everything that was wished and promised.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) wishes: Vec<Wish>,
    pub(super) channels: Vec<ChannelId>,
}

impl Ledger {
    /// The body of a wish: says which it is, so that whatever is stored anywhere can be held against it.
    pub(super) fn body(which: usize) -> Bytes {
        format!(r#"{{"type":"text","text":"{which}"}}"#).into()
    }

    /// Which wish a body is of.
    pub(super) fn wish_of(&self, body: &[u8]) -> Option<&Wish> {
        let text = std::str::from_utf8(body).ok()?;
        let number = text.strip_prefix(r#"{"type":"text","text":""#)?.strip_suffix(r#""}"#)?;
        self.wishes.get(number.parse::<usize>().ok()?)
    }

    /// A conversation exists.
    pub(super) fn knows(&mut self, channel: ChannelId) {
        if !self.channels.contains(&channel) {
            self.channels.push(channel);
        }
    }

    /// A client has its answer. A second one must say the same.
    pub(super) fn answered(&mut self, which: usize, reply: SentReply) -> Result<(), Broken> {
        let wish = &mut self.wishes[which];
        wish.asked_at = None;
        if let Some(first) = &wish.answer {
            let again = SentReply { repeated: first.repeated, ..reply };
            if again != *first {
                return Err(Broken::new(
                    "P2",
                    format!(
                        "message {which}: a repeat is answered {again:?}, the first was {first:?}"
                    ),
                ));
            }
            return Ok(());
        }
        wish.answer = Some(reply);
        Ok(())
    }

    /// Whoever has named no id and was told none cannot say which message is meant.
    pub(super) fn is_repeatable(&self, which: usize) -> bool {
        let wish = &self.wishes[which];
        let named = wish.command.id.is_some() || wish.command.op.is_some();
        !wish.past && (named || wish.answer.is_some())
    }
}

/// What a user's client has seen: it follows notices, and asks for what it missed when its home was away.
#[derive(Default)]
pub(super) struct Client {
    /// The newest change number it has seen.
    pub(super) since: u64,
    /// What it shows, by place.
    pub(super) shown: BTreeMap<ChannelId, Vec<MessageId>>,
}

/// A UUIDv7 made at `ms`.
pub(super) fn v7(ms: u64, number: u64) -> MessageId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    MessageId(Uuid::from_bytes(bytes))
}
