//! Disks that are lost, more than once and on both sides, and what happens at the same time.

use homing_core::{
    AccountState, Answered, Effect, Question, RangeQuestion, Repair, SendCommand, Telling, holdings,
};
use homing_wire::{ChannelId, HomeId, Seq, UserRef};

use crate::node::{Forge, Node, Seal, accepting, local, text, v7};
use crate::repair::{answer, events_owed, fetch, go_on, homes, honest, restored, same_history};

/// Marks that follow from a step, and for whom.
fn marks_in(effects: &[Effect]) -> Vec<(HomeId, Telling)> {
    let marks = effects.iter().filter_map(|effect| match effect {
        Effect::Marks { peer, telling, .. } => Some((*peer, telling.clone())),
        Effect::Message { .. }
        | Effect::Marked { .. }
        | Effect::Channel { .. }
        | Effect::ChannelOf { .. }
        | Effect::Rejected { .. }
        | Effect::Changed { .. }
        | Effect::Roster { .. }
        | Effect::Letter { .. }
        | Effect::Settled { .. }
        | Effect::Pull { .. }
        | Effect::Owed { .. } => None,
    });
    marks.collect()
}

fn owes(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Owed { .. }))
}

/// Asks the next question and takes its answer, after something else has happened.
fn ask(
    repair: &mut Repair,
    asker: &mut Node,
    holder: &mut Node,
    meanwhile: impl FnOnce(&mut Node, &mut Node),
) -> Option<Question> {
    let question = repair.next(&mut asker.home, &asker.store).unwrap()?;
    asker.settle();
    let told = answer(asker, holder, &question);
    meanwhile(asker, holder);
    repair.answered(&mut asker.home, &asker.store, asker.now, told).unwrap().unwrap();
    asker.settle();
    Some(question)
}

#[test]
fn a_home_that_is_new_is_asked_before_anything_is_pushed() {
    let mut acme = Node::new(1, accepting(), &["alice"]);
    let mut globex = Node::new(2, accepting(), &["carol"]);
    let carol = globex.user("carol");
    acme.meets(globex.id, true);
    let channel = acme.send("alice", &carol, "hello").channel;
    assert!(!owes(&acme.settle()));
    acme.home.resume(&acme.store, globex.id).unwrap();
    assert!(!owes(&acme.settle()), "not by a new connection either");
    acme.crash();
    assert!(acme.home.is_reconciling(&globex.id), "nor after a restart");
    let mut repair = Repair::new(globex.id);
    ask(&mut repair, &mut acme, &mut globex, |_, _| {});
    assert_eq!(repair.next(&mut acme.home, &acme.store).unwrap(), None);
    acme.home.reconciled(&acme.store, globex.id, 0).unwrap();
    assert!(owes(&acme.settle()), "what waited goes at once");
    acme.crash();
    assert!(!acme.home.is_reconciling(&globex.id));
    acme.deliver(&mut globex);
    same_history(&acme, &globex, channel);
}

/// A range that was pushed comes between the question and its answer.
#[test]
fn what_is_asked_for_may_be_pushed_meanwhile() {
    for pushed in [1, 2, 3] {
        let (mut acme, mut globex, channel) = homes();
        let carol = globex.user("carol");
        for n in 0..3 {
            acme.send("alice", &carol, &n.to_string());
        }
        acme.settle();
        let mut repair = Repair::new(acme.id);
        ask(&mut repair, &mut globex, &mut acme, |_, _| {});
        let mut asked = Vec::new();
        loop {
            let first = asked.is_empty();
            let question = ask(&mut repair, &mut globex, &mut acme, |globex, acme| {
                if first {
                    globex.receive(acme.id, &acme.range(channel, 2, pushed)).unwrap();
                    globex.settle();
                    acme.acknowledged(globex.id, channel, 1 + pushed as u64).unwrap();
                    acme.settle();
                }
            });
            let Some(question) = question else { break };
            asked.push(question);
        }
        same_history(&acme, &globex, channel);
        assert_eq!(repair.fetched() + pushed as u64, 3, "{pushed}");
        assert_eq!(repair.incomplete(), 0);
        // The question that asked for less than there was by then was not the last word.
        assert_eq!(events_owed(&mut acme, channel), 0, "{pushed}: {asked:?}");
    }
}

