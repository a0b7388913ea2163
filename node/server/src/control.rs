//! What an operator may ask of a home: one closed list, whether the node runs or stands still.
//!
//! A running node takes a [`Control`] from its admin listener, calls [`apply`] between two steps, commits
//! the step that came of it, and only then answers and carries out the [`ControlEffect`]s. With the
//! node stopped the command opens the store and does the same.

mod groups;
mod home_text;
mod peers;
mod rows;

use std::collections::BTreeMap;

use homing_core::{
    Account, AccountState, Device, Failure, Fault, Home, Invite, NewAccount, Reader, Refusal,
    TokenHash,
};
use homing_wire::{ChannelId, DeviceId, HomeId, HomeName, HomeRef, Local, UserId, UserRef};
use serde::{Deserialize, Serialize};

pub use rows::{
    AccountWord, GroupHomeRow, GroupPersonRow, GroupRow, InviteRow, JobRow, MediaRow, MediaTotals,
    PeerRow, QueueRow, StatusRow, UserRow,
};
use uuid::Uuid;

use crate::export::{self, ExportPlace, ExportRow};
use crate::password;

/// Users in one answer of [`Control::UserList`].
pub const USERS_PAGE: usize = 500;
/// Characters of a display name: longer ones fit no screen.
pub const DISPLAY_NAME_CHARS: usize = 100;
/// Uses of one invite.
pub const INVITE_USES: u32 = 10_000;
/// Invites that can stand open at once: nobody tells more of them apart.
const INVITES: usize = 10_000;

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// Who answers here. Changes nothing.
    Status,
    /// Make an account.
    UserAdd {
        /// The name.
        user: Local,
        /// A fresh id.
        user_id: UserId,
        /// How people see the user; the name where there is none.
        display_name: Option<String>,
        /// Argon2id, as a PHC string.
        password: String,
    },
    /// Accounts by name, [`USERS_PAGE`] at a time.
    UserList {
        /// Those above.
        after: Option<Local>,
    },
    /// Shut an account (its devices are signed out), or open it again.
    UserState {
        /// Whose.
        user: Local,
        /// Open.
        active: bool,
    },
    /// Give an account a new password. Its devices are signed out.
    UserPassword {
        /// Whose.
        user: Local,
        /// Argon2id, as a PHC string.
        password: String,
    },
    /// Delete an account. Its name is never given again.
    UserDelete {
        /// Whose.
        user: Local,
    },
    /// A page of all that is held of a user.
    UserExport {
        /// Whose.
        user: Local,
        /// Where the page begins; else the first.
        place: Option<ExportPlace>,
    },
    /// Back the home up. It goes on meanwhile: ask with [`Control::Job`] whether it is done.
    Backup {
        /// The file to make, an absolute path where the node runs.
        to: std::path::PathBuf,
    },
    /// Read the whole store and see that it hangs together; likewise.
    Verify,
    /// Give back what need not be kept of the store; likewise.
    Compact {
        /// Bodies go of messages that were deleted before then, in Unix milliseconds.
        erase_before_ms: u64,
    },
    /// How the last of these stands.
    Job,
    /// A page of this home's files, and how much is kept.
    MediaList {
        /// Those above.
        after: Option<Uuid>,
    },
    /// Remove old files, named or not.
    MediaPurge {
        /// What came whole before then; of other homes' files, what was read last before then. Unix milliseconds.
        before_ms: u64,
        /// Other homes' files alone.
        cached: bool,
        /// Say what would be removed.
        dry_run: bool,
    },
    /// Make an invite.
    InviteCreate {
        /// The code, hashed: nobody but its maker sees it.
        code: TokenHash,
        /// Its first characters.
        hint: String,
        /// How many may register with it.
        uses: u32,
        /// Void from then on, in Unix milliseconds.
        expires_at: Option<u64>,
    },
    /// Open invites.
    InviteList,
    /// Revoke an invite.
    InviteRevoke {
        /// The code, hashed, if it is a whole code.
        code: TokenHash,
        /// Or its first characters.
        hint: String,
    },
    /// Other homes.
    PeerList,
    /// What is owed to other homes, since when and why.
    PeerQueue,
    /// Dial now instead of at the end of the wait, and let in again whoever was cut for what it did.
    PeerRetry {
        /// Which home; all that are wanted where none is named.
        #[serde(with = "home_text::maybe", default)]
        home: Option<HomeRef>,
    },
    /// A page of the groups that are held.
    GroupList {
        /// Above this one; else from the first.
        after: Option<ChannelId>,
    },
    /// Who is in a group, and how far its homes are.
    GroupShow {
        /// Which.
        group: ChannelId,
    },
    /// What is known of another home.
    HomeShow {
        /// Which.
        #[serde(with = "home_text::one")]
        home: HomeRef,
    },
    /// Talk to a home no longer, or again.
    HomeBlock {
        /// Which.
        #[serde(with = "home_text::one")]
        home: HomeRef,
        /// No longer.
        blocked: bool,
    },
}

