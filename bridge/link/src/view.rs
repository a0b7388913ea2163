//! What clients are shown. These types serialise as the client contract has them; the OpenRPC and
//! OpenAPI documents are generated from them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use homing_wire::{ChannelId, DeviceId, MessageId, Order};
use schemars::JsonSchema;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

/// A client's place: the store's life and the number of the last change it was told of. Opaque to clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SyncPoint {
    /// The epoch of the store.
    pub life: u64,
    /// A change number of the home.
    pub change: u64,
}

impl SyncPoint {
    /// From its written form.
    pub fn parse(text: &str) -> Option<Self> {
        let (life, change) = text.split_once('.')?;
        let plain = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
        if !plain(life) || !plain(change) {
            return None;
        }
        Some(Self {
            life: u64::from_str_radix(life, 16).ok()?,
            change: u64::from_str_radix(change, 16).ok()?,
        })
    }
}

impl fmt::Display for SyncPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.life, self.change)
    }
}

impl Serialize for SyncPoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// JSON text that is shown as it was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawJson(pub Bytes);

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(&self.0).map_err(S::Error::custom)?;
        serde_json::from_str::<&serde_json::value::RawValue>(text)
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn order_text<S: Serializer>(order: &Order, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(order)
}

/// One message as a client sees it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Message")]
pub struct MessageView {
    /// The channel.
    #[schemars(with = "uuid::Uuid")]
    pub channel: ChannelId,
    /// Place of arrival here.
    pub pos: u64,
    /// Sortable bytewise within the channel; what to display by.
    #[serde(serialize_with = "order_text")]
    #[schemars(with = "String")]
    pub order: Order,
    /// The message's id, unique per sender.
    #[schemars(with = "uuid::Uuid")]
    pub id: MessageId,
    /// An address.
    #[schemars(with = "String")]
    pub sender: Arc<str>,
    /// Unix milliseconds, by the sender's home.
    pub sent_at: u64,
    /// The body as it was sent, or edited; `deleted` where it is gone.
    #[schemars(with = "serde_json::Value")]
    pub body: RawJson,
    /// Arrived over 10 minutes after it was sent.
    #[serde(skip_serializing_if = "is_false")]
    pub late: bool,
    /// When the body was written that is shown, where it is not the first; Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<u64>,
    /// What others say to it, the first that was given first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<ReactionView>,
    /// `rejected` where another home refused it; `hidden` where the user has hidden it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
}

/// How many have reacted to a message with an emoji.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Reaction")]
pub struct ReactionView {
    /// Which.
    pub emoji: String,
    /// How many users.
    pub count: u64,
    /// Whether the user is one of them.
    pub mine: bool,
}

/// What kind of conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// Two users.
    Chat,
    /// Up to 100 users.
    Group,
}

/// How a user stands to a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// In use.
    Active,
    /// A first contact from another home that waits for a yes.
    Request,
    /// Asked to join.
    Invited,
    /// Left; of a chat: a first contact that was declined, which is in no list.
    Left,
}

/// How far a member has got, in `pos` of this home.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Mark")]
pub struct MarkView {
    /// An address.
    pub user: String,
    /// Everything at or below has reached a device.
    pub delivered: u64,
    /// Everything at or below was read.
    pub read: u64,
}

