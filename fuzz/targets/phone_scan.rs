//! Numbers in the text of a mail. Each may be called, is written in E.164 and told once; the
//! number of a request is the first of them.
#![no_main]
#![allow(dead_code)]

mod mail;

use std::collections::BTreeSet;

use helpline_core::phone::PhoneNumber;
use helpline_core::request::email::{Kind, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let desk = mail::Desk::new(&[]);
    let raw = mail::message("", text);
    let report = desk.report(&raw, mail::NOW);
    let candidates = report["phone_candidates"].as_array().expect("a list");
    let mut seen = BTreeSet::new();
    for candidate in candidates {
        let e164 = candidate["e164"].as_str().expect("a number");
        let number = PhoneNumber::parse(e164, None).expect("E.164");
        assert_eq!(number.as_str(), e164);
        assert!(desk.context().dial.check(&number).is_ok(), "{e164}");
        assert!(seen.insert(e164), "{e164} twice");
    }
    if let Kind::Request(request) = read(&raw, &desk.context()).kind {
        assert_eq!(candidates[0]["e164"], request.number.as_str());
    }
});
