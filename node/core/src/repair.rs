//! Fetching what is missed from one peer, question by question: after a restore, after a long absence, or
//! when a home is new. The peer says what it holds; what it holds more of is fetched chain by chain and
//! checked against the heads that the chain's origin signed, so nobody can put words into a home's mouth.
//!
//! A peer can prove the end of what it holds of another home's chain, not its middle. Where an answer ends
//! below that, the headers are fetched first, downwards from the end: each proves the one before.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use homing_wire::{
    ChannelId, Epoch, Event, HeaderError, HomeId, ProvenHead, Seq, SignedRoster, UserRef,
};

use crate::holdings::{Holding, Holdings, RangeQuestion};
use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::receive::{RangeIn, proven_events};
use crate::relay::PeerFault;

/// Proven heads remembered of a chain whose headers were walked: those of its lowest events. A longer chain
/// is walked again.
const WALKED: usize = 16_384;

/// What is asked of the peer next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// What it holds, from behind that channel on.
    Holdings {
        /// The last channel of the page before.
        after: Option<ChannelId>,
    },
    /// The roster of a group.
    Roster {
        /// Which group.
        group: ChannelId,
    },
    /// Events or headers of one chain.
    Range(RangeQuestion),
}

/// What the peer answered, parsed, and its proof checked by whoever has the keys.
#[derive(Clone, Debug)]
pub enum Answered {
    /// A page of what it holds.
    Holdings(Holdings),
    /// A part of a chain.
    Range {
        /// Events, rising; none where headers were asked.
        events: Vec<Result<Event, HeaderError>>,
        /// Headers, falling; none where events were asked.
        headers: Vec<Bytes>,
        /// The head that the peer can prove.
        end: Option<ProvenHead>,
        /// Of a group: from what was asked for up to here nothing is for this home.
        begins: Option<Seq>,
    },
    /// A roster, its signature checked; `None`: the peer has none for this home.
    Roster(Option<Box<SignedRoster>>),
    /// No part of a chain: by the peer's roster nobody of this home is in the group. It may have come to know that
    /// since it said what it holds.
    NotAMember,
}

/// Fetching from one peer. Ask what [`Repair::next`] says, give the answer to [`Repair::answered`], until
/// `next` has nothing to ask.
pub struct Repair {
    peer: HomeId,
    page: Page,
    /// The last page was asked from behind here.
    asked: Option<ChannelId>,
    /// Events of this home came back since the last page was asked for.
    adopted: bool,
    /// Groups whose rosters are to be fetched, before any chain.
    rosters: VecDeque<ChannelId>,
    chains: VecDeque<Chain>,
    chain: Option<Fetch>,
    /// Events taken.
    fetched: u64,
    /// Chains that could not be fetched to their end.
    incomplete: u64,
    /// Those of them that are the peer's own, or this home's.
    withheld: u64,
    /// The peer has shown what this home signed in that life, and this store knows nothing of.
    later_life: Option<Epoch>,
}

enum Page {
    /// The page behind that channel has not been asked for.
    Ask(Option<ChannelId>),
    /// The last one is asked for once more: whoever is asked tells its marks anew, and those it told before
    /// were of messages that had not come back. Then on from behind that channel, if anything is there.
    Again(Option<ChannelId>),
    /// There is no other.
    Last,
}

struct Chain {
    channel: ChannelId,
    parties: [UserRef; 2],
    origin: HomeId,
    epoch: Epoch,
    /// The peer holds it up to here.
    upto: Seq,
}

/// A chain being fetched.
struct Fetch {
    chain: Chain,
    /// Where walking down has got to; `None`: not walking.
    walk: Option<ProvenHead>,
    /// The lowest heads that were walked, rising.
    walked: VecDeque<ProvenHead>,
    /// From where on it was asked last. The chain may have been pushed further since.
    asked: Seq,
    /// The peer was told how far this home has got.
    told: bool,
    /// The roster that an event names was asked for.
    rostered: bool,
}

