//! The gate before the SIP stack. An answer is a whole SIP response, goes to one
//! request, and is hardly longer than it; what passes is readable a second time.
#![no_main]

use helpline_core::sip::gate::{Source, Verdict, check};
use helpline_core::sip::message::{self, StartLine};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for source in [Source::Stranger, Source::Caller, Source::Trunk] {
        match check(data, source, 7) {
            Verdict::Drop(_) => {}
            Verdict::Pass => {
                let keep_alive = data.iter().all(|b| b"\r\n".contains(b));
                assert!(keep_alive || message::read(data).is_ok());
            }
            Verdict::Answer(_, answer) => {
                assert!(answer.len() < data.len() + 256);
                let read = message::read(&answer).expect("an answer is a message");
                assert!(matches!(read.start, StartLine::Response { code: 300..700 }));
            }
        }
    }
});
