//! The small files of a store's directory: the lock, what the store is, the reserve.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use homing_wire::{Epoch, HomeId};
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::{FORMAT, OLDEST_FORMAT, StoreError};

/// Makes what was created, renamed or removed in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("flush", dir))
}

/// Makes a directory, and its name in its parent, durable.
pub(crate) fn create_dir(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
    sync_dir(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        Some(_) | None => sync_dir(Path::new(".")),
    }
}

/// Held while a store is open; the operating system lets it go with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the store in a directory: for whoever does something to the directory itself, and must know
    /// that nobody has the store open meanwhile. It stays with the directory where that is moved to.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let process =
                    file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(StoreError::Locked { path: dir.to_owned(), process });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
        }
        // For people who wonder who holds it.
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(StoreError::io("write", &path))?;
        Ok(Self { _file: file })
    }
}

/// What a store is: `store` in its directory, a few lines of text. It is read before anything else, so
/// that a store of a newer program or another home is left untouched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) home: HomeId,
    pub(crate) epoch: Epoch,
    /// Starts of this life.
    pub(crate) boot: u64,
}

const FIRST_LINE: &str = "homing store";

impl Identity {
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("store")
    }

    pub(crate) fn read(dir: &Path) -> Result<Self, StoreError> {
        let path = Self::path(dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NotAStore { path: dir.to_owned() });
            }
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        Self::parse(&path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, StoreError> {
        let damaged = |offset: usize, what: &str| StoreError::damaged(path, offset as u64, what);
        let (content, check) = text
            .rfind("check ")
            .map(|at| text.split_at(at))
            .ok_or_else(|| damaged(text.len(), "the line with the checksum is missing"))?;
        if check != check_line(content) {
            return Err(damaged(content.len(), "the checksum does not match the lines above it"));
        }
        let field = |name: &str| {
            content
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .ok_or_else(|| damaged(0, &format!("there is no line `{name}`")))
        };
        let number = |name: &str| {
            field(name)?
                .parse::<u64>()
                .map_err(|_| damaged(0, &format!("the line `{name}` holds no number")))
        };
        if content.lines().next() != Some(FIRST_LINE) {
            return Err(damaged(0, "this is not the description of a store"));
        }
        let found = u32::try_from(number("format")?).unwrap_or(u32::MAX);
        if found > FORMAT {
            return Err(StoreError::NewerFormat { path: path.to_owned(), found, known: FORMAT });
        }
        if found < OLDEST_FORMAT {
            return Err(StoreError::OlderFormat { path: path.to_owned(), found });
        }
        Ok(Self {
            home: field("home")?
                .parse()
                .map_err(|_| damaged(0, "the line `home` holds no home id"))?,
            epoch: Epoch(number("epoch")?),
            boot: number("boot")?,
        })
    }

    /// Replaces the file: whoever looks finds the old or the new, also after a power cut.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let path = Self::path(dir);
        let new = path.with_extension("new");
        let Self { home, epoch, boot } = self;
        let content =
            format!("{FIRST_LINE}\nformat {FORMAT}\nhome {home}\nepoch {epoch}\nboot {boot}\n");
        let mut file = File::create(&new).map_err(StoreError::io("create", &new))?;
        file.write_all(content.as_bytes())
            .and_then(|()| file.write_all(check_line(&content).as_bytes()))
            .and_then(|()| file.sync_all())
            .map_err(StoreError::io("write", &new))?;
        fs::rename(&new, &path).map_err(StoreError::io("rename", &new))?;
        sync_dir(dir)
    }
}

fn check_line(content: &str) -> String {
    format!("check {:08x}\n", crc32fast::hash(content.as_bytes()))
}

/// How much room the disk has, and a file that can be given up when it has none: the index does not
/// open on a full disk.
pub(crate) struct Disk {
    dir: PathBuf,
    min_free_bytes: u64,
    asked: Mutex<Option<(Instant, bool)>>,
}