/// An answer may come back to a home that has let go of the channel it is about.
#[test]
fn a_small_memory_fetches_as_well() {
    let policy = homing_core::Policy { channels_cached: 1, ..accepting() };
    let mut acme = Node::new(1, accepting(), &["alice"]);
    let mut globex = Node::new(2, policy, &["carol", "dave"]);
    let (alice, carol, dave) = (acme.user("alice"), globex.user("carol"), globex.user("dave"));
    let other = globex.send("dave", &carol, "between").channel;
    globex.settle();
    for n in 0..4 {
        acme.send("alice", &carol, &n.to_string());
        acme.send("alice", &dave, &n.to_string());
    }
    acme.settle();
    let mut repair = Repair::new(acme.id);
    while ask(&mut repair, &mut globex, &mut acme, |globex, _| {
        globex.state(other);
        assert_eq!(globex.home.cached().0, 1);
    })
    .is_some()
    {}
    assert_eq!((repair.fetched(), repair.incomplete()), (8, 0));
    for user in [carol, dave] {
        same_history(&acme, &globex, ChannelId::chat(&alice, &user));
    }
}

/// Marks of messages that had not come back yet were told too early: they are told again.
#[test]
fn marks_are_told_again_when_the_messages_are_back() {
    let (mut acme, mut globex, channel) = homes();
    let backup = acme.store.clone();
    go_on(&mut acme, &mut globex, 3);
    globex.mark("carol", channel, 8, 8).unwrap();
    globex.deliver_marks(&mut acme);
    let carol = globex.user("carol");
    acme.restore(backup);
    let mut repair = Repair::new(globex.id);
    let mut asked = Vec::new();
    while let Some(question) = ask(&mut repair, &mut acme, &mut globex, |_, _| {}) {
        if matches!(question, Question::Holdings { .. }) {
            // Whoever is asked tells its marks at once.
            globex.home.owe_marks_to(&globex.store, channel, acme.id).unwrap();
            for (_, telling) in marks_in(&globex.settle()) {
                acme.receive_marks(globex.id, channel, &telling.marks).unwrap();
                globex.home.marks_taken(&globex.store, acme.id, channel, &telling).unwrap();
            }
            globex.settle();
            acme.settle();
        }
        asked.push(question);
    }
    assert_eq!(asked.first(), asked.last());
    let (_, read) = acme.mark_of(&carol, channel);
    let state = acme.state(channel);
    let last = state.chain(&acme.id, homing_wire::Epoch(acme.epoch.0 - 1_000)).unwrap();
    assert_eq!(read, last.pos.0, "she has read all of them");
}

/// The peer has lost what the backup says it had taken.
#[test]
fn a_restored_home_tells_its_own_marks_anew() {
    let (mut acme, mut globex, channel) = homes();
    let alice = acme.user("alice");
    acme.mark("alice", channel, 2, 2).unwrap();
    acme.deliver_marks(&mut globex);
    assert_eq!(globex.mark_of(&alice, channel).1, 2);
    assert!(acme.home.owed().is_empty());
    let backup = acme.store.clone();
    acme.restore(backup);
    let mut repair = Repair::new(globex.id);
    let question = repair.next(&mut acme.home, &acme.store).unwrap().unwrap();
    let told = answer(&acme, &mut globex, &question);
    repair.answered(&mut acme.home, &acme.store, acme.now, told).unwrap().unwrap();
    let marks = marks_in(&acme.settle());
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert_eq!((marks[0].0, marks[0].1.marks[0].read), (globex.id, Seq(1)));
    assert!(!acme.store.owed.is_empty(), "until they are taken");
}

/// The peer took the marks when it had lost the messages, asked for those, and only then said that it had taken
/// the marks. It is killed before it has them again.
#[test]
fn an_answer_to_what_was_told_before_the_peer_asked_proves_nothing() {
    let (mut acme, mut globex, channel) = homes();
    let carol = globex.user("carol");
    globex.mark("carol", channel, 2, 2).unwrap();
    globex.tick();
    globex.home.resume(&globex.store, acme.id).unwrap();
    let before = marks_in(&globex.settle()).pop().unwrap().1;
    globex.home.owe_marks_to(&globex.store, channel, acme.id).unwrap();
    let anew = marks_in(&globex.settle()).pop().unwrap().1;
    assert_eq!(before.marks, anew.marks);
    // A repair the other way ends on the same connection.
    globex.home.reconciled(&globex.store, acme.id, 0).unwrap();
    globex.settle();
    globex.home.marks_taken(&globex.store, acme.id, channel, &before).unwrap();
    globex.settle();
    globex.crash();
    globex.home.resume(&globex.store, acme.id).unwrap();
    let again = marks_in(&globex.settle()).pop().unwrap().1;
    assert_eq!(acme.mark_of(&carol, channel), (0, 0));
    acme.receive_marks(globex.id, channel, &again.marks).unwrap();
    assert_eq!(acme.mark_of(&carol, channel), (1, 1));
    globex.home.marks_taken(&globex.store, acme.id, channel, &again).unwrap();
    globex.settle();
    assert!(globex.store.owed.is_empty());
}

