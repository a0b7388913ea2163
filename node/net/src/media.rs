//! `/homing/media/1`: one file, one stream.
//!
//! Contract: the asker writes one `Ask` and keeps its half open; the holder writes one `Head`, and behind it the bytes
//! from the offset to the size, then closes. Nobody waits for ever: until the head for `query_timeout`, later for
//! `media_idle` at each step. Who drops its end ends the other's.
//!
//! A stream that ends early says nothing of why: yamux shows a reset as an end. So that is [`MediaError::Short`], which
//! may be tried again from where it ended; what cannot be an accident is [`MediaError::Long`] or
//! [`MediaError::Malformed`] ([`MediaError::is_lie`]). Whether the bytes are the right ones, only their hash says.

use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use homing_wire::proto::media::v1::{Ask, File, Head, Refusal, head};
use homing_wire::{ChannelId, Hash, limits};
use libp2p::Stream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use tokio_util::codec::FramedRead;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::codec::{FrameError, Prefixed, read_one, write_one};
use crate::hello::{sentence, word};
use crate::stats::Counters;
use crate::streams::{OpenError, Opened};

/// The largest piece that an asker is given, in bytes: what a stream's window holds at first, so that a fast line
/// costs few wakes; with the copy that is handed on, a stream costs twice this.
const PIECE_BYTES: usize = 256 * 1_024;
/// A head is small and what follows it is not a frame: read no more ahead than this.
const HEAD_BUFFER_BYTES: usize = 1_024;
/// When who was refused for too many files should ask again: a small file is through by then.
pub(crate) const BUSY_FOR: Duration = Duration::from_secs(2);
/// Said in place of a type that is none.
const ANY_TYPE: &str = "application/octet-stream";

/// A file's bytes, piece by piece.
pub type MediaBytes = BoxStream<'static, io::Result<Bytes>>;

/// Which file is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaAsk {
    /// A channel of both homes, in which an event names the file.
    pub channel: ChannelId,
    /// The file's, of the asked home.
    pub id: Uuid,
    /// Bytes that the asker has already.
    pub offset: u64,
    /// A smaller image of it, of about so many pixels along its longer side; `None`: the file itself.
    pub thumbnail: Option<NonZeroU32>,
}

/// What a holder says of a file before its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaHead {
    /// Of the whole, in bytes, whatever the offset.
    pub size: u64,
    /// BLAKE3 of the whole; `None` for thumbnails, and there alone.
    pub hash: Option<Hash>,
    /// What it is called, anything at all; longer than 1,024 bytes it is cut.
    pub name: String,
    /// A media type; longer than 255 bytes it is sent as `application/octet-stream`.
    pub mime: String,
}

/// A file on its way. Dropping it ends the stream.
pub struct MediaAnswer {
    /// Of the whole, in bytes; at least the offset that was asked for.
    pub size: u64,
    /// BLAKE3 of the whole; `None` exactly for thumbnails. The holder's word: the bytes must be checked.
    pub hash: Option<Hash>,
    /// What it is called, anything at all, at most 1,024 bytes.
    pub name: String,
    /// A media type, the holder's word, at most 255 bytes.
    pub mime: String,
    /// What follows the offset, in pieces of at most 256 KiB. It ends after exactly `size` − offset bytes or with one
    /// error, which [`MediaError::of`] reads. Not reading it slows this file and no other stream.
    pub bytes: MediaBytes,
}

impl fmt::Debug for MediaAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, hash, name, mime, bytes: _ } = self;
        let mut shown = f.debug_struct("MediaAnswer");
        shown.field("size", size).field("hash", hash).field("name", name).field("mime", mime);
        shown.finish_non_exhaustive()
    }
}

