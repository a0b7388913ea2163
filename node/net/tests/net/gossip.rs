//! Gossip between homes, and what it does not do for peers that break the rules.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::AsyncReadExt as _;
use homing_net::{
    GossipId, GossipStats, JoinError, NetEvent, NetLimits, PublishError, PublishOutcome, TopicName,
    Verdict,
};
use homing_wire::HomeId;
use libp2p::Stream;
use libp2p_stream::OpenStreamError;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::mesh::{self, Message, joins, message, say_all, says};
use crate::support::raw::{Raw, send};
use crate::support::{Home, Identity, QUIC, TCP, limits as quick, soon};

const TOPIC: TopicName = TopicName([7; 32]);

fn topic(number: u16) -> TopicName {
    let mut name = [0; 32];
    name[..2].copy_from_slice(&number.to_be_bytes());
    TopicName(name)
}

/// What came by gossip next.
struct Got {
    from: HomeId,
    topic: TopicName,
    payload: Bytes,
    message: GossipId,
}

impl Home {
    async fn gossip(&mut self) -> Got {
        self.next(|event| match event {
            NetEvent::Gossip { from, topic, payload, message } => {
                Ok(Got { from, topic, payload, message })
            }
            event => Err(event),
        })
        .await
    }

    /// The next one is this, and it is judged.
    async fn takes(&mut self, payload: &[u8], verdict: Verdict) -> HomeId {
        let got = self.gossip().await;
        assert_eq!((got.topic, &got.payload[..]), (TOPIC, payload));
        self.net.judge(got.message, verdict).await;
        got.from
    }

    /// Until so many nodes are in the mesh of a topic: nothing tells when.
    async fn meshed(&self, topic: TopicName, count: usize) {
        self.until(|home| {
            let net = home.net.clone();
            async move { net.topic_peers(topic).await.mesh == count }
        })
        .await;
    }

