//! Shapes that older programs wrote, and what became of them.

use std::collections::VecDeque;

use homing_core::{
    Account, AccountState, ChainEnd, ChainProof, ChannelState, Cursor, Device, Fork, GroupState,
    GroupsFrom, Mark, MarkTime, Member, OpDone, OpWhat, OpenLink, PeerState, SeenBy, Span,
    TokenHash, Veil,
};
use homing_wire::{
    ChannelId, DeviceId, Epoch, Hash, HomeId, HomeName, Local, Pos, Seq, Stamp, UserId, UserRef,
};
use serde::{Deserialize, Serialize};

/// Before statements were kept.
#[derive(Serialize, Deserialize)]
pub(super) struct PeerStateV1 {
    home: HomeId,
    name: Option<HomeName>,
    record: Vec<u8>,
    epoch: Epoch,
    boot: u64,
    seen_at: u64,
    blocked: bool,
    reconcile: bool,
}

impl From<PeerStateV1> for PeerStateV2 {
    fn from(old: PeerStateV1) -> Self {
        let PeerStateV1 { home, name, record, epoch, boot, seen_at, blocked, reconcile } = old;
        let statements = Vec::new();
        Self { home, name, record, epoch, boot, seen_at, blocked, reconcile, statements }
    }
}

/// Before letters.
#[derive(Serialize, Deserialize)]
pub(super) struct PeerStateV2 {
    home: HomeId,
    name: Option<HomeName>,
    record: Vec<u8>,
    epoch: Epoch,
    boot: u64,
    seen_at: u64,
    blocked: bool,
    reconcile: bool,
    statements: Vec<Vec<u8>>,
}

impl From<PeerStateV2> for PeerStateV3 {
    fn from(old: PeerStateV2) -> Self {
        Self {
            home: old.home,
            name: old.name,
            record: old.record,
            epoch: old.epoch,
            boot: old.boot,
            seen_at: old.seen_at,
            blocked: old.blocked,
            reconcile: old.reconcile,
            statements: old.statements,
            letters: 0,
            letters_done: (Epoch(0), 0),
        }
    }
}

/// Before links to groups.
#[derive(Serialize, Deserialize)]
pub(super) struct PeerStateV3 {
    home: HomeId,
    name: Option<HomeName>,
    record: Vec<u8>,
    epoch: Epoch,
    boot: u64,
    seen_at: u64,
    blocked: bool,
    reconcile: bool,
    statements: Vec<Vec<u8>>,
    letters: u64,
    letters_done: (Epoch, u64),
}

impl From<PeerStateV3> for PeerState {
    fn from(old: PeerStateV3) -> Self {
        Self {
            home: old.home,
            name: old.name,
            record: old.record,
            epoch: old.epoch,
            boot: old.boot,
            seen_at: old.seen_at,
            blocked: old.blocked,
            reconcile: old.reconcile,
            statements: old.statements,
            letters: old.letters,
            letters_done: old.letters_done,
            joining: Vec::new(),
        }
    }
}

/// Before users could say whether others see what they have read.
#[derive(Serialize, Deserialize)]
pub(super) struct ChannelStateV4 {
    id: ChannelId,
    created_at: u64,
    head: Pos,
    last: Pos,
    counted: u64,
    changed: u64,
    active_at: u64,
    members: Vec<MemberV3>,
    chains: Vec<ChainEnd>,
    cursors: Vec<Cursor>,
    pruned: Pos,
    rejected: Vec<(Pos, String)>,
    uncounted: Vec<Pos>,
    strays: bool,
    group: Option<GroupState>,
}

#[derive(Serialize, Deserialize)]
struct MemberV3 {
    user: UserRef,
    mark: Mark,
    read_counted: u64,
    mentions: Vec<Pos>,
    times: VecDeque<MarkTime>,
    hidden: Vec<Pos>,
    accepted: bool,
    since: u64,
    left: bool,
    spans: Vec<Span>,
    blocking: bool,
    veil: Option<Veil>,
}

