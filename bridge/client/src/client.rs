//! The handle: calls with answers, events.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::connection::{AnswerTo, Connection, Outgoing};
use crate::error::Error;
use crate::server::Server;
use crate::types::{
    Channel, ChannelsPage, Message, MessageRef, MessagesPage, Opened, Receipts, Sent, Target,
    TextBody, User, UserList, UserUpdate, UsersPage,
};
use crate::wire::{Event, RawAnswer, Ticket, encode_call};

/// Calls that wait for the connection's task: as many as a home reads at once from one socket, so that a caller
/// is slowed where the home is.
const CALLS_QUEUED: usize = 128;

/// Events that wait for the program: one page of the busiest chat a few times over. Past it the connection is
/// taken anew by `since` when there is room again, so nothing is missed and nothing grows.
pub(crate) const EVENTS_QUEUED: usize = 1024;

/// The contract's limit of a frame from a client: past it the home closes the socket.
const LARGEST_CALL_BYTES: usize = 256 << 10;

/// Room for the id that completes a call.
const ID_BYTES: usize = 24;

/// How to connect.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where.
    pub server: Server,
    /// The bearer token of a login.
    pub token: String,
    /// A stored `sync`, to be told what changed after it.
    pub since: Option<Arc<str>>,
    /// The store's life that `since` belongs to.
    pub life: Option<String>,
    /// How long to go on trying after the connection is lost; `None`: for ever.
    pub give_up_after: Option<Duration>,
    /// Come back after a loss at all. Without it every waiting call fails with the loss.
    pub reconnect: bool,
    /// Between two WebSocket pings. The home counts a user online for 30 s after the last sign: two pings may be lost.
    pub ping_every: Duration,
}

impl Options {
    /// The usual: reconnecting for ever, a ping each 12 s.
    pub fn new(server: Server, token: impl Into<String>) -> Self {
        Self {
            server,
            token: token.into(),
            since: None,
            life: None,
            give_up_after: None,
            reconnect: true,
            ping_every: Duration::from_secs(12),
        }
    }
}

/// A signed-in session. Cheap to clone; when the last clone is gone the waiting calls are finished and the socket
/// is closed in order.
///
/// Calls are sent in the order in which [`Client::submit`] (or a shorthand) was first polled to its end, and after
/// a loss again in that order and with the same bytes: whatever changes something must therefore carry an `id` or
/// `op`, which the shorthands see to.
#[derive(Clone)]
pub struct Client {
    calls: mpsc::Sender<Outgoing>,
    ended: Arc<OnceLock<Error>>,
    opened: Arc<Opened>,
    tickets: Arc<AtomicU64>,
}

/// What the home says. Dropping it is fine: notifications are then thrown away.
pub struct Events {
    queue: mpsc::Receiver<Event>,
    ended: Arc<OnceLock<Error>>,
    over: bool,
}

/// An answer on its way.
#[must_use = "the answer comes when this is awaited"]
pub struct Answer<R> {
    waiting: oneshot::Receiver<Result<RawAnswer, Error>>,
    ended: Arc<OnceLock<Error>>,
    kind: PhantomData<fn() -> R>,
}

impl Client {
    /// Connects and signs in. Fails where the home cannot be reached or refuses the token; waits where it asks to.
    pub async fn connect(options: Options) -> Result<(Self, Events), Error> {
        let (calls, calls_in) = mpsc::channel(CALLS_QUEUED);
        let (events, queue) = mpsc::channel(EVENTS_QUEUED);
        let ended = Arc::new(OnceLock::new());
        let (connection, socket, opened) =
            Connection::open(options, calls_in, events, Arc::clone(&ended)).await?;
        tokio::spawn(connection.run(socket));
        let client = Self {
            calls,
            ended: Arc::clone(&ended),
            opened: Arc::new(opened),
            tickets: Arc::default(),
        };
        Ok((client, Events { queue, ended, over: false }))
    }

