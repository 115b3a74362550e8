//! `say` lists: exactly one thing an item, and how values are read.

use std::collections::BTreeMap;

use super::Reader;
use crate::ivr::fault::{Place, hint};
use crate::ivr::io::ToneName;
use crate::ivr::model::{Item, Part, ReadAs, Round, What};
use crate::ivr::raw::{At, RawItem};

/// Most items of one list.
const ITEMS_MAX: usize = 50;
/// The fields of which an item has exactly one.
const THINGS: [&str; 14] = [
    "prompt", "file", "tts", "number", "ordinal", "digits", "duration", "ewt", "date", "time",
    "money", "phone", "pause", "tone",
];

/// What is written beside a value.
pub(super) struct With<'a> {
    pub(super) round: Option<&'a At<String>>,
    pub(super) unit: Option<&'a At<String>>,
    pub(super) currency: Option<&'a At<String>>,
}

impl Reader<'_> {
    /// A `say` list.
    pub(super) fn say(&mut self, raw: &At<Vec<At<RawItem>>>) -> Vec<Item> {
        if raw.value.is_empty() || raw.value.len() > ITEMS_MAX {
            self.fault(raw.at, format!("`say` has 1 to {ITEMS_MAX} items"));
        }
        raw.value
            .iter()
            .filter_map(|item| self.item(item))
            .collect()
    }

    fn item(&mut self, raw: &At<RawItem>) -> Option<Item> {
        let item = &raw.value;
        self.only(&item.keys, RawItem::KNOWN, "an item of `say`");
        let things: Vec<&At<String>> = item
            .keys
            .iter()
            .filter(|k| THINGS.contains(&k.value.as_str()))
            .collect();
        if things.len() != 1 {
            self.fault(
                raw.at,
                format!("an item of `say` has exactly one of: {}", THINGS.join(", ")),
            );
            return None;
        }
        for (field, owner) in [
            ("with", "prompt"),
            ("round", "duration"),
            ("unit", "number"),
            ("currency", "money"),
        ] {
            let key = item.keys.iter().find(|k| k.value == field);
            if let Some(key) = key
                && !things.iter().any(|t| t.value == owner)
            {
                self.fault(key.at, format!("`{field}` goes with `{owner}` only"));
            }
        }
        let when = item.when.as_ref().and_then(|w| self.code(w));
        let what = self.what(item)?;
        Some(Item {
            at: raw.at,
            what,
            when,
            barge_in: item.barge_in.map(|f| f.0),
        })
    }

    fn what(&mut self, item: &RawItem) -> Option<What> {
        if let Some(prompt) = &item.prompt {
            self.name(prompt);
            let mut with = BTreeMap::new();
            for (slot, code) in item.with.iter().flat_map(|w| &w.0) {
                self.name(slot);
                if let Some(code) = self.code(code) {
                    with.insert(slot.value.clone(), code);
                }
            }
            return Some(What::Prompt {
                id: prompt.value.clone(),
                with,
            });
        }
        if let Some(file) = &item.file {
            return Some(What::File(self.music(file)));
        }
        if let Some(tts) = &item.tts {
            return Some(What::Tts(self.template(tts)));
        }
        if let Some(pause) = &item.pause {
            return self.duration(pause).map(What::Pause);
        }
        if let Some(tone) = &item.tone {
            return self.tone(tone).map(What::Tone);
        }
        let values = [
            ("number", &item.number),
            ("ordinal", &item.ordinal),
            ("digits", &item.digits),
            ("duration", &item.duration),
            ("ewt", &item.ewt),
            ("date", &item.date),
            ("time", &item.time),
            ("money", &item.money),
            ("phone", &item.phone),
        ];
        let (word, raw) = values
            .into_iter()
            .find_map(|(w, v)| Some((w, v.as_ref()?)))?;
        let with = With {
            round: item.round.as_ref(),
            unit: item.unit.as_ref(),
            currency: item.currency.as_ref(),
        };
        let read_as = self.read_as(word, raw.at, &with);
        let code = self.code(raw)?;
        Some(What::Value(read_as?, code))
    }

    fn tone(&mut self, raw: &At<String>) -> Option<ToneName> {
        let tones = [
            ("beep", ToneName::Beep),
            ("busy", ToneName::Busy),
            ("ringback", ToneName::Ringback),
            ("congestion", ToneName::Congestion),
        ];
        let found = tones.iter().find(|(w, _)| *w == raw.value).map(|(_, t)| *t);
        if found.is_none() {
            let near = hint(&raw.value, tones.map(|(w, _)| w));
            self.fault(raw.at, format!("no tone is named \"{}\"{near}", raw.value));
        }
        found
    }

    /// How a value is read.
    pub(super) fn read_as(&mut self, word: &str, at: Place, with: &With<'_>) -> Option<ReadAs> {
        let round = match with.round {
            None => Round::Minute,
            Some(r) => self.round(r)?,
        };
        if let Some(unit) = with.unit
            && !self.name(unit)
        {
            return None;
        }
        let currency = match with.currency {
            None => None,
            Some(c) => Some(self.currency(c)?),
        };
        match word {
            "number" => Some(ReadAs::Number {
                unit: with.unit.map(|u| u.value.clone()),
            }),
            "ordinal" => Some(ReadAs::Ordinal),
            "digits" => Some(ReadAs::Digits),
            "duration" => Some(ReadAs::Duration(round)),
            "ewt" => Some(ReadAs::Ewt),
            "date" => Some(ReadAs::Date),
            "time" => Some(ReadAs::Time),
            "money" => Some(ReadAs::Money {
                currency: currency.unwrap_or_else(|| "USD".to_owned()),
            }),
            "phone" => Some(ReadAs::Phone),
            other => {
                let near = hint(other, ReadAs::WORDS);
                let words = ReadAs::WORDS.join(", ");
                let message =
                    format!("\"{other}\" is no way to read a value (ways: {words}){near}");
                self.fault(at, message);
                None
            }
        }
    }

    fn currency(&mut self, raw: &At<String>) -> Option<String> {
        let is_code = raw.value.len() == 3 && raw.value.bytes().all(|b| b.is_ascii_uppercase());
        if !is_code {
            self.fault(raw.at, "`currency` is a code of ISO 4217 like USD");
        }
        is_code.then(|| raw.value.clone())
    }

    fn round(&mut self, raw: &At<String>) -> Option<Round> {
        match raw.value.as_str() {
            "second" => Some(Round::Second),
            "minute" => Some(Round::Minute),
            "hour" => Some(Round::Hour),
            other => {
                let near = hint(other, ["second", "minute", "hour"]);
                self.fault(
                    raw.at,
                    format!("`round` is second, minute or hour, not \"{other}\"{near}"),
                );
                None
            }
        }
    }

    /// Text with `{{expression}}` in it.
    pub(super) fn template(&mut self, raw: &At<String>) -> Vec<Part> {
        let parts = self.parts(raw);
        if parts.iter().any(|part| matches!(part, Part::Plain(_))) {
            self.nonsense(
                raw.at,
                "write `{{expression}}`: `{{{..}}}` is for addresses",
            );
        }
        parts
    }

    /// An address: values are encoded, but `{{{env.NAME}}}` at its start is not.
    pub(super) fn address(&mut self, raw: &At<String>) -> Vec<Part> {
        let parts = self.parts(raw);
        for (i, part) in parts.iter().enumerate() {
            let Part::Plain(code) = part else {
                continue;
            };
            if i > 0 || !code.expr.source().starts_with("env.") {
                let message = "`{{{..}}}` is for an `env` value at the start of an address";
                self.nonsense(raw.at, message);
            }
        }
        parts
    }

    fn parts(&mut self, raw: &At<String>) -> Vec<Part> {
        self.text(raw);
        let mut parts = Vec::new();
        let mut rest = raw.value.as_str();
        while let Some((text, after)) = rest.split_once("{{") {
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let (after, end, part): (_, _, fn(_) -> _) = match after.strip_prefix('{') {
                Some(after) => (after, "}}}", Part::Plain),
                None => (after, "}}", Part::Code),
            };
            let Some((code, more)) = after.split_once(end) else {
                self.nonsense(raw.at, format!("`{{{{` without `{end}`"));
                return parts;
            };
            let code = At {
                value: code.trim().to_owned(),
                at: raw.at,
            };
            parts.extend(self.code(&code).map(part));
            rest = more;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        parts
    }
}
