//! `homing restore`: a backup is made into a home again, in a new life. All of it happens or nothing does: what is new is
//! made beside what stands, checked, and put in its place at the end; where that fails, everything goes back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use homing_core::Batch;
use homing_store::{
    BackupFile, BackupHeader, JournalStore, Lock, RestoreTime, Store as _, read_backup,
    restore_batch,
};
use homing_wire::{Epoch, HomeId, Stamp};
use serde::Serialize;

use crate::backup::{BackupRow, CONFIG, sync_folder_of};
use crate::config::Config;
use crate::keys::{AdminToken, IDENTITY_FILE, Keys, NODE_FILE, SIGNING_FILE};
use crate::node::behind_of;
use crate::operator::now_ms;
use crate::wiring;

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
/// that one, whatever the clock says. Where it fails nothing was changed, or the error says what was.
pub fn restore(
    from: &Path,
    config_file: &Path,
    force: bool,
    epoch_above: Option<u64>,
) -> anyhow::Result<RestoredRow> {
    let mut undo = Undo::default();
    restore_with(from, config_file, force, epoch_above, &mut undo).map_err(|error| {
        match undo.back() {
            Ok(()) => error.context("nothing was changed"),
            Err(left) => error.context(format!("not all could be put back ({left})")),
        }
    })
}

fn restore_with(
    from: &Path,
    config_file: &Path,
    force: bool,
    epoch_above: Option<u64>,
    undo: &mut Undo,
) -> anyhow::Result<RestoredRow> {
    // 48 bits wide wherever it is kept; a year's room above the clock, or a mistyped digit would be for good.
    let now = now_ms();
    ensure!(
        epoch_above.is_none_or(|above| above < now + EPOCH_ROOM_MS),
        "--epoch-above is over a year ahead of the clock: is the clock right?"
    );
    // Everything is read once before anything is touched.
    let mut files: Vec<BackupFile> = Vec::new();
    let mut input = open(from)?;
    let mut keep = |_: &BackupHeader, file| {
        files.push(file);
        Ok(())
    };
    let mut time = RestoreTime { now_ms: now, newest: Stamp(0) };
    let mut newest = |_: &BackupHeader, batch: Batch| {
        time.newest = time.newest.max(batch.stamp);
        Ok(())
    };
    let (header, counts) = read_backup(&mut input, &mut keep, &mut newest)
        .with_context(|| format!("{}", from.display()))?;
    let file = |name: &str| files.iter().find(|file| file.name == name).map(|f| &f.content[..]);
    let new_config = match config_file.try_exists() {
        Ok(true) => None,
        Ok(false) => {
            Some(file(CONFIG).context("the backup holds no configuration: write one first")?)
        }
        Err(error) => return Err(error).with_context(|| format!("{}", config_file.display())),
    };
    let config = match new_config {
        Some(text) => Config::parse(std::str::from_utf8(text)?, config_file, variables())?,
        None => Config::load(config_file)?,
    };
    ensure!(
        config.home.name.as_str() == header.name,
        "{} is the configuration of {}, the backup is of {}",
        config_file.display(),
        config.home.name,
        header.name
    );
    // Where a folder is a link, what it leads to is moved and made: on that disk, and without losing the link.
    let (keys, store) = (resolved(&config.keys_folder())?, resolved(&config.store_folder())?);
    let mut standing = Vec::new();
    for path in [&keys, &store] {
        if is_there(path)? {
            standing.push(path);
        }
    }
    if let (Some(first), false) = (standing.first(), force) {
        bail!("{} exists; with --force it is set aside (stop the node first)", first.display());
    }
    // A node that runs holds the store; and none can start on it before the new one is in its place.
    if standing.contains(&&store) {
        undo.hold(&store)?;
    }
    let behind = behind_of(&config.store_folder())?;
    let above = [epoch_above, behind].into_iter().flatten().fold(header.epoch.0, u64::max);
    let epoch = Epoch(now.max(above + 1));

    // What is new, beside what stands.
    let new_store = undo.folder(&sibling(&store, &format!("restoring-{now}")))?;
    import(from, &new_store, &config, header.home, epoch, time)?;
    let new_keys = undo.folder(&sibling(&keys, &format!("restoring-{now}")))?;
    for name in [IDENTITY_FILE, SIGNING_FILE, NODE_FILE] {
        let content = file(&format!("keys/{name}")).context("the backup holds no keys")?;
        write_new(&new_keys.join(name), content)?;
    }
    File::open(&new_keys).and_then(|folder| folder.sync_all())?;
    let restored = Keys::load(&new_keys)?.home_id();
    ensure!(restored == header.home, "the backup's keys are of another home than its store");
    if let Some(text) = new_config {
        undo.parents(config_file)?;
        undo.made(config_file);
        write_new(config_file, text)?;
    }
    let token = config.admin_token_file();
    if !token.try_exists()? {
        undo.made(&token);
        AdminToken::create(&token)?;
    }

    // Each to its place. The store last: without one it is no home.
    let mut set_aside = Vec::new();
    for (new, path) in [(&new_keys, &keys), (&new_store, &store)] {
        if path.try_exists()? {
            let aside = sibling(path, &format!("before-{now}"));
            undo.rename(path, &aside)?;
            set_aside.push(aside);
        }
        undo.rename(new, path)?;
        sync_folder_of(path)?;
    }
    // An empty folder is nothing to keep.
    set_aside.retain(|path| fs::remove_dir(path).is_err());
    Ok(RestoredRow { backup: BackupRow::new(header, counts), new_epoch: epoch.0, set_aside })
}

