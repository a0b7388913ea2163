//! A store that can be held up at a commit, as a slow disk does, or fail there, as a power cut does.

use std::sync::Arc;

use bytes::Bytes;
use homing_core::{
    Account, Batch, ChannelState, Device, EntryRow, Fault, Fold, Invite, ListRow, LogEntry,
    MediaId, MediaState, MessageKey, OpDone, OwnView, PeerState, Reader, TokenHash, UserList,
};
use homing_store::{MemoryStore, Meta, Store, StoreError, StoreStats, Tap, Tidied, Tidy};
use homing_wire::{ChannelId, DeviceId, Epoch, Hash, HomeId, Local, OpId, Pos, Seq, UserRef};
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

pub(super) struct Disk {
    inner: MemoryStore,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Default)]
struct Gate {
    shut: bool,
    waits: bool,
    fails: bool,
}

impl Disk {
    pub(super) fn new(home: HomeId, epoch: Epoch) -> Arc<Self> {
        let (gate, moved) = (Mutex::default(), Condvar::new());
        Arc::new(Self { inner: MemoryStore::new(home, epoch), gate, moved })
    }

    /// The next commit waits.
    pub(super) fn shut(&self) {
        self.gate.lock().shut = true;
    }

    /// Returns when a commit waits. Blocks.
    pub(super) fn until_it_waits(&self) {
        let mut gate = self.gate.lock();
        while !gate.waits {
            self.moved.wait(&mut gate);
        }
    }

    pub(super) fn open(&self) {
        self.gate.lock().shut = false;
        self.moved.notify_all();
    }

    /// Every commit from now on fails.
    pub(super) fn fail(&self) {
        self.gate.lock().fails = true;
    }
}

