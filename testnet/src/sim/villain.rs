//! The home that misbehaves. It runs what every home runs, and does the deeds of [`Harm`] besides.

use std::collections::VecDeque;

use bytes::Bytes;
use homing_core::{LogEntry, PeerMark, Question};
use homing_wire::proto::event::v1::Proof;
use homing_wire::{
    ChainPos, Change, ChannelId, Command, Epoch, Event, Fence, Hash, Head, Header, HomeId, Kind,
    Letter, Local, MessageId, OpId, Role, Roster, Seq, SignedRoster, Stamp, Tenure, UserRef,
};
use uuid::Uuid;

use super::Broken;
use super::driver::proof;
use super::net::{Answer, Frame, HaveFrame, RangeFrame, Raw, raw};
use super::plan::{Harm, PEOPLE};
use super::seal::Seal;
use super::world::{MONDAY_MS, World};

/// Frames remembered, to be sent again.
const OVERHEARD: usize = 64;

/// What it keeps beside its disk.
#[derive(Default)]
pub(super) struct Villain {
    number: Option<usize>,
    sent: VecDeque<(usize, Frame)>,
    /// Rosters that it has seen.
    rosters: Vec<Bytes>,
    /// How it lies next.
    lie: Option<usize>,
}

impl Villain {
    pub(super) fn overhears(&mut self, from: usize, to: usize, frame: &Frame) {
        if let Frame::Roster { signed } = frame
            && (self.number == Some(from) || self.number == Some(to))
            && self.rosters.len() < OVERHEARD
        {
            self.rosters.push(signed.clone());
        }
        if self.number != Some(from) {
            return;
        }
        self.sent.push_back((to, frame.clone()));
        if self.sent.len() > OVERHEARD {
            self.sent.pop_front();
        }
    }

    /// From now on it does nothing wrong.
    pub(super) fn rests(&mut self) {
        self.lie = None;
    }

    /// Changes what is given back to a home that asks for its own events, or how much there is of them.
    pub(super) fn twists(
        &mut self,
        question: &Question,
        own: HomeId,
        asker: HomeId,
        answer: &mut Answer,
    ) {
        let Some(how) = self.lie else { return };
        match (question, answer) {
            (Question::Range(asked), Answer::Range { events, end, .. }) if !events.is_empty() => {
                if asked.origin != asker {
                    return;
                }
                self.lie = None;
                tamper(how, events, end, own, asked.epoch);
            }
            (Question::Holdings { .. }, Answer::Holdings(page)) if how % 4 == 3 => {
                self.lie = None;
                for holding in &mut page.holdings {
                    for (_, _, seq) in &mut holding.chains {
                        seq.0 += 3;
                    }
                }
                page.holdings.reverse();
            }
            _ => {}
        }
    }
}

impl World {
    pub(super) fn harms(&mut self, to: usize, how: Harm, place: usize) -> Result<(), Broken> {
        let own = self.plan.homes - 1;
        self.villain.number = self.plan.villain.then_some(own);
        if to == own || !self.is_villain(own) || !self.members[own].is_up() {
            return Ok(());
        }
        let Some(link) = self.members[own].links.get(&to) else { return Ok(()) };
        let connection = link.connection;
        let frame = match how {
            Harm::Lie => {
                self.villain.lie = Some(place);
                None
            }
            Harm::Replay => {
                let sent = &self.villain.sent;
                let mine: Vec<&Frame> =
                    sent.iter().filter(|(at, _)| *at == to).map(|(_, frame)| frame).collect();
                place.checked_rem(mine.len()).map(|n| mine[n].clone())
            }
            Harm::Equivocate => self.equivocation(own, to, place)?,
            Harm::SpeakFor => self.stolen(own, to, place, false)?,
            Harm::SpeakAs => self.stolen(own, to, place, true)?,
            Harm::SpeakBack => Some(self.in_another_name(own, to, place)),
            Harm::Malformed => self.malformed(own, to, place)?,
            Harm::AckAhead => Some(match (place % 2, self.shared(own, to, place)?) {
                (0, Some(channel)) => Frame::Have(HaveFrame {
                    channel,
                    epoch: self.members[to].epoch,
                    have: Seq(1 << 40),
                    rejected: vec![(Seq(1), "first_contact".to_owned())],
                    need_roster: false,
                }),
                (_, _) => Frame::MarksTaken { number: 1 << 40 },
            }),
            Harm::AckBack => self.shared(own, to, place)?.map(|channel| {
                let epoch = self.members[to].epoch;
                let (have, rejected, need_roster) = (Seq(0), Vec::new(), place.is_multiple_of(3));
                Frame::Have(HaveFrame { channel, epoch, have, rejected, need_roster })
            }),
            Harm::ForgeRoster => self.forged_roster(own, to, place)?,
            Harm::OldRoster => {
                let seen = &self.villain.rosters;
                let old = place.checked_rem(seen.len()).map(|n| seen[n].clone());
                old.map(|signed| Frame::Roster { signed })
            }
            Harm::TwoRosters => self.second_roster(own, to, place)?,
            Harm::WriteOn => self.words_of_the_removed(own, place)?,
            Harm::StrangerLetter => self.letter_of_a_stranger(own, to, place)?,
            Harm::FarLeave => self.far_leave(own, to, place)?,
            Harm::MarksAhead | Harm::MarksOfStranger => {
                self.shared(own, to, place)?.map(|channel| {
                    let name = if how == Harm::MarksAhead { "ann" } else { "nobody" };
                    let seq = if how == Harm::MarksAhead { Seq(1 << 40) } else { Seq(1) };
                    let epoch = self.members[to].epoch;
                    let mark =
                        |user| PeerMark { user, epoch, delivered: seq, read: seq, at: MONDAY_MS };
                    let marks = Local::canonical(name).map(mark).into_iter().collect();
                    Frame::Marks { number: 1, channel, marks }
                })
            }
        };
        if let Some(frame) = frame {
            self.sends(own, to, connection, frame);
        }
        Ok(())
    }

