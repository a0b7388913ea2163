//! What a home's process does with what comes: as the node's hub, receiver, courier and repair do it.

use homing_core::{
    Courier, Delivery, Effect, Failure, LetterReply, Mark, OwedChannel, PeerFault, RangeIn,
    Reader as _, Sealer, SendCommand,
};
use homing_store::Store as _;
use homing_wire::proto::event::v1::Proof;
use homing_wire::{
    ChannelId, Checker, Epoch, Event, Head, HomeId, Letter, Local, ProvenHead, RosterError, Seq,
    SignedRoster, UserRef, prove,
};
use rand::Rng as _;

use super::member::Output;
use super::net::{Frame, HaveFrame, RangeFrame, raw};
use super::seal::{Gullible, Seal};
use super::world::{Happening, MONDAY_MS, World};
use super::{Broken, Canary};

/// Faults of a peer on one connection before it is cut.
const STRIKES: u32 = 3;

/// Whoever was cut for a fault is not talked to for so long, in milliseconds.
const FAULT_MS: u64 = 4_000;

/// A flush takes at most so long, in milliseconds.
const FLUSH_MS: u64 = 20;

/// One in forty meets a disk that is busy, and takes at most so long.
const STALL_MS: u64 = 1_500;

impl World {
    // Clients.

    pub(super) fn sends_in_name(
        &mut self,
        home: usize,
        which: usize,
        command: SendCommand,
    ) -> Result<(), Broken> {
        let clock = self.clock(home);
        let (process, store) = self.members[home].process()?;
        let reply = match process.send(store, clock, command) {
            Ok(reply) => reply,
            // Homes may say of their own users that they are gone, a dishonest one too.
            Err(Failure::Refused(_)) if self.is_with_villain(which) => {
                let wish = &mut self.ledger.wishes[which];
                (wish.asked_at, wish.past) = (None, true);
                return Ok(());
            }
            // What is answered already comes back, if it was lost.
            Err(Failure::Refused(refusal)) if self.is_in_vain(which, refusal.reason) => {
                let wish = &mut self.ledger.wishes[which];
                if wish.answer.is_none() {
                    (wish.asked_at, wish.past) = (None, true);
                }
                return Ok(());
            }
            // Who is not in a group may not write into it; what is written already is not asked for again.
            Err(Failure::Refused(refusal)) if self.is_out(which, refusal.reason) => {
                let wish = &mut self.ledger.wishes[which];
                (wish.asked_at, wish.past) = (None, true);
                return Ok(());
            }
            Err(failure) => {
                return Err(Broken::new("P5", format!("message {which} is refused: {failure:?}")));
            }
        };
        self.collects(home);
        self.members[home].outputs.push(Output::Answer(which, reply));
        self.goes_on(home)
    }

    fn is_out(&self, which: usize, reason: &str) -> bool {
        let wish = &self.ledger.wishes[which];
        wish.to.is_none()
            && wish.answer.is_none()
            && ["left", "not_allowed", "channel_not_found"].contains(&reason)
    }

    pub(super) fn opens_chat(
        &mut self,
        home: usize,
        user: &Local,
        with: &UserRef,
    ) -> Result<(), Broken> {
        let clock = self.clock(home);
        let (process, store) = self.members[home].process()?;
        process
            .open_chat(store, clock, user, with)
            .map_err(|failure| Broken::new("P5", format!("a chat is refused: {failure:?}")))?;
        self.goes_on(home)
    }

    pub(super) fn raises(
        &mut self,
        home: usize,
        user: &Local,
        channel: ChannelId,
        mark: Mark,
    ) -> Result<(), Broken> {
        let clock = self.clock(home);
        let (process, store) = self.members[home].process()?;
        process
            .mark(store, clock, user, channel, mark)
            .map_err(|failure| Broken::new("P5", format!("a mark is refused: {failure:?}")))?;
        self.goes_on(home)
    }

    // Steps.

