//! Couriers: one a peer, bringing it what is owed. What goes when is decided by [`homing_core::Courier`];
//! here it is read from disk, signed, and put on the stream.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use homing_core::{
    Courier as Work, CourierLimits, Delivery, LogEntry, OwedChannel, PeerFault, Telling,
};
use homing_net::{NetHandle, RelayOut};
use homing_store::Store;
use homing_wire::proto::{event::v1 as pb_event, relay::v1 as pb};
use homing_wire::{ChannelId, Epoch, Head, HomeId, Seq, SignedRoster, Signs, UserRef, prove};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::faults::Faults;
use super::fleeting::Fleeting;
use super::gossip::Secret;
use super::input::{ConnectionNo, Input};
use super::metrics::NodeMetrics;

/// Of a reason that a peer gives, so much is read: its words are short, and as many as it likes come in a frame.
const REASON_CHARS: usize = 64;

/// What signs heads.
pub(super) type Signer = Arc<dyn Signs + Send + Sync>;

/// What the hub has for a courier.
#[derive(Default)]
pub(super) struct Satchel {
    inside: Mutex<Inside>,
    more: Notify,
}

/// Under one lock: whoever takes something out looks first whether a newer stream waits, or what was put in for the
/// new stream would go with the old. Bounded by the channels shared with the peer: it merges by channel.
#[derive(Default)]
struct Inside {
    owed: BTreeMap<ChannelId, OwedChannel>,
    marks: BTreeMap<ChannelId, Telling>,
    rosters: BTreeMap<ChannelId, Arc<SignedRoster>>,
    /// With the number of the one before.
    letters: BTreeMap<u64, (u64, Bytes)>,
    keys: BTreeMap<ChannelId, (u64, Secret)>,
    pull: bool,
    fleeting: Fleeting,
    link: Option<(ConnectionNo, RelayOut)>,
}

impl Satchel {
    /// Events of a channel up to `owed.upto` are on disk and owed.
    pub(super) fn owe(&self, channel: ChannelId, owed: OwedChannel) {
        match self.inside.lock().owed.entry(channel) {
            Entry::Occupied(mut entry) if entry.get().epoch == owed.epoch => {
                let known = entry.get_mut();
                known.upto = known.upto.max(owed.upto);
                // It may have lost what it acknowledged meanwhile; what it holds it passes over.
                known.acked = known.acked.min(owed.acked);
                known.roster = known.roster.max(owed.roster);
            }
            Entry::Occupied(mut entry) => drop(entry.insert(owed)),
            Entry::Vacant(entry) => {
                entry.insert(owed);
            }
        }
        self.more.notify_one();
    }

    /// The newest marks of a channel.
    pub(super) fn mark(&self, channel: ChannelId, telling: Telling) {
        self.inside.lock().marks.insert(channel, telling);
        self.more.notify_one();
    }

    /// The newest roster of a group.
    pub(super) fn roster(&self, signed: Arc<SignedRoster>) {
        self.inside.lock().rosters.insert(signed.roster().group, signed);
        self.more.notify_one();
    }

    /// A letter, and the number of the one before.
    pub(super) fn letter(&self, number: u64, after: u64, letter: Bytes) {
        self.inside.lock().letters.insert(number, (after, letter));
        self.more.notify_one();
    }

    /// The key of this home for what it tells of a group by gossip.
    pub(super) fn key(&self, group: ChannelId, number: u64, secret: Secret) {
        self.inside.lock().keys.insert(group, (number, secret));
        self.more.notify_one();
    }

    /// Keys to be dealt: before the events that were owed after them, which the peer acknowledges.
    fn keys(&self) -> VecDeque<pb::Frame> {
        let keys = {
            let mut inside = self.inside.lock();
            if inside.link.is_some() {
                return VecDeque::new();
            }
            std::mem::take(&mut inside.keys)
        };
        let frame = |(group, (number, secret)): (ChannelId, (u64, Secret))| {
            let (channel, key) = (bytes_of(&group), secret.bytes());
            let key = pb::GossipKey { channel, number, key };
            pb::Frame { frame: Some(pb::frame::Frame::GossipKey(key)) }
        };
        keys.into_iter().map(frame).collect()
    }

