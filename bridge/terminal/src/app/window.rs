//! What is held of one conversation: a run of its messages without holes, and how to make it longer at either end.
//!
//! The run is one of places (`pos`), as pages are; it is shown by `order`. What came late stands further up than where it
//! arrived, at times above the oldest that is held: what belongs between comes with the pages that are scrolled to.

use std::collections::BTreeMap;
use std::ops::Bound;

use homing_client::{Body, Message, MessageRef, MessagesPage};

/// Messages held of one conversation. A screen shows fifty, so that scrolling finds pages ready, and the largest (64 KiB
/// each, all of them) take 64 MiB.
pub(crate) const HELD: usize = 1_000;

/// A message with its body read.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) message: Message,
    pub(crate) body: Body,
}

impl Entry {
    pub(crate) fn new(message: Message) -> Self {
        Self { body: message.body(), message }
    }

    pub(crate) fn of(&self) -> MessageRef {
        MessageRef { id: self.message.id, sender: self.message.sender.clone() }
    }

    /// It can be answered, reacted to, edited.
    pub(crate) fn is_whole(&self) -> bool {
        match self.body {
            Body::Text { .. } | Body::Media { .. } | Body::Other => self.message.status.is_none(),
            Body::Deleted | Body::Notice => false,
        }
    }
}

/// What became of a message that was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// Everything is held up to there.
    Whole,
    /// Something before it is not known: the page after what is held is to be asked for.
    Gap,
}

/// Where the reader is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Scroll {
    /// At the end, and stays there when something is written.
    #[default]
    Latest,
    /// The last row on the screen is one of this message, so many rows above its last.
    Bottom { item: Item, above: usize },
    /// The first row on the screen is the first of this message.
    Top { item: Item },
}

/// Something that is shown in a conversation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Item {
    /// A message that the home has, by its `order`.
    Stored(String),
    /// One that is on its way there, by its id. Comes after all that is stored.
    Outgoing(uuid::Uuid),
}

#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Answers to what was asked for an earlier window of the conversation are not for this one.
    pub(crate) generation: u64,
    entries: BTreeMap<String, Entry>,
    /// Everything from here …
    low: u64,
    /// … up to there is held.
    high: u64,
    /// There is something before `low`.
    pub(crate) more_before: bool,
    /// There is nothing behind `high` that was told.
    pub(crate) reaches_end: bool,
    /// The first page is here.
    pub(crate) loaded: bool,
    pub(crate) asked_before: bool,
    pub(crate) asked_after: bool,
    /// What stood above this place when the conversation was opened was new.
    pub(crate) unread_from: Option<u64>,
    pub(crate) scroll: Scroll,
    /// Rows that the reader wanted to go up beyond what was held.
    pub(crate) rows_owed: usize,
    /// The message that the keys are about.
    pub(crate) selected: Option<String>,
}

impl Window {
    /// An empty one, to be filled with the latest page, or with what comes after a place.
    pub(crate) fn new(generation: u64, after: Option<u64>) -> Self {
        let read = after.unwrap_or(0);
        Self {
            generation,
            entries: BTreeMap::new(),
            low: read + 1,
            high: read,
            more_before: read > 0,
            reaches_end: false,
            loaded: false,
            asked_before: false,
            asked_after: false,
            unread_from: after,
            scroll: Scroll::Latest,
            rows_owed: 0,
            selected: None,
        }
    }

    pub(crate) fn low(&self) -> u64 {
        self.low
    }

    pub(crate) fn high(&self) -> u64 {
        self.high
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn entry(&self, order: &str) -> Option<&Entry> {
        self.entries.get(order)
    }

    /// From the last one up.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().rev().map(|(order, entry)| (order.as_str(), entry))
    }

    /// From this one up, without it.
    pub(crate) fn before(&self, order: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let range = self.entries.range::<str, _>((Bound::Unbounded, Bound::Excluded(order)));
        range.rev().map(|(order, entry)| (order.as_str(), entry))
    }

    /// From this one down, without it.
    pub(crate) fn after(&self, order: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let range = self.entries.range::<str, _>((Bound::Excluded(order), Bound::Unbounded));
        range.map(|(order, entry)| (order.as_str(), entry))
    }

