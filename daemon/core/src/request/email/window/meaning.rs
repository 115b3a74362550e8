//! From what was said to two instants, given the day it was said on.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::grammar::{Day, Expression, Limit, Part, Said, Time};
use super::lex::{Clock, DateFigures};

/// Minutes in a day.
const DAY: i16 = 1_440;
/// "at three" may start within this, in seconds.
const SLACK_SECONDS: i64 = 1_800;
/// Latest start, in days from now.
const DAYS_AHEAD_MAX: i32 = 60;

/// What an expression is measured from.
pub(super) struct Frame<'a> {
    /// When it was written.
    pub written: Timestamp,
    pub zone: &'a TimeZone,
    /// Whether `3/12` is March.
    pub month_first: bool,
    pub german: bool,
}

/// Both ends; `None` is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}

/// `None` if what was said is no time ahead that makes sense.
pub(super) fn range(expression: &Expression, frame: &Frame<'_>) -> Option<Range> {
    let after =
        |minutes: i64| Timestamp::from_second(frame.written.as_second() + minutes * 60).ok();
    let range = match &expression.said {
        Said::Asap => Range {
            start: None,
            end: None,
        },
        Said::In(minutes) => Range {
            start: after(*minutes),
            end: after(*minutes + SLACK_SECONDS / 60),
        },
        Said::Within(minutes) => Range {
            start: None,
            end: after(*minutes),
        },
        Said::Bound(limit, day) => frame.bound(*limit, *day)?,
        Said::When { day, part, time } => {
            let german = frame.german || expression.german;
            let span = MinuteSpan::of(*part, *time, german);
            frame.day_range(*day, &span)?
        }
    };
    let ahead = frame.written.as_second() + i64::from(DAYS_AHEAD_MAX) * 86_400;
    let is_near = range
        .start
        .or(range.end)
        .is_none_or(|t| t.as_second() <= ahead);
    let is_ahead = range.end.is_none_or(|t| t > frame.written);
    // `after 24:00`: nothing of that day is left.
    let ends_before = range
        .start
        .zip(range.end)
        .is_some_and(|(start, end)| end < start);
    (is_near && is_ahead && !ends_before).then_some(range)
}

/// A stretch of a day, in minutes of its clock.
struct MinuteSpan {
    /// `None`: from the begin of the day, or at once if that is today.
    from: Option<i16>,
    /// `None`: to 23:59:59.
    to: Option<i16>,
    /// Ends this many seconds behind its start, whatever the clock does in between.
    slack_seconds: Option<i64>,
}

impl MinuteSpan {
    fn of(part: Option<Part>, time: Option<Time>, german: bool) -> Self {
        let minute = |clock: &Clock| minute_of(clock, part, german);
        let (from, to, slack_seconds) = match time {
            None => (part.map(|p| p.from), part.map(|p| p.to), None),
            Some(Time::At(clock)) => (Some(minute(&clock)), None, Some(SLACK_SECONDS)),
            Some(Time::Around(clock)) => (
                Some((minute(&clock) - 30).max(0)),
                None,
                Some(2 * SLACK_SECONDS),
            ),
            Some(Time::After(clock)) => {
                let from = minute(&clock);
                (Some(from), part.map(|p| p.to).filter(|to| *to > from), None)
            }
            Some(Time::Before(clock)) => {
                let to = minute(&clock);
                (
                    part.map(|p| p.from).filter(|from| *from < to),
                    Some(to),
                    None,
                )
            }
            Some(Time::Between(from, to)) => {
                let (from, to) = both(from, to, part, german);
                (Some(from), Some(to), None)
            }
        };
        MinuteSpan {
            from,
            to,
            slack_seconds,
        }
    }
}

/// Minute of the day a clock time means.
fn minute_of(clock: &Clock, part: Option<Part>, german: bool) -> i16 {
    let hour = match (clock.afternoon, part) {
        (Some(true), _) => clock.hour % 12 + 12,
        (Some(false), _) => clock.hour % 12,
        (None, _) if clock.literal => clock.hour,
        (None, Some(part)) if part.from >= 720 => clock.hour % 12 + 12,
        (None, Some(_)) => clock.hour,
        // Nobody asks to be rung at three in the night.
        (None, None) if (1..=if german { 6 } else { 7 }).contains(&clock.hour) => clock.hour + 12,
        (None, None) => clock.hour,
    };
    hour * 60 + clock.minute
}

/// Both ends of a range: am or pm of the end covers both, and the end lies behind the start.
fn both(from: Clock, to: Clock, part: Option<Part>, german: bool) -> (i16, i16) {
    let end = minute_of(&to, part, german);
    let mut start = minute_of(&from, part, german);
    if from.afternoon.is_none() && !from.literal && to.afternoon.is_some() {
        let same = minute_of(
            &Clock {
                afternoon: to.afternoon,
                ..from
            },
            part,
            german,
        );
        let plain = minute_of(
            &Clock {
                afternoon: Some(false),
                ..from
            },
            part,
            german,
        );
        start = if same < end { same } else { plain };
    }
    let pushed = match end {
        end if end > start => end,
        end if end + 720 > start && end + 720 <= DAY => end + 720,
        end => end + DAY,
    };
    (start, pushed)
}

