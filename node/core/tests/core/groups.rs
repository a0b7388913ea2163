//! Groups over several homes: who may write, and that all homes show the same, whatever came first.

use bytes::Bytes;
use homing_core::{LetterReply, Sealer};
use homing_wire::{
    Change, Command, HomeId, Letter, OpId, Policy, Role, RosterHistory, Target, UserRef, Who,
};
use uuid::Uuid;

use crate::group_world::{World, group_of};
use crate::node::{Seal, text};

#[test]
fn people_of_several_homes_talk_in_a_group() {
    let (mut world, group, anns) = group_of(3);
    let bea = world.user(0, "bea");
    assert_eq!(
        world.role(2, group, &bea),
        Some(Role::Member),
        "people of one home are added directly"
    );
    assert_eq!(world.role(2, group, &anns[0]), Some(Role::Owner));
    for (n, who) in anns.iter().chain([&bea]).enumerate() {
        world.say(who, group, &format!("{n}")).unwrap();
        world.flow();
    }
    let all = world.shown(&anns[0], group);
    assert_eq!(all.len(), 4);
    for who in anns.iter().chain([&bea]) {
        assert_eq!(world.shown(who, group), all, "{who}");
    }
    let state = world.nodes[1].state(group);
    let unread = state.unread(state.member(&anns[1]).unwrap());
    assert_eq!(unread, 2, "two came after her own");
    for node in &mut world.nodes {
        assert!(node.home.owed().is_empty(), "nothing is owed when all is told");
    }
}

/// The heart of it: a member is removed while their home is cut off, and both sides write.
#[test]
fn a_member_removed_behind_a_cut_is_heard_nowhere_else() {
    for seed in 0..50_u64 {
        let (mut world, group, anns) = group_of(3 + (seed % 3) as usize);
        let far = world.user(2, "bea");
        world.done(&anns[0], group, Change::Invite(vec![far.clone()]));
        world.flow();
        world.join(&far, group);
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut roll = |most: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % most
        };
        let writers: Vec<UserRef> = anns.iter().chain([&far]).cloned().collect();
        for n in 0..roll(6) {
            world
                .say(&writers[roll(writers.len() as u64) as usize], group, &format!("before {n}"))
                .unwrap();
            if roll(2) == 0 {
                world.flow();
            }
        }
        world.flow();
        world.cut_off(2);
        let early = roll(3);
        let mut lost = Vec::new();
        for n in 0..12 {
            if n == early {
                world.done(&anns[0], group, Change::Remove(vec![anns[2].clone()]));
            }
            let who = &writers[roll(writers.len() as u64) as usize];
            world.say(who, group, &format!("cut {n}")).unwrap();
            if *who == anns[2] {
                lost.push(format!("cut {n}"));
            }
            if roll(2) == 0 {
                world.flow();
            }
        }
        world.flow();
        world.heal();
        let all = world.words(&anns[0], group);
        for who in anns.iter().filter(|who| **who != anns[2]).chain([&far]) {
            assert_eq!(world.words(who, group), all, "seed {seed}, {who}");
        }
        for words in &lost {
            assert!(!all.contains(words), "seed {seed}: {words:?} of the removed member is seen");
            for home in (0..world.nodes.len()).filter(|home| *home != 2) {
                let log = world.nodes[home].store.logs[&group].values();
                let stored = log.filter(|e| e.event.body == text(words)).count();
                assert_eq!(stored, 0, "seed {seed}: it is not even stored elsewhere");
            }
        }
        // At home it stands as rejected, and who wrote it has been told.
        let state = world.nodes[2].state(group);
        assert!(state.member(&anns[2]).unwrap().left, "seed {seed}");
        let log = world.nodes[2].store.logs[&group].values();
        let told = log.filter(|e| e.event.header.kind == homing_wire::Kind::Notice).count();
        assert_eq!(told, lost.len(), "seed {seed}");
        let refusal = world.say(&anns[2], group, "still here").unwrap_err();
        assert_eq!(refusal.reason, "left");
        world.settled(group, seed);
    }
}

