//! Groups at their size, cut in two, raced against, and without their home.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join_all, select_all};
use homing_client::{Client, Error, Event, Events, Message, Target, TextBody};
use homing_testnet::chaos::links::Links;
use homing_testnet::chaos::plan::LinkFault;
use homing_testnet::homes::{Home, PASSWORD};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::groups::{call, is, make, refused, send, until};
use crate::party::{Party, WITHIN, facts, history, next_message, text};

const HOMES: [&str; 5] = ["acme.test", "globex.test", "initech.test", "home4.test", "home5.test"];

/// Of each home; all of them together are as many as fit a group.
const PEOPLE: usize = 20;
/// All members together.
const MESSAGES_PER_S: u64 = 20;

/// Somebody who is online.
type Online = (Client, Events);

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_members_of_five_homes_all_have_the_same() {
    crowd(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute of talk: `just crowd`"]
async fn a_hundred_members_of_five_homes_talk_for_a_minute() {
    crowd(Duration::from_secs(60)).await;
}

async fn crowd(lasting: Duration) {
    let mut party = Party::of(&HOMES).await;
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("p{n}")).collect();
    let signed_in = party.homes.iter_mut().map(|home| everybody(home, &people));
    let all: Vec<Online> = join_all(signed_in).await.into_iter().flatten().collect();
    let addresses: Vec<String> = all.iter().map(|(client, _)| address(client)).collect();
    let others: Vec<&str> = addresses[1..].iter().map(String::as_str).collect();
    let group = make(&all[0].0, &others).await;
    let members = addresses.len();

    let joined = all.into_iter().map(|(client, mut events)| async move {
        // Everybody of the owner home is in it at once.
        let asked = |channel: &Value| channel["state"] != "request";
        if until(&client, &mut events, group, asked).await["state"] == "invited" {
            call(&client, "groups.join", json!({ "channel": group })).await;
        }
        let whole = |c: &Value| c["state"] == "active" && c["member_count"] == members;
        until(&client, &mut events, group, whole).await;
        (client, events)
    });
    let (clients, events): (Vec<Client>, Vec<Events>) = join_all(joined).await.into_iter().unzip();

    let count = MESSAGES_PER_S * lasting.as_secs();
    let share = |n: usize| (0..count).filter(|m| *m as usize % members == n).count();
    let listening: Vec<_> = events
        .into_iter()
        .enumerate()
        .map(|(n, events)| tokio::spawn(shown(events, count as usize - share(n), lasting + WITHIN)))
        .collect();
    let mut tick = tokio::time::interval(Duration::from_millis(1_000 / MESSAGES_PER_S));
    let mut answers = Vec::new();
    for number in 0..count {
        tick.tick().await;
        let client = &clients[number as usize % clients.len()];
        let words = format!("message {number}");
        let body = TextBody::new(&words);
        let id = Uuid::now_v7();
        answers.push(client.submit_message(Target::Channel(group), id, &body).await.unwrap());
    }
    let mut sent = BTreeSet::new();
    for answer in answers {
        let answer = answer.await.unwrap();
        sent.insert((answer.order, answer.id));
    }
    assert_eq!(sent.len() as u64, count);

    // Everybody was shown everything of the others, once.
    for ((n, listener), own) in listening.into_iter().enumerate().zip(&addresses) {
        let shown = listener.await.unwrap();
        let told: BTreeSet<_> = shown.iter().map(|m| (m.order.clone(), m.id)).collect();
        assert_eq!(told.len(), shown.len(), "{own} was shown something twice");
        assert!(told.is_subset(&sent), "{own} was shown what nobody sent");
        assert!(shown.iter().all(|m| m.sender != *own), "{own} was shown its own");
        assert_eq!(told.len(), count as usize - share(n), "{own}");
    }
    // And has the same, in the same order.
    let histories = join_all(clients.iter().map(|client| history(client, group))).await;
    let expected = facts(&histories[0]);
    let listed: BTreeSet<_> = expected.iter().map(|(order, id, ..)| (order.clone(), *id)).collect();
    assert_eq!(listed, sent);
    assert_eq!(expected.len(), sent.len(), "each once");
    for (messages, who) in histories.iter().zip(&addresses) {
        assert!(facts(messages) == expected, "{who} has another history than {}", addresses[0]);
        assert!(messages.iter().all(|m| m.status.is_none()), "{who}");
    }
    party.homes.stop_all().await.unwrap();
}

fn address(client: &Client) -> String {
    client.opened().user.address.clone()
}

async fn everybody(home: &mut Home, people: &[String]) -> Vec<Online> {
    let mut online = Vec::new();
    for person in people {
        online.push(home.client(person).await.unwrap());
    }
    online
}

/// The first so many messages that a client is shown, and whatever is there behind them.
async fn shown(mut events: Events, count: usize, within: Duration) -> Vec<Message> {
    let mut shown = Vec::new();
    let all = async {
        while shown.len() < count {
            match events.next().await {
                Some(Event::Message(message)) => shown.push(*message),
                Some(Event::Lost(error) | Event::Ended(error)) => panic!("{error}"),
                Some(_) => {}
                None => panic!("the session ended"),
            }
        }
    };
    let came = tokio::time::timeout(within, all).await;
    while let Some(event) = events.try_next() {
        if let Event::Message(message) = event {
            shown.push(*message);
        }
    }
    assert!(came.is_ok(), "{} of {count} messages were shown", shown.len());
    shown
}

/// What happens while the home of a member is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    /// The member is removed by the owner.
    Owner,
    /// Or by an admin of a third home.
    Admin,
    /// Somebody writes.
    Writes(usize),
}

