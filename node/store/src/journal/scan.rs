//! Reading a segment from its beginning, record by record, without holding all of it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;

use crate::StoreError;
use crate::journal::record::{self, Found, HEADER, Item};
use crate::journal::segment::{HEADER_BYTES, SegmentHeader};

/// Read at once; a longer record is read alone.
const WINDOW_BYTES: usize = 1 << 20;

/// See the page's head.
pub(crate) struct Scan {
    path: PathBuf,
    file: File,
    salt: u64,
    /// Where the next record begins.
    at: u64,
    /// Where records end at the latest.
    end: u64,
    window: Bytes,
    window_at: u64,
}

/// A record, whole.
pub(crate) struct Record {
    pub(crate) batch: u64,
    pub(crate) at: u64,
    pub(crate) end: u64,
    pub(crate) payload: Bytes,
}

impl Record {
    /// Where its payload begins in the file. Segments are at most 4 GiB.
    pub(crate) fn payload_at(&self) -> u32 {
        self.at as u32 + HEADER as u32
    }

    /// Its items. The record is whole: what does not parse was written by a program with a fault.
    pub(crate) fn items(
        &self,
        scan: &Scan,
    ) -> Result<impl Iterator<Item = Result<Item<'_>, StoreError>>, StoreError> {
        let (path, at) = (scan.path.clone(), self.at);
        let malformed =
            move |error: record::Malformed| StoreError::damaged(&path, at, error.to_string());
        let payload = record::parse(&self.payload).map_err(&malformed)?;
        Ok(payload.items.map(move |item| item.map_err(&malformed)))
    }
}

impl Scan {
    /// `len`: of the file.
    pub(crate) fn open(
        path: PathBuf,
        header: &SegmentHeader,
        len: u64,
    ) -> Result<Self, StoreError> {
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        let end = header.rewritten.map_or(len, |more| more.end);
        Ok(Self {
            path,
            file,
            salt: header.salt,
            at: HEADER_BYTES,
            end,
            window: Bytes::new(),
            window_at: 0,
        })
    }

    /// Where the next record begins, or would.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn damaged(&self, at: u64, what: impl Into<String>) -> StoreError {
        StoreError::damaged(&self.path, at, what)
    }

    /// The next record; `None`: zeros, or the end.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, StoreError> {
        self.need(HEADER)?;
        if let Some(len) = record::length(&self.window[self.offset()..], self.salt) {
            self.need(HEADER + len)?;
        }
        let from = self.offset();
        match record::look(&self.window, from, self.salt) {
            Found::Record { batch, payload, next } => {
                let at = self.at;
                self.at = self.window_at + next as u64;
                let payload = self.window.slice(payload);
                Ok(Some(Record { batch, at, end: self.at, payload }))
            }
            Found::Nothing => Ok(None),
            Found::BadPayload { .. } | Found::BadHeader => {
                Err(self.damaged(self.at, "a record is not what was written"))
            }
        }
    }

    /// Where the next record begins in the window.
    fn offset(&self) -> usize {
        (self.at - self.window_at) as usize
    }

    /// So many bytes of the next record are in the window, and its padding, as far as the file has them.
    fn need(&mut self, bytes: usize) -> Result<(), StoreError> {
        let bytes = bytes.next_multiple_of(8) as u64;
        let there = self.window_at + self.window.len() as u64;
        if self.window_at <= self.at && (self.at + bytes).min(self.end) <= there {
            return Ok(());
        }
        let len = bytes.max(WINDOW_BYTES as u64).min(self.end.saturating_sub(self.at));
        let mut window = vec![0; len as usize];
        self.file
            .read_exact_at(&mut window, self.at)
            .map_err(StoreError::io("read", &self.path))?;
        (self.window, self.window_at) = (window.into(), self.at);
        Ok(())
    }
}
