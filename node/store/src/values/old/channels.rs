//! Channels, as older programs wrote them.

use std::collections::VecDeque;

use homing_core::{
    ChainEnd, ChainProof, ChannelState, Cursor, Fork, GroupState, Mark, MarkTime, Member, OpenLink,
    Span, Veil,
};
use homing_wire::{ChannelId, Epoch, Hash, HomeId, Pos, Seq, Stamp, UserRef};
use serde::{Deserialize, Serialize};

/// Before groups had avatars.
#[derive(Serialize, Deserialize)]
pub(in crate::values) struct ChannelStateV5 {
    id: ChannelId,
    created_at: u64,
    head: Pos,
    last: Pos,
    counted: u64,
    changed: u64,
    active_at: u64,
    members: Vec<Member>,
    chains: Vec<ChainEnd>,
    cursors: Vec<Cursor>,
    pruned: Pos,
    rejected: Vec<(Pos, String)>,
    uncounted: Vec<Pos>,
    strays: bool,
    group: Option<GroupStateV4>,
}

#[derive(Serialize, Deserialize)]
struct GroupStateV4 {
    owner: HomeId,
    version: u64,
    since: u64,
    continues: Option<ChannelId>,
    continued_by: Option<ChannelId>,
    forked: Option<Epoch>,
    links: Vec<OpenLink>,
}

impl From<ChannelStateV5> for ChannelState {
    fn from(old: ChannelStateV5) -> Self {
        let ChannelStateV5 { id, created_at, head, last, counted, changed, active_at, .. } = old;
        let ChannelStateV5 { members, chains, cursors, pruned, rejected, .. } = old;
        let ChannelStateV5 { uncounted, strays, group, .. } = old;
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
            strays,
            group: group.map(GroupState::from),
        }
    }
}

impl From<GroupStateV4> for GroupState {
    fn from(old: GroupStateV4) -> Self {
        let GroupStateV4 { owner, version, since, continues, continued_by, forked, links } = old;
        let avatars_asked = Vec::new();
        Self { owner, version, since, continues, continued_by, forked, links, avatars_asked }
    }
}

/// Before users could say whether others see what they have read.
#[derive(Serialize, Deserialize)]
pub(in crate::values) struct ChannelStateV4 {
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
    group: Option<GroupStateV4>,
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

impl From<ChannelStateV4> for ChannelStateV5 {
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
pub(in crate::values) struct ChannelStateV3 {
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
            GroupStateV4 { owner, version, since, continues, continued_by, forked, links }
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
pub(in crate::values) struct ChannelStateV2 {
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
pub(in crate::values) struct ChannelStateV1 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::values::{decode, encode};

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

    fn group_v4(group: GroupState) -> GroupStateV4 {
        let GroupState { owner, version, since, continues, continued_by, forked, links, .. } =
            group;
        GroupStateV4 { owner, version, since, continues, continued_by, forked, links }
    }

    /// Nobody waits for a group's avatar.
    fn without_avatars(mut state: ChannelState) -> ChannelState {
        state.group.iter_mut().for_each(|group| group.avatars_asked.clear());
        state
    }

    #[test]
    fn what_was_stored_before_groups_had_avatars_is_read() {
        let new = without_avatars(sample::channel_state());
        let state = new.clone();
        let old = ChannelStateV5 {
            id: state.id,
            created_at: state.created_at,
            head: state.head,
            last: state.last,
            counted: state.counted,
            changed: state.changed,
            active_at: state.active_at,
            members: state.members,
            chains: state.chains,
            cursors: state.cursors,
            pruned: state.pruned,
            rejected: state.rejected,
            uncounted: state.uncounted,
            strays: state.strays,
            group: state.group.map(group_v4),
        };
        assert_eq!(hash(&encode(&old)), "27ce001753ec9683", "as it was written then");
        assert_eq!(decode::<ChannelState>(&encode(&old)), Ok(new));
    }

    #[test]
    fn what_was_stored_when_everybody_saw_what_others_had_read_is_read() {
        let mut new = without_avatars(sample::channel_state());
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
            group: state.group.map(group_v4),
        };
        assert_eq!(hash(&encode(&old)), "461300d14c76231f", "as it was written then");
        assert_eq!(decode::<ChannelState>(&encode(&old)), Ok(new));
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

    fn unchanged() -> ChannelState {
        let mut state = without_avatars(sample::channel_state());
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
            let GroupStateV4 { owner, version, since, continues, continued_by, forked, links } =
                group_v4(group);
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
    }
}
