//! What is deleted leaves the disk of every home that had it.

use std::path::Path;
use std::time::Duration;

use homing_client::{Body, MessageQuery, MessageRef, Uuid};

use crate::party::{Party, WITHIN, next, say, text};

/// At once, as far as that goes.
const SOON: [(&str, &str); 2] =
    [("HOMING_RETENTION__ERASE_AFTER", "1s"), ("HOMING_SEARCH__COMMIT_MS", "10")];

/// Waits until the numbers of a home say that: nobody tells when something leaves the disk.
async fn until_metrics(party: &Party, home: usize, wanted: impl Fn(&dyn Fn(&str) -> f64) -> bool) {
    let url = format!("{}/metrics", party.homes[home].ready().unwrap().admin);
    let mut text = String::new();
    let waiting = async {
        loop {
            text = reqwest::get(&url).await.unwrap().text().await.unwrap();
            let value = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
                line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
            };
            if wanted(&value) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let there = tokio::time::timeout(WITHIN, waiting).await;
    assert!(there.is_ok(), "{home}: {text}");
}

/// Files below a folder, or the one, that have any of those words in them.
async fn files_with(place: &Path, words: &[&str]) -> String {
    let mut grep = tokio::process::Command::new("grep");
    grep.args(["--recursive", "--text", "--files-with-matches", "--fixed-strings"]);
    grep.args(words.iter().flat_map(|word| ["-e", word]));
    let done = grep.arg("--").arg(place).output().await.unwrap();
    // Files come and go meanwhile: that it could not read one (2) is no matter of this.
    assert!(done.status.code().is_some(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_in_no_file_of_any_home() {
    let mut party = Party::with(&["acme.test", "globex.test"], &SOON).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let [first, second, kept] = [(); 3].map(|()| format!("x{}", Uuid::new_v4().simple()));
    let gone = [first.as_str(), second.as_str()];
    say(&alice, "bob@globex.test", &format!("this stays: {kept}")).await;
    let sent = say(&alice, "bob@globex.test", &first).await;
    let of = MessageRef { id: sent.id, sender: "alice@acme.test".into() };
    alice.edit(sent.channel, &of, &second).await.unwrap();
    next(&mut bob_hears, |event| match event {
        homing_client::Event::Message(message) => (text(message) == second).then_some(()),
        _ => None,
    })
    .await;
    let found = async {
        let query = MessageQuery { query: &second, ..MessageQuery::default() };
        while bob.search(&query).await.unwrap().messages.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, found).await.expect("bob does not find it");
    for home in party.homes.iter() {
        assert_ne!(files_with(home.dir(), &gone).await, "", "the test looks at the wrong place");
    }

    alice.delete(sent.channel, &of).await.unwrap();
    for home in [0, 1] {
        let mut left = String::new();
        let waiting = async {
            loop {
                left = files_with(party.homes[home].dir(), &gone).await;
                if left.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let there = tokio::time::timeout(WITHIN, waiting).await;
        assert!(there.is_ok(), "it is still in {left}");
        until_metrics(&party, home, |value| {
            value("homing_store_tidy_erased_total") >= 2.0
                && value("homing_store_tidy_waiting") == 0.0
                && value("homing_search_documents") == 1.0
                && value("homing_search_removed_documents") == 0.0
        })
        .await;
    }

    // What stays is there, for people and in a backup; what is gone is shown as deleted.
    let message = bob.message(sent.channel, of.id, Some(&of.sender)).await.unwrap();
    assert_eq!(message.body(), Body::Deleted);
    for home in [0, 1] {
        let file = party.homes[home].dir().parent().unwrap().join(format!("{home}.homing"));
        party.homes[home].command(&["backup", file.to_str().unwrap()]).await.unwrap();
        assert_eq!(files_with(&file, &gone).await, "");
        assert_ne!(files_with(&file, &[&kept]).await, "");
        assert_ne!(files_with(party.homes[home].dir(), &[&kept]).await, "");
        party.homes[home].command(&["verify"]).await.unwrap();
    }
    party.homes.stop_all().await.unwrap();
    for home in party.homes.iter() {
        assert_eq!(files_with(home.dir(), &gone).await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_leaves_the_files_of_the_index() {
    let mut party = Party::with(&["acme.test", "globex.test"], &SOON).await;
    let (alice, _) = party.client(0, "alice").await;
    let (_bob, _) = party.client(1, "bob").await;
    say(&alice, "bob@globex.test", "this stays").await;
    let sent = say(&alice, "bob@globex.test", "this goes").await;
    for home in [0, 1] {
        until_metrics(&party, home, |value| value("homing_search_documents") == 2.0).await;
    }
    let of = MessageRef { id: sent.id, sender: "alice@acme.test".into() };
    alice.delete(sent.channel, &of).await.unwrap();
    for home in [0, 1] {
        until_metrics(&party, home, |value| {
            value("homing_search_documents") == 1.0
                && value("homing_search_removed_documents") == 0.0
        })
        .await;
    }
    party.homes.stop_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_it_done_at_once_running_or_stopped() {
    let mut party = Party::with(&["acme.test"], &SOON).await;
    for stopped in [false, true] {
        if stopped {
            party.homes.stop_all().await.unwrap();
        }
        let told = party.homes[0].command(&["store", "compact"]).await.unwrap();
        assert!(told.contains("files of the journal"), "{told}");
        let json = party.homes[0].command(&["store", "compact", "--json"]).await.unwrap();
        let row: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(row["bytes_after"].is_u64() && row["erased"].is_u64(), "{row}");
    }
    party.homes[0].start().await.unwrap();
    until_metrics(&party, 0, |value| value("homing_store_tidy_steps_total") >= 2.0).await;
    party.homes.stop_all().await.unwrap();
}
