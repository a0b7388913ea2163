//! Avatars: who may have which, who reads them, and when nothing keeps them any more.

use bytes::Bytes;
use homing_core::{
    AVATAR, Asked, Failure, ImageState, MediaId, MediaState, ProfileChange, Reader as _, Refusal,
    naming_for_home, naming_shown,
};
use homing_wire::{
    Change, ChannelId, Hash, HomeId, MediaReference, OpId, Role, Roster, SignedRoster, UserRef,
};
use uuid::Uuid;

use crate::group_world::{World, group_of};
use crate::node::{Node, Seal, accepting, local};

fn picture(node: &mut Node, owner: &str, n: u8) -> MediaReference {
    uploaded(node, owner, n, |_| {})
}

fn uploaded(
    node: &mut Node,
    owner: &str,
    n: u8,
    change: impl FnOnce(&mut MediaState),
) -> MediaReference {
    let (id, hash) = (Uuid::from_bytes([n; 16]), Hash([n; 32]));
    let mut state = MediaState {
        id,
        owner: local(owner),
        hash,
        size: 7,
        mime: "image/png".into(),
        name: "me.png".into(),
        created_at: node.now,
        image: Some(ImageState { width: 2, height: 3, preview: vec![4] }),
        film: None,
        unnamed_since: None,
        going: false,
    };
    change(&mut state);
    let size = state.size;
    node.home.keep_media(node.now, state);
    node.settle();
    MediaReference { home: node.id, id, hash, size }
}

fn set(node: &mut Node, user: &str, avatar: Option<Uuid>) -> Result<(), Refusal> {
    set_by(node, user, avatar, None)
}

fn set_by(
    node: &mut Node,
    user: &str,
    avatar: Option<Uuid>,
    op: Option<OpId>,
) -> Result<(), Refusal> {
    let change = ProfileChange { avatar: Some(avatar), ..ProfileChange::default() };
    let (store, now) = (&node.store, node.now);
    let said = node.home.update_profile(store, now, &local(user), change, op);
    node.settle();
    match said {
        Ok(account) => {
            assert_eq!(node.store.account(&local(user)).unwrap(), Some(account));
            Ok(())
        }
        Err(Failure::Refused(refusal)) => Err(refusal),
        Err(Failure::Fault(fault)) => panic!("{fault}"),
    }
}

fn reads(node: &Node, user: &str, media: &MediaReference) -> bool {
    naming_shown(&node.store, &node.user(user), media.into()).unwrap().is_some()
}

/// Whether this home gives a file to another, as the avatar of a group, or of one of its users.
fn gives(node: &Node, to: HomeId, channel: ChannelId, media: &MediaReference) -> bool {
    naming_for_home(&node.store, to, channel, media.into()).unwrap().is_some()
}

fn named(node: &Node, media: &MediaReference) -> Vec<ChannelId> {
    let places = node.store.named(media.into(), None, 100).unwrap();
    assert!(places.iter().all(|(_, pos)| *pos == AVATAR), "{places:?}");
    places.into_iter().map(|(channel, _)| channel).collect()
}

fn update(avatar: Option<&MediaReference>) -> Change {
    let avatar = Some(avatar.cloned());
    Change::Update { name: None, avatar, policy: None, roles: Vec::new() }
}

/// The anns of all homes are in it, that of the second is an admin.
fn with_admin(homes: usize) -> (World, ChannelId, Vec<UserRef>) {
    let (mut world, group, anns) = group_of(homes);
    make(&mut world, group, &anns, Role::Admin);
    (world, group, anns)
}

fn make(world: &mut World, group: ChannelId, anns: &[UserRef], role: Role) {
    let roles = vec![(anns[1].clone(), role)];
    world.done(&anns[0], group, Change::Update { name: None, avatar: None, policy: None, roles });
    world.flow();
}

#[test]
fn a_users_avatar_is_read_by_everybody_until_it_is_none_any_more() {
    let mut node = Node::new(1, accepting(), &["ann", "bea"]);
    let far = HomeId([9; 32]);
    let (one, two) = (picture(&mut node, "ann", 1), picture(&mut node, "ann", 2));
    assert!(!reads(&node, "bea", &one) && !gives(&node, far, ChannelId::NONE, &one));
    set(&mut node, "ann", Some(one.id)).unwrap();
    assert!(reads(&node, "bea", &one) && gives(&node, far, ChannelId::NONE, &one));
    assert_eq!(named(&node, &one), [ChannelId::NONE]);
    assert!(!gives(&node, far, ChannelId(Uuid::from_u128(7)), &one));

    set(&mut node, "ann", Some(two.id)).unwrap();
    assert!(!reads(&node, "bea", &one) && !gives(&node, far, ChannelId::NONE, &one));
    assert!(reads(&node, "bea", &two) && gives(&node, far, ChannelId::NONE, &two));
    assert_eq!((named(&node, &one), named(&node, &two)), (vec![], vec![ChannelId::NONE]));

    set(&mut node, "ann", None).unwrap();
    assert!(!reads(&node, "bea", &two) && named(&node, &two).is_empty());
    assert_eq!(node.store.account(&local("ann")).unwrap().unwrap().avatar, None);
}

