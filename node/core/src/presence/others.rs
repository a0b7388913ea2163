//! Users of other homes who are watched here: what their homes have been asked, and what they have said.
//!
//! What was said of somebody who is online holds for [`super::PresenceLimits::expire_ms`]; their home says it again before.
//! What was last seen stays as long as somebody watches. A home says of its own users alone: whatever it says is put
//! under its id, and of whoever it was not asked nothing is kept. After a new stream it says again what still holds:
//! whoever hid meanwhile is not named.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use homing_wire::{HomeId, Local, UserRef};

use super::{
    AT_ONCE, At, Came, Presence, Seen, Update, Watcher, Watchers, Watches, first_of, is_due,
};

/// What was said before the stream was new holds so long, in milliseconds, after its home was asked again: it answers at
/// once, as many users a second as it is asked for.
const CONFIRMED_MS: u64 = 30_000;

/// See the module.
#[derive(Default)]
pub(super) struct Others {
    known: BTreeMap<UserRef, Known>,
    /// What each home to which this home's stream is open has been asked on it.
    asked: BTreeMap<HomeId, Asked>,
    /// Users of whom something else may have to be asked.
    differ: BTreeMap<HomeId, BTreeSet<Local>>,
    /// When users are to be looked at: one row for each who was said to be online.
    ends: BTreeSet<(u64, UserRef)>,
    /// The same of each for whom [`Standing::Until`] holds.
    unconfirmed: BTreeSet<(u64, UserRef)>,
}

#[derive(Default)]
struct Asked {
    /// Who watches whom, as that home was told.
    users: BTreeMap<Local, BTreeSet<Local>>,
    pairs: usize,
    /// Nothing was asked yet on this stream.
    new: bool,
    /// On the one before something was, which does not count any more.
    recant: bool,
    /// What was said of these was forgotten since that home was asked. It does not know, so it is asked once more, even
    /// where the same users watch.
    forgotten: BTreeSet<Local>,
    pace: Pace,
}

/// How fast one home is asked: [`AT_ONCE`] names a second. It looks at so many, and passes over what is more.
#[derive(Default)]
struct Pace {
    asked_ms: Option<u64>,
    /// How many watchers were named then.
    named: usize,
    /// Who was asked about last: others have their turn before that user comes again.
    last: Option<Local>,
}

/// What is known of a user.
struct Known {
    online: bool,
    last_ms: Option<u64>,
    /// Users of this home who may see it, of those for whom it was asked.
    seers: BTreeSet<Local>,
    /// When it was said, by the steady clock.
    heard_ms: u64,
    /// When its row in `ends` is.
    end_ms: Option<u64>,
    standing: Standing,
}

/// What something that was said counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It was said since the home was asked on the present stream.
    Holds,
    /// It was said before, and the home was not asked again yet.
    Old,
    /// It was said before, the home was asked again, and has until then to confirm it.
    Until(u64),
}

impl Others {
    /// How a user is shown to one of this home; `None`: the user's home has not said that it may be shown.
    pub(super) fn seen(&self, who: &UserRef, watcher: &Local) -> Option<Seen> {
        let known = self.known.get(who).filter(|known| known.seers.contains(watcher))?;
        let last_ms = known.last_ms.filter(|_| !known.online);
        Some(Seen { online: known.online, last_ms })
    }

    /// Others watch this user now.
    pub(super) fn asked_differs(&mut self, who: &UserRef) {
        // A home that is away is asked everything when it comes.
        if self.asked.contains_key(&who.home) {
            self.differ.entry(who.home).or_default().insert(who.local.clone());
        }
    }

    /// Nobody watches this user any more.
    pub(super) fn forget(&mut self, who: &UserRef) {
        self.drop_known(who);
        if let Some(asked) = self.asked.get_mut(&who.home)
            && asked.users.contains_key(&who.local)
        {
            asked.forgotten.insert(who.local.clone());
        }
    }

    fn drop_known(&mut self, who: &UserRef) {
        let Some(known) = self.known.remove(who) else { return };
        if let Some(end) = known.end_ms {
            self.ends.remove(&(end, who.clone()));
        }
        if let Standing::Until(end) = known.standing {
            self.unconfirmed.remove(&(end, who.clone()));
        }
    }

