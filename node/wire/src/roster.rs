//! Rosters: who is, and was, in a group, signed by its owner home.
//!
//! A roster is whole: it lists what every member's role was at every version, so that whoever holds the newest one can
//! judge any event of the group, whichever version the event names ([`Roster::may`]). Nothing in it is ever taken
//! back within one life of the owner home ([`Roster::follows`]).

use bytes::Bytes;
use prost::Message as _;

use crate::address::UserRef;
use crate::event::MediaReference;
use crate::heads::{ProofError, SigningKeys, Signs, Verifies};
use crate::id::{ChannelId, Epoch, Hash, HomeId, Seq};
use crate::limits;
use crate::proto::group::v1 as pb;
use crate::record::HomeRecord;

/// Separates these signatures from every other use of the key.
const CONTEXT: &[u8] = b"homing roster v1\0";

/// What a user is in a group. A greater one may do whatever a lesser one may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Asked, and has not answered.
    Invited,
    /// In it.
    Member,
    /// May change members and their roles.
    Admin,
    /// May do everything; there is always one at least.
    Owner,
}

impl Role {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        match self {
            Self::Invited => 1,
            Self::Member => 2,
            Self::Admin => 3,
            Self::Owner => 4,
        }
    }

    /// From the number on the wire.
    pub fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Invited),
            2 => Some(Self::Member),
            3 => Some(Self::Admin),
            4 => Some(Self::Owner),
            _ => None,
        }
    }
}

/// Who may do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Every member.
    Everybody,
    /// Admins and owners.
    Admins,
}

impl Who {
    /// Whether somebody of that role is among them.
    pub fn includes(self, role: Role) -> bool {
        match self {
            Self::Everybody => role >= Role::Member,
            Self::Admins => role >= Role::Admin,
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::Everybody => 1,
            Self::Admins => 2,
        }
    }

    /// From the number on the wire.
    pub fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Everybody),
            2 => Some(Self::Admins),
            _ => None,
        }
    }
}

/// What newcomers see of what was written before them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RosterHistory {
    /// Nothing.
    Nothing,
    /// What was written since they were added.
    Joined,
    /// Everything.
    All,
}

impl RosterHistory {
    fn code(self) -> u32 {
        match self {
            Self::Nothing => 1,
            Self::Joined => 2,
            Self::All => 3,
        }
    }

    /// From the number on the wire.
    pub fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Nothing),
            2 => Some(Self::Joined),
            3 => Some(Self::All),
            _ => None,
        }
    }
}

/// What members may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Who may ask others in.
    pub invite: Who,
    /// Who may write.
    pub write: Who,
    /// Who may change the name and the avatar.
    pub change: Who,
    /// What newcomers see.
    pub history: RosterHistory,
}

impl Default for Policy {
    /// As people expect of a group of friends; admins alone change who is in it.
    fn default() -> Self {
        Self {
            invite: Who::Admins,
            write: Who::Everybody,
            change: Who::Admins,
            history: RosterHistory::Joined,
        }
    }
}

impl Policy {
    /// As it is on the wire.
    pub fn to_proto(self) -> pb::Policy {
        pb::Policy {
            invite: self.invite.code(),
            write: self.write.code(),
            change: self.change.code(),
            history: self.history.code(),
        }
    }

    /// From the wire; `None`: a field is missing, or of a later version.
    pub fn from_proto(raw: &pb::Policy) -> Option<Self> {
        Some(Self {
            invite: Who::from_code(raw.invite)?,
            write: Who::from_code(raw.write)?,
            change: Who::from_code(raw.change)?,
            history: RosterHistory::from_code(raw.history)?,
        })
    }
}

/// An event's place in what its home has written in a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ChainPos {
    /// The life of the home's store.
    pub epoch: Epoch,
    /// The event's number there.
    pub seq: Seq,
}

/// Up to where what a home has written counts, life by life. Of a life that is not listed nothing does: a home that
/// was told to stop can begin a chain in any life it likes, below its latest one, too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence(Vec<ChainPos>);

impl Fence {
    /// Nothing counts.
    pub const NOTHING: Self = Self(Vec::new());

