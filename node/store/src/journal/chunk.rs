//! Chunks of the index: where up to 64 entries of a channel are, and how far its chains had got.

use homing_core::EntryRow;
use homing_wire::{Epoch, HomeId, Pos, Seq, Stamp};
use serde::{Deserialize, Serialize};

use crate::values::{Stored, ValueError, stored};

/// Places in a chunk: one put of the index for so many messages.
pub(crate) const PLACES: u64 = 64;

/// The number of the chunk that holds `pos`.
pub(crate) fn number_of(pos: Pos) -> u64 {
    pos.0.saturating_sub(1) / PLACES
}

/// Entries `number * 64 + 1 ..= number * 64 + 64` of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) number: u64,
    /// Every chain that has an entry here or in an earlier chunk, and its last entry up to the end of
    /// this one. So a search need not walk.
    chains: Vec<Chain>,
    /// Ascending by `pos`.
    rows: Vec<Row>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Chain {
    origin: HomeId,
    epoch: Epoch,
    seq: Seq,
    pos: Pos,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Row {
    pos: Pos,
    /// Place in `chains`.
    chain: u32,
    seq: Seq,
    counted: u64,
    stamp: Stamp,
    frame: Frame,
}

/// Where an entry's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Frame {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

stored!(Chunk, 1);

impl Chunk {
    /// An empty chunk that follows `previous`.
    pub(crate) fn after(previous: Option<&Self>, number: u64) -> Self {
        let chains = previous.map(|previous| previous.chains.clone()).unwrap_or_default();
        Self { number, chains, rows: Vec::new() }
    }

    /// Notes an entry. At a place that is taken it must be the same event.
    pub(crate) fn set(&mut self, entry: &EntryRow, frame: Frame) {
        let chain = self.chain_index(entry.origin, entry.epoch).unwrap_or_else(|| {
            let EntryRow { origin, epoch, seq, pos, .. } = *entry;
            self.chains.push(Chain { origin, epoch, seq, pos });
            self.chains.len() - 1
        });
        let end = &mut self.chains[chain];
        end.seq = end.seq.max(entry.seq);
        end.pos = end.pos.max(entry.pos);
        let EntryRow { pos, seq, counted, stamp, .. } = *entry;
        let row = Row { pos, chain: chain as u32, seq, counted, stamp, frame };
        match self.rows.binary_search_by_key(&pos, |row| row.pos) {
            Ok(at) => self.rows[at] = row,
            Err(at) => self.rows.insert(at, row),
        }
    }

    /// The row of a place, and where its entry is.
    pub(crate) fn row(&self, pos: Pos) -> Option<(EntryRow, Frame)> {
        let at = self.rows.binary_search_by_key(&pos, |row| row.pos).ok()?;
        self.expand(&self.rows[at])
    }

    /// Places from `first` on with where their entries are.
    pub(crate) fn frames_from(&self, first: Pos) -> impl Iterator<Item = (Pos, Frame)> + '_ {
        let at = self.rows.partition_point(|row| row.pos < first);
        self.rows[at..].iter().map(|row| (row.pos, row.frame))
    }

    /// An entry stands elsewhere from now on, if `is_it` says so of where it stood. Tells whether it did.
    pub(crate) fn move_frame(
        &mut self,
        pos: Pos,
        is_it: impl FnOnce(Frame) -> bool,
        to: Frame,
    ) -> bool {
        let Ok(at) = self.rows.binary_search_by_key(&pos, |row| row.pos) else { return false };
        let moves = is_it(self.rows[at].frame);
        if moves {
            self.rows[at].frame = to;
        }
        moves
    }

    /// The last entry of `origin` at or below `pos` that stands in this chunk.
    pub(crate) fn last_row_of(&self, origin: HomeId, pos: Pos) -> Option<EntryRow> {
        let rows = self.rows.iter().rev().filter(|row| row.pos <= pos);
        rows.filter_map(|row| self.expand(row)).map(|(row, _)| row).find(|row| row.origin == origin)
    }

    /// The entry of a chain with the least seq at or above `seq` that stands in this chunk.
    pub(crate) fn row_of_seq(&self, origin: HomeId, epoch: Epoch, seq: Seq) -> Option<EntryRow> {
        let chain = self.chain_index(origin, epoch)? as u32;
        let row = self.rows.iter().find(|row| row.chain == chain && row.seq >= seq)?;
        self.expand(row).map(|(row, _)| row)
    }

    /// The place of the last entry of `origin` up to the end of this chunk.
    pub(crate) fn last_pos_of(&self, origin: HomeId) -> Option<Pos> {
        self.chains.iter().filter(|chain| chain.origin == origin).map(|chain| chain.pos).max()
    }

    /// The last seq of a chain up to the end of this chunk.
    pub(crate) fn last_seq_of(&self, origin: HomeId, epoch: Epoch) -> Option<Seq> {
        self.chain_index(origin, epoch).map(|chain| self.chains[chain].seq)
    }

    /// Memory it takes, about.
    pub(crate) fn weight(&self) -> usize {
        std::mem::size_of::<Self>()
            + self.rows.capacity() * std::mem::size_of::<Row>()
            + self.chains.capacity() * std::mem::size_of::<Chain>()
    }

    fn chain_index(&self, origin: HomeId, epoch: Epoch) -> Option<usize> {
        self.chains.iter().position(|chain| chain.epoch == epoch && chain.origin == origin)
    }

    fn expand(&self, row: &Row) -> Option<(EntryRow, Frame)> {
        let chain = self.chains.get(row.chain as usize)?;
        let Row { pos, seq, counted, stamp, frame, .. } = *row;
        let (origin, epoch) = (chain.origin, chain.epoch);
        Some((EntryRow { pos, counted, origin, epoch, seq, stamp }, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pos: u64, origin: u8, epoch: u64, seq: u64) -> EntryRow {
        EntryRow {
            pos: Pos(pos),
            counted: pos,
            origin: HomeId([origin; 32]),
            epoch: Epoch(epoch),
            seq: Seq(seq),
            stamp: Stamp(pos << 16),
        }
    }

    fn frame(offset: u32) -> Frame {
        Frame { segment: 1, offset, len: 10 }
    }

    #[test]
    fn numbers_follow_places() {
        assert_eq!([1, 64, 65, 128, 129].map(|p| number_of(Pos(p))), [0, 0, 1, 1, 2]);
    }

    #[test]
    fn lives_of_an_origin_are_told_apart() {
        let mut first = Chunk::after(None, 0);
        for (pos, epoch, seq) in [(1, 10, 1), (2, 10, 2), (3, 20, 1), (4, 10, 3)] {
            first.set(&row(pos, 1, epoch, seq), frame(pos as u32));
        }
        let home = HomeId([1; 32]);
        assert_eq!(first.last_row_of(home, Pos(3)), Some(row(3, 1, 20, 1)));
        assert_eq!(first.row_of_seq(home, Epoch(10), Seq(3)), Some(row(4, 1, 10, 3)));
        assert_eq!(first.row_of_seq(home, Epoch(20), Seq(2)), None);
        let next = Chunk::after(Some(&first), 1);
        assert_eq!(next.last_row_of(home, Pos(70)), None);
        assert_eq!(next.last_pos_of(home), Some(Pos(4)));
        assert_eq!(next.last_seq_of(home, Epoch(10)), Some(Seq(3)));
        assert_eq!(next.last_seq_of(HomeId([2; 32]), Epoch(10)), None);
    }

    #[test]
    fn a_place_written_again_moves() {
        let mut chunk = Chunk::after(None, 0);
        chunk.set(&row(1, 1, 1, 1), frame(100));
        chunk.set(&row(2, 1, 1, 2), frame(200));
        chunk.set(&row(1, 1, 1, 1), frame(300));
        assert_eq!(chunk.row(Pos(1)), Some((row(1, 1, 1, 1), frame(300))));
        assert_eq!(chunk.frames_from(Pos(2)).collect::<Vec<_>>(), [(Pos(2), frame(200))]);
    }
}
