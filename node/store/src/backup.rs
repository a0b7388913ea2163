//! Backups: everything a store holds, in one file, made while commits go on.
//!
//! A backup goes through the store in no hurry, and behind it come the batches that were committed
//! meanwhile. Every write has an absolute value, so replaying those over what was read gives exactly the state
//! at the end. It speaks in [`Write`]s, so one engine's backup restores into another.
//!
//! ```text
//! magic     "homing backup 1\n"
//! record    length of what follows to `chain`, u32 little-endian
//!           kind u8, content
//!           chain: the first 16 bytes of BLAKE3 over everything of the file before it
//! ```
//! Records are: one header, any number of files and batches, one end. The chain finds every changed byte, and
//! says where; without the end a file is cut off.

use std::collections::HashMap;
use std::io::{Read, Write as IoWrite};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use bytes::Bytes;
use homing_core::{AVATAR, Batch, Deleted, Fault, LogEntry, MediaId, UserList, Write, named_by};
use homing_wire::{ChannelId, Epoch, HomeId, Local, OpId, Pos, SignedRoster, Stamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::values::{self, Stored};
use crate::{Meta, Store, StoreError, Tap, entry};

const MAGIC: &[u8] = b"homing backup 1\n";
const CHAIN: usize = 16;
/// A record is at most so long: a batch of a few hundred large entries.
const RECORD_BYTES: usize = 64 << 20;
/// Writes of one record while a store is read.
const PART_WRITES: usize = 256;
/// Bytes of entries read at once.
const PART_BYTES: usize = 4 << 20;
/// Rows of a list read at once.
const PAGE: usize = 256;
/// `op`s kept: those of a week; more than this are the oldest of a very busy home, and are left out.
const OPS: usize = 5_000_000;

mod kind {
    pub(super) const HEADER: u8 = 1;
    pub(super) const FILE: u8 = 2;
    pub(super) const BATCH: u8 = 3;
    pub(super) const END: u8 = 4;
}

/// What a backup is of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackupHeader {
    /// Whose.
    pub home: HomeId,
    /// What it is called.
    pub name: String,
    /// The life of the store.
    pub epoch: Epoch,
    /// Unix milliseconds.
    pub created_at: u64,
    /// The program that made it.
    pub software: String,
}

