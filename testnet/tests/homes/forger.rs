//! A home that others trust, and that forges what groups rest on: rosters of others, its own of yesterday, two of one
//! version, and words of people who are out.
//!
//! Whatever it brings is in order but for the one thing that it is to be refused for.

mod home;

use data_encoding::BASE64;
use homing_client::{Client, Event as Told, Events};
use homing_net::NetEvent;
use homing_wire::proto::relay::v1 as pb;
use homing_wire::{ChannelId, Epoch, HomeRecord, Role, Roster, Signs, UserRef};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::gossip::reaches;
use crate::groups::{call, is, make, send, until};
use crate::hostile::{Liar, counted};
use crate::party::{Party, facts, history, next, next_message, say, text};
use home::{Forger, InTheNameOf, begins, ends, next_of, roster_frame};

const HOMES: [&str; 2] = ["acme.test", "globex.test"];
const ACME: usize = 0;
const GLOBEX: usize = 1;
const BOTH: [usize; 2] = [ACME, GLOBEX];
const NOT_FOLLOWED: &str = "homing_rosters_not_followed_total";

/// Signed by the forger for a group of acme's: with all that goes to show whose it is, true and false.
#[tokio::test(flavor = "multi_thread")]
async fn a_roster_that_the_groups_home_has_not_signed_is_not_followed() {
    let mut scene = Scene::begin().await;
    let (eve, mallory) = (scene.forger.user("eve"), scene.forger.user("mallory"));
    let (alice, bob) = (scene.user(ACME, "alice"), scene.user(GLOBEX, "bob"));
    let group = scene.group_of_alice(&["eve"]).await;
    scene.talk(group, "before").await;
    let before = scene.shown(group).await;
    let held = scene.forger.newest(ChannelId(group), |_| true).await;

    // What eve would like: bob is out, she and mallory are in power.
    let wish = next_of(held.roster(), |roster| {
        roster.name = "of eve".to_owned();
        for user in [&bob, &eve] {
            ends(roster, user);
        }
        for user in [&eve, &mallory] {
            begins(roster, user, Role::Admin, &alice);
        }
    });
    let taken_over = next_of(held.roster(), |roster| {
        roster.owner = scene.forger.liar.id;
        for user in [&alice, &bob, &eve] {
            ends(roster, user);
        }
        begins(roster, &eve, Role::Owner, &eve);
    });
    let (own, acmes) = (scene.forger.liar.record.clone(), scene.forger.records[ACME].clone());
    let key = &scene.forger.liar.key;
    let keys_of_acme = HomeRecord::verify(&acmes).unwrap().signing_keys;
    let taken_over = taken_over.sign(key, own.clone());
    let told_apart = [
        ("roster_record", wish.clone().sign(key, own), 1.0),
        ("roster_signature", wish.clone().sign(key, acmes.clone()), 1.0),
        ("roster_signature", wish.clone().sign(&InTheNameOf(keys_of_acme[0], key), acmes), 2.0),
    ];
    let by_mallory = scene.forger.writes(group, "mallory", wish.version, "obey");

    for home in BOTH {
        // By a home that makes itself the group's own it is no fault: of two that say so nobody knows whose it is.
        scene.forger.shows(home, &taken_over).await;
        assert_eq!(scene.counted(home, NOT_FOLLOWED).await, 1.0);
        let answer = scene.forger.tells(home, &by_mallory).await;
        assert!(answer.need_roster, "words under a version that nobody has: {answer:?}");
        for (reason, signed, count) in &told_apart {
            scene.forger.gives(home, roster_frame(signed)).await;
            scene.at_fault(home, reason, *count).await;
        }
        // Three faults, and it is out.
        let acme_or_globex = scene.forger.homes[home];
        let cut = |event| match event {
            NetEvent::PeerDown { home, .. } => (home == acme_or_globex).then_some(()),
            _ => None,
        };
        scene.forger.liar.next(cut).await;
    }
    assert_eq!(scene.shown(group).await, before);
    scene.talk(group, "after").await;
    scene.end(group, &["before", "before", "after", "after"]).await;
}

