//! Groups that outlive their home, and what newcomers are given of what was before.

use homing_core::{GroupState, Refusal, Sealer};
use homing_wire::{Change, ChannelId, Policy, Role, Roster, RosterHistory, SignedRoster, UserRef};

use crate::group_world::{World, group_of};
use crate::node::Seal;

const WEEK_MS: u64 = 7 * 24 * 3_600_000;

fn fork(world: &mut World, who: &UserRef, group: ChannelId) -> Result<ChannelId, Refusal> {
    let at = world.at(who.home);
    let node = &mut world.nodes[at];
    let seal = Seal(node.id);
    let sealer = Sealer { key: &seal, record: bytes::Bytes::new() };
    let ids = (group, ChannelId(node.fresh_id().0));
    let made = node.home.fork_group(&node.store, node.now, &sealer, &who.local, ids, false);
    world.flow();
    made.map_err(|failure| match failure {
        homing_core::Failure::Refused(refusal) => refusal,
        homing_core::Failure::Fault(fault) => panic!("{fault}"),
    })
}

fn of(world: &mut World, home: usize, group: ChannelId) -> GroupState {
    world.nodes[home].state(group).group.unwrap()
}

fn make_admin(world: &mut World, by: &UserRef, who: &UserRef, group: ChannelId) {
    let roles = vec![(who.clone(), Role::Admin)];
    world.done(by, group, Change::Update { name: None, avatar: None, policy: None, roles });
    world.flow();
}

#[test]
fn a_group_whose_home_is_gone_goes_on() {
    let (mut world, group, anns) = group_of(3);
    let bea = world.user(0, "bea");
    make_admin(&mut world, &anns[0], &anns[1], group);
    world.say(&anns[0], group, "while it was there").unwrap();
    world.flow();
    world.cut_off(0);
    let reason = |made: Result<ChannelId, Refusal>| made.unwrap_err().reason;
    assert_eq!(reason(fork(&mut world, &anns[0], group)), "own_group");
    let early = fork(&mut world, &anns[1], group).unwrap_err();
    assert_eq!((early.reason, early.limit), ("owner_home_answers", Some(WEEK_MS)));
    world.nodes.iter_mut().for_each(|node| node.now += WEEK_MS);
    assert_eq!(reason(fork(&mut world, &anns[2], group)), "not_allowed");
    assert_eq!(of(&mut world, 1, group).continued_by, None);

    let next = fork(&mut world, &anns[1], group).unwrap();
    assert_eq!(fork(&mut world, &anns[1], group).unwrap(), next, "once more is once");
    let roster = world.roster(1, next);
    assert_eq!((roster.name.as_str(), roster.continues), ("friends", Some(group)));
    assert_eq!(roster.role(&anns[1]), Some(Role::Owner));
    for asked in [&anns[0], &anns[2], &bea] {
        assert_eq!(roster.role(asked), Some(Role::Invited));
    }
    world.join(&anns[2], next);
    for home in [1, 2] {
        assert_eq!(of(&mut world, home, next).continues, Some(group));
        assert_eq!(of(&mut world, home, group).continued_by, Some(next));
    }
    world.say(&anns[1], next, "on we go").unwrap();
    world.flow();
    world.say(&anns[2], next, "with us").unwrap();
    world.flow();
    assert_eq!(world.words(&anns[2], next), ["on we go", "with us"]);
    assert_eq!(world.words(&anns[2], group), ["while it was there"], "the old one can be read");

    // The old home comes back: its people are asked like everybody, and the old group is as it was.
    world.heal();
    assert_eq!(of(&mut world, 0, group).continued_by, Some(next));
    world.join(&anns[0], next);
    world.say(&anns[1], next, "welcome back").unwrap();
    world.flow();
    assert_eq!(world.words(&anns[0], next), ["welcome back"]);
    world.settled(group, 0);
    world.settled(next, 0);
}

