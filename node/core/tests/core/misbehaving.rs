//! A home that does what no honest home does: nothing of it is stored, it is told apart by a typed fault, and
//! honest traffic goes on.

use homing_core::{PeerMark, Policy, Telling};
use homing_wire::{ChannelId, Epoch, HeaderError, HomeId, Seq, UserRef};

use crate::node::{Forge, Node, accepting, local, text};

struct Stage {
    acme: Node,
    globex: Node,
    /// Mallory's home.
    evil: HomeId,
    channel: ChannelId,
    alice: UserRef,
    carol: UserRef,
    mallory: UserRef,
}

/// Alice and Carol are talking; Mallory's home knows both.
fn stage() -> Stage {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let mut globex = Node::new(2, accepting(), &["carol"]);
    let evil = HomeId([66; 32]);
    let (alice, carol) = (acme.user("alice"), globex.user("carol"));
    let channel = acme.send("alice", &carol, "one").channel;
    acme.deliver(&mut globex);
    let mallory = UserRef::new(evil, local("mallory"));
    Stage { acme, globex, evil, channel, alice, carol, mallory }
}

impl Stage {
    /// Nothing has changed, and honest traffic goes on.
    fn unharmed(mut self) {
        assert!(!self.globex.home.has_step(), "something was queued");
        let before = self.globex.store.channels.len();
        assert!(self.globex.settle().is_empty());
        assert_eq!(self.globex.store.channels.len(), before);
        self.acme.send("alice", &self.carol, "two");
        self.acme.deliver(&mut self.globex);
        self.globex.send("carol", &self.alice, "three");
        self.globex.deliver(&mut self.acme);
        assert_eq!(self.globex.words(self.channel), ["one", "two", "three"]);
        assert_eq!(
            self.acme.store.by_order(self.channel),
            self.globex.store.by_order(self.channel)
        );
    }
}

#[test]
fn it_speaks_in_a_chat_it_is_not_in() {
    let mut s = stage();
    let forged = Forge::new(&s.alice, &s.carol, s.globex.now);
    let range = forged.chain([s.alice.clone(), s.carol.clone()], 1);
    assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "not_a_member");
    s.unharmed();
}

#[test]
fn it_relays_the_words_of_others() {
    let mut s = stage();
    // Acme's own events, word for word, in the chat they are of: from acme alone.
    let range = s.acme.range(s.channel, 1, 9);
    assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "not_a_member");
    // And under a chat that Mallory may have.
    let mut range = s.acme.range(s.channel, 1, 9);
    range.channel = ChannelId::chat(&s.mallory, &s.carol);
    range.parties = [s.mallory.clone(), s.carol.clone()];
    assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "speaks_for_another_home");
    s.unharmed();
}

#[test]
fn it_names_parties_that_are_not_the_channels() {
    let mut s = stage();
    let mut range = Forge::new(&s.mallory, &s.carol, s.globex.now)
        .chain([s.mallory.clone(), s.carol.clone()], 1);
    for (parties, fault) in [
        ([s.alice.clone(), s.carol.clone()], "wrong_channel"),
        ([s.mallory.clone(), s.mallory.clone()], "wrong_channel"),
    ] {
        range.parties = parties;
        assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, fault);
    }
    // A chat of two others, or of two users of the receiving home.
    for parties in [
        [s.alice.clone(), s.acme.user("bob")],
        [s.carol.clone(), s.globex.user("dave")],
        [s.acme.user("bob"), s.carol.clone()],
    ] {
        range.channel = ChannelId::chat(&parties[0], &parties[1]);
        range.parties = parties;
        assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "not_a_member");
    }
    s.unharmed();
}

