//! A store in maps: what is committed, and the invariants that every commit must keep.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use homing_core::{
    Account, AccountState, Batch, ChannelState, Deleted, Device, EntryRow, Fault, Fold, Invite,
    ListRow, LogEntry, Mark, MediaId, MediaState, MessageKey, OpDone, OwnView, PeerState, Reacted,
    Reader, ShownTo, TokenHash, UserList, Write, named_by,
};
use homing_wire::{
    Body, ChainPos, ChannelId, Checker, DeviceId, Epoch, Hash, Head, HomeId, Kind, Local, OpId,
    Pos, Right, Seq, SignedRoster, Stamp, UserRef, read_proof,
};
use uuid::Uuid;

use crate::node::Seal;

/// Entries that change messages, by message.
type Changes<'a> = BTreeMap<MessageKey, Vec<&'a LogEntry>>;
/// Entries of a channel by (origin, epoch, seq).
type Rows = BTreeMap<(HomeId, Epoch, Seq), Pos>;

#[derive(Clone, Default)]
pub(crate) struct TestStore {
    pub(crate) change: u64,
    pub(crate) stamp: Stamp,
    pub(crate) channels: BTreeMap<ChannelId, ChannelState>,
    pub(crate) logs: BTreeMap<ChannelId, BTreeMap<Pos, LogEntry>>,
    rows: BTreeMap<ChannelId, Rows>,
    places: BTreeMap<MessageKey, (ChannelId, Pos)>,
    folds: BTreeMap<(ChannelId, Pos), Fold>,
    listings: BTreeMap<(Local, ChannelId), ListRow>,
    accounts: BTreeMap<Local, Account>,
    devices: BTreeMap<(Local, DeviceId), Device>,
    invites: BTreeMap<TokenHash, Invite>,
    pub(crate) owed: BTreeMap<(HomeId, ChannelId), u64>,
    pub(crate) asked: BTreeSet<(HomeId, Local, ChannelId)>,
    pub(crate) erasures: BTreeMap<(ChannelId, Pos), u64>,
    pub(crate) medias: BTreeMap<Uuid, MediaState>,
    pub(crate) named: BTreeSet<(MediaId, ChannelId, Pos)>,
    pub(crate) peers: BTreeMap<HomeId, PeerState>,
    pub(crate) rosters: BTreeMap<ChannelId, Bytes>,
    pub(crate) letters: BTreeMap<(HomeId, u64), Bytes>,
    ops: BTreeMap<(Local, OpId), OpDone>,
    seen: BTreeMap<Local, u64>,
    pub(crate) lists: BTreeMap<(UserList, Local, UserRef), u64>,
    pub(crate) own_views: BTreeMap<(Local, ChannelId), OwnView>,
    pub(crate) drafts: BTreeMap<(Local, ChannelId), String>,
    pub(crate) words: BTreeSet<(String, Local)>,
    /// Channels of which somebody's own view has ever changed.
    viewed: BTreeSet<ChannelId>,
    /// Chats of two of whom one has ever blocked the other, or declined what the other began.
    blocked: BTreeSet<ChannelId>,
}