/// Rosters that were true once: of before carol was removed, when the group had another name.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_roster_that_comes_again_changes_nothing() {
    let mut scene = Scene::begin().await;
    let carol = scene.user(GLOBEX, "carol");
    let (client, mut hears) = scene.party.client(GLOBEX, "carol").await;
    call(&client, "contacts.add", json!({ "user": "eve@forger.test" })).await;
    let first = scene.founded_by_eve(&[&carol]).await;
    let group = first.group.0;
    until(&client, &mut hears, group, is("state", "active")).await;
    let second = next_of(&first, |roster| roster.name = "best friends".to_owned());
    let third = next_of(&second, |roster| ends(roster, &carol));
    let old = [first, second.clone()].map(|roster| scene.forger.signs(roster));
    for home in BOTH {
        for roster in [&second, &third] {
            scene.forger.follows(home, roster).await;
        }
    }
    until(&client, &mut hears, group, is("state", "left")).await;
    scene.stand_at(group, third.version).await;
    let before = scene.shown(group).await;
    scene.talk(group, "without carol").await;

    for home in BOTH {
        for signed in [&old[0], &old[1], &old[0]] {
            scene.forger.shows(home, signed).await;
        }
        assert_eq!(scene.counted(home, NOT_FOLLOWED).await, 3.0);
        assert_eq!(scene.counted(home, &fault("roster_fork")).await, 0.0, "it was true once");
    }
    assert_eq!(scene.shown(group).await, before);
    let channel = call(&client, "channels.get", json!({ "channel": group })).await;
    assert_eq!(channel["state"], "left");
    scene.talk(group, "still without carol").await;
    assert!(history(&client, group).await.is_empty());

    // And what comes next is followed as ever.
    let fourth = next_of(&third, |roster| roster.name = "the best".to_owned());
    for home in BOTH {
        scene.forger.follows(home, &fourth).await;
    }
    scene.stand_at(group, fourth.version).await;
    assert_eq!(scene.shown(group).await["name"], "the best");
    let words = ["without carol", "without carol", "still without carol", "still without carol"];
    scene.end(group, &words).await;
}

/// All homes have the first; with the second the forger has lost their belief until it begins a new life.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_rosters_of_one_version_the_second_is_refused_by_all() {
    let mut scene = Scene::begin().await;
    let (eve, mallory) = (scene.forger.user("eve"), scene.forger.user("mallory"));
    let first = scene.founded_by_eve(&[]).await;
    let group = first.group.0;
    let one = next_of(&first, |roster| roster.name = "one".to_owned());
    let other = next_of(&first, |roster| {
        roster.name = "other".to_owned();
        begins(roster, &mallory, Role::Admin, &eve);
    });
    let after = next_of(&one, |roster| begins(roster, &mallory, Role::Member, &eve));
    for home in BOTH {
        scene.forger.follows(home, &one).await;
    }
    scene.stand_at(group, one.version).await;
    let before = scene.shown(group).await;
    for home in BOTH {
        scene.forger.follows(home, &other).await;
        scene.at_fault(home, "roster_fork", 1.0).await;
        // Nor what follows on the first: of its word nothing more counts.
        scene.forger.follows(home, &after).await;
        assert_eq!(scene.counted(home, NOT_FOLLOWED).await, 2.0);
        let log = std::fs::read_to_string(scene.party.homes[home].log()).unwrap();
        assert!(log.contains("has signed two rosters of one version"), "{log}");
    }
    assert_eq!(scene.shown(group).await, before);
    scene.talk(group, "what is it with eve?").await;

    // Whom no roster that is held names is not heard; eve is.
    let of_eve = scene.forger.writes(group, "eve", one.version, "nothing");
    let by_mallory = scene.forger.writes(group, "mallory", one.version, "let me in");
    let words = ["what is it with eve?", "what is it with eve?", "nothing"];
    for home in BOTH {
        assert_eq!(rejected(&scene.forger.tells(home, &of_eve).await), []);
        let answer = scene.forger.tells(home, &by_mallory).await;
        assert_eq!(rejected(&answer), [(2, "no_right")]);
    }
    for events in [&mut scene.alice.1, &mut scene.bob.1] {
        assert_eq!(text(&next_message(events).await), "nothing");
    }
    scene.end(group, &words).await;
}

