//! `group-wide`: one home tells all homes of a group, by gossip or by its streams to each. The networks are real
//! (hello, Noise, Yamux, gossipsub, relay streams), many in this process, over memory in place of sockets: what is
//! compared is the origin's bytes and processor time, which are its own on a thread of its own, and how long it takes
//! until all homes have a message. The latter holds for homes that share two cores; a network's way is not in it.
//!
//! In both ways each home acknowledges by the origin's stream what it has, as it does in earnest. Gossip is alone here:
//! what it does not deliver is counted, not sent again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use hdrhistogram::Histogram;
use homing_net::in_memory::{self, Wire};
use homing_net::{
    Admission, HelloInfo, NetEvent, NetHandle, NetLimits, NodeKey, PublishOutcome, Refusal,
    RelayIn, RelayOut, TopicName, Verdict,
};
use homing_wire::proto::event::v1::Event;
use homing_wire::proto::hello::v1::Hello;
use homing_wire::proto::relay::v1::{Ack, Frame, Have, Range, frame};
use homing_wire::{Epoch, HomeId, HomeRecord, Node, Statement};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::check::Verdict as Checked;
use super::line::Line;
use crate::process;

/// Homes of the group, the origin among them.
const WIDTHS: [usize; 5] = [3, 8, 16, 30, 100];
/// Of a message: a short text with its header and proof, and a long one.
const PAYLOADS: [usize; 2] = [300, 1_024];
/// A lively group.
const STEADY_PER_S: u64 = 20;
/// Messages at once: as many as wait for a peer before gossip drops some (256).
const BURST: u64 = 240;
/// Other homes with which one is connected by its own will, in groups that are too wide for all to be. With those who
/// chose it, twice as many.
const NEIGHBOURS: usize = 8;
/// Meshes are looked after every second: after some they do not change any more.
const SETTLE: Duration = Duration::from_secs(4);
/// What has not come for so long, after the last was sent, does not come.
const QUIET: Duration = Duration::from_secs(3);
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often something that tells nobody is looked at.
const POLL: Duration = Duration::from_millis(20);

const TOPIC: TopicName = TopicName([5; 32]);
const CHANNEL: Bytes = Bytes::from_static(&[6; 16]);
const INSTANCE: [u8; 16] = [7; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Gossip,
    Direct,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Steady,
    Burst,
}

/// Results go out as they come.
pub(super) async fn run(seconds: u64, lines: &mpsc::Sender<Line>) -> anyhow::Result<()> {
    for width in WIDTHS {
        let mut group = Group::start(width).await.with_context(|| format!("{width} homes"))?;
        lines.send(group.idle(seconds).await?).await?;
        for bytes in PAYLOADS {
            for pace in [Pace::Steady, Pace::Burst] {
                for way in [Way::Gossip, Way::Direct] {
                    lines.send(group.measure(way, pace, bytes, seconds).await?).await?;
                }
            }
        }
        group.stop().await?;
    }
    Ok(())
}

/// The homes of one width, all connected to the origin.
struct Group {
    origin: Origin,
    members: Vec<Member>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    /// The first number that no message has.
    number: u64,
}

/// A message is with one home.
struct Arrival {
    number: u64,
    at: Instant,
}

struct Member {
    net: NetHandle,
    wire: Arc<Wire>,
    work: tokio::task::JoinHandle<()>,
}

/// What was used so far.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    origin_cpu: Duration,
    origin_out: u64,
    origin_in: u64,
    all_cpu: Duration,
    all_out: u64,
}

