//! INFO bodies. A digit is one of the sixteen keys, its length is believable.
#![no_main]

use helpline_core::sip::info::{self, Info};
use helpline_core::sip::reason;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for kind in ["application/dtmf-relay", "application/dtmf", "text/plain"] {
        if let Info::Digit { key, millis } = info::read(Some(kind), data) {
            assert!("0123456789*#ABCD".contains(key));
            assert!((40..=6_000).contains(&millis));
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = info::read(Some(text), b"5");
        let _ = reason::q850(text);
    }
});
