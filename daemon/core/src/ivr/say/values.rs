//! How each kind of value is read: a number, a length of time, a moment, an amount.

use std::time::Duration;

use jiff::civil::DateTime;

use super::rules::{Bit, Rules};
use super::table::{Fact, Table, Token};
use crate::ivr::model::Round;

/// Most digits read one by one.
const DIGITS_MAX: usize = 64;
/// Ordinals have clips `o.1` to this.
pub(super) const ORDINAL_MAX: u64 = 31;
/// Above this a wait is told in whole hours.
const EWT_MINUTES_MAX: u64 = 60;
/// Above this a wait is told in steps of five minutes.
const EWT_FINE_MAX: u64 = 10;
/// Currencies without a smaller unit in use (ISO 4217).
const WHOLE_CURRENCIES: [&str; 6] = ["CLP", "ISK", "JPY", "KRW", "UGX", "VND"];

/// An amount of money in its smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ivr) struct Amount(u64);

impl Amount {
    /// From `12.50`, or from the smallest unit as a whole number.
    pub(in crate::ivr) fn parse(text: &str, currency: &str) -> Option<Amount> {
        let (major, minor) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if major.is_empty() || major.len() > 12 || !digits(major) || !digits(minor) {
            return None;
        }
        let major: u64 = major.parse().ok()?;
        if is_whole(currency) {
            return minor.trim_matches('0').is_empty().then_some(Amount(major));
        }
        let minor: u64 = match minor.len() {
            0 => 0,
            1 => minor.parse::<u64>().ok()? * 10,
            2 => minor.parse().ok()?,
            _ => return None,
        };
        Some(Amount(major * 100 + minor))
    }

    /// Of the smallest unit.
    pub(in crate::ivr) fn minor(units: u64) -> Amount {
        Amount(units)
    }
}

fn is_whole(currency: &str) -> bool {
    WHOLE_CURRENCIES.contains(&currency)
}

/// The units of a currency: its own and the smaller one.
pub(super) fn money_units(currency: &str) -> (String, String) {
    let major = currency.to_ascii_lowercase();
    let minor = format!("{major}_sub");
    (major, minor)
}

impl Rules {
    /// Reads a number, with a unit's noun if one is named.
    pub(in crate::ivr) fn read_number(
        &self,
        n: u64,
        unit: Option<&str>,
    ) -> Result<Vec<Bit>, String> {
        let mut out = Vec::new();
        match unit {
            None => self.number(n, None, &mut out)?,
            Some(unit) => self.counted(n, unit, &mut out)?,
        }
        Ok(out)
    }

    /// Reads an ordinal, 1 to 31.
    pub(in crate::ivr) fn read_ordinal(n: u64) -> Result<Vec<Bit>, String> {
        if (1..=ORDINAL_MAX).contains(&n) {
            Ok(vec![Bit::Clip(format!("o.{n}"))])
        } else {
            Err(format!("ordinals are read from 1 to {ORDINAL_MAX}"))
        }
    }

    /// Reads digits one by one, in groups.
    pub(in crate::ivr) fn read_digits(&self, text: &str) -> Result<Vec<Bit>, String> {
        let keys: Vec<char> = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-' | '+'))
            .collect();
        let group = match self.digits.group {
            0 => keys.len().max(1),
            group => group,
        };
        let groups: Vec<&[char]> = keys.chunks(group).collect();
        self.read_groups(&groups)
    }

    /// Reads a telephone number in the groups its country writes.
    pub(in crate::ivr) fn read_phone(&self, groups: &[String]) -> Result<Vec<Bit>, String> {
        let groups: Vec<Vec<char>> = groups
            .iter()
            .map(|group| group.chars().filter(char::is_ascii_digit).collect())
            .collect();
        let groups: Vec<&[char]> = groups
            .iter()
            .map(Vec::as_slice)
            .filter(|group| !group.is_empty())
            .collect();
        self.read_groups(&groups)
    }

    fn read_groups(&self, groups: &[&[char]]) -> Result<Vec<Bit>, String> {
        let count: usize = groups.iter().map(|group| group.len()).sum();
        if count == 0 || count > DIGITS_MAX {
            return Err(format!("1 to {DIGITS_MAX} digits are read"));
        }
        let pause = |ms: u16| Bit::Pause(Duration::from_millis(ms.into()));
        let mut out = Vec::new();
        for group in groups {
            for (i, key) in group.iter().enumerate() {
                if !out.is_empty() {
                    out.push(pause(match i {
                        0 => self.digits.group_gap_ms,
                        _ => self.digits.gap_ms,
                    }));
                }
                out.push(Bit::Clip(match key {
                    '0'..='9' => format!("n.{key}"),
                    other => match self.keys.get(other) {
                        Some(word) => format!("key.{word}"),
                        None => return Err(format!("{other:?} is no digit")),
                    },
                }));
            }
        }
        Ok(out)
    }

