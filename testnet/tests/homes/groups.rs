//! Groups of people of several homes, as clients have them.

use std::collections::BTreeMap;

use homing_client::{Client, Error, Event, Events, Target, TextBody};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::party::{Party, WITHIN, facts, history, next, next_message, text};

const HOMES: [&str; 3] = ["acme.test", "globex.test", "initech.test"];

pub(crate) async fn call(client: &Client, method: &str, params: Value) -> Value {
    client.call(method, &params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
}

/// Why a call was refused, and the limit that it named.
async fn refused(client: &Client, method: &str, params: Value) -> (String, Option<u64>) {
    match client.call::<Value, Value>(method, &params).await {
        Err(Error::Refused(refusal)) => (refusal.reason.to_string(), refusal.limit),
        other => panic!("{method}: {other:?}"),
    }
}

pub(crate) async fn make(client: &Client, members: &[&str]) -> Uuid {
    let group =
        call(client, "groups.create", json!({ "name": "friends", "members": members })).await;
    assert_eq!(
        (&group["kind"], &group["role"], &group["state"]),
        (&json!("group"), &json!("owner"), &json!("active"))
    );
    group["channel"].as_str().unwrap().parse().unwrap()
}

pub(crate) async fn send(client: &Client, group: Uuid, words: &str) {
    client.send(Target::Channel(group), Uuid::now_v7(), &TextBody::new(words)).await.unwrap();
}

/// The channel as it stands, once `wanted` holds; it is looked at again with each notification.
pub(crate) async fn until(
    client: &Client,
    events: &mut Events,
    group: Uuid,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let params = json!({ "channel": group });
    let found = async {
        loop {
            if let Ok(channel) = client.call::<Value, Value>("channels.get", &params).await
                && wanted(&channel)
            {
                return channel;
            }
            assert!(events.next().await.is_some(), "the session ended");
        }
    };
    tokio::time::timeout(WITHIN, found).await.expect("the channel does not become that")
}

pub(crate) fn is(field: &'static str, value: &'static str) -> impl Fn(&Value) -> bool {
    move |channel| channel[field] == value
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_three_homes_talk_leave_and_are_removed() {
    let mut party = Party::of(&HOMES).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    drop(party.client(0, "bob").await);
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let (carol, mut carol_hears) = party.client(2, "carol").await;
    drop(party.client(1, "alice").await);
    let group = make(&alice, &["bob@acme.test", "bob@globex.test", "carol@initech.test"]).await;

    // Strangers are asked; nothing can be read or written before they accept.
    let invited = until(&bob, &mut bob_hears, group, is("state", "invited")).await;
    assert_eq!(
        (&invited["name"], &invited["owner_home"]),
        (&json!("friends"), &json!("acme.test"))
    );
    let early = refused(
        &bob,
        "messages.send",
        json!({"channel": group, "body": {"type": "text", "text": "x"}}),
    )
    .await;
    assert_eq!(early.0, "channel_not_found");
    send(&alice, group, "before you came").await;
    for (client, events) in [(&bob, &mut bob_hears), (&carol, &mut carol_hears)] {
        until(client, events, group, is("state", "invited")).await;
        let joined = call(client, "groups.join", json!({ "channel": group })).await;
        assert!(
            joined["state"] == "active"
                || joined["state"] == "pending"
                || joined["state"] == "invited",
            "{joined}"
        );
        until(client, events, group, is("state", "active")).await;
    }
    let four = |channel: &Value| channel["member_count"] == 4;
    until(&alice, &mut alice_hears, group, four).await;
    until(&bob, &mut bob_hears, group, four).await;
    until(&carol, &mut carol_hears, group, four).await;

    send(&alice, group, "welcome").await;
    assert_eq!(text(&next_message(&mut bob_hears).await), "welcome");
    assert_eq!(text(&next_message(&mut carol_hears).await), "welcome");
    send(&bob, group, "thanks").await;
    assert_eq!(text(&next_message(&mut alice_hears).await), "thanks");
    assert_eq!(text(&next_message(&mut carol_hears).await), "thanks");
    assert_eq!(facts(&history(&bob, group).await), facts(&history(&carol, group).await));
    let words: Vec<String> = history(&alice, group).await.iter().map(text).collect();
    assert_eq!(words, ["before you came", "welcome", "thanks"]);

    let members = call(&carol, "groups.members", json!({ "channel": group })).await;
    let roles: BTreeMap<String, String> = members["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["user"].as_str().unwrap().into(), row["role"].as_str().unwrap().into()))
        .collect();
    assert_eq!(roles["alice@acme.test"], "owner");
    assert_eq!((roles.len(), roles["bob@globex.test"].as_str()), (4, "member"));

    // Who may not, is told so here; an admin of another home may.
    assert_eq!(
        refused(&bob, "groups.remove", json!({"channel": group, "users": ["carol@initech.test"]}))
            .await
            .0,
        "not_allowed"
    );
    let roles = json!({"channel": group, "roles": {"bob@globex.test": "admin"}});
    call(&alice, "groups.update", roles).await;
    until(&bob, &mut bob_hears, group, is("role", "admin")).await;
    let changed = call(
        &bob,
        "groups.invite",
        json!({"channel": group, "users": ["alice@globex.test", "x@nowhere.test"]}),
    )
    .await;
    assert_eq!(changed["results"][0], json!({"user": "alice@globex.test", "ok": true}));
    assert_eq!(changed["results"][1]["reason"], "unknown_home");
    let renamed =
        call(&alice, "groups.update", json!({"channel": group, "name": "best friends"})).await;
    assert_eq!(renamed["name"], "best friends");
    until(&carol, &mut carol_hears, group, is("name", "best friends")).await;

    call(&bob, "groups.remove", json!({"channel": group, "users": ["carol@initech.test"]})).await;
    until(&carol, &mut carol_hears, group, is("state", "left")).await;
    let late = refused(
        &carol,
        "messages.send",
        json!({"channel": group, "body": {"type": "text", "text": "x"}}),
    )
    .await;
    assert_eq!(late.0, "left");
    send(&alice, group, "without carol").await;
    assert_eq!(text(&next_message(&mut bob_hears).await), "without carol");
    let words: Vec<String> = history(&carol, group).await.iter().map(text).collect();
    assert_eq!(words, ["welcome", "thanks"], "what was seen can still be read");

    call(&bob, "groups.leave", json!({ "channel": group })).await;
    until(&bob, &mut bob_hears, group, is("state", "left")).await;
    until(&alice, &mut alice_hears, group, |channel| channel["member_count"] == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_owner_home_is_away_messages_flow_and_leaving_works() {
    let mut party = Party::of(&HOMES).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let (carol, mut carol_hears) = party.client(2, "carol").await;
    let group = make(&alice, &["bob@globex.test", "carol@initech.test", "dan@initech.test"]).await;
    for (client, events) in [(&bob, &mut bob_hears), (&carol, &mut carol_hears)] {
        until(client, events, group, is("state", "invited")).await;
        call(client, "groups.join", json!({ "channel": group })).await;
        until(client, events, group, |channel| channel["state"] == "active").await;
    }
    until(&bob, &mut bob_hears, group, |channel| channel["member_count"] == 3).await;
    alice.close().await;
    party.homes[0].stop().await.unwrap();

    send(&carol, group, "is anybody there?").await;
    assert_eq!(text(&next_message(&mut bob_hears).await), "is anybody there?");
    // A change waits for the owner home; leaving does not.
    call(&carol, "groups.leave", json!({ "channel": group })).await;
    until(&carol, &mut carol_hears, group, is("state", "left")).await;
    send(&bob, group, "not for carol").await;

    party.homes[0].start().await.unwrap();
    until(&bob, &mut bob_hears, group, |channel| channel["member_count"] == 2).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    until(&alice, &mut alice_hears, group, |channel| channel["head"].as_u64() >= Some(2)).await;
    let mut all = history(&alice, group).await;
    all.sort_by(|a, b| a.order.cmp(&b.order));
    let words: Vec<String> = all.iter().map(text).collect();
    assert_eq!(words, ["is anybody there?", "not for carol"]);
    let words: Vec<String> = history(&carol, group).await.iter().map(text).collect();
    assert_eq!(words, ["is anybody there?"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut party = Party::of(&HOMES[..2]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    let create = |members: Value| json!({ "name": "n", "members": members });
    for (params, reason) in [
        (create(json!(["alice@acme.test"])), "with_self"),
        (create(json!(["bob@acme.test", "bob@acme.test"])), "member_twice"),
        (create(json!(["nobody@acme.test"])), "user_not_found"),
        (create(json!(["bob@nowhere.test"])), "unknown_home"),
        (json!({ "name": "x".repeat(10_000) }), "invalid_name"),
        (json!({ "name": "n", "id": Uuid::nil() }), "invalid_id"),
    ] {
        assert_eq!(refused(&alice, "groups.create", params).await.0, reason);
    }
    let crowd: Vec<String> = (0..100).map(|n| format!("u{n}@globex.test")).collect();
    assert_eq!(
        refused(&alice, "groups.create", create(json!(crowd))).await,
        ("group_full".into(), Some(100))
    );
    assert!(alice.all_channels().await.unwrap().is_empty(), "nothing was made");
    // The other home has none of them and declines for all: it must not have heard of it yet.
    party.homes[1].stop().await.unwrap();
    let id = Uuid::now_v7();
    let params = json!({ "name": "n", "members": crowd[..99], "id": id });
    let group = call(&alice, "groups.create", params.clone()).await;
    assert_eq!(group["channel"], json!(id));
    assert_eq!(
        call(&alice, "groups.create", params).await["channel"],
        json!(id),
        "once more is once"
    );
    let more = json!({ "channel": id, "users": ["bob@acme.test"] });
    let full = refused(&alice, "groups.invite", more).await;
    assert_eq!(full, ("group_full".into(), Some(100)));
    assert_eq!(
        refused(&bob, "groups.members", json!({ "channel": id })).await.0,
        "channel_not_found"
    );
    assert_eq!(
        refused(&bob, "groups.leave", json!({ "channel": id })).await.0,
        "channel_not_found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn contacts_are_added_directly_and_kills_lose_nothing() {
    let mut party = Party::of(&HOMES).await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    call(&bob, "contacts.add", json!({ "user": "alice@acme.test" })).await;
    let (carol, _) = party.client(2, "carol").await;
    call(&carol, "blocks.add", json!({ "user": "alice@acme.test" })).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let group = make(&alice, &["bob@globex.test", "carol@initech.test"]).await;
    until(&bob, &mut bob_hears, group, is("state", "active")).await;
    until(&alice, &mut alice_hears, group, |channel| channel["member_count"] == 2).await;
    for round in 0..3 {
        party.homes[round % 2].kill().await.unwrap();
        party.homes[round % 2].start().await.unwrap();
        let (alice, _) = party.client(0, "alice").await;
        let (bob, mut bob_hears) = party.client(1, "bob").await;
        let words = format!("round {round}");
        send(&alice, group, &words).await;
        next(&mut bob_hears, |event| match event {
            Event::Message(message) => (text(message) == words).then_some(()),
            _ => None,
        })
        .await;
        bob.close().await;
    }
    let (bob, _) = party.client(1, "bob").await;
    let (alice, _) = party.client(0, "alice").await;
    assert_eq!(facts(&history(&bob, group).await), facts(&history(&alice, group).await));
}
