//! Files: the bytes that messages name.
//!
//! This room knows nothing of users, messages or homes: an owner is a string, a file is the BLAKE3 of its bytes. It has
//!
//! - [`Uploads`]: what is coming in from clients, in pieces, over days, through crashes;
//! - [`Blobs`]: what is here for good, the same content once, in a folder or in S3;
//! - [`Cache`]: what was fetched from elsewhere, streamed while it arrives, up to a limit;
//! - [`Images`]: sizes, previews and thumbnails, decoded within limits;
//! - [`Films`]: how long and how large films and sound are, read within limits;
//! - [`sniff`]: what a file is, by its bytes and never by what somebody says.
//!
//! # Order of calls
//! [`Uploads::append`] answers [`Appended::Whole`] once the last byte is on disk. The caller then gives the file to
//! [`Blobs::put`], commits its own row, and calls [`Uploads::done`]. A crash anywhere between is healed by doing the same again
//! for everything in [`Uploads::whole`] when the node starts: each of the steps may be repeated.
//!
//! Nothing here waits without an end, and no queue or buffer grows with what a client sends.

mod blobs;
mod cache;
mod files;
mod films;
mod images;
mod sniff;
mod uploads;
mod workers;

use std::io;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use blobs::{
    BlobError, Blobs, BlobsConfig, Listed, S3Config, Stored, thumbnail_key, thumbnail_prefix,
};
pub use cache::{Cache, CacheError, CacheLimits, CachedFile, Source, SourceError};
pub use films::{FilmError, FilmInfo, FilmLimits, Films, read_film};
pub use images::{EDGES, ImageError, ImageInfo, ImageLimits, Images, Thumbnail, edge_for};
pub use sniff::{SNIFF_BYTES, is_safe_inline, sniff};
pub use uploads::{
    Appended, Begun, Checksum, NewUpload, UploadError, UploadLimits, UploadStatus, Uploads,
    WholeUpload,
};

/// A file's bytes, piece by piece.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;
