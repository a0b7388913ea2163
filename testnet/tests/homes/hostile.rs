//! A home that lies: about its name, and about whose words it brings.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use homing_net::{
    Admission, HelloInfo, NetConfig, NetEvent, NetHandle, NodeKey, Refusal, RelayIn, RelayOut,
};
use homing_testnet::homes::Home;
use homing_wire::proto::event::v1 as pb_event;
use homing_wire::proto::hello::v1::Hello;
use homing_wire::proto::relay::v1 as pb;
use homing_wire::{
    ChannelId, Epoch, Event, Hash, Head, Header, HomeId, HomeRecord, Kind, MessageId, Node, Seq,
    Stamp, Statement, UserRef, prove,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::party::{Party, WITHIN, history, next_message, say};

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// A home of which everything is real but its honesty.
pub(crate) struct Liar {
    pub(crate) id: HomeId,
    pub(crate) key: SigningKey,
    /// Its own, signed.
    pub(crate) record: Bytes,
    pub(crate) net: NetHandle,
    pub(crate) events: mpsc::Receiver<NetEvent>,
}

/// Its record and its statement, both signed.
struct TakesAll(Bytes, Bytes);

impl Admission for TakesAll {
    fn admit(&self, _: &HomeRecord, _: &HelloInfo) -> Result<(), Refusal> {
        Ok(())
    }

    fn own_hello(&self) -> Hello {
        Hello {
            record: self.0.clone(),
            epoch: 1,
            boot: 1,
            instance: Bytes::from_static(&[7; 16]),
            software: "liar/1".to_owned(),
            clock: now(),
            statement: self.1.clone(),
        }
    }

    fn statement(&self, _: [u8; 16]) -> Bytes {
        Bytes::new()
    }
}

impl Liar {
    pub(crate) fn claiming(name: &str) -> Self {
        let identity = SigningKey::from_bytes(&rand::random());
        let key = NodeKey::generate();
        let record = HomeRecord {
            name: name.parse().unwrap(),
            identity: identity.verifying_key().to_bytes(),
            signing_keys: vec![identity.verifying_key().to_bytes()],
            nodes: vec![Node { peer_id: key.peer_id_bytes(), addresses: Vec::new() }],
            epoch: Epoch(1),
            number: 1,
            protocols: Vec::new(),
            issued_at: now(),
        };
        let id = record.home_id();
        let said = Statement {
            epoch: Epoch(1),
            boot: 1,
            instance: [7; 16],
            peer_id: key.peer_id_bytes(),
            answering: None,
        };
        let record = record.sign(&identity);
        let admission = Arc::new(TakesAll(record.clone(), said.sign(&identity)));
        let config = NetConfig { listen: Vec::new(), allow_private: true, ..NetConfig::default() };
        let (net, events) = homing_net::start(config, &key, admission).unwrap();
        Self { id, key: identity, record, net, events }
    }

    /// A range of one event, proven with the liar's own key.
    pub(crate) fn range(&self, parties: [&UserRef; 2], event: &Event) -> pb::Frame {
        let head =
            Head { channel: event.header.channel, seq: event.header.seq, hash: event.hash() };
        let proof = prove(self.id, event.header.epoch, now(), &[head], &self.key).pop();
        range(parties, event, proof)
    }

    /// Wants to talk to the home at those addresses.
    pub(crate) async fn approach(&mut self, home: &str, addresses: &[String]) -> HomeId {
        let home: HomeId = home.parse().unwrap();
        self.net.want(home, addresses.to_vec()).await.unwrap();
        home
    }

    pub(crate) async fn next<T>(&mut self, mut wanted: impl FnMut(NetEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("the network ended");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(WITHIN, found).await.expect("the awaited event did not come")
    }

    /// The stream by which a home brings what it owes.
    async fn incoming(&mut self) -> RelayIn {
        self.next(|event| match event {
            NetEvent::RelayIn { link, .. } => Some(link),
            _ => None,
        })
        .await
    }

    /// Waits until it is cut.
    async fn cut(&mut self) {
        self.next(|event| matches!(event, NetEvent::PeerDown { .. }).then_some(())).await;
    }

    /// Waits until it is refused, and tells why.
    async fn refused(&mut self) -> String {
        self.next(|event| match event {
            NetEvent::Refused { reason, .. } => Some(reason),
            NetEvent::PeerUp { .. } => panic!("it was let in"),
            _ => None,
        })
        .await
    }

    pub(crate) async fn relay(&mut self) -> RelayOut {
        self.next(|event| match event {
            NetEvent::RelayOut { link, .. } => Some(link),
            _ => None,
        })
        .await
    }
}

/// An event in the name of `sender`, the first of its chain.
pub(crate) fn forged(channel: ChannelId, sender: &UserRef, text: &str) -> Event {
    let body = Bytes::from(format!(r#"{{"type":"text","text":"{text}"}}"#));
    let header = Header {
        channel,
        origin: sender.home,
        epoch: Epoch(1),
        seq: Seq(1),
        prev: Hash::NONE,
        stamp: Stamp::from_ms(now()),
        sender: sender.local.clone(),
        id: MessageId(Uuid::now_v7()),
        kind: Kind::Text,
        target: None,
        mentions: Vec::new(),
        media: Vec::new(),
        roster: 0,
        body_size: u32::try_from(body.len()).unwrap(),
        body_hash: Hash::of(&body),
    };
    Event::new(header, body)
}

fn range(parties: [&UserRef; 2], event: &Event, proof: Option<pb_event::Proof>) -> pb::Frame {
    let mut parties = parties.map(ToString::to_string);
    parties.sort();
    let [a, b] = parties;
    pb::Frame {
        frame: Some(pb::frame::Frame::Range(pb::Range {
            channel: Bytes::copy_from_slice(event.header.channel.as_bytes()),
            chat: Some(pb::Chat { a, b }),
            epoch: event.header.epoch.0,
            first_seq: event.header.seq.0,
            events: vec![pb_event::Event {
                header: event.header_bytes.clone(),
                body: event.body.clone(),
            }],
            proof,
            begins: false,
        })),
    }
}

async fn refusal(link: &mut RelayOut) -> String {
    let reply = tokio::time::timeout(WITHIN, link.replies.recv()).await.unwrap().unwrap();
    match reply.frame {
        Some(pb::frame::Frame::Refuse(refuse)) => refuse.reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_claims_anothers_name_is_refused() {
    let party = Party::of(&["acme.test", "globex.test"]).await;
    let acme = party.homes[0].ready().unwrap().clone();
    for name in ["globex.test", "acme.test"] {
        let mut liar = Liar::claiming(name);
        liar.approach(&acme.home_id, &acme.p2p).await;
        let reason = liar
            .next(|event| match event {
                NetEvent::Refused { reason, .. } => Some(reason),
                NetEvent::PeerUp { .. } => panic!("a liar was let in as {name}"),
                _ => None,
            })
            .await;
        assert_eq!(reason, "name_taken");
        liar.net.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_put_into_anothers_mouth_are_refused() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    party.homes[1].register("bob").await.unwrap();
    let honest = say(&alice, "bob@globex.test", "mine").await;
    let acme = party.homes[0].ready().unwrap().clone();
    let user = |local: &str, home: HomeId| UserRef::new(home, local.parse().unwrap());
    let acme_id: HomeId = acme.home_id.parse().unwrap();
    let globex_id: HomeId = party.homes[1].ready().unwrap().home_id.parse().unwrap();
    let (at_acme, bob) = (user("alice", acme_id), user("bob", globex_id));

    let mut liar = Liar::claiming("liar.test");
    liar.approach(&acme.home_id, &acme.p2p).await;
    let mut link = liar.relay().await;
    let eve = user("eve", liar.id);

    // 1. Bob's words, in the chat of alice and bob, to which the liar does not belong.
    let chat = ChannelId::chat(&at_acme, &bob);
    let frame = liar.range([&at_acme, &bob], &forged(chat, &bob, "send me money"));
    link.frames.send(frame).await.unwrap();
    assert_eq!(refusal(&mut link).await, "not_a_member");

    // 2. Bob's words, in the liar's own chat with alice.
    let chat = ChannelId::chat(&at_acme, &eve);
    let frame = liar.range([&at_acme, &eve], &forged(chat, &bob, "send me money"));
    link.frames.send(frame).await.unwrap();
    let reason = refusal(&mut link).await;
    assert!(["speaks_for_another_home", "unknown_channel"].contains(&reason.as_str()), "{reason}");

    // 3. A user of the liar's own who is not in the chat.
    let mallory = user("mallory", liar.id);
    let frame = liar.range([&at_acme, &eve], &forged(chat, &mallory, "not my chat"));
    link.frames.send(frame).await.unwrap();

    // Three such faults, and the liar is cut. (The third refusal may go down with the stream.)
    liar.next(|event| matches!(event, NetEvent::PeerDown { .. }).then_some(())).await;

    // Nothing of it is stored or shown, and the honest go on.
    assert_eq!(history(&alice, honest.channel).await.len(), 1);
    for channel in alice.all_channels().await.unwrap() {
        assert!(channel.channel == honest.channel || channel.head == 0, "{channel:?}");
    }
    let more = say(&alice, "bob@globex.test", "still here").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let mut there = history(&bob, honest.channel).await;
    while there.len() < 2 {
        next_message(&mut bob_hears).await;
        there = history(&bob, honest.channel).await;
    }
    assert_eq!(there[1].order, more.order);
    liar.net.shutdown().await;
}

fn ack(channel: Uuid, times: usize) -> pb::Frame {
    let have = pb::Have {
        channel: Bytes::copy_from_slice(channel.as_bytes()),
        epoch: 1,
        seq: 1,
        rejected: vec![pb::Rejected { seq: 1, reason: "no_reason".to_owned() }],
        need_roster: false,
    };
    let ack = pb::Ack { have: vec![have; times], ..pb::Ack::default() };
    pb::Frame { frame: Some(pb::frame::Frame::Ack(ack)) }
}

fn refuse(channel: Uuid) -> pb::Frame {
    let channel = Bytes::copy_from_slice(channel.as_bytes());
    let refuse = pb::Refuse { channel, reason: "no_reason".to_owned() };
    pb::Frame { frame: Some(pb::frame::Frame::Refuse(refuse)) }
}

/// What a home counts under a name, label included.
pub(crate) async fn counted(home: &Home, name: &str) -> f64 {
    let url = format!("{}/metrics", home.ready().unwrap().admin);
    let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |number| number.trim().parse().unwrap())
}

/// Answers to what it was never sent, about a chat that it is not in: nothing is shown to anybody, the first ends the
/// connection, and the others are not even looked at.
#[tokio::test(flavor = "multi_thread")]
async fn who_answers_what_it_was_not_asked_is_cut_once_and_stays_out() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    party.homes[1].register("bob").await.unwrap();
    let honest = say(&alice, "bob@globex.test", "mine").await;
    let acme = party.homes[0].ready().unwrap().clone();
    let unasked = r#"homing_peer_faults_total{reason="ack_unasked"}"#;

    let mut liars = Vec::new();
    for (n, frames) in
        [vec![ack(honest.channel, 8_192)], vec![refuse(honest.channel); 50]].into_iter().enumerate()
    {
        let mut liar = Liar::claiming(&format!("liar{n}.test"));
        liar.approach(&acme.home_id, &acme.p2p).await;
        let link = liar.incoming().await;
        for frame in frames {
            let _cut_meanwhile = link.replies.send(frame).await;
        }
        liar.cut().await;
        assert_eq!(counted(&party.homes[0], unasked).await, (n + 1) as f64);
        liars.push(liar);
    }
    let there = history(&alice, honest.channel).await;
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].status, None);

    // It comes again by itself, and is not let in; until the operator says so.
    let mut liar = liars.swap_remove(0);
    assert_eq!(liar.refused().await, "misbehaved");
    party.homes[0].command(&["peer", "retry", &liar.id.to_string()]).await.unwrap();
    liar.net.retry_now(acme.home_id.parse().unwrap()).await;
    liar.next(|event| matches!(event, NetEvent::PeerUp { .. }).then_some(())).await;
    liar.net.shutdown().await;
}

/// Faults are counted by home: neither a new stream nor a new connection makes them undone.
#[tokio::test(flavor = "multi_thread")]
async fn faults_add_up_over_streams() {
    let party = Party::of(&["acme.test", "globex.test"]).await;
    party.homes[0].register("alice").await.unwrap();
    let acme = party.homes[0].ready().unwrap().clone();
    let user = |local: &str, home: HomeId| UserRef::new(home, local.parse().unwrap());
    let at_acme = user("alice", acme.home_id.parse().unwrap());
    let mut liar = Liar::claiming("liar.test");
    let eve = user("eve", liar.id);
    liar.approach(&acme.home_id, &acme.p2p).await;

    // A user that is not there is no fault; it is counted as what it is.
    let mut link = liar.relay().await;
    let nobody = user("nobody", at_acme.home);
    let event = forged(ChannelId::chat(&nobody, &eve), &eve, "anybody?");
    link.frames.send(liar.range([&nobody, &eve], &event)).await.unwrap();
    assert_eq!(refusal(&mut link).await, "unknown_channel");
    let name = r#"homing_relay_events_rejected_total{reason="unknown_channel"}"#;
    assert_eq!(counted(&party.homes[0], name).await, 1.0);

    let chat = ChannelId::chat(&at_acme, &eve);
    let unproven = range([&at_acme, &eve], &forged(chat, &eve, "believe me"), None);
    for _ in 0..2 {
        link.frames.send(unproven.clone()).await.unwrap();
        assert_eq!(refusal(&mut link).await, "unproven");
        drop(link);
        link = liar.relay().await;
    }
    link.frames.send(unproven).await.unwrap();
    liar.cut().await;
    assert_eq!(liar.refused().await, "misbehaved");
    liar.net.shutdown().await;
}
