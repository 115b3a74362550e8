//! `Authentication-Results` that a sender wrote. Nobody is believed but whom the operator named,
//! in the topmost header alone; a header is never a way to anything but what it says.
#![no_main]
#![allow(dead_code)]

mod mail;

use libfuzzer_sys::fuzz_target;

const WORDS: [&str; 7] = [
    "pass",
    "fail",
    "softfail",
    "neutral",
    "none",
    "temperror",
    "permerror",
];

fuzz_target!(|text: &str| {
    // One header: no new line begins another one.
    let value: String = text.chars().filter(|c| !"\r\n\0".contains(*c)).collect();
    let header = format!("Authentication-Results: {value}\r\n");
    let raw = mail::message(&header, "call 020 7946 0018");
    let strangers = mail::Desk::new(&[]).report(&raw, mail::NOW);
    assert!(strangers["auth"].is_null(), "nobody is believed");
    let others = mail::Desk::new(&["other.test"]).report(&raw, mail::NOW);
    assert!(others["auth"].is_null() || value.to_ascii_lowercase().contains("other.test"));
    let trusted = mail::Desk::new(&["mx.test"]);
    let report = trusted.report(&raw, mail::NOW);
    if !report["auth"].is_null() {
        assert!(value.to_ascii_lowercase().contains("mx.test"));
        for check in ["spf", "dkim", "dmarc"] {
            let word = report["auth"][check].as_str().expect("a word");
            assert!(WORDS.contains(&word), "{check}={word}");
        }
    }
    // Below a header of the relay's own, what the sender wrote counts for nothing.
    let own = "Authentication-Results: mx.test; spf=none; dkim=none; dmarc=none\r\n";
    let below = trusted.report(
        &mail::message(&format!("{own}{header}"), "call 020 7946 0018"),
        mail::NOW,
    );
    assert_eq!(below["auth"]["dmarc"], "none");
    assert_eq!(below["auth"]["dkim"], "none");
});
