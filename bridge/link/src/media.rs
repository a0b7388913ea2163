//! Files: what a bridge may ask of a node for those who upload and download over HTTP.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use homing_wire::Hash;
use uuid::Uuid;

use crate::refused::Refused;
use crate::session::BoxFuture;

/// A file's bytes, piece by piece.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// The part of a [`crate::Link`] that carries files.
///
/// An upload is a tus 1.0 upload (<https://tus.io/protocols/resumable-upload>): it has one id from its creation on, and when its
/// last byte is here the same id names the file for good. Somebody else's upload is not found.
///
/// A future that is dropped is a client that has gone: what [`Self::append`] has taken by then is kept as after a broken stream.
pub trait MediaLink: Send + Sync + 'static {
    /// The largest file that may be uploaded, in bytes.
    fn upload_bytes(&self) -> u64;
    /// A new upload. Reasons: `bad_token`, `upload_too_large`, `user_quota`, `home_quota` (each with its limit), `too_many_uploads`,
    /// `disk_full`.
    fn begin(&self, token: String, new: NewUpload) -> BoxFuture<'_, Result<UploadStatus, Refused>>;
    /// How far an upload is. Reasons: `bad_token`, `upload_not_found`, `upload_expired`.
    fn status(&self, token: String, id: Uuid) -> BoxFuture<'_, Result<UploadStatus, Refused>>;
    /// More bytes. What came before a broken stream ended is kept, unless there is a checksum: then all of it or nothing. Reasons,
    /// beside those of [`Self::status`]: `offset_conflict`, `upload_busy` (another piece is coming in), `upload_too_large` (more
    /// than was announced: nothing of this piece is kept), `checksum_mismatch`, `too_slow`, `disk_full`, `body_lost`.
    fn append(
        &self,
        token: String,
        id: Uuid,
        piece: Piece,
    ) -> BoxFuture<'_, Result<UploadStatus, Refused>>;
    /// Ends an upload before its time; whole ones are not ended so. Reasons as of [`Self::status`], and `upload_finished`.
    fn abandon(&self, token: String, id: Uuid) -> BoxFuture<'_, Result<(), Refused>>;
    /// A file, for somebody who may read it. Reasons: `bad_token`, `media_not_found` (also where it may not be read),
    /// `home_unreachable` (with `retry_after_ms`), `media_busy` (likewise), `no_thumbnail`.
    fn open(&self, open: OpenMedia) -> BoxFuture<'_, Result<MediaFile, Refused>>;
}

/// What a client says of a file before it uploads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewUpload {
    /// Bytes in all.
    pub length: u64,
    /// What it is called, as the client has it.
    pub name: Option<String>,
    /// A media type, a claim.
    pub mime: Option<String>,
}

/// Bytes of an upload.
pub struct Piece {
    /// Where they begin: what is there already.
    pub offset: u64,
    /// What they must sum up to.
    pub checksum: Option<Checksum>,
    /// They.
    pub bytes: ByteStream,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, checksum, bytes: _ } = self;
        f.debug_struct("Piece").field("offset", offset).field("checksum", checksum).finish()
    }
}

/// A piece's checksum (tus extension `checksum`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// SHA-1.
    Sha1([u8; 20]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// How far an upload is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadStatus {
    /// Which.
    pub id: Uuid,
    /// Bytes here.
    pub offset: u64,
    /// Bytes in all.
    pub length: u64,
    /// What is not whole then is forgotten, in Unix milliseconds; `None`: it is whole.
    pub expires_at: Option<u64>,
    /// Once it is whole: its BLAKE3.
    pub hash: Option<Hash>,
}

/// Which file is asked for, by whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenMedia {
    /// By whom.
    pub by: Reading,
    /// The home that holds it: a name, or a home id.
    pub home: String,
    /// Which.
    pub id: Uuid,
    /// A smaller image of it, of about so many pixels along its longer side.
    pub thumbnail: Option<u32>,
}

/// By what somebody may read a file.
#[derive(Clone, PartialEq, Eq)]
pub enum Reading {
    /// A bearer token.
    Token(String),
    /// A link that the node has signed: the query's `expires` and `signature`.
    Link {
        /// Unix milliseconds.
        expires: u64,
        /// As the node wrote it.
        signature: String,
    },
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(…)"),
            Self::Link { expires, signature: _ } => write!(f, "Link({expires}, …)"),
        }
    }
}

/// A file that may be read.
#[derive(Clone)]
pub struct MediaFile {
    /// Bytes.
    pub size: u64,
    /// What its entity tag is made of: the BLAKE3 of the file, or of a thumbnail what names it.
    pub tag: String,
    /// Its media type, as its bytes say: never what somebody claims.
    pub mime: String,
    /// What it is called, anything at all; `None`: by its id.
    pub name: Option<String>,
    /// Its bytes.
    pub bytes: Arc<dyn MediaBytes>,
}

impl fmt::Debug for MediaFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, tag, mime, .. } = self;
        write!(f, "MediaFile({size}, {tag}, {mime})")
    }
}

/// The bytes of a file.
pub trait MediaBytes: Send + Sync {
    /// Those of a range within the file. They may still be arriving: a stream that breaks off is an error, never an end.
    fn read(&self, range: Range<u64>) -> ByteStream;
}
