//! Avatars as clients and other homes are told of them. Which files may be one, the core decides.

use data_encoding::BASE64;
use homing_core::{AVATAR_TYPES, Account, Fault, MediaState, Reader};
use homing_link::AvatarView;
use homing_wire::proto::query::v1 as pb_query;
use homing_wire::{Hash, HomeId, MediaReference};
use uuid::Uuid;

use super::show::Shower;

/// Pixels of a side: what the formats of avatars can say at most, PNG apart.
const SIDE: u32 = 65_535;
/// Bytes of a ThumbHash; they have 25 at most.
const PREVIEW_BYTES: usize = 64;

impl Shower {
    /// What stands for a user of this home.
    pub(super) fn user_avatar(
        &self,
        reader: &dyn Reader,
        account: &Account,
    ) -> Result<Option<AvatarView>, Fault> {
        Ok(file_of(reader, account)?.map(|state| {
            let image = state.image.as_ref();
            let preview = image.map(|image| BASE64.encode(&image.preview));
            AvatarView {
                home: self.home(&self.own()),
                id: state.id,
                hash: state.hash.to_string(),
                size: state.size,
                width: image.map(|image| image.width),
                height: image.map(|image| image.height),
                preview: preview.filter(|preview| !preview.is_empty()),
                mime: Some(state.mime),
            }
        }))
    }

    /// What stands for a group: no more is known of it than its roster says.
    pub(super) fn group_avatar(&self, file: &MediaReference) -> AvatarView {
        AvatarView {
            home: self.home(&file.home),
            id: file.id,
            hash: file.hash.to_string(),
            size: file.size,
            mime: None,
            width: None,
            height: None,
            preview: None,
        }
    }

    /// What another home says of its user's; `None` too where it cannot be shown. `most`: bytes of an avatar.
    pub(super) fn told_avatar(
        &self,
        home: &HomeId,
        told: &pb_query::Avatar,
        most: u64,
    ) -> Option<AvatarView> {
        let sides = 1..=SIDE;
        let sound = (1..=most).contains(&told.size)
            && AVATAR_TYPES.contains(&told.mime.as_str())
            && sides.contains(&told.width)
            && sides.contains(&told.height)
            && told.preview.len() <= PREVIEW_BYTES;
        let view = AvatarView {
            home: self.home(home),
            id: Uuid::from_slice(&told.id).ok()?,
            hash: Hash::from_slice(&told.hash).ok()?.to_string(),
            size: told.size,
            mime: Some(told.mime.clone()),
            width: Some(told.width),
            height: Some(told.height),
            preview: Some(BASE64.encode(&told.preview)).filter(|preview| !preview.is_empty()),
        };
        Some(view).filter(|_| sound)
    }
}

/// What other homes are told of a user's.
pub(super) fn avatar_told(
    reader: &dyn Reader,
    account: &Account,
) -> Result<Option<pb_query::Avatar>, Fault> {
    Ok(file_of(reader, account)?.map(|state| {
        let image = state.image.as_ref();
        pb_query::Avatar {
            id: state.id.as_bytes().to_vec().into(),
            hash: state.hash.0.to_vec().into(),
            size: state.size,
            width: image.map_or(0, |image| image.width),
            height: image.map_or(0, |image| image.height),
            preview: image.map(|image| image.preview.clone()).unwrap_or_default().into(),
            mime: state.mime,
        }
    }))
}

/// The file of an account's avatar, unless the operator has removed it.
fn file_of(reader: &dyn Reader, account: &Account) -> Result<Option<MediaState>, Fault> {
    let Some(id) = account.avatar else { return Ok(None) };
    Ok(reader.media(id)?.filter(|state| !state.going))
}

#[cfg(test)]
mod tests {
    use homing_wire::HomeName;

    use super::super::directory::Directory;
    use super::*;

    fn told() -> pb_query::Avatar {
        pb_query::Avatar {
            id: vec![1; 16].into(),
            hash: vec![2; 32].into(),
            size: 1_000,
            mime: "image/png".into(),
            width: 64,
            height: 65_535,
            preview: vec![3; 25].into(),
        }
    }

    #[test]
    fn what_another_home_says_of_an_avatar_is_shown_where_it_can_be_true() {
        let own = HomeName::canonical("acme.test").unwrap();
        let shower = Shower::new(Directory::new(HomeId([1; 32]), own, &[]));
        let home = HomeId([9; 32]);
        let view = shower.told_avatar(&home, &told(), 1_000).unwrap();
        assert_eq!((view.home, view.size, view.width), (home.to_string(), 1_000, Some(64)));
        let wrong: [fn(&mut pb_query::Avatar); 10] = [
            |a| a.id = vec![1; 15].into(),
            |a| a.hash = vec![1; 33].into(),
            |a| a.size = 0,
            |a| a.size = 1_001,
            |a| a.mime = "image/svg+xml".into(),
            |a| a.mime.clear(),
            |a| a.width = 0,
            |a| a.height = 0,
            |a| a.height = 65_536,
            |a| a.preview = vec![3; 65].into(),
        ];
        for (n, spoil) in wrong.into_iter().enumerate() {
            let mut avatar = told();
            spoil(&mut avatar);
            assert_eq!(shower.told_avatar(&home, &avatar, 1_000), None, "{n}");
        }
        let plain = pb_query::Avatar { preview: Vec::new().into(), ..told() };
        assert_eq!(shower.told_avatar(&home, &plain, 1_000).unwrap().preview, None);
    }
}
