//! Who is there and who types, at the hub: what clients and other homes say of it goes to [`homing_core::presence`] and
//! [`homing_core::Typing`], and what follows from it to those who are to be told. None of it is on disk but when people
//! were last seen.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::time::Instant;

use homing_core::presence::{At, HomeRules, Presence, PresenceLimits, Rules as _, Seen, Told};
use homing_core::{Audience, Fault, Pace, Typing};
use homing_link::{Answer, Code, PresencePage, PresenceView, Refused, SessionNo};
use homing_wire::{Address, ChannelId, HomeId, Local, UserRef};

use super::bucket::Bucket;
use super::calls::{Outcome, Stop, no_channel, unknown_home};
use super::fleeting::Came;
use super::hub::{Hub, HubError, Output};

/// What one other home may bring of those who type, a second and at once: a thousand people who all type at the same time.
const TYPING_OF_HOME: (u32, u32) = (1_000, 2_000);

/// Users whom one user may name to watch, a second and at once: five devices that all come back with full screens.
const WATCHES_OF_USER: (u32, u32) = (500, 2_500);

/// What the hub holds of people who are there.
pub(super) struct People {
    presence: Presence,
    typing: Typing,
    /// What other homes may still bring of those who type.
    buckets: HashMap<HomeId, Bucket>,
    /// Whom users may still watch.
    watching: HashMap<Local, Bucket>,
}

impl People {
    pub(super) fn new(home: HomeId, limits: PresenceLimits) -> Self {
        let presence = Presence::new(home, limits);
        let typing = Typing::default();
        Self { presence, typing, buckets: HashMap::new(), watching: HashMap::new() }
    }
}

impl Hub {
    fn at(&self) -> At {
        At { steady_ms: self.moment().steady_ms, wall_ms: self.now_ms() }
    }

    /// A client has said something.
    pub(super) fn sign_of_life(&mut self, session: SessionNo) {
        let at = self.at();
        if let Some((user, device)) = self.sessions.get(&session).and_then(|s| s.user.as_ref()) {
            self.people.presence.sign(at, user, *device);
        }
    }

    /// A session is a user's from now on.
    pub(super) fn comes(&mut self, session: SessionNo) {
        let at = self.at();
        if let Some((user, device)) = self.sessions.get(&session).and_then(|s| s.user.as_ref()) {
            self.people.presence.opened(at, user, *device);
        }
    }

    /// A session is a user's no longer.
    pub(super) fn goes(
        &mut self,
        session: SessionNo,
        user: &Local,
        device: homing_wire::DeviceId,
        in_order: bool,
    ) {
        let at = self.at();
        self.people.presence.closed(at, user, device, in_order);
        self.people.presence.session_gone(session.0);
    }

    /// `presence.watch`
    pub(super) fn presence_watch(
        &mut self,
        session: SessionNo,
        user: &Local,
        users: &[Address],
    ) -> Result<Outcome, Stop> {
        self.people.presence.may_name(users.len())?;
        self.spend_watches(user, users.len())?;
        let users = self.watchable(users)?;
        let store = self.store.clone();
        let rules = &mut HomeRules { home: &mut self.home, reader: &*store };
        let seen = self.people.presence.watch(session.0, user, &users, rules)?;
        let homes: BTreeSet<HomeId> =
            users.iter().map(|who| who.home).filter(|home| *home != self.home.id()).collect();
        for home in homes {
            self.want(home);
        }
        let watches = self.people.presence.take_watches(self.at());
        self.tell_homes(Told { watches, ..Told::default() });
        let presence = users.iter().zip(seen).map(|(who, seen)| self.presence_view(who, seen));
        Ok(Outcome::Answer(Answer::Presence(PresencePage { presence: presence.collect() })))
    }

    /// `presence.unwatch`
    pub(super) fn presence_unwatch(
        &mut self,
        session: SessionNo,
        users: &[Address],
    ) -> Result<Outcome, Stop> {
        self.people.presence.may_name(users.len())?;
        let users = users.iter().map(|user| self.resolve(user)).collect::<Result<Vec<_>, _>>()?;
        self.people.presence.unwatch(session.0, &users);
        Ok(Outcome::Answer(Answer::Presence(PresencePage { presence: Vec::new() })))
    }

    /// So many watches of the user's share: each is looked up.
    fn spend_watches(&mut self, user: &Local, many: usize) -> Result<(), Refused> {
        let ((per_s, burst), now_ms) = (WATCHES_OF_USER, self.at().steady_ms);
        // Where the operator lets one socket watch more than the burst, a call that names them all takes all of it.
        let many = u32::try_from(many).unwrap_or(u32::MAX).min(burst);
        let full = || Bucket::full(burst, now_ms);
        let bucket = self.people.watching.entry(user.clone()).or_insert_with(full);
        bucket.take_many(many, per_s, burst, now_ms).map_err(|wait_ms| {
            let message = "you watch others faster than this home can look them up";
            Refused::new(Code::Busy, "watching_too_fast", message).with_retry_after_ms(wait_ms)
        })
    }

