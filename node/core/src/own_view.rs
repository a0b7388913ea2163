//! A user's own view of a channel: muted, archived, pinned, marked as unread, and what is being written there.
//!
//! It is in rows of its own, by user and channel, and not in the channel's state: nothing of it is written with a
//! message. Texts that are being written are apart from the rest, for a list of channels asks for everybody's flags.

use std::collections::BTreeMap;
use std::sync::Arc;

use homing_wire::{ChannelId, Local, OpId, Pos, UserRef};
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, DISABLED, Failure, NO_CHANNEL, Refusal};
use crate::write::Write;

/// How a user of this home sees a channel for himself. Of most channels nothing is kept: that is the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OwnView {
    /// Nothing of it shall be heard up to then, in Unix milliseconds. A time that has passed is none.
    pub muted_until: Option<u64>,
    /// Out of sight. It stays so when something is written, until the user takes it back.
    pub archived: bool,
    /// Shown before the others.
    pub pinned: bool,
    /// Shown as unread, whatever is read: until the user reads up to the end, or writes.
    pub marked_unread: bool,
    /// There is a draft ([`Reader::draft`]).
    pub drafted: bool,
}

/// What a user changes of the own view; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ViewChange {
    /// Muted up to then, in Unix milliseconds; `Some(None)`: no longer.
    pub muted_until: Option<Option<u64>>,
    /// Archived, or no longer.
    pub archived: Option<bool>,
    /// Pinned, or no longer.
    pub pinned: Option<bool>,
    /// What is being written; an empty text is none.
    pub draft: Option<String>,
    /// Marked as unread, or no longer.
    pub marked_unread: Option<bool>,
}

/// Drafts in memory beyond the uncommitted, of 16 KiB each: those of channels that are looked at right now.
const DRAFTS_CACHED: usize = 256;

/// What is in memory of own views.
pub(crate) struct OwnViews {
    /// All of a user's that are not the default.
    views: Cache<Local, BTreeMap<ChannelId, OwnView>>,
    drafts: Cache<(Local, ChannelId), Arc<str>>,
}

impl OwnViews {
    /// Those of so many users.
    pub(crate) fn new(users: usize) -> Self {
        Self { views: Cache::new(users), drafts: Cache::new(DRAFTS_CACHED) }
    }

    /// All steps up to that one are on disk.
    pub(crate) fn committed(&mut self, step: u64) {
        self.views.shrink(step, |_| false);
        self.drafts.shrink(step, |_| false);
    }
}

impl Home {
    /// How a user of this home sees a channel for himself, uncommitted changes included.
    pub fn own_view(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        channel: ChannelId,
    ) -> Result<OwnView, Fault> {
        Ok(self.own_views_of(reader, user)?.get(&channel).copied().unwrap_or_default())
    }

    /// What a user of this home is writing in a channel, uncommitted changes included.
    pub fn draft(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        channel: ChannelId,
    ) -> Result<Option<Arc<str>>, Fault> {
        if !self.own_view(reader, user, channel)?.drafted {
            return Ok(None);
        }
        let key = (user.clone(), channel);
        if let Some(draft) = self.own_views.drafts.get(&key) {
            return Ok(Some(draft.clone()));
        }
        let Some(draft) = reader.draft(user, channel)? else { return Ok(None) };
        let draft: Arc<str> = draft.into();
        self.own_views.drafts.make_room(self.committed, |_| false);
        self.own_views.drafts.insert(key, draft.clone(), 0);
        Ok(Some(draft))
    }

    /// Changes a user's own view of a channel that the user is, or was, in. What changes nothing succeeds all the same; a
    /// repeated `op` changes nothing. Refused are a time that has passed (`muted_until_past`), a draft over
    /// [`crate::Policy::draft_bytes`] (`draft_too_long`), and more pins than [`crate::Policy::pinned`] (`too_many_pinned`).
    pub fn update_view(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        channel: ChannelId,
        change: &ViewChange,
        op: Option<OpId>,
    ) -> Result<(), Failure> {
        self.at(now_ms);
        // Even where nothing is new, what is shown may still be on its way to disk.
        self.hurry();
        if !self.is_active(reader, user)? {
            return Err(DISABLED.into());
        }
        if self.is_repeated(reader, user, op)? {
            return Ok(());
        }
        let me = self.user(user);
        let state = self.channel(reader, channel)?;
        if state.and_then(|state| state.member(&me)).is_none_or(|member| !member.is_listed()) {
            return Err(NO_CHANNEL.into());
        }
        let before = self.own_view(reader, user, channel)?;
        let draft = match &change.draft {
            Some(draft) => Some((self.draft(reader, user, channel)?, draft.as_str())),
            None => None,
        };
        self.check_view(reader, user, before, change)?;
        let mut view = before;
        if let Some(until) = change.muted_until {
            view.muted_until = until;
        }
        view.archived = change.archived.unwrap_or(view.archived);
        view.pinned = change.pinned.unwrap_or(view.pinned);
        view.marked_unread = change.marked_unread.unwrap_or(view.marked_unread);
        let new_draft = draft.filter(|(old, new)| old.as_deref().unwrap_or_default() != *new);
        if let Some((_, new)) = &new_draft {
            view.drafted = !new.is_empty();
            self.put_draft(user, channel, new);
        }
        if view != before {
            self.put_view(user, channel, view);
        }
        if view != before || new_draft.is_some() {
            self.looks_different_to_oneself(reader, channel, me, true)?;
        }
        self.note_own_op(user, op);
        Ok(())
    }

