//! What must be true: of what clients are shown while it runs, and of everything when all is well again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use homing_core::{ChannelState, LogEntry, Mark};
use homing_wire::{
    ChannelId, Epoch, HomeId, Local, Order, Pos, Role, Roster, Seq, SignedRoster, UserRef,
};

use super::changes::{counts, is_passed};
use super::ledger::{Client, Wish};
use super::member::Member;
use super::world::World;
use super::{Broken, Canary};

/// A message as everybody sees it: place, id, sender, body.
type Row = (Order, homing_wire::MessageId, UserRef, bytes::Bytes);

impl World {
    // While it runs.

    /// A message is shown to a home's people: the next of its channel, and on disk.
    pub(super) fn shows(
        &mut self,
        home: usize,
        entry: &Arc<LogEntry>,
        change: u64,
    ) -> Result<(), Broken> {
        use homing_core::Reader as _;
        self.passes(home, entry.channel(), Pos(entry.pos.0 - 1))?;
        let member = &mut self.members[home];
        let kept = member.store.entry(entry.channel(), entry.pos)?;
        if kept.as_ref() != Some(&**entry) {
            return Err(Broken::new(
                "P1",
                format!("home {home} shows what is not on disk: {entry:?}"),
            ));
        }
        let id = entry.event.header.id;
        if entry.channel().is_group() {
            return self.shows_in_group(home, entry);
        }
        for client in member.clients_in(entry.channel())? {
            client.since = client.since.max(change);
            let shown = client.shown.entry(entry.channel()).or_default();
            let next = shown.len() as u64 + 1;
            if entry.pos.0 != next {
                let what = format!(
                    "home {home} shows place {} of {} to a client whose next is {next}",
                    entry.pos.0,
                    entry.channel()
                );
                return Err(Broken::new("P2", what));
            }
            shown.push(id);
        }
        Ok(())
    }

    /// A message was rejected elsewhere: the notice about it has a place of its own.
    pub(super) fn shows_rejected(
        &mut self,
        home: usize,
        entry: &Arc<LogEntry>,
        change: u64,
    ) -> Result<(), Broken> {
        if entry.channel().is_group() {
            return Ok(()); // what does not count is known by the roster
        }
        let log = self.members[home].log(entry.channel())?;
        for client in self.members[home].clients_in(entry.channel())? {
            client.since = client.since.max(change);
            let shown = client.shown.entry(entry.channel()).or_default();
            let news = log.iter().skip(shown.len());
            let notices = news.take_while(|entry| entry.event.header.origin == HomeId::LOCAL);
            shown.extend(notices.map(|entry| entry.event.header.id));
        }
        Ok(())
    }

    /// To whoever is in the group: what each of them may see, once.
    fn shows_in_group(&mut self, home: usize, entry: &Arc<LogEntry>) -> Result<(), Broken> {
        let group = entry.channel();
        let (own, state) = (self.members[home].id, self.members[home].state(group)?);
        let people = state.map(|state| state.members).unwrap_or_default();
        let here = people.into_iter().filter(|m| m.user.home == own && m.accepted && !m.left);
        for seeing in here.filter(|m| m.sees(entry.pos)) {
            self.check_agreed(home, &seeing.user, group)?;
            let client = self.members[home].clients.get_mut(&seeing.user.local);
            let Some(client) = client else { continue };
            // Of two senders both may have given it the same id: the dishonest home does.
            let header = &entry.event.header;
            if !client.shown_in_groups.insert((group, header.user(), header.id)) {
                let what = format!("home {home} shows a message of {group} twice: {entry:?}");
                return Err(Broken::new("P2", what));
            }
        }
        Ok(())
    }

    /// Nobody is in a group who has not agreed, or has left.
    fn check_agreed(&self, home: usize, user: &UserRef, group: ChannelId) -> Result<(), Broken> {
        if self.is_villain(home) || self.has_agreed(home, user, group)? {
            return Ok(());
        }
        let what = format!("home {home} has {user:?} in {group}, who has not agreed, or has left");
        Err(Broken::new("groups", what))
    }