#[test]
fn its_first_contact_forges_the_sender() {
    let mut s = stage();
    let mut forged = Forge::new(&s.mallory, &s.carol, s.globex.now);
    forged.header.sender = local("trudy");
    let range = forged.chain([s.mallory.clone(), s.carol.clone()], 2);
    assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "not_a_member");
    forged = Forge::new(&s.mallory, &s.carol, s.globex.now);
    forged.header.epoch = Epoch(5);
    let mut range = forged.chain([s.mallory.clone(), s.carol.clone()], 1);
    range.epoch = Epoch(6);
    assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "event_out_of_place");
    range.events = vec![Err(HeaderError::Malformed)];
    assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "header_malformed");
    range.events = Vec::new();
    let reply = s.globex.receive(s.evil, &range).unwrap();
    assert_eq!((reply.have, reply.refused), (Seq(0), None));
    s.unharmed();
}

#[test]
fn it_breaks_its_own_chain() {
    let mut s = stage();
    let first = Forge::new(&s.mallory, &s.carol, s.globex.now);
    let parties = [s.mallory.clone(), s.carol.clone()];
    s.globex.receive(s.evil, &first.chain(parties.clone(), 1)).unwrap();
    s.globex.settle();
    // The replay of the first, as the second.
    let mut range = first.chain(parties.clone(), 1);
    range.first = Seq(2);
    assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "event_out_of_place");
    // Events that do not follow each other.
    let second = first.next();
    let mut bad = second.next();
    bad.header.prev = homing_wire::Hash([1; 32]);
    let mut range = second.chain(parties.clone(), 1);
    range.events.push(Ok(bad.event()));
    assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "broken_chain");
    assert!(!s.globex.home.has_step(), "of a bad range nothing is taken");
    s.globex.receive(s.evil, &second.chain(parties, 1)).unwrap();
    s.globex.settle();
    assert_eq!(s.globex.words(first.header.channel).len(), 2);
    s.unharmed();
}

/// Whoever signs two histories is not heard any more, until a new life; both signatures are kept.
#[test]
fn it_writes_two_histories() {
    type Way = fn(&Forge) -> Forge;
    let ways: [(&str, Way, usize); 4] = [
        ("another event in the place of an earlier one", rewritten_first, 1),
        ("another event in the place of the last", rewritten_last, 1),
        ("another history of more events", rewritten_first, 3),
        ("an event that follows on another history", follows_on_another, 1),
    ];
    for (what, way, count) in ways {
        let mut s = stage();
        let first = Forge::new(&s.mallory, &s.carol, s.globex.now);
        let parties = [s.mallory.clone(), s.carol.clone()];
        s.globex.receive(s.evil, &first.chain(parties.clone(), 2)).unwrap();
        s.globex.settle();
        let range = way(&first).chain(parties.clone(), count);
        assert_eq!(s.globex.receive(s.evil, &range).unwrap_err().0, "equivocation", "{what}");
        s.globex.settle();
        s.globex.crash();
        let channel = first.header.channel;
        assert_eq!(s.globex.words(channel).len(), 2, "{what}");
        let chain = s.globex.state(channel).chains[0].clone();
        let fork = chain.fork.expect(what);
        assert_eq!((fork.held.seq, fork.held.hash), (Seq(2), chain.hash), "{what}");
        assert!(!fork.headers.is_empty() && fork.shown.hash != fork.held.hash, "{what}");
        let kept = homing_wire::read_proof(&fork.shown.proof).unwrap();
        let head = homing_wire::Head { channel, seq: fork.shown.seq, hash: fork.shown.hash };
        let seal = crate::node::Seal(s.evil);
        homing_wire::Checker::default()
            .check(s.evil, first.header.epoch, head, &kept, &seal)
            .expect("anybody can check it");
        // The true history is not gone on with either.
        let more = first.next().next().chain(parties.clone(), 1);
        assert_eq!(s.globex.receive(s.evil, &more).unwrap().refused, Some("equivocation"));
        let (store, now) = (&s.globex.store, s.globex.now);
        let end = more.end.unwrap();
        let gone = s.globex.home.receive_pruned(store, now, s.evil, &parties, &end).unwrap();
        assert_eq!(gone.unwrap().refused, Some("equivocation"), "{what}");
        // A new life is heard.
        let mut anew = Forge::new(&s.mallory, &s.carol, s.globex.now);
        anew.header.epoch = Epoch(anew.header.epoch.0 + 1);
        anew.header.id = crate::node::v7(s.globex.now, 77);
        assert_eq!(s.globex.receive(s.evil, &anew.chain(parties, 1)).unwrap().applied, 1);
        s.globex.settle();
        s.unharmed();
    }
}

