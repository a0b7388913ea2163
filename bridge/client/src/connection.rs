//! The task behind a [`crate::Client`]: it owns the socket, loses it, takes a new one.
//!
//! Calls are numbered in the order they come and kept until answered; a new socket gets all unanswered ones again,
//! in that order. Since the home stores sends of one socket in the order sent, what it had stored of a lost socket is
//! a prefix, and the ids make the repetition of that prefix harmless.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message as Frame};

use crate::client::{EVENTS_QUEUED, Options};
use crate::error::{Error, Refusal};
use crate::socket::{self, Socket, say_broken};
use crate::types::Opened;
use crate::wire::{Event, Incoming, RawAnswer, Reply, Ticket, decode, encode_call, with_id};

/// Calls sent and not answered. More than the 128 that a home promises to hold keeps its socket's buffer full, so
/// that it never waits for the next frame; much more only moves the queue here.
const MAX_IN_FLIGHT: usize = 512;

/// The id of `session.open`; calls count from 1.
const OPEN_ID: u64 = 0;

/// A call that was unanswered on so many sockets in a row is most likely what ends them: it fails.
const MAX_SENDINGS: u32 = 10;

/// Pings without any sign of the home before its socket counts as dead.
const SILENT_PINGS: u32 = 3;

/// First wait before a reconnect; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait before a reconnect: a home that comes back is found within half a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Least wait after the home found us flooding (4429) or restarting (1012) without saying how long.
const POLITE_WAIT: Duration = Duration::from_secs(1);

/// How long a closing client waits for the answers it is still owed, and for the other side's close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// How long the first sign-in waits on a busy home before it says so.
const FIRST_BUSY_PATIENCE: Duration = Duration::from_secs(30);

/// What a handle asks of the task.
pub(crate) enum Outgoing {
    Call { text: String, answer: AnswerTo },
    Close { done: oneshot::Sender<()> },
}

/// Where an answer goes.
pub(crate) enum AnswerTo {
    /// To whoever waits for it.
    Asker(oneshot::Sender<Result<RawAnswer, Error>>),
    /// Among the events.
    Events(Ticket),
}

struct Waiting {
    text: Utf8Bytes,
    answer: AnswerTo,
    sendings: u32,
}

pub(crate) struct Connection {
    options: Options,
    calls: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Event>,
    ended: Arc<OnceLock<Error>>,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    next_id: u64,
    /// The place that the events handed out reach.
    since: Option<Arc<str>>,
    life: String,
    /// The program did not take its events: they are thrown away until there is room, then the socket is taken anew.
    lagging: bool,
    /// Whoever waits for the orderly end.
    closers: Vec<oneshot::Sender<()>>,
}

/// How a socket ended.
enum End {
    /// The program wants no more.
    Stopped,
    /// Connect again, after at least this.
    Lost(Error, Duration),
    /// The events have room again: connect again at once.
    CatchUp,
}

impl Connection {
    /// The first sign-in, whose failure is the caller's to know.
    pub(crate) async fn open(
        options: Options,
        calls: mpsc::Receiver<Outgoing>,
        events: mpsc::Sender<Event>,
        ended: Arc<OnceLock<Error>>,
    ) -> Result<(Self, Socket, Opened), Error> {
        let mut connection = Self {
            since: options.since.clone(),
            life: options.life.clone().unwrap_or_default(),
            options,
            calls,
            events,
            ended,
            waiting: Mutex::new(BTreeMap::new()),
            next_id: OPEN_ID + 1,
            lagging: false,
            closers: Vec::new(),
        };
        let until = Instant::now() + FIRST_BUSY_PATIENCE;
        loop {
            match Box::pin(connection.sign_in()).await {
                Ok((socket, opened, early)) => {
                    connection.since = Some(Arc::clone(&opened.sync));
                    for event in early {
                        connection.tell(event);
                    }
                    return Ok((connection, socket, opened));
                }
                Err(error) => match error.retry_after() {
                    Some(wait) if Instant::now() + wait < until => {
                        tokio::time::sleep(jittered(wait)).await;
                    }
                    Some(_) | None => return Err(error),
                },
            }
        }
    }