    /// A conversation of the villain's people with those of another home.
    fn shared(&self, own: usize, to: usize, place: usize) -> Result<Option<ChannelId>, Broken> {
        let mut shared = Vec::new();
        for channel in &self.ledger.channels {
            let state = self.members[own].state(*channel)?;
            if state.is_some_and(|state| state.has_home(&self.members[to].id)) {
                shared.push(*channel);
            }
        }
        Ok(place.checked_rem(shared.len()).map(|n| shared[n]))
    }

    /// A group that the villain has heard of, and its roster there.
    fn heard_of(&self, own: usize, place: usize) -> Result<Option<SignedRoster>, Broken> {
        let mut heard = Vec::new();
        for (group, _) in &self.ledger.groups {
            heard.extend(self.members[own].roster(*group)?);
        }
        Ok(place.checked_rem(heard.len()).map(|n| heard.swap_remove(n)))
    }

    /// Somebody of its own rules a group of another home, or somebody of the receiver's is in it unasked.
    fn forged_roster(&self, own: usize, to: usize, place: usize) -> Result<Option<Frame>, Broken> {
        let Some(held) = self.heard_of(own, place)? else { return Ok(None) };
        let id = self.members[own].id;
        let mut roster = next_of(held.roster());
        let user = if place.is_multiple_of(2) {
            self.person(own * PEOPLE)
        } else {
            self.person(to * PEOPLE)
        };
        let (role, from) = (Role::Member, roster.version);
        roster.tenures.retain(|t| t.user != user || t.until.is_some());
        let by = self.person(own * PEOPLE);
        roster.tenures.push(Tenure { user, role, from, until: None, fence: None, by });
        if place.is_multiple_of(3) {
            roster.owner = id;
        }
        if place.is_multiple_of(5) {
            // In a life that has still to come, so that nothing follows on it.
            roster.epoch = Epoch(roster.epoch.0 + 1);
        }
        Ok(Some(Frame::Roster { signed: roster.sign(&Seal(id), Bytes::new()).bytes().clone() }))
    }

    /// Another roster of a version that it has signed, or will, of a group of its own.
    fn second_roster(&self, own: usize, to: usize, place: usize) -> Result<Option<Frame>, Broken> {
        let Some(held) = self.heard_of(own, place)? else { return Ok(None) };
        let seal = Seal(self.members[own].id);
        if held.roster().owner != seal.0 {
            return Ok(None);
        }
        let mut roster = match place % 3 {
            0 => held.roster().clone(),
            1 => next_of(held.roster()),
            _ => next_of(&next_of(held.roster())),
        };
        roster.name = format!("enemies {place}");
        // Whoever is put into it has not agreed.
        let (user, by) = (self.person(to * PEOPLE + place % PEOPLE), self.person(own * PEOPLE));
        let (role, from) = (Role::Member, roster.version);
        roster.tenures.retain(|t| t.user != user || t.until.is_some());
        roster.tenures.push(Tenure { user, role, from, until: None, fence: None, by });
        Ok(Some(Frame::Roster { signed: roster.sign(&seal, Bytes::new()).bytes().clone() }))
    }

