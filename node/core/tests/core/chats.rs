//! Opening chats and writing into them, at one home and between two.

use homing_core::{AccountState, Effect, Policy, Target};
use homing_wire::{ChannelId, Kind};

use crate::node::{Node, accepting, local};

fn acme() -> Node {
    Node::new(1, accepting(), &["alice", "bob"])
}

fn globex() -> Node {
    Node::new(2, accepting(), &["carol"])
}

#[test]
fn alice_writes_to_bob_and_bob_answers() {
    let mut acme = acme();
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let first = acme.send("alice", &bob, "hi bob");
    assert_eq!((first.pos.0, first.repeated), (1, false));
    assert_eq!(acme.unread("bob", first.channel), 1);
    assert_eq!(acme.unread("alice", first.channel), 0);
    let effects = acme.settle();
    assert!(matches!(effects[..], [Effect::Channel { .. }, Effect::Message { .. }]), "{effects:?}");
    let second = acme.send("bob", &alice, "hi alice");
    assert_eq!((second.pos.0, second.channel), (2, first.channel));
    assert!(second.order > first.order);
    assert_eq!(acme.unread("bob", first.channel), 0, "who writes has read");
    assert_eq!(acme.unread("alice", first.channel), 1);
    acme.settle();
    assert_eq!(acme.words(first.channel), ["hi bob", "hi alice"]);
}

#[test]
fn a_chat_is_opened_once() {
    let mut acme = acme();
    let bob = acme.user("bob");
    let channel = acme.open("alice", &bob);
    assert!(matches!(acme.settle()[..], [Effect::Channel { .. }]));
    assert_eq!(acme.open("alice", &bob), channel);
    assert!(acme.home.is_urgent(), "the answer waits for what may be under way");
    assert!(acme.settle().is_empty());
    for user in ["alice", "bob"] {
        let rows = acme.home.listing(&acme.store, &local(user)).unwrap();
        assert_eq!(rows.iter().map(|r| r.channel).collect::<Vec<_>>(), [channel]);
    }
}

#[test]
fn what_is_not_on_disk_yet_is_seen() {
    let mut acme = acme();
    let bob = acme.user("bob");
    let channel = acme.send("alice", &bob, "1").channel;
    let under_way = acme.home.take_step();
    for n in 2..=100 {
        acme.send("alice", &bob, &n.to_string());
    }
    let rows = acme.home.listing(&acme.store, &local("bob")).unwrap();
    let state = acme.state(channel);
    assert_eq!((rows[0].channel, rows[0].changed), (channel, state.changed));
    assert_eq!(
        acme.home
            .last_message(&acme.store, channel, &acme.user("alice"))
            .unwrap()
            .unwrap()
            .entry
            .pos
            .0,
        100
    );
    acme.mark("bob", channel, 5, 5).unwrap();
    assert_eq!(acme.unread("bob", channel), 95);
    acme.store.commit(acme.id, acme.epoch, &under_way.batch);
    acme.home.committed(under_way.number);
    acme.mark("bob", channel, 6, 6).unwrap();
    assert_eq!(acme.unread("bob", channel), 94);
    acme.settle();
    acme.tick();
}

#[test]
fn refusals_change_nothing() {
    let mut acme = acme();
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let reason = |acme: &mut Node, target: Target, kind: Kind| {
        let mut command = acme.command("alice", &bob, "x");
        (command.target, command.kind) = (target, kind);
        acme.run(&command).unwrap_err().reason
    };
    assert_eq!(reason(&mut acme, Target::To(alice.clone()), Kind::Text), "with_self");
    let nobody = acme.user("nobody");
    assert_eq!(reason(&mut acme, Target::To(nobody), Kind::Text), "user_not_found");
    let unknown = ChannelId(uuid::Uuid::from_u128(1));
    assert_eq!(reason(&mut acme, Target::Channel(unknown), Kind::Text), "channel_not_found");
    assert_eq!(reason(&mut acme, Target::To(bob.clone()), Kind::Edit), "message_not_found");
    assert_eq!(reason(&mut acme, Target::To(bob.clone()), Kind::Media), "bad_field");
    let mut mention = acme.command("alice", &bob, "x");
    mention.mentions = vec![bob.clone(), acme.user("mallory")];
    let refusal = acme.run(&mention).unwrap_err();
    assert_eq!(refusal.reason, "mention_of_stranger");
    assert_eq!(refusal.user.as_deref(), Some(&acme.user("mallory")));
    let mut huge = acme.command("alice", &bob, &"x".repeat(70_000));
    assert_eq!(acme.run(&huge).unwrap_err().reason, "body_too_large");
    huge.sender = local("mallory");
    assert_eq!(acme.run(&huge).unwrap_err().reason, "user_disabled");
    assert!(!acme.home.has_step(), "a refusal queued something");
    assert!(acme.store.channels.is_empty());
}

#[test]
fn a_channel_is_its_members_alone() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob", "eve"]);
    let bob = acme.user("bob");
    let channel = acme.send("alice", &bob, "secret").channel;
    acme.settle();
    let mut command = acme.command("eve", &bob, "let me in");
    command.target = Target::Channel(channel);
    assert_eq!(acme.run(&command).unwrap_err().reason, "channel_not_found");
    assert_eq!(acme.mark("eve", channel, 1, 1).unwrap_err().reason, "channel_not_found");
    assert!(!acme.home.has_step());
}

