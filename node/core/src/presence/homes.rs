//! What other homes watch here, and what they have been told.
//!
//! A home asks in the names of its users; each is looked at by the watched user's [`Rules`]. What goes out is one update
//! for each watched user, with the users who may see it: those are said again only where they are others. Of a user whom
//! nobody there may see, nothing goes out at all.

use std::collections::{BTreeMap, BTreeSet};

use homing_wire::{HomeId, Local, UserRef};

use super::lives::Lives;
use super::{
    AT_ONCE, At, Came, Doubt, Presence, Rules, Seen, Update, Watches, is_due, of_home, own_seen,
};
use crate::reader::Fault;

/// Watches of one home that are looked at within [`WINDOW_MS`]; each costs reads. It may come with all of them anew, and
/// change some.
const LOOKED_AT: usize = 20_000;
/// The window of that, in milliseconds. This home names [`AT_ONCE`] a second, and the last time as many as it may watch.
const WINDOW_MS: u64 = 10_000;

/// What all other homes watch here.
#[derive(Default)]
pub(super) struct Homes {
    peers: BTreeMap<HomeId, Peer>,
    /// Who watches a user.
    by_user: BTreeMap<Local, BTreeSet<HomeId>>,
    pairs: usize,
}

/// What one of them watches.
#[derive(Default)]
struct Peer {
    /// This home's stream to it is open.
    open: bool,
    users: BTreeMap<Local, Watched>,
    pairs: usize,
    /// Of whom it may have to be told.
    due: BTreeSet<Local>,
    /// Who is to be told of again: one row for each of whom [`Watched::renewal_ms`] names it.
    renewals: BTreeSet<(u64, Local)>,
    told_ms: Option<u64>,
    window_ms: u64,
    looked_at: usize,
}

/// A user of this home who is watched by one other.
#[derive(Default)]
struct Watched {
    /// Who watches, and whether they may see.
    watchers: BTreeMap<Local, bool>,
    /// What the home was told last on the present stream, and when.
    told: Option<(Seen, u64)>,
    /// It has still to be told who may see.
    seers_differ: bool,
    /// Somebody was named as one who may see, on this stream or an earlier one of the connection: if nobody may any
    /// more, that has to be said.
    has_seers: bool,
    /// When its row among the renewals is.
    renewal_ms: Option<u64>,
    /// Who of those who watch may be let see otherwise than is noted.
    doubt: Doubt,
}

impl Homes {
    pub(super) fn pairs(&self) -> usize {
        self.pairs
    }

    /// A user of this home has come or gone.
    pub(super) fn changed(&mut self, user: &Local) {
        for home in self.by_user.get(user).into_iter().flatten() {
            if let Some(peer) = self.peers.get_mut(home) {
                peer.due.insert(user.clone());
            }
        }
    }

    /// What the user lets those others see may be different.
    pub(super) fn doubt(&mut self, user: &Local, others: &Doubt) {
        for home in self.by_user.get(user).into_iter().flatten() {
            let Some(peer) = self.peers.get_mut(home) else { continue };
            let Some(watched) = peer.users.get_mut(user) else { continue };
            let concerned = |who: &&Local| others.names(&UserRef::new(*home, (*who).clone()));
            if watched.watchers.keys().any(|who| concerned(&who)) {
                watched.doubt = merged(std::mem::take(&mut watched.doubt), others);
                peer.due.insert(user.clone());
            }
        }
    }

    /// Nothing that a home has asked counts any more.
    fn drop_watches(&mut self, home: &HomeId) {
        let Some(peer) = self.peers.get_mut(home) else { return };
        self.pairs -= std::mem::take(&mut peer.pairs);
        (peer.due, peer.renewals) = Default::default();
        for user in std::mem::take(&mut peer.users).into_keys() {
            if let Some(homes) = self.by_user.get_mut(&user) {
                homes.remove(home);
                if homes.is_empty() {
                    self.by_user.remove(&user);
                }
            }
        }
    }
}

/// Both doubts.
fn merged(one: Doubt, other: &Doubt) -> Doubt {
    match (one, other) {
        (Doubt::Everybody, _) | (_, Doubt::Everybody) => Doubt::Everybody,
        (one, Doubt::Nobody) => one,
        (Doubt::Nobody, Doubt::Some(others)) => Doubt::Some(others.clone()),
        (Doubt::Some(mut some), Doubt::Some(others)) => {
            some.extend(others.iter().cloned());
            Doubt::Some(some)
        }
    }
}

