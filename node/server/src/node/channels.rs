//! A user's channels: lists of them, and how the user sees them.

use std::cmp::Reverse;

use homing_core::{ListRow, ViewChange};
use homing_link::{
    Answer, ChannelKind, ChannelState, ChannelView, ChannelsPage, OwnViewChange, SyncPoint,
};
use homing_wire::{ChannelId, Local, OpId};

use super::calls::{Outcome, Stop, bad_cursor, no_channel};
use super::hub::Hub;

/// Channels on one page of `session.open`.
const OPEN_PAGE: usize = 100;

/// A page of channels that have changed.
pub(super) struct ChangedPage {
    pub(super) channels: Vec<ChannelView>,
    /// There are more, above this change number.
    pub(super) upto: Option<u64>,
}

impl Hub {
    /// The channels of a user that have changed since, by their change numbers.
    pub(super) fn channels_changed(
        &mut self,
        user: &Local,
        since: u64,
    ) -> Result<ChangedPage, Stop> {
        let store = self.store.clone();
        let mut rows = self.home.listing(&*store, user)?;
        rows.retain(|row| row.changed > since);
        rows.sort_unstable_by_key(|row| row.changed);
        let (channels, last) = self.page_of(user, &rows, OPEN_PAGE, |_| true)?;
        Ok(ChangedPage { channels, upto: last.map(|row| row.changed) })
    }

    /// All channels of a user, or the archived ones alone, or the others; the latest first.
    pub(super) fn channels_list(
        &mut self,
        user: &Local,
        cursor: Option<&str>,
        limit: u32,
        archived: Option<bool>,
    ) -> Result<Outcome, Stop> {
        let store = self.store.clone();
        let mut rows = self.home.listing(&*store, user)?;
        // The id decides between equals, so that a cursor names one place.
        let place = |row: &ListRow| (Reverse(row.active_at), row.channel);
        rows.sort_unstable_by_key(place);
        if let Some(text) = cursor {
            let (at, id) = parse_cursor(text).ok_or_else(bad_cursor)?;
            rows.retain(|row| place(row) > (Reverse(at), id));
        }
        if let Some(wanted) = archived {
            let mut kept = Vec::with_capacity(rows.len());
            for row in rows {
                if self.home.own_view(&*store, user, row.channel)?.archived == wanted {
                    kept.push(row);
                }
            }
            rows = kept;
        }
        let most = limit.clamp(1, 100) as usize;
        let (channels, last) = self.page_of(user, &rows, most, |view| !is_declined(view))?;
        let cursor = last.map(|row| format!("{:x}.{}", row.active_at, row.channel));
        let sync = SyncPoint { life: self.home.epoch().0, change: self.home.change() };
        Ok(Outcome::Answer(Answer::Channels(ChannelsPage { channels, cursor, sync })))
    }

    /// As many of the rows as a page holds; the last one looked at, where there are more.
    fn page_of(
        &mut self,
        user: &Local,
        rows: &[ListRow],
        most: usize,
        shown: fn(&ChannelView) -> bool,
    ) -> Result<(Vec<ChannelView>, Option<ListRow>), Stop> {
        let store = self.store.clone();
        let (mut channels, mut bytes) = (Vec::new(), 0);
        let mut last = None;
        for (n, row) in rows.iter().enumerate() {
            if n == most {
                return Ok((channels, last));
            }
            let view =
                self.shower.channel(&mut self.home, &*store, user, row.channel)?.filter(shown);
            bytes += view.as_ref().map_or(0, ChannelView::weight_bytes);
            // An answer has to fit a frame. One channel does.
            if bytes > self.limits.page_bytes && n > 0 {
                return Ok((channels, last));
            }
            channels.extend(view);
            last = Some(*row);
        }
        Ok((channels, None))
    }

    pub(super) fn update_view(
        &mut self,
        user: &Local,
        channel: ChannelId,
        change: OwnViewChange,
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        let OwnViewChange { muted_until, archived, pinned, draft, marked_unread } = change;
        let change = ViewChange { muted_until, archived, pinned, draft, marked_unread };
        let (now, store) = (self.now_ms(), self.store.clone());
        self.home.update_view(&*store, now, user, channel, &change, op)?;
        self.channel_view(user, channel)
    }

    /// A channel as the user sees it. One that was declined is none.
    pub(super) fn channel_view(
        &mut self,
        user: &Local,
        channel: ChannelId,
    ) -> Result<Outcome, Stop> {
        let store = self.store.clone();
        let view = self.shower.channel(&mut self.home, &*store, user, channel)?;
        let view = view.filter(|view| !is_declined(view)).ok_or_else(no_channel)?;
        Ok(Outcome::Answer(Answer::Channel(Box::new(view))))
    }
}

fn is_declined(view: &ChannelView) -> bool {
    view.kind == ChannelKind::Chat && view.state == ChannelState::Left
}

fn parse_cursor(text: &str) -> Option<(u64, ChannelId)> {
    let (at, id) = text.split_once('.')?;
    Some((u64::from_str_radix(at, 16).ok()?, id.parse().ok()?))
}