    /// Lives as long as the client.
    pub(crate) async fn run(mut self, mut socket: Socket) {
        loop {
            // The socket's futures are large and few: one box a connection.
            let end = Box::pin(self.serve(socket)).await;
            let (error, at_least) = match end {
                End::Stopped => return self.finish(Error::Stopped),
                End::CatchUp => (
                    Error::Closed { code: None, why: "events were not taken".to_owned() },
                    Duration::ZERO,
                ),
                End::Lost(error, _) if error.is_final() || !self.options.reconnect => {
                    return self.finish(error);
                }
                End::Lost(error, wait) => {
                    tracing::debug!(reason = error.reason(), "connection lost");
                    // If the queue is full the program learns of it from `Opened`.
                    let _told_or_full = self.events.try_send(Event::Lost(error.clone()));
                    (error, wait)
                }
            };
            socket = match Box::pin(self.reconnect(error, at_least)).await {
                Ok(socket) => socket,
                Err(error) => return self.finish(error),
            };
        }
    }

    fn finish(mut self, error: Error) {
        let _first_word_counts = self.ended.set(error.clone());
        self.calls.close();
        // Who asked by a ticket is told of the end, once for all.
        let tell = |answer: AnswerTo| match answer {
            AnswerTo::Asker(asker) => {
                let _asker_gone = asker.send(Err(error.clone()));
            }
            AnswerTo::Events(_) => {}
        };
        for (_, call) in std::mem::take(&mut *self.waiting()) {
            tell(call.answer);
        }
        while let Ok(outgoing) = self.calls.try_recv() {
            match outgoing {
                Outgoing::Call { answer, .. } => tell(answer),
                Outgoing::Close { done } => self.closers.push(done),
            }
        }
        for done in self.closers.drain(..) {
            let _closer_gone = done.send(());
        }
    }

    async fn reconnect(&mut self, mut last: Error, at_least: Duration) -> Result<Socket, Error> {
        let give_up = self.options.give_up_after.map(|d| Instant::now() + d);
        let mut backoff = FIRST_WAIT;
        let mut wait = if at_least.is_zero() { jittered(FIRST_WAIT) } else { at_least };
        loop {
            let until = Instant::now() + wait;
            if give_up.is_some_and(|at| until > at) {
                return Err(last);
            }
            self.wait_disconnected(until).await?;
            match self.sign_in().await {
                Ok((socket, opened, early)) => {
                    self.tell(Event::Opened(Box::new(opened)));
                    for event in early {
                        self.tell(event);
                    }
                    return Ok(socket);
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    backoff = (backoff * 2).min(LONGEST_WAIT);
                    wait = jittered(backoff).max(error.retry_after().unwrap_or_default());
                    last = error;
                }
            }
        }
    }

