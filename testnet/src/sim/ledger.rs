//! The small model that the homes are held against: who was promised what.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use homing_core::{SendCommand, SentReply};
use homing_wire::{ChannelId, MessageId, Pos, UserRef};
use uuid::Uuid;

use super::Broken;

/// A message that somebody wanted to send.
pub(super) struct Wish {
    /// The sender's home.
    pub(super) home: usize,
    pub(super) sender: UserRef,
    /// With whom the chat is; `None`: it is for a group.
    pub(super) to: Option<UserRef>,
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
    /// Groups in the order in which they were made, and whose home made each.
    pub(super) groups: Vec<(ChannelId, usize)>,
    /// Rosters that their homes signed: a number for the summary.
    pub(super) rosters: BTreeSet<(ChannelId, u64)>,
    /// The newest that somebody was told of.
    pub(super) told: BTreeMap<ChannelId, u64>,
    /// Who wants to be in which group, and which of all wishes about groups said so.
    pub(super) wanted: BTreeMap<(UserRef, ChannelId), u64>,
    /// Who wanted that once, and has left since.
    pub(super) unwanted: BTreeSet<(UserRef, ChannelId)>,
    /// Whom somebody has ever had as a contact.
    pub(super) contacts: BTreeSet<(UserRef, UserRef)>,
    /// Who was told of having left, which stay it was, and the last place before.
    pub(super) left: BTreeMap<(UserRef, ChannelId), (u64, Pos)>,
}

impl Ledger {
    /// The body of a wish: says which it is, so that whatever is stored anywhere can be held against it.
    pub(super) fn body(which: usize) -> Bytes {
        format!(r#"{{"type":"text","text":"{which}"}}"#).into()
    }

    /// Which wish a body is of.
    pub(super) fn wish_of(&self, body: &[u8]) -> Option<&Wish> {
        let text = std::str::from_utf8(body).ok()?;
        let message = || text.strip_prefix(r#"{"type":"text","text":""#)?.strip_suffix(r#""}"#);
        // What changes another message has it at its end.
        let change = || Some(text.strip_suffix('}')?.rsplit_once(r#","n":"#)?.1);
        let number = message().or_else(change)?;
        self.wishes.get(number.parse::<usize>().ok()?)
    }

    /// A conversation exists.
    pub(super) fn knows(&mut self, channel: ChannelId) {
        if !self.channels.contains(&channel) {
            self.channels.push(channel);
        }
    }

    /// Whose home made a group; `None`: nobody's whom anything was wished of.
    pub(super) fn owner(&self, group: ChannelId) -> Option<usize> {
        self.groups.iter().find(|(id, _)| *id == group).map(|(_, home)| *home)
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
    /// What it shows of chats, by place.
    pub(super) shown: BTreeMap<ChannelId, Vec<MessageId>>,
    /// What it shows of groups.
    pub(super) shown_in_groups: BTreeSet<(ChannelId, UserRef, MessageId)>,
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
