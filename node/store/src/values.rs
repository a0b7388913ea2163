//! Values as bytes: a version, then postcard. What an older program wrote is read through a chain of
//! migrations; what a newer one wrote is refused.
//!
//! To change a stored type: copy the old shape to `values/old.rs` under a name with its version, give the new shape
//! the next version with `stored!(New, N, from Old)`, and write `impl From<Old> for New`. The test
//! `encodings_stand_still` fails on every change that forgets this.

mod old;

use bytes::Bytes;
use homing_core::{
    Account, ChannelState, Device, Fault, Fold, Invite, MediaState, OpDone, OwnView, PeerState,
};
use homing_wire::{ChannelId, DeviceId, Local, Pos};
use serde::{Deserialize, Serialize};

use self::old::{
    AccountV1, AccountV2, AccountV3, AccountV4, ChannelStateV1, ChannelStateV2, ChannelStateV3,
    ChannelStateV4, ChannelStateV5, DeviceV1, MediaStateV1, OpDoneV1, PeerStateV1, PeerStateV2,
    PeerStateV3,
};

/// Why bytes are no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("it is empty")]
    Empty,
    #[error("it has version {found}; this program knows versions up to {known}")]
    Newer { found: u8, known: u8 },
    #[error("it does not parse")]
    Malformed,
}

/// Something kept under a key.
pub(crate) trait Stored: Sized {
    /// The version that is written.
    const VERSION: u8;

    /// Reads what `version` wrote, migrating step by step.
    fn read(version: u8, bytes: &[u8]) -> Result<Self, ValueError>;

    /// Appends the encoding of [`Self::VERSION`].
    fn write(&self, into: Vec<u8>) -> Vec<u8>;
}

/// Appends version and value.
pub(crate) fn encode_into<T: Stored>(value: &T, buffer: &mut Vec<u8>) {
    let mut bytes = std::mem::take(buffer);
    bytes.push(T::VERSION);
    *buffer = value.write(bytes);
}

/// Version and value.
pub(crate) fn encode<T: Stored>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes);
    bytes
}

/// Reads what [`encode`] wrote, now or years ago.
pub(crate) fn decode<T: Stored>(bytes: &[u8]) -> Result<T, ValueError> {
    let (version, rest) = bytes.split_first().ok_or(ValueError::Empty)?;
    if *version > T::VERSION {
        return Err(ValueError::Newer { found: *version, known: T::VERSION });
    }
    T::read(*version, rest)
}

/// Like [`decode`], naming what could not be read.
pub(crate) fn decode_named<T: Stored>(what: &'static str, bytes: &[u8]) -> Result<T, Fault> {
    decode(bytes).map_err(|error| Fault(format!("the stored {what} cannot be read: {error}")))
}

macro_rules! stored {
    ($name:ty, 1) => {
        stored!(@impl $name, 1, |_version, _bytes| Err(ValueError::Malformed));
    };
    ($name:ty, $version:literal, from $old:ty) => {
        stored!(@impl $name, $version, |version, bytes| <$old>::read(version, bytes).map(<$name>::from));
    };
    (@impl $name:ty, $version:literal, $older:expr) => {
        impl Stored for $name {
            const VERSION: u8 = $version;

            fn read(version: u8, bytes: &[u8]) -> Result<Self, ValueError> {
                if version == $version {
                    match postcard::take_from_bytes(bytes) {
                        Ok((value, [])) => Ok(value),
                        Ok(_) | Err(_) => Err(ValueError::Malformed),
                    }
                } else {
                    let older: fn(u8, &[u8]) -> Result<Self, ValueError> = $older;
                    older(version, bytes)
                }
            }

            fn write(&self, into: Vec<u8>) -> Vec<u8> {
                postcard::to_extend(self, into).expect("memory takes all bytes, and the types are plain data")
            }
        }
    };
}
pub(crate) use stored;

/// A row of a user's list, under user and channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) changed: u64,
    pub(crate) active_at: u64,
}

/// The way from a token to its device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TokenOf {
    pub(crate) user: Local,
    pub(crate) device: DeviceId,
}

/// Something of a channel is owed to a peer since then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct OwedSince(pub(crate) u64);

/// An invitation is open; its key says all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct IsOpen;

/// An entry changes a message; its key says all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct IsChange;

/// Somebody stands in a list of a user since then, in Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ListedSince(pub(crate) u64);

/// What a user is writing in a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct DraftRow(pub(crate) String);

/// Somebody is found by a word; its key says all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct IsFound;
/// A user was last seen then, in Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SeenAt(pub(crate) u64);

/// Entries of a channel up to here may be thrown away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct PrunedTo(pub(crate) Pos);

/// A group's roster, signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct RosterRow(pub(crate) Bytes);

/// A letter that waits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct LetterRow(pub(crate) Bytes);

/// Where a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct MessagePlace {
    pub(crate) channel: ChannelId,
    pub(crate) pos: Pos,
}

/// A file is named somewhere, or has what a hash says; its key says all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct IsNamed;

/// A body is to go since then, in Unix milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct EraseSince(pub(crate) u64);

/// An `op` is found by age; its key says all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct OpAge;