/// A removed member's home was not cut from everybody: what reached the others in time to be shown is turned there.
#[test]
fn what_was_shown_before_the_removal_was_known_is_turned() {
    let (mut world, group, anns) = group_of(3);
    // Between the owner home and the third nothing passes; the second hears both.
    world.cut.insert((0, 2));
    world.say(&anns[2], group, "too late").unwrap();
    world.done(&anns[0], group, Change::Remove(vec![anns[2].clone()]));
    world.flow();
    // The second knew the roster before the message came.
    assert!(!world.words(&anns[1], group).contains(&"too late".to_owned()));

    let (mut world, group, anns) = group_of(3);
    world.cut.insert((0, 2));
    world.say(&anns[2], group, "in time").unwrap();
    world.flow();
    assert!(world.words(&anns[1], group).contains(&"in time".to_owned()));
    let unread = |world: &mut World| {
        let state = world.nodes[1].state(group);
        state.unread(state.member(&anns[1]).unwrap())
    };
    assert_eq!(unread(&mut world), 1);
    world.done(&anns[0], group, Change::Remove(vec![anns[2].clone()]));
    world.flow();
    assert!(!world.words(&anns[1], group).contains(&"in time".to_owned()), "it is turned");
    assert_eq!(unread(&mut world), 0, "and counts no more");
    world.heal();
    let all = world.words(&anns[0], group);
    assert_eq!(world.words(&anns[1], group), all);
    assert!(all.is_empty());
}

#[test]
fn whoever_comes_back_sees_what_was_before_and_what_comes() {
    let (mut world, group, anns) = group_of(2);
    world.say(&anns[0], group, "1").unwrap();
    world.flow();
    world.leave(&anns[1], group);
    world.flow();
    world.say(&anns[0], group, "2").unwrap();
    world.flow();
    world.done(&anns[0], group, Change::Invite(vec![anns[1].clone()]));
    world.flow();
    assert_eq!(world.words(&anns[1], group), ["1"], "an invitation shows nothing yet");
    world.join(&anns[1], group);
    world.say(&anns[0], group, "3").unwrap();
    world.say(&anns[1], group, "4").unwrap();
    world.flow();
    assert_eq!(world.words(&anns[1], group), ["1", "3", "4"]);
    assert_eq!(world.words(&anns[0], group), ["1", "2", "3", "4"]);
}

#[test]
fn newcomers_see_what_was_written_since_they_came() {
    let (mut world, group, anns) = group_of(2);
    world.say(&anns[0], group, "before").unwrap();
    world.flow();
    let (cat, late) = (world.user(1, "cat"), world.user(1, "bea"));
    world.done(&anns[0], group, Change::Invite(vec![cat.clone(), late.clone()]));
    world.flow();
    world.join(&cat, group);
    let all = Policy { history: RosterHistory::All, ..Policy::default() };
    let update = Change::Update { name: None, avatar: None, policy: Some(all), roles: Vec::new() };
    world.done(&anns[0], group, update);
    world.flow();
    world.join(&late, group);
    world.say(&anns[0], group, "after").unwrap();
    world.flow();
    assert_eq!(world.words(&cat, group), ["after"]);
    assert_eq!(world.words(&late, group), ["before", "after"], "the policy lets her");
    let state = world.nodes[1].state(group);
    for who in [&cat, &late] {
        assert_eq!(state.unread(state.member(who).unwrap()), 1, "what was before is not unread");
    }
}

/// What was before one came counts for nothing, and hiding it takes nothing away from what does count.
#[test]
fn hiding_what_never_counted_leaves_unread_as_it_is() {
    let mut world = World::new(3, &["ann"]);
    let anns: Vec<UserRef> = (0..3).map(|home| world.user(home, "ann")).collect();
    let group = world.create(0, vec![anns[1].clone()]);
    world.join(&anns[1], group);
    world.say(&anns[0], group, "before").unwrap();
    let all = Policy { history: RosterHistory::All, ..Policy::default() };
    let update = Change::Update { name: None, avatar: None, policy: Some(all), roles: Vec::new() };
    world.done(&anns[0], group, update);
    world.done(&anns[0], group, Change::Invite(vec![anns[2].clone()]));
    world.flow();
    world.join(&anns[2], group);
    world.asks(2, 0);
    world.flow();
    assert_eq!(world.words(&anns[2], group), ["before"]);
    world.say(&anns[0], group, "after").unwrap();
    world.flow();
    let before = world.shown(&anns[0], group)[0].1;
    let node = &mut world.nodes[2];
    assert_eq!(node.unread("ann", group), 1);
    node.hide("ann", group, &Target { sender: anns[0].clone(), id: before }).unwrap();
    assert_eq!(node.unread("ann", group), 1);
}

