//! The estimator of a queue: it is told what happens at the desk, and says for each request
//! how long it will wait.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::experience::{Experience, Forecast, LiveLine, Serving};
use super::paths::{Doing, Standing};

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
    told: Option<Forecast>,
}

/// See the module.
#[derive(Debug)]
pub struct Learner {
    agents: BTreeMap<String, Agent>,
    /// Those that are not over.
    requests: BTreeMap<u64, Request>,
    experience: Experience,
}

impl Learner {
    /// Nobody stands in line yet.
    #[must_use]
    pub fn new(experience: Experience) -> Learner {
        Learner {
            agents: BTreeMap::new(),
            requests: BTreeMap::new(),
            experience,
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
                    self.experience.withdrawn(now - request.asked);
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
            self.experience.break_over(now - since);
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
            let told = request.told.take();
            self.experience.waited(now - request.asked, told.as_ref());
        }
    }

    fn ended(&mut self, now: f64, id: u64, agent: String, unanswered: Option<Option<f64>>) {
        let was = std::mem::replace(&mut self.agent(agent.clone()).doing, Doing::Idle);
        let began = match was {
            Doing::Busy(since) => since,
            Doing::Away | Doing::Idle | Doing::Break(_) => now,
        };
        let took = now - began;
        let Some(retry_at) = unanswered else {
            self.experience.handled(&agent, took);
            self.requests.remove(&id);
            return;
        };
        let request = self.requests.get_mut(&id);
        let attempt = request.as_ref().map_or(1, |request| request.attempts);
        let again = retry_at.map(|at| at - now);
        self.experience.unanswered(attempt, took, again);
        match request.zip(retry_at) {
            Some((request, at)) => {
                request.joins = Some(at);
                request.is_in_call = false;
            }
            None => {
                self.requests.remove(&id);
            }
        }
    }

    /// How long this request, which stands in line, will wait; what becomes of it is learnt
    /// from. `seed` decides what the simulation draws. `None`: it is not in line, or nobody
    /// will ever serve it.
    pub fn forecast(&mut self, now: f64, id: u64, seed: u64) -> Option<Forecast> {
        let mine = self.requests.get(&id)?.place;
        let line = self.line(now, (mine, id));
        let ahead = line.present().checked_sub(1)?;
        let outlook = self.experience.outlook(&line, &[ahead], seed);
        let forecast = outlook.at(ahead)?.forecast;
        if let Some(request) = self.requests.get_mut(&id) {
            request.told = Some(forecast);
        }
        Some(forecast)
    }

    /// The line up to and with this place.
    fn line(&self, now: f64, last: (Place, u64)) -> LiveLine<'_> {
        let mut standing: Vec<_> = self
            .requests
            .iter()
            .map(|(id, request)| ((request.place, *id), request))
            .filter(|(place, request)| !request.is_in_call && *place <= last)
            .collect();
        standing.sort_unstable_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        let standing = standing.into_iter().map(|(_, request)| Standing {
            attempts: request.attempts,
            joins: request.joins,
            needs: 0,
        });
        let agents = self.agents.iter();
        LiveLine {
            now,
            serving: agents
                .map(|(name, agent)| Serving {
                    name,
                    doing: agent.doing,
                    shifts: &agent.shifts,
                    can: 0,
                })
                .collect(),
            standing: standing.collect(),
            closes: None,
            needs: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two agents, both in a call since the start.
    fn busy() -> Learner {
        let mut learner = Learner::new(Experience::new(300.0));
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
        let mut learner = Learner::new(Experience::new(300.0));
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
