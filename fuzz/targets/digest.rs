//! Challenges and answers of digest authentication. What is chosen can be read again.
#![no_main]

use helpline_core::sip::digest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(chosen) = digest::choose(text.split('\n'), None) {
        assert!(digest::parameters(&chosen).is_some());
        let again = digest::choose([chosen.as_str()].into_iter(), None);
        assert_eq!(again.as_deref(), Some(chosen.as_str()));
    }
    let _ = digest::to_wire(text);
});