    pub(super) fn ticks(&mut self, home: usize) -> Result<(), Broken> {
        let clock = self.clock(home);
        let (process, store) = self.members[home].process()?;
        process.tick(store, clock)?;
        self.collects(home);
        let member = &self.members[home];
        if member.under_way.is_none() && member.home.as_ref().is_some_and(|home| home.has_step()) {
            self.submits(home)?;
        }
        self.goes_on(home)?;
        self.wakes(home)?;
        self.check_answers(home)
    }

    pub(super) fn collects(&mut self, home: usize) {
        let member = &mut self.members[home];
        if let Some(process) = &mut member.home {
            member.outputs.extend(process.drain_effects().map(Output::Effect));
        }
    }

    /// What a hub does after every input.
    pub(super) fn goes_on(&mut self, home: usize) -> Result<(), Broken> {
        self.collects(home);
        let member = &mut self.members[home];
        let Some(process) = &member.home else { return Ok(()) };
        if member.under_way.is_some() {
            return Ok(());
        }
        if process.is_urgent() {
            self.submits(home)
        } else {
            let outputs = std::mem::take(&mut member.outputs);
            self.publishes(home, outputs)
        }
    }

    fn submits(&mut self, home: usize) -> Result<(), Broken> {
        let member = &mut self.members[home];
        let outputs = std::mem::take(&mut member.outputs);
        let (process, _) = member.process()?;
        let step = process.take_step();
        if step.batch.writes.is_empty() {
            process.committed(step.number);
            return self.publishes(home, outputs);
        }
        let (early, late) = match self.canary {
            Some(Canary::EarlyAnswer) => {
                outputs.into_iter().partition(|output| matches!(output, Output::Answer(..)))
            }
            Some(Canary::EarlyAck) => outputs
                .into_iter()
                .partition(|output| matches!(output, Output::Frame(_, _, Frame::Have(_)))),
            _ => (Vec::new(), outputs),
        };
        let process = member.process;
        member.under_way = Some((step, late));
        let longest = if self.rng.random_range(0..40) == 0 { STALL_MS } else { FLUSH_MS };
        let flush = self.rng.random_range(1..=longest);
        self.after(flush, Happening::Flushed { home, process });
        for output in early {
            self.publishes_one(home, output)?;
        }
        Ok(())
    }

    pub(super) fn flushed(&mut self, home: usize) -> Result<(), Broken> {
        let lost = self.canary == Some(Canary::LostFlush) && self.rng.random_range(0..200) == 0;
        let member = &mut self.members[home];
        let Some((mut step, outputs)) = member.under_way.take() else { return Ok(()) };
        if lost {
            step.batch.writes.retain(|write| !matches!(write, homing_core::Write::Owed { .. }));
        }
        member.store.commit(&step.batch)?;
        let (process, _) = member.process()?;
        process.committed(step.number);
        self.publishes(home, outputs)?;
        self.goes_on(home)
    }

    fn publishes(&mut self, home: usize, outputs: Vec<Output>) -> Result<(), Broken> {
        for output in outputs {
            self.publishes_one(home, output)?;
        }
        let peers: Vec<usize> = self.members[home].links.keys().copied().collect();
        for peer in peers {
            self.bursts(home, peer)?;
        }
        if self.members[home].outputs.is_empty() { Ok(()) } else { self.goes_on(home) }
    }

    fn publishes_one(&mut self, home: usize, output: Output) -> Result<(), Broken> {
        match output {
            Output::Answer(which, reply) => {
                if self.canary != Some(Canary::EarlyAnswer) {
                    let entry = self.members[home].store.entry(reply.channel, reply.pos)?;
                    if entry.is_none_or(|entry| entry.event.header.id != reply.id) {
                        let what = format!("message {which} is answered and not on disk");
                        return Err(Broken::new("P1", what));
                    }
                }
                self.ledger.answered(which, reply)
            }
            Output::Made(made) => self.tells_made(home, made),
            Output::Frame(to, connection, frame) => {
                self.sends(home, to, connection, frame);
                Ok(())
            }
            Output::Question { from, connection, number, question } => {
                self.answers(from, home, connection, number, &question)
            }
            Output::Effect(effect) => self.follows(home, effect),
        }
    }

