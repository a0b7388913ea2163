//! The door between bridge and node, and a client's place in it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use tokio::sync::mpsc;

use crate::call::{Call, Login, Register};
use crate::media::MediaLink;
use crate::outbox::{Outbox, ToClient};
use crate::refused::{Code, Refused};
use crate::view::{LoggedIn, Registered, WellKnown};

/// A future of a [`Link`]'s call.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A session's number at the node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionNo(pub u64);

/// Where a client comes from.
#[derive(Clone, Copy, Debug)]
pub struct ClientInfo {
    /// The client's address, as far as the bridge can tell.
    pub from: IpAddr,
}

/// What a session sends to its node.
#[derive(Debug)]
pub enum Request {
    /// A call, numbered by the bridge.
    Call {
        /// Whose.
        session: SessionNo,
        /// The bridge's number, unique in the session.
        number: u64,
        /// What is asked.
        call: Box<Call>,
    },
    /// The client has said something that is no call: it is there. Every call says that too.
    Alive {
        /// Whose.
        session: SessionNo,
    },
    /// The client has gone.
    Gone {
        /// Whose.
        session: SessionNo,
        /// It said so. Whoever just falls silent may be back in a moment.
        in_order: bool,
    },
}

/// What a bridge may ask of a node outside sessions, and how it gets one.
pub trait Link: Send + Sync + 'static {
    /// A session for a client that has just connected.
    fn connect(&self, client: ClientInfo) -> BoxFuture<'_, Result<Session, Refused>>;
    /// A new account. Reasons: `registration_closed`, `bad_invite`, `user_exists`, `invalid_user`, `weak_password`.
    fn register(&self, register: Register) -> BoxFuture<'_, Result<Registered, Refused>>;
    /// A new device. Reasons: `bad_credentials`, `too_many_attempts` (with `retry_after_ms`), `user_disabled`.
    fn login(&self, login: Login) -> BoxFuture<'_, Result<LoggedIn, Refused>>;
    /// Kills a token and closes its sockets. Reason: `bad_token`.
    fn logout(&self, token: String) -> BoxFuture<'_, Result<(), Refused>>;
    /// The home's own record.
    fn well_known(&self) -> BoxFuture<'_, Result<WellKnown, Refused>>;
    /// Whether the node takes calls; the word says why not.
    fn ready(&self) -> BoxFuture<'_, Result<(), Refused>>;
    /// Its files; `None`: it keeps none.
    fn media(&self) -> Option<&dyn MediaLink>;
}

/// A client's place at a node: the bridge's end.
#[derive(Debug)]
pub struct Session {
    number: SessionNo,
    requests: mpsc::Sender<Request>,
    outbox: Outbox,
    in_order: bool,
}

impl Session {
    /// Made by a [`Link`].
    pub fn new(number: SessionNo, requests: mpsc::Sender<Request>, outbox: Outbox) -> Self {
        Self { number, requests, outbox, in_order: false }
    }

    /// Hands a call over; waits while the node is busy. Calls arrive in the order of these calls.
    pub async fn submit(&self, number: u64, call: Call) -> Result<(), Refused> {
        self.requests
            .send(Request::Call { session: self.number, number, call: Box::new(call) })
            .await
            .map_err(|_| Refused::new(Code::Busy, "stopping", "the node is stopping"))
    }

    /// Says that the client is there. Where the node is too busy to hear it, it will hear the next time.
    pub fn alive(&self) {
        let _heard_next_time = self.requests.try_send(Request::Alive { session: self.number });
    }

    /// Ends the session of a client that has said good-bye.
    pub fn leave(mut self) {
        self.in_order = true;
    }

    /// The next thing for the client; `None` when the node has forgotten the session. Cancel safe.
    pub async fn next(&mut self) -> Option<ToClient> {
        self.outbox.next().await
    }

    /// The next thing if one is here.
    pub fn try_next(&mut self) -> Option<ToClient> {
        self.outbox.try_next()
    }

    /// Says that an item of this [`ToClient::weight_bytes`] has been written to the socket.
    pub fn taken(&self, weight_bytes: usize) {
        self.outbox.taken(weight_bytes);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Full queue: the node notices the closed outbox at its next put or sweep.
        let Self { number: session, in_order, .. } = *self;
        let _noticed_later = self.requests.try_send(Request::Gone { session, in_order });
    }
}