impl TestStore {
    /// Applies a batch; panics where it breaks what a store rests on.
    pub(crate) fn commit(&mut self, home: HomeId, epoch: Epoch, batch: &Batch) {
        assert!(batch.change >= self.change, "change numbers fell");
        assert!(batch.stamp >= self.stamp, "stamps fell");
        (self.change, self.stamp) = (batch.change, batch.stamp);
        let mut touched = Vec::new();
        for write in &batch.writes {
            match write {
                Write::Entry(entry) => {
                    let log = self.logs.entry(entry.channel()).or_default();
                    let known = self.channels.get(&entry.channel()).map_or(Pos(0), |s| s.head);
                    let last = log.keys().next_back().copied().unwrap_or(known);
                    assert_eq!(entry.pos, last.next(), "a gap in a log");
                    log.insert(entry.pos, (**entry).clone());
                    for media in named_by(entry) {
                        self.named.insert((media.into(), entry.channel(), entry.pos));
                    }
                    let header = &entry.event.header;
                    let sender = header.user();
                    let blocked = self.lists.keys().any(|(list, owner, other)| {
                        let chat = || ChannelId::chat(&UserRef::new(home, owner.clone()), other);
                        *list == UserList::Blocks && *other == sender && chat() == entry.channel()
                    });
                    let declined = || {
                        let now = batch.writes.iter().filter_map(|write| {
                            if let Write::Channel(state) = write { Some(&**state) } else { None }
                        });
                        let before = self.channels.values();
                        let mut states = now.chain(before).filter(|s| s.id == entry.channel());
                        states.any(|s| s.members.iter().any(|m| m.blocking && !m.accepted))
                    };
                    let own = header.origin == HomeId::LOCAL && entry.changes().is_some();
                    let hidden = blocked || own || (entry.hidden && declined());
                    assert_eq!(
                        entry.hidden, hidden,
                        "hidden: what a blocked or declined user writes"
                    );
                    let row = (header.origin, header.epoch, header.seq);
                    let rows = self.rows.entry(entry.channel()).or_default();
                    assert_eq!(rows.insert(row, entry.pos), None, "an event is stored twice");
                    let key = MessageKey::new(&header.user(), &header.id);
                    let before = self.places.insert(key, (entry.channel(), entry.pos));
                    assert_eq!(before, None, "a message is stored twice");
                    touched.push(entry.channel());
                }
                Write::Fold { channel, pos, fold } => {
                    self.folds.insert((*channel, *pos), (**fold).clone());
                    touched.push(*channel);
                }
                Write::Channel(state) => {
                    let before = self.channels.insert(state.id, (**state).clone());
                    if state.members.iter().any(|member| member.has_declined()) {
                        self.blocked.insert(state.id);
                    }
                    marks_rise(before.as_ref(), state);
                    touched.push(state.id);
                }
                Write::Pruned { channel, upto } => {
                    self.prune(*channel, *upto);
                    touched.push(*channel);
                }
                Write::Listing { user, row } => {
                    self.listings.insert((user.clone(), row.channel), *row);
                    touched.push(row.channel);
                }
                Write::Account(account) => {
                    self.accounts.insert(account.local.clone(), (**account).clone());
                }
                Write::Device(device) => {
                    self.devices.insert((device.user.clone(), device.id), (**device).clone());
                }
                Write::DeviceGone { user, device, .. } => {
                    self.devices.remove(&(user.clone(), *device));
                }
                Write::Invite(invite) => {
                    self.invites.insert(invite.code, (**invite).clone());
                }
                Write::InviteGone(code) => {
                    self.invites.remove(code);
                }
                Write::Owed { peer, channel, since } => {
                    match since {
                        Some(since) => self.owed.insert((*peer, *channel), *since),
                        None => self.owed.remove(&(*peer, *channel)),
                    };
                    touched.push(*channel);
                }
                Write::Media(media) => {
                    self.medias.insert(media.id, (**media).clone());
                }
                Write::MediaGone { id, .. } => {
                    assert!(self.medias.remove(id).is_some(), "a file goes once");
                }
                Write::Named { media, channel, pos, there } => {
                    let row = (*media, *channel, *pos);
                    let _same =
                        if *there { self.named.insert(row) } else { self.named.remove(&row) };
                }
                Write::Erase { channel, pos, since } => {
                    match since {
                        Some(since) => self.erasures.insert((*channel, *pos), *since),
                        None => self.erasures.remove(&(*channel, *pos)),
                    };
                }
                Write::Unanswered { home, user, channel, open } => {
                    let row = (*home, user.clone(), *channel);
                    let changed =
                        if *open { self.asked.insert(row) } else { self.asked.remove(&row) };
                    assert!(changed, "what is not answered is noted once");
                    touched.push(*channel);
                }
                Write::Roster { channel, signed } => {
                    self.rosters.insert(*channel, signed.clone());
                }
                Write::Letter { peer, number, letter } => {
                    self.letters.insert((*peer, *number), letter.clone());
                }
                Write::LetterGone { peer, number } => {
                    let known = self.letters.remove(&(*peer, *number));
                    assert!(known.is_some(), "a letter goes that was not there");
                }
                Write::Peer(peer) => {
                    self.peers.insert(peer.home, (**peer).clone());
                }
                Write::OwnView { user, channel, view } => {
                    let key = (user.clone(), *channel);
                    match view {
                        Some(view) => {
                            assert_ne!(
                                *view,
                                OwnView::default(),
                                "what is like everybody's is not kept"
                            );
                            self.own_views.insert(key, *view);
                        }
                        None => {
                            self.own_views.remove(&key);
                        }
                    }
                    self.viewed.insert(*channel);
                }
                Write::Draft { user, channel, text } => {
                    let key = (user.clone(), *channel);
                    match text {
                        Some(text) => self.drafts.insert(key, text.to_string()),
                        None => self.drafts.remove(&key),
                    };
                    self.viewed.insert(*channel);
                }
                Write::Word { word, user, there } => {
                    let row = (word.clone(), user.clone());
                    let changed =
                        if *there { self.words.insert(row) } else { self.words.remove(&row) };
                    assert!(changed, "a word is noted once: {word}");
                }
                Write::Op { user, op, done } => {
                    self.ops.insert((user.clone(), *op), done.clone());
                }
                Write::OpGone { user, op } => {
                    self.ops.remove(&(user.clone(), *op));
                }
                Write::Seen { user, at } => {
                    match at {
                        Some(at) => self.seen.insert(user.clone(), *at),
                        None => self.seen.remove(user),
                    };
                }
                Write::Listed { list, owner, other, since } => {
                    let key = (*list, owner.clone(), other.clone());
                    match since {
                        Some(since) => self.lists.insert(key, *since),
                        None => self.lists.remove(&key),
                    };
                    if *list == UserList::Blocks {
                        let owner = UserRef::new(home, owner.clone());
                        self.blocked.insert(ChannelId::chat(&owner, other));
                    }
                }
            }
        }
        let words = self.accounts.values().flat_map(|account| {
            homing_core::words_of(account).into_iter().map(|word| (word, account.local.clone()))
        });
        assert_eq!(words.collect::<BTreeSet<_>>(), self.words, "by which words people are found");
        let drafted = self.own_views.iter().filter(|(_, view)| view.drafted).map(|(key, _)| key);
        assert!(drafted.eq(self.drafts.keys()), "a draft, and that there is one");
        touched.sort_unstable();
        touched.dedup();
        for channel in touched {
            self.check_channel(home, epoch, channel);
        }
    }