    fn follows(&mut self, home: usize, effect: Effect) -> Result<(), Broken> {
        let change = match &effect {
            Effect::Message { change, .. }
            | Effect::Changed { change, .. }
            | Effect::Rejected { change, .. }
            | Effect::Marked { change, .. }
            | Effect::Channel { change, .. }
            | Effect::ChannelOf { change, .. } => *change,
            Effect::Owed { .. }
            | Effect::Pull { .. }
            | Effect::Marks { .. }
            | Effect::Roster { .. }
            | Effect::Letter { .. }
            | Effect::Settled { .. } => 0,
        };
        if change > self.members[home].store.meta().change {
            let what = format!("home {home} tells of change {change} before it is on disk");
            return Err(Broken::new("P1", what));
        }
        match effect {
            Effect::Message { entry, change } => self.shows(home, &entry, change),
            Effect::Changed { message, by, change } => {
                self.shows_changed(home, &message.entry, by.as_deref(), change)
            }
            Effect::Rejected { entry, change, .. } => self.shows_rejected(home, &entry, change),
            Effect::Marked { channel, user, mark, change, .. } => {
                self.seen_by_clients(home, channel, change)?;
                if channel.is_group() {
                    return Ok(()); // they begin anew with every stay
                }
                let told = self.members[home].told.entry((channel, user.clone())).or_default();
                if mark.read < told.read || mark.delivered < told.delivered {
                    let what =
                        format!("home {home}: {user:?}'s mark falls from {told:?} to {mark:?}");
                    return Err(Broken::new("P2", what));
                }
                *told = mark;
                Ok(())
            }
            Effect::Channel { channel, change } | Effect::ChannelOf { channel, change, .. } => {
                self.seen_by_clients(home, channel, change)
            }
            Effect::Owed { peer, channel, parties, epoch, acked, upto, begins, roster } => {
                let owed = OwedChannel { parties, epoch, acked, upto, begins, roster };
                self.courier(home, peer, |courier| courier.owe(channel, owed));
                Ok(())
            }
            Effect::Marks { peer, channel, telling } => {
                self.courier(home, peer, |courier| courier.mark(channel, telling));
                Ok(())
            }
            Effect::Pull { peer } => {
                self.courier(home, peer, Courier::pull);
                Ok(())
            }
            Effect::Roster { peer, signed } => {
                let roster = signed.roster();
                if roster.owner == self.members[home].id {
                    self.ledger.rosters.insert((roster.group, roster.version));
                }
                self.courier(home, peer, |courier| courier.roster(signed));
                Ok(())
            }
            Effect::Letter { peer, number, after, letter } => {
                self.courier(home, peer, |courier| courier.letter(number, after, letter));
                Ok(())
            }
            // Clients that asked for a change see it in the roster that follows.
            Effect::Settled { .. } => Ok(()),
        }
    }

    fn courier(&mut self, home: usize, peer: HomeId, does: impl FnOnce(&mut Courier)) {
        let peer = self.number_of(&peer);
        if let Some(link) = self.members[home].links.get_mut(&peer) {
            does(&mut link.courier);
        }
    }

    // Connections.

    /// A new connection: both begin with what they owe, or with asking.
    pub(super) fn opened(
        &mut self,
        home: usize,
        peer: usize,
        connection: u64,
    ) -> Result<(), Broken> {
        let state = self.members[peer].as_peer();
        let id = state.home;
        let asks = self.members[home].meets(peer, connection, state)?;
        if asks {
            self.repairs(home, peer)?;
        }
        if self.canary != Some(Canary::NoResume) {
            let (process, store) = self.members[home].process()?;
            process.resume(store, id)?;
        }
        self.goes_on(home)
    }