/// A channel as one user sees it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Channel")]
pub struct ChannelView {
    /// Its id.
    #[schemars(with = "uuid::Uuid")]
    pub channel: ChannelId,
    /// Chat or group.
    pub kind: ChannelKind,
    /// What a group is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What stands for a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<AvatarView>,
    /// The other user's address, in a chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// How the user stands to it.
    pub state: ChannelState,
    /// What the user is in a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleView>,
    /// How many are in it.
    pub member_count: u32,
    /// The latest `pos`; 0 while empty.
    pub head: u64,
    /// The user's own read mark.
    pub read: u64,
    /// Messages of others above it.
    pub unread: u64,
    /// Of these, how many mention the user.
    pub mentions: u64,
    /// The latest message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<MessageView>,
    /// How far everybody has got, in a chat.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub marks: Vec<MarkView>,
    /// Nothing of it shall be heard up to then, in Unix milliseconds; a time that has passed is none. This and what follows
    /// is the user's own view (`channels.update`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<u64>,
    /// Out of sight until the user takes it back, whatever is written meanwhile.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub archived: bool,
    /// Shown before the others.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub pinned: bool,
    /// What the user is writing there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub draft: Option<Arc<str>>,
    /// Shown as unread, whatever `unread` says, until the user reads up to the end or writes.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub marked_unread: bool,
    /// The version of a group's roster: it rises with each change of who is in it, and as what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roster: Option<u64>,
    /// The home that keeps a group's roster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_home: Option<String>,
    /// The abandoned group that this one goes on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<uuid::Uuid>")]
    pub continues: Option<ChannelId>,
    /// The group that goes on with this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<uuid::Uuid>")]
    pub continued_by: Option<ChannelId>,
}

impl ChannelView {
    /// About how many bytes it takes as JSON: its last message and the draft are what can be large.
    pub fn weight_bytes(&self) -> usize {
        // What has to be escaped takes two bytes, or six.
        let draft = self.draft.as_deref().unwrap_or_default().bytes();
        let draft: usize = draft.map(|byte| if byte < 0x20 { 6 } else { 2 }).sum();
        1_024 + self.last.as_ref().map_or(0, |last| last.body.0.len()) + draft
    }
}

/// What a user is in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Role")]
pub enum RoleView {
    /// Asked, and has not answered.
    Invited,
    /// In it.
    Member,
    /// May change members and their roles.
    Admin,
    /// May do everything.
    Owner,
}

/// Who may do something in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whoever {
    /// Every member.
    Everybody,
    /// Admins and owners.
    Admins,
}

/// What newcomers of a group see of what was written before them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryShown {
    /// Nothing.
    None,
    /// What was written since they were added.
    Joined,
    /// Everything that their home holds.
    All,
}

/// What members of a group may do; what is absent stays, or is as usual in a new group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct GroupPolicy {
    /// Who may ask others in; `admins` as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite: Option<Whoever>,
    /// Who may write; `everybody` as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Whoever>,
    /// Who may change the name; `admins` as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Whoever>,
    /// What newcomers see; `joined` as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryShown>,
}

/// Answer of `groups.invite` and `groups.remove`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GroupChanged {
    /// `pending` where the group's home has not answered in time: a `channel` notification follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// One row for each user named.
    pub results: Vec<UserResult>,
    /// The version of the roster that shows it.
    pub roster: u64,
}

/// Answer of `groups.link`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LinkMade {
    /// `pending` where the group's home has not answered in time: the link is good as soon as it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// `homing:join/…`: whoever has it can come.
    pub link: String,
}

/// What came of one user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UserResult {
    /// An address.
    pub user: String,
    /// Whether it is done.
    pub ok: bool,
    /// Why not, as a stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer of `groups.members`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MembersPage {
    /// In an order that stays.
    pub members: Vec<MemberRow>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A member of a group.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MemberRow {
    /// An address.
    pub user: String,
    /// What the user is in it.
    pub role: RoleView,
    /// How the user stands to it.
    pub state: ChannelState,
}

/// Limits a client must know, in bytes unless it is a count.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Limits {
    /// A message body as compact JSON.
    pub body: u64,
    /// A WebSocket frame from the client.
    pub frame: u64,
    /// Calls in a batch (count).
    pub batch: u64,
    /// Calls of one socket that may wait for their answer (count).
    pub calls_waiting: u64,
    /// Members of a group (count).
    pub group_members: u64,
    /// A draft, in UTF-8.
    pub draft: u64,
    /// Users whom a socket may watch (count).
    pub watched: u64,
    /// Rows of a page of messages (count).
    pub page: u64,
    /// A file that is uploaded.
    pub upload: u64,
    /// An avatar.
    pub avatar: u64,
}

