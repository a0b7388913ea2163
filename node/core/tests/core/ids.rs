//! The same id twice is one message, whatever clients' clocks show and however often the home restarts.

use homing_core::{Policy, Target};
use homing_wire::OpId;
use uuid::Uuid;

use crate::node::{MONDAY_MS, Node, accepting, local, text, v7};

/// Remembers next to nothing: every commit of some text turns a generation.
fn forgetful() -> Node {
    let policy = Policy { ids_bytes: 1, ..accepting() };
    Node::new(1, policy, &["alice", "bob"])
}

/// So many messages, each a step, that everything before is forgotten.
fn chatter(node: &mut Node) {
    let bob = node.user("bob");
    for _ in 0..4 {
        node.now += 1_000;
        node.send("alice", &bob, "chatter");
        node.settle();
    }
}

#[test]
fn a_repeat_answers_as_the_first_did() {
    let mut acme = forgetful();
    let bob = acme.user("bob");
    // A client's clock right, slow, an hour ahead, years ahead; and an id without time.
    let times = [0, -3_600_000, 3_600_000, 400_000_000_000];
    let mut ids: Vec<_> = (1..)
        .zip(times)
        .map(|(n, skew)| v7(MONDAY_MS.checked_add_signed(skew).unwrap(), n))
        .collect();
    ids.push(homing_wire::MessageId(Uuid::from_u128(0x1234_5678)));
    for (n, id) in ids.into_iter().enumerate() {
        let mut command = acme.command("alice", &bob, &format!("message {n}"));
        command.id = Some(id);
        let first = acme.run(&command).unwrap();
        let check = |acme: &mut Node, when: &str| {
            let again = acme.run(&command).unwrap();
            assert!(again.repeated, "{when}: {n}");
            assert_eq!((again.pos, again.order), (first.pos, first.order), "{when}");
            assert!(acme.home.is_urgent());
        };
        check(&mut acme, "in the same step");
        acme.settle();
        check(&mut acme, "after it");
        chatter(&mut acme);
        check(&mut acme, "when it is forgotten");
        acme.crash();
        check(&mut acme, "after a restart");
        acme.now -= 5_000_000; // the clock is set back over the restart
        acme.crash();
        chatter(&mut acme);
        check(&mut acme, "after the clock was set back");
        acme.now += 5_000_000;
    }
}

#[test]
fn an_id_that_the_home_chose_is_known_when_it_comes_back() {
    let mut acme = forgetful();
    let bob = acme.user("bob");
    let mut command = acme.command("alice", &bob, "no id");
    let first = acme.run(&command).unwrap();
    acme.settle();
    command.id = Some(first.id);
    assert_eq!(acme.run(&command).unwrap().pos, first.pos);
    chatter(&mut acme);
    assert_eq!(acme.run(&command).unwrap().pos, first.pos);
}

#[test]
fn an_id_is_for_one_message() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob", "eve"]);
    let (alice, bob, eve) = (acme.user("alice"), acme.user("bob"), acme.user("eve"));
    let mut command = acme.command("alice", &bob, "one");
    command.id = Some(v7(MONDAY_MS, 1));
    let first = acme.run(&command).unwrap();
    acme.settle();
    let mut other = command.clone();
    other.body = text("two");
    assert_eq!(acme.run(&other).unwrap_err().reason, "id_reused");
    other = command.clone();
    other.target = Target::To(eve);
    assert_eq!(acme.run(&other).unwrap_err().reason, "id_reused");
    assert!(!acme.home.has_step());
    // By channel it is the same message; from another user another one.
    command.target = Target::Channel(first.channel);
    assert_eq!(acme.run(&command).unwrap().pos, first.pos);
    command.sender = local("bob");
    command.target = Target::To(alice);
    assert!(!acme.run(&command).unwrap().repeated);
}

#[test]
fn an_op_is_done_once() {
    let mut acme = forgetful();
    let bob = acme.user("bob");
    let mut command = acme.command("alice", &bob, "once");
    command.op = Some(OpId(Uuid::from_u128(5)));
    let first = acme.run(&command).unwrap();
    for step in 0..4 {
        command.fresh_id = acme.fresh_id();
        let again = acme.run(&command).unwrap();
        assert_eq!((again.id, again.pos, again.repeated), (first.id, first.pos, true), "{step}");
        match step {
            0 => drop(acme.settle()),
            1 => chatter(&mut acme),
            _ => acme.crash(),
        }
    }
    // The same op of another user is another one.
    command.sender = local("bob");
    command.target = Target::To(acme.user("alice"));
    assert!(!acme.run(&command).unwrap().repeated);
}

#[test]
fn ids_are_forgotten_though_a_step_is_always_under_way() {
    let policy = Policy { ids_bytes: 4_000, ..accepting() };
    let mut acme = Node::new(1, policy, &["alice", "bob"]);
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let mut first = acme.command("alice", &bob, "the first");
    first.id = Some(v7(MONDAY_MS, 1));
    let answer = acme.run(&first).unwrap();
    let mut under_way = acme.home.take_step();
    for n in 0..100 {
        acme.now += 10;
        acme.send("alice", &bob, &n.to_string());
        acme.store.commit(acme.id, acme.epoch, &under_way.batch);
        acme.home.committed(under_way.number);
        acme.send("bob", &alice, &n.to_string());
        under_way = acme.home.take_step();
    }
    assert!(acme.home.ids_remembered() < 40, "{}", acme.home.ids_remembered());
    assert_eq!(acme.run(&first).unwrap().pos, answer.pos);
}

#[test]
fn what_is_not_on_disk_is_not_forgotten() {
    let mut acme = forgetful();
    let bob = acme.user("bob");
    let mut commands = Vec::new();
    let mut under_way = std::collections::VecDeque::new();
    for n in 0..20 {
        acme.now += 10;
        let mut command = acme.command("alice", &bob, &n.to_string());
        command.id = Some(v7(acme.now, n));
        let pos = acme.run(&command).unwrap().pos;
        commands.push((command, pos));
        under_way.push_back(acme.home.take_step());
        if under_way.len() > 3 {
            let step = under_way.pop_front().unwrap();
            acme.store.commit(acme.id, acme.epoch, &step.batch);
            acme.home.committed(step.number);
        }
        for (command, pos) in &commands {
            assert_eq!(acme.run(command).unwrap().pos, *pos);
        }
    }
}

/// The ids of the hour ahead stay known when the clock is put right, though their generation is let go by then.
#[test]
fn ids_used_while_the_clock_ran_ahead_are_known() {
    const HOUR_MS: u64 = 3_600_000;
    let mut acme = forgetful();
    let bob = acme.user("bob");
    acme.now += HOUR_MS;
    // Made by a client with the home's clock, and by one whose clock was right.
    let mut commands = Vec::new();
    for (n, ms) in [(1, acme.now), (2, acme.now - HOUR_MS / 2), (3, MONDAY_MS)] {
        let mut command = acme.command("alice", &bob, &format!("ahead {n}"));
        command.id = Some(v7(ms, n));
        let pos = acme.run(&command).unwrap().pos;
        commands.push((command, pos));
    }
    acme.now -= HOUR_MS;
    acme.tick(); // their generation ends now, not in the hour ahead
    for round in 0..3 {
        chatter(&mut acme);
        for (command, pos) in &commands {
            let again = acme.run(command).unwrap();
            assert!(again.repeated && again.pos == *pos, "{round}: {:?}", command.id);
        }
    }
}
