//! The link in this process: queues between bridge and hub, and what is done before the hub is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::BASE64;
use homing_core::{AccountState, NewAccount, NewDevice};
use homing_link::{
    BoxFuture, ClientInfo, Code, Link, LoggedIn, Login, MediaLink, Refused, Register, Registered,
    Request, Session, WellKnown,
};
use homing_store::Store;
use homing_wire::{Address, AddressError, DeviceId, Local, UserId};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::directory::Directory;
use super::input::Input;
use super::metrics::NodeMetrics;
use super::passwords::Passwords;
use crate::media::Media;
use crate::{password, token};

/// Who may register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Registration {
    /// Anybody.
    Open,
    /// Whoever has an invite.
    Invite,
    /// Nobody; the operator adds users.
    Closed,
}

/// The door to the hub.
pub(super) struct NodeLink {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) input: mpsc::Sender<Input>,
    pub(super) store: Arc<dyn Store>,
    pub(super) directory: Directory,
    pub(super) registration: Registration,
    /// Bytes that may wait for one client.
    pub(super) outbox_bytes: usize,
    pub(super) metrics: Arc<NodeMetrics>,
    /// The home's name, identity (base64) and signed record (base64).
    pub(super) well_known: WellKnown,
    pub(super) ready: Arc<AtomicBool>,
    pub(super) passwords: Arc<Passwords>,
    pub(super) media: Option<Arc<Media>>,
}

/// Characters of a display or device name.
const NAME: usize = 128;

