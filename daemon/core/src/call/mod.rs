//! One call: what it is asked to do, what happened on it, and how it counts.

pub mod disposition;
pub mod settle;

use std::time::Duration;

pub use disposition::Disposition;
pub use settle::Ledger;

use crate::audio::answer::Answerer;

/// Why the signalling of a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The far end gave a final failure answer.
    Refused {
        /// SIP status code, 300-699.
        code: u16,
        /// Cause of a `Reason: Q.850` header (RFC 3326), if one came.
        q850: Option<u8>,
    },
    /// We cancelled when the ring limit passed.
    RingLimit,
    /// The transport failed, or the trunk never answered at all (not even 100).
    Unreachable,
    /// No final answer came from a trunk that lives, until the ring limit or the
    /// transaction's end.
    Silent,
    /// The call was answered and then ended.
    HungUp {
        /// True when the far end sent the BYE.
        by_customer: bool,
    },
    /// We gave up before an answer: the daemon stops or, if settled so, the request was
    /// withdrawn.
    Cancelled,
    /// A 200 without a usable SDP answer.
    NoMedia,
}

impl End {
    /// Whether whoever was called said no: busy, or declined.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            End::Refused {
                code: 486 | 600 | 603,
                ..
            }
        )
    }
}

/// What the flow settled during the call, in the order of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The customer accepted and was joined to the help channel.
    Accepted,
    /// The customer chose another time.
    Later {
        /// The time chosen.
        at: crate::time::Wall,
    },
    /// "I did not ask for this call."
    Stop,
    /// The request was withdrawn, in the flow or while the telephone rang.
    Withdrawn,
    /// The customer accepted, but the help channel never came.
    Abandoned,
}

/// Everything known about a finished outgoing call; [`disposition::of`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallReport {
    /// Why it ended.
    pub end: End,
    /// A 180 or 183 was seen.
    pub rang: bool,
    /// Time from answer to end; zero when never answered.
    pub talked_for: Duration,
    /// What the flow settled, if anything.
    pub settled: Option<Settled>,
    /// Who answered, as far as sound tells; `None` also after a key: a person pressed it.
    pub answerer: Option<Answerer>,
}
