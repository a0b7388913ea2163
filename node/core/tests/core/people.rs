//! Contacts, blocks, what users say of themselves, and accounts that are deleted.

use homing_core::{
    AccountState, Effect, GroupsFrom, ListChange, ListCommand, NewDevice, Policy, ProfileChange,
    Reader, TokenHash, UserList,
};
use homing_wire::{ChannelId, DeviceId, HomeId, OpId, UserRef};
use uuid::Uuid;

use crate::node::{Node, accepting, local};

fn acme() -> Node {
    Node::new(1, accepting(), &["alice", "bob"])
}

fn globex() -> Node {
    Node::new(2, accepting(), &["carol"])
}

fn op(n: u128) -> OpId {
    OpId(Uuid::from_u128(n))
}

/// The texts that a user is shown of a channel, committed ones.
fn shown(node: &Node, user: &str, channel: ChannelId) -> Vec<String> {
    let me = node.user(user);
    let log = node.store.logs.get(&channel).into_iter().flat_map(|log| log.values());
    log.zip(node.words(channel)).filter(|(e, _)| e.is_shown_to(&me)).map(|(_, word)| word).collect()
}

fn last(node: &mut Node, user: &str, channel: ChannelId) -> Option<u64> {
    let me = node.user(user);
    node.home.last_message(&node.store, channel, &me).unwrap().map(|last| last.entry.pos.0)
}

fn lists(node: &mut Node, user: &str) -> Vec<(ChannelId, u64)> {
    let rows = node.home.listing(&node.store, &local(user)).unwrap();
    rows.into_iter().map(|row| (row.channel, row.active_at)).collect()
}

#[test]
fn contacts_are_added_once_and_removed() {
    let mut acme = acme();
    let (bob, carol) = (acme.user("bob"), UserRef::new(HomeId([2; 32]), local("carol")));
    let contacts = UserList::Contacts;
    let alice = local("alice");
    for other in [&bob, &carol, &bob] {
        acme.list("alice", contacts, ListChange::Add, other).unwrap();
        assert!(acme.home.is_contact(&acme.store, &alice, other).unwrap(), "before the commit");
    }
    assert!(!acme.home.has_blocked(&acme.store, &alice, &bob).unwrap(), "another list");
    assert!(!acme.home.is_contact(&acme.store, &local("bob"), &acme.user("alice")).unwrap());
    acme.settle();
    let rows = acme.store.listed(contacts, &alice, None, 9).unwrap();
    let now = acme.now;
    assert_eq!(rows, [(bob.clone(), now), (carol.clone(), now)]);
    // Again, later: since when stays.
    acme.now += 1_000;
    acme.list("alice", contacts, ListChange::Add, &bob).unwrap();
    acme.settle();
    assert_eq!(acme.store.listed(contacts, &alice, None, 9).unwrap(), rows);
    for other in [&carol, &carol] {
        acme.list("alice", contacts, ListChange::Remove, other).unwrap();
        assert!(!acme.home.is_contact(&acme.store, &alice, other).unwrap());
    }
    acme.settle();
    assert_eq!(acme.store.listed(contacts, &alice, None, 9).unwrap(), rows[..1]);
    acme.crash();
    assert!(acme.home.is_contact(&acme.store, &alice, &bob).unwrap());
}