impl Repair {
    /// A repair that has asked nothing yet.
    pub fn new(peer: HomeId) -> Self {
        Self {
            peer,
            page: Page::Ask(None),
            asked: None,
            adopted: false,
            rosters: VecDeque::new(),
            chains: VecDeque::new(),
            chain: None,
            fetched: 0,
            incomplete: 0,
            withheld: 0,
            later_life: None,
        }
    }

    /// Events taken so far.
    pub fn fetched(&self) -> u64 {
        self.fetched
    }

    /// Chains that the peer holds more of and could not show, or that this home did not take.
    pub fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// Those of them that are the peer's own, or this home's: what an honest peer shows. Of other homes' chains it lacks
    /// what it rejected, or what was before its time in a group.
    pub fn withheld(&self) -> u64 {
        self.withheld
    }

    /// A life of this home in which it has signed what its store does not know, although nobody else writes in it:
    /// the present one or a later one. The store is an old copy, or was restored with a clock that was behind. The
    /// home must not write on: it would sign two histories.
    pub fn later_life(&self) -> Option<Epoch> {
        self.later_life
    }

    /// What to ask next; `None`: everything is fetched.
    pub fn next(
        &mut self,
        home: &mut Home,
        reader: &dyn Reader,
    ) -> Result<Option<Question>, Fault> {
        loop {
            if self.later_life.is_some() {
                return Ok(None);
            }
            if let Some(group) = self.rosters.front() {
                return Ok(Some(Question::Roster { group: *group }));
            }
            if let Some(fetch) = &mut self.chain {
                let Chain { channel, origin, epoch, upto, .. } = fetch.chain;
                let first = held(home, reader, channel, origin, epoch)?.next();
                fetch.asked = first;
                let question = RangeQuestion {
                    channel,
                    origin,
                    epoch,
                    first,
                    last: fetch.walk.as_ref().map(|walk| walk.head().seq),
                    headers: fetch.walk.is_some(),
                };
                if first <= upto {
                    return Ok(Some(Question::Range(question)));
                }
                if origin == self.peer && !fetch.told {
                    // Asking for what is not there yet says that everything below is held.
                    fetch.told = true;
                    return Ok(Some(Question::Range(question)));
                }
                self.chain = None;
            }
            if let Some(chain) = self.chains.pop_front() {
                if is_for_us(home, reader, &chain)? {
                    let (walk, walked) = (None, VecDeque::new());
                    let (asked, told, rostered) = (Seq(0), false, false);
                    self.chain = Some(Fetch { chain, walk, walked, asked, told, rostered });
                }
                continue;
            }
            if std::mem::take(&mut self.adopted) {
                self.page = Page::Again(match self.page {
                    Page::Ask(next) | Page::Again(next) => next,
                    Page::Last => None,
                });
            }
            return Ok(match self.page {
                Page::Ask(after) => Some(Question::Holdings { after }),
                Page::Again(_) => Some(Question::Holdings { after: self.asked }),
                Page::Last => None,
            });
        }
    }

    /// Takes the answer to the last question. After a fault of the peer the repair is over.
    pub fn answered(
        &mut self,
        home: &mut Home,
        reader: &dyn Reader,
        now_ms: u64,
        answer: Answered,
    ) -> Result<Result<(), PeerFault>, Fault> {
        if let Some(group) = self.rosters.pop_front() {
            return match answer {
                Answered::Roster(signed) => {
                    self.take_roster(home, reader, now_ms, group, signed.map(|signed| *signed))
                }
                Answered::Holdings(_) | Answered::Range { .. } | Answered::NotAMember => {
                    Ok(Err(PeerFault("answer_mismatch")))
                }
            };
        }
        match (answer, self.chain.take()) {
            (Answered::Holdings(page), None) => self.plan(home, reader, page),
            (Answered::Range { events, headers, end, begins }, Some(fetch)) => {
                if fetch.walk.is_some() {
                    self.walk(home, reader, fetch, &headers, begins)
                } else {
                    self.take(home, reader, now_ms, fetch, events, end, begins)
                }
            }
            // Nothing of it is for this home any more: the roster that says so is on its way.
            (Answered::NotAMember, Some(fetch)) if fetch.chain.channel.is_group() => Ok(Ok(())),
            (Answered::Holdings(_), Some(_))
            | (Answered::Range { .. }, None)
            | (Answered::NotAMember | Answered::Roster(_), _) => {
                Ok(Err(PeerFault("answer_mismatch")))
            }
        }
    }