    pub(super) fn seen_by_clients(
        &mut self,
        home: usize,
        channel: ChannelId,
        change: u64,
    ) -> Result<(), Broken> {
        for client in self.members[home].clients_in(channel)? {
            client.since = client.since.max(change);
        }
        Ok(())
    }

    /// Whether nothing is left to be done at a home, for honest homes.
    pub(super) fn is_idle(&self, home: usize) -> bool {
        let member = &self.members[home];
        let Some(process) = &member.home else { return false };
        let busy = member.under_way.is_some() || process.has_step() || !member.outputs.is_empty();
        if self.is_villain(home) {
            return true;
        }
        let peers = (0..self.plan.homes).filter(|peer| *peer != home && !self.is_villain(*peer));
        !busy && peers.into_iter().all(|peer| self.is_idle_with(home, peer))
    }

    fn is_idle_with(&self, home: usize, peer: usize) -> bool {
        let (member, id) = (&self.members[home], &self.members[peer].id);
        let Some(process) = &member.home else { return false };
        let link = member.links.get(&peer);
        let owed = process.owed().get(id).into_iter().flat_map(|channels| channels.keys());
        // Of a group of which the villain has signed two rosters, honest homes may never agree.
        let (mut forked, owed): (Vec<ChannelId>, Vec<ChannelId>) =
            owed.copied().partition(|id| self.is_villains_group(*id));
        // Nor need a home that holds one roster hear from one that holds the other that it is out of the group.
        let sent = |id: &&ChannelId| link.is_some_and(|link| link.courier.carries(**id));
        let sent = self.ledger.channels.iter().filter(sent);
        forked.extend(sent.filter(|id| self.is_villains_group(**id)));
        let quiet = link.is_some_and(|link| {
            link.repair.is_none() && (link.courier.is_idle() || !forked.is_empty())
        });
        let letters = process.waited_for().contains(id) && forked.is_empty();
        quiet && !process.is_reconciling(id) && owed.is_empty() && !letters
    }

    // When all is well again.

    pub(super) fn check(&self) -> Result<(), Broken> {
        for home in (0..self.plan.homes).filter(|home| !self.is_villain(*home)) {
            self.check_nothing_is_owed(home)?;
            self.check_clients(home)?;
            self.check_listings(home)?;
        }
        self.check_wishes()?;
        for channel in &self.ledger.channels {
            for home in (0..self.plan.homes).filter(|home| !self.is_villain(*home)) {
                self.check_folds(home, *channel)?;
            }
            if channel.is_group() {
                self.check_group(*channel)?;
            } else {
                self.check_channel(*channel)?;
            }
        }
        Ok(())
    }

    /// P5: a home that was away has everything, without new traffic.
    fn check_nothing_is_owed(&self, home: usize) -> Result<(), Broken> {
        for peer in 0..self.plan.homes {
            if peer == home || self.is_villain(peer) || self.is_idle_with(home, peer) {
                continue;
            }
            let (member, id) = (&self.members[home], &self.members[peer].id);
            let process = member.home.as_ref();
            let link = member.links.get(&peer);
            let owed = process.into_iter().flat_map(|process| process.owed().get(id));
            let owed = owed.flat_map(|channels| channels.keys()).filter_map(|channel| {
                let state = member.state(*channel).ok().flatten();
                state.and_then(|state| state.cursor(id).cloned())
            });
            return Err(Broken::new(
                "P5",
                format!(
                    "home {home} still owes home {peer} {:?} (reconciling {:?}, connected {}, courier idle {:?}, \
                     repairing {:?}, {:?})",
                    process.and_then(|process| process.owed().get(id)),
                    process.map(|process| process.is_reconciling(id)),
                    link.is_some(),
                    link.map(|link| link.courier.is_idle()),
                    link.map(|link| link.repair.is_some()),
                    owed.collect::<Vec<_>>(),
                ),
            ));
        }
        Ok(())
    }

