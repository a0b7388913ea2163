//! Parameters of messages, and of how far they were received and read.

use homing_link::{Call, Place, Refused, SendTarget};
use homing_wire::body::Body;
use homing_wire::limits::BODY_BYTES;
use homing_wire::{ChannelId, MessageId, OpId, Order};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Asked, Params, address, body_refused, id, optional_id, rows, wrong};

/// Rows of a page of messages, at most and where nothing is said.
const MESSAGES_PAGE: (u32, u32) = (200, 50);

/// Messages found on one page, at most and where nothing is said: what fits a screen.
const FOUND_PAGE: (u32, u32) = (100, 20);

/// `messages.list`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct MessagesList {
    /// Which.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The nearest below this `pos`.
    before: Option<u64>,
    /// The nearest above this `pos`.
    after: Option<u64>,
    /// The nearest below this `order`.
    before_order: Option<String>,
    /// The nearest above this `order`.
    after_order: Option<String>,
    /// Messages at most; 50 where absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

impl Params for MessagesList {
    fn ask(self) -> Result<Asked, Refused> {
        let order = |name, text: &str| {
            Order::parse(text).ok_or_else(|| wrong("invalid_order", format!("{name} is no order")))
        };
        let place = match (self.before, self.after, &self.before_order, &self.after_order) {
            (None, None, None, None) => Place::Latest,
            (Some(pos), None, None, None) => Place::Before(pos),
            (None, Some(pos), None, None) => Place::After(pos),
            (None, None, Some(text), None) => Place::BeforeOrder(order("before_order", text)?),
            (None, None, None, Some(text)) => Place::AfterOrder(order("after_order", text)?),
            (_, _, _, _) => {
                return Err(wrong(
                    "one_place",
                    "before, after, before_order, after_order: only one",
                ));
            }
        };
        Ok(Asked::Call(Call::MessagesList {
            channel: id("channel", &self.channel)?,
            place,
            limit: rows(self.limit, MESSAGES_PAGE)?,
        }))
    }
}

/// `messages.get`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct MessagesGet {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The message's id.
    #[schemars(with = "uuid::Uuid")]
    id: String,
    /// Its sender's address, where several have used the same id.
    sender: Option<String>,
}

impl Params for MessagesGet {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::MessagesGet {
            channel: id("channel", &self.channel)?,
            id: id("id", &self.id)?,
            sender: self.sender.map(|text| address("sender", &text)).transpose()?,
        }))
    }
}

/// `messages.search`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct MessagesSearch {
    /// Words, all of which must be there, in any order, case and accents left out; the last may be the beginning of one.
    query: String,
    /// In that channel alone; in all of the user's where absent.
    #[schemars(with = "Option<uuid::Uuid>")]
    channel: Option<String>,
    /// `cursor` of the page before, with the same `query` and `channel`.
    cursor: Option<String>,
    /// Messages at most; 20 where absent.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u32>,
}

impl Params for MessagesSearch {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::MessagesSearch {
            query: self.query,
            channel: optional_id("channel", self.channel.as_deref())?,
            cursor: self.cursor,
            limit: rows(self.limit, FOUND_PAGE)?,
        }))
    }
}

/// `messages.hide`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct MessagesHide {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The message's id.
    #[schemars(with = "uuid::Uuid")]
    id: String,
    /// Its sender's address, where several have used the same id.
    sender: Option<String>,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl Params for MessagesHide {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::MessagesHide {
            channel: id("channel", &self.channel)?,
            id: id("id", &self.id)?,
            sender: self.sender.map(|text| address("sender", &text)).transpose()?,
            op: self.op.map(|text| id("op", &text)).transpose()?,
        }))
    }
}

/// `messages.send`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct MessagesSend {
    /// Where to; either this or `to`.
    #[schemars(with = "Option<uuid::Uuid>")]
    channel: Option<String>,
    /// The address of the user to write to; the chat is made if new.
    to: Option<String>,
    /// The client's id for the message, so that it may be sent again; made where absent.
    #[schemars(with = "Option<uuid::Uuid>")]
    id: Option<String>,
    /// The client's name for this change.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
    /// What is said. At most 65,536 bytes as compact JSON.
    #[schemars(with = "MessageBody")]
    body: Box<RawValue>,
}

/// A message's body. Members that belong to its type stand beside `type`.
#[derive(JsonSchema)]
#[schemars(rename = "Body")]
#[allow(dead_code, reason = "stands in the documents; bodies are read by homing-wire")]
struct MessageBody {
    /// `text`, `media`, `edit`, `delete`, `reaction`, or a type of the client's own: `x.…`.
    #[schemars(rename = "type")]
    kind: String,
}

impl Params for MessagesSend {
    fn ask(self) -> Result<Asked, Refused> {
        let target = match (&self.channel, &self.to) {
            (Some(channel), None) => SendTarget::Channel(id("channel", channel)?),
            (None, Some(to)) => SendTarget::To(address("to", to)?),
            (Some(_), Some(_)) | (None, None) => {
                return Err(wrong("one_target", "either channel or to"));
            }
        };
        Ok(Asked::Call(Call::MessagesSend {
            target,
            id: optional_id("id", self.id.as_deref())?,
            op: optional_id("op", self.op.as_deref())?,
            body: Body::from_json(self.body.get(), BODY_BYTES)
                .map(Box::new)
                .map_err(body_refused)?,
        }))
    }
}

/// `receipts.delivered`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct ReceiptsDelivered {
    #[serde(flatten)]
    mark: MarkParams,
}

/// `receipts.read`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct ReceiptsRead {
    #[serde(flatten)]
    mark: MarkParams,
}

#[derive(Deserialize, JsonSchema)]
struct MarkParams {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// Everything at or below.
    pos: u64,
    /// The client's name for this change. Marks only rise, so setting one twice is setting it once.
    #[schemars(with = "Option<uuid::Uuid>")]
    op: Option<String>,
}

impl MarkParams {
    fn read(&self) -> Result<(ChannelId, u64), Refused> {
        let _rises_once: Option<OpId> = optional_id("op", self.op.as_deref())?;
        Ok((id("channel", &self.channel)?, self.pos))
    }
}

impl Params for ReceiptsDelivered {
    fn ask(self) -> Result<Asked, Refused> {
        let (channel, pos) = self.mark.read()?;
        Ok(Asked::Call(Call::ReceiptsDelivered { channel, pos }))
    }
}

impl Params for ReceiptsRead {
    fn ask(self) -> Result<Asked, Refused> {
        let (channel, pos) = self.mark.read()?;
        Ok(Asked::Call(Call::ReceiptsRead { channel, pos }))
    }
}

/// `receipts.get`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct ReceiptsGet {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The message, one of one's own home.
    #[schemars(with = "uuid::Uuid")]
    id: String,
}

impl Params for ReceiptsGet {
    fn ask(self) -> Result<Asked, Refused> {
        let id: MessageId = id("id", &self.id)?;
        let channel = self::id("channel", &self.channel)?;
        Ok(Asked::Call(Call::ReceiptsGet { channel, id }))
    }
}
