//! Ids and counters. Newtypes, so that a `seq` is never taken for a `pos`.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::address::UserRef;

/// Why a text or byte string is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 16 bytes, or not a UUID string.
    #[error("not a UUID")]
    NotUuid,
    /// Not 52 characters of base32, or not 32 bytes.
    #[error("not a home id")]
    NotHomeId,
    /// Not 32 bytes.
    #[error("not a hash of 32 bytes")]
    NotHash,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    from.deserialize_str(Text::<Self>::default())
                } else {
                    Uuid::deserialize(from).map(Self)
                }
            }
        }

        impl $name {
            /// From the 16 bytes of a UUID.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| IdError::NotUuid)
            }

            /// The 16 bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// Takes the hyphenated form only, and folds upper case.
            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() != 36 {
                    return Err(IdError::NotUuid);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| IdError::NotUuid)
            }
        }
    };
}

uuid_id!(
    /// A channel: UUIDv5 of both parties for a chat, UUIDv7 for a group.
    ChannelId
);
uuid_id!(
    /// A message, chosen by its sender and unique per sender.
    MessageId
);
uuid_id!(
    /// A user, UUIDv7, made by the user's home.
    UserId
);
uuid_id!(
    /// A signed-in client of a user.
    DeviceId
);
uuid_id!(
    /// A client's name for one change, so that a repeated call changes nothing again.
    OpId
);

/// Namespace of the UUIDv5 of a chat: `uuid5(NAMESPACE_DNS, "chat.homing")`.
const CHAT_NAMESPACE: Uuid = Uuid::from_u128(0x4408_87c4_a89f_510f_a907_ddc8_e1ad_23c7);

impl ChannelId {
    /// No channel: where users' avatars are.
    pub const NONE: Self = Self(Uuid::nil());

    /// Whether it is made like a group's: whoever makes one chooses it, a chat's follows from its parties.
    pub fn is_group(&self) -> bool {
        self.0.get_version() == Some(uuid::Version::SortRand)
    }

    /// The id of the chat of two users: UUIDv5 (RFC 9562) over both `local@home-id`, the lesser
    /// first, joined by one space. Both homes derive it alone. The order of the arguments does not matter.
    pub fn chat(a: &UserRef, b: &UserRef) -> Self {
        let (a, b) = (a.to_string(), b.to_string());
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        Self(Uuid::new_v5(&CHAT_NAMESPACE, format!("{low} {high}").as_bytes()))
    }
}

/// A home: the BLAKE3 hash of its first identity key. Written as 52 characters of lower-case base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HomeId(pub [u8; 32]);

impl HomeId {
    /// No home: the origin of entries that a node writes for its own users alone.
    pub const LOCAL: Self = Self([0; 32]);

    /// Characters of a written home id.
    pub const TEXT_LEN: usize = 52;

    /// The id that belongs to an Ed25519 identity key (32 bytes).
    pub fn of_identity(key: &[u8; 32]) -> Self {
        Self(blake3::derive_key("homing home id v1", key))
    }

    /// From 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        bytes.try_into().map(Self).map_err(|_| IdError::NotHomeId)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for HomeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = BASE32_NOPAD.encode(&self.0);
        text.make_ascii_lowercase();
        f.write_str(&text)
    }
}

impl fmt::Debug for HomeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HomeId {
    type Err = IdError;

    /// Folds upper case. The four bits that 52 characters have over must be zero, so one id has
    /// one spelling.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != Self::TEXT_LEN {
            return Err(IdError::NotHomeId);
        }
        let bytes = BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| IdError::NotHomeId)?;
        Self::from_slice(&bytes)
    }
}

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first header of a chain names as its predecessor.
    pub const NONE: Self = Self([0; 32]);

    /// The BLAKE3 hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// From 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        bytes.try_into().map(Self).map_err(|_| IdError::NotHash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = IdError;

    /// 64 hexadecimal digits in lower case.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bytes =
            data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| IdError::NotHash)?;
        Self::from_slice(&bytes)
    }
}

macro_rules! bytes_in_serde {
    ($name:ident) => {
        /// Text where people read it (JSON), 32 bytes elsewhere.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
                if into.is_human_readable() {
                    into.collect_str(self)
                } else {
                    self.0.serialize(into)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    from.deserialize_str(Text::<Self>::default())
                } else {
                    <[u8; 32]>::deserialize(from).map(Self)
                }
            }
        }
    };
}

bytes_in_serde!(HomeId);
bytes_in_serde!(Hash);

/// Reads text by a type's own `FromStr`, so that serde accepts no spelling which that refuses.
struct Text<T>(PhantomData<T>);

impl<T> Default for Text<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: FromStr<Err = IdError>> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id as text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Place of arrival in a channel here: 1, 2, 3 … Local to one home.
    Pos
);
counter!(
    /// Number of an event in the chain of its (origin, epoch, channel): 1, 2, 3 …
    Seq
);
counter!(
    /// One life of a home's store: Unix milliseconds of its start.
    Epoch
);

/// A hybrid-clock stamp: Unix milliseconds shifted left by 16, plus a counter
/// (Kulkarni et al., "Logical Physical Clocks", 2014). Never falls along a chain.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The first stamp of a millisecond.
    pub fn from_ms(ms: u64) -> Self {
        Self(ms << 16)
    }

    /// Unix milliseconds.
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The next stamp for an event made at `now_ms`, above this one. It stands still at the end of
    /// time, where only a foreign stamp can be, instead of overflowing.
    #[must_use]
    pub fn tick(self, now_ms: u64) -> Self {
        Self(self.0.saturating_add(1).max(now_ms << 16))
    }
}
