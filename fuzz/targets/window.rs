//! Times in the text of a mail. A window does not end before it begins, is not over when the mail
//! comes, and lies within what a desk can promise. The first bytes are the moment it came.
#![no_main]
#![allow(dead_code)]

mod mail;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

fn at(value: &serde_json::Value) -> Option<jiff::Timestamp> {
    Some(value.as_str()?.parse().expect("an instant"))
}

fuzz_target!(|input: (u32, &str)| {
    let (minutes, text) = input;
    // Any minute of some eight years, leap days and changes of the clock among them.
    let now = mail::NOW + Duration::from_secs(u64::from(minutes % 4_194_304) * 60);
    let report = mail::Desk::new(&[]).report(&mail::message("", text), now);
    let window = &report["window"];
    if window.is_null() {
        return;
    }
    let (from, to) = (at(&window["not_before"]), at(&window["not_after"]));
    assert!(from.is_some() || to.is_some());
    if let (Some(from), Some(to)) = (from, to) {
        assert!(from <= to, "{from} to {to}");
    }
    let now = jiff::Timestamp::from_millisecond(now.millis()).expect("a time");
    assert!(to.is_none_or(|to| to >= now), "over: {to:?} at {now}");
    let latest = now + jiff::SignedDuration::from_hours(400 * 24);
    assert!(from.is_none_or(|from| from <= latest), "{from:?} at {now}");
});
