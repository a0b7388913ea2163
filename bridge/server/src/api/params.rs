//! Parameters of the methods, and the calls they become.

use std::collections::BTreeMap;
use std::str::FromStr;

use homing_link::{
    Call, Code, GroupPolicy, Place, PrivacyChange, Refused, RoleView, Secret, SendTarget, Unlinked,
    UserList,
};
use homing_wire::body::{Body, BodyError};
use homing_wire::limits::BODY_BYTES;
use homing_wire::{Address, ChannelId, GroupLink, MessageId, OpId, Order};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::table::{Asked, Open};

mod people;

pub(super) use people::{
    AccountPassword, ChannelsUpdate, DevicesList, DevicesRename, DevicesRevoke, RequestsAccept,
    RequestsDecline, UsersSearch,
};
mod presence;

pub(super) use self::presence::{PresenceUnwatch, PresenceWatch, TypingSet};

/// Rows of a page of channels, at most and where nothing is said.
const CHANNELS_PAGE: (u32, u32) = (100, 50);
/// Rows of a page of messages, at most and where nothing is said.
const MESSAGES_PAGE: (u32, u32) = (200, 50);

/// Messages found on one page, at most and where nothing is said: what fits a screen.
const FOUND_PAGE: (u32, u32) = (100, 20);

/// Rows of a page of contacts or blocks, at most and where nothing is said: some 300 bytes each at most.
const USERS_PAGE: (u32, u32) = (1_000, 200);

/// Parameters of one method. Unknown ones are ignored, so that newer clients are served.
pub(super) trait Params: for<'de> Deserialize<'de> + JsonSchema {
    /// What is asked by them.
    fn ask(self) -> Result<Asked, Refused>;
}

/// `session.open`
#[derive(Deserialize, JsonSchema)]
pub(super) struct SessionOpen {
    /// The bearer token; not needed where it came in the header `Authorization`.
    token: Option<String>,
    /// A `sync` that the client stored: answers the channels changed after it.
    since: Option<String>,
    /// `cursor` of the answer before, on the same socket, with the same `since`.
    cursor: Option<String>,
}

impl Params for SessionOpen {
    fn ask(self) -> Result<Asked, Refused> {
        let Self { token, since, cursor } = self;
        Ok(Asked::Open(Open { token, since, cursor }))
    }
}

/// `channels.list`
#[derive(Deserialize, JsonSchema)]
pub(super) struct ChannelsList {
    /// `cursor` of the page before.
    cursor: Option<String>,
    /// Rows at most; 50 where absent.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u32>,
    /// The archived ones alone, or the others alone; all where absent.
    archived: Option<bool>,
}

impl Params for ChannelsList {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::ChannelsList {
            cursor: self.cursor,
            limit: rows(self.limit, CHANNELS_PAGE)?,
            archived: self.archived,
        }))
    }
}

/// `channels.get`
#[derive(Deserialize, JsonSchema)]
pub(super) struct ChannelsGet {
    /// Which.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
}

impl Params for ChannelsGet {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::ChannelsGet { channel: id("channel", &self.channel)? }))
    }
}

/// `channels.open`
#[derive(Deserialize, JsonSchema)]
pub(super) struct ChannelsOpen {
    /// The other user's address.
    with: String,
    /// The client's name for this change. Opening a chat twice is opening it once in any case.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for ChannelsOpen {
    fn ask(self) -> Result<Asked, Refused> {
        let _opens_once: Option<OpId> = optional_id("op", self.op.as_deref())?;
        Ok(Asked::Call(Call::ChannelsOpen { with: address("with", &self.with)? }))
    }
}

