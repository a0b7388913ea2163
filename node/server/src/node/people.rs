//! What users do with their own: contacts, blocks, what they say of themselves, and the end of an account.

use homing_core::{Account, AccountState, Fault, ListChange, ListCommand, ProfileChange};
use homing_link::{
    Answer, Call, Code, GroupsFrom, Privacy, PrivacyChange, Refused, Secret, SeenBy, SessionNo,
    UserList, UserView,
};
use homing_wire::{Address, Local, OpId, UserRef};
use uuid::Uuid;

use super::calls::{Outcome, Stop, bad_cursor, no_user, unknown_home, unreachable_home};
use super::hub::{Hub, HubError, Output};
use super::input::{Checked, Input, Lookup, Pending};
use super::read::ReadJob;
use crate::control::{self, Control, ControlEffect, ControlError};
use crate::password;

impl Hub {
    pub(super) fn users_update(
        &mut self,
        user: &Local,
        display_name: Option<String>,
        avatar: Option<Option<Uuid>>,
        privacy: PrivacyChange,
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        if let Some(name) = &display_name {
            control::check_display_name(name).map_err(|error| {
                Refused::new(Code::InvalidParams, "invalid_display_name", error.to_string())
                    .with_limit(control::DISPLAY_NAME_CHARS as u64)
            })?;
        }
        let groups_from = privacy.groups.map(|groups| match groups {
            GroupsFrom::Everyone => homing_core::GroupsFrom::Everyone,
            GroupsFrom::Contacts => homing_core::GroupsFrom::Contacts,
        });
        let seen_by = privacy.last_seen.map(|seen_by| match seen_by {
            SeenBy::Everyone => homing_core::SeenBy::Everyone,
            SeenBy::Contacts => homing_core::SeenBy::Contacts,
            SeenBy::Nobody => homing_core::SeenBy::Nobody,
        });
        let (now, store) = (self.now_ms(), self.store.clone());
        let read_receipts = privacy.read_receipts;
        let change = ProfileChange { display_name, groups_from, seen_by, read_receipts, avatar };
        let account = self.home.update_profile(&*store, now, user, change, op)?;
        if seen_by.is_some() {
            self.reconsider(user, None);
        }
        Ok(Outcome::Answer(Answer::User(self.user_view(account, true)?)))
    }

    /// A user of this home, as another one sees it.
    pub(super) fn own_user(&mut self, user: &Local, who: &UserRef) -> Result<Outcome, Stop> {
        let store = self.store.clone();
        let account = self.home.account(&*store, &who.local)?.cloned();
        let account = account.filter(|a| a.state != AccountState::Deleted).ok_or_else(no_user)?;
        let mut view = self.user_view(account, who.local == *user)?;
        let seen = self.seen_by(&self.home.user(user), who)?;
        view.presence = seen.map(|seen| self.presence_view(who, seen));
        Ok(Outcome::Answer(Answer::User(view)))
    }

    /// A user of another home, as one of this sees it.
    pub(super) fn found_user(
        &self,
        user: &Local,
        who: &UserRef,
        found: &Lookup,
    ) -> Result<Outcome, Stop> {
        match found {
            Lookup::Found { user_id, display_name, avatar, seen } => {
                // It was asked for one of those who wait.
                let seen = seen.as_ref().filter(|(asker, _)| asker == user);
                Ok(Outcome::Answer(Answer::User(UserView {
                    address: self.shower.address(who).to_string(),
                    user_id: user_id.clone(),
                    display_name: display_name.clone(),
                    avatar: avatar.as_deref().cloned(),
                    privacy: None,
                    presence: seen.map(|(_, seen)| self.presence_view(who, *seen)),
                })))
            }
            Lookup::Missing => Err(no_user().into()),
            Lookup::Away => Err(unreachable_home().into()),
        }
    }

    /// A user of this home, as the user or others see it.
    pub(super) fn user_view(&self, account: Account, own: bool) -> Result<UserView, Fault> {
        Ok(UserView {
            address: self.shower.address(&self.home.user(&account.local)).to_string(),
            user_id: account.user_id.to_string(),
            avatar: self.shower.user_avatar(&*self.store, &account)?,
            privacy: own.then(|| privacy(&account)),
            display_name: account.display_name,
            presence: None,
        })
    }

