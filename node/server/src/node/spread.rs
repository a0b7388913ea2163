//! Telling the homes of a wide group by gossip what is owed to them, and whom the streams have to follow to.
//!
//! What is owed comes here instead of going to the couriers at once. If so many homes can hear gossip that it is
//! worth it, it is published once and they are given a while (`groups.gossip_wait_ms`) to say that they have it; whoever has not
//! then is owed by its stream as ever. Only who has acknowledged everything before is made to wait: it is
//! connected, had the key before the last event, and is on the topic. All others are owed at once, as is everybody when
//! anything is amiss.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homing_core::{Courier, CourierLimits, Delivery, OwedChannel};
use homing_net::{NetHandle, PublishOutcome, TopicName};
use homing_store::Store;
use homing_wire::{ChannelId, Epoch, HomeId, Seq, prove};
use tokio::sync::mpsc;
use tracing::debug;

use super::courier::{Signer, range_out};
use super::gossip::{self, ENVELOPE_BYTES, Keyring, Secret};
use super::hearing::{Heard, Hearing, takes_part};
use super::hub::{Hub, HubError};
use super::input::Input;

/// Publications that wait; beyond, events go by the streams.
pub(super) const TELLINGS: usize = 64;
/// A home that has missed what was told is owed at once for a second, and twice as long with each miss in a row …
const STRAGGLES_MS: u64 = 1_000;
/// … but not for longer: after ten minutes it is given another chance.
const STRAGGLES_MOST_MS: u64 = 600_000;
/// What a range has around its events: parties with the longest names, and the proof.
const RANGE_BYTES: usize = 2_048;

/// What gossip keeps to.
#[derive(Clone, Copy, Debug)]
pub(super) struct GossipLimits {
    /// `groups.gossip_from`; `None`: never.
    pub(super) from: Option<usize>,
    /// `groups.gossip_wait_ms`.
    pub(super) wait: Duration,
    /// `limits.gossip_message_bytes`.
    pub(super) message_bytes: usize,
    /// `limits.gossip_topics`.
    pub(super) topics: usize,
    /// `limits.gossip_keys_per_peer`.
    pub(super) keys_per_peer: usize,
}

/// All that the hub knows of gossip. Nothing of it is on disk.
pub(super) struct Gossip {
    pub(super) limits: GossipLimits,
    /// Wide groups of which a key is here.
    groups: BTreeMap<ChannelId, Spread>,
    /// Joined.
    pub(super) topics: BTreeMap<TopicName, ChannelId>,
    pub(super) keyring: Keyring,
    /// What is owed of groups by the step that has just been committed.
    owed: BTreeMap<ChannelId, BTreeMap<HomeId, OwedChannel>>,
    pub(super) heard: HashMap<HomeId, Arc<Heard>>,
    pub(super) tellings: mpsc::Sender<Telling>,
    pub(super) hearings: mpsc::Sender<Hearing>,
}

/// A wide group.
struct Spread {
    /// The roster of which these are the homes.
    version: u64,
    /// Since that version they are.
    since: u64,
    homes: BTreeSet<HomeId>,
    key: Option<OwnKey>,
    /// Of the last key of this home: numbers rise.
    number: u64,
    /// Everything up to here was told, or given to the couriers.
    told: Option<Seq>,
    /// Who is given time, and what it will be owed then.
    waiting: BTreeMap<HomeId, OwedChannel>,
    /// Whoever has not acknowledged this much when the timer comes is owed by its stream; `None`: no timer runs.
    due: Option<Seq>,
    /// Who has missed something: how often in a row, and until when it is not made to wait.
    stragglers: BTreeMap<HomeId, (u32, u64)>,
}

struct OwnKey {
    number: u64,
    day: u64,
    secret: Secret,
}

impl Gossip {
    pub(super) fn new(
        limits: GossipLimits,
        tellings: mpsc::Sender<Telling>,
        hearings: mpsc::Sender<Hearing>,
    ) -> Self {
        Self {
            limits,
            groups: BTreeMap::new(),
            topics: BTreeMap::new(),
            keyring: Keyring::new(limits.keys_per_peer),
            owed: BTreeMap::new(),
            heard: HashMap::new(),
            tellings,
            hearings,
        }
    }

    /// Whether a home is in a wide group.
    pub(super) fn has_home(&self, group: ChannelId, home: &HomeId) -> bool {
        self.groups.get(&group).is_some_and(|spread| spread.homes.contains(home))
    }
}

