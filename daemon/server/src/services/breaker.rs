//! A host that fails again and again is left alone for a while.

use std::time::Duration;

/// So many failures in a row within [`WITHIN`] open it.
const FAILURES: u32 = 5;
const WITHIN: Duration = Duration::from_secs(30);
/// How long nobody asks.
const REST: Duration = Duration::from_secs(10);

/// The state of one host. Times are those of the caller's clock.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    first_at: Duration,
    open_until: Duration,
}

impl Breaker {
    pub(super) fn allows(&mut self, now: Duration) -> bool {
        now >= self.open_until
    }

    /// How a request went.
    pub(super) fn note(&mut self, is_good: bool, now: Duration) {
        if is_good {
            self.failures = 0;
            return;
        }
        if self.failures == 0 || now > self.first_at + WITHIN {
            (self.failures, self.first_at) = (0, now);
        }
        self.failures += 1;
        if self.failures >= FAILURES {
            (self.failures, self.open_until) = (0, now + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn five_failures_in_half_a_minute_give_ten_seconds_of_rest() {
        let mut breaker = Breaker::default();
        for at in 0..4 {
            breaker.note(false, s(at));
        }
        assert!(breaker.allows(s(4)));
        breaker.note(false, s(4));
        assert!(!breaker.allows(s(13)) && breaker.allows(s(14)));
    }

    #[test]
    fn a_good_answer_or_time_forgets_failures() {
        let mut breaker = Breaker::default();
        for at in 0..4 {
            breaker.note(false, s(at));
        }
        breaker.note(true, s(4));
        for at in [10, 20, 30, 41] {
            breaker.note(false, s(at));
        }
        assert!(breaker.allows(s(41)), "the first of them is too long ago");
    }
}
