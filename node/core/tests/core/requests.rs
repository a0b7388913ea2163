//! First contacts from other homes: accepted by word, or declined.

use homing_core::{Effect, Failure, ListChange, Policy, Reader as _, Refusal, Sealer, UserList};
use homing_wire::{ChannelId, OpId, Target, UserRef};
use uuid::Uuid;

use crate::folding::What;
use crate::node::{Node, Seal, accepting, local};
use crate::repair::{fetch, honest, same_history};

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

/// Two homes, of which the first lets so many first contacts wait: at one user, and at all.
fn narrow(of_user: usize, of_home: usize) -> (Node, Node) {
    let policy =
        Policy { requests_of_user: of_user, requests_of_home: of_home, ..Policy::default() };
    let acme = Node::new(1, policy, &["alice", "bob"]);
    (acme, Node::new(2, Policy::default(), &["carol", "dave", "eve", "fred"]))
}

/// Somebody of `from` writes to somebody of `to`, and it is brought there; whether it was taken.
fn knocks(from: &mut Node, who: &str, to: &mut Node, whom: &str) -> (ChannelId, bool) {
    let user = to.user(whom);
    let channel = from.send(who, &user, "hello").channel;
    from.deliver(to);
    (channel, is_here(to, channel))
}

fn is_here(node: &mut Node, channel: ChannelId) -> bool {
    node.home.channel(&node.store, channel).unwrap().is_some()
}

#[test]
fn what_is_beyond_one_users_limit_waits_at_its_home_until_one_is_answered() {
    let (mut acme, mut globex) = narrow(2, 100);
    let (carols, here) = knocks(&mut globex, "carol", &mut acme, "alice");
    assert!(here);
    let (daves, here) = knocks(&mut globex, "dave", &mut acme, "alice");
    assert!(here);
    let (eves, here) = knocks(&mut globex, "eve", &mut acme, "alice");
    assert!(!here, "nothing is kept of it");
    assert_eq!(acme.home.requests(), 2);
    let first = globex.range(eves, 1, 10);
    let reply = acme.receive(globex.id, &first).unwrap();
    assert_eq!((reply.held_back, reply.refused, reply.have.0), (Some("requests_full"), None, 0));
    // Others have room, those who are here already go on, and a user of another home has, too.
    assert!(knocks(&mut globex, "eve", &mut acme, "bob").1);
    let alice = acme.user("alice");
    knock(&mut globex, &mut acme, &alice, "again");
    assert_eq!(acme.words(carols).len(), 2);
    let mut initech = Node::new(3, Policy::default(), &["gil"]);
    assert!(knocks(&mut initech, "gil", &mut acme, "alice").1);
    assert_eq!(acme.home.requests(), 4);

    // Over a crash it is the same; a no makes room, and what waited comes.
    acme.crash();
    assert_eq!(acme.home.requests(), 4);
    globex.deliver(&mut acme);
    assert!(!is_here(&mut acme, eves));
    decline(&mut acme, "alice", daves, None).unwrap();
    globex.deliver(&mut acme);
    assert!(is_here(&mut acme, eves));
    assert_eq!(
        (acme.words(eves), stands(&mut acme, "alice", eves).1),
        (vec!["hello".into()], true)
    );
    assert!(globex.home.owed().is_empty());

    // So does a yes, by word or by writing, and a block; what is not blocked any more waits again.
    let (freds, here) = knocks(&mut globex, "fred", &mut acme, "alice");
    assert!(!here);
    accept(&mut acme, "alice", carols, None).unwrap();
    globex.deliver(&mut acme);
    assert!(is_here(&mut acme, freds));
    assert_eq!(acme.home.requests(), 4);
    acme.send("alice", &globex.user("fred"), "who are you?");
    acme.block("alice", &globex.user("eve"));
    acme.settle();
    assert_eq!(acme.home.requests(), 2);
    acme.unblock("alice", &globex.user("eve"));
    acme.settle();
    assert_eq!(acme.home.requests(), 3);
}

#[test]
fn what_is_beyond_one_homes_limit_waits_too_and_whoever_deletes_the_account_makes_room() {
    let (mut acme, mut globex) = narrow(100, 2);
    assert!(knocks(&mut globex, "carol", &mut acme, "alice").1);
    assert!(knocks(&mut globex, "carol", &mut acme, "bob").1);
    let (daves, here) = knocks(&mut globex, "dave", &mut acme, "bob");
    assert!(!here);
    // Who writes first does not ask.
    let eve = globex.user("eve");
    let opened = acme.send("bob", &eve, "come").channel;
    acme.deliver(&mut globex);
    assert!(is_here(&mut globex, opened));
    let bob = acme.user("bob");
    knock(&mut globex, &mut acme, &bob, "still five at most");

    acme.home.delete_account(&acme.store, &local("alice")).unwrap();
    acme.settle();
    let seal = Seal(acme.id);
    let sealer = Sealer { key: &seal, record: bytes::Bytes::new() };
    acme.home.depart(&acme.store, acme.now, &sealer, &local("alice"), None).unwrap();
    acme.settle();
    assert_eq!(acme.home.requests(), 1);
    globex.deliver(&mut acme);
    assert!(is_here(&mut acme, daves));
}

