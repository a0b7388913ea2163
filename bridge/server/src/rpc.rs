//! JSON-RPC 2.0: frames into calls, outcomes into answers.

use std::borrow::Cow;
use std::fmt;

use homing_link::{Answer, Code, Refused};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use crate::encode;

/// Characters of an `id`, quotes included. It is kept for every waiting call; a UUID takes 38.
const ID_BYTES: usize = 256;

/// Bytes of an error's sentence for people. It may quote what the client sent.
const MESSAGE_BYTES: usize = 256;

/// What one answer of a refusal takes beside its id, at most: reserved in a batch for every call
/// that is still to be answered. The fixed parts, a reason, [`MESSAGE_BYTES`]
/// written as escapes.
pub(crate) const REFUSAL_BYTES: usize = 2_048;

/// What one frame asks.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// One call.
    Single(Item<'a>),
    /// Several, to be answered in one frame.
    Batch(Vec<Item<'a>>),
    /// Nothing of it is run; one answer with `id` null.
    Refused(Refused),
}

/// One call of a frame.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    /// To be run.
    Call {
        /// Raw JSON. `None`: a notification, which is not answered.
        id: Option<SmolStr>,
        /// As written.
        method: Cow<'a, str>,
        /// Raw JSON.
        params: Option<&'a RawValue>,
    },
    /// No JSON-RPC call.
    Bad {
        /// Its id where it could be read, else `null`.
        id: SmolStr,
        /// Why.
        refused: Refused,
    },
}

/// Reads a frame. At most `batch_limit` calls are run; a longer batch is refused whole.
pub(crate) fn parse(text: &str, batch_limit: usize) -> Frame<'_> {
    if text.trim_start().starts_with('[') {
        return parse_batch(text, batch_limit);
    }
    match serde_json::from_str::<Envelope<'_>>(text) {
        Ok(envelope) => Frame::Single(envelope.into_item()),
        Err(_) if is_json(text) => Frame::Refused(not_a_call()),
        Err(_) => Frame::Refused(not_json()),
    }
}

fn parse_batch(text: &str, limit: usize) -> Frame<'_> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = Batch { limit }
        .deserialize(&mut deserializer)
        .and_then(|batch| deserializer.end().map(|()| batch));
    let Ok((items, count)) = parsed else {
        return Frame::Refused(not_json());
    };
    if count > limit {
        let refused = Refused::new(
            Code::InvalidRequest,
            "batch_too_long",
            format!("a batch has at most {limit} calls; none of these {count} was run"),
        );
        return Frame::Refused(refused.with_limit(limit as u64));
    }
    if items.is_empty() {
        return Frame::Refused(Refused::new(
            Code::InvalidRequest,
            "empty_batch",
            "a batch has at least one call",
        ));
    }
    Frame::Batch(items.into_iter().map(parse_item).collect())
}

fn parse_item(raw: &RawValue) -> Item<'_> {
    match serde_json::from_str::<Envelope<'_>>(raw.get()) {
        Ok(envelope) => envelope.into_item(),
        Err(_) => Item::Bad { id: NULL, refused: not_a_call() },
    }
}

/// Syntax alone, whatever the strings hold; without recursion, so depth does no harm.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

fn not_json() -> Refused {
    Refused::new(Code::Parse, "not_json", "this is not JSON")
}

fn not_a_call() -> Refused {
    invalid("not_a_call", "a call is an object with jsonrpc, id, method and params")
}

fn invalid(reason: &'static str, message: &'static str) -> Refused {
    Refused::new(Code::InvalidRequest, reason, message)
}

const NULL: SmolStr = SmolStr::new_static("null");

/// The members of a call, unread. Others are ignored.
#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    twice: Option<Member>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Jsonrpc,
    Id,
    Method,
    Params,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a call")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(member) = map.next_key::<Member>()? {
                    let value: &'de RawValue = map.next_value()?;
                    let place = match member {
                        Member::Jsonrpc => &mut envelope.jsonrpc,
                        Member::Id => &mut envelope.id,
                        Member::Method => &mut envelope.method,
                        Member::Params => &mut envelope.params,
                        Member::Other => continue,
                    };
                    if place.replace(value).is_some() && envelope.twice != Some(Member::Id) {
                        envelope.twice = Some(member);
                    }
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'a> Envelope<'a> {
    fn into_item(self) -> Item<'a> {
        let id = match self.id.map(|raw| raw.get()) {
            None => None,
            Some(raw) if raw.len() > ID_BYTES => {
                let refused = invalid("id_too_long", "an id has at most 256 characters");
                return Item::Bad { id: NULL, refused: refused.with_limit(ID_BYTES as u64) };
            }
            Some(raw) if is_id(raw) => Some(SmolStr::new(raw)),
            Some(_) => {
                let refused = invalid("invalid_id", "an id is a string or a number");
                return Item::Bad { id: NULL, refused };
            }
        };
        let bad = |refused| Item::Bad { id: id.clone().unwrap_or(NULL), refused };
        if let Some(member) = self.twice {
            let refused = invalid("duplicate_member", "a member of the call is there twice");
            return if member == Member::Id {
                Item::Bad { id: NULL, refused }
            } else {
                bad(refused)
            };
        }
        if self.jsonrpc.and_then(text).as_deref() != Some("2.0") {
            return bad(invalid("not_json_rpc_2", "jsonrpc must be \"2.0\""));
        }
        let Some(method) = self.method.and_then(text) else {
            return bad(invalid("no_method", "method must be a string"));
        };
        let params = match self.params {
            // Several client libraries write it for "none".
            Some(raw) if raw.get() == "null" => None,
            Some(raw) if !raw.get().starts_with(['{', '[']) => {
                return bad(invalid("invalid_params_member", "params must be an object"));
            }
            params => params,
        };
        Item::Call { id, method, params }
    }
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw.get()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// A valid JSON text is an id by its first character.
fn is_id(raw: &str) -> bool {
    raw == "null" || raw.starts_with(['"', '-']) || raw.starts_with(|c: char| c.is_ascii_digit())
}

