//! The home as a state machine: what it holds in memory, and the step being decided.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use homing_wire::limits::STAMP_FOLLOW_MS;
use homing_wire::{
    ChannelId, Epoch, HomeId, Local, OpId, Outcome, Seq, SignedRoster, Stamp, UserRef,
};

use crate::cache::Cache;
use crate::devices::DeviceNews;
use crate::fold::Folded;
use crate::ids::RecentIds;
use crate::lists::ListsOfUsers;
use crate::log::ChannelSlot;
use crate::marks::{Risen, Telling, Tellings};
use crate::own_view::OwnViews;
use crate::reader::{Fault, Reader};
use crate::state::{
    Account, AccountState, ChannelState, Invite, ListRow, LogEntry, Mark, Member, OpDone,
    PeerState, TokenHash,
};
use crate::unanswered::Unanswered;
use crate::write::{Batch, Write};

/// What a home's operator decides.
#[derive(Clone, Debug)]
pub struct Policy {
    /// A first contact from another home waits for a yes. Otherwise it is accepted at once.
    pub first_contact_request: bool,
    /// Messages of a first contact before it is accepted (DESIGN, section 15).
    pub first_contact_messages: u64,
    /// Channels held in memory: what every message needs is not read from disk.
    pub channels_cached: usize,
    /// Accounts held in memory.
    pub accounts_cached: usize,
    /// Users' lists of channels held in memory.
    pub lists_cached: usize,
    /// Bytes of events in each of two generations of remembered message ids.
    pub ids_bytes: usize,
    /// What has been owed to a peer for longer, in milliseconds, is not pushed: it asks for it.
    pub pull_after_ms: u64,
    /// Members of a group of this home, invited ones included.
    pub group_members: u64,
    /// A group whose home was not heard for so long, in milliseconds, may be gone on with by its admins.
    pub fork_after_ms: u64,
    /// Invitations into groups of one other home that one user has not answered; more are declined.
    pub invitations_of_user: usize,
    /// Of all users of this home together.
    pub invitations_of_home: usize,
    /// First contacts from users of one other home that one user has not answered; more are held back.
    pub requests_of_user: usize,
    /// Of all users of this home together.
    pub requests_of_home: usize,
    /// Contacts of one user.
    pub contacts: usize,
    /// Users whom one user has blocked.
    pub blocks: usize,
    /// Bytes of a draft.
    pub draft_bytes: usize,
    /// Channels that one user has pinned.
    pub pinned: usize,
    /// Bytes of an avatar, of a user or of a group.
    pub avatar_bytes: u64,
    /// A token that nobody has used for so long, in milliseconds, is dead.
    pub token_idle_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first_contact_request: true,
            first_contact_messages: 5,
            channels_cached: 20_000,
            accounts_cached: 20_000,
            lists_cached: 2_000,
            ids_bytes: 16 << 20,
            pull_after_ms: 30 * 24 * 3_600_000,
            group_members: 100,
            fork_after_ms: 7 * 24 * 3_600_000,
            invitations_of_user: 50,
            invitations_of_home: 2_000,
            requests_of_user: 100,
            requests_of_home: 100_000,
            contacts: 5_000,
            blocks: 5_000,
            draft_bytes: 16 << 10,
            pinned: 100,
            avatar_bytes: 1 << 20,
            token_idle_ms: 90 * 24 * 3_600_000,
        }
    }
}

