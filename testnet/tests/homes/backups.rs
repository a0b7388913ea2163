//! A home is lost and comes back from an old backup: nothing that another home had is lost, nothing is there
//! twice, and everybody goes on.

use std::path::PathBuf;

use homing_client::{Client, Follower, From, Options, Update, Uuid};

use crate::party::{Party, WITHIN, history, next_message, say, text};

/// Waits until both homes show the same history of a channel; how long it is.
async fn same_history(party: &mut Party, channel: Uuid) -> usize {
    let (alice, mut alice_hears) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let list = |messages: Vec<homing_client::Message>| -> Vec<_> {
        let mut list: Vec<_> = messages
            .into_iter()
            .map(|m| (m.order, m.id, m.sender, m.body.get().to_owned()))
            .collect();
        list.sort();
        list
    };
    loop {
        let (here, there) =
            (list(history(&alice, channel).await), list(history(&bob, channel).await));
        if here == there {
            return here.len();
        }
        // One of both is still fetching: it tells of each message.
        tokio::select! {
            _ = next_message(&mut alice_hears) => {}
            _ = next_message(&mut bob_hears) => {}
        }
    }
}

fn backup_path(party: &Party, name: &str) -> PathBuf {
    party.homes[0].dir().parent().unwrap().join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_a_thousand_messages_old_is_enough() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(1, "bob").await;
    let first = say(&alice, "bob@globex.test", "before the backup").await;
    say(&bob, "alice@acme.test", "mine, too").await;
    let file = backup_path(&party, "monday.homing");
    let made = party.homes[0].command(&["backup", file.to_str().unwrap(), "--json"]).await.unwrap();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["home"], "acme.test", "{made}");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds keys");
    let again = party.homes[0].command(&["backup", file.to_str().unwrap()]).await;
    assert!(again.unwrap_err().to_string().contains("exists"), "never overwritten");
    party.homes[0].command(&["verify", file.to_str().unwrap()]).await.unwrap();
    let whole = party.homes[0].command(&["verify"]).await.unwrap();
    assert!(whole.contains("whole"), "{whole}");

    // A thousand more, both ways, all delivered.
    for n in 0..500 {
        say(&alice, "bob@globex.test", &format!("a{n}")).await;
        say(&bob, "alice@acme.test", &format!("b{n}")).await;
    }
    let token = party.homes[0].user("alice").await.unwrap().token;
    let place = alice.opened().clone();
    assert_eq!(same_history(&mut party, first.channel).await, 1_002);
    alice.close().await;

    party.homes[0].kill().await.unwrap();
    let refused = party.homes[0].command(&["restore", file.to_str().unwrap()]).await;
    assert!(refused.unwrap_err().to_string().contains("--force"));
    let told =
        party.homes[0].command(&["restore", file.to_str().unwrap(), "--force"]).await.unwrap();
    assert!(told.contains("set aside") && told.contains("log in again"), "{told}");
    party.homes[0].start().await.unwrap();

    // Tokens are dead; a password is not.
    let server = party.homes[0].server().unwrap();
    let dead = Client::connect(Options::new(server.clone(), &token)).await.err().unwrap();
    assert_eq!(dead.reason(), "signed_out", "{dead}");
    party.homes[0].forget_logins();
    let anew = party.homes[0].user("alice").await.unwrap();
    let mut options = Options::new(server, anew.token);
    options.since = Some(place.sync.clone());
    options.life = Some(place.life.clone());
    // The old place is refused (`resync`); the client begins anew by itself, and says so.
    let (renewed, _) = Client::connect(options).await.unwrap();
    assert_ne!(renewed.opened().life, place.life);
    assert!(renewed.opened().channels.is_empty(), "nothing is told of after a place that is void");
    renewed.close().await;

    // What globex held came back, and sending goes on.
    assert_eq!(same_history(&mut party, first.channel).await, 1_002);
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    say(&alice, "bob@globex.test", "in a new life").await;
    next_message(&mut bob_hears).await;
    say(&bob, "alice@acme.test", "welcome back").await;
    assert_eq!(same_history(&mut party, first.channel).await, 1_004);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_whole_or_not_ours_changes_nothing() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    party.homes[1].register("bob").await.unwrap();
    let sent = say(&alice, "bob@globex.test", "keep this").await;
    let file = backup_path(&party, "whole.homing");
    party.homes[0].command(&["backup", file.to_str().unwrap()]).await.unwrap();
    party.homes[0].stop().await.unwrap();
    // With the node stopped as well.
    let stopped = backup_path(&party, "stopped.homing");
    party.homes[0].command(&["backup", stopped.to_str().unwrap()]).await.unwrap();
    party.homes[0].command(&["verify"]).await.unwrap();

    let bytes = std::fs::read(&file).unwrap();
    let damaged = backup_path(&party, "damaged.homing");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 4;
    for (content, word) in
        [(&flipped[..], "damaged at byte"), (&bytes[..bytes.len() - 7], "cut off")]
    {
        std::fs::write(&damaged, content).unwrap();
        for command in [
            vec!["verify", damaged.to_str().unwrap()],
            vec!["restore", damaged.to_str().unwrap(), "--force"],
        ] {
            let error = party.homes[0].command(&command).await.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
    // Another home's.
    let error =
        party.homes[1].command(&["restore", file.to_str().unwrap(), "--force"]).await.unwrap_err();
    assert!(error.to_string().contains("acme.test"), "{error}");
    // A running node is not pulled away from under its people.
    party.homes[0].start().await.unwrap();
    let error =
        party.homes[0].command(&["restore", file.to_str().unwrap(), "--force"]).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    let (alice, _) = party.client(0, "alice").await;
    assert_eq!(history(&alice, sent.channel).await.len(), 1);
}

/// The directory is gone altogether: the backup is all there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_makes_a_home_where_there_is_nothing() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    party.homes[1].register("bob").await.unwrap();
    let sent = say(&alice, "bob@globex.test", "one").await;
    let file = backup_path(&party, "all.homing");
    party.homes[0].command(&["backup", file.to_str().unwrap()]).await.unwrap();
    say(&alice, "bob@globex.test", "two").await;
    assert_eq!(same_history(&mut party, sent.channel).await, 2);
    party.homes[0].kill().await.unwrap();
    std::fs::remove_dir_all(party.homes[0].dir()).unwrap();
    party.homes[0].command(&["restore", file.to_str().unwrap()]).await.unwrap();
    party.homes[0].forget_logins();
    party.homes[0].start().await.unwrap();
    assert_eq!(same_history(&mut party, sent.channel).await, 2);
}

