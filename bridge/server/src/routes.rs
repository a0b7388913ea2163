//! What is asked over HTTP, and by whom it is answered.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt as _};
use homing_link::{ClientInfo, Code, Login, Refused, Register};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use serde_json::error::Category;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::filters::path::Tail;
use warp::reject::{Reject, Rejection};
use warp::reply::Response;

use crate::api::{HttpBody, LoginBody, RegisterBody, Status, WellKnownAnswer};
use crate::bridge::Shared;
use crate::http_answer::{
    allow_any_origin, content, empty, error, expose_media, json, preflight, refused, wrong_method,
};
use crate::limits::ms;
use crate::media;
use crate::upgrade::{Accepted, Peer, bearer, handshake};

/// A body that is too large is still read up to so many times the limit, so that the client has
/// written all of it and reads the answer.
const TOO_LARGE_READ: usize = 16;

const WELCOME: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Homing</title>\n\
<h1>Homing</h1>\n\
<p>This is a messaging home. Clients connect to the WebSocket <code>/v1/ws</code>.</p>\n\
<ul>\n\
<li><a href=\"/v1/openrpc.json\">/v1/openrpc.json</a>: the methods of the WebSocket</li>\n\
<li><a href=\"/v1/openapi.json\">/v1/openapi.json</a>: the calls over HTTP</li>\n\
<li><a href=\"/.well-known/homing\">/.well-known/homing</a>: who this home is</li>\n\
</ul>\n</html>\n";

/// The routes, ready to be given a connection.
#[derive(Clone)]
pub(crate) struct Service {
    shared: Arc<Shared>,
    routes: BoxedFilter<(Response,)>,
}

/// Everything that is asked here.
pub(crate) fn service(shared: Arc<Shared>) -> Service {
    let routes = accounts(&shared)
        .or(documents(&shared))
        .unify()
        .or(health(&shared))
        .unify()
        .or(websocket(&shared))
        .unify()
        .or(files(&shared))
        .unify()
        .recover(rejected)
        .unify()
        .boxed();
    Service { shared, routes }
}

impl Service {
    /// The service of one connection.
    pub(crate) fn of(
        self,
        peer: Peer,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = Response,
        Error = Infallible,
        Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>,
    > + Unpin {
        let Self { shared, routes } = self;
        let routes = TowerToHyperService::new(warp::service(routes));
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let path = request.uri().path();
            let public = path.starts_with("/v1/") || path == "/.well-known/homing";
            let may_i = public && request.method() == Method::OPTIONS;
            let media = media::is_media(path);
            request.extensions_mut().insert(peer.clone());
            let answer = (!may_i).then(|| hyper::service::Service::call(&routes, request));
            let shared = shared.clone();
            Box::pin(async move {
                let mut response = match answer {
                    Some(answer) => answer.await?,
                    None if media => media::options(&shared),
                    None => preflight(),
                };
                if public {
                    allow_any_origin(&mut response);
                }
                if media {
                    expose_media(&mut response);
                }
                shared.metrics.http_answered(response.status().as_u16());
                Ok(response)
            }) as Pin<Box<dyn Future<Output = _> + Send>>
        })
    }
}

/// `POST /v1/register`, `/v1/login`, `/v1/logout`
fn accounts(shared: &Arc<Shared>) -> BoxedFilter<(Response,)> {
    let register = at(&["v1", "register"], "POST")
        .and(with(shared))
        .and(warp::ext::get::<Peer>())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|shared: Arc<Shared>, peer: Peer, headers, body| async move {
            let asked: RegisterBody = match read_json(&shared, &headers, body).await {
                Ok(asked) => asked,
                Err(response) => return *response,
            };
            let RegisterBody { user, password, invite, display_name } = asked;
            let from = peer.address.ip().to_canonical();
            let register = Register { user, password, invite, display_name, from };
            answered(&shared, StatusCode::CREATED, shared.link.register(register).await)
        });
    let login = at(&["v1", "login"], "POST")
        .and(with(shared))
        .and(warp::ext::get::<Peer>())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|shared: Arc<Shared>, peer: Peer, headers, body| async move {
            let asked: LoginBody = match read_json(&shared, &headers, body).await {
                Ok(asked) => asked,
                Err(response) => return *response,
            };
            let LoginBody { user, password, device_name } = asked;
            let from = peer.address.ip().to_canonical();
            let login = Login { user, password, device_name, from };
            answered(&shared, StatusCode::OK, shared.link.login(login).await)
        });
    let logout = at(&["v1", "logout"], "POST")
        .and(with(shared))
        .and(warp::header::headers_cloned())
        .then(|shared: Arc<Shared>, headers: HeaderMap| async move {
            let Some(token) = bearer(&headers) else {
                return answered::<()>(&shared, StatusCode::OK, Err(no_token()));
            };
            match shared.link.logout(token.to_owned()).await {
                Ok(()) => empty(StatusCode::NO_CONTENT),
                Err(refused) => answered::<()>(&shared, StatusCode::OK, Err(refused)),
            }
        });
    register.or(login).unify().or(logout).unify().boxed()
}