    /// What a courier may send now.
    fn bursts(&mut self, home: usize, peer: usize) -> Result<(), Broken> {
        loop {
            let now = self.now;
            let member = &mut self.members[home];
            let Some(link) = member.links.get_mut(&peer) else { return Ok(()) };
            let (connection, own, life) = (link.connection, member.id, member.epoch);
            let burst = link.courier.burst(&member.store, now)?;
            if burst.is_empty() {
                return Ok(());
            }
            for delivery in burst {
                let proof = delivery.head().map(|(epoch, head)| proof(own, epoch, head));
                let frame = match delivery {
                    Delivery::Range { channel, parties, epoch, events, begins } => {
                        let first = events.first().map_or(Seq(0), |entry| entry.event.header.seq);
                        let events = events.iter().map(|entry| raw(&entry.event)).collect();
                        let range =
                            RangeFrame { channel, parties, epoch, first, events, proof, begins };
                        Frame::Range(Box::new(range))
                    }
                    Delivery::Pruned { channel, parties, epoch, seq, hash } => {
                        let head = Head { channel, seq, hash };
                        Frame::Pruned { parties, epoch, head, proof }
                    }
                    Delivery::Marks { number, channel, marks } => {
                        Frame::Marks { number, channel, marks }
                    }
                    Delivery::Roster(signed) => Frame::Roster { signed: signed.bytes().clone() },
                    Delivery::Letter { number, letter } => {
                        Frame::Letter { epoch: life, number, letter }
                    }
                    Delivery::Pull => Frame::Pull,
                };
                self.sends(home, peer, connection, frame);
            }
        }
    }

    /// A peer that has answered nothing for too long is cut.
    fn wakes(&mut self, home: usize) -> Result<(), Broken> {
        let (now, peers): (u64, Vec<usize>) =
            (self.now, self.members[home].links.keys().copied().collect());
        for peer in peers {
            let Some(link) = self.members[home].links.get_mut(&peer) else { continue };
            match link.courier.wake(now) {
                Ok(()) => self.bursts(home, peer)?,
                Err(fault) if self.well && !self.is_villain(home) && !self.is_villain(peer) => {
                    return Err(self.blames(home, peer, fault, "while all is well"));
                }
                Err(_) => self.breaks(home, peer, now + FAULT_MS),
            }
        }
        Ok(())
    }

    /// A peer did what no honest home does. Of an honest one that must not be said.
    pub(super) fn is_at_fault(
        &mut self,
        home: usize,
        peer: usize,
        fault: PeerFault,
        on: &str,
        cut: bool,
    ) -> Result<(), Broken> {
        if self.is_villain(home) {
            // It has answers coming to what it should not have sent.
            return Ok(());
        }
        if !self.is_villain(peer) {
            return Err(self.blames(home, peer, fault, on));
        }
        let Some(link) = self.members[home].links.get_mut(&peer) else { return Ok(()) };
        link.strikes += 1;
        if cut || link.strikes >= STRIKES {
            self.breaks(home, peer, self.now + FAULT_MS);
        }
        Ok(())
    }

    fn blames(&self, home: usize, peer: usize, fault: PeerFault, on: &str) -> Broken {
        Broken::new(fault.0, format!("home {home} blames honest home {peer} ({on})"))
    }

    // Frames.

    pub(super) fn arrives(
        &mut self,
        from: usize,
        to: usize,
        connection: u64,
        frame: Frame,
    ) -> Result<(), Broken> {
        match frame {
            Frame::Ask { number, question } => {
                let question = Output::Question { from, connection, number, question };
                self.members[to].outputs.push(question);
            }
            Frame::Told { number, answer } => self.told(from, to, number, *answer)?,
            Frame::Pull => {
                let link = self.members[to].links.get(&from);
                if link.is_some_and(|link| link.repair.is_none()) {
                    self.repairs(to, from)?;
                }
            }
            Frame::Have(have) => self.had(from, to, &have)?,
            Frame::RosterTaken { group, version } => self.roster_taken(from, to, group, version)?,
            Frame::LettersTaken(reply) => self.letters_taken(from, to, reply)?,
            Frame::Refuse { channel, reason } => self.refused(from, to, channel, &reason)?,
            Frame::MarksTaken { number } => self.marks_taken(from, to, number)?,
            Frame::Range(_)
            | Frame::Pruned { .. }
            | Frame::Marks { .. }
            | Frame::Roster { .. }
            | Frame::Letter { .. } => {
                let reply = self.takes(from, to, frame)?;
                self.collects(to);
                let outputs = &mut self.members[to].outputs;
                outputs.extend(reply.map(|frame| Output::Frame(from, connection, frame)));
            }
        }
        self.goes_on(to)
    }