/// What follows from a step once it is on disk.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A message is new: tell this home's members who are shown it ([`LogEntry::is_shown_to`]).
    Message {
        /// The message.
        entry: Arc<LogEntry>,
        /// Its change number.
        change: u64,
    },
    /// A later event has changed what a message is: tell this home's members who are shown both.
    Changed {
        /// The message, with all that has come of it.
        message: Folded,
        /// The event; `None`: there is no new one, but an old one counts no more.
        by: Option<Arc<LogEntry>>,
        /// Its change number.
        change: u64,
    },
    /// Another home rejected a message of this home: tell this home's members.
    Rejected {
        /// The message.
        entry: Arc<LogEntry>,
        /// The other home's reason.
        reason: String,
        /// Its change number.
        change: u64,
    },
    /// A user's mark has risen: tell the members whose messages it covers, and the user's own devices.
    Marked {
        /// Where.
        channel: ChannelId,
        /// Whose.
        user: UserRef,
        /// To what, as others are told ([`crate::Member::told`]).
        mark: Mark,
        /// Unix milliseconds.
        at: u64,
        /// Others have been told as much before: this is for the user's own devices alone.
        quiet: bool,
        /// `delivered` is as it was: this is for nobody who is not shown what others have read.
        only_read: bool,
        /// Its change number.
        change: u64,
    },
    /// A channel is new: tell this home's members.
    Channel {
        /// Which.
        channel: ChannelId,
        /// Its change number.
        change: u64,
    },
    /// A channel is new, or looks different, to one user of this home: tell that user's devices.
    ChannelOf {
        /// Which.
        channel: ChannelId,
        /// To whom.
        user: Local,
        /// Whoever caused it is answered with it, and need not be told.
        answered: bool,
        /// Its change number.
        change: u64,
    },
    /// Events of this home up to `upto` are for that peer.
    Owed {
        /// To whom.
        peer: HomeId,
        /// Of what.
        channel: ChannelId,
        /// Whose chat it is, the lesser first.
        parties: [UserRef; 2],
        /// Of which life of this home's store.
        epoch: Epoch,
        /// It has acknowledged up to here.
        acked: Seq,
        /// The last event on disk.
        upto: Seq,
        /// Of a group: the chain begins above this for that peer.
        begins: Seq,
        /// Of a group: the version of the roster that is held here.
        roster: u64,
    },
    /// What is owed to that peer is too old to be pushed: it is to ask.
    Pull {
        /// Whom.
        peer: HomeId,
    },
    /// Marks of this home's users are for that peer.
    Marks {
        /// To whom.
        peer: HomeId,
        /// Of what.
        channel: ChannelId,
        /// The marks, in the peer's numbers.
        telling: Telling,
    },
    /// A roster is for that peer.
    Roster {
        /// Whom.
        peer: HomeId,
        /// The roster.
        signed: Arc<SignedRoster>,
    },
    /// A letter is for that peer.
    Letter {
        /// Whom.
        peer: HomeId,
        /// Its number.
        number: u64,
        /// The number of the one before, as far as it waits: a courier that does not know that one is given all of them
        /// anew, and in order. 0: this is the first.
        after: u64,
        /// [`homing_wire::Letter::encode`].
        letter: Bytes,
    },
    /// The owner home has answered what a user of this home asked of it: tell whoever waits.
    Settled {
        /// The owner home.
        peer: HomeId,
        /// What came of it.
        outcome: Outcome,
    },
}

/// What was decided and must be committed whole before any of `effects` is seen.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number: steps are committed in this order.
    pub number: u64,
    /// What goes to disk; empty where nothing changed.
    pub batch: Batch,
    /// What follows.
    pub effects: Vec<Effect>,
}

/// `op`s in memory beyond the uncommitted: a repeat comes soon after the first try, if at all.
const OPS_CACHED: usize = 10_000;

/// What earlier lives of this home stamped further ahead than this, in milliseconds, does not move a new one: a clock
/// that was off by more keeps a home from starting until it is restored, and then it has to be in the present.
const EARLIER_LIFE_MS: u64 = 24 * 3_600_000;

/// Users of whom it is in memory when they were last seen, beyond the uncommitted. Those who watch ask for it when they
/// begin to.
const SEEN_CACHED: usize = 10_000;

/// Invites in memory beyond the uncommitted.
const INVITES_CACHED: usize = 100;