    /// Takes calls while there is no socket; `Err` when the program wants no more.
    async fn wait_disconnected(&mut self, until: Instant) -> Result<(), Error> {
        loop {
            let room = self.waiting().len() < MAX_IN_FLIGHT;
            let outgoing = tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                outgoing = self.calls.recv(), if room => outgoing,
            };
            match outgoing {
                Some(Outgoing::Call { text, answer }) => {
                    number(&mut self.next_id, &self.waiting, text, answer);
                }
                Some(Outgoing::Close { done }) => {
                    self.closers.push(done);
                    return Err(Error::Stopped);
                }
                None => return Err(Error::Stopped),
            }
        }
    }

    /// A new socket, signed in; with the events that came before the last page of the answer.
    async fn sign_in(&mut self) -> Result<(Socket, Opened, Vec<Event>), Error> {
        let mut socket = socket::open(&self.options.server, &self.options.token).await?;
        let mut early = Vec::new();
        let opened = match open_session(&mut socket, self.since.as_deref(), &mut early).await {
            Err(error) if error.is_resync() => {
                early.clear();
                let mut opened = open_session(&mut socket, None, &mut early).await?;
                opened.resync = true;
                opened
            }
            other => other?,
        };
        let mut opened = opened;
        if !self.life.is_empty() && self.life != opened.life {
            opened.resync = true;
        }
        self.life.clone_from(&opened.life);
        Ok((socket, opened, early))
    }

    /// Until the socket ends.
    async fn serve(&mut self, socket: Socket) -> End {
        let heard = AtomicBool::new(true);
        let freed = Notify::new();
        let Self { options, calls, events, waiting, next_id, since, lagging, closers, .. } = self;
        let again: Vec<Utf8Bytes> = {
            let mut waiting = lock(waiting);
            let worn: Vec<u64> = waiting
                .iter()
                .filter(|(_, call)| call.sendings >= MAX_SENDINGS)
                .map(|(id, _)| *id)
                .collect();
            for id in worn {
                let why = format!("unanswered on {MAX_SENDINGS} connections");
                let error = Err(Error::Closed { code: None, why });
                answer(&mut waiting, id, error, events, lagging);
            }
            waiting
                .values_mut()
                .map(|call| {
                    call.sendings += 1;
                    call.text.clone()
                })
                .collect()
        };
        let (mut sink, mut stream) = socket.split();

        let writing = async {
            let broken = |e| End::Lost(broken(&e), Duration::ZERO);
            for text in again {
                sink.feed(Frame::Text(text)).await.map_err(broken)?;
            }
            sink.flush().await.map_err(broken)?;
            let mut batch = Vec::with_capacity(64);
            let mut ping =
                tokio::time::interval_at(Instant::now() + options.ping_every, options.ping_every);
            let mut silent = 0;
            let mut stopping = false;
            loop {
                let (room, idle) = {
                    let waiting = lock(waiting);
                    (MAX_IN_FLIGHT.saturating_sub(waiting.len()), waiting.is_empty())
                };
                if stopping && idle {
                    break;
                }
                tokio::select! {
                    biased;
                    _ = ping.tick() => {
                        silent = if heard.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
                        if silent >= SILENT_PINGS {
                            let why = "no sign of the server".to_owned();
                            return Err(End::Lost(Error::Closed { code: None, why }, Duration::ZERO));
                        }
                        sink.send(Frame::Ping(Default::default())).await.map_err(broken)?;
                    }
                    count = calls.recv_many(&mut batch, room.min(64)), if room > 0 && !stopping => {
                        stopping = count == 0;
                        for outgoing in batch.drain(..) {
                            match outgoing {
                                Outgoing::Call { text, answer } => {
                                    let text = number(next_id, waiting, text, answer);
                                    sink.feed(Frame::Text(text)).await.map_err(broken)?;
                                }
                                Outgoing::Close { done } => {
                                    closers.push(done);
                                    stopping = true;
                                }
                            }
                        }
                        sink.flush().await.map_err(broken)?;
                    }
                    () = freed.notified(), if room == 0 || stopping => {}
                }
            }
            // The other side's close ends `reading`.
            sink.send(Frame::Close(None)).await.map_err(broken)?;
            Ok::<(), End>(())
        };

        let reading = async {
            let mut hint = Duration::ZERO;
            loop {
                let frame = if *lagging {
                    tokio::select! {
                        frame = stream.next() => frame,
                        room = events.reserve_many(EVENTS_QUEUED / 2) => match room {
                            Ok(_room) => return End::CatchUp,
                            Err(_nobody_listens) => {
                                *lagging = false;
                                continue;
                            }
                        },
                    }
                } else {
                    stream.next().await
                };
                heard.store(true, Ordering::Relaxed);
                let text = match frame {
                    Some(Ok(Frame::Text(text))) => text,
                    Some(Ok(Frame::Close(frame))) => return closed(frame, hint),
                    Some(Ok(
                        Frame::Ping(_) | Frame::Pong(_) | Frame::Binary(_) | Frame::Frame(_),
                    )) => continue,
                    Some(Err(error)) => return End::Lost(broken(&error), hint),
                    None => return closed(None, hint),
                };
                match decode(&text) {
                    Ok(Incoming::Answer(id, result)) => {
                        let mut waiting = lock(waiting);
                        answer(&mut waiting, id, result, events, lagging);
                        if waiting.len() + 1 == MAX_IN_FLIGHT || waiting.is_empty() {
                            freed.notify_one();
                        }
                    }
                    Ok(Incoming::Event(event)) => put(events, since, lagging, event),
                    Ok(Incoming::Closing(reason, retry_after)) => {
                        tracing::debug!(reason, "the server is about to close");
                        hint = retry_after;
                    }
                    Ok(Incoming::Complaint(error)) => {
                        tracing::warn!(%error, "the server did not understand a frame");
                    }
                    Err(error) => tracing::warn!(%error, "a frame of the server is not understood"),
                }
            }
        };

        tokio::pin!(writing, reading);
        tokio::select! {
            end = &mut reading => end,
            wrote = &mut writing => match wrote {
                Err(End::Lost(error, wait)) => {
                    // A close frame that came first says more than the broken write.
                    match tokio::time::timeout(Duration::from_millis(100), reading).await {
                        Ok(End::Lost(said @ (Error::Closed { code: Some(_), .. } | Error::SignedOut { .. }), wait)) => {
                            End::Lost(said, wait)
                        }
                        Ok(_) | Err(_) => End::Lost(error, wait),
                    }
                }
                Err(end) => end,
                Ok(()) => {
                    let _closed_or_late = tokio::time::timeout(CLOSE_DEADLINE, reading).await;
                    End::Stopped
                }
            },
        }
    }

    fn tell(&mut self, event: Event) {
        put(&self.events, &mut self.since, &mut self.lagging, event);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        lock(&self.waiting)
    }
}

