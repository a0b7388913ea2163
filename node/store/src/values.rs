//! Values as bytes: a version, then postcard. What an older program wrote is read through a chain of
//! migrations; what a newer one wrote is refused.
//!
//! To change a stored type: copy the old shape here under a name with its version, give the new shape
//! the next version with `stored!(New, N, from Old)`, and write `impl From<Old> for New`. The test
//! `encodings_stand_still` fails on every change that forgets this.

use std::collections::VecDeque;

use bytes::Bytes;
use homing_core::{
    Account, ChainEnd, ChainProof, ChannelState, Cursor, Device, Fault, Fork, Invite, Mark,
    MarkTime, Member, OpDone, PeerState,
};
use homing_wire::{
    ChannelId, DeviceId, Epoch, Hash, HomeId, HomeName, Local, Pos, Seq, Stamp, UserRef,
};
use serde::{Deserialize, Serialize};

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

/// An `op` is found by age; its key says all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct OpAge;

stored!(ChannelStateV1, 1);
stored!(ChannelState, 2, from ChannelStateV1);
stored!(Account, 1);
stored!(Device, 1);
stored!(Invite, 1);
stored!(PeerStateV1, 1);
stored!(PeerStateV2, 2, from PeerStateV1);
stored!(PeerState, 3, from PeerStateV2);
stored!(OpDone, 1);
stored!(Listing, 1);
stored!(TokenOf, 1);
stored!(OwedSince, 1);
stored!(PrunedTo, 1);
stored!(MessagePlace, 1);
stored!(RosterRow, 1);
stored!(LetterRow, 1);
stored!(OpAge, 1);

/// Before statements were kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct PeerStateV1 {
    home: HomeId,
    name: Option<HomeName>,
    record: Vec<u8>,
    epoch: Epoch,
    boot: u64,
    seen_at: u64,
    blocked: bool,
    reconcile: bool,
}

impl From<PeerStateV1> for PeerStateV2 {
    fn from(old: PeerStateV1) -> Self {
        let PeerStateV1 { home, name, record, epoch, boot, seen_at, blocked, reconcile } = old;
        let statements = Vec::new();
        Self { home, name, record, epoch, boot, seen_at, blocked, reconcile, statements }
    }
}

/// Before letters.
#[derive(Serialize, Deserialize)]
pub(crate) struct PeerStateV2 {
    home: HomeId,
    name: Option<HomeName>,
    record: Vec<u8>,
    epoch: Epoch,
    boot: u64,
    seen_at: u64,
    blocked: bool,
    reconcile: bool,
    statements: Vec<Vec<u8>>,
}

impl From<PeerStateV2> for PeerState {
    fn from(old: PeerStateV2) -> Self {
        Self {
            home: old.home,
            name: old.name,
            record: old.record,
            epoch: old.epoch,
            boot: old.boot,
            seen_at: old.seen_at,
            blocked: old.blocked,
            reconcile: old.reconcile,
            statements: old.statements,
            letters: 0,
            letters_done: (Epoch(0), 0),
        }
    }
}

/// Before groups.
#[derive(Serialize, Deserialize)]
pub(crate) struct ChannelStateV1 {
    id: ChannelId,
    created_at: u64,
    head: Pos,
    last: Pos,
    counted: u64,
    changed: u64,
    active_at: u64,
    members: Vec<MemberV1>,
    chains: Vec<ChainEndV1>,
    cursors: Vec<CursorV1>,
    pruned: Pos,
    rejected: Vec<(Pos, String)>,
}

#[derive(Serialize, Deserialize)]
struct MemberV1 {
    user: UserRef,
    mark: Mark,
    read_counted: u64,
    mentions: Vec<Pos>,
    times: VecDeque<MarkTime>,
    accepted: bool,
}

#[derive(Serialize, Deserialize)]
struct ChainEndV1 {
    origin: HomeId,
    epoch: Epoch,
    seq: Seq,
    hash: Hash,
    stamp: Stamp,
    pos: Pos,
    proof: Option<ChainProof>,
    pruned: Option<(Seq, Hash)>,
    fork: Option<Box<Fork>>,
}

#[derive(Serialize, Deserialize)]
struct CursorV1 {
    home: HomeId,
    epoch: Epoch,
    acked: Seq,
    marks_owed: bool,
    owed_since: Option<u64>,
    refused: Option<String>,
}

