//! Contacts and blocks: users' lists of other users, of this home or any other.
//!
//! What stands in a list is on disk alone; here is only what is not committed yet, and how long lists are.
//! A block is noted in the chat of the two as well ([`crate::Member::blocking`]), so that a message costs no look-up.

use std::collections::VecDeque;

use homing_wire::{ChannelId, Local, OpId, UserRef};

use crate::cache::Cache;
use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, Failure, Refusal};
use crate::state::UserList;
use crate::write::Write;

/// A wish to change a list.
#[derive(Clone, Debug)]
pub struct ListCommand {
    /// Whose list.
    pub owner: Local,
    /// Which.
    pub list: UserList,
    /// Who is added or removed. The caller has seen to it that this home knows the other home.
    pub other: UserRef,
    /// What is done.
    pub change: ListChange,
    /// The client's name for the change.
    pub op: Option<OpId>,
}

/// What is done to a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListChange {
    /// Somebody is added; twice is once.
    Add,
    /// Somebody is removed; whoever is not in it may be removed all the same.
    Remove,
}

/// Lists whose length is in memory: it is asked for when somebody is added.
const COUNTS_CACHED: usize = 1_000;

/// What is known of lists beyond what is committed.
pub(crate) struct ListsOfUsers {
    /// Uncommitted changes with their steps, in order.
    pending: VecDeque<(u64, UserList, Local, UserRef, bool)>,
    counts: Cache<(UserList, Local), usize>,
}

impl Default for ListsOfUsers {
    fn default() -> Self {
        Self { pending: VecDeque::new(), counts: Cache::new(COUNTS_CACHED) }
    }
}

impl ListsOfUsers {
    /// All steps up to that one are on disk.
    pub(crate) fn committed(&mut self, step: u64) {
        while self.pending.front().is_some_and(|(of, ..)| *of <= step) {
            self.pending.pop_front();
        }
        self.counts.shrink(step, |_| false);
    }
}

const ONESELF: Refusal =
    Refusal::new(Class::Invalid, "oneself", "this list is for others, not for yourself");

impl Home {
    /// Whether `other` is a contact of `owner`, a user of this home; uncommitted changes included.
    pub fn is_contact(
        &self,
        reader: &dyn Reader,
        owner: &Local,
        other: &UserRef,
    ) -> Result<bool, Fault> {
        self.is_listed(reader, UserList::Contacts, owner, other)
    }

    /// Whether `owner`, a user of this home, has blocked `other`; uncommitted changes included.
    pub fn has_blocked(
        &self,
        reader: &dyn Reader,
        owner: &Local,
        other: &UserRef,
    ) -> Result<bool, Fault> {
        self.is_listed(reader, UserList::Blocks, owner, other)
    }

    /// Changes a list. What changes nothing succeeds all the same; a repeated `op` changes nothing. Refused are
    /// oneself (`oneself`), users of this home who are not there (`user_not_found`), and more than
    /// [`crate::Policy::contacts`] or [`crate::Policy::blocks`] (`too_many_contacts`, `too_many_blocks`).
    pub fn change_list(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        command: &ListCommand,
    ) -> Result<(), Failure> {
        self.at(now_ms);
        // Even where nothing is new, what made it so may still be on its way to disk.
        self.hurry();
        let ListCommand { owner, list, other, change, op } = command;
        if self.is_repeated(reader, owner, *op)? {
            return Ok(());
        }
        if self.user(owner) == *other {
            return Err(ONESELF.into());
        }
        let listed = self.is_listed(reader, *list, owner, other)?;
        let add = *change == ListChange::Add;
        if add && !listed {
            self.check_local(reader, other)?;
            self.check_room(reader, *list, owner)?;
        }
        if add != listed {
            self.set_listed(reader, *list, owner, other, add)?;
            if *list == UserList::Blocks {
                self.block_in_chat(reader, owner, other, add)?;
            }
        }
        self.note_own_op(owner, *op);
        Ok(())
    }

