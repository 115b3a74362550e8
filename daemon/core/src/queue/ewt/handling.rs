//! How long calls take: a pool of past handling times (ring, talk and wrap-up), and how fast
//! each agent is against it. Times are seconds.

use std::collections::{BTreeMap, VecDeque};

use crate::rng::Rng;

/// Handling times that are kept. Fewer cost accuracy in steady queues.
const POOL: usize = 3_000;
/// How many new ones change what is drawn from.
const REFRESH: usize = 10;
/// Recent calls that are held against the rest, to see a drift.
const RECENT: [usize; 4] = [40, 80, 160, 320];
/// The least rest to hold them against.
const REST_MIN: usize = 40;
/// Standard errors between the two that are no accident.
const DRIFT: f64 = 3.0;
/// What a configured mean stands for until enough calls have ended, as shares of it.
const COLD: [f64; 6] = [0.2, 0.4, 0.6, 0.9, 1.4, 2.5];
/// Finished calls after which the configured mean is forgotten.
const CALLS_MIN: usize = 30;
/// What an agent's past call weighs after one more.
const AGENT_DECAY: f64 = 0.995;
/// How few longer values of the pool make a residual time a guess.
const TAIL: usize = 3;
/// Mean of that guess, as a share of the mean handling time.
const TAIL_MEAN: f64 = 0.3;

/// Decayed sums of one agent's calls.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// Handling times as shares of the pool's mean.
    sum: f64,
    calls: f64,
}

/// Handling times, and who takes how long.
#[derive(Clone, Debug)]
pub(super) struct Handling {
    /// Normalised by the agent's speed, in the order they ended.
    recent: VecDeque<f64>,
    finished: usize,
    fresh: usize,
    sorted: Vec<f64>,
    mean: f64,
    /// Squared coefficient of variation.
    spread: f64,
    paces: BTreeMap<String, Pace>,
    speeds: BTreeMap<String, f64>,
}

impl Handling {
    /// Before any call: a mean handling time that somebody configured.
    pub(super) fn new(configured: f64) -> Handling {
        let mut handling = Handling {
            recent: COLD.iter().map(|share| share * configured).collect(),
            finished: 0,
            fresh: 0,
            sorted: Vec::new(),
            mean: configured,
            spread: 0.0,
            paces: BTreeMap::new(),
            speeds: BTreeMap::new(),
        };
        handling.refresh();
        handling
    }

    /// Mean handling time of an agent of speed 1.
    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// Whether enough calls have ended to forget what was configured.
    pub(super) fn is_learnt(&self) -> bool {
        self.finished >= CALLS_MIN
    }

    /// How long this agent takes, as a share of the mean.
    pub(super) fn speed(&self, agent: &str) -> f64 {
        self.speeds.get(agent).copied().unwrap_or(1.0)
    }

    /// A call of this agent has ended after so long.
    pub(super) fn learn(&mut self, agent: &str, took: f64) {
        let pace = self.paces.entry(agent.to_owned()).or_default();
        pace.sum = pace.sum * AGENT_DECAY + took / self.mean;
        pace.calls = pace.calls * AGENT_DECAY + 1.0;
        self.recent.push_back(took / self.speed(agent));
        self.finished += 1;
        if self.finished == CALLS_MIN {
            // What was configured has served.
            self.recent.drain(..COLD.len().min(self.recent.len()));
        }
        if self.recent.len() > POOL {
            self.recent.pop_front();
        }
        self.fresh += 1;
        if self.fresh >= REFRESH {
            self.fresh = 0;
            self.forget_before_drift();
            self.refresh();
            self.compare_agents();
        }
    }

    /// Recent calls that differ from the rest are all that counts from now on.
    fn forget_before_drift(&mut self) {
        let times: Vec<f64> = self.recent.iter().copied().collect();
        for recent in RECENT {
            let Some(rest) = times.len().checked_sub(recent).filter(|r| *r >= REST_MIN) else {
                continue;
            };
            let (old, new) = times.split_at(rest);
            let ((old_mean, old_var), (new_mean, new_var)) = (moments(old), moments(new));
            let variance = old_var.max(new_var.min(4.0 * old_var));
            let error = (variance * (1.0 / count(new) + 1.0 / count(old))).sqrt();
            if (new_mean - old_mean).abs() > DRIFT * error {
                self.recent.drain(..rest);
                return;
            }
        }
    }

    fn refresh(&mut self) {
        self.sorted = self.recent.iter().copied().collect();
        self.sorted.sort_unstable_by(f64::total_cmp);
        let (mean, variance) = moments(&self.sorted);
        self.mean = mean.max(1.0);
        self.spread = variance / (self.mean * self.mean);
    }