/// Each home has been shown another one, and holds it in good faith.
#[tokio::test(flavor = "multi_thread")]
async fn homes_that_were_shown_different_rosters_talk_on_and_a_new_life_heals_them() {
    let mut scene = Scene::begin().await;
    let (eve, mallory) = (scene.forger.user("eve"), scene.forger.user("mallory"));
    let first = scene.founded_by_eve(&[]).await;
    let group = first.group.0;
    let named = |name: &str| next_of(&first, |roster| roster.name = name.to_owned());
    let told = [named("one"), named("other")];
    for home in BOTH {
        scene.forger.follows(home, &told[home]).await;
    }
    scene.stand_at(group, told[0].version).await;
    scene.talk(group, "what is your group called?").await;

    // Each sees that the other exists: both are signed.
    for home in BOTH {
        scene.forger.follows(home, &told[1 - home]).await;
        scene.at_fault(home, "roster_fork", 1.0).await;
        let more = next_of(&told[home], |roster| begins(roster, &mallory, Role::Member, &eve));
        scene.forger.follows(home, &more).await;
        let client = [&scene.alice.0, &scene.bob.0][home];
        let channel = call(client, "channels.get", json!({ "channel": group })).await;
        assert_eq!(channel["name"], told[home].name, "the one that came first stands");
        assert_eq!(channel["roster"], told[home].version);
        assert_eq!(channel["member_count"], 3);
    }
    scene.talk(group, "never mind").await;

    let anew = next_of(&told[0], |roster| {
        (roster.epoch, roster.version) = (Epoch(10), 10);
        roster.name = "friends again".to_owned();
    });
    for home in BOTH {
        scene.forger.follows(home, &anew).await;
    }
    scene.stand_at(group, anew.version).await;
    assert_eq!(scene.shown(group).await["name"], "friends again");
    scene.talk(group, "good").await;
    let words = ["what is your group called?", "never mind", "good"];
    scene.end(group, &words.map(|words| [words; 2]).concat()).await;
}

/// One home was led further on its own: what is written there names what the other cannot follow.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_rosters_hold_up_comes_with_a_new_life_and_nothing_else_waits_for_it() {
    let mut scene = Scene::begin().await;
    let first = scene.founded_by_eve(&[]).await;
    let group = first.group.0;
    let named = |name: &str| next_of(&first, |roster| roster.name = name.to_owned());
    let told = [named("one"), named("other")];
    let further = next_of(&told[ACME], |roster| roster.name = "one more".to_owned());
    for home in BOTH {
        scene.forger.follows(home, &told[home]).await;
    }
    scene.forger.follows(ACME, &further).await;
    let (client, events) = &mut scene.alice;
    until(client, events, group, |channel| channel["roster"] == further.version).await;

    send(&scene.alice.0, group, "hello?").await;
    // Acme shows the roster that globex lacks.
    reaches(&scene.party.homes[GLOBEX], &not_taken("need_roster"), 1.0).await;
    reaches(&scene.party.homes[GLOBEX], NOT_FOLLOWED, 1.0).await;
    scene.talk_elsewhere("do you read me there?").await;
    send(&scene.bob.0, group, "no").await;
    hears(&mut scene.alice.1, group, "no").await;
    let blamed = scene.counted(GLOBEX, &fault("roster_fork")).await;
    assert_eq!(blamed, 0.0, "acme has signed none of them");
    assert_eq!(history(&scene.bob.0, group).await.len(), 1, "it cannot be judged there");

    let anew = next_of(&further, |roster| {
        (roster.epoch, roster.version) = (Epoch(10), 10);
        roster.name = "friends again".to_owned();
    });
    for home in BOTH {
        scene.forger.follows(home, &anew).await;
    }
    hears(&mut scene.bob.1, group, "hello?").await;
    scene.stand_at(group, anew.version).await;
    assert_eq!(scene.shown(group).await["name"], "friends again");
    scene.talk(group, "good").await;
    scene.end(group, &["hello?", "no", "good", "good"]).await;
}