/// What a backup holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BackupCounts {
    /// Entries of logs, those that were written during the backup counted again.
    pub entries: u64,
    /// Channels, likewise.
    pub channels: u64,
    /// Accounts, likewise.
    pub accounts: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A file beside the store: a key, the configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its name, below the home's directory.
    pub name: String,
    /// What it holds.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for BackupFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may be a key.
        f.debug_struct("BackupFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a backup cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is no backup, or one of a newer program.
    #[error("this is no backup that this program can read")]
    NotABackup,
    /// A byte is not what was written.
    #[error("damaged at byte {at}: {what}")]
    Damaged {
        /// Where the damaged record begins.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The file ends too early.
    #[error("cut off at byte {at}")]
    CutOff {
        /// Where.
        at: u64,
    },
    /// Something stands behind its end.
    #[error("there is something behind the backup's end, at byte {at}")]
    Trailing {
        /// Where.
        at: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store could not be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl BackupError {
    /// The stable word for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Io(_) => "backup_io",
            Self::NotABackup => "not_a_backup",
            Self::Damaged { .. } => "backup_damaged",
            Self::CutOff { .. } => "backup_cut_off",
            Self::Trailing { .. } => "backup_trailing",
            Self::Store(error) => error.reason(),
            Self::Fault(_) => "store_read",
        }
    }
}

/// Writes a backup of `store` and `files`. `spill` holds meanwhile what is committed meanwhile: an empty file.
pub fn write_backup(
    store: &dyn Store,
    header: &BackupHeader,
    files: &[BackupFile],
    to: &mut dyn IoWrite,
    spill: std::fs::File,
) -> Result<BackupCounts, BackupError> {
    let mut out = Out { to, hash: blake3::Hasher::new(), counts: BackupCounts::default() };
    out.raw(MAGIC)?;
    out.record(kind::HEADER, &to_bytes(header))?;
    for file in files {
        out.record(kind::FILE, &to_bytes(file))?;
    }
    // From here on every batch that is committed is kept; what was committed before is there to be read.
    let (sender, batches) = mpsc::channel();
    let tap: Arc<dyn Tap> = Arc::new(Kept(sender));
    store.tap(tap.clone());
    let keeper = std::thread::spawn(move || keep(&batches, spill));
    let read = go_through(store, &mut out);
    store.untap(&tap);
    drop(tap); // with its sender the keeper ends
    let kept = keeper.join().map_err(|_| BackupError::NotABackup)?;
    read?;
    let mut kept = std::io::BufReader::new(kept?);
    while let Some(content) = read_kept(&mut kept)? {
        out.count(&content);
        out.record(kind::BATCH, &content)?;
    }
    let counts = out.counts;
    out.record(kind::END, &to_bytes(&counts))?;
    out.to.flush()?;
    Ok(out.counts)
}

/// Reads a backup to its end, giving files and batches on as they come. Nothing may be believed of it before
/// this has answered.
pub fn read_backup(
    from: &mut dyn Read,
    on_file: &mut dyn FnMut(&BackupHeader, BackupFile) -> Result<(), BackupError>,
    on_batch: &mut dyn FnMut(&BackupHeader, Batch) -> Result<(), BackupError>,
) -> Result<(BackupHeader, BackupCounts), BackupError> {
    let mut input = In { from, hash: blake3::Hasher::new(), at: 0 };
    let mut magic = [0; MAGIC.len()];
    if input.fill(&mut magic).is_err() || magic != MAGIC {
        return Err(BackupError::NotABackup);
    }
    input.hash.update(&magic);
    let mut header: Option<BackupHeader> = None;
    loop {
        let at = input.at;
        let (kind, content) = input.record()?;
        let damaged = |what| BackupError::Damaged { at, what };
        match (kind, &header) {
            (kind::HEADER, None) => {
                header = Some(from_bytes(&content).ok_or(damaged("the header does not parse"))?);
            }
            (kind::FILE, Some(header)) => {
                on_file(header, from_bytes(&content).ok_or(damaged("a file does not parse"))?)?;
            }
            (kind::BATCH, Some(header)) => {
                let batch = decode_batch(content).ok_or(damaged("a batch does not parse"))?;
                on_batch(header, batch)?;
            }
            (kind::END, Some(_)) => {
                let mut counts: BackupCounts =
                    from_bytes(&content).ok_or(damaged("the end does not parse"))?;
                counts.bytes = input.at;
                if input.from.read(&mut [0])? > 0 {
                    return Err(BackupError::Trailing { at: input.at });
                }
                return Ok((header.ok_or(BackupError::NotABackup)?, counts));
            }
            (_, _) => return Err(damaged("a record that does not belong there")),
        }
    }
}

/// Hands what is committed to the keeper.
struct Kept(Sender<Batch>);

impl Tap for Kept {
    fn committed(&self, batch: &Batch) {
        let _keeper_has_failed_and_says_so = self.0.send(batch.clone());
    }
}

/// Everything that is committed, read in pages.
fn go_through(store: &dyn Store, out: &mut Out<'_>) -> Result<(), BackupError> {
    let Meta { change, stamp, .. } = store.meta();
    let mut part = Part { change, stamp, writes: Vec::new() };
    let mut after: Option<Local> = None;
    loop {
        let accounts = store.accounts(after.as_ref(), PAGE)?;
        let Some(last) = accounts.last() else { break };
        after = Some(last.local.clone());
        for account in accounts {
            for row in store.listing(&account.local)? {
                part.add(out, Write::Listing { user: account.local.clone(), row })?;
            }
            for list in [UserList::Contacts, UserList::Blocks] {
                let owner = &account.local;
                for (other, since) in store.listed(list, owner, None, usize::MAX)? {
                    let owner = owner.clone();
                    part.add(out, Write::Listed { list, owner, other, since: Some(since) })?;
                }
            }
            for (channel, view) in store.own_views(&account.local)? {
                let user = account.local.clone();
                if view.drafted
                    && let Some(text) = store.draft(&user, channel)?
                {
                    let text = Some(text.into());
                    part.add(out, Write::Draft { user: user.clone(), channel, text })?;
                }
                part.add(out, Write::OwnView { user, channel, view: Some(view) })?;
            }
            for word in homing_core::words_of(&account) {
                let user = account.local.clone();
                part.add(out, Write::Word { word, user, there: true })?;
            }
            if let Some(at) = store.last_seen(&account.local)? {
                part.add(out, Write::Seen { user: account.local.clone(), at: Some(at) })?;
            }
            if let Some(id) = account.avatar {
                let media = MediaId { home: store.meta().home, id };
                part.add(out, avatar(media, ChannelId::NONE))?;
            }
            // Devices are left out: a backup's tokens are dead.
            part.add(out, Write::Account(Box::new(account)))?;
        }
    }
    for invite in store.invites()? {
        part.add(out, Write::Invite(Box::new(invite)))?;
    }
    for peer in store.peers()? {
        part.add(out, Write::Peer(Box::new(peer)))?;
    }
    for (peer, number, letter) in store.letters()? {
        part.add(out, Write::Letter { peer, number, letter })?;
    }
    for (peer, channel, since) in store.owed()? {
        part.add(out, Write::Owed { peer, channel, since: Some(since) })?;
    }
    for (home, user, channel) in store.unanswered()? {
        part.add(out, Write::Unanswered { home, user, channel, open: true })?;
    }
    for (user, op) in store.ops_before(u64::MAX >> 16, OPS)? {
        if let Some(done) = store.op(&user, op)? {
            part.add(out, Write::Op { user, op, done })?;
        }
    }
    let mut after: Option<Uuid> = None;
    loop {
        let files = store.medias(after, PAGE)?;
        let Some(last) = files.last() else { break };
        after = Some(last.id);
        for file in files {
            part.add(out, Write::Media(Box::new(file)))?;
        }
    }
    let mut after: Option<ChannelId> = None;
    loop {
        let states = store.channels(after, PAGE)?;
        let Some(last) = states.last() else { break };
        after = Some(last.id);
        for state in states {
            let mut state = state;
            // The entries that the state names, then the state: a head names what is there.
            let mut pos = state.pruned;
            while pos < state.head {
                let entries = store.log(state.id, pos.next(), state.head, PART_BYTES)?;
                let first = entries.first().map(|entry| entry.pos);
                let (Some(last), true) = (entries.last(), first == Some(pos.next())) else {
                    // Retention may have removed it since the state was read; its batch is behind all this, too.
                    let newer = store.channel(state.id)?.filter(|newer| newer.pruned > pos);
                    let Some(newer) = newer else {
                        return Err(Fault(format!("{}: nothing at {}", state.id, pos.0 + 1)).into());
                    };
                    (pos, state) = (newer.pruned, newer);
                    continue;
                };
                let (first, last) = (pos.next(), last.pos);
                pos = last;
                // What was deleted names no files, whatever its entry says.
                let with_files: HashMap<Pos, Vec<MediaId>> = entries
                    .iter()
                    .map(|entry| (entry.pos, named_by(entry).map(MediaId::from).collect()))
                    .filter(|(_, files): &(Pos, Vec<MediaId>)| !files.is_empty())
                    .collect();
                for entry in entries {
                    part.add(out, Write::Entry(entry))?;
                }
                for (pos, fold) in store.folds(state.id, first, last)? {
                    let channel = state.id;
                    let deleted = fold.deleted == Deleted::ForAll;
                    let files = with_files.get(&pos).filter(|_| deleted);
                    for media in files.into_iter().flatten() {
                        let there = false;
                        part.add(out, Write::Named { media: *media, channel, pos, there })?;
                    }
                    let fold = Arc::new(fold);
                    part.add(out, Write::Fold { channel, pos, fold })?;
                }
            }
            if state.group.is_some()
                && let Some(signed) = store.roster(state.id)?
            {
                // One of this home that nobody has asked for is not named, whatever the roster says.
                let roster = SignedRoster::stored(signed.clone()).ok();
                let file = roster.and_then(|signed| signed.roster().avatar.clone());
                if let Some(media) = file.as_ref().map(MediaId::from)
                    && store.named(media, Some(state.id), 1)?.contains(&(state.id, AVATAR))
                {
                    part.add(out, avatar(media, state.id))?;
                }
                part.add(out, Write::Roster { channel: state.id, signed })?;
            }
            for asked in state.group.iter().flat_map(|group| &group.avatars_asked) {
                let media = MediaId { home: store.meta().home, id: asked.file };
                part.add(out, avatar(media, state.id))?;
            }
            part.add(out, Write::Channel(Box::new(state)))?;
        }
    }
    for (channel, pos, since) in store.erasures(usize::MAX)? {
        part.add(out, Write::Erase { channel, pos, since: Some(since) })?;
    }
    part.end(out)
}

/// A file is an avatar, of a group or of no channel: of a user.
fn avatar(media: MediaId, channel: ChannelId) -> Write {
    Write::Named { media, channel, pos: AVATAR, there: true }
}

/// Writes on their way into a record.
struct Part {
    change: u64,
    stamp: Stamp,
    writes: Vec<Write>,
}

impl Part {
    fn add(&mut self, out: &mut Out<'_>, write: Write) -> Result<(), BackupError> {
        self.writes.push(write);
        if self.writes.len() < PART_WRITES { Ok(()) } else { self.end(out) }
    }

    fn end(&mut self, out: &mut Out<'_>) -> Result<(), BackupError> {
        let writes = std::mem::take(&mut self.writes);
        if writes.is_empty() {
            return Ok(());
        }
        let content = encode_batch(&Batch { change: self.change, stamp: self.stamp, writes });
        out.count(&content);
        out.record(kind::BATCH, &content)
    }
}

/// Keeps batches in a file until the store has been gone through.
fn keep(batches: &Receiver<Batch>, spill: std::fs::File) -> std::io::Result<std::fs::File> {
    use std::io::Seek as _;
    let mut to = std::io::BufWriter::new(spill);
    while let Ok(batch) = batches.recv() {
        let content = encode_batch(&batch);
        to.write_all(&(content.len() as u64).to_le_bytes())?;
        to.write_all(&content)?;
    }
    let mut spill = to.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    spill.rewind()?;
    Ok(spill)
}

fn read_kept(from: &mut dyn Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut content = vec![0; usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX)];
    from.read_exact(&mut content)?;
    Ok(Some(content))
}

