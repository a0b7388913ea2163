//! Records: one batch each, one write, one flush.
//!
//! ```text
//! 0   magic        "HJr1"
//! 4   payload_len  u32    all numbers little-endian
//! 8   batch        u64    1, 2, 3 … through all segments
//! 16  crc          u32    CRC-32 of salt, bytes 0..16 and the payload
//! 20  header_crc   u32    CRC-32 of salt and bytes 0..20
//! 24  payload
//! ..  zeros up to a multiple of 8
//! ```
//! The payload: `change` u64, `stamp` u64, number of items u32, then items:
//! ```text
//! 1 put     key_len u16, value_len u32, key, value (see `values`)
//! 2 delete  key_len u16, key
//! 3 entry   frame_len u32, frame (see `entry`)
//! ```
//! Values are absolute, so that applying a record twice is harmless. The header's own CRC tells where a
//! record with a broken payload ends, and makes a record that can be found without its predecessor.

use std::sync::Arc;

use homing_core::LogEntry;

use crate::batch::Sink;
use crate::entry::{self, salted, u32_at, u64_at};
use crate::keys::Key;
use crate::values::{self, Stored};

/// Bytes before the payload.
pub(crate) const HEADER: usize = 24;
/// Records begin at multiples of this.
const ALIGN: usize = 8;
const MAGIC: &[u8; 4] = b"HJr1";
/// `change`, `stamp` and the number of items.
const PAYLOAD_HEAD: usize = 20;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const ENTRY: u8 = 3;

/// Builds records in a buffer that is used again and again.
#[derive(Default)]
pub(crate) struct Encoder {
    buffer: Vec<u8>,
    items: u32,
    /// Where each entry's frame begins and ends, to be sealed once the segment is known.
    entries: Vec<(usize, usize)>,
}

/// A buffer larger than this is given back after its record: most batches are far smaller.
const KEEP_BYTES: usize = 4 << 20;

impl Encoder {
    pub(crate) fn begin(&mut self, change: u64, stamp: u64) {
        self.buffer.clear();
        self.buffer.shrink_to(KEEP_BYTES);
        self.entries.clear();
        self.items = 0;
        self.buffer.resize(HEADER, 0);
        self.buffer.extend_from_slice(&change.to_le_bytes());
        self.buffer.extend_from_slice(&stamp.to_le_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
    }

    /// Bytes of the whole record.
    pub(crate) fn size(&self) -> u64 {
        self.buffer.len().next_multiple_of(ALIGN) as u64
    }

    /// Writes what depends on the segment and on the batch's number.
    pub(crate) fn finish(&mut self, batch: u64, salt: u64) -> &[u8] {
        for (start, end) in &self.entries {
            entry::seal(&mut self.buffer[*start..*end], salt);
        }
        let items_at = HEADER + PAYLOAD_HEAD - 4;
        self.buffer[items_at..items_at + 4].copy_from_slice(&self.items.to_le_bytes());
        close(&mut self.buffer, batch, salt);
        &self.buffer
    }

    /// The payload of the finished record.
    pub(crate) fn payload(&self) -> &[u8] {
        let len = u32_at(&self.buffer, 4) as usize;
        &self.buffer[HEADER..HEADER + len]
    }

    /// How many items are in it.
    pub(crate) fn items(&self) -> u32 {
        self.items
    }

    /// A put as it stands in another record.
    pub(crate) fn put_again(&mut self, key: &[u8], value: &[u8]) {
        self.start(PUT, key);
        self.buffer.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
    }

    /// A delete as it stands in another record.
    pub(crate) fn delete_again(&mut self, key: &[u8]) {
        self.start(DELETE, key);
        self.buffer.extend_from_slice(key);
    }

    /// An entry's frame as it stands in another record. Tells where it begins in this one.
    pub(crate) fn frame_again(&mut self, frame: &[u8]) -> usize {
        self.items += 1;
        self.buffer.push(ENTRY);
        self.buffer.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        let start = self.buffer.len();
        self.buffer.extend_from_slice(frame);
        self.entries.push((start, self.buffer.len()));
        start
    }

    fn start(&mut self, kind: u8, key: &[u8]) {
        self.items += 1;
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&(key.len() as u16).to_le_bytes());
    }
}

/// Fills in the header before a payload, and adds the zeros behind it.
fn close(record: &mut Vec<u8>, batch: u64, salt: u64) {
    let payload_len = (record.len() - HEADER) as u32;
    let (header, payload) = record.split_at_mut(HEADER);
    header[..4].copy_from_slice(MAGIC);
    header[4..8].copy_from_slice(&payload_len.to_le_bytes());
    header[8..16].copy_from_slice(&batch.to_le_bytes());
    let mut crc = salted(salt);
    crc.update(&header[..16]);
    crc.update(payload);
    header[16..20].copy_from_slice(&crc.finalize().to_le_bytes());
    let mut crc = salted(salt);
    crc.update(&header[..20]);
    header[20..24].copy_from_slice(&crc.finalize().to_le_bytes());
    record.resize(record.len().next_multiple_of(ALIGN), 0);
}