/// A home. See the crate's documentation for how it is driven.
pub struct Home {
    pub(crate) id: HomeId,
    pub(crate) epoch: Epoch,
    pub(crate) policy: Policy,
    /// Unix milliseconds, as the caller gives them: falls where a clock that ran ahead was put right.
    pub(crate) now_ms: u64,
    /// The latest of them. Nothing was ever decided later.
    latest_ms: u64,
    /// The greatest stamp ever given or followed, in whatever channel: what is given next is above those of its
    /// channel alone ([`Home::next_stamp`]).
    pub(crate) stamp: Stamp,
    pub(crate) change: u64,
    step: u64,
    pub(crate) committed: u64,
    pub(crate) channels: Cache<ChannelId, ChannelSlot>,
    pub(crate) accounts: Cache<Local, Account>,
    lists: Cache<Local, BTreeMap<ChannelId, ListRow>>,
    pub(crate) ids: RecentIds,
    pub(crate) ops: Cache<(Local, OpId), OpDone>,
    pub(crate) invites: Cache<TokenHash, Invite>,
    /// When users were last seen, as it was stored; `None`: that is not known.
    pub(crate) seen: Cache<Local, Option<u64>>,
    pub(crate) lists_of_users: ListsOfUsers,
    pub(crate) own_views: OwnViews,
    pub(crate) device_news: DeviceNews,
    /// Rows of lists that are not in memory, until they are committed.
    list_rows: VecDeque<(u64, Local, ListRow)>,
    pub(crate) owed: BTreeMap<HomeId, BTreeMap<ChannelId, u64>>,
    pub(crate) unanswered: Unanswered,
    /// Homes ever met.
    pub(crate) peers: BTreeMap<HomeId, PeerState>,
    /// Those that have still to be asked what they hold. Nothing is pushed to them before.
    pub(crate) reconciling: BTreeSet<HomeId>,
    /// How often each of those was asked and could not show everything, by this process.
    pub(crate) asked_in_vain: BTreeMap<HomeId, u32>,
    /// Those that have to ask for what they missed, and when they last did. Nothing is pushed to them
    /// meanwhile.
    pub(crate) pulling: BTreeMap<HomeId, u64>,
    /// The letter of a home that could not be taken yet: none behind it is, before it has come again.
    pub(crate) held_letters: BTreeMap<HomeId, (Epoch, u64)>,
    /// Letters that wait for other homes, by number.
    pub(crate) letters: BTreeMap<HomeId, BTreeMap<u64, Bytes>>,
    /// Marks of this home's users that have risen since the last tick.
    pub(crate) risen: BTreeMap<ChannelId, Vec<Risen>>,
    /// What peers are told of marks, and which answers to it count.
    pub(crate) tellings: Tellings,
    /// Entries that are not committed yet, with their steps.
    pub(crate) fresh: VecDeque<(u64, Arc<LogEntry>)>,
    dirty: BTreeSet<ChannelId>,
    writes: Vec<Write>,
    effects: Vec<Effect>,
    urgent: bool,
}

impl Home {
    /// A home as its store has it: `change` and `stamp` are those of the newest committed batch.
    pub fn new(
        id: HomeId,
        epoch: Epoch,
        policy: Policy,
        change: u64,
        stamp: Stamp,
        now_ms: u64,
        reader: &dyn Reader,
    ) -> Result<Self, Fault> {
        let mut owed: BTreeMap<HomeId, BTreeMap<ChannelId, u64>> = BTreeMap::new();
        for (peer, channel, since) in reader.owed()? {
            owed.entry(peer).or_default().insert(channel, since);
        }
        let mut unanswered = Unanswered::default();
        for (home, user, channel) in reader.unanswered()? {
            unanswered.add(home, &user, channel);
        }
        let mut letters: BTreeMap<HomeId, BTreeMap<u64, Bytes>> = BTreeMap::new();
        for (peer, number, letter) in reader.letters()? {
            letters.entry(peer).or_default().insert(number, letter);
        }
        let peers: BTreeMap<HomeId, PeerState> =
            reader.peers()?.into_iter().map(|peer| (peer.home, peer)).collect();
        let reconciling = peers.values().filter(|p| p.reconcile).map(|p| p.home).collect();
        // No message was stored later than the greatest stamp says, even if the clock was set back.
        let ids_since_ms = now_ms.max(stamp.ms());
        Ok(Self {
            id,
            epoch,
            now_ms,
            latest_ms: ids_since_ms,
            stamp,
            change,
            step: 1,
            committed: 0,
            channels: Cache::new(policy.channels_cached),
            accounts: Cache::new(policy.accounts_cached),
            lists: Cache::new(policy.lists_cached),
            ids: RecentIds::new(policy.ids_bytes, ids_since_ms),
            ops: Cache::new(OPS_CACHED),
            invites: Cache::new(INVITES_CACHED),
            seen: Cache::new(SEEN_CACHED),
            lists_of_users: ListsOfUsers::default(),
            own_views: OwnViews::new(policy.accounts_cached),
            device_news: DeviceNews::default(),
            list_rows: VecDeque::new(),
            owed,
            unanswered,
            peers,
            reconciling,
            asked_in_vain: BTreeMap::new(),
            pulling: BTreeMap::new(),
            letters,
            held_letters: BTreeMap::new(),
            risen: BTreeMap::new(),
            tellings: Tellings::default(),
            fresh: VecDeque::new(),
            dirty: BTreeSet::new(),
            writes: Vec::new(),
            effects: Vec::new(),
            urgent: false,
            policy,
        })
    }

