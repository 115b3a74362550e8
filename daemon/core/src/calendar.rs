//! Opening hours in their own zone: when is the desk open, when does it open next.
//!
//! Hours are kept as local wall times. Where a clock change makes a time ambiguous,
//! the desk opens at the first occurrence and closes at the last; a time that a
//! clock change skips stands for the first instant after the gap.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::time::Wall;

/// How far ahead [`Calendar::next_open`] looks.
const DAYS_AHEAD: usize = 400;
const MINUTES_A_DAY: u16 = 24 * 60;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// An open span of one day in minutes after its local midnight; past 24 h it runs into the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    opens: u16,
    closes: u16,
}

/// Opening hours of one desk, read once from the configuration.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    /// Monday first.
    week: [Vec<Span>; 7],
    /// `2026-12-24` or, each year, `12-25`; these replace the weekday's spans.
    days: BTreeMap<String, Vec<Span>>,
}

impl Calendar {
    /// Open at all hours.
    #[must_use]
    pub fn always() -> Self {
        let whole_day = Span {
            opens: 0,
            closes: MINUTES_A_DAY,
        };
        Calendar {
            zone: TimeZone::UTC,
            week: std::array::from_fn(|_| vec![whole_day]),
            days: BTreeMap::new(),
        }
    }

    /// Reads opening hours: `week` maps `mon` or `mon-thu` to spans like `08:00-18:00`,
    /// `days` maps `2026-12-24` or `12-25` to spans, an empty list meaning closed.
    ///
    /// # Errors
    /// A sentence that names the key and what would be right.
    pub fn parse(
        zone: &str,
        week: &BTreeMap<String, Vec<String>>,
        days: &BTreeMap<String, Vec<String>>,
    ) -> Result<Self, String> {
        let mut calendar = Calendar {
            zone: zone_named(zone)?,
            week: Default::default(),
            days: BTreeMap::new(),
        };
        for (key, spans) in week {
            let spans = read_spans(key, spans)?;
            for day in weekdays(key)? {
                if let Some(slot) = calendar.week.get_mut(day) {
                    slot.clone_from(&spans);
                }
            }
        }
        for (key, spans) in days {
            check_day(key)?;
            calendar.days.insert(key.clone(), read_spans(key, spans)?);
        }
        Ok(calendar)
    }

    /// Whether the desk is open at `at`. The closing instant is closed.
    #[must_use]
    pub fn is_open(&self, at: Wall) -> bool {
        self.next_open(at) == Some(at)
    }

