//! First contacts from other homes: accepted by word, or declined.

use homing_core::{Effect, Failure, Policy, Refusal};
use homing_wire::{ChannelId, OpId, Target, UserRef};
use uuid::Uuid;

use crate::folding::What;
use crate::node::{Node, local};

/// Alice of one home, and carol of another who has not been heard of; both homes make strangers wait.
fn two() -> (Node, Node, UserRef, UserRef) {
    let acme = Node::new(1, Policy::default(), &["alice", "bob"]);
    let globex = Node::new(2, Policy::default(), &["carol"]);
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    (acme, globex, alice, carol)
}

fn op(n: u128) -> Option<OpId> {
    Some(OpId(Uuid::from_u128(n)))
}

fn refused(result: Result<(), Failure>) -> Result<(), Refusal> {
    match result {
        Ok(()) => Ok(()),
        Err(Failure::Refused(refusal)) => Err(refusal),
        Err(Failure::Fault(fault)) => panic!("{fault}"),
    }
}

fn accept(
    node: &mut Node,
    user: &str,
    channel: ChannelId,
    op: Option<OpId>,
) -> Result<(), Refusal> {
    refused(node.home.accept_request(&node.store, node.now, &local(user), channel, op))
}

fn decline(
    node: &mut Node,
    user: &str,
    channel: ChannelId,
    op: Option<OpId>,
) -> Result<(), Refusal> {
    refused(node.home.decline_request(&node.store, node.now, &local(user), channel, op))
}

/// (accepted, in the list, declined)
fn stands(node: &mut Node, user: &str, channel: ChannelId) -> (bool, bool, bool) {
    let user = node.user(user);
    let state = node.state(channel);
    let member = state.member(&user).unwrap();
    (member.accepted, member.is_listed(), member.has_declined())
}

fn last(node: &mut Node, user: &str, channel: ChannelId) -> u64 {
    let user = node.user(user);
    let last = node.home.last_message(&node.store, channel, &user).unwrap();
    last.map_or(0, |last| last.entry.pos.0)
}

/// Carol writes to alice, and it arrives.
fn knock(globex: &mut Node, acme: &mut Node, alice: &UserRef, words: &str) -> ChannelId {
    let channel = globex.send("carol", alice, words).channel;
    globex.deliver(acme);
    channel
}

fn told(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Marks { .. }))
}

#[test]
fn accepting_by_word_lets_the_other_side_go_on() {
    let (mut acme, mut globex, alice, _) = two();
    let mut channel = None;
    for n in 1..=5 {
        channel = Some(knock(&mut globex, &mut acme, &alice, &format!("{n}")));
    }
    let channel = channel.unwrap();
    let sixth = globex.command("carol", &alice, "6");
    assert_eq!(globex.run(&sixth).unwrap_err().reason, "first_contact");
    // What she reads meanwhile is hers to know.
    acme.mark("alice", channel, 5, 3).unwrap();
    assert!(!told(&acme.tick()));
    assert_eq!(acme.unread("alice", channel), 2);
    assert_eq!(globex.mark_of(&alice, channel), (0, 0));

    accept(&mut acme, "alice", channel, op(1)).unwrap();
    assert_eq!(stands(&mut acme, "alice", channel), (true, true, false));
    let effects = acme.settle();
    let one = |e: &&Effect| matches!(e, Effect::ChannelOf { user, answered: true, .. } if user.as_str() == "alice");
    assert_eq!(effects.iter().filter(one).count(), 1);
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel), (5, 3));
    globex.run(&sixth).unwrap();
    globex.deliver(&mut acme);
    assert_eq!(acme.words(channel).len(), 6);
    // Again it is the same, and an op is one change.
    let change = acme.home.change();
    accept(&mut acme, "alice", channel, op(1)).unwrap();
    accept(&mut acme, "alice", channel, None).unwrap();
    assert_eq!(acme.home.change(), change);
    assert_eq!(decline(&mut acme, "alice", channel, None).unwrap_err().reason, "not_a_request");
}

#[test]
fn an_acceptance_that_is_on_disk_is_told_after_a_crash() {
    let (mut acme, mut globex, alice, _) = two();
    let channel = knock(&mut globex, &mut acme, &alice, "hello");
    accept(&mut acme, "alice", channel, None).unwrap();
    acme.settle();
    acme.crash();
    assert_eq!(stands(&mut acme, "alice", channel), (true, true, false));
    // It is owed, and told when the homes meet again.
    let peer = globex.id;
    acme.home.resume(&acme.store, peer).unwrap();
    let effects = acme.settle();
    assert!(told(&effects), "{effects:?}");
}

