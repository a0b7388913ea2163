//! Keys of the one key space: a letter for the kind, then what names the thing, in an order that
//! makes every list a range.

use std::ops::Deref;

use homing_core::{MediaId, MessageKey, TokenHash, UserList};
use homing_wire::{ChannelId, DeviceId, Hash, HomeId, Local, OpId, Pos, UserRef};
use uuid::Uuid;

/// What a key's first byte says. Part of the format.
pub(crate) mod kind {
    pub(crate) const ACCOUNT: u8 = b'a';
    /// Whom a user has blocked.
    pub(crate) const BLOCK: u8 = b'b';
    pub(crate) const CHANNEL: u8 = b'c';
    pub(crate) const DEVICE: u8 = b'd';
    /// What a user is writing in a channel.
    pub(crate) const DRAFT: u8 = b'f';
    /// Up to 64 entries of a channel: where they are (journal engine only).
    pub(crate) const CHUNK: u8 = b'e';
    /// What later events make of the message at a place.
    pub(crate) const FOLD: u8 = b'h';
    /// Where the entries are that change a message.
    pub(crate) const CHANGE: u8 = b'j';
    pub(crate) const INVITE: u8 = b'i';
    /// A user's contacts.
    pub(crate) const CONTACT: u8 = b'k';
    pub(crate) const LISTING: u8 = b'l';
    /// Where the message of a sender and id is (journal engine only; memory keeps a map).
    pub(crate) const MESSAGE: u8 = b'm';
    /// By which words people are found.
    pub(crate) const WORD: u8 = b'n';
    pub(crate) const OWED: u8 = b'o';
    /// An invitation or a first contact that is not answered.
    pub(crate) const UNANSWERED: u8 = b'q';
    pub(crate) const PEER: u8 = b'p';
    /// A group's newest roster.
    pub(crate) const ROSTER: u8 = b'g';
    /// A letter that waits for a peer.
    pub(crate) const LETTER: u8 = b'w';
    /// When a user was last seen.
    pub(crate) const SEEN: u8 = b's';
    pub(crate) const TOKEN: u8 = b't';
    /// How a user sees a channel for himself.
    pub(crate) const OWN_VIEW: u8 = b'v';
    /// A file of this home.
    pub(crate) const MEDIA: u8 = b'u';
    /// Where a file is named.
    pub(crate) const NAMED: u8 = b'A';
    /// Whose bodies are to go.
    pub(crate) const ERASE: u8 = b'E';
    /// Files of this home by what is in them.
    pub(crate) const MEDIA_HASH: u8 = b'B';
    pub(crate) const OP: u8 = b'x';
    /// The same `op`s by age.
    pub(crate) const OP_AGE: u8 = b'y';
    /// Up to where entries of a channel may be thrown away.
    pub(crate) const PRUNED: u8 = b'r';
    /// A piece of a value too large for one entry of the index.
    pub(crate) const PART: u8 = b'P';
    /// How far the index has got in the journal.
    pub(crate) const POSITION: u8 = b'z';
}

/// The longest key: a contact of a user, both with names of 64 characters.
const LONGEST: usize = 1 + 64 + 1 + 32 + 64;