/// In the tests of a removal: the owner, an admin elsewhere, whoever is removed, and somebody else of that home.
const PARTIES: [(usize, &str); 4] = [(0, "alice"), (1, "bob"), (2, "carol"), (2, "dan")];
const REMOVED: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_while_cut_off_is_heard_nowhere_else() {
    use Deed::{Admin, Owner, Writes};
    // A home that is found again is to be found soon.
    let environment = [("HOMING_LIMITS__BACKOFF_MAX_MS", "1000")];
    let (mut party, links) = Party::linked(&HOMES[..3], &environment).await;
    let mut people = Vec::new();
    for (home, who) in PARTIES {
        people.push(party.client(home, who).await);
    }
    let (refused, silent) = (LinkFault::Refused, LinkFault::Silent);
    let runs: [(LinkFault, &[Deed], &[usize]); 5] = [
        (refused, &[Owner, Writes(2), Writes(0), Writes(1), Writes(3)], &[0, 1]),
        (refused, &[Writes(2), Writes(3), Writes(0), Owner, Writes(2), Writes(1)], &[1, 0]),
        (silent, &[Writes(0), Admin, Writes(3), Writes(2), Writes(2), Writes(1)], &[0, 1]),
        (silent, &[Writes(3), Writes(2), Admin, Writes(1), Writes(2), Writes(3)], &[1, 0]),
        (refused, &[Writes(2), Writes(1), Writes(3), Writes(2), Writes(0), Owner], &[1, 0]),
    ];
    for (fault, deeds, healing) in runs {
        removal(&mut people, &links, fault, deeds, healing).await;
    }
    party.homes.stop_all().await.unwrap();
}

