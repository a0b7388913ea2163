//! How much a peer may bring.

use tokio::time::Instant;

/// What may be taken in a second, filled by time; it holds one second's worth.
#[derive(Debug)]
pub(super) struct Allowance {
    messages_per_s: f64,
    bytes_per_s: f64,
    messages: f64,
    bytes: f64,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(messages_per_s: u32, bytes_per_s: u32) -> Self {
        let (messages, bytes) = (f64::from(messages_per_s), f64::from(bytes_per_s));
        Self { messages_per_s: messages, bytes_per_s: bytes, messages, bytes, at: Instant::now() }
    }

    /// Takes one message of so many bytes; `false`: there is no room.
    pub(super) fn take(&mut self, now: Instant, bytes: usize) -> bool {
        let has_room = self.has_room(now);
        if has_room {
            self.spend(bytes);
        }
        has_room
    }

    /// Whether another message may come, however large: what it takes too much is missing afterwards.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.messages = (self.messages + passed * self.messages_per_s).min(self.messages_per_s);
        self.bytes = (self.bytes + passed * self.bytes_per_s).min(self.bytes_per_s);
        self.messages >= 1.0 && self.bytes > 0.0
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.messages -= 1.0;
        self.bytes -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(allowance: &mut Allowance, now: Instant, bytes: usize) -> usize {
        (0..1_000).take_while(|_| allowance.take(now, bytes)).count()
    }

    #[test]
    fn an_allowance_is_one_second_s_worth_of_messages_or_bytes() {
        let mut allowance = Allowance::new(100, 1_000);
        let start = allowance.at;
        assert_eq!(taken(&mut allowance, start, 1), 100);
        assert_eq!(taken(&mut allowance, start + Duration::from_millis(500), 1), 50);
        // 20 messages of 50 bytes are 1,000 bytes.
        let later = start + Duration::from_secs(60);
        assert_eq!(taken(&mut allowance, later, 50), 20);
        assert_eq!(taken(&mut allowance, later, 1), 0);
        // Whatever is taken too much has to be waited for.
        let mut allowance = Allowance::new(100, 1_000);
        assert!(allowance.take(allowance.at, 3_000));
        let at = allowance.at;
        assert!(!allowance.take(at + Duration::from_millis(1_900), 1));
        assert!(allowance.take(at + Duration::from_millis(2_100), 1));
    }
}
