//! Groups and disks that are lost: rosters and messages come back, nobody is asked anew, and nobody is shown what
//! was written before they came.

use homing_core::{Answered, Question, RangeQuestion, range_of};
use homing_wire::{Change, ChannelId, Policy, Role, Seq, UserRef};

use crate::group_world::{World, group_of};
use crate::repair::{answer, fetch};
use crate::store::TestStore;

fn rename(name: &str) -> Change {
    Change::Update { name: Some(name.to_owned()), avatar: None, policy: None, roles: Vec::new() }
}

fn say(world: &mut World, who: &UserRef, group: ChannelId, words: &str) {
    world.say(who, group, words).unwrap();
    world.flow();
}

/// Somebody of another home comes between what the other writes early and what the other writes late. The words are
/// all that was written.
fn early_and_late(
    world: &mut World,
    group: ChannelId,
    writer: &UserRef,
    late: &UserRef,
) -> Vec<String> {
    for n in 0..4 {
        say(world, writer, group, &format!("early {n}"));
    }
    world.done(writer, group, Change::Invite(vec![late.clone()]));
    world.flow();
    world.join(late, group);
    for n in 0..3 {
        say(world, writer, group, &format!("late {n}"));
    }
    world.words(writer, group)
}

/// The first home writes what the third does not hear, loses its disk, and gets it back from the second: it asks the
/// third before that one.
fn lost_and_found(world: &mut World, group: ChannelId, anns: &[UserRef], backup: TestStore) {
    let heard = world.words(&anns[2], group);
    world.cut.insert((0, 2));
    for n in 0..5 {
        say(world, &anns[0], group, &format!("lost with the disk {n}"));
    }
    assert_eq!(world.words(&anns[2], group), heard);
    world.cut.clear();
    world.restore(0, backup);
    for other in [2, 1] {
        world.asks(0, other);
        world.flow();
    }
}

#[test]
fn rosters_come_back_to_the_home_that_signed_them() {
    let (mut world, group, anns) = group_of(3);
    let (ann, bea, cat) = (anns[0].clone(), world.user(0, "bea"), world.user(2, "cat"));
    say(&mut world, &ann, group, "before the backup");
    let backup = world.nodes[0].store.clone();
    world.done(&ann, group, Change::Invite(vec![cat.clone()]));
    world.flow();
    world.join(&cat, group);
    world.done(&ann, group, Change::Remove(vec![bea.clone()]));
    world.done(&ann, group, rename("enemies"));
    world.flow();
    for who in [&ann, &anns[1], &cat] {
        say(&mut world, who, group, "after");
    }
    let newest = world.roster(0, group);
    world.restore(0, backup);
    assert_ne!(world.roster(0, group), newest);

    // Before it has asked, a change would take back what was changed since.
    let refused = world.ask(&ann, group, rename("strangers")).unwrap_err();
    assert_eq!(refused.reason, "reconciling");
    world.asks_all(0);
    assert_eq!(world.roster(0, group), newest);
    assert_eq!(world.nodes[0].state(group).member(&bea).map(|m| m.left), Some(true));
    world.done(&ann, group, rename("friends again"));
    world.flow();
    world.heal();
    for home in 0..3 {
        let roster = world.roster(home, group);
        assert_eq!(
            (roster.name.as_str(), roster.role(&cat)),
            ("friends again", Some(Role::Member))
        );
        assert!(roster.version > newest.version);
    }
    say(&mut world, &cat, group, "and on");
    let all = world.words(&ann, group);
    assert_eq!(all.len(), 5, "{all:?}");
    assert_eq!(world.words(&anns[1], group), all);
    world.settled(group, 0);
}

