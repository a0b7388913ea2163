//! What happens in a run, and when: fixed by the seed alone, so that a run repeats, and a list, so that a failing
//! one can be made shorter.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// People of each home who chat with each other.
pub(super) const USERS: usize = 2;

/// People of each home who can be in groups: those, and one more who chats with nobody. That one blocks people, which
/// would hide messages of chats.
pub(super) const PEOPLE: usize = 3;

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
    /// Homes that are in groups lose their disks, too: one of them.
    pub lost_in_groups: bool,
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
    /// A user edits, deletes or reacts to one of the latest messages of a channel, or tries to.
    Amend {
        /// Who.
        who: usize,
        /// Where.
        channel: usize,
        /// The so-many-th from the end.
        place: usize,
        /// What is done.
        what: usize,
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
    /// A user makes a group. People are numbered here, three of each home, and in all that is about groups.
    Create {
        /// Who.
        who: usize,
        /// Who is asked in.
        with: Vec<usize>,
        /// What members may do, by number.
        policy: usize,
    },
    /// A user wants a group changed.
    Change {
        /// Which group.
        group: usize,
        /// Who wants it.
        by: Person,
        /// What.
        what: What,
    },
    /// A user writes into a group.
    Say {
        /// Which group.
        group: usize,
        /// Who.
        who: Person,
        /// As in [`Deed::Send`].
        id: Option<i64>,
        /// As in [`Deed::Send`].
        op: bool,
    },
    /// A user has somebody in a list, or not any more.
    List {
        /// Whose: blocks are of those alone who do not chat.
        who: usize,
        /// Whom.
        whom: usize,
        /// The list of blocks, not of contacts.
        blocks: bool,
        /// In it.
        add: bool,
    },
    /// Ranges, rosters, letters and marks on their way arrive, and later do so again.
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

/// Somebody, in what is about groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Person {
    /// That one, whether in the group or not.
    User(usize),
    /// One of those who may write, as their own homes have it.
    Member(usize),
    /// One of those who are asked and have not answered, as their own homes have it.
    Invited(usize),
    /// One of those who may change members, as the group's home has it.
    Admin(usize),
}

/// A change of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Somebody is asked in.
    Invite(Person),
    /// Whoever wants it accepts.
    Join,
    /// Whoever wants it leaves, or declines.
    Leave,
    /// Somebody is taken out.
    Remove(Person),
    /// Somebody is now that: member, admin, owner.
    Role(Person, usize),
    /// It is called something else.
    Rename(usize),
    /// Another policy holds, by number.
    Policy(usize),
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
    /// A roster that its group's home has not signed, or of a group that is another home's.
    ForgeRoster,
    /// A roster from long ago.
    OldRoster,
    /// Two rosters of one version of a group of its own.
    TwoRosters,
    /// A message of a user of its own who is not in the group any more, or not yet.
    WriteOn,
    /// A letter in the name of somebody who is not in the group.
    StrangerLetter,
    /// A leave that claims to have written much more than it has, and then what it claims.
    FarLeave,
}

const HARMS: [Harm; 17] = [
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
    Harm::ForgeRoster,
    Harm::OldRoster,
    Harm::TwoRosters,
    Harm::WriteOn,
    Harm::StrangerLetter,
    Harm::FarLeave,
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
    groups: u32,
}