#[test]
fn lives_come_back_in_their_order_however_often_the_disk_is_lost() {
    let (mut acme, mut globex, channel) = homes();
    let backup = acme.store.clone();
    for _ in 0..4 {
        go_on(&mut acme, &mut globex, 2);
        acme.restore(backup.clone());
        let (repair, _) = fetch(&mut acme, &mut globex, &mut honest).unwrap();
        assert_eq!(repair.incomplete(), 0);
        same_history(&acme, &globex, channel);
        assert_eq!(events_owed(&mut acme, channel), 0);
    }
    // What it fetched of its own is where it came from: nothing of it is pushed there again.
    let carol = globex.user("carol");
    acme.send("alice", &carol, "now");
    let effects = acme.settle();
    let owed: Vec<_> = effects
        .iter()
        .filter_map(|e| match e {
            Effect::Owed { epoch, acked, upto, .. } => Some((*epoch, acked.0, upto.0)),
            Effect::Message { .. }
            | Effect::Marked { .. }
            | Effect::Channel { .. }
            | Effect::ChannelOf { .. }
            | Effect::Rejected { .. }
            | Effect::Changed { .. }
            | Effect::Roster { .. }
            | Effect::Letter { .. }
            | Effect::Settled { .. }
            | Effect::Pull { .. }
            | Effect::Marks { .. } => None,
        })
        .collect();
    assert_eq!(owed, [(acme.epoch, 0, 1)]);
    acme.deliver(&mut globex);
    same_history(&acme, &globex, channel);
}

#[test]
fn both_homes_lose_their_disks() {
    let (mut acme, mut globex, channel) = homes();
    let ours = acme.store.clone();
    go_on(&mut acme, &mut globex, 4);
    let theirs = globex.store.clone();
    go_on(&mut acme, &mut globex, 4);
    acme.restore(ours);
    globex.restore(theirs);
    fetch(&mut acme, &mut globex, &mut honest).unwrap();
    fetch(&mut globex, &mut acme, &mut honest).unwrap();
    go_on(&mut acme, &mut globex, 2);
    same_history(&acme, &globex, channel);
    assert_eq!(acme.words(channel).len(), 2 + 8 + 4);
}

/// Its user sent the message again before the home knew that it had been sent.
fn sent_again() -> (Node, Node, ChannelId) {
    let (mut acme, mut globex, channel) = homes();
    let carol = globex.user("carol");
    let backup = acme.store.clone();
    acme.send("alice", &carol, "before");
    acme.settle();
    let again = acme.command("alice", &carol, "once");
    let again = SendCommand { id: Some(v7(acme.now, 9_000)), ..again };
    acme.run(&again).unwrap();
    acme.send("alice", &carol, "after");
    acme.deliver(&mut globex);
    acme.restore(backup);
    acme.run(&again).unwrap();
    acme.settle();
    fetch(&mut acme, &mut globex, &mut honest).unwrap();
    // At globex the first is known, so the second is not shown; here the other way round.
    for _ in 0..2 {
        let range = acme.range(channel, 1, 9);
        let reply = globex.receive(acme.id, &range).unwrap();
        globex.settle();
        let have = reply.have;
        assert!(reply.rejected.iter().all(|(_, reason)| *reason == "id_reused"));
        acme.acknowledged(globex.id, channel, have.0).unwrap();
        acme.settle();
    }
    (acme, globex, channel)
}

#[test]
fn a_message_that_was_sent_again_in_a_new_life_is_one() {
    let (acme, globex, channel) = sent_again();
    for node in [&acme, &globex] {
        let words = node.words(channel);
        assert_eq!(words.iter().filter(|w| *w == "once").count(), 1, "{words:?}");
        assert_eq!(words.len(), 5);
    }
}