impl Hub {
    /// Something is owed to a peer, and on disk: by its stream, or by gossip first.
    pub(super) fn owed(&mut self, peer: HomeId, channel: ChannelId, owed: OwedChannel) {
        if self.gossip.limits.from.is_none() || !channel.is_group() {
            self.owe_by_stream(peer, channel, owed);
            return;
        }
        let of_group = self.gossip.owed.entry(channel).or_default();
        if let Some(known) = of_group.get_mut(&peer).filter(|known| known.epoch == owed.epoch) {
            known.upto = known.upto.max(owed.upto);
            known.acked = known.acked.min(owed.acked);
        } else if let Some(before) = of_group.insert(peer, owed) {
            // Of an earlier life, which is brought to its end first.
            self.owe_by_stream(peer, channel, before);
        }
    }

    fn owe_by_stream(&mut self, peer: HomeId, channel: ChannelId, owed: OwedChannel) {
        if let Some(satchel) = self.connected(&peer) {
            satchel.owe(channel, owed);
        } else {
            self.want(peer);
        }
    }

    /// Tells what the last step owes of groups.
    pub(super) fn spread(&mut self) -> Result<(), HubError> {
        for (group, mut owed) in std::mem::take(&mut self.gossip.owed) {
            let life = self.home.epoch();
            let of_now = owed.values().filter(|owed| owed.epoch == life);
            let upto = of_now.map(|owed| owed.upto).max();
            if let Err(reason) = self.tell_by_gossip(group, &mut owed)? {
                debug!(%group, reason, "a group is told by streams");
            }
            if let Some(spread) = self.gossip.groups.get_mut(&group) {
                spread.told = spread.told.max(upto);
                for peer in owed.keys() {
                    spread.waiting.remove(peer);
                }
            }
            for (peer, owed) in owed {
                self.owe_by_stream(peer, group, owed);
            }
        }
        Ok(())
    }

