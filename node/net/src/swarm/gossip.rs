//! Gossip of admitted homes. Who is admitted, and what may be taken, is `gate.rs`.

use libp2p::gossipsub::Event;

use super::Net;
use crate::event::NetEvent;
use crate::gate::Gate;
use crate::gossip::{GossipId, TopicName, Verdict};

impl Net {
    pub(super) fn gate(&mut self) -> &mut Gate {
        &mut self.swarm.behaviour_mut().gossip
    }

    pub(super) fn on_gossip(&mut self, event: Event) {
        match event {
            Event::Message { propagation_source: from, message_id: id, message } => {
                let message_id = GossipId { id, from };
                let brought_by = self.gate().home(&from);
                let (Some(from), Some(topic)) = (brought_by, TopicName::parse(&message.topic))
                else {
                    // The door was shut while it was on its way: nobody answers for it.
                    return self.judge(&message_id, Verdict::Ignore);
                };
                let payload = message.data.into();
                self.emit(NetEvent::Gossip { from, topic, payload, message: message_id });
            }
            Event::SlowPeer { peer_id, failed_messages } => {
                let failed = failed_messages.priority + failed_messages.non_priority;
                self.counters.gossip_slow(failed);
                let home = self.gate().home(&peer_id);
                tracing::debug!(?home, ?failed_messages, "a peer is too slow for gossip");
            }
            // Doors open only where gossip is spoken, and who has joined what is asked for when it matters.
            Event::GossipsubNotSupported { .. }
            | Event::Subscribed { .. }
            | Event::Unsubscribed { .. } => {}
        }
    }

    pub(super) fn judge(&mut self, message: &GossipId, verdict: Verdict) {
        self.gate().judge(message, verdict);
        if verdict == Verdict::Reject {
            let home = self.gate().home(&message.from);
            tracing::info!(?home, %message, "a home passed on a gossip message that no honest home would");
        }
    }
}
