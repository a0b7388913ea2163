//! `/homing/relay/1`: one long-lived stream in each direction between two homes.
//!
//! The opener sends Range, Pruned, Pull, Marks, Roster, Letter, GossipKey, Watch, Presence, Typing and Ping; the acceptor
//! answers Ack, Refuse and Pong. Ping and Pong are handled here and never shown. Each end reads and writes independently, so that a full queue in
//! one direction does not stop the other.
//!
//! **Alive or slow?** The opener pings every heartbeat. The acceptor answers; and while its server does not
//! take frames, so that it cannot read the next Ping, it sends Pongs unasked. So silence for the
//! deadline means that the path or the process is gone, and a slow server is only slow.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use homing_wire::limits;
use homing_wire::proto::relay::v1::{Frame, Ping, Pong, PresenceOf, frame::Frame as Kind};
use libp2p::Stream;
use prost::Message as _;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};

use crate::codec::{self, FrameError, Prefixed};
use crate::config::NetLimits;
use crate::event::{RelayIn, RelayOut};
use crate::stats::Counters;
use crate::streams::{OpenError, Opened};

/// Frames taken from the queue at once, before Pings and Pongs get their turn.
const BATCH: usize = 64;
/// Pongs that wait to be written. More say nothing new.
const PONGS: usize = 2;
/// Entries of a frame's list other than events: as many as there may be heads under one signature.
const LIST_ENTRIES: usize = limits::HEADS;

/// Received frames on their way to the server, bounded in number and in bytes.
#[derive(Debug)]
pub struct Frames(mpsc::Receiver<Held>);

/// A frame and its share of the stream's bytes.
type Held = (Frame, OwnedSemaphorePermit);

impl Frames {
    /// Those of a stream that has ended.
    pub fn ended() -> Self {
        Self(mpsc::channel(1).1)
    }

    /// The next frame, or `None` when the stream has ended. Cancel safe.
    pub async fn recv(&mut self) -> Option<Frame> {
        // Taking a frame frees its share.
        self.0.recv().await.map(|(frame, _)| frame)
    }

    /// A frame that is there already, if any.
    pub fn try_recv(&mut self) -> Option<Frame> {
        self.0.try_recv().ok().map(|(frame, _)| frame)
    }
}

/// Why a relay stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It could not be opened.
    NotOpened(OpenError),
    /// Nothing came for the deadline.
    Dead,
    /// The peer closed it, or opened a newer one.
    Closed,
    /// The connection broke.
    Broken,
    /// The server dropped its end.
    Released,
    /// The network closes the connection.
    Cancelled,
    /// The peer sent what does not parse.
    Malformed,
    /// The peer sent a frame over the limits.
    TooLarge,
    /// The peer sent a frame that only the other side may send.
    Unexpected,
}

impl End {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NotOpened(error) => error.reason(),
            Self::Dead => "relay_dead",
            Self::Closed => "relay_closed",
            Self::Broken => "connection_lost",
            Self::Released => "relay_released",
            Self::Cancelled => "closed",
            Self::Malformed => "frame_malformed",
            Self::TooLarge => "frame_too_large",
            Self::Unexpected => "frame_unexpected",
        }
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Malformed => Self::Malformed,
            FrameError::TooLarge { .. } => Self::TooLarge,
            FrameError::Io(_) => Self::Broken,
        }
    }
}

/// What a relay stream needs to know of the limits.
#[derive(Clone)]
pub(crate) struct Settings {
    heartbeat: Duration,
    deadline: Duration,
    queue_frames: usize,
    queue_bytes: u32,
    frame_bytes: usize,
    counters: Arc<Counters>,
}

impl Settings {
    pub(crate) fn new(limits: &NetLimits, counters: Arc<Counters>) -> Self {
        Self {
            heartbeat: limits.heartbeat,
            deadline: limits.relay_deadline,
            queue_frames: limits.relay_queue_frames,
            queue_bytes: limits.relay_queue_bytes,
            frame_bytes: limits.relay_frame_bytes,
            counters,
        }
    }
}

type Reader = FramedRead<ReadHalf<Compat<Stream>>, Prefixed<Frame>>;
type Writer = FramedWrite<WriteHalf<Compat<Stream>>, Prefixed<Frame>>;

/// A stream and its settings.
pub(crate) struct Relay {
    reader: Reader,
    writer: Writer,
    settings: Settings,
}

impl Relay {
    fn new(stream: Stream, settings: Settings) -> Self {
        let (read, write) = tokio::io::split(stream.compat());
        let codec = || Prefixed::counted(settings.frame_bytes, settings.counters.clone());
        Self {
            reader: codec::reader(read, codec()),
            writer: codec::writer(write, codec()),
            settings,
        }
    }

    /// The opener's side, as far as the first Pong: only then does the other side have the stream.
    pub(crate) async fn open(opened: Opened, settings: Settings) -> Result<Self, End> {
        let stream = opened.await.unwrap_or(Err(OpenError::Gone)).map_err(End::NotOpened)?;
        let deadline = settings.deadline;
        let answered = async {
            let mut relay = Self::new(stream, settings);
            relay.writer.send(ping(0)).await?;
            match relay.first().await?.frame {
                Some(Kind::Pong(_)) => Ok(relay),
                Some(_) | None => Err(End::Unexpected),
            }
        };
        timeout(deadline, answered).await.unwrap_or(Err(End::Dead))
    }

