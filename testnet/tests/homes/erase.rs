//! What is deleted leaves the disk of every home that had it.

use std::time::Duration;

use homing_client::MessageRef;

use crate::party::{Party, WITHIN, say};

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
