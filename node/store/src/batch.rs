//! What a [`Write`] means in keys and values. Every engine goes through here, so that none of them has
//! an opinion of its own.

use std::collections::HashSet;
use std::sync::Arc;

use homing_core::{Batch, Fault, LogEntry, MediaId, MessageKey, OpDone, Write, named_by};

use crate::keys::Key;
use crate::values::{
    self, DraftRow, EraseSince, IsChange, IsFound, IsNamed, IsOpen, LetterRow, ListedSince,
    Listing, OpAge, OwedSince, PrunedTo, RosterRow, SeenAt, Stored, TokenOf,
};

/// Takes what a batch changes, in order. Later changes of a key win.
pub(crate) trait Sink {
    fn put<T: Stored>(&mut self, key: &Key, value: &T);
    fn delete(&mut self, key: &Key);
    fn entry(&mut self, entry: &Arc<LogEntry>);
}

/// Translates a batch. `lookup` reads what is committed; it is asked only for `op`s that go.
pub(crate) fn translate(
    batch: &Batch,
    lookup: impl Fn(&Key) -> Result<Option<Vec<u8>>, Fault>,
    sink: &mut impl Sink,
) -> Result<(), Fault> {
    let superseded = superseded(batch);
    for (write, superseded) in batch.writes.iter().zip(superseded) {
        if superseded {
            continue;
        }
        match write {
            Write::Entry(entry) => {
                if let Some(target) = entry.changes() {
                    let message = MessageKey::new(&target.sender, &target.id);
                    sink.put(&Key::change(entry.channel(), message, entry.pos), &IsChange);
                }
                for media in named_by(entry) {
                    let key = Key::named(MediaId::from(media), entry.channel(), entry.pos);
                    sink.put(&key, &IsNamed);
                }
                sink.entry(entry);
            }
            Write::Fold { channel, pos, fold } => {
                sink.put(&Key::fold(*channel, *pos), fold.as_ref());
            }
            Write::Channel(state) => sink.put(&Key::channel(state.id), state.as_ref()),
            Write::Pruned { channel, upto } => sink.put(&Key::pruned(*channel), &PrunedTo(*upto)),
            Write::Listing { user, row } => sink.put(
                &Key::listing(user, row.channel),
                &Listing { changed: row.changed, active_at: row.active_at },
            ),
            Write::Account(account) => sink.put(&Key::account(&account.local), account.as_ref()),
            Write::Device(device) => {
                let to = TokenOf { user: device.user.clone(), device: device.id };
                sink.put(&Key::device(&device.user, device.id), device.as_ref());
                sink.put(&Key::token(device.token), &to);
            }
            Write::DeviceGone { user, device, token } => {
                sink.delete(&Key::device(user, *device));
                sink.delete(&Key::token(*token));
            }
            Write::Invite(invite) => sink.put(&Key::invite(invite.code), invite.as_ref()),
            Write::InviteGone(code) => sink.delete(&Key::invite(*code)),
            Write::Owed { peer, channel, since } => match since {
                Some(since) => sink.put(&Key::owed(*peer, *channel), &OwedSince(*since)),
                None => sink.delete(&Key::owed(*peer, *channel)),
            },
            Write::Unanswered { home, user, channel, open } => {
                let key = Key::unanswered(*home, user, *channel);
                if *open {
                    sink.put(&key, &IsOpen);
                } else {
                    sink.delete(&key);
                }
            }
            Write::Peer(peer) => sink.put(&Key::peer(peer.home), peer.as_ref()),
            Write::Roster { channel, signed } => {
                sink.put(&Key::roster(*channel), &RosterRow(signed.clone()));
            }
            Write::Letter { peer, number, letter } => {
                sink.put(&Key::letter(*peer, *number), &LetterRow(letter.clone()));
            }
            Write::LetterGone { peer, number } => sink.delete(&Key::letter(*peer, *number)),
            Write::Listed { list, owner, other, since } => match since {
                Some(since) => sink.put(&Key::listed(*list, owner, other), &ListedSince(*since)),
                None => sink.delete(&Key::listed(*list, owner, other)),
            },
            Write::OwnView { user, channel, view } => match view {
                Some(view) => sink.put(&Key::own_view(user, *channel), view),
                None => sink.delete(&Key::own_view(user, *channel)),
            },
            Write::Draft { user, channel, text } => match text {
                Some(text) => sink.put(&Key::draft(user, *channel), &DraftRow(text.to_string())),
                None => sink.delete(&Key::draft(user, *channel)),
            },
            Write::Word { word, user, there } => {
                let key = Key::word(word, user);
                if *there {
                    sink.put(&key, &IsFound);
                } else {
                    sink.delete(&key);
                }
            }
            Write::Seen { user, at } => match at {
                Some(at) => sink.put(&Key::seen(user), &SeenAt(*at)),
                None => sink.delete(&Key::seen(user)),
            },
            Write::Media(media) => {
                sink.put(&Key::media(media.id), media.as_ref());
                sink.put(&Key::media_hash(&media.hash, media.id), &IsNamed);
            }
            Write::MediaGone { id, hash } => {
                sink.delete(&Key::media(*id));
                sink.delete(&Key::media_hash(hash, *id));
            }
            Write::Named { media, channel, pos, there } => {
                let key = Key::named(*media, *channel, *pos);
                if *there {
                    sink.put(&key, &IsNamed);
                } else {
                    sink.delete(&key);
                }
            }
            Write::Erase { channel, pos, since } => match since {
                Some(since) => sink.put(&Key::erase(*channel, *pos), &EraseSince(*since)),
                None => sink.delete(&Key::erase(*channel, *pos)),
            },
            Write::Op { user, op, done } => {
                sink.put(&Key::op(user, *op), done);
                sink.put(&Key::op_age(done.at, user, *op), &OpAge);
            }
            Write::OpGone { user, op } => {
                let key = Key::op(user, *op);
                // An `op` written in this very batch is not found here; its row by age stays behind,
                // and readers of that list leave it out (`view::ops_before`).
                if let Some(bytes) = lookup(&key)? {
                    let done: OpDone = values::decode_named("op", &bytes)?;
                    sink.delete(&Key::op_age(done.at, user, *op));
                }
                sink.delete(&key);
            }
        }
    }
    Ok(())
}

/// Which channels and list rows are written again later in the batch. Those are most of what a busy
/// channel's batch repeats, and writing them once saves a fifth of the journal.
fn superseded(batch: &Batch) -> Vec<bool> {
    let mut channels = HashSet::new();
    let mut rows = HashSet::new();
    let mut marks: Vec<bool> = batch
        .writes
        .iter()
        .rev()
        .map(|write| match write {
            Write::Channel(state) => !channels.insert(state.id),
            Write::Listing { user, row } => !rows.insert((user, row.channel)),
            Write::Entry(_)
            | Write::Fold { .. }
            | Write::Pruned { .. }
            | Write::Account(_)
            | Write::Device(_)
            | Write::DeviceGone { .. }
            | Write::Invite(_)
            | Write::InviteGone(_)
            | Write::Owed { .. }
            | Write::Unanswered { .. }
            | Write::Peer(_)
            | Write::Roster { .. }
            | Write::Letter { .. }
            | Write::LetterGone { .. }
            | Write::Listed { .. }
            | Write::OwnView { .. }
            | Write::Draft { .. }
            | Write::Word { .. }
            | Write::Seen { .. }
            | Write::Media(_)
            | Write::MediaGone { .. }
            | Write::Named { .. }
            | Write::Erase { .. }
            | Write::Op { .. }
            | Write::OpGone { .. } => false,
        })
        .collect();
    marks.reverse();
    marks
}