    /// The acceptor's side, as far as the first Ping.
    pub(crate) async fn accept(stream: Stream, settings: Settings) -> Result<Self, End> {
        let deadline = settings.deadline;
        let answered = async {
            let mut relay = Self::new(stream, settings);
            let number = match relay.first().await?.frame {
                Some(Kind::Ping(Ping { number })) => number,
                Some(_) | None => return Err(End::Unexpected),
            };
            relay.writer.send(pong(number)).await?;
            Ok(relay)
        };
        timeout(deadline, answered).await.unwrap_or(Err(End::Dead))
    }

    async fn first(&mut self) -> Result<Frame, End> {
        Ok(self.reader.next().await.ok_or(End::Closed)??)
    }

    /// The opener's link, and what must be polled for it to work.
    pub(crate) fn outgoing(self) -> (RelayOut, impl Future<Output = End> + Send) {
        let Self { reader, writer, settings } = self;
        let (frames, queue) = mpsc::channel(settings.queue_frames);
        let (inbox, replies) = Inbox::new(&settings);
        let work = async move {
            tokio::select! {
                end = send_frames(writer, queue, &settings) => end,
                end = receive_replies(reader, inbox, &settings) => end,
            }
        };
        (RelayOut { frames, replies }, work)
    }

    /// The acceptor's link, and what must be polled for it to work.
    pub(crate) fn incoming(self) -> (RelayIn, impl Future<Output = End> + Send) {
        let Self { reader, writer, settings } = self;
        let (replies, queue) = mpsc::channel(settings.queue_frames);
        let (inbox, frames) = Inbox::new(&settings);
        let (pongs, due) = mpsc::channel(PONGS);
        let work = async move {
            tokio::select! {
                end = send_replies(writer, queue, due, &settings) => end,
                end = receive_frames(reader, inbox, pongs, &settings) => end,
            }
        };
        (RelayIn { frames, replies }, work)
    }
}

/// Opener: frames of the server, and a Ping every heartbeat.
async fn send_frames(
    mut writer: Writer,
    mut queue: mpsc::Receiver<Frame>,
    settings: &Settings,
) -> End {
    let mut heartbeat = interval_at(Instant::now() + settings.heartbeat, settings.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let sent = tokio::select! {
            biased;
            _ = heartbeat.tick() => {
                number += 1;
                writer.send(ping(number)).await
            }
            taken = queue.recv_many(&mut batch, BATCH) => {
                if taken == 0 {
                    // In order if the peer reads; otherwise the drop resets it.
                    let _ = timeout(settings.heartbeat, writer.close()).await;
                    return End::Released;
                }
                write_batch(&mut writer, &mut batch, Side::Opener, queue.is_empty(), settings).await
            }
        };
        if sent.is_err() {
            return End::Broken;
        }
    }
}

/// Acceptor: replies of the server, and Pongs.
async fn send_replies(
    mut writer: Writer,
    mut queue: mpsc::Receiver<Frame>,
    mut pongs: mpsc::Receiver<u64>,
    settings: &Settings,
) -> End {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let sent = tokio::select! {
            biased;
            Some(number) = pongs.recv() => writer.send(pong(number)).await,
            taken = queue.recv_many(&mut batch, BATCH) => {
                if taken == 0 {
                    // In order if the peer reads; otherwise the drop resets it.
                    let _ = timeout(settings.heartbeat, writer.close()).await;
                    return End::Released;
                }
                write_batch(&mut writer, &mut batch, Side::Acceptor, queue.is_empty(), settings).await
            }
        };
        if sent.is_err() {
            return End::Broken;
        }
    }
}

/// Writes what was taken from the queue and flushes when nothing waits behind it.
async fn write_batch(
    writer: &mut Writer,
    batch: &mut Vec<Frame>,
    side: Side,
    flush: bool,
    settings: &Settings,
) -> Result<(), FrameError> {
    for frame in batch.drain(..) {
        // The peer would drop us for either; the rest of the queue is better served without.
        let ours = frame.frame.as_ref().is_some_and(|kind| sent_by(kind) == Some(side));
        if !ours || frame.encoded_len() > settings.frame_bytes {
            let reason = if ours { "own_frame_too_large" } else { "own_frame_unexpected" };
            tracing::error!(reason, "a relay frame of our own was not sent: a bug");
            settings.counters.dropped(reason);
            continue;
        }
        writer.feed(frame).await?;
    }
    if flush { writer.flush().await } else { Ok(()) }
}

/// Opener: replies for the server; any sign of life counts.
async fn receive_replies(mut reader: Reader, mut inbox: Inbox, settings: &Settings) -> End {
    loop {
        let frame = match next(&mut reader, settings).await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        let Some(kind) = &frame.frame else {
            settings.counters.frame_unknown();
            continue;
        };
        if matches!(kind, Kind::Pong(_)) {
            continue;
        }
        if sent_by(kind) != Some(Side::Acceptor) {
            return End::Unexpected;
        }
        // While the server does not take replies nothing is read, and the deadline does not run.
        if !inbox.put(frame).await {
            return End::Released;
        }
    }
}

