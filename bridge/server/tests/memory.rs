//! What a silent, signed-in socket costs. Alone in its process, because it looks at all of it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]
// Shared with the other tests, which use the rest of it.
#![allow(dead_code)]
#![allow(clippy::wildcard_enum_match_arm, clippy::large_futures, clippy::panic)]

#[path = "it/files.rs"]
mod files;
#[path = "it/home.rs"]
mod home;
#[path = "it/ws.rs"]
mod ws;

use homing_bridge::Bridge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::home::Home;
use crate::ws::bridge;

/// Both ends of each are in this process, so that it needs 800 files: below the usual 1,024.
const SOCKETS: usize = 400;

/// The bridge's share of the 12 KiB that a connection may take at a node, with the outbox of the
/// link, the client's end and this test's home; 4.3 were measured.
const SOCKET_BYTES: usize = 8 << 10;

const OPEN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"session.open"}"#;
const DISCOVER: &str = r#"{"jsonrpc":"2.0","id":2,"method":"rpc.discover"}"#;

/// Sends a call in a masked frame, and reads its answer away.
async fn call(stream: &mut TcpStream, text: &str) {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126);
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    stream.write_all(&frame).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 0x81);
    let length = match stream.read_u8().await.unwrap() {
        126 => u64::from(stream.read_u16().await.unwrap()),
        short => u64::from(short),
    };
    let mut answer = (&mut *stream).take(length);
    let read = tokio::io::copy(&mut answer, &mut tokio::io::sink()).await.unwrap();
    assert_eq!(read, length);
}

/// A socket that has signed in and taken an answer of 25 KiB.
async fn used(bridge: &Bridge) -> TcpStream {
    let mut stream = TcpStream::connect(bridge.local_addr()).await.unwrap();
    let request = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Authorization: Bearer alice-token\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    call(&mut stream, OPEN).await;
    call(&mut stream, DISCOVER).await;
    stream
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn a_silent_socket_costs_little_whatever_it_did_before() {
    let home = Home::start();
    let bridge = bridge(&home);
    let mut sockets = Vec::with_capacity(SOCKETS + 50);
    // What is made once is made before.
    for _ in 0..50 {
        sockets.push(used(&bridge).await);
    }
    let before = resident_bytes();
    for _ in 0..SOCKETS {
        sockets.push(used(&bridge).await);
    }
    let each = resident_bytes().saturating_sub(before) / SOCKETS;
    assert_eq!(bridge.metrics().sockets_open, SOCKETS as u64 + 50);
    assert!(each < SOCKET_BYTES, "{each} bytes each");
}
