//! What can go wrong, and whose turn it is then.

use std::time::Duration;

use serde::Deserialize;

/// A call that the home refused. It has changed nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The JSON-RPC code, such as −32004.
    pub code: i64,
    /// The stable snake_case word (`data.reason`); empty where the home gave none.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When to try again, where the home says so.
    pub retry_after: Option<Duration>,
    /// The limit that was met: bytes unless it is a count.
    pub limit: Option<u64>,
}

impl Refusal {
    /// Not signed in.
    pub const NOT_SIGNED_IN: i64 = -32001;
    /// Not found.
    pub const NOT_FOUND: i64 = -32004;
    /// Busy: try again after `retry_after`.
    pub const BUSY: i64 = -32005;
    /// A conflict; with reason `resync` the client's place is void.
    pub const CONFLICT: i64 = -32008;
}

/// Why something with a home did not work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call was refused by the home.
    #[error("{}", say_refusal(.0))]
    Refused(Refusal),
    /// An HTTP call was refused by the home.
    #[error("{message} ({code})")]
    Http {
        /// The HTTP status.
        status: u16,
        /// The stable snake_case word.
        code: String,
        /// For people.
        message: String,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The address of a server is not one.
    #[error(
        "{given:?} is no server address: {why} (expected something like http://127.0.0.1:8080)"
    )]
    BadServer {
        /// What was given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// The home did not answer.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// Whom.
        server: String,
        /// What the network said.
        why: String,
    },
    /// The home closed the socket, or the socket broke, and the client does not reconnect.
    #[error("the connection was closed{}: {why}", code.map(|c| format!(" ({c})")).unwrap_or_default())]
    Closed {
        /// The WebSocket close code, where there was one.
        code: Option<u16>,
        /// The reason as given.
        why: String,
    },
    /// The token is not, or no longer, good: log in again.
    #[error("not signed in: log in again ({why})")]
    SignedOut {
        /// The home's words.
        why: String,
    },
    /// What came from the server is not what the contract says.
    #[error("the server's answer is not understood: {0}")]
    Garbled(String),
    /// What was to be sent cannot be written as JSON.
    #[error("this cannot be sent: {0}")]
    Unsendable(String),
    /// A file of one's own cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        why: String,
    },
    /// A file that was uploaded is another one now than at the beginning.
    #[error("{path} has changed while it was uploaded")]
    FileChanged {
        /// Which.
        path: String,
    },
    /// What was downloaded is not the file that the message names.
    #[error("what came is not the file that was sent: its hash is another")]
    WrongHash,
    /// The client was closed by its own program.
    #[error("the client was closed")]
    Stopped,
}

impl Error {
    /// A stable snake_case word for logs and scripts: the home's own where it gave one.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused(refusal) if !refusal.reason.is_empty() => &refusal.reason,
            Self::Refused(_) => "refused",
            Self::Http { code, .. } => code,
            Self::BadServer { .. } => "bad_server",
            Self::Unreachable { .. } => "unreachable",
            Self::Closed { .. } => "closed",
            Self::SignedOut { .. } => "signed_out",
            Self::Garbled(_) => "garbled",
            Self::Unsendable(_) => "unsendable",
            Self::File { .. } => "file_error",
            Self::FileChanged { .. } => "file_changed",
            Self::WrongHash => "wrong_hash",
            Self::Stopped => "stopped",
        }
    }

    /// The JSON-RPC code of a refused call.
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Http { .. }
            | Self::BadServer { .. }
            | Self::Unreachable { .. }
            | Self::Closed { .. }
            | Self::SignedOut { .. }
            | Self::Garbled(_)
            | Self::Unsendable(_)
            | Self::File { .. }
            | Self::FileChanged { .. }
            | Self::WrongHash
            | Self::Stopped => None,
        }
    }

    /// How long the home asks to wait before the same is tried again; `None` where trying again makes no sense.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(r) if r.code == Refusal::BUSY => {
                Some(r.retry_after.unwrap_or(Duration::from_millis(500)))
            }
            Self::Http { retry_after, .. } => *retry_after,
            Self::Refused(_)
            | Self::BadServer { .. }
            | Self::Unreachable { .. }
            | Self::Closed { .. }
            | Self::SignedOut { .. }
            | Self::Garbled(_)
            | Self::Unsendable(_)
            | Self::File { .. }
            | Self::FileChanged { .. }
            | Self::WrongHash
            | Self::Stopped => None,
        }
    }

    /// Whether `session.open` says that the stored place is void.
    pub(crate) fn is_resync(&self) -> bool {
        matches!(self, Self::Refused(r) if r.code == Refusal::CONFLICT && r.reason == "resync")
    }

    /// Whether reconnecting is pointless.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::SignedOut { .. }
            | Self::Stopped
            | Self::BadServer { .. }
            | Self::File { .. }
            | Self::FileChanged { .. }
            | Self::WrongHash => true,
            Self::Refused(r) => r.code != Refusal::BUSY,
            Self::Http { .. }
            | Self::Unreachable { .. }
            | Self::Closed { .. }
            | Self::Garbled(_)
            | Self::Unsendable(_) => false,
        }
    }
}

fn say_refusal(refusal: &Refusal) -> String {
    if refusal.reason.is_empty() {
        format!("{} ({})", refusal.message, refusal.code)
    } else {
        format!("{} ({})", refusal.message, refusal.reason)
    }
}

/// The error object of JSON-RPC, as it comes.
#[derive(Deserialize)]
pub(crate) struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<ErrorData>,
}

#[derive(Deserialize)]
struct ErrorData {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    limit: Option<u64>,
}

impl std::convert::From<ErrorObject> for Error {
    fn from(object: ErrorObject) -> Self {
        let (reason, retry_after, limit) = match object.data {
            Some(data) => (data.reason, data.retry_after_ms.map(Duration::from_millis), data.limit),
            None => (String::new(), None, None),
        };
        Self::Refused(Refusal {
            code: object.code,
            reason,
            message: object.message,
            retry_after,
            limit,
        })
    }
}
