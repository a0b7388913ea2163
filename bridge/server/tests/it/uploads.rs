//! Uploads over real sockets, as tus clients make them and as nobody should.

use std::time::Duration;

use data_encoding::BASE64;
use homing_bridge::{Bridge, BridgeLimits};
use homing_link::{Code, Refused};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use sha1::Digest as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::home::Home;
use crate::ws::{PATIENCE, RETRY, bridge, bridge_with};

const PIECE: &str = "application/offset+octet-stream";

/// Long enough that all that waits for it to pass has seen it pass.
const MOMENT: Duration = Duration::from_millis(50);

fn ask(bridge: &Bridge, method: Method, path: &str) -> RequestBuilder {
    reqwest::Client::new()
        .request(method, format!("http://{}{path}", bridge.local_addr()))
        .header("tus-resumable", "1.0.0")
        .header("authorization", "Bearer alice-token")
}

fn create(bridge: &Bridge, length: u64) -> RequestBuilder {
    ask(bridge, Method::POST, "/v1/media").header("upload-length", length)
}

fn patch(bridge: &Bridge, location: &str, offset: u64, bytes: &'static str) -> RequestBuilder {
    ask(bridge, Method::PATCH, location)
        .header("upload-offset", offset)
        .header("content-type", PIECE)
        .body(bytes)
}

async fn sent(request: RequestBuilder) -> Response {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["tus-resumable"], "1.0.0");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    response
}

/// Where a new upload of so many bytes is.
async fn begun(bridge: &Bridge, length: u64) -> String {
    let response = sent(create(bridge, length)).await;
    assert_eq!(response.status(), 201);
    response.headers()["location"].to_str().unwrap().to_owned()
}

async fn offset(bridge: &Bridge, location: &str) -> String {
    let response = sent(ask(bridge, Method::HEAD, location)).await;
    assert_eq!(response.status(), 200);
    response.headers()["upload-offset"].to_str().unwrap().to_owned()
}

