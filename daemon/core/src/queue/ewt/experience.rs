//! What past calls and waits taught about a queue, and the estimate made of it. Times are
//! seconds.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::bound::Bound;
use super::handling::Handling;
use super::paths::{Doing, HORIZON, Scene, Server, Skills, Spread, Standing};
use crate::rng::Rng;

/// Lengths of breaks that are kept, and what stands for one before there are any.
const BREAKS: usize = 100;
const BREAK: f64 = 600.0;
/// Fewer breaks tell no rate.
const BREAKS_MIN: u32 = 4;
/// What a past attempt weighs after one more, and how many tell a share.
const ATTEMPT_DECAY: f64 = 0.998;
const ATTEMPTS_MIN: f64 = 50.0;
/// How long a telephone rings before any was seen to.
const RING: f64 = 30.0;
/// Slack of a bound: seconds, or this share of the mean handling time.
const SLACK: (f64, f64) = (20.0, 0.1);

/// The estimated wait of a request in seconds, kept until the wait is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Mean.
    pub mean: f64,
    /// Nine of ten wait longer.
    pub p10: f64,
    /// Half wait longer.
    pub p50: f64,
    /// One of ten waits longer.
    pub p90: f64,
    /// The same bounds as the simulation had them, and the slack of their scores.
    raw: (f64, f64, f64),
}

/// An agent, or a port of a flow that serves like one.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving<'a> {
    /// By whose name speed is known.
    pub name: &'a str,
    /// What he does now.
    pub doing: Doing,
    /// This shift and those to come, in order: begin and end.
    pub shifts: &'a [(f64, f64)],
    /// What he is able to.
    pub can: Skills,
}

/// A queue as it stands at one moment of a clock that does not step.
#[derive(Clone, Debug, Default)]
pub struct LiveLine<'a> {
    /// The moment.
    pub now: f64,
    /// All who serve it.
    pub serving: Vec<Serving<'a>>,
    /// All who stand in it or will come back into it, in order.
    pub standing: Vec<Standing>,
    /// When the desk closes, if it is open.
    pub closes: Option<f64>,
    /// What they need whose waits are asked for.
    pub needs: Skills,
}

