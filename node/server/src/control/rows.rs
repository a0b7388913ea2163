//! What an operator sees: a row for each thing.

use crate::backup::{BackupRow, VerifyRow};
use homing_core::{Account, AccountState, Invite};
use homing_wire::{Epoch, HomeId, HomeName, Local, UserId};
use serde::{Deserialize, Serialize};

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRow {
    /// The home's id.
    pub home_id: HomeId,
    /// The life of its store.
    pub epoch: Epoch,
    /// The program's version.
    pub version: String,
    /// The node's clock, in Unix milliseconds.
    pub time: u64,
}

/// An account, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// The name.
    pub user: Local,
    /// The id.
    pub user_id: UserId,
    /// How people see the user.
    pub display_name: String,
    /// `active`, `disabled` or `deleted`.
    pub state: AccountWord,
    /// Unix milliseconds.
    pub created_at: u64,
}

/// [`AccountState`] as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountWord {
    /// In use.
    Active,
    /// Shut.
    Disabled,
    /// Gone.
    Deleted,
}

impl AccountWord {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }
}

impl From<&Account> for UserRow {
    fn from(account: &Account) -> Self {
        Self {
            user: account.local.clone(),
            user_id: account.user_id,
            display_name: account.display_name.clone(),
            state: match account.state {
                AccountState::Active => AccountWord::Active,
                AccountState::Disabled => AccountWord::Disabled,
                AccountState::Deleted => AccountWord::Deleted,
            },
            created_at: account.created_at,
        }
    }
}

/// An invite, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRow {
    /// The first characters of its code.
    pub hint: String,
    /// How many may still register with it.
    pub uses_left: u32,
    /// Unix milliseconds.
    pub created_at: u64,
    /// Void from then on, in Unix milliseconds.
    pub expires_at: Option<u64>,
}

impl From<&Invite> for InviteRow {
    fn from(invite: &Invite) -> Self {
        Self {
            hint: invite.hint.clone(),
            uses_left: invite.uses_left,
            created_at: invite.created_at,
            expires_at: invite.expires_at,
        }
    }
}

/// Another home, as an operator sees it. Times in Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRow {
    /// Its id.
    pub home_id: HomeId,
    /// Its name, where verified.
    pub home: Option<HomeName>,
    /// Connected now.
    pub connected: bool,
    /// Connected, or away, since then.
    pub since: Option<u64>,
    /// The last contact.
    pub seen_at: Option<u64>,
    /// The operator has blocked it.
    pub blocked: bool,
    /// Channels with something owed to it.
    pub channels_owed: u64,
    /// Why the last attempt to reach it failed.
    pub last_error: Option<String>,
    /// Attempts since it was last connected.
    pub attempts: u32,
    /// The next attempt.
    pub retry_at: Option<u64>,
}

/// What is owed to a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRow {
    /// Its id.
    pub home_id: HomeId,
    /// Its name, where verified.
    pub home: Option<HomeName>,
    /// Channels with something owed.
    pub channels: u64,
    /// Messages not yet acknowledged.
    pub events: u64,
    /// Channels in which read or delivered marks are owed.
    pub marks: u64,
    /// Not everything was counted: there is more.
    pub more: bool,
    /// Since when the oldest is owed, in Unix milliseconds.
    pub since: u64,
    /// Why it is not there yet.
    pub why: String,
}

/// How something that takes long stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobRow {
    /// It goes on.
    Running {
        /// `backup` or `verify`.
        what: String,
    },
    /// It came to nothing.
    Failed {
        /// Why, for people.
        message: String,
    },
    /// A backup was made.
    BackedUp(BackupRow),
    /// The store is whole.
    Verified(VerifyRow),
}
