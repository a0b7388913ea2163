//! Everything that can wake the node: one closed list.

use std::collections::BTreeSet;

use homing_core::{
    Answered, LetterReply, MediaState, NewAccount, NewDevice, PeerFault, PeerMark, RangeIn,
    RangeReply, Telling,
};
use homing_link::{ClientInfo, LoggedIn, OutboxSender, Refused, Registered, SessionNo};
use homing_net::{GossipId, NetEvent};
use homing_wire::proto::query::v1 as pb;
use homing_wire::{
    ChannelId, Epoch, HomeId, Letter, LetterError, ProvenHead, Seq, SignedRoster, UserRef,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::files::CopyWait;
use super::fleeting::Came;
use super::gossip::KEY_BYTES;
use crate::control::{Control, ControlError, ControlReply};

/// Tells a connection of a peer from those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ConnectionNo(pub(super) u64);

/// What comes from outside the node's thread, besides clients' calls ([`homing_link::Request`]) and commits.
pub(super) enum Input {
    /// A client has connected.
    Connect {
        /// Where from.
        client: ClientInfo,
        /// What it will be told.
        outbox: OutboxSender,
        /// Its number here.
        reply: oneshot::Sender<SessionNo>,
    },
    /// An account, its password hashed.
    Register {
        new: Box<NewAccount>,
        reply: oneshot::Sender<Result<Registered, Refused>>,
    },
    /// A device, its password checked.
    Login {
        new: Box<NewDevice>,
        /// The token in the clear: handed back once the device is on disk.
        token: String,
        reply: oneshot::Sender<Result<LoggedIn, Refused>>,
    },
    /// A file of this home is whole, or something else is known of it: that shall be kept.
    MediaWhole {
        state: Box<MediaState>,
        reply: oneshot::Sender<()>,
    },
    /// A file that nobody names shall be forgotten; `false`: it is named again.
    MediaForgotten {
        id: Uuid,
        /// Though messages name it: the operator wants it to be gone.
        named_or_not: bool,
        reply: oneshot::Sender<bool>,
    },
    /// A file of that home is about to be asked for.
    MediaWanted(HomeId),
    /// A copy of a file that a call waits for is here, or is not.
    MediaCopied {
        pending: CopyWait,
        copied: Result<Box<MediaState>, Refused>,
    },
    /// A token to kill.
    Logout {
        token: homing_core::TokenHash,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// The network has something to say.
    Net(NetEvent),
    /// A peer's events. Whatever comes by a stream or a question of a peer names the connection: what is still on
    /// its way from an earlier one is dropped, for the peer may have lost its disk since.
    Range {
        peer: HomeId,
        connection: ConnectionNo,
        range: Box<RangeIn>,
        reply: oneshot::Sender<Result<RangeReply, PeerFault>>,
    },
    /// Everything of a peer's chain up to there is gone at the peer.
    Pruned {
        peer: HomeId,
        connection: ConnectionNo,
        parties: [UserRef; 2],
        end: Box<ProvenHead>,
        reply: oneshot::Sender<Result<RangeReply, PeerFault>>,
    },
    /// What a peer owes us is too old to be pushed: we are to ask.
    Pull {
        peer: HomeId,
        connection: ConnectionNo,
    },
    /// A peer has answered the question of a repair, or not.
    Repaired {
        peer: HomeId,
        run: u64,
        answer: Box<Result<Answered, &'static str>>,
    },
    /// A peer asks what is held, or for a part of a chain: what that tells of it is noted, on disk, before
    /// the answer leaves.
    Asked {
        peer: HomeId,
        connection: ConnectionNo,
        told: Told,
        answer: Box<pb::Answer>,
        reply: oneshot::Sender<pb::Answer>,
    },
    /// A peer's marks.
    Marks {
        peer: HomeId,
        connection: ConnectionNo,
        channel: ChannelId,
        marks: Vec<PeerMark>,
        reply: oneshot::Sender<Result<(), PeerFault>>,
    },
    /// A peer holds our events up to there.
    Acknowledged {
        peer: HomeId,
        connection: ConnectionNo,
        channel: ChannelId,
        epoch: Epoch,
        have: Seq,
    },
    /// A peer rejected messages of ours.
    RejectedBy {
        peer: HomeId,
        connection: ConnectionNo,
        channel: ChannelId,
        epoch: Epoch,
        rejected: Vec<(Seq, String)>,
    },
    /// A peer has dealt a key for what it tells of a group by gossip.
    GossipKey {
        peer: HomeId,
        connection: ConnectionNo,
        group: ChannelId,
        number: u64,
        key: Box<[u8; KEY_BYTES]>,
    },
    /// A peer has said something that is not kept. One at a time of each: it is answered as soon as it was heard.
    Fleeting {
        peer: HomeId,
        connection: ConnectionNo,
        came: Box<Came>,
        reply: oneshot::Sender<()>,
    },
    /// Events of a home have come by gossip, and their end is proven.
    Heard {
        origin: HomeId,
        /// Of the origin, when they came.
        connection: ConnectionNo,
        range: Box<RangeIn>,
        message: GossipId,
    },
    /// A group was told by gossip: how many events, and who was on the topic; or why it was not.
    Told {
        group: ChannelId,
        outcome: Result<(u64, BTreeSet<HomeId>), &'static str>,
    },
    /// Whoever was told of a group by gossip has had time to say so.
    GossipWaited {
        group: ChannelId,
    },
    /// A peer has taken these marks of ours.
    MarksTaken {
        peer: HomeId,
        connection: ConnectionNo,
        channel: ChannelId,
        telling: Telling,
    },
    /// A roster that a peer has sent, its signature checked.
    Roster {
        peer: HomeId,
        connection: ConnectionNo,
        signed: Box<SignedRoster>,
        reply: oneshot::Sender<Result<(), PeerFault>>,
    },
    /// A letter of a peer.
    Letter {
        peer: HomeId,
        connection: ConnectionNo,
        /// Of which life of the peer's store, and its number.
        name: (Epoch, u64),
        /// Why it cannot be read, where it cannot: the peer may be of a later version.
        letter: Result<Box<Letter>, LetterError>,
        reply: oneshot::Sender<Result<LetterReply, PeerFault>>,
    },
    /// A peer has a roster of ours, or lacks one.
    RosterTaken {
        peer: HomeId,
        connection: ConnectionNo,
        group: ChannelId,
        version: u64,
    },
    RosterWanted {
        peer: HomeId,
        connection: ConnectionNo,
        group: ChannelId,
    },
    /// A peer has our letters up to there.
    LettersTaken {
        peer: HomeId,
        connection: ConnectionNo,
        upto: u64,
    },
    /// A peer takes nothing of a channel.
    RefusedBy {
        peer: HomeId,
        connection: ConnectionNo,
        channel: ChannelId,
        reason: String,
    },
    /// A user of another home was looked up.
    LookedUp {
        user: UserRef,
        found: Lookup,
    },
    /// The password that a call gave for its account was checked, or could not be.
    PasswordChecked {
        pending: Pending,
        checked: Result<Checked, Refused>,
    },
    /// The operator wants something.
    Control {
        control: Control,
        reply: oneshot::Sender<Result<ControlReply, ControlError>>,
    },
    /// Finish what is under way and stop.
    Drain {
        done: oneshot::Sender<()>,
    },
}

impl Input {
    /// Over which connection of which peer it came, where that matters.
    pub(super) fn origin(&self) -> Option<(&HomeId, ConnectionNo)> {
        match self {
            Self::Range { peer, connection, .. }
            | Self::Pruned { peer, connection, .. }
            | Self::Pull { peer, connection }
            | Self::Asked { peer, connection, .. }
            | Self::Marks { peer, connection, .. }
            | Self::Acknowledged { peer, connection, .. }
            | Self::RejectedBy { peer, connection, .. }
            | Self::MarksTaken { peer, connection, .. }
            | Self::Roster { peer, connection, .. }
            | Self::Letter { peer, connection, .. }
            | Self::GossipKey { peer, connection, .. }
            | Self::Fleeting { peer, connection, .. }
            | Self::Heard { origin: peer, connection, .. }
            | Self::RosterTaken { peer, connection, .. }
            | Self::RosterWanted { peer, connection, .. }
            | Self::LettersTaken { peer, connection, .. }
            | Self::RefusedBy { peer, connection, .. } => Some((peer, *connection)),
            // A repair's answers have the number of their run.
            Self::Repaired { .. }
            | Self::Connect { .. }
            | Self::Register { .. }
            | Self::Login { .. }
            | Self::Logout { .. }
            | Self::Net(_)
            | Self::Told { .. }
            | Self::GossipWaited { .. }
            | Self::LookedUp { .. }
            | Self::MediaWhole { .. }
            | Self::MediaForgotten { .. }
            | Self::MediaWanted(_)
            | Self::MediaCopied { .. }
            | Self::PasswordChecked { .. }
            | Self::Control { .. }
            | Self::Drain { .. } => None,
        }
    }
}

/// What a peer's question tells of it.
pub(super) enum Told {
    /// It asks what is held of these channels: it has lost something, or is new.
    Lost(Vec<ChannelId>),
    /// It holds our chain up to there.
    Holds(ChannelId, Epoch, Seq),
}

/// What came of checking a password.
pub(super) struct Checked {
    /// It is that of the account.
    pub(super) right: bool,
    /// What it was checked against, a PHC string: the account may have another one since.
    pub(super) against: String,
    /// The new one that was to be hashed, if one was.
    pub(super) new: Option<String>,
}

/// What came of asking another home about a user.
#[derive(Clone, Debug)]
pub(super) enum Lookup {
    /// There is one.
    Found {
        user_id: String,
        display_name: String,
        avatar: Option<Box<homing_link::AvatarView>>,
        /// How the user is, as that one of this home may see it.
        seen: Option<(homing_wire::Local, homing_core::presence::Seen)>,
    },
    /// There is none, or the home takes no strangers: it does not say which.
    Missing,
    /// The home did not answer.
    Away,
}

/// A client's call on its way through the node.
pub(super) struct Pending {
    pub(super) session: SessionNo,
    pub(super) number: u64,
    pub(super) call: homing_link::Call,
    /// Who was signed in when it began to wait.
    pub(super) user: Option<homing_wire::Local>,
}
