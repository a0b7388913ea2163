//! A home that meets one which does whatever bytes tell it to: used by a fuzz target (`node/core/fuzz`) and, over
//! what that found worth keeping, by an ordinary test. Whatever is refused changes nothing, and what honest homes
//! say to each other goes on beside it.

use bytes::Bytes;
use homing_core::{PeerFault, PeerMark, RangeIn};
use homing_wire::{
    ChannelId, Epoch, Event, Hash, Head, HeaderError, HomeId, Kind, Seq, Stamp, UserRef,
};

use crate::node::{Forge, Node, accepting, local, prove_end, proven, text};

const EVIL: HomeId = HomeId([66; 32]);

/// Meets it.
pub(crate) fn meets(data: &[u8]) {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let mut globex = Node::new(2, accepting(), &["carol"]);
    globex.meets(EVIL, false);
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let mallory = UserRef::new(EVIL, local("mallory"));
    let honest = acme.send("alice", &carol, "one").channel;
    acme.deliver(&mut globex);
    for bytes in data.as_chunks::<8>().0.iter().take(200) {
        globex.settle();
        let before = globex.home.change();
        if let Err(fault) = deed(*bytes, &mut globex, [&alice, &carol, &mallory], honest) {
            assert_eq!(globex.home.change(), before, "{fault} and something changed");
            // The proof of a fork is kept, nothing else.
            assert!(
                fault.0 == "equivocation" || !globex.home.has_step(),
                "{fault} and something is written"
            );
        }
        let [kind, words, ..] = *bytes;
        match kind % 16 {
            14 => {
                acme.send("alice", &carol, &format!("more {words}"));
                acme.deliver(&mut globex);
            }
            15 => globex.crash(),
            _ => {}
        }
    }
    globex.settle();
    acme.send("alice", &carol, "last");
    acme.deliver(&mut globex);
    globex.send("carol", &alice, "heard");
    globex.deliver(&mut acme);
    assert_eq!(acme.store.by_order(honest), globex.store.by_order(honest));
    assert_eq!(acme.words(honest).last().map(String::as_str), Some("heard"));
    // In its own chats it may say what it likes, in its own name.
    for (channel, log) in &globex.store.logs {
        for header in log.values().map(|entry| &entry.event.header) {
            let own = [globex.id, HomeId::LOCAL].contains(&header.origin);
            let theirs = if *channel == honest { acme.id } else { EVIL };
            assert!(own || header.origin == theirs, "{header:?}");
        }
    }
}

/// One thing that it does.
fn deed(
    [kind, a, b, c, d, e, f, g]: [u8; 8],
    to: &mut Node,
    [alice, carol, mallory]: [&UserRef; 3],
    honest: ChannelId,
) -> Result<(), PeerFault> {
    let own = ChannelId::chat(mallory, carol);
    let channel = if a & 1 == 0 { own } else { honest };
    let parties = if channel == own { [mallory, carol] } else { [alice, carol] }.map(Clone::clone);
    let number = Seq(u64::from(b) << (c % 48));
    let epoch =
        [to.epoch, Epoch(1), Epoch(u64::from(b)), Epoch(u64::MAX >> 16)][usize::from(d) % 4];
    match kind % 16 {
        0..=7 => {
            let mut range = range(mallory, carol, to.now, [a, b, c, d, e, f, g]);
            if channel != own {
                (range.channel, range.parties) = (channel, parties);
            }
            if e & 1 == 0 {
                prove_end(&mut range);
            }
            to.receive_as_is(EVIL, &range).map(|_| ())
        }
        8 => {
            let user = if d & 1 == 0 { mallory.local.clone() } else { local("nobody") };
            let mark =
                PeerMark { user, epoch, delivered: number, read: Seq(u64::from(e)), at: u64::MAX };
            to.receive_marks(EVIL, channel, &[mark])
        }
        9 => to.home.acknowledged(&to.store, EVIL, channel, epoch, number).unwrap(),
        10 => {
            let reason = "x".repeat(usize::from(f));
            to.home.refused_by(&to.store, EVIL, channel, &reason).unwrap();
            Ok(())
        }
        11 => {
            let words = "y".repeat(usize::from(f));
            let (store, now, why) = (&to.store, to.now, [(number, words)]);
            let done = to.home.rejected_by(store, now, EVIL, channel, epoch, &why).unwrap();
            assert!(channel == own || done.is_err(), "it marked what is none of its business");
            done.map(|_| ())
        }
        12 if (1..1 << 48).contains(&number.0) && (1..1 << 48).contains(&epoch.0) => {
            let head = Head { channel, seq: number, hash: Hash::of(&[f, g]) };
            let end = proven(EVIL, epoch, head);
            let pruned = to.home.receive_pruned(&to.store, to.now, EVIL, &parties, &end);
            pruned.unwrap().map(|_| ())
        }
        13 => {
            to.home.resume(&to.store, EVIL).unwrap();
            to.tick();
            Ok(())
        }
        _ => {
            // It may have said that its user is gone.
            let command = to.command("carol", mallory, "to you");
            let _refused = to.run(&command);
            to.settle();
            Ok(())
        }
    }
}

/// Events that are nearly sound.
fn range(mallory: &UserRef, carol: &UserRef, now: u64, [a, b, c, d, e, f, g]: [u8; 7]) -> RangeIn {
    let mut forge = Forge::new(mallory, carol, now);
    let header = &mut forge.header;
    header.seq = Seq(u64::from(b) % 8 + 1);
    header.prev = if header.seq == Seq(1) { Hash::NONE } else { Hash::of(&[c]) };
    header.stamp = Stamp::from_ms(now.saturating_add_signed(i64::from(c.cast_signed()) * 5_000));
    match d % 16 {
        1 => header.sender = carol.local.clone(),
        2 => header.origin = carol.home,
        3 => header.kind = Kind::from_code(u32::from(e)),
        4 => header.epoch = Epoch(u64::from(e) + 1),
        5 => header.roster = u64::from(e),
        6 => header.mentions = vec![carol.clone(); usize::from(e) % 4],
        _ => {}
    }
    if f % 8 == 7 {
        forge.body = match g % 4 {
            0 => Bytes::new(),
            1 => Bytes::from_static(b"{\"type\":\"text\"}"),
            2 => text(&"z".repeat(usize::from(e) * 8)),
            _ => Bytes::from(vec![g; usize::from(e)]),
        };
    }
    let mut range = forge.chain([mallory.clone(), carol.clone()], usize::from(a >> 1) % 4 + 1);
    match g % 12 {
        1 => range.first = Seq(u64::from(g)),
        2 => range.end = None,
        3 => range.events.reverse(),
        4 => drop(range.events.pop()),
        5 => range.events.push(Err(HeaderError::Malformed)),
        6 => range.epoch = Epoch(u64::from(b) + 1),
        7 => range.events.clear(),
        8 => {
            let again: Vec<Event> = range.events.iter().flatten().cloned().collect();
            range.events.extend(again.into_iter().map(Ok));
        }
        _ => {}
    }
    range
}
