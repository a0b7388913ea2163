//! When the harm is over: everything that is owed arrives, and what each home holds is read.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Context as _;
use homing_client::{Channel, Client, Error, Message, Options, Uuid};
use serde::Deserialize;
use tokio::time::Instant;

use super::board::Board;
use super::check::{BodyHash, Broken, Entry, Finding};
use super::people::{Goal, Person};
use crate::homes::Home;

/// Where nothing moves for so long, nothing will: longer than back-off, than dead clients' waits, and than what a home
/// leaves alone that was stamped ahead of time.
pub(super) const PATIENCE: Duration = Duration::from_secs(100);

/// How often homes are asked what they owe.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// The most a home puts on a page.
const PAGE: u32 = 200;

/// A line of `peer queue --json`.
#[derive(Debug, Deserialize)]
struct Owed {
    home: String,
    events: u64,
    marks: u64,
    #[serde(default)]
    why: String,
}

/// Until no home owes another anything. `false`: for [`PATIENCE`] nothing has moved; the findings say what.
pub(super) async fn nothing_owed(board: &Board, homes: &[Home]) -> anyhow::Result<bool> {
    let mut before = None;
    let mut moved = Instant::now();
    loop {
        let mut rows = Vec::new();
        for home in homes {
            let said = home.command(&["peer", "queue", "--json"]).await?;
            for line in said.lines() {
                let owed: Owed = serde_json::from_str(line).context("peer queue --json")?;
                rows.push((home.name(), owed));
            }
        }
        if rows.is_empty() {
            return Ok(true);
        }
        let owed: u64 = rows.iter().map(|(_, owed)| owed.events + owed.marks).sum();
        let now = Some((owed, board.figures.shown.read(), board.figures.answered.read()));
        if now != before {
            (before, moved) = (now, Instant::now());
        } else if moved.elapsed() > PATIENCE {
            for (home, Owed { home: to, events, marks, why }) in rows {
                let what = format!(
                    "owes {to} {events} messages and {marks} marks, and nothing moves: {why}"
                );
                let mut finding = Finding::trouble(home, what);
                finding.homes.push(to);
                board.found(finding);
            }
            return Ok(false);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What a home lists for one person in the end.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) histories: HashMap<Uuid, Vec<Entry>>,
    /// Entries that the node itself wrote, by type: for this home's eyes alone.
    pub(super) notices: BTreeMap<String, u64>,
}

impl Lists {
    /// How far a client of this person has to get.
    pub(super) fn goal(&self) -> Goal {
        let last = |entries: &Vec<Entry>| entries.iter().map(|entry| entry.pos).max();
        self.histories.iter().filter_map(|(channel, h)| Some((*channel, last(h)?))).collect()
    }
}

/// Reads all channels of a person, and holds the counts on them against what they count.
pub(super) async fn lists(board: &Board, person: &Person) -> anyhow::Result<Lists> {
    let (client, _no_notifications) = sign_in(person).await?;
    let mut lists = Lists::default();
    let me = person.address();
    for channel in client.all_channels().await? {
        let mut entries = Vec::new();
        for message in history(&client, channel.channel).await? {
            match notice(&message) {
                Some(kind) => *lists.notices.entry(kind).or_default() += 1,
                None => entries.push(Entry {
                    pos: message.pos,
                    order: message.order,
                    id: message.id,
                    sender: message.sender,
                    body: BodyHash::of(message.body.get()),
                }),
            }
        }
        // Entries of the node itself count in `head`, not in what is unread.
        let has_notices = !lists.notices.is_empty();
        counts_are_right(board, person, &me, &channel, &entries, has_notices);
        if channel.head > 0 {
            client.mark_read(channel.channel, channel.head).await?;
            let now = client.channel(channel.channel).await?;
            if (now.unread, now.read) != (0, now.head) {
                let what = format!(
                    "all was marked read for {me}, and unread is {} with read {} of {}",
                    now.unread, now.read, now.head
                );
                board.found(about(person, &channel, what));
            }
        }
        lists.histories.insert(channel.channel, entries);
    }
    client.close().await;
    Ok(lists)
}

fn counts_are_right(
    board: &Board,
    person: &Person,
    me: &str,
    channel: &Channel,
    entries: &[Entry],
    has_notices: bool,
) {
    let last = entries.last().map_or(0, |entry| entry.pos);
    if channel.head < last || (channel.head > last && !has_notices) {
        let what = format!("head is {} and the last message's pos {last}", channel.head);
        board.found(about(person, channel, what));
    }
    if channel.read > channel.head {
        let what = format!("read is {} and head {}", channel.read, channel.head);
        board.found(about(person, channel, what));
    }
    let unread = entries.iter().filter(|e| e.sender != me && e.pos > channel.read).count() as u64;
    if channel.unread != unread {
        let what = format!(
            "unread is {} for {me}, and {unread} messages of others stand above {}",
            channel.unread, channel.read
        );
        board.found(about(person, channel, what));
    }
}

fn about(person: &Person, channel: &Channel, what: String) -> Finding {
    Finding {
        broken: Broken::Diverged,
        channel: Some(channel.channel),
        id: None,
        homes: vec![person.home_name.clone()],
        what,
    }
}

/// What the node itself says in a channel.
fn notice(message: &Message) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        notice: Option<String>,
    }
    let body: Body = serde_json::from_str(message.body.get()).ok()?;
    (body.kind == "notice").then(|| body.notice.unwrap_or(body.kind))
}

async fn history(client: &Client, channel: Uuid) -> Result<Vec<Message>, Error> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page = client.messages_after(channel, after, PAGE).await?;
        all.extend(page.messages);
        if !page.more {
            return Ok(all);
        }
        if page.next <= after {
            return Err(Error::Garbled(format!("a page after {after} that does not go on")));
        }
        after = page.next;
    }
}

async fn sign_in(person: &Person) -> anyhow::Result<(Client, homing_client::Events)> {
    let token = person.log_in().await.token;
    let connecting = Client::connect(Options::new(person.server.clone(), token));
    connecting.await.with_context(|| person.address())
}

/// What a home's log says that no log should: it panicked somewhere.
pub(super) fn panics(home: &Home) -> Vec<String> {
    let log = std::fs::read(home.log()).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    text.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
}
