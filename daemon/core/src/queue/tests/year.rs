//! A year of a desk: 200,000 requests through the life cycle, the retry table, the pacing and
//! the calendar, with everything checked that must hold at every step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::time::Duration;

use super::super::order::Key;
use super::super::retry::{ATTEMPTS_MAX, History};
use super::super::*;
use crate::calendar::Calendar;
use crate::id::RequestId;
use crate::rng::Rng;

const REQUESTS: usize = 200_000;
const MAX_CALLS: u32 = 8;
const CHANNELS: u32 = 6;
const RING_LIMIT: Duration = Duration::from_secs(40);
const DAY: Duration = Duration::from_secs(86_400);
/// 2026-01-01T00:00:00Z.
const START: Wall = Wall::from_millis(1_767_225_600_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrives,
    Timer(usize),
    CallEnds(usize),
    Cancels(usize),
    Hour,
}

struct Request {
    facts: RequestFacts,
    key: Key,
    number: u64,
    history: Vec<Disposition>,
    intent_at: Wall,
    /// What the live call comes to.
    call: Option<Disposition>,
    talked: bool,
    closings: u32,
}

#[derive(Default)]
struct Seen {
    calls: usize,
    ends: usize,
    merged: usize,
    states: BTreeMap<State, usize>,
}

struct World {
    now: Wall,
    rng: Rng,
    calendar: Calendar,
    /// What the calendar says, and until when.
    hours: (Wall, Option<Wall>),
    events: BinaryHeap<Reverse<(Wall, What)>>,
    requests: Vec<Request>,
    /// Those that wait, in the order of the line.
    line: BTreeMap<Key, usize>,
    open_of: HashMap<u64, usize>,
    up: HashSet<u64>,
    suppressed: HashMap<u64, Wall>,
    seen: Seen,
}

