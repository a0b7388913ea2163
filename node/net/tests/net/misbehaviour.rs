//! Peers that break the rules, made of plain libp2p.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use homing_net::{NetEvent, NetLimits};
use homing_wire::frame::{HELLO, QUERY, RELAY};
use homing_wire::proto::hello::v1::{Hello, HelloReply};
use homing_wire::proto::query::v1::{Answer, Query, UserQuery, answer, query};
use homing_wire::proto::relay::v1::{
    Frame, Ping, Pong, Presence, PresenceOf, Range, Seers, Typing, TypingIn, Watch, Watched, frame,
};
use homing_wire::{HomeId, limits};
use libp2p::Stream;

use crate::support::raw::{Raw, receive, send};
use crate::support::{
    Home, Identity, TCP, ack, limits as quick, marks, number_of, pruned, pull, range, soon,
};

fn ping(number: u64) -> Frame {
    Frame { frame: Some(frame::Frame::Ping(Ping { number })) }
}

fn pong(number: u64) -> Frame {
    Frame { frame: Some(frame::Frame::Pong(Pong { number })) }
}

fn question() -> Query {
    Query {
        query: Some(query::Query::User(UserQuery { local: "alice".into(), ..Default::default() })),
    }
}

/// Whether the stream ends without a single byte.
async fn says_nothing(stream: &mut Stream) -> bool {
    let mut byte = [0];
    !matches!(soon(stream.read(&mut byte)).await, Ok(1))
}

#[tokio::test]
async fn nothing_is_served_before_hello_and_the_silent_are_closed() {
    let short = NetLimits {
        hello_deadline: Duration::from_millis(400),
        clone_probe: Duration::from_millis(200),
        ..quick()
    };
    let mut acme = Home::run(Identity::new("acme"), &[TCP], short).await;
    let stranger = Identity::new("stranger");
    let mut raw = Raw::connect(&stranger.key, &acme.addresses[0]).await;
    let mut relay = raw.open(RELAY).await;
    send(&mut relay, &ping(1)).await;
    send(&mut relay, &marks(1)).await;
    let mut question_stream = raw.open(QUERY).await;
    send(&mut question_stream, &question()).await;
    assert!(says_nothing(&mut relay).await);
    assert!(says_nothing(&mut question_stream).await);
    let stats = acme.net.stats();
    assert_eq!(stats.dropped["hello_timeout"], 1);
    assert_eq!((stats.admitted, stats.frames_in, stats.queries_in), (0, 0, 0));
    assert!(acme.events.try_recv().is_err());
}

#[tokio::test]
async fn a_refused_peer_gets_nothing_either() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let stranger = Identity::new("stranger");
    let mut raw = Raw::connect(&stranger.key, &acme.addresses[0]).await;
    let mut hello = raw.open(HELLO).await;
    let nonsense = Hello { record: vec![1, 2, 3].into(), ..Hello::default() };
    send(&mut hello, &nonsense).await;
    let reply: HelloReply = receive(&mut hello).await.expect("an answer");
    assert_eq!(reply.refusal.unwrap().reason, "record_malformed");
    assert_eq!(reply.hello, None, "who is refused learns nothing about us");
    let mut relay = raw.open(RELAY).await;
    // It may be reset before this is written.
    let _ = relay.write_all(&prost::Message::encode_length_delimited_to_vec(&ping(1))).await;
    assert!(says_nothing(&mut relay).await);
    assert_eq!(acme.refused().await.2, "record_malformed");
    assert_eq!(acme.net.stats().frames_in, 0);
}

/// A plain libp2p peer that has said hello, and its open relay stream.
async fn admitted(acme: &mut Home) -> (Raw, Stream, HomeId) {
    let guest = Identity::new("guest");
    let mut raw = Raw::connect(&guest.key, &acme.addresses[0]).await;
    raw.hello(&guest).await;
    acme.up(guest.id).await;
    let mut relay = raw.open(RELAY).await;
    send(&mut relay, &ping(1)).await;
    assert_eq!(receive(&mut relay).await, Some(pong(1)));
    (raw, relay, guest.id)
}

