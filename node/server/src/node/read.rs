//! Answers that are read from disk, off the hub's thread. A job runs after everything that had been
//! decided before it is on disk, and reads committed state only.

use std::collections::BTreeMap;
use std::sync::Arc;

use homing_core::{
    ChainEnd, ChannelState, EntryRow, Fault, Fold, Folded, LogEntry, Member, MessageKey, Span,
    UserList,
};
use homing_link::{
    Answer, Code, MessageView, MessagesPage, Place, ReceiptRow, Receipts, Refused, UsersPage,
};
use homing_store::Store;
use homing_wire::{
    ChannelId, HomeId, Kind, Local, MessageId, Order, Pos, Roster, Seq, SignedRoster, UserRef,
};
use tracing::error;

use super::calls::no_message;
use super::find::found;
use super::search::SearchJob;
use super::show::{Shower, shows, unfit};

/// What to read.
pub(super) enum ReadJob {
    /// A page of a channel.
    Messages {
        channel: ChannelId,
        /// The latest place when it was asked.
        head: Pos,
        place: Place,
        limit: u32,
        max_bytes: usize,
        /// Who asks.
        user: UserRef,
        /// The chains held, for pages by `order`.
        chains: Vec<ChainEnd>,
        /// What the channel's state says of entries.
        known: Known,
    },
    /// One message, by whichever of these senders has one of that id.
    Message {
        channel: ChannelId,
        id: MessageId,
        senders: Vec<UserRef>,
        user: UserRef,
        known: Known,
    },
    /// A page of one of a user's lists.
    Users { list: UserList, owner: Local, after: Option<UserRef>, limit: u32 },
    /// People of this home, by beginnings of words.
    Found { wanted: Vec<String>, limit: usize, home: HomeId },
    /// Messages by their words.
    Search(Box<SearchJob>),
    /// Who has got how far with a message.
    Receipts {
        channel: ChannelId,
        id: MessageId,
        senders: Vec<UserRef>,
        user: UserRef,
        members: Vec<Member>,
        known: Known,
        /// Whether the user sees what others have read.
        sees_reads: bool,
    },
}

/// What is known of a channel's entries beside the log.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// Everything at or below was removed by retention.
    pruned: Pos,
    /// Messages that another home rejected.
    rejected: Vec<(Pos, String)>,
    /// Of a group: what the member may see; none: everything.
    spans: Vec<Span>,
    /// Of a group: what counts.
    pub(super) roster: Option<Arc<SignedRoster>>,
}

impl Known {
    /// Of what `member` asks.
    pub(super) fn of(
        state: &ChannelState,
        member: &Member,
        roster: Option<Arc<SignedRoster>>,
    ) -> Self {
        let (pruned, rejected, spans) =
            (state.pruned, state.rejected.clone(), member.spans.clone());
        Self { pruned, rejected, spans, roster }
    }

    /// Whether the member may see what stands there.
    pub(super) fn has(&self, pos: Pos) -> bool {
        let seen = self.spans.is_empty() || self.spans.iter().any(|span| span.has(pos));
        pos > self.pruned && seen
    }

    pub(super) fn message(&self, message: &Folded, user: &UserRef, shower: &Shower) -> MessageView {
        let entry = &message.entry;
        let rejection = self.rejected.iter().find(|(pos, _)| *pos == entry.pos);
        let reason = rejection.map(|(_, reason)| reason.as_str());
        let reason = reason.or_else(|| unfit(entry, self.roster.as_deref()));
        shower.message(message, user, reason)
    }
}

impl ReadJob {
    /// Reads it.
    pub(super) fn run(self, store: &dyn Store, shower: &Shower) -> Result<Answer, Refused> {
        let result = match self {
            Self::Users { list, owner, after, limit } => {
                users(store, list, &owner, after.as_ref(), limit as usize, shower).map(Ok)
            }
            Self::Found { wanted, limit, home } => {
                found(store, &wanted, limit, home, shower).map(Ok)
            }
            Self::Search(job) => job.run(store, shower).map(Ok),
            Self::Messages { channel, head, place, limit, max_bytes, user, chains, known } => {
                let limit = limit as usize;
                let page = Page { store, channel, head, limit, max_bytes, user, known };
                page.read(place, &chains, shower)
            }
            Self::Message { channel, id, senders, user, known } => {
                one_message(store, channel, &id, &senders, &user, &known).map(|found| {
                    let view = |message| known.message(&message, &user, shower);
                    let found = found.map(view).filter(|view| view.status != Some("hidden"));
                    found.map(|view| Answer::Message(Box::new(view))).ok_or_else(no_message)
                })
            }
            Self::Receipts { channel, id, senders, user, members, known, sees_reads } => {
                find(store, channel, &id, &senders).map(|found| {
                    found
                        .filter(|entry| known.has(entry.pos) && entry.is_shown_to(&user))
                        .map(|entry| {
                            let roster = known.roster.as_deref().map(SignedRoster::roster);
                            let mut found = receipts(&entry, &members, roster, shower);
                            for row in found.receipts.iter_mut().filter(|_| !sees_reads) {
                                (row.read, row.read_at) = (false, None);
                            }
                            Answer::Receipts(found)
                        })
                        .ok_or_else(no_message)
                })
            }
        };
        result.unwrap_or_else(|fault| {
            error!(%fault, "a read failed: run `homing check`, the disk may be damaged");
            Err(Refused::new(Code::Internal, "store_read", "the home could not read its disk"))
        })
    }
}

