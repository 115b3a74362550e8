//! Whether mail comes faster than one message at a time: whoever hands it over waits for the
//! commit, and reading what lies there already would take the processor from that.

use std::sync::Mutex;
use std::time::Duration;

use helpline_core::time::Time;

use super::locked;

/// So many messages on their way to the disk are a burst.
const AT_ONCE: usize = 4;
/// A burst is over when there was none for so long: between two commits nothing is on its way.
const PAUSE: Duration = Duration::from_millis(20);
/// Reading waits so long for bursts, which is given back by as much time without one.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Messages on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct Burst(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    /// When a burst was seen last.
    seen: Option<Time>,
    /// How long reading has waited.
    waited: Duration,
}

impl Burst {
    /// A message sets out; it has arrived, or has not, when this is dropped.
    pub(super) fn begin(&self, now: Time) -> UnderWay<'_> {
        let mut state = locked(&self.0);
        state.under_way += 1;
        if state.under_way >= AT_ONCE {
            let rest = state.seen.map_or(WAIT_MAX, |seen| now.since(seen));
            state.waited = match rest < PAUSE {
                true => (state.waited + rest).min(WAIT_MAX),
                false => state.waited.saturating_sub(rest),
            };
            state.seen = Some(now);
        }
        UnderWay(self)
    }

    /// Whether reading waits.
    pub(super) fn holds(&self, now: Time) -> bool {
        let state = locked(&self.0);
        let goes_on = state.seen.is_some_and(|seen| now.since(seen) < PAUSE);
        goes_on && state.waited < WAIT_MAX
    }
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct UnderWay<'a>(&'a Burst);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        locked(&self.0.0).under_way -= 1;
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
        let burst = Burst::default();
        let mut all: Vec<_> = (1..AT_ONCE).map(|_| burst.begin(at(0))).collect();
        assert!(!burst.holds(at(0)), "a few are no burst");
        all.push(burst.begin(at(1)));
        assert!(burst.holds(at(1)) && burst.holds(at(20)));
        assert!(!burst.holds(at(21)), "it is over");
        // One that goes on: between two commits nothing is on its way, and now and then the disk
        // takes its time.
        for ms in (30..1_100)
            .step_by(10)
            .filter(|ms| *ms != 500 && *ms != 510)
        {
            let _next = burst.begin(at(ms));
            assert_eq!(burst.holds(at(ms)), ms < 1_090, "{ms}");
        }
        // The rest gives the waiting back.
        let _next = burst.begin(at(1_350));
        for ms in (1_350..1_700).step_by(10) {
            let _next = burst.begin(at(ms));
            assert_eq!(burst.holds(at(ms)), ms < 1_610, "{ms}");
        }
        drop(all);
        let _last = burst.begin(at(5_000));
        assert!(!burst.holds(at(5_000)));
    }
}