/// A key, without an allocation.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    bytes: [u8; LONGEST],
    len: u8,
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Key {
    fn of(kind: u8, parts: &[&[u8]]) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[0] = kind;
        let mut len = 1;
        for part in parts {
            bytes[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        Self { bytes, len: len as u8 }
    }

    pub(crate) fn channel(id: ChannelId) -> Self {
        Self::of(kind::CHANNEL, &[id.as_bytes()])
    }

    pub(crate) fn pruned(id: ChannelId) -> Self {
        Self::of(kind::PRUNED, &[id.as_bytes()])
    }

    /// Places are big-endian, so that a range of a log is a range of keys.
    pub(crate) fn fold(channel: ChannelId, pos: Pos) -> Self {
        Self::of(kind::FOLD, &[channel.as_bytes(), &pos.0.to_be_bytes()])
    }

    pub(crate) fn changes(channel: ChannelId, message: MessageKey) -> Self {
        Self::of(kind::CHANGE, &[channel.as_bytes(), &message.0])
    }

    pub(crate) fn change(channel: ChannelId, message: MessageKey, pos: Pos) -> Self {
        let pos = pos.0.to_be_bytes();
        Self::of(kind::CHANGE, &[channel.as_bytes(), &message.0, &pos])
    }

    pub(crate) fn account(local: &Local) -> Self {
        Self::of(kind::ACCOUNT, &[local.as_str().as_bytes()])
    }

    /// A user's lists begin with the name and a zero, which no name contains.
    fn user(kind: u8, user: &Local) -> Self {
        Self::of(kind, &[user.as_str().as_bytes(), &[0]])
    }

    pub(crate) fn listings(user: &Local) -> Self {
        Self::user(kind::LISTING, user)
    }

    pub(crate) fn listing(user: &Local, channel: ChannelId) -> Self {
        Self::of(kind::LISTING, &[user.as_str().as_bytes(), &[0], channel.as_bytes()])
    }

    pub(crate) fn own_views(user: &Local) -> Self {
        Self::user(kind::OWN_VIEW, user)
    }

    pub(crate) fn own_view(user: &Local, channel: ChannelId) -> Self {
        Self::of(kind::OWN_VIEW, &[user.as_str().as_bytes(), &[0], channel.as_bytes()])
    }

    pub(crate) fn draft(user: &Local, channel: ChannelId) -> Self {
        Self::of(kind::DRAFT, &[user.as_str().as_bytes(), &[0], channel.as_bytes()])
    }

    /// Words that begin so.
    pub(crate) fn words(beginning: &str) -> Self {
        Self::of(kind::WORD, &[beginning.as_bytes()])
    }

    /// A word has no zero in it.
    pub(crate) fn word(word: &str, user: &Local) -> Self {
        Self::of(kind::WORD, &[word.as_bytes(), &[0], user.as_str().as_bytes()])
    }

    pub(crate) fn devices(user: &Local) -> Self {
        Self::user(kind::DEVICE, user)
    }

    pub(crate) fn device(user: &Local, device: DeviceId) -> Self {
        Self::of(kind::DEVICE, &[user.as_str().as_bytes(), &[0], device.as_bytes()])
    }

    /// Everybody in a list of a user.
    pub(crate) fn all_listed(list: UserList, owner: &Local) -> Self {
        Self::user(kind_of(list), owner)
    }

    pub(crate) fn listed(list: UserList, owner: &Local, other: &UserRef) -> Self {
        let (owner, local) = (owner.as_str().as_bytes(), other.local.as_str().as_bytes());
        Self::of(kind_of(list), &[owner, &[0], &other.home.0, local])
    }

    pub(crate) fn seen(user: &Local) -> Self {
        Self::of(kind::SEEN, &[user.as_str().as_bytes()])
    }

    pub(crate) fn token(token: TokenHash) -> Self {
        Self::of(kind::TOKEN, &[&token.0])
    }

    pub(crate) fn invite(code: TokenHash) -> Self {
        Self::of(kind::INVITE, &[&code.0])
    }

    pub(crate) fn owed(peer: HomeId, channel: ChannelId) -> Self {
        Self::of(kind::OWED, &[&peer.0, channel.as_bytes()])
    }

    pub(crate) fn unanswered(home: HomeId, user: &Local, channel: ChannelId) -> Self {
        let user = user.as_str().as_bytes();
        Self::of(kind::UNANSWERED, &[&home.0, user, &[0], channel.as_bytes()])
    }

    pub(crate) fn peer(home: HomeId) -> Self {
        Self::of(kind::PEER, &[&home.0])
    }

    pub(crate) fn roster(channel: ChannelId) -> Self {
        Self::of(kind::ROSTER, &[channel.as_bytes()])
    }

    pub(crate) fn letter(peer: HomeId, number: u64) -> Self {
        Self::of(kind::LETTER, &[&peer.0, &number.to_be_bytes()])
    }

    pub(crate) fn media(id: Uuid) -> Self {
        Self::of(kind::MEDIA, &[id.as_bytes()])
    }

    pub(crate) fn media_hashes(hash: &Hash) -> Self {
        Self::of(kind::MEDIA_HASH, &[&hash.0])
    }

    pub(crate) fn media_hash(hash: &Hash, id: Uuid) -> Self {
        Self::of(kind::MEDIA_HASH, &[&hash.0, id.as_bytes()])
    }

    pub(crate) fn all_named(media: MediaId, channel: Option<ChannelId>) -> Self {
        let channel = channel.as_ref().map_or(&[][..], |channel| channel.as_bytes());
        Self::of(kind::NAMED, &[&media.home.0, media.id.as_bytes(), channel])
    }

    pub(crate) fn named(media: MediaId, channel: ChannelId, pos: Pos) -> Self {
        let pos = pos.0.to_be_bytes();
        Self::of(kind::NAMED, &[&media.home.0, media.id.as_bytes(), channel.as_bytes(), &pos])
    }

    pub(crate) fn erase(channel: ChannelId, pos: Pos) -> Self {
        Self::of(kind::ERASE, &[channel.as_bytes(), &pos.0.to_be_bytes()])
    }

    pub(crate) fn op(user: &Local, op: OpId) -> Self {
        Self::of(kind::OP, &[user.as_str().as_bytes(), &[0], op.as_bytes()])
    }

    pub(crate) fn op_age(at_ms: u64, user: &Local, op: OpId) -> Self {
        let at = at_ms.to_be_bytes();
        Self::of(kind::OP_AGE, &[&at, user.as_str().as_bytes(), &[0], op.as_bytes()])
    }

    /// The end of the `op`s done before that.
    pub(crate) fn op_age_end(at_ms: u64) -> Self {
        Self::of(kind::OP_AGE, &[&at_ms.to_be_bytes()])
    }

    pub(crate) fn message(key: MessageKey) -> Self {
        Self::of(kind::MESSAGE, &[&key.0])
    }

    pub(crate) fn chunk(channel: ChannelId, number: u64) -> Self {
        Self::of(kind::CHUNK, &[channel.as_bytes(), &number.to_be_bytes()])
    }

    pub(crate) fn position() -> Self {
        Self::of(kind::POSITION, &[])
    }

    /// The start of a kind.
    pub(crate) fn all(kind: u8) -> Self {
        Self::of(kind, &[])
    }
}

fn kind_of(list: UserList) -> u8 {
    match list {
        UserList::Contacts => kind::CONTACT,
        UserList::Blocks => kind::BLOCK,
    }
}

/// The range of everything that begins with `prefix`: from it to the returned end, not included.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < 0xff {
            *last += 1;
            break;
        }
        end.pop();
    }
    end
}

