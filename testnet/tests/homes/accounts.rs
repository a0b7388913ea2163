//! Accounts: whose token is dead is out at once; who is shut cannot come back.

use homing_client::{Error, Event, Events};

use crate::party::{Party, next};

/// Waits for the end of a session, which is one that the client does not come back from.
async fn signed_out(events: &mut Events) {
    let end = next(events, |event| match event {
        Event::Ended(error) => Some(error.clone()),
        _ => None,
    })
    .await;
    assert!(matches!(end, Error::SignedOut { .. }), "ended otherwise: {end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_closes_its_sockets_at_once() {
    let mut party = Party::of(&["acme.test"]).await;
    let (_alice, mut alice_hears) = party.client(0, "alice").await;
    let (_bob, mut bob_hears) = party.client(0, "bob").await;
    let token = party.homes[0].user("alice").await.unwrap().token;
    let server = party.homes[0].server().unwrap();
    server.logout(&token).await.unwrap();
    signed_out(&mut alice_hears).await;
    let again = homing_client::Client::connect(homing_client::Options::new(server.clone(), token));
    assert_eq!(again.await.err().unwrap().reason(), "signed_out");

    // The operator shuts an account: its socket goes, its token and its password are no use any more.
    party.homes[0].command(&["user", "disable", "bob"]).await.unwrap();
    signed_out(&mut bob_hears).await;
    let login = server.login("bob", homing_testnet::homes::PASSWORD, None).await;
    assert_eq!(login.err().unwrap().reason(), "user_disabled");

    // And opens it again.
    party.homes[0].command(&["user", "enable", "bob"]).await.unwrap();
    server.login("bob", homing_testnet::homes::PASSWORD, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_lets_in_as_many_as_it_says() {
    let party = Party::with(&["acme.test"], &[("HOMING_REGISTRATION__MODE", "invite")]).await;
    let server = party.homes[0].server().unwrap();
    let password = homing_testnet::homes::PASSWORD;
    let without = server.register("alice", password, None, None).await.unwrap_err();
    assert_eq!(without.reason(), "bad_invite");
    let made = party.homes[0].command(&["invite", "create", "--json"]).await.unwrap();
    let made: serde_json::Value = serde_json::from_str(made.trim()).unwrap();
    let invite = made["invite"].as_str().unwrap();
    server.register("alice", password, Some(invite), None).await.unwrap();
    let spent = server.register("bob", password, Some(invite), None).await.unwrap_err();
    assert_eq!(spent.reason(), "bad_invite");
    let taken = server.register("alice", password, Some(invite), None).await.unwrap_err();
    assert!(["user_exists", "bad_invite"].contains(&taken.reason()), "{taken}");
}