async fn is_dropped_after(bytes: &[u8], reason: &'static str) {
    let mut acme = Home::start("acme", &[TCP]).await;
    let (_raw, mut relay, guest) = admitted(&mut acme).await;
    let _link = acme.relay_in(guest).await;
    // The peer may close before all of it is written.
    let _ = relay.write_all(bytes).await;
    let _ = relay.flush().await;
    assert_eq!(acme.down(guest).await, reason);
    assert!(says_nothing(&mut relay).await);
    assert_eq!(acme.net.stats().dropped[reason], 1);
}

#[tokio::test]
async fn an_oversize_frame_is_refused_by_its_prefix() {
    // 2 MiB are announced; not a byte of them has to come.
    is_dropped_after(&[0x80, 0x80, 0x80, 0x01], "frame_too_large").await;
}

#[tokio::test]
async fn a_frame_that_does_not_parse_drops_the_peer() {
    is_dropped_after(&[3, 0xff, 0xff, 0xff], "frame_malformed").await;
}

#[tokio::test]
async fn a_frame_of_the_wrong_direction_drops_the_peer() {
    let bytes = prost::Message::encode_length_delimited_to_vec(&ack(1));
    is_dropped_after(&bytes, "frame_unexpected").await;
}

/// Acme opens a stream to a plain libp2p peer, which answers with what only the opener may send.
async fn is_dropped_for_answering(frame: Frame) {
    let mut acme = Home::start("acme", &[TCP]).await;
    let guest = Identity::new("guest");
    let mut raw = Raw::connect(&guest.key, &acme.addresses[0]).await;
    let mut opened = raw.accept(RELAY);
    raw.hello(&guest).await;
    acme.up(guest.id).await;
    let (_, mut relay) = soon(opened.next()).await.expect("acme opens its stream");
    let first: Frame = receive(&mut relay).await.expect("a Ping");
    let Some(frame::Frame::Ping(Ping { number })) = first.frame else { panic!("{first:?}") };
    send(&mut relay, &pong(number)).await;
    let mut link = acme.relay_out(guest.id).await;
    // All is as it should be until it answers wrongly.
    link.frames.send(pull()).await.unwrap();
    link.frames.send(pruned(3)).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 2 {
        let frame: Frame = receive(&mut relay).await.expect("a frame");
        if !matches!(frame.frame, Some(frame::Frame::Ping(_))) {
            got.push(frame);
        }
    }
    assert_eq!(got, [pull(), pruned(3)]);
    send(&mut relay, &ack(1)).await;
    assert_eq!(number_of(&soon(link.replies.recv()).await.unwrap()), 1);
    send(&mut relay, &frame).await;
    assert_eq!(acme.down(guest.id).await, "frame_unexpected");
    assert_eq!(soon(link.replies.recv()).await, None, "the server never sees it");
    assert_eq!(acme.net.stats().dropped["frame_unexpected"], 1);
}

#[tokio::test]
async fn only_the_opener_may_say_what_is_gone() {
    is_dropped_for_answering(pruned(1)).await;
}

#[tokio::test]
async fn only_the_opener_may_ask_to_be_pulled_from() {
    is_dropped_for_answering(pull()).await;
}

#[tokio::test]
async fn only_the_opener_may_send_events() {
    is_dropped_for_answering(range(1)).await;
}

#[tokio::test]
async fn only_the_opener_may_say_who_is_there() {
    let presence = Presence::default();
    is_dropped_for_answering(Frame { frame: Some(frame::Frame::Presence(presence)) }).await;
}

#[tokio::test]
async fn too_many_names_drop_the_peer() {
    let watched = |watchers| Watched { user: "u".into(), watchers };
    let names = |many| vec!["w".to_owned(); many];
    let watched = vec![watched(names(limits::PRESENCE_NAMES - 2)), watched(Vec::new())];
    let mut watch = Watch { anew: true, watched };
    let of = |users| PresenceOf { seers: Some(Seers { users }), ..PresenceOf::default() };
    let mut presence = Presence { users: vec![of(names(limits::PRESENCE_NAMES - 1))] };
    let mut typing = Typing { typing: vec![TypingIn::default(); limits::TYPING] };
    // As many as may be are taken.
    let mut acme = Home::start("acme", &[TCP]).await;
    let (_raw, mut relay, guest) = admitted(&mut acme).await;
    let mut inward = acme.relay_in(guest).await;
    let framed = |kind| Frame { frame: Some(kind) };
    for frame in [
        framed(frame::Frame::Watch(watch.clone())),
        framed(frame::Frame::Presence(presence.clone())),
        framed(frame::Frame::Typing(typing.clone())),
    ] {
        send(&mut relay, &frame).await;
        assert_eq!(soon(inward.frames.recv()).await, Some(frame));
    }
    watch.watched.push(Watched::default());
    presence.users.push(PresenceOf::default());
    typing.typing.push(TypingIn::default());
    for kind in
        [frame::Frame::Watch(watch), frame::Frame::Presence(presence), frame::Frame::Typing(typing)]
    {
        let bytes = prost::Message::encode_length_delimited_to_vec(&framed(kind));
        is_dropped_after(&bytes, "frame_too_large").await;
    }
}

