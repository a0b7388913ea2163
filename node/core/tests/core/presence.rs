//! Who is told what of whom, between sessions of one home and between homes.

use std::collections::{BTreeMap, BTreeSet};

use homing_core::presence::{
    At, Presence, PresenceLimits, Rules, Seen, Told, Update, Watchers, Watches,
};
use homing_core::{Failure, Fault};
use homing_wire::{DeviceId, HomeId, Local, UserRef};
use uuid::Uuid;

use crate::node::{MONDAY_MS, local};

pub(crate) const ACME: HomeId = HomeId([1; 32]);
pub(crate) const GLOBEX: HomeId = HomeId([2; 32]);
pub(crate) const HIDDEN: Seen = Seen { online: false, last_ms: None };
pub(crate) const ONLINE: Seen = Seen { online: true, last_ms: None };

pub(crate) fn at(ms: u64) -> At {
    At { steady_ms: ms, wall_ms: MONDAY_MS + ms }
}

pub(crate) fn device(n: u128) -> DeviceId {
    DeviceId(Uuid::from_u128(n))
}

pub(crate) fn gone(ms: u64) -> Seen {
    Seen { online: false, last_ms: Some(MONDAY_MS + ms) }
}

/// Everybody may see everybody, but for those pairs.
#[derive(Default)]
pub(crate) struct World {
    /// Whom a user of this home hides from.
    pub(crate) hides_from: BTreeSet<(Local, UserRef)>,
    /// Who looks at nobody.
    pub(crate) blind: BTreeSet<Local>,
    pub(crate) stored: BTreeMap<Local, u64>,
    pub(crate) asked: usize,
}

impl Rules for World {
    fn is_user(&mut self, user: &Local) -> Result<bool, Fault> {
        Ok(user.as_str() != "ghost")
    }

    fn shows(&mut self, watched: &Local, watcher: &UserRef) -> Result<bool, Fault> {
        self.asked += 1;
        Ok(watched.as_str() != "ghost"
            && !self.hides_from.contains(&(watched.clone(), watcher.clone())))
    }

    fn looks(&mut self, watcher: &Local, _: &UserRef) -> Result<bool, Fault> {
        Ok(!self.blind.contains(watcher))
    }

    fn last_seen(&mut self, user: &Local) -> Result<Option<u64>, Fault> {
        Ok(self.stored.get(user).copied())
    }
}

/// A home, as far as presence goes.
pub(crate) struct Home {
    pub(crate) id: HomeId,
    pub(crate) presence: Presence,
    pub(crate) world: World,
}

impl Home {
    pub(crate) fn new(id: HomeId) -> Self {
        Self::with(id, PresenceLimits::default())
    }

    pub(crate) fn with(id: HomeId, limits: PresenceLimits) -> Self {
        Self { id, presence: Presence::new(id, limits), world: World::default() }
    }

    pub(crate) fn user(&self, name: &str) -> UserRef {
        UserRef::new(self.id, local(name))
    }

    pub(crate) fn watch(
        &mut self,
        session: u64,
        user: &str,
        users: &[UserRef],
    ) -> Result<Vec<Seen>, Failure> {
        self.presence.watch(session, &local(user), users, &mut self.world)
    }

    pub(crate) fn refused(
        &mut self,
        session: u64,
        users: &[UserRef],
    ) -> (&'static str, Option<u64>) {
        match self.watch(session, "alice", users) {
            Err(Failure::Refused(refusal)) => (refusal.reason, refusal.limit),
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) fn tick(&mut self, now: At) -> Told {
        let seen = self.presence.take_seen(now);
        self.world.stored.extend(seen);
        self.presence.tick(now, &mut self.world).unwrap()
    }

    /// Who of the sessions is told what of whom.
    pub(crate) fn notices(&mut self, now: At) -> Vec<(u64, String, Seen)> {
        let notices = self.tick(now).notices;
        notices.into_iter().map(|n| (n.session, n.user.local.to_string(), n.seen)).collect()
    }

    pub(crate) fn reconsider(&mut self, owner: &str, other: Option<&UserRef>) {
        self.presence.reconsider(&local(owner), other);
    }
}

/// Two homes that are connected, and what has gone between them.
pub(crate) struct Pair {
    pub(crate) acme: Home,
    pub(crate) globex: Home,
    pub(crate) updates: usize,
    pub(crate) frames: usize,
}

impl Pair {
    /// Streams are open both ways.
    pub(crate) fn new() -> Self {
        let mut pair =
            Self { acme: Home::new(ACME), globex: Home::new(GLOBEX), updates: 0, frames: 0 };
        pair.acme.presence.stream_open(GLOBEX);
        pair.globex.presence.stream_open(ACME);
        pair
    }

