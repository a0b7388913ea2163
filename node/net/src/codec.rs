//! Length-prefixed Protocol Buffers, as libp2p does it: an unsigned varint, then the message.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Decoder, Encoder, FramedRead, FramedWrite};

use crate::stats::Counters;

/// Read and write buffers of a stream, in bytes: several small frames share one system call.
pub(crate) const BUFFER_BYTES: usize = 16 * 1_024;

/// A length never needs more bytes: five hold 35 bits, and every limit is below 2^32.
const PREFIX_BYTES_MAX: usize = 5;

/// Why a stream yields no further message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The prefix is no varint, or the bytes are no such message.
    #[error("frame does not parse")]
    Malformed,
    /// Longer than allowed. Nothing of it has been kept.
    #[error("frame of {size} bytes, {limit} allowed")]
    TooLarge {
        /// As the prefix says.
        size: u64,
        /// What is allowed.
        limit: usize,
    },
    /// The stream broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Encodes and decodes messages of one type, none longer than `limit` bytes.
pub(crate) struct Prefixed<M> {
    limit: usize,
    /// Set for relay streams, whose frames and bytes are counted.
    counters: Option<Arc<Counters>>,
    message: PhantomData<fn() -> M>,
}

impl<M> Prefixed<M> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, counters: None, message: PhantomData }
    }

    pub(crate) fn counted(limit: usize, counters: Arc<Counters>) -> Self {
        Self { limit, counters: Some(counters), message: PhantomData }
    }
}

impl<M: Message + Default> Decoder for Prefixed<M> {
    type Item = M;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<M>, FrameError> {
        let Some((size, prefix)) = read_prefix(buffer)? else {
            return Ok(None);
        };
        let limit = self.limit;
        let length = usize::try_from(size)
            .ok()
            .filter(|length| *length <= limit)
            .ok_or(FrameError::TooLarge { size, limit })?;
        if buffer.len() < prefix + length {
            buffer.reserve(prefix + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(prefix);
        // Decoded from a slice, so that every field owns just its bytes: a small event that is kept must
        // not keep a read buffer of 16 KiB alive.
        let message = M::decode(&buffer[..length]).map_err(|_| FrameError::Malformed)?;
        buffer.advance(length);
        if let Some(counters) = &self.counters {
            counters.frame_in(prefix + length);
        }
        Ok(Some(message))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<M>, FrameError> {
        match self.decode(buffer)? {
            Some(message) => Ok(Some(message)),
            None if buffer.is_empty() => Ok(None),
            None => Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

impl<M: Message> Encoder<M> for Prefixed<M> {
    type Error = FrameError;

    fn encode(&mut self, message: M, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let length = message.encoded_len();
        if length > self.limit {
            return Err(FrameError::TooLarge { size: length as u64, limit: self.limit });
        }
        let before = buffer.len();
        buffer.reserve(length + PREFIX_BYTES_MAX);
        // A growing buffer cannot run out of room, the only error that there is.
        message.encode_length_delimited(buffer).map_err(|_| FrameError::Malformed)?;
        if let Some(counters) = &self.counters {
            counters.frame_out(buffer.len() - before);
        }
        Ok(())
    }
}

/// The length and the bytes that its prefix takes, or nothing yet.
fn read_prefix(buffer: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let mut value = 0u64;
    for (index, byte) in buffer.iter().take(PREFIX_BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if buffer.len() < PREFIX_BYTES_MAX { Ok(None) } else { Err(FrameError::Malformed) }
}

/// The reading half of a stream of messages.
pub(crate) fn reader<R: AsyncRead, M: Message + Default>(
    io: R,
    codec: Prefixed<M>,
) -> FramedRead<R, Prefixed<M>> {
    FramedRead::with_capacity(io, codec, BUFFER_BYTES)
}

/// The writing half: gathers up to [`BUFFER_BYTES`] before it writes, or until it is flushed.
pub(crate) fn writer<W: AsyncWrite, M: Message>(
    io: W,
    codec: Prefixed<M>,
) -> FramedWrite<W, Prefixed<M>> {
    let mut writer = FramedWrite::new(io, codec);
    writer.set_backpressure_boundary(BUFFER_BYTES);
    writer
}

/// Reads one message. What follows it in the stream may be lost in the buffer: only for exchanges in
/// which the other side waits after each message.
pub(crate) async fn read_one<M: Message + Default>(
    io: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<M, FrameError> {
    FramedRead::with_capacity(io, Prefixed::new(limit), 1_024)
        .next()
        .await
        .unwrap_or_else(|| Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())))
}

/// Writes and flushes one message.
pub(crate) async fn write_one<M: Message>(
    io: &mut (impl AsyncWrite + Unpin),
    limit: usize,
    message: M,
) -> Result<(), FrameError> {
    FramedWrite::new(io, Prefixed::new(limit)).send(message).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use homing_wire::proto::relay::v1::{Frame, Ping, Refuse, frame};

    fn ping(number: u64) -> Frame {
        Frame { frame: Some(frame::Frame::Ping(Ping { number })) }
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let mut codec = Prefixed::<Frame>::new(1_000);
        let long = Frame {
            frame: Some(frame::Frame::Refuse(Refuse {
                channel: vec![7; 500].into(),
                reason: "r".repeat(200),
            })),
        };
        let mut whole = BytesMut::new();
        for frame in [ping(1), long.clone(), ping(2)] {
            codec.encode(frame, &mut whole).unwrap();
        }
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for byte in whole {
            buffer.extend_from_slice(&[byte]);
            while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                seen.push(frame);
            }
        }
        assert_eq!(seen, [ping(1), long, ping(2)]);
        assert!(codec.decode_eof(&mut buffer).unwrap().is_none());
    }

    #[test]
    fn what_is_too_large_is_refused_by_its_prefix_alone() {
        let mut codec = Prefixed::<Frame>::new(100);
        let mut buffer = BytesMut::from(&[101u8][..]);
        assert!(matches!(codec.decode(&mut buffer), Err(FrameError::TooLarge { size: 101, .. })));
        let refuse = Refuse { channel: vec![0; 200].into(), reason: String::new() };
        let large = Frame { frame: Some(frame::Frame::Refuse(refuse)) };
        assert!(codec.encode(large, &mut BytesMut::new()).is_err());
    }

    #[test]
    fn what_does_not_parse_is_malformed_and_a_cut_frame_is_an_end() {
        let mut codec = Prefixed::<Frame>::new(100);
        let mut endless = BytesMut::from(&[0xff; 5][..]);
        assert!(matches!(codec.decode(&mut endless), Err(FrameError::Malformed)));
        let mut noise = BytesMut::from(&[3, 0xff, 0xff, 0xff][..]);
        assert!(matches!(codec.decode(&mut noise), Err(FrameError::Malformed)));
        let mut cut = BytesMut::from(&[5, 1][..]);
        assert!(matches!(codec.decode_eof(&mut cut), Err(FrameError::Io(_))));
    }
}
