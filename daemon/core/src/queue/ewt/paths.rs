//! Forward simulation: what may become of the line as it stands, many times over. Times are
//! seconds.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::handling::{Handling, pick};
use crate::rng::Rng;

/// Longer than any wait that is told.
pub(super) const HORIZON: f64 = 10.0 * 86_400.0;
/// Least time left of a break that was longer than any.
const BREAK_REST: f64 = 10.0;
/// With more agents a path costs more, and fewer are enough.
const AGENTS_FEW: usize = 40;
/// Paths for few agents, and for many.
const PATHS: (usize, usize) = (256, 64);

/// What an agent does now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doing {
    /// Not signed in, or past the end of the shift.
    Away,
    /// Waits for a call.
    Idle,
    /// In a call since then.
    Busy(f64),
    /// In a break since then.
    Break(f64),
}

/// An agent as a path sees him.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server<'a> {
    pub(super) doing: Doing,
    /// How long his calls take, as a share of the mean.
    pub(super) speed: f64,
    /// This shift and those to come, in order: begin and end.
    pub(super) shifts: &'a [(f64, f64)],
}

/// The live state, and what is known of chance.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) now: f64,
    pub(super) servers: Vec<Server<'a>>,
    /// Everybody in the order of the line, those too who come back into it.
    pub(super) line: &'a [Standing],
    pub(super) handling: &'a Handling,
    /// Withdrawals a waiting second.
    pub(super) leaving: f64,
    /// Breaks a worked second, and how long they were.
    pub(super) breaks: (f64, &'a [f64]),
    /// Share of attempts that nobody answers.
    pub(super) unanswered: f64,
    /// How long those ring.
    pub(super) ring: f64,
    /// After each such attempt: how much later the next one is.
    pub(super) ladder: &'a [f64],
}

/// Somebody in the line, as the simulation needs to know.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Calls made so far. Whoever was called once is not withdrawn any more.
    pub attempts: u32,
    /// When a booking or a retry takes its place; `None` for who stands there now.
    pub joins: Option<f64>,
}

/// What the paths say of one place in the line; times are seconds from now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// How many stand before it.
    pub(super) ahead: usize,
    pub(super) mean: f64,
    pub(super) q10: f64,
    pub(super) q50: f64,
    pub(super) q90: f64,
    /// Of the paths, the share that ends before the desk closes.
    pub(super) before_closing: f64,
    /// Earliest and latest tenth of the others.
    pub(super) after_closing: (f64, f64),
}

impl Spread {
    fn of(ahead: usize, waits: &mut [f64], closes_in: f64) -> Spread {
        waits.sort_unstable_by(f64::total_cmp);
        let early = waits.partition_point(|wait| *wait < closes_in);
        let later = waits.get(early..).unwrap_or_default();
        Spread {
            ahead,
            mean: waits.iter().sum::<f64>() / count(waits.len().max(1)),
            q10: tenths(waits, 1),
            q50: tenths(waits, 5),
            q90: tenths(waits, 9),
            before_closing: count(early) / count(waits.len().max(1)),
            after_closing: (tenths(later, 1), tenths(later, 9)),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // paths are few
fn count(number: usize) -> f64 {
    number as f64
}

/// The value that `tenths` of ten stay below; of nothing, longer than anything.
fn tenths(sorted: &[f64], tenths: usize) -> f64 {
    let place = sorted.len() * tenths / 10;
    let last = sorted.len().saturating_sub(1);
    sorted.get(place.min(last)).copied().unwrap_or(HORIZON)
}

/// When somebody is free, or a request comes back. The earliest is the greatest, so that a
/// heap gives it first; chance decides between equal times.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Next<T> {
    at: f64,
    tie: u64,
    what: T,
}

impl<T: PartialEq> Eq for Next<T> {}

impl<T: PartialEq> Ord for Next<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.tie.cmp(&self.tie))
    }
}

impl<T: PartialEq> PartialOrd for Next<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A server and his shift.
type Free = Next<(usize, usize)>;
/// A place in the line, and the calls made so far.
type Late = Next<(usize, u32)>;

