//! Backups of a home: its store, its keys and its configuration in one file; made and checked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use homing_core::ChannelState;
use homing_store::{BackupCounts, BackupFile, BackupHeader, Store, read_backup, write_backup};
use homing_wire::{Epoch, Hash, HomeId, Pos, Seq};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::keys::{IDENTITY_FILE, NODE_FILE, SIGNING_FILE};
use crate::operator::now_ms;

/// The configuration's name in a backup.
pub(crate) const CONFIG: &str = "homing.toml";
/// Bytes of a key or of a configuration: more is something else.
const FILE_BYTES: u64 = 1 << 20;
/// Bytes written between two looks at the room on the disk.
const LOOK_BYTES: u64 = 16 << 20;
/// Channels checked between two looks at the list.
const PAGE: usize = 256;
/// Bytes of entries checked at once.
const CHECK_BYTES: usize = 4 << 20;

/// What was backed up, or what a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRow {
    /// Which home.
    pub home: String,
    /// Its id.
    pub home_id: HomeId,
    /// The life of its store, in Unix milliseconds.
    pub epoch: u64,
    /// Unix milliseconds.
    pub created_at: u64,
    /// Entries of logs; those written during the backup may be counted twice.
    pub entries: u64,
    /// Accounts, likewise.
    pub accounts: u64,
    /// Of the file.
    pub bytes: u64,
}

impl BackupRow {
    pub(crate) fn new(header: BackupHeader, counts: BackupCounts) -> Self {
        Self {
            home: header.name,
            home_id: header.home,
            epoch: header.epoch.0,
            created_at: header.created_at,
            entries: counts.entries,
            accounts: counts.accounts,
            bytes: counts.bytes,
        }
    }
}

/// What was checked of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRow {
    /// Channels.
    pub channels: u64,
    /// Entries of their logs: read, checksum and hashes compared, each linked to the one before it.
    pub entries: u64,
    /// Accounts.
    pub accounts: u64,
}

/// Where a home's files are, for a backup.
#[derive(Clone, Debug)]
pub struct Place {
    /// The home's name.
    pub name: String,
    /// Its keys.
    pub keys: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Where there is room for what is committed during the backup.
    pub spill: PathBuf,
    /// With less room than this left there, the node takes no messages: a backup stops before.
    pub min_free_bytes: u64,
}

impl Place {
    /// Of the home with that configuration.
    pub fn of(config: &Config, config_file: &Path) -> Self {
        Self {
            name: config.home.name.to_string(),
            keys: config.keys_folder(),
            config: config_file.to_owned(),
            spill: config.home.data.clone(),
            min_free_bytes: config.limits.min_free_disk_bytes,
        }
    }
}

/// Makes a backup at `to`, which must not exist. While it is being made it is `to` with `.partial` behind.
pub fn make(store: &dyn Store, place: &Place, to: &Path) -> anyhow::Result<BackupRow> {
    ensure!(to.is_absolute(), "{} is no absolute path", to.display());
    let exists = to.try_exists().with_context(|| format!("{}", to.display()))?;
    ensure!(!exists, "{} exists: nothing was changed; give another name", to.display());
    let meta = store.meta();
    let header = BackupHeader {
        home: meta.home,
        name: place.name.clone(),
        epoch: meta.epoch,
        created_at: now_ms(),
        software: concat!("homing/", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let mut files = Vec::new();
    for name in [IDENTITY_FILE, SIGNING_FILE, NODE_FILE] {
        files.push(backed_up(&place.keys.join(name), &format!("keys/{name}"))?);
    }
    files.push(backed_up(&place.config, CONFIG)?);
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // It holds the home's keys.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
    let file = file.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            anyhow!(
                "{} exists: another backup is being made there, or one was cut off; if none is being made, delete it",
                partial.display()
            )
        } else {
            anyhow!("{}: {error}", partial.display())
        }
    })?;
    let made = write_to(store, &header, &files, file, place)
        .with_context(|| format!("{}", partial.display()))
        .and_then(|counts| {
            publish(&partial, to)?;
            sync_folder_of(to)?;
            Ok(counts)
        });
    match made {
        Ok(counts) => Ok(BackupRow::new(header, counts)),
        Err(error) => {
            let _it_may_have_its_name_already = fs::remove_file(&partial);
            Err(error)
        }
    }
}