/// A record with another payload than a batch.
pub(crate) fn wrap(payload: &[u8], number: u64, salt: u64) -> Vec<u8> {
    let mut record = vec![0; HEADER];
    record.extend_from_slice(payload);
    close(&mut record, number, salt);
    record
}

impl Sink for Encoder {
    fn put<T: Stored>(&mut self, key: &Key, value: &T) {
        self.start(PUT, key);
        let len_at = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(key);
        let value_at = self.buffer.len();
        values::encode_into(value, &mut self.buffer);
        let len = (self.buffer.len() - value_at) as u32;
        self.buffer[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
    }

    fn delete(&mut self, key: &Key) {
        self.start(DELETE, key);
        self.buffer.extend_from_slice(key);
    }

    fn entry(&mut self, entry: &Arc<LogEntry>) {
        self.items += 1;
        self.buffer.push(ENTRY);
        let len_at = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        let start = self.buffer.len();
        entry::encode_into(entry, &mut self.buffer);
        let end = self.buffer.len();
        self.buffer[len_at..len_at + 4].copy_from_slice(&((end - start) as u32).to_le_bytes());
        self.entries.push((start, end));
    }
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole record.
    Record {
        batch: u64,
        payload: std::ops::Range<usize>,
        /// Where the next one begins.
        next: usize,
    },
    /// Zeros where a record's header would be, or the end of the file.
    Nothing,
    /// A header that is whole, but its payload is not.
    BadPayload { batch: u64, next: usize },
    /// Neither a header nor zeros.
    BadHeader,
}

/// Looks at `bytes` (of a segment, from some place on) at `at`.
pub(crate) fn look(bytes: &[u8], at: usize, salt: u64) -> Found {
    let Some(header) = bytes.get(at..at + HEADER) else {
        let rest = bytes.get(at..).unwrap_or_default();
        return if is_zero(rest) { Found::Nothing } else { Found::BadHeader };
    };
    let Some((batch, len)) = header_of(header, salt) else {
        return if is_zero(header) { Found::Nothing } else { Found::BadHeader };
    };
    let (start, next) = (at + HEADER, (at + HEADER + len).next_multiple_of(ALIGN));
    let Some(payload) = bytes.get(start..start + len) else {
        return Found::BadPayload { batch, next };
    };
    let mut crc = salted(salt);
    crc.update(&header[..16]);
    crc.update(payload);
    let padding = bytes.get(start + len..next).unwrap_or_default();
    if crc.finalize() != u32_at(header, 16) || !is_zero(padding) {
        return Found::BadPayload { batch, next };
    }
    Found::Record { batch, payload: start..start + len, next }
}

/// Bytes of the record around a payload of that length.
pub(crate) fn size_of(payload: usize) -> u64 {
    (HEADER + payload).next_multiple_of(ALIGN) as u64
}

/// The length of the payload of the record that `bytes` begin with.
pub(crate) fn length(bytes: &[u8], salt: u64) -> Option<usize> {
    header_of(bytes.get(..HEADER)?, salt).map(|(_, len)| len)
}

/// Batch and payload length, if it is a whole header.
fn header_of(header: &[u8], salt: u64) -> Option<(u64, usize)> {
    if &header[..4] != MAGIC {
        return None;
    }
    let mut crc = salted(salt);
    crc.update(&header[..20]);
    (crc.finalize() == u32_at(header, 20)).then(|| (u64_at(header, 8), u32_at(header, 4) as usize))
}

/// The first place at or after `at` where a record's header is whole. The salt, which nobody outside
/// knows, makes sure that no message's content can look like one.
pub(crate) fn find_header(bytes: &[u8], at: usize, salt: u64) -> Option<usize> {
    (at.next_multiple_of(ALIGN)..bytes.len().saturating_sub(HEADER - 1))
        .step_by(ALIGN)
        .find(|at| header_of(&bytes[*at..at + HEADER], salt).is_some())
}

/// Where the last byte that is not zero stands.
pub(crate) fn last_written(bytes: &[u8]) -> Option<usize> {
    // Whole blocks first: up to 64 MiB are looked through at each opening.
    let mut end = bytes.len();
    while end > 0 {
        let start = end.saturating_sub(4_096);
        if !is_zero(&bytes[start..end]) {
            return bytes[start..end].iter().rposition(|byte| *byte != 0).map(|at| start + at);
        }
        end = start;
    }
    None
}

fn is_zero(bytes: &[u8]) -> bool {
    // Eight bytes at a time: this looks through whole segments.
    let words = bytes.chunks_exact(8);
    words.remainder().iter().all(|byte| *byte == 0)
        && words.fold(0, |any, word| any | u64_at(word, 0)) == 0
}

/// A batch as read back.
pub(crate) struct Payload<'a> {
    pub(crate) change: u64,
    pub(crate) stamp: u64,
    pub(crate) items: Items<'a>,
}

