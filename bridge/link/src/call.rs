//! Calls and answers.

use std::net::IpAddr;

use homing_wire::body::Body;
use homing_wire::{Address, ChannelId, DeviceId, GroupLink, MessageId, OpId, Order};
use uuid::Uuid;

use crate::view::{
    ChannelView, ChannelsPage, Devices, Found, FoundMessages, GroupChanged, GroupPolicy, LinkMade,
    MediaAnswer, MediaUrl, MembersPage, MessageView, MessagesPage, Opened, PresencePage,
    PrivacyChange, Receipts, RoleView, Sent, UserView, UsersPage,
};

/// What a client's session may ask.
#[derive(Clone, Debug)]
pub enum Call {
    /// Signs the session in and answers what changed after `since`. Answer: [`Answer::Opened`].
    Open {
        /// The bearer token.
        token: String,
        /// A `sync` that the client stored.
        since: Option<String>,
        /// `cursor` of the answer before, on the same socket.
        cursor: Option<String>,
    },
    /// The user's channels, the latest first. Answer: [`Answer::Channels`].
    ChannelsList {
        /// Where the page before ended.
        cursor: Option<String>,
        /// Rows at most, 1..=100.
        limit: u32,
        /// The archived ones alone, or the others alone; all where absent.
        archived: Option<bool>,
    },
    /// One channel. Answer: [`Answer::Channel`].
    ChannelsGet {
        /// Which.
        channel: ChannelId,
    },
    /// The chat with a user, made if new. Answer: [`Answer::Channel`].
    ChannelsOpen {
        /// With whom.
        with: Address,
    },
    /// Changes the user's own view of a channel. Answer: [`Answer::Channel`].
    ChannelsUpdate {
        /// Which.
        channel: ChannelId,
        /// What changes.
        change: OwnViewChange,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Accepts a first contact from another home. Answer: [`Answer::Channel`].
    RequestsAccept {
        /// Which.
        channel: ChannelId,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Declines one. Answer: [`Answer::Done`].
    RequestsDecline {
        /// Which.
        channel: ChannelId,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// A page of a channel. Answer: [`Answer::Messages`].
    MessagesList {
        /// Which.
        channel: ChannelId,
        /// From where, in which direction.
        place: Place,
        /// Messages at most, 1..=200.
        limit: u32,
    },
    /// One message. Answer: [`Answer::Message`].
    MessagesGet {
        /// Where.
        channel: ChannelId,
        /// Its id.
        id: MessageId,
        /// Who sent it, where the same id could be of several.
        sender: Option<Address>,
    },
    /// Messages by their words. Answer: [`Answer::FoundMessages`].
    MessagesSearch {
        /// Words; the last may be the beginning of one.
        query: String,
        /// In that channel alone.
        channel: Option<ChannelId>,
        /// Where the page before ended.
        cursor: Option<String>,
        /// Messages at most, 1..=100.
        limit: u32,
    },
    /// A new message. Answer: [`Answer::Sent`], once it is on disk.
    MessagesSend {
        /// Where to.
        target: SendTarget,
        /// The client's id for it; the node makes one where it is absent.
        id: Option<MessageId>,
        /// The client's name for this change.
        op: Option<OpId>,
        /// The checked body.
        body: Box<Body>,
    },
    /// A message is hidden from this user alone. Answer: [`Answer::Done`].
    MessagesHide {
        /// Where.
        channel: ChannelId,
        /// Its id.
        id: MessageId,
        /// Who sent it, where the same id could be of several.
        sender: Option<Address>,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Raises the user's mark of what was delivered. Answer: [`Answer::Done`].
    ReceiptsDelivered {
        /// Where.
        channel: ChannelId,
        /// Up to here, by this home's `pos`.
        pos: u64,
    },
    /// Raises the user's mark of what was read, and of what was delivered. Answer: [`Answer::Done`].
    ReceiptsRead {
        /// Where.
        channel: ChannelId,
        /// Up to here, by this home's `pos`.
        pos: u64,
    },
    /// Who has received and read a message of one's own home. Answer: [`Answer::Receipts`].
    ReceiptsGet {
        /// Where.
        channel: ChannelId,
        /// Which message.
        id: MessageId,
    },
    /// A user, here or at another home. Answer: [`Answer::User`].
    UsersGet {
        /// Whom.
        address: Address,
    },
    /// People of this home, by beginnings of words of their names. Answer: [`Answer::Found`].
    UsersSearch {
        /// Words, or an address.
        query: String,
    },
    /// What the user says of himself; what is absent stays. Answer: [`Answer::User`].
    UsersUpdate {
        /// How people shall see the user.
        display_name: Option<String>,
        /// A file that stands for the user; `Some(None)`: none any more.
        avatar: Option<Option<Uuid>>,
        /// What the user lets others do.
        privacy: PrivacyChange,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Watches users, beside those whom the session watches already. Answer: [`Answer::Presence`], those who are named here.
    PresenceWatch {
        /// Whom.
        users: Vec<Address>,
    },
    /// Watches users no longer. Answer: [`Answer::Presence`], of nobody.
    PresenceUnwatch {
        /// Whom.
        users: Vec<Address>,
    },
    /// The user types, or has stopped. Answer: [`Answer::Done`].
    TypingSet {
        /// Where.
        channel: ChannelId,
        /// Types.
        typing: bool,
    },
    /// A page of one of the user's lists. Answer: [`Answer::Users`].
    Listed {
        /// Which.
        list: UserList,
        /// Where the page before ended.
        cursor: Option<String>,
        /// Rows at most, 1..=1000.
        limit: u32,
    },
    /// A new group. Answer: [`Answer::Channel`].
    GroupsCreate {
        /// How it is called.
        name: String,
        /// Who is to be in it, beside the user.
        members: Vec<Address>,
        /// The client's id for it, a UUIDv7, so that it may be asked again; made where absent.
        id: Option<ChannelId>,
        /// What members may do.
        policy: GroupPolicy,
    },
    /// Asks users in. Answer: [`Answer::GroupChanged`].
    GroupsInvite {
        /// Into which.
        channel: ChannelId,
        /// Whom.
        users: Vec<Address>,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Takes users out. Answer: [`Answer::GroupChanged`].
    GroupsRemove {
        /// Of which.
        channel: ChannelId,
        /// Whom.
        users: Vec<Address>,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Accepts an invitation. Answer: [`Answer::Channel`], or [`Answer::Pending`].
    GroupsJoin {
        /// Which.
        channel: ChannelId,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Comes into a group by a link. Answer: [`Answer::Channel`], or [`Answer::Pending`].
    GroupsJoinLink {
        /// The link.
        link: GroupLink,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Opens a link by which people can come. Answer: [`Answer::Link`].
    GroupsLink {
        /// Into which group.
        channel: ChannelId,
        /// Void from then on, in Unix milliseconds.
        expires: Option<u64>,
        /// So many may come; `None`: any number.
        uses: Option<u32>,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Makes a link void, or all links of a group. Answer: [`Answer::Done`], or [`Answer::Pending`].
    GroupsUnlink {
        /// Which.
        which: Unlinked,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Leaves, or declines an invitation. Answer: [`Answer::Done`].
    GroupsLeave {
        /// Which.
        channel: ChannelId,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Goes on with a group whose home is gone. Answer: [`Answer::Channel`], the new group.
    GroupsFork {
        /// Which.
        channel: ChannelId,
    },
    /// Changes a group; what is absent stays. Answer: [`Answer::Channel`], or [`Answer::Pending`].
    GroupsUpdate {
        /// Which.
        channel: ChannelId,
        /// How it is called.
        name: Option<String>,
        /// A file that stands for it; `Some(None)`: none any more.
        avatar: Option<Option<Uuid>>,
        /// What members may do.
        policy: Option<GroupPolicy>,
        /// What members are to be.
        roles: Vec<(Address, RoleView)>,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// A page of a group's members. Answer: [`Answer::Members`].
    GroupsMembers {
        /// Of which.
        channel: ChannelId,
        /// Where the page before ended.
        cursor: Option<String>,
    },
    /// Adds somebody to one of the user's lists, or removes somebody. Answer: [`Answer::Done`].
    ListChange {
        /// Which.
        list: UserList,
        /// Whom.
        user: Address,
        /// Added; else removed.
        add: bool,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// A file that the user has uploaded. Answer: [`Answer::Media`].
    MediaGet {
        /// Which.
        id: Uuid,
    },
    /// The file of a message, as one of the user's own. Answer: [`Answer::Media`].
    MediaCopy {
        /// Where.
        channel: ChannelId,
        /// The message's id.
        id: MessageId,
        /// Who sent it, where the same id could be of several.
        sender: Option<Address>,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// A link to the file of a message that needs no token. Answer: [`Answer::MediaUrl`].
    MediaUrl {
        /// Where.
        channel: ChannelId,
        /// The message's id.
        id: MessageId,
        /// Who sent it, where the same id could be of several.
        sender: Option<Address>,
        /// To a smaller image of it, of about so many pixels along its longer side.
        thumbnail: Option<u32>,
    },
    /// The user's devices. Answer: [`Answer::Devices`].
    DevicesList,
    /// Calls a device something else. Answer: [`Answer::Done`].
    DevicesRename {
        /// Which.
        device: DeviceId,
        /// What the user calls it.
        name: String,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Signs a device out. Answer: [`Answer::Done`]; its sockets end with [`crate::CloseReason::Revoked`].
    DevicesRevoke {
        /// Which.
        device: DeviceId,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Changes the password and signs all other devices out. Answer: [`Answer::Done`].
    AccountPassword {
        /// The account's password.
        old: Secret,
        /// What it is to be.
        new: Secret,
        /// The client's name for this change.
        op: Option<OpId>,
    },
    /// Deletes the user's account for good. Answer: [`Answer::Done`], then [`crate::CloseReason::Revoked`].
    AccountDelete {
        /// The account's password.
        password: Secret,
    },
}

/// What a user changes of the own view of a channel; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnViewChange {
    /// Muted up to then, in Unix milliseconds; `Some(None)`: no longer.
    pub muted_until: Option<Option<u64>>,
    /// Archived, or no longer.
    pub archived: Option<bool>,
    /// Pinned, or no longer.
    pub pinned: Option<bool>,
    /// What is being written; an empty text is none.
    pub draft: Option<String>,
    /// Marked as unread, or no longer.
    pub marked_unread: Option<bool>,
}

/// Links that are made void.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unlinked {
    /// That one.
    One(GroupLink),
    /// All of that group.
    All(ChannelId),
}

/// A user's lists of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserList {
    /// Whom the user knows.
    Contacts,
    /// Of whom the user wants to hear nothing.
    Blocks,
}

/// Something that stands in no log.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a message goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendTarget {
    /// A channel the sender is in.
    Channel(ChannelId),
    /// The chat with this user, made if new.
    To(Address),
}

/// From where a page of messages starts, and in which direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The latest, by `pos`.
    Latest,
    /// Below this `pos`, the nearest ones.
    Before(u64),
    /// Above this `pos`, the nearest ones.
    After(u64),
    /// Below this `order`.
    BeforeOrder(Order),
    /// Above this `order`.
    AfterOrder(Order),
}

/// What a call returns.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Of [`Call::Open`].
    Opened(Box<Opened>),
    /// Of [`Call::ChannelsList`].
    Channels(ChannelsPage),
    /// Of [`Call::ChannelsGet`], [`Call::ChannelsOpen`] and others that show a channel.
    Channel(Box<ChannelView>),
    /// Of [`Call::MessagesList`].
    Messages(MessagesPage),
    /// Of [`Call::MessagesSearch`].
    FoundMessages(FoundMessages),
    /// Of [`Call::MessagesGet`].
    Message(Box<MessageView>),
    /// Of [`Call::MessagesSend`].
    Sent(Sent),
    /// Of calls that return nothing.
    Done,
    /// Of [`Call::ReceiptsGet`].
    Receipts(Receipts),
    /// Of [`Call::UsersGet`] and [`Call::UsersUpdate`].
    User(UserView),
    /// Of [`Call::PresenceWatch`] and [`Call::PresenceUnwatch`].
    Presence(PresencePage),
    /// Of [`Call::Listed`].
    Users(UsersPage),
    /// Of [`Call::UsersSearch`].
    Found(Found),
    /// Of [`Call::DevicesList`].
    Devices(Devices),
    /// Of [`Call::MediaGet`] and [`Call::MediaCopy`].
    Media(MediaAnswer),
    /// Of [`Call::MediaUrl`].
    MediaUrl(MediaUrl),
    /// Of [`Call::GroupsInvite`] and [`Call::GroupsRemove`].
    GroupChanged(GroupChanged),
    /// Of [`Call::GroupsLink`].
    Link(LinkMade),
    /// Of [`Call::GroupsMembers`].
    Members(MembersPage),
    /// The group's home has not answered in time: a `channel` notification follows when it is settled.
    Pending,
}

/// `POST /v1/register`.
#[derive(Clone)]
pub struct Register {
    /// The wished local part, as typed.
    pub user: String,
    /// The password.
    pub password: String,
    /// An invite, where registration asks for one.
    pub invite: Option<String>,
    /// How people shall see the user.
    pub display_name: Option<String>,
    /// Who asks.
    pub from: IpAddr,
}

/// `POST /v1/login`.
#[derive(Clone)]
pub struct Login {
    /// Local part or address, as typed.
    pub user: String,
    /// The password.
    pub password: String,
    /// What the device shall be called.
    pub device_name: Option<String>,
    /// Who asks; failures are counted per address.
    pub from: IpAddr,
}
