//! Segments made ahead: full of zeros and durable, so that a commit's flush has only data to write and
//! no block to allocate, which is up to twice as fast.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use parking_lot::{Condvar, Mutex};

use crate::StoreError;
use crate::journal::files::sync_dir;
use crate::journal::segment::{UNFINISHED, path_of};

/// Zeros are written in pieces of this size, so that a stop need not wait for a whole segment.
const PIECE_BYTES: usize = 1 << 20;
/// Zeros are flushed at least this often: a flush of a whole segment at once delays the commits' own.
const FLUSH_EVERY_BYTES: u64 = 4 << 20;

/// Makes the next segment while the present one is written.
pub(crate) struct Filler {
    dir: PathBuf,
    segment_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The number to make next.
    next: u32,
    ready: Option<Result<Blank, StoreError>>,
    stop: bool,
}

/// A segment of zeros.
pub(crate) struct Blank {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) len: u64,
}

impl Filler {
    /// `ready`: one that was made before the last stop. `next`: the number of the first to make.
    pub(crate) fn new(dir: PathBuf, segment_bytes: u64, ready: Option<Blank>, next: u32) -> Self {
        let state = State { next, ready: ready.map(Ok), stop: false };
        Self { dir, segment_bytes, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The next segment; waits for it where commits are faster than the disk can be filled.
    pub(crate) fn take(&self) -> Result<Blank, StoreError> {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return Err(StoreError::Closed);
            }
            if let Some(ready) = state.ready.take() {
                self.changed.notify_all();
                return ready;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Whether [`Self::take`] would have one at once; `None`: the next one could not be made.
    pub(crate) fn is_ready(&self) -> Option<bool> {
        match &self.state.lock().ready {
            Some(Ok(_)) => Some(true),
            Some(Err(_)) => None,
            None => Some(false),
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    /// The work of its thread, until [`Filler::stop`].
    pub(crate) fn run(&self) {
        loop {
            let number = {
                let mut state = self.state.lock();
                while state.ready.is_some() && !state.stop {
                    self.changed.wait(&mut state);
                }
                if state.stop {
                    return;
                }
                state.next
            };
            let made = self.make(number);
            let mut state = self.state.lock();
            match made {
                Ok(None) => return,
                Ok(Some(blank)) => {
                    state.next = number + 1;
                    state.ready = Some(Ok(blank));
                }
                Err(error) => {
                    // Told when the segment is needed: until then there may be room again.
                    tracing::warn!(%error, "the next segment of the journal could not be made");
                    state.ready = Some(Err(error));
                }
            }
            self.changed.notify_all();
        }
    }

    /// `None`: stopped on the way.
    fn make(&self, number: u32) -> Result<Option<Blank>, StoreError> {
        let path = path_of(&self.dir, number);
        let unfinished = path.with_extension(UNFINISHED);
        let mut file = create(&unfinished)?;
        let zeros = vec![0; PIECE_BYTES];
        let (mut written, mut flushed) = (0, 0);
        while written < self.segment_bytes {
            if self.state.lock().stop {
                // Best effort: the next opening removes it as well.
                let _ = fs::remove_file(&unfinished);
                return Ok(None);
            }
            let piece = (self.segment_bytes - written).min(PIECE_BYTES as u64);
            file.write_all(&zeros[..piece as usize])
                .map_err(StoreError::io("fill", &unfinished))?;
            written += piece;
            if written - flushed >= FLUSH_EVERY_BYTES {
                file.sync_data().map_err(StoreError::io("flush", &unfinished))?;
                flushed = written;
            }
        }
        file.sync_all().map_err(StoreError::io("flush", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(StoreError::io("rename", &unfinished))?;
        sync_dir(&self.dir)?;
        Ok(Some(Blank { number, path, file, len: self.segment_bytes }))
    }
}

fn create(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(StoreError::io("create", path))
}