async fn why(request: RequestBuilder) -> (u16, String) {
    let response = sent(request).await;
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    assert!(body["error"]["message"].is_string(), "{body}");
    (status, body["error"]["code"].as_str().unwrap().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// A connection on which nothing is done by itself.
struct Raw(TcpStream);

impl Raw {
    async fn patch(bridge: &Bridge, location: &str, length: u64, more: &str) -> Self {
        let mut stream = TcpStream::connect(bridge.local_addr()).await.unwrap();
        let head = format!(
            "PATCH {location} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\
             Authorization: Bearer alice-token\r\nUpload-Offset: 0\r\nContent-Type: {PIECE}\r\n\
             Content-Length: {length}\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// All until the connection ends.
    async fn answer(&mut self) -> String {
        let mut answer = Vec::new();
        let read = self.0.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.expect("an end").unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// The answer's head.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let read = tokio::time::timeout(PATIENCE, self.0.read_u8());
            head.push(read.await.expect("an answer").unwrap());
        }
        String::from_utf8(head).unwrap().to_lowercase()
    }
}

#[tokio::test]
async fn what_is_spoken_here() {
    let home = Home::start();
    let bridge = bridge(&home);
    for path in ["/v1/media", "/v1/media/x", "/v1/media/acme.example/x"] {
        let url = format!("http://{}{path}", bridge.local_addr());
        let request = reqwest::Client::new().request(Method::OPTIONS, url);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 204);
        for (name, value) in [
            ("tus-resumable", "1.0.0"),
            ("tus-version", "1.0.0"),
            ("tus-extension", "creation,creation-with-upload,checksum,expiration,termination"),
            ("tus-max-size", "67108864"),
            ("tus-checksum-algorithm", "sha1,sha256"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET, HEAD, POST, PATCH, DELETE"),
        ] {
            assert_eq!(response.headers()[name], value, "{path}");
        }
        let may = response.headers()["access-control-allow-headers"].to_str().unwrap();
        for name in ["authorization", "upload-metadata", "upload-checksum", "range", "if-range"] {
            assert!(may.split(", ").any(|one| one == name), "{may}");
        }
        let seen = response.headers()["access-control-expose-headers"].to_str().unwrap();
        for name in ["location", "upload-offset", "homing-media", "homing-media-hash", "etag"] {
            assert!(seen.split(", ").any(|one| one == name), "{seen}");
        }
    }
}

#[tokio::test]
async fn a_file_in_pieces() {
    let home = Home::start();
    let bridge = bridge(&home);
    let metadata = format!(
        "filename {},filetype {}, is_secret",
        BASE64.encode("Grüße.txt".as_bytes()),
        BASE64.encode(b"text/plain")
    );
    let response = sent(create(&bridge, 12).header("upload-metadata", metadata)).await;
    assert_eq!(response.status(), 201);
    let headers = response.headers();
    assert_eq!(headers["upload-expires"], "Fri, 01 Jan 2027 12:00:00 GMT");
    assert!(!headers.contains_key("homing-media"));
    let location = headers["location"].to_str().unwrap().to_owned();
    let id: Uuid = location.strip_prefix("/v1/media/").unwrap().parse().unwrap();
    assert_eq!(home.files.claimed(id), (Some("Grüße.txt".into()), Some("text/plain".into())));
    assert_eq!(offset(&bridge, &location).await, "0");

    let sum = format!("sha1 {}", BASE64.encode(&sha1::Sha1::digest(b"hello")));
    let response = sent(patch(&bridge, &location, 0, "hello").header("upload-checksum", sum)).await;
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["upload-offset"], "5");
    assert!(response.headers().contains_key("upload-expires"));
    let response = sent(ask(&bridge, Method::HEAD, &location)).await;
    assert_eq!(response.headers()["upload-length"], "12");
    assert_eq!(response.headers()["upload-offset"], "5");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let sum = format!("sha256 {}", BASE64.encode(&sha2::Sha256::digest(b" there!")));
    let response =
        sent(patch(&bridge, &location, 5, " there!").header("upload-checksum", sum)).await;
    assert_eq!(response.status(), 204);
    let hash = blake3::hash(b"hello there!").to_hex().to_string();
    let whole = |response: &Response| {
        assert_eq!(response.headers()["upload-offset"], "12");
        assert_eq!(response.headers()["homing-media"], id.to_string().as_str());
        assert_eq!(response.headers()["homing-media-hash"], hash.as_str());
        assert!(!response.headers().contains_key("upload-expires"));
    };
    whole(&response);
    whole(&sent(ask(&bridge, Method::HEAD, &location)).await);
    let read = ask(&bridge, Method::GET, &format!("/v1/media/acme.example/{id}"));
    let response = read.send().await.unwrap();
    let name = response.headers()["content-disposition"].to_str().unwrap();
    assert!(name.ends_with("filename*=UTF-8''Gr%C3%BC%C3%9Fe.txt"), "{name}");
    assert_eq!(response.text().await.unwrap(), "hello there!");
    // What is whole is not ended.
    assert_eq!(why(ask(&bridge, Method::DELETE, &location)).await, is(409, "upload_finished"));
    let metrics = bridge.metrics();
    assert_eq!((metrics.media_bytes_in, metrics.media_bytes_out), (12, 12));
}

#[tokio::test]
async fn a_file_with_its_creation() {
    let home = Home::start();
    let bridge = bridge(&home);
    let with = |length, bytes: &'static str| {
        create(&bridge, length).header("content-type", PIECE).body(bytes)
    };
    let response = sent(with(5, "hello")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["upload-offset"], "5");
    assert_eq!(
        response.headers()["homing-media-hash"],
        blake3::hash(b"hello").to_hex().to_string().as_str()
    );
    let response = sent(with(5, "he")).await;
    assert_eq!(response.headers()["upload-offset"], "2");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(sent(patch(&bridge, &location, 2, "llo")).await.status(), 204);

    let response = sent(create(&bridge, 0)).await;
    assert_eq!(response.status(), 201);
    assert!(response.headers().contains_key("homing-media"), "nothing is whole at once");

    let before = home.files.uploads();
    assert_eq!(why(with(3, "hello")).await, is(413, "upload_too_large"));
    let sum = format!("sha1 {}", BASE64.encode(&[7; 20]));
    let wrong = with(5, "hello").header("upload-checksum", sum);
    assert_eq!(why(wrong).await, is(460, "checksum_mismatch"));
    let untyped = create(&bridge, 5).body("hello");
    assert_eq!(why(untyped).await, is(415, "unsupported_media_type"));
    assert_eq!(home.files.uploads(), before, "what was refused has begun nothing");

    // The bytes do not get in, the upload does: the client goes on by PATCH.
    home.files.goes_wrong("append", Refused::new(Code::Busy, "disk_full", "full"));
    let response = sent(with(5, "hello")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["upload-offset"], "0");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(sent(patch(&bridge, &location, 0, "hello")).await.status(), 204);
}

#[tokio::test]
async fn version_and_token_come_first() {
    let home = Home::start();
    let bridge = bridge(&home);
    let path = format!("/v1/media/{}", Uuid::now_v7());
    let client = reqwest::Client::new();
    for (method, path) in [
        (Method::POST, "/v1/media"),
        (Method::HEAD, &path),
        (Method::PATCH, &path),
        (Method::DELETE, &path),
    ] {
        let url = format!("http://{}{path}", bridge.local_addr());
        let asked = || client.request(method.clone(), &url);
        for request in [asked(), asked().header("tus-resumable", "0.2.2")] {
            let response = sent(request.header("authorization", "Bearer alice-token")).await;
            assert_eq!(response.status(), 412, "{method}");
            assert_eq!(response.headers()["tus-version"], "1.0.0");
        }
        let response = sent(asked().header("tus-resumable", "1.0.0")).await;
        assert_eq!(response.status(), 401, "{method}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let response = asked()
            .header("tus-resumable", "1.0.0")
            .header("authorization", "Bearer nobody")
            .header("upload-length", 1)
            .header("upload-offset", 0)
            .header("content-type", PIECE);
        assert_eq!(sent(response).await.status(), 401, "{method}");
    }
    for (method, path, allow) in [
        (Method::GET, "/v1/media", "OPTIONS, POST"),
        (Method::PATCH, "/v1/media/", "OPTIONS, POST"),
        (Method::GET, &path, "OPTIONS, HEAD, PATCH, DELETE"),
        (Method::POST, &path, "OPTIONS, HEAD, PATCH, DELETE"),
    ] {
        let response = sent(ask(&bridge, method, path)).await;
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], allow);
    }
    let nowhere = ask(&bridge, Method::GET, "/v1/media/a/b/c").send().await.unwrap();
    assert_eq!(nowhere.status(), 404);
}

