//! WebSocket frames (RFC 6455, sections 5 and 7), the server's side, without extensions.
//!
//! Ours, because the library's codec keeps a read buffer for every silent socket and the largest
//! frame it ever wrote or read for as long as the socket lives. Here a silent socket holds nothing,
//! and JSON is written straight into the bytes that go out.

use std::ops::Range;

/// Close codes: of RFC 6455, and of the client contract.
pub(crate) mod close {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const UNSUPPORTED: u16 = 1003;
    /// Never sent: what is counted where a connection ended without a closing handshake.
    pub(crate) const ABNORMAL: u16 = 1006;
    pub(crate) const NOT_UTF8: u16 = 1007;
    pub(crate) const TOO_BIG: u16 = 1009;
    pub(crate) const RESTARTING: u16 = 1012;
    pub(crate) const NOT_SIGNED_IN: u16 = 4401;
    pub(crate) const REVOKED: u16 = 4403;
    pub(crate) const TOO_SLOW: u16 = 4408;
    pub(crate) const FLOODING: u16 = 4429;
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A control frame's payload at most (RFC 6455, section 5.5).
const CONTROL_BYTES: usize = 125;

/// Room that input keeps while part of a frame waits for its rest.
const KEPT_BYTES: usize = 32 << 10;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A whole text message.
    Text(String),
    /// Answer it with a pong of the same payload.
    Ping(Vec<u8>),
    /// A sign of life.
    Pong,
    /// The client closes, with this code.
    Close(Option<u16>),
}

/// The connection must be failed with this code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

fn broken<T>(code: u16, reason: &'static str) -> Result<T, Broken> {
    Err(Broken { code, reason })
}

/// Turns bytes into messages. Feed it by [`Decoder::push`], call [`Decoder::next`] until `None`, then
/// [`Decoder::tidy`]. After an error nothing more may be decoded.
#[derive(Debug)]
pub(crate) struct Decoder {
    input: Vec<u8>,
    /// Up to here `input` is decoded.
    at: usize,
    /// The fragments so far.
    message: Vec<u8>,
    in_message: bool,
    limit_bytes: usize,
}

impl Decoder {
    /// `limit_bytes` bounds a message, in however many frames.
    pub(crate) fn new(limit_bytes: usize, early: Vec<u8>) -> Self {
        Self { input: early, at: 0, message: Vec::new(), in_message: false, limit_bytes }
    }

    /// Takes bytes in.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Whether bytes wait to be decoded.
    pub(crate) fn has_input(&self) -> bool {
        self.at < self.input.len()
    }

    /// The next message, if it is here as a whole.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, Broken> {
        loop {
            let Some(head) = Head::parse(&self.input[self.at..])? else {
                return Ok(None);
            };
            if !head.is_control() && self.message.len() + head.size > self.limit_bytes {
                return broken(close::TOO_BIG, "message_too_big");
            }
            let start = self.at + head.len;
            let end = start + head.size;
            if self.input.len() < end {
                return Ok(None);
            }
            unmask(&mut self.input[start..end], head.mask);
            self.at = end;
            if let Some(incoming) = self.take(&head, start..end)? {
                return Ok(Some(incoming));
            }
        }
    }

    fn take(&mut self, head: &Head, payload: Range<usize>) -> Result<Option<Incoming>, Broken> {
        let payload = &self.input[payload];
        match (head.opcode, self.in_message) {
            (PING, _) => Ok(Some(Incoming::Ping(payload.to_vec()))),
            (PONG, _) => Ok(Some(Incoming::Pong)),
            (CLOSE, _) => close_code(payload).map(|code| Some(Incoming::Close(code))),
            (TEXT, false) if head.is_final => text(payload.to_vec()).map(Some),
            (TEXT, false) | (CONTINUATION, true) => {
                self.message.extend_from_slice(payload);
                self.in_message = !head.is_final;
                if self.in_message {
                    return Ok(None);
                }
                text(std::mem::take(&mut self.message)).map(Some)
            }
            (BINARY, false) => broken(close::UNSUPPORTED, "binary_frame"),
            (CONTINUATION, false) => broken(close::PROTOCOL, "unexpected_continuation"),
            (TEXT | BINARY, true) => broken(close::PROTOCOL, "expected_continuation"),
            (_, _) => broken(close::PROTOCOL, "unknown_opcode"),
        }
    }

    /// Gives back what is not needed while nothing comes.
    pub(crate) fn tidy(&mut self) {
        if !self.has_input() {
            self.input = Vec::new();
        } else if self.at > 0 {
            self.input.drain(..self.at);
            if self.input.capacity() > KEPT_BYTES && self.input.len() < KEPT_BYTES / 4 {
                self.input.shrink_to_fit();
            }
        }
        self.at = 0;
    }
}

