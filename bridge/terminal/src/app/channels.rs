//! The user's conversations: how they stand, and in which order they are shown.

use std::collections::HashMap;

use homing_client::{Body, Channel, ChannelKind, ChannelState, Mark, Message, Receipt, Uuid};

/// What is known of all conversations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channels {
    rows: HashMap<Uuid, Channel>,
    /// Pinned ones first, then what waits for an answer, then the latest.
    sorted: Vec<Uuid>,
    stale: bool,
}

impl Channels {
    pub(crate) fn get(&self, channel: Uuid) -> Option<&Channel> {
        self.rows.get(&channel)
    }

    /// All, as they are shown: call [`Channels::sort`] after changes.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = &Channel> {
        self.sorted.iter().filter_map(|channel| self.rows.get(channel))
    }

    /// The chat with that address.
    pub(crate) fn with(&self, address: &str) -> Option<&Channel> {
        let is = |channel: &&Channel| {
            channel.with.as_deref().is_some_and(|with| with.eq_ignore_ascii_case(address))
        };
        self.rows.values().find(is)
    }

    /// A conversation as the home has it now. A chat that was declined goes.
    pub(crate) fn put(&mut self, mut channel: Channel) {
        if channel.kind == ChannelKind::Chat && channel.state == ChannelState::Left {
            self.remove(channel.channel);
            return;
        }
        // Of groups the marks come one by one, with no channel.
        if channel.marks.is_empty()
            && let Some(known) = self.rows.get_mut(&channel.channel)
        {
            channel.marks = std::mem::take(&mut known.marks);
        }
        self.rows.insert(channel.channel, channel);
        self.stale = true;
    }

    pub(crate) fn remove(&mut self, channel: Uuid) {
        self.stale |= self.rows.remove(&channel).is_some();
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Somebody has got further.
    pub(crate) fn mark(&mut self, receipt: &Receipt) {
        let Some(channel) = self.rows.get_mut(&receipt.channel) else { return };
        let Receipt { user, delivered, read, .. } = receipt;
        match channel.marks.iter_mut().find(|mark| mark.user == *user) {
            Some(mark) => {
                mark.delivered = mark.delivered.max(*delivered).max(*read);
                mark.read = mark.read.max(*read);
            }
            None => {
                let (user, delivered) = (user.clone(), (*delivered).max(*read));
                channel.marks.push(Mark { user, delivered, read: *read });
            }
        }
    }

    /// A message that was told. Homes tell a channel with it where more than the message has changed; the rest is counted
    /// here. `false`: what that changes is not known, the channel is to be asked for.
    pub(crate) fn told(&mut self, message: &Message, body: &Body, me: &str) -> bool {
        let Some(channel) = self.rows.get_mut(&message.channel) else { return false };
        let reach = message.at.unwrap_or(message.pos);
        let is_new = message.at.is_none() && message.pos > channel.head;
        channel.head = channel.head.max(reach);
        if let Some(last) = &mut channel.last
            && last.order == message.order
        {
            *last = message.clone();
        }
        let foreign = message.sender != me;
        if !is_new {
            // What was unread may be so no more: only the home knows what it had counted.
            let gone = message.status.is_some() || *body == Body::Deleted;
            return !(gone && foreign && message.pos > channel.read);
        }
        if channel.last.as_ref().is_none_or(|last| last.order < message.order) {
            channel.last = Some(message.clone());
            self.stale = true;
        }
        let (counts, mentions) = match body {
            Body::Text { mentions, .. } => (true, mentions.as_slice()),
            Body::Media { .. } | Body::Other => (true, [].as_slice()),
            Body::Deleted | Body::Notice => (false, [].as_slice()),
        };
        if counts && foreign && message.status.is_none() && message.pos > channel.read {
            channel.unread += 1;
            // How an address is written is the home's to know.
            return mentions.is_empty();
        }
        true
    }

    /// What the home has stored of the user's own. `false`: the channel is to be asked for, as writing reads.
    pub(crate) fn sent(&mut self, message: &Message) -> bool {
        let Some(channel) = self.rows.get_mut(&message.channel) else { return false };
        channel.head = channel.head.max(message.pos);
        if channel.last.as_ref().is_none_or(|last| last.order < message.order) {
            channel.last = Some(message.clone());
            self.stale = true;
        }
        if channel.unread > 0 || channel.marked_unread || channel.state != ChannelState::Active {
            return false;
        }
        channel.read = channel.read.max(message.pos);
        true
    }

    /// Puts them into the order in which they are shown, where something has changed.
    pub(crate) fn sort(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let mut keys: Vec<_> = self
            .rows
            .values()
            .map(|channel| {
                let latest = channel.last.as_ref().map_or(0, |last| last.sent_at);
                let rank = match (channel.pinned, is_asking(channel)) {
                    (true, _) => 0,
                    (false, true) => 1,
                    (false, false) => 2,
                };
                (rank, std::cmp::Reverse(latest), channel.channel)
            })
            .collect();
        keys.sort_unstable();
        self.sorted = keys.into_iter().map(|(.., channel)| channel).collect();
    }
}

