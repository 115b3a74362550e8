//! Manifest and rules of a locale, divided by a NUL. A locale is refused with a fault, or the
//! shipped flows run with it.
#![no_main]
#![allow(dead_code)]

mod flows;

use std::sync::Arc;

use helpline_core::ivr::fault::Severity;
use helpline_core::ivr::flow::FlowSet;
use helpline_core::ivr::golden::walk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (manifest, rules) = text.split_once('\0').unwrap_or((text, ""));
    let mut locale = flows::locale();
    // Most findings would be clips that are not there: one of the two files is whole.
    if !manifest.is_empty() {
        locale.manifest.text = manifest.to_owned();
    }
    if !rules.is_empty() {
        locale.rules.text = rules.to_owned();
    }
    let (set, faults) = FlowSet::load(&flows::sources(), &[locale]);
    assert_eq!(
        set.is_none(),
        faults.iter().any(|f| f.severity == Severity::Error)
    );
    if let Some(set) = set.map(Arc::new) {
        for flow in ["main-menu", "callback-confirm"] {
            let _ = walk(&set, flow, Some("self-help"), 7);
        }
    }
});
