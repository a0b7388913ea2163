//! Letters: what a home asks of a group's owner home, and what came of it. They go by number, in order, each once in
//! effect.

use bytes::Bytes;
use prost::Message as _;

use crate::address::{Local, UserRef};
use crate::event::MediaReference;
use crate::id::{ChannelId, Hash, OpId};
use crate::limits;
use crate::proto::group::v1 as pb;
use crate::roster::{Fence, Policy, Role, is_avatar};

/// The longest reason that is shown to people.
const REASON_BYTES: usize = 64;

/// What one home has for another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Letter {
    /// To the owner home.
    Command(Command),
    /// From it.
    Outcome(Outcome),
}

/// A change that a user of the sending home wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Of which group.
    pub group: ChannelId,
    /// The outcome names it.
    pub op: OpId,
    /// Who, a user of the sending home.
    pub user: Local,
    /// What.
    pub change: Change,
}

/// A change of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Asks users in.
    Invite(Vec<UserRef>),
    /// Takes users out.
    Remove(Vec<UserRef>),
    /// Changes the group or roles; what is not named stays.
    Update {
        /// How it is called.
        name: Option<String>,
        /// What stands for it, a file of the asking user's home; `Some(None)`: nothing any more.
        avatar: Option<Option<MediaReference>>,
        /// What members may do.
        policy: Option<Policy>,
        /// What users are to be.
        roles: Vec<(UserRef, Role)>,
    },
    /// Accepts an invitation, or comes by a link, whose secret it names.
    Join {
        /// BLAKE3 of nothing but the secret's bytes is what the owner home keeps.
        link: Option<[u8; 32]>,
    },
    /// Leaves, or declines.
    Leave {
        /// The version that began the tenure which is left.
        from: u64,
        /// What the leaver's home had written.
        fence: Option<Fence>,
    },
    /// Makes a link by which people can come.
    MakeLink {
        /// Void from then on, in Unix milliseconds.
        expires: Option<u64>,
        /// So many may come; `None`: any number.
        uses: Option<u32>,
        /// BLAKE3 of its secret.
        secret: Hash,
    },
    /// Makes a link void.
    DropLink {
        /// BLAKE3 of its secret.
        secret: Hash,
    },
}

/// What came of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Of which group.
    pub group: ChannelId,
    /// The command's.
    pub op: OpId,
    /// Why not, as a stable snake_case word; `None`: done.
    pub refused: Option<String>,
    /// What came of each user that it named, likewise.
    pub users: Vec<(UserRef, Option<String>)>,
    /// The version of the roster that shows it; 0: none was made.
    pub version: u64,
}

/// Why bytes are no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LetterError {
    /// Over [`limits::LETTER_BYTES`].
    #[error("letter too large")]
    TooLarge,
    /// It does not parse, or a field is not what it must be, or of a later version.
    #[error("letter does not parse")]
    Malformed,
}

impl LetterError {
    /// The stable word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "letter_too_large",
            Self::Malformed => "letter_malformed",
        }
    }
}

impl Letter {
    /// As it is kept and sent. Deterministic.
    pub fn encode(&self) -> Bytes {
        let letter = match self {
            Self::Command(command) => pb::letter::Letter::Command(command_out(command)),
            Self::Outcome(outcome) => pb::letter::Letter::Outcome(pb::Outcome {
                group: Bytes::copy_from_slice(outcome.group.as_bytes()),
                op: Bytes::copy_from_slice(outcome.op.as_bytes()),
                refused: outcome.refused.clone().unwrap_or_default(),
                users: outcome
                    .users
                    .iter()
                    .map(|(user, refused)| pb::UserOutcome {
                        user: user.to_string(),
                        refused: refused.clone().unwrap_or_default(),
                    })
                    .collect(),
                version: outcome.version,
            }),
        };
        pb::Letter { letter: Some(letter) }.encode_to_vec().into()
    }

    /// Reads a letter and checks every field.
    pub fn decode(bytes: &[u8]) -> Result<Self, LetterError> {
        if bytes.len() > limits::LETTER_BYTES {
            return Err(LetterError::TooLarge);
        }
        let raw = pb::Letter::decode(bytes).map_err(|_| LetterError::Malformed)?;
        match raw.letter {
            Some(pb::letter::Letter::Command(command)) => command_in(command).map(Self::Command),
            Some(pb::letter::Letter::Outcome(outcome)) => outcome_in(outcome).map(Self::Outcome),
            None => None,
        }
        .ok_or(LetterError::Malformed)
    }
}

