//! Why a store cannot be opened, or went out of service.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use homing_core::Fault;
use homing_wire::HomeId;

/// Why an operation of a store failed. After a failed commit the store stays failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        error: Arc<io::Error>,
    },
    /// There is something where a store should be made.
    #[error("{} is not empty: a new store needs an empty directory", path.display())]
    NotEmpty {
        /// Where.
        path: PathBuf,
    },
    /// No store is here, or it was never finished.
    #[error("{} holds no store", path.display())]
    NotAStore {
        /// Where.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("{} is in use by another process{}", path.display(), holder(.process))]
    Locked {
        /// Where.
        path: PathBuf,
        /// The process, as it noted itself.
        process: Option<u32>,
    },
    /// A newer program wrote it.
    #[error("{} has format {found}; this program knows formats up to {known}: use the newer program", path.display())]
    NewerFormat {
        /// Which file says so.
        path: PathBuf,
        /// The format it is in.
        found: u32,
        /// The newest format this program knows.
        known: u32,
    },
    /// A program from before the first release wrote it; those are not migrated.
    #[error("{} has format {found}, which this program cannot read: it was made before the first release; make the home anew", path.display())]
    OlderFormat {
        /// Which file says so.
        path: PathBuf,
        /// The format it is in.
        found: u32,
    },
    /// It belongs to another home.
    #[error("{} belongs to home {found}, not to {expected}", path.display())]
    WrongHome {
        /// Which file says so.
        path: PathBuf,
        /// Whose it is.
        found: HomeId,
        /// Whose it should be.
        expected: HomeId,
    },
    /// A file is not as it was written. Nothing was changed.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file of the journal is not there.
    #[error("{} is missing, and no other file of the journal stands for it: put back what was taken away, or restore a backup", path.display())]
    SegmentMissing {
        /// Which.
        path: PathBuf,
    },
    /// The index behind the journal is damaged or does not fit the journal.
    #[error("the index in {} is damaged: {what}", path.display())]
    Index {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A batch that no segment can hold; nothing was written. The limits on events and on events of one
    /// commit make it impossible with segments of the default size.
    #[error("a batch of {size_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge {
        /// What the batch takes.
        size_bytes: u64,
        /// What a segment can hold.
        limit_bytes: u64,
    },
    /// A setting makes no sense.
    #[error("store setting {0}")]
    Config(&'static str),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

fn holder(process: &Option<u32>) -> String {
    process.map_or_else(String::new, |id| format!(" (process {id})"))
}

impl StoreError {
    /// The stable word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Io { .. } => "store_io",
            Self::NotEmpty { .. } => "store_not_empty",
            Self::NotAStore { .. } => "not_a_store",
            Self::Locked { .. } => "store_locked",
            Self::NewerFormat { .. } => "newer_format",
            Self::OlderFormat { .. } => "older_format",
            Self::WrongHome { .. } => "wrong_home",
            Self::Damaged { .. } => "store_damaged",
            Self::SegmentMissing { .. } => "segment_missing",
            Self::Index { .. } => "index_damaged",
            Self::TooLarge { .. } => "batch_too_large",
            Self::Config(_) => "store_setting",
            Self::Closed => "store_closed",
        }
    }

    /// For `map_err`: what was tried, on what.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { what, path, error: Arc::new(error) }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), offset, what: what.into() }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}