/// It waits for a yes or a no.
pub(crate) fn is_asking(channel: &Channel) -> bool {
    matches!(channel.state, ChannelState::Request | ChannelState::Invited)
}

/// Muted now. `server_ms`: the home's clock.
pub(crate) fn is_muted(channel: &Channel, server_ms: u64) -> bool {
    channel.muted_until.is_some_and(|until| until > server_ms)
}

/// How far a message of the user's own has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tick {
    Sent,
    Delivered,
    Read,
}

impl Tick {
    /// In a group: what all of them have.
    pub(crate) fn of(channel: &Channel, pos: u64, me: &str) -> Self {
        let others = || channel.marks.iter().filter(|mark| mark.user != me);
        let known = others().count() as u64;
        if known == 0 || (channel.kind == ChannelKind::Group && known + 1 < channel.member_count) {
            return Self::Sent;
        }
        if others().all(|mark| mark.read >= pos) {
            Self::Read
        } else if others().all(|mark| mark.delivered >= pos) {
            Self::Delivered
        } else {
            Self::Sent
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scene::{ME, channel, message_of};

    #[test]
    fn pinned_ones_come_first_then_what_waits_then_the_latest() {
        let mut channels = Channels::default();
        for (n, more) in [
            (1, json!({"last": message_of(1, "bob@globex.test", 5)})),
            (2, json!({"last": message_of(2, "bob@globex.test", 9)})),
            (3, json!({"pinned": true})),
            (4, json!({"state": "invited", "kind": "group", "name": "g"})),
        ] {
            channels.put(channel(n, more));
        }
        channels.sort();
        let order: Vec<_> = channels.sorted().map(|c| c.channel.as_u128()).collect();
        assert_eq!(order, [3, 4, 2, 1]);
        channels.put(channel(1, json!({"state": "left"})));
        channels.sort();
        assert_eq!(channels.sorted().count(), 3, "a declined request goes");
    }

    #[test]
    fn a_group_is_read_when_everybody_has_read() {
        let mut channels = Channels::default();
        channels
            .put(channel(1, json!({"kind": "group", "name": "g", "member_count": 3, "head": 9})));
        let receipt = |user: &str, delivered, read| Receipt {
            channel: Uuid::from_u128(1),
            user: user.into(),
            delivered,
            read,
            at: 0,
            sync: None,
        };
        let tick = |channels: &Channels| Tick::of(channels.get(Uuid::from_u128(1)).unwrap(), 4, ME);
        channels.mark(&receipt("bob@globex.test", 0, 9));
        assert_eq!(tick(&channels), Tick::Sent);
        channels.mark(&receipt("carol@acme.test", 4, 0));
        assert_eq!(tick(&channels), Tick::Delivered);
        channels.mark(&receipt("carol@acme.test", 4, 4));
        // What is older never takes anything back.
        channels.mark(&receipt("carol@acme.test", 1, 1));
        assert_eq!(tick(&channels), Tick::Read);
    }
}
