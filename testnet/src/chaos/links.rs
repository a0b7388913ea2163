//! The network between homes: each home knows each other one behind a proxy of ours, TCP and UDP, which forwards,
//! delays, drops or closes as it is told. Loopback only.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::LinkFault;

/// The most a datagram can hold.
const DATAGRAM_BYTES: usize = 65_535;

/// What is read from a TCP connection at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Chunks of one TCP connection and direction under way: at the longest delay it carries 2 MiB/s, more than the load.
const CHUNKS_UNDER_WAY: usize = 64;

/// Delayed datagrams of one proxy: as with a real queue, what comes beyond is lost.
const DATAGRAMS_UNDER_WAY: usize = 1_024;

/// Senders that one proxy keeps apart: a home dials from few ports. The longest idle goes first.
const SENDERS_KEPT: usize = 64;

/// A TCP connection that is closed as soon as it is made is not to be dialled in a tight loop by us.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// How a link is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Weather {
    fault: Option<LinkFault>,
    /// Counts how often all connections were closed.
    closed: u64,
}

impl Weather {
    /// Nothing passes in this direction.
    fn is_silent(self, forward: bool) -> bool {
        match self.fault {
            Some(LinkFault::Silent) => true,
            Some(LinkFault::OneWay(direction)) => direction == forward,
            Some(LinkFault::Refused | LinkFault::Slow { .. } | LinkFault::NoUdp) | None => false,
        }
    }

    fn delay(self) -> Duration {
        match self.fault {
            Some(LinkFault::Slow { delay_ms, jitter_ms, .. }) => {
                Duration::from_millis(delay_ms + rand::rng().random_range(0..=jitter_ms))
            }
            Some(
                LinkFault::Silent | LinkFault::OneWay(_) | LinkFault::Refused | LinkFault::NoUdp,
            )
            | None => Duration::ZERO,
        }
    }

    fn loses_datagram(self, forward: bool) -> bool {
        match self.fault {
            Some(LinkFault::Refused | LinkFault::NoUdp) => true,
            Some(LinkFault::Slow { lost, .. }) => rand::rng().random_range(0..1_000) < lost,
            Some(LinkFault::Silent | LinkFault::OneWay(_)) | None => self.is_silent(forward),
        }
    }
}

