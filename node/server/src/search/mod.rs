//! The search index of a home: kept beside the store by a thread of its own, which follows what is committed.
//!
//! The store is what counts. The index only says where to look: what it names is read from the store before it is shown. So
//! it may be behind, and it may be thrown away: it is made again from the logs of the channels.

mod indexer;
mod metrics;
mod texts;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homing_core::{Batch, Write};
use homing_search::{Found, Index, SearchError};
use homing_store::{Store, Tap};
use homing_wire::{ChannelId, HomeId, Local};
use parking_lot::{Condvar, Mutex, RwLock};
use tracing::warn;

pub(crate) use metrics::SearchMetrics;
pub(crate) use texts::texts;

use indexer::Indexer;

/// Channels that are known to have something new, about 60 bytes each. Where there are more, all channels are looked at.
const NEWS: usize = 20_000;

/// How the index is kept, and what a search may cost.
#[derive(Clone, Debug)]
pub(crate) struct SearchLimits {
    /// Where its files are.
    pub folder: PathBuf,
    /// Memory of what is being added.
    pub memory_bytes: usize,
    /// What is new is put before those who search this often.
    pub commit_every: Duration,
    /// Searches of one user at once, those that wait included.
    pub of_user: usize,
    /// Words of what was removed leave the files so long after.
    pub erase_after: Duration,
}

/// The index, for whoever searches and whoever has news for it.
pub(crate) struct Search {
    pub(crate) limits: SearchLimits,
    pub(crate) metrics: SearchMetrics,
    /// `None`: it is being opened.
    index: RwLock<Option<Index>>,
    news: Mutex<News>,
    /// There are news, or it shall stop.
    moved: Condvar,
    /// Who is searching, and how often.
    searching: Mutex<HashMap<Local, usize>>,
}

/// What the index does not have yet.
#[derive(Default)]
struct News {
    /// Channels whose logs have grown.
    channels: BTreeSet<ChannelId>,
    /// Channels of which retention has removed something.
    pruned: BTreeSet<ChannelId>,
    /// There were too many to remember: every channel may be one.
    everywhere: bool,
    /// The change number of the newest batch.
    upto: u64,
    /// When the oldest of them came.
    since: Option<Instant>,
    /// The index is not what was written.
    damaged: bool,
    stopping: bool,
}

impl News {
    fn any(&self) -> bool {
        self.everywhere || !self.channels.is_empty() || !self.pruned.is_empty()
    }
}

/// The thread that keeps the index.
pub(crate) struct IndexerThread {
    search: Arc<Search>,
    store: Arc<dyn Store>,
    tap: Arc<dyn Tap>,
    thread: std::thread::JoinHandle<()>,
}

impl Search {
    /// Starts the thread.
    pub(crate) fn start(
        limits: SearchLimits,
        store: Arc<dyn Store>,
    ) -> std::io::Result<(Arc<Self>, IndexerThread)> {
        let search = Arc::new(Self {
            limits,
            metrics: SearchMetrics::default(),
            index: RwLock::default(),
            news: Mutex::default(),
            moved: Condvar::new(),
            searching: Mutex::default(),
        });
        // Before anything is read: what comes from here on is told.
        let tap: Arc<dyn Tap> = search.clone();
        store.tap(tap.clone());
        search.metrics.indexing(true);
        let indexer = Indexer::new(search.clone(), store.clone());
        let thread =
            std::thread::Builder::new().name("search".into()).spawn(move || indexer.run())?;
        let thread = IndexerThread { search: search.clone(), store, tap, thread };
        Ok((search, thread))
    }

    /// A turn of a user's; `None`: that user searches too much already.
    pub(crate) fn turn(self: &Arc<Self>, user: &Local) -> Option<Turn> {
        let mut searching = self.searching.lock();
        let of_user = searching.entry(user.clone()).or_default();
        if *of_user >= self.limits.of_user {
            return None;
        }
        *of_user += 1;
        Some(Turn { search: self.clone(), user: user.clone() })
    }

    /// Searches the index, if there is one now.
    pub(crate) fn find(&self, search: homing_search::Search<'_>) -> Option<Found> {
        let index = self.index.read().clone()?;
        match index.search(search) {
            Ok(found) => Some(found),
            Err(error) => {
                self.damaged(&error);
                None
            }
        }
    }

    /// Whether it is known to lack more than what came a moment ago.
    pub(crate) fn is_indexing(&self) -> bool {
        self.metrics.is_indexing()
    }

    fn damaged(&self, error: &SearchError) {
        warn!(%error, "the search index could not be read: it is opened again");
        self.metrics.indexing(true);
        self.news.lock().damaged = true;
        self.moved.notify_all();
    }

    /// As names, helps and numbers.
    pub(crate) fn families(&self) -> Vec<crate::metrics::Family> {
        let index = self.index.read().clone();
        let (documents, removed, bytes) = index.map_or((0, 0, 0), |index| {
            (index.documents(), index.removed(), index.bytes().unwrap_or_default())
        });
        let behind = self.news.lock().since.map_or(Duration::ZERO, |since| since.elapsed());
        self.metrics.families(documents, removed, bytes, behind)
    }
}

impl Tap for Search {
    fn committed(&self, batch: &Batch) {
        let mut news = self.news.lock();
        let had = news.any();
        for write in &batch.writes {
            match write {
                Write::Entry(entry) => drop(news.channels.insert(entry.channel())),
                Write::Fold { channel, .. } => drop(news.channels.insert(*channel)),
                Write::Pruned { channel, .. } => drop(news.pruned.insert(*channel)),
                Write::Channel(_)
                | Write::Listing { .. }
                | Write::Account(_)
                | Write::Device(_)
                | Write::DeviceGone { .. }
                | Write::Invite(_)
                | Write::InviteGone(_)
                | Write::Owed { .. }
                | Write::Unanswered { .. }
                | Write::Peer(_)
                | Write::Roster { .. }
                | Write::Letter { .. }
                | Write::LetterGone { .. }
                | Write::Listed { .. }
                | Write::OwnView { .. }
                | Write::Draft { .. }
                | Write::Word { .. }
                | Write::Seen { .. }
                | Write::Media(_)
                | Write::MediaGone { .. }
                | Write::Named { .. }
                | Write::Erase { .. }
                | Write::Op { .. }
                | Write::OpGone { .. } => {}
            }
        }
        news.upto = batch.change;
        if news.channels.len() + news.pruned.len() > NEWS {
            news.channels.clear();
            news.pruned.clear();
            news.everywhere = true;
        }
        if news.any() && !had {
            news.since.get_or_insert_with(Instant::now);
            self.moved.notify_all();
        }
    }
}

impl IndexerThread {
    /// Waits until what is committed is in the index, and closes it. Blocks.
    pub(crate) fn stop(self) {
        self.search.news.lock().stopping = true;
        self.search.moved.notify_all();
        let _panicked_says_so_itself = self.thread.join();
        self.store.untap(&self.tap);
    }
}

/// A search of a user's that is under way.
pub(crate) struct Turn {
    search: Arc<Search>,
    user: Local,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut searching = self.search.searching.lock();
        if let Some(of_user) = searching.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                searching.remove(&self.user);
            }
        }
    }
}

/// Of what the index of a store is: another life has other places.
pub(crate) fn life(home: HomeId, epoch: homing_wire::Epoch) -> String {
    format!("{home}.{}", epoch.0)
}

#[cfg(test)]
mod tests;
