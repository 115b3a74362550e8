//! Bounds of a wait that keep their share of the waits under them, whatever the model gets
//! wrong: conformal quantiles of the scores of past estimates, whose level follows what was
//! missed (Gibbs and Candès 2021, adaptive conformal inference).

use std::collections::VecDeque;

/// How many scores are kept.
const WINDOW: usize = 2_000;
/// Fewer scores say nothing yet.
const SCORES_MIN: usize = 30;
/// How fast the level follows.
const STEP: f64 = 0.003;
/// The level stays within this and its complement.
const LEVEL_MIN: f64 = 0.002;

/// An upper or lower bound that learns.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// Share of the waits that shall be above the bound.
    target: f64,
    level: f64,
    sorted: Vec<f64>,
    order: VecDeque<f64>,
}

impl Bound {
    /// A bound that `above` of the waits, 0 to 1, shall pass.
    pub(super) fn new(above: f64) -> Bound {
        Bound {
            target: above,
            level: above,
            sorted: Vec::new(),
            order: VecDeque::new(),
        }
    }

    /// The bound for the quantile `raw` of a simulation. `slack` is added to both sides of a
    /// score, so that short waits do not weigh more. All in seconds.
    pub(super) fn of(&self, raw: f64, slack: f64) -> f64 {
        self.scale()
            .map_or(raw, |scale| (scale * (raw + slack) - slack).max(0.0))
    }

    /// The score that the wanted share of past waits did not pass.
    fn scale(&self) -> Option<f64> {
        let count = self.sorted.len();
        if count < SCORES_MIN {
            return None;
        }
        #[allow(clippy::cast_precision_loss)] // a window is small
        let rank = ((1.0 - self.level) * (count + 1) as f64).ceil();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at least 0
        let place = (rank.max(1.0) as usize - 1).min(count - 1);
        self.sorted.get(place).copied()
    }

    /// A wait turned out so, of which the simulation had said `raw`, and we `bound`.
    pub(super) fn learn(&mut self, (raw, slack, bound): (f64, f64, f64), wait: f64) {
        let missed = f64::from(u8::from(wait > bound));
        self.level = (self.level + STEP * (self.target - missed)).clamp(LEVEL_MIN, 1.0 - LEVEL_MIN);
        let score = (wait + slack) / (raw + slack);
        let place = self.sorted.partition_point(|s| *s < score);
        self.sorted.insert(place, score);
        self.order.push_back(score);
        if self.order.len() > WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            let place = self.sorted.partition_point(|s| *s < oldest);
            self.sorted.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_bound_of_a_model_that_is_wrong_comes_to_hold() {
        let mut rng = Rng::new(1);
        let (mut upper, mut lower) = (Bound::new(0.1), Bound::new(0.9));
        let (mut above, mut below, mut count) = (0, 0, 0);
        for n in 0..20_000 {
            // Waits are 1.5 to 4.5 times what the model says, later 0.5 to 1.5 times.
            let factor = if n < 10_000 { 3.0 } else { 1.0 };
            let raw = 60.0 + 600.0 * rng.unit();
            let wait = raw * factor * (0.5 + rng.unit());
            let (up, low) = (upper.of(raw, 20.0), lower.of(raw, 20.0));
            if n % 10_000 > 3_000 {
                count += 1;
                above += u32::from(wait > up);
                below += u32::from(wait < low);
            }
            upper.learn((raw, 20.0, up), wait);
            lower.learn((raw, 20.0, low), wait);
        }
        let share = |n: u32| f64::from(n) / f64::from(count);
        assert!((share(above) - 0.1).abs() < 0.02, "{}", share(above));
        assert!((share(below) - 0.1).abs() < 0.02, "{}", share(below));
        assert_eq!(upper.sorted.len(), WINDOW);
        assert!(upper.sorted.is_sorted());
    }

    #[test]
    fn without_experience_the_model_is_believed() {
        let mut bound = Bound::new(0.1);
        assert!((bound.of(70.0, 20.0) - 70.0).abs() < f64::EPSILON);
        for _ in 0..SCORES_MIN {
            let told = bound.of(70.0, 20.0);
            bound.learn((70.0, 20.0, told), 160.0);
        }
        assert!((bound.of(70.0, 20.0) - 160.0).abs() < 1e-9);
    }
}
