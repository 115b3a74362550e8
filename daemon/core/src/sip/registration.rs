//! When to register at a trunk, and for how long (RFC 3261 section 10.2): refreshed at
//! four fifths of the time granted, tried again with growing pauses after a failure.

use std::time::Duration;

use super::reason::split_quoted;
use crate::rng::Rng;
use crate::time::Time;

/// Longest time asked for, whatever a registrar's minimum.
const EXPIRES_MAX: Duration = Duration::from_secs(86_400);
/// First pause after a failure; it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Share by which pauses are spread: after an outage not everybody comes at once.
const SPREAD: f64 = 0.2;
/// Shortest time to a refresh, if a registrar grants next to nothing.
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// What came of a REGISTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200, for so long.
    Granted(Duration),
    /// 423: so long at least (Min-Expires).
    TooBrief(Duration),
    /// Another final answer: its code, and how long to wait by Retry-After.
    Refused(u16, Option<Duration>),
    /// No answer, or it could not be sent.
    Silent,
}

/// The registration of one trunk.
#[derive(Clone, Debug)]
pub struct Registration {
    /// How long we ask for.
    expires: Duration,
    due: Time,
    holds_until: Time,
    failures: u32,
    rng: Rng,
}

impl Registration {
    /// A registration to be made at once, for `expires`.
    #[must_use]
    pub fn new(now: Time, expires: Duration, rng: Rng) -> Self {
        Registration {
            expires,
            due: now,
            holds_until: now,
            failures: 0,
            rng,
        }
    }

    /// How long to ask for.
    #[must_use]
    pub fn expires(&self) -> Duration {
        self.expires
    }

    /// When the next REGISTER is due.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.due
    }

    /// Whether the trunk sends us calls, as far as we know.
    #[must_use]
    pub fn holds(&self, now: Time) -> bool {
        now < self.holds_until
    }

    /// Takes in the answer to a REGISTER.
    pub fn answered(&mut self, now: Time, answer: Answer) {
        match answer {
            Answer::Granted(granted) => {
                self.failures = 0;
                self.holds_until = now + granted;
                self.due = now + granted.mul_f64(0.8).max(REFRESH_MIN);
            }
            // The same minimum twice is a registrar that does not want us.
            Answer::TooBrief(minimum) if minimum > self.expires && minimum <= EXPIRES_MAX => {
                self.expires = minimum;
                self.due = now;
            }
            Answer::TooBrief(_) | Answer::Silent => self.failed(now, Duration::ZERO),
            Answer::Refused(_, wait) => self.failed(now, wait.unwrap_or_default()),
        }
    }

    /// The stream the registration was made on is gone, and calls with it.
    pub fn lost(&mut self, now: Time) {
        self.holds_until = now;
        self.due = self.due.min(now + self.rng.jitter(REFRESH_MIN, SPREAD));
    }

    fn failed(&mut self, now: Time, at_least: Duration) {
        let pause = PAUSE_FIRST * 2u32.saturating_pow(self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let pause = self.rng.jitter(pause.min(PAUSE_MAX), SPREAD);
        self.due = now + pause.max(at_least.min(PAUSE_MAX));
    }
}

