//! Every message once, in the order of arrival, across losses of the connection and between two runs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::client::{Client, Events, Options};
use crate::error::Error;
use crate::types::{Channel, Message, MessagesPage, Opened, Receipt};
use crate::wire::Event;

/// The most a home puts on a page of messages.
const PAGE: u32 = 200;

/// How far a program has got: what it needs to go on later, missing nothing. Store it after having dealt with the
/// updates handed out so far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The store's life that the positions belong to.
    pub life: String,
    /// The place in the stream of changes.
    pub sync: Arc<str>,
    /// The last message seen of each channel.
    pub channels: HashMap<Uuid, ChannelPlace>,
}

/// The last message seen of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChannelPlace {
    /// Everything at or below was seen.
    pub pos: u64,
    /// The greatest `order` seen, which outlives the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// The greatest `order` seen in earlier lives of the store: what stands at or below it may have been seen then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<String>,
}

/// Where to begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum From {
    /// With what comes from now on.
    Now,
    /// With the first message of every channel.
    Start,
    /// After what was seen before.
    Place(Place),
}

/// Something to show.
#[derive(Clone, Debug)]
pub enum Update {
    /// A message not seen before; the user's own from other devices too.
    New(Box<Message>),
    /// A message that may have been seen before the home was restored from a backup, or not: what comes late stands
    /// below what was seen, so `order` does not tell. Whoever keeps messages knows by sender and id.
    Again(Box<Message>),
    /// A message seen before is different now (edited, deleted, reacted to), or is told once more.
    Changed(Box<Message>),
    /// How far somebody has got.
    Receipt(Receipt),
    /// A channel is new or changed.
    Channel(Box<Channel>),
    /// The connection was lost; it is being renewed.
    Lost(Error),
    /// Connected again; what was missed follows.
    Back {
        /// The store is another one (restored from a backup): earlier positions mean nothing any more.
        new_life: bool,
    },
    /// Any other event, such as presence.
    Other(Event),
}

/// Follows all channels of a user.
pub struct Follower {
    client: Client,
    events: Events,
    place: Place,
    /// Reached when `missed` is empty; until then `place.sync` stays behind.
    sync_after_missed: Option<Arc<str>>,
    /// Channels with something not yet seen.
    missed: VecDeque<Uuid>,
    ready: VecDeque<Update>,
    /// Every channel must be listed anew before what was missed is known.
    relist: Option<Relist>,
}

#[derive(Clone, Copy)]
enum Relist {
    SameLife,
    NewLife,
}

impl Follower {
    /// Connects and begins at `from`. The options' `since` and `life` are set here.
    pub async fn start(mut options: Options, from: From) -> Result<Self, Error> {
        let (since, life, channels) = match &from {
            From::Place(place) => {
                (Some(Arc::clone(&place.sync)), Some(place.life.clone()), place.channels.clone())
            }
            From::Now | From::Start => (None, None, HashMap::new()),
        };
        options.since = since;
        options.life = life;
        let (client, events) = Client::connect(options).await?;
        let opened = client.opened().clone();
        let mut follower = Self {
            events,
            place: Place { life: opened.life.clone(), sync: Arc::clone(&opened.sync), channels },
            sync_after_missed: None,
            missed: VecDeque::new(),
            ready: VecDeque::new(),
            relist: None,
            client,
        };
        match from {
            From::Place(place) => {
                follower.place.life = place.life;
                follower.place.sync = place.sync;
                follower.opened(opened);
                // The first connection is no return, unless to another store.
                follower.ready.retain(|update| !matches!(update, Update::Back { new_life: false }));
            }
            From::Now => {
                for channel in follower.client.all_channels().await? {
                    let seen = ChannelPlace {
                        pos: channel.head,
                        order: channel.last.map(|message| message.order),
                        earlier: None,
                    };
                    follower.place.channels.insert(channel.channel, seen);
                }
                // What came since the sign-in is new, although the list has counted it already.
                while let Some(event) = follower.events.try_next() {
                    if let Event::Message(message) = &event
                        && message.at.is_none()
                        && let Some(place) = follower.place.channels.get_mut(&message.channel)
                    {
                        place.pos = place.pos.min(message.pos.saturating_sub(1));
                    }
                    follower.event(event);
                }
            }
            From::Start => {
                let channels = follower.client.all_channels().await?;
                follower.miss(channels, Arc::clone(&opened.sync));
            }
        }
        Ok(follower)
    }

    /// For calls on the same session.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends in order, as [`Client::close`] does.
    pub async fn close(self) {
        self.client.close().await;
    }

