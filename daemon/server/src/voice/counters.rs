//! What the engine counts for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use helpline_core::ivr::measure::{Measure, Tally};

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The engine's counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) placed: Counter,
    pub(super) answered: Counter,
    pub(super) refused: Counter,
    pub(super) unreachable: Counter,
    pub(super) unanswered: Counter,
    pub(super) incoming: Counter,
    pub(super) incoming_refused: Counter,
    pub(super) ended: Counter,
    pub(super) no_rtp: Counter,
    pub(super) say_errors: Counter,
    pub(super) keys_rfc4733: Counter,
    pub(super) keys_info: Counter,
    pub(super) keys_inband: Counter,
    pub(super) traces_dropped: Counter,
    flows: Mutex<Tally>,
}

/// Values of the engine's counters since its start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineCounters {
    /// INVITEs sent, one a call.
    pub placed: u64,
    /// Calls we placed that were answered.
    pub answered: u64,
    /// Calls we placed that got a final failure answer.
    pub refused: u64,
    /// Calls whose trunk did not answer at all, or that could not be sent.
    pub unreachable: u64,
    /// Calls that rang out, were cancelled or had no media.
    pub unanswered: u64,
    /// Calls that came in and were answered.
    pub incoming: u64,
    /// Calls that came in and were refused by the engine (no codec, no port).
    pub incoming_refused: u64,
    /// Reports given.
    pub ended: u64,
    /// Calls ended because no RTP came.
    pub no_rtp: u64,
    /// Clips or tones a flow asked for that were not there.
    pub say_errors: u64,
    /// Keys heard by RFC 4733.
    pub keys_rfc4733: u64,
    /// Keys told by INFO.
    pub keys_info: u64,
    /// Keys heard in the sound.
    pub keys_inband: u64,
    /// Trace lines dropped because nobody read them.
    pub traces_dropped: u64,
    /// Datagrams the gate refused, by reason.
    pub gate: Vec<(&'static str, u64)>,
    /// What callers did in flows.
    pub flows: Tally,
}

impl Counters {
    pub(super) fn measure(&self, measure: Measure) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows.add(measure);
    }

    pub(super) fn snapshot(&self, gate: Vec<(&'static str, u64)>) -> EngineCounters {
        EngineCounters {
            placed: self.placed.get(),
            answered: self.answered.get(),
            refused: self.refused.get(),
            unreachable: self.unreachable.get(),
            unanswered: self.unanswered.get(),
            incoming: self.incoming.get(),
            incoming_refused: self.incoming_refused.get(),
            ended: self.ended.get(),
            no_rtp: self.no_rtp.get(),
            say_errors: self.say_errors.get(),
            keys_rfc4733: self.keys_rfc4733.get(),
            keys_info: self.keys_info.get(),
            keys_inband: self.keys_inband.get(),
            traces_dropped: self.traces_dropped.get(),
            gate,
            flows: (self.flows.lock())
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}
