//! How promises were kept: every first call is held against what its customer was told.

use std::collections::{BTreeMap, VecDeque};

use helpline_core::ivr::measure::Spread;
use helpline_core::queue::ewt::{Forecast, Kept, Promise};
use helpline_core::time::Wall;

/// Upper bounds of the histograms of how far an estimate was off, in seconds.
pub const ERROR_BOUNDS: &[f64] = &[30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 3_600.0, 14_400.0];
/// First calls that coverage and width are told of.
const RECENT: usize = 500;
/// Fewer tell nothing.
const RECENT_MIN: usize = 20;

/// The record of one queue since the daemon started.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// How far waits were off the median, by whether the call came earlier or later.
    pub error: BTreeMap<&'static str, Spread>,
    /// First calls by how the promise was kept: `yes` `early` `late`.
    pub kept: BTreeMap<&'static str, u64>,
    /// Promises that were corrected by a mail.
    pub corrections: u64,
    recent: VecDeque<Recent>,
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    is_covered: bool,
    wait: f64,
    promised: f64,
}

impl Record {
    /// A request that was accepted at `asked` is called for the first time.
    pub(super) fn first_call(
        &mut self,
        promise: Option<&Promise>,
        forecast: Option<&Forecast>,
        asked: Wall,
        now: Wall,
    ) -> Option<Kept> {
        let kept = promise.and_then(|promise| promise.kept(now));
        if let Some(kept) = kept {
            *self.kept.entry(kept.word()).or_default() += 1;
        }
        if let Some(forecast) = forecast {
            let wait = now.since(asked).as_secs_f64();
            let error = wait - forecast.p50;
            let side = if error < 0.0 { "early" } else { "late" };
            let spread = self.error.entry(side).or_default();
            spread.add(ERROR_BOUNDS, error.abs());
            self.recent.push_back(Recent {
                is_covered: wait <= forecast.p90,
                wait,
                promised: forecast.p90,
            });
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        kept
    }

    /// Of the last first calls, the share that came by the upper bound.
    #[must_use]
    pub fn coverage(&self) -> Option<f64> {
        let covered = self.recent.iter().filter(|r| r.is_covered).count();
        self.is_told()
            .then(|| count(covered) / count(self.recent.len()))
    }

    /// Mean upper bound over mean wait of the last first calls.
    #[must_use]
    pub fn width_ratio(&self) -> Option<f64> {
        let waited: f64 = self.recent.iter().map(|r| r.wait).sum();
        let promised: f64 = self.recent.iter().map(|r| r.promised).sum();
        (self.is_told() && waited > 0.0).then(|| promised / waited)
    }

    fn is_told(&self) -> bool {
        self.recent.len() >= RECENT_MIN
    }
}

#[allow(clippy::cast_precision_loss)] // few
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn first_calls_are_held_against_what_was_told() {
        let asked = Wall::from_millis(1_795_435_200_000);
        let after = |seconds| asked + Duration::from_secs(seconds);
        let mut promise = Promise::booked(after(600), "UTC");
        promise.to = after(1_200);
        let mut forecast = Forecast::default();
        (forecast.p50, forecast.p90) = (900.0, 1_200.0);
        let mut record = Record::default();
        let mut call =
            |seconds| record.first_call(Some(&promise), Some(&forecast), asked, after(seconds));
        assert_eq!(call(500), Some(Kept::Early));
        assert_eq!(call(1_300), Some(Kept::Late));
        for _ in 0..18 {
            assert_eq!(call(1_000), Some(Kept::Yes));
        }
        let kept: Vec<_> = record.kept.iter().map(|(word, n)| (*word, *n)).collect();
        assert_eq!(kept, [("early", 1), ("late", 1), ("yes", 18)]);
        assert_eq!(record.coverage(), Some(0.95));
        let ratio = record.width_ratio().unwrap();
        assert!((ratio - 1_200.0 / 990.0).abs() < 1e-9, "{ratio}");
        let nothing = Promise::none(asked, "UTC");
        assert_eq!(
            record.first_call(Some(&nothing), None, asked, after(1)),
            None
        );
        assert_eq!(record.kept.values().sum::<u64>(), 20);
    }
}