impl Group {
    async fn start(width: usize) -> anyhow::Result<Self> {
        let origin = Origin::start().await?;
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let ready = Arc::<AtomicUsize>::default();
        let mut members = Vec::new();
        let mut addresses = Vec::new();
        for _ in 1..width {
            let identity = Identity::new()?;
            let (net, mut events, wire) = identity.start()?;
            addresses.push((identity.id, listening(&mut events).await?));
            net.join_topic(TOPIC).await?;
            in_memory::want(&net, origin.id, &origin.address).await?;
            let work =
                tokio::spawn(serve(net.clone(), events, origin.id, arrived.clone(), ready.clone()));
            members.push(Member { net, wire, work });
        }
        for (index, member) in members.iter().enumerate() {
            for other in neighbours(index, members.len()) {
                let (home, address) = &addresses[other];
                in_memory::want(&member.net, *home, address).await?;
            }
        }
        let others = width - 1;
        let mut group = Self { origin, members, arrivals, number: 0 };
        let connected = async {
            while ready.load(Ordering::Relaxed) < others || group.origin.links().await? < others {
                sleep(POLL).await;
            }
            for net in group.members.iter().map(|m| &m.net).chain([&group.origin.net]) {
                while net.topic_peers(TOPIC).await.mesh < others.min(2) {
                    sleep(POLL).await;
                }
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, connected).await.context("the homes did not find each other")??;
        sleep(SETTLE).await;
        group.number = 1;
        Ok(group)
    }

    /// What being connected costs, to be held against the rest.
    async fn idle(&mut self, seconds: u64) -> anyhow::Result<Line> {
        let before = self.usage().await?;
        sleep(Duration::from_secs(seconds)).await;
        let used = self.usage().await?.since(before);
        Ok(self.line(used, "seconds", seconds, format!("{} idle", self.members.len() + 1)))
    }

    async fn measure(
        &mut self,
        way: Way,
        pace: Pace,
        bytes: usize,
        seconds: u64,
    ) -> anyhow::Result<Line> {
        let count = match pace {
            Pace::Steady => STEADY_PER_S * seconds,
            Pace::Burst => BURST,
        };
        let first = self.number;
        self.number += count;
        let payloads = (first..self.number).map(|number| payload(number, bytes)).collect();
        let before = self.usage().await?;
        process::forget_peak(std::process::id())?;
        let begin = Instant::now();
        let sending = self.origin.order(|sent| Order::Send { way, pace, payloads, sent });
        let mut sending = std::pin::pin!(sending);
        let others = self.members.len() as u64;
        let mut sent = None;
        // How many homes have each, and since when the last.
        let mut with = HashMap::<u64, (u64, Instant)>::new();
        let (mut came, mut doubled) = (0, 0);
        while sent.is_none() || came < count * others {
            let arrival = tokio::select! {
                all = &mut sending, if sent.is_none() => {
                    sent = Some(all?);
                    continue;
                }
                arrival = self.arrivals.recv() => arrival.context("all homes have ended")?,
                () = sleep(QUIET), if sent.is_some() => break,
            };
            if !(first..first + count).contains(&arrival.number) {
                continue; // a straggler of the measurement before
            }
            let (homes, last) = with.entry(arrival.number).or_insert((0, arrival.at));
            *homes += 1;
            *last = (*last).max(arrival.at);
            came += 1;
            doubled += u64::from(*homes > others);
        }
        let sent = sent.context("the origin has ended")?;
        let used = self.usage().await?.since(before);
        let mut times = Histogram::<u64>::new(3)?;
        let mut end = begin;
        for (number, at) in (first..).zip(&sent.at) {
            if let Some((homes, last)) = with.get(&number) {
                end = end.max(*last);
                if *homes == others {
                    times.record(u64::try_from((*last - *at).as_micros())?)?;
                }
            }
        }
        let missing = (count * others).saturating_sub(came - doubled);
        let variant = format!(
            "{} {} {bytes} B {}",
            self.members.len() + 1,
            format!("{way:?}").to_lowercase(),
            format!("{pace:?}").to_lowercase()
        );
        let ms = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Line {
            per_s: count as f64 / (end - begin).as_secs_f64().max(f64::EPSILON),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            missed: (way == Way::Gossip).then_some(missing),
            refused: sent.refused,
            verdict: Checked {
                lost: if way == Way::Direct { missing } else { 0 },
                doubled,
                ..Checked::default()
            },
            ..self.line(used, "messages", count, variant)
        })
    }