fn no_token() -> Refused {
    Refused::new(Code::NotSignedIn, "bad_token", "Authorization: Bearer is missing")
}

/// What is the same for everybody.
fn documents(shared: &Arc<Shared>) -> BoxedFilter<(Response,)> {
    let fixed = |media_type, body: Bytes| {
        warp::any().map(move || content(StatusCode::OK, media_type, body.clone()))
    };
    let openrpc = at(&["v1", "openrpc.json"], "GET, HEAD")
        .and(fixed("application/json", shared.openrpc.clone()));
    let openapi = at(&["v1", "openapi.json"], "GET, HEAD")
        .and(fixed("application/json", shared.openapi.clone()));
    let welcome = at(&[], "GET, HEAD")
        .and(fixed("text/html; charset=utf-8", Bytes::from_static(WELCOME.as_bytes())));
    let well_known = at(&[".well-known", "homing"], "GET, HEAD").and(with(shared)).then(
        |shared: Arc<Shared>| async move {
            let known = shared
                .link
                .well_known()
                .await
                .map(|home| WellKnownAnswer { home, client: shared.client_url.clone() });
            answered(&shared, StatusCode::OK, known)
        },
    );
    openrpc.or(openapi).unify().or(welcome).unify().or(well_known).unify().boxed()
}

/// `GET /healthz`, `/readyz`
fn health(shared: &Arc<Shared>) -> BoxedFilter<(Response,)> {
    let alive = at(&["healthz"], "GET, HEAD")
        .map(|| json(StatusCode::OK, &Status { status: "ok".to_owned() }));
    let ready =
        at(&["readyz"], "GET, HEAD").and(with(shared)).then(|shared: Arc<Shared>| async move {
            if shared.stop.is_cancelled() {
                let status = Status { status: "stopping".to_owned() };
                return json(StatusCode::SERVICE_UNAVAILABLE, &status);
            }
            match shared.link.ready().await {
                Ok(()) => json(StatusCode::OK, &Status { status: "ready".to_owned() }),
                Err(refused) => {
                    let status = Status { status: refused.reason.into_owned() };
                    json(StatusCode::SERVICE_UNAVAILABLE, &status)
                }
            }
        });
    alive.or(ready).unify().boxed()
}

/// `GET /v1/ws`. `Origin` does not matter: a page has nothing here but the token it was given.
fn websocket(shared: &Arc<Shared>) -> BoxedFilter<(Response,)> {
    at(&["v1", "ws"], "GET")
        .and(with(shared))
        .and(warp::ext::get::<Peer>())
        .and(warp::header::headers_cloned())
        .then(|shared: Arc<Shared>, peer: Peer, headers: HeaderMap| async move {
            let response = match handshake(&headers) {
                Ok(response) => response,
                Err(response) => return *response,
            };
            let client = ClientInfo { from: peer.address.ip().to_canonical() };
            match shared.link.connect(client).await {
                Ok(session) => {
                    let token = bearer(&headers).map(str::to_owned);
                    peer.accept(Accepted { session, token });
                    response
                }
                Err(refused) => answered::<()>(&shared, StatusCode::OK, Err(refused)),
            }
        })
        .boxed()
}

/// `/v1/media` and what is below.
fn files(shared: &Arc<Shared>) -> BoxedFilter<(Response,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::path("v1")
        .and(warp::path("media"))
        .and(warp::path::tail())
        .and(with(shared))
        .and(warp::ext::get::<Peer>())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::body::stream())
        .then(
            |rest: Tail, shared: Arc<Shared>, peer: Peer, method, headers, query, body| async move {
                let body = media::body_of(body);
                let asked = media::Asked { shared, peer, method, headers, query, body };
                media::answer(asked, rest.as_str()).await
            },
        )
        .boxed()
}

