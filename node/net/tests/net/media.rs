//! Files, and those who lie about them, break off, or take them too slowly.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use homing_net::{
    MediaAnswer, MediaAsk, MediaBytes, MediaError, MediaHead, MediaReply, NetEvent, NetLimits,
};
use homing_wire::frame::MEDIA;
use homing_wire::proto::media::v1::{Ask, File, Head, head};
use homing_wire::proto::query::v1::{Answer, Query, UserAnswer, UserQuery, answer, query};
use homing_wire::{ChannelId, Hash, HomeId};
use libp2p::Stream;
use uuid::Uuid;

use crate::support::raw::{Raw, receive, send};
use crate::support::{Home, Identity, QUIC, TCP, limits, soon};

const FILE: Uuid = Uuid::from_u128(0xf11e);
const MIB: usize = 1 << 20;

fn ask(offset: u64) -> MediaAsk {
    let channel = ChannelId::from_slice(&[1; 16]).unwrap();
    MediaAsk { channel, id: FILE, offset, thumbnail: None }
}

/// Bytes of which no two places look alike.
fn file(size: usize) -> Bytes {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"a file");
    let mut bytes = vec![0; size];
    hasher.finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn head_of(file: &[u8]) -> MediaHead {
    MediaHead {
        size: file.len() as u64,
        hash: Some(Hash::of(file)),
        name: "a file ✓.bin".into(),
        mime: "application/x-test".into(),
    }
}

fn pieces(file: Bytes, each: usize) -> MediaBytes {
    let count = file.len().div_ceil(each);
    let piece = move |n: usize| Ok(file.slice(n * each..file.len().min((n + 1) * each)));
    stream::iter((0..count).map(piece)).boxed()
}

/// Tells when it is dropped, and how often it was asked.
fn endless(told: tokio::sync::oneshot::Sender<()>, pulled: Arc<AtomicU64>) -> MediaBytes {
    struct Told(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }
    let told = Told(Some(told));
    stream::repeat(Bytes::from(vec![7; 64 << 10]))
        .map(move |piece| {
            let _keep = &told;
            pulled.fetch_add(1, Relaxed);
            Ok(piece)
        })
        .boxed()
}

async fn asked(home: &mut Home) -> (HomeId, MediaAsk, MediaReply) {
    home.next(|event| match event {
        NetEvent::Media { home, ask, reply } => Ok((home, ask, reply)),
        event => Err(event),
    })
    .await
}

async fn all(answer: MediaAnswer) -> Result<Vec<u8>, MediaError> {
    let mut all = Vec::new();
    let mut bytes = answer.bytes;
    while let Some(piece) = soon(bytes.next()).await {
        match piece {
            Ok(piece) => {
                assert!(!piece.is_empty() && piece.len() <= 256 << 10);
                all.extend_from_slice(&piece);
            }
            Err(error) => {
                assert!(bytes.next().await.is_none(), "an error is the end");
                return Err(MediaError::of(&error).expect("ours").clone());
            }
        }
    }
    Ok(all)
}

/// A file arrives equal, from any offset, whatever pieces it is sent in.
async fn arrives(transport: &str) {
    let acme = Home::start("acme", &[transport]).await;
    let mut bolt = Home::start("bolt", &[transport]).await;
    // The first ask waits for the connection.
    acme.want(&bolt).await;
    let (to, whole) = (bolt.id(), file(5 * MIB + 7));
    let size = whole.len() as u64;
    let offsets = [0, 1, size - 1, size, 3 * MIB as u64];
    for (offset, each) in offsets.into_iter().zip([100_000, 7 * MIB, 10, 10, 333]) {
        let answering = async {
            let (home, got, reply) = asked(&mut bolt).await;
            assert_eq!((home, got), (acme.id(), ask(offset)));
            let rest = whole.slice(usize::try_from(offset).unwrap()..);
            reply.send(head_of(&whole), pieces(rest, each));
        };
        let (answer, ()) = tokio::join!(acme.net.media(to, ask(offset)), answering);
        let answer = answer.unwrap();
        let told = MediaHead {
            size: answer.size,
            hash: answer.hash,
            name: answer.name.clone(),
            mime: answer.mime.clone(),
        };
        assert_eq!(told, head_of(&whole));
        let got = all(answer).await.unwrap();
        assert!(got == whole[usize::try_from(offset).unwrap()..], "from {offset}");
    }
    let (taken, given) = (acme.net.stats().media, bolt.net.stats().media);
    let bytes: u64 = offsets.iter().map(|offset| size - offset).sum();
    assert_eq!((taken.asked, taken.whole_in, taken.bytes_in), (5, 5, bytes));
    assert_eq!((given.asked_by_peers, given.bytes_out), (5, bytes));
}

