//! Uploads and downloads against a server that breaks off in the middle.

// A test that meets what it did not expect shall panic there.
#![allow(clippy::wildcard_enum_match_arm, clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use homing_client::{Download, Error, Media, Progress, Server, Upload};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const ID: &str = "0190b0f2-0000-7000-8000-0000000000f1";

/// A home that keeps one file, and closes connections when a test likes.
#[derive(Default)]
struct State {
    /// What was uploaded, or is there to be downloaded.
    bytes: Vec<u8>,
    /// Of the upload that was begun.
    length: Option<usize>,
    metadata: String,
    /// Requests, as `PATCH 100` or `GET bytes=5-`.
    seen: Vec<String>,
    /// For each PATCH or GET after another: bytes after which the connection is closed.
    cuts: Vec<usize>,
    /// The hash that is told in place of the true one.
    hash: Option<String>,
    knows_no_ranges: bool,
}

type Home = Arc<Mutex<State>>;

async fn home(state: State) -> (Home, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let home: Home = Arc::new(Mutex::new(state));
    let serving = Arc::clone(&home);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let home = Arc::clone(&serving);
            // A connection that is cut is an error here, and meant.
            tokio::spawn(async move { drop(serve(home, stream).await) });
        }
    });
    (home, server)
}

async fn serve(home: Home, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let (method, path) = {
            let mut words = lines[0].split(' ');
            (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
        };
        let headers: HashMap<String, String> = lines[1..]
            .iter()
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        assert_eq!(headers["authorization"], "Bearer secret");
        match method.as_str() {
            "POST" => {
                {
                    let mut home = home.lock().unwrap();
                    home.seen.push("POST".into());
                    home.length = Some(headers["upload-length"].parse().unwrap());
                    home.metadata = headers["upload-metadata"].clone();
                    home.bytes.clear();
                }
                let head = format!(
                    "HTTP/1.1 201 Created\r\nlocation: /v1/media/{ID}\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await?;
            }
            "HEAD" => {
                let head = {
                    let mut home = home.lock().unwrap();
                    home.seen.push("HEAD".into());
                    match home.length {
                        Some(_) if path == format!("/v1/media/{ID}") => told(&home, "200 OK"),
                        _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    }
                };
                stream.write_all(head.as_bytes()).await?;
            }
            "PATCH" => {
                assert_eq!(headers["content-type"], "application/offset+octet-stream");
                let offset: usize = headers["upload-offset"].parse().unwrap();
                let mut left: usize = headers["content-length"].parse().unwrap();
                let mut cut = {
                    let mut home = home.lock().unwrap();
                    home.seen.push(format!("PATCH {offset}"));
                    assert_eq!(offset, home.bytes.len());
                    if home.cuts.is_empty() { usize::MAX } else { home.cuts.remove(0) }
                };
                let mut buffer = vec![0; 10_000];
                while left > 0 {
                    let count = stream.read(&mut buffer[..left.min(10_000).min(cut)]).await?;
                    if count == 0 {
                        return Ok(());
                    }
                    home.lock().unwrap().bytes.extend_from_slice(&buffer[..count]);
                    left -= count;
                    cut -= count;
                    if cut == 0 {
                        return Ok(());
                    }
                }
                let head = told(&home.lock().unwrap(), "204 No Content");
                stream.write_all(head.as_bytes()).await?;
            }
            "GET" => {
                let range = headers.get("range").cloned();
                let (body, length, head, cut) = {
                    let mut home = home.lock().unwrap();
                    home.seen.push(format!("GET {}", range.as_deref().unwrap_or("-")));
                    let begin: usize = match &range {
                        Some(range) if !home.knows_no_ranges => range
                            .strip_prefix("bytes=")
                            .unwrap()
                            .strip_suffix('-')
                            .unwrap()
                            .parse()
                            .unwrap(),
                        _ => 0,
                    };
                    let total = home.bytes.len();
                    let body = home.bytes[begin..].to_vec();
                    let cut = if home.cuts.is_empty() { usize::MAX } else { home.cuts.remove(0) };
                    let status = if range.is_some() && !home.knows_no_ranges {
                        format!(
                            "206 Partial Content\r\ncontent-range: bytes {begin}-{}/{total}",
                            total - 1
                        )
                    } else {
                        "200 OK".to_owned()
                    };
                    (body.clone(), body.len(), status, cut)
                };
                let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body[..cut.min(length)]).await?;
                if cut < length {
                    stream.shutdown().await?;
                    return Ok(());
                }
            }
            other => panic!("{other}"),
        }
    }
}

