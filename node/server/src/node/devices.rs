//! Devices of users: which there are, what they are called, and tokens that are dead.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use homing_link::{Answer, DeviceRow, Devices};
use homing_wire::{DeviceId, HomeId, Local, OpId};
use tracing::info;

use super::calls::{Outcome, Stop};
use super::hub::{Hub, HubError, Output};

/// Accounts whose devices are looked at in one tick: a moment of the hub's time, and five million a day.
const ACCOUNTS: usize = 64;
/// All have been looked at: the next time comes after so long, in milliseconds. A token lives for days.
const REST_MS: u64 = 3_600_000;

/// An `op` is repeated within a week or not at all (API, "Calls").
const OPS_KEPT_MS: u64 = 7 * 24 * 3_600_000;
/// `op`s that one tick takes away: more than a busy home makes in a second.
const OPS_AT_ONCE: usize = 10_000;

/// How far the clock may run ahead of itself before it is not believed: it is set now and then.
const CLOCK_JUMP: Duration = Duration::from_secs(3_600);

/// How far the round through all devices is.
pub(super) struct DeviceRound {
    after: Option<Local>,
    next_at: u64,
    /// Signed out in this round.
    gone: usize,
    /// When the process was started, by a clock that nobody sets and by the one that people set.
    started: (Instant, u64),
    /// By the clock of the start nobody has written for so long that every token would be dead: it is wrong, or nobody has.
    doubtful: bool,
}

impl DeviceRound {
    /// `newest_ms`: the time of the newest stamp on disk, Unix milliseconds; 0 where there is none.
    pub(super) fn new(now_ms: u64, newest_ms: u64, idle_ms: u64) -> Self {
        let doubtful = newest_ms > 0 && now_ms.saturating_sub(newest_ms) > idle_ms;
        Self { after: None, next_at: 0, gone: 0, started: (Instant::now(), now_ms), doubtful }
    }

    /// Whether the clock says what a clock can say after so long.
    fn believes(&self, now_ms: u64, elapsed: Duration) -> bool {
        let most = elapsed.saturating_add(CLOCK_JUMP).as_millis();
        u128::from(now_ms.saturating_sub(self.started.1)) <= most
    }
}

impl Hub {
    pub(super) fn devices_list(
        &mut self,
        user: &Local,
        current: DeviceId,
    ) -> Result<Outcome, Stop> {
        let (now, store) = (self.now_ms(), self.store.clone());
        let devices = self.home.devices(&*store, user)?;
        let row = |device: homing_core::Device| DeviceRow {
            last_seen: match self.is_open(user, device.id) {
                true => Some(now),
                false => Some(device.seen_at).filter(|at| *at > 0),
            },
            device: device.id,
            name: device.name,
            created_at: device.created_at,
            current: device.id == current,
        };
        Ok(Outcome::Answer(Answer::Devices(Devices {
            devices: devices.into_iter().map(row).collect(),
        })))
    }

    pub(super) fn rename_device(
        &mut self,
        user: &Local,
        device: DeviceId,
        name: &str,
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        let (now, store) = (self.now_ms(), self.store.clone());
        self.home.rename_device(&*store, now, user, device, name, op)?;
        Ok(Outcome::Answer(Answer::Done))
    }

    /// Signs a device out. Its sockets are closed behind the answer.
    pub(super) fn revoke_device(
        &mut self,
        user: &Local,
        device: DeviceId,
        op: Option<OpId>,
    ) -> Result<Outcome, Stop> {
        let (now, store) = (self.now_ms(), self.store.clone());
        let gone = self.home.revoke_device(&*store, now, user, device, op)?;
        Ok(Outcome::SignsOut(user.clone(), gone.into_iter().map(|device| device.id).collect()))
    }

    /// Whether a device has an open socket.
    fn is_open(&self, user: &Local, device: DeviceId) -> bool {
        let mut sessions = self.users.get(user).into_iter().flatten();
        sessions.any(|no| {
            let of = self.sessions.get(no).and_then(|entry| entry.user.as_ref());
            of.is_some_and(|(_, which)| *which == device)
        })
    }

    /// These devices' tokens are dead: their sockets are closed once that is on disk.
    pub(super) fn sign_out(&mut self, user: &Local, devices: Vec<DeviceId>) {
        let user = || user.clone();
        self.outputs
            .extend(devices.into_iter().map(|device| Output::Revoke { user: user(), device }));
    }

    /// Whether a device may be signed out for what the clock says: everybody would be, by one that is wrong.
    pub(super) fn may_expire(&mut self, now: u64) -> bool {
        let moment = self.moment();
        let (directory, round) = (&self.directory, &self.device_round);
        let pinned = |home: &HomeId| directory.name(home).is_some();
        self.clock_wrong_by.is_none()
            && round.believes(now, round.started.0.elapsed())
            && (!round.doubtful || self.clocks.is_confirmed(moment, pinned))
    }

    /// Looks at the next devices, and signs out what nobody has used for too long.
    pub(super) fn expire_devices(&mut self, now: u64) -> Result<(), HubError> {
        if now < self.device_round.next_at || !self.may_expire(now) {
            return Ok(());
        }
        let store = self.store.clone();
        let open: HashSet<DeviceId> =
            self.sessions.values().filter_map(|s| s.user.as_ref().map(|(_, id)| *id)).collect();
        let in_use = |_: &Local, device| open.contains(&device);
        let after = self.device_round.after.take();
        let (next, gone) =
            self.home.expire_devices(&*store, now, after.as_ref(), ACCOUNTS, in_use)?;
        self.device_round.gone += gone;
        self.device_round.after = next;
        if self.device_round.after.is_none() {
            if self.device_round.gone > 0 {
                info!(devices = self.device_round.gone, "devices that nobody used were signed out");
            }
            (self.device_round.gone, self.device_round.next_at) = (0, now.saturating_add(REST_MS));
        }
        Ok(())
    }

    /// Takes away `op`s that nobody may repeat any more.
    pub(super) fn forget_ops(&mut self, now: u64) -> Result<(), HubError> {
        // A clock that may be wrong forgets nothing. What is still under way may be found twice, which harms nothing.
        if !self.may_expire(now) {
            return Ok(());
        }
        let old = self.store.ops_before(now.saturating_sub(OPS_KEPT_MS), OPS_AT_ONCE)?;
        self.home.forget_ops(old);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_may_be_wrong_signs_nobody_out() {
        let round = DeviceRound::new(1_000_000, 1_000, 500_000);
        assert!(round.doubtful, "by this clock nobody has written for longer than a token lives");
        assert!(!DeviceRound::new(1_000_000, 600_000, 500_000).doubtful);
        assert!(!DeviceRound::new(1_000_000, 0, 500_000).doubtful, "nobody has ever written");
        let minute = Duration::from_secs(60);
        assert!(round.believes(1_000_000 + 3_660_000, minute));
        assert!(!round.believes(1_000_000 + 3_660_001, minute), "it has jumped");
    }
}
