//! Groups that are told by gossip: the same as without, at less cost to who tells.

use bytes::Bytes;
use homing_client::{Client, Events};
use homing_net::{NetEvent, TopicName, Verdict};
use homing_testnet::homes::Home;
use serde_json::json;
use uuid::Uuid;

use crate::groups::{call, is, make, send, until};
use crate::hostile::{Liar, counted};
use crate::party::{Party, WITHIN, facts, history, next_message, text};

const HOMES: [&str; 4] = ["acme.test", "globex.test", "initech.test", "umbrella.test"];
/// Homes tell by gossip from three homes on, and wait long enough for a machine that is busy.
const BY_GOSSIP: [(&str, &str); 2] =
    [("HOMING_GROUPS__GOSSIP_FROM", "3"), ("HOMING_GROUPS__GOSSIP_WAIT_MS", "20000")];
const EVENTS_OUT: &str = "homing_gossip_events_out_total";
const EVENTS_IN: &str = "homing_gossip_events_in_total";
const DELIVERED: &str = "homing_gossip_delivered_total";
const MISSED: &str = "homing_gossip_missed_total";
const STREAMED: &str = "homing_relay_events_out_total";

/// A group of one user of each home, and what they hear.
struct Group {
    party: Party,
    id: Uuid,
    people: Vec<(Client, Events)>,
}

impl Group {
    async fn of(names: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut party = Party::with(names, settings).await;
        let mut people = Vec::new();
        for home in 0..names.len() {
            people.push(party.client(home, "ann").await);
        }
        let others: Vec<String> = names[1..].iter().map(|name| format!("ann@{name}")).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let id = make(&people[0].0, &others).await;
        for (client, events) in &mut people[1..] {
            until(client, events, id, is("state", "invited")).await;
            call(client, "groups.join", json!({ "channel": id })).await;
            until(client, events, id, is("state", "active")).await;
        }
        for (client, events) in &mut people {
            until(client, events, id, |channel| channel["member_count"] == names.len()).await;
        }
        Self { party, id, people }
    }

    fn home(&self, home: usize) -> &Home {
        &self.party.homes[home]
    }

    /// One says something, and all others hear it next.
    async fn says(&mut self, who: usize, words: &str) {
        send(&self.people[who].0, self.id, words).await;
        for (at, (_, events)) in self.people.iter_mut().enumerate() {
            if at != who {
                assert_eq!(text(&next_message(events).await), words, "at home {at}");
            }
        }
    }

    /// Talks until what is said goes by gossip to all others: keys are dealt and topics joined with the first words.
    /// Each word is acknowledged by all before the next.
    async fn warm(&mut self, who: usize) {
        let talk = async {
            for n in 0.. {
                let others = self.people.len() - 1;
                let before = counted(self.home(who), DELIVERED).await;
                let streamed = counted(self.home(who), STREAMED).await;
                self.says(who, &format!("warming up {n}")).await;
                // Told one way or the other, each home once.
                let mut by_gossip = 0.0;
                loop {
                    let now = counted(self.home(who), DELIVERED).await - before;
                    let by_stream = counted(self.home(who), STREAMED).await - streamed;
                    if now + by_stream >= others as f64 {
                        by_gossip = now.max(by_gossip);
                        break;
                    }
                }
                if by_gossip >= others as f64 {
                    return;
                }
            }
        };
        tokio::time::timeout(WITHIN, talk).await.expect("gossip does not begin");
    }

    async fn words(&self, home: usize) -> Vec<String> {
        history(&self.people[home].0, self.id).await.iter().map(text).collect()
    }
}