#[test]
fn what_no_list_takes() {
    let policy = Policy { contacts: 2, blocks: 1, ..accepting() };
    let mut acme = Node::new(1, policy, &["alice", "bob", "eve"]);
    let carol = UserRef::new(HomeId([2; 32]), local("carol"));
    let (alice, bob, eve) = (acme.user("alice"), acme.user("bob"), acme.user("eve"));
    let mut refused = |list, other: &UserRef| {
        let refusal = acme.list("alice", list, ListChange::Add, other).unwrap_err();
        (refusal.reason, refusal.limit)
    };
    for list in [UserList::Contacts, UserList::Blocks] {
        assert_eq!(refused(list, &alice), ("oneself", None));
        assert_eq!(refused(list, &UserRef::new(alice.home, local("ghost"))).0, "user_not_found");
    }
    assert!(!acme.home.has_step(), "a refused command has changed nothing");
    acme.list("alice", UserList::Contacts, ListChange::Add, &bob).unwrap();
    acme.list("alice", UserList::Contacts, ListChange::Add, &carol).unwrap();
    acme.list("alice", UserList::Blocks, ListChange::Add, &bob).unwrap();
    for settled in [false, true] {
        let mut refused = |list, other: &UserRef| {
            let refusal = acme.list("alice", list, ListChange::Add, other).unwrap_err();
            (refusal.reason, refusal.limit)
        };
        assert_eq!(refused(UserList::Contacts, &eve), ("too_many_contacts", Some(2)));
        assert_eq!(refused(UserList::Blocks, &eve), ("too_many_blocks", Some(1)));
        // Who is in it already may be added all the same, and others have room of their own.
        acme.list("alice", UserList::Contacts, ListChange::Add, &carol).unwrap();
        acme.list("bob", UserList::Blocks, ListChange::Add, &eve).unwrap();
        if !settled {
            acme.settle();
            acme.crash();
        }
    }
    acme.list("alice", UserList::Contacts, ListChange::Remove, &bob).unwrap();
    acme.list("alice", UserList::Contacts, ListChange::Add, &eve).unwrap();
    acme.settle();
}

#[test]
fn an_op_is_done_once() {
    let mut acme = acme();
    let bob = acme.user("bob");
    let command = |change, number| ListCommand {
        owner: local("alice"),
        list: UserList::Contacts,
        other: bob.clone(),
        change,
        op: Some(op(number)),
    };
    acme.change_list(&command(ListChange::Add, 1)).unwrap();
    acme.change_list(&command(ListChange::Remove, 2)).unwrap();
    // A repeat that comes late, before and after the commit and a crash.
    for _ in 0..2 {
        acme.change_list(&command(ListChange::Add, 1)).unwrap();
        assert!(!acme.home.is_contact(&acme.store, &local("alice"), &bob).unwrap());
        acme.settle();
        acme.crash();
    }
    // An op is one change: neither a message's nor a list's for the other.
    let mut message = acme.command("alice", &bob, "hi");
    message.op = Some(op(1));
    assert_eq!(acme.run(&message).unwrap_err().reason, "op_reused");
    message.op = Some(op(3));
    acme.run(&message).unwrap();
    let refusal = acme.change_list(&command(ListChange::Add, 3)).unwrap_err();
    assert_eq!(refusal.reason, "op_reused");
}

/// Of one home: what bob writes while alice has blocked him is in the log, and bob sees it; alice sees nothing.
#[test]
fn what_a_blocked_user_writes_is_hidden() {
    let mut acme = acme();
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let channel = acme.send("bob", &alice, "before").channel;
    acme.settle();
    acme.tick();
    let first = acme.now;
    assert_eq!((acme.unread("alice", channel), last(&mut acme, "alice", channel)), (1, Some(1)));

    acme.block("alice", &bob);
    let told = acme.settle();
    assert!(
        matches!(&told[..], [Effect::ChannelOf { user, .. }] if user.as_str() == "alice"),
        "alice's devices alone: {told:?}"
    );
    assert_eq!(acme.unread("alice", channel), 0, "nothing of bob is unread");
    let since = acme.home.change();

    acme.now += 1_000;
    let mut loud = acme.command("bob", &alice, "hidden");
    loud.mentions.push(alice.clone());
    let sent = acme.run(&loud).unwrap();
    assert_eq!(
        (last(&mut acme, "alice", channel), last(&mut acme, "bob", channel)),
        (Some(1), Some(2))
    );
    let told = acme.settle();
    assert!(
        matches!(&told[..], [Effect::Message { entry, .. }] if !entry.is_shown_to(&alice) && entry.is_shown_to(&bob)),
        "{told:?}"
    );
    assert_eq!(sent.pos.0, 2, "the sender is answered as always");
    assert_eq!(lists(&mut acme, "alice"), [(channel, first)], "the chat does not move up");
    assert_eq!(lists(&mut acme, "bob"), [(channel, first + 1_000)]);
    let rows = acme.home.listing(&acme.store, &local("alice")).unwrap();
    assert!(rows.iter().all(|row| row.changed <= since), "nothing to sync");
    let state = acme.state(channel);
    let member = state.member(&alice).unwrap();
    assert_eq!((state.unread(member), member.mentions.len()), (0, 0));
    assert_eq!(shown(&acme, "alice", channel), ["before"]);
    assert_eq!(shown(&acme, "bob", channel), ["before", "hidden"]);

    // The block is as good after a crash, with nothing in memory.
    acme.crash();
    acme.send("bob", &alice, "hidden too");
    acme.settle();
    acme.crash();
    assert_eq!(
        (last(&mut acme, "alice", channel), last(&mut acme, "bob", channel)),
        (Some(1), Some(3))
    );

    // Unblocked: what came meanwhile does not come back, what was unread is unread again.
    acme.unblock("alice", &bob);
    acme.settle();
    assert_eq!(acme.unread("alice", channel), 1);
    assert_eq!(last(&mut acme, "alice", channel), Some(1));
    acme.now += 1_000;
    acme.send("bob", &alice, "after");
    acme.settle();
    assert_eq!(shown(&acme, "alice", channel), ["before", "after"]);
    assert_eq!((acme.unread("alice", channel), last(&mut acme, "alice", channel)), (2, Some(4)));
    assert_eq!(lists(&mut acme, "alice"), [(channel, first + 2_000)]);
}

