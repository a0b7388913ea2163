//! Bytes on their way: an upload as it comes in, a download as it goes out. Neither is ever gathered.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use homing_link::ByteStream;
use tokio::time::{Instant, Sleep};

use super::flow::Transfer;
use crate::limits::ms;

/// Bytes that go out in one piece: small, so that it is seen whether the client takes them.
const PIECE_BYTES: usize = 64 << 10;

/// A request's body. Whoever stores it has one end, whoever answers the other: what the store did not want is still to be read.
#[derive(Clone)]
pub(crate) struct Upload(Arc<Mutex<Receiving>>);

struct Receiving {
    body: BoxStream<'static, io::Result<Bytes>>,
    /// Its place among the files on their way, once it is to be stored.
    transfer: Option<Transfer>,
    /// Since then the client is waited for.
    waiting_since: Option<Instant>,
    idle: Option<Pin<Box<Sleep>>>,
    /// Somebody has asked for bytes: a client that waits for `100 Continue` has been told to go on.
    begun: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// All of it was read.
    Ended,
    /// The connection broke.
    Lost,
    /// The client was too slow.
    Slow,
}

impl Upload {
    pub(crate) fn new(body: BoxStream<'static, io::Result<Bytes>>) -> Self {
        Self(Arc::new(Mutex::new(Receiving {
            body,
            transfer: None,
            waiting_since: None,
            idle: None,
            begun: false,
            state: State::Open,
        })))
    }

    /// Its bytes, for whoever stores them.
    pub(crate) fn store(&self, transfer: Transfer) -> ByteStream {
        self.receiving().transfer = Some(transfer);
        self.clone().boxed()
    }

    /// Whether the client was cut for being too slow.
    pub(crate) fn was_slow(&self) -> bool {
        self.receiving().state == State::Slow
    }

    /// Reads what was left, up to so many bytes. Answers whether that was all.
    pub(crate) async fn drain(&mut self, expects_continue: bool, most: u64) -> bool {
        {
            let mut receiving = self.receiving();
            match receiving.state {
                State::Ended => return true,
                State::Lost | State::Slow => return false,
                // It has not begun to send, and will not.
                State::Open if expects_continue && !receiving.begun => return false,
                State::Open => receiving.transfer = None,
            }
        }
        let mut left = most;
        while let Some(piece) = self.next().await {
            let Some(rest) = piece.ok().and_then(|piece| left.checked_sub(piece.len() as u64))
            else {
                return false;
            };
            left = rest;
        }
        true
    }

    fn receiving(&self) -> MutexGuard<'_, Receiving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Upload {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.receiving().poll(cx)
    }
}

impl Receiving {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self.state {
            State::Ended => return Poll::Ready(None),
            // Broken once is broken: never an end.
            State::Lost => return Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))),
            State::Slow => return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into()))),
            State::Open => {}
        }
        self.begun = true;
        match self.body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                let waited = self.waiting_since.take().map(|since| since.elapsed());
                let bytes = piece.len() as u64;
                let came =
                    |transfer: &mut Transfer| transfer.came(bytes, waited.unwrap_or_default());
                if self.transfer.as_mut().is_none_or(came) {
                    return Poll::Ready(Some(Ok(piece)));
                }
            }
            Poll::Ready(Some(Err(error))) => {
                self.state = State::Lost;
                return Poll::Ready(Some(Err(error)));
            }
            Poll::Ready(None) => {
                self.state = State::Ended;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                // Who only reads it away has a time limit of its own.
                let Some(transfer) = &self.transfer else {
                    return Poll::Pending;
                };
                let patience = ms(transfer.limits().media_idle_ms);
                let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                if self.waiting_since.is_none() {
                    let now = Instant::now();
                    self.waiting_since = Some(now);
                    idle.as_mut().reset(now + patience);
                }
                ready!(idle.as_mut().poll(cx));
            }
        }
        self.state = State::Slow;
        Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
    }
}

/// An answer's body. An error ends the connection, so that the client sees that something is missing.
pub(crate) struct Download {
    // Locked by nobody: hyper asks that a body be `Sync`.
    bytes: Mutex<ByteStream>,
    transfer: Transfer,
    piece: Bytes,
    broken: Option<io::Error>,
}

impl Download {
    pub(crate) fn new(bytes: ByteStream, transfer: Transfer) -> Self {
        Self { bytes: Mutex::new(bytes), transfer, piece: Bytes::new(), broken: None }
    }
}

impl Stream for Download {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if !this.transfer.taken() {
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
        while this.piece.is_empty() {
            let bytes = this.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
            match ready!(bytes.poll_next_unpin(cx)) {
                Some(Ok(piece)) => this.piece = piece,
                Some(Err(error)) => {
                    // hyper throws away what it has not written when a body breaks: asked once more, it has written it.
                    this.broken = Some(error);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => return Poll::Ready(None),
            }
        }
        let bytes = this.piece.len().min(PIECE_BYTES);
        this.transfer.handed(bytes as u64);
        Poll::Ready(Some(Ok(this.piece.split_to(bytes))))
    }
}

/// Exactly so many bytes of a stream: an end before that is an error, and so is what comes after.
pub(crate) fn exactly(bytes: ByteStream, length: u64) -> ByteStream {
    let pieces = bytes.map(Some).chain(futures::stream::iter([None]));
    pieces
        .scan(length, |left, piece| {
            let item = match piece {
                Some(Ok(piece)) => match left.checked_sub(piece.len() as u64) {
                    Some(rest) => {
                        *left = rest;
                        Some(Ok(piece))
                    }
                    None => Some(Err(io::ErrorKind::InvalidData.into())),
                },
                Some(Err(error)) => Some(Err(error)),
                None if *left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                None => None,
            };
            if matches!(item, Some(Err(_))) {
                *left = 0;
            }
            std::future::ready(item)
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_that_comes_too_soon_is_no_end() {
        let of = |pieces: &[&'static str], length| {
            let pieces: Vec<_> =
                pieces.iter().map(|p| Ok(Bytes::from_static(p.as_bytes()))).collect();
            exactly(futures::stream::iter(pieces).boxed(), length)
        };
        let kinds = async |stream: ByteStream| -> Vec<Result<usize, io::ErrorKind>> {
            stream.map(|item| item.map(|b| b.len()).map_err(|e| e.kind())).collect().await
        };
        assert_eq!(kinds(of(&["ab", "c"], 3)).await, [Ok(2), Ok(1)]);
        assert_eq!(kinds(of(&[], 0)).await, []);
        assert_eq!(kinds(of(&["ab"], 3)).await, [Ok(2), Err(io::ErrorKind::UnexpectedEof)]);
        assert_eq!(kinds(of(&["ab", "cd"], 3)).await, [Ok(2), Err(io::ErrorKind::InvalidData)]);
    }
}