    /// Reads a length of time, rounded up to `round`, at least one.
    pub(in crate::ivr) fn read_duration(
        &self,
        length: Duration,
        round: Round,
    ) -> Result<Vec<Bit>, String> {
        let unit_ms: u128 = match round {
            Round::Second => 1_000,
            Round::Minute => 60_000,
            Round::Hour => 3_600_000,
        };
        let units = length.as_millis().div_ceil(unit_ms).max(1);
        let seconds = u64::try_from(units * unit_ms / 1000).unwrap_or(u64::MAX);
        let facts = [
            ("d", count(seconds / 86_400)),
            ("h", count(seconds / 3_600 % 24)),
            ("m", count(seconds / 60 % 60)),
            ("s", count(seconds % 60)),
        ];
        self.by_table(&self.duration, &facts, None)
    }

    /// Reads the upper bound of a wait, the coarser the longer: nobody counts minutes
    /// after an hour, and none is promised in seconds.
    pub(in crate::ivr) fn read_ewt(&self, bound: Duration) -> Result<Vec<Bit>, String> {
        let minutes = bound.as_secs().div_ceil(60).max(1);
        let over = minutes > EWT_MINUTES_MAX;
        let minutes = match minutes {
            m if m <= EWT_FINE_MAX || over => m,
            m => m.div_ceil(5) * 5,
        };
        let facts = [
            ("over", Fact::Flag(over)),
            ("h", count(minutes / 60)),
            ("m", count(minutes % 60)),
        ];
        self.by_table(&self.ewt, &facts, None)
    }

    /// Reads a day, as seen from `now`.
    pub(in crate::ivr) fn read_date(
        &self,
        at: &DateTime,
        now: &DateTime,
    ) -> Result<Vec<Bit>, String> {
        let days = now.date().until(at.date()).map_err(|e| e.to_string())?;
        let facts = [
            ("rel", Fact::Number(days.get_days().into())),
            (
                "wd",
                Fact::Number(at.weekday().to_monday_one_offset().into()),
            ),
            ("dom", Fact::Number(at.day().into())),
            ("mon", Fact::Number(at.month().into())),
            ("y", Fact::Number(at.year().into())),
            ("same_year", Fact::Flag(at.year() == now.year())),
        ];
        self.by_table(&self.date, &facts, None)
    }

    /// Reads a time of day.
    pub(in crate::ivr) fn read_time(&self, at: &DateTime) -> Result<Vec<Bit>, String> {
        let hour = i64::from(at.hour());
        let facts = [
            ("h", Fact::Number(hour)),
            ("h12", Fact::Number((hour + 11) % 12 + 1)),
            ("m", Fact::Number(at.minute().into())),
            ("ap", Fact::Word(if hour < 12 { "am" } else { "pm" })),
        ];
        self.by_table(&self.time, &facts, None)
    }

    /// Reads an amount of money.
    pub(in crate::ivr) fn read_money(
        &self,
        amount: Amount,
        currency: &str,
    ) -> Result<Vec<Bit>, String> {
        let (major, minor) = match is_whole(currency) {
            true => (amount.0, 0),
            false => (amount.0 / 100, amount.0 % 100),
        };
        let facts = [("major", count(major)), ("minor", count(minor))];
        self.by_table(&self.money, &facts, Some(currency))
    }

    fn by_table(
        &self,
        table: &Table,
        facts: &[(&str, Fact<'_>)],
        currency: Option<&str>,
    ) -> Result<Vec<Bit>, String> {
        let fact = |name: &str| {
            let found = facts.iter().find(|(n, _)| *n == name);
            found
                .map(|(_, fact)| *fact)
                .ok_or_else(|| format!("no value is named {name}"))
        };
        let number = |name: &str| match fact(name)? {
            Fact::Number(n) => u64::try_from(n).map_err(|_| format!("{name} is below zero")),
            Fact::Flag(_) | Fact::Word(_) => Err(format!("{name} is no number")),
        };
        let mut out = Vec::new();
        for token in table.find(facts)? {
            match token {
                Token::Clip(id) => {
                    let mut id = id.clone();
                    for (name, fact) in facts {
                        id = id.replace(&format!("{{{name}}}"), &fact.shown());
                    }
                    out.push(Bit::Clip(id));
                }
                Token::Counted(name, unit) => {
                    self.counted(number(name)?, &unit_of(unit, currency), &mut out)?;
                }
                Token::Number(name) => self.number(number(name)?, None, &mut out)?,
                Token::Ordinal(name) => out.extend(Rules::read_ordinal(number(name)?)?),
                Token::Quotient(_) | Token::Remainder => {}
            }
        }
        Ok(out)
    }
}

fn count(n: u64) -> Fact<'static> {
    Fact::Number(i64::try_from(n).unwrap_or(i64::MAX))
}

/// `cur` and `sub` are the units of the currency.
pub(super) fn unit_of(unit: &str, currency: Option<&str>) -> String {
    match (unit, currency.map(money_units)) {
        ("cur", Some((major, _))) => major,
        ("sub", Some((_, minor))) => minor,
        _ => unit.to_owned(),
    }
}
