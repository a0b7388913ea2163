//! What another home may be told of what is held here, so that it can fetch what it lost or missed. Of
//! committed state only.

use std::sync::Arc;

use bytes::Bytes;
use homing_wire::limits::{ANSWER_BYTES, HOLDINGS, RANGE_EVENTS};
use homing_wire::{
    ChannelId, Epoch, Hash, HomeId, Pos, Roster, RosterHistory, Seq, SignedRoster, UserRef,
};

use crate::reader::{Fault, Reader};
use crate::relay::PeerFault;
use crate::state::{ChainEnd, ChannelState, LogEntry};

/// Channels looked at for one page, whoever is in them: bounds what one question costs.
const LOOKED_AT: usize = 2_048;
/// What an answer's other fields may take.
const ENVELOPE_BYTES: usize = 4_096;
/// What an event takes in an answer beside header and body.
const EVENT_BYTES: usize = 16;
/// What a channel takes in an answer, its chains aside: two of the longest addresses, and numbers.
const HOLDING_BYTES: usize = 640;
/// What a chain takes in an answer.
const CHAIN_BYTES: usize = 56;
/// Chains of one channel that are named: what a group in which thousands came and went has beyond is not repaired.
const CHAINS: usize = (ANSWER_BYTES - ENVELOPE_BYTES - HOLDING_BYTES) / CHAIN_BYTES;

/// What is held of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// The conversation.
    pub channel: ChannelId,
    /// Whose chat it is, the lesser first.
    pub parties: [UserRef; 2],
    /// What is held of each chain, and can be proven: (origin, epoch, seq).
    pub chains: Vec<(HomeId, Epoch, Seq)>,
    /// Of a group: the version of its roster.
    pub roster: Option<u64>,
}

/// A page of what is held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Holdings {
    /// By rising channel.
    pub holdings: Vec<Holding>,
    /// Where the next page goes on; `None`: this was the last.
    pub next: Option<ChannelId>,
}

/// What `peer` asks of one chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeQuestion {
    /// The conversation.
    pub channel: ChannelId,
    /// Whose chain.
    pub origin: HomeId,
    /// In which life.
    pub epoch: Epoch,
    /// From here on.
    pub first: Seq,
    /// Up to here, if there is so much; `None`: as far as there is.
    pub last: Option<Seq>,
    /// Headers alone, downwards from `last`.
    pub headers: bool,
}

/// What is answered of one chain.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeAnswer {
    /// Rising by `seq`; with `headers` asked, falling.
    pub events: Vec<Arc<LogEntry>>,
    /// What proves them. `None`: nothing of the chain is held.
    pub end: Option<RangeEnd>,
    /// Everything up to here is gone by retention.
    pub pruned: Option<(Seq, Hash)>,
    /// Of a group: from what was asked for up to here nothing is for the asking home, which had nobody in it then.
    pub begins: Option<Seq>,
}

/// A head that proves a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeEnd {
    /// Its number.
    pub seq: Seq,
    /// Its hash.
    pub hash: Hash,
    /// `homing.event.v1.Proof`; `None`: of this home's own chain, to be signed.
    pub proof: Option<Bytes>,
}

/// What this home holds of the channels it shares with `peer`, a page.
pub fn holdings(
    reader: &dyn Reader,
    own: HomeId,
    peer: HomeId,
    after: Option<ChannelId>,
) -> Result<Holdings, Fault> {
    let mut page = Holdings { holdings: Vec::new(), next: after };
    let mut looked_at = 0;
    let mut room = ANSWER_BYTES - ENVELOPE_BYTES;
    while looked_at < LOOKED_AT {
        let states = reader.channels(page.next, HOLDINGS)?;
        let some = !states.is_empty();
        for state in states {
            looked_at += 1;
            let found = holding(reader, &state, &own, &peer)?;
            let size = found.as_ref().map_or(0, |h| HOLDING_BYTES + h.chains.len() * CHAIN_BYTES);
            if size > room && !page.holdings.is_empty() {
                return Ok(page);
            }
            room = room.saturating_sub(size);
            page.next = Some(state.id);
            page.holdings.extend(found);
            if page.holdings.len() == HOLDINGS {
                return Ok(page);
            }
        }
        if !some {
            page.next = None;
            break;
        }
    }
    Ok(page)
}

