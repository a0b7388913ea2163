//! Questions and answers.

use std::time::Duration;

use futures::{AsyncWriteExt as _, StreamExt as _};
use homing_net::{NetEvent, NetLimits, QueryError};
use homing_wire::frame::QUERY;
use homing_wire::limits::ANSWER_BYTES;
use homing_wire::proto::event::v1::Event;
use homing_wire::proto::query::v1::{
    Answer, HoldingsAnswer, HoldingsQuery, Query, RangeAnswer, RangeQuery, Refusal, UserAnswer,
    UserQuery, answer, query,
};
use prost::Message as _;

use crate::support::raw::{Raw, receive, send};
use crate::support::{Home, Identity, QUIC, TCP, limits, soon};

fn question(local: &str) -> Query {
    Query {
        query: Some(query::Query::User(UserQuery {
            local: local.to_owned(),
            ..Default::default()
        })),
    }
}

fn user(local: &str) -> Answer {
    let user = UserAnswer {
        local: local.to_owned(),
        user_id: vec![1; 16].into(),
        display_name: "Al".into(),
        seen: None,
        avatar: None,
    };
    Answer { answer: Some(answer::Answer::User(user)) }
}

/// A home that answers: a user to most, a refusal to `nobody`, nothing to `silence`.
fn answering(mut home: Home) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        // The whole home, or its handle would be dropped here and its network stop.
        let home = &mut home;
        while let Some(event) = home.events.recv().await {
            let NetEvent::Query { query, reply, .. } = event else {
                continue;
            };
            let Some(query::Query::User(UserQuery { local, .. })) = query.query else {
                continue;
            };
            if local == "silence" {
                continue;
            }
            let answer = if local == "nobody" {
                let reason = "user_unknown".to_owned();
                let refusal = Refusal { reason, message: "no\nsuch user".into() };
                Answer { answer: Some(answer::Answer::Refusal(refusal)) }
            } else {
                user(&local)
            };
            reply.send(answer).unwrap();
        }
    })
}

async fn round_trip(transport: &str) {
    let acme = Home::start("acme", &[transport]).await;
    let bolt = Home::start("bolt", &[transport]).await;
    acme.want(&bolt).await;
    let (net, to) = (acme.net.clone(), bolt.id());
    let bolt = answering(bolt);
    // The first waits for the connection.
    assert_eq!(net.query(to, question("alice")).await, Ok(user("alice")));
    let many = (0..50).map(|n| {
        let net = net.clone();
        async move {
            let local = format!("user{n}");
            assert_eq!(net.query(to, question(&local)).await, Ok(user(&local)));
        }
    });
    futures::future::join_all(many).await;
    let refused = net.query(to, question("nobody")).await;
    let reason = "user_unknown".to_owned();
    assert_eq!(refused, Err(QueryError::Refused { reason, message: "nosuch user".into() }));
    let unanswered = net.query(to, question("silence")).await;
    assert!(
        matches!(unanswered, Err(QueryError::Refused { reason, .. }) if reason == "unanswered")
    );
    let large = net.query(to, question(&"x".repeat(70_000))).await;
    assert_eq!(large, Err(QueryError::TooLarge));
    assert_eq!(net.stats().queries_out, 54);
    bolt.abort();
}

#[tokio::test]
async fn questions_are_answered_over_tcp() {
    round_trip(TCP).await;
}

#[tokio::test]
async fn questions_are_answered_over_quic() {
    round_trip(QUIC).await;
}

fn range_question() -> Query {
    let range = RangeQuery { channel: vec![1; 16].into(), first: 1, ..RangeQuery::default() };
    Query { query: Some(query::Query::Range(range)) }
}

/// A range as an answer that takes `bytes` bytes.
fn range_of(bytes: usize) -> Answer {
    let answer = |body: usize| {
        let events = vec![Event { header: vec![7; 100].into(), body: vec![8; body].into() }];
        let range = RangeAnswer { events, seq: 1, ..RangeAnswer::default() };
        Answer { answer: Some(answer::Answer::Range(range)) }
    };
    // Lengths of this size all take three bytes.
    let overhead = answer(bytes - 1_000).encoded_len() - (bytes - 1_000);
    let exact = answer(bytes - overhead);
    assert_eq!(exact.encoded_len(), bytes);
    exact
}

