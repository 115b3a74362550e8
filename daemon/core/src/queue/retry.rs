//! What follows an attempt: one table, disposition and history in, [`Next`] out.

use std::time::Duration;

use crate::call::Disposition;
use crate::rng::Rng;
use crate::time::Wall;

use super::{HeldReason, REQUEST_AGE_MAX};

/// Counted attempts after which a request is given up.
pub const ATTEMPTS_MAX: u32 = 6;
/// Delays are spread by this share, so that many requests do not come back at once.
const SPREAD: f64 = 0.2;
/// Attempts that failed before the telephone could ring, in all.
const TRUNK_FAILURES_MAX: u32 = 20;
/// Longest wait between two attempts on a failing trunk.
const TRUNK_WAIT_MAX: Duration = Duration::from_secs(300);

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

const SHORT_HANGUP: [Duration; 1] = [minutes(10)];
const NOT_CONFIRMED: [Duration; 2] = [minutes(30), minutes(180)];
const BUSY: [Duration; 4] = [minutes(2), minutes(5), minutes(15), minutes(15)];
const NO_ANSWER: [Duration; 3] = [minutes(5), minutes(30), minutes(120)];
const DECLINED: [Duration; 1] = [minutes(30)];
const BLOCKED: [Duration; 1] = [minutes(30)];
const ABANDONED: [Duration; 2] = [minutes(2), minutes(10)];

/// What was tried before, the attempt that just ended not included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Earlier dispositions, oldest first.
    pub dispositions: Vec<Disposition>,
    /// When the request was accepted.
    pub accepted_at: Wall,
    /// When the attempt that just ended was committed.
    pub intent_at: Wall,
    /// Its ring limit.
    pub ring_limit: Duration,
    /// The telephone was heard ringing in it.
    pub rang: bool,
    /// The time the customer chose, for [`Disposition::Later`].
    pub later_at: Option<Wall>,
    /// Trunks that may carry the call.
    pub trunks: u32,
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The talk took place.
    Done,
    /// Another attempt after this time, spread included.
    Retry {
        /// Counted from the end of the attempt.
        after: Duration,
    },
    /// Another attempt at the time the customer chose.
    At(Wall),
    /// Back to its place at once.
    Again,
    /// Held until the reason goes.
    Hold(HeldReason),
    /// Given up: unreachable.
    GiveUp,
    /// The number is not called any more.
    Suppress,
    /// The customer withdrew.
    Withdraw,
}

/// Whether an attempt that ended so counts against [`ATTEMPTS_MAX`].
#[must_use]
pub const fn is_counted(disposition: Disposition) -> bool {
    match disposition {
        Disposition::ShortHangup
        | Disposition::NotConfirmed
        | Disposition::Machine
        | Disposition::Busy
        | Disposition::NoAnswer
        | Disposition::Declined
        | Disposition::Unwanted
        | Disposition::Blocked
        | Disposition::BadNumber
        | Disposition::Redirected
        | Disposition::Unknown
        | Disposition::Interrupted => true,
        Disposition::Talked
        | Disposition::TrunkFailed
        | Disposition::TrunkRefused
        | Disposition::AbandonedByUs
        | Disposition::Later
        | Disposition::Stop
        | Disposition::Withdrawn => false,
    }
}

/// What follows `disposition`. Delays already carry their spread; they run from `now`.
#[must_use]
pub fn next(history: &History, disposition: Disposition, now: Wall, rng: &mut Rng) -> Next {
    let verdict = match disposition {
        Disposition::Talked => Next::Done,
        Disposition::Later => history.later_at.map_or(Next::Again, Next::At),
        Disposition::Stop | Disposition::Unwanted => Next::Suppress,
        Disposition::Withdrawn => Next::Withdraw,
        Disposition::BadNumber | Disposition::Redirected => Next::GiveUp,
        Disposition::TrunkRefused => Next::Hold(HeldReason::TrunkRefused),
        Disposition::Interrupted => Next::Hold(HeldReason::Interrupted),
        Disposition::TrunkFailed => trunk_failed(history, rng),
        Disposition::Unknown => unknown(history, now),
        Disposition::ShortHangup => table(&SHORT_HANGUP, history, disposition, rng),
        Disposition::NotConfirmed | Disposition::Machine => {
            table(&NOT_CONFIRMED, history, disposition, rng)
        }
        Disposition::Busy => table(&BUSY, history, disposition, rng),
        Disposition::NoAnswer => table(&NO_ANSWER, history, disposition, rng),
        Disposition::Declined => table(&DECLINED, history, disposition, rng),
        Disposition::Blocked => table(&BLOCKED, history, disposition, rng),
        Disposition::AbandonedByUs => table(&ABANDONED, history, disposition, rng),
    };
    capped(history, disposition, now, verdict)
}

