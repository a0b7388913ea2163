//! Taking connections, within limits, and what becomes of each: HTTP first, then perhaps a socket.
//!
//! warp only routes: its own server sets no TCP_NODELAY and no deadline for headers, and its own
//! WebSocket holds 128 KiB a connection.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use crate::bridge::Shared;
use crate::limits::{BridgeLimits, ms};
use crate::metrics::{add, subtract};
use crate::routes::{self, Service};
use crate::socket;
use crate::upgrade::{Accepted, Peer};

/// Connections that the kernel keeps until we take them: a whole office returning at once.
const BACKLOG: i32 = 4_096;

/// Pause after the system refused a connection (usually: no file descriptor is free), so that the
/// loop does not spin until one is.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// How often it is looked whether a file still flows, at most.
const LOOK: Duration = Duration::from_millis(10);

/// After the answer is on its way, so many times `refused_body_bytes` may still come: what fills the buffers of a long, fast line.
const READ_AWAY: u64 = 16;

/// The listening socket.
pub(crate) fn listen(address: SocketAddr, limits: &BridgeLimits) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    // A restarted bridge gets its port back while old connections are in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(limits.send_buffer_bytes)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Takes connections until the bridge stops.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener, tasks: TaskTracker) {
    let service = routes::service(shared.clone());
    let mut stop = pin!(shared.stop.cancelled());
    loop {
        let taken = tokio::select! {
            () = &mut stop => return,
            taken = listener.accept() => taken,
        };
        let (stream, peer) = match taken {
            Ok(taken) => taken,
            Err(refused) if is_of_one_connection(&refused) => continue,
            Err(refused) => {
                error!(error = %refused, "cannot take connections");
                tokio::time::sleep(REFUSED_PAUSE).await;
                continue;
            }
        };
        let slot = match Slot::take(&shared, peer.ip()) {
            Ok(slot) => slot,
            Err(limit) => {
                shared.metrics.connection_refused(limit);
                debug!(limit, "connection refused");
                continue;
            }
        };
        if let Err(gone) = stream.set_nodelay(true) {
            debug!(error = %gone, "connection gone at once");
            continue;
        }
        tasks.spawn(serve(slot, service.clone(), stream, peer));
    }
}

/// Errors of `accept` that say nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// One connection's whole life.
async fn serve(slot: Slot, service: Service, stream: TcpStream, peer: SocketAddr) {
    let shared = &slot.shared;
    // Boxed, so that the HTTP state is freed before the socket's long life begins.
    let upgraded = Box::pin(speak_http(shared, service, stream, peer)).await;
    if let Some((accepted, stream, early)) = upgraded {
        socket::run(shared, accepted, stream, early).await;
    }
}

/// Serves HTTP/1.1 until the client has gone, or has become a WebSocket.
async fn speak_http(
    shared: &Arc<Shared>,
    service: Service,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Accepted, TcpStream, Vec<u8>)> {
    let peer = Peer::new(peer);
    let service = service.of(peer.clone());
    let limits = &shared.limits;
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ms(limits.header_ms))
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut stop = pin!(shared.stop.cancelled());
    let mut deadline = pin!(tokio::time::sleep(ms(limits.http_connection_ms)));
    let mut look = pin!(tokio::time::sleep(ms(limits.media_idle_ms)));
    let (mut stopping, mut ending, mut looking) = (false, false, false);
    let flow = peer.flow.clone();
    let ended = poll_fn(|cx| {
        let now = tokio::time::Instant::now;
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            ending = true;
            deadline.as_mut().reset(now() + ms(limits.close_ms));
        }
        while deadline.as_mut().poll(cx).is_ready() {
            // A file that flows is not cut, unless the bridge stops.
            if ending && (stopping || !flow.holds(limits)) {
                return Poll::Ready(None);
            }
            ending = true;
            deadline.as_mut().reset(now() + ms(limits.close_ms).max(LOOK));
        }
        if ending {
            // The call in hand is answered, and no other begun.
            Pin::new(&mut connection).graceful_shutdown();
        }
        if let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
            return Poll::Ready(Some(ended));
        }
        // A client that takes nothing wakes nobody.
        let under_way = flow.is_under_way();
        if under_way && !looking {
            look.as_mut().reset(now() + ms(limits.media_idle_ms / 4).max(LOOK));
        }
        looking = under_way;
        while looking && look.as_mut().poll(cx).is_ready() {
            if flow.is_stalled(limits) {
                debug!("a client takes nothing of a file");
                return Poll::Ready(None);
            }
            look.as_mut().reset(now() + ms(limits.media_idle_ms / 4).max(LOOK));
        }
        Poll::Pending
    })
    .await;
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            debug!(%error, "HTTP connection failed");
            return None;
        }
        None => return None,
    }
    let accepted = peer.take_accepted();
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if let Some(accepted) = accepted {
        // Copied: `read_buf` would keep hyper's whole buffer alive, even when it is empty.
        return Some((accepted, stream, parts.read_buf.to_vec()));
    }
    let _gone_anyway = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
    if flow.is_unread() {
        let read_away = read_away(&mut stream, limits.refused_body_bytes);
        let _no_longer = tokio::time::timeout(ms(limits.close_ms), read_away).await;
    }
    None
}

/// Reads what a client still sends after its answer: closed before that, the kernel would take the answer back (RFC 9112, section 9.6).
async fn read_away(stream: &mut TcpStream, most: u64) {
    let mut left = most.saturating_mul(READ_AWAY);
    let mut buffer = [0; 2048];
    while left > 0 {
        match tokio::io::AsyncReadExt::read(stream, &mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(bytes) => left = left.saturating_sub(bytes as u64),
        }
    }
}

/// How many connections there are, and from where.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// A connection's place among the allowed ones.
struct Slot {
    shared: Arc<Shared>,
    source: Option<IpAddr>,
}

impl Slot {
    /// Takes a place, or says which limit forbids it.
    fn take(shared: &Arc<Shared>, from: IpAddr) -> Result<Self, &'static str> {
        let limits = &shared.limits;
        let source = source_of(from);
        let mut counts = shared.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= limits.connections {
            return Err("connections");
        }
        if let Some(source) = source {
            let here = counts.by_source.entry(source).or_default();
            if *here >= limits.connections_per_ip {
                return Err("connections_per_ip");
            }
            *here += 1;
        }
        counts.all += 1;
        drop(counts);
        add(&shared.metrics.connections, 1);
        add(&shared.metrics.connections_open, 1);
        Ok(Self { shared: shared.clone(), source })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.shared.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(source) = self.source
            && let Some(here) = counts.by_source.get_mut(&source)
        {
            *here -= 1;
            if *here == 0 {
                counts.by_source.remove(&source);
            }
        }
        drop(counts);
        subtract(&self.shared.metrics.connections_open, 1);
    }
}

/// What counts as one source of connections. Loopback does not count.
fn source_of(from: IpAddr) -> Option<IpAddr> {
    let from = from.to_canonical();
    if from.is_loopback() {
        return None;
    }
    Some(match from {
        IpAddr::V4(_) => from,
        // Whoever has one address of a /64 has them all.
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let source = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(source("127.0.0.1"), None);
        assert_eq!(source("::1"), None);
        assert_eq!(source("::ffff:127.0.0.1"), None);
        assert_eq!(source("192.0.2.7"), source("::ffff:192.0.2.7"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }
}
