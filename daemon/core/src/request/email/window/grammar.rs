//! What a run of tokens says about time, before anybody asks what day it is.

mod begin;
mod clock;

use jiff::civil::Weekday;

use super::lex::{Clock, DateFigures, Kind, Token, month, number_word, weekday};
use super::zone::Stated;

/// A day as said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Day {
    /// Days from today.
    Away(i16),
    /// The next such day, today included while it lasts.
    Weekday(Weekday),
    /// That day of the week after this one.
    NextWeekday(Weekday),
    /// A date; with the weekday said beside it.
    Date(DateFigures, Option<Weekday>),
    /// The next day with this number.
    OfMonth(i8),
    ThisWeek,
    NextWeek,
}

/// Minutes of a day between which a part of it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub from: i16,
    pub to: i16,
}

/// A time as said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    At(Clock),
    Around(Clock),
    After(Clock),
    Before(Clock),
    Between(Clock, Clock),
}

/// How a day bounds the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    By,
    Before,
    After,
    From,
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// Day, part and time, at least one of them.
    When {
        day: Option<Day>,
        part: Option<Part>,
        time: Option<Time>,
    },
    /// A day as a bound.
    Bound(Limit, Day),
    /// In so many minutes.
    In(i64),
    /// Within so many minutes.
    Within(i64),
    Asap,
}

/// An expression, where it ends, and what else was said within it.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub said: Said,
    /// First token behind it.
    pub end: usize,
    pub zone: Option<Stated>,
    /// Whether hours are said as in German.
    pub german: bool,
}

/// Reads the expression that begins at `start`.
pub(super) fn read(tokens: &[Token], start: usize) -> Option<Expression> {
    // Most words begin none, and there is much to try at each.
    let begins = tokens
        .get(start)
        .is_some_and(|token| begin::may_begin(&token.kind));
    if !begins && !cfg!(debug_assertions) {
        return None;
    }
    let mut reader = Reader {
        tokens,
        at: start,
        zone: None,
        german: false,
    };
    let said = reader.said()?;
    debug_assert!(begins, "{:?} begins an expression", tokens.get(start));
    Some(Expression {
        said,
        end: reader.at,
        zone: reader.zone,
        german: reader.german,
    })
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    zone: Option<Stated>,
    german: bool,
}

