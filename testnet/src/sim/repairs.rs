//! Repairs: homes ask each other what they hold, question by question, as the node's hub does it.

use homing_core::{
    Answered, PeerFault, Question, RangeAnswer, Repair, holdings, range_of, roster_for,
};
use homing_wire::proto::event::v1::Proof;
use homing_wire::{Event, Head, Seq, read_proof};

use super::Broken;
use super::driver::proof;
use super::member::{Output, RepairRun};
use super::net::{Answer, Frame, raw};
use super::world::World;

/// Events of an own chain in one answer: few, so that there is always more. (Of another's it is the limit of the
/// wire.)
const ANSWER_EVENTS: usize = 2;

impl World {
    pub(super) fn repairs(&mut self, home: usize, peer: usize) -> Result<(), Broken> {
        let work = Repair::new(self.members[peer].id);
        if let Some(link) = self.members[home].links.get_mut(&peer) {
            link.repair = Some(RepairRun { work, number: 0, question: None });
        }
        self.asks_on(home, peer)
    }

    /// Asks the next question, once what was taken is on disk; or ends the repair.
    fn asks_on(&mut self, home: usize, peer: usize) -> Result<(), Broken> {
        let id = self.members[peer].id;
        self.questions += 1;
        let number = self.questions;
        let member = &mut self.members[home];
        let Some(link) = member.links.get_mut(&peer) else { return Ok(()) };
        let (connection, Some(run)) = (link.connection, &mut link.repair) else { return Ok(()) };
        let Some(process) = &mut member.home else { return Ok(()) };
        run.number = number;
        run.question = run.work.next(process, &member.store)?;
        match run.question.clone() {
            Some(question) => {
                self.collects(home);
                let frame = Frame::Ask { number, question };
                self.members[home].outputs.push(Output::Frame(peer, connection, frame));
            }
            None => {
                let honest = !self.plan.villain;
                let (incomplete, later) = (run.work.incomplete(), run.work.later_life());
                let withheld = run.work.withheld();
                link.repair = None;
                process.reconciled(&member.store, id, incomplete)?;
                // The villain may well have signed what it does not keep.
                if let Some(life) = later.filter(|_| !self.is_villain(home)) {
                    let what =
                        format!("home {home} is shown that it lived later, in {life:?}, and stops");
                    return Err(Broken::new("P8", what));
                }
                if self.well && honest && withheld > 0 {
                    let what = format!("home {home} was not shown everything by {peer}");
                    return Err(Broken::new("P8", what));
                }
            }
        }
        Ok(())
    }

    /// Answers from what is on disk, and notes what the question tells.
    pub(super) fn answers(
        &mut self,
        asker: usize,
        home: usize,
        connection: u64,
        number: u64,
        question: &Question,
    ) -> Result<(), Broken> {
        if !self.members[home].is_connected(asker, connection) {
            return Ok(());
        }
        let peer = self.members[asker].id;
        let own = self.members[home].id;
        let mut fault = None;
        let (process, store) = self.members[home].process()?;
        let mut answer = match question {
            Question::Holdings { after } => {
                let page = holdings(store, own, peer, *after)?;
                for holding in &page.holdings {
                    process.owe_marks_to(store, holding.channel, peer)?;
                }
                Answer::Holdings(page)
            }
            Question::Roster { group } => Answer::Roster(roster_for(store, peer, *group)?),
            Question::Range(asked) => match range_of(store, own, peer, asked)? {
                Err(_) => Answer::Refused,
                Ok(mut answer) => {
                    let is_own = asked.origin == own && !asked.headers;
                    shorten(&mut answer, is_own);
                    if is_own {
                        let (channel, below) = (asked.channel, Seq(asked.first.0 - 1));
                        let told =
                            process.acknowledged(store, peer, channel, asked.epoch, below)?;
                        fault = told.err();
                    }
                    let end = answer.end.as_ref().map(|end| {
                        let head = Head { channel: asked.channel, seq: end.seq, hash: end.hash };
                        let kept = end.proof.as_ref().and_then(|kept| read_proof(kept));
                        (head, kept.unwrap_or_else(|| proof(own, asked.epoch, head)))
                    });
                    let entries = answer.events.iter();
                    let (mut events, mut headers) = (Vec::new(), Vec::new());
                    if asked.headers {
                        headers.extend(entries.map(|e| e.event.header_bytes.clone()));
                    } else {
                        events.extend(entries.map(|e| raw(&e.event)));
                    }
                    let begins = answer.begins;
                    Answer::Range { events, headers, end, begins }
                }
            },
        };
        if let Some(fault) = fault {
            self.is_at_fault(home, asker, fault, "question", true)?;
        }
        if self.is_villain(home) {
            self.villain.twists(question, own, peer, &mut answer);
        }
        // What it tells of the asker is on disk before the asker has an answer, and asks no more.
        self.collects(home);
        let frame = Frame::Told { number, answer: Box::new(answer) };
        self.members[home].outputs.push(Output::Frame(asker, connection, frame));
        Ok(())
    }

