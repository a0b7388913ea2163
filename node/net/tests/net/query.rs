//! Questions and answers.

use std::time::Duration;

use homing_net::{NetEvent, NetLimits, QueryError};
use homing_wire::proto::query::v1::{Answer, Query, Refusal, UserAnswer, UserQuery, answer, query};

use crate::support::{Home, Identity, QUIC, TCP, limits, soon};

fn question(local: &str) -> Query {
    Query { query: Some(query::Query::User(UserQuery { local: local.to_owned() })) }
}

fn user(local: &str) -> Answer {
    let user = UserAnswer {
        local: local.to_owned(),
        user_id: vec![1; 16].into(),
        display_name: "Al".into(),
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
            let Some(query::Query::User(UserQuery { local })) = query.query else {
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
