//! Signs of life: who is online, and when somebody was last seen.

use std::collections::{BTreeMap, BTreeSet};

use homing_wire::{DeviceId, Local};

use super::At;

/// So many are stored in one go, the rest a second later: when everybody comes at once, after a restart, a step of 250 KiB
/// holds nobody up.
const SAVED_AT_ONCE: usize = 5_000;

/// Users of this home of whom a device lives, or has a socket.
pub(super) struct Lives {
    online_ms: u64,
    save_ms: u64,
    users: BTreeMap<Local, Life>,
    /// When users are to be looked at: one row for each who is online, or was when it was made. A sign moves nothing
    /// here; who turns out to have given one gets another row.
    ends: BTreeSet<(u64, Local)>,
    online: usize,
    /// What is to be stored.
    unsaved: BTreeMap<Local, u64>,
}

struct Life {
    devices: BTreeMap<DeviceId, Device>,
    online: bool,
    /// There is a row in `ends`.
    awaited: bool,
    /// Unix milliseconds of the last sign.
    last_ms: u64,
    /// The same, as it was last given to be stored.
    saved_ms: u64,
}

struct Device {
    /// Open ones. A device may have more than one.
    sockets: u32,
    /// The last sign, by the steady clock.
    sign_ms: u64,
}

impl Lives {
    pub(super) fn new(online_ms: u64, save_ms: u64) -> Self {
        Self {
            online_ms,
            save_ms,
            users: BTreeMap::new(),
            ends: BTreeSet::new(),
            online: 0,
            unsaved: BTreeMap::new(),
        }
    }

    /// A socket is there, which is a sign. Answers, like all here, whether the user has come or gone.
    pub(super) fn opened(&mut self, at: At, user: &Local, device: DeviceId) -> bool {
        let life = self.users.entry(user.clone()).or_insert_with(|| Life {
            devices: BTreeMap::new(),
            online: false,
            awaited: false,
            last_ms: at.wall_ms,
            saved_ms: 0,
        });
        let device_life =
            life.devices.entry(device).or_insert(Device { sockets: 0, sign_ms: at.steady_ms });
        device_life.sockets = device_life.sockets.saturating_add(1);
        self.sign(at, user, device)
    }

    /// A sign of a device that has a socket; of others it says nothing.
    pub(super) fn sign(&mut self, at: At, user: &Local, device: DeviceId) -> bool {
        let Some(life) = self.users.get_mut(user) else { return false };
        let Some(device) = life.devices.get_mut(&device) else { return false };
        device.sign_ms = at.steady_ms;
        life.last_ms = at.wall_ms;
        // Also where the clock was put back: what it showed then is not to stay.
        if at.wall_ms.abs_diff(life.saved_ms) >= self.save_ms {
            life.saved_ms = at.wall_ms;
            self.unsaved.insert(user.clone(), at.wall_ms);
        }
        if life.online {
            return false;
        }
        life.online = true;
        self.online += 1;
        if !std::mem::replace(&mut life.awaited, true) {
            self.ends.insert((at.steady_ms + self.online_ms, user.clone()));
        }
        true
    }

    /// A socket is gone. One that said so takes its device along at once; any other has until its last sign is too old.
    pub(super) fn closed(
        &mut self,
        at: At,
        user: &Local,
        device: DeviceId,
        in_order: bool,
    ) -> bool {
        let Some(life) = self.users.get_mut(user) else { return false };
        let Some(device_life) = life.devices.get_mut(&device) else { return false };
        device_life.sockets = device_life.sockets.saturating_sub(1);
        if in_order {
            // To say good-bye is a sign.
            life.last_ms = at.wall_ms;
            device_life.sign_ms = at.steady_ms;
            if device_life.sockets == 0 {
                life.devices.remove(&device);
            }
        }
        self.look_at(at, user)
    }

    /// Looks at everybody whose last sign may be too old.
    pub(super) fn tick(&mut self, at: At) -> Vec<Local> {
        let mut changed = Vec::new();
        while self.ends.first().is_some_and(|(end, _)| *end <= at.steady_ms) {
            let Some((_, user)) = self.ends.pop_first() else { break };
            if let Some(life) = self.users.get_mut(&user) {
                life.awaited = false;
            }
            if self.look_at(at, &user) {
                changed.push(user);
                continue;
            }
            let Some(life) = self.users.get_mut(&user).filter(|life| life.online) else { continue };
            life.awaited = true;
            let last = life.devices.values().map(|device| device.sign_ms).max().unwrap_or(0);
            self.ends.insert((last + self.online_ms, user));
        }
        changed
    }

