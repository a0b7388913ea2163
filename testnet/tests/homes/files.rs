//! Files: uploaded, sent, fetched from another home, forwarded, gone. What strange clients do is in `.ci/contract files`.

use std::path::Path;
use std::time::Duration;

use homing_client::{
    Client, Download, Media, MediaBody, Message, MessageRef, Server, Target, Upload, Uuid,
};

use crate::party::{Party, WITHIN, next_message};

/// What nothing names goes soon, though not before a slow machine has named it, and it is looked for it all the time.
const QUICK: [(&str, &str); 2] =
    [("HOMING_MEDIA__UNNAMED_MS", "8000"), ("HOMING_MEDIA__SWEEP_MS", "50")];

/// A file of so many bytes, each another one.
fn file(folder: &Path, name: &str, bytes: usize) -> std::path::PathBuf {
    let mut content = vec![0; bytes];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut content);
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

async fn upload(server: &Server, token: &str, client: &Client, path: &Path) -> Media {
    let uploaded = Upload::new(path).run(server, token, &mut |_| {}, &mut |_| {}).await.unwrap();
    client.media_get(uploaded.id).await.unwrap()
}

async fn send(client: &Client, to: &str, media: &Media) -> homing_client::Sent {
    let body = MediaBody::new(media, None);
    client.send(Target::To(to), Uuid::now_v7(), &body).await.unwrap()
}

fn media_of(message: &Message) -> Media {
    let body: serde_json::Value = serde_json::from_str(message.body.get()).unwrap();
    serde_json::from_value(body["media"].clone()).unwrap()
}

/// Files below a folder, and their bytes.
fn kept(folder: &Path) -> (usize, u64) {
    let Ok(entries) = std::fs::read_dir(folder) else { return (0, 0) };
    entries.fold((0, 0), |(count, bytes), entry| {
        let entry = entry.unwrap();
        let (more, size) = match entry.file_type().unwrap().is_dir() {
            true => kept(&entry.path()),
            false => (1, entry.metadata().map_or(0, |metadata| metadata.len())),
        };
        (count + more, bytes + size)
    })
}

/// Nobody tells when the node looks for what may go.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_to_another_home_and_on_from_there() {
    let mut party = Party::with(&["acme.test", "globex.test"], &QUICK).await;
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "plan.bin", 3_000_000);
    let alice_token = party.homes[0].user("alice").await.unwrap().token;
    let bob_token = party.homes[1].user("bob").await.unwrap().token;
    let carol_token = party.homes[1].user("carol").await.unwrap().token;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bobs) = party.client(1, "bob").await;
    let (carol, mut carols) = party.client(1, "carol").await;
    let (acme, globex) = (party.homes[0].server().unwrap(), party.homes[1].server().unwrap());

    let media = upload(&acme, &alice_token, &alice, &path).await;
    assert_eq!((media.size, media.name.as_str()), (3_000_000, "plan.bin"));
    let sent = send(&alice, "bob@globex.test", &media).await;
    let message = next_message(&mut bobs).await;
    let theirs = media_of(&message);
    let to = dir.path().join("bobs.bin");
    let downloaded = Download::new(theirs.clone());
    downloaded.to_file(&globex, &bob_token, &to, false, &mut |_| {}).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&path).unwrap());
    let error = Download { patience: Duration::ZERO, ..downloaded.clone() }
        .to_file(&globex, &carol_token, &dir.path().join("no"), false, &mut |_| {})
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "media_not_found");

    // Somebody else's file under somebody else's home cannot be forwarded; a copy can, also when its first home is gone.
    let of = MessageRef { id: message.id, sender: "alice@acme.test".to_owned() };
    let body = MediaBody::new(&theirs, None);
    let refused = bob.send(Target::To("carol@globex.test"), Uuid::now_v7(), &body).await;
    assert_eq!(refused.unwrap_err().reason(), "media_not_found");
    let copy = bob.media_copy(message.channel, &of).await.unwrap();
    assert_eq!((copy.home.as_str(), &copy.hash), ("globex.test", &media.hash));
    party.homes[0].stop().await.unwrap();
    send(&bob, "carol@globex.test", &copy).await;
    let forwarded = media_of(&next_message(&mut carols).await);
    let to = dir.path().join("carols.bin");
    let downloaded = Download::new(forwarded);
    downloaded.to_file(&globex, &carol_token, &to, false, &mut |_| {}).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(&path).unwrap());
    drop(carol);

    // Deleted by its sender, it goes at both homes; the copy stays.
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    let by = MessageRef { id: sent.id, sender: "alice@acme.test".to_owned() };
    alice.delete(sent.channel, &by).await.unwrap();
    let blobs = party.homes[0].dir().join("media/blobs");
    until("a file that nothing names stays", || kept(&blobs) == (0, 0)).await;
    assert_eq!(kept(&party.homes[1].dir().join("media/blobs")), (1, 3_000_000));
    party.homes.stop_all().await.unwrap();
}

/// Two seconds of silence.
fn sound() -> Vec<u8> {
    let data = 32_000_u32;
    let mut bytes = [b"RIFF", &(data + 36).to_le_bytes()[..], b"WAVEfmt ", &[16, 0, 0, 0]].concat();
    bytes.extend([1, 0, 1, 0]);
    bytes.extend([8_000_u32.to_le_bytes(), 16_000_u32.to_le_bytes()].concat());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend([&b"data"[..], &data.to_le_bytes(), &[0; 32_000]].concat());
    bytes
}

