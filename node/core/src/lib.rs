//! The pure part of a home: what a command, an event or a peer's frame does.
//!
//! No tokio, no clock, no randomness, no disk, no network: state and input in, writes and effects out.
//! The same code runs in the node, in the simulation and in the fuzzers.
//!
//! # Load, decide, commit
//! [`Home`] is driven by one owner, in this order:
//! 1. any number of commands ([`Home::send`], [`Home::receive_range`] …). What they need and do not
//!    hold is loaded through the [`Reader`]; each either refuses and has changed nothing, or has
//!    changed the state in memory and queued writes and effects;
//! 2. [`Home::take_step`] takes what was queued. Its batch is committed, durably and whole, *before*
//!    any of its answers or effects leaves the process;
//! 3. [`Home::committed`] says so. Steps are committed in the order they were taken; the next one may
//!    be decided meanwhile. A commit that fails ends the process: memory is ahead of the disk then.
//!
//! The [`Reader`] shows committed state only; [`Home`] remembers what it has decided since.

mod avatars;
mod cache;
mod chat;
mod courier;
mod departures;
mod devices;
mod erase;
mod find;
mod fold;
mod follow;
mod groups;
mod holdings;
mod home;
mod ids;
mod invitations;
mod letters;
mod links;
mod lists;
mod local;
mod log;
mod marks;
mod media;
mod own_view;
mod people;
pub mod presence;
mod reader;
mod receive;
mod refusal;
mod relay;
mod repair;
mod requests;
mod roster;
mod state;
mod typing;
mod unanswered;
mod write;

pub use avatars::{AVATAR, AVATAR_TYPES, avatar_of_group};
pub use chat::{SendCommand, SentReply, Target};
pub use courier::{Courier, CourierLimits, Delivery, OwedChannel};
pub use departures::Departure;
pub use devices::NewDevice;
pub use find::{is_found, words, words_of};
pub use fold::{Deleted, Edit, Fold, Folded, Reacted, ShownTo, Sight, Tally};
pub use groups::{Asked, Changed, NewGroup, Sealer};
pub use holdings::{
    Holding, Holdings, RangeAnswer, RangeEnd, RangeQuestion, holdings, range_of, roster_for,
};
pub use home::{Effect, Home, Policy, Step};
pub use letters::LetterReply;
pub use lists::{ListChange, ListCommand};
pub use local::{Pruned, has_older};
pub use marks::{PeerMark, Telling};
pub use media::{
    FilmState, ImageState, MediaId, MediaState, Naming, named_by, naming_for_home, naming_shown,
};
pub use own_view::{OwnView, ViewChange};
pub use people::{NewAccount, ProfileChange, Reconciled};
pub use reader::{Fault, Reader};
pub use receive::{RangeIn, RangeReply};
pub use refusal::{Class, Failure, Refusal};
pub use relay::PeerFault;
pub use repair::{Answered, Question, Repair};
pub use state::{
    Account, AccountState, AvatarAsked, ChainEnd, ChainProof, ChannelState, Cursor, Device,
    EntryRow, Fork, GroupState, GroupsFrom, Invite, Joining, ListRow, LogEntry, Mark, MarkTime,
    Member, MessageKey, OpDone, OpWhat, OpenLink, PeerState, SeenBy, Span, TokenHash, UserList,
    Veil,
};
pub use typing::{Audience, Pace, Typing};
pub use write::{Batch, Write};
