//! The judge: what clients were answered and shown, against what both homes of each chat hold in the end.
//!
//! It knows nothing of processes or sockets: it is given one chat's evidence and says what is wrong with it. So it can
//! be given forged evidence, which it has to see through; the tests below do that.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use homing_client::Uuid;
use serde::Serialize;

/// A body by its hash: evidence of hours fits into memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyHash(u64);

impl BodyHash {
    /// Of the JSON, byte for byte.
    pub fn of(json: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        json.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// One message that a client sent, until it was answered.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The client's.
    pub id: Uuid,
    /// What it says.
    pub body: BodyHash,
    /// Which of the two wrote it: 0 or 1.
    pub by: usize,
    /// Messages of one batch were under way together; those of the next were sent when all of it was answered.
    pub batch: u32,
    /// All of the batch was answered as it was first sent: then its order holds within it too.
    pub in_turn: bool,
    /// When it was first sent, after the beginning.
    pub sent_at: Duration,
    /// The answer; `None` where none ever came.
    pub answer: Option<Answered>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// When it came, after the beginning.
    pub at: Duration,
    /// Its place everywhere.
    pub order: String,
}

/// A message as a home lists it in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Place of arrival.
    pub pos: u64,
    /// Place everywhere.
    pub order: String,
    /// The client's.
    pub id: Uuid,
    /// Whose.
    pub sender: String,
    /// What it says.
    pub body: BodyHash,
}

/// A message that a client was shown as new.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When, after the beginning.
    pub at: Duration,
    /// A client that had to begin anew (its home was restored) sees everything again.
    pub life: u32,
    /// Place of arrival.
    pub pos: u64,
    /// Which.
    pub id: Uuid,
}

/// One of the two.
#[derive(Clone, Debug, Default)]
pub struct Party {
    /// The number of the home.
    pub home: usize,
    /// The home's name.
    pub home_name: String,
    /// The user's address.
    pub address: String,
    /// What the home lists for this user in the end, ascending by `pos`.
    pub history: Vec<Entry>,
    /// What the user's receiving client was shown, in that order.
    pub shown: Vec<Shown>,
}

/// Everything about one chat.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    /// Its id.
    pub channel: Uuid,
    /// Both.
    pub parties: [Party; 2],
    /// What they sent, each in its order.
    pub sent: Vec<Sent>,
}

/// From the making of a backup to its restoring. What the home answered meanwhile lived on that disk alone, unless
/// another home had it by then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Which home.
    pub home: usize,
    /// The backup was begun.
    pub from: Duration,
    /// The home was dead, to be restored.
    pub to: Duration,
}

/// Which promise is broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// Promised, and not there; or there, and never shown.
    Lost,
    /// There or shown more than once.
    Doubled,
    /// There or shown in another order than sent.
    Disordered,
    /// The homes, or an answer and a home, do not say the same.
    Diverged,
    /// A home ended, refused or stood still where it must not.
    Trouble,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Lost, Self::Doubled, Self::Disordered, Self::Diverged, Self::Trouble];

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Disordered => "disordered",
            Self::Diverged => "diverged",
            Self::Trouble => "trouble",
        }
    }
}

/// One broken promise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// Which.
    pub broken: Broken,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Uuid>,
    /// What.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// At which homes.
    pub homes: Vec<String>,
    /// In words.
    pub what: String,
}

impl Finding {
    /// About a home as a whole.
    pub fn trouble(home: &str, what: impl Into<String>) -> Self {
        Self {
            broken: Broken::Trouble,
            channel: None,
            id: None,
            homes: vec![home.to_owned()],
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (", self.broken.word(), self.what)?;
        if let Some(channel) = self.channel {
            write!(f, "channel {channel}, ")?;
        }
        if let Some(id) = self.id {
            write!(f, "message {id}, ")?;
        }
        write!(f, "{})", self.homes.join(" and "))
    }
}

/// Everything that is wrong with a chat.
pub fn examine(chat: &Chat, windows: &[Window]) -> Vec<Finding> {
    let case = Case::of(chat, windows);
    let mut findings = Vec::new();
    case.nothing_lost(&mut findings);
    case.nothing_doubled(&mut findings);
    case.in_order(&mut findings);
    case.the_same_everywhere(&mut findings);
    case.all_shown_once_in_order(&mut findings);
    findings
}

struct Case<'a> {
    chat: &'a Chat,
    windows: &'a [Window],
    by_id: HashMap<Uuid, &'a Sent>,
}

impl<'a> Case<'a> {
    fn of(chat: &'a Chat, windows: &'a [Window]) -> Self {
        let by_id = chat.sent.iter().map(|sent| (sent.id, sent)).collect();
        Self { chat, windows, by_id }
    }