/// Neither delivered nor read is told of what is hidden, whatever else the blocker does.
#[test]
fn a_blocked_sender_gets_no_marks_for_what_is_hidden() {
    let mut acme = acme();
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let channel = acme.send("bob", &alice, "1").channel;
    acme.settle();
    acme.mark("alice", channel, 1, 1).unwrap();
    acme.tick();
    acme.block("alice", &bob);
    acme.send("bob", &alice, "2");
    acme.settle();
    acme.tick();

    // Alice's clients may know the head; she may even write.
    acme.mark("alice", channel, 2, 2).unwrap();
    let told = acme.tick();
    assert!(
        matches!(&told[..], [Effect::Marked { user, mark, quiet: true, .. }] if *user == alice && mark.read.0 == 1),
        "{told:?}"
    );
    acme.send("alice", &bob, "3");
    acme.settle();
    acme.tick();
    let member = acme.state(channel).member(&alice).unwrap().clone();
    assert_eq!((member.mark.read.0, member.told(member.mark).read.0), (3, 1));
    assert_eq!(member.times.back().unwrap().mark.read.0, 1);
    assert_eq!(last(&mut acme, "alice", channel), Some(3), "her own word is her last");

    // Unblocked, nothing is told of it yet; with the next message that she reads, all below is read.
    acme.unblock("alice", &bob);
    acme.send("bob", &alice, "4");
    acme.settle();
    acme.tick();
    let member = acme.state(channel).member(&alice).unwrap().clone();
    assert_eq!(member.told(member.mark).read.0, 1);
    acme.mark("alice", channel, 4, 4).unwrap();
    let told = acme.tick();
    assert!(
        matches!(&told[..], [Effect::Marked { user, mark, quiet: false, .. }] if *user == alice && mark.read.0 == 4),
        "{told:?}"
    );
    assert!(acme.state(channel).member(&alice).unwrap().veil.is_none());
}

#[test]
fn between_homes_a_block_is_not_told() {
    let (mut acme, mut globex) = (acme(), globex());
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let channel = globex.send("carol", &alice, "1").channel;
    globex.deliver(&mut acme);
    acme.mark("alice", channel, 1, 1).unwrap();
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel), (1, 1));

    acme.block("alice", &carol);
    globex.send("carol", &alice, "2");
    globex.deliver(&mut acme);
    assert!(globex.home.owed().is_empty(), "taken like any other");
    assert_eq!(shown(&acme, "alice", channel), ["1"]);
    // Alice writes above it, and marks what she does not see.
    acme.send("alice", &carol, "3");
    acme.mark("alice", channel, 3, 3).unwrap();
    acme.deliver(&mut globex);
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel), (1, 1), "neither delivered nor read");
    // Both homes hold the same, whatever is shown.
    assert_eq!(acme.store.by_order(channel), globex.store.by_order(channel));

    acme.unblock("alice", &carol);
    globex.send("carol", &alice, "4");
    globex.deliver(&mut acme);
    acme.deliver_marks(&mut globex);
    assert_eq!(shown(&acme, "alice", channel), ["1", "3", "4"]);
    assert_eq!(globex.mark_of(&alice, channel), (1, 1));
    acme.mark("alice", channel, 4, 4).unwrap();
    acme.deliver_marks(&mut globex);
    let (delivered, _) = globex.mark_of(&alice, channel);
    let state = globex.state(channel);
    assert_eq!(delivered, state.head.0, "what she has read of late is told");
}

