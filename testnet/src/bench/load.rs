//! The load process: clients of homes, told what to do by a line on standard input.
//!
//! It connects, prints `{"connected":N}`, waits for a line, does it, prints `{"report":…}`. One thread: the homes have
//! the other cores, and its own processor time is known.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use homing_client::{
    Client, Error, Events, Follower, From, Message, Options, Sent, Server, Target, TextBody,
    Update, Uuid,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::check::{Checker, Verdict};
use super::limits::nanos;

/// `{"type":"text","text":""}`
const BODY_FRAME_BYTES: usize = 25;

/// Connections being opened at once: enough to keep a home's cores busy, few enough not to overrun its backlog.
pub(super) const CONNECTING_AT_ONCE: usize = 64;

/// What has not come so long after the last that came is lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A token and where it is good.
#[derive(Clone, Serialize, Deserialize)]
pub struct Login {
    /// Base address.
    pub server: String,
    /// Bearer token.
    pub token: String,
    /// Whose.
    pub address: String,
}

/// What to do.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Spec {
    /// Senders write to their receivers.
    Pairs {
        /// Sender and receiver.
        pairs: Vec<(Login, Login)>,
        /// Unanswered messages a sender may have.
        in_flight: usize,
        /// When to end.
        until: Until,
        /// All senders together, evenly; else as fast as answers come.
        rate_per_s: Option<u64>,
        /// A body's size as compact JSON.
        body_bytes: usize,
    },
    /// Members of one group: the first write, all hear.
    Group {
        /// Everybody in it.
        members: Vec<Login>,
        /// So many of them write.
        senders: usize,
        /// The group.
        channel: Uuid,
        /// Unanswered messages a sender may have.
        in_flight: usize,
        /// When to end.
        until: Until,
        /// A body's size as compact JSON.
        body_bytes: usize,
    },
    /// Sockets that stay open and silent until standard input ends.
    Idle {
        /// Whose.
        logins: Vec<Login>,
        /// Sockets of each.
        sockets_each: usize,
    },
}

/// When senders stop.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// After this time.
    Seconds(u64),
    /// After so many messages of each.
    Messages(u64),
}

/// What happened.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Messages that were answered.
    pub answered: u64,
    /// Messages that came to their receivers.
    pub delivered: u64,
    /// Refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// From the beginning to the last answer.
    pub answering_s: f64,
    /// From the beginning to the last delivery.
    pub delivering_s: f64,
    /// From sending to the answer.
    pub answer: Times,
    /// From sending to the receiver.
    pub delivery: Times,
    /// What was wrong.
    pub verdict: Verdict,
    /// Connections that were lost and renewed.
    pub reconnects: u64,
}

/// Quantiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Times {
    /// Median.
    pub p50_ms: f64,
    /// The slowest in a hundred.
    pub p99_ms: f64,
    /// The slowest in a thousand.
    pub p999_ms: f64,
}

impl Times {
    pub(super) fn of(times: &Histogram<u64>) -> Self {
        let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1e6;
        Self { p50_ms: ms(0.5), p99_ms: ms(0.99), p999_ms: ms(0.999) }
    }
}

/// A line to the parent.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// All sockets are there.
    Connected(usize),
    /// Done.
    Report(Box<Report>),
}

impl Said {
    /// The report, where this is one.
    pub fn into_report(self) -> anyhow::Result<Report> {
        match self {
            Self::Report(report) => Ok(*report),
            Self::Connected(_) => bail!("the load process said the same twice"),
        }
    }
}

/// The process's whole life.
pub async fn run() -> anyhow::Result<()> {
    let spec: Spec = serde_json::from_str(&next_line().await?.context("nothing to do")?)?;
    match spec {
        Spec::Pairs { pairs, in_flight, until, rate_per_s, body_bytes } => {
            let plan = Plan { in_flight, until, body_bytes };
            let local = tokio::task::LocalSet::new();
            local.run_until(run_pairs(pairs, plan, rate_per_s)).await
        }
        Spec::Group { members, senders, channel, in_flight, until, body_bytes } => {
            let plan = Plan { in_flight, until, body_bytes };
            let local = tokio::task::LocalSet::new();
            local.run_until(super::crowd::run(members, senders, channel, plan)).await
        }
        Spec::Idle { logins, sockets_each } => idle(logins, sockets_each).await,
    }
}

/// Blocking reads of standard input are for a thread of their own.
async fn next_line() -> anyhow::Result<Option<String>> {
    tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        let count = io::stdin().lock().read_line(&mut line)?;
        Ok((count > 0).then_some(line))
    })
    .await?
}

