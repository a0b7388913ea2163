//! A user's own view of channels.

use homing_core::{Effect, Failure, OwnView, Policy, Refusal, ViewChange, Write};
use homing_wire::{ChannelId, OpId};
use uuid::Uuid;

use crate::group_world::group_of;
use crate::node::{Node, accepting, local};

fn acme() -> (Node, ChannelId) {
    let mut acme = Node::new(1, accepting(), &["alice", "bob", "eve"]);
    let bob = acme.user("bob");
    let channel = acme.send("alice", &bob, "hi").channel;
    acme.settle();
    (acme, channel)
}

fn op(n: u128) -> Option<OpId> {
    Some(OpId(Uuid::from_u128(n)))
}

fn update(
    node: &mut Node,
    user: &str,
    channel: ChannelId,
    change: &ViewChange,
    op: Option<OpId>,
) -> Result<(), Refusal> {
    match node.home.update_view(&node.store, node.now, &local(user), channel, change, op) {
        Ok(()) => Ok(()),
        Err(Failure::Refused(refusal)) => Err(refusal),
        Err(Failure::Fault(fault)) => panic!("{fault}"),
    }
}

fn view(node: &mut Node, user: &str, channel: ChannelId) -> OwnView {
    node.home.own_view(&node.store, &local(user), channel).unwrap()
}

fn draft(node: &mut Node, user: &str, channel: ChannelId) -> Option<String> {
    node.home.draft(&node.store, &local(user), channel).unwrap().map(|text| text.to_string())
}

fn drafting(text: &str) -> ViewChange {
    ViewChange { draft: Some(text.to_owned()), ..ViewChange::default() }
}

fn row(node: &mut Node, user: &str, channel: ChannelId) -> (u64, u64) {
    let rows = node.home.listing(&node.store, &local(user)).unwrap();
    let row = rows.into_iter().find(|row| row.channel == channel).unwrap();
    (row.changed, row.active_at)
}

/// The one user who is told, and whether the device that caused it is left out.
fn told(effects: &[Effect]) -> Option<(&str, bool)> {
    match effects {
        [Effect::ChannelOf { user, answered, .. }] => Some((user.as_str(), *answered)),
        _ => None,
    }
}

#[test]
fn it_is_the_users_own_and_survives() {
    let (mut acme, channel) = acme();
    let before = (row(&mut acme, "alice", channel), row(&mut acme, "bob", channel));
    let until = acme.now + 1;
    let change = ViewChange {
        muted_until: Some(Some(until)),
        archived: Some(true),
        pinned: Some(true),
        draft: Some("wörds 🦊".into()),
        marked_unread: Some(true),
    };
    update(&mut acme, "alice", channel, &change, None).unwrap();
    // Before it is on disk, and after a crash.
    let wanted = OwnView {
        muted_until: Some(until),
        archived: true,
        pinned: true,
        marked_unread: true,
        drafted: true,
    };
    assert_eq!(view(&mut acme, "alice", channel), wanted);
    assert_eq!(draft(&mut acme, "alice", channel).as_deref(), Some("wörds 🦊"));
    assert_eq!(told(&acme.settle()), Some(("alice", true)));
    acme.crash();
    assert_eq!(view(&mut acme, "alice", channel), wanted);
    assert_eq!(draft(&mut acme, "alice", channel).as_deref(), Some("wörds 🦊"));
    assert_eq!(view(&mut acme, "bob", channel), OwnView::default());
    assert_eq!(draft(&mut acme, "bob", channel), None);
    // It comes with the next `since`, of alice alone, and moves nothing in the list.
    let after = (row(&mut acme, "alice", channel), row(&mut acme, "bob", channel));
    assert!(after.0.0 > before.0.0 && after.0.1 == before.0.1);
    assert_eq!(after.1, before.1);

    let back = ViewChange {
        muted_until: Some(None),
        archived: Some(false),
        pinned: Some(false),
        draft: Some(String::new()),
        marked_unread: Some(false),
    };
    update(&mut acme, "alice", channel, &back, None).unwrap();
    assert_eq!(told(&acme.settle()), Some(("alice", true)));
    assert!(acme.store.own_views.is_empty() && acme.store.drafts.is_empty());
    assert_eq!(draft(&mut acme, "alice", channel), None);
}