/// Why a file did not come, or did not come whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The home is not connected and nobody wants it to be.
    #[error("the home is not connected")]
    NotConnected,
    /// No head, or no connection, in time.
    #[error("no answer in time")]
    Timeout,
    /// Too many files of this home are under way to us.
    #[error("too many files of this home are under way")]
    Busy,
    /// The home will not give it.
    #[error("refused: {reason}")]
    Refused {
        /// The home's word.
        reason: String,
        /// For people.
        message: String,
        /// When to ask again; `None`: asking again makes no sense.
        retry_after: Option<Duration>,
    },
    /// The head does not parse, is over a limit, or does not answer what was asked: the home's fault.
    #[error("the answer does not parse")]
    Malformed,
    /// More came than the head said: the home's fault.
    #[error("more bytes came than were announced")]
    Long,
    /// The stream ended before its time: the holder broke off, or was lost, or lied about the size.
    #[error("the file ended {missing} bytes early")]
    Short {
        /// Bytes that did not come.
        missing: u64,
    },
    /// Nothing came for `media_idle`.
    #[error("the file did not move for too long")]
    Stalled,
    /// The home does not speak the protocol.
    #[error("the home gives no files")]
    Unsupported,
    /// The connection broke.
    #[error("the connection broke")]
    Lost,
    /// The network has been shut down.
    #[error("the network is shut down")]
    ShutDown,
}

impl MediaError {
    /// The stable word for API, metrics and logs. A refusal's own word is in the error.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Refused { .. } => "refused",
            Self::Malformed => "media_malformed",
            Self::Long => "media_too_long",
            Self::Short { .. } => "media_cut_short",
            Self::Stalled => "media_stalled",
            Self::Unsupported => "protocol_unsupported",
            Self::Lost => "connection_lost",
            Self::ShutDown => "shut_down",
        }
    }

    /// Whether the holder said what is not so, and no accident explains it.
    pub fn is_lie(&self) -> bool {
        match self {
            Self::Malformed | Self::Long => true,
            Self::NotConnected
            | Self::Timeout
            | Self::Busy
            | Self::Refused { .. }
            | Self::Short { .. }
            | Self::Stalled
            | Self::Unsupported
            | Self::Lost
            | Self::ShutDown => false,
        }
    }

    /// What ended [`MediaAnswer::bytes`]; `None` for errors of others.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Malformed | Self::Long => io::ErrorKind::InvalidData,
            Self::Short { .. } => io::ErrorKind::UnexpectedEof,
            Self::Stalled | Self::Timeout => io::ErrorKind::TimedOut,
            Self::NotConnected => io::ErrorKind::NotConnected,
            Self::Lost | Self::ShutDown => io::ErrorKind::ConnectionAborted,
            Self::Busy | Self::Refused { .. } | Self::Unsupported => io::ErrorKind::Other,
        }
    }
}

impl From<MediaError> for io::Error {
    fn from(error: MediaError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// For the answer to a home that asks for a file. Dropped, it answers `unanswered`.
pub struct MediaReply(oneshot::Sender<Reply>);

/// What the server says to an ask.
pub(crate) enum Reply {
    Refuse(Refusal),
    Send(MediaHead, MediaBytes),
}

impl MediaReply {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Reply>) {
        let (reply, said) = oneshot::channel();
        (Self(reply), said)
    }

    /// Gives nothing, and says why: a stable word, a sentence for people, and when to ask again, if that makes sense.
    pub fn refuse(self, reason: &str, message: &str, retry_after: Option<Duration>) {
        // An asker that has gone needs no answer.
        let _ = self.0.send(Reply::Refuse(refusal(reason, message, retry_after)));
    }

    /// Gives the file: `bytes` are those from the ask's offset on, in pieces of any size, and are dropped as soon as
    /// nobody wants them any more. They are pulled at the pace of the taker. If they fail, end early or do not stop at
    /// `size`, the asker is shown a stream that ended early.
    pub fn send(self, head: MediaHead, bytes: MediaBytes) {
        let _ = self.0.send(Reply::Send(head, bytes));
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

impl fmt::Debug for MediaReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MediaReply")
    }
}

pub(crate) fn refusal(reason: &str, message: &str, retry_after: Option<Duration>) -> Refusal {
    Refusal {
        reason: word(reason),
        message: sentence(message),
        // Zero would say that asking again makes no sense.
        retry_after_ms: retry_after
            .map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)),
    }
}

