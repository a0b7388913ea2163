//! The world of a run: its time, its homes, what is between them, and what happens next.

use std::collections::BTreeMap;

use homing_core::{Mark, Policy, SendCommand, Target};
use homing_wire::{ChannelId, Hash, HomeId, Kind, Local, MessageId, OpId, Pos, UserRef};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use super::ledger::{Ledger, Wish, v7};
use super::member::Member;
use super::net::{Frame, Lane, Net};
use super::plan::{Deed, PEOPLE, Plan, USERS};
use super::trace::Trace;
use super::villain::Villain;
use super::{Broken, Canary};

/// A Monday in 2025, in Unix milliseconds: runs begin there.
pub(super) const MONDAY_MS: u64 = 1_760_000_000_000;

/// How often a home gives out marks and looks after what waits, in milliseconds.
const TICK_MS: u64 = 1_000;

/// A home answers within this, in milliseconds of its own running: a step waits for one flush, no other home.
const ANSWERS_MS: u64 = 5_000;

/// After all is well again the homes have so long, in milliseconds: what waits longest is what a home that had to
/// ask did not take (a minute), then what a peer holds back for its clock.
const CALM_MS: u64 = 600_000;

/// What can happen next.
#[derive(Debug)]
pub(super) enum Happening {
    /// Of the plan, by number.
    Deed(usize),
    Tick {
        home: usize,
        process: u64,
    },
    /// The step under way is on disk.
    Flushed {
        home: usize,
        process: u64,
    },
    Arrives {
        from: usize,
        to: usize,
        connection: u64,
        frame: Box<Frame>,
    },
    /// Two homes try to reach each other.
    Dial {
        a: usize,
        b: usize,
    },
    /// A home has a new connection.
    Opened {
        home: usize,
        peer: usize,
        connection: u64,
    },
    /// A home sees that a connection is gone.
    Noticed {
        home: usize,
        peer: usize,
        connection: u64,
    },
    Starts {
        home: usize,
    },
}

/// See the module.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) canary: Option<Canary>,
    /// Milliseconds of the run.
    pub(super) now: u64,
    pub(super) rng: StdRng,
    /// What happens, by time, then as it was decided.
    agenda: BTreeMap<(u64, u64), Happening>,
    decided: u64,
    pub(super) members: Vec<Member>,
    pub(super) net: Net,
    pub(super) ledger: Ledger,
    pub(super) villain: Villain,
    pub(super) trace: Trace,
    /// Questions ever asked: each has a number of its own.
    pub(super) questions: u64,
    /// Numbers of fresh ids, and of wishes about groups.
    pub(super) fresh: u64,
    /// A home that is in groups has lost its disk.
    pub(super) lost_in_groups: bool,
    /// From now on nobody is at fault.
    pub(super) well: bool,
}

/// Everything small, so that what can be forgotten is forgotten.
fn policy() -> Policy {
    Policy {
        first_contact_request: false,
        channels_cached: 2,
        accounts_cached: 1,
        lists_cached: 1,
        ids_bytes: 2_000,
        pull_after_ms: 20_000,
        ..Policy::default()
    }
}

impl World {
    pub(super) fn new(plan: Plan, canary: Option<Canary>, verbose: bool) -> Result<Self, Broken> {
        let names: Result<Vec<Local>, _> =
            ["ann", "bea", "cat"].iter().take(PEOPLE).map(|name| Local::canonical(name)).collect();
        let names = names.map_err(|error| Broken::new("setup", error.to_string()))?;
        let members: Result<Vec<Member>, Broken> = (0..plan.homes)
            .map(|n| {
                let number = u8::try_from(n + 1).unwrap_or(u8::MAX);
                Member::new(HomeId([number; 32]), policy(), &names)
            })
            .collect();
        let mut world = Self {
            rng: StdRng::seed_from_u64(plan.seed),
            canary,
            now: 0,
            agenda: BTreeMap::new(),
            decided: 0,
            members: members?,
            net: Net::default(),
            ledger: Ledger::default(),
            villain: Villain::default(),
            trace: Trace::new(verbose),
            questions: 0,
            fresh: 0,
            lost_in_groups: false,
            well: false,
            plan,
        };
        for home in 0..world.plan.homes {
            world.starts_ticking(home);
            for peer in 0..home {
                world.at(1, Happening::Dial { a: peer, b: home });
            }
        }
        for n in 0..world.plan.deeds.len() {
            let at = 1_000 + world.plan.deeds[n].0;
            world.at(at, Happening::Deed(n));
        }
        Ok(world)
    }