/// Restored twice, the second time with a clock that is behind: globex knows a later life of acme than acme's store
/// does. Acme does not write a second history under the same names; it says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_is_behind_an_earlier_one_is_not_lived() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    party.homes[1].register("bob").await.unwrap();
    let sent = say(&alice, "bob@globex.test", "in the first life").await;
    alice.close().await;
    let file = backup_path(&party, "first.homing");
    let file = file.to_str().unwrap().to_owned();
    party.homes[0].command(&["backup", &file]).await.unwrap();
    party.homes[0].kill().await.unwrap();
    // As if the clock had been ten days ahead.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ahead = (now.as_millis() + 864_000_000).to_string();
    let far = (now.as_millis() * 10).to_string();
    let restore = ["restore", &file, "--force", "--epoch-above"];
    let refused = party.homes[0].command(&[&restore[..], &[&far]].concat()).await.unwrap_err();
    assert!(refused.to_string().contains("over a year ahead"), "{refused}");
    party.homes[0].command(&[&restore[..], &[&ahead]].concat()).await.unwrap();
    party.homes[0].forget_logins();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    say(&alice, "bob@globex.test", "in the second").await;
    assert_eq!(same_history(&mut party, sent.channel).await, 2);

    // The third begins before the second did.
    party.homes[0].kill().await.unwrap();
    party.homes[0].command(&restore[..3]).await.unwrap();
    party.homes[0].forget_logins();
    party.homes[0].start().await.unwrap();
    let ended = tokio::time::timeout(WITHIN, party.homes[0].until_ended()).await;
    let status = ended.expect("it ends by itself").unwrap();
    assert!(!status.success());
    let log = std::fs::read_to_string(party.homes[0].log()).unwrap();
    let said = log.lines().rev().find(|line| line.contains("--epoch-above")).unwrap_or(&log);
    let later = said.split("--epoch-above ").nth(1).unwrap();
    let later: String = later.chars().take_while(char::is_ascii_digit).collect();
    assert!(later.parse::<u64>().unwrap() > ahead.parse().unwrap(), "{said}");

    // What it says helps, and nothing is lost.
    let there = backup_path(&party, "there.homing");
    let there = there.to_str().unwrap();
    party.homes[0].command(&["backup", there]).await.unwrap();
    let restore = ["restore", there, "--force", "--epoch-above", &later];
    party.homes[0].command(&restore).await.unwrap();
    party.homes[0].start().await.unwrap();
    assert_eq!(same_history(&mut party, sent.channel).await, 2);
}

/// What was on its way when the home was lost stands, by its order, below what a client had seen. The client goes on
/// from the place it had stored, and is shown it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_misses_nothing_that_comes_late_into_a_restored_home() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(1, "bob").await;
    say(&alice, "bob@globex.test", "hello").await;
    let file = backup_path(&party, "before.homing");
    party.homes[0].command(&["backup", file.to_str().unwrap()]).await.unwrap();
    alice.close().await;

    // Bob writes while acme is away; then Alice does while globex is.
    party.homes[0].stop().await.unwrap();
    say(&bob, "alice@acme.test", "late").await;
    party.homes[1].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let server = party.homes[0].server().unwrap();
    let token = party.homes[0].user("alice").await.unwrap().token;
    let follower = Follower::start(Options::new(server.clone(), token), From::Start).await;
    let mut follower = follower.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    say(&alice, "bob@globex.test", "seen and lost").await;
    while !matches!(next(&mut follower).await, Update::New(m) if text(&m) == "seen and lost") {}
    let place = follower.place().clone();
    follower.close().await;

    party.homes[0].kill().await.unwrap();
    party.homes[0].command(&["restore", file.to_str().unwrap(), "--force"]).await.unwrap();
    party.homes[0].forget_logins();
    party.homes[1].start().await.unwrap();
    party.homes[0].start().await.unwrap();
    let server = party.homes[0].server().unwrap();
    let token = party.homes[0].user("alice").await.unwrap().token;
    let options = Options::new(server, token);
    let mut follower = Follower::start(options, From::Place(place)).await.unwrap();
    let mut told = Vec::new();
    while !told.contains(&"late".to_owned()) {
        match next(&mut follower).await {
            Update::Again(message) => told.push(text(&message)),
            Update::New(message) => panic!("nothing is new: {message:?}"),
            Update::Changed(_)
            | Update::Receipt(_)
            | Update::Channel(_)
            | Update::Lost(_)
            | Update::Back { .. }
            | Update::Other(_) => {}
        }
    }
    assert_eq!(told, ["hello", "late"]);
}

async fn next(follower: &mut Follower) -> Update {
    tokio::time::timeout(WITHIN, follower.next()).await.expect("it comes in time").unwrap()
}
