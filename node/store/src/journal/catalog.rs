//! The segments in use: what is known of them, and reading entries from them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hashlink::LruCache;
use parking_lot::{Mutex, RwLock};

use crate::StoreError;
use crate::journal::segment::{REWRITTEN, Segment, SegmentHeader, path_of};

/// See the page's head.
pub(crate) struct Segments {
    dir: PathBuf,
    known: RwLock<BTreeMap<u32, Known>>,
    files: Mutex<LruCache<u32, Arc<File>>>,
}

/// What is known of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) header: SegmentHeader,
    /// Bytes of the file.
    pub(crate) len: u64,
    /// Of these, what lives, about. Of what was never rewritten nobody knows: all.
    pub(crate) live: u64,
    /// How often retention had removed something when `live` was found out.
    pub(crate) examined: u64,
}

impl Known {
    pub(crate) fn of(segment: &Segment) -> Self {
        let live = segment.len;
        Self { header: segment.header, len: segment.len, live, examined: 0 }
    }

    pub(crate) fn number(&self) -> u32 {
        self.header.number
    }

    pub(crate) fn is_rewritten(&self) -> bool {
        self.header.rewritten.is_some()
    }

    /// The numbers of the segments of kind 0 that it is or stands for.
    pub(crate) fn numbers(&self) -> (u32, u32) {
        let number = self.header.number;
        self.header.rewritten.map_or((number, number), |more| (more.first_number, more.last_number))
    }

    /// Up to which batch it is known what of it lives; 0: it holds all that was written.
    pub(crate) fn as_of(&self) -> u64 {
        self.header.rewritten.map_or(0, |more| more.as_of)
    }
}

impl Segments {
    /// `open_files`: how many are kept open for reading.
    pub(crate) fn new(dir: PathBuf, open_files: usize) -> Self {
        let files = Mutex::new(LruCache::new(open_files.max(1)));
        Self { dir, known: RwLock::default(), files }
    }

    /// It is in use from now on.
    pub(crate) fn add(&self, known: Known) {
        self.known.write().insert(known.number(), known);
    }

    /// What retention has left of a segment.
    pub(crate) fn examined(&self, number: u32, live: u64, examined: u64) {
        if let Some(known) = self.known.write().get_mut(&number) {
            (known.live, known.examined) = (live, examined);
        }
    }

    /// They are no longer in use: who reads them has to look up again where its entry is.
    pub(crate) fn remove(&self, numbers: &[u32]) {
        self.known.write().retain(|number, _| !numbers.contains(number));
        // Not while `known` is held: [`Self::file`] locks them the other way round.
        let mut files = self.files.lock();
        for number in numbers {
            files.remove(number);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.known.read().len() as u64
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, number: u32) -> PathBuf {
        path_of(&self.dir, number)
    }

    pub(crate) fn knows(&self, number: u32) -> bool {
        self.known.read().contains_key(&number)
    }

    /// All of them, in the order of their batches.
    pub(crate) fn list(&self) -> Vec<Known> {
        let mut list: Vec<Known> = self.known.read().values().copied().collect();
        list.sort_unstable_by_key(Known::numbers);
        list
    }

    /// A number that no rewritten segment has, nor any before those that are there.
    pub(crate) fn next_rewritten(&self) -> u32 {
        let known = self.known.read();
        known.keys().next_back().map_or(REWRITTEN, |last| REWRITTEN.max(*last)) + 1
    }

    /// Reads bytes of a segment, and tells its salt. `None`: it is not in use, or no longer.
    pub(crate) fn read(
        &self,
        number: u32,
        offset: u32,
        len: u32,
    ) -> Result<Option<(Bytes, u64)>, StoreError> {
        let salt = self.known.read().get(&number).map(|known| known.header.salt);
        let Some(salt) = salt else { return Ok(None) };
        let Some(file) = self.file(number)? else { return Ok(None) };
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, u64::from(offset))
            .map_err(StoreError::io("read", &self.path(number)))?;
        Ok(Some((bytes.into(), salt)))
    }

    fn file(&self, number: u32) -> Result<Option<Arc<File>>, StoreError> {
        if let Some(file) = self.files.lock().get(&number) {
            return Ok(Some(file.clone()));
        }
        let path = self.path(number);
        match File::open(&path) {
            Ok(file) => {
                let file = Arc::new(file);
                let mut files = self.files.lock();
                // Else its space would stay taken until others drive it out.
                if self.known.read().contains_key(&number) {
                    files.insert(number, file.clone());
                }
                Ok(Some(file))
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !self.knows(number) => Ok(None),
            Err(error) => Err(StoreError::io("open", &path)(error)),
        }
    }
}
