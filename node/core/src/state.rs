//! What a home holds: channels, members, accounts, devices, peers.

use std::collections::VecDeque;

use bytes::Bytes;
use homing_wire::{
    ChannelId, DeviceId, Epoch, Event, Hash, HomeId, HomeName, Local, MessageId, OpId, Pos, Seq,
    Stamp, UserId, UserRef,
};
use serde::{Deserialize, Serialize};

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

/// How far a user has got. Rises only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Everything at or below has reached a device.
    pub delivered: Pos,
    /// Everything at or below was read.
    pub read: Pos,
}

/// When a mark rose, and to what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MarkTime {
    /// Unix milliseconds.
    pub at: u64,
    /// What it rose to.
    pub mark: Mark,
}

/// A member of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub user: UserRef,
    /// How far.
    pub mark: Mark,
    /// `counted` of the channel at `mark.read`: unread is the difference.
    pub read_counted: u64,
    /// Places above `mark.read` that mention the member, at most [`Member::MENTIONS`].
    pub mentions: Vec<Pos>,
    /// The last advances, at most [`Member::TIMES`].
    pub times: VecDeque<MarkTime>,
    /// Places above `mark.read` that the member has hidden, at most [`Member::HIDDEN`].
    pub hidden: Vec<Pos>,
    /// Whether the member has accepted the conversation: false for a first contact that waits, and for somebody
    /// invited into a group.
    pub accepted: bool,
    /// Of a group: the roster version that began what the member is now.
    pub since: u64,
    /// Of a group: left, declined or was removed; what was seen before can still be read.
    pub left: bool,
    /// Of a group: what the member may see, by rising place; none: everything.
    pub spans: Vec<Span>,
    /// The member, a user of this home, has blocked the other party of this chat: what that one writes from now
    /// on is hidden from the member. A copy of the row in the member's list of blocks, so that no message has to
    /// look it up. Never set in groups.
    pub blocking: bool,
    /// Something is hidden from the member, and nothing that came later of the other party has been read.
    pub veil: Option<Veil>,
    /// The member, a user of this home, has read on since it lets others see no more of that
    /// ([`Account::read_receipts`]): they are told of what was read up to here. Over with the first thing that is read
    /// when it lets them see again.
    pub discreet: Option<Pos>,
}

/// A part of a log that a member may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// From above here.
    pub above: Pos,
    /// Up to here; `None`: to the end.
    pub upto: Option<Pos>,
}

impl Span {
    /// Whether a place is in it.
    pub fn has(&self, pos: Pos) -> bool {
        pos > self.above && self.upto.is_none_or(|upto| pos <= upto)
    }
}

/// What a member is shown of a chat whose latest messages are hidden from it, because it has blocked their sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Veil {
    /// The first hidden entry. Others are told of the member's marks up to below it: a hidden message is neither
    /// delivered nor read.
    pub from: Pos,
    /// The latest message that the member is shown; 0 where there is none.
    pub last: Pos,
    /// When that came, in Unix milliseconds: the member's list is sorted by it.
    pub active_at: u64,
    /// The whole chat is hidden: it began with a message of somebody whom the member had blocked.
    pub unlisted: bool,
    /// The first message of the other party behind it that is not hidden. Then the member is shown the channel as it
    /// is, and marks from here on are told again.
    pub lifted: Option<Pos>,
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

/// Whether an account may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccountState {
    /// In use.
    Active,
    /// Shut by the operator; may be opened again.
    Disabled,
    /// Gone for good; the name is never given again.
    Deleted,
}

/// A user of this home.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// The name, never given to another person.
    pub local: Local,
    /// The id.
    pub user_id: UserId,
    /// How people see the user.
    pub display_name: String,
    /// Argon2id, as a PHC string; empty where the account is deleted.
    pub password: String,
    /// Unix milliseconds.
    pub created_at: u64,
    /// Whether it may be used.
    pub state: AccountState,
    /// The greatest time in a UUIDv7 that this user sent ahead of this home's clock, in Unix
    /// milliseconds. Ids up to here are looked up on disk (see `ids.rs`).
    pub ids_ahead_ms: u64,
    /// Who may add the user to groups without asking.
    pub groups_from: GroupsFrom,
    /// Who may see whether the user is online, and when the user was last seen.
    pub seen_by: SeenBy,
    /// Others see what the user has read, and the user what they have; false: neither. What was delivered is seen by all.
    pub read_receipts: bool,
}

/// Who may see whether a user is online, and when the user was last seen. Nobody whom the user has blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum SeenBy {
    /// Anybody.
    Everyone,
    /// Those in the user's contacts.
    #[default]
    Contacts,
    /// Nobody. Who hides sees nobody either.
    Nobody,
}

/// Who may add a user to groups without asking first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum GroupsFrom {
    /// Anybody whom the user has not blocked.
    Everyone,
    /// Those in the user's contacts.
    #[default]
    Contacts,
}

/// A user's lists of other users.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum UserList {
    /// Whom the user knows.
    Contacts,
    /// Of whom the user wants to hear nothing.
    Blocks,
}

