//! What clients are shown: the home's state in addresses and views.

use std::sync::Arc;

use hashlink::LruCache;
use homing_core::{ChannelState, Fault, Home, LogEntry, Reader};
use homing_link::{ChannelKind, ChannelView, MarkView, MessageView, RawJson};
use homing_wire::{ChannelId, Local, UserRef};
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

    /// A message.
    pub(super) fn message(&self, entry: &LogEntry) -> MessageView {
        let header = &entry.event.header;
        MessageView {
            channel: header.channel,
            pos: entry.pos.0,
            order: header.order(),
            id: header.id,
            sender: self.address(&header.user()),
            sent_at: header.stamp.ms(),
            body: RawJson(entry.event.body.clone()),
            late: entry.is_late(),
            status: None,
            reason: None,
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
        let last = home.last_message(reader, id)?.map(|entry| self.message(&entry));
        let Some(state) = home.channel(reader, id)? else { return Ok(None) };
        Ok(self.view(state, &me, last))
    }

    fn view(
        &self,
        state: &ChannelState,
        me: &UserRef,
        last: Option<MessageView>,
    ) -> Option<ChannelView> {
        let member = state.member(me)?;
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
            mentions: member.mentions.len() as u64,
            last,
            marks: state
                .members
                .iter()
                .map(|m| MarkView {
                    user: self.address(&m.user).to_string(),
                    delivered: m.mark.delivered.0,
                    read: m.mark.read.0,
                })
                .collect(),
        })
    }
}
