//! Looking for documents, newest first, with bounded work.
//!
//! Every part of the index keeps its documents by falling stamp. So the documents that have all terms are walked through in
//! each part from the newest down, the parts side by side, and what is found first is the newest. A walk that has taken as
//! many steps as it may says how far it has come, and goes on from there when it is asked again.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use tantivy::columnar::ColumnValues;
use tantivy::postings::SegmentPostings;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, DocSet as _, SegmentReader, TERMINATED, Term};

use crate::index::{HIGH, Index, LOW, POS, STAMP, from_halves, guarded, halves};
use crate::query::{Query, Wanted};
use crate::{Channel, Key, SearchError};

/// Words of the index that a beginning of four characters or more is taken for, in each part. Where more begin so, its first
/// three characters are asked instead: they bring more documents that do not match.
const EXPANDED_WORDS: usize = 256;

/// And documents that have them: these are all read, the three characters' as far as they are needed.
const EXPANDED_DOCUMENTS: usize = 20_000;

/// Documents of the channels asked that may lead: they are all read, and put in order.
const LEADING: usize = 400_000;

/// Look-ups of channels in parts of the index, all together: a microsecond each.
const LOOKED_UP: usize = 20_000;

/// What is looked for.
pub struct Search<'a> {
    /// The words.
    pub query: &'a Query,
    /// Documents of these channels alone.
    pub channels: &'a [Channel],
    /// Of these, the places that may be found.
    pub sees: &'a mut dyn FnMut(&Channel, u64) -> bool,
    /// Below that in order alone.
    pub below: Option<Key>,
    /// So many documents at most.
    pub limit: usize,
    /// Documents looked at, at most; about 50 ns each. Documents of one stamp are looked at together, however many they are.
    pub steps: usize,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// The greatest first. Their texts have to be looked at.
    pub keys: Vec<Key>,
    /// Below that there may be more.
    pub next: Option<Key>,
    /// Documents looked at.
    pub steps: usize,
}

impl Index {
    /// Looks for documents.
    pub fn search(&self, search: Search<'_>) -> Result<Found, SearchError> {
        guarded(|| self.find(search))
    }

    fn find(&self, search: Search<'_>) -> Result<Found, SearchError> {
        let searcher = self.reader.searcher();
        let wanted = search.query.wanted();
        let mut walks = Vec::new();
        for segment in searcher.segment_readers() {
            walks.extend(self.walk(segment, &wanted)?);
        }
        let cost: usize = walks.iter().map(|(_, walk)| walk.docs[0].size()).sum();
        if cost > search.steps && search.channels.len() * walks.len() <= LOOKED_UP {
            self.lead_by_channels(&mut walks, search.channels, cost)?;
        }
        let top = search.below.map_or(u64::MAX, |below| below.stamp);
        let walks = walks.into_iter().map(|(_, walk)| walk).collect();
        Merged::new(walks, search).run(top)
    }