    /// Whether a user turns out to have gone.
    fn look_at(&mut self, at: At, user: &Local) -> bool {
        let Some(life) = self.users.get_mut(user) else { return false };
        let online_ms = self.online_ms;
        let lives = |device: &Device| at.steady_ms < device.sign_ms + online_ms;
        life.devices.retain(|_, device| device.sockets > 0 || lives(device));
        let gone = life.online && !life.devices.values().any(lives);
        if gone {
            life.online = false;
            self.online -= 1;
            life.saved_ms = life.last_ms;
            self.unsaved.insert(user.clone(), life.last_ms);
        }
        if life.devices.is_empty() && !life.awaited {
            self.users.remove(user);
        }
        gone
    }

    /// Whether a user is online, and the last sign in Unix milliseconds; `None`: nothing here is newer than the disk.
    pub(super) fn seen(&self, user: &Local) -> Option<(bool, u64)> {
        match self.users.get(user) {
            Some(life) => Some((life.online, life.last_ms)),
            None => self.unsaved.get(user).map(|last_ms| (false, *last_ms)),
        }
    }

    pub(super) fn take_unsaved(&mut self) -> BTreeMap<Local, u64> {
        let mut now = std::mem::take(&mut self.unsaved);
        if let Some((first_left, _)) = now.iter().nth(SAVED_AT_ONCE) {
            let first_left = first_left.clone();
            self.unsaved = now.split_off(&first_left);
        }
        now
    }

    pub(super) fn take_all(&mut self) -> BTreeMap<Local, u64> {
        let mut all = std::mem::take(&mut self.unsaved);
        all.extend(
            self.users
                .iter()
                .filter(|(_, life)| life.online)
                .map(|(user, life)| (user.clone(), life.last_ms)),
        );
        all
    }