#[test]
fn an_account_that_goes_takes_its_avatar_along() {
    let mut node = Node::new(1, accepting(), &["ann", "bea"]);
    let file = picture(&mut node, "ann", 1);
    set(&mut node, "ann", Some(file.id)).unwrap();
    node.home.delete_account(&node.store, &local("ann")).unwrap();
    node.settle();
    assert!(!reads(&node, "bea", &file) && named(&node, &file).is_empty());
    assert!(!gives(&node, HomeId([9; 32]), ChannelId::NONE, &file));
}

#[test]
fn only_ones_own_small_images_are_avatars() {
    let mut node = Node::new(1, accepting(), &["ann", "bea"]);
    let word = |node: &mut Node, file: &MediaReference| {
        let refusal = set(node, "ann", Some(file.id)).unwrap_err();
        assert!(named(node, file).is_empty());
        (refusal.reason, refusal.limit)
    };
    let beas = picture(&mut node, "bea", 1);
    assert_eq!(word(&mut node, &beas), ("media_not_found", None));
    let unknown = MediaReference { id: Uuid::from_u128(1), ..beas };
    assert_eq!(word(&mut node, &unknown), ("media_not_found", None));
    let going = uploaded(&mut node, "ann", 2, |file| file.going = true);
    assert_eq!(word(&mut node, &going), ("media_not_found", None));
    let unread = uploaded(&mut node, "ann", 3, |file| file.image = None);
    assert_eq!(word(&mut node, &unread), ("not_an_image", None));
    let odd = uploaded(&mut node, "ann", 4, |file| file.mime = "image/bmp".into());
    assert_eq!(word(&mut node, &odd), ("not_an_image", None));
    let large = uploaded(&mut node, "ann", 5, |file| file.size = (1 << 20) + 1);
    assert_eq!(word(&mut node, &large), ("avatar_too_large", Some(1 << 20)));
    let most = uploaded(&mut node, "ann", 6, |file| file.size = 1 << 20);
    set(&mut node, "ann", Some(most.id)).unwrap();
}

#[test]
fn the_same_op_again_changes_no_avatar() {
    let mut node = Node::new(1, accepting(), &["ann"]);
    let (one, two) = (picture(&mut node, "ann", 1), picture(&mut node, "ann", 2));
    let op = Some(OpId(Uuid::from_u128(5)));
    set_by(&mut node, "ann", Some(one.id), op).unwrap();
    set(&mut node, "ann", Some(two.id)).unwrap();
    set_by(&mut node, "ann", Some(one.id), op).unwrap();
    assert_eq!((named(&node, &one), named(&node, &two)), (vec![], vec![ChannelId::NONE]));
}

#[test]
fn what_is_an_avatar_is_not_forgotten() {
    let mut node = Node::new(1, accepting(), &["ann"]);
    let file = picture(&mut node, "ann", 1);
    set(&mut node, "ann", Some(file.id)).unwrap();
    // It was marked by a look that was older.
    let state = node.store.media(file.id).unwrap().unwrap();
    node.home.keep_media(node.now, MediaState { going: true, ..state });
    node.settle();
    let gone = node.home.forget_media(&node.store, node.now, file.id, false).unwrap();
    node.settle();
    assert!(!gone && reads(&node, "ann", &file));
    set(&mut node, "ann", None).unwrap();
    let state = node.store.media(file.id).unwrap().unwrap();
    node.home.keep_media(node.now, MediaState { going: true, ..state });
    node.settle();
    assert!(node.home.forget_media(&node.store, node.now, file.id, false).unwrap());
}