    fn prune(&mut self, channel: ChannelId, upto: Pos) {
        let log = self.logs.entry(channel).or_default();
        let kept = log.split_off(&upto.next());
        for entry in std::mem::replace(log, kept).into_values() {
            let header = &entry.event.header;
            self.places.remove(&MessageKey::new(&header.user(), &header.id));
            let row = (header.origin, header.epoch, header.seq);
            self.rows.get_mut(&channel).unwrap().remove(&row);
            self.folds.remove(&(channel, entry.pos));
        }
    }

    /// What a channel's state says is what its log says, counted the slow way.
    fn check_channel(&self, home: HomeId, epoch: Epoch, id: ChannelId) {
        let state = &self.channels[&id];
        let empty = BTreeMap::new();
        let log = self.logs.get(&id).unwrap_or(&empty);
        let messages = || log.values().filter(|e| e.event.header.kind.is_message());
        assert_eq!(state.head.0, state.pruned.0 + log.len() as u64);
        assert_eq!(log.keys().next().map_or(state.head.0, |pos| pos.0 - 1), state.pruned.0);
        match messages().last() {
            Some(last) => assert_eq!((state.last, state.counted), (last.pos, last.counted)),
            None => assert!(state.last <= state.pruned),
        }
        let unfit = self.unfit(id, log);
        let changes = changes_in(log, &unfit);
        let since = state.group.as_ref().map_or(0, |group| group.since);
        let whole = state.pruned == Pos(0);
        let mut before = whole.then_some(0);
        let mut old_news = BTreeSet::new();
        for entry in log.values() {
            let is_message = entry.event.header.kind.is_message() && !entry.hidden;
            // Deleted before it came, it never counts.
            let is_message = is_message && !was_deleted_before(&changes, entry);
            let counts = before.map_or(is_message, |before| entry.counted > before);
            // Of what is from before this home was in a group, and of what may have come without its body, what it was when it
            // came decides.
            let open = entry.event.header.roster < since || entry.event.is_erased();
            assert!(counts == is_message || (is_message && open));
            if is_message && !counts {
                old_news.insert(entry.pos);
            }
            before = Some(entry.counted);
        }
        let first = log.values().next().filter(|_| !whole);
        let gone = first.map_or(if whole { 0 } else { state.counted }, |first| {
            let counts = first.event.header.kind.is_message() && !first.hidden;
            first.counted - u64::from(counts && !was_deleted_before(&changes, first))
        });
        let news = || messages().filter(|e| !old_news.contains(&e.pos));
        if whole || since == 0 {
            let counted = news().filter(|e| !e.hidden && !was_deleted_before(&changes, e));
            assert_eq!(state.counted - gone, counted.count() as u64);
        }
        assert!(state.changed <= self.change);
        check_chains(home, epoch, state, log);
        for entry in messages() {
            self.check_fold(&changes, entry);
        }
        for member in &state.members {
            assert!(
                member.mark.delivered >= member.mark.read && member.mark.delivered <= state.head
            );
            let times: Vec<Mark> = member.times.iter().map(|t| t.mark).collect();
            assert!(times.is_sorted_by(|a, b| a.read <= b.read && a.delivered <= b.delivered));
            assert!(member.times.iter().map(|t| t.at).is_sorted());
            // Whoever is not in a group (any more) is shown nothing new of it.
            let out = state.group.is_some() && (member.left || !member.accepted);
            if member.user.home != home || out {
                assert!(!out || state.unread(member) == 0);
                continue;
            }
            let turned = |e: &&LogEntry| unfit.contains(&e.pos);
            let hidden = |e: &&LogEntry| self.fold_of(e).is_hidden_from(&member.user.local);
            let deleted = |e: &&LogEntry| self.fold_of(e).deleted == Deleted::ForAll;
            let shown = || {
                news().filter(|e| e.is_shown_to(&member.user)).filter(|e| !hidden(e) && !deleted(e))
            };
            let unread = shown()
                .filter(|e| e.pos > member.mark.read && e.event.header.user() != member.user)
                .filter(|e| !turned(e))
                .count() as u64;
            let unread = if member.blocking { 0 } else { unread };
            assert_eq!(state.unread(member), unread, "unread of {:?}", member.user);
            let mentions: Vec<Pos> = shown()
                .filter(|e| e.pos > member.mark.read)
                .filter(|e| e.event.header.mentions.contains(&member.user))
                .filter(|e| {
                    let edit = self.fold_of(e).edit.map(|edit| &log[&edit.pos].event.header);
                    edit.is_none_or(|edit| edit.mentions.contains(&member.user))
                })
                .map(|e| e.pos)
                .collect();
            assert_eq!(member.mentions, mentions);
            let deleted = self.accounts[&member.user.local].state == AccountState::Deleted;
            let blocking = state.other(&member.user).is_some_and(|other| {
                let key = (UserList::Blocks, member.user.local.clone(), other.user.clone());
                state.group.is_none() && self.lists.contains_key(&key)
            });
            let declined = member.blocking && !member.accepted;
            assert!(deleted || member.blocking == blocking || declined, "a block, and its copy");
            let last = state.last_for(member);
            let latest = messages().filter(|e| e.is_shown_to(&member.user)).last();
            assert!(latest.map_or(last <= state.pruned, |e| e.pos == last), "the last");
            let row = self.listings.get(&(member.user.local.clone(), id));
            let has_row = member.is_listed() || member.has_declined();
            assert_eq!(row.is_some(), has_row, "in the member's list");
            if let Some(row) = row {
                assert_eq!(row.active_at, state.active_for(member));
                assert!(row.changed <= state.changed);
                // What one hides is seen by that one alone.
                let hides = log.values().any(|e| e.hidden);
                let differs = self.blocked.contains(&id)
                    || self.viewed.contains(&id)
                    || state.group.is_some()
                    || hides;
                assert!(row.changed == state.changed || differs);
            }
        }
        for member in state.members.iter().filter(|m| m.user.home == home) {
            let (asker, open) = match &state.group {
                Some(of) => (Some(of.owner), member.is_asked()),
                None => (state.other(&member.user).map(|m| m.user.home), member.is_request()),
            };
            let Some(asker) = asker.filter(|asker| *asker != home) else { continue };
            let row = (asker, member.user.local.clone(), id);
            assert_eq!(self.asked.contains(&row), open, "what is not answered");
        }
        for cursor in &state.cursors {
            let written = state.chain(&home, cursor.epoch).map_or(Seq(0), |c| c.seq);
            assert!(cursor.epoch <= epoch && cursor.acked <= written);
            let mut own = state.chains.iter().filter(|c| c.origin == home);
            let behind = cursor.acked < written || own.any(|c| c.epoch > cursor.epoch);
            let roster = state.group.as_ref();
            let roster = roster.is_some_and(|g| g.owner == home && cursor.roster < g.version);
            let takes = cursor.refused.is_none() && !cursor.outside;
            let owed = (takes && (behind || cursor.marks_owed)) || roster;
            assert_eq!(cursor.owed_since.is_some(), owed, "owed, says the cursor");
            assert_eq!(self.owed.get(&(cursor.home, id)).copied(), cursor.owed_since, "owed rows");
        }
        assert!(state.rejected.len() <= ChannelState::REJECTED);
        assert!(state.rejected.iter().all(|(pos, _)| *pos > state.pruned && *pos <= state.head));
    }

