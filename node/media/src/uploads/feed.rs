//! From a client's connection to the writer: gathers small pieces, and gives up connections that bring nothing.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::write::{End, Fed, Piece};
use super::{Appended, Running, UploadError, UploadLimits};
use crate::ByteStream;

/// Pieces are gathered to this: what a socket gives at once is far too small to hand to another thread.
const GATHER_BYTES: usize = 256 * 1024;

/// Brings a stream's bytes to the writer, and its answer back.
pub(super) async fn feed(
    limits: &UploadLimits,
    running: Running,
    piece: Piece,
    bytes: ByteStream,
) -> Result<Appended, UploadError> {
    let Piece { pieces, answer, left } = piece;
    let mut feed = Feed { pieces: Some(pieces), gathered: BytesMut::new(), running };
    let end = take_all(limits, &mut feed, left, bytes).await;
    if end != End::TooLarge {
        feed.flush().await;
    }
    feed.send(Fed::End(end)).await;
    // Its end is in the channel, so leaving now changes nothing but who waits.
    let answered = answer.await;
    drop(feed);
    answered.unwrap_or_else(|_| Err(UploadError::Io(io::Error::other("the writer is gone"))))
}

async fn take_all(
    limits: &UploadLimits,
    feed: &mut Feed,
    mut left: u64,
    mut bytes: ByteStream,
) -> End {
    let idle = Duration::from_millis(limits.idle_ms);
    let window = Duration::from_millis(limits.rate_window_ms);
    // Only what the client is waited for counts: a slow disk is not its fault.
    let mut waited = Duration::ZERO;
    let mut came = 0;
    loop {
        let began = Instant::now();
        let next = match timeout(idle.min(window.saturating_sub(waited)), bytes.next()).await {
            Ok(Some(Ok(next))) => next,
            Ok(Some(Err(_))) => return End::Lost,
            Ok(None) => return End::Body,
            // Either nothing came for the whole of `idle`, or the window closed in between.
            Err(_) if began.elapsed() >= idle => return End::TooSlow,
            Err(_) => Bytes::new(),
        };
        waited += began.elapsed();
        came += next.len() as u64;
        if waited >= window {
            if came < limits.rate_bytes {
                return End::TooSlow;
            }
            (waited, came) = (Duration::ZERO, 0);
        }
        let Some(rest) = left.checked_sub(next.len() as u64) else {
            return End::TooLarge;
        };
        left = rest;
        if !feed.take(next).await {
            return End::Lost;
        }
    }
}

/// The way to the writer. Dropped, it still hands over what it has gathered.
struct Feed {
    pieces: Option<mpsc::Sender<Fed>>,
    gathered: BytesMut,
    running: Running,
}

impl Feed {
    /// `false`: the writer takes no more.
    async fn take(&mut self, piece: Bytes) -> bool {
        if self.gathered.is_empty() && piece.len() >= GATHER_BYTES / 2 {
            return self.send(Fed::Bytes(piece)).await;
        }
        self.gathered.extend_from_slice(&piece);
        self.gathered.len() < GATHER_BYTES || self.flush().await
    }

    async fn flush(&mut self) -> bool {
        if self.gathered.is_empty() {
            return true;
        }
        let bytes = self.gathered.split().freeze();
        self.send(Fed::Bytes(bytes)).await
    }

    async fn send(&mut self, fed: Fed) -> bool {
        match &self.pieces {
            Some(pieces) => pieces.send(fed).await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.running.left.store(true, Ordering::Release);
        if let Some(pieces) = self.pieces.take()
            && !self.gathered.is_empty()
        {
            // Where the channel is full, this much comes again.
            let _ = pieces.try_send(Fed::Bytes(self.gathered.split().freeze()));
        }
    }
}
