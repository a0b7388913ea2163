//! What people do with their own, as they type it.

use homing_testnet::homes::PASSWORD;
use serde_json::Value;

use crate::party::{Party, Typed, next_message, say};

async fn type_in(party: &Party, user: &str, words: &[&str], input: &str) -> Typed {
    party.typed(0, user, words, input).await
}

/// The lines of a command that must succeed, each an object.
async fn rows(party: &Party, user: &str, words: &[&str]) -> Vec<Value> {
    let words = [&["--json"], words].concat();
    let typed = type_in(party, user, &words, "").await;
    assert_eq!(typed.code, 0, "{typed:?}");
    typed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn refused(party: &Party, user: &str, words: &[&str], reason: &str) {
    let typed = type_in(party, user, words, "").await;
    assert!(typed.code == 1 && typed.err.contains(reason), "{words:?}: {typed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_put_their_conversations_in_order() {
    let request = [("HOMING_FEDERATION__FIRST_CONTACT", "request")];
    let mut party = Party::with(&["acme.test", "globex.test"], &request).await;
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    party.homes[0].register("bob").await.unwrap();
    assert_eq!(type_in(&party, "alice", &["login", "alice"], PASSWORD).await.code, 0);
    say(&alice, "bob@acme.test", "hi").await;
    for (words, key) in [
        (vec!["mute", "bob", "--for", "60"], "muted_until"),
        (vec!["archive", "bob"], "archived"),
        (vec!["pin", "bob@acme.test"], "pinned"),
        (vec!["unread", "bob"], "marked_unread"),
    ] {
        let seen = rows(&party, "alice", &words).await;
        assert!(!seen[0][key].is_null(), "{words:?}: {seen:?}");
    }
    let shown = type_in(&party, "alice", &["channels"], "").await.out;
    assert!(shown.contains("(pinned) (archived) (muted) (unread) "), "{shown}");
    for word in ["mute", "archive", "pin", "unread"] {
        assert_eq!(type_in(&party, "alice", &[word, "bob", "--off"], "").await.code, 0);
    }
    let channel = &rows(&party, "alice", &["channels"]).await[0];
    for key in ["muted_until", "archived", "pinned", "marked_unread"] {
        assert!(channel[key].is_null(), "{channel}");
    }
    // What is not there does not begin because it was to be muted.
    refused(&party, "alice", &["mute", "nobody"], "no conversation with nobody@acme.test").await;
    assert_eq!(rows(&party, "alice", &["channels"]).await.len(), 1);

    let (carol, _) = party.client(1, "carol").await;
    let (dave, _) = party.client(1, "dave").await;
    for who in [&carol, &dave] {
        say(who, "alice@acme.test", "hello").await;
        next_message(&mut alice_hears).await;
    }
    let shown = type_in(&party, "alice", &["channels"], "").await.out;
    assert_eq!(shown.matches("(request)").count(), 2, "{shown}");
    let seen = rows(&party, "alice", &["request", "accept", "carol@globex.test"]).await;
    assert_eq!(seen[0]["state"], "active");
    let seen = rows(&party, "alice", &["request", "decline", "dave@globex.test"]).await;
    assert_eq!(seen[0]["declined"], true);
    refused(&party, "alice", &["request", "decline", "carol@globex.test"], "not_a_request").await;
    assert_eq!(rows(&party, "alice", &["channels"]).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_look_after_their_devices() {
    let party = Party::of(&["acme.test"]).await;
    let server = party.homes[0].server().unwrap();
    server.register("alice", PASSWORD, None, Some("Alice Smith")).await.unwrap();
    let login = ["login", "alice", "--device-name", "here"];
    assert_eq!(type_in(&party, "alice", &login, PASSWORD).await.code, 0);
    server.login("alice", PASSWORD, Some("there")).await.unwrap();
    let devices = rows(&party, "alice", &["device", "list"]).await;
    let names: Vec<_> = devices.iter().map(|d| (d["name"].clone(), d["current"].clone())).collect();
    assert_eq!(names, [("here".into(), true.into()), ("there".into(), false.into())]);
    let there = devices[1]["device"].as_str().unwrap();
    rows(&party, "alice", &["device", "rename", there, "my telephone"]).await;
    let shown = type_in(&party, "alice", &["device", "list"], "").await.out;
    assert!(shown.contains("my telephone") && shown.contains("(this one)"), "{shown}");
    rows(&party, "alice", &["device", "revoke", there]).await;
    refused(&party, "alice", &["device", "revoke", there], "device_not_found").await;

    let found = rows(&party, "alice", &["find", "SMI"]).await;
    assert_eq!(found[0]["address"], "alice@acme.test");
    assert_eq!(rows(&party, "alice", &["find", "jones"]).await, [Value::Null; 0]);

    server.login("alice", PASSWORD, None).await.unwrap();
    let new = format!("{PASSWORD}\nbattery staple\n");
    for (input, code) in [("wrong horse\nbattery staple\n", 1), (PASSWORD, 1), (&*new, 0)] {
        let typed = type_in(&party, "alice", &["password"], input).await;
        assert_eq!(typed.code, code, "{typed:?}");
    }
    assert_eq!(rows(&party, "alice", &["device", "list"]).await.len(), 1);
    server.login("alice", "battery staple", None).await.unwrap();
}