    /// This home's id.
    pub fn id(&self) -> HomeId {
        self.id
    }

    /// The life of its store.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The greatest change number given, committed or not.
    pub fn change(&self) -> u64 {
        self.change
    }

    /// Whether somebody waits for what was decided: a caller for an answer, or whoever an effect is for.
    /// What is not urgent (acknowledgements by peers) may ride with the next step that is.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Whether anything was decided that [`Home::take_step`] would hand out.
    pub fn has_step(&self) -> bool {
        !self.writes.is_empty() || !self.dirty.is_empty() || !self.effects.is_empty()
    }

    /// Takes what was decided since the last call.
    pub fn take_step(&mut self) -> Step {
        let mut writes = std::mem::take(&mut self.writes);
        for id in std::mem::take(&mut self.dirty) {
            if let Some(slot) = self.channels.peek(&id) {
                let mut state = Box::new(slot.state.clone());
                for risen in self.risen.get(&id).into_iter().flatten() {
                    risen.hold_back(&mut state);
                }
                writes.push(Write::Channel(state));
            }
        }
        let number = self.step;
        self.step += 1;
        self.urgent = false;
        Step {
            number,
            batch: Batch { change: self.change, stamp: self.stamp, writes },
            effects: std::mem::take(&mut self.effects),
        }
    }

    /// Moves the effects queued so far to the caller, who keeps them with the step being decided: so
    /// that answers and effects leave in the order in which they came about.
    pub fn drain_effects(&mut self) -> std::vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// Step `number` and all before it are on disk.
    pub fn committed(&mut self, number: u64) {
        self.committed = self.committed.max(number);
        // A risen mark that is not given out yet is nowhere but in memory.
        let risen = &self.risen;
        self.channels.shrink(self.committed, |id| risen.contains_key(id));
        self.accounts.shrink(self.committed, |_| false);
        self.lists.shrink(self.committed, |_| false);
        self.ops.shrink(self.committed, |_| false);
        self.invites.shrink(self.committed, |_| false);
        self.seen.shrink(self.committed, |_| false);
        self.lists_of_users.committed(self.committed);
        while self.fresh.front().is_some_and(|(step, _)| *step <= self.committed) {
            self.fresh.pop_front();
        }
        self.own_views.committed(self.committed);
        self.device_news.committed(self.committed);
        while self.list_rows.front().is_some_and(|(step, ..)| *step <= self.committed) {
            self.list_rows.pop_front();
        }
        self.ids.turn(self.committed, self.step, self.latest_ms);
    }

    /// A user of this home, as homes know one.
    pub fn user(&self, local: &Local) -> UserRef {
        UserRef::new(self.id, local.clone())
    }