    /// Takes a roster that was asked for.
    fn take_roster(
        &mut self,
        home: &mut Home,
        reader: &dyn Reader,
        now_ms: u64,
        group: ChannelId,
        signed: Option<SignedRoster>,
    ) -> Result<Result<(), PeerFault>, Fault> {
        let Some(signed) = signed else {
            self.incomplete += 1; // it cannot show what it holds
            return Ok(Ok(()));
        };
        let roster = signed.roster();
        if roster.group != group {
            return Ok(Err(PeerFault("answer_mismatch")));
        }
        let held = home.roster_of(reader, group)?.map(|held| held.roster().version);
        let is_newer = held.is_none_or(|held| held < roster.version);
        if roster.owner == home.id() && roster.epoch >= home.epoch() && is_newer {
            // Signed in this life, as nobody else can, and not known here.
            self.later_life = Some(roster.epoch);
            return Ok(Ok(()));
        }
        home.repair_roster(reader, now_ms, self.peer, signed)
    }

    /// Which chains of a page to fetch: this home's own first, for who has written has accepted.
    fn plan(
        &mut self,
        home: &mut Home,
        reader: &dyn Reader,
        page: Holdings,
    ) -> Result<Result<(), PeerFault>, Fault> {
        let after = match self.page {
            Page::Ask(after) => after,
            Page::Again(next) => {
                self.page = next.map_or(Page::Last, |next| Page::Ask(Some(next)));
                return Ok(Ok(()));
            }
            Page::Last => return Ok(Err(PeerFault("answer_mismatch"))),
        };
        self.asked = after;
        let mut last = after;
        for holding in &page.holdings {
            if last.is_some_and(|last| holding.channel <= last) {
                return Ok(Err(PeerFault("holdings_disordered")));
            }
            last = Some(holding.channel);
            if let Err(fault) = self.plan_channel(home, reader, holding)? {
                return Ok(Err(fault));
            }
        }
        self.page = match page.next {
            Some(next) if after.is_none_or(|after| next > after) && last <= Some(next) => {
                Page::Ask(Some(next))
            }
            Some(_) => return Ok(Err(PeerFault("holdings_disordered"))),
            None => Page::Last,
        };
        Ok(Ok(()))
    }

    fn plan_channel(
        &mut self,
        home: &mut Home,
        reader: &dyn Reader,
        holding: &Holding,
    ) -> Result<Result<(), PeerFault>, Fault> {
        let own = home.id();
        if home.is_reconciling(&self.peer) {
            // A backup does not know what the peer lost since it took these marks.
            home.tell_marks(reader, holding.channel, self.peer)?;
        }
        if let Some(version) = holding.roster {
            let held = home.roster_of(reader, holding.channel)?;
            if held.is_none_or(|held| held.roster().version < version) {
                self.rosters.push_back(holding.channel);
            }
        }
        let mut chains = holding.chains.clone();
        chains.sort_unstable_by_key(|(origin, epoch, _)| (*origin != own, *epoch));
        for (origin, epoch, seq) in chains {
            let have = held(home, reader, holding.channel, origin, epoch)?;
            if origin == own && seq <= have {
                let known = home.acknowledged(reader, self.peer, holding.channel, epoch, seq)?;
                if let Err(fault) = known {
                    return Ok(Err(fault));
                }
            }
            // What this home wrote in this life nobody can know better. Who says so has to show it.
            if seq > have {
                self.chains.push_back(Chain {
                    channel: holding.channel,
                    parties: holding.parties.clone(),
                    origin,
                    epoch,
                    upto: seq,
                });
            }
        }
        Ok(Ok(()))
    }

