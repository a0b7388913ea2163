//! What must be true when all is well again.

use std::collections::BTreeSet;

use homing_core::{ChannelState, Mark, Target};
use homing_wire::{ChannelId, Epoch, Pos, Seq, UserRef};

use super::{HOMES, USERS, World};
use crate::node::local;

impl World {
    pub(super) fn check(&mut self) {
        for (which, answer) in &self.answers {
            let (home, command) = &self.commands[*which];
            let Target::To(with) = &command.target else { unreachable!("only these are made") };
            let sender = UserRef::new(self.members[*home].node.id, command.sender.clone());
            for at in [*home, self.at(with.home)] {
                let log = &self.members[at].node.store.logs[&answer.channel];
                let count = log
                    .values()
                    .filter(|e| e.event.header.user() == sender)
                    .filter(|e| e.event.header.id == answer.id || e.event.body == command.body)
                    .count();
                assert_eq!(count, 1, "command {which} at home {at}");
            }
        }
        for member in &self.members {
            assert!(member.node.home.owed().is_empty(), "{:?}", member.node.home.owed());
            assert!(member.node.store.owed.is_empty());
            assert!(member.repairs.is_empty() && member.couriers.values().all(|c| c.is_idle()));
            assert!(member.node.store.peers.values().all(|peer| !peer.reconcile));
        }
        for id in self.channels.clone() {
            let holders: BTreeSet<usize> = (0..HOMES)
                .filter(|n| self.members[*n].node.store.channels.contains_key(&id))
                .collect();
            let lists: Vec<_> =
                holders.iter().map(|n| self.members[*n].node.store.by_order(id)).collect();
            for (n, list) in holders.iter().zip(&lists) {
                let parties = &self.members[*n].node.store.channels[&id].members;
                let homes: BTreeSet<usize> = parties.iter().map(|m| self.at(m.user.home)).collect();
                assert!(homes.contains(n));
                assert!(list.is_empty() || homes == holders, "a home has heard nothing");
                assert_eq!(list, &lists[0], "homes list differently");
            }
            for n in &holders {
                self.check_marks(*n, id);
                self.check_listings(*n);
            }
        }
    }

    /// What a home knows of another's user is what that home knows, in its own numbers.
    fn check_marks(&mut self, home: usize, id: ChannelId) {
        let here = &self.members[home].node;
        let (state, log) = (&here.store.channels[&id], here.store.logs.get(&id));
        for member in &state.members {
            let there = self.at(member.user.home);
            let Some(theirs) = self.members[there].node.store.channels.get(&id) else { continue };
            if there == home {
                continue;
            }
            let mark = theirs.member(&member.user).map(|m| m.told(m.mark)).unwrap();
            let there_restored = self.members[there].restored;
            // Own events that a mark there covers, in the order in which they came there.
            let covered = |upto: Pos| -> Vec<(Epoch, Seq)> {
                let log = self.members[there].node.store.logs.get(&id);
                let mine = log.into_iter().flat_map(|log| log.range(..=upto));
                let mine = mine.map(|(_, e)| &e.event.header).filter(|h| h.origin == here.id);
                mine.map(|h| (h.epoch, h.seq)).collect()
            };
            let pos = |of: &(Epoch, Seq)| -> Pos {
                let mut rows = log.into_iter().flatten().map(|(pos, e)| (pos, &e.event.header));
                let own = |h: &homing_wire::Header| h.origin == here.id && (h.epoch, h.seq) == *of;
                rows.find(|(_, h)| own(h)).map_or(Pos(0), |(pos, _)| *pos)
            };
            let (delivered, read) = (covered(mark.delivered), covered(mark.read));
            // What is told names the last of them; of what was read, in the same life alone.
            let life = delivered.last().map(|(epoch, _)| *epoch);
            let last = |of: &[(Epoch, Seq)]| {
                of.last().filter(|(epoch, _)| Some(*epoch) == life).map_or(Pos(0), pos)
            };
            let least = Mark { delivered: last(&delivered), read: last(&read) };
            // Events that came back stand behind those that were written meanwhile: a mark on them, told before
            // or after, covers both. Where no disk was lost there is one order, and the last is the greatest.
            let most = |of: &[(Epoch, Seq)]| of.iter().map(pos).max().unwrap_or(Pos(0));
            let most = Mark { delivered: most(&delivered), read: most(&read) };
            let held = member.mark;
            assert!(
                held.read >= least.read && held.delivered >= least.delivered,
                "home {home} on {:?}: {held:?}, not {least:?}",
                member.user
            );
            // What was read after a backup, and is unknown to its own home now, is still known here.
            assert!(
                there_restored || (held.read <= most.read && held.delivered <= most.delivered),
                "home {home} on {:?}: {held:?}, not {most:?}",
                member.user
            );
        }
    }

    fn check_listings(&mut self, home: usize) {
        let node = &mut self.members[home].node;
        for user in USERS {
            let me = node.user(user);
            let rows = node.home.listing(&node.store, &local(user)).unwrap();
            let listed: BTreeSet<ChannelId> = rows.iter().map(|r| r.channel).collect();
            // Of all changes of a channel, what is hidden from a user and what only the other sees is not in
            // that user's list: the store sees to the rest.
            let listed_for_me = |s: &&ChannelState| s.member(&me).is_some_and(|m| m.is_listed());
            let mine = node.store.channels.values().filter(listed_for_me);
            assert_eq!(listed, mine.map(|s| s.id).collect());
            // What is shown as the last is that, whatever is in memory of it.
            for id in listed {
                let last = node.home.last_message(&node.store, id, &me).unwrap();
                let state = &node.store.channels[&id];
                let place = state.last_for(state.member(&me).unwrap());
                let place = Some(place).filter(|pos| *pos > state.pruned);
                assert_eq!(last.map(|last| last.entry.pos), place);
            }
        }
    }
}