    /// Puts in what is not kept.
    pub(super) fn fleeting<T>(&self, put: impl FnOnce(&mut Fleeting) -> T) -> T {
        let done = put(&mut self.inside.lock().fleeting);
        self.more.notify_one();
        done
    }

    fn take_fleeting(&self, metrics: &NodeMetrics) -> Vec<pb::Frame> {
        let mut inside = self.inside.lock();
        if inside.link.is_some() || inside.fleeting.is_empty() {
            return Vec::new();
        }
        let (frames, told, typed) = inside.fleeting.frames(std::time::Instant::now());
        metrics.people.updates_out.fetch_add(told, Ordering::Relaxed);
        metrics.people.typing_out.fetch_add(typed, Ordering::Relaxed);
        frames
    }

    /// The peer is to ask for what it missed.
    pub(super) fn pull(&self) {
        self.inside.lock().pull = true;
        self.more.notify_one();
    }

    /// A stream is open: what was on an older one is void. What is owed is put in anew by the hub.
    pub(super) fn open(&self, connection: ConnectionNo, link: RelayOut) {
        *self.inside.lock() = Inside { link: Some((connection, link)), ..Inside::default() };
        self.more.notify_one();
    }

    fn take_link(&self) -> Option<(ConnectionNo, RelayOut)> {
        self.inside.lock().link.take()
    }

    /// Gives what the hub has put in to the work of this stream. False: a newer stream waits.
    fn empty_into(&self, work: &mut Work) -> bool {
        let mut inside = self.inside.lock();
        if inside.link.is_some() {
            return false;
        }
        if std::mem::take(&mut inside.pull) {
            work.pull();
        }
        for (channel, owed) in std::mem::take(&mut inside.owed) {
            work.owe(channel, owed);
        }
        for (channel, telling) in std::mem::take(&mut inside.marks) {
            work.mark(channel, telling);
        }
        for signed in std::mem::take(&mut inside.rosters).into_values() {
            work.roster(signed);
        }
        for (number, (after, letter)) in std::mem::take(&mut inside.letters) {
            work.letter(number, after, letter);
        }
        true
    }
}

/// What a courier needs.
pub(super) struct Courier {
    pub(super) peer: HomeId,
    /// As operators know it.
    pub(super) name: String,
    pub(super) home: HomeId,
    /// The life of this home's store.
    pub(super) epoch: Epoch,
    pub(super) signer: Signer,
    pub(super) store: Arc<dyn Store>,
    pub(super) satchel: Arc<Satchel>,
    pub(super) hub: mpsc::Sender<Input>,
    pub(super) net: NetHandle,
    pub(super) limits: CourierLimits,
    pub(super) metrics: Arc<NodeMetrics>,
    pub(super) faults: Arc<Faults>,
    pub(super) now: fn() -> u64,
}

/// How a stream ended.
enum End {
    /// It closed, a newer one is there, or the hub is gone.
    Over,
    /// The peer is at fault.
    Fault(PeerFault),
}

impl From<PeerFault> for End {
    fn from(fault: PeerFault) -> Self {
        Self::Fault(fault)
    }
}

impl Courier {
    /// Runs until the hub is gone.
    pub(super) async fn run(self) {
        while !self.hub.is_closed() {
            let Some((connection, link)) = self.satchel.take_link() else {
                self.satchel.more.notified().await;
                continue;
            };
            debug!(peer = %self.peer, "relay stream in use");
            if let Err(End::Fault(fault)) = self.serve(connection, link).await {
                self.metrics.peer_fault(fault.0);
                // A home may be slow for once, and its disk full: that is no lie.
                let now = std::time::Instant::now();
                let verdict = match fault {
                    PeerFault("no_acknowledgement") => self.faults.strike(self.peer, now),
                    PeerFault(_) => self.faults.lie(self.peer, now),
                };
                verdict.log(&self.name, fault.0);
                self.net.disconnect(self.peer, fault.0).await;
            }
        }
    }

