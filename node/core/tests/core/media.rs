//! Files: who may name one, who may read it, and when nothing names it any more.

use homing_core::{
    ListChange, ListCommand, MediaId, MediaState, Reader as _, Refusal, SendCommand, SentReply,
    UserList, naming_for_home, naming_shown,
};
use homing_wire::{Hash, Kind, MediaReference, UserRef};
use uuid::Uuid;

use crate::folding::What;
use crate::node::{Node, accepting, local};

fn upload(node: &mut Node, owner: &str, n: u8) -> MediaReference {
    let (id, hash) = (Uuid::from_bytes([n; 16]), Hash([n; 32]));
    let state = MediaState {
        id,
        owner: local(owner),
        hash,
        size: 7,
        mime: "image/png".into(),
        name: "a.png".into(),
        created_at: node.now,
        image: None,
        film: None,
        unnamed_since: None,
        going: false,
    };
    node.home.keep_media(node.now, state);
    node.settle();
    MediaReference { home: node.id, id, hash, size: 7 }
}

fn message(node: &mut Node, sender: &str, to: &UserRef, media: &MediaReference) -> SendCommand {
    let body = format!(r#"{{"type":"media","media":{{"id":"{}"}}}}"#, media.id).into();
    let command = node.command(sender, to, "");
    SendCommand { kind: Kind::Media, body, media: vec![media.clone()], ..command }
}

fn send(
    node: &mut Node,
    sender: &str,
    to: &UserRef,
    media: &MediaReference,
) -> Result<SentReply, Refusal> {
    let command = message(node, sender, to, media);
    let sent = node.run(&command);
    node.settle();
    sent
}

fn reads(node: &Node, user: &str, media: &MediaReference) -> bool {
    naming_shown(&node.store, &node.user(user), media.into()).unwrap().is_some()
}

fn named(node: &Node, media: &MediaReference) -> usize {
    node.store.named(media.into(), None, 100).unwrap().len()
}

fn reason(result: Result<SentReply, Refusal>) -> &'static str {
    result.unwrap_err().reason
}

#[test]
fn whoever_is_shown_a_message_reads_its_file_and_nobody_else() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob", "carol"]);
    let mut globex = Node::new(2, accepting(), &["dave", "erin"]);
    let (bob, dave) = (acme.user("bob"), globex.user("dave"));
    let file = upload(&mut acme, "alice", 1);
    assert!(!reads(&acme, "bob", &file));
    send(&mut acme, "alice", &bob, &file).unwrap();
    assert!(reads(&acme, "alice", &file) && reads(&acme, "bob", &file));
    assert!(!reads(&acme, "carol", &file));
    let sent = send(&mut acme, "alice", &dave, &file).unwrap();
    acme.deliver(&mut globex);
    assert!(reads(&globex, "dave", &file) && !reads(&globex, "erin", &file));
    assert_eq!((named(&acme, &file), named(&globex, &file)), (2, 1));

    let by = |home, channel| {
        naming_for_home(&acme.store, home, channel, MediaId::from(&file)).unwrap().is_some()
    };
    assert!(by(globex.id, sent.channel));
    assert!(!by(homing_wire::HomeId([3; 32]), sent.channel), "a home that is not in the chat");
    let other = homing_wire::ChannelId::chat(&acme.user("alice"), &bob);
    assert!(!by(globex.id, other), "a chat that the home is not in");
}

