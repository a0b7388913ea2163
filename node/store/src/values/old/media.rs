//! Files, as older programs noted them.

use homing_core::{ImageState, MediaState};
use homing_wire::{Hash, Local};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Before anything was known of films and sound.
#[derive(Serialize, Deserialize)]
pub(in crate::values) struct MediaStateV1 {
    id: Uuid,
    owner: Local,
    hash: Hash,
    size: u64,
    mime: String,
    name: String,
    created_at: u64,
    image: Option<ImageState>,
    unnamed_since: Option<u64>,
    going: bool,
}

impl From<MediaStateV1> for MediaState {
    fn from(old: MediaStateV1) -> Self {
        Self {
            id: old.id,
            owner: old.owner,
            hash: old.hash,
            size: old.size,
            mime: old.mime,
            name: old.name,
            created_at: old.created_at,
            image: old.image,
            film: None,
            unnamed_since: old.unnamed_since,
            going: old.going,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::values::{decode, encode};

    #[test]
    fn files_of_before_are_read_and_nothing_is_known_of_their_length() {
        let new = MediaState { film: None, ..sample::media(1) };
        let MediaState { id, owner, hash, size, mime, name, created_at, image, .. } = new.clone();
        let (unnamed_since, going) = (new.unnamed_since, new.going);
        let old = MediaStateV1 {
            id,
            owner,
            hash,
            size,
            mime,
            name,
            created_at,
            image,
            unnamed_since,
            going,
        };
        let pinned = blake3::hash(&encode(&old)).to_hex()[..16].to_owned();
        assert_eq!(pinned, "c1976cb607e75c06", "as it was written then");
        assert_eq!(decode::<MediaState>(&encode(&old)), Ok(new));
    }
}
