//! A node that was shown that it must not go on leaves a mark in its store's folder, and is not started on it again:
//! each start has a higher number, so that a supervisor that starts a stopped copy over and over would at last have
//! it pass for the original, which is stopped then.
//!
//! Of two nodes on copies of one directory either may be the one to keep: the operator decides, and deletes the mark. A
//! store that others have seen a later state of is behind for ever: only a new life helps, which `homing restore` begins.
//! Were its mark deleted, after a few starts its number would be the highest, and it would sign a second history. So a
//! second copy of that mark lies beside the store's folder, and counts until the store lives a later life.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use homing_wire::Epoch;
use tracing::{error, warn};

use super::hub::HubError;

/// Why no node may be started on a store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Displaced {
    /// Another node ran on a copy of its directory.
    #[error(
        "a node on this store was stopped for good: {why} — When that is settled and this store is the one to keep, delete \
         {} and start again", mark.display()
    )]
    Cloned {
        /// What the node said.
        why: String,
        /// The file.
        mark: PathBuf,
    },
    /// Other homes have seen a later state of it.
    #[error(
        "a node on this store was stopped for good: {why} — It can only go on in a new life: homing backup FILE; homing \
         restore FILE --force{} ({} says so; deleting it does not help)",
        above.map_or_else(String::new, |above| format!(" --epoch-above {above}")), mark.display()
    )]
    Behind {
        /// What the node said.
        why: String,
        /// The file.
        mark: PathBuf,
        /// What the new life must begin above, if that is not this store's.
        above: Option<u64>,
    },
    /// Whether there is a mark cannot be told.
    #[error("cannot see whether a node on this store was stopped for good: {}: {error}", mark.display())]
    Unreadable {
        /// The file.
        mark: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// What stands in a mark's first lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Cloned,
    RolledBack,
    LaterLife,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Cloned => "cloned",
            Self::RolledBack => "rolled_back",
            Self::LaterLife => "later_life",
        }
    }
}

/// A mark.
struct Mark {
    /// `None`: it does not say so in a way that this program knows. Then it is not one that may be deleted.
    kind: Option<Kind>,
    /// The life of the store that was behind, or of what it was behind of.
    life: u64,
    why: String,
}

impl Mark {
    /// The mark in a file, if that is there.
    fn read(path: &Path) -> Result<Option<Self>, Displaced> {
        let text = match fs::read(path) {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Displaced::Unreadable { mark: path.to_owned(), error }),
        };
        let value = |key: &str| {
            let mut lines = text.lines().take(3);
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        };
        let kind = [Kind::Cloned, Kind::RolledBack, Kind::LaterLife]
            .into_iter()
            .find(|kind| value("kind") == Some(kind.word()));
        let life = value("life").and_then(|life| life.parse().ok());
        // Without a life only a restored store, which has no mark in its folder, is above it.
        let (kind, life) = life.map_or((None, u64::MAX), |life| (kind, life));
        let why = text.lines().skip(if kind.is_some() { 3 } else { 0 });
        let why = why.collect::<Vec<_>>().join(" ").trim().to_owned();
        Ok(Some(Self { kind, life, why }))
    }

    fn refusal(self, mark: PathBuf) -> Displaced {
        let Self { kind, life, why } = self;
        match kind {
            Some(Kind::Cloned) => Displaced::Cloned { why, mark },
            Some(Kind::LaterLife) => Displaced::Behind { why, mark, above: Some(life) },
            Some(Kind::RolledBack) | None => Displaced::Behind { why, mark, above: None },
        }
    }
}

fn inside(store: &Path) -> PathBuf {
    store.join("displaced")
}

fn beside(store: &Path) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_owned();
    name.push(".displaced");
    store.with_file_name(name)
}

/// Whether the store's folder says that no node may be started on it. Also where no store is, yet: to be asked before
/// one is opened, which begins its next start.
pub(crate) fn check_folder(store: &Path) -> Result<(), Displaced> {
    let path = inside(store);
    Mark::read(&path)?.map_or(Ok(()), |mark| Err(mark.refusal(path)))
}

/// Whether a store of that life is one that was behind, whatever was deleted in its folder.
pub(crate) fn check_life(store: &Path, life: Epoch) -> Result<(), Displaced> {
    match outlived(store)? {
        Some((mark, path)) if life.0 <= mark.life => Err(mark.refusal(path)),
        Some(_) | None => Ok(()),
    }
}

/// The life that a new one of this store must begin above, if a node on it was ever stopped for being behind.
pub(crate) fn behind_of(store: &Path) -> Result<Option<u64>, Displaced> {
    let marks = [Mark::read(&inside(store))?, outlived(store)?.map(|(mark, _)| mark)];
    let lives = marks.into_iter().flatten().map(|mark| mark.life);
    Ok(lives.filter(|life| *life < u64::MAX).max())
}