    /// How far the updates handed out reach.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The next update; `Err` when the connection is gone for good. Cancel safe: nothing is lost.
    pub async fn next(&mut self) -> Result<Update, Error> {
        loop {
            if let Some(update) = self.ready.pop_front() {
                return Ok(update);
            }
            if let Some(why) = self.relist {
                let channels = self.client.all_channels().await?;
                self.relist = None;
                match why {
                    Relist::SameLife => {}
                    Relist::NewLife => self.forget_positions(),
                }
                let sync =
                    self.sync_after_missed.clone().unwrap_or_else(|| Arc::clone(&self.place.sync));
                self.miss(channels, sync);
                continue;
            }
            if let Some(channel) = self.missed.front() {
                let seen = self.place.channels.get(channel).map_or(0, |place| place.pos);
                let page = self.client.messages_after(*channel, seen, PAGE).await?;
                self.take(page);
                continue;
            }
            if let Some(sync) = self.sync_after_missed.take() {
                self.place.sync = sync;
            }
            match self.events.next().await {
                Some(Event::Ended(error)) => return Err(error),
                None => return Err(Error::Stopped),
                Some(event) => self.event(event),
            }
        }
    }

    fn event(&mut self, event: Event) {
        let sync = event.sync().cloned();
        match event {
            Event::Message(message) => {
                let update = self.see(message);
                self.ready.extend(update);
            }
            Event::Receipt(receipt) => self.ready.push_back(Update::Receipt(receipt)),
            Event::Channel(channel) => self.ready.push_back(Update::Channel(channel)),
            Event::Lost(error) => self.ready.push_back(Update::Lost(error)),
            Event::Opened(opened) => return self.opened(*opened),
            other @ (Event::Presence(_)
            | Event::Typing(_)
            | Event::Other { .. }
            | Event::Answered { .. }
            | Event::Ended(_)) => {
                self.ready.push_back(Update::Other(other));
            }
        }
        if let Some(sync) = sync {
            self.place.sync = sync;
        }
    }

    fn opened(&mut self, opened: Opened) {
        let new_life = self.place.life != opened.life;
        self.ready.push_back(Update::Back { new_life });
        self.place.life.clone_from(&opened.life);
        if opened.resync || new_life {
            self.relist = Some(if new_life { Relist::NewLife } else { Relist::SameLife });
            self.missed.clear();
            self.sync_after_missed = Some(opened.sync);
        } else {
            self.miss(opened.channels, opened.sync);
        }
    }

    /// The store's positions mean nothing any more: every channel is gone through from its first message. What
    /// came back from other homes may be new although it stands below what was seen.
    fn forget_positions(&mut self) {
        for place in self.place.channels.values_mut() {
            place.pos = 0;
            place.earlier = place.order.clone();
        }
    }

    fn miss(&mut self, channels: Vec<Channel>, sync: Arc<str>) {
        self.sync_after_missed = Some(sync);
        for channel in channels {
            let seen = self.place.channels.entry(channel.channel).or_default();
            if channel.head > seen.pos {
                self.missed.push_back(channel.channel);
            }
        }
    }

    /// A page of what was missed in the first channel of `missed`.
    fn take(&mut self, page: MessagesPage) {
        let Some(channel) = self.missed.pop_front() else {
            return;
        };
        let before = self.place.channels.get(&channel).map_or(0, |place| place.pos);
        for message in page.messages {
            let update = self.see(Box::new(message));
            self.ready.extend(update);
        }
        self.ready.extend(page.changed.into_iter().map(|m| Update::Changed(Box::new(m))));
        let place = self.place.channels.entry(channel).or_default();
        place.pos = place.pos.max(page.next);
        // A page that does not move would be asked for for ever.
        if page.more && place.pos > before {
            self.missed.push_front(channel);
        }
    }

    fn see(&mut self, message: Box<Message>) -> Option<Update> {
        let place = self.place.channels.entry(message.channel).or_default();
        // A page that went further has shown it as it is now.
        if message.at.is_some_and(|at| at <= place.pos) {
            return None;
        }
        if message.pos <= place.pos {
            // Where nothing else came between, this was all.
            if message.at == Some(place.pos + 1) {
                place.pos += 1;
            }
            return Some(Update::Changed(message));
        }
        place.pos = message.pos;
        if place.earlier.as_deref().is_some_and(|earlier| message.order.as_str() <= earlier) {
            return Some(Update::Again(message));
        }
        if place.order.as_deref().is_none_or(|order| order < message.order.as_str()) {
            place.order = Some(message.order.clone());
        }
        Some(Update::New(message))
    }
}
