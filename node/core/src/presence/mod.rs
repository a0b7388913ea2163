//! Presence: who is online, when somebody was last seen, and who is told.
//!
//! All of it is in memory, and may be lost: what was last seen goes to disk now and then ([`Presence::take_seen`]), the
//! rest comes again with the next sign of life, and with the next stream between two homes.
//!
//! - **Signs.** A device lives as long as its socket says anything; a user is online while a device lives. See `lives.rs`.
//! - **Nothing travels unasked.** A change is told where somebody watches: to sessions of this home, and to other homes
//!   for the users there whom the watched user's home lets see it (`homes.rs`). Whether it does is decided here, by
//!   [`Rules`], and said along.
//! - **Of others' users** this home holds what their home has said of those who are watched here, for a while (`others.rs`).
//! - **Gathered.** Each second, one update for each watched user who has changed, in one go for each home.
//!
//! # How it is driven
//! Signs, watches and what homes say come in as they happen and change nothing but memory. About once a second
//! [`Presence::take_seen`] is stored, then [`Presence::tick`] says who is to be told what. Beside that,
//! [`Presence::take_watches`] and [`Presence::take_updates`] may be called when somebody has begun to watch, so that the
//! first answer does not wait; they keep to the pace by themselves. The caller opens and closes what the network opens and closes:
//! [`Presence::stream_open`] when this home's stream to another is new, [`Presence::peer_gone`] when the connection is.

mod homes;
mod lives;
mod others;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use homing_wire::{DeviceId, HomeId, Local, UserRef};

use self::homes::Homes;
use self::lives::Lives;
use self::others::Others;
use crate::reader::Fault;
use crate::refusal::{Class, Failure, NO_USER, Refusal};

pub use self::rules::HomeRules;

/// Both clocks: signs are measured by the one that never jumps, people are shown the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At {
    /// Milliseconds of a clock that only goes forward.
    pub steady_ms: u64,
    /// Unix milliseconds.
    pub wall_ms: u64,
}

/// A user as somebody is shown. The default: hidden, or not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// A device lives.
    pub online: bool,
    /// The last sign of life, in Unix milliseconds; not shown of somebody who is online.
    pub last_ms: Option<u64>,
}

/// What presence keeps to.
#[derive(Clone, Copy, Debug)]
pub struct PresenceLimits {
    /// Changes are gathered so long, in milliseconds.
    pub gather_ms: u64,
    /// A device whose last sign is so long ago, in milliseconds, is gone.
    pub online_ms: u64,
    /// What is last seen of a user who stays online is stored so often, in milliseconds.
    pub save_ms: u64,
    /// Another home is told again after so long, in milliseconds, that somebody is still online.
    pub renew_ms: u64,
    /// Whoever another home has not said to be still online for so long, in milliseconds, is taken for offline.
    pub expire_ms: u64,
    /// Users whom one session watches.
    pub watched_by_session: usize,
    /// Watches of all sessions together: about 100 bytes each.
    pub watches: usize,
    /// Watches of one other home: (watched user, who watches). Nor does this home ask more of one. About 100 bytes each.
    pub watches_of_home: usize,
    /// Of all other homes together.
    pub watches_of_homes: usize,
}

impl Default for PresenceLimits {
    fn default() -> Self {
        Self {
            gather_ms: 1_000,
            online_ms: 30_000,
            save_ms: 55_000,
            renew_ms: 30_000,
            expire_ms: 90_000,
            watched_by_session: 500,
            watches: 500_000,
            watches_of_home: 10_000,
            watches_of_homes: 200_000,
        }
    }
}

/// Users whom one home is told of, or asked about, in one go; the rest follows after the next pause.
const AT_ONCE: usize = 1_000;

/// Watches of sessions about which the rules are asked again in one go: some 10 ms at worst.
const SETTLED_AT_ONCE: usize = 2_000;

/// A tick may come so much too early, in milliseconds: timers are not exact, and a whole pause more would be noticed.
const EARLY_MS: u64 = 50;

/// What presence asks of the rest of the home.
pub trait Rules {
    /// Whether there is a user of that name here.
    fn is_user(&mut self, user: &Local) -> Result<bool, Fault>;
    /// Whether `watched`, a user of this home, lets `watcher` see.
    fn shows(&mut self, watched: &Local, watcher: &UserRef) -> Result<bool, Fault>;
    /// Whether `watcher`, a user of this home, may look at `watched` at all: who hides sees nobody.
    fn looks(&mut self, watcher: &Local, watched: &UserRef) -> Result<bool, Fault>;
    /// When a user of this home was last seen, as far as it was stored, in Unix milliseconds.
    fn last_seen(&mut self, user: &Local) -> Result<Option<u64>, Fault>;
}

