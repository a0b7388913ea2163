//! What waits for a client, bounded in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use homing_wire::ChannelId;
use tokio::sync::{mpsc, oneshot};

use crate::call::Answer;
use crate::refused::Refused;
use crate::view::{ChannelView, MessageView, PresenceView, SyncPoint};

/// What a node puts before a client.
#[derive(Debug)]
pub enum ToClient {
    /// The answer to a call.
    Answer {
        /// The bridge's number of the call.
        call: u64,
        /// Its outcome.
        result: Box<Result<Answer, Refused>>,
    },
    /// The place of an answer that is on its way; nothing behind it may be shown before it.
    Later {
        /// The bridge's number of the call.
        call: u64,
        /// Where it will come. A dropped sender means [`crate::Code::Internal`].
        result: oneshot::Receiver<Result<Answer, Refused>>,
    },
    /// A change the client is told of.
    Notice(Box<Notice>),
    /// The last item: close the socket.
    Close(CloseReason),
}

/// A change that a client is told of.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A message that is new or changed.
    Message {
        /// The message, shared by all who are shown it.
        message: Arc<MessageView>,
        /// Of a message that was changed: the place of what changed it. Whoever has everything below has this, too.
        at: Option<u64>,
        /// The place it reaches.
        sync: SyncPoint,
    },
    /// Somebody has got further.
    Receipt {
        /// Where.
        channel: ChannelId,
        /// Who, as an address.
        user: Arc<str>,
        /// `pos` here.
        delivered: u64,
        /// `pos` here.
        read: u64,
        /// Unix milliseconds.
        at: u64,
        /// The place it reaches.
        sync: SyncPoint,
    },
    /// A watched user has come or gone.
    Presence {
        /// How the user is now.
        presence: PresenceView,
        /// The place it reaches.
        sync: SyncPoint,
    },
    /// Somebody types, or has stopped.
    Typing {
        /// Where.
        channel: ChannelId,
        /// Who, as an address.
        user: Arc<str>,
        /// Types.
        typing: bool,
        /// The place it reaches.
        sync: SyncPoint,
    },
    /// A channel that is new or changed.
    Channel {
        /// As the client's user sees it.
        channel: Box<ChannelView>,
        /// The place it reaches.
        sync: SyncPoint,
    },
}

/// Why a node ends a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The token is dead: logged out, password changed, disabled (4403).
    Revoked,
    /// The client does not read (4408).
    TooSlow,
    /// The node stops (1012).
    Restarting,
}

/// The outbox is full, or the session is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    /// More bytes wait than the limit allows. A [`CloseReason::TooSlow`] was put as the last item.
    #[error("the client does not read")]
    Full,
    /// The bridge has dropped the session.
    #[error("the session is gone")]
    Gone,
}

/// An item waits with at least this weight, so that many small ones are bounded as well.
const ITEM_BYTES: usize = 128;

impl ToClient {
    /// About how many bytes it keeps waiting.
    pub fn weight_bytes(&self) -> usize {
        let page = |rows: &[MessageView]| rows.iter().map(|m| m.body.0.len() + 256).sum::<usize>();
        ITEM_BYTES
            + match self {
                Self::Answer { result, .. } => match result.as_ref() {
                    Ok(Answer::Messages(p)) => page(&p.messages) + page(&p.changed),
                    Ok(Answer::FoundMessages(p)) => page(&p.messages),
                    Ok(Answer::Message(m)) => m.body.0.len(),
                    Ok(Answer::Channels(p)) => {
                        p.channels.iter().map(ChannelView::weight_bytes).sum()
                    }
                    Ok(Answer::Opened(o)) => o.channels.iter().map(ChannelView::weight_bytes).sum(),
                    Ok(Answer::Channel(view)) => view.weight_bytes(),
                    Ok(Answer::GroupChanged(p)) => {
                        p.results.iter().map(|row| row.user.len() + 96).sum()
                    }
                    Ok(Answer::Members(p)) => p.members.iter().map(|row| row.user.len() + 96).sum(),
                    Ok(Answer::Presence(p)) => {
                        p.presence.iter().map(|row| row.user.len() + 96).sum()
                    }
                    Ok(Answer::Users(p)) => p.users.iter().map(|user| user.len() + 32).sum(),
                    Ok(Answer::Found(p)) => p.users.len() * 768,
                    Ok(Answer::Devices(p)) => {
                        p.devices.iter().map(|row| row.name.len() + 160).sum()
                    }
                    Ok(Answer::Media(answer)) => answer.media.name.len() + 512,
                    Ok(Answer::MediaUrl(link)) => link.url.len(),
                    Ok(
                        Answer::Sent(_)
                        | Answer::Done
                        | Answer::Pending
                        | Answer::Link(_)
                        | Answer::Receipts(_)
                        | Answer::User(_),
                    )
                    | Err(_) => 0,
                },
                Self::Notice(notice) => match notice.as_ref() {
                    Notice::Message { message, .. } => message.body.0.len() + 256,
                    Notice::Receipt { .. } | Notice::Presence { .. } | Notice::Typing { .. } => 0,
                    Notice::Channel { channel, .. } => channel.weight_bytes(),
                },
                Self::Later { .. } | Self::Close(_) => 0,
            }
    }
}

/// The node's end of an outbox.
#[derive(Debug, Clone)]
pub struct OutboxSender {
    items: mpsc::UnboundedSender<ToClient>,
    waiting: Arc<AtomicUsize>,
    limit_bytes: usize,
}

/// The bridge's end of an outbox.
#[derive(Debug)]
pub struct Outbox {
    items: mpsc::UnboundedReceiver<ToClient>,
    waiting: Arc<AtomicUsize>,
}

/// An outbox in which at most `limit_bytes` wait. The queue itself has no bound of its own: the weight
/// of its items has.
pub fn outbox(limit_bytes: usize) -> (OutboxSender, Outbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (
        OutboxSender { items: sender, waiting: waiting.clone(), limit_bytes },
        Outbox { items: receiver, waiting },
    )
}

impl OutboxSender {
    /// Puts an item, unless too much waits: then the session is over.
    pub fn put(&self, item: ToClient) -> Result<(), Overflow> {
        let weight = item.weight_bytes();
        if self.waiting.fetch_add(weight, Ordering::Relaxed) + weight > self.limit_bytes {
            let _gone_anyway = self.items.send(ToClient::Close(CloseReason::TooSlow));
            return Err(Overflow::Full);
        }
        self.items.send(item).map_err(|_| Overflow::Gone)
    }

    /// Puts the last item, whatever waits.
    pub fn close(&self, reason: CloseReason) {
        let _gone_anyway = self.items.send(ToClient::Close(reason));
    }

    /// Whether the bridge has dropped its end.
    pub fn is_gone(&self) -> bool {
        self.items.is_closed()
    }
}

impl Outbox {
    /// The next item; `None` when the node has forgotten the session. Cancel safe.
    pub async fn next(&mut self) -> Option<ToClient> {
        self.items.recv().await
    }

    /// The next item if one is here, so that a burst is written with one flush.
    pub fn try_next(&mut self) -> Option<ToClient> {
        self.items.try_recv().ok()
    }

    /// Says that an item of this weight is on its way to the client and waits no longer.
    pub fn taken(&self, weight_bytes: usize) {
        let _before = self.waiting.fetch_sub(weight_bytes, Ordering::Relaxed);
    }
}