/// The answer to a [`Control`], for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum ControlReply {
    /// It is done.
    Done,
    /// Who answers.
    Status(StatusRow),
    /// One account.
    User(UserRow),
    /// Accounts.
    Users {
        /// By name.
        users: Vec<UserRow>,
        /// There are more above the last.
        more: bool,
    },
    /// A page of an export.
    Export {
        /// Its rows.
        rows: Vec<ExportRow>,
        /// Where the next page begins.
        next: Option<ExportPlace>,
    },
    /// How a job stands.
    Job {
        /// The one begun last.
        job: JobRow,
    },
    /// Files of this home.
    Media {
        /// By id.
        files: Vec<MediaRow>,
        /// How much is kept, or was removed.
        totals: MediaTotals,
        /// There are more above the last.
        more: bool,
    },
    /// One invite.
    Invite(InviteRow),
    /// Invites, the oldest first.
    Invites {
        /// All of them.
        invites: Vec<InviteRow>,
    },
    /// One other home.
    Peer(PeerRow),
    /// Other homes.
    Peers {
        /// By name, then id.
        peers: Vec<PeerRow>,
    },
    /// Groups.
    Groups {
        /// By rising id.
        groups: Vec<GroupRow>,
        /// Where the next page goes on.
        next: Option<ChannelId>,
    },
    /// One group.
    Group {
        /// What it is.
        group: Box<GroupRow>,
        /// Who is in it, or asked.
        people: Vec<GroupPersonRow>,
        /// Other homes that get something of it.
        homes: Vec<GroupHomeRow>,
    },
    /// What is owed.
    Queue {
        /// A row for each home that is owed something.
        homes: Vec<QueueRow>,
    },
}

/// What the network knows of a home right now. Kept by the running node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerLive {
    /// Its name, where verified.
    pub name: Option<HomeName>,
    /// Connected: hello is done.
    pub connected: bool,
    /// Why the last attempt failed, or the last connection ended.
    pub last_error: Option<String>,
    /// Attempts since it was last connected.
    pub attempts: u32,
    /// The next attempt, in Unix milliseconds.
    pub retry_at: Option<u64>,
    /// Connected, or away, since then, in Unix milliseconds.
    pub since: Option<u64>,
}

/// All homes that are connected, wanted or pinned; whether there is a network at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeersLive {
    /// The node runs. Otherwise nothing reaches anybody.
    pub running: bool,
    /// By home.
    pub homes: BTreeMap<HomeId, PeerLive>,
}

/// What the node has to do once the step is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEffect {
    /// Close the sockets of these devices (4403): their tokens are dead.
    SignOut {
        /// Whose.
        user: Local,
        /// Which.
        devices: Vec<DeviceId>,
    },
    /// Dial that home now; all that are wanted where none is named.
    Retry(Option<HomeId>),
    /// Cut that home off.
    Blocked(HomeId),
    /// Take that home again.
    Unblocked(HomeId),
}

/// What became of a [`Control`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// For the operator, after the commit.
    pub reply: ControlReply,
    /// For the node, after the commit.
    pub effects: Vec<ControlEffect>,
}

impl Applied {
    fn new(reply: ControlReply) -> Self {
        Self { reply, effects: Vec::new() }
    }

    fn with(reply: ControlReply, effect: ControlEffect) -> Self {
        Self { reply, effects: vec![effect] }
    }
}

/// Why a [`Control`] was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It cannot be; nothing was changed.
    #[error("{message}")]
    Refused {
        /// A stable snake_case word.
        reason: String,
        /// For people.
        message: String,
    },
    /// The store cannot be read; the owner stops.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

impl ControlError {
    /// A refusal.
    pub fn refused(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into(), message: message.into() }
    }

    /// The stable word for answers and logs.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } => reason,
            Self::Fault(_) => "store_fault",
            Self::Stopping => "stopping",
        }
    }
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal.reason, refusal.message)
    }
}