/// There is a hole in acme's own chain where that message was. Whoever has to be given all of it once more
/// gets what is behind the hole, too.
#[test]
fn a_hole_in_an_own_chain_ends_where_it_ends() {
    for by_question in [true, false] {
        let (mut acme, globex, channel) = sent_again();
        let mut lost = Node::new(2, accepting(), &["carol"]);
        lost.epoch = homing_wire::Epoch(globex.epoch.0 + 1);
        lost.crash(); // and begins that life
        if by_question {
            let (repair, _) = fetch(&mut lost, &mut acme, &mut honest).unwrap();
            assert_eq!(repair.incomplete(), 0);
        } else {
            let (id, store) = (globex.id, &acme.store);
            let first = homing_wire::Epoch(acme.epoch.0 - 1_000);
            acme.home.acknowledged(store, id, channel, first, Seq(0)).unwrap().unwrap();
            acme.settle();
            let mut courier = homing_core::Courier::new(acme.id, Default::default());
            acme.home.resume(&acme.store, id).unwrap();
            let mut given = Vec::new();
            loop {
                for effect in acme.settle() {
                    if let Effect::Owed {
                        channel,
                        parties,
                        epoch,
                        acked,
                        upto,
                        begins,
                        roster,
                        ..
                    } = effect
                    {
                        let owed = homing_core::OwedChannel {
                            parties,
                            epoch,
                            acked,
                            upto,
                            begins,
                            roster,
                        };
                        courier.owe(channel, owed);
                    }
                }
                let burst = courier.burst(&acme.store, 0).unwrap();
                if burst.is_empty() {
                    break;
                }
                for delivery in burst {
                    let (epoch, head) = delivery.head().unwrap();
                    given.push((epoch == first, head.seq.0));
                    courier.have(0, channel, epoch, head.seq).unwrap();
                    let store = &acme.store;
                    acme.home.acknowledged(store, id, channel, epoch, head.seq).unwrap().unwrap();
                }
            }
            // "1" and "before"; the hole; "after"; and "once", of the present life.
            assert_eq!(given, [(true, 2), (true, 3), (true, 4), (false, 1)]);
            continue;
        }
        let words: Vec<String> = lost.store.logs[&channel]
            .values()
            .map(|e| String::from_utf8(e.event.body.to_vec()).unwrap())
            .collect();
        assert_eq!(words.len(), 6, "the gap and its own word, too: {words:?}");
        for word in ["before", "once", "after"] {
            assert!(words.iter().any(|w| w.contains(word)), "{word}: {words:?}");
        }
    }
}

/// What keeps a home from showing all may pass: it is asked again with the next connection, thrice at most. Meanwhile
/// what is owed to it is pushed.
#[test]
fn what_was_not_shown_is_asked_for_again_and_not_for_ever() {
    let mut nothing = |told: &mut Answered| {
        if let Answered::Range { events, end, .. } = told {
            (*events, *end) = (Vec::new(), None);
        }
    };
    let connect = |acme: &mut Node, globex: HomeId| {
        let known = acme.home.peer(&globex).unwrap().clone();
        acme.home.meets(known);
        acme.settle();
    };
    for passes in [true, false] {
        let (mut acme, mut globex, channel) = restored(3);
        for _ in 0..2 {
            connect(&mut acme, globex.id);
            assert!(acme.home.is_reconciling(&globex.id));
            let (repair, _) = fetch(&mut acme, &mut globex, &mut nothing).unwrap();
            assert_eq!((repair.fetched(), repair.incomplete()), (0, 2));
            assert!(!acme.home.is_reconciling(&globex.id), "pushed to it is what there is");
            assert!(
                acme.store.peers[&globex.id].reconcile,
                "and it is asked again, after a crash, too"
            );
            // Something else is noted of it: a letter, say.
            let known = acme.home.peer(&globex.id).unwrap().clone();
            acme.home.put_peer(known);
            assert!(!acme.home.is_reconciling(&globex.id), "what is owed is not held up by that");
        }
        acme.crash();
        if passes {
            connect(&mut acme, globex.id);
            fetch(&mut acme, &mut globex, &mut honest).unwrap();
            same_history(&acme, &globex, channel);
        } else {
            for _ in 0..3 {
                assert!(acme.store.peers[&globex.id].reconcile);
                connect(&mut acme, globex.id);
                fetch(&mut acme, &mut globex, &mut nothing).unwrap();
            }
        }
        assert!(!acme.store.peers[&globex.id].reconcile);
        connect(&mut acme, globex.id);
        assert!(!acme.home.is_reconciling(&globex.id));
    }
}

