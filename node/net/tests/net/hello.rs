//! Who is admitted, who is not, and that both sides learn why.

use bytes::Bytes;
use homing_net::{Direction, NodeKey, Refusal};
use homing_wire::{Node, Statement};

use crate::support::{Home, Identity, QUIC, TCP, limits, record};

async fn two_homes_meet(transport: &str) {
    let mut acme = Home::start("acme", &[transport]).await;
    let mut bolt = Home::start("bolt", &[transport]).await;
    acme.want(&bolt).await;
    let seen_by_acme = acme.up(bolt.id()).await;
    let seen_by_bolt = bolt.up(acme.id()).await;
    for hello in [seen_by_acme, seen_by_bolt] {
        assert_eq!((hello.epoch.0, hello.boot, hello.instance), (7, 3, [9; 16]));
        assert_eq!((hello.software.as_str(), hello.clock_ms), ("homing-test/1", 1_000));
    }
    let _links = (acme.links(bolt.id()).await, bolt.links(acme.id()).await);

    let peers = acme.net.peers().await;
    assert_eq!(peers.len(), 1);
    let peer = &peers[0];
    assert_eq!(peer.home, bolt.id());
    assert_eq!(peer.name.as_ref().unwrap().as_str(), "bolt.example");
    assert!(peer.wanted && peer.up_for.is_some() && peer.relay_out && peer.relay_in);
    assert_eq!(peer.connections.len(), 1);
    assert!(peer.connections[0].starts_with(&bolt.addresses[0]), "{:?}", peer.connections);
    assert_eq!(acme.net.stats().admitted, 1);

    acme.net.shutdown().await;
    bolt.down(acme.id()).await;
    assert!(bolt.net.peers().await.is_empty(), "it did not want acme");
}

#[tokio::test]
async fn two_homes_meet_over_tcp() {
    two_homes_meet(TCP).await;
}

#[tokio::test]
async fn two_homes_meet_over_quic() {
    two_homes_meet(QUIC).await;
}

#[tokio::test]
async fn homes_that_dial_each_other_at_once_meet_once() {
    let mut acme = Home::start("acme", &[TCP, QUIC]).await;
    let mut bolt = Home::start("bolt", &[TCP, QUIC]).await;
    tokio::join!(acme.want(&bolt), bolt.want(&acme));
    acme.up(bolt.id()).await;
    bolt.up(acme.id()).await;
    acme.links(bolt.id()).await;
    bolt.links(acme.id()).await;
    let (stats, peers) = (acme.net.stats(), acme.net.peers().await);
    assert!(stats.admitted <= 2, "{stats:?}");
    assert!(peers[0].up_for.is_some() && peers[0].attempts == 0);
}

#[tokio::test]
async fn the_listener_refuses_and_the_dialler_learns_why() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    bolt.identity.policy.lock().verdict = Err(Refusal::new("home_denied", "not you"));
    acme.want(&bolt).await;
    let told = acme.refused().await;
    let expected = |home, direction| (home, direction, "home_denied".into(), "not you".into());
    assert_eq!(told, expected(Some(bolt.id()), Direction::ByPeer));
    assert_eq!(bolt.refused().await, expected(Some(acme.id()), Direction::ByUs));
    let (home, reason, message) = acme.dial_failed().await;
    assert_eq!((home, reason), (bolt.id(), "refused_by_peer"));
    assert_eq!(message, "home_denied: not you");
    assert!(acme.net.stats().refused_by_peer >= 1);
    assert!(bolt.net.stats().refused["home_denied"] >= 1);

    // It goes on knocking, and is let in once the other side has changed its mind.
    bolt.identity.policy.lock().verdict = Ok(());
    acme.up(bolt.id()).await;
    bolt.up(acme.id()).await;
}