/// What both ends of a stream need beside it.
pub(crate) struct Terms {
    pub(crate) idle: Duration,
    /// Of the connection.
    pub(crate) cancel: CancellationToken,
    pub(crate) counters: Arc<Counters>,
    /// A place among the files of the home, held as long as the stream.
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// Asks on a stream that is being opened, as far as the head. The caller bounds the time.
pub(crate) async fn ask(
    opened: Opened,
    ask: MediaAsk,
    terms: Terms,
) -> Result<MediaAnswer, MediaError> {
    let stream = match opened.await.unwrap_or(Err(OpenError::Gone)) {
        Ok(stream) => stream,
        Err(OpenError::Timeout) => return Err(MediaError::Timeout),
        Err(OpenError::Unsupported) => return Err(MediaError::Unsupported),
        Err(OpenError::Gone) => return Err(MediaError::Lost),
    };
    let mut stream = stream.compat();
    let (offset, is_thumbnail) = (ask.offset, ask.thumbnail.is_some());
    let frame = Ask {
        channel: Bytes::copy_from_slice(ask.channel.as_bytes()),
        id: Bytes::copy_from_slice(ask.id.as_bytes()),
        offset,
        thumbnail: ask.thumbnail.map_or(0, NonZeroU32::get),
    };
    write_one(&mut stream, limits::MEDIA_FRAME_BYTES, frame).await.map_err(answered)?;
    let codec = Prefixed::<Head>::new(limits::MEDIA_FRAME_BYTES);
    let mut framed = FramedRead::with_capacity(stream, codec, HEAD_BUFFER_BYTES);
    let head = framed.next().await.unwrap_or(Err(FrameError::Io(eof()))).map_err(answered)?;
    let file = match head.head {
        Some(head::Head::File(file)) => file,
        Some(head::Head::Refusal(refusal)) => {
            return Err(MediaError::Refused {
                reason: word(&refusal.reason),
                message: sentence(&refusal.message),
                retry_after: Some(Duration::from_millis(refusal.retry_after_ms))
                    .filter(|wait| !wait.is_zero()),
            });
        }
        None => return Err(MediaError::Malformed),
    };
    let head = read_head(file, offset, is_thumbnail)?;
    // Some of the bytes may have come with the head.
    let parts = framed.into_parts();
    let left = head.size - offset;
    let incoming = Incoming {
        stream: parts.io.into_inner(),
        early: parts.read_buf,
        scratch: vec![0; usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)],
        left,
        terms,
    };
    let MediaHead { size, hash, name, mime } = head;
    Ok(MediaAnswer { size, hash, name, mime, bytes: incoming.pieces() })
}

/// A head that answers the ask.
fn read_head(file: File, offset: u64, is_thumbnail: bool) -> Result<MediaHead, MediaError> {
    let hash = match (is_thumbnail, file.hash.is_empty()) {
        (true, true) => None,
        (false, false) => Some(Hash::from_slice(&file.hash).map_err(|_| MediaError::Malformed)?),
        (true, false) | (false, true) => return Err(MediaError::Malformed),
    };
    let fits = file.size >= offset
        && file.name.len() <= limits::MEDIA_NAME_BYTES
        && file.mime.len() <= limits::MEDIA_TYPE_BYTES;
    if !fits {
        return Err(MediaError::Malformed);
    }
    Ok(MediaHead { size: file.size, hash, name: file.name, mime: file.mime })
}