#[test]
fn what_changes_nothing_tells_nobody() {
    let (mut acme, channel) = acme();
    update(&mut acme, "alice", channel, &drafting("a"), op(1)).unwrap();
    assert_eq!(told(&acme.settle()), Some(("alice", true)));
    let change = acme.home.change();
    // The same again; and an `op` whose text has been overtaken.
    update(&mut acme, "alice", channel, &drafting("a"), op(2)).unwrap();
    acme.settle();
    assert_eq!(acme.home.change(), change);
    update(&mut acme, "alice", channel, &drafting("b"), op(3)).unwrap();
    acme.settle();
    acme.crash();
    update(&mut acme, "alice", channel, &drafting("a"), op(1)).unwrap();
    assert!(acme.settle().is_empty());
    assert_eq!(draft(&mut acme, "alice", channel).as_deref(), Some("b"));
}

#[test]
fn what_is_refused_changes_nothing() {
    let (mut acme, channel) = acme();
    acme.policy = Policy { draft_bytes: 8, pinned: 1, ..accepting() };
    acme.crash();
    let now = acme.now;
    let mut refused = |user: &str, channel, change: &ViewChange| {
        let refusal = update(&mut acme, user, channel, change, op(9)).unwrap_err();
        acme.settle();
        assert!(acme.store.own_views.is_empty() && acme.store.drafts.is_empty());
        (refusal.reason, refusal.limit)
    };
    let until = |at| ViewChange { muted_until: Some(Some(at)), ..ViewChange::default() };
    assert_eq!(refused("alice", channel, &until(now)), ("muted_until_past", None));
    assert_eq!(refused("alice", channel, &until(0)), ("muted_until_past", None));
    assert_eq!(refused("alice", channel, &drafting("123456789")), ("draft_too_long", Some(8)));
    let two = ViewChange { archived: Some(true), ..drafting("123456789") };
    assert_eq!(refused("alice", channel, &two), ("draft_too_long", Some(8)));
    assert_eq!(refused("eve", channel, &drafting("a")), ("channel_not_found", None));
    let nowhere = ChannelId(Uuid::from_u128(5));
    assert_eq!(refused("alice", nowhere, &drafting("a")), ("channel_not_found", None));

    let pin = ViewChange { pinned: Some(true), ..ViewChange::default() };
    update(&mut acme, "alice", channel, &pin, None).unwrap();
    let eve = acme.user("eve");
    let other = acme.send("alice", &eve, "hi").channel;
    let refusal = update(&mut acme, "alice", other, &pin, None).unwrap_err();
    assert_eq!((refusal.reason, refusal.limit), ("too_many_pinned", Some(1)));
    // What is pinned may be pinned again, and makes room when it is not.
    update(&mut acme, "alice", channel, &pin, None).unwrap();
    let unpin = ViewChange { pinned: Some(false), ..ViewChange::default() };
    update(&mut acme, "alice", channel, &unpin, None).unwrap();
    update(&mut acme, "alice", other, &pin, None).unwrap();
    acme.settle();
}

#[test]
fn a_mark_as_unread_goes_with_reading_to_the_end_and_with_writing() {
    let (mut acme, channel) = acme();
    let alice = acme.user("alice");
    let bob = acme.user("bob");
    acme.send("alice", &bob, "again");
    acme.mark("bob", channel, 2, 2).unwrap();
    acme.tick();
    let unread = ViewChange { marked_unread: Some(true), ..ViewChange::default() };
    // Everything is read: the mark does not rise, and it counts all the same.
    update(&mut acme, "bob", channel, &unread, None).unwrap();
    acme.settle();
    acme.mark("bob", channel, 2, 1).unwrap();
    assert!(view(&mut acme, "bob", channel).marked_unread, "not to the end");
    acme.mark("bob", channel, 2, 2).unwrap();
    assert!(!view(&mut acme, "bob", channel).marked_unread);
    assert_eq!(told(&acme.settle()), Some(("bob", false)));

    update(&mut acme, "bob", channel, &unread, None).unwrap();
    acme.settle();
    acme.send("alice", &bob, "and again");
    acme.settle();
    assert!(view(&mut acme, "bob", channel).marked_unread, "others' words change nothing");
    acme.send("bob", &alice, "yes");
    let effects = acme.settle();
    let of_bob =
        |e: &&Effect| matches!(e, Effect::ChannelOf { user, .. } if user.as_str() == "bob");
    assert_eq!(effects.iter().filter(of_bob).count(), 1);
    acme.crash();
    assert!(!view(&mut acme, "bob", channel).marked_unread);
    assert!(acme.store.own_views.is_empty());
}

#[test]
fn a_message_writes_nothing_of_it() {
    let (mut acme, channel) = acme();
    let bob = acme.user("bob");
    let long = "x".repeat(16 << 10);
    for user in ["alice", "bob"] {
        let change = ViewChange { archived: Some(true), ..drafting(&long) };
        update(&mut acme, user, channel, &change, None).unwrap();
    }
    acme.settle();
    acme.send("alice", &bob, "more");
    let step = acme.home.take_step();
    let own = |w: &&Write| matches!(w, Write::OwnView { .. } | Write::Draft { .. });
    assert_eq!(step.batch.writes.iter().filter(own).count(), 0);
    acme.store.commit(acme.id, acme.epoch, &step.batch);
    acme.home.committed(step.number);
    // And what is archived stays so.
    assert!(view(&mut acme, "bob", channel).archived);
}