/// The disk is asked at most this often.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl Disk {
    pub(crate) fn new(dir: PathBuf, min_free_bytes: u64) -> Self {
        Self { dir, min_free_bytes, asked: Mutex::new(None) }
    }

    pub(crate) fn min_free_bytes(&self) -> u64 {
        self.min_free_bytes
    }

    pub(crate) fn is_low(&self) -> bool {
        let mut asked = self.asked.lock();
        if let Some((at, low)) = *asked
            && at.elapsed() < ASK_EVERY
        {
            return low;
        }
        let low = match free_bytes(&self.dir) {
            Ok(free) => free < self.min_free_bytes,
            Err(error) => {
                tracing::error!(%error, "cannot ask how much room the disk has; taken as full");
                true
            }
        };
        if low && !asked.is_some_and(|(_, before)| before) {
            tracing::error!(dir = %self.dir.display(), min_free_bytes = self.min_free_bytes, "the disk is nearly full: free some space");
        }
        *asked = Some((Instant::now(), low));
        low
    }

    /// Before opening: gives the reserve up where the disk is full, makes it where there is room.
    pub(crate) fn prepare_reserve(&self, reserve_bytes: u64) -> Result<(), StoreError> {
        let path = self.dir.join("reserve");
        let free = free_bytes(&self.dir)?;
        let held = fs::metadata(&path).map_or(0, |file| file.len());
        if held > 0 && free < reserve_bytes / 4 {
            tracing::error!(file = %path.display(), "the disk is full: gave up the reserve to be able to open; free some space");
            return fs::remove_file(&path).map_err(StoreError::io("remove", &path));
        }
        if held < reserve_bytes && free > self.min_free_bytes.saturating_add(reserve_bytes) {
            let file = File::create(&path).map_err(StoreError::io("create", &path))?;
            if fallocate(&file, FallocateFlags::empty(), 0, reserve_bytes).is_err() {
                // File systems without it: written out.
                std::io::copy(&mut std::io::repeat(0).take(reserve_bytes), &mut &file)
                    .map_err(StoreError::io("fill", &path))?;
            }
            file.sync_all().map_err(StoreError::io("flush", &path))?;
        }
        Ok(())
    }
}

/// Room that is left on the disk.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64, StoreError> {
    let disk =
        statvfs(dir).map_err(|error| StoreError::io("ask for free space of", dir)(error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { home: HomeId([9; 32]), epoch: Epoch(1_700_000_000_000), boot: 4 }
    }

    #[test]
    fn the_identity_comes_back_and_every_flipped_byte_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        identity().write(dir.path()).unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap(), identity());
        let path = Identity::path(dir.path());
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            fs::write(&path, &broken).unwrap();
            let error = Identity::read(dir.path()).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{at}: {error}");
        }
    }

    #[test]
    fn a_newer_format_names_both_versions() {
        let content = format!("{FIRST_LINE}\nformat 7\nfuture yes\n");
        let text = format!("{content}{}", check_line(&content));
        let error = Identity::parse(Path::new("store"), &text).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found: 7, known: FORMAT, .. }));
        let text = error.to_string();
        assert!(text.contains("format 7") && text.contains(&format!("up to {FORMAT}")), "{text}");
    }

    #[test]
    fn a_full_disk_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Disk::new(dir.path().into(), 0).is_low());
        assert!(Disk::new(dir.path().into(), u64::MAX).is_low());
        assert!(Disk::new(dir.path().join("gone"), 0).is_low());
    }

    #[test]
    fn the_reserve_is_held_and_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path().into(), 0);
        disk.prepare_reserve(1 << 20).unwrap();
        assert_eq!(fs::metadata(dir.path().join("reserve")).unwrap().len(), 1 << 20);
        disk.prepare_reserve(u64::MAX).unwrap();
        assert!(!dir.path().join("reserve").exists());
    }
}
