//! `homing client tail`.

use std::collections::HashMap;
use std::time::Duration;

use homing_client::{Channel, Error, Follower, From, Message, Place, Receipt, Update, Uuid};
use serde::Serialize;
use tokio::time::Instant;

use super::show::{Days, Screen};
use super::{Session, note};

/// What was printed is told to its senders, and written to the profile, so long after: one call and one file for
/// many messages.
const GATHER: Duration = Duration::from_millis(200);

/// What is printed first.
pub(super) enum Begin {
    /// What came since this profile's last time.
    Missed,
    /// Nothing.
    Now,
    /// Everything.
    Start,
}

/// A line of `--json`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Message {
        #[serde(flatten)]
        message: &'a Message,
        /// It was printed before and is different now.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        changed: bool,
        /// It may have been printed before the home was restored from a backup, or not.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    Receipt(&'a Receipt),
    Channel(&'a Channel),
}

impl<'a> Line<'a> {
    fn message(message: &'a Message) -> Self {
        Self::Message { message, changed: false, again: false }
    }
}

struct Tail<'a> {
    session: &'a Session,
    screen: &'a Screen,
    me: &'a str,
    only: Option<Uuid>,
    days: Days,
    printed: u64,
    /// Printed, and not yet told to be delivered.
    delivered: HashMap<Uuid, u64>,
    /// When what was gathered is dealt with.
    due: Option<Instant>,
}

pub(super) async fn run(
    session: &Session,
    screen: &Screen,
    with: Option<&str>,
    count: Option<u64>,
    begin: Begin,
) -> anyhow::Result<()> {
    let peer = with.map(|typed| session.peer(typed)).transpose()?;
    let from = match begin {
        Begin::Missed => session.store.load_place()?.map_or(From::Now, From::Place),
        Begin::Now => From::Now,
        Begin::Start => From::Start,
    };
    let mut follower = Follower::start(session.options()?, from).await?;
    let only = match &peer {
        Some(peer) => Some(peer.channel(follower.client()).await?.channel),
        None => None,
    };
    let mut tail = Tail {
        session,
        screen,
        me: session.address()?,
        only,
        days: Days::default(),
        printed: 0,
        delivered: HashMap::new(),
        due: None,
    };
    let stop = stop_signal();
    tokio::pin!(stop);
    let ended = loop {
        if count.is_some_and(|count| tail.printed >= count) {
            break Ok(());
        }
        let due = tail.due;
        tokio::select! {
            biased;
            () = &mut stop => break Ok(()),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                tail.settle(&follower).await?;
            }
            update = follower.next() => match update {
                Ok(update) => tail.show(update)?,
                Err(error) => break Err(error),
            },
        }
    };
    // What was printed counts, whatever ended it; a home that is away is told the next time.
    let settling = tail.settle(&follower);
    match tokio::time::timeout(Duration::from_secs(2), settling).await {
        Ok(settled) => settled?,
        Err(_) => tail.remember(follower.place())?,
    }
    follower.close().await;
    Ok(ended?)
}

impl Tail<'_> {
    fn show(&mut self, update: Update) -> anyhow::Result<()> {
        let json = self.screen.json;
        match update {
            Update::New(message) if self.wanted(message.channel) && message.sender != self.me => {
                if json {
                    self.screen.object(&Line::message(&message))?;
                } else {
                    self.screen.message(&mut self.days, &message, None)?;
                }
                self.printed += 1;
                let pos = self.delivered.entry(message.channel).or_default();
                *pos = (*pos).max(message.pos);
                self.due.get_or_insert_with(|| Instant::now() + GATHER);
            }
            Update::Changed(message) if self.wanted(message.channel) && is_different(&message) => {
                if json {
                    let message = &message;
                    self.screen.object(&Line::Message { message, changed: true, again: false })?;
                } else {
                    self.screen.message(&mut self.days, &message, None)?;
                }
                self.due.get_or_insert_with(|| Instant::now() + GATHER);
            }
            // People would get the whole history once more; programs know what they have.
            Update::Again(message) if self.wanted(message.channel) => {
                if json && message.sender != self.me {
                    let message = &message;
                    self.screen.object(&Line::Message { message, changed: false, again: true })?;
                }
                let pos = self.delivered.entry(message.channel).or_default();
                *pos = (*pos).max(message.pos);
                self.due.get_or_insert_with(|| Instant::now() + GATHER);
            }
            Update::Receipt(receipt) if self.wanted(receipt.channel) => {
                self.screen.result(&Line::Receipt(&receipt), |screen| screen.receipt(&receipt))?;
            }
            Update::Channel(channel) if json && self.wanted(channel.channel) => {
                self.screen.object(&Line::Channel(&channel))?;
            }
            Update::Lost(error) => note(&format!("connection lost ({error}); trying again")),
            Update::Back { new_life: false } => note("connected again"),
            Update::Back { new_life: true } => {
                note(
                    "the home was restored from a backup; what stands above the last message seen follows, \
                     `history` shows everything",
                );
            }
            Update::New(_)
            | Update::Again(_)
            | Update::Changed(_)
            | Update::Receipt(_)
            | Update::Channel(_)
            | Update::Other(_) => {}
        }
        Ok(())
    }

    fn wanted(&self, channel: Uuid) -> bool {
        self.only.is_none_or(|only| only == channel)
    }

    /// Tells what was printed and writes down how far that is.
    async fn settle(&mut self, follower: &Follower) -> anyhow::Result<()> {
        self.due = None;
        self.remember(follower.place())?;
        for (channel, pos) in std::mem::take(&mut self.delivered) {
            match follower.client().mark_delivered(channel, pos).await {
                // The user may have left the channel meanwhile; the next mark covers this one.
                Ok(()) | Err(Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// With a single conversation shown, only that one has been read further.
    fn remember(&self, place: &Place) -> anyhow::Result<()> {
        let place = match self.only {
            None => place.clone(),
            Some(only) => {
                let Some(mut stored) = self.session.store.load_place()? else {
                    return Ok(());
                };
                if stored.life != place.life {
                    return Ok(());
                }
                if let Some(seen) = place.channels.get(&only) {
                    stored.channels.insert(only, seen.clone());
                }
                stored
            }
        };
        Ok(self.session.store.save_place(&place)?)
    }
}

/// A message may be told twice around a reconnection; only a real change is worth a line.
fn is_different(message: &Message) -> bool {
    message.edited_at.is_some()
        || message.status.is_some()
        || !message.reactions.is_empty()
        || matches!(message.body(), homing_client::Body::Deleted)
}

/// Ctrl-C, or being asked to end.
async fn stop_signal() {
    let interrupted = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
            return;
        }
    }
    // Without a handler the signal ends the program by itself.
    let _handled = interrupted.await;
}