    async fn until<F: Future<Output = bool>>(&self, is_true: impl Fn(&Self) -> F) {
        soon(async {
            while !is_true(self).await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    async fn counted(&self, is_true: impl Fn(&GossipStats) -> bool) -> GossipStats {
        self.until(|home| {
            let counted = is_true(&home.net.stats().gossip);
            async move { counted }
        })
        .await;
        self.net.stats().gossip
    }

    async fn says(&self, payload: &[u8]) -> PublishOutcome {
        self.net.publish(TOPIC, Bytes::copy_from_slice(payload)).await.unwrap()
    }
}

/// Two homes that have both joined the topic and said hello.
async fn pair(listen: &str) -> (Home, Home) {
    let mut acme = Home::start("acme", &[listen]).await;
    let mut bolt = Home::start("bolt", &[listen]).await;
    for home in [&acme, &bolt] {
        home.net.join_topic(TOPIC).await.unwrap();
    }
    acme.want(&bolt).await;
    acme.up(bolt.id()).await;
    bolt.up(acme.id()).await;
    acme.meshed(TOPIC, 1).await;
    bolt.meshed(TOPIC, 1).await;
    (acme, bolt)
}

/// A plain libp2p peer that has said hello, and its gossip stream. It takes acme's and reads none of it.
async fn guest(acme: &mut Home) -> (Raw, Stream, Identity, UnboundedReceiver<Stream>) {
    let guest = Identity::new("guest");
    let mut raw = Raw::connect(&guest.key, &acme.addresses[0]).await;
    let streams = mesh::accept(&mut raw);
    raw.hello(&guest).await;
    acme.up(guest.id).await;
    let stream = mesh::open(&mut raw).await;
    (raw, stream, guest, streams)
}

#[tokio::test]
async fn two_admitted_homes_exchange_messages() {
    for listen in [TCP, QUIC] {
        let (mut acme, mut bolt) = pair(listen).await;
        assert_eq!(acme.says(b"from acme").await, PublishOutcome::Sent);
        assert_eq!(bolt.takes(b"from acme", Verdict::Accept).await, acme.id());
        assert_eq!(bolt.says(b"from bolt").await, PublishOutcome::Sent);
        assert_eq!(acme.takes(b"from bolt", Verdict::Accept).await, bolt.id());
        assert_eq!(acme.says(b"from acme").await, PublishOutcome::Duplicate);
        assert_eq!(bolt.says(b"from acme").await, PublishOutcome::Duplicate);
        let counted = bolt.counted(|gossip| gossip.judged.len() == 1 && gossip.mesh_peers == 1);
        let counted = counted.await;
        assert_eq!((counted.topics, counted.peers), (1, 1));
        assert_eq!((counted.published, counted.messages_in, counted.new), (1, 1, 1));
        assert_eq!((counted.duplicates, counted.judged["accepted"]), (0, 1));
        assert!(counted.bytes_in > 200 && counted.bytes_out > 200, "{counted:?}");
        assert!(counted.dropped.is_empty(), "{counted:?}");
    }
}

/// Two homes that dial each other have two connections, and admit each in an order of its own.
#[tokio::test]
async fn fifty_meetings_all_lead_to_gossip() {
    for round in 0..50u8 {
        let mut acme = Home::start("acme", &[TCP]).await;
        let mut bolt = Home::start("bolt", &[TCP]).await;
        acme.want(&bolt).await;
        bolt.want(&acme).await;
        acme.net.join_topic(TOPIC).await.unwrap();
        bolt.net.join_topic(TOPIC).await.unwrap();
        acme.meshed(TOPIC, 1).await;
        bolt.meshed(TOPIC, 1).await;
        assert_eq!(acme.says(&[round]).await, PublishOutcome::Sent);
        bolt.takes(&[round], Verdict::Accept).await;
        assert_eq!(bolt.says(&[round, 1]).await, PublishOutcome::Sent);
        acme.takes(&[round, 1], Verdict::Accept).await;
    }
}

#[tokio::test]
async fn who_leaves_a_topic_hears_no_more_of_it() {
    let (acme, mut bolt) = pair(TCP).await;
    assert_eq!(acme.net.topic_homes(TOPIC).await, BTreeSet::from([bolt.id()]));
    bolt.net.leave_topic(TOPIC).await;
    acme.until(|acme| {
        let net = acme.net.clone();
        async move { net.topic_peers(TOPIC).await.joined == 0 }
    })
    .await;
    assert!(acme.net.topic_homes(TOPIC).await.is_empty());
    assert_eq!(acme.says(b"nobody listens").await, PublishOutcome::NoPeers);
    assert!(matches!(bolt.net.publish(TOPIC, Bytes::new()).await, Err(PublishError::NotJoined)));
    // Another topic still works, and is the next that bolt hears.
    for home in [&acme, &bolt] {
        home.net.join_topic(topic(1)).await.unwrap();
    }
    acme.meshed(topic(1), 1).await;
    let sent = acme.net.publish(topic(1), Bytes::from_static(b"here")).await;
    assert_eq!(sent, Ok(PublishOutcome::Sent));
    assert_eq!(bolt.gossip().await.topic, topic(1));
}

#[tokio::test]
async fn what_cannot_be_published_is_said_so() {
    let acme = Home::start("acme", &[TCP]).await;
    let publish = |bytes: usize| acme.net.publish(TOPIC, vec![0; bytes].into());
    assert_eq!(publish(1).await, Err(PublishError::NotJoined));
    acme.net.join_topic(TOPIC).await.unwrap();
    let limit = NetLimits::default().gossip_message_bytes;
    assert_eq!(publish(limit).await, Ok(PublishOutcome::NoPeers));
    let size = limit + 1;
    assert_eq!(publish(size).await, Err(PublishError::TooLarge { size, limit }));
    acme.net.shutdown().await;
    assert_eq!(publish(1).await, Err(PublishError::ShutDown));
    assert_eq!(acme.net.join_topic(TOPIC).await, Err(JoinError::ShutDown));
}

#[tokio::test]
async fn the_largest_messages_arrive_also_close_together() {
    let (acme, mut bolt) = pair(TCP).await;
    let limit = NetLimits::default().gossip_message_bytes;
    let payloads: Vec<_> = (0..8).map(|number| vec![number; limit]).collect();
    for payload in &payloads {
        assert_eq!(acme.says(payload).await, PublishOutcome::Sent);
    }
    for payload in &payloads {
        bolt.takes(payload, Verdict::Accept).await;
    }
}

/// What identify says that a home speaks.
async fn spoken(raw: &mut Raw) -> String {
    let mut stream = raw.open("/ipfs/id/1.0.0").await;
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_peer_without_hello_gets_no_gossip() {
    let mut acme = Home::start("acme", &[TCP]).await;
    acme.net.join_topic(TOPIC).await.unwrap();
    let stranger = Identity::new("stranger");
    let mut raw = Raw::connect(&stranger.key, &acme.addresses[0]).await;
    let denied = mesh::try_open(&mut raw).await;
    assert!(matches!(denied, Err(OpenStreamError::UnsupportedProtocol(_))), "{denied:?}");
    let says = spoken(&mut raw).await;
    assert!(says.contains("/homing/hello/1") && !says.contains("/meshsub/"), "{says}");
    assert_eq!(acme.says(b"secret").await, PublishOutcome::NoPeers);
    assert_eq!(acme.net.topic_peers(TOPIC).await.joined, 0);
    let refusal = b"\x13/multistream/1.0.0\n\x03na\n".len() as u64;
    assert_eq!(acme.net.stats().gossip.bytes_out, refusal);
    // The same connection, after hello.
    let mut streams = mesh::accept(&mut raw);
    raw.hello(&stranger).await;
    acme.up(stranger.id).await;
    let mut stream = mesh::open(&mut raw).await;
    assert!(spoken(&mut raw).await.contains("/meshsub/"));
    send(&mut stream, &joins([TOPIC])).await;
    soon(streams.recv()).await.expect("acme opens its stream");
    acme.meshed(TOPIC, 1).await;
    assert_eq!(acme.says(b"known").await, PublishOutcome::Sent);
}

#[tokio::test]
async fn a_refused_peer_gets_none_either() {
    let identity = Identity::new("acme");
    let refusal = homing_net::Refusal::new("home_denied", "not you");
    identity.policy.lock().verdict = Err(refusal);
    let mut acme = Home::run(identity, &[TCP], quick()).await;
    acme.net.join_topic(TOPIC).await.unwrap();
    let bolt = Home::start("bolt", &[TCP]).await;
    bolt.net.join_topic(TOPIC).await.unwrap();
    bolt.want(&acme).await;
    assert_eq!(acme.refused().await.2, "home_denied");
    assert_eq!(acme.says(b"secret").await, PublishOutcome::NoPeers);
    assert_eq!(bolt.says(b"secret").await, PublishOutcome::NoPeers);
    let (acme, bolt) = (acme.net.stats().gossip, bolt.net.stats().gossip);
    assert_eq!((acme.bytes_in, acme.bytes_out, bolt.bytes_in, bolt.bytes_out), (0, 0, 0, 0));
}

/// acme – bolt – core, all with the topic; acme and core do not know each other.
async fn line() -> (Home, Home, Home) {
    let (acme, mut bolt) = pair(TCP).await;
    let mut core = Home::start("core", &[TCP]).await;
    core.net.join_topic(TOPIC).await.unwrap();
    core.want(&bolt).await;
    bolt.up(core.id()).await;
    core.up(bolt.id()).await;
    core.meshed(TOPIC, 1).await;
    bolt.meshed(TOPIC, 2).await;
    (acme, bolt, core)
}

#[tokio::test]
async fn a_message_goes_on_once_it_is_accepted() {
    let (mut acme, mut bolt, mut core) = line().await;
    assert_eq!(acme.says(b"onward").await, PublishOutcome::Sent);
    let got = bolt.gossip().await;
    // Not before bolt has said so: what bolt sends of its own meanwhile overtakes it.
    assert_eq!(bolt.says(b"meanwhile").await, PublishOutcome::Sent);
    core.takes(b"meanwhile", Verdict::Ignore).await;
    acme.takes(b"meanwhile", Verdict::Ignore).await;
    bolt.net.judge(got.message, Verdict::Accept).await;
    assert_eq!(core.takes(b"onward", Verdict::Accept).await, bolt.id());
    assert_eq!(core.says(b"and back").await, PublishOutcome::Sent);
    bolt.takes(b"and back", Verdict::Accept).await;
    assert_eq!(acme.takes(b"and back", Verdict::Accept).await, bolt.id());
}

#[tokio::test]
async fn a_message_that_is_not_accepted_goes_no_further() {
    let (acme, mut bolt, mut core) = line().await;
    for (payload, verdict) in [(b"bad", Verdict::Reject), (b"odd", Verdict::Ignore)] {
        acme.says(payload).await;
        bolt.takes(payload, verdict).await;
    }
    // Dropped without a word: as good as ignored.
    acme.says(b"???").await;
    drop(bolt.gossip().await.message);
    acme.says(b"good").await;
    bolt.takes(b"good", Verdict::Accept).await;
    core.takes(b"good", Verdict::Accept).await;
    let counted = core.counted(|gossip| gossip.messages_in > 0).await;
    assert_eq!((counted.messages_in, counted.new), (1, 1));
    let judged = bolt.net.stats().gossip.judged;
    assert_eq!((judged["rejected"], judged["ignored"], judged["accepted"]), (1, 1, 1));
}

#[tokio::test]
async fn a_banned_home_gets_no_more_and_is_heard_no_more() {
    let (mut acme, bolt) = pair(TCP).await;
    let before = acme.net.stats().gossip.published;
    acme.net.ban(bolt.id()).await;
    // The connection may take a while to close; gossip does not wait for it.
    assert_eq!(acme.says(b"not for bolt").await, PublishOutcome::NoPeers);
    assert_eq!(acme.net.topic_peers(TOPIC).await.joined, 0);
    assert_eq!(acme.net.stats().gossip.published, before);
    assert_eq!(acme.down(bolt.id()).await, "banned");
}

#[tokio::test]
async fn a_home_that_is_disconnected_loses_gossip_and_gets_it_back_with_hello() {
    let (acme, mut bolt) = pair(TCP).await;
    acme.net.disconnect(bolt.id(), "test").await;
    assert_eq!(acme.says(b"nobody").await, PublishOutcome::NoPeers);
    bolt.down(acme.id()).await;
    bolt.up(acme.id()).await;
    acme.meshed(TOPIC, 1).await;
    assert_eq!(acme.says(b"again").await, PublishOutcome::Sent);
    bolt.takes(b"again", Verdict::Accept).await;
}

#[tokio::test]
async fn a_513th_topic_is_an_error_and_512_are_told_at_once() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    for number in 0..512 {
        acme.net.join_topic(topic(number)).await.unwrap();
        bolt.net.join_topic(topic(number)).await.unwrap();
    }
    let limit = 512;
    assert_eq!(acme.net.join_topic(topic(512)).await, Err(JoinError::TooManyTopics { limit }));
    assert_eq!(acme.net.join_topic(topic(3)).await, Ok(()), "joined already");
    // All that bolt has joined fits into its greeting.
    acme.want(&bolt).await;
    acme.up(bolt.id()).await;
    bolt.up(acme.id()).await;
    for number in [0, 255, 511] {
        acme.meshed(topic(number), 1).await;
        bolt.meshed(topic(number), 1).await;
    }
    acme.net.leave_topic(topic(0)).await;
    assert_eq!(acme.net.join_topic(topic(512)).await, Ok(()));
}

#[tokio::test]
async fn a_peer_is_not_believed_to_have_joined_more_than_it_may() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let (_raw, mut stream, _, _unread) = guest(&mut acme).await;
    send(&mut stream, &joins((0..512).map(topic))).await;
    send(&mut stream, &joins([topic(600)])).await;
    send(&mut stream, &joins((0..40).map(|n| topic(700 + n)))).await;
    // Nor what is no topic of ours, which ends nothing either.
    let mut odd = joins([topic(1)]);
    odd.subscriptions[0].topic = Some("weather".to_owned());
    send(&mut stream, &odd).await;
    acme.net.join_topic(TOPIC).await.unwrap();
    acme.net.join_topic(topic(511)).await.unwrap();
    send(&mut stream, &says([message(TOPIC, "still heard")])).await;
    assert_eq!(&acme.gossip().await.payload[..], b"still heard");
    assert_eq!(acme.net.topic_peers(topic(511)).await.joined, 1);
    for number in [600, 700, 739] {
        assert_eq!(acme.net.topic_peers(topic(number)).await.joined, 0, "{number}");
    }
}

#[tokio::test]
async fn a_flood_is_cut_to_a_peer_s_share() {
    let limits = NetLimits { gossip_messages_per_s: 400, ..quick() };
    let mut acme = Home::run(Identity::new("acme"), &[TCP], limits).await;
    acme.net.join_topic(TOPIC).await.unwrap();
    let (_raw, mut stream, _, _unread) = guest(&mut acme).await;
    let started = Instant::now();
    let flood = (0..3_000u32).map(|number| message(TOPIC, number.to_be_bytes()));
    let server = async {
        let mut taken = 0;
        loop {
            let gossip = acme.net.stats().gossip;
            let dropped = gossip.dropped.get("peer_too_fast").copied().unwrap_or_default();
            if gossip.new + dropped == 3_000 {
                return (taken, gossip);
            }
            let wait = Duration::from_millis(10);
            if let Ok(Some(event)) = tokio::time::timeout(wait, acme.events.recv()).await {
                taken += u64::from(matches!(event, NetEvent::Gossip { .. }));
            }
        }
    };
    let flooding = say_all(&mut stream, flood);
    let ((taken, gossip), ()) = soon(futures::future::join(server, flooding)).await;
    // A quarter of 400 at once, and as many a second.
    let most = 101.0 + 100.0 * started.elapsed().as_secs_f64();
    assert!((100.0..=most).contains(&(gossip.new as f64)), "{gossip:?}");
    assert!(taken <= gossip.new && gossip.new < 2_000, "{taken} of {gossip:?}");
    // The flooder's connection still serves.
    acme.until(|acme| {
        let net = acme.net.clone();
        async move { net.peers().await.len() == 1 }
    })
    .await;
}

#[tokio::test]
async fn many_peers_together_bring_no_more_than_the_node_takes() {
    // Ten a second from each of six, forty in all.
    let limits = NetLimits { gossip_messages_per_s: 40, ..quick() };
    let mut acme = Home::run(Identity::new("acme"), &[TCP], limits).await;
    acme.net.join_topic(TOPIC).await.unwrap();
    let mut guests = Vec::new();
    for _ in 0..6 {
        guests.push(guest(&mut acme).await);
    }
    let started = Instant::now();
    for (number, (_, stream, ..)) in (0u8..).zip(&mut guests) {
        send(stream, &says((0..10u8).map(|n| message(TOPIC, [number, n])))).await;
    }
    let dropped = |gossip: &GossipStats| gossip.dropped.values().sum::<u64>();
    let counted = acme.counted(|gossip| gossip.new + dropped(gossip) == 60).await;
    let most = 41.0 + 40.0 * started.elapsed().as_secs_f64();
    // One frame is taken whole once there is room for its first message.
    assert!((40.0..=most + 10.0).contains(&(counted.new as f64)), "{counted:?}");
    assert_eq!(counted.dropped.keys().copied().collect::<Vec<_>>(), ["too_much_gossip"]);
}

#[tokio::test]
async fn a_flood_stops_where_the_server_does_not_take_it() {
    let limits = NetLimits { events_queue: 4, ..quick() };
    let mut acme = Home::run(Identity::new("acme"), &[TCP], limits).await;
    acme.net.join_topic(TOPIC).await.unwrap();
    let (_raw, mut stream, _, _unread) = guest(&mut acme).await;
    // 64 MiB, of which a peer may bring 4 a second: the flooder has to wait, whatever it is allowed.
    let flood = (0..1_024u32).map(|number| {
        let mut data = vec![0; 64 * 1_024];
        data[..4].copy_from_slice(&number.to_be_bytes());
        message(TOPIC, data)
    });
    let flooding = tokio::spawn(async move {
        say_all(&mut stream, flood).await;
        stream
    });
    // Commands are taken meanwhile.
    acme.until(|acme| {
        let net = acme.net.clone();
        async move { net.stats().gossip.new > 8 && net.topic_peers(TOPIC).await.mesh == 0 }
    })
    .await;
    assert!(!flooding.is_finished(), "nobody can have read all of it");
    assert!(acme.net.stats().gossip.new < 64, "{:?}", acme.net.stats().gossip);
    let taking = async {
        loop {
            acme.events.recv().await;
        }
    };
    tokio::select! {
        done = flooding => drop(done.unwrap()),
        () = soon(taking) => unreachable!("it takes for ever"),
    }
}

#[tokio::test]
async fn messages_of_no_valid_form_are_dropped_and_their_bringer_silenced() {
    let mut acme = Home::start("acme", &[TCP]).await;
    acme.net.join_topic(TOPIC).await.unwrap();
    let (_raw, mut stream, guest, _unread) = guest(&mut acme).await;
    send(&mut stream, &says([message(topic(9), "of another topic")])).await;
    let limit = NetLimits::default().gossip_message_bytes;
    send(&mut stream, &says([message(TOPIC, vec![0; limit + 1])])).await;
    let signed = |number: u8| Message {
        from: Some(guest.key.peer_id_bytes().to_vec()),
        seqno: Some(vec![number; 8]),
        ..message(TOPIC, "as libp2p signs it")
    };
    send(&mut stream, &says([signed(1)])).await;
    send(&mut stream, &says([message(TOPIC, "good")])).await;
    assert_eq!(acme.takes(b"good", Verdict::Accept).await, guest.id);
    let dropped = acme.net.stats().gossip.dropped;
    assert_eq!(dropped["topic_not_joined"], 1);
    assert_eq!(dropped["gossip_too_large"], 1);
    assert_eq!(dropped["gossip_not_anonymous"], 1);
    // Two faults so far; nine are too many.
    say_all(&mut stream, (0..7).map(signed)).await;
    send(&mut stream, &says([message(TOPIC, "too late")])).await;
    let counted = acme.counted(|gossip| gossip.dropped.contains_key("peer_silenced")).await;
    assert_eq!((counted.new, counted.dropped["gossip_not_anonymous"]), (1, 8));
    assert!(acme.events.try_recv().is_err());
}

#[tokio::test]
async fn who_brings_what_is_rejected_is_soon_not_heard() {
    let mut acme = Home::start("acme", &[TCP]).await;
    acme.net.join_topic(TOPIC).await.unwrap();
    let (_raw, mut stream, _, _unread) = guest(&mut acme).await;
    for number in 0..9u8 {
        send(&mut stream, &says([message(TOPIC, [number])])).await;
        acme.takes(&[number], Verdict::Reject).await;
    }
    send(&mut stream, &says([message(TOPIC, "too late")])).await;
    let counted = acme.counted(|gossip| gossip.dropped.contains_key("peer_silenced")).await;
    assert_eq!((counted.new, counted.judged["rejected"]), (9, 9));
}

#[tokio::test]
async fn a_slow_peer_does_not_hold_up_the_others() {
    // What a peer may bring in a second is another matter.
    let limits = NetLimits { gossip_bytes_per_s: 1 << 30, ..quick() };
    let few = NetLimits { gossip_queue_messages: 16, ..limits.clone() };
    let mut acme = Home::run(Identity::new("acme"), &[TCP], few).await;
    acme.net.join_topic(TOPIC).await.unwrap();
    let (_raw, mut stream, _, _unread) = guest(&mut acme).await;
    send(&mut stream, &joins([TOPIC])).await;
    acme.meshed(TOPIC, 1).await;
    let mut bolt = Home::run(Identity::new("bolt"), &[TCP], limits).await;
    bolt.net.join_topic(TOPIC).await.unwrap();
    bolt.want(&acme).await;
    acme.up(bolt.id()).await;
    acme.meshed(TOPIC, 2).await;
    bolt.meshed(TOPIC, 1).await;
    // 25 MB: more than any window holds. Each is with bolt before the next is sent.
    for number in 0..400u16 {
        let mut payload = vec![0; 64 * 1_024];
        payload[..2].copy_from_slice(&number.to_be_bytes());
        assert_eq!(acme.says(&payload).await, PublishOutcome::Sent);
        bolt.takes(&payload, Verdict::Accept).await;
    }
    let counted = acme.counted(|gossip| gossip.slow > 0).await;
    assert_eq!(counted.published, 400);
}
