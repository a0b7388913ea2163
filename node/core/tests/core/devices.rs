//! Devices: signed in and out, called something else, and forgotten when nobody uses them.

use homing_core::{Device, Failure, NewDevice, Policy, Reader as _, Refusal, TokenHash};
use homing_wire::{DeviceId, OpId};
use uuid::Uuid;

use crate::node::{Node, accepting, local};

const DAY_MS: u64 = 24 * 3_600_000;

fn acme() -> Node {
    Node::new(1, accepting(), &["alice", "bob"])
}

fn id(n: u8) -> DeviceId {
    DeviceId(Uuid::from_u128(n.into()))
}

fn token(n: u8) -> TokenHash {
    TokenHash([n; 32])
}

fn op(n: u128) -> Option<OpId> {
    Some(OpId(Uuid::from_u128(n)))
}

fn refusal<T>(result: Result<T, Failure>) -> Refusal {
    match result {
        Err(Failure::Refused(refusal)) => refusal,
        Err(Failure::Fault(fault)) => panic!("{fault}"),
        Ok(_) => panic!("not refused"),
    }
}

fn sign_in(node: &mut Node, user: &str, n: u8) -> Result<Device, Failure> {
    let checked = node.home.account(&node.store, &local(user)).unwrap().unwrap().password.clone();
    let name = format!("phone {n}");
    let new = NewDevice { user: local(user), id: id(n), token: token(n), name, checked };
    node.home.add_device(&node.store, node.now, new)
}

fn ids(node: &Node, user: &str) -> Vec<u8> {
    let devices = node.home.devices(&node.store, &local(user)).unwrap();
    devices.iter().map(|device| device.id.0.as_bytes()[15]).collect()
}

#[test]
fn what_is_not_on_disk_counts() {
    let mut acme = acme();
    sign_in(&mut acme, "alice", 1).unwrap();
    acme.settle();
    sign_in(&mut acme, "alice", 2).unwrap();
    assert_eq!(ids(&acme, "alice"), [1, 2], "one is on disk, one is on its way");
    // Killed in a step that is not on disk: whoever comes with it meanwhile does not bring it to life.
    acme.home.revoke_device(&acme.store, acme.now, &local("alice"), id(1), None).unwrap();
    assert!(acme.store.device(token(1)).unwrap().is_some());
    assert!(acme.home.device_of(&acme.store, token(1)).unwrap().is_none());
    acme.now += DAY_MS;
    acme.home.device_is_seen(&acme.store, acme.now, &local("alice"), id(1)).unwrap();
    acme.settle();
    assert_eq!(ids(&acme, "alice"), [2]);
    assert!(acme.store.device(token(1)).unwrap().is_none());
    // A name that is on its way is not lost to a sign of life.
    acme.home.rename_device(&acme.store, acme.now, &local("alice"), id(2), "tablet", None).unwrap();
    acme.home.device_is_seen(&acme.store, acme.now, &local("alice"), id(2)).unwrap();
    acme.settle();
    let device = acme.store.device(token(2)).unwrap().unwrap();
    assert_eq!((device.name.as_str(), device.seen_at), ("tablet", acme.now));
    // A device that has just signed in goes with the account.
    sign_in(&mut acme, "alice", 3).unwrap();
    let (_, gone) = acme.home.delete_account(&acme.store, &local("alice")).unwrap();
    assert_eq!(gone.len(), 2);
    acme.settle();
    assert_eq!(ids(&acme, "alice"), [0; 0]);
}

#[test]
fn devices_are_their_users_own() {
    let mut acme = acme();
    sign_in(&mut acme, "alice", 1).unwrap();
    sign_in(&mut acme, "bob", 2).unwrap();
    acme.settle();
    let (alice, now) = (local("alice"), acme.now);
    let (home, store) = (&mut acme.home, &acme.store);
    for which in [id(2), id(9)] {
        let refused = refusal(home.revoke_device(store, now, &alice, which, op(1)));
        assert_eq!(refused.reason, "device_not_found");
        let refused = refusal(home.rename_device(store, now, &alice, which, "x", op(1)));
        assert_eq!(refused.reason, "device_not_found");
    }
    for name in ["", " ", "a\nb", &"x".repeat(129)] {
        let refused = refusal(home.rename_device(store, now, &alice, id(1), name, op(1)));
        assert_eq!((refused.reason, refused.limit), ("invalid_device_name", Some(128)));
    }
    home.rename_device(store, now, &alice, id(1), &"ö".repeat(128), op(2)).unwrap();
    home.rename_device(store, now, &alice, id(1), "other", op(3)).unwrap();
    home.rename_device(store, now, &alice, id(1), &"ö".repeat(128), op(2)).unwrap();
    assert_eq!(home.devices(store, &alice).unwrap()[0].name, "other", "an op is done once");
    assert!(home.revoke_device(store, now, &alice, id(1), op(4)).unwrap().is_some());
    assert!(home.revoke_device(store, now, &alice, id(1), op(4)).unwrap().is_none());
    acme.settle();
    assert_eq!((ids(&acme, "alice"), ids(&acme, "bob")), (vec![], vec![2]));
}

