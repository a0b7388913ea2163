//! Who is there and who types: typed calls.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::types::Presence;

#[derive(Serialize)]
struct Users<'a> {
    users: &'a [&'a str],
}

#[derive(Deserialize)]
struct Page {
    presence: Vec<Presence>,
}

impl Client {
    /// Watches users: how they are now, and from here on as [`crate::Event::Presence`]. The home forgets it with the
    /// connection: watch again after [`crate::Event::Opened`].
    pub async fn watch(&self, users: &[&str]) -> Result<Vec<Presence>, Error> {
        let page: Page = self.call("presence.watch", &Users { users }).await?;
        Ok(page.presence)
    }

    /// Watches users no longer.
    pub async fn unwatch(&self, users: &[&str]) -> Result<(), Error> {
        let _nobody: Page = self.call("presence.unwatch", &Users { users }).await?;
        Ok(())
    }

    /// The user types in a channel, or has stopped. To be said again every few seconds while it lasts.
    pub async fn set_typing(&self, channel: Uuid, typing: bool) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Params {
            channel: Uuid,
            typing: bool,
        }
        #[derive(Deserialize)]
        struct Done {}
        let Done {} = self.call("typing.set", &Params { channel, typing }).await?;
        Ok(())
    }
}