    /// Takes headers, downwards.
    fn walk(
        &mut self,
        home: &mut Home,
        reader: &dyn Reader,
        mut fetch: Fetch,
        headers: &[Bytes],
        begins: Option<Seq>,
    ) -> Result<Result<(), PeerFault>, Fault> {
        let Chain { channel, origin, epoch, .. } = fetch.chain;
        let next = held(home, reader, channel, origin, epoch)?.next();
        // Lower down nothing is for this home.
        let next = begins.map_or(next, |begins| next.max(begins.next()));
        let Some(mut at) = fetch.walk.take() else { return Ok(Ok(())) };
        if headers.is_empty() {
            self.falls_short(home.id(), origin); // it cannot show what it holds
            return Ok(Ok(()));
        }
        for header in headers {
            if at.head().seq <= next {
                break;
            }
            let Some(before) = at.before(header) else { return Ok(Err(PeerFault("unproven"))) };
            fetch.walked.push_front(at);
            fetch.walked.truncate(WALKED);
            at = before;
        }
        if at.head().seq <= next {
            fetch.walked.push_front(at);
            fetch.walked.truncate(WALKED);
        } else {
            fetch.walk = Some(at);
        }
        self.chain = Some(fetch);
        Ok(Ok(()))
    }

    /// Takes events, upwards.
    #[expect(clippy::too_many_arguments, reason = "what an answer says, and what takes it")]
    fn take(
        &mut self,
        home: &mut Home,
        reader: &dyn Reader,
        now_ms: u64,
        mut fetch: Fetch,
        mut events: Vec<Result<Event, HeaderError>>,
        end: Option<ProvenHead>,
        begins: Option<Seq>,
    ) -> Result<Result<(), PeerFault>, Fault> {
        let Chain { channel, ref parties, origin, epoch, upto } = fetch.chain;
        let first = begins.map_or(fetch.asked, |begins| fetch.asked.max(begins.next()));
        let begins = first > fetch.asked;
        if first > upto {
            return Ok(Ok(())); // all of it is from before this home was in the group
        }
        if held(home, reader, channel, origin, epoch)? >= upto {
            // Either it was told how far this home has got, and that is all; or what was asked for was pushed
            // meanwhile: then the question said too little, and it is told now.
            self.chain = (origin == self.peer && !fetch.told).then_some(fetch);
            return Ok(Ok(()));
        }
        let present = origin == home.id() && epoch >= home.epoch();
        let Some(end) = end.filter(|end| {
            let head = end.head();
            head.channel == channel && end.origin() == origin && end.epoch() == epoch
        }) else {
            self.falls_short(home.id(), origin);
            return Ok(Ok(()));
        };
        if present {
            // It may have been written, and pushed to the peer, since it was asked.
            if home.has_written(reader, channel, epoch, end.head())? {
                self.falls_short(home.id(), origin);
            } else {
                self.later_life = Some(epoch);
            }
            return Ok(Ok(()));
        }
        if events.is_empty() && origin == self.peer && end.head().seq >= first {
            return Ok(match home.receive_pruned(reader, now_ms, self.peer, parties, &end)? {
                Ok(reply) if reply.refused.is_none() && reply.have >= first => {
                    self.chain = Some(fetch);
                    Ok(())
                }
                Ok(_) => {
                    self.falls_short(home.id(), origin);
                    Ok(())
                }
                Err(fault) => Err(fault),
            });
        }
        // Up to the last event that is proven: by the end itself, or by a head that was walked to.
        let last = Seq(first.0 + events.len() as u64 - 1);
        let proven = if events.is_empty() || end.head().seq == last {
            Some(end.clone())
        } else {
            fetch.walked.iter().rev().find(|head| head.head().seq <= last).cloned()
        };
        let Some(proven) = proven.filter(|p| p.head().seq >= first) else {
            if !events.is_empty() && end.head().seq < last {
                return Ok(Err(PeerFault("unproven"))); // it adds to what was signed
            }
            if events.is_empty() || !fetch.walked.is_empty() {
                self.falls_short(home.id(), origin);
                return Ok(Ok(()));
            }
            fetch.walk = Some(end);
            self.chain = Some(fetch);
            return Ok(Ok(()));
        };
        if events.is_empty() {
            self.falls_short(home.id(), origin);
            return Ok(Ok(()));
        }
        let count = proven.head().seq.0 - first.0 + 1;
        events.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        let range = RangeIn {
            channel,
            parties: parties.clone(),
            origin,
            epoch,
            first,
            events,
            end: Some(proven),
            begins,
        };
        if origin == home.id() {
            match proven_events(&range) {
                Ok(events) => self.hold_names(home, reader, now_ms, &fetch.chain, &events)?,
                Err(fault) => return Ok(Err(fault)),
            }
        }
        let reply = match home.repair_range(reader, now_ms, self.peer, &range)? {
            Ok(reply) => reply,
            Err(PeerFault("equivocation")) if origin != self.peer => {
                // Its origin signed both, and each home holds what it was told first: not the peer's doing, and no
                // reason to take nothing else of it. This home may be the origin, if its disk was set back without a
                // new life.
                self.falls_short(home.id(), origin);
                return Ok(Ok(()));
            }
            Err(fault) => return Ok(Err(fault)),
        };
        self.fetched += reply.applied as u64;
        if reply.need_roster && !fetch.rostered {
            fetch.rostered = true;
            self.rosters.push_back(channel);
            self.chain = Some(fetch);
            return Ok(Ok(()));
        }
        if reply.refused.is_some() || reply.held_back.is_some() || reply.have < first {
            self.falls_short(home.id(), origin);
            return Ok(Ok(()));
        }
        if origin == home.id() {
            self.adopted = true;
            // It holds what it gave.
            if let Err(fault) = home.acknowledged(reader, self.peer, channel, epoch, reply.have)? {
                return Ok(Err(fault));
            }
        }
        if fetch.walked.back().is_some_and(|head| head.head().seq <= reply.have) {
            fetch.walked.clear();
        }
        self.chain = Some(fetch);
        Ok(Ok(()))
    }

