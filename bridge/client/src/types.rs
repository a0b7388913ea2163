//! The objects of the client contract, as far as this client reads them. Unknown fields are ignored, unknown kinds
//! have a variant of their own, so that a newer home does not break an older client.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// One message, new or changed: replace by `id` and `sender`, sort by `order`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// The channel.
    pub channel: Uuid,
    /// Place of arrival at this home: 1, 2, 3 …
    pub pos: u64,
    /// Sorts bytewise within the channel; the same at every home.
    pub order: String,
    /// Unique for one sender.
    pub id: Uuid,
    /// An address.
    pub sender: String,
    /// Unix milliseconds by the sender's home.
    pub sent_at: u64,
    /// The JSON as it was sent; [`Message::body`] reads it.
    pub body: Box<RawValue>,
    /// Unix milliseconds of the last edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<u64>,
    /// Who felt what about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    /// Arrived over 10 minutes after it was sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// `rejected` where another home refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In a notification that the message was changed: the place of what changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// In a notification: the place in the stream of changes that this one reaches.
    #[serde(default, skip_serializing)]
    pub sync: Option<Arc<str>>,
}

impl Message {
    /// The body, typed. What this client does not know is [`Body::Other`].
    pub fn body(&self) -> Body {
        serde_json::from_str(self.body.get()).unwrap_or(Body::Other)
    }
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// Words.
    Text {
        /// Byte for byte as sent.
        text: String,
        /// Addresses.
        #[serde(default)]
        mentions: Vec<String>,
        /// The message it answers.
        #[serde(default)]
        reply_to: Option<MessageRef>,
    },
    /// A file.
    Media {
        /// Where it is and what.
        media: Media,
        /// Words under it.
        #[serde(default)]
        caption: Option<String>,
    },
    /// Deleted by its sender or an admin.
    Deleted,
    /// Something the node says; the JSON of the message has the details.
    Notice,
    /// A kind this client does not know.
    #[serde(other)]
    Other,
}

/// Names a message of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageRef {
    /// Its id.
    pub id: Uuid,
    /// Who sent it.
    pub sender: String,
}

/// A reference to a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Media {
    /// The home that holds it.
    pub home: String,
    /// Its id there.
    pub id: String,
    /// BLAKE3, hex.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// The type.
    pub mime: String,
    /// The file's name, as somebody said it: anything at all. See [`crate::harmless_file_name`].
    pub name: String,
    /// Pixels of an image or a film from left to right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels of an image or a film from top to bottom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// How long a film or sound is, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// A ThumbHash of an image, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

impl Media {
    /// How long a film or sound is, for people: `1:23`, `2:00:05`.
    pub fn length(&self) -> Option<String> {
        let seconds = self.duration_ms?.saturating_add(500) / 1_000;
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        Some(match hours {
            0 => format!("{minutes}:{seconds:02}"),
            _ => format!("{hours}:{minutes:02}:{seconds:02}"),
        })
    }
}

/// An image that stands for a user or a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Avatar {
    /// The home that holds it.
    pub home: String,
    /// Its id there.
    pub id: Uuid,
    /// BLAKE3, hex.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// The type; this and what follows is known of users' alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Pixels from left to right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels from top to bottom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// A ThumbHash, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// A file that the user has uploaded, to be an avatar.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct AvatarFile {
    /// Which.
    pub id: Uuid,
}

/// A body of type `media` to send.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MediaBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Which file: of the sender's own home.
    pub media: &'a Media,
    /// Words under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<&'a str>,
}

impl<'a> MediaBody<'a> {
    /// This file, with or without words.
    pub fn new(media: &'a Media, caption: Option<&'a str>) -> Self {
        Self { kind: "media", media, caption }
    }
}

/// A text body to send.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TextBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The words.
    pub text: &'a str,
}

impl<'a> TextBody<'a> {
    /// These words.
    pub fn new(text: &'a str) -> Self {
        Self { kind: "text", text }
    }
}

/// How often an emoji was given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// How many gave it.
    pub count: u64,
    /// Whether the user did.
    #[serde(default)]
    pub mine: bool,
}

