//! What an operator may ask of a home: one closed list, whether the node runs or stands still.
//!
//! A running node takes a [`Control`] from its admin listener, calls [`apply`] between two steps, commits
//! the step that came of it, and only then answers and carries out the [`ControlEffect`]s. With the
//! node stopped the command opens the store and does the same.

use std::collections::BTreeMap;

use homing_core::{
    Account, AccountState, Failure, Fault, Home, Invite, NewAccount, PeerState, Reader, Refusal,
    TokenHash,
};
use homing_wire::{DeviceId, Epoch, HomeId, HomeName, HomeRef, Local, Seq, UserId, UserRef};
use serde::{Deserialize, Serialize};

use crate::export::{self, ExportPlace, ExportRow};
use crate::password;

/// Users in one answer of [`Control::UserList`].
pub const USERS_PAGE: usize = 500;
/// Channels looked at for [`Control::PeerQueue`]: what is owed beyond is said to be more, not counted.
const QUEUE_CHANNELS: usize = 10_000;
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
    /// Dial now instead of at the end of the wait.
    PeerRetry {
        /// Which home; all that are wanted where none is named.
        #[serde(with = "maybe_home", default)]
        home: Option<HomeRef>,
    },
    /// What is known of another home.
    HomeShow {
        /// Which.
        #[serde(with = "one_home")]
        home: HomeRef,
    },
    /// Talk to a home no longer, or again.
    HomeBlock {
        /// Which.
        #[serde(with = "one_home")]
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
    /// What is owed.
    Queue {
        /// A row for each home that is owed something.
        homes: Vec<QueueRow>,
    },
}

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
        Control::UserDelete { user } => change_and_sign_out(home, reader, user, |a| {
            a.state = AccountState::Deleted;
            a.password.clear();
            a.display_name.clear();
        })?,
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
            let mut invites = reader.invites()?;
            invites.sort_by_key(|i| i.created_at);
            let invites = invites.iter().map(InviteRow::from).collect();
            Applied::new(ControlReply::Invites { invites })
        }
        Control::InviteRevoke { code, hint } => {
            Applied::new(invite_revoke(home, reader, code, &hint)?)
        }
        Control::PeerList => {
            Applied::new(ControlReply::Peers { peers: peer_rows(home, reader, live)? })
        }
        Control::PeerQueue => {
            Applied::new(ControlReply::Queue { homes: queue(home, reader, live)? })
        }
        Control::PeerRetry { home: which } => {
            let id = which.map(|home| resolve(reader, live, &home)).transpose()?;
            Applied::with(ControlReply::Done, ControlEffect::Retry(id))
        }
        Control::HomeShow { home: which } => {
            let id = resolve(reader, live, &which)?;
            let rows = peer_rows(home, reader, live)?;
            let row = rows.into_iter().find(|row| row.home_id == id).ok_or_else(|| unknown(&which))?;
            Applied::new(ControlReply::Peer(row))
        }
        Control::HomeBlock { home: which, blocked } => {
            let id = resolve(reader, live, &which)?;
            if id == home.id() {
                return Err(ControlError::refused("own_home", "this is the home itself"));
            }
            block(home, reader, live, id, blocked)?;
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
            format!("a display name has 1 to {DISPLAY_NAME_CHARS} characters, none of them control characters"),
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
    if reader.invites()?.len() >= INVITES {
        return Err(ControlError::refused(
            "too_many_invites",
            format!("{INVITES} invites are open: revoke some"),
        ));
    }
    Ok(())
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
    let devices = reader.devices(&user)?;
    for device in &devices {
        home.remove_device(device);
    }
    let devices: Vec<DeviceId> = devices.iter().map(|d| d.id).collect();
    let effect = ControlEffect::SignOut { user, devices };
    Ok(Applied::with(ControlReply::User((&account).into()), effect))
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
        [invite] => {
            // An expired one is unknown to the home, and may go all the same.
            let row = invite.into();
            home.revoke_invite(reader, invite.code)?;
            Ok(ControlReply::Invite(row))
        }
        [_, _, ..] => Err(ControlError::refused(
            "ambiguous_invite",
            "several invites begin like this: give the whole code",
        )),
    }
}

/// The home that a name or id means to the operator.
fn resolve(reader: &dyn Reader, live: &PeersLive, home: &HomeRef) -> Result<HomeId, ControlError> {
    let name = match home {
        HomeRef::Id(id) => return Ok(*id),
        HomeRef::Name(name) => name,
    };
    let pinned = live.homes.iter().find(|(_, l)| l.name.as_ref() == Some(name)).map(|(id, _)| *id);
    if let Some(id) = pinned {
        return Ok(id);
    }
    let met = reader.peers()?.into_iter().find(|p| p.name.as_ref() == Some(name));
    met.map(|p| p.home).ok_or_else(|| unknown(home))
}