    /// Runs the plan, lets all be well again, and holds the homes against what they promised.
    pub(super) fn run(&mut self) -> Result<(), Broken> {
        let over = self.plan.deeds.last().map_or(0, |(at, _)| *at) + 2_000;
        self.runs_until(over)?;
        self.heals()?;
        let calm = self.now + CALM_MS;
        while self.now < calm {
            self.runs_until(self.now + TICK_MS)?;
            if self.is_at_rest() {
                // Once more, with everybody's marks given out.
                self.runs_until(self.now + 3 * TICK_MS)?;
                if self.is_at_rest() {
                    break;
                }
            }
        }
        self.check()
    }

    fn runs_until(&mut self, until: u64) -> Result<(), Broken> {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, number), happening) = entry.remove_entry();
            self.now = self.now.max(at);
            if let Some(thaws) = self.is_frozen(&happening) {
                self.agenda.insert((thaws, number), happening);
                continue;
            }
            self.happens(happening)?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// When whoever something happens to is stopped in time: until when.
    fn is_frozen(&self, happening: &Happening) -> Option<u64> {
        let home = match *happening {
            Happening::Tick { home, .. }
            | Happening::Flushed { home, .. }
            | Happening::Arrives { to: home, .. }
            | Happening::Opened { home, .. }
            | Happening::Noticed { home, .. } => home,
            Happening::Deed(n) => match self.plan.deeds[n].1 {
                Deed::Send { from, .. } | Deed::Open { from, .. } => from / USERS % self.plan.homes,
                Deed::Mark { who, .. } | Deed::Amend { who, .. } => who / USERS % self.plan.homes,
                // Of what happens from outside nobody can be stopped. Who does something about a group shows then.
                Deed::Again { .. }
                | Deed::Create { .. }
                | Deed::Change { .. }
                | Deed::Say { .. }
                | Deed::List { .. }
                | Deed::Cut { .. }
                | Deed::Isolate { .. }
                | Deed::Slow { .. }
                | Deed::Crash { .. }
                | Deed::Freeze { .. }
                | Deed::Skew { .. }
                | Deed::Double { .. }
                | Deed::Backup { .. }
                | Deed::Restore { .. }
                | Deed::Harm { .. } => return None,
            },
            Happening::Dial { a, b } => {
                let until = self.members[a].frozen_until.max(self.members[b].frozen_until);
                return (until > self.now).then_some(until);
            }
            Happening::Starts { .. } => return None,
        };
        let until = self.members[home].frozen_until;
        (until > self.now).then_some(until)
    }

    pub(super) fn at(&mut self, at: u64, happening: Happening) {
        self.decided += 1;
        self.agenda.insert((at.max(self.now), self.decided), happening);
    }

    pub(super) fn after(&mut self, ms: u64, happening: Happening) {
        self.at(self.now + ms, happening);
    }

    fn happens(&mut self, happening: Happening) -> Result<(), Broken> {
        match happening {
            Happening::Deed(n) => {
                let deed = self.plan.deeds[n].1.clone();
                self.trace.note(self.now, [100, n as u64, 0, 0], || format!("{deed:?}"));
                self.does(deed)
            }
            Happening::Tick { home, process } => {
                if self.members[home].process == process && self.members[home].is_up() {
                    self.after(TICK_MS, Happening::Tick { home, process });
                    self.ticks(home)?;
                }
                Ok(())
            }
            Happening::Flushed { home, process } => {
                if self.members[home].process == process {
                    self.trace
                        .note(self.now, [101, home as u64, 0, 0], || format!("{home}: flushed"));
                    self.flushed(home)?;
                }
                Ok(())
            }
            Happening::Arrives { from, to, connection, frame } => {
                if self.net.is_on(from, to, connection)
                    && self.members[to].is_connected(from, connection)
                {
                    let what = [102, from as u64, to as u64, frame.code()];
                    self.trace.note(self.now, what, || format!("{from} -> {to}: {frame:?}"));
                    self.arrives(from, to, connection, *frame)?;
                }
                Ok(())
            }
            Happening::Dial { a, b } => {
                self.dials(a, b);
                Ok(())
            }
            Happening::Opened { home, peer, connection } => {
                if self.net.is_on(home, peer, connection) && self.members[home].is_up() {
                    let what = [103, home as u64, peer as u64, connection];
                    self.trace.note(self.now, what, || format!("{home}: connected to {peer}"));
                    self.opened(home, peer, connection)?;
                }
                Ok(())
            }
            Happening::Noticed { home, peer, connection } => {
                if self.members[home].is_connected(peer, connection) {
                    self.members[home].disconnected(peer);
                }
                Ok(())
            }
            Happening::Starts { home } => {
                if !self.members[home].is_up() {
                    self.trace
                        .note(self.now, [104, home as u64, 0, 0], || format!("{home}: starts"));
                    self.starts(home)?;
                }
                Ok(())
            }
        }
    }

    // Connections.

    fn dials(&mut self, a: usize, b: usize) {
        let (now, up) = (self.now, self.members[a].is_up() && self.members[b].is_up());
        let joint = self.net.joint(a, b);
        if joint.up || !up || now < joint.cut_until {
            return;
        }
        let (first, second) = (self.rng.random_range(1..60), self.rng.random_range(1..60));
        let connection = self.net.join(a, b, now + first.max(second));
        self.after(first, Happening::Opened { home: a, peer: b, connection });
        self.after(second, Happening::Opened { home: b, peer: a, connection });
    }

    /// A connection breaks, and is tried again from `until` on.
    pub(super) fn breaks(&mut self, a: usize, b: usize, until: u64) {
        if a == b {
            return;
        }
        let now = self.now;
        let joint = self.net.joint(a, b);
        joint.cut_until = joint.cut_until.max(until);
        let until = joint.cut_until;
        if joint.up {
            let connection = self.net.part(a, b);
            for (home, peer) in [(a, b), (b, a)] {
                let notices = self.rng.random_range(0..1_500);
                self.after(notices, Happening::Noticed { home, peer, connection });
            }
        }
        let backs_off = self.rng.random_range(5..2_000);
        self.at(until.max(now) + backs_off, Happening::Dial { a, b });
    }

    /// Puts a frame on its way.
    pub(super) fn sends(&mut self, from: usize, to: usize, connection: u64, frame: Frame) {
        if !self.net.is_on(from, to, connection) {
            return;
        }
        let at = self.net.delay(&mut self.rng, self.now, from, to, frame.lane());
        self.villain.overhears(from, to, &frame);
        self.at(at, Happening::Arrives { from, to, connection, frame: Box::new(frame) });
    }

    // Deeds.

    pub(super) fn user(&self, user: usize) -> UserRef {
        let home = user / USERS % self.plan.homes;
        let member = &self.members[home];
        UserRef::new(member.id, member.names[user % USERS].clone())
    }

    pub(super) fn number_of(&self, home: &HomeId) -> usize {
        usize::from(home.0[0]) - 1
    }

    fn does(&mut self, deed: Deed) -> Result<(), Broken> {
        let homes = self.plan.homes;
        match deed {
            Deed::Send { from, to, id, op } => self.writes(from, to, id, op),
            Deed::Again { which } => match which.checked_rem(self.ledger.wishes.len()) {
                Some(which) if self.ledger.is_repeatable(which) => self.asks(which),
                _ => Ok(()),
            },
            Deed::Open { from, to } => self.opens(from, to),
            Deed::Amend { who, channel, place, what } => self.amends(who, channel, place, what),
            Deed::Mark { who, channel, part, read } => self.marks(who, channel, part, read),
            Deed::Cut { a, b, lasting_ms } => {
                self.breaks(a % homes, b % homes, self.now + lasting_ms);
                Ok(())
            }
            Deed::Isolate { home, lasting_ms } => {
                for peer in 0..homes {
                    self.breaks(home % homes, peer, self.now + lasting_ms);
                }
                Ok(())
            }
            Deed::Slow { a, b, by_ms, lasting_ms } => {
                self.net.slow(a % homes, b % homes, by_ms, self.now + lasting_ms);
                Ok(())
            }
            Deed::Crash { home, kept, lasting_ms } => self.crashes(home % homes, kept, lasting_ms),
            Deed::Freeze { home, lasting_ms } => {
                let member = &mut self.members[home % homes];
                member.frozen_until = member.frozen_until.max(self.now + lasting_ms);
                Ok(())
            }
            Deed::Skew { home, offset_ms } => {
                self.members[home % homes].skew_ms = offset_ms;
                Ok(())
            }
            Deed::Create { who, with, policy } => self.creates(who, &with, policy),
            Deed::Change { group, by, what } => self.changes(group, by, what),
            Deed::Say { group, who, id, op } => self.says(group, who, id, op),
            Deed::List { who, whom, blocks, add } => self.lists(who, whom, blocks, add),
            Deed::Double { from, to } => self.doubles(from % homes, to % homes),
            Deed::Backup { home } => self.members[home % homes].backs_up(),
            Deed::Restore { home, lasting_ms } => self.restores(home % homes, lasting_ms),
            Deed::Harm { to, how, place } => self.harms(to % homes, how, place),
        }
    }

    fn writes(&mut self, from: usize, to: usize, id: Option<i64>, op: bool) -> Result<(), Broken> {
        let (sender, with) = (self.user(from), self.user(to));
        if sender == with {
            return Ok(());
        }
        let which = self.ledger.wishes.len();
        let number = which as u64;
        let home = self.number_of(&sender.home);
        let channel = ChannelId::chat(&sender, &with);
        let truth = MONDAY_MS + self.now;
        let command = SendCommand {
            sender: sender.local.clone(),
            target: Target::To(with.clone()),
            id: id.map(|off| match truth.checked_add_signed(off) {
                Some(ms) => v7(ms, number << 1),
                None => MessageId(Uuid::from_u128(u128::from(number) + 1)),
            }),
            fresh_id: v7(truth, number << 1 | 1),
            op: op.then(|| OpId(Uuid::from_u128(u128::from(number) + 1))),
            kind: Kind::Text,
            body: Ledger::body(which),
            mentions: if number.is_multiple_of(5) { vec![with.clone()] } else { Vec::new() },
            about: None,
            media: Vec::new(),
        };
        let (asked_at, answer, past) = (None, None, false);
        let to = Some(with);
        let wish = Wish { home, sender, to, channel, command, asked_at, answer, past };
        self.ledger.wishes.push(wish);
        self.asks(which)
    }

    /// A client gives its home a message, or gives it once more.
    pub(super) fn asks(&mut self, which: usize) -> Result<(), Broken> {
        let wish = &self.ledger.wishes[which];
        let (home, channel) = (wish.home, wish.channel);
        let member = &self.members[home];
        if !member.is_up() || member.frozen_until > self.now {
            return Ok(()); // it is repeated when its home is there again
        }
        let mut command = wish.command.clone();
        if command.id.is_none() && command.op.is_none() {
            command.id = wish.answer.as_ref().map(|answer| answer.id);
        }
        self.fresh += 1;
        command.fresh_id = v7(MONDAY_MS + self.now, self.fresh << 1 | 1);
        self.ledger.wishes[which].asked_at = Some(self.now);
        self.ledger.knows(channel);
        self.sends_in_name(home, which, command)
    }

    fn opens(&mut self, from: usize, to: usize) -> Result<(), Broken> {
        let (user, with) = (self.user(from), self.user(to));
        let home = self.number_of(&user.home);
        if user == with || !self.members[home].is_up() {
            return Ok(());
        }
        self.ledger.knows(ChannelId::chat(&user, &with));
        self.opens_chat(home, &user.local, &with)
    }

    fn marks(&mut self, who: usize, channel: usize, part: u64, read: bool) -> Result<(), Broken> {
        let user = self.user(who);
        let home = self.number_of(&user.home);
        let Some(n) = channel.checked_rem(self.ledger.channels.len()) else { return Ok(()) };
        let channel = self.ledger.channels[n];
        let Some(head) = self.members[home].head_for(&user, channel)? else { return Ok(()) };
        let pos = Pos(head.0 * part / 100);
        let read = if read { pos } else { Pos(0) };
        self.raises(home, &user.local, channel, Mark { delivered: pos, read })
    }

    /// Ranges, rosters, letters and marks on their way to a home arrive now, and nobody is answered: they will once more.
    fn doubles(&mut self, from: usize, to: usize) -> Result<(), Broken> {
        if !self.members[to].is_up() || self.members[to].frozen_until > self.now {
            return Ok(());
        }
        let on = self.net.joint(from, to).connection;
        let frames: Vec<Frame> = self
            .agenda
            .values()
            .filter_map(|happening| {
                // What was on an earlier connection arrives no more, from whatever life it was.
                let Happening::Arrives { from: f, to: t, frame, connection } = happening else {
                    return None;
                };
                let is_it = (*f, *t, *connection) == (from, to, on) && frame.lane() == Lane::Relay;
                is_it.then(|| (**frame).clone())
            })
            .take(2)
            .collect();
        for frame in frames {
            let comes_again = matches!(
                frame,
                Frame::Range(_) | Frame::Marks { .. } | Frame::Roster { .. } | Frame::Letter { .. }
            );
            if comes_again {
                let _nobody_is_answered = self.takes(from, to, frame)?;
                self.goes_on(to)?;
            }
        }
        Ok(())
    }

    // Processes.

    pub(super) fn starts_ticking(&mut self, home: usize) {
        let process = self.members[home].process;
        let first = self.rng.random_range(1..TICK_MS);
        self.after(first, Happening::Tick { home, process });
    }

    fn crashes(&mut self, home: usize, kept: bool, lasting_ms: u64) -> Result<(), Broken> {
        if !self.members[home].is_up() {
            return Ok(());
        }
        let kept = kept && self.canary != Some(Canary::EarlyAnswer);
        self.members[home].crashes(kept)?;
        self.is_gone(home, lasting_ms);
        Ok(())
    }

    fn is_gone(&mut self, home: usize, lasting_ms: u64) {
        for wish in self.ledger.wishes.iter_mut().filter(|wish| wish.home == home) {
            wish.asked_at = None;
        }
        for peer in 0..self.plan.homes {
            self.breaks(home, peer, self.now);
        }
        self.after(lasting_ms, Happening::Starts { home });
    }

    fn starts(&mut self, home: usize) -> Result<(), Broken> {
        let clock = self.clock(home);
        let deaf = self.canary == Some(Canary::DeafRestore);
        self.members[home].starts(clock, deaf)?;
        self.starts_ticking(home);
        for peer in 0..self.plan.homes {
            if peer != home {
                let tries = self.rng.random_range(1..1_000);
                self.after(tries, Happening::Dial { a: home.min(peer), b: home.max(peer) });
            }
        }
        // Some clients come back at once and ask again.
        for which in 0..self.ledger.wishes.len() {
            let wish = &self.ledger.wishes[which];
            let open = wish.home == home && wish.answer.is_none();
            if open && self.ledger.is_repeatable(which) && self.rng.random_bool(0.3) {
                self.asks(which)?;
            }
        }
        Ok(())
    }

    /// A home's disk is lost. It goes on from its backup, in a new life, and asks everybody; its clients give up what
    /// they were not answered.
    fn restores(&mut self, home: usize, lasting_ms: u64) -> Result<(), Broken> {
        if self.keeps_its_disk(home)? {
            return self.crashes(home, false, lasting_ms);
        }
        self.lost_in_groups |= self.is_in_groups(home)?;
        let clock = self.clock(home);
        self.members[home].restores(clock)?;
        let own = self.members[home].id;
        let owned: Vec<ChannelId> = self
            .ledger
            .groups
            .iter()
            .filter(|(_, owner)| *owner == home)
            .map(|(id, _)| *id)
            .collect();
        self.ledger.told.retain(|group, _| !owned.contains(group));
        self.ledger.left.retain(|(user, _), _| user.home != own);
        for n in 0..self.ledger.wishes.len() {
            let wish = &self.ledger.wishes[n];
            // What had reached no other disk is lost with this one; everything else must be there in the end. The
            // villain need not give anything back.
            let lost = wish.answer.is_some()
                && match &wish.to {
                    Some(to) => {
                        let with = self.number_of(&to.home);
                        let touched = wish.home == home || with == home;
                        let with_villain = self.is_villain(with) || self.is_villain(wish.home);
                        touched
                            && (with_villain
                                || !(self.holds(wish.home, n)? || self.holds(with, n)?))
                    }
                    None => !self.is_kept(n)?,
                };
            let wish = &mut self.ledger.wishes[n];
            if lost {
                wish.answer = None;
                wish.past = true;
            }
            if wish.home == home {
                wish.past = true;
            }
        }
        self.is_gone(home, lasting_ms);
        Ok(())
    }

    /// Whether a message of a group is at its own home, or can come back from another.
    fn is_kept(&self, which: usize) -> Result<bool, Broken> {
        let wish = &self.ledger.wishes[which];
        for home in (0..self.plan.homes).filter(|home| !self.is_villain(*home)) {
            if self.holds(home, which)? {
                return Ok(true);
            }
        }
        Ok(self.is_villain(wish.home))
    }

    /// Whether a message is on a home's disk.
    fn holds(&self, home: usize, which: usize) -> Result<bool, Broken> {
        let wish = &self.ledger.wishes[which];
        let Some(answer) = &wish.answer else { return Ok(false) };
        self.members[home].holds(wish.channel, &wish.sender, answer.id)
    }

    /// Everybody can reach everybody, all clocks are right, and clients repeat what was not answered.
    fn heals(&mut self) -> Result<(), Broken> {
        let thawed = self.members.iter().map(|member| member.frozen_until).max().unwrap_or(0);
        self.runs_until(thawed.max(self.now) + 1)?;
        self.well = true;
        self.villain.rests();
        self.net.heal();
        for home in 0..self.plan.homes {
            let member = &mut self.members[home];
            member.skew_ms = 0;
            if !self.members[home].is_up() {
                self.starts(home)?;
            }
        }
        for a in 0..self.plan.homes {
            for b in 0..a {
                self.after(1, Happening::Dial { a: b, b: a });
            }
        }
        for which in 0..self.ledger.wishes.len() {
            if self.ledger.wishes[which].answer.is_none() && self.ledger.is_repeatable(which) {
                self.asks(which)?;
            }
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        let frames = self.agenda.values().any(|happening| {
            matches!(
                happening,
                Happening::Arrives { .. } | Happening::Flushed { .. } | Happening::Opened { .. }
            )
        });
        !frames && (0..self.plan.homes).all(|home| self.is_idle(home))
    }

    /// A home's clock, in Unix milliseconds.
    pub(super) fn clock(&self, home: usize) -> u64 {
        (MONDAY_MS + self.now).saturating_add_signed(self.members[home].skew_ms)
    }

    pub(super) fn is_villain(&self, home: usize) -> bool {
        self.plan.villain && home + 1 == self.plan.homes
    }

    pub(super) fn is_with_villain(&self, which: usize) -> bool {
        let wish = &self.ledger.wishes[which];
        let with = wish.to.as_ref().map(|to| self.number_of(&to.home));
        self.is_villain(wish.home) || with.is_some_and(|with| self.is_villain(with))
    }

    /// Clients that wait for longer than any flush takes, at a home that runs.
    pub(super) fn check_answers(&self, home: usize) -> Result<(), Broken> {
        let late = self.ledger.wishes.iter().position(|wish| {
            wish.home == home && wish.asked_at.is_some_and(|at| at + ANSWERS_MS < self.now)
        });
        match late {
            Some(which) if self.members[home].thawed_for(self.now) > ANSWERS_MS => {
                Err(Broken::new(
                    "P5",
                    format!("home {home} has not answered message {which} for {ANSWERS_MS} ms"),
                ))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What is told of a run that ended well: a number that only the same run has.
    pub(super) fn digest(&self) -> Result<Hash, Broken> {
        let mut bytes = self.trace.sum().to_be_bytes().to_vec();
        for member in &self.members {
            member.digest_into(&mut bytes)?;
        }
        Ok(Hash::of(&bytes))
    }
}
