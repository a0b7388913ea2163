//! Backups of a home: its store, its keys and its configuration in one file; checked, and made into a home
//! again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use homing_core::ChannelState;
use homing_store::{
    BackupCounts, BackupFile, BackupHeader, JournalStore, Store, read_backup, restore_batch,
    write_backup,
};
use homing_wire::{Epoch, Hash, HomeId, Pos, Seq};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::keys::{AdminToken, IDENTITY_FILE, Keys, NODE_FILE, SIGNING_FILE};
use crate::operator::now_ms;
use crate::wiring;

/// The configuration's name in a backup.
const CONFIG: &str = "homing.toml";
/// Bytes of a key or of a configuration: more is something else.
const FILE_BYTES: u64 = 1 << 20;
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
    fn new(header: BackupHeader, counts: BackupCounts) -> Self {
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
}

impl Place {
    /// Of the home with that configuration.
    pub fn of(config: &Config, config_file: &Path) -> Self {
        Self {
            name: config.home.name.to_string(),
            keys: config.keys_folder(),
            config: config_file.to_owned(),
            spill: config.home.data.clone(),
        }
    }
}

/// Makes a backup at `to`, which must not exist. While it is being made it is `to` with `.partial` behind.
pub fn make(store: &dyn Store, place: &Place, to: &Path) -> anyhow::Result<BackupRow> {
    ensure!(to.is_absolute(), "{} is no absolute path", to.display());
    ensure!(!to.exists(), "{} exists: nothing was changed; give another name", to.display());
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
    let made = write_to(store, &header, &files, &partial, place)
        .with_context(|| format!("{}", partial.display()))
        .and_then(|counts| {
            fs::rename(&partial, to).with_context(|| format!("{}", to.display()))?;
            sync_folder_of(to)?;
            Ok(counts)
        });
    match made {
        Ok(counts) => Ok(BackupRow::new(header, counts)),
        Err(error) => {
            let _it_may_not_be_there = fs::remove_file(&partial);
            Err(error)
        }
    }
}

fn write_to(
    store: &dyn Store,
    header: &BackupHeader,
    files: &[BackupFile],
    partial: &Path,
    place: &Place,
) -> anyhow::Result<BackupCounts> {
    // It holds the home's keys.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial)?;
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
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let counts = write_backup(store, header, files, &mut out, spill)?;
    let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(counts)
}

fn backed_up(path: &Path, name: &str) -> anyhow::Result<BackupFile> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES).read_to_end(&mut content))
        .with_context(|| format!("{}", path.display()))?;
    Ok(BackupFile { name: name.to_owned(), content })
}

fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
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
    let mut ends: HashMap<(HomeId, Epoch), (Seq, Hash)> = HashMap::new();
    let mut pos = state.pruned;
    let mut count = 0;
    while pos < state.head {
        let entries = store.log(id, pos.next(), state.head, CHECK_BYTES)?;
        ensure!(!entries.is_empty(), "channel {id}: the entry at pos {} is missing", pos.0 + 1);
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

/// A life is named by its beginning: a name so far ahead is a mistake.
const EPOCH_ROOM_MS: u64 = 366 * 86_400_000;

/// What a home was restored to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredRow {
    /// What it was made from.
    #[serde(flatten)]
    pub backup: BackupRow,
    /// Its new life, in Unix milliseconds.
    pub new_epoch: u64,
    /// What stood in its place, if anything: set aside, not deleted.
    pub set_aside: Vec<PathBuf>,
}

