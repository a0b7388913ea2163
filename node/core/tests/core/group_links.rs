//! Links by which people come into groups: of the own home and of others.

use homing_core::{Asked, Failure, GroupState, PeerState, Refusal, Sealer};
use homing_wire::{Change, ChannelId, GroupLink, Hash, OpId, Role, UserRef};
use uuid::Uuid;

use crate::group_world::{World, group_of};
use crate::node::Seal;

/// A link of the first home's group, with a secret of its own.
fn link(world: &World, group: ChannelId, n: u8) -> GroupLink {
    GroupLink { home: world.nodes[0].id, group, secret: [n; 32] }
}

fn make(link: &GroupLink, expires: Option<u64>, uses: Option<u32>) -> Change {
    Change::MakeLink { expires, uses, secret: link.hash() }
}

fn come(world: &mut World, who: &UserRef, link: &GroupLink) -> Result<Asked, Refusal> {
    let at = world.at(who.home);
    let op = OpId(world.nodes[at].fresh_id().0);
    come_as(world, who, link, op)
}

fn come_as(world: &mut World, who: &UserRef, link: &GroupLink, op: OpId) -> Result<Asked, Refusal> {
    world.tick();
    let at = world.at(who.home);
    let node = &mut world.nodes[at];
    let seal = Seal(node.id);
    let sealer = Sealer { key: &seal, record: bytes::Bytes::new() };
    let asked = node.home.join_by_link(&node.store, node.now, &sealer, &who.local, link, op);
    asked.map_err(|failure| match failure {
        Failure::Refused(refusal) => refusal,
        Failure::Fault(fault) => panic!("{fault}"),
    })
}

fn waiting(world: &World, who: &UserRef) -> usize {
    let owner = world.nodes[0].id;
    world.nodes[world.at(who.home)].home.peer(&owner).unwrap().joining.len()
}

fn uses_left(world: &mut World, group: ChannelId) -> Vec<Option<u32>> {
    let state = world.nodes[0].state(group);
    state.group.unwrap().links.iter().map(|link| link.uses_left).collect()
}

#[test]
fn people_of_the_home_and_of_others_come_by_a_link() {
    let (mut world, group, anns) = group_of(3);
    let (cat, far, unknown) = (world.user(0, "cat"), world.user(1, "bea"), world.user(2, "bea"));
    let way = link(&world, group, 1);
    world.done(&anns[0], group, make(&way, None, Some(3)));
    world.flow();
    assert!(matches!(come(&mut world, &cat, &way), Ok(Asked::Done(_))), "at once at home");
    assert_eq!(uses_left(&mut world, group), [Some(2)]);
    assert!(matches!(come(&mut world, &cat, &way), Ok(Asked::Done(_))), "twice is once");
    assert_eq!(uses_left(&mut world, group), [Some(2)], "who is in uses nothing up");
    assert_eq!(come(&mut world, &far, &way), Ok(Asked::Pending));
    assert_eq!(come(&mut world, &far, &way), Ok(Asked::Pending), "asked again before the answer");
    assert_eq!(waiting(&world, &far), 1, "one wish");
    world.flow();
    assert_eq!(uses_left(&mut world, group), [Some(1)]);
    assert_eq!(world.role(1, group, &far), Some(Role::Member));
    assert_eq!(waiting(&world, &far), 0);
    assert_eq!(come(&mut world, &unknown, &way), Ok(Asked::Pending));
    world.flow();
    assert_eq!(uses_left(&mut world, group), [], "used up");
    // All of them agreed: they talk, and see what comes from now on.
    world.say(&anns[0], group, "welcome").unwrap();
    for who in [&cat, &far, &unknown] {
        world.flow();
        world.say(who, group, "thanks").unwrap();
    }
    world.flow();
    for who in [&cat, &far, &unknown] {
        assert_eq!(world.words(who, group), ["welcome", "thanks", "thanks", "thanks"], "{who}");
    }
    world.settled(group, 0);
}

