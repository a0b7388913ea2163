//! A client's WebSocket, from its first frame to its last.
//!
//! One task does everything, in this order and without waiting in between: decode what came and hand
//! the calls over, write what the node put into the outbox, then wait for whichever comes first.
//! Reading stops while `calls_waiting` calls are unanswered or enough waits to be written, so a client
//! is slowed, never buffered without bound. What the node puts before the client is always taken in,
//! but counted as waiting until it is written, so the node knows when the client does not read.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use homing_link::{Answer, Call, CloseReason, Code, Notice, Refused, Session, SyncPoint, ToClient};
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFuture;
use tracing::{debug, error, warn};

use crate::api::{self, Asked, Open};
use crate::bridge::Shared;
use crate::calls::{BatchNo, Calls, Target};
use crate::encode::{self, ClosingNotice};
use crate::frames::{self, Decoder, Incoming, close};
use crate::limits::{Admission, CallRate, ms};
use crate::metrics::{add, subtract};
use crate::rpc::{self, Frame, Item, Outcome};
use crate::upgrade::Accepted;
use crate::wire::Wire;

/// Serves a client until it or the node has gone.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    accepted: Accepted,
    stream: TcpStream,
    early: Vec<u8>,
) {
    add(&shared.metrics.sockets, 1);
    add(&shared.metrics.sockets_open, 1);
    let mut socket = Socket::new(shared, accepted, stream, early);
    let end = socket.live().await;
    // Boxed: it is needed once, and would be part of every living socket otherwise.
    let code = Box::pin(socket.say_goodbye(end)).await;
    debug!(code, "socket closed");
    shared.metrics.closed(code);
    subtract(&shared.metrics.sockets_open, 1);
}

/// Signs of life that are passed on to the node between two pings of ours, at most: presence is no finer than that, and a
/// client that pings without a pause costs the node nothing.
const SIGNS_A_PING: u64 = 4;

struct Socket<'a> {
    shared: &'a Shared,
    session: Session,
    wire: Wire,
    calls: Calls,
    /// What the node put before the client and is not written.
    queue: VecDeque<Queued>,
    /// So many items at the front of the queue wait until a batch is complete.
    held: usize,
    signed: Signed,
    /// The token last given, for pages of `session.open` that do not repeat it.
    token: Option<String>,
    bad_tokens: u32,
    rate: CallRate,
    /// When the client last said anything.
    heard_at: Instant,
    /// When the node was last told so.
    told_alive_at: Instant,
    pinged: bool,
    /// The furthest place the client was told.
    sync: Option<SyncPoint>,
    /// Decoding stopped before the input was used up, because reading had to stop.
    stalled: bool,
    end: Option<End>,
}

/// An item, and what it was counted for when it came.
struct Queued {
    item: ToClient,
    weight_bytes: usize,
}

/// Whether anybody has signed in.
#[derive(Clone, Copy)]
enum Signed {
    /// Nobody, since then.
    No(Instant),
    /// The node looks at a token; what comes meanwhile is read afterwards.
    Opening,
    /// Somebody: the node knows who.
    In,
}

/// Why a socket ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The connection is gone.
    Gone,
    /// The client closed it, with this code.
    ByClient(Option<u16>),
    /// We do.
    Close(u16, &'static str),
    /// We do, and the client shall come again.
    Restarting,
}

/// What a waiting socket wakes for.
enum Wake {
    /// Something waiting can go on.
    Again,
    /// The client sent so many bytes, which are with the decoder; 0: it is gone.
    Read(usize),
    /// The node put something before the client, or has forgotten it.
    Outbox(Option<ToClient>),
    /// A deadline may have passed.
    Timer,
    /// The bridge stops.
    Stop,
    /// The connection failed.
    Failed(io::Error),
}

impl<'a> Socket<'a> {
    fn new(shared: &'a Shared, accepted: Accepted, stream: TcpStream, early: Vec<u8>) -> Self {
        let now = Instant::now();
        let limits = &shared.limits;
        add(&shared.metrics.bytes_in, early.len() as u64);
        Self {
            shared,
            session: accepted.session,
            wire: Wire::new(stream, Decoder::new(limits.frame_bytes, early)),
            calls: Calls::new(limits.server_frame_bytes),
            queue: VecDeque::new(),
            held: 0,
            signed: Signed::No(now),
            token: accepted.token,
            bad_tokens: 0,
            rate: CallRate::new(limits, now),
            heard_at: now,
            told_alive_at: now,
            pinged: false,
            sync: None,
            stalled: false,
            end: None,
        }
    }