/// The BLAKE3 hash of a bearer token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

/// A signed-in client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Whose.
    pub user: Local,
    /// Its token, hashed.
    pub token: TokenHash,
    /// What the user calls it.
    pub name: String,
    /// Unix milliseconds.
    pub created_at: u64,
    /// When it was last used, within the hour, in Unix milliseconds; 0: not known yet.
    pub seen_at: u64,
}

/// An invite to register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invite {
    /// The code, hashed like a token.
    pub code: TokenHash,
    /// The first characters, so that an operator can tell them apart.
    pub hint: String,
    /// Unix milliseconds.
    pub created_at: u64,
    /// Void from then on, in Unix milliseconds.
    pub expires_at: Option<u64>,
    /// How many may still register with it.
    pub uses_left: u32,
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

/// What an `op` has done: repeated within seven days it returns this and changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpDone {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// What.
    pub what: OpWhat,
}

/// What a change was, as far as its answer depends on it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OpWhat {
    /// It sent the message at that place.
    Sent {
        /// Of which channel.
        channel: ChannelId,
        /// Which entry.
        pos: Pos,
    },
    /// It changed something of the user's own, and its answer says no more than that.
    Own,
}

impl Member {
    /// Spans kept: whoever leaves and comes back more often sees the latest alone.
    pub const SPANS: usize = 16;

    /// Whether the member may see what stands at a place.
    pub fn sees(&self, pos: Pos) -> bool {
        self.spans.is_empty() || self.spans.iter().any(|span| span.has(pos))
    }

    /// Whether the member, a user of this home, wants to be in the group. In it is who is also named by the roster.
    pub fn agrees(&self) -> bool {
        self.spans.last().is_some_and(|span| span.upto.is_none())
    }

    /// Whether the member of a group, a user of this home, has been asked and has not answered.
    pub fn is_asked(&self) -> bool {
        !self.accepted && !self.left && !self.agrees()
    }

    /// The member of a group agrees: what comes above `head` can be seen.
    pub(crate) fn agree(&mut self, head: Pos) {
        self.spans.push(Span { above: head, upto: None });
        let more = self.spans.len().saturating_sub(Self::SPANS);
        self.spans.drain(..more);
    }

    /// The member of a group sees nothing above `head`. There is a span afterwards, for none at all would mean everything.
    pub(crate) fn shut(&mut self, head: Pos) {
        self.mentions.clear();
        for span in self.spans.iter_mut().filter(|span| span.upto.is_none()) {
            span.upto = Some(head);
        }
        if self.spans.is_empty() {
            self.spans.push(Span { above: head, upto: Some(head) });
        }
    }

    /// Times kept of a mark (DESIGN, "Ticks").
    pub const TIMES: usize = 32;
    /// Mentions counted above the read mark; more show as this many.
    pub const MENTIONS: usize = 100;
    /// Hidden messages remembered above the read mark: they only correct how many are unread, and what is hidden has
    /// mostly been read.
    pub const HIDDEN: usize = 100;

    /// A member who has seen nothing yet.
    pub fn new(user: UserRef, accepted: bool) -> Self {
        Self {
            user,
            mark: Mark::default(),
            read_counted: 0,
            mentions: Vec::new(),
            times: VecDeque::new(),
            hidden: Vec::new(),
            accepted,
            since: 0,
            left: false,
            spans: Vec::new(),
            blocking: false,
            veil: None,
            discreet: None,
        }
    }

    /// How far `viewer` is shown that the member has got: itself all of it, others what they are told, and of what was read
    /// nothing where the viewer does not see that ([`Account::read_receipts`]).
    pub fn mark_for(&self, viewer: &UserRef, sees_reads: bool) -> Mark {
        if self.user == *viewer {
            return self.mark;
        }
        let mark = self.told(self.mark);
        Mark { read: if sees_reads { mark.read } else { Pos(0) }, ..mark }
    }

    /// The member, a user of this home, is about to read on: others see it, or not.
    pub(crate) fn reads_on(&mut self, shown: bool) {
        let seen = self.discreet.unwrap_or(self.mark.read);
        self.discreet = (!shown).then_some(seen);
    }

    /// How far others are told that the member has got, where the member has got to `mark`.
    pub fn told(&self, mark: Mark) -> Mark {
        let read = self.discreet.map_or(mark.read, |seen| mark.read.min(seen));
        let mark = Mark { read, ..mark };
        let Some(veil) = &self.veil else { return mark };
        let below = Pos(veil.from.0.saturating_sub(1));
        let told = |pos: Pos| match veil.lifted {
            Some(lifted) if pos >= lifted => pos,
            Some(_) | None => pos.min(below),
        };
        Mark { delivered: told(mark.delivered), read: told(mark.read) }
    }

    /// What hides the channel's last message from the member, if it is hidden.
    pub(crate) fn hiding(&self) -> Option<&Veil> {
        self.veil.as_ref().filter(|veil| veil.lifted.is_none())
    }

    /// Whether the channel stands in the member's list.
    pub fn is_listed(&self) -> bool {
        self.veil.is_none_or(|veil| !veil.unlisted)
    }
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
