//! Those who look into files: a few at once, each for a limited time, and so many who wait.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Why a job has no outcome.
#[derive(Debug)]
pub(crate) enum Undone {
    /// Too many wait.
    Busy,
    /// It took too long. It goes on to where it looks at the time, and keeps its place until then.
    TooSlow,
    /// It has panicked, and taken nothing with it.
    Panicked(String),
}

/// Threads that may block. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    places: Arc<Semaphore>,
    allowed: usize,
    entered: Arc<AtomicUsize>,
}

impl Workers {
    /// So many at once, and so many who wait.
    pub(crate) fn new(at_once: usize, waiting: usize) -> Self {
        let at_once = at_once.max(1);
        Self {
            places: Arc::new(Semaphore::new(at_once)),
            allowed: waiting.saturating_add(at_once),
            entered: Arc::default(),
        }
    }

    /// Does this with a file. The job is told when it has to end.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        path: &Path,
        time: Duration,
        job: impl FnOnce(&Path, Instant) -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let entered = Entered::new(&self.entered);
        if entered.before >= self.allowed {
            return Err(Undone::Busy);
        }
        let place = self.places.clone().acquire_owned().await.map_err(|_| Undone::Busy)?;
        let path = path.to_path_buf();
        let running = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, not of the waiting for it.
            let _held = (place, entered);
            job(&path, Instant::now() + time)
        });
        match timeout(time, running).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(panicked)) => Err(Undone::Panicked(panicked.to_string())),
            Err(_) => Err(Undone::TooSlow),
        }
    }
}

/// One who waits for a place, or has one.
struct Entered {
    all: Arc<AtomicUsize>,
    before: usize,
}

impl Entered {
    fn new(all: &Arc<AtomicUsize>) -> Self {
        Self { before: all.fetch_add(1, Ordering::Relaxed), all: all.clone() }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}
