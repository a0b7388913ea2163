//! Files: who may name one, and where they are named.
//!
//! The bytes are elsewhere. Here is what this home knows of the files that were uploaded to it ([`MediaState`]), and which
//! events name a file, of whatever home: that permits reading it, and keeps it.

use homing_wire::{ChannelId, Hash, HomeId, Kind, Local, MediaReference, Pos, Target, UserRef};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::avatars::{self, AVATAR, avatar_of_group};
use crate::chat::SendCommand;
use crate::fold::{Folded, Sight};
use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, Failure, Refusal};
use crate::state::{ChannelState, LogEntry};
use crate::write::Write;

/// A file, whoever holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MediaId {
    /// The home that holds it.
    pub home: HomeId,
    /// Which.
    pub id: Uuid,
}

impl From<&MediaReference> for MediaId {
    fn from(media: &MediaReference) -> Self {
        Self { home: media.home, id: media.id }
    }
}

/// A file that was uploaded here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MediaState {
    /// Which.
    pub id: Uuid,
    /// Who has uploaded it.
    pub owner: Local,
    /// BLAKE3 of its bytes, by which they are found.
    pub hash: Hash,
    /// Bytes.
    pub size: u64,
    /// Its media type, as its bytes say.
    pub mime: String,
    /// What it is called.
    pub name: String,
    /// When it was whole, in Unix milliseconds.
    pub created_at: u64,
    /// Of an image.
    pub image: Option<ImageState>,
    /// Of a film, or of sound.
    pub film: Option<FilmState>,
    /// Since when no event names it, as far as somebody has looked, in Unix milliseconds.
    pub unnamed_since: Option<u64>,
    /// It is about to be removed: nobody may name it any more.
    pub going: bool,
}

/// What is known of an image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImageState {
    /// Pixels from left to right, as it is shown.
    pub width: u32,
    /// Pixels from top to bottom, as it is shown.
    pub height: u32,
    /// A ThumbHash.
    pub preview: Vec<u8>,
}

/// What is known of a film, or of sound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilmState {
    /// How long it is, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Pixels from left to right, as it is shown; none of sound.
    pub width: Option<u32>,
    /// Pixels from top to bottom, as it is shown; none of sound.
    pub height: Option<u32>,
}

/// An event that names a file, or an account or a roster whose avatar it is ([`crate::AVATAR`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naming {
    /// How.
    pub media: MediaReference,
    /// Where.
    pub channel: ChannelId,
    /// Its place there.
    pub pos: Pos,
}

/// Places where a file is named that are looked at one by one. Of one that is named more often, the user's channels are.
const NAMINGS: usize = 64;

/// Files of its own home that an event names. What is said of other homes' files counts for nothing: only who holds a file can
/// say who may read it.
pub fn named_by(entry: &LogEntry) -> impl Iterator<Item = &MediaReference> {
    let header = &entry.event.header;
    header.media.iter().filter(|media| media.home == header.origin)
}

