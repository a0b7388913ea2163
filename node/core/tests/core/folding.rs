//! Edits, deletions, reactions and hiding: what becomes of a message.

use bytes::Bytes;
use homing_core::{Deleted, Effect, Fold, Folded, Sight, Tally};
use homing_wire::{ChannelId, Header, Kind, MessageId, Pos, Target, UserRef};

use crate::group_world::group_of;
use crate::node::{Node, accepting, text};
use crate::repair::{fetch, honest};

/// The message of a header.
pub(crate) fn named(header: &Header) -> Target {
    Target { sender: header.user(), id: header.id }
}

/// A change of a message.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Edit(String),
    Delete,
    React(&'static str, bool),
}

impl What {
    /// Any of them.
    pub(crate) fn of(byte: u8) -> Self {
        match byte % 8 {
            0 | 1 => Self::Edit(format!("edited {byte}")),
            2 => Self::Delete,
            n => Self::React(["👍", "🎉"][usize::from(n) % 2], byte & 32 == 0),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Edit(_) => Kind::Edit,
            Self::Delete => Kind::Delete,
            Self::React(..) => Kind::Reaction,
        }
    }

    pub(crate) fn body(&self, of: &Target) -> Bytes {
        // Homes read the header alone: the address in the body is for people.
        let of = format!(r#"{{"id":"{}","sender":"{}@example.org"}}"#, of.id, of.sender.local);
        match self {
            Self::Edit(words) => {
                format!(r#"{{"type":"edit","of":{of},"body":{{"type":"text","text":"{words}"}}}}"#)
            }
            Self::Delete => format!(r#"{{"type":"delete","of":{of}}}"#),
            Self::React(emoji, on) => {
                format!(r#"{{"type":"reaction","of":{of},"emoji":"{emoji}","on":{on}}}"#)
            }
        }
        .into()
    }
}

/// Two homes with a chat between alice of the one and carol of the other.
struct Stage {
    acme: Node,
    globex: Node,
    alice: UserRef,
    carol: UserRef,
    channel: ChannelId,
}

fn stage() -> Stage {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let mut globex = Node::new(2, accepting(), &["carol"]);
    acme.meets(globex.id, false);
    globex.meets(acme.id, false);
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let channel = ChannelId::chat(&alice, &carol);
    Stage { acme, globex, alice, carol, channel }
}

impl Stage {
    fn say(&mut self, words: &str) -> Target {
        let id = self.acme.send("alice", &self.carol, words).id;
        self.acme.deliver(&mut self.globex);
        Target { sender: self.alice.clone(), id }
    }

    fn answer(&mut self, words: &str) -> Target {
        let id = self.globex.send("carol", &self.alice, words).id;
        self.globex.deliver(&mut self.acme);
        Target { sender: self.carol.clone(), id }
    }

    /// Alice changes a message; it has not left her home yet.
    fn changes(&mut self, target: &Target, what: What) -> Result<(), &'static str> {
        let command = self.acme.change("alice", self.channel, target, what);
        self.acme.run(&command).map(drop).map_err(|refusal| refusal.reason)
    }

    fn carol_changes(&mut self, target: &Target, what: What) -> Result<(), &'static str> {
        let command = self.globex.change("carol", self.channel, target, what);
        self.globex.run(&command).map(drop).map_err(|refusal| refusal.reason)
    }

    fn flows(&mut self) {
        self.acme.deliver(&mut self.globex);
        self.globex.deliver(&mut self.acme);
    }
}

/// A message as a user sees it, by what is committed.
fn seen(node: &Node, user: &UserRef, channel: ChannelId, target: &Target) -> Sight {
    let log = &node.store.logs[&channel];
    let found = log.values().find(|e| named(&e.event.header) == *target).unwrap();
    let fold = homing_core::Reader::fold(&node.store, channel, found.pos).unwrap();
    Folded::read(&node.store, found.clone().into(), fold).unwrap().seen_by(user)
}

fn shown(words: &str, edited: bool, reactions: &[(&str, u64, bool)]) -> (Bytes, bool, Vec<Tally>) {
    let tally = |(emoji, count, mine): &(&str, u64, bool)| Tally {
        emoji: (*emoji).to_owned(),
        count: *count,
        mine: *mine,
    };
    (text(words), edited, reactions.iter().map(tally).collect())
}

fn plainly(sight: Sight) -> (Bytes, bool, Vec<Tally>) {
    match sight {
        Sight::Shown { body, edited_at, reactions } => (body, edited_at.is_some(), reactions),
        Sight::Deleted | Sight::Hidden => panic!("{sight:?}"),
    }
}

#[test]
fn the_latest_edit_stands_at_both_homes() {
    let mut s = stage();
    let hello = s.say("helo");
    s.changes(&hello, What::Edit("hello".into())).unwrap();
    s.changes(&hello, What::Edit("hello!".into())).unwrap();
    s.flows();
    for (node, user) in [(&s.acme, &s.alice), (&s.globex, &s.carol)] {
        let sight = plainly(seen(node, user, s.channel, &hello));
        assert_eq!(sight, shown("hello!", true, &[]));
    }
    assert_eq!(s.carol_changes(&hello, What::Edit("no".into())), Err("not_yours"));
    assert_eq!(s.carol_changes(&hello, What::Delete), Err("not_yours"));
    assert!(!s.globex.home.has_step(), "what is refused changes nothing");
}

#[test]
fn what_is_deleted_stays_so() {
    let mut s = stage();
    let hello = s.say("hello");
    s.changes(&hello, What::Delete).unwrap();
    for what in [What::Delete, What::Edit("again".into()), What::React("👍", true)] {
        assert_eq!(s.changes(&hello, what), Err("message_deleted"));
    }
    // Carol does not know it yet.
    s.carol_changes(&hello, What::React("👍", true)).unwrap();
    s.flows();
    for (node, user) in [(&s.acme, &s.alice), (&s.globex, &s.carol)] {
        assert_eq!(seen(node, user, s.channel, &hello), Sight::Deleted);
    }
}

/// What bodies are to go of a channel at a home: the kind and the place of each.
fn going(node: &Node, channel: ChannelId) -> Vec<(Kind, u64)> {
    let log = &node.store.logs[&channel];
    let places = node.store.erasures.keys().filter(|(of, _)| *of == channel);
    places.map(|(_, pos)| (log[pos].event.header.kind, pos.0)).collect()
}

#[test]
fn what_is_deleted_goes_from_the_disk_with_its_edits() {
    let mut s = stage();
    s.say("stays");
    let hello = s.say("hello");
    s.changes(&hello, What::Edit("hello!".into())).unwrap();
    s.flows();
    s.carol_changes(&hello, What::React("👍", true)).unwrap();
    s.flows();
    for node in [&s.acme, &s.globex] {
        assert_eq!(going(node, s.channel), []);
    }
    s.changes(&hello, What::Delete).unwrap();
    s.flows();
    for node in [&s.acme, &s.globex] {
        assert_eq!(going(node, s.channel), [(Kind::Text, 2), (Kind::Edit, 3)]);
    }
}

/// A blocked sender's deletion is its own affair: others are shown the message as before.
#[test]
fn what_is_deleted_for_its_sender_alone_stays_on_disk() {
    let mut s = stage();
    let hello = s.answer("hello");
    s.acme.block("alice", &s.carol);
    s.carol_changes(&hello, What::Delete).unwrap();
    s.flows();
    assert_eq!(going(&s.acme, s.channel), []);
    assert_eq!(going(&s.globex, s.channel), [(Kind::Text, 1)]);
}

/// The bodies went before the other home came for them.
#[test]
fn what_was_erased_travels_without_its_body() {
    let mut s = stage();
    s.say("hello");
    let id = s.acme.send("alice", &s.carol, "secret").id;
    let secret = Target { sender: s.alice.clone(), id };
    s.changes(&secret, What::Edit("secret too".into())).unwrap();
    s.acme.settle();
    let edited = s.acme.store.logs[&s.channel].len() as u64;
    s.changes(&secret, What::Delete).unwrap();
    s.acme.settle();
    for place in std::mem::take(&mut s.acme.store.erasures).into_keys() {
        let log = s.acme.store.logs.get_mut(&place.0).unwrap();
        log.get_mut(&place.1).unwrap().event.body = Bytes::new();
    }
    assert_eq!(seen(&s.acme, &s.alice, s.channel, &secret), Sight::Deleted);
    s.flows();
    let log = &s.globex.store.logs[&s.channel];
    let erased: Vec<u64> = log.values().filter(|e| e.event.is_erased()).map(|e| e.pos.0).collect();
    assert_eq!(erased, [2, edited]);
    assert_eq!(seen(&s.globex, &s.carol, s.channel, &secret), Sight::Deleted);
    assert_eq!(going(&s.globex, s.channel), [], "there is nothing to erase");
    assert_eq!(s.globex.unread("carol", s.channel), 1);
    assert_eq!(s.carol_changes(&secret, What::React("👍", true)), Err("message_deleted"));
}

/// Whatever has come of it here: the deletion may still be on its way.
#[test]
fn a_message_without_its_body_is_deleted() {
    let mut s = stage();
    let hello = s.say("hello");
    s.changes(&hello, What::Edit("hello!".into())).unwrap();
    s.acme.settle();
    let log = s.acme.store.logs.get_mut(&s.channel).unwrap();
    let entry = |log: &std::collections::BTreeMap<_, homing_core::LogEntry>, pos| {
        std::sync::Arc::new(log[&Pos(pos)].clone())
    };
    let body = std::mem::take(&mut log.get_mut(&Pos(2)).unwrap().event.body);
    let fold = homing_core::Reader::fold(&s.acme.store, s.channel, Pos(1)).unwrap();
    let read = |node: &Node, fold: Option<Fold>| {
        let message = entry(&node.store.logs[&s.channel], 1);
        Folded::read(&node.store, message, fold).unwrap().seen_by(&s.alice)
    };
    let sight = plainly(read(&s.acme, fold.clone()));
    assert_eq!(sight, shown("hello", false, &[]), "an edit without its body is none");
    let log = s.acme.store.logs.get_mut(&s.channel).unwrap();
    log.get_mut(&Pos(2)).unwrap().event.body = body;
    log.get_mut(&Pos(1)).unwrap().event.body = Bytes::new();
    assert_eq!(read(&s.acme, fold), Sight::Deleted);
    assert_eq!(read(&s.acme, None), Sight::Deleted);
}

#[test]
fn reactions_are_counted_and_taken_back() {
    let mut s = stage();
    let hello = s.say("hello");
    s.changes(&hello, What::React("👍", true)).unwrap();
    s.changes(&hello, What::React("👍", true)).unwrap();
    s.carol_changes(&hello, What::React("👍", true)).unwrap();
    s.carol_changes(&hello, What::React("🎉", true)).unwrap();
    s.flows();
    let all = [("👍", 2, true), ("🎉", 1, true)];
    assert_eq!(plainly(seen(&s.globex, &s.carol, s.channel, &hello)), shown("hello", false, &all));
    let all = [("👍", 2, true), ("🎉", 1, false)];
    assert_eq!(plainly(seen(&s.acme, &s.alice, s.channel, &hello)), shown("hello", false, &all));
    s.carol_changes(&hello, What::React("👍", false)).unwrap();
    s.flows();
    let all = [("👍", 1, true), ("🎉", 1, false)];
    assert_eq!(plainly(seen(&s.acme, &s.alice, s.channel, &hello)), shown("hello", false, &all));
    let mut command = s.acme.change("alice", s.channel, &hello, What::React("ok", true));
    assert_eq!(s.acme.run(&command).unwrap_err().reason, "not_emoji");
    command.about = None;
    assert_eq!(s.acme.run(&command).unwrap_err().reason, "message_not_found");
}

#[test]
fn nobody_gives_one_message_more_than_so_many_reactions() {
    let mut s = stage();
    let hello = s.say("hello");
    let emoji = [
        "😀", "😁", "😂", "😃", "😄", "😅", "😆", "😇", "😈", "😉", "😊", "😋", "😌", "😍", "😎",
        "😏", "😐",
    ];
    let (last, fit) = emoji.split_last().unwrap();
    assert_eq!(fit.len(), Fold::REACTIONS_OF_USER);
    fit.iter().for_each(|emoji| s.changes(&hello, What::React(emoji, true)).unwrap());
    assert_eq!(s.changes(&hello, What::React(last, true)), Err("too_many_reactions"));
    s.changes(&hello, What::React(fit[3], true)).unwrap();
    s.changes(&hello, What::React(fit[3], false)).unwrap();
    s.changes(&hello, What::React(last, true)).unwrap();
    s.flows();
    let (.., reactions) = plainly(seen(&s.globex, &s.carol, s.channel, &hello));
    assert_eq!(reactions.len(), Fold::REACTIONS_OF_USER);
}

/// Neither an edit nor a reaction is unread; what is deleted is not any more.
#[test]
fn changes_are_never_unread_and_move_no_mark() {
    let mut s = stage();
    let one = s.say("1");
    s.say("2");
    assert_eq!(s.globex.unread("carol", s.channel), 2);
    s.changes(&one, What::Edit("one".into())).unwrap();
    s.changes(&one, What::React("👍", true)).unwrap();
    s.flows();
    assert_eq!(s.globex.unread("carol", s.channel), 2);
    // Who reacts has not read all.
    s.carol_changes(&one, What::React("👍", true)).unwrap();
    s.flows();
    assert_eq!(s.globex.unread("carol", s.channel), 2);
    s.changes(&one, What::Delete).unwrap();
    s.flows();
    assert_eq!(s.globex.unread("carol", s.channel), 1);
    s.globex.mark("carol", s.channel, 1, 1).unwrap();
    s.globex.tick();
    assert_eq!(s.globex.unread("carol", s.channel), 1);
    s.globex.crash();
    assert_eq!(s.globex.unread("carol", s.channel), 1);
    s.globex.mark("carol", s.channel, 2, 2).unwrap();
    assert_eq!(s.globex.unread("carol", s.channel), 0);
    // Before it is given out, the disk still has the mark below: so the message that is gone is remembered.
    let two = s.say("3");
    s.changes(&two, What::Delete).unwrap();
    s.flows();
    s.globex.crash();
    assert_eq!(s.globex.unread("carol", s.channel), 1, "the second");
}

#[test]
fn mentions_follow_what_a_message_says_now() {
    let mut s = stage();
    let mentions = |s: &mut Stage| {
        let state = s.globex.state(s.channel);
        state.member(&s.carol).unwrap().mentions.clone()
    };
    let mut said = Vec::new();
    for words in ["1", "2"] {
        let mut command = s.acme.command("alice", &s.carol, words);
        command.mentions = vec![s.carol.clone()];
        let id = s.acme.run(&command).unwrap().id;
        said.push(Target { sender: s.alice.clone(), id });
    }
    s.flows();
    assert_eq!(mentions(&mut s), [Pos(1), Pos(2)]);
    s.changes(&said[0], What::Edit("nobody".into())).unwrap();
    s.flows();
    assert_eq!(mentions(&mut s), [Pos(2)]);
    s.changes(&said[1], What::Delete).unwrap();
    s.flows();
    assert_eq!(mentions(&mut s), []);
    let mut again = s.acme.change("alice", s.channel, &said[0], What::Edit("carol".into()));
    again.mentions = vec![s.carol.clone()];
    s.acme.run(&again).unwrap();
    s.flows();
    assert_eq!(mentions(&mut s), [Pos(1)], "as when it came");
}

#[test]
fn what_one_hides_others_see() {
    let mut s = stage();
    let hello = s.say("hello");
    assert_eq!(s.globex.unread("carol", s.channel), 1);
    s.globex.hide("carol", s.channel, &hello).unwrap();
    s.globex.settle();
    assert_eq!(seen(&s.globex, &s.carol, s.channel, &hello), Sight::Hidden);
    assert_eq!(s.globex.unread("carol", s.channel), 0);
    let before = s.globex.state(s.channel).head;
    s.globex.hide("carol", s.channel, &hello).unwrap();
    assert_eq!(s.globex.state(s.channel).head, before, "hidden twice is hidden once");
    s.flows();
    assert_eq!(plainly(seen(&s.acme, &s.alice, s.channel, &hello)), shown("hello", false, &[]));
    assert_eq!(s.carol_changes(&hello, What::React("👍", true)), Err("message_not_found"));
    let unknown = Target { sender: s.alice.clone(), id: MessageId(uuid::Uuid::from_u128(7)) };
    let refusal = s.globex.hide("carol", s.channel, &unknown).unwrap_err();
    assert_eq!(refusal.reason, "message_not_found");
    let mine = s.answer("mine");
    s.acme.block("alice", &s.carol);
    s.acme.settle();
    assert_eq!(s.acme.hide("bob", s.channel, &mine).unwrap_err().reason, "channel_not_found");
}

/// Only who sees a change is told of it, and is told what the message is now.
#[test]
fn who_sees_a_change_is_told() {
    let mut s = stage();
    let hello = s.say("hello");
    s.changes(&hello, What::Edit("hi".into())).unwrap();
    let told: Vec<_> = s.acme.settle().into_iter().filter_map(changed).collect();
    let [(message, None)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(plainly(message.seen_by(&s.alice)), shown("hi", true, &[]));
    s.flows();
    s.globex.hide("carol", s.channel, &hello).unwrap();
    let told: Vec<_> = s.globex.settle().into_iter().filter_map(changed).collect();
    let [(message, Some(by))] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*by, s.carol.local);
    assert_eq!(message.seen_by(&s.carol), Sight::Hidden);
}

/// A changed message, and to whom alone it is changed.
fn changed(effect: Effect) -> Option<(Folded, Option<homing_wire::Local>)> {
    let Effect::Changed { message, by, .. } = effect else { return None };
    let alone = by.filter(|by| by.hidden).map(|by| by.event.header.sender.clone());
    Some((message, alone))
}

/// What a blocked user takes back stays where it was seen, until that user says something of it that is seen.
#[test]
fn what_a_blocked_user_takes_back_is_hidden() {
    let mut s = stage();
    let hello = s.say("hello");
    let looks = |s: &Stage| {
        let [hers, others] = [(&s.acme, &s.alice), (&s.globex, &s.carol)]
            .map(|(node, user)| plainly(seen(node, user, s.channel, &hello)).2);
        let on = |tallies: Vec<Tally>, mine| {
            assert!(tallies.iter().all(|t| t.count == 1 && t.mine == mine), "{tallies:?}");
            tallies.into_iter().map(|t| t.emoji).collect::<Vec<_>>()
        };
        (on(hers, true), on(others, false))
    };
    let thumb = || vec!["👍".to_owned()];
    s.changes(&hello, What::React("👍", true)).unwrap();
    s.flows();
    assert_eq!(looks(&s), (thumb(), thumb()));
    s.globex.block("carol", &s.alice);
    s.globex.settle();
    s.changes(&hello, What::React("👍", false)).unwrap();
    s.flows();
    assert_eq!(looks(&s), (vec![], thumb()), "carol sees nothing of what alice does");
    s.changes(&hello, What::React("🎉", true)).unwrap();
    s.flows();
    assert_eq!(looks(&s), (vec!["🎉".to_owned()], thumb()));
    s.globex.unblock("carol", &s.alice);
    s.globex.settle();
    // Given again while it was on for her alone: now for all. Given and taken back: gone for all.
    s.changes(&hello, What::React("🎉", false)).unwrap();
    s.changes(&hello, What::React("🎉", true)).unwrap();
    s.changes(&hello, What::React("👍", false)).unwrap();
    s.flows();
    assert_eq!(looks(&s), (vec!["🎉".to_owned()], vec!["🎉".to_owned()]));
}

/// Whoever is blocked changes nothing for who blocked it.
#[test]
fn what_a_blocked_user_changes_is_hidden() {
    let mut s = stage();
    let hello = s.say("hello");
    s.globex.block("carol", &s.alice);
    s.globex.settle();
    s.changes(&hello, What::Edit("insult".into())).unwrap();
    s.changes(&hello, What::React("🎉", true)).unwrap();
    s.flows();
    assert_eq!(plainly(seen(&s.globex, &s.carol, s.channel, &hello)), shown("hello", false, &[]));
    let all = [("🎉", 1, true)];
    assert_eq!(plainly(seen(&s.acme, &s.alice, s.channel, &hello)), shown("insult", true, &all));
    s.changes(&hello, What::Delete).unwrap();
    s.flows();
    assert_eq!(plainly(seen(&s.globex, &s.carol, s.channel, &hello)), shown("hello", false, &[]));
    assert_eq!(seen(&s.acme, &s.alice, s.channel, &hello), Sight::Deleted);
}

/// An admin deletes what others wrote. One who was removed meanwhile has deleted nothing, and what one did who had lost
/// the right by then is undone.
#[test]
fn in_groups_admins_delete_and_a_fence_undoes() {
    let (mut world, group, anns) = group_of(3);
    let by_id = |world: &crate::group_world::World, who: &UserRef, words: &str| {
        let at = world.at(who.home);
        let log = world.nodes[at].store.logs[&group].values();
        let found = log.filter(|e| e.event.body == text(words)).map(|e| named(&e.event.header));
        found.last().unwrap()
    };
    world.say(&anns[1], group, "1").unwrap();
    world.say(&anns[1], group, "2").unwrap();
    world.flow();
    let (one, two) = (by_id(&world, &anns[1], "1"), by_id(&world, &anns[1], "2"));
    let change = |world: &mut crate::group_world::World, home: usize, of: &Target, what: What| {
        let command = world.nodes[home].change("ann", group, of, what);
        let done = world.nodes[home].run(&command).map(drop).map_err(|refusal| refusal.reason);
        world.flow();
        done
    };
    assert_eq!(change(&mut world, 2, &one, What::Delete), Err("not_yours"));
    change(&mut world, 0, &one, What::Delete).unwrap();
    for (home, ann) in anns.iter().enumerate() {
        assert_eq!(seen(&world.nodes[home], ann, group, &one), Sight::Deleted, "{home}");
    }
    // Cut off from the owner home, a member goes on, and is removed there.
    world.cut.insert((0, 2));
    change(&mut world, 2, &two, What::React("🎉", true)).unwrap();
    let all = [("🎉", 1, false)];
    assert_eq!(plainly(seen(&world.nodes[1], &anns[1], group, &two)), shown("2", false, &all));
    world.done(&anns[0], group, homing_wire::Change::Remove(vec![anns[2].clone()]));
    world.flow();
    world.heal();
    for (home, ann) in anns.iter().enumerate().take(2) {
        let sight = plainly(seen(&world.nodes[home], ann, group, &two));
        assert_eq!(sight, shown("2", false, &[]), "{home}: the reaction counts no more");
    }
    let fold = homing_core::Reader::folds(&world.nodes[1].store, group, Pos(1), Pos(9)).unwrap();
    assert_eq!(fold[0].1.deleted, Deleted::ForAll, "{fold:?}");
}

/// A mark that is not on disk yet falls back: what was hidden meanwhile is still not unread.
#[test]
fn what_is_hidden_stays_read_after_a_crash() {
    let mut s = stage();
    let hello = s.say("hello");
    s.say("there");
    s.globex.settle();
    s.globex.mark("carol", s.channel, 2, 2).unwrap();
    s.globex.hide("carol", s.channel, &hello).unwrap();
    s.globex.settle();
    assert_eq!(s.globex.unread("carol", s.channel), 0);
    s.globex.crash();
    assert_eq!(s.globex.mark_of(&s.carol.clone(), s.channel).1, 0);
    assert_eq!(s.globex.unread("carol", s.channel), 1);
}

/// What comes back from before a disk was lost is older than what was said since, though it comes later.
#[test]
fn what_comes_back_of_an_earlier_life_changes_nothing_that_is_newer() {
    let mut s = stage();
    let hello = s.say("hello");
    let backup = s.acme.store.clone();
    s.changes(&hello, What::React("👍", true)).unwrap();
    s.changes(&hello, What::React("🎉", true)).unwrap();
    s.changes(&hello, What::Edit("lost".into())).unwrap();
    s.flows();
    s.acme.restore(backup);
    s.acme.now += 1_000;
    s.changes(&hello, What::React("👍", false)).unwrap();
    s.changes(&hello, What::Edit("newer".into())).unwrap();
    s.acme.settle();
    fetch(&mut s.acme, &mut s.globex, &mut honest).unwrap();
    s.flows();
    let all = [("🎉", 1, true)];
    assert_eq!(plainly(seen(&s.acme, &s.alice, s.channel, &hello)), shown("newer", true, &all));
    let all = [("🎉", 1, false)];
    assert_eq!(plainly(seen(&s.globex, &s.carol, s.channel, &hello)), shown("newer", true, &all));
}