struct Out<'a> {
    to: &'a mut dyn IoWrite,
    hash: blake3::Hasher,
    counts: BackupCounts,
}

impl Out<'_> {
    fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.counts.bytes += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn record(&mut self, kind: u8, content: &[u8]) -> Result<(), BackupError> {
        if content.len() >= RECORD_BYTES {
            return Err(std::io::Error::other("a record is too long for a backup").into());
        }
        self.raw(&(content.len() as u32 + 1).to_le_bytes())?;
        self.raw(&[kind])?;
        self.raw(content)?;
        let chain = self.hash.finalize();
        self.raw(&chain.as_bytes()[..CHAIN])?;
        Ok(())
    }

    /// Counts what a batch holds, by its tags.
    fn count(&mut self, content: &[u8]) {
        let mut rest = &content[16..];
        while let Some((tag, length)) = next_write(rest) {
            match tag {
                tag::ENTRY => self.counts.entries += 1,
                tag::CHANNEL => self.counts.channels += 1,
                tag::ACCOUNT => self.counts.accounts += 1,
                _ => {}
            }
            rest = &rest[5 + length..];
        }
    }
}

struct In<'a> {
    from: &'a mut dyn Read,
    hash: blake3::Hasher,
    at: u64,
}

impl In<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        match self.from.read_exact(bytes) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(BackupError::CutOff { at: self.at })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn record(&mut self) -> Result<(u8, Bytes), BackupError> {
        let at = self.at;
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let size = u32::from_le_bytes(length) as usize;
        if size == 0 || size > RECORD_BYTES {
            return Err(BackupError::Damaged { at, what: "a record's length makes no sense" });
        }
        let mut content = vec![0; size];
        self.fill(&mut content)?;
        self.hash.update(&length);
        self.hash.update(&content);
        let expected = self.hash.finalize();
        let mut chain = [0; CHAIN];
        self.fill(&mut chain)?;
        if chain != expected.as_bytes()[..CHAIN] {
            return Err(BackupError::Damaged { at, what: "the checksum does not match" });
        }
        self.hash.update(&chain);
        let mut content = Bytes::from(content);
        let kind = content.split_to(1)[0];
        Ok((kind, content))
    }
}

