//! Events: a header that homes read and chain, and a body that is the client's bytes.

use bytes::Bytes;
use prost::Message as _;
use uuid::Uuid;

use crate::address::{Local, UserRef};
use crate::id::{ChannelId, Epoch, Hash, HomeId, MessageId, Seq, Stamp};
use crate::limits;
use crate::order::Order;
use crate::proto::event::v1 as pb;

/// What an event does. Kinds that this version does not know are kept as they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A text message.
    Text,
    /// A message with a file.
    Media,
    /// Replaces the body of an earlier message.
    Edit,
    /// Removes an earlier message for good.
    Delete,
    /// Adds or takes away an emoji.
    Reaction,
    /// An `x.…` body of the client's own.
    Custom,
    /// Something that the node itself tells its users. Never sent to another home.
    Notice,
    /// A kind of a later version.
    Unknown(u32),
}

impl Kind {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        match self {
            Self::Text => 1,
            Self::Media => 2,
            Self::Edit => 3,
            Self::Delete => 4,
            Self::Reaction => 5,
            Self::Custom => 6,
            Self::Notice => 64,
            Self::Unknown(code) => code,
        }
    }

    /// From the number on the wire.
    pub fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Text,
            2 => Self::Media,
            3 => Self::Edit,
            4 => Self::Delete,
            5 => Self::Reaction,
            6 => Self::Custom,
            64 => Self::Notice,
            other => Self::Unknown(other),
        }
    }

    /// Whether it stands in a conversation by itself and counts as unread.
    pub fn is_message(self) -> bool {
        matches!(self, Self::Text | Self::Media | Self::Custom)
    }

    /// Whether its body goes with a deletion: nothing but what is shown depends on it.
    pub fn may_be_erased(self) -> bool {
        match self {
            Self::Text | Self::Media | Self::Custom | Self::Edit => true,
            // What a reaction says stands in its body alone. A later version may want what this one does not know.
            Self::Delete | Self::Reaction | Self::Notice | Self::Unknown(_) => false,
        }
    }
}

/// Another event, named by who sent it and its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its sender.
    pub sender: UserRef,
    /// Its id.
    pub id: MessageId,
}

/// A file that an event names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaReference {
    /// The home that holds it.
    pub home: HomeId,
    /// 128 random bits.
    pub id: Uuid,
    /// BLAKE3 of the file.
    pub hash: Hash,
    /// Bytes.
    pub size: u64,
}

impl MediaReference {
    /// As it is on the wire.
    pub fn to_proto(&self) -> pb::MediaReference {
        pb::MediaReference {
            home: Bytes::copy_from_slice(&self.home.0),
            id: Bytes::copy_from_slice(self.id.as_bytes()),
            hash: Bytes::copy_from_slice(&self.hash.0),
            size: self.size,
        }
    }

    /// From the wire; `None`: a field is not what it must be.
    pub fn from_proto(raw: &pb::MediaReference) -> Option<Self> {
        Some(Self {
            home: HomeId::from_slice(&raw.home).ok()?,
            id: Uuid::from_slice(&raw.id).ok()?,
            hash: Hash::from_slice(&raw.hash).ok()?,
            size: raw.size,
        })
    }
}

/// A checked event header. [`Header::encode`] is used once, by the origin; everybody else keeps
/// the bytes as they came, so unknown fields survive and the chain's hashes hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The conversation.
    pub channel: ChannelId,
    /// The home whose user wrote it.
    pub origin: HomeId,
    /// The life of the origin's store.
    pub epoch: Epoch,
    /// Its number in the chain, from 1.
    pub seq: Seq,
    /// Hash of the header before it in the chain; [`Hash::NONE`] for the first.
    pub prev: Hash,
    /// When, by the origin's hybrid clock.
    pub stamp: Stamp,
    /// Who, a user of the origin.
    pub sender: Local,
    /// The message's id, chosen by the sender.
    pub id: MessageId,
    /// What it does.
    pub kind: Kind,
    /// What it is about.
    pub target: Option<Target>,
    /// Who is mentioned.
    pub mentions: Vec<UserRef>,
    /// Files it names.
    pub media: Vec<MediaReference>,
    /// The roster version it was written under; 0 in a chat.
    pub roster: u64,
    /// Bytes of the body.
    pub body_size: u32,
    /// BLAKE3 of the body.
    pub body_hash: Hash,
}

/// Why bytes are no header, or a body is not the header's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Over [`limits::HEADER_BYTES`].
    #[error("header too large")]
    TooLarge,
    /// Not Protocol Buffers.
    #[error("header does not parse")]
    Malformed,
    /// A field is missing or not what it must be.
    #[error("header field {0} is wrong")]
    Field(&'static str),
    /// The body's size or hash is not what the header says.
    #[error("body is not the header's")]
    Body,
}

impl HeaderError {
    /// The stable word for the API, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "header_too_large",
            Self::Malformed => "header_malformed",
            Self::Field(_) => "header_field",
            Self::Body => "body_mismatch",
        }
    }
}

impl Header {
    /// The sender as homes know one.
    pub fn user(&self) -> UserRef {
        UserRef::new(self.origin, self.sender.clone())
    }

