//! The estimated wait and the promise made of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Wall;

/// The live line as the estimator sees it for one place in it.
#[derive(Clone, Debug, PartialEq)]
pub struct LineView {
    /// Requests that will be called before this one.
    pub ahead: u32,
    /// Calls that may be up at once (agents, or ports of the help flow).
    pub servers: u32,
    /// How long each call in progress has lasted; at most `servers`.
    pub busy: Vec<Duration>,
    /// Mean length of a call, ring and wrap-up included.
    pub mean_handling: Duration,
    /// Requests that give up, per waiting second (0 when nobody ever does).
    pub abandon_per_second: f64,
    /// The desk opens so much later; zero when it is open.
    pub opens_in: Duration,
}

/// Estimated time to the first ring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// 1 of 10 calls comes earlier.
    pub p10: Duration,
    /// Half of the calls come earlier.
    pub p50: Duration,
    /// 9 of 10 calls come by then.
    pub p90: Duration,
}

/// The sort of a promise; the words are those of `promise_json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromiseKind {
    /// Between two times.
    Range,
    /// Within a few minutes.
    Short,
    /// The desk is closed; after it opens.
    Closed,
    /// A booked time.
    Booked,
    /// No estimate can be given.
    None,
}

/// What the customer is told, kept in the request's row and never moved silently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Which sentence it is.
    pub kind: PromiseKind,
    /// Earliest time named, UTC.
    pub from: Wall,
    /// Latest time named, UTC.
    pub to: Wall,
    /// IANA zone in which the times are told.
    pub zone: String,
}

/// The wait for one place: Erlang's formula with abandonment over the live line.
#[must_use]
pub fn estimate(view: &LineView) -> Estimate {
    let _ = view;
    Estimate {
        p10: Duration::ZERO,
        p50: Duration::ZERO,
        p90: Duration::ZERO,
    }
}

impl Promise {
    /// The promise for an estimate made at `now`; `zone` is the customer's or the site's.
    #[must_use]
    pub fn from_estimate(estimate: &Estimate, view: &LineView, now: Wall, zone: &str) -> Self {
        let _ = (estimate, view);
        Promise {
            kind: PromiseKind::None,
            from: now,
            to: now,
            zone: zone.to_owned(),
        }
    }

    /// The promise of a booked time.
    #[must_use]
    pub fn booked(due: Wall, zone: &str) -> Self {
        Promise {
            kind: PromiseKind::Booked,
            from: due,
            to: due + Duration::from_secs(600),
            zone: zone.to_owned(),
        }
    }

    /// The sentence for page and mail. `position` is the place in line, 1 = next.
    #[must_use]
    pub fn text(&self, position: Option<u32>, now: Wall, language: &str) -> String {
        let _ = (position, now, language);
        String::new()
    }
}
