//! Which clips a way of reading values may need: what lint looks for and a build makes.

use std::collections::BTreeSet;

use super::rules::Rules;
use super::table::{Table, Token};
use super::values::{ORDINAL_MAX, unit_of};
use crate::ivr::model::{ReadAs, Round};

/// Facts with few values, and these.
const FACTS: [(&str, &[&str]); 3] = [
    ("{wd}", &["1", "2", "3", "4", "5", "6", "7"]),
    (
        "{mon}",
        &[
            "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12",
        ],
    ),
    ("{ap}", &["am", "pm"]),
];

impl Rules {
    /// Every clip that reading values in this way may need.
    pub(in crate::ivr) fn clips(&self, read_as: &ReadAs) -> BTreeSet<String> {
        let mut clips = BTreeSet::new();
        match read_as {
            ReadAs::Ordinal => ordinals(&mut clips),
            ReadAs::Digits | ReadAs::Phone => clips.extend((0..10).map(|n| format!("n.{n}"))),
            ReadAs::Number { unit } => {
                self.number_clips(&mut clips);
                if let Some(unit) = unit {
                    self.unit_clips(unit, &mut clips);
                }
            }
            ReadAs::Duration(round) => {
                let below: &[&str] = match round {
                    Round::Second => &[],
                    Round::Minute => &["s"],
                    Round::Hour => &["s", "m"],
                };
                self.number_clips(&mut clips);
                self.table_clips(&self.duration, None, below, &mut clips);
            }
            ReadAs::Ewt => self.table_clips(&self.ewt, None, &[], &mut clips),
            ReadAs::Date => self.table_clips(&self.date, None, &[], &mut clips),
            ReadAs::Time => self.table_clips(&self.time, None, &[], &mut clips),
            ReadAs::Money { currency } => {
                self.table_clips(&self.money, Some(currency), &[], &mut clips);
            }
        }
        clips
    }

    /// The clips of a table, without units whose number is never there.
    fn table_clips(
        &self,
        table: &Table,
        currency: Option<&str>,
        never: &[&str],
        clips: &mut BTreeSet<String>,
    ) {
        for token in table.rows.iter().flat_map(|(_, tokens)| tokens) {
            match token {
                Token::Clip(id) => clips.extend(spread(id)),
                Token::Counted(name, unit) if !never.contains(&name.as_str()) => {
                    self.number_clips(clips);
                    self.unit_clips(&unit_of(unit, currency), clips);
                }
                Token::Number(_) => self.number_clips(clips),
                Token::Ordinal(_) => ordinals(clips),
                Token::Counted(..) | Token::Quotient(_) | Token::Remainder => {}
            }
        }
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

fn ordinals(clips: &mut BTreeSet<String>) {
    clips.extend((1..=ORDINAL_MAX).map(|n| format!("o.{n}")));
}

/// A clip whose id holds a fact, for each value of it.
fn spread(id: &str) -> Vec<String> {
    match FACTS.iter().find(|(fact, _)| id.contains(fact)) {
        Some((fact, values)) => values
            .iter()
            .flat_map(|value| spread(&id.replace(fact, value)))
            .collect(),
        None => vec![id.to_owned()],
    }
}