impl Watched {
    /// The user is to be looked at then, unless it is sooner anyway.
    fn await_renewal(&mut self, renewals: &mut BTreeSet<(u64, Local)>, when: u64, user: Local) {
        if self.renewal_ms.is_none() {
            self.renewal_ms = Some(when);
            renewals.insert((when, user));
        }
    }

    /// Asks the rules once more where there is doubt. Answers how often they were asked.
    fn settle(
        &mut self,
        home: HomeId,
        user: &Local,
        rules: &mut dyn Rules,
    ) -> Result<usize, Fault> {
        let doubt = std::mem::take(&mut self.doubt);
        let mut asked = 0;
        if matches!(doubt, Doubt::Nobody) {
            return Ok(0);
        }
        for (watcher, may) in &mut self.watchers {
            let who = UserRef::new(home, watcher.clone());
            if doubt.names(&who) {
                asked += 1;
                let now = rules.shows(user, &who)?;
                self.seers_differ |= now != *may;
                *may = now;
            }
        }
        Ok(asked)
    }
}

impl Presence {
    /// This home's stream to another is new: what was told on an earlier one may be lost.
    pub fn stream_open(&mut self, home: HomeId) {
        self.others.stream_open(home);
        for who in of_home(&self.watched, home) {
            self.others.asked_differs(who);
        }
        let peer = self.homes.peers.entry(home).or_default();
        peer.open = true;
        peer.told_ms = None;
        for (user, watched) in &mut peer.users {
            (watched.told, watched.seers_differ) = (None, true);
            peer.due.insert(user.clone());
        }
    }

    /// The connection with a home is gone: what it watched it asks for again, and what it told ends by itself.
    pub fn peer_gone(&mut self, home: &HomeId) {
        self.homes.drop_watches(home);
        self.homes.peers.remove(home);
        self.others.peer_gone(home);
    }

    /// Another home's users watch users of this one. What is more than it may watch is passed over, and so is what it
    /// asks in haste.
    pub fn watches_came(
        &mut self,
        at: At,
        home: HomeId,
        watches: &Watches,
        rules: &mut dyn Rules,
    ) -> Result<Came, Fault> {
        if watches.anew {
            self.homes.drop_watches(&home);
        }
        let mut came = Came::default();
        for asked in &watches.users {
            if self.watch_came(at, home, &asked.user, &asked.watchers, rules)? {
                came.taken += 1;
            } else {
                came.ignored += 1;
            }
        }
        Ok(came)
    }

    fn watch_came(
        &mut self,
        at: At,
        home: HomeId,
        user: &Local,
        watchers: &[Local],
        rules: &mut dyn Rules,
    ) -> Result<bool, Fault> {
        let peer = self.homes.peers.entry(home).or_default();
        if at.steady_ms >= peer.window_ms + WINDOW_MS {
            (peer.window_ms, peer.looked_at) = (at.steady_ms, 0);
        }
        peer.looked_at = peer.looked_at.saturating_add(watchers.len().max(1));
        if peer.looked_at > LOOKED_AT {
            return Ok(false);
        }
        let watchers: BTreeSet<&Local> = watchers.iter().collect();
        let before = peer.users.get(user).map_or(0, |watched| watched.watchers.len());
        let of_home = peer.pairs - before + watchers.len();
        let of_homes = self.homes.pairs - before + watchers.len();
        if watchers.len() > before
            && (of_home > self.limits.watches_of_home || of_homes > self.limits.watches_of_homes)
        {
            return Ok(false);
        }
        let mut may = BTreeMap::new();
        for watcher in watchers {
            let shows = rules.shows(user, &UserRef::new(home, watcher.clone()))?;
            may.insert(watcher.clone(), shows);
        }
        (peer.pairs, self.homes.pairs) = (of_home, of_homes);
        if may.is_empty() {
            let watched = peer.users.remove(user);
            if let Some(when) = watched.and_then(|watched| watched.renewal_ms) {
                peer.renewals.remove(&(when, user.clone()));
            }
            peer.due.remove(user);
            if let Some(homes) = self.homes.by_user.get_mut(user) {
                homes.remove(&home);
                if homes.is_empty() {
                    self.homes.by_user.remove(user);
                }
            }
            return Ok(true);
        }
        self.homes.by_user.entry(user.clone()).or_default().insert(home);
        let watched = peer.users.entry(user.clone()).or_default();
        // Told anew, even where the same users watch: that home may have let go meanwhile what it was told.
        watched.watchers = may;
        watched.seers_differ = true;
        peer.due.insert(user.clone());
        // They were asked about just now.
        watched.doubt = Doubt::Nobody;
        Ok(true)
    }

