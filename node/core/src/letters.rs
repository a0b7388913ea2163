//! Letters: the small numbered outbox between two homes, by which users of one ask for changes of groups of the other,
//! and are told what came of it.

use homing_wire::limits::LETTER_BYTES;
use homing_wire::{Change, Command, Epoch, HomeId, Letter, Outcome, UserRef};

use crate::groups::Sealer;
use crate::home::{Effect, Home};
use crate::links::NO_LINK;
use crate::reader::{Fault, Reader};
use crate::refusal::{Class, Failure, NO_CHANNEL, Refusal};
use crate::relay::PeerFault;
use crate::state::PeerState;
use crate::write::Write;

/// Letters that may wait for one home: a person makes a few, a script is told to wait.
const LETTERS: usize = 1_000;

/// What to answer a letter with, once its step is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LetterReply {
    /// Everything up to that number is taken.
    pub upto: u64,
    /// What is above cannot be taken yet: it is to come again in a while, in order.
    pub held: bool,
}

impl LetterReply {
    fn taken(number: u64) -> Self {
        Self { upto: number, held: false }
    }

    /// `number` is the first that is not taken.
    fn held(number: u64) -> Self {
        Self { upto: number.saturating_sub(1), held: true }
    }
}

impl Home {
    /// A letter of another home; `None`: one that this version cannot read. Each is taken once, in order.
    pub fn receive_letter(
        &mut self,
        reader: &dyn Reader,
        now_ms: u64,
        sealer: &Sealer<'_>,
        peer: HomeId,
        name: (Epoch, u64),
        letter: Option<&Letter>,
    ) -> Result<Result<LetterReply, PeerFault>, Fault> {
        self.at(now_ms);
        let Some(known) = self.peers.get(&peer).cloned() else {
            return Ok(Err(PeerFault("letter_of_stranger")));
        };
        self.hurry();
        if name <= known.letters_done {
            return Ok(Ok(LetterReply::taken(name.1)));
        }
        match self.held_letters.get(&peer) {
            Some((epoch, held)) if *epoch == name.0 && *held < name.1 => {
                return Ok(Ok(LetterReply::held(*held)));
            }
            Some(_) | None => {}
        }
        if self.is_too_early(reader, letter)? {
            self.held_letters.insert(peer, name);
            return Ok(Ok(LetterReply::held(name.1)));
        }
        self.held_letters.remove(&peer);
        self.put_peer(PeerState { letters_done: name, ..known });
        match letter {
            Some(Letter::Command(command)) => self.carry_out(reader, sealer, peer, command)?,
            Some(Letter::Outcome(outcome)) => {
                if outcome.refused.is_some() {
                    self.forget_joining(peer, |j| j.group == outcome.group && j.op == outcome.op);
                }
                self.avatar_settled(reader, peer, outcome)?;
                self.follows(Effect::Settled { peer, outcome: outcome.clone() });
            }
            None => {}
        }
        Ok(Ok(LetterReply::taken(name.1)))
    }

    /// Whether a letter asks for a change of a group that cannot be changed yet ([`Home::awaits_rosters`]), or only once
    /// the clock has caught up: refused, a leave would be lost for ever.
    fn is_too_early(
        &mut self,
        reader: &dyn Reader,
        letter: Option<&Letter>,
    ) -> Result<bool, Fault> {
        let Some(Letter::Command(command)) = letter else { return Ok(false) };
        let Some(signed) = self.roster_of(reader, command.group)? else {
            return Ok(self.awaits_groups());
        };
        let roster = signed.roster();
        let own = roster.owner == self.id;
        Ok(own && (self.awaits_rosters(roster) || self.is_too_fast(roster)))
    }

    /// A home asks for a change of a group of this home, and is told what came of it.
    fn carry_out(
        &mut self,
        reader: &dyn Reader,
        sealer: &Sealer<'_>,
        peer: HomeId,
        command: &Command,
    ) -> Result<(), Fault> {
        let Command { group, op, ref user, ref change } = *command;
        let by = UserRef::new(peer, user.clone());
        let own = self.id;
        let mine = self
            .channel(reader, group)?
            .and_then(|state| state.group.as_ref())
            .is_some_and(|of| of.owner == own);
        let result = if mine {
            self.change_group(reader, sealer, group, &by, change)
        } else if let Change::Join { link: Some(_) } = change {
            Err(NO_LINK.into())
        } else {
            Err(NO_CHANNEL.into())
        };
        let word = |reason: &'static str| reason.to_owned();
        let outcome = match result {
            Ok(changed) => Outcome {
                group,
                op,
                refused: None,
                users: changed.users.into_iter().map(|(u, r)| (u, r.map(word))).collect(),
                version: changed.version,
            },
            Err(Failure::Refused(refusal)) => {
                let refused = Some(word(refusal.reason));
                Outcome { group, op, refused, users: Vec::new(), version: 0 }
            }
            Err(Failure::Fault(fault)) => return Err(fault),
        };
        // Where too much waits for it already, it has stopped listening.
        let _not_told = self.post(peer, &Letter::Outcome(outcome));
        Ok(())
    }

    /// Another home has all letters up to that number.
    pub fn letters_taken(&mut self, peer: HomeId, upto: u64) -> Result<(), PeerFault> {
        let Some(waiting) = self.letters.get_mut(&peer) else { return Ok(()) };
        let rest = waiting.split_off(&(upto + 1));
        let taken = std::mem::replace(waiting, rest);
        if waiting.is_empty() {
            self.letters.remove(&peer);
        }
        for number in taken.into_keys() {
            self.write(Write::LetterGone { peer, number });
        }
        Ok(())
    }

    /// Notes a letter, to go when the peer can be reached.
    pub(crate) fn post(&mut self, peer: HomeId, letter: &Letter) -> Result<(), Refusal> {
        let encoded = letter.encode();
        if encoded.len() > LETTER_BYTES {
            return Err(Refusal::new(Class::Limit, "too_much", "ask for less at once")
                .with_limit(LETTER_BYTES as u64));
        }
        let waiting = self.letters.entry(peer).or_default();
        if waiting.len() >= LETTERS {
            return Err(Refusal::new(
                Class::Limit,
                "home_unreachable",
                "too much waits for that group's home already: try again when it is back",
            )
            .with_limit(LETTERS as u64));
        }
        let last = waiting.keys().next_back().copied().unwrap_or(0);
        let number = self.peers.get(&peer).map_or(0, |known| known.letters).max(last) + 1;
        let after = last;
        let letter = encoded;
        waiting.insert(number, letter.clone());
        if let Some(known) = self.peers.get(&peer).cloned() {
            // Kept beside the letters: the last may be taken, and its number must not come again.
            self.put_peer(PeerState { letters: number, ..known });
        }
        self.write(Write::Letter { peer, number, letter: letter.clone() });
        if !self.asked_first(&peer) {
            self.follows(Effect::Letter { peer, number, after, letter });
        }
        Ok(())
    }
}
