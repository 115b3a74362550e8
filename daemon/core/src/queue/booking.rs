//! Times that customers choose: whether a call may be booked for one, and how many calls.

use std::time::Duration;

use super::State;
use crate::calendar::Calendar;
use crate::request::When;
use crate::request::json::BOOKING_AHEAD_MAX;
use crate::time::Wall;

/// Bookings are counted by quarters of an hour.
const SLOT: Duration = Duration::from_secs(15 * 60);
/// Of what a queue can call, so much may be booked: those who wait are called too.
const SHARE: f64 = 0.5;
/// A time that has passed by no more than this is now.
const JUST_NOW: Duration = Duration::from_secs(60);

const PASSED: &str = "this time has passed; choose a later one";
const TOO_FAR: &str = "this time is too far ahead; choose one within 14 days";
const CLOSED: &str = "we are closed at this time; choose one in opening hours";

/// How a time was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// By somebody who is told at once and can choose again.
    Directly,
    /// By mail or a flow: what cannot be had is moved to the next time that can.
    ByLetter,
}

/// When a request may be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// Waiting, or scheduled.
    pub state: State,
    /// Not to be called before.
    pub not_before: Wall,
    /// Booked time.
    pub due_at: Option<Wall>,
    /// Past this the time has to be asked anew.
    pub not_after: Option<Wall>,
}

/// When calls of a queue may be booked, and how many.
#[derive(Clone, Debug)]
pub struct Hours {
    calendar: Calendar,
    slot_max: u32,
}

/// A quarter of an hour: `start` belongs to it, `end` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its begin.
    pub start: Wall,
    /// Its end.
    pub end: Wall,
}

impl Slot {
    /// The one in which a moment lies.
    #[must_use]
    pub fn of(at: Wall) -> Slot {
        let length = i64::try_from(SLOT.as_millis()).unwrap_or(1);
        let start = Wall::from_millis(at.millis().div_euclid(length) * length);
        Slot {
            start,
            end: start + SLOT,
        }
    }
}

impl Times {
    /// The same, booked for another time; a window that ends before falls away.
    #[must_use]
    pub fn moved_to(self, due: Wall) -> Times {
        Times {
            not_before: due,
            due_at: Some(due),
            not_after: self.not_after.filter(|end| *end >= due),
            ..self
        }
    }
}

impl Hours {
    /// Of a queue with these opening hours, so many calls at once and such a mean length.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
    pub fn new(calendar: Calendar, max_calls: u32, mean_handling: Duration) -> Hours {
        let calls = SLOT.as_secs_f64() / mean_handling.as_secs_f64().max(1.0);
        let booked = SHARE * f64::from(max_calls) * calls;
        Hours {
            calendar,
            slot_max: booked.clamp(1.0, 100_000.0) as u32,
        }
    }

    /// Bookings that one slot takes.
    #[must_use]
    pub const fn slot_max(&self) -> u32 {
        self.slot_max
    }

    /// The first open moment behind a slot.
    #[must_use]
    pub fn behind(&self, slot: Slot) -> Wall {
        match self.calendar.is_open(slot.end) {
            true => slot.end,
            false => self.calendar.next_open(slot.end).unwrap_or(slot.end),
        }
    }