    /// Publishes what is new, and takes out of `owed` who is made to wait for it. Why not, if not.
    fn tell_by_gossip(
        &mut self,
        group: ChannelId,
        owed: &mut BTreeMap<HomeId, OwedChannel>,
    ) -> Result<Result<(), &'static str>, HubError> {
        let Some(from) = self.gossip.limits.from else { return Ok(Err("off")) };
        // Before anything else is asked: most groups are small.
        if owed.len() + 1 < from {
            return Ok(Err("few_homes"));
        }
        if !self.is_wide(group)? {
            return Ok(Err("narrow"));
        }
        let (now, epoch) = (self.now_ms(), self.home.epoch());
        let today = gossip::day_of(now);
        let Some(spread) = self.gossip.groups.get(&group) else { return Ok(Err("narrow")) };
        let key = spread.key.as_ref().filter(|key| key.day == today);
        let Some((number, secret)) = key.map(|key| (key.number, key.secret.clone())) else {
            // The first events with a new key go by the streams, behind the key: who acknowledges them has it.
            return Ok(self.deal_new_key(group, now).and(Err("new_key")));
        };
        let of_now = |owed: &&OwedChannel| owed.epoch == epoch;
        let newest = owed.values().filter(of_now).map(|owed| owed.acked).max();
        let (Some(told), Some(upto)) =
            (spread.told.or(newest), owed.values().filter(of_now).map(|owed| owed.upto).max())
        else {
            return Ok(Err("earlier_life"));
        };
        let waits = |(peer, owed): &(&HomeId, &OwedChannel)| {
            let before = spread.waiting.get(peer).filter(|before| before.acked <= owed.acked);
            owed.epoch == epoch
                && (owed.acked >= told || before.is_some())
                && spread.homes.contains(peer)
                && spread.stragglers.get(peer).is_none_or(|(_, until)| *until <= now)
                && self.connected(peer).is_some()
        };
        let waiting: Vec<HomeId> = owed.iter().filter(waits).map(|(peer, _)| *peer).collect();
        if waiting.len() + 1 < from || told >= upto {
            return Ok(Err("few_can_hear"));
        }
        let Some(any) = waiting.first().and_then(|peer| owed.get(peer)) else {
            return Ok(Err("few_can_hear"));
        };
        let new = OwedChannel { acked: told, upto, begins: Seq(0), ..any.clone() };
        let (topic, since) = (gossip::topic(group, today), spread.since);
        let telling = Telling { group, topic, key: (number, secret), new, since };
        if self.gossip.tellings.try_send(telling).is_err() {
            self.metrics.gossip_not_told("busy");
            return Ok(Err("busy"));
        }
        let Some(spread) = self.gossip.groups.get_mut(&group) else { return Ok(Err("narrow")) };
        for peer in waiting {
            if let Some(owed) = owed.remove(&peer) {
                spread.waiting.insert(peer, owed);
            }
        }
        if spread.due.is_none() {
            spread.due = Some(upto);
            self.wait_for_gossip(group);
        }
        Ok(Ok(()))
    }

    fn wait_for_gossip(&self, group: ChannelId) {
        let (input, wait) = (self.input.clone(), self.gossip.limits.wait);
        self.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            let _stopping = input.send(Input::GossipWaited { group }).await;
        });
    }

    /// Makes a new key of this home for a group and deals it.
    fn deal_new_key(&mut self, group: ChannelId, now: u64) -> Result<(), &'static str> {
        let secret = crate::token::random().map_err(|error| error.reason())?;
        let Some(spread) = self.gossip.groups.get_mut(&group) else { return Err("narrow") };
        // Above those of the start before, which others may still hold.
        spread.number = now.max(spread.number + 1);
        let (number, day) = (spread.number, gossip::day_of(now));
        spread.key = Some(OwnKey { number, day, secret: Secret::new(secret) });
        spread.stragglers.clear();
        let homes: Vec<HomeId> = spread.homes.iter().copied().collect();
        for home in homes {
            self.deal(group, &home);
        }
        self.tune();
        Ok(())
    }

    fn deal(&self, group: ChannelId, home: &HomeId) {
        let spread = self.gossip.groups.get(&group);
        let key = spread.filter(|spread| spread.homes.contains(home)).and_then(|s| s.key.as_ref());
        if let (Some(key), Some(satchel)) = (key, self.connected(home)) {
            satchel.key(group, key.number, key.secret.clone());
        }
    }

    /// A stream to a peer is open: it gets the keys, and is owed everything anew.
    pub(super) fn gossip_resume(&mut self, peer: HomeId) -> Result<(), HubError> {
        let groups: Vec<ChannelId> = self.gossip.groups.keys().copied().collect();
        for group in groups {
            if let Some(spread) = self.gossip.groups.get_mut(&group) {
                spread.waiting.remove(&peer);
                spread.stragglers.remove(&peer);
            }
            // By the roster as it is now.
            if self.is_wide(group)? {
                self.deal(group, &peer);
            }
        }
        Ok(())
    }

    /// A message was published, or not: who cannot have got it is owed at once.
    pub(super) fn told(
        &mut self,
        group: ChannelId,
        outcome: Result<(u64, BTreeSet<HomeId>), &'static str>,
    ) -> Result<(), HubError> {
        let Some(spread) = self.gossip.groups.get(&group) else { return Ok(()) };
        let mut left: Vec<HomeId> = spread.waiting.keys().copied().collect();
        match outcome {
            Ok((events, joined)) => {
                self.metrics.gossip_events_out.fetch_add(events, Ordering::Relaxed);
                left.retain(|peer| !joined.contains(peer));
            }
            Err(reason) => self.metrics.gossip_not_told(reason),
        }
        for peer in left {
            self.follow_by_stream(group, peer)?;
        }
        Ok(())
    }

    /// Who was given time has had it.
    pub(super) fn gossip_waited(&mut self, group: ChannelId) -> Result<(), HubError> {
        let now = self.now_ms();
        let Some(spread) = self.gossip.groups.get_mut(&group) else { return Ok(()) };
        let Some(due) = spread.due.take() else { return Ok(()) };
        let waiting: Vec<HomeId> = spread.waiting.keys().copied().collect();
        for peer in waiting {
            if self.acked(group, &peer)?.is_some_and(|(_, acked)| acked >= due) {
                continue;
            }
            if let Some(spread) = self.gossip.groups.get_mut(&group) {
                let (misses, until) = spread.stragglers.entry(peer).or_default();
                let pause = STRAGGLES_MS.checked_shl(*misses).unwrap_or(STRAGGLES_MOST_MS);
                *until = now.saturating_add(pause.min(STRAGGLES_MOST_MS));
                *misses = misses.saturating_add(1).min(16);
            }
            self.metrics.gossip_missed.fetch_add(1, Ordering::Relaxed);
            // It may have got none: its roster was older then.
            self.deal(group, &peer);
            self.follow_by_stream(group, peer)?;
        }
        let Some(spread) = self.gossip.groups.get_mut(&group) else { return Ok(()) };
        if !spread.waiting.is_empty() {
            spread.due = spread.told;
            self.wait_for_gossip(group);
        }
        Ok(())
    }

    /// A peer waits no more: the rest goes by its stream.
    fn follow_by_stream(&mut self, group: ChannelId, peer: HomeId) -> Result<(), HubError> {
        let spread = self.gossip.groups.get_mut(&group);
        let Some(owed) = spread.and_then(|spread| spread.waiting.remove(&peer)) else {
            return Ok(());
        };
        // What was acknowledged meanwhile is not sent; a later life is owed by itself.
        if let Some((epoch, acked)) = self.acked(group, &peer)?
            && epoch == owed.epoch
            && acked < owed.upto
        {
            self.owe_by_stream(peer, group, OwedChannel { acked, ..owed });
        }
        Ok(())
    }

    /// How far a peer is that takes something of a group.
    fn acked(&mut self, group: ChannelId, peer: &HomeId) -> Result<Option<(Epoch, Seq)>, HubError> {
        let store = self.store.clone();
        let cursor = self.home.channel(&*store, group)?.and_then(|state| state.cursor(peer));
        let takes = cursor.filter(|cursor| cursor.refused.is_none() && !cursor.outside);
        Ok(takes.map(|cursor| (cursor.epoch, cursor.acked)))
    }

    /// A peer has acknowledged: if it was waited for, it has all by gossip.
    pub(super) fn gossip_acked(
        &mut self,
        peer: &HomeId,
        group: ChannelId,
        epoch: Epoch,
        have: Seq,
    ) {
        let Some(spread) = self.gossip.groups.get_mut(&group) else { return };
        let all = |owed: &OwedChannel| owed.epoch == epoch && have >= owed.upto;
        if spread.waiting.get(peer).is_some_and(all) {
            spread.waiting.remove(peer);
            spread.stragglers.remove(peer);
            self.metrics.gossip_delivered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a group is wide, and this home in it, by the roster that is held. Looks at a roster once.
    pub(super) fn is_wide(&mut self, group: ChannelId) -> Result<bool, HubError> {
        let Some(from) = self.gossip.limits.from else { return Ok(false) };
        let store = self.store.clone();
        let Some(signed) = self.home.roster_of(&*store, group)? else { return Ok(false) };
        let roster = signed.roster();
        let version = roster.version;
        if self.gossip.groups.get(&group).is_some_and(|spread| spread.version == version) {
            return Ok(true);
        }
        let in_it = roster.present().filter(|tenure| takes_part(tenure.role));
        let homes: BTreeSet<HomeId> = in_it.map(|tenure| tenure.user.home).collect();
        if homes.len() < from || !homes.contains(&self.home.id()) {
            self.forget_spread(group)?;
            return Ok(false);
        }
        let spread = self.gossip.groups.entry(group).or_insert_with(|| Spread {
            version,
            since: version,
            homes: homes.clone(),
            key: None,
            number: 0,
            told: None,
            waiting: BTreeMap::new(),
            due: None,
            stragglers: BTreeMap::new(),
        });
        spread.version = version;
        if spread.homes != homes {
            // Whoever has left knows this key; whoever has come shall not read what was before.
            (spread.homes, spread.since, spread.key) = (homes, version, None);
        }
        Ok(true)
    }

    fn forget_spread(&mut self, group: ChannelId) -> Result<(), HubError> {
        let spread = self.gossip.groups.get(&group);
        let waiting: Vec<HomeId> =
            spread.map(|spread| spread.waiting.keys().copied().collect()).unwrap_or_default();
        for peer in waiting {
            self.follow_by_stream(group, peer)?;
        }
        self.gossip.groups.remove(&group);
        Ok(())
    }

    /// About once a second: days end, rosters change, groups fall silent.
    pub(super) fn tend_gossip(&mut self) -> Result<(), HubError> {
        let today = gossip::day_of(self.now_ms());
        let groups: Vec<ChannelId> = self.gossip.groups.keys().copied().collect();
        for group in groups {
            if !self.is_wide(group)? {
                continue;
            }
            if let Some(spread) = self.gossip.groups.get_mut(&group)
                && spread.key.as_ref().is_some_and(|key| key.day != today)
            {
                spread.key = None;
            }
        }
        let Gossip { groups, keyring, .. } = &mut self.gossip;
        keyring.retain(today, |group, origin| {
            groups.get(&group).is_some_and(|spread| spread.homes.contains(origin))
        });
        // Of which nobody has a key nothing can be told or heard.
        groups.retain(|group, spread| {
            spread.key.is_some() || !spread.waiting.is_empty() || keyring.knows(*group)
        });
        self.tune();
        Ok(())
    }

    /// Joins and leaves topics, so that they are those of the groups of which a key is here.
    pub(super) fn tune(&mut self) {
        let now = self.now_ms();
        let limit = self.gossip.limits.topics;
        let days: Vec<u64> = gossip::days_joined(now).collect();
        // First what is of use today.
        let wanted: BTreeMap<TopicName, ChannelId> = days
            .iter()
            .flat_map(|day| self.gossip.groups.keys().map(|g| (gossip::topic(*g, *day), *g)))
            .take(limit)
            .collect();
        if wanted.keys().eq(self.gossip.topics.keys()) {
            return;
        }
        let before = std::mem::replace(&mut self.gossip.topics, wanted.clone());
        let net = self.net.clone();
        self.runtime.spawn(async move {
            for left in before.keys().filter(|topic| !wanted.contains_key(*topic)) {
                net.leave_topic(*left).await;
            }
            for topic in wanted.keys().filter(|topic| !before.contains_key(*topic)) {
                if let Err(error) = net.join_topic(*topic).await {
                    debug!(%topic, reason = error.reason(), "a topic is not joined");
                }
            }
        });
    }
}

/// What is to be published.
pub(super) struct Telling {
    group: ChannelId,
    topic: TopicName,
    key: (u64, Secret),
    /// Above `acked`, up to `upto`.
    new: OwedChannel,
    /// Events that name an older roster are not for all who have the key.
    since: u64,
}

/// Reads, signs, seals and publishes, beside the hub and in its order.
pub(super) struct Teller {
    pub(super) home: HomeId,
    pub(super) signer: Signer,
    pub(super) store: Arc<dyn Store>,
    pub(super) net: NetHandle,
    pub(super) hub: mpsc::Sender<Input>,
    pub(super) message_bytes: usize,
    pub(super) now: fn() -> u64,
}

impl Teller {
    pub(super) async fn run(self, mut tellings: mpsc::Receiver<Telling>) {
        while let Some(telling) = tellings.recv().await {
            let group = telling.group;
            let outcome = self.tell(telling).await;
            if self.hub.send(Input::Told { group, outcome }).await.is_err() {
                return;
            }
        }
    }

    async fn tell(&self, telling: Telling) -> Result<(u64, BTreeSet<HomeId>), &'static str> {
        let Telling { group, topic, key, new, since } = telling;
        let upto = new.upto;
        let limits = CourierLimits {
            range_bytes: self.message_bytes.saturating_sub(ENVELOPE_BYTES + RANGE_BYTES),
            burst: 1,
            ..CourierLimits::default()
        };
        // As a stream would have it.
        let mut work = Courier::new(self.home, limits);
        work.owe(group, new);
        let burst = work.burst(&*self.store, 0).map_err(|_| "unreadable")?;
        let Some(Delivery::Range { channel, parties, epoch, events, begins }) =
            burst.into_iter().next()
        else {
            return Err("pruned");
        };
        let Some(last) = events.last().map(|entry| &entry.event) else { return Err("pruned") };
        if last.header.seq < upto {
            return Err("too_much");
        }
        if events.iter().any(|entry| entry.event.header.roster < since) {
            return Err("older_roster");
        }
        let head = homing_wire::Head { channel, seq: last.header.seq, hash: last.hash() };
        let proof = prove(self.home, epoch, (self.now)(), &[head], &*self.signer).pop();
        let count = events.len() as u64;
        let range = range_out(channel, &parties, epoch, &events, begins, proof);
        let nonce = crate::token::random().map_err(|error| error.reason())?;
        let sealed = gossip::seal(&self.home, topic, (key.0, &key.1), nonce, &range);
        let sealed =
            sealed.filter(|sealed| sealed.len() <= self.message_bytes).ok_or("too_much")?;
        // Asked first: who joins meanwhile may wait in vain, who is counted has joined.
        let joined = self.net.topic_homes(topic).await;
        match self.net.publish(topic, sealed).await {
            Ok(PublishOutcome::Sent) => Ok((count, joined)),
            Ok(PublishOutcome::NoPeers) => Err("no_peers"),
            Ok(PublishOutcome::Congested) => Err("congested"),
            Ok(PublishOutcome::Duplicate) => Err("duplicate"),
            Err(error) => Err(error.reason()),
        }
    }
}