/// The place at the end of the key of a fold or a change.
pub(crate) fn parse_pos(key: &[u8]) -> Option<Pos> {
    Some(Pos(u64::from_be_bytes(*key.last_chunk::<8>()?)))
}

/// What an `op`'s key names.
pub(crate) fn parse_op_age(key: &[u8]) -> Option<(u64, Local, OpId)> {
    let (at, rest) = key.get(1..)?.split_first_chunk::<8>()?;
    let (user, op) = rest.split_last_chunk::<16>()?;
    let user = std::str::from_utf8(user.strip_suffix(&[0])?).ok()?;
    Some((u64::from_be_bytes(*at), Local::canonical(user).ok()?, OpId::from_slice(op).ok()?))
}

/// Who is found by a word.
pub(crate) fn parse_word(key: &[u8]) -> Option<Local> {
    let (_, user) = std::str::from_utf8(key.get(1..)?).ok()?.split_once('\0')?;
    Local::canonical(user).ok()
}

/// Who stands in a list of `owner`, of which this is a key.
pub(crate) fn parse_listed(key: &[u8], owner: &Local) -> Option<UserRef> {
    let rest = key.get(1..)?.strip_prefix(owner.as_str().as_bytes())?.strip_prefix(&[0])?;
    let (home, local) = rest.split_first_chunk::<32>()?;
    let local = Local::canonical(std::str::from_utf8(local).ok()?).ok()?;
    Some(UserRef::new(HomeId(*home), local))
}