/// Where strangers are taken at once there are no requests, and no limit of them.
#[test]
fn who_takes_strangers_holds_none_back() {
    let policy = Policy { requests_of_user: 1, requests_of_home: 1, ..accepting() };
    let mut acme = Node::new(1, policy, &["alice"]);
    let mut globex = Node::new(2, Policy::default(), &["carol", "dave"]);
    assert!(knocks(&mut globex, "carol", &mut acme, "alice").1);
    assert!(knocks(&mut globex, "dave", &mut acme, "alice").1);
    assert_eq!(acme.home.requests(), 0);
}

/// A home that asks nobody lets its people go on: what is beyond the few waits there, and is lost neither then nor later.
#[test]
fn what_a_home_sends_beyond_the_few_waits_until_the_yes() {
    let mut acme = Node::new(1, Policy::default(), &["alice"]);
    let mut globex = Node::new(2, accepting(), &["carol"]);
    let alice = acme.user("alice");
    for n in 1..=3 {
        knock(&mut globex, &mut acme, &alice, &n.to_string());
    }
    let channel = (4..=9).map(|n| globex.send("carol", &alice, &n.to_string()).channel).last();
    let channel = channel.unwrap();
    globex.settle();
    let all = acme.receive(globex.id, &globex.range(channel, 4, 10)).unwrap();
    assert_eq!((all.held_back, all.applied), (Some("first_contact"), 0));
    for (seq, applied) in [(4, 1), (5, 1), (6, 0)] {
        let reply = acme.receive(globex.id, &globex.range(channel, seq, 1)).unwrap();
        assert_eq!((reply.applied, reply.rejected.len()), (applied, 0));
        acme.settle();
    }
    assert_eq!(acme.words(channel).len(), 5);
    accept(&mut acme, "alice", channel, None).unwrap();
    globex.deliver(&mut acme);
    assert_eq!(acme.words(channel).len(), 9);
    assert!(globex.state(channel).rejected.is_empty());
}

/// The yes by word is no event, and a restored home may have lost it: what came after it is not.
#[test]
fn a_restored_home_has_all_that_came_after_a_yes_that_it_has_lost() {
    for by_word in [true, false] {
        let (mut acme, mut globex, alice, carol) = two();
        acme.meets(globex.id, false);
        globex.meets(acme.id, false);
        let first = globex.send("carol", &alice, "1");
        globex.deliver(&mut acme);
        let backup = acme.store.clone();
        if by_word {
            accept(&mut acme, "alice", first.channel, None).unwrap();
        } else {
            let target = Target { sender: carol, id: first.id };
            let wish = acme.change("alice", first.channel, &target, What::React("👍", true));
            acme.run(&wish).unwrap();
        }
        acme.deliver(&mut globex);
        acme.deliver_marks(&mut globex);
        for n in 2..=12 {
            knock(&mut globex, &mut acme, &alice, &n.to_string());
        }
        acme.restore(backup);
        fetch(&mut acme, &mut globex, &mut honest).unwrap();
        same_history(&acme, &globex, first.channel);
        assert_eq!(stands(&mut acme, "alice", first.channel), (!by_word, true, false));
        // Of the words that come now, as long as it is a request, none is lost either.
        globex.send("carol", &alice, "13");
        globex.deliver(&mut acme);
        accept(&mut acme, "alice", first.channel, None).unwrap();
        globex.deliver(&mut acme);
        same_history(&acme, &globex, first.channel);
    }
}

/// Where all of a first contact is hidden, because its sender was blocked, a yes is still heard.
#[test]
fn a_yes_to_somebody_of_whom_all_is_hidden_is_told() {
    let (mut acme, mut globex, alice, carol) = two();
    acme.block("alice", &carol);
    for n in 1..=5 {
        knock(&mut globex, &mut acme, &alice, &n.to_string());
    }
    acme.unblock("alice", &carol);
    let channel = acme.open("alice", &carol);
    acme.settle();
    accept(&mut acme, "alice", channel, None).unwrap();
    acme.deliver_marks(&mut globex);
    knock(&mut globex, &mut acme, &alice, "6");
    assert_eq!((acme.unread("alice", channel), last(&mut acme, "alice", channel)), (1, 6));
}

/// Whoever is blocked is held back by nothing, and learns nothing.
#[test]
fn who_is_blocked_is_taken_where_others_wait() {
    let (mut acme, mut globex) = narrow(1, 100);
    let dave = globex.user("dave");
    acme.block("alice", &dave);
    assert!(knocks(&mut globex, "carol", &mut acme, "alice").1);
    assert!(knocks(&mut globex, "dave", &mut acme, "alice").1);
    assert!(!knocks(&mut globex, "eve", &mut acme, "alice").1);
    assert_eq!(acme.home.requests(), 1);
}

/// An `op` that is too old to be repeated is not kept.
#[test]
fn ops_are_forgotten_by_their_age() {
    let (mut acme, mut globex, alice, _) = two();
    let channel = knock(&mut globex, &mut acme, &alice, "hello");
    decline(&mut acme, "alice", channel, op(1)).unwrap();
    acme.settle();
    acme.now += 1_000;
    acme.list("alice", UserList::Contacts, ListChange::Add, &globex.user("carol")).unwrap();
    acme.settle();
    let kept = |acme: &Node, before| acme.store.ops_before(before, 10).unwrap();
    let old = kept(&acme, acme.now);
    assert_eq!(old, [(local("alice"), op(1).unwrap())]);
    acme.home.forget_ops(old);
    acme.settle();
    assert!(kept(&acme, acme.now).is_empty());
    acme.crash();
    assert!(acme.store.op(&local("alice"), op(1).unwrap()).unwrap().is_none());
}
