//! Users of other homes who are watched here: what their homes have been asked, and what they have said.
//!
//! What was said of somebody who is online holds for [`super::PresenceLimits::expire_ms`]; their home says it again before.
//! What was last seen stays as long as somebody watches. A home says of its own users alone: whatever it says is put
//! under its id, and of whoever it was not asked nothing is kept.

use std::collections::{BTreeMap, BTreeSet};

use homing_wire::{HomeId, Local, UserRef};

use super::{AT_ONCE, At, Came, Presence, Seen, Update, Watchers, Watches, is_due};

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
    at_ms: Option<u64>,
}

/// What is known of a user.
struct Known {
    online: bool,
    last_ms: Option<u64>,
    /// Users of this home who may see it, of those for whom it was asked.
    seers: BTreeSet<Local>,
    /// When it was said, by the steady clock.
    heard_ms: u64,
    /// There is a row in `ends`.
    awaited: bool,
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
        self.known.remove(who);
    }

    pub(super) fn stream_open(&mut self, home: HomeId) {
        let recant = self.asked.get(&home).is_some_and(|asked| !asked.users.is_empty());
        self.asked.insert(home, Asked { new: true, recant, ..Asked::default() });
        self.differ.insert(home, BTreeSet::new());
    }

    pub(super) fn peer_gone(&mut self, home: &HomeId) {
        self.asked.remove(home);
        self.differ.remove(home);
    }

    /// Takes what a home says of one of its users; false where it was not asked.
    fn take(&mut self, at: At, who: &UserRef, update: &Update) -> bool {
        let asked = self.asked.get(&who.home).and_then(|asked| asked.users.get(&who.local));
        let Some(asked) = asked else { return false };
        let known = self.known.entry(who.clone()).or_insert_with(|| Known {
            online: false,
            last_ms: None,
            seers: BTreeSet::new(),
            heard_ms: at.steady_ms,
            awaited: false,
        });
        if let Some(seers) = &update.seers {
            known.seers = seers.iter().filter(|seer| asked.contains(*seer)).cloned().collect();
        }
        known.online = update.online;
        // Nobody is shown to have been here in the future, whatever that home's clock says.
        known.last_ms = update.last_ms.map(|ms| ms.min(at.wall_ms));
        known.heard_ms = at.steady_ms;
        true
    }

    /// Ends what was not renewed. Answers whom that concerns.
    pub(super) fn expire(&mut self, at: At, expire_ms: u64) -> Vec<UserRef> {
        let mut gone = Vec::new();
        while self.ends.first().is_some_and(|(end, _)| *end <= at.steady_ms) {
            let Some((_, who)) = self.ends.pop_first() else { break };
            let Some(known) = self.known.get_mut(&who) else { continue };
            known.awaited = false;
            if !known.online {
                continue;
            }
            if at.steady_ms < known.heard_ms + expire_ms {
                known.awaited = true;
                self.ends.insert((known.heard_ms + expire_ms, who));
                continue;
            }
            known.online = false;
            gone.push(who);
        }
        gone
    }
}

impl Presence {
    /// What other homes are to be asked now: each at most once in [`super::PresenceLimits::gather_ms`], so many users
    /// at most, and never more than [`super::PresenceLimits::watches_of_home`] in all.
    pub fn take_watches(&mut self, at: At) -> BTreeMap<HomeId, Watches> {
        let mut watches = BTreeMap::new();
        for (home, asked) in &mut self.others.asked {
            let Some(differ) = self.others.differ.get_mut(home) else { continue };
            if (differ.is_empty() && !asked.recant)
                || !is_due(asked.at_ms, at, self.limits.gather_ms)
            {
                continue;
            }
            let mut users = Vec::new();
            let mut named = 0;
            while users.len() < AT_ONCE && named < AT_ONCE {
                let Some(user) = differ.pop_first() else { break };
                let who = UserRef::new(*home, user.clone());
                let sessions = self.watched.get(&who).into_iter().flatten();
                let mut watchers: BTreeSet<Local> = sessions
                    .filter_map(|session| self.sessions.get(session))
                    .filter(|watcher| watcher.watched.get(&who).is_some_and(|look| look.may))
                    .map(|watcher| watcher.user.clone())
                    .collect();
                let before = asked.users.get(&user).map_or(0, BTreeSet::len);
                let room = self.limits.watches_of_home.saturating_sub(asked.pairs - before);
                while watchers.len() > room {
                    watchers.pop_last();
                }
                if asked.users.get(&user).map_or(watchers.is_empty(), |told| *told == watchers) {
                    continue;
                }
                asked.pairs = asked.pairs - before + watchers.len();
                named += watchers.len();
                users.push(Watchers {
                    user: user.clone(),
                    watchers: watchers.iter().cloned().collect(),
                });
                if watchers.is_empty() {
                    asked.users.remove(&user);
                } else {
                    asked.users.insert(user, watchers);
                }
            }
            if !users.is_empty() || asked.recant {
                asked.recant = false;
                asked.at_ms = Some(at.steady_ms);
                let anew = std::mem::replace(&mut asked.new, false);
                watches.insert(*home, Watches { anew, users });
            }
        }
        watches
    }

    /// Another home says how users of its own are. What it was not asked is passed over.
    pub fn updates_came(&mut self, at: At, home: HomeId, updates: &[Update]) -> Came {
        let mut came = Came::default();
        for update in updates {
            let who = UserRef::new(home, update.user.clone());
            // What is asked for may be wanted no longer.
            if !self.watched.contains_key(&who) || !self.others.take(at, &who, update) {
                came.ignored += 1;
                continue;
            }
            came.taken += 1;
            if update.online {
                let end = at.steady_ms + self.limits.expire_ms;
                if let Some(known) = self.others.known.get_mut(&who)
                    && !std::mem::replace(&mut known.awaited, true)
                {
                    self.others.ends.insert((end, who.clone()));
                }
            }
            self.note_changed(&who);
        }
        came
    }
}