#[test]
fn what_is_declined_is_out_of_sight_until_the_user_writes() {
    let (mut acme, mut globex, alice, carol) = two();
    let channel = knock(&mut globex, &mut acme, &alice, "hello");
    decline(&mut acme, "alice", channel, op(1)).unwrap();
    let effects = acme.settle();
    assert!(matches!(&effects[..], [Effect::ChannelOf { answered: true, .. }]), "{effects:?}");
    assert_eq!(stands(&mut acme, "alice", channel), (false, false, true));
    // Over a crash, too. Her other devices get it with `since`.
    acme.crash();
    assert_eq!(stands(&mut acme, "alice", channel), (false, false, true));
    let rows = acme.home.listing(&acme.store, &local("alice")).unwrap();
    assert_eq!((rows.len(), rows[0].changed), (1, acme.home.change()));
    decline(&mut acme, "alice", channel, op(1)).unwrap();
    assert_eq!(decline(&mut acme, "alice", channel, None).unwrap_err().reason, "channel_not_found");
    assert_eq!(accept(&mut acme, "alice", channel, None).unwrap_err().reason, "channel_not_found");

    // The other side sees no difference, and nothing moves here.
    let rows = acme.home.listing(&acme.store, &local("alice")).unwrap();
    knock(&mut globex, &mut acme, &alice, "are you there?");
    assert!(globex.state(channel).rejected.is_empty() && globex.home.owed().is_empty());
    assert_eq!(acme.state(channel).head.0, 2);
    assert_eq!(acme.home.listing(&acme.store, &local("alice")).unwrap(), rows);
    assert_eq!((acme.unread("alice", channel), last(&mut acme, "alice", channel)), (0, 1));
    assert!(!told(&acme.tick()));

    // She writes first: what was hidden stays so, what comes is heard.
    acme.send("alice", &carol, "who are you?");
    assert_eq!(stands(&mut acme, "alice", channel), (true, true, false));
    assert!(!acme.state(channel).member(&alice).unwrap().blocking);
    acme.deliver(&mut globex);
    acme.deliver_marks(&mut globex);
    let mark = globex.mark_of(&alice, channel);
    assert_eq!(mark, (1, 1), "what is hidden is neither delivered nor read");
    for n in 0..9 {
        knock(&mut globex, &mut acme, &alice, &format!("{n}"));
    }
    assert_eq!((acme.unread("alice", channel), last(&mut acme, "alice", channel)), (9, 12));
}

#[test]
fn a_declined_request_can_be_opened_and_accepted() {
    let (mut acme, mut globex, alice, carol) = two();
    let channel = knock(&mut globex, &mut acme, &alice, "hello");
    decline(&mut acme, "alice", channel, None).unwrap();
    acme.settle();
    assert_eq!(acme.open("alice", &carol), channel);
    assert_eq!(stands(&mut acme, "alice", channel), (false, true, false));
    acme.settle();
    knock(&mut globex, &mut acme, &alice, "hidden");
    assert_eq!(last(&mut acme, "alice", channel), 1);
    accept(&mut acme, "alice", channel, None).unwrap();
    acme.settle();
    knock(&mut globex, &mut acme, &alice, "heard");
    assert_eq!((acme.unread("alice", channel), last(&mut acme, "alice", channel)), (2, 3));
}

/// A reaction is a word, too: it accepts, brings the chat back, and is seen by what is told as delivered.
#[test]
fn who_reacts_has_accepted() {
    for declined in [false, true] {
        let (mut acme, mut globex, alice, carol) = two();
        let sent = globex.send("carol", &alice, "hello");
        globex.deliver(&mut acme);
        if declined {
            decline(&mut acme, "alice", sent.channel, None).unwrap();
            acme.settle();
        }
        let hello = Target { sender: carol.clone(), id: sent.id };
        let wish = acme.change("alice", sent.channel, &hello, What::React("👍", true));
        acme.run(&wish).unwrap();
        assert_eq!(stands(&mut acme, "alice", sent.channel), (true, true, false));
        acme.deliver(&mut globex);
        acme.deliver_marks(&mut globex);
        assert_eq!(globex.mark_of(&alice, sent.channel), (1, 0), "delivered, not read");
        knock(&mut globex, &mut acme, &alice, "heard");
        assert_eq!((acme.unread("alice", sent.channel)), 2);
        acme.crash();
        assert_eq!(stands(&mut acme, "alice", sent.channel), (true, true, false));
    }
}

#[test]
fn declining_is_no_way_around_a_block() {
    let (mut acme, mut globex, alice, carol) = two();
    let channel = knock(&mut globex, &mut acme, &alice, "hello");
    acme.block("alice", &carol);
    decline(&mut acme, "alice", channel, None).unwrap();
    acme.settle();
    acme.send("alice", &carol, "leave me alone");
    acme.settle();
    assert!(acme.state(channel).member(&alice).unwrap().blocking, "she stands in the list");
    knock(&mut globex, &mut acme, &alice, "why?");
    assert_eq!(acme.unread("alice", channel), 0);
}

#[test]
fn what_is_no_request_is_refused() {
    let (mut acme, mut globex, alice, _) = two();
    let bob = acme.user("bob");
    let inside = acme.send("alice", &bob, "hi").channel;
    let channel = knock(&mut globex, &mut acme, &alice, "hello");
    let nowhere = ChannelId(Uuid::from_u128(5));
    acme.settle();
    let change = acme.home.change();
    for (user, channel, reason) in [
        ("alice", nowhere, "channel_not_found"),
        ("bob", channel, "channel_not_found"),
        ("ghost", channel, "user_disabled"),
    ] {
        assert_eq!(accept(&mut acme, user, channel, op(9)).unwrap_err().reason, reason);
        assert_eq!(decline(&mut acme, user, channel, op(9)).unwrap_err().reason, reason);
    }
    assert_eq!(decline(&mut acme, "bob", inside, op(9)).unwrap_err().reason, "not_a_request");
    accept(&mut acme, "bob", inside, None).unwrap();
    assert_eq!(acme.home.change(), change);
    assert!(acme.settle().is_empty());
}