#[test]
fn a_stranger_does_not_go_on_with_a_group_of_others() {
    let (mut world, group, anns) = group_of(3);
    // A member of it, and no admin, makes one that says so of itself.
    let other = {
        let member = anns[1].clone();
        world.try_create(2, "ann", vec![member], Policy::default()).unwrap()
    };
    let honest = world.roster(2, other);
    let claims = ChannelId(world.nodes[2].fresh_id().0);
    let roster = Roster { group: claims, continues: Some(group), ..honest };
    let seal = Seal(anns[2].home);
    let signed = roster.sign(&seal, bytes::Bytes::new()).bytes().clone();
    let signed = SignedRoster::verify_with(signed, seal.0, &seal).unwrap();
    let node = &mut world.nodes[1];
    node.home.receive_roster(&node.store, node.now, seal.0, signed).unwrap().unwrap();
    node.settle();
    assert_eq!(of(&mut world, 1, claims).continues, None);
    assert_eq!(of(&mut world, 1, group).continued_by, None);
}

#[test]
fn newcomers_see_everything_where_the_group_says_so_and_have_nothing_unread_of_it() {
    let mut world = World::new(3, &["ann", "bea"]);
    let anns: Vec<UserRef> = (0..3).map(|home| world.user(home, "ann")).collect();
    let (ann, bob, late) = (anns[0].clone(), anns[1].clone(), anns[2].clone());
    let policy = Policy { history: RosterHistory::All, ..Policy::default() };
    let group = world.try_create(0, "ann", vec![bob.clone()], policy).unwrap();
    world.flow();
    world.join(&bob, group);
    for n in 0..5 {
        for who in [&ann, &bob] {
            world.say(who, group, &format!("before {n}")).unwrap();
            world.flow();
        }
    }
    let before = world.shown(&ann, group);
    world.done(&ann, group, Change::Invite(vec![late.clone()]));
    world.flow();
    assert!(
        !world.nodes[2].store.logs.contains_key(&group),
        "whoever is only asked is given nothing"
    );
    world.join(&late, group);
    world.flow();
    assert_eq!(world.shown(&late, group), before);
    assert_eq!(world.nodes[2].unread("ann", group), 0);
    world.say(&bob, group, "welcome").unwrap();
    world.flow();
    assert_eq!(world.nodes[2].unread("ann", group), 1);
    assert_eq!(world.shown(&late, group), world.shown(&ann, group));
    // Another of a home that is in it sees what the home holds.
    let bea = world.user(2, "bea");
    world.done(&ann, group, Change::Invite(vec![bea.clone()]));
    world.flow();
    world.join(&bea, group);
    assert_eq!(world.shown(&bea, group), world.shown(&ann, group));
    assert_eq!(world.nodes[2].unread("bea", group), 0);
    world.settled(group, 0);
}

/// What it is given may come before the roster that says why.
#[test]
fn a_newcomers_home_takes_what_others_send_before_it_has_heard_of_the_join() {
    for history in [RosterHistory::All, RosterHistory::Joined] {
        let mut world = World::new(3, &["ann"]);
        let anns: Vec<UserRef> = (0..3).map(|home| world.user(home, "ann")).collect();
        let policy = Policy { history, ..Policy::default() };
        let group = world.try_create(0, "ann", anns[1..].to_vec(), policy).unwrap();
        world.flow();
        world.join(&anns[1], group);
        world.say(&anns[1], group, "before").unwrap();
        world.flow();
        // The letter arrives; what the group's home says then does not.
        world.ask(&anns[2], group, Change::Join { link: None }).unwrap();
        let letters = world.nodes[2].settle();
        let mut held = Vec::new();
        letters.into_iter().for_each(|effect| world.carry(2, effect, &mut held));
        world.cut.insert((0, 2));
        world.flow();
        assert_eq!(world.role(1, group, &anns[2]), Some(Role::Member));
        world.say(&anns[1], group, "after").unwrap();
        world.flow();
        let all = history == RosterHistory::All;
        let seen: &[&str] = if all { &["before", "after"] } else { &["after"] };
        assert_eq!(world.words(&anns[2], group), seen, "{history:?}");
        world.heal();
        world.settled(group, 0);
    }
}
