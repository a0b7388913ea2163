//! What a home holds: channels, members, accounts, devices, peers.

use bytes::Bytes;
use homing_wire::{
    ChannelId, Epoch, Event, Hash, HomeId, HomeName, Local, MessageId, OpId, Pos, Seq, Stamp,
    UserRef,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod account;
mod member;

pub use self::account::{
    Account, AccountState, Device, GroupsFrom, Invite, OpDone, OpWhat, SeenBy, TokenHash, UserList,
};
pub use self::member::{Mark, MarkTime, Member, Span, Veil};

/// A channel: everything but its events.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChannelState {
    /// Its id.
    pub id: ChannelId,
    /// Unix milliseconds.
    pub created_at: u64,
    /// The latest place.
    pub head: Pos,
    /// The latest place that shows as a message of its own.
    pub last: Pos,
    /// How many entries count as unread for others, at or below `head`.
    pub counted: u64,
    /// The change number of its last change.
    pub changed: u64,
    /// Unix milliseconds of the last message here; lists are sorted by it.
    pub active_at: u64,
    /// Who is in it: both parties of a chat, the lesser first.
    pub members: Vec<Member>,
    /// The ends of the chains held.
    pub chains: Vec<ChainEnd>,
    /// How far the other homes in it have got with this home's events.
    pub cursors: Vec<Cursor>,
    /// Everything at or below was removed by retention.
    pub pruned: Pos,
    /// Messages of this home that another rejected, and why: the latest [`ChannelState::REJECTED`] by place.
    pub rejected: Vec<(Pos, String)>,
    /// Places of messages that are counted and do not count any more, for they were deleted, or a later roster turned
    /// them into rejected ones: the latest [`ChannelState::UNCOUNTED`] of those that somebody here has not read.
    pub uncounted: Vec<Pos>,
    /// Events have come that change a message which was not here: a message that comes may be one of those.
    pub strays: bool,
    /// What a group has beside; `None`: a chat.
    pub group: Option<GroupState>,
}

/// What a group has beside what a chat has. Its roster is kept apart: it changes seldom, and is large.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupState {
    /// The home that alone changes its roster.
    pub owner: HomeId,
    /// The version of the roster that is held.
    pub version: u64,
    /// Since that version, without a break, this home has had a member; 0: it has none. What names an earlier one is from
    /// before: it is shown where the group's policy says so, and is news to nobody.
    pub since: u64,
    /// The group, given up by its home, that this one goes on with: its people are those who were in that one.
    pub continues: Option<ChannelId>,
    /// The group that goes on with this one.
    pub continued_by: Option<ChannelId>,
    /// The owner home has signed two rosters of one version, or one that takes back what an earlier one said: nothing
    /// more of that life is taken of it.
    pub forked: Option<Epoch>,
    /// Of a group of this home: links by which people can come, the oldest first, at most [`GroupState::LINKS`].
    pub links: Vec<OpenLink>,
    /// Of a group of another home: files of this home that users of it want to be its avatar, while that is not settled; the
    /// oldest first, at most [`GroupState::AVATARS_ASKED`].
    pub avatars_asked: Vec<AvatarAsked>,
}

/// A file of this home that is to be the avatar of a group of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AvatarAsked {
    /// The group's home names it in its outcome.
    pub op: OpId,
    /// Which file.
    pub file: Uuid,
    /// The version of the roster that shows it; 0: the group's home has not answered.
    pub version: u64,
}

/// A link by which people can come into a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenLink {
    /// BLAKE3 of its secret; the secret is nowhere.
    pub secret: Hash,
    /// Void from then on, in Unix milliseconds.
    pub expires: Option<u64>,
    /// So many may still come; `None`: any number.
    pub uses_left: Option<u32>,
    /// Who made it.
    pub by: UserRef,
}

impl GroupState {
    /// Open links: a few people make one now and then. They are written with the group's state at every message.
    pub const LINKS: usize = 32;
    /// Avatars that wait for a group's home: while it is away, a person tries a few.
    pub const AVATARS_ASKED: usize = 8;
}