    /// An account, whatever its state.
    pub fn account(
        &mut self,
        reader: &dyn Reader,
        local: &Local,
    ) -> Result<Option<&Account>, Fault> {
        if self.accounts.get(local).is_none() {
            let Some(account) = reader.account(local)? else { return Ok(None) };
            self.accounts.make_room(self.committed, |_| false);
            self.accounts.insert(local.clone(), account, 0);
        }
        Ok(self.accounts.get(local))
    }

    /// Whether a user of that name may be written to.
    pub(crate) fn takes_messages(
        &mut self,
        reader: &dyn Reader,
        local: &Local,
    ) -> Result<bool, Fault> {
        Ok(self.account(reader, local)?.is_some_and(|a| a.state != AccountState::Deleted))
    }

    /// A channel, uncommitted changes included.
    pub fn channel(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
    ) -> Result<Option<&ChannelState>, Fault> {
        Ok(self.slot(reader, id)?.map(|slot| &slot.state))
    }

    /// A user's list of channels, uncommitted changes included, in no order.
    pub fn listing(&mut self, reader: &dyn Reader, user: &Local) -> Result<Vec<ListRow>, Fault> {
        if self.lists.get(user).is_none() {
            let mut list: BTreeMap<ChannelId, ListRow> =
                reader.listing(user)?.into_iter().map(|row| (row.channel, row)).collect();
            let mut step = 0;
            for (row_step, owner, row) in &self.list_rows {
                if owner == user {
                    list.insert(row.channel, *row);
                    step = *row_step;
                }
            }
            self.lists.make_room(self.committed, |_| false);
            self.lists.insert(user.clone(), list, step);
        }
        Ok(self.lists.get(user).map(|list| list.values().copied().collect()).unwrap_or_default())
    }

    /// What is owed to each peer: (channel, since in Unix milliseconds).
    pub fn owed(&self) -> &BTreeMap<HomeId, BTreeMap<ChannelId, u64>> {
        &self.owed
    }

    /// How much is held in memory: channels, accounts, lists.
    pub fn cached(&self) -> (usize, usize, usize) {
        (self.channels.len(), self.accounts.len(), self.lists.len())
    }

    /// How many messages are remembered by their ids.
    pub fn ids_remembered(&self) -> usize {
        self.ids.len()
    }

    // What the parts of the core share.

