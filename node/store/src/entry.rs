//! An entry as bytes in the journal.
//!
//! ```text
//! 0   flags        u8    1: hidden from everybody but its sender; a reader that does not know a flag refuses the entry
//! 1   channel      16
//! 17  pos          u64   all numbers little-endian
//! 25  counted      u64
//! 33  arrived_at   u64
//! 41  header_size  u32
//! 45  body_size    u32   0 where the body was erased, whatever the header says
//! 49  header       as its origin encoded it
//! ..  body
//! ..  crc          u32   CRC-32 of the segment's salt and everything above
//! ```
//! The CRC of its own lets a single entry be read and checked without its record.

use bytes::Bytes;
use homing_core::LogEntry;
use homing_wire::{ChannelId, Event, Header, Pos};

/// Bytes before the event's header.
const FIXED: usize = 49;
/// Bytes of the CRC at the end.
pub(crate) const CRC: usize = 4;

/// The flag of an entry that is hidden from everybody but its sender.
const HIDDEN: u8 = 1;

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("the entry's checksum does not match")]
    Checksum,
    #[error("the entry's lengths do not fit")]
    Length,
    #[error("the entry has flags of a newer program")]
    Flags,
    #[error("the entry's event header does not parse")]
    Header,
    #[error("the entry is of another channel")]
    Channel,
}

/// CRC-32 of a segment's salt, to go on from: bytes of another life of a disk block do not match.
pub(crate) fn salted(salt: u64) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher
}

/// Appends an entry with room for its CRC, which [`seal`] fills in once the segment is known.
pub(crate) fn encode_into(entry: &LogEntry, buffer: &mut Vec<u8>) {
    let event = &entry.event;
    buffer.reserve(FIXED + event.size_bytes() + CRC);
    buffer.push(if entry.hidden { HIDDEN } else { 0 });
    buffer.extend_from_slice(event.header.channel.as_bytes());
    buffer.extend_from_slice(&entry.pos.0.to_le_bytes());
    buffer.extend_from_slice(&entry.counted.to_le_bytes());
    buffer.extend_from_slice(&entry.arrived_at.to_le_bytes());
    buffer.extend_from_slice(&(event.header_bytes.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&(event.body.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&event.header_bytes);
    buffer.extend_from_slice(&event.body);
    buffer.extend_from_slice(&[0; CRC]);
}

/// Fills in the CRC of an encoded entry.
pub(crate) fn seal(frame: &mut [u8], salt: u64) {
    let (content, crc) = frame.split_at_mut(frame.len() - CRC);
    let mut hasher = salted(salt);
    hasher.update(content);
    crc.copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// Bytes of a frame that tell whose it is and how long.
pub(crate) const HEAD: usize = FIXED;

/// Channel and place of a frame that is whole.
pub(crate) fn place(frame: &[u8]) -> Option<(ChannelId, Pos)> {
    let channel = ChannelId::from_slice(frame.get(1..17)?).ok()?;
    frame.get(..FIXED).map(|head| (channel, Pos(u64_at(head, 17))))
}

/// Bytes of the body, as the first [`HEAD`] bytes of a frame tell.
pub(crate) fn body_size(head: &[u8]) -> Option<u32> {
    head.get(..FIXED).map(|head| u32_at(head, 45))
}

/// Whether a frame is what was written, by its own checksum.
pub(crate) fn is_whole(frame: &[u8], salt: u64) -> bool {
    let Some((content, crc)) = frame.split_last_chunk::<CRC>() else { return false };
    let mut hasher = salted(salt);
    hasher.update(content);
    *crc == hasher.finalize().to_le_bytes() && content.len() >= FIXED
}

/// Takes the body out of a frame that is whole, and leaves room for its CRC.
pub(crate) fn erase_body(frame: &mut Vec<u8>) {
    let header_size = u32_at(frame, 41) as usize;
    frame[45..49].fill(0);
    frame.truncate(FIXED + header_size);
    frame.extend_from_slice(&[0; CRC]);
}

/// Reads an entry. `salt`: of its segment; `None` where the record around it was checked already.
pub(crate) fn decode(frame: &Bytes, salt: Option<u64>) -> Result<LogEntry, EntryError> {
    let content_len = frame.len().checked_sub(CRC).ok_or(EntryError::Length)?;
    let (content, crc) = frame.split_at(content_len);
    if let Some(salt) = salt {
        let mut hasher = salted(salt);
        hasher.update(content);
        if crc != hasher.finalize().to_le_bytes() {
            return Err(EntryError::Checksum);
        }
    }
    if content.len() < FIXED {
        return Err(EntryError::Length);
    }
    if content[0] & !HIDDEN != 0 {
        return Err(EntryError::Flags);
    }
    let header_size = u32_at(content, 41) as usize;
    let body_size = u32_at(content, 45) as usize;
    if FIXED + header_size + body_size != content.len() {
        return Err(EntryError::Length);
    }
    let header_bytes = frame.slice(FIXED..FIXED + header_size);
    let header = Header::decode(&header_bytes).map_err(|_| EntryError::Header)?;
    if header.channel.as_bytes() != &content[1..17] {
        return Err(EntryError::Channel);
    }
    Ok(LogEntry {
        pos: Pos(u64_at(content, 17)),
        counted: u64_at(content, 25),
        arrived_at: u64_at(content, 33),
        hidden: content[0] & HIDDEN != 0,
        event: Event { header, header_bytes, body: frame.slice(FIXED + header_size..content_len) },
    })
}

/// A number in little-endian order; the caller has checked the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// A number in little-endian order; the caller has checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}
