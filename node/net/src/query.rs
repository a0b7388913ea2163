//! `/homing/query/1`: one question, one answer, one stream.

use homing_wire::limits;
pub(crate) use homing_wire::proto::query::v1::query::Query as Question;
use homing_wire::proto::query::v1::{Answer, Query, Refusal, answer};
use libp2p::Stream;
use tokio::io::AsyncWriteExt as _;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};

use crate::codec::{FrameError, read_one, write_one};
use crate::handle::QueryError;
use crate::hello::{sentence, word};
use crate::streams::{OpenError, Opened};

/// Asks on a stream that is being opened. The caller bounds the time.
pub(crate) async fn ask(opened: Opened, query: Query) -> Result<Answer, QueryError> {
    let stream = match opened.await.unwrap_or(Err(OpenError::Gone)) {
        Ok(stream) => stream,
        Err(OpenError::Timeout) => return Err(QueryError::Timeout),
        Err(OpenError::Unsupported) => return Err(QueryError::Unsupported),
        Err(OpenError::Gone) => return Err(QueryError::Lost),
    };
    let mut stream = stream.compat();
    write_one(&mut stream, limits::QUERY_BYTES, query).await.map_err(asked)?;
    let answer: Answer = read_one(&mut stream, limits::ANSWER_BYTES).await.map_err(answered)?;
    // Our side is done; the peer has nothing more to say.
    let _ = stream.shutdown().await;
    match answer.answer {
        Some(answer::Answer::Refusal(refusal)) => Err(QueryError::Refused {
            reason: word(&refusal.reason),
            message: sentence(&refusal.message),
        }),
        Some(_) => Ok(answer),
        None => Err(QueryError::Malformed),
    }
}

fn asked(error: FrameError) -> QueryError {
    match error {
        FrameError::TooLarge { .. } => QueryError::TooLarge,
        FrameError::Malformed | FrameError::Io(_) => QueryError::Lost,
    }
}

fn answered(error: FrameError) -> QueryError {
    match error {
        FrameError::TooLarge { .. } | FrameError::Malformed => QueryError::Malformed,
        FrameError::Io(_) => QueryError::Lost,
    }
}

/// Reads a question.
pub(crate) async fn read(stream: &mut Compat<Stream>) -> Result<Query, &'static str> {
    read_one(stream, limits::QUERY_BYTES).await.map_err(|error| match error {
        FrameError::Malformed => "query_malformed",
        FrameError::TooLarge { .. } => "query_too_large",
        FrameError::Io(_) => "query_lost",
    })
}

/// Writes the answer. That the asker has gone is its own affair.
pub(crate) async fn answer(mut stream: Compat<Stream>, answer: Answer) {
    let mut written = write_one(&mut stream, limits::ANSWER_BYTES, answer).await;
    if let Err(FrameError::TooLarge { size, .. }) = written {
        tracing::error!(size, "an answer of our own is too large: a bug");
        let refusal = refusal("answer_too_large", "the answer is too large");
        written = write_one(&mut stream, limits::ANSWER_BYTES, refusal).await;
    }
    if let Err(error) = written {
        tracing::debug!(%error, "an answer was not sent");
    }
    let _ = stream.shutdown().await;
}

/// An answer that is none.
pub(crate) fn refusal(reason: &'static str, message: &str) -> Answer {
    Answer {
        answer: Some(answer::Answer::Refusal(Refusal {
            reason: reason.to_owned(),
            message: message.to_owned(),
        })),
    }
}
