//! Groups, as an operator asks for them. What people say in them is nobody's business here.

use homing_core::{ChannelState, Home, Reader};
use homing_wire::{ChannelId, HomeId, Role, Roster, Seq, SignedRoster};

use super::peers::peer_rows;
use super::{ControlError, GroupHomeRow, GroupPersonRow, GroupRow, PeerRow, PeersLive};

/// Groups in one page.
const PAGE: usize = 256;
/// Channels looked at for one page, groups or not: bounds what one question costs.
const LOOKED_AT: usize = 4_096;

/// A page of the groups that are held, by rising id; where the next goes on.
pub(super) fn list(
    home: &Home,
    reader: &dyn Reader,
    live: &PeersLive,
    after: Option<ChannelId>,
) -> Result<(Vec<GroupRow>, Option<ChannelId>), ControlError> {
    let peers = peer_rows(home, reader, live)?;
    let mut rows = Vec::new();
    let mut next = after;
    let mut looked_at = 0;
    while looked_at < LOOKED_AT {
        let states = reader.channels(next, PAGE)?;
        if states.is_empty() {
            return Ok((rows, None));
        }
        for state in states {
            looked_at += 1;
            next = Some(state.id);
            if let Some(signed) = roster(reader, &state)? {
                rows.push(row(home, &state, signed.roster(), &peers));
            }
            if rows.len() == PAGE {
                return Ok((rows, next));
            }
        }
    }
    Ok((rows, next))
}

/// One group: who is in it, and how far its homes are.
pub(super) fn show(
    home: &Home,
    reader: &dyn Reader,
    live: &PeersLive,
    group: ChannelId,
) -> Result<(GroupRow, Vec<GroupPersonRow>, Vec<GroupHomeRow>), ControlError> {
    let found = reader.channel(group)?;
    let found = match found {
        Some(state) => roster(reader, &state)?.map(|signed| (state, signed)),
        None => None,
    };
    let Some((state, signed)) = found else {
        return Err(ControlError::refused(
            "group_not_found",
            format!("{group} is no group that is known here: see homing group list"),
        ));
    };
    let roster = signed.roster();
    let peers = peer_rows(home, reader, live)?;
    let people = roster
        .present()
        .map(|tenure| {
            let here = state.member(&tenure.user).filter(|_| tenure.user.home == home.id());
            GroupPersonRow {
                user: tenure.user.clone(),
                home: name_of(&peers, &tenure.user.home),
                role: role_word(tenure.role).to_owned(),
                agreed: here.map(|member| member.accepted && !member.left),
            }
        })
        .collect();
    let homes = state
        .cursors
        .iter()
        .map(|cursor| {
            let written = state.chain(&home.id(), cursor.epoch).map_or(Seq(0), |chain| chain.seq);
            GroupHomeRow {
                home_id: cursor.home,
                home: name_of(&peers, &cursor.home),
                connected: peers.iter().any(|p| p.home_id == cursor.home && p.connected),
                takes_part: !cursor.outside,
                roster: cursor.roster,
                events_owed: if cursor.outside {
                    0
                } else {
                    written.0.saturating_sub(cursor.acked.0)
                },
                since: cursor.owed_since,
                refused: cursor.refused.clone(),
            }
        })
        .collect();
    Ok((row(home, &state, roster, &peers), people, homes))
}

fn roster(reader: &dyn Reader, state: &ChannelState) -> Result<Option<SignedRoster>, ControlError> {
    if state.group.is_none() {
        return Ok(None);
    }
    let Some(bytes) = reader.roster(state.id)? else { return Ok(None) };
    Ok(SignedRoster::stored(bytes).ok())
}

fn row(home: &Home, state: &ChannelState, roster: &Roster, peers: &[PeerRow]) -> GroupRow {
    let in_it = || roster.present().filter(|t| t.role >= Role::Member);
    let mut homes: Vec<HomeId> = in_it().map(|t| t.user.home).collect();
    homes.sort_unstable();
    homes.dedup();
    let group = state.group.as_ref();
    GroupRow {
        group: state.id,
        name: roster.name.clone(),
        owner_id: roster.owner,
        owner: if roster.owner == home.id() { None } else { name_of(peers, &roster.owner) },
        own: roster.owner == home.id(),
        version: roster.version,
        members: in_it().count() as u64,
        invited: roster.present().filter(|t| t.role == Role::Invited).count() as u64,
        here: in_it().filter(|t| t.user.home == home.id()).count() as u64,
        homes: homes.len() as u64,
        head: state.head,
        homes_owed: state.cursors.iter().filter(|c| c.owed_since.is_some()).count() as u64,
        forked: group.is_some_and(|group| group.forked.is_some()),
        links: group.map_or(0, |group| group.links.len() as u64),
        continues: group.and_then(|group| group.continues),
        continued_by: group.and_then(|group| group.continued_by),
    }
}

fn name_of(peers: &[PeerRow], home: &HomeId) -> Option<homing_wire::HomeName> {
    peers.iter().find(|peer| peer.home_id == *home).and_then(|peer| peer.home.clone())
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Invited => "invited",
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}