    /// P2: every client shows the log of its home, no more and no less.
    fn check_clients(&self, home: usize) -> Result<(), Broken> {
        let member = &self.members[home];
        for (name, client) in &member.clients {
            let me = UserRef::new(member.id, name.clone());
            for channel in self.ledger.channels.iter().filter(|channel| !channel.is_group()) {
                let Some(state) = member.state(*channel)? else { continue };
                if state.member(&me).is_none() {
                    continue;
                }
                let log = member.log(*channel)?;
                let shown = client.shown.get(channel).map_or(&[][..], Vec::as_slice);
                // Of what stands in no list nobody need have heard.
                let unheard = log.iter().rev().take_while(|entry| is_passed(entry)).count();
                let heard = shown.len().max(log.len() - unheard).min(log.len());
                let there = log[..heard].iter().map(|entry| entry.event.header.id);
                if !there.eq(shown.iter().copied()) {
                    let what = format!(
                        "a client of home {home} shows {} of {} messages of {channel}, or others",
                        shown.len(),
                        log.len()
                    );
                    return Err(Broken::new("P2", what));
                }
            }
        }
        Ok(())
    }

    fn check_listings(&self, home: usize) -> Result<(), Broken> {
        use homing_core::Reader as _;
        let member = &self.members[home];
        for name in &member.names {
            let me = UserRef::new(member.id, name.clone());
            let rows = member.store.listing(name)?;
            let states = member.store.channels(None, usize::MAX)?;
            // A change in a group need not be one for each of its people.
            let newest = |state: &ChannelState| {
                let row = rows.iter().find(|row| row.channel == state.id);
                row.filter(|row| state.group.is_some() && row.changed <= state.changed)
                    .map_or(state.changed, |row| row.changed)
            };
            let listed: BTreeMap<ChannelId, u64> =
                rows.iter().map(|row| (row.channel, row.changed)).collect();
            let mine: BTreeMap<ChannelId, u64> = states
                .iter()
                .filter(|state| state.member(&me).is_some())
                .map(|state| (state.id, newest(state)))
                .collect();
            if listed != mine {
                let what = format!("home {home} lists for {name} {listed:?}, and has {mine:?}");
                return Err(Broken::new("P2", what));
            }
        }
        Ok(())
    }

    /// P1, P2, P8: what was answered is at both homes, once.
    fn check_wishes(&self) -> Result<(), Broken> {
        let mut counts: BTreeMap<(usize, ChannelId, UserRef, bytes::Bytes), usize> =
            BTreeMap::new();
        for home in 0..self.plan.homes {
            for channel in &self.ledger.channels {
                for entry in self.members[home].log(*channel)? {
                    let user = entry.event.header.user();
                    let key = (home, *channel, user, entry.event.body.clone());
                    *counts.entry(key).or_default() += 1;
                }
            }
        }
        for (which, wish) in self.ledger.wishes.iter().enumerate() {
            if self.is_villain(wish.home) {
                continue;
            }
            let with = wish.to.as_ref().map_or(wish.home, |to| self.number_of(&to.home));
            let homes: BTreeSet<usize> =
                [wish.home, with].into_iter().filter(|home| !self.is_villain(*home)).collect();
            for home in homes {
                let key = (home, wish.channel, wish.sender.clone(), wish.command.body.clone());
                let count = counts.get(&key).copied().unwrap_or(0);
                if count > 1 {
                    let what = format!("message {which} is {count} times at home {home}");
                    return Err(Broken::new("P2", what));
                }
                if wish.answer.is_some() && count == 0 && !self.is_of_an_earlier_stay(wish)? {
                    let holders: Vec<usize> = (0..self.plan.homes)
                        .filter(|at| {
                            counts
                                .keys()
                                .any(|(of, _, _, body)| of == at && *body == wish.command.body)
                        })
                        .collect();
                    let what = format!(
                        "message {which} was answered and is not at home {home}, but at {holders:?}: {} by {:?}, {:?}",
                        wish.channel, wish.sender, wish.answer
                    );
                    let promise = if self.members.iter().any(|member| member.restores > 0) {
                        "P8"
                    } else {
                        "P1"
                    };
                    return Err(Broken::new(promise, what));
                }
            }
            if wish.answer.is_none() && self.ledger.is_repeatable(which) {
                return Err(Broken::new("P5", format!("message {which} was never answered")));
            }
        }
        Ok(())
    }

