//! The gate before the SIP stack. An answer is a whole SIP response, goes to one
//! request, and is hardly longer than it; what passes is readable a second time.
#![no_main]

use helpline_core::sip::digest::Algorithm;
use helpline_core::sip::gate::{Beside, Door, Source, Verdict, check};
use helpline_core::sip::guard::Guard;
use helpline_core::sip::message::{self, StartLine};
use helpline_core::time::Time;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let guard = Guard::new("r", [7; 32], vec![Algorithm::Sha256, Algorithm::Md5]);
    for source in [Source::Stranger, Source::Caller, Source::Trunk] {
        let beside = Beside {
            source,
            tag: 7,
            full: !data.len().is_multiple_of(2),
            door: (!data.len().is_multiple_of(3)).then_some(Door {
                guard: &guard,
                now: Time::ZERO,
                from: [192, 0, 2, 1].into(),
            }),
        };
        match check(data, &beside) {
            Verdict::Drop(_) => {}
            Verdict::Within(dialog, answer) => {
                assert!(source == Source::Stranger && !dialog.local_tag.is_empty());
                assert!(answer.is_empty() || message::read(&answer).is_ok());
            }
            Verdict::Pass => {
                let keep_alive = data.iter().all(|b| b"\r\n".contains(b));
                assert!(keep_alive || message::read(data).is_ok());
            }
            Verdict::Answer(_, answer) => {
                assert!(answer.len() < data.len() + 512);
                let read = message::read(&answer).expect("an answer is a message");
                assert!(matches!(read.start, StartLine::Response { code: 300..700 }));
            }
        }
    }
});
