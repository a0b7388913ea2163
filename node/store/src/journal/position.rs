//! How far the index has got in the journal.

use homing_wire::HomeId;
use serde::{Deserialize, Serialize};

use crate::values::{Stored, ValueError, stored};

/// The index holds every batch up to this one, and maybe parts of later ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Whose journal.
    pub(crate) home: HomeId,
    /// The last batch; 0: none.
    pub(crate) batch: u64,
    /// The segment that holds its record; 0: none.
    pub(crate) segment: u32,
    /// Where its record begins.
    pub(crate) record: u64,
    /// Where the record behind it begins.
    pub(crate) end: u64,
    /// `change` of that batch.
    pub(crate) change: u64,
    /// `stamp` of that batch.
    pub(crate) stamp: u64,
}

stored!(Position, 1);

impl Position {
    /// Of an empty journal.
    pub(crate) fn start(home: HomeId) -> Self {
        Self { home, batch: 0, segment: 0, record: 0, end: 0, change: 0, stamp: 0 }
    }
}
