//! Opening the WebSocket: plain TCP by hand, TLS through the HTTP client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use reqwest::header::{self, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::error::Error;
use crate::server::{CONNECT_DEADLINE, Server, innermost, refused};

/// The one subprotocol of the contract.
const SUBPROTOCOL: &str = "homing.v1.json";

/// Server frames are at most 1 MiB by the contract; twice that leaves room for none but a broken server.
const LARGEST_FRAME_BYTES: usize = 2 << 20;

/// Allocated for each socket at once. 8 KiB hold some twenty notifications: larger ones gain nothing measurable,
/// and a process with ten thousand sockets pays for every one.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// Frames are gathered up to this before a write to the socket.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// Whatever carries the bytes.
pub(crate) enum Wire {
    Plain(TcpStream),
    Upgraded(reqwest::Upgraded),
}

pub(crate) type Socket = WebSocketStream<Wire>;

/// Connects, offers the subprotocol, shows the token.
pub(crate) async fn open(server: &Server, token: &str) -> Result<Socket, Error> {
    let opening = async {
        if server.is_tls() {
            over_https(server, token).await
        } else {
            over_tcp(server, token).await
        }
    };
    match tokio::time::timeout(CONNECT_DEADLINE, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(Error::Unreachable {
            server: server.to_string(),
            why: format!("no answer within {} s", CONNECT_DEADLINE.as_secs()),
        }),
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(LARGEST_FRAME_BYTES))
        .max_frame_size(Some(LARGEST_FRAME_BYTES))
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Error::SignedOut { why: "the stored token is damaged".to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn over_tcp(server: &Server, token: &str) -> Result<Socket, Error> {
    let (host, port) = server.host_port();
    let stream =
        TcpStream::connect((host.as_str(), port)).await.map_err(|e| server.unreachable(&e))?;
    // Small calls must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(|e| server.unreachable(&e))?;
    let url = server.ws_over_http().as_str().replacen("http", "ws", 1);
    let mut request = url.into_client_request().map_err(|e| server.unreachable(&e))?;
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    headers.insert(header::AUTHORIZATION, bearer(token)?);
    match tokio_tungstenite::client_async_with_config(request, Wire::Plain(stream), Some(config()))
        .await
    {
        Ok((socket, _response)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(status_error(response.status().as_u16())),
        Err(error) => Err(server.unreachable(&error)),
    }
}

async fn over_https(server: &Server, token: &str) -> Result<Socket, Error> {
    let key = generate_key();
    let response = server
        .http()?
        .get(server.ws_over_http())
        .header(header::AUTHORIZATION, bearer(token)?)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .send()
        .await
        .map_err(|e| server.unreachable(&e))?;
    if response.status().as_u16() != 101 {
        return Err(match response.status().as_u16() {
            401 | 403 => status_error(response.status().as_u16()),
            _ => refused(response).await,
        });
    }
    let accepted =
        response.headers().get(header::SEC_WEBSOCKET_ACCEPT).and_then(|v| v.to_str().ok());
    if accepted != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(Error::Garbled(
            "the server did not complete the WebSocket handshake".to_owned(),
        ));
    }
    let upgraded = response.upgrade().await.map_err(|e| server.unreachable(&e))?;
    Ok(WebSocketStream::from_raw_socket(Wire::Upgraded(upgraded), Role::Client, Some(config()))
        .await)
}

fn status_error(status: u16) -> Error {
    match status {
        401 | 403 => Error::SignedOut { why: format!("the server answered {status}") },
        _ => Error::Http {
            status,
            code: format!("http_{status}"),
            message: "the server does not open a WebSocket here".to_owned(),
            retry_after: None,
        },
    }
}

/// A broken socket in words.
pub(crate) fn say_broken(error: &tungstenite::Error) -> String {
    innermost(error)
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Upgraded(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Upgraded(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Upgraded(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Upgraded(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
