//! All that a home holds of a user: account, devices, channels, messages; a page at a time.

use std::sync::Arc;

use homing_core::{Fault, Folded, LogEntry, OwnView, Reader, Sight, UserList};
use homing_wire::{ChannelId, DeviceId, MessageId, Order, Pos, UserId, UserRef};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Events read for one page: little enough not to hold up a node that is asked for many.
const PAGE_BYTES: usize = 64 << 10;
/// Entries asked for at once.
const PAGE_ENTRIES: u64 = 256;
/// Channels passed over in one page, where they hold nothing.
const PAGE_CHANNELS: usize = 256;

/// Where an export goes on. Channels are gone through by id, so it needs no memory at the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportPlace {
    /// The channel.
    pub channel: ChannelId,
    /// The next place in it; 1 comes with the channel itself.
    pub pos: Pos,
}

/// A part of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExportRow {
    /// The user. The first row.
    Account {
        /// Who.
        user: UserRef,
        /// The id.
        user_id: UserId,
        /// How people see the user.
        display_name: String,
        /// Unix milliseconds.
        created_at: u64,
        /// When the user was last seen, in Unix milliseconds, as far as it was stored.
        last_seen: Option<u64>,
    },
    /// A signed-in client.
    Device {
        /// Its id.
        device: DeviceId,
        /// What the user calls it.
        name: String,
        /// Unix milliseconds.
        created_at: u64,
    },
    /// Somebody in one of the user's lists of others.
    Listed {
        /// Blocked; else a contact.
        blocked: bool,
        /// Who.
        user: UserRef,
        /// Unix milliseconds.
        since: u64,
    },
    /// A channel; its messages follow.
    Channel {
        /// Its id.
        channel: ChannelId,
        /// Unix milliseconds.
        created_at: u64,
        /// Its members and how far they have got.
        members: Vec<MemberRow>,
    },
    /// How the user sees a channel for himself, where not like everybody; behind the channel.
    OwnView {
        /// Which.
        channel: ChannelId,
        /// What is kept of it.
        view: OwnView,
        /// What the user is writing there.
        draft: Option<String>,
    },
    /// A message.
    Message {
        /// Where.
        channel: ChannelId,
        /// Its place here.
        pos: Pos,
        /// Its place everywhere.
        order: String,
        /// Its id.
        id: MessageId,
        /// Who wrote it.
        sender: UserRef,
        /// Unix milliseconds.
        sent_at: u64,
        /// Unix milliseconds.
        arrived_at: u64,
        /// The body as it is now, as JSON text.
        body: String,
    },
}

/// A member of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Who.
    pub user: UserRef,
    /// Everything at or below has reached a device.
    pub delivered: Pos,
    /// Everything at or below was read.
    pub read: Pos,
}

/// A page of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportPage {
    /// Its rows.
    pub rows: Vec<ExportRow>,
    /// Where the next page begins; `None`: that was all.
    pub next: Option<ExportPlace>,
}

/// The page that begins at `place`, or the first; `None`: there is no such user. What is written
/// meanwhile may or may not be in it.
pub fn page(
    reader: &dyn Reader,
    user: &UserRef,
    place: Option<ExportPlace>,
) -> Result<Option<ExportPage>, Fault> {
    let Some(account) = reader.account(&user.local)? else { return Ok(None) };
    let mut rows = Vec::new();
    if place.is_none() {
        rows.push(ExportRow::Account {
            user: user.clone(),
            user_id: account.user_id,
            display_name: account.display_name,
            created_at: account.created_at,
            last_seen: reader.last_seen(&user.local)?,
        });
        rows.extend(reader.devices(&user.local)?.into_iter().map(|device| ExportRow::Device {
            device: device.id,
            name: device.name,
            created_at: device.created_at,
        }));
        for list in [UserList::Contacts, UserList::Blocks] {
            let listed = reader.listed(list, &user.local, None, usize::MAX)?;
            rows.extend(listed.into_iter().map(|(user, since)| ExportRow::Listed {
                blocked: list == UserList::Blocks,
                user,
                since,
            }));
        }
    }
    let mut channels: Vec<ChannelId> =
        reader.listing(&user.local)?.into_iter().map(|row| row.channel).collect();
    channels.sort();
    let Some(first) = place
        .map(|p| (p.channel, p.pos))
        .or_else(|| channels.first().map(|channel| (*channel, Pos(1))))
    else {
        return Ok(Some(ExportPage { rows, next: None }));
    };
    // Whoever names a channel that is not the user's gets nothing of it.
    let mut left = channels.into_iter().skip_while(|channel| *channel < first.0);
    let mut next = None;
    for (n, channel) in left.by_ref().enumerate() {
        let pos = if channel == first.0 { first.1 } else { Pos(1) };
        if n >= PAGE_CHANNELS {
            next = Some(ExportPlace { channel, pos });
            break;
        }
        if let Some(more) = channel_rows(reader, user, channel, pos, &mut rows)? {
            next = Some(ExportPlace { channel, pos: more });
            break;
        }
    }
    Ok(Some(ExportPage { rows, next }))
}

