//! Getting to a home, and getting there again.

use std::time::Duration;

use homing_net::{AddressError, Direction, NetLimits};
use homing_wire::Node;

use crate::support::proxy::Proxy;
use crate::support::{Home, Identity, QUIC, TCP, bulky, limits, marks, number_of, record, soon};

#[tokio::test]
async fn a_wrong_home_at_the_address_is_named_and_left() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    let expected = Identity::new("elsewhere").id;
    acme.net.want(expected, bolt.addresses.clone()).await.unwrap();
    let (home, direction, reason, _) = acme.refused().await;
    assert_eq!(
        (home, direction, reason.as_str()),
        (Some(bolt.id()), Direction::ByUs, "wrong_home")
    );
    let (home, reason, _) = acme.dial_failed().await;
    assert_eq!((home, reason), (expected, "wrong_home"));
    let (home, direction, reason, _) = bolt.refused().await;
    assert_eq!((home, direction), (Some(acme.id()), Direction::ByPeer));
    assert_eq!(reason, "wrong_home");
    assert_eq!(acme.net.stats().admitted + bolt.net.stats().admitted, 0);
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_passed_over() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let wrong = Home::start("wrong", &[TCP]).await;
    let bolt = Home::start("bolt", &[TCP]).await;
    let mut addresses = vec!["/ip4/127.0.0.1/tcp/9".to_owned()];
    addresses.extend(wrong.addresses.iter().chain(&bolt.addresses).cloned());
    acme.net.want(bolt.id(), addresses).await.unwrap();
    acme.up(bolt.id()).await;
}

#[tokio::test]
async fn a_home_that_is_not_there_is_reported_with_rising_waits() {
    let mut acme = Home::start("acme", &[]).await;
    let absent = Identity::new("absent").id;
    acme.net.want(absent, vec!["/ip4/127.0.0.1/tcp/9".to_owned()]).await.unwrap();
    for _ in 0..3 {
        let (home, reason, message) = acme.dial_failed().await;
        assert_eq!((home, reason), (absent, "unreachable"));
        assert!(message.contains("127.0.0.1"), "{message}");
    }
    let peers = acme.net.peers().await;
    assert!(peers[0].wanted && peers[0].attempts >= 3 && peers[0].up_for.is_none());
    assert_eq!(peers[0].last_reason, Some("unreachable"));
    assert!(acme.net.stats().dial_failed["unreachable"] >= 3);
    acme.net.unwant(absent).await;
    assert!(acme.net.peers().await.is_empty());
    acme.net.want(absent, Vec::new()).await.unwrap();
    assert_eq!(acme.dial_failed().await.1, "no_addresses");
    let bad = acme.net.want(absent, vec!["acme.example:80".to_owned()]).await;
    assert_eq!(bad, Err(AddressError::Syntax));
}

#[tokio::test]
async fn the_operators_host_names_are_resolved() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let bolt = Home::start("bolt", &[TCP]).await;
    let named = bolt.addresses[0].replace("/ip4/127.0.0.1", "/dns4/localhost");
    acme.net.want(bolt.id(), vec![named]).await.unwrap();
    acme.up(bolt.id()).await;
}

#[tokio::test]
async fn what_a_record_announces_is_dialled_when_the_pinned_address_no_longer_serves() {
    let identity = Identity::new("bolt");
    let mut bolt = Home::run(identity.clone(), &[TCP, TCP], limits()).await;
    let proxy = Proxy::to(&bolt.addresses[0]).await;
    let mut shown = record("bolt", &identity.signing, &identity.key);
    shown.nodes = vec![Node {
        peer_id: identity.key.peer_id_bytes(),
        addresses: vec![bolt.addresses[1].clone()],
    }];
    identity.policy.lock().record = shown.sign(&identity.signing);
    let mut acme = Home::start("acme", &[]).await;
    acme.net.want(bolt.id(), vec![proxy.address.clone()]).await.unwrap();
    acme.up(bolt.id()).await;
    bolt.up(acme.id()).await;
    // A new, useless pin: only the record knows the way now.
    acme.net.want(bolt.id(), vec!["/ip4/127.0.0.1/tcp/9".to_owned()]).await.unwrap();
    acme.net.disconnect(bolt.id(), "test").await;
    assert_eq!(acme.down(bolt.id()).await, "test");
    acme.up(bolt.id()).await;
    let connections = acme.net.peers().await.remove(0).connections;
    assert!(connections[0].starts_with(&bolt.addresses[1]), "{connections:?}");
}