fn calendar() -> Calendar {
    let hours = |spans: &[&str]| spans.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let week = [
        ("mon-fri".to_owned(), hours(&["08:00-12:00", "13:00-18:00"])),
        ("sat".to_owned(), hours(&["22:00-03:30"])), // over the nights of the clock changes
    ];
    let days = [
        ("12-25".to_owned(), hours(&[])),
        ("05-01".to_owned(), hours(&[])),
    ];
    Calendar::parse("Europe/Berlin", &week.into(), &days.into()).unwrap()
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            now: START,
            rng: Rng::new(seed),
            calendar: calendar(),
            hours: (START, None),
            events: BinaryHeap::new(),
            requests: Vec::new(),
            line: BTreeMap::new(),
            open_of: HashMap::new(),
            up: HashSet::new(),
            suppressed: HashMap::new(),
            seen: Seen::default(),
        };
        world.at(START, What::Arrives);
        world.at(START, What::Hour);
        world
    }

    fn at(&mut self, at: Wall, what: What) {
        self.events.push(Reverse((at, what)));
    }

    /// When the desk opens next: now, if it is open.
    fn next_open(&mut self) -> Wall {
        let (until, opens) = self.hours;
        if self.now >= until {
            let spans = self.calendar.open_spans(self.now, self.now + DAY * 10);
            let (opens, closes) = *spans.first().unwrap();
            self.hours = match opens == self.now {
                true => (closes, None),
                false => (opens, Some(opens)),
            };
            return opens;
        }
        opens.unwrap_or(self.now)
    }

    fn is_open(&mut self) -> bool {
        self.next_open() == self.now
    }

    fn looked(&mut self) -> Event {
        Event::Looked {
            open: self.is_open(),
            next_open: Some(self.next_open()),
        }
    }

    /// The year, and as long as it takes until nobody is open any more.
    fn run(&mut self) {
        while let Some(Reverse((at, what))) = self.events.pop() {
            assert!(at >= self.now);
            self.now = at;
            match what {
                What::Arrives => self.arrives(),
                What::Timer(n) => {
                    let event = self.looked();
                    self.step(n, &event);
                }
                What::CallEnds(n) => self.call_ends(n),
                What::Cancels(n) => self.step(n, &Event::Cancelled),
                What::Hour => self.hour(),
            }
            self.dial();
        }
    }

    /// Somebody asks, by day more often; some ask twice, some for a later time.
    fn arrives(&mut self) {
        if self.requests.len() + self.seen.merged >= REQUESTS {
            return;
        }
        let mean = 365.0 * 86_400_000.0 / 200_000.0;
        let gap = -mean * (1.0 - self.rng.unit()).ln();
        let next = self.now + Duration::from_secs_f64(gap / 1_000.0);
        self.at(next, What::Arrives);
        let number = self.rng.below(60_000);
        if self
            .suppressed
            .get(&number)
            .is_some_and(|until| *until > self.now)
        {
            // Refused at the door; it counts as dealt with.
            self.seen.merged += 1;
            return;
        }
        if let Some(open) = self.open_of.get(&number).copied() {
            self.seen.merged += 1;
            return self.step(open, &Event::AskedAgain);
        }
        let n = self.requests.len();
        let due = (self.rng.below(10) == 0)
            .then(|| self.now + Duration::from_secs(900 + self.rng.below(86_400 * 10)))
            .and_then(|at| self.calendar.next_open(at));
        let (state, not_before) = match due {
            Some(due) => (State::Scheduled, due),
            None => (State::Waiting, self.now),
        };
        let facts = RequestFacts {
            state,
            held_reason: None,
            accepted_at: self.now,
            due_at: due,
            not_after: None,
            not_before,
            attempts: 0,
        };
        let key = Key {
            rank: 1,
            place_at: self.now,
            id: RequestId::from_text(&format!("{n:08}")),
        };
        self.requests.push(Request {
            facts,
            key,
            number,
            history: Vec::new(),
            intent_at: self.now,
            call: None,
            talked: false,
            closings: 0,
        });
        self.open_of.insert(number, n);
        self.place(n);
        if self.rng.below(20) == 0 {
            let after = Duration::from_secs(self.rng.below(90_000));
            self.at(self.now + after, What::Cancels(n));
        }
    }

    /// Every hour everybody in line is looked at, for age and hours.
    fn hour(&mut self) {
        let waiting: Vec<usize> = self.line.values().copied().collect();
        let event = self.looked();
        for n in waiting {
            self.step(n, &event);
        }
        if self.now < START + DAY * 366 || !self.open_of.is_empty() {
            self.at(self.now + Duration::from_secs(3_600), What::Hour);
        }
    }

    fn request(&mut self, n: usize) -> &mut Request {
        self.requests.get_mut(n).unwrap()
    }

    /// One step of the life cycle, and what follows from it.
    fn step(&mut self, n: usize, event: &Event) {
        let now = self.now;
        let request = self.requests.get_mut(n).unwrap();
        let was = request.facts.state;
        let (state, effects) = step(&request.facts, event, now);
        if !was.is_open() {
            assert_eq!(
                (state, &effects),
                (was, &Effects::default()),
                "over is over"
            );
            return;
        }
        self.line.remove(&request.key);
        let facts = &mut request.facts;
        facts.state = state;
        facts.held_reason = (state == State::Held)
            .then_some(effects.held_reason.or(facts.held_reason))
            .flatten();
        facts.not_before = effects.not_before.unwrap_or(facts.not_before);
        facts.due_at = effects.due_at.or(facts.due_at);
        facts.attempts += u32::from(effects.counted);
        request.key.rank = effects.rank.unwrap_or(request.key.rank);
        assert!(request.facts.attempts <= ATTEMPTS_MAX, "too many attempts");
        request.closings += u32::from(effects.mail == Some(Mail::Closing));
        if effects.hang_up {
            assert!(was.has_call(), "nobody is called in {was:?}");
        }
        if let Some(period) = effects.suppress_for {
            self.suppressed.insert(request.number, now + period);
        }
        if !state.is_open() {
            self.over(n);
        }
        self.place(n);
    }

    fn over(&mut self, n: usize) {
        let request = self.request(n);
        let (state, number) = (request.facts.state, request.number);
        let told = match state {
            State::Done => 0,
            _ => 1,
        };
        let held_out = state == State::Done && !request.talked;
        assert!(
            request.closings == told || held_out,
            "{state:?} was told {} times",
            request.closings
        );
        *self.seen.states.entry(state).or_default() += 1;
        if self.open_of.get(&number) == Some(&n) {
            self.open_of.remove(&number);
        }
    }

    /// Stands it in line, or sets its timer.
    fn place(&mut self, n: usize) {
        let request = self.request(n);
        let (key, not_before) = (request.key.clone(), request.facts.not_before);
        match request.facts.state {
            State::Waiting => {
                self.line.insert(key, n);
                if not_before > self.now {
                    self.at(not_before, What::Timer(n));
                }
            }
            State::Scheduled | State::Backoff | State::Held => {
                let at = not_before.max(self.now + Duration::from_millis(1));
                self.at(at, What::Timer(n));
            }
            _ => {}
        }
    }

    /// Calls whoever may be called now, in the order of the line.
    fn dial(&mut self) {
        let up = u32::try_from(self.up.len()).unwrap();
        assert!(up <= MAX_CALLS.min(CHANNELS));
        let start = pacing::start(&pacing::View {
            max_calls: MAX_CALLS,
            up,
            bookings_soon: 0,
            free_channels: CHANNELS - up,
            node_room: 100,
        });
        let mut room = start.anyone;
        let waiting: Vec<usize> = match room {
            0 => return,
            _ => self.line.values().copied().collect(),
        };
        let mut last: Option<Key> = None;
        for n in waiting {
            let now = self.now;
            let is_open = self.is_open();
            let request = self.request(n);
            if room == 0 {
                return;
            }
            if request.facts.not_before > now {
                continue;
            }
            if !is_open {
                let event = self.looked();
                self.step(n, &event);
                continue;
            }
            let key = request.key.clone();
            assert!(last.as_ref().is_none_or(|last| *last < key), "overtaken");
            last = Some(key);
            self.step(n, &Event::Claimed);
            let number = self.request(n).number;
            if self.up.contains(&number) {
                self.step(n, &Event::Released(Release::NumberBusy));
                continue;
            }
            self.call(n);
            room -= 1;
        }
    }

    fn call(&mut self, n: usize) {
        self.step(n, &Event::Intent);
        let now = self.now;
        assert!(self.is_open(), "called while the desk is closed");
        let (disposition, length) = self.outcome();
        let request = self.requests.get_mut(n).unwrap();
        assert_eq!(request.facts.state, State::Dialling);
        assert_eq!(request.call, None, "two calls at once for one request");
        assert!(now >= request.facts.not_before, "called too early");
        assert!(
            request.facts.due_at.is_none_or(|due| now >= due),
            "a booking was early"
        );
        let since = request.facts.due_at.unwrap_or(request.facts.accepted_at);
        assert!(
            now.since(since) < REQUEST_AGE_MAX + Duration::from_secs(3_601),
            "called two days late"
        );
        request.intent_at = now;
        request.call = Some(disposition);
        let number = request.number;
        let blocked = self
            .suppressed
            .get(&number)
            .is_some_and(|until| *until > now);
        assert!(!blocked, "called after a stop");
        assert!(self.up.insert(number), "two calls at once to one number");
        self.seen.calls += 1;
        self.at(now + length, What::CallEnds(n));
    }

    fn outcome(&mut self) -> (Disposition, Duration) {
        use Disposition as D;
        let seconds = |n: u64| Duration::from_secs(n);
        let talk = seconds(20 + self.rng.below(400));
        match self.rng.below(100) {
            0..55 => (D::Talked, talk),
            55..70 => (D::NoAnswer, RING_LIMIT),
            70..78 => (D::Busy, seconds(2)),
            78..84 => (D::Machine, seconds(15)),
            84..87 => (D::Declined, seconds(8)),
            87..89 => (D::NotConfirmed, seconds(30)),
            89..91 => (D::ShortHangup, seconds(9)),
            91..93 => (D::TrunkFailed, seconds(1)),
            93..95 => (D::Later, seconds(20)),
            95..96 => (D::Stop, seconds(15)),
            96..97 => (D::BadNumber, seconds(1)),
            97..98 => (D::Unknown, seconds(60)),
            98..99 => (D::Interrupted, talk),
            _ => (D::Withdrawn, seconds(20)),
        }
    }

    fn call_ends(&mut self, n: usize) {
        let now = self.now;
        let later = self
            .calendar
            .next_open(now + Duration::from_secs(3 * 3_600));
        let request = self.requests.get_mut(n).unwrap();
        let disposition = request.call.take().expect("a call ends once");
        assert!(self.up.remove(&request.number));
        self.seen.ends += 1;
        let history = History {
            dispositions: request.history.clone(),
            accepted_at: request.facts.due_at.unwrap_or(request.facts.accepted_at),
            intent_at: request.intent_at,
            ring_limit: RING_LIMIT,
            rang: true,
            later_at: later,
            trunks: 2,
        };
        request.history.push(disposition);
        if !request.facts.state.is_open() {
            return; // withdrawn during the call
        }
        request.talked |= disposition == Disposition::Talked;
        let next = retry::next(&history, disposition, now, &mut self.rng);
        if disposition == Disposition::Talked {
            self.step(n, &Event::Answered);
            self.step(n, &Event::Connected);
        }
        self.step(n, &Event::Ended { disposition, next });
    }
}

#[test]
fn a_year_of_two_hundred_thousand_requests_keeps_every_rule() {
    let mut world = World::new(2026);
    world.run();
    let seen = &world.seen;
    println!(
        "{} requests, {} calls, {:?}, {} merged or refused",
        world.requests.len(),
        seen.calls,
        seen.states,
        seen.merged
    );
    assert_eq!(
        world.requests.len() + seen.merged,
        REQUESTS,
        "somebody is missing"
    );
    assert_eq!(seen.calls, seen.ends, "every call ends once");
    assert!(world.up.is_empty() && world.line.is_empty() && world.open_of.is_empty());
    assert_eq!(
        seen.states.values().sum::<usize>(),
        world.requests.len(),
        "nobody is forgotten"
    );
    for state in [
        State::Done,
        State::Cancelled,
        State::Unreachable,
        State::Suppressed,
    ] {
        assert!(seen.states.contains_key(&state), "{state:?} never came");
    }
}
