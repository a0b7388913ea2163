//! Relay streams: order, back-pressure, and what is slow as against what is dead.

use std::time::Duration;

use homing_net::{Frames, NetLimits};
use homing_wire::proto::relay::v1::Frame;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{
    Home, Identity, QUIC, TCP, ack, bulky, limits, marks, number_of, pruned, pull, range, soon,
};

const MANY: u64 = 20_000;

async fn send(frames: mpsc::Sender<Frame>, make: fn(u64) -> Frame) {
    for number in 0..MANY {
        frames.send(make(number)).await.unwrap();
    }
    // Held open until the other side has read everything.
    frames.closed().await;
}

async fn receive(mut frames: Frames) {
    for number in 0..MANY {
        assert_eq!(number_of(&frames.recv().await.expect("a frame")), number);
    }
}

async fn frames_flow(transport: &str) {
    let mut acme = Home::start("acme", &[transport]).await;
    let mut bolt = Home::start("bolt", &[transport]).await;
    acme.want(&bolt).await;
    let (acme_out, acme_in) = acme.links(bolt.id()).await;
    let (bolt_out, bolt_in) = bolt.links(acme.id()).await;
    let senders = [
        tokio::spawn(send(acme_out.frames, marks)),
        tokio::spawn(send(bolt_out.frames, marks)),
        tokio::spawn(send(acme_in.replies, ack)),
        tokio::spawn(send(bolt_in.replies, ack)),
    ];
    // Four flows at once, two on each stream.
    soon(async {
        tokio::join!(
            receive(bolt_in.frames),
            receive(acme_in.frames),
            receive(bolt_out.replies),
            receive(acme_out.replies)
        )
    })
    .await;
    let stats = acme.net.stats();
    assert!(stats.frames_in >= 2 * MANY && stats.frames_out >= 2 * MANY, "{stats:?}");
    assert!(stats.bytes_in > stats.frames_in && stats.bytes_out > stats.frames_out);
    for sender in senders {
        sender.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_flow_in_order_all_ways_over_tcp() {
    frames_flow(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_flow_in_order_all_ways_over_quic() {
    frames_flow(QUIC).await;
}

/// A receiver that does not read bounds its sender, harms nobody else, is not taken for dead, and gets
/// everything in order in the end.
async fn back_pressure(transport: &str) {
    const FRAME_BYTES: usize = 16 * 1_024;
    let quick = || NetLimits {
        heartbeat: Duration::from_millis(150),
        relay_deadline: Duration::from_millis(600),
        relay_queue_bytes: 1_024 * 1_024,
        ..limits()
    };
    let mut bolt = Home::run(Identity::new("bolt"), &[transport], quick()).await;
    let mut acme = Home::run(Identity::new("acme"), &[transport], quick()).await;
    let mut calm = Home::run(Identity::new("calm"), &[transport], quick()).await;
    acme.want(&bolt).await;
    let (from_acme, _acme_in) = acme.links(bolt.id()).await;
    let mut acme_to_bolt = bolt.links(acme.id()).await;
    calm.want(&bolt).await;
    let (from_calm, _calm_in) = calm.links(bolt.id()).await;
    let mut calm_to_bolt = bolt.links(calm.id()).await;

    // Blocked is: no room for two of the deadlines at which a dead peer would have been dropped.
    let mut sent = 0u64;
    while let Ok(room) = timeout(Duration::from_millis(1_300), from_acme.frames.reserve()).await {
        room.expect("the link lives").send(bulky(sent, FRAME_BYTES));
        sent += 1;
        assert!(sent < 2_000, "32 MB are not a bound");
    }
    assert!(acme.events.try_recv().is_err(), "slow is not dead: nothing has happened");

    // The other home's stream is served meanwhile.
    for number in 0..100 {
        from_calm.frames.send(marks(number)).await.unwrap();
        let got = soon(calm_to_bolt.1.frames.recv()).await.expect("a frame");
        assert_eq!(number_of(&got), number);
    }

    for number in 0..sent {
        let got = soon(acme_to_bolt.1.frames.recv()).await.expect("a frame");
        assert_eq!(number_of(&got), number);
    }
    assert!(acme.net.peers().await[0].relay_out, "still the same stream");
    assert!(acme.net.stats().dropped.is_empty(), "{:?}", acme.net.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_does_not_read_bounds_its_sender_over_tcp() {
    back_pressure(TCP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_does_not_read_bounds_its_sender_over_quic() {
    back_pressure(QUIC).await;
}

#[tokio::test]
async fn a_link_that_the_server_drops_is_replaced() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    acme.want(&bolt).await;
    let (out, _acme_in) = acme.links(bolt.id()).await;
    let (_bolt_out, mut first) = bolt.links(acme.id()).await;
    drop(out);
    assert!(soon(first.frames.recv()).await.is_none(), "the old stream ends in order");
    let again = acme.relay_out(bolt.id()).await;
    let mut second = bolt.relay_in(acme.id()).await;
    again.frames.send(marks(5)).await.unwrap();
    assert_eq!(number_of(&soon(second.frames.recv()).await.unwrap()), 5);
    drop(second);
    acme.relay_out(bolt.id()).await;
    bolt.relay_in(acme.id()).await;
    assert_eq!(acme.net.stats().admitted, 1, "on the same connection");
}

#[tokio::test]
async fn our_own_bad_frames_never_leave() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    acme.want(&bolt).await;
    let (out, _acme_in) = acme.links(bolt.id()).await;
    let (mut bolt_out, mut inward) = bolt.links(acme.id()).await;
    out.frames.send(range(homing_wire::limits::RELAY_FRAME_BYTES)).await.unwrap();
    out.frames.send(ack(1)).await.unwrap();
    out.frames.send(marks(2)).await.unwrap();
    assert_eq!(number_of(&soon(inward.frames.recv()).await.unwrap()), 2);
    let dropped = acme.net.stats().dropped;
    assert_eq!((dropped["own_frame_too_large"], dropped["own_frame_unexpected"]), (1, 1));
    // The acceptor has no chain to send on this stream.
    for frame in [range(1), pruned(1), pull(), marks(1)] {
        inward.replies.send(frame).await.unwrap();
    }
    inward.replies.send(ack(3)).await.unwrap();
    let mut replies = out.replies;
    assert_eq!(number_of(&soon(replies.recv()).await.unwrap()), 3);
    assert_eq!(bolt.net.stats().dropped["own_frame_unexpected"], 4);
    assert!(bolt_out.replies.try_recv().is_none(), "the other stream has nothing of it");
}

#[tokio::test]
async fn what_is_gone_and_what_is_to_be_asked_for_comes_in_its_place() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    acme.want(&bolt).await;
    let (out, _acme_in) = acme.links(bolt.id()).await;
    let (_bolt_out, mut inward) = bolt.links(acme.id()).await;
    let frames = [range(10), pruned(7), range(0), pull(), marks(1), pull(), pruned(8)];
    for frame in &frames {
        out.frames.send(frame.clone()).await.unwrap();
    }
    for frame in frames {
        assert_eq!(soon(inward.frames.recv()).await, Some(frame));
    }
    assert!(acme.net.stats().dropped.is_empty() && bolt.net.stats().dropped.is_empty());
}