#[tokio::test]
async fn headers_are_checked() {
    let home = Home::start();
    let bridge = bridge(&home);
    for length in ["", "-1", "+1", "x", "1.5", "99999999999999999999999"] {
        let request = ask(&bridge, Method::POST, "/v1/media").header("upload-length", length);
        assert_eq!(why(request).await, is(400, "bad_upload_length"), "{length:?}");
    }
    let missing = ask(&bridge, Method::POST, "/v1/media").header("upload-defer-length", "1");
    assert_eq!(why(missing).await, is(400, "bad_upload_length"));
    let too_large = create(&bridge, crate::files::UPLOAD_BYTES + 1);
    assert_eq!(why(too_large).await, is(413, "upload_too_large"));
    for metadata in ["filename ?", "filename //8=", "name eA==,name eA==", "a b c"] {
        let request = create(&bridge, 1).header("upload-metadata", metadata);
        assert_eq!(why(request).await, is(400, "bad_upload_metadata"), "{metadata}");
    }
    let location = begun(&bridge, 5).await;
    let bare = || ask(&bridge, Method::PATCH, &location).body("hello");
    let typed = || bare().header("content-type", PIECE);
    let offset_of = |text| typed().header("upload-offset", text);
    for wrong in [
        bare().header("upload-offset", 0),
        bare().header("upload-offset", 0).header("content-type", "application/octet-stream"),
        offset_of("0").header("content-encoding", "gzip"),
    ] {
        assert_eq!(why(wrong).await, is(415, "unsupported_media_type"));
    }
    for wrong in [typed(), offset_of(""), offset_of("-1"), offset_of("x")] {
        assert_eq!(why(wrong).await, is(400, "bad_upload_offset"));
    }
    let sum = |text: &str| patch(&bridge, &location, 0, "hello").header("upload-checksum", text);
    for text in ["", "sha1", "sha1 ", "sha1 !", "sha1 aGk=", "sha256 aGk="] {
        assert_eq!(why(sum(text)).await, is(400, "bad_checksum"), "{text:?}");
    }
    assert_eq!(why(sum("md5 aGk=")).await, is(400, "unknown_checksum"));
    assert_eq!(offset(&bridge, &location).await, "0", "what was refused has changed nothing");
}