#[test]
fn a_group_that_the_backup_does_not_know_comes_back() {
    let mut world = World::new(3, &["ann", "bea"]);
    let backup = world.nodes[0].store.clone();
    let (ann, bea) = (world.user(0, "ann"), world.user(0, "bea"));
    let others = [world.user(1, "ann"), world.user(2, "ann")];
    let group = world.create(0, [&others[..], std::slice::from_ref(&bea)].concat());
    others.iter().for_each(|other| world.join(other, group));
    for who in [&ann, &bea, &others[0], &others[1]] {
        say(&mut world, who, group, "hello");
    }
    let all = world.shown(&others[0], group);
    let newest = world.roster(1, group);
    world.restore(0, backup);
    world.asks_all(0);
    assert_eq!(world.roster(0, group), newest);
    assert_eq!(world.shown(&ann, group), all);
    assert_eq!(world.shown(&bea, group), all);
    say(&mut world, &ann, group, "in a new life");
    say(&mut world, &others[1], group, "welcome back");
    assert_eq!(world.shown(&ann, group), world.shown(&others[0], group));
    world.done(&ann, group, rename("friends again"));
    world.flow();
    world.settled(group, 0);
}

#[test]
fn whoever_had_joined_is_not_asked_anew_after_a_restore() {
    let mut world = World::new(3, &["ann"]);
    let (ann, bob, cat) = (world.user(0, "ann"), world.user(1, "ann"), world.user(2, "ann"));
    world.tick();
    let backup = world.nodes[1].store.clone();
    let group = world.create(0, vec![bob.clone(), cat.clone()]);
    for who in [&bob, &cat] {
        world.join(who, group);
    }
    for who in [&ann, &bob, &cat] {
        say(&mut world, who, group, "hello");
    }
    let all = world.shown(&bob, group);
    assert_eq!(all.len(), 3);
    world.restore(1, backup);
    world.asks_all(1);
    assert_eq!(world.shown(&bob, group), all);
    assert_eq!(world.shown(&ann, group), all);
    say(&mut world, &cat, group, "still there?");
    say(&mut world, &bob, group, "yes");
    assert_eq!(world.shown(&bob, group), world.shown(&ann, group));
    assert_eq!(world.shown(&bob, group).len(), 5);
    world.settled(group, 0);
}

#[test]
fn a_home_is_given_what_was_written_while_it_was_in() {
    let (mut world, group, anns) = group_of(3);
    let (ann, bob, late) = (anns[0].clone(), anns[1].clone(), anns[2].clone());
    world.leave(&late, group);
    world.flow();
    for n in 0..20 {
        say(&mut world, &ann, group, &format!("without them {n}"));
        say(&mut world, &bob, group, &format!("nor so {n}"));
    }
    let before = world.nodes[2].store.clone();
    world.done(&ann, group, Change::Invite(vec![late.clone()]));
    world.flow();
    world.join(&late, group);
    for n in 0..3 {
        say(&mut world, &ann, group, &format!("with them {n}"));
        say(&mut world, &bob, group, &format!("so, too {n}"));
    }
    let seen = world.shown(&late, group);
    assert_eq!(seen.len(), 6);

    // Whoever asks for more gets no more of it: of the origin's own chain, and of another's.
    let peer = world.nodes[2].id;
    for (holder, origin) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (holder, origin) = (&world.nodes[holder], &world.nodes[origin]);
        let held = holder.store.channels[&group].chain(&origin.id, origin.epoch).unwrap().seq;
        for headers in [false, true] {
            let (channel, origin, epoch) = (group, origin.id, origin.epoch);
            let first = Seq(1);
            let question = RangeQuestion { channel, origin, epoch, first, last: None, headers };
            let part = range_of(&holder.store, holder.id, peer, &question).unwrap().unwrap();
            assert_eq!(part.events.len(), 3);
            assert_eq!(part.begins, Some(Seq(held.0 - 3)));
        }
    }
    // So a home that lost all of it gets back what it had, whomever it asks first.
    for order in [[0, 1], [1, 0]] {
        world.restore(2, before.clone());
        let incomplete = order.map(|other| world.asks(2, other).incomplete());
        assert_eq!(incomplete, [0, 0]);
        world.flow();
        assert_eq!(world.shown(&late, group), seen);
    }
    world.settled(group, 0);
}

