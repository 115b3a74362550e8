//! `helpline ewt replay`: the wait estimator on a trace.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A desk with two agents: every 100 s somebody asks, every call takes 150 to 290 s; one of
/// nine withdraws, one of seven is not reached, one of eleven books.
fn trace() -> String {
    let mut text = String::from(
        "{\"t\":0,\"ev\":\"roster\",\"agent\":\"ann\",\"on\":0,\"off\":null}\n{\"t\":0,\"ev\":\"agent_on\",\"agent\":\"ann\"}\n\n{\"t\":0,\"ev\":\"agent_on\",\"agent\":5}\n{\"t\":1,\"ev\":\"weather\",\"sun\":true}\n",
    );
    let mut free = [0_u64, 0];
    for id in 1..300_u64 {
        let t = 100 * id;
        let (agent, at) = if free[0] <= free[1] {
            ("\"ann\"", free[0].max(t))
        } else {
            ("5", free[1].max(t))
        };
        if id % 11 == 0 {
            let due = t + 900;
            let _ = writeln!(
                text,
                "{{\"t\":{t},\"ev\":\"request\",\"id\":{id},\"kind\":\"scheduled\",\"due\":{due}}}"
            );
            continue;
        }
        let _ = writeln!(
            text,
            "{{\"t\":{t},\"ev\":\"request\",\"id\":{id},\"kind\":\"asap\",\"must_wait\":{}}}",
            at > t
        );
        if id % 9 == 0 {
            let _ = writeln!(text, "{{\"t\":{},\"ev\":\"cancel\",\"id\":{id}}}", t + 20);
            continue;
        }
        let end = at + 150 + 20 * (id % 8);
        let _ = writeln!(
            text,
            "{{\"t\":{at},\"ev\":\"dial\",\"id\":{id},\"agent\":{agent},\"attempt\":1}}"
        );
        let outcome = if id % 7 == 0 {
            "no_answer\",\"retry_at\":null"
        } else {
            "done\""
        };
        let _ = writeln!(
            text,
            "{{\"t\":{end},\"ev\":\"end\",\"id\":{id},\"agent\":{agent},\"outcome\":\"{outcome}}}"
        );
        free[usize::from(agent == "5")] = end;
    }
    text
}

fn replay(file: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_helpline"));
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(["ewt", "replay", "--paths", "40"])
        .arg(file)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_request_is_estimated_by_what_came_before_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.jsonl");
    let trace = trace();
    fs::write(&file, &trace).unwrap();
    let (code, all, error) = replay(&file);
    assert_eq!(code, 0, "{error}");
    let asap = trace.matches("\"asap\"").count();
    assert_eq!(all.lines().count(), asap);
    for line in all.lines() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        let of = |name: &str| told[name].as_f64().unwrap();
        assert!(
            0.0 <= of("p10") && of("p10") <= of("p50") && of("p50") <= of("p90"),
            "{line}"
        );
    }
    let waits = all
        .lines()
        .filter(|line| !line.contains("\"p90\":0.0"))
        .count();
    assert!(waits > 100, "{waits}\n{all}");
    for lines in [10, 200, 500] {
        let cut: String = trace.split_inclusive('\n').take(lines).collect();
        fs::write(&file, &cut).unwrap();
        let (_, some, _) = replay(&file);
        assert!(
            !some.is_empty() && all.starts_with(&some),
            "{lines}: {some}"
        );
    }
    let mut packed = GzEncoder::new(fs::File::create(&file).unwrap(), Compression::fast());
    packed.write_all(trace.as_bytes()).unwrap();
    packed.finish().unwrap();
    assert_eq!(replay(&file).1, all, "gzip");
}

#[test]
fn a_line_that_is_no_event_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("desk.jsonl");
    let good = "{\"t\":0,\"ev\":\"agent_on\",\"agent\":1}\n";
    for (line, why) in [
        ("{\"t\":1,\"ev\":\"dial\",\"id\":1}", "dial needs `agent`"),
        (
            "{\"t\":1,\"ev\":\"request\",\"id\":1,\"kind\":\"soon\"}",
            "asap or scheduled",
        ),
        (
            "{\"t\":1,\"ev\":\"request\",\"id\":-1,\"kind\":\"asap\"}",
            "invalid value",
        ),
        ("{\"t\":\"now\",\"ev\":\"cancel\",\"id\":1}", "invalid type"),
        ("{\"t\":1", "EOF"),
        ("\u{0}", "expected value"),
        ("[]", "invalid"),
        (&"x".repeat(70_000), "expected value"),
    ] {
        fs::write(&file, format!("{good}{line}\n")).unwrap();
        let (code, out, error) = replay(&file);
        assert_eq!((code, out.as_str()), (2, ""), "{line:.40}: {error}");
        let place = format!("{}:2: ", file.display());
        assert!(error.contains(&place) && error.contains(why), "{error}");
    }
    let (code, _, error) = replay(&folder.path().join("none"));
    assert!(code == 1 && error.contains("none"), "{error}");
}