fn outlived(store: &Path) -> Result<Option<(Mark, PathBuf)>, Displaced> {
    let path = beside(store);
    Ok(Mark::read(&path)?.map(|mark| (mark, path)))
}

/// A node has begun a life above all that were behind: what says so is not needed any more.
pub(super) fn clear(store: &Path) {
    let path = beside(store);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(%error, mark = %path.display(), "cannot remove a mark that does not count any more");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Leaves the mark where a node has ended for that: of the store of that life, in that start of it.
pub(super) fn note(store: &Path, life: Epoch, boot: u64, ended: &HubError) {
    let (kind, life) = match ended {
        HubError::Store(_) => return,
        HubError::Cloned { .. } => (Kind::Cloned, life.0),
        HubError::RolledBack { .. } => (Kind::RolledBack, life.0),
        HubError::LaterLife { epoch, .. } => (Kind::LaterLife, life.0.max(*epoch)),
    };
    let text = format!("kind: {}\nlife: {life}\nboot: {boot}\n{ended}\n", kind.word());
    let mut marks = vec![inside(store)];
    if kind != Kind::Cloned {
        marks.push(beside(store));
    }
    for mark in marks {
        if let Err(error) = write(&mark, &text) {
            error!(%error, mark = %mark.display(), "cannot note that this store must not be used: do not start it again");
        }
    }
}

/// Whole or not at all, whatever happens meanwhile.
fn write(mark: &Path, text: &str) -> io::Result<()> {
    let new = mark.with_extension("displaced-new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, mark)?;
    File::open(mark.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(epoch: u64) -> HubError {
        HubError::LaterLife { peer: "globex.test".to_owned(), epoch }
    }

    fn rolled_back() -> HubError {
        let (peer, epoch, own_epoch) = ("globex.test".to_owned(), Epoch(7), Epoch(7));
        HubError::RolledBack { peer, epoch, boot: 5, own_epoch, own_boot: 3 }
    }

    fn noted(ended: &HubError) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        fs::create_dir(&store).unwrap();
        check_folder(&store).unwrap();
        note(&store, Epoch(7), 3, ended);
        (dir, store)
    }

    #[test]
    fn a_clones_mark_may_be_deleted() {
        let (_dir, store) = noted(&HubError::Cloned { peer: "globex.test".to_owned() });
        let text = fs::read_to_string(inside(&store)).unwrap();
        assert!(text.starts_with("kind: cloned\nlife: 7\nboot: 3\nanother node runs"), "{text}");
        let told = check_folder(&store).unwrap_err().to_string();
        assert!(
            told.contains("stopped for good: another node") && told.contains("delete"),
            "{told}"
        );
        check_life(&store, Epoch(7)).unwrap();
        fs::remove_file(inside(&store)).unwrap();
        check_folder(&store).unwrap();
    }

    #[test]
    fn a_store_that_was_behind_needs_a_later_life() {
        for (ended, behind, above) in
            [(rolled_back(), 7, "--force ("), (later(9), 9, "--force --epoch-above 9 (")]
        {
            let (_dir, store) = noted(&ended);
            assert_eq!(behind_of(&store).unwrap(), Some(behind));
            for _ in 0..2 {
                let told = check_folder(&store).and_then(|()| check_life(&store, Epoch(behind)));
                let told = told.unwrap_err().to_string();
                assert!(told.contains("stopped for good") && told.contains(above), "{told}");
                let _the_second_time = fs::remove_file(inside(&store));
                assert_eq!(behind_of(&store).unwrap(), Some(behind));
            }
            check_folder(&store).unwrap();
            check_life(&store, Epoch(behind + 1)).unwrap();
            clear(&store);
            check_life(&store, Epoch(behind)).unwrap();
        }
    }

    #[test]
    fn a_mark_that_cannot_be_read_is_not_taken_for_none() {
        let (_dir, store) = noted(&HubError::Store("gone".to_owned()));
        check_folder(&store).unwrap();
        fs::create_dir(inside(&store)).unwrap();
        assert!(matches!(check_folder(&store), Err(Displaced::Unreadable { .. })));
        fs::create_dir(beside(&store)).unwrap();
        assert!(matches!(check_life(&store, Epoch(9)), Err(Displaced::Unreadable { .. })));
        // One of before, which says neither kind nor life.
        fs::remove_dir(inside(&store)).unwrap();
        fs::write(inside(&store), "this directory was set back").unwrap();
        let told = check_folder(&store).unwrap_err().to_string();
        assert!(told.contains("was set back") && told.contains("homing restore"), "{told}");
    }
}
