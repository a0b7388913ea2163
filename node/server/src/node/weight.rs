//! What a call makes of the home's data, and whether there is room and time for that.

use homing_link::{Call, Code, Refused};
use homing_wire::Local;

use super::bucket::Bucket;
use super::hub::Hub;

/// What a call makes of the home's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Weight {
    /// Nothing that lasts, or it has a limit of its own.
    Nothing,
    /// Rows, but none that grow with each call: this may be done on a full disk, too, for it may be what makes room.
    Changes,
    /// More of it.
    Grows,
}

impl Weight {
    pub(super) fn of(call: &Call) -> Self {
        match call {
            Call::Open { .. }
            | Call::ChannelsList { .. }
            | Call::ChannelsGet { .. }
            | Call::MessagesList { .. }
            | Call::MessagesGet { .. }
            | Call::MessagesSearch { .. }
            | Call::ReceiptsDelivered { .. }
            | Call::ReceiptsRead { .. }
            | Call::ReceiptsGet { .. }
            | Call::UsersSearch { .. }
            | Call::UsersGet { .. }
            | Call::PresenceWatch { .. }
            | Call::PresenceUnwatch { .. }
            | Call::TypingSet { .. }
            | Call::Listed { .. }
            | Call::GroupsMembers { .. }
            | Call::DevicesList
            | Call::MediaGet { .. }
            | Call::MediaUrl { .. }
            | Call::AccountPassword { .. }
            | Call::AccountDelete { .. } => Self::Nothing,
            Call::RequestsAccept { .. }
            | Call::RequestsDecline { .. }
            | Call::UsersUpdate { .. }
            | Call::GroupsRemove { .. }
            | Call::GroupsUnlink { .. }
            | Call::GroupsLeave { .. }
            | Call::DevicesRename { .. }
            | Call::DevicesRevoke { .. } => Self::Changes,
            Call::ChannelsUpdate { change, .. } => match &change.draft {
                Some(draft) if !draft.is_empty() => Self::Grows,
                Some(_) | None => Self::Changes,
            },
            Call::ListChange { add, .. } if !add => Self::Changes,
            Call::ListChange { .. }
            | Call::ChannelsOpen { .. }
            | Call::MediaCopy { .. }
            | Call::MessagesHide { .. }
            | Call::MessagesSend { .. }
            | Call::GroupsCreate { .. }
            | Call::GroupsInvite { .. }
            | Call::GroupsJoin { .. }
            | Call::GroupsJoinLink { .. }
            | Call::GroupsLink { .. }
            | Call::GroupsFork { .. }
            | Call::GroupsUpdate { .. } => Self::Grows,
        }
    }
}

impl Hub {
    /// Nothing that grows is taken while there is little room.
    pub(super) fn check_disk(&self) -> Result<(), Refused> {
        if !self.store.disk_low() {
            return Ok(());
        }
        let message = "the home's disk is nearly full: its operator must make room";
        Err(Refused::new(Code::Busy, "disk_full", message).with_retry_after_ms(10_000))
    }

    /// Whatever changes something is written and kept for a while, as a message is: it counts as one.
    pub(super) fn admit(&mut self, user: &Local, weight: Weight, now: u64) -> Result<(), Refused> {
        if weight == Weight::Grows {
            self.check_disk()?;
        }
        if weight == Weight::Nothing { Ok(()) } else { self.spend(user, now) }
    }

    /// One message of the user's share, or a change that costs as much.
    fn spend(&mut self, user: &Local, now: u64) -> Result<(), Refused> {
        let (per_s, burst) = (self.limits.sends_per_s, self.limits.sends_burst);
        let bucket = self.buckets.entry(user.clone()).or_insert_with(|| Bucket::full(burst, now));
        bucket.take(per_s, burst, now).map_err(|wait_ms| {
            Refused::new(Code::Busy, "too_fast", "you send faster than this home takes")
                .with_limit(u64::from(per_s))
                .with_retry_after_ms(wait_ms)
        })
    }
}
