//! What each line expects: the estimator of a queue, fed from the rows. Every daemon on a
//! database reads the same rows, and so expects the same; one that starts has learnt what
//! the others know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use helpline_core::agent::State;
use helpline_core::calendar::Calendar;
use helpline_core::queue::ewt::{
    Doing, Experience, Forecast, Hours, LiveLine, Outlook, Place, Promise, Serving, Skills,
    Standing, marks, queue_length,
};
use helpline_core::queue::pacing;
use helpline_core::time::Wall;
use tokio::sync::MutexGuard;

use super::{Desk, StoreError, locked};
use crate::config::{Config, Queue};
use crate::store::AgentRow;
use crate::store::estimate::{self, Lesson, LineNow};

/// Shifts are known so far ahead.
const AHEAD: Duration = Duration::from_secs(14 * 86_400);
/// Transactions that write at the same time may commit this late.
const SETTLES_IN: Duration = Duration::from_secs(2);
/// So long an outlook stands while nothing else changed than time.
const STANDS_FOR: Duration = Duration::from_secs(1);
/// Looks that may follow each other at once, and how far apart they are after that.
const BURST: u32 = 64;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A look that took longer than this is followed by a rest of as many times its length.
const QUICK: Duration = Duration::from_millis(20);
const REST: u32 = 10;
/// Skills of one queue that the estimate tells apart.
const SKILLS_MAX: usize = 64;
/// Who comes to a shorter line is told his exact place.
const COUNTED_MAX: u32 = 200;
/// The simulation and Erlang's formula may differ so much before it is worth a word.
const ODD: (f64, f64) = (0.3, 3.0);

/// The estimator of one queue.
#[derive(Debug)]
pub(super) struct Estimator {
    study: tokio::sync::Mutex<Study>,
    seen: ArcSwapOption<Seen>,
    pace: Mutex<Pace>,
}

/// What was learnt, and from which rows.
#[derive(Debug)]
struct Study {
    experience: Experience,
    /// Nothing, before the first look.
    learnt_to: Option<Wall>,
}

/// How often the rows may be looked at.
#[derive(Debug)]
struct Pace {
    /// Theoretical arrival of the next look, on the desk's clock.
    next: Wall,
    /// After a slow look.
    rest_until: Option<Instant>,
}

/// A line as it was seen, and what it expects.
#[derive(Debug, Default)]
pub(super) struct Seen {
    at: Wall,
    calls: Vec<Wall>,
    outlook: Outlook,
    /// The same for those who ask for a skill.
    skilled: BTreeMap<String, Outlook>,
    hours: Hours,
    is_sure: bool,
    /// There is a trunk to call with.
    can_call: bool,
    /// How many stood in line.
    present: u32,
    /// How many requests stood in it or waited for a time; nothing before the first look.
    requests: Option<u32>,
    /// Requests that came since.
    since: AtomicU32,
    /// Median wait at the end of the line: simulated, and by Erlang's formula.
    pub(super) against_formula: Option<(f64, f64)>,
    /// How long the look took.
    pub(super) took: Duration,
    /// Agents at work, where people take the calls.
    agents: Option<u32>,
    /// Busy agents who will surely be free when a customer answers who is called now.
    soon: u32,
}

impl Estimator {
    pub(super) fn new(queue: &Queue) -> Estimator {
        Estimator {
            study: tokio::sync::Mutex::new(Study {
                experience: Experience::new(queue.mean_handling.0.as_secs_f64()),
                learnt_to: None,
            }),
            seen: ArcSwapOption::empty(),
            pace: Mutex::new(Pace {
                next: Wall::default(),
                rest_until: None,
            }),
        }
    }

    /// What was seen last.
    pub(super) fn seen(&self) -> Option<Arc<Seen>> {
        self.seen.load_full()
    }

    fn may_look(&self, now: Wall) -> bool {
        let mut pace = locked(&self.pace);
        if pace.rest_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        let ahead = pace.next.since(now);
        if ahead > LOOK_EVERY * BURST && ahead <= LOOK_EVERY * (BURST + 1) {
            return false;
        }
        if ahead > LOOK_EVERY * BURST {
            // The clock was stepped back.
            pace.next = now;
        }
        pace.next = pace.next.max(now) + LOOK_EVERY;
        true
    }

