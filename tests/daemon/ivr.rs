//! `helpline ivr`: what authors of flows run, on files that are right, wrong and hostile.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn ivr(words: &[&str], file: Option<&Path>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_helpline"));
    command.arg("ivr").args(words).args(file);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// The simulator with these lines typed into it.
fn sim(words: &[&str], lines: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_helpline"));
    command.args(["ivr", "sim"]).args(words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A call that ended reads no more.
    let _ = stdin.write_all(lines.as_bytes());
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (
        out.status.code().unwrap(),
        text(&out.stdout),
        text(&out.stderr),
    )
}

const GOOD: &str = "helpline: 1
id: own
start: end
nodes:
  end: { type: hangup }
";

#[test]
fn shipped_flows_have_no_fault_even_strictly() {
    let (code, out, error) = ivr(&["check", "--strict"], None);
    assert_eq!((code, out.as_str()), (0, ""), "{error}");
    assert!(error.contains("0 errors"), "{error}");
}

#[test]
fn own_faults_are_told_with_their_place_and_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.flow.yaml");
    fs::write(&file, GOOD.replace("start: end", "start: edn")).unwrap();
    let (code, out, _) = ivr(&["check"], Some(&file));
    assert_eq!(code, 1);
    let first = format!("{}:3:8: E101 ", file.display());
    assert!(out.starts_with(&first), "{out}");
    assert!(out.contains("did you mean \"end\""), "{out}");
    // The folder means its flows; other files in it mean nothing.
    fs::write(folder.path().join("notes.txt"), "x").unwrap();
    let (code, out, _) = ivr(&["check", "--json"], Some(folder.path()));
    let faults: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, faults[0]["line"].as_u64()), (1, Some(3)), "{out}");
    assert_eq!(faults[0]["severity"], "error", "{out}");
    fs::write(&file, GOOD).unwrap();
    assert_eq!(ivr(&["check", "--strict"], Some(&file)).0, 0);
}

#[test]
fn what_is_no_flow_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.flow.yaml");
    let huge = format!("{GOOD}# {}", "x".repeat(1 << 20));
    let many: String = (0..10_000)
        .map(|n| format!("  n{n}: {{ type: hangup }}\n"))
        .collect();
    for (bytes, why) in [
        (&b""[..], "E002"),
        (b"\xff\xfe", "not UTF-8"),
        (b"- a\n- b\n", "E00"),
        (huge.as_bytes(), "E001"),
        (format!("{GOOD}{many}").as_bytes(), "E00"),
    ] {
        fs::write(&file, bytes).unwrap();
        let (code, out, error) = ivr(&["check"], Some(&file));
        assert_eq!(code, 1, "{why}: {out}{error}");
        assert!(format!("{out}{error}").contains(why), "{why}: {out}{error}");
    }
    let (code, _, error) = ivr(&["check"], Some(&folder.path().join("none.flow.yaml")));
    assert!(code == 1 && error.contains("none.flow.yaml"), "{error}");
}

#[test]
fn a_flow_is_drawn_by_name_and_from_a_file() {
    let (code, svg, _) = ivr(&["graph", "main-menu"], None);
    assert!(code == 0 && svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.flow.yaml");
    fs::write(&file, GOOD).unwrap();
    let (code, text, _) = ivr(&["graph", "--format", "mermaid"], Some(&file));
    assert!(code == 0 && text.contains("n_end"), "{text}");
    let (code, text, _) = ivr(&["graph", "self-help", "--format", "dot"], None);
    assert!(code == 0 && text.starts_with("digraph"), "{text}");
    let (code, _, error) = ivr(&["graph", "mainmenu"], None);
    assert!(code == 1 && error.contains("main-menu"), "{error}");
}

#[test]
fn golden_tests_of_the_shipped_flows_pass_and_take_nearly_every_way() {
    let (code, out, error) = ivr(
        &["test", "--min-coverage", "90", "--missing", "--walk", "50"],
        None,
    );
    assert_eq!(code, 0, "{out}{error}");
    for flow in ["callback-confirm", "main-menu", "self-help"] {
        assert!(out.contains(&format!("{flow}: 50 random calls")), "{out}");
    }
}

#[test]
fn tests_beside_own_flows_fail_with_their_line_and_trace() {
    let folder = tempfile::tempdir().unwrap();
    let tests = folder.path().join("tests");
    fs::create_dir(&tests).unwrap();
    fs::write(folder.path().join("own.flow.yaml"), GOOD).unwrap();
    let file = tests.join("own.end.test.yaml");
    fs::write(&file, "flow: own\nsteps:\n  - expect: { end: 16 }\n").unwrap();
    let (code, out, _) = ivr(&["test", "--min-coverage", "100"], Some(&tests));
    assert!(code == 0 && out.contains("1 of 1 tests passed"), "{out}");
    fs::write(&file, "flow: own\nsteps:\n  - expect: { end: 31 }\n").unwrap();
    let (code, out, _) = ivr(&["test"], Some(&file));
    let failed = format!("{}:3: FAILED", file.display());
    assert!(code == 1 && out.contains(&failed), "{out}");
    assert!(out.contains("+0.000 end 16"), "the trace: {out}");
    let expects =
        |words: &str| format!("flow: satisfaction\nsteps:\n  - expect: {{ said: {words} }}\n");
    fs::write(&file, expects("How well have we helped you")).unwrap();
    let (code, out, _) = ivr(&["test", "--update"], Some(&file));
    let now = fs::read_to_string(&file).unwrap();
    assert!(
        code == 0 && now == expects("\"How well did we help you?\""),
        "{out}{now}"
    );
    fs::write(&file, "flow: own\nsteps: 7\n").unwrap();
    let (code, out, _) = ivr(&["test", "--update"], Some(&file));
    assert!(code == 1 && out.contains(":2:"), "{out}");
    let (code, _, error) = ivr(&["test"], Some(&folder.path().join("none")));
    assert!(code == 1 && error.contains("none"), "{error}");
}

#[test]
fn a_call_can_be_typed() {
    let (code, out, error) = sim(&["callback-confirm"], "1\nanswered\n\n\n9\n\n\n\n");
    assert_eq!(code, 0, "{out}{error}");
    for part in [
        "seven minutes ago",
        "join flow self-help",
        "spoken help",
        "end 16",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, error) = sim(&["callback-confirm"], "1\nagent\ntalk_ended\n\n");
    assert_eq!(code, 0, "{out}{error}");
    for part in ["event talk agent", "event answered", "end 16"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    // Nonsense is answered and changes nothing; the end of the input is the end.
    let (code, out, _) = sim(&["main-menu", "--closed"], "answered\nsing\nwait 9x\n1x\n");
    assert!(code == 0 && out.contains("closed now"), "{out}");
    assert!(out.contains("does not wait in a queue") && out.matches("hangup or quit").count() == 3);
    let odd = "\u{e9}".repeat(100_000) + "\n";
    let (code, out, _) = sim(&["main-menu"], &odd);
    assert!(code == 0 && out.contains("hangup or quit"));
    for (words, part) in [
        (&["none"][..], "main-menu"),
        (&["main-menu", "--input", "[1]"], "--input"),
        (&["main-menu", "--from", "12x"], "--from"),
        (
            &["callback-confirm", "--input", "{\"request\": 7}"],
            "request",
        ),
    ] {
        let (code, _, error) = sim(words, "");
        assert!(code == 1 && error.contains(part), "{words:?}: {error}");
    }
}
