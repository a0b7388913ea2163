//! Accounts, invites, and other homes.

use homing_wire::{HomeId, Local, OpId, UserId};
use uuid::Uuid;

use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, DISABLED, Failure, NO_USER, OP_REUSED, Refusal};
use crate::state::{
    Account, AccountState, Device, GroupsFrom, Invite, OpDone, OpWhat, PeerState, SeenBy, TokenHash,
};
use crate::write::Write;

/// A new account, its password already hashed.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The wished name.
    pub local: Local,
    /// A fresh id.
    pub user_id: UserId,
    /// How people shall see the user.
    pub display_name: String,
    /// Argon2id, as a PHC string.
    pub password: String,
    /// The invite it is made with, where registration asks for one.
    pub invite: Option<TokenHash>,
}

/// What a user changes of the account; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProfileChange {
    /// How people shall see the user: checked by the caller.
    pub display_name: Option<String>,
    /// Who may add the user to groups.
    pub groups_from: Option<GroupsFrom>,
    /// Who may see when the user is online.
    pub seen_by: Option<SeenBy>,
    /// Whether others see what the user has read, and the user what they have.
    pub read_receipts: Option<bool>,
    /// The file that stands for the user; `Some(None)`: none any more.
    pub avatar: Option<Option<Uuid>>,
}

const BAD_INVITE: Refusal =
    Refusal::new(Class::NotAllowed, "bad_invite", "this invite is unknown, used up or expired");

/// A home that holds more than it can show is asked so often by one process: what keeps it may pass (a clock that
/// is off, a disk that is read anew), and what does not (a chat that is refused) must not cost more each time.
const RECONCILE_TRIES: u32 = 3;

/// What came of asking a home what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reconciled {
    /// Everything is fetched.
    Whole,
    /// Something is not: it is asked again when it is next connected.
    AskAgain,
    /// Something is not, and the home is not asked again by itself: it was asked often enough, or it is the peer
    /// that brings the rest.
    GivenUp,
}

impl Home {
    /// Makes an account. The invite, where one is named, loses a use.
    pub fn register(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        new: NewAccount,
    ) -> Result<Account, Failure> {
        self.at(now_ms);
        if self.account(reader, &new.local)?.is_some() {
            return Err(Refusal::new(
                Class::Conflict,
                "user_exists",
                "this name is, or was, somebody else's",
            )
            .into());
        }
        if let Some(code) = new.invite {
            let mut invite = self.invite(reader, code)?.ok_or(BAD_INVITE)?;
            invite.uses_left -= 1;
            let write = if invite.uses_left == 0 {
                Write::InviteGone(code)
            } else {
                Write::Invite(Box::new(invite.clone()))
            };
            self.write(write);
            let step = self.current_step();
            self.invites.insert(code, invite, step);
        }
        let account = Account {
            local: new.local.clone(),
            user_id: new.user_id,
            display_name: new.display_name,
            password: new.password,
            created_at: self.now_ms,
            state: AccountState::Active,
            ids_ahead_ms: 0,
            groups_from: GroupsFrom::default(),
            seen_by: SeenBy::default(),
            read_receipts: true,
            avatar: None,
        };
        self.put_account(account.clone());
        Ok(account)
    }

    /// An invite that can still be used.
    pub fn invite(
        &mut self,
        reader: &dyn Reader,
        code: TokenHash,
    ) -> Result<Option<Invite>, Fault> {
        let invite = match self.invites.get(&code) {
            Some(invite) => Some(invite.clone()),
            None => reader.invite(code)?,
        };
        let now_ms = self.now_ms;
        Ok(invite.filter(|i| i.uses_left > 0 && i.expires_at.is_none_or(|at| at > now_ms)))
    }

    /// Makes an invite.
    pub fn add_invite(&mut self, now_ms: u64, invite: Invite) {
        self.at(now_ms);
        let step = self.current_step();
        self.invites.insert(invite.code, invite.clone(), step);
        self.write(Write::Invite(Box::new(invite)));
        self.hurry();
    }

    /// Revokes an invite; false where there is none.
    pub fn revoke_invite(&mut self, reader: &dyn Reader, code: TokenHash) -> Result<bool, Fault> {
        let Some(mut invite) = self.invite(reader, code)? else { return Ok(false) };
        invite.uses_left = 0;
        let step = self.current_step();
        self.invites.insert(code, invite, step);
        self.write(Write::InviteGone(code));
        self.hurry();
        Ok(true)
    }

    /// Changes an account in place; its devices are the caller's business.
    pub fn change_account(
        &mut self,
        reader: &dyn Reader,
        local: &Local,
        change: impl FnOnce(&mut Account),
    ) -> Result<Account, Failure> {
        let mut account = self.account(reader, local)?.cloned().ok_or(NO_USER)?;
        if account.state == AccountState::Deleted {
            return Err(NO_USER.into());
        }
        change(&mut account);
        self.put_account(account.clone());
        Ok(account)
    }

