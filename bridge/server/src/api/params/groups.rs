//! Parameters of groups.

use std::collections::BTreeMap;

use homing_link::{Call, Code, GroupPolicy, Refused, RoleView, Unlinked};
use homing_wire::{Address, ChannelId, GroupLink, OpId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, AvatarParams, Params, address, avatar, id, named, optional_id, wrong};

/// Users named in one call: as many as a group has.
const USERS_NAMED: usize = 100;

/// `groups.create`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct GroupsCreate {
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
pub(in crate::api) struct GroupsInvite {
    #[serde(flatten)]
    named: GroupUsers,
}

/// `groups.remove`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct GroupsRemove {
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
pub(in crate::api) struct GroupsJoin {
    #[serde(flatten)]
    which: GroupOrLink,
}

/// `groups.link`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct GroupsLink {
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
pub(in crate::api) struct GroupsUnlink {
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
pub(in crate::api) struct GroupsLeave {
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
pub(in crate::api) struct GroupsFork {
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
pub(in crate::api) struct GroupsUpdate {
    /// Which group.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// How it is called, 1 to 256 bytes.
    name: Option<String>,
    /// An image that the user has uploaded to the own home; `null` is none any more.
    #[serde(default, deserialize_with = "named")]
    #[schemars(with = "Option<AvatarParams>")]
    avatar: Option<Option<AvatarParams>>,
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
        let looks = self.name.is_some() || self.avatar.is_some();
        if !looks && self.policy.is_none() && roles.is_empty() {
            let message = "name, avatar, policy or roles: what is to change?";
            return Err(wrong("nothing_to_change", message));
        }
        let named: Vec<String> = roles.keys().cloned().collect();
        let roles = addresses("roles", &named)?.into_iter().zip(roles.into_values()).collect();
        Ok(Asked::Call(Call::GroupsUpdate {
            channel: id("channel", &self.channel)?,
            name: self.name,
            avatar: avatar(self.avatar)?,
            policy: self.policy,
            roles,
            op: optional_id("op", self.op.as_deref())?,
        }))
    }
}

/// `groups.members`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct GroupsMembers {
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
