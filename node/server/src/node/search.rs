//! Finding messages by their words: in the user's channels alone, and of these what the user is shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use data_encoding::BASE64URL_NOPAD;
use homing_core::{Fault, Folded};
use homing_link::{Answer, Code, FoundMessages, MessageView, Refused};
use homing_search::{Key, Query, QueryError};
use homing_store::Store;
use homing_wire::{ChannelId, Epoch, Local, Pos, SignedRoster, UserRef};
use uuid::Uuid;

use super::calls::{Outcome, Stop, bad_cursor};
use super::hub::Hub;
use super::read::{Known, ReadJob, weight_folded};
use super::show::{Shower, shows};
use crate::search::{Search, Turn, texts};

/// Rows of a page, where fewer are not asked for.
const PAGE: u32 = 100;

/// Messages that the index is asked for at once, where fewer are wanted: each time it is asked, it looks up all words.
const LOOKED_FOR: usize = 64;

/// Messages that the index names and one call reads from the store, at most: some of them do not have the words as they
/// stand now, or are not shown to the user.
const READ: usize = 500;

/// Documents of the index that one call looks at, at most: about 20 ms.
const STEPS: usize = 400_000;

/// A user with too many searches under way comes again after so long, in milliseconds: about what they take.
const RETRY_MS: u64 = 200;

/// What is looked for, for whom.
pub(super) struct SearchJob {
    search: Arc<Search>,
    query: Query,
    channel: Option<ChannelId>,
    below: Option<Key>,
    limit: usize,
    max_bytes: usize,
    user: UserRef,
    life: Epoch,
    /// Gone with the job.
    _turn: Turn,
}

impl Hub {
    pub(super) fn messages_search(
        &mut self,
        user: &Local,
        query: &str,
        channel: Option<ChannelId>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Outcome, Stop> {
        let most = self.limits.search_query_bytes;
        if query.len() > most {
            let message = format!("query has {} bytes: {most} at most", query.len());
            let refused = Refused::new(Code::TooLarge, "query_too_large", message);
            return Err(refused.with_limit(most as u64).into());
        }
        let query = Query::parse(query).map_err(|error| {
            let refused = Refused::new(Code::InvalidParams, "invalid_query", error.to_string());
            match error {
                QueryError::Empty => refused,
                QueryError::TooMany(most) => refused.with_limit(most as u64),
            }
        })?;
        if let Some(channel) = channel {
            self.head_for_member(user, channel)?;
        }
        let life = self.home.epoch();
        let below = match cursor {
            Some(text) => Some(parse_cursor(text, life).ok_or_else(bad_cursor)?),
            None => None,
        };
        let Some(search) = self.search.clone() else {
            let message = "this home has no search: its operator has switched it off";
            return Err(Refused::new(Code::NotAllowed, "search_off", message).into());
        };
        let Some(turn) = search.turn(user) else {
            let message = "your other searches have not ended yet";
            let refused = Refused::new(Code::Busy, "searches_busy", message);
            let refused = refused.with_limit(search.limits.of_user as u64);
            return Err(refused.with_retry_after_ms(RETRY_MS).into());
        };
        Ok(Outcome::Read(ReadJob::Search(Box::new(SearchJob {
            search,
            query,
            channel,
            below,
            limit: limit.clamp(1, PAGE) as usize,
            max_bytes: self.limits.page_bytes,
            user: self.home.user(user),
            life,
            _turn: turn,
        }))))
    }
}

impl SearchJob {
    /// Reads what is found.
    pub(super) fn run(self, store: &dyn Store, shower: &Shower) -> Result<Answer, Fault> {
        let began = Instant::now();
        let answer = self.find(store, shower);
        self.search.metrics.searches.add(began.elapsed());
        answer
    }

    fn find(&self, store: &dyn Store, shower: &Shower) -> Result<Answer, Fault> {
        let channels: Vec<ChannelId> = match self.channel {
            Some(channel) => vec![channel],
            None => store.listing(&self.user.local)?.into_iter().map(|row| row.channel).collect(),
        };
        let asked: Vec<_> = channels.iter().map(|channel| *channel.as_bytes()).collect();
        let mut page = Page {
            job: self,
            store,
            shower,
            rooms: HashMap::new(),
            messages: Vec::new(),
            bytes: 0,
            read: 0,
        };
        let (mut below, mut steps) = (self.below, STEPS);
        loop {
            let mut fault = None;
            let found = self.search.find(homing_search::Search {
                query: &self.query,
                channels: &asked,
                sees: &mut |channel, pos| match page.sees(channel_of(*channel), Pos(pos)) {
                    Ok(sees) => sees,
                    Err(error) => {
                        fault.get_or_insert(error);
                        false
                    }
                },
                below,
                limit: self.limit.max(LOOKED_FOR),
                steps,
            });
            if let Some(fault) = fault {
                return Err(fault);
            }
            // There is no index for now: then nothing more is found.
            let Some(found) = found else { return Ok(page.answer(below)) };
            for key in found.keys {
                if page.is_full() || !page.show(key)? {
                    return Ok(page.answer(below));
                }
                below = Some(key);
            }
            below = found.next;
            steps = steps.saturating_sub(found.steps);
            if below.is_none() || steps == 0 || page.is_full() {
                return Ok(page.answer(below));
            }
        }
    }
}

/// What is found for one call.
struct Page<'a> {
    job: &'a SearchJob,
    store: &'a dyn Store,
    shower: &'a Shower,
    /// What the user may see of channels; `None`: nothing.
    rooms: HashMap<ChannelId, Option<Room>>,
    messages: Vec<MessageView>,
    bytes: usize,
    /// Messages read.
    read: usize,
}

