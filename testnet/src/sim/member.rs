//! One home: its disk, its process while it runs, and its people's clients.

use std::collections::BTreeMap;

use homing_core::{
    ChannelState, Courier, CourierLimits, Effect, Home, Mark, NewAccount, PeerState, Policy,
    Question, Reader as _, Repair, SentReply, Step,
};
use homing_store::{
    BackupHeader, MemoryStore, RestoreTime, Store as _, read_backup, restore_batch, write_backup,
};
use homing_wire::{
    ChannelId, Epoch, HomeId, Local, MessageId, Pos, SignedRoster, Stamp, UserId, UserRef,
};
use uuid::Uuid;

use super::Broken;
use super::ledger::Client;
use super::net::Frame;
use super::world::MONDAY_MS;

/// What follows from a step once it is on disk.
pub(super) enum Output {
    Effect(Effect),
    /// A client is answered about a wish.
    Answer(usize, SentReply),
    /// A client is told that a change of a group is made here.
    Made(Made),
    /// A frame for a peer, on the connection on which it was caused.
    Frame(usize, u64, Frame),
    /// A peer's question, to be answered from disk: once all is there that was taken of the peer before.
    Question {
        from: usize,
        connection: u64,
        number: u64,
        question: Question,
    },
}

/// A change of a group that a home has made, or a leave.
pub(super) struct Made {
    pub(super) group: ChannelId,
    /// The roster that shows it has this version at least.
    pub(super) version: u64,
    /// That user has left; which of all wishes about groups it was.
    pub(super) left: Option<(UserRef, u64)>,
}

/// A connection to another home, as this one sees it.
pub(super) struct Link {
    pub(super) connection: u64,
    pub(super) courier: Courier,
    pub(super) repair: Option<RepairRun>,
    /// Faults of the peer on it.
    pub(super) strikes: u32,
}

/// A repair, and the question that is to be answered.
pub(super) struct RepairRun {
    pub(super) work: Repair,
    pub(super) number: u64,
    pub(super) question: Option<Question>,
}

/// See the module.
pub(super) struct Member {
    pub(super) id: HomeId,
    pub(super) names: Vec<Local>,
    policy: Policy,
    pub(super) store: MemoryStore,
    pub(super) epoch: Epoch,
    /// Lives of its disk before this one.
    pub(super) restores: usize,
    backup: Vec<u8>,
    // Of its process, while there is one.
    pub(super) home: Option<Home>,
    /// Counts them.
    pub(super) process: u64,
    /// Of all of them.
    boot: u64,
    pub(super) outputs: Vec<Output>,
    pub(super) under_way: Option<(Step, Vec<Output>)>,
    pub(super) links: BTreeMap<usize, Link>,
    // What happens to it.
    pub(super) frozen_until: u64,
    pub(super) skew_ms: i64,
    // Of its people.
    pub(super) clients: BTreeMap<Local, Client>,
    /// Marks given out, which never fall.
    pub(super) told: BTreeMap<(ChannelId, UserRef), Mark>,
}

/// Small, so that there is always more.
fn courier_limits() -> CourierLimits {
    CourierLimits {
        window_bytes: 2_000,
        range_bytes: 900,
        range_entries: 3,
        burst: 4,
        held_back_ms: 1_000,
        roster_retry_most_ms: 60_000,
        answer_ms: 60_000,
    }
}