    /// The documents of a part that have all that is wanted; `None`: there are none.
    fn walk<'a>(
        &self,
        segment: &'a SegmentReader,
        wanted: &std::collections::BTreeSet<Wanted>,
    ) -> Result<Option<(&'a SegmentReader, Walk<'a>)>, SearchError> {
        let mut docs = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let these = match wanted {
                Wanted::Term(term) => self.with_term(segment, term)?,
                Wanted::Beginning(beginning, short) => {
                    match self.with_beginning(segment, beginning)? {
                        Some(these) => these,
                        None => self.with_term(segment, short)?,
                    }
                }
            };
            if these.size() == 0 {
                return Ok(None);
            }
            docs.push(these);
        }
        docs.sort_by_key(Docs::size);
        let column = |name| -> Result<_, SearchError> {
            Ok(segment.fast_fields().u64(name)?.first_or_default_col(0))
        };
        let (stamps, places) = (column(STAMP)?, column(POS)?);
        let (highs, lows) = (column(HIGH)?, column(LOW)?);
        Ok(Some((segment, Walk { segment, docs, stamps, places, highs, lows })))
    }

    fn with_term(&self, segment: &SegmentReader, term: &[u8]) -> Result<Docs, SearchError> {
        let term = Term::from_field_bytes(self.fields.term, term);
        let index = segment.inverted_index(self.fields.term)?;
        let postings = index.read_postings(&term, IndexRecordOption::Basic)?;
        Ok(postings.map_or_else(Docs::none, |postings| Docs::Term(Box::new(postings))))
    }

    /// Documents with a term that begins so; `None`: such terms are too many.
    fn with_beginning(
        &self,
        segment: &SegmentReader,
        beginning: &[u8],
    ) -> Result<Option<Docs>, SearchError> {
        let index = segment.inverted_index(self.fields.term)?;
        let mut terms = index.terms().range().ge(beginning).into_stream()?;
        let (mut found, mut size) = (Vec::new(), 0);
        while terms.advance() && terms.key().starts_with(beginning) {
            size += terms.value().doc_freq as usize;
            if found.len() == EXPANDED_WORDS || size > EXPANDED_DOCUMENTS {
                return Ok(None);
            }
            found.push(terms.value().clone());
        }
        let mut docs = Vec::new();
        for info in found {
            let postings = index.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
            read_all(postings, &mut docs);
        }
        docs.sort_unstable();
        docs.dedup();
        Ok(Some(Docs::List(docs, 0)))
    }

    /// All words are common, so the channels' own documents are fewer, perhaps much: then these lead.
    fn lead_by_channels(
        &self,
        walks: &mut [(&SegmentReader, Walk<'_>)],
        channels: &[Channel],
        cost: usize,
    ) -> Result<(), SearchError> {
        let (mut all, mut size) = (Vec::with_capacity(walks.len()), 0);
        for (segment, _) in walks.iter() {
            let index = segment.inverted_index(self.fields.channel)?;
            let mut infos = Vec::new();
            for channel in channels {
                let term = Term::from_field_bytes(self.fields.channel, channel);
                infos.extend(index.get_term_info(&term)?);
            }
            size += infos.iter().map(|info| info.doc_freq as usize).sum::<usize>();
            if size > cost / 4 || size > LEADING {
                return Ok(());
            }
            all.push((index, infos));
        }
        for ((index, infos), (_, walk)) in all.into_iter().zip(walks) {
            let mut docs = Vec::new();
            for info in infos {
                let postings =
                    index.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
                read_all(postings, &mut docs);
            }
            docs.sort_unstable();
            walk.docs.insert(0, Docs::List(docs, 0));
        }
        Ok(())
    }
}

fn read_all(mut postings: SegmentPostings, docs: &mut Vec<DocId>) {
    while postings.doc() != TERMINATED {
        docs.push(postings.doc());
        postings.advance();
    }
}

/// Documents of a part, rising by their number there: falling by their stamp.
enum Docs {
    Term(Box<SegmentPostings>),
    /// And which of it is next.
    List(Vec<DocId>, usize),
}

impl Docs {
    fn none() -> Self {
        Self::List(Vec::new(), 0)
    }

    /// How many there are.
    fn size(&self) -> usize {
        match self {
            Self::Term(postings) => postings.size_hint() as usize,
            Self::List(docs, _) => docs.len(),
        }
    }

    fn doc(&self) -> DocId {
        match self {
            Self::Term(postings) => postings.doc(),
            Self::List(docs, at) => docs.get(*at).copied().unwrap_or(TERMINATED),
        }
    }

    /// Goes on to `target`, or to the first behind it.
    fn seek(&mut self, target: DocId) -> DocId {
        if self.doc() < target {
            match self {
                Self::Term(postings) => {
                    postings.seek(target);
                }
                Self::List(docs, at) => {
                    *at += docs[*at..].partition_point(|doc| *doc < target);
                }
            }
        }
        self.doc()
    }

    fn advance(&mut self) {
        match self {
            Self::Term(postings) => {
                postings.advance();
            }
            Self::List(_, at) => *at += 1,
        }
    }
}

/// The way through one part.
struct Walk<'a> {
    segment: &'a SegmentReader,
    /// The first leads, the others must have the same; it has the fewest.
    docs: Vec<Docs>,
    stamps: Arc<dyn ColumnValues<u64>>,
    places: Arc<dyn ColumnValues<u64>>,
    highs: Arc<dyn ColumnValues<u64>>,
    lows: Arc<dyn ColumnValues<u64>>,
}

/// Where a walk has come to.
enum Come {
    /// To a document that has everything.
    To(u64, DocId),
    /// To the end.
    End,
    /// Not there yet, at that stamp, and no further for now.
    Stopped(u64),
}

impl Walk<'_> {
    /// Leaves out what is newer than `top`.
    fn start(&mut self, top: u64) {
        let (mut low, mut high) = (0, self.segment.max_doc());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.stamps.get_val(middle) > top { low = middle + 1 } else { high = middle }
        }
        if low < self.segment.max_doc() {
            self.docs[0].seek(low);
        } else {
            self.docs = vec![Docs::none()];
        }
    }

    /// On to the next document that has everything, at or behind the present one.
    fn next(&mut self, steps: &mut usize, may_stop_at: impl Fn(u64) -> bool) -> Come {
        let [lead, others @ ..] = &mut self.docs[..] else { return Come::End };
        'leads: loop {
            let doc = lead.doc();
            if doc == TERMINATED {
                return Come::End;
            }
            if *steps == 0 {
                let stamp = self.stamps.get_val(doc);
                if may_stop_at(stamp) {
                    return Come::Stopped(stamp);
                }
            }
            *steps = steps.saturating_sub(1);
            for other in &mut *others {
                let behind = other.seek(doc);
                if behind > doc {
                    lead.seek(behind);
                    continue 'leads;
                }
            }
            if self.segment.is_deleted(doc) {
                lead.advance();
                continue;
            }
            return Come::To(self.stamps.get_val(doc), doc);
        }
    }
}

