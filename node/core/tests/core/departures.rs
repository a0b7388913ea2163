//! Accounts that are deleted or disabled, and the groups that their users are in.

use homing_core::{AccountState, Departure, Sealer};
use homing_wire::{Change, ChannelId, Role, UserRef};

use crate::group_world::{World, group_of};
use crate::node::Seal;

fn shut(world: &mut World, who: &UserRef, state: AccountState) {
    let at = world.at(who.home);
    let node = &mut world.nodes[at];
    node.home.change_account(&node.store, &who.local, |account| account.state = state).unwrap();
    world.flow();
}

fn depart(world: &mut World, who: &UserRef, after: Option<ChannelId>) -> Departure {
    world.tick();
    let at = world.at(who.home);
    let node = &mut world.nodes[at];
    let seal = Seal(node.id);
    let sealer = Sealer { key: &seal, record: bytes::Bytes::new() };
    node.home.depart(&node.store, node.now, &sealer, &who.local, after).unwrap()
}

fn gone(world: &mut World, who: &UserRef, state: AccountState) {
    shut(world, who, state);
    assert_eq!(depart(world, who, None), Departure::Done);
    world.flow();
}

#[test]
fn a_deleted_user_leaves_groups_of_the_home_and_of_others() {
    let (mut world, group, anns) = group_of(2);
    let (bea, cat) = (world.user(0, "bea"), world.user(0, "cat"));
    world.done(&anns[0], group, Change::Invite(vec![cat.clone()]));
    world.flow();
    // Bea has been in it for longer, but her account is shut: the last owner is followed by cat.
    shut(&mut world, &bea, AccountState::Disabled);
    gone(&mut world, &anns[0], AccountState::Deleted);
    assert_eq!(world.role(1, group, &anns[0]), None);
    assert_eq!(world.role(1, group, &cat), Some(Role::Owner));
    assert_eq!(world.role(1, group, &bea), Some(Role::Member));
    // The other home's user leaves by letter, also where the group's home is away meanwhile.
    world.cut_off(1);
    gone(&mut world, &anns[1], AccountState::Deleted);
    assert_eq!(world.role(0, group, &anns[1]), Some(Role::Member), "it has not heard of it");
    assert_eq!(depart(&mut world, &anns[1], None), Departure::Done, "once more is once");
    assert_eq!(world.nodes[1].home.peer(&anns[0].home).unwrap().letters, 2, "joining, leaving");
    world.heal();
    assert_eq!(world.role(0, group, &anns[1]), None);
    // Nobody but the disabled one would be left: she has it rather than nobody.
    gone(&mut world, &cat, AccountState::Deleted);
    assert_eq!(world.role(0, group, &bea), Some(Role::Owner));
}

#[test]
fn a_disabled_user_stays_and_leaves_no_group_without_an_owner() {
    let (mut world, group, anns) = group_of(2);
    let (bea, far) = (world.user(0, "bea"), world.user(1, "bea"));
    world.done(&anns[0], group, Change::Invite(vec![far.clone()]));
    world.flow();
    assert_eq!(world.role(0, group, &far), Some(Role::Invited));
    gone(&mut world, &far, AccountState::Disabled);
    assert_eq!(world.role(0, group, &far), None, "what she was asked is declined");
    gone(&mut world, &anns[1], AccountState::Disabled);
    assert_eq!(world.role(0, group, &anns[1]), Some(Role::Member));
    gone(&mut world, &anns[0], AccountState::Disabled);
    assert_eq!(world.role(1, group, &anns[0]), Some(Role::Owner), "she may be enabled again");
    assert_eq!(world.role(1, group, &bea), Some(Role::Owner));
    let version = world.roster(0, group).version;
    gone(&mut world, &anns[0], AccountState::Disabled);
    assert_eq!(world.roster(0, group).version, version, "there is an owner");
    // Everybody of the home is away: nothing helps, and nothing changes.
    gone(&mut world, &bea, AccountState::Disabled);
    assert_eq!(world.roster(0, group).version, version);
    shut(&mut world, &anns[0], AccountState::Active);
    assert_eq!(depart(&mut world, &anns[0], None), Departure::Done);
    world.say(&anns[0], group, "back").unwrap();
    world.flow();
    assert_eq!(world.words(&bea, group), ["back"]);
}

#[test]
fn many_groups_are_left_some_at_a_time() {
    let mut world = World::new(2, &["ann", "bea"]);
    let (bea, far) = (world.user(0, "bea"), world.user(1, "bea"));
    let groups: Vec<ChannelId> = (0..70).map(|_| world.create(0, vec![bea.clone()])).collect();
    world.done(&world.user(0, "ann"), groups[69], Change::Invite(vec![far.clone()]));
    world.flow();
    shut(&mut world, &bea, AccountState::Deleted);
    let Departure::Upto(last) = depart(&mut world, &bea, None) else {
        panic!("70 groups are more than one call leaves");
    };
    world.flow();
    let left = |world: &mut World| {
        groups.iter().filter(|group| world.role(0, **group, &bea).is_none()).count()
    };
    assert_eq!(left(&mut world), 64);
    assert_eq!(depart(&mut world, &bea, Some(last)), Departure::Done);
    world.flow();
    assert_eq!(left(&mut world), 70);
    assert_eq!(world.role(1, groups[69], &bea), None);
    let ann = world.user(0, "ann");
    assert_eq!(depart(&mut world, &ann, None), Departure::Done);
    assert_eq!(world.role(0, groups[0], &ann), Some(Role::Owner), "her account is in use");
}