#[tokio::test]
async fn a_file_arrives_over_tcp() {
    arrives(TCP).await;
}

#[tokio::test]
async fn a_file_arrives_over_quic() {
    arrives(QUIC).await;
}

#[tokio::test]
async fn a_holder_says_no_in_its_own_words_or_in_ours() {
    let acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    acme.want(&bolt).await;
    let to = bolt.id();
    let refused = |reason: &str, message: &str, wait: Option<u64>| MediaError::Refused {
        reason: reason.into(),
        message: message.into(),
        retry_after: wait.map(Duration::from_millis),
    };
    let answering = async {
        let (_, _, reply) = asked(&mut bolt).await;
        reply.refuse("media_not_found", "no such\nfile", None);
        let (_, _, reply) = asked(&mut bolt).await;
        reply.refuse("disk_busy", "later", Some(Duration::from_millis(1_500)));
        let (_, _, reply) = asked(&mut bolt).await;
        drop(reply);
        let (_, _, reply) = asked(&mut bolt).await;
        reply.send(head_of(b"short"), stream::empty().boxed());
    };
    let asking = async {
        for expected in [
            refused("media_not_found", "no suchfile", None),
            refused("disk_busy", "later", Some(1_500)),
            refused("unanswered", "the home did not answer", None),
            refused("offset_beyond_end", "the file is shorter than that", None),
        ] {
            assert_eq!(acme.net.media(to, ask(6)).await.unwrap_err(), expected);
        }
    };
    tokio::join!(asking, answering);
    // A thumbnail has no hash, and a name is cut where a character ends.
    let thumbnail = MediaAsk { thumbnail: NonZeroU32::new(320), ..ask(0) };
    let answering = async {
        let (_, got, reply) = asked(&mut bolt).await;
        assert_eq!(got, thumbnail);
        let name = format!("{}é", "x".repeat(1_023));
        let head = MediaHead { hash: None, name, mime: "x".repeat(300), ..head_of(b"small") };
        reply.send(head, pieces(Bytes::from_static(b"small"), 2));
    };
    let (answer, ()) = tokio::join!(acme.net.media(to, thumbnail.clone()), answering);
    let answer = answer.unwrap();
    assert_eq!((answer.hash, answer.name.len()), (None, 1_023));
    assert_eq!(answer.mime, "application/octet-stream");
    assert_eq!(all(answer).await.unwrap(), b"small");
}

/// A holder of plain libp2p, and what it does to one ask.
async fn holder(acme: &mut Home) -> (Raw, libp2p_stream::IncomingStreams, HomeId) {
    let guest = Identity::new("guest");
    let mut raw = Raw::connect(&guest.key, &acme.addresses[0]).await;
    let asked = raw.accept(MEDIA);
    raw.hello(&guest).await;
    acme.up(guest.id).await;
    (raw, asked, guest.id)
}

fn raw_head(size: u64, hash: usize, name: usize) -> Head {
    let file = File {
        size,
        hash: vec![1; hash].into(),
        name: "n".repeat(name),
        mime: "text/plain".into(),
    };
    Head { head: Some(head::Head::File(file)) }
}

#[tokio::test]
async fn a_holder_that_lies_or_breaks_off_is_found_out() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let (_raw, mut streams, guest) = holder(&mut acme).await;
    let net = acme.net.clone();
    let mut told = async |head: Head, bytes: usize, closes: bool| {
        let answering = async {
            let (_, mut stream) = soon(streams.next()).await.unwrap();
            let got: Ask = receive(&mut stream).await.unwrap();
            assert_eq!((got.offset, got.thumbnail), (10, 0));
            send(&mut stream, &head).await;
            // An asker that has seen through it may have gone.
            let _ = stream.write_all(&vec![3; bytes]).await;
            let _ = stream.flush().await;
            if closes {
                let _ = stream.close().await;
            }
        };
        let asking = async {
            match net.media(guest, ask(10)).await {
                Ok(answer) => all(answer).await.map(|bytes| bytes.len()),
                Err(error) => Err(error),
            }
        };
        tokio::join!(asking, answering).0
    };
    let head = |size: u64| raw_head(size, 32, 1_024);
    assert_eq!(told(head(1_000_010), 1_000_000, true).await, Ok(1_000_000));
    assert_eq!(told(head(10), 0, true).await, Ok(0));
    // Short, in order or not: yamux shows both alike.
    let short = Err(MediaError::Short { missing: 1 });
    assert_eq!(told(head(1_000_010), 999_999, true).await, short);
    assert_eq!(told(head(1_000_010), 999_999, false).await, short);
    let long = told(head(1_000_010), 1_000_001, true).await;
    assert_eq!(long, Err(MediaError::Long));
    // So short that it comes with the head.
    assert_eq!(told(head(20), 11, true).await, Err(MediaError::Long));
    assert!(MediaError::Long.is_lie() && !MediaError::Short { missing: 1 }.is_lie());
    for bad in [
        head(9),
        raw_head(20, 0, 1),
        raw_head(20, 31, 1),
        raw_head(20, 32, 1_025),
        Head { head: None },
    ] {
        assert_eq!(told(bad, 10, true).await, Err(MediaError::Malformed));
    }
    // Over the limit of frames.
    assert_eq!(told(raw_head(20, 32, 9_000), 0, true).await, Err(MediaError::Malformed));
}

