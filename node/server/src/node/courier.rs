//! Couriers: one a peer, bringing it what is owed. The log is the outbox: a courier holds places, not events.
//!
//! The hub puts what is owed into the [`Satchel`]; it merges by channel, so a slow peer costs an entry a
//! channel, not one a message. While a stream is open the courier sends ranges, channel by channel in
//! turn, at most a window of bytes ahead of the acknowledgements. Each range is answered by one `Have`;
//! an answer that is behind what was sent, with nothing more under way, sends the courier back.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_core::{LogEntry, PeerMark};
use homing_net::RelayOut;
use homing_store::Store;
use homing_wire::proto::{event::v1 as pb_event, relay::v1 as pb};
use homing_wire::{ChannelId, Epoch, HomeId, Pos, Seq, UserRef};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, warn};

use super::input::Input;
use super::metrics::NodeMetrics;

/// Bytes of events in one range: several share a frame of 1 MiB at most, and a busy channel gives way
/// to the next after this much.
const RANGE_BYTES: usize = 256 << 10;
/// Entries looked at for one range.
const RANGE_ENTRIES: u64 = 512;
/// A peer that holds back (its clock, its rosters) is tried again after this long.
const HELD_BACK: Duration = Duration::from_secs(5);

/// What is owed of one channel.
#[derive(Clone, Debug)]
pub(super) struct OwedChannel {
    pub(super) parties: [UserRef; 2],
    pub(super) acked: Seq,
    pub(super) upto: Seq,
}

/// What the hub has for a courier.
#[derive(Default)]
pub(super) struct Satchel {
    inside: Mutex<Inside>,
    more: Notify,
}

/// Under one lock: a round takes what is owed only while no newer stream waits, or what was put in for the
/// new stream would go with the old.
#[derive(Default)]
struct Inside {
    owed: BTreeMap<ChannelId, OwedChannel>,
    marks: BTreeMap<ChannelId, Vec<PeerMark>>,
    link: Option<RelayOut>,
}

impl Satchel {
    /// Events of a channel up to `owed.upto` are on disk and owed.
    pub(super) fn owe(&self, channel: ChannelId, owed: OwedChannel) {
        match self.inside.lock().owed.entry(channel) {
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.upto = known.upto.max(owed.upto);
            }
            Entry::Vacant(entry) => {
                entry.insert(owed);
            }
        }
        self.more.notify_one();
    }

    /// The newest marks of a channel.
    pub(super) fn mark(&self, channel: ChannelId, marks: Vec<PeerMark>) {
        self.inside.lock().marks.insert(channel, marks);
        self.more.notify_one();
    }

    /// A stream is open: what was on an older one is void. What is owed is put in anew by the hub.
    pub(super) fn open(&self, link: RelayOut) {
        *self.inside.lock() =
            Inside { owed: BTreeMap::new(), marks: BTreeMap::new(), link: Some(link) };
        self.more.notify_one();
    }

    fn take_link(&self) -> Option<RelayOut> {
        self.inside.lock().link.take()
    }

    /// What is owed; `None` where a newer stream waits.
    fn take_owed(&self) -> Option<BTreeMap<ChannelId, OwedChannel>> {
        let mut inside = self.inside.lock();
        if inside.link.is_some() { None } else { Some(std::mem::take(&mut inside.owed)) }
    }

    /// The marks of one channel, if any wait, and no newer stream does.
    fn take_marks(&self) -> Option<(ChannelId, Vec<PeerMark>)> {
        let mut inside = self.inside.lock();
        if inside.link.is_some() { None } else { inside.marks.pop_first() }
    }
}

/// What a courier needs.
pub(super) struct Courier {
    pub(super) peer: HomeId,
    pub(super) home: HomeId,
    pub(super) epoch: Epoch,
    pub(super) store: Arc<dyn Store>,
    pub(super) satchel: Arc<Satchel>,
    pub(super) hub: mpsc::Sender<Input>,
    pub(super) window_bytes: usize,
    pub(super) metrics: Arc<NodeMetrics>,
}

/// A channel on its way.
struct Parcel {
    parties: [UserRef; 2],
    upto: Seq,
    /// The last event handed to the stream.
    sent: Seq,
    /// From where it was started, or last went back to.
    from: Seq,
    /// The place after it, where known.
    next_pos: Option<Pos>,
    /// Ranges under way: the bytes of each.
    under_way: VecDeque<usize>,
    /// Not before then: the peer holds back.
    held_until: Option<tokio::time::Instant>,
    queued: bool,
}

/// A stream's worth of a courier's work.
struct Round {
    parcels: HashMap<ChannelId, Parcel>,
    turn: VecDeque<ChannelId>,
    in_flight: usize,
    marks_sent: u64,
    marks_under_way: BTreeMap<u64, (ChannelId, Vec<PeerMark>)>,
}