    /// What a home does with what its peer wrote; the reply waits for what it changed.
    pub(super) fn takes(
        &mut self,
        from: usize,
        to: usize,
        frame: Frame,
    ) -> Result<Option<Frame>, Broken> {
        let (peer, clock) = (self.members[from].id, self.clock(to));
        match frame {
            Frame::Range(frame) => {
                let (channel, epoch) = (frame.channel, frame.epoch);
                let result = match self.range_in(peer, *frame) {
                    Ok(range) => {
                        let (process, store) = self.members[to].process()?;
                        process.receive_range(store, clock, peer, &range)?
                    }
                    Err(fault) => Err(fault),
                };
                match result {
                    Ok(reply) => {
                        // Of a group the peer may not know yet who is out.
                        let out =
                            |why: &str| channel.is_group() && (why == "no_right" || why == "left");
                        let mut rejected = reply.rejected.iter();
                        let expected = rejected.all(|(_, why)| *why == "id_reused" || out(why))
                            && reply.refused.is_none_or(out);
                        if !self.is_villain(from) && !expected {
                            let what = format!("home {to} does not take from {from}: {reply:?}");
                            return Err(Broken::new("P5", what));
                        }
                        if let Some(reason) = reply.refused {
                            return Ok(Some(Frame::Refuse { channel, reason: reason.to_owned() }));
                        }
                        let rejected = reply.rejected.into_iter();
                        let rejected = rejected.map(|(seq, why)| (seq, why.to_owned())).collect();
                        let (have, need_roster) = (reply.have, reply.need_roster);
                        let have = HaveFrame { channel, epoch, have, rejected, need_roster };
                        Ok(Some(Frame::Have(have)))
                    }
                    Err(fault) => {
                        self.is_at_fault(to, from, fault, "range", false)?;
                        Ok(Some(Frame::Refuse { channel, reason: fault.0.to_owned() }))
                    }
                }
            }
            Frame::Pruned { parties, epoch, head, proof } => {
                let channel = head.channel;
                let Some(end) =
                    proof.and_then(|proof| self.checked(peer, epoch, head, &proof).ok())
                else {
                    self.is_at_fault(to, from, PeerFault("unproven"), "pruned", false)?;
                    return Ok(None);
                };
                let (process, store) = self.members[to].process()?;
                match process.receive_pruned(store, clock, peer, &parties, &end)? {
                    Ok(reply) => {
                        if let Some(reason) = reply.refused {
                            return Ok(Some(Frame::Refuse { channel, reason: reason.to_owned() }));
                        }
                        let (have, need_roster) = (reply.have, reply.need_roster);
                        let rejected = Vec::new();
                        let have = HaveFrame { channel, epoch, have, rejected, need_roster };
                        Ok(Some(Frame::Have(have)))
                    }
                    Err(fault) => {
                        self.is_at_fault(to, from, fault, "pruned", false)?;
                        Ok(None)
                    }
                }
            }
            Frame::Marks { number, channel, marks } => {
                let (process, store) = self.members[to].process()?;
                match process.receive_marks(store, clock, peer, channel, &marks)? {
                    Ok(()) => Ok(Some(Frame::MarksTaken { number })),
                    Err(fault) => {
                        self.is_at_fault(to, from, fault, "marks", false)?;
                        Ok(None)
                    }
                }
            }
            Frame::Roster { signed } => {
                let signed = match self.roster_in(to, signed) {
                    Ok(signed) => signed,
                    Err(fault) => {
                        self.is_at_fault(to, from, fault, "roster", false)?;
                        return Ok(None);
                    }
                };
                let (group, version) = (signed.roster().group, signed.roster().version);
                let (process, store) = self.members[to].process()?;
                match process.receive_roster(store, clock, peer, signed)? {
                    Ok(()) => Ok(Some(Frame::RosterTaken { group, version })),
                    Err(fault) => {
                        self.is_at_fault(to, from, fault, "roster", false)?;
                        Ok(None)
                    }
                }
            }
            Frame::Letter { epoch, number, letter } => {
                let letter = Letter::decode(&letter).ok();
                let seal = Seal(self.members[to].id);
                let sealer = Sealer { key: &seal, record: bytes::Bytes::new() };
                let (process, store) = self.members[to].process()?;
                let name = (epoch, number);
                let taken =
                    process.receive_letter(store, clock, &sealer, peer, name, letter.as_ref())?;
                match taken {
                    Ok(reply) => Ok(Some(Frame::LettersTaken(reply))),
                    Err(fault) => {
                        self.is_at_fault(to, from, fault, "letter", false)?;
                        Ok(None)
                    }
                }
            }
            // No words of a peer that change anything here.
            Frame::Pull
            | Frame::Have(_)
            | Frame::RosterTaken { .. }
            | Frame::LettersTaken(_)
            | Frame::Refuse { .. }
            | Frame::MarksTaken { .. }
            | Frame::Ask { .. }
            | Frame::Told { .. } => Ok(None),
        }
    }