/// All parts side by side.
struct Merged<'w, 's> {
    walks: Vec<Walk<'w>>,
    search: Search<'s>,
    /// Channels by the half that tells most apart.
    channels: HashMap<u64, Vec<u64>>,
    /// The next document of each walk that has one, the newest first.
    heads: BinaryHeap<(u64, usize, DocId)>,
    /// What is found of one stamp.
    group: Vec<Key>,
    found: Vec<Key>,
}

impl<'w, 's> Merged<'w, 's> {
    fn new(walks: Vec<Walk<'w>>, search: Search<'s>) -> Self {
        let mut channels: HashMap<u64, Vec<u64>> = HashMap::with_capacity(search.channels.len());
        for channel in search.channels {
            let (high, low) = halves(channel);
            channels.entry(low).or_default().push(high);
        }
        let heads = BinaryHeap::with_capacity(walks.len());
        Self { walks, search, channels, heads, group: Vec::new(), found: Vec::new() }
    }

    fn run(mut self, top: u64) -> Result<Found, SearchError> {
        let mut left = self.search.steps;
        let mut stopped: Option<u64> = None;
        // Who has come no further than where the last call began must go on: else nobody ever would.
        let may_stop_at = |stamp: u64| stamp < top;
        for at in 0..self.walks.len() {
            self.walks[at].start(top);
            // Each has its share: one part in which nothing is found for long must not take what the others need to get on.
            let mut share = left / (self.walks.len() - at);
            left -= share;
            self.go_on(at, &mut share, may_stop_at, &mut stopped);
            left += share;
        }
        let limit = self.search.limit;
        let (mut stamp, mut full) = (top, false);
        while let Some((newest, at, doc)) = self.heads.pop() {
            if stopped.is_some_and(|stopped| newest <= stopped) {
                // Of that stamp and below there may be others that were not come to.
                break;
            }
            if newest < stamp {
                self.end_group();
                full = self.found.len() >= limit;
                if full {
                    break;
                }
                stamp = newest;
            }
            self.take(at, doc, newest);
            self.walks[at].docs[0].advance();
            self.go_on(at, &mut left, may_stop_at, &mut stopped);
        }
        if stopped.is_none_or(|stopped| stamp > stopped) {
            self.end_group();
        }
        let steps = self.search.steps - left;
        let mut next = stopped.map(|stamp| Key { stamp, channel: [0xff; 16], pos: u64::MAX });
        if full || self.found.len() > limit {
            self.found.truncate(limit);
            next = self.found.last().copied();
        }
        Ok(Found { keys: self.found, next, steps })
    }

    fn go_on(
        &mut self,
        at: usize,
        left: &mut usize,
        may_stop_at: impl Fn(u64) -> bool,
        stopped: &mut Option<u64>,
    ) {
        match self.walks[at].next(left, may_stop_at) {
            Come::To(stamp, doc) => self.heads.push((stamp, at, doc)),
            Come::End => {}
            Come::Stopped(stamp) => *stopped = (*stopped).max(Some(stamp)),
        }
    }

    /// A document that has all terms.
    fn take(&mut self, at: usize, doc: DocId, stamp: u64) {
        let walk = &self.walks[at];
        let low = walk.lows.get_val(doc);
        let Some(highs) = self.channels.get(&low) else { return };
        let high = walk.highs.get_val(doc);
        if !highs.contains(&high) {
            return;
        }
        let (channel, pos) = (from_halves(high, low), walk.places.get_val(doc));
        let key = Key { stamp, channel, pos };
        if self.search.below.is_some_and(|below| key >= below) || !(self.search.sees)(&channel, pos)
        {
            return;
        }
        self.group.push(key);
        // Of one stamp there may be very many: more than can be shown are not kept.
        let most = self.search.limit.saturating_add(1);
        if self.group.len() > most.saturating_mul(4) {
            self.group.sort_unstable_by(|a, b| b.cmp(a));
            self.group.truncate(most);
        }
    }

    fn end_group(&mut self) {
        self.group.sort_unstable_by(|a, b| b.cmp(a));
        self.found.append(&mut self.group);
    }
}
