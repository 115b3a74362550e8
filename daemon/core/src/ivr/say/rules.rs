//! How a locale reads values: numbers, plurals, lengths of time, digits, ordinals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::locale::toml_fault;
use crate::ivr::expr::{Expr, Scope};
use crate::ivr::fault::{Place, Report};
use crate::ivr::flow::Source;
use crate::ivr::model::{ReadAs, Round};

/// Above this a number is not read.
const NUMBER_MAX: u64 = 999_999_999_999;
/// Most digits read one by one.
const DIGITS_MAX: usize = 64;
/// Ordinals have clips `o.1` to this.
const ORDINAL_MAX: u64 = 31;
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
    duration: Vec<(String, String)>,
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
struct Digits {
    gap_ms: u16,
    group: usize,
    group_gap_ms: u16,
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
struct Row {
    from: u64,
    divisor: u64,
    tokens: Vec<Token>,
}

/// A word of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// `<`, `<:f`: the quotient, in a gender.
    Quotient(Option<String>),
    /// `>`: the remainder, nothing if 0.
    Remainder,
    /// A clip; `{p}` inside is the plural category of the quotient.
    Clip(String),
    /// `{d day}`: the number named `d` and the unit's noun.
    Counted(String, String),
    /// `{n:x}`: the number named `x`.
    Number(String),
}

/// The rules of one locale.
#[derive(Debug)]
pub(in crate::ivr) struct Rules {
    number: Vec<Row>,
    plural: Vec<(String, Expr)>,
    gender: BTreeMap<String, BTreeSet<u64>>,
    unit: BTreeMap<String, Unit>,
    duration: Vec<(Expr, Vec<Token>)>,
    digits: Digits,
    /// Key to the word for it: `*` is `star`; clips `key.star`.
    keys: BTreeMap<char, String>,
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
        let mut duration = Vec::new();
        for (when, text) in &raw.duration {
            duration.push((compile(when)?, tokens(text)?));
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
            duration,
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
        if keys.is_empty() || keys.len() > DIGITS_MAX {
            return Err(format!("1 to {DIGITS_MAX} digits are read"));
        }
        let mut out = Vec::new();
        for (i, key) in keys.iter().enumerate() {
            if i > 0 {
                let group = self.digits.group > 0 && i % self.digits.group == 0;
                let gap = if group {
                    self.digits.group_gap_ms
                } else {
                    self.digits.gap_ms
                };
                out.push(Bit::Pause(Duration::from_millis(gap.into())));
            }
            out.push(Bit::Clip(match key {
                '0'..='9' => format!("n.{key}"),
                other => match self.keys.get(other) {
                    Some(word) => format!("key.{word}"),
                    None => return Err(format!("{other:?} is no digit")),
                },
            }));
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
        let parts = [
            ("d", seconds / 86_400),
            ("h", seconds / 3_600 % 24),
            ("m", seconds / 60 % 60),
            ("s", seconds % 60),
        ];
        let mut scope = Scope::default();
        for (name, value) in parts {
            scope.set(name, i64::try_from(value).unwrap_or(i64::MAX));
        }
        for (when, tokens) in &self.duration {
            if when.test(&scope).map_err(|e| e.to_string())? {
                let mut out = Vec::new();
                self.say_tokens(tokens, &parts, &mut out)?;
                return Ok(out);
            }
        }
        Err("no row of `duration` in rules.toml fits".to_owned())
    }

    fn say_tokens(
        &self,
        tokens: &[Token],
        parts: &[(&str, u64)],
        out: &mut Vec<Bit>,
    ) -> Result<(), String> {
        let value = |name: &str| {
            parts
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| *v)
                .ok_or_else(|| format!("no value is named {name}"))
        };
        for token in tokens {
            match token {
                Token::Clip(id) => out.push(Bit::Clip(id.clone())),
                Token::Counted(name, unit) => self.counted(value(name)?, unit, out)?,
                Token::Number(name) => self.number(value(name)?, None, out)?,
                Token::Quotient(_) | Token::Remainder => {
                    return Err("< and > belong to `number`".to_owned());
                }
            }
        }
        Ok(())
    }