impl From<ChannelStateV4> for ChannelState {
    fn from(old: ChannelStateV4) -> Self {
        let ChannelStateV4 { id, created_at, head, last, counted, changed, active_at, .. } = old;
        let ChannelStateV4 { chains, cursors, pruned, rejected, uncounted, strays, group, .. } =
            old;
        Self {
            id,
            created_at,
            head,
            last,
            counted,
            changed,
            active_at,
            members: old.members.into_iter().map(Member::from).collect(),
            chains,
            cursors,
            pruned,
            rejected,
            uncounted,
            strays,
            group,
        }
    }
}

impl From<MemberV3> for Member {
    fn from(old: MemberV3) -> Self {
        let MemberV3 { user, mark, read_counted, mentions, times, hidden, accepted, .. } = old;
        let MemberV3 { since, left, spans, blocking, veil, .. } = old;
        Self {
            user,
            mark,
            read_counted,
            mentions,
            times,
            hidden,
            accepted,
            since,
            left,
            spans,
            blocking,
            veil,
            discreet: None,
        }
    }
}

/// Before messages could be edited, deleted and hidden.
#[derive(Serialize, Deserialize)]
pub(super) struct ChannelStateV3 {
    id: ChannelId,
    created_at: u64,
    head: Pos,
    last: Pos,
    counted: u64,
    changed: u64,
    active_at: u64,
    members: Vec<MemberV2>,
    chains: Vec<ChainEnd>,
    cursors: Vec<Cursor>,
    pruned: Pos,
    rejected: Vec<(Pos, String)>,
    group: Option<GroupStateV3>,
}

#[derive(Serialize, Deserialize)]
struct MemberV2 {
    user: UserRef,
    mark: Mark,
    read_counted: u64,
    mentions: Vec<Pos>,
    times: VecDeque<MarkTime>,
    accepted: bool,
    since: u64,
    left: bool,
    spans: Vec<Span>,
    blocking: bool,
    veil: Option<Veil>,
}

#[derive(Serialize, Deserialize)]
struct GroupStateV3 {
    owner: HomeId,
    version: u64,
    since: u64,
    continues: Option<ChannelId>,
    continued_by: Option<ChannelId>,
    forked: Option<Epoch>,
    turned: Vec<Pos>,
    links: Vec<OpenLink>,
}

impl From<ChannelStateV3> for ChannelStateV4 {
    fn from(old: ChannelStateV3) -> Self {
        let ChannelStateV3 { id, created_at, head, last, counted, changed, active_at, .. } = old;
        let ChannelStateV3 { chains, cursors, pruned, rejected, .. } = old;
        let members = old.members.into_iter().map(MemberV3::from).collect();
        let uncounted = old.group.as_ref().map(|group| group.turned.clone()).unwrap_or_default();
        let group = old.group.map(|group| {
            let GroupStateV3 { owner, version, since, continues, continued_by, .. } = group;
            let GroupStateV3 { forked, links, .. } = group;
            GroupState { owner, version, since, continues, continued_by, forked, links }
        });
        Self {
            id,
            created_at,
            head,
            last,
            counted,
            changed,
            active_at,
            members,
            chains,
            cursors,
            pruned,
            rejected,
            uncounted,
            strays: false,
            group,
        }
    }
}

impl From<MemberV2> for MemberV3 {
    fn from(old: MemberV2) -> Self {
        let MemberV2 { user, mark, read_counted, mentions, times, accepted, .. } = old;
        let MemberV2 { since, left, spans, blocking, veil, .. } = old;
        Self {
            user,
            mark,
            read_counted,
            mentions,
            times,
            hidden: Vec::new(),
            accepted,
            since,
            left,
            spans,
            blocking,
            veil,
        }
    }
}

/// Before links to groups.
#[derive(Serialize, Deserialize)]
pub(super) struct ChannelStateV2 {
    id: ChannelId,
    created_at: u64,
    head: Pos,
    last: Pos,
    counted: u64,
    changed: u64,
    active_at: u64,
    members: Vec<MemberV2>,
    chains: Vec<ChainEnd>,
    cursors: Vec<Cursor>,
    pruned: Pos,
    rejected: Vec<(Pos, String)>,
    group: Option<GroupStateV2>,
}

#[derive(Serialize, Deserialize)]
struct GroupStateV2 {
    owner: HomeId,
    version: u64,
    forked: Option<Epoch>,
    turned: Vec<Pos>,
}