impl Frame<'_> {
    fn today(&self) -> Date {
        self.zone.to_datetime(self.written).date()
    }

    /// The instant of a minute of a day; past midnight it is the next day's.
    fn instant(&self, date: Date, minute: i16, second: i8) -> Option<Timestamp> {
        let date = plus_days(date, i32::from(minute / DAY))?;
        let (hour, minute) = (
            i8::try_from(minute % DAY / 60).ok()?,
            i8::try_from(minute % 60).ok()?,
        );
        // A time the clock skips is moved forward, one it shows twice is the first.
        self.zone
            .to_timestamp(
                DateTime::new(
                    date.year(),
                    date.month(),
                    date.day(),
                    hour,
                    minute,
                    second,
                    0,
                )
                .ok()?,
            )
            .ok()
    }

    fn start_of(&self, date: Date) -> Option<Timestamp> {
        self.instant(date, 0, 0)
    }

    fn end_of(&self, date: Date) -> Option<Timestamp> {
        self.instant(date, DAY - 1, 59)
    }

    fn on(&self, date: Date, span: &MinuteSpan) -> Option<Range> {
        let start = match span.from {
            Some(minute) => Some(self.instant(date, minute, 0)?),
            None if date == self.today() => None,
            None => Some(self.start_of(date)?),
        };
        let end = match (span.to, span.slack_seconds, start) {
            (_, Some(slack), Some(start)) => {
                Timestamp::from_second(start.as_second() + slack).ok()?
            }
            (Some(minute), _, _) => self.instant(date, minute, 0)?,
            (None, _, _) => self.end_of(date)?,
        };
        Some(Range {
            start,
            end: Some(end),
        })
    }

    fn day_range(&self, day: Option<Day>, span: &MinuteSpan) -> Option<Range> {
        let today = self.today();
        let ahead = |range: &Range| range.end.is_some_and(|end| end > self.written);
        match day {
            // Only a time: today's if some of it is ahead, else tomorrow's.
            None => self
                .on(today, span)
                .filter(ahead)
                .or_else(|| self.on(plus_days(today, 1)?, span)),
            Some(Day::ThisWeek) => Some(Range {
                start: None,
                end: self.end_of(plus_days(monday_of(today)?, 6)?),
            }),
            Some(Day::NextWeek) => {
                let monday = plus_days(monday_of(today)?, 7)?;
                Some(Range {
                    start: self.start_of(monday),
                    end: self.end_of(plus_days(monday, 6)?),
                })
            }
            Some(Day::Weekday(weekday)) => {
                let next = next_weekday(today, weekday)?;
                self.on(next, span)
                    .filter(ahead)
                    .or_else(|| self.on(plus_days(next, 7)?, span))
            }
            Some(day) => self.on(self.date(day)?, span),
        }
    }

    /// The date a day means; `None` for a past date or a weekday that is not the date's.
    fn date(&self, day: Day) -> Option<Date> {
        let today = self.today();
        match day {
            Day::Away(days) => plus_days(today, i32::from(days)),
            Day::Weekday(weekday) => next_weekday(today, weekday),
            Day::NextWeekday(weekday) => {
                let monday = plus_days(monday_of(today)?, 7)?;
                plus_days(monday, i32::from(weekday.to_monday_zero_offset()))
            }
            Day::ThisWeek => Some(today),
            Day::NextWeek => plus_days(monday_of(today)?, 7),
            Day::OfMonth(day) => (0..3).find_map(|ahead| {
                let first = Date::new(today.year(), today.month(), 1).ok()?;
                let month = first
                    .checked_add(Span::new().try_months(i64::from(ahead)).ok()?)
                    .ok()?;
                Date::new(month.year(), month.month(), day)
                    .ok()
                    .filter(|date| *date >= today)
            }),
            Day::Date(figures, weekday) => {
                let (day, month, year) = match figures {
                    DateFigures::Known(day, month, year) => (day, month, year),
                    DateFigures::Slashed(a, b, year) if self.month_first => (b, a, year),
                    DateFigures::Slashed(a, b, year) => (a, b, year),
                };
                let date = match year {
                    Some(year) => Date::new(year, month, day)
                        .ok()
                        .filter(|date| *date >= today)?,
                    None => [today.year(), today.year() + 1]
                        .into_iter()
                        .find_map(|year| {
                            Date::new(year, month, day)
                                .ok()
                                .filter(|date| *date >= today)
                        })?,
                };
                weekday.is_none_or(|w| w == date.weekday()).then_some(date)
            }
        }
    }

    fn bound(&self, limit: Limit, day: Day) -> Option<Range> {
        let (first, last) = match day {
            Day::ThisWeek | Day::NextWeek => {
                let first = self.date(day)?;
                (first, plus_days(monday_of(first)?, 6)?)
            }
            day => (self.date(day)?, self.date(day)?),
        };
        Some(match limit {
            Limit::By => Range {
                start: None,
                end: self.end_of(last),
            },
            Limit::Before => Range {
                start: None,
                end: self.end_of(plus_days(first, -1)?),
            },
            Limit::After => Range {
                start: self.start_of(plus_days(last, 1)?),
                end: None,
            },
            Limit::From => Range {
                start: self.start_of(first),
                end: None,
            },
        })
    }
}

fn plus_days(date: Date, days: i32) -> Option<Date> {
    date.checked_add(Span::new().try_days(i64::from(days)).ok()?)
        .ok()
}

fn monday_of(date: Date) -> Option<Date> {
    plus_days(date, -i32::from(date.weekday().to_monday_zero_offset()))
}

/// The first such day from `date` on, `date` itself included.
fn next_weekday(date: Date, weekday: Weekday) -> Option<Date> {
    let ahead = i32::from(weekday.to_monday_zero_offset())
        - i32::from(date.weekday().to_monday_zero_offset());
    plus_days(date, ahead.rem_euclid(7))
}
