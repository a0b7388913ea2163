//! What clients are shown: the home's state in addresses and views.

use std::sync::Arc;

use bytes::Bytes;
use hashlink::LruCache;
use homing_core::{ChannelState, Fault, Home, LogEntry, Reader};
use homing_link::{ChannelKind, ChannelView, MarkView, MessageView, RawJson};
use homing_wire::{ChannelId, HomeId, Kind, Local, UserRef};
use parking_lot::Mutex;

use super::directory::Directory;

/// Addresses kept written out: those of whoever is talking now.
const ADDRESSES: usize = 10_000;

/// Writes views. Cheap to clone; clones share their memory of addresses.
#[derive(Clone)]
pub(super) struct Shower {
    directory: Directory,
    addresses: Arc<Mutex<LruCache<UserRef, Arc<str>>>>,
}

impl Shower {
    pub(super) fn new(directory: Directory) -> Self {
        Self { directory, addresses: Arc::new(Mutex::new(LruCache::new(ADDRESSES))) }
    }

    /// A user's address.
    pub(super) fn address(&self, user: &UserRef) -> Arc<str> {
        let mut addresses = self.addresses.lock();
        if let Some(address) = addresses.get(user) {
            return address.clone();
        }
        let address: Arc<str> = self.directory.address(user).into();
        addresses.insert(user.clone(), address.clone());
        address
    }

    /// A message; `rejection`: why another home did not take it.
    pub(super) fn message(&self, entry: &LogEntry, rejection: Option<&str>) -> MessageView {
        let header = &entry.event.header;
        let sender = if header.origin == HomeId::LOCAL {
            self.directory.show(&self.directory.own()).into()
        } else {
            self.address(&header.user())
        };
        let body = if rejection.is_some() {
            Bytes::from_static(br#"{"type":"deleted"}"#)
        } else {
            entry.event.body.clone()
        };
        MessageView {
            channel: header.channel,
            pos: entry.pos.0,
            order: header.order(),
            id: header.id,
            sender,
            sent_at: header.stamp.ms(),
            body: RawJson(body),
            late: entry.is_late(),
            status: rejection.map(|_| "rejected"),
            reason: rejection.map(Into::into),
        }
    }

    /// A channel as that user sees it; `None` where the user is not in it.
    pub(super) fn channel(
        &self,
        home: &mut Home,
        reader: &dyn Reader,
        user: &Local,
        id: ChannelId,
    ) -> Result<Option<ChannelView>, Fault> {
        let me = home.user(user);
        let last = home.last_message(reader, id, &me)?;
        let Some(state) = home.channel(reader, id)? else { return Ok(None) };
        let last = last.map(|entry| self.message(&entry, state.rejection(entry.pos)));
        Ok(self.view(state, &me, last))
    }

    fn view(
        &self,
        state: &ChannelState,
        me: &UserRef,
        last: Option<MessageView>,
    ) -> Option<ChannelView> {
        let member = state.member(me).filter(|member| member.is_listed())?;
        Some(ChannelView {
            channel: state.id,
            kind: ChannelKind::Chat,
            with: state.other(me).map(|m| self.address(&m.user).to_string()),
            state: if member.accepted {
                homing_link::ChannelState::Active
            } else {
                homing_link::ChannelState::Request
            },
            member_count: u32::try_from(state.members.len()).unwrap_or(u32::MAX),
            head: state.head.0,
            read: member.mark.read.0,
            unread: state.unread(member),
            mentions: if member.blocking { 0 } else { member.mentions.len() as u64 },
            last,
            marks: state
                .members
                .iter()
                .map(|m| {
                    let mark = if m.user == *me { m.mark } else { m.told(m.mark) };
                    MarkView {
                        user: self.address(&m.user).to_string(),
                        delivered: mark.delivered.0,
                        read: mark.read.0,
                    }
                })
                .collect(),
        })
    }
}

/// Whether an entry stands in a list by itself: messages, and notices that are about no message.
pub(super) fn shows(entry: &LogEntry) -> bool {
    let header = &entry.event.header;
    header.kind.is_message() || (header.kind == Kind::Notice && header.target.is_none())
}
