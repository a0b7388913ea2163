//! What uploads and downloads have in common: how long they hope, and what they say meanwhile.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use crate::error::Error;

/// A transfer that does not move for so long is broken off and begun again where it was.
pub(crate) const IDLE: Duration = Duration::from_secs(30);

/// First wait after a loss; it doubles.
const RETRY_MIN: Duration = Duration::from_millis(200);

/// Longest wait between two attempts: somebody sits before it.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Read from a disk at once, in bytes.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// How far a transfer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes that are through, those of earlier attempts included. It may fall where a connection broke.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Decides after each failure whether and when to try again.
pub(crate) struct Hope {
    patience: Duration,
    /// Nothing has moved since then.
    since: Instant,
    wait: Duration,
}

impl Hope {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, since: Instant::now(), wait: RETRY_MIN }
    }

    /// Something has moved.
    pub(crate) fn renewed(&mut self) {
        self.since = Instant::now();
        self.wait = RETRY_MIN;
    }

    /// Waits after what may pass; gives back what will not, or has lasted too long.
    pub(crate) async fn after(&mut self, error: Error) -> Result<(), Error> {
        let wait = error.retry_after().unwrap_or(self.wait).max(self.wait);
        if !may_pass(&error) || self.since.elapsed() + wait > self.patience {
            return Err(error);
        }
        tracing::debug!(%error, ?wait, "a transfer is tried again");
        tokio::time::sleep(wait).await;
        self.wait = (self.wait * 2).min(RETRY_MAX);
        Ok(())
    }
}

/// Whether the same may work in a moment.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        // A body that was lost, or too slow, on the way; another piece that is still coming in; a place that has moved.
        Error::Http { status, code, .. } => {
            matches!(status, 408 | 409 | 423 | 429 | 500 | 502 | 503 | 504) || code == "body_lost"
        }
        Error::Refused(_)
        | Error::BadServer { .. }
        | Error::Closed { .. }
        | Error::SignedOut { .. }
        | Error::Garbled(_)
        | Error::Unsendable(_)
        | Error::File { .. }
        | Error::FileChanged { .. }
        | Error::WrongHash
        | Error::Stopped => false,
    }
}

/// An error of a file of one's own.
pub(crate) fn of_file(path: &Path, error: &std::io::Error) -> Error {
    Error::File { path: path.display().to_string(), why: error.to_string() }
}

/// BLAKE3 of a file's first `size` bytes, to go on with.
pub(crate) async fn hash_file(path: &Path, size: u64) -> Result<blake3::Hasher, Error> {
    let wrong = |error: std::io::Error| of_file(path, &error);
    let mut file = tokio::fs::File::open(path).await.map_err(wrong)?.take(size);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = file.read(&mut buffer).await.map_err(wrong)?;
        if count == 0 {
            return Ok(hasher);
        }
        hasher.update(&buffer[..count]);
    }
}
