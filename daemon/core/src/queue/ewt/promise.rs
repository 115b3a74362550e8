//! What a customer is told of the estimated wait, and whether it was kept.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::calendar::zone_named;
use crate::time::Wall;

/// A wait whose upper bound is below this is told as "within 5 minutes".
const SHORT: Duration = Duration::from_secs(5 * 60);
/// A booked call may come so much later than its time.
const BOOKED_SLACK: Duration = Duration::from_secs(600);
/// Of the calls, these come by the end of a range.
const BY_THE_END: u8 = 90;
/// Between these chances of being called before closing no single range is right.
const STRADDLE: (f64, f64) = (0.15, 0.85);

/// The sort of a promise; the words are those of `promise_json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromiseKind {
    /// Between two times.
    Range,
    /// Within a few minutes.
    Short,
    /// Perhaps before the desk closes, else after it opens again.
    Straddle,
    /// The desk is closed; after it opens.
    Closed,
    /// A booked time.
    Booked,
    /// No estimate can be given.
    None,
}

/// What the customer is told, kept in the request's row and never moved silently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Which sentence it is.
    pub kind: PromiseKind,
    /// Earliest time named, UTC.
    pub from: Wall,
    /// Latest time named, UTC.
    pub to: Wall,
    /// IANA zone in which the times are told.
    pub zone: String,
    /// Of a range: how many of 100 calls come by its end, once that is known. Of a straddle:
    /// the chance of a call before the desk closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Of a straddle: when the desk closes, and the earliest call after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<(Wall, Wall)>,
}

/// The opening hours around the moment of a promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    /// The desk opens so much later; zero when it is open.
    pub opens_in: Duration,
    /// It closes then, if it is open and ever does.
    pub closes: Option<Wall>,
}

/// How a first call came, against what was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Within the times named.
    Yes,
    /// Before the first of them.
    Early,
    /// After the last of them.
    Late,
}

impl Kept {
    /// The word in metrics and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kept::Yes => "yes",
            Kept::Early => "early",
            Kept::Late => "late",
        }
    }
}

impl Promise {
    /// The promise for an estimate made at `now`; `zone` is the customer's or the site's.
    /// Times are rounded outward, so the range told is never narrower than the estimate.
    /// `is_sure`: enough calls have ended to say how many come by the end of a range.
    #[must_use]
    pub fn of(place: &Place, hours: &Hours, now: Wall, zone: &str, is_sure: bool) -> Self {
        let (p10, p90) = (seconds(place.forecast.p10), seconds(place.forecast.p90));
        let plain = |kind, from, to| Promise {
            percent: None,
            ..Promise::plain(kind, from, to, zone)
        };
        let (least, most) = STRADDLE;
        if !hours.opens_in.is_zero() {
            let grid = grid(p90.saturating_sub(hours.opens_in));
            let opens = now + hours.opens_in;
            let to = round_up(now + p90.max(hours.opens_in + SHORT), grid);
            return plain(PromiseKind::Closed, opens, to);
        }
        if let Some(closes) = hours.closes
            && place.before_closing > least
            && place.before_closing < most
        {
            let (earliest, latest) = place.after_closing;
            let grid = grid(seconds(latest - earliest));
            let earliest = round_down(now + seconds(earliest), grid).max(closes);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 100
            let percent = (place.before_closing * 20.0).round() as u8 * 5;
            let to = round_up(now + seconds(latest), grid);
            return Promise {
                percent: Some(percent),
                gap: Some((closes, earliest)),
                ..plain(
                    PromiseKind::Straddle,
                    round_down(now + p10, grid).max(now),
                    to,
                )
            };
        }
        if p90 < SHORT {
            return plain(PromiseKind::Short, now, now + SHORT);
        }
        let grid = grid(p90);
        let from = round_down(now + p10, grid).max(now);
        Promise {
            percent: is_sure.then_some(BY_THE_END),
            ..plain(PromiseKind::Range, from, round_up(now + p90, grid))
        }
    }

    fn plain(kind: PromiseKind, from: Wall, to: Wall, zone: &str) -> Self {
        Promise {
            kind,
            from,
            to,
            zone: zone.to_owned(),
            percent: None,
            gap: None,
        }
    }

    /// The promise when no estimate can be made.
    #[must_use]
    pub fn none(now: Wall, zone: &str) -> Self {
        Promise::plain(PromiseKind::None, now, now, zone)
    }

