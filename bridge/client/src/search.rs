//! Finding messages by their words.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::types::Message;

/// What to look for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct MessageQuery<'a> {
    /// Words, all of which must be there; the last may be the beginning of one.
    pub query: &'a str,
    /// In that channel alone; in all of the user's where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Uuid>,
    /// `cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<&'a str>,
    /// Messages at most, 1 to 100; 20 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of `messages.search`.
#[derive(Clone, Debug, Deserialize)]
pub struct FoundMessages {
    /// The newest first, as they stand now.
    pub messages: Vec<Message>,
    /// For the next page, which may be an empty one.
    #[serde(default)]
    pub cursor: Option<String>,
    /// The home is still making its index: there may be more than is found now.
    #[serde(default)]
    pub indexing: bool,
}

impl Client {
    /// Messages of the user's own channels by their words, or by the names of their files: one page.
    pub async fn search(&self, query: &MessageQuery<'_>) -> Result<FoundMessages, Error> {
        self.call("messages.search", query).await
    }
}