    pub(super) fn listed(
        &self,
        user: &Local,
        list: UserList,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Outcome, Stop> {
        let after = match cursor {
            None => None,
            Some(text) => Some(text.parse::<UserRef>().map_err(|_| bad_cursor())?),
        };
        let (owner, list) = (user.clone(), list_of(list));
        Ok(Outcome::Read(ReadJob::Users { list, owner, after, limit }))
    }

    pub(super) fn change_list(
        &mut self,
        user: &Local,
        list: UserList,
        other: &Address,
        add: bool,
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        let other = self.resolve(other)?;
        // A home that nobody vouches for and that never came has no users to be noted. What was noted of a home
        // that is known no longer can be removed.
        if add && self.directory.name(&other.home).is_none() && !self.has_met(&other)? {
            return Err(unknown_home().into());
        }
        let change = if add { ListChange::Add } else { ListChange::Remove };
        let (now, store) = (self.now_ms(), self.store.clone());
        let command = ListCommand { owner: user.clone(), list: list_of(list), other, change, op };
        self.home.change_list(&*store, now, &command)?;
        self.reconsider(user, Some(&command.other));
        Ok(Outcome::Answer(Answer::Done))
    }

    /// Has the old password checked and the new one hashed; the call comes back with what came of it.
    pub(super) fn ask_for_password(
        &mut self,
        session: SessionNo,
        number: u64,
        user: &Local,
        old: Secret,
        new: Secret,
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        let store = self.store.clone();
        // By then the old one is another.
        if self.home.has_done(&*store, user, op)? {
            return Ok(Outcome::Answer(Answer::Done));
        }
        password::check(&new.0).map_err(|error| {
            Refused::new(Code::InvalidParams, error.reason(), error.to_string())
        })?;
        let call = Call::AccountPassword { old: Secret::default(), new: Secret::default(), op };
        self.check_password(session, number, user, call, old, Some(new))
    }

    /// Has the password of an account checked that a call asks for, and a new one hashed; the call comes back with what came
    /// of it. Where it waits, it is without its passwords.
    pub(super) fn check_password(
        &mut self,
        session: SessionNo,
        number: u64,
        user: &Local,
        call: Call,
        Secret(given): Secret,
        new: Option<Secret>,
    ) -> Result<Outcome, Stop> {
        let Some(from) = self.sessions.get(&session).map(|entry| entry.client.from) else {
            return Ok(Outcome::Waits);
        };
        self.passwords.check_failures(user.as_str(), from)?;
        let store = self.store.clone();
        let account = self.home.account(&*store, user)?.ok_or_else(bad_credentials)?;
        let against = account.password.clone();
        let (passwords, input) = (self.passwords.clone(), self.input.clone());
        let pending = Pending { session, number, call, user: Some(user.clone()) };
        self.runtime.spawn(async move {
            let work = move || {
                let right = password::verify(&given, Some(&against));
                // Whoever does not know the old one costs no more than that.
                let new = new.filter(|_| right).map(|Secret(new)| password::hash(&new));
                Ok(Checked { right, against, new: new.transpose()? })
            };
            let failed = |error: password::PasswordError| {
                Refused::new(Code::Internal, error.reason(), "the password could not be hashed")
            };
            let checked = passwords.run(work).await.and_then(|checked| checked.map_err(failed));
            let _hub_is_gone = input.send(Input::PasswordChecked { pending, checked }).await;
        });
        Ok(Outcome::Waits)
    }

    /// The password that a call gave was checked: what it asks for is done, and sockets are closed behind the answer.
    pub(super) fn password_checked(
        &mut self,
        pending: Pending,
        checked: Result<Checked, Refused>,
    ) -> Result<(), HubError> {
        let Pending { session, number, call, user } = pending;
        let done = self.same_user(session, user.clone()).and_then(|()| {
            let user = user.ok_or_else(bad_credentials)?;
            let checked = checked?;
            if !checked.right {
                if let Some(entry) = self.sessions.get(&session) {
                    self.passwords.note_failure(user.as_str(), entry.client.from);
                }
                return Err(bad_credentials().into());
            }
            if let Call::AccountPassword { op, .. } = call {
                let new = checked.new.ok_or_else(bad_credentials)?;
                self.change_password(session, user, (&checked.against, new), op)
            } else if matches!(call, Call::AccountDelete { .. }) {
                self.delete_account(user, &checked.against)
            } else {
                Err(bad_credentials().into()) // nothing else asks for a password
            }
        });
        let (result, effects) = match done {
            Ok(effects) => (Ok(Answer::Done), effects),
            Err(Stop::Refused(refused)) => (Err(refused), Vec::new()),
            Err(Stop::End(error)) => return Err(error),
        };
        self.outputs.push(Output::Answer { session, number, result: Box::new(result) });
        for effect in effects {
            self.control_effect(effect);
        }
        self.collect_effects(None)
    }

    fn change_password(
        &mut self,
        session: SessionNo,
        user: Local,
        passwords: (&str, String),
        op: Option<OpId>,
    ) -> Result<Vec<ControlEffect>, Stop> {
        let (_, stays) = self.signed_in(session)?;
        let (now, store) = (self.now_ms(), self.store.clone());
        let others = self.home.change_password(&*store, now, &user, passwords, stays, op)?;
        let devices = others.into_iter().map(|device| device.id).collect();
        Ok(vec![ControlEffect::SignOut { user, devices }])
    }

    /// An account goes as the operator would have deleted it.
    fn delete_account(&mut self, user: Local, checked: &str) -> Result<Vec<ControlEffect>, Stop> {
        let (now, store) = (self.now_ms(), self.store.clone());
        if self.home.account(&*store, &user)?.is_none_or(|account| account.password != checked) {
            return Err(bad_credentials().into());
        }
        let control = Control::UserDelete { user };
        match control::apply(&mut self.home, &*store, now, &self.live, control) {
            Ok(applied) => Ok(applied.effects),
            Err(ControlError::Fault(fault)) => Err(fault.into()),
            Err(error) => {
                let reason = error.reason().to_owned();
                Err(Refused::new(Code::NotFound, reason, error.to_string()).into())
            }
        }
    }
}

/// What a user lets others do, as it is shown.
pub(super) fn privacy(account: &Account) -> Privacy {
    Privacy {
        read_receipts: account.read_receipts,
        last_seen: match account.seen_by {
            homing_core::SeenBy::Everyone => SeenBy::Everyone,
            homing_core::SeenBy::Contacts => SeenBy::Contacts,
            homing_core::SeenBy::Nobody => SeenBy::Nobody,
        },
        groups: match account.groups_from {
            homing_core::GroupsFrom::Everyone => GroupsFrom::Everyone,
            homing_core::GroupsFrom::Contacts => GroupsFrom::Contacts,
        },
    }
}

fn list_of(list: UserList) -> homing_core::UserList {
    match list {
        UserList::Contacts => homing_core::UserList::Contacts,
        UserList::Blocks => homing_core::UserList::Blocks,
    }
}

fn bad_credentials() -> Refused {
    Refused::new(Code::NotAllowed, "bad_credentials", "the password is wrong")
}
