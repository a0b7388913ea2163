//! Accounts: whose token is dead is out at once; who is shut cannot come back.

use homing_client::{Client, Device, Error, Event, Events, Options, Refusal, Uuid};
use homing_testnet::homes::PASSWORD;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::party::{Party, WITHIN, next, next_message, say};

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

/// Signs a user of the first home in once more: the token, and the session.
async fn sign_in(party: &Party, user: &str, password: &str) -> (String, Client, Events) {
    let server = party.homes[0].server().unwrap();
    let token = server.login(user, password, Some("another")).await.unwrap().token;
    let (client, events) = Client::connect(Options::new(server, token.clone())).await.unwrap();
    (token, client, events)
}

async fn connect(party: &Party, token: &str) -> Result<Client, Error> {
    let server = party.homes[0].server().unwrap();
    Client::connect(Options::new(server, token)).await.map(|(client, _)| client)
}

/// What an operator types: `homing user password`, which reads standard input.
async fn new_password(party: &Party, user: &str, password: &str) {
    let home = &party.homes[0];
    let mut child = tokio::process::Command::new(home.program().path())
        .args(["user", "password", user, "--config"])
        .arg(home.config())
        .stdin(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(WITHIN, child.wait()).await.unwrap().unwrap();
    assert!(ended.success());
}

fn refusal<T>(result: Result<T, Error>) -> (i64, String) {
    match result {
        Err(Error::Refused(Refusal { code, reason, .. })) => (code, reason),
        Err(error) => panic!("not refused: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

fn others(devices: &[Device]) -> Vec<&str> {
    devices.iter().filter(|device| !device.current).map(|device| device.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_out_at_once() {
    let mut party = Party::of(&["acme.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    let (token, phone, mut phone_hears) = sign_in(&party, "alice", PASSWORD).await;
    let devices = alice.devices().await.unwrap();
    assert_eq!(others(&devices), ["another"]);
    assert!(devices.iter().all(|device| device.last_seen >= Some(device.created_at)));
    let id = devices.iter().find(|device| !device.current).unwrap().device;
    assert_eq!(id.to_string(), phone.opened().device);
    alice.rename_device(id, "phone 📱").await.unwrap();
    assert_eq!(others(&alice.devices().await.unwrap()), ["phone 📱"]);
    assert!(phone.devices().await.unwrap().iter().any(|d| d.current && d.name == "phone 📱"));

    // Nobody else's, and nothing that is not there; no name that nobody could read.
    let missing = (-32004, "device_not_found".to_owned());
    assert_eq!(refusal(bob.revoke_device(id).await), missing);
    assert_eq!(refusal(bob.rename_device(id, "mine").await), missing);
    assert_eq!(refusal(alice.revoke_device(Uuid::now_v7()).await), missing);
    let wrong = (-32602, "invalid_device_name".to_owned());
    assert_eq!(refusal(alice.rename_device(id, "a\u{7}b").await), wrong);
    assert_eq!(others(&alice.devices().await.unwrap()), ["phone 📱"]);

    let op = json!({ "device": id, "op": Uuid::now_v7() });
    let empty = json!({});
    assert_eq!(alice.call::<_, serde_json::Value>("devices.revoke", &op).await.unwrap(), empty);
    signed_out(&mut phone_hears).await;
    assert_eq!(connect(&party, &token).await.err().unwrap().reason(), "signed_out");
    assert_eq!(alice.call::<_, serde_json::Value>("devices.revoke", &op).await.unwrap(), empty);
    assert_eq!(others(&alice.devices().await.unwrap()), [""; 0]);

    // One's own: the answer comes, then the end. It is as final over a kill.
    let (token, phone, mut phone_hears) = sign_in(&party, "alice", PASSWORD).await;
    let own: Uuid = phone.opened().device.parse().unwrap();
    phone.revoke_device(own).await.unwrap();
    signed_out(&mut phone_hears).await;
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    assert_eq!(connect(&party, &token).await.err().unwrap().reason(), "signed_out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_signs_the_other_devices_out() {
    let limits = [("HOMING_LIMITS__LOGIN_FAILURES_PER_ACCOUNT", "3")];
    let mut party = Party::with(&["acme.test"], &limits).await;
    let (alice, _) = party.client(0, "alice").await;
    let (token, _phone, mut phone_hears) = sign_in(&party, "alice", PASSWORD).await;
    let server = party.homes[0].server().unwrap();
    for (old, new, refused) in [
        (PASSWORD, "short", (-32602, "weak_password".to_owned())),
        ("wrong horse", "battery staple", (-32003, "bad_credentials".to_owned())),
    ] {
        assert_eq!(refusal(alice.change_password(old, new).await), refused);
    }
    assert_eq!(others(&alice.devices().await.unwrap()), ["another"]);
    connect(&party, &token).await.unwrap();

    let params = json!({ "old": PASSWORD, "new": "battery staple", "op": Uuid::now_v7() });
    let changed: serde_json::Value = alice.call("account.password", &params).await.unwrap();
    assert_eq!(changed, json!({}));
    signed_out(&mut phone_hears).await;
    assert_eq!(connect(&party, &token).await.err().unwrap().reason(), "signed_out");
    // The same again is the same, and the device that asked goes on.
    let again: serde_json::Value = alice.call("account.password", &params).await.unwrap();
    assert_eq!(again, json!({}));
    assert_eq!(others(&alice.devices().await.unwrap()), [""; 0]);
    let login = server.login("alice", PASSWORD, None).await;
    assert_eq!(login.err().unwrap().reason(), "bad_credentials");
    let (_, _third, mut third_hears) = sign_in(&party, "alice", "battery staple").await;

    // Guessing at an open session is limited as signing in is.
    let guess = refusal(alice.change_password("wrong horse", "battery staple").await);
    assert_eq!(guess.1, "bad_credentials");
    let guess = refusal(alice.change_password("battery staple", "battery staples").await);
    assert_eq!(guess, (-32005, "too_many_attempts".to_owned()));

    // The operator's word ends all sockets, too.
    new_password(&party, "alice", "yet another\n").await;
    signed_out(&mut third_hears).await;
    let (_bob, mut bob_hears) = party.client(0, "bob").await;
    party.homes[0].command(&["user", "delete", "bob", "--yes"]).await.unwrap();
    signed_out(&mut bob_hears).await;
}

/// A clock that may be wrong signs nobody out; once another home has shown the same time, whoever was away for too long
/// is out.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_used_for_months_is_dead() {
    const DAYS_MS: i64 = 91 * 86_400_000;
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (_bob, mut bob_hears) = party.client(1, "bob").await;
    let server = party.homes[0].server().unwrap();
    let idle = server.login("alice", PASSWORD, Some("idle")).await.unwrap().token;
    say(&alice, "bob@globex.test", "before").await;
    next_message(&mut bob_hears).await;
    drop((alice, bob_hears));
    // What is owed for a month is not pushed: this is not about that.
    for home in 0..2 {
        while !party.homes[home].command(&["peer", "queue", "--json"]).await.unwrap().is_empty() {}
    }
    for home in 0..2 {
        party.homes[home].stop().await.unwrap();
        party.homes[home].set_clock_offset(Some(DAYS_MS));
    }
    party.homes[0].start().await.unwrap();
    // Alone with its clock, the home signs nobody out.
    let (alice, _) = party.client(0, "alice").await;
    assert_eq!(others(&alice.devices().await.unwrap()), ["idle"]);
    party.homes[1].start().await.unwrap();
    party.homes[1].forget_logins();
    let (_bob, mut bob_hears) = party.client(1, "bob").await;
    say(&alice, "bob@globex.test", "after").await;
    next_message(&mut bob_hears).await;
    assert_eq!(connect(&party, &idle).await.err().unwrap().reason(), "signed_out");
    // Its row goes in the background; who is in use stays.
    while !others(&alice.devices().await.unwrap()).is_empty() {
        tokio::task::yield_now().await;
    }
    alice.channels(None).await.unwrap();
}
