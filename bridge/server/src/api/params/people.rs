//! Parameters of people: who they are, and the lists that a user has of others.

use homing_link::{Call, PrivacyChange, Refused, Secret, UserList};
use homing_wire::OpId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, AvatarParams, Params, address, avatar, named, optional_id, rows};

/// Rows of a page of contacts or blocks, at most and where nothing is said: some 300 bytes each at most.
const USERS_PAGE: (u32, u32) = (1_000, 200);

/// `users.get`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct UsersGet {
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
pub(in crate::api) struct UsersUpdate {
    /// How people shall see the user, 1 to 100 characters.
    display_name: Option<String>,
    /// An image that the user has uploaded to the own home; `null` is none any more.
    #[serde(default, deserialize_with = "named")]
    #[schemars(with = "Option<AvatarParams>")]
    avatar: Option<Option<AvatarParams>>,
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
            avatar: avatar(self.avatar)?,
            privacy: self.privacy.unwrap_or_default(),
            op: optional_id("op", self.op.as_deref())?,
        }))
    }
}

/// `contacts.list`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct ContactsList {
    #[serde(flatten)]
    page: UsersPageParams,
}

/// `blocks.list`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct BlocksList {
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
pub(in crate::api) struct ContactsAdd {
    #[serde(flatten)]
    change: ListParams,
}

/// `contacts.remove`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct ContactsRemove {
    #[serde(flatten)]
    change: ListParams,
}

/// `blocks.add`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct BlocksAdd {
    #[serde(flatten)]
    change: ListParams,
}

/// `blocks.remove`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct BlocksRemove {
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
pub(in crate::api) struct AccountDelete {
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