    async fn live(&mut self) -> End {
        let stop = &self.shared.stop;
        let mut stop = pin!(stop.cancelled());
        let mut timer = pin!(tokio::time::sleep_until(self.next_deadline()));
        loop {
            for (number, call) in self.decode() {
                if let Err(refused) = self.session.submit(number, call).await {
                    self.node_answered(number, Err(refused));
                }
            }
            self.fill();
            while self.end.is_none()
                && self.wire.has_room()
                && let Some(item) = self.session.try_next()
            {
                self.receive(Some(item));
                self.fill();
            }
            if let Some(end) = self.end {
                return end;
            }
            if self.stalled && self.may_read() {
                continue;
            }
            match self.wait(timer.as_mut(), stop.as_mut()).await {
                Wake::Again => {}
                Wake::Read(0) => self.end = Some(End::Gone),
                Wake::Read(_) => {
                    self.heard_at = Instant::now();
                    self.pinged = false;
                    self.say_alive();
                }
                Wake::Outbox(item) => self.receive(item),
                Wake::Timer => {
                    self.timer_fired();
                    timer.as_mut().reset(self.next_deadline());
                }
                Wake::Stop => {
                    self.fill_all();
                    self.end = Some(End::Restarting);
                }
                Wake::Failed(error) => {
                    debug!(%error, "socket failed");
                    self.end = Some(End::Gone);
                }
            }
        }
    }

