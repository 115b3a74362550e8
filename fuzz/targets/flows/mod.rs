//! The flows and locales of the repository, and a call of one of them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use helpline_core::ivr::flow::{FlowSet, LocaleSource, Source};
use helpline_core::ivr::golden::make_absolute;
use helpline_core::ivr::io::{CallFacts, Hours, Start};
use helpline_core::phone::PhoneNumber;
use helpline_core::time::Wall;

macro_rules! file {
    ($name:literal) => {
        Source {
            file: $name.to_owned(),
            text: include_str!(concat!("../../../", $name)).to_owned(),
        }
    };
}

pub fn sources() -> Vec<Source> {
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

pub fn locale() -> LocaleSource {
    LocaleSource {
        locale: "en-US".to_owned(),
        manifest: file!("prompts/en-US/manifest.toml"),
        rules: file!("prompts/en-US/rules.toml"),
    }
}

pub static SHIPPED: LazyLock<Arc<FlowSet>> = LazyLock::new(|| {
    let (set, faults) = FlowSet::load(&sources(), &[locale()]);
    Arc::new(set.unwrap_or_else(|| panic!("{faults:?}")))
});

/// How many lines YAML sees, and one more for what is missing at the end.
pub fn lines(text: &str) -> u32 {
    let ends = text.replace("\r\n", "\n").matches(['\r', '\n']).count();
    u32::try_from(ends).unwrap() + 2
}

/// A call of a flow of the shipped set.
pub fn start(flow: &str) -> Start {
    let wall = Wall::from_millis(1_795_440_000_000);
    let mut input = SHIPPED.sample_input(flow);
    make_absolute(&mut input, wall);
    Start {
        flow: flow.to_owned(),
        call: CallFacts {
            id: "fuzz".to_owned(),
            from: Some(PhoneNumber::from_row("+33140000000")),
            to: "100".to_owned(),
            direction: "in",
            queue: "help".to_owned(),
        },
        input,
        language: "en-US".to_owned(),
        wall,
        hours: Hours::ALWAYS,
        queues: Arc::default(),
        env: BTreeMap::new(),
        zone: "UTC".to_owned(),
    }
}
