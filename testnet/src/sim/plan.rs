//! What happens in a run, and when: fixed by the seed alone, so that a run repeats, and a list, so that a failing
//! one can be made shorter.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// People of each home.
pub(super) const USERS: usize = 2;

/// Between two deeds, in milliseconds, on average: a run of 2,000 takes three minutes of its own time.
const BETWEEN_MS: u64 = 90;

/// Restores of one home in a run: each begins a life, and a channel holds 16 of them at most.
const RESTORES: usize = 4;

/// Everything that is fixed before a run begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Fixes delays, too.
    pub seed: u64,
    /// How many homes.
    pub homes: usize,
    /// The last home misbehaves.
    pub villain: bool,
    /// What happens, each so many milliseconds after the beginning.
    pub deeds: Vec<(u64, Deed)>,
}

/// One thing that happens. Homes, users, channels and places are counted round where there are fewer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A user writes to a user.
    Send {
        /// Who.
        from: usize,
        /// To whom.
        to: usize,
        /// The client names the message: by a UUIDv7 made so many ms off the true time, or by no UUIDv7.
        id: Option<i64>,
        /// The client names the change.
        op: bool,
    },
    /// A client sends something once more.
    Again {
        /// What.
        which: usize,
    },
    /// A user opens a chat.
    Open {
        /// Who.
        from: usize,
        /// With whom.
        to: usize,
    },
    /// A user has got so far in one of the channels.
    Mark {
        /// Who.
        who: usize,
        /// Where.
        channel: usize,
        /// In hundredths of it.
        part: u64,
        /// And has read it.
        read: bool,
    },
    /// Two homes cannot reach each other.
    Cut {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// How long.
        lasting_ms: u64,
    },
    /// Nobody can reach a home.
    Isolate {
        /// Which.
        home: usize,
        /// How long.
        lasting_ms: u64,
    },
    /// Whatever goes between two homes takes longer.
    Slow {
        /// One.
        a: usize,
        /// The other.
        b: usize,
        /// So much longer.
        by_ms: u64,
        /// How long.
        lasting_ms: u64,
    },
    /// A home's process is killed.
    Crash {
        /// Which.
        home: usize,
        /// The step under way was on disk already, and nobody was told.
        kept: bool,
        /// Until it is started again.
        lasting_ms: u64,
    },
    /// A home's process is stopped in time.
    Freeze {
        /// Which.
        home: usize,
        /// How long.
        lasting_ms: u64,
    },
    /// A home's clock is set.
    Skew {
        /// Whose.
        home: usize,
        /// How far off the true time.
        offset_ms: i64,
    },
    /// Ranges and marks on their way arrive, and later do so again.
    Double {
        /// From whom.
        from: usize,
        /// At whom.
        to: usize,
    },
    /// A home's backup is made.
    Backup {
        /// Whose.
        home: usize,
    },
    /// A home's disk is lost: it goes on from its last backup, in a new life.
    Restore {
        /// Whose.
        home: usize,
        /// Until it is started again.
        lasting_ms: u64,
    },
    /// The home that misbehaves does something to another.
    Harm {
        /// To whom.
        to: usize,
        /// What.
        how: Harm,
        /// Which of the things that it could be done with.
        place: usize,
    },
}

/// What a dishonest home does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harm {
    /// Something it sent before, once more.
    Replay,
    /// Another event under a number that it has used.
    Equivocate,
    /// Another home's events, as they are.
    SpeakFor,
    /// Another home's events, signed by itself.
    SpeakAs,
    /// An event in the name of the receiver's own user.
    SpeakBack,
    /// A frame that does not parse or belongs nowhere.
    Malformed,
    /// It acknowledges what was never sent.
    AckAhead,
    /// It acknowledges less than before, unasked.
    AckBack,
    /// Its users have read what was never written.
    MarksAhead,
    /// Somebody who is not in the chat has read it.
    MarksOfStranger,
    /// Of what it is asked next it gives back something else.
    Lie,
}

const HARMS: [Harm; 11] = [
    Harm::Replay,
    Harm::Equivocate,
    Harm::SpeakFor,
    Harm::SpeakAs,
    Harm::SpeakBack,
    Harm::Malformed,
    Harm::AckAhead,
    Harm::AckBack,
    Harm::MarksAhead,
    Harm::MarksOfStranger,
    Harm::Lie,
];

/// How often what happens: runs differ in kind, so that rare meetings of two faults are not drowned.
struct Weather {
    talk: u32,
    marks: u32,
    links: u32,
    crashes: u32,
    clocks: u32,
    disks: u32,
    harm: u32,
}

