//! The targets of a trunk: which is asked next, which is up, which is closed for a
//! while (RFC 3263 section 4.3, RFC 2782), and whether a call that failed at one may
//! be tried at the next. Fail-over must never make two telephones ring.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::rng::Rng;
use crate::time::Time;

mod attempt;

pub use attempt::{Attempt, Failure, Verdict};

/// How often a target that is up is asked, ± [`SPREAD`].
pub const PROBE_EVERY: Duration = Duration::from_secs(30);
/// First pause before a target that missed is asked again; it grows by the same step.
const RECHECK_STEP: Duration = Duration::from_secs(5);
/// Longest such pause.
const RECHECK_MAX: Duration = Duration::from_secs(60);
/// Share by which pauses are spread.
const SPREAD: f64 = 0.1;
/// Unanswered questions after which a target is down.
const MISSES_MAX: u32 = 2;
/// Calls in a row that failed at a target without ringing, after which it is a last resort.
const FAILURES_MAX: u32 = 5;
/// For how long.
const BROKEN_FOR: Duration = Duration::from_secs(30);
/// Longest time a Retry-After may close a target; a longer one is cut.
pub const CLOSED_MAX: Duration = Duration::from_secs(600);
/// Targets kept of one trunk.
pub const TARGETS_MAX: usize = 16;

/// Where a trunk can be reached, as DNS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address and port.
    pub address: SocketAddr,
    /// SRV priority: lower ones first.
    pub priority: u16,
    /// SRV weight: share among those of one priority.
    pub weight: u16,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// DNS gave this set. Targets that stay keep their state.
    Resolved(Vec<Target>),
    /// An OPTIONS was answered finally, with whatever code, or not.
    Probed {
        /// Of which target.
        address: SocketAddr,
        /// Any final answer counts.
        answered: bool,
    },
    /// A target answered a call: ringing, connected, or refused for the callee's reasons.
    Served(SocketAddr),
    /// A call failed at a target.
    Failed(SocketAddr, Failure),
    /// [`Targets::deadline`] has come.
    Timeout,
}

/// What is to be done or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send an OPTIONS to it; the answer is an [`Input::Probed`].
    Probe(SocketAddr),
    /// It answers again.
    Up(SocketAddr),
    /// It does not answer.
    Down(SocketAddr),
}

#[derive(Clone, Debug)]
struct Entry {
    target: Target,
    up: bool,
    misses: u32,
    /// Calls in a row that failed here.
    failures: u32,
    /// Pause before the next question while it is not answering.
    recheck: Duration,
    probe_at: Time,
    /// No call before this: Retry-After.
    closed_until: Time,
    /// Last resort until this: too many calls failed.
    broken_until: Time,
}

/// The targets of one trunk.
#[derive(Clone, Debug)]
pub struct Targets {
    entries: Vec<Entry>,
    outputs: VecDeque<Output>,
    rng: Rng,
}