    /// Follows this home's clock, also where it was put back: what was given while it ran ahead must not be given
    /// on and on. What has to be monotone has a floor of its own: stamps their channel's, remembered ids
    /// `latest_ms`, times of marks the last of the member's.
    pub(crate) fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.latest_ms = self.latest_ms.max(now_ms);
    }

    /// The stamp of the next entry that this home writes into a channel: above all that this life has written there,
    /// for a chain's stamps never fall; above what earlier lives have, up to a day ahead, for a restore must not put
    /// later messages before earlier ones; and above what was seen there of others, for an answer comes after
    /// what it answers. But not above what was stamped by a clock that is far ahead.
    pub(crate) fn next_stamp(&mut self, channel: ChannelId) -> Stamp {
        let (home, epoch, now_ms) = (self.id, self.epoch, self.now_ms);
        let near = |stamp: &Stamp| stamp.ms() <= now_ms.saturating_add(STAMP_FOLLOW_MS);
        let bearable = |stamp: &Stamp| stamp.ms() <= now_ms.saturating_add(EARLIER_LIFE_MS);
        let floor = self.channels.peek(&channel).and_then(|slot| {
            let written = |origin: HomeId| origin == home || origin == HomeId::LOCAL;
            slot.state
                .chains
                .iter()
                .filter(|c| match written(c.origin) {
                    true => c.epoch == epoch || bearable(&c.stamp),
                    false => near(&c.stamp),
                })
                .map(|c| c.stamp)
                .chain(Some(slot.followed).filter(near))
                .max()
        });
        let stamp = floor.unwrap_or(Stamp(0)).tick(now_ms);
        self.stamp = self.stamp.max(stamp);
        stamp
    }

    /// A stamp of another home was seen in a channel.
    pub(crate) fn follow_stamp(&mut self, channel: ChannelId, stamp: Stamp) {
        if stamp.ms() > self.now_ms.saturating_add(STAMP_FOLLOW_MS) {
            return;
        }
        self.stamp = self.stamp.max(stamp);
        if let Some(slot) = self.channels.peek_mut(&channel) {
            slot.followed = slot.followed.max(stamp);
        }
    }

    pub(crate) fn slot(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
    ) -> Result<Option<&ChannelSlot>, Fault> {
        if self.channels.get(&id).is_none() {
            let Some(state) = reader.channel(id)? else { return Ok(None) };
            let risen = &self.risen;
            self.channels.make_room(self.committed, |id| risen.contains_key(id));
            let mut slot = ChannelSlot::new(state);
            if slot.state.group.is_some()
                && let Some(signed) = reader.roster(id)?
            {
                let signed = SignedRoster::stored(signed)
                    .map_err(|error| Fault(format!("the stored roster of {id}: {error}")))?;
                slot.roster = Some(Arc::new(signed));
            }
            self.channels.insert(id, slot, 0);
        }
        Ok(self.channels.get(&id))
    }

    pub(crate) fn peek_slot(&self, id: ChannelId) -> Option<&ChannelSlot> {
        self.channels.peek(&id)
    }

    /// A channel that has been loaded, to change it in this step.
    pub(crate) fn change_channel(&mut self, id: ChannelId) -> Option<&mut ChannelSlot> {
        self.dirty.insert(id);
        self.channels.change(&id, self.step)
    }

    /// A channel made in this step.
    pub(crate) fn add_channel(&mut self, state: ChannelState) {
        self.dirty.insert(state.id);
        self.channels.insert(state.id, ChannelSlot::new(state), self.step);
    }

    /// What follows from this step. Whoever it is for waits for the step.
    pub(crate) fn follows(&mut self, effect: Effect) {
        self.effects.push(effect);
        self.urgent = true;
    }

    pub(crate) fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Somebody waits for this step.
    pub(crate) fn hurry(&mut self) {
        self.urgent = true;
    }

    pub(crate) fn current_step(&self) -> u64 {
        self.step
    }

    /// Gives the channel the next change number, in the lists of all its members here too.
    pub(crate) fn changed(&mut self, id: ChannelId) -> u64 {
        self.changed_for(id, |_| true)
    }

    /// The same, where only those members see the change. Nobody's list gets a chat that is hidden whole.
    pub(crate) fn changed_for(&mut self, id: ChannelId, sees: impl Fn(&Member) -> bool) -> u64 {
        let home = self.id;
        let listed = |m: &Member| m.user.home == home && !m.left && m.is_listed() && sees(m);
        let Some(slot) = self.channels.peek(&id) else { return self.renumber(id) };
        let state = &slot.state;
        let rows: Vec<(Local, u64)> = state
            .members
            .iter()
            .filter(|m| listed(m))
            .map(|m| (m.user.local.clone(), state.active_for(m)))
            .collect();
        let changed = self.renumber(id);
        for (user, active_at) in rows {
            self.put_row(user, ListRow { channel: id, changed, active_at });
        }
        changed
    }

    /// The same for one user alone, in whose list it stays where it is: of a channel that the user has left, too.
    pub(crate) fn changed_for_oneself(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        user: &Local,
    ) -> Result<u64, Fault> {
        let row = self.listing(reader, user)?.into_iter().find(|row| row.channel == id);
        let changed = self.renumber(id);
        if let Some(row) = row {
            self.put_row(user.clone(), ListRow { changed, ..row });
        }
        Ok(changed)
    }

    fn renumber(&mut self, id: ChannelId) -> u64 {
        self.change += 1;
        let change = self.change;
        if let Some(slot) = self.change_channel(id) {
            slot.state.changed = change;
        }
        change
    }

    fn put_row(&mut self, user: Local, row: ListRow) {
        if let Some(list) = self.lists.change(&user, self.step) {
            list.insert(row.channel, row);
        } else {
            self.list_rows.push_back((self.step, user.clone(), row));
        }
        self.write(Write::Listing { user, row });
    }
}