    /// The message of that name, if it is held.
    pub(crate) fn find(&self, of: &MessageRef) -> Option<&Entry> {
        let mut newest_first = self.entries.values().rev();
        newest_first.find(|entry| entry.message.id == of.id && entry.message.sender == of.sender)
    }

    /// The first message that was new when the conversation was opened.
    pub(crate) fn first_unread(&self, me: &str) -> Option<&str> {
        let from = self.unread_from?;
        let new = |entry: &Entry| entry.message.pos > from && entry.message.sender != me;
        self.entries.iter().find(|(_, entry)| new(entry)).map(|(order, _)| order.as_str())
    }

    /// The user comes back: to the first message above `new`, or to the end. `far`: that is more than a page away. `false`:
    /// what is to be seen there is not held.
    pub(crate) fn begin(&mut self, new: Option<u64>, far: bool, me: &str) -> bool {
        self.selected = None;
        self.scroll = Scroll::Latest;
        self.unread_from = new;
        let Some(read) = new else { return !self.loaded || self.reaches_end };
        if !self.loaded {
            // The page that is on its way may be another than is wanted now.
            return if self.asked_after { self.high == read } else { !far };
        }
        let first = self.first_unread(me).map(str::to_owned);
        let Some(first) = first.filter(|_| self.reaches_end && self.low <= read + 1) else {
            return false;
        };
        self.scroll = Scroll::Top { item: Item::Stored(first) };
        true
    }

    /// The latest page. `head`: what the home had told of by then.
    pub(crate) fn take_latest(&mut self, page: MessagesPage, head: u64) {
        self.low = page.next.max(1);
        self.high = head;
        self.more_before = page.more;
        self.reaches_end = true;
        self.loaded = true;
        for message in page.messages {
            self.high = self.high.max(message.pos);
            self.put(message);
        }
    }

    /// The page before what is held. Beyond [`HELD`] the newest go.
    pub(crate) fn take_before(&mut self, page: MessagesPage) {
        self.asked_before = false;
        // A page that does not go on would be asked for for ever.
        self.more_before = page.more && page.next < self.low;
        self.low = self.low.min(page.next.max(1));
        for message in page.messages {
            self.put(message);
        }
        while self.entries.len() > HELD {
            let Some((_, gone)) = self.entries.pop_last() else { break };
            self.high = self.high.min(gone.message.pos.saturating_sub(1)).max(self.low);
            self.reaches_end = false;
        }
    }

    /// The page after what is held, with what it changed. Beyond [`HELD`] the oldest go.
    pub(crate) fn take_after(&mut self, page: MessagesPage) {
        self.asked_after = false;
        self.loaded = true;
        self.reaches_end = !page.more || page.next <= self.high;
        self.high = self.high.max(page.next);
        for message in page.messages {
            self.put(message);
        }
        for message in page.changed {
            self.replace(message);
        }
        self.drop_oldest();
    }

    /// A message that the home told of, or that it has stored for this user.
    pub(crate) fn told(&mut self, message: Message) -> Told {
        let reach = message.at.unwrap_or(message.pos);
        if !self.loaded || !self.reaches_end {
            self.replace(message);
            return Told::Whole;
        }
        if reach > self.high + 1 {
            self.replace(message);
            return Told::Gap;
        }
        let is_new = message.at.is_none() && message.pos > self.high;
        self.high = self.high.max(reach);
        if is_new {
            self.put(message);
            self.drop_oldest();
        } else {
            self.replace(message);
        }
        Told::Whole
    }

    /// The user wants to see it no more.
    pub(crate) fn hide(&mut self, of: &MessageRef) {
        self.entries
            .retain(|_, entry| entry.message.id != of.id || entry.message.sender != of.sender);
        self.selected = None;
    }

    fn drop_oldest(&mut self) {
        while self.entries.len() > HELD {
            let Some((_, gone)) = self.entries.pop_first() else { break };
            self.low = self.low.max(gone.message.pos + 1);
            self.more_before = true;
        }
    }

