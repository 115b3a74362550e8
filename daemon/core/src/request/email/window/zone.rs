//! Which clock a time is meant on: the one named beside it, the one where the telephone
//! rings, the writer's, the site's.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use super::lex::{Kind, Token};

/// A zone named beside a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stated {
    Named(String),
    /// Seconds east of Greenwich.
    Offset(i32),
}

/// Abbreviations people write, by where they are used.
const NAMES: [(&str, &str); 21] = [
    ("utc", "UTC"),
    ("gmt", "UTC"),
    ("cet", "Europe/Berlin"),
    ("cest", "Europe/Berlin"),
    ("mez", "Europe/Berlin"),
    ("mesz", "Europe/Berlin"),
    ("bst", "Europe/London"),
    ("et", "America/New_York"),
    ("est", "America/New_York"),
    ("edt", "America/New_York"),
    ("ct", "America/Chicago"),
    ("cst", "America/Chicago"),
    ("cdt", "America/Chicago"),
    ("mt", "America/Denver"),
    ("mst", "America/Denver"),
    ("mdt", "America/Denver"),
    ("pt", "America/Los_Angeles"),
    ("pst", "America/Los_Angeles"),
    ("pdt", "America/Los_Angeles"),
    ("eastern", "America/New_York"),
    ("pacific", "America/Los_Angeles"),
];

/// The one zone of a country that has one.
const ONE_ZONE: [(&str, &str); 46] = [
    ("GB", "Europe/London"),
    ("IE", "Europe/Dublin"),
    ("DE", "Europe/Berlin"),
    ("AT", "Europe/Vienna"),
    ("CH", "Europe/Zurich"),
    ("LI", "Europe/Vaduz"),
    ("FR", "Europe/Paris"),
    ("IT", "Europe/Rome"),
    ("BE", "Europe/Brussels"),
    ("NL", "Europe/Amsterdam"),
    ("LU", "Europe/Luxembourg"),
    ("DK", "Europe/Copenhagen"),
    ("SE", "Europe/Stockholm"),
    ("NO", "Europe/Oslo"),
    ("FI", "Europe/Helsinki"),
    ("EE", "Europe/Tallinn"),
    ("LV", "Europe/Riga"),
    ("LT", "Europe/Vilnius"),
    ("PL", "Europe/Warsaw"),
    ("CZ", "Europe/Prague"),
    ("SK", "Europe/Bratislava"),
    ("HU", "Europe/Budapest"),
    ("SI", "Europe/Ljubljana"),
    ("HR", "Europe/Zagreb"),
    ("RS", "Europe/Belgrade"),
    ("BA", "Europe/Sarajevo"),
    ("RO", "Europe/Bucharest"),
    ("BG", "Europe/Sofia"),
    ("GR", "Europe/Athens"),
    ("MT", "Europe/Malta"),
    ("TR", "Europe/Istanbul"),
    ("IL", "Asia/Jerusalem"),
    ("AE", "Asia/Dubai"),
    ("IN", "Asia/Kolkata"),
    ("SG", "Asia/Singapore"),
    ("HK", "Asia/Hong_Kong"),
    ("JP", "Asia/Tokyo"),
    ("KR", "Asia/Seoul"),
    ("TW", "Asia/Taipei"),
    ("TH", "Asia/Bangkok"),
    ("PH", "Asia/Manila"),
    ("ZA", "Africa/Johannesburg"),
    ("EG", "Africa/Cairo"),
    ("NG", "Africa/Lagos"),
    ("IS", "Atlantic/Reykjavik"),
    ("CO", "America/Bogota"),
];

/// A zone of the bundled database: no file is opened.
pub(super) fn by_name(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// The zone of a country, if it has just one.
pub(super) fn of_country(region: &str) -> Option<TimeZone> {
    ONE_ZONE
        .iter()
        .find(|(country, _)| *country == region)
        .and_then(|(_, name)| by_name(name))
}

/// A fixed offset, as the site's zone if that shows the same time at `at`.
pub(super) fn of_offset(seconds: i32, at: Timestamp, site: &TimeZone) -> Option<TimeZone> {
    if site.to_offset(at).seconds() == seconds {
        return Some(site.clone());
    }
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

impl Stated {
    pub(super) fn zone(&self) -> Option<TimeZone> {
        match self {
            Stated::Named(name) => by_name(name),
            Stated::Offset(seconds) => Offset::from_seconds(*seconds).ok().map(TimeZone::fixed),
        }
    }
}

/// A zone at the begin of `tokens`, and how many of them name it.
pub(super) fn stated(tokens: &[Token]) -> Option<(Stated, usize)> {
    let word = |at: usize| match tokens.get(at).map(|t| &t.kind) {
        Some(Kind::Word(word)) => word.as_str(),
        _ => "",
    };
    let first = word(0);
    if matches!(first, "utc" | "gmt")
        && let Some(found) = with_offset(tokens)
    {
        return Some(found);
    }
    if let Some((_, name)) = NAMES.iter().find(|(short, _)| *short == first) {
        let taken = if word(1) == "time" { 2 } else { 1 };
        return Some((Stated::Named((*name).to_owned()), taken));
    }
    // `London time`, `New York time`
    let (city, taken) = match (word(1), word(2)) {
        ("time", _) => (first.to_owned(), 2),
        (second, "time") => (format!("{first}_{second}"), 3),
        _ => return None,
    };
    let database = TimeZoneDatabase::bundled();
    let name = database
        .available()
        .map(|n| n.as_str().to_owned())
        .find(|name| {
            name.rsplit_once('/')
                .is_some_and(|(_, last)| last.eq_ignore_ascii_case(&city))
        })?;
    Some((Stated::Named(name), taken))
}

/// `UTC+2`, `UTC -5`
fn with_offset(tokens: &[Token]) -> Option<(Stated, usize)> {
    let [first, sign, hours, ..] = tokens else {
        return None;
    };
    // The sign stands right behind the word.
    let west = match sign.kind {
        Kind::Dash => true,
        Kind::Other if first.end == sign.start => false,
        _ => return None,
    };
    let Kind::Number(digits) = &hours.kind else {
        return None;
    };
    let hours: i32 = digits.parse().ok().filter(|h| *h <= 14)?;
    Some((Stated::Offset(if west { -hours } else { hours } * 3600), 3))
}