/// A home that has nobody in the group knows nothing of it when its user comes, and may stop meanwhile.
#[test]
fn a_wish_outlives_a_restart_of_the_joiners_home() {
    let mut world = World::new(2, &["ann", "bea"]);
    let (ann, bea) = (world.user(0, "ann"), world.user(1, "bea"));
    let group = world.create(0, Vec::new());
    let way = link(&world, group, 1);
    world.done(&ann, group, make(&way, None, None));
    world.flow();
    world.cut_off(1);
    assert_eq!(come(&mut world, &bea, &way), Ok(Asked::Pending));
    world.flow();
    world.nodes[1].crash();
    world.heal();
    world.flow();
    let state = world.nodes[1].state(group);
    let member = state.member(&bea).unwrap();
    assert!(member.accepted, "she is in it and not merely asked");
    assert_eq!(waiting(&world, &bea), 0);
    world.say(&bea, group, "hello").unwrap();
    world.flow();
    assert_eq!(world.words(&ann, group), ["hello"]);
}

#[test]
fn a_roster_alone_makes_nobody_a_member_without_a_wish() {
    let mut world = World::new(2, &["ann", "bea", "cat"]);
    let (ann, bea, cat) = (world.user(0, "ann"), world.user(1, "bea"), world.user(1, "cat"));
    let group = world.create(0, Vec::new());
    let way = link(&world, group, 1);
    world.done(&ann, group, make(&way, None, None));
    world.flow();
    // Her wish has been forgotten when the answer comes: she is asked.
    world.cut_off(1);
    come(&mut world, &bea, &way).unwrap();
    world.flow();
    world.nodes[1].now += 31 * 24 * 3_600_000;
    come(&mut world, &cat, &way).unwrap();
    assert_eq!(waiting(&world, &bea), 1, "the wish of one has expired");
    world.flow();
    world.heal();
    world.flow();
    let state = world.nodes[1].state(group);
    assert!(!state.member(&bea).unwrap().accepted);
    assert!(state.member(&cat).unwrap().accepted);
    world.join(&bea, group);
    assert!(world.nodes[1].state(group).member(&bea).unwrap().accepted);
}

#[test]
fn a_link_that_is_no_good_changes_nothing() {
    let (mut world, group, anns) = group_of(2);
    let (cat, far) = (world.user(0, "cat"), world.user(1, "bea"));
    let [spent, late, dropped, never] = [1, 2, 3, 4].map(|n| link(&world, group, n));
    let nowhere = GroupLink { group: ChannelId(Uuid::from_u128(7)), ..never.clone() };
    let elsewhere = GroupLink { home: world.nodes[1].id, ..dropped.clone() };
    let soon = world.nodes[0].now + 1_000;
    world.done(&anns[0], group, make(&spent, None, Some(1)));
    world.done(&anns[0], group, make(&late, Some(soon), None));
    world.done(&anns[0], group, make(&dropped, None, None));
    world.done(&anns[0], group, Change::DropLink { secret: dropped.hash() });
    let zoe = world.user(0, "cat");
    come(&mut world, &zoe, &spent).unwrap();
    world.done(&anns[0], group, Change::Remove(vec![zoe]));
    world.flow();
    world.nodes.iter_mut().for_each(|node| node.now += 1_000);
    let before = (world.roster(0, group), uses_left(&mut world, group));
    for (n, way) in [&spent, &late, &dropped, &never, &nowhere, &elsewhere].into_iter().enumerate()
    {
        let refusal = come(&mut world, &cat, way).unwrap_err();
        assert_eq!(refusal.reason, "link_not_found", "{n}");
        if way.home == world.nodes[0].id {
            assert_eq!(come(&mut world, &far, way), Ok(Asked::Pending), "{n}");
            assert_eq!(waiting(&world, &far), 1, "{n}");
            world.flow();
            assert_eq!(waiting(&world, &far), 0, "{n}: refused, and forgotten");
        }
    }
    assert_eq!((world.roster(0, group), uses_left(&mut world, group)), before);
    let strange = GroupLink { home: homing_wire::HomeId([99; 32]), ..nowhere };
    assert_eq!(come(&mut world, &far, &strange).unwrap_err().reason, "unknown_home");
}