fn users(
    store: &dyn Store,
    list: UserList,
    owner: &Local,
    after: Option<&UserRef>,
    limit: usize,
    shower: &Shower,
) -> Result<Answer, Fault> {
    let mut rows = store.listed(list, owner, after, limit + 1)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = rows.last().filter(|_| more).map(|(user, _)| user.to_string());
    let users = rows.iter().map(|(user, _)| shower.address(user).to_string()).collect();
    Ok(Answer::Users(UsersPage { users, cursor }))
}

fn find(
    store: &dyn Store,
    channel: ChannelId,
    id: &MessageId,
    senders: &[UserRef],
) -> Result<Option<LogEntry>, Fault> {
    for sender in senders {
        if let Some((at, pos)) = store.place(MessageKey::new(sender, id))?
            && at == channel
        {
            return store.entry(channel, pos);
        }
    }
    Ok(None)
}

/// A message that the user may see, with what came of it.
fn one_message(
    store: &dyn Store,
    channel: ChannelId,
    id: &MessageId,
    senders: &[UserRef],
    user: &UserRef,
    known: &Known,
) -> Result<Option<Folded>, Fault> {
    let found = find(store, channel, id, senders)?;
    let seen = |entry: &LogEntry| shows(entry) && known.has(entry.pos) && entry.is_shown_to(user);
    let Some(entry) = found.filter(seen) else { return Ok(None) };
    let fold = store.fold(channel, entry.pos)?;
    Folded::read(store, Arc::new(entry), fold).map(Some)
}

fn receipts(
    entry: &LogEntry,
    members: &[Member],
    roster: Option<&Roster>,
    shower: &Shower,
) -> Receipts {
    let header = &entry.event.header;
    let sender = header.user();
    // Of a group, whoever was in it then, and is.
    let is_meant = |m: &&Member| {
        roster.is_none_or(|roster| {
            let since = roster.member_since(&m.user);
            since.is_some_and(|since| since <= header.roster) && m.sees(entry.pos)
        })
    };
    let rows = members.iter().filter(|m| m.user != sender).filter(is_meant).map(|m| {
        let first = |reached: fn(&homing_core::Mark) -> Pos| {
            m.times.iter().find(|t| reached(&t.mark) >= entry.pos).map(|t| t.at)
        };
        ReceiptRow {
            user: shower.address(&m.user).to_string(),
            delivered: m.told(m.mark).delivered >= entry.pos,
            read: m.told(m.mark).read >= entry.pos,
            delivered_at: first(|mark| mark.delivered),
            read_at: first(|mark| mark.read),
        }
    });
    Receipts { receipts: rows.collect() }
}

struct Page<'a> {
    store: &'a dyn Store,
    channel: ChannelId,
    head: Pos,
    limit: usize,
    max_bytes: usize,
    user: UserRef,
    known: Known,
}

/// What is on a page.
#[derive(Default)]
struct Found {
    /// Ascending.
    entries: Vec<Arc<LogEntry>>,
    /// Whether there is more that way.
    more: bool,
    /// How far it got.
    next: Pos,
    /// Older messages that something on the page has changed, each once.
    changed: Vec<Folded>,
}