    /// It writes on for a user who is not in the group any more, or never was, in the name of an older roster, of the
    /// one that holds, or of one that has still to come.
    fn words_of_the_removed(&self, own: usize, place: usize) -> Result<Option<Frame>, Broken> {
        let Some(held) = self.heard_of(own, place)? else { return Ok(None) };
        let (roster, id) = (held.roster(), self.members[own].id);
        let Some(state) = self.members[own].state(roster.group)? else { return Ok(None) };
        let out =
            |person: &usize| roster.role(&self.person(*person)).is_none_or(|r| r < Role::Member);
        let people: Vec<usize> = (own * PEOPLE..(own + 1) * PEOPLE).filter(out).collect();
        let Some(who) = place.checked_rem(people.len()).map(|n| self.person(people[n])) else {
            return Ok(None);
        };
        let was = roster.tenures.iter().rfind(|t| t.user == who && t.role >= Role::Member);
        let version = match place % 4 {
            0 | 1 => was.map_or(roster.version, |t| t.until.unwrap_or(t.from + 1) - 1),
            2 => roster.version,
            _ => roster.version + 100,
        };
        let epoch = self.members[own].epoch;
        let end = state.chain(&id, epoch);
        let (last, prev) = end.map_or((Seq(0), Hash::NONE), |end| (end.seq, end.hash));
        let mut header = self.header(own, roster.group, id, who.local, Kind::Text);
        (header.seq, header.prev, header.roster) = (last.next(), prev, version);
        let parties = [self.person(own * PEOPLE), self.person(place)];
        Ok(Some(self.range_of(own, roster.group, parties, &[forged(header)])))
    }

    /// The number of its next letter but a few, so that what it wants itself comes through now and then.
    fn letter(&self, own: usize, to: usize, command: Command) -> Frame {
        let known = self.members[own].home.as_ref().and_then(|h| h.peer(&self.members[to].id));
        let number = known.map_or(0, |known| known.letters) + 1;
        let letter = Letter::Command(command).encode();
        Frame::Letter { epoch: self.members[own].epoch, number, letter }
    }

    fn letter_of_a_stranger(
        &self,
        own: usize,
        to: usize,
        place: usize,
    ) -> Result<Option<Frame>, Broken> {
        let Some(held) = self.heard_of(own, place)? else { return Ok(None) };
        let roster = held.roster();
        let people = own * PEOPLE..(own + 1) * PEOPLE;
        let mut out = people.map(|n| self.person(n)).filter(|user| roster.role(user).is_none());
        let Some(user) = out.next() else { return Ok(None) };
        let victim = self.person(to * PEOPLE);
        let change = match place % 4 {
            0 => Change::Remove(vec![victim]),
            1 => Change::Invite(vec![user.clone()]),
            2 => Change::Update {
                name: None,
                avatar: None,
                policy: None,
                roles: vec![(user.clone(), Role::Owner)],
            },
            _ => Change::Join { link: None },
        };
        let op = OpId(Uuid::from_u128(u128::from(self.now)));
        let command = Command { group: roster.group, op, user: user.local, change };
        Ok(Some(self.letter(own, to, command)))
    }

    /// One of its own leaves, who has written thousands of messages by its word, in lives to come as well.
    fn far_leave(&self, own: usize, to: usize, place: usize) -> Result<Option<Frame>, Broken> {
        let Some(held) = self.heard_of(own, place)? else { return Ok(None) };
        let roster = held.roster();
        let people = own * PEOPLE..(own + 1) * PEOPLE;
        let mut of_it = people.map(|n| self.person(n));
        let Some(user) = of_it.find(|user| roster.role(user).is_some()) else { return Ok(None) };
        let from = roster.named_since(&user).unwrap_or(0);
        let life = self.members[own].epoch;
        let ends = (0..4).map(|n| ChainPos { epoch: Epoch(life.0 + n), seq: Seq(1 << 40) });
        let change = Change::Leave { from, fence: Some(Fence::new(ends)) };
        let op = OpId(Uuid::from_u128(u128::from(self.now)));
        let command = Command { group: roster.group, op, user: user.local, change };
        Ok(Some(self.letter(own, to, command)))
    }

