//! The calls of a socket that wait for their answer, and the batches that they are answered in.

use std::collections::VecDeque;

use homing_link::Refused;
use smol_str::SmolStr;

use crate::frames;
use crate::rpc::{self, Outcome, REFUSAL_BYTES};

/// Where an outcome goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The client's id, raw JSON. `None`: nowhere.
    pub(crate) id: Option<SmolStr>,
    /// The batch it is part of.
    pub(crate) batch: Option<BatchNo>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchNo(u64);

/// A call that the node has and has not answered.
#[derive(Debug)]
pub(crate) struct Waiting {
    number: u64,
    pub(crate) target: Target,
    /// It is a `session.open`.
    pub(crate) opens: bool,
}

/// What an answer became.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Frames that were completed: none while a batch waits for more.
    pub(crate) frames: u64,
    /// The refusal that was written instead of the answer.
    pub(crate) instead: Option<Refused>,
}

/// All of a socket.
#[derive(Debug)]
pub(crate) struct Calls {
    frame_bytes: usize,
    next_number: u64,
    next_batch: u64,
    /// In the order handed over; nearly always answered in that order.
    waiting: VecDeque<Waiting>,
    batches: Vec<Batch>,
    /// The batch that holds answers of the node and is not complete.
    collecting: Option<BatchNo>,
}

/// A batch that is being answered.
#[derive(Debug)]
struct Batch {
    no: BatchNo,
    /// `[answer,answer` so far.
    out: Vec<u8>,
    /// Answers to come.
    left: usize,
    /// What these take at least.
    reserved: usize,
}

impl Calls {
    /// `frame_bytes` bounds an answer, and the answers of a batch together.
    pub(crate) fn new(frame_bytes: usize) -> Self {
        Self {
            frame_bytes,
            next_number: 0,
            next_batch: 0,
            waiting: VecDeque::new(),
            batches: Vec::new(),
            collecting: None,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Begins a batch that will be answered for these ids. `None` when it will not be answered.
    pub(crate) fn begin_batch<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a SmolStr>,
    ) -> Option<BatchNo> {
        let (left, reserved) =
            ids.fold((0, 0), |(left, reserved), id| (left + 1, reserved + reserve(id)));
        if left == 0 {
            return None;
        }
        let no = BatchNo(self.next_batch);
        self.next_batch += 1;
        self.batches.push(Batch { no, out: Vec::new(), left, reserved });
        Some(no)
    }

    /// Numbers a call that is handed to the node.
    pub(crate) fn enter(&mut self, target: Target, opens: bool) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.push_back(Waiting { number, target, opens });
        number
    }

    /// The call of this number, which waits no longer.
    pub(crate) fn leave(&mut self, number: u64) -> Option<Waiting> {
        let index = self.waiting.iter().position(|call| call.number == number)?;
        let call = self.waiting.remove(index);
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        call
    }

    /// The batch of which answers are held back until it is complete, if there is one.
    pub(crate) fn collecting(&self) -> Option<BatchNo> {
        self.collecting
    }

    /// The batch that a waiting call is part of.
    pub(crate) fn batch_of(&self, number: u64) -> Option<BatchNo> {
        self.waiting.iter().find(|call| call.number == number)?.target.batch
    }

    /// Writes an outcome where it belongs: into a frame of its own, or into its batch, which is
    /// written when it is complete. `by_node`: it must not be overtaken by what the node says next.
    pub(crate) fn answer(
        &mut self,
        out: &mut Vec<u8>,
        target: &Target,
        outcome: Outcome<'_>,
        by_node: bool,
    ) -> Written {
        let Some(id) = &target.id else {
            return Written::default();
        };
        let batch = target.batch.and_then(|no| self.batches.iter().position(|b| b.no == no));
        let Some(index) = batch else {
            let mark = frames::begin(out);
            let instead = rpc::write_answer(out, id, outcome, self.frame_bytes);
            frames::finish(out, mark);
            return Written { frames: 1, instead };
        };
        let batch = &mut self.batches[index];
        batch.left -= 1;
        batch.reserved -= reserve(id);
        batch.out.push(if batch.out.is_empty() { b'[' } else { b',' });
        let used = batch.out.len() + batch.reserved + 1;
        let room = self.frame_bytes.saturating_sub(used);
        let instead = rpc::write_answer(&mut batch.out, id, outcome, room);
        if batch.left > 0 {
            if by_node {
                self.collecting = Some(batch.no);
            }
            return Written { frames: 0, instead };
        }
        let batch = self.batches.swap_remove(index);
        if self.collecting == Some(batch.no) {
            self.collecting = None;
        }
        let mark = frames::begin(out);
        out.extend_from_slice(&batch.out);
        out.push(b']');
        frames::finish(out, mark);
        Written { frames: 1, instead }
    }
}

/// What an answer that is still to come takes in its batch, at least: a refusal and a comma.
fn reserve(id: &SmolStr) -> usize {
    id.len() + REFUSAL_BYTES + 1
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn ids(n: usize) -> Vec<SmolStr> {
        (0..n).map(|i| SmolStr::new(i.to_string())).collect()
    }

    #[test]
    fn a_batch_shares_one_frame() {
        const FRAME: usize = 100_000;
        let mut calls = Calls::new(FRAME);
        let ids = ids(8);
        let batch = calls.begin_batch(ids.iter());
        let page = format!("\"{}\"", "x".repeat(30_000));
        let mut out = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            let target = Target { id: Some(id.clone()), batch };
            let written = calls.answer(&mut out, &target, Outcome::Document(page.as_bytes()), true);
            let last = n + 1 == ids.len();
            assert_eq!(written.frames, u64::from(last));
            assert_eq!(calls.collecting().is_none(), last);
        }
        let payload = &out[10..];
        assert!(payload.len() <= FRAME, "{}", payload.len());
        let answers: Vec<Value> = serde_json::from_slice(payload).unwrap();
        let fit = answers.iter().filter(|a| a["result"].is_string()).count();
        assert!((2..=3).contains(&fit), "{fit}");
        let rest = answers.iter().filter(|a| a["error"]["code"] == -32006).count();
        assert_eq!(fit + rest, 8);
    }

    #[test]
    fn nothing_is_kept_when_nothing_waits() {
        let mut calls = Calls::new(100_000);
        let target = Target { id: None, batch: None };
        let numbers: Vec<u64> = (0..100).map(|_| calls.enter(target.clone(), false)).collect();
        assert_eq!(calls.len(), 100);
        for number in numbers.iter().rev() {
            assert!(calls.leave(*number).is_some());
        }
        assert!(calls.leave(3).is_none());
        assert_eq!(calls.waiting.capacity(), 0);
    }
}
