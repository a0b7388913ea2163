//! Refusals: a code, a stable word, a sentence for people.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The error codes of the client contract, and the standard ones of JSON-RPC 2.0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Code {
    /// −32600: not a JSON-RPC request.
    InvalidRequest,
    /// −32601
    MethodNotFound,
    /// −32602
    InvalidParams,
    /// −32603: a fault of the node; its log says which.
    Internal,
    /// −32700: not JSON.
    Parse,
    /// −32001
    NotSignedIn,
    /// −32003
    NotAllowed,
    /// −32004
    NotFound,
    /// −32005: try again after `retry_after_ms`.
    Busy,
    /// −32006
    TooLarge,
    /// −32007: another home could not be reached; nothing was changed.
    Unreachable,
    /// −32008
    Conflict,
    /// −32009
    LimitReached,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> i32 {
        match self {
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::Parse => -32700,
            Self::NotSignedIn => -32001,
            Self::NotAllowed => -32003,
            Self::NotFound => -32004,
            Self::Busy => -32005,
            Self::TooLarge => -32006,
            Self::Unreachable => -32007,
            Self::Conflict => -32008,
            Self::LimitReached => -32009,
        }
    }
}

/// A call that was refused. It has changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refused {
    /// The class.
    pub code: Code,
    /// A stable snake_case word; the same in answers, metrics and logs.
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: Cow<'static, str>,
    /// The limit that was met, where one was: bytes unless it is a count.
    pub limit: Option<u64>,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Refused {
    /// A refusal with a fixed word and sentence.
    pub fn new(
        code: Code,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            limit: None,
            retry_after_ms: None,
        }
    }

    /// Names the limit that was met.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn with_retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}