/// Acceptor: frames for the server, and Pings.
async fn receive_frames(
    mut reader: Reader,
    mut inbox: Inbox,
    pongs: mpsc::Sender<u64>,
    settings: &Settings,
) -> End {
    let mut number = 0;
    loop {
        let frame = match next(&mut reader, settings).await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        let Some(kind) = &frame.frame else {
            settings.counters.frame_unknown();
            continue;
        };
        if let Kind::Ping(ping) = kind {
            number = ping.number;
            // Full: Pongs wait already, and one is as good as another.
            let _ = pongs.try_send(number);
            continue;
        }
        if sent_by(kind) != Some(Side::Opener) {
            return End::Unexpected;
        }
        let mut put = std::pin::pin!(inbox.put(frame));
        loop {
            match timeout(settings.heartbeat, &mut put).await {
                Ok(true) => break,
                Ok(false) => return End::Released,
                // Slow, not dead: see the module.
                Err(_) => drop(pongs.try_send(number)),
            }
        }
    }
}

/// The next frame within the deadline, with its lists within their limits.
async fn next(reader: &mut Reader, settings: &Settings) -> Result<Frame, End> {
    let frame = match timeout(settings.deadline, reader.next()).await {
        Err(_) => return Err(End::Dead),
        Ok(None) => return Err(End::Closed),
        Ok(Some(frame)) => frame?,
    };
    let within = match &frame.frame {
        Some(Kind::Range(range)) => range.events.len() <= limits::RANGE_EVENTS,
        Some(Kind::Marks(marks)) => marks.marks.len() <= LIST_ENTRIES,
        Some(Kind::Ack(ack)) => {
            let all = || ack.have.iter().chain(&ack.heard);
            all().count() <= LIST_ENTRIES
                && all().map(|have| have.rejected.len()).sum::<usize>() <= LIST_ENTRIES
        }
        Some(Kind::Watch(watch)) => {
            let watched = &watch.watched;
            watched.iter().map(|one| 1 + one.watchers.len()).sum::<usize>()
                <= limits::PRESENCE_NAMES
        }
        Some(Kind::Presence(told)) => {
            let seers = |one: &PresenceOf| one.seers.as_ref().map_or(0, |seers| seers.users.len());
            told.users.iter().map(|one| 1 + seers(one)).sum::<usize>() <= limits::PRESENCE_NAMES
        }
        Some(Kind::Typing(told)) => told.typing.len() <= limits::TYPING,
        Some(
            Kind::Roster(_)
            | Kind::Letter(_)
            | Kind::GossipKey(_)
            | Kind::Pruned(_)
            | Kind::Pull(_)
            | Kind::Ping(_)
            | Kind::Refuse(_)
            | Kind::Pong(_),
        )
        | None => true,
    };
    if within { Ok(frame) } else { Err(End::TooLarge) }
}

/// The writing end of [`Frames`].
struct Inbox {
    frames: mpsc::Sender<Held>,
    bytes: Arc<Semaphore>,
    most: u32,
}

impl Inbox {
    fn new(settings: &Settings) -> (Self, Frames) {
        let (frames, receiver) = mpsc::channel(settings.queue_frames);
        let most = settings.queue_bytes;
        let bytes = Arc::new(Semaphore::new(most as usize));
        (Self { frames, bytes, most }, Frames(receiver))
    }

    /// Waits for room. `false`: the server has dropped its end.
    async fn put(&mut self, frame: Frame) -> bool {
        let size = u32::try_from(frame.encoded_len()).unwrap_or(self.most).clamp(1, self.most);
        let permit = tokio::select! {
            permit = self.bytes.clone().acquire_many_owned(size) => permit,
            () = self.frames.closed() => return false,
        };
        // The semaphore is never closed.
        let Ok(permit) = permit else { return false };
        self.frames.send((frame, permit)).await.is_ok()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Opener,
    Acceptor,
}

/// Which side's server may send such a frame; heartbeats are nobody's.
fn sent_by(kind: &Kind) -> Option<Side> {
    match kind {
        Kind::Range(_)
        | Kind::Pruned(_)
        | Kind::Pull(_)
        | Kind::Marks(_)
        | Kind::Roster(_)
        | Kind::Letter(_)
        | Kind::GossipKey(_)
        | Kind::Watch(_)
        | Kind::Presence(_)
        | Kind::Typing(_) => Some(Side::Opener),
        Kind::Ack(_) | Kind::Refuse(_) => Some(Side::Acceptor),
        Kind::Ping(_) | Kind::Pong(_) => None,
    }
}

fn ping(number: u64) -> Frame {
    Frame { frame: Some(Kind::Ping(Ping { number })) }
}

fn pong(number: u64) -> Frame {
    Frame { frame: Some(Kind::Pong(Pong { number })) }
}
