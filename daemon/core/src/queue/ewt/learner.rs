//! The estimator of a queue: it is told what happens at the desk, and says for each request
//! how long it will wait.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use super::bound::{Bound, Guess};
use super::handling::Handling;
use super::paths::{Doing, Scene, Server};
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

/// What happens at a desk. Times are seconds of one clock that does not step.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A shift is planned, for ever if it has no end.
    Shift {
        /// Who works it.
        agent: String,
        /// When it begins.
        begin: f64,
        /// When it ends.
        end: Option<f64>,
    },
    /// An agent signs in.
    SignIn(String),
    /// An agent leaves, after the call in hand.
    SignOut(String),
    /// An agent takes a break.
    Break(String),
    /// A break is over.
    Back(String),
    /// A request joins the line behind those that were asked before it.
    Asked(u64),
    /// A request for a later time.
    Booked {
        /// The request.
        id: u64,
        /// When it joins, ahead of those that are not booked.
        due: f64,
    },
    /// A booked request joins, or one that nobody answered is due again.
    Joins(u64),
    /// A request is withdrawn.
    Withdrawn(u64),
    /// An agent is taken, and the customer's telephone rings.
    Dialled {
        /// The request.
        id: u64,
        /// Who is taken.
        agent: String,
    },
    /// The agent is free again.
    Ended {
        /// The request.
        id: u64,
        /// Who was taken.
        agent: String,
        /// Nobody answered; when it is tried once more, if it is.
        unanswered: Option<Option<f64>>,
    },
}

/// The wait of a request, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Mean.
    pub mean: f64,
    /// Nine of ten wait longer.
    pub p10: f64,
    /// Half wait longer.
    pub p50: f64,
    /// One of ten waits longer.
    pub p90: f64,
}

#[derive(Debug)]
struct Agent {
    doing: Doing,
    shifts: Vec<(f64, f64)>,
}

/// Place in line: booked ones first, then by the time that counts.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Place {
    is_asap: bool,
    since: f64,
}

#[derive(Debug)]
struct Request {
    place: Place,
    asked: f64,
    attempts: u32,
    /// When it joins, while it does not stand in line.
    joins: Option<f64>,
    is_in_call: bool,
    /// Upper and lower bound as they were told.
    told: Option<(Guess, Guess)>,
}

