//! Forward simulation: what may become of the line as it stands, many times over. Times are
//! seconds.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

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

/// Skills of a queue, a bit each; none: whatever anybody can do.
pub type Skills = u64;

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
    pub(super) can: Skills,
}

impl Server<'_> {
    fn may_serve(&self, needs: Skills) -> bool {
        needs & self.can == needs
    }
}

/// The live state, and what is known of chance.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) now: f64,
    pub(super) servers: Vec<Server<'a>>,
    /// Everybody in the order of the line, those too who come back into it.
    pub(super) line: &'a [Standing],
    /// What they need whose waits are asked for.
    pub(super) needs: Skills,
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
    /// What whoever serves him has to be able to.
    pub needs: Skills,
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

/// Somebody with a place before those who have not been looked at yet.
#[derive(Clone, Copy, Debug)]
enum Early {
    /// Was called, so often, and stays.
    Back(u32),
    /// Was passed over, and may have left since.
    Passed,
}

impl Early {
    fn of(attempts: u32) -> Early {
        match attempts {
            0 => Early::Passed,
            attempts => Early::Back(attempts),
        }
    }
}

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
        // Who came back, and whom nobody who was free could serve, by place in the line.
        let mut early: BTreeMap<usize, Early> = BTreeMap::new();
        let present = |(_, who): &(usize, &Standing)| who.joins.is_none_or(|at| at <= self.now);
        let mut present = self.line.iter().enumerate().filter(present).peekable();
        let mut seen = 0;
        let mut wanted = marks.iter().zip(waits).peekable();
        // Places that were come past by servers who are of no use there.
        let mut owed: Vec<(usize, &mut Vec<f64>)> = Vec::new();
        while (wanted.peek().is_some() || !owed.is_empty())
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
                let (place, attempts) = first.what;
                early.insert(place, Early::Back(attempts));
                late.pop();
            }
            let is_of_use = agent.may_serve(self.needs);
            let stays = (-self.leaving * (at - self.now)).exp();
            let who = loop {
                let first = present.peek().map(|(place, _)| *place);
                let before = early.keys().copied().find(|place| self.may(agent, *place));
                let (place, attempts) = match before {
                    Some(place) if first.is_none_or(|first| place < first) => {
                        match early.remove(&place) {
                            Some(Early::Back(attempts)) => break Some((place, attempts)),
                            _ => (place, 0),
                        }
                    }
                    _ => {
                        let Some((place, who)) = present.next() else {
                            break None;
                        };
                        if let Some((_, waits)) = wanted.next_if(|(mark, _)| **mark == seen) {
                            match is_of_use {
                                true => waits.push(at - self.now),
                                false => owed.push((place, waits)),
                            }
                        }
                        seen += 1;
                        if !self.may(agent, place) {
                            early.insert(place, Early::of(who.attempts));
                            continue;
                        }
                        (place, who.attempts)
                    }
                };
                if attempts > 0 || self.leaving <= 0.0 || rng.unit() <= stays {
                    break Some((place, attempts));
                }
            };
            if is_of_use {
                let last = who.map_or(usize::MAX, |(place, _)| place);
                for (_, waits) in owed.extract_if(.., |(place, _)| *place <= last) {
                    waits.push(at - self.now);
                }
            }
            // A server whom nobody needs has no part in what is asked.
            let Some((place, attempts)) = who else {
                continue;
            };
            let busy = self.serve(at, (place, attempts), agent.speed, &mut late, rng);
            let rest = self.rest(busy, rng);
            free.push(next(at + busy + rest, what, rng));
        }
        let never = wanted.map(|(_, waits)| waits);
        for waits in never.chain(owed.into_iter().map(|(_, waits)| waits)) {
            waits.push(HORIZON);
        }
    }

    /// Whether a server may serve whoever has this place.
    fn may(&self, server: &Server<'_>, place: usize) -> bool {
        let who = self.line.get(place);
        who.is_none_or(|who| server.may_serve(who.needs))
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

#[cfg(test)]
mod tests {
    use super::super::{Experience, LiveLine, Serving};
    use super::*;

    const TAX: Skills = 1;

    /// The median wait behind these, who need that, for somebody who needs `needs`.
    fn median(agents: &[(Doing, Skills)], line: &[Skills], needs: Skills) -> f64 {
        let shifts = [(f64::NEG_INFINITY, f64::INFINITY)];
        let serving = |(doing, can): &(Doing, Skills)| Serving {
            name: "",
            doing: *doing,
            shifts: &shifts,
            can: *can,
        };
        let standing = |needs: &Skills| Standing {
            needs: *needs,
            ..Standing::default()
        };
        let line = LiveLine {
            now: 0.0,
            serving: agents.iter().map(serving).collect(),
            standing: line.iter().map(standing).collect(),
            closes: None,
            needs,
        };
        let outlook = Experience::new(300.0).outlook(&line, &[line.standing.len()], 1);
        let place = outlook.at(line.standing.len());
        place.map_or(f64::INFINITY, |place| place.forecast.p50)
    }

    #[test]
    fn whom_nobody_free_can_serve_holds_nobody_up() {
        let agents = [(Doing::Idle, 0), (Doing::Busy(0.0), TAX)];
        assert_eq!(median(&agents, &[TAX, TAX], 0), 0.0);
        let all = median(&agents, &[0, 0], 0);
        assert!(all > 60.0, "{all}");
    }

    #[test]
    fn a_skill_is_waited_for_as_long_as_those_take_who_have_it() {
        let agents = [(Doing::Idle, 0), (Doing::Idle, 0), (Doing::Busy(0.0), TAX)];
        assert_eq!(median(&agents, &[], 0), 0.0);
        let one = median(&agents, &[], TAX);
        assert!(one > 60.0, "{one}");
        // Those before who need it too come first; others are served by others.
        let third = median(&agents, &[TAX, TAX], TAX);
        assert!(third > 2.0 * one, "{third} after {one}");
        let beside = median(&agents, &[0, 0], TAX);
        assert!((beside - one).abs() < 0.2 * one, "{beside}, not {one}");
        // Nobody has it.
        assert_eq!(median(&agents[..2], &[], TAX), f64::INFINITY);
    }

    #[test]
    fn without_skills_nothing_is_otherwise() {
        let agents = [(Doing::Busy(0.0), TAX), (Doing::Busy(-60.0), TAX)];
        let plain = agents.map(|(doing, _)| (doing, 0));
        let line = [0, 0, 0];
        let waits = median(&agents, &line, TAX);
        assert_eq!(waits.to_bits(), median(&plain, &line, 0).to_bits());
    }
}
