//! Challenges and answers of digest authentication. What is chosen can be read again; a
//! proof without the password never holds.
#![no_main]

use helpline_core::sip::digest::{self, Algorithm};
use helpline_core::sip::guard::{Guard, Ha1, Proof};
use helpline_core::time::Time;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(chosen) = digest::choose(text.split('\n'), None) {
        assert!(digest::parameters(&chosen).is_some());
        let again = digest::choose([chosen.as_str()].into_iter(), None);
        assert_eq!(again.as_deref(), Some(chosen.as_str()));
    }
    let _ = digest::to_wire(text);
    let mut guard = Guard::new("r", [7; 32], vec![Algorithm::Sha256, Algorithm::Md5]);
    let ha1 = Ha1::new("u", "r", "secret");
    let _ = guard.is_fresh(Time::ZERO, text);
    let asked = ("REGISTER", "sip:a@b");
    let proof = guard.judge(Time::ZERO, asked, text, |user| {
        (user == "u").then_some(&ha1)
    });
    assert!(!matches!(proof, Proof::Holds(_)));
});