/// Hands an event out, or notes that the program lags. `since` moves with what was handed out alone.
fn put(
    events: &mpsc::Sender<Event>,
    since: &mut Option<Arc<str>>,
    lagging: &mut bool,
    event: Event,
) {
    let opened = matches!(event, Event::Opened(_));
    if *lagging && !opened {
        return;
    }
    let sync = event.sync().cloned();
    match events.try_send(event) {
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {
            *lagging = false;
            if sync.is_some() {
                *since = sync;
            }
        }
        Err(mpsc::error::TrySendError::Full(_)) => *lagging = true,
    }
}

/// Hands an answer to whoever asked. One that belongs among events for which there is no room is not taken: the call goes
/// out again with the next socket, which comes when there is room.
fn answer(
    waiting: &mut BTreeMap<u64, Waiting>,
    id: u64,
    result: Result<RawAnswer, Error>,
    events: &mpsc::Sender<Event>,
    lagging: &mut bool,
) {
    let Some(call) = waiting.remove(&id) else { return };
    let ticket = match call.answer {
        AnswerTo::Asker(asker) => {
            let _asker_gone = asker.send(result);
            return;
        }
        AnswerTo::Events(ticket) => ticket,
    };
    // Nothing may overtake what was thrown away before it.
    if !*lagging || events.is_closed() {
        let answer = result.map(|raw| Reply(Arc::new(raw)));
        match events.try_send(Event::Answered { ticket, answer }) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            Err(mpsc::error::TrySendError::Full(_)) => *lagging = true,
        }
    }
    waiting.insert(id, Waiting { answer: AnswerTo::Events(ticket), ..call });
}

/// Gives a call its id and keeps it until it is answered.
fn number(
    next_id: &mut u64,
    waiting: &Mutex<BTreeMap<u64, Waiting>>,
    text: String,
    answer: AnswerTo,
) -> Utf8Bytes {
    let id = *next_id;
    *next_id += 1;
    let text = with_id(text, id);
    lock(waiting).insert(id, Waiting { text: text.clone(), answer, sendings: 1 });
    text
}

