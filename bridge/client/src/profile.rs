//! What a command line remembers between two runs: one file for the sign-in, one for how far it has read, one for the
//! uploads that are not through.
//!
//! They lie in `$HOMING_PROFILE_DIR`, else `$XDG_CONFIG_HOME/homing`, else `~/.config/homing`, readable by their
//! owner alone, and are replaced as a whole, so that a crash leaves the old or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::follow::Place;

/// The directory of profiles, where it is not the user's usual one.
const DIR_VARIABLE: &str = "HOMING_PROFILE_DIR";

/// Of a profile's name, which is a file's name too.
const NAME_BYTES: usize = 64;

/// A server and, after a login, who is signed in there. No `Debug`: the token is a secret.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// Where.
    pub server: String,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The device it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Uploads that are remembered: a home forgets those that are not whole after some days.
const UPLOADS: usize = 64;

/// An upload that was begun, and the message that is to name the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingUpload {
    /// Where the file lies, as the system calls it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was changed last, in Unix milliseconds: another time is another file.
    pub changed_at: u64,
    /// The upload's address at the server.
    pub address: String,
    /// To whom the message goes, as it was said.
    pub to: String,
    /// Its caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Its id: sent twice, it is one message.
    pub message: Uuid,
}

/// The files of one profile.
#[derive(Clone, Debug)]
pub struct ProfileStore {
    dir: PathBuf,
    name: String,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The name is no name.
    #[error("{0:?} is no profile name: 1 to 64 of a-z A-Z 0-9 . _ - @, not starting with a dot")]
    BadName(String),
    /// There is no place for profiles.
    #[error("no place for profiles: set {DIR_VARIABLE} or HOME")]
    NoPlace,
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged ({why}); remove it and log in again")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl ProfileError {
    /// A stable snake_case word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadName(_) => "bad_profile_name",
            Self::NoPlace => "no_profile_place",
            Self::Io { .. } => "profile_io",
            Self::Damaged { .. } => "profile_damaged",
        }
    }
}

impl ProfileStore {
    /// The named profile in the user's usual place.
    pub fn of_user(name: &str) -> Result<Self, ProfileError> {
        let set = |variable: &str| {
            std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from)
        };
        let dir = set(DIR_VARIABLE)
            .or_else(|| set("XDG_CONFIG_HOME").map(|d| d.join("homing")))
            .or_else(|| set("HOME").map(|d| d.join(".config").join("homing")))
            .ok_or(ProfileError::NoPlace)?;
        Self::new(dir, name)
    }

    /// The named profile in a directory, which is made when something is stored.
    pub fn new(dir: impl Into<PathBuf>, name: &str) -> Result<Self, ProfileError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@');
        let fits = (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(plain);
        if !fits || name.starts_with('.') {
            return Err(ProfileError::BadName(name.to_owned()));
        }
        Ok(Self { dir: dir.into(), name: name.to_owned() })
    }

    /// What was stored; `None` for a new profile.
    pub fn load(&self) -> Result<Option<Profile>, ProfileError> {
        load(&self.file("json"))
    }

    /// Replaces it.
    pub fn save(&self, profile: &Profile) -> Result<(), ProfileError> {
        self.replace("json", profile)
    }

    /// How far the profile has read; `None` at first.
    pub fn load_place(&self) -> Result<Option<Place>, ProfileError> {
        load(&self.file("sync.json"))
    }

    /// Replaces it.
    pub fn save_place(&self, place: &Place) -> Result<(), ProfileError> {
        self.replace("sync.json", place)
    }

    /// Forgets it, as for another user.
    pub fn forget_place(&self) -> Result<(), ProfileError> {
        let path = self.file("sync.json");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ProfileError::Io { path, error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The uploads that are not through, the oldest first.
    pub fn load_uploads(&self) -> Result<Vec<PendingUpload>, ProfileError> {
        Ok(load(&self.file("uploads.json"))?.unwrap_or_default())
    }

    /// Replaces them; of many, the newest are kept.
    pub fn save_uploads(&self, uploads: &[PendingUpload]) -> Result<(), ProfileError> {
        let kept = uploads.len().saturating_sub(UPLOADS);
        self.replace("uploads.json", &&uploads[kept..])
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.dir.join(format!("{}.{ending}", self.name))
    }

    fn replace<T: Serialize>(&self, ending: &str, value: &T) -> Result<(), ProfileError> {
        let path = self.file(ending);
        let write = || -> io::Result<()> {
            make_private_dir(&self.dir)?;
            // Two programs of one profile may write at once: each its own file, the last rename counts.
            let new = self.dir.join(format!(".{}.{ending}.{}.new", self.name, std::process::id()));
            let mut text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
            text.push(b'\n');
            let written = write_private(&new, &text).and_then(|()| fs::rename(&new, &path));
            if written.is_err() {
                // The first error is the one to tell.
                let _left_behind = fs::remove_file(&new);
            }
            written
        };
        write().map_err(|error| ProfileError::Io { path: path.clone(), error })
    }
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ProfileError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| ProfileError::Damaged { path: path.to_owned(), why: e.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ProfileError::Io { path: path.to_owned(), error }),
    }
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file: File = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_comes_back_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let store = ProfileStore::new(dir.path().join("new").join("homing"), "alice").unwrap();
        assert!(store.load().unwrap().is_none());
        let profile = Profile {
            server: "http://127.0.0.1:8080".to_owned(),
            address: Some("alice@acme.test".to_owned()),
            token: Some("t".to_owned()),
            device: Some("d".to_owned()),
        };
        store.save(&profile).unwrap();
        store.save(&profile).unwrap();
        assert!(store.load().unwrap() == Some(profile));
        let files: Vec<_> = fs::read_dir(dir.path().join("new/homing")).unwrap().collect();
        assert_eq!(files.len(), 1, "nothing is left behind");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(store.file("json")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_place_comes_back_and_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = ProfileStore::new(dir.path(), "alice").unwrap();
        let mut place =
            Place { life: "1".into(), sync: "1.2".into(), channels: Default::default() };
        place.channels.insert(
            uuid::Uuid::now_v7(),
            crate::ChannelPlace { pos: 7, order: None, earlier: None },
        );
        store.save_place(&place).unwrap();
        assert_eq!(store.load_place().unwrap(), Some(place));
        store.forget_place().unwrap();
        store.forget_place().unwrap();
        assert_eq!(store.load_place().unwrap(), None);
    }

    #[test]
    fn the_newest_uploads_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = ProfileStore::new(dir.path(), "alice").unwrap();
        assert!(store.load_uploads().unwrap().is_empty());
        let upload = |size: u64| PendingUpload {
            path: "/a".into(),
            size,
            changed_at: 1,
            address: "/v1/media/x".into(),
            to: "bob@b.test".into(),
            caption: None,
            message: uuid::Uuid::now_v7(),
        };
        let many: Vec<_> = (0..70).map(upload).collect();
        store.save_uploads(&many).unwrap();
        assert_eq!(store.load_uploads().unwrap(), many[6..]);
    }

    #[test]
    fn bad_names_and_damaged_files_are_named() {
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "ä", &"x".repeat(65)] {
            let error = ProfileStore::new("/nowhere", name).unwrap_err();
            assert_eq!(error.reason(), "bad_profile_name", "{name:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let store = ProfileStore::new(dir.path(), "alice").unwrap();
        fs::write(dir.path().join("alice.json"), "{").unwrap();
        let Err(error) = store.load() else { panic!("a damaged file was read") };
        assert_eq!(error.reason(), "profile_damaged");
        assert!(error.to_string().contains("alice.json"));
    }
}