    fn check_view(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        before: OwnView,
        change: &ViewChange,
    ) -> Result<(), Failure> {
        if let Some(Some(until)) = change.muted_until
            && until <= self.now_ms
        {
            let message = "muted_until is a time to come, or null";
            return Err(Refusal::new(Class::Invalid, "muted_until_past", message).into());
        }
        let most = self.policy.draft_bytes;
        if change.draft.as_ref().is_some_and(|draft| draft.len() > most) {
            let message = "this draft is too long to be kept: keep it on the device";
            let refusal = Refusal::new(Class::Limit, "draft_too_long", message);
            return Err(refusal.with_limit(most as u64).into());
        }
        let most = self.policy.pinned;
        if change.pinned == Some(true) && !before.pinned {
            let views = self.own_views_of(reader, user)?;
            if views.values().filter(|view| view.pinned).count() >= most {
                let message = "you have pinned as many channels as can be";
                let refusal = Refusal::new(Class::Limit, "too_many_pinned", message);
                return Err(refusal.with_limit(most as u64).into());
            }
        }
        Ok(())
    }

    /// A user has read up to there, or has written: where that is the end, the channel is not marked as unread any more.
    pub(crate) fn unmark_unread(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        me: &UserRef,
        read: Pos,
    ) -> Result<(), Fault> {
        let view = self.own_view(reader, &me.local, channel)?;
        if !view.marked_unread || self.state(channel).is_none_or(|state| read < state.head) {
            return Ok(());
        }
        self.put_view(&me.local, channel, OwnView { marked_unread: false, ..view });
        self.looks_different_to_oneself(reader, channel, me.clone(), false)?;
        self.hurry();
        Ok(())
    }

    /// Nothing is kept of how a user has seen a channel.
    pub(crate) fn clear_own_view(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        channel: ChannelId,
    ) -> Result<(), Fault> {
        let view = self.own_view(reader, user, channel)?;
        if view.drafted {
            self.put_draft(user, channel, "");
        }
        if view != OwnView::default() {
            self.put_view(user, channel, OwnView::default());
        }
        Ok(())
    }

    /// Nothing is kept of what a user who is deleted had seen for himself.
    pub(crate) fn clear_own_views(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
    ) -> Result<(), Fault> {
        let channels: Vec<ChannelId> = self.own_views_of(reader, user)?.keys().copied().collect();
        for channel in channels {
            self.clear_own_view(reader, user, channel)?;
        }
        Ok(())
    }

    fn own_views_of(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
    ) -> Result<&BTreeMap<ChannelId, OwnView>, Fault> {
        let own = &mut self.own_views.views;
        if own.peek(user).is_none() {
            let views = reader.own_views(user)?.into_iter().collect();
            own.make_room(self.committed, |_| false);
            own.insert(user.clone(), views, 0);
        }
        own.get(user).ok_or_else(|| Fault(format!("the views of {user} are gone")))
    }

    /// Those of the user are in memory.
    fn put_view(&mut self, user: &Local, channel: ChannelId, view: OwnView) {
        let step = self.current_step();
        let kept = (view != OwnView::default()).then_some(view);
        if let Some(views) = self.own_views.views.change(user, step) {
            match kept {
                Some(view) => views.insert(channel, view),
                None => views.remove(&channel),
            };
        }
        self.write(Write::OwnView { user: user.clone(), channel, view: kept });
    }

    fn put_draft(&mut self, user: &Local, channel: ChannelId, text: &str) {
        let step = self.current_step();
        let text: Option<Arc<str>> = (!text.is_empty()).then(|| text.into());
        let key = (user.clone(), channel);
        // Of none nobody asks: the view says so.
        self.own_views.drafts.insert(key, text.clone().unwrap_or_default(), step);
        self.write(Write::Draft { user: user.clone(), channel, text });
    }
}