    /// A tick of both, and another a second later; what acme's sessions are told.
    pub(crate) fn tick(&mut self, now: At) -> Vec<(u64, String, Seen)> {
        let later = At { steady_ms: now.steady_ms + 960, wall_ms: now.wall_ms + 960 };
        let mut told = self.tick_once(now);
        told.extend(self.tick_once(later));
        told
    }

    pub(crate) fn tick_once(&mut self, now: At) -> Vec<(u64, String, Seen)> {
        let acme = self.acme.tick(now);
        let globex = self.globex.tick(now);
        assert_eq!((globex.notices.len(), globex.watches.len()), (0, 0), "nobody watches there");
        assert_eq!(acme.updates.len(), 0);
        self.frames += acme.watches.len();
        for watches in acme.watches.values() {
            let (home, world) = (&mut self.globex.presence, &mut self.globex.world);
            home.watches_came(now, ACME, watches, world).unwrap();
        }
        // The first answer does not wait.
        let at_once = self.globex.presence.take_updates(now, &mut self.globex.world).unwrap();
        for updates in globex.updates.values().chain(at_once.values()) {
            self.frames += 1;
            self.updates += updates.len();
            let came = self.acme.presence.updates_came(now, GLOBEX, updates);
            assert_eq!(came.ignored, 0, "a home says only what it was asked");
        }
        let notices = acme.notices.into_iter();
        notices.map(|n| (n.session, n.user.local.to_string(), n.seen)).collect()
    }
}

#[test]
fn changes_are_told_to_those_who_watch_once_a_second() {
    let mut acme = Home::new(ACME);
    let (bob, carol) = (acme.user("bob"), acme.user("carol"));
    acme.world.stored.insert(local("bob"), MONDAY_MS - 5_000);
    let bob_was = Seen { online: false, last_ms: Some(MONDAY_MS - 5_000) };
    assert_eq!(acme.watch(1, "alice", &[bob.clone(), carol.clone()]).unwrap(), [bob_was, HIDDEN]);
    acme.watch(2, "dave", &[carol]).unwrap();
    acme.presence.opened(at(100), &bob.local, device(1));
    assert_eq!(acme.notices(at(1_000)), [(1, "bob".into(), ONLINE)]);
    assert_eq!(acme.notices(at(2_000)), [], "nothing is new");
    // What passes within a second is seen by nobody.
    for n in 0..20 {
        acme.presence.closed(at(2_100 + n), &bob.local, device(1), true);
        acme.presence.opened(at(2_100 + n), &bob.local, device(1));
    }
    assert_eq!(acme.notices(at(3_000)), []);
    acme.presence.closed(at(3_100), &bob.local, device(1), true);
    assert_eq!(acme.notices(at(3_500)), [], "too early");
    assert_eq!(acme.notices(at(4_000)), [(1, "bob".into(), gone(3_100))]);
    assert_eq!(acme.world.stored[&local("bob")], MONDAY_MS + 3_100);
    // Whoever begins to watch later is answered at once.
    let bob = acme.user("bob");
    assert_eq!(acme.watch(2, "dave", std::slice::from_ref(&bob)).unwrap(), [gone(3_100)]);
    assert_eq!(acme.presence.watches(), 4);
    acme.presence.unwatch(1, &[bob.clone(), acme.user("nobody")]);
    acme.presence.session_gone(2);
    assert_eq!(acme.presence.watches(), 1);
    acme.presence.opened(at(5_000), &bob.local, device(1));
    assert_eq!(acme.notices(at(5_500)), [], "nobody watches any more");
}

#[test]
fn a_device_that_says_nothing_is_offline_after_thirty_seconds() {
    let mut acme = Home::new(ACME);
    let bob = acme.user("bob");
    acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap();
    acme.presence.opened(at(0), &bob.local, device(1));
    acme.presence.opened(at(0), &bob.local, device(2));
    acme.presence.closed(at(3_000), &bob.local, device(1), true);
    acme.presence.sign(at(10_000), &bob.local, device(2));
    acme.presence.closed(at(12_000), &bob.local, device(2), false);
    let told: Vec<_> = (0..60).flat_map(|s| acme.notices(at(s * 1_000))).collect();
    assert_eq!(told, [(1, "bob".into(), ONLINE), (1, "bob".into(), gone(10_000))]);
}

#[test]
fn whom_a_session_may_not_watch() {
    let limits = PresenceLimits { watched_by_session: 3, watches: 5, ..PresenceLimits::default() };
    let mut acme = Home::with(ACME, limits);
    let users = ["b", "c", "d", "e"].map(|name| acme.user(name));
    assert_eq!(acme.refused(1, &users), ("too_many_watched", Some(3)));
    assert_eq!(acme.refused(1, &[acme.user("b"), acme.user("ghost")]), ("user_not_found", None));
    assert_eq!(acme.presence.watches(), 0, "a refusal has changed nothing");
    // Twice is once.
    acme.watch(1, "alice", &users[..3]).unwrap();
    assert_eq!(acme.watch(1, "alice", &[users[0].clone(), users[0].clone()]).unwrap().len(), 2);
    assert_eq!(acme.presence.watches(), 3);
    assert_eq!(acme.refused(1, &users[3..]), ("too_many_watched", Some(3)));
    assert_eq!(acme.refused(2, &users[..3]), ("watches_busy", Some(5)));
    acme.presence.unwatch(1, &users[..1]);
    acme.watch(1, "alice", &users[3..]).unwrap();
    acme.watch(2, "dave", &users[..2]).unwrap();
    acme.presence.session_gone(1);
    acme.watch(3, "erin", &users[..3]).unwrap();
}

#[test]
fn the_watched_user_decides_and_who_hides_sees_nobody() {
    let mut acme = Home::new(ACME);
    let (alice, bob) = (acme.user("alice"), acme.user("bob"));
    acme.presence.opened(at(0), &bob.local, device(1));
    assert_eq!(acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap(), [ONLINE]);
    acme.world.hides_from.insert((bob.local.clone(), alice.clone()));
    assert_eq!(acme.notices(at(1_000)), [], "nobody has said that anything is different");
    acme.reconsider("bob", Some(&acme.user("carol")));
    assert_eq!(acme.notices(at(2_000)), [], "that is about somebody else");
    acme.reconsider("bob", Some(&alice));
    assert_eq!(acme.notices(at(3_000)), [(1, "bob".into(), HIDDEN)]);
    let seen = acme.presence.seen_by(&alice, &bob, &mut acme.world).unwrap();
    assert_eq!(seen, None);
    acme.world.hides_from.clear();
    acme.reconsider("bob", None);
    assert_eq!(acme.notices(at(4_000)), [(1, "bob".into(), ONLINE)]);

    // Alice hides: what she watches is hidden from her.
    acme.world.blind.insert(local("alice"));
    acme.reconsider("alice", None);
    assert_eq!(acme.notices(at(5_000)), [(1, "bob".into(), HIDDEN)]);
    assert_eq!(acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap(), [HIDDEN]);
    assert_eq!(acme.presence.seen_by(&alice, &bob, &mut acme.world).unwrap(), None);
    acme.world.blind.clear();
    acme.reconsider("alice", Some(&bob));
    assert_eq!(acme.notices(at(6_000)), [(1, "bob".into(), ONLINE)]);
    let seen = acme.presence.seen_by(&alice, &bob, &mut acme.world).unwrap();
    assert_eq!(seen, Some(ONLINE));
}

#[test]
fn another_home_is_asked_and_tells() {
    let mut pair = Pair::new();
    let bob = pair.globex.user("bob");
    pair.globex.world.stored.insert(local("bob"), MONDAY_MS - 9_000);
    assert_eq!(pair.acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap(), [HIDDEN]);
    pair.acme.watch(2, "dave", std::slice::from_ref(&bob)).unwrap();
    let was = Seen { online: false, last_ms: Some(MONDAY_MS - 9_000) };
    let mut told = pair.tick(at(1_000));
    assert_eq!(told, [(1, "bob".into(), was), (2, "bob".into(), was)]);
    assert_eq!(pair.updates, 1, "one for both");
    pair.globex.presence.opened(at(1_500), &bob.local, device(1));
    told = pair.tick(at(2_000));
    assert_eq!(told, [(1, "bob".into(), ONLINE), (2, "bob".into(), ONLINE)]);
    let alice = pair.acme.user("alice");
    let seen = pair.acme.presence.seen_by(&alice, &bob, &mut pair.acme.world).unwrap();
    assert_eq!(seen, Some(ONLINE));
    let carol = pair.acme.user("carol");
    let seen = pair.acme.presence.seen_by(&carol, &bob, &mut pair.acme.world).unwrap();
    assert_eq!(seen, None, "carol was not asked for");

    // Bob hides from dave: alice still sees.
    let dave = pair.acme.user("dave");
    pair.globex.world.hides_from.insert((local("bob"), dave.clone()));
    pair.globex.reconsider("bob", Some(&dave));
    assert_eq!(pair.tick(at(4_000)), [(2, "bob".into(), HIDDEN)]);
    // From alice, too: then globex says nothing of bob any more.
    pair.globex.world.hides_from.insert((local("bob"), alice));
    pair.globex.reconsider("bob", None);
    assert_eq!(pair.tick(at(6_000)), [(1, "bob".into(), HIDDEN)]);
    let updates = pair.updates;
    pair.globex.presence.closed(at(6_500), &bob.local, device(1), true);
    assert_eq!(pair.tick(at(8_000)), []);
    assert_eq!(pair.updates, updates);
}

#[test]
fn nothing_of_users_whom_nobody_watches_travels() {
    let mut pair = Pair::new();
    let (bob, carol) = (pair.globex.user("bob"), pair.globex.user("carol"));
    pair.globex.presence.opened(at(0), &bob.local, device(1));
    for s in 1..100 {
        assert_eq!(pair.tick(at(s * 1_000)), []);
    }
    assert_eq!(pair.frames, 0);
    // Nor of whom nobody may see, nor for whoever hides.
    pair.globex.world.hides_from.insert((local("bob"), pair.acme.user("alice")));
    pair.acme.world.blind.insert(local("dave"));
    pair.acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap();
    pair.acme.watch(2, "dave", &[bob.clone(), carol]).unwrap();
    for s in 100..200 {
        assert_eq!(pair.tick(at(s * 1_000)), []);
    }
    assert_eq!((pair.frames, pair.updates), (1, 0), "globex was asked once");
    assert_eq!(pair.globex.presence.watches_of_homes(), 1);
    pair.acme.presence.session_gone(1);
    pair.acme.presence.session_gone(2);
    // Globex has not heard yet that nobody wants to know any more.
    let late = Update { user: bob.local, online: true, last_ms: None, seers: None };
    assert_eq!(pair.acme.presence.updates_came(at(200_000), GLOBEX, &[late]).ignored, 1);
    pair.tick(at(200_000));
    assert_eq!(pair.globex.presence.watches_of_homes(), 0);
}

#[test]
fn what_is_not_renewed_for_ninety_seconds_is_over() {
    let mut pair = Pair::new();
    let bob = pair.globex.user("bob");
    pair.globex.presence.opened(at(0), &bob.local, device(1));
    pair.acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap();
    // As long as bob is there his home says so, every half minute.
    let mut told = Vec::new();
    for s in 1..=600 {
        pair.globex.presence.sign(at(s * 1_000), &bob.local, device(1));
        told.extend(pair.tick(at(s * 1_000)));
    }
    assert_eq!(told, [(1, "bob".into(), ONLINE)]);
    assert!((20..=21).contains(&pair.updates), "{}", pair.updates);
    // The connection is lost: what was said last holds for a while, and what was seen last stays.
    pair.acme.presence.peer_gone(&GLOBEX);
    let last = (1..=120).find_map(|s| {
        let told = pair.acme.notices(at(600_000 + s * 1_000));
        told.first().map(|told| (s, told.2))
    });
    let (after, seen) = last.unwrap();
    assert!((58..=91).contains(&after), "{after}");
    let last_ms = seen.last_ms.unwrap() - MONDAY_MS;
    assert!(!seen.online && (570_000..=600_000).contains(&last_ms), "{last_ms}");
    // It comes back: what was asked is asked again.
    pair.globex.presence.peer_gone(&ACME);
    assert_eq!(pair.globex.presence.watches_of_homes(), 0);
    pair.acme.presence.stream_open(GLOBEX);
    pair.globex.presence.stream_open(ACME);
    pair.globex.presence.sign(at(800_000), &bob.local, device(1));
    assert_eq!(pair.tick(at(800_000)), [(1, "bob".into(), ONLINE)]);
}

#[test]
fn a_stream_that_is_new_begins_anew() {
    let mut pair = Pair::new();
    let (bob, carol) = (pair.globex.user("bob"), pair.globex.user("carol"));
    pair.globex.presence.opened(at(0), &bob.local, device(1));
    pair.acme.watch(1, "alice", &[bob.clone(), carol.clone()]).unwrap();
    pair.tick(at(1_000));
    assert_eq!(pair.globex.presence.watches_of_homes(), 2);
    // What acme asks next is lost with its stream.
    pair.acme.presence.unwatch(1, &[carol]);
    assert_eq!(pair.acme.tick(at(3_000)).watches.len(), 1);
    pair.acme.presence.stream_open(GLOBEX);
    pair.tick(at(5_000));
    assert_eq!(pair.globex.presence.watches_of_homes(), 1);
    // And so is what globex says.
    pair.globex.presence.closed(at(6_000), &bob.local, device(1), true);
    assert_eq!(pair.globex.tick(at(7_000)).updates.len(), 1);
    pair.globex.presence.stream_open(ACME);
    assert_eq!(pair.tick(at(9_000)), [(1, "bob".into(), gone(6_000))]);
    // Where nobody watches any more, that is said too.
    pair.acme.presence.session_gone(1);
    pair.acme.presence.stream_open(GLOBEX);
    pair.tick(at(11_000));
    assert_eq!(pair.globex.presence.watches_of_homes(), 0);
}

#[test]
fn two_devices_that_toggle_are_told_of_once_a_second() {
    let mut pair = Pair::new();
    let bob = pair.globex.user("bob");
    pair.acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap();
    pair.tick(at(0));
    let before = pair.updates;
    for ms in (0..10_000).step_by(50) {
        let n = u128::from(ms / 50 % 2);
        pair.globex.presence.opened(at(ms), &bob.local, device(n));
        pair.globex.presence.closed(at(ms), &bob.local, device(1 - n), true);
        pair.globex.presence.closed(at(ms + 25), &bob.local, device(n), true);
        pair.tick(at(ms));
    }
    pair.tick(at(10_000));
    let told = pair.updates - before;
    assert!((5..=12).contains(&told), "{told}");
}

#[test]
fn a_thousand_watched_users_with_two_toggling_devices_are_bounded() {
    let mut pair = Pair::new();
    let names: Vec<String> = (0..1_000).map(|n| format!("u{n:03}")).collect();
    let users: Vec<UserRef> = names.iter().map(|name| pair.globex.user(name)).collect();
    for (session, users) in users.chunks(500).enumerate() {
        pair.acme.watch(session as u64, "alice", users).unwrap();
    }
    pair.tick(at(0));
    pair.tick(at(2_000));
    assert_eq!(pair.globex.presence.watches_of_homes(), 1_000);
    (pair.frames, pair.updates) = (0, 0);
    for ms in (3_000..13_000).step_by(250) {
        for user in &users {
            let n = u128::from(ms / 250 % 2);
            pair.globex.presence.opened(at(ms), &user.local, device(n));
            pair.globex.presence.closed(at(ms + 100), &user.local, device(n), ms % 750 == 0);
        }
        pair.tick(at(ms));
    }
    assert!(pair.frames <= 12, "one frame a second: {}", pair.frames);
    assert!(pair.updates <= 11_000, "one update a second and user: {}", pair.updates);
}

#[test]
fn a_home_that_watches_a_million_users_gets_what_one_home_gets() {
    let limits = PresenceLimits {
        watches_of_home: 2_000,
        watches_of_homes: 3_000,
        ..PresenceLimits::default()
    };
    let mut acme = Home::with(ACME, limits);
    acme.presence.stream_open(GLOBEX);
    let mut ignored = 0;
    let mut n = 0;
    for frame in 0..1_000_u64 {
        let users = (0..1_000)
            .map(|_| {
                n += 1;
                Watchers { user: local(&format!("u{n}")), watchers: vec![local("mallory")] }
            })
            .collect();
        let watches = Watches { anew: false, users };
        let came =
            acme.presence.watches_came(at(frame), GLOBEX, &watches, &mut acme.world).unwrap();
        ignored += came.ignored;
        assert_eq!(came.taken + came.ignored, 1_000);
    }
    assert_eq!(ignored, 998_000);
    assert_eq!(acme.presence.watches_of_homes(), 2_000);
    assert!(acme.world.asked <= 2_000, "nothing is looked up for what is not taken");
    // A second such home finds less; others' share is not taken by it.
    let many = |m: usize| {
        let users = (0..m).map(|n| Watchers {
            user: local(&format!("u{n}")),
            watchers: vec![local("eve"), local("eve"), local("mallory")],
        });
        Watches { anew: true, users: users.collect() }
    };
    let initech = HomeId([3; 32]);
    let came = acme.presence.watches_came(at(0), initech, &many(501), &mut acme.world).unwrap();
    assert_eq!((came.taken, came.ignored), (500, 1));
    // Whoever only changes what it watches, on and on, is heard no more until it has paused.
    let mut heard = 0;
    for _ in 0..100 {
        let came = acme.presence.watches_came(at(1), initech, &many(499), &mut acme.world).unwrap();
        heard += came.taken;
    }
    assert!(heard <= 20_000 && acme.world.asked <= 50_000, "{heard}, {}", acme.world.asked);
    let came = acme.presence.watches_came(at(10_000), initech, &many(1), &mut acme.world).unwrap();
    assert_eq!(came.taken, 1);
    acme.presence.peer_gone(&initech);
    acme.presence.peer_gone(&GLOBEX);
    assert_eq!(acme.presence.watches_of_homes(), 0);
}

#[test]
fn what_a_home_was_not_asked_is_passed_over() {
    let mut pair = Pair::new();
    let bob = pair.globex.user("bob");
    let says = |user: &str, seers: &[&str]| Update {
        user: local(user),
        online: true,
        last_ms: Some(u64::MAX),
        seers: Some(seers.iter().map(|seer| local(seer)).collect()),
    };
    let came = pair.acme.presence.updates_came(at(0), GLOBEX, &[says("bob", &["alice"])]);
    assert_eq!((came.taken, came.ignored), (0, 1));
    pair.acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap();
    pair.tick(at(1_000));
    // Somebody else's users are nothing that it could name; and of its own, only those who were asked for.
    let initech = HomeId([3; 32]);
    pair.acme.presence.stream_open(initech);
    let came = pair.acme.presence.updates_came(at(2_000), initech, &[says("bob", &["alice"])]);
    assert_eq!((came.taken, came.ignored), (0, 1));
    assert_eq!(pair.acme.notices(at(3_000)), []);
    let lies = [says("bob", &["dave"]), says("carol", &["alice"])];
    let came = pair.acme.presence.updates_came(at(3_500), GLOBEX, &lies);
    assert_eq!((came.taken, came.ignored), (1, 1));
    assert_eq!(pair.acme.notices(at(4_000)), [], "that is not for alice");
    let dave = pair.acme.user("dave");
    let seen = pair.acme.presence.seen_by(&dave, &bob, &mut pair.acme.world).unwrap();
    assert_eq!(seen, None, "nor for anybody who was not asked for");
    let came = pair.acme.presence.updates_came(at(4_500), GLOBEX, &[says("bob", &["alice"])]);
    assert_eq!(came.taken, 1);
    let mut offline = says("bob", &["alice"]);
    offline.online = false;
    pair.acme.presence.updates_came(at(4_600), GLOBEX, &[offline]);
    assert_eq!(pair.acme.notices(at(5_000)), [(1, "bob".into(), gone(4_600))], "not in the future");
}

#[test]
fn who_changes_who_may_see_on_and_on_costs_no_more_than_once_a_second() {
    let mut pair = Pair::new();
    let crowd: Vec<UserRef> = (0..100).map(|n| pair.globex.user(&format!("u{n}"))).collect();
    let bob = pair.globex.user("bob");
    for session in 0..50 {
        pair.globex.watch(session, "bob", &crowd).unwrap();
        pair.globex.watch(session + 100, "alice", std::slice::from_ref(&bob)).unwrap();
        let name = format!("a{session}");
        pair.acme.watch(session, &name, std::slice::from_ref(&bob)).unwrap();
    }
    let watches = pair.acme.tick(at(0)).watches;
    let globex = &mut pair.globex;
    globex.presence.watches_came(at(0), ACME, &watches[&GLOBEX], &mut globex.world).unwrap();
    globex.tick(at(0));
    globex.world.asked = 0;
    for _ in 0..1_000 {
        globex.reconsider("bob", None);
        globex.reconsider("bob", Some(&crowd[7]));
    }
    assert_eq!(globex.world.asked, 0);
    globex.tick(at(1_000));
    // Bob's watches of a hundred, those of alice, and those of fifty at acme; some may have to wait for a second.
    let first = globex.world.asked;
    assert!((1..=2_000 + 50).contains(&first), "{first}");
    let mut all = first;
    for s in 2..10 {
        globex.tick(at(s * 1_000));
        all = globex.world.asked;
    }
    assert_eq!(all, 50 * 100 + 50 + 50);
}

#[test]
fn what_waits_to_be_asked_again_is_not_shown_meanwhile() {
    let mut acme = Home::new(ACME);
    let bob = acme.user("bob");
    acme.presence.opened(at(0), &bob.local, device(1));
    for session in 0..3_000 {
        acme.watch(session, &format!("a{session}"), std::slice::from_ref(&bob)).unwrap();
    }
    acme.tick(at(0));
    let all = (0..3_000).map(|n| (bob.local.clone(), acme.user(&format!("a{n}"))));
    acme.world.hides_from = all.collect();
    acme.reconsider("bob", None);
    acme.presence.closed(at(500), &bob.local, device(1), true);
    let told = acme.notices(at(1_000));
    assert_eq!(told.len(), 3_000);
    assert!(
        told.iter().all(|(.., seen)| *seen == HIDDEN),
        "bob has left, which is not theirs to know"
    );
    assert_eq!(acme.notices(at(2_000)), []);
}

#[test]
fn whoever_hides_is_hidden_before_the_next_tick() {
    let mut pair = Pair::new();
    let (alice, bob) = (pair.acme.user("alice"), pair.globex.user("bob"));
    pair.acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap();
    pair.tick(at(0));
    let globex = &mut pair.globex;
    globex.world.hides_from.insert((bob.local.clone(), alice));
    globex.reconsider("bob", None);
    globex.presence.opened(at(5_000), &bob.local, device(1));
    let updates = globex.presence.take_updates(at(5_000), &mut globex.world).unwrap();
    assert!(updates.values().flatten().all(|update| !update.online), "{updates:?}");
}

#[test]
fn what_changes_without_a_word_is_seen_with_the_next_renewal() {
    let mut pair = Pair::new();
    let (alice, bob) = (pair.acme.user("alice"), pair.globex.user("bob"));
    pair.globex.world.hides_from.insert((bob.local.clone(), alice));
    pair.globex.presence.opened(at(0), &bob.local, device(1));
    pair.acme.watch(1, "alice", std::slice::from_ref(&bob)).unwrap();
    assert_eq!(pair.tick(at(0)), []);
    // A first contact is accepted, say.
    pair.globex.world.hides_from.clear();
    let mut told = Vec::new();
    for s in (2..40).step_by(2) {
        pair.globex.presence.sign(at(s * 1_000), &bob.local, device(1));
        told.extend(pair.tick(at(s * 1_000)));
    }
    assert_eq!(told, [(1, "bob".into(), ONLINE)]);
}

#[test]
fn no_home_is_asked_more_than_its_share() {
    let limits = PresenceLimits { watches_of_home: 700, ..PresenceLimits::default() };
    let mut acme = Home::with(ACME, limits);
    let users = |session: usize| -> Vec<UserRef> {
        (0..500).map(|n| UserRef::new(GLOBEX, local(&format!("u{session}-{n}")))).collect()
    };
    for session in 0..4 {
        acme.watch(session, "alice", &users(session as usize)).unwrap();
    }
    assert_eq!(acme.tick(at(0)).watches.len(), 0, "a home that is away is asked nothing");
    acme.presence.stream_open(GLOBEX);
    let mut asked = Vec::new();
    for s in 1..10 {
        let told = acme.tick(at(s * 1_000));
        asked.extend(told.watches.get(&GLOBEX).map(|w| (w.anew, w.users.len())));
    }
    assert_eq!(asked, [(true, 700)]);
}