async fn removal(
    people: &mut [Online],
    links: &Links,
    fault: LinkFault,
    deeds: &[Deed],
    healing: &[usize],
) {
    let addresses: Vec<String> = people.iter().map(|(client, _)| address(client)).collect();
    let others: Vec<&str> = addresses[1..].iter().map(String::as_str).collect();
    let group = make(&people[0].0, &others).await;
    for (client, events) in &mut people[1..] {
        until(client, events, group, is("state", "invited")).await;
        call(client, "groups.join", json!({ "channel": group })).await;
    }
    for (client, events) in people.iter_mut() {
        until(client, events, group, |c| c["state"] == "active" && c["member_count"] == 4).await;
    }
    let roles = json!({ "channel": group, "roles": { addresses[1].as_str(): "admin" } });
    call(&people[0].0, "groups.update", roles).await;
    let (bob, bob_hears) = &mut people[1];
    until(bob, bob_hears, group, is("role", "admin")).await;
    // Of each a message that everybody has.
    let mut counts = BTreeSet::new();
    let mut late = BTreeSet::new();
    for (client, _) in people.iter() {
        counts.insert(say(client, group).await);
    }
    for (client, events) in people.iter_mut() {
        until_listed(client, events, group, &counts, &late).await;
    }

    for home in [0, 1] {
        links.set(home, 2, Some(fault));
    }
    for deed in deeds {
        let by = match deed {
            Deed::Writes(REMOVED) => {
                late.insert(say(&people[REMOVED].0, group).await);
                continue;
            }
            Deed::Writes(who) => {
                counts.insert(say(&people[*who].0, group).await);
                continue;
            }
            Deed::Owner => &people[0].0,
            Deed::Admin => &people[1].0,
        };
        let users = json!({ "channel": group, "users": [addresses[REMOVED].as_str()] });
        let changed = call(by, "groups.remove", users).await;
        assert_eq!(changed["results"][0]["ok"], true, "{changed}");
    }
    // At the end of that home's chain: where it has come, all before it has been looked at.
    counts.insert(say(&people[3].0, group).await);
    for home in healing {
        links.set(*home, 2, None);
    }

    let (carol, carol_hears) = &mut people[REMOVED];
    until(carol, carol_hears, group, is("state", "left")).await;
    for (n, (client, events)) in people.iter_mut().enumerate() {
        if n != REMOVED {
            let here = if n == 3 { late.clone() } else { BTreeSet::new() };
            until_listed(client, events, group, &counts, &here).await;
        }
    }
    counts.insert(say(&people[3].0, group).await);
    counts.insert(say(&people[0].0, group).await);
    for n in [0, 1, 3] {
        let (client, events) = &mut people[n];
        let here = if n == 3 { late.clone() } else { BTreeSet::new() };
        until_listed(client, events, group, &counts, &here).await;
    }
    let (alice, bob, carol, dan) = (&people[0].0, &people[1].0, &people[2].0, &people[3].0);
    let listed = facts(&history(alice, group).await);
    assert_eq!(listed, facts(&history(bob, group).await));
    let mut of_dan = history(dan, group).await;
    of_dan.retain(|message| !late.contains(&message.id));
    assert_eq!(listed, facts(&of_dan));
    for message in history(carol, group).await {
        let rejected = message.status.as_deref() == Some("rejected");
        assert_eq!(rejected, late.contains(&message.id), "{message:?}");
    }
    assert!(ids(&history(carol, group).await).is_superset(&late), "their writer is shown them");
}

async fn say(client: &Client, group: Uuid) -> Uuid {
    let id = Uuid::now_v7();
    client.send(Target::Channel(group), id, &TextBody::new("words")).await.unwrap();
    id
}

fn ids(messages: &[Message]) -> BTreeSet<Uuid> {
    messages.iter().map(|message| message.id).collect()
}

/// Until exactly these are listed, and exactly those as rejected.
async fn until_listed(
    client: &Client,
    events: &mut Events,
    group: Uuid,
    counts: &BTreeSet<Uuid>,
    rejected: &BTreeSet<Uuid>,
) {
    let mut listed = Vec::new();
    let found = async {
        loop {
            listed = history(client, group).await;
            let (no, yes): (Vec<Message>, Vec<Message>) =
                listed.iter().cloned().partition(|m| m.status.as_deref() == Some("rejected"));
            if ids(&yes) == *counts && ids(&no) == *rejected {
                return;
            }
            assert!(events.next().await.is_some(), "the session ended");
        }
    };
    if tokio::time::timeout(WITHIN, found).await.is_err() {
        panic!("{} lists {listed:#?}, not {counts:?} and rejected {rejected:?}", address(client));
    }
}

/// Groups that are made at once.
const ROUND: usize = 20;
/// Rounds in which whoever is invited blocks whoever invites.
const BLOCKS: usize = 8;
/// Rounds in which whoever is invited deletes the account. With the others: 200 races.
const DELETIONS: usize = 2;

/// Members as a home names them: role and state.
type Members = BTreeMap<String, (String, String)>;