    /// The ends of a home's chains. Of more than [`limits::LIVES`], the latest.
    pub fn new(ends: impl IntoIterator<Item = ChainPos>) -> Self {
        let mut ends: Vec<ChainPos> = ends.into_iter().collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.dedup_by_key(|end| end.epoch);
        ends.truncate(limits::LIVES);
        ends.reverse();
        Self(ends)
    }

    /// By rising life.
    pub fn ends(&self) -> &[ChainPos] {
        &self.0
    }

    /// The last event of a life that counts; 0: none does.
    pub fn end_of(&self, epoch: Epoch) -> Seq {
        self.0.iter().find(|end| end.epoch == epoch).map_or(Seq(0), |end| end.seq)
    }

    /// Whether an event counts.
    pub fn covers(&self, at: ChainPos) -> bool {
        at.seq <= self.end_of(at.epoch)
    }

    /// As it is on the wire.
    pub fn to_proto(&self) -> pb::Fence {
        let life = |end: &ChainPos| pb::ChainPos { epoch: end.epoch.0, seq: end.seq.0 };
        pb::Fence { lives: self.0.iter().map(life).collect() }
    }

    /// From the wire; `None`: too many lives, or not in order, or numbers over 48 bits.
    pub fn from_proto(raw: &pb::Fence) -> Option<Self> {
        let counter = |n: u64| n >> 48 == 0;
        let sound = raw.lives.len() <= limits::LIVES
            && raw.lives.is_sorted_by(|a, b| a.epoch < b.epoch)
            && raw.lives.iter().all(|end| counter(end.epoch) && counter(end.seq));
        let end = |raw: &pb::ChainPos| ChainPos { epoch: Epoch(raw.epoch), seq: Seq(raw.seq) };
        sound.then(|| Self(raw.lives.iter().map(end).collect()))
    }
}

/// A policy, and since when it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicySpan {
    /// Since that version.
    pub from: u64,
    /// What.
    pub policy: Policy,
    /// Where it took the right to write: what each home had written, as the owner home held it. Events of a home that
    /// is not listed are not fenced.
    pub fences: Vec<(HomeId, Fence)>,
}

/// A time during which a user's role did not change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tenure {
    /// Whose.
    pub user: UserRef,
    /// What the user was.
    pub role: Role,
    /// The version that began it.
    pub from: u64,
    /// The version that ended it.
    pub until: Option<u64>,
    /// Where its end took a right: events of the user beyond it that name an earlier version do not count.
    pub fence: Option<Fence>,
    /// Who began it.
    pub by: UserRef,
}

impl Tenure {
    fn covers(&self, version: u64) -> bool {
        self.from <= version && self.until.is_none_or(|until| version < until)
    }
}

/// What an event does that not everybody may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Write.
    Write,
    /// Delete what others wrote.
    Moderate,
}

/// Why an event does not count under a roster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// The version that it names did not give its sender the right.
    NoRight,
    /// The right was taken away, and the event is beyond what then counted.
    Fenced,
    /// It names a version that this roster is behind of.
    Newer,
}

/// A group's roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    /// The group.
    pub group: ChannelId,
    /// The home that alone changes it.
    pub owner: HomeId,
    /// The life of the owner home's store in which it was signed.
    pub epoch: Epoch,
    /// Rises, by one within a life; never below `epoch`, so that a later life's are greater.
    pub version: u64,
    /// Unix milliseconds.
    pub at: u64,
    /// BLAKE3 of the encoded roster before; [`Hash::NONE`] for the first.
    pub prev: Hash,
    /// How people call the group.
    pub name: String,
    /// Policies by rising `from`; the last holds. Never none.
    pub policies: Vec<PolicySpan>,
    /// Tenures by rising `from`.
    pub tenures: Vec<Tenure>,
    /// The abandoned group that this one goes on with.
    pub continues: Option<ChannelId>,
    /// An image that stands for the group, of any home.
    pub avatar: Option<MediaReference>,
}