/// First mallory is removed, then eve, and with her the forger's home. Both write on.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_is_heard_no_more_under_any_version() {
    let mut scene = Scene::begin().await;
    let group = scene.group_of_alice(&["eve", "mallory"]).await;
    let version = scene.forger.newest(ChannelId(group), |_| true).await.roster().version;
    for (who, words) in [("eve", "hello"), ("mallory", "hi")] {
        let event = scene.forger.writes(group, who, version, words);
        for home in BOTH {
            assert_eq!(rejected(&scene.forger.tells(home, &event).await), []);
        }
        for events in [&mut scene.alice.1, &mut scene.bob.1] {
            assert_eq!(text(&next_message(events).await), words);
        }
    }

    // Written in time, as only globex can say: acme, by which the fence is set, is not given it.
    let hidden = scene.forger.writes(group, "mallory", version, "for globex alone");
    assert_eq!(rejected(&scene.forger.tells(GLOBEX, &hidden).await), []);
    assert_eq!(text(&next_message(&mut scene.bob.1).await), "for globex alone");
    let without_mallory = scene.remove(group, "mallory@forger.test").await;
    let turned = next(&mut scene.bob.1, |told| match told {
        Told::Message(message) => Some((**message).clone()),
        _ => None,
    });
    assert_eq!(turned.await.status.as_deref(), Some("rejected"));
    scene.stand_at(group, without_mallory).await;
    assert_eq!(rejected(&scene.forger.tells(ACME, &hidden).await), [(3, "no_right")]);

    // Under the version by which she was in, the newest, and the former again.
    let versions =
        [(version, "no_right"), (without_mallory, "no_right"), (version, "roster_falls")];
    for (named, reason) in versions {
        let event = scene.forger.writes(group, "mallory", named, "can you hear me?");
        for home in BOTH {
            let answer = scene.forger.tells(home, &event).await;
            assert_eq!(rejected(&answer), [(event.header.seq.0, reason)], "under {named}");
        }
    }
    // Eve is not to blame, and heard.
    let event = scene.forger.writes(group, "eve", without_mallory, "sorry");
    for home in BOTH {
        assert_eq!(rejected(&scene.forger.tells(home, &event).await), []);
    }
    for events in [&mut scene.alice.1, &mut scene.bob.1] {
        assert_eq!(text(&next_message(events).await), "sorry");
    }

    let without_eve = scene.remove(group, "eve@forger.test").await;
    scene.stand_at(group, without_eve).await;
    let before = scene.shown(group).await;
    for named in [without_mallory, without_eve] {
        let event = scene.forger.writes(group, "eve", named, "and me?");
        for home in BOTH {
            let answer = scene.forger.tells(home, &event).await;
            assert_eq!(rejected(&answer), [(event.header.seq.0, "no_right")], "under {named}");
        }
    }
    for (home, no_right) in [(ACME, 5.0), (GLOBEX, 4.0)] {
        assert_eq!(scene.counted(home, &not_taken("no_right")).await, no_right);
        assert_eq!(scene.counted(home, &not_taken("roster_falls")).await, 1.0);
    }
    scene.talk(group, "quiet here").await;
    assert_eq!(scene.shown(group).await, before);
    assert_eq!(before["members"].as_array().unwrap().len(), 2, "{before}");
    scene.end(group, &["hello", "hi", "sorry", "quiet here", "quiet here"]).await;
}

/// Two honest homes with a person each, and the forger, whom both trust.
struct Scene {
    party: Party,
    forger: Forger,
    alice: (Client, Events),
    bob: (Client, Events),
    /// A group of alice and bob alone.
    other: Uuid,
}

impl Scene {
    async fn begin() -> Self {
        let liar = Liar::claiming("forger.test");
        let identity = BASE64.encode(&liar.key.public());
        // It dials, so that each home has one connection with it.
        let pin = format!(
            "\n[[federation.pin]]\nhome = \"forger.test\"\nidentity = \"{identity}\"\naddresses = []\n"
        );
        let pinned_alone = [("HOMING_FEDERATION__MODE", "allow")];
        let mut party = Party::configured(&HOMES, &pinned_alone, &pin).await;
        let forger = Forger::among(liar, &party).await;
        let alice = party.client(ACME, "alice").await;
        let mut bob = party.client(GLOBEX, "bob").await;
        // Whoever is a contact need not ask.
        for (client, user) in [
            (&alice.0, "eve@forger.test"),
            (&bob.0, "eve@forger.test"),
            (&bob.0, "alice@acme.test"),
        ] {
            call(client, "contacts.add", json!({ "user": user })).await;
        }
        let other = make(&alice.0, &["bob@globex.test"]).await;
        until(&bob.0, &mut bob.1, other, is("state", "active")).await;
        let mut scene = Self { party, forger, alice, bob, other };
        scene.count_members(other, 2).await;
        scene
    }

    fn user(&self, home: usize, name: &str) -> UserRef {
        UserRef::new(self.forger.homes[home], name.parse().unwrap())
    }

    /// A group of acme's, with bob and some of the forger's.
    async fn group_of_alice(&mut self, theirs: &[&str]) -> Uuid {
        let mut members = vec!["bob@globex.test".to_owned()];
        members.extend(theirs.iter().map(|name| format!("{name}@forger.test")));
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let group = make(&self.alice.0, &members).await;
        for name in theirs {
            let user = self.forger.user(name);
            self.forger.newest(ChannelId(group), |roster| roster.role(&user).is_some()).await;
            self.forger.accepts(ACME, group, name).await;
        }
        let count = theirs.len() + 2;
        self.count_members(group, count).await;
        let all = |roster: &Roster| roster.present().filter(|t| t.role >= Role::Member).count();
        self.forger.newest(ChannelId(group), |roster| all(roster) == count).await;
        group
    }