/// How long a 200 grants: `expires` of our Contact among the bindings, else the Expires
/// field, else what we asked for. `ours` is our host and port as we wrote them.
#[must_use]
pub fn granted<'a>(
    contacts: impl Iterator<Item = &'a str>,
    expires: Option<&str>,
    ours: &str,
    asked: Duration,
) -> Duration {
    let mine = contacts
        .flat_map(|field| split_quoted(field, ','))
        .find(|binding| binding.contains(ours))
        .and_then(|binding| {
            let (_, parameters) = binding.rsplit_once('>')?;
            parameters.split(';').find_map(|p| {
                let (name, value) = p.split_once('=')?;
                let is_expires = name.trim().eq_ignore_ascii_case("expires");
                is_expires.then(|| value.trim().trim_matches('"'))
            })
        });
    let seconds = mine.or(expires).and_then(|t| t.trim().parse::<u32>().ok());
    let granted = seconds.map_or(asked, |s| Duration::from_secs(s.into()));
    granted.min(EXPIRES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn registration() -> Registration {
        Registration::new(Time::ZERO, TEN_MINUTES, Rng::new(1))
    }

    #[test]
    fn it_is_refreshed_at_four_fifths_and_ends_with_its_time() {
        let mut it = registration();
        assert_eq!((it.deadline(), it.holds(Time::ZERO)), (Time::ZERO, false));
        it.answered(Time::ZERO, Answer::Granted(seconds(100)));
        assert_eq!(it.deadline(), Time::from_millis(80_000));
        assert!(it.holds(Time::from_millis(99_999)));
        // The refresh fails: it holds on until its end.
        it.answered(it.deadline(), Answer::Silent);
        assert!(it.holds(Time::from_millis(99_999)));
        assert!(!it.holds(Time::from_millis(100_000)));
    }

    #[test]
    fn pauses_grow_to_five_minutes_and_begin_anew_after_a_success() {
        let mut it = registration();
        let mut now = Time::ZERO;
        for want in [5, 10, 20, 40, 80, 160, 300, 300, 300] {
            it.answered(now, Answer::Refused(403, None));
            let pause = it.deadline().since(now).as_secs_f64();
            let share = pause / f64::from(want);
            assert!((0.79..1.21).contains(&share), "{pause} {want}");
            now = it.deadline();
        }
        it.answered(now, Answer::Granted(TEN_MINUTES));
        it.answered(now, Answer::Silent);
        assert!(it.deadline().since(now) < seconds(7));
    }

    #[test]
    fn a_registrar_may_ask_for_more_time_but_only_once() {
        let mut it = registration();
        it.answered(Time::ZERO, Answer::TooBrief(seconds(1_800)));
        assert_eq!((it.expires(), it.deadline()), (seconds(1_800), Time::ZERO));
        it.answered(Time::ZERO, Answer::TooBrief(seconds(1_800)));
        assert!(it.deadline() > Time::from_millis(3_000));
        it.answered(Time::ZERO, Answer::TooBrief(seconds(100_000)));
        assert_eq!(it.expires(), seconds(1_800));
    }

    #[test]
    fn retry_after_is_waited_for_and_a_lost_stream_is_not() {
        let mut it = registration();
        it.answered(Time::ZERO, Answer::Refused(503, Some(seconds(60))));
        assert_eq!(it.deadline(), Time::ZERO + seconds(60));
        it.answered(Time::ZERO, Answer::Refused(503, Some(seconds(86_400))));
        assert_eq!(it.deadline(), Time::ZERO + seconds(300));
        it.answered(Time::ZERO, Answer::Granted(TEN_MINUTES));
        let now = Time::from_millis(7_000);
        it.lost(now);
        assert!(!it.holds(now) && it.deadline() < now + seconds(2));
    }

    #[test]
    fn the_time_granted_is_that_of_our_own_binding() {
        let ours = "192.0.2.1:5060";
        let two = "<sip:a@192.0.2.9:5060>;expires=10, \"x, y\" <sip:helpline@192.0.2.1:5060>;q=1;Expires=30";
        for (contacts, expires, want) in [
            (vec![two], Some("20"), 30),
            (
                vec![
                    "<sip:a@192.0.2.9>;expires=10",
                    "<sip:helpline@192.0.2.1:5060>",
                ],
                Some("20"),
                20,
            ),
            (
                vec!["<sip:helpline@192.0.2.1:5060>;expires=\"40\""],
                None,
                40,
            ),
            (vec![], None, 600),
            (vec![], Some("never"), 600),
            (vec![], Some("4000000000"), 86_400),
        ] {
            let got = granted(contacts.iter().copied(), expires, ours, TEN_MINUTES);
            assert_eq!(got, seconds(want), "{contacts:?} {expires:?}");
        }
    }
}