    fn finding(&self, broken: Broken, id: Option<Uuid>, homes: &[usize], what: String) -> Finding {
        let mut names: Vec<_> =
            homes.iter().map(|p| self.chat.parties[*p].home_name.clone()).collect();
        names.dedup();
        Finding { broken, channel: Some(self.chat.channel), id, homes: names, what }
    }

    fn address(&self, party: usize) -> &str {
        &self.chat.parties[party].address
    }

    fn in_window(&self, party: usize, from: Duration, to: Duration) -> bool {
        let home = self.chat.parties[party].home;
        self.windows.iter().any(|w| w.home == home && from <= w.to && w.from <= to)
    }

    /// Nothing but what a restored backup takes along may excuse its absence.
    fn is_promised(&self, sent: &Sent) -> bool {
        let Some(answer) = &sent.answer else {
            return false;
        };
        let other = 1 - sent.by;
        let at_two_homes = self.chat.parties[0].home != self.chat.parties[1].home;
        let lives_there = || {
            let mut shown = self.chat.parties[other].shown.iter();
            shown.any(|s| s.id == sent.id && !self.in_window(other, s.at, s.at))
        };
        !self.in_window(sent.by, answer.at, answer.at) || (at_two_homes && lives_there())
    }

    /// Sent around a restore of its home: it may have come back later than what was sent after it.
    fn may_be_late(&self, sent: &Sent) -> bool {
        let end = sent.answer.as_ref().map_or(Duration::MAX, |answer| answer.at);
        self.in_window(sent.by, sent.sent_at, end)
    }

    /// Its home was restored after it, and the one that shows it as well: that one lost it from its disk, gets it back when it asks,
    /// and may have taken what the other wrote in its new life before that.
    fn may_be_back_late(&self, sent: &Sent, at: usize) -> bool {
        let restored_later = |party: usize| {
            let home = self.chat.parties[party].home;
            self.windows.iter().any(|w| w.home == home && sent.sent_at <= w.to)
        };
        sent.by != at && restored_later(sent.by) && restored_later(at)
    }

    fn nothing_lost(&self, findings: &mut Vec<Finding>) {
        let held: Vec<HashSet<Uuid>> =
            self.chat.parties.iter().map(|p| p.history.iter().map(|e| e.id).collect()).collect();
        for sent in &self.chat.sent {
            let missing: Vec<usize> = (0..2).filter(|p| !held[*p].contains(&sent.id)).collect();
            if missing.is_empty() || !self.is_promised(sent) {
                continue;
            }
            let what = format!(
                "{} was answered at {:.3} s and is not in the history",
                self.address(sent.by),
                sent.answer.as_ref().map_or(0.0, |answer| answer.at.as_secs_f64()),
            );
            findings.push(self.finding(Broken::Lost, Some(sent.id), &missing, what));
        }
    }

    fn nothing_doubled(&self, findings: &mut Vec<Finding>) {
        for (number, party) in self.chat.parties.iter().enumerate() {
            let mut seen: HashMap<Uuid, &Entry> = HashMap::with_capacity(party.history.len());
            for entry in &party.history {
                if let Some(first) = seen.insert(entry.id, entry) {
                    let what = format!("listed at pos {} and again at {}", first.pos, entry.pos);
                    let id = Some(entry.id);
                    findings.push(self.finding(Broken::Doubled, id, &[number], what));
                }
            }
        }
    }