/// `messages.list`
#[derive(Deserialize, JsonSchema)]
pub(super) struct MessagesList {
    /// Which.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The nearest below this `pos`.
    before: Option<u64>,
    /// The nearest above this `pos`.
    after: Option<u64>,
    /// The nearest below this `order`.
    before_order: Option<String>,
    /// The nearest above this `order`.
    after_order: Option<String>,
    /// Messages at most; 50 where absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

impl Params for MessagesList {
    fn ask(self) -> Result<Asked, Refused> {
        let order = |name, text: &str| {
            Order::parse(text).ok_or_else(|| wrong("invalid_order", format!("{name} is no order")))
        };
        let place = match (self.before, self.after, &self.before_order, &self.after_order) {
            (None, None, None, None) => Place::Latest,
            (Some(pos), None, None, None) => Place::Before(pos),
            (None, Some(pos), None, None) => Place::After(pos),
            (None, None, Some(text), None) => Place::BeforeOrder(order("before_order", text)?),
            (None, None, None, Some(text)) => Place::AfterOrder(order("after_order", text)?),
            (_, _, _, _) => {
                return Err(wrong(
                    "one_place",
                    "before, after, before_order, after_order: only one",
                ));
            }
        };
        Ok(Asked::Call(Call::MessagesList {
            channel: id("channel", &self.channel)?,
            place,
            limit: rows(self.limit, MESSAGES_PAGE)?,
        }))
    }
}

/// `messages.get`
#[derive(Deserialize, JsonSchema)]
pub(super) struct MessagesGet {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The message's id.
    #[schemars(with = "uuid::Uuid")]
    id: String,
    /// Its sender's address, where several have used the same id.
    sender: Option<String>,
}

impl Params for MessagesGet {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::MessagesGet {
            channel: id("channel", &self.channel)?,
            id: id("id", &self.id)?,
            sender: self.sender.map(|text| address("sender", &text)).transpose()?,
        }))
    }
}

/// `messages.search`
#[derive(Deserialize, JsonSchema)]
pub(super) struct MessagesSearch {
    /// Words, all of which must be there, in any order, case and accents left out; the last may be the beginning of one.
    query: String,
    /// In that channel alone; in all of the user's where absent.
    #[schemars(with = "Option<uuid::Uuid>")]
    channel: Option<String>,
    /// `cursor` of the page before, with the same `query` and `channel`.
    cursor: Option<String>,
    /// Messages at most; 20 where absent.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u32>,
}

impl Params for MessagesSearch {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::MessagesSearch {
            query: self.query,
            channel: optional_id("channel", self.channel.as_deref())?,
            cursor: self.cursor,
            limit: rows(self.limit, FOUND_PAGE)?,
        }))
    }
}

/// `messages.hide`
#[derive(Deserialize, JsonSchema)]
pub(super) struct MessagesHide {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The message's id.
    #[schemars(with = "uuid::Uuid")]
    id: String,
    /// Its sender's address, where several have used the same id.
    sender: Option<String>,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for MessagesHide {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::MessagesHide {
            channel: id("channel", &self.channel)?,
            id: id("id", &self.id)?,
            sender: self.sender.map(|text| address("sender", &text)).transpose()?,
            op: self.op.map(|text| id("op", &text)).transpose()?,
        }))
    }
}

/// `messages.send`
#[derive(Deserialize, JsonSchema)]
pub(super) struct MessagesSend {
    /// Where to; either this or `to`.
    #[schemars(with = "Option<uuid::Uuid>")]
    channel: Option<String>,
    /// The address of the user to write to; the chat is made if new.
    to: Option<String>,
    /// The client's id for the message, so that it may be sent again; made where absent.
    #[schemars(with = "Option<uuid::Uuid>")]
    id: Option<String>,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
    /// What is said. At most 65,536 bytes as compact JSON.
    #[schemars(with = "MessageBody")]
    body: Box<RawValue>,
}

/// A message's body. Members that belong to its type stand beside `type`.
#[derive(JsonSchema)]
#[schemars(rename = "Body")]
#[allow(dead_code, reason = "stands in the documents; bodies are read by homing-wire")]
struct MessageBody {
    /// `text`, `media`, `edit`, `delete`, `reaction`, or a type of the client's own: `x.…`.
    #[schemars(rename = "type")]
    kind: String,
}