/// One change of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Put {
        key: &'a [u8],
        value: &'a [u8],
    },
    Delete {
        key: &'a [u8],
    },
    /// `at`: where the frame begins in the payload.
    Entry {
        at: usize,
        len: usize,
    },
}

/// A payload whose checksum holds but whose content does not parse: written by a program with a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is whole but does not parse")]
pub(crate) struct Malformed;

pub(crate) fn parse(payload: &[u8]) -> Result<Payload<'_>, Malformed> {
    if payload.len() < PAYLOAD_HEAD {
        return Err(Malformed);
    }
    Ok(Payload {
        change: u64_at(payload, 0),
        stamp: u64_at(payload, 8),
        items: Items { payload, at: PAYLOAD_HEAD, left: u32_at(payload, 16) },
    })
}

/// The items of a payload.
pub(crate) struct Items<'a> {
    payload: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Items<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.payload.get(self.at..self.at + len).ok_or(Malformed)?;
        self.at += len;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<usize, Malformed> {
        let bytes = self.take(2)?;
        Ok(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    }

    fn u32(&mut self) -> Result<usize, Malformed> {
        Ok(u32_at(self.take(4)?, 0) as usize)
    }

    fn item(&mut self) -> Result<Item<'a>, Malformed> {
        match self.take(1)?[0] {
            PUT => {
                let (key_len, value_len) = (self.u16()?, self.u32()?);
                Ok(Item::Put { key: self.take(key_len)?, value: self.take(value_len)? })
            }
            DELETE => {
                let key_len = self.u16()?;
                Ok(Item::Delete { key: self.take(key_len)? })
            }
            ENTRY => {
                let len = self.u32()?;
                let at = self.at;
                self.take(len)?;
                Ok(Item::Entry { at, len })
            }
            _ => Err(Malformed),
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let leftover = self.at < self.payload.len();
            self.at = self.payload.len();
            return leftover.then_some(Err(Malformed));
        }
        self.left -= 1;
        let item = self.item();
        if item.is_err() {
            self.left = 0;
            self.at = self.payload.len();
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::values::OwedSince;

    const SALT: u64 = 0x5eed;

    fn encoded() -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.begin(3, 4);
        encoder.put(&Key::channel(sample::channel(1)), &OwedSince(7));
        encoder.delete(&Key::channel(sample::channel(2)));
        encoder.entry(&sample::entry(sample::channel(1), 1));
        encoder.finish(9, SALT).to_vec()
    }

    #[test]
    fn a_record_comes_back() {
        let bytes = encoded();
        let Found::Record { batch: 9, payload, next } = look(&bytes, 0, SALT) else { panic!() };
        assert_eq!(next, bytes.len());
        let payload = &bytes[payload];
        let parsed = parse(payload).unwrap();
        assert_eq!((parsed.change, parsed.stamp), (3, 4));
        let items: Vec<_> = parsed.items.collect::<Result<_, _>>().unwrap();
        assert_eq!(items.len(), 3);
        let Item::Entry { at, len } = items[2] else { panic!() };
        let frame = bytes::Bytes::copy_from_slice(&payload[at..at + len]);
        let entry = entry::decode(&frame, Some(SALT)).unwrap();
        assert_eq!(entry, *sample::entry(sample::channel(1), 1));
        assert_eq!(entry::decode(&frame, Some(SALT + 1)), Err(entry::EntryError::Checksum));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let bytes = encoded();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut broken = bytes.clone();
                broken[at] ^= 1 << bit;
                let found = look(&broken, 0, SALT);
                assert!(!matches!(found, Found::Record { .. } | Found::Nothing), "{at}.{bit}");
            }
            let mut cut = bytes.clone();
            cut[at..].fill(0);
            // Zeros at the end are as they were: such a cut has changed nothing.
            if cut != bytes {
                assert!(!matches!(look(&cut, 0, SALT), Found::Record { .. }), "{at}");
            }
        }
        assert_eq!(look(&bytes, 0, SALT + 1), Found::BadHeader);
        assert_eq!(look(&[0; 64], 0, SALT), Found::Nothing);
    }

    #[test]
    fn payloads_that_do_not_parse_are_refused() {
        let bytes = encoded();
        let payload = &bytes[HEADER..];
        for at in 0..payload.len() {
            if let Ok(parsed) = parse(&payload[..at]) {
                assert!(parsed.items.last().is_none_or(|item| item.is_err()), "{at}");
            }
        }
    }

    #[test]
    fn a_header_is_found_behind_garbage() {
        let mut bytes = vec![0xaa; 40];
        bytes.extend_from_slice(&encoded());
        assert_eq!(find_header(&bytes, 1, SALT), Some(40));
        assert_eq!(find_header(&bytes, 41, SALT), None);
        assert_eq!(last_written(&[0, 1, 0, 0]), Some(1));
        assert_eq!(last_written(&[0; 5_000]), None);
    }
}
