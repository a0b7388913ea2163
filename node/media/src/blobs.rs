//! What is here for good: content by its hash, the same content once.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, future, stream};
use homing_wire::Hash;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
};

use crate::ByteStream;
use crate::files::{blocking, is_full, read_at, remove, stream as stream_file, sync_folder};

/// What one part of an upload to S3 carries: S3 wants 5 MiB at least and takes 10,000 parts, so this holds files of 78 GiB.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// Parts on their way to S3 at once: two keep a line busy, and bound what is in memory.
const PARTS_AT_ONCE: usize = 2;

/// How long S3 may take to accept a connection.
const S3_CONNECT: Duration = Duration::from_secs(10);

/// How long S3 may say nothing, while one part is sent included. There is no limit to a whole answer: a file is read as fast as
/// whoever wants it takes it.
const S3_SILENCE: Duration = Duration::from_secs(60);

/// How long and how often a failed request is tried again: somebody waits for it.
const S3_RETRY: Duration = Duration::from_secs(30);
const S3_RETRIES: usize = 4;

/// What a small object may measure: they are held in memory whole.
const SMALL_BYTES: usize = 8 * 1024 * 1024;

/// Where blobs are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BlobsConfig {
    /// In this folder, made where it is missing. Uploads must be on the same file system: a blob is moved, not copied.
    Folder(PathBuf),
    /// In a bucket of S3, or of what speaks like it.
    S3(S3Config),
}

/// A bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Config {
    /// Where it is reached; `None`: Amazon's, by the region.
    pub endpoint: Option<String>,
    /// The region, a name that others than Amazon rarely look at.
    pub region: String,
    /// The bucket. It must be there.
    pub bucket: String,
    /// What every key begins with, so that a bucket can be shared; may be empty.
    pub prefix: String,
    /// Who we are there.
    pub access_key_id: String,
    /// The proof.
    pub secret_access_key: String,
    /// Whether an endpoint without TLS will do.
    pub allow_http: bool,
}

impl std::fmt::Debug for S3Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, region, bucket, prefix, .. } = self;
        write!(f, "S3Config({endpoint:?}, {region}, {bucket}, {prefix}, …)")
    }
}

/// Blobs could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The folder is on a disk without room.
    #[error("the disk is full")]
    DiskFull,
    /// The staged file is gone, and there is no such blob either.
    #[error("what should be stored is not there")]
    StagedMissing,
    /// The staged file is not of the size that was said.
    #[error("what should be stored has another size")]
    StagedDiffers,
    /// A key that no store would take, or a small object that is not small.
    #[error("not a small object: {0}")]
    NotSmall(String),
    /// The folder says so.
    #[error("{0}")]
    Io(io::Error),
    /// The store says so.
    #[error("{0}")]
    Store(#[from] object_store::Error),
}

impl BlobError {
    /// The word for it in answers, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::StagedMissing => "staged_missing",
            Self::StagedDiffers => "staged_differs",
            Self::NotSmall(_) => "not_small",
            Self::Io(_) | Self::Store(_) => "blob_store_failed",
        }
    }
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::DiskFull } else { Self::Io(error) }
    }
}

/// What [`Blobs::put`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The same content was here before; nothing was written.
    pub was_there: bool,
}

/// A blob, as [`Blobs::list`] shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The BLAKE3 of its bytes.
    pub hash: Hash,
    /// Bytes.
    pub size: u64,
    /// When it was stored, in Unix milliseconds, by the store's clock.
    pub modified_ms: u64,
}

/// Content by its hash. Cheap to clone.
///
/// [`Self::remove`] beside a [`Self::put`] of the same hash is the caller's to order: whoever collects garbage must not do so
/// between a put that says `was_there` and the row that makes it count.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Where the objects are files: they are then moved in and read directly, which is many times faster.
    folder: Option<Arc<PathBuf>>,
}