/// How a user is, as another home is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    /// A user of the telling home.
    pub user: Local,
    /// A device lives.
    pub online: bool,
    /// The last sign of life, in Unix milliseconds, also of somebody who is online: if nothing more is heard, it is what
    /// was last seen.
    pub last_ms: Option<u64>,
    /// Users of the told home who may see it; `None`: the same as were told before.
    pub seers: Option<Vec<Local>>,
}

/// Who watches a user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watchers {
    /// A user of the asked home.
    pub user: Local,
    /// All users of the asking home who watch; none: nobody any more.
    pub watchers: Vec<Local>,
}

/// What a home is asked to tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Watches {
    /// Nothing that was asked before counts any more.
    pub anew: bool,
    /// Who watches whom; users who are not named are watched as before.
    pub users: Vec<Watchers>,
}

/// What a session is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Noticed {
    /// Which.
    pub session: u64,
    /// Whom it watches.
    pub user: Arc<UserRef>,
    /// How that user is now.
    pub seen: Seen,
}

/// What became of something that another home has said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Came {
    /// Of so many users something was taken.
    pub taken: usize,
    /// Of so many nothing: nobody here has asked, or it is more than one home may watch.
    pub ignored: usize,
}

/// Who is to be told what.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// Sessions of this home.
    pub notices: Vec<Noticed>,
    /// Other homes, of users of this one.
    pub updates: BTreeMap<HomeId, Vec<Update>>,
    /// Other homes, whom users of this one watch there.
    pub watches: BTreeMap<HomeId, Watches>,
}

/// With respect to whom something was changed.
#[derive(Clone, Default)]
enum Doubt {
    #[default]
    Nobody,
    Some(BTreeSet<UserRef>),
    Everybody,
}

impl Doubt {
    fn add(&mut self, other: Option<&UserRef>) {
        match (&mut *self, other) {
            (Self::Everybody, _) => {}
            (Self::Some(others), Some(other)) => {
                others.insert(other.clone());
            }
            (Self::Nobody, Some(other)) => *self = Self::Some(BTreeSet::from([other.clone()])),
            (Self::Nobody | Self::Some(_), None) => *self = Self::Everybody,
        }
    }

    fn names(&self, who: &UserRef) -> bool {
        match self {
            Self::Nobody => false,
            Self::Some(others) => others.contains(who),
            Self::Everybody => true,
        }
    }
}

/// A session that watches.
struct Watcher {
    user: Local,
    watched: BTreeMap<Arc<UserRef>, Look>,
}

/// How a session looks at a user.
struct Look {
    /// By the rules of this home. Of another home's user, that home has the last word.
    may: bool,
    /// What the session was shown last.
    shown: Seen,
}

/// See the module.
pub struct Presence {
    home: HomeId,
    limits: PresenceLimits,
    lives: Lives,
    sessions: BTreeMap<u64, Watcher>,
    /// Sessions that watch a user, of this home or another.
    watched: BTreeMap<Arc<UserRef>, BTreeSet<u64>>,
    /// How many watches those are.
    watches: usize,
    /// Sessions of users of this home that watch.
    by_user: BTreeMap<Local, BTreeSet<u64>>,
    /// Of whom sessions may have to be told.
    changed: BTreeSet<Arc<UserRef>>,
    /// Users of this home of whom something was changed on which it depends who may see whom.
    doubtful: BTreeMap<Local, Doubt>,
    /// Watches of sessions of which that may be different.
    doubts: BTreeSet<(u64, Arc<UserRef>)>,
    homes: Homes,
    others: Others,
    ticked_ms: Option<u64>,
}

impl Presence {
    /// Nobody is online, and nobody watches.
    pub fn new(home: HomeId, limits: PresenceLimits) -> Self {
        Self {
            home,
            lives: Lives::new(limits.online_ms, limits.save_ms),
            sessions: BTreeMap::new(),
            watched: BTreeMap::new(),
            watches: 0,
            by_user: BTreeMap::new(),
            changed: BTreeSet::new(),
            doubtful: BTreeMap::new(),
            doubts: BTreeSet::new(),
            homes: Homes::default(),
            others: Others::default(),
            ticked_ms: None,
            limits,
        }
    }

    /// A socket of a device is signed in.
    pub fn opened(&mut self, at: At, user: &Local, device: DeviceId) {
        if self.lives.opened(at, user, device) {
            self.own_changed(user);
        }
    }