fn text(bytes: Vec<u8>) -> Result<Incoming, Broken> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Incoming::Text(text)),
        Err(_) => broken(close::NOT_UTF8, "invalid_utf8"),
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Broken> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            broken(close::PROTOCOL, "close_payload")
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return broken(close::PROTOCOL, "close_code");
    }
    if std::str::from_utf8(reason).is_err() {
        return broken(close::NOT_UTF8, "invalid_utf8");
    }
    Ok(Some(code))
}

/// A client's frame header.
struct Head {
    is_final: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Bytes of the header.
    len: usize,
    /// Bytes of the payload.
    size: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Broken> {
        let Some(([first, second], rest)) = bytes.split_first_chunk::<2>() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return broken(close::PROTOCOL, "reserved_bits");
        }
        if second & 0x80 == 0 {
            return broken(close::PROTOCOL, "unmasked_frame");
        }
        let (size, rest, len) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((size, rest)) => (u64::from(u16::from_be_bytes(*size)), rest, 8),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((size, rest)) => (u64::from_be_bytes(*size), rest, 14),
                None => return Ok(None),
            },
            size => (u64::from(size), rest, 6),
        };
        let head = Self {
            is_final: first & 0x80 != 0,
            opcode: first & 0x0f,
            mask: [0; 4],
            len,
            // Over the limit in any case: nothing of that size is ever held.
            size: usize::try_from(size).unwrap_or(usize::MAX).min(u32::MAX as usize),
        };
        if head.is_control() && (head.size > CONTROL_BYTES || !head.is_final) {
            return broken(close::PROTOCOL, "control_frame");
        }
        let Some((mask, _)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some(Self { mask: *mask, ..head }))
    }

    fn is_control(&self) -> bool {
        self.opcode & 0x08 != 0
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (chunks, rest) = payload.as_chunks_mut::<4>();
    for chunk in chunks {
        *chunk = (u32::from_ne_bytes(*chunk) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// Room for the header of a frame below 64 KiB; nearly all are.
const HEADER_ROOM: usize = 4;

/// Begins a text frame at the end of `out`; what is written behind it is its payload.
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    let mark = out.len();
    out.extend_from_slice(&[0; HEADER_ROOM]);
    mark
}

/// Ends the text frame begun at `mark`.
pub(crate) fn finish(out: &mut Vec<u8>, mark: usize) {
    let size = out.len() - mark - HEADER_ROOM;
    let (header, len) = header(TEXT, size);
    out.splice(mark..mark + HEADER_ROOM, header[..len].iter().copied());
}

/// Writes an empty ping.
pub(crate) fn ping(out: &mut Vec<u8>) {
    control(out, PING, &[]);
}

/// Writes the answer to a ping.
pub(crate) fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    control(out, PONG, payload);
}

/// Writes a close frame; without a code where the client gave none.
pub(crate) fn close_frame(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let mut payload = code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default();
    payload.extend_from_slice(reason.as_bytes());
    control(out, CLOSE, &payload);
}

fn control(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    debug_assert!(payload.len() <= CONTROL_BYTES, "control payloads are short words");
    let (header, len) = header(opcode, payload.len());
    out.extend_from_slice(&header[..len]);
    out.extend_from_slice(payload);
}

fn header(opcode: u8, size: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x80 | opcode;
    let len = if let Ok(short) = u8::try_from(size)
        && short < 126
    {
        header[1] = short;
        2
    } else if let Ok(middle) = u16::try_from(size) {
        header[1] = 126;
        header[2..4].copy_from_slice(&middle.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..].copy_from_slice(&(size as u64).to_be_bytes());
        10
    };
    (header, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let (mut head, len) = header(0, payload.len());
        head[0] = first;
        head[1] |= 0x80;
        let mask = [0xa1, 0x00, 0x7f, 0x33];
        let mut frame = head[..len].to_vec();
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        frame
    }

    fn all(decoder: &mut Decoder) -> (Vec<Incoming>, Option<Broken>) {
        let mut seen = Vec::new();
        loop {
            match decoder.next() {
                Ok(Some(incoming)) => seen.push(incoming),
                Ok(None) => return (seen, None),
                Err(broken) => return (seen, Some(broken)),
            }
        }
    }

    fn decode(bytes: &[u8]) -> (Vec<Incoming>, Option<Broken>) {
        all(&mut Decoder::new(1 << 18, bytes.to_vec()))
    }

    #[test]
    fn every_cut_gives_the_same_messages() {
        let long = "ä".repeat(40_000);
        let bytes: Vec<u8> = [
            masked(0x81, b"one"),
            masked(0x01, b"tw"),
            masked(0x89, b"in between"),
            masked(0x80, b"o"),
            masked(0x81, b""),
            masked(0x8a, b""),
            masked(0x81, long.as_bytes()),
            masked(0x88, &[0x03, 0xe8, b'x']),
        ]
        .concat();
        let whole = decode(&bytes);
        assert_eq!(whole.1, None);
        assert_eq!(whole.0.len(), 7);
        assert_eq!(whole.0[1], Incoming::Ping(b"in between".to_vec()));
        assert_eq!(whole.0[2], Incoming::Text("two".into()));
        assert_eq!(whole.0[6], Incoming::Close(Some(1000)));
        for step in [1, 2, 3, 5, 7, 4096] {
            let mut decoder = Decoder::new(1 << 18, Vec::new());
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                let (more, none) = all(&mut decoder);
                assert_eq!(none, None);
                seen.extend(more);
                decoder.tidy();
            }
            assert_eq!(seen, whole.0, "in pieces of {step}");
            assert!(!decoder.has_input());
            assert_eq!(decoder.input.capacity() + decoder.message.capacity(), 0, "nothing is held");
        }
    }

    #[test]
    fn what_breaks_a_connection() {
        let code = |bytes: &[u8]| decode(bytes).1.map(|b| b.code);
        assert_eq!(code(&masked(0x82, b"x")), Some(1003));
        assert_eq!(code(&masked(0x81, &[0xff])), Some(1007));
        // A code point cut in two by a frame is whole in the message.
        assert_eq!(code(&[masked(0x01, &[0xc3]), masked(0x80, &[0xa4])].concat()), None);
        assert_eq!(code(&[masked(0x01, &[0xc3]), masked(0x80, b"x")].concat()), Some(1007));
        assert_eq!(code(&[0x81, 0x01, b'x']), Some(1002), "unmasked");
        assert_eq!(code(&masked(0xc1, b"x")), Some(1002), "reserved bit");
        assert_eq!(code(&masked(0x83, b"x")), Some(1002), "unknown data opcode");
        assert_eq!(code(&masked(0x8b, b"x")), Some(1002), "unknown control opcode");
        assert_eq!(code(&masked(0x80, b"x")), Some(1002), "continuation of nothing");
        assert_eq!(code(&[masked(0x01, b"x"), masked(0x81, b"x")].concat()), Some(1002));
        assert_eq!(code(&masked(0x09, b"x")), Some(1002), "fragmented ping");
        assert_eq!(code(&masked(0x89, &[0; 126])), Some(1002), "long ping");
        assert_eq!(code(&masked(0x88, &[3])), Some(1002), "half a close code");
        assert_eq!(code(&masked(0x88, &1005_u16.to_be_bytes())), Some(1002));
        assert_eq!(code(&masked(0x88, &[0x03, 0xe8, 0xff])), Some(1007));
    }

    #[test]
    fn too_much_is_known_from_the_header_alone() {
        let mut announced = masked(0x81, &vec![b'x'; (1 << 18) + 1]);
        announced.truncate(14);
        assert_eq!(decode(&announced).1.map(|b| b.code), Some(1009));
        let part = masked(0x01, &vec![b'x'; 1 << 18]);
        assert_eq!(decode(&[part, masked(0x80, b"x")].concat()).1.map(|b| b.code), Some(1009));
        assert_eq!(decode(&masked(0x81, &vec![b'x'; 1 << 18])).1, None, "the limit itself fits");
        let huge = [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
        assert_eq!(decode(&huge).1.map(|b| b.code), Some(1009));
    }

    #[test]
    fn announcing_a_long_frame_costs_nothing() {
        let mut announced = masked(0x81, &vec![b'x'; 200_000]);
        announced.truncate(100);
        let mut decoder = Decoder::new(1 << 18, Vec::new());
        decoder.push(&announced);
        assert_eq!(decoder.next(), Ok(None));
        decoder.tidy();
        assert!(decoder.input.capacity() <= 100);
    }

    #[test]
    fn headers_of_every_size() {
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            let mut out = b"before".to_vec();
            let mark = begin(&mut out);
            out.resize(out.len() + size, b'x');
            finish(&mut out, mark);
            let frame = &out[6..];
            let header_len = match size {
                0..=125 => 2,
                126..=65_535 => 4,
                _ => 10,
            };
            assert_eq!(frame.len(), header_len + size);
            assert_eq!(frame[0], 0x81);
            assert!(frame[header_len..].iter().all(|b| *b == b'x'));
        }
    }
}