async fn broken_off(transport: &str) {
    let acme = Home::start("acme", &[transport]).await;
    let mut bolt = Home::start("bolt", &[transport]).await;
    acme.want(&bolt).await;
    let to = bolt.id();
    // The holder's own bytes fail, or end early.
    for ends in [0, 1] {
        let answering = async {
            let (_, _, reply) = asked(&mut bolt).await;
            let broken = stream::iter((0..ends).map(|_| Err(std::io::Error::other("disk"))));
            let some = pieces(file(MIB), 65_536).chain(broken).boxed();
            reply.send(head_of(&file(2 * MIB)), some);
        };
        let (answer, ()) = tokio::join!(acme.net.media(to, ask(0)), answering);
        let error = all(answer.unwrap()).await.unwrap_err();
        assert!(matches!(error, MediaError::Short { .. } | MediaError::Lost), "{error:?}");
        assert!(!error.is_lie());
    }
    // The holder's process ends.
    let answering = async {
        let (_, _, reply) = asked(&mut bolt).await;
        reply
            .send(head_of(&file(2 * MIB)), pieces(file(MIB), MIB).chain(stream::pending()).boxed());
    };
    let (answer, ()) = tokio::join!(acme.net.media(to, ask(0)), answering);
    let mut answer = answer.unwrap();
    soon(answer.bytes.next()).await.unwrap().unwrap();
    bolt.net.shutdown().await;
    let error = all(answer).await.unwrap_err();
    assert!(matches!(error, MediaError::Short { .. } | MediaError::Lost), "{error:?}");
}

#[tokio::test]
async fn a_holder_that_stops_in_the_middle_is_noticed_over_tcp() {
    broken_off(TCP).await;
}

#[tokio::test]
async fn a_holder_that_stops_in_the_middle_is_noticed_over_quic() {
    broken_off(QUIC).await;
}

/// What is not read is not pulled, and an asker that goes frees the holder at once.
async fn dropped(transport: &str) {
    let acme = Home::start("acme", &[transport]).await;
    let mut bolt = Home::start("bolt", &[transport]).await;
    acme.want(&bolt).await;
    let to = bolt.id();
    let (told, ended) = tokio::sync::oneshot::channel();
    let pulled = Arc::new(AtomicU64::new(0));
    let answering = async {
        let (_, _, reply) = asked(&mut bolt).await;
        reply.send(head_of(&file(200 * MIB)), endless(told, pulled.clone()));
    };
    let (answer, ()) = tokio::join!(acme.net.media(to, ask(0)), answering);
    let mut answer = answer.unwrap();
    soon(answer.bytes.next()).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let bytes = pulled.load(Relaxed) * (64 << 10);
    assert!(bytes < 20 << 20, "{bytes} bytes are on their way to nobody");
    drop(answer);
    soon(ended).await.unwrap();
    // And where the holder's own bytes are what is waited for.
    let (told, ended) = tokio::sync::oneshot::channel();
    let answering = async {
        let (_, _, reply) = asked(&mut bolt).await;
        let waiting = endless(told, pulled.clone()).take(1).chain(stream::pending()).boxed();
        reply.send(head_of(&file(MIB)), waiting);
    };
    let (answer, ()) = tokio::join!(acme.net.media(to, ask(0)), answering);
    let mut answer = answer.unwrap();
    soon(answer.bytes.next()).await.unwrap().unwrap();
    drop(answer);
    soon(ended).await.unwrap();
}