    fn in_order(&self, findings: &mut Vec<Finding>) {
        for (number, party) in self.chat.parties.iter().enumerate() {
            for two in party.history.windows(2) {
                if let [one, next] = two
                    && one.pos >= next.pos
                {
                    let what = format!("pos {} comes after {}", next.pos, one.pos);
                    let id = Some(next.id);
                    findings.push(self.finding(Broken::Disordered, id, &[number], what));
                }
            }
            let mut by_order: Vec<&Entry> = party.history.iter().collect();
            by_order.sort_by(|a, b| a.order.cmp(&b.order));
            for two in by_order.windows(2) {
                if let [one, next] = two
                    && one.order == next.order
                {
                    let what = format!("it and {} have one order", one.id);
                    let id = Some(next.id);
                    findings.push(self.finding(Broken::Disordered, id, &[number], what));
                }
            }
            self.sequence(by_order.iter().map(|e| e.id), number, None, findings);
        }
    }

    /// Each writer's messages stand as they were sent, as one party lists them by order, or was shown them.
    fn sequence(
        &self,
        ids: impl Iterator<Item = Uuid>,
        party: usize,
        shown_to: Option<usize>,
        findings: &mut Vec<Finding>,
    ) {
        let how = shown_to.map_or("by order", |_| "as shown");
        let mut last: [Option<(usize, &Sent)>; 2] = [None, None];
        let place: HashMap<Uuid, usize> =
            self.chat.sent.iter().enumerate().map(|(at, sent)| (sent.id, at)).collect();
        for id in ids {
            let Some(at) = place.get(&id).copied() else { continue };
            let sent = &self.chat.sent[at];
            if self.may_be_late(sent) || shown_to.is_some_and(|at| self.may_be_back_late(sent, at))
            {
                continue;
            }
            if let Some((before_at, before)) = last[sent.by] {
                let falls = sent.batch < before.batch;
                let swapped = sent.batch == before.batch && sent.in_turn && at < before_at;
                if falls || swapped {
                    let what = format!(
                        "{} sent it before {}, and it stands behind ({how})",
                        self.address(sent.by),
                        before.id
                    );
                    findings.push(self.finding(Broken::Disordered, Some(id), &[party], what));
                }
            }
            last[sent.by] = Some((at, sent));
        }
    }

    fn the_same_everywhere(&self, findings: &mut Vec<Finding>) {
        for (number, party) in self.chat.parties.iter().enumerate() {
            for entry in &party.history {
                let wrong = match self.by_id.get(&entry.id) {
                    None => Some("nobody sent it".to_owned()),
                    Some(sent) if entry.sender != self.address(sent.by) => {
                        Some(format!("{} sent it, not {}", self.address(sent.by), entry.sender))
                    }
                    Some(sent) if entry.body != sent.body => {
                        Some(format!("it is not what {} sent", entry.sender))
                    }
                    Some(sent) => sent
                        .answer
                        .as_ref()
                        .filter(|answer| answer.order != entry.order)
                        .map(|answer| {
                            format!("answered as {} and listed as {}", answer.order, entry.order)
                        }),
                };
                if let Some(what) = wrong {
                    let id = Some(entry.id);
                    findings.push(self.finding(Broken::Diverged, id, &[number], what));
                }
            }
        }
        let [here, there] = &self.chat.parties;
        let facts = |party: &Party| -> Vec<(String, Uuid, String, BodyHash)> {
            let entries = party.history.iter();
            let mut facts: Vec<_> =
                entries.map(|e| (e.order.clone(), e.id, e.sender.clone(), e.body)).collect();
            facts.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
            facts
        };
        let (here_facts, there_facts) = (facts(here), facts(there));
        let only = |mine: &[(String, Uuid, String, BodyHash)],
                    theirs: &[(String, Uuid, String, BodyHash)]| {
            let theirs: HashMap<(&str, Uuid), _> =
                theirs.iter().map(|f| ((f.0.as_str(), f.1), (&f.2, f.3))).collect();
            let differs = mine.iter().filter(|f| {
                theirs.get(&(f.0.as_str(), f.1)).is_none_or(|other| *other != (&f.2, f.3))
            });
            differs.map(|f| f.1).collect::<Vec<_>>()
        };
        let mine = only(&here_facts, &there_facts);
        let theirs = only(&there_facts, &here_facts);
        let (a, b) = (&here.home_name, &there.home_name);
        let mut told = HashSet::new();
        for (ids, at, not_at) in [(mine, a, b), (theirs, b, a)] {
            for id in ids.into_iter().filter(|id| told.insert(*id)) {
                let what = format!("as it stands at {at} it does not at {not_at}");
                findings.push(self.finding(Broken::Diverged, Some(id), &[0, 1], what));
            }
        }
    }

