//! What is on its way to the home: in the order written, once each, until it is stored or refused.
//!
//! One message of a conversation is under way at a time: where a home that is busy puts one off, none that was written
//! after it comes before it. The ids make repeating harmless, and the client library repeats over outages.

use std::collections::{HashSet, VecDeque};

use homing_client::{Error, Refusal, Uuid};
use serde_json::Value;

/// Messages that wait. Much more than anybody types during an outage; it bounds what a stuck key or a paste takes.
const WAITING: usize = 500;

/// When the same is tried again after the connection was lost under it too often.
const AGAIN_MS: u64 = 2_000;

#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) channel: Uuid,
    pub(crate) id: Uuid,
    pub(crate) body: Value,
    /// The words that are shown meanwhile; `None` for a change of another message.
    pub(crate) text: Option<String>,
    pub(crate) state: Sending,
    /// Unix milliseconds by this machine's clock.
    pub(crate) written_at: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sending {
    /// Not given to the connection yet.
    Waiting,
    /// Given to the connection, which sends it as soon as it can.
    Asked,
    /// The home asked to come again at that moment.
    Again { at_ms: u64 },
    /// The home does not take it.
    Refused { why: String },
}

/// What is to be done about an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// It will be sent again by itself.
    Later,
    /// It stays, and says why.
    Shown,
    /// A change of another message has failed.
    Dropped,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Outgoing>,
}

impl Outbox {
    /// Takes a message. `false`: too much waits already.
    pub(crate) fn put(&mut self, outgoing: Outgoing) -> bool {
        if self.queue.len() >= WAITING {
            return false;
        }
        self.queue.push_back(outgoing);
        true
    }

    pub(crate) fn of(&self, channel: Uuid) -> impl DoubleEndedIterator<Item = &Outgoing> {
        self.queue.iter().filter(move |outgoing| outgoing.channel == channel)
    }

    /// How many have no answer yet.
    pub(crate) fn unsent(&self) -> usize {
        self.queue
            .iter()
            .filter(|outgoing| !matches!(outgoing.state, Sending::Refused { .. }))
            .count()
    }

    /// Those whose turn it is: they count as asked from here on.
    pub(crate) fn due(&mut self, now_ms: u64) -> Vec<Outgoing> {
        let mut busy = HashSet::new();
        let mut due = Vec::new();
        for outgoing in &mut self.queue {
            let ready = match outgoing.state {
                Sending::Refused { .. } => continue,
                Sending::Waiting => true,
                Sending::Again { at_ms } => at_ms <= now_ms,
                Sending::Asked => false,
            };
            if busy.insert(outgoing.channel) && ready {
                outgoing.state = Sending::Asked;
                due.push(outgoing.clone());
            }
        }
        due
    }

    /// When the next one is due that is not now.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let again = |outgoing: &Outgoing| match outgoing.state {
            Sending::Again { at_ms } => Some(at_ms),
            Sending::Waiting | Sending::Asked | Sending::Refused { .. } => None,
        };
        self.queue.iter().filter_map(again).min()
    }

    /// The home has stored it.
    pub(crate) fn stored(&mut self, channel: Uuid, id: Uuid) -> Option<Outgoing> {
        let at = self.place(channel, id)?;
        self.queue.remove(at)
    }

    /// It was not stored.
    pub(crate) fn failed(
        &mut self,
        channel: Uuid,
        id: Uuid,
        error: &Error,
        now_ms: u64,
    ) -> Refused {
        let Some(at) = self.place(channel, id) else { return Refused::Dropped };
        let Some(outgoing) = self.queue.get_mut(at) else { return Refused::Dropped };
        let wait_ms =
            error.retry_after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(AGAIN_MS));
        let lost = matches!(error, Error::Closed { .. } | Error::Unreachable { .. });
        if let Some(wait_ms) = wait_ms.or(lost.then_some(AGAIN_MS)) {
            outgoing.state = Sending::Again { at_ms: now_ms.saturating_add(wait_ms) };
            return Refused::Later;
        }
        // Who is named in a text need not be in the conversation: it is sent as words, then. What was refused has changed
        // nothing, so that its id is free.
        let stranger = matches!(error, Error::Refused(Refusal { reason, .. }) if reason == "mention_of_stranger");
        if stranger && forget_mentions(&mut outgoing.body) {
            outgoing.state = Sending::Waiting;
            return Refused::Later;
        }
        if outgoing.text.is_none() {
            self.queue.remove(at);
            return Refused::Dropped;
        }
        outgoing.state = Sending::Refused { why: error.to_string() };
        Refused::Shown
    }

    /// Tries what was refused once more; how many there are.
    pub(crate) fn retry(&mut self, channel: Uuid) -> usize {
        let mut count = 0;
        for outgoing in self.queue.iter_mut().filter(|outgoing| outgoing.channel == channel) {
            if matches!(outgoing.state, Sending::Refused { .. }) {
                outgoing.state = Sending::Waiting;
                count += 1;
            }
        }
        count
    }

    /// Forgets what was refused; how many there were.
    pub(crate) fn discard(&mut self, channel: Uuid) -> usize {
        let before = self.queue.len();
        self.queue.retain(|outgoing| {
            outgoing.channel != channel || !matches!(outgoing.state, Sending::Refused { .. })
        });
        before - self.queue.len()
    }

    fn place(&self, channel: Uuid, id: Uuid) -> Option<usize> {
        self.queue.iter().position(|outgoing| outgoing.channel == channel && outgoing.id == id)
    }
}