    /// The answer of the first `session.open`: who this is, and what changed after `since`.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Sends a call and returns as soon as it is queued; the answer is awaited apart. So any number can be in flight.
    ///
    /// A call that changes something must carry `id` or `op`: it is sent again after a loss.
    pub async fn submit<P, R>(&self, method: &str, params: &P) -> Result<Answer<R>, Error>
    where
        P: Serialize + ?Sized,
    {
        let text = call_text(method, params)?;
        let (answer, waiting) = oneshot::channel();
        let answer = AnswerTo::Asker(answer);
        self.calls.send(Outgoing::Call { text, answer }).await.map_err(|_| over(&self.ended))?;
        Ok(Answer { waiting, ended: Arc::clone(&self.ended), kind: PhantomData })
    }

    /// Sends a call whose answer comes among the events, as [`Event::Answered`]: where the home put it between what it
    /// tells. Whoever keeps what the home shows needs that order, for an answer knows nothing of what is told after
    /// it. Never waits: where [`Error::Unsendable`] says that too many calls wait, nothing was sent. After
    /// [`Event::Ended`] no answer comes.
    ///
    /// What was said of [`Client::submit`] holds here, too; and where the events are not taken for long, a call may be
    /// sent again although it was answered.
    pub fn ask<P>(&self, method: &str, params: &P) -> Result<Ticket, Error>
    where
        P: Serialize + ?Sized,
    {
        let text = call_text(method, params)?;
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let call = Outgoing::Call { text, answer: AnswerTo::Events(ticket) };
        match self.calls.try_send(call) {
            Ok(()) => Ok(ticket),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(Error::Unsendable("too many calls wait for their answers".to_owned()))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(over(&self.ended)),
        }
    }

