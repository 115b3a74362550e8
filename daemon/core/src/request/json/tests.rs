//! Good and bad bodies. `corpus.json` is also read by the server's test of the schema.

use super::*;
use crate::phone::DialRules;
use crate::request::When;
use crate::time::Wall;

const NOW: Wall = Wall::from_millis(1_795_440_000_000); // 2026-11-23T13:20:00Z

fn read_text(body: &str) -> Result<HelpRequest, Vec<FieldError>> {
    let dial = DialRules {
        allow: vec!["DE".into()],
        ..DialRules::default()
    };
    let queues = ["help".to_owned(), "shop".to_owned()];
    let context = ReadContext {
        queues: &queues,
        agents: &[],
        region: Some("DE"),
        zone: "Europe/Berlin",
        language: "en",
        dial: &dial,
        now: NOW,
    };
    read(body.as_bytes(), &context)
}

/// Field and kind of the first fault.
fn fault(body: &str) -> (&'static str, &'static str) {
    let faults = read_text(body).expect_err(body);
    (faults[0].field, faults[0].kind)
}

#[test]
fn number_alone_is_a_request() {
    let request = read_text(r#"{"phone":"+49 30 901820"}"#).unwrap();
    assert_eq!(request.number.as_str(), "+4930901820");
    assert_eq!((request.queue.as_str(), request.when), ("help", When::Now));
    assert_eq!(request.language, "en");
}

#[test]
fn unknown_key_is_refused_with_its_name() {
    let faults = read_text(r#"{"phone":"+4930901820","fone":1}"#).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].reason.contains("\"fone\""));
    assert_eq!(
        fault(r#"{"phone":"+4930901820","when":{"on":"x"}}"#),
        ("when", "unknown-key")
    );
}

#[test]
fn wrong_type_names_the_field() {
    for key in [
        "queue", "phone", "name", "email", "page", "note", "lang", "tz",
    ] {
        for value in ["1", "true", "[]", "{}", "1.5"] {
            let phone = if key == "phone" {
                ""
            } else {
                r#""phone":"+4930901820","#
            };
            let body = format!(r#"{{{phone}"{key}":{value}}}"#);
            assert_eq!(fault(&body), (key, "bad-type"), "{body}");
            assert_eq!(read_text(&body).unwrap_err().len(), 1, "{body}");
        }
    }
    for when in [
        "1",
        "\"later\"",
        "[]",
        "{}",
        r#"{"at":"2026-11-24T10:00:00Z","not_after":"2026-11-24T10:00:00Z"}"#,
    ] {
        let body = format!(r#"{{"phone":"+4930901820","when":{when}}}"#);
        assert_eq!(fault(&body), ("when", "bad-when"), "{body}");
    }
    assert_eq!(
        fault(r#"{"phone":"+4930901820","when":{"at":5}}"#),
        ("when", "bad-type")
    );
}

#[test]
fn what_is_no_object_is_refused() {
    for (body, kind) in [
        ("", "bad-json"),
        ("{", "bad-json"),
        ("nonsense", "bad-json"),
        ("{} {}", "bad-json"),
        ("\u{feff}{}", "bad-json"),
        ("[]", "bad-type"),
        ("null", "bad-type"),
        (
            r#"{"phone":"+4930901820","phone":"+4930901821"}"#,
            "bad-json",
        ),
        (
            r#"{"phone":"+4930901820","when":{"at":"a","at":"b"}}"#,
            "bad-json",
        ),
    ] {
        assert_eq!(fault(body), ("body", kind), "{body}");
    }
    assert_eq!(fault(&"[".repeat(60_000)), ("body", "bad-json"));
    assert_eq!(fault(&" ".repeat(BODY_BYTES_MAX + 1)), ("body", "too-long"));
    assert!(read(b"{\"phone\":\"\xff\"}", &context_for(&DialRules::default())).is_err());
}

fn context_for(dial: &DialRules) -> ReadContext<'_> {
    ReadContext {
        queues: &[],
        agents: &[],
        region: None,
        zone: "UTC",
        language: "en",
        dial,
        now: NOW,
    }
}

#[test]
fn times_are_rfc3339_and_lie_ahead() {
    let when = |text: &str| {
        read_text(&format!(r#"{{"phone":"+4930901820","when":{text}}}"#)).map(|r| r.when)
    };
    let kind = |text: &str| when(text).expect_err(text)[0].kind;
    let hour = Wall::from_millis(NOW.millis() + 3_600_000);
    assert_eq!(
        when(r#"{"at":"2026-11-23T15:20:00+01:00"}"#).unwrap(),
        When::Window {
            not_before: hour,
            not_after: None
        }
    );
    assert_eq!(
        when(r#"{"not_after":"2026-11-23t14:20:00.000z"}"#).unwrap(),
        When::Window {
            not_before: NOW,
            not_after: Some(hour)
        }
    );
    assert_eq!(when(r#"{"at":"2026-11-23T13:19:30Z"}"#).unwrap(), When::Now);
    assert_eq!(kind(r#"{"at":"2026-11-23T13:10:00Z"}"#), "time-in-past");
    assert_eq!(
        kind(r#"{"not_before":"2026-11-22T13:10:00Z","not_after":"2026-11-23T10:00:00Z"}"#),
        "time-in-past"
    );
    assert_eq!(
        kind(r#"{"not_before":"2026-11-24T13:10:00Z","not_after":"2026-11-24T13:10:00Z"}"#),
        "bad-window"
    );
    assert_eq!(kind(r#"{"at":"2027-11-23T13:20:00Z"}"#), "time-too-far");
    for bad in [
        "2026-11-23",
        "2026-11-23T14:20",
        "2026-11-23T14:20:00",
        "2026-11-23 14:20:00Z",
        "2026-11-23T14:20:00Z[UTC]",
        "2026-02-30T14:20:00Z",
        "2026-11-23T14:20:00.Z",
        "٢026-11-23T14:20:00Z",
        "",
        "tomorrow",
    ] {
        assert_eq!(kind(&format!(r#"{{"at":"{bad}"}}"#)), "bad-time", "{bad}");
    }
}

#[test]
fn long_and_hostile_values_are_refused() {
    let with = |key: &str, value: &str| {
        let mut body = serde_json::json!({"phone": "+4930901820"});
        body[key] = value.into();
        fault(&body.to_string())
    };
    assert_eq!(with("phone", &"1".repeat(65)), ("phone", "too-long"));
    assert_eq!(with("phone", ""), ("phone", "missing"));
    assert_eq!(with("phone", "nobody"), ("phone", "bad-number"));
    assert_eq!(with("phone", "+33 1 42 34 56 78"), ("phone", "not-allowed"));
    assert_eq!(with("name", &"x".repeat(201)), ("name", "too-long"));
    assert_eq!(with("name", "a\r\nBcc: b"), ("name", "bad-text"));
    assert_eq!(with("note", &"x".repeat(4001)), ("note", "too-long"));
    for bad in [
        "x",
        "a@b@c",
        "a b@c.de",
        "a\n@c.de",
        "<a@c.de>",
        "a@-c.de",
        "a@c..de",
        "\"a\"@c.de",
        "a@[::1]",
    ] {
        assert_eq!(with("email", bad), ("email", "bad-email"), "{bad}");
    }
    assert_eq!(with("page", "javascript:alert(1)"), ("page", "bad-page"));
    assert_eq!(
        with("page", &format!("https://h/{}", "x".repeat(2048))),
        ("page", "too-long")
    );
    for bad in ["deutsch!", "d", "de_DE", "x-klingon"] {
        assert_eq!(with("lang", bad), ("lang", "bad-language"), "{bad}");
    }
    for bad in ["Mars/Olympus", "../../etc/passwd", "CET+1"] {
        assert_eq!(with("tz", bad), ("tz", "bad-zone"), "{bad}");
    }
    assert_eq!(with("queue", "none"), ("queue", "bad-queue"));
}

#[test]
fn overrides_are_taken_out_of_text() {
    let request =
        read_text(r#"{"phone":"+4930901820","name":"a\u202eb","note":"x\u0007\r\ny"}"#).unwrap();
    assert_eq!(request.name.as_deref(), Some("ab"));
    assert_eq!(request.note.as_deref(), Some("x\ny"));
}
