//! Other homes, as an operator asks for them.

use std::collections::BTreeMap;

use homing_core::{Home, PeerState, Reader};
use homing_wire::{Epoch, HomeId, HomeRef, Seq};

use super::{ControlError, PeerRow, PeersLive, QueueRow};

/// Channels looked at for [`super::Control::PeerQueue`]: what is owed beyond is said to be more, not counted.
const QUEUE_CHANNELS: usize = 10_000;

/// The home that a name or id means to the operator.
pub(super) fn resolve(
    reader: &dyn Reader,
    live: &PeersLive,
    home: &HomeRef,
) -> Result<HomeId, ControlError> {
    let name = match home {
        HomeRef::Id(id) => return Ok(*id),
        HomeRef::Name(name) => name,
    };
    let pinned = live.homes.iter().find(|(_, l)| l.name.as_ref() == Some(name)).map(|(id, _)| *id);
    if let Some(id) = pinned {
        return Ok(id);
    }
    let met = reader.peers()?.into_iter().find(|p| p.name.as_ref() == Some(name));
    met.map(|p| p.home).ok_or_else(|| unknown(home))
}

pub(super) fn unknown(home: &HomeRef) -> ControlError {
    ControlError::refused(
        "home_not_found",
        format!("{home} is not known here: it is neither pinned nor has it been met"),
    )
}

pub(super) fn peer_rows(
    home: &Home,
    reader: &dyn Reader,
    live: &PeersLive,
) -> Result<Vec<PeerRow>, ControlError> {
    let met: BTreeMap<HomeId, PeerState> =
        reader.peers()?.into_iter().map(|p| (p.home, p)).collect();
    let mut ids: Vec<HomeId> =
        met.keys().chain(live.homes.keys()).chain(home.owed().keys()).copied().collect();
    ids.sort();
    ids.dedup();
    let mut rows: Vec<PeerRow> = ids
        .into_iter()
        .map(|id| {
            let (met, now) = (met.get(&id), live.homes.get(&id));
            PeerRow {
                home_id: id,
                home: now.and_then(|l| l.name.clone()).or_else(|| met.and_then(|p| p.name.clone())),
                connected: now.is_some_and(|l| l.connected),
                since: now.and_then(|l| l.since),
                seen_at: met.map(|p| p.seen_at).filter(|at| *at > 0),
                blocked: met.is_some_and(|p| p.blocked),
                channels_owed: home.owed().get(&id).map_or(0, |c| c.len() as u64),
                last_error: now.and_then(|l| l.last_error.clone()),
                attempts: now.map_or(0, |l| l.attempts),
                retry_at: now.and_then(|l| l.retry_at),
            }
        })
        .collect();
    rows.sort_by(|a, b| {
        (a.home.is_none(), &a.home, a.home_id).cmp(&(b.home.is_none(), &b.home, b.home_id))
    });
    Ok(rows)
}

pub(super) fn queue(
    home: &Home,
    reader: &dyn Reader,
    live: &PeersLive,
) -> Result<Vec<QueueRow>, ControlError> {
    let peers = peer_rows(home, reader, live)?;
    let mut rows = Vec::new();
    let mut left = QUEUE_CHANNELS;
    for (id, channels) in home.owed() {
        let Some(since) = channels.values().min() else { continue };
        let (mut events, mut marks) = (0, 0);
        for channel in channels.keys().take(left) {
            // As committed: what is on its way to disk is not owed yet either.
            let Some(state) = reader.channel(*channel)? else { continue };
            let Some(cursor) = state.cursor(id) else { continue };
            let written = state.chain(&home.id(), home.epoch()).map_or(Seq(0), |c| c.seq);
            events += written.0.saturating_sub(cursor.acked.0);
            marks += u64::from(cursor.marks_owed);
        }
        let more = channels.len() > left;
        left = left.saturating_sub(channels.len());
        let peer = peers.iter().find(|p| p.home_id == *id);
        rows.push(QueueRow {
            home_id: *id,
            home: peer.and_then(|p| p.home.clone()),
            channels: channels.len() as u64,
            events,
            marks,
            more,
            since: *since,
            why: why(live.running, peer),
        });
    }
    rows.sort_by_key(|row| (row.since, row.home_id));
    Ok(rows)
}

/// Why what is owed to a home is not there yet.
fn why(running: bool, peer: Option<&PeerRow>) -> String {
    let Some(peer) = peer else { return "never met, and no address is known".to_owned() };
    if peer.blocked {
        return "blocked by the operator of this home".to_owned();
    }
    if !running {
        return "this node is stopped".to_owned();
    }
    if peer.connected {
        return "connected, not yet acknowledged".to_owned();
    }
    match (&peer.last_error, peer.attempts) {
        (Some(error), 0) => format!("not connected: {error}"),
        (Some(error), 1) => format!("not connected: {error} (1 attempt)"),
        (Some(error), n) => format!("not connected: {error} ({n} attempts)"),
        (None, _) => "not connected: no attempt has ended yet".to_owned(),
    }
}

pub(super) fn block(
    home: &mut Home,
    live: &PeersLive,
    id: HomeId,
    blocked: bool,
) -> Result<(), ControlError> {
    let mut peer = home.peer(&id).cloned().unwrap_or_else(|| PeerState {
        home: id,
        name: live.homes.get(&id).and_then(|l| l.name.clone()),
        record: Vec::new(),
        epoch: Epoch(0),
        boot: 0,
        seen_at: 0,
        blocked: false,
        reconcile: true,
        statements: Vec::new(),
        letters: 0,
        letters_done: (Epoch(0), 0),
        joining: Vec::new(),
    });
    peer.blocked = blocked;
    home.put_peer(peer);
    Ok(())
}