/// See the module.
#[derive(Debug)]
pub struct Learner {
    agents: BTreeMap<String, Agent>,
    /// Those that are not over.
    requests: BTreeMap<u64, Request>,
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

impl Learner {
    /// Knows nothing yet but a configured mean handling time, in seconds.
    #[must_use]
    pub fn new(handling: f64) -> Learner {
        Learner {
            agents: BTreeMap::new(),
            requests: BTreeMap::new(),
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

    /// Simulates so many futures a forecast; by itself it takes what time allows.
    #[must_use]
    pub fn with_paths(self, paths: usize) -> Learner {
        Learner {
            paths: Some(paths),
            ..self
        }
    }

    /// Something has happened. Events come in the order of their times.
    pub fn take(&mut self, now: f64, event: Event) {
        match event {
            Event::Shift { agent, begin, end } => {
                let shifts = &mut self.agent(agent).shifts;
                let place = shifts.partition_point(|(b, _)| *b <= begin);
                shifts.insert(place, (begin, end.unwrap_or(f64::INFINITY)));
            }
            Event::SignIn(agent) => {
                let agent = self.agent(agent);
                if agent.shifts.is_empty() {
                    agent.shifts.push((now, f64::INFINITY));
                }
                agent.doing = Doing::Idle;
            }
            Event::SignOut(agent) => self.agent(agent).doing = Doing::Away,
            Event::Break(agent) => self.agent(agent).doing = Doing::Break(now),
            Event::Back(agent) => self.back(now, agent),
            Event::Asked(id) => self.joins(id, now, None),
            Event::Booked { id, due } => self.joins(id, now, Some(due)),
            Event::Joins(id) => {
                if let Some(request) = self.requests.get_mut(&id) {
                    request.joins = None;
                }
            }
            Event::Withdrawn(id) => {
                if let Some(request) = self.requests.remove(&id) {
                    self.withdrawn += 1.0;
                    self.waited += now - request.asked;
                }
            }
            Event::Dialled { id, agent } => self.dialled(now, id, agent),
            Event::Ended {
                id,
                agent,
                unanswered,
            } => self.ended(now, id, agent, unanswered),
        }
    }

    fn agent(&mut self, name: String) -> &mut Agent {
        self.agents.entry(name).or_insert(Agent {
            doing: Doing::Away,
            shifts: Vec::new(),
        })
    }

    fn back(&mut self, now: f64, name: String) {
        let was = std::mem::replace(&mut self.agent(name).doing, Doing::Idle);
        if let Doing::Break(since) = was {
            self.breaks += 1;
            self.break_lengths.push_back(now - since);
            if self.break_lengths.len() > BREAKS {
                self.break_lengths.pop_front();
            }
            self.break_lengths.make_contiguous();
        }
    }

    fn joins(&mut self, id: u64, now: f64, due: Option<f64>) {
        let place = Place {
            is_asap: due.is_none(),
            since: due.unwrap_or(now),
        };
        let request = Request {
            place,
            asked: now,
            attempts: 0,
            joins: due,
            is_in_call: false,
            told: None,
        };
        self.requests.insert(id, request);
    }

    fn dialled(&mut self, now: f64, id: u64, agent: String) {
        self.agent(agent).doing = Doing::Busy(now);
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.attempts += 1;
        request.is_in_call = true;
        if request.attempts == 1 && request.place.is_asap {
            let wait = now - request.asked;
            self.waited += wait;
            if let Some((upper, lower)) = request.told.take() {
                self.upper.learn(upper, wait);
                self.lower.learn(lower, wait);
            }
        }
    }

    fn ended(&mut self, now: f64, id: u64, agent: String, unanswered: Option<Option<f64>>) {
        let was = std::mem::replace(&mut self.agent(agent.clone()).doing, Doing::Idle);
        let began = match was {
            Doing::Busy(since) => since,
            Doing::Away | Doing::Idle | Doing::Break(_) => now,
        };
        self.attempts = self.attempts * ATTEMPT_DECAY + 1.0;
        self.unanswered *= ATTEMPT_DECAY;
        let Some(retry_at) = unanswered else {
            self.worked += now - began;
            self.handling.learn(&agent, now - began);
            self.requests.remove(&id);
            return;
        };
        self.unanswered += 1.0;
        self.ring = now - began;
        let request = self.requests.get_mut(&id);
        let (Some(request), Some(retry_at)) = (request, retry_at) else {
            self.requests.remove(&id);
            return;
        };
        request.joins = Some(retry_at);
        request.is_in_call = false;
        let rung = usize::try_from(request.attempts)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        let later = retry_at - now;
        if rung == self.ladder.len() {
            self.ladder.push(later);
        } else if let Some(known) = self.ladder.get_mut(rung) {
            *known = later;
        }
    }

    /// How long this request, which stands in line, will wait; what becomes of it is learnt
    /// from. `seed` decides what the simulation draws. `None`: it is not in line, or nobody
    /// will ever serve it.
    pub fn forecast(&mut self, now: f64, id: u64, seed: u64) -> Option<Forecast> {
        let mine = self.requests.get(&id)?.place;
        let scene = self.scene(now, id, mine);
        let paths = self.paths.unwrap_or_else(|| scene.paths());
        let waits = scene.waits(paths, &mut Rng::new(seed));
        let (seconds, share) = SLACK;
        let slack = f64::max(seconds, share * self.handling.mean());
        let upper = self.upper.of(waits.tenths(9), slack);
        let lower = self.lower.of(waits.tenths(1), slack);
        if let Some(request) = self.requests.get_mut(&id) {
            request.told = Some((upper, lower));
        }
        let p50 = waits.tenths(5);
        Some(Forecast {
            mean: waits.mean(),
            p10: lower.bound.min(p50),
            p50,
            p90: upper.bound.max(p50),
        })
    }

    fn scene(&self, now: f64, id: u64, mine: Place) -> Scene<'_> {
        let (mut ahead, mut late) = (Vec::new(), Vec::new());
        for (other, request) in &self.requests {
            let theirs = (request.place, *other);
            if request.is_in_call || theirs >= (mine, id) {
                continue;
            }
            match request.joins.filter(|at| *at > now) {
                Some(at) => late.push((at, request.attempts)),
                None => ahead.push((theirs, request.attempts)),
            }
        }
        ahead.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        Scene {
            now,
            servers: self
                .agents
                .iter()
                .map(|(name, agent)| Server {
                    doing: agent.doing,
                    speed: self.handling.speed(name),
                    shifts: &agent.shifts,
                })
                .collect(),
            ahead: ahead.into_iter().map(|(_, attempts)| attempts).collect(),
            late,
            handling: &self.handling,
            leaving: self.leaving(),
            breaks: (self.break_rate(), self.break_lengths.as_slices().0),
            unanswered: self.unanswered(),
            ring: self.ring,
            ladder: &self.ladder,
        }
    }

    /// Withdrawals a waiting second.
    fn leaving(&self) -> f64 {
        if self.waited > 0.0 {
            self.withdrawn / self.waited
        } else {
            0.0
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
    fn unanswered(&self) -> f64 {
        if self.attempts > ATTEMPTS_MIN {
            self.unanswered / self.attempts
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two agents, both in a call since the start.
    fn busy() -> Learner {
        let mut learner = Learner::new(300.0);
        for (id, agent) in [(1, "a"), (2, "b")] {
            learner.take(0.0, Event::SignIn(agent.into()));
            learner.take(0.0, Event::Asked(id));
            let agent = agent.into();
            learner.take(0.0, Event::Dialled { id, agent });
        }
        learner
    }

    #[test]
    fn whoever_stands_behind_more_waits_longer() {
        let mut learner = busy();
        let mut last = 0.0;
        for id in 3..20 {
            learner.take(10.0, Event::Asked(id));
            let forecast = learner.forecast(10.0, id, 7).unwrap();
            assert!(forecast.p10 <= forecast.p50 && forecast.p50 <= forecast.p90);
            assert!(forecast.mean > last, "{id}: {forecast:?}");
            last = forecast.mean;
        }
        // Eighteen calls by two agents, of 300 s each.
        assert!((last - 9.0 * 300.0).abs() < 300.0, "{last}");
    }

    #[test]
    fn the_same_state_and_seed_say_the_same() {
        let forecast = |seed| {
            let mut learner = busy();
            learner.take(10.0, Event::Asked(3));
            learner.forecast(10.0, 3, seed).unwrap()
        };
        assert_eq!(forecast(1), forecast(1));
        assert_ne!(forecast(1), forecast(2));
    }

    #[test]
    fn a_shift_that_begins_later_is_waited_for() {
        let mut learner = Learner::new(300.0);
        let agent = "a".to_owned();
        let (begin, end) = (3_600.0, Some(7_200.0));
        learner.take(0.0, Event::Shift { agent, begin, end });
        learner.take(60.0, Event::Asked(1));
        let forecast = learner.forecast(60.0, 1, 1).unwrap();
        assert!((forecast.p50 - 3_540.0).abs() < 1.0, "{forecast:?}");
        // What is booked for then comes first.
        learner.take(
            70.0,
            Event::Booked {
                id: 2,
                due: 3_600.0,
            },
        );
        learner.take(80.0, Event::Asked(3));
        let forecast = learner.forecast(80.0, 3, 1).unwrap();
        assert!(forecast.p50 > 3_540.0 + 2.0 * 100.0, "{forecast:?}");
    }

    #[test]
    fn what_is_unknown_or_comes_twice_changes_nothing() {
        let forecast = |events: &[Event]| {
            let mut learner = busy();
            for event in events {
                learner.take(1.0, event.clone());
            }
            assert_eq!(learner.forecast(1.0, 99, 1), None);
            learner.take(2.0, Event::Asked(4));
            learner.forecast(2.0, 4, 1).unwrap()
        };
        let asked = forecast(&[Event::Asked(3)]);
        let twice = [Event::Asked(3), Event::Asked(3)];
        assert_eq!(forecast(&twice), asked);
        let unknown = [Event::Withdrawn(99), Event::Joins(99), Event::Asked(3)];
        assert_eq!(forecast(&unknown), asked);
        // Nobody stands ahead of one who is alone.
        assert!(forecast(&[]).p50 < asked.p50);
        // An end that no call began is of no length, and does no harm.
        let agent = "d".to_owned();
        let unanswered = Some(Some(5.0));
        let ended = Event::Ended {
            id: 99,
            agent,
            unanswered,
        };
        let odd = forecast(&[
            ended.clone(),
            ended,
            Event::Back("a".into()),
            Event::Asked(3),
        ]);
        assert!(odd.p10 >= 0.0 && odd.p90.is_finite(), "{odd:?}");
    }
}