/// The signed-in user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Whoami {
    /// The address.
    pub address: String,
    /// The id.
    pub user_id: String,
    /// How people see the user.
    pub display_name: String,
    /// What stands for the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<AvatarView>,
    /// What the user lets others do.
    pub privacy: Privacy,
}

/// What a user lets others do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Privacy {
    /// Who may see whether the user is online, and when the user was last seen.
    pub last_seen: SeenBy,
    /// Whether others see what the user has read, and the user what they have.
    pub read_receipts: bool,
    /// Who may add the user to groups without asking.
    pub groups: GroupsFrom,
}

/// What a user changes of that; what is absent stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
pub struct PrivacyChange {
    /// Who may see whether the user is online, and when the user was last seen; `contacts` until it is set. Who hides
    /// (`nobody`) sees nobody either.
    pub last_seen: Option<SeenBy>,
    /// Whether others see what the user has read; `true` until it is set. Who hides it (`false`) does not see what others
    /// have read either. What was delivered is seen by all.
    pub read_receipts: Option<bool>,
    /// Who may add the user to groups without asking; `contacts` until it is set.
    pub groups: Option<GroupsFrom>,
}

/// Who may see whether a user is online, and when the user was last seen. Nobody whom the user has blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeenBy {
    /// Anybody.
    Everyone,
    /// Those in the user's contacts.
    Contacts,
    /// Nobody. Who hides sees nobody either.
    Nobody,
}

/// Who may add a user to groups without asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupsFrom {
    /// Anybody whom the user has not blocked.
    Everyone,
    /// Those in the user's contacts.
    Contacts,
}

/// Answer of `session.open`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Opened {
    /// Who signed in.
    pub user: Whoami,
    /// The device of the token.
    pub device: String,
    /// The store's life: when it differs from the client's, every stored `pos` is void.
    pub life: String,
    /// The place that this answer reaches.
    #[schemars(with = "String")]
    pub sync: SyncPoint,
    /// Channels changed after `since`; none without `since`.
    pub channels: Vec<ChannelView>,
    /// More pages follow.
    pub more: bool,
    /// For the next page, with the same `since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Unix milliseconds.
    pub server_time: u64,
    /// What a client must keep to.
    pub limits: Limits,
    /// The node's version.
    pub version: String,
}

/// Answer of `channels.list`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChannelsPage {
    /// The latest first.
    pub channels: Vec<ChannelView>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The place that this answer reaches.
    #[schemars(with = "String")]
    pub sync: SyncPoint,
}

/// Answer of `messages.list`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MessagesPage {
    /// Ascending by the place asked.
    pub messages: Vec<MessageView>,
    /// There is more in the direction asked.
    pub more: bool,
    /// How far this page covered: go on from here.
    pub next: u64,
    /// Older messages that something in this page changed; with `after` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub changed: Vec<MessageView>,
}

/// Answer of `messages.search`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct FoundMessages {
    /// The newest first.
    pub messages: Vec<MessageView>,
    /// For the next page, which may be an empty one: of what has the words, not everything is shown to everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The home is still making its index: there may be more than is found now.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub indexing: bool,
}

/// Answer of `messages.send`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Sent {
    /// The message's id.
    #[schemars(with = "uuid::Uuid")]
    pub id: MessageId,
    /// Where it went.
    #[schemars(with = "uuid::Uuid")]
    pub channel: ChannelId,
    /// Its place here.
    pub pos: u64,
    /// Its place everywhere.
    #[serde(serialize_with = "order_text")]
    #[schemars(with = "String")]
    pub order: Order,
    /// Unix milliseconds.
    pub sent_at: u64,
}

/// Answer of `receipts.get`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Receipts {
    /// One row for each other member.
    pub receipts: Vec<ReceiptRow>,
}

/// Whether a member has received and read a message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReceiptRow {
    /// An address.
    pub user: String,
    /// It has reached a device.
    pub delivered: bool,
    /// It was read.
    pub read: bool,
    /// Unix milliseconds, where still known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<u64>,
    /// Unix milliseconds, where still known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_at: Option<u64>,
}