impl From<ChannelStateV2> for ChannelStateV3 {
    fn from(old: ChannelStateV2) -> Self {
        let ChannelStateV2 { id, created_at, head, last, counted, changed, active_at, .. } = old;
        let ChannelStateV2 { members, chains, cursors, pruned, rejected, .. } = old;
        let group = old.group.map(|group| {
            let GroupStateV2 { owner, version, forked, turned } = group;
            GroupStateV3 {
                owner,
                version,
                // Until the next roster, everything is news.
                since: 0,
                continues: None,
                continued_by: None,
                forked,
                turned,
                links: Vec::new(),
            }
        });
        Self {
            id,
            created_at,
            head,
            last,
            counted,
            changed,
            active_at,
            members,
            chains,
            cursors,
            pruned,
            rejected,
            group,
        }
    }
}

/// Before users could block others, and before groups.
#[derive(Serialize, Deserialize)]
pub(super) struct ChannelStateV1 {
    id: ChannelId,
    created_at: u64,
    head: Pos,
    last: Pos,
    counted: u64,
    changed: u64,
    active_at: u64,
    members: Vec<MemberV1>,
    chains: Vec<ChainEndV1>,
    cursors: Vec<CursorV1>,
    pruned: Pos,
    rejected: Vec<(Pos, String)>,
}

#[derive(Serialize, Deserialize)]
struct MemberV1 {
    user: UserRef,
    mark: Mark,
    read_counted: u64,
    mentions: Vec<Pos>,
    times: VecDeque<MarkTime>,
    accepted: bool,
}

#[derive(Serialize, Deserialize)]
struct ChainEndV1 {
    origin: HomeId,
    epoch: Epoch,
    seq: Seq,
    hash: Hash,
    stamp: Stamp,
    pos: Pos,
    proof: Option<ChainProof>,
    pruned: Option<(Seq, Hash)>,
    fork: Option<Box<Fork>>,
}

#[derive(Serialize, Deserialize)]
struct CursorV1 {
    home: HomeId,
    epoch: Epoch,
    acked: Seq,
    marks_owed: bool,
    owed_since: Option<u64>,
    refused: Option<String>,
}

impl From<ChannelStateV1> for ChannelStateV2 {
    fn from(old: ChannelStateV1) -> Self {
        let ChannelStateV1 { id, created_at, head, last, counted, changed, active_at, .. } = old;
        let ChannelStateV1 { pruned, rejected, .. } = old;
        let chains = old.chains.into_iter().map(ChainEnd::from).collect();
        let cursors = old.cursors.into_iter().map(Cursor::from).collect();
        let members = old.members.into_iter().map(MemberV2::from).collect();
        Self {
            id,
            created_at,
            head,
            last,
            counted,
            changed,
            active_at,
            members,
            chains,
            cursors,
            pruned,
            rejected,
            group: None,
        }
    }
}

impl From<MemberV1> for MemberV2 {
    fn from(old: MemberV1) -> Self {
        let MemberV1 { user, mark, read_counted, mentions, times, accepted } = old;
        Self {
            user,
            mark,
            read_counted,
            mentions,
            times,
            accepted,
            since: 0,
            left: false,
            spans: Vec::new(),
            blocking: false,
            veil: None,
        }
    }
}

impl From<ChainEndV1> for ChainEnd {
    fn from(old: ChainEndV1) -> Self {
        let ChainEndV1 { origin, epoch, seq, hash, stamp, pos, proof, pruned, fork } = old;
        Self { origin, epoch, seq, hash, stamp, pos, proof, pruned, roster: 0, fork }
    }
}

impl From<CursorV1> for Cursor {
    fn from(old: CursorV1) -> Self {
        let CursorV1 { home, epoch, acked, marks_owed, owed_since, refused } = old;
        Self { acked, marks_owed, owed_since, refused, ..Self::new(home, epoch) }
    }
}

/// Before users could say who may add them to groups.
#[derive(Serialize, Deserialize)]
pub(super) struct AccountV1 {
    local: Local,
    user_id: UserId,
    display_name: String,
    password: String,
    created_at: u64,
    state: AccountState,
    ids_ahead_ms: u64,
}

