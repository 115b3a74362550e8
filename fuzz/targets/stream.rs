//! Messages out of a stream: whatever is cut off is no longer than what came.
#![no_main]

use helpline_core::sip::stream::{self, Frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    for _ in 0..64 {
        match stream::frame(rest) {
            Frame::Message(length) => {
                assert!(length > 0 && length <= rest.len());
                rest = &rest[length..];
            }
            _ => return,
        }
    }
});