/// The directory was set back by a snapshot and went on without a new life: globex has another history of it.
#[test]
fn its_own_two_histories_are_not_the_peers_fault() {
    let (mut acme, mut globex, channel) = homes();
    let (carol, backup) = (globex.user("carol"), acme.store.clone());
    acme.send("alice", &carol, "the one history");
    acme.deliver(&mut globex);
    acme.store = backup;
    acme.crash();
    acme.send("alice", &carol, "the other");
    acme.settle();
    let snapshot = acme.store.clone();
    acme.restore(snapshot);
    globex.send("carol", &acme.user("alice"), "and mine");
    globex.settle();
    // Globex gives back more of the first.
    let own = acme.id;
    let mut longer = |told: &mut Answered| {
        if let Answered::Holdings(page) = told {
            for chain in page.holdings.iter_mut().flat_map(|h| &mut h.chains) {
                chain.2 = Seq(chain.2.0 + u64::from(chain.0 == own));
            }
        }
        if let Answered::Range { events, end, .. } = told
            && let Some(Ok(first)) = events.first().cloned()
            && first.header.origin == own
        {
            panic!("{end:?}");
        }
    };
    let (repair, asked) = fetch(&mut acme, &mut globex, &mut longer).unwrap();
    assert_eq!(repair.incomplete(), 1, "{asked:?}");
    assert_eq!(repair.fetched(), 1, "what is globex's own comes nevertheless");
    assert!(!acme.home.is_reconciling(&globex.id));
    assert!(acme.words(channel).iter().any(|w| w == "and mine"));
}

#[test]
fn who_has_not_written_has_no_name_here() {
    let (mut acme, globex, _) = homes();
    let (carol, eve) = (globex.user("carol"), acme.user("eve"));
    // Globex makes up a chat of a user that acme never had, and even signs it.
    let forged = Forge::new(&eve, &carol, globex.now);
    let channel = forged.header.channel;
    let mut repair = Repair::new(globex.id);
    repair.next(&mut acme.home, &acme.store).unwrap().unwrap();
    let epoch = homing_wire::Epoch(acme.epoch.0 - 1);
    let mut page = holdings(&globex.store, globex.id, acme.id, None).unwrap();
    page.holdings = vec![homing_core::Holding {
        channel,
        parties: [eve.clone(), carol.clone()],
        chains: vec![(acme.id, epoch, Seq(1))],
        roster: None,
    }];
    let now = acme.now;
    repair.answered(&mut acme.home, &acme.store, now, Answered::Holdings(page)).unwrap().unwrap();
    let question = repair.next(&mut acme.home, &acme.store).unwrap().unwrap();
    assert!(matches!(question, Question::Range(RangeQuestion { first: Seq(1), .. })));
    let mut header = forged.header.clone();
    header.epoch = epoch;
    let event = Forge { header, body: text("hello") }.event();
    let head = homing_wire::Head { channel, seq: Seq(1), hash: event.hash() };
    let proof = homing_wire::prove(acme.id, epoch, 1, &[head], &Seal(globex.id)).remove(0);
    let checked =
        homing_wire::Checker::default().check(acme.id, epoch, head, &proof, &Seal(acme.id));
    assert!(checked.is_err(), "globex cannot sign for acme");
    let told = Answered::Range {
        events: vec![Ok(event)],
        headers: Vec::new(),
        end: checked.ok(),
        begins: None,
    };
    repair.answered(&mut acme.home, &acme.store, now, told).unwrap().unwrap();
    assert_eq!((repair.fetched(), repair.incomplete()), (0, 1));
    assert!(acme.home.account(&acme.store, &local("eve")).unwrap().is_none());
    assert!(!acme.store.channels.contains_key(&channel));
}