    /// The first open instant at or after `at`, within 400 days; `None` if there is none.
    #[must_use]
    pub fn next_open(&self, at: Wall) -> Option<Wall> {
        let local = self.zone.to_datetime(timestamp(at)?);
        // Yesterday's spans may run past midnight.
        let mut date = local.date().yesterday().ok()?;
        for _ in 0..DAYS_AHEAD {
            for span in self.spans_of(date) {
                if self.instant(date, span.closes, Edge::Closes)? > at {
                    return Some(self.instant(date, span.opens, Edge::Opens)?.max(at));
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The spans in which the desk is open between two moments, in order; those that touch
    /// are one.
    #[must_use]
    pub fn open_spans(&self, from: Wall, until: Wall) -> Vec<(Wall, Wall)> {
        let mut spans: Vec<(Wall, Wall)> = Vec::new();
        let mut at = from;
        while at < until
            && let Some(opens) = self.next_open(at).filter(|opens| *opens < until)
            && let Some(closes) = self.close_after(opens)
        {
            match spans.last_mut() {
                Some(last) if last.1 >= opens => last.1 = closes,
                _ => spans.push((opens, closes)),
            }
            at = closes;
        }
        spans
    }

    /// When the span ends in which the desk is open at `at`.
    fn close_after(&self, at: Wall) -> Option<Wall> {
        let local = self.zone.to_datetime(timestamp(at)?);
        let today = local.date();
        let days = [today.yesterday().ok()?, today];
        let spans = days
            .into_iter()
            .flat_map(|date| self.spans_of(date).iter().map(move |span| (date, *span)));
        let closes = spans.filter_map(|(date, span)| {
            let opens = self.instant(date, span.opens, Edge::Opens)?;
            let closes = self.instant(date, span.closes, Edge::Closes)?;
            (opens <= at && at < closes).then_some(closes)
        });
        closes.max()
    }

    fn spans_of(&self, date: Date) -> &[Span] {
        let yearly = format!("{:02}-{:02}", date.month(), date.day());
        self.days
            .get(&date.to_string())
            .or_else(|| self.days.get(&yearly))
            .or_else(|| self.week.get(weekday_index(date.weekday())))
            .map_or(&[], Vec::as_slice)
    }

    fn instant(&self, date: Date, minutes: u16, edge: Edge) -> Option<Wall> {
        let mut date = date;
        let mut minutes = minutes;
        while minutes >= MINUTES_A_DAY {
            date = date.tomorrow().ok()?;
            minutes -= MINUTES_A_DAY;
        }
        let (hour, minute) = (i8::try_from(minutes / 60), i8::try_from(minutes % 60));
        let local = date.at(hour.ok()?, minute.ok()?, 0, 0);
        let ambiguous = self.zone.to_ambiguous_zoned_datetime(local);
        let at = match (ambiguous.offset(), edge) {
            (AmbiguousOffset::Unambiguous { offset }, _)
            | (AmbiguousOffset::Fold { before: offset, .. }, Edge::Opens)
            | (AmbiguousOffset::Fold { after: offset, .. }, Edge::Closes) => {
                offset.to_timestamp(local).ok()?
            }
            // With the offset before the change the skipped time lies after it.
            (AmbiguousOffset::Gap { before, .. }, _) => self
                .zone
                .preceding(before.to_timestamp(local).ok()?)
                .next()?
                .timestamp(),
        };
        Some(Wall::from_millis(at.as_millisecond()))
    }
}

#[derive(Clone, Copy)]
enum Edge {
    Opens,
    Closes,
}

/// The zone of that IANA name, from the bundled database (no file is read).
///
/// # Errors
/// A sentence that names the zone.
pub fn zone_named(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| {
        format!("{name:?} is no time zone; write an IANA name like \"Europe/Berlin\" or \"UTC\"")
    })
}

fn timestamp(at: Wall) -> Option<Timestamp> {
    Timestamp::from_millisecond(at.millis()).ok()
}

fn weekday_index(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

fn weekdays(key: &str) -> Result<Vec<usize>, String> {
    let index = |word: &str| WEEKDAYS.iter().position(|d| *d == word);
    let range = match key.split_once('-') {
        Some((first, last)) => index(first).zip(index(last)),
        None => index(key).map(|day| (day, day)),
    };
    let (first, last) = range.ok_or_else(|| {
        format!("{key:?} is no weekday; write \"mon\" or a range like \"mon-fri\"")
    })?;
    let length = (last + 7 - first) % 7 + 1;
    Ok((0..length).map(|n| (first + n) % 7).collect())
}

fn check_day(key: &str) -> Result<(), String> {
    let whole = if key.len() == 5 {
        format!("2024-{key}") // a leap year, so that 02-29 is a day
    } else {
        key.to_owned()
    };
    whole.parse::<Date>().map(|_| ()).map_err(|_| {
        format!("{key:?} is no day; write \"2026-12-24\" or, for each year, \"12-25\"")
    })
}

fn read_spans(key: &str, spans: &[String]) -> Result<Vec<Span>, String> {
    let mut read = spans
        .iter()
        .map(|text| read_span(text).ok_or_else(|| {
            format!("{key}: {text:?} are no opening hours; write \"08:00-18:00\" (overnight \"22:00-06:00\" and \"24:00\" are legal)")
        }))
        .collect::<Result<Vec<_>, _>>()?;
    read.sort_unstable();
    Ok(read)
}

fn read_span(text: &str) -> Option<Span> {
    let (opens, closes) = text.split_once('-')?;
    let (opens, mut closes) = (minutes(opens)?, minutes(closes)?);
    if closes <= opens {
        closes += MINUTES_A_DAY;
    }
    (opens < MINUTES_A_DAY).then_some(Span { opens, closes })
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_A_DAY).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Wall {
        Wall::from_millis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn berlin(week: &[(&str, &[&str])], days: &[(&str, &[&str])]) -> Calendar {
        let map = |list: &[(&str, &[&str])]| {
            list.iter()
                .map(|(k, v)| ((*k).to_owned(), v.iter().map(|s| (*s).to_owned()).collect()))
                .collect()
        };
        Calendar::parse("Europe/Berlin", &map(week), &map(days)).unwrap()
    }

    #[test]
    fn a_desk_opens_and_closes_in_its_own_zone() {
        let desk = berlin(&[("mon-fri", &["08:00-12:00", "13:00-18:00"])], &[]);
        assert!(!desk.is_open(at("2026-11-23T06:59:59Z")));
        assert!(desk.is_open(at("2026-11-23T07:00:00Z")));
        assert!(!desk.is_open(at("2026-11-23T11:30:00Z")), "lunch");
        assert!(
            !desk.is_open(at("2026-11-23T17:00:00Z")),
            "the closing instant"
        );
        assert_eq!(
            desk.next_open(at("2026-11-27T17:00:00Z")),
            Some(at("2026-11-30T07:00:00Z")),
            "over the weekend"
        );
    }

    #[test]
    fn single_and_yearly_days_replace_the_week() {
        let desk = berlin(
            &[("mon-sun", &["08:00-18:00"])],
            &[("2026-12-24", &["08:00-10:00"]), ("12-25", &[])],
        );
        assert!(!desk.is_open(at("2026-12-24T09:00:00Z")));
        assert!(!desk.is_open(at("2026-12-25T09:00:00Z")));
        assert!(!desk.is_open(at("2031-12-25T09:00:00Z")));
        assert_eq!(
            desk.next_open(at("2026-12-24T09:00:00Z")),
            Some(at("2026-12-26T07:00:00Z"))
        );
    }

    #[test]
    fn an_overnight_span_runs_into_the_next_day() {
        let desk = berlin(&[("fri", &["22:00-06:00"])], &[]);
        assert!(desk.is_open(at("2026-11-28T04:59:00Z")));
        assert!(!desk.is_open(at("2026-11-28T05:00:00Z")));
    }

    #[test]
    fn a_skipped_time_is_the_first_instant_after_the_gap() {
        // 2026-03-29, 02:00 becomes 03:00 in Berlin.
        let desk = berlin(&[("sun", &["02:30-04:00"])], &[]);
        assert_eq!(
            desk.next_open(at("2026-03-29T00:00:00Z")),
            Some(at("2026-03-29T01:00:00Z"))
        );
    }

    #[test]
    fn an_ambiguous_time_opens_first_and_closes_last() {
        // 2026-10-25, 03:00 becomes 02:00: 02:30 comes twice, at 00:30 and 01:30 UTC.
        let opens = berlin(&[("sun", &["02:30-04:00"])], &[]);
        assert!(opens.is_open(at("2026-10-25T00:30:00Z")));
        let closes = berlin(&[("sun", &["01:00-02:30"])], &[]);
        assert!(closes.is_open(at("2026-10-25T01:29:00Z")));
        assert!(!closes.is_open(at("2026-10-25T01:30:00Z")));
    }

    #[test]
    fn open_spans_are_told_in_order_and_as_one_where_they_touch() {
        let desk = berlin(
            &[
                ("mon-thu", &["08:00-12:00", "13:00-18:00"]),
                ("fri", &["22:00-06:00"]),
            ],
            &[("2026-11-24", &[])],
        );
        let spans = desk.open_spans(at("2026-11-23T13:30:00Z"), at("2026-11-26T07:00:00Z"));
        let span = |from: &str, until: &str| (at(from), at(until));
        assert_eq!(
            spans,
            [
                span("2026-11-23T13:30:00Z", "2026-11-23T17:00:00Z"),
                span("2026-11-25T07:00:00Z", "2026-11-25T11:00:00Z"),
                span("2026-11-25T12:00:00Z", "2026-11-25T17:00:00Z"),
            ]
        );
        let night = desk.open_spans(at("2026-11-28T00:00:00Z"), at("2026-11-28T20:00:00Z"));
        assert_eq!(
            night,
            [(at("2026-11-28T00:00:00Z"), at("2026-11-28T05:00:00Z"))]
        );
        // The night of a clock change has 25 hours.
        let always = Calendar::always();
        let from = at("2026-10-24T10:00:00Z");
        let spans = always.open_spans(from, at("2026-10-27T10:00:00Z"));
        assert_eq!(spans, [(from, at("2026-10-28T00:00:00Z"))]);
        assert_eq!(
            berlin(&[], &[]).open_spans(from, at("2026-10-27T10:00:00Z")),
            []
        );
    }

    #[test]
    fn always_is_always_and_never_is_never() {
        let now = at("2026-11-23T10:00:00Z");
        assert!(Calendar::always().is_open(now));
        assert_eq!(berlin(&[], &[]).next_open(now), None);
    }

    #[test]
    fn faults_name_the_key() {
        let parse = |key: &str, span: &str| {
            let week = [(key.to_owned(), vec![span.to_owned()])].into();
            Calendar::parse("Europe/Berlin", &week, &BTreeMap::new()).unwrap_err()
        };
        assert!(parse("montag", "08:00-18:00").contains("montag"));
        for bad in [
            "8-18",
            "08:00",
            "25:00-26:00",
            "08:00-18:75",
            "24:00-06:00",
            "",
        ] {
            assert!(parse("mon", bad).contains("mon"), "{bad}");
        }
        assert!(Calendar::parse("Mars/Olympus", &BTreeMap::new(), &BTreeMap::new()).is_err());
    }
}
