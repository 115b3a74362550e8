//! What the machine itself makes late: threads that only sleep, above the daemon's own
//! priority, one a core. What they miss nobody on this machine could have kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::voice::media::realtime::{PHASE, now, raise_priority, sleep_until};

/// Above the media threads, which have 20.
const PRIORITY: i32 = 30;

/// Threads that watch the machine.
pub struct Bystander {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<f64>>>,
}

/// How late they woke.
#[derive(Clone, Copy, Debug)]
pub struct MachineLate {
    /// In 99 of 100 times, milliseconds.
    pub p99_ms: f64,
    /// At most, milliseconds.
    pub max_ms: f64,
}

impl Bystander {
    /// Starts one thread a core; `None` where real-time priority is not allowed, for then
    /// they would measure their own rank.
    #[must_use]
    pub fn start() -> Option<Bystander> {
        let cores = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let done = Arc::new(AtomicBool::new(false));
        let (ranks, ranked) = std::sync::mpsc::channel();
        let threads: Vec<_> = (0..CpuSet::count())
            .filter(|core| cores.is_set(*core).unwrap_or(false))
            .filter_map(|core| {
                let (done, ranks) = (Arc::clone(&done), ranks.clone());
                let watch = move || {
                    let allowed = stay_on(core) && raise_priority(PRIORITY);
                    // The receiver waits for every thread.
                    let _ = ranks.send(allowed);
                    drop(ranks);
                    lateness(&done)
                };
                let named = std::thread::Builder::new().name(format!("bystander-{core}"));
                named.spawn(watch).ok()
            })
            .collect();
        drop(ranks);
        let bystander = Bystander { done, threads };
        if ranked.iter().all(|allowed| allowed) {
            return Some(bystander);
        }
        // What they saw is worth nothing.
        let _ = bystander.end();
        None
    }

    /// Ends the threads and tells what they saw.
    #[must_use]
    pub fn end(self) -> MachineLate {
        self.done.store(true, Relaxed);
        let mut late: Vec<f64> = (self.threads.into_iter())
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect();
        late.sort_by(f64::total_cmp);
        let at = |count: usize| late.get(count.min(late.len().saturating_sub(1))).copied();
        MachineLate {
            p99_ms: at(late.len() * 99 / 100).unwrap_or(0.0),
            max_ms: late.last().copied().unwrap_or(0.0),
        }
    }
}

fn stay_on(core: usize) -> bool {
    let mut one = CpuSet::new();
    one.set(core).is_ok() && sched_setaffinity(Pid::from_raw(0), &one).is_ok()
}

/// Wakes every phase until told to stop; how late each time, milliseconds.
fn lateness(done: &AtomicBool) -> Vec<f64> {
    let mut late = Vec::new();
    let mut due = now();
    while !done.load(Relaxed) {
        due = due + PHASE;
        sleep_until(due);
        let woke = now();
        late.push(woke.since(due).as_secs_f64() * 1_000.0);
        // What was slept through is one delay, not many.
        due = due.max(woke);
    }
    late
}