impl Weather {
    fn of(rng: &mut StdRng, villain: bool, may_have_groups: bool) -> Self {
        // Every third run is of chats alone: groups would dilute what is rare in them.
        let in_groups = may_have_groups && rng.random_range(0..3) > 0;
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
            groups: if in_groups { 20 + some(60) } else { 0 },
        }
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64, homes: usize, steps: usize) -> Self {
        Self::mixed(seed, homes, steps, true)
    }

    /// The same of chats alone.
    pub fn of_chats(seed: u64, homes: usize, steps: usize) -> Self {
        Self::mixed(seed, homes, steps, false)
    }

    /// The same, and one of the homes that are in groups loses its disk.
    pub fn lost_in_groups(seed: u64, homes: usize, steps: usize) -> Self {
        Self { lost_in_groups: true, ..Self::mixed(seed, homes, steps, true) }
    }

    fn mixed(seed: u64, homes: usize, steps: usize, groups: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x51A7_0000);
        let villain = homes > 2 && rng.random_bool(0.5);
        let weather = Weather::of(&mut rng, villain, groups);
        let users = homes * USERS;
        // A few conversations get most of what is written: long logs matter, and meetings in one channel.
        let lively: Vec<(usize, usize)> = (0..homes.max(3))
            .map(|_| (rng.random_range(0..users), rng.random_range(0..users)))
            .filter(|(a, b)| a != b)
            .collect();
        let mut restores = vec![0; homes];
        let mut at = 0;
        let mut deeds = Vec::with_capacity(steps);
        let mut created = 0;
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
            if let Deed::Create { .. } = deed {
                created += 1;
                if created > GROUPS {
                    let (group, who) = (rng.random_range(0..GROUPS), Person::Member(created));
                    deeds.push((at, Deed::Say { group, who, id: None, op: true }));
                    continue;
                }
            }
            deeds.push((at, deed));
        }
        Self { seed, homes, villain, lost_in_groups: false, deeds }
    }

    /// Whether anybody makes a group.
    pub fn has_groups(&self) -> bool {
        self.deeds.iter().any(|(_, deed)| matches!(deed, Deed::Create { .. }))
    }

    /// A member is removed while their home is cut off; both sides write, and then all is well again.
    pub fn removed_behind_a_cut(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0C07_0000);
        let homes = rng.random_range(3..6);
        // The first of each home are in it, one more of the owner home's, and one more of the home that is cut off.
        let ann = |home: usize| home * PEOPLE;
        let (lost, stays, friend) = (ann(2), ann(2) + 1, 1);
        let mut with: Vec<usize> = (1..homes).map(ann).collect();
        with.extend([friend, stays]);
        let writers: Vec<usize> = (0..homes).map(ann).chain([friend, stays]).collect();
        let mut deeds = vec![(0, Deed::Create { who: ann(0), with, policy: 0 })];
        let mut at = 3_000;
        for who in (1..homes).map(ann).chain([stays]) {
            deeds.push((at, change(Person::User(who), What::Join)));
        }
        at += 3_000;
        let says = |deeds: &mut Vec<(u64, Deed)>, at: &mut u64, rng: &mut StdRng, who| {
            *at += rng.random_range(1..200);
            let who = Person::User(who);
            deeds.push((*at, Deed::Say { group: 0, who, id: Some(0), op: false }));
        };
        for _ in 0..rng.random_range(0..8) {
            let who = writers[rng.random_range(0..writers.len())];
            says(&mut deeds, &mut at, &mut rng, who);
        }
        let cut = Deed::Isolate { home: 2, lasting_ms: rng.random_range(8_000..30_000) };
        deeds.push((at, cut));
        let early = rng.random_range(0..6);
        for n in 0..14 {
            if n == early {
                let what = What::Remove(Person::User(lost));
                deeds.push((at, change(Person::User(ann(0)), what)));
            }
            // At the end at least, so that there is something to be rejected: with every home up again.
            if n == 13 {
                at += 1_000;
            }
            let who = if n == 13 { lost } else { writers[rng.random_range(0..writers.len())] };
            says(&mut deeds, &mut at, &mut rng, who);
            if n < 13 && rng.random_range(0..12) == 0 {
                // Not the group's own, which might forget that somebody was removed.
                let (home, kept) = (rng.random_range(1..homes), rng.random());
                deeds.push((at, Deed::Crash { home, kept, lasting_ms: rng.random_range(1..900) }));
            }
        }
        Self { seed, homes, villain: false, lost_in_groups: false, deeds }
    }

    /// Somebody whose home declines by itself is asked into a group, asked again, taken out, and perhaps wants to be
    /// in it after all, with all of it on its way at once.
    pub fn declined_in_a_race(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0xDEC1_0000);
        let homes = 3;
        let (ann, far, asked) = (0, PEOPLE, 2 * PEOPLE + 2);
        let block = |add| Deed::List { who: asked, whom: ann, blocks: true, add };
        let first = rng.random_bool(0.5);
        let with = if first { vec![far, asked, 1] } else { vec![far, 1] };
        let mut deeds = vec![(0, block(true)), (1_500, Deed::Create { who: ann, with, policy: 0 })];
        let mut at = 1_500 + rng.random_range(0..1_500);
        deeds.push((at, change(Person::User(far), What::Join)));
        for n in 0..rng.random_range(4..12) {
            at += rng.random_range(0..120);
            let (me, by) = (Person::User(asked), Person::User(ann));
            let deed = match rng.random_range(0..10) {
                0..4 => change(by, What::Invite(me)),
                4 => change(by, What::Remove(me)),
                5 => change(by, What::Rename(n)),
                6 => change(me, What::Join),
                7 => block(rng.random()),
                8 => Deed::Say { group: 0, who: by, id: None, op: true },
                _ => {
                    let (a, b) = (rng.random_range(0..2), 2);
                    Deed::Cut { a, b, lasting_ms: rng.random_range(1..1_500) }
                }
            };
            deeds.push((at, deed));
        }
        Self { seed, homes, villain: false, lost_in_groups: false, deeds }
    }
}

