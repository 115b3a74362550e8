//! How an attempt ended, in one word. The table maps SIP codes and Q.850 causes
//! (RFC 3326, RFC 3398) and what the flow settled to a [`Disposition`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CallReport, End, Settled};
use crate::audio::answer::Answerer;

/// A hang-up earlier than this after the answer, without a key, is a short hang-up.
const SHORT_HANGUP: Duration = Duration::from_secs(8);

/// How an attempt ended. The words are written in rows and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // each word is defined in docs/ARCHITECTURE.md, "Dispositions"
pub enum Disposition {
    Talked,
    ShortHangup,
    NotConfirmed,
    Machine,
    Busy,
    NoAnswer,
    Declined,
    Unwanted,
    Blocked,
    BadNumber,
    Redirected,
    TrunkFailed,
    TrunkRefused,
    AbandonedByUs,
    Later,
    Stop,
    Withdrawn,
    Unknown,
    Interrupted,
}

impl Disposition {
    /// Every disposition, for tables and tests.
    pub const ALL: [Disposition; 19] = [
        Disposition::Talked,
        Disposition::ShortHangup,
        Disposition::NotConfirmed,
        Disposition::Machine,
        Disposition::Busy,
        Disposition::NoAnswer,
        Disposition::Declined,
        Disposition::Unwanted,
        Disposition::Blocked,
        Disposition::BadNumber,
        Disposition::Redirected,
        Disposition::TrunkFailed,
        Disposition::TrunkRefused,
        Disposition::AbandonedByUs,
        Disposition::Later,
        Disposition::Stop,
        Disposition::Withdrawn,
        Disposition::Unknown,
        Disposition::Interrupted,
    ];

    /// The word written in rows, logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Disposition::Talked => "talked",
            Disposition::ShortHangup => "short_hangup",
            Disposition::NotConfirmed => "not_confirmed",
            Disposition::Machine => "machine",
            Disposition::Busy => "busy",
            Disposition::NoAnswer => "no_answer",
            Disposition::Declined => "declined",
            Disposition::Unwanted => "unwanted",
            Disposition::Blocked => "blocked",
            Disposition::BadNumber => "bad_number",
            Disposition::Redirected => "redirected",
            Disposition::TrunkFailed => "trunk_failed",
            Disposition::TrunkRefused => "trunk_refused",
            Disposition::AbandonedByUs => "abandoned_by_us",
            Disposition::Later => "later",
            Disposition::Stop => "stop",
            Disposition::Withdrawn => "withdrawn",
            Disposition::Unknown => "unknown",
            Disposition::Interrupted => "interrupted",
        }
    }

    /// The disposition a row names, if it is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.word() == word)
    }
}

/// The disposition of a finished call.
#[must_use]
pub fn of(report: &CallReport) -> Disposition {
    if let Some(settled) = report.settled {
        return match settled {
            Settled::Accepted => Disposition::Talked,
            Settled::Later { .. } => Disposition::Later,
            Settled::Stop => Disposition::Stop,
            Settled::Withdrawn => Disposition::Withdrawn,
            Settled::Abandoned => Disposition::AbandonedByUs,
        };
    }
    match report.end {
        End::Refused { code, q850 } => of_refusal(code, q850, report.rang),
        End::RingLimit => Disposition::NoAnswer,
        End::Silent if report.rang => Disposition::NoAnswer,
        // The trunk lives and says nothing, or we gave up: nobody knows whether it rang.
        // A customer who withdrew is in `settled`, so a stop of ours withdraws nothing.
        End::Silent | End::Cancelled => Disposition::Unknown,
        End::Unreachable | End::NoMedia => Disposition::TrunkFailed,
        End::HungUp { by_customer } => of_answerer(report, by_customer),
    }
}

/// A call that was answered and settled nothing.
fn of_answerer(report: &CallReport, by_customer: bool) -> Disposition {
    match report.answerer {
        Some(Answerer::Machine) => Disposition::Machine,
        Some(Answerer::Fax) => Disposition::BadNumber,
        Some(Answerer::Human | Answerer::OutOfService | Answerer::Unknown) | None => {
            if by_customer && report.talked_for < SHORT_HANGUP {
                Disposition::ShortHangup
            } else {
                Disposition::NotConfirmed
            }
        }
    }
}

