//! Words and figures of a sentence about time, in English and German.

use std::sync::LazyLock;

use jiff::civil::Weekday;
use regex::Regex;

/// One word, figure or sign.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A word in lower case.
    Word(String),
    /// A figure without meaning of its own, with its digits as written.
    Number(String),
    /// A time: `15:30`, `8.30`, `3pm`, `15h`.
    Clock(Clock),
    /// A date as figures.
    Date(DateFigures),
    /// `24th`, or `24.` before a month.
    Ordinal(i8),
    Dash,
    Comma,
    Other,
}

/// A time as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    pub hour: i16,
    pub minute: i16,
    /// Some(true) is afternoon.
    pub afternoon: Option<bool>,
    /// Written so that nothing is left to guess: `09`, `13:00`, noon.
    pub literal: bool,
}

/// A date of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateFigures {
    /// Day, month, year.
    Known(i8, i8, Option<i16>),
    /// `3/12`: which is the month depends on the country.
    Slashed(i8, i8, Option<i16>),
}

/// A token with its place in the sentence.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)(?P<iso>\b\d{4}-\d{2}-\d{2}\b)t?",
        r"|(?P<dot>\b\d{1,2}\.\s?\d{1,2}\.(?:\d{4}\b|\d{2}\b)?)",
        r"|(?P<slash>\b\d{1,2}/\d{1,2}(?:/\d{4}|/\d{2})?\b)",
        r"|(?P<ampm>\b\d{1,2}(?:[:.]\d{2})?\s?(?:am\b|pm\b|a\.m\.?|p\.m\.?))",
        r"|(?P<clock>\b\d{1,2}[:.]\d{2}\b)",
        r"|(?P<hour>\b\d{1,2}h\b)",
        r"|(?P<ordinal>\b\d{1,2}(?:st|nd|rd|th)\b)",
        r"|(?P<number>\d+)",
        r"|(?P<word>[\p{L}][\p{L}']*)",
        r"|(?P<dash>-)|(?P<comma>,)|(?P<other>[^\s])",
    ))
    .ok()
});

/// Longest sentence looked at, in tokens.
const TOKENS_MAX: usize = 120;

/// Cuts a sentence into tokens.
pub(super) fn tokens(sentence: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while tokens.len() < TOKENS_MAX
        && let Some(token) = plain(sentence, at).or_else(|| any(sentence, at))
    {
        at = token.end;
        tokens.push(token);
    }
    tokens
}

/// Whether so many digits before this byte are a figure and nothing else: no time, date or
/// ordinal begins with them.
fn is_bare(digits: usize, next: Option<&u8>) -> bool {
    let Some(next) = next.map(u8::to_ascii_lowercase) else {
        return true;
    };
    match digits {
        _ if !next.is_ascii() => false,
        1 | 2 => !matches!(
            next,
            b'.' | b':' | b'/' | b'a' | b'p' | b'h' | b's' | b'n' | b'r' | b't' | 9..=13 | b' '
        ),
        4 => next != b'-',
        _ => true,
    }
}

/// The next token at or behind `at`, if it is an ASCII word, figure or sign: most are, and the pattern is
/// slow to say so.
fn plain(sentence: &str, at: usize) -> Option<Token> {
    let rest = sentence.as_bytes().get(at..)?;
    let start = rest.iter().position(|b| !matches!(b, 9..=13 | b' '))?;
    let rest = rest.get(start..)?;
    let start = at + start;
    let (kind, length) = match rest.first()? {
        b'-' => (Kind::Dash, 1),
        b',' => (Kind::Comma, 1),
        b'a'..=b'z' | b'A'..=b'Z' => {
            let is_part = |b: &u8| b.is_ascii_alphabetic() || *b == b'\'';
            let length = rest.iter().take_while(|b| is_part(b)).count();
            if rest.get(length).is_some_and(|b| !b.is_ascii()) {
                return None;
            }
            let word = sentence.get(start..start + length)?;
            (Kind::Word(word.to_ascii_lowercase()), length)
        }
        b'0'..=b'9' => {
            let length = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            if !is_bare(length, rest.get(length)) {
                return None;
            }
            let digits = sentence.get(start..start + length)?;
            (Kind::Number(digits.to_owned()), length)
        }
        sign if sign.is_ascii_punctuation() => (Kind::Other, 1),
        _ => return None,
    };
    Some(Token {
        kind,
        start,
        end: start + length,
    })
}

