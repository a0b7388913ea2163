//! The thread that keeps the index: it reads the logs of channels that have grown, and of all where it does not know.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use homing_core::{ChannelState, Fault, Folded, LogEntry, MessageKey};
use homing_search::{Document, Key, Opened, Options, Part, SearchError, Writer, discard, open};
use homing_store::Store;
use homing_wire::{ChannelId, Kind, Pos};
use tracing::{error, info, warn};

use super::texts::all_texts;
use super::{News, Search};

/// Bytes of a log read at once.
const READ_BYTES: usize = 1 << 20;
/// Channels looked at before it is seen whether there is news of those that are in use.
const LOOKED_AT: usize = 64;
/// Documents between two commits while all channels are gone through: each commit makes a part of the index, and parts are
/// merged.
const COMMIT_DOCUMENTS: usize = 20_000;
/// And at least this often, so that what is found grows while the index is made.
const COMMIT_EVERY: Duration = Duration::from_secs(10);
/// Channels of which it is remembered how far they are indexed; of others the index is asked.
const PLACES: usize = 20_000;
/// Removed documents of one channel at once.
const PRUNED: usize = 10_000;
/// Between two times that parts are written anew, at least: while much is removed, each time writes all of them.
const MIN_REST: Duration = Duration::from_secs(1);
/// After a failure, or while the disk is nearly full: it is tried again after so long.
const RETRY: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Indexer {
    search: Arc<Search>,
    store: Arc<dyn Store>,
    /// How far channels are in the index, what is not committed included.
    places: HashMap<ChannelId, Pos>,
    /// Documents added or removed that are not committed.
    uncommitted: usize,
    committed_at: Instant,
    /// The number that the next commit gets.
    upto: u64,
    /// The way through all channels.
    round: Option<Round>,
    /// When what was removed is to leave the files; `None`: nothing was.
    rewrite_at: Option<Instant>,
    /// Parts that are to be written anew now.
    rewriting: Vec<Part>,
    /// When files are looked for once more that somebody was still reading when they had been replaced.
    collect_at: Option<Instant>,
}

/// A way through all channels.
struct Round {
    after: Option<ChannelId>,
    /// The change number when it began: all that has a lesser one is in the index at its end.
    upto: u64,
    /// The index was empty.
    anew: bool,
    began: Instant,
}