    /// A chain could not be fetched to its end. That another home's ends at a peer with something that the peer rejected is
    /// nothing strange, in a group: whoever may not write has tried. Its origin is asked too, and shows all of it.
    fn falls_short(&mut self, own: HomeId, origin: HomeId) {
        self.incomplete += 1;
        if origin == self.peer || origin == own {
            self.withheld += 1;
        }
    }

    /// Keeps the names of users of this home who wrote, as this home signed, and are not known any more.
    fn hold_names(
        &self,
        home: &mut Home,
        reader: &dyn Reader,
        now_ms: u64,
        chain: &Chain,
        events: &[&Event],
    ) -> Result<(), Fault> {
        let is_group = chain.channel.is_group();
        let writers = events.iter().map(|event| event.header.user());
        let writers: BTreeSet<UserRef> =
            writers.filter(|user| is_group || chain.parties.contains(user)).collect();
        for user in writers {
            home.hold_lost_name(reader, now_ms, &user.local)?;
        }
        Ok(())
    }
}

/// Whether a chain may come here: of a group, this home's own, or while somebody of this home is in it.
fn is_for_us(home: &mut Home, reader: &dyn Reader, chain: &Chain) -> Result<bool, Fault> {
    let own = home.id();
    let state = home.channel(reader, chain.channel)?;
    Ok(match state {
        Some(state) if state.group.is_some() => chain.origin == own || !state.nobody_of(&own),
        Some(_) => true,
        None => !chain.channel.is_group(),
    })
}

/// How far a chain is held. The channel may not be in memory any more since the question was asked.
fn held(
    home: &mut Home,
    reader: &dyn Reader,
    channel: ChannelId,
    origin: HomeId,
    epoch: Epoch,
) -> Result<Seq, Fault> {
    let state = home.channel(reader, channel)?;
    Ok(state.and_then(|s| s.chain(&origin, epoch)).map_or(Seq(0), |chain| chain.seq))
}
