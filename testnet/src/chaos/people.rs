//! The clients: who sends until answered, and who listens and remembers what was shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use homing_client::{
    Client, Error, Follower, From, LoggedIn, Options, Refusal, Server, Target, Update, Uuid,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::value::RawValue;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::board::Board;
use super::check::{Answered, BodyHash, Finding, Sent, Shown};
use crate::homes::PASSWORD;

/// The most messages of one lane under way at once.
const BATCH: u32 = 6;

/// Between two tries of what a home refused for now, at most: what has healed is to be used.
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// Between two tries to sign in.
const SIGN_IN_RETRY: Duration = Duration::from_millis(250);

/// Marks are told so often.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// A mark that cannot even be queued for so long is left to the next time.
const MARK_DEADLINE: Duration = Duration::from_millis(100);

/// A receiving client lives so long on average; then a new one goes on from its stored place.
const CLIENT_LIFE: Duration = Duration::from_secs(25);

/// After so many failures in a row a client gives itself up and begins again from its place.
const FAILURES_TAKEN: u32 = 5;

/// Somebody with an account.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) home: usize,
    pub(super) home_name: String,
    pub(super) user: String,
    pub(super) server: Server,
}

impl Person {
    pub(super) fn address(&self) -> String {
        format!("{}@{}", self.user, self.home_name)
    }

    /// A token of a new device, however long it takes: homes are down at times.
    pub(super) async fn log_in(&self) -> LoggedIn {
        loop {
            match self.server.login(&self.user, PASSWORD, Some("chaos")).await {
                Ok(signed_in) => return signed_in,
                Err(error) => {
                    tracing::debug!(user = %self.user, %error, "cannot log in yet");
                    let wait = error.retry_after().unwrap_or_default().max(SIGN_IN_RETRY);
                    tokio::time::sleep(wait.min(LONGEST_RETRY)).await;
                }
            }
        }
    }
}

/// One direction of one chat.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) number: u64,
    pub(super) by: usize,
    pub(super) to: String,
    /// Some chats begin in the middle of everything.
    pub(super) begins_at: Duration,
    /// Between two batches, on average.
    pub(super) pause: Duration,
}

/// What a lane did.
#[derive(Debug, Default)]
pub(super) struct LaneLog {
    pub(super) channel: Option<Uuid>,
    pub(super) sent: Vec<Sent>,
    /// In which life the home named the channel last.
    named_in: u32,
}

/// A sender's session, shared by the user's lanes. It comes back by itself; when its token dies (a restored home) it
/// logs in again.
pub(super) struct Session {
    person: Person,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// Which client: whoever finds one broken says so once.
    number: u64,
    /// Counts dead tokens: the home has begun a new life, and may not know channels of the one before.
    life: u32,
    token: Option<String>,
    client: Option<Client>,
}

impl Session {
    pub(super) fn of(person: Person) -> Self {
        Self { person, current: Mutex::default() }
    }

    /// Its number, the life it belongs to, and the client.
    async fn client(&self) -> (u64, u32, Client) {
        let mut current = self.current.lock().await;
        loop {
            if let Some(client) = &current.client {
                return (current.number, current.life, client.clone());
            }
            let token = match current.token.clone() {
                Some(token) => token,
                None => self.person.log_in().await.token,
            };
            current.token = Some(token.clone());
            match Client::connect(Options::new(self.person.server.clone(), token)).await {
                Ok((client, _notifications_are_for_the_receiver)) => {
                    current.number += 1;
                    current.client = Some(client);
                }
                Err(error) => {
                    if let Error::SignedOut { .. } = error {
                        current.token = None;
                        current.life += 1;
                    }
                    tokio::time::sleep(SIGN_IN_RETRY).await;
                }
            }
        }
    }

    /// That client is no good any more.
    async fn is_broken(&self, number: u64, signed_out: bool) {
        let mut current = self.current.lock().await;
        if current.number == number && current.client.take().is_some() && signed_out {
            current.token = None;
            current.life += 1;
        }
    }
}

