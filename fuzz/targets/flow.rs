//! Files of flows. One is refused with a fault that lies in it, or it is drawn, and random
//! callers walk through it; what they did is a golden test.
#![no_main]
#![allow(dead_code)]

mod flows;

use std::sync::Arc;

use helpline_core::ivr::fault::Severity;
use helpline_core::ivr::flow::{FlowSet, Source};
use helpline_core::ivr::golden::{GoldenTest, walk};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let source = |text: &str| Source {
        file: "t.flow.yaml".to_owned(),
        text: text.to_owned(),
    };
    let (set, faults) = FlowSet::load(&[source(text)], &[flows::locale()]);
    assert_eq!(
        set.is_none(),
        faults.iter().any(|f| f.severity == Severity::Error)
    );
    let lines = flows::lines(text);
    for fault in faults.iter().filter(|f| f.file == "t.flow.yaml") {
        assert!((1..=lines).contains(&fault.line), "{fault}");
    }
    let Some(set) = set.map(Arc::new) else {
        return;
    };
    for flow in set.names() {
        let graph = set.graph(flow).unwrap();
        assert!(graph.svg().ends_with("</svg>\n"));
        let _ = (graph.mermaid(), graph.dot());
        for seed in 0..3 {
            let walked = walk(&set, flow, None, seed);
            let test = GoldenTest::read(&source(&walked.test));
            assert!(test.is_ok(), "{test:?}\n{}", walked.test);
        }
    }
});