    fn range_in(&self, peer: HomeId, frame: RangeFrame) -> Result<RangeIn, PeerFault> {
        let RangeFrame { channel, parties, epoch, first, events, proof, begins } = frame;
        let events: Vec<_> =
            events.into_iter().map(|(header, body)| Event::from_bytes(header, body)).collect();
        let end = match (events.last(), &proof) {
            (Some(Ok(last)), Some(proof)) => {
                let head = Head { channel, seq: last.header.seq, hash: last.hash() };
                Some(self.checked(peer, epoch, head, proof)?)
            }
            (Some(_) | None, _) => None,
        };
        Ok(RangeIn { channel, parties, origin: peer, epoch, first, events, end, begins })
    }

    pub(super) fn checked(
        &self,
        origin: HomeId,
        epoch: Epoch,
        head: Head,
        proof: &Proof,
    ) -> Result<ProvenHead, PeerFault> {
        let mut checker = Checker::default();
        let checked = if self.canary == Some(Canary::UncheckedProof) {
            checker.check(origin, epoch, head, proof, &Gullible)
        } else {
            checker.check(origin, epoch, head, proof, &Seal(origin))
        };
        checked.map_err(|error| PeerFault(error.reason()))
    }

    /// Reads a roster and checks whose it is.
    pub(super) fn roster_in(
        &mut self,
        to: usize,
        bytes: bytes::Bytes,
    ) -> Result<SignedRoster, PeerFault> {
        let wrong = |error: RosterError| PeerFault(error.reason());
        // The record that goes along names the owner home's keys: here they are its id.
        let owner = SignedRoster::stored(bytes.clone()).map_err(wrong)?.roster().owner;
        let signed = SignedRoster::verify_with(bytes, owner, &Seal(owner)).map_err(wrong)?;
        Ok(if self.canary == Some(Canary::FenceIgnored) {
            self.without_fences(to, signed)
        } else {
            signed
        })
    }

    /// A roster as whoever does not look at fences has it: as if there were none.
    fn without_fences(&mut self, to: usize, signed: SignedRoster) -> SignedRoster {
        let mut roster = signed.roster().clone();
        roster.tenures.iter_mut().for_each(|tenure| tenure.fence = None);
        roster.policies.iter_mut().for_each(|span| span.fences.clear());
        let held = self.members[to].process().ok();
        let held =
            held.and_then(|(home, store)| home.roster_of(store, roster.group).ok().flatten());
        // What is held came without them, too: the next one follows on that.
        match held.map(|held| (held.roster().version, held)) {
            Some((version, held)) if version == roster.version => return (*held).clone(),
            Some((version, held)) if version + 1 == roster.version => roster.prev = held.hash(),
            Some(_) | None => {}
        }
        let owner = roster.owner;
        roster.sign(&Seal(owner), bytes::Bytes::new())
    }