/// An MP4 of 83 seconds, held upright by who has made it, with what says so at its end.
fn film() -> Vec<u8> {
    let part = |kind: &[u8], body: &[u8]| {
        [&u32::try_from(body.len() + 8).unwrap().to_be_bytes()[..], kind, body].concat()
    };
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    let movie = [&words(&[0, 0, 0, 1_000, 83_120])[..], &[0; 80]].concat();
    let mut track = words(&[7, 0, 0, 1, 0, 83_120, 0, 0, 0, 0]);
    track.extend(words(&[0, 1 << 16, 0, u32::MAX << 16, 0, 0, 0, 0, 1 << 30]));
    track.extend(words(&[1280 << 16, 720 << 16]));
    let handler = [&words(&[0, 0])[..], b"vide", &[0; 13]].concat();
    let media = part(b"mdia", &part(b"hdlr", &handler));
    let track = part(b"trak", &[part(b"tkhd", &track), media].concat());
    let movie = part(b"moov", &[part(b"mvhd", &movie), track].concat());
    let frames = part(b"mdat", &[9; 300_000]);
    [part(b"ftyp", b"isom\0\0\0\0"), frames, movie].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_and_how_large_is_known_here_and_of_a_copy_elsewhere() {
    let mut party = Party::with(&["acme.test", "globex.test"], &QUICK).await;
    let dir = tempfile::tempdir().unwrap();
    let token = party.homes[0].user("alice").await.unwrap().token;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bobs) = party.client(1, "bob").await;
    let acme = party.homes[0].server().unwrap();
    let told = |media: &Media| (media.duration_ms, media.width, media.height);
    for (name, bytes, known) in [
        ("film.mp4", film(), (Some(83_120), Some(720), Some(1280))),
        ("sound.wav", sound(), (Some(2_000), None, None)),
        ("cut.mp4", film()[..200_000].to_vec(), (None, None, None)),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let media = upload(&acme, &token, &alice, &path).await;
        assert_eq!(told(&media), known, "{media:?}");
        send(&alice, "bob@globex.test", &media).await;
        let message = next_message(&mut bobs).await;
        assert_eq!(told(&media_of(&message)), known, "{name}");
        let of = MessageRef { id: message.id, sender: "alice@acme.test".to_owned() };
        let copy = bob.media_copy(message.channel, &of).await.unwrap();
        assert_eq!((copy.home.as_str(), told(&copy)), ("globex.test", known), "{name}");
    }
    // It is in the store, not only in memory.
    let path = dir.path().join("film.mp4");
    let uploaded = Upload::new(&path).run(&acme, &token, &mut |_| {}, &mut |_| {}).await.unwrap();
    party.homes[0].stop().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    let media = alice.media_get(uploaded.id).await.unwrap();
    assert_eq!(told(&media), (Some(83_120), Some(720), Some(1280)));
    party.homes.stop_all().await.unwrap();
}

/// A file that many have is stored once, and goes with the last message that names it; kills change nothing of that.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_is_kept_once_and_as_long_as_it_is_named() {
    const USERS: usize = 10;
    let mut party = Party::with(&["acme.test"], &QUICK).await;
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "same.bin", 1_000_000);
    party.homes[0].user("all").await.unwrap();
    let blobs = party.homes[0].dir().join("media/blobs");
    let mut sent = Vec::new();
    for n in 0..USERS {
        let name = format!("user{n}");
        let token = party.homes[0].user(&name).await.unwrap().token;
        let (client, _) = party.client(0, &name).await;
        let server = party.homes[0].server().unwrap();
        let media = upload(&server, &token, &client, &path).await;
        sent.push((name, send(&client, "all@acme.test", &media).await));
        until("two copies", || kept(&blobs) == (1, 1_000_000)).await;
        client.close().await;
    }
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    for (n, (name, sent)) in sent.iter().enumerate() {
        assert_eq!(kept(&blobs), (1, 1_000_000), "{n}");
        let (client, _) = party.client(0, name).await;
        let by = MessageRef { id: sent.id, sender: format!("{name}@acme.test") };
        client.delete(sent.channel, &by).await.unwrap();
        client.close().await;
    }
    until("a file that nothing names stays", || kept(&blobs) == (0, 0)).await;
    party.homes.stop_all().await.unwrap();
}

/// As people type it, and as a script would after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn people_send_and_get_files() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "holiday.bin", 500_000);
    for (home, name) in [(0, "alice"), (1, "bob")] {
        party.homes[home].register(name).await.unwrap();
        let typed = party.typed(home, name, &["login", name], "homing-testnet\n").await;
        assert_eq!(typed.code, 0, "{typed:?}");
    }
    let (_bob, mut bobs) = party.client(1, "bob").await;
    let path = path.to_str().unwrap();
    let upload = ["upload", "bob@globex.test", path, "--caption", "the sea", "--json"];
    let typed = party.typed(0, "alice", &upload, "").await;
    assert_eq!(typed.code, 0, "{typed:?}");
    let id = next_message(&mut bobs).await.id.to_string();
    let to = dir.path().join("got.bin");
    let download = ["download", "alice@acme.test", &id, "--to", to.to_str().unwrap()];
    let typed = party.typed(1, "bob", &download, "").await;
    assert_eq!(typed.code, 0, "{typed:?}");
    assert_eq!(std::fs::read(&to).unwrap(), std::fs::read(path).unwrap());
    let typed = party.typed(1, "bob", &download, "").await;
    assert!(
        typed.code != 0 && typed.err.contains("got.bin"),
        "a file that is there stays: {typed:?}"
    );
    party.homes.stop_all().await.unwrap();
}
