//! Files over HTTP: uploads as tus 1.0.0 has them (<https://tus.io/protocols/resumable-upload>), downloads with ranges.
//!
//! Nothing of a file is kept here. Who may do what, and what there is, is decided behind [`homing_link::MediaLink`].

use std::io;
use std::sync::Arc;

use bytes::Buf;
use futures::{Stream, StreamExt as _};
use homing_link::{Code, Refused};
use http::header::{CONNECTION, EXPECT, HeaderMap};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use uuid::Uuid;
use warp::reply::Response;

use crate::bridge::Shared;
use crate::http_answer::{
    allow_media, empty, error, preflight, refused_with, set, status_of, wrong_method,
};
use crate::limits::ms;
use crate::upgrade::Peer;

mod body;
mod download;
mod flow;
mod names;
mod ranges;
mod tus;

use self::body::Upload;
pub(crate) use self::flow::{Flow, Transfers};

/// Below here are files.
const ROOT: &str = "/v1/media";

/// tus clients on networks that know GET and POST alone say here what they mean.
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// Whoever meets `transfers` is told to wait so long: a picture is through by then.
const TRANSFERS_RETRY_MS: u64 = 2_000;

/// What is asked.
pub(crate) struct Asked {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: Peer,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: String,
    pub(crate) body: Upload,
}

/// A request's body, as it comes.
pub(crate) fn body_of(
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + 'static,
) -> Upload {
    let bytes = body.map(|piece| {
        let mut piece = piece.map_err(io::Error::other)?;
        Ok(piece.copy_to_bytes(piece.remaining()))
    });
    Upload::new(bytes.boxed())
}

/// Whether this path is one of files.
pub(crate) fn is_media(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `OPTIONS`: what tus can do here, and what pages of other origins may ask.
pub(crate) fn options(shared: &Shared) -> Response {
    let mut response = preflight();
    allow_media(&mut response);
    if let Some(media) = shared.link.media() {
        tus::describe(&mut response, media.upload_bytes());
    }
    response
}

/// `/v1/media` and what is below, by the path after it.
pub(crate) async fn answer(asked: Asked, rest: &str) -> Response {
    let shared = asked.shared.clone();
    let flow = asked.peer.flow.clone();
    let upload = asked.body.clone();
    let expects = asked.headers.contains_key(EXPECT);
    let mut response = answered(asked, rest).await;
    settle(&shared, &flow, upload, expects, &mut response).await;
    response
}

async fn answered(mut asked: Asked, rest: &str) -> Response {
    let parts: Vec<&str> = rest.split('/').collect();
    let answer = match *parts.as_slice() {
        [""] => tus::resumable(match asked.method {
            Method::POST => tus::create(asked).await,
            _ => Err(wrong_method("OPTIONS, POST").into()),
        }),
        [id] => {
            let meant = asked.headers.get(METHOD_OVERRIDE).filter(|_| asked.method == Method::POST);
            if let Some(Ok(method)) = meant.map(|name| Method::from_bytes(name.as_bytes())) {
                asked.method = method;
            }
            tus::resumable(tus::go_on(asked, file_id(id)).await)
        }
        [home, id] => match asked.method {
            Method::GET | Method::HEAD => download::answer(asked, home, id).await,
            _ => Err(wrong_method("OPTIONS, GET, HEAD").into()),
        },
        _ => {
            let message = "there is nothing at this address";
            Err(error(StatusCode::NOT_FOUND, "not_found", message).into())
        }
    };
    answer.unwrap_or_else(|response| *response)
}

/// Where an answer comes before the body has ended: reads a little more, so that the connection can go on, or else has it closed in a
/// way that lets the client read the answer.
async fn settle(
    shared: &Shared,
    flow: &Flow,
    mut upload: Upload,
    expects_continue: bool,
    response: &mut Response,
) {
    let all = upload.drain(expects_continue, shared.limits.refused_body_bytes);
    let all = tokio::time::timeout(ms(shared.limits.close_ms), all).await.unwrap_or(false);
    if !all {
        flow.leave_unread();
        set(response, CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The name of somebody's file in a path.
fn file_id(text: &str) -> Option<Uuid> {
    text.parse().ok()
}

/// What a node refused about files, as HTTP and tus have it.
fn refused(shared: &Shared, why: &Refused) -> Box<Response> {
    shared.metrics.refused(&why.reason);
    let status = match &*why.reason {
        "upload_expired" => StatusCode::GONE,
        "upload_busy" => StatusCode::LOCKED,
        // tus's own: "Checksum Mismatch".
        "checksum_mismatch" => StatusCode::from_u16(460).expect("within 100 to 999"),
        "offset_conflict" | "upload_finished" => StatusCode::CONFLICT,
        "upload_too_large" | "user_quota" | "home_quota" => StatusCode::PAYLOAD_TOO_LARGE,
        "too_many_uploads" => StatusCode::TOO_MANY_REQUESTS,
        "disk_full" => StatusCode::INSUFFICIENT_STORAGE,
        "too_slow" => StatusCode::REQUEST_TIMEOUT,
        "body_lost" => StatusCode::BAD_REQUEST,
        "media_not_found" | "upload_not_found" | "no_thumbnail" => StatusCode::NOT_FOUND,
        _ => status_of(why),
    };
    Box::new(refused_with(status, why))
}

/// What is refused here, before the node is asked.
fn fail(shared: &Shared, status: StatusCode, code: &'static str, message: &str) -> Box<Response> {
    shared.metrics.refused(code);
    Box::new(error(status, code, message))
}

fn bad(shared: &Shared, code: &'static str, message: &str) -> Box<Response> {
    fail(shared, StatusCode::BAD_REQUEST, code, message)
}

fn no_token(shared: &Shared) -> Box<Response> {
    let message = "Authorization: Bearer is missing";
    refused(shared, &Refused::new(Code::NotSignedIn, "bad_token", message))
}

/// A home that keeps no files.
fn no_media(shared: &Shared) -> Box<Response> {
    fail(shared, StatusCode::NOT_FOUND, "media_off", "this home keeps no files")
}

/// Too many files are on their way.
fn too_many(shared: &Shared, limit: &'static str) -> Box<Response> {
    let message = "too many files are on their way";
    let why = Refused::new(Code::Busy, limit, message).with_retry_after_ms(TRANSFERS_RETRY_MS);
    refused(shared, &why)
}

fn put(response: &mut Response, name: &'static str, value: impl Into<HeaderValue>) {
    set(response, HeaderName::from_static(name), value.into());
}

/// A header that is there once and is text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn no_content(status: StatusCode) -> Response {
    empty(status)
}