impl Blobs {
    /// Opens the store. Nothing is asked of S3 here: that it cannot be reached is seen at first use.
    pub fn open(config: BlobsConfig) -> Result<Self, BlobError> {
        match config {
            BlobsConfig::Folder(folder) => {
                fs::create_dir_all(folder.join("blobs"))?;
                let store = LocalFileSystem::new_with_prefix(&folder)?
                    .with_automatic_cleanup(true)
                    .with_fsync(true);
                Ok(Self { store: Arc::new(store), folder: Some(Arc::new(folder)) })
            }
            BlobsConfig::S3(config) => {
                let S3Config {
                    endpoint,
                    region,
                    bucket,
                    prefix,
                    access_key_id,
                    secret_access_key,
                    allow_http,
                } = config;
                let builder = AmazonS3Builder::new()
                    .with_client_options(
                        ClientOptions::new()
                            .with_timeout_disabled()
                            .with_connect_timeout(S3_CONNECT)
                            .with_read_timeout(S3_SILENCE),
                    )
                    .with_retry(RetryConfig {
                        max_retries: S3_RETRIES,
                        retry_timeout: S3_RETRY,
                        ..RetryConfig::default()
                    })
                    .with_region(region)
                    .with_bucket_name(bucket)
                    .with_access_key_id(access_key_id)
                    .with_secret_access_key(secret_access_key)
                    .with_allow_http(allow_http);
                let builder = match endpoint {
                    Some(endpoint) => builder.with_endpoint(endpoint),
                    None => builder,
                };
                let store = PrefixStore::new(builder.build()?, prefix);
                Ok(Self { store: Arc::new(store), folder: None })
            }
        }
    }