fn rewritten_first(first: &Forge) -> Forge {
    let mut other = Forge { header: first.header.clone(), body: text("I never said hello") };
    other.header.id = crate::node::v7(first.header.stamp.ms(), 900);
    other
}

fn rewritten_last(first: &Forge) -> Forge {
    let mut other = first.next();
    other.body = text("I never said that");
    other
}

fn follows_on_another(first: &Forge) -> Forge {
    rewritten_last(first).next()
}

#[test]
fn without_the_proof_of_its_end_nothing_is_taken() {
    let mut s = stage();
    let first = Forge::new(&s.mallory, &s.carol, s.globex.now);
    let parties = [s.mallory.clone(), s.carol.clone()];
    let sound = first.chain(parties.clone(), 2);
    let elsewhere = Forge::new(&s.mallory, &s.globex.user("dave"), s.globex.now);
    let ends = [
        None,
        // Of an earlier event, of another chat, of another home, of another life.
        first.chain(parties.clone(), 1).end,
        elsewhere.chain([s.mallory.clone(), s.globex.user("dave")], 2).end,
        s.acme.range(s.channel, 1, 9).end,
        {
            let mut later = Forge { header: first.header.clone(), body: first.body.clone() };
            later.header.epoch = Epoch(later.header.epoch.0 + 1);
            later.chain(parties, 2).end
        },
    ];
    for end in ends {
        let range = homing_core::RangeIn { end, ..sound.clone() };
        assert_eq!(s.globex.receive_as_is(s.evil, &range).unwrap_err().0, "unproven");
        assert!(!s.globex.home.has_step());
    }
    assert_eq!(s.globex.receive_as_is(s.evil, &sound).unwrap().applied, 2);
    s.globex.settle();
    s.unharmed();
}

#[test]
fn it_acknowledges_and_marks_what_was_never_written() {
    let mut s = stage();
    assert_eq!(s.globex.acknowledged(s.acme.id, s.channel, 1).unwrap_err().0, "ack_ahead");
    assert_eq!(s.globex.acknowledged(s.evil, s.channel, 0).unwrap_err().0, "not_a_member");
    s.globex.home.refused_by(&s.globex.store, s.evil, s.channel, "no").unwrap();
    let nothing = Telling { number: 1, marks: Vec::new() };
    s.globex.home.marks_taken(&s.globex.store, s.evil, s.channel, &nothing).unwrap();
    let mark = |user: &str, read: u64| PeerMark {
        user: local(user),
        epoch: s.globex.epoch,
        delivered: Seq(0),
        read: Seq(read),
        at: 0,
    };
    let (ahead, zero, stranger) = (mark("alice", 1), mark("alice", 0), mark("bob", 0));
    let (acme, channel) = (s.acme.id, s.channel);
    let fault = |s: &mut Stage, from, marks: &[PeerMark]| {
        s.globex.receive_marks(from, channel, marks).unwrap_err().0
    };
    assert_eq!(fault(&mut s, acme, &[zero.clone(), ahead]), "mark_ahead");
    assert_eq!(fault(&mut s, acme, std::slice::from_ref(&stranger)), "mark_of_stranger");
    let evil = s.evil;
    assert_eq!(fault(&mut s, evil, std::slice::from_ref(&zero)), "mark_of_stranger");
    s.unharmed();
}