/// What a write begins with: a tag, and the length of what follows (u32, little-endian).
mod tag {
    pub(super) const ENTRY: u8 = 1;
    pub(super) const CHANNEL: u8 = 2;
    pub(super) const PRUNED: u8 = 3;
    pub(super) const LISTING: u8 = 4;
    pub(super) const ACCOUNT: u8 = 5;
    pub(super) const INVITE: u8 = 6;
    pub(super) const INVITE_GONE: u8 = 7;
    pub(super) const OWED: u8 = 8;
    pub(super) const PEER: u8 = 9;
    pub(super) const OP: u8 = 10;
    pub(super) const OP_GONE: u8 = 11;
    pub(super) const LISTED: u8 = 12;
    pub(super) const ROSTER: u8 = 13;
    pub(super) const LETTER: u8 = 14;
    pub(super) const LETTER_GONE: u8 = 15;
    pub(super) const UNANSWERED: u8 = 16;
    pub(super) const FOLD: u8 = 20;
    pub(super) const OWN_VIEW: u8 = 17;
    pub(super) const DRAFT: u8 = 18;
    pub(super) const WORD: u8 = 19;
    pub(super) const SEEN: u8 = 21;
    pub(super) const MEDIA: u8 = 22;
    pub(super) const MEDIA_GONE: u8 = 23;
    pub(super) const NAMED: u8 = 24;
    pub(super) const ERASE: u8 = 25;
}

