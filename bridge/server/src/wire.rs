//! A socket's bytes: what came and is not decoded, what goes and is not taken. Both are freed
//! whenever they are empty, so that ten thousand silent sockets hold ten thousand times nothing.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::frames::Decoder;
use crate::metrics::{Metrics, add};

/// While more than this waits to be taken nothing is added, whatever else would be ready: one
/// system call's worth.
const ENOUGH_BYTES: usize = 16 << 10;

/// What is read at once: one system call's worth as well.
const READ_BYTES: usize = 16 << 10;

/// What was taken from the front is dropped from memory when it has grown to this.
const TAKEN_BYTES: usize = 64 << 10;

pub(crate) struct Wire {
    stream: TcpStream,
    pub(crate) decoder: Decoder,
    /// Whole frames, the first perhaps partly taken.
    pub(crate) out: Vec<u8>,
    taken: usize,
    /// Since when the client has taken nothing, while something waits for it.
    blocked_since: Option<Instant>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, decoder: Decoder) -> Self {
        Self { stream, decoder, out: Vec::new(), taken: 0, blocked_since: None }
    }

    /// Bytes that wait for the client.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.out.len() - self.taken
    }

    /// Whether more may be put.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting_bytes() < ENOUGH_BYTES
    }

    /// Since when the client has taken nothing of what waits for it.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Ready when there may be something to [`Wire::discard`].
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    /// Takes in what is here; ready with 0 at the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        metrics: &Metrics,
    ) -> Poll<io::Result<usize>> {
        // On the stack, so that waiting for bytes takes no memory.
        let mut scratch = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        let bytes = read.filled();
        self.decoder.push(bytes);
        add(&metrics.bytes_in, bytes.len() as u64);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Reads and forgets what is here. `Ok(0)` is the end.
    pub(crate) fn discard(&mut self) -> io::Result<usize> {
        // On the stack of this call alone, not in the task.
        let mut scratch = [0; 8 << 10];
        self.stream.try_read(&mut scratch)
    }

    /// Hands what waits to the kernel; ready when nothing waits any more.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        metrics: &Metrics,
    ) -> Poll<io::Result<()>> {
        while self.waiting_bytes() > 0 {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.out[self.taken..]);
            if written.is_pending() && self.blocked_since.is_none() {
                self.blocked_since = Some(Instant::now());
            }
            let bytes = ready!(written)?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            add(&metrics.bytes_out, bytes as u64);
            self.taken += bytes;
            self.blocked_since = None;
            if self.taken >= TAKEN_BYTES {
                self.out.drain(..self.taken);
                self.taken = 0;
            }
        }
        self.out = Vec::new();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