fn unknown(home: &HomeRef) -> ControlError {
    ControlError::refused(
        "home_not_found",
        format!("{home} is not known here: it is neither pinned nor has it been met"),
    )
}

fn peer_rows(
    home: &Home,
    reader: &dyn Reader,
    live: &PeersLive,
) -> Result<Vec<PeerRow>, ControlError> {
    let met: BTreeMap<HomeId, PeerState> =
        reader.peers()?.into_iter().map(|p| (p.home, p)).collect();
    let mut ids: Vec<HomeId> =
        met.keys().chain(live.homes.keys()).chain(home.owed().keys()).copied().collect();
    ids.sort();
    ids.dedup();
    let mut rows: Vec<PeerRow> = ids
        .into_iter()
        .map(|id| {
            let (met, now) = (met.get(&id), live.homes.get(&id));
            PeerRow {
                home_id: id,
                home: now.and_then(|l| l.name.clone()).or_else(|| met.and_then(|p| p.name.clone())),
                connected: now.is_some_and(|l| l.connected),
                since: now.and_then(|l| l.since),
                seen_at: met.map(|p| p.seen_at).filter(|at| *at > 0),
                blocked: met.is_some_and(|p| p.blocked),
                channels_owed: home.owed().get(&id).map_or(0, |c| c.len() as u64),
                last_error: now.and_then(|l| l.last_error.clone()),
                attempts: now.map_or(0, |l| l.attempts),
                retry_at: now.and_then(|l| l.retry_at),
            }
        })
        .collect();
    rows.sort_by(|a, b| (a.home.is_none(), &a.home, a.home_id).cmp(&(b.home.is_none(), &b.home, b.home_id)));
    Ok(rows)
}

fn queue(
    home: &Home,
    reader: &dyn Reader,
    live: &PeersLive,
) -> Result<Vec<QueueRow>, ControlError> {
    let peers = peer_rows(home, reader, live)?;
    let mut rows = Vec::new();
    let mut left = QUEUE_CHANNELS;
    for (id, channels) in home.owed() {
        let Some(since) = channels.values().min() else { continue };
        let (mut events, mut marks) = (0, 0);
        for channel in channels.keys().take(left) {
            // As committed: what is on its way to disk is not owed yet either.
            let Some(state) = reader.channel(*channel)? else { continue };
            let Some(cursor) = state.cursor(id) else { continue };
            let written = state.chain(&home.id(), home.epoch()).map_or(Seq(0), |c| c.seq);
            events += written.0.saturating_sub(cursor.acked.0);
            marks += u64::from(cursor.marks_owed);
        }
        let more = channels.len() > left;
        left = left.saturating_sub(channels.len());
        let peer = peers.iter().find(|p| p.home_id == *id);
        rows.push(QueueRow {
            home_id: *id,
            home: peer.and_then(|p| p.home.clone()),
            channels: channels.len() as u64,
            events,
            marks,
            more,
            since: *since,
            why: why(live.running, peer),
        });
    }
    rows.sort_by_key(|row| (row.since, row.home_id));
    Ok(rows)
}

/// Why what is owed to a home is not there yet.
fn why(running: bool, peer: Option<&PeerRow>) -> String {
    let Some(peer) = peer else { return "never met, and no address is known".to_owned() };
    if peer.blocked {
        return "blocked by the operator of this home".to_owned();
    }
    if !running {
        return "this node is stopped".to_owned();
    }
    if peer.connected {
        return "connected, not yet acknowledged".to_owned();
    }
    match (&peer.last_error, peer.attempts) {
        (Some(error), 0) => format!("not connected: {error}"),
        (Some(error), 1) => format!("not connected: {error} (1 attempt)"),
        (Some(error), n) => format!("not connected: {error} ({n} attempts)"),
        (None, _) => "not connected: no attempt has ended yet".to_owned(),
    }
}

fn block(
    home: &mut Home,
    reader: &dyn Reader,
    live: &PeersLive,
    id: HomeId,
    blocked: bool,
) -> Result<(), ControlError> {
    let met = reader.peers()?.into_iter().find(|p| p.home == id);
    let mut peer = met.unwrap_or_else(|| PeerState {
        home: id,
        name: live.homes.get(&id).and_then(|l| l.name.clone()),
        record: Vec::new(),
        epoch: Epoch(0),
        boot: 0,
        seen_at: 0,
        blocked: false,
    });
    peer.blocked = blocked;
    home.put_peer(peer);
    Ok(())
}

/// A [`HomeRef`] as people write it.
mod one_home {
    use homing_wire::HomeRef;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(home: &HomeRef, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(home)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<HomeRef, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// The same where there may be none.
mod maybe_home {
    use homing_wire::HomeRef;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        home: &Option<HomeRef>,
        into: S,
    ) -> Result<S::Ok, S::Error> {
        home.as_ref().map(ToString::to_string).serialize(into)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<HomeRef>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|t| t.parse().map_err(de::Error::custom)).transpose()
    }
}
