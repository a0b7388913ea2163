//! What users do with their own: how they see their channels, their devices, their password.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::types::{Channel, User};

/// What changes of the user's own view of a channel; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ViewUpdate {
    /// Muted up to then, in Unix milliseconds; `Some(None)`: no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Option<u64>>,
    /// Out of sight, or back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// Shown before the others, or no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// What is being written; an empty text is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<String>,
    /// Shown as unread, until the user reads up to the end or writes; or no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marked_unread: Option<bool>,
}

/// Where the user is signed in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub device: Uuid,
    /// What the user calls it.
    pub name: String,
    /// When it was signed in, in Unix milliseconds.
    pub created_at: u64,
    /// When it was last used, within the hour, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
    /// The one that asks.
    #[serde(default)]
    pub current: bool,
}

/// Answer of `users.search`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Found {
    /// People of one's own home.
    pub users: Vec<User>,
    /// There are more: another letter says whom is meant.
    #[serde(default)]
    pub more: bool,
}

#[derive(Deserialize)]
struct Devices {
    devices: Vec<Device>,
}

/// `{}`, and whatever a later home adds.
#[derive(Deserialize)]
struct Done {}

impl Client {
    /// People of one's own home, by the beginnings of words of their names, or by address.
    pub async fn search_users(&self, query: &str) -> Result<Found, Error> {
        self.call("users.search", &serde_json::json!({ "query": query })).await
    }

    /// Accepts a first contact from another home; accepted already is accepted.
    pub async fn accept_request(&self, channel: Uuid) -> Result<Channel, Error> {
        let params = serde_json::json!({ "channel": channel, "op": Uuid::now_v7() });
        self.call("requests.accept", &params).await
    }

    /// Declines a first contact: it leaves the list, and what comes of it is hidden until the user writes there.
    pub async fn decline_request(&self, channel: Uuid) -> Result<(), Error> {
        let params = serde_json::json!({ "channel": channel, "op": Uuid::now_v7() });
        let _empty: Done = self.call("requests.decline", &params).await?;
        Ok(())
    }

    /// Where the user is signed in, the oldest first.
    pub async fn devices(&self) -> Result<Vec<Device>, Error> {
        let answer: Devices = self.call("devices.list", &serde_json::json!({})).await?;
        Ok(answer.devices)
    }

    /// Calls a device something else.
    pub async fn rename_device(&self, device: Uuid, name: &str) -> Result<(), Error> {
        let params = serde_json::json!({ "device": device, "name": name, "op": Uuid::now_v7() });
        let _empty: Done = self.call("devices.rename", &params).await?;
        Ok(())
    }

    /// Signs a device out: its token is dead, and its sockets are closed.
    pub async fn revoke_device(&self, device: Uuid) -> Result<(), Error> {
        let params = serde_json::json!({ "device": device, "op": Uuid::now_v7() });
        let _empty: Done = self.call("devices.revoke", &params).await?;
        Ok(())
    }

    /// Changes the password and signs all other devices out.
    pub async fn change_password(&self, old: &str, new: &str) -> Result<(), Error> {
        let params = serde_json::json!({ "old": old, "new": new, "op": Uuid::now_v7() });
        let _empty: Done = self.call("account.password", &params).await?;
        Ok(())
    }

    /// Changes the user's own view of a channel, on all devices; answers the channel as it is then.
    pub async fn update_channel(
        &self,
        channel: Uuid,
        update: &ViewUpdate,
    ) -> Result<Channel, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            channel: Uuid,
            #[serde(flatten)]
            update: &'a ViewUpdate,
            op: Uuid,
        }
        self.call("channels.update", &Params { channel, update, op: Uuid::now_v7() }).await
    }
}
