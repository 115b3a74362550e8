//! The states of a request and the words written for them.

use serde::{Deserialize, Serialize};

/// Where a request stands. The words are written in rows, status pages and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In line for the next free call.
    Waiting,
    /// Booked for a time that is not yet there.
    Scheduled,
    /// Taken by a dialler, nothing sent yet.
    Leased,
    /// An attempt is committed; the telephone is about to ring or rings.
    Dialling,
    /// The customer's telephone was picked up.
    Answered,
    /// The customer talks to the help channel.
    Connected,
    /// Between two attempts.
    Backoff,
    /// Waits for a reason to go away ([`HeldReason`]).
    Held,
    /// The talk took place.
    Done,
    /// Withdrawn by the customer or an operator.
    Cancelled,
    /// Stands for another open request of the same number.
    Merged,
    /// Never tried, too old.
    Expired,
    /// Tried often enough, or the number does not exist.
    Unreachable,
    /// The number may not be called.
    Suppressed,
    /// Not accepted.
    Refused,
    /// The customer phoned in and was helped.
    SettledInbound,
}

impl State {
    /// Every state, for tables and tests.
    pub const ALL: [State; 16] = [
        State::Waiting,
        State::Scheduled,
        State::Leased,
        State::Dialling,
        State::Answered,
        State::Connected,
        State::Backoff,
        State::Held,
        State::Done,
        State::Cancelled,
        State::Merged,
        State::Expired,
        State::Unreachable,
        State::Suppressed,
        State::Refused,
        State::SettledInbound,
    ];

    /// The word of the row.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Scheduled => "scheduled",
            State::Leased => "leased",
            State::Dialling => "dialling",
            State::Answered => "answered",
            State::Connected => "connected",
            State::Backoff => "backoff",
            State::Held => "held",
            State::Done => "done",
            State::Cancelled => "cancelled",
            State::Merged => "merged",
            State::Expired => "expired",
            State::Unreachable => "unreachable",
            State::Suppressed => "suppressed",
            State::Refused => "refused",
            State::SettledInbound => "settled_inbound",
        }
    }

    /// The state a row names, if it is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.word() == word)
    }

    /// Whether the request still expects something; terminal states are not open.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(
            self,
            State::Waiting
                | State::Scheduled
                | State::Leased
                | State::Dialling
                | State::Answered
                | State::Connected
                | State::Backoff
                | State::Held
        )
    }

    /// Whether an attempt is live in this state.
    #[must_use]
    pub const fn has_call(self) -> bool {
        matches!(self, State::Dialling | State::Answered | State::Connected)
    }
}

/// Why a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldReason {
    /// The calendar of the queue is closed.
    Closed,
    /// A talk broke off through our fault: no machine calls again by itself.
    Interrupted,
    /// The trunk does not accept our calls: an operator has to look.
    TrunkRefused,
    /// Nothing vouches for the mail: its writer has to use the link in our answer.
    Unverified,
    /// The mail may be forged, or nobody may be asked: an operator has to decide.
    Doubtful,
}

impl HeldReason {
    /// The word of the row.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            HeldReason::Closed => "closed",
            HeldReason::Interrupted => "interrupted",
            HeldReason::TrunkRefused => "trunk_refused",
            HeldReason::Unverified => "unverified",
            HeldReason::Doubtful => "doubtful",
        }
    }

    /// Whether nobody has shown yet that the request is meant: it has no place in the line.
    #[must_use]
    pub const fn is_unproven(self) -> bool {
        matches!(self, HeldReason::Unverified | HeldReason::Doubtful)
    }

    /// The reason a row names, if it is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [
            HeldReason::Closed,
            HeldReason::Interrupted,
            HeldReason::TrunkRefused,
            HeldReason::Unverified,
            HeldReason::Doubtful,
        ]
        .into_iter()
        .find(|r| r.word() == word)
    }
}
