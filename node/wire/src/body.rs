//! Bodies: JSON text from a client, checked once and brought into its compact form.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use data_encoding::HEXLOWER_PERMISSIVE;
use uuid::Uuid;

use crate::address::Address;
use crate::event::Kind;
use crate::id::{Hash, MessageId};
use crate::json::{self, Member};
use crate::limits;

/// A body that may be stored: compact JSON with the fewest escapes, and what the node needs to know of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// Compact JSON (RFC 8259): no white space outside strings, only `"`, `\` and control
    /// characters escaped, in their shortest form. Numbers keep the client's spelling.
    pub json: Bytes,
    /// From `type`.
    pub kind: Kind,
    /// Who is mentioned, each once, in the order written. An edit mentions whom its new body does.
    pub mentions: Vec<Address>,
    /// `reply_to` of a message, `of` of an edit, a deletion or a reaction.
    pub target: Option<(Address, MessageId)>,
    /// What an edit puts in its target's place is of that kind.
    pub replacement: Option<Kind>,
    /// What a reaction says.
    pub reaction: Option<Reaction>,
    /// The file of a media body, where that names one completely.
    pub media: Option<NamedMedia>,
}

/// The file that a media body names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedMedia {
    /// The home that holds it: a name or an id, as written.
    pub home: String,
    /// Which.
    pub id: Uuid,
    /// BLAKE3 of the file.
    pub hash: Hash,
    /// Bytes.
    pub size: u64,
}

/// What a reaction says of its target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reaction {
    /// Which emoji, at most [`limits::REACTION_BYTES`]; of another home, anything that JSON needs no escape for.
    pub emoji: String,
    /// Added, or taken away.
    pub on: bool,
}

impl Body {
    /// Checks the JSON text of one body and makes it compact. `limit` bounds the compact form, in
    /// bytes; the caller bounds `raw`, which is read once whatever it holds.
    ///
    /// What kinds are welcome today is not decided here: a body of the node's own (`deleted`,
    /// `notice`) is refused, every other one the contract names is recognised.
    pub fn from_json(raw: &str, limit: usize) -> Result<Self, BodyError> {
        let compact = json::compact_with_members(raw)?;
        if compact.text.len() > limit {
            return Err(BodyError::TooLarge);
        }
        let members = compact.members.ok_or(BodyError::Field("body"))?;
        let Content { kind, mentions, target, replacement, reaction, media } =
            read(&Object::new(&compact.text, members)?)?;
        let json = match compact.text {
            Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        Ok(Self { json, kind, mentions, target, replacement, reaction, media })
    }

    /// Checks a body that another home sent: it must be what [`Body::from_json`] makes of it, byte
    /// for byte, since its hash is in the header.
    pub fn is_canonical(bytes: &[u8], limit: usize) -> Result<Self, BodyError> {
        let body = Self::from_json(text_of(bytes, limit)?, limit)?;
        if body.json == bytes { Ok(body) } else { Err(BodyError::NotCompact) }
    }
}

/// What an edit puts in its target's place: a part of its body, which has been checked.
pub fn replacement(edit: &Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(edit).ok()?;
    let members = json::compact_with_members(text).ok()?.members?;
    let member = members.into_iter().find(|member| &text[member.key.clone()] == "body")?;
    Some(edit.slice(member.value))
}

/// Checks the body of a kind that this version does not know: compact JSON, nothing more.
pub fn is_compact_json(bytes: &[u8], limit: usize) -> Result<(), BodyError> {
    match compact_json(text_of(bytes, limit)?)? {
        Cow::Borrowed(_) => Ok(()),
        Cow::Owned(_) => Err(BodyError::NotCompact),
    }
}

/// Checks the JSON text of a call's parameters by the rules that hold for bodies: syntax, depth,
/// NUL, surrogates, numbers. Keys may be there twice; whoever reads the parameters decides.
pub fn check_json(raw: &str) -> Result<(), BodyError> {
    json::compact(raw).map(drop)
}

/// [`check_json`], answering the compact form; borrowed exactly when `raw` already is compact.
pub fn compact_json(raw: &str) -> Result<Cow<'_, str>, BodyError> {
    json::compact(raw).map(|compact| compact.text)
}

