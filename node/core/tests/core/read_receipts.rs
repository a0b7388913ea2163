//! What others see of what a user has read, and who lets nobody see it.

use homing_core::{Effect, ProfileChange};
use homing_wire::Pos;

use crate::node::{Node, accepting, local};

fn two() -> (Node, Node) {
    (Node::new(1, accepting(), &["alice", "bob"]), Node::new(2, accepting(), &["carol"]))
}

fn lets_see(node: &mut Node, user: &str, shown: bool) {
    let change = ProfileChange { read_receipts: Some(shown), ..ProfileChange::default() };
    node.home.update_profile(&node.store, node.now, &local(user), change, None).unwrap();
    node.settle();
}

/// (delivered, read) as told, quiet, and only what was read.
fn told(effects: &[Effect]) -> Vec<((u64, u64), bool, bool)> {
    let marked = effects.iter().filter_map(|effect| {
        let Effect::Marked { mark, quiet, only_read, .. } = effect else { return None };
        Some(((mark.delivered.0, mark.read.0), *quiet, *only_read))
    });
    marked.collect()
}

#[test]
fn who_hides_what_was_read_shows_what_was_delivered() {
    let (mut acme, mut globex) = two();
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let channel = globex.send("carol", &alice, "1").channel;
    for words in ["2", "3", "4"] {
        globex.send("carol", &alice, words);
    }
    globex.deliver(&mut acme);
    acme.mark("alice", channel, 1, 1).unwrap();
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel), (1, 1));

    lets_see(&mut acme, "alice", false);
    acme.mark("alice", channel, 3, 2).unwrap();
    assert_eq!(told(&acme.tick()), [((3, 1), false, false)]);
    acme.mark("alice", channel, 3, 3).unwrap();
    assert_eq!(told(&acme.tick()), [((3, 1), true, true)], "for her own devices alone");
    acme.mark("alice", channel, 4, 3).unwrap();
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel), (4, 1));
    // Her own devices follow, also behind a crash, and what is unread is what she has not read.
    acme.crash();
    let state = acme.state(channel);
    let member = state.member(&alice).unwrap();
    assert_eq!((member.mark.read, member.told(member.mark).read), (Pos(3), Pos(1)));
    assert_eq!(member.mark_for(&alice, false).read, Pos(3));
    assert_eq!(acme.unread("alice", channel), 1);
    // No time tells when she has read what nobody sees.
    assert!(member.times.iter().all(|time| time.mark.read <= Pos(1)));

    // Who answers has read, which is not told either.
    acme.send("alice", &carol, "5");
    acme.deliver(&mut globex);
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel), (4, 1));
    assert_eq!(acme.unread("alice", channel), 0);

    // She lets others see again: nothing is told of it but with what she reads from now on.
    lets_see(&mut acme, "alice", true);
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel), (4, 1));
    globex.send("carol", &alice, "6");
    globex.deliver(&mut acme);
    acme.mark("alice", channel, 6, 5).unwrap();
    acme.deliver_marks(&mut globex);
    let (_, read) = globex.mark_of(&alice, channel);
    assert_eq!(read, 1, "she has read nothing since, for her answer is the fifth");
    acme.mark("alice", channel, 6, 6).unwrap();
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel), (6, 6));
    assert_eq!(acme.state(channel).member(&alice).unwrap().discreet, None);
}

#[test]
fn who_hides_it_is_shown_of_others_what_was_delivered() {
    let (mut acme, _) = two();
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let channel = acme.send("alice", &bob, "1").channel;
    acme.settle();
    acme.mark("bob", channel, 1, 1).unwrap();
    assert_eq!(told(&acme.tick()), [((1, 1), false, false)]);
    let state = acme.state(channel);
    let of_bob = state.member(&bob).unwrap();
    let seen = |sees| {
        let mark = of_bob.mark_for(&alice, sees);
        (mark.delivered.0, mark.read.0)
    };
    assert_eq!((seen(true), seen(false)), ((1, 1), (1, 0)));
    assert!(acme.home.shows_reads(&acme.store, &local("alice")).unwrap());
    lets_see(&mut acme, "alice", false);
    assert!(!acme.home.shows_reads(&acme.store, &local("alice")).unwrap());
    acme.crash();
    assert!(!acme.home.shows_reads(&acme.store, &local("alice")).unwrap());
}

/// Marks that rise together with the change of mind: what was read before it is told, what is read behind it is not.
#[test]
fn what_was_read_before_is_told() {
    let (mut acme, mut globex) = two();
    let alice = acme.user("alice");
    let channel = globex.send("carol", &alice, "1").channel;
    for words in ["2", "3"] {
        globex.send("carol", &alice, words);
    }
    globex.deliver(&mut acme);
    acme.mark("alice", channel, 3, 2).unwrap();
    lets_see(&mut acme, "alice", false);
    acme.mark("alice", channel, 3, 3).unwrap();
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel), (3, 2));
}
