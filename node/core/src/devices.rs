//! Devices of accounts: signing in and out, what they are called, and since when nobody has used them.
//!
//! Devices are on disk alone; here is only what is not committed yet. Whoever asks which there are asks here: what is
//! committed may show a token that was killed a moment ago, and a change of that would bring it to life again.

use std::collections::VecDeque;

use homing_wire::{DeviceId, Local, OpId};

use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::refusal::{BAD_CREDENTIALS, Class, DISABLED, Failure, Refusal};
use crate::state::{Account, AccountState, Device, TokenHash};
use crate::write::Write;

/// A new device of an account.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// Whose.
    pub user: Local,
    /// A fresh id.
    pub id: DeviceId,
    /// Its token, hashed.
    pub token: TokenHash,
    /// What the user calls it.
    pub name: String,
    /// The password of the account as it was checked, a PHC string: it may have been changed since.
    pub checked: String,
}

/// Devices of one user: a person has a few, a script that forgets to log out has many.
const DEVICES: usize = 200;

/// Characters of what a device is called.
const NAME_CHARS: usize = 128;

/// When a device was seen is written once in so long, in milliseconds: a thousand devices cost a write in some seconds.
const SEEN_MS: u64 = 3_600_000;

/// What has become of devices and is not committed: the step, whose, which, and as what.
#[derive(Default)]
pub(crate) struct DeviceNews(VecDeque<(u64, Local, DeviceId, Option<Device>)>);

impl DeviceNews {
    /// All steps up to that one are on disk.
    pub(crate) fn committed(&mut self, step: u64) {
        while self.0.front().is_some_and(|(of, ..)| *of <= step) {
            self.0.pop_front();
        }
    }

    /// What has become of a device since; `None`: nothing.
    fn of(&self, user: &Local, id: DeviceId) -> Option<Option<&Device>> {
        let news = self.0.iter().rev().find(|(_, whose, which, _)| whose == user && *which == id);
        news.map(|(.., device)| device.as_ref())
    }
}

impl Home {
    /// The device of a token, uncommitted changes included.
    pub fn device_of(
        &self,
        reader: &dyn Reader,
        token: TokenHash,
    ) -> Result<Option<Device>, Fault> {
        let Some(device) = reader.device(token)? else { return Ok(None) };
        Ok(match self.device_news.of(&device.user, device.id) {
            Some(newer) => newer.cloned(),
            None => Some(device),
        })
    }

    /// A device of a user, uncommitted changes included.
    pub fn device(
        &self,
        reader: &dyn Reader,
        user: &Local,
        id: DeviceId,
    ) -> Result<Option<Device>, Fault> {
        match self.device_news.of(user, id) {
            Some(newer) => Ok(newer.cloned()),
            None => reader.device_by_id(user, id),
        }
    }

    /// A user's devices, the oldest first, uncommitted changes included.
    pub fn devices(&self, reader: &dyn Reader, user: &Local) -> Result<Vec<Device>, Fault> {
        let mut devices = reader.devices(user)?;
        for (_, _, id, newer) in self.device_news.0.iter().filter(|(_, whose, ..)| whose == user) {
            devices.retain(|device| device.id != *id);
            devices.extend(newer.clone());
        }
        devices.sort_by_key(|device| (device.created_at, device.id));
        Ok(devices)
    }

    /// Signs a device in.
    pub fn add_device(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        new: NewDevice,
    ) -> Result<Device, Failure> {
        self.at(now_ms);
        let NewDevice { user, id, token, name, checked } = new;
        // The password was checked a moment ago; the account may have been shut since, or have another.
        let account = self.active(reader, &user)?;
        if account.password != checked {
            return Err(BAD_CREDENTIALS.into());
        }
        if self.devices(reader, &user)?.len() >= DEVICES {
            return Err(Refusal::new(
                Class::Limit,
                "too_many_devices",
                "log out on a device you no longer use",
            )
            .with_limit(DEVICES as u64)
            .into());
        }
        let (created_at, seen_at) = (self.now_ms, self.now_ms);
        let device = Device { id, user, token, name, created_at, seen_at };
        self.put_device(device.clone());
        self.hurry();
        Ok(device)
    }

    /// Signs a device out: its token is dead once the step is committed.
    pub fn remove_device(&mut self, device: &Device) {
        let (user, id, step) = (device.user.clone(), device.id, self.current_step());
        self.device_news.0.push_back((step, user.clone(), id, None));
        self.write(Write::DeviceGone { user, device: id, token: device.token });
        self.hurry();
    }

