//! Times of day: `between 9 and 11`, `2-4pm`, `half past three`, `um halb vier`.

use super::super::lex::{Clock, Kind, is_literal, number_word, weekday};
use super::super::zone;
use super::{Reader, Time};

impl Reader<'_> {
    /// A time with its operator. `behind` a day or part a bare hour will do.
    pub(super) fn time(&mut self, behind: bool) -> Option<Time> {
        let time = self
            .attempt(Self::between)
            .or_else(|| self.attempt(|r| r.range(behind)))
            .or_else(|| {
                self.attempt(|r| {
                    let make = r.operator();
                    let clock = r.clock(make.is_some() || behind)?;
                    if make.is_none() && r.take_any(&["onwards", "onward", "or later", "or after"])
                    {
                        return Some(Time::After(clock));
                    }
                    Some(make.unwrap_or(Time::At)(clock))
                })
            })?;
        self.zone = self.zone.take().or_else(|| {
            let (stated, taken) = zone::stated(self.tokens.get(self.at..).unwrap_or_default())?;
            self.at += taken;
            Some(stated)
        });
        Some(time)
    }

    fn operator(&mut self) -> Option<fn(Clock) -> Time> {
        const AFTER: [&str; 17] = [
            "any time after",
            "anytime after",
            "not before",
            "no earlier than",
            "not earlier than",
            "don't call before",
            "do not call before",
            "don't call me before",
            "after",
            "from",
            "past",
            "nicht vor",
            "nicht vor dem",
            "frühestens um",
            "frühestens",
            "nach",
            "ab",
        ];
        const BEFORE: [&str; 13] = [
            "not after",
            "no later than",
            "not later than",
            "before",
            "by",
            "until",
            "till",
            "nicht nach",
            "spätestens um",
            "spätestens",
            "vor",
            "bis um",
            "bis",
        ];
        const AROUND: [&str; 8] = [
            "around",
            "about",
            "at about",
            "at around",
            "roughly at",
            "so gegen",
            "gegen",
            "circa",
        ];
        const AT: [&str; 3] = ["at", "um", "@"];
        if self.take_any(&AFTER) {
            return Some(Time::After);
        }
        if self.take_any(&BEFORE) {
            return Some(Time::Before);
        }
        if self.take_any(&AROUND) {
            return Some(Time::Around);
        }
        self.take_any(&AT).then_some(Time::At as fn(Clock) -> Time)
    }

    /// `between T and T`, `from T to T`.
    fn between(&mut self) -> Option<Time> {
        if !self.take_any(&["between", "from", "zwischen", "von"]) {
            return None;
        }
        let from = self.clock(true)?;
        if !self.take_any(&["and", "to", "until", "till", "und", "bis"]) {
            if !matches!(self.kind(0), Some(Kind::Dash)) {
                return None;
            }
            self.at += 1;
        }
        let to = self.clock(true)?;
        Some(Time::Between(from, to))
    }

    /// `2-4pm`, behind a day also `9-5`.
    fn range(&mut self, behind: bool) -> Option<Time> {
        let operator = self.take_any(&["at", "um"]);
        let from = self.clock(true)?;
        if !matches!(self.kind(0), Some(Kind::Dash)) {
            if !self.take_any(&["to", "bis"]) {
                return None;
            }
        } else {
            self.at += 1;
        }
        let is_clear = matches!(self.kind(0), Some(Kind::Clock(_)));
        let to = self.clock(true)?;
        (is_clear || behind || operator || self.german).then_some(Time::Between(from, to))
    }

    /// A time of day; a bare hour only where `bare` allows.
    pub(super) fn clock(&mut self, bare: bool) -> Option<Clock> {
        let noon = |hour| Clock {
            hour,
            minute: 0,
            afternoon: None,
            literal: true,
        };
        if self.take_any(&["noon", "midday", "12 noon"]) {
            return Some(noon(12));
        }
        if self.take_any(&["midnight", "mitternacht"]) {
            return Some(noon(24));
        }
        if let Some(clock) = self.attempt(Self::spoken) {
            return Some(clock);
        }
        let clock = match self.kind(0)? {
            Kind::Clock(clock) => *clock,
            Kind::Number(digits) if digits.len() <= 2 => {
                let hour: i16 = digits.parse().ok().filter(|h| *h <= 24)?;
                Clock {
                    hour,
                    minute: 0,
                    afternoon: None,
                    literal: is_literal(digits, hour),
                }
            }
            Kind::Word(word) => {
                let hour = number_word(word).filter(|_| {
                    !matches!(
                        word.as_str(),
                        "a" | "an" | "ein" | "eine" | "einer" | "einem" | "couple" | "paar"
                    )
                })?;
                Clock {
                    hour,
                    minute: 0,
                    afternoon: None,
                    literal: false,
                }
            }
            _ => return None,
        };
        let was_clock = matches!(self.kind(0), Some(Kind::Clock(_)));
        self.at += 1;
        let marked = self.hour_mark();
        // A figure followed by figures is a telephone number or an amount.
        let is_more = match self.kind(0) {
            Some(Kind::Number(_) | Kind::Clock(_)) => true,
            Some(Kind::Word(word)) => !marked && !may_follow_hour(word),
            _ => false,
        };
        let is_more = is_more && !was_clock;
        ((was_clock || marked || bare) && !is_more).then_some(clock)
    }

    /// `o'clock`, `Uhr`.
    fn hour_mark(&mut self) -> bool {
        let uhr = self.take("uhr");
        self.german |= uhr;
        uhr || self.take_any(&["o'clock", "hours"])
    }

    /// `half past three`, `half three`, `quarter to four`, `halb vier`, `viertel nach drei`.
    fn spoken(&mut self) -> Option<Clock> {
        let minutes: i16 = match () {
            () if self.take("half past") => 30,
            () if self.take("halb") => {
                self.german = true;
                -30
            }
            () if self.take("half") => 30,
            () if self.take_any(&["quarter past", "a quarter past"]) => 15,
            () if self.take_any(&["viertel nach"]) => {
                self.german = true;
                15
            }
            () if self.take_any(&["quarter to", "a quarter to"]) => -15,
            () if self.take_any(&["viertel vor"]) => {
                self.german = true;
                -15
            }
            () => return None,
        };
        let (hour, literal) = match self.kind(0)? {
            Kind::Number(digits) if digits.len() <= 2 => {
                let hour: i16 = digits.parse().ok()?;
                (hour, is_literal(digits, hour))
            }
            Kind::Word(word) => (number_word(word)?, false),
            _ => return None,
        };
        if !(1..=24).contains(&hour) {
            return None;
        }
        self.at += 1;
        self.hour_mark();
        let (hour, minute) = if minutes < 0 {
            (hour - 1, 60 + minutes)
        } else {
            (hour, minutes)
        };
        let hour = if hour == 0 { 12 } else { hour };
        Some(Clock {
            hour,
            minute,
            afternoon: None,
            literal,
        })
    }
}

/// Words behind a bare hour; before any other word a figure counts things: `from 2 shops`.
fn may_follow_hour(word: &str) -> bool {
    const WORDS: [&str; 60] = [
        "on",
        "in",
        "at",
        "and",
        "or",
        "to",
        "until",
        "till",
        "please",
        "today",
        "tomorrow",
        "tonight",
        "this",
        "next",
        "the",
        "my",
        "for",
        "if",
        "is",
        "would",
        "will",
        "thanks",
        "thank",
        "via",
        "with",
        "as",
        "because",
        "but",
        "so",
        "when",
        "onwards",
        "onward",
        "sharp",
        "latest",
        "works",
        "suits",
        "day",
        "every",
        "only",
        "i",
        "we",
        "you",
        "my",
        "using",
        "under",
        "bitte",
        "oder",
        "und",
        "bis",
        "am",
        "an",
        "unter",
        "morgen",
        "heute",
        "übermorgen",
        "zurück",
        "anrufen",
        "danke",
        "aber",
        "h",
    ];
    WORDS.contains(&word) || weekday(word).is_some() || zone::is_name(word)
}