/// Why bytes are no roster, or are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Over [`limits::ROSTER_BYTES`].
    #[error("roster too large")]
    TooLarge,
    /// Not Protocol Buffers.
    #[error("roster does not parse")]
    Malformed,
    /// A field is missing or not what it must be.
    #[error("roster field {0} is wrong")]
    Field(&'static str),
    /// The record beside it is not the owner home's, or not believed.
    #[error("the owner home's record beside the roster is wrong")]
    Record,
    /// Not signed by a key of the owner home.
    #[error("roster is not signed by its owner home")]
    Signature,
}

impl RosterError {
    /// The stable word for the API, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "roster_too_large",
            Self::Malformed => "roster_malformed",
            Self::Field(_) => "roster_field",
            Self::Record => "roster_record",
            Self::Signature => "roster_signature",
        }
    }
}

impl Roster {
    /// The policy that holds.
    pub fn policy(&self) -> Policy {
        self.policies.last().map_or_else(Policy::default, |span| span.policy)
    }

    fn policy_at(&self, version: u64) -> Option<&PolicySpan> {
        self.policies.iter().rev().find(|span| span.from <= version)
    }

    /// The present tenures, invitations included.
    pub fn present(&self) -> impl Iterator<Item = &Tenure> {
        self.tenures.iter().filter(|tenure| tenure.until.is_none())
    }

    /// A user's present tenure.
    pub fn tenure(&self, user: &UserRef) -> Option<&Tenure> {
        self.present().find(|tenure| tenure.user == *user)
    }

    /// A user's present role.
    pub fn role(&self, user: &UserRef) -> Option<Role> {
        self.tenure(user).map(|tenure| tenure.role)
    }

    /// Since which version, without a break, a user has been named: invited, or more.
    pub fn named_since(&self, user: &UserRef) -> Option<u64> {
        since(self.tenures.iter().filter(|t| t.user == *user), Role::Invited)
    }

    /// Since which version, without a break, a user has been a member at least.
    pub fn member_since(&self, user: &UserRef) -> Option<u64> {
        since(self.tenures.iter().filter(|t| t.user == *user), Role::Member)
    }

    /// Since which version, without a break, a home has had a member.
    pub fn home_since(&self, home: &HomeId) -> Option<u64> {
        since(self.tenures.iter().filter(|t| t.user.home == *home), Role::Member)
    }

    /// Since which version, without a break, a home had a member when a version held; `None`: it had none.
    pub fn home_in_at(&self, home: &HomeId, version: u64) -> Option<u64> {
        let members =
            || self.tenures.iter().filter(|t| t.user.home == *home && t.role >= Role::Member);
        let there = members().filter(|t| t.covers(version)).map(|t| t.from).min()?;
        Some(unbroken(&members().collect::<Vec<_>>(), there))
    }

    /// The first version above another in which a home came to have a member.
    pub fn home_next_in(&self, home: &HomeId, version: u64) -> Option<u64> {
        let members =
            self.tenures.iter().filter(|t| t.user.home == *home && t.role >= Role::Member);
        members.map(|t| t.from).filter(|from| *from > version).min()
    }

    /// Whether a user had a right in a version: by role and policy.
    fn had(&self, user: &UserRef, right: Right, version: u64) -> bool {
        let tenure = self.tenures.iter().find(|t| t.user == *user && t.covers(version));
        let (Some(tenure), Some(span)) = (tenure, self.policy_at(version)) else { return false };
        match right {
            Right::Write => span.policy.write.includes(tenure.role),
            Right::Moderate => tenure.role >= Role::Admin,
        }
    }

    /// Whether an event counts by which `user` uses `right`, naming `version`, at `at` of its chain. A later roster of the
    /// same life of the owner home may turn a yes into a no, never back.
    pub fn may(
        &self,
        user: &UserRef,
        right: Right,
        version: u64,
        at: ChainPos,
    ) -> Result<(), Unfit> {
        if version > self.version {
            return Err(Unfit::Newer);
        }
        if !self.had(user, right, version) {
            return Err(Unfit::NoRight);
        }
        let ends = self
            .tenures
            .iter()
            .filter(|t| t.user == *user)
            .filter_map(|t| Some((t.until?, t.fence.as_ref()?)));
        let shut = self.policies.iter().filter(|span| span.from > version).filter_map(|span| {
            let fence = span.fences.iter().find(|(home, _)| *home == user.home)?;
            Some((span.from, &fence.1))
        });
        let fenced = ends
            .chain(shut)
            .any(|(end, fence)| end > version && !fence.covers(at) && !self.had(user, right, end));
        if fenced { Err(Unfit::Fenced) } else { Ok(()) }
    }

