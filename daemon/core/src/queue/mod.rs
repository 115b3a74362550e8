//! The line: life cycle of a request, who is next, retries, and the estimated wait.
//!
//! [`step`] is the whole life cycle: state and event in, state and effects out. The
//! desk writes both in one transaction; nobody else changes the state of a request.

pub mod admission;
pub mod booking;
pub mod ewt;
pub mod harass;
pub mod order;
pub mod pacing;
pub mod retry;
mod state;

use std::time::Duration;

pub use state::{HeldReason, State};

use crate::call::Disposition;
use crate::time::Wall;

/// An open request older than this is closed: the promise of a call lasts two days.
pub const REQUEST_AGE_MAX: Duration = Duration::from_secs(48 * 3_600);
/// A number that said "stop" is not called for so long.
pub const STOP_FOR: Duration = Duration::from_secs(90 * 86_400);
/// An interrupted talk waits so long for the customer to ask again, then the request closes.
pub const INTERRUPTED_HOLD: Duration = Duration::from_secs(24 * 3_600);
/// A booking whose desk is closed, or a trunk that refuses, is looked at again after this.
pub const HOLD_RECHECK: Duration = Duration::from_secs(300);

/// What the life cycle needs to know about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestFacts {
    /// Where it stands.
    pub state: State,
    /// Why it is held, if it is.
    pub held_reason: Option<HeldReason>,
    /// When it was accepted.
    pub accepted_at: Wall,
    /// Booked time.
    pub due_at: Option<Wall>,
    /// Past this the booked time has to be asked anew.
    pub not_after: Option<Wall>,
    /// The moment the present wait (timer or hold) ends.
    pub not_before: Wall,
    /// Attempts that were counted.
    pub attempts: u32,
}

/// What happened to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its timer came, or the line was looked at: the desk is open, or opens at `next_open`.
    Looked {
        /// Whether the calendar of the queue is open now.
        open: bool,
        /// When it opens next; `None` if never.
        next_open: Option<Wall>,
    },
    /// The dialler took it.
    Claimed,
    /// The attempt row is committed; the INVITE may leave.
    Intent,
    /// The call was not even tried: back to the line.
    Released(Release),
    /// The customer answered the telephone.
    Answered,
    /// The customer was joined to the help channel.
    Connected,
    /// The attempt is over.
    Ended {
        /// How.
        disposition: Disposition,
        /// What the retry table says.
        next: retry::Next,
    },
    /// The customer, or an operator, withdrew it.
    Cancelled,
    /// The customer asked again for the same number.
    AskedAgain,
    /// Whoever wrote the mail used the link in our answer.
    Confirmed,
    /// The operator wants it called as soon as its turn comes.
    Hastened,
    /// The customer chose another time.
    Rescheduled {
        /// Not to be called before.
        due: Wall,
        /// Past this the time has to be asked anew.
        not_after: Option<Wall>,
    },
    /// The customer phoned in and was helped.
    TalkedInbound,
    /// The number landed on the do-not-call list.
    DoNotCall,
}

/// Why a claimed request went back untried. Nothing is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The daemon stops, or the lease was lost.
    Unused,
    /// No channel, or too many new calls a second.
    NoChannel,
    /// The number is on another call.
    NumberBusy,
    /// No trunk may be used now.
    NoTrunk,
}

impl Release {
    /// How long the request waits before it is looked at again. Where the trunk is the
    /// reason it does not wait: the dialler pauses for the whole line, else the next
    /// request would overtake this one.
    #[must_use]
    pub const fn wait(self) -> Duration {
        match self {
            Release::Unused | Release::NoChannel | Release::NoTrunk => Duration::ZERO,
            Release::NumberBusy => Duration::from_secs(60),
        }
    }
}

/// Mail that a step causes, when an address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail {
    /// We rang and nobody took the call; another try follows or the talk broke off.
    Attempted,
    /// The request is over without a talk.
    Closing,
}