impl Store for Disk {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut gate = self.gate.lock();
        while gate.shut {
            gate.waits = true;
            self.moved.notify_all();
            self.moved.wait(&mut gate);
        }
        gate.waits = false;
        if gate.fails {
            return Err(StoreError::Closed);
        }
        drop(gate);
        self.inner.commit(batch)
    }

    fn tap(&self, tap: Arc<dyn Tap>) {
        self.inner.tap(tap);
    }

    fn untap(&self, tap: &Arc<dyn Tap>) {
        self.inner.untap(tap);
    }

    fn meta(&self) -> Meta {
        self.inner.meta()
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }

    fn disk_low(&self) -> bool {
        self.inner.disk_low()
    }

    fn tidy(&self, wish: &Tidy) -> Result<Tidied, StoreError> {
        self.inner.tidy(wish)
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

impl Reader for Disk {
    fn channel(&self, id: ChannelId) -> Result<Option<ChannelState>, Fault> {
        self.inner.channel(id)
    }
    fn account(&self, local: &Local) -> Result<Option<Account>, Fault> {
        self.inner.account(local)
    }
    fn media(&self, id: Uuid) -> Result<Option<MediaState>, Fault> {
        self.inner.media(id)
    }
    fn medias(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<MediaState>, Fault> {
        self.inner.medias(after, limit)
    }
    fn media_of_hash(&self, hash: Hash, limit: usize) -> Result<Vec<Uuid>, Fault> {
        self.inner.media_of_hash(hash, limit)
    }
    fn named(
        &self,
        media: MediaId,
        channel: Option<ChannelId>,
        limit: usize,
    ) -> Result<Vec<(ChannelId, Pos)>, Fault> {
        self.inner.named(media, channel, limit)
    }
    fn erasures(&self, limit: usize) -> Result<Vec<(ChannelId, Pos, u64)>, Fault> {
        self.inner.erasures(limit)
    }
    fn last_seen(&self, user: &Local) -> Result<Option<u64>, Fault> {
        self.inner.last_seen(user)
    }
    fn accounts(&self, after: Option<&Local>, limit: usize) -> Result<Vec<Account>, Fault> {
        self.inner.accounts(after, limit)
    }
    fn place(&self, key: MessageKey) -> Result<Option<(ChannelId, Pos)>, Fault> {
        self.inner.place(key)
    }
    fn entry(&self, channel: ChannelId, pos: Pos) -> Result<Option<LogEntry>, Fault> {
        self.inner.entry(channel, pos)
    }
    fn entries(
        &self,
        channel: ChannelId,
        first: Pos,
        last: Pos,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, Fault> {
        self.inner.entries(channel, first, last, max_bytes)
    }
    fn channels(&self, after: Option<ChannelId>, limit: usize) -> Result<Vec<ChannelState>, Fault> {
        self.inner.channels(after, limit)
    }
    fn fold(&self, channel: ChannelId, pos: Pos) -> Result<Option<Fold>, Fault> {
        self.inner.fold(channel, pos)
    }
    fn folds(&self, channel: ChannelId, first: Pos, last: Pos) -> Result<Vec<(Pos, Fold)>, Fault> {
        self.inner.folds(channel, first, last)
    }
    fn changes_of(
        &self,
        channel: ChannelId,
        message: MessageKey,
        limit: usize,
    ) -> Result<Vec<Pos>, Fault> {
        self.inner.changes_of(channel, message, limit)
    }
    fn row(&self, channel: ChannelId, pos: Pos) -> Result<Option<EntryRow>, Fault> {
        self.inner.row(channel, pos)
    }
    fn last_row_of(
        &self,
        channel: ChannelId,
        origin: HomeId,
        pos: Pos,
    ) -> Result<Option<EntryRow>, Fault> {
        self.inner.last_row_of(channel, origin, pos)
    }
    fn row_of_seq(
        &self,
        channel: ChannelId,
        origin: HomeId,
        epoch: Epoch,
        seq: Seq,
    ) -> Result<Option<EntryRow>, Fault> {
        self.inner.row_of_seq(channel, origin, epoch, seq)
    }
    fn listing(&self, user: &Local) -> Result<Vec<ListRow>, Fault> {
        self.inner.listing(user)
    }
    fn device(&self, token: TokenHash) -> Result<Option<Device>, Fault> {
        self.inner.device(token)
    }
    fn devices(&self, user: &Local) -> Result<Vec<Device>, Fault> {
        self.inner.devices(user)
    }
    fn device_by_id(&self, user: &Local, device: DeviceId) -> Result<Option<Device>, Fault> {
        self.inner.device_by_id(user, device)
    }
    fn invite(&self, code: TokenHash) -> Result<Option<Invite>, Fault> {
        self.inner.invite(code)
    }
    fn invites(&self) -> Result<Vec<Invite>, Fault> {
        self.inner.invites()
    }
    fn owed(&self) -> Result<Vec<(HomeId, ChannelId, u64)>, Fault> {
        self.inner.owed()
    }
    fn unanswered(&self) -> Result<Vec<(HomeId, Local, ChannelId)>, Fault> {
        self.inner.unanswered()
    }
    fn roster(&self, channel: ChannelId) -> Result<Option<Bytes>, Fault> {
        self.inner.roster(channel)
    }
    fn letters(&self) -> Result<Vec<(HomeId, u64, Bytes)>, Fault> {
        self.inner.letters()
    }
    fn peers(&self) -> Result<Vec<PeerState>, Fault> {
        self.inner.peers()
    }
    fn own_views(&self, user: &Local) -> Result<Vec<(ChannelId, OwnView)>, Fault> {
        self.inner.own_views(user)
    }
    fn draft(&self, user: &Local, channel: ChannelId) -> Result<Option<String>, Fault> {
        self.inner.draft(user, channel)
    }
    fn found_by(&self, beginning: &str, limit: usize) -> Result<Vec<Local>, Fault> {
        self.inner.found_by(beginning, limit)
    }
    fn has_word(&self, word: &str, user: &Local) -> Result<bool, Fault> {
        self.inner.has_word(word, user)
    }
    fn op(&self, user: &Local, op: OpId) -> Result<Option<OpDone>, Fault> {
        self.inner.op(user, op)
    }
    fn is_listed(&self, list: UserList, owner: &Local, other: &UserRef) -> Result<bool, Fault> {
        self.inner.is_listed(list, owner, other)
    }
    fn listed(
        &self,
        list: UserList,
        owner: &Local,
        after: Option<&UserRef>,
        limit: usize,
    ) -> Result<Vec<(UserRef, u64)>, Fault> {
        self.inner.listed(list, owner, after, limit)
    }
    fn ops_before(&self, before_ms: u64, limit: usize) -> Result<Vec<(Local, OpId)>, Fault> {
        self.inner.ops_before(before_ms, limit)
    }
}
