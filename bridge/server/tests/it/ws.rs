//! A WebSocket client that waits for what it is told to, and no longer than it should.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use homing_bridge::{Bridge, BridgeConfig, BridgeLimits};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::home::Home;

/// Far above what anything takes here: a test that meets it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const RETRY: RangeInclusive<u64> = 100..=200;

pub(crate) fn bridge_with(home: &Arc<Home>, limits: BridgeLimits) -> Bridge {
    let config = BridgeConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        public_url: Some("https://chat.acme.example".into()),
        limits,
    };
    Bridge::start(config, home.clone()).unwrap()
}

pub(crate) fn bridge(home: &Arc<Home>) -> Bridge {
    bridge_with(home, BridgeLimits::default())
}

pub(crate) struct Ws {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Json(Value),
    Ping,
    Closed(Option<u16>),
}

impl Ws {
    pub(crate) async fn connect(bridge: &Bridge) -> Self {
        let url = format!("ws://{}/v1/ws", bridge.local_addr());
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Self { socket, next: 0 }
    }

    /// With a token in the header, and opened.
    pub(crate) async fn open(bridge: &Bridge, user: &str) -> Self {
        let mut request =
            format!("ws://{}/v1/ws", bridge.local_addr()).into_client_request().unwrap();
        let value = format!("Bearer {user}-token").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let mut ws = Self { socket, next: 0 };
        ws.ok("session.open", json!({})).await;
        ws
    }

    pub(crate) async fn send(&mut self, text: impl Into<Utf8Bytes>) {
        self.socket.send(Message::Text(text.into())).await.unwrap();
    }

    pub(crate) async fn got(&mut self) -> Got {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("something");
        match next {
            Some(Ok(Message::Text(text))) => Got::Json(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => Got::Closed(frame.map(|f| f.code.into())),
            Some(Ok(Message::Ping(_))) => Got::Ping,
            Some(Ok(other)) => panic!("{other:?}"),
            Some(Err(_)) | None => Got::Closed(None),
        }
    }

    pub(crate) async fn json(&mut self) -> Value {
        match self.got().await {
            Got::Json(value) => value,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.got().await {
                Got::Closed(code) => return code,
                Got::Json(_) | Got::Ping => {}
            }
        }
    }

    /// Sends text as it is and answers the next frame.
    pub(crate) async fn raw(&mut self, text: &str) -> Value {
        self.send(text.to_owned()).await;
        self.json().await
    }

    /// Calls, and answers the whole answer; nothing else may come before it.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let call = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = self.raw(&call.to_string()).await;
        assert_eq!(answer["id"], id, "{answer}");
        assert_eq!(answer["jsonrpc"], "2.0");
        answer
    }

    /// The same, where pings and pongs may come before the answer.
    pub(crate) async fn ok_after_pongs(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let call = json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        self.send(call.to_string()).await;
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("something") {
                Some(Ok(Message::Text(text))) => {
                    let answer: Value = serde_json::from_str(&text).unwrap();
                    return answer["result"].clone();
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn ok(&mut self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// `(code, reason)` of the refusal.
    pub(crate) async fn refused(&mut self, method: &str, params: Value) -> (i64, String) {
        why(&self.call(method, params).await)
    }
}

pub(crate) fn why(answer: &Value) -> (i64, String) {
    let error = &answer["error"];
    assert!(error["message"].is_string(), "{answer}");
    (
        error["code"].as_i64().unwrap_or_else(|| panic!("{answer}")),
        error["data"]["reason"].as_str().unwrap().to_owned(),
    )
}

pub(crate) fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

pub(crate) fn send_to_bob(body: Value) -> Value {
    json!({"to": "bob@acme.example", "body": body})
}
