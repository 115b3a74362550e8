//! The estimated wait, and the promise made of it.
//!
//! Erlang's queue-length formula with abandonment, over the live line: a place with
//! `n` ahead and `s` servers waits for the sum of exponential steps with the rates
//! `s/h + i*theta` (`h` mean handling time, `theta` abandonments per waiting second,
//! `i` the requests still ahead; Whitt 1999). The quantiles are those of the gamma
//! distribution with the same mean and variance (Wilson and Hilferty 1931).
//!
//! [`Learner`] is the estimator that learns: it simulates the line forward, with handling
//! times, agents, shifts, breaks, bookings, retries and withdrawals as they were seen, and
//! keeps its bounds honest by what came of earlier ones. `helpline ewt replay` feeds it.

mod bound;
mod handling;
mod learner;
mod paths;

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use crate::calendar::zone_named;
use crate::time::Wall;

pub use learner::{Event, Forecast, Learner};

/// A wait whose upper bound is below this is told as "within 5 minutes".
const SHORT: Duration = Duration::from_secs(5 * 60);
/// A booked call may come so much later than its time.
const BOOKED_SLACK: Duration = Duration::from_secs(600);
/// Standard normal quantile of 0.9.
const Z90: f64 = 1.281_551_6;

/// The live line as the estimator sees it for one place in it.
#[derive(Clone, Debug, PartialEq)]
pub struct LineView {
    /// Requests that will be called before this one.
    pub ahead: u32,
    /// Calls that may be up at once (agents, or ports of the help flow).
    pub servers: u32,
    /// How long each call in progress has lasted; at most `servers`.
    pub busy: Vec<Duration>,
    /// Mean length of a call, ring and wrap-up included.
    pub mean_handling: Duration,
    /// Requests that give up, per waiting second (0 when nobody ever does).
    pub abandon_per_second: f64,
    /// The desk opens so much later; zero when it is open.
    pub opens_in: Duration,
}

/// Estimated time to the first ring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// 1 of 10 calls comes earlier.
    pub p10: Duration,
    /// Half of the calls come earlier.
    pub p50: Duration,
    /// 9 of 10 calls come by then.
    pub p90: Duration,
}

/// The sort of a promise; the words are those of `promise_json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromiseKind {
    /// Between two times.
    Range,
    /// Within a few minutes.
    Short,
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
}

/// The wait for one place; `None` when nobody serves the line.
#[must_use]
pub fn estimate(view: &LineView) -> Option<Estimate> {
    if view.servers == 0 || view.mean_handling.is_zero() {
        return None;
    }
    let busy = u32::try_from(view.busy.len()).unwrap_or(u32::MAX);
    let free = view.servers.saturating_sub(busy);
    // Calls that have to end, or requests ahead that have to leave, before our turn.
    let steps = (view.ahead + 1).saturating_sub(free);
    let serve = f64::from(view.servers) / view.mean_handling.as_secs_f64();
    let (mut mean, mut variance) = (0.0, 0.0);
    for still_ahead in 0..steps {
        let rate = serve + f64::from(still_ahead) * view.abandon_per_second.max(0.0);
        mean += 1.0 / rate;
        variance += 1.0 / (rate * rate);
    }
    let at = |z: f64| view.opens_in + gamma_quantile(mean, variance, z);
    Some(Estimate {
        p10: at(-Z90),
        p50: at(0.0),
        p90: at(Z90),
    })
}

/// Quantile of a gamma distribution, by the cube-root normal approximation.
fn gamma_quantile(mean: f64, variance: f64, z: f64) -> Duration {
    if mean <= 0.0 {
        return Duration::ZERO;
    }
    let ninth = variance / (9.0 * mean * mean);
    let root = 1.0 - ninth + z * ninth.sqrt();
    Duration::from_secs_f64((mean * root.max(0.0).powi(3)).min(1e9))
}

impl Promise {
    /// The promise for an estimate made at `now`; `zone` is the customer's or the site's.
    /// Times are rounded outward, so the range told is never narrower than the estimate.
    #[must_use]
    pub fn from_estimate(estimate: &Estimate, view: &LineView, now: Wall, zone: &str) -> Self {
        let zone = zone.to_owned();
        let grid = grid(estimate.p90.saturating_sub(view.opens_in));
        if !view.opens_in.is_zero() {
            return Promise {
                kind: PromiseKind::Closed,
                from: now + view.opens_in,
                to: round_up(now + estimate.p90.max(view.opens_in + SHORT), grid),
                zone,
            };
        }
        if estimate.p90 < SHORT {
            return Promise {
                kind: PromiseKind::Short,
                from: now,
                to: now + SHORT,
                zone,
            };
        }
        Promise {
            kind: PromiseKind::Range,
            from: round_down(now + estimate.p10, grid).max(now),
            to: round_up(now + estimate.p90, grid),
            zone,
        }
    }