impl Params for MessagesSend {
    fn ask(self) -> Result<Asked, Refused> {
        let target = match (&self.channel, &self.to) {
            (Some(channel), None) => SendTarget::Channel(id("channel", channel)?),
            (None, Some(to)) => SendTarget::To(address("to", to)?),
            (Some(_), Some(_)) | (None, None) => {
                return Err(wrong("one_target", "either channel or to"));
            }
        };
        Ok(Asked::Call(Call::MessagesSend {
            target,
            id: optional_id("id", self.id.as_deref())?,
            op: optional_id("op", self.op.as_deref())?,
            body: Body::from_json(self.body.get(), BODY_BYTES)
                .map(Box::new)
                .map_err(body_refused)?,
        }))
    }
}

/// `receipts.delivered`
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReceiptsDelivered {
    #[serde(flatten)]
    mark: MarkParams,
}

/// `receipts.read`
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReceiptsRead {
    #[serde(flatten)]
    mark: MarkParams,
}

#[derive(Deserialize, JsonSchema)]
struct MarkParams {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// Everything at or below.
    pos: u64,
    /// The client's name for this change. Marks only rise, so setting one twice is setting it once.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl MarkParams {
    fn read(&self) -> Result<(ChannelId, u64), Refused> {
        let _rises_once: Option<OpId> = optional_id("op", self.op.as_deref())?;
        Ok((id("channel", &self.channel)?, self.pos))
    }
}

impl Params for ReceiptsDelivered {
    fn ask(self) -> Result<Asked, Refused> {
        let (channel, pos) = self.mark.read()?;
        Ok(Asked::Call(Call::ReceiptsDelivered { channel, pos }))
    }
}

impl Params for ReceiptsRead {
    fn ask(self) -> Result<Asked, Refused> {
        let (channel, pos) = self.mark.read()?;
        Ok(Asked::Call(Call::ReceiptsRead { channel, pos }))
    }
}

/// `receipts.get`
#[derive(Deserialize, JsonSchema)]
pub(super) struct ReceiptsGet {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The message, one of one's own home.
    #[schemars(with = "uuid::Uuid")]
    id: String,
}

impl Params for ReceiptsGet {
    fn ask(self) -> Result<Asked, Refused> {
        let id: MessageId = id("id", &self.id)?;
        let channel = self::id("channel", &self.channel)?;
        Ok(Asked::Call(Call::ReceiptsGet { channel, id }))
    }
}

/// `users.get`
#[derive(Deserialize, JsonSchema)]
pub(super) struct UsersGet {
    /// Whose.
    address: String,
}

impl Params for UsersGet {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::UsersGet { address: address("address", &self.address)? }))
    }
}

/// `users.update`
#[derive(Deserialize, JsonSchema)]
pub(super) struct UsersUpdate {
    /// How people shall see the user, 1 to 100 characters.
    display_name: Option<String>,
    /// What the user lets others do.
    privacy: Option<PrivacyChange>,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for UsersUpdate {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::UsersUpdate {
            display_name: self.display_name,
            privacy: self.privacy.unwrap_or_default(),
            op: optional_id("op", self.op.as_deref())?,
        }))
    }
}

/// Users named in one call: as many as a group has.
const USERS_NAMED: usize = 100;

/// `groups.create`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsCreate {
    /// How it is called, 1 to 256 bytes.
    name: String,
    /// Addresses of whoever is to be in it, beside oneself.
    #[serde(default)]
    members: Vec<String>,
    /// The client's id for it, a UUIDv7, so that it may be asked again; made where absent.
    #[schemars(with = "Option<uuid::Uuid>")]
    id: Option<String>,
    /// What members may do.
    policy: Option<GroupPolicy>,
}

