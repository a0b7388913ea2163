//! What is between the homes: streams that keep their order until they break, questions that do not, and what the
//! node does at both ends of them.

use std::collections::{BTreeMap, VecDeque};

use homing_core::{
    Answered, Courier, CourierLimits, Delivery, PeerMark, Question, RangeAnswer, RangeEnd, RangeIn,
    Repair, holdings, range_of,
};
use homing_wire::proto::event::v1::Proof;
use homing_wire::{
    ChannelId, Checker, Epoch, Event, Hash, Head, HeaderError, HomeId, ProofError, ProvenHead, Seq,
    prove, read_proof,
};

use super::{HOMES, Output, World};
use crate::node::{Seal, text};

/// What keeps its order between two homes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Lane {
    Relay,
    Replies,
    /// In no order at all.
    Queries,
}

/// What goes from home to home.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    Range(Box<RangeIn>),
    Marks { number: u64, channel: ChannelId, marks: Vec<PeerMark> },
    Pull,
    Have { channel: ChannelId, epoch: Epoch, have: Seq },
    MarksTaken { number: u64 },
    Ask { number: u64, question: Question },
    Told { number: u64, answer: Result<Box<Answered>, ProofError>, lie: bool },
}

impl Frame {
    fn lane(&self) -> Lane {
        match self {
            Self::Range(_) | Self::Marks { .. } | Self::Pull => Lane::Relay,
            Self::Have { .. } | Self::MarksTaken { .. } => Lane::Replies,
            Self::Ask { .. } | Self::Told { .. } => Lane::Queries,
        }
    }
}

type Queue = VecDeque<(u64, Frame)>;

/// Frames on their way, with the connection they are on.
#[derive(Default)]
pub(super) struct Net {
    lanes: BTreeMap<(usize, usize, Lane), Queue>,
    connections: BTreeMap<(usize, usize), u64>,
    /// Questions ever asked: each has a number of its own.
    asked: u64,
}

impl Net {
    pub(super) fn put(&mut self, from: usize, to: usize, connection: u64, frame: Frame) {
        let lane = self.lanes.entry((from, to, frame.lane())).or_default();
        lane.push_back((connection, frame));
    }

    /// Anything.
    pub(super) fn next(&mut self) -> Option<(usize, usize, u64, Frame)> {
        self.lanes.iter_mut().find_map(|((from, to, _), lane)| {
            lane.pop_front().map(|(connection, frame)| (*from, *to, connection, frame))
        })
    }

    fn connection(&self, a: usize, b: usize) -> u64 {
        self.connections.get(&(a.min(b), a.max(b))).copied().unwrap_or(0)
    }

    fn reconnect(&mut self, a: usize, b: usize) {
        *self.connections.entry((a.min(b), a.max(b))).or_default() += 1;
        self.lanes.retain(|(from, to, _), _| (*from, *to) != (a, b) && (*from, *to) != (b, a));
    }
}

/// A repair, and the question that is to be answered.
pub(super) struct RepairRun {
    work: Repair,
    question: u64,
}