#[test]
fn where_admins_alone_write_others_are_stopped() {
    let (mut world, group, anns) = group_of(3);
    world.say(&anns[2], group, "1").unwrap();
    world.flow();
    world.cut_off(2);
    world.say(&anns[2], group, "2").unwrap();
    let closed = Policy { write: Who::Admins, ..Policy::default() };
    let update = |policy| Change::Update {
        name: None,
        avatar: None,
        policy: Some(policy),
        roles: Vec::new(),
    };
    world.done(&anns[0], group, update(closed));
    world.flow();
    assert_eq!(world.say(&anns[1], group, "no").unwrap_err().reason, "not_allowed");
    world.say(&anns[0], group, "3").unwrap();
    world.heal();
    for who in &anns {
        assert_eq!(world.words(who, group), ["1", "3"], "{who}");
    }
    world.done(&anns[0], group, update(Policy::default()));
    world.flow();
    world.say(&anns[2], group, "4").unwrap();
    world.flow();
    for who in &anns {
        assert_eq!(world.words(who, group), ["1", "3", "4"], "{who}");
    }
}

#[test]
fn a_crash_loses_no_roster_and_no_letter() {
    let (mut world, group, anns) = group_of(3);
    world.cut_off(0);
    world.leave(&anns[1], group);
    world.flow();
    for node in &mut world.nodes {
        node.crash();
    }
    assert!(world.nodes[1].state(group).member(&anns[1]).unwrap().left);
    world.heal();
    assert_eq!(world.role(0, group, &anns[1]), None);
    assert_eq!(world.role(2, group, &anns[1]), None);
    world.say(&anns[2], group, "on").unwrap();
    world.flow();
    assert_eq!(world.words(&anns[0], group), ["on"]);
}

#[test]
fn a_crash_before_the_roster_is_told_tells_it_later() {
    let (mut world, group, anns) = group_of(2);
    let cat = world.user(1, "cat");
    world.cut_off(0);
    world.done(&anns[0], group, Change::Invite(vec![cat.clone()]));
    world.flow();
    assert!(!world.nodes[0].home.owed().is_empty(), "a roster is owed");
    world.nodes[0].crash();
    world.heal();
    assert_eq!(world.role(1, group, &cat), Some(Role::Invited));
    assert!(world.nodes[0].home.owed().is_empty());
}

/// All people of a home leave and some come back, and a third home hears of both at once.
#[test]
fn a_home_that_was_out_unheard_takes_messages_again() {
    let (mut world, group, anns) = group_of(3);
    world.say(&anns[1], group, "1").unwrap();
    world.flow();
    world.cut.insert((0, 1));
    world.cut.insert((1, 2));
    world.leave(&anns[2], group);
    world.flow();
    // For the second home the third is still in: what it writes now is refused there.
    world.say(&anns[1], group, "2").unwrap();
    world.flow();
    world.cut.remove(&(1, 2));
    let ids: Vec<HomeId> = world.nodes.iter().map(|node| node.id).collect();
    let second = &mut world.nodes[1];
    second.home.resume(&second.store, ids[2]).unwrap();
    world.flow();
    assert_eq!(
        world.nodes[1].state(group).cursor(&ids[2]).unwrap().refused.as_deref(),
        Some("left")
    );
    world.done(&anns[0], group, Change::Invite(vec![anns[2].clone()]));
    world.flow();
    world.join(&anns[2], group);
    world.heal();
    world.say(&anns[1], group, "3").unwrap();
    world.say(&anns[2], group, "4").unwrap();
    world.flow();
    assert_eq!(world.words(&anns[2], group), ["1", "3", "4"]);
    assert_eq!(world.words(&anns[0], group), ["1", "2", "3", "4"]);
    world.settled(group, 0);
}