impl Targets {
    /// No targets yet; they come by [`Input::Resolved`].
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Targets {
            entries: Vec::new(),
            outputs: VecDeque::new(),
            rng,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Resolved(targets) => self.resolved(now, targets),
            Input::Probed { address, answered } => self.probed(now, address, answered),
            Input::Served(address) => self.served(now, address),
            // A refusal for the callee's reasons is an answer like any other.
            Input::Failed(address, failure) if failure.blames_target() => {
                self.failed(now, address, &failure);
            }
            Input::Failed(address, _) => self.served(now, address),
            Input::Timeout => {
                for entry in &mut self.entries {
                    if entry.probe_at <= now {
                        self.outputs.push_back(Output::Probe(entry.target.address));
                        // The answer sets the next time; this one holds if none ever comes.
                        entry.probe_at = now + PROBE_EVERY;
                    }
                }
            }
        }
    }

    /// The next thing to do or to tell.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Targets::handle`] with [`Input::Timeout`].
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.entries.iter().map(|e| e.probe_at).min()
    }

    /// Whether any target answered lately.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.entries.iter().any(|e| e.up)
    }

    /// All addresses, in the order of DNS.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.entries.iter().map(|e| e.target.address)
    }

    /// Targets for a new call, first choice first: by priority, within it at random by
    /// weight (RFC 2782). Those that are down or broken come last, closed ones not at all.
    pub fn order(&mut self, now: Time) -> Vec<SocketAddr> {
        let open = self.entries.iter().filter(|e| e.closed_until <= now);
        let mut rest: Vec<(bool, Target)> = open
            .map(|e| (!e.up || e.broken_until > now, e.target))
            .collect();
        let mut order = Vec::with_capacity(rest.len());
        while let Some(best) = rest.iter().map(|(last, t)| (*last, t.priority)).min() {
            let (mut group, others): (Vec<_>, Vec<_>) = rest
                .into_iter()
                .partition(|(l, t)| (*l, t.priority) == best);
            rest = others;
            while !group.is_empty() {
                let index = draw(&group, &mut self.rng);
                order.push(group.remove(index).1.address);
            }
        }
        order
    }

    /// How long until a closed target may be called again; `None` if one is open, or
    /// there is none at all.
    #[must_use]
    pub fn closed_for(&self, now: Time) -> Option<Duration> {
        let first = self.entries.iter().map(|e| e.closed_until).min()?;
        (first > now).then(|| first.since(now))
    }

    fn resolved(&mut self, now: Time, targets: Vec<Target>) {
        let mut old = std::mem::take(&mut self.entries);
        for target in targets.into_iter().take(TARGETS_MAX) {
            if self.find(target.address).is_some() {
                continue;
            }
            let known = old.iter().position(|e| e.target.address == target.address);
            let entry = match known {
                Some(index) => Entry {
                    target,
                    ..old.swap_remove(index)
                },
                None => Entry {
                    target,
                    up: true,
                    misses: 0,
                    failures: 0,
                    recheck: RECHECK_STEP,
                    // Asked at once: nobody wants to learn by a customer's call.
                    probe_at: now,
                    closed_until: Time::ZERO,
                    broken_until: Time::ZERO,
                },
            };
            self.entries.push(entry);
        }
    }

    fn find(&mut self, address: SocketAddr) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|e| e.target.address == address)
    }

    fn probed(&mut self, now: Time, address: SocketAddr, answered: bool) {
        if answered {
            self.rise(address);
        }
        let pause = {
            let Some(entry) = self.find(address) else {
                return;
            };
            if answered {
                PROBE_EVERY
            } else {
                entry.misses = entry.misses.saturating_add(1);
                let pause = entry.recheck;
                entry.recheck = next_recheck(pause);
                pause
            }
        };
        let pause = self.rng.jitter(pause, SPREAD);
        let mut fell = false;
        if let Some(entry) = self.find(address) {
            entry.probe_at = now + pause;
            fell = entry.misses >= MISSES_MAX && std::mem::replace(&mut entry.up, false);
        }
        if fell {
            self.outputs.push_back(Output::Down(address));
        }
    }

    fn served(&mut self, now: Time, address: SocketAddr) {
        self.rise(address);
        if let Some(entry) = self.find(address) {
            entry.failures = 0;
            entry.broken_until = now;
        }
    }

    /// It answered something: it is up.
    fn rise(&mut self, address: SocketAddr) {
        let Some(entry) = self.find(address) else {
            return;
        };
        entry.misses = 0;
        entry.recheck = RECHECK_STEP;
        if !std::mem::replace(&mut entry.up, true) {
            self.outputs.push_back(Output::Up(address));
        }
    }

    fn failed(&mut self, now: Time, address: SocketAddr, failure: &Failure) {
        match failure {
            Failure::Refused { retry_after, .. } => {
                self.rise(address);
                self.broke(now, address);
                if let (Some(wait), Some(entry)) = (retry_after, self.find(address)) {
                    entry.closed_until = now + (*wait).min(CLOSED_MAX);
                }
            }
            Failure::NotSent | Failure::Silent => {
                self.broke(now, address);
                let Some(entry) = self.find(address) else {
                    return;
                };
                entry.misses = MISSES_MAX;
                // Asked soon: a call saw it first.
                entry.probe_at = entry.probe_at.min(now + RECHECK_STEP);
                if std::mem::replace(&mut entry.up, false) {
                    self.outputs.push_back(Output::Down(address));
                }
            }
        }
    }

    /// One more call that failed here.
    fn broke(&mut self, now: Time, address: SocketAddr) {
        if let Some(entry) = self.find(address) {
            entry.failures = entry.failures.saturating_add(1);
            if entry.failures >= FAILURES_MAX {
                // One call decides after that time: the count stays at its limit.
                entry.broken_until = now + BROKEN_FOR;
            }
        }
    }
}

/// 5, 10, 20, 40, 60, 60 ... seconds.
fn next_recheck(pause: Duration) -> Duration {
    (pause * 2).min(RECHECK_MAX)
}

/// Index of the next target among those of one priority (RFC 2782, page 3).
fn draw(group: &[(bool, Target)], rng: &mut Rng) -> usize {
    let total: u64 = group.iter().map(|(_, t)| u64::from(t.weight)).sum();
    if total == 0 {
        let size = u64::try_from(group.len()).unwrap_or(1);
        return usize::try_from(rng.below(size)).unwrap_or(0);
    }
    // Those without a weight stand in front: they have a small chance, not none.
    let mut pick = rng.below(total + 1);
    let zero = |t: &Target| t.weight == 0;
    let lightest = group.iter().position(|(_, t)| zero(t));
    if let (0, Some(index)) = (pick, lightest) {
        return index;
    }
    for (index, (_, target)) in group.iter().enumerate() {
        let weight = u64::from(target.weight);
        if weight > 0 && pick <= weight {
            return index;
        }
        pick = pick.saturating_sub(weight);
    }
    0
}

#[cfg(test)]
mod tests;
