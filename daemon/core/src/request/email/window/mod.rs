//! When the customer wants the call, from free text. The call may start in
//! `not_before..=not_after`. A time nobody asked a call for is not taken: a sentence needs a
//! word that asks, or must hold the time and nothing else.

mod grammar;
mod lex;
mod meaning;
mod zone;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_parser::DateTime;

use self::grammar::{Expression, Said};
use self::lex::{Kind, Token};
use self::meaning::Frame;
use super::MailContext;
use crate::phone::PhoneNumber;
use crate::time::Wall;

/// Most sentences looked at, and most bytes of text: who wants a call says when near the top.
const SENTENCES_MAX: usize = 200;
const TEXT_BYTES_MAX: usize = 16 << 10;
/// A `Date` header is believed from so long before to [`DATE_AHEAD_MS`] after arrival.
const DATE_BEHIND_MS: i64 = 3 * 86_400_000;
const DATE_AHEAD_MS: i64 = 15 * 60_000;
/// Latest start of a time written by a program, in days.
const MACHINE_DAYS_MAX: i64 = 60;

/// What a text says about the time of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A sentence that speaks of time but gives none that can be kept.
    Unclear(String),
    /// `None` at the start is at once, at the end is never.
    Window {
        not_before: Option<Wall>,
        not_after: Option<Wall>,
        /// The zone in which the time is told.
        clock: Clock,
        /// The words that said so.
        matched: String,
    },
}

/// The zone in which a time is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    zone: TimeZone,
    /// Whether it is more than the site's.
    is_told: bool,
}

impl Clock {
    /// IANA name of the writer's zone, if it is known and has one.
    pub(super) fn told(&self) -> Option<&str> {
        self.zone.iana_name().filter(|_| self.is_told)
    }

    /// IANA name, or the offset as `-05:00`.
    pub(super) fn name(&self) -> String {
        match self.zone.iana_name() {
            Some(name) => name.to_owned(),
            None => {
                let now = self.zone.to_offset(Timestamp::UNIX_EPOCH);
                offset_text(now.seconds())
            }
        }
    }

    /// RFC 3339 with the zone's offset.
    pub(super) fn rfc3339(&self, at: Wall) -> String {
        rfc3339(at, self.offset_at(at))
    }

    fn offset_at(&self, at: Wall) -> i32 {
        let at = Timestamp::from_millisecond(at.millis()).unwrap_or_default();
        self.zone.to_offset(at).seconds()
    }
}

/// `+01:00`.
fn offset_text(seconds: i32) -> String {
    let minutes = seconds.unsigned_abs() / 60;
    let sign = if seconds < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// An instant as RFC 3339 with this offset, in whole seconds.
pub(super) fn rfc3339(at: Wall, offset_seconds: i32) -> String {
    let at = Timestamp::from_millisecond(at.millis()).unwrap_or_default();
    let offset = jiff::tz::Offset::from_seconds(offset_seconds).unwrap_or(jiff::tz::Offset::UTC);
    let local = offset
        .to_datetime(at)
        .strftime("%Y-%m-%dT%H:%M:%S")
        .to_string();
    local + &offset_text(offset_seconds)
}

/// What times in a mail are measured from.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    written: Timestamp,
    received: Timestamp,
    zone: TimeZone,
    /// Whether the zone is more than the site's.
    is_told: bool,
    month_first: bool,
    german: bool,
}

