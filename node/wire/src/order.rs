//! `order`: the sortable string by which every home lists the events of a channel alike.

use std::fmt;

use data_encoding::BASE32_DNSSEC;

use crate::id::{Epoch, HomeId, Seq, Stamp};

/// The place of an event among the events of its channel, the same at every home.
///
/// 30 bytes: stamp (8), the first 10 bytes of the origin, epoch in milliseconds (6), seq (6), written in
/// base32hex (RFC 4648, section 7), which keeps their order bytewise. Opaque to clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order([u8; 30]);

impl Order {
    /// Characters of a written order.
    pub const TEXT_LEN: usize = 48;

    /// From what names an event. Epoch and seq have 48 bits, as [`crate::Header::decode`] ensures.
    pub fn new(stamp: Stamp, origin: &HomeId, epoch: Epoch, seq: Seq) -> Self {
        let mut bytes = [0; 30];
        bytes[..8].copy_from_slice(&stamp.0.to_be_bytes());
        bytes[8..18].copy_from_slice(&origin.0[..10]);
        bytes[18..24].copy_from_slice(&epoch.0.to_be_bytes()[2..]);
        bytes[24..].copy_from_slice(&seq.0.to_be_bytes()[2..]);
        Self(bytes)
    }

    /// From its written form; upper case is refused, since it would sort elsewhere.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::TEXT_LEN {
            return None;
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let bytes = BASE32_DNSSEC.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The stamp in it.
    pub fn stamp(&self) -> Stamp {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        Stamp(u64::from_be_bytes(bytes))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_DNSSEC.encode(&self.0))
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
