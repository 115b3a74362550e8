//! One locale: its recorded clips (`manifest.toml`), the sentences of its prompts,
//! and its rules (`rules.toml`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rules::{Bit, Rules};
use crate::ivr::fault::{Place, Report};
use crate::ivr::flow::LocaleSource;

/// A locale as flows use it.
#[derive(Debug)]
pub(in crate::ivr) struct Locale {
    pub(in crate::ivr) name: String,
    /// File of the manifest, for faults.
    pub(in crate::ivr) file: String,
    pub(in crate::ivr) phrases: BTreeMap<String, String>,
    pub(in crate::ivr) clips: BTreeMap<String, Clip>,
    pub(in crate::ivr) rules: Rules,
}

/// A recorded clip.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ivr) struct Clip {
    /// The words spoken.
    pub(in crate::ivr) text: String,
    /// File beside the manifest.
    #[serde(rename = "file")]
    _file: String,
    /// SHA-256 of the file, hex.
    #[serde(rename = "sha256")]
    _sha256: String,
    /// Length in milliseconds.
    #[serde(rename = "ms")]
    _ms: u32,
    /// `final` or `draft`.
    pub(in crate::ivr) quality: Quality,
}

/// How good a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::ivr) enum Quality {
    Final,
    Draft,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Manifest {
    #[serde(rename = "voice")]
    _voice: String,
    #[serde(rename = "licence")]
    _licence: String,
    phrase: BTreeMap<String, String>,
    clip: BTreeMap<String, Clip>,
}

impl Locale {
    /// Reads a locale; `None` if faults were reported.
    pub(in crate::ivr) fn read(source: &LocaleSource, report: &mut Report) -> Option<Self> {
        let manifest: Option<Manifest> = toml::from_str(&source.manifest.text)
            .map_err(|e| toml_fault(&source.manifest.file, &source.manifest.text, &e, report))
            .ok();
        let rules = Rules::read(&source.rules, report);
        let manifest = manifest?;
        Some(Locale {
            name: source.locale.clone(),
            file: source.manifest.file.clone(),
            phrases: manifest.phrase,
            clips: manifest.clip,
            rules: rules?,
        })
    }

    /// The words of what `bits` plays; clips that are not recorded are left out.
    pub(in crate::ivr) fn words(&self, bits: &[Bit]) -> String {
        let mut words: Vec<&str> = Vec::new();
        for bit in bits {
            if let Bit::Clip(id) = bit
                && let Some(clip) = self.clips.get(id)
            {
                words.push(&clip.text);
            }
        }
        words.join(" ")
    }
}

/// Reports a TOML fault at its place.
pub(super) fn toml_fault(file: &str, text: &str, error: &toml::de::Error, report: &mut Report) {
    let at = error.span().map_or(Place::default(), |span| {
        let before = text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Place {
            line: u32::try_from(line).unwrap_or(0),
            column: u32::try_from(column).unwrap_or(0),
        }
    });
    let message = error
        .message()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    report.add(file, at, "E001", message);
}

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ivr) enum SentencePart {
    /// Recorded words: clip id and the words.
    Clip(String, String),
    /// A slot to fill.
    Slot(String),
}

/// Cuts the sentence of prompt `id` at its slots. Without slots it is one clip named as
/// the prompt; with slots the pieces are `id.0`, `id.1` ...; a piece without a letter or
/// digit (a full stop after the last slot) is no clip.
pub(in crate::ivr) fn pieces(id: &str, text: &str) -> Vec<SentencePart> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut number = 0;
    let has_slots = text.contains('{');
    loop {
        let (words, slot, after) = match rest.split_once('{') {
            Some((words, more)) => match more.split_once('}') {
                Some((slot, after)) => (words, Some(slot), after),
                None => (words, None, ""),
            },
            None => (rest, None, ""),
        };
        if words.chars().any(char::is_alphanumeric) {
            let clip = if has_slots {
                format!("{id}.{number}")
            } else {
                id.to_owned()
            };
            parts.push(SentencePart::Clip(clip, words.trim().to_owned()));
        }
        number += 1;
        match slot {
            Some(slot) => parts.push(SentencePart::Slot(slot.trim().to_owned())),
            None => return parts,
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_cut_at_its_slots() {
        let clip = |id: &str, words: &str| SentencePart::Clip(id.into(), words.into());
        assert_eq!(pieces("bye", "Goodbye."), [clip("bye", "Goodbye.")]);
        assert_eq!(
            pieces("hello", "You called {ago} ago."),
            [
                clip("hello.0", "You called"),
                SentencePart::Slot("ago".into()),
                clip("hello.1", "ago.")
            ]
        );
        assert_eq!(
            pieces("later", "In {wait}."),
            [clip("later.0", "In"), SentencePart::Slot("wait".into())]
        );
        assert_eq!(pieces("odd", "a {b"), [clip("odd.0", "a")]);
    }
}
