//! Accounts, devices and `op`s, as older programs wrote them.

use homing_core::{Account, AccountState, Device, GroupsFrom, OpDone, OpWhat, SeenBy, TokenHash};
use homing_wire::{ChannelId, DeviceId, Local, Pos, UserId};
use serde::{Deserialize, Serialize};

/// Before users could say who may add them to groups.
#[derive(Serialize, Deserialize)]
pub(in crate::values) struct AccountV1 {
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
pub(in crate::values) struct DeviceV1 {
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
pub(in crate::values) struct AccountV2 {
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
pub(in crate::values) struct AccountV3 {
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

/// Before users had avatars.
#[derive(Serialize, Deserialize)]
pub(in crate::values) struct AccountV4 {
    local: Local,
    user_id: UserId,
    display_name: String,
    password: String,
    created_at: u64,
    state: AccountState,
    ids_ahead_ms: u64,
    groups_from: GroupsFrom,
    seen_by: SeenBy,
    read_receipts: bool,
}

impl From<AccountV4> for Account {
    fn from(old: AccountV4) -> Self {
        let AccountV4 { local, user_id, display_name, password, created_at, state, .. } = old;
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
            read_receipts: old.read_receipts,
            avatar: None,
        }
    }
}

impl From<AccountV3> for AccountV4 {
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
pub(in crate::values) struct OpDoneV1 {
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

    fn hash(bytes: &[u8]) -> String {
        blake3::hash(bytes).to_hex()[..16].to_owned()
    }

    #[test]
    fn an_account_of_before_has_no_avatar() {
        let new = Account { avatar: None, ..sample::account("alice") };
        let Account { local, user_id, display_name, password, created_at, state, .. } = new.clone();
        let (ids_ahead_ms, groups_from, seen_by) = (new.ids_ahead_ms, new.groups_from, new.seen_by);
        let old = AccountV4 {
            local,
            user_id,
            display_name,
            password,
            created_at,
            state,
            ids_ahead_ms,
            groups_from,
            seen_by,
            read_receipts: new.read_receipts,
        };
        assert_eq!(hash(&encode(&old)), "df4434c606589644", "as it was written then");
        assert_eq!(decode::<Account>(&encode(&old)), Ok(new));
    }

    #[test]
    fn an_account_of_before_shows_what_is_read() {
        let new = Account { read_receipts: true, avatar: None, ..sample::account("alice") };
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

    #[test]
    fn a_device_of_before_is_read_and_not_known_to_be_idle() {
        let new = Device { seen_at: 0, ..sample::device("alice", 1) };
        let Device { id, user, token, name, created_at, .. } = new.clone();
        let old = DeviceV1 { id, user, token, name, created_at };
        assert_eq!(hash(&encode(&old)), "506c35afbfb3ef34", "as it was written then");
        assert_eq!(decode::<Device>(&encode(&old)), Ok(new));
    }

    #[test]
    fn accounts_and_ops_of_before_privacy_are_read() {
        let seen_by = SeenBy::Contacts;
        let new =
            Account { seen_by, read_receipts: true, avatar: None, ..sample::account("alice") };
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
        let new = Account { groups_from, seen_by, read_receipts: true, avatar: None, ..account };
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