    fn had(&mut self, from: usize, to: usize, have: &HaveFrame) -> Result<(), Broken> {
        let HaveFrame { channel, epoch, have, ref rejected, need_roster } = *have;
        let (peer, clock, now) = (self.members[from].id, self.clock(to), self.now);
        let Some(link) = self.members[to].links.get_mut(&from) else { return Ok(()) };
        let taken = if need_roster {
            link.courier.needs_roster(now, channel, epoch, have)
        } else {
            link.courier.have(now, channel, epoch, have)
        };
        if let Err(fault) = taken {
            return self.is_at_fault(to, from, fault, "have", true);
        }
        let (process, store) = self.members[to].process()?;
        if need_roster {
            // What it says of its place says nothing: it took none of it.
            return Ok(process.roster_wanted(store, peer, channel)?);
        }
        if let Err(fault) = process.acknowledged(store, peer, channel, epoch, have)? {
            return self.is_at_fault(to, from, fault, "acknowledged", true);
        }
        let done = if rejected.is_empty() {
            Ok(0)
        } else {
            process.rejected_by(store, clock, peer, channel, epoch, rejected)?
        };
        match done {
            Ok(_) => Ok(()),
            Err(fault) => self.is_at_fault(to, from, fault, "rejected", true),
        }
    }

    fn roster_taken(
        &mut self,
        from: usize,
        to: usize,
        group: ChannelId,
        version: u64,
    ) -> Result<(), Broken> {
        let (peer, now) = (self.members[from].id, self.now);
        let Some(link) = self.members[to].links.get_mut(&from) else { return Ok(()) };
        if let Err(fault) = link.courier.roster_taken(now, group, version) {
            return self.is_at_fault(to, from, fault, "roster taken", true);
        }
        let (process, store) = self.members[to].process()?;
        match process.roster_taken(store, peer, group, version)? {
            Ok(()) => Ok(()),
            Err(fault) => self.is_at_fault(to, from, fault, "roster taken", true),
        }
    }

    fn letters_taken(&mut self, from: usize, to: usize, reply: LetterReply) -> Result<(), Broken> {
        let (peer, now) = (self.members[from].id, self.now);
        let LetterReply { upto, held } = reply;
        let Some(link) = self.members[to].links.get_mut(&from) else { return Ok(()) };
        let courier = &mut link.courier;
        let mut taken = if held { courier.letters_held(now, upto) } else { Ok(()) };
        if upto > 0 && taken.is_ok() {
            taken = courier.letters_taken(now, upto);
            let (process, _) = self.members[to].process()?;
            taken = taken.and_then(|()| process.letters_taken(peer, upto));
        }
        match taken {
            Ok(()) => Ok(()),
            Err(fault) => self.is_at_fault(to, from, fault, "letters taken", true),
        }
    }

    fn refused(
        &mut self,
        from: usize,
        to: usize,
        channel: ChannelId,
        reason: &str,
    ) -> Result<(), Broken> {
        let (peer, now) = (self.members[from].id, self.now);
        if let Some(link) = self.members[to].links.get_mut(&from)
            && let Err(fault) = link.courier.refused(now, channel)
        {
            return self.is_at_fault(to, from, fault, "refused", true);
        }
        let (process, store) = self.members[to].process()?;
        process.refused_by(store, peer, channel, reason)?;
        Ok(())
    }

    fn marks_taken(&mut self, from: usize, to: usize, number: u64) -> Result<(), Broken> {
        let (peer, now) = (self.members[from].id, self.now);
        let Some(link) = self.members[to].links.get_mut(&from) else { return Ok(()) };
        match link.courier.marks_taken(now, number) {
            Ok(taken) => {
                let (process, store) = self.members[to].process()?;
                for (channel, telling) in taken {
                    process.marks_taken(store, peer, channel, &telling)?;
                }
                Ok(())
            }
            Err(fault) => self.is_at_fault(to, from, fault, "marks taken", true),
        }
    }
}

/// A head that its origin signs.
pub(super) fn proof(origin: HomeId, epoch: Epoch, head: Head) -> Proof {
    prove(origin, epoch, MONDAY_MS, &[head], &Seal(origin)).pop().unwrap_or_default()
}
