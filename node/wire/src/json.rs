//! JSON text, checked and made compact in one pass over its bytes. Nothing is parsed into values
//! and nothing recurses, so the cost of hostile text is the cost of reading it once.

use std::borrow::Cow;
use std::ops::Range;

use crate::body::BodyError;
use crate::limits::{JSON_DEPTH, JSON_INTEGER_MAX};

// The open brackets are kept in the bits of one word.
const _: () = assert!(JSON_DEPTH <= 64);

/// Checked JSON text in its compact form.
pub(crate) struct Compact<'a> {
    /// Borrowed exactly when the text already was compact.
    pub(crate) text: Cow<'a, str>,
    /// The members of the outermost object, in their order; `None` when it is no object or they
    /// were not asked for.
    pub(crate) members: Option<Vec<Member>>,
}

/// Where a member of an object stands in the compact text.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The key, without its quotes.
    pub(crate) key: Range<usize>,
    /// The value, a string's quotes included.
    pub(crate) value: Range<usize>,
}

/// Checks `raw` and brings it into the compact form: no white space outside strings, the fewest and
/// shortest escapes, numbers as they were spelled.
pub(crate) fn compact(raw: &str) -> Result<Compact<'_>, BodyError> {
    Scanner::new(raw, false).run()
}

/// [`compact`], and where the members of the outermost object are.
pub(crate) fn compact_with_members(raw: &str) -> Result<Compact<'_>, BodyError> {
    Scanner::new(raw, true).run()
}

/// What the grammar allows next (RFC 8259, sections 2 to 5).
#[derive(Clone, Copy)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

/// Copies `raw` in runs: everything from `run` to `at` is wanted as it is and not yet in `out`.
struct Scanner<'a> {
    raw: &'a str,
    at: usize,
    run: usize,
    out: String,
    depth: usize,
    /// The lowest bit says whether the innermost open bracket is an object's.
    objects: u64,
    members: Option<Vec<Member>>,
}

impl<'a> Scanner<'a> {
    fn new(raw: &'a str, with_members: bool) -> Self {
        let members = with_members.then(Vec::new);
        Self { raw, at: 0, run: 0, out: String::new(), depth: 0, objects: 0, members }
    }