impl Courier {
    /// Runs until the hub is gone.
    pub(super) async fn run(self) {
        loop {
            let link = loop {
                match self.satchel.take_link() {
                    Some(link) => break link,
                    None => self.satchel.more.notified().await,
                }
                if self.hub.is_closed() {
                    return;
                }
            };
            debug!(peer = %self.peer, "relay stream in use");
            self.serve(link).await;
            if self.hub.is_closed() {
                return;
            }
        }
    }

    /// Serves one stream until it closes or a newer one is there.
    async fn serve(&self, mut link: RelayOut) {
        let mut round = Round {
            parcels: HashMap::new(),
            turn: VecDeque::new(),
            in_flight: 0,
            marks_sent: 0,
            marks_under_way: BTreeMap::new(),
        };
        let mut outgoing: Option<pb::Frame> = None;
        loop {
            if !self.gather(&mut round) {
                return;
            }
            // Marks are few and gathered: they go first. Replies are taken while a frame waits, or both
            // ends could wait for each other with full queues.
            if outgoing.is_none() {
                outgoing = self.next_marks(&mut round);
            }
            while outgoing.is_none()
                && !round.turn.is_empty()
                && round.in_flight < self.window_bytes
            {
                outgoing = self.next_range(&mut round);
            }
            let held = round.parcels.values().filter_map(|p| p.held_until).min();
            let wake = async {
                match held {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                reply = link.replies.recv() => match reply {
                    Some(reply) => if !self.replied(&mut round, reply).await { return },
                    None => return,
                },
                permit = link.frames.reserve(), if outgoing.is_some() => match (permit, outgoing.take()) {
                    (Ok(permit), Some(frame)) => permit.send(frame),
                    (Ok(_), None) | (Err(_), _) => return,
                },
                () = self.satchel.more.notified() => {}
                () = wake => release_held(&mut round),
            }
        }
    }

    /// Takes what the hub has put in. False: a newer stream waits.
    fn gather(&self, round: &mut Round) -> bool {
        let Some(owed) = self.satchel.take_owed() else { return false };
        for (channel, owed) in owed {
            let parcel = round.parcels.entry(channel).or_insert_with(|| Parcel {
                parties: owed.parties.clone(),
                upto: owed.upto,
                sent: owed.acked,
                from: owed.acked,
                next_pos: None,
                under_way: VecDeque::new(),
                held_until: None,
                queued: false,
            });
            parcel.upto = parcel.upto.max(owed.upto);
            if !parcel.queued && parcel.held_until.is_none() && parcel.sent < parcel.upto {
                parcel.queued = true;
                round.turn.push_back(channel);
            }
        }
        true
    }

    /// The next range of the next channel in turn.
    fn next_range(&self, round: &mut Round) -> Option<pb::Frame> {
        let channel = round.turn.pop_front()?;
        let parcel = round.parcels.get_mut(&channel)?;
        parcel.queued = false;
        if parcel.sent >= parcel.upto || parcel.held_until.is_some() {
            return None;
        }
        let events = match self.read(channel, parcel) {
            Ok(events) => events,
            Err(error) => {
                // The hub meets the same store and stops; here nothing more can be done.
                warn!(peer = %self.peer, %channel, %error, "cannot read what is owed");
                return None;
            }
        };
        let first = events.first()?.event.header.seq;
        let last = events.last()?;
        let (last_seq, last_pos) = (last.event.header.seq, last.pos);
        let bytes: usize = events.iter().map(|e| e.event.size_bytes()).sum();
        let frame = pb::Frame {
            frame: Some(pb::frame::Frame::Range(pb::Range {
                channel: Bytes::copy_from_slice(channel.as_bytes()),
                chat: Some(pb::Chat {
                    a: parcel.parties[0].to_string(),
                    b: parcel.parties[1].to_string(),
                }),
                epoch: self.epoch.0,
                first_seq: first.0,
                events: events
                    .iter()
                    .map(|e| pb_event::Event {
                        header: e.event.header_bytes.clone(),
                        body: e.event.body.clone(),
                    })
                    .collect(),
            })),
        };
        parcel.sent = last_seq;
        parcel.next_pos = Some(last_pos.next());
        parcel.under_way.push_back(bytes);
        round.in_flight += bytes;
        if parcel.sent < parcel.upto {
            parcel.queued = true;
            round.turn.push_back(channel);
        }
        self.metrics
            .relay_events_out
            .fetch_add(events.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Some(frame)
    }

    /// Own events of a channel above `parcel.sent`, up to `parcel.upto` and the bounds of a range.
    fn read(
        &self,
        channel: ChannelId,
        parcel: &mut Parcel,
    ) -> Result<Vec<Arc<LogEntry>>, homing_core::Fault> {
        let mut pos = match parcel.next_pos {
            Some(pos) => pos,
            None => {
                let row =
                    self.store.row_of_seq(channel, self.home, self.epoch, parcel.sent.next())?;
                match row {
                    Some(row) => row.pos,
                    None => return Ok(Vec::new()),
                }
            }
        };
        // Others' events between are passed over; a stretch of nothing but those is walked through.
        loop {
            let last = Pos(pos.0 + RANGE_ENTRIES - 1);
            let entries = self.store.log(channel, pos, last, RANGE_BYTES)?;
            let Some(end) = entries.last().map(|e| e.pos) else { return Ok(Vec::new()) };
            let own: Vec<Arc<LogEntry>> = entries
                .into_iter()
                .filter(|e| {
                    let header = &e.event.header;
                    header.origin == self.home
                        && header.epoch == self.epoch
                        && header.seq > parcel.sent
                        && header.seq <= parcel.upto
                })
                .collect();
            if !own.is_empty() {
                return Ok(own);
            }
            pos = end.next();
            parcel.next_pos = Some(pos);
        }
    }

    fn next_marks(&self, round: &mut Round) -> Option<pb::Frame> {
        let (channel, marks) = self.satchel.take_marks()?;
        round.marks_sent += 1;
        let number = round.marks_sent;
        round.marks_under_way.insert(number, (channel, marks.clone()));
        Some(pb::Frame {
            frame: Some(pb::frame::Frame::Marks(pb::Marks {
                number,
                channel: Bytes::copy_from_slice(channel.as_bytes()),
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
            })),
        })
    }

    /// Takes a reply of the peer. False: the stream is of no more use.
    async fn replied(&self, round: &mut Round, reply: pb::Frame) -> bool {
        match reply.frame {
            Some(pb::frame::Frame::Ack(ack)) => {
                for have in ack.have {
                    if !self.have(round, &have).await {
                        return false;
                    }
                }
                while let Some(entry) = round.marks_under_way.first_entry() {
                    if *entry.key() > ack.marks {
                        break;
                    }
                    // The home compares them with the newest: those clear the debt.
                    let (channel, marks) = entry.remove();
                    let input = Input::MarksTaken { peer: self.peer, channel, marks };
                    if self.hub.send(input).await.is_err() {
                        return false;
                    }
                }
                true
            }
            Some(pb::frame::Frame::Refuse(refuse)) => {
                let Ok(channel) = ChannelId::from_slice(&refuse.channel) else { return false };
                if let Some(parcel) = round.parcels.remove(&channel) {
                    round.in_flight -= parcel.under_way.iter().sum::<usize>();
                }
                round.turn.retain(|c| *c != channel);
                let input = Input::RefusedBy { peer: self.peer, channel, reason: refuse.reason };
                self.hub.send(input).await.is_ok()
            }
            // The network lets only answers through here.
            Some(
                pb::frame::Frame::Range(_)
                | pb::frame::Frame::Marks(_)
                | pb::frame::Frame::Heads(_)
                | pb::frame::Frame::Ping(_)
                | pb::frame::Frame::Pong(_),
            )
            | None => true,
        }
    }

    /// One range is answered.
    async fn have(&self, round: &mut Round, have: &pb::Have) -> bool {
        let Ok(channel) = ChannelId::from_slice(&have.channel) else { return false };
        if have.epoch != self.epoch.0 {
            return true;
        }
        for rejected in &have.rejected {
            warn!(
                peer = %self.peer, %channel, seq = rejected.seq, reason = %rejected.reason,
                "a peer rejected a message of ours"
            );
        }
        let Some(parcel) = round.parcels.get_mut(&channel) else { return true };
        let Some(bytes) = parcel.under_way.pop_front() else {
            warn!(peer = %self.peer, %channel, "a peer acknowledges what was not sent");
            return false;
        };
        round.in_flight -= bytes;
        let seq = Seq(have.seq);
        if seq > parcel.upto {
            warn!(peer = %self.peer, %channel, "a peer acknowledges what was not sent");
            return false;
        }
        if seq > parcel.sent {
            // It had more than was known here: what was owed is noted before the last answers are in.
            parcel.sent = seq;
            parcel.next_pos = None;
        }
        if parcel.under_way.is_empty() && seq < parcel.sent {
            // Everything is answered and the peer is behind: go on from where it is. Where it got no further
            // than it was, it holds back.
            let stuck = seq == parcel.from;
            parcel.sent = seq;
            parcel.from = seq;
            parcel.next_pos = None;
            if stuck {
                parcel.held_until = Some(tokio::time::Instant::now() + HELD_BACK);
            } else {
                requeue(parcel, channel, &mut round.turn);
            }
        }
        let input = Input::Acknowledged { peer: self.peer, channel, epoch: self.epoch, have: seq };
        if parcel.under_way.is_empty() && parcel.sent == parcel.upto && seq == parcel.sent {
            round.parcels.remove(&channel);
        }
        self.hub.send(input).await.is_ok()
    }
}

fn requeue(parcel: &mut Parcel, channel: ChannelId, turn: &mut VecDeque<ChannelId>) {
    if !parcel.queued && parcel.sent < parcel.upto {
        parcel.queued = true;
        turn.push_back(channel);
    }
}

fn release_held(round: &mut Round) {
    let now = tokio::time::Instant::now();
    for (channel, parcel) in &mut round.parcels {
        if parcel.held_until.is_some_and(|at| at <= now) {
            parcel.held_until = None;
            requeue(parcel, *channel, &mut round.turn);
        }
    }
}