    /// Users of homes that this one can ask: made-up ids shall not make the network look for them.
    fn watchable(&self, users: &[Address]) -> Result<Vec<UserRef>, Refused> {
        let known =
            |home: &HomeId| self.directory.name(home).is_some() || self.home.peer(home).is_some();
        users
            .iter()
            .map(|user| {
                let who = self.resolve(user)?;
                if known(&who.home) { Ok(who) } else { Err(unknown_home()) }
            })
            .collect()
    }

    /// How a user is, as somebody may see it; `None`: not at all.
    pub(super) fn seen_by(
        &mut self,
        watcher: &UserRef,
        who: &UserRef,
    ) -> Result<Option<Seen>, Fault> {
        let store = self.store.clone();
        let rules = &mut HomeRules { home: &mut self.home, reader: &*store };
        self.people.presence.seen_by(watcher, who, rules)
    }

    /// Whether a user of this home may ask how one of another is.
    pub(super) fn may_look(&mut self, user: &Local, who: &UserRef) -> Result<bool, Fault> {
        let store = self.store.clone();
        HomeRules { home: &mut self.home, reader: &*store }.looks(user, who)
    }

    pub(super) fn presence_view(&self, who: &UserRef, seen: Seen) -> PresenceView {
        let Seen { online, last_ms } = seen;
        PresenceView { user: self.shower.address(who), online, last_seen: last_ms }
    }

    /// What a user lets others see is different, as far as `other` is concerned, where one is named.
    pub(super) fn reconsider(&mut self, user: &Local, other: Option<&UserRef>) {
        self.people.presence.reconsider(user, other);
    }

    /// The same, as far as the other party of a chat is concerned, whom the user has just accepted. (Whoever is accepted by
    /// writing to them sees it with the next renewal.)
    pub(super) fn reconsider_chat(&mut self, user: &Local, chat: ChannelId) -> Result<(), Fault> {
        let (store, me) = (self.store.clone(), self.home.user(user));
        let state = self.home.channel(&*store, chat)?;
        let other = state.and_then(|state| state.other(&me)).map(|other| other.user.clone());
        if let Some(other) = other {
            self.reconsider(user, Some(&other));
        }
        Ok(())
    }