    fn looked(&self, took: Duration) {
        let rest = (took > QUICK).then(|| Instant::now() + took * REST);
        locked(&self.pace).rest_until = rest;
    }
}

impl Seen {
    /// A request comes. `None`: whoever wants to know how many stand before it has to count;
    /// in a long line that takes longer than all else, and one more or less matters to nobody.
    pub(super) fn comes(&self) -> Option<u32> {
        let since = self.since.fetch_add(1, Ordering::Relaxed);
        let ahead = self.present.saturating_add(since);
        (ahead >= COUNTED_MAX).then_some(ahead)
    }

    /// Whether so many requests may stand by now; other daemons take some too.
    pub(super) fn may_hold(&self, most: u32) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        let spare = since.saturating_mul(2).saturating_add(most / 10 + 1);
        let grown = self.requests.map(|seen| seen.saturating_add(spare));
        grown.is_none_or(|grown| grown >= most)
    }

    /// The promise at a place, and the estimate it was made of. `zone`: the customer's.
    pub(super) fn promise(
        &self,
        (ahead, skill): (u32, &str),
        now: Wall,
        zone: &str,
    ) -> (Promise, Option<Forecast>) {
        match self.place(ahead, skill).filter(|_| self.can_call) {
            Some(place) => {
                let promise = Promise::of(&place, &self.hours, now, zone, self.is_sure);
                (promise, Some(place.forecast))
            }
            None => (Promise::none(now, zone), None),
        }
    }

    /// Nine of ten who are on the telephone with so many before them wait no longer; `None`:
    /// the desk is closed, or serves nobody.
    pub(super) fn bound(&self, ahead: u32) -> Option<Duration> {
        let place = self
            .place(ahead, "")
            .filter(|_| self.hours.opens_in.is_zero())?;
        Duration::try_from_secs_f64(place.forecast.p90).ok()
    }

    /// See the field.
    pub(super) const fn soon(&self) -> u32 {
        self.soon
    }

    /// How many take calls: agents at work, or places of the help channel.
    pub(super) fn agents(&self, places: u32) -> u32 {
        self.agents.unwrap_or(places)
    }

    /// What is expected at a place by somebody who asks for this skill; `None`: nobody will ever
    /// be served there.
    pub(super) fn place(&self, ahead: u32, skill: &str) -> Option<Place> {
        // A skill that nobody has is as good as none.
        let outlook = self.skilled.get(skill).unwrap_or(&self.outlook);
        outlook.at(usize::try_from(ahead).unwrap_or(usize::MAX))
    }
}

impl Desk {
    /// What a queue expects now. A store that is away leaves what was seen last.
    pub(super) async fn outlook(&self, queue: &str) -> Arc<Seen> {
        let Some((config, estimator)) = self.queue(queue).zip(self.estimators.get(queue)) else {
            return Arc::default();
        };
        let seen = estimator.seen();
        if seen.is_some() && !estimator.may_look(self.clock.wall()) {
            return seen.unwrap_or_default();
        }
        // Somebody who looks at the moment is not waited for, if anything was seen before.
        let study = match (&seen, estimator.study.try_lock()) {
            (_, Ok(study)) => study,
            (Some(_), Err(_)) => return seen.unwrap_or_default(),
            (None, Err(_)) => estimator.study.lock().await,
        };
        match self.look_ahead(config, estimator, study).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(%error, queue, "the wait is estimated from an earlier look");
                seen.unwrap_or_default()
            }
        }
    }

    async fn look_ahead(
        &self,
        queue: &Queue,
        estimator: &Estimator,
        mut study: MutexGuard<'_, Study>,
    ) -> Result<Arc<Seen>, StoreError> {
        if let Some(seen) = estimator.seen()
            && self.still_stands(&queue.name, &seen).await?
        {
            return Ok(seen);
        }
        let began = Instant::now();
        let (name, learnt_to) = (queue.name.clone(), study.learnt_to);
        let look = self.store.read(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                let line = estimate::line(tx, &name).await?;
                let from = match learnt_to {
                    Some(at) => at,
                    None => estimate::past(tx, &name).await?,
                };
                let until = (line.now - SETTLES_IN).max(from);
                let lessons = estimate::lessons(tx, &name, from, until).await?;
                Ok((line, lessons, until))
            })
        });
        let (line, lessons, until) = look.await?;
        let work = queue.agents.wrap_up.0.as_secs_f64();
        lessons
            .into_iter()
            .for_each(|l| learn(&mut study.experience, l, work));
        study.learnt_to = Some(until);
        let skills = Skilled::of(&self.config, queue);
        let calendar = self.calendars.get(&queue.name);
        let mut seen = foresee(&study.experience, line, (queue, &skills), calendar);
        seen.took = began.elapsed();
        estimator.looked(seen.took);
        let seen = Arc::new(seen);
        estimator.seen.store(Some(Arc::clone(&seen)));
        Ok(seen)
    }

    async fn still_stands(&self, queue: &str, seen: &Seen) -> Result<bool, StoreError> {
        let name = queue.to_owned();
        let look = self.store.read(move |tx| {
            let name = name.clone();
            Box::pin(async move { Ok((tx.now().await?, estimate::calls(tx, &name).await?)) })
        });
        let (now, calls) = look.await?;
        Ok(now.since(seen.at) < STANDS_FOR && now >= seen.at && calls == seen.calls)
    }
}