    /// Calls a device of a user something else. Refused are devices that the user has not (`device_not_found`), and names
    /// that nobody could read (`invalid_device_name`).
    pub fn rename_device(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        id: DeviceId,
        name: &str,
        op: Option<OpId>,
    ) -> Result<(), Failure> {
        self.at(now_ms);
        self.hurry();
        if self.is_repeated(reader, user, op)? {
            return Ok(());
        }
        let chars = name.chars().count();
        if name.trim().is_empty() || chars > NAME_CHARS || name.chars().any(char::is_control) {
            let message =
                "a device's name has 1 to 128 characters, none of them control characters";
            let refusal = Refusal::new(Class::Invalid, "invalid_device_name", message);
            return Err(refusal.with_limit(NAME_CHARS as u64).into());
        }
        let device = self.device(reader, user, id)?.ok_or(NO_DEVICE)?;
        if device.name != name {
            self.put_device(Device { name: name.to_owned(), ..device });
        }
        self.note_own_op(user, op);
        Ok(())
    }

    /// Signs a device of a user out. Answers the device, whose sockets are to be closed once the step is committed; `None`: a
    /// repeated `op` had done it.
    pub fn revoke_device(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        id: DeviceId,
        op: Option<OpId>,
    ) -> Result<Option<Device>, Failure> {
        self.at(now_ms);
        self.hurry();
        if self.is_repeated(reader, user, op)? {
            return Ok(None);
        }
        let device = self.device(reader, user, id)?.ok_or(NO_DEVICE)?;
        self.remove_device(&device);
        self.note_own_op(user, op);
        Ok(Some(device))
    }

    /// Gives an account a new password, if the old one that was `checked` is still the account's; all its devices but the one
    /// that asks are signed out. Answers those: their sockets are to be closed once the step is committed. Passwords are
    /// PHC strings.
    pub fn change_password(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        (checked, new): (&str, String),
        stays: DeviceId,
        op: Option<OpId>,
    ) -> Result<Vec<Device>, Failure> {
        self.at(now_ms);
        self.hurry();
        if self.is_repeated(reader, user, op)? {
            return Ok(Vec::new());
        }
        if self.active(reader, user)?.password != checked {
            return Err(BAD_CREDENTIALS.into());
        }
        self.change_account(reader, user, |account| account.password = new)?;
        let mut others = self.devices(reader, user)?;
        others.retain(|device| device.id != stays);
        for device in &others {
            self.remove_device(device);
        }
        self.note_own_op(user, op);
        Ok(others)
    }

    /// Whether a user has done this `op` before, where that can be answered without knowing more of the change.
    pub fn has_done(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        op: Option<OpId>,
    ) -> Result<bool, Failure> {
        self.is_repeated(reader, user, op)
    }

    /// A device is in use. Written now and then, with whatever is written next.
    pub fn device_is_seen(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        user: &Local,
        id: DeviceId,
    ) -> Result<(), Fault> {
        self.at(now_ms);
        let Some(device) = self.device(reader, user, id)? else { return Ok(()) };
        if now_ms.saturating_sub(device.seen_at) >= SEEN_MS {
            self.put_device(Device { seen_at: now_ms, ..device });
        }
        Ok(())
    }

    /// Whether nobody has used a device for so long that its token is dead.
    pub fn is_idle(&self, now_ms: u64, device: &Device) -> bool {
        device.seen_at > 0 && now_ms.saturating_sub(device.seen_at) > self.policy.token_idle_ms
    }

    /// Signs devices out that nobody has used for too long, of so many accounts above `after`, by name. `in_use`: those with
    /// an open socket. Answers where to go on, `None` at the end, and how many are gone.
    pub fn expire_devices(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        after: Option<&Local>,
        accounts: usize,
        in_use: impl Fn(&Local, DeviceId) -> bool,
    ) -> Result<(Option<Local>, usize), Fault> {
        self.at(now_ms);
        let page = reader.accounts(after, accounts)?;
        let next = page.last().filter(|_| page.len() == accounts).map(|a| a.local.clone());
        let mut gone = 0;
        for user in page.into_iter().map(|account| account.local) {
            for device in self.devices(reader, &user)? {
                // Of one that was signed in by an older program it is not known: it begins now.
                if device.seen_at == 0 || in_use(&user, device.id) {
                    self.device_is_seen(reader, now_ms, &user, device.id)?;
                } else if self.is_idle(now_ms, &device) {
                    self.remove_device(&device);
                    gone += 1;
                }
            }
        }
        Ok((next, gone))
    }

    fn put_device(&mut self, device: Device) {
        let (user, id, step) = (device.user.clone(), device.id, self.current_step());
        self.device_news.0.push_back((step, user, id, Some(device.clone())));
        self.write(Write::Device(Box::new(device)));
    }

    fn active(&mut self, reader: &dyn Reader, user: &Local) -> Result<&Account, Failure> {
        let account = self.account(reader, user)?;
        account.filter(|account| account.state == AccountState::Active).ok_or(DISABLED.into())
    }
}

const NO_DEVICE: Refusal =
    Refusal::new(Class::NotFound, "device_not_found", "there is no such device of yours");
