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
pub(crate) async fn refused(client: &Client, method: &str, params: Value) -> (String, Option<u64>) {
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

    // Whoever comes later has neither received nor read what was before, and is not given it.
    drop(party.client(0, "zoe").await);
    let users = json!({"channel": group, "users": ["zoe@acme.test"]});
    call(&alice, "groups.invite", users).await;
    let all = history(&alice, group).await;
    let mut meant = Vec::new();
    for message in [&all[0], &all[1]] {
        let receipts = alice.receipts(group, message.id).await.unwrap().receipts;
        let mut users: Vec<String> = receipts.into_iter().map(|row| row.user).collect();
        users.sort_unstable();
        meant.push(users);
    }
    let everybody = ["bob@acme.test", "bob@globex.test", "carol@initech.test"];
    assert_eq!(meant, [&everybody[..1], &everybody[..]]);
    let mut exported = Vec::new();
    for user in ["bob", "zoe"] {
        let rows = party.homes[0].command(&["user", "export", user]).await.unwrap();
        exported.push(rows.lines().filter(|row| row.contains(r#""kind":"message""#)).count());
    }
    assert_eq!(exported, [3, 0]);
    let users = json!({"channel": group, "users": ["zoe@acme.test"]});
    let removed = call(&alice, "groups.remove", users).await;
    let heard = |channel: &Value| channel["roster"] == removed["roster"];
    until(&carol, &mut carol_hears, group, heard).await;

    // The operator sees whose it is and how far its homes are, and nothing that was said.
    let listed = party.homes[1].command(&["group", "list", "--json"]).await.unwrap();
    let listed: Value = serde_json::from_str(listed.trim()).unwrap();
    let facts = ["group", "name", "owner", "members", "here", "homes"].map(|key| &listed[key]);
    let id = group.to_string();
    assert_eq!(
        facts.map(Value::to_string).join(" "),
        format!(r#""{id}" "friends" "acme.test" 4 1 3"#)
    );
    let shown = party.homes[0].command(&["group", "show", &id, "--json"]).await.unwrap();
    let shown: Value = serde_json::from_str(shown.trim()).unwrap();
    let people: Vec<&str> = shown["people"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|person| person["user"].as_str())
        .collect();
    assert_eq!((people.len(), people[0]), (4, "alice@acme.test"), "{shown}");
    let homes = shown["other_homes"].as_array().unwrap();
    assert!(homes.iter().all(|home| home["connected"] == true && home["takes_part"] == true));
    assert!(!shown.to_string().contains("welcome"));
    party.homes[0].command(&["group", "show", &id]).await.unwrap();
    let unknown = party.homes[0].command(&["group", "show", &Uuid::now_v7().to_string()]).await;
    assert!(unknown.unwrap_err().to_string().contains("homing group list"));

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

    // A role that cannot be given refuses the whole, asked at the group's home or at another.
    for client in [&alice, &bob] {
        for (user, role, reason) in [
            ("carol@initech.test", "owner", ["owner_elsewhere", "not_allowed"]),
            ("alice@acme.test", "member", ["last_owner", "not_allowed"]),
            ("x@acme.test", "admin", ["not_a_member"; 2]),
        ] {
            let roles = json!({"bob@acme.test": "admin", user: role});
            let change = json!({"channel": group, "name": "no friends", "roles": roles});
            let told = refused(client, "groups.update", change).await.0;
            assert_eq!(told, reason[usize::from(std::ptr::eq(client, &bob))]);
        }
    }
    let as_before = call(&alice, "groups.members", json!({ "channel": group })).await;
    let bob_there = json!({"user": "bob@acme.test", "role": "member", "state": "active"});
    assert!(as_before["members"].as_array().unwrap().contains(&bob_there), "{as_before}");
    assert_eq!(
        call(&alice, "channels.get", json!({ "channel": group })).await["name"],
        "best friends"
    );

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
    let twice = create(json!(["zoe@globex.test", "bob@acme.test", "bob@acme.test"]));
    let Err(error) = alice.call::<Value, Value>("groups.create", &twice).await else { panic!() };
    assert_eq!(error.to_string(), "bob@acme.test: named twice (member_twice)");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_home_is_gone_goes_on_elsewhere() {
    let mut party = Party::with(&HOMES, &[("HOMING_GROUPS__FORK_AFTER_MS", "1000")]).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let (carol, mut carol_hears) = party.client(2, "carol").await;
    let group = make(&alice, &["bob@globex.test", "carol@initech.test"]).await;
    for (client, events) in [(&bob, &mut bob_hears), (&carol, &mut carol_hears)] {
        until(client, events, group, is("state", "invited")).await;
        call(client, "groups.join", json!({ "channel": group })).await;
        until(client, events, group, is("state", "active")).await;
    }
    until(&alice, &mut alice_hears, group, |channel| channel["member_count"] == 3).await;
    let roles = json!({"channel": group, "roles": {"bob@globex.test": "admin"}});
    call(&alice, "groups.update", roles).await;
    until(&bob, &mut bob_hears, group, is("role", "admin")).await;
    send(&alice, group, "while it was there").await;
    for hears in [&mut bob_hears, &mut carol_hears] {
        assert_eq!(text(&next_message(hears).await), "while it was there");
    }
    let fork = json!({ "channel": group });
    assert_eq!(
        refused(&bob, "groups.fork", fork.clone()).await,
        ("owner_home_answers".into(), Some(1_000))
    );
    alice.close().await;
    party.homes[0].kill().await.unwrap();

    // The silence is what is waited for: each try before its end is refused.
    let made = async {
        loop {
            match bob.call::<Value, Value>("groups.fork", &fork).await {
                Ok(made) => return made,
                Err(Error::Refused(refusal)) if refusal.reason == *"owner_home_answers" => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let made = tokio::time::timeout(WITHIN, made).await.expect("it never can be gone on with");
    assert_eq!((&made["name"], &made["role"]), (&json!("friends"), &json!("owner")));
    assert_eq!(made["continues"], json!(group));
    let next: Uuid = made["channel"].as_str().unwrap().parse().unwrap();
    assert_eq!(call(&bob, "groups.fork", fork.clone()).await["channel"], json!(next));
    assert_eq!(refused(&carol, "groups.fork", fork).await.0, "not_allowed");

    let asked = until(&carol, &mut carol_hears, next, is("state", "invited")).await;
    assert_eq!(asked["continues"], json!(group));
    let old = call(&carol, "channels.get", json!({ "channel": group })).await;
    assert_eq!(old["continued_by"], json!(next));
    call(&carol, "groups.join", json!({ "channel": next })).await;
    until(&carol, &mut carol_hears, next, is("state", "active")).await;
    send(&bob, next, "on we go").await;
    assert_eq!(text(&next_message(&mut carol_hears).await), "on we go");
    let words: Vec<String> = history(&carol, group).await.iter().map(text).collect();
    assert_eq!(words, ["while it was there"]);
}

/// What was changed after the backup was told to others: it comes back from them.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_owner_home_has_its_groups_as_the_others_know_them() {
    let mut party = Party::of(&HOMES).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    drop(party.client(0, "dan").await);
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let (carol, mut carol_hears) = party.client(2, "carol").await;
    let group = make(&alice, &["bob@globex.test", "dan@acme.test"]).await;
    until(&bob, &mut bob_hears, group, is("state", "invited")).await;
    call(&bob, "groups.join", json!({ "channel": group })).await;
    until(&alice, &mut alice_hears, group, |channel| channel["member_count"] == 3).await;
    let file = party.homes[0].dir().parent().unwrap().join("groups.homing");
    let file = file.to_str().unwrap();
    party.homes[0].command(&["backup", file]).await.unwrap();

    let users = json!({ "channel": group, "users": ["carol@initech.test"] });
    call(&alice, "groups.invite", users).await;
    until(&carol, &mut carol_hears, group, is("state", "invited")).await;
    call(&carol, "groups.join", json!({ "channel": group })).await;
    until(&carol, &mut carol_hears, group, is("state", "active")).await;
    let users = json!({ "channel": group, "users": ["dan@acme.test"] });
    call(&alice, "groups.remove", users).await;
    call(&alice, "groups.update", json!({ "channel": group, "name": "best friends" })).await;
    let later = make(&alice, &["bob@globex.test"]).await;
    until(&bob, &mut bob_hears, later, is("state", "invited")).await;
    call(&bob, "groups.join", json!({ "channel": later })).await;
    until(&bob, &mut bob_hears, later, is("state", "active")).await;
    for client in [&alice, &bob, &carol] {
        send(client, group, "after the backup").await;
    }
    send(&alice, later, "in the other").await;
    for (client, events) in [(&bob, &mut bob_hears), (&carol, &mut carol_hears)] {
        until(client, events, group, is("name", "best friends")).await;
        until(client, events, group, |channel| channel["head"].as_u64() >= Some(3)).await;
    }
    until(&bob, &mut bob_hears, later, |channel| channel["head"].as_u64() >= Some(1)).await;
    let all = facts(&history(&carol, group).await);
    alice.close().await;
    party.homes[0].kill().await.unwrap();
    party.homes[0].command(&["restore", file, "--force"]).await.unwrap();
    party.homes[0].forget_logins();
    party.homes[0].start().await.unwrap();

    let (alice, mut alice_hears) = party.client(0, "alice").await;
    until(&alice, &mut alice_hears, group, is("name", "best friends")).await;
    until(&alice, &mut alice_hears, later, |channel| channel["head"].as_u64() >= Some(1)).await;
    until(&alice, &mut alice_hears, group, |channel| channel["head"].as_u64() >= Some(3)).await;
    assert_eq!(facts(&history(&alice, group).await), all);
    let members = call(&alice, "groups.members", json!({ "channel": group })).await;
    let mut people: Vec<&str> =
        members["members"].as_array().unwrap().iter().filter_map(|m| m["user"].as_str()).collect();
    people.sort_unstable();
    assert_eq!(people, ["alice@acme.test", "bob@globex.test", "carol@initech.test"]);
    // And it can be changed again, as soon as everybody was asked.
    let renamed = async {
        let params = json!({ "channel": group, "name": "back again" });
        loop {
            match alice.call::<Value, Value>("groups.update", &params).await {
                Ok(_) => return,
                Err(Error::Refused(refusal)) if refusal.reason == *"reconciling" => {
                    tokio::time::sleep(refusal.retry_after.unwrap()).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(WITHIN, renamed).await.expect("it never can be changed again");
    until(&carol, &mut carol_hears, group, is("name", "back again")).await;
    send(&carol, group, "welcome back").await;
    until(&alice, &mut alice_hears, group, |channel| channel["head"].as_u64() >= Some(4)).await;
    assert_eq!(facts(&history(&alice, group).await), facts(&history(&bob, group).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_by_a_link_from_the_own_home_and_another_through_kills() {
    let mut party = Party::of(&HOMES[..2]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    let (carol, _) = party.client(1, "carol").await;
    let group = make(&alice, &[]).await;
    let made = call(&alice, "groups.link", json!({ "channel": group, "uses": 2 })).await;
    let link = made["link"].as_str().unwrap().to_owned();
    let joined = call(&bob, "groups.join", json!({ "link": link })).await;
    assert_eq!((&joined["state"], &joined["role"]), (&json!("active"), &json!("member")));

    // The group's home is away: the wish waits, also while the joiner's home is killed.
    party.homes[0].kill().await.unwrap();
    let wish = call(&carol, "groups.join", json!({ "link": link })).await;
    assert_eq!(wish, json!({ "state": "pending" }));
    party.homes[1].kill().await.unwrap();
    party.homes[1].start().await.unwrap();
    let (carol, mut carol_hears) = party.client(1, "carol").await;
    party.homes[0].start().await.unwrap();
    let shown = until(&carol, &mut carol_hears, group, is("state", "active")).await;
    assert_eq!(shown["owner_home"], "acme.test");
    send(&carol, group, "here I am").await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    let (dan, _) = party.client(1, "dan").await;
    until(&alice, &mut alice_hears, group, |channel| channel["head"].as_u64() >= Some(1)).await;
    assert_eq!(history(&alice, group).await.iter().map(text).collect::<Vec<_>>(), ["here I am"]);

    // Both uses are used up; whoever is in it may come again all the same.
    let again = call(&bob, "groups.join", json!({ "link": link })).await;
    assert_eq!(again["state"], "active");
    let params = json!({ "link": link });
    assert_eq!(refused(&dan, "groups.join", params).await.0, "link_not_found");

    let made = call(&alice, "groups.link", json!({ "channel": group })).await;
    let open = made["link"].as_str().unwrap().to_owned();
    let mine = json!({ "channel": group });
    assert_eq!(refused(&bob, "groups.link", mine).await.0, "not_allowed");
    assert_eq!(call(&alice, "groups.unlink", json!({ "link": open })).await, json!({}));
    let params = json!({ "link": open });
    assert_eq!(refused(&dan, "groups.join", params.clone()).await.0, "link_not_found");
    assert_eq!(refused(&alice, "groups.unlink", params).await.0, "link_not_found");
    let other = open.replacen(&group.to_string(), &Uuid::nil().to_string(), 1);
    let far = other.replacen(&open["homing:join/".len()..][..4], "aaaa", 1);
    assert_eq!(refused(&dan, "groups.join", json!({ "link": far })).await.0, "unknown_home");
}