/// Answer of `users.get`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub struct UserView {
    /// The address.
    pub address: String,
    /// The id.
    pub user_id: String,
    /// How people see the user.
    pub display_name: String,
    /// What stands for the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<AvatarView>,
    /// What the user lets others do; of oneself alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
    /// How the user is, where the asking user may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<PresenceView>,
}

/// How a user is; where that is hidden or not known, offline and without `last_seen`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Presence")]
pub struct PresenceView {
    /// An address.
    pub user: Arc<str>,
    /// A device of the user is connected and alive.
    pub online: bool,
    /// The last sign of life, in Unix milliseconds; of somebody who is offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
}

/// Answer of `presence.watch` and `presence.unwatch`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "PresencePage")]
pub struct PresencePage {
    /// In the order in which they were named.
    pub presence: Vec<PresenceView>,
}

/// Answer of `users.search`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Found")]
pub struct Found {
    /// People of this home.
    pub users: Vec<UserView>,
    /// There are more: another letter says whom is meant.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub more: bool,
}

/// Answer of `contacts.list` and `blocks.list`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsersPage")]
pub struct UsersPage {
    /// Addresses.
    pub users: Vec<String>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Answer of `devices.list`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Devices")]
pub struct Devices {
    /// The oldest first.
    pub devices: Vec<DeviceRow>,
}

/// A signed-in client of the user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Device")]
pub struct DeviceRow {
    /// Its id.
    #[schemars(with = "uuid::Uuid")]
    pub device: DeviceId,
    /// What the user calls it.
    pub name: String,
    /// When it was signed in, in Unix milliseconds.
    pub created_at: u64,
    /// When it was last used, within the hour, in Unix milliseconds; now, while it has an open socket. Not known of those
    /// that an older home has signed in, until they come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
    /// The one that asks.
    pub current: bool,
}

/// Answer of `media.get` and `media.copy`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[schemars(rename = "MediaAnswer")]
pub struct MediaAnswer {
    /// As a `media` body names it.
    pub media: MediaView,
}

/// A file, as a `media` body names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Media")]
pub struct MediaView {
    /// The home that holds it.
    pub home: String,
    /// Which.
    pub id: uuid::Uuid,
    /// Its BLAKE3, in hexadecimal.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// Its media type, as its bytes say.
    pub mime: String,
    /// What it is called.
    pub name: String,
    /// Pixels of an image or a film from left to right, as it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels of an image or a film from top to bottom, as it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// How long a film or sound is, in milliseconds, where its file says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// A ThumbHash (<https://evanw.github.io/thumbhash/>) of an image, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// An image that stands for a user or a group: `GET /v1/media/{home}/{id}` gives it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Avatar")]
pub struct AvatarView {
    /// The home that holds it.
    pub home: String,
    /// Which.
    pub id: uuid::Uuid,
    /// Its BLAKE3, in hexadecimal: another picture has another one.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// Its media type; this and what follows is known of users' alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Pixels from left to right, as it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels from top to bottom, as it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// A ThumbHash (<https://evanw.github.io/thumbhash/>) of it, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// Answer of `media.url`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[schemars(rename = "MediaUrl")]
pub struct MediaUrl {
    /// Whoever has it may read the file: relative to the home's HTTP address, unless the home knows how it is reached.
    pub url: String,
    /// Until then, in Unix milliseconds.
    pub expires_at: u64,
}

/// Answer of `POST /v1/register`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Registered {
    /// The new address.
    pub address: String,
    /// The new id.
    pub user_id: String,
}

/// Answer of `POST /v1/login`.
#[derive(Clone, Serialize, JsonSchema)]
pub struct LoggedIn {
    /// The bearer token: shown once, stored hashed.
    pub token: String,
    /// The device it is bound to.
    pub device: String,
    /// The user's address.
    pub address: String,
    /// The user's id.
    pub user_id: String,
}

/// Answer of `GET /.well-known/homing`, without `client`, which the bridge knows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WellKnown {
    /// The home's name.
    pub home: String,
    /// The identity key, base64.
    pub identity: String,
    /// The signed record, base64.
    pub record: String,
}