#[test]
fn only_ones_own_file_is_named_or_one_that_may_be_read() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob", "carol"]);
    let (alice, bob, carol) = (acme.user("alice"), acme.user("bob"), acme.user("carol"));
    let file = upload(&mut acme, "alice", 1);
    assert_eq!(reason(send(&mut acme, "bob", &carol, &file)), "media_not_found");
    let unknown = MediaReference { id: Uuid::from_bytes([9; 16]), ..file.clone() };
    assert_eq!(reason(send(&mut acme, "alice", &bob, &unknown)), "media_not_found");
    let elsewhere = MediaReference { home: homing_wire::HomeId([2; 32]), ..file.clone() };
    assert_eq!(reason(send(&mut acme, "alice", &bob, &elsewhere)), "media_not_found");
    for other in [
        MediaReference { hash: Hash([5; 32]), ..file.clone() },
        MediaReference { size: 8, ..file.clone() },
    ] {
        assert_eq!(reason(send(&mut acme, "alice", &bob, &other)), "media_differs");
    }
    assert_eq!(named(&acme, &file), 0);
    send(&mut acme, "alice", &bob, &file).unwrap();
    send(&mut acme, "bob", &carol, &file).unwrap();
    send(&mut acme, "carol", &alice, &file).unwrap();
    assert_eq!(named(&acme, &file), 3);
}

#[test]
fn what_is_deleted_or_too_old_names_nothing() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let mut globex = Node::new(2, accepting(), &["dave"]);
    let (bob, dave) = (acme.user("bob"), globex.user("dave"));
    let file = upload(&mut acme, "alice", 1);
    let first = send(&mut acme, "alice", &bob, &file).unwrap();
    let second = send(&mut acme, "alice", &dave, &file).unwrap();
    acme.deliver(&mut globex);
    for (n, sent) in [&first, &second].into_iter().enumerate() {
        let target = homing_wire::Target { sender: acme.user("alice"), id: sent.id };
        let command = acme.change("alice", sent.channel, &target, What::Delete);
        acme.run(&command).unwrap();
        acme.settle();
        assert_eq!(named(&acme, &file), 1 - n);
    }
    assert!(!reads(&acme, "bob", &file));
    acme.deliver(&mut globex);
    assert_eq!(named(&globex, &file), 0);
    assert!(!reads(&globex, "dave", &file));

    let sent = send(&mut acme, "alice", &bob, &file).unwrap();
    assert_eq!(named(&acme, &file), 1);
    acme.now += 1_000;
    let before = acme.now;
    acme.home.prune(&acme.store, acme.now, sent.channel, before).unwrap();
    acme.settle();
    assert_eq!(named(&acme, &file), 0);
}

#[test]
fn a_file_is_forgotten_when_it_is_marked_and_nothing_names_it() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let bob = acme.user("bob");
    let file = upload(&mut acme, "alice", 1);
    let forget = |acme: &mut Node, anyway| {
        let gone = acme.home.forget_media(&acme.store, acme.now, file.id, anyway).unwrap();
        acme.settle();
        gone
    };
    assert!(!forget(&mut acme, false), "it is not marked");
    send(&mut acme, "alice", &bob, &file).unwrap();
    let state = acme.store.media(file.id).unwrap().unwrap();
    acme.home.keep_media(acme.now, MediaState { going: true, unnamed_since: Some(1), ..state });
    acme.settle();
    assert_eq!(reason(send(&mut acme, "alice", &bob, &file)), "media_not_found");
    assert!(!forget(&mut acme, false), "it is named");
    let state = acme.store.media(file.id).unwrap().unwrap();
    assert!(!state.going && state.unnamed_since.is_none());
    assert!(forget(&mut acme, true), "the operator wants it so");
    assert_eq!(acme.store.media(file.id).unwrap(), None);
    assert!(!forget(&mut acme, true), "twice is once");
}

/// What somebody who is blocked sends is not shown to whoever has blocked, and neither is its file.
#[test]
fn a_blocked_senders_file_is_not_read() {
    let mut acme = Node::new(1, accepting(), &["alice", "bob"]);
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    let file = upload(&mut acme, "alice", 1);
    let block = ListCommand {
        list: UserList::Blocks,
        owner: local("bob"),
        other: alice,
        change: ListChange::Add,
        op: None,
    };
    acme.home.change_list(&acme.store, acme.now, &block).unwrap();
    acme.settle();
    send(&mut acme, "alice", &bob, &file).unwrap();
    assert!(reads(&acme, "alice", &file) && !reads(&acme, "bob", &file));
}