/// Why the index cannot be written.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{0}")]
    Index(#[from] SearchError),
    #[error("{0}")]
    Store(#[from] Fault),
    /// It has what the store has not: a disk that was set back.
    #[error("the index knows more than the store")]
    Ahead,
    /// It was told to stop.
    #[error("told to stop")]
    Told,
}

impl Indexer {
    pub(super) fn new(search: Arc<Search>, store: Arc<dyn Store>) -> Self {
        Self {
            search,
            store,
            places: HashMap::new(),
            uncommitted: 0,
            committed_at: Instant::now(),
            upto: 0,
            round: None,
            rewrite_at: None,
            rewriting: Vec::new(),
            collect_at: None,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.keep() {
                Ok(()) => return,
                Err(stop) => {
                    *self.search.index.write() = None;
                    self.search.metrics.indexing(true);
                    match &stop {
                        Stop::Index(_) => {
                            warn!(error = %stop, "the search index has failed: it is opened again");
                        }
                        Stop::Store(_) => {
                            error!(error = %stop, "the search index cannot read the store: run `homing check`");
                        }
                        Stop::Told => return,
                        Stop::Ahead => {
                            warn!(error = %stop, "the search index is made anew");
                            if let Err(error) = discard(&self.search.limits.folder) {
                                warn!(%error, "the search index cannot be removed");
                            }
                            continue;
                        }
                    }
                }
            }
            // What is wrong may be so for long: a disk that is full, files that cannot be written.
            let mut news = self.search.news.lock();
            let until = Instant::now() + RETRY;
            while !news.stopping && !self.search.moved.wait_until(&mut news, until).timed_out() {}
            if news.stopping {
                return;
            }
        }
    }

    /// Opens the index and keeps it until it shall stop, or cannot go on.
    fn keep(&mut self) -> Result<(), Stop> {
        let meta = self.store.meta();
        let limits = &self.search.limits;
        let life = super::life(meta.home, meta.epoch);
        let options = Options { life, memory_bytes: limits.memory_bytes };
        self.search.news.lock().damaged = false;
        let (mut writer, opened) = open(&limits.folder, &options)?;
        let anew = !matches!(opened, Opened::Upto(_));
        match opened {
            Opened::Upto(upto) if upto > meta.change => return Err(Stop::Ahead),
            Opened::Upto(upto) => self.upto = upto,
            Opened::Missing => self.upto = 0,
            Opened::Foreign => {
                info!("the search index was of another life of this home: it is made anew");
                self.upto = 0;
            }
            Opened::Damaged(why) => {
                warn!(why, "the search index is damaged: it is made anew from the messages");
                self.upto = 0;
            }
        }
        self.places.clear();
        // Since when something is removed is not known: since long, perhaps.
        let now = Instant::now();
        (self.rewrite_at, self.collect_at) = (Some(now), None);
        self.rewriting.clear();
        (self.uncommitted, self.committed_at) = (0, Instant::now());
        let began = Instant::now();
        // What it does not have may be anywhere; what comes from here on is told.
        self.round = (anew || self.upto < meta.change).then_some(Round {
            after: None,
            upto: meta.change,
            anew,
            began,
        });
        *self.search.index.write() = Some(writer.index());
        self.search.metrics.indexing(self.round.is_some());
        loop {
            match self.turn(&mut writer) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Stop::Told) => {
                    // What was not come to is looked for at the next start.
                    self.commit(&mut writer)?;
                    break;
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    /// Takes what is new, once there is something; false: it shall stop.
    fn turn(&mut self, writer: &mut Writer) -> Result<bool, Stop> {
        let Some(news) = self.wait() else {
            self.finish(writer)?;
            return Ok(false);
        };
        if self.store.disk_low() {
            // It stays behind: messages need the room more.
            if news.any() {
                self.search.metrics.indexing(true);
            }
            self.keep_for_later(news);
            self.pause();
            return Ok(true);
        }
        if news.any() || news.damaged || self.round.is_some() {
            self.take(news, writer)?;
        }
        self.rewrite(writer)?;
        Ok(true)
    }

    /// Waits for news, and until they may be committed; while all channels are gone through, it does not wait. `None`: it
    /// shall stop.
    fn wait(&self) -> Option<News> {
        let due = self.committed_at + self.search.limits.commit_every;
        let mut news = self.search.news.lock();
        loop {
            if news.stopping {
                return None;
            }
            let tidy = [self.rewrite_at, self.collect_at].into_iter().flatten().min();
            let tidy_is_due =
                !self.rewriting.is_empty() || tidy.is_some_and(|at| Instant::now() >= at);
            let news_is_due = news.any() && Instant::now() >= due;
            if self.round.is_some() || news.damaged || news_is_due || tidy_is_due {
                let (upto, damaged) = (news.upto, news.damaged);
                let taken = std::mem::take(&mut *news);
                (news.upto, news.damaged, news.since) = (upto, damaged, taken.since);
                return Some(News { upto, damaged, ..taken });
            }
            let news_at = news.any().then_some(due);
            match [news_at, tidy].into_iter().flatten().min() {
                Some(at) => drop(self.search.moved.wait_until(&mut news, at)),
                None => self.search.moved.wait(&mut news),
            }
        }
    }

    fn take(&mut self, news: News, writer: &mut Writer) -> Result<(), Stop> {
        if news.damaged {
            return Err(SearchError::Damaged.into());
        }
        if news.everywhere {
            let (upto, began) = (news.upto, Instant::now());
            let anew = self.round.as_ref().is_some_and(|round| round.anew);
            self.round = Some(Round { after: None, upto, anew, began });
            self.search.metrics.indexing(true);
        }
        for channel in &news.channels {
            self.catch_up(*channel, writer)?;
        }
        self.go_round(writer)?;
        // While all are gone through, commits are fewer.
        let waited = self.committed_at.elapsed();
        let enough = self.uncommitted >= COMMIT_DOCUMENTS
            || waited >= COMMIT_EVERY
            || (!news.channels.is_empty() && waited >= self.search.limits.commit_every);
        if self.round.is_none() {
            // Until all have been gone through, it is no further than it was.
            self.upto = self.upto.max(news.upto);
            self.commit(writer)?;
            self.search.metrics.indexing(false);
        } else if enough && self.uncommitted > 0 {
            self.commit(writer)?;
        }
        // Behind the commit: what is not committed, the index does not name.
        for channel in &news.pruned {
            self.prune(*channel, writer)?;
        }
        if self.round.is_none() && self.uncommitted > 0 {
            self.commit(writer)?;
        }
        let mut now = self.search.news.lock();
        if !now.any() {
            now.since = None;
        }
        Ok(())
    }

    /// Looks at the next channels.
    fn go_round(&mut self, writer: &mut Writer) -> Result<(), Stop> {
        let Some(round) = &mut self.round else { return Ok(()) };
        let states = self.store.channels(round.after, LOOKED_AT)?;
        let Some(last) = states.last() else {
            let (upto, anew, took) = (round.upto, round.anew, round.began.elapsed());
            self.round = None;
            self.upto = self.upto.max(upto);
            self.commit(writer)?;
            if anew {
                self.search.metrics.rebuilt(took);
                let documents = writer.index().documents();
                info!(documents, seconds = took.as_secs_f64(), "the search index was made");
            }
            return Ok(());
        };
        round.after = Some(last.id);
        let anew = round.anew;
        for state in states {
            let reached = self.place_of(&state, writer)?;
            if reached > state.head {
                return Err(Stop::Ahead);
            }
            if reached < state.head {
                self.catch_up(state.id, writer)?;
            }
            if state.pruned > Pos(0) && !anew {
                self.prune(state.id, writer)?;
            }
        }
        Ok(())
    }

    /// How far a channel is in the index.
    fn place_of(&self, state: &ChannelState, writer: &Writer) -> Result<Pos, Stop> {
        if let Some(place) = self.places.get(&state.id) {
            return Ok(*place);
        }
        // Messages come into it in the order of the log, so up to the last of them it has everything.
        Ok(Pos(writer.index().reached(state.id.as_bytes())?.unwrap_or_default()))
    }

    /// Brings the index up to the end of a channel's log.
    fn catch_up(&mut self, id: ChannelId, writer: &mut Writer) -> Result<(), Stop> {
        loop {
            let Some(state) = self.store.channel(id)? else { return Ok(()) };
            let begin = self.place_of(&state, writer)?.max(state.pruned);
            if begin >= state.head {
                self.places.insert(id, begin);
                return Ok(());
            }
            // What is read from here on has everything in it that stands up to the head: of messages above, nothing is
            // changed once more below.
            let mut changed = BTreeSet::new();
            let mut pos = begin;
            while pos < state.head {
                let entries = self.store.log(id, pos.next(), state.head, READ_BYTES)?;
                let Some(last) = entries.last() else { break };
                pos = last.pos;
                for entry in entries {
                    self.index(entry, begin, &mut changed, writer)?;
                }
                self.places.insert(id, pos);
                if self.uncommitted >= COMMIT_DOCUMENTS {
                    self.commit(writer)?;
                    self.places.insert(id, pos);
                }
                if self.search.news.lock().stopping {
                    return Err(Stop::Told);
                }
            }
            if pos < state.head && self.store.channel(id)?.is_none_or(|now| now.pruned <= pos) {
                // Nothing removed it, and it is not there.
                return Err(Fault(format!("{id}: nothing at {}", pos.0 + 1)).into());
            }
        }
    }

    /// Takes an entry of a log that was read from above `begin` on.
    fn index(
        &mut self,
        entry: Arc<LogEntry>,
        begin: Pos,
        changed: &mut BTreeSet<Pos>,
        writer: &Writer,
    ) -> Result<(), Stop> {
        let header = &entry.event.header;
        match header.kind {
            Kind::Text | Kind::Media | Kind::Custom => self.add(entry, writer),
            // A note that a message is hidden from one user changes nothing for others, and that one's list says so.
            Kind::Edit | Kind::Delete | Kind::Notice
                if !(entry.hidden && header.kind == Kind::Notice) =>
            {
                let Some(target) = &header.target else { return Ok(()) };
                let id = entry.channel();
                let place = self.store.place(MessageKey::new(&target.sender, &target.id))?;
                let Some((_, pos)) = place.filter(|(channel, _)| *channel == id) else {
                    return Ok(());
                };
                if pos > begin || !changed.insert(pos) {
                    return Ok(());
                }
                writer.remove(id.as_bytes(), pos.0);
                self.uncommitted += 1;
                match self.store.entry(id, pos)? {
                    Some(message) => self.add(Arc::new(message), writer),
                    None => Ok(()),
                }
            }
            Kind::Edit | Kind::Delete | Kind::Notice | Kind::Reaction | Kind::Unknown(_) => Ok(()),
        }
    }

    /// Adds a message as it stands now, if it has words and is not there.
    fn add(&mut self, entry: Arc<LogEntry>, writer: &Writer) -> Result<(), Stop> {
        let (id, pos, stamp) = (entry.channel(), entry.pos, entry.event.header.stamp);
        let fold = self.store.fold(id, pos)?;
        let texts = all_texts(&Folded::read(&*self.store, entry, fold)?);
        if texts.is_empty() {
            return Ok(());
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let key = Key { stamp: stamp.0, channel: *id.as_bytes(), pos: pos.0 };
        writer.add(&Document { key, texts: &texts })?;
        self.uncommitted += 1;
        self.search.metrics.added();
        Ok(())
    }

    /// What retention has removed goes out of the index, too.
    fn prune(&mut self, id: ChannelId, writer: &mut Writer) -> Result<(), Stop> {
        let pruned = self.store.channel(id)?.map_or(Pos(0), |state| state.pruned);
        loop {
            let gone = writer.index().places(id.as_bytes(), pruned.0, PRUNED)?;
            for pos in &gone {
                writer.remove(id.as_bytes(), *pos);
            }
            self.uncommitted += gone.len();
            if gone.len() < PRUNED {
                return Ok(());
            }
            self.commit(writer)?;
        }
    }

    /// Words of what was removed leave the files: parts that have some are written anew, one in each turn, so that what is new
    /// waits for one at most.
    fn rewrite(&mut self, writer: &mut Writer) -> Result<(), Stop> {
        let (now, after) = (Instant::now(), self.search.limits.erase_after);
        if self.collect_at.is_some_and(|at| now >= at) {
            self.collect_at = None;
            writer.collect()?;
        }
        if self.rewriting.is_empty() {
            if self.rewrite_at.is_none_or(|at| now < at) {
                return Ok(());
            }
            // Merges may have done it meanwhile.
            writer.collect()?;
            self.rewriting = writer.parts_with_removed()?;
            self.rewrite_at = None;
        }
        if let Some(part) = self.rewriting.pop() {
            if writer.rewrite(part)? {
                self.search.metrics.rewritten();
                self.collect_at = Some(Instant::now() + RETRY);
            } else {
                // It is being merged with others, which serves as well, mostly.
                self.rewrite_at = Some(now + RETRY);
            }
        }
        if self.rewriting.is_empty() && writer.index().removed() > 0 {
            self.rewrite_at.get_or_insert(Instant::now() + after.max(MIN_REST));
        }
        Ok(())
    }

    fn commit(&mut self, writer: &mut Writer) -> Result<(), Stop> {
        let began = Instant::now();
        writer.commit(self.upto)?;
        if writer.index().removed() > 0 {
            self.rewrite_at.get_or_insert(Instant::now() + self.search.limits.erase_after);
        }
        self.search.metrics.commits.add(began.elapsed());
        (self.uncommitted, self.committed_at) = (0, Instant::now());
        if self.places.len() > PLACES {
            self.places.clear();
        }
        Ok(())
    }

    /// The last commit: what was committed before the stop is taken along, so that the next start has nothing to look for.
    fn finish(&mut self, writer: &mut Writer) -> Result<(), Stop> {
        // That it shall stop is taken, too: this is little, and done to its end.
        let news = std::mem::take(&mut *self.search.news.lock());
        if self.store.disk_low() {
            return Ok(());
        }
        let whole = self.round.is_none() && !news.everywhere && !news.damaged;
        for channel in &news.channels {
            self.catch_up(*channel, writer)?;
        }
        for channel in &news.pruned {
            self.prune(*channel, writer)?;
        }
        if whole {
            self.upto = self.upto.max(news.upto);
        }
        self.commit(writer)
    }

    /// Puts back what was taken.
    fn keep_for_later(&self, taken: News) {
        let mut news = self.search.news.lock();
        news.channels.extend(taken.channels);
        news.pruned.extend(taken.pruned);
        news.everywhere |= taken.everywhere;
    }

    fn pause(&self) {
        let mut news = self.search.news.lock();
        let until = Instant::now() + RETRY;
        while !news.stopping && !self.search.moved.wait_until(&mut news, until).timed_out() {}
    }
}