    /// Whether a message is of a time in a group that was over when its home's disk was lost: homes that are still in it
    /// give nothing of that to one that is out.
    fn is_of_an_earlier_stay(&self, wish: &Wish) -> Result<bool, Broken> {
        let home = &self.members[wish.home];
        let Some(owner) = self.ledger.owner(wish.channel).filter(|_| home.restores > 0) else {
            return Ok(false);
        };
        let Some(newest) = self.members[owner].roster(wish.channel)? else { return Ok(true) };
        let Some(since) = newest.roster().home_since(&home.id) else { return Ok(true) };
        for member in &self.members {
            let log = member.log(wish.channel)?;
            let same = log.iter().find(|entry| entry.event.body == wish.command.body);
            if let Some(entry) = same {
                return Ok(entry.event.header.roster < since);
            }
        }
        Ok(false)
    }

    fn check_channel(&self, channel: ChannelId) -> Result<(), Broken> {
        let mut lists: Vec<(usize, Vec<Row>)> = Vec::new();
        let mut with_villain = false;
        for home in 0..self.plan.homes {
            let Some(state) = self.members[home].state(channel)? else { continue };
            let parties: BTreeSet<usize> =
                state.members.iter().map(|member| self.number_of(&member.user.home)).collect();
            with_villain |= parties.iter().any(|party| self.is_villain(*party));
            if self.is_villain(home) {
                continue;
            }
            if !parties.contains(&home) {
                let what = format!("home {home} keeps {channel}, in which nobody of it is");
                return Err(Broken::new("P4", what));
            }
            let log = self.members[home].log(channel)?;
            self.check_log(home, channel, &log)?;
            lists.push((home, list(&log)));
        }
        if with_villain {
            return Ok(());
        }
        let empty = Vec::new();
        for (home, rows) in &lists {
            for (other, others) in &lists {
                if rows != others {
                    let at = rows.iter().zip(others).position(|(a, b)| a != b);
                    let what = format!(
                        "homes {home} and {other} list {channel} differently: {} and {} messages, from {at:?}",
                        rows.len(),
                        others.len()
                    );
                    return Err(Broken::new("P3", what));
                }
            }
        }
        // Whoever is in it and has nothing of it has heard nothing.
        let first = lists.first().map_or(&empty, |(_, rows)| rows);
        if let Some(row) = first.first()
            && let Some(wish) = self.ledger.wish_of(&row.3)
        {
            for user in [&wish.sender].into_iter().chain(&wish.to) {
                let home = self.number_of(&user.home);
                if !lists.iter().any(|(at, _)| *at == home) {
                    let what = format!("home {home} has heard nothing of {channel}");
                    return Err(Broken::new("P5", what));
                }
            }
        }
        for (home, _) in &lists {
            self.check_marks(*home, channel)?;
        }
        Ok(())
    }

    /// P3, P4: what one log must be by itself.
    fn check_log(
        &self,
        home: usize,
        channel: ChannelId,
        log: &[Arc<LogEntry>],
    ) -> Result<(), Broken> {
        let mut chains: BTreeMap<(HomeId, Epoch), (Seq, Order)> = BTreeMap::new();
        let mut places: u64 = 0;
        for entry in log {
            places += 1;
            let header = &entry.event.header;
            if entry.pos.0 != places {
                return Err(Broken::new(
                    "P2",
                    format!("home {home}: {channel} has no place {places}"),
                ));
            }
            if header.origin == HomeId::LOCAL {
                continue;
            }
            let order = header.order();
            let last = chains.insert((header.origin, header.epoch), (header.seq, order));
            if last.is_some_and(|(seq, before)| seq >= header.seq || before >= order) {
                let what = format!("home {home}: {channel} is out of order at place {places}");
                return Err(Broken::new("P3", what));
            }
            let origin = self.number_of(&header.origin);
            if self.is_villain(origin) {
                continue;
            }
            let wish = self.ledger.wish_of(&entry.event.body);
            let is_wished =
                wish.is_some_and(|wish| wish.sender == header.user() && wish.channel == channel);
            if !is_wished {
                let what = format!(
                    "home {home} stores in {:?}'s name what was never written: {:?}",
                    header.user(),
                    entry.event.body
                );
                return Err(Broken::new("P4", what));
            }
        }
        Ok(())
    }