/// How long senders send.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Until {
    /// On and on.
    Told,
    /// Until what was sent is answered.
    Answered,
    /// Not a moment longer.
    Now,
}

/// Sends until told to stop, then until all of it is answered.
pub(super) async fn send(
    board: Arc<Board>,
    session: Arc<Session>,
    lane: Lane,
    seed: u64,
    until: watch::Receiver<Until>,
) -> LaneLog {
    let mut log = LaneLog::default();
    let mut given_up = until.clone();
    let name = session.person.home_name.clone();
    let to = lane.to.clone();
    tokio::select! {
        () = send_on(&board, &session, lane, &mut log, seed, until) => {}
        _ = given_up.wait_for(|until| *until == Until::Now) => {
            let waiting = log.sent.iter().filter(|sent| sent.answer.is_none()).count();
            let what = format!("{waiting} messages to {to} were never answered");
            board.found(Finding::trouble(&name, what));
        }
    }
    log
}

async fn send_on(
    board: &Board,
    session: &Session,
    lane: Lane,
    log: &mut LaneLog,
    seed: u64,
    mut until: watch::Receiver<Until>,
) {
    let mut rng = StdRng::seed_from_u64(seed ^ (lane.number << 32));
    let mut batch = 0;
    let mut wait = lane.begins_at;
    loop {
        let is_over = tokio::select! {
            _ = until.wait_for(|until| *until >= Until::Answered) => true,
            () = tokio::time::sleep(wait) => false,
        };
        if is_over {
            return;
        }
        batch += 1;
        let first = log.sent.len();
        let mut bodies = Vec::new();
        for _ in 0..rng.random_range(1..=BATCH) {
            let body = body(&mut rng, lane.number, log.sent.len());
            log.sent.push(Sent {
                id: homing_client::new_message_id(),
                body: BodyHash::of(body.get()),
                by: lane.by,
                batch,
                in_turn: true,
                sent_at: board.elapsed(),
                answer: None,
            });
            bodies.push(body);
        }
        board.figures.sent.add(bodies.len() as u64);
        send_batch(board, session, &lane, log, first, &bodies).await;
        wait = lane.pause.mul_f64(rng.random_range(0.2..1.8));
    }
}

