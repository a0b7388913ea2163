//! What is asked of [`crate::Store::tidy`], and what came of it.

/// What a step of giving space back may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tidy {
    /// Bodies go that nobody has been shown since before then, in Unix milliseconds
    /// ([`homing_core::Write::Erase`]).
    pub erase_before_ms: u64,
    /// The file that is being written is ended for bodies in it that are to go at most so often, in milliseconds: each time costs
    /// a file's worth of zeros.
    pub seal_every_ms: u64,
    /// Read and written at most so fast, in bytes a second; 0: as fast as the disk.
    pub bytes_per_s: u64,
    /// Whatever can be written anew is, however little it frees.
    pub everything: bool,
}

/// What a step has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tidied {
    /// There is more to do at once.
    pub more: bool,
    /// Bodies that were taken away.
    pub erased: u64,
    /// Files of the journal that were looked through.
    pub looked_at: u64,
    /// Those of them that are gone.
    pub freed: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Bytes that were written in their place.
    pub bytes_after: u64,
}