/// Collects up to `limit` items and counts them all, so that a long batch costs no memory.
struct Batch {
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Batch {
    type Value = (Vec<&'de RawValue>, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Batch {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.limit
            && let Some(item) = seq.next_element()?
        {
            items.push(item);
        }
        let mut count = items.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((items, count))
    }
}

/// How a call ended.
#[derive(Clone, Copy)]
pub(crate) enum Outcome<'a> {
    /// The node's answer.
    Answer(&'a Answer),
    /// A document that is JSON already.
    Document(&'a [u8]),
    /// A refusal.
    Refused(&'a Refused),
}

/// Writes an answer of at most `room` bytes; what is longer becomes a refusal, which always fits.
/// Answers the refusal written, if it is another than was asked for.
pub(crate) fn write_answer(
    out: &mut Vec<u8>,
    id: &str,
    outcome: Outcome<'_>,
    room: usize,
) -> Option<Refused> {
    let start = out.len();
    let written = match outcome {
        Outcome::Answer(answer) => {
            open(out, id, "result");
            encode::answer(out, answer)
        }
        Outcome::Document(json) => {
            open(out, id, "result");
            out.extend_from_slice(json);
            Ok(())
        }
        Outcome::Refused(refused) => {
            write_refusal(out, id, refused);
            return None;
        }
    };
    out.push(b'}');
    let instead = match written {
        Ok(()) if out.len() - start <= room => return None,
        Ok(()) => Refused::new(
            Code::TooLarge,
            "answer_too_large",
            "the answer does not fit into a frame; ask for less at once",
        )
        .with_limit(room as u64),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            Refused::new(Code::Internal, "internal", "a fault of this home")
        }
    };
    out.truncate(start);
    write_refusal(out, id, &instead);
    Some(instead)
}

fn open(out: &mut Vec<u8>, id: &str, member: &str) {
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b",\"");
    out.extend_from_slice(member.as_bytes());
    out.extend_from_slice(b"\":");
}

fn write_refusal(out: &mut Vec<u8>, id: &str, refused: &Refused) {
    open(out, id, "error");
    serde_json::to_writer(&mut *out, &ErrorObject(refused)).expect("words and numbers are JSON");
    out.push(b'}');
}

/// `{code, message, data:{reason, limit?, retry_after_ms?}}`
struct ErrorObject<'a>(&'a Refused);

impl Serialize for ErrorObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(3))?;
        object.serialize_entry("code", &self.0.code.number())?;
        object.serialize_entry("message", shortened(&self.0.message))?;
        object.serialize_entry("data", &ErrorData(self.0))?;
        object.end()
    }
}

struct ErrorData<'a>(&'a Refused);

