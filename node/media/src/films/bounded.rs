//! A file of which only so much is read, and only for so long.

use std::io::{self, Read, Seek, SeekFrom};
use std::time::Instant;

/// What is read at once, from a multiple of it. Parsers go to and fro in steps of some bytes, and jump over what may be large: a
/// small window costs a jump little.
const WINDOW_BYTES: usize = 1024;

/// Why there are no more bytes.
#[derive(Debug)]
pub(super) enum Stopped {
    /// More would be more than is allowed.
    TooMuch,
    /// The time is over.
    TooSlow,
    /// The file cannot be read.
    Failed(io::Error),
}

/// Limits count twice: what is read of the file, and what a parser is given, which may be the same bytes again and again. So what it
/// can do and keep is limited, too.
#[derive(Debug)]
pub(super) struct Bounded<R> {
    file: R,
    length: u64,
    at: u64,
    window: Vec<u8>,
    window_at: u64,
    to_read: u64,
    to_give: u64,
    until: Instant,
    stopped: Option<Stopped>,
}

impl<R: Read + Seek> Bounded<R> {
    pub(super) fn new(mut file: R, bytes: u64, until: Instant) -> io::Result<Self> {
        Ok(Self {
            length: file.seek(SeekFrom::End(0))?,
            file,
            at: 0,
            window: Vec::with_capacity(WINDOW_BYTES),
            window_at: 0,
            to_read: bytes,
            to_give: bytes,
            until,
            stopped: None,
        })
    }

    /// Gives no more than so much, from here on.
    pub(super) fn give_at_most(&mut self, bytes: u64) {
        self.to_give = self.to_give.min(bytes);
    }

    /// Where the file ends, or what may be given would.
    pub(super) fn near_end(&self) -> u64 {
        self.length.min(self.at.saturating_add(self.to_give))
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn into_stopped(self) -> Option<Stopped> {
        self.stopped
    }

    fn stop(&mut self, why: Stopped) -> io::Error {
        self.stopped = Some(why);
        io::Error::other("no more of this file is read")
    }

    /// Reads the window around [`Self::at`].
    fn fill(&mut self) -> io::Result<()> {
        const WINDOW: u64 = WINDOW_BYTES as u64;
        if self.to_read < WINDOW {
            return Err(self.stop(Stopped::TooMuch));
        }
        self.window_at = self.at - self.at % WINDOW;
        self.window.clear();
        let read = self
            .file
            .seek(SeekFrom::Start(self.window_at))
            .and_then(|_| self.file.by_ref().take(WINDOW).read_to_end(&mut self.window));
        self.to_read -= self.window.len() as u64;
        read.map(drop).map_err(|error| self.stop(Stopped::Failed(error)))
    }

    /// What of the window is after [`Self::at`].
    fn ahead(&self) -> &[u8] {
        let begins = self.at.checked_sub(self.window_at).and_then(|at| usize::try_from(at).ok());
        begins.and_then(|at| self.window.get(at..)).unwrap_or_default()
    }
}

impl<R: Read + Seek> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || self.at >= self.length {
            return Ok(0);
        }
        if self.to_give == 0 {
            return Err(self.stop(Stopped::TooMuch));
        }
        if Instant::now() >= self.until {
            return Err(self.stop(Stopped::TooSlow));
        }
        if self.ahead().is_empty() {
            self.fill()?;
        }
        let ahead = self.ahead();
        let allowed = usize::try_from(self.to_give).unwrap_or(usize::MAX);
        let given = ahead.len().min(into.len()).min(allowed);
        into[..given].copy_from_slice(&ahead[..given]);
        self.at += given as u64;
        self.to_give -= given as u64;
        Ok(given)
    }
}

impl<R: Read + Seek> Seek for Bounded<R> {
    /// Costs nothing: only reading does.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
