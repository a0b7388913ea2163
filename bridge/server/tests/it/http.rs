//! HTTP: statuses, the error object, and what is not HTTP at all.

use homing_bridge::{Bridge, BridgeLimits};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::home::Home;
use crate::ws::{Got, PATIENCE, Ws, bridge, bridge_with};

fn url(bridge: &Bridge, path: &str) -> String {
    format!("http://{}{path}", bridge.local_addr())
}

async fn post(bridge: &Bridge, path: &str, body: Value) -> Response {
    reqwest::Client::new().post(url(bridge, path)).json(&body).send().await.unwrap()
}

/// Status and code of a refusal, which must be the error object.
async fn why(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body: Value = response.json().await.unwrap();
    assert!(body["error"]["message"].is_string(), "{body}");
    (status, body["error"]["code"].as_str().unwrap().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn accounts() {
    let home = Home::start();
    let bridge = bridge(&home);
    let carol = json!({"user": "carol", "password": "long enough", "display_name": "Carol"});
    let response = post(&bridge, "/v1/register", carol.clone()).await;
    assert_eq!(response.status(), 201);
    let registered: Value = response.json().await.unwrap();
    assert_eq!(registered["address"], "carol@acme.example");
    assert_eq!(
        why(post(&bridge, "/v1/register", carol.clone()).await).await,
        is(409, "user_exists")
    );
    for (field, value, refused) in [
        ("user", "carоl", is(422, "invalid_user")),
        ("password", "short", is(422, "weak_password")),
        ("invite", "closed", is(403, "registration_closed")),
        ("invite", "bad", is(403, "bad_invite")),
        ("invite", "busy", is(503, "hashing_full")),
    ] {
        let mut body = carol.clone();
        body[field] = json!(value);
        assert_eq!(why(post(&bridge, "/v1/register", body).await).await, refused);
    }

    let login = |user: &str| json!({"user": user, "password": "long enough", "device_name": "d"});
    let response = post(&bridge, "/v1/login", login("carol")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let token = response.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        why(post(&bridge, "/v1/login", login("alice")).await).await,
        is(401, "bad_credentials")
    );
    assert_eq!(
        why(post(&bridge, "/v1/login", login("disabled")).await).await,
        is(403, "user_disabled")
    );
    let many = post(&bridge, "/v1/login", login("many")).await;
    assert_eq!(many.headers()["retry-after"], "13", "seconds, rounded up");
    assert_eq!(why(many).await, is(429, "too_many_attempts"));

    let mut ws = Ws::connect(&bridge).await;
    ws.ok("session.open", json!({"token": token})).await;
    let logout = || reqwest::Client::new().post(url(&bridge, "/v1/logout"));
    let without = logout().send().await.unwrap();
    assert_eq!(without.headers()["www-authenticate"], "Bearer");
    assert_eq!(why(without).await, is(401, "bad_token"));
    let response = logout().bearer_auth(&token).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(ws.got().await, Got::Closed(Some(4403)));
    assert_eq!(why(logout().bearer_auth(&token).send().await.unwrap()).await, is(401, "bad_token"));
}

#[tokio::test]
async fn bodies() {
    let home = Home::start();
    let bridge = bridge(&home);
    let send = |media_type: &'static str, body: Vec<u8>| {
        let request = reqwest::Client::new().post(url(&bridge, "/v1/login")).body(body);
        async move { why(request.header("content-type", media_type).send().await.unwrap()).await }
    };
    let json_type = "application/json";
    let good = br#"{"user":"alice","password":"wrong"}"#.to_vec();
    assert_eq!(
        send("application/json; charset=utf-8", good.clone()).await,
        is(401, "bad_credentials")
    );
    assert_eq!(send("text/plain", good).await, is(415, "unsupported_media_type"));
    for bad in
        [&b""[..], b"{", b"\xff", b"{\"user\":\"\\ud800\",\"password\":\"x\"}", b"{\"user\":\"a\""]
    {
        assert_eq!(send(json_type, bad.to_vec()).await, is(400, "bad_json"), "{bad:?}");
    }
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = |field: &str, n: usize| {
        let mut body = json!({"user": "a", "password": "x"});
        body[field] = json!("x".repeat(n));
        body.to_string()
    };
    for wrong in [
        "[]".to_owned(),
        "{}".to_owned(),
        r#"["alice","correct horse",null]"#.to_owned(),
        r#"{"user":1,"password":"x"}"#.to_owned(),
        r#"{"user":"a","user":"b","password":"x"}"#.to_owned(),
        r#"{"user":"a","password":"x","device_name":"\u0000"}"#.to_owned(),
        long("password", 1_025),
        long("device_name", 129),
        deep.clone(),
    ] {
        let answer = send(json_type, wrong.clone().into_bytes()).await;
        assert_eq!(answer, is(400, "bad_request"), "{wrong:.80}");
    }
    let unknown = format!(r#"{{"user":"a","password":"x","new":{deep}}}"#);
    assert_eq!(
        send(json_type, unknown.into_bytes()).await,
        is(401, "bad_credentials"),
        "what is not known is not looked at"
    );
    for bytes in [(64 << 10) + 1, 700_000] {
        let long = format!(r#"{{"user":"{}","password":"x"}}"#, "x".repeat(bytes));
        assert_eq!(send(json_type, long.into_bytes()).await, is(413, "body_too_large"));
    }
    // The answer to a wrong field names no value.
    let request = reqwest::Client::new().post(url(&bridge, "/v1/login"));
    let body = json!({"user": {"secret": 1}, "password": "hunter2"});
    let answer = request.json(&body).send().await.unwrap().text().await.unwrap();
    assert!(!answer.contains("secret") && !answer.contains("hunter2"), "{answer}");
}

#[tokio::test]
async fn addresses_and_methods() {
    let home = Home::start();
    let bridge = bridge(&home);
    let client = reqwest::Client::new();
    for path in ["/v1", "/v1/nothing", "/v1/login/x", "/metrics", "/x"] {
        assert_eq!(
            why(client.get(url(&bridge, path)).send().await.unwrap()).await,
            is(404, "not_found"),
            "{path}"
        );
    }
    for (method, path, allow) in [
        (Method::GET, "/v1/register", "POST"),
        (Method::PUT, "/v1/login", "POST"),
        (Method::DELETE, "/v1/logout", "POST"),
        (Method::POST, "/v1/ws", "GET"),
        (Method::POST, "/healthz", "GET, HEAD"),
        (Method::TRACE, "/", "GET, HEAD"),
        (Method::PATCH, "/.well-known/homing", "GET, HEAD"),
    ] {
        let response = client.request(method, url(&bridge, path)).send().await.unwrap();
        assert_eq!(response.headers()["allow"], allow, "{path}");
        assert_eq!(why(response).await, is(405, "method_not_allowed"));
    }
    let plain = client.get(url(&bridge, "/v1/ws")).send().await.unwrap();
    assert_eq!(plain.headers()["upgrade"], "websocket");
    assert_eq!(plain.headers()["sec-websocket-version"], "13");
    assert_eq!(why(plain).await, is(426, "upgrade_required"));
    let old = client
        .get(url(&bridge, "/v1/ws"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "8")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(old.send().await.unwrap().status(), StatusCode::UPGRADE_REQUIRED);
    let welcome = client.get(url(&bridge, "/")).send().await.unwrap();
    assert_eq!(welcome.headers()["content-type"], "text/html; charset=utf-8");
    assert!(welcome.text().await.unwrap().contains("/v1/openrpc.json"));
    let head = client.head(url(&bridge, "/v1/openapi.json")).send().await.unwrap();
    assert_eq!(head.status(), 200);
    let length = homing_bridge::openapi().to_string().len().to_string();
    assert_eq!(head.headers()["content-length"], length.as_str());
}

#[tokio::test]
async fn browsers_of_other_origins() {
    let home = Home::start();
    let bridge = bridge(&home);
    let client = reqwest::Client::new();
    for path in ["/v1/login", "/v1/register", "/v1/logout", "/.well-known/homing"] {
        let response = client
            .request(Method::OPTIONS, url(&bridge, path))
            .header("origin", "https://elsewhere.example")
            .header("access-control-request-method", "POST")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(
            response.headers()["access-control-allow-headers"],
            "authorization, content-type"
        );
    }
    let refused = post(&bridge, "/v1/login", json!({"user": "a", "password": "b"})).await;
    assert_eq!(refused.headers()["access-control-allow-origin"], "*", "errors can be read too");
    let known = client.get(url(&bridge, "/.well-known/homing")).send().await.unwrap();
    assert_eq!(known.headers()["access-control-allow-origin"], "*");
    let known: Value = known.json().await.unwrap();
    assert_eq!(known["home"], "acme.example");
    assert_eq!(known["client"], "wss://chat.acme.example/v1/ws");
    let health = client.get(url(&bridge, "/healthz")).send().await.unwrap();
    assert!(!health.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_home_that_is_not_ready() {
    let home = Home::start();
    let bridge = bridge(&home);
    let get = async |path: &str| {
        let response = reqwest::get(url(&bridge, path)).await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    assert_eq!(get("/readyz").await, (200, json!({"status": "ready"})));
    home.not_ready("replaying");
    assert_eq!(get("/readyz").await, (503, json!({"status": "replaying"})));
    assert_eq!(get("/healthz").await, (200, json!({"status": "ok"})));
    assert_eq!(get("/.well-known/homing").await.0, 503);
    let refused = tokio_tungstenite::connect_async(format!("ws://{}/v1/ws", bridge.local_addr()))
        .await
        .unwrap_err();
    let tokio_tungstenite::tungstenite::Error::Http(response) = refused else {
        panic!("{refused}")
    };
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "2");
}

#[tokio::test]
async fn who_is_slow_with_the_request_is_let_go() {
    let home = Home::start();
    let limits = BridgeLimits { header_ms: 100, http_body_ms: 100, ..BridgeLimits::default() };
    let bridge = bridge_with(&home, limits);
    let answer = async |sent: &str| {
        let mut stream = TcpStream::connect(bridge.local_addr()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.expect("the end").unwrap();
        String::from_utf8(answer).unwrap()
    };
    assert_eq!(answer("").await, "");
    assert_eq!(answer("GET / HTTP/1.1\r\nHost:").await, "");
    let body = answer(
        "POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    )
    .await;
    assert!(body.starts_with("HTTP/1.1 408 "), "{body}");
    assert!(answer("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn connections_are_limited() {
    let home = Home::start();
    let bridge = bridge_with(&home, BridgeLimits { connections: 2, ..BridgeLimits::default() });
    let first = Ws::open(&bridge, "alice").await;
    let mut second = Ws::open(&bridge, "bob").await;
    let mut third = TcpStream::connect(bridge.local_addr()).await.unwrap();
    let mut nothing = Vec::new();
    let end = tokio::time::timeout(PATIENCE, third.read_to_end(&mut nothing)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(bridge.metrics().connections_refused["connections"], 1);
    second.ok("channels.list", json!({})).await;
    drop(first);
    let mut gone = home.gone.subscribe();
    gone.wait_for(|gone| *gone == 1).await.unwrap();
}
