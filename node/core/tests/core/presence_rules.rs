//! Who may see whom, by what a home holds; and when users were last seen, which it stores.

use homing_core::presence::{HomeRules, Rules as _};
use homing_core::{ListChange, Policy, ProfileChange, SeenBy, UserList};
use homing_wire::{HomeId, UserRef};

use crate::node::{Node, accepting, local};

fn shows(node: &mut Node, watched: &str, watcher: &UserRef) -> bool {
    HomeRules { home: &mut node.home, reader: &node.store }.shows(&local(watched), watcher).unwrap()
}

fn looks(node: &mut Node, watcher: &str, watched: &UserRef) -> bool {
    HomeRules { home: &mut node.home, reader: &node.store }.looks(&local(watcher), watched).unwrap()
}

fn is_user(node: &mut Node, user: &str) -> bool {
    HomeRules { home: &mut node.home, reader: &node.store }.is_user(&local(user)).unwrap()
}

fn set(node: &mut Node, user: &str, seen_by: SeenBy) {
    let change = ProfileChange { seen_by: Some(seen_by), ..ProfileChange::default() };
    let now = node.now;
    node.home.update_profile(&node.store, now, &local(user), change, None).unwrap();
}

#[test]
fn contacts_see_unless_the_user_says_otherwise() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let carol = UserRef::new(HomeId([2; 32]), local("carol"));
    for other in [&bob, &carol] {
        assert!(!shows(&mut acme, "alice", other), "a stranger sees nothing");
        acme.list("alice", UserList::Contacts, ListChange::Add, other).unwrap();
        assert!(shows(&mut acme, "alice", other));
        // That they know alice is not what counts.
        assert!(!shows(&mut acme, "bob", &alice));
    }
    assert!(shows(&mut acme, "alice", &alice), "one's own other devices");
    assert!(looks(&mut acme, "alice", &bob), "and may ask of whoever it is");

    set(&mut acme, "alice", SeenBy::Nobody);
    for other in [&alice, &bob, &carol] {
        assert_eq!(shows(&mut acme, "alice", other), *other == alice);
        assert!(!looks(&mut acme, "alice", other), "who hides sees nobody");
    }
    set(&mut acme, "alice", SeenBy::Everyone);
    let stranger = UserRef::new(HomeId([3; 32]), local("eve"));
    assert!(shows(&mut acme, "alice", &stranger));
    // But nobody who is blocked, contact or not; and whoever blocks does not look.
    for other in [&stranger, &carol, &bob] {
        acme.list("alice", UserList::Blocks, ListChange::Add, other).unwrap();
        assert!(!shows(&mut acme, "alice", other));
        assert!(!looks(&mut acme, "alice", other));
        acme.settle();
        acme.list("alice", UserList::Blocks, ListChange::Remove, other).unwrap();
        assert!(shows(&mut acme, "alice", other) && looks(&mut acme, "alice", other));
    }
    acme.settle();
    acme.crash();
    assert!(shows(&mut acme, "alice", &stranger), "it is on disk");
}

#[test]
fn accounts_that_are_shut_are_neither_seen_nor_look() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    for user in ["alice", "bob"] {
        set(&mut acme, user, SeenBy::Everyone);
    }
    assert!(shows(&mut acme, "alice", &bob) && is_user(&mut acme, "alice"));
    assert!(!is_user(&mut acme, "ghost") && !shows(&mut acme, "ghost", &bob));
    acme.home.note_seen(&acme.store, &local("alice"), 7).unwrap();
    acme.settle();
    acme.home.delete_account(&acme.store, &local("alice")).unwrap();
    assert!(!shows(&mut acme, "alice", &bob) && !looks(&mut acme, "alice", &bob));
    assert!(!is_user(&mut acme, "alice"));
    assert!(looks(&mut acme, "bob", &alice));
    // Nothing is left of when the user was there, and what still comes of it is not noted.
    acme.home.note_seen(&acme.store, &local("alice"), 9).unwrap();
    acme.settle();
    assert_eq!(acme.home.last_seen(&acme.store, &local("alice")).unwrap(), None);
    acme.crash();
    assert_eq!(acme.home.last_seen(&acme.store, &local("alice")).unwrap(), None);
}

#[test]
fn whoever_is_not_accepted_yet_sees_nothing() {
    let mut acme = Node::new(1, Policy::default(), &["alice"]);
    let mut globex = Node::new(2, accepting(), &["carol"]);
    set(&mut acme, "alice", SeenBy::Everyone);
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    assert!(shows(&mut acme, "alice", &carol), "everybody is everybody");
    globex.send("carol", &alice, "hello");
    globex.settle();
    globex.deliver(&mut acme);
    assert!(
        !shows(&mut acme, "alice", &carol),
        "a first contact learns nothing until it is accepted"
    );
    acme.send("alice", &carol, "hello");
    assert!(shows(&mut acme, "alice", &carol), "who writes accepts");
}

#[test]
fn last_seen_is_stored_with_the_next_step_and_known_before() {
    let mut acme = Node::new(1, accepting(), &["alice"]);
    let alice = local("alice");
    assert_eq!(acme.home.last_seen(&acme.store, &alice).unwrap(), None);
    acme.settle();
    acme.home.note_seen(&acme.store, &alice, 5_000).unwrap();
    assert!(acme.home.has_step() && !acme.home.is_urgent(), "nobody waits for it");
    assert_eq!(acme.home.last_seen(&acme.store, &alice).unwrap(), Some(5_000));
    acme.settle();
    acme.home.note_seen(&acme.store, &alice, 9_000).unwrap();
    acme.crash();
    assert_eq!(acme.home.last_seen(&acme.store, &alice).unwrap(), Some(5_000));
    acme.home.note_seen(&acme.store, &local("ghost"), 9_000).unwrap();
    assert!(!acme.home.has_step());
}