/// Why a text is no body, or no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not JSON.
    #[error("not JSON")]
    Syntax,
    /// Nested deeper than [`crate::limits::JSON_DEPTH`].
    #[error("nested deeper than {}", limits::JSON_DEPTH)]
    TooDeep,
    /// U+0000 in a string.
    #[error("text may not hold NUL")]
    Nul,
    /// Half of a surrogate pair.
    #[error("text may not hold a lone surrogate")]
    LoneSurrogate,
    /// An integer beyond ±(2^53−1), or a number that is not finite.
    #[error("a number is out of range")]
    Number,
    /// The compact form is over the limit.
    #[error("body over the limit")]
    TooLarge,
    /// A field is missing or not what it must be.
    #[error("body field {0} is wrong")]
    Field(&'static str),
    /// A key is there twice, so readers would not agree on what is said.
    #[error("a field of the body is there twice")]
    DuplicateKey,
    /// A `type` that nobody here knows.
    #[error("unknown body type")]
    UnknownType,
    /// Another home's body that is not in the compact form.
    #[error("body is not in its compact form")]
    NotCompact,
}

impl BodyError {
    /// The stable word for the API, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Syntax => "not_json",
            Self::TooDeep => "too_deep",
            Self::Nul => "nul",
            Self::LoneSurrogate => "lone_surrogate",
            Self::Number => "number_out_of_range",
            Self::TooLarge => "body_too_large",
            Self::Field(_) | Self::DuplicateKey => "bad_field",
            Self::UnknownType => "unknown_body_type",
            Self::NotCompact => "not_compact",
        }
    }
}

/// What a body says to the node.
struct Content {
    kind: Kind,
    mentions: Vec<Address>,
    target: Option<(Address, MessageId)>,
    replacement: Option<Kind>,
    reaction: Option<Reaction>,
    media: Option<NamedMedia>,
}

fn read(body: &Object<'_>) -> Result<Content, BodyError> {
    use BodyError::Field;
    let name = body.string("type")?;
    let mut content = Content {
        kind: Kind::Custom,
        mentions: Vec::new(),
        target: None,
        replacement: None,
        reaction: None,
        media: None,
    };
    match name {
        "text" => {
            content.kind = Kind::Text;
            if body.string("text")?.is_empty() {
                return Err(Field("text"));
            }
            content.mentions = body.get("mentions").map(mentions).transpose()?.unwrap_or_default();
            content.target = body.get("reply_to").map(|t| target(t, "reply_to")).transpose()?;
        }
        "media" => {
            content.kind = Kind::Media;
            content.media = named_media(&object(body.get("media"), "media")?);
        }
        "edit" => {
            content.kind = Kind::Edit;
            content.target = Some(target(body.get("of").ok_or(Field("of"))?, "of")?);
            let new = read_replacement(body)?;
            content.mentions = new.mentions;
            content.replacement = Some(new.kind);
        }
        "delete" => {
            content.kind = Kind::Delete;
            content.target = Some(target(body.get("of").ok_or(Field("of"))?, "of")?);
        }
        "reaction" => {
            content.kind = Kind::Reaction;
            content.target = Some(target(body.get("of").ok_or(Field("of"))?, "of")?);
            let emoji = body.string("emoji")?;
            if emoji.is_empty() || emoji.len() > limits::REACTION_BYTES || emoji.contains('\\') {
                return Err(Field("emoji"));
            }
            let on = match body.get("on") {
                Some("true") => true,
                Some("false") => false,
                Some(_) | None => return Err(Field("on")),
            };
            content.reaction = Some(Reaction { emoji: emoji.to_owned(), on });
        }
        custom if custom.starts_with("x.") && unescaped_len(custom) <= limits::BODY_TYPE_BYTES => {}
        _ => return Err(BodyError::UnknownType),
    }
    Ok(content)
}

/// The `body` of an edit: something that stands in a conversation by itself. Read one level deep,
/// since an edit of an edit is refused before its own `body` is looked at.
fn read_replacement(edit: &Object<'_>) -> Result<Content, BodyError> {
    let body = object(edit.get("body"), "body")?;
    if matches!(body.string("type")?, "edit" | "delete" | "reaction") {
        return Err(BodyError::Field("body"));
    }
    read(&body)
}

