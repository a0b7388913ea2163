//! `media`: files up and down, held against copying one with its BLAKE3 and against nginx.
//!
//! All go through the same sockets: whatever the load costs, it costs everybody.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;
use homing_client::Uuid;
use rand::RngCore as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Bench;
use super::line::Line;
use super::load::{Login, Times};
use super::scenario::{Usage, make_user, start};
use crate::homes::Homes;

/// A film: long enough that beginnings and ends do not count.
const FILE_BYTES: u64 = 1 << 30;
/// How often each is done.
const ROUNDS: usize = 3;
/// What the load reads and writes at once.
const PIECE_BYTES: usize = 1 << 20;
/// nginx is ready within that.
const NGINX_WITHIN: Duration = Duration::from_secs(10);

/// Results go out as they come.
pub(super) async fn run(bench: &Bench, lines: &mpsc::Sender<Line>) -> anyhow::Result<()> {
    let mut homes = start(bench, "media", 2).await?;
    let alice = make_user(&homes[0], "alice".to_owned()).await?;
    let bob = make_user(&homes[1], "bob".to_owned()).await?;
    let (alice_client, _events) = super::resume::connect(&alice).await?;
    let dir = bench.dir.join("media");
    let source = dir.join("file");
    // In turns: disks are fast for a while, and slower when that is used up.
    bench.note("media: a file of 1 GiB, copied with its BLAKE3 and uploaded, in turns …");
    let path = source.clone();
    blocking(move || make_file(&path)).await?;
    let (mut copied, mut took, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let before = Usage::of(&homes)?;
    for round in 0..ROUNDS {
        let (path, to) = (source.clone(), dir.join("copy"));
        copied.push(blocking(move || copy(&path, &to)).await?);
        let (login, source) = (alice.clone(), source.clone());
        let (id, time) = blocking(move || upload(&login, &source, round as u64)).await?;
        took.push(time);
        ids.push(id);
    }
    let used = Usage::of(&homes)?.since(&before);
    let copy_per_s = report(lines, "copy+BLAKE3", &copied, None, None).await?;
    report(lines, "upload", &took, Some(copy_per_s), Some(&used)).await?;

    let nginx = Nginx::start(&dir, &source)?;
    let mut nginx_per_s = None;
    match &nginx {
        Some(nginx) => {
            bench.note("media: downloads from nginx …");
            let address = nginx.address.clone();
            let took = rounds(move || download(&address, "/file", None)).await?;
            nginx_per_s = Some(report(lines, "nginx", &took, None, None).await?);
        }
        None => bench.note("media: nginx is not here; downloads are held against nothing"),
    }
    drop(nginx);

    bench.note("media: downloads …");
    let own = format!("/v1/media/{}/{}", homes[0].name(), ids[0]);
    let before = Usage::of(&homes)?;
    let (address, token) = (address_of(&alice)?, alice.token.clone());
    let took = rounds(move || download(&address, &own, Some(&token))).await?;
    let used = Usage::of(&homes)?.since(&before);
    report(lines, "download", &took, nginx_per_s, Some(&used)).await?;

    for id in &ids {
        let media: Value = alice_client.call("media.get", &json!({ "id": id })).await?;
        let body = json!({"type": "media", "media": media["media"]});
        let send = json!({"to": bob.address, "id": Uuid::now_v7(), "body": body});
        let _sent: Value = alice_client.call("messages.send", &send).await?;
    }
    until_known(&homes, &bob).await?;
    bench.note("media: downloads from the other home …");
    for (variant, each) in [("other home", true), ("again", false)] {
        let before = Usage::of(&homes)?;
        let mut took = Vec::new();
        for id in &ids {
            let id = if each { id } else { &ids[0] };
            let path = format!("/v1/media/{}/{id}", homes[0].name());
            let (address, token) = (address_of(&bob)?, bob.token.clone());
            took.push(blocking(move || download(&address, &path, Some(&token))).await?);
        }
        let used = Usage::of(&homes)?.since(&before);
        report(lines, variant, &took, nginx_per_s, Some(&used)).await?;
    }
    alice_client.close().await;
    homes.stop_all().await?;
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

async fn rounds(
    work: impl Fn() -> anyhow::Result<Duration> + Send + 'static,
) -> anyhow::Result<Vec<Duration>> {
    blocking(move || (0..ROUNDS).map(|_| work()).collect()).await
}

/// The line of a case; its median in MB a second. `limit`: what it is held against, likewise.
async fn report(
    lines: &mpsc::Sender<Line>,
    variant: &str,
    took: &[Duration],
    limit: Option<f64>,
    used: Option<&Usage>,
) -> anyhow::Result<f64> {
    let mut times = Histogram::<u64>::new(3)?;
    for time in took {
        times.record(u64::try_from(time.as_nanos())?)?;
    }
    let mut sorted = took.to_vec();
    sorted.sort();
    let per_s = FILE_BYTES as f64 / 1e6 / sorted[sorted.len() / 2].as_secs_f64();
    let Times { p50_ms, p99_ms, p999_ms } = Times::of(&times);
    let count = FILE_BYTES * took.len() as u64 / 1_000_000;
    let line = Line {
        scenario: "media",
        variant: variant.to_owned(),
        unit: "MB",
        count,
        per_s,
        p50_ms,
        p99_ms,
        p999_ms,
        cpu_s_per_1000: used.map_or(0.0, |used| used.cpu_s * 1000.0 / count as f64),
        rss_peak_bytes: used.map_or(0, |used| used.peak_bytes),
        of_limit: limit.map(|limit| per_s / limit),
        ..Line::default()
    };
    lines.send(line).await?;
    Ok(per_s)
}

fn make_file(path: &Path) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    for _ in 0..FILE_BYTES / PIECE_BYTES as u64 {
        rand::rng().fill_bytes(&mut piece);
        file.write_all(&piece)?;
    }
    Ok(file.sync_all()?)
}

/// What an upload is at least: read, hashed, written and on disk.
fn copy(from: &Path, to: &Path) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let (mut from, mut copy) = (File::open(from)?, File::create(to)?);
    let (mut piece, mut hasher) = (vec![0; PIECE_BYTES], blake3::Hasher::new());
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        copy.write_all(&piece[..read])?;
    }
    copy.sync_all()?;
    let took = begun.elapsed();
    ensure!(hasher.finalize() != blake3::hash(&[]), "nothing was copied");
    std::fs::remove_file(to)?;
    Ok(took)
}