fn told(home: &State, status: &str) -> String {
    let length = home.length.unwrap();
    let mut head = format!(
        "HTTP/1.1 {status}\r\nupload-offset: {}\r\nupload-length: {length}\r\n",
        home.bytes.len()
    );
    if home.bytes.len() == length {
        let hash = home.hash.clone().unwrap_or_else(|| hash(&home.bytes));
        head.push_str(&format!("homing-media: {ID}\r\nhoming-media-hash: {hash}\r\n"));
    }
    head + "\r\n"
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn file(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn media(bytes: &[u8]) -> Media {
    Media {
        home: "globex.test".into(),
        id: ID.into(),
        hash: hash(bytes),
        size: bytes.len() as u64,
        mime: "application/x-test".into(),
        name: "file.bin".into(),
        width: None,
        height: None,
        duration_ms: None,
        preview: None,
    }
}

#[test]
fn a_length_is_said_as_players_say_it() {
    let length = |ms| Media { duration_ms: ms, ..media(b"") }.length();
    assert_eq!(length(None), None);
    for (ms, said) in [(0, "0:00"), (600, "0:01"), (83_000, "1:23"), (7_205_000, "2:00:05")] {
        assert_eq!(length(Some(ms)).unwrap(), said);
    }
    assert_eq!(length(Some(u64::MAX)).unwrap().len(), "5124095576030:25:51".len());
}

#[tokio::test]
async fn an_upload_goes_on_where_the_connection_broke() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("año.bin");
    let bytes = file(1_000_000);
    std::fs::write(&path, &bytes).unwrap();
    let (home, server) = home(State { cuts: vec![300_000, 1, 400_000], ..State::default() }).await;
    let upload = Upload { mime: Some("text/plain".into()), ..Upload::new(&path) };
    let (mut addresses, mut last) = (Vec::new(), Progress { done: 0, total: 0 });
    let uploaded = upload
        .run(&server, "secret", &mut |a| addresses.push(a.to_owned()), &mut |p| last = p)
        .await
        .unwrap();
    assert_eq!((uploaded.id.to_string().as_str(), &*uploaded.hash), (ID, &*hash(&bytes)));
    assert_eq!(addresses, [format!("/v1/media/{ID}")]);
    assert_eq!(last, Progress { done: 1_000_000, total: 1_000_000 });
    let home = home.lock().unwrap();
    assert!(home.bytes == bytes);
    assert_eq!(home.metadata, "filename YcOxby5iaW4=,filetype dGV4dC9wbGFpbg==");
    let patches: Vec<_> = home.seen.iter().filter(|s| s.starts_with("PATCH")).collect();
    assert_eq!(patches, ["PATCH 0", "PATCH 300000", "PATCH 300001", "PATCH 700001"]);
}

#[tokio::test]
async fn another_run_goes_on_with_what_is_there_and_begins_anew_what_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bin");
    let bytes = file(50_000);
    std::fs::write(&path, &bytes).unwrap();
    let begun = State { bytes: bytes[..20_000].to_vec(), length: Some(50_000), ..State::default() };
    let (home, server) = home(begun).await;
    let mut upload = Upload { address: Some(format!("/v1/media/{ID}")), ..Upload::new(&path) };
    let mut none = |_: &str| panic!("it was begun already");
    upload.run(&server, "secret", &mut none, &mut |_| {}).await.unwrap();
    assert_eq!(home.lock().unwrap().seen, ["HEAD", "PATCH 20000"]);
    // Whole already: nothing is sent.
    upload.run(&server, "secret", &mut none, &mut |_| {}).await.unwrap();
    upload.address = Some("/v1/media/forgotten".into());
    upload.run(&server, "secret", &mut |_| {}, &mut |_| {}).await.unwrap();
    let seen = home.lock().unwrap().seen.split_off(2);
    assert_eq!(seen, ["HEAD", "HEAD", "POST", "HEAD", "PATCH 0"]);
    // A token is shown to no other server.
    upload.address = Some("http://127.0.0.1:1/v1/media/x".into());
    let error = upload.run(&server, "secret", &mut |_| {}, &mut |_| {}).await.unwrap_err();
    assert_eq!(error.reason(), "garbled");
}