/// Makes a home from a backup: its keys and its store, in a new life. Where there is no configuration, the one
/// in the backup is written. `force`: what stands there is set aside. `epoch_above`: the new life begins above
/// that one, whatever the clock says.
pub fn restore(
    from: &Path,
    config_file: &Path,
    force: bool,
    epoch_above: Option<u64>,
) -> anyhow::Result<RestoredRow> {
    // 48 bits wide wherever it is kept; a year's room above the clock, or a mistyped digit would be for good.
    let now = now_ms();
    ensure!(
        epoch_above.is_none_or(|above| above < now + EPOCH_ROOM_MS),
        "--epoch-above is over a year ahead of the clock: is the clock right? nothing was changed"
    );
    // Everything is read once before anything is touched.
    let mut files: Vec<BackupFile> = Vec::new();
    let open = || File::open(from).map(|file| BufReader::with_capacity(1 << 20, file));
    let mut input = open().with_context(|| format!("{}", from.display()))?;
    let mut keep = |_: &BackupHeader, file| {
        files.push(file);
        Ok(())
    };
    let (header, counts) = read_backup(&mut input, &mut keep, &mut |_, _| Ok(()))
        .with_context(|| format!("{}: nothing was changed", from.display()))?;
    let file = |name: &str| files.iter().find(|file| file.name == name).map(|f| &f.content);
    if !config_file.exists() {
        let text = file(CONFIG).context("the backup holds no configuration: write one first")?;
        if let Some(folder) = config_file.parent().filter(|f| !f.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        write_new(config_file, text)?;
    }
    let config = Config::load(config_file)?;
    if config.home.name.as_str() != header.name {
        bail!(
            "{} is the configuration of {}, the backup is of {}: nothing was changed",
            config_file.display(),
            config.home.name,
            header.name
        );
    }
    let (keys, store) = (config.keys_folder(), config.store_folder());
    let standing: Vec<&PathBuf> = [&keys, &store].into_iter().filter(|p| is_there(p)).collect();
    if let (Some(first), false) = (standing.first(), force) {
        bail!(
            "{} exists: nothing was changed; with --force it is set aside (stop the node first)",
            first.display()
        );
    }
    // A node that runs holds the store.
    if is_there(&store) {
        match JournalStore::open(&store, wiring::journal(&config)) {
            Ok(open) => open.close()?,
            Err(error @ homing_store::StoreError::Locked { .. }) => return Err(error.into()),
            Err(_) => {} // damaged, perhaps: that is why there are backups
        }
    }
    let above = epoch_above.unwrap_or(0).max(header.epoch.0);
    let epoch = Epoch(now.max(above + 1));
    let restoring = sibling(&store, &format!("restoring-{now}"));
    let made = import(from, &restoring, &config, header.home, epoch);
    if let Err(error) = made {
        let _it_may_not_be_there = fs::remove_dir_all(&restoring);
        return Err(error);
    }
    let mut set_aside = Vec::new();
    for path in standing {
        let aside = sibling(path, &format!("before-{now}"));
        fs::rename(path, &aside).with_context(|| format!("{}", path.display()))?;
        set_aside.push(aside);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys)?;
    for name in [IDENTITY_FILE, SIGNING_FILE, NODE_FILE] {
        let content = file(&format!("keys/{name}")).context("the backup holds no keys")?;
        write_new(&keys.join(name), content)?;
    }
    let restored = Keys::load(&keys)?.home_id();
    ensure!(restored == header.home, "the backup's keys are of another home than its store");
    if !config.admin_token_file().exists() {
        AdminToken::create(&config.admin_token_file())?;
    }
    // Last: without a store it is no home.
    fs::rename(&restoring, &store).with_context(|| format!("{}", store.display()))?;
    sync_folder_of(&store)?;
    Ok(RestoredRow { backup: BackupRow::new(header, counts), new_epoch: epoch.0, set_aside })
}

fn import(
    from: &Path,
    to: &Path,
    config: &Config,
    home: HomeId,
    epoch: Epoch,
) -> anyhow::Result<()> {
    JournalStore::create(to, home, epoch)?;
    let store = JournalStore::open(to, wiring::journal(config))?;
    let mut input = BufReader::with_capacity(1 << 20, File::open(from)?);
    read_backup(&mut input, &mut |_, _| Ok(()), &mut |_, batch| restore_batch(&store, batch))
        .with_context(|| format!("{}", from.display()))?;
    store.close()?;
    Ok(())
}

fn is_there(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut files| files.next().is_some())
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    path.with_file_name(name)
}

fn write_new(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{}", path.display()))?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(())
}