/// The channel at the end of a listing's, an own view's or an owed row's key.
pub(crate) fn parse_channel(key: &[u8]) -> Option<ChannelId> {
    ChannelId::from_slice(key.last_chunk::<16>()?).ok()
}

/// Peer and channel of an owed row's key.
pub(crate) fn parse_owed(key: &[u8]) -> Option<(HomeId, ChannelId)> {
    Some((HomeId(*key.get(1..)?.first_chunk::<32>()?), parse_channel(key)?))
}

/// The other home, who is asked, and the channel of what is not answered.
pub(crate) fn parse_unanswered(key: &[u8]) -> Option<(HomeId, Local, ChannelId)> {
    let (home, rest) = key.get(1..)?.split_first_chunk::<32>()?;
    let (user, channel) = rest.split_last_chunk::<16>()?;
    let user = std::str::from_utf8(user.strip_suffix(&[0])?).ok()?;
    let user = Local::canonical(user).ok()?;
    Some((HomeId(*home), user, ChannelId::from_slice(channel).ok()?))
}

/// Peer and number of a letter's key.
/// The file that the key of a hash ends with.
pub(crate) fn parse_media_hash(key: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(key.get(33..)?).ok()
}

/// The entry that the key of [`Key::erase`] names.
pub(crate) fn parse_erase(key: &[u8]) -> Option<(ChannelId, Pos)> {
    let channel = Uuid::from_slice(key.get(1..17)?).ok()?;
    Some((ChannelId(channel), parse_pos(key)?))
}

/// Where the key of [`Key::named`] says that a file is named.
pub(crate) fn parse_named(key: &[u8]) -> Option<(ChannelId, Pos)> {
    let channel = Uuid::from_slice(key.get(49..65)?).ok()?;
    Some((ChannelId(channel), parse_pos(key)?))
}

pub(crate) fn parse_letter(key: &[u8]) -> Option<(HomeId, u64)> {
    let (peer, number) = key.get(1..)?.split_first_chunk::<32>()?;
    Some((HomeId(*peer), u64::from_be_bytes(number.try_into().ok()?)))
}

/// Whether a kind is only ever asked for by whole key, so that it need not be kept sorted in memory.
pub(crate) fn is_point(key: &[u8]) -> bool {
    matches!(
        key.first(),
        Some(&(kind::CHANNEL | kind::TOKEN | kind::ROSTER | kind::DRAFT | kind::SEEN))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_keys_fit_and_parse() {
        let user = Local::canonical(&"a".repeat(64)).unwrap();
        let op = OpId::from_slice(&[7; 16]).unwrap();
        let other = UserRef::new(HomeId([0xff; 32]), user.clone());
        let key = Key::listed(UserList::Blocks, &user, &other);
        assert_eq!(key.len(), LONGEST);
        assert_eq!(parse_listed(&key, &user), Some(other.clone()));
        let key = Key::op_age(u64::MAX - 1, &user, op);
        assert_eq!(parse_op_age(&key), Some((u64::MAX - 1, user, op)));
        assert!(*key < *Key::op_age_end(u64::MAX));
        let key = Key::word(&"ö".repeat(24), &other.local);
        assert_eq!(parse_word(&key), Some(other.local.clone()));
        let group = ChannelId::from_slice(&[0; 16]).unwrap();
        let key = Key::unanswered(other.home, &other.local, group);
        assert_eq!(parse_unanswered(&key), Some((other.home, other.local, group)));
    }

    #[test]
    fn a_users_range_holds_no_other_user() {
        let [bob, bobby] = ["bob", "bob-by"].map(|n| Local::canonical(n).unwrap());
        let channel = ChannelId::from_slice(&[0xff; 16]).unwrap();
        let (from, key) = (Key::listings(&bob), Key::listing(&bobby, channel));
        assert!(!(from.to_vec()..end_of(&from)).contains(&key.to_vec()));
        assert!((from.to_vec()..end_of(&from)).contains(&Key::listing(&bob, channel).to_vec()));
    }

    #[test]
    fn the_end_of_a_range_carries_over() {
        assert_eq!(end_of(&[1, 0xff, 0xff]), [2]);
        assert_eq!(end_of(&[1, 2]), [1, 3]);
    }
}