#[test]
fn a_name_that_is_held_is_nobody_elses_and_one_that_is_known_stays() {
    let (mut acme, mut globex, _) = homes();
    let backup = acme.store.clone();
    acme.register("dora");
    acme.settle();
    let (carol, dora) = (globex.user("carol"), acme.user("dora"));
    acme.send("dora", &carol, "I am new");
    acme.send("alice", &carol, "I am not");
    acme.deliver(&mut globex);
    acme.restore(backup);
    fetch(&mut acme, &mut globex, &mut honest).unwrap();
    let state = |acme: &mut Node, name: &str| {
        acme.home.account(&acme.store, &local(name)).unwrap().unwrap().state
    };
    assert_eq!(state(&mut acme, "dora"), AccountState::Disabled);
    assert_eq!(state(&mut acme, "alice"), AccountState::Active);
    let command = acme.command("dora", &carol, "am I?");
    assert_eq!(acme.run(&command).unwrap_err().reason, "user_disabled");
    // But she can be written to: it waits for her.
    globex.send("carol", &dora, "I know");
    globex.deliver(&mut acme);
    assert_eq!(acme.words(ChannelId::chat(&dora, &carol)).len(), 2);
}

/// A holder that keeps the end back has a proof of the whole alone: of what it shows nothing is taken.
#[test]
fn a_peer_that_cuts_what_it_gives_back_is_found_out() {
    let (mut acme, mut globex, channel) = restored(5);
    let (own, before) = (acme.id, acme.words(channel).len());
    let mut cut = |told: &mut Answered| {
        if let Answered::Range { events, headers, .. } = told {
            if events.first().is_some_and(|e| e.as_ref().unwrap().header.origin == own) {
                events.truncate(2);
            }
            headers.clear();
        }
    };
    let (repair, _) = fetch(&mut acme, &mut globex, &mut cut).unwrap();
    assert_eq!(repair.incomplete(), 1);
    let ours = |node: &Node| {
        let log = node.store.logs[&channel].values();
        log.filter(|e| e.event.header.origin == own).count()
    };
    assert_eq!((ours(&acme), before), (1, 2));
    fetch(&mut acme, &mut globex, &mut honest).unwrap();
    same_history(&acme, &globex, channel);
}

/// The clock ran four minutes ahead, within what others take; then the home was restored, and the clock put right: what is
/// written now stands behind what was written before. (Found by chaos.)
#[test]
fn a_restore_puts_nothing_before_what_was_written() {
    let (mut acme, mut globex, channel) = crate::repair::homes();
    let backup = acme.store.clone();
    acme.now += 240_000;
    let carol = globex.user("carol");
    let before = acme.send("alice", &carol, "ahead");
    acme.deliver(&mut globex);
    acme.now -= 230_000;
    acme.restore(backup);
    crate::repair::fetch(&mut acme, &mut globex, &mut crate::repair::honest).unwrap();
    let after = acme.send("alice", &carol, "after");
    assert!(after.order > before.order, "{} after {}", after.order, before.order);
    acme.deliver(&mut globex);
    crate::repair::same_history(&acme, &globex, channel);
    // Further than others take it at once: also then, a day at most.
    for (ahead, above) in [(400_000, true), (25 * 3_600_000, false)] {
        acme.now += ahead;
        let before = acme.send("alice", &carol, "far ahead");
        acme.settle();
        acme.now -= ahead;
        let store = acme.store.clone();
        acme.restore(store);
        let after = acme.send("alice", &carol, "in time");
        assert_eq!(after.order > before.order, above, "{ahead} ms");
    }
}

/// Longer than what is remembered of a walk: it is walked more than once.
#[test]
fn a_chain_longer_than_a_walk_comes_back() {
    const EVENTS: u64 = 18_000;
    let (mut acme, mut globex, channel) = homes();
    let (alice, backup) = (acme.user("alice"), acme.store.clone());
    // As many as a year of a busy chat, made by hand: acme's part of it is not what is tested.
    let mut at = Forge::new(&alice, &globex.user("carol"), acme.now);
    let end = acme.state(channel).chain(&acme.id, acme.epoch).unwrap().clone();
    at.header.epoch = acme.epoch;
    (at.header.seq, at.header.prev) = (end.seq.next(), end.hash);
    at.header.stamp = homing_wire::Stamp(end.stamp.0 + 1);
    at.header.id = v7(acme.now, 1 << 32);
    let parties = [alice, globex.user("carol")];
    let mut left = EVENTS;
    while left > 0 {
        let count = left.min(5_000);
        let range = at.chain(parties.clone(), count as usize);
        let last = range.events.last().unwrap().as_ref().unwrap().clone();
        assert_eq!(globex.receive(acme.id, &range).unwrap().applied as u64, count);
        globex.settle();
        at = Forge { header: last.header, body: last.body }.next();
        left -= count;
    }
    acme.restore(backup);
    let (repair, asked) = fetch(&mut acme, &mut globex, &mut honest).unwrap();
    assert_eq!((repair.fetched(), repair.incomplete()), (EVENTS, 0));
    same_history(&acme, &globex, channel);
    let walks = asked.windows(2).filter(|pair| {
        let headers = |q: &Question| matches!(q, Question::Range(r) if r.headers);
        !headers(&pair[0]) && headers(&pair[1])
    });
    assert_eq!(walks.count(), 2);
}