/// The next token at or behind `at`.
fn any(sentence: &str, at: usize) -> Option<Token> {
    let hit = PATTERN.as_ref()?.captures_at(sentence, at)?;
    let whole = hit.get(0)?;
    let text = whole.as_str();
    let group = |name: &str| hit.name(name).map(|m| m.as_str());
    let kind = if let Some(word) = group("word") {
        Kind::Word(word.to_lowercase())
    } else if let Some(digits) = group("number") {
        Kind::Number(digits.to_owned())
    } else if let Some(iso) = group("iso") {
        figures(iso)
            .and_then(|f| date(f.get(2)?, f.get(1)?, f.first()))
            .map_or(Kind::Other, Kind::Date)
    } else if let Some(dot) = group("dot") {
        figures(dot)
            .and_then(|f| date(f.first()?, f.get(1)?, f.get(2)))
            .map_or(Kind::Other, Kind::Date)
    } else if text == "24/7" {
        // At all hours: no date.
        Kind::Other
    } else if let Some(slash) = group("slash") {
        figures(slash)
            .and_then(|f| slashed(&f))
            .map_or(Kind::Other, Kind::Date)
    } else if group("ampm").or(group("clock")).or(group("hour")).is_some() {
        clock(text).map_or(Kind::Other, Kind::Clock)
    } else if let Some(ordinal) = group("ordinal") {
        figures(ordinal)
            .and_then(|f| i8::try_from(*f.first()?).ok())
            .map_or(Kind::Other, Kind::Ordinal)
    } else if text == "-" {
        Kind::Dash
    } else if text == "," {
        Kind::Comma
    } else {
        Kind::Other
    };
    Some(Token {
        kind,
        start: whole.start(),
        end: whole.end(),
    })
}

fn figures(text: &str) -> Option<Vec<i16>> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|f| !f.is_empty())
        .map(|f| f.parse().ok())
        .collect()
}

fn date(day: &i16, month: &i16, year: Option<&i16>) -> Option<DateFigures> {
    let (day, month) = (i8::try_from(*day).ok()?, i8::try_from(*month).ok()?);
    ((1..=31).contains(&day) && (1..=12).contains(&month)).then_some(DateFigures::Known(
        day,
        month,
        year.map(|y| full_year(*y)),
    ))
}

fn slashed(figures: &[i16]) -> Option<DateFigures> {
    let (a, b) = (
        i8::try_from(*figures.first()?).ok()?,
        i8::try_from(*figures.get(1)?).ok()?,
    );
    let year = figures.get(2).map(|y| full_year(*y));
    match (a, b) {
        (13..=31, 1..=12) => Some(DateFigures::Known(a, b, year)),
        (1..=12, 13..=31) => Some(DateFigures::Known(b, a, year)),
        (1..=12, 1..=12) => Some(DateFigures::Slashed(a, b, year)),
        _ => None,
    }
}

fn full_year(year: i16) -> i16 {
    if year < 100 { year + 2000 } else { year }
}

fn clock(text: &str) -> Option<Clock> {
    let numbers = figures(text)?;
    let (hour, minute) = (*numbers.first()?, numbers.get(1).copied().unwrap_or(0));
    let lower = text.to_ascii_lowercase();
    let afternoon = match () {
        () if lower.contains('p') => Some(true),
        () if lower.contains('a') => Some(false),
        () => None,
    };
    if minute > 59 || hour > 24 || (afternoon.is_some() && !(1..=12).contains(&hour)) {
        return None;
    }
    Some(Clock {
        hour,
        minute,
        afternoon,
        literal: is_literal(text, hour),
    })
}

/// `09`, `00` and hours past twelve mean themselves.
pub(super) fn is_literal(digits: &str, hour: i16) -> bool {
    hour > 12 || digits.starts_with('0')
}

/// A number word from one to twelve, `a` and `an` being one.
pub(super) fn number_word(word: &str) -> Option<i16> {
    let words: [(&str, i16); 32] = [
        ("one", 1),
        ("two", 2),
        ("three", 3),
        ("four", 4),
        ("five", 5),
        ("six", 6),
        ("seven", 7),
        ("eight", 8),
        ("nine", 9),
        ("ten", 10),
        ("eleven", 11),
        ("twelve", 12),
        ("a", 1),
        ("an", 1),
        ("ein", 1),
        ("eine", 1),
        ("einer", 1),
        ("einem", 1),
        ("eins", 1),
        ("zwei", 2),
        ("drei", 3),
        ("vier", 4),
        ("fünf", 5),
        ("sechs", 6),
        ("sieben", 7),
        ("acht", 8),
        ("neun", 9),
        ("zehn", 10),
        ("elf", 11),
        ("zwölf", 12),
        ("couple", 2),
        ("paar", 2),
    ];
    words
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, n)| *n)
}

