//! A home's secret keys, each a file of 32 bytes that its owner alone can read.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use homing_net::NodeKey;
use homing_wire::HomeId;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::config::{Config, Identity};
use crate::token::{NoRandomness, new_token, random};

/// Signs the home record, and nothing else.
pub const IDENTITY_FILE: &str = "identity.key";
/// Signs heads, rosters and gossip.
pub const SIGNING_FILE: &str = "signing.key";
/// The node's own key on the network.
pub const NODE_FILE: &str = "node.key";

/// An Ed25519 seed (RFC 8032), in bytes.
const SEED_BYTES: usize = 32;
/// The admin token is shorter than this, in bytes; more is another file.
const TOKEN_FILE_BYTES: u64 = 256;

/// The secret keys of a home. Wiped from memory when dropped.
pub struct Keys {
    /// Signs the home record.
    pub identity: SigningKey,
    /// Signs heads.
    pub signing: SigningKey,
    /// The node on the network.
    pub node: NodeKey,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("{}: {source}{hint}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// Others can read it.
    #[error("{} can be read by others (mode {mode:03o}): chmod 600 {}", path.display(), path.display())]
    ReadableByOthers {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to another user, who could change it.
    #[error("{} belongs to uid {owner}, not to this user (uid {us}): run homing as its owner", path.display())]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who runs this.
        us: u32,
    },
    /// Not what such a file holds.
    #[error("{} is damaged: expected {expected}, found {found} bytes", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// How long it is.
        found: u64,
    },
    /// No key could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl KeyFileError {
    /// The stable word for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Io { .. } => "key_unreadable",
            Self::ReadableByOthers { .. } => "key_readable_by_others",
            Self::Owner { .. } => "key_owner",
            Self::Malformed { .. } => "key_malformed",
            Self::NoRandomness(e) => e.reason(),
        }
    }
}

impl Keys {
    /// Makes fresh keys in `folder`, which exists. Overwrites nothing.
    pub fn create(folder: &Path) -> Result<Self, KeyFileError> {
        for name in [IDENTITY_FILE, SIGNING_FILE, NODE_FILE] {
            let seed = Zeroizing::new(random::<SEED_BYTES>()?);
            write_secret(&folder.join(name), &seed[..])?;
        }
        Self::load(folder)
    }

    /// Reads the keys in `folder`. A key that others can read is refused: it may be theirs already.
    pub fn load(folder: &Path) -> Result<Self, KeyFileError> {
        let identity = SigningKey::from_bytes(&*seed(&folder.join(IDENTITY_FILE))?);
        let signing = SigningKey::from_bytes(&*seed(&folder.join(SIGNING_FILE))?);
        let path = folder.join(NODE_FILE);
        let node = NodeKey::from_seed(&mut *seed(&path)?).map_err(|_| KeyFileError::Malformed {
            path,
            expected: "an Ed25519 seed",
            found: SEED_BYTES as u64,
        })?;
        Ok(Self { identity, signing, node })
    }

    /// The home's identity key, public.
    pub fn identity(&self) -> Identity {
        Identity(self.identity.verifying_key().to_bytes())
    }

    /// The home's id.
    pub fn home_id(&self) -> HomeId {
        self.identity().home_id()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.home_id())
    }
}

/// The operator's token.
#[derive(Clone)]
pub struct AdminToken(Zeroizing<String>);

impl AdminToken {
    /// Makes a fresh one at `path`. Overwrites nothing.
    pub fn create(path: &Path) -> Result<Self, KeyFileError> {
        let token = Zeroizing::new(new_token()?);
        write_secret(path, format!("{}\n", *token).as_bytes())?;
        Ok(Self(token))
    }

    /// Reads the one of a home.
    pub fn load(config: &Config) -> Result<Self, KeyFileError> {
        let path = config.admin_token_file();
        let bytes = read_secret(&path, TOKEN_FILE_BYTES)?;
        let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        // A short or empty token would let everybody in who guesses it.
        if text.len() < 32 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(KeyFileError::Malformed {
                path,
                expected: "a line of 32 characters or more",
                found: bytes.len() as u64,
            });
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Whether `other` is the same, in constant time for its length.
    pub fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }

    /// The token in the clear, to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

fn seed(path: &Path) -> Result<Zeroizing<[u8; SEED_BYTES]>, KeyFileError> {
    let bytes = read_secret(path, SEED_BYTES as u64)?;
    let mut seed = Zeroizing::new([0; SEED_BYTES]);
    if bytes.len() != SEED_BYTES {
        return Err(KeyFileError::Malformed {
            path: path.to_owned(),
            expected: "a key of 32 bytes",
            found: bytes.len() as u64,
        });
    }
    seed.copy_from_slice(&bytes);
    Ok(seed)
}

/// Reads a file that nobody but its owner may read, of `most` bytes at most. What is checked is the
/// open file, not its name.
fn read_secret(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let io = |source: std::io::Error| KeyFileError::Io {
        path: path.to_owned(),
        hint: if source.kind() == std::io::ErrorKind::NotFound {
            ": `homing init` makes it; without it this is not a home"
        } else if source.kind() == std::io::ErrorKind::PermissionDenied {
            ": run homing as its owner"
        } else {
            ""
        },
        source,
    };
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if about.mode() & 0o077 != 0 {
        return Err(KeyFileError::ReadableByOthers {
            path: path.to_owned(),
            mode: about.mode() & 0o777,
        });
    }
    let us = rustix::process::geteuid().as_raw();
    if about.uid() != us {
        return Err(KeyFileError::Owner { path: path.to_owned(), owner: about.uid(), us });
    }
    if !about.is_file() || about.len() > most {
        return Err(KeyFileError::Malformed {
            path: path.to_owned(),
            expected: "a small file",
            found: about.len(),
        });
    }
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most as usize + 1));
    file.take(most).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// Writes a new file that its owner alone can read, down to the disk.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source, hint: "" };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.sync_all().map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn keys_survive_and_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let made = Keys::create(folder.path()).unwrap();
        let read = Keys::load(folder.path()).unwrap();
        assert_eq!(made.home_id(), read.home_id());
        assert_eq!(made.node.peer_id_text(), read.node.peer_id_text());
        assert_ne!(made.identity.to_bytes(), made.signing.to_bytes());
        for name in [IDENTITY_FILE, SIGNING_FILE, NODE_FILE] {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(Keys::create(folder.path()).unwrap_err().reason(), "key_unreadable");
        assert_eq!(Keys::load(folder.path()).unwrap().home_id(), made.home_id());
        assert!(!format!("{made:?}").contains(&format!("{:?}", made.identity.to_bytes())));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Keys::create(folder.path()).unwrap();
        let path = folder.path().join(SIGNING_FILE);
        for mode in [0o640, 0o604, 0o660] {
            chmod(&path, mode);
            let error = Keys::load(folder.path()).unwrap_err();
            assert_eq!(error.reason(), "key_readable_by_others");
            assert!(error.to_string().ends_with(&format!("chmod 600 {}", path.display())));
        }
        chmod(&path, 0o400);
        Keys::load(folder.path()).unwrap();
    }

    #[test]
    fn damaged_and_missing_keys_are_named() {
        let folder = tempfile::tempdir().unwrap();
        Keys::create(folder.path()).unwrap();
        let path = folder.path().join(NODE_FILE);
        for bytes in [&b""[..], &[1; 31], &[1; 33]] {
            std::fs::write(&path, bytes).unwrap();
            let error = Keys::load(folder.path()).unwrap_err();
            assert_eq!(error.reason(), "key_malformed");
            assert!(error.to_string().contains("node.key"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Keys::load(folder.path()).unwrap_err().to_string().contains("homing init"));
    }

    #[test]
    fn the_admin_token_is_compared_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.home.data = folder.path().to_owned();
        let made = AdminToken::create(&config.admin_token_file()).unwrap();
        let read = AdminToken::load(&config).unwrap();
        assert!(read.is(made.expose()));
        assert!(!read.is(&made.expose()[1..]));
        assert!(!read.is(""));
        std::fs::write(config.admin_token_file(), "short\n").unwrap();
        assert_eq!(AdminToken::load(&config).unwrap_err().reason(), "key_malformed");
    }
}