#[test]
fn admins_alone_open_and_withdraw_links() {
    let (mut world, group, anns) = group_of(2);
    let (bea, cat) = (world.user(0, "bea"), world.user(0, "cat"));
    let way = link(&world, group, 1);
    let word = |result: Result<Asked, Refusal>| result.unwrap_err().reason;
    for who in [&bea, &anns[1]] {
        assert_eq!(word(world.ask(who, group, make(&way, None, None))), "not_allowed");
        let drop = Change::DropLink { secret: way.hash() };
        assert_eq!(word(world.ask(who, group, drop)), "not_allowed");
    }
    assert_eq!(word(world.ask(&cat, group, make(&way, None, None))), "channel_not_found");
    let now = world.nodes[0].now;
    assert_eq!(word(world.ask(&anns[0], group, make(&way, Some(now), None))), "invalid_expires");
    assert_eq!(word(world.ask(&anns[0], group, make(&way, None, Some(0)))), "invalid_uses");
    let drop = Change::DropLink { secret: way.hash() };
    assert_eq!(word(world.ask(&anns[0], group, drop)), "link_not_found");
    assert_eq!(uses_left(&mut world, group), []);
    // An admin of another home makes one by letter.
    let roles = vec![(anns[1].clone(), Role::Admin)];
    world.done(&anns[0], group, Change::Update { name: None, avatar: None, policy: None, roles });
    world.flow();
    assert_eq!(world.ask(&anns[1], group, make(&way, None, Some(5))), Ok(Asked::Pending));
    world.flow();
    assert_eq!(uses_left(&mut world, group), [Some(5)]);
    // Whoever made it may be an admin no more: it stays until an admin withdraws it.
    world.done(&anns[0], group, Change::Remove(vec![anns[1].clone()]));
    world.flow();
    come(&mut world, &cat, &way).unwrap();
    assert_eq!(world.role(0, group, &cat), Some(Role::Member));
    // Whoever was removed can come again, until all links are withdrawn.
    come(&mut world, &anns[1], &way).unwrap();
    world.flow();
    assert_eq!(world.role(0, group, &anns[1]), Some(Role::Member));
    world.say(&anns[1], group, "back").unwrap();
    world.done(&anns[0], group, Change::Remove(vec![anns[1].clone(), cat.clone()]));
    world.done(&anns[0], group, Change::DropLink { secret: Hash::NONE });
    world.flow();
    assert_eq!(word(come(&mut world, &cat, &way)), "link_not_found");
    come(&mut world, &anns[1], &way).unwrap();
    world.flow();
    assert_eq!(world.role(0, group, &anns[1]), None);
}

#[test]
fn links_and_wishes_have_bounds() {
    let (mut world, group, anns) = group_of(2);
    let most = GroupState::LINKS as u8;
    let soon = world.nodes[0].now + 5_000;
    let ways: Vec<GroupLink> = (0..=most).map(|n| link(&world, group, n)).collect();
    for (n, way) in ways[..usize::from(most)].iter().enumerate() {
        world.done(&anns[0], group, make(way, (n == 3).then_some(soon), None));
    }
    let refusal = world.ask(&anns[0], group, make(&ways[32], None, None)).unwrap_err();
    assert_eq!((refusal.reason, refusal.limit), ("too_many_links", Some(32)));
    world.done(&anns[0], group, make(&ways[7], None, None));
    assert_eq!(uses_left(&mut world, group).len(), 32, "the same again is the same");
    world.nodes[0].now = soon;
    world.done(&anns[0], group, make(&ways[32], None, None));
    assert_eq!(uses_left(&mut world, group).len(), 32, "an expired one made room");

    let far = world.user(1, "bea");
    world.cut_off(1);
    for n in 0..PeerState::JOINING_OF_USER {
        let of = GroupLink { group: ChannelId(Uuid::from_u128(n as u128)), ..ways[0].clone() };
        assert_eq!(come(&mut world, &far, &of), Ok(Asked::Pending));
    }
    let refusal = come(&mut world, &far, &ways[0]).unwrap_err();
    assert_eq!((refusal.reason, refusal.limit), ("too_many_joins", Some(16)));
    assert_eq!(waiting(&world, &far), 16);
}

/// The group is full: nobody comes, and the link is as good as before.
#[test]
fn a_full_group_lets_nobody_in() {
    let (mut world, group, anns) = group_of(2);
    let cat = world.user(0, "cat");
    let way = link(&world, group, 1);
    world.done(&anns[0], group, make(&way, None, Some(1)));
    let crowd =
        (0..97).map(|n| UserRef::new(anns[1].home, crate::node::local(&format!("u{n}")))).collect();
    world.done(&anns[0], group, Change::Invite(crowd));
    let refusal = come(&mut world, &cat, &way).unwrap_err();
    assert_eq!((refusal.reason, refusal.limit), ("group_full", Some(100)));
    assert_eq!(uses_left(&mut world, group), [Some(1)]);
}