impl From<AccountV1> for AccountV2 {
    fn from(old: AccountV1) -> Self {
        let AccountV1 { local, user_id, display_name, password, created_at, state, .. } = old;
        Self {
            local,
            user_id,
            display_name,
            password,
            created_at,
            state,
            ids_ahead_ms: old.ids_ahead_ms,
            groups_from: GroupsFrom::default(),
        }
    }
}

/// Before it was written when a device was last used.
#[derive(Serialize, Deserialize)]
pub(super) struct DeviceV1 {
    id: DeviceId,
    user: Local,
    token: TokenHash,
    name: String,
    created_at: u64,
}

impl From<DeviceV1> for Device {
    fn from(old: DeviceV1) -> Self {
        let DeviceV1 { id, user, token, name, created_at } = old;
        Self { id, user, token, name, created_at, seen_at: 0 }
    }
}

/// Before users could say who may see when they are online.
#[derive(Serialize, Deserialize)]
pub(super) struct AccountV2 {
    local: Local,
    user_id: UserId,
    display_name: String,
    password: String,
    created_at: u64,
    state: AccountState,
    ids_ahead_ms: u64,
    groups_from: GroupsFrom,
}

impl From<AccountV2> for AccountV3 {
    fn from(old: AccountV2) -> Self {
        let AccountV2 { local, user_id, display_name, password, created_at, state, .. } = old;
        Self {
            local,
            user_id,
            display_name,
            password,
            created_at,
            state,
            ids_ahead_ms: old.ids_ahead_ms,
            groups_from: old.groups_from,
            seen_by: SeenBy::default(),
        }
    }
}

/// Before users could say whether others see what they have read.
#[derive(Serialize, Deserialize)]
pub(super) struct AccountV3 {
    local: Local,
    user_id: UserId,
    display_name: String,
    password: String,
    created_at: u64,
    state: AccountState,
    ids_ahead_ms: u64,
    groups_from: GroupsFrom,
    seen_by: SeenBy,
}

impl From<AccountV3> for Account {
    fn from(old: AccountV3) -> Self {
        let AccountV3 { local, user_id, display_name, password, created_at, state, .. } = old;
        Self {
            local,
            user_id,
            display_name,
            password,
            created_at,
            state,
            ids_ahead_ms: old.ids_ahead_ms,
            groups_from: old.groups_from,
            seen_by: old.seen_by,
            read_receipts: true,
        }
    }
}

/// When messages alone had an `op`.
#[derive(Serialize, Deserialize)]
pub(super) struct OpDoneV1 {
    at: u64,
    channel: ChannelId,
    pos: Pos,
}

