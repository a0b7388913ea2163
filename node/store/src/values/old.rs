//! Shapes that older programs wrote, and what became of them.

use std::collections::VecDeque;

use homing_core::{
    Account, AccountState, ChainEnd, ChannelState, Cursor, GroupsFrom, Mark, MarkTime, Member,
    OpDone, OpWhat, PeerState,
};
use homing_wire::{ChannelId, Epoch, HomeId, HomeName, Local, Pos, UserId, UserRef};
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

impl From<PeerStateV1> for PeerState {
    fn from(old: PeerStateV1) -> Self {
        let PeerStateV1 { home, name, record, epoch, boot, seen_at, blocked, reconcile } = old;
        let statements = Vec::new();
        Self { home, name, record, epoch, boot, seen_at, blocked, reconcile, statements }
    }
}

/// Before users could block others.
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
    chains: Vec<ChainEnd>,
    cursors: Vec<Cursor>,
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

impl From<ChannelStateV1> for ChannelState {
    fn from(old: ChannelStateV1) -> Self {
        let ChannelStateV1 { id, created_at, head, last, counted, changed, active_at, .. } = old;
        let ChannelStateV1 { chains, cursors, pruned, rejected, .. } = old;
        let members = old.members.into_iter().map(Member::from).collect();
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
        }
    }
}

impl From<MemberV1> for Member {
    fn from(old: MemberV1) -> Self {
        let MemberV1 { user, mark, read_counted, mentions, times, accepted } = old;
        Self { user, mark, read_counted, mentions, times, accepted, blocking: false, veil: None }
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

impl From<AccountV1> for Account {
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
        let new = PeerState { statements: Vec::new(), ..sample::peer(1) };
        assert_eq!(decode::<PeerState>(&encode(&old)), Ok(new));
    }

    fn hash(bytes: &[u8]) -> String {
        blake3::hash(bytes).to_hex()[..16].to_owned()
    }

    #[test]
    fn what_was_stored_before_blocks_is_read() {
        let mut new = sample::channel_state();
        for member in &mut new.members {
            (member.blocking, member.veil) = (false, None);
        }
        let state = new.clone();
        let members = state.members.into_iter().map(|member| {
            let Member { user, mark, read_counted, mentions, times, accepted, .. } = member;
            MemberV1 { user, mark, read_counted, mentions, times, accepted }
        });
        let old = ChannelStateV1 {
            id: state.id,
            created_at: state.created_at,
            head: state.head,
            last: state.last,
            counted: state.counted,
            changed: state.changed,
            active_at: state.active_at,
            members: members.collect(),
            chains: state.chains,
            cursors: state.cursors,
            pruned: state.pruned,
            rejected: state.rejected,
        };
        assert_eq!(hash(&encode(&old)), "c211ebeb638bf7a1", "as it was written then");
        assert_eq!(decode::<ChannelState>(&encode(&old)), Ok(new));

        let new = Account { groups_from: GroupsFrom::Contacts, ..sample::account("alice") };
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