    /// What homes are to be told now of users of this one: each at most once in [`super::PresenceLimits::gather_ms`].
    pub fn take_updates(
        &mut self,
        at: At,
        rules: &mut dyn Rules,
    ) -> Result<BTreeMap<HomeId, Vec<Update>>, Fault> {
        self.expand_doubts();
        let mut updates = BTreeMap::new();
        for (home, peer) in &mut self.homes.peers {
            if !peer.open || !is_due(peer.told_ms, at, self.limits.gather_ms) {
                continue;
            }
            peer.renew(at, self.limits.renew_ms);
            let told = peer.tell(*home, at, self.limits.renew_ms, &self.lives, rules)?;
            if !told.is_empty() {
                peer.told_ms = Some(at.steady_ms);
                updates.insert(*home, told);
            }
        }
        Ok(updates)
    }
}

impl Peer {
    /// Whoever is online and was told of long ago is told of again, and looked at by the rules again: some of what they
    /// depend on changes without a word.
    fn renew(&mut self, at: At, renew_ms: u64) {
        while self.renewals.first().is_some_and(|(when, _)| *when <= at.steady_ms) {
            let Some((_, user)) = self.renewals.pop_first() else { break };
            let Some(watched) = self.users.get_mut(&user) else { continue };
            watched.renewal_ms = None;
            match watched.told {
                Some((Seen { online: true, .. }, when)) if at.steady_ms < when + renew_ms => {
                    watched.await_renewal(&mut self.renewals, when + renew_ms, user);
                }
                Some((Seen { online: true, .. }, _)) | None => {
                    watched.doubt = Doubt::Everybody;
                    self.due.insert(user);
                }
                Some((Seen { online: false, .. }, _)) => {}
            }
        }
    }

    fn tell(
        &mut self,
        home: HomeId,
        at: At,
        renew_ms: u64,
        lives: &Lives,
        rules: &mut dyn Rules,
    ) -> Result<Vec<Update>, Fault> {
        let mut told = Vec::new();
        let (mut named, mut asked) = (0, 0);
        while told.len() < AT_ONCE && named < AT_ONCE && asked < AT_ONCE {
            let Some(user) = self.due.pop_first() else { break };
            let Some(watched) = self.users.get_mut(&user) else { continue };
            asked += watched.settle(home, &user, rules)?;
            let seers = || watched.watchers.iter().filter(|(_, may)| **may).map(|(who, _)| who);
            let has_seers = seers().next().is_some();
            if !has_seers && !watched.has_seers {
                // Nobody there may see: nothing is said, not even that. Somebody may later.
                watched.seers_differ = false;
                let online = lives.seen(&user).is_some_and(|(online, _)| online);
                if online {
                    watched.await_renewal(&mut self.renewals, at.steady_ms + renew_ms, user);
                }
                continue;
            }
            let seen = if has_seers { own_seen(lives, &user, rules)? } else { Seen::default() };
            let is_news = watched.seers_differ
                || watched.told.is_none_or(|(before, when)| {
                    before != seen || (seen.online && at.steady_ms >= when + renew_ms)
                });
            if !is_news {
                continue;
            }
            let named_now = watched.seers_differ.then(|| seers().cloned().collect::<Vec<_>>());
            named += named_now.as_ref().map_or(0, Vec::len);
            watched.seers_differ = false;
            watched.has_seers = has_seers;
            watched.told = Some((seen, at.steady_ms));
            if seen.online {
                watched.await_renewal(&mut self.renewals, at.steady_ms + renew_ms, user.clone());
            }
            let last_ms =
                if seen.online { lives.seen(&user).map(|(_, ms)| ms) } else { seen.last_ms };
            told.push(Update { user, online: seen.online, last_ms, seers: named_now });
        }
        Ok(told)
    }
}
