//! What a call tells whoever owns it, and what is written down of it.

use std::sync::Arc;

use helpline_core::ivr::io::{Input, TraceLine};
use helpline_core::ivr::replay::{CAME, Came};
use serde::Serialize;

use super::Task;
use crate::voice::CallEvent;

impl Task {
    /// Flows decide by the lines as they stand now.
    pub(super) fn see_queues(&mut self) {
        if !self.machine.reads_queues() {
            return;
        }
        let queues = (self.queues)();
        if !Arc::ptr_eq(&queues, &self.seen) {
            self.seen = Arc::clone(&queues);
            self.handle(Input::Queues(queues));
        }
    }

    /// The flow takes an input; what may be stored of it is, for a replay.
    pub(super) fn handle(&mut self, input: Input) {
        let came = Came::take(&mut self.machine, self.began, self.clock.time(), input);
        self.note(CAME, &came);
    }

    pub(super) fn note(&mut self, kind: &'static str, what: &impl Serialize) {
        let Ok(data) = serde_json::to_string(what) else {
            return;
        };
        self.trace(TraceLine {
            flow: self.machine.flow_name().to_owned(),
            node: String::new(),
            kind,
            data,
        });
    }

    /// A reader that is 1,024 events behind loses this one.
    pub(super) fn tell(&self, event: CallEvent) {
        if self.events.try_send(event).is_err() {
            tracing::debug!("an event of a call found no reader");
        }
    }

    /// What a line says is counted. A trace is for people: one that nobody reads is dropped,
    /// and counted.
    pub(super) fn trace(&mut self, line: TraceLine) {
        let at = self.clock.time().since(self.began);
        for measure in self.measurer.read(at, &line) {
            self.counters.measure(measure);
        }
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        if self.events.try_send(CallEvent::Trace(at, line)).is_err() {
            self.counters.traces_dropped.add();
        }
    }
}