/// Where a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target<'a> {
    /// A channel.
    Channel(Uuid),
    /// The chat with this address, made if new.
    To(&'a str),
}

/// What kind of conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// Two users.
    Chat,
    /// Up to a hundred.
    Group,
    /// Not known to this client.
    #[serde(other)]
    Unknown,
}

/// How the user stands to a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// In use.
    Active,
    /// A first contact that waits for a yes.
    Request,
    /// Asked to join.
    Invited,
    /// Left.
    Left,
    /// Not known to this client.
    #[serde(other)]
    Unknown,
}

/// A chat or group as the user sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Channel {
    /// Its id.
    pub channel: Uuid,
    /// Chat or group.
    pub kind: ChannelKind,
    /// A group's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What stands for a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<Avatar>,
    /// The other's address, in a chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// How the user stands to it.
    pub state: ChannelState,
    /// In a group: owner, admin or member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How many are in it.
    #[serde(default)]
    pub member_count: u64,
    /// The latest `pos`; 0 while empty.
    pub head: u64,
    /// The user's own read mark.
    #[serde(default)]
    pub read: u64,
    /// Messages of others above it.
    #[serde(default)]
    pub unread: u64,
    /// Of these, how many mention the user.
    #[serde(default)]
    pub mentions: u64,
    /// The latest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Message>,
    /// How far everybody has got, in a chat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// Nothing of it shall be heard up to then, in Unix milliseconds; a time that has passed is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<u64>,
    /// Out of sight until the user takes it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// Shown before the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// What the user is writing there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<String>,
    /// Shown as unread, whatever `unread` says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked_unread: bool,
    /// In a notification: the place in the stream of changes that this one reaches.
    #[serde(default, skip_serializing)]
    pub sync: Option<Arc<str>>,
}

impl Channel {
    /// What people call it: the other's address, the group's name, else the id.
    pub fn title(&self) -> String {
        self.with.clone().or_else(|| self.name.clone()).unwrap_or_else(|| self.channel.to_string())
    }
}

/// How far a member has got, in `pos` of this home.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// An address.
    pub user: String,
    /// Everything at or below has reached a device.
    #[serde(default)]
    pub delivered: u64,
    /// Everything at or below was read.
    #[serde(default)]
    pub read: u64,
}

/// What the home accepts, in bytes unless it is a count. Absent ones are 0.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// A body.
    pub body: u64,
    /// A frame.
    pub frame: u64,
    /// Calls of a batch (count).
    pub batch: u64,
    /// Waiting calls of a socket (count).
    pub calls_waiting: u64,
    /// A draft, in UTF-8.
    pub draft: u64,
    /// Rows of a page (count).
    pub page: u64,
    /// Users whom a socket may watch (count).
    #[serde(default)]
    pub watched: u64,
}

/// The signed-in user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Whoami {
    /// The address.
    pub address: String,
    /// The id.
    pub user_id: Uuid,
    /// How people see the user.
    #[serde(default)]
    pub display_name: String,
    /// What stands for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<Avatar>,
    /// What the user lets others do.
    #[serde(default)]
    pub privacy: Option<Privacy>,
}

/// Answer of `session.open`, with all its pages.
#[derive(Clone, Debug, Deserialize)]
pub struct Opened {
    /// Who signed in.
    pub user: Whoami,
    /// The token's device.
    pub device: String,
    /// The store's life: when it differs from the client's, every stored `pos` is void.
    pub life: String,
    /// The place that this answer reaches.
    pub sync: Arc<str>,
    /// Channels changed after `since`.
    #[serde(default)]
    pub channels: Vec<Channel>,
    /// More pages follow; always `false` in what [`crate::Client`] hands out.
    #[serde(default)]
    pub more: bool,
    /// For the next page.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Unix milliseconds.
    #[serde(default)]
    pub server_time: u64,
    /// What the home accepts.
    #[serde(default)]
    pub limits: Limits,
    /// The home's version.
    #[serde(default)]
    pub version: String,
    /// The place given with `since` was refused: start from `channels.list`.
    #[serde(skip)]
    pub resync: bool,
}

