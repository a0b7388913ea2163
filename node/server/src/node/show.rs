//! What clients are shown: the home's state in addresses and views.

use std::sync::Arc;

use bytes::Bytes;
use hashlink::LruCache;
use homing_core::{ChannelState, Fault, Folded, Home, LogEntry, Member, Reader, Sight, Tally};
use homing_link::{
    ChannelKind, ChannelView, MarkView, MessageView, RawJson, ReactionView, RoleView,
};
use homing_wire::{
    ChainPos, ChannelId, HomeId, Kind, Local, Right, Role, Roster, SignedRoster, UserRef,
};
use parking_lot::Mutex;

use super::directory::Directory;

/// Addresses kept written out: those of whoever is talking now.
const ADDRESSES: usize = 10_000;

/// What is shown instead of what is gone.
const DELETED: &[u8] = br#"{"type":"deleted"}"#;

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

    /// This home.
    pub(super) fn own(&self) -> HomeId {
        self.directory.own()
    }

    /// A home, as people know it.
    pub(super) fn home(&self, home: &HomeId) -> String {
        self.directory.show(home)
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

    /// A message as `user` sees it; `rejection`: why another home did not take it.
    pub(super) fn message(
        &self,
        message: &Folded,
        user: &UserRef,
        rejection: Option<&str>,
    ) -> MessageView {
        let entry = &message.entry;
        let plain = self.plain(entry, rejection);
        if rejection.is_some() || message.fold.is_none() {
            return plain;
        }
        let deleted = || RawJson(Bytes::from_static(DELETED));
        match message.seen_by(user) {
            Sight::Shown { body, edited_at, reactions } => {
                let reactions = reactions.into_iter().map(|tally| {
                    let Tally { emoji, count, mine } = tally;
                    ReactionView { emoji, count, mine }
                });
                let (body, reactions) = (RawJson(body), reactions.collect());
                MessageView { body, edited_at, reactions, ..plain }
            }
            Sight::Deleted => MessageView { body: deleted(), ..plain },
            Sight::Hidden => MessageView { body: deleted(), status: Some("hidden"), ..plain },
        }
    }

    /// A message of which nothing has come, as everybody sees it; one that was erased came so.
    pub(super) fn plain(&self, entry: &LogEntry, rejection: Option<&str>) -> MessageView {
        let header = &entry.event.header;
        let sender = if header.origin == HomeId::LOCAL {
            self.directory.show(&self.directory.own()).into()
        } else {
            self.address(&header.user())
        };
        let body = if rejection.is_some() || entry.event.is_erased() {
            Bytes::from_static(DELETED)
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
            edited_at: None,
            reactions: Vec::new(),
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
        let roster = home.roster_of(reader, id)?;
        let own = home.own_view(reader, user, id)?;
        let draft = home.draft(reader, user, id)?;
        let sees_reads = home.shows_reads(reader, user)?;
        let Some(state) = home.channel(reader, id)? else { return Ok(None) };
        // Of one that was declined, other devices are told that it is left.
        let shown = |member: &&Member| member.is_listed() || member.has_declined();
        let Some(member) = state.member(&me).filter(shown) else {
            return Ok(None);
        };
        let last = last.filter(|last| member.sees(last.entry.pos)).map(|last| {
            let reason = state.rejection(last.entry.pos);
            let reason = reason.or_else(|| unfit(&last.entry, roster.as_deref()));
            self.message(&last, &me, reason)
        });
        let view = ChannelView {
            muted_until: own.muted_until,
            archived: own.archived,
            pinned: own.pinned,
            draft,
            marked_unread: own.marked_unread,
            ..self.view(state, member, last, sees_reads)
        };
        Ok(Some(match roster {
            Some(signed) => self.as_group(view, state, member, signed.roster()),
            None => view,
        }))
    }

    fn view(
        &self,
        state: &ChannelState,
        member: &Member,
        last: Option<MessageView>,
        sees_reads: bool,
    ) -> ChannelView {
        let me = &member.user;
        ChannelView {
            channel: state.id,
            kind: ChannelKind::Chat,
            name: None,
            avatar: None,
            with: state.other(me).map(|m| self.address(&m.user).to_string()),
            state: match (member.accepted, member.has_declined()) {
                (true, _) => homing_link::ChannelState::Active,
                (false, true) => homing_link::ChannelState::Left,
                (false, false) => homing_link::ChannelState::Request,
            },
            role: None,
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
                    let mark = m.mark_for(me, sees_reads);
                    MarkView {
                        user: self.address(&m.user).to_string(),
                        delivered: mark.delivered.0,
                        read: mark.read.0,
                    }
                })
                .collect(),
            muted_until: None,
            archived: false,
            pinned: false,
            draft: None,
            marked_unread: false,
            roster: None,
            owner_home: None,
            continues: None,
            continued_by: None,
        }
    }

    /// What is different where the channel is a group.
    fn as_group(
        &self,
        view: ChannelView,
        state: &ChannelState,
        member: &Member,
        roster: &Roster,
    ) -> ChannelView {
        use homing_link::ChannelState as Shown;
        let group = state.group.as_ref();
        let people = roster.present().filter(|t| t.role >= Role::Member).count();
        ChannelView {
            kind: ChannelKind::Group,
            name: Some(roster.name.clone()),
            avatar: roster.avatar.as_ref().map(|file| self.group_avatar(file)),
            with: None,
            state: match (member.left, member.accepted) {
                (true, _) => Shown::Left,
                (false, true) => Shown::Active,
                (false, false) => Shown::Invited,
            },
            role: roster.role(&member.user).filter(|_| !member.left).map(role_view),
            member_count: u32::try_from(people).unwrap_or(u32::MAX),
            marks: Vec::new(),
            roster: Some(roster.version),
            owner_home: Some(self.directory.show(&roster.owner)),
            continues: group.and_then(|group| group.continues),
            continued_by: group.and_then(|group| group.continued_by),
            ..view
        }
    }
}

/// A role as clients have it.
pub(super) fn role_view(role: Role) -> RoleView {
    match role {
        Role::Invited => RoleView::Invited,
        Role::Member => RoleView::Member,
        Role::Admin => RoleView::Admin,
        Role::Owner => RoleView::Owner,
    }
}

/// Why a message of a group does not count under its roster, if it does not.
pub(super) fn unfit(entry: &LogEntry, roster: Option<&SignedRoster>) -> Option<&'static str> {
    let header = &entry.event.header;
    let roster = roster.filter(|_| header.origin != HomeId::LOCAL)?.roster();
    let at = ChainPos { epoch: header.epoch, seq: header.seq };
    roster.may(&header.user(), Right::Write, header.roster, at).err().map(|_| "no_right")
}

/// Whether an entry stands in a list by itself: messages, and notices that are about no message.
pub(super) fn shows(entry: &LogEntry) -> bool {
    let header = &entry.event.header;
    header.kind.is_message() || (header.kind == Kind::Notice && header.target.is_none())
}
