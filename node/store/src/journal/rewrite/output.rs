//! A rewritten segment as it is written: values, then entries channel by channel, then a list of its channels.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::BuildHasher as _;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use homing_wire::{ChannelId, Pos};

use super::judge::Judged;
use crate::StoreError;
use crate::entry::u64_at;
use crate::journal::append::Flush;
use crate::journal::catalog::Known;
use crate::journal::files::sync_dir;
use crate::journal::record::{self, Encoder, Found};
use crate::journal::segment::{HEADER_BYTES, SegmentHeader, UNFINISHED};

/// A record is ended at so many bytes.
const RECORD_BYTES: u64 = 1 << 20;
/// Bytes of a channel in the list: channel 16, first and last place u64, bytes of its entries u64.
const CHANNEL_BYTES: usize = 40;

/// See the page's head.
pub(super) struct Output {
    file: File,
    path: PathBuf,
    salt: u64,
    at: u64,
    encoder: Encoder,
    records: u32,
    entries: u32,
    channels: Vec<(ChannelId, Pos, Pos, u64)>,
}

impl Output {
    /// `path`: what it will be called.
    pub(super) fn create(path: &Path, number: u32) -> Result<Self, StoreError> {
        let path = path.with_extension(UNFINISHED);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        // Seeded by the operating system: nobody outside can guess it.
        let salt = RandomState::new().hash_one(number);
        let mut encoder = Encoder::default();
        encoder.begin(0, 0);
        let (records, entries, channels) = (0, 0, Vec::new());
        Ok(Self { file, path, salt, at: HEADER_BYTES, encoder, records, entries, channels })
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.encoder.put_again(key, value);
        self.end_if_full()
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.encoder.delete_again(key);
        self.end_if_full()
    }

    /// Where it stands in the file, and how long it is.
    pub(super) fn entry(
        &mut self,
        channel: ChannelId,
        pos: Pos,
        frame: &[u8],
    ) -> Result<(u32, u32), StoreError> {
        let len = frame.len() as u32;
        match self.channels.last_mut() {
            Some((last, _, to, bytes)) if *last == channel => {
                (*to, *bytes) = (pos, *bytes + u64::from(len));
            }
            Some(_) | None => self.channels.push((channel, pos, pos, len.into())),
        }
        let offset = self.at + self.encoder.frame_again(frame) as u64;
        self.entries += 1;
        self.end_if_full()?;
        // A run is far below 4 GiB.
        Ok((offset as u32, len))
    }

    fn end_if_full(&mut self) -> Result<(), StoreError> {
        if self.encoder.size() < RECORD_BYTES { Ok(()) } else { self.end_record() }
    }

    fn end_record(&mut self) -> Result<(), StoreError> {
        if self.encoder.items() == 0 {
            return Ok(());
        }
        self.records += 1;
        let bytes = self.encoder.finish(self.records.into(), self.salt);
        self.file.write_all_at(bytes, self.at).map_err(StoreError::io("write", &self.path))?;
        self.at += bytes.len() as u64;
        self.encoder.begin(0, 0);
        Ok(())
    }

    /// Makes it durable, under its name.
    pub(super) fn finish(
        &mut self,
        mut header: SegmentHeader,
        judged: &Judged,
        flush: &Flush,
        path: &Path,
    ) -> Result<Known, StoreError> {
        self.end_record()?;
        let mut list = Vec::with_capacity(self.channels.len() * CHANNEL_BYTES);
        for (channel, first, last, bytes) in &self.channels {
            list.extend_from_slice(channel.as_bytes());
            for number in [first.0, last.0, *bytes] {
                list.extend_from_slice(&number.to_le_bytes());
            }
        }
        let list = record::wrap(&list, 0, self.salt);
        let len = self.at + list.len() as u64;
        if let Some(rewritten) = &mut header.rewritten {
            (rewritten.end, rewritten.len) = (self.at, len);
            (rewritten.records, rewritten.entries) = (self.records, self.entries);
            debug_assert_eq!(judged.moved.len(), self.entries as usize);
        }
        // Zeros behind the header as well.
        let mut head = header.encode();
        head.resize(HEADER_BYTES as usize, 0);
        self.file
            .write_all_at(&list, self.at)
            .and_then(|()| self.file.write_all_at(&head, 0))
            .map_err(StoreError::io("write", &self.path))?;
        flush.run(&self.file).map_err(StoreError::io("flush", &self.path))?;
        fs::rename(&self.path, path).map_err(StoreError::io("rename", &self.path))?;
        sync_dir(path.parent().unwrap_or(Path::new(".")))?;
        Ok(Known { header, len, live: len, examined: 0 })
    }

    /// It is not wanted: nothing of it stays, under neither name.
    pub(super) fn discard(&self, path: &Path) -> Result<(), StoreError> {
        for path in [&self.path, path] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// What retention has left of a rewritten segment, in bytes, about: by the list of its channels.
pub(crate) fn live_bytes(
    path: &Path,
    header: &SegmentHeader,
    len: u64,
    pruned: impl Fn(ChannelId) -> Result<Pos, StoreError>,
) -> Result<u64, StoreError> {
    let Some(rewritten) = header.rewritten else { return Ok(len) };
    let mut live = len;
    for (channel, first, last, bytes) in channels_of(path, header, rewritten.end, len)? {
        let upto = pruned(channel)?;
        let gone = (upto.0.min(last.0) + 1).saturating_sub(first.0);
        let all = last.0 - first.0 + 1;
        // As if all of a channel's entries were of one size.
        live -= (u128::from(bytes) * u128::from(gone) / u128::from(all)) as u64;
    }
    Ok(live)
}

/// The list of channels at a rewritten segment's end.
pub(crate) fn channels_of(
    path: &Path,
    header: &SegmentHeader,
    end: u64,
    len: u64,
) -> Result<Vec<(ChannelId, Pos, Pos, u64)>, StoreError> {
    let damaged = || StoreError::damaged(path, end, "the list of channels is not what was written");
    let mut bytes = vec![0; len.saturating_sub(end) as usize];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut bytes, end))
        .map_err(StoreError::io("read", path))?;
    let Found::Record { payload, next, .. } = record::look(&bytes, 0, header.salt) else {
        return Err(damaged());
    };
    if next != bytes.len() {
        return Err(damaged());
    }
    bytes[payload]
        .chunks(CHANNEL_BYTES)
        .map(|row| {
            let channel = row.get(..16).and_then(|id| ChannelId::from_slice(id).ok());
            let (Some(channel), CHANNEL_BYTES) = (channel, row.len()) else {
                return Err(damaged());
            };
            let (first, last) = (Pos(u64_at(row, 16)), Pos(u64_at(row, 24)));
            if first > last { Err(damaged()) } else { Ok((channel, first, last, u64_at(row, 32))) }
        })
        .collect()
}
