//! A disk that is lost, and what may be lost with it.

use homing_core::Target;
use homing_wire::UserRef;

use super::World;

impl World {
    /// A home's disk is lost: it goes on from its backup, in a new life, and asks everybody. Its clients give up
    /// what they were not answered.
    pub(super) fn restore(&mut self, home: usize) {
        let member = &mut self.members[home];
        let backup = member.backup.clone();
        member.node.restore(backup);
        member.restored = true;
        member.told.clear();
        for (which, (of, _)) in self.commands.iter().enumerate() {
            if *of == home {
                self.past.insert(which);
            }
        }
        // What had reached no other disk is lost with this one; everything else must be there in the end.
        let lost: Vec<usize> =
            self.answers.keys().filter(|which| !self.is_anywhere(**which)).copied().collect();
        for which in lost {
            self.answers.remove(&which);
            self.past.insert(which);
        }
        self.starts(home);
    }

    /// Whether a message is on the disk of a home of its channel.
    fn is_anywhere(&self, which: usize) -> bool {
        let (home, command) = &self.commands[which];
        let answer = &self.answers[&which];
        let Target::To(with) = &command.target else { unreachable!("only these are made") };
        let sender = UserRef::new(self.members[*home].node.id, command.sender.clone());
        [*home, self.at(with.home)].iter().any(|at| {
            let log = self.members[*at].node.store.logs.get(&answer.channel);
            log.into_iter().flat_map(|log| log.values()).any(|entry| {
                let header = &entry.event.header;
                header.user() == sender && header.id == answer.id
            })
        })
    }
}