fn tell(said: &Said) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{}", serde_json::to_string(said)?)?)
}

pub(super) fn options(login: &Login) -> anyhow::Result<Options> {
    let server: Server = login.server.parse()?;
    Ok(Options::new(server, &login.token))
}

async fn idle(logins: Vec<Login>, sockets_each: usize) -> anyhow::Result<()> {
    let wanted = logins.iter().flat_map(|login| (0..sockets_each).map(move |_| login));
    let opening = futures::stream::iter(wanted)
        .map(|login| async move { Ok::<_, anyhow::Error>(Client::connect(options(login)?).await?) })
        .buffer_unordered(CONNECTING_AT_ONCE);
    let begin = Instant::now();
    let mut sockets: Vec<(Client, Events)> = Vec::with_capacity(logins.len() * sockets_each);
    futures::pin_mut!(opening);
    while let Some(socket) = opening.next().await {
        sockets.push(socket?);
    }
    let answering_s = begin.elapsed().as_secs_f64();
    tell(&Said::Connected(sockets.len()))?;
    while next_line().await?.is_some() {}
    let report = Report { answered: sockets.len() as u64, answering_s, ..Report::default() };
    tell(&Said::Report(Box::new(report)))
}

#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) in_flight: usize,
    pub(super) until: Until,
    pub(super) body_bytes: usize,
}

/// What all tasks of the one thread write into.
pub(super) struct Shared {
    begin: Cell<Instant>,
    answers: RefCell<Histogram<u64>>,
    deliveries: RefCell<Histogram<u64>>,
    refused: RefCell<BTreeMap<String, u64>>,
    answered: Cell<u64>,
    delivered: Cell<u64>,
    last_answer: Cell<Duration>,
    last_delivery: Cell<Duration>,
    reconnects: Cell<u64>,
}

impl Shared {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            begin: Cell::new(Instant::now()),
            answers: RefCell::new(Histogram::new(3)?),
            deliveries: RefCell::new(Histogram::new(3)?),
            refused: RefCell::new(BTreeMap::new()),
            answered: Cell::new(0),
            delivered: Cell::new(0),
            last_answer: Cell::new(Duration::ZERO),
            last_delivery: Cell::new(Duration::ZERO),
            reconnects: Cell::new(0),
        })
    }

    /// All sockets are there; time counts from the parent's word on.
    pub(super) async fn begin_when_told(&self, connected: usize) -> anyhow::Result<()> {
        tell(&Said::Connected(connected))?;
        next_line().await?.context("not told to begin")?;
        self.begin.set(Instant::now());
        Ok(())
    }

    fn since_begin(&self) -> Duration {
        self.begin.get().elapsed()
    }

    /// A message that was sent at that time has come.
    pub(super) fn delivered(&self, sent_at: Duration) -> anyhow::Result<()> {
        let now = self.since_begin();
        self.delivered.set(self.delivered.get() + 1);
        self.last_delivery.set(now);
        self.deliveries.borrow_mut().record(nanos(now.saturating_sub(sent_at)))?;
        Ok(())
    }

    /// The message in what a receiver is told, and whether it was told before: allowed once that receiver's connection
    /// was lost and renewed, which is counted and noted.
    pub(super) fn message_of(
        &self,
        update: Update,
        reconnected: &mut bool,
    ) -> Option<(Box<Message>, bool)> {
        match update {
            Update::New(message) => Some((message, false)),
            Update::Changed(message) if !*reconnected => Some((message, true)),
            Update::Back { .. } => {
                *reconnected = true;
                self.reconnects.set(self.reconnects.get() + 1);
                None
            }
            Update::Changed(_)
            | Update::Again(_)
            | Update::Receipt(_)
            | Update::Channel(_)
            | Update::Lost(_)
            | Update::Other(_) => None,
        }
    }

    /// Everything is sent. Tells what came of it once all receivers are done, and waits for the parent, which reads
    /// this process's processor time before it lets it end.
    pub(super) async fn report_when_all_is_heard(
        &self,
        receivers: Vec<JoinHandle<anyhow::Result<Verdict>>>,
    ) -> anyhow::Result<()> {
        let mut verdict = Verdict::default();
        for receiver in receivers {
            verdict = verdict.and(receiver.await??);
        }
        tell(&Said::Report(Box::new(self.report(verdict))))?;
        while next_line().await?.is_some() {}
        Ok(())
    }

    fn report(&self, verdict: Verdict) -> Report {
        Report {
            answered: self.answered.get(),
            delivered: self.delivered.get(),
            refused: self.refused.borrow().clone(),
            answering_s: self.last_answer.get().as_secs_f64(),
            delivering_s: self.last_delivery.get().as_secs_f64(),
            answer: Times::of(&self.answers.borrow()),
            delivery: Times::of(&self.deliveries.borrow()),
            verdict,
            reconnects: self.reconnects.get(),
        }
    }
}