/// Small, so that there is always more.
fn limits() -> CourierLimits {
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

/// Events and headers in one answer at most. An honest home gives more, and fewer where bodies are large.
const ANSWER_EVENTS: usize = 2;

impl World {
    pub(super) fn connect_all(&mut self) {
        for a in 0..HOMES {
            for b in 0..a {
                self.connect(a, b);
            }
        }
    }

    /// A new connection: what was on the old one is lost, and both begin with what they owe, or with asking.
    pub(super) fn connect(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.net.reconnect(a, b);
        for (home, peer) in [(a, b), (b, a)] {
            let id = self.members[peer].node.id;
            let member = &mut self.members[home];
            member.repairs.remove(&peer);
            let courier = Courier::new(member.node.id, limits());
            member.couriers.insert(peer, courier);
            if member.node.home.peer(&id).is_none() {
                let new = crate::node::peer(id, true);
                member.node.home.meets(new);
            }
            member.node.home.resume(&member.node.store, id).unwrap();
            self.go_on(home);
            if self.members[home].node.home.is_reconciling(&id) {
                self.repair(home, peer);
            }
        }
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, lane: Lane, place: usize) {
        let place = if lane == Lane::Queries { place } else { 0 };
        let queue = self.net.lanes.get_mut(&(from, to, lane));
        if let Some((connection, frame)) = queue.and_then(|queue| queue.remove(place)) {
            self.arrives(from, to, connection, frame);
        }
    }

    /// Whatever arrives may have arrived before, or later things may: on a stream that broke.
    pub(super) fn double(&mut self, from: usize, to: usize, place: usize) {
        let queue = self.net.lanes.get(&(from, to, Lane::Relay));
        let Some((_, frame)) = queue.and_then(|queue| queue.get(place)).cloned() else { return };
        if matches!(frame, Frame::Range(_) | Frame::Marks { .. }) {
            self.takes(from, to, frame);
            self.collect(to);
            self.go_on(to);
        }
    }

    pub(super) fn arrives(&mut self, from: usize, to: usize, connection: u64, frame: Frame) {
        if connection != self.net.connection(from, to) {
            return;
        }
        let reply = self.takes(from, to, frame);
        self.collect(to);
        let outputs = &mut self.members[to].outputs;
        outputs.extend(reply.map(|frame| Output::Frame(from, connection, frame)));
        self.go_on(to);
    }

    /// What a home does with a frame; the reply waits for what it changed.
    fn takes(&mut self, from: usize, to: usize, frame: Frame) -> Option<Frame> {
        let peer = self.members[from].node.id;
        let node = &mut self.members[to].node;
        match frame {
            Frame::Range(range) => {
                let reply = node.receive_as_is(peer, &range).unwrap();
                assert_eq!((reply.refused, reply.rejected.len()), (None, 0), "{range:?}");
                let (channel, epoch) = (range.channel, range.epoch);
                return Some(Frame::Have { channel, epoch, have: reply.have });
            }
            Frame::Marks { number, channel, marks } => {
                node.receive_marks(peer, channel, &marks).unwrap();
                return Some(Frame::MarksTaken { number });
            }
            Frame::Have { channel, epoch, have } => {
                let now = self.now;
                let courier = self.members[to].couriers.get_mut(&from).unwrap();
                courier.have(now, channel, epoch, have).unwrap();
                let node = &mut self.members[to].node;
                node.home.acknowledged(&node.store, peer, channel, epoch, have).unwrap().unwrap();
            }
            Frame::MarksTaken { number } => {
                let now = self.now;
                let courier = self.members[to].couriers.get_mut(&from).unwrap();
                for (channel, telling) in courier.marks_taken(now, number).unwrap() {
                    let node = &mut self.members[to].node;
                    node.home.marks_taken(&node.store, peer, channel, &telling).unwrap();
                }
            }
            Frame::Pull => {
                if !self.members[to].repairs.contains_key(&from) {
                    self.repair(to, from);
                }
            }
            Frame::Ask { number, question } => {
                self.members[to].outputs.push(Output::Question(from, number, question));
            }
            Frame::Told { number, answer, lie } => self.told(from, to, number, answer, lie),
        }
        None
    }

    /// What a courier may send now.
    pub(super) fn burst(&mut self, home: usize, peer: usize) {
        let connection = self.net.connection(home, peer);
        let member = &mut self.members[home];
        let Some(courier) = member.couriers.get_mut(&peer) else { return };
        loop {
            let burst = courier.burst(&member.node.store, self.now).unwrap();
            if burst.is_empty() {
                return;
            }
            for delivery in burst {
                let proven = delivery
                    .head()
                    .map(|(epoch, head)| crate::node::proven(member.node.id, epoch, head));
                let frame = match delivery {
                    Delivery::Range { channel, parties, epoch, events, begins } => {
                        Frame::Range(Box::new(RangeIn {
                            channel,
                            parties,
                            origin: member.node.id,
                            epoch,
                            first: events[0].event.header.seq,
                            events: events.iter().map(|e| parsed(&e.event)).collect(),
                            end: proven,
                            begins,
                        }))
                    }
                    Delivery::Pruned { .. } => panic!("nothing is pruned here"),
                    Delivery::Marks { number, channel, marks } => {
                        Frame::Marks { number, channel, marks }
                    }
                    Delivery::Roster(_) | Delivery::Letter { .. } => {
                        panic!("there are no groups here")
                    }
                    Delivery::Pull => Frame::Pull,
                };
                self.net.put(home, peer, connection, frame);
            }
        }
    }

    /// A peer that has answered nothing for too long is cut: its answers are on a slow way here.
    pub(super) fn wake(&mut self, home: usize) {
        for peer in 0..HOMES {
            let now = self.now;
            let Some(courier) = self.members[home].couriers.get_mut(&peer) else { continue };
            if let Err(fault) = courier.wake(now) {
                assert!(!self.well, "{fault}");
                self.connect(home, peer);
            } else {
                self.burst(home, peer);
            }
        }
    }

    fn repair(&mut self, home: usize, peer: usize) {
        let work = Repair::new(self.members[peer].node.id);
        self.members[home].repairs.insert(peer, RepairRun { work, question: 0 });
        self.ask(home, peer);
    }

    /// Asks the next question, once what was taken is on disk; or ends the repair.
    fn ask(&mut self, home: usize, peer: usize) {
        let (id, connection) = (self.members[peer].node.id, self.net.connection(home, peer));
        self.net.asked += 1;
        let number = self.net.asked;
        let member = &mut self.members[home];
        let Some(run) = member.repairs.get_mut(&peer) else { return };
        run.question = number;
        let node = &mut member.node;
        match run.work.next(&mut node.home, &node.store).unwrap() {
            Some(question) => {
                self.collect(home);
                let frame = Frame::Ask { number, question };
                self.members[home].outputs.push(Output::Frame(peer, connection, frame));
            }
            None => {
                assert!(!self.well || run.work.incomplete() == 0, "something was not shown");
                let incomplete = run.work.incomplete();
                member.repairs.remove(&peer);
                node.home.reconciled(&node.store, id, incomplete).unwrap();
            }
        }
        self.go_on(home);
    }

    /// Answers from what is on disk, and notes what the question tells.
    pub(super) fn answers(&mut self, asker: usize, home: usize, number: u64, question: &Question) {
        let (peer, connection) = (self.members[asker].node.id, self.net.connection(asker, home));
        let member = &mut self.members[home];
        let node = &mut member.node;
        let mut lie = false;
        let answer = match question {
            Question::Holdings { after } => {
                let page = holdings(&node.store, node.id, peer, *after).unwrap();
                for holding in &page.holdings {
                    node.home.owe_marks_to(&node.store, holding.channel, peer).unwrap();
                }
                Ok(Answered::Holdings(page))
            }
            Question::Range(asked) => {
                let mut answer = range_of(&node.store, node.id, peer, asked).unwrap().unwrap();
                shorten(&mut answer, asked.origin == node.id && !asked.headers);
                if asked.origin == node.id && !asked.headers {
                    let (channel, below) = (asked.channel, Seq(asked.first.0 - 1));
                    let told =
                        node.home.acknowledged(&node.store, peer, channel, asked.epoch, below);
                    told.unwrap().unwrap();
                }
                let end = answer
                    .end
                    .as_ref()
                    .map(|end| proof_of(end, node.id, asked.channel, asked.epoch));
                let mut events = Vec::new();
                let mut headers = Vec::new();
                for entry in &answer.events {
                    if asked.headers {
                        headers.push(entry.event.header_bytes.clone());
                    } else {
                        events.push(parsed(&entry.event));
                    }
                }
                let mut head = end;
                if let (true, Some(how)) = (asked.origin == peer && !events.is_empty(), member.lie)
                {
                    (member.lie, lie) = (None, true);
                    tamper(how, &mut events, &mut head, node.id, asked.epoch);
                }
                let checked = head.map(|(head, proof)| {
                    let seal = Seal(asked.origin);
                    Checker::default().check(asked.origin, asked.epoch, head, &proof, &seal)
                });
                checked.transpose().map(|end: Option<ProvenHead>| Answered::Range {
                    events,
                    headers,
                    end,
                    begins: answer.begins,
                })
            }
            Question::Roster { .. } => unreachable!("there are no groups here"),
        };
        // What it tells of the asker is on disk before the asker has an answer, and asks no more.
        let frame = Frame::Told { number, answer: answer.map(Box::new), lie };
        self.collect(home);
        self.members[home].outputs.push(Output::Frame(asker, connection, frame));
    }

    /// A home takes an answer. Of a lie nothing may come.
    fn told(
        &mut self,
        holder: usize,
        home: usize,
        number: u64,
        answer: Result<Box<Answered>, ProofError>,
        lie: bool,
    ) {
        let member = &mut self.members[home];
        let Some(run) = member.repairs.get_mut(&holder).filter(|run| run.question == number) else {
            return;
        };
        let node = &mut member.node;
        let before = (run.work.fetched(), node.home.change());
        let fault = match answer {
            Ok(answer) => {
                run.work.answered(&mut node.home, &node.store, node.now, *answer).unwrap().err()
            }
            Err(_) => Some(homing_core::PeerFault("proof")),
        };
        if lie {
            assert_eq!((run.work.fetched(), node.home.change()), before, "a lie was believed");
        }
        self.collect(home);
        match fault {
            // It may be found out, or have held something back: it is asked again.
            _ if lie => self.connect(home, holder),
            Some(fault) => panic!("an honest answer is at fault: {fault}"),
            None => self.ask(home, holder),
        }
    }
}

fn parsed(event: &Event) -> Result<Event, HeaderError> {
    Event::from_bytes(event.header_bytes.clone(), event.body.clone())
}

/// An own chain can be proven anywhere: it ends where the answer does.
fn shorten(answer: &mut RangeAnswer, own: bool) {
    if answer.events.len() <= ANSWER_EVENTS {
        return;
    }
    answer.events.truncate(ANSWER_EVENTS);
    if own {
        let last = &answer.events[ANSWER_EVENTS - 1].event;
        answer.end = Some(RangeEnd { seq: last.header.seq, hash: last.hash(), proof: None });
    }
}

fn proof_of(end: &RangeEnd, own: HomeId, channel: ChannelId, epoch: Epoch) -> (Head, Proof) {
    let head = Head { channel, seq: end.seq, hash: end.hash };
    let proof = match &end.proof {
        Some(kept) => read_proof(kept).unwrap(),
        None => prove(own, epoch, 1, &[head], &Seal(own)).remove(0),
    };
    (head, proof)
}

/// Words that the asking home never wrote, or its words not as it wrote them.
fn tamper(
    how: u8,
    events: &mut Vec<Result<Event, HeaderError>>,
    end: &mut Option<(Head, Proof)>,
    liar: HomeId,
    epoch: Epoch,
) {
    let last = events.last().unwrap().as_ref().unwrap().clone();
    let mut header = last.header.clone();
    match how {
        0 => drop(events.remove(0)),
        1 => {
            let (bytes, body) = (events[0].as_ref().unwrap().header_bytes.clone(), text("a lie"));
            events[0] = Event::from_bytes(bytes, body);
        }
        2 => {
            let body = text("a lie");
            (header.body_hash, header.body_size) = (Hash::of(&body), body.len() as u32);
            *events.last_mut().unwrap() = Ok(Event::new(header, body));
        }
        _ => {
            let body = text("a lie");
            (header.seq, header.prev) = (header.seq.next(), last.hash());
            (header.body_hash, header.body_size) = (Hash::of(&body), body.len() as u32);
            let event = Event::new(header, body);
            let (channel, seq) = (event.header.channel, event.header.seq);
            let head = Head { channel, seq, hash: event.hash() };
            *end = Some((head, prove(liar, epoch, 1, &[head], &Seal(liar)).remove(0)));
            events.push(Ok(event));
        }
    }
}