/// All links of some homes. Dropping it closes everything.
pub struct Links {
    pairs: HashMap<(usize, usize), watch::Sender<Weather>>,
    ports: HashMap<(usize, usize), u16>,
    _proxies: JoinSet<()>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Links {
    /// Proxies between all homes, which listen on these ports.
    pub async fn between(p2p_ports: &[u16]) -> io::Result<Self> {
        let (mut pairs, mut ports, mut proxies) = (HashMap::new(), HashMap::new(), JoinSet::new());
        for b in 0..p2p_ports.len() {
            for a in 0..b {
                let (set, weather) = watch::channel(Weather::default());
                for (from, to) in [(a, b), (b, a)] {
                    let (tcp, udp, port) = bind().await?;
                    ports.insert((from, to), port);
                    let proxy = Proxy {
                        target: SocketAddr::from((Ipv4Addr::LOCALHOST, p2p_ports[to])),
                        // Forward is from the lower number to the higher.
                        forward: from < to,
                        weather: weather.clone(),
                    };
                    proxies.spawn(forward_tcp(tcp, proxy.clone()));
                    proxies.spawn(forward_udp(udp, proxy));
                }
                pairs.insert((a, b), set);
            }
        }
        Ok(Self { pairs, ports, _proxies: proxies })
    }

    /// Where `from` finds `to`.
    pub fn port(&self, from: usize, to: usize) -> Option<u16> {
        self.ports.get(&(from, to)).copied()
    }

    /// From now on; `None`: all is well.
    pub fn set(&self, a: usize, b: usize, fault: Option<LinkFault>) {
        let Some(weather) = self.pairs.get(&(a.min(b), a.max(b))) else { return };
        weather.send_modify(|weather| {
            weather.fault = fault;
            if fault == Some(LinkFault::Refused) {
                weather.closed += 1;
            }
        });
    }

    /// All is well everywhere.
    pub fn heal(&self) {
        for weather in self.pairs.values() {
            weather.send_modify(|weather| weather.fault = None);
        }
    }

    /// How many links are cut, and how many are slow.
    pub fn disturbed(&self) -> (usize, usize) {
        let faults = self.pairs.values().filter_map(|weather| weather.borrow().fault);
        faults.fold(
            (0, 0),
            |(cut, slow), fault| {
                if fault.is_cut() { (cut + 1, slow) } else { (cut, slow + 1) }
            },
        )
    }
}

/// The same number for both.
async fn bind() -> io::Result<(TcpListener, UdpSocket, u16)> {
    let mut last = None;
    // A UDP socket of somebody else on the very port is rare.
    for _ in 0..20 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = tcp.local_addr()?.port();
        match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(udp) => return Ok((tcp, udp, port)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no port")))
}

#[derive(Clone)]
struct Proxy {
    target: SocketAddr,
    forward: bool,
    weather: watch::Receiver<Weather>,
}

async fn forward_tcp(listener: TcpListener, proxy: Proxy) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => { connections.spawn(one_connection(near, proxy.clone())); }
                Err(error) => {
                    // Out of open files, as a rule: it goes on when some are closed.
                    tracing::warn!(%error, "a proxy cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn one_connection(near: TcpStream, proxy: Proxy) {
    let mut weather = proxy.weather.clone();
    let closed = weather.borrow_and_update().closed;
    // Until the link is closed: what happens to it before the dial counts too.
    let is_closed = async {
        let refused = |w: &Weather| w.closed != closed || w.fault == Some(LinkFault::Refused);
        let _links_gone = weather.wait_for(refused).await;
    };
    let forwarding = async {
        let mut calm = proxy.weather.clone();
        let may_dial = |w: &Weather| !w.is_silent(proxy.forward);
        if calm.wait_for(may_dial).await.is_err() {
            return;
        }
        let dialled = tokio::time::timeout(DIAL_DEADLINE, TcpStream::connect(proxy.target)).await;
        let Ok(Ok(far)) = dialled else { return };
        // Small frames are not to wait for each other here.
        if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
            return;
        }
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        tokio::join!(
            pump(near_read, far_write, proxy.forward, proxy.weather.clone()),
            pump(far_read, near_write, !proxy.forward, proxy.weather.clone()),
        );
    };
    tokio::select! {
        () = is_closed => {}
        () = forwarding => {}
    }
}

/// One direction of a TCP connection. While nothing passes, what was written waits, as the kernel's would.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    forward: bool,
    weather: watch::Receiver<Weather>,
) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_UNDER_WAY);
    let reading = {
        let weather = weather.clone();
        async move {
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
                let due = Instant::now() + weather.borrow().delay();
                if queue.send((due, buffer[..length].to_vec())).await.is_err() {
                    return;
                }
            }
        }
    };
    let writing = async move {
        let mut weather = weather;
        while let Some((due, chunk)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            if weather.wait_for(|w| !w.is_silent(forward)).await.is_err() {
                return;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The other side has said all it had to say.
        let _gone = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

/// What one sender of datagrams has: a socket of its own, so that the answers find back.
struct Sender {
    socket: Arc<UdpSocket>,
    used: Instant,
    answers: tokio::task::AbortHandle,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

async fn forward_udp(socket: UdpSocket, proxy: Proxy) {
    let near = Arc::new(socket);
    let under_way = Arc::new(Semaphore::new(DATAGRAMS_UNDER_WAY));
    let mut senders: HashMap<SocketAddr, Sender> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let received = tokio::select! {
            received = near.recv_from(&mut buffer) => received,
            Some(_ended) = tasks.join_next() => continue,
        };
        // An error of an earlier send, told here (ICMP): nothing to do with this one.
        let Ok((length, from)) = received else { continue };
        let weather = *proxy.weather.borrow();
        if weather.loses_datagram(proxy.forward) {
            continue;
        }
        if !senders.contains_key(&from) {
            if senders.len() >= SENDERS_KEPT
                && let Some(idle) = senders.iter().min_by_key(|(_, s)| s.used).map(|(a, _)| *a)
            {
                senders.remove(&idle);
            }
            let Ok(socket) = towards(proxy.target).await else { continue };
            let socket = Arc::new(socket);
            let way = Way { under_way: Arc::clone(&under_way), to: Some(from) };
            let answers = forward_answers(
                Arc::clone(&socket),
                Arc::clone(&near),
                way,
                proxy.weather.clone(),
                !proxy.forward,
            );
            let answers = tasks.spawn(answers);
            senders.insert(from, Sender { socket, used: Instant::now(), answers });
        }
        let Some(sender) = senders.get_mut(&from) else { continue };
        sender.used = Instant::now();
        let way = Way { under_way: Arc::clone(&under_way), to: None };
        way.send(&sender.socket, &buffer[..length], weather.delay()).await;
    }
}

async fn towards(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

async fn forward_answers(
    far: Arc<UdpSocket>,
    near: Arc<UdpSocket>,
    way: Way,
    weather: watch::Receiver<Weather>,
    forward: bool,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        // "Nobody listens there" comes back once for each datagram sent: the home is down.
        let Ok(length) = far.recv(&mut buffer).await else { continue };
        let now = *weather.borrow();
        if !now.loses_datagram(forward) {
            way.send(&near, &buffer[..length], now.delay()).await;
        }
    }
}

/// How a datagram goes on.
#[derive(Clone)]
struct Way {
    under_way: Arc<Semaphore>,
    /// `None`: where the socket is connected to.
    to: Option<SocketAddr>,
}

impl Way {
    async fn send(&self, socket: &Arc<UdpSocket>, datagram: &[u8], delay: Duration) {
        if delay.is_zero() {
            // Datagrams may be lost.
            let _lost = match self.to {
                Some(to) => socket.send_to(datagram, to).await,
                None => socket.send(datagram).await,
            };
            return;
        }
        let Ok(room) = Arc::clone(&self.under_way).try_acquire_owned() else { return };
        let (socket, to, datagram) = (Arc::clone(socket), self.to, datagram.to_vec());
        // Each by itself: with jitter they overtake each other, as datagrams do.
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _lost = match to {
                Some(to) => socket.send_to(&datagram, to).await,
                None => socket.send(&datagram).await,
            };
            drop(room);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    /// A home that says everything back, in both protocols.
    async fn echo() -> u16 {
        let (tcp, udp, port) = bind().await.unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.into_split();
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                udp.send_to(&buffer[..length], from).await.unwrap();
            }
        });
        port
    }

    async fn links() -> (Links, u16) {
        let ports = [echo().await, echo().await];
        let links = Links::between(&ports).await.unwrap();
        let port = links.port(0, 1).unwrap();
        (links, port)
    }

    async fn say(stream: &mut TcpStream, word: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(word).await?;
        let mut back = vec![0; word.len()];
        tokio::time::timeout(WITHIN, stream.read_exact(&mut back)).await??;
        Ok(back)
    }

    async fn udp_to(port: u16) -> UdpSocket {
        towards(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_said_comes_through_and_back() {
        let (_links, port) = links().await;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
        let socket = udp_to(port).await;
        socket.send(b"datagram").await.unwrap();
        let mut buffer = [0; 100];
        let length = tokio::time::timeout(WITHIN, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(&buffer[..length], b"datagram");
    }

    #[tokio::test]
    async fn a_silent_link_holds_streams_and_loses_datagrams() {
        let (links, port) = links().await;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        say(&mut stream, b"before").await.unwrap();
        let socket = udp_to(port).await;
        links.set(0, 1, Some(LinkFault::Silent));
        assert_eq!(links.disturbed(), (1, 0));
        stream.write_all(b"meanwhile").await.unwrap();
        socket.send(b"lost").await.unwrap();
        // Long enough for the proxy to have taken it.
        let mut buffer = [0; 100];
        let early = tokio::time::timeout(Duration::from_millis(50), socket.recv(&mut buffer)).await;
        assert!(early.is_err());
        // A second stream, made while nothing passes, comes to life afterwards too.
        let mut second = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        links.set(0, 1, None);
        let mut back = [0; 9];
        tokio::time::timeout(WITHIN, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"meanwhile");
        assert_eq!(say(&mut second, b"second").await.unwrap(), b"second");
        // The first is not there in its place.
        socket.send(b"after").await.unwrap();
        let length = tokio::time::timeout(WITHIN, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(&buffer[..length], b"after");
    }

    #[tokio::test]
    async fn a_refused_link_closes_what_there_is_and_what_comes() {
        let (links, port) = links().await;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        say(&mut stream, b"before").await.unwrap();
        links.set(1, 0, Some(LinkFault::Refused));
        let mut buffer = [0; 10];
        let ended = tokio::time::timeout(WITHIN, stream.read(&mut buffer)).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        let mut second = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert!(say(&mut second, b"no").await.is_err());
        links.heal();
        assert_eq!(links.disturbed(), (0, 0));
        let mut third = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert_eq!(say(&mut third, b"yes").await.unwrap(), b"yes");
    }

    #[tokio::test]
    async fn a_slow_link_is_slow() {
        let (links, port) = links().await;
        links.set(0, 1, Some(LinkFault::Slow { delay_ms: 50, jitter_ms: 1, lost: 0 }));
        let begin = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert_eq!(say(&mut stream, b"slow").await.unwrap(), b"slow");
        assert!(begin.elapsed() >= Duration::from_millis(100), "both ways");
        let socket = udp_to(port).await;
        let begin = Instant::now();
        socket.send(b"slow").await.unwrap();
        let mut buffer = [0; 100];
        tokio::time::timeout(WITHIN, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn one_way_passes_the_other_way() {
        let (links, port) = links().await;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        say(&mut stream, b"before").await.unwrap();
        // From the second to the first nothing passes: the echo does not come back until it does.
        links.set(0, 1, Some(LinkFault::OneWay(false)));
        stream.write_all(b"there").await.unwrap();
        let mut back = [0; 5];
        let early =
            tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut back)).await;
        assert!(early.is_err());
        links.heal();
        tokio::time::timeout(WITHIN, stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"there");
    }

    #[tokio::test]
    async fn without_udp_tcp_goes_on() {
        let (links, port) = links().await;
        links.set(0, 1, Some(LinkFault::NoUdp));
        let socket = udp_to(port).await;
        socket.send(b"lost").await.unwrap();
        // Long enough for the proxy to have taken it.
        let mut buffer = [0; 100];
        let early = tokio::time::timeout(Duration::from_millis(50), socket.recv(&mut buffer)).await;
        assert!(early.is_err());
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert_eq!(say(&mut stream, b"hello").await.unwrap(), b"hello");
        let mut buffer = [0; 100];
        assert!(socket.try_recv(&mut buffer).is_err());
    }
}