#[test]
fn nothing_is_kept_of_whoever_is_deleted() {
    let (mut acme, channel) = acme();
    let change = ViewChange { pinned: Some(true), ..drafting("secret") };
    update(&mut acme, "bob", channel, &change, None).unwrap();
    acme.settle();
    update(&mut acme, "alice", channel, &drafting("mine"), None).unwrap();
    acme.home.delete_account(&acme.store, &local("bob")).unwrap();
    acme.settle();
    assert_eq!(acme.store.drafts.values().collect::<Vec<_>>(), ["mine"]);
    assert_eq!(acme.store.own_views.len(), 1);
    let refusal = update(&mut acme, "bob", channel, &drafting("a"), None).unwrap_err();
    assert_eq!(refusal.reason, "user_disabled");
}

#[test]
fn a_group_that_was_left_can_be_put_away() {
    let (mut world, group, anns) = group_of(2);
    world.leave(&anns[1], group);
    world.flow();
    world.say(&anns[0], group, "after").unwrap();
    world.flow();
    let node = &mut world.nodes[1];
    let before = row(node, "ann", group);
    let change = ViewChange { archived: Some(true), ..ViewChange::default() };
    update(node, "ann", group, &change, None).unwrap();
    assert_eq!(told(&node.settle()), Some(("ann", true)));
    let after = row(node, "ann", group);
    assert!(after.0 > before.0 && after.1 == before.1, "{before:?} {after:?}");
    node.crash();
    assert!(view(node, "ann", group).archived);
}

/// What a user sees of three chats: (view, draft) of each.
type Seen = [(OwnView, Option<String>); 3];

fn seen(node: &mut Node, channels: &[ChannelId; 3]) -> Seen {
    channels.map(|channel| (view(node, "alice", channel), draft(node, "alice", channel)))
}

/// Whatever is changed, written, read, and lost in a crash: what is shown is what was decided, or what is on disk.
#[test]
fn random_changes_and_crashes_leave_what_was_decided() {
    for seed in 1..=200_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut roll = |most: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % most
        };
        // Caches that forget at once.
        let policy =
            Policy { accounts_cached: 1, channels_cached: 1, lists_cached: 1, ..accepting() };
        let mut acme = Node::new(1, policy, &["alice", "bob", "eve", "ida"]);
        let alice = acme.user("alice");
        let channels = ["bob", "eve", "ida"].map(|who| acme.send(who, &alice, "hi").channel);
        acme.settle();
        let mut now: Seen = Default::default();
        let mut on_disk = now.clone();
        for _ in 0..60 {
            let at = roll(3) as usize;
            let channel = channels[at];
            let (mine, text) = &mut now[at];
            match roll(8) {
                0 => {
                    let words = ["", "a", "bb"][roll(3) as usize];
                    update(&mut acme, "alice", channel, &drafting(words), None).unwrap();
                    *text = (!words.is_empty()).then(|| words.to_owned());
                    mine.drafted = text.is_some();
                }
                1 | 2 => {
                    let on = roll(2) == 0;
                    let change = ViewChange {
                        archived: Some(on),
                        pinned: (roll(2) == 0).then_some(on),
                        marked_unread: (roll(2) == 0).then_some(on),
                        ..ViewChange::default()
                    };
                    update(&mut acme, "alice", channel, &change, None).unwrap();
                    mine.archived = on;
                    mine.pinned = change.pinned.unwrap_or(mine.pinned);
                    mine.marked_unread = change.marked_unread.unwrap_or(mine.marked_unread);
                }
                3 => {
                    let other = acme.user(["bob", "eve", "ida"][at]);
                    acme.send("alice", &other, "mine");
                    mine.marked_unread = false;
                }
                4 => {
                    acme.send(["bob", "eve", "ida"][at], &alice, "theirs");
                }
                5 => {
                    let head = acme.state(channel).head.0;
                    let pos = 1 + roll(head);
                    acme.mark("alice", channel, pos, pos).unwrap();
                    mine.marked_unread &= pos < head;
                }
                6 => {
                    acme.tick();
                    on_disk.clone_from(&now);
                }
                _ => {
                    acme.crash();
                    now.clone_from(&on_disk);
                }
            }
            assert_eq!(seen(&mut acme, &channels), now, "seed {seed}");
        }
    }
}