impl Scene<'_> {
    /// How many paths are worth their time.
    pub(super) fn paths(&self) -> usize {
        let (of_few, of_many) = PATHS;
        if self.servers.len() <= AGENTS_FEW {
            of_few
        } else {
            of_many
        }
    }

    /// The waits at these places, given by how many stand before each, ascending. Everybody
    /// is part of one simulation. `closes_in`: seconds to the end of the opening hours.
    pub(super) fn waits(
        &self,
        marks: &[usize],
        paths: usize,
        closes_in: f64,
        rng: &mut Rng,
    ) -> Vec<Spread> {
        let mut waits: Vec<Vec<f64>> = marks.iter().map(|_| Vec::with_capacity(paths)).collect();
        for _ in 0..paths {
            self.path(marks, &mut waits, rng);
        }
        let places = marks.iter().zip(&mut waits);
        places
            .map(|(ahead, waits)| Spread::of(*ahead, waits, closes_in))
            .collect()
    }

    /// One future; adds the wait at each mark.
    fn path(&self, marks: &[usize], waits: &mut [Vec<f64>], rng: &mut Rng) {
        let mut free = self.free(rng);
        let mut late = self.late(rng);
        // Who came back, by place in the line.
        let mut back: BinaryHeap<Reverse<(usize, u32)>> = BinaryHeap::new();
        let present = |(_, who): &(usize, &Standing)| who.joins.is_none_or(|at| at <= self.now);
        let mut present = self.line.iter().enumerate().filter(present).peekable();
        let mut seen = 0;
        let mut wanted = marks.iter().zip(waits).peekable();
        while wanted.peek().is_some()
            && let Some(Next { at, what, .. }) = free.pop()
        {
            let (server, shift) = what;
            let Some(agent) = self.servers.get(server) else {
                continue;
            };
            if agent.shifts.get(shift).is_none_or(|(_, end)| at >= *end) {
                if let Some((begin, _)) = agent.shifts.get(shift + 1) {
                    free.push(next(at.max(*begin), (server, shift + 1), rng));
                }
                continue;
            }
            while let Some(first) = late.peek().filter(|first| first.at <= at) {
                back.push(Reverse(first.what));
                late.pop();
            }
            let stays = (-self.leaving * (at - self.now)).exp();
            let who = loop {
                let first = present.peek().map(|(place, _)| *place);
                let came_back = back.peek().map(|Reverse((place, _))| *place);
                if came_back.is_some_and(|back| first.is_none_or(|first| back < first)) {
                    break back.pop().map(|Reverse(who)| who);
                }
                let Some((place, who)) = present.next() else {
                    break None;
                };
                if let Some((_, waits)) = wanted.next_if(|(mark, _)| **mark == seen) {
                    waits.push(at - self.now);
                }
                seen += 1;
                if who.attempts > 0 || self.leaving <= 0.0 || rng.unit() <= stays {
                    break Some((place, who.attempts));
                }
            };
            // A server whom nobody needs has no part in what is asked.
            let Some((place, attempts)) = who else {
                continue;
            };
            let busy = self.serve(at, (place, attempts), agent.speed, &mut late, rng);
            let rest = self.rest(busy, rng);
            free.push(next(at + busy + rest, what, rng));
        }
        for (_, waits) in wanted {
            waits.push(HORIZON);
        }
    }

    /// Bookings and retries, and when each takes its place.
    fn late(&self, rng: &mut Rng) -> BinaryHeap<Late> {
        let line = self.line.iter().enumerate();
        line.filter_map(|(place, who)| {
            let at = who.joins.filter(|at| *at > self.now)?;
            Some(next(at, (place, who.attempts), rng))
        })
        .collect()
    }

    /// How long an attempt keeps an agent; one that nobody answers comes back.
    fn serve(
        &self,
        at: f64,
        (place, attempts): (usize, u32),
        speed: f64,
        late: &mut BinaryHeap<Late>,
        rng: &mut Rng,
    ) -> f64 {
        if self.unanswered <= 0.0 || rng.unit() >= self.unanswered {
            return self.handling.draw(rng) * speed;
        }
        let later = usize::try_from(attempts)
            .ok()
            .and_then(|n| self.ladder.get(n));
        if let Some(later) = later {
            late.push(next(at + self.ring + later, (place, attempts + 1), rng));
        }
        self.ring
    }

    /// The break that follows a call, if one does.
    fn rest(&self, busy: f64, rng: &mut Rng) -> f64 {
        let (rate, lengths) = self.breaks;
        if rate > 0.0 && rng.unit() < rate * busy {
            pick(lengths, rng).unwrap_or_default()
        } else {
            0.0
        }
    }

    /// When each server is free next.
    fn free(&self, rng: &mut Rng) -> BinaryHeap<Free> {
        let mut free = Vec::with_capacity(self.servers.len());
        for (number, server) in self.servers.iter().enumerate() {
            let started = server
                .shifts
                .iter()
                .take_while(|(begin, _)| *begin <= self.now)
                .count();
            let this = started.saturating_sub(1);
            let (at, shift) = match server.doing {
                Doing::Away => match server.shifts.get(started) {
                    Some((begin, _)) => (*begin, started),
                    None => continue,
                },
                Doing::Idle => (self.now, this),
                Doing::Busy(since) => {
                    let elapsed = (self.now - since) / server.speed;
                    let left = self.handling.residual(elapsed, rng) * server.speed;
                    (self.now + left, this)
                }
                Doing::Break(since) => {
                    let length = pick(self.breaks.1, rng).unwrap_or_default();
                    (
                        self.now + (length - (self.now - since)).max(BREAK_REST),
                        this,
                    )
                }
            };
            free.push(next(at, (number, shift), rng));
        }
        BinaryHeap::from(free)
    }
}

fn next<T>(at: f64, what: T, rng: &mut Rng) -> Next<T> {
    Next {
        at,
        tie: rng.next_u64(),
        what,
    }
}