fn lock(waiting: &Mutex<BTreeMap<u64, Waiting>>) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
    // No code under this lock can leave the map half changed.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn open_session(
    socket: &mut Socket,
    since: Option<&str>,
    early: &mut Vec<Event>,
) -> Result<Opened, Error> {
    #[derive(Serialize)]
    struct Params<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
    }
    let mut whole: Option<Opened> = None;
    loop {
        let cursor = whole.as_ref().and_then(|o| o.cursor.as_deref());
        let call = with_id(encode_call("session.open", &Params { since, cursor })?, OPEN_ID);
        socket.send(Frame::Text(call)).await.map_err(|e| broken(&e))?;
        let page: Opened =
            match tokio::time::timeout(CLOSE_DEADLINE * 4, answer_of_open(socket, early)).await {
                Ok(answer) => answer?.read()?,
                Err(_) => {
                    let why = "session.open was not answered".to_owned();
                    return Err(Error::Closed { code: None, why });
                }
            };
        let more = page.more && page.cursor.is_some();
        whole = Some(match whole {
            None => page,
            Some(mut all) => {
                all.channels.extend(page.channels);
                all.cursor = page.cursor;
                all.sync = page.sync;
                all
            }
        });
        if !more {
            break;
        }
    }
    let mut opened =
        whole.ok_or_else(|| Error::Garbled("session.open answered without a page".to_owned()))?;
    opened.more = false;
    opened.cursor = None;
    Ok(opened)
}

async fn answer_of_open(socket: &mut Socket, early: &mut Vec<Event>) -> Result<RawAnswer, Error> {
    loop {
        let text = match socket.next().await {
            Some(Ok(Frame::Text(text))) => text,
            Some(Ok(Frame::Close(frame))) => return Err(close_error(frame.as_ref())),
            Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Binary(_) | Frame::Frame(_))) => {
                continue;
            }
            Some(Err(error)) => return Err(broken(&error)),
            None => return Err(close_error(None)),
        };
        match decode(&text)? {
            Incoming::Answer(OPEN_ID, answer) => {
                let Err(Error::Refused(refusal)) = answer else {
                    return answer;
                };
                return Err(if refusal.code == Refusal::NOT_SIGNED_IN {
                    Error::SignedOut { why: refusal.message }
                } else {
                    Error::Refused(refusal)
                });
            }
            Incoming::Event(event) if early.len() < EVENTS_QUEUED => early.push(event),
            Incoming::Event(_) => {
                let why = "too much happened while signing in".to_owned();
                return Err(Error::Closed { code: None, why });
            }
            Incoming::Complaint(error) => return Err(error),
            Incoming::Closing(why, _) => return Err(Error::Closed { code: None, why }),
            Incoming::Answer(..) => {}
        }
    }
}

fn broken(error: &tokio_tungstenite::tungstenite::Error) -> Error {
    Error::Closed { code: None, why: say_broken(error) }
}

fn close_error(frame: Option<&CloseFrame>) -> Error {
    let code = frame.map(|f| u16::from(f.code));
    let why = match frame {
        Some(f) if !f.reason.is_empty() => f.reason.as_str().to_owned(),
        Some(_) => "the server closed it".to_owned(),
        None => "it ended without a close".to_owned(),
    };
    match code {
        Some(4401 | 4403) => Error::SignedOut { why },
        _ => Error::Closed { code, why },
    }
}

fn closed(frame: Option<CloseFrame>, hint: Duration) -> End {
    let code = frame.as_ref().map(|f| u16::from(f.code));
    let wait = match code {
        // The home's own word is already random for each client.
        _ if !hint.is_zero() => hint,
        Some(1012 | 4429) => jittered(POLITE_WAIT * 2),
        _ => Duration::ZERO,
    };
    End::Lost(close_error(frame.as_ref()), wait)
}

/// Between half of it and all of it, so that clients of one home do not come back in step.
fn jittered(wait: Duration) -> Duration {
    // A fresh hasher's keys are random: all the randomness this needs.
    let random = RandomState::new().hash_one(0_u8);
    let share = 0.5 + (random % 1024) as f64 / 2048.0;
    wait.mul_f64(share)
}