fn address_of(login: &Login) -> anyhow::Result<String> {
    let address = login.server.trim_start_matches("http://").trim_end_matches('/');
    Ok(address.to_owned())
}

/// One upload in one piece; `round` makes it another file each time. The answer names it.
fn upload(login: &Login, source: &Path, round: u64) -> anyhow::Result<(Uuid, Duration)> {
    let address = address_of(login)?;
    let begun = Instant::now();
    let head = |method: &str, path: &str, more: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nTus-Resumable: 1.0.0\r\n{more}\r\n",
            login.token
        )
    };
    let mut socket = TcpStream::connect(&address)?;
    socket.set_nodelay(true)?;
    let create = format!("Upload-Length: {FILE_BYTES}\r\nContent-Length: 0\r\n");
    socket.write_all(head("POST", "/v1/media", &create).as_bytes())?;
    let created = read_head(&mut socket)?.head;
    let place = header(&created, "location").context("no Location")?.to_owned();
    let piece = format!(
        "Upload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: {FILE_BYTES}\r\n"
    );
    socket.write_all(head("PATCH", &place, &piece).as_bytes())?;
    let mut file = File::open(source)?;
    let mut piece = vec![0; PIECE_BYTES];
    file.read_exact(&mut piece)?;
    piece[..8].copy_from_slice(&(round + 1).to_be_bytes());
    socket.write_all(&piece)?;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        socket.write_all(&piece[..read])?;
    }
    let done = read_head(&mut socket)?.head;
    ensure!(done.starts_with("HTTP/1.1 204"), "an upload was answered {done}");
    let took = begun.elapsed();
    let id = header(&done, "homing-media").context("no Homing-Media")?.parse()?;
    Ok((id, took))
}

/// One download, thrown away as it comes.
fn download(address: &str, path: &str, token: Option<&str>) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut socket = TcpStream::connect(address)?;
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let bearer = bearer.unwrap_or_default();
    let asked =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{bearer}Connection: close\r\n\r\n");
    socket.write_all(asked.as_bytes())?;
    let Answered { head, early } = read_head(&mut socket)?;
    ensure!(head.starts_with("HTTP/1.1 200"), "a download was answered {head}");
    let mut read = early;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let more = socket.read(&mut piece)?;
        if more == 0 {
            break;
        }
        read += more as u64;
    }
    ensure!(read == FILE_BYTES, "{read} bytes came of {FILE_BYTES}");
    Ok(begun.elapsed())
}

/// The head of an answer, and how much of its body has come with it.
struct Answered {
    head: String,
    early: u64,
}

fn read_head(socket: &mut TcpStream) -> anyhow::Result<Answered> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            return Ok(Answered { head, early: (bytes.len() - at - 4) as u64 });
        }
        let read = socket.read(&mut piece)?;
        if read == 0 {
            bail!("the connection ended: {}", String::from_utf8_lossy(&bytes));
        }
        bytes.extend_from_slice(&piece[..read]);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Until bob has the messages, and may read what they name.
async fn until_known(homes: &Homes, bob: &Login) -> anyhow::Result<()> {
    let (client, _events) = super::resume::connect(bob).await?;
    let alice = format!("alice@{}", homes[0].name());
    let waiting = async {
        loop {
            let opened: Value = client.call("channels.open", &json!({ "with": alice })).await?;
            if opened["head"].as_u64() >= Some(ROUNDS as u64) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.context("no messages came")??;
    client.close().await;
    Ok(())
}

/// nginx with one worker, serving one folder on loopback.
struct Nginx {
    child: Child,
    address: String,
}

impl Nginx {
    /// `None` where it is not installed.
    fn start(dir: &Path, source: &Path) -> anyhow::Result<Option<Self>> {
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(PathBuf::from);
        let Some(program) = program.into_iter().find(|path| path.exists()) else { return Ok(None) };
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let (root, dir) = (source.parent().context("no folder")?.display(), dir.display());
        // As distributions deliver it: sendfile, and large pieces of it.
        let config = format!(
            "daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.log;\n\
             events {{ }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on;\n\
             client_body_temp_path {dir}/n1; proxy_temp_path {dir}/n2; fastcgi_temp_path {dir}/n3;\n\
             uwsgi_temp_path {dir}/n4; scgi_temp_path {dir}/n5;\n\
             server {{ listen {address}; root {root}; }} }}\n"
        );
        let path = Path::new(&dir.to_string()).join("nginx.conf");
        std::fs::write(&path, format!("{}{config}", user_line()))?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let nginx = Self { child, address };
        let begun = Instant::now();
        while TcpStream::connect(&nginx.address).is_err() {
            ensure!(begun.elapsed() < NGINX_WITHIN, "nginx does not start: see {dir}/nginx.log");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(nginx))
    }
}

/// Its workers read our folders: as whoever we are.
fn user_line() -> &'static str {
    if rustix::process::geteuid().is_root() { "user root;\n" } else { "" }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master ends its workers.
        if let Some(pid) =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _gone_already = self.child.wait();
    }
}