impl Params for GroupsCreate {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::GroupsCreate {
            name: self.name,
            members: addresses("members", &self.members)?,
            id: optional_id("id", self.id.as_deref())?,
            policy: self.policy.unwrap_or_default(),
        }))
    }
}

/// `groups.invite`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsInvite {
    #[serde(flatten)]
    named: GroupUsers,
}

/// `groups.remove`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsRemove {
    #[serde(flatten)]
    named: GroupUsers,
}

#[derive(Deserialize, JsonSchema)]
struct GroupUsers {
    /// Which group.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// Addresses.
    users: Vec<String>,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl GroupUsers {
    fn read(&self) -> Result<(ChannelId, Vec<Address>, Option<OpId>), Refused> {
        if self.users.is_empty() {
            return Err(wrong("no_users", "users names nobody"));
        }
        let users = addresses("users", &self.users)?;
        Ok((id("channel", &self.channel)?, users, optional_id("op", self.op.as_deref())?))
    }
}

impl Params for GroupsInvite {
    fn ask(self) -> Result<Asked, Refused> {
        let (channel, users, op) = self.named.read()?;
        Ok(Asked::Call(Call::GroupsInvite { channel, users, op }))
    }
}

impl Params for GroupsRemove {
    fn ask(self) -> Result<Asked, Refused> {
        let (channel, users, op) = self.named.read()?;
        Ok(Asked::Call(Call::GroupsRemove { channel, users, op }))
    }
}

/// `groups.join`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsJoin {
    #[serde(flatten)]
    which: GroupOrLink,
}

/// `groups.link`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsLink {
    #[serde(flatten)]
    group: GroupParams,
    /// Void from then on, in Unix milliseconds; never where absent.
    expires: Option<u64>,
    /// So many may come by it; any number where absent.
    #[schemars(range(min = 1))]
    uses: Option<u32>,
}

/// `groups.unlink`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsUnlink {
    #[serde(flatten)]
    which: GroupOrLink,
}

/// One of both.
#[derive(Deserialize, JsonSchema)]
struct GroupOrLink {
    /// Which group.
    #[schemars(with = "Option<uuid::Uuid>")]
    channel: Option<String>,
    /// A link to a group, as `groups.link` answers it.
    link: Option<String>,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

enum ByWhat {
    Channel(ChannelId),
    Link(GroupLink),
}

impl GroupOrLink {
    fn read(&self) -> Result<(ByWhat, Option<OpId>), Refused> {
        let what = match (&self.channel, &self.link) {
            (Some(channel), None) => ByWhat::Channel(id("channel", channel)?),
            (None, Some(link)) => {
                let link = link.parse();
                ByWhat::Link(link.map_err(|_| wrong("invalid_link", "link is no link to a group"))?)
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(wrong("one_target", "either channel or link"));
            }
        };
        Ok((what, optional_id("op", self.op.as_deref())?))
    }
}

/// `groups.leave`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsLeave {
    #[serde(flatten)]
    group: GroupParams,
}

#[derive(Deserialize, JsonSchema)]
struct GroupParams {
    /// Which group.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl GroupParams {
    fn read(&self) -> Result<(ChannelId, Option<OpId>), Refused> {
        Ok((id("channel", &self.channel)?, optional_id("op", self.op.as_deref())?))
    }
}

impl Params for GroupsJoin {
    fn ask(self) -> Result<Asked, Refused> {
        let (what, op) = self.which.read()?;
        Ok(Asked::Call(match what {
            ByWhat::Channel(channel) => Call::GroupsJoin { channel, op },
            ByWhat::Link(link) => Call::GroupsJoinLink { link, op },
        }))
    }
}

impl Params for GroupsLink {
    fn ask(self) -> Result<Asked, Refused> {
        let (channel, op) = self.group.read()?;
        if self.uses == Some(0) {
            return Err(wrong("invalid_uses", "a link has one use at least"));
        }
        let (expires, uses) = (self.expires, self.uses);
        Ok(Asked::Call(Call::GroupsLink { channel, expires, uses, op }))
    }
}