    /// The promise of a booked time.
    #[must_use]
    pub fn booked(due: Wall, zone: &str) -> Self {
        Promise::plain(PromiseKind::Booked, due, due + BOOKED_SLACK, zone)
    }

    /// Whether times are named at all.
    #[must_use]
    pub fn names_times(&self) -> bool {
        self.kind != PromiseKind::None
    }

    /// How a first call at `at` kept it; `None` if nothing was promised.
    #[must_use]
    pub fn kept(&self, at: Wall) -> Option<Kept> {
        self.names_times().then(|| {
            if at < self.from {
                Kept::Early
            } else if at > self.to {
                Kept::Late
            } else {
                Kept::Yes
            }
        })
    }

    /// Whether a new estimate, made at `now`, says that this promise misleads: the call is
    /// to come after the last time named, or long before the first.
    #[must_use]
    pub fn misleads(&self, place: &Place, now: Wall) -> bool {
        let (p10, p90) = (seconds(place.forecast.p10), seconds(place.forecast.p90));
        match self.kind {
            PromiseKind::None | PromiseKind::Booked => false,
            PromiseKind::Range
            | PromiseKind::Short
            | PromiseKind::Straddle
            | PromiseKind::Closed => now + p10 > self.to || p90 < self.from.since(now) / 2,
        }
    }

    /// The sentence for page and mail. `position` is the place in line, 1 = next.
    #[must_use]
    pub fn text(&self, position: Option<u32>, now: Wall, language: &str) -> String {
        let german = language.to_ascii_lowercase().starts_with("de");
        let times = Times::new(self, now, german);
        let number = match (position, german) {
            (None, _) => String::new(),
            (Some(n), false) => format!("You are number {n}. "),
            (Some(n), true) => format!("Sie sind Nummer {n}. "),
        };
        let Times { from, to, by, zone } = &times;
        match (self.kind, german) {
            (PromiseKind::Range, false) => {
                let share = match self.percent {
                    Some(_) => format!("; 9 of 10 calls come by {by}"),
                    None => String::new(),
                };
                format!("{number}We expect to call you between {from} and {to} ({zone}){share}.")
            }
            (PromiseKind::Range, true) => {
                let share = match self.percent {
                    Some(_) => format!("; 9 von 10 Anrufen kommen bis {by} Uhr"),
                    None => String::new(),
                };
                format!(
                    "{number}Wir rufen Sie voraussichtlich zwischen {from} und {to} Uhr an ({zone}){share}."
                )
            }
            (PromiseKind::Straddle, _) => number + &self.straddle(now, german, zone),
            (PromiseKind::Short, false) => format!("{number}We will call you within 5 minutes."),
            (PromiseKind::Short, true) => {
                format!("{number}Wir rufen Sie innerhalb von 5 Minuten an.")
            }
            (PromiseKind::Closed, false) => format!(
                "We open at {from} ({zone}). {number}Expect our call between {from} and {to}."
            ),
            (PromiseKind::Closed, true) => format!(
                "Wir öffnen um {from} Uhr ({zone}). {number}Wir rufen zwischen {from} und {to} Uhr an."
            ),
            (PromiseKind::Booked, false) => {
                format!("We will call at {from} ({zone}), at most 10 minutes later.")
            }
            (PromiseKind::Booked, true) => {
                format!("Wir rufen um {from} Uhr an ({zone}), höchstens 10 Minuten später.")
            }
            (PromiseKind::None, false) => format!("{number}We will call you as soon as we can."),
            (PromiseKind::None, true) => {
                format!("{number}Wir rufen Sie an, sobald es geht.")
            }
        }
    }

    fn straddle(&self, now: Wall, german: bool, zone: &str) -> String {
        let (closes, earliest) = self.gap.unwrap_or((self.from, self.from));
        let percent = self.percent.unwrap_or(50);
        let local = |at| local_time(at, &self.zone);
        let clock = |at| local(at).strftime("%H:%M").to_string();
        let (from, to) = (local(earliest), local(self.to));
        let is_next = local(now)
            .date()
            .tomorrow()
            .is_ok_and(|day| day == from.date());
        let (closes, earliest, latest) = (clock(closes), clock(earliest), clock(self.to));
        let until = match (from.date() == to.date(), german) {
            (true, _) => latest,
            (false, false) => format!("{latest} on {}", english_day(to)),
            (false, true) => format!("{} {latest}", to.strftime("%d.%m.")),
        };
        if german {
            let day = match is_next {
                true => "morgen".to_owned(),
                false => format!("am {}", from.strftime("%d.%m.")),
            };
            return format!(
                "Vielleicht heute bis {closes} Uhr (etwa {percent} %), sonst {day} zwischen {earliest} und {until} Uhr ({zone})."
            );
        }
        let day = match is_next {
            true => "tomorrow".to_owned(),
            false => format!("on {}", english_day(from)),
        };
        format!(
            "Possibly today before {closes} (about {percent} %), otherwise {day} between {earliest} and {until} ({zone})."
        )
    }
}