fn next_write(rest: &[u8]) -> Option<(u8, usize)> {
    let (tag, length) = (*rest.first()?, rest.get(1..5)?);
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    (rest.len() >= 5 + length).then_some((tag, length))
}

/// Change, stamp, then the writes. Devices are left out: their tokens are dead in a restored home.
fn encode_batch(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&batch.change.to_le_bytes());
    bytes.extend_from_slice(&batch.stamp.0.to_le_bytes());
    for write in &batch.writes {
        let (tag, content) = match write {
            Write::Entry(entry) => {
                let mut content = Vec::new();
                entry::encode_into(entry, &mut content);
                (tag::ENTRY, content)
            }
            Write::Channel(state) => (tag::CHANNEL, stored(state.as_ref())),
            Write::Fold { channel, pos, fold } => {
                (tag::FOLD, to_bytes(&(channel, pos, stored(fold.as_ref()))))
            }
            Write::Pruned { channel, upto } => (tag::PRUNED, to_bytes(&(channel, upto))),
            Write::Listing { user, row } => (tag::LISTING, to_bytes(&(user, row))),
            Write::Account(account) => (tag::ACCOUNT, stored(account.as_ref())),
            Write::Device(_) | Write::DeviceGone { .. } => continue,
            Write::Invite(invite) => (tag::INVITE, stored(invite.as_ref())),
            Write::InviteGone(code) => (tag::INVITE_GONE, to_bytes(code)),
            Write::Owed { peer, channel, since } => (tag::OWED, to_bytes(&(peer, channel, since))),
            Write::Unanswered { home, user, channel, open } => {
                (tag::UNANSWERED, to_bytes(&(home, user, channel, open)))
            }
            Write::Peer(peer) => (tag::PEER, stored(peer.as_ref())),
            Write::Roster { channel, signed } => (tag::ROSTER, to_bytes(&(channel, signed))),
            Write::Letter { peer, number, letter } => {
                (tag::LETTER, to_bytes(&(peer, number, letter)))
            }
            Write::LetterGone { peer, number } => (tag::LETTER_GONE, to_bytes(&(peer, number))),
            Write::Op { user, op, done } => (tag::OP, to_bytes(&(user, op, stored(done)))),
            Write::OpGone { user, op } => (tag::OP_GONE, to_bytes(&(user, op))),
            Write::Media(media) => (tag::MEDIA, stored(media.as_ref())),
            Write::MediaGone { id, hash } => (tag::MEDIA_GONE, to_bytes(&(id, hash))),
            Write::Named { media, channel, pos, there } => {
                (tag::NAMED, to_bytes(&(media.home, media.id, channel, pos, there)))
            }
            Write::Erase { channel, pos, since } => (tag::ERASE, to_bytes(&(channel, pos, since))),
            Write::Seen { user, at } => (tag::SEEN, to_bytes(&(user, at))),
            Write::Listed { list, owner, other, since } => {
                (tag::LISTED, to_bytes(&(list, owner, other, since)))
            }
            Write::OwnView { user, channel, view } => {
                (tag::OWN_VIEW, to_bytes(&(user, channel, view.as_ref().map(stored))))
            }
            Write::Draft { user, channel, text } => {
                (tag::DRAFT, to_bytes(&(user, channel, text.as_deref())))
            }
            Write::Word { word, user, there } => (tag::WORD, to_bytes(&(word, user, there))),
        };
        bytes.push(tag);
        bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&content);
    }
    bytes
}

