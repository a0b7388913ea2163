//! A directory that was copied, or set back: whoever would sign a second history in one name stops, and says why.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use homing_testnet::homes::Ports;

use crate::party::{Party, WITHIN, next_message, say, text};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&from, &to),
            kind if kind.is_file() => drop(std::fs::copy(&from, &to).unwrap()),
            _ => {} // a socket, of the process that runs
        }
    }
}

/// A copy of the first home's directory beside it, on other ports.
fn clone_of(party: &Party, name: &str) -> PathBuf {
    let home = &party.homes[0];
    let there = home.dir().parent().unwrap().join(name);
    copy(home.dir(), &there);
    let (old, new) = (home.ports(), Ports::free().unwrap());
    let config = there.join(home.config().file_name().unwrap());
    let mut settings = std::fs::read_to_string(&config).unwrap();
    for (old, new) in [(old.http, new.http), (old.p2p, new.p2p), (old.admin, new.admin)] {
        settings = settings.replace(&old.to_string(), &new.to_string());
    }
    let (here, beside) = (home.dir().to_str().unwrap(), there.to_str().unwrap());
    std::fs::write(&config, settings.replace(here, beside)).unwrap();
    config
}

/// Runs a node until it ends by itself: how, and what it said.
async fn until_it_ends(party: &Party, config: &Path) -> (ExitStatus, String) {
    let mut command = tokio::process::Command::new(party.homes[0].program().path());
    command.args(["serve", "--config"]).arg(config).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(WITHIN, command.output()).await;
    let output = ended.expect("it ends by itself").unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&said).into_owned())
}

async fn chat(party: &mut Party) -> uuid::Uuid {
    let (alice, _) = party.client(0, "alice").await;
    let (_bob, mut bob_hears) = party.client(1, "bob").await;
    let sent = say(&alice, "bob@globex.test", "hello").await;
    assert_eq!(text(&next_message(&mut bob_hears).await), "hello");
    alice.close().await;
    sent.channel
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_node_on_copies_of_one_directory_stops() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    chat(&mut party).await;
    // A copy of a running node's files: a later start than the original's.
    let config = clone_of(&party, "copy");
    let (status, said) = until_it_ends(&party, &config).await;
    assert!(!status.success());
    assert!(said.contains("another node runs on a copy of this directory"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    // A supervisor that starts it over and over, also while the original is away, does not make it the original.
    party.homes[0].stop().await.unwrap();
    for _ in 0..3 {
        let (status, said) = until_it_ends(&party, &config).await;
        assert!(!status.success());
        assert!(said.contains("was stopped for good"), "{said}");
        assert!(said.contains("displaced"), "it names the file: {said}");
    }
    party.homes[0].start().await.unwrap();
    // The original has noticed nothing.
    assert!(party.homes[0].ended().is_none());
    let (alice, _) = party.client(0, "alice").await;
    let (_bob, mut bob_hears) = party.client(1, "bob").await;
    say(&alice, "bob@globex.test", "still here").await;
    assert_eq!(text(&next_message(&mut bob_hears).await), "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_set_back_is_not_written_on() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    chat(&mut party).await;
    party.homes[0].stop().await.unwrap();
    let snapshot = party.homes[0].dir().parent().unwrap().join("snapshot");
    copy(party.homes[0].dir(), &snapshot);
    // It lives on, and is set back.
    party.homes[0].start().await.unwrap();
    chat(&mut party).await;
    party.homes[0].kill().await.unwrap();
    let there = party.homes[0].dir().to_owned();
    std::fs::remove_dir_all(&there).unwrap();
    copy(&snapshot, &there);
    // Globex has seen the later start, and has it on disk.
    party.homes[1].kill().await.unwrap();
    party.homes[1].start().await.unwrap();
    let config = party.homes[0].config();
    let (status, said) = until_it_ends(&party, &config).await;
    assert!(!status.success());
    assert!(said.contains("this directory was set back"), "{said}");
    assert!(said.contains("homing restore"), "it says what to do: {said}");

    // It is not started again, whatever is deleted: after a few starts its number would be the highest.
    let store = there.join("store");
    for start in 0..6 {
        let (status, said) = until_it_ends(&party, &config).await;
        assert!(!status.success());
        assert!(said.contains("was stopped for good"), "{start}: {said}");
        assert!(said.contains("homing restore FILE --force"), "{start}: {said}");
        if start == 0 {
            std::fs::remove_file(store.join("displaced")).unwrap();
        }
    }
    // Nor does a command change anything in it.
    let shut = party.homes[0].command(&["user", "disable", "alice"]).await;
    assert!(shut.unwrap_err().to_string().contains("was stopped for good"));

    // What it says helps.
    let file = there.parent().unwrap().join("behind.homing");
    let file = file.to_str().unwrap();
    party.homes[0].command(&["backup", file]).await.unwrap();
    party.homes[0].command(&["restore", file, "--force"]).await.unwrap();
    party.homes[0].forget_logins();
    party.homes[0].start().await.unwrap();
    chat(&mut party).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_directory_is_refused() {
    let party = Party::of(&["acme.test"]).await;
    // On other ports, so that nothing but the store can be in the way.
    let config = party.homes[0].config();
    let other = config.with_file_name("other.toml");
    let (old, new) = (party.homes[0].ports(), Ports::free().unwrap());
    let mut settings = std::fs::read_to_string(&config).unwrap();
    for (old, new) in [(old.http, new.http), (old.p2p, new.p2p), (old.admin, new.admin)] {
        settings = settings.replace(&old.to_string(), &new.to_string());
    }
    std::fs::write(&other, settings).unwrap();
    let (status, said) = until_it_ends(&party, &other).await;
    assert!(!status.success());
    assert!(said.contains("in use") || said.contains("locked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_let_in_again_without_delay() {
    let mut party = Party::of(&["acme.test", "globex.test"]).await;
    chat(&mut party).await;
    for _ in 0..3 {
        party.homes[0].kill().await.unwrap();
        party.homes[0].start().await.unwrap();
        chat(&mut party).await;
    }
}