fn command_out(command: &Command) -> pb::Command {
    use pb::command::What;
    let users =
        |users: &[UserRef]| pb::Users { users: users.iter().map(ToString::to_string).collect() };
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let what = match &command.change {
        Change::Invite(who) => What::Invite(users(who)),
        Change::Remove(who) => What::Remove(users(who)),
        Change::Update { name, avatar, policy, roles } => What::Update(pb::Update {
            name: name.clone(),
            avatar: avatar
                .as_ref()
                .map(|file| pb::AvatarChange { file: file.as_ref().map(MediaReference::to_proto) }),
            policy: policy.map(Policy::to_proto),
            roles: roles
                .iter()
                .map(|(user, role)| pb::RoleOf { user: user.to_string(), role: role.code() })
                .collect(),
        }),
        Change::Join { link } => {
            What::Join(pb::Join { link: link.as_ref().map_or_else(Bytes::new, |l| copy(l)) })
        }
        Change::Leave { from, fence } => {
            What::Leave(pb::Leave { from: *from, fence: fence.as_ref().map(Fence::to_proto) })
        }
        Change::MakeLink { expires, uses, secret } => What::MakeLink(pb::MakeLink {
            expires: expires.unwrap_or(0),
            uses: uses.unwrap_or(0),
            secret_hash: copy(&secret.0),
        }),
        Change::DropLink { secret } => {
            What::DropLink(pb::DropLink { secret_hash: copy(&secret.0) })
        }
    };
    pb::Command {
        group: copy(command.group.as_bytes()),
        op: copy(command.op.as_bytes()),
        user: command.user.as_str().to_owned(),
        what: Some(what),
    }
}

fn command_in(raw: pb::Command) -> Option<Command> {
    use pb::command::What;
    let change = match raw.what? {
        What::Invite(who) => Change::Invite(users_in(&who)?),
        What::Remove(who) => Change::Remove(users_in(&who)?),
        What::Update(update) => {
            if update.roles.len() > limits::ROSTER_MEMBERS {
                return None;
            }
            let role = |r: &pb::RoleOf| Some((r.user.parse().ok()?, Role::from_code(r.role)?));
            Change::Update {
                name: update.name,
                avatar: match update.avatar {
                    None => None,
                    Some(pb::AvatarChange { file: None }) => Some(None),
                    Some(pb::AvatarChange { file: Some(file) }) => {
                        Some(Some(MediaReference::from_proto(&file).filter(is_avatar)?))
                    }
                },
                policy: match &update.policy {
                    Some(policy) => Some(Policy::from_proto(policy)?),
                    None => None,
                },
                roles: update.roles.iter().map(role).collect::<Option<_>>()?,
            }
        }
        What::Join(join) => Change::Join {
            link: match &join.link[..] {
                [] => None,
                bytes => Some(bytes.try_into().ok()?),
            },
        },
        What::Leave(leave) => Change::Leave { from: leave.from, fence: fence_in(leave.fence)? },
        What::MakeLink(link) => Change::MakeLink {
            expires: (link.expires != 0).then_some(link.expires),
            uses: (link.uses != 0).then_some(link.uses),
            secret: Hash::from_slice(&link.secret_hash).ok()?,
        },
        What::DropLink(link) => {
            Change::DropLink { secret: Hash::from_slice(&link.secret_hash).ok()? }
        }
    };
    Some(Command {
        group: ChannelId::from_slice(&raw.group).ok()?,
        op: OpId::from_slice(&raw.op).ok()?,
        user: Local::canonical(&raw.user).ok()?,
        change,
    })
}

fn outcome_in(raw: pb::Outcome) -> Option<Outcome> {
    let reason = |text: String| -> Option<Option<String>> {
        (text.len() <= REASON_BYTES).then(|| (!text.is_empty()).then_some(text))
    };
    if raw.users.len() > limits::ROSTER_MEMBERS {
        return None;
    }
    Some(Outcome {
        group: ChannelId::from_slice(&raw.group).ok()?,
        op: OpId::from_slice(&raw.op).ok()?,
        refused: reason(raw.refused)?,
        users: raw
            .users
            .into_iter()
            .map(|user| Some((user.user.parse().ok()?, reason(user.refused)?)))
            .collect::<Option<_>>()?,
        version: raw.version,
    })
}

fn users_in(raw: &pb::Users) -> Option<Vec<UserRef>> {
    if raw.users.is_empty() || raw.users.len() > limits::ROSTER_MEMBERS {
        return None;
    }
    raw.users.iter().map(|user| user.parse().ok()).collect()
}

/// `Some(None)`: there is none.
fn fence_in(raw: Option<pb::Fence>) -> Option<Option<Fence>> {
    match raw {
        Some(raw) => Fence::from_proto(&raw).map(Some),
        None => Some(None),
    }
}