    /// When a request may be called that wants this. A booked time has to lie ahead, not too
    /// far, and inside opening hours; what was asked for by letter moves to the next opening.
    ///
    /// # Errors
    /// A sentence for whoever asked.
    pub fn times(&self, when: When, asked: Asked, now: Wall) -> Result<Times, &'static str> {
        let soon = |not_after| Times {
            state: State::Waiting,
            not_before: now,
            due_at: None,
            not_after,
        };
        let When::Window {
            not_before,
            not_after,
        } = when
        else {
            return Ok(soon(None));
        };
        let by_letter = asked == Asked::ByLetter;
        if not_after.is_some_and(|end| end <= now || end < not_before) {
            return if by_letter {
                Ok(soon(None))
            } else {
                Err(PASSED)
            };
        }
        if not_before <= now {
            let passed = not_after.is_none() && now.since(not_before) > JUST_NOW;
            return match passed && !by_letter {
                true => Err(PASSED),
                false => Ok(soon(not_after)),
            };
        }
        if not_before.since(now) > BOOKING_AHEAD_MAX {
            return Err(TOO_FAR);
        }
        let booked = Times {
            state: State::Scheduled,
            not_after,
            ..soon(None)
        };
        if self.calendar.is_open(not_before) {
            return Ok(booked.moved_to(not_before));
        }
        match (self.calendar.next_open(not_before), not_after) {
            (Some(at), Some(end)) if at <= end => Ok(booked.moved_to(at)),
            (Some(at), _) if by_letter => Ok(booked.moved_to(at)),
            _ => Err(CLOSED),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Monday 2026-11-23 10:00 UTC.
    const NOW: Wall = Wall::from_millis(1_795_428_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn office() -> Hours {
        let week = BTreeMap::from([("mon-fri".to_owned(), vec!["09:00-17:00".to_owned()])]);
        let calendar = Calendar::parse("UTC", &week, &BTreeMap::new()).unwrap();
        Hours::new(calendar, 4, Duration::from_secs(180))
    }

    fn window(from: Wall, to: Option<Wall>) -> When {
        When::Window {
            not_before: from,
            not_after: to,
        }
    }

    #[test]
    fn each_wish_has_its_times_or_its_sentence() {
        let (hours, d, l) = (office(), Asked::Directly, Asked::ByLetter);
        let evening = NOW + 8 * HOUR;
        let morning = NOW + 23 * HOUR;
        for (when, asked, due) in [
            (When::Now, d, Ok(None)),
            (window(NOW + HOUR, None), d, Ok(Some(NOW + HOUR))),
            (window(NOW, Some(NOW + HOUR)), d, Ok(None)),
            (window(NOW - HOUR, Some(NOW + HOUR)), d, Ok(None)),
            (window(NOW - JUST_NOW, None), d, Ok(None)),
            (window(NOW - HOUR, None), d, Err(PASSED)),
            (window(NOW - HOUR, None), l, Ok(None)),
            (window(NOW - 2 * HOUR, Some(NOW - HOUR)), d, Err(PASSED)),
            (window(NOW - 2 * HOUR, Some(NOW - HOUR)), l, Ok(None)),
            (window(NOW + 2 * HOUR, Some(NOW + HOUR)), d, Err(PASSED)),
            (window(NOW + 15 * 24 * HOUR, None), l, Err(TOO_FAR)),
            (window(evening, None), d, Err(CLOSED)),
            (window(evening, None), l, Ok(Some(morning))),
            // A window that reaches into the next opening is one.
            (window(evening, Some(morning + HOUR)), d, Ok(Some(morning))),
        ] {
            let times = hours.times(when, asked, NOW);
            let found = times.as_ref().map(|t| t.due_at).map_err(|why| *why);
            assert_eq!(found, due, "{when:?} {asked:?}");
            if let Ok(times) = times {
                assert_eq!(times.state == State::Scheduled, times.due_at.is_some());
                assert!(times.not_after.is_none_or(|end| end >= times.not_before));
            }
        }
    }

    #[test]
    fn slots_are_quarters_of_an_hour_and_half_of_what_can_be_called() {
        let slot = Slot::of(NOW + Duration::from_secs(16 * 60));
        assert_eq!(slot.start, NOW + SLOT);
        assert_eq!(
            (Slot::of(slot.start), Slot::of(slot.end).start),
            (slot, slot.end)
        );
        let hours = office();
        assert_eq!(hours.slot_max(), 10);
        assert_eq!(hours.behind(slot), slot.end);
        // The last one of a day is followed by the first one of the next.
        let last = Slot::of(NOW + 6 * HOUR + 3 * SLOT);
        assert_eq!(hours.behind(last), NOW + 23 * HOUR);
        let slow = Hours::new(Calendar::always(), 1, Duration::from_secs(36_000));
        assert_eq!(slow.slot_max(), 1, "one may always be booked");
    }
}
