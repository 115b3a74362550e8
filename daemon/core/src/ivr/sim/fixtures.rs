//! What tests of this crate simulate: the shipped flows, and small ones of their own.

use std::sync::Arc;
use std::time::Duration;

use super::Sim;
use crate::ivr::flow::{FlowSet, LocaleSource, Source};
use crate::ivr::io::{CallFacts, Hours, Output, Start};
use crate::phone::PhoneNumber;
use crate::time::{Time, Wall};

/// The wall clock when a simulated call is answered.
pub(in crate::ivr) const NOW: Wall = Wall::from_millis(1_795_440_000_000);

macro_rules! file {
    ($name:literal) => {
        Source {
            file: $name.to_owned(),
            text: include_str!(concat!("../../../../../", $name)).to_owned(),
        }
    };
}

/// The flows of the repository.
pub(in crate::ivr) fn shipped_flows() -> Vec<Source> {
    vec![
        file!("ivr-scripts/callback-confirm.flow.yaml"),
        file!("ivr-scripts/guest.flow.yaml"),
        file!("ivr-scripts/main-menu.flow.yaml"),
        file!("ivr-scripts/satisfaction.flow.yaml"),
        file!("ivr-scripts/self-help.flow.yaml"),
        file!("ivr-scripts/voicemail.flow.yaml"),
        file!("ivr-scripts/wait-in-line.flow.yaml"),
    ]
}

/// The locales of the repository.
pub(in crate::ivr) fn shipped_locales() -> Vec<LocaleSource> {
    vec![LocaleSource {
        locale: "en-US".to_owned(),
        manifest: file!("prompts/en-US/manifest.toml"),
        rules: file!("prompts/en-US/rules.toml"),
    }]
}

/// The shipped set.
pub(in crate::ivr) fn shipped() -> Arc<FlowSet> {
    let (set, faults) = FlowSet::load(&shipped_flows(), &shipped_locales());
    Arc::new(set.unwrap_or_else(|| panic!("{faults:#?}")))
}

/// A locale that has a clip for every prompt of `flows` and for values.
pub(in crate::ivr) fn locale_for(name: &str, phrases: &[(&str, &str)]) -> LocaleSource {
    use std::fmt::Write as _;
    let mut text = String::from("[phrase]\n");
    for (id, sentence) in phrases {
        writeln!(text, "{id} = {sentence:?}").unwrap();
    }
    text.push_str("[clip]\n");
    let mut clip = |id: &str, words: &str| {
        writeln!(text, "{id:?} = {{ text = {words:?}, file = \"x.flac\", sha256 = \"\", ms = 1, quality = \"final\" }}").unwrap();
    };
    for (id, sentence) in phrases {
        for part in crate::ivr::say::pieces(id, sentence) {
            if let crate::ivr::say::SentencePart::Clip(id, words) = part {
                clip(&id, &words);
            }
        }
    }
    for n in 0..100 {
        clip(&format!("n.{n}"), &n.to_string());
    }
    for word in [
        "and",
        "n.hundred",
        "n.thousand",
        "n.million",
        "n.billion",
        "key.star",
        "key.pound",
    ] {
        clip(word, word);
    }
    let days = (1..=7).map(|n| format!("weekday.{n}"));
    let months = (1..=12).map(|n| format!("month.{n}"));
    let words = [
        "day.today",
        "day.tomorrow",
        "day.yesterday",
        "n.oh",
        "ampm.am",
        "ampm.pm",
        "ewt.less_than",
        "ewt.more_than",
    ];
    for word in days.chain(months).chain(words.map(str::to_owned)) {
        let words = word.split('.').next_back().unwrap_or_default();
        clip(&word, &words.replace('_', " "));
    }
    for (unit, word) in [
        ("usd", "dollar"),
        ("usd_sub", "cent"),
        ("eur", "euro"),
        ("eur_sub", "euro cent"),
    ] {
        clip(&format!("unit.{unit}.one"), word);
        clip(&format!("unit.{unit}.other"), &format!("{word}s"));
    }
    clip("record.review", "1 sends it");
    for unit in ["second", "minute", "hour", "day"] {
        clip(&format!("unit.{unit}.one"), unit);
        clip(&format!("unit.{unit}.other"), &format!("{unit}s"));
    }
    for n in 1..=31 {
        clip(&format!("o.{n}"), &format!("number {n}"));
    }
    LocaleSource {
        locale: name.to_owned(),
        manifest: Source {
            file: format!("prompts/{name}/manifest.toml"),
            text,
        },
        rules: Source {
            file: format!("prompts/{name}/rules.toml"),
            ..file!("prompts/en-US/rules.toml")
        },
    }
}