#[tokio::test]
async fn whatever_the_home_says_has_its_status() {
    let home = Home::start();
    let bridge = bridge(&home);
    let location = begun(&bridge, 5).await;
    for (code, reason, status) in [
        (Code::NotFound, "upload_not_found", 404),
        (Code::NotFound, "upload_expired", 410),
        (Code::Conflict, "offset_conflict", 409),
        (Code::Conflict, "upload_busy", 423),
        (Code::TooLarge, "upload_too_large", 413),
        (Code::LimitReached, "user_quota", 413),
        (Code::LimitReached, "home_quota", 413),
        (Code::LimitReached, "too_many_uploads", 429),
        (Code::InvalidParams, "checksum_mismatch", 460),
        (Code::Busy, "disk_full", 507),
        (Code::Busy, "too_slow", 408),
        (Code::Busy, "stopping", 503),
        (Code::Internal, "internal", 500),
        (Code::NotSignedIn, "bad_token", 401),
        (Code::NotAllowed, "user_disabled", 403),
    ] {
        for call in ["begin", "append"] {
            home.files.goes_wrong(call, Refused::new(code, reason, "so it is"));
            let request = match call {
                "begin" => create(&bridge, 5).header("content-type", PIECE).body("hello"),
                _ => patch(&bridge, &location, 0, "hello"),
            };
            let response = sent(request).await;
            assert_eq!(response.status(), status, "{reason}");
            let waits = [429, 503, 507].contains(&status);
            assert_eq!(response.headers().contains_key("retry-after"), waits, "{reason}");
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["error"]["code"], reason);
        }
    }
    assert_eq!(offset(&bridge, &location).await, "0");
    assert_eq!(bridge.metrics().transfers_open, 0);
}

