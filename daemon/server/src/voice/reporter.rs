//! The last word of a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use helpline_core::call::{CallReport, End};
use tokio::sync::mpsc;

use super::CallEvent;
use super::counters::Counters;

/// How long the last word of a call may take to reach its reader.
const REPORT_LIMIT: Duration = Duration::from_secs(10);

/// Gives a call's report exactly once, also when its task dies.
pub(super) struct Reporter {
    events: mpsc::Sender<CallEvent>,
    counters: Arc<Counters>,
    active: Arc<AtomicUsize>,
    /// Filled in while the call goes on.
    pub(super) report: CallReport,
    told: bool,
}

impl Reporter {
    /// Counts the call as active until the report is given.
    pub(super) fn new(
        active: &Arc<AtomicUsize>,
        counters: &Arc<Counters>,
        events: mpsc::Sender<CallEvent>,
    ) -> Self {
        active.fetch_add(1, Ordering::Relaxed);
        Reporter {
            events,
            counters: Arc::clone(counters),
            active: Arc::clone(active),
            report: CallReport {
                end: End::Unreachable,
                rang: false,
                talked_for: Duration::ZERO,
                settled: None,
                answerer: None,
            },
            told: false,
        }
    }

    /// Gives the report.
    pub(super) async fn tell(mut self) {
        self.told = true;
        let ended = CallEvent::Ended(self.report);
        // A reader that went away needs no report.
        let _ = self.events.send_timeout(ended, REPORT_LIMIT).await;
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        self.counters.ended.add();
        if !self.told {
            // The task was torn down; a full channel means that nobody reads.
            let _ = self.events.try_send(CallEvent::Ended(self.report));
        }
    }
}
