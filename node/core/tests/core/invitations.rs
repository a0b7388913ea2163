//! How many invitations of another home may be open, and what becomes of those beyond.

use homing_core::{ListChange, Policy, UserList};
use homing_wire::{Change, ChannelId, Role, UserRef};

use crate::group_world::World;
use crate::node::{accepting, local};

const NAMES: [&str; 4] = ["ann", "bea", "cat", "dan"];

/// Homes of which the second lets so many invitations be open: of one user, and of all together.
fn world(homes: usize, of_user: usize, of_home: usize) -> World {
    let mut world = World::new(homes, &NAMES);
    let policy =
        Policy { invitations_of_user: of_user, invitations_of_home: of_home, ..accepting() };
    world.nodes[1].policy = policy;
    world.nodes[1].crash();
    world
}

/// What the second home keeps of a group.
fn kept(world: &mut World, group: ChannelId) -> bool {
    let node = &mut world.nodes[1];
    node.home.channel(&node.store, group).unwrap().is_some()
}

/// How many channels are in the list of a user of the second home.
fn listed(world: &mut World, name: &str) -> usize {
    let node = &mut world.nodes[1];
    node.home.listing(&node.store, &local(name)).unwrap().len()
}

fn invitations(world: &World) -> (usize, u64) {
    world.nodes[1].home.invitations()
}

fn role(world: &mut World, group: ChannelId, who: &UserRef) -> Option<Role> {
    world.role(0, group, who)
}

#[test]
fn what_is_beyond_one_users_limit_is_declined_and_not_kept() {
    let mut world = world(3, 2, 100);
    let (ann, bea) = (world.user(1, "ann"), world.user(1, "bea"));
    let groups: Vec<ChannelId> = (0..4).map(|_| world.create(0, vec![ann.clone()])).collect();
    for group in &groups[..2] {
        assert_eq!(role(&mut world, *group, &ann), Some(Role::Invited));
        assert!(kept(&mut world, *group));
    }
    for group in &groups[2..] {
        assert_eq!(role(&mut world, *group, &ann), None, "the group's home has heard the no");
        assert!(!kept(&mut world, *group));
        assert!(!world.nodes[1].store.rosters.contains_key(group));
    }
    assert_eq!((listed(&mut world, "ann"), invitations(&world)), (2, (2, 2)));
    assert!(world.nodes.iter().all(|node| node.store.letters.is_empty()));
    assert!(world.nodes.iter().all(|node| node.home.owed().is_empty()));

    // Others have room of their own, as groups of other homes have.
    let for_two = world.create(0, vec![ann.clone(), bea.clone()]);
    assert_eq!(
        (role(&mut world, for_two, &ann), role(&mut world, for_two, &bea)),
        (None, Some(Role::Invited))
    );
    assert!(world.nodes[1].state(for_two).member(&ann).is_none(), "nothing is kept of hers");
    let elsewhere = world.create(2, vec![ann.clone()]);
    assert_eq!(world.role(2, elsewhere, &ann), Some(Role::Invited));

    // Whatever answers one makes room: a yes, a no, or that it is taken back.
    world.join(&ann, groups[0]);
    world.leave(&ann, groups[1]);
    world.flow();
    let again = world.create(0, vec![ann.clone()]);
    let owner = world.user(0, "ann");
    for group in [groups[2], again] {
        world.done(&owner, group, Change::Invite(vec![ann.clone()]));
        world.flow();
        assert_eq!(role(&mut world, group, &ann), Some(Role::Invited), "asked once more");
    }
    assert_eq!(role(&mut world, groups[0], &ann), Some(Role::Member));
    world.done(&owner, again, Change::Remove(vec![ann.clone()]));
    world.flow();
    world.done(&owner, for_two, Change::Invite(vec![ann.clone()]));
    world.flow();
    assert_eq!(role(&mut world, for_two, &ann), Some(Role::Invited));
}

