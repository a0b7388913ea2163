//! Counters of a bridge. The program that runs it exports them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::api::METHODS;

/// Distinct words that are counted one by one; reasons are fixed words, so this is never met.
const REASONS: usize = 256;

/// What a bridge has done since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Connections open now, WebSocket or not.
    pub connections_open: u64,
    /// Connections taken.
    pub connections: u64,
    /// Connections refused by a limit, by its name.
    pub connections_refused: BTreeMap<String, u64>,
    /// WebSockets open now.
    pub sockets_open: u64,
    /// WebSockets opened.
    pub sockets: u64,
    /// HTTP answers by status.
    pub http_answers: BTreeMap<u16, u64>,
    /// Calls by method. Unknown methods are counted as refusals alone.
    pub calls: BTreeMap<String, u64>,
    /// Refused calls and requests, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Notifications written.
    pub notices: u64,
    /// WebSocket text frames read.
    pub frames_in: u64,
    /// WebSocket text frames written.
    pub frames_out: u64,
    /// Bytes read from WebSockets.
    pub bytes_in: u64,
    /// Bytes written to WebSockets.
    pub bytes_out: u64,
    /// Files on their way now.
    pub transfers_open: u64,
    /// Bytes of files read from clients.
    pub media_bytes_in: u64,
    /// Bytes of files handed out to clients.
    pub media_bytes_out: u64,
    /// WebSockets that ended, by close code; 1006 where there was no closing handshake.
    pub closes: BTreeMap<u16, u64>,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) connections_open: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) sockets_open: AtomicU64,
    pub(crate) sockets: AtomicU64,
    pub(crate) notices: AtomicU64,
    pub(crate) frames_in: AtomicU64,
    pub(crate) frames_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) transfers_open: AtomicU64,
    pub(crate) media_bytes_in: AtomicU64,
    pub(crate) media_bytes_out: AtomicU64,
    calls: Vec<AtomicU64>,
    rare: Mutex<Rare>,
}

/// What happens too seldom to be worth an atomic of its own.
#[derive(Debug, Default)]
struct Rare {
    connections_refused: BTreeMap<String, u64>,
    refusals: BTreeMap<String, u64>,
    http_answers: BTreeMap<u16, u64>,
    closes: BTreeMap<u16, u64>,
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn subtract(counter: &AtomicU64, n: u64) {
    counter.fetch_sub(n, Ordering::Relaxed);
}

fn count(map: &mut BTreeMap<String, u64>, word: &str) {
    if let Some(n) = map.get_mut(word) {
        *n += 1;
    } else {
        let word = if map.len() < REASONS { word } else { "other" };
        *map.entry(word.to_owned()).or_default() += 1;
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            connections_open: zero(),
            connections: zero(),
            sockets_open: zero(),
            sockets: zero(),
            notices: zero(),
            frames_in: zero(),
            frames_out: zero(),
            bytes_in: zero(),
            bytes_out: zero(),
            transfers_open: zero(),
            media_bytes_in: zero(),
            media_bytes_out: zero(),
            calls: METHODS.iter().map(|_| zero()).collect(),
            rare: Mutex::default(),
        }
    }

    /// A call of the method with this index in [`METHODS`].
    pub(crate) fn called(&self, method: usize) {
        if let Some(counter) = self.calls.get(method) {
            add(counter, 1);
        }
    }

    pub(crate) fn refused(&self, reason: &str) {
        count(&mut self.rare().refusals, reason);
    }

    pub(crate) fn connection_refused(&self, limit: &'static str) {
        count(&mut self.rare().connections_refused, limit);
    }

    pub(crate) fn http_answered(&self, status: u16) {
        *self.rare().http_answers.entry(status).or_default() += 1;
    }

    pub(crate) fn closed(&self, code: u16) {
        *self.rare().closes.entry(code).or_default() += 1;
    }

    pub(crate) fn snapshot(&self) -> MetricsSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let calls = METHODS
            .iter()
            .zip(&self.calls)
            .map(|(method, counter)| (method.name.to_owned(), read(counter)))
            .collect();
        let rare = self.rare();
        MetricsSnapshot {
            connections_open: read(&self.connections_open),
            connections: read(&self.connections),
            connections_refused: rare.connections_refused.clone(),
            sockets_open: read(&self.sockets_open),
            sockets: read(&self.sockets),
            http_answers: rare.http_answers.clone(),
            calls,
            refusals: rare.refusals.clone(),
            notices: read(&self.notices),
            frames_in: read(&self.frames_in),
            frames_out: read(&self.frames_out),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            transfers_open: read(&self.transfers_open),
            media_bytes_in: read(&self.media_bytes_in),
            media_bytes_out: read(&self.media_bytes_out),
            closes: rare.closes.clone(),
        }
    }

    fn rare(&self) -> std::sync::MutexGuard<'_, Rare> {
        self.rare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