impl LiveLine<'_> {
    /// How many stand in it at this moment.
    #[must_use]
    pub fn present(&self) -> usize {
        let present = |who: &&Standing| who.joins.is_none_or(|at| at <= self.now);
        self.standing.iter().filter(present).count()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Experience {
    handling: Handling,
    withdrawn: f64,
    waited: f64,
    breaks: u32,
    worked: f64,
    break_lengths: VecDeque<f64>,
    unanswered: f64,
    attempts: f64,
    ring: f64,
    ladder: Vec<f64>,
    upper: Bound,
    lower: Bound,
    paths: Option<usize>,
}

impl Experience {
    /// Knows nothing yet but a configured mean handling time.
    #[must_use]
    pub fn new(handling: f64) -> Experience {
        Experience {
            handling: Handling::new(handling),
            withdrawn: 0.0,
            waited: 0.0,
            breaks: 0,
            worked: 1.0,
            break_lengths: VecDeque::from([BREAK]),
            unanswered: 0.0,
            attempts: 0.0,
            ring: RING,
            ladder: Vec::new(),
            upper: Bound::new(0.1),
            lower: Bound::new(0.9),
            paths: None,
        }
    }

    /// Simulates so many futures an estimate; by itself it takes what time allows.
    #[must_use]
    pub fn with_paths(self, paths: usize) -> Experience {
        Experience {
            paths: Some(paths),
            ..self
        }
    }

    /// Whether enough calls have ended to name shares of customers.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.handling.is_learnt()
    }

    /// Mean handling time.
    #[must_use]
    pub fn mean_handling(&self) -> f64 {
        self.handling.mean()
    }

    /// Withdrawals a waiting second.
    #[must_use]
    pub fn leaving(&self) -> f64 {
        if self.waited > 0.0 {
            self.withdrawn / self.waited
        } else {
            0.0
        }
    }

    /// A call was answered, and kept its agent so long: ring, talk and wrap-up.
    pub fn handled(&mut self, agent: &str, took: f64) {
        self.attempted();
        self.worked += took;
        self.handling.learn(agent, took);
    }

    /// The `attempt`-th call of a request, from 1, was not answered; `again`: how much later
    /// the next one is made.
    pub fn unanswered(&mut self, attempt: u32, took: f64, again: Option<f64>) {
        self.attempted();
        self.unanswered += 1.0;
        self.ring = took;
        let Some(again) = again else {
            return;
        };
        let rung = usize::try_from(attempt)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        if rung == self.ladder.len() {
            self.ladder.push(again);
        } else if let Some(known) = self.ladder.get_mut(rung) {
            *known = again;
        }
    }

    fn attempted(&mut self) {
        self.attempts = self.attempts * ATTEMPT_DECAY + 1.0;
        self.unanswered *= ATTEMPT_DECAY;
    }

    /// A wait ended with the first call; `told` is what was expected of it.
    pub fn waited(&mut self, wait: f64, told: Option<&Forecast>) {
        self.waited += wait;
        if let Some(told) = told {
            let (low, high, slack) = told.raw;
            self.upper.learn((high, slack, told.p90), wait);
            self.lower.learn((low, slack, told.p10), wait);
        }
    }

    /// A wait ended before the first call, by the customer's will.
    pub fn withdrawn(&mut self, wait: f64) {
        self.withdrawn += 1.0;
        self.waited += wait;
    }

    /// A break of an agent is over.
    pub fn break_over(&mut self, length: f64) {
        self.breaks += 1;
        self.break_lengths.push_back(length);
        if self.break_lengths.len() > BREAKS {
            self.break_lengths.pop_front();
        }
        self.break_lengths.make_contiguous();
    }

    /// How sure it is that this agent's call, which has lasted `elapsed`, is over within `more`.
    #[must_use]
    pub fn over_within(&self, agent: &str, elapsed: f64, more: f64) -> f64 {
        let speed = self.handling.speed(agent);
        self.handling.over_within(elapsed / speed, more / speed)
    }

    /// The waits at places of a line; `marks`: how many stand before each, ascending. Places
    /// beyond its end are those of whoever comes next. `seed` decides what the simulation
    /// draws.
    #[must_use]
    pub fn outlook(&self, line: &LiveLine<'_>, marks: &[usize], seed: u64) -> Outlook {
        let mut standing = line.standing.clone();
        let beyond = marks.last().map_or(0, |last| last + 1);
        let missing = beyond.saturating_sub(line.present());
        standing.extend(std::iter::repeat_n(Standing::default(), missing));
        let scene = self.scene(line, &standing);
        let paths = self.paths.unwrap_or_else(|| scene.paths());
        let closes_in = line.closes.map_or(f64::INFINITY, |at| at - line.now);
        let spreads = scene.waits(marks, paths, closes_in, &mut Rng::new(seed));
        let places = spreads.into_iter().map(|s| self.place(&s)).collect();
        Outlook { places }
    }

    fn scene<'a>(&'a self, line: &'a LiveLine<'a>, standing: &'a [Standing]) -> Scene<'a> {
        let serving = line.serving.iter();
        Scene {
            now: line.now,
            servers: serving
                .map(|s| Server {
                    doing: s.doing,
                    speed: self.handling.speed(s.name),
                    shifts: s.shifts,
                    can: s.can,
                })
                .collect(),
            line: standing,
            needs: line.needs,
            handling: &self.handling,
            leaving: self.leaving(),
            breaks: (self.break_rate(), self.break_lengths.as_slices().0),
            unanswered: self.share_unanswered(),
            ring: self.ring,
            ladder: &self.ladder,
        }
    }

    fn place(&self, spread: &Spread) -> Place {
        let (seconds, share) = SLACK;
        let slack = f64::max(seconds, share * self.handling.mean());
        let (low, high) = (spread.q10, spread.q90);
        let forecast = Forecast {
            mean: spread.mean,
            p10: self.lower.of(low, slack).min(spread.q50),
            p50: spread.q50,
            p90: self.upper.of(high, slack).max(spread.q50),
            raw: (low, high, slack),
        };
        Place {
            ahead: spread.ahead,
            forecast,
            before_closing: spread.before_closing,
            after_closing: spread.after_closing,
        }
    }

    /// Breaks a worked second.
    fn break_rate(&self) -> f64 {
        if self.breaks >= BREAKS_MIN {
            f64::from(self.breaks) / self.worked
        } else {
            0.0
        }
    }

    /// Share of attempts that nobody answers.
    fn share_unanswered(&self) -> f64 {
        if self.attempts > ATTEMPTS_MIN {
            self.unanswered / self.attempts
        } else {
            0.0
        }
    }
}

/// What is expected at one place of the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// How many stand before it.
    ahead: usize,
    /// The wait.
    pub forecast: Forecast,
    /// Chance that it ends before the desk closes.
    pub before_closing: f64,
    /// Where nine of ten end that do not: from and to, in seconds from now.
    pub after_closing: (f64, f64),
}

/// What is expected all along a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    places: Vec<Place>,
}

impl Outlook {
    /// What is expected by whoever has so many before him. `None`: nobody will ever serve
    /// him.
    #[must_use]
    pub fn at(&self, ahead: usize) -> Option<Place> {
        let after = self.places.partition_point(|place| place.ahead < ahead);
        let place = match self.places.get(after) {
            Some(place) => *place,
            // A line that grew since: as much longer as there are more.
            None => self.places.last()?.grown_to(ahead),
        };
        (place.forecast.p50 < HORIZON).then_some(place)
    }
}

impl Place {
    #[allow(clippy::cast_precision_loss)] // lines are short
    fn grown_to(self, ahead: usize) -> Place {
        let factor = (ahead + 1) as f64 / (self.ahead + 1) as f64;
        let Forecast {
            mean,
            p10,
            p50,
            p90,
            raw: (low, high, slack),
        } = self.forecast;
        let forecast = Forecast {
            mean: mean * factor,
            p10: p10 * factor,
            p50: p50 * factor,
            p90: p90 * factor,
            raw: (low * factor, high * factor, slack),
        };
        Place {
            ahead,
            forecast,
            ..self
        }
    }
}

/// Most places that are simulated beyond the end of a line, and the share of it.
const BEYOND: (usize, usize) = (16, 4);

/// Places worth a look in a line of so many: the first ones each, then ever fewer, and some
/// beyond the end for those who come before the next look.
#[must_use]
pub fn marks(standing: usize) -> Vec<usize> {
    let (least, share) = BEYOND;
    let end = standing + least.max(standing / share);
    let mut marks = Vec::new();
    let mut mark = 0;
    while mark < end {
        marks.push(mark);
        mark += 1 + mark / 32;
    }
    marks.push(end);
    marks
}
