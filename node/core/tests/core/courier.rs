//! What the node's courier does, in small: it brings what is owed to one peer, range by range, goes back
//! where the peer is behind, and brings the newest marks.

use std::collections::BTreeMap;

use homing_core::{PeerMark, RangeIn};
use homing_wire::{ChannelId, Epoch, Seq};

/// Events in a range, and ranges under way in one channel.
const RANGE: usize = 3;
const WINDOW: usize = 2;

/// What goes from home to home.
#[derive(Clone)]
pub(crate) enum Frame {
    Range(Box<RangeIn>),
    Marks { number: u64, channel: ChannelId, marks: Vec<PeerMark> },
    Have { channel: ChannelId, epoch: Epoch, have: Seq },
    MarksTaken { number: u64 },
}

#[derive(Default)]
pub(crate) struct Courier {
    parcels: BTreeMap<ChannelId, Parcel>,
    marks: BTreeMap<ChannelId, Vec<PeerMark>>,
    marks_sent: u64,
    marks_under_way: BTreeMap<u64, (ChannelId, Vec<PeerMark>)>,
}

struct Parcel {
    sent: Seq,
    upto: Seq,
    under_way: usize,
}

impl Courier {
    pub(crate) fn owe(&mut self, channel: ChannelId, acked: Seq, upto: Seq) {
        let new = Parcel { sent: acked, upto, under_way: 0 };
        let parcel = self.parcels.entry(channel).or_insert(new);
        parcel.upto = parcel.upto.max(upto);
    }

    pub(crate) fn mark(&mut self, channel: ChannelId, marks: Vec<PeerMark>) {
        self.marks.insert(channel, marks);
    }

    /// What may be sent now. `read`: a channel's events from a seq on, so many at most.
    pub(crate) fn pump(&mut self, read: impl Fn(ChannelId, u64, usize) -> RangeIn) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (channel, marks) in std::mem::take(&mut self.marks) {
            self.marks_sent += 1;
            self.marks_under_way.insert(self.marks_sent, (channel, marks.clone()));
            frames.push(Frame::Marks { number: self.marks_sent, channel, marks });
        }
        for (channel, parcel) in &mut self.parcels {
            while parcel.sent < parcel.upto && parcel.under_way < WINDOW {
                let most = RANGE.min((parcel.upto.0 - parcel.sent.0) as usize);
                let range = read(*channel, parcel.sent.0 + 1, most);
                assert!(!range.events.is_empty(), "what is owed is on disk");
                parcel.sent = Seq(parcel.sent.0 + range.events.len() as u64);
                parcel.under_way += 1;
                frames.push(Frame::Range(Box::new(range)));
            }
        }
        frames
    }

    /// A range is answered. The network doubles answers too: those change nothing here.
    pub(crate) fn have(&mut self, channel: ChannelId, have: Seq) {
        let Some(parcel) = self.parcels.get_mut(&channel) else { return };
        parcel.under_way = parcel.under_way.saturating_sub(1);
        if parcel.under_way == 0 {
            parcel.sent = have;
        }
    }

    /// Marks are taken: which.
    pub(crate) fn taken(&mut self, number: u64) -> Option<(ChannelId, Vec<PeerMark>)> {
        self.marks_under_way.remove(&number)
    }
}