#[tokio::test]
async fn what_cannot_be_uploaded_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty");
    std::fs::write(&path, b"").unwrap();
    let (home, server) = home(State::default()).await;
    let upload = Upload::new(&path);
    upload.run(&server, "secret", &mut |_| {}, &mut |_| {}).await.unwrap();
    home.lock().unwrap().hash = Some("00".repeat(32));
    let error = upload.run(&server, "secret", &mut |_| {}, &mut |_| {}).await.unwrap_err();
    assert_eq!(error.reason(), "file_changed");
    for missing in [dir.path().join("nothing"), dir.path().to_owned()] {
        let error = Upload::new(&missing)
            .run(&server, "secret", &mut |_| {}, &mut |_| {})
            .await
            .unwrap_err();
        assert_eq!(error.reason(), "file_error");
    }
}

#[tokio::test]
async fn a_download_goes_on_where_the_connection_broke_and_appears_whole() {
    for knows_no_ranges in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("a.bin");
        let bytes = file(600_000);
        let (home, server) = home(State {
            bytes: bytes.clone(),
            cuts: vec![100_000, 250_000],
            knows_no_ranges,
            ..State::default()
        })
        .await;
        let download = Download::new(media(&bytes));
        let mut last = 0;
        let mut progress = |p: Progress| {
            assert!(!to.exists() && p.total == 600_000);
            last = p.done;
        };
        download.to_file(&server, "secret", &to, false, &mut progress).await.unwrap();
        assert_eq!(last, 600_000);
        assert!(std::fs::read(&to).unwrap() == bytes);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
        assert_eq!(home.lock().unwrap().seen.len(), 3);
        // What is there is not replaced unasked.
        let again = download.to_file(&server, "secret", &to, false, &mut |_| {}).await;
        assert_eq!(again.unwrap_err().reason(), "file_error");
        download.to_file(&server, "secret", &to, true, &mut |_| {}).await.unwrap();
    }
}

#[tokio::test]
async fn what_an_earlier_run_left_is_used_and_what_is_of_another_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (to, part) = (dir.path().join("a.bin"), dir.path().join("a.bin.part"));
    let bytes = file(200_000);
    let (home, server) = home(State { bytes: bytes.clone(), ..State::default() }).await;
    let download = Download::new(media(&bytes));
    let seen = |home: &Home| std::mem::take(&mut home.lock().unwrap().seen);
    for (left, expected) in [
        (bytes[..150_000].to_vec(), vec!["GET bytes=150000-"]),
        (bytes.clone(), vec![]),
        (vec![9; 150_000], vec!["GET bytes=150000-", "GET -"]),
        (vec![9; 200_001], vec!["GET -"]),
    ] {
        std::fs::write(&part, left).unwrap();
        download.to_file(&server, "secret", &to, true, &mut |_| {}).await.unwrap();
        assert_eq!(seen(&home), expected);
        assert!(std::fs::read(&to).unwrap() == bytes && !part.exists());
    }
    // A link in its way leads nowhere.
    #[cfg(unix)]
    {
        let elsewhere = dir.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, &part).unwrap();
        let error = download.to_file(&server, "secret", &to, true, &mut |_| {}).await.unwrap_err();
        assert!(error.reason() == "file_error" && !elsewhere.exists());
        std::fs::remove_file(&part).unwrap();
    }
    // A home that gives something else is not believed.
    let mut other = media(&file(200_000));
    other.hash = hash(b"another");
    let download = Download::new(other.clone());
    std::fs::remove_file(&to).unwrap();
    let error = download.to_file(&server, "secret", &to, false, &mut |_| {}).await.unwrap_err();
    assert_eq!(error, Error::WrongHash);
    assert!(!to.exists() && !part.exists());
    let error = download.to_writer(&server, "secret", &mut Vec::new(), &mut |_| {}).await;
    assert_eq!(error.unwrap_err(), Error::WrongHash);
    // Nor one that gives more.
    let short = Download::new(Media { size: 100, ..other.clone() });
    let error = short.to_writer(&server, "secret", &mut Vec::new(), &mut |_| {}).await;
    assert_eq!(error.unwrap_err().reason(), "garbled");
    // A home or id of another home's making is no path.
    for (home, id) in [("..", ID), ("a/b", ID), ("globex.test", "../x"), ("", ID)] {
        let strange = Media { home: home.into(), id: id.into(), ..other.clone() };
        let error =
            Download::new(strange).to_writer(&server, "secret", &mut Vec::new(), &mut |_| {}).await;
        assert_eq!(error.unwrap_err().reason(), "garbled");
    }
    let mut written = Vec::new();
    let right = Download::new(media(&bytes));
    right.to_writer(&server, "secret", &mut written, &mut |_| {}).await.unwrap();
    assert!(written == bytes);
}
