//! Files on their way: how many at once, and whether they flow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::bridge::Shared;
use crate::limits::{BridgeLimits, ms};
use crate::metrics::{add, subtract};

/// How many files are on their way, and whose.
#[derive(Debug, Default)]
pub(crate) struct Transfers(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    all: usize,
    by_user: HashMap<String, usize>,
}

/// The file that is on its way over one connection, of which HTTP/1.1 knows one at a time; seen by whoever serves the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow(Arc<Mutex<Now>>);

#[derive(Debug, Default)]
struct Now {
    under_way: bool,
    /// The client has what there was, and takes no more, since then.
    client_since: Option<Instant>,
    /// When the one before ended.
    ended_at: Option<Instant>,
    /// An answer was given before all was read.
    unread: bool,
}

impl Flow {
    /// Whether a file is on its way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.now().under_way
    }

    /// Whether the client has taken nothing of it for too long.
    pub(crate) fn is_stalled(&self, limits: &BridgeLimits) -> bool {
        let since = self.now().client_since;
        since.is_some_and(|since| since.elapsed() >= ms(limits.media_idle_ms))
    }

    /// Whether a connection that has lived long enough is not to be cut: a file is on its way, or the last bytes of one.
    pub(crate) fn holds(&self, limits: &BridgeLimits) -> bool {
        let now = self.now();
        now.under_way || now.ended_at.is_some_and(|at| at.elapsed() < ms(limits.media_idle_ms))
    }

    /// Says that the answer comes before all that the client sends was read.
    pub(crate) fn leave_unread(&self) {
        self.now().unread = true;
    }

    /// Whether it was said.
    pub(crate) fn is_unread(&self) -> bool {
        self.now().unread
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file's place among those on their way.
pub(crate) struct Transfer {
    shared: Arc<Shared>,
    flow: Flow,
    user: String,
    pace: Pace,
}

impl Transfer {
    /// Takes a place, or says which limit forbids it. `user`: a token or a link.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        flow: &Flow,
        user: &str,
    ) -> Result<Self, &'static str> {
        let limits = &shared.limits;
        let mut places = shared.transfers.places();
        if places.all >= limits.transfers {
            return Err("transfers");
        }
        let here = places.by_user.entry(user.to_owned()).or_default();
        if *here >= limits.transfers_per_user {
            return Err("transfers_per_user");
        }
        *here += 1;
        places.all += 1;
        drop(places);
        add(&shared.metrics.transfers_open, 1);
        *flow.now() = Now { under_way: true, ..Now::default() };
        Ok(Self {
            shared: shared.clone(),
            flow: flow.clone(),
            user: user.to_owned(),
            pace: Pace::new(limits),
        })
    }

    /// Bytes go to the client, who has to take them from now on.
    pub(crate) fn handed(&mut self, bytes: u64) {
        self.flow.now().client_since = Some(Instant::now());
        self.pace.bytes += bytes;
        add(&self.shared.metrics.media_bytes_out, bytes);
    }

    /// The client has taken what there was. `false`: too slowly.
    pub(crate) fn taken(&mut self) -> bool {
        let since = self.flow.now().client_since.take();
        since.is_none_or(|since| self.pace.waited(since.elapsed()))
    }

    /// Bytes came from the client, who was waited for so long. `false`: too slowly.
    pub(crate) fn came(&mut self, bytes: u64, waited: Duration) -> bool {
        self.pace.bytes += bytes;
        add(&self.shared.metrics.media_bytes_in, bytes);
        self.pace.waited(waited)
    }

    pub(crate) fn limits(&self) -> &BridgeLimits {
        &self.shared.limits
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut now = self.flow.now();
        now.under_way = false;
        now.client_since = None;
        now.ended_at = Some(Instant::now());
        drop(now);
        let mut places = self.shared.transfers.places();
        places.all -= 1;
        if let Some(here) = places.by_user.get_mut(&self.user) {
            *here -= 1;
            if *here == 0 {
                places.by_user.remove(&self.user);
            }
        }
        drop(places);
        subtract(&self.shared.metrics.transfers_open, 1);
    }
}

impl Transfers {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a client keeps up. Only time spent waiting for the client counts: a slow disk here, or a slow home, is not its fault.
#[derive(Debug)]
struct Pace {
    window: Duration,
    window_bytes: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(limits: &BridgeLimits) -> Self {
        Self {
            window: ms(limits.media_window_ms),
            window_bytes: limits.media_window_bytes,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    fn waited(&mut self, waited: Duration) -> bool {
        self.waited += waited;
        if self.waited < self.window {
            return true;
        }
        let kept_up = self.bytes >= self.window_bytes;
        self.waited = Duration::ZERO;
        self.bytes = 0;
        kept_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_drips_does_not_keep_up() {
        let limits = BridgeLimits {
            media_window_ms: 1_000,
            media_window_bytes: 100,
            ..BridgeLimits::default()
        };
        let mut pace = Pace::new(&limits);
        for _ in 0..50 {
            pace.bytes += 10;
            assert!(pace.waited(ms(100)), "100 bytes a second are enough");
        }
        let kept_up = (0..10).all(|_| {
            pace.bytes += 9;
            pace.waited(ms(100))
        });
        assert!(!kept_up);
    }
}