/// What has to be written together with the new state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Not to be looked at before.
    pub not_before: Option<Wall>,
    /// New rank: 0 for a booking that is due.
    pub rank: Option<i64>,
    /// New booked time; the end of a window told before falls away with it.
    pub due_at: Option<Wall>,
    /// The end of the window of the new time.
    pub not_after: Option<Wall>,
    /// Why it is held.
    pub held_reason: Option<HeldReason>,
    /// The attempt counts against the caps.
    pub counted: bool,
    /// Mail to write.
    pub mail: Option<Mail>,
    /// The number goes on the do-not-call list for so long.
    pub suppress_for: Option<Duration>,
    /// A live leg has to be ended.
    pub hang_up: bool,
}

impl Effects {
    fn closing() -> Self {
        Effects {
            mail: Some(Mail::Closing),
            ..Effects::default()
        }
    }

    fn at(not_before: Wall) -> Self {
        Effects {
            not_before: Some(not_before),
            ..Effects::default()
        }
    }

    fn booked(due: Wall) -> Self {
        Effects {
            due_at: Some(due),
            ..Effects::at(due)
        }
    }

    fn held(reason: HeldReason, not_before: Wall) -> Self {
        Effects {
            held_reason: Some(reason),
            ..Effects::at(not_before)
        }
    }
}

/// The life cycle. An event that means nothing in a state leaves the state as it is.
#[must_use]
pub fn step(request: &RequestFacts, event: &Event, now: Wall) -> (State, Effects) {
    use State as S;
    let stay = || (request.state, Effects::default());
    match (request.state, event) {
        (state, _) if !state.is_open() => stay(),
        (S::Scheduled | S::Waiting | S::Backoff | S::Held, Event::Looked { open, next_open }) => {
            looked(request, *open, *next_open, now)
        }
        (S::Waiting, Event::Claimed) => (S::Leased, Effects::default()),
        (S::Leased, Event::Intent) => (S::Dialling, Effects::default()),
        (S::Leased | S::Dialling, Event::Released(why)) => {
            (S::Waiting, Effects::at(now + why.wait()))
        }
        (S::Dialling, Event::Answered) => (S::Answered, Effects::default()),
        (S::Dialling | S::Answered, Event::Connected) => (S::Connected, Effects::default()),
        (
            S::Dialling | S::Answered | S::Connected | S::Leased,
            Event::Ended { disposition, next },
        ) => ended(request, *disposition, next, now),
        (_, Event::Cancelled) => (
            S::Cancelled,
            Effects {
                hang_up: request.state.has_call(),
                ..Effects::closing()
            },
        ),
        (S::Held, Event::AskedAgain) if request.held_reason == Some(HeldReason::Interrupted) => {
            (S::Waiting, Effects::at(now))
        }
        (S::Held, Event::Confirmed) if request.held_reason == Some(HeldReason::Unverified) => {
            released(request, now)
        }
        // An order of the operator is a proof; a booked time stays what was asked for.
        (S::Held, Event::Hastened) if is_unproven(request) => released(request, now),
        (S::Scheduled | S::Backoff | S::Held, Event::Hastened) => (S::Waiting, Effects::at(now)),
        (
            S::Waiting | S::Scheduled | S::Backoff | S::Held,
            Event::Rescheduled { due, not_after },
        ) => (
            S::Scheduled,
            Effects {
                not_after: *not_after,
                ..Effects::booked(*due)
            },
        ),
        (_, Event::TalkedInbound) => (
            S::SettledInbound,
            Effects {
                hang_up: request.state.has_call(),
                ..Effects::default()
            },
        ),
        (_, Event::DoNotCall) => (
            S::Suppressed,
            Effects {
                hang_up: request.state.has_call(),
                ..Effects::closing()
            },
        ),
        // Too late or too early: the row already says something newer.
        (
            _,
            Event::Looked { .. }
            | Event::Claimed
            | Event::Intent
            | Event::Released(_)
            | Event::Answered
            | Event::Connected
            | Event::Ended { .. }
            | Event::AskedAgain
            | Event::Confirmed
            | Event::Hastened
            | Event::Rescheduled { .. },
        ) => stay(),
    }
}