impl From<Failure> for ControlError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// Decides a [`Control`]. What it changes is in the home's next step; see the module.
pub fn apply(
    home: &mut Home,
    reader: &dyn Reader,
    now_ms: u64,
    live: &PeersLive,
    control: Control,
) -> Result<Applied, ControlError> {
    Ok(match control {
        Control::Status => Applied::new(ControlReply::Status(StatusRow {
            home_id: home.id(),
            epoch: home.epoch(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: now_ms,
        })),
        Control::UserAdd { user, user_id, display_name, password } => {
            check_hash(&password)?;
            let display_name = display_name.unwrap_or_else(|| user.to_string());
            check_display_name(&display_name)?;
            let new = NewAccount { local: user, user_id, display_name, password, invite: None };
            let account = home.register(reader, now_ms, new)?;
            Applied::new(ControlReply::User((&account).into()))
        }
        Control::UserList { after } => Applied::new(user_list(reader, after.as_ref())?),
        Control::UserState { user, active: true } => {
            let account = home.change_account(reader, &user, |a| a.state = AccountState::Active)?;
            Applied::new(ControlReply::User((&account).into()))
        }
        Control::UserState { user, active: false } => {
            change_and_sign_out(home, reader, user, |a| a.state = AccountState::Disabled)?
        }
        Control::UserPassword { user, password } => {
            check_hash(&password)?;
            change_and_sign_out(home, reader, user, |a| a.password = password)?
        }
        Control::UserDelete { user } => {
            let (account, devices) = home.delete_account(reader, &user)?;
            signed_out(&account, &devices)
        }
        Control::Backup { .. } | Control::Verify | Control::Compact { .. } | Control::Job => {
            let message = "backups are made beside the node, not by it";
            return Err(ControlError::refused("not_here", message));
        }
        Control::MediaList { .. } | Control::MediaPurge { .. } => {
            let message = "files are looked after by the running node: start it";
            return Err(ControlError::refused("not_running", message));
        }
        Control::UserExport { user, place } => {
            let user = home.user(&user);
            Applied::new(export_page(reader, &user, place)?)
        }
        Control::InviteCreate { code, hint, uses, expires_at } => {
            let invite = Invite { code, hint, created_at: now_ms, expires_at, uses_left: uses };
            check_invite(reader, &invite)?;
            let row = (&invite).into();
            home.add_invite(now_ms, invite);
            Applied::new(ControlReply::Invite(row))
        }
        Control::InviteList => {
            let mut invites = open_invites(reader, now_ms)?;
            invites.sort_by_key(|i| i.created_at);
            let invites = invites.iter().map(InviteRow::from).collect();
            Applied::new(ControlReply::Invites { invites })
        }
        Control::InviteRevoke { code, hint } => {
            Applied::new(invite_revoke(home, reader, code, &hint)?)
        }
        Control::PeerList => {
            Applied::new(ControlReply::Peers { peers: peers::peer_rows(home, reader, live)? })
        }
        Control::PeerQueue => {
            Applied::new(ControlReply::Queue { homes: peers::queue(home, reader, live)? })
        }
        Control::GroupList { after } => {
            let (groups, next) = groups::list(home, reader, live, after)?;
            Applied::new(ControlReply::Groups { groups, next })
        }
        Control::GroupShow { group } => {
            let (group, people, homes) = groups::show(home, reader, live, group)?;
            Applied::new(ControlReply::Group { group: Box::new(group), people, homes })
        }
        Control::PeerRetry { home: which } => {
            let id = which.map(|home| peers::resolve(reader, live, &home)).transpose()?;
            Applied::with(ControlReply::Done, ControlEffect::Retry(id))
        }
        Control::HomeShow { home: which } => {
            let id = peers::resolve(reader, live, &which)?;
            let rows = peers::peer_rows(home, reader, live)?;
            let row = rows
                .into_iter()
                .find(|row| row.home_id == id)
                .ok_or_else(|| peers::unknown(&which))?;
            Applied::new(ControlReply::Peer(row))
        }
        Control::HomeBlock { home: which, blocked } => {
            let id = peers::resolve(reader, live, &which)?;
            if id == home.id() {
                return Err(ControlError::refused("own_home", "this is the home itself"));
            }
            peers::block(home, live, id, blocked)?;
            let effect =
                if blocked { ControlEffect::Blocked(id) } else { ControlEffect::Unblocked(id) };
            Applied::with(ControlReply::Done, effect)
        }
    })
}

/// The answer to [`Control::UserExport`], which needs nothing but what is committed.
pub fn export_page(
    reader: &dyn Reader,
    user: &UserRef,
    place: Option<ExportPlace>,
) -> Result<ControlReply, ControlError> {
    let page = export::page(reader, user, place)?.ok_or_else(|| {
        ControlError::refused("user_not_found", format!("there is no user {}", user.local))
    })?;
    Ok(ControlReply::Export { rows: page.rows, next: page.next })
}

/// Whether a name can be shown to people.
pub fn check_display_name(name: &str) -> Result<(), ControlError> {
    if name.trim().is_empty()
        || name.chars().count() > DISPLAY_NAME_CHARS
        || name.chars().any(char::is_control)
    {
        return Err(ControlError::refused(
            "invalid_display_name",
            format!(
                "a display name has 1 to {DISPLAY_NAME_CHARS} characters, none of them control characters"
            ),
        ));
    }
    Ok(())
}

fn check_hash(text: &str) -> Result<(), ControlError> {
    if password::is_hash(text) {
        return Ok(());
    }
    Err(ControlError::refused("invalid_hash", "the password must come hashed with Argon2id"))
}

fn check_invite(reader: &dyn Reader, invite: &Invite) -> Result<(), ControlError> {
    if !(1..=INVITE_USES).contains(&invite.uses_left) {
        return Err(ControlError::refused(
            "invalid_uses",
            format!("an invite has 1 to {INVITE_USES} uses"),
        ));
    }
    if invite.expires_at.is_some_and(|at| at <= invite.created_at) {
        return Err(ControlError::refused("already_expired", "the invite would be void already"));
    }
    if open_invites(reader, invite.created_at)?.len() >= INVITES {
        return Err(ControlError::refused(
            "too_many_invites",
            format!("{INVITES} invites are open: revoke some"),
        ));
    }
    Ok(())
}

/// Invites with which somebody may still register.
fn open_invites(reader: &dyn Reader, now_ms: u64) -> Result<Vec<Invite>, Fault> {
    let open = |i: &Invite| i.uses_left > 0 && i.expires_at.is_none_or(|at| at > now_ms);
    Ok(reader.invites()?.into_iter().filter(open).collect())
}

fn user_list(reader: &dyn Reader, after: Option<&Local>) -> Result<ControlReply, ControlError> {
    let mut accounts = reader.accounts(after, USERS_PAGE + 1)?;
    let more = accounts.len() > USERS_PAGE;
    accounts.truncate(USERS_PAGE);
    Ok(ControlReply::Users { users: accounts.iter().map(UserRow::from).collect(), more })
}

/// Changes an account so that nobody signed in before may go on.
fn change_and_sign_out(
    home: &mut Home,
    reader: &dyn Reader,
    user: Local,
    change: impl FnOnce(&mut Account),
) -> Result<Applied, ControlError> {
    let account = home.change_account(reader, &user, change)?;
    let devices = home.devices(reader, &user)?;
    for device in &devices {
        home.remove_device(device);
    }
    Ok(signed_out(&account, &devices))
}

fn signed_out(account: &Account, devices: &[Device]) -> Applied {
    let user = account.local.clone();
    let devices = devices.iter().map(|d| d.id).collect();
    Applied::with(ControlReply::User(account.into()), ControlEffect::SignOut { user, devices })
}

fn invite_revoke(
    home: &mut Home,
    reader: &dyn Reader,
    code: TokenHash,
    hint: &str,
) -> Result<ControlReply, ControlError> {
    let invites = reader.invites()?;
    let named: Vec<&Invite> = match invites.iter().find(|i| i.code == code) {
        Some(invite) => vec![invite],
        None => invites.iter().filter(|i| i.hint == hint).collect(),
    };
    match named[..] {
        [] => Err(ControlError::refused("invite_not_found", "there is no such invite")),
        [invite] if home.revoke_invite(reader, invite.code)? => {
            Ok(ControlReply::Invite(invite.into()))
        }
        [_] => Err(ControlError::refused(
            "invite_not_found",
            "this invite has expired: nobody can register with it",
        )),
        [_, _, ..] => Err(ControlError::refused(
            "ambiguous_invite",
            "several invites begin like this: give the whole code",
        )),
    }
}

#[cfg(test)]
mod tests;