    fn parties(&self, at: usize, channel: ChannelId) -> Result<Option<[UserRef; 2]>, Broken> {
        let state = self.members[at].state(channel)?;
        Ok(state.and_then(|state| {
            let [a, b] = state.members.get(..2)? else { return None };
            Some([a.user.clone(), b.user.clone()])
        }))
    }

    /// Another event under the number of one that was sent.
    fn equivocation(&self, own: usize, to: usize, place: usize) -> Result<Option<Frame>, Broken> {
        let Some(channel) = self.shared(own, to, place)? else { return Ok(None) };
        let Some(parties) = self.parties(own, channel)? else { return Ok(None) };
        let mine = self.events_of(own, own, channel)?;
        let Some(entry) = place.checked_rem(mine.len()).map(|n| &mine[n]) else { return Ok(None) };
        let event = forged(Header {
            stamp: Stamp(entry.event.header.stamp.0 + 1),
            ..entry.event.header.clone()
        });
        Ok(Some(self.range_of(own, channel, parties, &[event])))
    }

    /// Events of a third home, as they are or as the villain's own.
    fn stolen(
        &self,
        own: usize,
        to: usize,
        place: usize,
        as_own: bool,
    ) -> Result<Option<Frame>, Broken> {
        let of = place % self.plan.homes;
        let Some(channel) = place
            .checked_rem(self.ledger.channels.len())
            .map(|n| self.ledger.channels[n])
            .filter(|_| of != own && of != to)
        else {
            return Ok(None);
        };
        let Some(parties) = self.parties(of, channel)? else { return Ok(None) };
        let theirs = self.events_of(of, of, channel)?;
        let id = self.members[own].id;
        let mut prev = Hash::NONE;
        let mut events = Vec::new();
        for (n, entry) in theirs.iter().take(3).enumerate() {
            let event = if as_own {
                let seq = Seq(n as u64 + 1);
                let epoch = self.members[own].epoch;
                let header = Header { origin: id, epoch, seq, prev, ..entry.event.header.clone() };
                Event::new(header, entry.event.body.clone())
            } else {
                entry.event.clone()
            };
            prev = event.hash();
            events.push(event);
        }
        if events.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.range_of(own, channel, parties, &events)))
    }

    /// What the receiver's own user never wrote, or another's to it.
    fn in_another_name(&self, own: usize, to: usize, place: usize) -> Frame {
        let (thief, victim) = (self.user(own * 2), self.user(to * 2 + place % 2));
        let third = self.user(place);
        let (channel, parties, origin, sender) = match place % 3 {
            0 => (
                ChannelId::chat(&thief, &victim),
                [thief, victim.clone()],
                victim.home,
                victim.local,
            ),
            1 => {
                let channel = ChannelId::chat(&third, &victim);
                (channel, [third.clone(), victim], self.members[own].id, third.local)
            }
            // In a chat of its own, somebody of its own who is not in it.
            _ => {
                let other = self.user(own * 2 + 1);
                let channel = ChannelId::chat(&thief, &victim);
                (channel, [thief, victim], self.members[own].id, other.local)
            }
        };
        let header = self.header(own, channel, origin, sender, Kind::Text);
        self.range_of(own, channel, parties, &[forged(header)])
    }

    fn malformed(&self, own: usize, to: usize, place: usize) -> Result<Option<Frame>, Broken> {
        let (thief, victim) = (self.user(own * 2), self.user(to * 2));
        let channel = ChannelId::chat(&thief, &victim);
        let (origin, sender) = (self.members[own].id, thief.local.clone());
        let epoch = self.members[own].epoch;
        let header = self.header(own, channel, origin, sender, Kind::Text);
        let sound = forged(header.clone());
        let parties = [thief.clone(), victim.clone()];
        let one = |events: Vec<Raw>, proof: Option<Proof>| {
            let (parties, first) = (parties.clone(), Seq(1));
            let begins = false;
            Frame::Range(Box::new(RangeFrame {
                channel,
                parties,
                epoch,
                first,
                events,
                proof,
                begins,
            }))
        };
        let head = Head { channel, seq: Seq(1), hash: sound.hash() };
        Ok(Some(match place % 8 {
            0 => one(vec![(Bytes::from_static(b"\xff\xff\xff"), Bytes::new())], None),
            1 => one(Vec::new(), None),
            2 => one(vec![raw(&sound)], None),
            3 => one(vec![(sound.header_bytes.clone(), Bytes::from_static(b"other"))], None),
            4 => {
                // Signed, and twice the same number.
                let twice = vec![raw(&sound), raw(&sound)];
                one(twice, Some(proof(origin, epoch, head)))
            }
            5 => {
                let notice = forged(Header { kind: Kind::Notice, ..header });
                self.range_of(own, channel, parties.clone(), &[notice])
            }
            6 => {
                // From a far future.
                let stamp = Stamp::from_ms(MONDAY_MS + self.now + 3_600_000);
                self.range_of(own, channel, parties.clone(), &[forged(Header { stamp, ..header })])
            }
            _ => Frame::Pruned {
                parties: [victim.clone(), victim],
                epoch,
                head: Head { channel, seq: Seq(7), hash: head.hash },
                proof: Some(proof(origin, epoch, head)),
            },
        }))
    }

    fn header(
        &self,
        own: usize,
        channel: ChannelId,
        origin: HomeId,
        sender: Local,
        kind: Kind,
    ) -> Header {
        Header {
            channel,
            origin,
            epoch: self.members[own].epoch,
            seq: Seq(1),
            prev: Hash::NONE,
            stamp: Stamp::from_ms(MONDAY_MS + self.now),
            sender,
            id: MessageId(Uuid::from_u128(u128::from(self.now) << 8 | 0xBAD)),
            kind,
            target: None,
            mentions: Vec::new(),
            media: Vec::new(),
            roster: 0,
            body_size: 0,
            body_hash: Hash::NONE,
        }
    }

    fn range_of(
        &self,
        own: usize,
        channel: ChannelId,
        parties: [UserRef; 2],
        events: &[Event],
    ) -> Frame {
        let id = self.members[own].id;
        let (first, epoch) = events
            .first()
            .map_or((Seq(1), self.members[own].epoch), |e| (e.header.seq, e.header.epoch));
        let proof = events.last().map(|last| {
            proof(id, epoch, Head { channel, seq: last.header.seq, hash: last.hash() })
        });
        let events = events.iter().map(raw).collect();
        let begins = false;
        Frame::Range(Box::new(RangeFrame { channel, parties, epoch, first, events, proof, begins }))
    }

    /// Entries of one home's chain, as another has them, of its present life.
    fn events_of(
        &self,
        at: usize,
        of: usize,
        channel: ChannelId,
    ) -> Result<Vec<std::sync::Arc<LogEntry>>, Broken> {
        let (origin, epoch) = (self.members[of].id, self.members[of].epoch);
        let mut log = self.members[at].log(channel)?;
        log.retain(|entry| {
            let header = &entry.event.header;
            header.origin == origin && header.epoch == epoch
        });
        Ok(log)
    }
}

