//! Who is in a channel, how far each has got, and what each is shown.

use std::collections::VecDeque;

use homing_wire::{Pos, UserRef};
use serde::{Deserialize, Serialize};

/// How far a user has got. Rises only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Everything at or below has reached a device.
    pub delivered: Pos,
    /// Everything at or below was read.
    pub read: Pos,
}

/// When a mark rose, and to what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MarkTime {
    /// Unix milliseconds.
    pub at: u64,
    /// What it rose to.
    pub mark: Mark,
}

/// A member of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub user: UserRef,
    /// How far.
    pub mark: Mark,
    /// `counted` of the channel at `mark.read`: unread is the difference.
    pub read_counted: u64,
    /// Places above `mark.read` that mention the member, at most [`Member::MENTIONS`].
    pub mentions: Vec<Pos>,
    /// The last advances, at most [`Member::TIMES`].
    pub times: VecDeque<MarkTime>,
    /// Places above `mark.read` that the member has hidden, at most [`Member::HIDDEN`].
    pub hidden: Vec<Pos>,
    /// Whether the member has accepted the conversation: false for a first contact that waits, and for somebody
    /// invited into a group.
    pub accepted: bool,
    /// Of a group: the roster version that began what the member is now.
    pub since: u64,
    /// Of a group: left, declined or was removed; what was seen before can still be read.
    pub left: bool,
    /// Of a group: what the member may see, by rising place; none: everything.
    pub spans: Vec<Span>,
    /// The member, a user of this home, has blocked the other party of this chat: what that one writes from now
    /// on is hidden from the member. A copy of the row in the member's list of blocks, so that no message has to
    /// look it up. Never set in groups.
    pub blocking: bool,
    /// Something is hidden from the member, and nothing that came later of the other party has been read.
    pub veil: Option<Veil>,
    /// The member, a user of this home, has read on since it lets others see no more of that
    /// ([`super::Account::read_receipts`]): they are told of what was read up to here. Over with the first thing that is read
    /// when it lets them see again.
    pub discreet: Option<Pos>,
}

/// A part of a log that a member may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// From above here.
    pub above: Pos,
    /// Up to here; `None`: to the end.
    pub upto: Option<Pos>,
}

impl Span {
    /// Whether a place is in it.
    pub fn has(&self, pos: Pos) -> bool {
        pos > self.above && self.upto.is_none_or(|upto| pos <= upto)
    }
}

/// What a member is shown of a chat whose latest messages are hidden from it, because it has blocked their sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Veil {
    /// The first hidden entry. Others are told of the member's marks up to below it: a hidden message is neither
    /// delivered nor read.
    pub from: Pos,
    /// The latest message that the member is shown; 0 where there is none.
    pub last: Pos,
    /// When that came, in Unix milliseconds: the member's list is sorted by it.
    pub active_at: u64,
    /// The whole chat is hidden: it began with a message of somebody whom the member had blocked.
    pub unlisted: bool,
    /// The first message of the other party behind it that is not hidden. Then the member is shown the channel as it
    /// is, and marks from here on are told again.
    pub lifted: Option<Pos>,
}

impl Member {
    /// Spans kept: whoever leaves and comes back more often sees the latest alone.
    pub const SPANS: usize = 16;

    /// Whether the member may see what stands at a place.
    pub fn sees(&self, pos: Pos) -> bool {
        self.spans.is_empty() || self.spans.iter().any(|span| span.has(pos))
    }

    /// Whether the member, a user of this home, wants to be in the group. In it is who is also named by the roster.
    pub fn agrees(&self) -> bool {
        self.spans.last().is_some_and(|span| span.upto.is_none())
    }

    /// Whether the member of a group, a user of this home, has been asked and has not answered.
    pub fn is_asked(&self) -> bool {
        !self.accepted && !self.left && !self.agrees()
    }

    /// Whether the member of a chat, a user of this home, is shown a first contact and has not answered it.
    pub fn is_request(&self) -> bool {
        !self.accepted && !self.blocking && self.is_listed()
    }

    /// The member of a group agrees: what comes above `head` can be seen.
    pub(crate) fn agree(&mut self, head: Pos) {
        self.spans.push(Span { above: head, upto: None });
        let more = self.spans.len().saturating_sub(Self::SPANS);
        self.spans.drain(..more);
    }

    /// The member of a group sees nothing above `head`. There is a span afterwards, for none at all would mean everything.
    pub(crate) fn shut(&mut self, head: Pos) {
        self.mentions.clear();
        for span in self.spans.iter_mut().filter(|span| span.upto.is_none()) {
            span.upto = Some(head);
        }
        if self.spans.is_empty() {
            self.spans.push(Span { above: head, upto: Some(head) });
        }
    }

    /// Times kept of a mark (DESIGN, "Ticks").
    pub const TIMES: usize = 32;
    /// Mentions counted above the read mark; more show as this many.
    pub const MENTIONS: usize = 100;
    /// Hidden messages remembered above the read mark: they only correct how many are unread, and what is hidden has
    /// mostly been read.
    pub const HIDDEN: usize = 100;

    /// A member who has seen nothing yet.
    pub fn new(user: UserRef, accepted: bool) -> Self {
        Self {
            user,
            mark: Mark::default(),
            read_counted: 0,
            mentions: Vec::new(),
            times: VecDeque::new(),
            hidden: Vec::new(),
            accepted,
            since: 0,
            left: false,
            spans: Vec::new(),
            blocking: false,
            veil: None,
            discreet: None,
        }
    }

    /// How far `viewer` is shown that the member has got: itself all of it, others what they are told, and of what was read
    /// nothing where the viewer does not see that ([`super::Account::read_receipts`]).
    pub fn mark_for(&self, viewer: &UserRef, sees_reads: bool) -> Mark {
        if self.user == *viewer {
            return self.mark;
        }
        let mark = self.told(self.mark);
        Mark { read: if sees_reads { mark.read } else { Pos(0) }, ..mark }
    }

    /// The member, a user of this home, is about to read on: others see it, or not.
    pub(crate) fn reads_on(&mut self, shown: bool) {
        let seen = self.discreet.unwrap_or(self.mark.read);
        self.discreet = (!shown).then_some(seen);
    }

    /// How far others are told that the member has got, where the member has got to `mark`.
    pub fn told(&self, mark: Mark) -> Mark {
        let read = self.discreet.map_or(mark.read, |seen| mark.read.min(seen));
        let mark = Mark { read, ..mark };
        let Some(veil) = &self.veil else { return mark };
        let below = Pos(veil.from.0.saturating_sub(1));
        let told = |pos: Pos| match veil.lifted {
            Some(lifted) if pos >= lifted => pos,
            Some(_) | None => pos.min(below),
        };
        Mark { delivered: told(mark.delivered), read: told(mark.read) }
    }

    /// What hides the channel's last message from the member, if it is hidden.
    pub(crate) fn hiding(&self) -> Option<&Veil> {
        self.veil.as_ref().filter(|veil| veil.lifted.is_none())
    }

    /// Whether the channel stands in the member's list.
    pub fn is_listed(&self) -> bool {
        self.veil.is_none_or(|veil| !veil.unlisted)
    }
}