/// The overall cap binds every kind of retry, but never undoes what is settled.
fn capped(history: &History, disposition: Disposition, now: Wall, verdict: Next) -> Next {
    let Next::Retry { .. } = verdict else {
        return verdict;
    };
    let counted = history
        .dispositions
        .iter()
        .chain([&disposition])
        .filter(|d| is_counted(**d))
        .count();
    let too_often = counted >= usize::try_from(ATTEMPTS_MAX).unwrap_or(usize::MAX);
    let too_old = now.since(history.accepted_at) >= REQUEST_AGE_MAX;
    if too_often || too_old {
        Next::GiveUp
    } else {
        verdict
    }
}

/// The n-th retry of this kind takes the n-th delay; past the table the request is given up.
fn table(delays: &[Duration], history: &History, disposition: Disposition, rng: &mut Rng) -> Next {
    let before = history
        .dispositions
        .iter()
        .filter(|d| row(**d) == row(disposition))
        .count();
    match delays.get(before) {
        Some(delay) => Next::Retry {
            after: rng.jitter(*delay, SPREAD),
        },
        None => Next::GiveUp,
    }
}

/// The row of the table a disposition has; a machine is nobody who confirms.
const fn row(disposition: Disposition) -> Disposition {
    match disposition {
        Disposition::Machine => Disposition::NotConfirmed,
        other => other,
    }
}

/// Another trunk at once; when all failed in a row, 10 s doubled up to five minutes.
fn trunk_failed(history: &History, rng: &mut Rng) -> Next {
    let failed = history
        .dispositions
        .iter()
        .filter(|d| **d == Disposition::TrunkFailed)
        .count();
    let failed = u32::try_from(failed).unwrap_or(u32::MAX);
    if failed >= TRUNK_FAILURES_MAX {
        return Next::GiveUp;
    }
    let in_row = trunk_failures_in_row(history).saturating_add(1);
    if !history.rang && !in_row.is_multiple_of(history.trunks.max(1)) {
        return Next::Again;
    }
    let rounds = in_row / history.trunks.max(1);
    let wait = Duration::from_secs(10).saturating_mul(1 << rounds.saturating_sub(1).min(10));
    Next::Retry {
        after: rng.jitter(wait.min(TRUNK_WAIT_MAX), SPREAD),
    }
}