    /// Changes what a user says of himself. A repeated `op` changes nothing. Answers the account as it is then.
    pub fn update_profile(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        change: ProfileChange,
        op: Option<OpId>,
    ) -> Result<Account, Failure> {
        self.at(now_ms);
        let account = self.account(reader, user)?.cloned();
        let mut account = account.filter(|a| a.state == AccountState::Active).ok_or(DISABLED)?;
        if self.is_repeated(reader, user, op)? {
            self.hurry();
            return Ok(account);
        }
        let before = account.clone();
        if let Some(name) = change.display_name {
            account.display_name = name;
        }
        if let Some(from) = change.groups_from {
            account.groups_from = from;
        }
        if let Some(seen_by) = change.seen_by {
            account.seen_by = seen_by;
        }
        if let Some(shown) = change.read_receipts {
            account.read_receipts = shown;
        }
        if let Some(avatar) = change.avatar {
            if let Some(id) = avatar {
                self.avatar_file(reader, user, id)?;
            }
            account.avatar = avatar;
        }
        if account != before {
            self.move_avatar(before.avatar, account.avatar);
            self.put_account(account.clone());
        }
        self.note_own_op(user, op);
        self.hurry();
        Ok(account)
    }

    /// Whether a user of this home lets others see what it has read, and sees what they have.
    pub fn shows_reads(&mut self, reader: &dyn Reader, local: &Local) -> Result<bool, Fault> {
        Ok(self.account(reader, local)?.is_none_or(|account| account.read_receipts))
    }

    /// Who may add a user of this home to groups without asking; contacts where there is no such user.
    pub fn groups_from(&mut self, reader: &dyn Reader, local: &Local) -> Result<GroupsFrom, Fault> {
        Ok(self.account(reader, local)?.map_or(GroupsFrom::default(), |a| a.groups_from))
    }

    /// Deletes an account for good: its name is never given again, its devices are signed out, its contacts and
    /// blocks are gone. What it has written stays with those it was written to. Answers the account as it is then,
    /// and the devices whose sockets are to be closed once the step is committed.
    pub fn delete_account(
        &mut self,
        reader: &dyn Reader,
        local: &Local,
    ) -> Result<(Account, Vec<Device>), Failure> {
        let avatar = self.account(reader, local)?.and_then(|account| account.avatar);
        let account = self.change_account(reader, local, |account| {
            account.state = AccountState::Deleted;
            account.avatar = None;
            account.password.clear();
            account.display_name.clear();
            account.groups_from = GroupsFrom::default();
            account.seen_by = SeenBy::default();
            account.read_receipts = true;
        })?;
        self.move_avatar(avatar, None);
        let devices = self.devices(reader, local)?;
        for device in &devices {
            self.remove_device(device);
        }
        self.clear_lists(reader, local)?;
        self.clear_own_views(reader, local)?;
        self.set_seen(local, None);
        Ok((account, devices))
    }

    /// When a user of this home was last seen, in Unix milliseconds, as far as that was noted.
    pub fn last_seen(&mut self, reader: &dyn Reader, user: &Local) -> Result<Option<u64>, Fault> {
        if let Some(at) = self.seen.get(user) {
            return Ok(*at);
        }
        let at = reader.last_seen(user)?;
        self.seen.make_room(self.committed, |_| false);
        self.seen.insert(user.clone(), at, 0);
        Ok(at)
    }

    /// Notes when a user of this home was last seen. Nobody waits for it: it goes to disk with the next step.
    pub fn note_seen(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        at_ms: u64,
    ) -> Result<(), Fault> {
        // A device may say good-bye behind its account.
        if self.takes_messages(reader, user)? {
            self.set_seen(user, Some(at_ms));
        }
        Ok(())
    }

    fn set_seen(&mut self, user: &Local, at: Option<u64>) {
        let step = self.current_step();
        self.seen.insert(user.clone(), at, step);
        self.write(Write::Seen { user: user.clone(), at });
    }

    /// Whether the user has done this `op` before, and it was a change of the user's own.
    pub(crate) fn is_repeated(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        op: Option<OpId>,
    ) -> Result<bool, Failure> {
        let Some(op) = op else { return Ok(false) };
        match self.op_done(reader, user, op)?.map(|done| done.what) {
            None => Ok(false),
            Some(OpWhat::Own) => Ok(true),
            Some(OpWhat::Sent { .. }) => Err(OP_REUSED.into()),
        }
    }

    /// Remembers the `op` of a change of the user's own, where it has one.
    pub(crate) fn note_own_op(&mut self, user: &Local, op: Option<OpId>) {
        if let Some(op) = op {
            self.note_op(user, op, OpWhat::Own);
        }
    }

    /// What an `op` has done, uncommitted ones included.
    pub(crate) fn op_done(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        op: OpId,
    ) -> Result<Option<OpDone>, Fault> {
        match self.ops.get(&(user.clone(), op)) {
            Some(done) => Ok(Some(done.clone())),
            None => reader.op(user, op),
        }
    }

