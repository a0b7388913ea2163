//! A home of a few lines that does exactly what a test tells it.

// Each test program uses a part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used)] // The lint takes functions outside #[test] for product code.

use futures::{SinkExt as _, StreamExt as _};
use homing_client::{Options, Server};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

pub(crate) const CHAT: &str = "0190b0f2-0000-7000-8000-0000000000c1";

pub(crate) struct FakeHome {
    listener: TcpListener,
}

pub(crate) struct FakeSocket {
    ws: WebSocketStream<TcpStream>,
    pub(crate) authorization: String,
    pub(crate) subprotocol: String,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: Value,
    pub(crate) method: String,
    pub(crate) params: Value,
    pub(crate) text: String,
}

impl FakeHome {
    pub(crate) async fn new() -> (Self, Options) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server: Server = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        (Self { listener }, Options::new(server, "secret"))
    }

    pub(crate) async fn accept(&self) -> FakeSocket {
        let (stream, _) = self.listener.accept().await.unwrap();
        let (mut authorization, mut subprotocol) = (String::new(), String::new());
        #[allow(clippy::result_large_err)]
        let look = |request: &Request, mut response: Response| {
            let header = |name: &str| {
                request
                    .headers()
                    .get(name)
                    .map(|v| v.to_str().unwrap().to_owned())
                    .unwrap_or_default()
            };
            authorization = header("authorization");
            subprotocol = header("sec-websocket-protocol");
            let value = HeaderValue::from_str(&subprotocol).unwrap();
            response.headers_mut().insert("sec-websocket-protocol", value);
            Ok(response)
        };
        let ws = tokio_tungstenite::accept_hdr_async(stream, look).await.unwrap();
        FakeSocket { ws, authorization, subprotocol }
    }

    /// Accepts and answers `session.open`, whose call is returned.
    pub(crate) async fn accept_open(&self, sync: &str, channels: Value) -> (FakeSocket, Call) {
        let mut socket = self.accept().await;
        let open = socket.call("session.open").await;
        socket.answer(&open, opened(sync, channels)).await;
        (socket, open)
    }
}

impl FakeSocket {
    pub(crate) async fn call(&mut self, method: &str) -> Call {
        let call = self.any_call().await.expect("the client closed");
        assert_eq!(call.method, method);
        call
    }

    /// `None` once the client has closed.
    pub(crate) async fn any_call(&mut self) -> Option<Call> {
        loop {
            match self.ws.next().await {
                Some(Ok(Frame::Text(text))) => {
                    let call: Value = serde_json::from_str(text.as_str()).unwrap();
                    return Some(Call {
                        id: call["id"].clone(),
                        method: call["method"].as_str().unwrap().to_owned(),
                        params: call["params"].clone(),
                        text: text.as_str().to_owned(),
                    });
                }
                Some(Ok(Frame::Close(_))) => {} // Answered by reading on until the end.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    pub(crate) async fn answer(&mut self, call: &Call, result: Value) {
        self.send(json!({"jsonrpc": "2.0", "result": result, "id": call.id})).await;
    }

    pub(crate) async fn refuse(&mut self, call: &Call, code: i64, data: Value) {
        let error = json!({"code": code, "message": "no", "data": data});
        self.send(json!({"jsonrpc": "2.0", "error": error, "id": call.id})).await;
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({"jsonrpc": "2.0", "method": method, "params": params})).await;
    }

    pub(crate) async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "told so".into() };
        self.ws.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = self.ws.next().await {}
    }

    async fn send(&mut self, value: Value) {
        self.ws.send(Frame::Text(value.to_string().into())).await.unwrap();
    }
}

pub(crate) fn opened(sync: &str, channels: Value) -> Value {
    json!({
        "user": {"address": "alice@acme.test", "user_id": CHAT, "display_name": "Alice"},
        "device": "d", "life": "a", "sync": sync, "channels": channels, "more": false,
        "server_time": 1, "limits": {"body": 65536}, "version": "0",
    })
}

pub(crate) fn channel(head: u64) -> Value {
    json!({"channel": CHAT, "kind": "chat", "with": "bob@globex.test", "state": "active",
        "member_count": 2, "head": head, "read": 0, "unread": 0, "mentions": 0})
}

pub(crate) fn message(pos: u64, text: &str) -> Value {
    json!({"channel": CHAT, "pos": pos, "order": format!("{pos:08}"),
        "id": format!("0190b0f2-0000-7000-8000-{pos:012}"), "sender": "bob@globex.test", "sent_at": 1,
        "body": {"type": "text", "text": text}})
}

pub(crate) fn told(pos: u64, text: &str, sync: &str) -> Value {
    let mut told = message(pos, text);
    told["sync"] = json!(sync);
    told
}

pub(crate) fn sent(call: &Call, pos: u64) -> Value {
    json!({"id": call.params["id"], "channel": CHAT, "pos": pos, "order": format!("{pos:08}"), "sent_at": 1})
}