    pub(super) fn told(
        &mut self,
        holder: usize,
        home: usize,
        number: u64,
        answer: Answer,
    ) -> Result<(), Broken> {
        let clock = self.clock(home);
        let link = self.members[home].links.get(&holder);
        let run = link.and_then(|link| link.repair.as_ref()).filter(|run| run.number == number);
        let Some(question) = run.and_then(|run| run.question.clone()) else { return Ok(()) };
        let answered = self.answer_in(home, &question, answer);
        let member = &mut self.members[home];
        let Some(link) = member.links.get_mut(&holder) else { return Ok(()) };
        let (Some(run), Some(process)) = (&mut link.repair, &mut member.home) else {
            return Ok(());
        };
        let result = match answered {
            Ok(answered) => run.work.answered(process, &member.store, clock, answered)?,
            Err(fault) => Err(fault),
        };
        self.collects(home);
        match result {
            Ok(()) => self.asks_on(home, holder),
            Err(fault) => {
                if let Some(link) = self.members[home].links.get_mut(&holder) {
                    link.repair = None;
                }
                self.is_at_fault(home, holder, fault, "answer", true)
            }
        }
    }

    /// Reads an answer, and checks its proof.
    fn answer_in(
        &mut self,
        home: usize,
        question: &Question,
        answer: Answer,
    ) -> Result<Answered, PeerFault> {
        match (question, answer) {
            (Question::Holdings { .. }, Answer::Holdings(page)) => Ok(Answered::Holdings(page)),
            (Question::Range(asked), Answer::Range { events, headers, end, begins }) => {
                let checked = |(head, proof): (Head, Proof)| {
                    self.checked(asked.origin, asked.epoch, head, &proof)
                };
                let end = end.map(checked).transpose()?;
                let events = events.into_iter();
                let events = events.map(|(header, body)| Event::from_bytes(header, body)).collect();
                Ok(Answered::Range { events, headers, end, begins })
            }
            (Question::Roster { .. }, Answer::Roster(signed)) => {
                let Some(bytes) = signed else { return Ok(Answered::Roster(None)) };
                Ok(Answered::Roster(Some(Box::new(self.roster_in(home, bytes)?))))
            }
            (Question::Range(_), Answer::Refused) => Ok(Answered::NotAMember),
            (_, _) => Err(PeerFault("answer_mismatch")),
        }
    }
}

/// An own chain can be proven anywhere: it ends where the answer does.
fn shorten(answer: &mut RangeAnswer, own: bool) {
    if !own || answer.events.len() <= ANSWER_EVENTS {
        return;
    }
    answer.events.truncate(ANSWER_EVENTS);
    if let (Some(last), Some(end)) = (answer.events.last(), &mut answer.end) {
        (end.seq, end.hash) = (last.event.header.seq, last.event.hash());
    }
}
