//! Counts bytes of streams.
//!
//! gossipsub tells nobody what it writes, so its streams are counted below it. Which streams those are is said in the
//! first lines of each, as it is negotiated (multistream-select, libp2p specs).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};

use crate::in_memory::Wire;
use crate::stats::Counters;

/// No name of a protocol that we speak is longer, in bytes.
const LINE_BYTES: u8 = 64;
const MULTISTREAM: &[u8] = b"/multistream/";
const MESHSUB: &[u8] = b"/meshsub/";

/// A stream whose bytes are counted.
pub(crate) struct Metered<S> {
    inner: S,
    meter: Meter,
}

enum Meter {
    /// Every byte.
    All(Arc<Wire>),
    /// If the lines say that it is gossip.
    Undecided {
        counters: Arc<Counters>,
        read: Lines,
        written: Lines,
    },
    Gossip(Arc<Counters>),
    /// Something else, not counted here.
    Other,
}

impl<S> Metered<S> {
    pub(crate) fn all(inner: S, wire: Arc<Wire>) -> Self {
        Self { inner, meter: Meter::All(wire) }
    }

    pub(crate) fn gossip(inner: S, counters: Arc<Counters>) -> Self {
        let meter =
            Meter::Undecided { counters, read: Lines::default(), written: Lines::default() };
        Self { inner, meter }
    }
}

impl Meter {
    fn read(&mut self, bytes: &[u8]) {
        match self {
            Self::All(wire) => wire.read(bytes.len()),
            Self::Gossip(counters) => counters.gossip_read(bytes.len()),
            Self::Undecided { read, .. } => {
                let said = read.take(bytes);
                self.decide(said);
            }
            Self::Other => {}
        }
    }

    fn written(&mut self, bytes: &[u8]) {
        match self {
            Self::All(wire) => wire.written(bytes.len()),
            Self::Gossip(counters) => counters.gossip_written(bytes.len()),
            Self::Undecided { written, .. } => {
                let said = written.take(bytes);
                self.decide(said);
            }
            Self::Other => {}
        }
    }

    fn decide(&mut self, said: Option<Said>) {
        let Self::Undecided { counters, read, written } = self else { return };
        match said {
            None => {}
            Some(Said::Other) => *self = Self::Other,
            Some(Said::Gossip) => {
                counters.gossip_read(read.bytes);
                counters.gossip_written(written.bytes);
                *self = Self::Gossip(counters.clone());
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Gossip,
    Other,
}

/// The first lines of one direction: each a length and so many bytes.
#[derive(Default)]
struct Lines {
    /// What the line under way still lacks.
    missing: u8,
    line: Vec<u8>,
    /// All that came.
    bytes: usize,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Option<Said> {
        self.bytes += bytes.len();
        bytes.iter().find_map(|byte| self.push(*byte))
    }

    fn push(&mut self, byte: u8) -> Option<Said> {
        if self.missing == 0 {
            if byte > LINE_BYTES {
                return Some(Said::Other);
            }
            self.missing = byte;
            self.line.clear();
            return None;
        }
        self.line.push(byte);
        self.missing -= 1;
        if self.missing > 0 {
            None
        } else if self.line.starts_with(MESHSUB) {
            Some(Said::Gossip)
        } else if self.line.starts_with(b"/") && !self.line.starts_with(MULTISTREAM) {
            Some(Said::Other)
        } else {
            // The greeting, or "na": not this one.
            None
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if let Poll::Ready(Ok(count)) = &read {
            self.meter.read(&buffer[..*count]);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.meter.written(&bytes[..*count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::{AsyncReadExt as _, AsyncWriteExt as _, Cursor};

    fn lines(names: &[&str]) -> Vec<u8> {
        names.iter().flat_map(|name| [&[name.len() as u8], name.as_bytes()].concat()).collect()
    }

    /// What is counted of a stream that is read, whole or byte by byte.
    fn counted(bytes: &[u8], at_once: usize) -> u64 {
        let counters = Arc::<Counters>::default();
        let mut stream = Metered::gossip(Cursor::new(bytes.to_vec()), counters.clone());
        let mut buffer = vec![0; at_once];
        while block_on(stream.read(&mut buffer)).unwrap() > 0 {}
        counters.snapshot().gossip.bytes_in
    }

    #[test]
    fn gossip_is_counted_whole_and_nothing_else_is() {
        let mut gossip = lines(&["/multistream/1.0.0\n", "na\n", "/meshsub/1.2.0\n"]);
        gossip.extend_from_slice(&[7; 500]);
        let mut other = lines(&["/multistream/1.0.0\n", "/ipfs/id/1.0.0\n"]);
        // As identify names what a node speaks.
        other.extend(lines(&["/meshsub/1.2.0\n"]));
        for at_once in [1, 7, 1_000] {
            assert_eq!(counted(&gossip, at_once), gossip.len() as u64);
            assert_eq!(counted(&other, at_once), 0);
            assert_eq!(counted(&[200; 300], at_once), 0);
        }
    }

    #[test]
    fn both_directions_are_counted_once_either_names_it() {
        let counters = Arc::<Counters>::default();
        let mut stream = Metered::gossip(Cursor::new(vec![0; 1_000]), counters.clone());
        let greeting = lines(&["/multistream/1.0.0\n"]);
        block_on(stream.write_all(&greeting)).unwrap();
        assert_eq!(counters.snapshot().gossip.bytes_out, 0);
        let proposal = lines(&["/meshsub/1.3.0\n"]);
        block_on(stream.write_all(&proposal)).unwrap();
        block_on(stream.write_all(&[1; 100])).unwrap();
        let written = (greeting.len() + proposal.len() + 100) as u64;
        assert_eq!(counters.snapshot().gossip.bytes_out, written);
        let mut buffer = [0; 50];
        block_on(stream.read_exact(&mut buffer)).unwrap();
        assert_eq!(counters.snapshot().gossip.bytes_in, 50);
    }
}