fn decode_batch(mut content: Bytes) -> Option<Batch> {
    if content.len() < 16 {
        return None;
    }
    let head = content.split_to(16);
    let change = u64::from_le_bytes(head[..8].try_into().ok()?);
    let stamp = Stamp(u64::from_le_bytes(head[8..].try_into().ok()?));
    let mut writes = Vec::new();
    while !content.is_empty() {
        let (tag, length) = next_write(&content)?;
        let _head = content.split_to(5);
        let content = content.split_to(length);
        writes.push(match tag {
            tag::ENTRY => {
                let entry: LogEntry = entry::decode(&content, None).ok()?;
                Write::Entry(Arc::new(entry))
            }
            tag::FOLD => {
                let (channel, pos, fold): (ChannelId, Pos, Vec<u8>) = from_bytes(&content)?;
                Write::Fold { channel, pos, fold: Arc::new(values::decode(&fold).ok()?) }
            }
            tag::CHANNEL => Write::Channel(Box::new(values::decode(&content).ok()?)),
            tag::PRUNED => {
                let (channel, upto): (ChannelId, Pos) = from_bytes(&content)?;
                Write::Pruned { channel, upto }
            }
            tag::LISTING => {
                let (user, row) = from_bytes(&content)?;
                Write::Listing { user, row }
            }
            tag::ACCOUNT => Write::Account(Box::new(values::decode(&content).ok()?)),
            tag::INVITE => Write::Invite(Box::new(values::decode(&content).ok()?)),
            tag::INVITE_GONE => Write::InviteGone(from_bytes(&content)?),
            tag::OWED => {
                let (peer, channel, since) = from_bytes(&content)?;
                Write::Owed { peer, channel, since }
            }
            tag::UNANSWERED => {
                let (home, user, channel, open) = from_bytes(&content)?;
                Write::Unanswered { home, user, channel, open }
            }
            tag::MEDIA => Write::Media(Box::new(values::decode(&content).ok()?)),
            tag::MEDIA_GONE => {
                let (id, hash) = from_bytes(&content)?;
                Write::MediaGone { id, hash }
            }
            tag::NAMED => {
                let (home, id, channel, pos, there) = from_bytes(&content)?;
                Write::Named { media: MediaId { home, id }, channel, pos, there }
            }
            tag::ERASE => {
                let (channel, pos, since) = from_bytes(&content)?;
                Write::Erase { channel, pos, since }
            }
            tag::PEER => Write::Peer(Box::new(values::decode(&content).ok()?)),
            tag::ROSTER => {
                let (channel, signed) = from_bytes(&content)?;
                Write::Roster { channel, signed }
            }
            tag::LETTER => {
                let (peer, number, letter) = from_bytes(&content)?;
                Write::Letter { peer, number, letter }
            }
            tag::LETTER_GONE => {
                let (peer, number) = from_bytes(&content)?;
                Write::LetterGone { peer, number }
            }
            tag::OP => {
                let (user, op, done): (Local, OpId, Vec<u8>) = from_bytes(&content)?;
                Write::Op { user, op, done: values::decode(&done).ok()? }
            }
            tag::OP_GONE => {
                let (user, op) = from_bytes(&content)?;
                Write::OpGone { user, op }
            }
            tag::OWN_VIEW => {
                let (user, channel, view): (Local, ChannelId, Option<Vec<u8>>) =
                    from_bytes(&content)?;
                let view = match view {
                    Some(view) => Some(values::decode(&view).ok()?),
                    None => None,
                };
                Write::OwnView { user, channel, view }
            }
            tag::DRAFT => {
                let (user, channel, text): (Local, ChannelId, Option<String>) =
                    from_bytes(&content)?;
                Write::Draft { user, channel, text: text.map(Into::into) }
            }
            tag::WORD => {
                let (word, user, there) = from_bytes(&content)?;
                Write::Word { word, user, there }
            }
            tag::SEEN => {
                let (user, at) = from_bytes(&content)?;
                Write::Seen { user, at }
            }
            tag::LISTED => {
                let (list, owner, other, since) = from_bytes(&content)?;
                Write::Listed { list, owner, other, since }
            }
            _ => return None,
        });
    }
    Some(Batch { change, stamp, writes })
}