/// `work`: the time after a talk that keeps its agent.
fn learn(experience: &mut Experience, lesson: Lesson, work: f64) {
    match lesson {
        Lesson::Handled(took, None) => experience.handled("", took),
        Lesson::Handled(took, Some(agent)) => experience.handled(&agent, took + work),
        Lesson::Unanswered(attempt, took, again) => experience.unanswered(attempt, took, again),
        Lesson::Waited(wait, told) => experience.waited(wait, told.as_ref()),
        Lesson::Withdrawn(wait) => experience.withdrawn(wait),
    }
}

/// The skills of a queue's agents, a bit each.
struct Skilled {
    names: Vec<String>,
    agents: BTreeMap<String, Skills>,
}

impl Skilled {
    /// With more skills than bits, those beyond are as good as none.
    fn of(config: &Config, queue: &Queue) -> Skilled {
        let serving = || {
            config
                .agent
                .iter()
                .filter(|agent| agent.serves(&queue.name))
        };
        let names: BTreeSet<String> = serving().flat_map(|agent| agent.skills.clone()).collect();
        let mut skilled = Skilled {
            names: names.into_iter().take(SKILLS_MAX).collect(),
            agents: BTreeMap::new(),
        };
        for agent in serving() {
            let can = agent.skills.iter().map(|skill| skilled.bit(skill));
            let can = can.fold(0, |all, bit| all | bit);
            skilled.agents.insert(agent.name.clone(), can);
        }
        skilled
    }

    fn bit(&self, skill: &str) -> Skills {
        let place = self.names.iter().position(|name| name == skill);
        place.map_or(0, |place| 1 << place)
    }

    fn of_agent(&self, name: &str) -> Skills {
        self.agents.get(name).copied().unwrap_or(0)
    }
}