#[test]
fn nobody_writes_to_or_from_an_account_that_is_gone() {
    let mut acme = acme();
    let bob = acme.user("bob");
    let channel = acme.send("alice", &bob, "still there?").channel;
    acme.home
        .change_account(&acme.store, &local("bob"), |a| a.state = AccountState::Deleted)
        .unwrap();
    let command = acme.command("alice", &bob, "hello?");
    assert_eq!(acme.run(&command).unwrap_err().reason, "user_not_found");
    let alice = acme.user("alice");
    let command = acme.command("bob", &alice, "from the grave");
    assert_eq!(acme.run(&command).unwrap_err().reason, "user_disabled");
    acme.settle();
    assert_eq!(acme.words(channel), ["still there?"]);
}

#[test]
fn both_homes_list_alike() {
    let (mut acme, mut globex) = (acme(), globex());
    globex.now += 7_000; // its clock is ahead
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let channel = acme.send("alice", &carol, "one").channel;
    acme.deliver(&mut globex);
    globex.send("carol", &alice, "two");
    acme.send("alice", &carol, "three, at the same time");
    globex.deliver(&mut acme);
    acme.deliver(&mut globex);
    acme.send("alice", &carol, "four");
    acme.deliver(&mut globex);
    assert_eq!(acme.words(channel).len(), 4);
    let list = acme.store.by_order(channel);
    assert_eq!(list, globex.store.by_order(channel));
    assert!(list.last().unwrap().2.windows(4).any(|w| w == b"four"), "stamps follow the other's");
    acme.deliver_marks(&mut globex);
    globex.deliver_marks(&mut acme);
    assert!(acme.home.owed().is_empty() && globex.home.owed().is_empty());
    assert_eq!(globex.unread("carol", channel), 2);
}

#[test]
fn a_first_contact_has_five_messages_until_it_is_answered() {
    let mut acme = Node::new(1, Policy::default(), &["alice"]);
    let mut globex = Node::new(2, Policy::default(), &["carol"]);
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    for n in 1..=5 {
        acme.send("alice", &carol, &n.to_string());
    }
    let sixth = acme.command("alice", &carol, "6");
    let refusal = acme.run(&sixth).unwrap_err();
    assert_eq!((refusal.reason, refusal.limit), ("first_contact", Some(5)));
    acme.deliver(&mut globex);
    let channel = ChannelId::chat(&alice, &carol);
    assert_eq!(globex.words(channel).len(), 5);
    assert!(!globex.state(channel).member(&carol).unwrap().accepted);

    // Carol reads the request: nobody is told.
    globex.mark("carol", channel, 5, 5).unwrap();
    assert!(
        globex.tick().iter().all(|e| matches!(e, Effect::Marked { .. })),
        "a request tells no marks"
    );
    assert_eq!(globex.unread("carol", channel), 0);
    assert!(acme.run(&sixth).is_err());

    // She answers: accepted, and now her marks are told.
    globex.send("carol", &alice, "hello");
    assert!(globex.state(channel).member(&carol).unwrap().accepted);
    globex.deliver(&mut acme);
    globex.deliver_marks(&mut acme);
    assert_eq!(acme.mark_of(&carol, channel), (5, 5));
    acme.run(&sixth).unwrap();
    acme.deliver(&mut globex);
    assert_eq!(globex.words(channel).len(), 7);
    acme.deliver_marks(&mut globex);
    assert!(acme.home.owed().is_empty() && globex.home.owed().is_empty());
}

#[test]
fn a_message_to_nobody_is_refused_there_and_then_here() {
    let (mut acme, mut globex) = (acme(), globex());
    let nobody = globex.user("nobody");
    let channel = acme.send("alice", &nobody, "anyone?").channel;
    acme.deliver(&mut globex);
    assert!(acme.home.owed().is_empty() && acme.store.owed.is_empty());
    assert!(globex.store.channels.is_empty());
    let again = acme.command("alice", &nobody, "anyone??");
    assert_eq!(acme.run(&again).unwrap_err().reason, "user_gone");

    // The name is taken later, and its user writes: the channel works both ways.
    globex.register("nobody");
    let alice = acme.user("alice");
    globex.send("nobody", &alice, "here I am");
    globex.deliver(&mut acme);
    acme.send("alice", &nobody, "ah");
    acme.deliver(&mut globex);
    assert_eq!(globex.words(channel), ["here I am", "anyone?", "ah"]);
    acme.deliver_marks(&mut globex);
    assert!(acme.home.owed().is_empty());
}

#[test]
fn a_user_who_left_takes_nothing_more() {
    let (mut acme, mut globex) = (acme(), globex());
    let carol = globex.user("carol");
    let channel = acme.send("alice", &carol, "hi").channel;
    acme.deliver(&mut globex);
    globex
        .home
        .change_account(&globex.store, &local("carol"), |a| a.state = AccountState::Deleted)
        .unwrap();
    globex.settle();
    acme.send("alice", &carol, "are you there?");
    acme.deliver(&mut globex);
    assert_eq!(globex.words(channel), ["hi"]);
    assert_eq!(acme.state(channel).cursors[0].refused.as_deref(), Some("user_gone"));
    let more = acme.command("alice", &carol, "hello?");
    assert_eq!(acme.run(&more).unwrap_err().reason, "user_gone");
    assert!(acme.home.owed().is_empty());
}
