//! What homes say to each other: the words (ids, addresses, events, records) and their bytes.
//!
//! The `.proto` files under `proto/` are the specification. Types whose meaning the rest of the
//! node rests on (ids, [`UserRef`], [`Header`], [`HomeRecord`]) are written by hand here and check
//! what they are made from; frames that are only carried ([`proto`]) are the generated ones.
//!
//! Nothing in this crate reads a clock, draws a random number or touches a disk or a network.

pub mod address;
pub mod body;
mod emoji;
pub mod event;
pub mod frame;
mod group_link;
pub mod heads;
pub mod id;
mod json;
pub mod letter;
pub mod limits;
pub mod order;
pub mod record;
pub mod roster;
pub mod statement;

pub use address::{Address, AddressError, HomeName, HomeRef, Local, UserRef};
pub use body::{Body, BodyError, NamedMedia, Reaction};
pub use emoji::is_emoji;
pub use event::{Event, Header, HeaderError, Kind, MediaReference, Target};
pub use group_link::{GroupLink, GroupLinkError};
pub use heads::{
    Checker, Head, ProofError, ProvenHead, SigningKeys, Signs, Verifies, prove, read_proof,
};
pub use id::{
    ChannelId, DeviceId, Epoch, Hash, HomeId, IdError, MessageId, OpId, Pos, Seq, Stamp, UserId,
};
pub use letter::{Change, Command, Letter, LetterError, Outcome};
pub use order::Order;
pub use record::{HomeRecord, Node, RecordError};
pub use roster::{
    ChainPos, Fence, Policy, PolicySpan, Right, Role, Roster, RosterError, RosterHistory,
    SignedRoster, Tenure, Unfit, Who,
};
pub use statement::{Instance, Statement, StatementError};

/// The generated protocol types. Used by `homing-net` and where the server translates; nowhere else.
#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/homing.rs"));
    pub use homing::*;
}
