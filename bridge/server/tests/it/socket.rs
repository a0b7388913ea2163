//! Sockets: what closes them, in which order they are answered, what a slow one does to the others.

use std::time::{Duration, Instant};

use futures::SinkExt;
use homing_bridge::BridgeLimits;
use homing_link::CloseReason;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::home::{Home, chat};
use crate::ws::{Got, PATIENCE, RETRY, Ws, bridge, bridge_with, send_to_bob, text};

async fn until<T>(watched: &watch::Sender<T>, enough: impl FnMut(&T) -> bool) {
    let mut seen = watched.subscribe();
    tokio::time::timeout(PATIENCE, seen.wait_for(enough)).await.expect("it happens").unwrap();
}

fn call(id: usize, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

#[tokio::test]
async fn frames_that_close_the_socket() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut other = Ws::open(&bridge, "bob").await;
    let big = " ".repeat((256 << 10) + 1);
    let bad_text =
        Frame::message(Bytes::from_static(&[b'"', 0xff, b'"']), OpCode::Data(Data::Text), true);
    let part =
        |data, fin| Frame::message(Bytes::from(vec![b' '; 200 << 10]), OpCode::Data(data), fin);
    for (frames, code) in [
        (vec![Message::Text(big.into())], 1009),
        (
            vec![
                Message::Frame(part(Data::Text, false)),
                Message::Frame(part(Data::Continue, true)),
            ],
            1009,
        ),
        (vec![Message::Frame(bad_text)], 1007),
        (vec![Message::Binary(Bytes::from_static(b"{}"))], 1003),
        (vec![Message::Frame(part(Data::Continue, true))], 1002),
    ] {
        let mut ws = Ws::open(&bridge, "alice").await;
        for frame in frames {
            ws.socket.send(frame).await.unwrap();
        }
        assert_eq!(ws.closed().await, Some(code));
        other.ok("channels.list", json!({})).await;
    }
    // The limit itself fits.
    let pad = (256 << 10) - call(1, "channels.list", json!({})).len();
    let mut ws = Ws::open(&bridge, "alice").await;
    ws.send(call(1, "channels.list", json!({})) + &" ".repeat(pad)).await;
    assert!(ws.json().await["result"].is_object());
    let closes = bridge.metrics().closes;
    assert_eq!((closes[&1009], closes[&1007], closes[&1003], closes[&1002]), (2, 1, 1, 1));
}

#[tokio::test]
async fn a_client_that_closes_is_answered() {
    let home = Home::start();
    let bridge = bridge(&home);
    for (sent, answered) in [(Some(4000), Some(4000)), (Some(1000), Some(1000)), (None, None)] {
        let mut ws = Ws::open(&bridge, "alice").await;
        let frame = sent.map(|code: u16| CloseFrame { code: code.into(), reason: "bye".into() });
        ws.socket.send(Message::Close(frame)).await.unwrap();
        assert_eq!(ws.got().await, Got::Closed(answered));
        // In order to the end: no reset.
        let next = futures::StreamExt::next(&mut ws.socket).await;
        assert!(next.is_none(), "{next:?}");
    }
    until(&home.gone, |gone| *gone == 3).await;
}

#[tokio::test]
async fn pings_are_answered_and_sent() {
    let home = Home::start();
    let limits = BridgeLimits { ping_ms: 50, silence_ms: 60_000, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let mut ws = Ws::open(&bridge, "alice").await;
    ws.socket.send(Message::Ping(Bytes::from_static(b"x"))).await.unwrap();
    let pong = futures::StreamExt::next(&mut ws.socket).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"x")));
    assert_eq!(ws.got().await, Got::Ping);
    ws.ok("channels.list", json!({})).await;
    assert_eq!(ws.got().await, Got::Ping, "and again");
}