fn answered(error: FrameError) -> MediaError {
    match error {
        FrameError::TooLarge { .. } | FrameError::Malformed => MediaError::Malformed,
        FrameError::Io(_) => MediaError::Lost,
    }
}

fn eof() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// The bytes behind a head.
struct Incoming {
    stream: Stream,
    /// What was read together with the head.
    early: BytesMut,
    /// Where the next piece is gathered: the stream gives 16 KiB at a time.
    scratch: Vec<u8>,
    left: u64,
    terms: Terms,
}

impl Incoming {
    fn pieces(self) -> MediaBytes {
        stream::unfold(Some(self), |incoming| async {
            let mut incoming = incoming?;
            match incoming.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(incoming))),
                Ok(None) => None,
                Err(error) => {
                    incoming.terms.counters.dropped(error.reason());
                    Some((Err(error.into()), None))
                }
            }
        })
        .boxed()
    }

    /// The next piece, or nothing once all have come and the stream has ended with them.
    async fn next(&mut self) -> Result<Option<Bytes>, MediaError> {
        let cancel = self.terms.cancel.clone();
        let idle = self.terms.idle;
        match cancel.run_until_cancelled(timeout(idle, self.read())).await {
            Some(Ok(piece)) => piece,
            Some(Err(_)) => Err(MediaError::Stalled),
            None => Err(MediaError::Lost),
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, MediaError> {
        let wanted = usize::try_from(self.left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        if wanted == 0 {
            return self.end().await;
        }
        let piece = if self.early.is_empty() {
            let count = self.gather(wanted).await?;
            Bytes::copy_from_slice(&self.scratch[..count])
        } else {
            self.early.split_to(self.early.len().min(wanted)).freeze()
        };
        self.left -= piece.len() as u64;
        self.terms.counters.media_read(piece.len());
        Ok(Some(piece))
    }

    /// Waits for the first bytes and takes what is there beside, up to `wanted`.
    async fn gather(&mut self, wanted: usize) -> Result<usize, MediaError> {
        let first = self.stream.read(&mut self.scratch[..wanted]).await;
        let mut filled = match first {
            Ok(0) => return Err(MediaError::Short { missing: self.left }),
            Ok(count) => count,
            Err(_) => return Err(MediaError::Lost),
        };
        while filled < wanted {
            let stream = Pin::new(&mut self.stream);
            let room = &mut self.scratch[filled..wanted];
            match futures::poll!(PollRead(stream, room)) {
                std::task::Poll::Ready(Ok(count)) if count > 0 => filled += count,
                // An end or an error comes again with the next piece.
                std::task::Poll::Ready(_) | std::task::Poll::Pending => break,
            }
        }
        Ok(filled)
    }

    async fn end(&mut self) -> Result<Option<Bytes>, MediaError> {
        if !self.early.is_empty() {
            return Err(MediaError::Long);
        }
        match self.stream.read(&mut [0]).await {
            Ok(0) => {
                self.terms.counters.media_whole_in();
                Ok(None)
            }
            Ok(_) => Err(MediaError::Long),
            Err(_) => Err(MediaError::Lost),
        }
    }
}

/// One look at a stream.
struct PollRead<'a>(Pin<&'a mut Stream>, &'a mut [u8]);

impl Future for PollRead<'_> {
    type Output = io::Result<usize>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let Self(stream, room) = &mut *self;
        stream.as_mut().poll_read(cx, room)
    }
}

/// Reads an ask.
pub(crate) async fn read(stream: &mut Compat<Stream>) -> Result<MediaAsk, &'static str> {
    let ask: Ask =
        read_one(stream, limits::MEDIA_FRAME_BYTES).await.map_err(|error| match error {
            FrameError::Malformed => "media_malformed",
            FrameError::TooLarge { .. } => "media_ask_too_large",
            FrameError::Io(_) => "media_lost",
        })?;
    Ok(MediaAsk {
        channel: ChannelId::from_slice(&ask.channel).map_err(|_| "media_malformed")?,
        id: Uuid::from_slice(&ask.id).map_err(|_| "media_malformed")?,
        offset: ask.offset,
        thumbnail: NonZeroU32::new(ask.thumbnail),
    })
}