impl Reference {
    /// `date` is the `Date` header; the zone comes from the number, the date, or the site.
    pub(super) fn new(
        date: Option<&DateTime>,
        context: &MailContext<'_>,
        number: Option<&PhoneNumber>,
        german: bool,
    ) -> Self {
        let received_ms = context.received.millis();
        let received = Timestamp::from_millisecond(received_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let date = date.filter(|d| d.is_valid());
        let date_ms = date.map(|d| d.to_timestamp().saturating_mul(1000));
        let believed =
            |ms: &i64| (received_ms - DATE_BEHIND_MS..=received_ms + DATE_AHEAD_MS).contains(ms);
        let written = date_ms
            .filter(believed)
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(received);
        let site = zone::by_name(context.zone).unwrap_or(TimeZone::UTC);
        let region = number.and_then(PhoneNumber::region);
        let of_number = region.as_deref().and_then(zone::of_country);
        let of_date = date
            .and_then(offset_seconds)
            .and_then(|s| zone::of_offset(s, written, &site));
        let told = of_number.or(of_date.filter(|z| *z != site));
        let place = region.as_deref().or(context.region).unwrap_or_default();
        Reference {
            written,
            received,
            is_told: told.is_some(),
            zone: told.unwrap_or(site),
            month_first: matches!(place, "US" | "PH"),
            german,
        }
    }
}

/// Seconds east of Greenwich; `-0000` says that nobody knows (RFC 5322 §3.3).
pub(super) fn offset_seconds(date: &DateTime) -> Option<i32> {
    let seconds = i32::from(date.tz_hour) * 3600 + i32::from(date.tz_minute) * 60;
    match (date.tz_before_gmt, seconds) {
        (true, 0) => None,
        (true, seconds) => Some(-seconds),
        (false, seconds) => Some(seconds),
    }
}

/// The first time said in `text`. A labelled line (`is_field`) needs no word that asks.
pub(super) fn find(text: &str, is_field: bool, reference: &Reference) -> Found {
    let text = plain(
        text.get(..text.floor_char_boundary(TEXT_BYTES_MAX))
            .unwrap_or_default(),
    );
    if is_field && let Some(found) = machine_time(text.trim(), reference) {
        return found;
    }
    let mut unclear = None;
    for sentence in sentences(&text).into_iter().take(SENTENCES_MAX) {
        let tokens = lex::tokens(sentence);
        let has_cue = is_field || has_cue(&tokens);
        let mut whole = Some(tokens);
        for clause in clauses(sentence) {
            // Nearly every sentence is one clause.
            let tokens = whole.take().filter(|_| clause.len() == sentence.len());
            let tokens = tokens.unwrap_or_else(|| lex::tokens(clause));
            match in_clause(clause, &tokens, has_cue, reference) {
                Found::Nothing => {}
                Found::Unclear(words) => unclear = unclear.or(Some(words)),
                found @ Found::Window { .. } => return found,
            }
        }
    }
    unclear.map_or(Found::Nothing, Found::Unclear)
}

/// `2026-11-24T15:00-05:00`, with `/PT2H` for its length: what programs write.
fn machine_time(text: &str, reference: &Reference) -> Option<Found> {
    let (time, length) = text.split_once('/').unwrap_or((text, "PT30M"));
    let start: Timestamp = time.trim().parse().ok()?;
    let length: jiff::SignedDuration = length.trim().parse().ok()?;
    let end = start.checked_add(length).ok().filter(|end| *end >= start)?;
    let latest = reference.received.as_second() + MACHINE_DAYS_MAX * 86_400;
    if end <= reference.received || start.as_second() > latest {
        return Some(Found::Unclear(text.chars().take(200).collect()));
    }
    let wall = |t: Timestamp| Wall::from_millis(t.as_millisecond());
    // A fixed offset, as it stands there.
    let zone = written_offset(time.trim()).map_or(TimeZone::UTC, TimeZone::fixed);
    Some(Found::Window {
        not_before: (start > reference.received).then(|| wall(start)),
        not_after: Some(wall(end)),
        clock: Clock {
            zone,
            is_told: true,
        },
        matched: text.to_owned(),
    })
}

/// The offset at the end of an RFC 3339 time; `None` for `Z`.
fn written_offset(time: &str) -> Option<jiff::tz::Offset> {
    let at = time.len().checked_sub(6)?;
    let (sign, rest) = time.get(at..)?.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3_600 + minutes.parse::<i32>().ok()? * 60;
    let seconds = match sign {
        "+" => seconds,
        "-" => -seconds,
        _ => return None,
    };
    jiff::tz::Offset::from_seconds(seconds).ok()
}

fn in_clause(clause: &str, tokens: &[Token], has_cue: bool, reference: &Reference) -> Found {
    let words = |list: &[&str]| {
        tokens
            .iter()
            .any(|t| matches!(&t.kind, Kind::Word(w) if list.contains(&w.as_str())))
    };
    if words(&PAST) {
        return Found::Nothing;
    }
    let Some((start, mut expression)) =
        (0..tokens.len()).find_map(|at| Some((at, grammar::read(tokens, at)?)))
    else {
        return Found::Nothing;
    };
    let first_end = expression.end;
    complete(tokens, &mut expression);
    if !has_cue && !only_fillers(tokens, start, first_end) {
        return Found::Nothing;
    }
    let unclear = || Found::Unclear(clause.trim().chars().take(200).collect());
    let lower = clause.to_lowercase();
    let negated = is_negated_day(tokens, start, &expression.said)
        || tokens
            .get(start)
            .and_then(|t| lower.get(..t.start))
            .is_some_and(forbids_call);
    // Nobody says when lunch is over.
    let vague = is_bounded_part(tokens, start, &expression.said);
    if negated
        || vague
        || words(&REFUSING)
        || REFUSING_PHRASES.iter().any(|phrase| lower.contains(phrase))
    {
        return unclear();
    }
    let stated = expression.zone.as_ref().and_then(zone::Stated::zone);
    let is_told = stated.is_some() || reference.is_told;
    let zone = stated.unwrap_or_else(|| reference.zone.clone());
    let frame = Frame {
        written: reference.written,
        zone: &zone,
        month_first: reference.month_first,
        german: reference.german,
    };
    let Some(range) = meaning::range(&expression, &frame) else {
        return unclear();
    };
    if range.end.is_some_and(|end| end <= reference.received) {
        return unclear();
    }
    let wall = |t: Timestamp| Wall::from_millis(t.as_millisecond());
    // `the day after tomorrow`: the day begins behind the article.
    let article = |at: usize, word: &str| matches!(tokens.get(at).map(|t| &t.kind), Some(Kind::Word(w)) if w == word);
    let start = start + usize::from(article(start, "the") && article(start + 1, "day"));
    let text = |at: usize, end: bool| {
        tokens
            .get(at)
            .map_or(0, |t| if end { t.end } else { t.start })
    };
    Found::Window {
        not_before: range.start.filter(|t| *t > reference.received).map(wall),
        not_after: range.end.map(wall),
        clock: Clock { zone, is_told },
        matched: clause
            .get(text(start, false)..text(first_end.saturating_sub(1), true))
            .unwrap_or_default()
            .to_owned(),
    }
}

/// A day and its time may stand apart: `tomorrow on 030 1234567 after 6pm`.
fn complete(tokens: &[Token], first: &mut Expression) {
    let Said::When { day, part, time } = &mut first.said else {
        return;
    };
    let rest = first.end..tokens.len();
    let is_choice = |t: &Token| matches!(&t.kind, Kind::Word(w) if w == "or" || w == "oder");
    let end = tokens
        .iter()
        .skip(first.end)
        .position(is_choice)
        .map_or(rest.end, |at| rest.start + at);
    let within = tokens.get(..end).unwrap_or_default();
    let Some(second) = (rest.start..end).find_map(|at| grammar::read(within, at)) else {
        return;
    };
    let Said::When {
        day: other_day,
        part: other_part,
        time: other_time,
    } = second.said
    else {
        return;
    };
    let has_hours = part.is_some() || time.is_some();
    match (*day, has_hours, other_day) {
        (Some(_), false, None) => (*part, *time) = (other_part, other_time),
        (None, true, Some(_)) if other_part.is_none() && other_time.is_none() => *day = other_day,
        _ => return,
    }
    first.zone = first.zone.take().or(second.zone);
    first.german |= second.german;
}

/// `please don't call on Friday`: what follows is no wish.
fn forbids_call(before: &str) -> bool {
    [
        "don't call",
        "do not call",
        "don't ring",
        "do not ring",
        "never call",
        "don't phone",
        "rufen sie nicht",
    ]
    .iter()
    .any(|words| before.contains(words))
}

/// `after lunch`, `before the evening`: a part of the day is no bound.
fn is_bounded_part(tokens: &[Token], start: usize, said: &Said) -> bool {
    let bare = matches!(
        said,
        Said::When {
            day: None,
            part: Some(_),
            time: None
        }
    );
    let before = tokens.get(..start).unwrap_or_default().iter().rev();
    let mut words = before.filter_map(|token| match &token.kind {
        Kind::Word(word) if !matches!(word.as_str(), "the" | "dem" | "my" | "der") => {
            Some(word.as_str())
        }
        _ => None,
    });
    bare && matches!(words.next(), Some("after" | "before" | "nach" | "vor"))
}

/// `not Friday`, `nicht am Freitag`.
fn is_negated_day(tokens: &[Token], start: usize, said: &Said) -> bool {
    let has_day = matches!(said, Said::When { day: Some(_), .. });
    let word = |back: usize| match start
        .checked_sub(back)
        .and_then(|at| tokens.get(at))
        .map(|t| &t.kind)
    {
        Some(Kind::Word(word)) => word.as_str(),
        _ => "",
    };
    let not = |word: &str| matches!(word, "not" | "nicht" | "never" | "nie");
    has_day && (not(word(1)) || (matches!(word(1), "on" | "am" | "at") && not(word(2))))
}

/// Typographic signs as on a keyboard.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\u{2018}' | '\u{2019}' => '\'',
            '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
            '\u{a0}' | '\u{202f}' | '\t' => ' ',
            other => other,
        })
        .collect()
}