    /// The first roster of a group of the forger's, as both homes have it.
    async fn founded_by_eve(&mut self, more: &[&UserRef]) -> Roster {
        let (alice, bob) = (self.user(ACME, "alice"), self.user(GLOBEX, "bob"));
        let people: Vec<&UserRef> =
            [&alice, &bob].into_iter().chain(more.iter().copied()).collect();
        let first = self.forger.founds(&people);
        for home in BOTH {
            self.forger.follows(home, &first).await;
        }
        let group = first.group.0;
        for (client, events) in [&mut self.alice, &mut self.bob] {
            until(client, events, group, is("state", "active")).await;
        }
        first
    }

    async fn count_members(&mut self, group: Uuid, count: usize) {
        for (client, events) in [&mut self.alice, &mut self.bob] {
            until(client, events, group, |channel| channel["member_count"] == count).await;
        }
    }

    /// Until both homes hold that version.
    async fn stand_at(&mut self, group: Uuid, version: u64) {
        for (client, events) in [&mut self.alice, &mut self.bob] {
            until(client, events, group, |channel| channel["roster"] == version).await;
        }
    }

    /// Alice removes somebody; the version without.
    async fn remove(&mut self, group: Uuid, user: &str) -> u64 {
        let params = json!({ "channel": group, "users": [user] });
        call(&self.alice.0, "groups.remove", params).await["roster"].as_u64().unwrap()
    }

    /// What is shown of a group, the same at both homes.
    async fn shown(&self, group: Uuid) -> Value {
        let [here, there] =
            [group_at(&self.alice.0, group).await, group_at(&self.bob.0, group).await];
        assert_eq!(here, there);
        here
    }

    /// Alice and bob talk in that group, in the other and alone, and hear each other next.
    async fn talk(&mut self, group: Uuid, words: &str) {
        self.talk_in(group, words).await;
        self.talk_elsewhere(words).await;
    }

    async fn talk_elsewhere(&mut self, words: &str) {
        self.talk_in(self.other, words).await;
        let chat = say(&self.alice.0, "bob@globex.test", words).await.channel;
        hears(&mut self.bob.1, chat, words).await;
        say(&self.bob.0, "alice@acme.test", words).await;
        hears(&mut self.alice.1, chat, words).await;
    }

    async fn talk_in(&mut self, group: Uuid, words: &str) {
        send(&self.alice.0, group, words).await;
        hears(&mut self.bob.1, group, words).await;
        send(&self.bob.0, group, words).await;
        hears(&mut self.alice.1, group, words).await;
    }

    async fn counted(&self, home: usize, name: &str) -> f64 {
        counted(&self.party.homes[home], name).await
    }

    /// Until a home has so many times found the forger at fault for that: it says so to its operator alone.
    async fn at_fault(&self, home: usize, reason: &str, count: f64) {
        reaches(&self.party.homes[home], &fault(reason), count).await;
        assert_eq!(self.counted(home, &fault(reason)).await, count);
    }

    /// What was said in a group is that, in both homes, which end in order.
    async fn end(mut self, group: Uuid, words: &[&str]) {
        let mut said = Vec::new();
        for client in [&self.alice.0, &self.bob.0] {
            let mut all = history(client, group).await;
            all.retain(|message| message.status.is_none());
            all.sort_by(|a, b| a.order.cmp(&b.order));
            let texts: Vec<String> = all.iter().map(text).collect();
            assert_eq!(texts, words);
            said.push(facts(&all));
        }
        assert_eq!(said[0], said[1]);
        self.forger.liar.net.shutdown().await;
        self.party.homes.stop_all().await.unwrap();
    }
}

fn fault(reason: &str) -> String {
    format!("homing_peer_faults_total{{reason=\"{reason}\"}}")
}

fn not_taken(reason: &str) -> String {
    format!("homing_relay_events_rejected_total{{reason=\"{reason}\"}}")
}

async fn group_at(client: &Client, group: Uuid) -> Value {
    let channel = call(client, "channels.get", json!({ "channel": group })).await;
    let members = call(client, "groups.members", json!({ "channel": group })).await;
    let mut members = members["members"].as_array().unwrap().clone();
    members.sort_by_key(|row| row["user"].as_str().map(str::to_owned));
    json!({ "name": channel["name"], "roster": channel["roster"], "members": members })
}

async fn hears(events: &mut Events, channel: Uuid, words: &str) {
    let message = next_message(events).await;
    assert_eq!((message.channel, text(&message).as_str()), (channel, words));
}

fn rejected(have: &pb::Have) -> Vec<(u64, &str)> {
    assert!(!have.need_roster, "{have:?}");
    have.rejected.iter().map(|of| (of.seq, of.reason.as_str())).collect()
}
