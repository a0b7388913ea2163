//! Avatars: images that stand for a user or for a group.
//!
//! An avatar is a file like any other, and is named like one, which permits reading it and keeps it: a user's by the account,
//! a group's by its roster. Both stand at the place [`AVATAR`], where no entry ever is: a user's of no channel
//! ([`ChannelId::NONE`]), a group's of the group. The place is the claim; what the account or the roster says now is looked at
//! whenever somebody wants to read.
//!
//! A roster is its owner home's word, and that home could name in it whatever file it has heard of. So a file of this home is
//! named by another home's roster only where its owner has asked for it, here ([`AvatarAsked`]).

use homing_wire::{
    ChannelId, HomeId, Local, MediaReference, OpId, Outcome, Pos, Roster, SignedRoster,
};
use uuid::Uuid;

use crate::home::Home;
use crate::media::{MediaId, MediaState, NO_MEDIA, Naming};
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, Failure, Refusal};
use crate::state::{AccountState, AvatarAsked, GroupState};
use crate::write::Write;

/// The place of avatars: entries begin at 1.
pub const AVATAR: Pos = Pos(0);

/// Media types of avatars: what every browser draws, and of which smaller images are made here.
pub const AVATAR_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

const NOT_AN_IMAGE: Refusal = Refusal::new(
    Class::Invalid,
    "not_an_image",
    "an avatar is an image that this home can read: JPEG, PNG, GIF or WebP",
);
const TOO_LARGE: Refusal =
    Refusal::new(Class::Limit, "avatar_too_large", "this image is too large for an avatar");
const TOO_MANY_ASKED: Refusal = Refusal::new(
    Class::Limit,
    "home_unreachable",
    "too many avatars wait for that group's home already: try again when it is back",
);

/// The file of this home that is the avatar of whoever uploaded it, if it is.
pub(crate) fn of_account(reader: &dyn Reader, media: MediaId) -> Result<Option<Naming>, Fault> {
    let Some(state) = reader.media(media.id)?.filter(|state| !state.going) else {
        return Ok(None);
    };
    let account = reader.account(&state.owner)?;
    let shown = account.is_some_and(|account| {
        account.state != AccountState::Deleted && account.avatar == Some(media.id)
    });
    let naming =
        Naming { media: reference(media.home, &state), channel: ChannelId::NONE, pos: AVATAR };
    Ok(Some(naming).filter(|_| shown))
}

/// The file that is a group's avatar by the roster that is held, if it is.
pub fn avatar_of_group(
    reader: &dyn Reader,
    group: ChannelId,
    media: MediaId,
) -> Result<Option<Naming>, Fault> {
    let Some(signed) = reader.roster(group)? else { return Ok(None) };
    let Ok(signed) = SignedRoster::stored(signed) else { return Ok(None) };
    let avatar = signed.roster().avatar.clone().filter(|avatar| MediaId::from(avatar) == media);
    Ok(avatar.map(|media| Naming { media, channel: group, pos: AVATAR }))
}

/// As others name a file of `home`.
fn reference(home: HomeId, state: &MediaState) -> MediaReference {
    MediaReference { home, id: state.id, hash: state.hash, size: state.size }
}

impl Home {
    /// A file of this home as an avatar, where that user may take it for one.
    pub fn avatar_file(
        &self,
        reader: &dyn Reader,
        user: &Local,
        id: Uuid,
    ) -> Result<MediaReference, Failure> {
        let state = reader.media(id)?.filter(|state| !state.going && state.owner == *user);
        let state = state.ok_or(NO_MEDIA)?;
        if state.image.is_none() || !AVATAR_TYPES.contains(&state.mime.as_str()) {
            return Err(NOT_AN_IMAGE.into());
        }
        self.check_avatar_size(state.size)?;
        Ok(reference(self.id(), &state))
    }

    /// Whether a file is as small as an avatar has to be.
    pub(crate) fn check_avatar_size(&self, size: u64) -> Result<(), Refusal> {
        let most = self.policy.avatar_bytes;
        if size <= most { Ok(()) } else { Err(TOO_LARGE.with_limit(most)) }
    }

    /// Whether a user of this home may have a group's avatar be that.
    pub(crate) fn check_avatar(
        &self,
        reader: &dyn Reader,
        user: &Local,
        file: &MediaReference,
    ) -> Result<(), Failure> {
        let own = file.home == self.id() && self.avatar_file(reader, user, file.id)? == *file;
        if own { Ok(()) } else { Err(NO_MEDIA.into()) }
    }

    /// An account has another avatar, or none.
    pub(crate) fn move_avatar(&mut self, from: Option<Uuid>, to: Option<Uuid>) {
        if from == to {
            return;
        }
        for (id, there) in [(from, false), (to, true)] {
            if let Some(id) = id {
                self.name_avatar(ChannelId::NONE, MediaId { home: self.id(), id }, there);
            }
        }
    }