#[test]
fn a_groups_avatar_is_read_by_its_members_at_all_homes() {
    let (mut world, group, anns) = with_admin(3);
    let file = picture(&mut world.nodes[1], "ann", 1);
    assert_eq!(world.ask(&anns[1], group, update(Some(&file))), Ok(Asked::Pending));
    let follows = world.nodes[1].settle();
    assert_eq!(named(&world.nodes[1], &file), [group]);
    assert!(!reads(&world.nodes[1], "bea", &file), "asked for is not yet");
    let third = world.nodes[2].id;
    assert!(!gives(&world.nodes[1], third, group, &file));
    follows.into_iter().for_each(|effect| world.carry(1, effect, &mut Vec::new()));
    world.flow();
    for home in 0..3 {
        assert_eq!(world.roster(home, group).avatar, Some(file.clone()));
        assert!(reads(&world.nodes[home], "ann", &file), "{home}");
        assert!(!reads(&world.nodes[home], "cat", &file), "{home}: a stranger");
        assert_eq!(named(&world.nodes[home], &file), [group]);
    }
    assert!(gives(&world.nodes[1], third, group, &file));
    assert!(!gives(&world.nodes[1], HomeId([9; 32]), group, &file));
    assert!(!gives(&world.nodes[1], third, ChannelId::NONE, &file));
    assert!(world.nodes[1].state(group).group.unwrap().avatars_asked.is_empty());

    // Another one, of the group's home; the first is nobody's any more.
    let other = picture(&mut world.nodes[0], "ann", 2);
    world.done(&anns[0], group, update(Some(&other)));
    world.flow();
    for home in 0..3 {
        assert!(
            !reads(&world.nodes[home], "bea", &file) && named(&world.nodes[home], &file).is_empty()
        );
        assert!(reads(&world.nodes[home], "ann", &other));
        assert_eq!(named(&world.nodes[home], &other), [group]);
    }
    assert!(gives(&world.nodes[0], third, group, &other));
    assert!(!gives(&world.nodes[1], third, group, &file));
    world.done(&anns[0], group, update(None));
    world.flow();
    assert!((0..3).all(|home| named(&world.nodes[home], &other).is_empty()));
    assert!((0..3).all(|home| world.roster(home, group).avatar.is_none()));
}

#[test]
fn whoever_may_not_name_a_group_gives_it_no_avatar() {
    let (mut world, group, anns) = with_admin(3);
    let word = |asked: Result<Asked, Refusal>| asked.unwrap_err().reason;
    let thirds = picture(&mut world.nodes[2], "ann", 1);
    assert_eq!(word(world.ask(&anns[2], group, update(Some(&thirds)))), "not_allowed");
    assert_eq!(word(world.ask(&anns[2], group, update(None))), "not_allowed");
    // Nor somebody else's file, nor another home's.
    let beas = picture(&mut world.nodes[1], "bea", 2);
    for file in [&beas, &thirds] {
        assert_eq!(word(world.ask(&anns[1], group, update(Some(file)))), "media_not_found");
        assert_eq!(word(world.ask(&anns[0], group, update(Some(file)))), "media_not_found");
    }
    let own = picture(&mut world.nodes[1], "ann", 3);
    let lies = MediaReference { hash: Hash([9; 32]), ..own };
    assert_eq!(word(world.ask(&anns[1], group, update(Some(&lies)))), "media_not_found");
    world.flow();
    assert_eq!(world.roster(0, group).avatar, None);
}

#[test]
fn what_is_refused_is_named_no_longer() {
    let (mut world, group, anns) = with_admin(2);
    let file = picture(&mut world.nodes[1], "ann", 1);
    world.cut_off(1);
    make(&mut world, group, &anns, Role::Member);
    assert_eq!(world.ask(&anns[1], group, update(Some(&file))), Ok(Asked::Pending));
    world.flow();
    assert_eq!(named(&world.nodes[1], &file), [group], "it must not go meanwhile");
    world.nodes[1].crash();
    world.heal();
    assert_eq!(world.roster(0, group).avatar, None);
    assert!(named(&world.nodes[1], &file).is_empty());
    assert!(world.nodes[1].state(group).group.unwrap().avatars_asked.is_empty());
}

#[test]
fn the_last_of_several_that_were_asked_for_is_kept() {
    let (mut world, group, anns) = with_admin(2);
    world.cut_off(1);
    let files: Vec<_> = (1..=8).map(|n| picture(&mut world.nodes[1], "ann", n)).collect();
    for file in &files {
        assert_eq!(world.ask(&anns[1], group, update(Some(file))), Ok(Asked::Pending));
    }
    let refused = world.ask(&anns[1], group, update(Some(&files[0]))).unwrap_err();
    assert_eq!((refused.reason, refused.limit), ("home_unreachable", Some(8)));
    world.flow();
    assert!(files.iter().all(|file| named(&world.nodes[1], file) == [group]));
    world.heal();
    assert_eq!(world.roster(1, group).avatar.as_ref(), files.last());
    for file in &files {
        let kept = file == files.last().unwrap();
        assert_eq!(named(&world.nodes[1], file).len(), usize::from(kept), "{file:?}");
    }
    assert!(world.nodes[1].state(group).group.unwrap().avatars_asked.is_empty());
}

