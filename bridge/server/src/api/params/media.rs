//! Parameters of files. Their bytes go over HTTP.

use std::ops::RangeInclusive;

use homing_link::{Call, Refused};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Asked, Params, address, id, optional_id, wrong};

/// Pixels along the longer side of an image that may be asked for. A home makes a few sizes and answers the nearest.
pub(crate) const THUMBNAIL: RangeInclusive<u32> = 1..=4_096;

/// `media.get`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct MediaGet {
    /// Which: `Homing-Media` of the finished upload.
    #[schemars(with = "uuid::Uuid")]
    id: String,
}

impl Params for MediaGet {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::MediaGet { id: id("id", &self.id)? }))
    }
}

/// `media.copy`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct MediaCopy {
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

impl Params for MediaCopy {
    fn ask(self) -> Result<Asked, Refused> {
        Ok(Asked::Call(Call::MediaCopy {
            channel: id("channel", &self.channel)?,
            id: id("id", &self.id)?,
            sender: self.sender.map(|text| address("sender", &text)).transpose()?,
            op: optional_id("op", self.op.as_deref())?,
        }))
    }
}

/// `media.url`
#[derive(Deserialize, JsonSchema)]
pub(in crate::api) struct MediaUrl {
    /// Where.
    #[schemars(with = "uuid::Uuid")]
    channel: String,
    /// The message's id.
    #[schemars(with = "uuid::Uuid")]
    id: String,
    /// Its sender's address, where several have used the same id.
    sender: Option<String>,
    /// To a smaller image of it, of about so many pixels along its longer side.
    #[schemars(range(min = 1, max = 4096))]
    thumbnail: Option<u32>,
}

impl Params for MediaUrl {
    fn ask(self) -> Result<Asked, Refused> {
        if self.thumbnail.is_some_and(|pixels| !THUMBNAIL.contains(&pixels)) {
            return Err(wrong("invalid_thumbnail", "thumbnail is 1 to 4096"));
        }
        Ok(Asked::Call(Call::MediaUrl {
            channel: id("channel", &self.channel)?,
            id: id("id", &self.id)?,
            sender: self.sender.map(|text| address("sender", &text)).transpose()?,
            thumbnail: self.thumbnail,
        }))
    }
}