impl NodeLink {
    /// A link to the hub behind those queues.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        input: mpsc::Sender<Input>,
        store: Arc<dyn Store>,
        directory: Directory,
        registration: Registration,
        outbox_bytes: usize,
        passwords: Arc<Passwords>,
        metrics: Arc<NodeMetrics>,
        well_known: WellKnown,
        media: Option<Arc<Media>>,
    ) -> Self {
        Self {
            requests,
            input,
            store,
            directory,
            registration,
            metrics,
            well_known,
            ready: Arc::new(AtomicBool::new(false)),
            outbox_bytes,
            passwords,
            media,
        }
    }

    /// Hands something to the hub and waits for its reply.
    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.input.send(input(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    fn local(&self, user: &str) -> Result<Local, AddressError> {
        if !user.contains('@') {
            return user.parse();
        }
        let address: Address = user.parse()?;
        match self.directory.resolve(&address) {
            Some(who) if who.home == self.directory.own() => Ok(who.local),
            Some(_) | None => Err(AddressError::Home),
        }
    }

    async fn register_new(&self, register: Register) -> Result<Registered, Refused> {
        if self.registration == Registration::Closed {
            return Err(Refused::new(
                Code::NotAllowed,
                "registration_closed",
                "this home's operator adds users",
            ));
        }
        let local = register.user.parse::<Local>().map_err(|error| {
            Refused::new(Code::InvalidParams, "invalid_user", error.to_string())
        })?;
        password::check(&register.password).map_err(|error| {
            Refused::new(Code::InvalidParams, error.reason(), error.to_string())
        })?;
        let invite = match (self.registration, register.invite) {
            (Registration::Invite, None) => return Err(bad_invite()),
            (_, Some(code)) => Some(token::invite_hash(&code)),
            (_, None) => None,
        };
        let display_name = clean_name(register.display_name.as_deref(), local.as_str());
        // Looked at before the hashing, so that a taken name costs no core; the hub decides.
        let taken = self.store.account(&local).map_err(|_| stopping())?.is_some();
        if taken {
            return Err(Refused::new(
                Code::Conflict,
                "user_exists",
                "this name is, or was, somebody else's",
            ));
        }
        if let Some(code) = invite
            && self.store.invite(code).map_err(|_| stopping())?.is_none()
        {
            return Err(bad_invite());
        }
        let secret = register.password;
        let password =
            self.passwords.run(move || password::hash(&secret)).await?.map_err(|error| {
                Refused::new(Code::Internal, error.reason(), "the password could not be hashed")
            })?;
        let new = Box::new(NewAccount {
            local,
            user_id: UserId(Uuid::now_v7()),
            display_name,
            password,
            invite,
        });
        self.ask(|reply| Input::Register { new, reply }).await?
    }

    async fn log_in(&self, login: Login) -> Result<LoggedIn, Refused> {
        let name = login.user.to_ascii_lowercase();
        self.passwords.check_failures(&name, login.from)?;
        let local = self.local(&login.user).ok();
        let account = match &local {
            Some(local) => self.store.account(local).map_err(|_| stopping())?,
            None => None,
        };
        let known = account.as_ref().filter(|a| a.state != AccountState::Deleted);
        let hash = known.map(|a| a.password.clone());
        let secret = login.password;
        // An unknown user costs the same: the answer's time tells nothing.
        let right = self.passwords.run(move || password::verify(&secret, hash.as_deref())).await?;
        let (true, Some(local), Some(account)) = (right, local, account) else {
            self.passwords.note_failure(&name, login.from);
            self.metrics.login_failures.fetch_add(1, Ordering::Relaxed);
            return Err(bad_credentials());
        };
        if account.state != AccountState::Active {
            return Err(Refused::new(
                Code::NotAllowed,
                "user_disabled",
                "this account is shut: ask its home's operator",
            ));
        }
        let token = token::new_token()
            .map_err(|error| Refused::new(Code::Internal, error.reason(), error.to_string()))?;
        let new = Box::new(NewDevice {
            user: local,
            id: DeviceId(Uuid::now_v7()),
            token: token::token_hash(&token),
            name: clean_name(login.device_name.as_deref(), "device"),
            checked: account.password,
        });
        let logged_in = self.ask(|reply| Input::Login { new, token, reply }).await?;
        let logged_in = logged_in.map_err(|refused| match &*refused.reason {
            // It was changed while it was checked.
            "bad_credentials" => bad_credentials(),
            _ => refused,
        })?;
        self.metrics.logins.fetch_add(1, Ordering::Relaxed);
        Ok(logged_in)
    }
}

impl Link for NodeLink {
    fn connect(&self, client: ClientInfo) -> BoxFuture<'_, Result<Session, Refused>> {
        Box::pin(async move {
            let (sender, outbox) = homing_link::outbox(self.outbox_bytes);
            let number = self.ask(|reply| Input::Connect { client, outbox: sender, reply }).await?;
            Ok(Session::new(number, self.requests.clone(), outbox))
        })
    }

    fn register(&self, register: Register) -> BoxFuture<'_, Result<Registered, Refused>> {
        Box::pin(self.register_new(register))
    }

    fn login(&self, login: Login) -> BoxFuture<'_, Result<LoggedIn, Refused>> {
        Box::pin(self.log_in(login))
    }

    fn logout(&self, token: String) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async move {
            let token = token::token_hash(&token);
            self.ask(|reply| Input::Logout { token, reply }).await?
        })
    }

    fn well_known(&self) -> BoxFuture<'_, Result<WellKnown, Refused>> {
        Box::pin(std::future::ready(Ok(self.well_known.clone())))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), Refused>> {
        let ready = self.ready.load(Ordering::Relaxed) && !self.input.is_closed();
        let result = if !ready {
            Err(stopping())
        } else if self.store.disk_low() {
            Err(Refused::new(Code::Busy, "disk_full", "the disk is nearly full"))
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }

    fn media(&self) -> Option<&dyn MediaLink> {
        self.media.as_deref().map(|media| media as &dyn MediaLink)
    }
}

/// A home as `/.well-known/homing` shows it.
pub(super) fn well_known(name: &str, identity: &[u8; 32], record: &[u8]) -> WellKnown {
    WellKnown {
        home: name.to_owned(),
        identity: BASE64.encode(identity),
        record: BASE64.encode(record),
    }
}

/// A name for people: no control characters, not endless.
fn clean_name(name: Option<&str>, otherwise: &str) -> String {
    let clean: String =
        name.unwrap_or_default().chars().filter(|c| !c.is_control()).take(NAME).collect();
    let clean = clean.trim();
    if clean.is_empty() { otherwise.to_owned() } else { clean.to_owned() }
}

pub(crate) fn stopping() -> Refused {
    Refused::new(Code::Busy, "stopping", "the node is starting or stopping")
        .with_retry_after_ms(1_000)
}

fn bad_credentials() -> Refused {
    Refused::new(Code::NotSignedIn, "bad_credentials", "user or password is wrong")
}

fn bad_invite() -> Refused {
    Refused::new(Code::NotAllowed, "bad_invite", "this invite is unknown, used up or expired")
}