#[tokio::test]
async fn what_is_held_is_asked_for_and_answered() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    acme.want(&bolt).await;
    acme.up(bolt.id()).await;
    let holdings = HoldingsQuery { after: vec![4; 16].into() };
    let holdings = Query { query: Some(query::Query::Holdings(holdings)) };
    let page = HoldingsAnswer { holdings: Vec::new(), next: vec![5; 16].into() };
    let page = Answer { answer: Some(answer::Answer::Holdings(page)) };
    for (question, said) in [(holdings, page), (range_question(), range_of(500_000))] {
        let (net, to) = (acme.net.clone(), bolt.id());
        let answering = async {
            let (asked, reply) = bolt
                .next(|event| match event {
                    NetEvent::Query { query, reply, .. } => Ok((query, reply)),
                    event => Err(event),
                })
                .await;
            assert_eq!(asked, question);
            reply.send(said.clone()).unwrap();
        };
        let (told, ()) = tokio::join!(net.query(to, question.clone()), answering);
        assert_eq!(told, Ok(said));
    }
}

/// Whatever a home answers of its own, the asker gets it up to the limit, and a refusal above.
async fn the_largest_answer(transport: &str) {
    let acme = Home::start("acme", &[transport]).await;
    let mut bolt = Home::start("bolt", &[transport]).await;
    acme.want(&bolt).await;
    let to = bolt.id();
    for (size, passes) in [(ANSWER_BYTES, true), (ANSWER_BYTES + 1, false)] {
        let answering = async {
            let reply = bolt
                .next(|event| match event {
                    NetEvent::Query { reply, .. } => Ok(reply),
                    event => Err(event),
                })
                .await;
            reply.send(range_of(size)).unwrap();
        };
        let (told, ()) = tokio::join!(acme.net.query(to, range_question()), answering);
        if passes {
            assert_eq!(told, Ok(range_of(size)));
        } else {
            let Err(QueryError::Refused { reason, .. }) = told else { panic!("{told:?}") };
            assert_eq!(reason, "answer_too_large");
        }
    }
}

#[tokio::test]
async fn the_largest_answer_passes_over_tcp() {
    the_largest_answer(TCP).await;
}

#[tokio::test]
async fn the_largest_answer_passes_over_quic() {
    the_largest_answer(QUIC).await;
}

/// A peer of plain libp2p knows no limit: the asker does.
#[tokio::test]
async fn an_answer_over_the_limit_is_refused_by_its_prefix() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let guest = Identity::new("guest");
    let mut raw = Raw::connect(&guest.key, &acme.addresses[0]).await;
    let mut asked = raw.accept(QUERY);
    raw.hello(&guest).await;
    acme.up(guest.id).await;

    let answering = async {
        let (_, mut stream) = soon(asked.next()).await.expect("a question");
        assert_eq!(receive::<Query>(&mut stream).await, Some(range_question()));
        send(&mut stream, &range_of(ANSWER_BYTES)).await;
        stream
    };
    let (told, _) = tokio::join!(acme.net.query(guest.id, range_question()), answering);
    assert_eq!(told, Ok(range_of(ANSWER_BYTES)));

    let answering = async {
        let (_, mut stream) = soon(asked.next()).await.expect("a question");
        assert_eq!(receive::<Query>(&mut stream).await, Some(range_question()));
        // Not a byte of what is announced has to come.
        let mut prefix = Vec::new();
        prost::encoding::encode_varint(ANSWER_BYTES as u64 + 1, &mut prefix);
        stream.write_all(&prefix).await.unwrap();
        stream.flush().await.unwrap();
        stream
    };
    let (told, _) = tokio::join!(acme.net.query(guest.id, range_question()), answering);
    assert_eq!(told, Err(QueryError::Malformed));
}

#[tokio::test]
async fn a_question_to_nobody_fails_at_once_and_one_to_the_absent_in_time() {
    let short =
        NetLimits { query_timeout: Duration::from_millis(500), queries_per_peer: 3, ..limits() };
    let acme = Home::run(Identity::new("acme"), &[TCP], short).await;
    let absent = Identity::new("absent").id;
    let asked = acme.net.query(absent, question("a")).await;
    assert_eq!(asked, Err(QueryError::NotConnected));
    // Nobody listens on the discard port.
    acme.net.want(absent, vec!["/ip4/127.0.0.1/tcp/9".to_owned()]).await.unwrap();
    let all = (0..4).map(|_| acme.net.query(absent, question("a")));
    let results = soon(futures::future::join_all(all)).await;
    let count = |error: QueryError| results.iter().filter(|r| **r == Err(error.clone())).count();
    assert_eq!((count(QueryError::Timeout), count(QueryError::Busy)), (3, 1), "{results:?}");
    let waiting = acme.net.query(absent, question("a"));
    let (waiting, ()) = tokio::join!(waiting, acme.net.unwant(absent));
    assert_eq!(waiting, Err(QueryError::NotConnected));
    acme.net.shutdown().await;
    assert_eq!(acme.net.query(absent, question("a")).await, Err(QueryError::ShutDown));
}