/// A group, and whoever was invited into it and said no.
struct Race<'a> {
    group: Uuid,
    racer: &'a Client,
    /// By deleting the account, which then cannot be asked what it sees.
    deletes: bool,
    /// Before the group was made: then it has to be declined.
    before: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_races_its_invitation_leaves_all_homes_agreed() {
    let mut party = Party::of(&HOMES[..3]).await;
    let mut eyes = Vec::new();
    for (home, who) in [(0, "alice"), (1, "bob"), (2, "eve")] {
        eyes.push(party.client(home, who).await);
        if home > 0 {
            call(&eyes[home].0, "contacts.add", json!({ "user": "alice@acme.test" })).await;
        }
    }
    let names: Vec<String> = (0..ROUND * (1 + DELETIONS)).map(|n| format!("racer{n}")).collect();
    let racers: Vec<Client> = everybody(&mut party.homes[1], &names)
        .await
        .into_iter()
        .map(|(client, _)| client)
        .collect();
    let (blockers, mortals) = racers.split_at(ROUND);
    let mut all = Vec::new();
    for round in 0..BLOCKS + DELETIONS {
        let deletes = round >= BLOCKS;
        let racing = if deletes { &mortals[(round - BLOCKS) * ROUND..][..ROUND] } else { blockers };
        let alice = &eyes[0].0;
        let run = racing.iter().enumerate().map(|(n, racer)| race(alice, racer, n, deletes));
        let races = join_all(run).await;
        until_agreed(&mut eyes, &races).await;
        if !deletes {
            let unblocked = racing
                .iter()
                .map(|racer| call(racer, "blocks.remove", json!({ "user": "alice@acme.test" })));
            join_all(unblocked).await;
        }
        all.extend(races);
    }
    assert_eq!(all.len(), 200);
    until_agreed(&mut eyes, &all).await;
    party.homes.stop_all().await.unwrap();
}

/// Invitation and answer in every order: the one when the other is done, or both at once.
async fn race<'a>(alice: &Client, racer: &'a Client, n: usize, deletes: bool) -> Race<'a> {
    let who = address(racer);
    let asked = ["bob@globex.test", "eve@initech.test", who.as_str()];
    let invite = make(alice, &asked);
    let answer = async {
        if deletes {
            racer.delete_account(PASSWORD).await.unwrap();
        } else {
            call(racer, "blocks.add", json!({ "user": "alice@acme.test" })).await;
        }
    };
    let before = n % 4 == 1;
    let group = match n % 4 {
        0 => {
            let group = invite.await;
            answer.await;
            group
        }
        1 => {
            answer.await;
            invite.await
        }
        _ => tokio::join!(invite, answer).0,
    };
    Race { group, racer, deletes, before }
}