fn holding(
    reader: &dyn Reader,
    state: &ChannelState,
    own: &HomeId,
    peer: &HomeId,
) -> Result<Option<Holding>, Fault> {
    let is_in = state.has_home(peer);
    let group = state.group.as_ref();
    // Whoever was asked into a group, or is out of it, has nothing but its roster. That it is out it knew once, and its
    // disk may have been lost since.
    let is_told = match group {
        Some(_) if is_in || state.cursor(peer).is_some() => true,
        Some(group) if group.owner == *own => roster_for(reader, *peer, state.id)?.is_some(),
        Some(_) | None => false,
    };
    // Of a group they say nothing.
    let Some(a) = state.members.first().filter(|_| is_in || is_told) else { return Ok(None) };
    let b = state.members.get(1).unwrap_or(a);
    let chains = state.chains.iter().filter(|c| is_in && c.origin != HomeId::LOCAL);
    Ok(Some(Holding {
        channel: state.id,
        parties: [a.user.clone(), b.user.clone()],
        chains: chains.map(|c| (c.origin, c.epoch, c.proven(own))).take(CHAINS).collect(),
        roster: group.map(|group| group.version),
    }))
}

/// The roster of a group, for homes that are, or were, named in it.
pub fn roster_for(
    reader: &dyn Reader,
    peer: HomeId,
    group: ChannelId,
) -> Result<Option<Bytes>, Fault> {
    let Some(signed) = held_roster(reader, group)? else { return Ok(None) };
    let named = signed.roster().tenures.iter().any(|tenure| tenure.user.home == peer);
    Ok(named.then(|| signed.bytes().clone()))
}

fn held_roster(reader: &dyn Reader, group: ChannelId) -> Result<Option<SignedRoster>, Fault> {
    let Some(bytes) = reader.roster(group)? else { return Ok(None) };
    let signed = SignedRoster::stored(bytes);
    signed.map(Some).map_err(|error| Fault(format!("the stored roster of {group}: {error}")))
}

/// What this home holds of one chain. Only homes in the channel are told; of a group, what was written while they
/// had somebody in it.
pub fn range_of(
    reader: &dyn Reader,
    own: HomeId,
    peer: HomeId,
    question: &RangeQuestion,
) -> Result<Result<RangeAnswer, PeerFault>, Fault> {
    let RangeQuestion { channel, origin, epoch, mut first, .. } = *question;
    let Some(state) = reader.channel(channel)? else { return Ok(Ok(RangeAnswer::default())) };
    if !state.has_home(&peer) || origin == HomeId::LOCAL {
        return Ok(Err(PeerFault("not_a_member")));
    }
    let Some(chain) = state.chain(&origin, epoch) else { return Ok(Ok(RangeAnswer::default())) };
    let roster = if state.group.is_some() { held_roster(reader, channel)? } else { None };
    let proven = chain.proven(&own);
    let last = question.last.map_or(proven, |last| last.min(proven));
    let mut answer = RangeAnswer { pruned: chain.pruned, ..RangeAnswer::default() };
    if proven == Seq(0) {
        return Ok(Ok(answer));
    }
    if let Some((seq, hash)) = chain.pruned.filter(|(seq, _)| *seq >= first) {
        // Its own home can prove where it begins; others cannot.
        answer.end = (origin == own).then_some(RangeEnd { seq, hash, proof: None });
        return Ok(Ok(answer));
    }
    let may_see = roster.as_ref().map(|signed| Sight { roster: signed.roster(), peer });
    let part = Part { reader, channel, origin, epoch, may_see };
    match part.seen_from(own, first, proven)? {
        Some(seen) if seen > first => (first, answer.begins) = (seen, Some(Seq(seen.0 - 1))),
        Some(_) => {}
        None => {
            answer.begins = Some(proven);
            return Ok(Ok(answer));
        }
    }
    if question.headers {
        answer.events = part.down(first, last)?;
    } else {
        answer.events = part.up(first, last)?;
    }
    if origin == own
        && !question.headers
        && answer.events.is_empty()
        && let Some((seq, hash)) = hole(reader, channel, chain, first)?
    {
        answer.end = Some(RangeEnd { seq, hash, proof: None });
        return Ok(Ok(answer));
    }
    answer.end = if origin == own {
        // An own chain is proven wherever it is asked to end.
        let end = match answer.events.last().filter(|_| !question.headers) {
            Some(entry) => (entry.event.header.seq, entry.event.hash()),
            None => (chain.seq, chain.hash),
        };
        Some(RangeEnd { seq: end.0, hash: end.1, proof: None })
    } else {
        chain.proof.as_ref().map(|proof| RangeEnd {
            seq: proof.seq,
            hash: proof.hash,
            proof: Some(proof.proof.clone()),
        })
    };
    Ok(Ok(answer))
}

