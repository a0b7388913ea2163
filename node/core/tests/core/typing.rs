//! Who is told that somebody types.

use std::collections::BTreeSet;

use homing_core::{Audience, ListChange, Policy, UserList};
use homing_wire::{Change, ChannelId, HomeId, UserRef};

use crate::group_world::group_of;
use crate::node::{Node, accepting, local};

fn told(node: &mut Node, user: &str, channel: ChannelId) -> Option<(Vec<String>, usize)> {
    let audience = node.home.typing_audience(&node.store, &local(user), channel).unwrap();
    audience.map(|Audience { users, homes }| {
        (users.iter().map(ToString::to_string).collect(), homes.len())
    })
}

fn heard(node: &mut Node, user: &UserRef, channel: ChannelId) -> Option<Vec<String>> {
    let users = node.home.typing_heard(&node.store, user, channel).unwrap();
    users.map(|users| users.iter().map(ToString::to_string).collect())
}

fn some(users: &[&str], homes: usize) -> Option<(Vec<String>, usize)> {
    Some((users.iter().map(|user| (*user).to_owned()).collect(), homes))
}

#[test]
fn the_other_of_a_chat_is_told_unless_one_has_blocked_the_other() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob", "carol"]);
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let chat = acme.open("alice", &bob);
    assert_eq!(told(&mut acme, "alice", chat), some(&["bob"], 0));
    assert_eq!(told(&mut acme, "bob", chat), some(&["alice"], 0));
    assert_eq!(told(&mut acme, "carol", chat), None, "she is not in it");
    assert_eq!(told(&mut acme, "alice", ChannelId(uuid::Uuid::nil())), None);
    acme.list("bob", UserList::Blocks, ListChange::Add, &alice).unwrap();
    assert_eq!(told(&mut acme, "alice", chat), some(&[], 0));
    assert_eq!(told(&mut acme, "bob", chat), some(&[], 0), "nor gives a sign who has blocked");
    acme.list("bob", UserList::Blocks, ListChange::Remove, &alice).unwrap();
    assert_eq!(told(&mut acme, "alice", chat), some(&["bob"], 0));
}

#[test]
fn between_homes_only_where_a_first_contact_is_accepted() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let mut globex = Node::new(2, Policy::default(), &["carol"]);
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let chat = acme.send("alice", &carol, "hello").channel;
    acme.settle();
    acme.deliver(&mut globex);
    assert_eq!(told(&mut acme, "alice", chat), some(&[], 0), "carol has not accepted");
    assert_eq!(heard(&mut globex, &alice, chat), Some(Vec::new()), "nor would she be shown it");
    assert_eq!(told(&mut globex, "carol", chat), some(&[], 0), "nor does she give a sign");
    globex.send("carol", &alice, "hello");
    globex.settle();
    globex.deliver(&mut acme);
    assert_eq!(told(&mut acme, "alice", chat), some(&[], 1));
    assert_eq!(told(&mut globex, "carol", chat), some(&[], 1));
    let audience = acme.home.typing_audience(&acme.store, &local("alice"), chat).unwrap().unwrap();
    assert_eq!(audience.homes, BTreeSet::from([HomeId([2; 32])]));
    assert_eq!(heard(&mut globex, &alice, chat), Some(vec!["carol".to_owned()]));
    globex.block("carol", &alice);
    assert_eq!(heard(&mut globex, &alice, chat), Some(Vec::new()));
    assert_eq!(told(&mut globex, "carol", chat), some(&[], 0));

    // What no honest home says.
    let bob = acme.user("bob");
    let own = globex.user("carol");
    for liar in [&bob, &own, &UserRef::new(HomeId([3; 32]), local("alice"))] {
        assert_eq!(heard(&mut globex, liar, chat), None);
    }
    assert_eq!(heard(&mut globex, &alice, ChannelId(uuid::Uuid::nil())), None);
}

#[test]
fn in_a_group_all_who_are_in_it_but_for_those_who_have_blocked_the_typist() {
    let (mut world, group, anns) = group_of(3);
    let bea = world.user(0, "bea");
    world.flow();
    let node = &mut world.nodes[0];
    assert_eq!(told(node, "ann", group), some(&["bea"], 2));
    assert_eq!(heard(node, &anns[1], group), Some(vec!["ann".into(), "bea".into()]));
    assert_eq!(told(node, "cat", group), None);
    node.list("bea", UserList::Blocks, ListChange::Add, &anns[0]).unwrap();
    node.list("bea", UserList::Blocks, ListChange::Add, &anns[1]).unwrap();
    assert_eq!(told(node, "ann", group), some(&[], 2));
    assert_eq!(heard(node, &anns[1], group), Some(vec!["ann".into()]));
    // Who is only asked is neither told nor heard.
    let cat = world.user(1, "cat");
    world.done(&anns[0], group, Change::Invite(vec![cat.clone()]));
    world.flow();
    assert_eq!(told(&mut world.nodes[1], "cat", group), None);
    assert_eq!(heard(&mut world.nodes[0], &cat, group), None);
    assert_eq!(heard(&mut world.nodes[1], &anns[0], group), Some(vec!["ann".into()]));
    // Nor who has left.
    world.leave(&anns[2], group);
    world.flow();
    assert_eq!(heard(&mut world.nodes[0], &anns[2], group), None);
    assert_eq!(told(&mut world.nodes[2], "ann", group), None);
    assert_eq!(told(&mut world.nodes[0], "bea", group), some(&["ann"], 1));
    world.leave(&bea, group);
    assert_eq!(told(&mut world.nodes[0], "ann", group), some(&[], 1));
}
