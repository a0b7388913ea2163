//! [`homing_core::Reader`] over keys and values: the same for every engine.

use std::sync::Arc;

use bytes::Bytes;
use homing_core::{
    Account, ChannelState, Device, EntryRow, Fault, Fold, Invite, ListRow, LogEntry, MediaId,
    MediaState, MessageKey, OpDone, OwnView, PeerState, TokenHash, UserList,
};
use homing_wire::{ChannelId, DeviceId, Epoch, Hash, HomeId, Local, OpId, Pos, Seq, UserRef};
use uuid::Uuid;

use crate::keys::{self, Key, kind};
use crate::values::{
    self, DraftRow, EraseSince, IsOpen, LetterRow, ListedSince, Listing, OwedSince, PrunedTo,
    RosterRow, SeenAt, Stored, TokenOf,
};

/// A key with its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// What an engine can do; the rest is built on it.
pub(crate) trait View {
    /// The value of a key.
    fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault>;
    /// Keys from `from` up to `to`, not included, ascending, at most `limit`.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, Fault>;
    fn place(&self, key: MessageKey) -> Result<Option<(ChannelId, Pos)>, Fault>;
    fn shared_entry(&self, channel: ChannelId, pos: Pos) -> Result<Option<Arc<LogEntry>>, Fault>;
    fn shared_entries(
        &self,
        channel: ChannelId,
        first: Pos,
        last: Pos,
        max_bytes: usize,
    ) -> Result<Vec<Arc<LogEntry>>, Fault>;
    fn row(&self, channel: ChannelId, pos: Pos) -> Result<Option<EntryRow>, Fault>;
    fn last_row_of(
        &self,
        channel: ChannelId,
        origin: HomeId,
        pos: Pos,
    ) -> Result<Option<EntryRow>, Fault>;
    fn row_of_seq(
        &self,
        channel: ChannelId,
        origin: HomeId,
        epoch: Epoch,
        seq: Seq,
    ) -> Result<Option<EntryRow>, Fault>;

    /// Whether retention has ever removed anything. Where it has not, no read asks up to where.
    fn prunes(&self) -> bool {
        true
    }

    /// One value, decoded.
    fn one<T: Stored>(&self, what: &'static str, key: &Key) -> Result<Option<T>, Fault> {
        self.value(key)?.map(|bytes| values::decode_named(what, &bytes)).transpose()
    }

    /// Everything under a prefix, decoded.
    fn list<T: Stored>(
        &self,
        what: &'static str,
        prefix: &Key,
    ) -> Result<Vec<(Vec<u8>, T)>, Fault> {
        self.scan(prefix, &keys::end_of(prefix), usize::MAX)?
            .into_iter()
            .map(|(key, bytes)| Ok((key, values::decode_named(what, &bytes)?)))
            .collect()
    }
}

/// Entries of a channel at or below this are gone by retention, whatever files still hold of them.
pub(crate) fn pruned(view: &impl View, channel: ChannelId) -> Result<Pos, Fault> {
    if !view.prunes() {
        return Ok(Pos(0));
    }
    let upto: Option<PrunedTo> = view.one("place of retention", &Key::pruned(channel))?;
    Ok(upto.map_or(Pos(0), |upto| upto.0))
}

pub(crate) fn place(view: &impl View, key: MessageKey) -> Result<Option<(ChannelId, Pos)>, Fault> {
    let Some((channel, pos)) = view.place(key)? else { return Ok(None) };
    Ok((pos > pruned(view, channel)?).then_some((channel, pos)))
}

pub(crate) fn entry(
    view: &impl View,
    channel: ChannelId,
    pos: Pos,
) -> Result<Option<Arc<LogEntry>>, Fault> {
    if pos <= pruned(view, channel)? {
        return Ok(None);
    }
    view.shared_entry(channel, pos)
}

pub(crate) fn entries(
    view: &impl View,
    channel: ChannelId,
    first: Pos,
    last: Pos,
    max_bytes: usize,
) -> Result<Vec<Arc<LogEntry>>, Fault> {
    let first = first.max(pruned(view, channel)?.next());
    view.shared_entries(channel, first, last, max_bytes)
}

