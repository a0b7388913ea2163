//! HTTP answers: JSON, refusals, and what browsers of other origins may see.

use bytes::Bytes;
use homing_link::{Code, Refused};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE,
    HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, StatusCode};
use serde::Serialize;
use warp::reply::Response;

use crate::api::{HttpError, HttpErrorObject};

/// What a call is told to wait where the node did not say.
const RETRY_AFTER_MS: u64 = 1_000;

/// An answer of this type of content.
pub(crate) fn content(status: StatusCode, media_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, HeaderValue::from_static(media_type));
    // Types are said, never guessed.
    set(&mut response, X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A JSON answer. Answers here hold tokens or what may change: nobody on the way keeps them.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("answers are structs of strings and numbers");
    let mut response = content(status, "application/json", body.into());
    set(&mut response, CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer without content.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Bytes::new().into());
    *response.status_mut() = status;
    response
}

/// The error object of the contract.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let error = HttpErrorObject { code: code.to_owned(), message: message.to_owned() };
    json(status, &HttpError { error })
}

/// 405, with what would be allowed.
pub(crate) fn wrong_method(allow: &'static str) -> Response {
    let message = format!("this address takes {allow}");
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message);
    set(&mut response, ALLOW, HeaderValue::from_static(allow));
    response
}

/// What a node refused.
pub(crate) fn refused(refused: &Refused) -> Response {
    refused_with(status_of(refused), refused)
}

/// The same with a status that says more.
pub(crate) fn refused_with(status: StatusCode, refused: &Refused) -> Response {
    let mut response = error(status, &refused.reason, &refused.message);
    let waits = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::INSUFFICIENT_STORAGE
    );
    if waits {
        let ms = refused.retry_after_ms.unwrap_or(RETRY_AFTER_MS);
        set(&mut response, RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
    }
    if status == StatusCode::UNAUTHORIZED {
        set(&mut response, WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The status that fits.
pub(crate) fn status_of(refused: &Refused) -> StatusCode {
    match (&*refused.reason, refused.code) {
        ("too_many_attempts", _) => StatusCode::TOO_MANY_REQUESTS,
        ("user_disabled", _) => StatusCode::FORBIDDEN,
        ("bad_credentials" | "bad_token", _) | (_, Code::NotSignedIn) => StatusCode::UNAUTHORIZED,
        ("user_exists", _) | (_, Code::Conflict) => StatusCode::CONFLICT,
        ("registration_closed" | "bad_invite", _) | (_, Code::NotAllowed) => StatusCode::FORBIDDEN,
        (_, Code::InvalidParams) => StatusCode::UNPROCESSABLE_ENTITY,
        (_, Code::NotFound) => StatusCode::NOT_FOUND,
        (_, Code::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        (_, Code::LimitReached) => StatusCode::TOO_MANY_REQUESTS,
        (_, Code::Busy | Code::Unreachable) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Code::InvalidRequest | Code::Parse) => StatusCode::BAD_REQUEST,
        (_, Code::MethodNotFound | Code::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a browser that asks whether it may.
pub(crate) fn preflight() -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    set(&mut response, ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
    set(
        &mut response,
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type"),
    );
    set(&mut response, ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// Lets pages of any origin read the answer: there are no cookies, so a page gets no further than
/// the token it was given.
pub(crate) fn allow_any_origin(response: &mut Response) {
    set(response, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    set(response, ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
}

/// What browsers may ask of files, as [`preflight`] says it of the rest.
pub(crate) fn allow_media(response: &mut Response) {
    let methods = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE");
    set(response, ACCESS_CONTROL_ALLOW_METHODS, methods);
    let headers = HeaderValue::from_static(
        "authorization, content-type, tus-resumable, upload-length, upload-offset, upload-metadata, \
         upload-checksum, range, if-none-match, if-range, x-http-method-override",
    );
    set(response, ACCESS_CONTROL_ALLOW_HEADERS, headers);
}

/// Which headers of an answer about files they may read, beside those of every answer.
pub(crate) fn expose_media(response: &mut Response) {
    let headers = HeaderValue::from_static(
        "location, tus-resumable, tus-version, tus-extension, tus-max-size, tus-checksum-algorithm, \
         upload-offset, upload-length, upload-expires, homing-media, homing-media-hash, accept-ranges, \
         content-range, content-disposition, content-length, etag, retry-after",
    );
    set(response, ACCESS_CONTROL_EXPOSE_HEADERS, headers);
}

pub(crate) fn set(response: &mut Response, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}