#[test]
fn it_rejects_what_is_none_of_its_business() {
    let mut s = stage();
    let why = |seq| [(Seq(seq), "no_reason".to_owned())];
    // In a chat of others, and in one that is not there.
    let (channel, evil, acme) = (s.channel, s.evil, s.acme.id);
    let nowhere = ChannelId::chat(&s.mallory, &s.carol);
    s.globex.send("carol", &s.alice, "hers");
    s.globex.settle();
    for channel in [channel, nowhere] {
        assert_eq!(s.globex.rejected_by(evil, channel, &why(1)).unwrap_err().0, "not_a_member");
    }
    // And its neighbour, what was never written, in this life or a later one.
    assert_eq!(s.globex.rejected_by(acme, channel, &why(2)).unwrap_err().0, "rejected_ahead");
    let (store, later) = (&s.globex.store, Epoch(s.globex.epoch.0 + 1));
    let done = s.globex.home.rejected_by(store, s.globex.now, acme, channel, later, &why(1));
    assert_eq!(done.unwrap().unwrap_err().0, "rejected_ahead");
    assert!(s.globex.state(channel).rejected.is_empty() && !s.globex.home.has_step());
    // What it was sent it may reject.
    assert_eq!(s.globex.rejected_by(acme, channel, &why(1)), Ok(1));
}

#[test]
fn one_bad_mark_voids_the_good_ones_beside_it() {
    let mut s = stage();
    s.globex.send("carol", &s.alice, "hi");
    s.globex.deliver(&mut s.acme);
    let mark = |user: &str| PeerMark {
        user: local(user),
        epoch: s.globex.epoch,
        delivered: Seq(1),
        read: Seq(1),
        at: 0,
    };
    let marks = [mark("alice"), mark("bob")];
    let before = s.globex.mark_of(&s.alice, s.channel);
    assert!(s.globex.receive_marks(s.acme.id, s.channel, &marks).is_err());
    assert_eq!(s.globex.mark_of(&s.alice, s.channel), before);
    assert!(!s.globex.home.has_step());
}

#[test]
fn a_new_life_gives_a_stranger_no_more_words() {
    let mut globex = Node::new(2, Policy::default(), &["carol"]);
    let (carol, mallory) = (globex.user("carol"), UserRef::new(HomeId([66; 32]), local("mallory")));
    let parties = [mallory.clone(), carol.clone()];
    let channel = ChannelId::chat(&mallory, &carol);
    let brings = |globex: &mut Node, life: u64, count| {
        let mut first = Forge::new(&mallory, &carol, globex.now);
        first.header.epoch = Epoch(first.header.epoch.0 + life);
        first.header.id = crate::node::v7(globex.now, 1_000 * (life + 1));
        let reply = globex.receive(mallory.home, &first.chain(parties.clone(), count));
        globex.settle();
        reply
    };
    assert_eq!(brings(&mut globex, 0, 6).unwrap().held_back, Some("first_contact"));
    assert!(globex.home.channel(&globex.store, channel).unwrap().is_none(), "nothing is kept");
    assert_eq!(brings(&mut globex, 0, 3).unwrap().applied, 3);
    assert_eq!(brings(&mut globex, 1, 2).unwrap().applied, 2);
    for life in 2..40 {
        let reply = brings(&mut globex, life, 1).unwrap();
        assert_eq!((reply.held_back, reply.applied), (Some("first_contact"), 0));
    }
    assert_eq!((globex.words(channel).len(), globex.state(channel).chains.len()), (5, 2));

    // She says yes: now there may be more, but not of lives without end.
    globex.send("carol", &mallory, "what?");
    for life in 2..40 {
        match brings(&mut globex, life, 1) {
            Ok(reply) => assert_eq!((reply.applied, life < 16), (1, true)),
            Err(fault) => assert_eq!((fault.0, life >= 16), ("too_many_lives", true)),
        }
    }
    assert_eq!(
        globex.state(channel).chains.iter().filter(|c| c.origin == mallory.home).count(),
        16
    );
}
