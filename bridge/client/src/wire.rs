//! JSON-RPC frames: calls out, answers and notifications in, without building a tree of values.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::error::{Error, ErrorObject};
use crate::types::{Channel, Message, Opened, Presence, Receipt, Typing};

/// What a home says of its own accord, and what happens to the connection.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message, new or changed.
    Message(Box<Message>),
    /// How far somebody has got.
    Receipt(Receipt),
    /// A channel, new or changed.
    Channel(Box<Channel>),
    /// Somebody came or went.
    Presence(Presence),
    /// Somebody is writing, or no longer.
    Typing(Typing),
    /// A notification this client does not know.
    Other {
        /// Its name.
        method: String,
        /// What came with it.
        params: Box<RawValue>,
    },
    /// The answer to [`crate::Client::ask`].
    Answered {
        /// Of which call.
        ticket: Ticket,
        /// What the home said to it.
        answer: Result<Reply, Error>,
    },
    /// The connection was lost; the client is trying again. Calls wait meanwhile.
    Lost(Error),
    /// Connected again: with the channels changed since the last event (or `resync`), whose messages were not told
    /// here and are to be pulled with `messages.list {after}`.
    Opened(Box<Opened>),
    /// The end: the client will not come back. No event follows.
    Ended(Error),
}

impl Event {
    /// The place in the stream of changes that this event reaches.
    pub fn sync(&self) -> Option<&Arc<str>> {
        match self {
            Self::Message(m) => m.sync.as_ref(),
            Self::Receipt(r) => r.sync.as_ref(),
            Self::Channel(c) => c.sync.as_ref(),
            Self::Presence(p) => p.sync.as_ref(),
            Self::Typing(t) => t.sync.as_ref(),
            Self::Opened(o) => Some(&o.sync),
            Self::Other { .. } | Self::Answered { .. } | Self::Lost(_) | Self::Ended(_) => None,
        }
    }
}

/// Names a call of [`crate::Client::ask`] among those of its client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ticket(pub(crate) u64);

/// What a call was answered, not read yet.
#[derive(Clone, Debug)]
pub struct Reply(pub(crate) Arc<RawAnswer>);

impl Reply {
    /// The answer, as its method's documentation says.
    pub fn read<R: DeserializeOwned>(&self) -> Result<R, Error> {
        self.0.read()
    }
}