/// A chat that a blocked user begins is nowhere in the blocker's list, until she begins to talk or hears again.
#[test]
fn a_chat_begun_by_a_blocked_user_is_hidden_whole() {
    for (unblocked, from) in [(false, "bob"), (true, "bob"), (false, "carol"), (true, "carol")] {
        let (mut acme, mut globex) = (acme(), globex());
        let alice = acme.user("alice");
        let other = if from == "bob" { acme.user("bob") } else { globex.user("carol") };
        acme.block("alice", &other);
        acme.settle();
        let channel = ChannelId::chat(&alice, &other);
        let mut write = |acme: &mut Node, words: &str| {
            if from == "bob" {
                acme.send("bob", &alice, words);
                acme.settle();
            } else {
                globex.send("carol", &alice, words);
                globex.deliver(acme);
            }
        };
        write(&mut acme, "1");
        acme.tick();
        acme.crash();
        assert_eq!(lists(&mut acme, "alice"), [], "{from}");
        assert_eq!(last(&mut acme, "alice", channel), None);
        assert!(!acme.state(channel).member(&alice).unwrap().is_listed());
        if unblocked {
            acme.unblock("alice", &other);
            acme.settle();
            assert_eq!(lists(&mut acme, "alice"), [], "unblocking alone brings nothing back");
            acme.now += 1_000;
            write(&mut acme, "2");
            assert_eq!(shown(&acme, "alice", channel), ["2"]);
            assert_eq!(last(&mut acme, "alice", channel), Some(2));
        } else {
            assert_eq!(acme.open("alice", &other), channel);
            let told = acme.settle();
            assert!(
                matches!(&told[..], [Effect::ChannelOf { user, .. }] if user.as_str() == "alice")
            );
            assert_eq!(shown(&acme, "alice", channel), [""; 0]);
            assert_eq!(last(&mut acme, "alice", channel), None);
        }
        assert_eq!(lists(&mut acme, "alice").len(), 1);
    }
}

#[test]
fn two_who_have_blocked_each_other_see_their_own_words() {
    let mut acme = acme();
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let channel = acme.send("alice", &bob, "both").channel;
    acme.block("alice", &bob);
    acme.block("bob", &alice);
    for n in 0..3 {
        acme.send("alice", &bob, &format!("a{n}"));
        acme.send("bob", &alice, &format!("b{n}"));
        assert_eq!(last(&mut acme, "alice", channel), Some(2 + 2 * n));
        assert_eq!(last(&mut acme, "bob", channel), Some(3 + 2 * n));
        acme.settle();
    }
    assert_eq!(shown(&acme, "alice", channel), ["both", "a0", "a1", "a2"]);
    assert_eq!(shown(&acme, "bob", channel), ["both", "b0", "b1", "b2"]);
    acme.crash();
    assert_eq!(last(&mut acme, "alice", channel), Some(6));
    assert_eq!(last(&mut acme, "bob", channel), Some(7));
}

#[test]
fn retention_takes_the_last_word_that_a_blocker_is_shown() {
    let mut acme = acme();
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let channel = acme.send("bob", &alice, "old").channel;
    acme.block("alice", &bob);
    acme.settle();
    let old = acme.now;
    acme.now += 10_000;
    acme.send("bob", &alice, "new");
    acme.settle();
    assert_eq!(last(&mut acme, "alice", channel), Some(1));
    acme.home.prune(&acme.store, acme.now, channel, old + 1).unwrap();
    let told = acme.settle();
    assert!(matches!(told[..], [Effect::Channel { .. }]), "{told:?}");
    assert_eq!(
        (last(&mut acme, "alice", channel), last(&mut acme, "bob", channel)),
        (None, Some(2))
    );
}

