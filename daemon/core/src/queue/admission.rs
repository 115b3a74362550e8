//! What a request by mail has to show before it stands in line: a sender's address is easily
//! forged, and so is the number below it.

use std::time::Duration;

use super::HeldReason;
use crate::request::email::Proof;

/// The link of a confirmation is good for so long.
pub const CONFIRM_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Somebody decides within this, or the request is over.
pub const DECIDE_FOR: Duration = super::REQUEST_AGE_MAX;

/// What the operator asks of requests by mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The call itself: it begins with "press 1 if you asked for this".
    #[default]
    Call,
    /// Where nothing vouches for the mail, a link in our answer.
    Link,
}

/// How a request comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// Into the line at once.
    #[default]
    Line,
    /// It waits until the link in our mail was used.
    Confirm,
    /// It waits for somebody's decision: nobody may be written to.
    Decide,
}

impl Admission {
    /// Of a request by mail. `may_write`: one automatic reply may go out.
    #[must_use]
    pub const fn of(rule: Rule, proof: Proof, may_write: bool) -> Self {
        match (rule, proof, may_write) {
            (Rule::Call, _, _) | (Rule::Link, Proof::Pass, _) => Admission::Line,
            (Rule::Link, Proof::None, true) => Admission::Confirm,
            // What may be forged, or could not be checked, is not answered.
            (Rule::Link, Proof::None, false) | (Rule::Link, Proof::Fail | Proof::TempError, _) => {
                Admission::Decide
            }
        }
    }

    /// Why it is held, and for how long; `None`: it is not.
    #[must_use]
    pub const fn hold(self) -> Option<(HeldReason, Duration)> {
        match self {
            Admission::Line => None,
            Admission::Confirm => Some((HeldReason::Unverified, CONFIRM_FOR)),
            Admission::Decide => Some((HeldReason::Doubtful, DECIDE_FOR)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_proof_has_its_way_in() {
        use Admission::{Confirm, Decide, Line};
        for (proof, may_write, want) in [
            (Proof::Pass, true, Line),
            (Proof::Pass, false, Line),
            (Proof::None, true, Confirm),
            (Proof::None, false, Decide),
            (Proof::Fail, true, Decide),
            (Proof::Fail, false, Decide),
            (Proof::TempError, true, Decide),
            (Proof::TempError, false, Decide),
        ] {
            let got = Admission::of(Rule::Link, proof, may_write);
            assert_eq!(got, want, "{proof:?} {may_write}");
            let held = got.hold().map(|(reason, _)| reason);
            assert_eq!(held.is_some_and(HeldReason::is_unproven), want != Line);
            assert_eq!(Admission::of(Rule::Call, proof, may_write), Line);
        }
    }
}