    /// Removes everybody from both lists of a user who is deleted. The copies in chats stay: nobody looks there
    /// any more, and nothing is written to the user.
    pub(crate) fn clear_lists(&mut self, reader: &dyn Reader, owner: &Local) -> Result<(), Fault> {
        for list in [UserList::Contacts, UserList::Blocks] {
            let rows = reader.listed(list, owner, None, usize::MAX)?;
            let mut all: Vec<UserRef> = rows.into_iter().map(|(other, _)| other).collect();
            let new = self.lists_of_users.pending.iter();
            all.extend(
                new.filter(|(_, of, whose, _, there)| *of == list && whose == owner && *there)
                    .map(|(.., other, _)| other.clone()),
            );
            for other in all {
                if self.is_listed(reader, list, owner, &other)? {
                    self.set_listed(reader, list, owner, &other, false)?;
                }
            }
        }
        Ok(())
    }

    fn is_listed(
        &self,
        reader: &dyn Reader,
        list: UserList,
        owner: &Local,
        other: &UserRef,
    ) -> Result<bool, Fault> {
        let news = self.lists_of_users.pending.iter().rev();
        let mut news =
            news.filter(|(_, of, whose, who, _)| *of == list && whose == owner && who == other);
        match news.next() {
            Some((.., there)) => Ok(*there),
            None => reader.is_listed(list, owner, other),
        }
    }

    fn check_room(
        &mut self,
        reader: &dyn Reader,
        list: UserList,
        owner: &Local,
    ) -> Result<(), Failure> {
        let (most, reason, message) = match list {
            UserList::Contacts => {
                (self.policy.contacts, "too_many_contacts", "you have as many contacts as can be")
            }
            UserList::Blocks => {
                (self.policy.blocks, "too_many_blocks", "you have blocked as many as can be")
            }
        };
        if self.count(reader, list, owner)? < most {
            return Ok(());
        }
        Err(Refusal::new(Class::Limit, reason, message).with_limit(most as u64).into())
    }

    /// How many stand in a list.
    fn count(
        &mut self,
        reader: &dyn Reader,
        list: UserList,
        owner: &Local,
    ) -> Result<usize, Fault> {
        let key = (list, owner.clone());
        if let Some(count) = self.lists_of_users.counts.get(&key) {
            return Ok(*count);
        }
        // Whatever is not committed of a list has its count in memory (`set_listed`).
        let count = reader.listed(list, owner, None, usize::MAX)?.len();
        self.lists_of_users.counts.make_room(self.committed, |_| false);
        self.lists_of_users.counts.insert(key, count, 0);
        Ok(count)
    }

    fn set_listed(
        &mut self,
        reader: &dyn Reader,
        list: UserList,
        owner: &Local,
        other: &UserRef,
        there: bool,
    ) -> Result<(), Fault> {
        let before = self.count(reader, list, owner)?;
        let count = if there { before + 1 } else { before.saturating_sub(1) };
        let step = self.current_step();
        self.lists_of_users.counts.insert((list, owner.clone()), count, step);
        let change = (step, list, owner.clone(), other.clone(), there);
        self.lists_of_users.pending.push_back(change);
        let since = there.then_some(self.now_ms);
        let (owner, other) = (owner.clone(), other.clone());
        self.write(Write::Listed { list, owner, other, since });
        Ok(())
    }

    /// Notes a block in the chat of the two, where there is one. To the owner the chat looks different: what was
    /// unread is not, or is again.
    fn block_in_chat(
        &mut self,
        reader: &dyn Reader,
        owner: &Local,
        other: &UserRef,
        blocking: bool,
    ) -> Result<(), Fault> {
        let me = self.user(owner);
        let id = ChannelId::chat(&me, other);
        if self.channel(reader, id)?.is_none() {
            return Ok(());
        }
        if let Some(member) = self.state_mut(id).and_then(|s| s.member_mut(&me)) {
            member.blocking = blocking;
            let listed = member.is_listed();
            self.note_unanswered(id, &me);
            if listed {
                self.looks_different(id, me);
            }
        }
        Ok(())
    }
}