/// Gives a file its name, unless there is one of that name.
fn publish(partial: &Path, to: &Path) -> anyhow::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    let renamed = match renameat_with(CWD, partial, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can; a link never replaces anything either.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(partial, to).and_then(|()| fs::remove_file(partial))
        }
        renamed => renamed.map_err(io::Error::from),
    };
    match renamed {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} has appeared meanwhile: it was not replaced; give another name", to.display())
        }
        renamed => renamed.with_context(|| format!("{}", to.display())),
    }
}

fn write_to(
    store: &dyn Store,
    header: &BackupHeader,
    files: &[BackupFile],
    file: File,
    place: &Place,
) -> anyhow::Result<BackupCounts> {
    let spill_path = place.spill.join(format!("backup-{}.spill", now_ms()));
    let spill = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&spill_path)
        .with_context(|| format!("{}", spill_path.display()))?;
    // Nobody else needs its name, and it shall not stay behind.
    fs::remove_file(&spill_path)?;
    let file = Frugal { file, place, unlooked: LOOK_BYTES };
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let counts = write_backup(store, header, files, &mut out, spill)?;
    let Frugal { file, .. } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(counts)
}

/// A file that does not take the room that the node needs.
struct Frugal<'a> {
    file: File,
    place: &'a Place,
    /// Written since the last look.
    unlooked: u64,
}

impl Write for Frugal<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unlooked >= LOOK_BYTES {
            let stat = rustix::fs::statvfs(&self.place.spill)?;
            let (free, least) = (stat.f_bavail * stat.f_frsize, self.place.min_free_bytes);
            if free < least.saturating_add(LOOK_BYTES) {
                return Err(io::Error::other(format!(
                    "{}: {} MiB are free, and {} must stay so (limits.min_free_disk_bytes), or the node takes no \
                     messages: make room, or back up to another disk",
                    self.place.spill.display(),
                    free >> 20,
                    least >> 20,
                )));
            }
            self.unlooked = 0;
        }
        let written = self.file.write(bytes)?;
        self.unlooked += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn backed_up(path: &Path, name: &str) -> anyhow::Result<BackupFile> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES).read_to_end(&mut content))
        .with_context(|| format!("{}", path.display()))?;
    Ok(BackupFile { name: name.to_owned(), content })
}

pub(crate) fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("{}", folder.display()))
}

/// Reads a backup from beginning to end; the error names what is wrong, and where.
pub fn verify_file(from: &Path) -> anyhow::Result<BackupRow> {
    let open = || File::open(from).map(|file| BufReader::with_capacity(1 << 20, file));
    let mut input = open().with_context(|| format!("{}", from.display()))?;
    let (header, counts) = read_backup(&mut input, &mut |_, _| Ok(()), &mut |_, _| Ok(()))
        .with_context(|| format!("{}", from.display()))?;
    Ok(BackupRow::new(header, counts))
}

/// Reads everything of a store and sees that it hangs together.
pub fn verify_store(store: &dyn Store) -> anyhow::Result<VerifyRow> {
    let mut row = VerifyRow::default();
    let mut after = None;
    loop {
        let accounts = store.accounts(after.as_ref(), PAGE)?;
        let Some(last) = accounts.last() else { break };
        after = Some(last.local.clone());
        row.accounts += accounts.len() as u64;
    }
    let mut after = None;
    loop {
        let states = store.channels(after, PAGE)?;
        let Some(last) = states.last() else { break };
        after = Some(last.id);
        for state in states {
            row.entries += verify_log(store, &state)?;
            row.channels += 1;
        }
    }
    Ok(row)
}