fn foresee(
    experience: &Experience,
    line: LineNow,
    (queue, skills): (&Queue, &Skilled),
    calendar: Option<&Calendar>,
) -> Seen {
    let now = line.now;
    let spans = match calendar {
        Some(calendar) => calendar.open_spans(now, now + AHEAD),
        None => vec![(now, Wall::from_millis(i64::MAX))],
    };
    let opens_in = spans.first().map_or(AHEAD, |(opens, _)| opens.since(now));
    let is_open = opens_in.is_zero();
    let closes = spans.first().map(|(_, closes)| *closes);
    let closes = closes.filter(|closes| is_open && calendar.is_some() && *closes < now + AHEAD);
    let after = |at: Wall| match at.millis() {
        i64::MAX => f64::INFINITY,
        _ => at.since(now).as_secs_f64(),
    };
    let shifts: Vec<_> = spans
        .iter()
        .map(|(from, to)| (after(*from), after(*to)))
        .collect();
    let can_call = line.channels > 0;
    let people = queue.agents.are_people();
    let serving = match people {
        true => agents(&line, skills, is_open, &shifts),
        false => places(&line, queue.max_calls, is_open, &shifts),
    };
    let servers = u32::try_from(serving.len()).unwrap_or(u32::MAX);
    let soon = soon(experience, &serving, queue.ring_limit.0);
    let standing = line.standing.iter().map(|who| Standing {
        attempts: who.attempts,
        joins: who.joins.filter(|at| *at > now).map(after),
        needs: skills.bit(&who.skill),
    });
    let mut live = LiveLine {
        now: 0.0,
        serving,
        standing: standing.collect(),
        closes: closes.map(after),
        needs: 0,
    };
    let present = live.present();
    let seed = now.millis().unsigned_abs();
    let outlook = experience.outlook(&live, &marks(present), seed);
    let mut skilled = BTreeMap::new();
    for skill in skills.names.iter().filter(|_| people) {
        live.needs = skills.bit(skill);
        let outlook = experience.outlook(&live, &marks(present), seed);
        skilled.insert(skill.clone(), outlook);
    }
    let busy = u32::try_from(line.calls.len()).unwrap_or(u32::MAX);
    let last = u32::try_from(present).unwrap_or(u32::MAX);
    let (handling, leaving) = (experience.mean_handling(), experience.leaving());
    let free = servers.saturating_sub(busy);
    let formula = queue_length(last, servers, free, handling, leaving);
    let against_formula = outlook
        .at(present)
        .map(|place| place.forecast.p50)
        .zip(formula.map(|wait| wait + opens_in.as_secs_f64()));
    note_odd(&queue.name, against_formula);
    Seen {
        at: now,
        calls: line.calls,
        outlook,
        skilled,
        hours: Hours { opens_in, closes },
        is_sure: experience.is_sure(),
        can_call,
        present: line.present,
        requests: Some(line.requests),
        since: AtomicU32::new(0),
        against_formula,
        took: Duration::ZERO,
        agents: people.then(|| {
            let at_work = line
                .agents
                .iter()
                .filter(|row| row.agent.state.is_at_work());
            u32::try_from(at_work.count()).unwrap_or(u32::MAX)
        }),
        soon,
    }
}

/// The places of a help channel that needs nobody.
fn places<'a>(
    line: &LineNow,
    max_calls: u32,
    is_open: bool,
    shifts: &'a [(f64, f64)],
) -> Vec<Serving<'a>> {
    // Callers are served without a trunk.
    let servers = match line.channels {
        0 => max_calls,
        channels => max_calls.min(channels),
    };
    let idle = if is_open { Doing::Idle } else { Doing::Away };
    let busy = |began: &Wall| Doing::Busy(-line.now.since(*began).as_secs_f64());
    let calls = line.calls.iter().map(Some).chain(std::iter::repeat(None));
    let place = |call: Option<&Wall>| Serving {
        name: "",
        doing: call.map_or(idle, busy),
        shifts,
        can: 0,
    };
    (0..servers)
        .zip(calls)
        .map(|(_, call)| place(call))
        .collect()
}

/// Agents as they are. One who works after a talk is soon free.
fn agents<'a>(
    line: &'a LineNow,
    skills: &Skilled,
    is_open: bool,
    shifts: &'a [(f64, f64)],
) -> Vec<Serving<'a>> {
    let doing = |row: &AgentRow| {
        let since = -line.now.since(row.since).as_secs_f64();
        match row.agent.state {
            State::Ringing | State::Talking => Doing::Busy(since),
            State::Available | State::Wrapup if is_open => Doing::Idle,
            State::Break | State::Lagged if is_open => Doing::Break(since),
            _ => Doing::Away,
        }
    };
    let serving = |row: &'a AgentRow| Serving {
        name: &row.name,
        doing: doing(row),
        shifts,
        can: skills.of_agent(&row.name),
    };
    line.agents.iter().map(serving).collect()
}

/// How many of the busy ones will surely be free when somebody answers who is called now.
fn soon(experience: &Experience, serving: &[Serving<'_>], ring: Duration) -> u32 {
    let chance = |who: &Serving<'_>| match who.doing {
        Doing::Busy(since) => Some(experience.over_within(who.name, -since, ring.as_secs_f64())),
        Doing::Away | Doing::Idle | Doing::Break(_) => None,
    };
    let chances: Vec<f64> = serving.iter().filter_map(chance).collect();
    pacing::surely_free(&chances)
}

/// A simulation far from the formula may be right, but somebody should know.
fn note_odd(queue: &str, against_formula: Option<(f64, f64)>) {
    let (least, most) = ODD;
    if let Some((simulated, formula)) = against_formula
        && formula > 60.0
        && !(least..=most).contains(&(simulated / formula))
    {
        tracing::debug!(
            queue,
            simulated,
            formula,
            "an estimate is far from Erlang's formula"
        );
    }
}
