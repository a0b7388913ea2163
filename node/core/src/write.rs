//! What a step changes on disk: typed writes with absolute values, so that replaying one twice is harmless.

use std::sync::Arc;

use bytes::Bytes;
use homing_wire::{ChannelId, DeviceId, Hash, HomeId, Local, OpId, Pos, Stamp, UserRef};
use uuid::Uuid;

use crate::fold::Fold;
use crate::media::{MediaId, MediaState};
use crate::own_view::OwnView;
use crate::state::{
    Account, ChannelState, Device, Invite, ListRow, LogEntry, OpDone, PeerState, TokenHash,
    UserList,
};

/// One change. Later writes of a batch win over earlier ones of the same thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// A new entry of a log; also makes the message findable by sender and id.
    Entry(Arc<LogEntry>),
    /// What later events make of the message at a place.
    Fold {
        /// Of which channel.
        channel: ChannelId,
        /// Which message.
        pos: Pos,
        /// What.
        fold: Arc<Fold>,
    },
    /// A channel's state.
    Channel(Box<ChannelState>),
    /// Entries of a log at or below a place are gone, by retention: with their bodies, their rows and the
    /// ways from their ids to them.
    Pruned {
        /// Of which channel.
        channel: ChannelId,
        /// The last that is gone.
        upto: Pos,
    },
    /// A row of a user's list of channels.
    Listing {
        /// Whose list.
        user: Local,
        /// The row.
        row: ListRow,
    },
    /// An account.
    Account(Box<Account>),
    /// A device, and the way from its token to it.
    Device(Box<Device>),
    /// A device is signed out.
    DeviceGone {
        /// Whose.
        user: Local,
        /// Which.
        device: DeviceId,
        /// Its token.
        token: TokenHash,
    },
    /// An invite.
    Invite(Box<Invite>),
    /// An invite is used up or revoked.
    InviteGone(TokenHash),
    /// Something of a channel is owed to a peer since then (Unix milliseconds), or nothing any more.
    Owed {
        /// To whom.
        peer: HomeId,
        /// Of what.
        channel: ChannelId,
        /// Since when; `None`: nothing.
        since: Option<u64>,
    },
    /// A user of this home is asked something by another: into a group of that home, or to hear a first contact. It is not
    /// answered, or is.
    Unanswered {
        /// The group's home, or that of whoever began the chat.
        home: HomeId,
        /// Who is asked.
        user: Local,
        /// The group, or the chat.
        channel: ChannelId,
        /// Whether the answer is open.
        open: bool,
    },
    /// Another home.
    Peer(Box<PeerState>),
    /// A group's newest roster, signed ([`homing_wire::SignedRoster::bytes`]).
    Roster {
        /// Of which group.
        channel: ChannelId,
        /// The bytes.
        signed: Bytes,
    },
    /// A letter to a peer ([`homing_wire::Letter::encode`]), until that has it.
    Letter {
        /// To whom.
        peer: HomeId,
        /// Its number.
        number: u64,
        /// The bytes.
        letter: Bytes,
    },
    /// A peer has a letter.
    LetterGone {
        /// Which peer.
        peer: HomeId,
        /// Its number.
        number: u64,
    },
    /// Somebody stands in a list of a user, or no longer.
    Listed {
        /// Which list.
        list: UserList,
        /// Whose.
        owner: Local,
        /// Who.
        other: UserRef,
        /// Since when, in Unix milliseconds; `None`: no longer.
        since: Option<u64>,
    },
    /// How a user sees a channel for himself.
    OwnView {
        /// Who.
        user: Local,
        /// Which channel.
        channel: ChannelId,
        /// How; `None`: like everybody.
        view: Option<OwnView>,
    },
    /// What a user is writing in a channel.
    Draft {
        /// Who.
        user: Local,
        /// Where.
        channel: ChannelId,
        /// The text; `None`: nothing any more.
        text: Option<Arc<str>>,
    },
    /// An account is found by a word, or no longer.
    Word {
        /// The word, as [`crate::words`] makes it.
        word: String,
        /// Whose name it is of.
        user: Local,
        /// Found by it.
        there: bool,
    },
    /// When a user was last seen, in Unix milliseconds; `None`: that is forgotten. Apart from the account, for it is
    /// written every minute.
    Seen {
        /// Who.
        user: Local,
        /// When.
        at: Option<u64>,
    },
    /// A file of this home.
    Media(Box<MediaState>),
    /// It is gone.
    MediaGone {
        /// Which.
        id: Uuid,
        /// What was in it.
        hash: Hash,
    },
    /// An event names a file, or does so no longer. That a new [`Self::Entry`] names its files is not said again.
    Named {
        /// Which file.
        media: MediaId,
        /// Where.
        channel: ChannelId,
        /// The event's place.
        pos: Pos,
        /// It does.
        there: bool,
    },
    /// The body of an entry is to go from the disk, for nobody is shown it any more since then (Unix milliseconds); `None`:
    /// it stays. The store takes it away some time after (`Store::tidy` of `homing-store`), and forgets that it should.
    Erase {
        /// Of which channel.
        channel: ChannelId,
        /// Which entry.
        pos: Pos,
        /// Since when.
        since: Option<u64>,
    },
    /// What an `op` of a user has done.
    Op {
        /// Whose.
        user: Local,
        /// Which.
        op: OpId,
        /// What.
        done: OpDone,
    },
    /// An `op` is too old to be repeated.
    OpGone {
        /// Whose.
        user: Local,
        /// Which.
        op: OpId,
    },
}

/// What one step changes: all of it or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// The greatest change number given so far.
    pub change: u64,
    /// The greatest stamp given or followed so far.
    pub stamp: Stamp,
    /// The changes, in order.
    pub writes: Vec<Write>,
}
