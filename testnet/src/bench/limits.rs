//! What the disk and the sockets of this machine can do without a home: the figures all others are held against.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// A message as a journal holds it.
const RECORD_BYTES: usize = 300;
/// Long enough for a few thousand flushes.
const FSYNC_TIME: Duration = Duration::from_secs(3);
/// More than a disk's own cache takes.
const APPEND_BYTES: usize = 512 << 20;
/// As in the scenarios.
const ECHO_SOCKETS: usize = 50;
const ECHO_BYTES: usize = 200;
const ECHO_IN_FLIGHT: usize = 32;
const ECHO_TIME: Duration = Duration::from_secs(3);

/// What the machine can do.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// Appends of 300 bytes, each followed by fdatasync, a second.
    pub fsync_per_s: f64,
    /// One of them, median.
    pub fsync_p50_ms: f64,
    /// One of them, the slowest in a hundred.
    pub fsync_p99_ms: f64,
    /// Appending in large pieces, flushed at the end.
    pub append_bytes_per_s: f64,
    /// Echoes of 200 bytes over 50 WebSockets with 32 in flight each, both ends on this machine.
    pub ws_echo_per_s: f64,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "limits: append+fdatasync {:.0}/s (p50 {:.2} ms, p99 {:.2} ms), append {:.0} MB/s, WebSocket echo {:.0}/s",
            self.fsync_per_s,
            self.fsync_p50_ms,
            self.fsync_p99_ms,
            self.append_bytes_per_s / 1e6,
            self.ws_echo_per_s
        )
    }
}

/// Takes about ten seconds.
pub(super) async fn measure(dir: &Path) -> anyhow::Result<Limits> {
    let path = dir.join("limits");
    let (fsync, append_bytes_per_s) = tokio::task::spawn_blocking(move || {
        let fsync = fsync(&path)?;
        let append = append(&path)?;
        std::fs::remove_file(&path)?;
        anyhow::Ok((fsync, append))
    })
    .await??;
    let ms = |quantile| fsync.value_at_quantile(quantile) as f64 / 1e6;
    Ok(Limits {
        fsync_per_s: 1e9 / fsync.mean(),
        fsync_p50_ms: ms(0.5),
        fsync_p99_ms: ms(0.99),
        append_bytes_per_s,
        ws_echo_per_s: echo().await?,
    })
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).open(path)
}

/// Nanoseconds of each append and flush.
fn fsync(path: &Path) -> anyhow::Result<Histogram<u64>> {
    let mut file = new_file(path)?;
    let mut taken = Histogram::new(3)?;
    let record = [7_u8; RECORD_BYTES];
    let begin = Instant::now();
    while begin.elapsed() < FSYNC_TIME {
        let at = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        taken.record(nanos(at.elapsed()))?;
    }
    Ok(taken)
}

fn append(path: &Path) -> io::Result<f64> {
    let mut file = new_file(path)?;
    let piece = vec![7_u8; 1 << 20];
    let begin = Instant::now();
    for _ in 0..APPEND_BYTES / piece.len() {
        file.write_all(&piece)?;
    }
    file.sync_data()?;
    Ok(APPEND_BYTES as f64 / begin.elapsed().as_secs_f64())
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

async fn echo() -> anyhow::Result<f64> {
    let config = WebSocketConfig::default().read_buffer_size(16 << 10).write_buffer_size(16 << 10);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let mut sockets = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            sockets.spawn(async move {
                stream.set_nodelay(true)?;
                let ws = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
                give_back(ws).await
            });
        }
    });
    let mut clients = tokio::task::JoinSet::new();
    let until = Instant::now() + ECHO_TIME;
    for _ in 0..ECHO_SOCKETS {
        clients.spawn(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let url = format!("ws://{address}/");
            let (ws, _) =
                tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
            ask(ws, until).await
        });
    }
    let mut echoes = 0;
    while let Some(client) = clients.join_next().await {
        echoes += client??;
    }
    // Its sockets have ended with their clients; only the listener is left.
    server.abort();
    Ok(echoes as f64 / ECHO_TIME.as_secs_f64())
}

async fn give_back(ws: WebSocketStream<TcpStream>) -> anyhow::Result<()> {
    let (mut sink, stream) = ws.split();
    let mut chunks = stream.ready_chunks(ECHO_IN_FLIGHT);
    while let Some(chunk) = chunks.next().await {
        for frame in chunk {
            match frame? {
                Frame::Text(text) => sink.feed(Frame::Text(text)).await?,
                Frame::Close(_) => return Ok(()),
                Frame::Binary(_) | Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
            }
        }
        sink.flush().await?;
    }
    Ok(())
}

async fn ask(ws: WebSocketStream<TcpStream>, until: Instant) -> anyhow::Result<u64> {
    let (mut sink, stream) = ws.split();
    let mut chunks = stream.ready_chunks(ECHO_IN_FLIGHT);
    let frame = Frame::Text("x".repeat(ECHO_BYTES).into());
    let (mut owed, mut came) = (ECHO_IN_FLIGHT, 0);
    loop {
        for _ in 0..owed {
            sink.feed(frame.clone()).await?;
        }
        sink.flush().await?;
        let Some(chunk) = chunks.next().await else {
            return Ok(came);
        };
        owed = chunk.len();
        came += owed as u64;
        if Instant::now() >= until {
            sink.close().await?;
            return Ok(came);
        }
    }
}
