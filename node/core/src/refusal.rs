//! Why the core refuses. A refusal has changed nothing.

use homing_wire::UserRef;

use crate::reader::Fault;

/// The class of a refusal; the link gives each its error code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The parameters cannot be right.
    Invalid,
    /// The user may not.
    NotAllowed,
    /// It is not there, or not for this user to know.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// A limit is reached.
    Limit,
    /// Not now: the same may be asked again in a while.
    Later,
}

/// A typed refusal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refusal {
    /// The class.
    pub class: Class,
    /// A stable snake_case word.
    pub reason: &'static str,
    /// For people.
    pub message: &'static str,
    /// The limit that was met, where one was.
    pub limit: Option<u64>,
    /// Because of whom, where a command names several. Boxed: refusals are handed about by value.
    pub user: Option<Box<UserRef>>,
}

impl Refusal {
    /// A refusal.
    pub const fn new(class: Class, reason: &'static str, message: &'static str) -> Self {
        Self { class, reason, message, limit: None, user: None }
    }

    /// Names the limit that was met.
    #[must_use]
    pub const fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Names because of whom.
    #[must_use]
    pub fn about(mut self, user: &UserRef) -> Self {
        self.user = Some(Box::new(user.clone()));
        self
    }
}

/// Why a command was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The caller is told; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store cannot be read; the owner stops.
    #[error(transparent)]
    Fault(#[from] Fault),
}

pub(crate) const NO_CHANNEL: Refusal =
    Refusal::new(Class::NotFound, "channel_not_found", "there is no such channel of yours");
pub(crate) const NO_USER: Refusal =
    Refusal::new(Class::NotFound, "user_not_found", "there is no such user");
pub(crate) const OP_REUSED: Refusal = Refusal::new(
    Class::Conflict,
    "op_reused",
    "this op names another change of yours: make a new one",
);
pub(crate) const BAD_CREDENTIALS: Refusal =
    Refusal::new(Class::NotAllowed, "bad_credentials", "the password is wrong");
pub(crate) const DISABLED: Refusal = Refusal::new(
    Class::NotAllowed,
    "user_disabled",
    "this account is shut: ask its home's operator",
);