/// Where a hole in a chain ends that begins at `first`, if one does: an event that was rejected has no entry. In
/// this home's own chain that is one that came back after a restore when its message had been sent anew.
pub(crate) fn hole(
    reader: &dyn Reader,
    channel: ChannelId,
    chain: &ChainEnd,
    first: Seq,
) -> Result<Option<(Seq, Hash)>, Fault> {
    match reader.row_of_seq(channel, chain.origin, chain.epoch, first)? {
        Some(row) if row.seq == first => Ok(None),
        Some(row) => {
            let after = reader.entry(channel, row.pos)?;
            Ok(after.map(|entry| (Seq(row.seq.0 - 1), entry.event.header.prev)))
        }
        None => Ok((chain.seq >= first).then_some((chain.seq, chain.hash))),
    }
}

/// The first event of a chain in (`below`, `last`] that names a roster of that version or a later one; behind `last`
/// if there is none. Along a chain the versions named never fall.
pub(crate) fn first_from(
    version: u64,
    (mut below, last): (Seq, Seq),
    mut version_at: impl FnMut(Seq) -> Result<Option<u64>, Fault>,
) -> Result<Seq, Fault> {
    let mut upto = last.next();
    while below.next() < upto {
        let middle = Seq(below.0 + (upto.0 - below.0) / 2);
        match version_at(middle)? {
            Some(named) if named < version => below = middle,
            Some(_) | None => upto = middle,
        }
    }
    Ok(upto)
}

/// What a home may see of a group.
struct Sight<'a> {
    roster: &'a Roster,
    peer: HomeId,
}

impl Sight<'_> {
    /// The first version, from that one on, whose events are for the home.
    fn from(&self, version: u64) -> Option<u64> {
        if self.sees_all() {
            return Some(version);
        }
        match self.roster.home_in_at(&self.peer, version) {
            Some(_) => Some(version),
            None => self.roster.home_next_in(&self.peer, version),
        }
    }

    fn has(&self, version: u64) -> bool {
        self.sees_all() || self.roster.home_in_at(&self.peer, version).is_some()
    }

    fn sees_all(&self) -> bool {
        let all = self.roster.policy().history == RosterHistory::All;
        all && self.roster.home_since(&self.peer).is_some()
    }
}

/// Entries of one chain. What was rejected has no entry: there a part ends, for nobody can be shown it.
struct Part<'a> {
    reader: &'a dyn Reader,
    channel: ChannelId,
    origin: HomeId,
    epoch: Epoch,
    /// Of a group.
    may_see: Option<Sight<'a>>,
}

