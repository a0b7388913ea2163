//! What the core may ask of what is committed.

use std::sync::Arc;

use bytes::Bytes;
use homing_wire::{ChannelId, DeviceId, Epoch, Hash, HomeId, Local, OpId, Pos, Seq, UserRef};
use uuid::Uuid;

use crate::fold::Fold;
use crate::media::{MediaId, MediaState};
use crate::own_view::OwnView;
use crate::state::{
    Account, ChannelState, Device, EntryRow, Invite, ListRow, LogEntry, MessageKey, OpDone,
    PeerState, TokenHash, UserList,
};

/// The store could not be read. Fatal: the owner stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store: {0}")]
pub struct Fault(pub String);

/// Committed state. Calls are cheap or cached where a message needs them; see the store.
pub trait Reader {
    /// A channel.
    fn channel(&self, id: ChannelId) -> Result<Option<ChannelState>, Fault>;
    /// An account, whatever its state.
    fn account(&self, local: &Local) -> Result<Option<Account>, Fault>;
    /// Accounts by name, above `after`, at most `limit`.
    fn accounts(&self, after: Option<&Local>, limit: usize) -> Result<Vec<Account>, Fault>;
    /// Where the message of that sender and id is.
    fn place(&self, key: MessageKey) -> Result<Option<(ChannelId, Pos)>, Fault>;
    /// One entry.
    fn entry(&self, channel: ChannelId, pos: Pos) -> Result<Option<LogEntry>, Fault>;
    /// Entries `first..=last`, ascending, ending early before `max_bytes` of events are exceeded
    /// (but at least one entry where there is one).
    fn entries(
        &self,
        channel: ChannelId,
        first: Pos,
        last: Pos,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, Fault>;
    /// The same, sharing entries where the store has them in memory.
    fn log(
        &self,
        channel: ChannelId,
        first: Pos,
        last: Pos,
        max_bytes: usize,
    ) -> Result<Vec<Arc<LogEntry>>, Fault> {
        Ok(self.entries(channel, first, last, max_bytes)?.into_iter().map(Arc::new).collect())
    }
    /// Channels by rising id, above `after`, at most `limit`.
    fn channels(&self, after: Option<ChannelId>, limit: usize) -> Result<Vec<ChannelState>, Fault>;
    /// What later events make of the message at a place.
    fn fold(&self, channel: ChannelId, pos: Pos) -> Result<Option<Fold>, Fault>;
    /// The same of all messages from one place to another, ascending; those of which nothing came are left out.
    fn folds(&self, channel: ChannelId, first: Pos, last: Pos) -> Result<Vec<(Pos, Fold)>, Fault>;
    /// Where in a channel the entries are that change that message ([`LogEntry::changes`]), ascending, at most `limit`.
    fn changes_of(
        &self,
        channel: ChannelId,
        message: MessageKey,
        limit: usize,
    ) -> Result<Vec<Pos>, Fault>;
    /// What the index holds of one entry.
    fn row(&self, channel: ChannelId, pos: Pos) -> Result<Option<EntryRow>, Fault>;
    /// The last entry of `origin` (any epoch) at or below `pos`.
    fn last_row_of(
        &self,
        channel: ChannelId,
        origin: HomeId,
        pos: Pos,
    ) -> Result<Option<EntryRow>, Fault>;
    /// The entry of `origin` and `epoch` with the least seq at or above `seq`.
    fn row_of_seq(
        &self,
        channel: ChannelId,
        origin: HomeId,
        epoch: Epoch,
        seq: Seq,
    ) -> Result<Option<EntryRow>, Fault>;
    /// A user's list of channels, in no order.
    fn listing(&self, user: &Local) -> Result<Vec<ListRow>, Fault>;
    /// The device of a token.
    fn device(&self, token: TokenHash) -> Result<Option<Device>, Fault>;
    /// A user's devices.
    fn devices(&self, user: &Local) -> Result<Vec<Device>, Fault>;
    /// A device by its id.
    fn device_by_id(&self, user: &Local, device: DeviceId) -> Result<Option<Device>, Fault>;
    /// An invite.
    fn invite(&self, code: TokenHash) -> Result<Option<Invite>, Fault>;
    /// All invites.
    fn invites(&self) -> Result<Vec<Invite>, Fault>;
    /// Everything that is owed: (peer, channel, since in Unix milliseconds).
    fn owed(&self) -> Result<Vec<(HomeId, ChannelId, u64)>, Fault>;
    /// All that other homes have asked users and that is not answered: (the other home, user, channel).
    fn unanswered(&self) -> Result<Vec<(HomeId, Local, ChannelId)>, Fault>;
    /// A group's newest roster, signed.
    fn roster(&self, channel: ChannelId) -> Result<Option<Bytes>, Fault>;
    /// All letters that wait: (peer, number, letter).
    fn letters(&self) -> Result<Vec<(HomeId, u64, Bytes)>, Fault>;
    /// All homes ever met.
    fn peers(&self) -> Result<Vec<PeerState>, Fault>;
    /// Whether `other` stands in that list of a user.
    fn is_listed(&self, list: UserList, owner: &Local, other: &UserRef) -> Result<bool, Fault>;
    /// Who stands in that list of a user, and since when (Unix milliseconds): by home id and name, above
    /// `after`, at most `limit`.
    fn listed(
        &self,
        list: UserList,
        owner: &Local,
        after: Option<&UserRef>,
        limit: usize,
    ) -> Result<Vec<(UserRef, u64)>, Fault>;
    /// How a user sees channels for himself, where not like everybody.
    fn own_views(&self, user: &Local) -> Result<Vec<(ChannelId, OwnView)>, Fault>;
    /// What a user is writing in a channel.
    fn draft(&self, user: &Local, channel: ChannelId) -> Result<Option<String>, Fault>;
    /// Accounts that are found by words that begin like this, at most `limit`, by word and name: one may come more than once.
    fn found_by(&self, beginning: &str, limit: usize) -> Result<Vec<Local>, Fault>;
    /// Whether an account is found by a word.
    fn has_word(&self, word: &str, user: &Local) -> Result<bool, Fault>;
    /// When a user was last seen, in Unix milliseconds, as far as it was stored.
    fn last_seen(&self, user: &Local) -> Result<Option<u64>, Fault>;
    /// A file of this home.
    fn media(&self, id: Uuid) -> Result<Option<MediaState>, Fault>;
    /// Files of this home by rising id, above `after`, at most `limit`.
    fn medias(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<MediaState>, Fault>;
    /// Files of this home that hold the same, at most `limit`.
    fn media_of_hash(&self, hash: Hash, limit: usize) -> Result<Vec<Uuid>, Fault>;
    /// Where a file is named, in that channel or in any, at most `limit`, by channel and place.
    fn named(
        &self,
        media: MediaId,
        channel: Option<ChannelId>,
        limit: usize,
    ) -> Result<Vec<(ChannelId, Pos)>, Fault>;
    /// Entries whose bodies are to go from the disk, and since when (Unix milliseconds), at most `limit`, by channel and
    /// place.
    fn erasures(&self, limit: usize) -> Result<Vec<(ChannelId, Pos, u64)>, Fault>;
    /// What an `op` of a user has done.
    fn op(&self, user: &Local, op: OpId) -> Result<Option<OpDone>, Fault>;
    /// `op`s done before `before_ms`, at most `limit`, so that they can be forgotten.
    fn ops_before(&self, before_ms: u64, limit: usize) -> Result<Vec<(Local, OpId)>, Fault>;
}