/// The times of a promise in words.
struct Times {
    from: String,
    to: String,
    /// `to` again, by the clock alone: its day was just named.
    by: String,
    zone: String,
}

impl Times {
    fn new(promise: &Promise, now: Wall, german: bool) -> Self {
        let local = |at| local_time(at, &promise.zone);
        let today = local(now).date();
        let word = |at: DateTime, beside: DateTime| {
            let clock = at.strftime("%H:%M").to_string();
            if at.date() == beside.date() {
                clock
            } else if german {
                format!("{} {clock}", at.strftime("%d.%m."))
            } else {
                format!("{clock} on {}", english_day(at))
            }
        };
        let (from, to) = (local(promise.from), local(promise.to));
        Times {
            from: word(from, today.at(0, 0, 0, 0)),
            to: word(to, from),
            by: to.strftime("%H:%M").to_string(),
            zone: zone_words(&promise.zone, german),
        }
    }
}

fn local_time(at: Wall, zone: &str) -> DateTime {
    let zone = zone_named(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    zone.to_datetime(Timestamp::from_millisecond(at.millis()).unwrap_or_default())
}

fn english_day(at: DateTime) -> String {
    format!("{} {}", at.strftime("%A"), at.strftime("%-d %B"))
}

/// `Europe/Berlin` is "Berlin time".
fn zone_words(zone: &str, german: bool) -> String {
    let city = zone.rsplit('/').next().unwrap_or(zone).replace('_', " ");
    match (city.as_str(), german) {
        ("UTC" | "GMT", _) => city,
        (_, false) => format!("{city} time"),
        (_, true) => format!("Zeit in {city}"),
    }
}

/// Coarser the longer the wait: 1, 5 or 15 minutes.
fn grid(wait: Duration) -> i64 {
    let minutes = match wait.as_secs() / 60 {
        0..10 => 1,
        10..60 => 5,
        _ => 15,
    };
    minutes * 60_000
}

fn round_down(at: Wall, grid: i64) -> Wall {
    Wall::from_millis(at.millis().div_euclid(grid) * grid)
}

fn round_up(at: Wall, grid: i64) -> Wall {
    Wall::from_millis(at.millis().saturating_add(grid - 1).div_euclid(grid) * grid)
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::ewt::{Doing, Experience, LiveLine, Serving, Standing};

    fn noon() -> Wall {
        // 2026-11-23T12:00:00Z
        Wall::from_millis(1_795_435_200_000)
    }

    /// The place behind `ahead` others; one agent in a call since the start.
    fn place(ahead: usize, shifts: &[(f64, f64)], closes: Option<f64>) -> Place {
        let line = LiveLine {
            now: 100.0,
            serving: vec![Serving {
                name: "a",
                doing: Doing::Busy(0.0),
                shifts,
                can: 0,
            }],
            standing: vec![Standing::default(); ahead + 1],
            closes,
            needs: 0,
        };
        let outlook = Experience::new(300.0).outlook(&line, &[ahead], 1);
        outlook.at(ahead).unwrap()
    }

    const ALWAYS: &[(f64, f64)] = &[(0.0, f64::INFINITY)];

    #[test]
    fn a_promise_is_never_narrower_than_its_estimate() {
        for ahead in 0..100 {
            let place = place(ahead, ALWAYS, None);
            let (p10, p90) = (seconds(place.forecast.p10), seconds(place.forecast.p90));
            let now = noon() + Duration::from_millis(7_919 * ahead as u64);
            let p = Promise::of(&place, &Hours::default(), now, "Europe/Berlin", true);
            assert!(p.from <= now + p10 && p.to >= now + p90, "{ahead}: {p:?}");
            assert!(p.from >= now);
            assert_eq!(p.kept(now + p10), Some(Kept::Yes));
            assert_eq!(p.kept(p.to + Duration::from_secs(1)), Some(Kept::Late));
        }
    }

    fn range(from: u64, to: u64, percent: Option<u8>) -> Promise {
        let at = |minutes| noon() + Duration::from_secs(minutes * 60);
        Promise {
            percent,
            ..Promise::plain(PromiseKind::Range, at(from), at(to), "Europe/Berlin")
        }
    }

    #[test]
    fn the_sentence_names_place_range_and_zone() {
        let p = range(20, 40, Some(90));
        assert_eq!(
            p.text(Some(7), noon(), "en"),
            "You are number 7. We expect to call you between 13:20 and 13:40 (Berlin time); 9 of 10 calls come by 13:40."
        );
        assert!(
            p.text(Some(7), noon(), "de-AT")
                .starts_with("Sie sind Nummer 7. Wir rufen Sie")
        );
        // Before anything is known no share is named.
        let p = range(20, 40, None);
        assert_eq!(
            p.text(None, noon(), "en"),
            "We expect to call you between 13:20 and 13:40 (Berlin time)."
        );
    }

    #[test]
    fn a_wait_that_may_pass_the_closing_hour_is_told_so() {
        // Open for 25 minutes more, then again 14 hours later.
        let shifts = [(0.0, 1_600.0), (52_000.0, 90_000.0)];
        let place = place(4, &shifts, Some(1_600.0));
        let hours = Hours {
            opens_in: Duration::ZERO,
            closes: Some(noon() + Duration::from_secs(1_500)),
        };
        let p = Promise::of(&place, &hours, noon(), "Europe/Berlin", true);
        assert_eq!(p.kind, PromiseKind::Straddle, "{place:?}");
        let text = p.text(Some(5), noon(), "en");
        assert!(
            text.starts_with("You are number 5. Possibly today before 13:25 (about "),
            "{text}"
        );
        assert!(
            text.contains(" %), otherwise tomorrow between 03:"),
            "{text}"
        );
        let text = p.text(None, noon(), "de");
        assert!(
            text.starts_with("Vielleicht heute bis 13:25 Uhr (etwa "),
            "{text}"
        );
        // Whoever comes early enough is told of today alone.
        let early = self::place(0, &shifts, Some(1_600.0));
        let p = Promise::of(&early, &hours, noon(), "Europe/Berlin", true);
        assert_eq!(p.kind, PromiseKind::Range, "{early:?}");
    }

    #[test]
    fn another_day_is_named() {
        let due = noon() + Duration::from_secs(86_400);
        let text = Promise::booked(due, "UTC").text(None, noon(), "en");
        assert_eq!(
            text,
            "We will call at 12:00 on Tuesday 24 November (UTC), at most 10 minutes later."
        );
    }

    #[test]
    fn a_closed_desk_says_when_it_opens() {
        let hours = Hours {
            opens_in: Duration::from_secs(3_600),
            closes: None,
        };
        let shifts = [(3_700.0, 90_000.0)];
        let place = place(2, &shifts, None);
        let p = Promise::of(&place, &hours, noon(), "UTC", true);
        assert_eq!(p.kind, PromiseKind::Closed);
        let text = p.text(Some(3), noon(), "en");
        assert!(
            text.starts_with("We open at 13:00 (UTC). You are number 3."),
            "{text}"
        );
    }

    #[test]
    fn a_short_wait_is_within_five_minutes() {
        let mut place = place(0, ALWAYS, None);
        place.forecast.p10 = 0.0;
        place.forecast.p90 = 200.0;
        let p = Promise::of(&place, &Hours::default(), noon(), "UTC", true);
        let text = p.text(None, noon(), "en");
        assert_eq!(text, "We will call you within 5 minutes.");
    }

    #[test]
    fn a_promise_misleads_once_the_call_will_come_after_it_or_long_before() {
        let mut place = place(0, ALWAYS, None);
        let mut misleads = |p10: f64, p90: f64, promise: &Promise| {
            place.forecast.p10 = p10;
            place.forecast.p90 = p90;
            promise.misleads(&place, noon())
        };
        let promised = range(20, 40, Some(90));
        assert!(!misleads(1_200.0, 2_400.0, &promised));
        assert!(!misleads(2_390.0, 9_000.0, &promised));
        assert!(misleads(2_410.0, 9_000.0, &promised));
        assert!(!misleads(0.0, 610.0, &promised));
        assert!(misleads(0.0, 590.0, &promised));
        let nothing = Promise::none(noon(), "UTC");
        assert!(!misleads(9_000.0, 9_000.0, &nothing));
    }
}