#[tokio::test]
async fn uploads_that_are_not_as_the_client_thinks() {
    let home = Home::start();
    let bridge = bridge(&home);
    let location = begun(&bridge, 5).await;
    assert_eq!(sent(patch(&bridge, &location, 0, "he")).await.status(), 204);
    assert_eq!(why(patch(&bridge, &location, 0, "he")).await, is(409, "offset_conflict"));
    assert_eq!(why(patch(&bridge, &location, 2, "llo!")).await, is(413, "upload_too_large"));
    assert_eq!(offset(&bridge, &location).await, "2");
    let sum = format!("sha256 {}", BASE64.encode(&[7; 32]));
    let wrong = patch(&bridge, &location, 2, "llo").header("upload-checksum", sum);
    assert_eq!(why(wrong).await, is(460, "checksum_mismatch"));
    assert_eq!(offset(&bridge, &location).await, "2");

    // While one piece comes in there is no other.
    let second = begun(&bridge, 5).await;
    let mut busy = Raw::patch(&bridge, &second, 5, "").await;
    let mut received = home.files.received.subscribe();
    let here = *received.borrow_and_update();
    busy.write(b"a").await;
    received.wait_for(|bytes| *bytes > here).await.unwrap();
    assert_eq!(why(patch(&bridge, &second, 0, "hello")).await, is(423, "upload_busy"));
    busy.write(b"bcde").await;
    assert!(busy.head().await.starts_with("http/1.1 204 "));

    // Somebody else's is not there.
    for id in [location.as_str(), "/v1/media/no-uuid"] {
        let bobs = ask(&bridge, Method::DELETE, id);
        let (client, mut request) = bobs.build_split();
        request
            .as_mut()
            .unwrap()
            .headers_mut()
            .insert("authorization", "Bearer bob-token".parse().unwrap());
        let response = client.execute(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 404);
    }
    home.files.expire(location.rsplit('/').next().unwrap().parse().unwrap());
    assert_eq!(sent(ask(&bridge, Method::HEAD, &location)).await.status(), 410);
    assert_eq!(why(patch(&bridge, &location, 2, "llo")).await, is(410, "upload_expired"));

    let ended = begun(&bridge, 5).await;
    let response = sent(ask(&bridge, Method::DELETE, &ended)).await;
    assert_eq!(response.status(), 204);
    let response = sent(ask(&bridge, Method::HEAD, &ended)).await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn where_there_is_post_alone() {
    let home = Home::start();
    let bridge = bridge(&home);
    let location = begun(&bridge, 5).await;
    let post = |method: &str| {
        ask(&bridge, Method::POST, &location).header("x-http-method-override", method)
    };
    let piece = post("PATCH").header("upload-offset", 0).header("content-type", PIECE);
    assert_eq!(sent(piece.body("he")).await.status(), 204);
    let response = sent(post("HEAD")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["upload-offset"]),
        (200, &"2".parse().unwrap())
    );
    assert_eq!(sent(post("GET")).await.status(), 405);
    assert_eq!(sent(post("DELETE")).await.status(), 204);
    assert_eq!(sent(ask(&bridge, Method::HEAD, &location)).await.status(), 404);
}

#[tokio::test]
async fn a_broken_connection_keeps_what_came() {
    let home = Home::start();
    let bridge = bridge(&home);
    let location = begun(&bridge, 100).await;
    let mut received = home.files.received.subscribe();
    let mut appended = home.files.appended.subscribe();
    let mut raw = Raw::patch(&bridge, &location, 100, "").await;
    raw.write(b"0123456789").await;
    received.wait_for(|bytes| *bytes == 10).await.unwrap();
    drop(raw);
    appended.wait_for(|n| *n == 1).await.unwrap();
    assert_eq!(offset(&bridge, &location).await, "10");
}

#[tokio::test]
async fn who_sends_nothing_is_told_so() {
    let home = Home::start();
    let limits = BridgeLimits { media_idle_ms: 100, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let location = begun(&bridge, 100).await;
    let mut raw = Raw::patch(&bridge, &location, 100, "").await;
    raw.write(b"0123456789").await;
    let answer = raw.answer().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("too_slow") && answer.contains("connection: close"), "{answer}");
    assert_eq!(offset(&bridge, &location).await, "10");
    assert_eq!(bridge.metrics().refusals["too_slow"], 1);
}