fn stored<T: Stored>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    values::encode_into(value, &mut bytes);
    bytes
}

fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("memory takes all bytes, and the types are plain data")
}

fn from_bytes<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        Ok(_) | Err(_) => None,
    }
}

/// When a backup is restored, and up to when its home had stamped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RestoreTime {
    /// Unix milliseconds.
    pub now_ms: u64,
    /// The greatest stamp in the backup, as reading it once has shown.
    pub newest: Stamp,
}

/// Puts a batch of a backup into a new store: without tokens, and with every other home to be asked what it
/// holds. What the home had stamped by a clock that ran ahead does not move the new life ahead as well.
pub fn restore_batch(
    store: &dyn Store,
    mut batch: Batch,
    time: RestoreTime,
) -> Result<(), BackupError> {
    let now = Stamp::from_ms(time.now_ms);
    for write in &mut batch.writes {
        match write {
            Write::Peer(peer) => peer.reconcile = true,
            // The greatest stamp said up to when a message can have been stored: without it, ids up to there have to
            // be looked up, or a repeated message would be taken for a new one.
            Write::Account(account) if time.newest > now => {
                account.ids_ahead_ms = account.ids_ahead_ms.max(time.newest.ms());
            }
            Write::Account(_)
            | Write::Entry(_)
            | Write::Fold { .. }
            | Write::Channel(_)
            | Write::Pruned { .. }
            | Write::Listing { .. }
            | Write::Device(_)
            | Write::DeviceGone { .. }
            | Write::Invite(_)
            | Write::InviteGone(_)
            | Write::Owed { .. }
            | Write::Unanswered { .. }
            | Write::Listed { .. }
            | Write::Seen { .. }
            | Write::Roster { .. }
            | Write::Letter { .. }
            | Write::LetterGone { .. }
            | Write::OwnView { .. }
            | Write::Draft { .. }
            | Write::Word { .. }
            | Write::Media(_)
            | Write::MediaGone { .. }
            | Write::Named { .. }
            | Write::Erase { .. }
            | Write::Op { .. }
            | Write::OpGone { .. } => {}
        }
    }
    batch.stamp = batch.stamp.min(now);
    Ok(store.commit(&batch)?)
}