impl Member {
    /// A home of these people that has met nobody.
    pub(super) fn new(id: HomeId, policy: Policy, names: &[Local]) -> Result<Self, Broken> {
        let epoch = Epoch(MONDAY_MS - 1_000);
        let store = MemoryStore::new(id, epoch);
        let meta = store.meta();
        let mut home =
            Home::new(id, epoch, policy.clone(), meta.change, meta.stamp, MONDAY_MS, &store)?;
        for name in names {
            let new = NewAccount {
                local: name.clone(),
                user_id: UserId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_str().as_bytes())),
                display_name: name.to_string(),
                password: String::new(),
                invite: None,
            };
            home.register(&store, MONDAY_MS, new)
                .map_err(|failure| Broken::new("setup", format!("{failure:?}")))?;
        }
        let step = home.take_step();
        store.commit(&step.batch)?;
        home.committed(step.number);
        let mut member = Self {
            id,
            names: names.to_vec(),
            policy,
            store,
            epoch,
            restores: 0,
            backup: Vec::new(),
            home: Some(home),
            process: 1,
            boot: 1,
            outputs: Vec::new(),
            under_way: None,
            links: BTreeMap::new(),
            frozen_until: 0,
            skew_ms: 0,
            clients: names.iter().map(|name| (name.clone(), Client::default())).collect(),
            told: BTreeMap::new(),
        };
        // Of a time when it knew nobody.
        member.backs_up()?;
        Ok(member)
    }

    pub(super) fn is_up(&self) -> bool {
        self.home.is_some()
    }

    /// The process; whoever asks has seen that there is one.
    pub(super) fn process(&mut self) -> Result<(&mut Home, &MemoryStore), Broken> {
        match &mut self.home {
            Some(home) => Ok((home, &self.store)),
            None => Err(Broken::new("setup", "a process that does not run was driven".into())),
        }
    }

    pub(super) fn is_connected(&self, peer: usize, connection: u64) -> bool {
        self.links.get(&peer).is_some_and(|link| link.connection == connection)
    }

    pub(super) fn disconnected(&mut self, peer: usize) {
        self.links.remove(&peer);
    }

    /// How long it has not been stopped in time, in milliseconds.
    pub(super) fn thawed_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.frozen_until)
    }

    /// Notes who is at the other end of a new connection. Answers whether that home is to be asked first.
    pub(super) fn meets(
        &mut self,
        peer: usize,
        connection: u64,
        state: PeerState,
    ) -> Result<bool, Broken> {
        let courier = Courier::new(self.id, courier_limits());
        let (repair, strikes) = (None, 0);
        self.links.insert(peer, Link { connection, courier, repair, strikes });
        let (home, _) = self.process()?;
        // Whoever is new is asked what it holds: it may know this home from before a restore.
        let known = home.peer(&state.home);
        let reconcile = known.is_none_or(|known| known.reconcile);
        let (letters, letters_done) =
            known.map_or((0, (Epoch(0), 0)), |known| (known.letters, known.letters_done));
        home.meets(PeerState { reconcile, letters, letters_done, ..state });
        Ok(reconcile)
    }

    /// What another home notes of this one.
    pub(super) fn as_peer(&self) -> PeerState {
        PeerState {
            home: self.id,
            name: None,
            record: Vec::new(),
            epoch: self.epoch,
            boot: self.boot,
            seen_at: MONDAY_MS,
            blocked: false,
            reconcile: false,
            statements: Vec::new(),
            letters: 0,
            letters_done: (Epoch(0), 0),
            joining: Vec::new(),
        }
    }

    /// `kill -9`. With `kept` the step under way was on disk already, and nobody was told.
    pub(super) fn crashes(&mut self, kept: bool) -> Result<(), Broken> {
        if let Some((step, _)) = self.under_way.take()
            && kept
        {
            self.store.commit(&step.batch)?;
        }
        self.home = None;
        self.process += 1;
        self.outputs.clear();
        self.links.clear();
        self.frozen_until = 0;
        Ok(())
    }

    /// A process begins with what the disk has.
    pub(super) fn starts(&mut self, clock: u64, deaf: bool) -> Result<(), Broken> {
        let meta = self.store.meta();
        let policy = self.policy.clone();
        let mut home =
            Home::new(self.id, self.epoch, policy, meta.change, meta.stamp, clock, &self.store)?;
        if deaf {
            for peer in self.store.peers()? {
                home.put_peer(PeerState { reconcile: false, ..peer });
            }
        }
        self.home = Some(home);
        self.boot += 1;
        self.clients_catch_up()
    }

    pub(super) fn backs_up(&mut self) -> Result<(), Broken> {
        let header = BackupHeader {
            home: self.id,
            name: String::new(),
            epoch: self.epoch,
            created_at: MONDAY_MS,
            software: String::new(),
        };
        let mut backup = Vec::new();
        let spill =
            tempfile::tempfile().map_err(|error| Broken::new("setup", error.to_string()))?;
        write_backup(&self.store, &header, &[], &mut backup, spill)?;
        self.backup = backup;
        Ok(())
    }

    /// What `homing restore` makes of the last backup; the process is gone with the disk.
    pub(super) fn restores(&mut self, clock: u64) -> Result<(), Broken> {
        self.crashes(false)?;
        self.epoch = Epoch(clock.max(self.epoch.0 + 1));
        self.restores += 1;
        self.store = MemoryStore::new(self.id, self.epoch);
        let (backup, store) = (&self.backup, &self.store);
        let mut time = RestoreTime { now_ms: clock, newest: Stamp(0) };
        read_backup(&mut &backup[..], &mut |_, _| Ok(()), &mut |_, batch| {
            time.newest = time.newest.max(batch.stamp);
            Ok(())
        })?;
        read_backup(&mut &backup[..], &mut |_, _| Ok(()), &mut |_, batch| {
            restore_batch(store, batch, time)
        })?;
        // Tokens are dead: clients sign in anew and begin anew; an old `since` means nothing in this life.
        self.clients.values_mut().for_each(|client| *client = Client::default());
        self.told.clear();
        Ok(())
    }

    /// The last place of a channel that the user is in, as its own process has it.
    pub(super) fn head_for(
        &mut self,
        user: &UserRef,
        channel: ChannelId,
    ) -> Result<Option<Pos>, Broken> {
        if !self.is_up() {
            return Ok(None);
        }
        let (home, store) = self.process()?;
        let state = home.channel(store, channel)?;
        let is_in = |state: &&ChannelState| {
            let group = state.group.is_some();
            state.member(user).is_some_and(|m| !group || (m.accepted && !m.left))
        };
        Ok(state.filter(is_in).map(|state| state.head))
    }

    /// Whether a message is on disk here.
    pub(super) fn holds(
        &self,
        channel: ChannelId,
        sender: &UserRef,
        id: MessageId,
    ) -> Result<bool, Broken> {
        Ok(self.log(channel)?.iter().any(|entry| {
            let header = &entry.event.header;
            header.id == id && header.user() == *sender
        }))
    }

    /// A channel's log, as it is on disk.
    pub(super) fn log(
        &self,
        channel: ChannelId,
    ) -> Result<Vec<std::sync::Arc<homing_core::LogEntry>>, Broken> {
        Ok(self.store.log(channel, Pos(1), Pos(u64::MAX), usize::MAX)?)
    }

    pub(super) fn state(&self, channel: ChannelId) -> Result<Option<ChannelState>, Broken> {
        Ok(self.store.channel(channel)?)
    }

    /// The roster of a group, as it is on disk.
    pub(super) fn roster(&self, group: ChannelId) -> Result<Option<SignedRoster>, Broken> {
        let Some(bytes) = self.store.roster(group)? else { return Ok(None) };
        let signed = SignedRoster::stored(bytes);
        signed.map(Some).map_err(|error| Broken::new("P4", format!("roster on disk: {error}")))
    }

    /// What is on disk of one of its people in a group.
    pub(super) fn in_group(
        &self,
        user: &UserRef,
        group: ChannelId,
    ) -> Result<Option<homing_core::Member>, Broken> {
        Ok(self.state(group)?.and_then(|state| state.member(user).cloned()))
    }

    /// Clients that were away ask for what has changed since, by their list and then by place.
    fn clients_catch_up(&mut self) -> Result<(), Broken> {
        let store = &self.store;
        let change = store.meta().change;
        for (name, client) in &mut self.clients {
            for row in store.listing(name)? {
                if row.changed <= client.since || row.channel.is_group() {
                    continue;
                }
                let shown = client.shown.entry(row.channel).or_default();
                let from = Pos(shown.len() as u64 + 1);
                let log = store.log(row.channel, from, Pos(u64::MAX), usize::MAX)?;
                shown.extend(log.iter().map(|entry| entry.event.header.id));
            }
            client.since = change;
        }
        Ok(())
    }

    /// Everything on disk, for the digest.
    pub(super) fn digest_into(&self, bytes: &mut Vec<u8>) -> Result<(), Broken> {
        for state in self.store.channels(None, usize::MAX)? {
            for entry in self.log(state.id)? {
                bytes.extend(entry.event.hash().0);
            }
            bytes.extend(state.changed.to_be_bytes());
            bytes.extend(state.group.map_or(0, |group| group.version).to_be_bytes());
        }
        Ok(())
    }
}