impl Serialize for ErrorData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut data = serializer.serialize_map(None)?;
        data.serialize_entry("reason", shortened(&self.0.reason))?;
        if let Some(limit) = self.0.limit {
            data.serialize_entry("limit", &limit)?;
        }
        if let Some(ms) = self.0.retry_after_ms {
            data.serialize_entry("retry_after_ms", &ms)?;
        }
        data.end()
    }
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(text: &str) -> (String, String) {
        match parse(text, 32) {
            Frame::Single(Item::Call { id, method, params }) => (
                id.map_or("-".into(), |id| id.to_string()),
                format!("{method} {}", params.map_or("-", RawValue::get)),
            ),
            Frame::Single(Item::Bad { id, refused }) => (id.to_string(), refused.reason.into()),
            Frame::Refused(refused) => (refused.code.number().to_string(), refused.reason.into()),
            Frame::Batch(items) => (items.len().to_string(), "batch".into()),
        }
    }

    fn assert_single(text: &str, id: &str, what: &str) {
        assert_eq!(single(text), (id.to_owned(), what.to_owned()), "{text}");
    }

    #[test]
    fn calls() {
        assert_single(
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":1}}"#,
            "1",
            r#"a {"x":1}"#,
        );
        assert_single(
            r#" {"params":[],"method":"a","id":"q\"","jsonrpc":"2.0"} "#,
            r#""q\"""#,
            "a []",
        );
        assert_single(r#"{"jsonrpc":"2.0","method":"a"}"#, "-", "a -");
        assert_single(r#"{"jsonrpc":"2.0","method":"a","id":null}"#, "null", "a -");
        assert_single(
            r#"{"jsonrpc":"2.0","\u006dethod":"\u0061","id":-1.5,"x":[]}"#,
            "-1.5",
            "a -",
        );
        assert_single(r#"{"jsonrpc":"2.0","method":"a","id":1,"params":null}"#, "1", "a -");
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{{"x":{deep}}}}}"#);
        assert_eq!(single(&call).0, "1");
        assert_single(&deep, "1", "batch");
    }

    #[test]
    fn what_is_no_call() {
        assert_single("", "-32700", "not_json");
        assert_single("{", "-32700", "not_json");
        assert_single("[1,", "-32700", "not_json");
        assert_single("[1] x", "-32700", "not_json");
        assert_single(r#"{"jsonrpc":"2.0"} {}"#, "-32700", "not_json");
        assert_single(r#"{"a":"\x"}"#, "-32700", "not_json");
        assert_single("42", "-32600", "not_a_call");
        assert_single(r#""text""#, "-32600", "not_a_call");
        assert_single("[]", "-32600", "empty_batch");
        assert_single(r#"{"\ud800":1}"#, "-32600", "not_a_call");
        assert_single("{}", "null", "not_json_rpc_2");
        assert_single(r#"{"jsonrpc":"1.0","id":3,"method":"a"}"#, "3", "not_json_rpc_2");
        assert_single(r#"{"jsonrpc":2.0,"id":3,"method":"a"}"#, "3", "not_json_rpc_2");
        assert_single(r#"{"jsonrpc":"2.0","id":3}"#, "3", "no_method");
        assert_single(r#"{"jsonrpc":"2.0","id":3,"method":1}"#, "3", "no_method");
        assert_single(r#"{"jsonrpc":"2.0","id":3,"method":"\ud800"}"#, "3", "no_method");
        assert_single(r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#, "null", "invalid_id");
        assert_single(r#"{"jsonrpc":"2.0","id":true,"method":"a"}"#, "null", "invalid_id");
        assert_single(
            r#"{"jsonrpc":"2.0","id":3,"method":"a","params":1}"#,
            "3",
            "invalid_params_member",
        );
        assert_single(
            r#"{"jsonrpc":"2.0","id":3,"method":"a","method":"a"}"#,
            "3",
            "duplicate_member",
        );
        assert_single(
            r#"{"jsonrpc":"2.0","id":3,"method":"a","id":3}"#,
            "null",
            "duplicate_member",
        );
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"a"}}"#, "x".repeat(255));
        assert_single(&long, "null", "id_too_long");
    }

    #[test]
    fn batches() {
        let Frame::Batch(items) = parse(r#"[1,{"jsonrpc":"2.0","id":1,"method":"a"},[]]"#, 32)
        else {
            panic!("a batch");
        };
        assert!(matches!(&items[0], Item::Bad { id, .. } if id == "null"));
        assert!(matches!(&items[1], Item::Call { id: Some(id), .. } if id == "1"));
        assert!(matches!(&items[2], Item::Bad { .. }));
        let of = |n: usize| format!("[{}]", vec!["1"; n].join(","));
        assert!(matches!(parse(&of(32), 32), Frame::Batch(items) if items.len() == 32));
        let text = of(33);
        let Frame::Refused(refused) = parse(&text, 32) else { panic!("refused") };
        assert_eq!((refused.code, refused.limit), (Code::InvalidRequest, Some(32)));
    }

    #[test]
    fn answers_keep_to_their_room() {
        let mut out = Vec::new();
        assert_eq!(write_answer(&mut out, "7", Outcome::Document(b"[1]"), 100), None);
        assert_eq!(out, br#"{"jsonrpc":"2.0","id":7,"result":[1]}"#);
        let long = vec![b'1'; 200];
        out.clear();
        let instead = write_answer(&mut out, "7", Outcome::Document(&long), 100).unwrap();
        assert_eq!(instead.code, Code::TooLarge);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["error"]["code"], -32006);
        assert_eq!(json["error"]["data"]["reason"], "answer_too_large");
    }

    #[test]
    fn refusals_are_short_whatever_they_quote() {
        let mut out = Vec::new();
        let refused = Refused::new(Code::InvalidParams, "x".repeat(40), "\u{1}ä".repeat(9_999))
            .with_limit(u64::MAX)
            .with_retry_after_ms(u64::MAX);
        write_answer(&mut out, "7", Outcome::Refused(&refused), 0);
        assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        assert!(out.len() < 2_048, "{}", out.len());
    }
}