/// A call without its id, which the connection gives it in the order of sending.
pub(crate) fn encode_call<P: Serialize + ?Sized>(
    method: &str,
    params: &P,
) -> Result<String, Error> {
    // 320 bytes hold a call with a short text.
    let mut text = Vec::with_capacity(320);
    let written = (|| {
        text.extend_from_slice(br#"{"jsonrpc":"2.0","method":"#);
        serde_json::to_writer(&mut text, method)?;
        text.extend_from_slice(br#","params":"#);
        serde_json::to_writer(&mut text, params)?;
        text.extend_from_slice(br#","id":"#);
        Ok::<(), serde_json::Error>(())
    })();
    written.map_err(|e| Error::Unsendable(e.to_string()))?;
    String::from_utf8(text).map_err(|e| Error::Unsendable(e.to_string()))
}

/// Completes [`encode_call`].
pub(crate) fn with_id(mut call: String, id: u64) -> Utf8Bytes {
    use std::fmt::Write as _;
    let _a_string_takes_it = write!(call, "{id}}}");
    call.into()
}

/// What came in one frame.
pub(crate) enum Incoming {
    /// Of the call with this id.
    Answer(u64, Result<RawAnswer, Error>),
    /// A notification.
    Event(Event),
    /// The home is about to close, for this reason; come back after.
    Closing(String, Duration),
    /// An error without an id: the server did not understand a frame.
    Complaint(Error),
}

/// The `result` of a frame, read by whoever asked.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    frame: Utf8Bytes,
    start: usize,
    end: usize,
}

impl RawAnswer {
    pub(crate) fn read<R: DeserializeOwned>(&self) -> Result<R, Error> {
        let result = self.frame.as_str().get(self.start..self.end).unwrap_or_default();
        serde_json::from_str(result).map_err(|e| Error::Garbled(e.to_string()))
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ClosingParams {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    retry_after_ms: u64,
}

/// Reads one text frame.
pub(crate) fn decode(text: &Utf8Bytes) -> Result<Incoming, Error> {
    let garbled = |e: serde_json::Error| Error::Garbled(e.to_string());
    let frame: Frame<'_> = serde_json::from_str(text.as_str()).map_err(garbled)?;
    if let Some(method) = frame.method {
        let params = frame.params.map_or("{}", RawValue::get);
        return Ok(match method.get().trim_matches('"') {
            "message" => {
                Incoming::Event(Event::Message(serde_json::from_str(params).map_err(garbled)?))
            }
            "receipt" => {
                Incoming::Event(Event::Receipt(serde_json::from_str(params).map_err(garbled)?))
            }
            "channel" => {
                Incoming::Event(Event::Channel(serde_json::from_str(params).map_err(garbled)?))
            }
            "presence" => {
                Incoming::Event(Event::Presence(serde_json::from_str(params).map_err(garbled)?))
            }
            "typing" => {
                Incoming::Event(Event::Typing(serde_json::from_str(params).map_err(garbled)?))
            }
            "closing" => {
                let closing: ClosingParams = serde_json::from_str(params).map_err(garbled)?;
                Incoming::Closing(closing.reason, Duration::from_millis(closing.retry_after_ms))
            }
            other => Incoming::Event(Event::Other {
                method: other.to_owned(),
                params: serde_json::from_str(params).map_err(garbled)?,
            }),
        });
    }
    match (frame.id, frame.result, frame.error) {
        (Some(id), _, Some(error)) => Ok(Incoming::Answer(id, Err(error.into()))),
        (Some(id), Some(result), None) => {
            // `result` is a slice of the frame: its place is kept instead of a copy.
            let start = (result.get().as_ptr() as usize) - (text.as_str().as_ptr() as usize);
            let end = start + result.get().len();
            Ok(Incoming::Answer(id, Ok(RawAnswer { frame: text.clone(), start, end })))
        }
        (None, _, Some(error)) => Ok(Incoming::Complaint(error.into())),
        (Some(_) | None, _, None) => {
            Err(Error::Garbled("neither answer nor notification".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Sent, Target, TextBody};

    #[test]
    fn a_call_is_compact_json_rpc() {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(flatten)]
            target: Target<'a>,
            body: TextBody<'a>,
        }
        let params =
            Params { target: Target::To("bob@globex.example"), body: TextBody::new("hi \"you\"") };
        let text = with_id(encode_call("messages.send", &params).unwrap(), 7);
        assert_eq!(
            text.as_str(),
            r#"{"jsonrpc":"2.0","method":"messages.send","params":{"to":"bob@globex.example","body":{"type":"text","text":"hi \"you\""}},"id":7}"#
        );
    }

    #[test]
    fn answers_are_read_from_their_place_in_the_frame() {
        let text: Utf8Bytes = r#"{"jsonrpc":"2.0", "result": {"id":"0190b0f2-0000-7000-8000-000000000001","channel":"0190b0f2-0000-7000-8000-000000000002","pos":3,"order":"0a","sent_at":1}, "id": 12}"#.into();
        let Incoming::Answer(12, Ok(answer)) = decode(&text).unwrap() else { panic!("no answer") };
        let sent: Sent = answer.read().unwrap();
        assert_eq!((sent.pos, sent.order.as_str()), (3, "0a"));
    }

    #[test]
    fn a_refusal_is_typed_and_one_without_an_id_is_a_complaint() {
        let text: Utf8Bytes = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"later","data":{"reason":"busy","retry_after_ms":40}}}"#.into();
        let Incoming::Answer(1, Err(error)) = decode(&text).unwrap() else { panic!("no refusal") };
        assert_eq!((error.code(), error.reason()), (Some(-32005), "busy"));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(40)));
        let text: Utf8Bytes =
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no JSON"}}"#.into();
        assert!(matches!(decode(&text).unwrap(), Incoming::Complaint(_)));
    }

    #[test]
    fn notifications_carry_their_place_and_the_unknown_is_kept() {
        let text: Utf8Bytes = r#"{"jsonrpc":"2.0","method":"message","params":{"channel":"0190b0f2-0000-7000-8000-000000000002","pos":3,"order":"0a","id":"0190b0f2-0000-7000-8000-000000000001","sender":"a@b.example","sent_at":1,"body":{"type":"text","text":"\ud83d\ude00"},"new_field":[1],"sync":"a.1"}}"#.into();
        let Incoming::Event(event) = decode(&text).unwrap() else { panic!("no event") };
        assert_eq!(event.sync().map(|s| s.as_ref()), Some("a.1"));
        let Event::Message(message) = event else { panic!("no message") };
        assert!(matches!(message.body(), crate::Body::Text { text, .. } if text == "😀"));
        let text: Utf8Bytes =
            r#"{"jsonrpc":"2.0","method":"weather","params":{"rain":true}}"#.into();
        assert!(
            matches!(decode(&text).unwrap(), Incoming::Event(Event::Other { method, .. }) if method == "weather")
        );
    }

    #[test]
    fn what_is_neither_is_garbled() {
        for text in ["", "[]", "{}", r#"{"id":1}"#, r#"{"id":"x","result":1}"#] {
            assert!(decode(&text.into()).is_err(), "{text}");
        }
    }
}