    /// Whether this one may come after `older`, which is of the same group: it takes nothing back that `older` says. A
    /// later life of the owner home may: its operator has begun it because something was lost.
    pub fn follows(&self, older: &Self) -> bool {
        if self.group != older.group || self.owner != older.owner {
            return false;
        }
        if self.epoch != older.epoch {
            return self.epoch > older.epoch;
        }
        if self.version <= older.version || self.continues != older.continues {
            return false;
        }
        if self.version == older.version + 1 && self.prev != older.hash() {
            return false;
        }
        let new = |from: u64| from > older.version;
        let kept = |mine: &Tenure, theirs: &Tenure| {
            let same = mine.user == theirs.user
                && mine.role == theirs.role
                && mine.from == theirs.from
                && mine.by == theirs.by;
            let ended = match theirs.until {
                Some(_) => mine.until == theirs.until && mine.fence == theirs.fence,
                None => mine.until.is_none_or(new),
            };
            same && ended
        };
        let tenures = older.tenures.len() <= self.tenures.len()
            && self.tenures.iter().zip(&older.tenures).all(|(mine, theirs)| kept(mine, theirs))
            && self.tenures.iter().skip(older.tenures.len()).all(|tenure| new(tenure.from));
        let policies = older.policies.len() <= self.policies.len()
            && self.policies.iter().zip(&older.policies).all(|(mine, theirs)| mine == theirs)
            && self.policies.iter().skip(older.policies.len()).all(|span| new(span.from));
        tenures && policies
    }

