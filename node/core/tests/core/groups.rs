//! Groups over several homes: who is in, who may write, and that all homes show the same, whatever came first.

use std::sync::Arc;

use bytes::Bytes;
use homing_core::{
    AccountState, Asked, Courier, CourierLimits, Delivery, GroupsFrom, LetterReply, ListChange,
    ListCommand, NewGroup, PeerFault, Refusal, Sealer, UserList,
};
use homing_wire::{
    ChainPos, Change, ChannelId, Command, Epoch, Fence, HomeId, Letter, OpId, Policy, Role, Roster,
    RosterHistory, SignedRoster, Tenure, UserRef, Who,
};
use uuid::Uuid;

use crate::node::{Seal, local, text, v7};

use crate::group_world::{World, group_of};

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

#[test]
fn the_same_id_makes_one_group() {
    let mut world = World::new(1, &["ann", "bea"]);
    let seal = Seal(world.nodes[0].id);
    let sealer = Sealer { key: &seal, record: Bytes::new() };
    let bea = world.user(0, "bea");
    let node = &mut world.nodes[0];
    let id = ChannelId(v7(node.now, 77).0);
    let new = |creator: &str, id| NewGroup {
        creator: local(creator),
        id,
        name: "one".into(),
        members: Vec::new(),
        policy: Policy::default(),
    };
    let mut make = |new| node.home.create_group(&node.store, node.now, &sealer, new);
    assert_eq!(make(new("ann", id)), Ok(id));
    assert_eq!(make(new("ann", id)), Ok(id));
    let word = |result: Result<ChannelId, homing_core::Failure>| match result {
        Err(homing_core::Failure::Refused(refusal)) => refusal.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(word(make(new("bea", id))), "id_reused");
    assert_eq!(word(make(new("ann", ChannelId(Uuid::from_u128(5))))), "invalid_id");
    assert_eq!(word(make(new("zoe", ChannelId(v7(1, 2).0)))), "user_disabled");
    node.settle();
    assert!(node.state(id).member(&bea).is_none());
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let mut world = World::new(2, &["ann", "bea"]);
    let (ann, bea, far) = (world.user(0, "ann"), world.user(0, "bea"), world.user(1, "ann"));
    let nobody = UserRef::new(ann.home, local("nobody"));
    let crowd = |n: usize| -> Vec<UserRef> {
        (0..n).map(|n| UserRef::new(far.home, local(&format!("u{n}")))).collect()
    };
    for (members, reason) in [
        (vec![ann.clone()], "with_self"),
        (vec![bea.clone(), bea.clone()], "member_twice"),
        (vec![nobody.clone()], "user_not_found"),
        (crowd(100), "group_full"),
    ] {
        let refusal = world.try_create(0, "ann", members, Policy::default()).unwrap_err();
        assert_eq!(refusal.reason, reason);
        assert!(reason != "group_full" || refusal.limit == Some(100));
        assert!(!world.nodes[0].home.has_step(), "{reason}: nothing was changed");
    }
    let group = world.try_create(0, "ann", crowd(99), Policy::default()).unwrap();
    world.nodes[0].settle();
    let before = world.roster(0, group);
    let refusal = world.ask(&ann, group, Change::Invite(vec![bea.clone()])).unwrap_err();
    assert_eq!((refusal.reason, refusal.limit), ("group_full", Some(100)), "the 101st");
    for (name, reason) in [("", "invalid_name"), ("a\nb", "invalid_name")] {
        let change = Change::Update { name: Some(name.into()), policy: None, roles: Vec::new() };
        assert_eq!(world.ask(&ann, group, change).unwrap_err().reason, reason);
    }
    let long = Change::Update { name: Some("x".repeat(10_000)), policy: None, roles: Vec::new() };
    assert_eq!(world.ask(&ann, group, long).unwrap_err().reason, "invalid_name");
    assert_eq!(
        world.ask(&bea, group, Change::Remove(vec![ann.clone()])).unwrap_err().reason,
        "channel_not_found"
    );
    assert_eq!(world.roster(0, group), before);
    // One bad address does not spoil the others.
    let gone = crowd(5);
    world.done(&ann, group, Change::Remove(gone.clone()));
    let changed =
        world.done(&ann, group, Change::Invite(vec![nobody.clone(), bea.clone(), gone[0].clone()]));
    assert_eq!(
        changed.users,
        [(nobody, Some("user_not_found")), (bea.clone(), None), (gone[0].clone(), None)]
    );
    assert_eq!(world.role(0, group, &bea), Some(Role::Member));
}

#[test]
fn roles_are_kept_to() {
    let (mut world, group, anns) = group_of(3);
    let (bea, cat, far) = (world.user(0, "bea"), world.user(0, "cat"), world.user(2, "bea"));
    let update = |roles: Vec<(UserRef, Role)>| Change::Update { name: None, policy: None, roles };
    let word = |result: Result<Asked, Refusal>| result.unwrap_err().reason;
    assert_eq!(word(world.ask(&bea, group, Change::Invite(vec![cat.clone()]))), "not_allowed");
    assert_eq!(word(world.ask(&anns[1], group, Change::Remove(vec![bea.clone()]))), "not_allowed");
    assert_eq!(
        word(world.ask(&cat, group, Change::Leave { from: 0, fence: None })),
        "channel_not_found"
    );
    let results = world.done(
        &anns[0],
        group,
        update(vec![
            (anns[1].clone(), Role::Admin),
            (anns[2].clone(), Role::Owner),
            (anns[0].clone(), Role::Member),
            (cat.clone(), Role::Admin),
        ]),
    );
    let reasons: Vec<_> = results.users.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons, [None, Some("owner_elsewhere"), Some("last_owner"), Some("not_a_member")]);
    world.flow();
    // An admin of another home asks the owner home.
    let asked = world.ask(&anns[1], group, Change::Invite(vec![cat.clone(), far.clone()]));
    assert_eq!(asked, Ok(Asked::Pending));
    world.flow();
    assert_eq!(
        world.role(2, group, &cat),
        Some(Role::Invited),
        "asked by somebody of another home"
    );
    assert_eq!(world.role(1, group, &far), Some(Role::Invited));
    // She may not touch whoever is above.
    let remove = world.ask(&anns[1], group, Change::Remove(vec![anns[0].clone(), bea.clone()]));
    assert_eq!(remove, Ok(Asked::Pending));
    world.flow();
    assert_eq!(world.role(2, group, &anns[0]), Some(Role::Owner));
    assert_eq!(world.role(2, group, &bea), None);
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
        assert_eq!(state.group.as_ref().unwrap().turned.len(), lost.len(), "seed {seed}");
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
fn leaving_works_at_once_whatever_the_owner_home_does() {
    let (mut world, group, anns) = group_of(3);
    let cat = world.user(2, "cat");
    world.done(&anns[0], group, Change::Invite(vec![cat.clone()]));
    world.flow();
    world.cut_off(0);
    // The others talk on.
    world.say(&anns[1], group, "without it").unwrap();
    world.flow();
    assert_eq!(world.words(&anns[2], group), ["without it"]);
    // Somebody leaves, somebody declines.
    world.leave(&anns[1], group);
    world.leave(&cat, group);
    world.flow();
    for (home, who) in [(1, &anns[1]), (2, &cat)] {
        assert!(world.nodes[home].state(group).member(who).unwrap().left);
        assert_eq!(world.say(who, group, "x").unwrap_err().reason, "left");
    }
    world.say(&anns[2], group, "not for her").unwrap();
    world.flow();
    assert_eq!(world.words(&anns[1], group), ["without it"]);
    world.heal();
    assert_eq!((world.role(0, group, &anns[1]), world.role(0, group, &cat)), (None, None));
    assert_eq!(world.words(&anns[0], group), ["without it", "not for her"]);
    assert_eq!(world.words(&anns[1], group), ["without it"], "nothing comes after she left");
    // Letters are taken once, and none is left over.
    assert!(world.nodes.iter().all(|node| node.store.letters.is_empty()));
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
    let update = Change::Update { name: None, policy: Some(all), roles: Vec::new() };
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

#[test]
fn where_admins_alone_write_others_are_stopped() {
    let (mut world, group, anns) = group_of(3);
    world.say(&anns[2], group, "1").unwrap();
    world.flow();
    world.cut_off(2);
    world.say(&anns[2], group, "2").unwrap();
    let closed = Policy { write: Who::Admins, ..Policy::default() };
    let update = |policy| Change::Update { name: None, policy: Some(policy), roles: Vec::new() };
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
fn an_owner_who_leaves_is_followed_by_the_longest_serving() {
    let (mut world, group, anns) = group_of(2);
    let (bea, cat) = (world.user(0, "bea"), world.user(0, "cat"));
    world.done(&anns[0], group, Change::Invite(vec![cat.clone()]));
    let roles = vec![(cat.clone(), Role::Admin)];
    world.done(&anns[0], group, Change::Update { name: None, policy: None, roles });
    world.leave(&anns[0], group);
    world.flow();
    assert_eq!(world.role(1, group, &cat), Some(Role::Owner), "an admin before a member");
    world.leave(&cat, group);
    world.flow();
    assert_eq!(world.role(1, group, &bea), Some(Role::Owner));
    world.leave(&bea, group);
    world.flow();
    assert_eq!(world.roster(1, group).present().count(), 1);
    world.say(&anns[1], group, "alone").unwrap();
    world.leave(&anns[1], group);
    world.flow();
    assert_eq!(world.roster(0, group).present().count(), 0);
}

#[test]
fn an_answer_that_crosses_the_invitation_ends_the_same_everywhere() {
    for n in 0..200_u32 {
        let (mut world, group, anns) = group_of(3);
        let cat = world.user(2, "cat");
        // Asked, declined and asked again, with other changes between, in any order of arrival.
        world.done(&anns[0], group, Change::Invite(vec![cat.clone()]));
        if n & 1 == 0 {
            world.flow();
            world.leave(&cat, group);
        }
        if n & 2 == 0 {
            world.done(&anns[0], group, Change::Remove(vec![cat.clone()]));
        }
        if n & 4 == 0 {
            world.done(&anns[0], group, Change::Invite(vec![cat.clone()]));
        }
        if n & 8 == 0 {
            world.flow();
        }
        if n & 16 == 0 {
            // The user is there, unless the invitation has not come or was declined.
            let _ = world.ask(&cat, group, Change::Join { link: None });
        }
        world.flow();
        let roster = world.roster(0, group);
        for home in 1..3 {
            assert_eq!(world.roster(home, group), roster, "{n}");
        }
        let here = world.nodes[2].state(group);
        let member = here.member(&cat);
        let in_it = roster.role(&cat).is_some_and(|role| role >= Role::Member);
        assert_eq!(member.is_some_and(|m| m.accepted && !m.left), in_it, "{n}");
    }
}

/// A roster comes to the second home from whoever signed it.
fn bring(world: &mut World, roster: Roster, seal: &Seal) -> Result<(), PeerFault> {
    bring_by(world, seal.0, roster, seal)
}

/// A roster comes to the second home, signed by whom it says.
fn bring_by(world: &mut World, peer: HomeId, roster: Roster, seal: &Seal) -> Result<(), PeerFault> {
    let signed = roster.sign(seal, Bytes::new());
    let Ok(arrived) = SignedRoster::verify_with(signed.bytes().clone(), seal.0, seal) else {
        return Err(PeerFault("not_believed"));
    };
    let node = &mut world.nodes[1];
    node.home.receive_roster(&node.store, node.now, peer, arrived).unwrap()
}

fn after(held: &Roster) -> Roster {
    Roster { version: held.version + 1, prev: held.hash(), ..held.clone() }
}

#[test]
fn rosters_of_others_and_old_ones_are_not_followed() {
    let (mut world, group, anns) = group_of(3);
    let held = world.roster(1, group);
    let (owner, evil) = (Seal(anns[0].home), Seal(anns[2].home));
    // Another home's signature does not make it the owner home's.
    assert_eq!(bring(&mut world, after(&held), &evil), Err(PeerFault("not_believed")));
    let mut stolen = after(&held);
    stolen.owner = evil.0;
    assert!(bring(&mut world, stolen, &evil).is_err());
    assert_eq!(world.roster(1, group), held);
    let next = after(&held);
    assert_eq!(bring(&mut world, next.clone(), &owner), Ok(()));
    assert_eq!(world.roster(1, group), next);
    // Old ones are known, and change nothing.
    assert_eq!(bring(&mut world, held, &owner), Ok(()));
    assert_eq!(world.roster(1, group), next);
}

/// A group changes while its last roster is on its way: the answer to that one is no lie.
#[test]
fn one_roster_of_a_group_is_under_way_at_a_time() {
    let (mut world, group, anns) = group_of(2);
    let owner = Seal(anns[0].home);
    let sign = |roster: Roster| Arc::new(roster.sign(&owner, Bytes::new()));
    let first = world.roster(0, group);
    let (second, other) = (after(&first), Roster { group: v7_group(), ..first.clone() });
    let (old, new) = (first.version, second.version);
    let mut courier = Courier::new(owner.0, CourierLimits::default());
    let versions = |courier: &mut Courier| -> Vec<(ChannelId, u64)> {
        let burst = courier.burst(&world.nodes[0].store, 0).unwrap();
        let of = |delivery: Delivery| match delivery {
            Delivery::Roster(signed) => (signed.roster().group, signed.roster().version),
            Delivery::Range { .. }
            | Delivery::Pruned { .. }
            | Delivery::Marks { .. }
            | Delivery::Letter { .. }
            | Delivery::Pull => panic!("{delivery:?}"),
        };
        burst.into_iter().map(of).collect()
    };
    courier.roster(sign(first));
    assert_eq!(versions(&mut courier), [(group, old)]);
    courier.roster(sign(second));
    // Of other groups they go meanwhile.
    let elsewhere = other.group;
    courier.roster(sign(other));
    assert_eq!(versions(&mut courier), [(elsewhere, old)]);
    courier.roster_taken(0, group, old).unwrap();
    assert_eq!(versions(&mut courier), [(group, new)]);
    assert_eq!(courier.roster_taken(0, group, old).unwrap_err().0, "ack_unasked");
    courier.roster_taken(0, group, new).unwrap();
    courier.roster_taken(0, elsewhere, old).unwrap();
    assert!(courier.is_idle());
}

fn v7_group() -> ChannelId {
    ChannelId(v7(crate::node::MONDAY_MS, 77).0)
}

/// The owner home signs two rosters of one version, or takes back what it said: proof enough to follow it no more in this
/// life. Its operator begins a new one.
#[test]
fn an_owner_home_that_takes_back_is_followed_no_more() {
    let rewrites: [fn(&mut Roster); 4] = [
        |roster| roster.version -= 1,
        |roster| roster.prev = homing_wire::Hash([9; 32]),
        |roster| drop(roster.tenures.pop()),
        |roster| roster.tenures[1].by = evil_user(),
    ];
    for (n, rewrite) in rewrites.iter().enumerate() {
        let (mut world, group, anns) = group_of(3);
        let held = world.roster(1, group);
        let owner = Seal(anns[0].home);
        let mut roster = after(&held);
        roster.at += 1;
        rewrite(&mut roster);
        assert_eq!(bring(&mut world, roster, &owner), Err(PeerFault("roster_fork")), "{n}");
        assert_eq!(bring(&mut world, after(&held), &owner), Ok(()), "{n}: sound, and not taken");
        assert_eq!(world.roster(1, group), held, "{n}");
        let epoch = homing_wire::Epoch(held.epoch.0 + 1_000);
        let anew = Roster { epoch, version: epoch.0, ..after(&held) };
        assert_eq!(bring(&mut world, anew.clone(), &owner), Ok(()), "{n}");
        assert_eq!(world.roster(1, group), anew, "{n}");
    }
}

/// Whoever passes a roster on does not know what else its home has signed.
#[test]
fn who_passes_a_forked_roster_on_is_not_to_blame() {
    let (mut world, group, anns) = group_of(3);
    let (held, owner) = (world.roster(1, group), Seal(anns[0].home));
    let mut other = after(&held);
    other.name = "enemies".into();
    assert_eq!(bring(&mut world, after(&held), &owner), Ok(()));
    assert_eq!(bring_by(&mut world, anns[2].home, other.clone(), &owner), Ok(()));
    assert_eq!(world.roster(1, group), after(&held), "it is not followed all the same");
    let next = after(&after(&held));
    assert_eq!(bring(&mut world, next, &owner), Ok(()));
    assert_eq!(world.roster(1, group), after(&held), "nor anything more of that life");
    assert_eq!(bring(&mut world, other, &owner), Ok(()), "that is known already");
}

fn evil_user() -> UserRef {
    UserRef::new(HomeId([9; 32]), local("eve"))
}

#[test]
fn a_home_answers_for_whoever_knows_the_inviter() {
    let mut world = World::new(2, &["ann", "bea", "cat", "dan"]);
    let ann = world.user(0, "ann");
    let list = |world: &mut World, owner: &str, list| {
        let node = &mut world.nodes[1];
        let command = ListCommand {
            owner: local(owner),
            list,
            other: ann.clone(),
            change: ListChange::Add,
            op: None,
        };
        node.home.change_list(&node.store, node.now, &command).unwrap();
        node.settle();
    };
    list(&mut world, "ann", UserList::Contacts);
    list(&mut world, "bea", UserList::Blocks);
    let node = &mut world.nodes[1];
    node.home
        .change_account(&node.store, &local("cat"), |cat| cat.groups_from = GroupsFrom::Everyone)
        .unwrap();
    node.home
        .change_account(&node.store, &local("dan"), |dan| dan.state = AccountState::Disabled)
        .unwrap();
    node.settle();
    let asked = ["ann", "bea", "cat", "dan"].map(|name| world.user(1, name));
    let gone = UserRef::new(asked[0].home, local("gone"));
    let group = world.create(0, asked.iter().cloned().chain([gone.clone()]).collect());
    let roles: Vec<_> = asked.iter().map(|who| world.role(0, group, who)).collect();
    assert_eq!(roles, [Some(Role::Member), None, Some(Role::Member), None]);
    assert_eq!(world.role(1, group, &gone), None, "nobody of that name is there");
    let state = world.nodes[1].state(group);
    assert!(state.member(&gone).is_none_or(|member| member.left));
}

/// A home signs no roster that nobody could read: it would keep it, and never start again.
#[test]
fn people_of_the_groups_home_are_never_without_an_owner() {
    let (mut world, group, anns) = group_of(2);
    let bea = world.user(0, "bea");
    let roles = |roles: Vec<(UserRef, Role)>| Change::Update { name: None, policy: None, roles };
    world.done(&anns[0], group, roles(vec![(bea.clone(), Role::Owner)]));
    let both = roles(vec![(anns[0].clone(), Role::Member), (bea.clone(), Role::Member)]);
    assert_eq!(world.ask(&anns[0], group, both).unwrap_err().reason, "last_owner");
    world.flow();
    world.nodes[0].crash();
    assert_eq!(world.role(0, group, &anns[0]), Some(Role::Owner));
    assert_eq!(world.role(1, group, &bea), Some(Role::Owner));
    // A name that no letter holds is refused where it is asked for.
    world.done(&anns[0], group, roles(vec![(anns[1].clone(), Role::Admin)]));
    world.flow();
    let long = Change::Update { name: Some("x".repeat(100_000)), policy: None, roles: Vec::new() };
    assert_eq!(world.ask(&anns[1], group, long).unwrap_err().reason, "invalid_name");
    assert!(world.nodes[1].store.letters.is_empty());
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

/// Whatever role another home's roster gives: in its group is who has agreed at the own home.
#[test]
fn nobody_is_in_a_group_of_another_home_without_having_agreed() {
    let (mut world, group, anns) = group_of(2);
    let (bea, cat, gone) =
        (world.user(1, "bea"), world.user(1, "cat"), UserRef::new(anns[1].home, local("gone")));
    let held = world.roster(1, group);
    let mut roster = after(&held);
    for user in [&bea, &cat, &gone] {
        roster.tenures.push(Tenure {
            user: user.clone(),
            role: Role::Member,
            from: roster.version,
            until: None,
            fence: None,
            by: anns[0].clone(),
        });
    }
    bring(&mut world, roster, &Seal(anns[0].home)).unwrap();
    world.nodes[1].settle();
    world.say(&anns[1], group, "among us").unwrap();
    world.nodes[1].settle();
    let state = world.nodes[1].state(group);
    assert!(state.member(&gone).is_none(), "nobody of that name is made");
    assert_eq!(state.unread(state.member(&bea).unwrap()), 0);
    assert_eq!(world.words(&bea, group), [""; 0], "she sees nothing");
    assert_eq!(world.say(&bea, group, "x").unwrap_err().reason, "channel_not_found");
    // Yes and no are hers to say, and take effect here.
    let asked = world.ask(&bea, group, Change::Join { link: None }).unwrap();
    assert!(matches!(asked, Asked::Done(_)), "the owner home has said yes already");
    world.leave(&cat, group);
    world.say(&anns[1], group, "with bea").unwrap();
    world.say(&bea, group, "here").unwrap();
    world.nodes[1].settle();
    assert_eq!(world.words(&bea, group), ["with bea", "here"]);
    assert_eq!(world.say(&cat, group, "x").unwrap_err().reason, "left");
    assert_eq!(world.words(&cat, group), [""; 0]);
}

#[test]
fn whoever_leaves_right_after_joining_is_out() {
    let (mut world, group, anns) = group_of(2);
    let cat = world.user(1, "cat");
    world.done(&anns[0], group, Change::Invite(vec![cat.clone()]));
    world.flow();
    world.cut_off(0);
    assert_eq!(world.ask(&cat, group, Change::Join { link: None }), Ok(Asked::Pending));
    world.leave(&cat, group);
    world.flow();
    world.heal();
    for home in 0..2 {
        assert_eq!(world.role(home, group, &cat), None);
    }
    assert!(world.nodes[1].state(group).member(&cat).unwrap().left);
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

/// The clock of the group's home is behind: what it is asked for waits, and is not lost.
#[test]
fn a_leave_waits_for_a_clock_that_is_behind() {
    let (mut world, group, anns) = group_of(2);
    let right = world.nodes[0].now;
    world.nodes[0].now = world.nodes[0].epoch.0 - 1_000_000;
    world.leave(&anns[1], group);
    world.flow();
    assert_eq!(world.role(0, group, &anns[1]), Some(Role::Member), "not yet");
    assert_eq!(world.nodes[1].store.letters.len(), 1, "it waits");
    world.nodes[0].now = right + 1_000;
    world.heal();
    assert_eq!(world.role(0, group, &anns[1]), None);
    assert!(world.nodes[1].store.letters.is_empty());
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

/// A home that goes out has still something for whoever stays.
#[test]
fn whoever_goes_brings_what_counts_to_whoever_stays() {
    let (mut world, group, anns) = group_of(3);
    world.cut.insert((1, 2));
    world.say(&anns[2], group, "counts").unwrap();
    world.flow();
    world.done(&anns[0], group, Change::Remove(vec![anns[2].clone()]));
    world.flow();
    assert!(world.words(&anns[1], group).is_empty(), "it has not come");
    world.heal();
    for who in &anns[..2] {
        assert_eq!(world.words(who, group), ["counts"], "{who}");
    }
    world.settled(group, 0);
}

/// A leaver's home says how far its user has written, and is believed within reason.
#[test]
fn a_leavers_home_sets_no_fence_that_lets_it_write_on() {
    let (mut world, group, anns) = group_of(2);
    world.say(&anns[1], group, "1").unwrap();
    world.flow();
    let far = anns[1].home;
    let life = world.nodes[1].epoch;
    let most = homing_wire::Seq((1 << 48) - 1);
    let everything = Fence::new((0..16).map(|n| ChainPos { epoch: Epoch(life.0 + n), seq: most }));
    let from = world.roster(0, group).named_since(&anns[1]).unwrap();
    let leave = Change::Leave { from, fence: Some(everything) };
    let (number, seal) =
        (world.nodes[0].home.peer(&far).unwrap().letters_done.1 + 1, Seal(anns[0].home));
    let letter = Letter::Command(Command {
        group,
        op: OpId(Uuid::from_u128(1)),
        user: anns[1].local.clone(),
        change: leave,
    });
    let node = &mut world.nodes[0];
    let sealer = Sealer { key: &seal, record: Bytes::new() };
    let (now, name) = (node.now, (life, number));
    node.home.receive_letter(&node.store, now, &sealer, far, name, Some(&letter)).unwrap().unwrap();
    node.settle();
    let roster = world.roster(0, group);
    let ended = roster.tenures.iter().rfind(|t| t.user == anns[1]).unwrap();
    let fence = ended.fence.as_ref().unwrap();
    assert!(fence.covers(ChainPos { epoch: life, seq: homing_wire::Seq(1) }));
    assert!(fence.ends().iter().all(|end| end.seq.0 <= 10_001), "{fence:?}");
}
