//! `helpline mail`: messages in `tests/golden/mail` and what is understood of them, and
//! messages that are made to break a reader.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest reading of any one message, in a build for debugging.
const LIMIT: Duration = Duration::from_secs(10);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/mail")
}

fn mail(words: &[&str], raw: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_helpline"))
        .arg("mail")
        .args(words)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(raw).unwrap();
    child.wait_with_output().unwrap()
}

/// The object, checked against the schema.
fn read(words: &[&str], raw: &[u8]) -> Value {
    let out = mail(words, raw);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line");
    let object: Value = serde_json::from_str(&text).unwrap();
    let schema = include_str!("../../schemas/mail.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(&object)
        .map(|e| e.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?}: {text}");
    object
}

#[test]
fn messages_are_understood_as_written_down() {
    let words = [
        "--region",
        "DE",
        "--tz",
        "Europe/Berlin",
        "--own",
        "help@help.test",
        "--authserv-id",
        "mx.help.test",
    ];
    let rewrite = std::env::var_os("HELPLINE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "eml") {
            continue;
        }
        seen += 1;
        let object = read(&words, &fs::read(&path).unwrap());
        let told = serde_json::to_string_pretty(&object).unwrap() + "\n";
        let golden = path.with_extension("json");
        if rewrite {
            fs::write(&golden, &told).unwrap();
        }
        if fs::read_to_string(&golden).unwrap_or_default() != told {
            wrong.push(format!("{}:\n{told}", path.display()));
        }
    }
    assert!(seen >= 20, "{seen}");
    assert!(
        wrong.is_empty(),
        "rewrite with tests/run --golden:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn messages_made_to_break_a_reader_are_read_in_time() {
    let nested = |kind: &str| format!("Content-Type: {kind}\r\n\r\n").repeat(100_000);
    let parts = |n: usize| "--b\r\n\r\nx\r\n".repeat(n);
    let html = format!(
        "From: a@x.test\r\nContent-Type: text/html\r\n\r\n{}call 030 1234567",
        "<div>".repeat(100_000)
    );
    for (name, raw, kind) in [
        ("nested messages", nested("message/rfc822"), "quarantine"),
        (
            "nested digests",
            nested("multipart/digest; boundary=b"),
            "quarantine",
        ),
        // What lies behind 256 KiB of HTML is not read.
        ("nested divisions", html, "needs_info"),
        (
            "ten thousand parts",
            format!(
                "From: a@x.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
                parts(10_000)
            ),
            "quarantine",
        ),
        (
            "parts within the limit",
            format!(
                "From: a@x.test\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
                parts(200)
            ),
            "needs_info",
        ),
        (
            "a long line",
            format!(
                "From: a@x.test\r\n\r\ncall 030 1234567 {}",
                "x 12 ".repeat(200_000)
            ),
            "request",
        ),
        (
            "a long header",
            format!(
                "From: a@x.test\r\nSubject: {}\r\n\r\ncall 030 1234567",
                "=?utf-8?Q?x?= ".repeat(80_000)
            ),
            "request",
        ),
        ("nothing", String::new(), "quarantine"),
        ("blank lines", "\r\n".repeat(1_000), "quarantine"),
        ("no header", "hello\r\n\r\nworld".to_owned(), "needs_info"),
        ("zeros", "\0".repeat(1 << 20), "needs_info"),
        (
            "an attachment of 25 MiB",
            format!(
                "From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
                 --b\r\n\r\ncall 030 1234567\r\n--b\r\nContent-Type: application/zip\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
                "QUJD".repeat(6 << 20)
            ),
            "request",
        ),
    ] {
        let begun = Instant::now();
        let object = read(&["--region", "DE"], raw.as_bytes());
        assert!(begun.elapsed() < LIMIT, "{name}: {:?}", begun.elapsed());
        assert_eq!(object["kind"], kind, "{name}: {object}");
    }
}

#[test]
fn wrong_words_are_told_and_end_with_two() {
    for (words, part) in [
        (&["--now", "yesterday"][..], "2026-11-23T10:00:00+01:00"),
        (&["--tz", "Mars/Olympus"], "Europe/Berlin"),
        (&["--region", "Germany"], "two letters"),
    ] {
        let out = mail(words, b"From: a@x.test\r\n\r\n");
        assert_eq!(out.status.code(), Some(2), "{words:?}");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains(part), "{said}");
    }
    let none = Command::new(env!("CARGO_BIN_EXE_helpline"))
        .args(["mail", "/no/such/file"])
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(1));
    assert!(none.stdout.is_empty());
    assert!(String::from_utf8_lossy(&none.stderr).contains("/no/such/file"));
    // The zone of --now is told as it was written.
    let object = read(
        &["--now", "2026-11-23T10:00:00-05:00"],
        b"From: a@x.test\r\n\r\n",
    );
    assert_eq!(object["now"], "2026-11-23T10:00:00-05:00");
}