/// What a sender has done when it is done.
#[derive(Clone, Default)]
pub(super) struct SentAll {
    pub(super) sent: u64,
    pub(super) refused: Vec<u64>,
}

async fn run_pairs(
    pairs: Vec<(Login, Login)>,
    plan: Plan,
    rate_per_s: Option<u64>,
) -> anyhow::Result<()> {
    let shared = Rc::new(Shared::new()?);
    let opening = futures::stream::iter(&pairs).map(open_pair).buffered(CONNECTING_AT_ONCE);
    futures::pin_mut!(opening);
    let mut senders = Vec::with_capacity(pairs.len());
    let mut receivers = Vec::with_capacity(pairs.len());
    while let Some(pair) = opening.next().await {
        let Pair { client, channel, follower, from } = pair?;
        let (done, all_sent) = watch::channel(None);
        senders.push((client, channel, done));
        receivers.push((follower, from, all_sent));
    }
    shared.begin_when_told(pairs.len() * 2).await?;
    let receiving: Vec<_> = receivers
        .into_iter()
        .map(|(follower, from, all_sent)| {
            let receiver = receive(Rc::clone(&shared), follower, from, all_sent);
            tokio::task::spawn_local(receiver)
        })
        .collect();
    match rate_per_s {
        None => {
            let sending: Vec<_> = senders
                .into_iter()
                .map(|(client, channel, done)| {
                    let sender = send_all(Rc::clone(&shared), client, channel, plan, done);
                    tokio::task::spawn_local(sender)
                })
                .collect();
            for sender in sending {
                sender.await??;
            }
        }
        Some(rate) => send_evenly(&shared, senders, plan, rate).await?,
    }
    shared.report_when_all_is_heard(receiving).await
}

struct Pair {
    client: Client,
    channel: Uuid,
    follower: Follower,
    from: String,
}

/// Both ends connected, the chat made.
async fn open_pair((sender, receiver): &(Login, Login)) -> anyhow::Result<Pair> {
    let (client, _events) = Client::connect(options(sender)?).await?;
    let until = Instant::now() + PATIENCE;
    let channel = loop {
        match client.open_chat(&receiver.address).await {
            Ok(channel) => break channel.channel,
            // Two homes that have just started find each other within seconds.
            Err(Error::Refused(refusal))
                if Instant::now() < until && matches!(refusal.code, -32005 | -32007) =>
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{} to {}", sender.address, receiver.address));
            }
        }
    };
    let follower = Follower::start(options(receiver)?, From::Now).await?;
    Ok(Pair { client, channel, follower, from: sender.address.clone() })
}

/// The text of message `number`: its number, its time, and padding to a body of the wanted size.
fn text(number: u64, at: Duration, body_bytes: usize) -> String {
    let width = body_bytes.saturating_sub(BODY_FRAME_BYTES);
    let mut text = format!("{number:010} {:016} ", nanos(at));
    let padding = width.saturating_sub(text.len());
    text.extend(std::iter::repeat_n('x', padding));
    text
}

/// Number and time from [`text`].
pub(super) fn read_text(message: &Message) -> Option<(u64, Duration)> {
    #[derive(Deserialize)]
    struct Text<'a> {
        #[serde(borrow)]
        text: &'a str,
    }
    let body: Text<'_> = serde_json::from_str(message.body.get()).ok()?;
    let mut words = body.text.split(' ');
    let number = words.next()?.parse().ok()?;
    Some((number, Duration::from_nanos(words.next()?.parse().ok()?)))
}

pub(super) async fn send_all(
    shared: Rc<Shared>,
    client: Client,
    channel: Uuid,
    plan: Plan,
    done: watch::Sender<Option<SentAll>>,
) -> anyhow::Result<()> {
    let mut all = SentAll::default();
    let mut waiting = FuturesUnordered::new();
    loop {
        while waiting.len() < plan.in_flight {
            let at = shared.since_begin();
            let over = match plan.until {
                Until::Seconds(seconds) => at >= Duration::from_secs(seconds),
                Until::Messages(count) => all.sent >= count,
            };
            if over {
                break;
            }
            let number = all.sent;
            all.sent += 1;
            let text = text(number, at, plan.body_bytes);
            let answer = client
                .submit_message(
                    Target::Channel(channel),
                    homing_client::new_message_id(),
                    &TextBody::new(&text),
                )
                .await?;
            waiting.push(async move { (number, at, answer.await) });
        }
        match waiting.next().await {
            Some((number, at, answer)) => note_answer(&shared, &mut all, number, at, answer)?,
            None => break,
        }
    }
    // A receiver that has failed has said so.
    let _receiver_gone = done.send(Some(all));
    Ok(())
}

