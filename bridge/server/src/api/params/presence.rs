//! Parameters of who watches whom, and of who types.

use homing_link::{Call, Refused};
use homing_wire::Address;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Params, address, id};
use crate::api::table::Asked;

/// `presence.watch`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct PresenceWatch {
    #[serde(flatten)]
    named: Watched,
}

/// `presence.unwatch`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct PresenceUnwatch {
    #[serde(flatten)]
    named: Watched,
}

#[derive(Deserialize, JsonSchema)]
struct Watched {
    /// Addresses, of this home or any other.
    users: Vec<String>,
}

impl Watched {
    fn read(&self) -> Result<Vec<Address>, Refused> {
        self.users.iter().map(|text| address("users", text)).collect()
    }
}

impl Params for PresenceWatch {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::PresenceWatch { users: self.named.read()? }))
    }
}

impl Params for PresenceUnwatch {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::PresenceUnwatch { users: self.named.read()? }))
    }
}

/// `typing.set`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct TypingSet {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// Types, or has stopped. Say it again every few seconds while it lasts.
    typing: bool,
}

impl Params for TypingSet {
    fn ask(self) -> Result<Asked, Refused> {
        let channel = id("channel", &self.channel)?;
        Ok(Asked::Call(Call::TypingSet { channel, typing: self.typing }))
    }
}