/// How many of the latest earlier attempts failed on the trunk, one after another.
#[must_use]
pub fn trunk_failures_in_row(history: &History) -> u32 {
    let row = history
        .dispositions
        .iter()
        .rev()
        .take_while(|d| **d == Disposition::TrunkFailed)
        .count();
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// Nobody knows whether it rang: wait out the longest it could have rung, so that a
/// customer who is just picking up is not called a second time.
fn unknown(history: &History, now: Wall) -> Next {
    let since_intent = now.since(history.intent_at);
    let wait = if history.rang {
        minutes(5)
    } else {
        minutes(2)
            .max(history.ring_limit + Duration::from_secs(30))
            .saturating_sub(since_intent)
    };
    Next::Retry { after: wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(dispositions: &[Disposition]) -> History {
        History {
            dispositions: dispositions.to_vec(),
            ring_limit: Duration::from_secs(40),
            trunks: 1,
            ..History::default()
        }
    }

    fn after(next: Next) -> u64 {
        match next {
            Next::Retry { after } => after.as_secs(),
            other => panic!("{other:?} is no retry"),
        }
    }

    #[test]
    fn each_disposition_has_its_row() {
        use Disposition as D;
        let now = Wall::from_millis(1_000_000);
        let mut rng = Rng::new(3);
        for (disposition, delays) in [
            (D::Busy, vec![120, 300, 900, 900]),
            (D::NoAnswer, vec![300, 1_800, 7_200]),
            (D::NotConfirmed, vec![1_800, 10_800]),
            (D::Machine, vec![1_800, 10_800]),
            (D::ShortHangup, vec![600]),
            (D::Declined, vec![1_800]),
            (D::Blocked, vec![1_800]),
            (D::AbandonedByUs, vec![120, 600]),
        ] {
            let mut past = Vec::new();
            for want in delays {
                let got = after(next(&history(&past), disposition, now, &mut rng));
                let (low, high) = (want * 8 / 10 - 1, want * 12 / 10 + 1);
                assert!(
                    (low..=high).contains(&got),
                    "{disposition:?}: {got} for {want}"
                );
                past.push(disposition);
            }
            let last = next(&history(&past), disposition, now, &mut rng);
            assert_eq!(last, Next::GiveUp, "{disposition:?}");
        }
    }

    #[test]
    fn a_machine_and_a_person_who_does_not_confirm_share_a_row() {
        use Disposition as D;
        let mut rng = Rng::new(5);
        let now = Wall::default();
        let second = after(next(
            &history(&[D::Machine]),
            D::NotConfirmed,
            now,
            &mut rng,
        ));
        assert!(second > 8_000, "{second}");
        let past = history(&[D::Machine, D::NotConfirmed]);
        assert_eq!(next(&past, D::Machine, now, &mut rng), Next::GiveUp);
    }

    #[test]
    fn settled_ends_are_final() {
        use Disposition as D;
        let at = Wall::from_millis(9_000_000);
        let past = History {
            later_at: Some(at),
            ..history(&[D::Busy; 5])
        };
        let mut rng = Rng::new(1);
        for (disposition, want) in [
            (D::Talked, Next::Done),
            (D::Later, Next::At(at)),
            (D::Stop, Next::Suppress),
            (D::Unwanted, Next::Suppress),
            (D::Withdrawn, Next::Withdraw),
            (D::BadNumber, Next::GiveUp),
            (D::Redirected, Next::GiveUp),
            (D::Interrupted, Next::Hold(HeldReason::Interrupted)),
            (D::TrunkRefused, Next::Hold(HeldReason::TrunkRefused)),
        ] {
            assert_eq!(next(&past, disposition, Wall::default(), &mut rng), want);
        }
    }

    #[test]
    fn the_sixth_counted_attempt_is_the_last() {
        use Disposition as D;
        let mut rng = Rng::new(1);
        let mixed = [D::Busy, D::NoAnswer, D::Busy, D::NoAnswer];
        let now = Wall::default();
        after(next(&history(&mixed), D::Busy, now, &mut rng));
        let mixed = [D::Busy, D::NoAnswer, D::Busy, D::NoAnswer, D::Busy];
        assert_eq!(next(&history(&mixed), D::Busy, now, &mut rng), Next::GiveUp);
        // Attempts that never reached the customer do not count.
        let trunk = [D::TrunkFailed; 10];
        after(next(&history(&trunk), D::Busy, now, &mut rng));
    }

    #[test]
    fn after_two_days_no_retry_follows() {
        let now = Wall::default() + REQUEST_AGE_MAX;
        let mut rng = Rng::new(1);
        assert_eq!(
            next(&history(&[]), Disposition::Busy, now, &mut rng),
            Next::GiveUp
        );
    }

    #[test]
    fn a_second_trunk_is_tried_at_once() {
        let mut rng = Rng::new(1);
        let two = History {
            trunks: 2,
            ..history(&[])
        };
        let failed = Disposition::TrunkFailed;
        assert_eq!(next(&two, failed, Wall::default(), &mut rng), Next::Again);
        let both = History {
            trunks: 2,
            ..history(&[failed])
        };
        let wait = after(next(&both, failed, Wall::default(), &mut rng));
        assert!((8..=12).contains(&wait), "{wait}");
        let many = history(&[failed; 19]);
        let wait = after(next(&many, failed, Wall::default(), &mut rng));
        assert!((240..=360).contains(&wait), "{wait}");
        let all = history(&[failed; 20]);
        assert_eq!(next(&all, failed, Wall::default(), &mut rng), Next::GiveUp);
    }

    #[test]
    fn an_unknown_outcome_waits_out_the_ring() {
        let mut rng = Rng::new(1);
        let past = History {
            intent_at: Wall::from_millis(0),
            ring_limit: Duration::from_secs(60),
            ..history(&[])
        };
        let now = Wall::from_millis(30_000);
        let wait = after(next(&past, Disposition::Unknown, now, &mut rng));
        assert_eq!(wait, 120 - 30);
        let rang = History { rang: true, ..past };
        assert_eq!(after(next(&rang, Disposition::Unknown, now, &mut rng)), 300);
    }
}