/// All senders in turn at a steady pace, whatever the answers do.
async fn send_evenly(
    shared: &Rc<Shared>,
    senders: Vec<(Client, Uuid, watch::Sender<Option<SentAll>>)>,
    plan: Plan,
    rate_per_s: u64,
) -> anyhow::Result<()> {
    let Until::Seconds(seconds) = plan.until else { bail!("a rate needs a time") };
    let mut all = vec![SentAll::default(); senders.len()];
    let mut waiting = FuturesUnordered::new();
    let mut tick = tokio::time::interval(Duration::from_nanos(1_000_000_000 / rate_per_s.max(1)));
    let mut turn = 0;
    while shared.since_begin() < Duration::from_secs(seconds) || !waiting.is_empty() {
        tokio::select! {
            _ = tick.tick(), if shared.since_begin() < Duration::from_secs(seconds) => {
                let index = turn % senders.len();
                turn += 1;
                let number = all[index].sent;
                all[index].sent += 1;
                let (client, channel, _) = &senders[index];
                let at = shared.since_begin();
                let text = text(number, at, plan.body_bytes);
                let id = homing_client::new_message_id();
                let answer =
                    client.submit_message(Target::Channel(*channel), id, &TextBody::new(&text)).await?;
                waiting.push(async move { (index, number, at, answer.await) });
            }
            Some((index, number, at, answer)) = waiting.next() => {
                note_answer(shared, &mut all[index], number, at, answer)?;
            }
        }
    }
    for ((_, _, done), all) in senders.into_iter().zip(all) {
        let _receiver_gone = done.send(Some(all));
    }
    Ok(())
}

fn note_answer(
    shared: &Shared,
    all: &mut SentAll,
    number: u64,
    at: Duration,
    answer: Result<Sent, Error>,
) -> anyhow::Result<()> {
    let now = shared.since_begin();
    match answer {
        Ok(_) => {
            shared.answered.set(shared.answered.get() + 1);
            shared.last_answer.set(now);
            shared.answers.borrow_mut().record(nanos(now - at))?;
        }
        Err(Error::Refused(refusal)) => {
            all.refused.push(number);
            *shared.refused.borrow_mut().entry(refusal.reason).or_default() += 1;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Until everything that was answered has come, or nothing more comes.
async fn receive(
    shared: Rc<Shared>,
    mut follower: Follower,
    from: String,
    mut all_sent: watch::Receiver<Option<SentAll>>,
) -> anyhow::Result<Verdict> {
    let mut checker = Checker::default();
    let mut reconnected = false;
    let mut expected: Option<SentAll> = None;
    loop {
        if let Some(all) = &expected
            && checker.distinct() + all.refused.len() as u64 >= all.sent
        {
            break;
        }
        let update = tokio::select! {
            biased;
            update = follower.next() => update?,
            changed = all_sent.changed(), if expected.is_none() => {
                changed.context("the sender ended without a word")?;
                expected = all_sent.borrow().clone();
                continue;
            }
            () = tokio::time::sleep(PATIENCE), if expected.is_some() => break,
        };
        let Some((message, again)) = shared.message_of(update, &mut reconnected) else { continue };
        if message.sender != from {
            continue;
        }
        let (number, at) = read_text(&message).context("a message that the load has not sent")?;
        checker.saw(number, &message.order);
        if !again {
            shared.delivered(at)?;
        }
    }
    let all = expected.unwrap_or_default();
    Ok(checker.verdict(all.sent, &all.refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_wanted_size_and_can_be_read_back() {
        let text = text(77, Duration::from_micros(3), 200);
        let body = serde_json::to_string(&TextBody::new(&text)).unwrap();
        assert_eq!(body.len(), 200);
        let id = homing_client::new_message_id();
        let message: Message = serde_json::from_str(&format!(
            r#"{{"channel":"{id}","pos":1,"order":"1","id":"{id}","sender":"a@b.test","sent_at":1,"body":{body}}}"#
        ))
        .unwrap();
        assert_eq!(read_text(&message), Some((77, Duration::from_micros(3))));
    }
}