    fn all_shown_once_in_order(&self, findings: &mut Vec<Finding>) {
        for (number, party) in self.chat.parties.iter().enumerate() {
            let lives = party.shown.chunk_by(|a, b| a.life == b.life);
            for life in lives {
                let mut seen = HashSet::with_capacity(life.len());
                for shown in life.iter().filter(|shown| !seen.insert(shown.id)) {
                    let what = format!("{} was shown it twice", party.address);
                    let id = Some(shown.id);
                    findings.push(self.finding(Broken::Doubled, id, &[number], what));
                }
                for two in life.windows(2) {
                    if let [one, next] = two
                        && one.pos >= next.pos
                    {
                        let what = format!(
                            "{} was shown pos {} after {}",
                            party.address, next.pos, one.pos
                        );
                        let id = Some(next.id);
                        findings.push(self.finding(Broken::Disordered, id, &[number], what));
                    }
                }
                self.sequence(life.iter().map(|s| s.id), number, Some(number), findings);
            }
            // A client sees all of its home's history: what was there before, or what came.
            let life = party.shown.last().map_or(0, |shown| shown.life);
            let of_this_life = party.shown.iter().filter(|shown| shown.life == life);
            let shown: HashSet<Uuid> = of_this_life.map(|shown| shown.id).collect();
            for entry in party.history.iter().filter(|entry| !shown.contains(&entry.id)) {
                let what = format!("{} was never shown it (pos {})", party.address, entry.pos);
                findings.push(self.finding(Broken::Lost, Some(entry.id), &[number], what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    /// Alice at home 0 and Bob at home 1 say ten messages each, one a second, in batches of two.
    fn honest() -> Chat {
        let mut chat = Chat {
            channel: Uuid::from_u128(7),
            parties: [party(0, "alice@acme.test"), party(1, "bob@globex.test")],
            sent: Vec::new(),
        };
        for by in 0..2 {
            for n in 0..10_u32 {
                let number = n * 2 + u32::try_from(by).unwrap();
                let (id, at) = (Uuid::from_u128(u128::from(number) + 100), S(u64::from(number)));
                let (order, body) = (format!("{number:04}"), BodyHash::of(&format!("{number}")));
                let answer = Some(Answered { at, order });
                let batch = n / 2;
                let in_turn = true;
                chat.sent.push(Sent { id, body, by, batch, in_turn, sent_at: at, answer });
            }
        }
        let mut said: Vec<_> = chat.sent.iter().collect();
        said.sort_by_key(|s| s.id);
        let entries: Vec<Entry> = said
            .iter()
            .zip(1..)
            .map(|(sent, pos)| Entry {
                pos,
                order: sent.answer.as_ref().unwrap().order.clone(),
                id: sent.id,
                sender: chat.parties[sent.by].address.clone(),
                body: sent.body,
            })
            .collect();
        for party in &mut chat.parties {
            party.shown = entries
                .iter()
                .map(|e| Shown { at: S(e.pos), life: 0, pos: e.pos, id: e.id })
                .collect();
            party.history = entries.clone();
        }
        chat
    }

    fn party(home: usize, address: &str) -> Party {
        let home_name = address.split_once('@').unwrap().1.to_owned();
        Party { home, home_name, address: address.to_owned(), ..Party::default() }
    }

    fn words(chat: &Chat, windows: &[Window]) -> Vec<&'static str> {
        examine(chat, windows).iter().map(|finding| finding.broken.word()).collect()
    }

    fn id(number: u32) -> Uuid {
        Uuid::from_u128(u128::from(number) + 100)
    }

    #[test]
    fn honest_histories_are_good() {
        assert_eq!(examine(&honest(), &[]), []);
        assert_eq!(examine(&Chat::default(), &[]), []);
    }

    #[test]
    fn a_message_missing_at_one_home_is_lost_and_named() {
        let mut chat = honest();
        chat.parties[1].history.remove(4);
        let findings = examine(&chat, &[]);
        let lost: Vec<_> = findings.iter().filter(|f| f.broken == Broken::Lost).collect();
        assert_eq!(lost.len(), 1, "{findings:?}");
        assert_eq!(
            (lost[0].id, &lost[0].homes[..]),
            (Some(id(4)), &["globex.test".to_owned()][..])
        );
        assert_eq!(lost[0].channel, Some(chat.channel));
        assert!(findings.iter().any(|f| f.broken == Broken::Diverged && f.id == Some(id(4))));
    }

    #[test]
    fn a_message_missing_everywhere_is_lost() {
        let mut chat = honest();
        for party in &mut chat.parties {
            party.history.remove(4);
            party.shown.remove(4);
        }
        assert_eq!(words(&chat, &[]), ["lost"]);
        // And had it never been answered, nobody would miss it.
        chat.sent.iter_mut().find(|s| s.id == id(4)).unwrap().answer = None;
        assert_eq!(examine(&chat, &[]), []);
    }

    #[test]
    fn a_doubled_message_is_caught() {
        let mut chat = honest();
        for party in &mut chat.parties {
            let mut again = party.history[3].clone();
            (again.pos, again.order) = (21, "0021".to_owned());
            party.history.push(again);
        }
        assert!(words(&chat, &[]).contains(&"doubled"));
        let mut chat = honest();
        let again = chat.parties[0].shown[3].clone();
        chat.parties[0].shown.push(Shown { pos: 21, ..again });
        assert_eq!(words(&chat, &[]), ["doubled", "disordered"], "shown twice, and out of turn");
    }

    #[test]
    fn two_swapped_messages_are_caught() {
        // Alice's second and third, of different batches, and her first two, of one.
        for (one, other) in [(2, 4), (0, 2)] {
            let mut chat = honest();
            for party in &mut chat.parties {
                let (a, b) = (party.history[one].id, party.history[other].id);
                party.history[one].id = b;
                party.history[other].id = a;
                party.shown[one].id = b;
                party.shown[other].id = a;
                let (a, b) = (party.history[one].body, party.history[other].body);
                party.history[one].body = b;
                party.history[other].body = a;
            }
            // Even where the answers had said so.
            for sent in &mut chat.sent {
                let entry = chat.parties[0].history.iter().find(|e| e.id == sent.id).unwrap();
                sent.answer.as_mut().unwrap().order = entry.order.clone();
            }
            let found = words(&chat, &[]);
            assert_eq!(found, ["disordered"; 4], "by order and as shown, at both homes");
        }
    }

    #[test]
    fn messages_that_were_under_way_together_may_swap_when_one_was_refused() {
        let mut chat = honest();
        for sent in chat.sent.iter_mut().filter(|s| s.by == 0 && s.batch == 0) {
            sent.in_turn = false;
        }
        for party in &mut chat.parties {
            party.shown.swap(0, 2);
            (party.shown[0].pos, party.shown[2].pos) = (1, 3);
        }
        assert_eq!(examine(&chat, &[]), []);
    }

    #[test]
    fn a_differing_body_is_caught() {
        let mut chat = honest();
        chat.parties[1].history[6].body = BodyHash::of("something else");
        let findings = examine(&chat, &[]);
        assert!(findings.iter().all(|f| f.broken == Broken::Diverged && f.id == Some(id(6))));
        assert_eq!(findings.len(), 2, "not what was sent, and not what the other home has");
        // The same wrong words at both homes are wrong all the same.
        chat.parties[0].history[6].body = BodyHash::of("something else");
        assert_eq!(words(&chat, &[]), ["diverged", "diverged"]);
    }

    #[test]
    fn words_in_anothers_mouth_are_caught() {
        let mut chat = honest();
        for party in &mut chat.parties {
            party.history[6].sender = "bob@globex.test".to_owned();
        }
        assert_eq!(words(&chat, &[]), ["diverged", "diverged"]);
        let mut chat = honest();
        for party in &mut chat.parties {
            let mut forged = party.history[19].clone();
            (forged.pos, forged.order, forged.id) = (21, "0021".to_owned(), id(999));
            party.shown.push(Shown { at: S(30), life: 0, pos: 21, id: forged.id });
            party.history.push(forged);
        }
        assert_eq!(words(&chat, &[]), ["diverged", "diverged"], "nobody sent it");
    }

    #[test]
    fn another_order_than_answered_or_at_the_other_home_is_caught() {
        let mut chat = honest();
        chat.parties[0].history[19].order = "0099".to_owned();
        let findings = examine(&chat, &[]);
        assert!(!findings.is_empty() && findings.iter().all(|f| f.broken == Broken::Diverged));
        let mut chat = honest();
        for party in &mut chat.parties {
            party.history[19].order = party.history[18].order.clone();
        }
        assert!(words(&chat, &[]).contains(&"disordered"), "two of one order");
    }

    #[test]
    fn what_was_never_shown_is_lost_to_the_eye() {
        let mut chat = honest();
        chat.parties[0].shown.remove(5);
        assert_eq!(words(&chat, &[]), ["lost"]);
        // Also for a client that had to begin anew.
        let mut chat = honest();
        let again: Vec<_> =
            chat.parties[0].shown.iter().skip(1).map(|s| Shown { life: 1, ..s.clone() }).collect();
        chat.parties[0].shown.extend(again);
        assert_eq!(words(&chat, &[]), ["lost"]);
    }

    #[test]
    fn a_restored_backup_takes_along_what_no_other_home_had() {
        // Alice's messages 8 and 10 were answered while her home lived on borrowed time, and are gone; Bob had seen 8.
        let window = Window { home: 0, from: S(7), to: S(11) };
        let without = |numbers: &[u32], shown_without: &[u32]| {
            let mut chat = honest();
            for party in &mut chat.parties {
                party.history.retain(|e| !numbers.iter().any(|n| id(*n) == e.id));
                party.shown.retain(|s| !shown_without.iter().any(|n| id(*n) == s.id));
            }
            chat
        };
        assert_eq!(words(&without(&[10], &[10]), &[window]), [""; 0]);
        assert_eq!(words(&without(&[10], &[10]), &[]), ["lost"], "without a restore no excuse");
        let elsewhere = Window { home: 1, ..window };
        assert_eq!(words(&without(&[10], &[10]), &[elsewhere]), ["lost"], "nor with another's");
        assert_eq!(words(&without(&[8], &[]), &[window]), ["lost"], "Bob's home had it");
        assert_eq!(words(&without(&[12], &[12]), &[window]), ["lost"], "answered afterwards");
        // It may come back after what was written in the new life.
        let mut late = honest();
        for party in &mut late.parties {
            let shown = party.shown.remove(8);
            party.shown.push(Shown { pos: 21, ..shown });
            let entry = party.history.remove(8);
            party.history.push(Entry { pos: 21, ..entry });
        }
        assert_eq!(words(&late, &[window]), [""; 0]);
        assert!(words(&late, &[]).contains(&"disordered"));
    }

    #[test]
    fn what_two_restored_homes_had_may_come_back_behind_what_was_written_since() {
        // Bob's home had alice's message 8, and lost it; hers began a new life meanwhile.
        let [mut hers, mut his] =
            [Window { home: 0, from: S(9), to: S(10) }, Window { home: 1, from: S(11), to: S(12) }];
        let mut chat = honest();
        let bob = &mut chat.parties[1];
        let shown = bob.shown.remove(8);
        bob.shown.push(Shown { pos: 21, ..shown });
        let entry = bob.history.remove(8);
        bob.history.push(Entry { pos: 21, ..entry });
        assert_eq!(words(&chat, &[hers, his]), [""; 0]);
        assert_eq!(words(&chat, &[hers]), ["disordered"], "his home has lost nothing");
        assert_eq!(words(&chat, &[his]), ["disordered"], "hers has one life");
        // Both were before it: nothing was lost of it.
        (hers.from, hers.to, his.from, his.to) = (S(1), S(2), S(2), S(3));
        assert_eq!(words(&chat, &[hers, his]), ["disordered"]);
    }

    #[test]
    fn of_two_at_one_home_a_backup_takes_along_both() {
        let window = Window { home: 0, from: S(7), to: S(11) };
        let mut chat = honest();
        chat.parties[1].home = 0;
        for party in &mut chat.parties {
            party.history.retain(|e| e.id != id(8));
            // Both had seen it; both began anew.
            let again: Vec<_> = party.history.iter().map(|e| (e.pos, e.id)).collect();
            party.shown.extend(again.iter().map(|(pos, id)| Shown {
                at: S(20),
                life: 1,
                pos: *pos,
                id: *id,
            }));
        }
        assert_eq!(words(&chat, &[window]), [""; 0]);
        assert_eq!(words(&chat, &[]), ["lost"]);
    }
}