#[tokio::test]
async fn who_drips_is_told_so() {
    let home = Home::start();
    let limits =
        BridgeLimits { media_window_ms: 100, media_window_bytes: 1_000, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let location = begun(&bridge, 100_000).await;
    let raw = Raw::patch(&bridge, &location, 100_000, "").await;
    let (mut reads, mut writes) = raw.0.into_split();
    let drips = tokio::spawn(async move {
        while writes.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut answer = vec![0; 12];
    let read = reads.read_exact(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("an answer").unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    drips.abort();
}

#[tokio::test]
async fn an_answer_that_comes_early_is_read() {
    let home = Home::start();
    let limits = BridgeLimits { refused_body_bytes: 64 << 10, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let nowhere = format!("/v1/media/{}", Uuid::now_v7());
    // A little is read away, and the connection goes on.
    let mut raw = Raw::patch(&bridge, &nowhere, 10_000, "").await;
    raw.write(&[0; 10_000]).await;
    let head = raw.head().await;
    assert!(head.starts_with("http/1.1 404 ") && !head.contains("connection: close"), "{head}");
    // Of much more the client has written all before it reads.
    let mut raw = Raw::patch(&bridge, &nowhere, 900_000, "").await;
    raw.write(&[0; 900_000]).await;
    let answer = raw.answer().await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("upload_not_found"));
    // Who asks first whether to send is spared it.
    let mut raw = Raw::patch(&bridge, &nowhere, 1 << 30, "Expect: 100-continue\r\n").await;
    assert!(raw.answer().await.starts_with("HTTP/1.1 404 "));
    let location = begun(&bridge, 5).await;
    let mut raw = Raw::patch(&bridge, &location, 5, "Expect: 100-continue\r\n").await;
    assert!(raw.head().await.starts_with("http/1.1 100 "));
    raw.write(b"hello").await;
    assert!(raw.head().await.starts_with("http/1.1 204 "));
}

#[tokio::test]
async fn a_long_upload_outlives_its_connection_s_time() {
    let home = Home::start();
    let limits = BridgeLimits { http_connection_ms: 100, close_ms: 50, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let location = begun(&bridge, 12).await;
    let mut raw = Raw::patch(&bridge, &location, 12, "").await;
    let began = std::time::Instant::now();
    for _ in 0..12 {
        raw.write(b"x").await;
        tokio::time::sleep(MOMENT).await;
    }
    assert!(began.elapsed() > Duration::from_millis(300));
    let answer = raw.answer().await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains("homing-media: "), "{answer}");
    // Without a file it has no more time than before.
    let mut idle = TcpStream::connect(bridge.local_addr()).await.unwrap();
    let mut nothing = vec![];
    tokio::time::timeout(PATIENCE, idle.read_to_end(&mut nothing)).await.expect("an end").unwrap();
}

#[tokio::test]
async fn files_on_their_way_are_limited() {
    let home = Home::start();
    let limits = BridgeLimits { transfers: 2, transfers_per_user: 1, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let location = begun(&bridge, 5).await;
    let mut raw = Raw::patch(&bridge, &location, 5, "").await;
    let mut received = home.files.received.subscribe();
    raw.write(b"he").await;
    received.wait_for(|bytes| *bytes == 2).await.unwrap();
    assert_eq!(bridge.metrics().transfers_open, 1);
    let other = begun(&bridge, 5).await;
    let response = sent(patch(&bridge, &other, 0, "hello")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"2".parse().unwrap())
    );
    assert_eq!(why(patch(&bridge, &other, 0, "hello")).await, is(503, "transfers_per_user"));
    let id = home.files.here("text/plain", "x", "abc");
    let path = format!("http://{}/v1/media/acme.example/{id}", bridge.local_addr());
    let bob = reqwest::Client::new().get(path).header("authorization", "Bearer bob-token");
    assert_eq!(bob.send().await.unwrap().text().await.unwrap(), "abc");
    raw.write(b"llo").await;
    assert!(raw.head().await.starts_with("http/1.1 204 "));
    assert_eq!(sent(patch(&bridge, &other, 0, "hello")).await.status(), 204);
    assert_eq!(bridge.metrics().transfers_open, 0);
}

#[tokio::test]
async fn a_bridge_that_stops_waits_for_no_file() {
    let home = Home::start();
    let limits = BridgeLimits { close_ms: 50, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let location = begun(&bridge, 5).await;
    let mut raw = Raw::patch(&bridge, &location, 5, "").await;
    let mut received = home.files.received.subscribe();
    raw.write(b"he").await;
    received.wait_for(|bytes| *bytes == 2).await.unwrap();
    assert_eq!(bridge.shutdown(RETRY).await, 0);
}