#[tokio::test]
async fn an_asker_that_goes_ends_the_holders_part_over_tcp() {
    dropped(TCP).await;
}

#[tokio::test]
async fn an_asker_that_goes_ends_the_holders_part_over_quic() {
    dropped(QUIC).await;
}

#[tokio::test]
async fn who_takes_or_gives_nothing_for_long_is_cut() {
    let short = || NetLimits { media_idle: Duration::from_millis(400), ..limits() };
    let acme = Home::run(Identity::new("acme"), &[TCP], short()).await;
    let mut bolt = Home::run(Identity::new("bolt"), &[TCP], short()).await;
    acme.want(&bolt).await;
    let to = bolt.id();
    let (told, ended) = tokio::sync::oneshot::channel();
    let answering = async {
        let (_, _, reply) = asked(&mut bolt).await;
        reply.send(head_of(&file(200 * MIB)), endless(told, Arc::default()));
    };
    let (slow, ()) = tokio::join!(acme.net.media(to, ask(0)), answering);
    let slow = slow.unwrap();
    soon(ended).await.unwrap();
    soon(async {
        while bolt.net.stats().dropped.get("media_taker_slow") != Some(&1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // What was under way comes, and then it is over.
    assert!(matches!(all(slow).await.unwrap_err(), MediaError::Short { .. }));
    // The asker waits no longer than that either. The guest says a head and no more.
    let (_raw, mut streams, guest) = {
        let mut acme = acme;
        let holder = holder(&mut acme).await;
        let net = acme.net.clone();
        tokio::spawn(async move { while acme.events.recv().await.is_some() {} });
        (holder.0, (net, holder.1), holder.2)
    };
    let answering = async {
        let (_, mut stream) = soon(streams.1.next()).await.unwrap();
        let _: Ask = receive(&mut stream).await.unwrap();
        send(&mut stream, &raw_head(100, 32, 1)).await;
        stream
    };
    let (answer, stream) = tokio::join!(streams.0.media(guest, ask(10)), answering);
    assert_eq!(all(answer.unwrap()).await, Err(MediaError::Stalled));
    drop(stream);
}

#[tokio::test]
async fn too_many_files_at_once_are_refused() {
    let few = NetLimits { media_in_per_peer: 2, ..limits() };
    let acme = Home::run(Identity::new("acme"), &[TCP], limits()).await;
    let mut bolt = Home::run(Identity::new("bolt"), &[TCP], few).await;
    acme.want(&bolt).await;
    let to = bolt.id();
    let mut open = Vec::new();
    for _ in 0..2 {
        let answering = async {
            let (_, _, reply) = asked(&mut bolt).await;
            reply.send(
                head_of(&file(50 * MIB)),
                endless(tokio::sync::oneshot::channel().0, Arc::default()),
            );
        };
        let (answer, ()) = tokio::join!(acme.net.media(to, ask(0)), answering);
        open.push(answer.unwrap());
    }
    let third = acme.net.media(to, ask(0)).await.unwrap_err();
    let MediaError::Refused { reason, retry_after, .. } = third else { panic!("{third:?}") };
    assert!(reason == "busy" && retry_after.is_some());
    // One that goes leaves its place to another.
    open.pop();
    soon(async {
        loop {
            let answering = async {
                let (_, _, reply) = asked(&mut bolt).await;
                reply.send(head_of(b"x"), pieces(Bytes::from_static(b"x"), 1));
            };
            tokio::select! {
                answer = acme.net.media(to, ask(0)) => {
                    if let Ok(answer) = answer { return answer }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                () = async { answering.await; futures::future::pending().await } => {}
            }
        }
    })
    .await;
    // Our own limit needs no answer of theirs.
    let one = NetLimits { media_out_per_peer: 1, ..limits() };
    let carl = Home::run(Identity::new("carl"), &[TCP], one).await;
    carl.want(&bolt).await;
    let (told, ended) = tokio::sync::oneshot::channel();
    let answering = async {
        let (_, _, reply) = asked(&mut bolt).await;
        reply.send(head_of(&file(50 * MIB)), endless(told, Arc::default()));
    };
    let (answer, ()) = tokio::join!(carl.net.media(to, ask(0)), answering);
    assert_eq!(carl.net.media(to, ask(0)).await.unwrap_err(), MediaError::Busy);
    drop(answer);
    soon(ended).await.unwrap();
}

#[tokio::test]
async fn who_is_not_admitted_gets_nothing_and_nobody_asks_nobody() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let guest = Identity::new("guest");
    let mut raw = Raw::connect(&guest.key, &acme.addresses[0]).await;
    let mut stream: Stream = raw.open(MEDIA).await;
    let frame =
        Ask { channel: vec![1; 16].into(), id: vec![2; 16].into(), offset: 0, thumbnail: 0 };
    send(&mut stream, &frame).await;
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte)).await;
    assert!(early.is_err(), "it was answered before hello: {early:?}");
    // After hello it is served.
    raw.hello(&guest).await;
    let (home, got, reply) = asked(&mut acme).await;
    assert_eq!((home, got.offset), (guest.id, 0));
    reply.refuse("no", "", None);
    assert!(receive::<Head>(&mut stream).await.is_some());
    // What does not parse is told so.
    let mut stream = raw.open(MEDIA).await;
    send(&mut stream, &Ask { id: vec![2; 15].into(), ..frame }).await;
    let told: Head = receive(&mut stream).await.unwrap();
    let Some(head::Head::Refusal(refusal)) = told.head else { panic!("{told:?}") };
    assert_eq!(refusal.reason, "media_malformed");

    let absent = Identity::new("absent").id;
    assert_eq!(acme.net.media(absent, ask(0)).await.unwrap_err(), MediaError::NotConnected);
    acme.net.want(absent, vec!["/ip4/127.0.0.1/tcp/9".to_owned()]).await.unwrap();
    let waiting = acme.net.media(absent, ask(0));
    let (waiting, ()) = tokio::join!(waiting, acme.net.unwant(absent));
    assert_eq!(waiting.unwrap_err(), MediaError::NotConnected);
    acme.net.shutdown().await;
    assert_eq!(acme.net.media(absent, ask(0)).await.unwrap_err(), MediaError::ShutDown);
}

/// How fast a file of `size` bytes flows, in MB/s, and the slowest of the questions asked meanwhile.
async fn flow(transport: &str, size: usize) -> (f64, Duration, u32) {
    let acme = Home::start("acme", &[transport]).await;
    let mut bolt = Home::start("bolt", &[transport]).await;
    acme.want(&bolt).await;
    let (net, to) = (acme.net.clone(), bolt.id());
    let holder = tokio::spawn(async move {
        // The whole home, or its handle would be dropped here and its network stop.
        let bolt = &mut bolt;
        while let Some(event) = bolt.events.recv().await {
            match event {
                NetEvent::Query { reply, .. } => {
                    let answer = Some(answer::Answer::User(UserAnswer::default()));
                    reply.send(Answer { answer }).unwrap();
                }
                NetEvent::Media { reply, .. } => {
                    let head = MediaHead { size: size as u64, ..head_of(b"") };
                    let piece = Bytes::from(vec![5; 256 << 10]);
                    reply.send(head, pieces_of(piece, size));
                }
                _ => {}
            }
        }
    });
    let answer = net.media(to, ask(0)).await.unwrap();
    let begin = Instant::now();
    let taking = async move {
        let mut left = size;
        let mut bytes = answer.bytes;
        while let Some(piece) = bytes.next().await {
            left -= piece.unwrap().len();
        }
        assert_eq!(left, 0);
        begin.elapsed()
    };
    let taking = tokio::spawn(taking);
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    while !taking.is_finished() {
        let user = UserQuery { local: "a".into(), ..UserQuery::default() };
        let asked = Instant::now();
        net.query(to, Query { query: Some(query::Query::User(user)) }).await.unwrap();
        slowest = slowest.max(asked.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = taking.await.unwrap();
    holder.abort();
    (size as f64 / took.as_secs_f64() / 1e6, slowest, count)
}

fn pieces_of(piece: Bytes, size: usize) -> MediaBytes {
    let mut left = size;
    stream::iter(std::iter::from_fn(move || {
        let take = left.min(piece.len());
        left -= take;
        (take > 0).then(|| Ok(piece.slice(..take)))
    }))
    .boxed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_answered_while_a_large_file_flows() {
    for transport in [TCP, QUIC] {
        let (_, slowest, count) = flow(transport, 64 * MIB).await;
        assert!(count > 0);
        // A busy machine, not a busy line, is what this leaves room for.
        assert!(slowest < Duration::from_secs(2), "{transport}: {slowest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: cargo test --release -p homing-net -- --ignored --nocapture how_fast"]
async fn how_fast_a_file_flows() {
    for transport in [TCP, QUIC] {
        for _ in 0..2 {
            let (speed, slowest, count) = flow(transport, 512 * MIB).await;
            println!("{transport}: {speed:.0} MB/s; slowest of {count} questions {slowest:?}");
        }
    }
}