/// What names that file and is shown to `user` of this home, an event or an avatar: whoever has one may read the file.
pub fn naming_shown(
    reader: &dyn Reader,
    user: &UserRef,
    media: MediaId,
) -> Result<Option<Naming>, Fault> {
    if media.home == user.home
        && let Some(naming) = avatars::of_account(reader, media)?
    {
        return Ok(Some(naming));
    }
    let places = reader.named(media, None, NAMINGS)?;
    if places.len() < NAMINGS {
        return first_shown(reader, user, media, places);
    }
    for row in reader.listing(&user.local)? {
        let places = reader.named(media, Some(row.channel), NAMINGS)?;
        let found = first_shown(reader, user, media, places)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn first_shown(
    reader: &dyn Reader,
    user: &UserRef,
    media: MediaId,
    places: Vec<(ChannelId, Pos)>,
) -> Result<Option<Naming>, Fault> {
    let mut known: Option<ChannelState> = None;
    for (channel, pos) in places {
        if known.as_ref().is_none_or(|state| state.id != channel) {
            known = reader.channel(channel)?;
        }
        let Some(state) = known.as_ref().filter(|state| state.id == channel) else { continue };
        let Some(member) = state.member(user).filter(|member| member.is_listed()) else { continue };
        if pos == AVATAR {
            match avatar_of_group(reader, channel, media)? {
                Some(naming) => return Ok(Some(naming)),
                None => continue,
            }
        }
        if !member.sees(pos) {
            continue;
        }
        let Some(entry) = reader.entry(channel, pos)? else { continue };
        let Some(named) = named_by(&entry).find(|named| MediaId::from(*named) == media).cloned()
        else {
            continue;
        };
        if !entry.is_shown_to(user) {
            continue;
        }
        let fold = reader.fold(channel, pos)?;
        let message = Folded::read(reader, std::sync::Arc::new(entry), fold)?;
        if matches!(message.seen_by(user), Sight::Deleted) {
            continue;
        }
        return Ok(Some(Naming { media: named, channel, pos }));
    }
    Ok(None)
}

/// What names a file of this home in that channel, where `home` is in the channel: then it may read the file. Of no channel: the
/// avatar of a user of this home, which every home may read.
pub fn naming_for_home(
    reader: &dyn Reader,
    home: HomeId,
    channel: ChannelId,
    media: MediaId,
) -> Result<Option<Naming>, Fault> {
    if channel == ChannelId::NONE {
        return avatars::of_account(reader, media);
    }
    let Some(state) = reader.channel(channel)? else { return Ok(None) };
    // Whoever is only asked into a group, or has left it, is given nothing of it.
    let is_in = if channel.is_group() { !state.nobody_of(&home) } else { state.has_home(&home) };
    if !is_in {
        return Ok(None);
    }
    for (channel, pos) in reader.named(media, Some(channel), NAMINGS)? {
        if pos == AVATAR {
            match avatar_of_group(reader, channel, media)? {
                Some(naming) => return Ok(Some(naming)),
                None => continue,
            }
        }
        let Some(entry) = reader.entry(channel, pos)? else { continue };
        if entry.hidden {
            continue;
        }
        let named = named_by(&entry).find(|named| MediaId::from(*named) == media).cloned();
        if let Some(media) = named {
            return Ok(Some(Naming { media, channel, pos }));
        }
    }
    Ok(None)
}

pub(crate) const NO_MEDIA: Refusal =
    Refusal::new(Class::NotFound, "media_not_found", "there is no such file of yours at this home");
const NO_MEDIA_NAMED: Refusal =
    Refusal::new(Class::Invalid, "bad_field", "a media message names the file that it is of");
const NO_FILE: Refusal =
    Refusal::new(Class::NotFound, "media_not_found", "there is no file in this message");
const OTHER_MEDIA: Refusal = Refusal::new(
    Class::Invalid,
    "media_differs",
    "hash or size are not those of the file: take them from media.get",
);

impl Home {
    /// Keeps what is known of a file of this home. Its bytes are on disk.
    pub fn keep_media(&mut self, now_ms: u64, media: MediaState) {
        self.at(now_ms);
        self.write(Write::Media(Box::new(media)));
        self.hurry();
    }

    /// Forgets a file of this home that is marked as going, unless it is named again; or in any case. Returns whether it did.
    pub fn forget_media(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        id: Uuid,
        named_or_not: bool,
    ) -> Result<bool, Fault> {
        self.at(now_ms);
        self.hurry();
        let state = reader.media(id)?.filter(|state| state.going || named_or_not);
        let Some(state) = state else { return Ok(false) };
        let media = MediaId { home: self.id(), id };
        if !named_or_not && !reader.named(media, None, 1)?.is_empty() {
            let kept = MediaState { going: false, unnamed_since: None, ..state };
            self.write(Write::Media(Box::new(kept)));
            return Ok(false);
        }
        self.write(Write::MediaGone { id, hash: state.hash });
        Ok(true)
    }

    /// The first file of a message that a user of this home is shown.
    pub fn media_of_message(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        channel: ChannelId,
        message: &Target,
    ) -> Result<MediaReference, Failure> {
        let me = self.user(user);
        let entry = self.seen_message(reader, channel, &me, message)?;
        let fold = self.fold(reader, channel, entry.pos)?;
        let deleted = fold.is_some_and(|fold| fold.is_deleted_for(&me, &message.sender));
        if deleted || entry.event.is_erased() {
            return Err(NO_FILE.into());
        }
        named_by(&entry).next().cloned().ok_or_else(|| NO_FILE.into())
    }

    /// Whether the sender may name the files that a message names.
    pub(crate) fn check_media(
        &mut self,
        reader: &dyn Reader,
        command: &SendCommand,
    ) -> Result<(), Failure> {
        if command.kind == Kind::Media && command.media.is_empty() {
            return Err(NO_MEDIA_NAMED.into());
        }
        let me = self.user(&command.sender);
        for media in &command.media {
            if media.home != self.id() {
                return Err(NO_MEDIA.into());
            }
            let known = reader.media(media.id)?.filter(|known| !known.going);
            let Some(known) = known else { return Err(NO_MEDIA.into()) };
            if known.owner != command.sender
                && naming_shown(reader, &me, MediaId::from(media))?.is_none()
            {
                return Err(NO_MEDIA.into());
            }
            if known.hash != media.hash || known.size != media.size {
                return Err(OTHER_MEDIA.into());
            }
        }
        Ok(())
    }

    /// An entry that is here names its files, or does so no longer, for everybody.
    pub(crate) fn name_media(&mut self, entry: &LogEntry, there: bool) {
        let (channel, pos) = (entry.channel(), entry.pos);
        let named: Vec<_> = named_by(entry).map(MediaId::from).collect();
        for media in named {
            self.write(Write::Named { media, channel, pos, there });
        }
    }
}