    fn line(&self, used: Usage, unit: &'static str, count: u64, variant: String) -> Line {
        let each = |total: u64| Some(total as f64 / count as f64);
        let per_1000 = |cpu: Duration| cpu.as_secs_f64() * 1_000.0 / count as f64;
        let peak = process::memory(std::process::id()).map_or(0, |memory| memory.peak_bytes);
        Line {
            scenario: "group-wide",
            variant,
            unit,
            count,
            cpu_s_per_1000: per_1000(used.origin_cpu),
            rss_peak_bytes: peak,
            homes: Some(self.members.len() + 1),
            origin_bytes_out_per_message: each(used.origin_out),
            origin_bytes_in_per_message: each(used.origin_in),
            all_bytes_out_per_message: each(used.all_out),
            all_cpu_s_per_1000: Some(per_1000(used.all_cpu)),
            ..Line::default()
        }
    }

    async fn usage(&self) -> anyhow::Result<Usage> {
        let origin_cpu = self.origin.order(Order::CpuTime).await??;
        let origin_out = self.origin.wire.bytes_out();
        let others: u64 = self.members.iter().map(|member| member.wire.bytes_out()).sum();
        Ok(Usage {
            origin_cpu,
            origin_out,
            origin_in: self.origin.wire.bytes_in(),
            all_cpu: process::cpu_time(std::process::id())?,
            all_out: origin_out + others,
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.origin.net.shutdown().await;
        for member in self.members {
            member.net.shutdown().await;
            member.work.await?;
        }
        Ok(())
    }
}

impl Usage {
    fn since(self, before: Self) -> Self {
        Self {
            origin_cpu: self.origin_cpu.saturating_sub(before.origin_cpu),
            origin_out: self.origin_out - before.origin_out,
            origin_in: self.origin_in - before.origin_in,
            all_cpu: self.all_cpu.saturating_sub(before.all_cpu),
            all_out: self.all_out - before.all_out,
        }
    }
}

/// With whom a member is connected beside the origin, as far as it is the one that dials.
fn neighbours(index: usize, count: usize) -> Vec<usize> {
    if count <= 2 * NEIGHBOURS {
        return (index + 1..count).collect();
    }
    rand::seq::index::sample(&mut rand::rng(), count, NEIGHBOURS)
        .into_iter()
        .filter(|other| *other != index)
        .collect()
}

/// A message: its number, and what cannot be told from words that were encrypted or compressed.
fn payload(number: u64, bytes: usize) -> Bytes {
    let mut payload = vec![0; bytes];
    rand::fill(&mut payload[..]);
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload.into()
}

fn number(payload: &[u8]) -> u64 {
    payload.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn range(payload: Bytes) -> Frame {
    let event = Event { header: Bytes::new(), body: payload };
    let range = Range { channel: CHANNEL, events: vec![event], ..Range::default() };
    Frame { frame: Some(frame::Frame::Range(range)) }
}

fn ack(number: u64) -> Frame {
    let have = Have { channel: CHANNEL, seq: number, ..Have::default() };
    Frame { frame: Some(frame::Frame::Ack(Ack { have: vec![have], ..Ack::default() })) }
}

/// A member's server: passes gossip on, and acknowledges whatever comes.
async fn serve(
    net: NetHandle,
    mut events: mpsc::Receiver<NetEvent>,
    origin: HomeId,
    arrived: mpsc::UnboundedSender<Arrival>,
    ready: Arc<AtomicUsize>,
) {
    let mut replies = None::<mpsc::Sender<Frame>>;
    // Links that are dropped are opened anew.
    let mut links: (Vec<RelayIn>, Vec<RelayOut>) = Default::default();
    while let Some(event) = events.recv().await {
        match event {
            NetEvent::Gossip { payload, message, .. } => {
                net.judge(message, Verdict::Accept).await;
                let number = number(&payload);
                // Nobody counts any more where this fails.
                let _ = arrived.send(Arrival { number, at: Instant::now() });
                if let Some(replies) = &replies {
                    // Full: those that wait say as much.
                    let _ = replies.try_send(ack(number));
                }
            }
            NetEvent::RelayIn { home, link } if home == origin => {
                if replies.replace(link.replies.clone()).is_none() {
                    ready.fetch_add(1, Ordering::Relaxed);
                }
                tokio::spawn(receive(link, arrived.clone()));
            }
            NetEvent::RelayIn { link, .. } => links.0.push(link),
            NetEvent::RelayOut { link, .. } => links.1.push(link),
            NetEvent::Listening { .. }
            | NetEvent::PeerUp { .. }
            | NetEvent::PeerDown { .. }
            | NetEvent::DialFailed { .. }
            | NetEvent::Refused { .. }
            | NetEvent::Query { .. }
            | NetEvent::Media { .. } => {}
        }
    }
}

/// The origin's stream to a member.
async fn receive(mut link: RelayIn, arrived: mpsc::UnboundedSender<Arrival>) {
    while let Some(frame) = link.frames.recv().await {
        let mut last = None;
        let mut next = Some(frame);
        while let Some(frame) = next {
            if let Some(frame::Frame::Range(range)) = frame.frame {
                for event in range.events {
                    let number = number(&event.body);
                    let _ = arrived.send(Arrival { number, at: Instant::now() });
                    last = Some(number);
                }
            }
            next = link.frames.try_recv();
        }
        if let Some(last) = last
            && link.replies.send(ack(last)).await.is_err()
        {
            return;
        }
    }
}

async fn listening(events: &mut mpsc::Receiver<NetEvent>) -> anyhow::Result<String> {
    while let Some(event) = events.recv().await {
        if let NetEvent::Listening { address } = event {
            return Ok(address);
        }
    }
    bail!("the network has ended")
}

/// The home that tells the others, on a thread of its own.
struct Origin {
    id: HomeId,
    address: String,
    net: NetHandle,
    wire: Arc<Wire>,
    orders: mpsc::Sender<Order>,
}

enum Order {
    Send {
        way: Way,
        pace: Pace,
        payloads: Vec<Bytes>,
        sent: oneshot::Sender<Sent>,
    },
    /// Of its thread, so far.
    CpuTime(oneshot::Sender<anyhow::Result<Duration>>),
    Links(oneshot::Sender<usize>),
}

struct Sent {
    at: Vec<Instant>,
    /// Messages for which gossip found nobody who would take them.
    refused: u64,
}

impl Origin {
    async fn start() -> anyhow::Result<Self> {
        let (orders, queue) = mpsc::channel(1);
        let (started, starting) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("origin".to_owned()).spawn(move || {
            runtime.block_on(async {
                let begun = async {
                    let identity = Identity::new()?;
                    let (net, mut events, wire) = identity.start()?;
                    let address = listening(&mut events).await?;
                    net.join_topic(TOPIC).await?;
                    anyhow::Ok((identity.id, net, events, wire, address))
                };
                let (id, net, events, wire, address) = match begun.await {
                    Ok(begun) => begun,
                    Err(error) => return drop(started.send(Err(error))),
                };
                let told = Ok((id, address, net.clone(), wire));
                if started.send(told).is_ok() {
                    work(net, events, queue).await;
                }
            });
        })?;
        let (id, address, net, wire) = starting.await.context("the origin did not start")??;
        Ok(Self { id, address, net, wire, orders })
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> anyhow::Result<T> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.context("the origin has ended")?;
        answer.await.context("the origin has ended")
    }

    async fn links(&self) -> anyhow::Result<usize> {
        self.order(Order::Links).await
    }
}

/// The origin's server. Ends with the last order or with the network.
async fn work(
    net: NetHandle,
    mut events: mpsc::Receiver<NetEvent>,
    mut orders: mpsc::Receiver<Order>,
) {
    let mut links = HashMap::<HomeId, mpsc::Sender<Frame>>::new();
    let mut inward = Vec::new();
    loop {
        // Biased: links that wait are there before they are counted or used.
        let order = tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(NetEvent::RelayOut { home, link: RelayOut { frames, mut replies } }) => {
                    links.insert(home, frames);
                    tokio::spawn(async move { while replies.recv().await.is_some() {} });
                    continue;
                }
                Some(NetEvent::RelayIn { link, .. }) => {
                    inward.push(link);
                    continue;
                }
                Some(_) => continue,
                None => return,
            },
            order = orders.recv() => order,
        };
        match order {
            Some(Order::CpuTime(reply)) => drop(reply.send(thread_cpu_time())),
            Some(Order::Links(reply)) => drop(reply.send(links.len())),
            Some(Order::Send { way, pace, payloads, sent }) => {
                // Who asked waits.
                drop(sent.send(send(&net, &links, way, pace, payloads).await));
            }
            None => return,
        }
    }
}

async fn send(
    net: &NetHandle,
    links: &HashMap<HomeId, mpsc::Sender<Frame>>,
    way: Way,
    pace: Pace,
    payloads: Vec<Bytes>,
) -> Sent {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(STEADY_PER_S).unwrap_or(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = Sent { at: Vec::with_capacity(payloads.len()), refused: 0 };
    for payload in payloads {
        if pace == Pace::Steady {
            ticks.tick().await;
        }
        sent.at.push(Instant::now());
        match way {
            Way::Gossip => {
                let outcome = net.publish(TOPIC, payload).await;
                sent.refused += u64::from(outcome != Ok(PublishOutcome::Sent));
            }
            Way::Direct => {
                for link in links.values() {
                    // A stream that has ended loses it, which is counted.
                    let _ = link.send(range(payload.clone())).await;
                }
            }
        }
    }
    sent
}

/// Processor time of this thread, in nanoseconds in the first field (Linux, sched-stats).
fn thread_cpu_time() -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_ascii_whitespace().next().context("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(first.parse()?))
}

/// Who a home is.
struct Identity {
    id: HomeId,
    key: NodeKey,
    admission: Arc<Everybody>,
}

/// Admits everybody; its record and its statement, both signed.
struct Everybody(Bytes, Bytes);

impl Admission for Everybody {
    fn admit(&self, _: &HomeRecord, _: &HelloInfo) -> Result<(), Refusal> {
        Ok(())
    }

    fn own_hello(&self) -> Hello {
        Hello {
            record: self.0.clone(),
            epoch: 1,
            boot: 1,
            instance: Bytes::from_static(&INSTANCE),
            software: "bench/1".to_owned(),
            clock: now_ms(),
            statement: self.1.clone(),
        }
    }

    fn statement(&self, _: [u8; 16]) -> Bytes {
        Bytes::new()
    }
}

impl Identity {
    fn new() -> anyhow::Result<Self> {
        let name = "bench.example".parse()?;
        let signing = SigningKey::from_bytes(&rand::random());
        let identity = signing.verifying_key().to_bytes();
        let key = NodeKey::generate();
        let record = HomeRecord {
            name,
            identity,
            signing_keys: vec![identity],
            nodes: vec![Node { peer_id: key.peer_id_bytes(), addresses: Vec::new() }],
            epoch: Epoch(1),
            number: 1,
            protocols: Vec::new(),
            issued_at: now_ms(),
        };
        let said = Statement {
            epoch: Epoch(1),
            boot: 1,
            instance: INSTANCE,
            peer_id: key.peer_id_bytes(),
            answering: None,
        };
        let admission = Arc::new(Everybody(record.sign(&signing), said.sign(&signing)));
        Ok(Self { id: record.home_id(), key, admission })
    }

    fn start(
        &self,
    ) -> Result<(NetHandle, mpsc::Receiver<NetEvent>, Arc<Wire>), homing_net::NetError> {
        let limits = NetLimits {
            // A hundred homes say hello to each other at once, on two cores.
            hello_deadline: PATIENCE,
            handshake_timeout: PATIENCE,
            ..NetLimits::default()
        };
        in_memory::start(limits, &self.key, self.admission.clone())
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}
