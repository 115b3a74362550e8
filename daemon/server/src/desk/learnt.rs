//! What the last calls taught about a queue, for the estimate.

use std::collections::VecDeque;
use std::time::Duration;

/// Calls remembered.
const CALLS_MAX: usize = 200;
/// Fewer than this teach nothing: the configured length holds.
const CALLS_MIN: usize = 30;

/// Lengths of the last answered calls, and how many requests gave up.
#[derive(Clone, Debug, Default)]
pub(super) struct Learnt {
    lengths: VecDeque<Duration>,
    gave_up: u32,
    waits: u32,
    waited: Duration,
}

impl Learnt {
    /// A call that was answered has ended.
    pub(super) fn call(&mut self, length: Duration) {
        self.lengths.push_back(length);
        if self.lengths.len() > CALLS_MAX {
            self.lengths.pop_front();
        }
    }

    /// A wait ended: with a call, or because the customer gave up.
    pub(super) fn wait(&mut self, waited: Duration, gave_up: bool) {
        self.waits += 1;
        self.gave_up += u32::from(gave_up);
        self.waited += waited;
        if self.waits >= 2_000 {
            // Old waits fade, so that last month does not outvote today.
            self.waits /= 2;
            self.gave_up /= 2;
            self.waited /= 2;
        }
    }

    /// Mean length of a call, once enough are known.
    pub(super) fn mean(&self) -> Option<Duration> {
        let n = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX);
        (self.lengths.len() >= CALLS_MIN).then(|| self.lengths.iter().sum::<Duration>() / n)
    }

    /// Requests that give up per waiting second, once enough are known.
    pub(super) fn abandon_per_second(&self) -> f64 {
        let seconds = self.waited.as_secs_f64();
        if (self.waits as usize) < CALLS_MIN || seconds <= 0.0 {
            return 0.0;
        }
        f64::from(self.gave_up) / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_calls_teach_a_mean() {
        let mut learnt = Learnt::default();
        for _ in 0..29 {
            learnt.call(Duration::from_secs(60));
        }
        assert_eq!(learnt.mean(), None);
        learnt.call(Duration::from_secs(90));
        assert_eq!(learnt.mean(), Some(Duration::from_secs(61)));
        for _ in 0..CALLS_MAX {
            learnt.call(Duration::from_secs(10));
        }
        assert_eq!(learnt.mean(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn giving_up_is_a_rate_over_waiting_time() {
        let mut learnt = Learnt::default();
        for i in 0..40 {
            learnt.wait(Duration::from_secs(100), i % 4 == 0);
        }
        assert!((learnt.abandon_per_second() - 10.0 / 4_000.0).abs() < 1e-9);
    }
}