/// One page's worth of a channel; where it goes on, or `None` where it ends.
fn channel_rows(
    reader: &dyn Reader,
    user: &UserRef,
    channel: ChannelId,
    pos: Pos,
    rows: &mut Vec<ExportRow>,
) -> Result<Option<Pos>, Fault> {
    let Some(state) = reader.channel(channel)? else { return Ok(None) };
    if pos <= Pos(1) {
        let account = reader.account(&user.local)?;
        let sees_reads = account.is_none_or(|account| account.read_receipts);
        rows.push(ExportRow::Channel {
            channel,
            created_at: state.created_at,
            members: state
                .members
                .iter()
                .map(|m| {
                    let mark = m.mark_for(user, sees_reads);
                    let user = m.user.clone();
                    MemberRow { user, delivered: mark.delivered, read: mark.read }
                })
                .collect(),
        });
        let views = reader.own_views(&user.local)?;
        if let Some((_, view)) = views.into_iter().find(|(id, _)| *id == channel) {
            let draft = reader.draft(&user.local, channel)?;
            rows.push(ExportRow::OwnView { channel, view, draft });
        }
    }
    if pos > state.head {
        return Ok(None);
    }
    let last = Pos(pos.0.saturating_add(PAGE_ENTRIES - 1));
    let entries = reader.entries(channel, pos, last, PAGE_BYTES)?;
    // What is hidden from the user, or from before or after its time in a group, is not the user's.
    let member = state.member(user);
    let sees = |pos| member.is_some_and(|member| member.sees(pos));
    let next = entries.last().map(|entry| entry.pos.next());
    // Messages as they are now: what was edited away, or deleted, is not given out.
    let shown =
        |entry: &LogEntry| entry.changes().is_none() && entry.is_shown_to(user) && sees(entry.pos);
    for entry in entries.into_iter().filter(shown) {
        let fold = reader.fold(channel, entry.pos)?;
        let message = Folded::read(reader, Arc::new(entry), fold)?;
        match message.seen_by(user) {
            Sight::Shown { body, .. } => rows.push(row(&message.entry, &body)),
            Sight::Deleted => rows.push(row(&message.entry, DELETED)),
            Sight::Hidden => {}
        }
    }
    // A page has been read from this channel; the next channel begins the next page.
    Ok(next)
}

/// The body of what is gone.
const DELETED: &[u8] = br#"{"type":"deleted"}"#;

fn row(entry: &LogEntry, body: &[u8]) -> ExportRow {
    let header = &entry.event.header;
    let order: Order = header.order();
    ExportRow::Message {
        channel: header.channel,
        pos: entry.pos,
        order: order.to_string(),
        id: header.id,
        sender: header.user(),
        sent_at: header.stamp.ms(),
        arrived_at: entry.arrived_at,
        body: String::from_utf8_lossy(body).into_owned(),
    }
}

impl ExportRow {
    /// As a line for people and programs: addresses as `address` writes them, the body as JSON.
    pub fn line(&self, address: impl Fn(&UserRef) -> String) -> serde_json::Result<String> {
        match self {
            Self::Account { user, user_id, display_name, created_at, last_seen } => {
                serde_json::to_string(&serde_json::json!({
                    "kind": "account",
                    "address": address(user),
                    "user_id": user_id,
                    "display_name": display_name,
                    "created_at": created_at,
                    "last_seen": last_seen,
                }))
            }
            Self::Device { device, name, created_at } => {
                serde_json::to_string(&serde_json::json!({
                    "kind": "device",
                    "device": device,
                    "name": name,
                    "created_at": created_at,
                }))
            }
            Self::Listed { blocked, user, since } => serde_json::to_string(&serde_json::json!({
                "kind": if *blocked { "block" } else { "contact" },
                "user": address(user),
                "since": since,
            })),
            Self::Channel { channel, created_at, members } => {
                let members: Vec<_> = members
                    .iter()
                    .map(|m| {
                        serde_json::json!({
                            "user": address(&m.user),
                            "delivered": m.delivered,
                            "read": m.read,
                        })
                    })
                    .collect();
                serde_json::to_string(&serde_json::json!({
                    "kind": "channel",
                    "channel": channel,
                    "created_at": created_at,
                    "members": members,
                }))
            }
            Self::OwnView { channel, view, draft } => serde_json::to_string(&serde_json::json!({
                "kind": "view",
                "channel": channel,
                "muted_until": view.muted_until,
                "archived": view.archived,
                "pinned": view.pinned,
                "marked_unread": view.marked_unread,
                "draft": draft,
            })),
            Self::Message { channel, pos, order, id, sender, sent_at, arrived_at, body } => {
                serde_json::to_string(&MessageLine {
                    kind: "message",
                    channel,
                    pos,
                    order,
                    id,
                    sender: address(sender),
                    sent_at,
                    arrived_at,
                    // What is no JSON was refused when it came in.
                    body: RawValue::from_string(body.clone()).ok(),
                })
            }
        }
    }
}

/// A struct of its own: a body is shown byte for byte, which a JSON value would not keep.
#[derive(Serialize)]
struct MessageLine<'a> {
    kind: &'static str,
    channel: &'a ChannelId,
    pos: &'a Pos,
    order: &'a str,
    id: &'a MessageId,
    sender: String,
    sent_at: &'a u64,
    arrived_at: &'a u64,
    body: Option<Box<RawValue>>,
}