    /// Means of agents, shrunk towards 1 by how much of their difference is chance (the
    /// estimator of DerSimonian and Laird 1986).
    fn compare_agents(&mut self) {
        let calls: f64 = self.paces.values().map(|p| p.calls).sum();
        let sum: f64 = self.paces.values().map(|p| p.sum).sum();
        self.speeds.clear();
        if self.finished < CALLS_MIN || sum <= 0.0 || self.paces.len() < 2 {
            return;
        }
        let all = sum / calls;
        let mean_of = |p: &Pace| p.sum / p.calls / all;
        let between: f64 = self
            .paces
            .values()
            .map(|p| p.calls * (mean_of(p) - 1.0).powi(2))
            .sum();
        let squares: f64 = self.paces.values().map(|p| p.calls * p.calls).sum();
        #[allow(clippy::cast_precision_loss)] // agents are few
        let agents = self.paces.len() as f64;
        let chance = (agents - 1.0) * self.spread;
        let true_spread = (between - chance) / (calls - squares / calls);
        if true_spread <= 0.0 || !true_spread.is_finite() {
            return;
        }
        let pull = self.spread / true_spread;
        let speed = |p: &Pace| (p.calls * mean_of(p) + pull) / (p.calls + pull);
        self.speeds = self
            .paces
            .iter()
            .map(|(agent, p)| (agent.clone(), speed(p)))
            .collect();
    }

    /// A handling time, for an agent of speed 1.
    pub(super) fn draw(&self, rng: &mut Rng) -> f64 {
        pick(&self.sorted, rng).unwrap_or(self.mean)
    }

    /// How much longer a call lasts that has lasted `elapsed`, for an agent of speed 1.
    pub(super) fn residual(&self, elapsed: f64, rng: &mut Rng) -> f64 {
        let longer = self.sorted.partition_point(|time| *time <= elapsed);
        match self.sorted.get(longer..) {
            Some(longer) if longer.len() > TAIL => pick(longer, rng).unwrap_or(elapsed) - elapsed,
            _ => TAIL_MEAN * self.mean * -(1.0 - rng.unit()).ln(),
        }
    }
}

impl Handling {
    /// How sure it is that a call that has lasted `elapsed` is over within `more`, for an agent
    /// of speed 1: by the share of longer calls that were.
    pub(super) fn over_within(&self, elapsed: f64, more: f64) -> f64 {
        let longer = self.sorted.partition_point(|time| *time <= elapsed);
        let over = self.sorted.partition_point(|time| *time <= elapsed + more);
        match self.sorted.get(longer..) {
            Some(rest) if rest.len() > TAIL => {
                count(self.sorted.get(longer..over).unwrap_or(&[])) / count(rest)
            }
            _ => 1.0 - (-more / (TAIL_MEAN * self.mean)).exp(),
        }
    }
}

/// One of them, each as likely.
pub(super) fn pick(values: &[f64], rng: &mut Rng) -> Option<f64> {
    let place = rng.below(u64::try_from(values.len()).ok()?);
    values.get(usize::try_from(place).ok()?).copied()
}

/// Mean and variance; zeros of nothing.
fn moments(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / count(values);
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, squares / count(values))
}

#[allow(clippy::cast_precision_loss)] // pools are small
fn count(values: &[f64]) -> f64 {
    values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(handling: &mut Handling, rng: &mut Rng, calls: usize, mean: f64, pace: &[f64]) {
        for n in 0..calls {
            let agent = n % pace.len();
            let took = mean * pace[agent] * -(1.0 - rng.unit()).ln();
            handling.learn(&agent.to_string(), took);
        }
    }

    #[test]
    fn a_configured_mean_serves_until_calls_have_ended() {
        let mut rng = Rng::new(3);
        let mut handling = Handling::new(300.0);
        assert!((handling.mean() - 300.0).abs() < 1.0, "{}", handling.mean());
        ended(&mut handling, &mut rng, 2_000, 100.0, &[1.0; 4]);
        assert!(
            (handling.mean() - 100.0).abs() < 10.0,
            "{}",
            handling.mean()
        );
    }

    #[test]
    fn calls_that_became_longer_are_all_that_counts() {
        let mut rng = Rng::new(4);
        let mut handling = Handling::new(300.0);
        ended(&mut handling, &mut rng, 2_000, 300.0, &[1.0; 8]);
        ended(&mut handling, &mut rng, 200, 600.0, &[1.0; 8]);
        assert!(handling.mean() > 480.0, "{}", handling.mean());
    }

    #[test]
    fn an_agents_pace_is_told_from_chance() {
        let mut rng = Rng::new(5);
        let mut handling = Handling::new(300.0);
        ended(&mut handling, &mut rng, 3_000, 300.0, &[0.6, 1.0, 1.4]);
        let speeds = ["0", "1", "2"].map(|agent| handling.speed(agent));
        for (speed, real) in speeds.into_iter().zip([0.6, 1.0, 1.4]) {
            assert!((speed - real).abs() < 0.15, "{speeds:?}");
        }
        assert!((handling.speed("nobody") - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_left_of_a_call_is_never_negative() {
        let mut rng = Rng::new(6);
        let handling = Handling::new(300.0);
        for elapsed in [0.0, 100.0, 740.0, 1e9] {
            let left = handling.residual(elapsed, &mut rng);
            assert!(left >= 0.0 && left.is_finite(), "{elapsed}: {left}");
        }
    }
}
