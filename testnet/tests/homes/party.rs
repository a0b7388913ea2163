//! What the tests share: homes in a directory of their own, and people who talk.

use std::process::Stdio;
use std::time::Duration;

use homing_client::{Client, Error, Event, Events, Message, Refusal, TextBody};
use homing_testnet::chaos::links::Links;
use homing_testnet::homes::{Homes, Program};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

/// An awaited event comes within this time, or the test has found something. Generous: machines are busy.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Homes that know each other, started.
pub(crate) struct Party {
    pub(crate) homes: Homes,
    _dir: tempfile::TempDir,
}

impl Party {
    pub(crate) async fn of(names: &[&str]) -> Self {
        Self::with(names, &[]).await
    }

    pub(crate) async fn with(names: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut party = Self::made(names, environment).await;
        party.homes.start_all().await.unwrap();
        party
    }

    /// Homes that know each other, with that below their configuration.
    pub(crate) async fn configured(
        names: &[&str],
        environment: &[(&str, &str)],
        more: &str,
    ) -> Self {
        let mut party = Self::made(names, environment).await;
        for home in party.homes.iter() {
            let text = std::fs::read_to_string(home.config()).unwrap();
            std::fs::write(home.config(), text + more).unwrap();
        }
        party.homes.start_all().await.unwrap();
        party
    }

    /// Homes that reach each other through links that can be cut.
    pub(crate) async fn linked(names: &[&str], environment: &[(&str, &str)]) -> (Self, Links) {
        let mut party = Self::made(names, environment).await;
        let ports: Vec<u16> = party.homes.iter().map(|home| home.ports().p2p).collect();
        let links = Links::between(&ports).await.unwrap();
        for (from, home) in party.homes.iter().enumerate() {
            let others = party.homes.iter().enumerate();
            let others = others.filter_map(|(to, other)| Some((other, links.port(from, to)?)));
            home.write_settings_through(others).unwrap();
        }
        party.homes.start_all().await.unwrap();
        (party, links)
    }

    async fn made(names: &[&str], environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut program = Program::find(None).expect("run `cargo build --bins` first");
        for (name, value) in environment {
            program = program.with_env(name, value);
        }
        let homes = Homes::make(program, dir.path(), names, None).await.unwrap();
        Self { homes, _dir: dir }
    }

    /// A signed-in client of a user of the `home`th home.
    pub(crate) async fn client(&mut self, home: usize, user: &str) -> (Client, Events) {
        self.homes[home].client(user).await.unwrap()
    }

    /// `homing client …` as a user of the `home`th home types it, with a profile of the user's own.
    pub(crate) async fn typed(
        &self,
        home: usize,
        user: &str,
        words: &[&str],
        input: &str,
    ) -> Typed {
        let home = &self.homes[home];
        let mut child = tokio::process::Command::new(home.program().path())
            .args(["client", "--server", &home.ready().unwrap().http, "--profile", user])
            .args(words)
            .env("HOMING_PROFILE_DIR", home.dir().join("profiles"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let done = tokio::time::timeout(WITHIN, child.wait_with_output()).await;
        let done = done.expect("the command does not end").unwrap();
        Typed {
            code: done.status.code().unwrap(),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }
}

/// The next event that `wanted` makes something of.
pub(crate) async fn next<T>(events: &mut Events, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
    let found = async {
        loop {
            match events.next().await {
                Some(event) => {
                    if let Some(found) = wanted(&event) {
                        return found;
                    }
                }
                None => panic!("the session ended"),
            }
        }
    };
    tokio::time::timeout(WITHIN, found).await.expect("the awaited event did not come")
}

/// The next message.
pub(crate) async fn next_message(events: &mut Events) -> Message {
    next(events, |event| match event {
        Event::Message(message) => Some((**message).clone()),
        _ => None,
    })
    .await
}

/// Says something to somebody; the answer's place in the history.
pub(crate) async fn say(client: &Client, to: &str, text: &str) -> homing_client::Sent {
    let told = async {
        loop {
            match client.send_to(to, &TextBody::new(text)).await {
                // Nothing was stored; a client comes again when it is told to.
                Err(Error::Refused(Refusal { retry_after: Some(after), .. })) => {
                    tokio::time::sleep(after).await;
                }
                sent => return sent.unwrap(),
            }
        }
    };
    tokio::time::timeout(WITHIN, told).await.expect("the home stays busy")
}

/// The text of a message.
pub(crate) fn text(message: &Message) -> String {
    let body: serde_json::Value = serde_json::from_str(message.body.get()).unwrap();
    body["text"].as_str().unwrap_or_default().to_owned()
}

/// Everything in a channel, page by page.
pub(crate) async fn history(client: &Client, channel: Uuid) -> Vec<Message> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page = client.messages_after(channel, after, 200).await.unwrap();
        all.extend(page.messages);
        if !page.more {
            return all;
        }
        assert!(page.next > after, "a page that does not go on");
        after = page.next;
    }
}

/// What two homes must agree on, message by message.
pub(crate) fn facts(messages: &[Message]) -> Vec<(String, Uuid, String, String)> {
    let mut facts: Vec<_> = messages
        .iter()
        .map(|m| (m.order.clone(), m.id, m.sender.clone(), m.body.get().to_owned()))
        .collect();
    facts.sort();
    facts
}
