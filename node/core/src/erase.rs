//! What a deletion for everybody takes from the disk: the body of the message, and those of its edits.

use homing_wire::{ChannelId, Kind};

use crate::fold::Fold;
use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::state::{LogEntry, MessageKey};
use crate::write::Write;

/// Events looked at where a deletion or an edit comes whose message is not here: each that comes costs so many reads, and
/// another home may send as many as it likes.
const STRAYS: usize = 256;

impl Home {
    /// A message is deleted for everybody, and its body and those of its edits are to go from the disk; or it is so no longer,
    /// and what is still there of them stays.
    pub(crate) fn erase(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        key: MessageKey,
        gone: bool,
    ) -> Result<(), Fault> {
        let message = self.message_of(reader, id, key)?;
        let changes = self.changes_of(reader, id, key, Fold::EVENTS)?;
        for entry in message.iter().chain(&changes) {
            self.erase_entry(entry, gone);
        }
        Ok(())
    }

    pub(crate) fn erase_entry(&mut self, entry: &LogEntry, gone: bool) {
        let event = &entry.event;
        if event.body.is_empty() || !event.header.kind.may_be_erased() {
            return;
        }
        let since = gone.then_some(self.now_ms);
        self.write(Write::Erase { channel: entry.channel(), pos: entry.pos, since });
    }

    /// A change of a message has come that is not here, nor may ever be: one from before this home was in the group. What its
    /// edits say goes all the same once it is deleted.
    pub(crate) fn erase_strays(
        &mut self,
        reader: &dyn Reader,
        id: ChannelId,
        key: MessageKey,
        event: &LogEntry,
    ) -> Result<(), Fault> {
        let deletes = |home: &Self, entry: &LogEntry| {
            entry.event.header.kind == Kind::Delete && !entry.hidden && home.counts(id, entry)
        };
        let kind = event.event.header.kind;
        if kind != Kind::Edit && !deletes(self, event) {
            return Ok(());
        }
        let changes = self.changes_of(reader, id, key, STRAYS)?;
        let mut others = changes.iter().filter(|entry| entry.pos != event.pos);
        let was_deleted = others.any(|entry| deletes(self, entry));
        if kind == Kind::Edit && was_deleted {
            self.erase_entry(event, true);
        } else if kind != Kind::Edit && !was_deleted {
            changes.iter().for_each(|entry| self.erase_entry(entry, true));
        }
        Ok(())
    }
}