/// Takes the mentions out of a body, or of what an edit puts in the place of one. `false`: there were none.
fn forget_mentions(body: &mut Value) -> bool {
    let Some(body) = body.as_object_mut() else { return false };
    if body.remove("mentions").is_some() {
        return true;
    }
    body.get_mut("body").is_some_and(forget_mentions)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn outgoing(channel: u128, id: u128) -> Outgoing {
        Outgoing {
            channel: Uuid::from_u128(channel),
            id: Uuid::from_u128(id),
            body: json!({"type": "text", "text": "x", "mentions": ["bob@globex.test"]}),
            text: Some("x".into()),
            state: Sending::Waiting,
            written_at: 0,
        }
    }

    fn refusal(reason: &str, retry_after: Option<Duration>) -> Error {
        let code = if retry_after.is_some() { Refusal::BUSY } else { -32602 };
        let (reason, message) = (reason.to_owned(), String::new());
        Error::Refused(Refusal { code, reason, message, retry_after, limit: None })
    }

    fn ids(due: &[Outgoing]) -> Vec<u128> {
        due.iter().map(|outgoing| outgoing.id.as_u128()).collect()
    }

    #[test]
    fn nothing_overtakes_what_was_put_off() {
        let mut outbox = Outbox::default();
        for (channel, id) in [(1, 1), (1, 2), (2, 3)] {
            assert!(outbox.put(outgoing(channel, id)));
        }
        assert_eq!(ids(&outbox.due(0)), [1, 3]);
        let (first, busy) =
            (Uuid::from_u128(1), refusal("too_fast", Some(Duration::from_millis(50))));
        assert_eq!(outbox.failed(first, first, &busy, 10), Refused::Later);
        assert_eq!(ids(&outbox.due(59)), [0; 0]);
        assert_eq!(outbox.deadline(), Some(60));
        assert_eq!(ids(&outbox.due(60)), [1]);
        assert!(outbox.stored(first, first).is_some());
        assert!(outbox.stored(first, first).is_none());
        assert_eq!(ids(&outbox.due(61)), [2]);
    }

    #[test]
    fn what_is_refused_says_why_and_lets_the_others_pass() {
        let mut outbox = Outbox::default();
        outbox.put(outgoing(1, 1));
        outbox.put(outgoing(1, 2));
        outbox.due(0);
        let one = Uuid::from_u128(1);
        let stranger = refusal("mention_of_stranger", None);
        assert_eq!(outbox.failed(one, one, &stranger, 0), Refused::Later);
        let again = outbox.due(0);
        assert!(again[0].body.get("mentions").is_none() && again[0].id == one);
        assert_eq!(outbox.failed(one, one, &refusal("first_contact", None), 0), Refused::Shown);
        assert_eq!((ids(&outbox.due(0)), outbox.unsent()), (vec![2], 1));
        assert_eq!(outbox.retry(one), 1);
        assert_eq!(outbox.unsent(), 2);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = Outbox::default();
        assert!((0..WAITING).all(|id| outbox.put(outgoing(1, id as u128))));
        assert!(!outbox.put(outgoing(1, u128::MAX)));
    }
}