    /// What holds of groups when all is well again.
    fn check_group(&self, group: ChannelId) -> Result<(), Broken> {
        for home in (0..self.plan.homes).filter(|home| !self.is_villain(*home)) {
            let log = self.members[home].log(group)?;
            self.check_log(home, group, &log)?;
            self.check_stays(home, group, &log)?;
        }
        if self.is_villains_group(group) {
            return Ok(());
        }
        let Some(owner) = self.ledger.owner(group) else { return Ok(()) };
        let told = self.ledger.told.get(&group).copied().unwrap_or(0);
        let Some(newest) = self.members[owner].roster(group)? else {
            return if told == 0 {
                Ok(()) // it was lost with the disk, and nobody else had heard of it
            } else {
                Err(Broken::new("P1", format!("{group} is not at its home {owner}")))
            };
        };
        let roster = newest.roster();
        if roster.version < told {
            let what = format!("home {owner} told of version {told} of {group} and has {roster:?}");
            return Err(Broken::new("P1", what));
        }
        for home in (0..self.plan.homes).filter(|home| !self.is_villain(*home)) {
            self.check_shown(home, group, roster)?;
        }
        for home in (0..self.plan.homes).filter(|home| !self.is_villain(*home)) {
            self.check_members(home, group, &newest)?;
        }
        Ok(())
    }

    /// Who is in a group has agreed; whoever has left sees nothing that came later.
    fn check_stays(
        &self,
        home: usize,
        group: ChannelId,
        log: &[Arc<LogEntry>],
    ) -> Result<(), Broken> {
        let here = &self.members[home];
        for name in &here.names {
            let me = UserRef::new(here.id, name.clone());
            let Some(member) = here.in_group(&me, group)? else { continue };
            if member.accepted && !member.left {
                self.check_agreed(home, &me, group)?;
            }
            let stay = self.ledger.left.get(&(me.clone(), group));
            let Some((_, head)) = stay.filter(|(since, _)| member.left && *since == member.since)
            else {
                continue;
            };
            if log.iter().any(|entry| entry.pos > *head && member.sees(entry.pos)) {
                let what = format!("home {home} shows {me:?} what came to {group} after the leave");
                return Err(Broken::new("groups", what));
            }
        }
        Ok(())
    }

    /// P3, P5: of each honest home's chain a home shows what counts by the newest roster, from where the home's time in
    /// the group began, all of it, and nothing else.
    fn check_shown(&self, home: usize, group: ChannelId, newest: &Roster) -> Result<(), Broken> {
        let here = &self.members[home];
        let log = here.log(group)?;
        let Some(held) = here.roster(group)? else {
            return if log.is_empty() { Ok(()) } else { Err(no_roster(home, group)) };
        };
        let shown = counting(&log, held.roster());
        // Where that somebody has agreed was lost with the disk, nobody is in until they are asked again.
        let is_out = here.state(group)?.is_some_and(|state| state.nobody_of(&here.id));
        let forgotten = here.restores > 0 && is_out;
        for origin in (0..self.plan.homes).filter(|origin| !self.is_villain(*origin)) {
            let of = &self.members[origin];
            let right = counting(&of.log(group)?, newest);
            let since = newest.home_since(&here.id).filter(|_| !forgotten);
            let from = if home == origin { Some(0) } else { since };
            // What it wrote in an earlier stay does not come back to a home whose disk was lost.
            let kept = if of.restores > 0 { newest.home_since(&of.id) } else { Some(0) };
            let from = from.zip(kept).map(|(from, kept)| from.max(kept));
            let is_here = |row: &&Counting| {
                row.origin == of.id && from.is_some_and(|from| row.version >= from)
            };
            let (mine, theirs): (Vec<_>, Vec<_>) =
                (shown.iter().filter(is_here).collect(), right.iter().filter(is_here).collect());
            if mine != theirs {
                let at = mine.iter().zip(&theirs).position(|(a, b)| a != b);
                let what = format!(
                    "home {home} shows {} messages of home {origin} in {group}, and {} count there, from {at:?}: {:?} \
                     and {:?}",
                    mine.len(),
                    theirs.len(),
                    mine.last(),
                    theirs.last()
                );
                return Err(Broken::new("P3", what));
            }
        }
        Ok(())
    }