/// A roster that could come after that one.
fn next_of(held: &Roster) -> Roster {
    Roster { version: held.version + 1, prev: held.hash(), ..held.clone() }
}

/// An event that nobody wished for.
fn forged(header: Header) -> Event {
    let body = Bytes::from_static(br#"{"type":"text","text":"forged"}"#);
    let body_size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    Event::new(Header { body_size, body_hash: Hash::of(&body), ..header }, body)
}

/// Words that the asking home never wrote, or its words not as it wrote them.
fn tamper(
    how: usize,
    events: &mut Vec<Raw>,
    end: &mut Option<(Head, Proof)>,
    liar: HomeId,
    epoch: Epoch,
) {
    let Some((header, body)) = events.last().cloned() else { return };
    let Ok(last) = Event::from_bytes(header, body) else { return };
    match how % 4 {
        0 => drop(events.remove(0)),
        1 => events[0].1 = Bytes::from_static(br#"{"type":"text","text":"forged"}"#),
        2 => {
            // The end's proof is the asking home's, of another event.
            let event = forged(last.header.clone());
            if let Some((head, _)) = end {
                head.hash = event.hash();
            }
            if let Some(at) = events.last_mut() {
                *at = raw(&event);
            }
        }
        _ => {
            let header =
                Header { seq: last.header.seq.next(), prev: last.hash(), ..last.header.clone() };
            let event = forged(header);
            let head =
                Head { channel: event.header.channel, seq: event.header.seq, hash: event.hash() };
            *end = Some((head, proof(liar, epoch, head)));
            events.push(raw(&event));
        }
    }
}
