//! What a receiver may see of one sender: every answered message, once, in the order sent.

/// Watches the messages of one sender, who numbers them 0, 1, 2 …
#[derive(Clone, Debug, Default)]
pub struct Checker {
    /// One bit a number.
    seen: Vec<u64>,
    distinct: u64,
    highest: Option<u64>,
    last_order: String,
    doubled: u64,
    disordered: u64,
}

/// What was wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    /// Answered, and never seen.
    pub lost: u64,
    /// Seen again.
    pub doubled: u64,
    /// Seen behind a later one, by number or by `order`, or never sent at all.
    pub disordered: u64,
}

impl Checker {
    /// A message has come.
    pub fn saw(&mut self, number: u64, order: &str) {
        let (word, bit) = place(number);
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.doubled += 1;
            return;
        }
        self.seen[word] |= bit;
        self.distinct += 1;
        let late = self.highest.is_some_and(|highest| number < highest);
        // `order` sorts bytewise.
        let misplaced = !self.last_order.is_empty() && order <= self.last_order.as_str();
        if late || misplaced {
            self.disordered += 1;
        }
        self.highest = self.highest.max(Some(number));
        self.last_order.clear();
        self.last_order.push_str(order);
    }

    /// How many different ones have come.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    /// The verdict, when the numbers below `sent` were sent and all but `refused` of them answered.
    pub fn verdict(&self, sent: u64, refused: &[u64]) -> Verdict {
        let seen = |number: u64| {
            let (word, bit) = place(number);
            self.seen.get(word).is_some_and(|w| w & bit != 0)
        };
        let lost = (0..sent).filter(|n| !seen(*n) && !refused.contains(n)).count() as u64;
        let known = (0..sent).filter(|n| seen(*n)).count() as u64;
        let never_sent = self.distinct - known;
        Verdict { lost, doubled: self.doubled, disordered: self.disordered + never_sent }
    }
}

impl Verdict {
    /// Nothing was wrong.
    pub fn is_good(&self) -> bool {
        *self == Self::default()
    }

    /// Of both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            disordered: self.disordered + other.disordered,
        }
    }
}

fn place(number: u64) -> (usize, u64) {
    // A number that fits no memory fits no message either: the text has ten digits.
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(numbers: &[u64]) -> Checker {
        let mut checker = Checker::default();
        for (at, number) in numbers.iter().enumerate() {
            checker.saw(*number, &format!("{at:04}"));
        }
        checker
    }

    #[test]
    fn all_once_in_order_is_good() {
        assert!(seen(&(0..200).collect::<Vec<_>>()).verdict(200, &[]).is_good());
        assert!(seen(&[]).verdict(0, &[]).is_good());
        assert!(seen(&[0, 2]).verdict(3, &[1]).is_good(), "a refused one need not come");
        assert!(seen(&[0, 1, 2]).verdict(3, &[1]).is_good(), "but may: its answer was lost");
    }

    // The canaries: what the bench exists to catch.

    #[test]
    fn a_lost_message_is_caught() {
        assert_eq!(seen(&[0, 1, 3]).verdict(4, &[]).lost, 1);
        assert_eq!(seen(&[0, 1]).verdict(4, &[]).lost, 2);
    }

    #[test]
    fn a_doubled_message_is_caught() {
        assert_eq!(seen(&[0, 1, 1, 2, 0]).verdict(3, &[]).doubled, 2);
    }

    #[test]
    fn a_disordered_message_is_caught() {
        assert_eq!(seen(&[0, 2, 1, 3]).verdict(4, &[]).disordered, 1);
        let mut by_order = Checker::default();
        by_order.saw(0, "b");
        by_order.saw(1, "a");
        assert_eq!(by_order.verdict(2, &[]).disordered, 1);
        let mut same_order = Checker::default();
        same_order.saw(0, "a");
        same_order.saw(1, "a");
        assert_eq!(same_order.verdict(2, &[]).disordered, 1);
    }

    #[test]
    fn a_message_nobody_sent_is_caught() {
        assert_eq!(
            seen(&[0, 1, 7]).verdict(2, &[]),
            Verdict { lost: 0, doubled: 0, disordered: 1 }
        );
    }
}