impl Weather {
    fn of(rng: &mut StdRng, villain: bool) -> Self {
        // Every second run has none of it.
        let mut some = |most: u32| {
            if rng.random_bool(0.5) { rng.random_range(1..=most) } else { 0 }
        };
        Self {
            talk: 100,
            marks: 10 + some(40),
            links: some(30),
            crashes: some(12),
            clocks: some(6),
            disks: some(3),
            harm: if villain { 5 + some(20) } else { 0 },
        }
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64, homes: usize, steps: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x51A7_0000);
        let villain = homes > 2 && rng.random_bool(0.5);
        let weather = Weather::of(&mut rng, villain);
        let users = homes * USERS;
        // A few conversations get most of what is written: long logs matter, and meetings in one channel.
        let lively: Vec<(usize, usize)> = (0..homes.max(3))
            .map(|_| (rng.random_range(0..users), rng.random_range(0..users)))
            .filter(|(a, b)| a != b)
            .collect();
        let mut restores = vec![0; homes];
        let mut at = 0;
        let mut deeds = Vec::with_capacity(steps);
        for _ in 0..steps {
            at += if rng.random_range(0..200) == 0 {
                rng.random_range(0..20_000)
            } else {
                rng.random_range(0..BETWEEN_MS * 2)
            };
            let deed = deed(&mut rng, &weather, homes, &lively);
            if let Deed::Restore { home, .. } = deed {
                restores[home] += 1;
                if restores[home] > RESTORES {
                    deeds.push((at, Deed::Backup { home }));
                    continue;
                }
            }
            deeds.push((at, deed));
        }
        Self { seed, homes, villain, deeds }
    }
}

fn deed(rng: &mut StdRng, weather: &Weather, homes: usize, lively: &[(usize, usize)]) -> Deed {
    let users = homes * USERS;
    let home = rng.random_range(0..homes);
    let (a, b) = (home, (home + rng.random_range(1..homes.max(2))) % homes);
    let Weather { talk, marks, links, crashes, clocks, disks, harm } = *weather;
    let mut which = rng.random_range(0..talk + marks + links + crashes + clocks + disks + harm);
    let mut is = |share: u32| {
        let is = which < share;
        which = if is { u32::MAX } else { which - share };
        is
    };
    if is(talk) {
        return match rng.random_range(0..12) {
            0 | 1 => Deed::Again { which: rng.random_range(0..10_000) },
            2 if rng.random_bool(0.3) => {
                Deed::Open { from: rng.random_range(0..users), to: rng.random_range(0..users) }
            }
            _ => {
                let pair = lively.get(rng.random_range(0..lively.len() + 1));
                let (mut from, mut to) = pair
                    .copied()
                    .unwrap_or((rng.random_range(0..users), rng.random_range(0..users)));
                if rng.random_bool(0.5) {
                    std::mem::swap(&mut from, &mut to);
                }
                let id = match rng.random_range(0..7) {
                    0 | 1 => None,
                    2 => Some(i64::MIN),
                    _ => Some(rng.random_range(-100_000..100_000)),
                };
                Deed::Send { from, to, id, op: rng.random_bool(0.2) }
            }
        };
    }
    if is(marks) {
        return Deed::Mark {
            who: rng.random_range(0..users),
            channel: rng.random_range(0..1_000),
            part: rng.random_range(0..=100),
            read: rng.random(),
        };
    }
    // Mostly shorter than what anybody waits for, sometimes much longer.
    let lasting_ms =
        if rng.random_bool(0.9) { rng.random_range(1..4_000) } else { rng.random_range(0..40_000) };
    if is(links) {
        return match rng.random_range(0..10) {
            0..5 => Deed::Cut { a, b, lasting_ms },
            5 => Deed::Isolate { home, lasting_ms },
            6 | 7 => Deed::Slow { a, b, by_ms: rng.random_range(1..3_000), lasting_ms },
            _ => Deed::Double { from: a, to: b },
        };
    }
    if is(crashes) {
        return match rng.random_range(0..4) {
            0 => Deed::Freeze { home, lasting_ms },
            _ => Deed::Crash { home, kept: rng.random(), lasting_ms },
        };
    }
    if is(clocks) {
        return Deed::Skew { home, offset_ms: rng.random_range(-140_000..140_000) };
    }
    if is(disks) {
        return match rng.random_range(0..2) {
            0 => Deed::Backup { home },
            _ => Deed::Restore { home, lasting_ms },
        };
    }
    let _rest = is(harm);
    Deed::Harm {
        to: rng.random_range(0..homes),
        how: HARMS[rng.random_range(0..HARMS.len())],
        place: rng.random_range(0..1_000),
    }
}