#[tokio::test]
async fn signs_of_life_and_good_byes_are_passed_on() {
    let home = Home::start();
    let limits = BridgeLimits { ping_ms: 40, silence_ms: 60_000, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let mut ws = Ws::open(&bridge, "alice").await;
    // What answers pings is alive, though it calls nothing; what pings without a pause is not told of each time.
    while *home.signs.borrow() < 3 {
        assert_eq!(ws.got().await, Got::Ping);
    }
    let before = *home.signs.borrow();
    let began = Instant::now();
    for _ in 0..500 {
        ws.socket.send(Message::Ping(Bytes::new())).await.unwrap();
    }
    ws.ok_after_pongs("channels.list", json!({})).await;
    let most = 2 + began.elapsed().as_millis() as u64 / 10;
    let told = *home.signs.borrow() - before;
    assert!(told <= most, "{told} signs, {most} at most");

    drop(ws);
    until(&home.gone, |gone| *gone == 1).await;
    assert_eq!(*home.left.borrow(), 0, "the connection was lost");
    let mut ws = Ws::open(&bridge, "alice").await;
    ws.socket.send(Message::Close(None)).await.unwrap();
    until(&home.gone, |gone| *gone == 2).await;
    assert_eq!(*home.left.borrow(), 1, "it has said good-bye");
}

/// A socket of bytes: it answers nothing by itself.
async fn raw_socket(bridge: &homing_bridge::Bridge, token: Option<&str>) -> TcpStream {
    let mut stream = TcpStream::connect(bridge.local_addr()).await.unwrap();
    let authorization = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{authorization}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

async fn close_code(stream: &mut TcpStream) -> u16 {
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the end").unwrap();
    let at = rest.windows(2).rposition(|w| w[0] == 0x88 && usize::from(w[1]) < 126).unwrap();
    u16::from_be_bytes([rest[at + 2], rest[at + 3]])
}

#[tokio::test]
async fn a_dead_client_is_noticed() {
    let home = Home::start();
    let limits = BridgeLimits { ping_ms: 50, silence_ms: 150, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let mut stream = raw_socket(&bridge, Some("alice-token")).await;
    let open = br#"{"jsonrpc":"2.0","id":1,"method":"session.open"}"#;
    stream.write_all(&masked(1, open)).await.unwrap();
    assert_eq!(close_code(&mut stream).await, 4408);
    until(&home.gone, |gone| *gone == 1).await;
}

#[tokio::test]
async fn who_does_not_sign_in_is_closed() {
    let home = Home::start();
    let limits = BridgeLimits { sign_in_ms: 200, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let mut opened = Ws::open(&bridge, "alice").await;
    let began = Instant::now();
    let mut silent = Ws::connect(&bridge).await;
    assert_eq!(silent.got().await, Got::Closed(Some(4401)));
    assert!(began.elapsed() >= Duration::from_millis(200));
    let mut talkative = Ws::connect(&bridge).await;
    loop {
        talkative.send(call(1, "channels.list", json!({}))).await;
        match talkative.got().await {
            Got::Json(answer) => assert_eq!(answer["error"]["code"], -32001),
            got => {
                assert_eq!(got, Got::Closed(Some(4401)));
                break;
            }
        }
    }
    opened.ok("channels.list", json!({})).await;
}

#[tokio::test]
async fn sends_are_stored_in_the_order_sent() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::open(&bridge, "alice").await;
    for id in 0..1_000 {
        let params = send_to_bob(text(&id.to_string()));
        ws.socket.feed(Message::Text(call(id, "messages.send", params).into())).await.unwrap();
    }
    ws.socket.flush().await.unwrap();
    for id in 0..1_000 {
        let answer = ws.json().await;
        assert_eq!((&answer["id"], &answer["result"]["pos"]), (&json!(id), &json!(id + 1)));
    }
    let expected: Vec<String> = (0..1_000).map(|n| text(&n.to_string()).to_string()).collect();
    assert_eq!(home.stored(), expected);
}

#[tokio::test]
async fn at_most_so_many_calls_wait_and_the_rest_is_read_later() {
    let home = Home::start();
    let limits = BridgeLimits { calls_waiting: 4, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let mut ws = Ws::open(&bridge, "alice").await;
    let mut other = Ws::open(&bridge, "bob").await;
    home.paused.send_replace(true);
    for id in 0..20 {
        ws.send(call(id, "channels.list", json!({}))).await;
    }
    until(&home.backlog, |waiting| *waiting == 4).await;
    // Others are served meanwhile, and give the bridge every chance to take one too many.
    for _ in 0..50 {
        other.ok("rpc.discover", json!({})).await;
    }
    assert_eq!(*home.backlog.borrow(), 4);
    home.paused.send_replace(false);
    for id in 0..20 {
        assert_eq!(ws.json().await["id"], id);
    }
}

#[tokio::test]
async fn nothing_overtakes_an_answer_that_is_still_read() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut alice = Ws::open(&bridge, "alice").await;
    let mut bob = Ws::open(&bridge, "bob").await;
    let later = json!({"address": "later@acme.example"});
    bob.send(call(1, "users.get", later.clone())).await;
    bob.send(call(2, "channels.list", json!({}))).await;
    // Known to be with the node when the refusal behind them is here: it needs no node.
    assert_eq!(bob.raw(&call(3, "no.such", json!({}))).await["id"], 3);
    alice.ok("messages.send", send_to_bob(text("x"))).await;
    bob.send(call(4, "channels.list", json!({}))).await;
    assert_eq!(bob.raw(&call(5, "no.such", json!({}))).await["id"], 5, "reading goes on");
    home.release();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let got = bob.json().await;
        seen.push(got.get("id").or(got.get("method")).unwrap().clone());
    }
    assert_eq!(seen, [json!(1), json!(2), json!("message"), json!(4)]);

    bob.send(call(6, "users.get", later)).await;
    assert_eq!(bob.raw(&call(7, "no.such", json!({}))).await["id"], 7);
    alice.ok("channels.list", json!({})).await;
    home.forget();
    assert_eq!(bob.json().await["error"]["code"], -32603, "a dropped answer is a fault, said so");
}

#[tokio::test]
async fn a_notice_does_not_come_before_the_batch_whose_answer_it_follows() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut alice = Ws::open(&bridge, "alice").await;
    let mut bob = Ws::open(&bridge, "bob").await;
    let list = call(1, "messages.list", json!({"channel": chat()}));
    let later = call(2, "users.get", json!({"address": "later@acme.example"}));
    bob.send(format!("[{list},{later}]")).await;
    assert_eq!(bob.raw(&call(3, "no.such", json!({}))).await["id"], 3);
    alice.ok("messages.send", send_to_bob(text("after the page"))).await;
    bob.send(call(4, "channels.list", json!({}))).await;
    assert_eq!(bob.raw(&call(5, "no.such", json!({}))).await["id"], 5);
    alice.ok("channels.list", json!({})).await;
    home.release();
    let batch = bob.json().await;
    assert_eq!(batch[0]["result"]["messages"], json!([]));
    assert_eq!(batch[1]["id"], 2);
    assert_eq!(bob.json().await["method"], "message");
    assert_eq!(bob.json().await["id"], 4);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_and_others_notice_nothing() {
    let home = Home::start();
    let limits = BridgeLimits {
        write_idle_ms: 300,
        close_ms: 300,
        send_buffer_bytes: 16 << 10,
        ..BridgeLimits::default()
    };
    let bridge = bridge_with(&home, limits);
    let mut slow = raw_socket(&bridge, Some("bob-token")).await;
    let open = br#"{"jsonrpc":"2.0","id":1,"method":"session.open"}"#;
    slow.write_all(&masked(1, open)).await.unwrap();
    let mut alice = Ws::open(&bridge, "alice").await;
    let mut reader = Ws::open(&bridge, "bob").await;
    let mut sent = 0_u64;
    // What the kernels on both sides take for it is not ours to say.
    while *home.gone.borrow() == 0 {
        assert!(sent < 1_000, "64 MB are more than any kernel takes");
        alice.ok("messages.send", send_to_bob(text(&"x".repeat(60_000)))).await;
        sent += 1;
        assert_eq!(reader.json().await["params"]["pos"], sent);
    }
    assert_eq!(bridge.metrics().sockets, 3);
    alice.ok("channels.list", json!({})).await;
}

#[tokio::test]
async fn a_client_with_too_much_waiting_is_told_4408() {
    let home = Home::with_outbox(256 << 10);
    let limits = BridgeLimits { send_buffer_bytes: 16 << 10, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let mut slow = raw_socket(&bridge, Some("bob-token")).await;
    let open = br#"{"jsonrpc":"2.0","id":1,"method":"session.open"}"#;
    slow.write_all(&masked(1, open)).await.unwrap();
    let mut alice = Ws::open(&bridge, "alice").await;
    let mut sent = 0;
    while *home.gone.borrow() == 0 {
        assert!(sent < 1_000, "64 MB are more than any kernel takes");
        alice.ok("messages.send", send_to_bob(text(&"x".repeat(60_000)))).await;
        sent += 1;
    }
    // It reads again within the time for goodbyes, and learns why.
    assert_eq!(close_code(&mut slow).await, 4408);
}

#[tokio::test]
async fn a_client_that_ignores_busy_is_closed() {
    let home = Home::start();
    let limits = BridgeLimits {
        calls_per_second: 1,
        calls_burst: 10,
        busy_ignored: 20,
        busy_retry_ms: 60_000,
        ..BridgeLimits::default()
    };
    let bridge = bridge_with(&home, limits);
    let mut ws = Ws::open(&bridge, "alice").await;
    for id in 0..60 {
        ws.socket.feed(Message::Text(call(id, "channels.list", json!({})).into())).await.unwrap();
    }
    ws.socket.flush().await.unwrap();
    let (mut ran, mut busy) = (0, 0);
    let code = loop {
        match ws.got().await {
            Got::Json(answer) if answer["result"].is_object() => ran += 1,
            Got::Json(answer) => {
                assert_eq!(answer["error"]["code"], -32005);
                assert_eq!(answer["error"]["data"]["retry_after_ms"], 60_000);
                busy += 1;
            }
            Got::Closed(code) => break code,
            Got::Ping => {}
        }
    };
    assert_eq!(code, Some(4429));
    // The last one is answered as well as punished; answers of the node may be overtaken by the end.
    assert_eq!(busy, 22);
    assert!(ran <= 9, "{ran}");
}

#[tokio::test]
async fn a_node_closes_sockets() {
    let home = Home::start();
    let bridge = bridge(&home);
    for (reason, code) in [
        (CloseReason::Revoked, 4403),
        (CloseReason::TooSlow, 4408),
        (CloseReason::Restarting, 1012),
    ] {
        let mut ws = Ws::open(&bridge, "alice").await;
        home.close_all(reason);
        if code == 1012 {
            let closing = ws.json().await;
            assert_eq!(closing["method"], "closing");
            assert!(closing["params"]["retry_after_ms"].is_u64());
        }
        assert_eq!(ws.got().await, Got::Closed(Some(code)));
    }
}

#[tokio::test]
async fn a_bridge_that_stops_says_goodbye() {
    let home = Home::start();
    let bridge = bridge(&home);
    let address = bridge.local_addr();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Ws::open(&bridge, "alice").await);
    }
    let unsigned = Ws::connect(&bridge).await;
    clients.push(unsigned);
    assert_eq!(bridge.metrics().sockets_open, 21);
    let stopped = tokio::spawn(bridge.shutdown(RETRY));
    let mut waits = std::collections::BTreeSet::new();
    for (n, ws) in clients.iter_mut().enumerate() {
        let closing = ws.json().await;
        assert_eq!(closing["method"], "closing");
        assert_eq!(closing["params"]["reason"], "restarting");
        let sync = if n < 20 { json!("7.0") } else { Value::Null };
        assert_eq!(closing["params"]["sync"], sync);
        let wait = closing["params"]["retry_after_ms"].as_u64().unwrap();
        assert!(RETRY.contains(&wait));
        waits.insert(wait);
        assert_eq!(ws.got().await, Got::Closed(Some(1012)));
    }
    assert!(waits.len() > 1, "spread");
    drop(clients);
    assert_eq!(tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn answers_in_hand_are_given_before_the_goodbye() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut ws = Ws::open(&bridge, "alice").await;
    ws.send(call(1, "users.get", json!({"address": "later@acme.example"}))).await;
    ws.send(call(2, "messages.send", send_to_bob(text("stored")))).await;
    assert_eq!(ws.raw(&call(3, "no.such", json!({}))).await["id"], 3);
    // Both are with the node, the second behind the first.
    let mut other = Ws::open(&bridge, "bob").await;
    other.ok("channels.list", json!({})).await;
    home.release();
    assert_eq!(ws.json().await["id"], 1);
    let stopped = tokio::spawn(bridge.shutdown(RETRY));
    assert_eq!(ws.json().await["id"], 2);
    assert_eq!(ws.json().await["method"], "closing");
    assert_eq!(ws.got().await, Got::Closed(Some(1012)));
    drop((ws, other));
    stopped.await.unwrap();
}