async fn restart(transport: &str) {
    let mut acme = Home::start("acme", &[transport]).await;
    let identity = Identity::new("bolt");
    let mut bolt = Home::run(identity.clone(), &[transport], limits()).await;
    let address = bolt.addresses[0].clone();
    acme.want(&bolt).await;
    let (old, _in) = acme.links(bolt.id()).await;
    bolt.links(acme.id()).await;
    bolt.net.shutdown().await;
    acme.down(identity.id).await;
    soon(old.frames.closed()).await;
    acme.dial_failed().await;

    let mut bolt = Home::run(identity, &[&address], limits()).await;
    assert_eq!(bolt.addresses, [address], "the same port");
    let link = acme.relay_out(bolt.id()).await;
    let mut inward = bolt.relay_in(acme.id()).await;
    link.frames.send(marks(11)).await.unwrap();
    assert_eq!(number_of(&soon(inward.frames.recv()).await.unwrap()), 11);
}

#[tokio::test]
async fn a_home_that_restarts_is_found_again_over_tcp() {
    restart(TCP).await;
}

#[tokio::test]
async fn a_home_that_restarts_is_found_again_over_quic() {
    restart(QUIC).await;
}

/// A process dies and nobody hears of it: its next life is told from it by what it says, and the server learns that
/// the home was down. Until then what the old one sent counts as sent by a home that may have lost it.
#[tokio::test]
async fn a_home_that_died_unheard_is_down_before_it_is_up_again() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let proxy = Proxy::to(&acme.addresses[0]).await;
    let identity = Identity::new("bolt");
    let bolt = Home::run(identity.clone(), &[], limits()).await;
    bolt.net.want(acme.id(), vec![proxy.address.clone()]).await.unwrap();
    let (old, mut old_in) = acme.links(identity.id).await;
    proxy.cut();
    bolt.net.shutdown().await;
    assert!(!old.frames.is_closed(), "the old connection looks alive");

    identity.policy.lock().instance = [8; 16];
    let bolt = Home::run(identity.clone(), &[], limits()).await;
    bolt.net.want(acme.id(), vec![proxy.address.clone()]).await.unwrap();
    assert_eq!(acme.down(identity.id).await, "replaced");
    assert_eq!(acme.up(identity.id).await.instance, [8; 16]);
    assert_eq!(soon(old_in.frames.recv()).await, None);
    soon(old.frames.closed()).await;
    acme.links(identity.id).await;
}

#[tokio::test]
async fn a_home_that_comes_back_by_itself_needs_no_dialling() {
    let identity = Identity::new("bolt");
    let mut acme = Home::start("acme", &[TCP]).await;
    // acme knows no address of bolt, and waits.
    acme.net.want(identity.id, Vec::new()).await.unwrap();
    acme.dial_failed().await;
    let bolt = Home::run(identity, &[], limits()).await;
    bolt.want(&acme).await;
    acme.up(bolt.id()).await;
    acme.relay_out(bolt.id()).await;
    let peer = acme.net.peers().await.remove(0);
    assert_eq!((peer.attempts, peer.retry_in), (0, None), "contact starts the back-off over");
}