    /// About once a second.
    pub(super) fn tend_people(&mut self) -> Result<(), HubError> {
        let at = self.at();
        let store = self.store.clone();
        for (user, seen_ms) in self.people.presence.take_seen(at) {
            self.home.note_seen(&*store, &user, seen_ms)?;
        }
        let rules = &mut HomeRules { home: &mut self.home, reader: &*store };
        let told = self.people.presence.tick(at, rules)?;
        self.tell(told);
        for (user, channel, typing) in self.people.typing.tick(at.steady_ms) {
            // Whoever has left meanwhile types no more.
            if let Some(audience) = self.home.typing_audience(&*store, &user, channel)? {
                self.tell_typing(&user, channel, typing, audience);
            }
        }
        let (per_s, burst) = TYPING_OF_HOME;
        self.people.buckets.retain(|_, bucket| !bucket.is_full(per_s, burst, at.steady_ms));
        let (per_s, burst) = WATCHES_OF_USER;
        self.people.watching.retain(|_, bucket| !bucket.is_full(per_s, burst, at.steady_ms));
        let (presence, metrics) = (&self.people.presence, &self.metrics.people);
        metrics.online.store(presence.online() as u64, Ordering::Relaxed);
        metrics.watches.store(presence.watches() as u64, Ordering::Relaxed);
        metrics.watches_of_homes.store(presence.watches_of_homes() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The home stops: who is there is noted as seen until now.
    pub(super) fn note_all_seen(&mut self) -> Result<(), HubError> {
        let store = self.store.clone();
        for (user, seen_ms) in self.people.presence.take_all_seen() {
            self.home.note_seen(&*store, &user, seen_ms)?;
        }
        Ok(())
    }

    fn tell(&mut self, mut told: Told) {
        for noticed in std::mem::take(&mut told.notices) {
            let view = self.presence_view(&noticed.user, noticed.seen);
            // Behind all that was decided before: no `sync` runs ahead of it.
            let (session, change) = (SessionNo(noticed.session), self.home.change());
            self.outputs.push(Output::Presence { session, change, view: Box::new(view) });
        }
        self.tell_homes(told);
    }

    /// Nothing waits for a home that is away: what it missed is said anew when it comes.
    fn tell_homes(&self, told: Told) {
        for (home, watches) in told.watches {
            if let Some(satchel) = self.connected(&home) {
                satchel.fleeting(|waits| waits.watch(watches));
            }
        }
        for (home, updates) in told.updates {
            if let Some(satchel) = self.connected(&home) {
                satchel.fleeting(|waits| waits.update(updates));
            }
        }
    }

    /// This home's stream to another is new: it is asked and told all of this anew.
    pub(super) fn people_resume(&mut self, home: HomeId) -> Result<(), HubError> {
        self.people.presence.stream_open(home);
        let watches = self.people.presence.take_watches(self.at());
        self.tell_homes(Told { watches, ..Told::default() });
        self.tell_updates()
    }

    /// The connection with a home is gone.
    pub(super) fn people_gone(&mut self, home: &HomeId) {
        self.people.presence.peer_gone(home);
    }

    fn tell_updates(&mut self) -> Result<(), HubError> {
        let (at, store) = (self.at(), self.store.clone());
        let rules = &mut HomeRules { home: &mut self.home, reader: &*store };
        let updates = self.people.presence.take_updates(at, rules)?;
        self.tell_homes(Told { updates, ..Told::default() });
        Ok(())
    }

    /// Another home has said something that is not kept.
    pub(super) fn people_came(&mut self, home: HomeId, came: Came) -> Result<(), HubError> {
        let (at, store) = (self.at(), self.store.clone());
        match came {
            Came::Watches(watches) => {
                let rules = &mut HomeRules { home: &mut self.home, reader: &*store };
                let came = self.people.presence.watches_came(at, home, &watches, rules)?;
                self.metrics.people.ignored("watches_of_home", came.ignored);
                // The first answer does not wait.
                self.tell_updates()?;
            }
            Came::Updates(updates) => {
                let came = self.people.presence.updates_came(at, home, &updates);
                let metrics = &self.metrics.people;
                metrics.updates_in.fetch_add(came.taken as u64, Ordering::Relaxed);
                metrics.ignored("not_watched", came.ignored);
            }
            Came::Typing(typing) => {
                for (channel, user, typing) in typing {
                    self.typing_came(at, &UserRef::new(home, user), channel, typing)?;
                }
            }
        }
        Ok(())
    }

    fn typing_came(
        &mut self,
        at: At,
        who: &UserRef,
        channel: ChannelId,
        typing: bool,
    ) -> Result<(), HubError> {
        let (per_s, burst) = TYPING_OF_HOME;
        let full = || Bucket::full(burst, at.steady_ms);
        let bucket = self.people.buckets.entry(who.home).or_insert_with(full);
        if bucket.take(per_s, burst, at.steady_ms).is_err() {
            self.metrics.people.typing_dropped("too_fast");
            return Ok(());
        }
        let store = self.store.clone();
        let Some(users) = self.home.typing_heard(&*store, who, channel)? else {
            self.metrics.people.typing_dropped("not_a_member");
            return Ok(());
        };
        self.metrics.people.typing_in.fetch_add(1, Ordering::Relaxed);
        self.show_typing(who, channel, typing, &users);
        Ok(())
    }

    /// `typing.set`
    pub(super) fn typing_set(
        &mut self,
        user: &Local,
        channel: ChannelId,
        typing: bool,
    ) -> Result<Outcome, Stop> {
        let store = self.store.clone();
        let audience = self.home.typing_audience(&*store, user, channel)?;
        let audience = audience.ok_or_else(no_channel)?;
        match self.people.typing.set(self.at().steady_ms, user, channel, typing) {
            Pace::Now => self.tell_typing(user, channel, typing, audience),
            Pace::Kept => self.metrics.people.typing_dropped("gathered"),
            Pace::TooMany(wait_ms) => {
                let message = "nobody types in so many channels at once";
                let refused = Refused::new(Code::Busy, "typing_too_fast", message);
                return Err(refused.with_retry_after_ms(wait_ms).into());
            }
        }
        Ok(Outcome::Answer(Answer::Done))
    }

    fn tell_typing(&mut self, user: &Local, channel: ChannelId, typing: bool, audience: Audience) {
        let me = self.home.user(user);
        self.show_typing(&me, channel, typing, &audience.users);
        let now = Instant::now();
        for home in audience.homes {
            let Some(satchel) = self.connected(&home) else {
                self.metrics.people.typing_dropped("away");
                continue;
            };
            let user = user.clone();
            if !satchel.fleeting(|waits| waits.typing(channel, user, typing, now)) {
                self.metrics.people.typing_dropped("waiting");
            }
        }
    }

    fn show_typing(&mut self, who: &UserRef, channel: ChannelId, typing: bool, users: &[Local]) {
        let to: Vec<SessionNo> =
            users.iter().filter_map(|user| self.users.get(user)).flatten().copied().collect();
        if !to.is_empty() {
            let (user, change) = (self.shower.address(who), self.home.change());
            self.outputs.push(Output::Typing { to, change, channel, user, typing });
        }
    }
}