    fn run(mut self) -> Result<Compact<'a>, BodyError> {
        let mut expect = Expect::Value;
        loop {
            self.skip_space();
            if self.depth == 0 && matches!(expect, Expect::CommaOrEnd) {
                break;
            }
            let byte = self.peek().ok_or(BodyError::Syntax)?;
            expect = match (expect, byte) {
                (Expect::ValueOrEnd, b']') | (Expect::KeyOrEnd, b'}') => self.close(byte)?,
                (Expect::Value | Expect::ValueOrEnd, _) => self.value(byte)?,
                (Expect::Key | Expect::KeyOrEnd, b'"') => self.key()?,
                (Expect::CommaOrEnd, b',') => self.comma(),
                (Expect::CommaOrEnd, b']' | b'}') => self.close(byte)?,
                (Expect::Key | Expect::KeyOrEnd | Expect::CommaOrEnd, _) => {
                    return Err(BodyError::Syntax);
                }
            };
        }
        if self.at != self.raw.len() {
            return Err(BodyError::Syntax);
        }
        let text = if self.run == 0 && self.out.is_empty() {
            Cow::Borrowed(self.raw)
        } else {
            self.flush();
            Cow::Owned(self.out)
        };
        let members = if text.starts_with('{') { self.members } else { None };
        Ok(Compact { text, members })
    }

    fn value(&mut self, first: u8) -> Result<Expect, BodyError> {
        match first {
            b'{' => return self.open(true),
            b'[' => return self.open(false),
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => return Err(BodyError::Syntax),
        }
        self.value_ends();
        Ok(Expect::CommaOrEnd)
    }

    fn open(&mut self, object: bool) -> Result<Expect, BodyError> {
        if self.depth == JSON_DEPTH {
            return Err(BodyError::TooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(object);
        self.at += 1;
        Ok(if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd })
    }

    fn close(&mut self, bracket: u8) -> Result<Expect, BodyError> {
        if self.in_object() != (bracket == b'}') {
            return Err(BodyError::Syntax);
        }
        self.at += 1;
        self.depth -= 1;
        self.objects >>= 1;
        self.value_ends();
        Ok(Expect::CommaOrEnd)
    }

    fn comma(&mut self) -> Expect {
        self.at += 1;
        if self.in_object() { Expect::Key } else { Expect::Value }
    }

    /// A key, its colon, and the space up to the value.
    fn key(&mut self) -> Result<Expect, BodyError> {
        let start = self.out_at() + 1;
        self.string()?;
        let key = start..self.out_at() - 1;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(BodyError::Syntax);
        }
        self.at += 1;
        self.skip_space();
        let value = self.out_at();
        if let (1, Some(members)) = (self.depth, &mut self.members) {
            members.push(Member { key, value: value..value });
        }
        Ok(Expect::Value)
    }

    fn value_ends(&mut self) {
        let end = self.out_at();
        if let (1, Some(members)) = (self.depth, &mut self.members)
            && let Some(last) = members.last_mut()
        {
            last.value.end = end;
        }
    }

    fn string(&mut self) -> Result<(), BodyError> {
        self.at += 1;
        loop {
            self.at += plain_bytes(&self.raw.as_bytes()[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0) => return Err(BodyError::Nul),
                // Control characters must be escaped (RFC 8259, section 7).
                Some(_) | None => return Err(BodyError::Syntax),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Leaves an escape that is needed and shortest in the run, and rewrites every other.
    fn escape(&mut self) -> Result<(), BodyError> {
        match self.raw.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                return Ok(());
            }
            Some(b'/') => {
                // The solidus itself stays at the head of the next run.
                self.drop_bytes(1);
                self.at += 1;
                return Ok(());
            }
            Some(b'u') => {}
            Some(_) | None => return Err(BodyError::Syntax),
        }
        let unit = self.hex4(self.at + 2)?;
        let (code, length) = match unit {
            0xD800..=0xDBFF => {
                if !self.raw.as_bytes()[self.at + 6..].starts_with(b"\\u") {
                    return Err(BodyError::LoneSurrogate);
                }
                let low = self.hex4(self.at + 8)?;
                if !(0xDC00..=0xDFFF).contains(&low) {
                    return Err(BodyError::LoneSurrogate);
                }
                (0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00), 12)
            }
            _ => (unit, 6),
        };
        // What `from_u32` refuses here is a low surrogate without its high one.
        let char = char::from_u32(code).ok_or(BodyError::LoneSurrogate)?;
        let short = match char {
            '\0' => return Err(BodyError::Nul),
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{8}' => "\\b",
            '\t' => "\\t",
            '\n' => "\\n",
            '\u{c}' => "\\f",
            '\r' => "\\r",
            '\u{1}'..='\u{1f}' => {
                // No short form; it only has to be in lower case.
                let digits = &self.raw[self.at + 2..self.at + 6];
                if digits.bytes().any(|b| b.is_ascii_uppercase()) {
                    let lower = digits.to_ascii_lowercase();
                    self.drop_bytes(length);
                    self.out.push_str("\\u");
                    self.out.push_str(&lower);
                } else {
                    self.at += length;
                }
                return Ok(());
            }
            _ => {
                self.drop_bytes(length);
                self.out.push(char);
                return Ok(());
            }
        };
        self.drop_bytes(length);
        self.out.push_str(short);
        Ok(())
    }

    fn hex4(&self, at: usize) -> Result<u32, BodyError> {
        let digits = self.raw.as_bytes().get(at..at + 4).ok_or(BodyError::Syntax)?;
        digits.iter().try_fold(0, |value, &digit| {
            let digit = char::from(digit).to_digit(16).ok_or(BodyError::Syntax)?;
            Ok(value << 4 | digit)
        })
    }

    fn number(&mut self) -> Result<(), BodyError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(BodyError::Syntax);
        }
        let mut integer = true;
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let good = if integer {
            whole.parse::<u64>().is_ok_and(|n| n <= JSON_INTEGER_MAX)
        } else {
            self.raw[start..self.at].parse::<f64>().is_ok_and(f64::is_finite)
        };
        if good { Ok(()) } else { Err(BodyError::Number) }
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<&'a str, BodyError> {
        let rest = &self.raw[self.at..];
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return Err(BodyError::Syntax);
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn word(&mut self, word: &str) -> Result<(), BodyError> {
        if !self.raw[self.at..].starts_with(word) {
            return Err(BodyError::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn skip_space(&mut self) {
        let space = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        let length = self.raw.as_bytes()[self.at..].iter().take_while(|b| space(b)).count();
        if length > 0 {
            self.drop_bytes(length);
        }
    }

    /// Leaves the next `length` bytes out of the answer.
    fn drop_bytes(&mut self, length: usize) {
        self.flush();
        self.at += length;
        self.run = self.at;
    }

    fn flush(&mut self) {
        self.out.push_str(&self.raw[self.run..self.at]);
        self.run = self.at;
    }

    /// Where `at` is in the compact text.
    fn out_at(&self) -> usize {
        self.out.len() + (self.at - self.run)
    }

    fn peek(&self) -> Option<u8> {
        self.raw.as_bytes().get(self.at).copied()
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// How many bytes stand before the first quote, backslash or control character; eight at a time
/// (the zero-byte test of Warren, "Hacker's Delight", section 6-1). A borrow can mark a byte
/// wrongly only above one marked rightly, so the lowest mark is exact.
fn plain_bytes(bytes: &[u8]) -> usize {
    const LOWS: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let below = |word: u64, bound: u8| word.wrapping_sub(LOWS * u64::from(bound)) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ (LOWS * u64::from(b'"')), 1);
        let backslash = below(word ^ (LOWS * u64::from(b'\\')), 1);
        let marks = (quote | backslash | below(word, 0x20)) & HIGHS;
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let special = |b: &u8| matches!(b, b'"' | b'\\' | 0..=0x1f);
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::plain_bytes;

    #[test]
    fn plain_bytes_finds_what_a_slow_search_finds() {
        for length in 0..20 {
            for place in 0..length {
                for byte in 0..=255_u8 {
                    // Neighbours that would show a borrow: 0x80 and above, and just over the bound.
                    for filler in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x80, 0xff] {
                        let mut text = vec![filler; length];
                        text[place] = byte;
                        let slow = text.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
                        assert_eq!(plain_bytes(&text), slow.unwrap_or(length), "{text:?}");
                    }
                }
            }
        }
    }
}