    /// The promise when no estimate can be made.
    #[must_use]
    pub fn none(now: Wall, zone: &str) -> Self {
        Promise {
            kind: PromiseKind::None,
            from: now,
            to: now,
            zone: zone.to_owned(),
        }
    }

    /// The promise of a booked time.
    #[must_use]
    pub fn booked(due: Wall, zone: &str) -> Self {
        Promise {
            kind: PromiseKind::Booked,
            from: due,
            to: due + BOOKED_SLACK,
            zone: zone.to_owned(),
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
            (PromiseKind::Range, false) => format!(
                "{number}We expect to call you between {from} and {to} ({zone}); 9 of 10 calls come by {by}."
            ),
            (PromiseKind::Range, true) => format!(
                "{number}Wir rufen Sie voraussichtlich zwischen {from} und {to} Uhr an ({zone}); 9 von 10 Anrufen kommen bis {by} Uhr."
            ),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn view(ahead: u32, servers: u32, busy: usize) -> LineView {
        LineView {
            ahead,
            servers,
            busy: vec![Duration::ZERO; busy],
            mean_handling: Duration::from_secs(300),
            abandon_per_second: 0.0,
            opens_in: Duration::ZERO,
        }
    }

    fn noon() -> Wall {
        // 2026-11-23T12:00:00Z
        Wall::from_millis(1_795_435_200_000)
    }

    #[test]
    fn a_free_server_means_no_wait() {
        let e = estimate(&view(1, 3, 1)).unwrap();
        assert_eq!((e.p10, e.p90), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn one_busy_server_is_an_exponential_wait() {
        // Exact quantiles of an exponential with mean 300 s: 31.6, 207.9, 690.8.
        let e = estimate(&view(0, 1, 1)).unwrap();
        assert!((e.p50.as_secs_f64() - 207.9).abs() < 5.0, "{e:?}");
        assert!((e.p90.as_secs_f64() - 690.8).abs() < 15.0, "{e:?}");
        assert!((e.p10.as_secs_f64() - 31.6).abs() < 5.0, "{e:?}");
    }

    #[test]
    fn more_ahead_wait_longer_and_more_servers_shorter() {
        let p50 = |v: &LineView| estimate(v).unwrap().p50;
        assert!(p50(&view(5, 2, 2)) > p50(&view(4, 2, 2)));
        assert!(p50(&view(5, 4, 4)) < p50(&view(5, 2, 2)));
    }

    #[test]
    fn those_who_give_up_shorten_the_wait() {
        let patient = view(40, 2, 2);
        let impatient = LineView {
            abandon_per_second: 1.0 / 600.0,
            ..patient.clone()
        };
        assert!(estimate(&impatient).unwrap().p50 < estimate(&patient).unwrap().p50 / 2);
    }

    #[test]
    fn a_line_nobody_serves_has_no_estimate() {
        assert_eq!(estimate(&view(0, 0, 0)), None);
    }

    #[test]
    fn a_promise_is_never_narrower_than_its_estimate() {
        for ahead in 0..200 {
            let view = view(ahead, 3, 3);
            let e = estimate(&view).unwrap();
            let now = Wall::from_millis(noon().millis() + i64::from(ahead) * 7_919);
            let p = Promise::from_estimate(&e, &view, now, "Europe/Berlin");
            assert!(
                p.from <= now + e.p10 && p.to >= now + e.p90,
                "{ahead}: {p:?}"
            );
            assert!(p.from >= now);
        }
    }

    #[test]
    fn the_sentence_names_place_range_and_zone() {
        let e = Estimate {
            p10: Duration::from_secs(1_260),
            p50: Duration::from_secs(1_800),
            p90: Duration::from_secs(2_340),
        };
        let v = view(6, 1, 1);
        let p = Promise::from_estimate(&e, &v, noon(), "Europe/Berlin");
        assert_eq!(
            p.text(Some(7), noon(), "en"),
            "You are number 7. We expect to call you between 13:20 and 13:40 (Berlin time); 9 of 10 calls come by 13:40."
        );
        assert!(
            p.text(Some(7), noon(), "de-AT")
                .starts_with("Sie sind Nummer 7. Wir rufen Sie")
        );
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
        let v = LineView {
            opens_in: Duration::from_secs(3_600),
            ..view(2, 1, 0)
        };
        let p = Promise::from_estimate(&estimate(&v).unwrap(), &v, noon(), "UTC");
        assert_eq!(p.kind, PromiseKind::Closed);
        assert!(
            p.text(Some(3), noon(), "en")
                .starts_with("We open at 13:00 (UTC). You are number 3.")
        );
    }

    #[test]
    fn a_short_wait_is_within_five_minutes() {
        let v = view(0, 1, 0);
        let p = Promise::from_estimate(&estimate(&v).unwrap(), &v, noon(), "UTC");
        assert_eq!(
            p.text(None, noon(), "en"),
            "We will call you within 5 minutes."
        );
    }
}
