//! Accounts of this home, their devices, and what their wishes have done.

use homing_wire::{ChannelId, DeviceId, Local, Pos, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Whether an account may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccountState {
    /// In use.
    Active,
    /// Shut by the operator; may be opened again.
    Disabled,
    /// Gone for good; the name is never given again.
    Deleted,
}

/// A user of this home.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// The name, never given to another person.
    pub local: Local,
    /// The id.
    pub user_id: UserId,
    /// How people see the user.
    pub display_name: String,
    /// Argon2id, as a PHC string; empty where the account is deleted.
    pub password: String,
    /// Unix milliseconds.
    pub created_at: u64,
    /// Whether it may be used.
    pub state: AccountState,
    /// The greatest time in a UUIDv7 that this user sent ahead of this home's clock, in Unix
    /// milliseconds. Ids up to here are looked up on disk (see `ids.rs`).
    pub ids_ahead_ms: u64,
    /// Who may add the user to groups without asking.
    pub groups_from: GroupsFrom,
    /// Who may see whether the user is online, and when the user was last seen.
    pub seen_by: SeenBy,
    /// Others see what the user has read, and the user what they have; false: neither. What was delivered is seen by all.
    pub read_receipts: bool,
    /// The file of this home that stands for the user, which the user has uploaded.
    pub avatar: Option<Uuid>,
}

/// Who may see whether a user is online, and when the user was last seen. Nobody whom the user has blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum SeenBy {
    /// Anybody.
    Everyone,
    /// Those in the user's contacts.
    #[default]
    Contacts,
    /// Nobody. Who hides sees nobody either.
    Nobody,
}

/// Who may add a user to groups without asking first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum GroupsFrom {
    /// Anybody whom the user has not blocked.
    Everyone,
    /// Those in the user's contacts.
    #[default]
    Contacts,
}

/// A user's lists of other users.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum UserList {
    /// Whom the user knows.
    Contacts,
    /// Of whom the user wants to hear nothing.
    Blocks,
}

/// The BLAKE3 hash of a bearer token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

/// A signed-in client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Whose.
    pub user: Local,
    /// Its token, hashed.
    pub token: TokenHash,
    /// What the user calls it.
    pub name: String,
    /// Unix milliseconds.
    pub created_at: u64,
    /// When it was last used, within the hour, in Unix milliseconds; 0: not known yet.
    pub seen_at: u64,
}

/// An invite to register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invite {
    /// The code, hashed like a token.
    pub code: TokenHash,
    /// The first characters, so that an operator can tell them apart.
    pub hint: String,
    /// Unix milliseconds.
    pub created_at: u64,
    /// Void from then on, in Unix milliseconds.
    pub expires_at: Option<u64>,
    /// How many may still register with it.
    pub uses_left: u32,
}

/// What an `op` has done: repeated within seven days it returns this and changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpDone {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// What.
    pub what: OpWhat,
}

/// What a change was, as far as its answer depends on it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OpWhat {
    /// It sent the message at that place.
    Sent {
        /// Of which channel.
        channel: ChannelId,
        /// Which entry.
        pos: Pos,
    },
    /// It changed something of the user's own, and its answer says no more than that.
    Own,
}