/// Matches this path, and refuses other methods than these with 405.
fn at(path: &'static [&'static str], allow: &'static str) -> BoxedFilter<()> {
    let mut filter: BoxedFilter<()> = warp::any().boxed();
    for segment in path {
        filter = filter.and(warp::path(*segment)).boxed();
    }
    filter
        .and(warp::path::end())
        .and(warp::method())
        .and_then(move |method: Method| {
            let allowed = allow.split(", ").any(|name| method == name);
            ready(if allowed { Ok(()) } else { Err(warp::reject::custom(WrongMethod(allow))) })
        })
        .untuple_one()
        .boxed()
}

fn with(
    shared: &Arc<Shared>,
) -> impl Filter<Extract = (Arc<Shared>,), Error = Infallible> + Clone + use<> {
    let shared = shared.clone();
    warp::any().map(move || shared.clone())
}

#[derive(Debug)]
struct WrongMethod(&'static str);

impl Reject for WrongMethod {}

fn rejected(rejection: Rejection) -> Ready<Result<Response, Infallible>> {
    ready(Ok(match rejection.find::<WrongMethod>() {
        Some(WrongMethod(allow)) => wrong_method(allow),
        None => error(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address"),
    }))
}

fn answered<T: serde::Serialize>(
    shared: &Shared,
    status: StatusCode,
    result: Result<T, Refused>,
) -> Response {
    match result {
        Ok(answer) => json(status, &answer),
        Err(why) => {
            shared.metrics.refused(&why.reason);
            refused(&why)
        }
    }
}

/// Reads a JSON body within its limits.
async fn read_json<T: HttpBody>(
    shared: &Shared,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Result<T, Box<Response>> {
    let fail = |status, code: &'static str, message: &str| {
        shared.metrics.refused(code);
        Box::new(error(status, code, message))
    };
    let bad = |code, message: &str| fail(StatusCode::BAD_REQUEST, code, message);
    let read = tokio::time::timeout(
        ms(shared.limits.http_body_ms),
        read_body(shared.limits.http_body_bytes, body),
    );
    let body = match read.await {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => {
            let message = format!("a body has at most {} bytes", shared.limits.http_body_bytes);
            return Err(fail(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message));
        }
        Ok(Err(_)) => return Err(bad("bad_body", "the body could not be read")),
        Err(_) => {
            let message = "the body did not arrive in time";
            return Err(fail(StatusCode::REQUEST_TIMEOUT, "body_timeout", message));
        }
    };
    if !is_json(headers) {
        let message = "the body must be application/json";
        return Err(fail(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    }
    let text = std::str::from_utf8(&body).map_err(|_| bad("bad_json", "the body is not UTF-8"))?;
    // Where it is, not what it is: the text may hold a password.
    let asked: T = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => bad("bad_request", &what_is_wrong(&error)),
        Category::Io | Category::Syntax | Category::Eof => bad("bad_json", "the body is not JSON"),
    })?;
    // serde would take an array of the fields' values as well.
    if !text.trim_start().starts_with('{') {
        return Err(bad("bad_request", "the body must be an object"));
    }
    asked.check().map_err(|message| bad("bad_request", message))?;
    Ok(asked)
}

/// `None` when there is more than the limit.
async fn read_body(
    limit: usize,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Option<Vec<u8>>, warp::Error> {
    let mut body = std::pin::pin!(body);
    let mut read = Vec::new();
    let mut too_much = 0;
    while let Some(piece) = body.next().await {
        let mut piece = piece?;
        if too_much > 0 || read.len() + piece.remaining() > limit {
            read = Vec::new();
            too_much += piece.remaining();
            if too_much > limit * TOO_LARGE_READ {
                return Ok(None);
            }
            continue;
        }
        while piece.has_remaining() {
            let chunk = piece.chunk();
            read.extend_from_slice(chunk);
            let len = chunk.len();
            piece.advance(len);
        }
    }
    Ok((too_much == 0).then_some(read))
}

fn is_json(headers: &HeaderMap) -> bool {
    let plain = headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    let Some(Ok(media_type)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let essence = media_type.split(';').next().unwrap_or_default();
    plain && essence.trim().eq_ignore_ascii_case("application/json")
}

/// serde's sentence as far as it names fields; values stay out of it.
fn what_is_wrong(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("missing field") || text.starts_with("duplicate field") {
        text
    } else {
        format!(
            "a field is not what it must be, at line {} column {}",
            error.line(),
            error.column()
        )
    }
}