/// A home is thrown out while nobody hears it, and let in again: whoever has stayed has not heard what was written meanwhile,
/// which does not count, and hears what comes after it.
#[test]
fn a_home_that_was_thrown_out_unheard_and_is_let_in_again_is_heard() {
    let (mut world, group, anns) = group_of(3);
    world.say(&anns[1], group, "1").unwrap();
    world.flow();
    world.cut_off(1);
    world.say(&anns[1], group, "2").unwrap();
    world.say(&anns[1], group, "3").unwrap();
    world.done(&anns[0], group, Change::Remove(vec![anns[1].clone()]));
    world.flow();
    world.heal();
    world.done(&anns[0], group, Change::Invite(vec![anns[1].clone()]));
    world.flow();
    world.join(&anns[1], group);
    world.say(&anns[1], group, "4").unwrap();
    world.flow();
    for ann in &anns {
        assert_eq!(world.words(ann, group), ["1", "4"]);
    }
    world.settled(group, 0);
}

/// A letter of a later version is passed over, and what comes after it is carried out.
#[test]
fn a_letter_that_cannot_be_read_holds_up_nothing() {
    let (mut world, group, anns) = group_of(2);
    let number = world.nodes[0].home.peer(&anns[1].home).unwrap().letters_done.1 + 1;
    let (epoch, seal) = (world.nodes[1].epoch, Seal(anns[0].home));
    let sealer = Sealer { key: &seal, record: Bytes::new() };
    let leave = Letter::Command(Command {
        group,
        op: OpId(Uuid::from_u128(1)),
        user: anns[1].local.clone(),
        change: Change::Leave {
            from: world.roster(0, group).named_since(&anns[1]).unwrap(),
            fence: None,
        },
    });
    let node = &mut world.nodes[0];
    for (number, letter) in [(number, None), (number + 1, Some(&leave))] {
        let (now, name) = (node.now, (epoch, number));
        let taken = node.home.receive_letter(&node.store, now, &sealer, anns[1].home, name, letter);
        assert_eq!(taken, Ok(Ok(LetterReply { upto: name.1, held: false })));
    }
    node.settle();
    assert_eq!(world.role(0, group, &anns[1]), None);
}

/// Who writes to a home whose people have come back may be faster than the roster that says so.
#[test]
fn a_message_that_is_faster_than_the_roster_waits_for_it() {
    let (mut world, group, anns) = group_of(3);
    world.leave(&anns[1], group);
    world.flow();
    world.done(&anns[0], group, Change::Invite(vec![anns[1].clone()]));
    world.flow();
    // The owner home has heard the yes, and its roster does not come through.
    world.ask(&anns[1], group, Change::Join { link: None }).unwrap();
    let asked = world.nodes[1].settle();
    let mut held = Vec::new();
    asked.into_iter().for_each(|effect| world.carry(1, effect, &mut held));
    let rosters = world.nodes[0].settle();
    world.say(&anns[0], group, "welcome").unwrap();
    let words = world.nodes[0].settle();
    words.into_iter().for_each(|effect| world.carry(0, effect, &mut held));
    rosters.into_iter().for_each(|effect| world.carry(0, effect, &mut held));
    world.flow();
    assert_eq!(world.words(&anns[1], group), ["welcome"]);
    world.settled(group, 0);
}

/// A home that goes out has still something for whoever stays: also where its people had lost the right to write before
/// they went.
#[test]
fn whoever_goes_brings_what_counts_to_whoever_stays() {
    for shut_before in [false, true] {
        let (mut world, group, anns) = group_of(3);
        world.cut.insert((1, 2));
        world.say(&anns[2], group, "counts").unwrap();
        world.flow();
        if shut_before {
            let policy = Some(Policy { write: Who::Admins, ..Policy::default() });
            world.done(
                &anns[0],
                group,
                Change::Update { name: None, avatar: None, policy, roles: Vec::new() },
            );
            world.flow();
        }
        world.done(&anns[0], group, Change::Remove(vec![anns[2].clone()]));
        world.flow();
        assert!(world.words(&anns[1], group).is_empty(), "it has not come");
        world.heal();
        for who in &anns[..2] {
            assert_eq!(world.words(who, group), ["counts"], "{who}");
        }
        world.settled(group, 0);
    }
}
