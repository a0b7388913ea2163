//! Copies: the file of somebody's message, as one of the user's own, to forward it.

use std::path::Path;

use futures::StreamExt as _;
use homing_core::{MediaId, MediaState, Naming};
use homing_link::{ByteStream, Refused};
use homing_wire::{ChannelId, Local, MediaReference};
use tokio::io::AsyncWriteExt as _;
use tracing::warn;
use uuid::Uuid;

use super::read::{SNIFFED, away};
use super::upload::store_failed;
use super::{Media, media_not_found};
use crate::node::stopping;

impl Media {
    /// Makes a file of the user's of what another one holds. Of a file of this home the bytes are here; those of another home's
    /// are fetched to their end.
    pub(crate) async fn copy(
        &self,
        user: &Local,
        id: Uuid,
        channel: ChannelId,
        media: MediaReference,
    ) -> Result<MediaState, Refused> {
        let reserved = self.reserve(user, media.size)?;
        let now = (self.now)();
        if media.home == self.own {
            let state = self.store.media(media.id).map_err(|_| stopping())?;
            let state = state.filter(|state| !state.going).ok_or_else(media_not_found)?;
            let _keeping = self.keeping(&media.hash).read().await;
            let owner = user.clone();
            let copy = MediaState { id, owner, created_at: now, unnamed_since: None, ..state };
            self.hub.keep(copy.clone()).await?;
            reserved.keep();
            return Ok(copy);
        }
        // Two: where it is the group's avatar, too, that stands before the message, and has no name.
        let places = self.store.named(MediaId::from(&media), Some(channel), 2);
        let place = places.map_err(|_| stopping())?.pop();
        let (channel, pos) = place.ok_or_else(media_not_found)?;
        let naming = Naming { media: media.clone(), channel, pos };
        let name = self.name_in(&naming);
        let cached = self.fetched(&naming).await?;
        let staged = self.copies.join(id.to_string());
        let written = write_all(cached.read(0..media.size), &staged).await;
        let first = match written {
            Ok(first) => first,
            Err(error) => {
                warn!(%error, "a file could not be copied");
                let _not_there = tokio::fs::remove_file(&staged).await;
                return Err(away());
            }
        };
        let mime = homing_media::sniff(&first).to_owned();
        let seen = self.probe(&mime, &staged).await;
        let keeping = self.keeping(&media.hash).read().await;
        self.blobs.put(&staged, media.hash, media.size).await.map_err(store_failed)?;
        let state = MediaState {
            id,
            owner: user.clone(),
            hash: media.hash,
            size: media.size,
            mime,
            name: name.unwrap_or_default(),
            created_at: now,
            image: seen.image,
            film: seen.film,
            unnamed_since: None,
            going: false,
        };
        self.hub.keep(state.clone()).await?;
        drop(keeping);
        reserved.keep();
        Ok(state)
    }
}

/// Writes a file, and returns its first bytes.
pub(super) async fn write_all(mut bytes: ByteStream, to: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = tokio::fs::File::create(to).await?;
    let mut first = Vec::new();
    while let Some(piece) = bytes.next().await {
        let piece = piece?;
        let missing = SNIFFED.saturating_sub(first.len());
        first.extend_from_slice(&piece[..missing.min(piece.len())]);
        file.write_all(&piece).await?;
    }
    file.sync_all().await?;
    Ok(first)
}
