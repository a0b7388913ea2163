//! Parameters of what users do with their own: how they see their channels, their devices, their password.

use homing_link::{Call, Code, OwnViewChange, Refused, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, Params, id, named, optional_id, wrong};

/// `channels.update`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct ChannelsUpdate {
    /// Which.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// Nothing of it shall be heard up to then, in Unix milliseconds; `null`: it shall again.
    #[serde(default, deserialize_with = "named")]
    #[schemars(with = "Option<u64>")]
    muted_until: Option<Option<u64>>,
    /// Out of sight, or back.
    #[serde(default, deserialize_with = "named")]
    #[schemars(with = "Option<bool>")]
    archived: Option<Option<bool>>,
    /// Shown before the others, or no longer.
    #[serde(default, deserialize_with = "named")]
    #[schemars(with = "Option<bool>")]
    pinned: Option<Option<bool>>,
    /// What the user is writing there; `null` or an empty text: nothing.
    #[serde(default, deserialize_with = "named")]
    #[schemars(with = "Option<String>")]
    draft: Option<Option<String>>,
    /// Shown as unread, until the user reads up to the end or writes; or no longer.
    #[serde(default, deserialize_with = "named")]
    #[schemars(with = "Option<bool>")]
    marked_unread: Option<Option<bool>>,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for ChannelsUpdate {
    fn ask(self) -> Result<Asked, Refused> {
        let on = |wish: Option<Option<bool>>| wish.map(Option::unwrap_or_default);
        let change = OwnViewChange {
            muted_until: self.muted_until,
            archived: on(self.archived),
            pinned: on(self.pinned),
            draft: self.draft.map(Option::unwrap_or_default),
            marked_unread: on(self.marked_unread),
        };
        if change == OwnViewChange::default() {
            let message =
                "muted_until, archived, pinned, draft or marked_unread: what is to change?";
            return Err(wrong("nothing_to_change", message));
        }
        Ok(Asked::Call(Call::ChannelsUpdate {
            channel: id("channel", &self.channel)?,
            change,
            op: optional_id("op", self.op.as_deref())?,
        }))
    }
}

/// `requests.accept`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct RequestsAccept {
    #[serde(flatten)]
    request: RequestParams,
}

/// `requests.decline`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct RequestsDecline {
    #[serde(flatten)]
    request: RequestParams,
}

#[derive(Deserialize, JsonSchema)]
struct RequestParams {
    /// Which chat.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for RequestsAccept {
    fn ask(self) -> Result<Asked, Refused> {
        let RequestParams { channel, op } = self.request;
        let (channel, op) = (id("channel", &channel)?, optional_id("op", op.as_deref())?);
        Ok(Asked::Call(Call::RequestsAccept { channel, op }))
    }
}

impl Params for RequestsDecline {
    fn ask(self) -> Result<Asked, Refused> {
        let RequestParams { channel, op } = self.request;
        let (channel, op) = (id("channel", &channel)?, optional_id("op", op.as_deref())?);
        Ok(Asked::Call(Call::RequestsDecline { channel, op }))
    }
}

/// `devices.list`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct DevicesList {}

impl Params for DevicesList {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::DevicesList))
    }
}

/// `devices.rename`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct DevicesRename {
    #[serde(flatten)]
    device: DeviceParams,
    /// What the user calls it, 1 to 128 characters.
    name: String,
}

/// `devices.revoke`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct DevicesRevoke {
    #[serde(flatten)]
    device: DeviceParams,
}

#[derive(Deserialize, JsonSchema)]
struct DeviceParams {
    /// Which.
    #[schemars(with = "uuid::Uuid")]
    device: String,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for DevicesRename {
    fn ask(self) -> Result<Asked, Refused> {
        let Self { device: DeviceParams { device, op }, name } = self;
        let (device, op) = (id("device", &device)?, optional_id("op", op.as_deref())?);
        Ok(Asked::Call(Call::DevicesRename { device, name, op }))
    }
}

impl Params for DevicesRevoke {
    fn ask(self) -> Result<Asked, Refused> {
        let DeviceParams { device, op } = self.device;
        let (device, op) = (id("device", &device)?, optional_id("op", op.as_deref())?);
        Ok(Asked::Call(Call::DevicesRevoke { device, op }))
    }
}

/// `account.password`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct AccountPassword {
    /// The account's password.
    old: String,
    /// What it is to be, 8 characters at least.
    new: String,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for AccountPassword {
    fn ask(self) -> Result<Asked, Refused> {
        let op = optional_id("op", self.op.as_deref())?;
        let (old, new) = (Secret(self.old), Secret(self.new));
        Ok(Asked::Call(Call::AccountPassword { old, new, op }))
    }
}

/// Characters of a search: nobody types longer names.
const QUERY_CHARS: usize = 100;

/// `users.search`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct UsersSearch {
    /// Beginnings of words of a display name or of the name before the @, in any order and any case; or an address. 100
    /// characters at most.
    query: String,
}

impl Params for UsersSearch {
    fn ask(self) -> Result<Asked, Refused> {
        if self.query.chars().count() > QUERY_CHARS {
            let message = "query has 100 characters at most";
            let refused = Refused::new(Code::InvalidParams, "invalid_query", message);
            return Err(refused.with_limit(QUERY_CHARS as u64));
        }
        Ok(Asked::Call(Call::UsersSearch { query: self.query }))
    }
}
