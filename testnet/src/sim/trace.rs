//! What happened, as a number that only the same run has; and in words, where somebody wants to read it.

/// See the module.
pub(super) struct Trace {
    sum: u64,
    verbose: bool,
    /// Happenings.
    pub(super) count: u64,
}

impl Trace {
    pub(super) fn new(verbose: bool) -> Self {
        Self { sum: 0, verbose, count: 0 }
    }

    /// One happening at a time, in four numbers; `words` are made only where they are read.
    pub(super) fn note(&mut self, now: u64, what: [u64; 4], words: impl FnOnce() -> String) {
        self.count += 1;
        for number in [now].into_iter().chain(what) {
            // SplitMix64's finaliser (Steele, Lea and Flood, 2014) over what came before.
            let mut z = (self.sum ^ number).wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            self.sum = z ^ (z >> 31);
        }
        if self.verbose {
            eprintln!("{now:>7} {}", words());
        }
    }

    pub(super) fn sum(&self) -> u64 {
        self.sum
    }
}