impl Reader<'_> {
    fn kind(&self, ahead: usize) -> Option<&Kind> {
        self.tokens.get(self.at + ahead).map(|t| &t.kind)
    }

    fn word(&self, ahead: usize) -> &str {
        match self.kind(ahead) {
            Some(Kind::Word(word)) => word,
            _ => "",
        }
    }

    /// Takes `words` if they come next.
    fn take(&mut self, words: &str) -> bool {
        // Most do not even begin so, and there are many to try at each word of a mail.
        if !words.starts_with(self.word(0)) || self.word(0).is_empty() {
            return false;
        }
        let count = words.split(' ').count();
        let fits = words
            .split(' ')
            .enumerate()
            .all(|(i, word)| self.word(i) == word);
        if fits {
            self.at += count;
        }
        fits
    }

    fn take_any(&mut self, choices: &[&str]) -> bool {
        choices.iter().any(|words| self.take(words))
    }

    /// Tries `read`; on failure nothing is taken.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = (self.at, self.zone.clone(), self.german);
        let got = read(self);
        if got.is_none() {
            (self.at, self.zone, self.german) = before;
        }
        got
    }

    fn said(&mut self) -> Option<Said> {
        const SOON: [&str; 12] = [
            "asap",
            "as soon as possible",
            "right away",
            "immediately",
            "as soon as you can",
            "sofort",
            "so bald wie möglich",
            "sobald wie möglich",
            "so schnell wie möglich",
            "schnellstmöglich",
            "baldmöglichst",
            "umgehend",
        ];
        if self.take_any(&SOON) {
            return Some(Said::Asap);
        }
        self.attempt(Self::relative)
            .or_else(|| self.attempt(Self::bound))
            .or_else(|| self.attempt(Self::when))
    }

    /// `in 2 hours`, `within 3 hours`, `in half an hour`.
    fn relative(&mut self) -> Option<Said> {
        let within = self.take_any(&[
            "within the next",
            "in the next",
            "within",
            "innerhalb von",
            "innerhalb der nächsten",
            "in den nächsten",
            "innerhalb",
        ]);
        if !within && !self.take("in") {
            return None;
        }
        let minutes = if self.take_any(&["half an hour", "einer halben stunde"]) {
            30
        } else {
            let count = self.count()?;
            let unit = self.word(0).to_owned();
            self.at += 1;
            count
                * match unit.as_str() {
                    "min" | "mins" | "minute" | "minutes" | "minuten" => 1,
                    "hour" | "hours" | "hr" | "hrs" | "h" | "stunde" | "stunden" | "std" => 60,
                    _ => return None,
                }
        };
        Some(if within {
            Said::Within(minutes)
        } else {
            Said::In(minutes)
        })
    }

    fn count(&mut self) -> Option<i64> {
        let count = match self.kind(0)? {
            Kind::Number(digits) if digits.len() <= 3 => digits.parse().ok()?,
            Kind::Word(word) => i64::from(number_word(word)?),
            _ => return None,
        };
        self.at += 1;
        if self.word(0) == "of" {
            self.at += 1;
        }
        Some(count)
    }

    /// `by tomorrow`, `before Friday`, `after Wednesday`, `from Monday`.
    fn bound(&mut self) -> Option<Said> {
        let limit = match () {
            () if self.take_any(&[
                "by",
                "until",
                "till",
                "no later than",
                "not later than",
                "bis zum",
                "bis",
                "spätestens am",
                "spätestens",
            ]) =>
            {
                Limit::By
            }
            () if self.take_any(&["before", "vor dem", "vor"]) => Limit::Before,
            () if self.take_any(&["after", "nach dem", "nach"]) => Limit::After,
            () if self.take_any(&["from", "starting", "ab dem", "ab"]) => Limit::From,
            () => return None,
        };
        self.take_any(&["the", "dem"]);
        let day = self.day()?;
        // `by tomorrow 3pm` is a time of that day.
        if let Some(clock) = self.attempt(|r| {
            r.take_any(&["at", "um"]);
            r.clock(true)
        }) {
            let time = match limit {
                Limit::By | Limit::Before => Time::Before(clock),
                Limit::After | Limit::From => Time::After(clock),
            };
            return Some(Said::When {
                day: Some(day),
                part: None,
                time: Some(time),
            });
        }
        Some(Said::Bound(limit, day))
    }

    fn when(&mut self) -> Option<Said> {
        let mut day = self.attempt(Self::day);
        let mut part = None;
        let mut time = None;
        if self.kind(0).is_some() && day.is_none() && matches!(self.word(0), "tonight") {
            self.at += 1;
            (day, part) = (Some(Day::Away(0)), Some(EVENING));
        }
        // Up to three pieces in any order, with small words and commas between.
        for _ in 0..4 {
            let found = self.attempt(|r| {
                r.join();
                if part.is_none()
                    && let Some(got) = r.attempt(Self::part)
                {
                    part = Some(got.0);
                    // `this morning` is today's.
                    day = day.or(got.1);
                    return Some(());
                }
                if time.is_none()
                    && let Some(got) = r.attempt(|r| r.time(day.is_some() || part.is_some()))
                {
                    time = Some(got);
                    return Some(());
                }
                if day.is_none() && (part.is_some() || time.is_some()) {
                    r.take_any(&["on", "am"]);
                    day = Some(r.attempt(Self::day)?);
                    return Some(());
                }
                None
            });
            if found.is_none() {
                break;
            }
        }
        (day.is_some() || part.is_some() || time.is_some()).then_some(Said::When {
            day,
            part,
            time,
        })
    }

    /// Small things between the pieces of one expression.
    fn join(&mut self) {
        if matches!(self.kind(0), Some(Kind::Comma)) {
            self.at += 1;
        }
    }

    fn day(&mut self) -> Option<Day> {
        if self.take_any(&["the day after tomorrow", "day after tomorrow", "übermorgen"]) {
            return Some(Day::Away(2));
        }
        if self.take_any(&["today", "heute"]) {
            return Some(Day::Away(0));
        }
        if self.take_any(&["tomorrow", "morgen"]) {
            return Some(Day::Away(1));
        }
        if self.take_any(&["this week", "diese woche"]) {
            return Some(Day::ThisWeek);
        }
        if self.take_any(&["next week", "nächste woche"]) {
            return Some(Day::NextWeek);
        }
        if self.word(0) == "in" {
            return self.attempt(|r| {
                r.at += 1;
                let days = i16::try_from(r.count()?).ok()?;
                r.take_any(&["days", "day", "tagen", "tag"])
                    .then_some(Day::Away(days))
            });
        }
        self.attempt(Self::weekday)
            .or_else(|| self.attempt(Self::date))
    }

    fn weekday(&mut self) -> Option<Day> {
        let next = self.take_any(&["next", "nächsten", "nächster"]);
        if !next {
            self.take_any(&["this coming", "this", "coming", "kommenden", "diesen"]);
        }
        let day = weekday(self.word(0))?;
        if matches!(self.word(0), "sat" | "sun") && self.follows_subject() {
            return None;
        }
        self.at += 1;
        if next {
            return Some(Day::NextWeekday(day));
        }
        let date = self.attempt(|r| {
            r.join();
            r.take_any(&["the", "den", "dem"]);
            match r.date()? {
                Day::Date(figures, None) => Some(Day::Date(figures, Some(day))),
                _ => None,
            }
        });
        Some(date.unwrap_or(Day::Weekday(day)))
    }

    /// `I sat`, `the sun`: no day of the week.
    fn follows_subject(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        matches!(before.map(|t| &t.kind), Some(Kind::Word(word))
            if matches!(word.as_str(), "i" | "we" | "he" | "she" | "it" | "they" | "the"))
    }

    fn date(&mut self) -> Option<Day> {
        if let Some(Kind::Date(figures)) = self.kind(0) {
            let figures = *figures;
            self.at += 1;
            return Some(Day::Date(figures, None));
        }
        // `Nov 25th, 2026`
        if let Some(month) = month(self.word(0)) {
            self.at += 1;
            let day = self.day_number()?;
            return Some(Day::Date(DateFigures::Known(day, month, self.year()), None));
        }
        let the = self.take("the");
        let is_ordinal = matches!(self.kind(0), Some(Kind::Ordinal(_)));
        let day = self.day_number()?;
        if matches!(self.kind(0), Some(Kind::Other)) {
            // `24. November`: the sign is the dot.
            self.at += 1;
        }
        self.take("of");
        if let Some(month) = month(self.word(0)) {
            self.at += 1;
            if matches!(
                self.word(0),
                "street" | "st" | "road" | "rd" | "avenue" | "lane" | "drive" | "way" | "close"
            ) {
                return None;
            }
            return Some(Day::Date(DateFigures::Known(day, month, self.year()), None));
        }
        (the && is_ordinal).then_some(Day::OfMonth(day))
    }

    fn day_number(&mut self) -> Option<i8> {
        let day = match self.kind(0)? {
            Kind::Ordinal(day) => *day,
            Kind::Number(digits) if digits.len() <= 2 => digits.parse().ok()?,
            _ => return None,
        };
        self.at += 1;
        (1..=31).contains(&day).then_some(day)
    }

    fn year(&mut self) -> Option<i16> {
        self.attempt(|r| {
            r.join();
            let year = match r.kind(0)? {
                Kind::Number(digits) if digits.len() == 4 => digits.parse().ok()?,
                _ => return None,
            };
            r.at += 1;
            (2000..2200).contains(&year).then_some(year)
        })
    }

    /// A part of the day, and today if it was said with `this`.
    fn part(&mut self) -> Option<(Part, Option<Day>)> {
        let this = self.take_any(&["this", "heute"]);
        if !this {
            self.take_any(&["in the", "at", "am", "in der"]);
        }
        let early = self.take_any(&["early", "am frühen", "frühen"]);
        let late = !early && self.take_any(&["late", "am späten", "späten"]);
        let (part, is_night) = match self.word(0) {
            "morning" | "mornings" => (Part { from: 480, to: 720 }, false),
            "vormittag" | "vormittags" => (Part { from: 480, to: 720 }, false),
            "früh" | "morgens" => (Part { from: 480, to: 600 }, false),
            "lunchtime" | "lunch" | "mittag" | "mittags" => (Part { from: 720, to: 840 }, false),
            "afternoon" | "afternoons" | "nachmittag" | "nachmittags" => (
                Part {
                    from: 720,
                    to: 1080,
                },
                false,
            ),
            "evening" | "evenings" | "abend" | "abends" => (EVENING, false),
            "night" => (EVENING, true),
            _ => return None,
        };
        if is_night && (early || late) {
            return None;
        }
        self.at += 1;
        let part = match (early, late, part.from) {
            (true, _, 480) => Part { from: 480, to: 600 },
            (_, true, 480) => Part { from: 600, to: 720 },
            (true, _, 720) => Part { from: 720, to: 900 },
            (_, true, 720) => Part {
                from: 900,
                to: 1080,
            },
            _ => part,
        };
        Some((part, this.then_some(Day::Away(0))))
    }
}

const EVENING: Part = Part {
    from: 1080,
    to: 1260,
};