impl Params for GroupsUnlink {
    fn ask(self) -> Result<Asked, Refused> {
        let (what, op) = self.which.read()?;
        let which = match what {
            ByWhat::Channel(channel) => Unlinked::All(channel),
            ByWhat::Link(link) => Unlinked::One(link),
        };
        Ok(Asked::Call(Call::GroupsUnlink { which, op }))
    }
}

impl Params for GroupsLeave {
    fn ask(self) -> Result<Asked, Refused> {
        let (channel, op) = self.group.read()?;
        Ok(Asked::Call(Call::GroupsLeave { channel, op }))
    }
}

/// `groups.fork`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsFork {
    /// Which group.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
}

impl Params for GroupsFork {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::GroupsFork { channel: id("channel", &self.channel)? }))
    }
}

/// `groups.update`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsUpdate {
    /// Which group.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// How it is called, 1 to 256 bytes.
    name: Option<String>,
    /// What members may do; what is absent in it stays.
    policy: Option<GroupPolicy>,
    /// Addresses of members, and what they are to be.
    roles: Option<BTreeMap<String, RoleView>>,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for GroupsUpdate {
    fn ask(self) -> Result<Asked, Refused> {
        let roles = self.roles.unwrap_or_default();
        if self.name.is_none() && self.policy.is_none() && roles.is_empty() {
            return Err(wrong("nothing_to_change", "name, policy or roles: what is to change?"));
        }
        let named: Vec<String> = roles.keys().cloned().collect();
        let roles = addresses("roles", &named)?.into_iter().zip(roles.into_values()).collect();
        Ok(Asked::Call(Call::GroupsUpdate {
            channel: id("channel", &self.channel)?,
            name: self.name,
            policy: self.policy,
            roles,
            op: optional_id("op", self.op.as_deref())?,
        }))
    }
}

/// `groups.members`
#[derive(Deserialize, JsonSchema)]
pub(super) struct GroupsMembers {
    /// Of which group.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// `cursor` of the page before.
    cursor: Option<String>,
}

impl Params for GroupsMembers {
    fn ask(self) -> Result<Asked, Refused> {
        let channel = id("channel", &self.channel)?;
        Ok(Asked::Call(Call::GroupsMembers { channel, cursor: self.cursor }))
    }
}

fn addresses(name: &str, texts: &[String]) -> Result<Vec<Address>, Refused> {
    if texts.len() > USERS_NAMED {
        let message = format!("{name} has at most {USERS_NAMED}");
        return Err(
            Refused::new(Code::LimitReached, "group_full", message).with_limit(USERS_NAMED as u64)
        );
    }
    texts.iter().map(|text| address(name, text)).collect()
}

/// `contacts.list`
#[derive(Deserialize, JsonSchema)]
pub(super) struct ContactsList {
    #[serde(flatten)]
    page: UsersPageParams,
}

/// `blocks.list`
#[derive(Deserialize, JsonSchema)]
pub(super) struct BlocksList {
    #[serde(flatten)]
    page: UsersPageParams,
}