    /// Everybody who is in a group has the newest roster, and all agree on who is in.
    fn check_members(
        &self,
        home: usize,
        group: ChannelId,
        newest: &SignedRoster,
    ) -> Result<(), Broken> {
        let here = &self.members[home];
        let roster = newest.roster();
        let held = here.roster(group)?;
        if roster.present().any(|tenure| tenure.user.home == here.id)
            && held.as_ref().is_none_or(|held| !self.is_same(held, newest))
        {
            let version = held.map(|held| held.roster().version);
            let what = format!("home {home} has {version:?} of {group}, not {}", roster.version);
            return Err(Broken::new("P5", what));
        }
        for name in &here.names {
            let me = UserRef::new(here.id, name.clone());
            let member = here.in_group(&me, group)?;
            let is_in = member.is_some_and(|member| member.accepted && !member.left);
            let named = roster.role(&me).is_some_and(|role| role >= Role::Member);
            // That somebody has agreed may be lost with the disk.
            if is_in != named && (is_in || here.restores == 0) {
                let what =
                    format!("for home {home} {me:?} in {group}: {is_in}; by its roster: {named}");
                return Err(Broken::new("groups", what));
            }
        }
        Ok(())
    }

    /// What a home holds is what came, but for what the canary does to it.
    fn is_same(&self, held: &SignedRoster, newest: &SignedRoster) -> bool {
        let blind = self.canary == Some(Canary::FenceIgnored);
        held.hash() == newest.hash() || (blind && held.roster().version == newest.roster().version)
    }

    /// A group whose rosters the villain signs.
    pub(super) fn is_villains_group(&self, channel: ChannelId) -> bool {
        channel.is_group()
            && self.ledger.owner(channel).is_none_or(|owner| self.is_contested(channel, owner))
    }

    /// The dishonest home may make another group of an id that it knows, and ask homes into it that are not yet in the
    /// first: nobody there can tell which is meant.
    fn is_contested(&self, group: ChannelId, owner: usize) -> bool {
        let another = |member: &Member| {
            let held = member.roster(group).ok().flatten();
            held.is_some_and(|held| held.roster().owner != self.members[owner].id)
        };
        self.is_villain(owner) || self.members.iter().any(another)
    }

    /// Messages in groups that were answered.
    pub(super) fn said(&self) -> impl Iterator<Item = &Wish> {
        self.ledger.wishes.iter().filter(|wish| wish.to.is_none() && wish.answer.is_some())
    }

    /// How many of them do not count, as their own homes show it.
    pub(super) fn rejected(&self) -> Result<u64, Broken> {
        let mut rejected = 0;
        for (group, _) in &self.ledger.groups {
            for home in (0..self.plan.homes).filter(|home| !self.is_villain(*home)) {
                let here = &self.members[home];
                let Some(held) = here.roster(*group)? else { continue };
                let log = here.log(*group)?;
                let own = log.iter().filter(|entry| entry.event.header.origin == here.id).count();
                let counted = counting(&log, held.roster()).into_iter();
                rejected += own as u64 - counted.filter(|row| row.origin == here.id).count() as u64;
            }
        }
        Ok(rejected)
    }

    /// What a home knows of another's user is what that home knows, in its own numbers.
    fn check_marks(&self, home: usize, channel: ChannelId) -> Result<(), Broken> {
        let here = &self.members[home];
        let Some(state) = here.state(channel)? else { return Ok(()) };
        let log = here.log(channel)?;
        for member in &state.members {
            let there = self.number_of(&member.user.home);
            let Some(theirs) = self.members[there].state(channel)? else { continue };
            let Some(known) = theirs.member(&member.user).filter(|_| there != home) else {
                continue;
            };
            let (least, most) = self.told_of(home, &log, there, channel, known.mark)?;
            let held = member.mark;
            if held.read < least.read || held.delivered < least.delivered {
                let what = format!("home {home} has {held:?} of {:?}, not {least:?}", member.user);
                return Err(Broken::new("marks", what));
            }
            // What was read after a backup, and is unknown to its own home now, is still known here.
            let forgotten = self.members[there].restores > 0;
            if !forgotten && (held.read > most.read || held.delivered > most.delivered) {
                let what = format!("home {home} has {held:?} of {:?}, not {most:?}", member.user);
                return Err(Broken::new("marks", what));
            }
        }
        Ok(())
    }

