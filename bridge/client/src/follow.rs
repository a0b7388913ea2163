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
    /// How far what is in `ready` reaches.
    reached: Place,
    /// How far what was handed out does.
    place: Place,
    /// Reached when `missed` is empty; until then `reached.sync` stays behind.
    sync_after_missed: Option<Arc<str>>,
    /// Channels with something not yet seen.
    missed: VecDeque<Uuid>,
    ready: VecDeque<Ready>,
    /// Every channel must be listed anew before what was missed is known.
    relist: bool,
}

/// What is handed out next: updates, each followed by the places that are reached with it.
enum Ready {
    Update(Update),
    Channel(Uuid, ChannelPlace),
    Sync(Arc<str>),
    NewLife(String),
}

impl Place {
    /// The store's positions mean nothing any more: every channel is gone through from its first message. What
    /// came back from other homes may be new although it stands below what was seen.
    fn begin_life(&mut self, life: String) {
        self.life = life;
        for channel in self.channels.values_mut() {
            channel.pos = 0;
            channel.earlier.clone_from(&channel.order);
        }
    }
}

impl Follower {
    /// Connects and begins at `from`. The options' `since` and `life` are set here.
    pub async fn start(mut options: Options, from: From) -> Result<Self, Error> {
        let (since, life) = match &from {
            From::Place(place) => (Some(Arc::clone(&place.sync)), Some(place.life.clone())),
            From::Now | From::Start => (None, None),
        };
        options.since = since;
        options.life = life;
        let (client, events) = Client::connect(options).await?;
        let opened = client.opened().clone();
        let place = match &from {
            From::Place(place) => place.clone(),
            From::Now | From::Start => Place {
                life: opened.life.clone(),
                sync: Arc::clone(&opened.sync),
                channels: HashMap::new(),
            },
        };
        let mut follower = Self {
            events,
            reached: place.clone(),
            place,
            sync_after_missed: None,
            missed: VecDeque::new(),
            ready: VecDeque::new(),
            relist: false,
            client,
        };
        match from {
            From::Place(_) => {
                follower.opened(opened);
                // The first connection is no return, unless to another store.
                let is_return = |ready: &Ready| {
                    matches!(ready, Ready::Update(Update::Back { new_life: false }))
                };
                follower.ready.retain(|ready| !is_return(ready));
            }
            From::Now => {
                for channel in follower.client.all_channels().await? {
                    let seen = ChannelPlace {
                        pos: channel.head,
                        order: channel.last.map(|message| message.order),
                        earlier: None,
                    };
                    follower.reached.channels.insert(channel.channel, seen);
                }
                // What came since the sign-in is new, although the list has counted it already.
                let early: Vec<Event> = std::iter::from_fn(|| follower.events.try_next()).collect();
                for event in &early {
                    if let Event::Message(message) = event
                        && message.at.is_none()
                        && let Some(place) = follower.reached.channels.get_mut(&message.channel)
                    {
                        place.pos = place.pos.min(message.pos.saturating_sub(1));
                    }
                }
                follower.place = follower.reached.clone();
                for event in early {
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
            if let Some(update) = self.hand_out() {
                return Ok(update);
            }
            if self.relist {
                let channels = self.client.all_channels().await?;
                self.relist = false;
                let sync = self
                    .sync_after_missed
                    .clone()
                    .unwrap_or_else(|| Arc::clone(&self.reached.sync));
                self.miss(channels, sync);
                continue;
            }
            if let Some(channel) = self.missed.front() {
                let seen = self.reached.channels.get(channel).map_or(0, |place| place.pos);
                let page = self.client.messages_after(*channel, seen, PAGE).await?;
                self.take(page);
                continue;
            }
            if let Some(sync) = self.sync_after_missed.take() {
                self.reached.sync = Arc::clone(&sync);
                self.place.sync = sync;
            }
            match self.events.next().await {
                Some(Event::Ended(error)) => return Err(error),
                None => return Err(Error::Stopped),
                Some(event) => self.event(event),
            }
        }
    }

    /// The next update, if one is ready; with it everything is reached that stands before the one after it.
    fn hand_out(&mut self) -> Option<Update> {
        let mut update = None;
        while let Some(next) = self.ready.pop_front() {
            match next {
                Ready::Update(next) if update.is_none() => update = Some(next),
                Ready::Update(next) => {
                    self.ready.push_front(Ready::Update(next));
                    break;
                }
                Ready::Channel(channel, place) => {
                    self.place.channels.insert(channel, place);
                }
                Ready::Sync(sync) => self.place.sync = sync,
                Ready::NewLife(life) => self.place.begin_life(life),
            }
        }
        update
    }

    fn push(&mut self, update: Update) {
        self.ready.push_back(Ready::Update(update));
    }

    /// What was pushed so far reaches so far in that channel.
    fn reach(&mut self, channel: Uuid) {
        if let Some(place) = self.reached.channels.get(&channel) {
            self.ready.push_back(Ready::Channel(channel, place.clone()));
        }
    }

    fn event(&mut self, event: Event) {
        let sync = event.sync().cloned();
        match event {
            Event::Message(message) => self.see(message),
            Event::Receipt(receipt) => self.push(Update::Receipt(receipt)),
            Event::Channel(channel) => self.push(Update::Channel(channel)),
            Event::Lost(error) => self.push(Update::Lost(error)),
            Event::Opened(opened) => return self.opened(*opened),
            other @ (Event::Presence(_)
            | Event::Typing(_)
            | Event::Other { .. }
            | Event::Answered { .. }
            | Event::Ended(_)) => {
                self.push(Update::Other(other));
            }
        }
        if let Some(sync) = sync {
            self.reached.sync = Arc::clone(&sync);
            self.ready.push_back(Ready::Sync(sync));
        }
    }

    fn opened(&mut self, opened: Opened) {
        let new_life = self.reached.life != opened.life;
        self.push(Update::Back { new_life });
        if new_life {
            self.reached.begin_life(opened.life.clone());
            self.ready.push_back(Ready::NewLife(opened.life));
        }
        if opened.resync || new_life {
            self.relist = true;
            self.missed.clear();
            self.sync_after_missed = Some(opened.sync);
        } else {
            self.miss(opened.channels, opened.sync);
        }
    }

    fn miss(&mut self, channels: Vec<Channel>, sync: Arc<str>) {
        self.sync_after_missed = Some(sync);
        for channel in channels {
            let seen = self.reached.channels.entry(channel.channel).or_default();
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
        let before = self.reached.channels.get(&channel).map_or(0, |place| place.pos);
        // First what changed: whoever stops between two messages of the page goes on from the place of the first, and
        // would not hear of it again.
        for message in page.changed {
            self.push(Update::Changed(Box::new(message)));
        }
        for message in page.messages {
            self.see(Box::new(message));
        }
        let place = self.reached.channels.entry(channel).or_default();
        place.pos = place.pos.max(page.next);
        // A page that does not move would be asked for for ever.
        if page.more && place.pos > before {
            self.missed.push_front(channel);
        }
        self.reach(channel);
    }

    fn see(&mut self, message: Box<Message>) {
        let channel = message.channel;
        let place = self.reached.channels.entry(channel).or_default();
        // A page that went further has shown it as it is now.
        if message.at.is_some_and(|at| at <= place.pos) {
            return;
        }
        let update = place.see(message);
        self.push(update);
        self.reach(channel);
    }
}

impl ChannelPlace {
    /// What a message is to somebody who has got so far, and is so far now.
    fn see(&mut self, message: Box<Message>) -> Update {
        if message.pos <= self.pos {
            // Where nothing else came between, this was all.
            if message.at == Some(self.pos + 1) {
                self.pos += 1;
            }
            return Update::Changed(message);
        }
        self.pos = message.pos;
        if self.earlier.as_deref().is_some_and(|earlier| message.order.as_str() <= earlier) {
            return Update::Again(message);
        }
        if self.order.as_deref().is_none_or(|order| order < message.order.as_str()) {
            self.order = Some(message.order.clone());
        }
        Update::New(message)
    }
}