    /// What is kept of what came of a message.
    fn fold_of(&self, message: &LogEntry) -> Fold {
        self.folds.get(&(message.channel(), message.pos)).cloned().unwrap_or_default()
    }

    /// Entries that do not count under the roster that is held.
    fn unfit(&self, id: ChannelId, log: &BTreeMap<Pos, LogEntry>) -> BTreeSet<Pos> {
        let Some(signed) = self.rosters.get(&id) else { return BTreeSet::new() };
        let signed = SignedRoster::stored(signed.clone()).unwrap();
        let unfit = |e: &&LogEntry| {
            let h = &e.event.header;
            let at = ChainPos { epoch: h.epoch, seq: h.seq };
            let others = h.target.as_ref().is_some_and(|target| target.sender != h.user());
            let moderates = h.kind == Kind::Delete && others;
            let right = if moderates { Right::Moderate } else { Right::Write };
            let local = h.origin == HomeId::LOCAL;
            !local && signed.roster().may(&h.user(), right, h.roster, at).is_err()
        };
        log.values().filter(unfit).map(|e| e.pos).collect()
    }

    /// What is kept beside a message is what all entries that change it say together.
    fn check_fold(&self, changes: &Changes<'_>, message: &LogEntry) {
        let kept = self.fold_of(message);
        let goes = |entry: &LogEntry| self.erasures.contains_key(&(entry.channel(), entry.pos));
        let Some(changes) = changes.get(&key_of(message)) else {
            assert_eq!(kept, Fold::default(), "nothing came of {message:?}");
            assert!(!goes(message), "nobody has deleted {message:?}");
            return;
        };
        let of = |kind: Kind| changes.iter().filter(move |e| e.event.header.kind == kind);
        let hides = |e: &&&LogEntry| e.event.header.origin == HomeId::LOCAL;
        let hidden: BTreeSet<&Local> =
            of(Kind::Notice).filter(hides).map(|e| &e.event.header.sender).collect();
        assert_eq!(kept.hidden_from.iter().collect::<BTreeSet<_>>(), hidden);
        let (hidden, shown): (Vec<&LogEntry>, Vec<&LogEntry>) =
            of(Kind::Delete).partition(|e| e.hidden);
        let gone = if !shown.is_empty() {
            Deleted::ForAll
        } else if !hidden.is_empty() {
            Deleted::ForSender
        } else {
            Deleted::No
        };
        assert_eq!(kept.deleted, gone, "deleted: {message:?}");
        for entry in of(Kind::Edit).copied().chain([message]) {
            let due = gone == Deleted::ForAll && !entry.event.is_erased();
            assert_eq!(goes(entry), due, "to be erased: {entry:?}");
        }
        if gone == Deleted::ForAll {
            assert!(kept.edit.is_none() && kept.hidden_edit.is_none() && kept.reactions.is_empty());
            return;
        }
        let last = |hidden| of(Kind::Edit).rfind(|e| e.hidden == hidden).map(|e| e.pos);
        assert_eq!(kept.edit.map(|edit| edit.pos), last(false), "the edit");
        assert_eq!(kept.hidden_edit.map(|edit| edit.pos), last(true), "the hidden edit");
        // What its sender sees of it, and what others do, who see nothing of what is hidden.
        for (who, seeing) in [("its sender", ShownTo::Sender), ("others", ShownTo::Others)] {
            let mut said = BTreeMap::new();
            for entry in of(Kind::Reaction).filter(|e| !e.hidden || seeing == ShownTo::Sender) {
                let body = Body::is_canonical(&entry.event.body, usize::MAX).unwrap();
                let reaction = body.reaction.unwrap();
                said.insert((entry.event.header.user(), reaction.emoji), reaction.on);
            }
            said.retain(|_, on| *on);
            let seen = |r: &&Reacted| r.shown_to == ShownTo::All || r.shown_to == seeing;
            let kept = kept.reactions.iter().filter(seen);
            let kept: BTreeSet<_> = kept.map(|r| (r.user.clone(), r.emoji.clone())).collect();
            assert_eq!(kept, said.into_keys().collect(), "reactions as {who} sees them");
        }
    }