    /// Remembers an `op`, so that a repeat is known.
    pub(crate) fn note_op(&mut self, user: &Local, op: OpId, what: OpWhat) {
        let done = OpDone { at: self.now_ms, what };
        let step = self.current_step();
        self.ops.insert((user.clone(), op), done.clone(), step);
        self.write(Write::Op { user: user.clone(), op, done });
    }

    /// Another home is connected. If it has still to be asked what it holds, it is asked on this connection, however often
    /// it was asked in vain before.
    pub fn meets(&mut self, peer: PeerState) {
        let home = peer.home;
        self.put_peer(peer);
        if self.peers.get(&home).is_some_and(|peer| peer.reconcile) {
            self.reconciling.insert(home);
        }
    }

    /// Notes what is known of another home.
    pub fn put_peer(&mut self, mut peer: PeerState) {
        // Letters may wait for a home that was never met. Their numbers do not come again.
        let waiting = self.letters.get(&peer.home).and_then(|letters| letters.keys().next_back());
        peer.letters = peer.letters.max(waiting.copied().unwrap_or(0));
        let was_due = self.peers.get(&peer.home).is_some_and(|known| known.reconcile);
        if !peer.reconcile {
            self.reconciling.remove(&peer.home);
        } else if !was_due {
            self.reconciling.insert(peer.home);
        }
        self.peers.insert(peer.home, peer.clone());
        self.write(Write::Peer(Box::new(peer)));
    }

    /// What is known of another home, uncommitted news included.
    pub fn peer(&self, home: &HomeId) -> Option<&PeerState> {
        self.peers.get(home)
    }

    /// Whether a home has still to be asked what it holds of the channels that both share.
    pub fn is_reconciling(&self, home: &HomeId) -> bool {
        self.reconciling.contains(home)
    }

    /// A home has been asked what it holds, and what it could show was fetched: what is owed to it is pushed
    /// again. `incomplete`: chains of which it holds more than it could show, or this home did not take. Then it
    /// is asked once more at its next connection (see [`Reconciled`]).
    pub fn reconciled(
        &mut self,
        reader: &dyn Reader,
        home: HomeId,
        incomplete: u64,
    ) -> Result<Reconciled, Fault> {
        let due = self.peers.get(&home).filter(|peer| peer.reconcile).cloned();
        let tries = self.asked_in_vain.get(&home).map_or(1, |tries| tries + 1);
        let outcome = match incomplete {
            0 => Reconciled::Whole,
            _ if due.is_some() && tries < RECONCILE_TRIES => Reconciled::AskAgain,
            _ => Reconciled::GivenUp,
        };
        if outcome == Reconciled::AskAgain {
            self.asked_in_vain.insert(home, tries);
        } else {
            self.asked_in_vain.remove(&home);
            if let Some(peer) = due {
                self.put_peer(PeerState { reconcile: false, ..peer });
            }
        }
        // Pushed to all the same: the other channels must not wait for one that is stuck.
        self.reconciling.remove(&home);
        if self.pulling.contains_key(&home) {
            // It was told to ask, and does. Told again at the end of each repair, two homes that cannot take what they
            // owe each other would ask each other without end.
            self.push_owed(reader, home)?;
        } else {
            self.go_on(reader, home)?;
        }
        Ok(outcome)
    }

    /// An account that is named in what comes back after a restore, and was made after the backup: the name
    /// is kept for its owner, shut until the operator sets a password.
    pub fn hold_name(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        local: &Local,
        user_id: UserId,
    ) -> Result<bool, Fault> {
        self.at(now_ms);
        if self.account(reader, local)?.is_some() {
            return Ok(false);
        }
        self.put_account(Account {
            local: local.clone(),
            user_id,
            display_name: local.to_string(),
            password: String::new(),
            created_at: self.now_ms,
            state: AccountState::Disabled,
            ids_ahead_ms: 0,
            groups_from: GroupsFrom::default(),
            seen_by: SeenBy::default(),
            read_receipts: true,
            avatar: None,
        });
        Ok(true)
    }

    /// The same, with an id that every home would give the name.
    pub(crate) fn hold_lost_name(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        local: &Local,
    ) -> Result<bool, Fault> {
        let name = [&self.id.0[..], local.as_str().as_bytes()].concat();
        let id = UserId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &name));
        self.hold_name(reader, now_ms, local, id)
    }

    /// Forgets `op`s that are too old to be repeated.
    pub fn forget_ops(&mut self, ops: Vec<(Local, OpId)>) {
        for (user, op) in ops {
            self.write(Write::OpGone { user, op });
        }
    }

    fn put_account(&mut self, account: Account) {
        self.index_account(&account);
        let step = self.current_step();
        self.accounts.insert(account.local.clone(), account.clone(), step);
        self.write(Write::Account(Box::new(account)));
        self.hurry();
    }
}