pub(super) fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mon" | "montag" => Weekday::Monday,
        "tuesday" | "tue" | "tues" | "dienstag" => Weekday::Tuesday,
        "wednesday" | "wed" | "mittwoch" => Weekday::Wednesday,
        "thursday" | "thu" | "thur" | "thurs" | "donnerstag" => Weekday::Thursday,
        "friday" | "fri" | "freitag" => Weekday::Friday,
        "saturday" | "sat" | "samstag" | "sonnabend" => Weekday::Saturday,
        "sunday" | "sun" | "sonntag" => Weekday::Sunday,
        _ => return None,
    })
}

pub(super) fn month(word: &str) -> Option<i8> {
    Some(match word {
        "january" | "jan" | "januar" | "jänner" => 1,
        "february" | "feb" | "februar" => 2,
        "march" | "mar" | "märz" => 3,
        "april" | "apr" => 4,
        "may" | "mai" => 5,
        "june" | "jun" | "juni" => 6,
        "july" | "jul" | "juli" => 7,
        "august" | "aug" => 8,
        "september" | "sep" | "sept" => 9,
        "october" | "oct" | "oktober" | "okt" => 10,
        "november" | "nov" => 11,
        "december" | "dec" | "dezember" | "dez" => 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_apart() {
        let kinds = |text: &str| tokens(text).into_iter().map(|t| t.kind).collect::<Vec<_>>();
        let at = |hour, minute, afternoon, literal| {
            Kind::Clock(Clock {
                hour,
                minute,
                afternoon,
                literal,
            })
        };
        assert_eq!(kinds("3pm"), [at(3, 0, Some(true), false)]);
        assert_eq!(
            kinds("8.30-9.15"),
            [at(8, 30, None, false), Kind::Dash, at(9, 15, None, false)]
        );
        assert_eq!(
            kinds("24.11."),
            [Kind::Date(DateFigures::Known(24, 11, None))]
        );
        assert_eq!(
            kinds("24.11.2026"),
            [Kind::Date(DateFigures::Known(24, 11, Some(2026)))]
        );
        assert_eq!(
            kinds("3/12"),
            [Kind::Date(DateFigures::Slashed(3, 12, None))]
        );
        assert_eq!(kinds("45:99 99/99"), [Kind::Other, Kind::Other]);
        assert_eq!(
            kinds("25th 030"),
            [Kind::Ordinal(25), Kind::Number("030".into())]
        );
        assert_eq!(kinds("2026-13-40"), [Kind::Other]);
    }

    #[test]
    fn plain_words_and_signs_are_what_the_pattern_says() {
        for sentence in [
            "Please call me tomorrow at 3pm, or on 24.11.2026 - thanks!",
            "It's 15:30 o'clock' 'x'y' (a_b) a\u{b}b\tc\r\nd",
            "über Übermorgen naïve caf\u{e9}s re\u{301}sum\u{e9} é1é 1é",
            "at 3\u{a0}pm \u{2003}and 24/7, 3rd/4th 12-13 Uhr ٣٤ x",
            "\u{0}\u{7f}{}[]~`@#$%^&*=+\\|;:\"<>?",
            "1x 12X 3) 030-123 4567 2026-11-24 2026-1 1234- 12345-67 7\u{660} 123\u{661} 12",
            "3P.M. 4 AM 5Am 6H 7TH 8:15 9.30 1/2 1/2/26 123/4 99:1 1: 2. 3.4 3.4. 0 00 000",
            "12- 1234-12-12x 1234-12-123 12,5 1_2 x1 1x2 3n 4r 5s 6t 7a 8p\t9",
            "",
        ] {
            let (mut at, mut slowly) = (0, Vec::new());
            while let Some(token) = any(sentence, at) {
                at = token.end;
                slowly.push(token);
            }
            let all = |tokens: &[Token]| format!("{tokens:?}");
            assert_eq!(all(&tokens(sentence)), all(&slowly), "{sentence}");
        }
    }
}