#[derive(Deserialize, JsonSchema)]
struct UsersPageParams {
    /// `cursor` of the page before.
    cursor: Option<String>,
    /// Rows at most; 200 where absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

impl UsersPageParams {
    fn ask(self, list: UserList) -> Result<Asked, Refused> {
        let limit = rows(self.limit, USERS_PAGE)?;
        Ok(Asked::Call(Call::Listed { list, cursor: self.cursor, limit }))
    }
}

impl Params for ContactsList {
    fn ask(self) -> Result<Asked, Refused> {
        self.page.ask(UserList::Contacts)
    }
}

impl Params for BlocksList {
    fn ask(self) -> Result<Asked, Refused> {
        self.page.ask(UserList::Blocks)
    }
}

/// `contacts.add`
#[derive(Deserialize, JsonSchema)]
pub(super) struct ContactsAdd {
    #[serde(flatten)]
    change: ListParams,
}

/// `contacts.remove`
#[derive(Deserialize, JsonSchema)]
pub(super) struct ContactsRemove {
    #[serde(flatten)]
    change: ListParams,
}

/// `blocks.add`
#[derive(Deserialize, JsonSchema)]
pub(super) struct BlocksAdd {
    #[serde(flatten)]
    change: ListParams,
}

/// `blocks.remove`
#[derive(Deserialize, JsonSchema)]
pub(super) struct BlocksRemove {
    #[serde(flatten)]
    change: ListParams,
}

#[derive(Deserialize, JsonSchema)]
struct ListParams {
    /// Whose address, of this home or any other.
    user: String,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl ListParams {
    fn ask(&self, list: UserList, add: bool) -> Result<Asked, Refused> {
        let (user, op) = (address("user", &self.user)?, self.op.as_deref());
        Ok(Asked::Call(Call::ListChange { list, user, add, op: optional_id("op", op)? }))
    }
}

impl Params for ContactsAdd {
    fn ask(self) -> Result<Asked, Refused> {
        self.change.ask(UserList::Contacts, true)
    }
}

impl Params for ContactsRemove {
    fn ask(self) -> Result<Asked, Refused> {
        self.change.ask(UserList::Contacts, false)
    }
}

impl Params for BlocksAdd {
    fn ask(self) -> Result<Asked, Refused> {
        self.change.ask(UserList::Blocks, true)
    }
}

impl Params for BlocksRemove {
    fn ask(self) -> Result<Asked, Refused> {
        self.change.ask(UserList::Blocks, false)
    }
}

/// `account.delete`
#[derive(Deserialize, JsonSchema)]
pub(super) struct AccountDelete {
    /// The account's password.
    password: String,
    /// The client's name for this change. An account is deleted once in any case.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for AccountDelete {
    fn ask(self) -> Result<Asked, Refused> {
        let _deletes_once: Option<OpId> = optional_id("op", self.op.as_deref())?;
        Ok(Asked::Call(Call::AccountDelete { password: Secret(self.password) }))
    }
}

/// `rpc.discover`
#[derive(Deserialize, JsonSchema)]
pub(super) struct RpcDiscover {}

impl Params for RpcDiscover {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Discover)
    }
}

fn wrong(reason: &'static str, message: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    Refused::new(Code::InvalidParams, reason, message)
}

fn id<T: FromStr>(name: &str, text: &str) -> Result<T, Refused> {
    text.parse().map_err(|_| wrong("invalid_id", format!("{name} is no UUID")))
}

fn optional_id<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, Refused> {
    text.map(|text| id(name, text)).transpose()
}

/// Of a text that is no address so many characters are said again: enough to find it by, whatever somebody sent.
const ADDRESS_SAID: usize = 80;

fn address(name: &str, text: &str) -> Result<Address, Refused> {
    text.parse().map_err(|error| {
        let typed: String = text.chars().take(ADDRESS_SAID).collect();
        wrong("invalid_user", format!("{name}: {typed:?}: {error}"))
    })
}

fn rows(asked: Option<u32>, (most, usual): (u32, u32)) -> Result<u32, Refused> {
    match asked.unwrap_or(usual) {
        rows if (1..=most).contains(&rows) => Ok(rows),
        _ => Err(wrong("invalid_limit", format!("limit is 1 to {most}")).with_limit(most.into())),
    }
}

/// How a text that is no body, or no parameters, is refused.
pub(super) fn body_refused(error: BodyError) -> Refused {
    if error == BodyError::TooLarge {
        return Refused::new(Code::TooLarge, error.reason(), "the body is too large; send a file")
            .with_limit(BODY_BYTES as u64);
    }
    wrong(error.reason(), error.to_string())
}
