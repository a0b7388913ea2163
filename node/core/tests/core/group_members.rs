//! Who is in a group and with what role: who may change it, and that it is the same everywhere in the end.

use bytes::Bytes;
use homing_core::{
    AccountState, Asked, GroupsFrom, ListChange, ListCommand, NewGroup, Refusal, Sealer, UserList,
};
use homing_wire::{Change, ChannelId, Policy, Role, UserRef};
use uuid::Uuid;

use crate::group_world::{World, group_of};
use crate::node::{Seal, local, v7};

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
        let change = Change::Update {
            name: Some(name.into()),
            avatar: None,
            policy: None,
            roles: Vec::new(),
        };
        assert_eq!(world.ask(&ann, group, change).unwrap_err().reason, reason);
    }
    let long = Change::Update {
        name: Some("x".repeat(10_000)),
        avatar: None,
        policy: None,
        roles: Vec::new(),
    };
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
    let update = |roles: Vec<(UserRef, Role)>| Change::Update {
        name: None,
        avatar: None,
        policy: None,
        roles,
    };
    let word = |result: Result<Asked, Refusal>| result.unwrap_err().reason;
    assert_eq!(word(world.ask(&bea, group, Change::Invite(vec![cat.clone()]))), "not_allowed");
    assert_eq!(word(world.ask(&anns[1], group, Change::Remove(vec![bea.clone()]))), "not_allowed");
    assert_eq!(
        word(world.ask(&cat, group, Change::Leave { from: 0, fence: None })),
        "channel_not_found"
    );
    // Whoever is refused refuses the whole, and is named.
    let admin = (anns[1].clone(), Role::Admin);
    for (user, role, reason) in [
        (&anns[2], Role::Owner, "owner_elsewhere"),
        (&anns[0], Role::Member, "last_owner"),
        (&cat, Role::Admin, "not_a_member"),
        (&bea, Role::Invited, "invalid_role"),
    ] {
        let roles = vec![admin.clone(), (user.clone(), role)];
        let refusal = world.ask(&anns[0], group, update(roles)).unwrap_err();
        assert_eq!((refusal.reason, refusal.user.as_deref()), (reason, Some(user)));
        assert_eq!(world.role(0, group, &anns[1]), Some(Role::Member));
    }
    // Whoever hands the group over names both at once.
    let handed_over = [(bea.clone(), Role::Owner), (anns[0].clone(), Role::Member)];
    world.done(&anns[0], group, update(handed_over.to_vec()));
    let back = [(anns[0].clone(), Role::Owner), (bea.clone(), Role::Member)];
    world.done(&bea, group, update(back.to_vec()));
    world.done(&anns[0], group, update(vec![admin]));
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
fn an_owner_who_leaves_is_followed_by_the_longest_serving() {
    let (mut world, group, anns) = group_of(2);
    let (bea, cat) = (world.user(0, "bea"), world.user(0, "cat"));
    world.done(&anns[0], group, Change::Invite(vec![cat.clone()]));
    let roles = vec![(cat.clone(), Role::Admin)];
    world.done(&anns[0], group, Change::Update { name: None, avatar: None, policy: None, roles });
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
    let roles = |roles: Vec<(UserRef, Role)>| Change::Update {
        name: None,
        avatar: None,
        policy: None,
        roles,
    };
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
    let long = Change::Update {
        name: Some("x".repeat(100_000)),
        avatar: None,
        policy: None,
        roles: Vec::new(),
    };
    assert_eq!(world.ask(&anns[1], group, long).unwrap_err().reason, "invalid_name");
    assert!(world.nodes[1].store.letters.is_empty());
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