/// A final SIP failure. A Q.850 cause wins over 4xx and 5xx codes, a 6xx code over the cause.
fn of_refusal(code: u16, q850: Option<u8>, rang: bool) -> Disposition {
    if (400..600).contains(&code)
        && let Some(by_cause) = q850.and_then(of_cause)
    {
        return by_cause;
    }
    match code {
        300..=399 => Disposition::Redirected,
        486 | 600 => Disposition::Busy,
        401 | 402 | 403 | 407 | 488 | 606 => Disposition::TrunkRefused,
        404 | 410 | 484 | 485 | 604 => Disposition::BadNumber,
        607 => Disposition::Unwanted,
        608 => Disposition::Blocked,
        603 => Disposition::Declined,
        // 580 (RFC 3312) and any other 5xx before ringing is the trunk's own trouble.
        500..=599 if !rang => Disposition::TrunkFailed,
        500..=599 => Disposition::NoAnswer,
        600..=699 => Disposition::Declined,
        _ => Disposition::NoAnswer,
    }
}

/// Q.850 causes that say more than the SIP code.
fn of_cause(cause: u8) -> Option<Disposition> {
    Some(match cause {
        17 => Disposition::Busy,
        18 | 19 | 20 | 31 => Disposition::NoAnswer,
        21 => Disposition::Declined,
        1 | 2 | 3 | 22 | 26 | 28 | 88 => Disposition::BadNumber,
        27 | 34 | 38 | 41 | 42 | 47 | 58 | 102 => Disposition::TrunkFailed,
        55 | 57 | 65 | 70 => Disposition::TrunkRefused,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, q850: Option<u8>) -> Disposition {
        of(&CallReport {
            end: End::Refused { code, q850 },
            rang: false,
            talked_for: Duration::ZERO,
            settled: None,
            answerer: None,
        })
    }

    #[test]
    fn each_code_has_its_row() {
        use Disposition as D;
        for (code, want) in [
            (302, D::Redirected),
            (401, D::TrunkRefused),
            (403, D::TrunkRefused),
            (404, D::BadNumber),
            (407, D::TrunkRefused),
            (408, D::NoAnswer),
            (480, D::NoAnswer),
            (486, D::Busy),
            (487, D::NoAnswer),
            (500, D::TrunkFailed),
            (503, D::TrunkFailed),
            (580, D::TrunkFailed),
            (600, D::Busy),
            (603, D::Declined),
            (604, D::BadNumber),
            (607, D::Unwanted),
            (608, D::Blocked),
            (699, D::Declined),
        ] {
            assert_eq!(refused(code, None), want, "{code}");
        }
    }

    #[test]
    fn a_cause_wins_over_4xx_but_not_over_6xx() {
        assert_eq!(refused(480, Some(17)), Disposition::Busy);
        assert_eq!(refused(503, Some(1)), Disposition::BadNumber);
        assert_eq!(refused(603, Some(17)), Disposition::Declined);
        assert_eq!(refused(486, Some(99)), Disposition::Busy);
    }

    #[test]
    fn what_the_flow_settled_outweighs_how_it_ended() {
        let report = CallReport {
            end: End::HungUp { by_customer: true },
            rang: true,
            talked_for: Duration::from_secs(3),
            settled: Some(Settled::Stop),
            answerer: None,
        };
        assert_eq!(of(&report), Disposition::Stop);
        let quick = CallReport {
            settled: None,
            ..report
        };
        assert_eq!(of(&quick), Disposition::ShortHangup);
        let slow = CallReport {
            talked_for: Duration::from_secs(9),
            ..quick
        };
        assert_eq!(of(&slow), Disposition::NotConfirmed);
        for (who, want) in [
            (Answerer::Machine, Disposition::Machine),
            (Answerer::Fax, Disposition::BadNumber),
            (Answerer::Human, Disposition::ShortHangup),
            (Answerer::Unknown, Disposition::ShortHangup),
        ] {
            let answerer = Some(who);
            assert_eq!(of(&CallReport { answerer, ..quick }), want);
            assert_eq!(of(&CallReport { answerer, ..report }), Disposition::Stop);
        }
    }

    #[test]
    fn a_call_given_up_by_us_withdraws_nothing() {
        let stopped = CallReport {
            end: End::Cancelled,
            rang: true,
            talked_for: Duration::ZERO,
            settled: None,
            answerer: None,
        };
        assert_eq!(of(&stopped), Disposition::Unknown);
        let withdrawn = CallReport {
            settled: Some(Settled::Withdrawn),
            ..stopped
        };
        assert_eq!(of(&withdrawn), Disposition::Withdrawn);
    }

    #[test]
    fn silence_is_no_answer_only_of_a_telephone_that_rang() {
        let silent = CallReport {
            end: End::Silent,
            rang: false,
            talked_for: Duration::ZERO,
            settled: None,
            answerer: None,
        };
        assert_eq!(of(&silent), Disposition::Unknown);
        let rang = CallReport {
            rang: true,
            ..silent
        };
        assert_eq!(of(&rang), Disposition::NoAnswer);
    }

    #[test]
    fn words_read_back() {
        for d in Disposition::ALL {
            assert_eq!(Disposition::from_word(d.word()), Some(d));
        }
    }
}