#[test]
fn what_a_user_says_of_himself() {
    let mut acme = acme();
    let alice = local("alice");
    assert_eq!(acme.home.groups_from(&acme.store, &alice).unwrap(), GroupsFrom::Contacts);
    let name =
        |name: &str| ProfileChange { display_name: Some(name.into()), ..ProfileChange::default() };
    let everyone =
        ProfileChange { groups_from: Some(GroupsFrom::Everyone), ..ProfileChange::default() };
    let now = acme.now;
    acme.home.update_profile(&acme.store, now, &alice, name("Alice"), Some(op(1))).unwrap();
    let account = acme.home.update_profile(&acme.store, now, &alice, everyone, None).unwrap();
    assert_eq!(
        (account.display_name.as_str(), account.groups_from),
        ("Alice", GroupsFrom::Everyone)
    );
    acme.home.update_profile(&acme.store, now, &alice, name("Al"), Some(op(2))).unwrap();
    let again = acme.home.update_profile(&acme.store, now, &alice, name("Alice"), Some(op(1)));
    assert_eq!(again.unwrap().display_name, "Al", "a repeated op changes nothing");
    acme.settle();
    acme.crash();
    assert_eq!(acme.home.groups_from(&acme.store, &alice).unwrap(), GroupsFrom::Everyone);
    assert_eq!(acme.home.groups_from(&acme.store, &local("ghost")).unwrap(), GroupsFrom::Contacts);
}

#[test]
fn a_deleted_account_leaves_its_name_alone() {
    let (mut acme, mut globex) = (acme(), globex());
    let (alice, bob, carol) = (acme.user("alice"), acme.user("bob"), globex.user("carol"));
    acme.send("bob", &alice, "hi");
    globex.send("carol", &alice, "hi");
    globex.deliver(&mut acme);
    let (id, token) = (DeviceId(Uuid::from_u128(1)), TokenHash([1; 32]));
    let device =
        NewDevice { user: local("alice"), id, token, name: "phone".into(), checked: String::new() };
    acme.home.add_device(&acme.store, acme.now, device).unwrap();
    acme.list("alice", UserList::Contacts, ListChange::Add, &carol).unwrap();
    acme.block("bob", &alice);
    acme.settle();
    // Not on disk yet when the account goes.
    acme.block("alice", &bob);

    let (account, devices) = acme.home.delete_account(&acme.store, &local("alice")).unwrap();
    assert_eq!((account.state, devices.len()), (AccountState::Deleted, 1));
    acme.settle();
    assert!(acme.store.device(token).unwrap().is_none(), "the token is dead");
    let left: Vec<_> = acme.store.lists.keys().map(|(_, owner, _)| owner.as_str()).collect();
    assert_eq!(left, ["bob"], "what others have noted of alice is theirs");
    let again = acme.home.delete_account(&acme.store, &local("alice")).unwrap_err();
    assert!(again.to_string().contains("user_not_found"), "{again}");
    // Others' words are refused, here and from there.
    let command = acme.command("bob", &alice, "still there?");
    assert_eq!(acme.run(&command).unwrap_err().reason, "user_not_found");
    let channel = globex.send("carol", &alice, "still there?").channel;
    globex.deliver(&mut acme);
    assert_eq!(globex.state(channel).cursors[0].refused.as_deref(), Some("user_gone"));
}

#[test]
fn people_are_found_by_what_they_are_called_now() {
    let mut acme = acme();
    let found = |node: &Node, beginning: &str| {
        let found = node.store.found_by(beginning, 9).unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let named = |name: &str| {
        let display_name = Some(name.to_owned());
        ProfileChange { display_name, ..ProfileChange::default() }
    };
    for name in ["Alice Smith", "Alice Jones", "Alice Jones"] {
        let change = named(name);
        acme.home.update_profile(&acme.store, acme.now, &local("alice"), change, None).unwrap();
    }
    // The store holds the index against the accounts at each commit.
    acme.settle();
    assert_eq!((found(&acme, "smi"), found(&acme, "jon")), (vec![], vec!["alice".to_owned()]));
    // A store of before has none of it, and is healed; again changes nothing.
    let words = std::mem::take(&mut acme.store.words);
    acme.crash();
    for healed in [true, false] {
        for account in acme.store.accounts(None, 9).unwrap() {
            assert_eq!(acme.home.index_again(&acme.store, &account).unwrap(), healed);
        }
        let step = acme.home.take_step();
        assert_eq!(step.batch.writes.is_empty(), !healed);
        acme.store.commit(acme.id, acme.epoch, &step.batch);
        acme.home.committed(step.number);
    }
    assert_eq!(acme.store.words, words);
    acme.home.delete_account(&acme.store, &local("alice")).unwrap();
    acme.settle();
    assert_eq!(found(&acme, "al"), [""; 0]);
}