fn import(
    from: &Path,
    to: &Path,
    config: &Config,
    home: HomeId,
    epoch: Epoch,
    time: RestoreTime,
) -> anyhow::Result<()> {
    wiring::create_store(to, home, epoch)?;
    let store = JournalStore::open(to, wiring::journal(config))?;
    let mut input = open(from)?;
    read_backup(&mut input, &mut |_, _| Ok(()), &mut |_, batch| restore_batch(&store, batch, time))
        .with_context(|| format!("{}", from.display()))?;
    store.close()?;
    Ok(())
}

/// What was done, to be undone in the opposite order.
#[derive(Default)]
struct Undo {
    done: Vec<Done>,
    /// The lock of the store that stood there: also while it is put back.
    held: Option<Lock>,
}

enum Done {
    /// A file or a folder that was not there before.
    Made(PathBuf),
    Moved {
        from: PathBuf,
        to: PathBuf,
    },
}

impl Undo {
    /// Takes the lock of a store, or of what is left of one.
    fn hold(&mut self, store: &Path) -> anyhow::Result<()> {
        let lock = store.join("lock");
        if !lock.try_exists()? {
            self.made(&lock);
        }
        self.held = Some(Lock::take(store)?);
        Ok(())
    }

    /// Is about to make that, where nothing is.
    fn made(&mut self, path: &Path) {
        self.done.push(Done::Made(path.to_owned()));
    }

    /// Makes the folder that a path is in, and those around it, where they are missing.
    fn parents(&mut self, path: &Path) -> anyhow::Result<()> {
        let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) else {
            return Ok(());
        };
        let mut outermost = None;
        for folder in folder.ancestors().filter(|f| !f.as_os_str().is_empty()) {
            if folder.try_exists()? {
                break;
            }
            outermost = Some(folder);
        }
        if let Some(outermost) = outermost {
            self.made(outermost);
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("{}", folder.display()))
    }

    /// Makes a folder of a name that nobody else has given.
    fn folder(&mut self, path: &Path) -> anyhow::Result<PathBuf> {
        self.parents(path)?;
        let made = fs::DirBuilder::new().mode(0o700).create(path);
        made.with_context(|| format!("{}", path.display()))?;
        self.made(path);
        Ok(path.to_owned())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> anyhow::Result<()> {
        fs::rename(from, to)
            .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
        self.done.push(Done::Moved { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    /// Undoes everything; answers with what could not be.
    fn back(&mut self) -> Result<(), String> {
        let mut left = Vec::new();
        while let Some(done) = self.done.pop() {
            match done {
                Done::Made(path) => match remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        left.push(format!("{} is new: {error}", path.display()));
                    }
                    Ok(()) | Err(_) => {}
                },
                Done::Moved { from, to } => {
                    if let Err(error) = fs::rename(&to, &from) {
                        let (from, to) = (from.display(), to.display());
                        left.push(format!("{from} is at {to}: {error}"));
                    }
                }
            }
        }
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn open(from: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(from).with_context(|| format!("{}", from.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    })
}

/// Where a folder is in truth; where none is, the path as it is.
fn resolved(path: &Path) -> anyhow::Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(_) => Err(anyhow!("{} is a link to nothing: is a disk missing?", path.display())),
            Err(_) => Ok(path.to_owned()),
        },
        Err(error) => Err(error).with_context(|| format!("{}", path.display())),
    }
}