/// The end of a chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChainEnd {
    /// Whose.
    pub origin: HomeId,
    /// In which life.
    pub epoch: Epoch,
    /// The last event.
    pub seq: Seq,
    /// Hash of its header.
    pub hash: Hash,
    /// Its stamp.
    pub stamp: Stamp,
    /// The place here of the chain's last event that has one; 0 where none has.
    pub pos: Pos,
    /// The newest proof of it that is held; of a chain of this home, none is needed.
    pub proof: Option<ChainProof>,
    /// What retention removed of it: the last event, and the hash of its header.
    pub pruned: Option<(Seq, Hash)>,
    /// Of a group: the roster version that its last event names; along a chain it never falls.
    pub roster: u64,
    /// Its origin has signed something else, too: nothing more is taken of it.
    pub fork: Option<Box<Fork>>,
}

/// What proves a chain, as its origin signed it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChainProof {
    /// Up to here: the end of the chain, or below it while the rest is being fetched.
    pub seq: Seq,
    /// Hash of the header of `seq`.
    pub hash: Hash,
    /// `homing.event.v1.Proof`.
    pub proof: Bytes,
}

/// The proof that an origin wrote two different chains under one name (equivocation): either a dishonest
/// home, or one that was set back without a new epoch. Both sides' signatures are kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fork {
    /// What is held here.
    pub held: ChainProof,
    /// What was shown later.
    pub shown: ChainProof,
    /// Headers of `shown`, from the first that cannot follow on what is held, at most [`Fork::BYTES`].
    pub headers: Vec<Bytes>,
}

impl Fork {
    /// Bytes of headers kept: some dozens of them. They only spare a person the look-up.
    pub const BYTES: usize = 16_384;
}

/// How far another home has got with this home's events of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cursor {
    /// The other home.
    pub home: HomeId,
    /// The life of this home's store whose events it is at; all of earlier lives it has.
    pub epoch: Epoch,
    /// It has acknowledged everything up to here of that epoch.
    pub acked: Seq,
    /// Marks of this home's users have risen since it acknowledged any.
    pub marks_owed: bool,
    /// Something is owed since, in Unix milliseconds.
    pub owed_since: Option<u64>,
    /// It takes nothing of this channel; the reason it gave.
    pub refused: Option<String>,
    /// Of a group: this home's chain begins there for it, above that event of that life.
    pub begins: (Epoch, Seq),
    /// Of a group: the version of the roster that it has acknowledged to this home.
    pub roster: u64,
    /// Nobody of it is in the channel any more (or yet): it gets rosters alone.
    pub outside: bool,
}

impl Cursor {
    /// Of a home that has nothing yet and is owed nothing.
    pub fn new(home: HomeId, epoch: Epoch) -> Self {
        Self {
            home,
            epoch,
            acked: Seq(0),
            marks_owed: false,
            owed_since: None,
            refused: None,
            begins: (epoch, Seq(0)),
            roster: 0,
            outside: false,
        }
    }
}

/// An entry of a channel's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Its place here.
    pub pos: Pos,
    /// `counted` of the channel, this entry included.
    pub counted: u64,
    /// Unix milliseconds by this home's clock.
    pub arrived_at: u64,
    /// Hidden from everybody but its sender: the other party of the chat had blocked the sender when it came.
    /// Fixed at arrival.
    pub hidden: bool,
    /// The event; its header names the channel.
    pub event: Event,
}

impl LogEntry {
    /// Over ten minutes on its way is shown as late.
    const LATE_MS: u64 = 600_000;

    /// The channel.
    pub fn channel(&self) -> ChannelId {
        self.event.header.channel
    }

    /// Whether it arrived over ten minutes after it was sent. Fixed at arrival.
    pub fn is_late(&self) -> bool {
        self.arrived_at > self.event.header.stamp.ms() + Self::LATE_MS
    }

    /// Whether `user`, a member of the channel and of this home where the entry is of the node's own, is shown it.
    pub fn is_shown_to(&self, user: &UserRef) -> bool {
        let header = &self.event.header;
        let own = || match header.origin {
            HomeId::LOCAL => header.sender == user.local,
            _ => header.user() == *user,
        };
        !self.hidden || own()
    }

    /// What the index holds of it.
    pub fn row(&self) -> EntryRow {
        EntryRow {
            pos: self.pos,
            counted: self.counted,
            origin: self.event.header.origin,
            epoch: self.event.header.epoch,
            seq: self.event.header.seq,
            stamp: self.event.header.stamp,
        }
    }
}

/// What is known of an entry without reading its event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EntryRow {
    /// Its place here.
    pub pos: Pos,
    /// `counted` of the channel, this entry included.
    pub counted: u64,
    /// Whose event.
    pub origin: HomeId,
    /// In which life.
    pub epoch: Epoch,
    /// Its number there.
    pub seq: Seq,
    /// Its stamp.
    pub stamp: Stamp,
}

