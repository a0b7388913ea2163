use homing_core::Reader as _;
use homing_store::{MemoryStore, Store as _};
use homing_wire::Epoch;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::control::ControlReply;
use crate::operator::decide;

/// A node that decides and commits at once.
struct Node {
    home: Mutex<homing_core::Home>,
    store: Arc<MemoryStore>,
}

impl Operate for Node {
    fn control(&self, control: Control) -> BoxFuture<'_, Result<ControlReply, ControlError>> {
        let mut home = self.home.lock();
        let done = decide(&mut home, &*self.store, &Default::default(), 1_000, control);
        Box::pin(std::future::ready(done.map(|applied| applied.reply)))
    }
}

struct Running {
    address: SocketAddr,
    token: AdminToken,
    store: Arc<MemoryStore>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start_one(folder: &std::path::Path) -> Running {
    let home = HomeId([7; 32]);
    let store = Arc::new(MemoryStore::new(home, Epoch(1)));
    let meta = store.meta();
    let core = homing_core::Home::new(
        home,
        meta.epoch,
        homing_core::Policy::default(),
        meta.change,
        meta.stamp,
        1_000,
        &*store,
    )
    .unwrap();
    let token = AdminToken::create(&folder.join("admin.token")).unwrap();
    let admin = Admin {
        media: None,
        token: token.clone(),
        home,
        node: Arc::new(Node { home: Mutex::new(core), store: store.clone() }),
        store: store.clone(),
        jobs: crate::jobs::Jobs::new(
            crate::backup::Place {
                name: "acme.test".into(),
                keys: "keys".into(),
                config: "homing.toml".into(),
                spill: std::env::temp_dir(),
                min_free_bytes: 0,
            },
            store.clone(),
            crate::tidy::Tidier::new(
                store.clone(),
                crate::tidy::TidyLimits {
                    erase_after: std::time::Duration::from_secs(3_600),
                    bytes_per_s: 0,
                },
                || 0,
            ),
        ),
        metrics: Metrics::new(Vec::new()),
    };
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, Arc::new(admin), stop.clone()));
    Running { address, token, store, stop, task }
}

impl Running {
    /// Sends a request as it is and reads to the end.
    async fn raw(&self, request: String) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn ask(&self, line: &str, host: &str, token: &str, body: &str) -> String {
        self.raw(format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    async fn control(&self, control: &Control) -> String {
        let body = serde_json::to_string(control).unwrap();
        self.ask("POST /v1/control", "127.0.0.1", self.token.expose(), &body).await
    }
}

fn add(user: &str) -> Control {
    Control::UserAdd {
        user: user.parse().unwrap(),
        user_id: homing_wire::UserId(uuid::Uuid::now_v7()),
        display_name: None,
        password: crate::password::hash("correct horse").unwrap(),
    }
}

#[tokio::test]
async fn the_door_opens_with_token_and_host_alone() {
    let folder = tempfile::tempdir().unwrap();
    let node = start_one(folder.path()).await;
    let token = node.token.expose().to_owned();
    let status = r#"{"command":"status"}"#;
    let ok = |text: &str| text.starts_with("HTTP/1.1 200");
    for host in ["127.0.0.1", "localhost:9090", "[::1]:1", "LOCALHOST"] {
        assert!(ok(&node.ask("POST /v1/control", host, &token, status).await), "{host}");
    }
    for host in ["evil.example", "evil.example:9090", "10.0.0.1", "", "localhost.evil.example"] {
        let answer = node.ask("POST /v1/control", host, &token, status).await;
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("bad_host"),
            "{host} {answer}"
        );
    }
    for wrong in ["", "x", &token[1..], &format!("{token}x")] {
        let answer = node.ask("POST /v1/control", "localhost", wrong, status).await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("bad_token"), "{answer}");
    }
    let metrics =
        node.raw("GET /metrics HTTP/1.1\r\nHost: prometheus.example\r\n\r\n".into()).await;
    assert!(ok(&metrics) && metrics.contains("homing_build_info"), "{metrics}");
    assert!(metrics.contains(&format!("{HOME_HEADER}: {}", HomeId([7; 32]))));
}

#[tokio::test]
async fn bad_requests_get_typed_answers() {
    let folder = tempfile::tempdir().unwrap();
    let node = start_one(folder.path()).await;
    let token = node.token.expose().to_owned();
    let cases = [
        ("GET /v1/control", "", "405", "method_not_allowed"),
        ("GET /nothing", "", "404", "not_found"),
        ("POST /v1/control", "{}", "422", "bad_command"),
        ("POST /v1/control", "{\"command\":\"explode\"}", "422", "bad_command"),
        ("POST /v1/control", "not json", "422", "bad_command"),
        ("POST /v1/control", &" ".repeat(BODY_BYTES + 1), "413", "too_large"),
        ("POST /v1/control", "{\"command\":\"user_list\",\"colour\":1}", "422", "bad_command"),
    ];
    for (line, body, status, code) in cases {
        let answer = node.ask(line, "localhost", &token, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
        assert!(answer.contains(code), "{line}: {answer}");
    }
}

#[tokio::test]
async fn commands_are_committed_before_they_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let node = start_one(folder.path()).await;
    let answer = node.control(&add("alice")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"user\":\"alice\""),
        "{answer}"
    );
    assert!(node.store.account(&"alice".parse().unwrap()).unwrap().is_some());
    let again = node.control(&add("alice")).await;
    assert!(again.starts_with("HTTP/1.1 409") && again.contains("user_exists"), "{again}");
    let export =
        node.control(&Control::UserExport { user: "alice".parse().unwrap(), place: None }).await;
    assert!(export.contains("\"kind\":\"account\""), "{export}");
    assert!(!export.contains("argon2"), "no secrets in an export");
}

#[test]
fn a_reply_is_read_back_as_it_was_sent() {
    let answer = ControlReply::Done;
    let text = serde_json::to_string(&answer).unwrap();
    assert_eq!(serde_json::from_str::<ControlReply>(&text).unwrap(), answer);
    let control = Control::HomeBlock { home: "globex.example".parse().unwrap(), blocked: true };
    let text = serde_json::to_string(&control).unwrap();
    assert_eq!(serde_json::from_str::<Control>(&text).unwrap(), control);
}

#[tokio::test]
async fn it_stops_when_told_and_gives_its_port_back() {
    let folder = tempfile::tempdir().unwrap();
    let node = start_one(folder.path()).await;
    let taken = bind(node.address).await.unwrap_err();
    assert!(taken.to_string().contains("admin.listen"), "{taken}");
    node.stop.cancel();
    node.task.await.unwrap();
    bind(node.address).await.unwrap();
}
