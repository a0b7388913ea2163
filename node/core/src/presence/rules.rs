//! Who may see whom: by what users have set, whom they know and whom they have blocked.

use homing_wire::{ChannelId, Local, UserRef};

use super::Rules;
use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::state::{AccountState, SeenBy};

/// The rules of a home, as it is now, uncommitted changes included.
pub struct HomeRules<'a> {
    /// The home.
    pub home: &'a mut Home,
    /// What is committed.
    pub reader: &'a dyn Reader,
}

impl HomeRules<'_> {
    /// What a user lets others see; `None`: there is no such user, or the account is shut.
    fn seen_by(&mut self, user: &Local) -> Result<Option<SeenBy>, Fault> {
        let account = self.home.account(self.reader, user)?;
        let account = account.filter(|account| account.state == AccountState::Active);
        Ok(account.map(|account| account.seen_by))
    }
}

impl Rules for HomeRules<'_> {
    fn is_user(&mut self, user: &Local) -> Result<bool, Fault> {
        let account = self.home.account(self.reader, user)?;
        Ok(account.is_some_and(|account| account.state != AccountState::Deleted))
    }

    fn shows(&mut self, watched: &Local, watcher: &UserRef) -> Result<bool, Fault> {
        let me = self.home.user(watched);
        let Some(seen_by) = self.seen_by(watched)? else { return Ok(false) };
        if me == *watcher {
            return Ok(true);
        }
        let wanted = match seen_by {
            SeenBy::Nobody => return Ok(false),
            SeenBy::Contacts => self.home.is_contact(self.reader, watched, watcher)?,
            SeenBy::Everyone => true,
        };
        if !wanted || self.home.has_blocked(self.reader, watched, watcher)? {
            return Ok(false);
        }
        // Of a first contact that nobody has accepted yet, the other side learns nothing.
        let state = self.home.channel(self.reader, ChannelId::chat(&me, watcher))?;
        Ok(state.and_then(|state| state.member(&me)).is_none_or(|member| member.accepted))
    }

    fn looks(&mut self, watcher: &Local, watched: &UserRef) -> Result<bool, Fault> {
        let hides = matches!(self.seen_by(watcher)?, None | Some(SeenBy::Nobody));
        Ok(!hides && !self.home.has_blocked(self.reader, watcher, watched)?)
    }

    fn last_seen(&mut self, user: &Local) -> Result<Option<u64>, Fault> {
        self.home.last_seen(self.reader, user)
    }
}