/// Names a message by sender and id, in 16 bytes: the id's first six, then a hash. UUIDv7 ids begin with
/// the time, so keys of the same time are neighbours in an index, which then grows at its end instead of
/// everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MessageKey(pub [u8; 16]);

impl MessageKey {
    /// Six bytes of the id, and BLAKE3 over sender and id, cut to ten.
    pub fn new(sender: &UserRef, id: &MessageId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&sender.home.0);
        hasher.update(id.as_bytes());
        hasher.update(sender.local.as_str().as_bytes());
        let mut key = [0; 16];
        key[..6].copy_from_slice(&id.as_bytes()[..6]);
        key[6..].copy_from_slice(&hasher.finalize().as_bytes()[..10]);
        Self(key)
    }
}

/// A row of a user's list of channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListRow {
    /// Which.
    pub channel: ChannelId,
    /// The change number of its last change that this user sees.
    pub changed: u64,
    /// Unix milliseconds of its last message.
    pub active_at: u64,
}

/// Another home.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerState {
    /// Its id.
    pub home: HomeId,
    /// Its name, where verified (pinned).
    pub name: Option<HomeName>,
    /// Its last record, signed, as it came.
    pub record: Vec<u8>,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its last boot number.
    pub boot: u64,
    /// Unix milliseconds of the last contact.
    pub seen_at: u64,
    /// The operator has blocked it.
    pub blocked: bool,
    /// It has still to be asked what it holds of the channels that both share: it is new, or this home was
    /// restored from a backup.
    pub reconcile: bool,
    /// The latest start that was seen of each of its nodes, as the node stated it, signed: what it is shown if it
    /// comes with an earlier one. At most [`homing_wire::limits::RECORD_NODES`].
    pub statements: Vec<Vec<u8>>,
    /// The number of the last letter to it.
    pub letters: u64,
    /// The last letter that was taken of it: of which life of its store, and its number.
    pub letters_done: (Epoch, u64),
    /// Users of this home who have asked it for a way into a group, by a link, at most [`PeerState::JOINING`]: they have
    /// agreed, before this home knows the group.
    pub joining: Vec<Joining>,
}

/// A user of this home has asked for a way into a group of another, by a link.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joining {
    /// Which group.
    pub group: ChannelId,
    /// Who.
    pub user: Local,
    /// The letter's.
    pub op: OpId,
    /// Forgotten from then on, in Unix milliseconds: whoever is let in later is asked.
    pub until: u64,
}

impl PeerState {
    /// Users who wait for a way into groups of one home.
    pub const JOINING: usize = 256;
    /// Of these, one user's.
    pub const JOINING_OF_USER: usize = 16;
}

impl ChainEnd {
    /// A chain of which nothing is held.
    pub fn none(origin: HomeId, epoch: Epoch) -> Self {
        Self {
            origin,
            epoch,
            seq: Seq(0),
            hash: Hash::NONE,
            stamp: Stamp(0),
            pos: Pos(0),
            proof: None,
            pruned: None,
            roster: 0,
            fork: None,
        }
    }

    /// Up to where others can be shown that the chain is its origin's: for `home`'s own, all of it.
    pub fn proven(&self, home: &HomeId) -> Seq {
        if self.origin == *home { self.seq } else { self.proof.as_ref().map_or(Seq(0), |p| p.seq) }
    }
}

impl ChannelState {
    /// Rejected messages remembered. Homes of one version reject none of each other's: more than a few are
    /// a fault that the operator has to look at.
    pub const REJECTED: usize = 64;
    /// Counted messages remembered that do not count any more: they only correct how many are unread.
    pub const UNCOUNTED: usize = 1_024;

    /// A new chat of two users.
    pub fn chat(a: UserRef, b: UserRef, now_ms: u64) -> Self {
        let id = ChannelId::chat(&a, &b);
        let (a, b) = if a.to_string() <= b.to_string() { (a, b) } else { (b, a) };
        Self {
            id,
            created_at: now_ms,
            head: Pos(0),
            last: Pos(0),
            counted: 0,
            changed: 0,
            active_at: now_ms,
            members: vec![Member::new(a, true), Member::new(b, true)],
            chains: Vec::new(),
            cursors: Vec::new(),
            pruned: Pos(0),
            rejected: Vec::new(),
            uncounted: Vec::new(),
            strays: false,
            group: None,
        }
    }

