//! Forward simulation: what may become of the line as it stands, many times over. Times are
//! seconds.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::handling::{Handling, pick};
use crate::rng::Rng;

/// A wait that no shift ends within.
const HORIZON: f64 = 10.0 * 86_400.0;
/// Least time left of a break that was longer than any.
const BREAK_REST: f64 = 10.0;
/// With more agents a path costs more, and fewer are enough.
const AGENTS_FEW: usize = 40;
/// Paths for few agents, and for many.
const PATHS: (usize, usize) = (256, 64);

/// What an agent does now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Doing {
    /// Not signed in, or past the end of the shift.
    Away,
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
    /// Attempts made so far of each request ahead, in order.
    pub(super) ahead: Vec<u32>,
    /// Bookings and retries that will come ahead: when, and the attempts made.
    pub(super) late: Vec<(f64, u32)>,
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

/// Waits of all paths, ascending.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waits(Vec<f64>);

impl Waits {
    pub(super) fn mean(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // paths are few
        let count = self.0.len().max(1) as f64;
        self.0.iter().sum::<f64>() / count
    }

    /// The wait that `tenths` of ten paths stay below.
    pub(super) fn tenths(&self, tenths: usize) -> f64 {
        let place = self.0.len() * tenths / 10;
        let last = self.0.len().saturating_sub(1);
        self.0.get(place.min(last)).copied().unwrap_or(HORIZON)
    }
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

    /// The waits of somebody who stands behind all of `ahead`.
    pub(super) fn waits(&self, paths: usize, rng: &mut Rng) -> Waits {
        let mut waits: Vec<f64> = (0..paths).map(|_| self.path(rng)).collect();
        waits.sort_unstable_by(f64::total_cmp);
        Waits(waits)
    }

    fn path(&self, rng: &mut Rng) -> f64 {
        let mut free = self.free(rng);
        let late = self.late.iter();
        let mut late: BinaryHeap<Next<u32>> = late
            .map(|(at, attempts)| Next {
                at: *at,
                tie: rng.next_u64(),
                what: *attempts,
            })
            .collect();
        let mut ahead = self.ahead.iter().copied();
        while let Some(Next {
            at,
            what: (server, shift),
            ..
        }) = free.pop()
        {
            let Some(agent) = self.servers.get(server) else {
                continue;
            };
            if agent.shifts.get(shift).is_none_or(|(_, end)| at >= *end) {
                if let Some((begin, _)) = agent.shifts.get(shift + 1) {
                    free.push(next(at.max(*begin), (server, shift + 1), rng));
                }
                continue;
            }
            let attempts = if late.peek().is_some_and(|first| first.at <= at) {
                late.pop().map(|first| first.what)
            } else {
                let stays = (-self.leaving * (at - self.now)).exp();
                ahead.find(|attempts| *attempts > 0 || self.leaving <= 0.0 || rng.unit() <= stays)
            };
            let Some(attempts) = attempts else {
                return at - self.now;
            };
            let busy = self.serve(at, attempts, agent.speed, &mut late, rng);
            let rest = self.rest(busy, rng);
            free.push(next(at + busy + rest, (server, shift), rng));
        }
        HORIZON
    }

    /// How long an attempt keeps an agent; one that nobody answers comes back.
    fn serve(
        &self,
        at: f64,
        attempts: u32,
        speed: f64,
        late: &mut BinaryHeap<Next<u32>>,
        rng: &mut Rng,
    ) -> f64 {
        if self.unanswered <= 0.0 || rng.unit() >= self.unanswered {
            return self.handling.draw(rng) * speed;
        }
        let later = usize::try_from(attempts)
            .ok()
            .and_then(|n| self.ladder.get(n));
        if let Some(later) = later {
            late.push(next(at + self.ring + later, attempts + 1, rng));
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