#[test]
fn a_home_that_is_out_of_a_group_by_the_time_it_is_answered_goes_on_with_the_others() {
    let (mut world, group, anns) = group_of(3);
    let (other, before) = (world.create(0, vec![anns[2].clone()]), world.nodes[2].store.clone());
    world.join(&anns[2], other);
    for group in [group, other] {
        say(&mut world, &anns[0], group, "hello");
    }
    world.restore(2, before);
    let mut refuse = |told: &mut Answered| {
        let Answered::Range { end: Some(end), .. } = told else { return };
        if end.head().channel == group {
            *told = Answered::NotAMember;
        }
    };
    let (holders, asker) = world.nodes.split_at_mut(2);
    let (repair, _) = fetch(&mut asker[0], &mut holders[0], &mut refuse).unwrap();
    assert_eq!((repair.fetched(), repair.incomplete()), (1, 0));
    assert_eq!(world.words(&anns[2], other), ["hello"]);
}

#[test]
fn a_letter_to_a_home_that_has_still_to_ask_waits_and_is_not_lost() {
    let (mut world, group, anns) = group_of(3);
    let backup = world.nodes[0].store.clone();
    world.done(&anns[0], group, rename("enemies"));
    world.flow();
    world.cut_off(0);
    world.leave(&anns[1], group);
    world.flow();
    world.restore(0, backup);
    // Its letter arrives before what would make sense of it.
    world.cut.clear();
    world.resume(1, 0);
    assert_eq!(world.role(0, group, &anns[1]), Some(Role::Member));
    world.asks_all(0);
    assert_eq!(world.roster(0, group).name, "enemies");
    world.heal();
    for home in [0, 2] {
        assert_eq!(world.role(home, group, &anns[1]), None);
        assert_eq!(world.roster(home, group).name, "enemies");
    }
    world.settled(group, 0);
}

/// The same of a group that the backup does not know.
#[test]
fn a_letter_about_a_group_that_may_come_back_waits() {
    let (mut world, group, anns) = group_of(3);
    let before = World::new(3, &["ann", "bea", "cat"]).nodes.remove(0).store;
    world.cut_off(0);
    world.leave(&anns[1], group);
    world.flow();
    world.restore(0, before);
    world.cut.clear();
    world.resume(1, 0);
    assert_eq!(world.nodes[1].store.letters.len(), 1, "it waits");
    world.asks_all(0);
    for home in [0, 2] {
        assert_eq!(world.role(home, group, &anns[1]), None);
    }
    world.settled(group, 0);
}

/// Nobody else says so: what the home knew of that was lost with its disk.
#[test]
fn a_restored_home_hears_from_the_owner_home_that_it_is_out() {
    let (mut world, group, anns) = group_of(3);
    let backup = world.nodes[1].store.clone();
    world.done(&anns[0], group, Change::Remove(vec![anns[1].clone()]));
    world.flow();
    world.restore(1, backup);
    assert_eq!(world.role(1, group, &anns[1]), Some(Role::Member));
    world.asks(1, 0);
    world.flow();
    assert_eq!(world.role(1, group, &anns[1]), None);
    assert!(world.nodes[1].state(group).member(&anns[1]).unwrap().left);
    assert_eq!(world.say(&anns[1], group, "hello").unwrap_err().reason, "left");
    world.settled(group, 0);
}

#[test]
fn a_home_that_is_gone_does_not_keep_a_restored_one_waiting_for_ever() {
    let (mut world, group, anns) = group_of(2);
    let backup = world.nodes[0].store.clone();
    world.restore(0, backup);
    world.cut_off(0);
    assert_eq!(world.ask(&anns[0], group, rename("x")).unwrap_err().reason, "reconciling");
    world.nodes[0].now = world.nodes[0].epoch.0 + 600_000;
    world.done(&anns[0], group, rename("on we go"));
    assert_eq!(world.roster(0, group).name, "on we go");
    assert_eq!(Policy::default(), world.roster(0, group).policy());
}

/// Of what comes back to a home from one, another may know nothing: it was cut off when it was written.
#[test]
fn what_came_back_goes_to_whoever_had_not_received_it() {
    let (mut world, group, anns) = group_of(3);
    let backup = world.nodes[0].store.clone();
    lost_and_found(&mut world, group, &anns, backup);
    let all = world.words(&anns[1], group);
    assert_eq!(all.len(), 5);
    assert_eq!(world.words(&anns[0], group), all);
    assert_eq!(world.words(&anns[2], group), all);
}