/// Groups of one run: few, so that much happens in each.
const GROUPS: usize = 6;

fn change(by: Person, what: What) -> Deed {
    Deed::Change { group: 0, by, what }
}

/// Something about groups.
fn of_groups(rng: &mut StdRng, homes: usize) -> Deed {
    let people = homes * PEOPLE;
    let any = |rng: &mut StdRng| rng.random_range(0..people);
    let group = rng.random_range(0..GROUPS);
    let n = rng.random_range(0..1_000);
    let by = if rng.random_bool(0.9) { Person::Admin(n) } else { Person::User(any(rng)) };
    let member = |rng: &mut StdRng| Person::Member(rng.random_range(0..1_000));
    match rng.random_range(0..100) {
        0..3 => {
            let with = (0..rng.random_range(1..8)).map(|_| any(rng)).collect();
            Deed::Create { who: any(rng), with, policy: rng.random_range(0..24) }
        }
        3..11 => Deed::Change { group, by, what: What::Invite(Person::User(any(rng))) },
        11..21 => Deed::Change { group, by: Person::Invited(n), what: What::Join },
        21..24 => Deed::Change { group, by: Person::Invited(n), what: What::Leave },
        24..27 => Deed::Change { group, by: Person::Member(n), what: What::Leave },
        27..32 => Deed::Change { group, by, what: What::Remove(member(rng)) },
        32..36 => {
            let role = rng.random_range(0..6);
            Deed::Change { group, by, what: What::Role(member(rng), role) }
        }
        36..38 => Deed::Change { group, by, what: What::Rename(n) },
        38..40 => Deed::Change { group, by, what: What::Policy(rng.random_range(0..24)) },
        40..44 => Deed::List {
            who: any(rng),
            whom: any(rng),
            blocks: rng.random(),
            add: rng.random_bool(0.7),
        },
        44..46 => Deed::Say { group, who: Person::User(any(rng)), id: None, op: true },
        _ => {
            let id =
                if rng.random_bool(0.3) { None } else { Some(rng.random_range(-9_000..9_000)) };
            Deed::Say { group, who: member(rng), id, op: rng.random_bool(0.2) }
        }
    }
}

fn deed(rng: &mut StdRng, weather: &Weather, homes: usize, lively: &[(usize, usize)]) -> Deed {
    let users = homes * USERS;
    let home = rng.random_range(0..homes);
    let (a, b) = (home, (home + rng.random_range(1..homes.max(2))) % homes);
    let Weather { talk, marks, links, crashes, clocks, disks, harm, groups } = *weather;
    let all = talk + marks + links + crashes + clocks + disks + harm + groups;
    let mut which = rng.random_range(0..all);
    let mut is = |share: u32| {
        let is = which < share;
        which = if is { u32::MAX } else { which - share };
        is
    };
    if is(talk) {
        return match rng.random_range(0..12) {
            0 | 1 => Deed::Again { which: rng.random_range(0..10_000) },
            3 => Deed::Amend {
                who: rng.random_range(0..users),
                channel: rng.random_range(0..1_000),
                place: rng.random_range(0..12),
                what: rng.random_range(0..1_000),
            },
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
    if is(groups) {
        return of_groups(rng, homes);
    }
    let _rest = is(harm);
    Deed::Harm {
        to: rng.random_range(0..homes),
        how: HARMS[rng.random_range(0..HARMS.len())],
        place: rng.random_range(0..1_000),
    }
}
