//! What can go wrong with homes.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use homing_client::Error;

use super::READY_DEADLINE;

/// What went wrong with homes.
#[derive(Debug)]
#[non_exhaustive]
pub enum HomesError {
    /// The `homing` program is not where it should be.
    NoProgram(PathBuf),
    /// A port cannot be had.
    PortTaken(u16, io::Error),
    /// `homing` did not do what it was asked.
    Failed {
        /// The arguments.
        what: String,
        /// What it said.
        said: String,
    },
    /// A home ended, or was not ready in time.
    NotReady {
        /// Which.
        home: String,
        /// How it ended; `None`: it did not.
        status: Option<ExitStatus>,
        /// The end of its log.
        said: String,
    },
    /// A home that is not running was to be used.
    NotRunning(String),
    /// A home did not end in order.
    BadEnd(String, String),
    /// A directory was made by something else, or otherwise.
    Directory(PathBuf, String),
    /// Files.
    Io(PathBuf, io::Error),
    /// A user could not be made or signed in.
    User(String, Error),
}

impl std::fmt::Display for HomesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoProgram(path) => write!(
                f,
                "{} is not there: build it (cargo build --bin homing), or say --homing PATH",
                path.display()
            ),
            Self::PortTaken(port, error) => {
                write!(f, "port {port} cannot be had ({error}): choose another --port-base")
            }
            Self::Failed { what, said } => write!(f, "homing {what} failed: {said}"),
            Self::NotReady { home, status: Some(status), said } => {
                write!(f, "{home} ended before it was ready ({status}): {said}")
            }
            Self::NotReady { home, status: None, said } => {
                write!(f, "{home} was not ready within {} s: {said}", READY_DEADLINE.as_secs())
            }
            Self::NotRunning(home) => write!(f, "{home} is not running"),
            Self::BadEnd(home, how) => write!(f, "{home} did not end in order: {how}"),
            Self::Directory(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::User(user, error) => write!(f, "{user}: {error}"),
        }
    }
}

impl std::error::Error for HomesError {}