    /// Takes the place of what is held under its name; what is not held stays so.
    fn replace(&mut self, message: Message) {
        let is_held = self.entries.contains_key(&message.order);
        if is_held || (self.loaded && (self.low..=self.high).contains(&message.pos)) {
            self.put(message);
        }
    }

    fn put(&mut self, message: Message) {
        if message.status.as_deref() == Some("hidden") {
            self.entries.remove(&message.order);
            if self.selected.as_deref() == Some(&message.order) {
                self.selected = None;
            }
            return;
        }
        self.entries.insert(message.order.clone(), Entry::new(message));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scene::{message, page};

    fn held(window: &Window) -> Vec<u64> {
        window.entries.values().map(|entry| entry.message.pos).collect()
    }

    #[test]
    fn what_is_told_in_turn_makes_the_run_longer_and_a_hole_is_seen() {
        let mut window = Window::new(0, None);
        window.take_latest(page([5, 6, 7], true, 5), 7);
        assert_eq!(window.told(message(8)), Told::Whole);
        assert_eq!(window.told(message(10)), Told::Gap);
        assert_eq!((held(&window), window.high()), (vec![5, 6, 7, 8], 8));
        window.take_after(page([9, 10], false, 10));
        assert_eq!((held(&window), window.high()), (vec![5, 6, 7, 8, 9, 10], 10));
        // A change of an old message is a place like any other.
        let mut changed = message(6);
        changed.at = Some(11);
        changed.edited_at = Some(1);
        assert_eq!(window.told(changed), Told::Whole);
        assert_eq!(window.high(), 11);
        assert!(window.entries.values().any(|entry| entry.message.edited_at.is_some()));
        let mut hidden = message(6);
        hidden.status = Some("hidden".into());
        window.told(hidden);
        assert_eq!(held(&window), [5, 7, 8, 9, 10]);
    }

    #[test]
    fn what_is_held_is_bounded_at_both_ends() {
        let mut window = Window::new(0, None);
        window.take_latest(page(3001..=3200, true, 3001), 3200);
        for low in (1..3001).rev().step_by(200) {
            window.take_before(page(low - 199..=low, low > 200, low - 199));
            assert!(window.len() <= HELD);
        }
        assert_eq!((window.low(), window.more_before), (1, false));
        assert_eq!((window.high(), window.reaches_end), (1000, false));
        // What is told meanwhile waits for the reader to come down again.
        assert_eq!(window.told(message(3201)), Told::Whole);
        while !window.reaches_end {
            let from = window.high() + 1;
            let to = (from + 199).min(3201);
            window.take_after(page(from..=to, to < 3201, to));
            assert!(window.len() <= HELD);
        }
        assert_eq!((window.high(), window.more_before), (3201, true));
        assert_eq!(window.low(), 3201 - 999);
    }

    proptest! {
        /// Whatever comes in whatever order: between its ends the run has everything that the conversation has.
        #[test]
        fn there_are_no_holes(deeds in proptest::collection::vec(0_u8..4, 1..60), start in 1_u64..400) {
            let mut head = 400;
            let mut window = Window::new(0, None);
            let first = start.max(200);
            window.take_latest(page(first..=head, first > 1, first), head);
            for deed in deeds {
                match deed {
                    0 => {
                        head += 1;
                        if window.told(message(head)) == Told::Gap {
                            window.asked_after = true;
                        }
                    }
                    // One that is not told here (a fold, or somebody blocked).
                    1 => head += 1,
                    2 if window.more_before => {
                        let to = window.low() - 1;
                        let from = to.saturating_sub(99).max(1);
                        window.take_before(page(from..=to, from > 1, from));
                    }
                    3 if !window.reaches_end || window.asked_after => {
                        let from = window.high() + 1;
                        let to = (from + 99).min(head);
                        window.take_after(page(from..=to, to < head, to.max(window.high())));
                    }
                    _ => {}
                }
                let held = held(&window);
                for pos in window.low()..=window.high() {
                    prop_assert!(held.contains(&pos), "{pos} of {:?}..={:?}", window.low(), window.high());
                }
            }
        }
    }
}
