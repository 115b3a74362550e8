//! Delivery reports. Whatever stands in one, it is a bounce or cannot be read: never a request,
//! never answered.
#![no_main]
#![allow(dead_code)]

mod mail;

use helpline_core::request::email::{Kind, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (status, returned) = input;
    let raw = format!(
        "From: MAILER-DAEMON@mx.test\r\nTo: help@help.test\r\nSubject: Undelivered\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nIt did not arrive, call 020 7946 0018.\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\n{returned}\r\n--b--\r\n"
    );
    let desk = mail::Desk::new(&[]);
    let reading = read(raw.as_bytes(), &desk.context());
    assert!(!reading.auto_reply && reading.ack.is_none());
    let is_kept = matches!(
        reading.kind,
        Kind::Bounce { .. } | Kind::Machine { .. } | Kind::Quarantine { .. }
    );
    assert!(is_kept, "{:?}", reading.kind);
    let report = desk.report(raw.as_bytes(), mail::NOW);
    assert_eq!(report["kind"], reading.kind.word());
});