    /// BLAKE3 of the encoded roster.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.encode())
    }

    /// As it is signed. Deterministic.
    pub fn encode(&self) -> Bytes {
        let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        pb::Roster {
            group: copy(self.group.as_bytes()),
            owner: copy(&self.owner.0),
            epoch: self.epoch.0,
            version: self.version,
            at: self.at,
            prev: copy(&self.prev.0),
            name: self.name.clone(),
            policies: self
                .policies
                .iter()
                .map(|span| pb::PolicySpan {
                    from: span.from,
                    policy: Some(span.policy.to_proto()),
                    fences: span
                        .fences
                        .iter()
                        .map(|(home, fence)| pb::HomeFence {
                            home: copy(&home.0),
                            fence: Some(fence.to_proto()),
                        })
                        .collect(),
                })
                .collect(),
            tenures: self
                .tenures
                .iter()
                .map(|t| pb::Tenure {
                    user: t.user.to_string(),
                    role: t.role.code(),
                    from: t.from,
                    until: t.until.unwrap_or(0),
                    fence: t.fence.as_ref().map(Fence::to_proto),
                    by: t.by.to_string(),
                })
                .collect(),
            continues: self.continues.map_or_else(Bytes::new, |group| copy(group.as_bytes())),
            avatar: self.avatar.as_ref().map(MediaReference::to_proto),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads a roster and checks that it makes sense by itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, RosterError> {
        use RosterError::Field;
        if bytes.len() > limits::ROSTER_BYTES {
            return Err(RosterError::TooLarge);
        }
        let raw = pb::Roster::decode(bytes).map_err(|_| RosterError::Malformed)?;
        // Both are 48 bits wide wherever they are kept or sorted.
        let counter = |n: u64| n != 0 && n >> 48 == 0;
        if !counter(raw.epoch) {
            return Err(Field("epoch"));
        }
        if !counter(raw.version) || raw.version < raw.epoch {
            return Err(Field("version"));
        }
        if raw.name.is_empty() || raw.name.len() > limits::GROUP_NAME_BYTES {
            return Err(Field("name"));
        }
        if raw.tenures.len() > limits::ROSTER_TENURES {
            return Err(Field("tenures"));
        }
        if raw.policies.is_empty() || raw.policies.len() > limits::ROSTER_POLICIES {
            return Err(Field("policies"));
        }
        let roster = Self {
            group: ChannelId::from_slice(&raw.group)
                .ok()
                .filter(|group| *group != ChannelId::NONE)
                .ok_or(Field("group"))?,
            owner: HomeId::from_slice(&raw.owner).map_err(|_| Field("owner"))?,
            epoch: Epoch(raw.epoch),
            version: raw.version,
            at: raw.at,
            prev: Hash::from_slice(&raw.prev).map_err(|_| Field("prev"))?,
            name: raw.name,
            policies: raw
                .policies
                .iter()
                .map(|span| span_in(span).ok_or(Field("policies")))
                .collect::<Result<_, _>>()?,
            tenures: raw
                .tenures
                .iter()
                .map(|tenure| tenure_in(tenure).ok_or(Field("tenures")))
                .collect::<Result<_, _>>()?,
            continues: match &raw.continues[..] {
                [] => None,
                bytes => Some(ChannelId::from_slice(bytes).map_err(|_| Field("continues"))?),
            },
            avatar: match &raw.avatar {
                None => None,
                Some(avatar) => {
                    let avatar = MediaReference::from_proto(avatar).filter(is_avatar);
                    Some(avatar.ok_or(Field("avatar"))?)
                }
            },
        };
        roster.check()?;
        Ok(roster)
    }

    /// What every roster keeps to.
    fn check(&self) -> Result<(), RosterError> {
        use RosterError::Field;
        let rising = |a: &PolicySpan, b: &PolicySpan| a.from < b.from;
        if !self.policies.is_sorted_by(rising)
            || self
                .policies
                .iter()
                .any(|s| s.from > self.version || s.fences.len() > limits::ROSTER_MEMBERS)
        {
            return Err(Field("policies"));
        }
        if !self.tenures.is_sorted_by_key(|tenure| tenure.from) {
            return Err(Field("tenures"));
        }
        let mut open: std::collections::HashMap<&UserRef, Option<u64>> =
            std::collections::HashMap::new();
        for tenure in &self.tenures {
            let ends =
                tenure.until.is_none_or(|until| tenure.from < until && until <= self.version);
            if tenure.from > self.version || !ends || tenure.user.home == HomeId::LOCAL {
                return Err(Field("tenures"));
            }
            // One role at a time.
            if let Some(before) = open.insert(&tenure.user, tenure.until)
                && before.is_none_or(|until| until > tenure.from)
            {
                return Err(Field("tenures"));
            }
        }
        if self.present().count() > limits::ROSTER_MEMBERS {
            return Err(Field("members"));
        }
        // Owners are of the owner home, and while anybody of it is in the group, there is one.
        let mut owners = self.present().filter(|t| t.role == Role::Owner).peekable();
        let here = |t: &Tenure| t.user.home == self.owner && t.role >= Role::Member;
        let lacking = owners.peek().is_none() && self.present().any(here);
        if lacking || owners.any(|t| t.user.home != self.owner) {
            return Err(Field("owner"));
        }
        Ok(())
    }

    /// Signs it. `record`: the owner home's own, signed, which goes along.
    pub fn sign(self, key: &dyn Signs, record: Bytes) -> SignedRoster {
        let bytes = self.encode();
        let signature = key.sign(&[CONTEXT, &bytes].concat());
        let signed = pb::SignedRoster {
            roster: bytes.clone(),
            key: Bytes::copy_from_slice(&key.public()),
            signature: Bytes::copy_from_slice(&signature),
            record,
        };
        SignedRoster { hash: Hash::of(&bytes), roster: self, bytes: signed.encode_to_vec().into() }
    }
}

/// A roster whose signature has been checked, with the bytes that prove it to anybody. Made by [`Roster::sign`] and
/// [`SignedRoster::verify`], or read from where one of them was stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedRoster {
    roster: Roster,
    hash: Hash,
    bytes: Bytes,
}

impl SignedRoster {
    /// What it says.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// BLAKE3 of the roster, as the next one names it.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// `homing.group.v1.SignedRoster`.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Reads a `SignedRoster`: signed by a key of the record beside it, which is the owner home's.
    pub fn verify(bytes: Bytes) -> Result<Self, RosterError> {
        let signed = Self::read(&bytes)?;
        let record = HomeRecord::verify(&signed.record).map_err(|_| RosterError::Record)?;
        let keys = SigningKeys(record.signing_keys.clone());
        Self::checked(bytes, &signed, record.home_id(), &keys)
    }