impl From<ChannelStateV1> for ChannelState {
    fn from(old: ChannelStateV1) -> Self {
        let member = |old: MemberV1| Member {
            mark: old.mark,
            read_counted: old.read_counted,
            mentions: old.mentions,
            times: old.times,
            ..Member::new(old.user, old.accepted)
        };
        let chain = |old: ChainEndV1| ChainEnd {
            origin: old.origin,
            epoch: old.epoch,
            seq: old.seq,
            hash: old.hash,
            stamp: old.stamp,
            pos: old.pos,
            proof: old.proof,
            pruned: old.pruned,
            roster: 0,
            fork: old.fork,
        };
        let cursor = |old: CursorV1| Cursor {
            acked: old.acked,
            marks_owed: old.marks_owed,
            owed_since: old.owed_since,
            refused: old.refused,
            ..Cursor::new(old.home, old.epoch)
        };
        Self {
            id: old.id,
            created_at: old.created_at,
            head: old.head,
            last: old.last,
            counted: old.counted,
            changed: old.changed,
            active_at: old.active_at,
            members: old.members.into_iter().map(member).collect(),
            chains: old.chains.into_iter().map(chain).collect(),
            cursors: old.cursors.into_iter().map(cursor).collect(),
            pruned: old.pruned,
            rejected: old.rejected,
            group: None,
        }
    }
}

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

    #[test]
    fn what_was_noted_of_a_home_before_statements_is_read() {
        let PeerState { home, name, record, epoch, boot, seen_at, blocked, reconcile, .. } =
            sample::peer(1);
        let old = PeerStateV1 { home, name, record, epoch, boot, seen_at, blocked, reconcile };
        let (letters, letters_done) = (0, (Epoch(0), 0));
        let new = PeerState { statements: Vec::new(), letters, letters_done, ..sample::peer(1) };
        assert_eq!(decode::<PeerState>(&encode(&old)), Ok(new));
    }

    #[test]
    fn what_was_stored_of_a_chat_before_groups_is_read() {
        let mut new = sample::channel_state();
        new.group = None;
        for member in &mut new.members {
            (member.since, member.left, member.spans) = (0, false, Vec::new());
        }
        for chain in &mut new.chains {
            chain.roster = 0;
        }
        for cursor in &mut new.cursors {
            (cursor.begins, cursor.roster, cursor.outside) = ((cursor.epoch, Seq(0)), 0, false);
        }
        let member = |m: &Member| MemberV1 {
            user: m.user.clone(),
            mark: m.mark,
            read_counted: m.read_counted,
            mentions: m.mentions.clone(),
            times: m.times.clone(),
            accepted: m.accepted,
        };
        let chain = |c: &ChainEnd| ChainEndV1 {
            origin: c.origin,
            epoch: c.epoch,
            seq: c.seq,
            hash: c.hash,
            stamp: c.stamp,
            pos: c.pos,
            proof: c.proof.clone(),
            pruned: c.pruned,
            fork: c.fork.clone(),
        };
        let cursor = |c: &Cursor| CursorV1 {
            home: c.home,
            epoch: c.epoch,
            acked: c.acked,
            marks_owed: c.marks_owed,
            owed_since: c.owed_since,
            refused: c.refused.clone(),
        };
        let old = ChannelStateV1 {
            id: new.id,
            created_at: new.created_at,
            head: new.head,
            last: new.last,
            counted: new.counted,
            changed: new.changed,
            active_at: new.active_at,
            members: new.members.iter().map(member).collect(),
            chains: new.chains.iter().map(chain).collect(),
            cursors: new.cursors.iter().map(cursor).collect(),
            pruned: new.pruned,
            rejected: new.rejected.clone(),
        };
        assert_eq!(decode::<ChannelState>(&encode(&old)), Ok(new));
    }

    /// A change of a stored type must come with a new version and a migration; see the page's head.
    #[test]
    fn encodings_stand_still() {
        let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
        let found = [
            ("channel", hash(&encode(&sample::channel_state()))),
            ("account", hash(&encode(&sample::account("alice")))),
            ("device", hash(&encode(&sample::device("alice", 1)))),
            ("invite", hash(&encode(&sample::invite(1)))),
            ("peer", hash(&encode(&sample::peer(1)))),
            ("op", hash(&encode(&sample::op_done(1)))),
            ("listing", hash(&encode(&Listing { changed: 1 << 40, active_at: 2 }))),
        ];
        let pinned = [
            ("channel", "3b620785fe53c6ae"),
            ("account", "fe91d4836501fb99"),
            ("device", "506c35afbfb3ef34"),
            ("invite", "22953a3b7d52fe2b"),
            ("peer", "970c49fdc9bf3180"),
            ("op", "bf8bf6ac981ab7ef"),
            ("listing", "bddf29fd38b564f2"),
        ];
        let found: Vec<_> = found.iter().map(|(n, h)| (*n, h.as_str())).collect();
        assert_eq!(found, pinned);
    }
}