    /// A device has given a sign of life.
    pub fn sign(&mut self, at: At, user: &Local, device: DeviceId) {
        if self.lives.sign(at, user, device) {
            self.own_changed(user);
        }
    }

    /// A socket of a device is closed. `in_order`: it said so; otherwise it may come back at once.
    pub fn closed(&mut self, at: At, user: &Local, device: DeviceId, in_order: bool) {
        if self.lives.closed(at, user, device, in_order) {
            self.own_changed(user);
        }
    }

    /// When users were last seen, as far as it is time to store it, in Unix milliseconds.
    pub fn take_seen(&mut self, at: At) -> BTreeMap<Local, u64> {
        for user in self.lives.tick(at) {
            self.own_changed(&user);
        }
        self.lives.take_unsaved()
    }

    /// The same of everybody who is online: the home stops.
    pub fn take_all_seen(&mut self) -> BTreeMap<Local, u64> {
        self.lives.take_all()
    }

    /// A session watches users, beside those whom it watches already. Answers how they are, in that order. Refused
    /// are more than [`PresenceLimits::watched_by_session`], or that many names even of the same users
    /// (`too_many_watched`), more than [`PresenceLimits::watches`] (`watches_busy`), and users of this home who are not
    /// there (`user_not_found`).
    pub fn watch(
        &mut self,
        session: u64,
        user: &Local,
        users: &[UserRef],
        rules: &mut dyn Rules,
    ) -> Result<Vec<Seen>, Failure> {
        self.may_name(users.len())?;
        let known = self.sessions.get(&session).map(|s| &s.watched);
        let named: BTreeSet<&UserRef> = users.iter().collect();
        let is_new = |who: &&&UserRef| !known.is_some_and(|known| known.contains_key(**who));
        let new: Vec<&UserRef> = named.iter().filter(is_new).copied().collect();
        if known.map_or(0, BTreeMap::len) + new.len() > self.limits.watched_by_session {
            return Err(self.too_many_watched());
        }
        if self.watches + new.len() > self.limits.watches {
            return Err(WATCHES_BUSY.with_limit(self.limits.watches as u64).into());
        }
        for who in &new {
            if who.home == self.home && !rules.is_user(&who.local)? {
                return Err(NO_USER.about(who).into());
            }
        }
        let many = new.len();
        let mut looks = BTreeMap::new();
        // All is asked before anything is noted: a fault in the middle changes nothing.
        for who in named {
            let may = self.may_look(user, who, rules)?;
            looks.insert(who, Look { may, shown: self.shown(user, who, may, rules)? });
        }
        let answers = users.iter().filter_map(|who| Some(looks.get(who)?.shown)).collect();
        self.watches += many;
        let watcher = self
            .sessions
            .entry(session)
            .or_insert_with(|| Watcher { user: user.clone(), watched: BTreeMap::new() });
        self.by_user.entry(user.clone()).or_default().insert(session);
        for (who, look) in looks {
            let key = match self.watched.get_key_value(who) {
                Some((key, _)) => key.clone(),
                None => Arc::new(who.clone()),
            };
            self.watched.entry(key.clone()).or_default().insert(session);
            let may = look.may;
            let before = watcher.watched.insert(key, look);
            // Whoever looked before may have been let look since, with no tick between.
            if who.home != self.home && before.is_none_or(|before| before.may != may) {
                self.others.asked_differs(who);
            }
        }
        Ok(answers)
    }

    /// Whether a call may name so many users: no more than a session watches, so that each costs little.
    pub fn may_name(&self, many: usize) -> Result<(), Failure> {
        if many > self.limits.watched_by_session {
            return Err(self.too_many_watched());
        }
        Ok(())
    }

    fn too_many_watched(&self) -> Failure {
        TOO_MANY_WATCHED.with_limit(self.limits.watched_by_session as u64).into()
    }

    /// A session watches users no longer; whom it did not watch is passed over.
    pub fn unwatch(&mut self, session: u64, users: &[UserRef]) {
        let Some(watcher) = self.sessions.get_mut(&session) else { return };
        let mut gone = Vec::new();
        for who in users {
            if let Some((key, _)) = watcher.watched.remove_entry(who) {
                gone.push(key);
            }
        }
        if watcher.watched.is_empty() {
            self.session_gone(session);
        }
        for who in gone {
            self.leave(session, &who);
        }
    }