    /// Serves one stream until it closes or a newer one is there.
    async fn serve(&self, connection: ConnectionNo, mut link: RelayOut) -> Result<(), End> {
        let mut work = Work::new(self.home, self.limits);
        let mut outgoing: VecDeque<pb::Frame> = VecDeque::new();
        let opened = Instant::now();
        let now_ms = || u64::try_from(opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        loop {
            if !self.satchel.empty_into(&mut work) {
                return Err(End::Over);
            }
            if outgoing.is_empty() {
                outgoing = self.satchel.keys();
                outgoing.extend(self.burst(&mut work, now_ms()));
                outgoing.extend(self.satchel.take_fleeting(&self.metrics));
            }
            let wake_at = work.wake_at().map(|at| opened + Duration::from_millis(at));
            let wake = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // Replies are taken while a frame waits, or both ends could wait for each other with full queues.
            tokio::select! {
                reply = link.replies.recv() => match reply {
                    Some(reply) => self.replied(&mut work, connection, now_ms(), reply).await?,
                    None => return Err(End::Over),
                },
                permit = link.frames.reserve(), if !outgoing.is_empty() => {
                    let Ok(permit) = permit else { return Err(End::Over) };
                    if let Some(frame) = outgoing.pop_front() {
                        permit.send(frame);
                    }
                }
                () = self.satchel.more.notified() => {}
                () = wake => work.wake(now_ms())?,
            }
        }
    }

    /// What is to be sent now, its heads under one signature.
    fn burst(&self, work: &mut Work, now_ms: u64) -> VecDeque<pb::Frame> {
        let deliveries = match work.burst(&*self.store, now_ms) {
            Ok(deliveries) => deliveries,
            Err(error) => {
                // The hub meets the same store and stops; here nothing more can be done.
                warn!(peer = %self.peer, %error, "cannot read what is owed");
                return VecDeque::new();
            }
        };
        let mut proofs = self.prove(&deliveries);
        deliveries.into_iter().map(|delivery| self.frame(delivery, &mut proofs)).collect()
    }

    /// Proofs of the deliveries that name events, in their order. Nearly always all are of one epoch.
    fn prove(&self, deliveries: &[Delivery]) -> VecDeque<pb_event::Proof> {
        let heads: Vec<(Epoch, Head)> = deliveries.iter().filter_map(Delivery::head).collect();
        heads
            .chunk_by(|a, b| a.0 == b.0)
            .flat_map(|run| {
                let (epoch, _) = run[0];
                let heads: Vec<Head> = run.iter().map(|(_, head)| *head).collect();
                prove(self.home, epoch, (self.now)(), &heads, &*self.signer)
            })
            .collect()
    }

    fn frame(&self, delivery: Delivery, proofs: &mut VecDeque<pb_event::Proof>) -> pb::Frame {
        let frame = match delivery {
            Delivery::Range { channel, parties, epoch, events, begins } => {
                self.metrics.relay_events_out.fetch_add(events.len() as u64, Ordering::Relaxed);
                let proof = proofs.pop_front();
                pb::frame::Frame::Range(range_out(channel, &parties, epoch, &events, begins, proof))
            }
            Delivery::Pruned { channel, parties, epoch, seq, hash } => {
                pb::frame::Frame::Pruned(pb::Pruned {
                    channel: bytes_of(&channel),
                    chat: Some(chat(&parties)),
                    epoch: epoch.0,
                    seq: seq.0,
                    hash: Bytes::copy_from_slice(&hash.0),
                    proof: proofs.pop_front(),
                })
            }
            Delivery::Marks { number, channel, marks } => pb::frame::Frame::Marks(pb::Marks {
                number,
                channel: bytes_of(&channel),
                marks: marks
                    .into_iter()
                    .map(|m| pb::Mark {
                        user: m.user.as_str().to_owned(),
                        epoch: m.epoch.0,
                        delivered: m.delivered.0,
                        read: m.read.0,
                        at: m.at,
                    })
                    .collect(),
            }),
            Delivery::Roster(signed) => {
                pb::frame::Frame::Roster(pb::Roster { signed: signed.bytes().clone() })
            }
            Delivery::Letter { number, letter } => {
                pb::frame::Frame::Letter(pb::Letter { epoch: self.epoch.0, number, letter })
            }
            Delivery::Pull => pb::frame::Frame::Pull(pb::Pull {}),
        };
        pb::Frame { frame: Some(frame) }
    }

    /// Takes a reply of the peer.
    async fn replied(
        &self,
        work: &mut Work,
        connection: ConnectionNo,
        now_ms: u64,
        reply: pb::Frame,
    ) -> Result<(), End> {
        let peer = self.peer;
        match reply.frame {
            Some(pb::frame::Frame::Ack(ack)) => {
                for have in ack.have {
                    self.have(work, connection, now_ms, have).await?;
                }
                for have in ack.heard {
                    let (channel, epoch) = chain_of(&have)?;
                    work.heard(channel, epoch, Seq(have.seq))?;
                    self.holds(connection, channel, epoch, have).await?;
                }
                for have in ack.rosters {
                    let group = ChannelId::from_slice(&have.group)
                        .map_err(|_| PeerFault("ack_malformed"))?;
                    let version = have.version;
                    work.roster_taken(now_ms, group, version)?;
                    self.tell(Input::RosterTaken { peer, connection, group, version }).await?;
                }
                if ack.letters_held {
                    work.letters_held(now_ms, ack.letters)?;
                }
                if ack.letters > 0 {
                    let upto = ack.letters;
                    work.letters_taken(now_ms, upto)?;
                    self.tell(Input::LettersTaken { peer, connection, upto }).await?;
                }
                // The home compares them with the newest: those clear the debt.
                for (channel, telling) in work.marks_taken(now_ms, ack.marks)? {
                    self.tell(Input::MarksTaken { peer, connection, channel, telling }).await?;
                }
                Ok(())
            }
            Some(pb::frame::Frame::Refuse(refuse)) => {
                let channel = ChannelId::from_slice(&refuse.channel)
                    .map_err(|_| PeerFault("refusal_malformed"))?;
                work.refused(now_ms, channel)?;
                let reason = shown(&refuse.reason);
                self.tell(Input::RefusedBy { peer, connection, channel, reason }).await
            }
            // The network lets only answers through here.
            Some(
                pb::frame::Frame::Range(_)
                | pb::frame::Frame::Pruned(_)
                | pb::frame::Frame::Pull(_)
                | pb::frame::Frame::Marks(_)
                | pb::frame::Frame::Roster(_)
                | pb::frame::Frame::Letter(_)
                | pb::frame::Frame::GossipKey(_)
                | pb::frame::Frame::Watch(_)
                | pb::frame::Frame::Presence(_)
                | pb::frame::Frame::Typing(_)
                | pb::frame::Frame::Ping(_)
                | pb::frame::Frame::Pong(_),
            )
            | None => Ok(()),
        }
    }

    /// One range is answered.
    async fn have(
        &self,
        work: &mut Work,
        connection: ConnectionNo,
        now_ms: u64,
        have: pb::Have,
    ) -> Result<(), End> {
        let peer = self.peer;
        let (channel, epoch) = chain_of(&have)?;
        if have.need_roster {
            // What it says of its place says nothing: it took none of it.
            work.needs_roster(now_ms, channel, epoch, Seq(have.seq))?;
            return self.tell(Input::RosterWanted { peer, connection, group: channel }).await;
        }
        work.have(now_ms, channel, epoch, Seq(have.seq))?;
        self.holds(connection, channel, epoch, have).await
    }

    /// The peer holds our events up to there, and has rejected some.
    async fn holds(
        &self,
        connection: ConnectionNo,
        channel: ChannelId,
        epoch: Epoch,
        have: pb::Have,
    ) -> Result<(), End> {
        let (peer, seq) = (self.peer, Seq(have.seq));
        if have.rejected.iter().any(|r| r.seq > have.seq) {
            return Err(PeerFault("rejected_ahead").into());
        }
        // First how far it is: who is at fault there is not heard about the rest.
        self.tell(Input::Acknowledged { peer, connection, channel, epoch, have: seq }).await?;
        if have.rejected.is_empty() {
            return Ok(());
        }
        let rejected = have.rejected.iter().map(|r| (Seq(r.seq), shown(&r.reason))).collect();
        self.tell(Input::RejectedBy { peer, connection, channel, epoch, rejected }).await
    }

    async fn tell(&self, input: Input) -> Result<(), End> {
        self.hub.send(input).await.map_err(|_| End::Over)
    }
}

/// A range as it goes to other homes.
pub(super) fn range_out(
    channel: ChannelId,
    parties: &[UserRef; 2],
    epoch: Epoch,
    events: &[Arc<LogEntry>],
    begins: bool,
    proof: Option<pb_event::Proof>,
) -> pb::Range {
    let event = |e: &Arc<LogEntry>| pb_event::Event {
        header: e.event.header_bytes.clone(),
        body: e.event.body.clone(),
    };
    pb::Range {
        channel: bytes_of(&channel),
        chat: Some(chat(parties)),
        epoch: epoch.0,
        first_seq: events.first().map_or(0, |e| e.event.header.seq.0),
        events: events.iter().map(event).collect(),
        proof,
        begins,
    }
}

/// Of which chain a peer speaks.
fn chain_of(have: &pb::Have) -> Result<(ChannelId, Epoch), PeerFault> {
    let channel = ChannelId::from_slice(&have.channel).map_err(|_| PeerFault("ack_malformed"))?;
    Ok((channel, Epoch(have.epoch)))
}

/// A peer's word as it may stand in a log and before people.
fn shown(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(REASON_CHARS).collect()
}

fn bytes_of(channel: &ChannelId) -> Bytes {
    Bytes::copy_from_slice(channel.as_bytes())
}

fn chat(parties: &[UserRef; 2]) -> pb::Chat {
    pb::Chat { a: parties[0].to_string(), b: parties[1].to_string() }
}

#[cfg(test)]
mod tests {
    use homing_core::presence::Watches;
    use homing_net::Frames;