    pub(super) fn stream_open(&mut self, home: HomeId) {
        self.doubt_all(home);
        let before = self.asked.remove(&home).unwrap_or_default();
        let recant = !before.users.is_empty();
        let asked = Asked { new: true, recant, pace: before.pace, ..Asked::default() };
        self.asked.insert(home, asked);
        self.differ.insert(home, BTreeSet::new());
    }

    pub(super) fn peer_gone(&mut self, home: &HomeId) {
        // Whoever is away cannot confirm anything.
        self.doubt_all(*home);
        self.asked.remove(home);
        self.differ.remove(home);
    }

    /// Whatever a home has said is to be confirmed once it is asked again.
    fn doubt_all(&mut self, home: HomeId) {
        let known = self.known.range_mut((first_of(home), Bound::Unbounded));
        for (who, known) in known.take_while(|(who, _)| who.home == home) {
            if let Standing::Until(end) = std::mem::replace(&mut known.standing, Standing::Old) {
                self.unconfirmed.remove(&(end, who.clone()));
            }
        }
    }

    /// A home is asked about a user. Who is not asked for is no seer any more, until that home says so again.
    fn asks(&mut self, at: At, who: &UserRef, watchers: &[Local]) {
        let Some(known) = self.known.get_mut(who) else { return };
        known.seers.retain(|seer| watchers.contains(seer));
        if known.standing == Standing::Old {
            let end = at.steady_ms + CONFIRMED_MS;
            known.standing = Standing::Until(end);
            self.unconfirmed.insert((end, who.clone()));
        }
    }

    /// Takes what a home says of one of its users; false where it was not asked.
    fn take(&mut self, at: At, expire_ms: u64, who: &UserRef, update: &Update) -> bool {
        let asked = self.asked.get(&who.home).and_then(|asked| asked.users.get(&who.local));
        let Some(asked) = asked else { return false };
        let known = self.known.entry(who.clone()).or_insert_with(|| Known {
            online: false,
            last_ms: None,
            seers: BTreeSet::new(),
            heard_ms: at.steady_ms,
            end_ms: None,
            standing: Standing::Holds,
        });
        if let Some(seers) = &update.seers {
            known.seers = seers.iter().filter(|seer| asked.contains(*seer)).cloned().collect();
            // Whoever is asked anew names the seers, even where they are the same.
            if let Standing::Until(end) = known.standing {
                known.standing = Standing::Holds;
                self.unconfirmed.remove(&(end, who.clone()));
            }
        }
        known.online = update.online;
        // Nobody is shown to have been here in the future, whatever that home's clock says.
        known.last_ms = update.last_ms.map(|ms| ms.min(at.wall_ms));
        known.heard_ms = at.steady_ms;
        if known.online && known.end_ms.is_none() {
            let end = at.steady_ms + expire_ms;
            known.end_ms = Some(end);
            self.ends.insert((end, who.clone()));
        }
        true
    }

    /// Ends what was not renewed, and what was not confirmed. Answers whom that concerns.
    pub(super) fn expire(&mut self, at: At, expire_ms: u64) -> Vec<UserRef> {
        let mut gone = Vec::new();
        while self.ends.first().is_some_and(|(end, _)| *end <= at.steady_ms) {
            let Some((_, who)) = self.ends.pop_first() else { break };
            let Some(known) = self.known.get_mut(&who) else { continue };
            known.end_ms = None;
            if !known.online {
                continue;
            }
            let end = known.heard_ms + expire_ms;
            if at.steady_ms < end {
                known.end_ms = Some(end);
                self.ends.insert((end, who));
                continue;
            }
            known.online = false;
            gone.push(who);
        }
        while self.unconfirmed.first().is_some_and(|(end, _)| *end <= at.steady_ms) {
            let Some((_, who)) = self.unconfirmed.pop_first() else { break };
            self.drop_known(&who);
            gone.push(who);
        }
        gone
    }
}

impl Pace {
    /// Whoever was asked about many at once is left in peace for as much longer.
    fn is_due(&self, at: At, gather_ms: u64) -> bool {
        let pauses = self.named.div_ceil(AT_ONCE).max(1) as u64;
        is_due(self.asked_ms, at, gather_ms * pauses)
    }