    /// A channel's messages as clients list them.
    pub(crate) fn by_order(&self, id: ChannelId) -> Vec<(String, UserRef, Vec<u8>)> {
        let mut list: Vec<_> = self
            .logs
            .get(&id)
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(|e| e.event.header.origin != HomeId::LOCAL)
            .map(|e| {
                let h = &e.event.header;
                (h.order().to_string(), h.user(), e.event.body.to_vec())
            })
            .collect();
        list.sort();
        list
    }
}

fn key_of(message: &LogEntry) -> MessageKey {
    MessageKey::new(&message.event.header.user(), &message.event.header.id)
}

/// The entries that change messages and count, by message, each user's in the order of writing.
fn changes_in<'a>(log: &'a BTreeMap<Pos, LogEntry>, unfit: &BTreeSet<Pos>) -> Changes<'a> {
    let mut found = Changes::new();
    for entry in log.values().filter(|e| !unfit.contains(&e.pos)) {
        let Some(target) = entry.changes() else { continue };
        found.entry(MessageKey::new(&target.sender, &target.id)).or_default().push(entry);
    }
    for changes in found.values_mut() {
        changes.sort_by_key(|e| e.event.header.order());
    }
    found
}

fn was_deleted_before(changes: &Changes<'_>, message: &LogEntry) -> bool {
    let deletes = |e: &&&LogEntry| e.event.header.kind == Kind::Delete && !e.hidden;
    let of = changes.get(&key_of(message)).into_iter().flatten();
    of.filter(deletes).any(|e| e.pos < message.pos)
}

