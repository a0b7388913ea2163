//! The operator's door: an HTTP listener of its own, for the commands of `homing` and for Prometheus.
//!
//! Everything but `/metrics` asks for the token in `DIR/admin.token` and for a `Host` that is a number or
//! `localhost`: a page in the operator's browser can send requests here, but neither knows the token nor
//! can it, with a name that points here (DNS rebinding), pass the check.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_link::BoxFuture;
use homing_store::Store;
use homing_wire::{HomeId, UserRef};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::control::{self, Control, ControlError, ControlReply};
use crate::jobs::Jobs;
use crate::keys::AdminToken;
use crate::media::Media;
use crate::metrics::{CONTENT_TYPE, Metrics};

/// Where a [`Control`] is posted.
pub const CONTROL_PATH: &str = "/v1/control";
/// Names the home that answers, so that a command notices when it talks to another one.
pub const HOME_HEADER: &str = "homing-home";

/// Connections at once: an operator, some scripts and Prometheus. More wait.
const CONNECTIONS: usize = 32;
/// A [`Control`] in JSON: a name and a hash.
const BODY_BYTES: usize = 64 << 10;
/// How long headers may take.
const HEADER: Duration = Duration::from_secs(5);
/// How long a body may take.
const BODY: Duration = Duration::from_secs(5);
/// How long one connection may last: a commit on a disk in trouble, and a reader that takes its time.
const CONNECTION: Duration = Duration::from_secs(60);
/// When accepting is tried again after it failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

type Body = Full<Bytes>;

/// Whoever carries out what operators want: the running node.
pub trait Operate: Send + Sync + 'static {
    /// Decides and commits; the answer comes after the commit.
    fn control(&self, control: Control) -> BoxFuture<'_, Result<ControlReply, ControlError>>;
}

/// What the listener answers from.
pub struct Admin {
    /// The operator's token.
    pub token: AdminToken,
    /// This home.
    pub home: HomeId,
    /// The node.
    pub node: Arc<dyn Operate>,
    /// For exports, with which the node need not be held up.
    pub store: Arc<dyn Store>,
    /// Backups and the like.
    pub jobs: Jobs,
    /// Files.
    pub(crate) media: Option<Arc<Media>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The listener did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (admin.listen): {source}")]
pub struct AdminError {
    /// As configured.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

impl AdminError {
    /// The stable word for logs.
    pub fn reason(&self) -> &'static str {
        "admin_listen"
    }
}

/// Takes the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address).await.map_err(|source| AdminError { address, source })
}

/// Answers until `stop` is cancelled; what is under way then ends by itself.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => return,
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
        };
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of files, mostly: others must end before it gets better.
                    warn!(%error, "the admin listener cannot accept");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            },
        };
        let (admin, stop) = (admin.clone(), stop.clone());
        tokio::spawn(async move {
            if tokio::time::timeout(CONNECTION, connection(stream, admin, stop)).await.is_err() {
                debug!("an admin connection lasted too long");
            }
            drop(slot);
        });
    }
}

async fn connection(stream: TcpStream, admin: Arc<Admin>, stop: CancellationToken) {
    let Ok(local) = stream.local_addr() else { return };
    let service = service_fn(move |request| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(answer(&admin, local.ip(), request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an admin connection ended");
    }
}

async fn answer(admin: &Admin, local: IpAddr, request: Request<Incoming>) -> Response<Body> {
    let mut response = match route(admin, local, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.response(),
    };
    let headers = response.headers_mut();
    if let Ok(home) = HeaderValue::try_from(admin.home.to_string()) {
        headers.insert(HOME_HEADER, home);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn route(
    admin: &Admin,
    local: IpAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpRefusal> {
    let path = request.uri().path().to_owned();
    if path == "/metrics" {
        only(&Method::GET, request.method())?;
        return Ok(with_type(admin.metrics.text().into(), CONTENT_TYPE));
    }
    check_host(request.headers(), local)?;
    check_token(request.headers(), &admin.token)?;
    if path == CONTROL_PATH {
        only(&Method::POST, request.method())?;
        return commanded(admin, request.into_body()).await;
    }
    Err(HttpRefusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"))
}

async fn commanded(admin: &Admin, body: Incoming) -> Result<Response<Body>, HttpRefusal> {
    let read = tokio::time::timeout(BODY, Limited::new(body, BODY_BYTES).collect()).await;
    let bytes = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(HttpRefusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("a body has {BODY_BYTES} bytes at most"),
            ));
        }
        Ok(Err(error)) => {
            return Err(HttpRefusal::new(StatusCode::BAD_REQUEST, "bad_body", error.to_string()));
        }
        Err(_) => {
            return Err(HttpRefusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the body did not arrive in time",
            ));
        }
    };
    let control: Control = serde_json::from_slice(&bytes).map_err(|error| {
        HttpRefusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_command", error.to_string())
    })?;
    let reply = carry_out(admin, control).await.map_err(|error| {
        let status = match &error {
            ControlError::Refused { .. } => StatusCode::CONFLICT,
            ControlError::Fault(_) => StatusCode::INTERNAL_SERVER_ERROR,
            ControlError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        HttpRefusal::new(status, error.reason().to_owned(), error.to_string())
    })?;
    let text = serde_json::to_vec(&reply).map_err(|error| {
        HttpRefusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })?;
    Ok(with_type(text.into(), "application/json"))
}

/// Exports are read here, on a thread that may block; everything else is the node's to decide.
async fn carry_out(admin: &Admin, control: Control) -> Result<ControlReply, ControlError> {
    if Jobs::takes(&control) {
        return admin.jobs.control(control).map(|job| ControlReply::Job { job });
    }
    if let Some(media) = &admin.media {
        if let Control::MediaList { after } = control {
            return media.list(after).await;
        }
        if let Control::MediaPurge { before_ms, cached, dry_run } = control {
            return media.purge(before_ms, cached, dry_run).await;
        }
    }
    let Control::UserExport { user, place } = control else {
        return admin.node.control(control).await;
    };
    let (store, user) = (admin.store.clone(), UserRef::new(admin.home, user));
    tokio::task::spawn_blocking(move || control::export_page(&*store, &user, place))
        .await
        .map_err(|_| ControlError::Stopping)?
}

/// Why a request is refused.
struct HttpRefusal {
    status: StatusCode,
    code: String,
    message: String,
}

impl HttpRefusal {
    fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    fn response(self) -> Response<Body> {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = with_type(body.to_string().into(), "application/json");
        *response.status_mut() = self.status;
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn only(method: &Method, found: &Method) -> Result<(), HttpRefusal> {
    if method == found {
        return Ok(());
    }
    Err(HttpRefusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("this path takes {method}"),
    ))
}

fn check_token(headers: &HeaderMap, token: &AdminToken) -> Result<(), HttpRefusal> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if given.is_some_and(|given| token.is(given)) {
        return Ok(());
    }
    Err(HttpRefusal::new(
        StatusCode::UNAUTHORIZED,
        "bad_token",
        "give the token of admin.token: Authorization: Bearer …",
    ))
}

/// A name that somebody else can point here is refused, except the one that nobody can.
fn check_host(headers: &HeaderMap, local: IpAddr) -> Result<(), HttpRefusal> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let plain = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    let known = plain.eq_ignore_ascii_case("localhost")
        || plain.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == local.to_canonical());
    if known {
        return Ok(());
    }
    Err(HttpRefusal::new(
        StatusCode::FORBIDDEN,
        "bad_host",
        "the Host header must be localhost or the address listened on",
    ))
}

fn with_type(bytes: Bytes, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