stored!(ChannelStateV1, 1);
stored!(ChannelStateV2, 2, from ChannelStateV1);
stored!(ChannelStateV3, 3, from ChannelStateV2);
stored!(ChannelStateV4, 4, from ChannelStateV3);
stored!(ChannelStateV5, 5, from ChannelStateV4);
stored!(ChannelState, 6, from ChannelStateV5);
stored!(Fold, 1);
stored!(IsChange, 1);
stored!(AccountV1, 1);
stored!(AccountV2, 2, from AccountV1);
stored!(AccountV3, 3, from AccountV2);
stored!(AccountV4, 4, from AccountV3);
stored!(Account, 5, from AccountV4);
stored!(DeviceV1, 1);
stored!(Device, 2, from DeviceV1);
stored!(Invite, 1);
stored!(PeerStateV1, 1);
stored!(PeerStateV2, 2, from PeerStateV1);
stored!(PeerStateV3, 3, from PeerStateV2);
stored!(PeerState, 4, from PeerStateV3);
stored!(OpDoneV1, 1);
stored!(OpDone, 2, from OpDoneV1);
stored!(Listing, 1);
stored!(TokenOf, 1);
stored!(OwedSince, 1);
stored!(IsOpen, 1);
stored!(ListedSince, 1);
stored!(OwnView, 1);
stored!(DraftRow, 1);
stored!(IsFound, 1);
stored!(SeenAt, 1);
stored!(PrunedTo, 1);
stored!(MessagePlace, 1);
stored!(RosterRow, 1);
stored!(LetterRow, 1);
stored!(OpAge, 1);
stored!(MediaStateV1, 1);
stored!(MediaState, 2, from MediaStateV1);
stored!(IsNamed, 1);
stored!(EraseSince, 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[derive(PartialEq, Debug, Serialize, Deserialize)]
    struct NoteV1 {
        text: String,
    }

    #[derive(PartialEq, Debug, Serialize, Deserialize)]
    struct NoteV2 {
        text: String,
        at: u64,
    }

    #[derive(PartialEq, Debug, Serialize, Deserialize)]
    struct Note {
        at: u64,
        lines: Vec<String>,
    }

    impl From<NoteV1> for NoteV2 {
        fn from(old: NoteV1) -> Self {
            Self { text: old.text, at: 7 }
        }
    }

    impl From<NoteV2> for Note {
        fn from(old: NoteV2) -> Self {
            Self { at: old.at, lines: old.text.lines().map(str::to_owned).collect() }
        }
    }

    stored!(NoteV1, 1);
    stored!(NoteV2, 2, from NoteV1);
    stored!(Note, 3, from NoteV2);

    #[test]
    fn old_values_migrate_step_by_step() {
        let lines = || vec!["a".to_owned(), "b".to_owned()];
        let v1 = encode(&NoteV1 { text: "a\nb".into() });
        assert_eq!(decode::<Note>(&v1), Ok(Note { at: 7, lines: lines() }));
        let v2 = encode(&NoteV2 { text: "a\nb".into(), at: 9 });
        assert_eq!(decode::<Note>(&v2), Ok(Note { at: 9, lines: lines() }));
        let v3 = Note { at: 1, lines: lines() };
        assert_eq!(decode::<Note>(&encode(&v3)), Ok(v3));
    }

    #[test]
    fn newer_and_broken_values_are_refused() {
        let newer = encode(&Note { at: 1, lines: Vec::new() });
        assert_eq!(decode::<NoteV2>(&newer), Err(ValueError::Newer { found: 3, known: 2 }));
        assert_eq!(decode::<Note>(&[]), Err(ValueError::Empty));
        assert_eq!(decode::<Note>(&[0, 1, 2]), Err(ValueError::Malformed));
        let mut longer = encode(&OwedSince(5));
        longer.push(0);
        assert_eq!(decode::<OwedSince>(&longer), Err(ValueError::Malformed));
    }

    /// A change of a stored type must come with a new version and a migration; see the page's head.
    #[test]
    fn encodings_stand_still() {
        let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
        let found = [
            ("channel", hash(&encode(&sample::channel_state()))),
            ("account", hash(&encode(&sample::account("alice")))),
            ("fold", hash(&encode(&sample::fold()))),
            ("device", hash(&encode(&sample::device("alice", 1)))),
            ("invite", hash(&encode(&sample::invite(1)))),
            ("peer", hash(&encode(&sample::peer(1)))),
            ("op", hash(&encode(&sample::op_done(1)))),
            ("listing", hash(&encode(&Listing { changed: 1 << 40, active_at: 2 }))),
            ("listed", hash(&encode(&ListedSince(1 << 40)))),
            ("own view", hash(&encode(&sample::own_view(1)))),
            ("draft", hash(&encode(&DraftRow("wörds".into())))),
            ("seen", hash(&encode(&SeenAt(1 << 40)))),
            ("media", hash(&encode(&sample::media(1)))),
        ];
        let pinned = [
            ("channel", "4902ed1ce4550ce8"),
            ("account", "334986d427b60622"),
            ("fold", "1bde2460f4af19f3"),
            ("device", "ab9295d647c12bd6"),
            ("invite", "22953a3b7d52fe2b"),
            ("peer", "0d93468648b95bbf"),
            ("op", "30f3571182998f13"),
            ("listing", "bddf29fd38b564f2"),
            ("listed", "8610698c738f02b5"),
            ("own view", "dc9b1a4ea9702521"),
            ("draft", "d04090c209eeee9d"),
            ("seen", "8610698c738f02b5"),
            ("media", "4fc8737fc6ea448f"),
        ];
        let found: Vec<_> = found.iter().map(|(n, h)| (*n, h.as_str())).collect();
        assert_eq!(found, pinned);
    }
}