    /// Writes what waits, until something else is to be done.
    async fn wait(
        &mut self,
        mut timer: Pin<&mut Sleep>,
        mut stop: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Wake {
        let may_read = self.may_read();
        let deadline = self.next_deadline();
        let write_idle = ms(self.shared.limits.write_idle_ms);
        let metrics = &self.shared.metrics;
        let Self { session, wire, queue, held, .. } = self;
        let held = *held;
        let mut next = pin!(session.next());
        poll_fn(|cx| {
            let mut deadline = deadline;
            if wire.waiting_bytes() > 0 {
                match wire.poll_write(cx, metrics) {
                    // What had no room has it now: more from the queue, or from the client.
                    Poll::Ready(Ok(())) if !may_read || queue.len() > held => {
                        return Poll::Ready(Wake::Again);
                    }
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Wake::Failed(error)),
                    Poll::Pending => {
                        if let Some(since) = wire.blocked_since() {
                            deadline = deadline.min(since + write_idle);
                        }
                    }
                }
            }
            if let Some(queued) = queue.get_mut(held)
                && let ToClient::Later { call, result } = &mut queued.item
                && let Poll::Ready(result) = Pin::new(result).poll(cx)
            {
                let call = *call;
                let result = Box::new(result.unwrap_or_else(|_| Err(lost())));
                queued.item = ToClient::Answer { call, result };
                return Poll::Ready(Wake::Again);
            }
            if let Poll::Ready(item) = next.as_mut().poll(cx) {
                return Poll::Ready(Wake::Outbox(item));
            }
            if may_read && let Poll::Ready(read) = wire.poll_read(cx, metrics) {
                return Poll::Ready(read.map_or_else(Wake::Failed, Wake::Read));
            }
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Wake::Stop);
            }
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(cx).map(|()| Wake::Timer)
        })
        .await
    }

    // ---- from the client

    /// Tells the node that the client is there: a few times in the time in which it would be asked.
    fn say_alive(&mut self) {
        let pause = ms(self.shared.limits.ping_ms / SIGNS_A_PING);
        if matches!(self.signed, Signed::In) && self.heard_at >= self.told_alive_at + pause {
            self.told_alive_at = self.heard_at;
            self.session.alive();
        }
    }

    fn may_read(&self) -> bool {
        self.end.is_none()
            && !matches!(self.signed, Signed::Opening)
            && self.calls.len() < self.shared.limits.calls_waiting
            && self.wire.has_room()
    }

    /// Decodes what may be read now, and answers the calls that the node is to be asked.
    fn decode(&mut self) -> Vec<(u64, Call)> {
        let mut asked = Vec::new();
        if !self.wire.decoder.has_input() {
            return asked;
        }
        let now = Instant::now();
        self.stalled = true;
        while self.may_read() {
            match self.wire.decoder.next() {
                Ok(Some(Incoming::Text(text))) => self.frame(&text, now, &mut asked),
                Ok(Some(Incoming::Ping(payload))) => {
                    if self.rate.admit(&self.shared.limits, now) == Admission::Flooding {
                        self.end = Some(End::Close(close::FLOODING, "flooding"));
                    } else {
                        frames::pong(&mut self.wire.out, &payload);
                    }
                }
                Ok(Some(Incoming::Pong)) => {}
                Ok(Some(Incoming::Close(code))) => self.end = Some(End::ByClient(code)),
                Ok(None) => {
                    self.stalled = false;
                    break;
                }
                Err(broken) => self.end = Some(End::Close(broken.code, broken.reason)),
            }
        }
        self.wire.decoder.tidy();
        self.stalled &= self.wire.decoder.has_input();
        asked
    }

    fn frame(&mut self, text: &str, now: Instant, asked: &mut Vec<(u64, Call)>) {
        add(&self.shared.metrics.frames_in, 1);
        match rpc::parse(text, self.shared.limits.batch_calls) {
            Frame::Refused(refused) => {
                let item = Item::Bad { id: "null".into(), refused };
                self.item(item, None, now, asked);
            }
            Frame::Single(item) => self.item(item, None, now, asked),
            Frame::Batch(items) => {
                let ids = items.iter().filter_map(|item| match item {
                    Item::Call { id, .. } => id.as_ref(),
                    Item::Bad { id, .. } => Some(id),
                });
                let batch = self.calls.begin_batch(ids);
                for item in items {
                    self.item(item, batch, now, asked);
                }
            }
        }
    }

    fn item(
        &mut self,
        item: Item<'_>,
        batch: Option<BatchNo>,
        now: Instant,
        asked: &mut Vec<(u64, Call)>,
    ) {
        let (id, call) = match item {
            Item::Call { id, method, params } => (id, Ok((method, params))),
            Item::Bad { id, refused } => (Some(id), Err(refused)),
        };
        let target = Target { id, batch };
        let call = match self.rate.admit(&self.shared.limits, now) {
            Admission::Run => call,
            Admission::Busy => Err(self.too_many_calls()),
            Admission::Flooding => {
                self.end = Some(End::Close(close::FLOODING, "flooding"));
                Err(self.too_many_calls())
            }
        };
        match call.and_then(|(method, params)| self.ask(&method, params)) {
            Ok(Asked::Call(call)) => asked.push((self.calls.enter(target, false), call)),
            Ok(Asked::Open(open)) => match self.open(open) {
                Ok(call) => asked.push((self.calls.enter(target, true), call)),
                Err(refused) => self.answer(&target, Outcome::Refused(&refused), false),
            },
            Ok(Asked::Discover) => {
                let shared = self.shared;
                self.answer(&target, Outcome::Document(&shared.openrpc), false);
            }
            Err(refused) => self.answer(&target, Outcome::Refused(&refused), false),
        }
    }

    fn too_many_calls(&self) -> Refused {
        Refused::new(Code::Busy, "too_many_calls", "too many calls at once; wait a little")
            .with_retry_after_ms(self.shared.limits.busy_retry_ms)
    }

    fn ask(&self, name: &str, params: Option<&RawValue>) -> Result<Asked, Refused> {
        if matches!(self.signed, Signed::No(_)) && name != api::SESSION_OPEN {
            return Err(Refused::new(
                Code::NotSignedIn,
                "not_signed_in",
                "session.open comes first",
            ));
        }
        let (index, method) = api::find(name).ok_or_else(|| {
            Refused::new(Code::MethodNotFound, "unknown_method", "there is no such method")
        })?;
        self.shared.metrics.called(index);
        method.ask(params)
    }

    fn open(&mut self, open: Open) -> Result<Call, Refused> {
        let Open { token, since, cursor } = open;
        if token.is_some() {
            self.token = token;
        }
        let Some(token) = self.token.clone() else {
            let message = "a token is needed, here or in the header Authorization";
            return Err(Refused::new(Code::NotSignedIn, "no_token", message));
        };
        if matches!(self.signed, Signed::No(_)) {
            self.signed = Signed::Opening;
        }
        Ok(Call::Open { token, since, cursor })
    }

    // ---- to the client

    /// Takes in what the node put before the client.
    fn receive(&mut self, item: Option<ToClient>) {
        match item {
            Some(ToClient::Close(CloseReason::Revoked)) => {
                self.end = Some(End::Close(close::REVOKED, "revoked"));
            }
            Some(ToClient::Close(CloseReason::TooSlow)) => {
                self.end = Some(End::Close(close::TOO_SLOW, "too_slow"));
            }
            Some(ToClient::Close(CloseReason::Restarting)) | None => {
                self.fill_all();
                self.end = Some(End::Restarting);
            }
            Some(
                item @ (ToClient::Answer { .. } | ToClient::Later { .. } | ToClient::Notice(_)),
            ) => {
                let weight_bytes = item.weight_bytes();
                self.queue.push_back(Queued { item, weight_bytes });
            }
        }
    }

    /// Writes from the queue while there is room.
    fn fill(&mut self) {
        while self.end.is_none() && self.wire.has_room() && self.write_next() {}
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            self.queue = VecDeque::new();
        }
    }

    /// Writes all that is ready: the last words. The node bounds the queue in bytes.
    fn fill_all(&mut self) {
        while let Some(item) = self.session.try_next() {
            if !matches!(item, ToClient::Close(_)) {
                self.receive(Some(item));
            }
        }
        while self.write_next() {}
    }

    /// Writes the next item; `false` when there is none, or it is not there yet.
    ///
    /// While a batch is collected only its answers are taken, so that nothing the node said after
    /// the first of them comes before it. The rest is held, in order.
    fn write_next(&mut self) -> bool {
        loop {
            let Some(queued) = self.queue.get(self.held) else {
                return false;
            };
            let (number, is_there) = match &queued.item {
                ToClient::Answer { call, .. } => (Some(*call), true),
                ToClient::Later { call, .. } => (Some(*call), false),
                ToClient::Notice(_) | ToClient::Close(_) => (None, true),
            };
            let collecting = self.calls.collecting();
            if collecting.is_some()
                && number.and_then(|number| self.calls.batch_of(number)) != collecting
            {
                self.held += 1;
                continue;
            }
            if !is_there {
                return false;
            }
            break;
        }
        let Some(Queued { item, weight_bytes }) = self.queue.remove(self.held) else {
            return false;
        };
        self.session.taken(weight_bytes);
        match item {
            ToClient::Answer { call, result } => self.node_answered(call, *result),
            ToClient::Notice(notice) => self.notice(&notice),
            // Answers that were not there stay in the queue, and closing is not queued.
            ToClient::Later { .. } | ToClient::Close(_) => {}
        }
        if self.calls.collecting().is_none() {
            self.held = 0;
        }
        true
    }

    fn node_answered(&mut self, number: u64, mut result: Result<Answer, Refused>) {
        let Some(call) = self.calls.leave(number) else {
            error!(number, "the node answered a call that does not wait");
            return;
        };
        if call.opens {
            self.opened(&mut result);
        }
        if let Ok(Answer::Channels(page)) = &result {
            self.told(page.sync);
        }
        let outcome = match &result {
            Ok(answer) => Outcome::Answer(answer),
            Err(refused) => Outcome::Refused(refused),
        };
        self.answer(&call.target, outcome, true);
    }

    fn opened(&mut self, result: &mut Result<Answer, Refused>) {
        match result {
            Ok(Answer::Opened(opened)) => {
                let limits = &self.shared.limits;
                // What is kept here is said here.
                opened.limits.frame = limits.frame_bytes as u64;
                opened.limits.batch = limits.batch_calls as u64;
                opened.limits.calls_waiting = limits.calls_waiting as u64;
                self.signed = Signed::In;
                let sync = opened.sync;
                self.told(sync);
            }
            Ok(_) => error!("the node answered session.open with something else"),
            Err(refused) => {
                let closes = refused.code == Code::NotSignedIn || refused.reason == "resync";
                if closes || matches!(self.signed, Signed::Opening) {
                    self.signed = Signed::No(Instant::now());
                }
                if refused.code == Code::NotSignedIn {
                    self.token = None;
                    self.bad_tokens += 1;
                    if self.bad_tokens >= self.shared.limits.sign_in_attempts {
                        self.end = Some(End::Close(close::NOT_SIGNED_IN, "bad_token"));
                    }
                }
            }
        }
    }

    fn told(&mut self, sync: SyncPoint) {
        self.sync = match self.sync {
            Some(before) if before.life == sync.life => Some(before.max(sync)),
            Some(_) | None => Some(sync),
        };
    }

    fn answer(&mut self, target: &Target, outcome: Outcome<'_>, by_node: bool) {
        if let Outcome::Refused(refused) = outcome {
            self.shared.metrics.refused(&refused.reason);
        }
        let written = self.calls.answer(&mut self.wire.out, target, outcome, by_node);
        if let Some(instead) = written.instead {
            self.shared.metrics.refused(&instead.reason);
        }
        add(&self.shared.metrics.frames_out, written.frames);
    }

    fn notice(&mut self, notice: &Notice) {
        let sync = match notice {
            Notice::Message { sync, .. }
            | Notice::Receipt { sync, .. }
            | Notice::Presence { sync, .. }
            | Notice::Typing { sync, .. }
            | Notice::Channel { sync, .. } => *sync,
        };
        let out = &mut self.wire.out;
        let mark = frames::begin(out);
        if let Err(error) = encode::notice(out, notice) {
            // The client will see the gap in `pos` and ask; that is answered with an error.
            error!(%error, "a notice cannot be written as JSON");
            out.truncate(mark);
            return;
        }
        frames::finish(out, mark);
        self.told(sync);
        add(&self.shared.metrics.notices, 1);
        add(&self.shared.metrics.frames_out, 1);
    }

    // ---- time

    fn next_deadline(&self) -> Instant {
        let limits = &self.shared.limits;
        let quiet = if self.pinged { limits.silence_ms } else { limits.ping_ms };
        let mut next = self.heard_at + ms(quiet);
        if let Signed::No(since) = self.signed {
            next = next.min(since + ms(limits.sign_in_ms));
        }
        if let Some(since) = self.wire.blocked_since() {
            next = next.min(since + ms(limits.write_idle_ms));
        }
        next
    }

    fn timer_fired(&mut self) {
        let now = Instant::now();
        if !self.may_read() {
            // It may well have said something.
            self.heard_at = now;
        }
        let limits = &self.shared.limits;
        let passed = |since: Instant, limit_ms| now >= since + ms(limit_ms);
        if self.wire.blocked_since().is_some_and(|since| passed(since, limits.write_idle_ms)) {
            self.end = Some(End::Close(close::TOO_SLOW, "too_slow"));
        } else if let Signed::No(since) = self.signed
            && passed(since, limits.sign_in_ms)
        {
            self.end = Some(End::Close(close::NOT_SIGNED_IN, "not_signed_in"));
        } else if passed(self.heard_at, limits.silence_ms) && self.pinged {
            self.end = Some(End::Close(close::TOO_SLOW, "no_sign_of_life"));
        } else if passed(self.heard_at, limits.ping_ms) && !self.pinged {
            self.pinged = true;
            frames::ping(&mut self.wire.out);
        }
    }

    // ---- the end

    /// Closes in order, as far as the client goes along. Answers the close code.
    async fn say_goodbye(self, end: End) -> u16 {
        let Self { shared, session, mut wire, sync, .. } = self;
        // The node needs to keep nothing while we wait for the client.
        match end {
            End::ByClient(_) => session.leave(),
            End::Gone | End::Close(..) | End::Restarting => drop(session),
        }
        let code = match end {
            End::Gone => return close::ABNORMAL,
            End::ByClient(code) => {
                frames::close_frame(&mut wire.out, code, "");
                code.unwrap_or(close::NORMAL)
            }
            End::Close(code, reason) => {
                frames::close_frame(&mut wire.out, Some(code), reason);
                code
            }
            End::Restarting => {
                let retry_after_ms = shared.retry_after_ms();
                let mark = frames::begin(&mut wire.out);
                encode::closing(
                    &mut wire.out,
                    &ClosingNotice { reason: "restarting", retry_after_ms, sync },
                );
                frames::finish(&mut wire.out, mark);
                add(&shared.metrics.frames_out, 1);
                frames::close_frame(&mut wire.out, Some(close::RESTARTING), "restarting");
                close::RESTARTING
            }
        };
        let farewell = async {
            poll_fn(|cx| wire.poll_write(cx, &shared.metrics)).await?;
            poll_fn(|cx| wire.poll_shutdown(cx)).await?;
            // What is left unread would turn the end of the connection into a reset, which can
            // overtake the close frame.
            loop {
                poll_fn(|cx| wire.poll_readable(cx)).await?;
                match wire.discard() {
                    Ok(0) => return Ok::<_, io::Error>(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        match tokio::time::timeout(ms(shared.limits.close_ms), farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(code, %error, "no goodbye"),
            Err(_) => debug!(code, "no goodbye in time"),
        }
        code
    }
}

/// The node dropped the place where an answer should have come.
fn lost() -> Refused {
    warn!("the node dropped an answer");
    Refused::new(Code::Internal, "internal", "a fault of this home")
}