    /// Stores a file whose bytes have this hash and size; the caller vouches for the hash. The staged file is gone afterwards.
    /// May be repeated after a crash: a staged file that was moved already is fine.
    pub async fn put(&self, staged: &Path, hash: Hash, size: u64) -> Result<Stored, BlobError> {
        let staged = staged.to_path_buf();
        if self.size(hash).await? == Some(size) {
            blocking(move || remove(&staged)).await?;
            return Ok(Stored { was_there: true });
        }
        let looked_at = staged.clone();
        let length = match blocking(move || fs::metadata(looked_at)).await {
            Ok(metadata) => metadata.len(),
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::StagedMissing);
            }
            Err(error) => return Err(error.into()),
        };
        if length != size {
            return Err(BlobError::StagedDiffers);
        }
        match self.folder.clone() {
            Some(folder) => blocking(move || move_in(&folder, &staged, hash)).await?,
            None => {
                self.send(&staged, hash, size).await?;
                blocking(move || remove(&staged)).await?;
            }
        }
        Ok(Stored { was_there: false })
    }

    /// Copies a file to S3, part by part.
    async fn send(&self, staged: &Path, hash: Hash, size: u64) -> Result<(), BlobError> {
        let path = staged.to_path_buf();
        let file = Arc::new(blocking(move || File::open(path)).await?);
        let key = blob_key(hash);
        if size <= PART_BYTES {
            let bytes = read_at(file, 0..size).await?;
            self.store.put(&key, bytes.into()).await?;
            return Ok(());
        }
        let upload = self.store.put_multipart(&key).await?;
        let part = usize::try_from(PART_BYTES).map_err(io::Error::other)?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, part);
        let mut bytes = stream_file(file, 0..size);
        loop {
            let step = match bytes.try_next().await {
                Ok(Some(piece)) => match parts.wait_for_capacity(PARTS_AT_ONCE).await {
                    Ok(()) => {
                        parts.put(piece);
                        continue;
                    }
                    Err(error) => Err(error.into()),
                },
                Ok(None) => Ok(()),
                Err(error) => Err(BlobError::from(error)),
            };
            match step {
                Ok(()) => break,
                Err(error) => {
                    // Parts that nobody completes are paid for until the bucket's own rules remove them.
                    if let Err(left) = parts.abort().await {
                        tracing::warn!(%hash, error = %left, "parts of a blob stay in the bucket");
                    }
                    return Err(error);
                }
            }
        }
        parts.finish().await?;
        Ok(())
    }

    /// The size of a blob; `None` where there is none.
    pub async fn size(&self, hash: Hash) -> Result<Option<u64>, BlobError> {
        match self.store.head(&blob_key(hash)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of a range within a blob. That there is no such blob, or that it is shorter, is an error of the stream, as is
    /// everything else: it ends well only after the range's last byte.
    pub fn read(&self, hash: Hash, range: Range<u64>) -> ByteStream {
        if range.is_empty() {
            return stream::empty().boxed();
        }
        if let Some(folder) = &self.folder {
            let path = blob_path(folder, hash);
            let open = blocking(move || File::open(path));
            return stream::once(open)
                .map_ok(move |file| stream_file(Arc::new(file), range.clone()))
                .try_flatten()
                .boxed();
        }
        let store = self.store.clone();
        let wanted = range.end - range.start;
        let opened = async move {
            let options =
                GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
            let got = store.get_opts(&blob_key(hash), options).await.map_err(as_io)?;
            if got.range.end - got.range.start != wanted {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            Ok(whole(got.into_stream().map_err(as_io).boxed(), wanted))
        };
        stream::once(opened).try_flatten().boxed()
    }

    /// Where a blob is on this machine; `None` where blobs are elsewhere.
    pub fn local_path(&self, hash: Hash) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| blob_path(folder, hash))
    }

    /// Removes a blob; one that is gone already is no error.
    pub async fn remove(&self, hash: Hash) -> Result<(), BlobError> {
        if let Some(folder) = &self.folder {
            // Not by the store: it would take the folder away with its last file, under a put that has just made it.
            let path = blob_path(folder, hash);
            return Ok(blocking(move || remove(&path)).await?);
        }
        match self.store.delete(&blob_key(hash)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Every blob, in no order. What is no blob there is passed over.
    pub fn list(&self) -> BoxStream<'static, Result<Listed, BlobError>> {
        self.store
            .list(Some(&Key::from("blobs")))
            .try_filter_map(|meta| {
                future::ok(meta.location.filename().and_then(|name| name.parse().ok()).map(
                    |hash| Listed {
                        hash,
                        size: meta.size,
                        modified_ms:
                            u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0),
                    },
                ))
            })
            .map_err(BlobError::from)
            .boxed()
    }

    /// Stores a small object under a key of our own, in place of what was there. Thumbnails: [`thumbnail_key`].
    pub async fn put_small(&self, key: &str, bytes: Bytes) -> Result<(), BlobError> {
        if bytes.len() > SMALL_BYTES {
            return Err(BlobError::NotSmall(format!("{} bytes", bytes.len())));
        }
        self.store.put(&small_key(key)?, bytes.into()).await?;
        Ok(())
    }

    /// A small object; `None` where there is none.
    pub async fn get_small(&self, key: &str) -> Result<Option<Bytes>, BlobError> {
        match self.store.get(&small_key(key)?).await {
            Ok(got) if got.meta.size > SMALL_BYTES as u64 => {
                Err(BlobError::NotSmall(format!("{} bytes", got.meta.size)))
            }
            Ok(got) => Ok(Some(got.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the small objects in a folder of keys: [`thumbnail_prefix`].
    pub async fn remove_small_prefix(&self, folder: &str) -> Result<(), BlobError> {
        let folder = small_key(folder)?;
        let mut found = self.store.list(Some(&folder));
        while let Some(meta) = found.try_next().await? {
            match self.store.delete(&meta.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The key of a blob's thumbnail. A folder for each blob, so that all of one are found without looking at those of others.
pub fn thumbnail_key(hash: Hash, edge: u32, extension: &str) -> String {
    format!("thumbs/{hash}/{edge}.{extension}")
}

/// What the keys of all thumbnails of a blob begin with.
pub fn thumbnail_prefix(hash: Hash) -> String {
    format!("thumbs/{hash}")
}

/// Moves a file to where its hash says, for good.
fn move_in(folder: &Path, staged: &Path, hash: Hash) -> io::Result<()> {
    let path = blob_path(folder, hash);
    File::open(staged)?.sync_all()?;
    let all = folder.join("blobs");
    let within = path.parent().unwrap_or(&all);
    match fs::create_dir(within) {
        Ok(()) => sync_folder(&all)?,
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    fs::rename(staged, &path)?;
    sync_folder(within)?;
    staged.parent().map_or(Ok(()), sync_folder)
}

fn blob_key(hash: Hash) -> Key {
    let hex = hash.to_string();
    Key::from_iter(["blobs", &hex[..2], &hex])
}

fn blob_path(folder: &Path, hash: Hash) -> PathBuf {
    let hex = hash.to_string();
    folder.join("blobs").join(&hex[..2]).join(hex)
}

fn small_key(key: &str) -> Result<Key, BlobError> {
    let parsed = Key::parse(key).map_err(|error| BlobError::NotSmall(error.to_string()))?;
    // An empty prefix would name everything, and blobs have calls of their own.
    match parsed.parts().next() {
        Some(first) if first.as_ref() != "blobs" => Ok(parsed),
        Some(_) | None => Err(BlobError::NotSmall(key.to_owned())),
    }
}

fn as_io(error: object_store::Error) -> io::Error {
    io::Error::other(error)
}

/// A stream that ends well only after so many bytes.
fn whole(bytes: ByteStream, wanted: u64) -> ByteStream {
    stream::try_unfold((bytes, wanted), |(mut bytes, left)| async move {
        match bytes.try_next().await? {
            Some(piece) => {
                let left = left
                    .checked_sub(piece.len() as u64)
                    .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
                Ok(Some((piece, (bytes, left))))
            }
            None if left == 0 => Ok(None),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    })
    .boxed()
}