pub(crate) fn row(
    view: &impl View,
    channel: ChannelId,
    pos: Pos,
) -> Result<Option<EntryRow>, Fault> {
    if pos <= pruned(view, channel)? {
        return Ok(None);
    }
    view.row(channel, pos)
}

pub(crate) fn last_row_of(
    view: &impl View,
    channel: ChannelId,
    origin: HomeId,
    pos: Pos,
) -> Result<Option<EntryRow>, Fault> {
    let bottom = pruned(view, channel)?;
    Ok(view.last_row_of(channel, origin, pos)?.filter(|row| row.pos > bottom))
}

pub(crate) fn row_of_seq(
    view: &impl View,
    id: ChannelId,
    origin: HomeId,
    epoch: Epoch,
    seq: Seq,
) -> Result<Option<EntryRow>, Fault> {
    let bottom = pruned(view, id)?;
    let found = view.row_of_seq(id, origin, epoch, seq)?;
    if found.is_none_or(|row| row.pos > bottom) {
        return Ok(found);
    }
    // Along a chain seq rises with pos: what is left begins behind the last that is gone.
    let state = channel(view, id)?;
    let gone = state.and_then(|state| state.chain(&origin, epoch)?.pruned);
    let Some((gone, _)) = gone else { return Ok(None) };
    let found = view.row_of_seq(id, origin, epoch, gone.next())?;
    Ok(found.filter(|row| row.pos > bottom))
}

pub(crate) fn fold(view: &impl View, channel: ChannelId, pos: Pos) -> Result<Option<Fold>, Fault> {
    if pos <= pruned(view, channel)? {
        return Ok(None);
    }
    view.one("fold", &Key::fold(channel, pos))
}

pub(crate) fn folds(
    view: &impl View,
    channel: ChannelId,
    first: Pos,
    last: Pos,
) -> Result<Vec<(Pos, Fold)>, Fault> {
    let first = first.max(pruned(view, channel)?.next());
    if first > last {
        return Ok(Vec::new());
    }
    let mut to = Key::fold(channel, last).to_vec();
    to.push(0);
    view.scan(&Key::fold(channel, first), &to, usize::MAX)?
        .into_iter()
        .map(|(key, bytes)| {
            let pos = keys::parse_pos(&key).ok_or_else(|| bad_key("fold"))?;
            Ok((pos, values::decode_named("fold", &bytes)?))
        })
        .collect()
}

pub(crate) fn changes_of(
    view: &impl View,
    channel: ChannelId,
    message: MessageKey,
    limit: usize,
) -> Result<Vec<Pos>, Fault> {
    let bottom = pruned(view, channel)?;
    let from = Key::change(channel, message, bottom.next());
    let to = keys::end_of(&Key::changes(channel, message));
    view.scan(&from, &to, limit)?
        .iter()
        .map(|(key, _)| keys::parse_pos(key).ok_or_else(|| bad_key("change")))
        .collect()
}

fn bad_key(what: &'static str) -> Fault {
    Fault(format!("a stored {what} has a key that does not parse"))
}

pub(crate) fn channel(view: &impl View, id: ChannelId) -> Result<Option<ChannelState>, Fault> {
    view.one("channel", &Key::channel(id))
}

pub(crate) fn channels(
    view: &impl View,
    after: Option<ChannelId>,
    limit: usize,
) -> Result<Vec<ChannelState>, Fault> {
    let all = Key::all(kind::CHANNEL);
    let from = after.map_or_else(
        || all.to_vec(),
        |id| {
            let mut from = Key::channel(id).to_vec();
            from.push(0);
            from
        },
    );
    view.scan(&from, &keys::end_of(&all), limit)?
        .into_iter()
        .map(|(_, bytes)| values::decode_named("channel", &bytes))
        .collect()
}

pub(crate) fn account(view: &impl View, local: &Local) -> Result<Option<Account>, Fault> {
    view.one("account", &Key::account(local))
}

pub(crate) fn accounts(
    view: &impl View,
    after: Option<&Local>,
    limit: usize,
) -> Result<Vec<Account>, Fault> {
    let all = Key::all(kind::ACCOUNT);
    let from = after.map_or_else(
        || all.to_vec(),
        |local| {
            let mut from = Key::account(local).to_vec();
            from.push(0);
            from
        },
    );
    view.scan(&from, &keys::end_of(&all), limit)?
        .into_iter()
        .map(|(_, bytes)| values::decode_named("account", &bytes))
        .collect()
}

