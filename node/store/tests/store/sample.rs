//! Things to store, made from numbers.

#![allow(dead_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use homing_core::{
    Account, AccountState, AvatarAsked, ChainEnd, ChainProof, ChannelState, Cursor, Deleted,
    Device, Edit, FilmState, Fold, Fork, GroupState, GroupsFrom, ImageState, Invite, Joining,
    LogEntry, Mark, MarkTime, MediaId, MediaState, OpDone, OpWhat, OpenLink, OwnView, PeerState,
    Reacted, SeenBy, ShownTo, Span, TokenHash, Veil, Write,
};
use homing_wire::{
    ChannelId, DeviceId, Epoch, Event, Hash, Header, HomeId, Kind, Local, MediaReference,
    MessageId, OpId, Pos, Seq, Stamp, Target, UserId, UserRef,
};
use uuid::Uuid;

pub(crate) const HOME: HomeId = HomeId([7; 32]);
pub(crate) const EPOCH: Epoch = Epoch(1_700_000_000_000);

pub(crate) fn local(name: &str) -> Local {
    Local::canonical(name).unwrap()
}

/// 16 bytes that spread like hashes do.
fn spread(kind: u8, n: u64) -> [u8; 16] {
    let mut bytes = [kind; 9];
    bytes[1..].copy_from_slice(&n.to_be_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
    id
}

pub(crate) fn channel(n: u64) -> ChannelId {
    ChannelId::from_slice(&spread(b'c', n)).unwrap()
}

pub(crate) fn op(n: u64) -> OpId {
    OpId::from_slice(&spread(b'o', n)).unwrap()
}

pub(crate) fn device_id(n: u64) -> DeviceId {
    DeviceId::from_slice(&spread(b'd', n)).unwrap()
}

pub(crate) fn token(n: u64) -> TokenHash {
    TokenHash(*blake3::hash(&n.to_be_bytes()).as_bytes())
}

/// An event of a chain, with a body of its own.
pub(crate) fn event(
    channel: ChannelId,
    origin: HomeId,
    epoch: Epoch,
    seq: u64,
    body: Bytes,
) -> Event {
    let mut name = [0; 72];
    name[..16].copy_from_slice(channel.as_bytes());
    name[16..48].copy_from_slice(&origin.0);
    name[48..56].copy_from_slice(&epoch.0.to_be_bytes());
    name[56..64].copy_from_slice(&seq.to_be_bytes());
    let hash = Hash::of(&name);
    let header = Header {
        channel,
        origin,
        epoch,
        seq: Seq(seq),
        prev: if seq == 1 { Hash::NONE } else { hash },
        stamp: Stamp((EPOCH.0 + seq) << 16),
        sender: local("alice"),
        id: MessageId::from_slice(&hash.0[..16]).unwrap(),
        kind: Kind::Text,
        target: None,
        mentions: Vec::new(),
        // One file that many name.
        media: if (67..=70).contains(&seq) {
            let MediaState { id, hash, size, .. } = media(1);
            vec![MediaReference { home: origin, id, hash, size }]
        } else {
            Vec::new()
        },
        roster: 0,
        body_size: body.len() as u32,
        body_hash: Hash::of(&body),
    };
    Event::new(header, body)
}

/// Entry `pos` of a channel in which one home writes, one event a place.
pub(crate) fn entry(channel: ChannelId, pos: u64) -> Arc<LogEntry> {
    entry_with(channel, pos, format!("{{\"text\":\"message {pos}\"}}").into())
}

pub(crate) fn entry_with(channel: ChannelId, pos: u64, body: Bytes) -> Arc<LogEntry> {
    Arc::new(LogEntry {
        pos: Pos(pos),
        counted: pos,
        arrived_at: EPOCH.0 + pos,
        hidden: pos % 5 == 4,
        event: event(channel, HOME, EPOCH, pos, body),
    })
}

/// Entry `pos` of a channel, which changes a message.
pub(crate) fn change(channel: ChannelId, pos: u64, target: Target) -> Arc<LogEntry> {
    let entry = entry(channel, pos);
    let header =
        Header { kind: Kind::Reaction, target: Some(target), ..entry.event.header.clone() };
    let event = Event::new(header, entry.event.body.clone());
    Arc::new(LogEntry { event, ..(*entry).clone() })
}

/// A channel at its `pos`-th entry.
pub(crate) fn channel_at(id: ChannelId, pos: u64) -> ChannelState {
    let user = |name| UserRef::new(HOME, local(name));
    let mut state = ChannelState::chat(user("alice"), user("bob"), EPOCH.0);
    state.id = id;
    (state.head, state.last, state.counted) = (Pos(pos), Pos(pos), pos);
    state.changed = pos;
    state
}

/// A channel with something in every field.
pub(crate) fn channel_state() -> ChannelState {
    let mut state = channel_at(channel(1), 300);
    let mark = Mark { delivered: Pos(299), read: Pos(70_000) };
    state.members[0].mark = mark;
    state.members[0].mentions = vec![Pos(5)];
    state.members[0].blocking = true;
    state.members[0].veil = Some(Veil {
        from: Pos(300),
        last: Pos(290),
        active_at: 8,
        unlisted: false,
        lifted: Some(Pos(301)),
    });
    state.members[0].discreet = Some(Pos(200));
    state.members[0].times = VecDeque::from([MarkTime { at: 9, mark }]);
    state.chains.push(ChainEnd {
        origin: HOME,
        epoch: EPOCH,
        seq: Seq(3),
        hash: Hash([8; 32]),
        stamp: Stamp(1 << 50),
        pos: Pos(300),
        proof: Some(ChainProof { seq: Seq(3), hash: Hash([8; 32]), proof: vec![5; 150].into() }),
        pruned: Some((Seq(1), Hash([7; 32]))),
        roster: 6,
        fork: Some(Box::new(Fork {
            held: ChainProof { seq: Seq(3), hash: Hash([8; 32]), proof: vec![5; 150].into() },
            shown: ChainProof { seq: Seq(4), hash: Hash([9; 32]), proof: vec![6; 150].into() },
            headers: vec![vec![4; 200].into()],
        })),
    });
    state.pruned = Pos(12);
    state.rejected = vec![(Pos(299), "body_invalid".into())];
    state.cursors.push(Cursor {
        home: HomeId([1; 32]),
        epoch: EPOCH,
        acked: Seq(2),
        marks_owed: true,
        owed_since: Some(5),
        refused: Some("user_gone".into()),
        begins: (EPOCH, Seq(1)),
        roster: 4,
        outside: true,
    });
    state.uncounted = vec![Pos(7)];
    state.strays = true;
    state.members[0].hidden = vec![Pos(4)];
    state.members[1].since = 3;
    state.members[1].left = true;
    state.members[1].spans = vec![Span { above: Pos(2), upto: Some(Pos(9)) }];
    state.group = Some(GroupState {
        owner: HomeId([1; 32]),
        version: 5,
        since: 4,
        continues: ChannelId::from_slice(&[8; 16]).ok(),
        continued_by: ChannelId::from_slice(&[9; 16]).ok(),
        forked: Some(EPOCH),
        links: vec![OpenLink {
            secret: Hash([5; 32]),
            expires: Some(9),
            uses_left: Some(2),
            by: UserRef::new(HOME, local("alice")),
        }],
        avatars_asked: vec![AvatarAsked {
            op: OpId(Uuid::from_u128(7)),
            file: Uuid::from_u128(6),
            version: 5,
        }],
    });
    state
}

/// A message with everything that can come of one.
pub(crate) fn fold() -> Fold {
    let edit = |pos| Some(Edit { pos: Pos(pos), order: (Stamp(1 << 50), EPOCH, Seq(3)) });
    let user = UserRef::new(HOME, local("alice"));
    let (stamp, shown_to) = (Stamp(1 << 40), ShownTo::Sender);
    let reacted = Reacted { user, emoji: "🦊".into(), stamp, shown_to };
    Fold {
        edit: edit(300),
        hidden_edit: edit(2),
        deleted: Deleted::ForSender,
        reactions: vec![reacted],
        hidden_from: vec![local("bob")],
    }
}

pub(crate) fn account(name: &str) -> Account {
    Account {
        local: local(name),
        user_id: UserId::from_slice(&[3; 16]).unwrap(),
        display_name: format!("{name} Ünïcode 🦊"),
        password: "$argon2id$…".into(),
        created_at: EPOCH.0,
        state: AccountState::Active,
        ids_ahead_ms: 0,
        groups_from: GroupsFrom::Everyone,
        seen_by: SeenBy::Nobody,
        read_receipts: false,
        avatar: Some(Uuid::from_u128(6)),
    }
}

pub(crate) fn device(user: &str, n: u64) -> Device {
    let (id, user, token) = (device_id(n), local(user), token(n));
    Device { id, user, token, name: format!("phone {n}"), created_at: n, seen_at: n << 30 }
}

pub(crate) fn invite(n: u64) -> Invite {
    let hint = format!("{n:04}");
    Invite { code: token(n), hint, created_at: n, expires_at: Some(n + 1), uses_left: 3 }
}

pub(crate) fn peer(n: u8) -> PeerState {
    PeerState {
        home: HomeId([n; 32]),
        name: Some(homing_wire::HomeName::canonical("globex.test").unwrap()),
        record: vec![n; 300],
        epoch: EPOCH,
        boot: u64::from(n),
        seen_at: 77,
        blocked: false,
        reconcile: n % 2 == 1,
        statements: vec![vec![3; 40]],
        letters: 3,
        letters_done: (EPOCH, 2),
        joining: vec![Joining { group: channel(4), user: local("alice"), op: op(6), until: 8 }],
    }
}

pub(crate) fn own_view(n: u64) -> OwnView {
    OwnView {
        muted_until: n.is_multiple_of(2).then_some(n << 40),
        archived: n.is_multiple_of(3),
        pinned: !n.is_multiple_of(2),
        marked_unread: n == 1,
        drafted: n.is_multiple_of(5),
    }
}

pub(crate) fn media(n: u8) -> MediaState {
    MediaState {
        id: Uuid::from_bytes([n; 16]),
        owner: local("alice"),
        hash: Hash([n; 32]),
        size: 1 << 40,
        mime: "image/png".into(),
        name: "Küche.png".into(),
        created_at: u64::from(n) << 40,
        image: (!n.is_multiple_of(2)).then(|| ImageState {
            width: 640,
            height: 480,
            preview: vec![n; 24],
        }),
        film: (!n.is_multiple_of(2)).then_some(FilmState {
            duration_ms: Some(83_000),
            width: Some(1280),
            height: Some(720),
        }),
        unnamed_since: n.is_multiple_of(3).then_some(7),
        going: n.is_multiple_of(6),
    }
}

/// A file is named at a place of a channel.
pub(crate) fn named(file: u8, n: u64, pos: u64, there: bool) -> Write {
    let media = MediaId { home: HOME, id: media(file).id };
    Write::Named { media, channel: channel(n), pos: Pos(pos), there }
}

pub(crate) fn op_done(n: u64) -> OpDone {
    let what = OpWhat::Sent { channel: channel(n), pos: Pos(n) };
    OpDone { at: n, what }
}
