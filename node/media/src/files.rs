//! Files of a local folder: read at full speed, written so that a crash leaves the old or the new.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::ByteStream;

/// What one read takes: so large that the hand-over between threads costs little beside it, and a thousand downloads take 256 MiB.
pub(crate) const READ_BYTES: u64 = 128 * 1024;

/// Reads under way for one stream: the next piece is read while one is sent.
const AHEAD: usize = 2;

/// A range of a file. No thread is held while nobody takes the pieces: a slow reader costs two buffers.
pub(crate) fn stream(file: Arc<File>, range: Range<u64>) -> ByteStream {
    let starts = stream::unfold(range.start, move |start| {
        let end = range.end.min(start.saturating_add(READ_BYTES));
        std::future::ready((start < range.end).then_some((start..end, end)))
    });
    starts.map(move |piece| read_at(file.clone(), piece)).buffered(AHEAD).boxed()
}

/// One piece of a file, whole or an error.
pub(crate) async fn read_at(file: Arc<File>, piece: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(piece.end - piece.start).map_err(io::Error::other)?;
    // Made here and not on the thread that reads: there are many of those, and an allocator keeps for each of them what it
    // has made and others have freed.
    let mut bytes = vec![0; length];
    blocking(move || {
        file.read_exact_at(&mut bytes, piece.start)?;
        Ok(Bytes::from(bytes))
    })
    .await
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|lost| Err(io::Error::other(lost)))
}

/// Makes what was created, renamed or removed in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes a small file so that after a crash there is the old one or the new one. `beside` is where it is written first, on the
/// same file system.
pub(crate) fn write_atomically(path: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether an error says that there is no room left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