pub(crate) fn listing(view: &impl View, user: &Local) -> Result<Vec<ListRow>, Fault> {
    view.list::<Listing>("list row", &Key::listings(user))?
        .into_iter()
        .map(|(key, row)| {
            let channel = keys::parse_channel(&key).ok_or_else(|| bad_key("list row"))?;
            Ok(ListRow { channel, changed: row.changed, active_at: row.active_at })
        })
        .collect()
}

pub(crate) fn device(view: &impl View, token: TokenHash) -> Result<Option<Device>, Fault> {
    let Some(to) = view.one::<TokenOf>("token", &Key::token(token))? else { return Ok(None) };
    let device = device_by_id(view, &to.user, to.device)?;
    // A device that was given a new token no longer answers to the old one.
    Ok(device.filter(|device| device.token == token))
}

pub(crate) fn devices(view: &impl View, user: &Local) -> Result<Vec<Device>, Fault> {
    let devices = view.list("device", &Key::devices(user))?;
    Ok(devices.into_iter().map(|(_, device)| device).collect())
}

pub(crate) fn device_by_id(
    view: &impl View,
    user: &Local,
    device: DeviceId,
) -> Result<Option<Device>, Fault> {
    view.one("device", &Key::device(user, device))
}

pub(crate) fn invite(view: &impl View, code: TokenHash) -> Result<Option<Invite>, Fault> {
    view.one("invite", &Key::invite(code))
}

pub(crate) fn invites(view: &impl View) -> Result<Vec<Invite>, Fault> {
    let invites = view.list("invite", &Key::all(kind::INVITE))?;
    Ok(invites.into_iter().map(|(_, invite)| invite).collect())
}

pub(crate) fn owed(view: &impl View) -> Result<Vec<(HomeId, ChannelId, u64)>, Fault> {
    view.list::<OwedSince>("owed row", &Key::all(kind::OWED))?
        .into_iter()
        .map(|(key, since)| {
            let (peer, channel) = keys::parse_owed(&key).ok_or_else(|| bad_key("owed row"))?;
            Ok((peer, channel, since.0))
        })
        .collect()
}

pub(crate) fn unanswered(view: &impl View) -> Result<Vec<(HomeId, Local, ChannelId)>, Fault> {
    view.list::<IsOpen>("unanswered", &Key::all(kind::UNANSWERED))?
        .into_iter()
        .map(|(key, IsOpen)| keys::parse_unanswered(&key).ok_or_else(|| bad_key("unanswered")))
        .collect()
}

pub(crate) fn media(view: &impl View, id: Uuid) -> Result<Option<MediaState>, Fault> {
    view.one("file", &Key::media(id))
}