    /// A session is over, or is another user's from now on.
    pub fn session_gone(&mut self, session: u64) {
        let Some(watcher) = self.sessions.remove(&session) else { return };
        if let Some(sessions) = self.by_user.get_mut(&watcher.user) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.by_user.remove(&watcher.user);
            }
        }
        for who in watcher.watched.keys() {
            self.leave(session, who);
        }
    }

    fn leave(&mut self, session: u64, who: &Arc<UserRef>) {
        self.watches = self.watches.saturating_sub(1);
        self.doubts.remove(&(session, who.clone()));
        let Some(sessions) = self.watched.get_mut(who) else { return };
        sessions.remove(&session);
        let last = sessions.is_empty();
        if last {
            self.watched.remove(who);
            self.changed.remove(who);
        }
        if who.home != self.home {
            self.others.asked_differs(who);
            if last {
                self.others.forget(who);
            }
        }
    }

    /// What a user of this home lets others see, or whom the user knows or has blocked, is different: as far as
    /// `other` is concerned, where one is named. It is seen to by the next tick, however often somebody changes it.
    pub fn reconsider(&mut self, owner: &Local, other: Option<&UserRef>) {
        self.doubtful.entry(owner.clone()).or_default().add(other);
    }

    /// Notes which watches those are that may be different.
    fn expand_doubts(&mut self) {
        for (owner, others) in std::mem::take(&mut self.doubtful) {
            let me = UserRef::new(self.home, owner.clone());
            // Those who look at the user.
            if let Some((key, sessions)) = self.watched.get_key_value(&me) {
                let concerned = sessions.iter().filter(|session| {
                    let watcher = self.sessions.get(session);
                    watcher.is_some_and(|w| others.names(&UserRef::new(self.home, w.user.clone())))
                });
                self.doubts.extend(concerned.map(|session| (*session, key.clone())));
            }
            self.homes.doubt(&owner, &others);
            // At whom the user looks.
            for session in self.by_user.get(&owner).into_iter().flatten() {
                let Some(watcher) = self.sessions.get(session) else { continue };
                let concerned = watcher.watched.keys().filter(|who| others.names(who));
                self.doubts.extend(concerned.map(|who| (*session, who.clone())));
            }
        }
    }

    /// Asks the rules again about watches that may be different: some now, the rest a second later. What has to be
    /// shown of those meanwhile is asked for then ([`Presence::tick`]).
    fn settle_doubts(&mut self, rules: &mut dyn Rules) -> Result<(), Fault> {
        for _ in 0..SETTLED_AT_ONCE {
            let Some((session, who)) = self.doubts.pop_first() else { break };
            self.look_again(session, &who, rules)?;
        }
        Ok(())
    }

    fn look_again(
        &mut self,
        session: u64,
        who: &UserRef,
        rules: &mut dyn Rules,
    ) -> Result<(), Fault> {
        let watcher = self.sessions.get(&session).filter(|w| w.watched.contains_key(who));
        let Some(watcher) = watcher.map(|watcher| watcher.user.clone()) else { return Ok(()) };
        let may = self.may_look(&watcher, who, rules)?;
        let Some(session) = self.sessions.get_mut(&session) else { return Ok(()) };
        let Some((key, _)) = session.watched.get_key_value(who) else { return Ok(()) };
        let key = key.clone();
        let Some(look) = session.watched.get_mut(who) else { return Ok(()) };
        if look.may != may {
            look.may = may;
            if who.home != self.home {
                self.others.asked_differs(who);
            }
            self.changed.insert(key);
        }
        Ok(())
    }

    fn may_look(
        &self,
        watcher: &Local,
        who: &UserRef,
        rules: &mut dyn Rules,
    ) -> Result<bool, Fault> {
        if !rules.looks(watcher, who)? {
            return Ok(false);
        }
        let local = who.home == self.home;
        Ok(!local || rules.shows(&who.local, &UserRef::new(self.home, watcher.clone()))?)
    }

    /// How a user of this home is shown to somebody, whether or not somebody watches; `None`: not at all. Of another
    /// home's user, only what is known because it is watched.
    pub fn seen_by(
        &self,
        watcher: &UserRef,
        who: &UserRef,
        rules: &mut dyn Rules,
    ) -> Result<Option<Seen>, Fault> {
        if watcher.home != self.home {
            let shows = who.home == self.home && rules.shows(&who.local, watcher)?;
            return if shows { self.own_seen(&who.local, rules).map(Some) } else { Ok(None) };
        }
        if !self.may_look(&watcher.local, who, rules)? {
            return Ok(None);
        }
        if who.home == self.home {
            return self.own_seen(&who.local, rules).map(Some);
        }
        Ok(self.others.seen(who, &watcher.local))
    }

    fn shown(
        &self,
        watcher: &Local,
        who: &UserRef,
        may: bool,
        rules: &mut dyn Rules,
    ) -> Result<Seen, Fault> {
        if !may {
            return Ok(Seen::default());
        }
        if who.home == self.home {
            return self.own_seen(&who.local, rules);
        }
        Ok(self.others.seen(who, watcher).unwrap_or_default())
    }

    /// How a user of this home is.
    fn own_seen(&self, user: &Local, rules: &mut dyn Rules) -> Result<Seen, Fault> {
        own_seen(&self.lives, user, rules)
    }

    fn own_changed(&mut self, user: &Local) {
        let who = UserRef::new(self.home, user.clone());
        if let Some((key, _)) = self.watched.get_key_value(&who) {
            self.changed.insert(key.clone());
        }
        self.homes.changed(user);
    }

    /// About once a second, after [`Presence::take_seen`] was stored: who is to be told what.
    pub fn tick(&mut self, at: At, rules: &mut dyn Rules) -> Result<Told, Fault> {
        if !is_due(self.ticked_ms, at, self.limits.gather_ms) {
            return Ok(Told::default());
        }
        self.ticked_ms = Some(at.steady_ms);
        for who in self.others.expire(at, self.limits.expire_ms) {
            self.note_changed(&who);
        }
        self.expand_doubts();
        self.settle_doubts(rules)?;
        let mut told = Told::default();
        for who in std::mem::take(&mut self.changed) {
            for session in self.watched.get(&who).cloned().unwrap_or_default() {
                // Nothing is shown by what may not hold any more.
                if self.doubts.remove(&(session, who.clone())) {
                    self.look_again(session, &who, rules)?;
                }
                let Some(watcher) = self.sessions.get(&session) else { continue };
                let Some(look) = watcher.watched.get(&who) else { continue };
                let seen = self.shown(&watcher.user, &who, look.may, rules)?;
                let Some(watcher) = self.sessions.get_mut(&session) else { continue };
                let Some(look) = watcher.watched.get_mut(&who) else { continue };
                if look.shown != seen {
                    look.shown = seen;
                    told.notices.push(Noticed { session, user: who.clone(), seen });
                }
            }
        }
        told.watches = self.take_watches(at);
        told.updates = self.take_updates(at, rules)?;
        Ok(told)
    }

    fn note_changed(&mut self, who: &UserRef) {
        if let Some((key, _)) = self.watched.get_key_value(who) {
            self.changed.insert(key.clone());
        }
    }

    /// Users online now.
    pub fn online(&self) -> usize {
        self.lives.online()
    }

    /// Watches of all sessions.
    pub fn watches(&self) -> usize {
        self.watches
    }

    /// Watches of all other homes.
    pub fn watches_of_homes(&self) -> usize {
        self.homes.pairs()
    }
}