    fn counted(&self, n: u64, unit: &str, out: &mut Vec<Bit>) -> Result<(), String> {
        let of = self
            .unit
            .get(unit)
            .ok_or_else(|| format!("no unit is named {unit}"))?;
        self.number(n, of.gender.as_deref(), out)?;
        out.push(Bit::Clip(format!("unit.{unit}.{}", self.category(n))));
        Ok(())
    }

    fn number(&self, n: u64, gender: Option<&str>, out: &mut Vec<Bit>) -> Result<(), String> {
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
                Token::Counted(..) | Token::Number(_) => {
                    return Err("{..} belongs to `duration`".to_owned());
                }
            }
        }
        Ok(())
    }

    /// CLDR plural category of `n`; categories are tried in the order of their names.
    fn category(&self, n: u64) -> String {
        let mut scope = Scope::default();
        scope.set("n", i64::try_from(n).unwrap_or(i64::MAX));
        let found = self
            .plural
            .iter()
            .find(|(_, when)| when.test(&scope) == Ok(true));
        found.map_or_else(|| "other".to_owned(), |(category, _)| category.clone())
    }

    /// Every clip that reading values in this way may need.
    pub(in crate::ivr) fn clips(&self, read_as: &ReadAs) -> BTreeSet<String> {
        let mut clips = BTreeSet::new();
        match read_as {
            ReadAs::Ordinal => clips.extend((1..=ORDINAL_MAX).map(|n| format!("o.{n}"))),
            ReadAs::Digits => clips.extend((0..10).map(|n| format!("n.{n}"))),
            ReadAs::Number { unit } => {
                self.number_clips(&mut clips);
                if let Some(unit) = unit {
                    self.unit_clips(unit, &mut clips);
                }
            }
            ReadAs::Duration(round) => {
                self.number_clips(&mut clips);
                let below: &[&str] = match round {
                    Round::Second => &[],
                    Round::Minute => &["s"],
                    Round::Hour => &["s", "m"],
                };
                for token in self.duration.iter().flat_map(|(_, tokens)| tokens) {
                    match token {
                        Token::Clip(id) => {
                            clips.insert(id.clone());
                        }
                        Token::Counted(name, unit) if !below.contains(&name.as_str()) => {
                            self.unit_clips(unit, &mut clips);
                        }
                        _ => {}
                    }
                }
            }
        }
        clips
    }

    fn categories(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.plural.iter().map(|(c, _)| c.as_str()).collect();
        all.push("other");
        all
    }

    fn unit_clips(&self, unit: &str, clips: &mut BTreeSet<String>) {
        clips.extend(self.categories().iter().map(|c| format!("unit.{unit}.{c}")));
    }

    fn number_clips(&self, clips: &mut BTreeSet<String>) {
        clips.extend((0..100).map(|n| format!("n.{n}")));
        for (gender, numbers) in &self.gender {
            clips.extend(numbers.iter().map(|n| format!("n.{n}.{gender}")));
        }
        for token in self.number.iter().flat_map(|row| &row.tokens) {
            if let Token::Clip(id) = token {
                clips.extend(self.categories().iter().map(|c| id.replace("{p}", c)));
            }
        }
    }
}

/// Reads the words of a rule.
fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        // `{d day}` has a blank inside, so words cannot simply be split at blanks;
        // `n.million.{p}` has braces inside, so braces alone do not tell either.
        let token = if rest.starts_with('{') {
            let (inside, after) = rest[1..]
                .split_once('}')
                .ok_or_else(|| format!("`{text}`: {{ without }}"))?;
            rest = after.trim_start();
            match (inside.split_once(' '), inside.split_once(':')) {
                (Some((name, unit)), _) => Token::Counted(name.to_owned(), unit.trim().to_owned()),
                (None, Some(("n", name))) => Token::Number(name.to_owned()),
                _ => return Err(format!("`{{{inside}}}` is no word of a rule")),
            }
        } else {
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            rest = after.trim_start();
            match word {
                "<" => Token::Quotient(None),
                ">" => Token::Remainder,
                w => match w.strip_prefix("<:") {
                    Some(gender) => Token::Quotient(Some(gender.to_owned())),
                    None => Token::Clip(w.to_owned()),
                },
            }
        };
        tokens.push(token);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;