#[test]
fn who_need_not_be_asked_is_not_limited() {
    let mut world = world(2, 1, 1);
    let owner = world.user(0, "ann");
    let (ann, bea, cat) = (world.user(1, "ann"), world.user(1, "bea"), world.user(1, "cat"));
    let first = world.create(0, vec![ann.clone()]);
    let refused = world.create(0, vec![bea.clone()]);
    assert_eq!(role(&mut world, refused, &bea), None, "of all users together there is no room");

    // A contact, and somebody of one's own home who is in the group.
    world.nodes[1].list("bea", UserList::Contacts, ListChange::Add, &owner).unwrap();
    world.nodes[1].settle();
    let open = world.create(0, vec![bea.clone()]);
    assert_eq!(role(&mut world, open, &bea), Some(Role::Member));
    let roles = vec![(bea.clone(), Role::Admin)];
    world.done(&owner, open, Change::Update { name: None, avatar: None, policy: None, roles });
    world.flow();
    world.ask(&bea, open, Change::Invite(vec![cat.clone()])).unwrap();
    world.flow();
    assert_eq!(role(&mut world, open, &cat), Some(Role::Member));
    // The own home's groups ask whom they like.
    for _ in 0..3 {
        let own = world.create(1, vec![cat.clone(), world.user(0, "bea")]);
        assert_eq!(world.role(1, own, &cat), Some(Role::Member));
    }
    assert_eq!(role(&mut world, first, &ann), Some(Role::Invited));
    assert_eq!(invitations(&world), (1, 1));
}

#[test]
fn what_is_beyond_one_homes_limit_is_declined_and_survives_a_crash() {
    let mut world = world(2, 100, 3);
    let all: Vec<UserRef> = NAMES.iter().map(|name| world.user(1, name)).collect();
    let group = world.create(0, all.clone());
    let asked = |world: &mut World, group| {
        let roles = all.iter().filter(|who| world.role(0, group, who) == Some(Role::Invited));
        roles.count()
    };
    assert_eq!(asked(&mut world, group), 3);
    assert_eq!(listed(&mut world, "dan"), 0, "the last that it names");
    world.nodes[1].crash();
    assert_eq!(invitations(&world), (3, 0));
    let next = world.create(0, all.clone());
    assert_eq!((asked(&mut world, next), kept(&mut world, next)), (0, false));
    world.leave(&all[0], group);
    world.flow();
    world.nodes[1].crash();
    let last = world.create(0, all[3..].to_vec());
    assert_eq!((asked(&mut world, last), kept(&mut world, last)), (1, true));
}

/// Names that nobody has and people who want nothing of the inviter cost nothing either, however often they are named.
#[test]
fn a_group_of_which_nobody_here_is_asked_leaves_nothing() {
    let mut world = world(2, 50, 50);
    let (owner, ann) = (world.user(0, "ann"), world.user(1, "ann"));
    let nobody = UserRef::new(ann.home, local("nobody"));
    world.nodes[1].block("ann", &owner);
    world.nodes[1].settle();
    let group = world.create(0, vec![nobody.clone(), ann.clone()]);
    assert!(!kept(&mut world, group));
    assert_eq!((role(&mut world, group, &nobody), role(&mut world, group, &ann)), (None, None));
    assert_eq!((listed(&mut world, "ann"), invitations(&world)), (0, (0, 0)));
    // Unblocked, she can be asked.
    world.nodes[1].unblock("ann", &owner);
    world.nodes[1].settle();
    world.done(&owner, group, Change::Invite(vec![ann.clone()]));
    world.flow();
    assert_eq!(role(&mut world, group, &ann), Some(Role::Invited));
}

/// Whoever was a member before the disk was lost is not taken for somebody who is asked.
#[test]
fn a_restore_brings_members_back_whatever_the_limit() {
    let mut world = world(2, 1, 1);
    let ann = world.user(1, "ann");
    // There is no room for another already.
    let open = world.create(0, vec![world.user(1, "bea")]);
    let backup = world.nodes[1].store.clone();
    world.leave(&world.user(1, "bea"), open);
    world.flow();
    let groups: Vec<ChannelId> = (0..3)
        .map(|_| {
            let group = world.create(0, vec![ann.clone()]);
            world.join(&ann, group);
            group
        })
        .collect();
    world.restore(1, backup);
    world.asks_all(1);
    for group in groups {
        let state = world.nodes[1].state(group);
        assert!(state.member(&ann).is_some_and(|m| m.accepted && !m.left));
        assert_eq!(role(&mut world, group, &ann), Some(Role::Member));
    }
}
