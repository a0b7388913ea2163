//! What an operator sees: a row for each thing.

use crate::backup::{BackupRow, VerifyRow};
use crate::tidy::CompactRow;
use homing_core::{Account, AccountState, Invite};
use homing_wire::{ChannelId, Epoch, HomeId, HomeName, Local, Pos, UserId, UserRef};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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

/// A file of this home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRow {
    /// Which.
    pub id: Uuid,
    /// Who has uploaded it.
    pub owner: String,
    /// Bytes.
    pub size: u64,
    /// Its media type, as its bytes say.
    pub mime: String,
    /// What it is called.
    pub name: String,
    /// When it was whole, in Unix milliseconds.
    pub created_at: u64,
    /// A message names it.
    pub named: bool,
    /// BLAKE3 of its bytes, by which the folder has them.
    pub hash: String,
}

/// How much is kept of files, or was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaTotals {
    /// Files of this home, where they were counted.
    pub files: u64,
    /// Their bytes; the same bytes of two files are counted twice, and stored once.
    pub bytes: u64,
    /// Users who have some.
    pub users: u64,
    /// Bytes of other homes' files.
    pub cache_bytes: u64,
    /// Bytes promised to uploads that are under way.
    pub upload_bytes: u64,
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

/// A group, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Its id.
    pub group: ChannelId,
    /// How its people call it.
    pub name: String,
    /// The home that keeps its roster.
    pub owner_id: HomeId,
    /// That home's name, where it is another and verified.
    pub owner: Option<HomeName>,
    /// It is this home's.
    pub own: bool,
    /// The version of the roster that is held.
    pub version: u64,
    /// Who is in it.
    pub members: u64,
    /// Who is asked.
    pub invited: u64,
    /// Members of this home.
    pub here: u64,
    /// Homes that have a member.
    pub homes: u64,
    /// Entries of its log.
    pub head: Pos,
    /// Other homes that are owed something of it.
    pub homes_owed: u64,
    /// Its home has signed what contradicts itself: nothing more of that life is followed.
    pub forked: bool,
    /// Links by which people can come.
    pub links: u64,
    /// The group that it goes on with.
    pub continues: Option<ChannelId>,
    /// The group that goes on with it.
    pub continued_by: Option<ChannelId>,
}

/// Somebody in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPersonRow {
    /// Who.
    pub user: UserRef,
    /// The home's name, where it is another and verified.
    pub home: Option<HomeName>,
    /// `invited`, `member`, `admin` or `owner`.
    pub role: String,
    /// Of people of this home: they are in it here, too.
    pub agreed: Option<bool>,
}

/// Another home that gets something of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupHomeRow {
    /// Its id.
    pub home_id: HomeId,
    /// Its name, where verified.
    pub home: Option<HomeName>,
    /// Connected now.
    pub connected: bool,
    /// It has a member; else it is told of rosters alone.
    pub takes_part: bool,
    /// The version of the roster that it is known to have; 0: none.
    pub roster: u64,
    /// Messages of this home that it has not acknowledged.
    pub events_owed: u64,
    /// Since when something is owed, in Unix milliseconds.
    pub since: Option<u64>,
    /// It takes nothing; the reason that it gave.
    pub refused: Option<String>,
}

/// How something that takes long stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobRow {
    /// It goes on.
    Running {
        /// `backup`, `verify` or `compact`.
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
    /// What need not be kept was given back.
    Compacted(CompactRow),
}