/// Answer of `channels.list`.
#[derive(Clone, Debug, Deserialize)]
pub struct ChannelsPage {
    /// The latest first.
    pub channels: Vec<Channel>,
    /// For the next page.
    #[serde(default)]
    pub cursor: Option<String>,
    /// The place that this answer reaches.
    #[serde(default)]
    pub sync: Option<Arc<str>>,
}

/// Answer of `messages.list`.
#[derive(Clone, Debug, Deserialize)]
pub struct MessagesPage {
    /// Ascending by the place asked.
    pub messages: Vec<Message>,
    /// There is more in the direction asked.
    pub more: bool,
    /// How far this page covered: go on from there.
    pub next: u64,
    /// Older messages that something in this page changed; with `after` only.
    #[serde(default)]
    pub changed: Vec<Message>,
}

/// Answer of `messages.send`: it is on disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The message's id.
    pub id: Uuid,
    /// Where it went.
    pub channel: Uuid,
    /// Its place at this home.
    pub pos: u64,
    /// Its place everywhere.
    pub order: String,
    /// Unix milliseconds.
    pub sent_at: u64,
}

/// A notification: how far a member has got. Covers every message of one's own home at or below.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The channel.
    pub channel: Uuid,
    /// An address.
    pub user: String,
    /// Everything at or below has reached a device.
    #[serde(default)]
    pub delivered: u64,
    /// Everything at or below was read.
    #[serde(default)]
    pub read: u64,
    /// Unix milliseconds.
    #[serde(default)]
    pub at: u64,
    /// The place in the stream of changes that this one reaches.
    #[serde(default, skip_serializing)]
    pub sync: Option<Arc<str>>,
}

/// Answer of `receipts.get`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Receipts {
    /// One row for each other member.
    pub receipts: Vec<ReceiptRow>,
}

/// Whether a member has received and read a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceiptRow {
    /// An address.
    pub user: String,
    /// It has reached a device.
    pub delivered: bool,
    /// It was read.
    pub read: bool,
    /// Unix milliseconds, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<u64>,
    /// Unix milliseconds, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<u64>,
}

/// Whether somebody is there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Presence {
    /// An address.
    pub user: String,
    /// A device of theirs is connected.
    pub online: bool,
    /// Unix milliseconds, where it may be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
    /// The place in the stream of changes that this one reaches.
    #[serde(default, skip_serializing)]
    pub sync: Option<Arc<str>>,
}

/// Somebody is writing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Typing {
    /// Where.
    pub channel: Uuid,
    /// An address.
    pub user: String,
    /// Or no longer.
    pub typing: bool,
    /// The place in the stream of changes that this one reaches.
    #[serde(default, skip_serializing)]
    pub sync: Option<Arc<str>>,
}

/// A user's lists of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserList {
    /// Whom the user knows.
    Contacts,
    /// Of whom the user wants to hear nothing.
    Blocks,
}

impl UserList {
    /// The method that does that with it.
    pub(crate) fn method(self, what: &str) -> String {
        let list = match self {
            Self::Contacts => "contacts",
            Self::Blocks => "blocks",
        };
        format!("{list}.{what}")
    }
}

/// Answer of `contacts.list` and `blocks.list`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UsersPage {
    /// Addresses.
    pub users: Vec<String>,
    /// For the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What a user lets others do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Privacy {
    /// Who may see when the user is online, or was last seen: `everyone`, `contacts` or `nobody`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Whether others see what the user has read, and the user what they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_receipts: Option<bool>,
    /// Who may add the user to groups without asking: `everyone` or `contacts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
}

/// What a user changes with `users.update`; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct UserUpdate {
    /// How people shall see the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What stands for the user; `Some(None)`: nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<Option<AvatarFile>>,
    /// What the user lets others do; what is `None` in it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
}

/// Answer of `users.get` and `users.update`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct User {
    /// The address.
    pub address: String,
    /// The id.
    pub user_id: Uuid,
    /// How people see the user.
    #[serde(default)]
    pub display_name: String,
    /// What stands for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<Avatar>,
    /// What the user lets others do; of oneself alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
    /// How the user is, where that may be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<Presence>,
}
