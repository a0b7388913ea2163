//! Answers that are read from disk, off the hub's thread. A job runs after everything that had been
//! decided before it is on disk, and reads committed state only.

use std::sync::Arc;

use homing_core::{ChainEnd, EntryRow, Fault, LogEntry, Member, MessageKey};
use homing_link::{Answer, Code, MessagesPage, Place, ReceiptRow, Receipts, Refused};
use homing_store::Store;
use homing_wire::{ChannelId, MessageId, Order, Pos, Seq, UserRef};
use tracing::error;

use super::calls::no_message;
use super::show::Shower;

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
        /// The chains held, for pages by `order`.
        chains: Vec<ChainEnd>,
    },
    /// One message, by whichever of these senders has one of that id.
    Message { channel: ChannelId, id: MessageId, senders: Vec<UserRef> },
    /// Who has got how far with a message.
    Receipts { channel: ChannelId, id: MessageId, senders: Vec<UserRef>, members: Vec<Member> },
}

impl ReadJob {
    /// Reads it.
    pub(super) fn run(self, store: &dyn Store, shower: &Shower) -> Result<Answer, Refused> {
        let result = match self {
            Self::Messages { channel, head, place, limit, max_bytes, chains } => {
                let page = Page { store, channel, head, limit: limit as usize, max_bytes };
                page.read(place, &chains, shower)
            }
            Self::Message { channel, id, senders } => {
                find(store, channel, &id, &senders).map(|found| {
                    found
                        .map(|entry| Answer::Message(Box::new(shower.message(&entry))))
                        .ok_or_else(no_message)
                })
            }
            Self::Receipts { channel, id, senders, members } => find(store, channel, &id, &senders)
                .map(|found| {
                    found
                        .map(|entry| Answer::Receipts(receipts(&entry, &members, shower)))
                        .ok_or_else(no_message)
                }),
        };
        result.unwrap_or_else(|fault| {
            error!(%fault, "a read failed: run `homing check`, the disk may be damaged");
            Err(Refused::new(Code::Internal, "store_read", "the home could not read its disk"))
        })
    }
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

fn receipts(entry: &LogEntry, members: &[Member], shower: &Shower) -> Receipts {
    let sender = entry.event.header.user();
    let rows = members.iter().filter(|m| m.user != sender).map(|m| {
        let first = |reached: fn(&homing_core::Mark) -> Pos| {
            m.times.iter().find(|t| reached(&t.mark) >= entry.pos).map(|t| t.at)
        };
        ReceiptRow {
            user: shower.address(&m.user).to_string(),
            delivered: m.mark.delivered >= entry.pos,
            read: m.mark.read >= entry.pos,
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
}

impl Page<'_> {
    fn read(
        &self,
        place: Place,
        chains: &[ChainEnd],
        shower: &Shower,
    ) -> Result<Result<Answer, Refused>, Fault> {
        let (entries, more, next) = match place {
            Place::Latest => self.before(self.head.next())?,
            Place::Before(pos) => self.before(Pos(pos.min(self.head.0 + 1)))?,
            Place::After(pos) => self.after(Pos(pos))?,
            Place::BeforeOrder(order) => self.by_order(chains, order, false)?,
            Place::AfterOrder(order) => self.by_order(chains, order, true)?,
        };
        let messages = entries.iter().map(|entry| shower.message(entry)).collect();
        Ok(Ok(Answer::Messages(MessagesPage { messages, more, next: next.0, changed: Vec::new() })))
    }

    /// Up, from above `pos`.
    fn after(&self, pos: Pos) -> Result<(Vec<Arc<LogEntry>>, bool, Pos), Fault> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut next = pos;
        while next < self.head && found.len() < self.limit && bytes < self.max_bytes {
            let last = Pos(self.head.0.min(next.0 + (self.limit - found.len()) as u64));
            let entries =
                self.store.log(self.channel, next.next(), last, self.max_bytes - bytes)?;
            let Some(end) = entries.last() else { break };
            next = end.pos;
            for entry in entries {
                if shows(&entry) {
                    bytes += weight(&entry);
                    found.push(entry);
                }
            }
        }
        Ok((found, next < self.head, next))
    }

    /// Down, from below `pos`; ascending all the same.
    fn before(&self, pos: Pos) -> Result<(Vec<Arc<LogEntry>>, bool, Pos), Fault> {
        let mut found: Vec<Arc<LogEntry>> = Vec::new();
        let mut bytes = 0;
        let mut next = pos;
        'pages: while next > Pos(1) && found.len() < self.limit {
            let last = Pos(next.0 - 1);
            let first = Pos(last.0.saturating_sub((self.limit - found.len()) as u64 - 1).max(1));
            // All of them, however large: a page is at most 200 bodies of 64 KiB.
            let entries = self.store.log(self.channel, first, last, usize::MAX)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries.into_iter().rev() {
                if shows(&entry) {
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
        Ok((found, next > Pos(1), next))
    }

    /// By `order`. Along each chain both `pos` and `order` rise, so the list by `order` is a merge of the
    /// chains; no index is needed.
    fn by_order(
        &self,
        chains: &[ChainEnd],
        bound: Order,
        up: bool,
    ) -> Result<(Vec<Arc<LogEntry>>, bool, Pos), Fault> {
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
            let Some(entry) = self.store.entry(self.channel, row.pos)?.map(Arc::new) else { break };
            if shows(&entry) {
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
        Ok((found, more, next))
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

fn shows(entry: &LogEntry) -> bool {
    entry.event.header.kind.is_message()
}

/// What a message weighs on a page: its body and about what its other fields take as JSON.
fn weight(entry: &LogEntry) -> usize {
    entry.event.body.len() + 512
}