/// Sentences; a full stop between a digit and a small letter or digit ends none.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let ends = match byte {
            b'!' | b'?' | b';' => true,
            b'\n' => bytes.get(at + 1) == Some(&b'\n') || !continues(text, at),
            b'.' => {
                let digit_before = at > 0 && bytes.get(at - 1).is_some_and(u8::is_ascii_digit);
                let next = text.get(at + 1..).unwrap_or_default();
                let follows = next.trim_start().chars().next();
                let spaced = next.starts_with([' ', '\n']) || next.is_empty();
                let is_meridian = at > 0
                    && bytes.get(at - 1).is_some_and(|b| matches!(b, b'm' | b'M'))
                    && at > 1
                    && bytes.get(at - 2) == Some(&b'.');
                spaced
                    && !(digit_before
                        && follows.is_some_and(|c| {
                            c.is_lowercase() || c.is_ascii_digit() || is_month_next(next)
                        }))
                    && !(is_meridian && follows.is_some_and(char::is_lowercase))
            }
            _ => false,
        };
        if ends {
            found.push(text.get(start..=at).unwrap_or_default());
            start = at + 1;
        }
    }
    found.push(text.get(start..).unwrap_or_default());
    found
}

/// `24. November`: the stop belongs to the day.
fn is_month_next(rest: &str) -> bool {
    let word: String = rest
        .trim_start()
        .chars()
        .take_while(|c| c.is_alphabetic())
        .collect();
    lex::month(&word.to_lowercase()).is_some()
}