/// Chains are in order and hang together, and of what came from elsewhere there is a proof that holds.
fn check_chains(home: HomeId, epoch: Epoch, state: &ChannelState, log: &BTreeMap<Pos, LogEntry>) {
    let mut chains: BTreeMap<_, (Seq, Stamp, Hash)> = BTreeMap::new();
    for entry in log.values() {
        let h = &entry.event.header;
        assert!(h.epoch <= epoch || h.origin != home, "from a life that is still to come");
        // Of a group, members that have gone are not kept.
        let stranger = state.member(&h.user()).is_none() && state.group.is_none();
        let local = h.origin == HomeId::LOCAL;
        assert!(stranger == local || state.group.is_some(), "a stranger's words are stored");
        if let Some((seq, stamp, hash)) = chains.get(&(h.origin, h.epoch)) {
            assert!(h.seq > *seq, "an origin's order is not kept");
            assert!(h.stamp >= *stamp, "stamps fell along a chain");
            assert!(h.seq > seq.next() || h.prev == *hash, "a chain is broken");
        }
        chains.insert((h.origin, h.epoch), (h.seq, h.stamp, entry.event.hash()));
    }
    for ((origin, epoch), (seq, _, hash)) in chains {
        let end = state.chain(&origin, epoch).unwrap();
        assert!(end.seq > seq || (end.seq, end.hash) == (seq, hash), "the end of a chain");
    }
    for end in state.chains.iter().filter(|c| c.origin != home && c.origin != HomeId::LOCAL) {
        let proof = end.proof.as_ref().expect("what is held of others is proven");
        assert_eq!((proof.seq, proof.hash), (end.seq, end.hash), "the end is proven");
        let fork = end.fork.iter().flat_map(|fork| [&fork.held, &fork.shown]);
        for proof in fork.chain([proof]) {
            let head = Head { channel: state.id, seq: proof.seq, hash: proof.hash };
            let (kept, seal) = (read_proof(&proof.proof).unwrap(), Seal(end.origin));
            Checker::default().check(end.origin, end.epoch, head, &kept, &seal).unwrap();
        }
    }
}

fn marks_rise(before: Option<&ChannelState>, now: &ChannelState) {
    for old in before.map_or(&[][..], |b| &b.members) {
        let Some(new) = now.member(&old.user) else {
            assert!(now.group.is_some(), "nobody leaves a chat");
            continue;
        };
        assert!(new.mark.read >= old.mark.read && new.mark.delivered >= old.mark.delivered);
        assert!(new.read_counted >= old.read_counted);
    }
}

