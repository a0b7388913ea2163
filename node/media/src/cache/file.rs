//! A file of the cache, as its readers have it: whole, or arriving.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::sync::watch;

use super::CacheError;
use super::fetch::Progress;
use crate::ByteStream;
use crate::files::{READ_BYTES, read_at, stream as stream_file};

/// A file that can be read, though it may still be arriving. Cheap to clone.
#[derive(Clone)]
pub struct CachedFile {
    file: Arc<File>,
    size: u64,
    /// `None`: it is whole.
    progress: Option<watch::Receiver<Progress>>,
}

impl std::fmt::Debug for CachedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file: _, size, progress } = self;
        write!(f, "CachedFile({size}, arriving: {})", progress.is_some())
    }
}

impl CachedFile {
    pub(super) fn whole(file: Arc<File>, size: u64) -> Self {
        Self { file, size, progress: None }
    }

    pub(super) fn arriving(
        file: Arc<File>,
        size: u64,
        progress: watch::Receiver<Progress>,
    ) -> Self {
        Self { file, size, progress: Some(progress) }
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of a range, as they arrive. A stream that ends before the range's last byte ends with an error; where the fetch
    /// failed, that error carries a [`CacheError`].
    pub fn read(&self, range: Range<u64>) -> ByteStream {
        let file = self.file.clone();
        let Some(progress) = self.progress.clone() else {
            return stream_file(file, range);
        };
        stream::try_unfold((file, range, progress), |(file, range, mut progress)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let readable = wait(&mut progress, range.start).await?;
            let end = range.end.min(range.start.saturating_add(READ_BYTES)).min(readable);
            if end <= range.start {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let piece = read_at(file.clone(), range.start..end).await?;
            Ok(Some((piece, (file, end..range.end, progress))))
        })
        .boxed()
    }
}

/// Waits until there is something to read at `offset`, and says up to where.
async fn wait(progress: &mut watch::Receiver<Progress>, offset: u64) -> io::Result<u64> {
    let is_there = |progress: &Progress| match progress {
        Progress::Arriving { readable } => *readable > offset,
        Progress::Whole { .. } | Progress::Failed(_) => true,
    };
    let seen = progress.wait_for(is_there).await;
    match seen.as_deref() {
        Ok(Progress::Arriving { readable } | Progress::Whole { size: readable }) => Ok(*readable),
        Ok(Progress::Failed(error)) => Err(io::Error::other(error.clone())),
        Err(_) => Err(io::Error::other(CacheError::SourceLost)),
    }
}