#[tokio::test]
async fn a_range_of_too_many_events_drops_the_peer() {
    let events = vec![Default::default(); limits::RANGE_EVENTS + 1];
    let range = Range { channel: vec![1; 16].into(), events, ..Range::default() };
    let frame = Frame { frame: Some(frame::Frame::Range(range)) };
    let bytes = prost::Message::encode_length_delimited_to_vec(&frame);
    is_dropped_after(&bytes, "frame_too_large").await;
}

#[tokio::test]
async fn frames_of_a_later_version_are_skipped() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let (_raw, mut relay, guest) = admitted(&mut acme).await;
    let mut inward = acme.relay_in(guest).await;
    // Field 99, length-delimited, two bytes; then one that we know, of the largest size allowed.
    relay.write_all(&[5, 0x9a, 0x06, 2, 1, 2]).await.unwrap();
    send(&mut relay, &marks(4)).await;
    assert_eq!(number_of(&soon(inward.frames.recv()).await.unwrap()), 4);
    let overhead = prost::Message::encoded_len(&range(limits::RELAY_FRAME_BYTES - 100))
        - (limits::RELAY_FRAME_BYTES - 100);
    let largest = range(limits::RELAY_FRAME_BYTES - overhead);
    assert_eq!(prost::Message::encoded_len(&largest), limits::RELAY_FRAME_BYTES);
    send(&mut relay, &largest).await;
    assert_eq!(soon(inward.frames.recv()).await, Some(largest));
    assert_eq!(acme.net.stats().frames_unknown, 1);
}

#[tokio::test]
async fn a_newer_stream_of_a_peer_replaces_the_older() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let (mut raw, mut first, guest) = admitted(&mut acme).await;
    let mut old = acme.relay_in(guest).await;
    let mut second = raw.open(RELAY).await;
    send(&mut second, &ping(8)).await;
    assert_eq!(receive(&mut second).await, Some(pong(8)));
    let mut new = acme.relay_in(guest).await;
    assert!(soon(old.frames.recv()).await.is_none());
    assert!(says_nothing(&mut first).await);
    send(&mut second, &marks(6)).await;
    assert_eq!(number_of(&soon(new.frames.recv()).await.unwrap()), 6);
}

#[tokio::test]
async fn a_peer_that_asks_too_much_at_once_is_told_so() {
    let few = NetLimits { queries_per_peer: 2, ..quick() };
    let mut acme = Home::run(Identity::new("acme"), &[TCP], few).await;
    let (mut raw, _relay, guest) = admitted(&mut acme).await;
    let mut streams = Vec::new();
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = raw.open(QUERY).await;
        send(&mut stream, &question()).await;
        streams.push(stream);
        let reply = acme
            .next(|event| match event {
                NetEvent::Query { home, query, reply } if home == guest => {
                    assert_eq!(query, question());
                    Ok(reply)
                }
                event => Err(event),
            })
            .await;
        held.push(reply);
    }
    let mut third = raw.open(QUERY).await;
    send(&mut third, &question()).await;
    let told: Answer = receive(&mut third).await.expect("an answer");
    let Some(answer::Answer::Refusal(refusal)) = told.answer else { panic!("{told:?}") };
    assert_eq!(refusal.reason, "busy");
    drop(held);
    for mut stream in streams {
        let told: Answer = receive(&mut stream).await.expect("an answer");
        let Some(answer::Answer::Refusal(refusal)) = told.answer else { panic!("{told:?}") };
        assert_eq!(refusal.reason, "unanswered");
    }
}