impl Reader for TestStore {
    fn channel(&self, id: ChannelId) -> Result<Option<ChannelState>, Fault> {
        Ok(self.channels.get(&id).cloned())
    }
    fn account(&self, local: &Local) -> Result<Option<Account>, Fault> {
        Ok(self.accounts.get(local).cloned())
    }
    fn accounts(&self, after: Option<&Local>, limit: usize) -> Result<Vec<Account>, Fault> {
        let above = |a: &&Account| after.is_none_or(|after| a.local > *after);
        Ok(self.accounts.values().filter(above).take(limit).cloned().collect())
    }
    fn place(&self, key: MessageKey) -> Result<Option<(ChannelId, Pos)>, Fault> {
        Ok(self.places.get(&key).copied())
    }
    fn entry(&self, channel: ChannelId, pos: Pos) -> Result<Option<LogEntry>, Fault> {
        Ok(self.logs.get(&channel).and_then(|log| log.get(&pos)).cloned())
    }
    fn entries(
        &self,
        channel: ChannelId,
        first: Pos,
        last: Pos,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry>, Fault> {
        let log = self.logs.get(&channel).into_iter().flat_map(|l| l.range(first..=last));
        let mut room = max_bytes;
        let mut found = Vec::new();
        for (_, entry) in log {
            let size = entry.event.size_bytes();
            if size > room && !found.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            found.push(entry.clone());
        }
        Ok(found)
    }
    fn channels(&self, after: Option<ChannelId>, limit: usize) -> Result<Vec<ChannelState>, Fault> {
        let above = |c: &&ChannelState| after.is_none_or(|after| c.id > after);
        Ok(self.channels.values().filter(above).take(limit).cloned().collect())
    }
    fn fold(&self, channel: ChannelId, pos: Pos) -> Result<Option<Fold>, Fault> {
        Ok(self.folds.get(&(channel, pos)).cloned())
    }
    fn folds(&self, channel: ChannelId, first: Pos, last: Pos) -> Result<Vec<(Pos, Fold)>, Fault> {
        let rows = self.folds.range((channel, first)..=(channel, last));
        Ok(rows.map(|((_, pos), fold)| (*pos, fold.clone())).collect())
    }
    fn changes_of(
        &self,
        channel: ChannelId,
        message: MessageKey,
        limit: usize,
    ) -> Result<Vec<Pos>, Fault> {
        let log = self.logs.get(&channel).into_iter().flat_map(BTreeMap::values);
        let changes = |e: &&LogEntry| {
            e.changes().is_some_and(|t| MessageKey::new(&t.sender, &t.id) == message)
        };
        Ok(log.filter(changes).map(|e| e.pos).take(limit).collect())
    }
    fn row(&self, channel: ChannelId, pos: Pos) -> Result<Option<EntryRow>, Fault> {
        Ok(self.logs.get(&channel).and_then(|log| log.get(&pos)).map(LogEntry::row))
    }
    fn last_row_of(
        &self,
        channel: ChannelId,
        origin: HomeId,
        pos: Pos,
    ) -> Result<Option<EntryRow>, Fault> {
        let log = self.logs.get(&channel);
        let mut rows = log.into_iter().flat_map(|l| l.range(..=pos).rev()).map(|(_, e)| e.row());
        Ok(rows.find(|row| row.origin == origin))
    }
    fn row_of_seq(
        &self,
        channel: ChannelId,
        origin: HomeId,
        epoch: Epoch,
        seq: Seq,
    ) -> Result<Option<EntryRow>, Fault> {
        let rows = self.rows.get(&channel);
        let mut above = rows
            .into_iter()
            .flat_map(|rows| rows.range((origin, epoch, seq)..=(origin, epoch, Seq(u64::MAX))));
        Ok(above.next().map(|(_, pos)| self.logs[&channel][pos].row()))
    }
    fn listing(&self, user: &Local) -> Result<Vec<ListRow>, Fault> {
        let mine = self.listings.iter().filter(|((owner, _), _)| owner == user);
        Ok(mine.map(|(_, row)| *row).collect())
    }
    fn device(&self, token: TokenHash) -> Result<Option<Device>, Fault> {
        Ok(self.devices.values().find(|d| d.token == token).cloned())
    }
    fn devices(&self, user: &Local) -> Result<Vec<Device>, Fault> {
        Ok(self.devices.values().filter(|d| d.user == *user).cloned().collect())
    }
    fn device_by_id(&self, user: &Local, device: DeviceId) -> Result<Option<Device>, Fault> {
        Ok(self.devices.get(&(user.clone(), device)).cloned())
    }
    fn invite(&self, code: TokenHash) -> Result<Option<Invite>, Fault> {
        Ok(self.invites.get(&code).cloned())
    }
    fn invites(&self) -> Result<Vec<Invite>, Fault> {
        Ok(self.invites.values().cloned().collect())
    }
    fn media(&self, id: Uuid) -> Result<Option<MediaState>, Fault> {
        Ok(self.medias.get(&id).cloned())
    }
    fn medias(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<MediaState>, Fault> {
        let above = self.medias.values().filter(|media| after.is_none_or(|after| media.id > after));
        Ok(above.take(limit).cloned().collect())
    }
    fn media_of_hash(&self, hash: Hash, limit: usize) -> Result<Vec<Uuid>, Fault> {
        let same = self.medias.values().filter(|media| media.hash == hash);
        Ok(same.take(limit).map(|media| media.id).collect())
    }
    fn named(
        &self,
        media: MediaId,
        channel: Option<ChannelId>,
        limit: usize,
    ) -> Result<Vec<(ChannelId, Pos)>, Fault> {
        let here = self.named.iter().filter(|(named, at, _)| {
            *named == media && channel.is_none_or(|channel| channel == *at)
        });
        Ok(here.take(limit).map(|(_, channel, pos)| (*channel, *pos)).collect())
    }
    fn erasures(&self, limit: usize) -> Result<Vec<(ChannelId, Pos, u64)>, Fault> {
        let rows = self.erasures.iter().take(limit);
        Ok(rows.map(|((channel, pos), since)| (*channel, *pos, *since)).collect())
    }
    fn unanswered(&self) -> Result<Vec<(HomeId, Local, ChannelId)>, Fault> {
        Ok(self.asked.iter().cloned().collect())
    }

    fn owed(&self) -> Result<Vec<(HomeId, ChannelId, u64)>, Fault> {
        Ok(self.owed.iter().map(|((peer, channel), since)| (*peer, *channel, *since)).collect())
    }
    fn roster(&self, channel: ChannelId) -> Result<Option<Bytes>, Fault> {
        Ok(self.rosters.get(&channel).cloned())
    }

    fn letters(&self) -> Result<Vec<(HomeId, u64, Bytes)>, Fault> {
        Ok(self.letters.iter().map(|((peer, n), letter)| (*peer, *n, letter.clone())).collect())
    }

    fn peers(&self) -> Result<Vec<PeerState>, Fault> {
        Ok(self.peers.values().cloned().collect())
    }
    fn is_listed(&self, list: UserList, owner: &Local, other: &UserRef) -> Result<bool, Fault> {
        Ok(self.lists.contains_key(&(list, owner.clone(), other.clone())))
    }
    fn listed(
        &self,
        list: UserList,
        owner: &Local,
        after: Option<&UserRef>,
        limit: usize,
    ) -> Result<Vec<(UserRef, u64)>, Fault> {
        let rows = self.lists.iter().filter(|((of, whose, who), _)| {
            *of == list && whose == owner && after.is_none_or(|after| who > after)
        });
        Ok(rows.map(|((.., who), since)| (who.clone(), *since)).take(limit).collect())
    }
    fn own_views(&self, user: &Local) -> Result<Vec<(ChannelId, OwnView)>, Fault> {
        let mine = self.own_views.iter().filter(|((owner, _), _)| owner == user);
        Ok(mine.map(|((_, channel), view)| (*channel, *view)).collect())
    }
    fn draft(&self, user: &Local, channel: ChannelId) -> Result<Option<String>, Fault> {
        Ok(self.drafts.get(&(user.clone(), channel)).cloned())
    }
    fn found_by(&self, beginning: &str, limit: usize) -> Result<Vec<Local>, Fault> {
        let found = self.words.iter().filter(|(word, _)| word.starts_with(beginning));
        Ok(found.map(|(_, user)| user.clone()).take(limit).collect())
    }
    fn has_word(&self, word: &str, user: &Local) -> Result<bool, Fault> {
        Ok(self.words.contains(&(word.to_owned(), user.clone())))
    }
    fn last_seen(&self, user: &Local) -> Result<Option<u64>, Fault> {
        Ok(self.seen.get(user).copied())
    }
    fn op(&self, user: &Local, op: OpId) -> Result<Option<OpDone>, Fault> {
        Ok(self.ops.get(&(user.clone(), op)).cloned())
    }
    fn ops_before(&self, before_ms: u64, limit: usize) -> Result<Vec<(Local, OpId)>, Fault> {
        let old = self.ops.iter().filter(|(_, done)| done.at < before_ms);
        Ok(old.map(|(key, _)| key.clone()).take(limit).collect())
    }
}
