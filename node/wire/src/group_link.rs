//! The text by which people come into a group: `homing:join/HOME/GROUP/SECRET`.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;

use crate::id::{ChannelId, Hash, HomeId};

const PREFIX: &str = "homing:join/";

/// What a joiner's home has to know. Whoever has the text can come: the owner home keeps the secret's hash alone.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupLink {
    /// The group's owner home.
    pub home: HomeId,
    /// The group.
    pub group: ChannelId,
    /// 32 random bytes.
    pub secret: [u8; 32],
}

/// Why a text is no link to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a link to a group")]
pub struct GroupLinkError;

impl GroupLink {
    /// Characters of a link: each has as many.
    pub const TEXT_LEN: usize = PREFIX.len() + HomeId::TEXT_LEN + 1 + 36 + 1 + 52;

    /// What the owner home keeps of it.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.secret)
    }
}

impl fmt::Display for GroupLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut secret = BASE32_NOPAD.encode(&self.secret);
        secret.make_ascii_lowercase();
        write!(f, "{PREFIX}{}/{}/{secret}", self.home, self.group)
    }
}

impl fmt::Debug for GroupLink {
    /// Without the secret: logs are no place for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}/…", self.home, self.group)
    }
}

impl FromStr for GroupLink {
    type Err = GroupLinkError;

    /// Takes only what [`fmt::Display`] writes: a link has one text.
    fn from_str(text: &str) -> Result<Self, GroupLinkError> {
        if text.len() != Self::TEXT_LEN {
            return Err(GroupLinkError);
        }
        let parts = text.strip_prefix(PREFIX).and_then(|rest| {
            let (home, rest) = rest.split_once('/')?;
            let (group, secret) = rest.split_once('/')?;
            let secret = BASE32_NOPAD.decode(secret.to_ascii_uppercase().as_bytes()).ok()?;
            Some(Self {
                home: home.parse().ok()?,
                group: group.parse().ok()?,
                secret: secret.try_into().ok()?,
            })
        });
        parts.filter(|link| link.to_string() == text).ok_or(GroupLinkError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_one_text() {
        let link = GroupLink {
            home: HomeId([7; 32]),
            group: ChannelId(uuid::Uuid::from_u128(9)),
            secret: [0xa5; 32],
        };
        let text = link.to_string();
        assert_eq!(text.len(), GroupLink::TEXT_LEN);
        assert_eq!(text.parse(), Ok(link.clone()));
        assert!(
            !format!("{link:?}").contains(&text[text.len() - 52..]),
            "the secret is not logged"
        );
        let longer = format!("{text}a");
        let shorter = &text[..text.len() - 1];
        let bits = format!("{shorter}b"); // bits beyond the last byte
        let other = text.replacen("join", "jolt", 1);
        let cut = text.replacen('/', ":", 2);
        let upper = text.to_ascii_uppercase();
        let wide = text.replacen(&text[text.len() - 2..], "ü", 1);
        for wrong in ["", shorter, &longer, &bits, &other, &cut, &upper, &wide] {
            assert_eq!(wrong.parse::<GroupLink>(), Err(GroupLinkError), "{wrong}");
        }
    }
}