impl From<OpDoneV1> for OpDone {
    fn from(old: OpDoneV1) -> Self {
        let OpDoneV1 { at, channel, pos } = old;
        Self { at, what: OpWhat::Sent { channel, pos } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::values::{decode, encode};

    #[test]
    fn what_was_noted_of_a_home_before_statements_is_read() {
        let PeerState { home, name, record, epoch, boot, seen_at, blocked, reconcile, .. } =
            sample::peer(1);
        let old = PeerStateV1 { home, name, record, epoch, boot, seen_at, blocked, reconcile };
        let (letters, letters_done) = (0, (Epoch(0), 0));
        let (statements, joining) = (Vec::new(), Vec::new());
        let new = PeerState { statements, letters, letters_done, joining, ..sample::peer(1) };
        assert_eq!(decode::<PeerState>(&encode(&old)), Ok(new));
    }

    fn hash(bytes: &[u8]) -> String {
        blake3::hash(bytes).to_hex()[..16].to_owned()
    }

    fn member_v3(member: Member) -> MemberV3 {
        let Member { user, mark, read_counted, mentions, times, hidden, accepted, .. } = member;
        let Member { since, left, spans, blocking, veil, .. } = member;
        MemberV3 {
            user,
            mark,
            read_counted,
            mentions,
            times,
            hidden,
            accepted,
            since,
            left,
            spans,
            blocking,
            veil,
        }
    }

    #[test]
    fn what_was_stored_when_everybody_saw_what_others_had_read_is_read() {
        let mut new = sample::channel_state();
        new.members[0].discreet = None;
        let state = new.clone();
        let old = ChannelStateV4 {
            id: state.id,
            created_at: state.created_at,
            head: state.head,
            last: state.last,
            counted: state.counted,
            changed: state.changed,
            active_at: state.active_at,
            members: state.members.into_iter().map(member_v3).collect(),
            chains: state.chains,
            cursors: state.cursors,
            pruned: state.pruned,
            rejected: state.rejected,
            uncounted: state.uncounted,
            strays: state.strays,
            group: state.group,
        };
        assert_eq!(hash(&encode(&old)), "461300d14c76231f", "as it was written then");
        assert_eq!(decode::<ChannelState>(&encode(&old)), Ok(new));

        let new = Account { read_receipts: true, ..sample::account("alice") };
        let Account { local, user_id, display_name, password, created_at, state, .. } = new.clone();
        let (ids_ahead_ms, groups_from, seen_by) = (new.ids_ahead_ms, new.groups_from, new.seen_by);
        let old = AccountV3 {
            local,
            user_id,
            display_name,
            password,
            created_at,
            state,
            ids_ahead_ms,
            groups_from,
            seen_by,
        };
        assert_eq!(hash(&encode(&old)), "0a290bc10625c9b5", "as it was written then");
        assert_eq!(decode::<Account>(&encode(&old)), Ok(new));
    }

    fn member_v2(member: Member) -> MemberV2 {
        let Member { user, mark, read_counted, mentions, times, accepted, .. } = member;
        let Member { since, left, spans, blocking, veil, .. } = member;
        MemberV2 {
            user,
            mark,
            read_counted,
            mentions,
            times,
            accepted,
            since,
            left,
            spans,
            blocking,
            veil,
        }
    }

    /// As it is now, where no message was ever changed.
    fn unchanged() -> ChannelState {
        let mut state = sample::channel_state();
        state.strays = false;
        for member in &mut state.members {
            (member.hidden, member.discreet) = (Vec::new(), None);
        }
        state
    }

    #[test]
    fn what_was_stored_before_messages_could_change_is_read() {
        let new = unchanged();
        let state = new.clone();
        let group = state.group.map(|group| {
            let GroupState { owner, version, since, continues, continued_by, forked, links } =
                group;
            let turned = state.uncounted.clone();
            GroupStateV3 { owner, version, since, continues, continued_by, forked, turned, links }
        });
        let old = ChannelStateV3 {
            id: state.id,
            created_at: state.created_at,
            head: state.head,
            last: state.last,
            counted: state.counted,
            changed: state.changed,
            active_at: state.active_at,
            members: state.members.into_iter().map(member_v2).collect(),
            chains: state.chains,
            cursors: state.cursors,
            pruned: state.pruned,
            rejected: state.rejected,
            group,
        };
        assert_eq!(hash(&encode(&old)), "5663b37048bc4cdc", "as it was written then");
        assert_eq!(decode::<ChannelState>(&encode(&old)), Ok(new));
    }

    #[test]
    fn what_was_stored_before_links_to_groups_is_read() {
        let mut new = unchanged();
        if let Some(group) = &mut new.group {
            group.links.clear();
            (group.since, group.continues, group.continued_by) = (0, None, None);
        }
        let state = new.clone();
        let group = state.group.map(|group| {
            let GroupState { owner, version, forked, .. } = group;
            let turned = state.uncounted.clone();
            GroupStateV2 { owner, version, forked, turned }
        });
        let old = ChannelStateV2 {
            id: state.id,
            created_at: state.created_at,
            head: state.head,
            last: state.last,
            counted: state.counted,
            changed: state.changed,
            active_at: state.active_at,
            members: state.members.into_iter().map(member_v2).collect(),
            chains: state.chains,
            cursors: state.cursors,
            pruned: state.pruned,
            rejected: state.rejected,
            group,
        };
        assert_eq!(hash(&encode(&old)), "d2a61fddc92730b1", "as it was written then");
        assert_eq!(decode::<ChannelState>(&encode(&old)), Ok(new));

        let new = PeerState { joining: Vec::new(), ..sample::peer(1) };
        let peer = new.clone();
        let old = PeerStateV3 {
            home: peer.home,
            name: peer.name,
            record: peer.record,
            epoch: peer.epoch,
            boot: peer.boot,
            seen_at: peer.seen_at,
            blocked: peer.blocked,
            reconcile: peer.reconcile,
            statements: peer.statements,
            letters: peer.letters,
            letters_done: peer.letters_done,
        };
        assert_eq!(hash(&encode(&old)), "970c49fdc9bf3180", "as it was written then");
        assert_eq!(decode::<PeerState>(&encode(&old)), Ok(new));
    }

    #[test]
    fn a_device_of_before_is_read_and_not_known_to_be_idle() {
        let new = Device { seen_at: 0, ..sample::device("alice", 1) };
        let Device { id, user, token, name, created_at, .. } = new.clone();
        let old = DeviceV1 { id, user, token, name, created_at };
        assert_eq!(hash(&encode(&old)), "506c35afbfb3ef34", "as it was written then");
        assert_eq!(decode::<Device>(&encode(&old)), Ok(new));
    }

    #[test]
    fn what_was_stored_before_blocks_and_groups_is_read() {
        let mut new = unchanged();
        new.uncounted.clear();
        for member in &mut new.members {
            (member.blocking, member.veil) = (false, None);
            (member.since, member.left, member.spans) = (0, false, Vec::new());
        }
        for chain in &mut new.chains {
            chain.roster = 0;
        }
        for cursor in &mut new.cursors {
            (cursor.begins, cursor.roster, cursor.outside) = ((cursor.epoch, Seq(0)), 0, false);
        }
        new.group = None;
        let state = new.clone();
        let members = state.members.into_iter().map(|member| {
            let Member { user, mark, read_counted, mentions, times, accepted, .. } = member;
            MemberV1 { user, mark, read_counted, mentions, times, accepted }
        });
        let chain = |c: ChainEnd| {
            let ChainEnd { origin, epoch, seq, hash, stamp, pos, proof, pruned, fork, .. } = c;
            ChainEndV1 { origin, epoch, seq, hash, stamp, pos, proof, pruned, fork }
        };
        let cursor = |c: Cursor| {
            let Cursor { home, epoch, acked, marks_owed, owed_since, refused, .. } = c;
            CursorV1 { home, epoch, acked, marks_owed, owed_since, refused }
        };
        let old = ChannelStateV1 {
            id: state.id,
            created_at: state.created_at,
            head: state.head,
            last: state.last,
            counted: state.counted,
            changed: state.changed,
            active_at: state.active_at,
            members: members.collect(),
            chains: state.chains.into_iter().map(chain).collect(),
            cursors: state.cursors.into_iter().map(cursor).collect(),
            pruned: state.pruned,
            rejected: state.rejected,
        };
        assert_eq!(hash(&encode(&old)), "c211ebeb638bf7a1", "as it was written then");
        assert_eq!(decode::<ChannelState>(&encode(&old)), Ok(new));

        let seen_by = SeenBy::Contacts;
        let new = Account { seen_by, read_receipts: true, ..sample::account("alice") };
        let Account { local, user_id, display_name, password, created_at, state, .. } = new.clone();
        let (ids_ahead_ms, groups_from) = (new.ids_ahead_ms, new.groups_from);
        let old = AccountV2 {
            local,
            user_id,
            display_name,
            password,
            created_at,
            state,
            ids_ahead_ms,
            groups_from,
        };
        assert_eq!(hash(&encode(&old)), "957e080e0836f5eb");
        assert_eq!(decode::<Account>(&encode(&old)), Ok(new));

        let groups_from = GroupsFrom::Contacts;
        let account = sample::account("alice");
        let new = Account { groups_from, seen_by, read_receipts: true, ..account };
        let Account { local, user_id, display_name, password, created_at, state, .. } = new.clone();
        let ids_ahead_ms = new.ids_ahead_ms;
        let old =
            AccountV1 { local, user_id, display_name, password, created_at, state, ids_ahead_ms };
        assert_eq!(hash(&encode(&old)), "fe91d4836501fb99");
        assert_eq!(decode::<Account>(&encode(&old)), Ok(new));

        let old = OpDoneV1 { at: 1, channel: sample::channel(1), pos: Pos(1) };
        assert_eq!(hash(&encode(&old)), "bf8bf6ac981ab7ef");
        assert_eq!(decode::<OpDone>(&encode(&old)), Ok(sample::op_done(1)));
    }
}
