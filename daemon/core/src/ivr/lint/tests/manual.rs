//! The manual's flows are clean, and its golden tests pass.

use crate::ivr::flow::{FlowSet, Source, to_json};
use crate::ivr::golden::{Coverage, GoldenTest};
use crate::ivr::sim;

/// Blocks of the manual: whole flows, and golden tests.
fn examples() -> (Vec<String>, Vec<String>) {
    let manual = include_str!("../../../../../../docs/IVR.md");
    let blocks = manual.split("```yaml\n").skip(1);
    blocks
        .filter_map(|b| Some(b.split_once("```")?.0.to_owned()))
        .partition(|block| block.contains("helpline: 1"))
}

#[test]
fn the_golden_tests_of_the_manual_pass() {
    let (_, tests) = examples();
    assert_eq!(tests.len(), 1);
    for text in tests {
        let source = Source {
            file: "docs/IVR.md".into(),
            text,
        };
        let test = GoldenTest::read(&source).unwrap();
        let outcome = test.run(&sim::shipped(), &mut Coverage::default());
        assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    }
}

#[test]
fn the_examples_of_the_manual_are_clean() {
    let (flows, _) = examples();
    assert_eq!(flows.len(), 10);
    for text in flows {
        let mut source = Source {
            file: String::new(),
            text,
        };
        let json = to_json(&source).unwrap();
        source.file = format!("{}.flow.yaml", json["id"].as_str().unwrap());
        let phrases: Vec<(&str, &str)> = json["prompts"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(id, p)| (id.as_str(), p["text"].as_str().unwrap()))
            .collect();
        let (set, faults) = FlowSet::load(&[source], &[sim::locale_for("en-US", &phrases)]);
        assert!(set.is_some() && faults.is_empty(), "{faults:#?}");
    }
}