#[tokio::test]
async fn the_dialler_refuses_and_the_listener_learns_why() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[QUIC]).await;
    acme.identity.policy.lock().verdict = Err(Refusal::new("epoch_older", "you were restored"));
    acme.want(&bolt).await;
    let expected = |home, direction| {
        (Some(home), direction, "epoch_older".to_owned(), "you were restored".to_owned())
    };
    assert_eq!(acme.refused().await, expected(bolt.id(), Direction::ByUs));
    // Never up, not even for a moment: `refused` takes the first event that is a refusal, and the
    // listener waits for the dialler's verdict.
    assert_eq!(bolt.refused().await, expected(acme.id(), Direction::ByPeer));
    assert_eq!(bolt.net.stats().admitted, 0);
    assert_eq!(acme.dial_failed().await.1, "epoch_older");
}

/// What bolt says of acme, which shows `record` bytes of its own making.
async fn shown_to_bolt(change: impl FnOnce(&Identity)) -> (String, Direction) {
    let identity = Identity::new("acme");
    change(&identity);
    let mut acme = Home::run(identity, &[TCP], limits()).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    acme.want(&bolt).await;
    let (_, direction, reason, _) = bolt.refused().await;
    assert_eq!(acme.refused().await.2, reason, "both sides know");
    assert_eq!(bolt.net.stats().admitted, 0);
    (reason, direction)
}

#[tokio::test]
async fn a_record_that_does_not_name_the_node_is_refused() {
    let result = shown_to_bolt(|acme| {
        let other = NodeKey::generate();
        acme.policy.lock().record = record("acme", &acme.signing, &other).sign(&acme.signing);
    });
    assert_eq!(result.await, ("node_unknown".into(), Direction::ByUs));
}

#[tokio::test]
async fn a_record_signed_by_another_identity_is_refused() {
    let result = shown_to_bolt(|acme| {
        let thief = Identity::new("thief");
        acme.policy.lock().record = record("acme", &acme.signing, &acme.key).sign(&thief.signing);
    });
    assert_eq!(result.await, ("record_signature".into(), Direction::ByUs));
}

#[tokio::test]
async fn a_stolen_record_is_of_no_use_to_another_node() {
    let victim = Identity::new("victim");
    let stolen = victim.policy.lock().record.clone();
    let result = shown_to_bolt(|acme| acme.policy.lock().record = stolen);
    assert_eq!(result.await, ("node_unknown".into(), Direction::ByUs));
}

#[tokio::test]
async fn a_hello_that_its_statement_does_not_bear_out_is_refused() {
    type Change = fn(&Identity) -> Bytes;
    let changes: [Change; 5] = [
        |_| Bytes::new(),
        // Of another run, of another node, an answer to somebody, and signed by somebody else.
        |acme| acme.run("acme", 7, 4, 9).policy.said(None).sign(&acme.signing),
        |acme| {
            let peer_id = NodeKey::generate().peer_id_bytes();
            Statement { peer_id, ..acme.policy.said(None) }.sign(&acme.signing)
        },
        |acme| acme.policy.said(Some([1; 16])).sign(&acme.signing),
        |acme| acme.policy.said(None).sign(&Identity::new("thief").signing),
    ];
    for forge in changes {
        let result = shown_to_bolt(|acme| {
            let forged = forge(acme);
            acme.policy.lock().forged = Some(forged);
        });
        assert_eq!(result.await, ("hello_malformed".into(), Direction::ByUs));
    }
}

#[tokio::test]
async fn one_of_several_nodes_of_a_home_is_admitted() {
    let identity = Identity::new("acme");
    let mut record = record("acme", &identity.signing, &identity.key);
    let sibling = NodeKey::generate().peer_id_bytes();
    record.nodes.insert(0, Node { peer_id: sibling, addresses: Vec::new() });
    identity.policy.lock().record = record.sign(&identity.signing);
    let acme = Home::run(identity, &[TCP], limits()).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    acme.want(&bolt).await;
    bolt.up(acme.id()).await;
}
