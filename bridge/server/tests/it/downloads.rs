//! Downloads over real sockets: parts, names, who may read, and connections that break.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use homing_bridge::{Bridge, BridgeLimits};
use homing_link::{Code, Refused};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::files::{File, Source};
use crate::home::Home;
use crate::ws::{PATIENCE, bridge, bridge_with};

fn url(bridge: &Bridge, id: Uuid, query: &str) -> String {
    format!("http://{}/v1/media/acme.example/{id}{query}", bridge.local_addr())
}

fn read(bridge: &Bridge, id: Uuid) -> RequestBuilder {
    reqwest::Client::new().get(url(bridge, id, "")).header("authorization", "Bearer alice-token")
}

async fn why(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["error"]["code"].as_str().unwrap().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Bytes that are all different where it matters.
fn some_bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

fn assert_harmless(headers: &HeaderMap) {
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["content-security-policy"], "sandbox; default-src 'none'");
    assert_eq!(headers["cross-origin-resource-policy"], "cross-origin");
    assert_eq!(headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn all_of_it() {
    let home = Home::start();
    let bridge = bridge(&home);
    let bytes = some_bytes(300_000);
    let id = home.files.here("image/png", "cat.png", bytes.clone());
    for method in [Method::GET, Method::HEAD] {
        let request = reqwest::Client::new().request(method.clone(), url(&bridge, id, ""));
        let response = request.header("authorization", "Bearer alice-token").send().await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        assert_harmless(&headers);
        for (name, value) in [
            ("content-length", "300000"),
            ("content-type", "image/png"),
            ("accept-ranges", "bytes"),
            ("etag", "\"tag-300000\""),
            ("cache-control", "private, max-age=31536000, immutable"),
            ("content-disposition", "inline; filename=\"cat.png\"; filename*=UTF-8''cat.png"),
        ] {
            assert_eq!(headers[name], value);
        }
        let got = response.bytes().await.unwrap();
        assert!(if method == Method::HEAD { got.is_empty() } else { got == bytes });
    }
    for tags in ["\"tag-300000\"", "*", "\"x\", W/\"tag-300000\""] {
        let response = read(&bridge, id).header("if-none-match", tags).send().await.unwrap();
        assert_eq!(response.status(), 304);
        assert_eq!(response.headers()["etag"], "\"tag-300000\"");
        assert!(response.bytes().await.unwrap().is_empty());
    }
    let other = read(&bridge, id).header("if-none-match", "\"x\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
    let other = read(&bridge, id).header("if-match", "\"x\"").send().await.unwrap();
    assert_eq!(why(other).await, is(412, "precondition_failed"));
    let empty = home.files.here("text/plain", "x", "");
    let response = read(&bridge, empty).send().await.unwrap();
    assert_eq!(response.headers()["content-length"], "0");
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(bridge.metrics().transfers_open, 0);
}

#[tokio::test]
async fn parts_of_it() {
    let home = Home::start();
    let bridge = bridge(&home);
    let bytes = some_bytes(100_000);
    let id = home.files.here("video/mp4", "film.mp4", bytes.clone());
    let range = async |text: &str| read(&bridge, id).header("range", text).send().await.unwrap();
    for (text, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=99999-", 99_999, 99_999),
        ("bytes=-70000", 30_000, 99_999),
        ("bytes=5-19999, 10-20", 5, 19_999),
        ("bytes=50000-999999", 50_000, 99_999),
    ] {
        let response = range(text).await;
        assert_eq!(response.status(), 206, "{text}");
        let said = format!("bytes {first}-{last}/100000");
        assert_eq!(response.headers()["content-range"], said.as_str());
        assert_eq!(response.headers()["content-length"], (last - first + 1).to_string().as_str());
        assert_harmless(response.headers());
        assert_eq!(response.bytes().await.unwrap(), bytes[first..=last]);
    }
    let response = range("bytes=100000-").await;
    assert_eq!(response.headers()["content-range"], "bytes */100000");
    assert_eq!(why(response).await, is(416, "range_not_satisfiable"));
    let many = format!("bytes={}", vec!["0-0"; 17].join(","));
    for ignored in ["bytes=b-a", "lines=1-2", "bytes=2-1", many.as_str()] {
        assert_eq!(range(ignored).await.status(), 200, "{ignored}");
    }
    let range_of = async |tag: &str| {
        let request = read(&bridge, id).header("range", "bytes=1-2").header("if-range", tag);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(range_of("\"tag-100000\"").await, 206);
    assert_eq!(range_of("\"another\"").await, 200);
    assert_eq!(range_of("W/\"tag-100000\"").await, 200, "weak tags are not enough");
    assert_eq!(range_of("Fri, 01 Jan 2027 12:00:00 GMT").await, 200);

    let response = range("bytes=-3, 0-1, 500-20499").await;
    assert_eq!(response.status(), 206);
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = vec![];
    for (first, last) in [(0, 1), (500, 20_499), (99_997, 99_999)] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes {first}-{last}/100000\r\n\r\n"
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&bytes[first..=last]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_eq!(response.headers()["content-length"], expected.len().to_string().as_str());
    assert_eq!(response.bytes().await.unwrap(), expected);
}

#[tokio::test]
async fn names_are_harmless() {
    let home = Home::start();
    let bridge = bridge(&home);
    let long = format!("{}.pdf", "é".repeat(148));
    assert_eq!(long.len(), 300);
    let cut = format!(
        "attachment; filename=\"{}.pdf\"; filename*=UTF-8''{}.pdf",
        "_".repeat(125),
        "%C3%A9".repeat(125)
    );
    for (mime, name, said) in [
        (
            "image/svg+xml",
            "a;b \"c\".svg",
            "attachment; filename=\"a;b _c_.svg\"; filename*=UTF-8''a%3Bb%20%22c%22.svg",
        ),
        ("text/html", "cat.png", "attachment; filename=\"cat.png\"; filename*=UTF-8''cat.png"),
        (
            "application/octet-stream",
            "invoice\u{202E}fdp.exe",
            "attachment; filename=\"invoicefdp.exe\"; filename*=UTF-8''invoicefdp.exe",
        ),
        ("image/jpeg", "../../x", "inline; filename=\"x\"; filename*=UTF-8''x"),
        ("image/jpeg", "C:\\a\\x.jpg", "inline; filename=\"x.jpg\"; filename*=UTF-8''x.jpg"),
        (
            "audio/mpeg",
            "a\r\nSet-Cookie: x",
            "inline; filename=\"aSet-Cookie: x\"; filename*=UTF-8''aSet-Cookie%3A%20x",
        ),
        ("application/pdf", &long, &cut),
    ] {
        let id = home.files.here(mime, name, "abc");
        let response = read(&bridge, id).send().await.unwrap();
        assert_eq!(response.headers()["content-disposition"], said, "{name}");
        assert_harmless(response.headers());
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with(mime));
        assert!(!response.headers().contains_key("set-cookie"));
    }
    for name in ["..", "", "\u{200B}"] {
        let id = home.files.here("image/png", name, "abc");
        let response = read(&bridge, id).send().await.unwrap();
        let said = format!("inline; filename=\"{id}\"; filename*=UTF-8''{id}");
        assert_eq!(response.headers()["content-disposition"], said.as_str());
    }
}

#[tokio::test]
async fn who_may_read() {
    let home = Home::start();
    let bridge = bridge(&home);
    let id = home.files.here("image/png", "cat.png", "abc");
    let get = async |query: &str| reqwest::get(url(&bridge, id, query)).await.unwrap();
    let response = get("").await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(why(response).await, is(401, "bad_token"));
    for link in ["?expires=7&signature=signed==", "?signature=signed%3D%3D&expires=7"] {
        assert_eq!(get(link).await.text().await.unwrap(), "abc");
    }
    let small = get("?thumbnail=320&expires=7&signature=signed==").await;
    assert_eq!(small.headers()["content-type"], "image/webp");
    assert_eq!(small.text().await.unwrap(), "small: 320");
    assert_eq!(why(get("?expires=8&signature=signed==").await).await, is(401, "bad_token"));
    assert_eq!(why(get("?expires=7").await).await, is(400, "bad_link"));
    assert_eq!(why(get("?expires=x&signature=y").await).await, is(400, "bad_link"));
    assert_eq!(why(get("?thumbnail=0").await).await, is(400, "bad_thumbnail"));

    let text = home.files.here("text/plain", "x", "abc");
    let no_image = reqwest::get(url(&bridge, text, "?thumbnail=9&expires=7&signature=signed=="));
    assert_eq!(why(no_image.await.unwrap()).await, is(404, "no_thumbnail"));
    let missing = read(&bridge, Uuid::now_v7()).send().await.unwrap();
    assert_eq!(why(missing).await, is(404, "media_not_found"));
    for path in ["acme.example/x".to_owned(), format!("a%20b/{id}"), format!("globex.example/{id}")]
    {
        let path = format!("http://{}/v1/media/{path}", bridge.local_addr());
        let request =
            reqwest::Client::new().get(path).header("authorization", "Bearer alice-token");
        assert_eq!(why(request.send().await.unwrap()).await, is(404, "media_not_found"));
    }
    for (code, reason) in [(Code::Unreachable, "home_unreachable"), (Code::Busy, "media_busy")] {
        let refused = Refused::new(code, reason, "later").with_retry_after_ms(2_500);
        home.files.goes_wrong("open", refused);
        let response = read(&bridge, id).send().await.unwrap();
        assert_eq!(response.headers()["retry-after"], "3");
        assert_eq!(why(response).await, is(503, reason));
    }
    let path = format!("http://{}/v1/media/acme.example/{id}", bridge.local_addr());
    let response = reqwest::Client::new().delete(path).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "OPTIONS, GET, HEAD");
    assert_eq!(response.status(), 405);
    assert_eq!(bridge.metrics().transfers_open, 0);
}

#[tokio::test]
async fn what_breaks_off_does_not_look_whole() {
    let home = Home::start();
    let bridge = bridge(&home);
    let bytes = Bytes::from(some_bytes(100_000));
    let source = Source::Breaks(bytes.clone(), 30_000);
    let id = home.files.put(File { size: 100_000, mime: "image/png", name: None, source });
    let response = read(&bridge, id).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.content_length(), Some(100_000));
    assert!(response.bytes().await.is_err());
    // An end before the end is no better.
    let (feed, fed) = mpsc::channel(1);
    let source = Source::Fed(Arc::new(Mutex::new(Some(fed))));
    let id = home.files.put(File { size: 100, mime: "image/png", name: None, source });
    feed.send(Bytes::from_static(b"0123456789")).await.unwrap();
    drop(feed);
    assert!(read(&bridge, id).send().await.unwrap().bytes().await.is_err());
}

async fn raw(bridge: &Bridge, id: Uuid) -> TcpStream {
    let mut stream = TcpStream::connect(bridge.local_addr()).await.unwrap();
    let head = format!(
        "GET /v1/media/acme.example/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice-token\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// What comes until the connection ends, in whatever way.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = vec![];
    let read = stream.read_to_end(&mut all);
    let _broken_or_closed = tokio::time::timeout(PATIENCE, read).await.expect("an end");
    all
}

#[tokio::test]
async fn who_takes_nothing_is_cut() {
    let home = Home::start();
    let limits = BridgeLimits { media_idle_ms: 200, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    const SIZE: usize = 64 << 20;
    let id = home.files.here("image/png", "x", vec![0; SIZE]);
    let mut closed = home.files.closed.subscribe();
    let mut stream = raw(&bridge, id).await;
    tokio::time::timeout(PATIENCE, closed.wait_for(|n| *n == 1)).await.expect("a cut").unwrap();
    assert!(rest(&mut stream).await.len() < SIZE);
    assert_eq!(bridge.metrics().transfers_open, 0);
}

#[tokio::test]
async fn who_goes_away_is_let_go() {
    let home = Home::start();
    let bridge = bridge(&home);
    let id = home.files.here("image/png", "x", vec![0; 64 << 20]);
    let mut closed = home.files.closed.subscribe();
    drop(raw(&bridge, id).await);
    tokio::time::timeout(PATIENCE, closed.wait_for(|n| *n == 1)).await.expect("an end").unwrap();
}

#[tokio::test]
async fn a_long_download_outlives_its_connection_s_time() {
    let home = Home::start();
    let limits = BridgeLimits { http_connection_ms: 100, close_ms: 50, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let (feed, fed) = mpsc::channel(1);
    let source = Source::Fed(Arc::new(Mutex::new(Some(fed))));
    let id = home.files.put(File { size: 20, mime: "image/png", name: None, source });
    let mut stream = raw(&bridge, id).await;
    let began = std::time::Instant::now();
    for _ in 0..10 {
        feed.send(Bytes::from_static(b"ab")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(300));
    let all = String::from_utf8(rest(&mut stream).await).unwrap();
    assert!(all.starts_with("HTTP/1.1 200 ") && all.ends_with(&"ab".repeat(10)), "{all}");
}