/// A start of `flow` with the request a dialler would give.
pub(in crate::ivr) fn start(flow: &str) -> Start {
    let asked = (NOW - Duration::from_secs(420)).rfc3339();
    let request = serde_json::json!({
        "queue": "web-help", "asked_at": asked, "page_url": "https://shop.example/cart", "attempt": 1
    });
    let mut input = serde_json::Map::new();
    input.insert("request".to_owned(), request);
    Start {
        flow: flow.to_owned(),
        call: CallFacts {
            id: "c1".to_owned(),
            from: Some(PhoneNumber::from_row("+33140000000")),
            to: "100".to_owned(),
            direction: "out",
            queue: "help".to_owned(),
        },
        input,
        language: "en-US".to_owned(),
        wall: NOW,
        hours: Hours::ALWAYS,
        queues: Arc::default(),
        env: std::collections::BTreeMap::new(),
        zone: "UTC".to_owned(),
    }
}

/// A call of that flow, just answered.
pub(in crate::ivr) fn call(set: Arc<FlowSet>, start: Start) -> Sim {
    Sim::new(set, start).unwrap()
}

impl Sim {
    pub(in crate::ivr) fn wait_ms(&mut self, ms: u64) {
        self.wait(Duration::from_millis(ms));
    }

    /// The world stays silent about what it was asked.
    pub(in crate::ivr) fn forget_what_comes(&mut self) {
        self.coming.clear();
    }

    /// Until nothing more can happen by itself, or ten minutes have gone.
    pub(in crate::ivr) fn finish(&mut self) {
        self.wait(Duration::from_secs(700));
    }

    /// Everything said so far, in one line.
    pub(in crate::ivr) fn said(&self) -> String {
        let text = |(_, o): &(Time, Output)| match o {
            Output::Say { text, .. } => Some(text.clone()),
            _ => None,
        };
        self.log
            .iter()
            .filter_map(text)
            .collect::<Vec<_>>()
            .join(" | ")
    }

    /// Whether a trace line of this kind holds this text.
    pub(in crate::ivr) fn traced(&self, kind: &str, part: &str) -> bool {
        self.log
            .iter()
            .any(|(_, o)| matches!(o, Output::Trace(l) if l.kind == kind && l.data.contains(part)))
    }

    /// When the last trace line of this kind with this text came.
    pub(in crate::ivr) fn when(&self, kind: &str, part: &str) -> Option<Time> {
        self.log.iter().rev().find_map(|(at, o)| match o {
            Output::Trace(l) if l.kind == kind && l.data.contains(part) => Some(*at),
            _ => None,
        })
    }
}

/// The shipped flows in English and French.
pub(in crate::ivr) fn bilingual() -> Arc<FlowSet> {
    let mut flows = shipped_flows();
    for flow in &mut flows {
        flow.text = flow
            .text
            .replace("locales: [en-US]", "locales: [en-US, fr-FR]");
    }
    let (set, faults) = FlowSet::load(&flows, &bilingual_locales());
    let drafts = faults.iter().all(|fault| fault.code == "W206");
    assert!(drafts, "{faults:#?}");
    Arc::new(set.unwrap())
}

/// Both locales of the repository.
pub(in crate::ivr) fn bilingual_locales() -> Vec<LocaleSource> {
    let mut locales = shipped_locales();
    locales.push(LocaleSource {
        locale: "fr-FR".to_owned(),
        manifest: file!("prompts/fr-FR/manifest.toml"),
        rules: file!("prompts/fr-FR/rules.toml"),
    });
    locales
}
