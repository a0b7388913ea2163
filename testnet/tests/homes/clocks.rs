//! A home whose clock is wrong finds out by the others, and stamps nothing until it is right.

use homing_client::{Client, Error, TextBody};

use crate::party::{Party, WITHIN, history, next_message, say, text};

const TEN_MINUTES_MS: i64 = 600_000;

/// Sends until an answer is what is wanted; the first few may come before the homes have met.
async fn until(client: &Client, what: &str, wanted: impl Fn(&Result<(), Error>) -> bool) {
    let tries = async {
        loop {
            let sent = client.send_to("bob@globex.test", &TextBody::new(what)).await.map(|_| ());
            if wanted(&sent) {
                return;
            }
        }
    };
    tokio::time::timeout(WITHIN, tries).await.expect("it never came");
}

async fn restart_with_offset(party: &mut Party, offset_ms: Option<i64>) {
    party.homes[0].stop().await.unwrap();
    party.homes[0].set_clock_offset(offset_ms);
    party.homes[0].start().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_whose_clock_is_wrong_stamps_nothing_and_recovers() {
    let mut party = Party::of(&["acme.test", "globex.test", "initech.test"]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (_bob, mut bob_hears) = party.client(1, "bob").await;
    let sent = say(&alice, "bob@globex.test", "before").await;
    assert_eq!(text(&next_message(&mut bob_hears).await), "before");
    for offset_ms in [-TEN_MINUTES_MS, TEN_MINUTES_MS] {
        alice_is_refused(&mut party, offset_ms, sent.channel).await;
    }
    // Right again: it goes on.
    restart_with_offset(&mut party, None).await;
    let (alice, _) = party.client(0, "alice").await;
    until(&alice, "after", |sent| sent.is_ok()).await;
    while text(&next_message(&mut bob_hears).await) != "after" {}
}

async fn alice_is_refused(party: &mut Party, offset_ms: i64, channel: uuid::Uuid) {
    restart_with_offset(party, Some(offset_ms)).await;
    let (alice, _) = party.client(0, "alice").await;
    let skewed =
        |sent: &Result<(), Error>| sent.as_ref().is_err_and(|error| error.reason() == "clock_skew");
    until(&alice, "early", skewed).await;
    // Reading goes on.
    assert!(!history(&alice, channel).await.is_empty());
    let log = std::fs::read_to_string(party.homes[0].log()).unwrap();
    assert!(log.contains("clock is wrong"), "{log}");
    alice.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_on_purpose_is_for_tests_alone() {
    let mut party = Party::with(&["acme.test"], &[("HOMING_TESTING__CLOCK_OFFSET_MS", "0")]).await;
    party.homes[0].stop().await.unwrap();
    let mut command = tokio::process::Command::new(party.homes[0].program().path());
    command.args(["serve", "--config"]).arg(party.homes[0].config());
    command.env("HOMING_TESTING__CLOCK_OFFSET_MS", "5000").kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN, command.output()).await.unwrap().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("serve --testing"), "{said}");
}

/// The clock ran days ahead, and somebody wrote: put right, the home says how it goes on, and that helps.
#[tokio::test(flavor = "multi_thread")]
async fn a_home_whose_clock_ran_days_ahead_is_restored_to_the_present() {
    const TWO_DAYS_MS: i64 = 2 * 86_400_000;
    let mut party = Party::of(&["acme.test"]).await;
    party.homes[0].register("bob").await.unwrap();
    restart_with_offset(&mut party, Some(TWO_DAYS_MS)).await;
    let (alice, _) = party.client(0, "alice").await;
    let ahead = say(&alice, "bob@acme.test", "from the future").await;
    alice.close().await;
    party.homes[0].stop().await.unwrap();
    party.homes[0].set_clock_offset(None);
    let told = party.homes[0].start().await.unwrap_err().to_string();
    let log = std::fs::read_to_string(party.homes[0].log()).unwrap_or_default();
    let said = format!("{told}\n{log}\n{}", party.homes[0].last_words());
    assert!(said.contains("homing backup FILE; homing restore FILE --force"), "{said}");

    let file = party.homes[0].dir().parent().unwrap().join("ahead.homing");
    let file = file.to_str().unwrap();
    party.homes[0].command(&["backup", file]).await.unwrap();
    party.homes[0].command(&["restore", file, "--force"]).await.unwrap();
    party.homes[0].forget_logins();
    party.homes[0].start().await.unwrap();
    let (alice, _) = party.client(0, "alice").await;
    let now = say(&alice, "bob@acme.test", "from the present").await;
    assert!(ahead.sent_at > now.sent_at + 86_400_000, "{ahead:?} {now:?}");
    assert_eq!(history(&alice, now.channel).await.len(), 2, "nothing is lost");
}