/// `{home, id, hash, size}`; whatever else it says is for clients. Bodies of other homes are not refused for it: without it no
/// file is named.
fn named_media(media: &Object<'_>) -> Option<NamedMedia> {
    let part = |key| media.get(key).and_then(string);
    let mut hash = [0; 32];
    let text = part("hash")?.as_bytes();
    if text.len() != 64 || HEXLOWER_PERMISSIVE.decode_mut(text, &mut hash).ok()? != hash.len() {
        return None;
    }
    Some(NamedMedia {
        home: part("home")?.to_owned(),
        id: part("id")?.parse().ok()?,
        hash: Hash(hash),
        size: media.get("size")?.parse().ok()?,
    })
}

/// `{id, sender}`.
fn target(text: &str, field: &'static str) -> Result<(Address, MessageId), BodyError> {
    let target = object(Some(text), field)?;
    let part = |key| target.get(key).and_then(string).ok_or(BodyError::Field(field));
    let sender = part("sender")?.parse().map_err(|_| BodyError::Field(field))?;
    let id = part("id")?.parse().map_err(|_| BodyError::Field(field))?;
    Ok((sender, id))
}

/// A list of addresses. No character of an address needs an escape, so an element ends at the
/// next quote, and one with a backslash in it is no address.
fn mentions(text: &str) -> Result<Vec<Address>, BodyError> {
    const WRONG: BodyError = BodyError::Field("mentions");
    let list = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or(WRONG)?;
    let mut mentions: Vec<Address> = Vec::new();
    if list.is_empty() {
        return Ok(mentions);
    }
    // Counted as written, so that a long list of one name costs nothing.
    for (index, element) in list.split(',').enumerate() {
        if index == limits::MENTIONS {
            return Err(WRONG);
        }
        let address = string(element).ok_or(WRONG)?.parse().map_err(|_| WRONG)?;
        if !mentions.contains(&address) {
            mentions.push(address);
        }
    }
    Ok(mentions)
}

/// An object in compact JSON, each of its keys there once.
struct Object<'a> {
    text: &'a str,
    /// Sorted by key.
    members: Vec<Member>,
}

impl<'a> Object<'a> {
    fn new(text: &'a str, mut members: Vec<Member>) -> Result<Self, BodyError> {
        let key = |m: &Member| &text[m.key.clone()];
        members.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        if members.windows(2).any(|pair| key(&pair[0]) == key(&pair[1])) {
            return Err(BodyError::DuplicateKey);
        }
        Ok(Self { text, members })
    }

    /// The value of `key`, as compact JSON.
    fn get(&self, key: &str) -> Option<&'a str> {
        let slice = |range: &Range<usize>| &self.text[range.clone()];
        let index = self.members.binary_search_by(|m| slice(&m.key).cmp(key)).ok()?;
        Some(slice(&self.members[index].value))
    }

    /// The value of `key`, which must be a string, still with its escapes.
    fn string(&self, key: &'static str) -> Result<&'a str, BodyError> {
        self.get(key).and_then(string).ok_or(BodyError::Field(key))
    }
}

/// Reads a value that must be an object. It is compact, so this changes nothing and only finds
/// its members.
fn object<'a>(value: Option<&'a str>, field: &'static str) -> Result<Object<'a>, BodyError> {
    let text = value.ok_or(BodyError::Field(field))?;
    let members = json::compact_with_members(text)?.members.ok_or(BodyError::Field(field))?;
    Object::new(text, members)
}

/// What stands between the quotes of a string in compact JSON; `None` of any other value.
fn string(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

/// Bytes of a compact string without its escapes: `\n` is one, `\u001f` is one.
fn unescaped_len(text: &str) -> usize {
    let mut rest = text.as_bytes();
    let mut length = 0;
    while let [first, tail @ ..] = rest {
        let skip = match (first, tail) {
            (b'\\', [b'u', ..]) => 5,
            (b'\\', _) => 1,
            _ => 0,
        };
        rest = tail.get(skip..).unwrap_or_default();
        length += 1;
    }
    length
}

fn text_of(bytes: &[u8], limit: usize) -> Result<&str, BodyError> {
    if bytes.len() > limit {
        return Err(BodyError::TooLarge);
    }
    std::str::from_utf8(bytes).map_err(|_| BodyError::Syntax)
}