#[test]
fn a_new_password_signs_the_others_out() {
    let mut acme = acme();
    for n in 1..=3 {
        sign_in(&mut acme, "alice", n).unwrap();
    }
    sign_in(&mut acme, "bob", 9).unwrap();
    acme.settle();
    let (alice, now) = (local("alice"), acme.now);
    let old = acme.store.account(&alice).unwrap().unwrap().password;
    let change = |node: &mut Node, checked: &str, new: &str, op| {
        let passwords = (checked, new.to_owned());
        node.home.change_password(&node.store, now, &alice, passwords, id(2), op)
    };
    assert_eq!(refusal(change(&mut acme, "$other", "$new", op(1))).reason, "bad_credentials");
    assert_eq!(ids(&acme, "alice"), [1, 2, 3]);
    let gone = change(&mut acme, &old, "$new", op(1)).unwrap();
    assert_eq!(gone.iter().map(|device| device.id).collect::<Vec<_>>(), [id(1), id(3)]);
    // Whoever has shown the old one a moment ago does not get in.
    let new = NewDevice {
        user: local("alice"),
        id: id(4),
        token: token(4),
        name: "thief".into(),
        checked: old.clone(),
    };
    assert_eq!(refusal(acme.home.add_device(&acme.store, now, new)).reason, "bad_credentials");
    // The answer was lost, and the call comes again.
    assert_eq!(change(&mut acme, &old, "$new", op(1)).unwrap(), []);
    assert_eq!(refusal(change(&mut acme, &old, "$newer", op(2))).reason, "bad_credentials");
    acme.settle();
    acme.crash();
    assert_eq!((ids(&acme, "alice"), ids(&acme, "bob")), (vec![2], vec![9]));
    assert_eq!(acme.store.account(&alice).unwrap().unwrap().password, "$new");
}

#[test]
fn whoever_is_not_used_for_long_is_signed_out() {
    let mut acme = Node::new(1, Policy { token_idle_ms: 90 * DAY_MS, ..accepting() }, &["alice"]);
    for user in ["a", "b", "c", "d", "e"] {
        acme.register(user);
        acme.settle();
    }
    for (n, user) in (1..).zip(["alice", "a", "b", "c", "d", "e", "alice"]) {
        sign_in(&mut acme, user, n).unwrap();
    }
    acme.settle();
    let expire = |node: &mut Node, in_use: Option<DeviceId>| {
        let (mut after, mut gone) = (None, 0);
        loop {
            let is_open = |_: &_, id| Some(id) == in_use;
            let (store, now) = (&node.store, node.now);
            let (next, some) =
                node.home.expire_devices(store, now, after.as_ref(), 2, is_open).unwrap();
            (after, gone) = (next, gone + some);
            node.settle();
            if after.is_none() {
                return gone;
            }
        }
    };
    acme.now += 90 * DAY_MS;
    assert_eq!(expire(&mut acme, None), 0, "90 days are not over");
    // One was used in between, one has an open socket.
    acme.home.device_is_seen(&acme.store, acme.now, &local("a"), id(2)).unwrap();
    acme.settle();
    acme.now += 1;
    assert!(acme.home.is_idle(acme.now, &acme.store.device(token(1)).unwrap().unwrap()));
    assert_eq!(expire(&mut acme, Some(id(3))), 5);
    assert_eq!((ids(&acme, "alice"), ids(&acme, "a"), ids(&acme, "b")), (vec![], vec![2], vec![3]));
    acme.now += 89 * DAY_MS;
    assert_eq!(expire(&mut acme, None), 0, "used 89 days ago");
    acme.now += 2 * DAY_MS;
    assert_eq!(expire(&mut acme, None), 2);

    // Of whoever was signed in by an older program it is not known when: it begins now.
    let old = Device { seen_at: 0, ..sign_in(&mut acme, "alice", 1).unwrap() };
    acme.settle();
    let write = homing_core::Write::Device(Box::new(old));
    let batch = homing_core::Batch {
        change: acme.store.change,
        stamp: acme.store.stamp,
        writes: vec![write],
    };
    acme.store.commit(acme.id, acme.epoch, &batch);
    acme.now += 1_000 * DAY_MS;
    assert_eq!(expire(&mut acme, None), 0);
    acme.now += 91 * DAY_MS;
    assert_eq!(expire(&mut acme, None), 1);
}

#[test]
fn a_sign_of_life_is_written_seldom() {
    let mut acme = acme();
    sign_in(&mut acme, "alice", 1).unwrap();
    acme.settle();
    let mut writes = 0;
    for _ in 0..100 {
        acme.now += 60_000;
        acme.home.device_is_seen(&acme.store, acme.now, &local("alice"), id(1)).unwrap();
        assert!(!acme.home.is_urgent(), "nobody waits for it");
        let step = acme.home.take_step();
        writes += step.batch.writes.len();
        acme.store.commit(acme.id, acme.epoch, &step.batch);
        acme.home.committed(step.number);
    }
    assert_eq!(writes, 1);
}