    /// The member of that name.
    pub fn member(&self, user: &UserRef) -> Option<&Member> {
        self.members.iter().find(|m| m.user == *user)
    }

    /// The member of that name, to change.
    pub fn member_mut(&mut self, user: &UserRef) -> Option<&mut Member> {
        self.members.iter_mut().find(|m| m.user == *user)
    }

    /// The other party of a chat.
    pub fn other(&self, user: &UserRef) -> Option<&Member> {
        self.members.iter().find(|m| m.user != *user)
    }

    /// The end of a chain, if any of it is held.
    pub fn chain(&self, origin: &HomeId, epoch: Epoch) -> Option<&ChainEnd> {
        self.chains.iter().find(|c| c.origin == *origin && c.epoch == epoch)
    }

    /// The first life of `home` in which it has written here.
    pub fn first_life(&self, home: &HomeId) -> Option<Epoch> {
        self.chains.iter().filter(|c| c.origin == *home).map(|c| c.epoch).min()
    }

    /// How many events of `home` are in it, of all lives of its store.
    pub fn written_by(&self, home: &HomeId) -> u64 {
        self.chains.iter().filter(|c| c.origin == *home).map(|c| c.seq.0).sum()
    }

    /// Why the message at `pos` was rejected by another home, if it was.
    pub fn rejection(&self, pos: Pos) -> Option<&str> {
        self.rejected.iter().find(|(at, _)| *at == pos).map(|(_, reason)| reason.as_str())
    }

    /// Whether a user of `home` is in it.
    pub fn has_home(&self, home: &HomeId) -> bool {
        self.members.iter().any(|m| m.user.home == *home)
    }

    /// Whether nobody of `home` is in a group any more, or yet.
    pub fn nobody_of(&self, home: &HomeId) -> bool {
        !self.members.iter().any(|m| m.user.home == *home && m.accepted && !m.left)
    }

    /// How far `home` has got.
    pub fn cursor(&self, home: &HomeId) -> Option<&Cursor> {
        self.cursors.iter().find(|c| c.home == *home)
    }

    /// Messages of others above the member's read mark; none while the member has blocked their sender.
    pub fn unread(&self, member: &Member) -> u64 {
        let out = self.group.is_some() && (member.left || !member.accepted);
        if member.blocking || out {
            return 0;
        }
        let gone = |pos: &&Pos| **pos > member.mark.read;
        let hidden = member.hidden.iter().filter(|pos| !self.uncounted.contains(pos));
        let less = self.uncounted.iter().filter(gone).count() + hidden.filter(gone).count();
        self.counted.saturating_sub(member.read_counted).saturating_sub(less as u64)
    }

    /// The latest message that the member is shown; 0 where there is none.
    pub fn last_for(&self, member: &Member) -> Pos {
        member.hiding().map_or(self.last, |veil| veil.last)
    }

    /// When that came, in Unix milliseconds.
    pub fn active_for(&self, member: &Member) -> u64 {
        member.hiding().map_or(self.active_at, |veil| veil.active_at)
    }

    /// Whether what `sender` writes now is hidden from the other party.
    pub fn hides(&self, sender: &UserRef) -> bool {
        self.members.iter().any(|m| m.blocking && m.user != *sender)
    }

    /// What an entry of `sender` at the head changes of what members are shown. To be called before `last` and
    /// `active_at` move.
    pub(crate) fn move_veils(
        &mut self,
        sender: &UserRef,
        hidden: bool,
        message: bool,
        now_ms: u64,
    ) {
        let (head, last, active_at) = (self.head, self.last, self.active_at);
        let new = |from| Veil { from, last, active_at, unlisted: false, lifted: None };
        for member in &mut self.members {
            let own = member.user == *sender;
            let delivered = member.mark.delivered;
            match &mut member.veil {
                None if hidden && !own => member.veil = Some(new(head)),
                // Hidden anew. What was told already stays told.
                Some(Veil { from, lifted: Some(lifted), .. }) if hidden && !own => {
                    member.veil = Some(new(if delivered >= *lifted { head } else { *from }));
                }
                Some(veil) if own && message && veil.lifted.is_none() => {
                    (veil.last, veil.active_at) = (head, now_ms);
                }
                Some(veil) if !own && !hidden && message && veil.lifted.is_none() => {
                    veil.lifted = Some(head);
                }
                Some(_) | None => {}
            }
        }
    }
}