/// Whether a folder is there with something in it.
fn is_there(path: &Path) -> anyhow::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut files) => Ok(files.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("{}", path.display())),
    }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    use homing_store::{MemoryStore, write_backup};

    use super::*;
    use crate::backup::{self, Place};
    use crate::init::{NewHome, init};

    /// A home, stopped, and a backup of it.
    struct Made {
        dir: tempfile::TempDir,
        home: PathBuf,
        config: PathBuf,
        file: PathBuf,
        id: HomeId,
    }

    fn made() -> Made {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("acme");
        let new = NewHome {
            name: "acme.example".parse().unwrap(),
            folder: home.clone(),
            http: "127.0.0.1:8081".parse().unwrap(),
            p2p_port: 7401,
            admin: "127.0.0.1:9091".parse().unwrap(),
            now_ms: 1_700_000_000_000,
        };
        let made = init(&new).unwrap();
        let file = dir.path().join("backup.homing");
        let config = Config::load(&made.config).unwrap();
        let store = wiring::open_store(&config, made.home_id).unwrap();
        let place = Place { min_free_bytes: 0, ..Place::of(&config, &made.config) };
        backup::make(&store, &place, &file).unwrap();
        store.close().unwrap();
        Made { dir, home, config: made.config, file, id: made.home_id }
    }

    /// Everything below a folder, but who holds the lock: links as links.
    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                all.extend(files(&path));
                all.insert(path, b"folder".to_vec());
            } else if kind.is_symlink() {
                all.insert(path.clone(), fs::read_link(&path).unwrap().to_str().unwrap().into());
            } else if !path.ends_with("lock") {
                all.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
        all
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Keys of another home than the store's are found out before anything is set aside.
    #[test]
    fn what_fails_changes_nothing() {
        let Made { dir, home, config, file: whole, id } = made();
        let other = dir.path().join("other-keys");
        fs::create_dir(&other).unwrap();
        Keys::create(&other).unwrap();
        let mut kept = Vec::new();
        let mut input = open(&whole).unwrap();
        let mut keep = |_: &BackupHeader, file: BackupFile| {
            let key =
                file.name.strip_prefix("keys/").map(|name| fs::read(other.join(name)).unwrap());
            kept.push(BackupFile { content: key.unwrap_or(file.content), name: file.name });
            Ok(())
        };
        let (header, _) = read_backup(&mut input, &mut keep, &mut |_, _| Ok(())).unwrap();
        let mixed = dir.path().join("mixed.homing");
        let mut to = File::create(&mixed).unwrap();
        let store = MemoryStore::new(id, header.epoch);
        write_backup(&store, &header, &kept, &mut to, tempfile::tempfile().unwrap()).unwrap();

        let before = files(&home);
        let told = format!("{:#}", restore(&mixed, &config, true, None).unwrap_err());
        assert!(told.contains("nothing was changed: the backup's keys are of another"), "{told}");
        assert_eq!(files(&home), before);
        // Nor where there was nothing at all.
        fs::remove_dir_all(&home).unwrap();
        restore(&mixed, &config, false, None).unwrap_err();
        assert!(!home.try_exists().unwrap());
        restore(&whole, &config, false, None).unwrap();
        assert_eq!([mode(&home), mode(&home.join("store")), mode(&home.join("keys"))], [0o700; 3]);
    }

    #[test]
    fn what_was_moved_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("store")).unwrap();
        fs::write(at("store/words"), "kept").unwrap();
        let before = files(dir.path());
        let mut undo = Undo::default();
        let new = undo.folder(&at("deep/store.new")).unwrap();
        undo.rename(&at("store"), &at("store.aside")).unwrap();
        undo.rename(&new, &at("store")).unwrap();
        assert!(undo.rename(&at("nothing"), &at("anywhere")).is_err());
        undo.back().unwrap();
        assert_eq!(files(dir.path()), before);
    }

    /// A store on another disk stays there, and the link to it as well.
    #[test]
    fn a_store_behind_a_link_is_restored_behind_it() {
        let Made { dir, home, config, file, id } = made();
        let (link, real) = (home.join("store"), dir.path().join("disk/real"));
        fs::create_dir(dir.path().join("disk")).unwrap();
        fs::rename(&link, &real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let row = restore(&file, &config, true, None).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), real);
        assert!(row.set_aside.iter().any(|path| path.starts_with(dir.path().join("disk"))));
        assert_eq!(mode(&real), 0o700);
        let loaded = Config::load(&config).unwrap();
        let store = wiring::open_store(&loaded, id).unwrap();
        assert_eq!(store.meta().epoch, Epoch(row.new_epoch));
        drop(store);
        fs::remove_dir_all(&real).unwrap();
        let told = format!("{:#}", restore(&file, &config, true, None).unwrap_err());
        assert!(told.contains("a link to nothing"), "{told}");
    }

    /// A store that was behind gets a life above the one it was behind of, also where nobody says so.
    #[test]
    fn a_new_life_is_above_the_one_that_was_behind() {
        let Made { dir: _dir, home, config, file, .. } = made();
        let ahead = now_ms() + 86_400_000;
        fs::write(home.join("store.displaced"), format!("kind: later_life\nlife: {ahead}\n"))
            .unwrap();
        assert_eq!(restore(&file, &config, true, None).unwrap().new_epoch, ahead + 1);
    }

    #[test]
    fn a_store_in_use_is_not_set_aside() {
        let Made { dir: _dir, home, config, file, id } = made();
        let loaded = Config::load(&config).unwrap();
        let running = wiring::open_store(&loaded, id).unwrap();
        let names = || -> Vec<_> {
            fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        let before = names();
        let told = format!("{:#}", restore(&file, &config, true, None).unwrap_err());
        assert!(told.contains("in use"), "{told}");
        assert_eq!(names(), before);
        drop(running);
    }
}
