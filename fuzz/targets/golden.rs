//! Files of golden tests. One is refused with a fault that lies in it, or it runs; new words
//! put into it leave it a test of as many lines.
#![no_main]
#![allow(dead_code)]

mod flows;

use helpline_core::ivr::flow::Source;
use helpline_core::ivr::golden::{Coverage, GoldenTest, update};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let source = |text: &str| Source {
        file: "t.test.yaml".to_owned(),
        text: text.to_owned(),
    };
    let lines = flows::lines(text);
    let within = |line: u32| (1..=lines).contains(&line);
    match GoldenTest::read(&source(text)) {
        Ok(test) => {
            let outcome = test.run(&flows::SHIPPED, &mut Coverage::default());
            assert!(outcome.failure.is_none_or(|failure| within(failure.line)));
        }
        Err(fault) => return assert!(within(fault.line), "{fault}"),
    }
    let (updated, _) = update(&source(text), &flows::SHIPPED).unwrap();
    assert!(GoldenTest::read(&source(&updated)).is_ok(), "{updated}");
    assert_eq!(flows::lines(&updated), lines);
});