    /// Whether another home can be asked for one more avatar of a group.
    pub(crate) fn check_avatars_asked(&self, group: ChannelId, op: OpId) -> Result<(), Refusal> {
        let asked = self.group(group).map_or(&[][..], |of| &of.avatars_asked[..]);
        let most = GroupState::AVATARS_ASKED;
        if asked.iter().filter(|asked| asked.op != op).count() < most {
            return Ok(());
        }
        Err(TOO_MANY_ASKED.with_limit(most as u64))
    }

    /// A user of this home wants a file of this home to be the avatar of a group of another, which is asked.
    pub(crate) fn ask_avatar(&mut self, group: ChannelId, op: OpId, file: Uuid) {
        let Some(of) = self.group_mut(group) else { return };
        of.avatars_asked.retain(|asked| asked.op != op);
        of.avatars_asked.push(AvatarAsked { op, file, version: 0 });
        self.name_avatar(group, MediaId { home: self.id(), id: file }, true);
    }

    /// The group's home has answered.
    pub(crate) fn avatar_settled(
        &mut self,
        reader: &dyn Reader,
        peer: HomeId,
        outcome: &Outcome,
    ) -> Result<(), Fault> {
        let group = outcome.group;
        self.channel(reader, group)?;
        let Some(of) = self.group(group).filter(|of| of.owner == peer) else { return Ok(()) };
        if !of.avatars_asked.iter().any(|asked| asked.op == outcome.op) {
            return Ok(());
        }
        // Done: the roster that shows it may come behind this, or have come before.
        let waits = outcome.refused.is_none() && outcome.version > of.version;
        let now = self.roster(group).and_then(|signed| signed.roster().avatar.clone());
        let Some(of) = self.group_mut(group) else { return Ok(()) };
        for asked in of.avatars_asked.iter_mut().filter(|asked| asked.op == outcome.op) {
            asked.version = outcome.version;
        }
        if !waits {
            self.forget_asked(group, now.as_ref(), |asked| asked.op == outcome.op);
        }
        Ok(())
    }

    /// A roster is followed: its avatar is named, that of the one before is not any more.
    pub(crate) fn follow_avatar(&mut self, old: Option<&Roster>, new: &Roster) {
        let (own, group) = (self.id(), new.group);
        let avatar = new.avatar.as_ref();
        let done = |asked: &AvatarAsked| {
            let is_it = avatar.is_some_and(|file| file.home == own && file.id == asked.file);
            is_it || (asked.version != 0 && asked.version <= new.version)
        };
        self.forget_asked(group, avatar, done);
        let before = old.and_then(|old| old.avatar.as_ref()).map(MediaId::from);
        let now = avatar.map(MediaId::from);
        if before == now {
            return;
        }
        if let Some(before) = before
            && !(before.home == own && self.is_asked(group, before.id))
        {
            self.name_avatar(group, before, false);
        }
        // One of this home is named already where it was asked for, and by no roster but this home's where it was not.
        if let Some(now) = now
            && (now.home != own || new.owner == own)
        {
            self.name_avatar(group, now, true);
        }
    }

    /// Forgets what was asked for and is settled. `avatar`: what the group has now.
    fn forget_asked(
        &mut self,
        group: ChannelId,
        avatar: Option<&MediaReference>,
        settled: impl Fn(&AvatarAsked) -> bool,
    ) {
        let own = self.id();
        if !self.group(group).is_some_and(|of| of.avatars_asked.iter().any(&settled)) {
            return; // most rosters: nothing is written for it
        }
        let Some(of) = self.group_mut(group) else { return };
        let asked = std::mem::take(&mut of.avatars_asked);
        let (gone, rest): (Vec<_>, Vec<_>) = asked.into_iter().partition(settled);
        of.avatars_asked = rest;
        for AvatarAsked { file, .. } in gone {
            let is_it = avatar.is_some_and(|avatar| avatar.home == own && avatar.id == file);
            if !is_it && !self.is_asked(group, file) {
                self.name_avatar(group, MediaId { home: own, id: file }, false);
            }
        }
    }

    fn is_asked(&self, group: ChannelId, file: Uuid) -> bool {
        self.group(group).is_some_and(|of| of.avatars_asked.iter().any(|a| a.file == file))
    }

    fn group(&self, group: ChannelId) -> Option<&GroupState> {
        self.state(group)?.group.as_ref()
    }

    fn group_mut(&mut self, group: ChannelId) -> Option<&mut GroupState> {
        self.state_mut(group)?.group.as_mut()
    }

    fn name_avatar(&mut self, channel: ChannelId, media: MediaId, there: bool) {
        self.write(Write::Named { media, channel, pos: AVATAR, there });
    }
}
