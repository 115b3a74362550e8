//! The small words of the language: names, keys, lengths of time, texts.

use std::time::Duration;

use super::Reader;
use crate::ivr::fault::Place;
use crate::ivr::raw::{At, Whole};

/// Names another YAML reader takes for a truth value.
const FORBIDDEN: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// `20s`, `500ms`, `5m`, `2h`.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    if number.is_empty() || number.len() > 6 {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number * millis))
}

/// `en-US`, `nb-NO`.
pub(super) fn is_locale(text: &str) -> bool {
    text.split_once('-').is_some_and(|(language, region)| {
        (2..=3).contains(&language.len())
            && language.bytes().all(|b| b.is_ascii_lowercase())
            && region.len() == 2
            && region.bytes().all(|b| b.is_ascii_uppercase())
    })
}

fn is_word(text: &str, also: char) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == also)
        && text.len() <= 40
}

impl Reader<'_> {
    /// A name of a node, variable, prompt, slot or event.
    pub(super) fn name(&mut self, raw: &At<String>) -> bool {
        let good = is_word(&raw.value, '_') && !FORBIDDEN.contains(&raw.value.as_str());
        if !good {
            let name = raw.value.chars().take(60).collect::<String>();
            self.fault(
                raw.at,
                format!("\"{name}\" cannot be a name: use a-z, 0-9 and _ after a first letter, at most 40, and no word like yes or on"),
            );
        }
        good
    }

    /// A name of a flow or calendar.
    pub(super) fn dashed(&mut self, raw: &At<String>) -> bool {
        let good = is_word(&raw.value, '-');
        if !good {
            let name = raw.value.chars().take(60).collect::<String>();
            self.fault(raw.at, format!("\"{name}\" cannot be an id: use a-z, 0-9 and - after a first letter, at most 40"));
        }
        good
    }

    /// Text of 1 to 1000 characters.
    pub(super) fn text(&mut self, raw: &At<String>) {
        let length = raw.value.chars().count();
        if length == 0 || length > 1000 {
            self.fault(
                raw.at,
                format!("a text has 1 to 1000 characters, this one {length}"),
            );
        }
    }

    /// A length of time.
    pub(super) fn duration(&mut self, raw: &At<String>) -> Option<Duration> {
        let read = duration(&raw.value);
        if read.is_none() {
            let text = raw.value.chars().take(60).collect::<String>();
            self.fault(
                raw.at,
                format!("\"{text}\" is no length of time; write it like 6s, 300ms, 10m or 1h"),
            );
        }
        read
    }

    /// A whole number within bounds.
    pub(super) fn range(&mut self, raw: &At<Whole>, min: u32, max: u32) -> u32 {
        match u32::try_from(raw.value.0) {
            Ok(n) if (min..=max).contains(&n) => n,
            _ => {
                self.fault(
                    raw.at,
                    format!("{} is out of bounds: {min} to {max}", raw.value.0),
                );
                min
            }
        }
    }

    /// A set of keys written as text.
    pub(super) fn key_set(&mut self, raw: &At<String>) -> Vec<char> {
        let bad = raw.value.chars().find(|c| !is_key(*c));
        if let Some(bad) = bad {
            self.fault(
                raw.at,
                format!("{bad:?} is no key; keys are 0-9, *, # and A-D"),
            );
        }
        raw.value.chars().collect()
    }

    /// One key.
    pub(super) fn key(&mut self, text: &str, at: Place) -> Option<char> {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if is_key(c) => Some(c),
            _ => {
                let text = text.chars().take(60).collect::<String>();
                self.fault(
                    at,
                    format!(
                        "\"{text}\" is no key; write \"0\" to \"9\", \"*\", \"#\" or \"A\" to \"D\""
                    ),
                );
                None
            }
        }
    }
}

fn is_key(c: char) -> bool {
    matches!(c, '0'..='9' | '*' | '#' | 'A'..='D')
}
