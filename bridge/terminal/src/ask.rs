//! What the state wishes from the home: each a call of the client contract, and what its answer is read as.

use homing_client::{
    Channel, ChannelsPage, Error, GroupAnswer, Message, MessageRef, MessagesPage, Presence, Reply,
    Sent, Uuid, ViewUpdate,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Messages of a page: a few screens, so that scrolling seldom waits and a page comes at once.
pub(crate) const PAGE: u64 = 100;

/// Channels of a page: the most that a home gives.
const CHANNELS: u64 = 100;

/// A call to be made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// A page of the list.
    Channels { cursor: Option<String> },
    /// One channel as it is now.
    Channel(Uuid),
    /// The chat with an address, made if new.
    Open { with: String },
    /// A page of a conversation, for the window of that generation.
    Messages { channel: Uuid, page: Page, generation: u64 },
    /// A message as it is after a change of the user's own at that place.
    Message { channel: Uuid, of: MessageRef, at: u64 },
    /// A message of the user's.
    Send { channel: Uuid, id: Uuid, body: Value },
    /// Everything up to there was on the screen.
    Read { channel: Uuid, pos: u64 },
    /// Everything up to there has come.
    Delivered { channel: Uuid, pos: u64 },
    /// The user writes, or has stopped.
    Typing { channel: Uuid, typing: bool },
    /// The user's own view of a channel; `done`: what is said when it is so.
    View { channel: Uuid, update: ViewUpdate, done: Option<&'static str> },
    /// Accepts a first contact.
    Accept(Uuid),
    /// Declines one.
    Decline(Uuid),
    /// Accepts an invitation.
    Join(Uuid),
    /// Declines one, or leaves.
    Leave(Uuid),
    /// Takes a message out of the user's own sight.
    Hide { channel: Uuid, of: MessageRef },
    /// Hears nothing of somebody, or again.
    Block { user: String, on: bool },
    /// How they are, now and from now on.
    Watch(Vec<String>),
    /// No longer.
    Unwatch(Vec<String>),
}

/// Which page of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// The latest.
    Latest,
    /// Before that place.
    Before(u64),
    /// After that place.
    After(u64),
}

/// What came of an [`Ask`].
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Channels(ChannelsPage),
    Channel(Box<Channel>),
    Messages(MessagesPage),
    Message(Box<Message>),
    Sent(Sent),
    Presence(Vec<Presence>),
    Group(GroupAnswer),
    Done,
}

impl Ask {
    /// Method and params. What changes something has its own `op`, for it may be sent again.
    pub(crate) fn call(&self) -> (&'static str, Value) {
        let op = Uuid::now_v7;
        match self {
            Self::Channels { cursor } => {
                let params = match cursor {
                    Some(cursor) => json!({ "cursor": cursor, "limit": CHANNELS }),
                    None => json!({ "limit": CHANNELS }),
                };
                ("channels.list", params)
            }
            Self::Channel(channel) => ("channels.get", json!({ "channel": channel })),
            Self::Open { with } => ("channels.open", json!({ "with": with })),
            Self::Messages { channel, page, .. } => {
                let params = match page {
                    Page::Latest => json!({ "channel": channel, "limit": PAGE }),
                    Page::Before(pos) => {
                        json!({ "channel": channel, "before": pos, "limit": PAGE })
                    }
                    Page::After(pos) => json!({ "channel": channel, "after": pos, "limit": PAGE }),
                };
                ("messages.list", params)
            }
            Self::Message { channel, of, .. } => {
                ("messages.get", json!({ "channel": channel, "id": of.id, "sender": of.sender }))
            }
            Self::Send { channel, id, body } => {
                ("messages.send", json!({ "channel": channel, "id": id, "body": body }))
            }
            Self::Read { channel, pos } => {
                ("receipts.read", json!({ "channel": channel, "pos": pos }))
            }
            Self::Delivered { channel, pos } => {
                ("receipts.delivered", json!({ "channel": channel, "pos": pos }))
            }
            Self::Typing { channel, typing } => {
                ("typing.set", json!({ "channel": channel, "typing": typing }))
            }
            Self::View { channel, update, .. } => {
                #[derive(Serialize)]
                struct Params<'a> {
                    channel: &'a Uuid,
                    #[serde(flatten)]
                    update: &'a ViewUpdate,
                    op: Uuid,
                }
                let params = Params { channel, update, op: op() };
                ("channels.update", serde_json::to_value(params).unwrap_or_default())
            }
            Self::Accept(channel) => ("requests.accept", json!({ "channel": channel, "op": op() })),
            Self::Decline(channel) => {
                ("requests.decline", json!({ "channel": channel, "op": op() }))
            }
            Self::Join(channel) => ("groups.join", json!({ "channel": channel, "op": op() })),
            Self::Leave(channel) => ("groups.leave", json!({ "channel": channel, "op": op() })),
            Self::Hide { channel, of } => {
                ("messages.hide", json!({ "channel": channel, "id": of.id, "sender": of.sender }))
            }
            Self::Block { user, on: true } => ("blocks.add", json!({ "user": user, "op": op() })),
            Self::Block { user, on: false } => {
                ("blocks.remove", json!({ "user": user, "op": op() }))
            }
            Self::Watch(users) => ("presence.watch", json!({ "users": users })),
            Self::Unwatch(users) => ("presence.unwatch", json!({ "users": users })),
        }
    }

    /// What the home answered to it.
    pub(crate) fn read(&self, reply: &Reply) -> Result<Answer, Error> {
        #[derive(Deserialize)]
        struct People {
            presence: Vec<Presence>,
        }
        Ok(match self {
            Self::Channels { .. } => Answer::Channels(reply.read()?),
            Self::Channel(_) | Self::Open { .. } | Self::View { .. } | Self::Accept(_) => {
                Answer::Channel(reply.read()?)
            }
            Self::Messages { .. } => Answer::Messages(reply.read()?),
            Self::Message { .. } => Answer::Message(reply.read()?),
            Self::Send { .. } => Answer::Sent(reply.read()?),
            Self::Watch(_) => Answer::Presence(reply.read::<People>()?.presence),
            Self::Join(_) => Answer::Group(reply.read()?),
            Self::Read { .. }
            | Self::Delivered { .. }
            | Self::Typing { .. }
            | Self::Decline(_)
            | Self::Leave(_)
            | Self::Hide { .. }
            | Self::Block { .. }
            | Self::Unwatch(_) => Answer::Done,
        })
    }
}