#[test]
fn a_chat_that_is_refused_is_asked_for_once() {
    let (mut acme, mut globex, _) = homes();
    let nobody = UserRef::new(globex.id, local("nobody"));
    let channel = acme.send("alice", &nobody, "anyone?").channel;
    acme.settle();
    acme.now += 1_000;
    acme.send("alice", &nobody, "anyone??");
    acme.settle();
    // As events, and where they are gone: as a gap.
    for _ in 0..2 {
        let (repair, asked) = fetch(&mut globex, &mut acme, &mut honest).unwrap();
        assert_eq!((repair.fetched(), repair.incomplete()), (0, 1));
        assert!(asked.len() < 5, "{asked:?}");
        assert!(!globex.store.channels.contains_key(&channel));
        acme.home.prune(&acme.store, acme.now, channel, acme.now + 1).unwrap();
        acme.settle();
    }
}

/// The peer was away for a month, and one of its users is gone: what it does not take by itself is pushed.
#[test]
fn one_chat_that_is_not_taken_does_not_keep_the_others_waiting() {
    let (mut acme, mut globex, channel) = homes();
    let carol = globex.user("carol");
    let gone = UserRef::new(globex.id, local("gone"));
    acme.send("alice", &carol, "long ago");
    let dead = acme.send("alice", &gone, "are you there?").channel;
    acme.settle();
    acme.now += 31 * 24 * 3_600_000;
    globex.now = acme.now;
    acme.tick();
    acme.home.resume(&acme.store, globex.id).unwrap();
    assert!(acme.settle().iter().any(|e| matches!(e, Effect::Pull { .. })));
    fetch(&mut globex, &mut acme, &mut honest).unwrap();
    same_history(&acme, &globex, channel);
    acme.send("alice", &carol, "now");
    assert!(!owes(&acme.tick()), "it may be asking still");
    acme.now += 59_000;
    assert!(!owes(&acme.tick()));
    acme.now += 1_000;
    globex.now = acme.now;
    let effects = acme.tick();
    let mut pushed: Vec<ChannelId> = effects
        .iter()
        .filter_map(|e| match e {
            Effect::Owed { channel, .. } => Some(*channel),
            Effect::Message { .. }
            | Effect::Marked { .. }
            | Effect::Channel { .. }
            | Effect::ChannelOf { .. }
            | Effect::Rejected { .. }
            | Effect::Changed { .. }
            | Effect::Roster { .. }
            | Effect::Letter { .. }
            | Effect::Settled { .. }
            | Effect::Pull { .. }
            | Effect::Marks { .. } => None,
        })
        .collect();
    pushed.sort_unstable();
    let mut both = [channel, dead];
    both.sort_unstable();
    assert_eq!(pushed, both);
    acme.deliver(&mut globex);
    assert_eq!(events_owed(&mut acme, channel), 0);
    assert_eq!(acme.state(dead).cursors[0].refused.as_deref(), Some("unknown_channel"));
}

/// Both lives of a chain come so fast that the first is not on disk yet when the second is judged.
#[test]
fn a_message_that_was_sent_again_is_one_before_the_disk_knows_it() {
    let mut globex = Node::new(2, accepting(), &["carol"]);
    let (alice, carol) = (UserRef::new(HomeId([1; 32]), local("alice")), globex.user("carol"));
    let parties = [alice.clone(), carol.clone()];
    let first = Forge::new(&alice, &carol, globex.now);
    let mut again = Forge::new(&alice, &carol, globex.now);
    again.header.epoch = again.header.epoch.next();
    for (forge, applied) in [(first, 1), (again, 0)] {
        let reply = globex.receive(alice.home, &forge.chain(parties.clone(), 1)).unwrap();
        assert_eq!((reply.have, reply.applied), (Seq(1), applied));
    }
    globex.settle();
    assert_eq!(globex.words(ChannelId::chat(&alice, &carol)), ["hello"]);
}