/// Whether a sentence runs on behind a line end.
fn continues(text: &str, at: usize) -> bool {
    let next = text.get(at + 1..).and_then(|rest| rest.chars().next());
    let before = text
        .get(..at)
        .and_then(|t| t.trim_end().chars().next_back());
    next.is_some_and(|c| c.is_lowercase() || c.is_ascii_digit())
        && before.is_some_and(|c| c.is_alphanumeric() || c == ',')
}

/// Clauses: `but`, `aber`, `, please`, `, bitte` begin a new one.
fn clauses(sentence: &str) -> Vec<&str> {
    let lower = sentence.to_lowercase();
    // Lower case of some letters has another length; then the sentence stays whole.
    if lower.len() != sentence.len() {
        return vec![sentence];
    }
    let mut cuts: Vec<usize> = [" but ", " aber ", ", please", ", bitte"]
        .iter()
        .flat_map(|mark| {
            lower
                .match_indices(mark)
                .map(|(at, _)| at)
                .collect::<Vec<_>>()
        })
        .collect();
    cuts.sort_unstable();
    let mut start = 0;
    let mut found = Vec::new();
    for cut in cuts {
        found.push(sentence.get(start..cut).unwrap_or_default());
        start = cut;
    }
    found.push(sentence.get(start..).unwrap_or_default());
    found
}

fn has_cue(tokens: &[Token]) -> bool {
    tokens.iter().any(|token| match &token.kind {
        Kind::Word(word) => {
            CUES.contains(&word.as_str()) || CUE_STARTS.iter().any(|start| word.starts_with(start))
        }
        _ => false,
    })
}

/// Whether nothing but small words stands around the expression.
fn only_fillers(tokens: &[Token], start: usize, end: usize) -> bool {
    let around = tokens.iter().take(start).chain(tokens.iter().skip(end));
    around.into_iter().all(|token| match &token.kind {
        Kind::Word(word) => FILLERS.contains(&word.as_str()),
        Kind::Comma | Kind::Dash | Kind::Other => true,
        Kind::Number(_) | Kind::Clock(_) | Kind::Date(_) | Kind::Ordinal(_) => false,
    })
}

const CUES: [&str; 30] = [
    "call",
    "ring",
    "phone",
    "reach",
    "callback",
    "speak",
    "talk",
    "available",
    "free",
    "best",
    "good",
    "works",
    "suits",
    "prefer",
    "preferred",
    "please",
    "contact",
    "convenient",
    "calling",
    "telephone",
    "melden",
    "sprechen",
    "passt",
    "bitte",
    "gern",
    "gerne",
    "frei",
    "verfügbar",
    "möglich",
    "anzurufen",
];
const CUE_STARTS: [&str; 6] = [
    "ruf",
    "rückruf",
    "anruf",
    "telefon",
    "erreich",
    "angerufen werden",
];
const FILLERS: [&str; 28] = [
    "on", "at", "am", "um", "or", "oder", "the", "is", "ok", "okay", "would", "be", "me", "hi",
    "hello", "hallo", "thanks", "thank", "you", "danke", "please", "bitte", "any", "time", "great",
    "fine", "also", "and",
];
const PAST: [&str; 28] = [
    "yesterday",
    "ago",
    "since",
    "last",
    "was",
    "were",
    "had",
    "did",
    "ordered",
    "bought",
    "broke",
    "arrived",
    "delivered",
    "called",
    "tried",
    "happened",
    "started",
    "gestern",
    "seit",
    "letzte",
    "letzten",
    "letzter",
    "bestellt",
    "gekauft",
    "angerufen",
    "war",
    "hatte",
    "vorgestern",
];
const REFUSING: [&str; 8] = [
    "unavailable",
    "away",
    "except",
    "außer",
    "ausser",
    "verhindert",
    "unreachable",
    "holiday",
];
const REFUSING_PHRASES: [&str; 5] = [
    "not available",
    "nicht erreichbar",
    "not reachable",
    "nicht verfügbar",
    "not free",
];

#[cfg(test)]
mod tests;
