//! What is between the homes: connections that break and come back, streams that keep their order until then,
//! questions that do not, and delays.

use std::collections::BTreeMap;

use bytes::Bytes;
use homing_core::{Holdings, LetterReply, PeerMark, Question};
use homing_wire::proto::event::v1::Proof;
use homing_wire::{ChannelId, Epoch, Event, Head, Seq, UserRef};
use rand::Rng as _;
use rand::rngs::StdRng;

/// What keeps its order between two homes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Lane {
    Relay,
    Replies,
    /// In no order at all.
    Queries,
}

/// Header and body of an event, as they go over the wire.
pub(super) type Raw = (Bytes, Bytes);

/// The bytes of an event.
pub(super) fn raw(event: &Event) -> Raw {
    (event.header_bytes.clone(), event.body.clone())
}

/// A range of the sender's own chain.
#[derive(Clone, Debug)]
pub(super) struct RangeFrame {
    pub(super) channel: ChannelId,
    pub(super) parties: [UserRef; 2],
    pub(super) epoch: Epoch,
    pub(super) first: Seq,
    pub(super) events: Vec<Raw>,
    pub(super) proof: Option<Proof>,
    /// Of a group: the chain begins here for the receiving home.
    pub(super) begins: bool,
}

/// How far a home has got.
#[derive(Clone, Debug)]
pub(super) struct HaveFrame {
    pub(super) channel: ChannelId,
    pub(super) epoch: Epoch,
    pub(super) have: Seq,
    pub(super) rejected: Vec<(Seq, String)>,
    pub(super) need_roster: bool,
}

/// What goes from home to home.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    Range(Box<RangeFrame>),
    Pruned {
        parties: [UserRef; 2],
        epoch: Epoch,
        head: Head,
        proof: Option<Proof>,
    },
    Marks {
        number: u64,
        channel: ChannelId,
        marks: Vec<PeerMark>,
    },
    Pull,
    /// `homing.group.v1.SignedRoster`.
    Roster {
        signed: Bytes,
    },
    Letter {
        epoch: Epoch,
        number: u64,
        letter: Bytes,
    },
    Have(HaveFrame),
    RosterTaken {
        group: ChannelId,
        version: u64,
    },
    LettersTaken(LetterReply),
    Refuse {
        channel: ChannelId,
        reason: String,
    },
    MarksTaken {
        number: u64,
    },
    Ask {
        number: u64,
        question: Question,
    },
    Told {
        number: u64,
        answer: Box<Answer>,
    },
}

/// What is answered to a question.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Holdings(Holdings),
    Range {
        events: Vec<Raw>,
        headers: Vec<Bytes>,
        end: Option<(Head, Proof)>,
        begins: Option<Seq>,
    },
    /// A signed roster, if there is one for the asker.
    Roster(Option<Bytes>),
    /// It says no.
    Refused,
}

impl Frame {
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Range(_)
            | Self::Pruned { .. }
            | Self::Marks { .. }
            | Self::Roster { .. }
            | Self::Letter { .. }
            | Self::Pull => Lane::Relay,
            Self::Have(_)
            | Self::Refuse { .. }
            | Self::MarksTaken { .. }
            | Self::RosterTaken { .. }
            | Self::LettersTaken(_) => Lane::Replies,
            Self::Ask { .. } | Self::Told { .. } => Lane::Queries,
        }
    }

    /// A number for the trace.
    pub(super) fn code(&self) -> u64 {
        match self {
            Self::Range(range) => 1 << 32 | range.first.0 << 8 | range.events.len() as u64,
            Self::Pruned { head, .. } => 2 << 32 | head.seq.0,
            Self::Marks { number, .. } => 3 << 32 | number,
            Self::Pull => 4 << 32,
            Self::Have(have) => 5 << 32 | have.have.0,
            Self::Refuse { .. } => 6 << 32,
            Self::MarksTaken { number } => 7 << 32 | number,
            Self::Ask { number, .. } => 8 << 32 | number,
            Self::Told { number, .. } => 9 << 32 | number,
            Self::Roster { signed } => 10 << 32 | signed.len() as u64,
            Self::Letter { number, .. } => 11 << 32 | number,
            Self::RosterTaken { version, .. } => 12 << 32 ^ version,
            Self::LettersTaken(reply) => 13 << 32 | reply.upto << 1 | u64::from(reply.held),
        }
    }
}

/// How two homes are joined.
#[derive(Default)]
pub(super) struct Joint {
    /// Rises when it breaks and when it is made.
    pub(super) connection: u64,
    pub(super) up: bool,
    /// Not before then, in milliseconds of the run.
    pub(super) cut_until: u64,
    /// Both ends have opened it by then: nothing arrives before.
    opened: u64,
    slow: (u64, u64),
    /// When the last frame of a lane arrives, of the lower home's and of the higher's.
    arrives: [BTreeMap<Lane, u64>; 2],
}

/// All of them.
#[derive(Default)]
pub(super) struct Net {
    joints: BTreeMap<(usize, usize), Joint>,
}

impl Net {
    pub(super) fn joint(&mut self, a: usize, b: usize) -> &mut Joint {
        self.joints.entry((a.min(b), a.max(b))).or_default()
    }

    /// Whether a frame of that connection can still arrive.
    pub(super) fn is_on(&mut self, a: usize, b: usize, connection: u64) -> bool {
        let joint = self.joint(a, b);
        joint.up && joint.connection == connection
    }

    pub(super) fn slow(&mut self, a: usize, b: usize, by_ms: u64, until: u64) {
        self.joint(a, b).slow = (by_ms, until);
    }

    /// Everybody can reach everybody.
    pub(super) fn heal(&mut self) {
        for joint in self.joints.values_mut() {
            joint.cut_until = 0;
            joint.slow = (0, 0);
        }
    }

    /// When a frame that leaves now arrives.
    pub(super) fn delay(
        &mut self,
        rng: &mut StdRng,
        now: u64,
        from: usize,
        to: usize,
        lane: Lane,
    ) -> u64 {
        let joint = self.joint(from, to);
        let (by_ms, until) = joint.slow;
        let slower = if now < until { rng.random_range(0..=by_ms) } else { 0 };
        let at = now + rng.random_range(1..40) + slower;
        let at = at.max(joint.opened);
        if lane == Lane::Queries {
            return at;
        }
        let last = joint.arrives[usize::from(from > to)].entry(lane).or_default();
        *last = at.max(*last);
        *last
    }

    /// A new connection, which both ends have opened at `opened`: nothing arrives on it before.
    pub(super) fn join(&mut self, a: usize, b: usize, opened: u64) -> u64 {
        let joint = self.joint(a, b);
        joint.up = true;
        joint.connection += 1;
        joint.opened = opened;
        joint.connection
    }

    /// Whatever is on it is lost. Answers with the number it had.
    pub(super) fn part(&mut self, a: usize, b: usize) -> u64 {
        let joint = self.joint(a, b);
        let was = joint.connection;
        joint.connection += 1;
        joint.up = false;
        was
    }
}
