//! A token bucket: so many in the long run, so many at once after a pause.

/// Thousandths of a token, so that slow rates fill it too.
const WHOLE: u64 = 1_000;

/// What a user may still send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    thousandths: u64,
    at_ms: u64,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(burst: u32, now_ms: u64) -> Self {
        Self { thousandths: u64::from(burst) * WHOLE, at_ms: now_ms }
    }

    /// Takes one, or says in how many milliseconds there will be one.
    pub(super) fn take(&mut self, per_s: u32, burst: u32, now_ms: u64) -> Result<(), u64> {
        self.take_many(1, per_s, burst, now_ms)
    }

    /// Takes so many together, or none; there are never more than `burst`.
    pub(super) fn take_many(
        &mut self,
        many: u32,
        per_s: u32,
        burst: u32,
        now_ms: u64,
    ) -> Result<(), u64> {
        self.fill(per_s, burst, now_ms);
        let wanted = u64::from(many) * WHOLE;
        match self.thousandths.checked_sub(wanted) {
            Some(rest) => {
                self.thousandths = rest;
                Ok(())
            }
            None => Err((wanted - self.thousandths).div_ceil(u64::from(per_s).max(1))),
        }
    }

    /// Whether it can be forgotten: a new one would be the same.
    pub(super) fn is_full(&mut self, per_s: u32, burst: u32, now_ms: u64) -> bool {
        self.fill(per_s, burst, now_ms);
        self.thousandths == u64::from(burst) * WHOLE
    }

    fn fill(&mut self, per_s: u32, burst: u32, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        // A clock that was put back fills nothing, and is not waited for either.
        self.at_ms = now_ms;
        // A token a second is a thousandth a millisecond.
        let more = passed_ms.saturating_mul(u64::from(per_s));
        self.thousandths = (self.thousandths.saturating_add(more)).min(u64::from(burst) * WHOLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::full(3, 0);
        for _ in 0..3 {
            assert_eq!(bucket.take(2, 3, 0), Ok(()));
        }
        assert_eq!(bucket.take(2, 3, 0), Err(500));
        assert_eq!(bucket.take(2, 3, 500), Ok(()));
        assert_eq!(bucket.take(2, 3, 500), Err(500));
        assert!(bucket.is_full(2, 3, 2_000));
        assert_eq!(bucket.take_many(4, 2, 3, 2_000), Err(500));
        assert_eq!(bucket.take_many(3, 2, 3, 2_000), Ok(()));
        assert_eq!(bucket.take_many(2, 2, 3, 2_500), Err(500));
        assert!(bucket.is_full(2, 3, 4_500));
        // A clock that is put back gives nothing by itself, and what it showed before is not waited for.
        for _ in 0..3 {
            assert_eq!(bucket.take(2, 3, 0), Ok(()));
        }
        assert_eq!(bucket.take(2, 3, 0), Err(500));
        assert_eq!(bucket.take(2, 3, 500), Ok(()));
    }
}