    /// What a mark at home `there` tells home `home`, at least and at most.
    fn told_of(
        &self,
        home: usize,
        log: &[Arc<LogEntry>],
        there: usize,
        channel: ChannelId,
        mark: Mark,
    ) -> Result<(Mark, Mark), Broken> {
        let own = self.members[home].id;
        let theirs = self.members[there].log(channel)?;
        // Own events that a mark there covers, in the order in which they came there.
        let covered = |upto: Pos| -> Vec<(Epoch, Seq)> {
            let upto = theirs.iter().take_while(|entry| entry.pos <= upto);
            let headers = upto.map(|entry| &entry.event.header).filter(|h| h.origin == own);
            headers.map(|header| (header.epoch, header.seq)).collect()
        };
        let place = |of: &(Epoch, Seq)| -> Pos {
            let own_one = |entry: &&Arc<LogEntry>| {
                let header = &entry.event.header;
                header.origin == own && (header.epoch, header.seq) == *of
            };
            log.iter().find(own_one).map_or(Pos(0), |entry| entry.pos)
        };
        let (delivered, read) = (covered(mark.delivered), covered(mark.read));
        // What is told names the last of them; of what was read, in the same life alone.
        let life = delivered.last().map(|(epoch, _)| *epoch);
        let last = |of: &[(Epoch, Seq)]| {
            of.last().filter(|(epoch, _)| Some(*epoch) == life).map_or(Pos(0), place)
        };
        // Events that came back stand behind those that were written meanwhile: a mark on them, told before or
        // after, covers both. Where no disk was lost there is one order, and the last is the greatest.
        let most = |of: &[(Epoch, Seq)]| of.iter().map(place).max().unwrap_or(Pos(0));
        Ok((
            Mark { delivered: last(&delivered), read: last(&read) },
            Mark { delivered: most(&delivered), read: most(&read) },
        ))
    }
}

impl Member {
    /// The clients of this home's people in a channel.
    pub(super) fn clients_in(
        &mut self,
        channel: ChannelId,
    ) -> Result<impl Iterator<Item = &mut Client> + use<'_>, Broken> {
        let own = self.id;
        let members = self.state(channel)?.map(|state| state.members).unwrap_or_default();
        let names: BTreeSet<Local> = members
            .into_iter()
            .filter(|member| member.user.home == own)
            .map(|member| member.user.local)
            .collect();
        Ok(self
            .clients
            .iter_mut()
            .filter(move |(name, _)| names.contains(*name))
            .map(|(_, client)| client))
    }
}

/// A message of a group that counts.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Counting {
    order: Order,
    origin: HomeId,
    version: u64,
    place: (Epoch, Seq),
    id: homing_wire::MessageId,
    user: UserRef,
    body: bytes::Bytes,
}

/// What counts of a group's log by a roster, in everybody's order.
fn counting(log: &[Arc<LogEntry>], roster: &Roster) -> Vec<Counting> {
    let mut rows: Vec<Counting> = log
        .iter()
        .filter(|entry| entry.event.header.origin != HomeId::LOCAL)
        .filter(|entry| counts(entry, Some(roster)))
        .map(|entry| {
            let header = &entry.event.header;
            Counting {
                order: header.order(),
                origin: header.origin,
                version: header.roster,
                place: (header.epoch, header.seq),
                id: header.id,
                user: header.user(),
                body: entry.event.body.clone(),
            }
        })
        .collect();
    rows.sort();
    rows
}

fn no_roster(home: usize, group: ChannelId) -> Broken {
    Broken::new("P3", format!("home {home} has messages of {group} and no roster"))
}

/// What everybody sees of a log, in everybody's order.
fn list(log: &[Arc<LogEntry>]) -> Vec<Row> {
    let entries = log.iter().filter(|entry| entry.event.header.origin != HomeId::LOCAL);
    let mut rows: Vec<Row> = entries
        .map(|entry| {
            let header = &entry.event.header;
            (header.order(), header.id, header.user(), entry.event.body.clone())
        })
        .collect();
    rows.sort();
    rows
}
