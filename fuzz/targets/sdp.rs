//! Offers and answers. What we answer can be read as an answer again and agrees with
//! what we took from the offer.
#![no_main]

use helpline_core::sdp::{self, Codec, Local};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let local = Local {
        address: "192.0.2.1:30000".parse().expect("an address"),
        session: 1,
        version: 1,
        codecs: vec![Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma],
    };
    let _ = sdp::origin(text);
    let ours = sdp::offer(&local);
    let _ = sdp::accept_answer(text, &ours);
    if let Ok((answer, agreed)) = sdp::answer(text, &local) {
        assert!(answer.len() < text.len() + 1_024);
        if agreed.remote.port() != 0 {
            let read = sdp::accept_answer(&answer, text).expect("our answer fits its offer");
            assert_eq!(read.codec, agreed.codec);
            assert_eq!(read.direction, agreed.direction.reversed());
            assert_eq!(read.remote, local.address);
        }
    }
});