/// Until every one is answered, under the ids they have.
async fn send_batch(
    board: &Board,
    session: &Session,
    lane: &Lane,
    log: &mut LaneLog,
    first: usize,
    bodies: &[Box<RawValue>],
) {
    let mut is_first_try = true;
    loop {
        let (number, life, client) = session.client().await;
        let target = match log.channel {
            Some(channel) if log.named_in == life => Target::Channel(channel),
            // A chat has one id for ever, but a restored home has to be told whose.
            Some(_) | None => Target::To(&lane.to),
        };
        let mut under_way = Vec::with_capacity(bodies.len());
        let mut broken = None;
        for (at, body) in (first..).zip(bodies) {
            if log.sent[at].answer.is_some() {
                continue;
            }
            match client.submit_message(target, log.sent[at].id, body).await {
                Ok(answer) => under_way.push((at, answer)),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        let mut wait = Duration::ZERO;
        for (at, answer) in under_way {
            match answer.await {
                Ok(answer) => {
                    let of_another = log.channel.replace(answer.channel);
                    log.named_in = life;
                    if of_another.is_some_and(|channel| channel != answer.channel) {
                        board.found(Finding::trouble(
                            &session.person.home_name,
                            format!("a message to {} came into {}", lane.to, answer.channel),
                        ));
                    }
                    board.figures.answered.add(1);
                    let at_time = board.elapsed();
                    log.sent[at].answer = Some(Answered { at: at_time, order: answer.order });
                }
                Err(Error::Refused(refusal)) => {
                    wait = wait.max(refused(board, session, lane, &refusal));
                }
                Err(error) => broken = Some(error),
            }
        }
        if log.sent[first..].iter().all(|sent| sent.answer.is_some()) {
            return;
        }
        if is_first_try {
            is_first_try = false;
            log.sent[first..].iter_mut().for_each(|sent| sent.in_turn = false);
        }
        if let Some(error) = broken {
            board.refused(error.reason());
            // A call that many connections did not answer fails alone, the client lives on; a new one does no harm.
            session.is_broken(number, matches!(error, Error::SignedOut { .. })).await;
            wait = wait.max(SIGN_IN_RETRY);
        }
        tokio::time::sleep(wait.min(LONGEST_RETRY)).await;
    }
}

/// How long to wait. "Not now" is an answer; anything else is none that these messages have earned.
fn refused(board: &Board, session: &Session, lane: &Lane, refusal: &Refusal) -> Duration {
    board.refused(&refusal.reason);
    if refusal.code != Refusal::BUSY {
        let what = format!("a message to {} was refused: {refusal:?}", lane.to);
        board.found(Finding::trouble(&session.person.home_name, what));
    }
    refusal.retry_after.unwrap_or(SIGN_IN_RETRY)
}

/// What a message says: mostly short, some long; scripts, escapes and a kind of the client's own.
fn body(rng: &mut StdRng, lane: u64, number: usize) -> Box<RawValue> {
    const WORDS: [&str; 12] = [
        "yes",
        "tomorrow",
        "über",
        "漢字",
        "👍🏽",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
        "a\tb",
        "\"so\"",
        "C:\\",
        "line\nbreak",
        "e\u{301}",
        "…",
    ];
    let length = match rng.random_range(0..100) {
        0 => rng.random_range(4_000..30_000),
        1..=9 => rng.random_range(200..4_000),
        _ => rng.random_range(1..200),
    };
    let mut text = format!("{lane}/{number}");
    while text.len() < length {
        text.push(' ');
        text.push_str(WORDS[rng.random_range(0..WORDS.len())]);
    }
    let value = if rng.random_bool(0.9) {
        serde_json::json!({"type": "text", "text": text})
    } else {
        serde_json::json!({"type": "x.chaos", "lane": lane, "words": [text, number]})
    };
    // As the home keeps it: compact, keys as written.
    serde_json::value::to_raw_value(&value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// What a receiving client was shown, by channel.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) shown: HashMap<Uuid, Vec<Shown>>,
    /// What it still lacked when its patience ended.
    pub(super) behind: Vec<String>,
}

/// Where everybody is to get to: for each channel the last `pos` of the person's home.
pub(super) type Goal = HashMap<Uuid, u64>;

/// Listens until the goal is known and reached, or nothing comes for `patience`.
pub(super) async fn listen(
    board: Arc<Board>,
    person: Person,
    seed: u64,
    goal: watch::Receiver<Option<Goal>>,
    patience: Duration,
) -> Heard {
    let mut set = goal.clone();
    let mut rng = StdRng::seed_from_u64(seed);
    let me = person.address();
    let mut heard = Heard::default();
    let mut life = 0;
    let mut from = From::Start;
    let mut token = person.log_in().await.token;
    let mut last_news = Instant::now();
    loop {
        let options = Options::new(person.server.clone(), token.clone());
        // A home may be down for long; the goal is not forgotten over it.
        let begun = tokio::select! {
            begun = Follower::start(options, from.clone()) => begun,
            () = out_of_patience(goal.clone(), last_news, patience) => {
                return gave_up(heard, &goal, None);
            }
        };
        let mut follower = match begun {
            Ok(follower) => follower,
            Err(error) => {
                if let Error::SignedOut { .. } = error {
                    (token, from) = (person.log_in().await.token, From::Start);
                    life += 1;
                }
                tokio::time::sleep(SIGN_IN_RETRY).await;
                continue;
            }
        };
        let ends_at = Instant::now() + CLIENT_LIFE.mul_f64(rng.random_range(0.2..1.8));
        let marks_read = rng.random_bool(0.5);
        let mut marks = tokio::time::interval(MARK_EVERY);
        let mut unmarked: HashMap<Uuid, u64> = HashMap::new();
        let mut failures = 0;
        let signed_out = loop {
            if goal.borrow().as_ref().is_some_and(|goal| is_reached(goal, &follower)) {
                follower.close().await;
                return heard;
            }
            tokio::select! {
                update = follower.next() => match update {
                    Ok(Update::New(message) | Update::Again(message)) => {
                        failures = 0;
                        last_news = Instant::now();
                        let (at, pos, id) = (board.elapsed(), message.pos, message.id);
                        let shown = heard.shown.entry(message.channel).or_default();
                        shown.push(Shown { at, life, pos, id });
                        if message.sender != me {
                            board.figures.shown.add(1);
                        }
                        unmarked.insert(message.channel, pos);
                    }
                    Ok(Update::Back { new_life: true }) => {
                        board.found(Finding::trouble(
                            &person.home_name,
                            format!("{me} kept its token into a new life of the home"),
                        ));
                        break true;
                    }
                    Ok(_) => {}
                    Err(Error::SignedOut { .. }) => break true,
                    Err(error) => {
                        board.refused(error.reason());
                        failures += 1;
                        if failures > FAILURES_TAKEN {
                            break false;
                        }
                        tokio::time::sleep(SIGN_IN_RETRY).await;
                    }
                },
                _ = marks.tick() => {
                    mark(follower.client(), &mut unmarked, marks_read).await;
                }
                () = tokio::time::sleep_until(ends_at) => {
                    board.figures.clients_restarted.add(1);
                    break false;
                }
                _ = set.changed() => last_news = Instant::now(),
                () = out_of_patience(goal.clone(), last_news, patience) => {
                    return gave_up(heard, &goal, Some(&follower));
                }
            }
        };
        from = if signed_out {
            token = person.log_in().await.token;
            life += 1;
            From::Start
        } else {
            // As a program that was closed and opened again: what it has dealt with is what it stored.
            From::Place(follower.place().clone())
        };
    }
}

fn is_reached(goal: &Goal, follower: &Follower) -> bool {
    let seen = |channel| follower.place().channels.get(channel).map_or(0, |place| place.pos);
    goal.iter().all(|(channel, pos)| seen(channel) >= *pos)
}

/// There is a goal, and for long nothing has come.
async fn out_of_patience(
    mut goal: watch::Receiver<Option<Goal>>,
    last_news: Instant,
    patience: Duration,
) {
    if goal.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep_until(last_news + patience).await;
}

fn gave_up(
    mut heard: Heard,
    goal: &watch::Receiver<Option<Goal>>,
    follower: Option<&Follower>,
) -> Heard {
    for (channel, pos) in goal.borrow().iter().flatten() {
        let places = follower.map(|follower| &follower.place().channels);
        let seen = places.and_then(|places| places.get(channel)).map_or(0, |place| place.pos);
        if seen < *pos {
            heard.behind.push(format!("{channel}: at {seen} of {pos}"));
        }
    }
    heard
}

/// Tells the home how far this client has got. Cumulative: what is not told now is told with the next.
async fn mark(client: &Client, unmarked: &mut HashMap<Uuid, u64>, read: bool) {
    let method = if read { "receipts.read" } else { "receipts.delivered" };
    for (channel, pos) in std::mem::take(unmarked) {
        let params = serde_json::json!({"channel": channel, "pos": pos});
        let queued = client.submit::<_, serde_json::Value>(method, &params);
        if !matches!(tokio::time::timeout(MARK_DEADLINE, queued).await, Ok(Ok(_))) {
            unmarked.insert(channel, pos);
            return;
        }
    }
}
