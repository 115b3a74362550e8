//! The rules of a locale: its file, and how numbers and plurals are put together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::locale::toml_fault;
use super::table::{RawTable, Table, Token, tokens};
use crate::ivr::expr::{Expr, Scope};
use crate::ivr::fault::{Place, Report};
use crate::ivr::flow::Source;

/// Above this a number is not read.
const NUMBER_MAX: u64 = 999_999_999_999;
/// Clips a value may become; above that the rules of the locale run in a circle.
const BITS_MAX: usize = 200;

/// What a value becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ivr) enum Bit {
    /// A clip of the locale.
    Clip(String),
    /// Silence.
    Pause(Duration),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRules {
    number: Vec<RawRow>,
    #[serde(default)]
    plural: BTreeMap<String, String>,
    #[serde(default)]
    gender: BTreeMap<String, BTreeSet<u64>>,
    #[serde(default)]
    unit: BTreeMap<String, Unit>,
    #[serde(default)]
    duration: RawTable,
    #[serde(default)]
    ewt: RawTable,
    #[serde(default)]
    date: RawTable,
    #[serde(default)]
    time: RawTable,
    #[serde(default)]
    money: RawTable,
    #[serde(default)]
    digits: Digits,
    #[serde(default)]
    keys: BTreeMap<String, String>,
    #[serde(default)]
    press: String,
    #[serde(default)]
    gaps: Gaps,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawRow {
    Own(u64, String),
    Divided(u64, String, u64),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unit {
    #[serde(default)]
    gender: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Digits {
    pub(super) gap_ms: u16,
    pub(super) group: usize,
    pub(super) group_gap_ms: u16,
}

impl Default for Digits {
    fn default() -> Self {
        Digits {
            gap_ms: 120,
            group: 3,
            group_gap_ms: 300,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Gaps {
    items_ms: u16,
    inside_ms: u16,
}

impl Default for Gaps {
    fn default() -> Self {
        Gaps {
            items_ms: 150,
            inside_ms: 30,
        }
    }
}

/// A row of the number table.
#[derive(Debug)]
pub(super) struct Row {
    from: u64,
    divisor: u64,
    pub(super) tokens: Vec<Token>,
}

/// The rules of one locale.
#[derive(Debug)]
pub(in crate::ivr) struct Rules {
    pub(super) number: Vec<Row>,
    pub(super) plural: Vec<(String, Expr)>,
    pub(super) gender: BTreeMap<String, BTreeSet<u64>>,
    unit: BTreeMap<String, Unit>,
    pub(super) duration: Table,
    pub(super) ewt: Table,
    pub(super) date: Table,
    pub(super) time: Table,
    pub(super) money: Table,
    pub(super) digits: Digits,
    /// Key to the word for it: `*` is `star`; clips `key.star`.
    pub(super) keys: BTreeMap<char, String>,
    /// The word before a key in a menu's text; empty: texts are not compared with keys.
    pub(in crate::ivr) press: String,
    gaps: Gaps,
}

impl Rules {
    /// Reads `rules.toml`; `None` if faults were reported.
    pub(in crate::ivr) fn read(source: &Source, report: &mut Report) -> Option<Self> {
        let raw: RawRules = toml::from_str(&source.text)
            .map_err(|e| toml_fault(&source.file, &source.text, &e, report))
            .ok()?;
        match Self::convert(raw) {
            Ok(rules) => Some(rules),
            Err(why) => {
                report.add(&source.file, Place { line: 1, column: 1 }, "E002", why);
                None
            }
        }
    }

    fn convert(raw: RawRules) -> Result<Self, String> {
        let mut number = Vec::new();
        for row in raw.number {
            let (from, text, divisor) = match row {
                RawRow::Own(from, text) => (from, text, from),
                RawRow::Divided(from, text, divisor) => (from, text, divisor),
            };
            // A smaller divisor could leave a remainder as large as the number itself.
            if from < 100 || divisor < 100 || divisor > from {
                return Err(format!(
                    "number row {from}: from and divisor are 100 or more, divisor at most from"
                ));
            }
            number.push(Row {
                from,
                divisor,
                tokens: tokens(&text)?,
            });
        }
        number.sort_by_key(|row| std::cmp::Reverse(row.from));
        let compile = |text: &str| Expr::compile(text).map_err(|e| format!("`{text}`: {e}"));
        let mut plural = Vec::new();
        for (category, text) in &raw.plural {
            plural.push((category.clone(), compile(text)?));
        }
        let mut keys = BTreeMap::new();
        for (key, word) in raw.keys {
            let key = key.chars().next().ok_or("an empty key under `keys`")?;
            keys.insert(key, word);
        }
        Ok(Rules {
            number,
            plural,
            gender: raw.gender,
            unit: raw.unit,
            duration: Table::read("duration", &raw.duration)?,
            ewt: Table::read("ewt", &raw.ewt)?,
            date: Table::read("date", &raw.date)?,
            time: Table::read("time", &raw.time)?,
            money: Table::read("money", &raw.money)?,
            digits: raw.digits,
            keys,
            press: raw.press.to_lowercase(),
            gaps: raw.gaps,
        })
    }

    /// The silence between two items.
    pub(in crate::ivr) fn item_gap(&self) -> Duration {
        Duration::from_millis(self.gaps.items_ms.into())
    }

    /// The silence inside a sentence, at a slot.
    pub(in crate::ivr) fn inside_gap(&self) -> Duration {
        Duration::from_millis(self.gaps.inside_ms.into())
    }

    /// The word for a key in texts: `1` as it is, `*` as `star`.
    pub(in crate::ivr) fn key_word(&self, key: char) -> String {
        self.keys
            .get(&key)
            .cloned()
            .unwrap_or_else(|| key.to_string())
    }

    pub(super) fn counted(&self, n: u64, unit: &str, out: &mut Vec<Bit>) -> Result<(), String> {
        let of = self
            .unit
            .get(unit)
            .ok_or_else(|| format!("no unit is named {unit}"))?;
        self.number(n, of.gender.as_deref(), out)?;
        out.push(Bit::Clip(format!("unit.{unit}.{}", self.category(n))));
        Ok(())
    }

    pub(super) fn number(
        &self,
        n: u64,
        gender: Option<&str>,
        out: &mut Vec<Bit>,
    ) -> Result<(), String> {
        if n > NUMBER_MAX {
            return Err(format!("numbers above {NUMBER_MAX} are not read"));
        }
        if out.len() > BITS_MAX {
            return Err("the number rules run in a circle".to_owned());
        }
        if n < 100 {
            let own = gender.filter(|g| self.gender.get(*g).is_some_and(|set| set.contains(&n)));
            out.push(Bit::Clip(match own {
                Some(g) => format!("n.{n}.{g}"),
                None => format!("n.{n}"),
            }));
            return Ok(());
        }
        let row = self
            .number
            .iter()
            .find(|row| row.from <= n)
            .ok_or_else(|| format!("no number row reads {n}"))?;
        let (quotient, remainder) = (n / row.divisor, n % row.divisor);
        for token in &row.tokens {
            match token {
                Token::Quotient(g) if quotient < n => self.number(quotient, g.as_deref(), out)?,
                Token::Remainder if remainder > 0 => self.number(remainder, gender, out)?,
                Token::Quotient(_) | Token::Remainder => {}
                Token::Clip(id) => out.push(Bit::Clip(id.replace("{p}", &self.category(quotient)))),
                Token::Counted(..) | Token::Number(_) | Token::Ordinal(_) => {
                    return Err("`number` has no {..}".to_owned());
                }
            }
        }
        Ok(())
    }

    /// CLDR plural category of `n`; categories are tried in the order of their names.
    pub(super) fn category(&self, n: u64) -> String {
        let mut scope = Scope::default();
        scope.set("n", i64::try_from(n).unwrap_or(i64::MAX));
        let found = self
            .plural
            .iter()
            .find(|(_, when)| when.test(&scope) == Ok(true));
        found.map_or_else(|| "other".to_owned(), |(category, _)| category.clone())
    }
}

#[cfg(test)]
mod tests;