impl Part<'_> {
    /// The first event, from `first` up to `last`, that is for the asking home; `first` where nothing can be said of
    /// it, `None` where there is none. Along a chain the versions named never fall.
    fn seen_from(&self, own: HomeId, first: Seq, last: Seq) -> Result<Option<Seq>, Fault> {
        let Some(sight) = &self.may_see else { return Ok(Some(first)) };
        let mut first = first;
        loop {
            let Some((seq, version)) = self.version_at(first)? else { return Ok(Some(first)) };
            let Some(from) = sight.from(version) else { return Ok(None) };
            if from == version {
                // What is not here may be a hole, or what was written before this home was in. That is not for
                // the other either, if it came later; or it is the other's own, which knows whom else to ask.
                let begins_here = seq > first
                    && self.origin != own
                    && self.version_at(Seq(1))?.is_some_and(|(lowest, _)| lowest == seq)
                    && (self.origin == sight.peer || self.held_from(&own, version));
                return Ok(Some(if begins_here { seq } else { first }));
            }
            let version_at = |seq| Ok(self.version_at(seq)?.map(|(_, version)| version));
            let upto = first_from(from, (seq, last), version_at)?;
            if upto > last {
                return Ok(None);
            }
            first = upto;
        }
    }

    /// Whether this home has had somebody in the group for at least as long as the asking one.
    fn held_from(&self, own: &HomeId, version: u64) -> bool {
        let Some(Sight { roster, peer }) = &self.may_see else { return true };
        let (mine, theirs) = (roster.home_in_at(own, version), roster.home_in_at(peer, version));
        mine.is_some_and(|mine| theirs.is_some_and(|theirs| mine <= theirs))
    }

    /// The first event from `seq` on that has an entry, and the roster version that it names.
    fn version_at(&self, seq: Seq) -> Result<Option<(Seq, u64)>, Fault> {
        let row = self.reader.row_of_seq(self.channel, self.origin, self.epoch, seq)?;
        let Some(row) = row else { return Ok(None) };
        let entry = self.reader.entry(self.channel, row.pos)?;
        Ok(entry.map(|entry| (row.seq, entry.event.header.roster)))
    }

    fn is_seen(&self, entry: &LogEntry) -> bool {
        self.may_see.as_ref().is_none_or(|sight| sight.has(entry.event.header.roster))
    }

    fn up(&self, first: Seq, last: Seq) -> Result<Vec<Arc<LogEntry>>, Fault> {
        let mut found: Vec<Arc<LogEntry>> = Vec::new();
        let mut room = ANSWER_BYTES - ENVELOPE_BYTES;
        let mut seq = first;
        let Some(row) = self.reader.row_of_seq(self.channel, self.origin, self.epoch, first)?
        else {
            return Ok(found);
        };
        let mut pos = row.pos;
        'log: while seq <= last && found.len() < RANGE_EVENTS {
            let upto = Pos(pos.0 + RANGE_EVENTS as u64 - 1);
            let entries = self.reader.log(self.channel, pos, upto, ANSWER_BYTES)?;
            let Some(end) = entries.last().map(|e| e.pos) else { break };
            for entry in entries {
                let header = &entry.event.header;
                if header.origin != self.origin || header.epoch != self.epoch {
                    continue;
                }
                let size = entry.event.size_bytes() + EVENT_BYTES;
                let fits = size <= room && found.len() < RANGE_EVENTS;
                if header.seq != seq || seq > last || !fits || !self.is_seen(&entry) {
                    break 'log;
                }
                room -= size;
                seq = seq.next();
                found.push(entry);
            }
            pos = end.next();
        }
        Ok(found)
    }

    fn down(&self, first: Seq, last: Seq) -> Result<Vec<Arc<LogEntry>>, Fault> {
        let mut found = Vec::new();
        let mut room = ANSWER_BYTES - ENVELOPE_BYTES;
        let mut seq = last;
        while seq >= first && seq > Seq(0) && found.len() < RANGE_EVENTS {
            let row = self.reader.row_of_seq(self.channel, self.origin, self.epoch, seq)?;
            let Some(row) = row.filter(|row| row.seq == seq) else { break };
            let Some(entry) = self.reader.entry(self.channel, row.pos)? else { break };
            let size = entry.event.header_bytes.len() + EVENT_BYTES;
            if size > room || !self.is_seen(&entry) {
                break;
            }
            room -= size;
            found.push(Arc::new(entry));
            seq = Seq(seq.0 - 1);
        }
        Ok(found)
    }
}