/// Says no. That the asker has gone is its own affair.
pub(crate) async fn refuse(mut stream: Compat<Stream>, refusal: Refusal) {
    let head = Head { head: Some(head::Head::Refusal(refusal)) };
    if let Err(error) = write_one(&mut stream, limits::MEDIA_FRAME_BYTES, head).await {
        tracing::debug!(%error, "a refusal was not sent");
    }
    let _ = stream.into_inner().close().await;
}

/// Sends a file. An error is the word for why it did not go out whole; the stream is then reset, as it is when this is
/// dropped.
pub(crate) async fn send(
    mut stream: Compat<Stream>,
    ask: &MediaAsk,
    head: MediaHead,
    mut bytes: MediaBytes,
    terms: &Terms,
) -> Result<(), &'static str> {
    let Some(mut left) = head.size.checked_sub(ask.offset) else {
        refuse(stream, refusal("offset_beyond_end", "the file is shorter than that", None)).await;
        return Ok(());
    };
    if head.hash.is_none() != ask.thumbnail.is_some() {
        tracing::error!("a file without its hash, or a thumbnail with one: a bug");
        refuse(stream, refusal("unanswered", "the home did not answer", None)).await;
        return Err("media_head_wrong");
    }
    let head = write_one(&mut stream, limits::MEDIA_FRAME_BYTES, write_head(head));
    match timeout(terms.idle, head).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err("media_taker_gone"),
        Err(_) => return Err("media_taker_slow"),
    }
    let mut stream = stream.into_inner();
    while left > 0 {
        let mut piece = next_piece(&mut stream, &mut bytes, terms.idle).await?;
        if piece.len() as u64 > left {
            tracing::error!("a file of our own is longer than its head says");
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        left -= piece.len() as u64;
        while !piece.is_empty() {
            match timeout(terms.idle, stream.write(&piece)).await {
                Ok(Ok(count)) if count > 0 => {
                    terms.counters.media_written(count);
                    let _written = piece.split_to(count);
                }
                Ok(_) => return Err("media_taker_gone"),
                Err(_) => return Err("media_taker_slow"),
            }
        }
    }
    match timeout(terms.idle, stream.close()).await {
        Ok(Ok(())) => {
            terms.counters.media_whole_out();
            Ok(())
        }
        Ok(Err(_)) => Err("media_taker_gone"),
        Err(_) => Err("media_taker_slow"),
    }
}

/// The next bytes of our own, unless the taker goes meanwhile. While it takes, it has nothing to say.
async fn next_piece(
    stream: &mut Stream,
    bytes: &mut MediaBytes,
    idle: Duration,
) -> Result<Bytes, &'static str> {
    let mut said = [0];
    tokio::select! {
        // What is there is sent; whether the taker is there shows as it is.
        biased;
        piece = timeout(idle, bytes.next()) => match piece {
            Ok(Some(Ok(piece))) => Ok(piece),
            Ok(Some(Err(error))) => {
                tracing::warn!(%error, "a file that is being sent cannot be read");
                Err("media_source_failed")
            }
            Ok(None) => Err("media_source_short"),
            Err(_) => Err("media_source_slow"),
        },
        _ = stream.read(&mut said) => Err("media_taker_gone"),
    }
}

fn write_head(head: MediaHead) -> Head {
    let MediaHead { size, hash, mut name, mut mime } = head;
    let mut end = name.len().min(limits::MEDIA_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    if mime.len() > limits::MEDIA_TYPE_BYTES {
        ANY_TYPE.clone_into(&mut mime);
    }
    let hash = hash.map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(&hash.0));
    Head { head: Some(head::Head::File(File { size, hash, name, mime })) }
}