/// Until all homes say the same of each group.
async fn until_agreed(eyes: &mut [Online], races: &[Race<'_>]) {
    let mut open: Vec<&Race<'_>> = races.iter().collect();
    let mut last = String::new();
    let settled = async {
        loop {
            let mut still = Vec::new();
            for race in open.drain(..) {
                if let Err(why) = agreed(eyes, race).await {
                    last = why;
                    still.push(race);
                }
            }
            open = still;
            if open.is_empty() {
                return;
            }
            let next = eyes.iter_mut().map(|(_, events)| Box::pin(events.next()));
            assert!(select_all(next).await.0.is_some(), "a session ended");
            for (_, events) in eyes.iter_mut() {
                while events.try_next().is_some() {}
            }
        }
    };
    let done = tokio::time::timeout(WITHIN, settled).await.is_ok();
    assert!(done, "homes do not agree, or not to what they must: {last}");
}

/// Whether all homes say the same; else how they differ.
async fn agreed(eyes: &[Online], race: &Race<'_>) -> Result<(), String> {
    let mut seen = Vec::<Members>::new();
    for (client, _) in eyes {
        seen.push(members(client, race.group).await.ok_or("somebody is not in it yet")?);
    }
    let who = address(race.racer);
    let state_of = |user: &str| seen[0].get(user).map(|(_, state)| state.as_str());
    let others = ["bob@globex.test", "eve@initech.test"].map(state_of);
    if others != [Some("active"); 2] || seen.iter().any(|members| *members != seen[0]) {
        return Err(format!("{seen:?}"));
    }
    let state = state_of(&who);
    assert!(state != Some("active"), "{who} has not agreed");
    if (race.before || race.deletes) && state.is_some() {
        return Err(format!("{who} had said no before, or is not there any more: {seen:?}"));
    }
    if race.deletes {
        return Ok(());
    }
    let params = json!({ "channel": race.group });
    let own = match race.racer.call::<Value, Value>("channels.get", &params).await {
        Ok(channel) => channel["state"].as_str().map(str::to_owned),
        Err(Error::Refused(refusal)) if refusal.reason == "channel_not_found" => None,
        Err(error) => panic!("{error}"),
    };
    match (state, own.as_deref()) {
        (Some("invited"), Some("invited")) | (None, None | Some("left")) => Ok(()),
        _ => Err(format!("{who} is {state:?} by the roster, and {own:?} at the own home")),
    }
}

async fn members(client: &Client, group: Uuid) -> Option<Members> {
    let params = json!({ "channel": group });
    let page = client.call::<Value, Value>("groups.members", &params).await.ok()?;
    let word = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = page["members"].as_array()?;
    Some(rows.iter().map(|r| (word(r, "user"), (word(r, "role"), word(r, "state")))).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_home_a_group_goes_on_and_can_be_declined_and_left() {
    let mut party = Party::of(&HOMES[..3]).await;
    let (alice, _) = party.client(0, "alice").await;
    let (bob, mut bob_hears) = party.client(1, "bob").await;
    let (carol, mut carol_hears) = party.client(2, "carol").await;
    let (dan, mut dan_hears) = party.client(2, "dan").await;
    let group = make(&alice, &["bob@globex.test", "carol@initech.test", "dan@initech.test"]).await;
    for (client, events) in [(&bob, &mut bob_hears), (&carol, &mut carol_hears)] {
        until(client, events, group, is("state", "invited")).await;
        call(client, "groups.join", json!({ "channel": group })).await;
    }
    for (client, events) in [(&bob, &mut bob_hears), (&carol, &mut carol_hears)] {
        until(client, events, group, |c| c["state"] == "active" && c["member_count"] == 3).await;
    }
    until(&dan, &mut dan_hears, group, is("state", "invited")).await;
    alice.close().await;
    party.homes[0].kill().await.unwrap();

    // It cannot be joined any more, and can be declined.
    call(&dan, "groups.leave", json!({ "channel": group })).await;
    assert_eq!(invitations(&dan).await, Vec::<Uuid>::new());
    let late = refused(&dan, "groups.join", json!({ "channel": group })).await;
    assert!(late.0 == "left" || late.0 == "channel_not_found", "{late:?}");

    send(&carol, group, "it is gone").await;
    assert_eq!(text(&next_message(&mut bob_hears).await), "it is gone");
    send(&bob, group, "we go on").await;
    assert_eq!(text(&next_message(&mut carol_hears).await), "we go on");
    assert_eq!(facts(&history(&bob, group).await), facts(&history(&carol, group).await));

    // What was declined stays so, whatever the home of the user goes through.
    party.homes[2].kill().await.unwrap();
    party.homes[2].start().await.unwrap();
    let (dan, _) = party.client(2, "dan").await;
    assert_eq!(invitations(&dan).await, Vec::<Uuid>::new());
    let (carol, mut carol_hears) = party.client(2, "carol").await;
    send(&bob, group, "still here").await;
    assert_eq!(text(&next_message(&mut carol_hears).await), "still here");

    call(&carol, "groups.leave", json!({ "channel": group })).await;
    until(&carol, &mut carol_hears, group, is("state", "left")).await;
    let words = json!({ "channel": group, "body": { "type": "text", "text": "x" } });
    assert_eq!(refused(&carol, "messages.send", words).await.0, "left");
    send(&bob, group, "not for carol").await;
    call(&bob, "groups.leave", json!({ "channel": group })).await;
    until(&bob, &mut bob_hears, group, is("state", "left")).await;
    let words: Vec<String> = history(&carol, group).await.iter().map(text).collect();
    assert_eq!(words, ["it is gone", "we go on", "still here"]);
}

/// Groups that wait for the user's answer.
async fn invitations(client: &Client) -> Vec<Uuid> {
    let page = call(client, "channels.list", json!({})).await;
    let waits = |channel: &&Value| channel["state"] == "invited";
    let rows = page["channels"].as_array().unwrap();
    rows.iter().filter(waits).map(|c| c["channel"].as_str().unwrap().parse().unwrap()).collect()
}
