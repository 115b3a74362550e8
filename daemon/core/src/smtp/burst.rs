//! Whether mail comes faster than one message at a time: whoever hands it over waits for the
//! commit, and reading what lies there already would take the processor from that.

use std::time::Duration;

use crate::time::Time;

/// So many messages on their way to the disk are a burst.
const AT_ONCE: usize = 4;
/// A burst is over when there was none for so long: between two commits nothing is on its way,
/// and while the database copies its log nothing arrives.
const PAUSE: Duration = Duration::from_millis(100);
/// Reading waits so long for bursts, which is given back by as much time without one.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Messages on their way to the disk.
#[derive(Debug, Default)]
pub struct Burst {
    under_way: usize,
    /// When a burst was seen last.
    seen: Option<Time>,
    /// How long reading has waited.
    waited: Duration,
}

impl Burst {
    /// A message sets out.
    pub fn begin(&mut self, now: Time) {
        self.under_way += 1;
        if self.under_way < AT_ONCE {
            return;
        }
        let rest = self.seen.map_or(WAIT_MAX, |seen| now.since(seen));
        self.waited = match rest < PAUSE {
            true => (self.waited + rest).min(WAIT_MAX),
            false => self.waited.saturating_sub(rest),
        };
        self.seen = Some(now);
    }

    /// It has arrived, or has not.
    pub fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Whether reading waits.
    #[must_use]
    pub fn holds(&self, now: Time) -> bool {
        let goes_on = self.seen.is_some_and(|seen| now.since(seen) < PAUSE);
        goes_on && self.waited < WAIT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn reading_waits_for_a_burst_and_not_for_ever() {
        let mut burst = Burst::default();
        for _ in 1..AT_ONCE {
            burst.begin(at(0));
        }
        assert!(!burst.holds(at(0)), "a few are no burst");
        burst.begin(at(1));
        assert!(burst.holds(at(1)) && burst.holds(at(100)));
        assert!(!burst.holds(at(101)), "it is over");
        // One that goes on: between two commits nothing is on its way, and now and then the disk
        // takes its time.
        let mut another = |ms| {
            burst.begin(at(ms));
            burst.end();
            burst.holds(at(ms))
        };
        for ms in (200..1_300)
            .step_by(10)
            .filter(|ms| !(500..550).contains(ms))
        {
            assert_eq!(another(ms), ms < 1_200, "{ms}");
        }
        // The rest gives the waiting back.
        for ms in (1_550..1_900).step_by(10) {
            assert_eq!(another(ms), ms < 1_810, "{ms}");
        }
        for _ in 0..AT_ONCE {
            burst.end();
        }
        burst.begin(at(5_000));
        assert!(!burst.holds(at(5_000)));
    }
}
