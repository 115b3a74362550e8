//! (being written)
use std::sync::Arc;
use std::time::Duration;

use helpline_core::time::Time;
use tokio::sync::mpsc;

use super::MediaEvent;
use super::counters::{LegStats, Shared};
use super::ports::Pair;
use super::thread::Order;

pub(super) struct Opening {
    pub(super) id: u64,
    pub(super) pair: Pair,
    pub(super) seed: u64,
    pub(super) no_rtp: Duration,
    pub(super) events: mpsc::Sender<MediaEvent>,
    pub(super) stats: Arc<LegStats>,
    pub(super) shared: Arc<Shared>,
}
#[derive(Debug)]
pub(super) struct Leg {
    id: u64,
}
impl Leg {
    pub(super) fn new(opening: Opening) -> Leg {
        Leg { id: opening.id }
    }
    pub(super) fn id(&self) -> u64 {
        self.id
    }
    pub(super) fn order(&mut self, _now: Time, _order: Order) {}
    pub(super) fn slot(&mut self, _now: Time, _skipped: u32) {}
    pub(super) fn close(self) {}
    pub(super) fn failed(self) {}
}
