//! `homing init`: keys, admin token, an empty store and a commented configuration. Overwrites nothing,
//! and leaves nothing half made behind.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use homing_store::StoreError;
use homing_wire::{Epoch, HomeId, HomeName};

use crate::config::{Config, FILE_NAME, p2p_listen, render};
use crate::keys::{AdminToken, KeyFileError, Keys};
use crate::wiring;

/// What a new home shall be like.
#[derive(Clone, Debug)]
pub struct NewHome {
    /// Its name.
    pub name: HomeName,
    /// Its directory: new, or empty.
    pub folder: PathBuf,
    /// Where clients connect to.
    pub http: SocketAddr,
    /// The port for other homes.
    pub p2p_port: u16,
    /// Where the operator's commands go.
    pub admin: SocketAddr,
    /// The start of its store's life, in Unix milliseconds.
    pub now_ms: u64,
}

/// A home that was made.
#[derive(Clone, Debug)]
pub struct MadeHome {
    /// Its id.
    pub home_id: HomeId,
    /// Its configuration file.
    pub config: PathBuf,
}

/// Why no home was made. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is something already.
    #[error("{} exists and is not empty: nothing was changed; give another --dir", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The directory is a file, or something else.
    #[error("{} exists and is not a directory: nothing was changed; give another --dir", path.display())]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Keys could not be made.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The store could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl InitError {
    /// The stable word for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Exists { .. } | Self::NotADirectory { .. } => "exists",
            Self::Io { .. } => "init_io",
            Self::Keys(error) => error.reason(),
            Self::Store(error) => error.reason(),
        }
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Makes a home. The configuration file comes last: a directory without it is no home.
pub fn init(new: &NewHome) -> Result<MadeHome, InitError> {
    let mut cleaner = Cleaner::default();
    claim(&new.folder, &mut cleaner)?;
    let mut config = Config::default();
    config.home.name = new.name.clone();
    config.bridge.listen = new.http;
    config.p2p.listen = p2p_listen(new.p2p_port);
    config.admin.listen = new.admin;
    let text =
        render(&config, &["home.name", "home.data", "bridge.listen", "p2p.listen", "admin.listen"]);
    config.home.data = new.folder.clone();

    let keys_folder = config.keys_folder();
    private_folder(&keys_folder)?;
    let keys = Keys::create(&keys_folder)?;
    AdminToken::create(&config.admin_token_file())?;
    wiring::create_store(&config.store_folder(), keys.home_id(), Epoch(new.now_ms))?;
    let file = new.folder.join(FILE_NAME);
    write_new(&file, &text).map_err(InitError::io("write", &file))?;
    // The names of the new files are on disk too, before it is said that they are.
    for folder in [&keys_folder, &new.folder] {
        fs::File::open(folder)
            .and_then(|f| f.sync_all())
            .map_err(InitError::io("flush", folder))?;
    }
    cleaner.keep();
    Ok(MadeHome { home_id: keys.home_id(), config: file })
}

/// Makes the directory, or takes an empty one, and sees that the owner alone can look into it.
fn claim(folder: &Path, cleaner: &mut Cleaner) -> Result<(), InitError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(InitError::Exists { path: folder.to_owned() });
            }
            fs::set_permissions(folder, Permissions::from_mode(0o700))
                .map_err(InitError::io("set permissions of", folder))?;
            cleaner.contents = Some(folder.to_owned());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(InitError::NotADirectory { path: folder.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
                fs::create_dir_all(parent).map_err(InitError::io("make", parent))?;
            }
            private_folder(folder)?;
            cleaner.folder = Some(folder.to_owned());
            Ok(())
        }
        Err(error) => Err(InitError::io("read", folder)(error)),
    }
}

fn private_folder(folder: &Path) -> Result<(), InitError> {
    DirBuilder::new().mode(0o700).create(folder).map_err(InitError::io("make", folder))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Takes away what was made, unless told to keep it.
#[derive(Default)]
struct Cleaner {
    /// Made here: goes whole.
    folder: Option<PathBuf>,
    /// Was here, empty: becomes so again.
    contents: Option<PathBuf>,
}

impl Cleaner {
    fn keep(&mut self) {
        // Field by field: assigning a whole new one would drop, and so clean, the old.
        self.folder = None;
        self.contents = None;
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        // Best effort: the failure that is being reported matters more.
        if let Some(folder) = &self.folder {
            let _best_effort = fs::remove_dir_all(folder);
        }
        if let Some(folder) = &self.contents {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let _best_effort =
                    if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(folder: &Path) -> NewHome {
        NewHome {
            name: "acme.example".parse().unwrap(),
            folder: folder.to_owned(),
            http: "127.0.0.1:8081".parse().unwrap(),
            p2p_port: 7401,
            admin: "127.0.0.1:9091".parse().unwrap(),
            now_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_new_home_is_complete_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("deep/acme");
        let made = init(&new(&home)).unwrap();
        let config = Config::load_with(&made.config, []).unwrap();
        assert_eq!(config.home.name.as_str(), "acme.example");
        assert_eq!(config.bridge.listen.port(), 8081);
        assert_eq!(config.p2p.listen[1].as_str(), "/ip4/0.0.0.0/tcp/7401");
        assert_eq!(config.admin.listen.port(), 9091);
        assert_eq!(Keys::load(&config.keys_folder()).unwrap().home_id(), made.home_id);
        AdminToken::load(&config).unwrap();
        let store = wiring::open_store(&config, made.home_id).unwrap();
        assert_eq!(homing_store::Store::meta(&store).epoch, Epoch(1_700_000_000_000));
        assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
        // Other tools append sections to the file.
        let mut text = fs::read_to_string(&made.config).unwrap();
        text.push_str("[limits]\ncalls_per_s = 5\n[registration]\nmode = \"open\"\n[federation]\nfirst_contact = \"accept\"\n");
        let more = Config::parse(&text, &made.config, []).unwrap();
        assert_eq!(more.limits.calls_per_s, 5);
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("acme");
        init(&new(&home)).unwrap();
        let before = fs::read(home.join("keys/identity.key")).unwrap();
        let error = init(&new(&home)).unwrap_err();
        assert!(error.to_string().contains("exists and is not empty"), "{error}");
        assert_eq!(fs::read(home.join("keys/identity.key")).unwrap(), before);

        let file = folder.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert_eq!(init(&new(&file)).unwrap_err().reason(), "exists");
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        // Below a file there is no place for a directory.
        assert!(init(&new(&file.join("acme"))).is_err());
    }

    #[test]
    fn an_empty_directory_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        init(&new(folder.path())).unwrap();
    }

    #[test]
    fn nothing_half_made_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let fill = |home: &Path| {
            fs::create_dir(home.join("keys")).unwrap();
            fs::write(home.join("keys/identity.key"), "x").unwrap();
            fs::write(home.join("admin.token"), "x").unwrap();
        };
        // A directory that was made goes whole, one that was there becomes empty again.
        let (fresh, empty) = (folder.path().join("fresh"), folder.path().join("empty"));
        fs::create_dir(&empty).unwrap();
        for home in [&fresh, &empty] {
            let mut cleaner = Cleaner::default();
            claim(home, &mut cleaner).unwrap();
            fill(home);
            drop(cleaner);
        }
        assert!(!fresh.exists());
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
        // What is complete stays.
        let mut cleaner = Cleaner::default();
        claim(&fresh, &mut cleaner).unwrap();
        fill(&fresh);
        cleaner.keep();
        drop(cleaner);
        assert!(fresh.join("admin.token").exists());
    }
}