    use super::*;

    fn link() -> RelayOut {
        RelayOut { frames: mpsc::channel(1).0, replies: Frames::ended() }
    }

    /// The hub opens a stream while the courier of the old one is in the middle of a round.
    #[test]
    fn what_was_put_in_for_a_new_stream_does_not_go_with_the_old() {
        let (satchel, metrics) = (Satchel::default(), NodeMetrics::default());
        let mut work = Work::new(HomeId([1; 32]), CourierLimits::default());
        satchel.open(ConnectionNo(1), link());
        assert!(satchel.take_link().is_some() && satchel.empty_into(&mut work));
        satchel.open(ConnectionNo(2), link());
        let group = ChannelId(uuid::Uuid::from_u128(7));
        satchel.key(group, 1, Secret::new([7; 32]));
        satchel.fleeting(|waits| waits.watch(Watches { anew: true, users: Vec::new() }));
        assert_eq!(satchel.keys().len(), 0);
        assert_eq!(satchel.take_fleeting(&metrics).len(), 0);
        assert!(!satchel.empty_into(&mut work), "the old one ends");
        assert!(satchel.take_link().is_some() && satchel.empty_into(&mut work));
        assert_eq!(satchel.keys().len(), 1);
        assert_eq!(satchel.take_fleeting(&metrics).len(), 1);
    }
}
