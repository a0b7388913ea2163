//! Two runs of one node: who lives stays, who does not makes room, and nobody is believed but a home itself.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use homing_net::{NetEvent, NetLimits};
use homing_wire::frame::QUERY;
use homing_wire::proto::query::v1::{
    Answer, ClockAnswer, ClockQuery, Query, StatementQuery, answer, query,
};
use homing_wire::{SigningKeys, Statement};

use crate::support::raw::Raw;
use crate::support::{Home, Identity, QUIC, TCP, limits, soon};

async fn a_copy_is_refused(transport: &str) {
    let mut bolt = Home::start("bolt", &[transport]).await;
    let identity = Identity::new("acme");
    let mut original = Home::run(identity.clone(), &[], limits()).await;
    original.want(&bolt).await;
    original.up(bolt.id()).await;
    bolt.up(original.id()).await;

    let mut copy = Home::run(identity.run("acme", 7, 4, 8), &[], limits()).await;
    copy.want(&bolt).await;
    let (reason, evidence) = copy.shown().await;
    assert_eq!(reason, "cloned");
    // Signed by their own home, by the one that lives, for this very newcomer.
    let keys = SigningKeys(vec![identity.signing.verifying_key().to_bytes()]);
    let evidence = Statement::verify(&evidence, &keys).unwrap();
    assert_eq!(evidence, identity.policy.said(Some([8; 16])));

    // The original notices nothing.
    let (_, direction, reason, _) = bolt.refused().await;
    assert_eq!((direction, reason.as_str()), (homing_net::Direction::ByUs, "cloned"));
    copy.net.shutdown().await;
    let up = bolt.net.peers().await.remove(0);
    assert!(up.up_for.is_some() && up.connections.len() == 1);
    original.net.shutdown().await;
    bolt.down(identity.id).await;
}

#[tokio::test]
async fn a_copy_is_refused_over_tcp() {
    a_copy_is_refused(TCP).await;
}

#[tokio::test]
async fn a_copy_is_refused_over_quic() {
    a_copy_is_refused(QUIC).await;
}

#[tokio::test]
async fn with_the_original_gone_a_later_run_is_let_in_at_once() {
    let patient = NetLimits { clone_probe: Duration::from_secs(4), ..limits() };
    let mut bolt = Home::run(Identity::new("bolt"), &[TCP, QUIC], patient).await;
    let identity = Identity::new("acme");
    let mut first = Home::run(identity.clone(), &[], limits()).await;
    first.want(&bolt).await;
    first.up(bolt.id()).await;
    bolt.up(identity.id).await;
    first.net.shutdown().await;
    bolt.down(identity.id).await;
    let mut next = Home::run(identity.run("acme", 7, 4, 8), &[], limits()).await;
    let begin = std::time::Instant::now();
    next.want(&bolt).await;
    next.up(bolt.id()).await;
    assert_eq!(bolt.up(identity.id).await.boot, 4);
    assert!(begin.elapsed() < Duration::from_secs(3), "nobody was asked: {:?}", begin.elapsed());
}

/// An original that says hello to bolt and then nothing, whatever it is asked; `answer` makes it answer that.
async fn newcomer_after(answer: Option<fn(&Identity) -> Bytes>, epoch: u64, probe: Duration) {
    let limits = NetLimits { clone_probe: probe, ..limits() };
    let mut bolt = Home::run(Identity::new("bolt"), &[TCP], limits.clone()).await;
    let identity = Identity::new("acme");
    let mut original = Raw::connect(&identity.key, &bolt.addresses[0]).await;
    let mut asked = original.accept(QUERY);
    original.hello(&identity).await;
    assert_eq!(bolt.up(identity.id).await.boot, 3);
    let answered = answer.map(|answer| answer(&identity));
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some((_, mut stream)) = asked.next().await {
            if let Some(statement) = &answered {
                let statement = statement.clone();
                let said = homing_wire::proto::query::v1::StatementAnswer { statement };
                let said = Answer { answer: Some(answer::Answer::Statement(said)) };
                crate::support::raw::send(&mut stream, &said).await;
            }
            held.push(stream);
        }
        held.len()
    });
    let mut next = Home::run(identity.run("acme", epoch, 4, 8), &[], limits).await;
    next.want(&bolt).await;
    next.up(bolt.id()).await;
    // For the server the old run ends before the new one begins.
    assert_eq!(bolt.down(identity.id).await, "replaced");
    let hello = bolt.up(identity.id).await;
    assert_eq!((hello.epoch.0, hello.boot, hello.instance), (epoch, 4, [8; 16]));
    drop(original);
    let asked = soon(silent).await.unwrap();
    assert_eq!(asked, usize::from(epoch == 7), "asked once, and not at all after a restore");
}

#[tokio::test]
async fn a_run_that_does_not_answer_makes_room() {
    newcomer_after(None, 7, Duration::from_millis(300)).await;
}

#[tokio::test]
async fn only_a_true_answer_counts() {
    let forgeries: [fn(&Identity) -> Bytes; 4] = [
        // What it said in its hello; to somebody else; as the newcomer itself; signed by a stranger.
        |acme| acme.policy.said(None).sign(&acme.signing),
        |acme| acme.policy.said(Some([7; 16])).sign(&acme.signing),
        |acme| acme.run("acme", 7, 4, 8).policy.said(Some([8; 16])).sign(&acme.signing),
        |acme| acme.policy.said(Some([8; 16])).sign(&Identity::new("thief").signing),
    ];
    for forgery in forgeries {
        newcomer_after(Some(forgery), 7, Duration::from_secs(4)).await;
    }
}

#[tokio::test]
async fn a_new_life_does_not_ask_the_old_one() {
    newcomer_after(None, 8, Duration::from_secs(4)).await;
}

#[tokio::test]
async fn a_home_that_is_full_of_questions_still_says_that_it_lives() {
    let mut acme = Home::start("acme", &[TCP]).await;
    let mut bolt = Home::start("bolt", &[TCP]).await;
    acme.want(&bolt).await;
    acme.up(bolt.id()).await;
    bolt.up(acme.id()).await;
    // Bolt's server takes no event, and the network answers all the same.
    let ask = |query| acme.net.query(bolt.id(), Query { query: Some(query) });
    let clock = ask(query::Query::Clock(ClockQuery {})).await.unwrap();
    assert_eq!(clock.answer, Some(answer::Answer::Clock(ClockAnswer { clock: 1_000 })));
    let answering = |bytes: usize| StatementQuery { answering: vec![4; bytes].into() };
    let said = ask(query::Query::Statement(answering(16))).await.unwrap();
    let Some(answer::Answer::Statement(said)) = said.answer else { panic!("{said:?}") };
    let keys = SigningKeys(vec![bolt.identity.signing.verifying_key().to_bytes()]);
    let read = Statement::verify(&said.statement, &keys).unwrap();
    assert_eq!(read, bolt.identity.policy.said(Some([4; 16])));
    let short = ask(query::Query::Statement(answering(15))).await.unwrap_err();
    assert!(short.to_string().contains("query_malformed"), "{short}");
    // Not for ever: whoever asks without end is told to wait.
    let mut busy = false;
    for _ in 0..200 {
        let answer = ask(query::Query::Statement(answering(16))).await;
        busy |= answer.is_err_and(|error| error.to_string().contains("busy"));
    }
    assert!(busy);
    let told = bolt.events.try_recv();
    assert!(!matches!(told, Ok(NetEvent::Query { .. })), "{told:?}");
}