    /// Takes the user whose turn it is.
    fn next_of(&self, differ: &mut BTreeSet<Local>) -> Option<Local> {
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let behind = differ.range::<Local, _>((after, Bound::Unbounded)).next();
        let next = behind.or_else(|| differ.first())?.clone();
        differ.take(&next)
    }
}

/// Users of this home who watch one of another, as far as they may.
fn watchers_of(
    watched: &BTreeMap<Arc<UserRef>, BTreeSet<u64>>,
    sessions: &BTreeMap<u64, Watcher>,
    who: &UserRef,
) -> BTreeSet<Local> {
    let watching = watched.get(who).into_iter().flatten();
    watching
        .filter_map(|session| sessions.get(session))
        .filter(|watcher| watcher.watched.get(who).is_some_and(|look| look.may))
        .map(|watcher| watcher.user.clone())
        .collect()
}

impl Presence {
    /// What other homes are to be asked now: each at most once in [`super::PresenceLimits::gather_ms`], so many names
    /// at most, and never more than [`super::PresenceLimits::watches_of_home`] in all. One user whom more watch is asked
    /// about alone, and a longer pause follows.
    pub fn take_watches(&mut self, at: At) -> BTreeMap<HomeId, Watches> {
        let homes: Vec<HomeId> = self.others.asked.keys().copied().collect();
        let mut all = BTreeMap::new();
        for home in homes {
            let Some(watches) = self.watches_of(at, home) else { continue };
            for asked in &watches.users {
                self.others.asks(at, &UserRef::new(home, asked.user.clone()), &asked.watchers);
            }
            all.insert(home, watches);
        }
        all
    }

    fn watches_of(&mut self, at: At, home: HomeId) -> Option<Watches> {
        let asked = self.others.asked.get_mut(&home)?;
        let differ = self.others.differ.get_mut(&home)?;
        if (differ.is_empty() && !asked.recant) || !asked.pace.is_due(at, self.limits.gather_ms) {
            return None;
        }
        let mut users = Vec::new();
        let mut named = 0;
        while named < AT_ONCE {
            let Some(user) = asked.pace.next_of(differ) else { break };
            let who = UserRef::new(home, user.clone());
            let mut watchers = watchers_of(&self.watched, &self.sessions, &who);
            let before = asked.users.get(&user).map_or(0, BTreeSet::len);
            let room = self.limits.watches_of_home.saturating_sub(asked.pairs - before);
            while watchers.len() > room {
                watchers.pop_last();
            }
            let is_told = asked.users.get(&user).map_or(watchers.is_empty(), |t| *t == watchers);
            if is_told && !asked.forgotten.contains(&user) {
                continue;
            }
            let names = watchers.len().max(1);
            if named + names > AT_ONCE && named > 0 {
                differ.insert(user);
                break;
            }
            named += names;
            asked.pace.last = Some(user.clone());
            asked.pairs = asked.pairs - before + watchers.len();
            asked.forgotten.remove(&user);
            if watchers.is_empty() {
                asked.users.remove(&user);
            } else {
                asked.users.insert(user.clone(), watchers.clone());
            }
            users.push(Watchers { user, watchers: watchers.into_iter().collect() });
        }
        if users.is_empty() && !asked.recant {
            return None;
        }
        asked.recant = false;
        (asked.pace.asked_ms, asked.pace.named) = (Some(at.steady_ms), named);
        Some(Watches { anew: std::mem::replace(&mut asked.new, false), users })
    }

    /// Another home says how users of its own are. What it was not asked is passed over.
    pub fn updates_came(&mut self, at: At, home: HomeId, updates: &[Update]) -> Came {
        let mut came = Came::default();
        for update in updates {
            let who = UserRef::new(home, update.user.clone());
            // What is asked for may be wanted no longer.
            let wanted = self.watched.contains_key(&who);
            if !wanted || !self.others.take(at, self.limits.expire_ms, &who, update) {
                came.ignored += 1;
                continue;
            }
            came.taken += 1;
            self.note_changed(&who);
        }
        came
    }
}