    /// Like [`SignedRoster::verify`], where the owner home's keys are known and checked in another way.
    pub fn verify_with(
        bytes: Bytes,
        owner: HomeId,
        keys: &dyn Verifies,
    ) -> Result<Self, RosterError> {
        let signed = Self::read(&bytes)?;
        Self::checked(bytes, &signed, owner, keys)
    }

    /// One that this home has stored, having checked it before.
    pub fn stored(bytes: Bytes) -> Result<Self, RosterError> {
        let signed = Self::read(&bytes)?;
        let roster = Roster::decode(&signed.roster)?;
        Ok(Self { roster, hash: Hash::of(&signed.roster), bytes })
    }

    fn read(bytes: &Bytes) -> Result<pb::SignedRoster, RosterError> {
        if bytes.len() > limits::ROSTER_BYTES {
            return Err(RosterError::TooLarge);
        }
        pb::SignedRoster::decode(&bytes[..]).map_err(|_| RosterError::Malformed)
    }

    fn checked(
        bytes: Bytes,
        signed: &pb::SignedRoster,
        owner: HomeId,
        keys: &dyn Verifies,
    ) -> Result<Self, RosterError> {
        let key: [u8; 32] = signed.key[..].try_into().map_err(|_| RosterError::Malformed)?;
        let signature: [u8; 64] =
            signed.signature[..].try_into().map_err(|_| RosterError::Malformed)?;
        keys.verify(&key, &[CONTEXT, &signed.roster].concat(), &signature).map_err(|error| {
            match error {
                ProofError::Key | ProofError::Signature | ProofError::TooMany => {
                    RosterError::Signature
                }
                ProofError::Malformed => RosterError::Malformed,
            }
        })?;
        let roster = Roster::decode(&signed.roster)?;
        if roster.owner != owner {
            return Err(RosterError::Record);
        }
        Ok(Self { roster, hash: Hash::of(&signed.roster), bytes })
    }
}

/// From which version on somebody of these has been that at least, up to now and without a break.
fn since<'a>(tenures: impl Iterator<Item = &'a Tenure>, role: Role) -> Option<u64> {
    let members: Vec<&Tenure> = tenures.filter(|t| t.role >= role).collect();
    let start = members.iter().filter(|t| t.until.is_none()).map(|t| t.from).min()?;
    Some(unbroken(&members, start))
}

/// Where the time without a break began that goes on at `start`.
fn unbroken(members: &[&Tenure], mut start: u64) -> u64 {
    // Whoever was there until then, or longer, carries it on backwards.
    while let Some(earlier) = members
        .iter()
        .filter(|t| t.from < start && t.until.is_none_or(|until| until >= start))
        .map(|t| t.from)
        .min()
    {
        start = earlier;
    }
    start
}

/// Whether a file can be an avatar, as far as its name says.
pub(crate) fn is_avatar(file: &MediaReference) -> bool {
    file.size != 0 && file.home != HomeId::LOCAL
}

fn span_in(raw: &pb::PolicySpan) -> Option<PolicySpan> {
    Some(PolicySpan {
        from: raw.from,
        policy: Policy::from_proto(raw.policy.as_ref()?)?,
        fences: raw
            .fences
            .iter()
            .map(|f| {
                Some((HomeId::from_slice(&f.home).ok()?, Fence::from_proto(f.fence.as_ref()?)?))
            })
            .collect::<Option<_>>()?,
    })
}

fn tenure_in(raw: &pb::Tenure) -> Option<Tenure> {
    let fence = match &raw.fence {
        Some(fence) => Some(Fence::from_proto(fence)?),
        None => None,
    };
    let until = (raw.until != 0).then_some(raw.until);
    if fence.is_some() && until.is_none() {
        return None;
    }
    Some(Tenure {
        user: raw.user.parse().ok()?,
        role: Role::from_code(raw.role)?,
        from: raw.from,
        until,
        fence,
        by: raw.by.parse().ok()?,
    })
}
