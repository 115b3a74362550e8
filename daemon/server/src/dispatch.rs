//! The dialler: takes the next request when a call is free, commits the attempt, has
//! `voice` call, and settles what came of it. One loop, one task a call.

mod agent_first;
mod call;

use std::sync::Arc;
use std::time::Duration;

use helpline_core::time::Time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::assist::Assist;
use crate::clock::Clock;
use crate::config::{Config, Mode};
use crate::desk::{Claimed, Desk, Placed, StoreError};
use crate::voice::Voice;

use agent_first::AgentFirst;

/// With a database of its own the daemon knows of every change; this only bounds how
/// long an old request is overlooked.
const IDLE_ALONE: Duration = Duration::from_secs(300);
/// Other nodes may add requests to a shared database.
const IDLE_SHARED: Duration = Duration::from_secs(1);
/// Between two looks at the age of waiting requests.
const AGES_EVERY: Duration = Duration::from_secs(30);
/// Between two searches for what hung tasks and dead nodes left.
const REAP_EVERY: Duration = Duration::from_secs(10);
/// After a store error nothing is reaped for so long.
const REAP_REST: Duration = Duration::from_secs(30);
/// Between two renewals of the node's lease.
const BEAT_EVERY: Duration = Duration::from_secs(10);
/// Without a renewal for so long no call is placed: others may take this node for dead.
const BEAT_DOUBT: Duration = Duration::from_secs(25);
/// Between two sweeps of limits and keys.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// After a store error, or when no trunk has room.
const PAUSE_FAILED: Duration = Duration::from_secs(1);
const PAUSE_NO_ROOM: Duration = Duration::from_millis(100);
/// After the clock went back meanwhile, or a request was gone when it was to be called.
const PAUSE_STEPPED: Duration = Duration::from_millis(100);

/// What calls are placed with.
#[derive(Clone)]
pub struct Means {
    /// Places calls.
    pub voice: Voice,
    /// Serves what their flows ask for.
    pub assist: Arc<Assist>,
}

/// The dialler of one daemon.
#[derive(Clone)]
pub struct Dispatch {
    desk: Arc<Desk>,
    means: Option<Means>,
    config: Arc<Config>,
    clock: Clock,
    calls: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatch")
            .field("calls", &self.calls.len())
            .finish_non_exhaustive()
    }
}

/// When the regular works were done last.
struct Pulse {
    beat: Time,
    /// `None`: it is due.
    reap: Option<Time>,
    ages: Option<Time>,
    sweep: Time,
    /// Taken from the line and not placed: given back as soon as the store answers, or
    /// they would hold up a queue until their lease is over.
    owed: Vec<Claimed>,
}

impl Dispatch {
    /// A dialler. `stop`: claim no more, calls go on. `cut`: end the calls too. Every call
    /// is a task of `calls`. Without `means` it keeps the timers of the line and calls nobody.
    #[must_use]
    pub fn new(
        desk: Arc<Desk>,
        means: Option<Means>,
        config: Arc<Config>,
        clock: Clock,
        calls: TaskTracker,
        stop: CancellationToken,
        cut: CancellationToken,
    ) -> Dispatch {
        Dispatch {
            desk,
            means,
            config,
            clock,
            calls,
            stop,
            cut,
        }
    }