    /// Sends a call and waits for its answer.
    pub async fn call<P, R>(&self, method: &str, params: &P) -> Result<R, Error>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        self.submit(method, params).await?.await
    }

    /// Queues a message and returns its answer on the way. The answer means: on disk.
    pub async fn submit_message<B>(
        &self,
        target: Target<'_>,
        id: Uuid,
        body: &B,
    ) -> Result<Answer<Sent>, Error>
    where
        B: Serialize + ?Sized,
    {
        let (channel, to) = match target {
            Target::Channel(channel) => (Some(channel), None),
            Target::To(address) => (None, Some(address)),
        };
        self.submit("messages.send", &SendParams { channel, to, id, body }).await
    }

    /// Sends a message under an id of the caller's: the same id and body again is the same message.
    pub async fn send<B>(&self, target: Target<'_>, id: Uuid, body: &B) -> Result<Sent, Error>
    where
        B: Serialize + ?Sized,
    {
        self.submit_message(target, id, body).await?.await
    }

    /// Sends a new message to the chat with an address, made if new.
    pub async fn send_to<B>(&self, to: &str, body: &B) -> Result<Sent, Error>
    where
        B: Serialize + ?Sized,
    {
        self.send(Target::To(to), crate::new_message_id(), body).await
    }

    /// One page of the user's channels, the latest first.
    pub async fn channels(&self, cursor: Option<&str>) -> Result<ChannelsPage, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            cursor: Option<&'a str>,
            limit: u32,
        }
        self.call("channels.list", &Params { cursor, limit: 100 }).await
    }

    /// All of the user's channels, the latest first.
    pub async fn all_channels(&self) -> Result<Vec<Channel>, Error> {
        let mut page = self.channels(None).await?;
        let mut all = page.channels;
        while let Some(cursor) = page.cursor {
            page = self.channels(Some(&cursor)).await?;
            all.append(&mut page.channels);
        }
        Ok(all)
    }

    /// One channel.
    pub async fn channel(&self, channel: Uuid) -> Result<Channel, Error> {
        self.call("channels.get", &OfChannel { channel }).await
    }

    /// The chat with an address, made if new.
    pub async fn open_chat(&self, with: &str) -> Result<Channel, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            with: &'a str,
        }
        self.call("channels.open", &Params { with }).await
    }

    /// Messages above a `pos`, ascending.
    pub async fn messages_after(
        &self,
        channel: Uuid,
        after: u64,
        limit: u32,
    ) -> Result<MessagesPage, Error> {
        self.list(&ListParams { after: Some(after), ..ListParams::of(channel, limit) }).await
    }

    /// Messages above an `order`, ascending.
    pub async fn messages_after_order(
        &self,
        channel: Uuid,
        after: &str,
        limit: u32,
    ) -> Result<MessagesPage, Error> {
        self.list(&ListParams { after_order: Some(after), ..ListParams::of(channel, limit) }).await
    }

    /// Messages below a `pos` (or the latest), ascending.
    pub async fn messages_before(
        &self,
        channel: Uuid,
        before: Option<u64>,
        limit: u32,
    ) -> Result<MessagesPage, Error> {
        self.list(&ListParams { before, ..ListParams::of(channel, limit) }).await
    }

    async fn list(&self, params: &ListParams<'_>) -> Result<MessagesPage, Error> {
        self.call("messages.list", params).await
    }

    /// One message.
    pub async fn message(
        &self,
        channel: Uuid,
        id: Uuid,
        sender: Option<&str>,
    ) -> Result<Message, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            channel: Uuid,
            id: Uuid,
            #[serde(skip_serializing_if = "Option::is_none")]
            sender: Option<&'a str>,
        }
        self.call("messages.get", &Params { channel, id, sender }).await
    }

    /// Replaces the words of one of the user's own messages.
    pub async fn edit(&self, channel: Uuid, of: &MessageRef, text: &str) -> Result<Sent, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: &'static str,
            of: &'a MessageRef,
            body: TextBody<'a>,
        }
        let body = Body { r#type: "edit", of, body: TextBody::new(text) };
        self.send(Target::Channel(channel), crate::new_message_id(), &body).await
    }

    /// Deletes a message for everybody and for good: one's own, or an admin any of a group.
    pub async fn delete(&self, channel: Uuid, of: &MessageRef) -> Result<Sent, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: &'static str,
            of: &'a MessageRef,
        }
        let body = Body { r#type: "delete", of };
        self.send(Target::Channel(channel), crate::new_message_id(), &body).await
    }

    /// Reacts to a message with an emoji, or takes that back.
    pub async fn react(
        &self,
        channel: Uuid,
        of: &MessageRef,
        emoji: &str,
        on: bool,
    ) -> Result<Sent, Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: &'static str,
            of: &'a MessageRef,
            emoji: &'a str,
            on: bool,
        }
        let body = Body { r#type: "reaction", of, emoji, on };
        self.send(Target::Channel(channel), crate::new_message_id(), &body).await
    }

    /// Hides a message from this user alone.
    pub async fn hide(&self, channel: Uuid, of: &MessageRef) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            channel: Uuid,
            #[serde(flatten)]
            of: &'a MessageRef,
        }
        let _empty: Done = self.call("messages.hide", &Params { channel, of }).await?;
        Ok(())
    }

    /// Everything at or below `pos` has reached this device.
    pub async fn mark_delivered(&self, channel: Uuid, pos: u64) -> Result<(), Error> {
        let _empty: Done = self.call("receipts.delivered", &UpTo { channel, pos }).await?;
        Ok(())
    }

    /// Everything at or below `pos` was read.
    pub async fn mark_read(&self, channel: Uuid, pos: u64) -> Result<(), Error> {
        let _empty: Done = self.call("receipts.read", &UpTo { channel, pos }).await?;
        Ok(())
    }

    /// Who has received and read one of one's own home's messages.
    pub async fn receipts(&self, channel: Uuid, id: Uuid) -> Result<Receipts, Error> {
        #[derive(Serialize)]
        struct Params {
            channel: Uuid,
            id: Uuid,
        }
        self.call("receipts.get", &Params { channel, id }).await
    }

    /// Who somebody is, here or at another home.
    pub async fn user(&self, address: &str) -> Result<User, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            address: &'a str,
        }
        self.call("users.get", &Params { address }).await
    }

    /// Changes what the user says of himself; answers what is said then.
    pub async fn update_user(&self, update: &UserUpdate) -> Result<User, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(flatten)]
            update: &'a UserUpdate,
            op: Uuid,
        }
        self.call("users.update", &Params { update, op: Uuid::now_v7() }).await
    }

    /// One page of one of the user's lists of others.
    pub async fn users_in(
        &self,
        list: UserList,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<UsersPage, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            cursor: Option<&'a str>,
            limit: u32,
        }
        self.call(&list.method("list"), &Params { cursor, limit }).await
    }

    /// Everybody in one of the user's lists of others.
    pub async fn all_users_in(&self, list: UserList) -> Result<Vec<String>, Error> {
        let mut page = self.users_in(list, None, 1_000).await?;
        let mut all = page.users;
        while let Some(cursor) = page.cursor {
            page = self.users_in(list, Some(&cursor), 1_000).await?;
            all.append(&mut page.users);
        }
        Ok(all)
    }

    /// Adds somebody to one of the user's lists; twice is once.
    pub async fn add_to(&self, list: UserList, user: &str) -> Result<(), Error> {
        self.change_list(&list.method("add"), user).await
    }

    /// Removes somebody from one of the user's lists, if there.
    pub async fn remove_from(&self, list: UserList, user: &str) -> Result<(), Error> {
        self.change_list(&list.method("remove"), user).await
    }

    async fn change_list(&self, method: &str, user: &str) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            user: &'a str,
            op: Uuid,
        }
        let _empty: Done = self.call(method, &Params { user, op: Uuid::now_v7() }).await?;
        Ok(())
    }

    /// Deletes the account for good. The home closes all its sockets then.
    pub async fn delete_account(&self, password: &str) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            password: &'a str,
        }
        let _empty: Done = self.call("account.delete", &Params { password }).await?;
        Ok(())
    }

    /// Finishes the waiting calls, closes the socket in order and waits for that, five seconds at most.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.calls.send(Outgoing::Close { done }).await.is_ok() {
            // An error means that the connection's task has ended: closed it is.
            let _closed_either_way = closed.await;
        }
    }
}