/// A link that is cut in silence: both sides notice by their heartbeats, and the dialler finds a new way.
#[tokio::test]
async fn a_dead_link_is_noticed_and_replaced() {
    let deadline = Duration::from_millis(800);
    let quick = || NetLimits {
        heartbeat: Duration::from_millis(200),
        relay_deadline: deadline,
        ..limits()
    };
    let mut acme = Home::run(Identity::new("acme"), &[], quick()).await;
    let mut bolt = Home::run(Identity::new("bolt"), &[TCP], quick()).await;
    let proxy = Proxy::to(&bolt.addresses[0]).await;
    acme.net.want(bolt.id(), vec![proxy.address.clone()]).await.unwrap();
    let (out, _acme_in) = acme.links(bolt.id()).await;
    let (_bolt_out, mut inward) = bolt.links(acme.id()).await;
    out.frames.send(marks(1)).await.unwrap();
    assert_eq!(number_of(&soon(inward.frames.recv()).await.unwrap()), 1);

    // Again and again: what is left of dead connections must not stand in the way.
    let mut held = Vec::new();
    for number in 2..7 {
        proxy.cut();
        let cut_at = tokio::time::Instant::now();
        assert_eq!(acme.down(bolt.id()).await, "relay_dead");
        let noticed = cut_at.elapsed();
        assert!(noticed < deadline * 5, "{noticed:?}");
        let out = acme.relay_out(bolt.id()).await;
        let mut inward = bolt.relay_in(acme.id()).await;
        out.frames.send(marks(number)).await.unwrap();
        // bolt may have opened the stream that is answered only now; the frame comes on the newest.
        loop {
            match soon(inward.frames.recv()).await {
                Some(frame) => {
                    assert_eq!(number_of(&frame), number);
                    break;
                }
                None => inward = bolt.relay_in(acme.id()).await,
            }
        }
        held.push((out, inward));
    }
    assert!(acme.net.stats().dropped["relay_dead"] >= 5);
}

/// The same with the sender's writes stuck in the dead link, more often than a peer may have connections.
#[tokio::test]
async fn dead_links_full_of_writes_are_noticed_and_replaced() {
    let quick = || NetLimits {
        heartbeat: Duration::from_millis(200),
        relay_deadline: Duration::from_millis(800),
        connections_per_peer: 2,
        ..limits()
    };
    let mut acme = Home::run(Identity::new("acme"), &[], quick()).await;
    let bolt = Home::run(Identity::new("bolt"), &[TCP], quick()).await;
    let proxy = Proxy::to(&bolt.addresses[0]).await;
    acme.net.want(bolt.id(), vec![proxy.address.clone()]).await.unwrap();
    let mut out = acme.relay_out(bolt.id()).await;
    for _ in 0..3 {
        proxy.cut();
        // Until the link is taken away.
        soon(async {
            for number in 0.. {
                if out.frames.send(bulky(number, 60_000)).await.is_err() {
                    break;
                }
            }
        })
        .await;
        assert_eq!(acme.down(bolt.id()).await, "relay_dead");
        out = acme.relay_out(bolt.id()).await;
    }
    assert!(!out.frames.is_closed());
    assert_eq!(acme.net.peers().await[0].connections.len(), 1);
    bolt.net.shutdown().await;
}

#[tokio::test]
async fn a_banned_home_is_out_until_it_is_let_in_again() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    bolt.want(&acme).await;
    acme.up(bolt.id()).await;
    bolt.up(acme.id()).await;
    acme.net.ban(bolt.id()).await;
    assert_eq!(acme.down(bolt.id()).await, "banned");
    bolt.down(acme.id()).await;
    bolt.dial_failed().await;
    bolt.dial_failed().await;
    assert!(acme.net.peers().await.is_empty());
    acme.net.unban(bolt.id()).await;
    bolt.up(acme.id()).await;
    acme.up(bolt.id()).await;
}

#[tokio::test]
async fn commands_are_taken_while_nobody_takes_events() {
    let full = NetLimits { events_queue: 1, commands_queue: 1, ..limits() };
    let mut acme = Home::run(Identity::new("acme"), &[TCP], full).await;
    let absent: Vec<_> = (0..40).map(|n| Identity::new(&format!("absent{n}")).id).collect();
    for home in &absent {
        acme.net.want(*home, Vec::new()).await.unwrap();
        assert!(!soon(acme.net.peers()).await.is_empty());
    }
    assert_eq!(soon(acme.net.peers()).await.len(), absent.len());
    // Nothing was lost meanwhile: each is reported.
    let mut missing: std::collections::HashSet<_> = absent.into_iter().collect();
    while !missing.is_empty() {
        missing.remove(&acme.dial_failed().await.0);
    }
    soon(acme.net.shutdown()).await;
}