/// Until a counter of a home stands at least there.
pub(crate) async fn reaches(home: &Home, name: &str, least: f64) {
    let reached = async { while counted(home, name).await < least {} };
    tokio::time::timeout(WITHIN, reached).await.unwrap_or_else(|_| panic!("{name} stays low"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wide_group_is_told_by_gossip_and_streams_carry_nothing() {
    let mut group = Group::of(&HOMES, &BY_GOSSIP).await;
    group.warm(0).await;
    let acme = group.home(0);
    let (streamed, told, delivered) = (
        counted(acme, STREAMED).await,
        counted(acme, EVENTS_OUT).await,
        counted(acme, DELIVERED).await,
    );
    for n in 0..10 {
        group.says(0, &format!("number {n}")).await;
    }
    let acme = group.home(0);
    reaches(acme, DELIVERED, delivered + 3.0).await;
    let missed = counted(acme, MISSED).await;
    assert!(counted(acme, EVENTS_OUT).await >= told + 10.0, "each was published");
    // Words that overtake each other leave a gap, and the stream follows: that is allowed, and rare.
    let carried = counted(acme, STREAMED).await - streamed;
    assert!(carried <= 6.0, "of thirty, the streams carried {carried}; {missed} homes missed some");
    let heard = counted(group.home(1), EVENTS_IN).await;
    assert!(heard >= 8.0, "globex heard {heard}");

    // Others tell as well; everywhere the same, once, in its order.
    group.warm(2).await;
    let all = facts(&history(&group.people[0].0, group.id).await);
    for (client, _) in &group.people[1..] {
        assert_eq!(facts(&history(client, group.id).await), all);
    }
    let words = group.words(3).await;
    let numbers: Vec<&String> = words.iter().filter(|words| words.starts_with("number")).collect();
    assert_eq!(numbers.len(), 10);
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_gets_it_by_the_stream_and_who_has_left_gets_nothing() {
    let mut group = Group::of(&HOMES, &BY_GOSSIP).await;
    group.warm(0).await;

    // One home stops. The others go on by gossip.
    let (umbrella, _) = group.people.pop().unwrap();
    umbrella.close().await;
    group.party.homes[3].stop().await.unwrap();
    group.says(0, "while you were away").await;
    group.warm(0).await;
    group.party.homes[3].start().await.unwrap();
    let (client, mut hears) = group.party.client(3, "ann").await;
    let all = facts(&history(&group.people[0].0, group.id).await);
    let same = async {
        while facts(&history(&client, group.id).await) != all {
            assert!(hears.next().await.is_some(), "the session ended");
        }
    };
    tokio::time::timeout(WITHIN, same).await.expect("it does not catch up");
    // Anew, so that it hears what is said from now on.
    let back = group.party.client(3, "ann").await;
    group.people.push(back);
    group.warm(0).await;

    // One is removed: it gets no key for what comes after, and opens nothing.
    let params = json!({ "channel": group.id, "users": [format!("ann@{}", HOMES[3])] });
    call(&group.people[0].0, "groups.remove", params).await;
    let (gone, mut hears) = group.people.pop().unwrap();
    until(&gone, &mut hears, group.id, is("state", "left")).await;
    for (client, events) in &mut group.people {
        until(client, events, group.id, |channel| channel["member_count"] == 3).await;
    }
    let heard = counted(group.home(3), EVENTS_IN).await;
    let before = facts(&history(&gone, group.id).await);
    group.says(0, "without you").await;
    group.warm(0).await;
    assert_eq!(counted(group.home(3), EVENTS_IN).await, heard);
    assert_eq!(facts(&history(&gone, group.id).await), before);
}

/// It is connected, and on the topic, and says nothing: it is waited for once, and then owed by its stream.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_that_it_heard_is_owed_by_its_stream() {
    let mut group = Group::of(&HOMES, &[BY_GOSSIP[0]]).await;
    group.warm(0).await;
    let missed = counted(group.home(0), MISSED).await;
    group.home(3).freeze(true).unwrap();
    let (frozen, mut hears) = group.people.pop().unwrap();
    group.says(0, "can you hear me?").await;
    reaches(group.home(0), MISSED, missed + 1.0).await;
    group.says(0, "hello?").await;
    group.home(3).freeze(false).unwrap();
    for words in ["can you hear me?", "hello?"] {
        assert_eq!(text(&next_message(&mut hears).await), words);
    }
    let all = facts(&history(&group.people[0].0, group.id).await);
    assert_eq!(facts(&history(&frozen, group.id).await), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_gossip_off_it_is_the_same() {
    let mut group = Group::of(&HOMES, &[("HOMING_GROUPS__GOSSIP_FROM", "0")]).await;
    for n in 0..5 {
        group.says(n % 4, &format!("number {n}")).await;
    }
    for home in 0..4 {
        assert_eq!(group.words(home).await.len(), 5);
        assert_eq!(counted(group.home(home), EVENTS_OUT).await, 0.0);
        assert_eq!(counted(group.home(home), "homing_gossip_topics").await, 0.0);
    }
}

/// A stranger who knows the group's id, and so its topic, listens and publishes.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_on_the_topic_changes_nothing() {
    let mut group = Group::of(&HOMES, &BY_GOSSIP).await;
    group.warm(0).await;
    let mut liar = Liar::claiming("liar.test");
    for home in 0..HOMES.len() {
        let ready = group.home(home).ready().unwrap().clone();
        liar.approach(&ready.home_id, &ready.p2p).await;
    }
    // Around midnight there are two; it is on the one that is told on.
    let day = now_ms() / 86_400_000;
    let mut hasher =
        blake3::Hasher::new_derive_key("homing 2026-11 gossip topic of a group for a day");
    hasher.update(group.id.as_bytes()).update(&day.to_be_bytes());
    let topic = TopicName(*hasher.finalize().as_bytes());
    liar.net.join_topic(topic).await.unwrap();
    let meshed = async { while liar.net.topic_peers(topic).await.joined < HOMES.len() {} };
    tokio::time::timeout(WITHIN, meshed).await.expect("it is not let in");

    group.says(0, "is somebody listening?").await;
    let (payload, message) = liar
        .next(|event| match event {
            NetEvent::Gossip { payload, message, .. } => Some((payload, message)),
            _ => None,
        })
        .await;
    liar.net.judge(message, Verdict::Ignore).await;
    let words = b"is somebody listening?";
    assert!(!payload.windows(words.len()).any(|at| at == words), "what it hears is sealed");

    let mut bent = payload.to_vec();
    *bent.last_mut().unwrap() ^= 1;
    for rubbish in [Bytes::from_static(b"rubbish"), bent.into()] {
        liar.net.publish(topic, rubbish).await.unwrap();
    }
    // They come to whoever is in its mesh: three of four at least.
    let ignored = |reason: &str| format!("homing_gossip_ignored_total{{reason=\"{reason}\"}}");
    let noticed = async {
        loop {
            let mut seen = [0.0, 0.0];
            for home in 0..HOMES.len() {
                seen[0] += counted(group.home(home), &ignored("no_envelope")).await;
                seen[1] += counted(group.home(home), &ignored("undecryptable")).await;
            }
            if seen[0] > 0.0 && seen[1] > 0.0 {
                return;
            }
        }
    };
    tokio::time::timeout(WITHIN, noticed).await.expect("nobody got it");
    group.says(1, "never mind").await;
    let all = facts(&history(&group.people[0].0, group.id).await);
    for (client, _) in &group.people[1..] {
        assert_eq!(facts(&history(client, group.id).await), all);
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