/// The owner home of a group names a private file of another home, of which it has heard.
#[test]
fn nobody_publishes_what_another_home_keeps() {
    let (mut world, group, anns) = with_admin(3);
    let private = picture(&mut world.nodes[1], "bea", 1);
    let avatar = picture(&mut world.nodes[1], "cat", 2);
    set(&mut world.nodes[1], "cat", Some(avatar.id)).unwrap();
    let held = world.roster(0, group);
    let says = |world: &mut World, version: u64, file: Option<&MediaReference>| {
        let seal = Seal(world.nodes[0].id);
        let new = Roster { version, avatar: file.cloned(), ..held.clone() };
        let signed = new.sign(&seal, Bytes::new());
        for home in 1..3 {
            let arrived = SignedRoster::verify_with(signed.bytes().clone(), seal.0, &seal).unwrap();
            let node = &mut world.nodes[home];
            let (store, now) = (&node.store, node.now);
            node.home.receive_roster(store, now, seal.0, arrived).unwrap().unwrap();
            node.settle();
        }
    };
    let third = world.nodes[2].id;
    for (n, file) in [(2, &private), (4, &avatar)] {
        says(&mut world, held.version + n, Some(file));
        assert_eq!(world.roster(1, group).avatar.as_ref(), Some(file));
        assert!(!gives(&world.nodes[1], third, group, file));
        assert!(!named(&world.nodes[1], file).contains(&group));
    }
    assert!(!reads(&world.nodes[1], "ann", &private));
    // And takes nothing away by naming it no more.
    says(&mut world, held.version + 6, None);
    assert_eq!(named(&world.nodes[1], &avatar), [ChannelId::NONE]);
    assert!(reads(&world.nodes[1], "ann", &avatar));
    // Readers elsewhere ask in vain; that is their business.
    says(&mut world, held.version + 8, Some(&private));
    assert!(reads(&world.nodes[2], "ann", &private));
    assert!(!gives(&world.nodes[1], third, group, &private));

    // Its owner may: then it is wanted.
    let own = picture(&mut world.nodes[1], "ann", 3);
    world.cut_off(1);
    assert_eq!(world.ask(&anns[1], group, update(Some(&own))), Ok(Asked::Pending));
    world.nodes[1].settle();
    assert!(!gives(&world.nodes[1], third, group, &own));
    says(&mut world, held.version + 10, Some(&own));
    assert!(gives(&world.nodes[1], third, group, &own));
}

#[test]
fn an_owner_home_takes_no_file_of_a_third_home() {
    let (mut world, group, anns) = with_admin(3);
    let thirds = picture(&mut world.nodes[2], "ann", 1);
    let (owner, second) = (world.nodes[0].id, world.nodes[1].id);
    let letter = homing_wire::Letter::Command(homing_wire::Command {
        group,
        op: OpId(Uuid::from_u128(99)),
        user: anns[1].local.clone(),
        change: update(Some(&thirds)),
    });
    let node = &mut world.nodes[0];
    let seal = Seal(owner);
    let sealer = homing_core::Sealer { key: &seal, record: Bytes::new() };
    let name = (homing_wire::Epoch(u64::MAX >> 20), 1);
    let (store, now) = (&node.store, node.now);
    let taken = node.home.receive_letter(store, now, &sealer, second, name, Some(&letter));
    taken.unwrap().unwrap();
    world.flow();
    assert_eq!(world.roster(0, group).avatar, None);
}

#[test]
fn a_file_that_is_named_a_hundred_times_is_an_avatar_all_the_same() {
    let mut node = Node::new(1, accepting(), &["ann", "bea", "cat"]);
    let file = picture(&mut node, "ann", 1);
    let bea = node.user("bea");
    for _ in 0..100 {
        let mut command = node.command("ann", &bea, "");
        command.kind = homing_wire::Kind::Media;
        command.body = format!(r#"{{"type":"media","media":{{"id":"{}"}}}}"#, file.id).into();
        command.media = vec![file.clone()];
        node.run(&command).unwrap();
        node.settle();
    }
    assert!(!reads(&node, "cat", &file));
    set(&mut node, "ann", Some(file.id)).unwrap();
    assert!(reads(&node, "cat", &file));
    let media = MediaId::from(&file);
    assert_eq!(node.store.named(media, None, 1).unwrap(), [(ChannelId::NONE, AVATAR)]);
}
