//! Rosters, and what other homes say of their users, that are not believed; and how rosters are sent.

use std::sync::Arc;

use bytes::Bytes;
use homing_core::{Asked, Courier, CourierLimits, Delivery, PeerFault, Sealer};
use homing_wire::{
    ChainPos, Change, ChannelId, Command, Epoch, Fence, HomeId, Letter, OpId, Role, Roster,
    SignedRoster, Tenure, UserRef,
};
use uuid::Uuid;

use crate::group_world::{World, group_of};
use crate::node::{Seal, local, v7};

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