/// The same where that other one had joined since the backup.
#[test]
fn what_came_back_goes_to_whoever_joined_after_the_backup() {
    let mut world = World::new(3, &["ann"]);
    let anns: Vec<UserRef> = (0..3).map(|home| world.user(home, "ann")).collect();
    let group = world.create(0, vec![anns[1].clone()]);
    world.join(&anns[1], group);
    let backup = world.nodes[0].store.clone();
    world.done(&anns[0], group, Change::Invite(vec![anns[2].clone()]));
    world.flow();
    say(&mut world, &anns[0], group, "before they came");
    world.join(&anns[2], group);
    lost_and_found(&mut world, group, &anns, backup);
    let all = world.words(&anns[1], group);
    assert_eq!(all.len(), 6);
    assert_eq!(world.words(&anns[0], group), all);
    assert_eq!(world.words(&anns[2], group), all[1..]);
}

/// What a home wrote before others came is nowhere but on its disk. It goes on behind that, once everybody was asked.
#[test]
fn what_nobody_else_was_given_is_a_gap_once_everybody_was_asked() {
    for others in [1, 2] {
        let mut world = World::new(1 + others, &["ann", "bea"]);
        let (ann, late) = (world.user(0, "ann"), world.user(1, "ann"));
        let from_the_start: Vec<UserRef> =
            (2..=others).map(|home| world.user(home, "ann")).collect();
        let group = world.create(0, from_the_start.clone());
        from_the_start.iter().for_each(|who| world.join(who, group));
        let backup = world.nodes[0].store.clone();
        let all = early_and_late(&mut world, group, &ann, &late);
        world.restore(0, backup);
        let first = world.asks(0, 1);
        world.flow();
        if others == 1 {
            assert_eq!((first.fetched(), first.incomplete()), (3, 0));
            assert_eq!(world.words(&ann, group), all[4..]);
        } else {
            // Somebody who may know it has still to be asked.
            assert_eq!((first.fetched(), first.incomplete()), (0, 1));
            world.asks(0, 2);
            world.flow();
            assert_eq!(world.words(&ann, group), all);
        }
        say(&mut world, &late, group, "welcome back");
        say(&mut world, &ann, group, "thanks");
        assert_eq!(world.words(&late, group).len(), 5);
    }
}

/// Whoever came later than the asking home has not all that the asking home is to have.
#[test]
fn a_part_begins_where_nobody_can_leave_anything_out() {
    let mut world = World::new(3, &["ann"]);
    let (ann, late, old) = (world.user(0, "ann"), world.user(1, "ann"), world.user(2, "ann"));
    let group = world.create(0, vec![old.clone()]);
    world.join(&old, group);
    let backup = world.nodes[2].store.clone();
    let all = early_and_late(&mut world, group, &ann, &late);
    assert_eq!(world.words(&old, group), all);
    for liar in [false, true] {
        world.restore(2, backup.clone());
        let (origin, epoch) = (world.nodes[0].id, world.nodes[0].epoch);
        let (head, tail) = world.nodes.split_at_mut(2);
        let (asker, holder) = (&mut tail[0], &mut head[1]);
        // What it holds it gives, and says that before it nothing is for the other.
        let part = RangeQuestion {
            channel: group,
            origin,
            epoch,
            first: Seq(5),
            last: None,
            headers: false,
        };
        let peer = asker.id;
        let held = range_of(&holder.store, holder.id, peer, &part).unwrap().unwrap();
        assert_eq!((held.events.len(), held.begins), (3, None));
        let lie = answer(asker, holder, &Question::Range(part));
        let (repair, _) = fetch(asker, holder, &mut |told: &mut Answered| {
            if let (true, Answered::Range { end: Some(at), .. }) = (liar, &*told)
                && at.origin() == origin
            {
                *told = lie.clone();
                let Answered::Range { begins, .. } = told else { return };
                *begins = Some(Seq(4));
            }
        })
        .unwrap();
        assert_eq!(repair.incomplete(), 1, "{liar}");
        assert!(world.words(&old, group).is_empty());
        world.asks(2, 0);
        world.flow();
        assert_eq!(world.words(&old, group), all);
    }
}
