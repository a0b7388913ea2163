//! Messages are found by their words: by whoever is shown them, as they stand now, and after whatever happened to the index.

use std::cmp::Reverse;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use homing_client::{
    Client, FoundMessages, Message, MessageQuery, MessageRef, Target, TextBody, Uuid,
};
use serde_json::json;

use crate::party::{Party, WITHIN, history, next_message, say, text};

/// What is new is put into the index this often here.
const QUICK: (&str, &str) = ("HOMING_SEARCH__COMMIT_MS", "10");

async fn page(client: &Client, query: &MessageQuery<'_>) -> FoundMessages {
    client.search(query).await.unwrap()
}

async fn found(client: &Client, words: &str) -> Vec<String> {
    let query = MessageQuery { query: words, limit: Some(100), ..MessageQuery::default() };
    page(client, &query).await.messages.iter().map(text).collect()
}

/// Waits until that is found, the newest first: nobody tells when the index has it, and it is to have it in a moment.
///
/// What was sent to two conversations within a millisecond has no order: there the order of `wanted` does not count.
async fn until_found(client: &Client, words: &str, wanted: &[&str]) {
    let mut texts = wanted.to_vec();
    texts.sort_unstable();
    let waiting = async {
        loop {
            let query = MessageQuery { query: words, limit: Some(100), ..MessageQuery::default() };
            let there = page(client, &query).await.messages;
            assert!(there.is_sorted_by_key(|message| Reverse(message.sent_at)), "{words}");
            let mut there: Vec<String> = there.iter().map(text).collect();
            there.sort_unstable();
            if there == texts {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(WITHIN, waiting).await.is_err() {
        panic!("{words}: found {:?}, wanted {wanted:?}", found(client, words).await);
    }
}

/// Users of the first home whom alice writes to.
async fn others(party: &mut Party) {
    for name in ["bob", "carol"] {
        party.homes[0].user(name).await.unwrap();
    }
}

fn by(sender: &str, id: Uuid) -> MessageRef {
    MessageRef { id, sender: sender.to_owned() }
}

fn folder(party: &Party, home: usize) -> PathBuf {
    party.homes[home].dir().join("search")
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_two_homes_are_found_as_they_stand_now() {
    let mut party = Party::with(&["acme.test", "globex.test"], &[QUICK]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let (carol, _) = party.client(0, "carol").await;
    let cafe = say(&alice, "bob@globex.test", "Meet me at the Café, 東京駅の前で 👍🏽").await;
    let typo = say(&alice, "bob@globex.test", "the quartely report").await;
    say(&alice, "carol@acme.test", "the quarterly figures, for you").await;
    while next_message(&mut bob_hears).await.id != typo.id {}
    let meet = "Meet me at the Café, 東京駅の前で 👍🏽";
    for client in [&alice, &bob] {
        for words in ["cafe", "CAFÉ meet", "東京", "駅 京", "👍", "👍🏽", "me caf"] {
            until_found(client, words, &[meet]).await;
        }
    }
    assert!(found(&bob, "figures").await.is_empty(), "what others write is nobody else's");
    assert!(found(&carol, "cafe").await.is_empty());
    until_found(&carol, "quarterly", &["the quarterly figures, for you"]).await;

    // An edit is found by what it says now, at both homes.
    let channel = cafe.channel;
    let wrong = by("alice@acme.test", typo.id);
    alice.edit(channel, &wrong, "the quarterly report").await.unwrap();
    until_found(&bob, "quarterly", &["the quarterly report"]).await;
    until_found(&alice, "quarterly", &["the quarterly figures, for you", "the quarterly report"])
        .await;
    for client in [&alice, &bob] {
        until_found(client, "quartely", &[]).await;
    }
    let one =
        MessageQuery { query: "quarterly", channel: Some(channel), ..MessageQuery::default() };
    assert_eq!(page(&alice, &one).await.messages.len(), 1, "in one conversation alone");

    // Hidden from bob, it is still alice's; deleted it is nobody's.
    bob.hide(channel, &wrong).await.unwrap();
    assert!(found(&bob, "report").await.is_empty(), "at once");
    assert_eq!(found(&alice, "report").await.len(), 1);
    alice.delete(channel, &by("alice@acme.test", cafe.id)).await.unwrap();
    assert!(found(&alice, "cafe").await.is_empty(), "at once");
    until_found(&bob, "cafe", &[]).await;

    // Of whom bob has blocked he is shown nothing new, nor finds it; what was before stays.
    let before = say(&alice, "bob@globex.test", "needle before").await;
    while next_message(&mut bob_hears).await.id != before.id {}
    bob.add_to(homing_client::UserList::Blocks, "alice@acme.test").await.unwrap();
    say(&alice, "bob@globex.test", "needle behind").await;
    until_found(&alice, "needle", &["needle behind", "needle before"]).await;
    until_found(&bob, "needle", &["needle before"]).await;
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_finds_what_was_said_while_in_the_group() {
    let mut party = Party::with(&["acme.test"], &[QUICK]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    let (carol, _) = party.client(0, "carol").await;
    let made = json!({ "name": "garden", "members": ["carol@acme.test"] });
    let group: serde_json::Value = alice.call("groups.create", &made).await.unwrap();
    let channel: Uuid = group["channel"].as_str().unwrap().parse().unwrap();
    let tell = async |words: &str| {
        let id = homing_client::new_message_id();
        alice.send(Target::Channel(channel), id, &TextBody::new(words)).await.unwrap();
    };
    tell("seeds before").await;
    let invite = json!({ "channel": channel, "users": ["bob@acme.test"] });
    let _: serde_json::Value = alice.call("groups.invite", &invite).await.unwrap();
    if bob.channel(channel).await.unwrap().state == homing_client::ChannelState::Invited {
        assert!(found(&bob, "seeds").await.is_empty(), "who is only asked sees nothing");
        let join = json!({ "channel": channel });
        let _: serde_json::Value = bob.call("groups.join", &join).await.unwrap();
    }
    tell("seeds while in").await;
    let remove = json!({ "channel": channel, "users": ["bob@acme.test"] });
    let _: serde_json::Value = alice.call("groups.remove", &remove).await.unwrap();
    tell("seeds after").await;
    until_found(&carol, "seeds", &["seeds after", "seeds while in", "seeds before"]).await;
    // The same as his list shows.
    let listed: Vec<String> = history(&bob, channel).await.iter().map(text).rev().collect();
    let listed: Vec<String> = listed.into_iter().filter(|text| text.starts_with("seeds")).collect();
    assert!(!listed.contains(&"seeds after".to_owned()), "{listed:?}");
    assert!(listed.contains(&"seeds while in".to_owned()), "{listed:?}");
    assert_eq!(found(&bob, "seeds").await, listed);
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_search_is_refused_with_a_reason() {
    let mut party = Party::with(&["acme.test"], &[QUICK]).await;
    others(&mut party).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, _) = party.client(0, "bob").await;
    let sent = say(&bob, "carol@acme.test", "not alice's").await;
    let refused = async |query: &str, channel, cursor| {
        let query = MessageQuery { query, channel, cursor, limit: None };
        let error = alice.search(&query).await.unwrap_err();
        let homing_client::Error::Refused(refusal) = error else { panic!("{error}") };
        (refusal.code, refusal.reason)
    };
    let large = "word ".repeat(20 << 10);
    assert_eq!(refused(&large, None, None).await, (-32006, "query_too_large".to_owned()));
    let invalid = (-32602, "invalid_query".to_owned());
    for words in ["", "  ", "…!?", &(0..100).map(|n| format!("w{n} ")).collect::<String>()] {
        assert_eq!(refused(words, None, None).await, invalid, "{words}");
    }
    let nowhere = (-32004, "channel_not_found".to_owned());
    assert_eq!(refused("alice", Some(sent.channel), None).await, nowhere, "of others");
    assert_eq!(refused("alice", None, Some("x")).await, (-32602, "bad_cursor".to_owned()));
    party.homes.stop_all().await.unwrap();

    let mut party = Party::with(&["acme.test"], &[("HOMING_SEARCH__ENABLED", "false")]).await;
    let (alice, _) = party.client(0, "alice").await;
    let error = alice.search(&MessageQuery { query: "x", ..MessageQuery::default() }).await;
    assert_eq!(error.unwrap_err().reason(), "search_off");
    assert!(!folder(&party, 0).exists());
}

/// Pages have everything once, while new messages come that have the word, too.
#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_where_the_last_one_ended() {
    let mut party = Party::with(&["acme.test"], &[QUICK]).await;
    others(&mut party).await;
    let (alice, _) = party.client(0, "alice").await;
    for n in 0..60 {
        let to = if n % 3 == 0 { "bob@acme.test" } else { "carol@acme.test" };
        say(&alice, to, &format!("common {n}")).await;
    }
    let before: Vec<String> = (0..60).rev().map(|n| format!("common {n}")).collect();
    until_found(&alice, "common", &before.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // As one page has them.
    let before = found(&alice, "common").await;
    let (mut all, mut cursor): (Vec<Message>, Option<String>) = (Vec::new(), None);
    for new in 0.. {
        let query = MessageQuery {
            query: "common",
            cursor: cursor.as_deref(),
            limit: Some(7),
            channel: None,
        };
        let found = page(&alice, &query).await;
        assert!(found.messages.len() <= 7);
        all.extend(found.messages);
        cursor = found.cursor;
        if cursor.is_none() {
            break;
        }
        say(&alice, "bob@acme.test", &format!("common, and new {new}")).await;
    }
    assert_eq!(all.iter().map(text).collect::<Vec<_>>(), before);
    party.homes.stop_all().await.unwrap();
}

/// What was answered is found after the home was killed, at once after the answer; and the index of a home that goes on is
/// what it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_left_out_is_found_all_the_same() {
    // Slow: nothing comes into the index before the kill.
    let mut party = Party::with(&["acme.test"], &[("HOMING_SEARCH__COMMIT_MS", "60000")]).await;
    others(&mut party).await;
    let (alice, _) = party.client(0, "alice").await;
    say(&alice, "bob@acme.test", "first needle").await;
    let second = say(&alice, "bob@acme.test", "second needle").await;
    let third = say(&alice, "bob@acme.test", "third needle").await;
    alice.close().await;
    // In order: everything is taken along.
    party.homes[0].stop().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    until_found(&alice, "needle", &["third needle", "second needle", "first needle"]).await;
    let channel = second.channel;
    alice.delete(channel, &by("alice@acme.test", third.id)).await.unwrap();
    alice.edit(channel, &by("alice@acme.test", second.id), "second thimble").await.unwrap();
    say(&alice, "bob@acme.test", "fourth needle").await;
    say(&alice, "carol@acme.test", "fifth needle").await;
    party.homes[0].kill().await.unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    until_found(&alice, "needle", &["fifth needle", "fourth needle", "first needle"]).await;
    until_found(&alice, "thimble", &["second thimble"]).await;
    let all = MessageQuery { query: "needle", limit: Some(2), ..MessageQuery::default() };
    assert_eq!(page(&alice, &all).await.messages.len(), 2);
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_lost_or_damaged_is_made_again() {
    let mut party = Party::with(&["acme.test"], &[QUICK]).await;
    others(&mut party).await;
    let (alice, _) = party.client(0, "alice").await;
    for n in 0..20 {
        say(&alice, "bob@acme.test", &format!("needle {n}")).await;
    }
    let wanted: Vec<String> = (0..20).rev().map(|n| format!("needle {n}")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    until_found(&alice, "needle", &wanted).await;
    let log = |party: &Party| fs::read_to_string(party.homes[0].log()).unwrap();
    let check = async |party: &Party| {
        let mut command = tokio::process::Command::new(party.homes[0].program().path());
        command.arg("check").arg("--config").arg(party.homes[0].config());
        // Whatever else it finds on this machine.
        String::from_utf8(command.output().await.unwrap().stdout).unwrap()
    };

    party.homes[0].stop().await.unwrap();
    assert!(
        check(&party).await.contains("search: 20 messages in the index"),
        "{}",
        check(&party).await
    );
    fs::remove_dir_all(folder(&party, 0)).unwrap();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    until_found(&alice, "needle", &wanted).await;
    assert!(log(&party).contains("the search index was made"), "{}", log(&party));

    // Garbage in the files that hold words, and places.
    for kind in ["term", "idx", "fast"] {
        party.homes[0].stop().await.unwrap();
        let mut harmed = 0;
        for file in fs::read_dir(folder(&party, 0)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|have| have == kind) {
                let len = fs::metadata(&path).unwrap().len();
                fs::write(&path, vec![0x5a; usize::try_from(len).unwrap()]).unwrap();
                harmed += 1;
            }
        }
        assert!(harmed > 0, "{kind}");
        assert!(check(&party).await.contains("is damaged"), "{kind}");
        party.homes[0].start().await.unwrap();
        let (alice, _) = party.client(0, "alice").await;
        until_found(&alice, "needle", &wanted).await;
        assert!(log(&party).contains("the search index is damaged"), "{}", log(&party));
    }
    party.homes.stop_all().await.unwrap();
}

/// A restored home is another life: what the index has of the old one is not shown in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_home_finds_what_the_backup_had() {
    let mut party = Party::with(&["acme.test"], &[QUICK]).await;
    others(&mut party).await;
    let (alice, _) = party.client(0, "alice").await;
    say(&alice, "bob@acme.test", "needle before").await;
    let file = party.homes[0].dir().parent().unwrap().join("one.homing");
    party.homes[0].command(&["backup", file.to_str().unwrap()]).await.unwrap();
    say(&alice, "bob@acme.test", "needle behind").await;
    until_found(&alice, "needle", &["needle behind", "needle before"]).await;
    alice.close().await;
    party.homes[0].stop().await.unwrap();
    party.homes[0].command(&["restore", file.to_str().unwrap(), "--force"]).await.unwrap();
    party.homes[0].forget_logins();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    until_found(&alice, "needle", &["needle before"]).await;
    say(&alice, "bob@acme.test", "needle anew").await;
    until_found(&alice, "needle", &["needle anew", "needle before"]).await;
    party.homes.stop_all().await.unwrap();
}

/// What retention removes is found no more, and takes no room in the index.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_not_found() {
    let mut party = Party::configured(
        &["acme.test"],
        &[QUICK, ("HOMING_LIMITS__MARKS_GATHER_MS", "50")],
        "\n[retention]\nmessages = \"2s\"\n",
    )
    .await;
    others(&mut party).await;
    let (alice, _) = party.client(0, "alice").await;
    say(&alice, "bob@acme.test", "needle").await;
    until_found(&alice, "needle", &["needle"]).await;
    until_found(&alice, "needle", &[]).await;
    let metrics = format!("{}/metrics", party.homes[0].ready().unwrap().admin);
    let gone = async {
        loop {
            let text = reqwest::get(&metrics).await.unwrap().text().await.unwrap();
            if text.contains("\nhoming_search_documents 0") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, gone).await.expect("the index keeps what is gone");
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_scripts_search() {
    let mut party = Party::with(&["acme.test"], &[QUICK]).await;
    others(&mut party).await;
    let (alice, _) = party.client(0, "alice").await;
    say(&alice, "bob@acme.test", "the quarterly report").await;
    say(&alice, "carol@acme.test", "a report for carol").await;
    until_found(&alice, "report", &["a report for carol", "the quarterly report"]).await;
    let password = homing_testnet::homes::PASSWORD;
    let signed_in = party.typed(0, "alice", &["login", "alice"], password).await;
    assert_eq!(signed_in.code, 0, "{signed_in:?}");
    let all = party.typed(0, "alice", &["search", "rep"], "").await;
    assert_eq!((all.code, all.out.matches("report").count()), (0, 2), "{all:?}");
    let json = party.typed(0, "alice", &["--json", "search", "rep", "--in", "bob"], "").await;
    let line: serde_json::Value = serde_json::from_str(json.out.trim()).unwrap();
    assert_eq!(line["body"]["text"], "the quarterly report", "{json:?}");
    let nothing = party.typed(0, "alice", &["search", "..."], "").await;
    assert_eq!(nothing.code, 1);
    assert!(nothing.err.contains("nothing to look for"), "{nothing:?}");
    party.homes.stop_all().await.unwrap();
}