    /// Its place among the events of the channel.
    pub fn order(&self) -> Order {
        Order::new(self.stamp, &self.origin, self.epoch, self.seq)
    }

    /// The bytes that are hashed, stored and sent. Deterministic.
    pub fn encode(&self) -> Bytes {
        let uuid = |u: &Uuid| Bytes::copy_from_slice(u.as_bytes());
        let hash = |h: &Hash| Bytes::copy_from_slice(&h.0);
        pb::Header {
            channel: uuid(&self.channel.0),
            origin: Bytes::copy_from_slice(&self.origin.0),
            epoch: self.epoch.0,
            seq: self.seq.0,
            prev: hash(&self.prev),
            stamp: self.stamp.0,
            sender: self.sender.as_str().to_owned(),
            id: uuid(&self.id.0),
            kind: self.kind.code(),
            target: self
                .target
                .as_ref()
                .map(|t| pb::Target { sender: t.sender.to_string(), id: uuid(&t.id.0) }),
            mentions: self.mentions.iter().map(ToString::to_string).collect(),
            roster: self.roster,
            body_size: self.body_size,
            body_hash: hash(&self.body_hash),
            media: self.media.iter().map(MediaReference::to_proto).collect(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads and checks a header. What is unknown in it is ignored here and kept in the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        use HeaderError::Field;
        if bytes.len() > limits::HEADER_BYTES {
            return Err(HeaderError::TooLarge);
        }
        let raw = pb::Header::decode(bytes).map_err(|_| HeaderError::Malformed)?;
        if raw.seq == 0 || raw.seq >> 48 != 0 {
            return Err(Field("seq"));
        }
        if raw.epoch == 0 || raw.epoch >> 48 != 0 {
            return Err(Field("epoch"));
        }
        if raw.kind == 0 {
            return Err(Field("kind"));
        }
        if raw.body_size as usize > limits::BODY_BYTES {
            return Err(Field("body_size"));
        }
        if raw.mentions.len() > limits::MENTIONS {
            return Err(Field("mentions"));
        }
        if raw.media.len() > limits::MEDIA_REFERENCES {
            return Err(Field("media"));
        }
        let prev = Hash::from_slice(&raw.prev).map_err(|_| Field("prev"))?;
        if (raw.seq == 1) != (prev == Hash::NONE) {
            return Err(Field("prev"));
        }
        let user = |text: &str, field| text.parse::<UserRef>().map_err(|_| Field(field));
        Ok(Self {
            channel: ChannelId::from_slice(&raw.channel).map_err(|_| Field("channel"))?,
            origin: HomeId::from_slice(&raw.origin).map_err(|_| Field("origin"))?,
            epoch: Epoch(raw.epoch),
            seq: Seq(raw.seq),
            prev,
            stamp: Stamp(raw.stamp),
            sender: Local::canonical(&raw.sender).map_err(|_| Field("sender"))?,
            id: MessageId::from_slice(&raw.id).map_err(|_| Field("id"))?,
            kind: Kind::from_code(raw.kind),
            target: raw
                .target
                .map(|t| {
                    Ok(Target {
                        sender: user(&t.sender, "target")?,
                        id: MessageId::from_slice(&t.id).map_err(|_| Field("target"))?,
                    })
                })
                .transpose()?,
            mentions: raw.mentions.iter().map(|m| user(m, "mentions")).collect::<Result<_, _>>()?,
            media: raw
                .media
                .iter()
                .map(|m| MediaReference::from_proto(m).ok_or(Field("media")))
                .collect::<Result<_, _>>()?,
            roster: raw.roster,
            body_size: raw.body_size,
            body_hash: Hash::from_slice(&raw.body_hash).map_err(|_| Field("body_hash"))?,
        })
    }
}

/// An event as it is kept: the parsed header beside its very bytes, and the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What the bytes say.
    pub header: Header,
    /// The bytes as the origin encoded them.
    pub header_bytes: Bytes,
    /// The client's bytes; empty where the body was erased.
    pub body: Bytes,
}

impl Event {
    /// A new event of one's own.
    pub fn new(header: Header, body: Bytes) -> Self {
        let header_bytes = header.encode();
        Self { header, header_bytes, body }
    }

    /// An event from a peer: the header must parse and the body must be the header's, or be erased where it may be
    /// ([`Kind::may_be_erased`]).
    pub fn from_bytes(header_bytes: Bytes, body: Bytes) -> Result<Self, HeaderError> {
        let event = Self { header: Header::decode(&header_bytes)?, header_bytes, body };
        let (header, body) = (&event.header, &event.body);
        if event.is_erased() && header.kind.may_be_erased() {
            return Ok(event);
        }
        if body.len() != header.body_size as usize || Hash::of(body) != header.body_hash {
            return Err(HeaderError::Body);
        }
        Ok(event)
    }

    /// Whether its body is gone: the message that it is, or changes, was deleted for everybody.
    pub fn is_erased(&self) -> bool {
        self.body.is_empty() && self.header.body_size > 0
    }

    /// What the next header of the chain names as `prev`.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.header_bytes)
    }

    /// Bytes on the wire and in the journal, without framing.
    pub fn size_bytes(&self) -> usize {
        self.header_bytes.len() + self.body.len()
    }
}