/// A channel as it is while the call runs.
struct Room {
    known: Known,
    /// Its roster has still to be read.
    bare: bool,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.messages.len() >= self.job.limit || self.read >= READ
    }

    /// Whether the user may see what stands there.
    fn sees(&mut self, channel: ChannelId, pos: Pos) -> Result<bool, Fault> {
        let room = match self.rooms.get(&channel) {
            Some(room) => room,
            None => {
                let room = self.room(channel)?;
                self.rooms.entry(channel).or_insert(room)
            }
        };
        Ok(room.as_ref().is_some_and(|room| room.known.has(pos)))
    }

    fn room(&self, channel: ChannelId) -> Result<Option<Room>, Fault> {
        let Some(state) = self.store.channel(channel)? else { return Ok(None) };
        // What is in no list of the user's, a declined request for instance, is not found either.
        let member = state.member(&self.job.user).filter(|member| member.is_listed());
        Ok(member.map(|member| Room {
            known: Known::of(&state, member, None),
            bare: state.group.is_some(),
        }))
    }

    /// Puts a message on the page, if the user is shown it and it has the words as it stands now; false: there is no room
    /// for it.
    fn show(&mut self, key: Key) -> Result<bool, Fault> {
        let (channel, pos) = (channel_of(key.channel), Pos(key.pos));
        if !self.sees(channel, pos)? {
            return Ok(true);
        }
        self.read += 1;
        let (store, user) = (self.store, &self.job.user);
        let Some(Some(room)) = self.rooms.get_mut(&channel) else { return Ok(true) };
        if std::mem::take(&mut room.bare)
            && let Some(signed) = store.roster(channel)?
        {
            let roster = SignedRoster::stored(signed);
            let roster = roster.map_err(|error| Fault(format!("roster of {channel}: {error}")))?;
            room.known.roster = Some(Arc::new(roster));
        }
        let entry = store.entry(channel, pos)?;
        let Some(entry) = entry.filter(|entry| shows(entry) && entry.is_shown_to(user)) else {
            return Ok(true);
        };
        let fold = store.fold(channel, pos)?;
        let message = Folded::read(store, Arc::new(entry), fold)?;
        let view = room.known.message(&message, user, self.shower);
        // Hidden by the user, or rejected.
        if view.status.is_some() {
            return Ok(true);
        }
        let texts = texts(&view.body.0);
        if !self.job.query.matches(texts.iter().map(String::as_str)) {
            return Ok(true);
        }
        let bytes = self.bytes + weight_folded(&message);
        if bytes > self.job.max_bytes && !self.messages.is_empty() {
            return Ok(false);
        }
        self.bytes = bytes;
        self.messages.push(view);
        Ok(true)
    }

    fn answer(self, next: Option<Key>) -> Answer {
        let cursor = next.map(|key| cursor(&key, self.job.life));
        let indexing = self.job.search.is_indexing();
        Answer::FoundMessages(FoundMessages { messages: self.messages, cursor, indexing })
    }
}

fn channel_of(id: homing_search::Channel) -> ChannelId {
    ChannelId(Uuid::from_bytes(id))
}

/// A place in what is found, in this life of the home.
fn cursor(key: &Key, life: Epoch) -> String {
    let mut bytes = [0; 40];
    bytes[..8].copy_from_slice(&life.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&key.stamp.to_be_bytes());
    bytes[16..32].copy_from_slice(&key.channel);
    bytes[32..].copy_from_slice(&key.pos.to_be_bytes());
    BASE64URL_NOPAD.encode(&bytes)
}

fn parse_cursor(text: &str, life: Epoch) -> Option<Key> {
    let bytes: [u8; 40] = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()?;
    let number = |at: usize| bytes[at..at + 8].try_into().ok().map(u64::from_be_bytes);
    let channel = bytes[16..32].try_into().ok()?;
    let key = Key { stamp: number(8)?, channel, pos: number(32)? };
    (number(0)? == life.0).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_one_of_this_life_or_none() {
        let key = Key { stamp: u64::MAX - 3, channel: [9; 16], pos: 77 };
        let text = cursor(&key, Epoch(5));
        assert_eq!(parse_cursor(&text, Epoch(5)), Some(key));
        assert_eq!(parse_cursor(&text, Epoch(6)), None);
        for bad in ["", "x", &text[1..], &format!("{text}AA"), "é"] {
            assert_eq!(parse_cursor(bad, Epoch(5)), None, "{bad}");
        }
    }
}