    /// Runs until `stop`. `Desk::start` has succeeded before. A store that is away is
    /// waited for.
    pub async fn run(self) {
        let changed = self.desk.line_changed();
        let now = self.clock.time();
        let mut pulse = Pulse {
            beat: now,
            reap: Some(now),
            ages: None,
            sweep: now,
            owed: Vec::new(),
        };
        while !self.stop.is_cancelled() {
            let pause = match self.turn(&mut pulse).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "the line could not be looked at");
                    // Calls that went on meanwhile write down their news first.
                    pulse.reap = Some(self.clock.time() + REAP_REST);
                    PAUSE_FAILED
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look at everything; how long nothing is to be done.
    async fn turn(&self, pulse: &mut Pulse) -> Result<Duration, StoreError> {
        let begun = self.clock.wall();
        let pause = self.turn_by_one_clock(pulse).await?;
        // After a step back, what was due by the look may not have been due any more when it
        // was to be taken, and pauses were told by another clock.
        match begun.since(self.clock.wall()).is_zero() {
            true => Ok(pause),
            false => Ok(pause.min(PAUSE_STEPPED)),
        }
    }

    /// The same, while nobody steps the clock back.
    async fn turn_by_one_clock(&self, pulse: &mut Pulse) -> Result<Duration, StoreError> {
        let now = self.clock.time();
        let shared = self.desk.is_shared();
        self.give_back(&mut pulse.owed).await?;
        if shared && now.since(pulse.beat) >= BEAT_EVERY {
            self.desk.beat().await?;
            // The moment before the renewal was sent: the lease is at least that long.
            pulse.beat = now;
        }
        let reap_every = if shared { PAUSE_FAILED } else { REAP_EVERY };
        if pulse.reap.is_none_or(|last| now.since(last) >= reap_every) {
            self.desk.reap().await?;
            pulse.reap = Some(now);
        }
        if now.since(pulse.sweep) >= SWEEP_EVERY {
            self.desk.sweep().await?;
            pulse.sweep = now;
        }
        let ages = pulse.ages.is_none_or(|last| now.since(last) >= AGES_EVERY);
        let look = self.desk.look(ages).await?;
        if ages {
            pulse.ages = Some(now);
        }
        let mut pause = if shared { IDLE_SHARED } else { IDLE_ALONE };
        if let Some(next) = look.next {
            let wait = next.since(look.now);
            // A row that is due and did not move belongs to a queue we do not know.
            pause = pause.min(if wait.is_zero() && !look.moved {
                PAUSE_FAILED
            } else {
                wait
            });
        }
        if shared && self.clock.time().since(pulse.beat) >= BEAT_DOUBT {
            return Ok(pause.min(PAUSE_FAILED));
        }
        let Some(means) = &self.means else {
            return Ok(pause);
        };
        for queue in &self.config.queue {
            let callable = look.callable.contains(&queue.name);
            if !callable
                || self.config.trunk.is_empty()
                || !self.desk.is_open(&queue.name, look.now)
            {
                continue;
            }
            if let Some(wait) = self.fill(means, &queue.name, pulse).await? {
                pause = pause.min(wait);
            }
            if queue.agents.are_people() {
                // An agent may be free on another node, or a preference be over.
                pause = pause.min(IDLE_SHARED);
            }
        }
        Ok(pause)
    }

    /// Places every call a queue has room for; when to come back, if a trunk or the clock is in
    /// the way. What was taken and not placed is owed when this fails.
    async fn fill(
        &self,
        means: &Means,
        queue: &str,
        pulse: &mut Pulse,
    ) -> Result<Option<Duration>, StoreError> {
        let room = self.desk.take(queue).await?;
        let mut wait = room
            .next
            .map(|at| at.since(self.clock.wall()).max(Duration::from_millis(1)));
        let owed = &mut pulse.owed;
        *owed = room.claimed;
        owed.reverse();
        while let Some(request) = owed.last()
            && !self.stop.is_cancelled()
        {
            // Listening begins before the commit: a withdrawal in between is not missed.
            let withdrawals = self.desk.cancellations();
            if request.agent.is_some() && self.is_agent_first(queue) {
                let request = request.clone();
                owed.pop();
                let first = AgentFirst::new(self, means, request);
                self.calls.spawn(first.run(withdrawals));
                continue;
            }
            match self.desk.place(request).await? {
                Placed::Go(live) => {
                    owed.pop();
                    let task = call::CallTask::new(self, means, *live);
                    self.calls.spawn(task.run(withdrawals, None));
                }
                Placed::Gone => {
                    // Perhaps a clock that stepped on has ended the lease: it is looked after
                    // at once, for the next look counts on the lease.
                    pulse.reap = None;
                    wait = Some(PAUSE_STEPPED);
                    owed.pop();
                }
                Placed::NoRoom => {
                    owed.pop();
                    wait = Some(PAUSE_NO_ROOM);
                    break;
                }
            }
        }
        // The rest keeps its place in line.
        self.give_back(owed).await?;
        Ok(wait)
    }

    fn is_agent_first(&self, queue: &str) -> bool {
        let queue = self.desk.queue(queue);
        queue.is_some_and(|queue| queue.agents.mode == Mode::AgentFirst)
    }

    /// One whose intent may have been committed meanwhile is left alone by the store.
    async fn give_back(&self, owed: &mut Vec<Claimed>) -> Result<(), StoreError> {
        while let Some(request) = owed.last() {
            self.desk.give_back(request).await?;
            owed.pop();
        }
        Ok(())
    }
}