fn verify_log(store: &dyn Store, state: &ChannelState) -> anyhow::Result<u64> {
    let id = state.id;
    let mut state = Cow::Borrowed(state);
    let mut ends: HashMap<(HomeId, Epoch), (Seq, Hash)> = HashMap::new();
    let mut pos = state.pruned;
    let mut count = 0;
    while pos < state.head {
        let entries = store.log(id, pos.next(), state.head, CHECK_BYTES)?;
        if entries.first().is_none_or(|entry| entry.pos != pos.next()) {
            // Of a node that runs, retention may have removed it since the state was read.
            let newer = store.channel(id)?.filter(|newer| newer.pruned > pos);
            let Some(newer) = newer else {
                bail!("channel {id}: the entry at pos {} is missing", pos.0 + 1);
            };
            pos = newer.pruned;
            state = Cow::Owned(newer);
            continue;
        }
        for entry in entries {
            let (event, header) = (&entry.event, &entry.event.header);
            let here = || format!("channel {id}, pos {}", entry.pos.0);
            ensure!(entry.pos == Pos(pos.0 + 1), "{}: expected pos {}", here(), pos.0 + 1);
            ensure!(header.channel == id, "{}: the entry is of another channel", here());
            // A body may have been erased; what is there must be what was sent.
            let body = Hash::of(&event.body);
            let erased = event.body.is_empty() && header.body_size > 0;
            ensure!(erased || body == header.body_hash, "{}: the body is another", here());
            let known = ends.insert((header.origin, header.epoch), (header.seq, event.hash()));
            if let Some((seq, hash)) = known {
                ensure!(header.seq > seq, "{}: the order of its home is broken", here());
                // Between two that do not follow each other are events that were rejected.
                let follows = header.seq != seq.next() || header.prev == hash;
                ensure!(follows, "{}: it does not follow on the one before it", here());
            }
            pos = entry.pos;
            count += 1;
        }
    }
    for chain in &state.chains {
        if let Some((seq, hash)) = ends.get(&(chain.origin, chain.epoch)) {
            let fits = *seq < chain.seq || (*seq == chain.seq && *hash == chain.hash);
            ensure!(fits, "channel {id}: a chain does not end as its state says");
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use homing_store::MemoryStore;

    use super::*;
    use crate::keys::Keys;

    fn home() -> (tempfile::TempDir, MemoryStore, Place, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        fs::create_dir(&keys).unwrap();
        let home = Keys::create(&keys).unwrap().home_id();
        let config = dir.path().join(CONFIG);
        fs::write(&config, "").unwrap();
        let spill = dir.path().to_owned();
        let place = Place { name: "acme.test".into(), keys, config, spill, min_free_bytes: 0 };
        let to = dir.path().join("made.homing");
        (dir, MemoryStore::new(home, Epoch(1)), place, to)
    }

    #[test]
    fn another_runs_half_made_file_stays() {
        let (dir, store, place, to) = home();
        let partial = dir.path().join("made.homing.partial");
        fs::write(&partial, "theirs").unwrap();
        let told = make(&store, &place, &to).unwrap_err().to_string();
        assert!(told.contains("another backup is being made"), "{told}");
        assert_eq!(fs::read(&partial).unwrap(), b"theirs");
        fs::remove_file(&partial).unwrap();
        make(&store, &place, &to).unwrap();
        verify_file(&to).unwrap();
    }

    #[test]
    fn a_backup_leaves_the_node_its_room() {
        let (dir, store, mut place, to) = home();
        place.min_free_bytes = u64::MAX;
        let told = format!("{:#}", make(&store, &place, &to).unwrap_err());
        assert!(told.contains("limits.min_free_disk_bytes"), "{told}");
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "keys and configuration alone: {left:?}");
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (partial, to) = (dir.path().join("partial"), dir.path().join("to"));
        fs::write(&partial, "ours").unwrap();
        fs::write(&to, "theirs").unwrap();
        let told = publish(&partial, &to).unwrap_err().to_string();
        assert!(told.contains("appeared meanwhile"), "{told}");
        assert_eq!(fs::read(&to).unwrap(), b"theirs");
        fs::remove_file(&to).unwrap();
        publish(&partial, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"ours");
    }

    /// A node that runs removes what is old while it is looked through.
    #[test]
    fn what_retention_removes_meanwhile_is_not_missing() {
        let (_dir, store, ..) = home();
        let user = |n: u8| {
            homing_wire::UserRef::new(
                HomeId([n; 32]),
                homing_wire::Local::canonical("alice").unwrap(),
            )
        };
        let mut state = ChannelState::chat(user(1), user(2), 1);
        state.head = Pos(5);
        let read = state.clone();
        let put = |state: ChannelState| {
            let writes = vec![homing_core::Write::Channel(Box::new(state))];
            store.commit(&homing_core::Batch { writes, ..homing_core::Batch::default() }).unwrap();
        };
        put(state.clone());
        let told = verify_log(&store, &read).unwrap_err().to_string();
        assert!(told.contains("the entry at pos 1 is missing"), "{told}");
        state.pruned = Pos(5);
        put(state);
        assert_eq!(verify_log(&store, &read).unwrap(), 0);
    }
}
