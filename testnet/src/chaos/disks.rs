//! Small disks for homes, that can be filled: a tmpfs each, in a mount namespace of this process's own, so that none
//! is left behind however the process ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Says that this process has mounts of its own already.
const MARK: &str = "HOMING_TESTNET_OWN_MOUNTS";

/// The file that fills a disk.
const BALLAST: &str = "ballast";

/// A ballast that fills to the last byte is written in pieces no smaller than this.
const SMALLEST_PIECE: u64 = 4_096;

/// Begins this program again with mounts of its own, where the system lets it: as root, or in a user namespace.
/// Returns where it does not, or has already. To be called before there are threads.
pub fn own_mounts() {
    if std::env::var_os(MARK).is_some() {
        return;
    }
    let Ok(this_program) = std::env::current_exe() else { return };
    let as_root = ["--mount", "--propagation", "private"];
    let as_user = ["--user", "--map-root-user", "--mount", "--propagation", "private"];
    let ways: [&[&str]; 2] = [&as_root, &as_user];
    let works = |way: &&&[&str]| {
        let mut trial = Command::new("unshare");
        trial.args(**way).arg("true").stdin(Stdio::null());
        trial.stdout(Stdio::null()).stderr(Stdio::null());
        trial.status().is_ok_and(|status| status.success())
    };
    if let Some(way) = ways.iter().find(works) {
        let mut again = Command::new("unshare");
        again.args(*way).arg(this_program).args(std::env::args_os().skip(1)).env(MARK, "1");
        let error = again.exec();
        tracing::debug!(%error, "no mounts of our own");
    }
}

/// Whether this process may mount without leaving anything behind.
pub(super) fn can_mount() -> bool {
    std::env::var_os(MARK).is_some()
}

/// A disk of its own for a directory. Dropping it takes it away, with what is on it.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    mounted: bool,
}

impl Disk {
    /// Mounts one on a directory, which is made.
    pub(super) fn mount(dir: &Path, bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "homing-testnet"])
            .arg(dir))?;
        Ok(Self { dir: dir.to_owned(), mounted: true })
    }

    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let disk = statvfs(&self.dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Fills it until only so much is free.
    pub(super) fn fill(&self, leave_bytes: u64) -> io::Result<()> {
        let ballast = File::create(self.dir.join(BALLAST))?;
        let mut at = 0;
        loop {
            let free = self.free_bytes()?;
            let Some(mut piece) = free.checked_sub(leave_bytes).filter(|b| *b >= SMALLEST_PIECE)
            else {
                return Ok(());
            };
            // The home writes meanwhile: what was free a moment ago may not be.
            while fallocate(&ballast, FallocateFlags::empty(), at, piece).is_err() {
                piece /= 2;
                if piece < SMALLEST_PIECE {
                    return Ok(());
                }
            }
            at += piece;
        }
    }

    /// Makes room again.
    pub(super) fn empty(&self) -> io::Result<()> {
        match fs::remove_file(self.dir.join(BALLAST)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Moves what is on it to the disk below, to be looked at when this process and its mounts are gone.
    pub(super) fn rescue(mut self) -> io::Result<()> {
        self.empty()?;
        let copy = self.dir.with_extension("rescued");
        run(Command::new("cp").arg("-a").arg(&self.dir).arg(&copy))?;
        run(Command::new("umount").arg("-l").arg(&self.dir))?;
        self.mounted = false;
        fs::remove_dir(&self.dir)?;
        fs::rename(&copy, &self.dir)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: a home that was killed just now may not be gone yet.
            let unmounted = run(Command::new("umount").arg("-l").arg(&self.dir));
            if let Err(error) = unmounted {
                tracing::warn!(dir = %self.dir.display(), %error, "still mounted");
            }
        }
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{}: {said}", command.get_program().to_string_lossy())))
}