impl Events {
    /// The next event; `None` after [`Event::Ended`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        match self.queue.recv().await {
            Some(event) => Some(event),
            None => {
                self.over = true;
                Some(Event::Ended(over(&self.ended)))
            }
        }
    }

    /// The next event if one is here.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.try_recv().ok()
    }
}

impl<R: DeserializeOwned> Future for Answer<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.waiting).poll(cx).map(|came| match came {
            Ok(answer) => answer?.read(),
            Err(_gone) => Err(over(&self.ended)),
        })
    }
}

/// A call without its id, of a size that a home reads.
fn call_text<P: Serialize + ?Sized>(method: &str, params: &P) -> Result<String, Error> {
    let text = encode_call(method, params)?;
    if text.len() + ID_BYTES > LARGEST_CALL_BYTES {
        let bytes = text.len();
        return Err(Error::Unsendable(format!("{bytes} bytes, the limit is {LARGEST_CALL_BYTES}")));
    }
    Ok(text)
}

fn over(ended: &OnceLock<Error>) -> Error {
    ended.get().cloned().unwrap_or(Error::Stopped)
}

#[derive(Serialize)]
struct SendParams<'a, B: Serialize + ?Sized> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    id: Uuid,
    body: &'a B,
}

#[derive(Serialize)]
struct ListParams<'a> {
    channel: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_order: Option<&'a str>,
    limit: u32,
}

impl ListParams<'_> {
    fn of(channel: Uuid, limit: u32) -> Self {
        Self { channel, before: None, after: None, after_order: None, limit }
    }
}

#[derive(Serialize)]
struct OfChannel {
    channel: Uuid,
}

#[derive(Serialize)]
struct UpTo {
    channel: Uuid,
    pos: u64,
}

/// `{}`, and whatever a later home adds.
#[derive(Deserialize)]
struct Done {}