const TOO_MANY_WATCHED: Refusal =
    Refusal::new(Class::Limit, "too_many_watched", "one socket watches no more users");
const WATCHES_BUSY: Refusal =
    Refusal::new(Class::Later, "watches_busy", "this home watches as many users as it can");

/// How a user of this home is.
fn own_seen(lives: &Lives, user: &Local, rules: &mut dyn Rules) -> Result<Seen, Fault> {
    match lives.seen(user) {
        Some((true, _)) => Ok(Seen { online: true, last_ms: None }),
        Some((false, last_ms)) => Ok(Seen { online: false, last_ms: Some(last_ms) }),
        None => Ok(Seen { online: false, last_ms: rules.last_seen(user)? }),
    }
}

/// Those of one home among users, which are sorted by home.
fn of_home(
    watched: &BTreeMap<Arc<UserRef>, BTreeSet<u64>>,
    home: HomeId,
) -> impl Iterator<Item = &Arc<UserRef>> {
    let range = watched.range::<UserRef, _>((first_of(home), Bound::Unbounded));
    range
        .map(|(who, _)| who)
        .skip_while(move |who| who.home < home)
        .take_while(move |who| who.home == home)
}

/// Where users of a home begin.
fn first_of(home: HomeId) -> Bound<UserRef> {
    let least = Local::canonical("0").ok().map(|least| UserRef::new(home, least));
    least.map_or(Bound::Unbounded, Bound::Included)
}

/// Whether the pause since the last time is over.
fn is_due(last_ms: Option<u64>, at: At, pause_ms: u64) -> bool {
    last_ms.is_none_or(|last| at.steady_ms + EARLY_MS >= last + pause_ms)
}
