//! Parameters of the methods, and the calls they become.

use std::str::FromStr;

use homing_link::{Call, Code, Refused};
use homing_wire::body::BodyError;
use homing_wire::limits::BODY_BYTES;
use homing_wire::{Address, OpId};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::table::{Asked, Open};

mod groups;
mod media;
mod messages;
mod own;
mod people;
mod presence;

pub(super) use self::groups::{
    GroupsCreate, GroupsFork, GroupsInvite, GroupsJoin, GroupsLeave, GroupsLink, GroupsMembers,
    GroupsRemove, GroupsUnlink, GroupsUpdate,
};
pub(crate) use self::media::THUMBNAIL;
pub(super) use self::media::{MediaCopy, MediaGet, MediaUrl};
pub(super) use self::messages::{
    MessagesGet, MessagesHide, MessagesList, MessagesSearch, MessagesSend, ReceiptsDelivered,
    ReceiptsGet, ReceiptsRead,
};
pub(super) use self::own::{
    AccountPassword, ChannelsUpdate, DevicesList, DevicesRename, DevicesRevoke, RequestsAccept,
    RequestsDecline, UsersSearch,
};
pub(super) use self::people::{
    AccountDelete, BlocksAdd, BlocksList, BlocksRemove, ContactsAdd, ContactsList, ContactsRemove,
    UsersGet, UsersUpdate,
};
pub(super) use self::presence::{PresenceUnwatch, PresenceWatch, TypingSet};

/// Rows of a page of channels, at most and where nothing is said.
const CHANNELS_PAGE: (u32, u32) = (100, 50);

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

/// `rpc.discover`
#[derive(Deserialize, JsonSchema)]
pub(super) struct RpcDiscover {}

impl Params for RpcDiscover {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Discover)
    }
}

/// An image that the user has uploaded.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AvatarNamed")]
struct AvatarParams {
    /// Which: `Homing-Media` of the finished upload.
    #[schemars(with = "uuid::Uuid")]
    id: String,
}

/// Tells `null` from what is absent.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

fn avatar(named: Option<Option<AvatarParams>>) -> Result<Option<Option<Uuid>>, Refused> {
    let read = |avatar: Option<AvatarParams>| avatar.map(|a| id("avatar.id", &a.id)).transpose();
    named.map(read).transpose()
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