/// A timer came, or the line was looked at: age first, then the window, then the hours.
fn looked(
    request: &RequestFacts,
    open: bool,
    next_open: Option<Wall>,
    now: Wall,
) -> (State, Effects) {
    use State as S;
    let interrupted = request.held_reason == Some(HeldReason::Interrupted);
    if interrupted {
        return match now >= request.not_before {
            true => (S::Done, Effects::default()),
            false => (S::Held, Effects::default()),
        };
    }
    if is_unproven(request) {
        // Whoever did not ask for it is not told a second time.
        return match now >= request.not_before {
            true => (S::Expired, Effects::default()),
            false => (S::Held, Effects::default()),
        };
    }
    // A booking may lie further ahead than the age limit: its clock starts when it is due.
    let begin = request
        .due_at
        .map_or(request.accepted_at, |due| due.max(request.accepted_at));
    if now.since(begin) >= REQUEST_AGE_MAX {
        return (over_state(request), Effects::closing());
    }
    if request.not_after.is_some_and(|end| now > end) && request.state != S::Backoff {
        return (over_state(request), Effects::closing());
    }
    if now < request.not_before {
        return (request.state, Effects::default());
    }
    if !open {
        let again = next_open.unwrap_or(now + HOLD_RECHECK);
        return (
            S::Held,
            Effects::held(HeldReason::Closed, again.max(now + Duration::from_secs(1))),
        );
    }
    match (request.state, request.due_at) {
        (S::Scheduled, due) => (
            S::Waiting,
            Effects {
                rank: Some(0),
                ..Effects::at(due.unwrap_or(now).max(request.not_before))
            },
        ),
        (S::Waiting, _) => (S::Waiting, Effects::default()),
        _ => (S::Waiting, Effects::at(now)),
    }
}

fn is_unproven(request: &RequestFacts) -> bool {
    request.held_reason.is_some_and(HeldReason::is_unproven)
}

/// A request that is meant after all stands where it would stand had this been known at once:
/// its place is the moment of its reception.
fn released(request: &RequestFacts, now: Wall) -> (State, Effects) {
    match request.due_at {
        Some(due) if due > now => (State::Scheduled, Effects::booked(due)),
        Some(_) => (
            State::Waiting,
            Effects {
                rank: Some(0),
                ..Effects::at(now)
            },
        ),
        None => (State::Waiting, Effects::at(now)),
    }
}

/// The last state of a request that ran out of time.
const fn over_state(request: &RequestFacts) -> State {
    if request.attempts == 0 {
        State::Expired
    } else {
        State::Unreachable
    }
}

fn ended(
    request: &RequestFacts,
    disposition: Disposition,
    next: &retry::Next,
    now: Wall,
) -> (State, Effects) {
    use State as S;
    let counted = retry::is_counted(disposition);
    let (state, effects) = match next {
        retry::Next::Done => (S::Done, Effects::default()),
        retry::Next::Retry { after } => (S::Backoff, Effects::at(now + *after)),
        retry::Next::At(at) => (S::Scheduled, Effects::booked(*at)),
        retry::Next::Again => (S::Waiting, Effects::at(now)),
        retry::Next::Hold(reason) => {
            let until = match reason {
                HeldReason::Interrupted => now + INTERRUPTED_HOLD,
                HeldReason::Closed | HeldReason::TrunkRefused => now + HOLD_RECHECK,
                HeldReason::Unverified => now + admission::CONFIRM_FOR,
                HeldReason::Doubtful => now + admission::DECIDE_FOR,
            };
            (S::Held, Effects::held(*reason, until))
        }
        retry::Next::GiveUp => (S::Unreachable, Effects::closing()),
        retry::Next::Suppress => (
            S::Suppressed,
            Effects {
                suppress_for: Some(STOP_FOR),
                ..Effects::closing()
            },
        ),
        retry::Next::Withdraw => (S::Cancelled, Effects::closing()),
    };
    // A counted retry is told by mail once (the first counted attempt), a broken talk always.
    let told = match disposition {
        Disposition::Interrupted => true,
        _ => counted && request.attempts == 0 && state == S::Backoff,
    };
    let mail = effects
        .mail
        .or_else(|| (told && state.is_open()).then_some(Mail::Attempted));
    (
        state,
        Effects {
            counted,
            mail,
            ..effects
        },
    )
}

#[cfg(test)]
mod tests;