impl Page<'_> {
    fn read(
        &self,
        place: Place,
        chains: &[ChainEnd],
        shower: &Shower,
    ) -> Result<Result<Answer, Refused>, Fault> {
        let up = matches!(place, Place::After(_) | Place::AfterOrder(_));
        let mut found = match place {
            Place::Latest => self.before(self.head.next())?,
            Place::Before(pos) => self.before(Pos(pos.min(self.head.0 + 1)))?,
            Place::After(pos) => self.after(Pos(pos))?,
            Place::BeforeOrder(order) => self.by_order(chains, order, false)?,
            Place::AfterOrder(order) => self.by_order(chains, order, true)?,
        };
        let show = |message: &Folded| self.known.message(message, &self.user, shower);
        let messages = self.fitting(&mut found, up)?;
        let Found { more, next, changed, .. } = found;
        // What the user has hidden stands in no list.
        let listed = messages.iter().map(show).filter(|view| view.status != Some("hidden"));
        let (messages, next): (Vec<MessageView>, u64) = (listed.collect(), next.0);
        // What is on the page itself is shown there as it is now. What is hidden is not, and who was told of it before has to
        // hear that.
        let is_older = |c: &&Folded| messages.iter().all(|message| message.pos != c.entry.pos.0);
        let changed = changed.iter().filter(is_older).map(show).collect();
        Ok(Ok(Answer::Messages(MessagesPage { messages, more, next, changed })))
    }

    /// The messages of a page, as many as fit with what came of them: an edit may be larger than what it replaces.
    fn fitting(&self, found: &mut Found, up: bool) -> Result<Vec<Folded>, Fault> {
        let mut messages = self.folded(std::mem::take(&mut found.entries))?;
        let mut bytes: usize = found.changed.iter().map(weight_folded).sum();
        let mut fits = |message: &Folded| {
            let first = bytes == 0;
            bytes += weight_folded(message);
            first || bytes <= self.max_bytes
        };
        let all = messages.len();
        if up {
            let kept = messages.iter().take_while(|message| fits(message)).count().max(1);
            messages.truncate(kept);
        } else {
            let kept = messages.iter().rev().take_while(|message| fits(message)).count().max(1);
            messages.drain(..all.saturating_sub(kept));
        }
        let end = if up { messages.last() } else { messages.first() };
        if let Some(end) = end.filter(|_| messages.len() < all) {
            (found.more, found.next) = (true, end.entry.pos);
        }
        Ok(messages)
    }

    /// Messages with what came of them.
    fn folded(&self, entries: Vec<Arc<LogEntry>>) -> Result<Vec<Folded>, Fault> {
        let places = || entries.iter().map(|entry| entry.pos);
        let (Some(first), Some(last)) = (places().min(), places().max()) else {
            return Ok(Vec::new());
        };
        // Mostly they stand together, and nothing has come of any. By order they may be far apart.
        let together = last.0 - first.0 < 8 * self.limit as u64;
        let mut folds: BTreeMap<Pos, Fold> = if together {
            self.store.folds(self.channel, first, last)?.into_iter().collect()
        } else {
            BTreeMap::new()
        };
        let mut messages = Vec::with_capacity(entries.len());
        for entry in entries {
            let fold = match folds.remove(&entry.pos) {
                None if !together => self.store.fold(self.channel, entry.pos)?,
                fold => fold,
            };
            messages.push(Folded::read(self.store, entry, fold)?);
        }
        Ok(messages)
    }

    /// Whether an entry stands in the list by itself.
    fn shows(&self, entry: &LogEntry) -> bool {
        shows(entry) && self.known.has(entry.pos) && entry.is_shown_to(&self.user)
    }

    /// The message that an entry says something new of, to this user.
    fn changed_by(&self, entry: &LogEntry) -> Result<Option<Folded>, Fault> {
        let is_notice = entry.event.header.kind == Kind::Notice;
        let target = entry.changes().or(entry.event.header.target.as_ref().filter(|_| is_notice));
        let Some(target) = target.filter(|_| entry.is_shown_to(&self.user)) else {
            return Ok(None);
        };
        let senders = [target.sender.clone()];
        one_message(self.store, self.channel, &target.id, &senders, &self.user, &self.known)
    }

    /// Up, from above `pos`.
    fn after(&self, pos: Pos) -> Result<Found, Fault> {
        let mut found = Found { next: pos.max(self.known.pruned), ..Found::default() };
        let mut bytes = 0;
        'pages: while found.next < self.head && found.entries.len() < self.limit {
            let left = (self.limit - found.entries.len()) as u64;
            let last = Pos(self.head.0.min(found.next.0 + left));
            let entries = self.store.log(self.channel, found.next.next(), last, self.max_bytes)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                let at = entry.pos;
                let full = |more: usize| bytes > 0 && bytes + more > self.max_bytes;
                if self.shows(&entry) {
                    let more = weight(&entry);
                    if full(more) {
                        break 'pages;
                    }
                    bytes += more;
                    found.entries.push(entry);
                } else if let Some(message) = self.changed_by(&entry)? {
                    let known = found.changed.iter().any(|c| c.entry.pos == message.entry.pos);
                    let more = weight_folded(&message);
                    if !known && full(more) {
                        break 'pages;
                    }
                    if !known {
                        bytes += more;
                        found.changed.push(message);
                    }
                }
                found.next = at;
            }
        }
        found.more = found.next < self.head;
        Ok(found)
    }

    /// Down, from below `pos`; ascending all the same.
    fn before(&self, pos: Pos) -> Result<Found, Fault> {
        let bottom = self.known.pruned.next();
        let mut found: Vec<Arc<LogEntry>> = Vec::new();
        let mut bytes = 0;
        let mut next = pos;
        'pages: while next > bottom && found.len() < self.limit {
            let last = Pos(next.0 - 1);
            let first =
                Pos(last.0.saturating_sub((self.limit - found.len()) as u64 - 1)).max(bottom);
            // All of them, however large: a page is at most 200 bodies of 64 KiB.
            let entries = self.store.log(self.channel, first, last, usize::MAX)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries.into_iter().rev() {
                if self.shows(&entry) {
                    bytes += weight(&entry);
                    if bytes > self.max_bytes && !found.is_empty() {
                        break 'pages;
                    }
                    next = entry.pos;
                    found.push(entry);
                } else {
                    next = entry.pos;
                }
            }
        }
        found.reverse();
        Ok(Found { entries: found, more: next > bottom, next, changed: Vec::new() })
    }

    /// By `order`. Along each chain both `pos` and `order` rise, so the list by `order` is a merge of the
    /// chains; no index is needed.
    fn by_order(&self, chains: &[ChainEnd], bound: Order, up: bool) -> Result<Found, Fault> {
        let mut rows: Vec<EntryRow> = Vec::new();
        for chain in chains {
            self.rows_of(chain, bound, up, &mut rows)?;
        }
        rows.sort_unstable_by_key(order_of);
        if !up {
            rows.reverse();
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut taken = 0;
        let mut next = Pos(0);
        for row in &rows {
            if taken == self.limit {
                break;
            }
            let entry = self.store.entry(self.channel, row.pos)?.map(Arc::new);
            let Some(entry) = entry.filter(|entry| entry.pos > self.known.pruned) else { break };
            if self.shows(&entry) {
                bytes += weight(&entry);
                if bytes > self.max_bytes && !found.is_empty() {
                    break;
                }
                found.push(entry);
            }
            next = row.pos;
            taken += 1;
        }
        let more = taken < rows.len();
        if !up {
            found.reverse();
        }
        Ok(Found { entries: found, more, next, changed: Vec::new() })
    }

    /// The rows of a chain nearest to `bound`, one more than a page has.
    fn rows_of(
        &self,
        chain: &ChainEnd,
        bound: Order,
        up: bool,
        rows: &mut Vec<EntryRow>,
    ) -> Result<(), Fault> {
        let row =
            |seq: u64| self.store.row_of_seq(self.channel, chain.origin, chain.epoch, Seq(seq));
        // The greatest seq whose order is below the bound (or at it, going up).
        let (mut low, mut high) = (0, chain.seq.0);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let below = row(middle)?.is_some_and(|r| {
                let order = order_of(&r);
                order < bound || (up && order == bound)
            });
            if below {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let most = rows.len() + self.limit + 1;
        let mut seq = if up { low + 1 } else { low };
        while rows.len() < most && seq >= 1 && seq <= chain.seq.0 {
            match row(seq)? {
                Some(found) if up => {
                    seq = found.seq.0 + 1;
                    rows.push(found);
                }
                Some(found) => {
                    if found.seq.0 == seq {
                        rows.push(found);
                    }
                    seq -= 1;
                }
                None if up => break,
                None => seq -= 1,
            }
        }
        Ok(())
    }
}

fn order_of(row: &EntryRow) -> Order {
    Order::new(row.stamp, &row.origin, row.epoch, row.seq)
}

/// The same with the edits that it may be shown with.
pub(super) fn weight_folded(message: &Folded) -> usize {
    let edits = message.edits.iter().map(|edit| edit.event.body.len()).sum::<usize>();
    let reactions = message.fold.as_ref().map_or(0, |fold| fold.reactions.len());
    weight(&message.entry) + edits + 128 * reactions
}

/// What a message weighs on a page: its body and about what its other fields take as JSON.
fn weight(entry: &LogEntry) -> usize {
    entry.event.body.len() + 512
}
