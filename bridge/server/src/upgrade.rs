//! From an HTTP request to a WebSocket (RFC 6455, section 4.2).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64;
use homing_link::Session;
use http::header::{
    AUTHORIZATION, CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderName, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::reply::Response;

use crate::http_answer::{empty, error, set};
use crate::media::Flow;

/// The subprotocol's name.
const PROTOCOL: &str = "homing.v1.json";

/// The client of one connection, and what the HTTP phase leaves to the socket.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The file that is on its way.
    pub(crate) flow: Flow,
    accepted: Arc<Mutex<Option<Accepted>>>,
}

/// A socket that was promised to a client.
pub(crate) struct Accepted {
    /// The client's place at the node.
    pub(crate) session: Session,
    /// From `Authorization`.
    pub(crate) token: Option<String>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, flow: Flow::default(), accepted: Arc::default() }
    }

    pub(crate) fn accept(&self, accepted: Accepted) {
        *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepted);
    }

    pub(crate) fn take_accepted(&self) -> Option<Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The answer that promises a socket, or the one that says why there is none.
pub(crate) fn handshake(headers: &HeaderMap) -> Result<Response, Box<Response>> {
    if !names(headers, &UPGRADE, "websocket") || !names(headers, &CONNECTION, "upgrade") {
        return Err(upgrade_required("this address speaks WebSocket"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(upgrade_required("this address speaks WebSocket version 13"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if BASE64.decode(key).ok().is_none_or(|bytes| bytes.len() != 16) {
        let message = "Sec-WebSocket-Key must be 16 bytes in base64";
        return Err(Box::new(error(StatusCode::BAD_REQUEST, "bad_handshake", message)));
    }
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let accept = HeaderValue::from_str(&derive_accept_key(key)).expect("base64 is a header value");
    set(&mut response, UPGRADE, HeaderValue::from_static("websocket"));
    set(&mut response, CONNECTION, HeaderValue::from_static("Upgrade"));
    set(&mut response, SEC_WEBSOCKET_ACCEPT, accept);
    if names(headers, &SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        set(&mut response, SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(response)
}

fn upgrade_required(message: &str) -> Box<Response> {
    let mut response = error(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message);
    set(&mut response, UPGRADE, HeaderValue::from_static("websocket"));
    set(&mut response, CONNECTION, HeaderValue::from_static("Upgrade"));
    set(&mut response, SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    Box::new(response)
}

/// Whether a comma-separated header, perhaps given several times, names this.
fn names(headers: &HeaderMap, header: &HeaderName, wanted: &str) -> bool {
    headers
        .get_all(header)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case(wanted))
}

/// The token of `Authorization: Bearer …`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn bearer_tokens() {
        let of = |value| bearer(&headers(&[("authorization", value)])).map(str::to_owned);
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("Bearer "), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn the_example_of_the_rfc() {
        let mut asked = headers(&[
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        let response = handshake(&asked).map_err(|r| r.status()).unwrap();
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key("sec-websocket-protocol"));
        asked.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("other, homing.v1.json"));
        let response = handshake(&asked).map_err(|r| r.status()).unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "homing.v1.json");
        asked.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("short"));
        assert_eq!(handshake(&asked).unwrap_err().status(), 400);
        asked.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
        assert_eq!(handshake(&asked).unwrap_err().status(), 426);
    }
}