pub(crate) fn medias(
    view: &impl View,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<MediaState>, Fault> {
    let all = Key::all(kind::MEDIA);
    let from = after.map_or_else(
        || all.to_vec(),
        |id| {
            let mut from = Key::media(id).to_vec();
            from.push(0);
            from
        },
    );
    let rows = view.scan(&from, &keys::end_of(&all), limit)?;
    rows.iter().map(|(_, bytes)| values::decode_named("file", bytes)).collect()
}

pub(crate) fn media_of_hash(
    view: &impl View,
    hash: Hash,
    limit: usize,
) -> Result<Vec<Uuid>, Fault> {
    let all = Key::media_hashes(&hash);
    let rows = view.scan(&all, &keys::end_of(&all), limit)?;
    let id = |(key, _): &Pair| keys::parse_media_hash(key).ok_or_else(|| bad_key("hash"));
    rows.iter().map(id).collect()
}

pub(crate) fn named(
    view: &impl View,
    media: MediaId,
    channel: Option<ChannelId>,
    limit: usize,
) -> Result<Vec<(ChannelId, Pos)>, Fault> {
    let all = Key::all_named(media, channel);
    let rows = view.scan(&all, &keys::end_of(&all), limit)?;
    rows.iter().map(|(key, _)| keys::parse_named(key).ok_or_else(|| bad_key("file"))).collect()
}

pub(crate) fn erasures(
    view: &impl View,
    limit: usize,
) -> Result<Vec<(ChannelId, Pos, u64)>, Fault> {
    let all = Key::all(kind::ERASE);
    view.scan(&all, &keys::end_of(&all), limit)?
        .into_iter()
        .map(|(key, bytes)| {
            let (channel, pos) = keys::parse_erase(&key).ok_or_else(|| bad_key("erasure"))?;
            let EraseSince(since) = values::decode_named("erasure", &bytes)?;
            Ok((channel, pos, since))
        })
        .collect()
}

pub(crate) fn roster(view: &impl View, id: ChannelId) -> Result<Option<Bytes>, Fault> {
    let row: Option<RosterRow> = view.one("roster", &Key::roster(id))?;
    Ok(row.map(|row| row.0))
}

pub(crate) fn letters(view: &impl View) -> Result<Vec<(HomeId, u64, Bytes)>, Fault> {
    view.list::<LetterRow>("letter", &Key::all(kind::LETTER))?
        .into_iter()
        .map(|(key, letter)| {
            let (peer, number) = keys::parse_letter(&key).ok_or_else(|| bad_key("letter"))?;
            Ok((peer, number, letter.0))
        })
        .collect()
}

pub(crate) fn last_seen(view: &impl View, user: &Local) -> Result<Option<u64>, Fault> {
    let at: Option<SeenAt> = view.one("time when somebody was seen", &Key::seen(user))?;
    Ok(at.map(|at| at.0))
}

pub(crate) fn peers(view: &impl View) -> Result<Vec<PeerState>, Fault> {
    let peers = view.list("peer", &Key::all(kind::PEER))?;
    Ok(peers.into_iter().map(|(_, peer)| peer).collect())
}

pub(crate) fn is_listed(
    view: &impl View,
    list: UserList,
    owner: &Local,
    other: &UserRef,
) -> Result<bool, Fault> {
    Ok(view.value(&Key::listed(list, owner, other))?.is_some())
}

pub(crate) fn listed(
    view: &impl View,
    list: UserList,
    owner: &Local,
    after: Option<&UserRef>,
    limit: usize,
) -> Result<Vec<(UserRef, u64)>, Fault> {
    let all = Key::all_listed(list, owner);
    let from = after.map_or_else(
        || all.to_vec(),
        |other| {
            let mut from = Key::listed(list, owner, other).to_vec();
            from.push(0);
            from
        },
    );
    view.scan(&from, &keys::end_of(&all), limit)?
        .into_iter()
        .map(|(key, bytes)| {
            let other = keys::parse_listed(&key, owner).ok_or_else(|| bad_key("list of users"))?;
            let since: ListedSince = values::decode_named("list of users", &bytes)?;
            Ok((other, since.0))
        })
        .collect()
}

pub(crate) fn own_views(
    view: &impl View,
    user: &Local,
) -> Result<Vec<(ChannelId, OwnView)>, Fault> {
    view.list::<OwnView>("own view", &Key::own_views(user))?
        .into_iter()
        .map(|(key, own)| {
            let channel = keys::parse_channel(&key).ok_or_else(|| bad_key("own view"))?;
            Ok((channel, own))
        })
        .collect()
}

pub(crate) fn draft(
    view: &impl View,
    user: &Local,
    channel: ChannelId,
) -> Result<Option<String>, Fault> {
    let row: Option<DraftRow> = view.one("draft", &Key::draft(user, channel))?;
    Ok(row.map(|row| row.0))
}

pub(crate) fn found_by(
    view: &impl View,
    beginning: &str,
    limit: usize,
) -> Result<Vec<Local>, Fault> {
    let from = Key::words(beginning);
    view.scan(&from, &keys::end_of(&from), limit)?
        .into_iter()
        .map(|(key, _)| keys::parse_word(&key).ok_or_else(|| bad_key("word")))
        .collect()
}

pub(crate) fn has_word(view: &impl View, word: &str, user: &Local) -> Result<bool, Fault> {
    Ok(view.value(&Key::word(word, user))?.is_some())
}

pub(crate) fn op(view: &impl View, user: &Local, op: OpId) -> Result<Option<OpDone>, Fault> {
    view.one("op", &Key::op(user, op))
}

pub(crate) fn ops_before(
    view: &impl View,
    before_ms: u64,
    limit: usize,
) -> Result<Vec<(Local, OpId)>, Fault> {
    let (mut from, to) = (Key::all(kind::OP_AGE).to_vec(), Key::op_age_end(before_ms));
    let mut found = Vec::new();
    while found.len() < limit {
        let page = view.scan(&from, &to, limit - found.len())?;
        let Some((last, _)) = page.last() else { break };
        from.clone_from(last);
        from.push(0);
        for (key, _) in &page {
            let (at, user, id) = keys::parse_op_age(key).ok_or_else(|| bad_key("op"))?;
            // Rows by age that an `op` of the same name has left behind are not it.
            if op(view, &user, id)?.is_some_and(|done| done.at == at) {
                found.push((user, id));
            }
        }
    }
    Ok(found)
}

/// Implements [`homing_core::Reader`] for a type whose `view()` is a [`View`].
macro_rules! reader {
    ($engine:ty) => {
        impl homing_core::Reader for $engine {
            fn channel(&self, id: ChannelId) -> Result<Option<ChannelState>, Fault> {
                view::channel(self.view(), id)
            }
            fn account(&self, local: &Local) -> Result<Option<Account>, Fault> {
                view::account(self.view(), local)
            }
            fn accounts(&self, after: Option<&Local>, limit: usize) -> Result<Vec<Account>, Fault> {
                view::accounts(self.view(), after, limit)
            }
            fn place(&self, key: MessageKey) -> Result<Option<(ChannelId, Pos)>, Fault> {
                view::place(self.view(), key)
            }
            fn entry(&self, channel: ChannelId, pos: Pos) -> Result<Option<LogEntry>, Fault> {
                Ok(view::entry(self.view(), channel, pos)?.map(Arc::unwrap_or_clone))
            }
            fn entries(
                &self,
                channel: ChannelId,
                first: Pos,
                last: Pos,
                max_bytes: usize,
            ) -> Result<Vec<LogEntry>, Fault> {
                let entries = view::entries(self.view(), channel, first, last, max_bytes)?;
                Ok(entries.into_iter().map(Arc::unwrap_or_clone).collect())
            }
            fn log(
                &self,
                channel: ChannelId,
                first: Pos,
                last: Pos,
                max_bytes: usize,
            ) -> Result<Vec<Arc<LogEntry>>, Fault> {
                view::entries(self.view(), channel, first, last, max_bytes)
            }
            fn channels(
                &self,
                after: Option<ChannelId>,
                limit: usize,
            ) -> Result<Vec<ChannelState>, Fault> {
                view::channels(self.view(), after, limit)
            }
            fn fold(&self, channel: ChannelId, pos: Pos) -> Result<Option<Fold>, Fault> {
                view::fold(self.view(), channel, pos)
            }
            fn folds(
                &self,
                channel: ChannelId,
                first: Pos,
                last: Pos,
            ) -> Result<Vec<(Pos, Fold)>, Fault> {
                view::folds(self.view(), channel, first, last)
            }
            fn changes_of(
                &self,
                channel: ChannelId,
                message: MessageKey,
                limit: usize,
            ) -> Result<Vec<Pos>, Fault> {
                view::changes_of(self.view(), channel, message, limit)
            }
            fn row(&self, channel: ChannelId, pos: Pos) -> Result<Option<EntryRow>, Fault> {
                view::row(self.view(), channel, pos)
            }
            fn last_row_of(
                &self,
                channel: ChannelId,
                origin: HomeId,
                pos: Pos,
            ) -> Result<Option<EntryRow>, Fault> {
                view::last_row_of(self.view(), channel, origin, pos)
            }
            fn row_of_seq(
                &self,
                channel: ChannelId,
                origin: HomeId,
                epoch: Epoch,
                seq: Seq,
            ) -> Result<Option<EntryRow>, Fault> {
                view::row_of_seq(self.view(), channel, origin, epoch, seq)
            }
            fn listing(&self, user: &Local) -> Result<Vec<ListRow>, Fault> {
                view::listing(self.view(), user)
            }
            fn device(&self, token: TokenHash) -> Result<Option<Device>, Fault> {
                view::device(self.view(), token)
            }
            fn devices(&self, user: &Local) -> Result<Vec<Device>, Fault> {
                view::devices(self.view(), user)
            }
            fn device_by_id(
                &self,
                user: &Local,
                device: DeviceId,
            ) -> Result<Option<Device>, Fault> {
                view::device_by_id(self.view(), user, device)
            }
            fn invite(&self, code: TokenHash) -> Result<Option<Invite>, Fault> {
                view::invite(self.view(), code)
            }
            fn invites(&self) -> Result<Vec<Invite>, Fault> {
                view::invites(self.view())
            }
            fn owed(&self) -> Result<Vec<(HomeId, ChannelId, u64)>, Fault> {
                view::owed(self.view())
            }
            fn unanswered(&self) -> Result<Vec<(HomeId, Local, ChannelId)>, Fault> {
                view::unanswered(self.view())
            }
            fn roster(&self, channel: ChannelId) -> Result<Option<bytes::Bytes>, Fault> {
                view::roster(self.view(), channel)
            }
            fn media(&self, id: uuid::Uuid) -> Result<Option<homing_core::MediaState>, Fault> {
                view::media(self.view(), id)
            }
            fn medias(
                &self,
                after: Option<uuid::Uuid>,
                limit: usize,
            ) -> Result<Vec<homing_core::MediaState>, Fault> {
                view::medias(self.view(), after, limit)
            }
            fn media_of_hash(
                &self,
                hash: homing_wire::Hash,
                limit: usize,
            ) -> Result<Vec<uuid::Uuid>, Fault> {
                view::media_of_hash(self.view(), hash, limit)
            }
            fn named(
                &self,
                media: homing_core::MediaId,
                channel: Option<ChannelId>,
                limit: usize,
            ) -> Result<Vec<(ChannelId, Pos)>, Fault> {
                view::named(self.view(), media, channel, limit)
            }
            fn erasures(&self, limit: usize) -> Result<Vec<(ChannelId, Pos, u64)>, Fault> {
                view::erasures(self.view(), limit)
            }
            fn letters(&self) -> Result<Vec<(HomeId, u64, bytes::Bytes)>, Fault> {
                view::letters(self.view())
            }
            fn peers(&self) -> Result<Vec<PeerState>, Fault> {
                view::peers(self.view())
            }
            fn is_listed(
                &self,
                list: UserList,
                owner: &Local,
                other: &UserRef,
            ) -> Result<bool, Fault> {
                view::is_listed(self.view(), list, owner, other)
            }
            fn listed(
                &self,
                list: UserList,
                owner: &Local,
                after: Option<&UserRef>,
                limit: usize,
            ) -> Result<Vec<(UserRef, u64)>, Fault> {
                view::listed(self.view(), list, owner, after, limit)
            }
            fn own_views(
                &self,
                user: &Local,
            ) -> Result<Vec<(ChannelId, homing_core::OwnView)>, Fault> {
                view::own_views(self.view(), user)
            }
            fn draft(&self, user: &Local, channel: ChannelId) -> Result<Option<String>, Fault> {
                view::draft(self.view(), user, channel)
            }
            fn found_by(&self, beginning: &str, limit: usize) -> Result<Vec<Local>, Fault> {
                view::found_by(self.view(), beginning, limit)
            }
            fn has_word(&self, word: &str, user: &Local) -> Result<bool, Fault> {
                view::has_word(self.view(), word, user)
            }
            fn last_seen(&self, user: &Local) -> Result<Option<u64>, Fault> {
                view::last_seen(self.view(), user)
            }
            fn op(&self, user: &Local, op: OpId) -> Result<Option<OpDone>, Fault> {
                view::op(self.view(), user, op)
            }
            fn ops_before(
                &self,
                before_ms: u64,
                limit: usize,
            ) -> Result<Vec<(Local, OpId)>, Fault> {
                view::ops_before(self.view(), before_ms, limit)
            }
        }
    };
}
pub(crate) use reader;