    pub(super) fn online(&self) -> usize {
        self.online
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ONLINE_MS: u64 = 30_000;
    const SAVE_MS: u64 = 55_000;
    const BEGAN_MS: u64 = 1_760_000_000_000;

    fn at(ms: u64) -> At {
        At { steady_ms: ms, wall_ms: BEGAN_MS + ms }
    }

    fn alice() -> Local {
        Local::canonical("alice").unwrap()
    }

    fn device(n: u128) -> DeviceId {
        DeviceId(Uuid::from_u128(n))
    }

    fn lives() -> Lives {
        Lives::new(ONLINE_MS, SAVE_MS)
    }

    fn last(ms: u64) -> BTreeMap<Local, u64> {
        BTreeMap::from([(alice(), BEGAN_MS + ms)])
    }

    #[test]
    fn online_ends_thirty_seconds_after_the_last_sign_of_any_device() {
        let mut lives = lives();
        assert_eq!(lives.seen(&alice()), None);
        assert!(lives.opened(at(0), &alice(), device(1)));
        assert!(!lives.opened(at(10_000), &alice(), device(2)));
        assert!(!lives.sign(at(20_000), &alice(), device(1)));
        assert_eq!(lives.tick(at(49_999)), []);
        assert_eq!(lives.seen(&alice()), Some((true, BEGAN_MS + 20_000)));
        assert_eq!(lives.tick(at(50_000)), [alice()]);
        // The sockets are open still, but nobody says anything.
        assert_eq!(lives.seen(&alice()), Some((false, BEGAN_MS + 20_000)));
        assert!(lives.sign(at(60_000), &alice(), device(2)), "and here somebody does");
        assert_eq!(lives.tick(at(89_999)), []);
        assert_eq!(lives.tick(at(90_000)), [alice()]);
    }

    #[test]
    fn the_last_socket_that_closes_in_order_ends_it_at_once() {
        let mut lives = lives();
        lives.opened(at(0), &alice(), device(1));
        lives.opened(at(1), &alice(), device(1));
        lives.opened(at(2), &alice(), device(2));
        assert!(!lives.closed(at(5), &alice(), device(1), true), "the device has another one");
        assert!(!lives.closed(at(6), &alice(), device(2), true));
        assert!(lives.closed(at(7), &alice(), device(1), true));
        assert_eq!(lives.seen(&alice()), Some((false, BEGAN_MS + 7)));
        assert_eq!(lives.take_unsaved(), last(7));
        assert!(!lives.closed(at(8), &alice(), device(1), true), "it was gone");
        // Whoever comes again has come, and the old row does no harm.
        assert!(lives.opened(at(29_000), &alice(), device(1)));
        assert_eq!(lives.tick(at(58_999)), []);
        assert_eq!(lives.tick(at(59_000)), [alice()]);
        assert!(lives.ends.is_empty());
        lives.closed(at(60_000), &alice(), device(1), true);
        lives.take_unsaved();
        assert_eq!(lives.seen(&alice()), None, "the disk knows");
    }

    #[test]
    fn a_socket_that_is_lost_may_come_back() {
        let mut lives = lives();
        lives.opened(at(0), &alice(), device(1));
        lives.sign(at(10_000), &alice(), device(1));
        assert!(!lives.closed(at(12_000), &alice(), device(1), false));
        assert!(!lives.opened(at(13_000), &alice(), device(1)), "nobody has noticed");
        assert!(!lives.closed(at(14_000), &alice(), device(1), false));
        assert_eq!(lives.tick(at(42_999)), []);
        assert_eq!(lives.tick(at(43_000)), [alice()]);
        assert_eq!(lives.take_unsaved(), last(13_000), "the last sign, not the end");
        assert!(lives.users.is_empty() && lives.ends.is_empty(), "nothing is left");

        // A device that says good-bye by another socket takes the lost one along.
        lives.opened(at(50_000), &alice(), device(1));
        lives.closed(at(51_000), &alice(), device(1), false);
        lives.opened(at(52_000), &alice(), device(1));
        assert!(lives.closed(at(53_000), &alice(), device(1), true));
    }

    #[test]
    fn a_sign_without_a_socket_is_none() {
        let mut lives = lives();
        assert!(!lives.sign(at(0), &alice(), device(1)));
        lives.opened(at(0), &alice(), device(1));
        lives.closed(at(1), &alice(), device(1), true);
        assert!(!lives.sign(at(2), &alice(), device(1)));
        assert_eq!(lives.online(), 0);
    }

    #[test]
    fn last_seen_is_stored_at_the_beginning_at_the_end_and_once_a_minute() {
        let mut lives = lives();
        lives.opened(at(0), &alice(), device(1));
        assert_eq!(lives.take_unsaved(), last(0));
        let mut stored = Vec::new();
        for s in 1..=300 {
            lives.sign(at(s * 1_000), &alice(), device(1));
            lives.tick(at(s * 1_000));
            if lives.take_unsaved() == last(s * 1_000) {
                stored.push(s);
            }
        }
        assert_eq!(stored, [55, 110, 165, 220, 275]);
        assert_eq!(lives.take_all(), last(300_000), "the home stops");
        lives.closed(at(300_500), &alice(), device(1), true);
        assert_eq!(lives.take_unsaved(), last(300_500));
    }

    #[test]
    fn a_clock_that_is_put_back_is_followed() {
        let mut lives = lives();
        lives.opened(at(0), &alice(), device(1));
        lives.take_unsaved();
        let back = At { steady_ms: 5_000, wall_ms: BEGAN_MS - 3_600_000 };
        lives.sign(back, &alice(), device(1));
        assert_eq!(lives.take_unsaved(), BTreeMap::from([(alice(), back.wall_ms)]));
        assert_eq!(lives.tick(at(34_999)), []);
        assert_eq!(lives.tick(at(35_000)), [alice()], "the steady clock decides");
    }

    #[test]
    fn a_crowd_is_stored_bit_by_bit() {
        let mut lives = lives();
        let user = |n: usize| Local::canonical(&format!("u{n}")).unwrap();
        for n in 0..12_000 {
            lives.opened(at(0), &user(n), device(1));
        }
        let taken: Vec<usize> = (0..4).map(|_| lives.take_unsaved().len()).collect();
        assert_eq!(taken, [5_000, 5_000, 2_000, 0]);
        for n in 0..12_000 {
            lives.closed(at(60_000), &user(n), device(1), true);
        }
        assert_eq!(lives.take_all().len(), 12_000, "but for the end of it all");
    }

    #[test]
    fn toggling_leaves_nothing_behind() {
        let mut lives = lives();
        for n in 0..10_000 {
            lives.opened(at(n), &alice(), device(u128::from(n % 2)));
            lives.closed(at(n), &alice(), device(u128::from(n % 2)), true);
        }
        assert_eq!((lives.ends.len(), lives.online()), (1, 0));
        lives.tick(at(50_000));
        assert!(lives.ends.is_empty() && lives.users.is_empty());
        assert_eq!(lives.unsaved.len(), 1);
    }
}
