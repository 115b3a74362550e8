//! Whole messages. The daemon and `helpline mail` say the same of one, twice the same; a request
//! has a number that may be called; what a machine wrote is never answered.
#![no_main]
#![allow(dead_code)]

mod mail;

use helpline_core::request::email::{Kind, content_hash, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let desk = mail::Desk::new(&["mx.test"]);
    let context = desk.context();
    let reading = read(data, &context);
    let report = desk.report(data, mail::NOW);
    assert_eq!(report["kind"], reading.kind.word());
    assert_eq!(report["auto_reply"], reading.auto_reply);
    assert_eq!(report, desk.report(data, mail::NOW));
    assert_eq!(content_hash(data), content_hash(data));
    assert_eq!(reading.ack.is_some(), reading.auto_reply);
    match &reading.kind {
        Kind::Request(request) => {
            assert!(context.dial.check(&request.number).is_ok());
        }
        Kind::NeedsInfo { .. } => {}
        Kind::Machine { .. } | Kind::Bounce { .. } | Kind::Quarantine { .. } => {
            assert!(!reading.auto_reply);
        }
    }
    for part in ["text", "reply_text", "quoted_text", "signature_text"] {
        let text = report[part].as_str().expect("text");
        assert!(text.len() <= 256 << 10 && !text.contains(['\r', '\0']));
    }
});
