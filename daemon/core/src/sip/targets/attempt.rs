//! One attempt over the targets of a trunk: whether a failure at one allows the next.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Targets one attempt may use: more would keep the customer's line busy for minutes.
const TRIES_MAX: usize = 4;
/// Q.850 causes that say the network had no way: no circuit, out of order, temporary
/// failure, congestion.
const NO_WAY: [u8; 4] = [34, 38, 41, 42];

/// How a call failed at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It never left: no connection, or ICMP said so before any answer.
    NotSent,
    /// Not even a 100, and an OPTIONS to the same target was not answered either.
    Silent,
    /// A final failure answer.
    Refused {
        /// Status code.
        code: u16,
        /// Cause of a `Reason: Q.850` (RFC 3326), if one came.
        q850: Option<u8>,
        /// Retry-After (RFC 3261 section 20.33), if one came.
        retry_after: Option<Duration>,
    },
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The call surely did not start: this target is next.
    Next(SocketAddr),
    /// The result stands.
    Stands,
}

impl Failure {
    /// Whether the call surely did not start, so that another target may be asked. After
    /// any 180 or 183 (`rang`) the answer is always no.
    #[must_use]
    pub fn allows_next(&self, rang: bool) -> bool {
        if rang {
            return false;
        }
        match *self {
            Failure::NotSent | Failure::Silent => true,
            // 6xx is about the callee, wherever it was asked (RFC 3261 section 21.6); 3xx
            // is never followed. A cause weighs more than the code beside it.
            Failure::Refused { code, q850, .. } => match q850 {
                Some(cause) => (400..600).contains(&code) && NO_WAY.contains(&cause),
                None => matches!(code, 500 | 502 | 503 | 504),
            },
        }
    }

    /// Whether it says something about the target, rather than about the callee, the
    /// number or our credentials.
    #[must_use]
    pub fn blames_target(&self) -> bool {
        self.allows_next(false)
    }
}

/// The targets an attempt has not used yet.
#[derive(Clone, Debug)]
pub struct Attempt {
    rest: VecDeque<SocketAddr>,
    rang: bool,
}

impl Attempt {
    /// An attempt over `order`, best first; at most four are used.
    #[must_use]
    pub fn new(order: Vec<SocketAddr>) -> Self {
        let mut rest = VecDeque::from(order);
        rest.truncate(TRIES_MAX);
        Attempt { rest, rang: false }
    }

    /// The first target. `None`: there is none, or none that is open.
    pub fn first(&mut self) -> Option<SocketAddr> {
        self.rest.pop_front()
    }

    /// A 180 or 183 came: from now on every result stands.
    pub fn ringing(&mut self) {
        self.rang = true;
    }

    /// What follows `failure` at the target in use.
    pub fn failed(&mut self, failure: &Failure) -> Verdict {
        if !failure.allows_next(self.rang) {
            return Verdict::Stands;
        }
        match self.rest.pop_front() {
            Some(next) => Verdict::Next(next),
            None => Verdict::Stands,
        }
    }
}
